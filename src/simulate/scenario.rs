//! A scenario: an incident that somebody reported, told as a script, with the act that would be the failure.
//!
//! Pure. It reads the text of a file and plays it; reading the file is the caller's work. Nothing in a file is silently
//! true: what names somebody who is not there, or claims what can never be, is a mistake.

#![deny(clippy::disallowed_methods)]

pub mod built_in;
mod claim;
mod played;
mod seen;

use std::time::Duration;

use serde::Deserialize;
use serde_yaml::Value;

pub use self::claim::Claim;
pub use self::played::{Assertion, Manner, Played};
use super::script::{Cluster, Happening, Play, Script, ScriptError};
use crate::config::{Config, ConfigMistakes};

/// A scenario's file.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// One line: what is claimed.
    pub about: String,
    /// The reports it stands for, as `nut#2104`.
    pub incidents: Vec<String>,
    /// The act that would be the failure, in prose.
    pub wrong: String,
    /// The cluster and what happens to it.
    pub script: Script,
    /// What must not happen.
    pub never: Vec<Claim>,
    /// What must.
    pub must: Vec<Claim>,
}

/// Why a file is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// It is no YAML, or a key or value of it is not one of a scenario's.
    #[error("the file is no scenario")]
    Read(#[from] serde_yaml::Error),
    /// Its cluster cannot be built.
    #[error("the scenario's cluster cannot be built")]
    Cluster(#[from] ScriptError),
    /// What stands in it cannot be meant; one line a mistake.
    #[error("the scenario has mistakes: {}", .0.join("; "))]
    Mistakes(Vec<String>),
}

impl ScenarioError {
    /// One line a mistake.
    pub fn lines(&self) -> Vec<String> {
        let of_config = |mistakes: &ConfigMistakes| mistakes.in_file("cluster").to_string();
        match self {
            ScenarioError::Read(failure) => vec![failure.to_string()],
            ScenarioError::Cluster(ScriptError::Config(mistakes)) => {
                of_config(mistakes).lines().map(str::to_owned).collect()
            }
            ScenarioError::Cluster(other @ ScriptError::Write(_)) => vec![other.to_string()],
            ScenarioError::Mistakes(mistakes) => mistakes.clone(),
        }
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Written {
    about: String,
    incidents: Vec<String>,
    wrong: String,
    #[serde(default)]
    cluster: Cluster,
    events: Vec<Happening>,
    minutes: u64,
    never: Vec<String>,
    must: Vec<String>,
}

/// A longer play is a typing mistake.
const MINUTES_MAX: u64 = 7 * 24 * 60;

impl Scenario {
    /// Reads the text of a scenario's file.
    ///
    /// # Errors
    /// Fails at the first key or value that is not one of a scenario's; everything else that is wrong comes at once.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let written: Written = serde_yaml::from_str(text)?;
        let config = Config::parse(&written.cluster.config_text()?).map_err(ScriptError::Config)?.config;
        let length = Duration::from_secs(60 * written.minutes.min(MINUTES_MAX));
        let mut mistakes = written.mistakes(&config);
        let mut claims = |key: &str, texts: &[String]| -> Vec<Claim> {
            let read = |(number, text): (usize, &String)| {
                let claim = Claim::parse(text, &config, length);
                claim.map_err(|why| mistakes.push(format!("{key}[{number}]: \"{text}\": {why}"))).ok()
            };
            texts.iter().enumerate().filter_map(read).collect()
        };
        let (never, must) = (claims("never", &written.never), claims("must", &written.must));
        if !mistakes.is_empty() {
            return Err(ScenarioError::Mistakes(mistakes));
        }
        Ok(Self {
            about: written.about,
            incidents: written.incidents,
            wrong: written.wrong.trim_end().to_owned(),
            script: Script { cluster: written.cluster, events: written.events, minutes: written.minutes },
            never,
            must,
        })
    }

    /// Plays it to its end.
    ///
    /// # Errors
    /// Fails where the cluster cannot be built.
    pub fn play(&self) -> Result<Played, ScriptError> {
        played::play(self, Play::new(&self.script)?)
    }
}

impl Written {
    /// Everything that cannot be meant but for the claims.
    fn mistakes(&self, config: &Config) -> Vec<String> {
        let mut mistakes = Vec::new();
        let mut wrong = |is_wrong: bool, text: &str| {
            if is_wrong {
                mistakes.push(text.to_owned());
            }
        };
        wrong(self.about.trim().is_empty() || self.about.contains('\n'), "about: is one line");
        wrong(self.wrong.trim().is_empty(), "wrong: names the act that would be the failure");
        wrong(self.incidents.is_empty(), "incidents: names a report at least");
        wrong(self.never.is_empty(), "never: names what must not happen");
        wrong(self.must.is_empty(), "must: names what must happen");
        wrong(!(1..=MINUTES_MAX).contains(&self.minutes), &format!("minutes: is 1 to {MINUTES_MAX}"));
        wrong(self.events.is_empty(), "events: something happens");
        wrong(!self.events.is_sorted_by_key(|it| it.at), "events: come in the order of time");
        let length = 60 * self.minutes.min(MINUTES_MAX);
        for (number, happening) in self.events.iter().enumerate() {
            if happening.at >= length {
                mistakes
                    .push(format!("events[{number}]: at {} is after the end, which is at {length} s", happening.at));
            }
            mistakes.extend(strangers(happening, config).map(|who| format!("events[{number}]: there is no {who}")));
        }
        mistakes
    }
}

/// Whom an event names who is not there: it would happen to nobody.
fn strangers(happening: &Happening, config: &Config) -> impl Iterator<Item = String> {
    let event = serde_yaml::to_value(&happening.event).unwrap_or_default();
    let named = |key: &str| event.get(key).and_then(Value::as_str).map(str::to_owned);
    let (node, ups, peer) = (named("node"), named("ups"), named("peer"));
    let node = node.filter(|name| !config.nodes.keys().any(|one| one.as_str() == name)).map(|it| format!("node {it}"));
    let ups = ups.filter(|name| !config.upses.keys().any(|one| one.as_str() == name)).map(|it| format!("UPS {it}"));
    let peers = &config.coordination.peer_hosts;
    let peer = peer.filter(|name| !peers.iter().any(|one| one.name.as_str() == name)).map(|it| format!("peer {it}"));
    node.into_iter().chain(ups).chain(peer)
}

//! What a scenario claims of a play: `power-off worker-1 until 600`, `stop-unit before cordoned worker-2`, `converged
//! running in the end`.
//!
//! Pure. A claim that can never come true is a mistake of its file: as something that must not happen it would hold for
//! ever and say nothing.

use std::time::Duration;

use schemars::{JsonSchema, schema_for};
use serde_json::Value;

use super::seen::Seen;
use crate::config::{Config, did_you_mean};
use crate::model::{ClusterState, NodeName, Path, Role, UpsName};
use crate::plan::blocker::{Blocker, WaitReason, Warning};
use crate::plan::step::{Step, Target};

/// How the hecate host is called in a claim.
pub(super) const THIS_HOST: &str = "this-host";

/// Something, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// As it was written.
    pub text: String,
    what: What,
    turn: Option<(Turn, What)>,
    from: Duration,
    until: Duration,
}

/// On which side of something else a claim counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// As long as that was not seen.
    Before,
    /// Once that was seen.
    After,
}

/// What can be seen after a tick.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    /// A step is started.
    Step { name: String, target: Option<Target> },
    /// Any step is started.
    AnyStep,
    /// A drain is started that evicts from this namespace.
    Evicts(String),
    /// A step that takes something away is started.
    Disruption,
    /// An override stands.
    Override { state: Option<ClusterState>, path: Option<Path> },
    /// A state is obeyed.
    Effective { state: ClusterState, path: Option<Path> },
    /// The last pass found everything as desired.
    Converged(Option<ClusterState>),
    /// A blocker stands.
    Blocker(String),
    /// Something is waited for.
    Wait(String),
    /// A warning stands.
    Warning(String),
    /// A host has power; None: the hecate host.
    On(Option<NodeName>),
    /// A host has none; None: the hecate host.
    Off(Option<NodeName>),
    /// No node's host has power.
    Dark,
    /// k3s runs on a node.
    Running(NodeName),
    /// It does not.
    Stopped(NodeName),
    /// A node is cordoned.
    Cordoned(NodeName),
    /// A host lost its power while it ran k3s or a workload.
    HardCut(Option<NodeName>),
}

impl What {
    fn is_of_the_world(&self) -> bool {
        match self {
            What::On(_)
            | What::Off(_)
            | What::Dark
            | What::Running(_)
            | What::Stopped(_)
            | What::Cordoned(_)
            | What::HardCut(_) => true,
            What::Step { .. }
            | What::AnyStep
            | What::Evicts(_)
            | What::Disruption
            | What::Override { .. }
            | What::Effective { .. }
            | What::Converged(_)
            | What::Blocker(_)
            | What::Wait(_)
            | What::Warning(_) => false,
        }
    }
}

/// What a claim may begin with, but for the names of steps.
const SUBJECTS: [&str; 16] = [
    "step",
    "disruption",
    "evicts",
    "override",
    "effective",
    "converged",
    "blocker",
    "wait",
    "warning",
    "on",
    "off",
    "dark",
    "running",
    "stopped",
    "cordoned",
    "hard-cut",
];

impl Claim {
    /// Reads a claim about such a cluster, which is played for so long.
    ///
    /// # Errors
    /// Fails where a word is unknown, or where the claim could never come true.
    pub(super) fn parse(text: &str, config: &Config, length: Duration) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (subject, from, until) = window(&words, length)?;
        let read = |words: &[&str]| Words { rest: words, config }.what();
        let turns = [("before", Turn::Before), ("after", Turn::After)];
        let turn = turns.iter().find_map(|(word, turn)| {
            let at = subject.iter().position(|one| one == word)?;
            Some((at, *turn))
        });
        let (subject, turn) = match turn {
            Some((at, turn)) => (&subject[..at], Some((turn, read(&subject[at + 1..])?))),
            None => (subject, None),
        };
        Ok(Self { text: text.to_owned(), what: read(subject)?, turn, from, until })
    }

    /// Whether it is true of this moment, and what shows it; `has_turned`: whether what it comes before or after was
    /// seen at an earlier one.
    pub(super) fn holds(&self, at: Duration, has_turned: bool, seen: &Seen<'_>) -> Option<String> {
        let is_time = self.from <= at && at <= self.until;
        let is_turn = match &self.turn {
            None => true,
            Some((Turn::Before, _)) => !has_turned,
            Some((Turn::After, _)) => has_turned,
        };
        (is_time && is_turn).then(|| seen.evidence(&self.what)).flatten()
    }

    /// Whether what it comes before or after is seen now.
    pub(super) fn turns(&self, seen: &Seen<'_>) -> bool {
        self.turn.as_ref().is_some_and(|(_, what)| seen.evidence(what).is_some())
    }

    /// Whether that is a fact of the world, which a pass found as it was; steps of one pass come at the same time.
    pub(super) fn turns_before_a_pass(&self) -> bool {
        self.turn.as_ref().is_some_and(|(_, what)| what.is_of_the_world())
    }

    /// Whether its time is not over.
    pub(super) fn is_open(&self, at: Duration) -> bool {
        at <= self.until
    }
}

/// Splits the time off a claim: `from 60`, `until 600`, both, or `in the end`.
fn window<'a, 'b>(words: &'b [&'a str], length: Duration) -> Result<(&'b [&'a str], Duration, Duration), String> {
    if let [subject @ .., "in", "the", "end"] = words {
        return Ok((subject, length, Duration::MAX));
    }
    let (mut rest, mut from, mut until) = (words, Duration::ZERO, None);
    while let [left @ .., word @ ("from" | "until"), number] = rest {
        let seconds = number.parse().map_err(|_| format!("`{word}` is followed by seconds, not by \"{number}\""))?;
        let at = Duration::from_secs(seconds);
        if at > length {
            return Err(format!("`{word} {number}` is after the end, which is at {} s", length.as_secs()));
        }
        if *word == "from" {
            from = at;
        } else {
            until = Some(at);
        }
        rest = left;
    }
    if until.is_some_and(|until| until < from) {
        return Err("it ends before it begins".to_owned());
    }
    // The last tick may end a little after the end.
    Ok((rest, from, until.unwrap_or(Duration::MAX)))
}

/// The words of a subject, read from the first to the last.
struct Words<'a, 'b> {
    rest: &'b [&'a str],
    config: &'b Config,
}

impl Words<'_, '_> {
    fn what(mut self) -> Result<What, String> {
        let subject = self.next().ok_or("it says nothing")?.to_owned();
        let what = match subject.as_str() {
            "step" => What::AnyStep,
            "disruption" => What::Disruption,
            "evicts" => What::Evicts(self.next().ok_or("from which namespace?")?.to_owned()),
            "override" => What::Override { state: self.state()?, path: self.path()? },
            "effective" => {
                What::Effective { state: self.state()?.ok_or("`effective` needs a state")?, path: self.path()? }
            }
            "converged" => What::Converged(self.state()?),
            "blocker" => What::Blocker(self.name::<Blocker>("blocker")?),
            "wait" => What::Wait(self.name::<WaitReason>("wait")?),
            "warning" => What::Warning(self.name::<Warning>("warning")?),
            "on" => What::On(self.host()?),
            "off" => What::Off(self.host()?),
            "dark" => What::Dark,
            "running" => What::Running(self.node()?),
            "stopped" => What::Stopped(self.node()?),
            "cordoned" => What::Cordoned(self.node()?),
            "hard-cut" => What::HardCut(if self.rest.is_empty() { None } else { Some(self.node()?) }),
            name => self.step(name)?,
        };
        if matches!(what, What::Override { state: Some(ClusterState::Running), .. }) {
            return Err("no override ever demands running".to_owned());
        }
        match self.next() {
            None => Ok(what),
            Some(more) => Err(format!("\"{more}\" is too much")),
        }
    }

    fn next(&mut self) -> Option<&str> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    fn state(&mut self) -> Result<Option<ClusterState>, String> {
        let all = [ClusterState::Running, ClusterState::DrainedOff, ClusterState::Poweroff];
        let Some(word) = self.rest.first() else { return Ok(None) };
        let state = all.into_iter().find(|state| state.to_string() == **word);
        match state {
            Some(state) => {
                self.next();
                Ok(Some(state))
            }
            None if [Path::Graceful, Path::Emergency].iter().any(|path| path.to_string() == **word) => Ok(None),
            None => Err(unknown("state", word, all.iter().map(ToString::to_string))),
        }
    }

    fn path(&mut self) -> Result<Option<Path>, String> {
        let all = [Path::Graceful, Path::Emergency];
        let Some(word) = self.next() else { return Ok(None) };
        let path = all.into_iter().find(|path| path.to_string() == word);
        path.map(Some).ok_or_else(|| unknown("path", word, all.iter().map(ToString::to_string)))
    }

    fn name<T: JsonSchema>(&mut self, kind: &str) -> Result<String, String> {
        let word = self.next().ok_or_else(|| format!("which {kind}?"))?;
        let names = names::<T>();
        if names.iter().any(|name| name == word) { Ok(word.to_owned()) } else { Err(unknown(kind, word, names)) }
    }

    fn node(&mut self) -> Result<NodeName, String> {
        let nodes = &self.config.nodes;
        let word = self.next().ok_or("which node?")?.to_owned();
        let node = nodes.keys().find(|node| node.as_str() == word).cloned();
        node.ok_or_else(|| unknown("node", &word, nodes.keys().map(ToString::to_string)))
    }

    fn host(&mut self) -> Result<Option<NodeName>, String> {
        if self.rest.first() == Some(&THIS_HOST) {
            self.next();
            return Ok(None);
        }
        self.node().map(Some)
    }

    /// A step by its name, where something there could be its target.
    fn step(&mut self, name: &str) -> Result<What, String> {
        let names = names::<Step>();
        if !names.iter().any(|one| one == name) {
            let all = names.into_iter().chain(SUBJECTS.map(str::to_owned));
            return Err(unknown("claim", name, all));
        }
        let has_more = !self.rest.is_empty();
        let target = match name {
            "power-off-own-host" => None,
            "cut-load" => {
                let cutting = self.config.upses.iter().filter(|(_, ups)| ups.cut_load.is_some());
                let cutting: Vec<UpsName> = cutting.map(|(name, _)| name.clone()).collect();
                let word = if has_more { self.next() } else { None };
                let is_meant = |ups: &&UpsName| word.is_none_or(|word| word == ups.as_str());
                let ups = cutting.iter().find(is_meant).cloned();
                let ups = ups.ok_or("no such UPS has `cut_load`: that step is never taken")?;
                word.is_some().then_some(Target::Ups(ups))
            }
            _ => {
                let node = if has_more { Some(self.node()?) } else { None };
                let could = self.config.nodes.iter().any(|(one, entry)| {
                    node.as_ref().is_none_or(|node| node == one)
                        && match name {
                            "wake" => entry.wake.is_some(),
                            "save-etcd-snapshot" => entry.role == Role::ControlPlane,
                            _ => entry.is_managed,
                        }
                });
                if !could {
                    return Err("by the cluster's configuration that step is never taken there".to_owned());
                }
                node.map(Target::Node)
            }
        };
        Ok(What::Step { name: name.to_owned(), target })
    }
}

fn unknown(kind: &str, word: &str, known: impl IntoIterator<Item = String>) -> String {
    let known: Vec<String> = known.into_iter().collect();
    let hint = did_you_mean(word, known.iter().map(String::as_str));
    let hint = hint.unwrap_or_else(|| format!("there are {}", known.join(", ")));
    format!("unknown {kind} \"{word}\"; {hint}")
}

/// The names of an enum's variants, as its JSON Schema has them: what is new there can be claimed at once.
fn names<T: JsonSchema>() -> Vec<String> {
    let schema = schema_for!(T);
    let variants = schema.get("oneOf").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let tag = |variant: &Value| variant.pointer("/properties/name/const").and_then(Value::as_str).map(str::to_owned);
    let key = |variant: &Value| variant.pointer("/required/0").and_then(Value::as_str).map(str::to_owned);
    variants.iter().filter_map(|variant| tag(variant).or_else(|| key(variant))).collect()
}

#[cfg(test)]
mod tests {
    use super::names;
    use crate::plan::blocker::{Blocker, WaitReason, Warning};
    use crate::plan::step::Step;

    #[test]
    fn names_of_variants_come_from_their_schema() {
        assert!(names::<Step>().contains(&"power-off-own-host".to_owned()), "{:?}", names::<Step>());
        assert!(names::<Blocker>().contains(&"peer-may-not-start".to_owned()), "{:?}", names::<Blocker>());
        assert!(names::<WaitReason>().contains(&"ledger-on-disk".to_owned()), "{:?}", names::<WaitReason>());
        assert!(names::<Warning>().contains(&"load-not-cut".to_owned()), "{:?}", names::<Warning>());
    }
}

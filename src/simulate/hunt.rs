//! Random worlds under every invariant, one a seed; a failing one told as a story that a person can read.
//!
//! Pure. Whoever calls it spreads the seeds over cores.

#![deny(clippy::disallowed_methods)]

use std::fmt;

use serde::Serialize;

use super::checks::Finding;
use super::script::{Script, ScriptError};
use super::seeds::{Trouble, script};
use super::shrink::shrink;
use super::story::StoryLine;
use super::trial::{Trial, compare_without_kills, trial};

/// A failing seed, made as small as it can be.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// What was played: a scenario that can be saved and played again.
    pub scenario: Script,
    /// How it went.
    pub timeline: Vec<StoryLine>,
    /// What was broken.
    pub findings: Vec<Finding>,
}

/// Plays a seed; where nothing but the power goes wrong, with kills left out too, which must come to the same.
///
/// # Errors
/// Fails where the seed draws a cluster whose configuration has mistakes.
pub fn play(seed: u64, trouble: Trouble) -> Result<Trial, ScriptError> {
    play_script(&script(seed, trouble), trouble)
}

/// Tells a seed that broke this rule.
///
/// # Errors
/// Fails where the seed draws a cluster whose configuration has mistakes.
pub fn tell(seed: u64, trouble: Trouble, rule: &str) -> Result<Told, ScriptError> {
    let breaks = |smaller: &Script| {
        play_script(smaller, trouble).is_ok_and(|trial| trial.findings.iter().any(|finding| finding.rule == rule))
    };
    let scenario = shrink(&script(seed, trouble), breaks);
    let trial = play_script(&scenario, trouble)?;
    Ok(Told { scenario, timeline: trial.timeline, findings: trial.findings })
}

fn play_script(script: &Script, trouble: Trouble) -> Result<Trial, ScriptError> {
    let mut trial = trial(script)?;
    if trouble == Trouble::Outages {
        trial.findings.extend(compare_without_kills(script, &trial)?);
    }
    Ok(trial)
}

impl Told {
    /// The scenario's text.
    ///
    /// # Errors
    /// Fails where it holds what YAML cannot say.
    pub fn yaml(&self) -> Result<String, ScriptError> {
        Ok(serde_yaml::to_string(&self.scenario)?)
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.timeline.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        self.findings.iter().try_for_each(|finding| writeln!(f, "broken: {}: {}", finding.rule, finding.evidence))
    }
}

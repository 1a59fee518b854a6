//! The record of past episodes: what budgets are learned from.
//!
//! Pure data; `store.rs` keeps it in `runs.json`, bounded by `reconcile.runs_kept`.

#![deny(clippy::disallowed_methods)]

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::budget::Lessons;
use crate::model::{BootId, ClusterState, Path, RunId, seconds};
use crate::plan::step::Outcome;

/// Past runs, and what they teach: learned when a run is added, not at every pass.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "Runs")]
pub struct History {
    runs: Vec<Run>,
    lessons: Lessons,
}

/// The content of `runs.json`, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "History")]
pub struct Runs {
    /// The runs.
    pub runs: Vec<Run>,
}

impl History {
    /// Takes runs over, oldest first.
    pub fn new(runs: Vec<Run>) -> Self {
        let lessons = Lessons::of(&runs);
        Self { runs, lessons }
    }

    /// The runs, oldest first.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// What they teach.
    pub fn lessons(&self) -> &Lessons {
        &self.lessons
    }

    /// Adds a run, and forgets the oldest beyond so many.
    pub fn push(&mut self, run: Run, kept: usize) {
        self.runs.push(run);
        let surplus = self.runs.len().saturating_sub(kept);
        self.runs.drain(..surplus);
        self.lessons = Lessons::of(&self.runs);
    }
}

impl From<Runs> for History {
    fn from(Runs { runs }: Runs) -> Self {
        Self::new(runs)
    }
}

/// The record of one episode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// The state it went for.
    pub state: ClusterState,
    /// The path of a descent.
    pub path: Path,
    /// Why it began.
    pub trigger: String,
    /// Whether a UPS' override began it.
    pub is_override: bool,
    /// Whether a descent began with every reachable node running: only such a run teaches a budget.
    pub from_running: bool,
    /// When it began, by wall clock.
    pub began_at: Timestamp,
    /// When it ended, by wall clock.
    pub ended_at: Timestamp,
    /// Whether that clock was synchronised then.
    #[serde(default)]
    pub wall_synced: bool,
    /// In which boot of this host it ended; None where a version wrote it that did not say.
    #[serde(default)]
    pub boot_id: Option<BootId>,
    /// How long it took, by boottime where one boot saw all of it.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub duration: Duration,
    /// Whether it converged; another wish or the end of the battery cuts a run off.
    pub result: RunResult,
    /// Its steps in the order in which they ended; at most [`Run::STEPS_MAX`].
    pub steps: Vec<RunStep>,
}

impl Run {
    /// Bounds the record of a run that tries for hours.
    pub const STEPS_MAX: usize = 2000;
}

/// How an episode ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunResult {
    /// Reality became as desired.
    Converged,
    /// Another episode took its place.
    Superseded,
    /// hecate or its host ended in the middle.
    CutOff,
}

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunStep {
    /// The step's name.
    pub step: String,
    /// What it acted on.
    pub target: String,
    /// Seconds after the run's beginning at which it was started.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub started: Duration,
    /// How long the attempt took.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub took: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

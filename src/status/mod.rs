//! One serialisable value that says everything: what is desired, what is, what is missing, and why.
//!
//! Pure. `status.json` is this value; `hecate status`, `/metrics` and the progress display are drawn from it.

#![deny(clippy::disallowed_methods)]

pub mod battery;
pub mod diff;
pub mod render;
pub mod rows;
pub(crate) mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::battery::BatteryRow;
use crate::desired::{Declared, DeclaredHealth, Effective};
use crate::ledger::Episode;
pub use crate::model::Intent;
use crate::model::{NodeName, Now, Role, Unit, UpsName, seconds, seconds_option};
use crate::plan::Plan;
use crate::plan::step::{Outcome, Step};
use crate::snapshot::{Snapshot, UnitState};

/// The published status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The time of the pass.
    pub now: Now,
    /// The pass' number since hecate started.
    pub pass: u64,
    /// Who acts.
    pub actor: Actor,
    /// What was asked for.
    pub declared: Declared,
    /// How far that can be trusted.
    pub declared_health: DeclaredHealth,
    /// What is obeyed.
    pub effective: Effective,
    /// What `intent.json` says.
    pub intent: Intent,
    /// The episode, with its phases.
    pub episode: Option<Episode>,
    /// Whether reality is as desired.
    pub is_converged: bool,
    /// Each node: what is desired, what is.
    pub nodes: BTreeMap<NodeName, NodeRow>,
    /// Each UPS.
    pub upses: BTreeMap<UpsName, UpsRow>,
    /// What is done, waited for, in the way, to come.
    pub plan: Plan,
    /// How long a shutdown takes and what the batteries give.
    pub budget: BudgetView,
    /// What was done last, newest first.
    pub last_steps: Vec<LastStep>,
    /// Mistakes of a configuration that could not be taken over; the last good one rules.
    #[serde(default)]
    pub config_problem: Option<String>,
    /// Nodes that were told to power off and have not come back: past their commit point, with when they were told. What
    /// mains that return undo is done for all others.
    #[serde(default)]
    pub past_commit_point: BTreeMap<NodeName, Timestamp>,
    /// Nodes whose host was up when a descent began, until the next bring-up has converged.
    #[serde(default)]
    pub was_up: BTreeSet<NodeName>,
    /// UPSes that were told to cut their load, with when.
    #[serde(default)]
    pub load_cuts: BTreeMap<UpsName, Timestamp>,
    /// Files that could not be written.
    #[serde(default)]
    pub write_problem: Option<String>,
    /// Everything that was seen.
    pub snapshot: Snapshot,
}

/// Who acts on the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Actor {
    /// The daemon.
    Daemon {
        /// Its process id.
        pid: u32,
    },
    /// A foreground command.
    Foreground {
        /// Its process id.
        pid: u32,
    },
    /// Nobody: this is one read-only pass.
    Nobody,
}

/// One node of the diff view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeRow {
    /// Its role.
    pub role: Role,
    /// The unit of its role.
    pub unit: Unit,
    /// What is desired, in words: `running`, `stopped`, `off`.
    pub desired: String,
    /// What its host is.
    pub host: HostState,
    /// The unit's state, where it is known.
    pub unit_state: Option<UnitState>,
    /// What its Node object says, by fresh status only: `Ready`, `NotReady`, `Unknown`, with `,SchedulingDisabled`.
    pub node: String,
    /// How many pods a drain owes are on it.
    pub pods: Option<usize>,
    /// Whether it is as desired.
    pub is_as_desired: bool,
    /// What is missing, in words; empty when nothing is.
    pub missing: String,
}

/// What is known of a host's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HostState {
    /// It answers a real command, and it is the host that it should be.
    Up,
    /// It was told to power off and has been silent for long enough.
    Off,
    /// It does not answer.
    Unreachable,
    /// Another host answers in its place.
    Wrong,
    /// It was not looked at yet.
    Unknown,
    /// hecate does not command it.
    NotManaged,
}

/// One UPS of the status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpsRow {
    /// `ups.status`, or why it is unknown.
    pub status: String,
    /// `battery.charge`.
    pub charge_percent: Option<f64>,
    /// `battery.runtime`.
    #[serde(with = "seconds_option")]
    #[schemars(with = "Option<f64>")]
    pub runtime: Option<Duration>,
    /// `ups.load`.
    pub load_percent: Option<f64>,
    /// What the policy makes of it.
    pub verdict: UpsVerdict,
    /// Why, with the figures.
    pub evidence: String,
    /// For how long it has been on battery.
    #[serde(with = "seconds_option")]
    #[schemars(with = "Option<f64>")]
    pub on_battery_for: Option<Duration>,
    /// What is known of its battery; None: nothing yet.
    #[serde(default)]
    pub battery: Option<BatteryRow>,
}

/// What the policy makes of one UPS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UpsVerdict {
    /// Mains are there.
    OnLine,
    /// No usable word from it.
    Unknown,
    /// On battery, with time left.
    OnBattery,
    /// The time has come to be dark.
    Critical,
    /// An operator took it out of the policy.
    Ignored,
}

/// How long a shutdown takes and what the batteries give.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BudgetView {
    /// The full path (`estimated_shutdown_budget_seconds`).
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub full: Duration,
    /// From how many runs it was learned; 0: configured.
    pub full_samples: usize,
    /// The emergency path (`estimated_emergency_shutdown_budget_seconds`).
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub emergency: Duration,
    /// From how many runs it was learned; 0: configured.
    pub emergency_samples: usize,
    /// How much of the full path is still to come.
    #[serde(with = "seconds", default)]
    #[schemars(with = "f64")]
    pub needs_full: Duration,
    /// How much of the emergency path is still to come.
    #[serde(with = "seconds", default)]
    #[schemars(with = "f64")]
    pub needs_emergency: Duration,
    /// The slowest steps that past shutdowns taught, slowest first.
    #[serde(default)]
    pub slowest: Vec<SlowStep>,
    /// The UPS policy triggers at this time left.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub trigger_at: Duration,
    /// What the batteries give: the least time left on battery; on line the least runtime that a UPS reports.
    #[serde(with = "seconds_option")]
    #[schemars(with = "Option<f64>")]
    pub has: Option<Duration>,
}

/// A slow case that past shutdowns taught.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlowStep {
    /// The step's name, or `host-off`: from a power-off until its host was silent.
    pub step: String,
    /// On what.
    pub target: String,
    /// How long it takes in the slow case.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub time: Duration,
    /// From how many samples.
    pub samples: usize,
}

/// A step that ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastStep {
    /// When, by wall clock.
    pub at: Timestamp,
    /// What.
    pub step: Step,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub took: Duration,
}

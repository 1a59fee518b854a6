//! What is in flight and what was learned since hecate started: `track(memory, event, now) -> (memory, commands)`.
//!
//! Pure, sans-I/O: the daemon, the foreground commands, the simulator and the model checker drive the same tracker.
//! Losing a [`Memory`] costs time and nothing else.

#![deny(clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::model::{NodeName, Uid, UpsName};
use crate::plan::step::{Outcome, Step, Target};
use crate::snapshot::UpsReading;

/// What was learned since hecate started. May be lost at any time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// Steps that run now, one a target at most.
    pub in_flight: BTreeMap<Target, InFlight>,
    /// The last attempts, by step.
    pub attempts: BTreeMap<String, Attempt>,
    /// When the last step on a target ended: a reading begun before neither confirms nor repeats it.
    pub ended: BTreeMap<Target, Duration>,
    /// The last polls of each UPS, oldest first.
    pub upses: BTreeMap<UpsName, UpsMemory>,
    /// Since when each host has been silent.
    pub silent_since: BTreeMap<NodeName, Duration>,
    /// Since when each host's own unit has been seen stopped without hecate having asked for it.
    pub stopped_since: BTreeMap<NodeName, Duration>,
    /// Pods (by UID) seen on each node when every node was cordoned: what a drain owes.
    pub drain_owed: BTreeMap<NodeName, BTreeSet<Uid>>,
    /// Since when a named condition has stood, for the limits of waits.
    pub waits: BTreeMap<String, Duration>,
    /// Since when the ledger on disk has been older than the one in memory.
    pub ledger_pending: Option<Duration>,
    /// When this memory began.
    pub began: Duration,
}

/// A step that runs now.
#[derive(Clone, Debug, PartialEq)]
pub struct InFlight {
    /// The step.
    pub step: Step,
    /// When it was started.
    pub started: Duration,
    /// When it is no longer waited for.
    pub deadline: Duration,
    /// Whether its cancellation was asked for.
    pub is_cancelled: bool,
}

/// How the attempts at one step went.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// How many since it was last confirmed or wanted.
    pub count: u32,
    /// When the last one ended.
    pub ended: Duration,
    /// How.
    pub outcome: Outcome,
}

/// The last polls of one UPS.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpsMemory {
    /// Answers, oldest first; at most [`UpsMemory::SAMPLES_MAX`].
    pub samples: VecDeque<UpsSample>,
    /// Since when there has been no usable answer.
    pub lost_since: Option<Duration>,
}

impl UpsMemory {
    /// Two minutes of polls at one a second.
    pub const SAMPLES_MAX: usize = 120;
}

/// One answer of a UPS.
#[derive(Clone, Debug, PartialEq)]
pub struct UpsSample {
    /// When the poll began.
    pub began: Duration,
    /// What it said.
    pub reading: UpsReading,
}

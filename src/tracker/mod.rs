//! What is in flight and what was learned since hecate started: `track(memory, event, now) -> (memory, commands)`.
//!
//! Pure, sans-I/O: the daemon, the foreground commands, the simulator and the model checker drive the same tracker.
//! Losing a [`Memory`] costs time and nothing else.

#![deny(clippy::disallowed_methods)]

pub mod low;
mod ups;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::decide::Decision;
use crate::desired::ups_policy::DeclaredChange;
use crate::history::{Run, RunStep};
use crate::ledger::Ledger;
use crate::model::{FailureKind, NodeName, Now, Reading, Uid, UpsName};
use crate::plan::Planned;
use crate::plan::step::{Evidence, Outcome, Step, Target};
use crate::snapshot::{Snapshot, UnitState};

pub use self::low::{Low, Seconds};
pub use self::ups::{Climb, DrawnFrom, Figures, Line, LowRun, Outage, Standing, UpsMemory, UpsSample};

/// On battery, a step that relies on the ledger goes on without after this time: a full disk must not keep a cluster
/// running into the end of its battery.
pub const LEDGER_PATIENCE_ON_BATTERY: Duration = Duration::from_secs(1);

/// One answer that is lost takes less: a host that was silent for so long was away.
const SILENT_LEAST: Duration = Duration::from_secs(10);

/// What happened.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A pass has looked.
    Observed {
        /// What was seen.
        snapshot: &'a Snapshot,
        /// How long mains must stand, how long silence may last, and which words say nothing.
        config: &'a Config,
    },
    /// A pass has decided.
    Decided(&'a Decision),
    /// An attempt ended.
    Ended {
        /// What it acted on.
        target: Target,
        /// How it ended.
        outcome: Outcome,
    },
    /// The ledger of this number is on disk.
    LedgerPersisted(u64),
    /// The first so many of the changes of `desired.yaml` are on disk.
    DeclaredSaved(usize),
    /// A new episode began: what belonged to the old one is forgotten.
    EpisodeBegan,
}

/// What the driver of the tracker must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Put the ledger on disk and answer with `LedgerPersisted(number)`.
    PersistLedger {
        /// Later ledgers have greater numbers.
        number: u64,
        /// What to write.
        ledger: Box<Ledger>,
    },
    /// Change the overrides of `desired.yaml`; obeyed from memory where that fails.
    ChangeDeclared(Vec<DeclaredChange>),
    /// Stop waiting for the step on this target; answer with `Ended`.
    Cancel(Target),
    /// Start a step; answer with `Ended`.
    Start(Planned),
    /// Look at this target anew at once.
    Observe(Target),
    /// Put this into `low.json`, which needs no fsync: a restart within this boot goes on from it.
    KeepLow(Arc<Low>),
}

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
    /// The number of the latest ledger.
    pub ledger_number: u64,
    /// Since when the ledger on disk has been older than the one in memory.
    pub ledger_pending: Option<Duration>,
    /// The steps of this episode that ended, for its record.
    pub run_steps: Vec<RunStep>,
    /// When each UPS was sent the command that cuts its load, or may have been; no episode forgets it.
    pub cuts_sent: BTreeMap<UpsName, Duration>,
    /// Since when each host answers again that was silent before, for longer than a lost answer takes.
    pub answers_since: BTreeMap<NodeName, Duration>,
    /// When each host was woken last.
    pub woken: BTreeMap<NodeName, Duration>,
    /// Changes of `desired.yaml` that are obeyed and not on disk yet, in their order.
    pub unsaved: Vec<DeclaredChange>,
    /// What `low.json` holds.
    pub kept_low: Option<Arc<Low>>,
    /// When this memory began.
    pub began: Duration,
}

impl Memory {
    /// The memory as it is for a new episode: what belonged to the old one is forgotten, but for what was done a moment ago and
    /// has not shown its effect yet.
    pub fn without_episode(mut self) -> Self {
        self.attempts.retain(|_, attempt| attempt.is_at_most_once());
        let Self { waits, drain_owed, run_steps, .. } = Self::default();
        Self { waits, drain_owed, run_steps, ..self }
    }
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
    /// How their effect is learned.
    pub evidence: Evidence,
    /// What they acted on: until that was looked at again nobody knows whether more of them are wanted.
    pub target: Target,
}

impl Attempt {
    /// Whether the last one was carried out, and nothing shows its effect: it is not repeated at once, whoever wants it.
    pub fn is_at_most_once(&self) -> bool {
        self.evidence == Evidence::AtMostOnce && self.outcome == Outcome::Tried
    }
}

/// Takes an event in and says what must be done.
pub fn track(mut memory: Memory, event: Event<'_>, now: &Now) -> (Memory, Vec<Command>) {
    let mut commands = Vec::new();
    match event {
        Event::Observed { snapshot, config } => observed(&mut memory, snapshot, config, now),
        Event::Decided(decision) => decided(&mut memory, decision, now, &mut commands),
        Event::Ended { target, outcome } => {
            if let Some(ended) = memory.in_flight.remove(&target) {
                note_end(&mut memory, &ended, outcome, now);
            }
            memory.ended.insert(target.clone(), now.boottime);
            commands.push(Command::Observe(target));
        }
        Event::LedgerPersisted(number) => {
            if number == memory.ledger_number {
                memory.ledger_pending = None;
            }
        }
        Event::DeclaredSaved(count) => {
            memory.unsaved.drain(..count.min(memory.unsaved.len()));
        }
        Event::EpisodeBegan => memory = memory.without_episode(),
    }
    (memory, commands)
}

fn note_end(memory: &mut Memory, ended: &InFlight, outcome: Outcome, now: &Now) {
    if memory.run_steps.len() < Run::STEPS_MAX {
        memory.run_steps.push(RunStep {
            step: ended.step.name().to_owned(),
            target: ended.step.target().to_string(),
            started: ended.started,
            took: now.since(ended.started),
            outcome: outcome.clone(),
        });
    }
    if let (Step::CutLoad { ups, .. }, Outcome::Tried | Outcome::DeadlinePassed | Outcome::Cancelled) =
        (&ended.step, &outcome)
    {
        memory.cuts_sent.insert(ups.clone(), now.boottime);
    }
    if let Step::Wake { node } = &ended.step {
        memory.woken.insert(node.clone(), now.boottime);
    }
    if outcome == Outcome::Cancelled {
        return;
    }
    let attempt = memory.attempts.entry(ended.step.key()).or_insert(Attempt {
        count: 0,
        ended: now.boottime,
        outcome: outcome.clone(),
        evidence: ended.step.evidence(),
        target: ended.step.target(),
    });
    attempt.count = attempt.count.saturating_add(1);
    attempt.ended = now.boottime;
    attempt.outcome = outcome;
}

fn observed(memory: &mut Memory, snapshot: &Snapshot, config: &Config, now: &Now) {
    // A UPS that was taken out of the configuration and put back begins anew.
    if !snapshot.upses.is_empty() {
        memory.upses.retain(|name, _| snapshot.upses.contains_key(name));
    }
    for (name, reading) in &snapshot.upses {
        if let Reading::Known { value, began } = reading
            && let Some(ups) = config.upses.get(name)
        {
            memory.upses.entry(name.clone()).or_default().take(value, *began, ups, &config.ups_policy);
        }
    }
    for (name, reading) in &snapshot.witnesses {
        if let Reading::Known { value: true, began } = reading {
            memory.upses.entry(name.clone()).or_default().witness_seen = Some(*began);
        }
    }
    for (name, reading) in &snapshot.hosts {
        match reading {
            Reading::Known { value, .. } => {
                answered(memory, name, now);
                let is_stopped = [value.k3s, value.k3s_agent]
                    .iter()
                    .all(|unit| matches!(unit, UnitState::Stopped | UnitState::NotFound));
                if is_stopped {
                    memory.stopped_since.entry(name.clone()).or_insert(now.boottime);
                } else {
                    memory.stopped_since.remove(name);
                }
            }
            // A host that answers nonsense, or does not let hecate in, is not off.
            Reading::Unknown { why, .. } => match why.kind {
                FailureKind::Unreachable | FailureKind::TimedOut => {
                    memory.silent_since.entry(name.clone()).or_insert(now.boottime);
                }
                // A restart goes on from what its earlier life saw.
                FailureKind::NotYet => {}
                FailureKind::WrongHostKey
                | FailureKind::AccessDenied
                | FailureKind::Malformed
                | FailureKind::DataStale
                | FailureKind::DriverNotConnected
                | FailureKind::UnknownUps
                | FailureKind::Other => answered(memory, name, now),
            },
        }
    }
}

/// A host has answered: its silence is over.
fn answered(memory: &mut Memory, name: &NodeName, now: &Now) {
    let Some(since) = memory.silent_since.remove(name) else { return };
    if now.boottime.saturating_sub(since) >= SILENT_LEAST {
        memory.answers_since.insert(name.clone(), now.boottime);
    }
}

fn decided(memory: &mut Memory, decision: &Decision, now: &Now, commands: &mut Vec<Command>) {
    memory.attempts.retain(|key, _| decision.wanted.contains(key));
    memory.waits = decision.waiting_since.clone();
    for (name, run) in &decision.low_runs {
        memory.upses.entry(name.clone()).or_default().low.clone_from(run);
    }
    for (node, owed) in &decision.drain_owed {
        memory.drain_owed.entry(node.clone()).or_insert_with(|| owed.clone());
    }
    if !decision.declared_changes.is_empty() {
        memory.unsaved.extend(decision.declared_changes.iter().cloned());
        commands.push(Command::ChangeDeclared(decision.declared_changes.clone()));
    }
    if let Some(ledger) = &decision.ledger_write {
        memory.ledger_number += 1;
        memory.ledger_pending.get_or_insert(now.boottime);
        commands.push(Command::PersistLedger { number: memory.ledger_number, ledger: Box::new(ledger.clone()) });
    }
    for target in &decision.plan.cancel {
        if let Some(step) = memory.in_flight.get_mut(target)
            && !step.is_cancelled
        {
            step.is_cancelled = true;
            commands.push(Command::Cancel(target.clone()));
        }
    }
    let is_pressing = decision.effective.is_on_battery()
        && memory.ledger_pending.is_some_and(|since| now.since(since) >= LEDGER_PATIENCE_ON_BATTERY);
    for planned in &decision.plan.start {
        let is_durable = memory.ledger_pending.is_none()
            || !planned.step.relies_on_ledger()
            || (is_pressing && planned.step.may_go_without_ledger(decision.effective.is_override()));
        let target = planned.step.target();
        if is_durable && !memory.in_flight.contains_key(&target) {
            memory.in_flight.insert(
                target,
                InFlight {
                    step: planned.step.clone(),
                    started: now.boottime,
                    deadline: now.boottime + planned.limit,
                    is_cancelled: false,
                },
            );
            commands.push(Command::Start(planned.clone()));
        }
    }
    let overdue: Vec<Target> = memory
        .in_flight
        .iter_mut()
        .filter(|(_, step)| !step.is_cancelled && now.boottime > step.deadline + DEADLINE_SLACK)
        .map(|(target, step)| {
            step.is_cancelled = true;
            target.clone()
        })
        .collect();
    commands.extend(overdue.into_iter().map(Command::Cancel));
}

/// The driver ends a step at its deadline by itself; the tracker asks for it once more after this slack.
const DEADLINE_SLACK: Duration = Duration::from_secs(2);

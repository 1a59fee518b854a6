//! What one hecate knows and remembers between two passes, and the pass itself.
//!
//! Pure. The daemon, the foreground commands, the built-in world and the model checker drive this same [`Desk`]; they only
//! look, carry commands out, and say what became of them.

#![deny(clippy::disallowed_methods)]

use std::sync::Arc;
use std::time::Duration;

use crate::config::Config;
use crate::decide::{Decision, Known, decide};
use crate::desired::ups_policy::apply;
use crate::desired::{Declared, DeclaredHealth};
use crate::history::History;
use crate::ledger::Ledger;
use crate::model::Now;
use crate::plan::step::{Outcome, Target};
use crate::snapshot::Snapshot;
use crate::tracker::{Command, Event, Low, Memory, track};

/// `low.json` is written anew after so long though nothing changed: a restart goes on from what is a moment old.
const LOW_MAX_AGE: Duration = Duration::from_secs(10);

/// What one hecate knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Desk {
    /// `desired.yaml`, with the changes on top that the disk has not taken yet.
    pub declared: Declared,
    /// How far that can be trusted.
    pub health: DeclaredHealth,
    /// The ledger as it is obeyed; the one on disk may be older.
    pub ledger: Ledger,
    /// Why the ledger on disk cannot be trusted, where it cannot.
    pub ledger_problem: Option<String>,
    /// Past runs.
    pub history: History,
    /// What was learned since hecate started.
    pub memory: Memory,
}

/// What a pass came to.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub struct Passed {
    /// The decision.
    pub decision: Decision,
    /// What must be carried out, in this order.
    pub commands: Vec<Command>,
}

impl Desk {
    /// A hecate that starts with what it has read, at this time.
    pub fn new(declared: Declared, health: DeclaredHealth, now: &Now) -> Self {
        Self {
            declared,
            health,
            ledger: Ledger::default(),
            ledger_problem: None,
            history: History::default(),
            memory: Memory { began: now.boottime, ..Memory::default() },
        }
    }

    /// One pass: takes in what was seen, decides, and keeps what follows from it.
    pub fn pass(&mut self, config: &Config, snapshot: &Snapshot, now: &Now) -> Passed {
        self.observe(config, snapshot, now);
        let decision = self.decide(config, snapshot, now);
        let mut commands = self.keep(config, &decision, now);
        commands.extend(self.keep_low(now));
        Passed { decision, commands }
    }

    /// Takes in what was seen. The same snapshot a second time changes nothing.
    pub fn observe(&mut self, config: &Config, snapshot: &Snapshot, now: &Now) {
        self.feed(Event::Observed { snapshot, config }, now);
    }

    /// What would be done, and nothing else; [`Desk::observe`] comes first.
    pub fn decide(&self, config: &Config, snapshot: &Snapshot, now: &Now) -> Decision {
        let known = Known {
            config,
            declared: &self.declared,
            health: &self.health,
            snapshot,
            history: &self.history,
            ledger: &self.ledger,
            ledger_problem: self.ledger_problem.as_deref(),
            memory: &self.memory,
        };
        decide(known, now)
    }

    /// A step ended.
    pub fn ended(&mut self, target: Target, outcome: Outcome, now: &Now) -> Vec<Command> {
        self.feed(Event::Ended { target, outcome }, now)
    }

    /// The ledger of this number is on disk.
    pub fn persisted(&mut self, number: u64, now: &Now) {
        self.feed(Event::LedgerPersisted(number), now);
    }

    /// Keeps what follows from a decision. Changes of `desired.yaml` are obeyed at once, whatever the disk says to them.
    fn keep(&mut self, config: &Config, decision: &Decision, now: &Now) -> Vec<Command> {
        if decision.episode_began {
            self.feed(Event::EpisodeBegan, now);
        }
        if let Some(ledger) = &decision.ledger_write {
            self.ledger.clone_from(ledger);
        }
        if let Some(run) = &decision.finished_run {
            self.history.push(run.clone(), config.reconcile.runs_kept);
        }
        for change in &decision.declared_changes {
            apply(&mut self.declared, change);
        }
        self.feed(Event::Decided(decision), now)
    }

    /// Goes on from what an earlier life in this boot left in `low.json`: what was seen of the UPSes, what the disk has not
    /// taken yet. Says whether it was of this boot.
    pub fn recall(&mut self, low: Low, now: &Now) -> bool {
        if !low.is_of(now) {
            return false;
        }
        if let Some(ledger) = low.ledger.as_ref().filter(|_| self.ledger_problem.is_none()) {
            self.ledger.clone_from(ledger);
            self.memory.ledger_number += 1;
            self.memory.ledger_pending = Some(now.boottime);
        }
        low.recall(&mut self.memory, now);
        for change in &self.memory.unsaved {
            apply(&mut self.declared, change);
        }
        true
    }

    /// Takes over what stands in `desired.yaml` now; changes that are not on disk yet stay on top.
    pub fn adopt(&mut self, file: Option<Declared>, health: DeclaredHealth) {
        if let Some(declared) = file {
            self.declared = declared;
        }
        self.health = health;
        for change in &self.memory.unsaved {
            apply(&mut self.declared, change);
        }
    }

    /// The first so many of the unsaved changes of `desired.yaml` are on disk.
    pub fn saved(&mut self, count: usize, now: &Now) {
        self.feed(Event::DeclaredSaved(count), now);
    }

    /// What a restart would need and `low.json` does not hold yet.
    fn keep_low(&mut self, now: &Now) -> Option<Command> {
        let is_kept = |kept: &Low| now.since(kept.kept_at.0) < LOW_MAX_AGE && !kept.lacks(&self.memory);
        if self.memory.kept_low.as_deref().is_some_and(is_kept) {
            return None;
        }
        let low = Arc::new(Low::of(&self.memory, &self.ledger, now));
        self.memory.kept_low = Some(Arc::clone(&low));
        Some(Command::KeepLow(low))
    }

    fn feed(&mut self, event: Event<'_>, now: &Now) -> Vec<Command> {
        let (memory, commands) = track(std::mem::take(&mut self.memory), event, now);
        self.memory = memory;
        commands
    }
}

//! hecate itself: the real desk, its passes, its disk, its deaths and its restarts.

use hecate::desired::ups_policy::{DeclaredChange, apply};
use hecate::desired::{Declared, DeclaredHealth, Options, Spec};
use hecate::desk::Desk;
use hecate::history::History;
use hecate::ledger::Ledger;
use hecate::model::ClusterState;
use hecate::plan::blocker::{Blocker, Wait, Warning};
use hecate::plan::step::{Outcome, Target};
use hecate::tracker::{Command, Low};
use jiff::Timestamp;

use super::acts::Act;
use super::eyes::Eyes;
use super::world::World;

/// What outlives hecate.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    /// `desired.yaml`.
    pub(crate) declared: Declared,
    /// `ledger.json`.
    pub(crate) ledger: Option<Ledger>,
    /// `runs.json`.
    pub(crate) history: History,
    /// Nothing can be written.
    pub(crate) is_full: bool,
}

impl Disk {
    /// That of a cluster which is to run.
    pub(crate) fn new(now: Timestamp) -> Self {
        let spec = Spec {
            state: ClusterState::Running,
            reason: "a calm day".to_owned(),
            set_by: "root@watch".to_owned(),
            set_at: now,
            options: Options::default(),
        };
        Self { declared: Declared::new(spec), ledger: None, history: History::default(), is_full: false }
    }
}

/// A hecate process.
pub(crate) struct Life {
    /// The real thing.
    pub(crate) desk: Desk,
    /// What it sees.
    pub(crate) eyes: Eyes,
    /// What it is doing.
    pub(crate) acts: Vec<Act>,
    /// When the next pass comes.
    pub(crate) next_pass: f64,
    /// Since when it has been converged.
    pub(crate) settled_since: f64,
    /// Whether the last pass found anything to do.
    pub(crate) is_active: bool,
    /// The last plan's blockers, waits and warnings, for the story and the judge.
    pub(crate) told: Told,
    unsaved_ledger: Option<(f64, u64, Ledger)>,
    unsaved: Vec<DeclaredChange>,
}

/// What a plan says besides its steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Told {
    /// Blockers.
    pub(crate) blockers: Vec<Blocker>,
    /// Waits.
    pub(crate) waits: Vec<Wait>,
    /// Warnings.
    pub(crate) warnings: Vec<Warning>,
}

impl Told {
    /// Everything, as `name: text`; blockers first.
    pub(crate) fn lines(&self) -> Vec<String> {
        let blockers = self.blockers.iter().map(|one| format!("{}: {one}", one.name()));
        let waits = self.waits.iter().map(|one| format!("{}: {:?}", one.reason.name(), one.reason));
        let warnings = self.warnings.iter().map(|one| format!("{}: {one}", one.name()));
        blockers.chain(waits).chain(warnings).collect()
    }
}

impl Life {
    /// Whether time must go in small steps for it.
    pub(crate) fn is_busy(&self) -> bool {
        !self.acts.is_empty() || self.unsaved_ledger.is_some()
    }
}

impl World {
    /// hecate's part of a tick.
    pub(crate) fn hecate(&mut self) {
        if self.life.is_none() && self.life_due.is_some_and(|at| self.now >= at) {
            self.life_due = None;
            self.start_hecate();
        }
        let Some(mut life) = self.life.take() else { return };
        self.save(&mut life);
        self.advance(&mut life);
        if self.now >= life.next_pass {
            self.pass(&mut life);
        }
        // Its own power-off may have ended it meanwhile.
        if self.life_due.is_none() && self.is_hecate_allowed() {
            self.life = Some(life);
        }
    }

    /// systemd ends the unit early in a shutdown.
    fn is_hecate_allowed(&self) -> bool {
        let own = &self.hosts[self.site.own];
        match own.power {
            super::host::Power::Up(_) => true,
            super::host::Power::Closing { silent_at, .. } => self.now < silent_at,
            super::host::Power::Off | super::host::Power::Booting(_) => false,
        }
    }

    /// hecate is killed; systemd starts it again.
    pub(crate) fn kill_hecate(&mut self) {
        if self.life.take().is_some() {
            self.life_due = Some(self.now + 1.0 + self.rng.f64() * 4.0);
        }
    }

    fn start_hecate(&mut self) {
        if !self.is_hecate_allowed() {
            return;
        }
        let mut rng = self.rng.fork();
        let mut desk = Desk::new(self.disk.declared.clone(), DeclaredHealth::Good, &self.time());
        desk.ledger = self.disk.ledger.clone().unwrap_or_default();
        desk.history = self.disk.history.clone();
        let low = self.low.clone().filter(|low| desk.recall(Low::clone(low), &self.time()));
        let unsaved = if low.is_some() { desk.memory.unsaved.clone() } else { Vec::new() };
        let pending = desk.memory.ledger_pending.map(|_| (self.now, desk.memory.ledger_number, desk.ledger.clone()));
        self.judge.say(self.now, "* hecate starts".to_owned());
        self.judge.starts.push(self.now);
        self.life = Some(Life {
            desk,
            eyes: Eyes::new(self, &mut rng),
            acts: Vec::new(),
            next_pass: self.now + 0.1,
            settled_since: f64::MAX,
            is_active: true,
            told: Told::default(),
            unsaved_ledger: pending,
            unsaved,
        });
    }

    /// The disk takes what it was given, unless it is full.
    fn save(&mut self, life: &mut Life) {
        if self.disk.is_full {
            return;
        }
        let changes = std::mem::take(&mut life.unsaved);
        changes.iter().for_each(|change| apply(&mut self.disk.declared, change));
        if !changes.is_empty() {
            life.desk.saved(changes.len(), &self.time());
        }
        if let Some((_, number, ledger)) = life.unsaved_ledger.take_if(|(at, _, _)| self.now >= *at) {
            self.disk.ledger = Some(ledger);
            self.disk.history = life.desk.history.clone();
            life.desk.persisted(number, &self.time());
            life.next_pass = self.now;
        }
    }

    /// One pass.
    fn pass(&mut self, life: &mut Life) {
        let asked = self.look(&mut life.eyes, life.is_active);
        for ups in asked {
            self.judge_reading(&life.eyes.snapshot, ups);
        }
        let now = self.time();
        let passed = life.desk.pass(&self.config, &life.eyes.snapshot, &now);
        let plan = &passed.decision.plan;
        life.is_active = !plan.is_converged() || !life.desk.declared.overrides.is_empty();
        life.settled_since = if life.is_active { f64::MAX } else { life.settled_since.min(self.now) };
        self.tell(life, &passed.decision);
        self.obey(life, passed.commands);
        let on_battery = self.upses.iter().any(|ups| ups.on_battery_since.is_some());
        let is_quiet = self.now > self.busy_until && !life.is_busy() && !on_battery;
        let pace =
            if is_quiet || !life.is_active && !on_battery { self.idle_seconds() } else { self.site.pass_seconds };
        life.next_pass = self.now + pace;
    }

    /// Puts what changed into the story.
    fn tell(&mut self, life: &mut Life, decision: &hecate::decide::Decision) {
        let plan = &decision.plan;
        for one in &plan.blockers {
            if !life.told.blockers.iter().any(|old| old.name() == one.name()) {
                self.judge.say(self.now, format!("  blocker {}: {one}", one.name()));
            }
        }
        for one in &plan.warnings {
            if !life.told.warnings.iter().any(|old| old.name() == one.name()) {
                self.judge.say(self.now, format!("  warning {}: {one}", one.name()));
            }
        }
        let waits = |waits: &[Wait]| waits.iter().map(|one| one.reason.name()).collect::<Vec<_>>();
        let new = waits(&plan.waits);
        if waits(&life.told.waits) != new {
            self.judge.say(self.now, format!("  waits for {}", new.join(", ")));
        }
        life.told =
            Told { blockers: plan.blockers.clone(), waits: plan.waits.clone(), warnings: plan.warnings.clone() };
    }

    /// Carries commands out.
    pub(crate) fn obey(&mut self, life: &mut Life, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::PersistLedger { number, ledger } => {
                    let took = 0.05 + self.rng.f64() * 0.5;
                    life.unsaved_ledger = Some((self.now + took, number, *ledger));
                }
                Command::ChangeDeclared(changes) => self.change_declared(life, changes),
                Command::Cancel(target) => self.cancel(life, target),
                Command::Start(planned) => {
                    self.judge_start(life, &planned);
                    let act = self.act(planned);
                    life.acts.push(act);
                }
                Command::KeepLow(low) => self.low = Some(low),
                Command::Observe(target) => {
                    life.eyes.hurry(self, &target);
                    life.next_pass = life.next_pass.min(self.now + 0.3);
                }
            }
        }
    }

    fn change_declared(&mut self, life: &mut Life, changes: Vec<DeclaredChange>) {
        for change in &changes {
            let line = match change {
                DeclaredChange::Set(one) => {
                    format!("! {} demands {} ({}): {}", one.source, one.state, one.path, one.reason)
                }
                DeclaredChange::Clear { source, because } => format!("! {source} is lifted: {because}"),
                DeclaredChange::DropHold(hold) => format!("! the hold on {:?} is over", hold.what),
                DeclaredChange::DropForget(forget) => format!("! what was learned of {} is forgotten", forget.ups),
            };
            self.judge.say(self.now, line);
        }
        life.unsaved.extend(changes);
    }

    fn cancel(&mut self, life: &mut Life, target: Target) {
        let before = life.acts.len();
        life.acts.retain(|act| act.planned.step.target() != target);
        if life.acts.len() < before {
            self.end(life, target, Outcome::Cancelled);
        }
    }

    /// A step ended.
    pub(crate) fn end(&mut self, life: &mut Life, target: Target, outcome: Outcome) {
        let commands = life.desk.ended(target, outcome, &self.time());
        life.next_pass = life.next_pass.min(self.now + 0.3);
        self.obey(life, commands);
    }
}

//! The built-in world: a cluster, its UPSes and a virtual clock, played through the same `decide()` and tracker as the
//! daemon.
//!
//! Pure: a seedless run is the same run every time. Only what observes, performs and persists differs from the daemon.

#![deny(clippy::disallowed_methods)]

pub mod blueprint;
pub mod checks;
pub mod outage;
pub mod story;
pub mod world;

use std::time::Duration;

use jiff::Timestamp;

use self::story::{Story, StoryKind};
use self::world::World;
use crate::config::Config;
use crate::decide::{Decision, Known, decide};
use crate::desired::ups_policy::apply;
use crate::desired::{Declared, DeclaredHealth, Override, Spec};
use crate::history::History;
use crate::ledger::Ledger;
use crate::model::{BootId, ClusterState, Now};
use crate::tracker::{Command, Event, Memory, track};

/// One tick of the virtual clock.
pub const TICK: Duration = Duration::from_secs(1);

/// hecate and the world it acts on.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// The configuration that hecate obeys.
    pub config: Config,
    /// The world.
    pub world: World,
    /// `desired.yaml`.
    pub declared: Declared,
    /// The ledger as hecate has it; what of it a restart finds depends on the disk.
    pub ledger: Ledger,
    /// Past runs, likewise.
    pub history: History,
    /// What hecate remembers since it started.
    pub memory: Memory,
    /// What happened, told.
    pub story: Story,
    /// The last decision.
    pub last: Option<Decision>,
    /// Whether the state disk takes writes.
    pub disk_works: bool,
    disk: Disk,
    /// The number of a ledger that the disk did not take yet.
    unwritten: Option<u64>,
    hecate_was_on: bool,
}

/// What stands on the state disk: all that hecate knows after a restart.
#[derive(Clone, Debug, Default)]
struct Disk {
    ledger: Ledger,
    overrides: Vec<Override>,
    history: History,
}

impl Simulation {
    /// A cluster that has been running for a while, with `running` declared.
    pub fn new(config: Config, mut world: World, started_at: Timestamp) -> Self {
        world.around.began = started_at;
        let spec = Spec {
            state: ClusterState::Running,
            reason: "the built-in world".to_owned(),
            set_by: "root@simulated".to_owned(),
            set_at: started_at,
            options: Default::default(),
        };
        Self {
            config,
            world,
            declared: Declared::new(spec),
            ledger: Ledger::default(),
            history: History::default(),
            memory: Memory::default(),
            story: Story::default(),
            last: None,
            disk_works: true,
            disk: Disk::default(),
            unwritten: None,
            hecate_was_on: true,
        }
    }

    /// The time as the hecate host has it.
    pub fn now(&self) -> Now {
        let elapsed = self.world.time;
        Now {
            boottime: elapsed,
            boot_id: BootId::new(format!("hecate-boot-{}", self.world.own_boot)),
            wall: self.world.wall(self.world.around.own_clock),
            wall_synced: self.world.around.own_clock.is_synced == Some(true),
        }
    }

    /// Lets hecate forget everything it does not keep on disk, as kill -9 and a restart do.
    pub fn restart_hecate(&mut self) {
        self.begin_anew();
        self.world.forget_waiters();
        self.story.tell(self.world.time, StoryKind::World, "hecate was killed and started again".to_owned());
    }

    /// Plays one tick: the world moves on, then hecate makes a pass where its host is up.
    pub fn tick(&mut self) {
        for text in self.world.advance(TICK) {
            self.story.tell(self.world.time, StoryKind::World, text);
        }
        if !self.world.own_is_on {
            self.hecate_was_on = false;
            return;
        }
        if !self.hecate_was_on {
            self.hecate_was_on = true;
            self.begin_anew();
        }
        self.pass();
    }

    /// hecate starts: it knows what the disk holds, and the wish that a person wrote there.
    fn begin_anew(&mut self) {
        self.write(&self.now());
        self.memory = Memory { began: self.world.time, ..Memory::default() };
        self.ledger = self.disk.ledger.clone();
        self.declared.overrides.clone_from(&self.disk.overrides);
        self.history = self.disk.history.clone();
        self.unwritten = None;
    }

    /// Brings to disk what it takes; failed writes are tried again at every pass, as the daemon does.
    fn write(&mut self, now: &Now) {
        if !self.disk_works {
            return;
        }
        if self.disk.ledger != self.ledger {
            self.disk.ledger = self.ledger.clone();
        }
        if self.disk.overrides != self.declared.overrides {
            self.disk.overrides.clone_from(&self.declared.overrides);
        }
        if self.disk.history.runs().len() != self.history.runs().len() {
            self.disk.history = self.history.clone();
        }
        if let Some(number) = self.unwritten.take() {
            self.feed(Event::LedgerPersisted(number), now);
        }
    }

    /// Plays until a condition holds or the limit has passed; says whether it held.
    pub fn run_until(&mut self, limit: Duration, is_reached: impl Fn(&Simulation) -> bool) -> bool {
        let end = self.world.time + limit;
        while self.world.time < end {
            self.tick();
            if is_reached(self) {
                return true;
            }
        }
        false
    }

    /// Whether the last pass found everything as desired.
    pub fn is_converged(&self) -> bool {
        self.last.as_ref().is_some_and(|decision| decision.plan.is_converged())
    }

    /// One pass, as the loop makes it.
    fn pass(&mut self) {
        let now = self.now();
        self.write(&now);
        for (target, outcome) in self.world.take_ended() {
            self.story.ended(now.boottime, &target, &outcome);
            self.feed(Event::Ended { target, outcome }, &now);
        }
        let snapshot = self.world.observe(&self.config);
        self.feed(Event::Observed(&snapshot), &now);
        let known = Known {
            config: &self.config,
            declared: &self.declared,
            health: &DeclaredHealth::Good,
            snapshot: &snapshot,
            history: &self.history,
            ledger: &self.ledger,
            ledger_problem: None,
            memory: &self.memory,
        };
        let decision = decide(known, &now);
        if decision.episode_began {
            self.feed(Event::EpisodeBegan, &now);
        }
        for change in &decision.override_changes {
            self.story.override_changed(now.boottime, change);
        }
        self.story.decided(now.boottime, &decision);
        if let Some(ledger) = &decision.ledger_write {
            self.ledger = ledger.clone();
        }
        if let Some(run) = &decision.finished_run {
            self.history.push(run.clone(), self.config.reconcile.runs_kept);
        }
        let commands = self.feed(Event::Decided(&decision), &now);
        self.last = Some(decision);
        for command in commands {
            self.carry_out(command, &now);
        }
        self.write(&now);
    }

    fn carry_out(&mut self, command: Command, now: &Now) {
        match command {
            Command::PersistLedger { number, .. } => {
                self.unwritten = Some(number);
                self.write(now);
            }
            Command::ChangeOverrides(changes) => {
                for change in changes {
                    apply(&mut self.declared, &change);
                }
            }
            Command::Cancel(target) => self.world.cancel(&target),
            Command::Start(planned) => {
                self.story.started(now.boottime, &planned);
                self.world.begin(&planned);
            }
            Command::Observe(_) => {}
        }
    }

    fn feed(&mut self, event: Event<'_>, now: &Now) -> Vec<Command> {
        let (memory, commands) = track(std::mem::take(&mut self.memory), event, now);
        self.memory = memory;
        commands
    }
}

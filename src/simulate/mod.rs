//! The built-in world: a cluster, its UPSes and a virtual clock, played through the same `decide()` and tracker as the
//! daemon.
//!
//! Pure: a seedless run is the same run every time. Only what observes, performs and persists differs from the daemon.

#![deny(clippy::disallowed_methods)]

pub mod blueprint;
pub mod checks;
mod disk;
pub mod event;
pub mod hunt;
mod lag;
pub mod outage;
pub mod rehearsal;
pub mod scenario;
pub mod script;
pub mod seeds;
pub mod shrink;
pub mod story;
pub mod trial;
pub mod world;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use self::disk::Disk;
use self::lag::Lag;
use self::story::{Story, StoryKind};
use self::world::World;
use crate::config::Config;
use crate::decide::Decision;
use crate::desired::{Declared, DeclaredHealth, Options, Spec};
use crate::desk::{Desk, Passed};
use crate::model::{BootId, ClusterState, Now, Reading};
use crate::plan::Planned;
use crate::plan::blocker::{Wait, WaitReason};
use crate::snapshot::{ApiSnapshot, Snapshot};
use crate::tracker::{Command, Low};

/// One tick of the virtual clock while something goes on.
pub const TICK: Duration = Duration::from_secs(1);
/// The longest tick while nothing does; the daemon's own timer is the same then. Where a UPS' answer counts for less, that is
/// the longest: the daemon hears more of them between two passes.
pub const QUIET_TICK: Duration = Duration::from_secs(15);
/// The longest tick while nothing but a battery moves; UPSes are asked so often.
const BATTERY_TICK: Duration = Duration::from_secs(2);

/// hecate and the world it acts on.
#[derive(Clone, Debug)]
pub struct Simulation {
    /// The configuration that hecate obeys.
    pub config: Config,
    /// The world.
    pub world: World,
    /// What hecate knows; what of it a restart finds depends on the disk.
    pub desk: Desk,
    /// What happened, told.
    pub story: Story,
    /// The last decision.
    pub last: Option<Decision>,
    /// The steps that the last pass started.
    pub started: Vec<Planned>,
    /// Whether the last tick made a pass.
    pub has_passed: bool,
    /// Whether the state disk takes writes.
    pub disk_works: bool,
    /// Until when hecate does not run although its host does.
    pub hecate_is_away_until: Option<Duration>,
    /// Which passes are decided twice, and how often that did not come out the same.
    pub decides_twice: Option<Twice>,
    /// What comes between the world and what hecate sees of it.
    pub lag: Lag,
    disk: Disk,
    /// `low.json`, on a file system in memory.
    low: Option<Arc<Low>>,
    /// The number of a ledger that the disk did not take yet.
    unwritten: Option<u64>,
    hecate_was_on: bool,
}

/// Some passes are decided twice: the same input must give the same decision.
#[derive(Clone, Debug)]
pub struct Twice {
    every: u32,
    passes: u32,
    /// How often the second decision differed from the first.
    pub differing: u32,
}

impl Twice {
    /// One pass of so many is decided twice, the first among them.
    pub fn every(every: u32) -> Self {
        Self { every, passes: 0, differing: 0 }
    }

    /// Counts a pass; says whether it is one of them.
    fn is_due(&mut self) -> bool {
        let is_due = self.passes.is_multiple_of(self.every);
        self.passes = self.passes.wrapping_add(1);
        is_due
    }
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
        let mut desk = Desk::new(Declared::new(spec), DeclaredHealth::Good, &now(&world));
        // A cluster that has been running for a while has a hecate that has been, too.
        desk.memory.began = Duration::ZERO;
        Self {
            config,
            world,
            desk,
            disk: Disk::default(),
            low: None,
            story: Story::default(),
            last: None,
            started: Vec::new(),
            has_passed: false,
            disk_works: true,
            hecate_is_away_until: None,
            decides_twice: None,
            lag: Lag::default(),
            unwritten: None,
            hecate_was_on: true,
        }
    }

    /// The time as the hecate host has it.
    pub fn now(&self) -> Now {
        now(&self.world)
    }

    /// Lets hecate forget everything it does not keep on disk, as kill -9 and a restart do.
    pub fn restart_hecate(&mut self) {
        self.begin_anew();
        self.world.forget_waiters();
        self.story.tell(self.world.time, StoryKind::World, "hecate was killed and started again".to_owned());
    }

    /// Ends hecate, and starts it again after this time.
    pub fn kill_hecate(&mut self, away: Duration) {
        if away.is_zero() {
            return self.restart_hecate();
        }
        self.world.forget_waiters();
        (self.hecate_was_on, self.hecate_is_away_until) = (false, Some(self.world.time + away));
        let text = format!("hecate was killed, and is away for {} s", away.as_secs());
        self.story.tell(self.world.time, StoryKind::World, text);
    }

    /// Somebody types `hecate set-desired`.
    pub fn set_wish(&mut self, state: ClusterState, options: Options) {
        let (set_by, reason) = ("root@simulated".to_owned(), "a wish in the built-in world".to_owned());
        self.desk.declared.spec = Spec { state, reason, set_by, set_at: self.now().wall, options };
        self.disk.write_wish();
        self.world.acts.skips_drain = self.desk.declared.spec.options.skip_drain;
        self.story.tell(self.world.time, StoryKind::World, format!("somebody wishes {state}"));
    }

    /// Whether a person must move the ledger away.
    pub fn ledger_is_spoiled(&self) -> bool {
        self.desk.ledger_problem.is_some() || self.disk.has_bad_ledger()
    }

    /// Plays one tick: the world moves on, then hecate makes a pass where its host is up.
    pub fn tick(&mut self) {
        self.tick_for(TICK);
    }

    /// Plays one tick of this length.
    pub fn tick_for(&mut self, by: Duration) {
        (self.has_passed, self.started) = (false, Vec::new());
        for text in self.world.advance(by) {
            self.story.tell(self.world.time, StoryKind::World, text);
        }
        if !self.world.own_is_on {
            (self.hecate_was_on, self.hecate_is_away_until) = (false, None);
            return;
        }
        if self.hecate_is_away_until.is_some_and(|until| self.world.time < until) {
            self.hecate_was_on = false;
            return;
        }
        self.hecate_is_away_until = None;
        if !self.hecate_was_on {
            self.hecate_was_on = true;
            self.begin_anew();
        }
        self.pass();
        self.has_passed = true;
    }

    /// How long the next tick may be, so that nothing that matters falls between two of them.
    pub fn next_tick(&self) -> Duration {
        let is_busy = self.last.as_ref().is_none_or(|last| {
            !last.plan.start.is_empty() || !last.plan.running.is_empty() || !last.plan.cancel.is_empty()
        });
        if is_busy && self.world.own_is_on || self.lag.is_on() {
            return TICK;
        }
        let is_on_battery = self.world.upses.values().any(|battery| !battery.mains);
        let is_retrying = |wait: &Wait| matches!(wait.reason, WaitReason::Backoff { .. });
        let is_about_to = self.last.as_ref().is_some_and(|last| last.plan.waits.iter().any(is_retrying));
        let longest = if is_on_battery || is_about_to { BATTERY_TICK } else { QUIET_TICK };
        let longest = longest.min(self.config.ups_policy.max_age).max(TICK);
        match self.world.next_change() {
            Some(at) => at.saturating_sub(self.world.time).clamp(TICK, longest),
            None => longest,
        }
    }

    /// hecate starts: it knows what the disk holds, and the wish that a person wrote there.
    fn begin_anew(&mut self) {
        self.write(&self.now());
        let found = self.disk.read(&self.desk.declared);
        self.lag.open(self.world.time);
        let mut declared = Declared { overrides: found.overrides, ..self.desk.declared.clone() };
        if let Some(spec) = found.spec {
            (declared.spec, declared.holds) = (spec, Vec::new());
        }
        let (ledger, ledger_problem, history) = (found.ledger, found.ledger_problem, found.history);
        self.desk = Desk { ledger, ledger_problem, history, ..Desk::new(declared, found.health, &self.now()) };
        self.unwritten = None;
        let now = self.now();
        if let Some(low) = self.low.clone() {
            self.desk.recall(Low::clone(&low), &now);
        }
        self.unwritten = self.desk.memory.ledger_pending.map(|_| self.desk.memory.ledger_number);
    }

    /// Brings to disk what it takes, and reads the wish from there; failed writes are tried again at every pass, as the
    /// daemon does.
    fn write(&mut self, now: &Now) {
        if !self.disk_works {
            return;
        }
        let has_ledger = self.disk.write_ledger(&self.desk.ledger);
        if self.disk.write_overrides(&self.desk.declared.overrides) {
            let count = self.desk.memory.unsaved.len();
            self.desk.saved(count, now);
        }
        self.disk.write_history(&self.desk.history);
        if has_ledger && let Some(number) = self.unwritten.take() {
            self.desk.persisted(number, now);
        }
    }

    /// Plays until a condition holds or the limit has passed; says whether it held.
    pub fn run_until(&mut self, limit: Duration, mut is_reached: impl FnMut(&Simulation) -> bool) -> bool {
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
        self.desk.health = self.disk.health(&self.desk.health);
        for (target, outcome) in self.world.take_ended() {
            self.story.ended(self.world.time, &target, &outcome);
            for command in self.desk.ended(target, outcome, &now) {
                self.carry_out(command, &now);
            }
        }
        let mut snapshot = self.lag.shown(self.world.time, self.world.observe(&self.config));
        since_boot(&mut snapshot, self.world.own_booted);
        let first = self.decides_twice.as_mut().is_some_and(Twice::is_due).then(|| {
            self.desk.observe(&self.config, &snapshot, &now);
            self.desk.decide(&self.config, &snapshot, &now)
        });
        let Passed { decision, commands } = self.desk.pass(&self.config, &snapshot, &now);
        if let Some((twice, first)) = self.decides_twice.as_mut().zip(first) {
            twice.differing += u32::from(first != decision);
        }
        for change in &decision.declared_changes {
            self.story.declared_changed(self.world.time, change);
        }
        self.story.decided(self.world.time, &decision);
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
            // `write` brings it to disk.
            Command::ChangeDeclared(_) => {}
            Command::Cancel(target) => self.world.cancel(&target),
            Command::Start(planned) => {
                self.story.started(self.world.time, &planned);
                self.world.begin(&planned);
                self.started.push(planned);
            }
            Command::Observe(target) => self.lag.ask(self.world.time, &target),
            Command::KeepLow(low) => self.low = Some(low),
        }
    }
}

fn now(world: &World) -> Now {
    Now {
        boottime: world.time.saturating_sub(world.own_booted),
        boot_id: BootId::new(format!("hecate-boot-{}", world.own_boot)),
        wall: world.wall(world.around.own_clock),
        wall_synced: world.around.own_clock.is_synced == Some(true),
    }
}

/// Readings as the hecate host has them: the world counts from its own beginning, a host from its last boot.
fn since_boot(snapshot: &mut Snapshot, booted: Duration) {
    fn shift<T>(reading: &mut Reading<T>, booted: Duration) {
        let (Reading::Known { began, .. } | Reading::Unknown { began, .. }) = reading;
        *began = began.saturating_sub(booted);
    }
    let Snapshot { upses, hosts, api, witnesses, peers, load_cuts: _ } = snapshot;
    let ApiSnapshot { servers, nodes, pods, attachments } = api;
    upses.values_mut().for_each(|it| shift(it, booted));
    hosts.values_mut().for_each(|it| shift(it, booted));
    servers.values_mut().for_each(|it| shift(it, booted));
    witnesses.values_mut().for_each(|it| shift(it, booted));
    peers.values_mut().for_each(|it| shift(it, booted));
    shift(nodes, booted);
    shift(pods, booted);
    shift(attachments, booted);
}

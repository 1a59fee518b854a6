//! Whether it was possible to be dark before a battery ended: the world's own answer, from its own pace.
//!
//! Pure. It knows nothing of hecate's rules but when the configuration lets a trigger come. An excuse is a cause and a time:
//! what lost its power is excused only where the time without any cause was too short for the world's shortest descent.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Simulation;
use super::evidence::Evidence;
use crate::config::UpsPath;
use crate::desired::ups_policy::credible_runtime;
use crate::model::{ClusterState, NodeName, Role, UpsName};
use crate::plan::step::Step;
use crate::simulate::world::ups::Battery;
use crate::simulate::world::{Host, Pace, World};
use crate::snapshot::UnitState;

/// What a descent takes beyond the world's own shortest one: to see what each of its five stages did, and to begin the
/// next one.
const MARGIN: Duration = Duration::from_secs(5 * 6);
/// What one more thing that goes wrong on the way may cost: a deadline, and the pause before the next try.
const FAULT: Duration = Duration::from_secs(30);
/// After a cause is over it takes a moment until everybody has been looked at again.
const RECOVERY: Duration = Duration::from_secs(5);
/// Readings that are not later than this only make a descent slower.
const LITTLE_LATE: Duration = Duration::from_secs(10);
/// Something is looked at once in each of so many stages.
const STAGES: u32 = 6;

/// Less than this was there from the beginning: no cause, but no battery either.
const TOO_SHORT: &str = "less was left from the beginning than a descent takes";

/// Who is about to lose power, by node; None is the hecate host.
pub(super) type Whose = Option<NodeName>;

/// The time since a descent was due.
#[derive(Clone, Debug, PartialEq)]
struct Due {
    at: Duration,
    left: Duration,
    shortest: Duration,
    boot: u32,
    /// The time without any cause.
    able: Duration,
    /// The time that each cause took.
    lost: BTreeMap<&'static str, Duration>,
    /// The last cause, and until when it counts.
    cause: Option<(&'static str, Duration)>,
}

/// Keeps, for whoever is at risk, since when a descent was due and what it then could have taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Oracle {
    evidence: Evidence,
    due: BTreeMap<Whose, Due>,
    cuts: BTreeMap<Whose, u32>,
    faults_left: usize,
    faults: u32,
    looked: Duration,
    /// Where the hecate host went before it had to: until when its battery would have kept it.
    could_stay: Option<Duration>,
    excuses: BTreeMap<&'static str, u32>,
}

impl Oracle {
    /// Looks after a tick; gives whoever lost its power although it could have been off, with the figures.
    pub(super) fn look(&mut self, simulation: &Simulation) -> Vec<String> {
        let world = &simulation.world;
        self.evidence.hear(simulation);
        self.count_faults(simulation);
        self.follow_own_host(simulation);
        // The first look is at a world that has stood for long.
        let by = if self.looked.is_zero() { Duration::ZERO } else { world.time.saturating_sub(self.looked) };
        self.looked = world.time;
        let mut late = Vec::new();
        for whose in everybody(world) {
            let cuts = hard_cuts(world, &whose);
            let before = self.cuts.insert(whose.clone(), cuts).unwrap_or_default();
            if cuts > before {
                late.extend(self.judge(simulation, &whose));
            }
            self.follow(simulation, whose, by);
        }
        late
    }

    /// How often each cause excused somebody.
    pub(super) fn excuses(&self) -> &BTreeMap<&'static str, u32> {
        &self.excuses
    }

    fn count_faults(&mut self, simulation: &Simulation) {
        let left = simulation.world.acts.faults.len();
        let used = self.faults_left.saturating_sub(left);
        self.faults_left = left;
        self.faults += u32::try_from(used).unwrap_or(u32::MAX);
    }

    /// A hecate host that goes before it has to, and leaves hosts behind, is no excuse for what comes then.
    fn follow_own_host(&mut self, simulation: &Simulation) {
        let (world, own) = (&simulation.world, &simulation.config.own_host);
        let goes = simulation.started.iter().any(|planned| matches!(planned.step, Step::PowerOffOwnHost { .. }));
        if goes {
            let takes = own
                .power_off_time
                .max(world.pace.host_stop)
                .mul_f64(simulation.config.ups_policy.runtime_safety_factor);
            let is_wished = simulation.desk.declared.spec.state == ClusterState::Poweroff;
            let stays = world.time_to_loss(&None).map_or(Duration::MAX, |left| left.saturating_sub(takes + MARGIN));
            // What its UPS does not say it cannot know.
            let is_told = own.feeds.iter().all(|ups| world.is_told(ups) && has_figures(simulation, ups));
            // One that promises less than it gives makes it go early.
            let is_told = is_told && own.feeds.iter().filter_map(|ups| world.upses.get(ups)).all(Battery::is_plain);
            let is_due = is_wished || world.is_own_load_ending() || !is_told;
            self.could_stay = (!is_due).then(|| world.time.saturating_add(stays));
        } else if simulation.has_passed && !world.is_own_going_off() {
            self.could_stay = None;
        }
    }

    /// Begins, goes on or ends to count for somebody.
    fn follow(&mut self, simulation: &Simulation, whose: Whose, by: Duration) {
        let world = &simulation.world;
        let Some(left) = world.time_to_loss(&whose).filter(|_| is_up(world, &whose)) else {
            self.due.remove(&whose);
            if self.due.is_empty() {
                self.faults = 0;
            }
            return;
        };
        let trigger = trigger_at(simulation);
        let boot = boot(world, &whose);
        if self.due.get(&whose).is_some_and(|due| due.boot != boot) {
            self.due.remove(&whose);
        }
        if left > trigger && !self.due.contains_key(&whose) {
            return;
        }
        let cause = self.cause(simulation, &whose, left, trigger);
        let due = self.due.entry(whose).or_insert_with(|| Due {
            at: world.time,
            left,
            shortest: shortest(simulation),
            boot,
            able: Duration::ZERO,
            lost: BTreeMap::new(),
            cause: None,
        });
        if let Some(cause) = cause {
            due.cause = Some((cause, world.time + RECOVERY));
        }
        match due.cause.filter(|(_, until)| world.time < *until) {
            Some((cause, _)) => *due.lost.entry(cause).or_default() += by,
            None => due.able += by,
        }
    }

    /// Somebody lost its power while it ran: hecate's fault, or somebody's excuse.
    fn judge(&mut self, simulation: &Simulation, whose: &Whose) -> Option<String> {
        let due = self.due.get(whose)?;
        let policy = &simulation.config.ups_policy;
        let noticed = policy.debounce + policy.poll * (policy.debounce_polls + 2);
        let lag = if simulation.lag.late <= LITTLE_LATE { simulation.lag.late } else { Duration::ZERO };
        let seen = (lag + simulation.lag.every) * STAGES;
        let confirmed = if whose.is_none() { simulation.config.shutdown.off_confirm } else { Duration::ZERO };
        let needed = due.shortest + noticed + MARGIN + FAULT * self.faults + seen + confirmed;
        let excused: Duration = due.lost.values().sum();
        if due.able >= needed {
            let name = whose.as_ref().map_or("the hecate host", NodeName::as_str);
            return Some(format!(
                "{name} lost power while it ran: {} s were left {} s ago, {} s of them could be used, and the shortest \
                 descent with its margin takes {} s",
                due.left.as_secs(),
                simulation.world.time.saturating_sub(due.at).as_secs(),
                due.able.as_secs(),
                needed.as_secs(),
            ));
        }
        let longest = due.lost.iter().max_by_key(|(_, time)| **time).map(|(cause, _)| *cause);
        let excuse = longest.filter(|_| due.able + excused >= needed).unwrap_or(TOO_SHORT);
        *self.excuses.entry(excuse).or_default() += 1;
        None
    }

    /// Why nothing could be done for somebody at this moment.
    fn cause(&self, simulation: &Simulation, whose: &Whose, left: Duration, trigger: Duration) -> Option<&'static str> {
        let (world, config) = (&simulation.world, &simulation.config);
        let host = whose.as_ref().and_then(|node| world.hosts.get(node));
        let node = whose.as_ref().and_then(|node| config.nodes.get(node));
        if node.is_some_and(|node| !node.is_managed) {
            return Some("it is not managed");
        }
        if node.is_some_and(|node| !node.power_off) || whose.is_none() && !config.own_host.power_off {
            return Some("it is not to be powered off");
        }
        if host.is_some_and(|host| host.hangs) {
            return Some("its power-off never ended");
        }
        if host.is_some_and(|host| host.tail > config.shutdown.off_tail) {
            return Some("it wrote for longer than the configuration says");
        }
        if whose.is_none() && world.pace.host_stop > config.own_host.power_off_time {
            return Some("its power-off took longer than the configuration says");
        }
        // It stays as long as half of what its battery gives is more than its own power-off takes.
        let own = config.own_host.power_off_time.mul_f64(config.ups_policy.runtime_safety_factor);
        if whose.is_none() && left > own * 2 {
            return Some("its battery still gave twice what its own power-off takes");
        }
        let could_run = self.could_stay.is_some_and(|until| world.time < until);
        if !simulation.has_passed && !could_run {
            return Some("hecate did not run");
        }
        let life = world.time.saturating_sub(simulation.desk.memory.began);
        if life < RECOVERY {
            return Some("hecate was started only just now");
        }
        if simulation.lag.late > LITTLE_LATE || simulation.lag.is_reordered {
            return Some("readings were late");
        }
        if let Some(node) = whose {
            let is_going = host.is_some_and(Host::is_going_off);
            if !world.is_heard(node) && !is_going {
                return Some("it was out of reach");
            }
            if world.around.impostors.contains(node) {
                return Some("another host stood at its address");
            }
        }
        let ends = |ups: &&UpsName| {
            world.upses.get(*ups).is_some_and(|battery| !battery.mains)
                && world.true_runtime(ups).is_some_and(|runtime| runtime <= left)
        };
        let feeds = host.map_or(&config.own_host.feeds, |host| &host.feeds);
        // The hecate host stays until its battery gives no more than its own power-off takes.
        let trigger = if whose.is_none() { own } else { trigger };
        let booted = host.map(|host| host.booted);
        feeds.iter().filter(ends).find_map(|ups| self.evidence.doubt(simulation, ups, booted, trigger))
    }
}

/// The time left at which a descent is due, by the configuration alone: learned budgets are as long as the floor at least.
fn trigger_at(simulation: &Simulation) -> Duration {
    let (shutdown, own) = (&simulation.config.shutdown, &simulation.config.own_host);
    let is_learned = simulation.last.as_ref().is_some_and(|last| {
        let budget = &last.status.budget;
        budget.full_samples > 0 || budget.emergency_samples > 0
    });
    let budget = match (is_learned, shutdown.ups_path) {
        (true, _) => shutdown.budget_floor,
        (false, UpsPath::Auto) => shutdown.estimated_budget,
        (false, UpsPath::Emergency) => shutdown.emergency_budget,
    };
    let own = if own.power_off { own.power_off_time } else { Duration::ZERO };
    (budget + own).mul_f64(simulation.config.ups_policy.runtime_safety_factor)
}

/// Whether what a UPS says of its battery can be a measurement.
fn has_figures(simulation: &Simulation, ups: &UpsName) -> bool {
    let reading = simulation.world.says(&simulation.config, ups);
    reading.value().is_some_and(|reading| {
        let is_charge = |charge: f64| charge > 0.0 && charge <= 100.0;
        credible_runtime(reading.runtime).is_some() || reading.charge_percent.is_some_and(is_charge)
    })
}

fn everybody(world: &World) -> Vec<Whose> {
    world.hosts.keys().cloned().map(Some).chain([None]).collect()
}

fn hard_cuts(world: &World, whose: &Whose) -> u32 {
    match whose {
        Some(node) => world.hosts.get(node).map_or(0, |host| host.hard_cuts),
        None => u32::from(world.own_was_cut()),
    }
}

fn boot(world: &World, whose: &Whose) -> u32 {
    match whose {
        Some(node) => world.hosts.get(node).map_or(0, |host| host.boot),
        None => world.own_boot,
    }
}

fn is_up(world: &World, whose: &Whose) -> bool {
    match whose {
        Some(node) => world.hosts.get(node).is_some_and(|host| host.is_on),
        None => world.own_is_on,
    }
}

/// The shortest descent of this world: each stage as long as its slowest host, as often as there are hosts for the steps
/// that may be in flight.
fn shortest(simulation: &Simulation) -> Duration {
    let world = &simulation.world;
    let on = |role: Role| world.hosts.values().filter(move |host| host.role == role && host.is_on);
    let rounds = |role: Role| {
        let rounds = on(role).count().div_ceil(simulation.config.reconcile.max_steps_in_flight.max(1));
        u32::try_from(rounds).unwrap_or(u32::MAX).max(1)
    };
    let slowest = |role: Role, takes: fn(&Host, Pace) -> Duration| {
        on(role).map(|host| takes(host, host.pace.unwrap_or(world.pace)) * host.slowness).max().unwrap_or_default()
    };
    let stop = |host: &Host, pace: Pace| match host.unit {
        UnitState::Stopped => Duration::ZERO,
        UnitState::Running | UnitState::Starting | UnitState::Stopping | UnitState::NotFound => pace.unit_stop,
    };
    let off = |_: &Host, pace: Pace| pace.host_stop;
    let of_role = |role: Role| slowest(role, stop) * rounds(role) + slowest(role, off) + MOMENTS * (rounds(role) - 1);
    let tail = world.hosts.values().filter(|host| host.is_on).map(|host| host.tail).max().unwrap_or_default();
    of_role(Role::Worker) + of_role(Role::ControlPlane) + tail + world.pace.host_stop
}

/// What one more round of power-offs takes.
const MOMENTS: Duration = Duration::from_secs(2);

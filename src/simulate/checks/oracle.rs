//! Whether it was possible to be dark before a battery ended: the world's own answer, from its own pace.
//!
//! Pure. It knows nothing of hecate's rules but when the configuration lets a trigger come.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Simulation;
use crate::config::UpsPath;
use crate::desired::Held;
use crate::model::{NodeName, Role, UpsName};
use crate::simulate::world::{Host, Pace, World};
use crate::snapshot::UnitState;

/// What a descent takes beyond the world's own shortest one: to see what each of its five stages did, and to begin the
/// next one.
const MARGIN: Duration = Duration::from_secs(5 * 6);
/// What one more thing that goes wrong on the way may cost: a deadline, and the pause before the next try.
const FAULT: Duration = Duration::from_secs(30);

/// Who is about to lose power, by node; None is the hecate host.
pub(super) type Whose = Option<NodeName>;

/// The moment from which a descent was due.
#[derive(Clone, Debug, PartialEq)]
struct Due {
    at: Duration,
    left: Duration,
    shortest: Duration,
    boot: u32,
    /// Why nobody could have helped it.
    excuse: Option<&'static str>,
}

/// Keeps, for whoever is at risk, since when a descent was due and what it then could have taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Oracle {
    due: BTreeMap<Whose, Due>,
    cuts: BTreeMap<Whose, u32>,
    faults_left: usize,
    faults: u32,
}

impl Oracle {
    /// Looks after a tick; gives whoever lost its power although it could have been off, with the figures.
    pub(super) fn look(&mut self, simulation: &Simulation) -> Vec<String> {
        let world = &simulation.world;
        self.count_faults(simulation);
        let mut late = Vec::new();
        for whose in everybody(world) {
            let cuts = hard_cuts(world, &whose);
            let before = self.cuts.insert(whose.clone(), cuts).unwrap_or_default();
            if cuts > before
                && let Some(text) = self.due.get(&whose).and_then(|due| self.verdict(simulation, &whose, due))
            {
                late.push(text);
            }
            self.follow(simulation, whose);
        }
        late
    }

    fn count_faults(&mut self, simulation: &Simulation) {
        let left = simulation.world.acts.faults.len();
        let used = self.faults_left.saturating_sub(left);
        self.faults_left = left;
        self.faults += u32::try_from(used).unwrap_or(u32::MAX);
        let odd = match (simulation.has_passed, simulation.lag.is_on()) {
            (false, _) => Some("hecate did not run"),
            (true, true) => Some("readings were late"),
            (true, false) => None,
        };
        self.due.values_mut().for_each(|due| due.excuse = due.excuse.or(odd));
    }

    /// Begins or ends to count for somebody.
    fn follow(&mut self, simulation: &Simulation, whose: Whose) {
        let world = &simulation.world;
        let left = world.time_to_loss(&whose).filter(|_| is_up(world, &whose));
        let Some(left) = left else {
            self.due.remove(&whose);
            if self.due.is_empty() {
                self.faults = 0;
            }
            return;
        };
        let excuse = excuse(simulation, &whose);
        if let Some(due) = self.due.get_mut(&whose) {
            due.excuse = due.excuse.or(excuse);
            return;
        }
        if left <= trigger_at(simulation) {
            let boot = boot(world, &whose);
            let due = Due { at: world.time, left, shortest: shortest(world), boot, excuse };
            self.due.insert(whose, due);
        }
    }

    fn verdict(&self, simulation: &Simulation, whose: &Whose, due: &Due) -> Option<String> {
        let policy = &simulation.config.ups_policy;
        let noticed = policy.debounce + policy.poll * (policy.debounce_polls + 2);
        let needed = due.shortest + noticed + MARGIN + FAULT * self.faults;
        if due.excuse.is_some() || due.boot != boot(&simulation.world, whose) || due.left < needed {
            return None;
        }
        let name = whose.as_ref().map_or("the hecate host", NodeName::as_str);
        Some(format!(
            "{name} lost power while it ran: {} s were left {} s ago, and the shortest descent with its margin takes {} s",
            due.left.as_secs(),
            (simulation.world.time - due.at).as_secs(),
            needed.as_secs(),
        ))
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

/// Why nobody could have known, or nobody could have reached it.
fn excuse(simulation: &Simulation, whose: &Whose) -> Option<&'static str> {
    let (world, config) = (&simulation.world, &simulation.config);
    let feeds = match whose {
        Some(node) => world.hosts.get(node).map(|host| &host.feeds)?,
        None => &config.own_host.feeds,
    };
    let is_told = |ups: &UpsName| world.upses.get(ups).is_some_and(|battery| battery.is_honest());
    let is_ignored =
        |ups: &UpsName| simulation.desk.declared.hold(&Held::Ups(ups.clone()), &simulation.now()).is_some();
    let is_out_of_reach = |host: &Host| !host.answers();
    let is_swapped = |node: &NodeName| world.around.impostors.contains(node);
    if !feeds.iter().all(is_told) {
        return Some("its UPS did not tell the truth");
    }
    if feeds.iter().any(is_ignored) {
        return Some("its UPS was ignored");
    }
    match whose {
        Some(node) if config.nodes.get(node).is_none_or(|node| !node.is_managed) => Some("it is not managed"),
        Some(node) if config.nodes.get(node).is_none_or(|node| !node.power_off) => Some("it is not to be powered off"),
        Some(node) if world.hosts.get(node).is_none_or(is_out_of_reach) => Some("it was out of reach"),
        Some(node) if is_swapped(node) => Some("another host stood at its address"),
        None if !config.own_host.power_off => Some("it is not to be powered off"),
        // It waits for the others, and goes with them where they cannot be reached.
        None if world.hosts.values().any(is_out_of_reach) => Some("it waited for a host out of reach"),
        None if world.hosts.keys().any(is_swapped) => Some("it waited for a host that was another one"),
        Some(_) | None => None,
    }
}

/// The shortest descent of this world: each stage as long as its slowest host.
fn shortest(world: &World) -> Duration {
    let slowest = |role: Role, takes: fn(&Host, Pace) -> Duration| {
        let hosts = world.hosts.values().filter(|host| host.role == role && host.is_on);
        hosts.map(|host| takes(host, host.pace.unwrap_or(world.pace)) * host.slowness).max().unwrap_or_default()
    };
    let stop = |host: &Host, pace: Pace| match host.unit {
        UnitState::Stopped => Duration::ZERO,
        UnitState::Running | UnitState::Starting | UnitState::Stopping | UnitState::NotFound => pace.unit_stop,
    };
    let stops = slowest(Role::Worker, stop) + slowest(Role::ControlPlane, stop);
    let off = |_: &Host, pace: Pace| pace.host_stop;
    stops + slowest(Role::Worker, off) + slowest(Role::ControlPlane, off) + world.pace.host_stop
}

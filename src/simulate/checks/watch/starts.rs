//! Starts and wake-ups: what must be there before somebody is brought up.
//!
//! Pure.

use std::time::Duration;

use super::{COMING_CUT, ECHO, NOTICED, ON_BATTERY, ROUNDING, STABLE, TWO_ACTORS, UNKNOWN, WAKE_BURST, Watch};
use crate::config::{RechargeTimeout, Startup, TimeSyncMode};
use crate::decide::Decision;
use crate::desired::DeclaredHealth;
use crate::model::{NodeName, Role, UpsName};
use crate::plan::step::Step;
use crate::simulate::Simulation;
use crate::simulate::world::ups::RuntimeLie;
use crate::snapshot::UpsWord;

/// A charge that stands so long, and is not charged, is all that there will be.
const STANDS: Duration = Duration::from_secs(3600);
/// A tick more or less.
const SLACK: Duration = Duration::from_secs(2);

impl Watch {
    /// A start: with mains that are there, a battery above the gate, and nobody else who shuts down.
    pub(super) fn start(&mut self, simulation: &Simulation, decision: &Decision, step: &Step, node: &NodeName) {
        let (world, config) = (&simulation.world, &simulation.config);
        if self.spec.options.allow_on_battery || config.coordination.allow_startup_on_battery {
            return;
        }
        let noticed = NOTICED + simulation.lag.late;
        let is_lost = |ups: &UpsName| {
            let is_told =
                world.is_told(ups) && world.upses.get(ups).is_some_and(|battery| battery.lie.status.is_none());
            let since = self.lost.get(ups).filter(|_| is_told && !self.is_ignored(simulation, ups));
            since.is_some_and(|since| world.time.saturating_sub(*since) >= noticed)
        };
        if let Some(ups) = self.missing(simulation, node, is_lost) {
            self.broken(ON_BATTERY, format!("{step} while {ups} is on battery"));
        }
        // Drift of a single unit knows no gate: what it is taken from runs.
        let is_drift = decision.status.episode.as_ref().is_none_or(|episode| episode.converged.is_some());
        let is_seen = simulation.lag.late < config.ups_policy.max_age && !simulation.lag.is_reordered;
        let is_unprotected = decision.plan.warnings.iter().any(|warning| warning.name() == "unprotected");
        if is_drift && matches!(step, Step::StartUnit { .. }) || !is_seen || is_unprotected {
            return;
        }
        let low = self.missing(simulation, node, |ups| self.is_low(simulation, ups));
        if let Some(ups) = low {
            self.broken(ON_BATTERY, format!("{step} while the battery of {ups} is below the gate"));
        }
    }

    /// A UPS for want of which a node, the hecate host or those that nobody names may not be relied on: of the feeds of each
    /// there must be as many as it needs. UPSes that nobody names always count.
    pub(super) fn missing(
        &self,
        simulation: &Simulation,
        node: &NodeName,
        is_bad: impl Fn(&UpsName) -> bool,
    ) -> Option<UpsName> {
        let config = &simulation.config;
        let named = |ups: &UpsName| {
            config.own_host.feeds.contains(ups) || config.nodes.values().any(|node| node.feeds.contains(ups))
        };
        let of_node = config.nodes.get(node).map(|node| (&node.feeds, node.min_supplies));
        let of_own = (&config.own_host.feeds, config.own_host.min_supplies);
        let short = of_node.into_iter().chain([of_own]).find_map(|(feeds, needed)| {
            let good = feeds.iter().filter(|ups| !is_bad(ups)).count();
            (!feeds.is_empty() && good < needed).then(|| feeds.iter().find(|ups| is_bad(ups)).cloned()).flatten()
        });
        short.or_else(|| config.upses.keys().find(|ups| !named(ups) && is_bad(ups)).cloned())
    }

    /// Whether the battery of a UPS is below the gate by all that can be known of it: by what it says, and by what was counted
    /// since the outage, from what it said at its end, or from nothing where hecate did not see that.
    fn is_low(&self, simulation: &Simulation, ups: &UpsName) -> bool {
        let (world, startup) = (&simulation.world, &simulation.config.startup);
        // What is learned of a battery whose load or charge was told wrong is wrong as well; and what feeds nothing lasts for long.
        let feeds =
            simulation.config.own_host.feeds.contains(ups) || world.hosts.values().any(|host| host.feeds.contains(ups));
        let returned = self.returned.get(ups).filter(|_| feeds && !self.misled.contains(ups));
        let (Some(battery), Some(returned)) = (world.upses.get(ups), returned) else { return false };
        let reading = world.says(&simulation.config, ups);
        let Some(reading) = reading.value().filter(|_| battery.mains && !self.is_ignored(simulation, ups)) else {
            return false;
        };
        let elapsed = world.time.saturating_sub(returned.at);
        let is_given_up = startup.recharge_timeout == RechargeTimeout::Start
            && (elapsed >= startup.recharge_max_wait || self.was_held("recharge", startup.recharge_max_wait));
        let stands = elapsed >= STANDS && !reading.status.has(UpsWord::Chrg);
        let Some(charge) = reading.charge_percent.filter(|charge| *charge > 0.0 && !is_given_up && !stands) else {
            return false;
        };
        let configured = simulation.config.upses.get(ups).map_or(world.pace.recharge, |ups| ups.recharge);
        let recharge = configured.min(battery.recharge(&world.pace)).as_secs_f64();
        let counted = returned.share + elapsed.as_secs_f64() / recharge;
        let share = counted.min(charge / 100.0).min(1.0);
        let (shutdown, budget) =
            (&simulation.config.shutdown, simulation.last.as_ref().map(|last| &last.status.budget));
        let is_learned = budget.is_some_and(|budget| budget.full_samples > 0 || budget.emergency_samples > 0);
        let full = if is_learned { shutdown.budget_floor } else { shutdown.estimated_budget };
        // A gate that was open closes a little later.
        let needed = (startup.bring_up_time + full).mul_f64(0.9);
        let least = startup.recharge_charge_percent_min.min(95.0);
        let is_short = |share: f64, full: f64| share * 100.0 + ROUNDING < least && share * full < needed.as_secs_f64();
        let promised = match battery.device.runtime {
            Some(RuntimeLie::Times(times)) => battery.promises() * times.max(1.0),
            Some(_) | None => battery.promises(),
        };
        // Neither by what can be known, nor by the truth, would it bring down again what is brought up.
        is_short(share, promised) && is_short(battery.share(), battery.capacity)
    }

    /// A wake-up: not before mains have stood, and not all at once.
    pub(super) fn wake(&mut self, simulation: &Simulation, node: &NodeName) {
        let (world, config) = (&simulation.world, &simulation.config);
        let now = world.time;
        let together = world.woken_within(Startup::WAKE_BURST_TIME);
        if let Some(burst) = config.startup.wake_burst.filter(|burst| together > *burst) {
            let text = format!("{together} hosts began to boot within {} s", Startup::WAKE_BURST_TIME.as_secs());
            self.broken(WAKE_BURST, format!("{text}, and not {burst}"));
        }
        if self.spec.options.allow_on_battery || config.coordination.allow_startup_on_battery {
            return;
        }
        let is_new = |ups: &UpsName| {
            let returned = self.returned.get(ups).filter(|it| it.was_heard && !self.is_ignored(simulation, ups));
            returned.is_some_and(|it| now.saturating_sub(it.claimed) + SLACK < config.startup.mains_stable)
        };
        let feeds = config.nodes.get(node).map(|node| (&node.feeds, node.min_supplies));
        let short = feeds.filter(|(feeds, needed)| feeds.iter().filter(|ups| !is_new(ups)).count() < *needed);
        if let Some(ups) = short.and_then(|(feeds, _)| feeds.iter().find(|ups| is_new(ups))).cloned() {
            let since = self.returned.get(&ups).map_or(now, |it| it.claimed);
            let text = format!("{node} is woken {} s after the mains of {ups} came back", (now - since).as_secs());
            self.broken(STABLE, text);
        }
    }

    /// Not on a load that a UPS counts down to cut, where hecate knows that it told it: its ledger was not lost since.
    pub(super) fn coming_cut(&mut self, simulation: &Simulation, step: &Step, node: &NodeName) {
        let Some(host) = simulation.world.hosts.get(node) else { return };
        let is_known = |ups: &UpsName| simulation.desk.ledger.load_cuts.contains_key(ups);
        let is_coming = |ups: &&UpsName| simulation.world.is_load_ending(ups) && is_known(ups);
        let ending = host.feeds.iter().find(|ups| is_coming(ups)).cloned();
        let left = host.feeds.iter().filter(|ups| !is_coming(ups)).count();
        if let Some(ups) = ending.filter(|_| left < host.min_supplies) {
            self.broken(COMING_CUT, format!("{step} while {ups} counts down to cut its load"));
        }
    }

    /// Nothing that would undo what another hecate host is seen to do.
    pub(super) fn against_peer(&mut self, simulation: &Simulation, step: &Step) {
        let world = &simulation.world;
        let stops = self.peers.iter().find(|(_, since)| {
            let age = world.time.saturating_sub(**since);
            let limit = simulation.config.coordination.startup_guard_max_age;
            age >= NOTICED + simulation.lag.late && age + ECHO < limit
        });
        let stops = stops.map(|(peer, _)| peer.clone()).filter(|_| world.around.own_clock.ahead_seconds == 0);
        if let Some(peer) = stops {
            self.broken(TWO_ACTORS, format!("{step} while {peer} shuts the cluster down"));
        }
    }

    pub(super) fn is_ignored(&self, simulation: &Simulation, ups: &UpsName) -> bool {
        let held = crate::desired::Held::Ups(ups.clone());
        simulation.desk.declared.hold(&held, &simulation.now()).is_some()
    }

    /// What a start relies on was seen, and is not merely not denied.
    pub(super) fn prerequisites(&mut self, simulation: &Simulation, decision: &Decision, step: &Step, node: &NodeName) {
        let (config, snapshot) = (&simulation.config, &decision.status.snapshot);
        let now = simulation.now();
        let mut unknown: Vec<&str> = Vec::new();
        let host = snapshot.hosts.get(node).and_then(|it| it.fresh(&now, config.reconcile.host_max_age));
        let is_start = matches!(step, Step::StartUnit { .. });
        if is_start && host.is_none() {
            unknown.push("the host");
        }
        let has_api = snapshot
            .api
            .servers
            .values()
            .any(|server| server.fresh(&now, config.reconcile.api_max_age).is_some_and(|server| server.is_ready));
        let is_worker = config.nodes.get(node).is_some_and(|node| node.role == Role::Worker);
        if is_start && is_worker && !has_api {
            unknown.push("the API");
        }
        let is_allowed = self.spec.options.allow_on_battery || config.coordination.allow_startup_on_battery;
        let is_unheard = |ups: &UpsName| {
            let reading = snapshot.upses.get(ups).and_then(|it| it.fresh(&now, config.ups_policy.max_age));
            reading.is_none() && !self.is_ignored(simulation, ups)
        };
        let grace = config.startup.ups_unknown_grace.unwrap_or(Duration::MAX);
        let is_drift = decision.status.episode.as_ref().is_none_or(|episode| episode.converged.is_some());
        // Drift of a single unit knows no gate.
        let is_silent = !(is_drift && is_start) && self.missing(simulation, node, is_unheard).is_some();
        if is_silent && !is_allowed && !self.was_held("ups-unknown", grace) {
            unknown.push("a word of its UPS");
        }
        let is_strict = config.startup.time_sync_mode == Some(TimeSyncMode::Strict);
        let is_synced = now.wall_synced && host.is_none_or(|host| host.is_time_synced == Some(true));
        // Without anybody to ask, clocks that agree suffice after a while.
        let agrees = |ahead: i64| ahead.unsigned_abs() <= config.startup.time_sync_max_offset.as_secs() + 1;
        let ahead = host.and_then(|host| host.clock).map_or(0, |clock| clock.ahead_seconds);
        let is_given_up = agrees(ahead) && self.was_held("time-sync", config.startup.time_sync_wait);
        if is_start && is_strict && !is_synced && !is_given_up && !self.spec.options.skip_time_sync {
            unknown.push("its clock");
        }
        if simulation.desk.ledger_problem.is_some() {
            unknown.push("the ledger");
        }
        if simulation.desk.health == DeclaredHealth::Lost {
            unknown.push("the wish");
        }
        if !unknown.is_empty() {
            self.broken(UNKNOWN, format!("{step} without {}", unknown.join(", ")));
        }
    }
}

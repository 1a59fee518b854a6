//! Steps down: nothing goes that need not go, and nothing goes that nobody would bring back.
//!
//! Pure.

use super::{AGAIN, ECHO, HEALTHY_MAINS, NO_WAY_BACK, NOTICED, OWN_FEEDS, QUORUM, SNAPSHOT, Watch};
use crate::decide::Decision;
use crate::desired::DeclaredHealth;
use crate::model::{ClusterState, NodeName, Role, UpsName};
use crate::plan::step::Step;
use crate::simulate::Simulation;
use crate::simulate::world::Host;
use crate::simulate::world::ups::Battery;
use crate::snapshot::{Datastore, UnitState, UpsStatus, UpsWord};

impl Watch {
    /// The hecate host goes by an override only when its own supply ends.
    pub(super) fn own_power_off(&mut self, simulation: &Simulation, decision: &Decision) {
        let (world, own) = (&simulation.world, &simulation.config.own_host);
        let is_wished = self.spec.state == ClusterState::Poweroff || !decision.effective.is_override();
        if is_wished || world.is_own_load_ending() {
            return;
        }
        let (holds, needed) = (own.feeds.iter().filter(|ups| self.holds(simulation, ups)).count(), own.min_supplies);
        if own.feeds.is_empty() || holds >= needed {
            self.broken(OWN_FEEDS, format!("{holds} of its {} feeds hold, it needs {needed}", own.feeds.len()));
        }
    }

    /// A host is powered off by an override only where its own supply ends, or where something would switch it on again; and
    /// one that has booted since is not powered off again on the word of a UPS that has been silent since before.
    pub(super) fn power_off(&mut self, simulation: &Simulation, decision: &Decision, node: &NodeName) {
        let (world, config) = (&simulation.world, &simulation.config);
        // Nothing comes of a command to a host that is off.
        let is_told = world.hosts.get(node).is_some_and(|host| !host.is_on || host.is_going_off())
            || simulation.desk.ledger.powered_off.contains_key(node) && !self.booted.contains_key(node);
        let Some(known) = config.nodes.get(node) else { return };
        if self.spec.state == ClusterState::Poweroff || !decision.effective.is_override() || is_told {
            return;
        }
        let holds = known.feeds.iter().filter(|ups| self.holds(simulation, ups)).count();
        if (known.feeds.is_empty() || holds >= known.min_supplies) && known.wake.is_none() {
            self.broken(NO_WAY_BACK, format!("{node} is powered off, {holds} of its {} feeds hold", known.feeds.len()));
        }
        let Some(booted) = self.booted.get(node).copied().filter(|at| self.overridden.is_some_and(|set| set < *at))
        else {
            return;
        };
        // Words of before the boot that are heard late.
        let heard = booted.saturating_sub(NOTICED + simulation.lag.late);
        if !self.alarmed.values().any(|at| *at >= heard) {
            self.broken(
                AGAIN,
                format!("{node} booted {} s ago, and no UPS has said OB since", (world.time - booted).as_secs()),
            );
        }
    }

    /// Whether a UPS has its mains, and has said so for long enough that everybody knows.
    fn holds(&self, simulation: &Simulation, ups: &UpsName) -> bool {
        let world = &simulation.world;
        let known = NOTICED + simulation.lag.late + simulation.config.ups_policy.lost_on_battery;
        let calm = self.calm.get(ups).is_some_and(|since| world.time.saturating_sub(*since) >= known);
        // What is heard too late is no answer, and unknown once it has been so for long.
        let policy = &simulation.config.ups_policy;
        let late_for = world.time.saturating_sub(self.lag.1);
        let is_late = simulation.lag.late >= policy.max_age && late_for >= policy.lost_on_battery_max;
        let calm = calm && !is_late && simulation.lag.late < policy.lost_on_battery.max(policy.max_age * 2);
        let says = |battery: &Battery| {
            let words = UpsStatus::parse(&battery.words());
            // One that says that its output is off is no supply to rely on.
            battery.mains && words.has(UpsWord::Ol) && !words.has(UpsWord::Fsd) && !words.has(UpsWord::Off)
        };
        calm && world.is_told(ups) && world.upses.get(ups).is_some_and(says)
    }

    /// A step down: wished, or because of a UPS that gave reason to.
    pub(super) fn stop(&mut self, simulation: &Simulation, step: &Step) {
        let (world, policy) = (&simulation.world, &simulation.config.ups_policy);
        let calm = policy.mains_stable + policy.lost_on_battery + NOTICED + simulation.lag.late;
        let is_calm = world
            .upses
            .keys()
            .all(|ups| self.calm.get(ups).is_some_and(|since| world.time.saturating_sub(*since) >= calm));
        if self.spec.state == ClusterState::Running && is_calm && simulation.desk.health != DeclaredHealth::Lost {
            self.broken(HEALTHY_MAINS, step.to_string());
        }
    }

    /// A server that has been running is stopped for a wish only once there is a snapshot, or the wish does without.
    pub(super) fn snapshot(&mut self, simulation: &Simulation, decision: &Decision, step: &Step, node: &NodeName) {
        let world = &simulation.world;
        let Some(episode) = decision.status.episode.as_ref() else { return };
        let is_stop = matches!(step, Step::StopUnit { .. });
        if world.datastore != Datastore::Etcd {
            return;
        }
        let runs =
            world.hosts.get(node).is_some_and(|it| it.role == Role::ControlPlane && it.has_run(world.time, ECHO));
        let wants = !decision.effective.is_override() && !self.spec.options.skip_etcd_snapshot;
        let prefix = format!("hecate-{}", episode.run);
        let has_one = world.etcd_snapshots.values().flatten().any(|name| name.starts_with(&prefix));
        if is_stop && runs && wants && !has_one {
            self.broken(SNAPSHOT, step.to_string());
        }
    }

    pub(super) fn quorum(&mut self, simulation: &Simulation, decision: &Decision, step: &Step, node: &NodeName) {
        let world = &simulation.world;
        let effective = &decision.effective;
        if effective.state() != ClusterState::Running || world.datastore != Datastore::Etcd {
            return;
        }
        let is_server = |name: &NodeName| world.hosts.get(name).is_some_and(|host| host.role == Role::ControlPlane);
        let servers = world.hosts.values().filter(|host| host.role == Role::ControlPlane).count();
        // Who stopped by itself since the override was set, or a moment ago, was there when it was decided who goes.
        let since = self.overridden.unwrap_or(world.time).min(world.time.saturating_sub(ECHO));
        let was_there = |name: &NodeName, host: &Host| {
            host.is_on && host.unit == UnitState::Running || self.ran.get(name).is_some_and(|last| *last >= since)
        };
        let left = world
            .hosts
            .iter()
            .filter(|(name, host)| is_server(name) && was_there(name, host) && !effective.nodes().contains(*name));
        let left = left.count();
        let is_named = effective.nodes().contains(node);
        // What does not run takes no vote away; and quorum that is lost already is lost for whoever's battery ends.
        let votes = |host: &Host| host.is_on && matches!(host.unit, UnitState::Running | UnitState::Stopping);
        let voters = world.hosts.iter().filter(|(name, host)| is_server(name) && votes(host));
        let had_quorum = voters.count() * 2 > servers;
        let takes_vote = had_quorum && is_server(node) && world.hosts.get(node).is_some_and(votes);
        if !is_named || takes_vote && left * 2 <= servers {
            self.broken(QUORUM, format!("{step} with {left} of {servers} servers left"));
        }
    }
}

//! Mains, batteries, and what they take with them when they end.
//!
//! Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::switch::Cut;
use super::{Host, HostEvent, OwnEvent, World};
use crate::model::{NodeName, UpsName};
use crate::snapshot::UnitState;

impl World {
    pub(super) fn move_power(&mut self, by: Duration, told: &mut Vec<String>) {
        let loads: BTreeMap<UpsName, f64> = self.upses.keys().map(|name| (name.clone(), self.load(name))).collect();
        let mut is_any_empty = false;
        for (name, battery) in &mut self.upses {
            if battery.mains {
                let rate = battery.capacity / battery.recharge(&self.pace).as_secs_f64();
                battery.holds = (battery.holds + rate * by.as_secs_f64()).min(battery.capacity);
            } else if battery.holds > 0.0 {
                battery.holds -= loads[name] * by.as_secs_f64();
                if battery.holds <= 0.0 {
                    battery.holds = 0.0;
                    is_any_empty = true;
                    told.push(format!("the battery of {name} is empty"));
                }
            }
        }
        if is_any_empty {
            self.drop_unpowered(told);
        }
    }

    /// Drivers read their UPSes.
    pub(super) fn move_drivers(&mut self) {
        let loads: BTreeMap<UpsName, f64> = self.upses.keys().map(|name| (name.clone(), self.load(name))).collect();
        for (name, battery) in &mut self.upses {
            battery.look(self.time, loads[name]);
        }
    }

    /// Load of a UPS: a host that runs k3s, and the hecate host, draws its whole share, one that idles 60 % of it; the rest is
    /// switches. What one of its feeds no longer gives it draws from the others.
    pub(super) fn load(&self, ups: &UpsName) -> f64 {
        let fed: Vec<&Host> = self.hosts.values().filter(|host| host.feeds.contains(ups)).collect();
        // Where it is a node as well it is there already.
        let feeds_own = !self.own_is_node && self.own_feeds.contains(ups);
        let share = 0.95 / (fed.len() + usize::from(feeds_own)).max(1) as f64;
        let share_of = |feeds: &BTreeSet<UpsName>| {
            let giving = feeds.iter().filter(|feed| self.supplies(feed)).count().max(1);
            share * feeds.len() as f64 / giving as f64
        };
        let draw = |host: &&Host| match (host.is_on, host.unit) {
            (false, _) => 0.0,
            (true, UnitState::Running | UnitState::Starting) => share_of(&host.feeds),
            (true, _) => share_of(&host.feeds) * 0.6,
        };
        let own = if feeds_own && self.own_is_on { share_of(&self.own_feeds) } else { 0.0 };
        0.05 + own + fed.iter().map(draw).sum::<f64>()
    }

    fn supplies(&self, ups: &UpsName) -> bool {
        self.upses.get(ups).is_none_or(|it| {
            let is_cut = it.cut.as_ref().is_some_and(Cut::is_off);
            !is_cut && (it.mains || it.holds > 0.0)
        })
    }

    pub(super) fn is_powered(&self, feeds: &BTreeSet<UpsName>, min_supplies: usize) -> bool {
        feeds.is_empty() || feeds.iter().filter(|ups| self.supplies(ups)).count() >= min_supplies
    }

    /// How long a host (or, None, the hecate host) still has enough supplies, if nothing changes; None: for ever.
    pub fn time_to_loss(&self, node: &Option<NodeName>) -> Option<Duration> {
        let (feeds, min_supplies) = match node {
            Some(node) => self.hosts.get(node).map(|host| (&host.feeds, host.min_supplies))?,
            None => (&self.own_feeds, self.own_min_supplies),
        };
        let lasts = |ups: &UpsName| {
            let is_fed = self.upses.get(ups).is_none_or(|battery| battery.mains);
            if is_fed { Some(Duration::MAX) } else { self.true_runtime(ups) }
        };
        let mut each: Vec<Duration> = feeds.iter().filter_map(lasts).collect();
        each.sort_unstable();
        let first_missing = each.len().checked_sub(min_supplies)?;
        each.get(first_missing).copied().filter(|left| *left < Duration::MAX)
    }

    /// What has too few supplies left loses its power where it stands.
    pub(super) fn drop_unpowered(&mut self, told: &mut Vec<String>) {
        let is_dropped = |host: &Host| host.is_on && !self.is_powered(&host.feeds, host.min_supplies);
        let dropped: Vec<NodeName> =
            self.hosts.iter().filter(|(_, host)| is_dropped(host)).map(|(name, _)| name.clone()).collect();
        for name in dropped {
            let has_workload = self.has_workload(&name);
            if let Some(host) = self.hosts.get_mut(&name) {
                host.hard_cuts += u32::from(has_workload || host.unit != UnitState::Stopped || host.is_writing());
                host.switch_off();
                told.push(format!("{name} loses power"));
            }
        }
        if self.own_is_on && !self.is_powered(&self.own_feeds, self.own_min_supplies) {
            self.own_is_on = false;
            self.own_was_cut = true;
            self.own_event = None;
            self.forget_waiters();
            told.push("the hecate host loses power".to_owned());
        }
    }

    /// Mains come back: hosts that are off boot, as firmware set to "restore on AC" does. Behind a UPS that counts down to
    /// the end of its output nobody has seen its power end yet: who is off there boots when it gives its load back.
    pub fn mains_back(&mut self, ups: &UpsName) {
        if let Some(battery) = self.upses.get_mut(ups) {
            battery.mains = true;
            if battery.cut.as_ref().is_some_and(|cut| cut.due().is_some()) {
                return;
            }
        }
        for host in self.hosts.values_mut().filter(|host| host.feeds.contains(ups)) {
            if matches!(host.event, Some(HostEvent::OffAt(_))) {
                host.boots_again = true;
            } else if !host.is_on {
                host.event = Some(HostEvent::OnAt(self.time + host.pace.unwrap_or(self.pace).host_boot));
            }
        }
        if self.own_feeds.contains(ups) {
            if matches!(self.own_event, Some(OwnEvent::OffAt(_))) {
                self.own_boots_again = true;
            } else if !self.own_is_on {
                self.own_event = Some(OwnEvent::OnAt(self.time + self.pace.host_boot));
            }
        }
    }
}

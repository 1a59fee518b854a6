//! Mains, batteries, and what they take with them when they end.
//!
//! Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Host, HostEvent, OwnEvent, World};
use crate::model::{NodeName, UpsName};
use crate::snapshot::UnitState;

impl World {
    pub(super) fn move_power(&mut self, by: Duration, told: &mut Vec<String>) {
        let loads: BTreeMap<UpsName, f64> = self.upses.keys().map(|name| (name.clone(), self.load(name))).collect();
        let mut emptied = Vec::new();
        for (name, battery) in &mut self.upses {
            if battery.mains {
                let rate = battery.capacity / self.pace.recharge.as_secs_f64();
                battery.holds = (battery.holds + rate * by.as_secs_f64()).min(battery.capacity);
            } else if battery.holds > 0.0 {
                battery.holds -= loads[name] * by.as_secs_f64();
                if battery.holds <= 0.0 {
                    battery.holds = 0.0;
                    emptied.push(name.clone());
                }
            }
        }
        for name in emptied {
            told.push(format!("the battery of {name} is empty"));
            self.cut_power(&name, told);
        }
    }

    /// Load of a UPS: a host that runs k3s draws its whole share, one that idles 60 % of it; the rest is switches.
    pub(super) fn load(&self, ups: &UpsName) -> f64 {
        let fed: Vec<&Host> = self.hosts.values().filter(|host| host.feeds.contains(ups)).collect();
        let share = 0.95 / fed.len().max(1) as f64;
        let draw = |host: &&Host| match (host.is_on, host.unit) {
            (false, _) => 0.0,
            (true, UnitState::Running | UnitState::Starting) => share,
            (true, _) => share * 0.6,
        };
        0.05 + fed.iter().map(draw).sum::<f64>()
    }

    fn is_powered(&self, feeds: &BTreeSet<UpsName>) -> bool {
        feeds.is_empty() || feeds.iter().any(|ups| self.upses.get(ups).is_none_or(|it| it.mains || it.holds > 0.0))
    }

    fn cut_power(&mut self, ups: &UpsName, told: &mut Vec<String>) {
        let names: Vec<NodeName> = self.hosts.keys().cloned().collect();
        for name in names {
            let has_workload = self.has_workload(&name);
            let powered = self.is_powered(&self.hosts[&name].feeds);
            if let Some(host) = self.hosts.get_mut(&name)
                && host.feeds.contains(ups)
                && host.is_on
                && !powered
            {
                host.hard_cuts += u32::from(has_workload || host.unit != UnitState::Stopped);
                host.switch_off();
                told.push(format!("{name} loses power"));
            }
        }
        if self.own_feeds.contains(ups) && !self.is_powered(&self.own_feeds) && self.own_is_on {
            self.own_is_on = false;
            self.own_was_cut = true;
            self.own_event = None;
            self.doing.clear();
            told.push("the hecate host loses power".to_owned());
        }
    }

    /// Mains come back: hosts that are off boot, as firmware set to "restore on AC" does.
    pub fn mains_back(&mut self, ups: &UpsName) {
        if let Some(battery) = self.upses.get_mut(ups) {
            battery.mains = true;
        }
        let boot_at = self.time + self.pace.host_boot;
        for host in self.hosts.values_mut().filter(|host| host.feeds.contains(ups)) {
            let goes_off = matches!(host.event, Some(HostEvent::OffAt(_)));
            if !host.is_on || goes_off {
                let later = if goes_off { self.pace.host_stop } else { Duration::ZERO };
                host.event = Some(HostEvent::OnAt(boot_at + later));
                if goes_off {
                    host.switch_off();
                    host.event = Some(HostEvent::OnAt(boot_at + later));
                }
            }
        }
        let own_goes_off = matches!(self.own_event, Some(OwnEvent::OffAt(_)));
        if !self.own_is_on || own_goes_off {
            self.own_is_on = false;
            self.own_event = Some(OwnEvent::OnAt(boot_at));
        }
    }
}

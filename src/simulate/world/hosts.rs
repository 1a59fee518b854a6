//! Hosts and their units: how they boot, start, stop and go off.
//!
//! Pure.

use std::time::Duration;

use super::{Host, HostEvent, OwnEvent, World};
use crate::model::{NodeName, Role};
use crate::snapshot::{Datastore, UnitState};

/// Containers that k3s itself brings along on each node.
const SYSTEM_CONTAINERS: u32 = 3;
/// From the start of the hecate host's kernel to that of hecate.
const KERNEL_BOOT: Duration = Duration::from_secs(15);

impl World {
    /// Somebody presses the power button of the hecate host.
    pub fn press_own_button(&mut self) {
        if !self.own_is_on {
            self.own_event = Some(OwnEvent::OnAt(self.time + self.pace.host_boot));
        }
    }

    /// Whether the hecate host is on its way down.
    pub fn is_own_going_off(&self) -> bool {
        self.own_is_on && matches!(self.own_event, Some(OwnEvent::OffAt(_)))
    }

    /// Whether the hecate host comes up by itself.
    pub fn is_own_coming(&self) -> bool {
        !self.own_is_on && self.own_event.is_some()
    }

    /// Somebody presses a node's power button.
    pub fn press_button(&mut self, node: &NodeName) {
        if let Some(host) = self.hosts.get_mut(node).filter(|host| !host.is_on) {
            host.event = Some(HostEvent::OnAt(self.time + host.pace.unwrap_or(self.pace).host_boot));
        }
    }

    /// Changes a host, where there is one of this name.
    pub fn on_host(&mut self, node: &NodeName, change: impl FnOnce(&mut Host)) {
        if let Some(host) = self.hosts.get_mut(node) {
            change(host);
        }
    }

    /// A host dies where it stands; its pods are lost with it.
    pub fn kill_host(&mut self, node: &NodeName) {
        if let Some(host) = self.hosts.get_mut(node) {
            host.switch_off();
        }
    }

    /// The hecate host goes down at once, and boots; not where it is off, or on its way down.
    pub fn reboot_own_host(&mut self) {
        if self.own_is_on && self.own_event.is_none() {
            (self.own_event, self.own_boots_again) = (Some(OwnEvent::OffAt(self.time)), true);
        }
    }

    /// The kernel of the hecate host began anew a moment ago, and its boottime with it.
    pub fn begin_own_boot(&mut self) {
        self.own_boot += 1;
        self.own_booted = self.time.saturating_sub(KERNEL_BOOT);
    }

    /// Somebody stops or starts the unit of a node's role behind hecate's back.
    pub fn set_unit(&mut self, node: &NodeName, is_running: bool) {
        let until = self.time + if is_running { self.pace.server_start } else { self.pace.unit_stop };
        let Some(host) = self.hosts.get_mut(node).filter(|host| host.is_on) else { return };
        match (is_running, host.unit) {
            (true, UnitState::Stopped) => (host.unit, host.unit_until) = (UnitState::Starting, Some(until)),
            (false, UnitState::Running | UnitState::Starting) => {
                (host.unit, host.unit_until) = (UnitState::Stopping, Some(until));
            }
            (true | false, _) => {}
        }
    }

    pub(super) fn move_own_host(&mut self, told: &mut Vec<String>) {
        match self.own_event {
            Some(OwnEvent::OffAt(at)) if self.time >= at => {
                self.own_is_on = false;
                self.own_event = std::mem::take(&mut self.own_boots_again)
                    .then_some(OwnEvent::OnAt(self.time + self.pace.host_boot));
                self.forget_waiters();
                told.push("the hecate host is off".to_owned());
            }
            Some(OwnEvent::OnAt(at)) if self.time >= at => {
                self.own_event = None;
                if self.is_powered(&self.own_feeds, self.own_min_supplies) {
                    self.own_is_on = true;
                    self.begin_own_boot();
                    told.push("the hecate host has booted".to_owned());
                }
            }
            Some(OwnEvent::OffAt(_) | OwnEvent::OnAt(_)) | None => {}
        }
    }

    pub(super) fn move_hosts(&mut self, told: &mut Vec<String>) {
        let names: Vec<NodeName> = self.hosts.keys().cloned().collect();
        for name in &names {
            self.move_host(name, told);
        }
        let has_quorum_soon = self.has_majority(|unit| matches!(unit, UnitState::Running | UnitState::Starting));
        let has_quorum = self.has_quorum();
        let time = self.time;
        for host in self.hosts.values_mut() {
            let may_start = match host.role {
                Role::ControlPlane => has_quorum_soon,
                Role::Worker => has_quorum,
            };
            host.move_unit(time, may_start);
        }
    }

    fn move_host(&mut self, name: &NodeName, told: &mut Vec<String>) {
        let starts_at = self.time + self.pace.server_start;
        let pace = self.pace;
        let is_powered = self.hosts.get(name).is_some_and(|host| self.is_powered(&host.feeds, host.min_supplies));
        let time = self.time;
        let Some(host) = self.hosts.get_mut(name) else { return };
        let boots_at = time + host.pace.unwrap_or(pace).host_boot;
        if let Some((_, saved)) = host.saving.take_if(|(until, _)| time >= *until) {
            self.etcd_snapshots.entry(name.clone()).or_default().insert(saved);
        }
        // What a host does after it has fallen silent is the end of its units and of what they left.
        if host.is_on && host.is_silent(time) && host.unit != UnitState::Stopped {
            (host.unit, host.unit_until) = (UnitState::Stopped, None);
        }
        match host.event {
            Some(HostEvent::OffAt(at)) if time >= at && !host.hangs => {
                let boots_again = host.boots_again;
                host.switch_off();
                told.push(format!("{name} is off"));
                host.event = boots_again.then_some(HostEvent::OnAt(boots_at));
            }
            Some(HostEvent::OnAt(at)) if time >= at => {
                host.event = None;
                if !is_powered {
                    return;
                }
                host.is_on = true;
                host.boot += 1;
                host.booted = time;
                host.unit_until = host.starts_by_itself.then_some(starts_at);
                host.unit = if host.starts_by_itself { UnitState::Starting } else { UnitState::Stopped };
                told.push(format!("{name} has booted"));
            }
            Some(HostEvent::OffAt(_) | HostEvent::OnAt(_)) | None => {}
        }
    }

    /// Whether as many servers as the datastore needs are on, with their unit in such a state.
    pub(super) fn has_majority(&self, is_alive: impl Fn(UnitState) -> bool) -> bool {
        let servers = self.hosts.values().filter(|host| host.role == Role::ControlPlane);
        let alive = servers.clone().filter(|host| host.is_on && is_alive(host.unit)).count();
        match self.datastore {
            Datastore::Etcd => alive * 2 > servers.count(),
            Datastore::Sqlite | Datastore::External => alive > 0,
        }
    }
}

impl Host {
    /// Whether k3s has been running for so long.
    pub fn has_run(&self, time: Duration, span: Duration) -> bool {
        let since = self.running_since.filter(|_| self.unit == UnitState::Running);
        since.is_some_and(|since| time.saturating_sub(since) >= span)
    }

    /// Whether it has left its network behind on its way down.
    pub(super) fn is_silent(&self, time: Duration) -> bool {
        self.silent_at.is_some_and(|at| time >= at)
    }

    /// Whether it saves an etcd snapshot.
    pub fn is_saving(&self) -> bool {
        self.saving.is_some()
    }

    /// Whether it is on its way down.
    pub fn is_going_off(&self) -> bool {
        self.is_on && matches!(self.event, Some(HostEvent::OffAt(_)))
    }

    /// Whether it still writes on its way down, where that takes a while.
    pub fn is_writing(&self) -> bool {
        self.is_on && !self.tail.is_zero() && !self.hangs && matches!(self.event, Some(HostEvent::OffAt(_)))
    }

    pub(super) fn switch_off(&mut self) {
        self.is_on = false;
        self.event = None;
        (self.silent_at, self.boots_again, self.saving) = (None, false, None);
        self.unit = UnitState::Stopped;
        self.unit_until = None;
        (self.system_containers, self.is_killed) = (0, true);
    }

    fn move_unit(&mut self, time: Duration, may_start: bool) {
        if self.unit_until.is_none_or(|until| time < until) {
            return;
        }
        match self.unit {
            UnitState::Starting if may_start => {
                (self.unit, self.running_since) = (UnitState::Running, Some(time));
                (self.system_containers, self.is_killed) = (SYSTEM_CONTAINERS, false);
                self.unit_until = None;
                // Who serves again has come back from what it was told before.
                self.told = self.told.filter(|(boot, _)| *boot == self.boot);
            }
            UnitState::Stopping => {
                self.unit = UnitState::Stopped;
                self.unit_until = None;
            }
            UnitState::Starting | UnitState::Running | UnitState::Stopped | UnitState::NotFound => {}
        }
    }
}

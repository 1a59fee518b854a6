//! The world: four hosts, one UPS, one disk, all of it in a few words each.
//!
//! It knows none of hecate's rules. It does what steps ask for within one tick, and keeps for the rules of `rules.rs` what
//! no hecate knows: whether mains were lost since a host was booted, and whether it was asked to stop its k3s.

use hecate::model::{BootId, Unit};
use hecate::plan::step::{Outcome, Step};

use super::cluster::{FULL, NODES, THIS_BOOT, WORKER, index};

/// Everything but hecate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    /// The nodes' hosts, servers first.
    pub(crate) hosts: [Host; NODES],
    /// Whether mains are there.
    pub(crate) mains: bool,
    /// What the battery holds, in ticks at full load.
    pub(crate) level: u8,
    /// What the UPS makes of that.
    pub(crate) ups: Mood,
    /// Whether no API server can be asked, though they run.
    pub(crate) api_gone: bool,
    /// Whose etcd snapshot there is.
    pub(crate) saved: Saved,
    /// Whether the host hecate runs on is on.
    pub(crate) own_on: bool,
    /// Whether mains were lost since it was booted.
    pub(crate) own_outage: bool,
}

/// A node's host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Host {
    /// Its power.
    pub(crate) power: Power,
    /// Whether it answers while it is on.
    pub(crate) heard: bool,
    /// Its k3s.
    pub k3s: K3s,
    /// Who has cordoned it.
    pub(crate) cordon: Cordon,
    /// Whether pods that a drain owes run on it.
    pub(crate) workload: bool,
    /// Whether containers run on it.
    pub(crate) containers: bool,
    /// Whether its Node object is from this boot of it.
    pub(crate) is_registered: bool,
    /// For how many ticks its Lease was not renewed, three at most.
    pub(crate) lease_age: u8,
    /// Whether mains were lost since it was booted.
    pub(crate) outage: bool,
    /// Whether a stop of its k3s was begun since it was booted.
    pub(crate) asked_to_stop: bool,
}

/// A host's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Power {
    /// It runs.
    On,
    /// It was told to power off: silent, and deaf to a wake-up.
    Going,
    /// It has none.
    Off,
    /// It was switched on.
    Booting,
}

/// A unit's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum K3s {
    /// Not running.
    Stopped,
    /// A server without quorum, or an agent without a server.
    Starting,
    /// Running.
    Running,
}

/// Who has cordoned a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Cordon {
    /// Nobody.
    No,
    /// hecate, says the mark.
    Hecate,
    /// Somebody else.
    Foreign,
}

/// What a UPS makes of its battery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mood {
    /// The truth.
    Honest,
    /// Nothing.
    Silent,
    /// It is always full.
    Stuck,
    /// It is low, whatever it holds.
    Low,
}

/// Which run's etcd snapshot is there; runs are numbered in `normal.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Saved {
    /// None that any episode would ask for.
    No,
    /// That of this run.
    Of(u8),
}

impl World {
    /// A cluster that runs.
    pub(crate) fn running() -> Self {
        let host = Host {
            power: Power::On,
            heard: true,
            k3s: K3s::Running,
            cordon: Cordon::No,
            workload: true,
            containers: true,
            is_registered: true,
            lease_age: 0,
            outage: false,
            asked_to_stop: false,
        };
        Self {
            hosts: [host; NODES],
            mains: true,
            level: FULL,
            ups: Mood::Honest,
            api_gone: false,
            saved: Saved::No,
            own_on: true,
            own_outage: false,
        }
    }

    /// Whether a host can be asked and told.
    pub(crate) fn is_up(&self, node: usize) -> bool {
        self.hosts[node].power == Power::On && self.hosts[node].heard
    }

    /// How many servers run.
    pub(crate) fn servers(&self) -> usize {
        self.hosts[..WORKER].iter().filter(|host| host.k3s == K3s::Running).count()
    }

    /// Whether etcd has its quorum.
    pub(crate) fn has_quorum(&self) -> bool {
        self.servers() * 2 > WORKER
    }

    /// Whether the API can be asked.
    pub(crate) fn is_served(&self) -> bool {
        let is_reachable = (0..WORKER).any(|node| self.hosts[node].k3s == K3s::Running && self.hosts[node].heard);
        self.has_quorum() && is_reachable && !self.api_gone
    }

    /// Does what a step asks for. A host that is not the one, or not in the boot, that is meant does nothing: the actor
    /// looks once more in the same command.
    pub(crate) fn obey(&mut self, step: &Step) -> Outcome {
        let is_served = self.is_served();
        let failed = || Outcome::Failed { why: String::new() };
        let refused = || Outcome::Refused { evidence: String::new() };
        let node = step.node().map(|name| index(&name));
        let is_up = node.is_some_and(|node| self.is_up(node));
        let needs_host = !matches!(
            step,
            Step::Cordon { .. }
                | Step::Uncordon { .. }
                | Step::Drain { .. }
                | Step::Wake { .. }
                | Step::PowerOffOwnHost { .. }
        );
        let needs_api = matches!(step, Step::Cordon { .. } | Step::Uncordon { .. } | Step::Drain { .. });
        if (needs_host && !is_up) || (needs_api && !is_served) {
            return failed();
        }
        if let Step::PowerOffOwnHost { .. } = step {
            self.own_on = false;
            return Outcome::Tried;
        }
        let has_quorum = self.has_quorum();
        let Some(host) = node.map(|node| &mut self.hosts[node]) else { return failed() };
        match step {
            Step::StartUnit { .. } if host.k3s == K3s::Stopped => {
                (host.k3s, host.containers) = (K3s::Starting, true);
            }
            Step::StopUnit { must_be_drained: true, .. } if host.workload => return refused(),
            Step::StopUnit { unit, .. } => {
                host.k3s = K3s::Stopped;
                host.containers |= *unit == Unit::K3s;
            }
            Step::KillContainers { .. } if host.k3s == K3s::Stopped => {
                (host.containers, host.workload) = (false, false);
            }
            Step::Cordon { .. } if host.cordon == Cordon::Foreign => return refused(),
            Step::Cordon { .. } => host.cordon = Cordon::Hecate,
            Step::Uncordon { .. } if host.cordon == Cordon::Foreign => return refused(),
            Step::Uncordon { .. } => host.cordon = Cordon::No,
            Step::Drain { .. } => host.workload = false,
            Step::SaveEtcdSnapshot { run, .. } if has_quorum && host.k3s == K3s::Running => {
                self.saved = super::normal::number_of(run).map_or(Saved::No, Saved::Of);
            }
            Step::SaveEtcdSnapshot { .. } => return failed(),
            Step::PowerOff { boot_id, .. } => {
                if boot_id.as_ref().is_some_and(|boot| boot.as_str() != THIS_BOOT) {
                    return Outcome::OtherBoot { boot_id: BootId::new(THIS_BOOT) };
                }
                host.lose_power(Power::Going);
            }
            Step::Wake { .. } if host.power == Power::Off => host.power = Power::Booting,
            Step::StartUnit { .. }
            | Step::KillContainers { .. }
            | Step::Wake { .. }
            | Step::PowerOffOwnHost { .. }
            | Step::CutLoad { .. } => {}
        }
        Outcome::Tried
    }

    /// A tick begins: who was told to power off is off, who was switched on is on. Says which hosts are in a new boot since.
    pub(crate) fn move_power(&mut self) -> Vec<usize> {
        let mut booted = Vec::new();
        for (node, host) in self.hosts.iter_mut().enumerate() {
            match host.power {
                Power::Going => host.power = Power::Off,
                Power::Booting => {
                    host.power = Power::On;
                    // The installer enables the units; on two of the servers somebody has disabled them.
                    host.k3s = if node < 2 { K3s::Stopped } else { K3s::Starting };
                    (host.containers, host.is_registered) = (host.k3s != K3s::Stopped, false);
                    (host.outage, host.asked_to_stop) = (!self.mains, false);
                    booted.push(node);
                }
                Power::On | Power::Off => {}
            }
        }
        booted
    }

    /// A tick goes by, after steps have had their effect.
    pub(crate) fn advance(&mut self) {
        self.start_units();
        self.renew();
        self.drain_battery();
    }

    fn start_units(&mut self) {
        let is_coming = |host: &&Host| host.k3s != K3s::Stopped;
        let has_quorum = self.hosts[..WORKER].iter().filter(is_coming).count() * 2 > WORKER;
        for node in 0..NODES {
            let is_ready = if node == WORKER { self.has_quorum() } else { has_quorum };
            if self.hosts[node].k3s == K3s::Starting && is_ready {
                self.hosts[node].k3s = K3s::Running;
            }
        }
    }

    /// Kubelets renew their leases, and what is pending goes to a node that may have it.
    fn renew(&mut self) {
        let has_quorum = self.has_quorum();
        for host in &mut self.hosts {
            if has_quorum && host.k3s == K3s::Running {
                (host.lease_age, host.is_registered) = (0, true);
                host.workload |= host.cordon == Cordon::No;
            } else {
                host.lease_age = (host.lease_age + 1).min(3);
            }
        }
    }

    fn drain_battery(&mut self) {
        if self.mains {
            self.level = (self.level + 1).min(FULL);
            return;
        }
        self.level = self.level.saturating_sub(1);
        if self.level == 0 {
            for host in self.hosts.iter_mut().filter(|host| host.power != Power::Off) {
                host.lose_power(Power::Off);
            }
            self.own_on = false;
        }
    }

    /// Keeps which hosts were asked to stop their k3s.
    pub(crate) fn note_asked(&mut self, begun: &[Step]) {
        for step in begun {
            if let Step::StopUnit { node, .. } = step {
                self.hosts[index(node)].asked_to_stop = true;
            }
        }
    }

    /// Mains fail.
    pub(crate) fn lose_mains(&mut self) {
        self.mains = false;
        self.own_outage = true;
        self.hosts.iter_mut().for_each(|host| host.outage = true);
    }

    /// Mains are back. What lost its power with the battery boots.
    pub(crate) fn regain_mains(&mut self) {
        self.mains = true;
        if self.level == 0 {
            self.hosts.iter_mut().for_each(|host| host.power = Power::Booting);
        }
    }
}

impl Host {
    fn lose_power(&mut self, power: Power) {
        self.power = power;
        self.k3s = K3s::Stopped;
        (self.workload, self.containers) = (false, false);
    }
}

impl std::fmt::Display for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mains = if self.mains { "mains" } else { "battery" };
        write!(f, "{mains} {} {:?}{}", self.level, self.ups, if self.own_on { "" } else { ", hecate host off" })?;
        for host in &self.hosts {
            let Host { power, heard, k3s, cordon, workload, .. } = host;
            write!(f, " | {power:?}{} {k3s:?}", if *heard { "" } else { " silent" })?;
            write!(
                f,
                "{}{}",
                if *workload { " loaded" } else { "" },
                if *cordon == Cordon::No { "" } else { " cordoned" }
            )?;
        }
        Ok(())
    }
}

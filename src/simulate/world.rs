//! The built-in cluster, its UPSes and the clock.
//!
//! Pure. It knows nothing of hecate's rules: it does what steps ask for, in its own time, and shows what readings show.

#![deny(clippy::disallowed_methods)]

pub mod acts;
pub mod around;
pub mod device;
mod hosts;
pub mod lie;
pub mod network;
mod pods;
mod power;
pub mod profile;
mod switch;
pub mod ups;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::acts::Acts;
use self::around::Around;
use self::network::Network;
use self::ups::Battery;
use crate::config::Config;
use crate::model::{NodeName, Role, UpsName};
use crate::snapshot::{Datastore, PodObject, UnitState};

/// How long things take in the built-in world.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// From power to sshd.
    pub host_boot: Duration,
    /// From power-off told to no power.
    pub host_stop: Duration,
    /// From a server's start to its API being ready, with quorum.
    pub server_start: Duration,
    /// From an agent's start to its node being Ready.
    pub agent_start: Duration,
    /// From a unit's stop to it being stopped.
    pub unit_stop: Duration,
    /// How long an etcd snapshot takes.
    pub etcd_snapshot: Duration,
    /// From empty to full battery.
    pub recharge: Duration,
}

impl Default for Pace {
    /// About what small k3s nodes take.
    fn default() -> Self {
        Self {
            host_boot: Duration::from_secs(40),
            host_stop: Duration::from_secs(12),
            server_start: Duration::from_secs(25),
            agent_start: Duration::from_secs(8),
            unit_stop: Duration::from_secs(5),
            etcd_snapshot: Duration::from_secs(4),
            recharge: Duration::from_secs(3 * 3600),
        }
    }
}

/// systemd's `DefaultTimeoutStopSec`.
pub(in crate::simulate) const STOP_TIMEOUT: Duration = Duration::from_secs(90);

/// A Node's Lease is renewed so often, in seconds.
const LEASE: u64 = 5;

/// The whole world.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    /// Time since the beginning.
    pub time: Duration,
    /// How long things take.
    pub pace: Pace,
    /// Each node's host.
    pub hosts: BTreeMap<NodeName, Host>,
    /// Each UPS.
    pub upses: BTreeMap<UpsName, Battery>,
    /// All pods, bound or pending.
    pub pods: Vec<Pod>,
    /// Volumes whose pod is gone, and that are still attached: where, and until when.
    pub detaching: Vec<(NodeName, Duration)>,
    /// Node objects.
    pub objects: BTreeMap<NodeName, Object>,
    /// etcd snapshots by the server they are on.
    pub etcd_snapshots: BTreeMap<NodeName, BTreeSet<String>>,
    /// Whether the host hecate runs on is on.
    pub own_is_on: bool,
    /// Which boot of it this is.
    pub own_boot: u32,
    /// When that began.
    pub own_booted: Duration,
    /// Clocks, other hecate hosts, odd machines.
    pub around: Around,
    /// Whether no API server can be reached, although etcd lives.
    pub is_api_gone: bool,
    /// Who leads etcd, where that is not the first member that runs.
    pub leader: Option<NodeName>,
    /// The steps that run, and what goes wrong with them.
    pub acts: Acts,
    /// Who can be heard.
    pub network: Network,
    /// Where k3s keeps its data.
    pub datastore: Datastore,
    own_feeds: BTreeSet<UpsName>,
    own_min_supplies: usize,
    own_event: Option<OwnEvent>,
    own_boots_again: bool,
    own_was_cut: bool,
    own_is_node: bool,
    next_uid: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum OwnEvent {
    OffAt(Duration),
    OnAt(Duration),
}

impl OwnEvent {
    fn at(&self) -> Duration {
        match self {
            OwnEvent::OffAt(at) | OwnEvent::OnAt(at) => *at,
        }
    }
}

/// A node's host.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// Control plane or worker.
    pub role: Role,
    /// The UPSes that feed it.
    pub feeds: BTreeSet<UpsName>,
    /// Whether it has power.
    pub is_on: bool,
    /// Whether it answers although it has power.
    pub is_reachable: bool,
    /// Whether it answers with nonsense.
    pub is_confused: bool,
    /// Whether its power-off never ends: it falls silent and stays on.
    pub hangs: bool,
    /// How long it goes on writing after it has fallen silent on its way down.
    pub tail: Duration,
    /// systemd kills its unit when that stops for so long.
    pub stop_timeout: Duration,
    /// Whether sudo allows to end its containers.
    pub killall_allowed: bool,
    /// Whether its chronyd says how far its clock is off.
    pub has_ntp: bool,
    /// Which boot of it this is.
    pub boot: u32,
    /// When that began.
    pub booted: Duration,
    /// Its unit.
    pub unit: UnitState,
    /// Containers that run, pods that no drain owes included.
    pub system_containers: u32,
    /// Whether its containers ended, with its power or by hecate's hand, and k3s was not started since: no pod bound to
    /// it runs.
    pub is_killed: bool,
    /// How often it was powered off.
    pub power_offs: u32,
    /// How often it lost power while it still ran an undrained workload.
    pub hard_cuts: u32,
    /// How many wake-ups it does not hear; None: all of them.
    pub deaf_to: Option<u32>,
    /// How many of its feeds it needs.
    pub min_supplies: usize,
    /// How many times as long as usual everything takes on it.
    pub slowness: u32,
    /// How long things take on it, where that is not as everywhere.
    pub pace: Option<Pace>,
    /// Whether its unit is enabled, so that a boot starts it past every gate.
    pub starts_by_itself: bool,
    unit_until: Option<Duration>,
    running_since: Option<Duration>,
    event: Option<HostEvent>,
    /// In which boot it was told to power off last, and when.
    told: Option<(u32, Duration)>,
    /// When it was woken last.
    woken: Option<Duration>,
    /// When it falls silent on its way down.
    silent_at: Option<Duration>,
    /// Whether it boots again once it is off.
    boots_again: bool,
    /// The etcd snapshot that it saves, and until when.
    saving: Option<(Duration, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum HostEvent {
    OffAt(Duration),
    OnAt(Duration),
}

impl HostEvent {
    fn at(&self) -> Duration {
        match self {
            HostEvent::OffAt(at) | HostEvent::OnAt(at) => *at,
        }
    }
}

/// A pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// What the API says of it.
    pub object: PodObject,
    /// Where it is bound.
    pub node: Option<NodeName>,
    /// How long its process takes to end.
    pub stops_in: Duration,
    /// Refuses eviction for ever.
    pub is_protected: bool,
    /// How long its volume takes to be detached once it is gone; None: it has no volume.
    pub detaches_in: Option<Duration>,
    /// Belongs to its node as the storage's engines do: no drain owes it, and it is no workload.
    pub is_of_node: bool,
    gone_at: Option<Duration>,
}

/// A Node object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object {
    /// `spec.unschedulable`.
    pub is_cordoned: bool,
    /// hecate's annotation.
    pub cordoned_by: Option<String>,
    lease_changed: Option<Duration>,
    boot: u32,
}

impl World {
    /// A cluster that runs, with full batteries of this runtime at full load and `pods` pods a node.
    pub fn running(config: &Config, runtime: Duration, pods: usize) -> Self {
        let host = |node: &crate::config::Node| Host {
            role: node.role,
            feeds: node.feeds.clone(),
            is_on: true,
            is_reachable: true,
            is_confused: false,
            hangs: false,
            tail: Duration::ZERO,
            stop_timeout: STOP_TIMEOUT,
            killall_allowed: true,
            has_ntp: false,
            boot: 1,
            booted: Duration::ZERO,
            unit: UnitState::Running,
            system_containers: 3,
            is_killed: false,
            power_offs: 0,
            hard_cuts: 0,
            deaf_to: node.wake.as_ref().map(|_| 0),
            min_supplies: node.min_supplies,
            slowness: 1,
            pace: None,
            starts_by_itself: false,
            unit_until: None,
            running_since: Some(Duration::ZERO),
            event: None,
            told: None,
            woken: None,
            silent_at: None,
            boots_again: false,
            saving: None,
        };
        let battery = |ups: &crate::config::Ups| {
            let mut battery = Battery::full(runtime);
            battery.cut = ups.cut_load.as_ref().map(|cut| switch::Cut::after(cut.delay));
            battery
        };
        let object = Object { is_cordoned: false, cordoned_by: None, lease_changed: None, boot: 1 };
        let mut world = Self {
            time: Duration::from_secs(3600),
            pace: Pace::default(),
            hosts: config.nodes.iter().map(|(name, node)| (name.clone(), host(node))).collect(),
            upses: config.upses.iter().map(|(name, ups)| (name.clone(), battery(ups))).collect(),
            pods: Vec::new(),
            detaching: Vec::new(),
            objects: config.nodes.keys().map(|name| (name.clone(), object.clone())).collect(),
            etcd_snapshots: BTreeMap::new(),
            own_is_on: true,
            own_boot: 1,
            own_booted: Duration::ZERO,
            around: Around::of(config),
            is_api_gone: false,
            leader: None,
            acts: Acts::default(),
            network: Network::default(),
            datastore: Datastore::Etcd,
            own_feeds: config.own_host.feeds.clone(),
            own_min_supplies: config.own_host.min_supplies,
            own_event: None,
            own_boots_again: false,
            own_was_cut: false,
            own_is_node: config.own_host.node.is_some(),
            next_uid: 0,
        };
        for name in config.nodes.keys() {
            for number in 0..pods {
                let stops_in = Duration::from_secs(2 + (number as u64 * 7) % 20);
                world.add_pod(Some(name.clone()), &format!("app-{name}-{number}"), stops_in);
            }
        }
        world
    }

    /// Whether more than half of the servers run.
    pub fn has_quorum(&self) -> bool {
        self.has_majority(|unit| unit == UnitState::Running)
    }

    /// Whether an API server answers and can serve.
    pub fn has_api(&self) -> bool {
        !self.is_api_gone && self.has_quorum()
    }

    /// When something in this world changes by itself next, as far as that is known: a host, a unit, a pod, a step.
    pub fn next_change(&self) -> Option<Duration> {
        let own = self.own_event.iter().map(|event| event.at());
        let hosts = self.hosts.values().flat_map(|host| {
            let saved = host.saving.as_ref().map(|(until, _)| *until);
            [host.event.as_ref().map(HostEvent::at), host.unit_until, host.silent_at, saved]
        });
        let volumes = self.detaching.iter().map(|(_, until)| *until);
        let pods = self.pods.iter().filter_map(|pod| pod.gone_at).chain(volumes);
        let cuts = self.upses.values().filter_map(|battery| battery.cut.as_ref()?.due());
        let others = cuts.chain(self.next_end()).chain(self.next_network_change());
        own.chain(hosts.flatten()).chain(pods).chain(others).filter(|at| *at > self.time).min()
    }

    /// Whether every host but hecate's own is dark.
    pub fn is_dark(&self) -> bool {
        self.hosts.values().all(|host| !host.is_on)
    }

    /// Lets time pass; tells what a person would notice.
    pub fn advance(&mut self, by: Duration) -> Vec<String> {
        self.time += by;
        let mut told = Vec::new();
        self.move_power(by, &mut told);
        self.move_cuts(&mut told);
        self.move_network(&mut told);
        self.move_own_host(&mut told);
        self.move_hosts(&mut told);
        self.move_pods();
        self.move_objects(by);
        self.move_steps();
        self.move_drivers();
        told
    }

    fn move_objects(&mut self, by: Duration) {
        let is_due = self.time.as_secs() / LEASE != self.time.saturating_sub(by).as_secs() / LEASE;
        if !is_due || !self.has_quorum() {
            return;
        }
        for (name, object) in &mut self.objects {
            let Some(host) = self.hosts.get(name) else { continue };
            if host.is_on && host.unit == UnitState::Running {
                object.lease_changed = Some(self.time);
                object.boot = host.boot;
            }
        }
    }
}

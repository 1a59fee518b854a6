//! The built-in cluster, its UPSes and the clock.
//!
//! Pure. It knows nothing of hecate's rules: it does what steps ask for, in its own time, and shows what readings show.

#![deny(clippy::disallowed_methods)]

pub mod around;
mod power;
mod switch;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::around::Around;
use crate::config::Config;
use crate::model::{NodeName, Role, Uid, UpsName};
use crate::plan::Planned;
use crate::plan::step::{Outcome, PodRef, Step, Target};
use crate::snapshot::{PodKind, PodObject, UnitState};

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
    /// Node objects.
    pub objects: BTreeMap<NodeName, Object>,
    /// etcd snapshots by the server they are on.
    pub etcd_snapshots: BTreeMap<NodeName, BTreeSet<String>>,
    /// Whether the host hecate runs on is on.
    pub own_is_on: bool,
    /// Which boot of it this is.
    pub own_boot: u32,
    /// Clocks, other hecate hosts, odd machines.
    pub around: Around,
    own_feeds: BTreeSet<UpsName>,
    own_event: Option<OwnEvent>,
    own_was_cut: bool,
    doing: Vec<Doing>,
    ended: Vec<(Target, Outcome)>,
    next_uid: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum OwnEvent {
    OffAt(Duration),
    OnAt(Duration),
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
    /// Whether it answers with nonsense, and hangs in its power-off.
    pub is_confused: bool,
    /// Which boot of it this is.
    pub boot: u32,
    /// Its unit.
    pub unit: UnitState,
    /// Containers that run, pods that no drain owes included.
    pub system_containers: u32,
    /// How often it lost power while it still ran an undrained workload.
    pub hard_cuts: u32,
    /// How many wake-ups it does not hear; None: all of them.
    pub deaf_to: Option<u32>,
    unit_until: Option<Duration>,
    event: Option<HostEvent>,
    running_since: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum HostEvent {
    OffAt(Duration),
    OnAt(Duration),
}

/// A UPS and its battery.
#[derive(Clone, Debug, PartialEq)]
pub struct Battery {
    /// Whether mains are there.
    pub mains: bool,
    /// What the battery holds, in seconds at full load.
    pub holds: f64,
    /// What it holds when full.
    pub capacity: f64,
    /// Whether upsd answers.
    pub answers: bool,
    /// Words added to its status.
    pub extra_words: Vec<String>,
    /// How it cuts its load when it is told to; None: it knows no such command.
    pub cut: Option<switch::Cut>,
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

#[derive(Clone, Debug, PartialEq)]
struct Doing {
    step: Step,
    began: Duration,
    deadline: Duration,
    ends: Option<Duration>,
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
            boot: 1,
            unit: UnitState::Running,
            system_containers: 3,
            hard_cuts: 0,
            deaf_to: node.wake.as_ref().map(|_| 0),
            unit_until: None,
            event: None,
            running_since: Some(Duration::ZERO),
        };
        let battery = Battery {
            mains: true,
            holds: runtime.as_secs_f64(),
            capacity: runtime.as_secs_f64(),
            answers: true,
            extra_words: Vec::new(),
            cut: None,
        };
        let cut = |ups: &crate::config::Ups| ups.cut_load.as_ref().map(|cut| switch::Cut::after(cut.delay));
        let object = Object { is_cordoned: false, cordoned_by: None, lease_changed: None, boot: 1 };
        let mut world = Self {
            time: Duration::from_secs(3600),
            pace: Pace::default(),
            hosts: config.nodes.iter().map(|(name, node)| (name.clone(), host(node))).collect(),
            upses: config
                .upses
                .iter()
                .map(|(name, ups)| (name.clone(), Battery { cut: cut(ups), ..battery.clone() }))
                .collect(),
            pods: Vec::new(),
            objects: config.nodes.keys().map(|name| (name.clone(), object.clone())).collect(),
            etcd_snapshots: BTreeMap::new(),
            own_is_on: true,
            own_boot: 1,
            around: Around::of(config),
            own_feeds: config.own_host.feeds.clone(),
            own_event: None,
            own_was_cut: false,
            doing: Vec::new(),
            ended: Vec::new(),
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

    /// Adds a pod of a Deployment.
    pub fn add_pod(&mut self, node: Option<NodeName>, name: &str, stops_in: Duration) {
        self.next_uid += 1;
        self.pods.push(Pod {
            object: PodObject {
                namespace: "default".to_owned(),
                name: name.to_owned(),
                uid: Uid::new(format!("uid-{}", self.next_uid)),
                kind: PodKind::Controlled,
                is_finished: false,
                is_terminating: false,
                tolerates_unschedulable: false,
                grace: Duration::from_secs(30),
            },
            node,
            stops_in: stops_in.min(Duration::from_secs(30)),
            is_protected: false,
            gone_at: None,
        });
    }

    /// Whether a node runs a workload that a drain owes.
    pub fn has_workload(&self, node: &NodeName) -> bool {
        self.pods.iter().any(|pod| pod.node.as_ref() == Some(node))
    }

    /// Whether more than half of the servers run.
    pub fn has_quorum(&self) -> bool {
        let servers = self.hosts.values().filter(|host| host.role == Role::ControlPlane);
        let alive = servers.clone().filter(|host| host.is_on && matches!(host.unit, UnitState::Running)).count();
        alive * 2 > servers.count()
    }

    /// Whether every host but hecate's own is dark.
    pub fn is_dark(&self) -> bool {
        self.hosts.values().all(|host| !host.is_on)
    }

    /// Begins what a step asks for.
    pub fn begin(&mut self, planned: &Planned) {
        let step = planned.step.clone();
        let takes = match &step {
            Step::StartUnit { node, .. } => self.start_unit(node),
            Step::StopUnit { node, .. } => self.stop_unit(node),
            Step::KillContainers { .. } | Step::Cordon { .. } | Step::Uncordon { .. } => Some(Duration::from_secs(1)),
            Step::Drain { pods, pdb_grace, .. } => {
                self.evict(pods, *pdb_grace);
                None
            }
            Step::SaveEtcdSnapshot { .. } => Some(self.pace.etcd_snapshot),
            Step::PowerOff { node, .. } => {
                let off_at = self.time + self.pace.host_stop;
                if let Some(host) = self.hosts.get_mut(node).filter(|host| host.is_on && host.is_reachable) {
                    // A host that shuts down already is not made to begin anew.
                    if !matches!(host.event, Some(HostEvent::OffAt(_))) {
                        host.event = Some(HostEvent::OffAt(off_at));
                    }
                }
                Some(Duration::from_secs(1))
            }
            Step::Wake { node } => {
                self.wake(node);
                Some(Duration::from_secs(1))
            }
            Step::CutLoad { ups, .. } => {
                self.tell_to_cut(ups);
                Some(Duration::from_secs(1))
            }
            Step::PowerOffOwnHost { .. } => {
                if !matches!(self.own_event, Some(OwnEvent::OffAt(_))) {
                    self.own_event = Some(OwnEvent::OffAt(self.time + self.pace.host_stop));
                }
                Some(Duration::from_secs(1))
            }
        };
        self.doing.push(Doing {
            step,
            began: self.time,
            deadline: self.time + planned.limit,
            ends: takes.map(|takes| self.time + takes),
        });
    }

    /// hecate no longer waits for a step; what it began goes on.
    pub fn cancel(&mut self, target: &Target) {
        self.doing.retain(|doing| doing.step.target() != *target);
        self.ended.push((target.clone(), Outcome::Cancelled));
    }

    /// hecate was killed: nobody waits any more.
    pub fn forget_waiters(&mut self) {
        self.doing.clear();
        self.ended.clear();
    }

    /// What ended since it was asked last.
    pub fn take_ended(&mut self) -> Vec<(Target, Outcome)> {
        std::mem::take(&mut self.ended)
    }

    fn start_unit(&mut self, node: &NodeName) -> Option<Duration> {
        let takes = match self.hosts.get(node)?.role {
            Role::ControlPlane => self.pace.server_start,
            Role::Worker => self.pace.agent_start,
        };
        let until = self.time + takes;
        let host = self.hosts.get_mut(node)?;
        if host.is_on && host.is_reachable && host.unit == UnitState::Stopped {
            host.unit = UnitState::Starting;
            host.unit_until = Some(until);
        }
        Some(Duration::from_secs(1))
    }

    fn stop_unit(&mut self, node: &NodeName) -> Option<Duration> {
        let until = self.time + self.pace.unit_stop;
        let host = self.hosts.get_mut(node)?;
        if host.is_on && host.is_reachable && matches!(host.unit, UnitState::Running | UnitState::Starting) {
            host.unit = UnitState::Stopping;
            host.unit_until = Some(until);
        }
        Some(self.pace.unit_stop)
    }

    fn evict(&mut self, pods: &[PodRef], pdb_grace: Duration) {
        for pod in &mut self.pods {
            let is_asked = pods.iter().any(|one| one.uid == pod.object.uid);
            if is_asked && !pod.object.is_terminating {
                let refused = if pod.is_protected { pdb_grace } else { Duration::ZERO };
                pod.object.is_terminating = true;
                pod.gone_at = Some(self.time + refused + pod.stops_in);
            }
        }
    }

    /// Lets time pass; tells what a person would notice.
    pub fn advance(&mut self, by: Duration) -> Vec<String> {
        self.time += by;
        let mut told = Vec::new();
        self.move_power(by, &mut told);
        self.move_cuts(&mut told);
        self.move_own_host(&mut told);
        self.move_hosts(&mut told);
        self.move_pods();
        self.move_objects();
        self.move_steps();
        told
    }

    /// Somebody presses the power button of the hecate host.
    pub fn press_own_button(&mut self) {
        if !self.own_is_on {
            self.own_event = Some(OwnEvent::OnAt(self.time + self.pace.host_boot));
        }
    }

    /// Somebody presses a node's power button.
    pub fn press_button(&mut self, node: &NodeName) {
        let boot_at = self.time + self.pace.host_boot;
        if let Some(host) = self.hosts.get_mut(node).filter(|host| !host.is_on) {
            host.event = Some(HostEvent::OnAt(boot_at));
        }
    }

    fn move_own_host(&mut self, told: &mut Vec<String>) {
        match self.own_event {
            Some(OwnEvent::OffAt(at)) if self.time >= at => {
                self.own_is_on = false;
                self.own_event = None;
                self.doing.clear();
                told.push("the hecate host is off".to_owned());
            }
            Some(OwnEvent::OnAt(at)) if self.time >= at => {
                self.own_is_on = true;
                self.own_boot += 1;
                self.own_event = None;
                told.push("the hecate host has booted".to_owned());
            }
            Some(OwnEvent::OffAt(_) | OwnEvent::OnAt(_)) | None => {}
        }
    }

    fn move_hosts(&mut self, told: &mut Vec<String>) {
        let has_quorum_soon = {
            let servers = self.hosts.values().filter(|host| host.role == Role::ControlPlane);
            let alive = servers
                .clone()
                .filter(|host| host.is_on && matches!(host.unit, UnitState::Running | UnitState::Starting))
                .count();
            alive * 2 > servers.count()
        };
        let has_quorum = self.has_quorum();
        let time = self.time;
        for (name, host) in &mut self.hosts {
            match host.event {
                Some(HostEvent::OffAt(at)) if time >= at && !host.is_confused => {
                    host.switch_off();
                    told.push(format!("{name} is off"));
                }
                Some(HostEvent::OnAt(at)) if time >= at => {
                    host.is_on = true;
                    host.boot += 1;
                    host.event = None;
                    // k3s' installer enables its unit, but nothing here starts past the gates by itself.
                    host.unit = UnitState::Stopped;
                    host.unit_until = None;
                    told.push(format!("{name} has booted"));
                }
                Some(HostEvent::OffAt(_) | HostEvent::OnAt(_)) | None => {}
            }
            let is_due = host.unit_until.is_some_and(|until| time >= until);
            let may_start = match host.role {
                Role::ControlPlane => has_quorum_soon,
                Role::Worker => has_quorum,
            };
            match host.unit {
                UnitState::Starting if is_due && may_start => {
                    host.unit = UnitState::Running;
                    host.running_since = Some(time);
                    host.system_containers = 3;
                }
                UnitState::Stopping if is_due => {
                    host.unit = UnitState::Stopped;
                    host.running_since = None;
                }
                UnitState::Starting
                | UnitState::Stopping
                | UnitState::Running
                | UnitState::Stopped
                | UnitState::NotFound => {}
            }
        }
        let off: BTreeSet<NodeName> =
            self.hosts.iter().filter(|(_, host)| !host.is_on).map(|(name, _)| name.clone()).collect();
        for pod in &mut self.pods {
            if pod.node.as_ref().is_some_and(|node| off.contains(node)) && pod.object.is_terminating {
                pod.gone_at = Some(time);
            }
        }
    }

    /// Pods end; what ended is made anew by its controller and bound where a node takes it.
    fn move_pods(&mut self) {
        let time = self.time;
        if !self.has_quorum() {
            return;
        }
        let gone: Vec<Pod> = self.pods.iter().filter(|pod| pod.gone_at.is_some_and(|at| time >= at)).cloned().collect();
        self.pods.retain(|pod| pod.gone_at.is_none_or(|at| time < at));
        for pod in gone {
            self.add_pod(None, &pod.object.name, pod.stops_in);
            if let Some(new) = self.pods.last_mut() {
                new.is_protected = pod.is_protected;
            }
        }
        let open: Vec<NodeName> = self
            .objects
            .iter()
            .filter(|(name, object)| {
                !object.is_cordoned && self.hosts[*name].is_on && self.hosts[*name].unit == UnitState::Running
            })
            .map(|(name, _)| name.clone())
            .collect();
        if open.is_empty() {
            return;
        }
        for (number, pod) in self.pods.iter_mut().filter(|pod| pod.node.is_none()).enumerate() {
            pod.node = Some(open[number % open.len()].clone());
        }
    }

    fn move_objects(&mut self) {
        if !self.has_quorum() {
            return;
        }
        for (name, object) in &mut self.objects {
            let host = &self.hosts[name];
            if host.is_on && host.unit == UnitState::Running && self.time.as_secs().is_multiple_of(5) {
                object.lease_changed = Some(self.time);
                object.boot = host.boot;
            }
        }
    }

    fn move_steps(&mut self) {
        let time = self.time;
        let doing = std::mem::take(&mut self.doing);
        for one in doing {
            match self.outcome(&one, time) {
                Some(outcome) => {
                    if outcome == Outcome::Tried {
                        self.take_effect(&one.step);
                    }
                    self.ended.push((one.step.target(), outcome));
                }
                None => self.doing.push(one),
            }
        }
    }

    fn outcome(&self, doing: &Doing, time: Duration) -> Option<Outcome> {
        if let Some(node) = doing.step.node()
            && self.needs_host(&doing.step)
            && self.hosts.get(&node).is_none_or(|host| !host.is_on || !host.is_reachable)
        {
            let is_late = time.saturating_sub(doing.began) >= Duration::from_secs(5);
            let why = format!("{node} does not answer");
            return is_late.then_some(Outcome::Failed { why });
        }
        if let Step::Drain { pods, .. } = &doing.step {
            let is_gone = |one: &PodRef| !self.pods.iter().any(|pod| pod.object.uid == one.uid);
            if pods.iter().all(is_gone) {
                return Some(Outcome::Tried);
            }
        }
        if doing.ends.is_some_and(|ends| time >= ends) {
            return Some(Outcome::Tried);
        }
        (time >= doing.deadline).then_some(Outcome::DeadlinePassed)
    }

    fn needs_host(&self, step: &Step) -> bool {
        match step {
            Step::StartUnit { .. }
            | Step::StopUnit { .. }
            | Step::KillContainers { .. }
            | Step::SaveEtcdSnapshot { .. }
            | Step::PowerOff { .. } => true,
            Step::Cordon { .. }
            | Step::Uncordon { .. }
            | Step::Drain { .. }
            | Step::PowerOffOwnHost { .. }
            | Step::Wake { .. }
            | Step::CutLoad { .. } => false,
        }
    }

    /// What a step changes at its end; what it changes at its beginning was done in `begin`.
    fn take_effect(&mut self, step: &Step) {
        match step {
            Step::Cordon { node, run } => {
                if let Some(object) = self.objects.get_mut(node).filter(|object| !object.is_cordoned) {
                    object.is_cordoned = true;
                    object.cordoned_by = Some(run.to_string());
                }
            }
            Step::Uncordon { node } => {
                if let Some(object) = self.objects.get_mut(node).filter(|object| object.cordoned_by.is_some()) {
                    object.is_cordoned = false;
                    object.cordoned_by = None;
                }
            }
            Step::KillContainers { node, .. } => {
                if let Some(host) = self.hosts.get_mut(node) {
                    host.system_containers = 0;
                }
            }
            Step::SaveEtcdSnapshot { node, run } => {
                self.etcd_snapshots.entry(node.clone()).or_default().insert(format!("hecate-{run}-{node}"));
            }
            Step::StartUnit { .. }
            | Step::StopUnit { .. }
            | Step::Drain { .. }
            | Step::PowerOff { .. }
            | Step::PowerOffOwnHost { .. }
            | Step::Wake { .. }
            | Step::CutLoad { .. } => {}
        }
    }
}

impl Host {
    fn switch_off(&mut self) {
        self.is_on = false;
        self.event = None;
        self.unit = UnitState::Stopped;
        self.unit_until = None;
        self.running_since = None;
        self.system_containers = 0;
    }
}

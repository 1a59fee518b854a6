//! hecate's eyes: one look at a source at a time, each with its own pace, its own deadline and its own first look.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use hecate::model::{FailureKind, Reading};
use hecate::plan::step::Target;
use hecate::snapshot::{
    ApiServer, ApiSnapshot, Datastore, EtcdMember, HostClock, HostReading, LoadCutReading, NodeObject, PodObject,
    Snapshot, UnitState, UpsReading,
};

use super::cluster::{Cluster, none};
use super::host::{Power, UnitIs};
use super::world::{World, boot_id, wall};

/// `ups_policy.poll_seconds`.
const POLL: f64 = 2.0;
/// How long ssh tries to connect.
const CONNECT: f64 = 10.0;
/// How long a host that hangs is listened to.
const LISTEN: f64 = 15.0;

/// One source.
#[derive(Clone, Debug)]
struct Eye {
    next: f64,
    /// A look that nobody answers yet: when it began and when it is given up.
    pending: Option<(f64, f64)>,
}

/// All eyes, and what they have seen.
#[derive(Clone, Debug)]
pub(crate) struct Eyes {
    /// What a pass gets.
    pub(crate) snapshot: Snapshot,
    upses: Vec<Eye>,
    hosts: Vec<Eye>,
    api: Eye,
    leases: BTreeMap<usize, (u64, Option<Duration>)>,
}

impl Eyes {
    /// Eyes of a hecate that has just started: first looks arrive one after the other.
    pub(crate) fn new(world: &World, rng: &mut Rng) -> Self {
        let slow = if rng.f64() < 0.3 { 12.0 } else { 2.0 };
        let mut eye = |least: f64| Eye { next: world.now + least + rng.f64() * slow, pending: None };
        let site = &world.site;
        let mut snapshot = Snapshot::default();
        for ups in &site.upses {
            snapshot.upses.insert(ups.ups(), Reading::not_yet());
            if ups.has_witness {
                snapshot.witnesses.insert(ups.ups(), Reading::not_yet());
            }
            if ups.cut_delay.is_some() {
                snapshot.load_cuts.insert(ups.ups(), LoadCutReading::default());
            }
        }
        for host in site.nodes() {
            snapshot.hosts.insert(site.hosts[host].node(), Reading::not_yet());
            if site.hosts[host].is_server() {
                snapshot.api.servers.insert(site.hosts[host].node(), Reading::not_yet());
            }
        }
        Self {
            snapshot,
            upses: site.upses.iter().map(|_| eye(0.1)).collect(),
            hosts: site.hosts.iter().map(|_| eye(0.3)).collect(),
            api: eye(0.5),
            leases: BTreeMap::new(),
        }
    }

    /// A look at this target is wanted at once.
    pub(crate) fn hurry(&mut self, world: &World, target: &Target) {
        match target {
            Target::Node(node) => {
                if let Some(host) = world.site.host(node) {
                    self.hosts[host].next = world.now;
                }
                self.api.next = world.now;
            }
            Target::OwnHost => {}
            Target::Ups(name) => {
                if let Some(ups) = world.site.ups(name.as_str()) {
                    self.upses[ups].next = world.now;
                }
            }
        }
    }
}

impl World {
    /// Looks at whatever is due; gives the UPSes that were asked, for the judge.
    pub(crate) fn look(&mut self, eyes: &mut Eyes, is_busy: bool) -> Vec<usize> {
        let mut asked = Vec::new();
        for ups in 0..self.upses.len() {
            if self.now >= eyes.upses[ups].next {
                eyes.upses[ups].next = self.now + POLL;
                self.look_at_ups(eyes, ups);
                asked.push(ups);
            }
        }
        let pace = if is_busy { 3.0 } else { 20.0 };
        for host in 0..self.site.hosts.len() {
            if self.site.hosts[host].role.is_some() {
                self.look_at_host(eyes, host, pace);
            }
        }
        if self.now >= eyes.api.next {
            eyes.api.next = self.now + if is_busy { 2.0 } else { 10.0 };
            self.look_at_api(eyes);
        }
        asked
    }

    fn look_at_ups(&self, eyes: &mut Eyes, ups: usize) {
        let (spec, began) = (&self.site.upses[ups], self.time().boottime);
        let reading: Reading<UpsReading> = if self.reaches_upsd(ups) {
            match self.drivers[ups].answer(spec, self.now) {
                Ok(value) => Reading::known(value, began),
                Err(kind) => Reading::unknown(kind, "upsd says so", began),
            }
        } else {
            Reading::unknown(FailureKind::TimedOut, "no answer", began)
        };
        if spec.has_witness {
            eyes.snapshot.witnesses.insert(spec.ups(), Reading::known(self.has_edge(ups), began));
        }
        if let Some((delay, _)) = spec.cut_delay {
            let is_known = reading.value().map(|_| true);
            let cut = LoadCutReading { is_known, delay: Some(Duration::from_secs_f64(delay)), login: None };
            eyes.snapshot.load_cuts.insert(spec.ups(), cut);
        }
        eyes.snapshot.upses.insert(spec.ups(), reading);
    }

    fn look_at_host(&mut self, eyes: &mut Eyes, host: usize, pace: f64) {
        let node = self.site.hosts[host].node();
        let now_boot = self.time().boottime;
        if let Some((began, until)) = eyes.hosts[host].pending {
            if self.now < until {
                return;
            }
            eyes.hosts[host].pending = None;
            eyes.hosts[host].next = self.now + pace;
            let began = now_boot.saturating_sub(Duration::from_secs_f64(self.now - began));
            eyes.snapshot.hosts.insert(node, Reading::unknown(FailureKind::TimedOut, "no answer", began));
            return;
        }
        if self.now < eyes.hosts[host].next {
            return;
        }
        let is_there = self.reaches(host) && self.hosts[host].answers(self.now);
        if is_there {
            eyes.hosts[host].next = self.now + pace;
            eyes.snapshot.hosts.insert(node, Reading::known(self.host_reading(host), now_boot));
        } else {
            let wait = if self.reaches(host) && self.hosts[host].is_hung { LISTEN } else { CONNECT };
            eyes.hosts[host].pending = Some((self.now, self.now + wait));
        }
    }

    fn host_reading(&self, number: usize) -> HostReading {
        let (spec, host) = (&self.site.hosts[number], &self.hosts[number]);
        let state = match host.unit {
            UnitIs::Stopped => UnitState::Stopped,
            UnitIs::Starting(_) => UnitState::Starting,
            UnitIs::Running => UnitState::Running,
            UnitIs::Stopping(_) => UnitState::Stopping,
        };
        let is_server = spec.is_server();
        let servers: Vec<usize> = self.site.nodes().filter(|one| self.site.hosts[*one].is_server()).collect();
        let leader = servers.iter().find(|one| Cluster::is_member_up(&self.hosts[**one], self.now));
        let member = EtcdMember {
            is_healthy: self.cluster.quorum_since.is_some(),
            is_leader: self.cluster.quorum_since.is_some() && leader == Some(&number),
        };
        let is_up = is_server && Cluster::is_member_up(host, self.now);
        HostReading {
            machine_id: spec.machine_id(),
            boot_id: boot_id(&spec.name, host.boot),
            k3s: if is_server { state } else { UnitState::NotFound },
            k3s_agent: if is_server { UnitState::NotFound } else { state },
            containers: host.containers,
            killall_allowed: spec.pods.is_multiple_of(2),
            datastore: is_server.then_some(Datastore::Etcd),
            etcd: is_up.then_some(member),
            etcd_snapshots: is_server.then(|| host.snapshots.iter().cloned().collect()),
            is_saving_etcd_snapshot: host.saving_until.is_some(),
            is_time_synced: Some(true),
            ntp_ahead_seconds: None,
            clock: Some(HostClock { wall: wall(self.now), ahead_seconds: 0 }),
            up_for: std::time::Duration::try_from_secs_f64(self.now - host.up_since).ok(),
            stop_timeout: Some(std::time::Duration::from_secs(90)),
        }
    }

    fn look_at_api(&self, eyes: &mut Eyes) {
        let began = self.time().boottime;
        let mut any = false;
        for host in self.site.nodes().filter(|host| self.site.hosts[*host].is_server()) {
            let serves = self.cluster.serves(&self.hosts, host, self.now) && self.reaches(host);
            any |= serves;
            let has_listener = matches!(self.hosts[host].power, Power::Up(_))
                && !self.hosts[host].is_hung
                && self.hosts[host].has_k3s()
                && self.reaches(host);
            let reading = match (serves, has_listener) {
                (true, _) => Reading::known(ApiServer { is_ready: true, failed_checks: [].into() }, began),
                (false, true) => {
                    Reading::known(ApiServer { is_ready: false, failed_checks: ["etcd".to_owned()].into() }, began)
                }
                (false, false) => Reading::unknown(FailureKind::Unreachable, "refused", began),
            };
            eyes.snapshot.api.servers.insert(self.site.hosts[host].node(), reading);
        }
        if any {
            self.list_objects(eyes, began);
        } else {
            let lost = || FailureKind::Unreachable;
            let api: &mut ApiSnapshot = &mut eyes.snapshot.api;
            api.nodes = Reading::unknown(lost(), "no API server", began);
            api.pods = Reading::unknown(lost(), "no API server", began);
            api.attachments = Reading::unknown(lost(), "no API server", began);
        }
    }

    fn list_objects(&self, eyes: &mut Eyes, began: Duration) {
        let mut nodes = BTreeMap::new();
        let mut pods: BTreeMap<_, Vec<PodObject>> = BTreeMap::new();
        for host in self.site.nodes() {
            let (spec, node) = (&self.site.hosts[host], &self.cluster.nodes[host]);
            let seen = eyes.leases.entry(host).or_insert((node.renewals, None));
            if seen.0 != node.renewals {
                *seen = (node.renewals, Some(began));
            }
            let object = NodeObject {
                is_ready: node.is_ready,
                lease_changed: seen.1,
                lease_renewed: Some(wall(node.renewed_at)),
                boot_id: Some(boot_id(&spec.name, node.boot)),
                machine_id: Some(spec.machine_id()),
                is_cordoned: node.cordoned_by.is_some(),
                cordoned_by: node.cordoned_by.clone(),
            };
            nodes.insert(spec.node(), object);
            pods.insert(spec.node(), self.cluster.pods(&self.site, host));
        }
        eyes.snapshot.api.nodes = Reading::known(Arc::new(nodes), began);
        eyes.snapshot.api.pods = Reading::known(Arc::new(pods), began);
        eyes.snapshot.api.attachments = Reading::known(none(), began);
    }
}

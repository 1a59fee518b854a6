//! What observers would see of the world.
//!
//! Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ups::Battery;
use super::{Host, Object, World};
use crate::config::Config;
use crate::model::{BootId, FailureKind, NodeName, Reading, Role, Unit, UpsName};
use crate::snapshot::{
    ApiServer, ApiSnapshot, AttachmentObject, Datastore, EtcdMember, HostReading, NodeObject, PodObject, Snapshot,
    UnitState,
};

impl World {
    /// What observers would see now.
    pub fn observe(&self, config: &Config) -> Snapshot {
        let mut pods: BTreeMap<&NodeName, u32> = BTreeMap::new();
        self.pods.iter().filter_map(|pod| pod.node.as_ref()).for_each(|node| *pods.entry(node).or_default() += 1);
        let host = |name| self.observe_host(name, pods.get(name).copied().unwrap_or_default());
        Snapshot {
            upses: self.upses.keys().map(|name| (name.clone(), self.says(config, name))).collect(),
            hosts: config.managed().map(|(name, _)| (name.clone(), host(name))).collect(),
            api: self.observe_api(config),
            peers: {
                let peers = config.coordination.peer_hosts.iter();
                peers.map(|peer| (peer.name.clone(), self.observe_peer(&peer.name))).collect()
            },
            witnesses: {
                let seen = |name: &UpsName| Some((name.clone(), self.observe_witness(config, name)?));
                self.upses.keys().filter_map(seen).collect()
            },
            load_cuts: {
                let said = |(name, battery): (&UpsName, &Battery)| Some((name.clone(), battery.said_cut()?));
                self.upses.iter().filter_map(said).collect()
            },
        }
    }

    fn observe_host(&self, name: &NodeName, pods: u32) -> Reading<HostReading> {
        let host = &self.hosts[name];
        if !self.is_heard(name) {
            return Reading::unknown(FailureKind::TimedOut, "connection timed out", self.time);
        }
        if host.is_confused {
            return Reading::unknown(FailureKind::Malformed, "says nothing of k3s.service", self.time);
        }
        let (k3s, k3s_agent) = match (host.role.unit(), self.around.other_units.contains(name)) {
            (Unit::K3s, false) | (Unit::K3sAgent, true) => (host.unit, UnitState::NotFound),
            (Unit::K3sAgent, false) | (Unit::K3s, true) => (UnitState::NotFound, host.unit),
        };
        let is_server = host.role == Role::ControlPlane;
        let is_member = |host: &Host| host.role == Role::ControlPlane && host.is_on && host.unit == UnitState::Running;
        let elected = self.leader.as_ref().filter(|name| self.hosts.get(*name).is_some_and(is_member));
        let leader = elected.or_else(|| self.hosts.iter().find(|(_, host)| is_member(host)).map(|(name, _)| name));
        let runs_etcd = is_server && host.unit == UnitState::Running && self.datastore == Datastore::Etcd;
        let pods = if host.is_killed { 0 } else { pods };
        Reading::known(
            HostReading {
                machine_id: self.answering_machine_id(name),
                boot_id: self.answering_boot_id(name).unwrap_or_else(|| host.boot_id(name)),
                k3s,
                k3s_agent,
                containers: host.system_containers.saturating_add(pods),
                killall_allowed: host.killall_allowed,
                datastore: is_server.then_some(self.datastore),
                etcd: runs_etcd.then(|| EtcdMember {
                    is_healthy: self.has_quorum(),
                    is_leader: self.has_quorum() && leader == Some(name),
                }),
                etcd_snapshots: is_server.then(|| self.etcd_snapshots.get(name).cloned().unwrap_or_default()),
                is_saving_etcd_snapshot: host.saving.is_some(),
                is_time_synced: self.host_clock(name).is_synced,
                ntp_ahead_seconds: host.has_ntp.then(|| self.host_clock(name).ahead_seconds),
                clock: Some(self.observe_clock(name)),
                up_for: Some(self.time.saturating_sub(host.booted)),
                stop_timeout: Some(host.stop_timeout),
            },
            self.time,
        )
    }

    fn observe_api(&self, config: &Config) -> ApiSnapshot {
        let server = |name: &NodeName, host: &Host| {
            if self.is_heard(name) && host.unit == UnitState::Running && !self.is_api_gone {
                let failed = if self.has_quorum() { BTreeSet::new() } else { BTreeSet::from(["etcd".to_owned()]) };
                Reading::known(ApiServer { is_ready: self.has_quorum(), failed_checks: failed }, self.time)
            } else {
                Reading::unknown(FailureKind::Unreachable, "connection refused", self.time)
            }
        };
        let servers = self.hosts.iter().filter(|(_, host)| host.role == Role::ControlPlane);
        let servers = servers.map(|(name, host)| (name.clone(), server(name, host))).collect();
        let unknown = || (FailureKind::Unreachable, "no API server is ready");
        if !self.has_api() {
            let (kind, why) = unknown();
            return ApiSnapshot {
                servers,
                nodes: Reading::unknown(kind, why, self.time),
                pods: Reading::unknown(kind, why, self.time),
                attachments: Reading::unknown(kind, why, self.time),
            };
        }
        let mut pods: BTreeMap<NodeName, Vec<PodObject>> = BTreeMap::new();
        for pod in &self.pods {
            if let Some(node) = &pod.node {
                pods.entry(node.clone()).or_default().push(pod.object.clone());
            }
        }
        let names = config.nodes.keys().chain(&self.around.strangers);
        let nodes = names.filter_map(|name| Some((name.clone(), self.object(name)?))).collect();
        ApiSnapshot {
            servers,
            nodes: Reading::known(Arc::new(nodes), self.time),
            pods: Reading::known(Arc::new(pods), self.time),
            attachments: Reading::known(Arc::new(self.attachments()), self.time),
        }
    }

    fn attachments(&self) -> Vec<AttachmentObject> {
        let held = self.pods.iter().filter(|pod| pod.detaches_in.is_some()).filter_map(|pod| pod.node.as_ref());
        let detaching = self.detaching.iter().map(|(node, _)| node);
        held.chain(detaching).enumerate().map(attachment).collect()
    }

    fn object(&self, name: &NodeName) -> Option<NodeObject> {
        let stranger = self.around.strangers.contains(name).then(Object::default);
        let object = self.objects.get(name).or(stranger.as_ref())?;
        Some(NodeObject {
            is_ready: true,
            lease_changed: object.lease_changed,
            lease_renewed: None,
            boot_id: Some(BootId::new(format!("{name}-{}", object.boot))),
            machine_id: Some(self.machine_id(name)),
            is_cordoned: object.is_cordoned,
            cordoned_by: object.cordoned_by.clone(),
        })
    }
}

fn attachment((number, node): (usize, &NodeName)) -> AttachmentObject {
    AttachmentObject {
        name: format!("csi-{number}"),
        node: node.clone(),
        volume: Some(format!("pvc-{number}")),
        is_attached: true,
        namespace: Some("default".to_owned()),
    }
}

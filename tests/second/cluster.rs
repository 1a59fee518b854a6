//! k3s: etcd's quorum, API servers, agents, Node objects with their Leases, and a few pods.
//!
//! From k3s' documentation and installer (a server is `Type=notify` and activating until the API serves; without quorum
//! its process ends and systemd starts it again), etcd's (more than half of the members) and Kubernetes' (a Lease is
//! renewed every 10 s; a node whose Lease is older than 50 s is not Ready, once a controller runs to say so).

use std::sync::Arc;
use std::time::Duration;

use hecate::model::Uid;
use hecate::plan::step::PodRef;
use hecate::snapshot::{PodKind, PodObject};

use super::host::{Host, UnitIs};
use super::site::Site;

/// How often a kubelet renews its Lease.
const RENEW: f64 = 10.0;
/// How old a Lease is when its node is called NotReady.
const GRACE: f64 = 50.0;
/// How long a member runs on after its quorum was lost.
const WITHOUT_QUORUM: f64 = 20.0;

/// A pod on a node.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    uid: u64,
    is_daemon: bool,
    grace: f64,
    gone_at: Option<f64>,
}

/// A Node object.
#[derive(Clone, Debug)]
pub(crate) struct NodeState {
    /// Condition Ready.
    pub(crate) is_ready: bool,
    /// How often its Lease was renewed.
    pub(crate) renewals: u64,
    /// When it was last.
    pub(crate) renewed_at: f64,
    /// The boot that its kubelet told.
    pub(crate) boot: u32,
    /// Who cordoned it.
    pub(crate) cordoned_by: Option<String>,
    /// Its pods.
    pub(crate) pods: Vec<Pod>,
}

/// The cluster.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    /// One Node a node host, by the host's number.
    pub(crate) nodes: Vec<NodeState>,
    /// Since when etcd has its quorum.
    pub(crate) quorum_since: Option<f64>,
    lost_at: f64,
    next_uid: u64,
}

impl Cluster {
    /// One that runs.
    pub(crate) fn running(site: &Site) -> Self {
        let mut cluster = Self { nodes: Vec::new(), quorum_since: Some(-1e5), lost_at: -1e6, next_uid: 1 };
        for host in &site.hosts {
            let pods = (0..=host.pods).map(|number| cluster.pod(number == 0)).collect();
            let node = NodeState { is_ready: true, renewals: 1, renewed_at: -5.0, boot: 1, cordoned_by: None, pods };
            cluster.nodes.push(node);
        }
        cluster
    }

    fn pod(&mut self, is_daemon: bool) -> Pod {
        self.next_uid += 1;
        let grace = 1.0 + f64::from(u32::try_from(self.next_uid % 7).unwrap_or(0)) * 4.0;
        Pod { uid: self.next_uid, is_daemon, grace, gone_at: None }
    }

    /// Whether this server's API answers `/readyz` with 200.
    pub(crate) fn serves(&self, hosts: &[Host], server: usize, now: f64) -> bool {
        self.quorum_since.is_some_and(|since| now - since >= 2.0)
            && hosts[server].unit == UnitIs::Running
            && matches!(hosts[server].power, super::host::Power::Up(_))
            && !hosts[server].is_hung
    }

    /// Whether any does.
    pub(crate) fn any_serves(&self, site: &Site, hosts: &[Host], now: f64) -> bool {
        site.nodes().any(|host| site.hosts[host].is_server() && self.serves(hosts, host, now))
    }

    /// Whether this member of etcd runs.
    pub(crate) fn is_member_up(host: &Host, now: f64) -> bool {
        let has_process = match host.unit {
            UnitIs::Starting(since) => now - since >= 5.0,
            UnitIs::Running => true,
            UnitIs::Stopped | UnitIs::Stopping(_) => false,
        };
        has_process && host.has_k3s() && !host.is_hung
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, site: &Site, hosts: &mut [Host], has_network: bool, now: f64) {
        self.quorum(site, hosts, has_network, now);
        let serves = self.any_serves(site, hosts, now);
        for host in site.nodes() {
            self.unit(site, hosts, host, serves, now);
            self.node(site, hosts, host, serves && has_network, now);
        }
    }

    fn quorum(&mut self, site: &Site, hosts: &[Host], has_network: bool, now: f64) {
        let servers: Vec<usize> = site.nodes().filter(|host| site.hosts[*host].is_server()).collect();
        let up = servers.iter().filter(|host| Self::is_member_up(&hosts[**host], now)).count();
        let is_there = up > servers.len() / 2 && (has_network || servers.len() == 1);
        match (is_there, self.quorum_since) {
            (true, None) => self.quorum_since = Some(now),
            (false, Some(_)) => {
                self.quorum_since = None;
                self.lost_at = now;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// The k3s unit of one node.
    fn unit(&mut self, site: &Site, hosts: &mut [Host], number: usize, serves: bool, now: f64) {
        let (spec, quorum_since) = (&site.hosts[number], self.quorum_since);
        let host = &mut hosts[number];
        match host.unit {
            UnitIs::Stopping(until) if now >= until => host.set_unit(UnitIs::Stopped, now),
            UnitIs::Starting(since) if host.is_on() && !host.is_hung => {
                let ready = if spec.is_server() {
                    now - since >= spec.ready_seconds && quorum_since.is_some_and(|since| now - since >= 3.0)
                } else if site.agents_notify {
                    serves && now - since >= 4.0
                } else {
                    now - since >= 3.0
                };
                if ready {
                    host.set_unit(UnitIs::Running, now);
                }
            }
            UnitIs::Running if spec.is_server() && quorum_since.is_none() && now - self.lost_at > WITHOUT_QUORUM => {
                host.set_unit(UnitIs::Starting(now), now);
            }
            UnitIs::Stopped | UnitIs::Starting(_) | UnitIs::Running | UnitIs::Stopping(_) => {}
        }
    }

    /// The Node object and the pods of one node.
    fn node(&mut self, site: &Site, hosts: &mut [Host], number: usize, serves: bool, now: f64) {
        if !serves {
            return;
        }
        let host = &mut hosts[number];
        let has_kubelet = host.unit == UnitIs::Running && host.has_k3s() && !host.is_hung;
        let node = &mut self.nodes[number];
        if has_kubelet && now - node.renewed_at >= RENEW && now - host.unit_since >= 3.0 {
            node.renewals += 1;
            node.renewed_at = now;
            node.boot = host.boot;
            node.is_ready = true;
        }
        if now - node.renewed_at > GRACE {
            node.is_ready = false;
        }
        if has_kubelet {
            node.pods.retain(|pod| pod.gone_at.is_none_or(|at| now < at));
        }
        let wants = if node.cordoned_by.is_none() { site.hosts[number].pods } else { 0 };
        let have = node.pods.iter().filter(|pod| !pod.is_daemon).count();
        if has_kubelet && node.is_ready && have < wants && now - host.unit_since > 8.0 {
            let pod = self.pod(false);
            self.nodes[number].pods.push(pod);
        }
        if has_kubelet {
            host.containers = u32::try_from(self.nodes[number].pods.len()).unwrap_or(u32::MAX);
        }
    }

    /// Evicts these pods; those that a budget guards go after its grace.
    pub(crate) fn evict(&mut self, number: usize, pods: &[PodRef], pdb_grace: f64, now: f64) {
        for pod in &mut self.nodes[number].pods {
            let is_meant = pods.iter().any(|one| one.uid == uid(pod.uid));
            if is_meant && pod.gone_at.is_none() {
                let refused = if pod.uid.is_multiple_of(5) { pdb_grace } else { 0.0 };
                pod.gone_at = Some(now + refused + pod.grace);
            }
        }
    }

    /// Whether any of these pods is still there.
    pub(crate) fn has_any(&self, number: usize, pods: &[PodRef]) -> bool {
        self.nodes[number].pods.iter().any(|pod| pods.iter().any(|one| one.uid == uid(pod.uid)))
    }

    /// Whether pods are there that a drain would have to evict.
    pub(crate) fn owes_drain(&self, number: usize) -> bool {
        self.nodes[number].pods.iter().any(|pod| !pod.is_daemon)
    }

    /// The pods of a node, as the API shows them.
    pub(crate) fn pods(&self, site: &Site, number: usize) -> Vec<PodObject> {
        let object = |pod: &Pod| PodObject {
            namespace: if pod.is_daemon { "kube-system".to_owned() } else { "default".to_owned() },
            name: format!("{}-{}", site.hosts[number].name, pod.uid),
            uid: uid(pod.uid),
            kind: if pod.is_daemon { PodKind::DaemonSet } else { PodKind::Controlled },
            is_finished: false,
            is_terminating: pod.gone_at.is_some(),
            tolerates_unschedulable: pod.is_daemon,
            grace: Duration::from_secs_f64(pod.grace),
        };
        self.nodes[number].pods.iter().map(object).collect()
    }
}

/// A pod's UID.
fn uid(number: u64) -> Uid {
    Uid::new(format!("uid-{number}"))
}

/// An empty list, shared.
pub(crate) fn none<T>() -> Arc<Vec<T>> {
    Arc::new(Vec::new())
}

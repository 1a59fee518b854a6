//! Pods: where they run, how they leave, and who makes them anew.
//!
//! Pure. What an eviction ends comes back as Pending and is bound where a node takes it.

use std::time::Duration;

use super::{Pod, World};
use crate::model::{NodeName, Uid};
use crate::plan::step::PodRef;
use crate::snapshot::{PodKind, PodObject, UnitState};

/// No pod outlives its grace period by itself.
const GRACE: Duration = Duration::from_secs(30);

impl World {
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
                grace: GRACE,
            },
            node,
            stops_in: stops_in.min(GRACE),
            is_protected: false,
            detaches_in: None,
            is_of_node: false,
            gone_at: None,
        });
    }

    /// Adds a pod of the storage to each node, such as Longhorn's instance manager: a disruption budget protects it.
    pub fn add_storage_pods(&mut self) {
        let names: Vec<NodeName> = self.hosts.keys().cloned().collect();
        for name in names {
            self.add_pod(Some(name.clone()), &format!("instance-manager-{name}"), GRACE);
            if let Some(pod) = self.pods.last_mut() {
                pod.object.namespace = "longhorn-system".to_owned();
                (pod.is_protected, pod.is_of_node) = (true, true);
            }
        }
    }

    /// Whether a node runs a workload that a drain owes: it outlives k3s, but not the end of its containers.
    pub fn has_workload(&self, node: &NodeName) -> bool {
        let is_alive = self.hosts.get(node).is_some_and(|host| host.is_on && !host.is_killed);
        is_alive && self.pods.iter().any(|pod| pod.node.as_ref() == Some(node) && !pod.is_of_node)
    }

    pub(super) fn evict(&mut self, pods: &[PodRef], pdb_grace: Duration) {
        for pod in &mut self.pods {
            let is_asked = pods.iter().any(|one| one.uid == pod.object.uid);
            if is_asked && !pod.object.is_terminating {
                let refused = if pod.is_protected { pdb_grace } else { Duration::ZERO };
                pod.object.is_terminating = true;
                pod.gone_at = Some(self.time + refused + pod.stops_in);
            }
        }
    }

    /// Pods end; what ended is made anew by its controller and bound where a node takes it.
    pub(super) fn move_pods(&mut self) {
        let time = self.time;
        if !self.has_quorum() {
            return;
        }
        let off = |pod: &Pod| pod.node.as_ref().is_some_and(|node| self.hosts.get(node).is_none_or(|host| !host.is_on));
        let is_gone = |pod: &Pod| pod.gone_at.is_some_and(|at| time >= at) || pod.object.is_terminating && off(pod);
        let (gone, kept): (Vec<Pod>, Vec<Pod>) = std::mem::take(&mut self.pods).into_iter().partition(is_gone);
        self.pods = kept;
        self.detaching.retain(|(_, until)| time < *until);
        for pod in gone {
            self.add_pod(None, &pod.object.name, pod.stops_in);
            if let Some(new) = self.pods.last_mut() {
                (new.is_protected, new.stops_in) = (pod.is_protected, pod.stops_in);
                new.detaches_in = pod.detaches_in;
            }
            if let (Some(node), Some(takes)) = (pod.node, pod.detaches_in) {
                self.detaching.push((node, time + takes));
            }
        }
        if self.pods.iter().all(|pod| pod.node.is_some()) {
            return;
        }
        let takes_pods =
            |name: &NodeName| self.hosts.get(name).is_some_and(|host| host.is_on && host.unit == UnitState::Running);
        let open: Vec<NodeName> = self
            .objects
            .iter()
            .filter(|(name, object)| !object.is_cordoned && takes_pods(name))
            .map(|(name, _)| name.clone())
            .collect();
        if open.is_empty() {
            return;
        }
        for (number, pod) in self.pods.iter_mut().filter(|pod| pod.node.is_none()).enumerate() {
            pod.node = Some(open[number % open.len()].clone());
        }
    }
}

//! Gates that more than one rule asks: which pods a drain owes, which host answers, which status is fresh.
//!
//! Pure. A gate says yes only on what is known and fresh.

#![deny(clippy::disallowed_methods)]

use std::time::Duration;

use crate::config::Shutdown;
use crate::snapshot::{PodKind, PodObject};

/// A Lease that has not changed for so long speaks for nobody: kubelet renews every 10 s and Kubernetes itself gives up
/// after `node-monitor-grace-period` (50 s since Kubernetes 1.32).
pub const LEASE_MAX_AGE: Duration = Duration::from_secs(50);

/// Whether a drain must see this pod gone before its node may stop.
///
/// DaemonSet and mirror pods, and pods that tolerate `node.kubernetes.io/unschedulable`, would come back to the node or
/// cannot be evicted; a terminating pod still owes, its processes run until it is gone; finished pods run nothing; excluded namespaces (storage, system) stop with their node.
pub fn owes_drain(pod: &PodObject, config: &Shutdown) -> bool {
    let is_stopped_by_eviction = match pod.kind {
        PodKind::DaemonSet | PodKind::Mirror => false,
        PodKind::Controlled | PodKind::Unmanaged => true,
    };
    is_stopped_by_eviction
        && !pod.is_finished
        && !pod.tolerates_unschedulable
        && !config.drain_exclude_namespaces.contains(&pod.namespace)
}

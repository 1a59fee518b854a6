//! Gates before a disruptive step.
//!
//! Pure. The planner and the actors' last look ask the same functions, so that they cannot disagree.

#![deny(clippy::disallowed_methods)]

use crate::config::Shutdown;
use crate::snapshot::{PodKind, PodObject};

/// Whether a drain must see this pod gone before its node is stopped.
///
/// A terminating pod still counts: its processes run until it is gone.
pub fn owes_drain(pod: &PodObject, config: &Shutdown) -> bool {
    let comes_back = match pod.kind {
        PodKind::DaemonSet | PodKind::Mirror => true,
        PodKind::Controlled | PodKind::Unmanaged => pod.tolerates_unschedulable,
    };
    !comes_back && !pod.is_finished && !config.drain_exclude_namespaces.contains(&pod.namespace)
}

//! Every reason for not doing something, with the evidence.
//!
//! Pure. A *wait* is expected to end by itself and has a limit; a *blocker* only ends by a change from outside; a
//! *warning* holds nothing up.

#![deny(clippy::disallowed_methods)]

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{ClusterState, MachineId, NodeName, PeerName, Role, Unit, UpsName, seconds, seconds_option};

mod wait;
mod warning;

pub use self::wait::{Wait, WaitReason};
pub use self::warning::Warning;

/// Something only a change from outside can clear.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "name", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Blocker {
    /// This host is a peer: it starts nothing unless asked to.
    PeerMayNotStart,
    /// This host is a peer that may not shut the cluster down by itself.
    PeerMayNotStop,
    /// A UPS is on battery: nothing is started.
    OnBattery {
        /// Which, and what it says.
        ups: UpsName,
        /// `ups.status`.
        status: String,
    },
    /// The recharge gate was waited for longer than `startup.recharge_max_wait_seconds`.
    RechargeTooSlow {
        /// Which.
        ups: UpsName,
        /// What is missing.
        evidence: String,
    },
    /// No UPS has answered since hecate started, and the grace is not over (or there is none).
    UpsUnknown {
        /// Which UPSes, with why.
        evidence: String,
        /// When it starts all the same; None: never.
        #[serde(with = "seconds_option")]
        #[schemars(with = "Option<f64>")]
        starts_in: Option<Duration>,
    },
    /// `desired.yaml` cannot be read or was lost; nothing disruptive begins because of it.
    WishNotTrusted {
        /// What is wrong with `desired.yaml`.
        why: String,
    },
    /// The whole cluster is paused.
    Paused {
        /// Who, why, until when.
        evidence: String,
    },
    /// A node is paused and something is to be done on it.
    NodePaused {
        /// Which.
        node: NodeName,
        /// Who, why, until when.
        evidence: String,
    },
    /// The host behind a node's address is not that node.
    WrongHost {
        /// Which node was asked for.
        node: NodeName,
        /// What answered: a machine id, or ssh's words about the host key.
        evidence: String,
        /// The machine id that belongs there, where it was learned.
        expected: Option<MachineId>,
    },
    /// hecate is not let in.
    AccessDenied {
        /// Which.
        node: NodeName,
        /// ssh's or sudo's words.
        evidence: String,
    },
    /// Several nodes of the inventory answer with one machine id: nobody can say which of them is meant.
    SameHostTwice {
        /// Which.
        nodes: BTreeSet<NodeName>,
        /// The machine id that all of them show.
        machine_id: MachineId,
    },
    /// A host runs the unit of the other role.
    RoleMismatch {
        /// Which.
        node: NodeName,
        /// Its role in the inventory.
        role: Role,
        /// The unit that is there instead.
        found: Unit,
    },
    /// Clocks did not come into sync within `startup.time_sync_wait_seconds`.
    TimeNotSynced {
        /// Each host that is not in sync, and why.
        missing: Vec<String>,
        /// How many hosts are in sync.
        in_sync: usize,
        /// How many must be.
        needed: usize,
        /// Whether this host's clock says less than what hecate wrote down: which of the two is wrong only a person can tell.
        is_past: bool,
    },
    /// Another hecate host shuts the cluster down, or has just done so on purpose.
    PeerShuttingDown {
        /// Which.
        peer: PeerName,
        /// What it said last, with who and why.
        evidence: String,
        /// When its word no longer counts.
        #[serde(with = "seconds")]
        #[schemars(with = "f64")]
        expires_in: Duration,
    },
    /// A node that is needed does not answer.
    NodeUnreachable {
        /// Which.
        node: NodeName,
        /// ssh's words.
        evidence: String,
        /// For how long.
        #[serde(with = "seconds")]
        #[schemars(with = "f64")]
        since: Duration,
    },
    /// A host that hecate powered off is still off; somebody or something must switch it on.
    HostOff {
        /// Which.
        node: NodeName,
    },
    /// A node has no such unit.
    UnitNotFound {
        /// Which.
        node: NodeName,
        /// The unit its role needs.
        unit: Unit,
    },
    /// The API did not become ready within `startup.api_wait_seconds`.
    ApiNotReady {
        /// Each server with its failed checks or why it is unknown.
        evidence: String,
    },
    /// A node did not become Ready within `startup.node_wait_seconds`.
    NodeNotReady {
        /// Which.
        node: NodeName,
        /// What is missing.
        evidence: String,
    },
    /// Pods cannot be seen, so nothing is taken for drained on the graceful path.
    DrainUnknown {
        /// Why they cannot be seen.
        evidence: String,
    },
    /// A drain went past its limit on a declared shutdown.
    DrainStuck {
        /// Which.
        node: NodeName,
        /// The pods that are left.
        pods: Vec<String>,
    },
    /// The etcd snapshot did not come on a declared shutdown.
    EtcdSnapshotMissing {
        /// Where it was tried.
        node: Option<NodeName>,
        /// What was seen.
        evidence: String,
    },
    /// A step was tried again and again without effect. It is still being tried, ever more rarely.
    StepFailing {
        /// The step.
        step: String,
        /// How often.
        attempts: u32,
        /// How it ended last.
        last: String,
    },
    /// The wish was carried out before this host was booted; a person who wants more must say so.
    AlreadyFulfilled {
        /// The wish.
        state: ClusterState,
    },
    /// The ledger cannot be trusted; nothing is started.
    LedgerUnreadable {
        /// Why.
        why: String,
    },
}

impl Blocker {
    /// The variant's name, for metric labels; never a value.
    pub fn name(&self) -> &'static str {
        match self {
            Blocker::PeerMayNotStart => "peer-may-not-start",
            Blocker::PeerMayNotStop => "peer-may-not-stop",
            Blocker::OnBattery { .. } => "on-battery",
            Blocker::RechargeTooSlow { .. } => "recharge-too-slow",
            Blocker::UpsUnknown { .. } => "ups-unknown",
            Blocker::WishNotTrusted { .. } => "wish-not-trusted",
            Blocker::Paused { .. } => "paused",
            Blocker::NodePaused { .. } => "node-paused",
            Blocker::WrongHost { .. } => "wrong-host",
            Blocker::AccessDenied { .. } => "access-denied",
            Blocker::SameHostTwice { .. } => "same-host-twice",
            Blocker::RoleMismatch { .. } => "role-mismatch",
            Blocker::TimeNotSynced { .. } => "time-not-synced",
            Blocker::PeerShuttingDown { .. } => "peer-shutting-down",
            Blocker::NodeUnreachable { .. } => "node-unreachable",
            Blocker::HostOff { .. } => "host-off",
            Blocker::UnitNotFound { .. } => "unit-not-found",
            Blocker::ApiNotReady { .. } => "api-not-ready",
            Blocker::NodeNotReady { .. } => "node-not-ready",
            Blocker::DrainUnknown { .. } => "drain-unknown",
            Blocker::DrainStuck { .. } => "drain-stuck",
            Blocker::EtcdSnapshotMissing { .. } => "etcd-snapshot-missing",
            Blocker::StepFailing { .. } => "step-failing",
            Blocker::AlreadyFulfilled { .. } => "already-fulfilled",
            Blocker::LedgerUnreadable { .. } => "ledger-unreadable",
        }
    }

    /// What a person can type or do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Blocker::PeerMayNotStart => {
                "start on the coordinator, or pass --allow-peer-startup to `hecate startup --execute`".to_owned()
            }
            Blocker::PeerMayNotStop => {
                "shut down on the coordinator, or set coordination.local_shutdown_fallback: true".to_owned()
            }
            Blocker::OnBattery { .. } | Blocker::RechargeTooSlow { .. } | Blocker::UpsUnknown { .. } => {
                "`hecate startup --execute --allow-on-battery` starts all the same".to_owned()
            }
            Blocker::WishNotTrusted { .. } => {
                "write a new one: `hecate set-desired running`, `drained-off` or `poweroff`".to_owned()
            }
            Blocker::Paused { .. } => "`hecate resume` ends it".to_owned(),
            Blocker::NodePaused { node, .. } => format!("`hecate resume {node}` ends it"),
            Blocker::WrongHost { node, .. } => {
                format!("check the address of {node}; after a reinstallation `hecate enroll {node}` learns it anew")
            }
            Blocker::AccessDenied { node, .. } => {
                format!("check the key, the user and /etc/sudoers.d/hecate on {node}")
            }
            Blocker::SameHostTwice { nodes, .. } => format!(
                "correct the address of one of {}; where their disks were cloned, give one a new /etc/machine-id",
                join(nodes)
            ),
            Blocker::RoleMismatch { node, .. } => format!("correct the role of {node} in hecate.yaml"),
            Blocker::TimeNotSynced { .. } => "look at `timedatectl` and `chronyc tracking` on the hosts named (on this one \
                 where all of them are off by the same); `hecate startup --execute --skip-time-sync` starts all the same"
                .to_owned(),
            Blocker::PeerShuttingDown { peer, .. } => {
                format!("`hecate status` on {peer} says why; `hecate set-desired running` there ends it")
            }
            Blocker::NodeUnreachable { node, .. } => {
                format!("look at the host, or add {node} to ignore_unavailable_nodes")
            }
            Blocker::HostOff { node } => {
                format!("switch {node} on; `wake` in its entry or `cut_load` of its UPS does that the next time")
            }
            Blocker::UnitNotFound { node, unit } => {
                format!("install k3s on {node} so that {unit}.service exists, or correct its role")
            }
            Blocker::ApiNotReady { .. } => "`journalctl -u k3s` on the servers says why".to_owned(),
            Blocker::NodeNotReady { node, .. } => format!("`kubectl describe node {node}` says why"),
            Blocker::DrainUnknown { .. } => "`hecate shutdown --execute --skip-drain` stops without a drain".to_owned(),
            Blocker::DrainStuck { .. } => {
                "delete the pods' finalizers, or `hecate shutdown --execute --skip-drain`".to_owned()
            }
            Blocker::EtcdSnapshotMissing { .. } => {
                "`hecate shutdown --execute --skip-etcd-snapshot` goes on without one".to_owned()
            }
            Blocker::AlreadyFulfilled { .. } => "`hecate set-desired running` brings the cluster up".to_owned(),
            Blocker::LedgerUnreadable { .. } => {
                "look at it, move it away, and restart hecate; a copy is kept beside it".to_owned()
            }
            Blocker::StepFailing { .. } => return None,
        })
    }
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Blocker::PeerMayNotStart => f.write_str("this host is a peer and does not start the cluster"),
            Blocker::PeerMayNotStop => f.write_str("this host is a peer and does not shut the cluster down by itself"),
            Blocker::OnBattery { ups, status } => write!(f, "UPS {ups} is on battery ({status})"),
            Blocker::RechargeTooSlow { ups, evidence } => write!(f, "UPS {ups} does not recharge in time: {evidence}"),
            Blocker::UpsUnknown { evidence, starts_in: Some(left) } => {
                write!(f, "no UPS answers ({evidence}); starts without one in {} s", left.as_secs())
            }
            Blocker::UpsUnknown { evidence, starts_in: None } => write!(f, "no UPS answers ({evidence})"),
            Blocker::WishNotTrusted { why } => write!(f, "desired.yaml cannot be trusted: {why}"),
            Blocker::Paused { evidence } => write!(f, "paused {evidence}"),
            Blocker::NodePaused { node, evidence } => write!(f, "{node} is paused {evidence}"),
            Blocker::WrongHost { node, evidence, expected } => {
                write!(f, "the host at the address of {node} is another one: {evidence}")?;
                match expected {
                    Some(expected) => write!(f, ", expected {expected}"),
                    None => Ok(()),
                }
            }
            Blocker::AccessDenied { node, evidence } => write!(f, "{node} does not let hecate in: {evidence}"),
            Blocker::SameHostTwice { nodes, machine_id } => {
                write!(f, "{} answer with one machine-id: {machine_id}", join(nodes))
            }
            Blocker::RoleMismatch { node, role, found } => {
                write!(f, "{node} is a {role} in the inventory, but its host has {found}.service")
            }
            Blocker::TimeNotSynced { missing, in_sync, needed, is_past: _ } => {
                write!(f, "{in_sync} of {needed} clocks are in sync: {}", missing.join("; "))
            }
            Blocker::PeerShuttingDown { peer, evidence, expires_in } => {
                write!(f, "{peer} {evidence}; counts for {} s more", expires_in.as_secs())
            }
            Blocker::NodeUnreachable { node, evidence, since } => {
                write!(f, "{node} has not answered for {} s: {evidence}", since.as_secs())
            }
            Blocker::HostOff { node } => write!(f, "{node} is powered off"),
            Blocker::UnitNotFound { node, unit } => write!(f, "{node} has no {unit}.service"),
            Blocker::ApiNotReady { evidence } => write!(f, "the Kubernetes API is not ready: {evidence}"),
            Blocker::NodeNotReady { node, evidence } => write!(f, "node {node} is not Ready: {evidence}"),
            Blocker::DrainUnknown { evidence } => write!(f, "pods cannot be seen, so nothing is drained: {evidence}"),
            Blocker::DrainStuck { node, pods } => write!(f, "pods do not leave {node}: {}", pods.join(", ")),
            Blocker::EtcdSnapshotMissing { node: Some(node), evidence } => {
                write!(f, "no etcd snapshot on {node}: {evidence}")
            }
            Blocker::EtcdSnapshotMissing { node: None, evidence } => write!(f, "no etcd snapshot: {evidence}"),
            Blocker::StepFailing { step, attempts, last } => {
                write!(f, "{step}: tried {attempts} times without effect, last: {last}")
            }
            Blocker::AlreadyFulfilled { state } => {
                write!(f, "the wish {state} was already carried out, and this host has been booted since")
            }
            Blocker::LedgerUnreadable { why } => write!(f, "the ledger cannot be trusted: {why}"),
        }
    }
}

fn join<T: fmt::Display>(names: &BTreeSet<T>) -> String {
    names.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

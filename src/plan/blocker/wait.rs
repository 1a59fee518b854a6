//! What is waited for, by name.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::join;
use crate::model::{NodeName, PeerName, Unit, UpsName, seconds, seconds_option};

/// Something expected to come by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Wait {
    /// What for.
    pub reason: WaitReason,
    /// How long it has been waited for.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub since: Duration,
    /// How long it may take; what comes then is the rule's matter (a blocker, or going on without).
    #[serde(with = "seconds_option")]
    #[schemars(with = "Option<f64>")]
    pub limit: Option<Duration>,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "name", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum WaitReason {
    /// A first observation.
    FirstObservation {
        /// Of what.
        of: String,
    },
    /// A host to answer.
    NodeReachable {
        /// Which.
        node: NodeName,
        /// Why it does not.
        evidence: String,
    },
    /// A unit to finish starting or stopping.
    UnitSettled {
        /// Where.
        node: NodeName,
        /// Which.
        unit: Unit,
    },
    /// An API server to be ready.
    ApiReady {
        /// What each says.
        evidence: String,
    },
    /// etcd members to be healthy.
    EtcdHealthy {
        /// Which are not.
        nodes: BTreeSet<NodeName>,
    },
    /// A node to be Ready, by fresh status.
    NodeReady {
        /// Which.
        node: NodeName,
        /// What is missing.
        evidence: String,
    },
    /// All expected workers to be Ready before any is uncordoned.
    Uncordon {
        /// Which are missing.
        missing: BTreeSet<NodeName>,
    },
    /// Pods to be gone.
    Drained {
        /// From where.
        node: NodeName,
        /// How many are left.
        pods: usize,
    },
    /// Volumes to be detached.
    Detached {
        /// How many are left.
        volumes: usize,
    },
    /// The etcd snapshot.
    EtcdSnapshot {
        /// Where.
        node: NodeName,
    },
    /// A host to be off.
    HostOff {
        /// Which.
        node: NodeName,
    },
    /// Mains to be stable before a descent is undone.
    MainsStable {
        /// Which UPS.
        ups: UpsName,
    },
    /// A UPS that was told to cut its load does so: what is started on it before is cut hard.
    LoadCut {
        /// Which.
        ups: UpsName,
        /// The node that it feeds, and that is up already.
        node: NodeName,
    },
    /// A UPS to speak: until then it is not known whether hosts that booted since its last word are on battery.
    UpsWord {
        /// The silent UPSes.
        upses: BTreeSet<UpsName>,
        /// The hosts that are left as they are.
        nodes: BTreeSet<NodeName>,
    },
    /// The battery to hold enough for one bring-up and one more shutdown.
    Recharge {
        /// Which UPS.
        ups: UpsName,
        /// What is there and what is needed.
        evidence: String,
    },
    /// A stopped unit to be left alone for the drift grace.
    DriftGrace {
        /// Where.
        node: NodeName,
        /// Which.
        unit: Unit,
    },
    /// The next attempt of a step.
    Backoff {
        /// The step.
        step: String,
        /// How it ended last.
        last: String,
    },
    /// Clocks to come into sync.
    TimeSync {
        /// Each host that is not in sync, and why.
        missing: Vec<String>,
    },
    /// A first word of another hecate host since this one was booted.
    PeerIntent {
        /// Which.
        peer: PeerName,
        /// Why there is none.
        evidence: String,
    },
    /// The ledger to be on disk.
    LedgerOnDisk,
}

impl WaitReason {
    /// The variant's name, for metric labels; never a value.
    pub fn name(&self) -> &'static str {
        match self {
            WaitReason::FirstObservation { .. } => "first-observation",
            WaitReason::NodeReachable { .. } => "node-reachable",
            WaitReason::UnitSettled { .. } => "unit-settled",
            WaitReason::ApiReady { .. } => "api-ready",
            WaitReason::EtcdHealthy { .. } => "etcd-healthy",
            WaitReason::NodeReady { .. } => "node-ready",
            WaitReason::Uncordon { .. } => "uncordon",
            WaitReason::Drained { .. } => "drained",
            WaitReason::Detached { .. } => "detached",
            WaitReason::EtcdSnapshot { .. } => "etcd-snapshot",
            WaitReason::HostOff { .. } => "host-off",
            WaitReason::MainsStable { .. } => "mains-stable",
            WaitReason::LoadCut { .. } => "load-cut",
            WaitReason::UpsWord { .. } => "ups-word",
            WaitReason::Recharge { .. } => "recharge",
            WaitReason::DriftGrace { .. } => "drift-grace",
            WaitReason::Backoff { .. } => "backoff",
            WaitReason::TimeSync { .. } => "time-sync",
            WaitReason::PeerIntent { .. } => "peer-intent",
            WaitReason::LedgerOnDisk => "ledger-on-disk",
        }
    }
}

impl fmt::Display for WaitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitReason::FirstObservation { of } => write!(f, "first look at {of}"),
            WaitReason::NodeReachable { node, evidence } => write!(f, "{node} to answer: {evidence}"),
            WaitReason::UnitSettled { node, unit } => write!(f, "{unit} on {node} to settle"),
            WaitReason::ApiReady { evidence } => write!(f, "the Kubernetes API: {evidence}"),
            WaitReason::EtcdHealthy { nodes } => write!(f, "etcd on {}", join(nodes)),
            WaitReason::NodeReady { node, evidence } => write!(f, "node {node} to be Ready: {evidence}"),
            WaitReason::Uncordon { missing } => write!(f, "{} before uncordoning", join(missing)),
            WaitReason::Drained { node, pods } => write!(f, "{pods} pods to leave {node}"),
            WaitReason::Detached { volumes } => write!(f, "{volumes} volumes to detach"),
            WaitReason::EtcdSnapshot { node } => write!(f, "the etcd snapshot on {node}"),
            WaitReason::HostOff { node } => write!(f, "{node} to be off"),
            WaitReason::MainsStable { ups } => write!(f, "mains at UPS {ups} to be stable"),
            WaitReason::LoadCut { ups, node } => write!(f, "UPS {ups} to cut the load of {node}, as it was told"),
            WaitReason::UpsWord { upses, nodes } => {
                write!(f, "a word of UPS {}: its last is older than the boot of {}", join(upses), join(nodes))
            }
            WaitReason::Recharge { ups, evidence } => write!(f, "UPS {ups} to recharge: {evidence}"),
            WaitReason::DriftGrace { node, unit } => write!(f, "the drift grace of {unit} on {node}"),
            WaitReason::Backoff { step, last } => write!(f, "the next attempt to {step}, last: {last}"),
            WaitReason::TimeSync { missing } => write!(f, "clocks to be in sync: {}", missing.join("; ")),
            WaitReason::PeerIntent { peer, evidence } => write!(f, "a word of {peer}: {evidence}"),
            WaitReason::LedgerOnDisk => f.write_str("the ledger to be on disk"),
        }
    }
}

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
            Blocker::TimeNotSynced { missing, in_sync, needed } => {
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

/// Something a person should know that holds nothing up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "name", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Warning {
    /// A worker stayed away past its limit; the cluster runs without it.
    NodeAbsent {
        /// Which.
        node: NodeName,
        /// Why.
        evidence: String,
    },
    /// Nobody guards the power.
    PowerUnguarded {
        /// Which UPSes cannot be seen, and why.
        evidence: String,
    },
    /// Something was started although a battery does not hold one bring-up and one more shutdown.
    Unprotected {
        /// Which.
        ups: UpsName,
        /// What is missing.
        evidence: String,
    },
    /// A UPS says something a person should look at (RB, ALARM, OVER, BYPASS, unknown words).
    Ups {
        /// Which.
        ups: UpsName,
        /// What.
        evidence: String,
    },
    /// The world differs from what is desired outside of an episode.
    Drift {
        /// Where.
        node: NodeName,
        /// How.
        evidence: String,
    },
    /// A node is cordoned by somebody else and stays so.
    CordonedByOther {
        /// Which.
        node: NodeName,
    },
    /// Containers outlive their unit and hecate may not end them.
    ContainersLeft {
        /// Where.
        node: NodeName,
        /// How many.
        count: u32,
    },
    /// Something was left out to be dark in time, or because a flag said so.
    Skipped {
        /// What.
        what: String,
        /// Why.
        because: String,
    },
    /// A k3s unit runs although its start is gated: it was started by somebody else, most likely by its own enablement.
    StartedByItself {
        /// Where.
        node: NodeName,
        /// Which.
        unit: Unit,
    },
    /// A node is only watched, never commanded.
    NotManaged {
        /// Which.
        node: NodeName,
    },
    /// The API knows a node that the inventory does not: nobody would stop it.
    NodeNotInInventory {
        /// Which.
        node: NodeName,
    },
    /// The inventory knows a node that has never registered with the API.
    NodeNotRegistered {
        /// Which.
        node: NodeName,
    },
    /// Another hecate host does not answer; what it said last counts.
    PeerUnreachable {
        /// Which.
        peer: PeerName,
        /// Why not.
        evidence: String,
    },
    /// Another hecate host has said for too long that it shuts down: it died on the way, and holds nothing up any more.
    PeerIntentStale {
        /// Which.
        peer: PeerName,
        /// What it said last, with who and why.
        evidence: String,
    },
    /// A host was woken again and again and does not answer.
    WakeWithoutEffect {
        /// Which.
        node: NodeName,
        /// How often.
        attempts: u32,
        /// How the last attempt ended.
        last: String,
    },
    /// A full battery is too small for the recharge gate, or for the trigger.
    BatteryTooSmall {
        /// Whose.
        ups: UpsName,
        /// What it gives, and what is asked for.
        evidence: String,
    },
    /// A UPS with `cut_load` is not told to cut its load.
    LoadNotCut {
        /// Which.
        ups: UpsName,
        /// Why.
        evidence: String,
    },
}

impl Warning {
    /// The variant's name, for metric labels; never a value.
    pub fn name(&self) -> &'static str {
        match self {
            Warning::NodeAbsent { .. } => "node-absent",
            Warning::PowerUnguarded { .. } => "power-unguarded",
            Warning::Unprotected { .. } => "unprotected",
            Warning::Ups { .. } => "ups",
            Warning::Drift { .. } => "drift",
            Warning::CordonedByOther { .. } => "cordoned-by-other",
            Warning::ContainersLeft { .. } => "containers-left",
            Warning::Skipped { .. } => "skipped",
            Warning::StartedByItself { .. } => "started-by-itself",
            Warning::NotManaged { .. } => "not-managed",
            Warning::NodeNotInInventory { .. } => "node-not-in-inventory",
            Warning::NodeNotRegistered { .. } => "node-not-registered",
            Warning::PeerUnreachable { .. } => "peer-unreachable",
            Warning::PeerIntentStale { .. } => "peer-intent-stale",
            Warning::WakeWithoutEffect { .. } => "wake-without-effect",
            Warning::BatteryTooSmall { .. } => "battery-too-small",
            Warning::LoadNotCut { .. } => "load-not-cut",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::NodeAbsent { node, evidence } => write!(f, "{node} is away: {evidence}"),
            Warning::PowerUnguarded { evidence } => write!(f, "nobody guards the power: {evidence}"),
            Warning::Unprotected { ups, evidence } => {
                write!(f, "unprotected: UPS {ups} does not hold a bring-up and one more shutdown ({evidence})")
            }
            Warning::Ups { ups, evidence } => write!(f, "UPS {ups}: {evidence}"),
            Warning::Drift { node, evidence } => write!(f, "drift on {node}: {evidence}"),
            Warning::CordonedByOther { node } => write!(f, "{node} was cordoned by somebody else and stays so"),
            Warning::ContainersLeft { node, count } => write!(f, "{count} containers outlive k3s on {node}"),
            Warning::Skipped { what, because } => write!(f, "{what}: {because}"),
            Warning::StartedByItself { node, unit } => write!(f, "{unit} on {node} was started by somebody else"),
            Warning::NotManaged { node } => write!(f, "{node} is watched only, not commanded"),
            Warning::NodeNotInInventory { node } => {
                write!(f, "{node} is a node of the cluster but not of the inventory: nobody would stop it")
            }
            Warning::NodeNotRegistered { node } => {
                write!(f, "{node} is in the inventory, but the Kubernetes API has never heard of it")
            }
            Warning::PeerUnreachable { peer, evidence } => write!(f, "hecate on {peer} cannot be asked: {evidence}"),
            Warning::PeerIntentStale { peer, evidence } => {
                write!(f, "{peer} {evidence}; that is too long ago to hold a start up")
            }
            Warning::WakeWithoutEffect { node, attempts, last } => write!(
                f,
                "{node} was woken {attempts} times and does not answer (last: {last}); look at the MAC address, at \
                 wake-on-lan in its firmware (ErP or deep sleep off) and in `ethtool` (Wake-on: g), or at the command"
            ),
            Warning::BatteryTooSmall { ups, evidence } => {
                write!(f, "the battery of UPS {ups} is too small: {evidence}; `hecate check --host` says what to do")
            }
            Warning::LoadNotCut { ups, evidence } => write!(f, "UPS {ups} does not cut its load: {evidence}"),
        }
    }
}

fn join<T: fmt::Display>(names: &BTreeSet<T>) -> String {
    names.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

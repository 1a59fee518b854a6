//! Everything that one pass has seen, as readings.
//!
//! Pure data. `observe/` makes it, `desired/` and `plan/` read it; nothing in here judges.

#![deny(clippy::disallowed_methods)]

mod ups;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{
    BootId, IntentRecord, MachineId, NodeName, PeerName, Reading, Uid, Unit, UpsName, seconds, seconds_option,
};

pub use self::ups::{DeviceId, LoadCutReading, UpsReading, UpsStatus, UpsWord, UpsWords, driver_interval};

/// All that was seen. A source that is missing from a map was not configured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Each configured UPS.
    pub upses: BTreeMap<UpsName, Reading<UpsReading>>,
    /// Each node hecate may command, seen over SSH.
    pub hosts: BTreeMap<NodeName, Reading<HostReading>>,
    /// The Kubernetes API.
    pub api: ApiSnapshot,
    /// Whether each UPS' witness is there (`upses[].witness`).
    #[serde(default)]
    pub witnesses: BTreeMap<UpsName, Reading<bool>>,
    /// Each other hecate host.
    #[serde(default)]
    pub peers: BTreeMap<PeerName, Reading<PeerReading>>,
    /// What each UPS with `cut_load` says of that.
    #[serde(default)]
    pub load_cuts: BTreeMap<UpsName, LoadCutReading>,
}

/// What one look at another hecate host shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeerReading {
    /// Its `intent.json`; None where it has never written one.
    pub intent: Option<IntentRecord>,
    /// What its clock says; None where it could not be compared.
    pub clock: Option<HostClock>,
}

/// What one SSH round trip says of a node's host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostReading {
    /// `/etc/machine-id`.
    pub machine_id: MachineId,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: BootId,
    /// `k3s.service`.
    pub k3s: UnitState,
    /// `k3s-agent.service`.
    pub k3s_agent: UnitState,
    /// How many of k3s' containerd shims run: containers that outlive a stopped unit.
    pub containers: u32,
    /// Whether sudo allows `k3s-killall.sh`.
    pub killall_allowed: bool,
    /// Where k3s keeps its data; only on control planes.
    pub datastore: Option<Datastore>,
    /// The embedded etcd member; only on control planes whose etcd answers.
    pub etcd: Option<EtcdMember>,
    /// Names of etcd snapshots that exist, are not empty, and were made by hecate; only asked for during a descent.
    pub etcd_snapshots: Option<BTreeSet<String>>,
    /// Whether the transient unit that saves an etcd snapshot is running.
    pub is_saving_etcd_snapshot: bool,
    /// Whether the host's clock is synchronised; None where the host cannot say.
    pub is_time_synced: Option<bool>,
    /// By how many whole seconds chronyd finds its own clock ahead of its servers (negative: behind): it may say that it
    /// is in sync while it still corrects an hour, slowly. None where there is no chronyd.
    #[serde(default)]
    pub ntp_ahead_seconds: Option<i64>,
    /// What its clock says; None where it could not be compared.
    #[serde(default)]
    pub clock: Option<HostClock>,
    /// For how long it had been up (`/proc/uptime`).
    #[serde(default, with = "crate::model::seconds_option")]
    #[schemars(with = "Option<f64>")]
    pub up_for: Option<std::time::Duration>,
    /// How long systemd lets the unit of its role stop before it kills it (`TimeoutStopUSec`); None where nobody said.
    #[serde(default, with = "crate::model::seconds_option")]
    #[schemars(with = "Option<f64>")]
    pub stop_timeout: Option<std::time::Duration>,
}

/// A host's wall clock, read in the same look as everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostClock {
    /// What it said.
    pub wall: Timestamp,
    /// By how many whole seconds it is ahead of the hecate host's own clock at least (negative: behind). The time that
    /// the look took is taken off, so that a slow link never makes a right clock look wrong.
    pub ahead_seconds: i64,
}

impl HostReading {
    /// The state of one of the two units.
    pub fn unit(&self, unit: Unit) -> UnitState {
        match unit {
            Unit::K3s => self.k3s,
            Unit::K3sAgent => self.k3s_agent,
        }
    }
}

/// A systemd unit's state, as far as rules need it (`systemctl show -p LoadState,ActiveState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UnitState {
    /// There is no such unit on this host.
    NotFound,
    /// `inactive` or `failed`: nothing of the unit runs (its containers may).
    Stopped,
    /// `activating`, `reloading`, or waiting for its automatic restart.
    Starting,
    /// `active`.
    Running,
    /// `deactivating`.
    Stopping,
}

/// What k3s keeps its state in (k3s docs, "Cluster datastore").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Datastore {
    /// Embedded etcd.
    Etcd,
    /// Embedded SQLite: one server, no etcd snapshot.
    Sqlite,
    /// `--datastore-endpoint`: a database outside.
    External,
}

/// One embedded etcd member, from k3s' metrics listener on 127.0.0.1:2381.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EtcdMember {
    /// `/health` says true: it has a leader and answers.
    pub is_healthy: bool,
    /// `etcd_server_is_leader`.
    pub is_leader: bool,
}

/// What the Kubernetes API says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiSnapshot {
    /// `/readyz` of each control plane's own API server.
    pub servers: BTreeMap<NodeName, Reading<ApiServer>>,
    /// Node objects. As old as the last successful `/readyz` of the server they are watched on.
    pub nodes: Reading<Arc<BTreeMap<NodeName, NodeObject>>>,
    /// Pods that are bound to a node, by node.
    pub pods: Reading<Arc<BTreeMap<NodeName, Vec<PodObject>>>>,
    /// VolumeAttachment objects.
    pub attachments: Reading<Arc<Vec<AttachmentObject>>>,
}

impl Default for ApiSnapshot {
    fn default() -> Self {
        Self {
            servers: BTreeMap::new(),
            nodes: Reading::not_yet(),
            pods: Reading::not_yet(),
            attachments: Reading::not_yet(),
        }
    }
}

/// The answer of one API server to `/readyz?verbose`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiServer {
    /// HTTP 200.
    pub is_ready: bool,
    /// The checks that failed, by name (`etcd`, `informer-sync`, ...).
    pub failed_checks: BTreeSet<String>,
}

/// What counts of a Node object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeObject {
    /// Condition `Ready` is `True`. Survives a cold boot and lies: see `lease_changed` and `boot_id`.
    pub is_ready: bool,
    /// Boottime of the hecate host at which the node's Lease was last seen to *change*; None until it did.
    #[serde(with = "seconds_option")]
    #[schemars(with = "Option<f64>")]
    pub lease_changed: Option<Duration>,
    /// The Lease's `spec.renewTime`, by the node's own clock: no rule goes by it.
    #[serde(default)]
    pub lease_renewed: Option<Timestamp>,
    /// `status.nodeInfo.bootID`.
    pub boot_id: Option<BootId>,
    /// `status.nodeInfo.machineID`.
    pub machine_id: Option<MachineId>,
    /// `spec.unschedulable`.
    pub is_cordoned: bool,
    /// The run that cordoned it, from the annotation `hecate.dev/cordoned-by`.
    pub cordoned_by: Option<String>,
}

/// What counts of a pod that is bound to a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodObject {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID; a pod of the same name made anew has another.
    pub uid: Uid,
    /// What it belongs to, as far as a drain cares.
    pub kind: PodKind,
    /// Phase `Succeeded` or `Failed`: nothing of it runs.
    pub is_finished: bool,
    /// It has a deletion timestamp.
    pub is_terminating: bool,
    /// It tolerates `node.kubernetes.io/unschedulable`: would come back to a cordoned node.
    pub tolerates_unschedulable: bool,
    /// Its termination grace period.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub grace: Duration,
}

/// What a pod belongs to, as far as a drain cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PodKind {
    /// Controlled by a DaemonSet: would come back at once.
    DaemonSet,
    /// A static pod's mirror (`kubernetes.io/config.mirror`): the API cannot stop it.
    Mirror,
    /// Controlled by anything else.
    Controlled,
    /// Nobody would make it anew.
    Unmanaged,
}

/// What counts of a VolumeAttachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AttachmentObject {
    /// Its name.
    pub name: String,
    /// `spec.nodeName`.
    pub node: NodeName,
    /// `spec.source.persistentVolumeName`.
    pub volume: Option<String>,
    /// `status.attached`.
    pub is_attached: bool,
    /// `namespace` of the claim the volume is bound to, where it is known: volumes of excluded namespaces are not waited for.
    pub namespace: Option<String>,
}

//! Turns the API's objects into the few facts that rules read, while they are parsed.
//!
//! The rest is dropped at once, so that a thousand pods cost kilobytes. No field is taken for granted: what is missing
//! has Kubernetes' own default, and nothing in here fails because an object is sparse.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, Pod};
use k8s_openapi::api::storage::v1::VolumeAttachment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};

use crate::model::{BootId, MachineId, NodeName, Uid};
use crate::snapshot::{AttachmentObject, NodeObject, PodKind, PodObject};

/// Says on a Node which run cordoned it.
pub const CORDONED_BY: &str = "hecate.dev/cordoned-by";
/// Kubernetes' default of `spec.terminationGracePeriodSeconds`.
const GRACE_DEFAULT: Duration = Duration::from_secs(30);
/// The taint of a cordoned node.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Marks a static pod's mirror.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Facts that are kept of one kind of object.
pub trait Facts: Clone + Debug + Send + Sync + 'static {
    /// The kind; it names the API path.
    type Object: k8s_openapi::Resource;
    /// What is parsed of it.
    type Raw: DeserializeOwned;

    /// Keeps what counts; None where the object is of no use.
    fn keep(raw: Self::Raw) -> (Meta, Option<Self>);
}

/// An object as it comes over the wire, of which only the facts are left.
#[derive(Clone, Debug)]
pub struct Seen<F> {
    metadata: ObjectMeta,
    /// The facts.
    pub facts: Option<F>,
}

impl<F> Seen<F> {
    /// Its name; unique within its namespace.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// Its UID; never used twice.
    pub fn uid(&self) -> Uid {
        Uid::new(self.metadata.uid.as_deref().unwrap_or_default())
    }

    /// Its version, for a patch that must not overwrite somebody else's.
    pub fn resource_version(&self) -> Option<&str> {
        self.metadata.resource_version.as_deref()
    }
}

impl<'de, F: Facts> Deserialize<'de> for Seen<F> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (meta, facts) = F::keep(F::Raw::deserialize(deserializer)?);
        let metadata = ObjectMeta {
            name: meta.name,
            uid: meta.uid,
            resource_version: meta.resource_version,
            ..ObjectMeta::default()
        };
        Ok(Seen { metadata, facts })
    }
}

impl<F: Facts> kube::Resource for Seen<F> {
    type DynamicType = ();
    type Scope = <F::Object as k8s_openapi::Resource>::Scope;

    fn kind((): &()) -> std::borrow::Cow<'_, str> {
        <F::Object as k8s_openapi::Resource>::KIND.into()
    }

    fn group((): &()) -> std::borrow::Cow<'_, str> {
        <F::Object as k8s_openapi::Resource>::GROUP.into()
    }

    fn version((): &()) -> std::borrow::Cow<'_, str> {
        <F::Object as k8s_openapi::Resource>::VERSION.into()
    }

    fn plural((): &()) -> std::borrow::Cow<'_, str> {
        <F::Object as k8s_openapi::Resource>::URL_PATH_SEGMENT.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The parts of `metadata` that any rule reads.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    deletion_timestamp: Option<IgnoredAny>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<Owner>>,
}

impl Meta {
    fn annotation(&self, key: &str) -> Option<&String> {
        self.annotations.as_ref().and_then(|all| all.get(key))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Owner {
    kind: Option<String>,
    controller: Option<bool>,
}

/// The shape that all Kubernetes objects share.
#[derive(Debug, Deserialize)]
pub struct Raw<Spec, Status> {
    metadata: Option<Meta>,
    spec: Option<Spec>,
    status: Option<Status>,
}

#[doc(hidden)]
#[derive(Debug, Default, Deserialize)]
pub struct NodeSpec {
    unschedulable: Option<bool>,
}

#[doc(hidden)]
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    conditions: Option<Vec<Condition>>,
    node_info: Option<NodeInfo>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    r#type: Option<String>,
    status: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct NodeInfo {
    #[serde(rename = "bootID")]
    boot_id: Option<String>,
    #[serde(rename = "machineID")]
    machine_id: Option<String>,
}

impl Facts for NodeObject {
    type Object = Node;
    type Raw = Raw<NodeSpec, NodeStatus>;

    fn keep(raw: Self::Raw) -> (Meta, Option<Self>) {
        let meta = raw.metadata.unwrap_or_default();
        let status = raw.status.unwrap_or_default();
        let info = status.node_info.unwrap_or_default();
        let is_ready = status.conditions.unwrap_or_default().iter().any(|condition| {
            condition.r#type.as_deref() == Some("Ready") && condition.status.as_deref() == Some("True")
        });
        let facts = NodeObject {
            is_ready,
            // The Lease says this, not the Node.
            lease_changed: None,
            lease_renewed: None,
            boot_id: info.boot_id.filter(|id| !id.is_empty()).map(BootId::new),
            machine_id: info.machine_id.filter(|id| !id.is_empty()).map(MachineId::new),
            is_cordoned: raw.spec.unwrap_or_default().unschedulable.unwrap_or(false),
            cordoned_by: meta.annotation(CORDONED_BY).cloned(),
        };
        (meta, Some(facts))
    }
}

/// A node's heartbeat, as far as it tells that the node lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeaseFacts {
    /// `spec.renewTime`, by the node's own clock.
    pub renewed: Option<Timestamp>,
    /// Boottime of the hecate host at which `renewed` was last seen to move on.
    pub changed: Option<Duration>,
}

#[doc(hidden)]
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LeaseSpec {
    renew_time: Option<String>,
}

impl Facts for LeaseFacts {
    type Object = Lease;
    type Raw = Raw<LeaseSpec, IgnoredAny>;

    fn keep(raw: Self::Raw) -> (Meta, Option<Self>) {
        let renewed = raw.spec.unwrap_or_default().renew_time.and_then(|time| time.parse().ok());
        (raw.metadata.unwrap_or_default(), Some(LeaseFacts { renewed, changed: None }))
    }
}

/// A pod and the node it is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFacts {
    /// `spec.nodeName`.
    pub node: NodeName,
    /// The rest.
    pub pod: PodObject,
}

#[doc(hidden)]
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    node_name: Option<String>,
    termination_grace_period_seconds: Option<u64>,
    tolerations: Option<Vec<Toleration>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Toleration {
    key: Option<String>,
    operator: Option<String>,
    value: Option<String>,
    effect: Option<String>,
}

impl Toleration {
    /// Whether it tolerates the taint of a cordoned node (`key:NoSchedule`, without a value).
    fn covers_unschedulable(&self) -> bool {
        let empty = |text: &Option<String>| text.as_deref().unwrap_or_default().is_empty();
        let is_exists = self.operator.as_deref() == Some("Exists");
        let key = if empty(&self.key) { is_exists } else { self.key.as_deref() == Some(UNSCHEDULABLE) };
        let effect = empty(&self.effect) || self.effect.as_deref() == Some("NoSchedule");
        key && effect && (is_exists || empty(&self.value))
    }
}

#[doc(hidden)]
#[derive(Debug, Default, Deserialize)]
pub struct PodStatus {
    phase: Option<String>,
}

impl Facts for PodFacts {
    type Object = Pod;
    type Raw = Raw<PodSpec, PodStatus>;

    fn keep(raw: Self::Raw) -> (Meta, Option<Self>) {
        let meta = raw.metadata.unwrap_or_default();
        let spec = raw.spec.unwrap_or_default();
        let Some(node) = spec.node_name.filter(|node| !node.is_empty()) else { return (meta, None) };
        let controller = meta
            .owner_references
            .iter()
            .flatten()
            .find(|owner| owner.controller == Some(true))
            .map(|owner| &owner.kind);
        let kind = match controller {
            _ if meta.annotation(MIRROR).is_some() => PodKind::Mirror,
            Some(Some(kind)) if kind == "DaemonSet" => PodKind::DaemonSet,
            Some(_) => PodKind::Controlled,
            None => PodKind::Unmanaged,
        };
        let phase = raw.status.unwrap_or_default().phase;
        let pod = PodObject {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: Uid::new(meta.uid.as_deref().unwrap_or_default()),
            kind,
            is_finished: matches!(phase.as_deref(), Some("Succeeded" | "Failed")),
            is_terminating: meta.deletion_timestamp.is_some(),
            tolerates_unschedulable: spec.tolerations.iter().flatten().any(Toleration::covers_unschedulable),
            grace: spec.termination_grace_period_seconds.map_or(GRACE_DEFAULT, Duration::from_secs),
        };
        (meta, Some(PodFacts { node: NodeName::new(node), pod }))
    }
}

#[doc(hidden)]
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttachmentSpec {
    node_name: Option<String>,
    source: Option<AttachmentSource>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AttachmentSource {
    persistent_volume_name: Option<String>,
}

#[doc(hidden)]
#[derive(Debug, Default, Deserialize)]
pub struct AttachmentStatus {
    attached: Option<bool>,
}

impl Facts for AttachmentObject {
    type Object = VolumeAttachment;
    type Raw = Raw<AttachmentSpec, AttachmentStatus>;

    fn keep(raw: Self::Raw) -> (Meta, Option<Self>) {
        let meta = raw.metadata.unwrap_or_default();
        let spec = raw.spec.unwrap_or_default();
        let facts = AttachmentObject {
            name: meta.name.clone().unwrap_or_default(),
            node: NodeName::new(spec.node_name.unwrap_or_default()),
            volume: spec.source.unwrap_or_default().persistent_volume_name,
            is_attached: raw.status.unwrap_or_default().attached.unwrap_or(false),
            // The PersistentVolume says this.
            namespace: None,
        };
        (meta, Some(facts))
    }
}

/// The namespace of the claim that a PersistentVolume is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClaimFacts {
    /// `spec.claimRef.namespace`.
    pub namespace: String,
}

#[doc(hidden)]
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VolumeSpec {
    claim_ref: Option<ClaimRef>,
}

#[derive(Debug, Default, Deserialize)]
struct ClaimRef {
    namespace: Option<String>,
}

impl Facts for ClaimFacts {
    type Object = PersistentVolume;
    type Raw = Raw<VolumeSpec, IgnoredAny>;

    fn keep(raw: Self::Raw) -> (Meta, Option<Self>) {
        let namespace = raw.spec.unwrap_or_default().claim_ref.and_then(|claim| claim.namespace);
        (raw.metadata.unwrap_or_default(), namespace.map(|namespace| ClaimFacts { namespace }))
    }
}

#[cfg(test)]
#[path = "objects_tests.rs"]
mod tests;

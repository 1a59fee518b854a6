//! What is kept of real-looking objects, and of sparse ones.

use serde_json::json;

use super::*;

fn keep<F: Facts>(object: serde_json::Value) -> F {
    serde_json::from_value::<Seen<F>>(object).unwrap().facts.unwrap()
}

fn pod(spec: serde_json::Value, extra: serde_json::Value) -> PodObject {
    let mut metadata = json!({"name": "web-1", "namespace": "shop", "uid": "u-1", "resourceVersion": "7",
        "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}]});
    metadata.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let mut whole = json!({"nodeName": "w-1", "containers": [{"name": "web", "image": "web:1"}]});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    keep::<PodFacts>(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": whole,
        "status": {"phase": "Running", "podIPs": [{"ip": "10.42.0.7"}]}}))
    .pod
}

#[test]
fn a_node_keeps_what_rules_read() {
    let node: NodeObject = keep(json!({
        "metadata": {"name": "w-1", "annotations": {"hecate.dev/cordoned-by": "run-7", "other": "x"}},
        "spec": {"podCIDR": "10.42.1.0/24", "unschedulable": true, "taints": [{"key": "node.kubernetes.io/unschedulable"}]},
        "status": {
            "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": "True"}],
            "nodeInfo": {"bootID": "b-1", "machineID": "m-1", "kubeletVersion": "v1.36.3+k3s1"},
            "images": [{"names": ["a"], "sizeBytes": 5}]
        }
    }));
    assert_eq!(
        node,
        NodeObject {
            is_ready: true,
            lease_changed: None,
            lease_renewed: None,
            boot_id: Some("b-1".into()),
            machine_id: Some("m-1".into()),
            is_cordoned: true,
            cordoned_by: Some("run-7".to_owned()),
        }
    );
}

#[test]
fn a_node_that_never_reported_is_neither_ready_nor_cordoned() {
    for object in [
        json!({"metadata": {"name": "w-1"}}),
        json!({"metadata": {"name": "w-1"}, "spec": null, "status": {"conditions": null, "nodeInfo": {"bootID": ""}}}),
    ] {
        let node: NodeObject = keep(object);
        assert!(!node.is_ready && !node.is_cordoned);
        assert_eq!((node.boot_id, node.machine_id, node.cordoned_by), (None, None, None));
    }
}

#[test]
fn ready_unknown_is_not_ready() {
    let node: NodeObject =
        keep(json!({"metadata": {"name": "w-1"}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}));
    assert!(!node.is_ready);
}

#[test]
fn a_pod_is_told_by_its_controller_and_its_mirror_mark() {
    let owner = |kind: &str, controller: bool| json!({"ownerReferences": [{"kind": kind, "name": "x", "controller": controller}]});
    assert_eq!(pod(json!({}), owner("ReplicaSet", true)).kind, PodKind::Controlled);
    assert_eq!(pod(json!({}), owner("DaemonSet", true)).kind, PodKind::DaemonSet);
    assert_eq!(pod(json!({}), owner("DaemonSet", false)).kind, PodKind::Unmanaged);
    assert_eq!(pod(json!({}), json!({})).kind, PodKind::Unmanaged);
    assert_eq!(pod(json!({}), json!({"ownerReferences": null, "annotations": null})).kind, PodKind::Unmanaged);
    let mirror = json!({"annotations": {"kubernetes.io/config.mirror": "hash"}, "ownerReferences": [{"kind": "Node", "controller": true}]});
    assert_eq!(pod(json!({}), mirror).kind, PodKind::Mirror);
}

#[test]
fn a_pods_grace_is_its_own_or_kubernetes_default() {
    assert_eq!(pod(json!({}), json!({})).grace, Duration::from_secs(30));
    assert_eq!(pod(json!({"terminationGracePeriodSeconds": 0}), json!({})).grace, Duration::ZERO);
    assert_eq!(pod(json!({"terminationGracePeriodSeconds": 300}), json!({})).grace, Duration::from_secs(300));
}

#[test]
fn a_toleration_covers_a_cordon_as_the_scheduler_sees_it() {
    let tolerates =
        |toleration: serde_json::Value| pod(json!({"tolerations": [toleration]}), json!({})).tolerates_unschedulable;
    assert!(tolerates(json!({"operator": "Exists"})));
    assert!(tolerates(json!({"key": UNSCHEDULABLE, "operator": "Exists"})));
    assert!(tolerates(json!({"key": UNSCHEDULABLE, "operator": "Exists", "effect": "NoSchedule"})));
    assert!(tolerates(json!({"key": UNSCHEDULABLE})));
    assert!(!tolerates(json!({"key": UNSCHEDULABLE, "value": "yes"})));
    assert!(!tolerates(json!({"operator": "Exists", "effect": "NoExecute"})));
    assert!(!tolerates(json!({"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"})));
    assert!(!tolerates(json!({})));
}

#[test]
fn a_pod_that_is_bound_to_no_node_is_of_no_use() {
    for spec in [json!({}), json!({"nodeName": ""}), json!(null)] {
        let seen: Seen<PodFacts> =
            serde_json::from_value(json!({"metadata": {"name": "p", "uid": "u"}, "spec": spec})).unwrap();
        assert!(seen.facts.is_none());
        assert_eq!((seen.name(), seen.uid()), ("p", "u".into()));
    }
}

#[test]
fn a_terminating_or_finished_pod_is_marked() {
    assert!(pod(json!({}), json!({"deletionTimestamp": "2026-11-22T19:12:07Z"})).is_terminating);
    assert!(!pod(json!({}), json!({"deletionTimestamp": null})).is_terminating);
    let finished = |phase: &str| {
        keep::<PodFacts>(
            json!({"metadata": {"name": "p", "uid": "u"}, "spec": {"nodeName": "w-1"}, "status": {"phase": phase}}),
        )
        .pod
        .is_finished
    };
    assert!(finished("Succeeded") && finished("Failed") && !finished("Running") && !finished("Unknown"));
}

#[test]
fn a_lease_keeps_its_renew_time_and_a_sparse_one_none() {
    let lease: LeaseFacts = keep(
        json!({"metadata": {"name": "w-1"}, "spec": {"holderIdentity": "w-1", "leaseDurationSeconds": 40, "renewTime": "2026-11-22T19:12:07.123456Z"}}),
    );
    assert_eq!(lease.renewed, Some("2026-11-22T19:12:07.123456Z".parse().unwrap()));
    assert_eq!(keep::<LeaseFacts>(json!({"metadata": {"name": "w-1"}})).renewed, None);
    assert_eq!(keep::<LeaseFacts>(json!({"metadata": {"name": "w-1"}, "spec": {"renewTime": "soon"}})).renewed, None);
}

#[test]
fn an_attachment_without_status_is_not_attached() {
    let full: AttachmentObject = keep(
        json!({"metadata": {"name": "csi-1"}, "spec": {"attacher": "driver.longhorn.io", "nodeName": "w-1", "source": {"persistentVolumeName": "pvc-1"}}, "status": {"attached": true}}),
    );
    assert_eq!((full.node, full.volume, full.is_attached), ("w-1".into(), Some("pvc-1".to_owned()), true));
    let inline: AttachmentObject =
        keep(json!({"metadata": {"name": "csi-2"}, "spec": {"nodeName": "w-1", "source": {"inlineVolumeSpec": {}}}}));
    assert_eq!((inline.volume, inline.is_attached), (None, false));
}

#[test]
fn a_volume_names_its_claims_namespace_only_while_bound() {
    let bound: ClaimFacts =
        keep(json!({"metadata": {"name": "pvc-1"}, "spec": {"claimRef": {"namespace": "shop", "name": "data"}}}));
    assert_eq!(bound.namespace, "shop");
    let free: Seen<ClaimFacts> = serde_json::from_value(json!({"metadata": {"name": "pvc-1"}, "spec": {}})).unwrap();
    assert!(free.facts.is_none());
}

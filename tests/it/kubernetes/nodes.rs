//! Cordon, uncordon and the last look.

use std::time::Duration;

use hecate::act::kubernetes::{cordon, uncordon, undrained};
use hecate::config::{Shutdown, UpsPath};
use hecate::plan::step::Outcome;
use serde_json::json;

use super::fake::{Fake, Health, NODES};
use super::{LONG, begin, start};

fn shutdown() -> Shutdown {
    Shutdown {
        estimated_budget: LONG,
        emergency_budget: LONG,
        budget_floor: LONG,
        emergency_skip_drain: true,
        emergency_skip_etcd_snapshot: true,
        ups_path: UpsPath::Emergency,
        drain_timeout: LONG,
        pdb_grace: LONG,
        drain_exclude_namespaces: ["kube-system".to_owned()].into(),
        detach_timeout: LONG,
        etcd_snapshot_timeout: LONG,
        unit_stop_timeout: LONG,
        killall: true,
        off_confirm: LONG,
        off_tail: LONG,
        unreachable_limit: LONG,
        api_wait: LONG,
    }
}

#[tokio::test(start_paused = true)]
async fn a_cordon_and_its_mark_are_one_patch_and_seen_at_once() {
    let fake = Fake::new(&["cp-1"]);
    fake.node("w-1");
    let (api, _wake) = start(&fake).await;
    assert_eq!(cordon(&api, &"w-1".into(), &"run-7".into(), LONG).await, Outcome::Tried);
    assert_eq!(fake.asked("PATCH", "").len(), 1);
    let node = api.snapshot().nodes.value().unwrap()[&"w-1".into()].clone();
    assert!(node.is_cordoned);
    assert_eq!(node.cordoned_by.as_deref(), Some("run-7"));
    // Once more changes nothing.
    assert_eq!(cordon(&api, &"w-1".into(), &"run-8".into(), LONG).await, Outcome::Tried);
    assert_eq!(fake.asked("PATCH", "").len(), 1);

    assert_eq!(uncordon(&api, &"w-1".into(), LONG).await, Outcome::Tried);
    assert_eq!(fake.asked("PATCH", "").len(), 2);
    let node = fake.object(NODES, "w-1");
    assert!(
        node["spec"]["unschedulable"].is_null() && node["metadata"]["annotations"]["hecate.dev/cordoned-by"].is_null()
    );
    assert!(!api.snapshot().nodes.value().unwrap()[&"w-1".into()].is_cordoned);
    assert_eq!(uncordon(&api, &"w-1".into(), LONG).await, Outcome::Tried);
    assert_eq!(fake.asked("PATCH", "").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_somebody_else_cordoned_is_neither_marked_nor_uncordoned() {
    let fake = Fake::new(&["cp-1"]);
    fake.node("w-1");
    fake.merge(NODES, "w-1", &json!({"spec": {"unschedulable": true}}));
    let (api, _wake) = start(&fake).await;
    let refused = Outcome::Refused { evidence: "w-1 was cordoned by somebody else".to_owned() };
    assert_eq!(cordon(&api, &"w-1".into(), &"run-7".into(), LONG).await, refused);
    assert_eq!(uncordon(&api, &"w-1".into(), LONG).await, refused);
    assert!(fake.asked("PATCH", "").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_changes_under_the_patch_is_read_anew() {
    let fake = Fake::new(&["cp-1"]);
    fake.node("w-1");
    let (api, _wake) = start(&fake).await;
    fake.conflict_next(2);
    assert_eq!(cordon(&api, &"w-1".into(), &"run-7".into(), LONG).await, Outcome::Tried);
    assert_eq!(fake.asked("PATCH", "").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_cordon_finds_another_server_and_gives_up_by_name_when_there_is_none() {
    let fake = Fake::new(&["cp-1", "cp-2"]);
    fake.node("w-1");
    let (api, _wake) = start(&fake).await;
    fake.set("cp-1", Health::Dead);
    assert_eq!(cordon(&api, &"w-1".into(), &"run-7".into(), LONG).await, Outcome::Tried);
    fake.set("cp-2", Health::Dead);
    let Outcome::Failed { why } = uncordon(&api, &"w-1".into(), Duration::from_secs(30)).await else {
        panic!("there was nobody to ask")
    };
    assert!(why.starts_with("w-1: cp-"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn the_last_look_is_not_cached_and_counts_what_a_drain_owes() {
    let fake = Fake::new(&["cp-1"]);
    for (namespace, name) in [("shop", "web"), ("shop", "agent"), ("shop", "done"), ("kube-system", "coredns")] {
        fake.pod("w-1", namespace, name, name);
    }
    fake.pod("w-2", "shop", "elsewhere", "elsewhere");
    fake.merge_pod(
        "shop",
        "agent",
        &json!({"metadata": {"ownerReferences": [{"kind": "DaemonSet", "controller": true}]}}),
    );
    fake.merge_pod("shop", "done", &json!({"status": {"phase": "Succeeded"}}));
    let (api, _wake) = start(&fake).await;
    let look = || async { undrained(&api, &"w-1".into(), &shutdown(), Duration::from_secs(20)).await };
    assert_eq!(look().await.unwrap(), ["shop/web"]);
    assert!(!fake.asked("GET", "spec.nodeName%3Dw-1").is_empty());
    assert!(fake.asked("GET", "spec.nodeName%3Dw-1&resourceVersion").is_empty());
    fake.remove_pod("shop", "web");
    assert!(look().await.unwrap().is_empty());

    fake.set("cp-1", Health::Frozen);
    let error = look().await.unwrap_err();
    assert_eq!(error.to_string(), "list the pods on w-1");
}

#[tokio::test(start_paused = true)]
async fn the_last_look_without_any_server_is_an_error_and_never_an_empty_node() {
    let fake = Fake::new(&["cp-1"]);
    fake.set("cp-1", Health::Dead);
    let (api, _wake) = begin(&fake);
    assert!(undrained(&api, &"w-1".into(), &shutdown(), Duration::from_secs(5)).await.is_err());
}

//! What a snapshot shows, how old it says it is, and what wakes the loop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hecate::clients::kubernetes::{KubeconfigSource, Requests};
use hecate::model::{FailureKind, Reading};
use hecate::observe::kubernetes::{Api, Settings};
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::fake::{ATTACHMENTS, Fake, Health, LEASES, NODES, VOLUMES};
use super::{begin, start, until, why};

fn lease(fake: &Fake, node: &str, second: u32) {
    fake.put(LEASES, node, json!({"metadata": {"name": node, "uid": node}, "spec": {"renewTime": format!("2026-11-22T19:12:{second:02}.000000Z")}}));
}

/// Lets everything that was already under way wake the loop.
async fn settle(wake: &Notify) {
    while timeout(Duration::from_millis(100), wake.notified()).await.is_ok() {}
}

async fn is_woken(wake: &Notify) -> bool {
    timeout(Duration::from_millis(500), wake.notified()).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn nothing_is_known_before_the_first_list_and_the_reason_is_named() {
    let fake = Fake::new(&["cp-1", "cp-2"]);
    fake.set("cp-1", Health::Dead);
    fake.set("cp-2", Health::NotReady);
    let (api, _wake) = begin(&fake);
    assert_eq!(api.snapshot().nodes.failure().unwrap().kind, FailureKind::NotYet);
    until(&api, |seen| why(&seen.pods).contains("no API server is ready")).await;
    let seen = api.snapshot();
    assert!(why(&seen.pods).contains("etcd"), "{}", why(&seen.pods));
    assert_eq!(seen.servers[&"cp-1".into()].failure().unwrap().kind, FailureKind::Unreachable);
    let second = seen.servers[&"cp-2".into()].value().unwrap();
    assert!(!second.is_ready && second.failed_checks.contains("etcd"));

    fake.set("cp-2", Health::Ready);
    until(&api, |seen| seen.pods.value().is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn a_frozen_server_delays_nobody() {
    let fake = Fake::new(&["cp-1", "cp-2"]);
    fake.set("cp-1", Health::Frozen);
    let began = Instant::now();
    let (api, _wake) = begin(&fake);
    until(&api, |seen| seen.nodes.value().is_some()).await;
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
    assert_eq!(api.snapshot().servers[&"cp-1".into()].failure().unwrap().kind, FailureKind::NotYet);
    until(&api, |seen| seen.servers[&"cp-1".into()].failure().is_some_and(|why| why.kind == FailureKind::TimedOut))
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_quiet_cluster_is_listed_once_and_never_again() {
    let fake = Fake::new(&["cp-1", "cp-2"]);
    fake.node("w-1");
    fake.pod("w-1", "shop", "web", "u-1");
    let (api, _wake) = start(&fake).await;
    api.set_busy(false);
    let before = api.requests();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let after = api.requests();
    assert_eq!(after["list"], before["list"]);
    // Four watches of 35 s here (a real server ends them after 30 s), two servers probed each 30 s.
    let a_minute = |kind: &str| (after[kind] - before[kind]) / 60;
    assert!(a_minute("watch") <= 8, "{after:?}");
    assert!(a_minute("readyz") <= 4, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn only_what_rules_read_wakes_the_loop() {
    let fake = Fake::new(&["cp-1"]);
    fake.node("w-1");
    fake.pod("w-1", "shop", "web", "u-1");
    lease(&fake, "w-1", 1);
    let (api, wake) = start(&fake).await;
    settle(&wake).await;

    fake.merge_pod("shop", "web", &json!({"status": {"podIP": "10.42.0.9"}}));
    fake.merge(NODES, "w-1", &json!({"status": {"images": []}}));
    assert!(!is_woken(&wake).await);
    // The first renewal tells that the node lives; further ones tell nothing new.
    lease(&fake, "w-1", 11);
    assert!(is_woken(&wake).await);
    lease(&fake, "w-1", 21);
    assert!(!is_woken(&wake).await);

    fake.merge(NODES, "w-1", &json!({"spec": {"unschedulable": true}}));
    assert!(is_woken(&wake).await);
    fake.remove_pod("shop", "web");
    assert!(is_woken(&wake).await);
    assert!(api.snapshot().pods.value().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refresh_wakes_the_loop_though_nothing_has_changed() {
    let fake = Fake::new(&["cp-1"]);
    let (api, wake) = start(&fake).await;
    settle(&wake).await;
    let before = api.snapshot().nodes.began();
    api.refresh();
    assert!(is_woken(&wake).await);
    assert!(api.snapshot().nodes.began() > before);
}

#[tokio::test(start_paused = true)]
async fn a_leases_first_sight_is_no_change_and_a_step_back_in_time_is_none_either() {
    let fake = Fake::new(&["cp-1"]);
    fake.node("w-1");
    lease(&fake, "w-1", 20);
    let (api, wake) = start(&fake).await;
    settle(&wake).await;
    let changed = || api.snapshot().nodes.value().unwrap()[&"w-1".into()].lease_changed;
    assert_eq!(changed(), None);
    lease(&fake, "w-1", 5);
    settle(&wake).await;
    assert_eq!(changed(), None);
    lease(&fake, "w-1", 15);
    settle(&wake).await;
    assert!(changed().is_some());
}

#[tokio::test(start_paused = true)]
async fn after_a_fail_over_the_old_picture_stays_until_the_new_one_is_whole() {
    let fake = Fake::new(&["cp-1", "cp-2"]);
    fake.node("w-1");
    fake.pod("w-1", "shop", "web", "u-1");
    let (api, _wake) = start(&fake).await;
    fake.set("cp-1", Health::Dead);
    fake.pod("w-1", "shop", "web-2", "u-2");
    let began = Instant::now();
    let mut news = api.news();
    while api.snapshot().pods.value().unwrap()[&"w-1".into()].len() == 1 {
        news.changed().await.unwrap();
        assert!(api.snapshot().nodes.value().is_some(), "never Unknown again");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(fake.asked_of("cp-2") > 0);
}

#[tokio::test(start_paused = true)]
async fn without_any_server_the_picture_stays_and_its_age_stands_still() {
    let fake = Fake::new(&["cp-1", "cp-2"]);
    fake.node("w-1");
    let (api, _wake) = start(&fake).await;
    fake.set("cp-1", Health::Dead);
    fake.set("cp-2", Health::Dead);
    until(&api, |seen| seen.servers.values().all(|server| server.failure().is_some())).await;
    let at = api.snapshot().nodes.began();
    tokio::time::sleep(Duration::from_secs(300)).await;
    let seen = api.snapshot();
    assert_eq!(seen.nodes.began(), at);
    assert!(seen.nodes.value().is_some());
    let asked = fake.asked_of("cp-1") + fake.asked_of("cp-2");
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(fake.asked_of("cp-1") + fake.asked_of("cp-2"), asked, "a dark cluster is only probed");
    fake.set("cp-2", Health::Ready);
    until(&api, |seen| seen.nodes.began() > at).await;
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_forgets_everything_and_lists_anew() {
    let fake = Fake::new(&["cp-1"]);
    fake.node("w-1");
    let (api, _wake) = start(&fake).await;
    let before = api.requests()["list"];
    api.rebuild();
    until(&api, |seen| seen.nodes.value().is_some() && api.requests()["list"] == before + 4).await;
}

#[tokio::test(start_paused = true)]
async fn an_attachment_knows_the_namespace_of_its_claim() {
    let fake = Fake::new(&["cp-1"]);
    fake.put(
        VOLUMES,
        "pvc-1",
        json!({"metadata": {"name": "pvc-1", "uid": "v"}, "spec": {"claimRef": {"namespace": "shop"}}}),
    );
    for (name, volume) in [("csi-1", "pvc-1"), ("csi-2", "pvc-gone")] {
        fake.put(ATTACHMENTS, name, json!({"metadata": {"name": name, "uid": name}, "spec": {"nodeName": "w-1", "source": {"persistentVolumeName": volume}}, "status": {"attached": true}}));
    }
    let (api, _wake) = start(&fake).await;
    until(&api, |seen| seen.attachments.value().is_some_and(|all| all[0].namespace.is_some())).await;
    let seen = api.snapshot();
    let all = seen.attachments.value().unwrap();
    assert_eq!((all[0].namespace.as_deref(), all[1].namespace.as_deref()), (Some("shop"), None));
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(api.requests()["get"], 2, "each volume is read once");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_of_an_unchanged_cluster_copies_nothing() {
    let fake = Fake::new(&["cp-1"]);
    fake.node("w-1");
    fake.pod("w-1", "shop", "web", "u-1");
    let (api, _wake) = start(&fake).await;
    let (Reading::Known { value: first, .. }, Reading::Known { value: second, .. }) =
        (api.snapshot().pods, api.snapshot().pods)
    else {
        panic!("listed")
    };
    assert!(Arc::ptr_eq(&first, &second));
}

#[tokio::test(start_paused = true)]
async fn a_kubeconfig_may_appear_late() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kubeconfig");
    let source = KubeconfigSource {
        path: path.clone(),
        hosts: BTreeMap::from([("cp-1".into(), "127.0.0.1".to_owned())]),
        requests: Requests::default(),
    };
    let second = Duration::from_secs(1);
    let settings = Settings { control_planes: ["cp-1".into()].into(), busy_interval: second, idle_interval: second };
    let api = Api::start_with(Arc::new(source), settings, Requests::default(), Arc::new(Notify::new()));
    until(&api, |seen| why(&seen.nodes).contains("kubeconfig")).await;
    assert!(why(&api.snapshot().servers[&"cp-1".into()]).contains("No such file"));

    // Nothing listens on port 1.
    std::fs::write(&path, "{apiVersion: v1, kind: Config, current-context: a, contexts: [{name: a, context: {cluster: a, user: a}}], clusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}], users: [{name: a, user: {}}]}").unwrap();
    until(&api, |seen| why(&seen.servers[&"cp-1".into()]).starts_with("cp-1 ")).await;
}

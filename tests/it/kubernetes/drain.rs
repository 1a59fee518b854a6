//! Drains: every answer an eviction can have, and servers that die under it.

use std::time::Duration;

use hecate::act::kubernetes::drain;
use hecate::plan::step::{Outcome, PodRef};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::fake::{Fake, Health};
use super::{LONG, start};

const GRACE: Duration = Duration::from_secs(20);

fn pods(names: &[(&str, &str)]) -> Vec<PodRef> {
    let pod =
        |(name, uid): &(&str, &str)| PodRef { namespace: "shop".into(), name: (*name).into(), uid: (*uid).into() };
    names.iter().map(pod).collect()
}

fn budget(retry_after: u32) -> Value {
    json!({"kind": "Status", "code": 429, "reason": "TooManyRequests", "message": "Cannot evict pod",
        "details": {"causes": [{"reason": "DisruptionBudget"}], "retryAfterSeconds": retry_after}})
}

/// A cluster with one pod, whose evictions are answered so.
fn one_pod(answers: &[Value]) -> Fake {
    let fake = Fake::new(&["cp-1", "cp-2"]);
    fake.pod("w-1", "shop", "web", "u-1");
    fake.refuse("shop", "web", answers);
    fake
}

/// Drains that pod; returns how it ended and how long it took.
async fn drain_one(fake: &Fake, limit: Duration) -> (Outcome, Duration) {
    let (api, _wake) = start(fake).await;
    let began = Instant::now();
    let outcome = drain(&api, &"w-1".into(), &pods(&[("web", "u-1")]), GRACE, limit).await;
    (outcome, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn all_pods_are_evicted_at_once_and_cost_one_request_each() {
    let fake = Fake::new(&["cp-1"]);
    let names: Vec<(String, String)> = (0..150).map(|n| (format!("web-{n}"), format!("u-{n}"))).collect();
    for (name, uid) in &names {
        fake.pod("w-1", "shop", name, uid);
    }
    let (api, _wake) = start(&fake).await;
    let before = api.requests();
    let names: Vec<(&str, &str)> = names.iter().map(|(name, uid)| (name.as_str(), uid.as_str())).collect();
    let began = Instant::now();
    assert_eq!(drain(&api, &"w-1".into(), &pods(&names), GRACE, LONG).await, Outcome::Tried);
    assert_eq!(began.elapsed(), Duration::from_secs(1), "the pods' own grace and nothing else");
    assert!(fake.uids().is_empty());
    let after = api.requests();
    assert_eq!(after["create_subresource"], 150);
    assert_eq!((after["list"], after["watch"], after.get("get")), (before["list"], before["watch"], None));
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_allows_nothing_is_waited_for_and_then_the_pod_is_deleted_with_its_grace() {
    let fake = one_pod(&[budget(0)]);
    let (outcome, took) = drain_one(&fake, LONG).await;
    assert_eq!(outcome, Outcome::Tried);
    assert!((21..=23).contains(&took.as_secs()), "{took:?}");
    let deletions = fake.asked("DELETE", "/pods/web");
    assert_eq!(deletions.len(), 1);
    assert_eq!(deletions[0]["preconditions"]["uid"], "u-1");
    assert!(deletions[0]["gracePeriodSeconds"].is_null());
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_is_still_being_looked_at_is_asked_again_before_its_ten_seconds() {
    let fake = one_pod(&[budget(10), budget(10), Value::Null]);
    let (outcome, took) = drain_one(&fake, LONG).await;
    assert_eq!(outcome, Outcome::Tried);
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(fake.asked("POST", "/eviction").len(), 3);
    assert!(fake.asked("DELETE", "").is_empty());
}

#[tokio::test(start_paused = true)]
async fn two_budgets_on_a_pod_end_in_a_deletion() {
    let fake = one_pod(&[json!({"kind": "Status", "code": 500, "message": "more than one PodDisruptionBudget"})]);
    assert_eq!(drain_one(&fake, LONG).await.0, Outcome::Tried);
    assert_eq!(fake.asked("DELETE", "/pods/web").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn throttling_is_never_a_reason_to_delete() {
    let throttled = json!({"kind": "Status", "code": 429, "details": {"retryAfterSeconds": 1}});
    let fake = one_pod(&vec![throttled; 40].into_iter().chain([Value::Null]).collect::<Vec<_>>());
    let (outcome, took) = drain_one(&fake, LONG).await;
    assert_eq!(outcome, Outcome::Tried);
    assert!(took > GRACE, "{took:?}");
    assert!(fake.asked("DELETE", "").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_gone_needs_no_waiting() {
    let fake = Fake::new(&["cp-1"]);
    fake.pod("w-1", "shop", "web", "u-1");
    let (api, _wake) = start(&fake).await;
    fake.set("cp-1", Health::Ready);
    fake.remove_pod("shop", "web");
    assert_eq!(
        drain(&api, &"w-1".into(), &pods(&[("web", "u-1"), ("other", "u-9")]), GRACE, LONG).await,
        Outcome::Tried
    );
    assert!(fake.asked("DELETE", "").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pod_made_anew_under_the_same_name_is_left_alone() {
    let fake = one_pod(&[budget(0)]);
    let (api, _wake) = start(&fake).await;
    let names = pods(&[("web", "u-1")]);
    let node = "w-1".into();
    let draining = drain(&api, &node, &names, GRACE, LONG);
    let replaced = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        fake.remove_pod("shop", "web");
        fake.pod("w-1", "shop", "web", "u-2");
        fake.refuse("shop", "web", &[]);
    };
    let (outcome, ()) = tokio::join!(draining, replaced);
    assert_eq!(outcome, Outcome::Tried);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(fake.uids(), ["u-2"]);
    assert!(fake.asked("DELETE", "").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_uid_that_no_longer_fits_counts_as_gone_though_the_watch_is_late() {
    let fake = Fake::new(&["cp-1"]);
    fake.pod("w-1", "shop", "web", "u-1");
    let (api, _wake) = start(&fake).await;
    // The watch hears nothing of the replacement.
    fake.set("cp-1", Health::Frozen);
    fake.remove_pod("shop", "web");
    fake.pod("w-1", "shop", "web", "u-2");
    fake.set("cp-1", Health::Ready);
    assert_eq!(drain(&api, &"w-1".into(), &pods(&[("web", "u-1")]), GRACE, LONG).await, Outcome::Tried);
    assert_eq!(fake.uids(), ["u-2"]);
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_that_never_ends_ends_with_the_limit_and_is_named() {
    let fake = one_pod(&[]);
    fake.merge_pod("shop", "web", &json!({"metadata": {"finalizers": ["example.com/never"]}}));
    let (outcome, took) = drain_one(&fake, Duration::from_secs(90)).await;
    assert_eq!(took, Duration::from_secs(90));
    let why = "1 pod is left on w-1: shop/web (still terminating)".to_owned();
    assert_eq!(outcome, Outcome::Failed { why });
    assert_eq!(fake.asked("POST", "/eviction").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_right_that_is_missing_is_named_and_nothing_is_deleted() {
    let fake = one_pod(&[json!({"kind": "Status", "code": 403, "message": "may not create pods/eviction"})]);
    let (outcome, _) = drain_one(&fake, Duration::from_secs(60)).await;
    let Outcome::Failed { why } = outcome else { panic!("{outcome:?}") };
    assert!(why.contains("shop/web") && why.contains("may not create pods/eviction"), "{why}");
    assert!(fake.asked("DELETE", "").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_going_away_takes_its_pods_with_it() {
    let fake =
        one_pod(&[json!({"kind": "Status", "code": 403, "details": {"causes": [{"reason": "NamespaceTerminating"}]}})]);
    let (api, _wake) = start(&fake).await;
    let names = pods(&[("web", "u-1")]);
    let node = "w-1".into();
    let draining = drain(&api, &node, &names, GRACE, LONG);
    let ending = async {
        tokio::time::sleep(Duration::from_secs(40)).await;
        fake.remove_pod("shop", "web");
    };
    let (outcome, ()) = tokio::join!(draining, ending);
    assert_eq!(outcome, Outcome::Tried);
    assert_eq!((fake.asked("POST", "/eviction").len(), fake.asked("DELETE", "").len()), (1, 0));
}

/// Drains 20 pods that take 30 s, and lets the watched server fail after 5 s.
async fn drain_while_the_server_becomes(health: Health) -> Duration {
    let fake = Fake::new(&["cp-1", "cp-2"]);
    let names: Vec<(String, String)> = (0..20).map(|n| (format!("web-{n}"), format!("u-{n}"))).collect();
    for (name, uid) in &names {
        fake.pod("w-1", "shop", name, uid);
        fake.merge_pod("shop", name, &json!({"spec": {"terminationGracePeriodSeconds": 30}}));
    }
    let (api, _wake) = start(&fake).await;
    assert_eq!(fake.asked_of("cp-2"), 0);
    let names: Vec<(&str, &str)> = names.iter().map(|(name, uid)| (name.as_str(), uid.as_str())).collect();
    fake.refuse("shop", "web-7", &[budget(0)]);
    let (node, names) = ("w-1".into(), pods(&names));
    let began = Instant::now();
    let failing = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        fake.set("cp-1", health);
    };
    let (outcome, ()) = tokio::join!(drain(&api, &node, &names, GRACE, LONG), failing);
    assert_eq!(outcome, Outcome::Tried);
    assert!(fake.uids().is_empty());
    assert!(fake.asked_of("cp-2") > 0);
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_server_that_dies_in_the_middle_costs_a_drain_nothing() {
    let took = drain_while_the_server_becomes(Health::Dead).await;
    // The budget's 20 s, then the pod's own 30 s.
    assert!((50..=53).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_freezes_in_the_middle_costs_a_drain_one_probe() {
    let took = drain_while_the_server_becomes(Health::Frozen).await;
    assert!((50..=60).contains(&took.as_secs()), "{took:?}");
}

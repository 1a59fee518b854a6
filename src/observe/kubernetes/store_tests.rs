//! The age of what is kept, and what counts as news.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn node(is_ready: bool) -> NodeObject {
    NodeObject {
        is_ready,
        lease_changed: None,
        lease_renewed: None,
        boot_id: None,
        machine_id: None,
        is_cordoned: false,
        cordoned_by: None,
    }
}

fn ready(store: &mut Store, at: u32) {
    let reading = Reading::known(ApiServer { is_ready: true, failed_checks: BTreeSet::new() }, SECOND * at);
    let health = Health { reading, failures: 0, last_ready: Some(SECOND * at) };
    store.health.insert(Server::Kubeconfig, health);
}

/// A store whose nodes were listed at 10 s on a server last ready at 5 s.
fn listed() -> (Store, u64) {
    let mut store = Store::new(BTreeSet::new());
    let generation = store.end_watch(Some(Server::Kubeconfig), SECOND);
    ready(&mut store, 5);
    store.take::<NodeObject>(generation, Change::Restarted, SECOND * 10);
    store.take(generation, Change::Paged("w-1".into(), Some(node(true))), SECOND * 11);
    assert!(store.take::<NodeObject>(generation, Change::Listed, SECOND * 12));
    (store, generation)
}

fn began(store: &mut Store, now: u32) -> u64 {
    store.snapshot(SECOND * now).nodes.began().as_secs()
}

#[test]
fn a_reading_is_as_old_as_its_list_or_the_last_readyz_of_its_server() {
    let (mut store, _) = listed();
    assert_eq!(began(&mut store, 20), 10);
    ready(&mut store, 30);
    assert_eq!(began(&mut store, 31), 30);
}

#[test]
fn the_age_of_a_lost_watch_stands_still_until_the_next_list() {
    let (mut store, before) = listed();
    ready(&mut store, 30);
    let generation = store.end_watch(Some(Server::Kubeconfig), SECOND * 31);
    ready(&mut store, 40);
    assert_eq!(began(&mut store, 41), 30);
    assert!(!store.take(before, Change::Applied("w-2".into(), Some(node(true))), SECOND * 42), "of the old watch");
    store.take::<NodeObject>(generation, Change::Restarted, SECOND * 43);
    assert_eq!(began(&mut store, 44), 30);
    assert!(store.take::<NodeObject>(generation, Change::Listed, SECOND * 45), "whole again, and w-1 is gone");
    assert_eq!(began(&mut store, 46), 43);
    assert!(store.snapshot(SECOND * 46).nodes.value().unwrap().is_empty());
}

#[test]
fn a_watch_that_keeps_failing_grows_old_though_its_server_is_ready() {
    let (mut store, generation) = listed();
    let denied = || Failure::new(FailureKind::AccessDenied, "no");
    store.fail::<NodeObject>(generation, denied(), SECOND * 20);
    ready(&mut store, 30);
    store.fail::<NodeObject>(generation, denied(), SECOND * 32);
    assert_eq!(began(&mut store, 33), 20);
    // Long after the last failure it counts as healed: kube's watcher would have failed again.
    assert_eq!(began(&mut store, 60), 30);
}

#[test]
fn what_was_never_listed_says_what_its_watch_said() {
    let mut store = Store::new(BTreeSet::new());
    let generation = store.end_watch(Some(Server::Kubeconfig), SECOND);
    store.fail::<PodFacts>(generation, Failure::new(FailureKind::AccessDenied, "pods are forbidden"), SECOND * 2);
    let seen = store.snapshot(SECOND * 3);
    assert_eq!(seen.pods.failure().unwrap().detail, "pods are forbidden");
    assert_eq!(seen.nodes.failure().unwrap().kind, FailureKind::NotYet);
}

#[test]
fn a_relist_that_finds_the_same_is_no_news() {
    let (mut store, generation) = listed();
    store.take::<NodeObject>(generation, Change::Restarted, SECOND * 20);
    store.take(generation, Change::Paged("w-1".into(), Some(node(true))), SECOND * 20);
    assert!(!store.take::<NodeObject>(generation, Change::Listed, SECOND * 20));
    assert!(!store.take(generation, Change::Applied("w-1".into(), Some(node(true))), SECOND * 21));
    assert!(store.take(generation, Change::Applied("w-1".into(), Some(node(false))), SECOND * 21));
    assert!(store.take::<NodeObject>(generation, Change::Deleted("w-1".into()), SECOND * 22));
}

#[test]
fn a_lease_that_moves_on_after_a_gap_is_news() {
    let mut store = Store::new(BTreeSet::new());
    let lease = |second: i64| LeaseFacts { renewed: jiff::Timestamp::from_second(second).ok(), changed: None };
    let mut renew =
        |second: i64, now: u32| store.take(0, Change::Applied("w-1".into(), Some(lease(second))), SECOND * now);
    assert!(!renew(100, 1), "first sight");
    assert!(renew(110, 11));
    assert!(!renew(120, 21));
    assert!(renew(200, 101));
    assert!(!renew(150, 111), "older than what was seen");
}

#[test]
fn a_pod_that_was_never_listed_is_not_taken_for_gone() {
    let mut store = Store::new(BTreeSet::new());
    let pods = [PodRef { namespace: "shop".into(), name: "web".into(), uid: "u-1".into() }];
    assert_eq!(store.pods_left(&pods).len(), 1);
    store.take::<PodFacts>(0, Change::Restarted, SECOND);
    assert_eq!(store.pods_left(&pods).len(), 1);
    store.take::<PodFacts>(0, Change::Listed, SECOND);
    assert_eq!(store.pods_left(&pods).len(), 0);
}

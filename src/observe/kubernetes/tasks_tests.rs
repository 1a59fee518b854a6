//! Reading `/readyz`, and the choice of the server to watch.

use super::*;

fn health(is_ready: bool, failures: u32) -> Health {
    let checks = if is_ready { BTreeSet::new() } else { BTreeSet::from(["etcd".to_owned()]) };
    let reading = Reading::known(ApiServer { is_ready, failed_checks: checks }, Duration::ZERO);
    Health { reading, failures, last_ready: None }
}

fn silent(failures: u32) -> Health {
    Health { reading: Reading::unknown(FailureKind::TimedOut, "silent", Duration::ZERO), failures, last_ready: None }
}

fn server(name: &str) -> Server {
    Server::Node(name.into())
}

/// The choice among `a` (preferred) and `b`.
fn chosen(watched: Option<&str>, a: Health, b: Health) -> Option<Server> {
    let health = BTreeMap::from([(server("a"), a), (server("b"), b)]);
    choose(watched.map(server).as_ref(), &server("a"), &health)
}

#[test]
fn the_kubeconfigs_server_is_preferred_and_any_ready_one_will_do() {
    assert_eq!(chosen(None, health(true, 0), health(true, 0)), Some(server("a")));
    assert_eq!(chosen(None, silent(1), health(true, 0)), Some(server("b")));
    assert_eq!(chosen(None, silent(1), health(false, 1)), None);
}

#[test]
fn a_watch_moves_only_after_two_failures_and_does_not_move_back() {
    assert_eq!(chosen(Some("a"), silent(1), health(true, 0)), Some(server("a")));
    assert_eq!(chosen(Some("a"), silent(2), health(true, 0)), Some(server("b")));
    assert_eq!(chosen(Some("a"), health(false, 2), health(true, 0)), Some(server("b")));
    assert_eq!(chosen(Some("b"), health(true, 0), health(true, 0)), Some(server("b")));
}

#[test]
fn a_server_that_still_answers_is_watched_on_while_no_other_is_ready() {
    assert_eq!(chosen(Some("a"), health(false, 9), silent(9)), Some(server("a")));
    assert_eq!(chosen(Some("a"), silent(2), silent(9)), None);
}

#[test]
fn readyz_names_the_checks_that_failed() {
    let text = "[+]ping ok\n[-]etcd failed: reason withheld\n[-]informer-sync failed: 1 informers not started yet\nreadyz check failed\n";
    let answer = api_server(500, text);
    assert!(!answer.is_ready);
    assert_eq!(answer.failed_checks, BTreeSet::from(["etcd".to_owned(), "informer-sync".to_owned()]));
    assert_eq!(api_server(503, "apiserver not ready\n").failed_checks, BTreeSet::from(["http-503".to_owned()]));
    assert_eq!(api_server(200, "[+]ping ok\n").failed_checks, BTreeSet::new());
}

#[test]
fn pauses_between_watches_stay_short() {
    let mut backoff = CappedBackoff::default();
    let pauses: Vec<u64> = backoff.by_ref().take(4).map(|pause| pause.as_secs()).collect();
    assert_eq!(pauses, [1, 2, 2, 2]);
    backoff.reset();
    assert_eq!(backoff.next(), Some(Duration::from_secs(1)));
}

//! `startup` and `shutdown` beside an actor: this test plays the daemon.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use hecate::desired::Declared;
use hecate::model::ClusterState;
use hecate::status::Status;
use hecate::store::{ActorKind, DeclaredFile, Store};

use super::{Host, Ran};
use crate::samples::{blocked, healthy, published_now, spec, ups_override};

/// Waits until the command has written its wish.
fn wish(store: &Store, reason: &str) -> Declared {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        if let DeclaredFile::Good(declared) = store.read_declared()
            && declared.spec.reason == reason
        {
            return declared;
        }
        std::thread::yield_now();
    }
    panic!("the command never wrote its wish");
}

fn spawn(host: &Host, arguments: &[&str]) -> Child {
    host.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn publish(host: &Host, status: Status, declared: &Declared, pass: u64) {
    let status = Status { declared: declared.clone(), ..status };
    host.store.write_status(&published_now(status, pass)).unwrap();
}

#[test]
fn startup_follows_the_daemon_until_it_converges_on_this_wish() {
    let (host, _lock) = Host::with_daemon(healthy());
    host.configure();
    let child = spawn(&host, &["startup", "--execute", "--reason", "spring"]);
    let declared = wish(&host.store, "spring");
    // A pass of the old wish says converged; only the new one counts.
    publish(&host, healthy(), &healthy().declared, 2);
    publish(&host, Status { is_converged: false, ..healthy() }, &declared, 3);
    publish(&host, healthy(), &declared, 4);
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.starts_with("converged: running\n"), "{}", ran.out);
    assert!(ran.err.contains("following it"), "{}", ran.err);
}

#[test]
fn startup_ends_with_11_when_nothing_can_go_on() {
    let (host, _lock) = Host::with_daemon(healthy());
    host.configure();
    let child = spawn(&host, &["startup", "--execute", "--reason", "spring"]);
    let declared = wish(&host.store, "spring");
    publish(&host, blocked(), &declared, 2);
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(11), "{ran:?}");
    assert!(ran.out.contains("wrong-host: the host at the address of titan-22"), "{}", ran.out);
    assert!(ran.out.contains("hint: check the address of titan-22"), "{}", ran.out);
}

#[test]
fn a_newer_wish_ends_the_following_of_the_older() {
    let (host, _lock) = Host::with_daemon(healthy());
    host.configure();
    let child = spawn(&host, &["shutdown", "--execute", "--reason", "autumn"]);
    let mut declared = wish(&host.store, "autumn");
    assert_eq!(declared.spec.state, ClusterState::DrainedOff);
    declared.spec.set_at += jiff::SignedDuration::from_secs(1);
    publish(&host, healthy(), &declared, 2);
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(10), "{ran:?}");
    assert!(ran.err.contains("another wish took the place"), "{}", ran.err);
}

#[test]
fn startup_is_refused_by_name_while_an_override_stands() {
    let host = Host::new();
    host.configure();
    host.store.set_spec(spec(ClusterState::Running, "before")).unwrap();
    host.store.set_override(ups_override("pyrphoros")).unwrap();
    let ran = host.run(&["startup", "--execute"]);
    assert_eq!(ran.code, Some(11), "{ran:?}");
    assert!(ran.err.contains("ups-policy/pyrphoros demands poweroff (emergency)"), "{}", ran.err);
    assert_eq!(wish(&host.store, "before").overrides.len(), 1);
}

#[test]
fn a_second_foreground_command_is_refused_by_name() {
    let host = Host::new();
    host.configure();
    let _lock = host.store.lock_actor(ActorKind::Foreground).unwrap();
    let ran = host.run(&["shutdown", "--execute"]);
    assert_eq!(ran.code, Some(11), "{ran:?}");
    assert!(ran.err.contains("a hecate command in the foreground (pid "), "{}", ran.err);
}

#[test]
fn a_second_daemon_is_refused_by_name() {
    let (host, _lock) = Host::with_daemon(healthy());
    host.configure();
    let ran = host.run(&["daemon"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("hecate.lock: a hecate daemon (pid "), "{}", ran.err);
}

#[test]
fn watching_without_a_daemon_exits_12() {
    let host = Host::new();
    let ran = host.run(&["status", "--watch"]);
    assert_eq!(ran.code, Some(12), "{ran:?}");
}

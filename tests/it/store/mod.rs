//! The state directory: what survives which accident.

mod broken_disk;
mod cuts;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use hecate::desired::{Declared, Held};
use hecate::ledger::Ledger;
use hecate::model::ClusterState;
use hecate::store::{ActorKind, DeclaredFile, LedgerFile, Store, StoreError};
use tempfile::TempDir;

use crate::samples::{hold, spec, ups_override};

fn open() -> (TempDir, Store) {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let store = Store::new(folder.path().join("state"), folder.path().join("run"));
    store.prepare().expect("both folders can be made");
    (folder, store)
}

fn declared(store: &Store) -> Declared {
    match store.read_declared() {
        DeclaredFile::Good(declared) => declared,
        other @ (DeclaredFile::Missing { .. } | DeclaredFile::Unreadable { .. }) => panic!("desired.yaml is {other:?}"),
    }
}

fn unreadable(store: &Store) -> String {
    match store.read_declared() {
        DeclaredFile::Unreadable { why } => why,
        other @ (DeclaredFile::Missing { .. } | DeclaredFile::Good(_)) => panic!("desired.yaml is {other:?}"),
    }
}

#[test]
fn each_change_keeps_the_other_parts_and_the_previous_version() {
    let (_folder, store) = open();
    store.set_spec(spec(ClusterState::Running, "first")).unwrap();
    store.set_override(ups_override("pyrphoros")).unwrap();
    store.set_hold(hold("titan-22")).unwrap();
    store.set_spec(spec(ClusterState::DrainedOff, "second")).unwrap();

    let now = declared(&store);
    assert_eq!(now.spec.reason, "second");
    assert_eq!(now.overrides, [ups_override("pyrphoros")]);
    assert_eq!(now.holds, [hold("titan-22")]);

    let previous = std::fs::read_to_string(store.state_dir().join("desired.yaml.previous")).unwrap();
    assert!(previous.contains("reason: first"), "{previous}");
    let mode = std::fs::metadata(store.desired_path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn an_override_is_one_a_source_and_goes_when_cleared() {
    let (_folder, store) = open();
    store.set_spec(spec(ClusterState::Running, "")).unwrap();
    store.set_override(ups_override("a")).unwrap();
    store.set_override(ups_override("a")).unwrap();
    store.set_override(ups_override("b")).unwrap();
    assert_eq!(declared(&store).overrides.len(), 2);
    assert!(store.clear_override("ups-policy/a").unwrap());
    assert!(!store.clear_override("ups-policy/a").unwrap());
    assert_eq!(declared(&store).overrides, [ups_override("b")]);
}

#[test]
fn a_hold_replaces_the_one_before_and_drops_expired_ones() {
    let (_folder, store) = open();
    store.set_spec(spec(ClusterState::Running, "")).unwrap();
    store.set_hold(hold("a")).unwrap();
    let mut later = hold("b");
    later.set_at = later.expires_at;
    later.expires_at = crate::samples::at("20:30:00");
    store.set_hold(later.clone()).unwrap();
    assert_eq!(declared(&store).holds, [later]);
    assert!(store.clear_hold(&Held::Node("b".into())).unwrap());
    assert!(declared(&store).holds.is_empty());
}

#[test]
fn a_missing_file_is_a_first_start_only_without_other_state() {
    let (_folder, store) = open();
    assert_eq!(store.read_declared(), DeclaredFile::Missing { other_state_exists: false });
    store.write_ledger(&Ledger::default()).unwrap();
    assert_eq!(store.read_declared(), DeclaredFile::Missing { other_state_exists: true });
    assert!(!store.create_declared(spec(ClusterState::Running, "first start")).unwrap());
}

#[test]
fn the_first_wish_never_replaces_an_operators() {
    let (_folder, store) = open();
    assert!(store.create_declared(spec(ClusterState::Running, "first start")).unwrap());
    store.set_spec(spec(ClusterState::DrainedOff, "mine")).unwrap();
    assert!(!store.create_declared(spec(ClusterState::Running, "first start")).unwrap());
    assert_eq!(declared(&store).spec.reason, "mine");
}

#[test]
fn a_first_wish_that_a_full_disk_refused_is_written_later() {
    let (_folder, store) = open();
    store.write_ledger(&Ledger::default()).unwrap();
    store.write_first_wish(spec(ClusterState::Running, "first start")).unwrap();
    assert_eq!(declared(&store).spec.reason, "first start");
    store.set_spec(spec(ClusterState::DrainedOff, "mine")).unwrap();
    store.write_first_wish(spec(ClusterState::Running, "first start")).unwrap();
    assert_eq!(declared(&store).spec.reason, "mine", "and never over an operator's");
}

#[test]
fn what_cannot_be_understood_is_unreadable_and_says_why() {
    let (_folder, store) = open();
    let good =
        "apiVersion: hecate/v1\nkind: DesiredState\nspec: {state: running, setBy: a, setAt: 2026-11-22T18:00:00Z}\n";
    let cases = [
        (good.replace("v1", "v2"), "apiVersion is \"hecate/v2\", this hecate knows \"hecate/v1\""),
        (good.replace("DesiredState", "Desire"), "kind is \"Desire\" instead of \"DesiredState\""),
        (good.replace("running", "runing"), "spec.state: unknown variant `runing`"),
        (format!("{good}overides: []\n"), "unknown field `overides`"),
        (good[..20].to_owned(), "missing field `kind`"),
        (String::new(), "missing field"),
        ("x".repeat(2 << 20), "longer than 1048576 bytes"),
    ];
    for (text, expected) in cases {
        std::fs::write(store.desired_path(), &text).unwrap();
        let why = unreadable(&store);
        assert!(why.contains(expected), "{why:?} instead of {expected:?}");
    }
}

#[test]
fn an_unreadable_file_refuses_overrides_and_yields_to_a_persons_word() {
    let (_folder, store) = open();
    store.set_spec(spec(ClusterState::Running, "first")).unwrap();
    store.set_override(ups_override("a")).unwrap();
    store.set_hold(hold("titan-22")).unwrap();
    std::fs::write(store.desired_path(), "half a fi").unwrap();

    assert!(matches!(store.set_override(ups_override("b")), Err(StoreError::Understand { .. })));
    assert!(matches!(store.set_hold(hold("b")), Err(StoreError::Understand { .. })));
    assert_eq!(std::fs::read_to_string(store.desired_path()).unwrap(), "half a fi");

    let outcome = store.set_spec(spec(ClusterState::DrainedOff, "repair")).unwrap();
    assert!(outcome.recovered_from_previous);
    let bad = outcome.bad_kept_as.expect("the bad file is kept");
    assert_eq!(std::fs::read_to_string(bad).unwrap(), "half a fi");
    let now = declared(&store);
    assert_eq!(now.spec.reason, "repair");
    assert_eq!(now.overrides, [ups_override("a")]);
}

#[test]
fn an_unreadable_ledger_is_reported_copied_and_never_replaced() {
    let (_folder, store) = open();
    assert_eq!(store.read_ledger(), LedgerFile::Missing);
    let path = store.state_dir().join("ledger.json");
    for (number, bad) in ["{", r#"{"version": 2}"#, r#"{"version": 1, "episode": 7}"#].iter().enumerate() {
        std::fs::write(&path, bad).unwrap();
        assert!(matches!(store.read_ledger(), LedgerFile::Unreadable { .. }), "{bad}");
        assert!(matches!(store.write_ledger(&Ledger::default()), Err(StoreError::LedgerKept { .. })));
        let copy = store.keep_bad_ledger().unwrap().expect("a new bad ledger is kept");
        assert!(copy.ends_with(format!("ledger.json.bad-{}", number + 1)), "{}", copy.display());
        assert_eq!(store.keep_bad_ledger().unwrap(), None);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), *bad);
    }
    for number in 0..10 {
        std::fs::write(&path, format!("bad {number}")).unwrap();
        store.keep_bad_ledger().unwrap();
    }
    let copies = std::fs::read_dir(store.state_dir()).unwrap();
    let copies = copies.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("bad-"));
    assert_eq!(copies.count(), 5);
}

#[test]
fn a_second_actor_is_told_who_the_first_is() {
    let (_folder, store) = open();
    assert_eq!(store.actor().unwrap(), None);
    let lock = store.lock_actor(ActorKind::Daemon).unwrap();
    let held_by = store.actor().unwrap().expect("the lock is held");
    assert_eq!((held_by.kind, held_by.pid), (Some(ActorKind::Daemon), Some(std::process::id())));
    match store.lock_actor(ActorKind::Foreground) {
        Err(failure @ StoreError::ActorHeld { .. }) => {
            let said = failure.to_string();
            assert!(said.ends_with(&format!("a hecate daemon (pid {}) holds it", std::process::id())), "{said}");
        }
        other => panic!("{other:?}"),
    }
    drop(lock);
    assert_eq!(store.actor().unwrap(), None);
    let _lock = store.lock_actor(ActorKind::Foreground).unwrap();
    assert_eq!(store.actor().unwrap().and_then(|held_by| held_by.kind), Some(ActorKind::Foreground));
}

#[test]
fn a_change_waits_for_another_one_only_so_long() {
    let (_folder, store) = open();
    store.set_spec(spec(ClusterState::Running, "")).unwrap();
    let other = std::fs::File::open(store.state_dir().join("desired.lock")).unwrap();
    other.lock().unwrap();
    let impatient = store.clone().waiting_for_changes(Duration::from_millis(20));
    assert!(matches!(impatient.set_override(ups_override("a")), Err(StoreError::LockBusy { .. })));
}

#[test]
fn threads_that_write_at_once_lose_no_part() {
    let (_folder, store) = open();
    store.set_spec(spec(ClusterState::Running, "0")).unwrap();
    let store = Arc::new(store.waiting_for_changes(Duration::from_secs(60)));
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let store = Arc::clone(&store);
            scope.spawn(move || {
                for round in 0..20 {
                    match writer {
                        0 => drop(store.set_spec(spec(ClusterState::DrainedOff, &round.to_string())).unwrap()),
                        1 => store.set_hold(hold(&format!("node-{round}"))).unwrap(),
                        _ => store.set_override(ups_override(&format!("{writer}-{round}"))).unwrap(),
                    }
                }
            });
        }
    });
    let now = declared(&store);
    assert_eq!(now.spec.reason, "19");
    assert_eq!(now.holds.len(), 20);
    assert_eq!(now.overrides.len(), 40);
}

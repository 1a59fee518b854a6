//! Commands that write: set-desired, pause, resume; what they refuse, and what they leave alone.

use std::process::Stdio;

use hecate::desired::{Declared, Held};
use hecate::model::ClusterState;
use hecate::store::{ActorKind, DeclaredFile, Store};
use jiff::SignedDuration;

use super::{Host, Ran, hecate};
use crate::samples::{hold, spec, ups_override};

fn declared(store: &Store) -> Declared {
    match store.read_declared() {
        DeclaredFile::Good(declared) => declared,
        other @ (DeclaredFile::Missing { .. } | DeclaredFile::Unreadable { .. }) => panic!("desired.yaml is {other:?}"),
    }
}

#[test]
fn set_desired_writes_the_wish_and_says_who_acts() {
    let host = Host::new();
    let ran = host.run(&["set-desired", "off", "--reason", "new fans", "--skip-drain"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "drained-off\n"), "{ran:?}");
    assert!(ran.err.contains("no daemon runs"), "{}", ran.err);
    let spec = declared(&host.store).spec;
    assert_eq!((spec.state, spec.reason.as_str()), (ClusterState::DrainedOff, "new fans"));
    assert!(spec.set_by.starts_with("root@") && spec.options.skip_drain);

    let _lock = host.store.lock_actor(ActorKind::Daemon).unwrap();
    let ran = host.run(&["set-desired", "running"]);
    assert!(ran.err.contains("a hecate daemon (pid "), "{}", ran.err);
}

#[test]
fn set_desired_leaves_overrides_and_holds_and_names_what_rules() {
    let host = Host::new();
    host.store.set_spec(spec(ClusterState::DrainedOff, "")).unwrap();
    host.store.set_override(ups_override("pyrphoros")).unwrap();
    host.store.set_hold(hold("titan-22")).unwrap();
    let ran = host.run(&["set-desired", "running"]);
    assert!(ran.err.contains("an override stands"), "{}", ran.err);
    let now = declared(&host.store);
    assert_eq!((now.overrides.len(), now.holds.len()), (1, 1));
}

#[test]
fn wrong_command_lines_exit_2_and_write_nothing() {
    let host = Host::new();
    let wrong: [(&[&str], &str); 9] = [
        (&["set-desired", "runing"], "invalid value 'runing'"),
        (&["set-desired", "running", "--skip-drain"], "belong to a shut-down"),
        (&["set-desired", "off", "--allow-on-battery"], "belong to running"),
        (&["set-desired", "off", "--skip-time-sync"], "--skip-time-sync belong to running"),
        (&["set-desired", "running", "--force-flux-branch", "main"], "--force-flux-branch is not built yet"),
        (&["startup", "--execute", "--force-flux-branch", "main"], "--force-flux-branch is not built yet"),
        (&["startup", "--execute", "--auto-peer-failover"], "--auto-peer-failover is not built yet"),
        (&["set-desired", "running", "--reason", "two\nlines"], "control characters"),
        (&["pause"], "--for <DURATION>"),
    ];
    for (arguments, said) in wrong {
        let ran = host.run(arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?}: {ran:?}");
        assert!(ran.err.contains(said), "{arguments:?}: {}", ran.err);
    }
    assert_eq!(host.store.read_declared(), DeclaredFile::Missing { other_state_exists: false });
}

#[test]
fn a_missing_configuration_exits_3_and_says_how_to_go_on() {
    let ran = Ran::of(hecate(&["set-desired", "running", "--config", "/nonexistent/hecate.yaml"]));
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.err.contains("read the configuration /nonexistent/hecate.yaml: No such file"), "{}", ran.err);
    assert!(ran.err.contains("hint: "), "{}", ran.err);
    assert_eq!(Ran::of(hecate(&["check", "--config", "/nonexistent/hecate.yaml"])).code, Some(3));
}

#[test]
fn a_folder_that_takes_no_file_exits_1_and_names_the_path() {
    // sysfs takes no new file, not even root's.
    let ran = Ran::of(hecate(&["set-desired", "running", "--state-dir", "/sys", "--config", "/nonexistent.yaml"]));
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{ran:?}");
    assert!(ran.err.contains("cannot set the desired state: lock /sys/desired.lock: "), "{}", ran.err);
}

#[test]
fn set_desired_repairs_an_unreadable_file_and_pause_does_not() {
    let host = Host::new();
    host.store.set_spec(spec(ClusterState::Running, "")).unwrap();
    std::fs::write(host.store.desired_path(), "spec: [").unwrap();
    let ran = host.run(&["pause", "--for", "1h"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.err.contains("cannot hold that: understand ") && ran.err.contains("hint: `hecate set-desired"),
        "{ran:?}"
    );
    assert_eq!(std::fs::read_to_string(host.store.desired_path()).unwrap(), "spec: [");

    let ran = host.run(&["set-desired", "poweroff"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.err.contains("kept as ") && ran.err.contains("desired.yaml.bad"), "{}", ran.err);
    assert_eq!(declared(&host.store).spec.state, ClusterState::Poweroff);
}

#[test]
fn a_pause_has_an_end_and_resume_ends_it_before() {
    let host = Host::new();
    host.store.set_spec(spec(ClusterState::Running, "")).unwrap();
    let ran = host.run(&["pause", "titan-22", "--for", "1h30m", "--reason", "new fan"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.starts_with("titan-22 is paused by root@") && ran.out.ends_with(": new fan\n"), "{}", ran.out);
    host.run(&["pause", "--for", "30m"]);
    let holds = declared(&host.store).holds;
    assert_eq!(holds[0].what, Held::Node("titan-22".into()));
    assert_eq!(holds[0].expires_at.duration_since(holds[0].set_at), SignedDuration::from_mins(90));
    assert_eq!(holds[1].what, Held::Cluster);

    assert_eq!(host.run(&["resume"]).out, "the cluster is no longer paused\n");
    assert_eq!(declared(&host.store).holds.len(), 1);
    let again = host.run(&["resume"]);
    assert_eq!((again.code, again.err.contains("the cluster was not paused")), (Some(0), true), "{again:?}");

    for wrong in ["0s", "721h", "soon", "-1h"] {
        assert_eq!(host.run(&["pause", &format!("--for={wrong}")]).code, Some(2), "{wrong}");
    }
}

#[test]
fn a_node_that_the_inventory_does_not_have_is_refused() {
    let host = Host::new();
    host.configure();
    host.store.set_spec(spec(ClusterState::Running, "")).unwrap();
    let ran = host.run(&["pause", "titan-99", "--for", "1h"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("no node titan-99") && ran.err.contains("the inventory has "), "{}", ran.err);
}

#[test]
fn two_processes_that_write_at_once_lose_neither_part() {
    let host = Host::new();
    host.store.set_spec(spec(ClusterState::Running, "")).unwrap();
    for round in 0..10 {
        let node = format!("node-{round}");
        let mut pause =
            host.command(&["pause", &node, "--for", "1h"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let reason = format!("round {round}");
        let mut set = host
            .command(&["set-desired", "off", "--reason", &reason])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        host.store.set_override(ups_override(&node)).unwrap();
        assert!(pause.wait().unwrap().success() && set.wait().unwrap().success());
        let now = declared(&host.store);
        assert_eq!((now.spec.reason, now.holds.len(), now.overrides.len()), (reason, round + 1, round + 1));
    }
}

#[test]
fn a_lying_ups_is_ignored_for_a_time_and_heeded_before() {
    let host = Host::new();
    host.store.set_spec(spec(ClusterState::Running, "")).unwrap();
    let ran = host.run(&["ups", "ignore", "pyrphoros", "--for", "2h", "--reason", "new battery"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(
        ran.out.starts_with("UPS pyrphoros is ignored by root@") && ran.out.ends_with(": new battery\n"),
        "{}",
        ran.out
    );
    assert_eq!(declared(&host.store).holds[0].what, Held::Ups("pyrphoros".into()));
    assert_eq!(host.run(&["ups", "heed", "pyrphoros"]).out, "UPS pyrphoros is no longer ignored\n");
    assert!(declared(&host.store).holds.is_empty());
    host.configure();
    let wrong = host.run(&["ups", "ignore", "pyrphorus", "--for", "2h"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert!(wrong.err.contains("no UPS pyrphorus is configured"), "{}", wrong.err);
}

//! The script that looks at a node, run by the local sh against stub commands, and what is read from it.

#![allow(clippy::unwrap_used, reason = "clippy only sees #[test] functions as tests, and these have helpers")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use hecate::model::Role;
use hecate::observe::nodes::probe::{Probe, SCRIPT, parse};
use hecate::snapshot::{Datastore, EtcdMember, UnitState};

const CAT: &str = r#"case $1 in
  /etc/machine-id) echo 0123456789abcdef0123456789abcdef ;;
  /proc/sys/kernel/random/boot_id) echo 01234567-89ab-cdef-0123-456789abcdef ;;
  /etc/rancher/*) echo "$K3S_SETTINGS" ;;
  *) exec /bin/cat "$@" ;;
esac"#;

const SYSTEMCTL: &str = r#"case "$*" in
  *ExecStart*) echo "ExecStart={ path=/usr/local/bin/k3s ; argv[]=/usr/local/bin/k3s server --token top-secret }" ;;
  *)
    printf 'Id=k3s.service\nLoadState=loaded\nActiveState=active\nSubState=running\n\n'
    printf 'Id=k3s-agent.service\nLoadState=not-found\nActiveState=inactive\nSubState=dead\n\n'
    printf 'Id=hecate-etcd-snapshot.service\nLoadState=not-found\nActiveState=inactive\nSubState=dead\n' ;;
esac"#;

const SUDO: &str = r#"echo "$*" >>"$STUBS/sudo.log"
case "$*" in
  '-n -l /usr/local/bin/k3s-killall.sh') exit 0 ;;
  '-n /usr/local/bin/k3s etcd-snapshot ls')
    echo 'Name Location Size Created'
    echo 'hecate-run-1-cp-1-17 file:///snapshots/hecate-run-1-cp-1-17 4096 2026-11-22T18:00:00Z'
    echo 'on-demand-cp-1-18 file:///snapshots/on-demand-cp-1-18 4096 2026-11-22T18:00:00Z' ;;
  *) exit 1 ;;
esac"#;

const CURL: &str = r#"case "$*" in
  *2381/metrics) printf '# HELP x\netcd_server_is_leader 1\netcd_server_has_leader 1\n' ;;
  *2381/health) echo '{"health":"true","reason":""}' ;;
  *) exit 7 ;;
esac"#;

struct Node {
    stubs: tempfile::TempDir,
    settings: &'static str,
}

impl Node {
    fn new() -> Self {
        let node = Self { stubs: tempfile::tempdir().unwrap(), settings: "" };
        for (name, script) in
            [("cat", CAT), ("systemctl", SYSTEMCTL), ("sudo", SUDO), ("curl", CURL), ("chronyc", "exit 1")]
        {
            node.stub(name, script);
        }
        node.stub("timedatectl", "echo yes");
        node
    }

    fn stub(&self, name: &str, script: &str) {
        let path = self.stubs.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn print(&self, arguments: [&str; 4]) -> String {
        let path = format!("{}:/usr/bin:/bin", self.stubs.path().display());
        let output = std::process::Command::new("sh")
            .args(["-c", SCRIPT, "hecate-probe"])
            .args(arguments)
            .env("PATH", path)
            .env("STUBS", self.stubs.path())
            .env("K3S_SETTINGS", self.settings)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn probe(&self, arguments: [&str; 4]) -> Probe {
        let role = if arguments[0] == "worker" { Role::Worker } else { Role::ControlPlane };
        let text = self.print(arguments);
        parse(&text, role).unwrap_or_else(|problem| panic!("{problem}\n{text}"))
    }

    fn sudo_log(&self) -> String {
        std::fs::read_to_string(self.stubs.path().join("sudo.log")).unwrap_or_default()
    }
}

#[test]
fn a_look_at_a_control_plane_sees_units_etcd_snapshots_and_clock() {
    let node = Node::new();
    let probe = node.probe(["control-plane", "snapshots", "killall", "2"]);
    assert_eq!(probe.host.machine_id.as_str(), "0123456789abcdef0123456789abcdef");
    assert_eq!(probe.host.k3s, UnitState::Running);
    assert_eq!(probe.host.k3s_agent, UnitState::NotFound);
    assert_eq!(probe.host.datastore, Some(Datastore::Etcd));
    assert_eq!(probe.host.etcd, Some(EtcdMember { is_healthy: true, is_leader: true }));
    let snapshots = probe.host.etcd_snapshots.unwrap();
    assert_eq!(snapshots.into_iter().collect::<Vec<_>>(), ["hecate-run-1-cp-1-17"]);
    assert_eq!(probe.killall_allowed, Some(true));
    assert_eq!(probe.host.is_time_synced, Some(true));
    assert!(!probe.host.is_saving_etcd_snapshot);
}

#[test]
fn a_look_uses_sudo_only_for_what_was_asked() {
    let node = Node::new();
    assert_eq!(node.probe(["worker", "-", "-", "2"]).killall_allowed, None);
    assert_eq!(node.probe(["control-plane", "-", "-", "2"]).host.etcd_snapshots, None);
    assert_eq!(node.sudo_log(), "");
    node.probe(["worker", "-", "killall", "2"]);
    assert_eq!(node.sudo_log(), "-n -l /usr/local/bin/k3s-killall.sh\n");
}

#[test]
fn a_look_never_prints_what_k3s_was_told() {
    let mut node = Node::new();
    node.settings = "token: top-secret\ndatastore-endpoint: postgres://k3s:top-secret@db/k3s";
    node.stub("curl", "exit 7");
    let text = node.print(["control-plane", "-", "-", "2"]);
    assert!(!text.contains("top-secret"), "{text}");
    assert_eq!(parse(&text, Role::ControlPlane).unwrap().host.datastore, Some(Datastore::External));
}

#[test]
fn k3s_settings_hint_at_the_datastore_while_etcd_is_silent() {
    let mut node = Node::new();
    node.stub("curl", "exit 7");
    for (settings, expected) in [
        ("token: x\nserver: https://10.0.0.1:6443", Some(Datastore::Etcd)),
        ("cluster-init: true", Some(Datastore::Etcd)),
        ("# cluster-init: true", None),
        ("", None),
    ] {
        node.settings = settings;
        let host = node.probe(["control-plane", "-", "-", "2"]).host;
        assert_eq!(host.datastore, expected, "{settings:?}");
        assert_eq!(host.etcd, None);
    }
}

#[test]
fn a_part_that_hangs_does_not_hide_the_others() {
    let node = Node::new();
    node.stub("timedatectl", "exec sleep 60");
    node.stub("sudo", "exec sleep 60");
    let probe = node.probe(["control-plane", "snapshots", "killall", "1"]);
    assert_eq!(probe.killall_allowed, Some(false));
    assert_eq!(probe.host.etcd_snapshots, None);
    assert_eq!(probe.host.is_time_synced, None);
    assert_eq!(probe.host.k3s, UnitState::Running);
}

#[test]
fn a_silent_systemctl_makes_the_look_fail() {
    let node = Node::new();
    node.stub("systemctl", "exit 1");
    let text = node.print(["worker", "-", "-", "2"]);
    assert_eq!(parse(&text, Role::Worker).unwrap_err(), "systemctl says nothing of k3s.service");
}

#[test]
fn chrony_is_believed_before_the_kernels_flag() {
    let node = Node::new();
    node.stub("chronyc", "echo 'Leap status     : Not synchronised'");
    assert_eq!(node.probe(["worker", "-", "-", "2"]).host.is_time_synced, Some(false));
    node.stub("chronyc", "echo 'Leap status     : Normal'");
    node.stub("timedatectl", "echo no");
    assert_eq!(node.probe(["worker", "-", "-", "2"]).host.is_time_synced, Some(true));
}

#[test]
fn the_clock_is_read_and_so_is_how_far_chrony_finds_it_off() {
    let node = Node::new();
    let probe = node.probe(["worker", "-", "-", "2"]);
    let (read, _) = probe.clock.unwrap();
    let age = jiff::Timestamp::now().duration_since(read);
    assert!((0..60).contains(&age.as_secs()), "{age}");
    assert_eq!(probe.host.ntp_ahead_seconds, None);
    for (said, expected) in
        [("3600.25 seconds fast", 3600), ("3600.25 seconds slow", -3600), ("0.000001 seconds slow", 0)]
    {
        node.stub("chronyc", &format!("echo 'System time     : {said} of NTP time'; echo 'Leap status     : Normal'"));
        let host = node.probe(["worker", "-", "-", "2"]).host;
        assert_eq!((host.is_time_synced, host.ntp_ahead_seconds), (Some(true), Some(expected)), "{said}");
    }
}

#[test]
fn a_date_that_knows_no_nanoseconds_is_understood() {
    let node = Node::new();
    node.stub("date", "echo 1795312800.%N");
    let (read, fineness) = node.probe(["worker", "-", "-", "2"]).clock.unwrap();
    assert_eq!((read.as_second(), fineness.as_secs()), (1_795_312_800, 1));
}

/// A process that ends with its value.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn shims_are_counted_as_k3s_own_script_finds_them() {
    let node = Node::new();
    let count = |node: &Node| node.probe(["worker", "-", "-", "2"]).host.containers;
    let bin = node.stubs.path().join("k3s/data/abc123/bin");
    std::fs::create_dir_all(&bin).unwrap();
    let shim = bin.join("containerd-shim-runc-v2");
    std::fs::copy(sleep_program(), &shim).unwrap();
    let before = count(&node);
    let running = [(); 2].map(|()| Running(std::process::Command::new(&shim).arg("60").spawn().unwrap()));
    assert_eq!(count(&node), before + 2);
    drop(running);
    assert_eq!(count(&node), before);
}

fn sleep_program() -> &'static Path {
    ["/usr/bin/sleep", "/bin/sleep"].map(Path::new).into_iter().find(|path| path.exists()).expect("there is a sleep")
}

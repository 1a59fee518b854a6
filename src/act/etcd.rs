//! Takes an etcd snapshot on a control plane.
//!
//! The work runs there as a transient unit of a fixed name: one at a time, whoever asks, and it outlives both the SSH
//! connection and hecate. Whether a snapshot is there afterwards is for the next look to say.

use std::time::Duration;

use super::nodes::{Guard, run_guarded};
use crate::clients::ssh::Ssh;
use crate::model::{MachineId, NodeName, RunId};
use crate::plan::step::Outcome;

/// Waits for a snapshot under way, or else takes one: `$1` is its name. `systemd-run` has the sudo rule's exact words.
///
/// Two that ask in the same instant: the unit's name lets one through, and the other one waits for it.
const SAVE: &str = r#"
unit=hecate-etcd-snapshot
runs() {
  case $(systemctl show "$unit.service" -p ActiveState --value) in
    active | activating | deactivating | reloading) true ;;
    *) false ;;
  esac
}
finish() { while runs; do sleep 1; done; exit 0; }
runs && finish
sudo -n /usr/bin/systemd-run --unit=hecate-etcd-snapshot --collect --wait --quiet \
  /usr/local/bin/k3s etcd-snapshot save --name "$1" && exit 0
code=$?
runs && finish
exit "$code"
"#;

/// Saves a snapshot called `hecate-RUN` (k3s adds node and time).
pub async fn save_snapshot(
    ssh: &Ssh,
    node: &NodeName,
    run: &RunId,
    machine_id: Option<&MachineId>,
    limit: Duration,
) -> Outcome {
    if !is_speakable(run) {
        return Outcome::Failed { why: format!("run id {run:?} has characters that no sudo rule allows") };
    }
    let name = format!("hecate-{run}");
    let guard = Guard { machine_id, boot_id: None };
    let argv = ["sh", "-c", SAVE, "hecate-etcd-snapshot", &name];
    run_guarded(ssh, node, &guard, &argv, limit).await.into_outcome(node)
}

/// `[A-Za-z0-9._-]+`, as the sudo rule has it.
fn is_speakable(run: &RunId) -> bool {
    let text = run.as_str();
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    fn stub(folder: &Path, name: &str, script: &str) {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs the script against stubs; gives its exit code and the lines the stubs have written.
    fn save(systemctl: &str, sudo: &str) -> (Option<i32>, String) {
        let folder = tempfile::tempdir().unwrap();
        stub(folder.path(), "systemctl", systemctl);
        stub(folder.path(), "sudo", &format!("echo \"$*\" >>\"$FOLDER/log\"\n{sudo}"));
        stub(folder.path(), "sleep", "exit 0");
        let status = std::process::Command::new("sh")
            .args(["-c", SAVE, "hecate-etcd-snapshot", "hecate-run-1"])
            .env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
            .env("FOLDER", folder.path())
            .status()
            .unwrap();
        (status.code(), std::fs::read_to_string(folder.path().join("log")).unwrap_or_default())
    }

    #[test]
    fn a_snapshot_is_asked_for_in_the_sudo_rules_own_words() {
        let (code, log) = save("echo inactive", "exit 0");
        assert_eq!(code, Some(0));
        let rule = include_str!("../../configs/sudoers.d/hecate");
        let words =
            "--unit=hecate-etcd-snapshot --collect --wait --quiet /usr/local/bin/k3s etcd-snapshot save --name hecate-";
        assert!(rule.contains(&format!("/usr/bin/systemd-run ^{words}")));
        assert_eq!(log, format!("-n /usr/bin/systemd-run {words}run-1\n"));
    }

    #[test]
    fn a_snapshot_under_way_is_waited_for_and_no_other_is_begun() {
        // Says "active" twice, then "inactive".
        let systemctl =
            r#"echo x >>"$FOLDER/asked"; [ "$(grep -c x "$FOLDER/asked")" -le 2 ] && echo active || echo inactive"#;
        assert_eq!(save(systemctl, "exit 0"), (Some(0), String::new()));
    }

    #[test]
    fn one_that_was_begun_by_another_in_the_same_instant_is_waited_for() {
        let systemctl =
            r#"echo x >>"$FOLDER/asked"; [ "$(grep -c x "$FOLDER/asked")" -eq 2 ] && echo active || echo inactive"#;
        let (code, log) = save(systemctl, "echo 'Unit hecate-etcd-snapshot.service was already loaded' >&2; exit 1");
        assert_eq!((code, log.lines().count()), (Some(0), 1));
    }

    #[test]
    fn a_snapshot_that_fails_says_so() {
        assert_eq!(save("echo inactive", "exit 3").0, Some(3));
    }

    #[test]
    fn a_run_id_outside_the_sudo_rule_is_never_sent() {
        for (id, is_fine) in [("2026-11-22T19.12_a", true), ("", false), ("a b", false), ("a;b", false)] {
            assert_eq!(is_speakable(&RunId::new(id)), is_fine, "{id:?}");
        }
    }
}

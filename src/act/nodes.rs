//! Starts and stops a node's units, and ends the containers that outlive them.
//!
//! Each step is one round trip that looks at the host's identity and acts in the same breath: nothing can come between.
//! Decides nothing; whatever was sent goes on by itself when nobody waits for it any more.

use std::time::Duration;

use crate::clients::ssh::{Output, Share, Ssh, SshError, summary};
use crate::model::{BootId, MachineId, NodeName, Unit};
use crate::plan::step::Outcome;

/// `sudo systemctl start --no-block UNIT`: k3s is `Type=notify` and would block until there is a quorum.
pub async fn start_unit(
    ssh: &Ssh,
    node: &NodeName,
    unit: Unit,
    machine_id: Option<&MachineId>,
    limit: Duration,
) -> Outcome {
    let guard = Guard { machine_id, boot_id: None };
    let argv = ["sudo", "-n", "/usr/bin/systemctl", "start", "--no-block", unit_name(unit)];
    run_guarded(ssh, node, &guard, &argv, limit).await.into_outcome(node)
}

/// `sudo systemctl stop UNIT`: waits for the stop job, which belongs to the node's PID 1.
pub async fn stop_unit(
    ssh: &Ssh,
    node: &NodeName,
    unit: Unit,
    machine_id: Option<&MachineId>,
    limit: Duration,
) -> Outcome {
    let guard = Guard { machine_id, boot_id: None };
    let argv = ["sudo", "-n", "/usr/bin/systemctl", "stop", unit_name(unit)];
    run_guarded(ssh, node, &guard, &argv, limit).await.into_outcome(node)
}

/// `sudo k3s-killall.sh`.
pub async fn kill_containers(ssh: &Ssh, node: &NodeName, machine_id: Option<&MachineId>, limit: Duration) -> Outcome {
    let guard = Guard { machine_id, boot_id: None };
    run_guarded(ssh, node, &guard, &["sudo", "-n", "/usr/local/bin/k3s-killall.sh"], limit).await.into_outcome(node)
}

/// As the sudo rules spell it.
fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::K3s => "k3s",
        Unit::K3sAgent => "k3s-agent",
    }
}

/// The host that a step was meant for; None where that was never learned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guard<'a> {
    pub(super) machine_id: Option<&'a MachineId>,
    pub(super) boot_id: Option<&'a BootId>,
}

/// The last look and the act, in one round trip. `-` stands for an id that was never learned.
///
/// Exit code and marker together say "refused": a command that happens to exit with the same code prints no marker.
const GUARDED: &str = r#"
refuse() { echo "hecate-refused: $1"; exit 86; }
machine=$(cat /etc/machine-id) boot=$(cat /proc/sys/kernel/random/boot_id)
[ "$1" = - ] || [ "$1" = "$machine" ] || refuse "its machine-id is $machine, not $1"
[ "$2" = - ] || [ "$2" = "$boot" ] || { echo "hecate-boot: $boot"; exit 86; }
shift 2
exec "$@"
"#;

const REFUSED_CODE: i32 = 86;
const REFUSED_MARKER: &str = "hecate-refused: ";
const BOOT_MARKER: &str = "hecate-boot: ";

/// How a guarded command ended.
#[derive(Debug)]
pub(super) enum Guarded {
    /// The last look saw another host.
    Refused { evidence: String },
    /// The last look saw the right host in another boot than was meant.
    OtherBoot { boot_id: BootId },
    /// The command ran to its end.
    Ran(Output),
    /// It was not sent, or its end was not seen.
    Failed(SshError),
}

impl Guarded {
    /// As a step's outcome; exit code 0 is "tried".
    pub(super) fn into_outcome(self, node: &NodeName) -> Outcome {
        match self {
            Guarded::Refused { evidence } => Outcome::Refused { evidence },
            Guarded::OtherBoot { boot_id } => Outcome::OtherBoot { boot_id },
            Guarded::Ran(output) if output.is_success() => Outcome::Tried,
            Guarded::Ran(output) => Outcome::Failed { why: complaint(node, &output) },
            Guarded::Failed(SshError::Deadline { is_sent: true, .. }) => Outcome::DeadlinePassed,
            Guarded::Failed(error) => Outcome::Failed { why: error.to_string() },
        }
    }
}

/// Runs a command on a node if that is the host it was meant for.
pub(super) async fn run_guarded(
    ssh: &Ssh,
    node: &NodeName,
    guard: &Guard<'_>,
    argv: &[&str],
    limit: Duration,
) -> Guarded {
    let whole = guarded_argv(guard, argv);
    match ssh.run(node, Share::Act, &whole, limit).await {
        Ok(output) => read_guarded(node, output),
        Err(error) => Guarded::Failed(error),
    }
}

fn guarded_argv<'a>(guard: &Guard<'a>, argv: &[&'a str]) -> Vec<&'a str> {
    let machine_id = guard.machine_id.map_or("-", MachineId::as_str);
    let boot_id = guard.boot_id.map_or("-", BootId::as_str);
    [&["sh", "-c", GUARDED, "hecate-step", machine_id, boot_id], argv].concat()
}

fn read_guarded(node: &NodeName, output: Output) -> Guarded {
    let marked = |marker| output.stdout.lines().find_map(|line| line.strip_prefix(marker));
    let is_refused = output.code == Some(REFUSED_CODE);
    match (marked(REFUSED_MARKER), marked(BOOT_MARKER).and_then(BootId::parse)) {
        (Some(evidence), _) if is_refused => {
            Guarded::Refused { evidence: summary(&format!("the host behind {node}: {evidence}")) }
        }
        (None, Some(boot_id)) if is_refused => Guarded::OtherBoot { boot_id },
        _ => Guarded::Ran(output),
    }
}

/// What a command that failed has said.
fn complaint(node: &NodeName, output: &Output) -> String {
    let said = summary(if output.stderr.trim().is_empty() { &output.stdout } else { &output.stderr });
    match output.code {
        Some(code) => format!("{node}: exit code {code}: {said}"),
        None => format!("{node}: ended by a signal: {said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: &str = "2f0b5d0a-66c1-4b8e-9a6f-0c1d2e3f4a5b";

    /// Runs the guard with the local sh against stub files' ids, and `true` or whatever is given as the act.
    fn guarded(machine_id: &str, boot_id: &str, act: &[&str]) -> Guarded {
        use std::os::unix::fs::PermissionsExt;
        let stubs = tempfile::tempdir().unwrap();
        let cat = stubs.path().join("cat");
        let script = format!("#!/bin/sh\ncase $1 in /etc/machine-id) echo m1;; */boot_id) echo {BOOT};; esac\n");
        std::fs::write(&cat, script).unwrap();
        std::fs::set_permissions(&cat, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:/usr/bin:/bin", stubs.path().display());
        let (machine_id, boot_id) = (MachineId::new(machine_id), BootId::new(boot_id));
        let guard = Guard {
            machine_id: Some(&machine_id).filter(|id| id.as_str() != "?"),
            boot_id: Some(&boot_id).filter(|id| id.as_str() != "?"),
        };
        let argv = guarded_argv(&guard, act);
        let output = std::process::Command::new(argv[0]).args(&argv[1..]).env("PATH", path).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        read_guarded(
            &"cp-1".into(),
            Output {
                code: output.status.code(),
                stdout: text(&output.stdout),
                stderr: text(&output.stderr),
                is_truncated: false,
            },
        )
    }

    #[test]
    fn the_right_host_is_acted_on_with_the_arguments_as_they_are() {
        let Guarded::Ran(output) = guarded("m1", BOOT, &["printf", "%s|", "a b", "$HOME", "it's"]) else {
            panic!("refused")
        };
        assert_eq!(output.stdout, "a b|$HOME|it's|");
    }

    #[test]
    fn another_host_is_refused_and_nothing_runs() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("ran");
        let outcome = guarded("m2", "?", &["touch", mark.to_str().unwrap()]).into_outcome(&"cp-1".into());
        let Outcome::Refused { evidence } = outcome else { panic!("{outcome:?}") };
        assert_eq!(evidence, "the host behind cp-1: its machine-id is m1, not m2");
        assert!(!mark.exists());
    }

    #[test]
    fn a_host_that_was_booted_since_is_refused_and_says_its_boot() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("ran");
        let guarded = guarded("m1", "00000000-0000-0000-0000-000000000000", &["touch", mark.to_str().unwrap()]);
        let Guarded::OtherBoot { boot_id } = guarded else { panic!("{guarded:?}") };
        assert_eq!(boot_id.as_str(), BOOT);
        assert!(!mark.exists());
    }

    #[test]
    fn an_identity_that_was_never_learned_guards_nothing() {
        assert!(matches!(guarded("?", "?", &["true"]), Guarded::Ran(_)));
    }

    #[test]
    fn a_command_with_the_same_exit_code_is_not_taken_for_a_refusal() {
        let outcome = guarded("m1", BOOT, &["sh", "-c", "echo no >&2; exit 86"]).into_outcome(&"cp-1".into());
        assert_eq!(outcome, Outcome::Failed { why: "cp-1: exit code 86: no".to_owned() });
    }

    #[test]
    fn a_deadline_says_whether_anything_was_begun() {
        let late = |is_sent| {
            let error = SshError::Deadline { node: "cp-1".into(), doing: "run a command", is_sent };
            Guarded::Failed(error).into_outcome(&"cp-1".into())
        };
        assert_eq!(late(true), Outcome::DeadlinePassed);
        assert_eq!(late(false), Outcome::Failed { why: "run a command on cp-1: no answer in time".to_owned() });
    }
}

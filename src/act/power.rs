//! Powers hosts off: nodes over SSH, and last of all the host hecate itself runs on.
//!
//! Nothing shows the effect of a power-off but silence, so these steps are told at most once (see `plan/step.rs`).
//! The own host's power-off is behind a seam that refuses unless hecate's unit file has opted in: no test, no foreground
//! run on a developer's machine can ever reach it by accident.

use std::process::Stdio;
use std::time::Duration;

use futures::future::BoxFuture;

use super::nodes::{Guard, Guarded, run_guarded};
use crate::clients::ssh::{Ssh, SshError, summary};
use crate::model::{BootId, MachineId, NodeName};
use crate::plan::step::Outcome;

/// `sudo systemctl poweroff` on a node. A connection that is lost after the command was sent is what one expects.
pub async fn power_off(
    ssh: &Ssh,
    node: &NodeName,
    machine_id: Option<&MachineId>,
    boot_id: Option<&BootId>,
    limit: Duration,
) -> Outcome {
    let guard = Guard { machine_id, boot_id };
    let argv = ["sudo", "-n", "/usr/bin/systemctl", "poweroff"];
    power_off_outcome(node, run_guarded(ssh, node, &guard, &argv, limit).await)
}

fn power_off_outcome(node: &NodeName, guarded: Guarded) -> Outcome {
    match guarded {
        // sshd is stopped like everything else: the session's end may arrive before the command's, or by a signal.
        Guarded::Failed(SshError::Lost { .. }) => Outcome::Tried,
        Guarded::Ran(output) if output.code.is_none() => Outcome::Tried,
        other @ (Guarded::Refused { .. } | Guarded::OtherBoot { .. } | Guarded::Ran(_) | Guarded::Failed(_)) => {
            other.into_outcome(node)
        }
    }
}

/// The host hecate itself runs on.
pub trait OwnHost: Send + Sync + std::fmt::Debug {
    /// Powers it off, unless this process may not.
    fn power_off(&self) -> BoxFuture<'_, Outcome>;

    /// Why that would be refused; None where it would be carried out.
    fn refusal(&self) -> Option<&'static str>;
}

/// Refuses always: what everything but the daemon uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct UntouchableHost;

impl UntouchableHost {
    const REFUSAL: &str = "this process never powers off its own host";
}

impl OwnHost for UntouchableHost {
    fn power_off(&self) -> BoxFuture<'_, Outcome> {
        Box::pin(async { Outcome::Refused { evidence: Self::REFUSAL.to_owned() } })
    }

    fn refusal(&self) -> Option<&'static str> {
        Some(Self::REFUSAL)
    }
}

/// The environment variable by which `hecate.service` opts in, and its only accepted value.
pub const OPT_IN: (&str, &str) = ("HECATE_OWN_HOST_POWER_OFF", "allow");

/// How long `systemctl poweroff` may take to hand the wish over to systemd.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(30);

/// The real host. It obeys only a process that systemd started from a unit which says so.
#[derive(Clone, Debug)]
pub struct SystemdHost {
    refusal: Option<&'static str>,
}

impl SystemdHost {
    /// Looks at the process' surroundings once, at start.
    pub fn of_this_process() -> Self {
        if cfg!(test) {
            return Self { refusal: Some("a unit test never powers off its host") };
        }
        let pid_1 = std::fs::read_to_string("/proc/1/comm").unwrap_or_default();
        Self { refusal: refusal(&|name| std::env::var(name).ok(), &pid_1) }
    }
}

impl OwnHost for SystemdHost {
    fn power_off(&self) -> BoxFuture<'_, Outcome> {
        Box::pin(async {
            if let Some(evidence) = self.refusal {
                return Outcome::Refused { evidence: evidence.to_owned() };
            }
            hand_over().await
        })
    }

    fn refusal(&self) -> Option<&'static str> {
        self.refusal
    }
}

/// All of it must hold: started by systemd as a service, and told by the unit file that it may.
fn refusal(variable: &dyn Fn(&str) -> Option<String>, pid_1: &str) -> Option<&'static str> {
    if variable(OPT_IN.0).as_deref() != Some(OPT_IN.1) {
        return Some("HECATE_OWN_HOST_POWER_OFF=allow is not set; hecate.service sets it");
    }
    if variable("INVOCATION_ID").is_none_or(|id| id.is_empty()) {
        return Some("hecate was not started by systemd");
    }
    if pid_1.trim() != "systemd" {
        return Some("process 1 of this host is not systemd");
    }
    None
}

async fn hand_over() -> Outcome {
    let mut command = match rustix::process::geteuid().is_root() {
        true => tokio::process::Command::new("/usr/bin/systemctl"),
        false => {
            let mut sudo = tokio::process::Command::new("sudo");
            sudo.args(["-n", "/usr/bin/systemctl"]);
            sudo
        }
    };
    command.arg("poweroff").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    match tokio::time::timeout(HAND_OVER_LIMIT, command.output()).await {
        Ok(Ok(output)) if output.status.success() => Outcome::Tried,
        // hecate itself is being stopped, and the command with it.
        Ok(Ok(output)) if output.status.code().is_none() => Outcome::Tried,
        Ok(Ok(output)) => {
            Outcome::Failed { why: format!("this host: {}", summary(&String::from_utf8_lossy(&output.stderr))) }
        }
        Ok(Err(error)) => Outcome::Failed { why: format!("this host: systemctl cannot be run: {error}") },
        Err(_) => Outcome::DeadlinePassed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::ssh::Output;

    fn surroundings(pairs: &[(&str, &str)], pid_1: &str) -> Option<&'static str> {
        let find = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        refusal(&find, pid_1)
    }

    #[test]
    fn the_own_host_is_only_powered_off_from_a_unit_that_opts_in() {
        let all = [OPT_IN, ("INVOCATION_ID", "abc")];
        assert_eq!(surroundings(&all, "systemd\n"), None);
        assert!(surroundings(&all[..1], "systemd\n").is_some());
        assert!(surroundings(&all[1..], "systemd\n").is_some());
        assert!(surroundings(&all, "bash\n").is_some());
        assert!(surroundings(&[(OPT_IN.0, "yes"), all[1]], "systemd\n").is_some());
    }

    #[tokio::test]
    async fn a_test_can_never_power_off_its_host() {
        let host = SystemdHost::of_this_process();
        assert!(host.refusal().is_some());
        assert!(matches!(host.power_off().await, Outcome::Refused { .. }));
        assert!(matches!(UntouchableHost.power_off().await, Outcome::Refused { .. }));
    }

    #[test]
    fn a_connection_lost_after_the_command_was_sent_is_a_power_off_tried() {
        let node = NodeName::from("cp-1");
        let lost = SshError::Lost { node: node.clone(), detail: "closed".to_owned() };
        assert_eq!(power_off_outcome(&node, Guarded::Failed(lost)), Outcome::Tried);
        let unsent = SshError::Open { node: node.clone(), detail: "closed".to_owned() };
        assert!(matches!(power_off_outcome(&node, Guarded::Failed(unsent)), Outcome::Failed { .. }));
        let killed = Output { code: None, stdout: String::new(), stderr: String::new(), is_truncated: false };
        assert_eq!(power_off_outcome(&node, Guarded::Ran(killed)), Outcome::Tried);
    }

    #[test]
    fn a_power_off_of_another_host_stays_refused() {
        let refused = Guarded::Refused { evidence: "another".to_owned() };
        assert!(matches!(power_off_outcome(&"cp-1".into(), refused), Outcome::Refused { .. }));
    }
}

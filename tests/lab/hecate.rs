//! hecate as an operator meets it: its command and its unit on the hecate host.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::site::{Done, FULL_RUNTIME, OWN_HOST, Site};
use crate::wait::{Look, seconds, until};

/// Where the lab's tests keep what they add to the unit.
pub(crate) const DROP_IN: &str = "/run/systemd/system/hecate.service.d/failpoints.conf";
/// Where the unit's failpoints come from while the drop-in is there.
const FAILPOINTS: &str = "/run/hecate-failpoints";

/// `hecate status -o json`.
#[derive(Clone, Debug)]
pub(crate) struct Status(pub(crate) Value);

impl Status {
    /// Whether reality is as desired.
    pub(crate) fn is_converged(&self) -> bool {
        self.0["isConverged"] == true
    }

    /// The state that is obeyed.
    pub(crate) fn state(&self) -> &str {
        self.0["effective"]["state"].as_str().unwrap_or_default()
    }

    /// `running` by the operator's own word, and all of it there.
    pub(crate) fn is_running(&self) -> bool {
        self.is_converged() && self.state() == "running"
    }

    /// Names with all their evidence of what is waited for, in the way, or to be known.
    pub(crate) fn reasons(&self, kind: &str) -> Vec<&Value> {
        let all = self.0["plan"][kind].as_array();
        all.into_iter().flatten().map(|one| if kind == "waits" { &one["reason"] } else { one }).collect()
    }

    /// Whether something of this name is said of this node (or UPS), as a wait or a blocker.
    pub(crate) fn names(&self, name: &str, about: &str) -> bool {
        let all = self.reasons("waits").into_iter().chain(self.reasons("blockers"));
        all.into_iter().any(|one| one["name"] == name && one.to_string().contains(about))
    }

    /// Whether a warning of this name is said of this node (or UPS).
    pub(crate) fn warns(&self, name: &str, about: &str) -> bool {
        self.reasons("warnings").into_iter().any(|one| one["name"] == name && one.to_string().contains(about))
    }

    /// What is known of a node's host.
    pub(crate) fn host(&self, node: &str) -> &str {
        self.0["nodes"][node]["host"].as_str().unwrap_or_default()
    }

    /// Whether the UPS that feeds everything is on line and full.
    pub(crate) fn has_full_battery(&self) -> bool {
        let ups = &self.0["upses"]["pyrphoros"];
        ups["verdict"] == "on-line" && ups["runtime"].as_f64() == Some(FULL_RUNTIME as f64)
    }

    /// The pass' number.
    pub(crate) fn pass(&self) -> u64 {
        self.0["pass"].as_u64().unwrap_or_default()
    }

    /// Boottime of the pass, in seconds.
    pub(crate) fn boottime(&self) -> f64 {
        self.0["now"]["boottime"].as_f64().unwrap_or_default()
    }

    /// The process of the daemon that published this; None where the command looked by itself.
    pub(crate) fn daemon(&self) -> Option<u64> {
        self.0["actor"]["daemon"]["pid"].as_u64()
    }

    /// Names of the overrides' sources that stand in `desired.yaml`.
    pub(crate) fn overrides(&self) -> Vec<&str> {
        let all = self.0["declared"]["overrides"].as_array();
        all.into_iter().flatten().filter_map(|one| one["source"].as_str()).collect()
    }

    /// The id of the run that goes on or ended last.
    pub(crate) fn run(&self) -> &str {
        self.0["episode"]["run"].as_str().unwrap_or_default()
    }

    /// What stands in the way of convergence, for messages.
    pub(crate) fn summary(&self) -> String {
        let short = |kind: &str| {
            let all: Vec<String> = self.reasons(kind).into_iter().map(ToString::to_string).collect();
            format!("{kind}: {}", if all.is_empty() { "none".to_owned() } else { all.join(", ") })
        };
        format!(
            "{} (pass {}, converged: {}); start: {}; running: {}; {}; {}",
            self.state(),
            self.pass(),
            self.is_converged(),
            self.0["plan"]["start"],
            self.0["plan"]["running"],
            short("waits"),
            short("blockers")
        )
    }
}

impl Site {
    /// A hecate command, whatever comes of it.
    pub(crate) fn hecate(&self, arguments: &[&str]) -> Result<Done> {
        let mut all = vec!["node", "exec", OWN_HOST, "hecate"];
        all.extend(arguments);
        self.run(&all, "", seconds(60))
    }

    /// The status with the configuration that is installed.
    pub(crate) fn status(&self) -> Result<Status> {
        self.status_with(&[])
    }

    /// The status with further arguments.
    pub(crate) fn status_with(&self, arguments: &[&str]) -> Result<Status> {
        let mut all = arguments.to_vec();
        all.extend(["status", "-o", "json"]);
        let done = self.hecate(&all)?;
        // Work pending (10) and blocked (11) are ordinary answers.
        ensure!(matches!(done.code, 0 | 10 | 11), "hecate status: exit {}: {}", done.code, done.err);
        Ok(Status(serde_json::from_str(&done.out).context("hecate status -o json")?))
    }

    /// What the daemon published last. Unlike the command this never looks by itself: it fails where no daemon runs.
    pub(crate) fn published(&self) -> Result<Status> {
        let text = self.on(OWN_HOST, "cat /run/hecate/status.json")?;
        Ok(Status(serde_json::from_str(&text).context("status.json")?))
    }

    /// Waits until the status shows something.
    pub(crate) fn until_status(&self, what: &str, limit: Duration, holds: impl Fn(&Status) -> bool) -> Result<Status> {
        until(what, limit, || {
            let status = self.status()?;
            Ok(if holds(&status) { Look::Seen(status) } else { Look::NotYet(status.summary()) })
        })
    }

    /// Waits until the cluster runs as desired.
    pub(crate) fn until_running(&self, limit: Duration) -> Result<Status> {
        self.until_status("the cluster to run", limit, Status::is_running)
    }

    /// `hecate set-desired`.
    pub(crate) fn set_desired(&self, state: &str, reason: &str) -> Result<()> {
        self.hecate(&["set-desired", state, "--reason", reason])?
            .ok()
            .with_context(|| format!("set-desired {state}"))?;
        Ok(())
    }

    /// The same for a descent of which only the end matters: nothing is drained, no snapshot is taken.
    pub(crate) fn set_desired_undrained(&self, state: &str, reason: &str) -> Result<()> {
        self.hecate(&["set-desired", state, "--skip-drain", "--skip-etcd-snapshot", "--reason", reason])?
            .ok()
            .with_context(|| format!("set-desired {state}"))?;
        Ok(())
    }

    /// Installs the lab's configuration with some lines changed, and has a running daemon started anew with it.
    pub(crate) fn configure(&self, changes: &[(&str, Value)]) -> Result<()> {
        self.put(OWN_HOST, "/etc/hecate/hecate.yaml", &config(changes)?)?;
        self.daemon("restart")
    }

    /// `systemctl VERB hecate`.
    pub(crate) fn daemon(&self, verb: &str) -> Result<()> {
        self.on(OWN_HOST, &format!("systemctl {verb} hecate"))?;
        Ok(())
    }

    /// Has the unit end where it is killed, and take its failpoints from a file.
    pub(crate) fn arm(&self) -> Result<()> {
        self.put(OWN_HOST, DROP_IN, &format!("[Service]\nRestart=no\nEnvironmentFile=-{FAILPOINTS}\n"))?;
        self.on(OWN_HOST, "systemctl daemon-reload")?;
        Ok(())
    }

    /// Takes that back.
    pub(crate) fn disarm(&self) -> Result<()> {
        self.on(
            OWN_HOST,
            &format!("if rm {DROP_IN} 2>/dev/null; then systemctl daemon-reload; fi; rm -f {FAILPOINTS}"),
        )?;
        Ok(())
    }

    /// Starts the daemon so that it kills itself at a failpoint (none: ordinarily). It must be stopped.
    pub(crate) fn start_with_failpoint(&self, failpoint: Option<&str>) -> Result<()> {
        let text = failpoint.map_or_else(String::new, |name| format!("FAILPOINTS={name}=return\n"));
        self.put(OWN_HOST, FAILPOINTS, &text)?;
        // It may die before it says that it is ready: whether it was started is told by what it does.
        self.try_on(OWN_HOST, "systemctl reset-failed hecate; systemctl start hecate")?;
        Ok(())
    }

    /// The daemon's process; 0 while there is none.
    pub(crate) fn daemon_pid(&self) -> Result<u64> {
        Ok(self.on(OWN_HOST, "systemctl show -p MainPID --value hecate")?.trim().parse()?)
    }

    /// Kills the daemon, of which systemd starts another one.
    pub(crate) fn kill_daemon(&self) -> Result<()> {
        self.on(OWN_HOST, "systemctl kill -s KILL --kill-whom=main hecate")?;
        Ok(())
    }

    /// What the daemon would go on from after a restart within this boot.
    pub(crate) fn low(&self) -> Result<Value> {
        serde_json::from_str(&self.on(OWN_HOST, "cat /run/hecate/low.json")?).context("low.json")
    }

    /// Whether the daemon died by itself since it was started last.
    pub(crate) fn is_daemon_dead(&self) -> Result<bool> {
        Ok(self.try_on(OWN_HOST, "systemctl is-failed hecate")?.out.trim() == "failed")
    }
}

/// The UPSes of the lab's configuration, the first with these keys as well: for [`config`], which changes lists as a whole.
pub(crate) fn upses_with(keys: &Value) -> Result<(&'static str, Value)> {
    let whole: Value = serde_yaml::from_str(&config(&[])?)?;
    let mut upses = whole["upses"].clone();
    for (key, value) in keys.as_object().into_iter().flatten() {
        upses[0][key] = value.clone();
    }
    Ok(("upses", upses))
}

/// The lab's configuration with some values changed: keys as paths (`shutdown.ups_path`), null takes one away.
pub(crate) fn config(changes: &[(&str, Value)]) -> Result<String> {
    let mut whole: Value = serde_yaml::from_str(include_str!("hecate.yaml"))?;
    for (path, value) in changes {
        let (parents, last) = path.rsplit_once('.').map_or((None, *path), |(parents, last)| (Some(parents), last));
        let mut place = &mut whole;
        for part in parents.into_iter().flat_map(|parents| parents.split('.')) {
            place = &mut place[part];
        }
        if value.is_null() {
            place.as_object_mut().context("not a mapping")?.remove(last);
        } else {
            place[last] = value.clone();
        }
    }
    Ok(serde_yaml::to_string(&whole)?)
}

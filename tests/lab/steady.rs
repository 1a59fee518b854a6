//! A converged cluster: what is looked at without changing it, and what is put right quietly.

use anyhow::{Result, ensure};

use crate::counts::Mark;
use crate::site::{OWN_HOST, Site};
use crate::wait::{seconds, until_true};

/// `hecate daemon` beside the running one.
pub(crate) fn second_daemon_is_refused_with_a_clear_message(site: &Site) -> Result<()> {
    let pid = site.on(OWN_HOST, "systemctl show -p MainPID --value hecate")?;
    let done = site.try_on(OWN_HOST, "timeout 20 hecate daemon")?;
    ensure!(done.code != 0 && done.code != 124, "a second daemon ended with {}: {}{}", done.code, done.out, done.err);
    let said = format!("{}{}", done.out, done.err);
    ensure!(said.contains(pid.trim()), "it does not say who holds the lock (pid {}): {said}", pid.trim());
    ensure!(site.status()?.is_running(), "the first daemon was disturbed");
    Ok(())
}

/// `startup`, `shutdown` (both modes), `status`, `check` and `simulate` without `--execute`.
pub(crate) fn dry_runs_write_nothing(site: &Site) -> Result<()> {
    let desired = site.lab(&["file", OWN_HOST, "/var/lib/hecate/desired.yaml"])?;
    let mark = Mark::now(site)?;
    for command in [
        &["startup"][..],
        &["shutdown", "--mode", "poweroff"],
        &["status"],
        &["check"],
        &["simulate", "power-cut", "--config", "/etc/hecate/hecate.yaml"],
    ] {
        let done = site.hecate(command)?;
        ensure!(matches!(done.code, 0 | 10 | 11), "hecate {}: exit {}: {}", command.join(" "), done.code, done.err);
        ensure!(!done.out.trim().is_empty(), "hecate {} prints nothing", command.join(" "));
    }
    // Without a daemon it is the same.
    site.daemon("stop")?;
    let done = site.hecate(&["shutdown"])?;
    ensure!(matches!(done.code, 0 | 10 | 11), "hecate shutdown: exit {}: {}", done.code, done.err);
    let (api, sudo) = (mark.api_writes(site)?, mark.sudo_writes(site)?);
    ensure!(api.is_empty(), "dry-runs wrote to the API: {}", api.join("; "));
    ensure!(sudo.is_empty(), "dry-runs commanded hosts: {}", sudo.join("; "));
    let now = site.lab(&["file", OWN_HOST, "/var/lib/hecate/desired.yaml"])?;
    ensure!(now == desired, "a dry-run changed desired.yaml:\n{now}");
    site.daemon("start")
}

/// Two agents are stopped by hand; one of their nodes is paused.
pub(crate) fn stopped_agent_is_started_again_unless_paused(site: &Site) -> Result<()> {
    site.hecate(&["pause", "worker-1", "--for", "10m", "--reason", "new memory"])?.ok()?;
    let mark = Mark::now(site)?;
    for node in ["worker-1", "worker-2"] {
        site.on(node, "systemctl stop k3s-agent")?;
    }
    site.until_status("the drift grace to be shown", seconds(8), |status| status.names("drift-grace", "worker-2"))?;
    until_true("worker-2's agent to run", seconds(30), || Ok(site.unit_state("worker-2")? == "active"))?;
    let shown = site.until_status("the pause to be named", seconds(15), |status| {
        status.names("node-paused", "worker-1") && status.0["nodes"]["worker-2"]["isAsDesired"] == true
    })?;
    ensure!(
        shown.reasons("blockers").iter().any(|one| one.to_string().contains("new memory")),
        "the reason is missing"
    );
    ensure!(site.unit_state("worker-1")? == "inactive", "the agent of a paused node was started");
    ensure!(mark.sudo_count(site, "worker-1", "systemctl start")? == 0, "a paused node was commanded");
    ensure!(mark.sudo_count(site, "worker-2", "systemctl start")? == 1, "started more than once");
    site.hecate(&["resume", "worker-1"])?.ok()?;
    site.until_running(seconds(40))?;
    ensure!(site.unit_state("worker-1")? == "active", "converged, but the agent does not run");
    Ok(())
}

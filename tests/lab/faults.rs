//! Parts that lie, hang or are gone: each is named within one pass, and the rest goes on.

use std::time::Instant;

use anyhow::{Result, ensure};

use crate::counts::Mark;
use crate::hecate::Status;
use crate::site::{SERVERS, Site};
use crate::wait::{Look, seconds, stays, until, until_true};

/// `startup.ups_unknown_grace_seconds`.
const GRACE: std::time::Duration = seconds(20);
/// One look at a host: the idle interval, the time a connection and a command may take, and a pass.
const ONE_LOOK: std::time::Duration = seconds(3 + 2 + 3 + 2);
/// While something is going on passes come at least once a second; twice that and a look of the test's own.
const PASS_GAP_SECONDS_MAX: f64 = 3.0;

/// Waits until a status shows something, and fails when a pass took longer than it may while waiting.
fn until_shown(site: &Site, what: &str, limit: std::time::Duration, holds: impl Fn(&Status) -> bool) -> Result<Status> {
    let mut last: Option<(f64, Instant)> = None;
    let mut longest = 0.0_f64;
    let shown = until(what, limit, || {
        let status = site.status()?;
        match last {
            // The published status is the same until the next pass: its age is how long that pass takes. A calm daemon
            // makes few.
            Some((boottime, since)) if boottime == status.boottime() && !status.is_converged() => {
                longest = longest.max(since.elapsed().as_secs_f64());
            }
            _ => last = Some((status.boottime(), Instant::now())),
        }
        Ok(if holds(&status) { Look::Seen(status) } else { Look::NotYet(status.summary()) })
    })?;
    ensure!(longest <= PASS_GAP_SECONDS_MAX, "{what}: for {longest:.1} s there was no pass");
    Ok(shown)
}

/// Stops worker-2's agent and waits until hecate has started it: the rest goes on.
fn rest_goes_on(site: &Site) -> Result<()> {
    site.on("worker-2", "systemctl stop k3s-agent")?;
    let begin = Instant::now();
    until_shown(site, "worker-2 to be served again", seconds(40), |status| {
        begin.elapsed() > seconds(4) && status.0["nodes"]["worker-2"]["isAsDesired"] == true
    })?;
    ensure!(site.unit_state("worker-2")? == "active", "worker-2's agent does not run");
    Ok(())
}

/// A cable is pulled.
pub(crate) fn lost_node_is_named_and_delays_no_pass(site: &Site) -> Result<()> {
    site.lab(&["node", "unplug", "worker-1"])?;
    until_shown(site, "worker-1 to be named", ONE_LOOK, |status| status.names("node-reachable", "worker-1"))?;
    rest_goes_on(site)?;
    ensure!(site.status()?.host("worker-1") == "unreachable", "worker-1 is not shown as unreachable");
    site.lab(&["node", "plug", "worker-1"])?;
    until_shown(site, "running", seconds(60), Status::is_running)?;
    Ok(())
}

/// A host accepts connections and answers nothing.
pub(crate) fn frozen_node_is_named_and_delays_no_pass(site: &Site) -> Result<()> {
    site.lab(&["node", "freeze", "worker-1"])?;
    until_shown(site, "worker-1 to be named", ONE_LOOK, |status| status.names("node-reachable", "worker-1"))?;
    rest_goes_on(site)?;
    site.lab(&["node", "thaw", "worker-1"])?;
    until_shown(site, "running", seconds(60), Status::is_running)?;
    Ok(())
}

/// Nobody says anything about the power. A single agent that was stopped is started all the same; a cluster that is off is
/// held, but not for longer than the grace.
pub(crate) fn dead_upsd_is_named_and_delays_no_pass(site: &Site) -> Result<()> {
    site.lab(&["ups", "kill-upsd"])?;
    until_shown(site, "the silence to be named", seconds(10), |status| status.warns("power-unguarded", "pyrphoros"))?;
    rest_goes_on(site)?;
    site.set_desired_undrained("off", "nobody guards the power")?;
    until_shown(site, "the cluster to be off", seconds(90), |status| {
        status.state() == "drained-off" && status.is_converged()
    })?;
    site.set_desired("running", "nobody guards the power")?;
    let held = until_shown(site, "the start to be blocked by name", seconds(15), |status| {
        status.names("ups-unknown", "pyrphoros")
    })?;
    ensure!(held.overrides().is_empty(), "silence alone was taken for an outage");
    let begin = Instant::now();
    let runs = || Ok(SERVERS.iter().any(|server| site.unit_state(server).is_ok_and(|state| state != "inactive")));
    until_true("a server to be started", GRACE + seconds(20), runs)?;
    // A start is held for as long as the grace; the test may have seen the hold late.
    ensure!(begin.elapsed() >= GRACE / 2, "it was held for {:.1} s only", begin.elapsed().as_secs_f64());
    until_shown(site, "running", seconds(90), Status::is_running)?;
    site.lab(&["ups", "start-upsd"])?;
    until_shown(site, "the UPS to be heard", seconds(15), Status::has_full_battery)?;
    Ok(())
}

/// Two nodes answer at each other's address.
pub(crate) fn wrong_host_behind_an_address_is_refused_by_name(site: &Site) -> Result<()> {
    let mark = Mark::now(site)?;
    site.on("worker-1", "systemctl stop k3s-agent")?;
    site.lab(&["swap", "worker-1", "worker-2"])?;
    let shown = site.until_status("both to be refused by name", seconds(25), |status| {
        status.names("wrong-host", "worker-1") && status.names("wrong-host", "worker-2")
    })?;
    ensure!(shown.host("worker-1") == "wrong", "worker-1 is shown as {}", shown.host("worker-1"));
    // Longer than the drift grace: had it been taken for the right host, the agent would have been started.
    stays("worker-1's agent stopped", seconds(9), || Ok(site.unit_state("worker-1")? == "inactive"))?;
    for node in ["worker-1", "worker-2"] {
        let told = mark.sudo_count(site, node, "systemctl")?;
        ensure!(told == 0, "{node} was commanded {told} times at a wrong address");
    }
    site.lab(&["unswap", "worker-1", "worker-2"])?;
    site.until_running(seconds(60))?;
    ensure!(site.unit_state("worker-1")? == "active", "worker-1's agent does not run");
    Ok(())
}

/// The servers' processes are killed in the middle of a drain; systemd starts them again, not before hecate has named it.
pub(crate) fn api_killed_mid_drain_is_waited_for(site: &Site) -> Result<()> {
    use serde_json::json;

    use crate::counts;
    use crate::repair::owed_pods;
    use crate::site::{NODES, each};

    // Containers are left alone here: those of evicted pods must be gone all the same.
    site.configure(&[("shutdown.killall", json!("never"))])?;
    site.until_running(seconds(40))?;
    let before = owed_pods(site)?;
    each(&SERVERS, |server| site.on(server, &restart_in(12)).map(drop))?;
    let mark = Mark::now(site)?;
    site.set_desired("off", "API killed mid-drain")?;
    site.until_status("pods to be leaving", seconds(20), |status| status.names("drained", ""))?;
    each(&SERVERS, |server| site.on(server, "systemctl kill -s KILL --kill-whom=all k3s").map(drop))?;
    // It is away for longer than what was seen last is believed (`reconcile.api_max_age_seconds`).
    until_shown(site, "the API to be waited for by name", seconds(20), |status| {
        status.names("api-ready", "") || status.names("etcd-healthy", "")
    })?;
    each(&SERVERS, |server| {
        site.on(server, "rm -r /run/systemd/system/k3s.service.d && systemctl daemon-reload").map(drop)
    })?;
    let status = until_shown(site, "drained-off", seconds(90), |status| {
        status.is_converged() && status.state() == "drained-off"
    })?;
    each(&NODES, |node| {
        let left = counts::container_processes(site, node)?;
        let evicted = before.iter().find(|pod| left.contains(&pod.uid));
        ensure!(evicted.is_none_or(|pod| pod.name.is_empty()), "an evicted pod's process is left");
        ensure!(left.is_empty() || status.warns("containers-left", node), "what is left is not shown: {left:?}");
        Ok(())
    })?;
    mark.no_new_pod_was_evicted(site, &before)?;
    site.set_desired("running", "done")?;
    site.until_running(seconds(90))?;
    Ok(())
}

/// Makes systemd wait so long before it starts k3s again.
fn restart_in(seconds: u32) -> String {
    let folder = "/run/systemd/system/k3s.service.d";
    format!(
        "mkdir -p {folder} && printf '[Service]\\nRestartSec={seconds}\\n' > {folder}/restart.conf && systemctl daemon-reload"
    )
}

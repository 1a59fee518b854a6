//! The daemon is killed before and after every step; what it had begun is finished, and nothing is done twice.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::counts::{self, Mark};
use crate::repair::owed_pods;
use crate::site::{NODES, Site, each};
use crate::wait::{Look, seconds, until, until_true};

/// Steps from served to dark, in the order in which they come; the power-offs are `own_host.rs`' matter.
const DOWN: [&str; 5] = ["cordon", "drain", "save-etcd-snapshot", "stop-unit", "kill-containers"];
/// Steps from dark to served.
const UP: [&str; 2] = ["start-unit", "uncordon"];

/// How a life of the daemon ended.
enum End {
    /// At its failpoint.
    Killed,
    /// The condition came to hold first.
    Reached,
}

/// Kills the daemon once before and once after each step, in order. `is_reached` says when nothing is left to do.
pub(crate) fn walk(site: &Site, steps: &[&str], limit: Duration, is_reached: impl Fn() -> Result<bool>) -> Result<()> {
    let mut missed = BTreeSet::new();
    for step in steps {
        for place in ["before", "after"] {
            let failpoint = format!("{place}-{step}");
            site.start_with_failpoint(Some(&failpoint))?;
            let end = until(&failpoint, limit, || {
                if site.is_daemon_dead()? {
                    return Ok(Look::Seen(End::Killed));
                }
                Ok(if is_reached()? { Look::Seen(End::Reached) } else { Look::NotYet("the daemon lives".to_owned()) })
            })?;
            if let End::Reached = end {
                missed.insert(failpoint);
                site.daemon("stop")?;
            }
        }
    }
    if !missed.is_empty() {
        bail!("the daemon came past these without being killed: {}", Vec::from_iter(missed).join(", "));
    }
    Ok(())
}

/// Down and up again, killed at every step.
pub(crate) fn daemon_killed_at_every_step_does_nothing_twice(site: &Site) -> Result<()> {
    let before = owed_pods(site)?;
    let snapshots = counts::etcd_snapshots(site)?;
    let mark = Mark::now(site)?;
    site.daemon("stop")?;
    site.arm()?;
    site.set_desired("off", "killed on the way down")?;
    let is_drained_off = || {
        let status = site.published()?;
        Ok(status.is_converged() && status.state() == "drained-off")
    };
    walk(site, &DOWN, seconds(40), is_drained_off)?;
    site.start_with_failpoint(None)?;
    site.until_status("drained-off", seconds(60), |status| status.is_converged() && status.state() == "drained-off")?;
    let taken = counts::etcd_snapshots(site)?;
    let new: Vec<_> = taken.keys().filter(|name| !snapshots.contains_key(*name)).collect();
    ensure!(new.len() == 1, "one snapshot was to be taken: {new:?}");
    each(&NODES, |node| {
        let left = counts::container_processes(site, node)?;
        ensure!(left.is_empty(), "processes of containers are left: {}", left.join(", "));
        Ok(())
    })?;

    site.daemon("stop")?;
    site.set_desired("running", "killed on the way up")?;
    walk(site, &UP, seconds(60), || Ok(site.published()?.is_running()))?;
    site.start_with_failpoint(None)?;
    site.until_running(seconds(90))?;
    mark.no_new_pod_was_evicted(site, &before)?;
    each(&NODES, |node| {
        ensure!(mark.sudo_count(site, node, "poweroff")? == 0, "it was told to power off");
        Ok(())
    })?;
    report(site, &mark)?;
    site.disarm()
}

/// Says how often what was done; twice is allowed where it harms nothing.
fn report(site: &Site, mark: &Mark) -> Result<()> {
    let evictions = mark.evictions(site)?;
    let pods: BTreeSet<&str> = evictions.iter().map(|one| one.pod.as_str()).collect();
    let mut told = String::new();
    for words in ["systemctl stop", "systemctl start", "k3s-killall", "etcd-snapshot save"] {
        let mut count = 0;
        for node in NODES {
            count += mark.sudo_count(site, node, words)?;
        }
        told.push_str(&format!(", {words}: {count}"));
    }
    site.say(&format!("evictions granted: {} of {} pods{told}", evictions.len(), pods.len()));
    Ok(())
}

/// The daemon dies with the first power-off of an outage; mains return before it is started again.
pub(crate) fn host_that_came_back_is_not_powered_off_again(site: &Site) -> Result<()> {
    site.arm()?;
    site.daemon("stop")?;
    site.start_with_failpoint(Some("after-power-off"))?;
    let mark = Mark::now(site)?;
    site.cut_mains(45)?;
    until("the first power-off", seconds(60), || {
        Ok(if site.is_daemon_dead()? { Look::Seen(()) } else { Look::NotYet("the daemon lives".to_owned()) })
    })?;
    // Steps on other hosts may have been begun in the same moment: whoever was told is off soon.
    let told = until("those that were told to be off", seconds(30), || {
        let told = told_off(site, &mark)?;
        let states = told.iter().map(|node| site.state(node)).collect::<Result<Vec<_>>>()?;
        let are_off = !told.is_empty() && states.iter().all(|state| state == "off");
        Ok(if are_off { Look::Seen(told) } else { Look::NotYet(format!("{told:?}: {states:?}")) })
    })?;
    site.restore_mains()?;
    // The driver reads its UPS once a second: until then upsd says what was.
    until_true("upsd to say that mains are back", seconds(10), || {
        Ok(site.lab(&["ups", "get", "pyrphoros", "ups.status"])?.starts_with("OL"))
    })?;
    site.power_on(&told)?;
    let told_before = counted(site, &mark)?;
    site.start_with_failpoint(None)?;
    site.until_running(seconds(120))?;
    let told_after = counted(site, &mark)?;
    ensure!(told_before == told_after, "told to power off after mains were back: {told_before:?}, {told_after:?}");
    each(&NODES, |node| {
        ensure!(site.state(node)? == "on", "it is off");
        Ok(())
    })?;
    site.disarm()
}

fn told_off(site: &Site, mark: &Mark) -> Result<Vec<&'static str>> {
    let mut told = Vec::new();
    for node in NODES {
        if mark.sudo_count(site, node, "systemctl poweroff")? > 0 {
            told.push(node);
        }
    }
    Ok(told)
}

fn counted(site: &Site, mark: &Mark) -> Result<Vec<usize>> {
    NODES.iter().map(|node| mark.sudo_count(site, node, "systemctl poweroff")).collect()
}

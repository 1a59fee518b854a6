//! The two directions as an operator asks for them.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::counts::{self, Mark};
use crate::repair::{has_workload, owed_pods};
use crate::site::{NODES, Site, each, unit};
use crate::wait::{seconds, until_true};

/// Every unit is stopped by hand before the daemon is started.
pub(crate) fn cold_cluster_is_brought_up_to_converged(site: &Site) -> Result<()> {
    site.daemon("stop")?;
    for node in NODES.iter().rev() {
        site.on(node, &format!("systemctl stop --no-block {}", unit(node)))?;
    }
    each(&NODES, |node| until_true("its unit to stop", seconds(20), || Ok(site.unit_state(node)? == "inactive")))?;
    site.daemon("start")?;
    site.until_running(seconds(90))?;
    for node in site.items(&["nodes"])? {
        let conditions = node["status"]["conditions"].as_array();
        let is_ready = conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True");
        ensure!(is_ready && node["spec"]["unschedulable"].is_null(), "{} is not served", node["metadata"]["name"]);
    }
    ensure!(site.hecate(&["status"])?.code == 0, "a converged status does not end with 0");
    Ok(())
}

/// `set-desired off` and back, with a node that somebody else had cordoned, a budget that allows nothing, a volume.
pub(crate) fn drained_off_empties_the_cluster_and_running_fills_it(site: &Site) -> Result<()> {
    site.kubectl(&["cordon", "cp-2"])?;
    let before = owed_pods(site)?;
    let snapshots = counts::etcd_snapshots(site)?;
    let mark = Mark::now(site)?;
    site.set_desired("off", "a new switch")?;
    let status = site
        .until_status("drained-off", seconds(60), |status| status.is_converged() && status.state() == "drained-off")?;
    each(&NODES, |node| {
        ensure!(site.state(node)? == "on", "it was powered off");
        ensure!(site.unit_state(node)? == "inactive", "{} runs", unit(node));
        // sudo allows k3s-killall.sh here: nothing is left, of evicted pods or others.
        let left = counts::container_processes(site, node)?;
        ensure!(left.is_empty(), "processes of containers are left: {}", left.join(", "));
        ensure!(mark.sudo_count(site, node, "poweroff")? == 0, "it was told to power off");
        Ok(())
    })?;
    let taken = counts::etcd_snapshots(site)?;
    let new: Vec<_> = taken.iter().filter(|(name, _)| !snapshots.contains_key(*name)).collect();
    ensure!(new.len() == 1 && *new[0].1 > 0, "one snapshot with something in it was to be there: {new:?}");
    ensure!(new[0].0.contains(status.run()), "{} is not named after the run {}", new[0].0, status.run());
    site.set_desired("running", "done")?;
    site.until_running(seconds(90))?;
    mark.pods_left_within_their_grace(site, &before)?;
    mark.no_new_pod_was_evicted(site, &before)?;
    for node in site.items(&["nodes"])? {
        let is_cordoned = node["spec"]["unschedulable"] == true;
        ensure!(
            is_cordoned == (node["metadata"]["name"] == "cp-2"),
            "{}: cordoned: {is_cordoned}",
            node["metadata"]["name"]
        );
        ensure!(node["metadata"]["annotations"]["hecate.dev/cordoned-by"] == json!(null), "the mark is left");
    }
    until_true("the workload to run again", seconds(30), || has_workload(site))?;
    site.kubectl(&["uncordon", "cp-2"])?;
    Ok(())
}

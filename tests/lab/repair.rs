//! Back to where every test begins: mains there, all hosts on and at their addresses, hecate as installed, converged.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::hecate::{DROP_IN, config};
use crate::site::{NODES, OWN_HOST, Site, unit};
use crate::wait::{Look, seconds, until};

/// What budgets are learned from, what batteries and outages are known by, and what a restart goes on from.
const KNOWN: &str = "/var/lib/hecate/runs.json /var/lib/hecate/ledger.json /run/hecate/low.json";
/// A run that taught something, an outage that the battery has not recharged from, or one that showed what it gives.
const LEARNED: &str = r#""state": ?"(drained-off|poweroff)"|"(count|proven|discharge)": ?[{]"#;

/// Brings the cluster back to running and converged; with a fresh site where that does not work.
pub(crate) fn converged(site: &Site) -> Result<()> {
    if is_well(site).unwrap_or(false) {
        return Ok(());
    }
    if let Err(error) = mend(site) {
        site.say(&format!("the site is made anew: {error:#}"));
        site.up()?;
        site.install()?;
        mend(site)?;
    }
    Ok(())
}

/// Whether nothing is to be mended, a moment after the last test's end.
fn is_well(site: &Site) -> Result<bool> {
    let hosts = NODES.iter().chain(&[OWN_HOST, "jump"]);
    let are_on = hosts.map(|host| site.state(host)).collect::<Result<Vec<_>>>()?.iter().all(|state| state == "on");
    let calm = format!("systemctl is-active -q hecate && test ! -e {DROP_IN} && ! grep -qsE '{LEARNED}' {KNOWN}");
    if !are_on
        || site.try_on(OWN_HOST, &calm)?.code != 0
        || site.lab(&["file", OWN_HOST, "/etc/hecate/hecate.yaml"])? != config(&[])?
        || site.status()?.state() != "running"
    {
        return Ok(false);
    }
    let status = site.until_status("the cluster to be well", seconds(10), |status| {
        status.is_running() && status.has_full_battery()
    })?;
    let has_holds = status.0["declared"]["holds"].as_array().is_some_and(|holds| !holds.is_empty());
    Ok(!has_holds && has_workload(site)?)
}

fn mend(site: &Site) -> Result<()> {
    // A driver that was stopped or killed first, or nothing is heard of what is set.
    site.run(&["ups", "cont-driver", "pyrphoros"], "", seconds(10))?;
    if site.ups_number("battery.runtime").is_err() {
        site.lab(&["ups", "start-upsd"])?;
    }
    site.restore_mains()?;
    site.lab(&["unswap", "worker-1", "worker-2"])?;
    for host in NODES.iter().chain(&[OWN_HOST, "jump"]) {
        match site.state(host)?.as_str() {
            "off" => drop(site.lab(&["node", "on", host])?),
            "frozen" => drop(site.lab(&["node", "thaw", host])?),
            _ => drop(site.lab(&["node", "plug", host])?),
        }
    }
    for host in NODES.iter().chain(&[OWN_HOST, "jump"]) {
        site.lab(&["wait", host, "30"])?;
    }
    for node in NODES {
        site.on(node, &format!("systemctl enable -q --no-reload {}", unit(node)))?;
    }
    site.on(
        OWN_HOST,
        // What was learned is forgotten too, as on a new host: a test goes the same whatever ran before it.
        &format!("systemctl stop hecate; systemctl reset-failed hecate || true; umount -q /var/lib/hecate || true; rm -f {KNOWN}"),
    )?;
    site.disarm()?;
    site.configure(&[])?;
    let holds = site.status()?.0["declared"]["holds"].as_array().cloned().unwrap_or_default();
    if !holds.is_empty() {
        for hold in holds {
            let node = hold["what"]["node"].as_str().unwrap_or_default().to_owned();
            let resume = ["resume", &node];
            site.hecate(if node.is_empty() { &resume[..1] } else { &resume })?.ok()?;
        }
    }
    site.set_desired("running", "before a test")?;
    until("the API", seconds(90), || site.kubectl(&["get", "--raw", "/readyz"]).map(Look::Seen))?;
    for node in site.items(&["nodes"])? {
        // What a test cordoned by hand; hecate's own cordons are hecate's matter.
        let is_ours = node["metadata"]["annotations"]["hecate.dev/cordoned-by"] != json!(null);
        if let (true, false, Some(name)) =
            (node["spec"]["unschedulable"] == true, is_ours, node["metadata"]["name"].as_str())
        {
            site.kubectl(&["uncordon", name])?;
        }
    }
    site.until_running(seconds(120))?;
    workload(site)
}

/// Applies the workload where it is not there, and waits until all of it runs.
fn workload(site: &Site) -> Result<()> {
    if has_workload(site)? {
        return Ok(());
    }
    site.apply(include_str!("workload.yaml"))?;
    until("the workload to run", seconds(60), || {
        let is_there = has_workload(site)?;
        Ok(if is_there { Look::Seen(()) } else { Look::NotYet("pods are missing".to_owned()) })
    })
}

/// Whether every pod of the workload runs where its node is up.
pub(crate) fn has_workload(site: &Site) -> Result<bool> {
    let pods = site.items(&["pods", "-n", "shop"])?;
    let is_ready = |pod: &&serde_json::Value| {
        let conditions = pod["status"]["conditions"].as_array();
        pod["metadata"]["deletionTimestamp"].is_null()
            && conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
    };
    let ready = pods.iter().filter(is_ready).count();
    ensure!(ready <= 15, "{ready} pods are more than the workload has");
    Ok(ready == 15)
}

/// Names of the pods that a drain owes: all of the workload but its DaemonSet.
pub(crate) fn owed_pods(site: &Site) -> Result<Vec<Pod>> {
    let pods = site.items(&["pods", "-n", "shop", "-l", "app!=every"])?;
    let pod = |one: &serde_json::Value| -> Result<Pod> {
        let text = |pointer: &str| {
            one.pointer(pointer).and_then(|it| it.as_str()).map(str::to_owned).context(pointer.to_owned())
        };
        Ok(Pod {
            name: text("/metadata/name")?,
            uid: text("/metadata/uid")?,
            grace: one["spec"]["terminationGracePeriodSeconds"].as_f64().unwrap_or(30.0),
        })
    };
    pods.iter().map(pod).collect()
}

/// A pod of the workload.
pub(crate) struct Pod {
    /// Its name.
    pub(crate) name: String,
    /// Its UID, which its process carries too.
    pub(crate) uid: String,
    /// Its grace, in seconds.
    pub(crate) grace: f64,
}

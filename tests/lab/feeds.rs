//! Two UPSes, of which one fails.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::counts::Mark;
use crate::repair::has_workload;
use crate::site::{OWN_HOST, Site, each};
use crate::wait::{Look, seconds, until, until_true};

/// Fed by pyrphoros alone.
const AFFECTED: [&str; 2] = ["cp-3", "worker-1"];
/// Fed by statera, alone or beside it.
const OTHERS: [&str; 3] = ["cp-1", "cp-2", "worker-2"];

/// The lab's inventory, with a supply of its own for each kind of node.
fn nodes() -> Value {
    let node = |name: &str, role: &str, host: u8, feeds: &[&str]| json!({"name": name, "role": role, "host": format!("10.99.0.{host}"), "feeds": feeds});
    json!([
        node("cp-1", "control-plane", 11, &["statera"]),
        node("cp-2", "control-plane", 12, &["pyrphoros", "statera"]),
        node("cp-3", "control-plane", 13, &["pyrphoros"]),
        node("worker-1", "worker", 21, &["pyrphoros"]),
        node("worker-2", "worker", 22, &["statera"]),
    ])
}

/// One server and one worker go, on the graceful path: two servers of three are a quorum.
pub(crate) fn one_ups_of_two_takes_only_what_it_alone_feeds(site: &Site) -> Result<()> {
    site.configure(&[
        ("nodes", nodes()),
        ("own_host.feeds", json!(["pyrphoros", "statera"])),
        (
            "upses",
            json!([
                {"name": "pyrphoros", "target": "pyrphoros@10.99.0.5", "recharge_hours": 0.01},
                {"name": "statera", "target": "statera@10.99.0.5", "recharge_hours": 0.01},
            ]),
        ),
        ("ups_policy.scope", json!("affected")),
        ("shutdown.ups_path", json!("auto")),
    ])?;
    let status = site.until_running(seconds(40))?;
    let mark = Mark::now(site)?;
    let trigger_at = status.0["budget"]["triggerAt"].as_f64().context("no trigger")?;
    site.cut_mains(trigger_at as u64 + 3)?;
    for node in AFFECTED {
        site.until_off(node, seconds(90))?;
    }
    let left = site.ups_number("battery.runtime")?;
    ensure!(left > 0.0, "the battery was empty before its nodes were off");
    let partly = site.until_status("the part to be dark and the rest to run", seconds(60), |status| {
        status.is_running() && AFFECTED.iter().all(|node| status.host(node) == "off")
    })?;
    let stands = &partly.0["declared"]["overrides"];
    ensure!(stands[0]["nodes"] == json!(AFFECTED) && stands[1].is_null(), "the overrides are {stands}");
    rest_runs(site, &mark)?;

    site.restore_mains()?;
    site.power_on(&AFFECTED)?;
    site.until_status("all of it to run", seconds(120), |status| status.is_running() && status.overrides().is_empty())?;
    until_true("the workload to run everywhere", seconds(40), || has_workload(site))?;
    each(&AFFECTED, |node| {
        let told = mark.sudo_count(site, node, "systemctl poweroff")?;
        ensure!(told == 1, "told to power off {told} times");
        Ok(())
    })?;
    for node in site.items(&["nodes"])? {
        ensure!(node["spec"]["unschedulable"].is_null(), "{} is still cordoned", node["metadata"]["name"]);
    }
    untouched(site, &mark)
}

/// The nodes that keep a feed serve: they take the workload over, etcd takes writes, and nobody told them anything.
fn rest_runs(site: &Site, mark: &Mark) -> Result<()> {
    until("the workload to run on the rest", seconds(60), || {
        let pods = site.items(&["pods", "-n", "shop", "-l", "app!=every"])?;
        let runs = |pod: &Value| {
            let conditions = pod["status"]["conditions"].as_array();
            let is_ready =
                conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True");
            is_ready && pod["spec"]["nodeName"].as_str().is_some_and(|node| OTHERS.contains(&node))
        };
        let count = pods.iter().filter(|pod| runs(pod)).count();
        Ok(if count == 10 { Look::Seen(()) } else { Look::NotYet(format!("{count} of 10 pods")) })
    })?;
    site.kubectl(&["-n", "shop", "create", "configmap", "written-by-the-rest"])?;
    site.kubectl(&["-n", "shop", "delete", "configmap", "written-by-the-rest"])?;
    ensure!(site.state(OWN_HOST)? == "on", "the hecate host is off although one of its feeds holds");
    untouched(site, mark)
}

/// Nothing was told to the nodes that keep a feed.
fn untouched(site: &Site, mark: &Mark) -> Result<()> {
    let writes = mark.api_writes(site)?;
    each(&OTHERS, |node| {
        ensure!(site.state(node)? == "on" && site.unit_state(node)? == "active", "it does not run");
        let told = mark.sudo_changes(site, node)?;
        ensure!(told.is_empty(), "it was told: {}", told.join("; "));
        let patched = writes.iter().find(|line| line.contains(&format!("/nodes/{node}")));
        ensure!(patched.is_none(), "its Node was changed: {}", patched.map_or("", String::as_str));
        Ok(())
    })
}

//! Mains go and come back, with a real upsd saying so.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::counts::Mark;
use crate::hecate::Status;
use crate::repair::has_workload;
use crate::site::{NODES, OWN_HOST, SERVERS, Site, each, unit};
use crate::wait::{Look, seconds, until, until_true};

/// Debounce (3 s, 3 polls), two polls, the driver's own second, and a look of the test's.
const TRIGGER_LIMIT_SECONDS: f64 = 3.0 + 2.0 + 1.0 + 1.0;

/// The whole story on the emergency path: nobody touches anything but the power.
pub(crate) fn outage_ends_dark_in_time_and_running_without_a_hand(site: &Site) -> Result<()> {
    // Units that do not start by themselves: whether the gate holds can be seen.
    each(&NODES, |node| site.on(node, &format!("systemctl disable -q --no-reload {}", unit(node))).map(drop))?;
    let trigger_at = site.status()?.0["budget"]["triggerAt"].as_f64().context("no trigger")?;
    site.cut_mains(trigger_at as u64 + 8)?;
    until_true("runtime at the threshold", seconds(30), || Ok(site.ups_number("battery.runtime")? <= trigger_at))?;
    let low = Instant::now();
    until("the override in desired.yaml", seconds(20), || override_in_file(site))?;
    let took = low.elapsed().as_secs_f64();
    ensure!(took <= TRIGGER_LIMIT_SECONDS, "the override came {took:.1} s after the threshold");
    for node in NODES.iter().chain(&[OWN_HOST]) {
        site.until_off(node, seconds(60))?;
    }
    let left = site.ups_number("battery.runtime")?;
    ensure!(left > 0.0, "the battery was empty before everything was off");
    let dark = low.elapsed().as_secs_f64();
    site.say(&format!("override {took:.1} s after the threshold, dark {dark:.1} s after it, {left} s left"));

    // Mains are back, with an empty battery: hosts come on, and the gate holds what is stopped.
    site.ups(&["ups.status=OL CHRG", "battery.charge=20", "battery.runtime=1800"])?;
    let mut hosts = NODES.to_vec();
    hosts.push(OWN_HOST);
    site.power_on(&hosts)?;
    let held = site.until_status("the recharge gate", seconds(60), |status| status.names("recharge", "pyrphoros"))?;
    ensure!(held.overrides().is_empty(), "the gate is shown while the override stands");
    each(&NODES, |node| {
        ensure!(site.unit_state(node)? != "active", "{} was started below the gate", unit(node));
        Ok(())
    })?;
    site.ups(&["battery.charge=80"])?;
    site.until_running(seconds(120))?;
    until_true("the workload to run again", seconds(40), || has_workload(site))?;
    each(&NODES, |node| site.on(node, &format!("systemctl enable -q --no-reload {}", unit(node))).map(drop))
}

/// Two outages in a row. Of the first nobody hears the end: the driver hangs while on battery. The second comes while the
/// cluster is brought up again.
pub(crate) fn silence_on_battery_ends_dark_and_an_outage_mid_bring_up_turns_it_round(site: &Site) -> Result<()> {
    // Units that do not start by themselves: what is started is hecate's doing.
    each(&NODES, |node| site.on(node, &format!("systemctl disable -q --no-reload {}", unit(node))).map(drop))?;
    let trigger_at = site.status()?.0["budget"]["triggerAt"].as_f64().context("no trigger")?;
    fall_silent_on_battery(site, trigger_at)?;
    all_off(site)?;

    site.lab(&["ups", "cont-driver", "pyrphoros"])?;
    site.restore_mains()?;
    let mark = Mark::now(site)?;
    site.power_on(&EVERYTHING)?;
    until_true("the servers to be started", seconds(60), || Ok(mark.sudo_count(site, "cp-1", START)? > 0))?;
    site.cut_mains(trigger_at as u64 + 4)?;
    let heard =
        site.until_status("the second outage to be heard, and the start to be blocked", seconds(15), |status| {
            status.0["effective"]["onBattery"] == true && status.names("on-battery", "pyrphoros")
        })?;
    // A step that was begun with the pass before is in the records by the next one.
    site.until_status("the next pass", seconds(15), |status| status.pass() > heard.pass())?;
    let started = counted(site, &mark, START)?;
    until("the override in desired.yaml", seconds(30), || override_in_file(site))?;
    all_off(site)?;
    let left = site.ups_number("battery.runtime")?;
    ensure!(left > 0.0, "the battery was empty before everything was off");
    site.say(&format!("dark in the middle of a bring-up with {left} s left of {trigger_at}"));
    let after = counted(site, &mark, START)?;
    ensure!(after == started, "started on battery: {started:?} before, {after:?} after");
    ensure!(started[3..] == [0, 0], "the bring-up was over before mains went: {started:?}");
    each(&SERVERS, |server| {
        let told = mark.sudo(site, server)?;
        let place = |words: &str| told.iter().position(|line| line.contains(words));
        let (stop, off) = (place("systemctl stop"), place("systemctl poweroff"));
        ensure!(stop.is_some() && stop < off, "k3s was up and was not stopped before its host: {}", told.join("; "));
        Ok(())
    })?;

    site.restore_mains()?;
    let mark = Mark::now(site)?;
    site.power_on(&EVERYTHING)?;
    site.until_running(seconds(120))?;
    until_true("the workload to run again", seconds(40), || has_workload(site))?;
    let told = counted(site, &mark, "systemctl poweroff")?;
    ensure!(told == [0; 5], "told to power off with mains there: {told:?}");
    each(&NODES, |node| site.on(node, &format!("systemctl enable -q --no-reload {}", unit(node))).map(drop))
}

/// The words of a start.
const START: &str = "systemctl start";
/// All hosts but the jump host.
const EVERYTHING: [&str; 6] = ["cp-1", "cp-2", "cp-3", "worker-1", "worker-2", OWN_HOST];

/// On battery, with some time left, and then without a word: critical when half of that time, counted down, is no more than
/// the trigger, but not before `lost_on_battery_seconds` (10).
fn fall_silent_on_battery(site: &Site, trigger_at: f64) -> Result<()> {
    site.ups(&["ups.status=OB DISCHRG", &format!("battery.runtime={:.0}", 2.0 * (trigger_at + SILENT_SECONDS))])?;
    site.until_status("OB to be heard", seconds(15), |status| {
        status.0["upses"]["pyrphoros"]["verdict"] == "on-battery"
    })?;
    site.lab(&["ups", "stop-driver", "pyrphoros"])?;
    // upsd's MAXAGE of 5 s comes first.
    let is_silent = |status: &Status| status.0["upses"]["pyrphoros"]["evidence"].to_string().contains("DATA-STALE");
    let named = site.until_status("the silence to be named", seconds(20), is_silent)?;
    ensure!(named.overrides().is_empty() && named.state() == "running", "not borne at all: {}", named.summary());
    let silent = Instant::now();
    until("the override in desired.yaml", seconds(30), || override_in_file(site))?;
    let took = silent.elapsed().as_secs_f64();
    site.say(&format!("override {took:.1} s after the first stale answer"));
    let text = site.lab(&["file", OWN_HOST, "/var/lib/hecate/desired.yaml"])?;
    for words in ["on battery and no word for 1", "its last figures leave 3", "DATA-STALE"] {
        ensure!(text.contains(words), "the override does not say why, {words:?}:\n{text}");
    }
    let limit = SILENT_SECONDS + TRIGGER_LIMIT_SECONDS;
    ensure!(took <= limit, "the override came {took:.1} s after the first stale answer");
    Ok(())
}

/// For how long a silence on battery is borne here, in seconds.
const SILENT_SECONDS: f64 = 14.0;

/// Every node and the hecate host, which stays until what a silent UPS told last is used up.
pub(crate) fn all_off(site: &Site) -> Result<()> {
    EVERYTHING.iter().try_for_each(|host| site.until_off(host, seconds(120)))
}

/// How often each node was told something since.
fn counted(site: &Site, mark: &Mark, words: &str) -> Result<Vec<usize>> {
    NODES.iter().map(|node| mark.sudo_count(site, node, words)).collect()
}

/// Whether the policy's override is on disk.
pub(crate) fn override_in_file(site: &Site) -> Result<Look<()>> {
    let text = site.lab(&["file", OWN_HOST, "/var/lib/hecate/desired.yaml"])?;
    Ok(if text.contains("ups-policy/pyrphoros") { Look::Seen(()) } else { Look::NotYet(text) })
}

/// The graceful path, and mains that return while pods are leaving.
pub(crate) fn outage_over_mid_drain_powers_nothing_off(site: &Site) -> Result<()> {
    site.configure(&[("shutdown.ups_path", json!("auto"))])?;
    let status = site.until_running(seconds(40))?;
    let mark = Mark::now(site)?;
    let trigger_at = status.0["budget"]["triggerAt"].as_f64().context("no trigger")?;
    site.cut_mains(trigger_at as u64 + 3)?;
    let draining = site.until_status("pods to be leaving", seconds(40), |status| status.names("drained", ""))?;
    ensure!(draining.0["effective"]["path"] == "graceful", "it took the {} path", draining.0["effective"]["path"]);
    site.restore_mains()?;
    site.until_running(seconds(60))?;
    ensure!(!mark.evictions(site)?.is_empty(), "no pod was evicted, so nothing was shown");
    each(&NODES, |node| {
        ensure!(site.state(node)? == "on", "it is off");
        ensure!(mark.sudo_count(site, node, "poweroff")? == 0, "it was told to power off");
        Ok(())
    })?;
    ensure!(site.state(OWN_HOST)? == "on", "the hecate host is off");
    for node in site.items(&["nodes"])? {
        ensure!(node["spec"]["unschedulable"].is_null(), "{} is still cordoned", node["metadata"]["name"]);
    }
    until_true("the workload to run again", seconds(30), || has_workload(site))
}

/// The graceful path to its end: the state directory is full, and a disruption budget allows nothing for ever.
pub(crate) fn outage_with_full_disk_and_stubborn_budget_ends_dark_in_time(site: &Site) -> Result<()> {
    // Its own host stays up, so that what the full disk did to it can be seen.
    site.configure(&[("shutdown.ups_path", json!("auto")), ("own_host.power_off", json!(false))])?;
    site.until_running(seconds(40))?;
    site.daemon("stop")?;
    let small = "mkdir -p /tmp/kept && cp -a /var/lib/hecate/. /tmp/kept && mount -t tmpfs -o size=4m,mode=750 state /var/lib/hecate && cp -a /tmp/kept/. /var/lib/hecate && rm -r /tmp/kept";
    site.on(OWN_HOST, small)?;
    site.daemon("start")?;
    let status = site.until_running(seconds(40))?;
    let trigger_at = status.0["budget"]["triggerAt"].as_f64().context("no trigger")?;
    // One file under both names: else the first attempt to write desired.yaml would free the block of the version before.
    site.on(OWN_HOST, "ln -f /var/lib/hecate/desired.yaml /var/lib/hecate/desired.yaml.previous")?;
    site.try_on(OWN_HOST, "cat /dev/zero >/var/lib/hecate/filler 2>/dev/null; for i in 1 2 3 4; do echo x >>/var/lib/hecate/filler; done 2>/dev/null")?;
    site.cut_mains(trigger_at as u64 + 5)?;
    let shown = site.until_status("the override to be obeyed", seconds(30), |status| status.state() == "poweroff")?;
    ensure!(shown.0["effective"]["path"] == "graceful", "it took the {} path", shown.0["effective"]["path"]);
    outlives_a_kill(site, &shown)?;
    for node in NODES {
        site.until_off(node, seconds(90))?;
    }
    let left = site.ups_number("battery.runtime")?;
    ensure!(left > 0.0, "the battery was empty before everything was off");
    site.say(&format!("dark with {left} s left of {trigger_at}"));
    let status = site.status()?;
    ensure!(!status.0["writeProblem"].is_null(), "that nothing could be written is not shown");
    site.on(OWN_HOST, "rm /var/lib/hecate/filler")?;
    site.restore_mains()?;
    site.power_on(&NODES)?;
    site.until_running(seconds(120))?;
    site.daemon("stop")?;
    site.on(OWN_HOST, "umount /var/lib/hecate")?;
    Ok(())
}

/// An override that is on no disk is the same one after the daemon was killed.
fn outlives_a_kill(site: &Site, shown: &Status) -> Result<()> {
    until("what the disk refused to be kept", seconds(5), || {
        let unsaved = site.low()?["unsaved"].to_string();
        Ok(if unsaved.contains("ups-policy/pyrphoros") { Look::Seen(()) } else { Look::NotYet(unsaved) })
    })?;
    let (pid, set_at) = (site.daemon_pid()?, shown.0["declared"]["overrides"][0]["setAt"].clone());
    site.kill_daemon()?;
    let again = site
        .until_status("another daemon", seconds(20), |status| status.daemon().is_some_and(|another| another != pid))?;
    let stands = &again.0["declared"]["overrides"];
    ensure!(stands[0]["setAt"] == set_at && stands[1].is_null(), "the override was {set_at}, now: {stands}");
    let text = site.lab(&["node", "exec", OWN_HOST, "cat", "/var/lib/hecate/desired.yaml"])?;
    ensure!(!text.contains("ups-policy"), "the disk was not full:\n{text}");
    Ok(())
}

//! What holds a start: clocks that lie or are not in sync, and another hecate host's shutdown.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::hecate::Status;
use crate::site::{NODES, OWN_HOST, Site, each};
use crate::wait::{seconds, stays};

/// Stands before date(1) on a node, so that its clock looks an hour ahead; all hosts share the machine's.
const FALSE_DATE: &str = "/usr/local/bin/date";

/// No k3s runs anywhere.
fn is_dark(site: &Site) -> Result<()> {
    each(&NODES, |node| {
        let state = site.unit_state(node)?;
        ensure!(state == "inactive", "k3s is {state}");
        Ok(())
    })
}

/// The cluster is off and to run again.
fn down_and_wished_up(site: &Site) -> Result<()> {
    site.set_desired_undrained("off", "clocks")?;
    site.until_status("the cluster to be off", seconds(90), |status| {
        status.state() == "drained-off" && status.is_converged()
    })?;
    Ok(())
}

/// One clock an hour ahead that says it is right, one whose own NTP server says it is off, one without a server.
pub(crate) fn lying_and_unsynced_clocks_hold_a_start_until_they_are_right(site: &Site) -> Result<()> {
    let result = lie(site);
    // Whatever came of it, the next test begins with right clocks.
    site.try_on("worker-1", &format!("rm -f {FALSE_DATE}"))?;
    for node in ["cp-2", "worker-2"] {
        site.lab(&["ntp", node, "0"])?;
    }
    result
}

fn lie(site: &Site) -> Result<()> {
    let strict = [("startup.time_sync_mode", json!("strict")), ("startup.time_sync_wait_seconds", json!(5))];
    site.configure(&strict)?;
    down_and_wished_up(site)?;
    site.put("worker-1", FALSE_DATE, "#!/bin/sh\nexec /usr/bin/date -d '1 hour' \"$@\"\n")?;
    site.on("worker-1", &format!("chmod 755 {FALSE_DATE}"))?;
    site.lab(&["ntp", "cp-2", "3600"])?;
    site.lab(&["ntp", "worker-2", "unsync"])?;
    // chronyd forgets what it measured before.
    for node in ["cp-2", "worker-2"] {
        site.on(node, "systemctl restart chrony")?;
    }
    // A start goes by the last look, which in calm times is some seconds old.
    site.until_status("the clocks to be seen", seconds(30), |status| {
        let host = |node: &str| &status.0["snapshot"]["hosts"][node]["known"]["value"];
        host("worker-1")["clock"]["aheadSeconds"].as_i64() > Some(3500)
            && host("cp-2")["ntpAheadSeconds"].as_i64() < Some(-3500)
            && host("worker-2")["isTimeSynced"] == false
    })?;
    site.set_desired("running", "clocks")?;
    let is_named = |status: &Status, name: &str| {
        status.names(name, "worker-1 says it is in sync, but its clock is 3")
            && status.names(name, "cp-2 says it is in sync, but its NTP servers find its clock 3")
            && status.names(name, "worker-2 is not in sync")
    };
    site.until_status("the start to wait for clocks", seconds(30), |status| is_named(status, "time-sync"))?;
    site.until_status("the clocks to block by name", seconds(30), |status| is_named(status, "time-not-synced"))?;
    is_dark(site)?;

    // Three of six are a quorum as soon as one says so.
    let quorum = [("startup.time_sync_mode", json!("quorum")), ("startup.time_sync_quorum", json!(4))];
    site.configure(&[&quorum[..], &strict[1..]].concat())?;
    site.until_status("the quorum to be missed by one", seconds(30), |status| is_named(status, "time-not-synced"))?;
    is_dark(site)?;
    site.on("worker-1", &format!("rm {FALSE_DATE}"))?;
    site.until_running(seconds(90))?;
    Ok(())
}

/// The jump host plays another hecate host; its file is written as hecate writes it.
pub(crate) fn peers_shutdown_holds_a_start_until_it_is_over_or_stale(site: &Site) -> Result<()> {
    site.on(OWN_HOST, &format!("cp {KNOWN_HOSTS} {KNOWN_HOSTS}.kept"))?;
    let result = hold(site);
    site.on(OWN_HOST, &format!("mv {KNOWN_HOSTS}.kept {KNOWN_HOSTS}"))?;
    site.on("jump", "rm -rf /var/lib/hecate")?;
    result
}

/// The host keys that hecate goes by.
const KNOWN_HOSTS: &str = "/etc/hecate/known_hosts";

fn says(site: &Site, state: &str, since: &str) -> Result<()> {
    let file = "/var/lib/hecate/intent.json";
    let since = format!("'$(date -u -d '{since}' +%FT%TZ)'");
    let record = format!(r#"{{"state":"{state}","since":"{since}","by":"root@jump","reason":"new switch"}}"#);
    site.on("jump", &format!("mkdir -p -m 751 /var/lib/hecate && echo '{record}' >{file} && chmod 644 {file}"))?;
    Ok(())
}

fn hold(site: &Site) -> Result<()> {
    // A host whose key nobody has vouched for says nothing; enrolling it is one command.
    says(site, "shutting_down", "now")?;
    site.on(OWN_HOST, &format!("sed -i /10.99.0.3/d {KNOWN_HOSTS}"))?;
    site.configure(&[("coordination.peer_hosts", json!(["10.99.0.3"]))])?;
    site.until_status("the unknown host to be told", seconds(30), |status| {
        status.warns("peer-unreachable", "10.99.0.3")
    })?;
    let enrolled = site.hecate(&["enroll", "10.99.0.3"])?.ok()?;
    ensure!(enrolled.starts_with("10.99.0.3\n  host key   SHA256:"), "{enrolled}");

    down_and_wished_up(site)?;
    site.set_desired("running", "a peer")?;
    site.until_status("the start to be held by the peer", seconds(20), |status| {
        status.names("peer-shutting-down", "root@jump: new switch")
    })?;
    stays("nothing starts", seconds(5), || Ok(is_dark(site).is_ok()))?;
    // A host that is gone is taken at its last word.
    site.lab(&["node", "unplug", "jump"])?;
    let silent = site.until_status("the peer's silence to be told", seconds(30), |status| {
        status.warns("peer-unreachable", "10.99.0.3")
    })?;
    ensure!(silent.names("peer-shutting-down", "root@jump"), "its last word is forgotten: {}", silent.summary());
    is_dark(site)?;
    site.lab(&["node", "plug", "jump"])?;
    says(site, "normal", "now")?;
    site.until_running(seconds(90))?;

    // One that died on the way an hour ago holds nothing.
    says(site, "shutting_down", "1 hour ago")?;
    site.on("worker-1", "systemctl stop k3s-agent")?;
    site.until_status("the agent to be started again", seconds(60), |status| {
        status.warns("peer-intent-stale", "10.99.0.3")
            && status.is_running()
            && status.0["nodes"]["worker-1"]["unitState"] == "running"
    })?;
    Ok(())
}

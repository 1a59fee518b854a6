//! Every `ssh_*` key, by one read-only pass of `hecate status` with a configuration of its own.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::counts::Mark;
use crate::hecate::{Status, config};
use crate::site::{NODES, OWN_HOST, Site};
use crate::wait::{Look, seconds, stays, until, until_true};

/// Where these configurations are put.
const PATH: &str = "/etc/hecate/ssh.yaml";
const ADDRESS: [(&str, &str); 5] = [
    ("cp-1", "10.99.0.11"),
    ("cp-2", "10.99.0.12"),
    ("cp-3", "10.99.0.13"),
    ("worker-1", "10.99.0.21"),
    ("worker-2", "10.99.0.22"),
];

/// How long looks are repeated: on a busy machine an sshd may be slower than `ssh_connect_timeout_seconds` once.
const PATIENCE: Duration = seconds(30);

/// Looks with some keys changed, until it is seen what they do.
fn look(site: &Site, changes: &[(&str, Value)], shows: impl Fn(&Status) -> Result<()>) -> Result<()> {
    site.put(OWN_HOST, PATH, &config(changes)?)?;
    let keys: Vec<&str> = changes.iter().map(|(key, _)| *key).collect();
    until(&keys.join(", "), PATIENCE, || shows(&site.status_with(&["--config", PATH])?).map(Look::Seen))
}

fn all_up(status: &Status) -> Result<()> {
    for node in NODES {
        ensure!(status.host(node) == "up", "{node} is {}: {}", status.host(node), status.0["snapshot"]["hosts"][node]);
    }
    Ok(())
}

/// Boottime of the hecate host, in seconds.
fn boottime(site: &Site) -> Result<f64> {
    let uptime = site.on(OWN_HOST, "cat /proc/uptime")?;
    Ok(uptime.split(' ').next().unwrap_or_default().parse()?)
}

/// When the last look at a host began, where it saw something.
fn began(status: &Status, node: &str) -> Option<f64> {
    status.0["snapshot"]["hosts"][node]["known"]["began"].as_f64()
}

/// The inventory with something done to each node.
fn nodes(change: impl Fn(&str, &mut Value)) -> Result<Value> {
    let whole: Value = serde_yaml::from_str(&config(&[])?)?;
    let mut nodes = whole["nodes"].clone();
    for node in nodes.as_array_mut().into_iter().flatten() {
        let name = node["name"].as_str().unwrap_or_default().to_owned();
        change(&name, node);
    }
    Ok(nodes)
}

/// Identity, known hosts, config file, port, users, addresses. Without a daemon: each look is the command's own.
pub(crate) fn each_ssh_key_does_what_it_says(site: &Site) -> Result<()> {
    site.daemon("stop")?;
    let without_hosts = nodes(|_, node| drop(node.as_object_mut().map(|it| it.remove("host"))))?;

    // ssh_node_hosts: addresses beside the inventory.
    let addresses: Value = ADDRESS
        .iter()
        .map(|(name, address)| ((*name).to_owned(), json!(address)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    look(site, &[("nodes", without_hosts), ("ssh_node_hosts", addresses)], all_up)?;

    // ssh_config_file: what has no key of its own, here a way of the operator's own to one node.
    let proxy = "ssh -i /etc/hecate/id_ed25519 -o UserKnownHostsFile=/etc/hecate/known_hosts -o BatchMode=yes -W %h:%p hecate@10.99.0.3";
    site.put(OWN_HOST, "/etc/hecate/ssh_config", &format!("Host worker-2\n  ProxyCommand {proxy}\n"))?;
    look(site, &[("ssh_config_file", json!("/etc/hecate/ssh_config"))], all_up)?;
    let seen = site.lab(&["journal", "worker-2", "-t", "sshd", "-o", "cat"])?;
    ensure!(
        seen.contains("Accepted publickey for hecate from 10.99.0.3 "),
        "worker-2 was not asked by way of the proxy"
    );

    // ssh_port: a second sshd on every node, and the first one out of the way of nobody.
    for node in NODES {
        site.on(node, "systemd-run -q --unit=lab-sshd-2222 /usr/sbin/sshd -D -p 2222")?;
    }
    look(site, &[("ssh_port", json!(2222))], all_up)?;
    for node in NODES {
        let seen = site.lab(&["journal", node, "-u", "lab-sshd-2222", "-o", "cat"])?;
        ensure!(seen.contains("Accepted publickey for hecate"), "{node} was not asked at port 2222:\n{seen}");
        site.on(node, "systemctl stop lab-sshd-2222")?;
    }

    // ssh_user and ssh_node_users: a login of its own on one node.
    site.on("worker-1", "id ops >/dev/null 2>&1 || useradd -m -s /bin/bash ops; usermod -p '*' ops; cp /etc/ssh/authorized_keys.d/hecate /etc/ssh/authorized_keys.d/ops")?;
    look(site, &[("ssh_node_users", json!({"worker-1": "ops"}))], all_up)?;
    let seen = site.lab(&["journal", "worker-1", "-t", "sshd", "-o", "cat"])?;
    ensure!(seen.contains("Accepted publickey for ops"), "worker-1 was not asked as ops");
    look(site, &[("ssh_user", json!("nobody"))], |nobody| {
        ensure!(nobody.host("cp-1") != "up", "ssh_user has no effect");
        ensure!(nobody.names("access-denied", "cp-1"), "not being let in is not named: {}", nobody.summary());
        Ok(())
    })?;

    // ssh_identity_file: another key is not let in.
    site.on(OWN_HOST, "rm -f /tmp/other /tmp/other.pub; ssh-keygen -q -t ed25519 -N '' -f /tmp/other")?;
    look(site, &[("ssh_identity_file", json!("/tmp/other"))], |other| {
        ensure!(other.names("access-denied", "worker-2"), "another key: {}", other.summary());
        Ok(())
    })?;

    // ssh_known_hosts_file: a host that was never enrolled is not believed.
    site.put(OWN_HOST, "/etc/hecate/nobody_known", "")?;
    look(site, &[("ssh_known_hosts_file", json!("/etc/hecate/nobody_known"))], |unknown| {
        ensure!(unknown.names("wrong-host", "worker-2"), "an unknown host key: {}", unknown.summary());
        Ok(())
    })?;
    site.daemon("start")
}

/// ssh_jump_host, ssh_jump_user, ssh_jump_port.
pub(crate) fn jump_host_is_used_and_gone_around_when_it_is_away(site: &Site) -> Result<()> {
    site.daemon("stop")?;
    let jump = [("ssh_jump_host", json!("10.99.0.3"))];
    let mark = "Accepted publickey for hecate";
    let before = site.lab(&["journal", "jump", "-t", "sshd", "-o", "cat"])?.matches(mark).count();
    look(site, &jump, all_up)?;
    let after = site.lab(&["journal", "jump", "-t", "sshd", "-o", "cat"])?.matches(mark).count();
    ensure!(after > before, "the jump host was not used");
    let seen = site.lab(&["journal", "worker-1", "-t", "sshd", "-o", "cat"])?;
    ensure!(
        seen.lines().any(|line| line.contains(mark) && line.contains("from 10.99.0.3 ")),
        "worker-1 was asked directly"
    );

    site.on("jump", "id ops >/dev/null 2>&1 || useradd -m -s /bin/bash ops; usermod -p '*' ops; cp /etc/ssh/authorized_keys.d/hecate /etc/ssh/authorized_keys.d/ops; systemd-run -q --unit=lab-sshd-2222 /usr/sbin/sshd -D -p 2222")?;
    let own = [("ssh_jump_host", json!("10.99.0.3")), ("ssh_jump_user", json!("ops")), ("ssh_jump_port", json!(2222))];
    look(site, &own, all_up)?;
    let seen = site.lab(&["journal", "jump", "-u", "lab-sshd-2222", "-o", "cat"])?;
    ensure!(seen.contains("Accepted publickey for ops"), "ssh_jump_user and ssh_jump_port have no effect:\n{seen}");
    site.on("jump", "systemctl stop lab-sshd-2222")?;

    // The daemon goes around a jump host that is away, and says nothing of lost nodes for longer than a look.
    site.configure(&jump)?;
    site.until_running(seconds(40))?;
    site.lab(&["node", "unplug", "jump"])?;
    let unplugged = boottime(site)?;
    // Kept connections through it are noticed to be dead, and every host is asked directly.
    let status = site.until_status("every host to be seen again, and the cluster to run", seconds(60), |status| {
        let is_later = |node: &&str| began(status, node).is_some_and(|began| began > unplugged + 8.0);
        NODES.iter().all(is_later) && status.is_running()
    })?;
    all_up(&status)?;
    site.lab(&["node", "plug", "jump"])?;
    Ok(())
}

/// ssh_managed_nodes: what is not in it is watched, shown, and never commanded.
pub(crate) fn unmanaged_node_is_shown_and_never_commanded(site: &Site) -> Result<()> {
    site.configure(&[("ssh_managed_nodes", json!(["cp-1", "cp-2", "cp-3", "worker-1"]))])?;
    let status = site.until_running(seconds(40))?;
    ensure!(status.host("worker-2") == "not-managed", "worker-2 is shown as {}", status.host("worker-2"));
    ensure!(status.warns("not-managed", "worker-2"), "that worker-2 is only watched is not said");
    let mark = Mark::now(site)?;
    let logins = || -> Result<usize> {
        Ok(site.lab(&["journal", "worker-2", "-t", "sshd", "-o", "cat"])?.matches("Accepted publickey").count())
    };
    let before = logins()?;
    for node in ["worker-1", "worker-2"] {
        site.on(node, "systemctl stop k3s-agent")?;
    }
    until_true("worker-1's agent to run", seconds(30), || Ok(site.unit_state("worker-1")? == "active"))?;
    stays("worker-2's agent stopped", seconds(9), || Ok(site.unit_state("worker-2")? == "inactive"))?;
    ensure!(mark.sudo(site, "worker-2")?.is_empty(), "an unmanaged node was commanded");
    ensure!(logins()? == before, "an unmanaged node was asked over SSH");
    site.on("worker-2", "systemctl start k3s-agent")?;
    Ok(())
}

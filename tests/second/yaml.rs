//! Writes hecate's configuration for a site.

use std::fmt::Write as _;

use fastrand::Rng;
use hecate::model::Role;

use super::site::{Limits, Site, Way};

/// The text, and the figures of it that the judge needs.
pub(crate) fn configuration(rng: &mut Rng, site: &Site) -> (String, Limits) {
    let mut text = String::from("kubeconfig: /etc/hecate/kubeconfig\nmetrics: {listen: off}\nnodes:\n");
    for host in site.nodes() {
        node(&mut text, site, host);
    }
    own_host(&mut text, site);
    upses(&mut text, site);
    let limits = policy(rng, &mut text);
    startup(rng, &mut text);
    let drift = if site.reports_drift { "report" } else { "correct" };
    let _ = writeln!(text, "reconcile:\n  drift: {drift}");
    (text, limits)
}

/// One node.
fn node(text: &mut String, site: &Site, number: usize) {
    let host = &site.hosts[number];
    let role = if host.role == Some(Role::ControlPlane) { "control-plane" } else { "worker" };
    let _ = writeln!(text, "  - name: {}\n    role: {role}\n    host: {}", host.name, address(number));
    let feeds: Vec<&str> = host.feeds.iter().map(|ups| site.upses[*ups].name.as_str()).collect();
    let _ = writeln!(text, "    feeds: [{}]\n    power_off: {}", feeds.join(", "), host.power_off);
    if host.min_supplies > 1 {
        let _ = writeln!(text, "    min_supplies: {}", host.min_supplies);
    }
    if host.wake.is_some() {
        let _ = writeln!(text, "    wake: {{method: command, command: [/usr/local/bin/plug, {}]}}", host.name);
    }
}

/// The host hecate runs on.
fn own_host(text: &mut String, site: &Site) {
    let host = &site.hosts[site.own];
    let _ = writeln!(text, "own_host:");
    if host.role.is_some() {
        let _ = writeln!(text, "  node: {}", host.name);
        return;
    }
    let feeds: Vec<&str> = host.feeds.iter().map(|ups| site.upses[*ups].name.as_str()).collect();
    let _ = writeln!(text, "  feeds: [{}]\n  power_off: {}", feeds.join(", "), host.power_off);
    if host.min_supplies > 1 {
        let _ = writeln!(text, "  min_supplies: {}", host.min_supplies);
    }
}

/// The UPSes.
fn upses(text: &mut String, site: &Site) {
    let _ = writeln!(text, "upses:");
    for ups in &site.upses {
        let host = match ups.way {
            Way::Cable => "localhost".to_owned(),
            Way::OnHost(host) => address(host),
            Way::Card => format!("192.168.30.{}", ups.circuit + 1),
        };
        let _ = writeln!(text, "  - name: {}\n    target: {}@{host}", ups.name, ups.name);
        if ups.has_witness {
            let _ = writeln!(text, "    witness: 192.168.30.{}", 100 + ups.circuit);
        }
        if let Some((delay, _)) = ups.cut_delay {
            let _ = writeln!(text, "    username: hecate\n    password_file: /etc/hecate/nut");
            let _ = writeln!(text, "    cut_load: {{command: shutdown.return, delay_seconds: {delay}}}");
        }
    }
}

/// The policy, mostly as it is by default.
fn policy(rng: &mut Rng, text: &mut String) -> Limits {
    let scope = if rng.f64() < 0.3 { "affected" } else { "cluster" };
    let factor = [1.25, 1.25, 1.1, 1.5][rng.usize(0..4)];
    let debounce = [10.0, 10.0, 10.0, 6.0][rng.usize(0..4)];
    let _ = writeln!(text, "ups_policy:\n  scope: {scope}\n  runtime_safety_factor: {factor}");
    let _ = writeln!(text, "  debounce_seconds: {debounce}");
    let path = if rng.f64() < 0.25 { "auto" } else { "emergency" };
    let _ = writeln!(text, "shutdown:\n  ups_path: {path}");
    let longest = if path == "auto" { 600.0 } else { 300.0 };
    Limits {
        trigger: factor * (300.0 + 60.0),
        earliest: factor * (longest + 60.0),
        last: factor * 60.0,
        charge_min: 30.0,
        debounce,
    }
}

/// Bring-up, mostly as it is by default.
fn startup(rng: &mut Rng, text: &mut String) {
    let charge = [50.0, 50.0, 50.0, 35.0, 80.0][rng.usize(0..5)];
    let wait = [14_400, 14_400, 3_600][rng.usize(0..3)];
    let burst = [0, 0, 2][rng.usize(0..3)];
    let _ = writeln!(text, "startup:\n  recharge_charge_percent_min: {charge}");
    let _ = writeln!(text, "  recharge_max_wait_seconds: {wait}\n  wake_burst: {burst}");
}

/// The address of a host.
fn address(host: usize) -> String {
    format!("192.168.22.{}", 10 + host)
}

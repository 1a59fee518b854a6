//! Draws a site from a seed: hosts, UPSes after the profiles of real ones, and hecate's configuration for them.

use fastrand::Rng;
use hecate::model::Role;

use super::profile::{self, Profile};
use super::script::{self, between, spread};
use super::site::{ChargeKind, Firmware, HostSpec, Limits, LoadKind, LowKind, RuntimeKind, Site, UpsSpec, Way};
use super::yaml;

/// Words that a device says on line only: on battery its inverter runs, whatever it did before.
const ON_LINE_ONLY: [&str; 7] = ["BYPASS", "TRIM", "BOOST", "OFF", "CAL", "HE", "CHRG"];
/// Words that tell which source feeds the load; the world says those itself.
const SOURCES: [&str; 3] = ["OL", "OB", "DISCHRG"];

/// A site with its script.
pub(crate) fn site(rng: &mut Rng) -> Site {
    let circuits = if rng.f64() < 0.35 { 2 } else { 1 };
    let ups_count = [1, 1, 1, 2, 2, 3][rng.usize(0..6)];
    let mut hosts = hosts(rng, ups_count);
    let own = own_host(rng, &mut hosts, ups_count);
    let upses = (0..ups_count).map(|number| ups(rng, number, circuits, &hosts, own)).collect();
    let mut site = Site {
        hosts,
        own,
        upses,
        circuits,
        switch_on: (rng.f64() < 0.96).then(|| rng.usize(0..ups_count)),
        switch_seconds: between(rng, 15.0, 90.0),
        agents_notify: rng.bool(),
        yaml: String::new(),
        limits: Limits { trigger: 450.0, earliest: 450.0, last: 75.0, charge_min: 30.0, debounce: 10.0 },
        reports_drift: rng.f64() < 0.1,
        pass_seconds: [1.0, 1.0, 2.0, 3.0, 5.0][rng.usize(0..5)],
        script: Vec::new(),
        calm_from: 0.0,
    };
    let (text, limits) = yaml::configuration(rng, &site);
    site.yaml = text;
    site.limits = limits;
    (site.script, site.calm_from) = script::draw(rng, &site);
    site
}

/// One to seven nodes.
fn hosts(rng: &mut Rng, ups_count: usize) -> Vec<HostSpec> {
    let count = rng.usize(1..8);
    let servers = [1, 1, 1, 3, 3, 3, 5][rng.usize(0..7)].min(if count < 3 { 1 } else { count });
    let firmware = [Firmware::AlwaysOn, Firmware::AlwaysOn, Firmware::LastState, Firmware::StaysOff][rng.usize(0..4)];
    (0..count)
        .map(|number| {
            let role = if number < servers { Role::ControlPlane } else { Role::Worker };
            let name = if number < servers { format!("cp-{number}") } else { format!("worker-{number}") };
            let mut host = host(rng, name, Some(role), firmware);
            feeds(rng, &mut host, ups_count);
            host
        })
        .collect()
}

/// A host of a drawn kind.
fn host(rng: &mut Rng, name: String, role: Option<Role>, firmware: Firmware) -> HostSpec {
    let is_slow = rng.f64() < 0.06;
    HostSpec {
        name,
        role,
        feeds: Vec::new(),
        min_supplies: 1,
        power_off: rng.f64() < 0.93,
        wake: (rng.f64() < 0.55).then(|| rng.f64() < 0.93),
        firmware,
        boot_seconds: between(rng, 15.0, 110.0),
        stop_seconds: if is_slow { between(rng, 20.0, 85.0) } else { between(rng, 1.0, 15.0) },
        silent_seconds: between(rng, 0.5, 8.0),
        write_seconds: if is_slow { between(rng, 20.0, 110.0) } else { between(rng, 2.0, 20.0) },
        ready_seconds: between(rng, 8.0, 45.0),
        watts: between(rng, 8.0, 140.0),
        is_enabled: rng.f64() < 0.8,
        pods: rng.usize(0..4),
    }
}

/// Which UPSes feed a host.
fn feeds(rng: &mut Rng, host: &mut HostSpec, ups_count: usize) {
    let first = rng.usize(0..ups_count);
    host.feeds = vec![first];
    if ups_count > 1 && rng.f64() < 0.25 {
        host.feeds.push((first + 1) % ups_count);
        host.min_supplies = if rng.f64() < 0.15 { 2 } else { 1 };
    } else if rng.f64() < 0.03 && !host.is_server() {
        host.feeds.clear();
    }
}

/// The host that hecate runs on: mostly one of its own, else a node.
fn own_host(rng: &mut Rng, hosts: &mut Vec<HostSpec>, ups_count: usize) -> usize {
    if rng.f64() < 0.25 {
        return rng.usize(0..hosts.len());
    }
    let firmware = if rng.f64() < 0.9 { Firmware::AlwaysOn } else { Firmware::LastState };
    let mut own = host(rng, "watch".to_owned(), None, firmware);
    own.wake = None;
    own.pods = 0;
    own.stop_seconds = 0.0;
    own.write_seconds = own.write_seconds.min(20.0);
    feeds(rng, &mut own, ups_count);
    if own.feeds.is_empty() {
        own.min_supplies = 1;
    }
    hosts.push(own);
    hosts.len() - 1
}

/// A UPS that says what one of the profiles says.
fn ups(rng: &mut Rng, number: usize, circuits: usize, hosts: &[HostSpec], own: usize) -> UpsSpec {
    let profile = profile::nth(rng.usize(0..profile::count()));
    let way = match rng.usize(0..100) {
        0..=64 => Way::Cable,
        65..=81 => Way::OnHost(rng.usize(0..hosts.len())),
        _ => Way::Card,
    };
    let way = if way == Way::OnHost(own) { Way::Cable } else { way };
    let standing: Vec<&str> = profile.words.iter().copied().filter(|word| !SOURCES.contains(word)).collect();
    let lasting = standing.iter().copied().filter(|word| !ON_LINE_ONLY.contains(word)).collect();
    let may_cut = hosts.iter().all(|host| host.power_off || !host.feeds.contains(&number));
    let feeds_own = hosts[own].feeds.contains(&number);
    let has_witness = way == Way::Card && rng.f64() < 0.75;
    UpsSpec {
        name: format!("ups-{number}"),
        circuit: number % circuits,
        way,
        new_seconds: spread(rng, 180.0, 7200.0),
        health: if rng.f64() < 0.6 { between(rng, 0.85, 1.0) } else { between(rng, 0.3, 0.85) },
        knows_age: rng.bool(),
        recharge_hours: between(rng, 4.0, 12.0),
        charge: charge(rng, &profile),
        runtime: runtime(rng, &profile),
        load: load(rng, &profile),
        low: low(rng, &profile),
        charge_low: profile.charge_low,
        pollfreq: profile.pollfreq.unwrap_or(if rng.bool() { 30.0 } else { 2.0 }),
        tells_pollfreq: profile.pollfreq.is_some(),
        lasting,
        never_says_ob: profile.says("DISCHRG") && profile.says("OL") && !profile.says("OB") && rng.bool(),
        says_both: profile.says("OL") && profile.says("OB"),
        says_charging: standing.contains(&"CHRG") || profile.says("DISCHRG") || rng.f64() < 0.6,
        standing,
        bare_seconds: if rng.f64() < 0.04 { spread(rng, 5.0, 3000.0) } else { 0.0 },
        flash_seconds: if rng.f64() < 0.06 { between(rng, 1.0, 6.0) } else { 0.0 },
        cut_delay: (rng.f64() < if feeds_own { 0.65 } else { 0.3 } && may_cut)
            .then(|| (between(rng, 90.0, 300.0).round(), between(rng, 20.0, 300.0).round())),
        has_witness,
        has_serial: rng.f64() < 0.6,
    }
}

/// What its charge is made of.
fn charge(rng: &mut Rng, profile: &Profile) -> ChargeKind {
    let Some(told) = profile.charge else { return ChargeKind::Missing };
    if told <= 0.0 && !profile.says("CHRG") {
        return ChargeKind::Frozen(0.0);
    }
    if (1.0..90.0).contains(&told) && !profile.says("CHRG") && rng.bool() {
        return ChargeKind::TopsOut(told);
    }
    match rng.usize(0..100) {
        0..=54 => ChargeKind::Counted,
        55..=82 => ChargeKind::Voltage { sag: between(rng, 5.0, 25.0), recovers: between(rng, 60.0, 900.0) },
        83..=90 => ChargeKind::Frozen(told.min(100.0)),
        _ => ChargeKind::Coarse([5.0, 10.0, 25.0][rng.usize(0..3)]),
    }
}

/// What its runtime is made of.
fn runtime(rng: &mut Rng, profile: &Profile) -> RuntimeKind {
    let Some(told) = profile.runtime else { return RuntimeKind::Missing };
    let honest = between(rng, 0.85, 1.1);
    if told <= 0.0 {
        return if rng.bool() { RuntimeKind::Zero } else { RuntimeKind::ZeroOnLine { bias: honest } };
    }
    if told >= 65_535.0 {
        return RuntimeKind::Endless(told);
    }
    match rng.usize(0..100) {
        0..=61 => RuntimeKind::Estimate { bias: honest },
        62..=73 => RuntimeKind::Estimate { bias: between(rng, 1.1, 3.0) },
        74..=81 => RuntimeKind::Estimate { bias: between(rng, 0.4, 0.85) },
        82..=87 => RuntimeKind::Static(told),
        88..=91 => RuntimeKind::CountsUp,
        _ => RuntimeKind::ZeroOnLine { bias: honest },
    }
}

/// What its load is made of.
fn load(rng: &mut Rng, profile: &Profile) -> LoadKind {
    match profile.load {
        None => LoadKind::Missing,
        Some(told) if told <= 0.0 => LoadKind::Zero,
        Some(_) => LoadKind::Real(between(rng, 1.05, 12.0)),
    }
}

/// When it says LB.
fn low(rng: &mut Rng, profile: &Profile) -> LowKind {
    let at = profile.charge_low.unwrap_or(20.0);
    match rng.usize(0..100) {
        0..=54 => LowKind::Charge(at),
        55..=74 => LowKind::Runtime(120.0),
        _ => LowKind::Never,
    }
}

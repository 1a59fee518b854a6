//! A random cluster and what happens to it, drawn from a seed: the same seed is the same play for ever.
//!
//! Pure. The seed is the only source of chance.

#![deny(clippy::disallowed_methods)]

mod devices;
mod happenings;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fastrand::Rng;
use serde_yaml::Mapping;

use super::script::{Cluster, Script};
use super::world::device::Device;
use super::world::network::Switch;
use crate::model::{NodeName, UpsName};
use crate::snapshot::Datastore;

/// How much may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Mains, wishes, and hecate killed now and then.
    Outages,
    /// Everything there is.
    Faults,
}

/// What a seed drew, before it is a script.
struct Drawn {
    servers: usize,
    workers: usize,
    upses: usize,
    has_peer: bool,
    unit_stop: u64,
    host_stop: u64,
    /// How long hosts write after they have fallen silent, and what the configuration says of that.
    tail: u64,
    off_tail: u64,
    battery_minutes: u64,
    recharge_minutes: u64,
    devices: BTreeMap<UpsName, Device>,
    switch: Option<Switch>,
}

/// Draws the script of a seed.
pub fn script(seed: u64, trouble: Trouble) -> Script {
    let mut rng = Rng::with_seed(seed);
    let drawn = Drawn::draw(&mut rng);
    let cluster = cluster(&mut rng, &drawn);
    let minutes = rng.u64(15..60);
    // What a big battery does is seen where an outage lasts.
    let minutes = if chance(&mut rng, 30) { minutes.max(drawn.battery_minutes * 3 / 2) } else { minutes };
    let mut events = happenings::draw(&mut rng, &drawn, 60 * minutes, trouble);
    events.sort_by_key(|happening| happening.at);
    Script { cluster, events, minutes }
}

impl Drawn {
    fn draw(rng: &mut Rng) -> Self {
        let servers = pick(rng, &[(12, 1), (5, 2), (60, 3), (3, 4), (20, 5)]);
        let workers = match rng.u32(..1000) {
            0..3 => rng.usize(60..196),
            3..60 => rng.usize(6..20),
            _ => rng.usize(0..5),
        };
        let tail = if chance(rng, 50) { 0 } else { pick(rng, &[(8, 40), (2, 200)]) };
        let tail = if tail > 0 { rng.u64(5..=tail) } else { 0 };
        let off_tail = if chance(rng, 90) { tail + rng.u64(5..30) } else { rng.u64(5..60) };
        let battery_minutes = pick(rng, &[(4, (3, 9)), (5, (6, 40)), (1, (40, 121))]);
        let mut drawn = Self {
            servers,
            workers,
            upses: pick(rng, &[(60, 1), (26, 2), (9, 3), (5, 4)]),
            has_peer: chance(rng, 25),
            unit_stop: if chance(rng, 60) { 5 } else { rng.u64(1..80) },
            host_stop: if chance(rng, 60) { 12 } else { rng.u64(2..80) },
            tail,
            off_tail,
            battery_minutes: rng.u64(battery_minutes.0..battery_minutes.1),
            recharge_minutes: devices::recharge(rng),
            devices: BTreeMap::new(),
            switch: None,
        };
        drawn.switch = chance(rng, 10).then(|| drawn.switch(rng));
        drawn.devices = devices::draw(rng, &drawn);
        drawn
    }

    /// A switch with some nodes behind it, or with all of them.
    fn switch(&self, rng: &mut Rng) -> Switch {
        let has_all = chance(rng, 50);
        let nodes = (0..self.servers + self.workers).map(|number| node(self, number));
        let nodes = nodes.filter(|_| has_all || chance(rng, 50)).collect();
        Switch { mains_of: UpsName::new(ups(rng.usize(..self.upses))), nodes, late_seconds: rng.u64(0..180) }
    }
}

fn pick<T: Copy>(rng: &mut Rng, weighted: &[(u32, T)]) -> T {
    let total: u32 = weighted.iter().map(|(weight, _)| weight).sum();
    let mut at = rng.u32(..total);
    for (weight, value) in weighted {
        match at.checked_sub(*weight) {
            Some(rest) => at = rest,
            None => return *value,
        }
    }
    weighted[0].1
}

fn chance(rng: &mut Rng, percent: u32) -> bool {
    rng.u32(..100) < percent
}

fn ups(number: usize) -> String {
    ["pyrphoros", "statera", "helios", "selene"][number % 4].to_owned()
}

fn node(drawn: &Drawn, number: usize) -> NodeName {
    let number = number % (drawn.servers + drawn.workers);
    if number < drawn.servers {
        NodeName::new(format!("cp-{}", number + 1))
    } else {
        NodeName::new(format!("worker-{}", number - drawn.servers + 1))
    }
}

/// The UPSes that feed something, and how many of them it needs.
fn feeds(rng: &mut Rng, upses: usize) -> String {
    let first = rng.usize(..upses);
    if upses > 1 && chance(rng, 25) {
        let second = (first + 1 + rng.usize(..upses - 1)) % upses;
        let needs = if chance(rng, 20) { ", min_supplies: 2" } else { "" };
        return format!("feeds: [{}, {}]{needs}", ups(first), ups(second));
    }
    format!("feeds: [{}]", ups(first))
}

fn cluster(rng: &mut Rng, drawn: &Drawn) -> Cluster {
    let mut text = String::from("nodes:\n");
    // A UPS that feeds a host which is never powered off may not cut its load.
    let have_stays = chance(rng, 15);
    let have_wakes = pick(rng, &[(1, 0), (2, 25), (2, 90)]);
    for number in 0..drawn.servers + drawn.workers {
        let role = if number < drawn.servers { "control-plane" } else { "worker" };
        let wake = if chance(rng, have_wakes) { ", wake: {method: command, command: [/bin/wake]}" } else { "" };
        let stays = if have_stays && chance(rng, 15) { ", power_off: false" } else { "" };
        let feeds = feeds(rng, drawn.upses);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "- {{name: {}, role: {role}, {feeds}{wake}{stays}}}", node(drawn, number));
    }
    let goes_off = chance(rng, 90);
    // Some hecate hosts have mains without a UPS.
    let own_feeds = if chance(rng, 6) { "feeds: []".to_owned() } else { feeds(rng, drawn.upses) };
    let own_takes = if chance(rng, 90) { drawn.host_stop + rng.u64(10..30) } else { 30 };
    let _ = writeln!(text, "own_host: {{{own_feeds}, power_off: {goes_off}, power_off_seconds: {own_takes}}}");
    text.push_str("upses:\n");
    for number in 0..drawn.upses {
        let name = ups(number);
        let delay = if chance(rng, 60) { 20 + own_takes + drawn.off_tail } else { own_takes + 20 };
        let cut = if goes_off && !have_stays && chance(rng, 20) {
            format!(
                ", cut_load: {{command: shutdown.return, delay_seconds: {delay}}}, username: hecate, password_file: \
                 /etc/hecate/nut"
            )
        } else {
            String::new()
        };
        let more = devices::keys(rng, drawn, number);
        let _ = writeln!(text, "- {{name: {name}, target: {name}@localhost{cut}{more}}}");
    }
    policy(rng, drawn, &mut text);
    let config: Mapping = serde_yaml::from_str(&text).unwrap_or_default();
    let external = if drawn.servers == 1 { Datastore::Sqlite } else { Datastore::External };
    let nodes = (0..drawn.servers + drawn.workers).map(|number| node(drawn, number));
    let is_denied = chance(rng, 20);
    Cluster {
        servers: drawn.servers,
        workers: drawn.workers,
        config,
        battery_minutes: drawn.battery_minutes,
        recharge_minutes: drawn.recharge_minutes,
        pods: if drawn.workers > 20 { 1 } else { rng.usize(0..6) },
        storage_pods: false,
        units_enabled: chance(rng, 30),
        unit_stop_seconds: drawn.unit_stop,
        host_stop_seconds: drawn.host_stop,
        devices: drawn.devices.clone(),
        switch: drawn.switch.clone(),
        host_tail_seconds: drawn.tail,
        look_seconds: if chance(rng, 25) { 0 } else { rng.u64(1..9) },
        datastore: if chance(rng, 8) { external } else { Datastore::Etcd },
        killall_denied: nodes.filter(|_| is_denied && chance(rng, 60)).collect(),
        chronyd: chance(rng, 50),
        // A day of calm is what a record of it takes.
        calm_hours: if chance(rng, 3) { 26 } else { 0 },
        stop_timeout_seconds: [90, 90, 90, 20, 300][rng.usize(0..5)],
    }
}

/// The keys that are about when and how.
fn policy(rng: &mut Rng, drawn: &Drawn, text: &mut String) {
    let scope = if chance(rng, 40) { "affected" } else { "cluster" };
    let _ = writeln!(
        text,
        "ups_policy: {{scope: {scope}, mains_stable_seconds: {}, lost_on_battery_max_seconds: {}, \
         charge_frozen_seconds: {}}}",
        rng.u32(10..90),
        rng.u32(60..300),
        rng.u32(60..240),
    );
    // What the tail of the last host takes lies inside of every budget.
    let takes = drawn.off_tail + if chance(rng, 70) { drawn.unit_stop + drawn.host_stop } else { 0 };
    let emergency = u32::try_from(takes).unwrap_or(60) + rng.u32(60..240);
    let full = emergency + rng.u32(60..400);
    let path = if chance(rng, 45) { "auto" } else { "emergency" };
    let skips = !chance(rng, 20);
    let _ = writeln!(
        text,
        "shutdown: {{estimated_shutdown_budget_seconds: {full}, emergency_budget_seconds: {emergency}, ups_path: {path}, \
         emergency_skip_drain: {skips}, emergency_skip_etcd_snapshot: {skips}, off_confirm_seconds: {}, \
         off_tail_seconds: {}, drain_timeout_seconds: {}}}",
        rng.u32(20..100),
        drawn.off_tail,
        rng.u32(60..300),
    );
    let sync = pick(rng, &[(85, ""), (10, "time_sync_mode: strict, "), (5, "time_sync_mode: quorum, ")]);
    let quorum = if sync.contains("quorum") { "time_sync_quorum: 1, " } else { "" };
    let timeout = if chance(rng, 85) { "start" } else { "hold" };
    let burst = if chance(rng, 50) { 0 } else { rng.u32(1..5) };
    let _ = writeln!(
        text,
        "startup: {{{sync}{quorum}bring_up_seconds: {}, recharge_charge_percent_min: {}, ups_unknown_grace_seconds: {}, \
         recharge_max_wait_seconds: {}, node_wait_seconds: {}, recharge_timeout: {timeout}, mains_stable_seconds: {}, \
         wake_burst: {burst}}}",
        rng.u32(20..200),
        rng.u32(32..70),
        rng.u32(120..600),
        rng.u32(600..7200),
        rng.u32(60..400),
        rng.u32(10..120),
    );
    let drift = if chance(rng, 10) { "report" } else { "correct" };
    let steps = if chance(rng, 10) { 3 } else { 32 };
    let _ = writeln!(text, "reconcile: {{drift: {drift}, drift_grace_seconds: 60, max_steps_in_flight: {steps}}}");
    if drawn.has_peer {
        let role = if chance(rng, 20) { "role: peer, " } else { "" };
        let _ = writeln!(text, "coordination: {{{role}peer_hosts: [tethys], startup_guard_max_age_seconds: 1200}}");
    }
    if drawn.workers > 1 && chance(rng, 12) {
        text.push_str("ignore_unavailable_nodes: [worker-1]\n");
    }
    if drawn.workers > 1 && chance(rng, 8) && !text.contains("cut_load") {
        let managed = (0..drawn.servers + drawn.workers - 1).map(|number| node(drawn, number).to_string());
        let _ = writeln!(text, "ssh_managed_nodes: [{}]", managed.collect::<Vec<_>>().join(", "));
    }
}

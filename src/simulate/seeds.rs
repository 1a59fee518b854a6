//! A random cluster and what happens to it, drawn from a seed: the same seed is the same play for ever.
//!
//! Pure. The seed is the only source of chance.

#![deny(clippy::disallowed_methods)]

use std::fmt::Write as _;

use fastrand::Rng;
use serde_yaml::Mapping;

use super::event::Event;
use super::script::{Cluster, Happening, Script};
use super::world::acts::StepFault;
use super::world::ups::{Lie, RuntimeLie};
use crate::desired::Options;
use crate::model::{ClusterState, FailureKind, Intent, NodeName, PeerName, UpsName};

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
}

/// Draws the script of a seed.
pub fn script(seed: u64, trouble: Trouble) -> Script {
    let mut rng = Rng::with_seed(seed);
    let drawn = Drawn {
        servers: pick(&mut rng, &[(12, 1), (5, 2), (60, 3), (3, 4), (20, 5)]),
        workers: match rng.u32(..1000) {
            0..3 => rng.usize(60..196),
            3..60 => rng.usize(6..20),
            _ => rng.usize(0..5),
        },
        upses: pick(&mut rng, &[(60, 1), (26, 2), (9, 3), (5, 4)]),
        has_peer: rng.u32(..100) < 25,
    };
    let cluster = cluster(&mut rng, &drawn);
    let minutes = rng.u64(15..60);
    let mut events = events(&mut rng, &drawn, 60 * minutes, trouble);
    events.sort_by_key(|happening| happening.at);
    Script { cluster, events, minutes }
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
    for number in 0..drawn.servers + drawn.workers {
        let role = if number < drawn.servers { "control-plane" } else { "worker" };
        let wake = if chance(rng, 25) { ", wake: {method: command, command: [/bin/wake]}" } else { "" };
        let stays = if have_stays && chance(rng, 15) { ", power_off: false" } else { "" };
        let feeds = feeds(rng, drawn.upses);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "- {{name: {}, role: {role}, {feeds}{wake}{stays}}}", node(drawn, number));
    }
    let goes_off = chance(rng, 90);
    let _ = writeln!(text, "own_host: {{{}, power_off: {goes_off}, power_off_seconds: 30}}", feeds(rng, drawn.upses));
    text.push_str("upses:\n");
    for number in 0..drawn.upses {
        let name = ups(number);
        let cut = if goes_off && !have_stays && chance(rng, 20) {
            ", cut_load: {command: shutdown.return, delay_seconds: 120}, username: hecate, password_file: /etc/hecate/nut"
        } else {
            ""
        };
        let _ = writeln!(text, "- {{name: {name}, target: {name}@localhost{cut}}}");
    }
    policy(rng, drawn, &mut text);
    let config: Mapping = serde_yaml::from_str(&text).unwrap_or_default();
    Cluster {
        servers: drawn.servers,
        workers: drawn.workers,
        config,
        battery_minutes: if chance(rng, 40) { rng.u64(2..9) } else { rng.u64(6..40) },
        recharge_minutes: rng.u64(10..60),
        pods: if drawn.workers > 20 { 1 } else { rng.usize(0..6) },
        storage_pods: false,
        units_enabled: chance(rng, 30),
        unit_stop_seconds: if chance(rng, 60) { 5 } else { rng.u64(1..80) },
        host_stop_seconds: if chance(rng, 60) { 12 } else { rng.u64(2..80) },
    }
}

/// The keys that are about when and how.
fn policy(rng: &mut Rng, drawn: &Drawn, text: &mut String) {
    let scope = if chance(rng, 40) { "affected" } else { "cluster" };
    let _ = writeln!(text, "ups_policy: {{scope: {scope}, mains_stable_seconds: {}}}", rng.u32(10..90));
    let emergency = rng.u32(60..300);
    let full = emergency + rng.u32(60..400);
    let path = if chance(rng, 45) { "auto" } else { "emergency" };
    let skips = !chance(rng, 20);
    let _ = writeln!(
        text,
        "shutdown: {{estimated_shutdown_budget_seconds: {full}, emergency_budget_seconds: {emergency}, ups_path: {path}, \
         emergency_skip_drain: {skips}, emergency_skip_etcd_snapshot: {skips}, off_confirm_seconds: {}, \
         drain_timeout_seconds: {}}}",
        rng.u32(20..100),
        rng.u32(60..300),
    );
    let sync = pick(rng, &[(85, ""), (10, "time_sync_mode: strict, "), (5, "time_sync_mode: quorum, ")]);
    let quorum = if sync.contains("quorum") { "time_sync_quorum: 1, " } else { "" };
    let _ = writeln!(
        text,
        "startup: {{{sync}{quorum}bring_up_seconds: {}, recharge_charge_percent_min: {}, ups_unknown_grace_seconds: {}, \
         recharge_max_wait_seconds: {}, node_wait_seconds: {}}}",
        rng.u32(20..200),
        rng.u32(32..70),
        rng.u32(120..600),
        rng.u32(600..7200),
        rng.u32(60..400),
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

/// What happens in so many seconds.
fn events(rng: &mut Rng, drawn: &Drawn, seconds: u64, trouble: Trouble) -> Vec<Happening> {
    let mut events = Vec::new();
    for _ in 0..rng.usize(0..4) {
        outage(rng, drawn, seconds, &mut events);
    }
    for _ in 0..rng.usize(0..3) {
        let state =
            pick(rng, &[(5, ClusterState::Running), (3, ClusterState::DrainedOff), (2, ClusterState::Poweroff)]);
        let skip_drain = chance(rng, 10);
        let options = Options { skip_drain, skip_etcd_snapshot: chance(rng, 10), ..Options::default() };
        events.push(Happening { at: rng.u64(..seconds), event: Event::Wish { state, options } });
    }
    for _ in 0..rng.usize(0..3) {
        let away_seconds = if chance(rng, 70) { 0 } else { rng.u64(1..120) };
        events.push(Happening { at: rng.u64(..seconds), event: Event::HecateKilled { away_seconds } });
    }
    if trouble == Trouble::Faults {
        for _ in 0..rng.usize(0..7) {
            let at = rng.u64(..seconds);
            let ends = at + rng.u64(5..600);
            fault(rng, drawn, at, ends, &mut events);
        }
    }
    events
}

/// Mains that go and come back: for long, for seconds, or again and again.
fn outage(rng: &mut Rng, drawn: &Drawn, seconds: u64, events: &mut Vec<Happening>) {
    let which = (drawn.upses > 1 && chance(rng, 60)).then(|| UpsName::new(ups(rng.usize(..drawn.upses))));
    let mut at = rng.u64(..seconds);
    let flaps = if chance(rng, 15) { rng.u32(2..12) } else { 1 };
    for _ in 0..flaps {
        let lasts = if flaps > 1 || chance(rng, 15) { rng.u64(1..60) } else { rng.u64(60..3000) };
        let boots = chance(rng, 80);
        events.push(Happening { at, event: Event::MainsLost { ups: which.clone() } });
        events.push(Happening { at: at + lasts, event: Event::MainsBack { ups: which.clone(), boots } });
        at += lasts + rng.u64(1..60);
    }
}

/// Something that goes wrong, and is well again later where it can be.
fn fault(rng: &mut Rng, drawn: &Drawn, at: u64, ends: u64, events: &mut Vec<Happening>) {
    let node = node(drawn, rng.usize(..));
    let which = chance(rng, 50).then(|| UpsName::new(ups(rng.usize(..drawn.upses))));
    let peer = PeerName::new("tethys");
    let (begins, is_over) = match rng.u32(..26) {
        0..4 => (Event::Steps { faults: step_faults(rng) }, None),
        4 => (Event::HostSilent { node: node.clone() }, Some(Event::HostWell { node })),
        5 => (Event::HostHangs { node: node.clone() }, Some(Event::HostWell { node })),
        6 => (Event::HostDies { node: node.clone() }, Some(Event::ButtonPressed { node: Some(node) })),
        7 => (Event::HostSlow { node: node.clone(), times: rng.u32(2..8) }, Some(Event::HostWell { node })),
        8 => (Event::UnitStopped { node }, None),
        9 => (Event::UnitStarted { node }, None),
        10 => (Event::Cordoned { node }, None),
        11 => (Event::ApiGone, Some(Event::ApiBack)),
        12 => {
            let reordered = chance(rng, 50);
            // A few seconds are what every look takes, only without any luck.
            let longest = if chance(rng, 50) { 6 } else { 90 };
            (Event::ReadingsLate { seconds: rng.u64(1..longest), reordered }, Some(late(0)))
        }
        13 => (Event::DiskFull, Some(Event::DiskWorks)),
        14 => (spoiled(rng), None),
        15 => {
            let (ahead_seconds, synced) = (rng.i64(-100_000_000..100_000_000), chance(rng, 50));
            let node = chance(rng, 50).then_some(node);
            let well = Event::Clock { node: node.clone(), ahead_seconds: 0, synced: true };
            (Event::Clock { node, ahead_seconds, synced }, Some(well))
        }
        16 if drawn.has_peer => {
            let intent = [Intent::ShuttingDown, Intent::ShutdownComplete, Intent::StartupInProgress][rng.usize(..3)];
            (Event::PeerSays { peer: peer.clone(), intent }, Some(Event::PeerSays { peer, intent: Intent::Normal }))
        }
        17 if drawn.has_peer => {
            (Event::PeerSilent { peer: peer.clone() }, Some(Event::PeerSays { peer, intent: Intent::Normal }))
        }
        18 => (Event::UpsSilent { ups: which.clone(), how: silence(rng) }, Some(honest(which))),
        19 | 20 => (Event::UpsSays { ups: which.clone(), says: lie(rng) }, Some(honest(which))),
        21 => (Event::VolumesDetachIn { seconds: rng.u64(1..400) }, None),
        22 => (Event::Impostor { node: node.clone() }, Some(Event::ImpostorGone { node })),
        23 => (Event::PodsStopIn { seconds: rng.u64(1..200) }, None),
        _ => match rng.u32(..3) {
            0 => (Event::PodsProtected, None),
            1 => (Event::Paused { node: chance(rng, 70).then_some(node), minutes: rng.u32(1..20) }, None),
            _ => {
                (Event::UpsIgnored { ups: UpsName::new(ups(rng.usize(..drawn.upses))), minutes: rng.u32(1..20) }, None)
            }
        },
    };
    events.push(Happening { at, event: begins });
    events.extend(is_over.map(|event| Happening { at: ends, event }));
}

fn late(seconds: u64) -> Event {
    Event::ReadingsLate { seconds, reordered: false }
}

fn honest(ups: Option<UpsName>) -> Event {
    Event::UpsSays { ups, says: Lie::default() }
}

fn spoiled(rng: &mut Rng) -> Event {
    match rng.u32(..4) {
        0 => Event::LedgerSpoiled,
        1 => Event::LedgerLost,
        2 => Event::WishSpoiled,
        _ => Event::WishLost,
    }
}

fn step_faults(rng: &mut Rng) -> Vec<StepFault> {
    let all = [StepFault::Lost, StepFault::Doubled, StepFault::Hung, StepFault::Unanswered, StepFault::Failed];
    (0..rng.usize(1..6)).map(|_| all[rng.usize(..all.len())]).collect()
}

fn silence(rng: &mut Rng) -> FailureKind {
    pick(
        rng,
        &[
            (3, FailureKind::Unreachable),
            (3, FailureKind::DataStale),
            (2, FailureKind::DriverNotConnected),
            (1, FailureKind::UnknownUps),
            (1, FailureKind::TimedOut),
        ],
    )
}

fn lie(rng: &mut Rng) -> Lie {
    let words = [
        "OL LB",
        "OB OFF",
        "ALARM OL",
        "CAL DISCHRG",
        "OL CAL",
        "FSD OL",
        "FSD OB LB",
        "OL OVER",
        "OL BYPASS",
        "BYPASS",
        "WAIT",
        "OFF",
        "OL OFF",
        "OL FROBNICATING",
        "OL OL OL",
        "OB LB",
        "OB",
        "OL DISCHRG",
        "",
        "NOCOMM",
        "OL TRIM",
    ];
    let runtimes = [
        RuntimeLie::Missing,
        RuntimeLie::Frozen,
        RuntimeLie::Jumping,
        RuntimeLie::Fixed(0),
        RuntimeLie::Fixed(65_535),
        RuntimeLie::Times(4.0),
        RuntimeLie::Times(0.25),
    ];
    let mut lie = Lie::default();
    match rng.u32(..4) {
        0 | 1 => lie.status = Some(words[rng.usize(..words.len())].to_owned()),
        2 => lie.runtime = Some(runtimes[rng.usize(..runtimes.len())]),
        _ => {
            lie.runtime = Some(runtimes[rng.usize(..runtimes.len())]);
            lie.charge_percent = Some(if rng.bool() { -1.0 } else { f64::from(rng.u32(..101)) });
        }
    }
    lie
}

//! What happens to the cluster of a seed: mains, wishes, faults, and hecate killed now and then.
//!
//! Pure.

use fastrand::Rng;

use super::{Drawn, Trouble, chance, node, pick, ups};
use crate::desired::Options;
use crate::model::{ClusterState, FailureKind, Intent, PeerName, UpsName};
use crate::simulate::event::Event;
use crate::simulate::script::Happening;
use crate::simulate::world::acts::StepFault;
use crate::simulate::world::ups::{Lie, RuntimeLie};

/// What happens in so many seconds.
pub(super) fn draw(rng: &mut Rng, drawn: &Drawn, seconds: u64, trouble: Trouble) -> Vec<Happening> {
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
        if chance(rng, 6) {
            crashes(rng, seconds, &mut events);
        }
        if chance(rng, 10) {
            let ups = UpsName::new(ups(rng.usize(..drawn.upses)));
            let at = rng.u64(..seconds);
            driver(rng, at, Some(ups), &mut events);
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
        let longest = if chance(rng, 30) { 3000.max(80 * drawn.battery_minutes) } else { 3000 };
        let lasts = if flaps > 1 || chance(rng, 15) { rng.u64(1..60) } else { rng.u64(60..longest) };
        let boots = chance(rng, 80);
        events.push(Happening { at, event: Event::MainsLost { ups: which.clone() } });
        match rng.u32(..100) {
            0..8 if lasts > 30 => flicker(rng, at, lasts, which.clone(), events),
            8..14 => driver(rng, at, which.clone(), events),
            14..18 => waits(rng, at, which.clone(), events),
            18..21 if lasts > 60 => hangs(rng, at, lasts, which.clone(), events),
            _ => {}
        }
        events.push(Happening { at: at + lasts, event: Event::MainsBack { ups: which.clone(), boots } });
        match rng.u32(..100) {
            0..4 => first_words(rng, at + lasts, which.clone(), events),
            4..10 => recloser(rng, at + lasts, which.clone(), events),
            _ => {}
        }
        at += lasts + rng.u64(1..60);
    }
}

/// In the middle of an outage mains are there for a moment, and then nothing is heard of them until it is over.
fn flicker(rng: &mut Rng, began: u64, lasts: u64, ups: Option<UpsName>, events: &mut Vec<Happening>) {
    let at = began + rng.u64(10..lasts);
    let again = at + rng.u64(1..6);
    let silent = again + rng.u64(0..3);
    events.push(Happening { at, event: Event::MainsBack { ups: ups.clone(), boots: false } });
    events.push(Happening { at: again, event: Event::MainsLost { ups: ups.clone() } });
    events.push(Happening { at: silent, event: Event::UpsSilent { ups: ups.clone(), how: silence(rng) } });
    let speaks = began + lasts + rng.u64(0..60);
    events.push(Happening { at: speaks, event: honest(ups) });
}

/// A driver is started anew: silent, then a word without a figure, then all as before.
fn driver(rng: &mut Rng, at: u64, ups: Option<UpsName>, events: &mut Vec<Happening>) {
    let bare = at + rng.u64(3..20);
    let well = bare + rng.u64(2..70);
    let how = FailureKind::DriverNotConnected;
    events.push(Happening { at, event: Event::UpsSilent { ups: ups.clone(), how } });
    events.push(Happening { at: bare, event: Event::UpsSays { ups: ups.clone(), says: Lie::bare() } });
    events.push(Happening { at: well, event: honest(ups) });
}

/// upsd says WAIT while its driver connects anew, as it does at many a transfer.
fn waits(rng: &mut Rng, at: u64, ups: Option<UpsName>, events: &mut Vec<Happening>) {
    let says = Lie { status: Some("WAIT".to_owned()), ..Lie::bare() };
    events.push(Happening { at, event: Event::UpsSays { ups: ups.clone(), says } });
    events.push(Happening { at: at + rng.u64(1..8), event: honest(ups) });
}

/// A driver hangs in an outage, and goes on saying what it read last; often for long after the mains are back.
fn hangs(rng: &mut Rng, began: u64, lasts: u64, ups: Option<UpsName>, events: &mut Vec<Happening>) {
    let at = began + rng.u64(5..lasts);
    let (charge, runtime) = (f64::from(rng.u32(20..100)), rng.u64(300..4000));
    let says = Lie {
        status: Some("OB DISCHRG".to_owned()),
        runtime: Some(RuntimeLie::Fixed(runtime)),
        charge_percent: Some(charge),
        ..Lie::default()
    };
    events.push(Happening { at, event: Event::UpsSays { ups: ups.clone(), says } });
    events.push(Happening { at: at + lasts + rng.u64(60..6000), event: honest(ups) });
}

/// Mains are back, hosts boot, and the driver that boots with them says a word before it has read anything.
fn first_words(rng: &mut Rng, at: u64, ups: Option<UpsName>, events: &mut Vec<Happening>) {
    let says = Lie { status: Some("OB".to_owned()), ..Lie::bare() };
    events.push(Happening { at, event: Event::UpsSays { ups: ups.clone(), says } });
    events.push(Happening { at: at + rng.u64(5..100), event: honest(ups) });
}

/// Mains are back, and a recloser takes them away once more for a moment, as hosts boot.
fn recloser(rng: &mut Rng, back: u64, ups: Option<UpsName>, events: &mut Vec<Happening>) {
    let at = back + rng.u64(5..120);
    events.push(Happening { at, event: Event::MainsLost { ups: ups.clone() } });
    events.push(Happening { at: at + rng.u64(1..25), event: Event::MainsBack { ups, boots: false } });
}

/// hecate dies again and again, a few seconds after each start.
fn crashes(rng: &mut Rng, seconds: u64, events: &mut Vec<Happening>) {
    let (mut at, lives, away_seconds) = (rng.u64(..seconds), rng.u64(3..25), rng.u64(1..6));
    for _ in 0..rng.u32(3..60) {
        events.push(Happening { at, event: Event::HecateKilled { away_seconds } });
        at += lives + away_seconds;
    }
}

/// Something that goes wrong, and is well again later where it can be.
fn fault(rng: &mut Rng, drawn: &Drawn, at: u64, ends: u64, events: &mut Vec<Happening>) {
    let node = node(drawn, rng.usize(..));
    let which = chance(rng, 50).then(|| UpsName::new(ups(rng.usize(..drawn.upses))));
    let peer = PeerName::new("tethys");
    let (begins, is_over) = match rng.u32(..34) {
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
        24 => (Event::PowerOffHangs { node: node.clone() }, Some(Event::HostWell { node })),
        25 => {
            let ups = UpsName::new(ups(rng.usize(..drawn.upses)));
            (Event::WitnessSilent { ups: ups.clone() }, Some(Event::WitnessWell { ups }))
        }
        26 => (Event::BatteryReplaced { ups: UpsName::new(ups(rng.usize(..drawn.upses))) }, None),
        27 => {
            driver(rng, at, which, events);
            return;
        }
        28 => (Event::UpsSays { ups: which.clone(), says: figures(rng) }, Some(honest(which))),
        29 => (Event::LeaderMoves { node }, None),
        30 => (Event::OwnReboots, None),
        31 | 32 => {
            events.push(Happening { at, event: Event::UpsSays { ups: which.clone(), says: Lie::zeros() } });
            events.push(Happening { at: at + 2, event: honest(which) });
            return;
        }
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
        RuntimeLie::Counting,
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

/// Figures that are missing, stuck or wrong, whatever the words say.
fn figures(rng: &mut Rng) -> Lie {
    let mut lie = match rng.u32(..4) {
        0 => Lie::bare(),
        1 => Lie { charge_percent: Some(f64::from(pick(rng, &[(3, 100), (2, 0), (1, 255)]))), ..Lie::default() },
        2 => Lie { runtime: Some(RuntimeLie::Frozen), ..Lie::default() },
        _ => Lie { runtime: Some(RuntimeLie::Times(1.0 + f64::from(rng.u32(..30)) / 10.0)), ..Lie::default() },
    };
    if chance(rng, 15) {
        lie.charge_low_percent = Some(f64::from(rng.u32(5..100)));
    }
    if chance(rng, 10) {
        lie.device = Some("another".to_owned());
    }
    if chance(rng, 15) {
        lie.load_percent = Some(f64::from(rng.u32(..150)));
    }
    lie
}

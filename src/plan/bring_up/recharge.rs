//! The recharge gate: what is stopped is started only when its batteries hold one bring-up and one more full shutdown.
//!
//! Pure. It judges energy, never the runtime at the present load, which reads 0 or hours while everything is off. It is
//! judged load by load with its feeds, as the trigger is, and never holds a start for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::config::{Node, RechargeTimeout};
use crate::desired::ups_policy;
use crate::desired::ups_policy::battery::Battery;
use crate::model::{NodeName, UpsName};
use crate::plan::blocker::{Blocker, WaitReason, Warning};
use crate::plan::scene::{Draft, Scene};
use crate::snapshot::{UpsReading, UpsWord};
use crate::status::{HostState, UpsVerdict};
use crate::tracker::UpsMemory;

/// A charge that stands is that of a full battery only from here on, percent ...
const SETTLED_LEAST: f64 = 30.0;
/// ... or so many points below what it is known to get.
const SETTLED_BELOW: f64 = 10.0;
/// A battery with so much of its charge is full: it will never hold more.
const FULL_PERCENT: f64 = 95.0;
/// A charge that has stood for so long without charging is as high as it gets.
const SETTLED: Duration = Duration::from_secs(3600);
/// A gate that was open closes again only below this share of what opens it.
const HYSTERESIS: f64 = 0.9;
/// Descents within so long double the time for which mains must stand.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// No time for mains to stand is longer.
const MAINS_STABLE_MAX: Duration = Duration::from_secs(3600);

/// What a UPS has for a start.
enum Energy {
    Enough,
    Short(String),
    Silent(String),
    /// It says nothing, and by hecate's own count it is short: neither alone opens the gate.
    SilentAndShort {
        silent: String,
        short: String,
    },
    /// On battery, which is another guard's matter.
    None,
}

/// What the gate holds.
#[derive(Debug, Default)]
pub(super) struct HeldBack {
    /// Everything: the UPSes of the hecate host, or those that nothing names, have too little.
    pub(super) all: bool,
    /// Nodes whose own feeds have too little.
    pub(super) nodes: BTreeSet<NodeName>,
}

/// Finds what must wait for batteries that hold too little, and for UPSes that say nothing.
pub(super) fn gate(scene: &Scene<'_>, draft: &mut Draft, starts: impl Fn(&NodeName) -> bool) -> HeldBack {
    let energies: BTreeMap<&UpsName, Energy> =
        scene.power.upses.keys().map(|ups| (ups, energy(scene, draft, ups))).collect();
    let (mut short, mut silent) = (BTreeMap::new(), BTreeMap::new());
    let mut starved = Vec::new();
    for (node, feeds, min_supplies) in starting(scene, starts) {
        let has = |ups: &&UpsName| match energies.get(ups) {
            Some(Energy::Enough) | None => true,
            Some(Energy::Short(_) | Energy::Silent(_) | Energy::SilentAndShort { .. } | Energy::None) => false,
        };
        if feeds.iter().copied().filter(has).count() >= min_supplies {
            continue;
        }
        for ups in &feeds {
            match energies.get(ups) {
                Some(Energy::Short(evidence)) => _ = short.insert((*ups).clone(), evidence.clone()),
                Some(Energy::Silent(evidence)) => _ = silent.insert((*ups).clone(), evidence.clone()),
                Some(Energy::SilentAndShort { silent: why, short: evidence }) => {
                    silent.insert((*ups).clone(), why.clone());
                    short.insert((*ups).clone(), evidence.clone());
                }
                Some(Energy::Enough | Energy::None) | None => {}
            }
        }
        starved.push((node, feeds));
    }
    let holds_short = hold_for_energy(scene, draft, &short);
    let holds_silent = hold_for_word(scene, draft, &silent);
    let mut held = HeldBack::default();
    for (node, feeds) in starved {
        let is_held = feeds
            .iter()
            .any(|ups| holds_short && short.contains_key(*ups) || holds_silent && silent.contains_key(*ups));
        match node {
            Some(node) if is_held => _ = held.nodes.insert(node.clone()),
            None => held.all |= is_held,
            Some(_) => {}
        }
    }
    held
}

/// Somebody who would be started, or None: everybody; with its feeds, and how many of them it needs.
type Starting<'a> = (Option<&'a NodeName>, Vec<&'a UpsName>, usize);

/// Everything that would be started, and the hecate host, which guards it; each UPS that nothing names counts by itself.
fn starting<'a>(scene: &Scene<'a>, starts: impl Fn(&NodeName) -> bool) -> Vec<Starting<'a>> {
    let starts = |node: Option<&NodeName>| node.is_none_or(&starts);
    let loads = ups_policy::loads(scene.config).into_iter().filter(|load| starts(load.node));
    let loads = loads.map(|load| (load.node, load.feeds.iter().collect(), load.min_supplies));
    loads.chain(scene.config.unnamed_upses.iter().map(|ups| (None, vec![ups], 1))).collect()
}

fn energy(scene: &Scene<'_>, draft: &mut Draft, ups: &UpsName) -> Energy {
    let Some(assessment) = scene.power.upses.get(ups) else { return Energy::Enough };
    match assessment.verdict {
        UpsVerdict::Ignored => return Energy::Enough,
        UpsVerdict::OnBattery | UpsVerdict::Critical => return Energy::None,
        UpsVerdict::Unknown if is_upsd_to_come(scene, ups) => return Energy::Enough,
        UpsVerdict::Unknown => {
            let silent = format!("{ups}: {}", assessment.evidence);
            return match counted(scene, ups) {
                Ok(()) => Energy::Silent(silent),
                Err(short) => Energy::SilentAndShort { short: format!("it is silent, {short}"), silent },
            };
        }
        UpsVerdict::OnLine => {}
    }
    let key = format!("recharged {ups}");
    let was_open = scene.memory.waits.contains_key(&key);
    let found = match scene.snapshot.upses.get(ups).and_then(|one| one.value()) {
        Some(reading) => judge(scene, ups, reading, if was_open { HYSTERESIS } else { 1.0 }),
        None => Err("no reading".to_owned()),
    };
    match found {
        Ok(()) => {
            draft.elapsed(scene, &key);
            Energy::Enough
        }
        Err(evidence) => Energy::Short(evidence),
    }
}

/// Whether a UPS that says nothing holds enough by hecate's own count, where it knows how far the last outage went: the count needs
/// no word, only mains, and those are the guess that `ups-unknown` makes.
fn counted(scene: &Scene<'_>, ups: &UpsName) -> Result<(), String> {
    let battery = ups_policy::battery(scene.ledger, ups);
    let Some(settings) = scene.config.upses.get(ups).filter(|_| !battery.is_outage_open()) else { return Ok(()) };
    let count = battery.own_count(settings.recharge, scene.now);
    if count >= FULL_PERCENT {
        return Ok(());
    }
    enough(scene, battery, count, 1.0).map_err(|short| format!("own count {count:.0} %: {short}"))
}

/// Whether the battery of a UPS on line holds enough, or what is missing.
fn judge(scene: &Scene<'_>, ups: &UpsName, reading: &UpsReading, ease: f64) -> Result<(), String> {
    let battery = ups_policy::battery(scene.ledger, ups);
    let Some(settings) = scene.config.upses.get(ups) else { return Ok(()) };
    let polls = scene.memory.upses.get(ups);
    if polls.is_some_and(|polls| is_settled(scene, battery, polls)) {
        return Ok(());
    }
    if battery.is_outage_open() {
        return Err("what its outage took is not counted yet".to_owned());
    }
    // Where nothing measures the charge its own last word is all that there is; one that stands for longer than a recharge
    // takes says that the battery is worn.
    let low_for = polls.and_then(|polls| polls.words_since.get(&UpsWord::Lb)).map(|since| scene.now.since(*since));
    let is_worn = battery.proven_recently(scene.now).is_some_and(|proven| proven.in_spite_of_lb);
    if reading.charge_percent.is_none() && !is_worn && low_for.is_some_and(|stood| stood < settings.recharge) {
        return Err("no charge, and it says that its battery is low (LB)".to_owned());
    }
    let count = battery.own_count(settings.recharge, scene.now);
    let is_void = polls.is_some_and(UpsMemory::is_charge_void);
    let charge = reading.charge_percent.filter(|_| !is_void);
    let charge = charge.map(|charge| battery.percent_of_full(charge));
    if count >= FULL_PERCENT && charge.is_none_or(|charge| charge >= FULL_PERCENT) {
        return Ok(());
    }
    let share = charge.map_or(count, |charge| charge.min(count));
    let said = charge.map_or("no charge".to_owned(), |charge| format!("charge {charge:.0} %"));
    enough(scene, battery, share, ease).map_err(|short| format!("{said}, own count {count:.0} %: {short}"))
}

fn enough(scene: &Scene<'_>, battery: Battery<'_>, share: f64, ease: f64) -> Result<(), String> {
    let Some(full) = battery.full_runtime() else {
        let least = scene.config.startup.recharge_charge_percent_min;
        let short = format!("{share:.0} % of {least} %");
        return if share >= least * ease { Ok(()) } else { Err(short) };
    };
    let needed = scene.config.startup.bring_up_time + scene.budget.full.time;
    let holds = full.mul_f64(share / 100.0);
    let short = format!("{} s of {} s at full load (full: {} s)", holds.as_secs(), needed.as_secs(), full.as_secs());
    if holds >= needed.mul_f64(ease) { Ok(()) } else { Err(short) }
}

/// In calm times: names a battery that is too small even when it is full.
pub(super) fn warn_early(scene: &Scene<'_>, draft: &mut Draft) {
    let gate = scene.config.startup.bring_up_time + scene.budget.full.time;
    let trigger = ups_policy::trigger_at(scene.config, scene.budget);
    for (ups, _) in scene.power.upses.iter().filter(|(_, one)| one.verdict == UpsVerdict::OnLine) {
        let Some(full) = ups_policy::battery(scene.ledger, ups).full_runtime() else { continue };
        let asks = match (full <= trigger, full < gate) {
            (true, _) => format!("the trigger is at {} s, so that every outage shuts down at once", trigger.as_secs()),
            (false, true) => format!("the recharge gate asks for {} s", gate.as_secs()),
            (false, false) => continue,
        };
        let evidence = format!("it gives {} s at full load when it is full, and {asks}", full.as_secs());
        draft.warnings.push(Warning::BatteryTooSmall { ups: ups.clone(), evidence });
    }
}

/// Whether the charge has stood for an hour without charging, after a rise that hecate saw and that was none of a voltage: it
/// gets no higher, whatever it says. One that is known to get higher, or that stands where no battery ends, has a charger that
/// has given up.
fn is_settled(scene: &Scene<'_>, battery: Battery<'_>, polls: &UpsMemory) -> bool {
    let Some(line) = &polls.line else { return false };
    let known = battery.device.and_then(|device| device.calm.as_ref()).and_then(|calm| calm.charge);
    let least = known.map_or(SETTLED_LEAST, |full| full - SETTLED_BELOW);
    line.flat_charge.is_some_and(|charge| charge >= least)
        && line.flat_since.is_some_and(|since| scene.now.since(since) >= SETTLED)
        && line.is_rise_honest()
}

/// Whether the upsd of a silent UPS runs on a host that is not up yet: its silence is no news then.
pub(super) fn is_upsd_to_come(scene: &Scene<'_>, ups: &UpsName) -> bool {
    scene.config.upsd_node(ups).is_some_and(|node| scene.host_state(node) != HostState::Up)
}

/// Says what is short of energy; gives whether that holds a start.
fn hold_for_energy(scene: &Scene<'_>, draft: &mut Draft, short: &BTreeMap<UpsName, String>) -> bool {
    if short.is_empty() {
        return false;
    }
    // In a cluster that was as desired the time begins with what is held.
    let is_whole = scene.episode.converged.is_none();
    let began = if is_whole { scene.episode.began.sure_age(scene.now) } else { Duration::ZERO };
    let elapsed = draft.elapsed(scene, "recharge").max(began);
    let limit = scene.config.startup.recharge_max_wait;
    let is_over = elapsed >= limit;
    for (ups, evidence) in short {
        let (ups, evidence) = (ups.clone(), evidence.clone());
        match scene.config.startup.recharge_timeout {
            _ if !is_over => draft.wait(WaitReason::Recharge { ups, evidence }, elapsed, Some(limit)),
            RechargeTimeout::Start => draft.warnings.push(Warning::Unprotected { ups, evidence }),
            RechargeTimeout::Hold => draft.blockers.push(Blocker::RechargeTooSlow { ups, evidence }),
        }
    }
    !is_over || scene.config.startup.recharge_timeout == RechargeTimeout::Hold
}

/// No word from a UPS that feeds what starts holds the start, but not for ever: a dead UPS daemon must not keep a cluster
/// dark. Gives whether it holds.
fn hold_for_word(scene: &Scene<'_>, draft: &mut Draft, silent: &BTreeMap<UpsName, String>) -> bool {
    if silent.is_empty() {
        return false;
    }
    let elapsed = draft.elapsed(scene, "ups-unknown");
    let evidence = silent.values().cloned().collect::<Vec<_>>().join("; ");
    let starts_in = match scene.config.startup.ups_unknown_grace {
        Some(grace) if elapsed >= grace => return false,
        Some(grace) => Some(grace - elapsed),
        None => None,
    };
    draft.blockers.push(Blocker::UpsUnknown { evidence, starts_in });
    true
}

/// How long mains must have stood before a host that is off is switched on: twice as long for each descent within a day, and
/// not at all where nobody knows of an outage.
fn mains_stable(scene: &Scene<'_>, ups: &UpsName) -> Duration {
    let once = scene.config.startup.mains_stable;
    let descents = scene.ledger.descents.iter().filter(|stamp| stamp.age(scene.now) <= DAY).count();
    match u32::try_from(descents) {
        Ok(0) if drawn_ago(scene, ups).is_none_or(|ago| ago >= once * 2) => Duration::ZERO,
        Ok(0 | 1) | Err(_) => once,
        Ok(count) => once.saturating_mul(1 << (count - 1).min(12)).min(MAINS_STABLE_MAX.max(once)),
    }
}

/// How long ago the battery of a UPS was last said to be drawn from, where mains are back.
fn drawn_ago(scene: &Scene<'_>, ups: &UpsName) -> Option<Duration> {
    Some(scene.now.since(scene.memory.upses.get(ups)?.drawn_until()?))
}

/// Whether the mains of a host, and of the hecate host, have stood for long enough to switch it on; says what is waited for where they have not.
pub(super) fn has_stood(scene: &Scene<'_>, draft: &mut Draft, node: &Node) -> bool {
    let feeds = node.feeds.iter().chain(&scene.config.own_host.feeds).chain(&scene.config.unnamed_upses);
    let late = feeds.into_iter().find_map(|ups| {
        let stood = scene.power.upses.get(ups)?.on_line_for?;
        let needed = mains_stable(scene, ups);
        (stood < needed).then(|| (ups.clone(), stood, needed))
    });
    let Some((ups, stood, needed)) = late else { return true };
    // A driver that is away again and again never lets them stand: no wait is for ever.
    let longest = scene.config.startup.recharge_max_wait;
    let was_drawn_lately = drawn_ago(scene, &ups).is_some_and(|ago| ago < longest);
    // Nor do pits that leave a battery full.
    let line = scene.memory.upses.get(&ups).and_then(|polls| polls.line.as_ref()).filter(|line| line.was_pit);
    let full = |charge| ups_policy::battery(scene.ledger, &ups).percent_of_full(charge) >= FULL_PERCENT;
    let is_pit = line.and_then(|line| line.charge).is_some_and(full);
    let is_calm = !was_drawn_lately || is_pit && stood >= scene.config.ups_policy.mains_stable;
    if scene.episode.began.age(scene.now) >= longest && is_calm {
        return true;
    }
    let reason = WaitReason::MainsStable { ups };
    if !draft.waits.iter().any(|wait| wait.reason == reason) {
        draft.wait(reason, stood, Some(needed));
    }
    false
}

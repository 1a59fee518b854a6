//! The UPSes of a seed: how they speak, what their batteries really give, and what the configuration knows of that.
//!
//! Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fastrand::Rng;

use super::{Drawn, chance, node, pick, ups};
use crate::model::UpsName;
use crate::simulate::world::device::{ChargeManner, CutManner, Device};
use crate::simulate::world::lie::RuntimeLie;
use crate::simulate::world::profile::Profile;

/// Draws what stands behind each name.
pub(super) fn draw(rng: &mut Rng, drawn: &Drawn) -> BTreeMap<UpsName, Device> {
    (0..drawn.upses).map(|number| (UpsName::new(ups(number)), device(rng, drawn))).collect()
}

fn device(rng: &mut Rng, drawn: &Drawn) -> Device {
    let number = chance(rng, 70).then(|| profile(rng));
    let profile = number.and_then(Profile::row);
    // A word about the battery is true of some of them.
    let is_worn = profile.is_some_and(Profile::has_battery_word) && chance(rng, 50);
    let gives_percent = match (is_worn, chance(rng, 12)) {
        (true, _) => Some(f64::from(rng.u32(10..30))),
        (false, true) => Some(f64::from(rng.u32(30..90))),
        (false, false) => None,
    };
    let guesses = profile.is_some_and(Profile::guesses_charge);
    let charge = if guesses && chance(rng, 80) {
        ChargeManner::Sagging
    } else {
        pick(rng, &[(90, ChargeManner::True), (5, ChargeManner::Sagging), (5, ChargeManner::Stuck)])
    };
    let manners = [
        (70, None),
        (6, Some(RuntimeLie::Times(2.0))),
        (5, Some(RuntimeLie::Times(4.0))),
        (5, Some(RuntimeLie::Times(0.5))),
        (5, Some(RuntimeLie::Frozen)),
        (4, Some(RuntimeLie::Jumping)),
        (3, Some(RuntimeLie::Counting)),
        (2, Some(RuntimeLie::Missing)),
    ];
    Device {
        profile: number,
        battery_minutes: chance(rng, 30).then(|| f64::from(rng.u32(3..60))),
        gives_percent,
        recharge_minutes: chance(rng, 30).then(|| recharge(rng)),
        load_percent: chance(rng, 40).then(|| f64::from(pick(rng, &[(1, 0), (1, 1), (6, 60), (2, 100)]))),
        runtime: pick(rng, &manners),
        charge,
        sag_percent: chance(rng, 50).then(|| f64::from(rng.u32(5..45))),
        sag_seconds: chance(rng, 50).then(|| f64::from(pick(rng, &[(1, 1_u32), (1, 10), (1, 40)]))),
        never_low: chance(rng, 30),
        terse: chance(rng, 5),
        latched: chance(rng, 4),
        upsd_on: chance(rng, 10).then(|| node(drawn, rng.usize(..))),
        behind_switch: drawn.switch.is_some() && chance(rng, 40),
        cut: pick(
            rng,
            &[(1, CutManner::Silent), (6, CutManner::Known), (1, CutManner::OtherDelay), (1, CutManner::Unknown)],
        ),
    }
}

/// One of the real ones; every fourth is one that says something odd.
fn profile(rng: &mut Rng) -> usize {
    let all = Profile::all();
    let is_odd = |profile: &Profile| {
        let words = profile.words.iter().any(|word| word != "CHRG");
        words
            || profile.charge.is_none_or(|it| !(90.0..=100.0).contains(&it))
            || profile.runtime.is_some_and(|it| it <= 0.0)
    };
    let first = rng.usize(..all.len());
    if !chance(rng, 25) {
        return first;
    }
    (first..first + all.len()).find(|number| Profile::row(*number).is_some_and(is_odd)).unwrap_or(first) % all.len()
}

/// From an empty battery to a full one.
pub(super) fn recharge(rng: &mut Rng) -> u64 {
    let (least, most) = pick(rng, &[(6, (10, 60)), (3, (60, 300)), (1, (300, 721))]);
    rng.u64(least..most)
}

/// The keys of a UPS' entry that are about all this.
pub(super) fn keys(rng: &mut Rng, drawn: &Drawn, number: usize) -> String {
    let mut text = String::new();
    let device = drawn.devices.get(&UpsName::new(ups(number)));
    let minutes = device.and_then(|it| it.recharge_minutes).unwrap_or(drawn.recharge_minutes);
    // Makers promise somewhat less than it takes, or somewhat more; some people write nothing.
    if chance(rng, 75) {
        let hours = minutes as f64 / 60.0 * f64::from(pick(rng, &[(1, 8_u32), (6, 10), (2, 15)])) / 10.0;
        let _ = write!(text, ", recharge_hours: {:.3}", hours.max(0.25));
    }
    let says_low = device.and_then(|it| it.profile).and_then(Profile::row).is_some_and(Profile::has_battery_word);
    let is_worn = device.is_some_and(|it| it.gives_percent.is_some());
    if says_low && !is_worn && chance(rng, 40) {
        text.push_str(", ignore_words: [LB]");
    }
    if chance(rng, 25) {
        let other = ups(number + 1 + rng.usize(..drawn.upses.max(2) - 1));
        let is_other = drawn.upses > 1 && number + 1 < drawn.upses && chance(rng, 40);
        let _ = write!(text, ", witness: {}", if is_other { other.as_str() } else { "\"10.9.9.9:80\"" });
    }
    text
}

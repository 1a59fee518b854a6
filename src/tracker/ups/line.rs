//! Mains and outages, as the answers of one UPS show them.
//!
//! Pure.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::UpsMemory;
use crate::config::UpsPolicy;
use crate::model::{seconds, seconds_option};
use crate::tracker::low::Seconds;

/// The pace of a charge is judged over so much time ...
const RISE_TIME: Duration = Duration::from_secs(600);
/// ... and is that of a voltage above this ...
const RISE_PERCENT_AN_HOUR: f64 = 100.0;
/// ... with whole percents rounded.
const RISE_ROUNDING: f64 = 2.0;
/// A rise of so many points is one that was seen.
const RISE_SEEN: f64 = 5.0;

/// Below this share of the first load the most was shed.
const SHED: f64 = 0.5;

/// Mains that are there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Since when without a break.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub since: Duration,
    /// When they were last said to be there.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub last: Duration,
    /// `battery.charge` then.
    pub charge: Option<f64>,
    /// `battery.charge` at their beginning.
    #[serde(default)]
    pub first_charge: Option<f64>,
    /// Since when the charge has not moved by a point and nothing is said of charging.
    #[serde(default, with = "seconds_option")]
    #[schemars(with = "Option<f64>")]
    pub flat_since: Option<Duration>,
    /// The charge that stands since then.
    #[serde(default)]
    pub flat_charge: Option<f64>,
    /// Where the charge was at least ten minutes ago.
    #[serde(default)]
    pub mark: Option<(Seconds, f64)>,
    /// Whether the charge ever rose faster than any battery charges.
    #[serde(default)]
    pub rose_fast: bool,
    /// Whether it was said to charge.
    #[serde(default)]
    pub has_charged: bool,
    /// When the battery was last said to be drawn from before.
    #[serde(default)]
    pub drawn_until: Option<Seconds>,
    /// When a discharge was last said beside it.
    #[serde(with = "seconds_option")]
    #[schemars(with = "Option<f64>")]
    pub discharged: Option<Duration>,
}

/// A time on battery that is not over before mains have stood.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outage {
    /// The first answer that said so.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub since: Duration,
    /// The last one.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub last: Duration,
    /// When mains were last said to be there in it: what was off may boot.
    #[serde(default)]
    pub mains_seen: Option<Seconds>,
    /// `battery.charge` in the last one that told it.
    pub charge: Option<f64>,
    /// When that was.
    #[serde(default)]
    pub told: Option<Seconds>,
    /// `battery.charge` in the first one that told it.
    #[serde(default)]
    pub first_charge: Option<f64>,
    /// `ups.load` in the first one that told it.
    #[serde(default)]
    pub first_load: Option<f64>,
    /// Whether its charge stands, under that load, for too long to be true.
    #[serde(default)]
    pub was_frozen: bool,
    /// Whether it began as a test of the battery: CAL or TEST rose with it.
    #[serde(default)]
    pub is_test: bool,
}

impl Outage {
    pub(super) fn begin(since: Duration, began: Duration, charge: Option<f64>, first_charge: Option<f64>) -> Self {
        Self {
            since,
            last: began,
            mains_seen: None,
            charge,
            told: None,
            first_charge,
            first_load: None,
            was_frozen: false,
            is_test: false,
        }
    }

    /// Goes on with one more answer.
    pub(super) fn follow(&mut self, charge: Option<f64>, load: Option<f64>, began: Duration) {
        self.last = began;
        self.first_load = self.first_load.or(load);
        if charge.is_some() {
            (self.charge, self.told) = (charge, Some(Seconds(began)));
        }
    }

    /// Whether the most of its first load was shed: what is left alone on a battery draws next to nothing, and its charge may
    /// stand. Where no load is told nobody knows.
    pub(super) fn may_stand(&self, load: Option<f64>) -> bool {
        self.first_load.zip(load).is_none_or(|(first, now)| now < first * SHED)
    }

    /// The charge at its end, where that is a measurement: one that has not moved for too long is none.
    pub fn charge_left(&self, policy: &UpsPolicy) -> Option<f64> {
        let is_long = self.last.saturating_sub(self.since) >= policy.charge_frozen;
        let stood = self.first_charge.zip(self.charge).is_some_and(|(first, last)| (first - last).abs() < 1.0);
        self.charge.filter(|_| !(self.was_frozen || is_long && stood))
    }

    /// Whether the charge was seen to fall in it.
    pub fn has_fallen(&self) -> bool {
        self.first_charge.zip(self.charge).is_some_and(|(first, last)| first - last >= 1.0)
    }
}

impl Line {
    pub(super) fn begin(began: Duration, charge: Option<f64>, last_drawn: Option<f64>) -> Self {
        Self {
            since: began,
            last: began,
            charge,
            first_charge: charge,
            flat_since: None,
            flat_charge: None,
            mark: last_drawn.or(charge).map(|charge| (Seconds(began), charge)),
            rose_fast: false,
            has_charged: false,
            drawn_until: None,
            discharged: None,
        }
    }

    /// Follows the charge: since when it stands, and whether it ever rose as only a voltage does.
    pub(super) fn follow_charge(&mut self, charge: Option<f64>, is_charging: bool, began: Duration) {
        self.has_charged |= is_charging;
        let Some(charge) = charge else {
            (self.flat_since, self.flat_charge) = (None, None);
            return;
        };
        let stands = self.flat_charge.is_some_and(|flat| (flat - charge).abs() < 1.0) && !is_charging;
        if !stands {
            (self.flat_since, self.flat_charge) = ((!is_charging).then_some(began), Some(charge));
        }
        match self.mark {
            Some((at, before)) if began.saturating_sub(at.0) >= RISE_TIME => {
                self.rose_fast |= is_fast(began.saturating_sub(at.0), charge - before);
                self.mark = Some((Seconds(began), charge));
            }
            Some(_) => {}
            None => self.mark = Some((Seconds(began), charge)),
        }
    }

    /// Whether the charge rose as a battery charges, as far as hecate has seen it rise.
    pub fn is_rise_honest(&self) -> bool {
        let was_seen = self.first_charge.zip(self.flat_charge).is_some_and(|(first, flat)| flat - first >= RISE_SEEN);
        let rises_fast = self
            .mark
            .zip(self.charge)
            .is_some_and(|((at, before), charge)| is_fast(self.last.saturating_sub(at.0), charge - before));
        was_seen && !self.rose_fast && !rises_fast
    }

    /// Whether mains that are there now were there all the time: a gap up to `lost_on_battery` without a fall of the charge
    /// does not interrupt them.
    pub(super) fn goes_on(&self, began: Duration, charge: Option<f64>, policy: &UpsPolicy) -> bool {
        let gap = began.saturating_sub(self.last);
        let fell = self.charge.zip(charge).is_some_and(|(before, now)| before - now >= 1.0);
        gap <= policy.max_age || gap <= policy.lost_on_battery.max(UpsMemory::gap_max(policy)) && !fell
    }
}

/// Whether a charge that rose by so many points in this time is that of a voltage: no battery charges so fast.
fn is_fast(time: Duration, rise: f64) -> bool {
    rise > RISE_PERCENT_AN_HOUR * time.as_secs_f64() / 3600.0 + RISE_ROUNDING
}

//! Mains and outages, as the answers of one UPS show them.
//!
//! Pure.

use std::collections::VecDeque;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{UpsMemory, push_at_most};
use crate::config::UpsPolicy;
use crate::model::{seconds, seconds_option};
use crate::snapshot::{UpsReading, UpsWord};
use crate::tracker::low::Seconds;

/// The pace of a charge is judged over so much time ...
const RISE_TIME: Duration = Duration::from_secs(600);
/// ... and is that of a voltage above this ...
const RISE_PERCENT_AN_HOUR: f64 = 100.0;
/// ... with whole percents rounded.
const RISE_ROUNDING: f64 = 2.0;
/// A rise of so many points is one that was seen.
const RISE_SEEN: f64 = 5.0;

/// For so long after OB a charge may be one that the driver read on battery; most read it every 30 s.
pub(super) const SETTLES: Duration = Duration::from_secs(60);

/// No battery loses so many points within three answers.
const STEADY_STEP: f64 = 10.0;

/// Zeros beside so many points a moment before are garbled ...
const GARBLED_JUMP: f64 = 40.0;
/// ... where mains come back with no less than that but for so many.
const GARBLED_BACK: f64 = 2.0;

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
    /// `battery.charge` some minutes ago, read since the battery was drawn from: on mains it falls by no more than it drifts.
    #[serde(default)]
    pub settled: Option<(Seconds, f64)>,
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
    /// Whether that was over within a minute.
    #[serde(default)]
    pub was_pit: bool,
    /// Whether all that came before it was a garbled answer, and no outage.
    #[serde(default)]
    pub after_garbled: bool,
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
    /// For how long mains were there in it, for moments that have not stood.
    #[serde(default)]
    pub mains_for: Seconds,
    /// `battery.runtime` in the first answer that told it, while it has said nothing else.
    #[serde(default, with = "seconds_option")]
    #[schemars(with = "Option<f64>")]
    pub one_runtime: Option<Duration>,
    /// How often the runtime has fallen in it; no more are counted than tell steps.
    #[serde(default)]
    pub runtime_steps: u32,
    /// The latest runtime in it.
    #[serde(default, with = "seconds_option")]
    #[schemars(with = "Option<f64>")]
    pub runtime: Option<Duration>,
    /// The charges of the latest answers, three at most, the last one at the end.
    #[serde(default)]
    pub latest: VecDeque<f64>,
    /// `battery.charge` in the answer before it, where all that it tells itself is zeros that this battery did not fall to.
    #[serde(default)]
    pub garbled: Option<Garbled>,
}

/// Zeros: what is told where an answer came through garbled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Garbled {
    /// `battery.charge` before; None: none was told.
    pub before: Option<f64>,
}

impl Outage {
    /// A runtime that fell so often falls by steps, and is no constant.
    const STEPS_MAX: u32 = 3;
    /// One odd answer among so many is seen to be one.
    const LATEST_MAX: usize = 3;

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
            mains_for: Seconds(Duration::ZERO),
            one_runtime: None,
            runtime_steps: 0,
            runtime: None,
            latest: VecDeque::new(),
            garbled: None,
        }
    }

    /// Goes on with one more answer.
    pub(super) fn follow(&mut self, charge: Option<f64>, load: Option<f64>, began: Duration) {
        if self.mains_seen.is_some_and(|mains| mains.0 > self.last) {
            self.mains_for.0 += began.saturating_sub(self.last);
        }
        self.last = began;
        self.first_load = self.first_load.or(load);
        if let Some(said) = charge {
            push_at_most(&mut self.latest, said, Self::LATEST_MAX);
            (self.charge, self.told) = (charge, Some(Seconds(began)));
        }
    }

    /// Whether the most of its first load was shed: what is left alone on a battery draws next to nothing, and its charge may
    /// stand. Where no load is told nobody knows.
    pub(super) fn may_stand(&self, load: Option<f64>) -> bool {
        self.first_load.zip(load).is_none_or(|(first, now)| now < first * SHED)
    }

    /// Whether the most of its first load is known to be shed.
    pub fn is_shed(&self, load: Option<f64>) -> bool {
        self.first_load.is_some() && load.is_some() && self.may_stand(load)
    }

    /// How long its charge lasts from then on at the pace of the whole of it.
    pub fn pace_left(&self, at: Duration) -> Option<Duration> {
        let (first, last) = self.first_charge.zip(self.charge).filter(|(first, last)| first > last)?;
        Some(self.drawn_until(at).mul_f64(last.max(0.0) / (first - last)))
    }

    /// The charge at its end, where that is a measurement: one that has not moved for too long is none.
    pub fn charge_left(&self, policy: &UpsPolicy) -> Option<f64> {
        let is_long = self.last.saturating_sub(self.since) >= policy.charge_frozen;
        let stood = self.first_charge.zip(self.charge).is_some_and(|(first, last)| (first - last).abs() < 1.0);
        self.steady_charge().filter(|_| !(self.was_frozen || is_long && stood))
    }

    /// Follows the runtime: whether it is one value, and how often it fell.
    pub(super) fn follow_runtime(&mut self, runtime: Option<Duration>, is_first: bool) {
        let Some(runtime) = runtime else { return };
        if self.runtime.is_none() && is_first {
            self.one_runtime = Some(runtime);
        }
        self.one_runtime = self.one_runtime.filter(|one| *one == runtime);
        let fell = self.runtime.is_some_and(|before| runtime < before);
        self.runtime_steps = (self.runtime_steps + u32::from(fell)).min(Self::STEPS_MAX);
        self.runtime = Some(runtime);
    }

    /// Whether the runtime has fallen by steps in it.
    pub fn has_steps(&self) -> bool {
        self.runtime_steps >= Self::STEPS_MAX
    }

    /// For how long the battery was drawn from in it until then.
    pub fn drawn_until(&self, at: Duration) -> Duration {
        at.saturating_sub(self.since).saturating_sub(self.mains_for.0)
    }

    /// Its last charge, but for one that no battery falls to from one answer to the next.
    pub fn steady_charge(&self) -> Option<f64> {
        let highest = self.latest.iter().copied().reduce(f64::max)?;
        self.charge.map(|last| if highest - last > STEADY_STEP { highest } else { last })
    }

    /// Whether it never was: its few answers were garbled, and the charge is what it was before them. None while the driver has
    /// not read the charge anew.
    pub(super) fn never_was(&self, reading: &UpsReading, began: Duration, policy: &UpsPolicy) -> Option<bool> {
        let Some(garbled) = &self.garbled else { return Some(false) };
        let most = reading.doubt(policy.debounce);
        let goes_on = UpsMemory::gap_max(policy).max(reading.figures_after());
        if self.last.saturating_sub(self.since) >= most || began.saturating_sub(self.last) > goes_on {
            return Some(false);
        }
        let is_back = match (garbled.before, reading.charge_percent) {
            (Some(before), Some(charge)) => before - charge < GARBLED_BACK,
            (before, charge) => before.is_none() && charge.is_none(),
        };
        let is_read = began.saturating_sub(self.last) >= reading.figures_after();
        (is_back || is_read).then_some(is_back)
    }

    /// Whether the charge was seen to fall in it.
    pub fn has_fallen(&self) -> bool {
        self.first_charge.zip(self.charge).is_some_and(|(first, last)| first - last >= 1.0)
    }
}

impl Garbled {
    /// What an answer on battery is taken for at first that tells zeros beside such a charge before.
    pub(super) fn of(reading: &UpsReading, before: Option<f64>) -> Option<Self> {
        let is_zeros = reading.charge_percent.is_some_and(|charge| charge <= 0.0)
            && reading.runtime.is_none_or(|runtime| runtime.is_zero());
        (is_zeros && before.is_none_or(|before| before >= GARBLED_JUMP)).then_some(Self { before })
    }
}

impl Line {
    pub(super) fn begin(began: Duration, charge: Option<f64>, last_drawn: Option<f64>) -> Self {
        Self {
            since: began,
            last: began,
            charge,
            first_charge: charge,
            settled: charge.map(|charge| (Seconds(began), charge)),
            flat_since: None,
            flat_charge: None,
            mark: last_drawn.or(charge).map(|charge| (Seconds(began), charge)),
            rose_fast: false,
            has_charged: false,
            drawn_until: None,
            was_pit: false,
            after_garbled: false,
            discharged: None,
        }
    }

    /// Follows the charge: since when it stands, and whether it ever rose as only a voltage does.
    pub(super) fn follow_charge(&mut self, reading: &UpsReading, began: Duration) {
        let (charge, is_charging) = (reading.charge_percent, reading.status.has(UpsWord::Chrg));
        self.has_charged |= is_charging;
        let is_old = self.settled.is_none_or(|(at, _)| began.saturating_sub(at.0) >= RISE_TIME);
        if is_old || self.is_settling(reading, began) {
            self.settled = charge.map(|charge| (Seconds(began), charge));
        }
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

    /// Whether the charge may still be one that the driver read on battery.
    pub(super) fn is_settling(&self, reading: &UpsReading, began: Duration) -> bool {
        let settles = SETTLES.max(reading.driver_interval.unwrap_or_default() * 2);
        self.drawn_until.is_some() && began.saturating_sub(self.since) < settles
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

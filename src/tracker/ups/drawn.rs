//! What a battery is drawn from and by how much: its charge, runtime and load from answer to answer.
//!
//! Pure.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{UpsMemory, push_at_most};
use crate::desired::ups_policy::credible_runtime;
use crate::desired::ups_policy::words::Sense;
use crate::model::{seconds, seconds_option};
use crate::snapshot::{UpsReading, UpsWord};
use crate::tracker::low::Seconds;

/// A charge that was made of the voltage sags when the load comes; what it falls by in this time is no pace.
const SAG: Duration = Duration::from_secs(60);

/// A runtime below this when the battery begins to be drawn from may be a counter of the seconds on battery.
const CLIMB_FROM: Duration = Duration::from_secs(30);

/// A charge that was told so lately is where its fall begins, where the first answer on battery tells none.
const CHARGE_BEFORE: Duration = Duration::from_secs(300);

/// A charge has fallen when it is so many points lower ...
const FELL: f64 = 1.0;
/// ... and has risen when it is so many points higher: between them lies what rounding does.
const ROSE: f64 = 2.0;
/// It stands when the next point takes so many times as long as each one before ...
const PACES: u32 = 3;
/// ... where so many have shown its pace, without the sag of the first minute.
const PACE_POINTS: f64 = 5.0;
/// Without a pace, what has fallen by a little is waited for so many times as long: a gauge made of the voltage has few steps.
const SAG_TIMES: u32 = 2;
/// A runtime this many times below what was told before may be one odd reading: it is no floor.
const ODD: u32 = 2;

/// A load that rose by so many points makes the charge sag anew.
const LOAD_ROSE: f64 = 5.0;

/// A load that fell by so many points was shed: the runtime may rise.
const LOAD_SHED: f64 = 5.0;

/// Where a stretch on battery began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrawnFrom {
    /// When the poll began.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub began: Duration,
    /// `battery.charge` then.
    pub charge: Option<f64>,
    /// `ups.load` then.
    #[serde(default)]
    pub load: Option<f64>,
}

/// A charge that stands: since when it has not moved but by what rounding moves it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// Since when.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub since: Duration,
    /// `battery.charge` then.
    pub charge: f64,
}

impl Standing {
    /// Follows a charge: a fall by a point moves it, or a rise by more than rounding makes.
    pub(super) fn follow(at: &mut Option<Self>, charge: f64, began: Duration) {
        let stands = at.as_ref().is_some_and(|old| charge > old.charge - FELL && charge < old.charge + ROSE);
        if !stands {
            *at = Some(Self { since: began, charge });
        }
    }
}

/// What a UPS told of its battery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// When the poll began.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub began: Duration,
    /// `battery.runtime`.
    #[serde(with = "seconds_option")]
    #[schemars(with = "Option<f64>")]
    pub runtime: Option<Duration>,
    /// `battery.charge`, percent.
    pub charge: Option<f64>,
    /// `ups.load`, percent.
    pub load: Option<f64>,
}

impl Figures {
    /// Whether this runtime, counted down until then, is below the one that is told then, under a load that was not shed.
    fn is_below(&self, runtime: Duration, load: Option<f64>, began: Duration) -> bool {
        let was_shed = self.load.zip(load).is_some_and(|(before, now)| before - now >= LOAD_SHED);
        self.left_at(began).is_some_and(|left| left < runtime) && !was_shed
    }

    /// The runtime, counted down until then.
    pub fn left_at(&self, then: Duration) -> Option<Duration> {
        Some(self.runtime?.saturating_sub(then.saturating_sub(self.began)))
    }
}

/// A runtime that grows with the time on battery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Climb {
    /// Since when.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub since: Duration,
    /// When it last grew or stood.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub last: Duration,
    /// What it said when it was first seen to grow.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub from: Duration,
    /// `ups.load` then.
    pub load: Option<f64>,
}

impl UpsMemory {
    pub(super) fn take_drawn(&mut self, reading: &UpsReading, began: Duration) {
        if reading.status.has(UpsWord::Ob) {
            let from = DrawnFrom { began, charge: reading.charge_percent, load: reading.load_percent };
            if let Some(discharge) = self.discharge.as_ref().filter(|one| one.is_believed && self.drawn_from.is_none())
            {
                self.drawn_from = Some(discharge.from.clone());
                self.settled_from = Some(discharge.from.clone());
            }
            if from.charge.is_some() && self.charges.back().is_none_or(|last| last.charge != from.charge) {
                push_at_most(&mut self.charges, from.clone(), Self::CHARGES_MAX);
            }
            if let Some(charge) = from.charge {
                Standing::follow(&mut self.stands, charge, began);
            }
            let before = self.figures.as_ref().filter(|told| began.saturating_sub(told.began) <= CHARGE_BEFORE);
            let charge = from.charge.or(before.and_then(|told| told.charge));
            let first = self.drawn_from.get_or_insert_with(|| DrawnFrom { charge, ..from.clone() });
            // A charge that comes later is where its fall begins.
            first.charge = first.charge.or(from.charge);
            if began.saturating_sub(first.began) >= SAG {
                if let Some(runtime) = self.told_anew(reading, began) {
                    let is_held = self.floor.as_ref().is_some_and(|floor| floor.is_below(runtime, from.load, began));
                    let lower = Figures { began, runtime: Some(runtime), charge: from.charge, load: from.load };
                    self.floor = if is_held { self.floor.take() } else { Some(lower) };
                }
                let settled = self.settled_from.get_or_insert(from.clone());
                // A load that rose has a sag and a pace of its own.
                let rose = settled.load.zip(from.load).is_some_and(|(before, now)| now - before >= LOAD_ROSE);
                self.load_rose = rose.then(|| self.load_rose.unwrap_or(Seconds(began)));
                let is_new = self.load_rose.is_some_and(|rose| began.saturating_sub(rose.0) >= SAG);
                if settled.charge.is_none() || is_new {
                    (*settled, self.load_rose) = (from, None);
                }
            }
        } else if reading.status.has(UpsWord::Ol) {
            (self.drawn_from, self.settled_from, self.climb) = (None, None, None);
            (self.stands, self.floor, self.load_rose) = (None, None, None);
            self.charges.clear();
        }
    }

    pub(super) fn take_figures(&mut self, sense: Sense, reading: &UpsReading, began: Duration) {
        let charge = reading.charge_percent;
        if charge.is_some_and(|charge| charge > 0.0) {
            self.zero_charge_since = None;
        } else if charge.is_some() && sense == Sense::OnLine && !reading.status.has(UpsWord::Chrg) {
            self.zero_charge_since.get_or_insert(began);
        }
        if reading.runtime.is_some() || charge.is_some() {
            self.figures = Some(Figures { began, runtime: reading.runtime, charge, load: reading.load_percent });
        }
        if let Some(runtime) = reading.runtime.filter(|_| reading.status.has(UpsWord::Ob)) {
            let is_first = self.drawn_from.as_ref().is_some_and(|from| from.began == began);
            self.climb = if is_first {
                let climb = Climb { since: began, last: began, from: runtime, load: reading.load_percent };
                (runtime < CLIMB_FROM).then_some(climb)
            } else {
                self.climb.take().filter(|climb| climb.goes_on(runtime, reading.load_percent, began))
            };
            self.climb.iter_mut().for_each(|climb| climb.last = began);
        }
    }

    /// The runtime of an answer, where it is one and no odd reading.
    fn told_anew(&self, reading: &UpsReading, began: Duration) -> Option<Duration> {
        let runtime = credible_runtime(reading.runtime)?;
        let floor = self.floor.as_ref().and_then(|floor| floor.left_at(began));
        let before = floor.or_else(|| credible_runtime(self.figures.as_ref()?.runtime));
        before.is_none_or(|before| runtime * ODD >= before).then_some(runtime)
    }

    /// Whether the charge stands for too long to be one of a battery that is drawn from, where nothing may stand for longer than
    /// this.
    pub fn is_charge_stuck(&self, at: Duration, least: Duration) -> bool {
        let Some((from, stands)) = self.drawn_from.as_ref().zip(self.stands.as_ref()) else { return false };
        if from.charge.is_none_or(|first| first - stands.charge < FELL) {
            // Mains for a moment do not make it a measurement.
            let unmoved = self.outage.as_ref().filter(|outage| !outage.has_fallen());
            let drawn = unmoved.map_or(Duration::ZERO, |outage| outage.drawn_until(at));
            return at.saturating_sub(from.began).max(drawn) >= least;
        }
        let settled = self.settled_from.as_ref().and_then(|from| Some((from.began, from.charge? - stands.charge)));
        let patience = match settled.filter(|(_, fell)| *fell >= PACE_POINTS) {
            Some((began, fell)) => least.max(stands.since.saturating_sub(began).div_f64(fell) * PACES),
            None => least * SAG_TIMES,
        };
        at.saturating_sub(stands.since) >= patience
    }

    /// Whether the runtime has counted the seconds on battery for so long.
    pub fn counts_up(&self, least: Duration) -> bool {
        self.climb.as_ref().is_some_and(|climb| climb.last.saturating_sub(climb.since) >= least)
    }
}

impl Climb {
    fn goes_on(&self, runtime: Duration, load: Option<f64>, began: Duration) -> bool {
        let elapsed = began.saturating_sub(self.since).as_secs_f64();
        let grown = runtime.as_secs_f64() - self.from.as_secs_f64();
        // A driver that is read every two seconds shows steps of two.
        let is_a_second_a_second = (grown - elapsed).abs() <= 3.0 + elapsed * 0.05;
        let is_load_same = self.load.zip(load).is_none_or(|(before, now)| (before - now).abs() <= 3.0);
        is_a_second_a_second && is_load_same
    }
}

//! What is remembered of one UPS from poll to poll: its last answers, and since when what they say has stood.
//!
//! Pure. Everything but the answers themselves outlives a restart of hecate within a boot (`low.json`).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::low::Seconds;
use crate::config::UpsPolicy;
use crate::desired::ups_policy::words::{Sense, sense};
use crate::model::{seconds, seconds_option};
use crate::snapshot::{UpsReading, UpsStatus, UpsWord};

/// A charge that was made of the voltage sags when the load comes; what it falls by in this time is no pace.
const SAG: Duration = Duration::from_secs(60);

/// A charge of 0 that stands on line for so long without charging is no measurement.
const ZERO_CHARGE: Duration = Duration::from_secs(120);

/// The pace of a charge is judged over so much time ...
const RISE_TIME: Duration = Duration::from_secs(600);
/// ... and is that of a voltage above this ...
const RISE_PERCENT_AN_HOUR: f64 = 100.0;
/// ... with whole percents rounded.
const RISE_ROUNDING: f64 = 2.0;
/// A rise of so many points is one that was seen.
const RISE_SEEN: f64 = 5.0;

/// A runtime below this when the battery begins to be drawn from may be a counter of the seconds on battery.
const CLIMB_FROM: Duration = Duration::from_secs(30);

/// A charge that was told so lately is where its fall begins, where the first answer on battery tells none.
const CHARGE_BEFORE: Duration = Duration::from_secs(300);

/// `OL DISCHRG` is on battery once the charge has fallen by so many percentage points meanwhile: some drivers leave OL
/// standing in an outage (see `onlinedischarge_onbattery` in usbhid-ups(8)), others say DISCHRG on mains for weeks.
const DISCHARGE_BELIEVED: f64 = 5.0;
/// ... within this time: what falls more slowly is no load's doing.
const DISCHARGE_WITHIN: Duration = Duration::from_secs(2 * 3600);
/// No battery loses more than this between two answers: a figure that jumps is no discharge.
const DISCHARGE_STEP: f64 = 2.0;
/// For so long after OB a charge may be one that the driver read on battery; most read it every 30 s.
const DISCHARGE_STALE: Duration = Duration::from_secs(60);
/// CAL or TEST that comes this long after the battery began to be drawn from is not why: no UPS tests its battery in an outage.
/// Drivers read what a test is told by less often than the status, most every 30 s.
const TEST_WITHIN: Duration = Duration::from_secs(60);
/// LB that came with DISCHRG and stands for so long is believed as well.
const DISCHARGE_LB: Duration = Duration::from_secs(60);
/// A charge that rises by more than this, or stands for so long, is that of no discharge ...
const DISCHARGE_RISE: f64 = 2.0;
const DISCHARGE_FLAT: Duration = Duration::from_secs(1800);
/// ... and where no charge is told a discharge is not believed for longer than this.
const DISCHARGE_MOST: Duration = Duration::from_secs(4 * 3600);

/// The last polls of one UPS. Times are boottimes of the hecate host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UpsMemory {
    /// Answers, oldest first; at most [`UpsMemory::SAMPLES_MAX`]. A restart loses them.
    #[serde(skip)]
    pub samples: VecDeque<UpsSample>,
    /// When the last answer's poll began.
    #[serde(with = "seconds_option")]
    #[schemars(with = "Option<f64>")]
    pub last: Option<Duration>,
    /// Since when each word of the last answer has stood without a break; longer than the samples reach back.
    #[serde(with = "seconds_by_word")]
    #[schemars(with = "BTreeMap<UpsWord, f64>")]
    pub words_since: BTreeMap<UpsWord, Duration>,
    /// Whether FSD, while it stands, was seen to rise: an answer a moment before did not have it.
    pub saw_fsd_rise: bool,
    /// Since when `battery.runtime` has said what it says now.
    #[serde(with = "seconds_option")]
    #[schemars(with = "Option<f64>")]
    pub runtime_since: Option<Duration>,
    /// The first answer of the present stretch on battery.
    pub drawn_from: Option<DrawnFrom>,
    /// The first answer of it after the sag of its first minute.
    pub settled_from: Option<DrawnFrom>,
    /// The latest charges of it, each with when it was first said, oldest first; at most [`UpsMemory::CHARGES_MAX`].
    #[serde(default)]
    pub charges: VecDeque<DrawnFrom>,
    /// The mains, as they stand or stood last.
    pub line: Option<Line>,
    /// The outage that is not over: mains have not stood since.
    pub outage: Option<Outage>,
    /// The last figures that were told.
    pub figures: Option<Figures>,
    /// The polls in a row that say, each alone, that the time has come.
    pub low: Option<LowRun>,
    /// Since when a charge of 0 stands on line without charging.
    #[serde(with = "seconds_option")]
    #[schemars(with = "Option<f64>")]
    pub zero_charge_since: Option<Duration>,
    /// A runtime that has grown by a second a second since the battery is drawn from: a counter, no estimate.
    pub climb: Option<Climb>,
    /// What is said to be a discharge although mains are said to be there.
    pub discharge: Option<OnLineDischarge>,
    /// When its witness was last seen.
    #[serde(with = "seconds_option")]
    #[schemars(with = "Option<f64>")]
    pub witness_seen: Option<Duration>,
}

/// One answer of a UPS.
#[derive(Clone, Debug, PartialEq)]
pub struct UpsSample {
    /// When the poll began.
    pub began: Duration,
    /// What it said.
    pub reading: UpsReading,
}

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

/// A discharge beside OL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OnLineDischarge {
    /// Its first answer.
    pub from: DrawnFrom,
    /// `battery.charge` in the last one that told it.
    pub charge: Option<f64>,
    /// By how many points the charge has fallen, no step counted as more than a battery loses.
    pub fell: f64,
    /// When the charge last fell.
    pub moved: Seconds,
    /// When OB was last said instead: a charge that the driver reads after that may have fallen before.
    #[serde(default)]
    pub drawn: Option<Seconds>,
    /// Whether it is taken for an outage.
    pub is_believed: bool,
}

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
    /// Whether hecate saw the outage before end, with a charge.
    #[serde(default)]
    pub is_end_seen: bool,
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
    /// `battery.charge` in the last one that told it.
    pub charge: Option<f64>,
    /// `battery.charge` in the first one that told it.
    #[serde(default)]
    pub first_charge: Option<f64>,
}

impl Outage {
    /// The charge at its end, where that is a measurement: one that has not moved for too long is none.
    pub fn charge_left(&self, policy: &UpsPolicy) -> Option<f64> {
        let is_long = self.last.saturating_sub(self.since) >= policy.charge_frozen;
        let stood = self.first_charge.zip(self.charge).is_some_and(|(first, last)| (first - last).abs() < 1.0);
        self.charge.filter(|_| !(is_long && stood))
    }

    /// Whether the charge was seen to fall in it.
    pub fn has_fallen(&self) -> bool {
        self.first_charge.zip(self.charge).is_some_and(|(first, last)| first - last >= 1.0)
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

/// Polls in a row that say, each alone, that the time has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LowRun {
    /// When the first of them began.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub first: Duration,
    /// How many there are, no two nearer to each other than the driver's interval.
    pub polls: u32,
    /// When the last one that counts began.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub counted: Duration,
    /// When the last answer began that did not end the run: one of them, or an OL that has not stood.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub last: Duration,
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
    /// More than any debounce may count, see `config/validate.rs`.
    pub const SAMPLES_MAX: usize = 120;
    /// More than change within a minute.
    pub const CHARGES_MAX: usize = 30;

    /// The same without the answers themselves.
    pub(super) fn without_samples(&self) -> Self {
        Self {
            samples: VecDeque::new(),
            last: self.last,
            words_since: self.words_since.clone(),
            saw_fsd_rise: self.saw_fsd_rise,
            runtime_since: self.runtime_since,
            drawn_from: self.drawn_from.clone(),
            settled_from: self.settled_from.clone(),
            charges: self.charges.clone(),
            line: self.line.clone(),
            outage: self.outage.clone(),
            figures: self.figures.clone(),
            low: self.low.clone(),
            zero_charge_since: self.zero_charge_since,
            climb: self.climb.clone(),
            discharge: self.discharge.clone(),
            witness_seen: self.witness_seen,
        }
    }

    /// Whether a restart would go on from this as from the other, but for time that went on while all is calm.
    pub(super) fn is_as_good_as(&self, other: &Self) -> bool {
        let is_calm = self.outage.is_none() && other.outage.is_none() && self.low.is_none() && other.low.is_none();
        let since = |polls: &Self| polls.line.as_ref().map(|line| line.since);
        let is_alike = self.words_since == other.words_since
            && self.saw_fsd_rise == other.saw_fsd_rise
            && self.runtime_since == other.runtime_since
            && self.zero_charge_since == other.zero_charge_since
            && self.discharge.is_some() == other.discharge.is_some()
            && since(self) == since(other);
        is_alike
            && (is_calm
                || self.last == other.last
                    && self.outage == other.outage
                    && self.low == other.low
                    && self.figures == other.figures
                    && self.drawn_from == other.drawn_from
                    && self.settled_from == other.settled_from
                    && self.charges == other.charges
                    && self.climb == other.climb
                    && self.discharge == other.discharge)
    }

    /// How long nothing may be heard, and still what was said before counts on.
    pub fn gap_max(policy: &UpsPolicy) -> Duration {
        policy.max_age * 2
    }

    /// Takes a poll in, unless it is known already.
    pub(super) fn take(&mut self, reading: &UpsReading, began: Duration, policy: &UpsPolicy) {
        if self.last.is_some_and(|last| last >= began) {
            return;
        }
        let reading = &self.heard(reading, began);
        let sense = sense(&reading.status);
        let previous = self.figures.as_ref().map(|figures| figures.runtime);
        if !reading.status.has(UpsWord::Fsd) {
            self.saw_fsd_rise = false;
        } else if !self.words_since.contains_key(&UpsWord::Fsd) {
            // What came back with the first word after a silence may have stood all along.
            self.saw_fsd_rise = self
                .last_word()
                .is_some_and(|last| Some(last) == self.last && began.saturating_sub(last) <= Self::gap_max(policy));
        }
        self.words_since.retain(|word, _| reading.status.has(*word));
        let discharging = self.discharge.as_ref().filter(|one| one.is_believed).map(|one| one.from.began);
        for word in reading.status.words.iter() {
            let since = discharging.filter(|_| word == UpsWord::Ob).unwrap_or(began);
            self.words_since.entry(word).or_insert(since);
        }
        if previous != Some(reading.runtime) {
            self.runtime_since = Some(began);
        }
        self.take_power(sense, reading, began, policy);
        self.take_figures(sense, reading, began);
        self.last = Some(began);
        if self.samples.len() == Self::SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(UpsSample { began, reading: reading.clone() });
    }

    /// The answer as it is meant: a discharge beside OL that is believed is OB, as the driver itself would say it where somebody
    /// had set `onlinedischarge_onbattery`; so is a test of the battery that begins in an outage.
    fn heard(&mut self, reading: &UpsReading, began: Duration) -> UpsReading {
        let reading = &UpsReading { status: self.without_late_test(reading, began), ..reading.clone() };
        let status = &reading.status;
        match sense(status) {
            Sense::DischargingOnLine => {}
            Sense::OnLine | Sense::ForcedOnLine => {
                self.discharge = None;
                return reading.clone();
            }
            Sense::Forced | Sense::Calibrating | Sense::LowOnBattery | Sense::OnBattery => {
                // What is drawn on battery is no fall beside OL.
                let charge = reading.charge_percent;
                if let Some(discharge) = &mut self.discharge {
                    (discharge.charge, discharge.drawn) = (charge.or(discharge.charge), Some(Seconds(began)));
                }
                return reading.clone();
            }
            Sense::Silent | Sense::Bypassed => return reading.clone(),
        }
        let charge = reading.charge_percent.filter(|_| !self.is_charge_void());
        let from = DrawnFrom { began, charge, load: reading.load_percent };
        let is_news = self.outage.is_some() && !self.stood_before_the_outage(UpsWord::Dischrg);
        let mut discharge = self.discharge.take().unwrap_or_else(|| OnLineDischarge::begin(from.clone(), is_news));
        discharge.follow(from);
        let low_since = self.words_since.get(&UpsWord::Lb).copied().filter(|_| status.has(UpsWord::Lb));
        let is_low =
            low_since.is_some_and(|since| since > discharge.from.began && began.saturating_sub(since) >= DISCHARGE_LB);
        discharge.is_believed |= is_low;
        let is_believed = discharge.is_believed;
        self.discharge = Some(discharge);
        if !is_believed {
            return reading.clone();
        }
        UpsReading { status: status.without(UpsWord::Ol).with(UpsWord::Ob), ..reading.clone() }
    }

    /// The status without a CAL or TEST that came when the UPS had been on battery for a while: then the mains are what it lacks.
    fn without_late_test(&self, reading: &UpsReading, began: Duration) -> UpsStatus {
        let within = TEST_WITHIN.max(reading.driver_interval.unwrap_or_default() * 2);
        let outage = self.outage.as_ref().filter(|_| self.line.is_none());
        let is_late = outage.is_some_and(|outage| began.saturating_sub(outage.since) > within);
        let mut status = reading.status.clone();
        for word in [UpsWord::Cal, UpsWord::Test] {
            if is_late && sense(&status) == Sense::Calibrating && !self.words_since.contains_key(&word) {
                status = status.without(word).with(UpsWord::Ob);
            }
        }
        status
    }

    fn stood_before_the_outage(&self, word: UpsWord) -> bool {
        let since = self.words_since.get(&word);
        since.zip(self.outage.as_ref()).is_some_and(|(since, outage)| *since < outage.since)
    }

    fn take_power(&mut self, sense: Sense, reading: &UpsReading, began: Duration, policy: &UpsPolicy) {
        match sense {
            Sense::OnBattery | Sense::LowOnBattery | Sense::Calibrating | Sense::Forced => {
                self.line = None;
                let charge = reading.charge_percent.filter(|_| !self.is_charge_void());
                let believed = self.discharge.as_ref().filter(|one| one.is_believed);
                let since = believed.map_or(began, |one| one.from.began);
                let first_charge = believed.and_then(|one| one.from.charge).or(charge);
                let outage = self.outage.get_or_insert(Outage { since, last: began, charge, first_charge });
                outage.last = began;
                outage.charge = charge.or(outage.charge);
            }
            Sense::OnLine | Sense::ForcedOnLine | Sense::DischargingOnLine => {
                let charge = reading.charge_percent;
                let goes_on = |line: &Line| line.goes_on(began, charge, policy);
                let last_drawn = self.outage.as_ref().and_then(|outage| outage.charge_left(policy));
                let before = self.line.as_ref().and_then(|line| line.drawn_until);
                let drawn_until = self.outage.as_ref().map(|outage| Seconds(outage.last)).or(before);
                let begin = || Line { drawn_until, ..Line::begin(began, charge, last_drawn) };
                let mut line = self.line.take().filter(goes_on).unwrap_or_else(begin);
                (line.last, line.charge) = (began, charge);
                if sense == Sense::DischargingOnLine {
                    line.discharged = Some(began);
                }
                line.follow_charge(charge, reading.status.has(UpsWord::Chrg), began);
                if began.saturating_sub(line.since) >= policy.mains_stable {
                    self.outage = None;
                }
                self.line = Some(line);
            }
            Sense::Silent | Sense::Bypassed => {}
        }
        if reading.status.has(UpsWord::Ob) {
            let from = DrawnFrom { began, charge: reading.charge_percent, load: reading.load_percent };
            if let Some(discharge) = self.discharge.as_ref().filter(|one| one.is_believed && self.drawn_from.is_none())
            {
                self.drawn_from = Some(discharge.from.clone());
                self.settled_from = Some(discharge.from.clone());
            }
            if from.charge.is_some() && self.charges.back().is_none_or(|last| last.charge != from.charge) {
                let surplus = (self.charges.len() + 1).saturating_sub(Self::CHARGES_MAX);
                self.charges.drain(..surplus);
                self.charges.push_back(from.clone());
            }
            let before = self.figures.as_ref().filter(|told| began.saturating_sub(told.began) <= CHARGE_BEFORE);
            let charge = from.charge.or(before.and_then(|told| told.charge));
            let first = self.drawn_from.get_or_insert_with(|| DrawnFrom { charge, ..from.clone() });
            // A charge that comes later is where its fall begins.
            first.charge = first.charge.or(from.charge);
            if began.saturating_sub(first.began) >= SAG {
                let settled = self.settled_from.get_or_insert(from.clone());
                if settled.charge.is_none() {
                    *settled = from;
                }
            }
        } else if reading.status.has(UpsWord::Ol) {
            (self.drawn_from, self.settled_from, self.climb) = (None, None, None);
            self.charges.clear();
        }
    }

    fn take_figures(&mut self, sense: Sense, reading: &UpsReading, began: Duration) {
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

    /// Whether the charge is a 0 that stood on line without charging: no measurement.
    pub fn is_charge_void(&self) -> bool {
        let last = self.last.unwrap_or_default();
        self.zero_charge_since.is_some_and(|since| last.saturating_sub(since) >= ZERO_CHARGE)
    }

    /// When its battery was last said to be drawn from, where mains are back since.
    pub fn drawn_until(&self) -> Option<Duration> {
        self.line.as_ref()?.drawn_until.map(|at| at.0)
    }

    /// Whether the runtime has counted the seconds on battery for so long.
    pub fn counts_up(&self, least: Duration) -> bool {
        self.climb.as_ref().is_some_and(|climb| climb.last.saturating_sub(climb.since) >= least)
    }

    /// Whether all that is remembered lies before this time: what lies ahead of the clock was never seen.
    pub(super) fn is_before(&self, now: Duration) -> bool {
        let figures = self.figures.as_ref().map(|figures| figures.began);
        let low = self.low.as_ref().map(|run| run.last);
        [self.last, self.last_word(), figures, low, self.witness_seen].iter().flatten().all(|at| *at <= now)
    }

    /// When it last said anything of mains and battery.
    pub fn last_word(&self) -> Option<Duration> {
        let (line, outage) = (self.line.as_ref().map(|line| line.last), self.outage.as_ref().map(|it| it.last));
        line.max(outage)
    }
}

impl OnLineDischarge {
    fn begin(from: DrawnFrom, is_believed: bool) -> Self {
        Self { charge: from.charge, fell: 0.0, moved: Seconds(from.began), drawn: None, from, is_believed }
    }

    /// Takes one more answer in.
    fn follow(&mut self, now: DrawnFrom) {
        let step = self.charge.zip(now.charge).map_or(0.0, |(before, charge)| before - charge);
        let stood = now.began.saturating_sub(self.moved.0);
        let most = if now.charge.is_some() { DISCHARGE_FLAT } else { DISCHARGE_MOST };
        let is_over = -step > DISCHARGE_RISE || self.is_believed && stood >= most;
        let is_slow = !self.is_believed && now.began.saturating_sub(self.from.began) > DISCHARGE_WITHIN;
        if is_over || is_slow {
            *self = Self::begin(now, false);
            return;
        }
        if step > 0.0 {
            self.moved = Seconds(now.began);
        }
        let is_stale = self.drawn.is_some_and(|drawn| now.began.saturating_sub(drawn.0) < DISCHARGE_STALE);
        self.fell += if is_stale { 0.0 } else { step.min(DISCHARGE_STEP) };
        self.charge = now.charge.or(self.charge);
        self.is_believed |= self.fell >= DISCHARGE_BELIEVED;
    }
}

impl Line {
    fn begin(began: Duration, charge: Option<f64>, last_drawn: Option<f64>) -> Self {
        Self {
            since: began,
            last: began,
            charge,
            first_charge: charge,
            flat_since: None,
            flat_charge: None,
            mark: last_drawn.or(charge).map(|charge| (Seconds(began), charge)),
            rose_fast: false,
            is_end_seen: last_drawn.is_some(),
            drawn_until: None,
            discharged: None,
        }
    }

    /// Follows the charge: since when it stands, and whether it ever rose as only a voltage does.
    fn follow_charge(&mut self, charge: Option<f64>, is_charging: bool, began: Duration) {
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
        let was_seen = self.is_end_seen
            || self.first_charge.zip(self.flat_charge).is_some_and(|(first, flat)| flat - first >= RISE_SEEN);
        let rises_fast = self
            .mark
            .zip(self.charge)
            .is_some_and(|((at, before), charge)| is_fast(self.last.saturating_sub(at.0), charge - before));
        was_seen && !self.rose_fast && !rises_fast
    }

    /// Whether mains that are there now were there all the time: a gap up to `lost_on_battery` without a fall of the charge
    /// does not interrupt them.
    fn goes_on(&self, began: Duration, charge: Option<f64>, policy: &UpsPolicy) -> bool {
        let gap = began.saturating_sub(self.last);
        let fell = self.charge.zip(charge).is_some_and(|(before, now)| before - now >= 1.0);
        gap <= policy.max_age || gap <= policy.lost_on_battery.max(UpsMemory::gap_max(policy)) && !fell
    }
}

/// Whether a charge that rose by so many points in this time is that of a voltage: no battery charges so fast.
fn is_fast(time: Duration, rise: f64) -> bool {
    rise > RISE_PERCENT_AN_HOUR * time.as_secs_f64() / 3600.0 + RISE_ROUNDING
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

/// Times by word, in seconds.
mod seconds_by_word {
    use super::{BTreeMap, Duration, UpsWord};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(map: &BTreeMap<UpsWord, Duration>, to: S) -> Result<S::Ok, S::Error> {
        let seconds: BTreeMap<UpsWord, f64> = map.iter().map(|(word, since)| (*word, since.as_secs_f64())).collect();
        seconds.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<UpsWord, Duration>, D::Error> {
        let seconds = BTreeMap::<UpsWord, f64>::deserialize(from)?;
        let each =
            seconds.into_iter().filter_map(|(word, since)| Some((word, Duration::try_from_secs_f64(since).ok()?)));
        Ok(each.collect())
    }
}

//! What is remembered of one UPS from poll to poll: its last answers, and since when what they say has stood.
//!
//! Pure. Everything but the answers themselves outlives a restart of hecate within a boot (`low.json`).

mod discharge;
mod drawn;
mod line;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::low::Seconds;
use crate::config::{Ups, UpsPolicy};
use crate::desired::ups_policy::words::{Sense, sense};
use crate::model::{seconds, seconds_option};
use crate::snapshot::{UpsReading, UpsStatus, UpsWord};

use self::discharge::OnLineDischarge;
pub use self::drawn::{Climb, DrawnFrom, Figures, Standing};
use self::line::{Garbled, SETTLES};
pub use self::line::{Line, Outage};

/// A charge up to this, percent, may stand for as long as it likes.
const REPEATS_CHARGE: f64 = 5.0;

/// Garbled answers that come again within this time are none.
const GARBLED_AGAIN: Duration = Duration::from_secs(600);

/// A charge of 0 that stands on line for so long without charging is no measurement.
const ZERO_CHARGE: Duration = Duration::from_secs(120);

/// What is over so soon is no outage to anybody who is off.
const PIT: Duration = Duration::from_secs(60);

/// A forced-shutdown flag that was seen to rise is obeyed for so long: long enough for every path to end, short enough that one
/// which upsd latches does not keep the cluster dark for ever.
const FSD_OBEYED: Duration = Duration::from_secs(600);

/// A calibration takes the UPS off the mains at once. A CAL that had stood for longer when OB came is a flag that some
/// UPSes leave behind after a self-test, and no reason to ignore a real outage.
const CAL_BEFORE_OB: Duration = Duration::from_secs(60);

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
    /// Since when the load is far above the one that it had then.
    #[serde(default)]
    pub load_rose: Option<Seconds>,
    /// The charge that stands in it.
    #[serde(default)]
    pub stands: Option<Standing>,
    /// The lowest runtime in it, counted down since: no battery gives more than that under the load that it had then.
    #[serde(default)]
    pub floor: Option<Figures>,
    /// The latest charges of it, each with when it was first said, oldest first; at most [`UpsMemory::CHARGES_MAX`].
    #[serde(default)]
    pub charges: VecDeque<DrawnFrom>,
    /// The mains, as they stand or stood last.
    pub line: Option<Line>,
    /// `battery.charge` as the last mains ended that had stood.
    #[serde(default)]
    pub charge_on_line: Option<f64>,
    /// The outage that is not over: mains have not stood since.
    pub outage: Option<Outage>,
    /// When the latest outages began, the present one at the end; at most [`UpsMemory::OUTAGES_MAX`].
    #[serde(default)]
    pub outages: VecDeque<Seconds>,
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
    /// When an outage was last forgotten whose answers were garbled.
    #[serde(default)]
    pub forgot_garbled: Option<Seconds>,
    /// What is said to be a discharge although mains are said to be there.
    pub discharge: Option<OnLineDischarge>,
    /// What it said last ...
    pub said: Option<Said>,
    /// ... and since when it has said nothing else.
    #[serde(with = "seconds_option")]
    #[schemars(with = "Option<f64>")]
    pub same_since: Option<Duration>,
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

/// Words and figures of one answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Said {
    /// `ups.status`, as it is meant.
    pub status: UpsStatus,
    /// `battery.runtime`.
    #[serde(with = "seconds_option")]
    #[schemars(with = "Option<f64>")]
    pub runtime: Option<Duration>,
    /// `battery.charge`, percent.
    pub charge: Option<f64>,
}

impl Said {
    fn of(reading: &UpsReading) -> Self {
        Self { status: reading.status.clone(), runtime: reading.runtime, charge: reading.charge_percent }
    }
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
    /// When the last one of them began.
    #[serde(default)]
    pub told: Seconds,
    /// For how long the battery was drawn from between them: mains that were there for a moment do not count.
    #[serde(default)]
    pub drawn: Seconds,
}

impl UpsMemory {
    /// More than any debounce may count, see `config/validate.rs`.
    pub const SAMPLES_MAX: usize = 120;
    /// Since when a word stands that may have stood from the beginning of this boot, or before it.
    pub const ALL_ALONG: Duration = Duration::ZERO;
    /// More than a storm brings while somebody is silent.
    pub const OUTAGES_MAX: usize = 8;
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
            load_rose: self.load_rose,
            stands: self.stands.clone(),
            floor: self.floor.clone(),
            charges: self.charges.clone(),
            line: self.line.clone(),
            charge_on_line: self.charge_on_line,
            outage: self.outage.clone(),
            outages: self.outages.clone(),
            figures: self.figures.clone(),
            low: self.low.clone(),
            zero_charge_since: self.zero_charge_since,
            climb: self.climb.clone(),
            forgot_garbled: self.forgot_garbled,
            discharge: self.discharge.clone(),
            said: self.said.clone(),
            same_since: self.same_since,
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
            && self.forgot_garbled == other.forgot_garbled
            && self.discharge.is_some() == other.discharge.is_some()
            && self.outages == other.outages
            && self.charge_on_line == other.charge_on_line
            && since(self) == since(other);
        is_alike
            && (is_calm
                || self.last == other.last
                    && self.outage == other.outage
                    && self.low == other.low
                    && self.figures == other.figures
                    && self.drawn_from == other.drawn_from
                    && self.settled_from == other.settled_from
                    && self.load_rose == other.load_rose
                    && self.stands == other.stands
                    && self.floor == other.floor
                    && self.charges == other.charges
                    && self.climb == other.climb
                    && self.discharge == other.discharge)
    }

    /// How long nothing may be heard, and still what was said before counts on.
    pub fn gap_max(policy: &UpsPolicy) -> Duration {
        policy.max_age * 2
    }

    /// Takes a poll in, unless it is known already. What a person took out and a flag that is latched are not heard at all.
    pub(super) fn take(&mut self, reading: &UpsReading, began: Duration, ups: &Ups, policy: &UpsPolicy) {
        if self.last.is_some_and(|last| last >= began) {
            return;
        }
        let mut reading = reading.clone();
        for word in &ups.ignored_words {
            reading.status.words.remove(*word);
        }
        self.take_forced(&reading.status, began, policy);
        if self.is_latched(&reading.status, began) {
            reading.status.words.remove(UpsWord::Fsd);
        }
        let reading = self.heard(reading, began, policy);
        let sense = sense(&reading.status);
        // A driver that waits, or says OFF for a moment, takes nothing back, as no answer does.
        if sense != Sense::Silent {
            self.take_words(&reading, began);
        }
        let said = Said::of(&reading);
        if self.said.as_ref() != Some(&said) {
            (self.said, self.same_since) = (Some(said), Some(began));
        }
        let previous = self.figures.as_ref().map(|figures| figures.runtime);
        if previous != Some(reading.runtime) {
            self.runtime_since = Some(began);
        }
        self.take_power(sense, &reading, began, policy);
        self.take_drawn(&reading, began);
        let is_stuck = self.is_charge_stuck(began, policy.charge_frozen);
        if let Some(outage) = self.outage.as_mut().filter(|outage| outage.last == began) {
            // A load that was shed says nothing more of it.
            outage.was_frozen = if outage.may_stand(reading.load_percent) { outage.was_frozen } else { is_stuck };
        }
        self.take_figures(sense, &reading, began);
        self.last = Some(began);
        push_at_most(&mut self.samples, UpsSample { began, reading }, Self::SAMPLES_MAX);
    }

    /// What it says, as it is meant: with OL and OB where its driver leaves them out, and without what is ignored, latched or stuck.
    /// None after a restart, until it is polled.
    pub fn says(&self) -> Option<UpsStatus> {
        Some(self.without_stuck(self.samples.back()?.reading.status.clone()))
    }

    /// The status without CAL and TEST where they are stuck.
    pub fn without_stuck(&self, status: UpsStatus) -> UpsStatus {
        let without =
            |status: UpsStatus, word| if self.is_stuck(word, &status) { status.without(word) } else { status };
        [UpsWord::Cal, UpsWord::Test].into_iter().fold(status, without)
    }

    /// CAL or TEST that stood long before OB came. What began as a test is one, also where the word was away for a moment.
    pub fn is_stuck(&self, word: UpsWord, status: &UpsStatus) -> bool {
        if self.outage.as_ref().is_some_and(|outage| outage.is_test) {
            return false;
        }
        let since = |word| self.words_since.get(&word).copied();
        match (since(word), since(UpsWord::Ob)) {
            // This host may have been up for less than that.
            (Some(Self::ALL_ALONG), Some(_)) => status.has(word),
            (Some(cal), Some(ob)) => status.has(word) && ob.saturating_sub(cal) > CAL_BEFORE_OB,
            (_, _) => false,
        }
    }

    /// Whether a word stood on line already when the outage began: it is no news of the outage.
    pub fn stood_on_line(&self, word: UpsWord) -> bool {
        let since = |word| self.words_since.get(&word).copied();
        since(word).zip(since(UpsWord::Ob)).is_some_and(|(word, ob)| word < ob)
    }

    /// Since when each word stands.
    fn take_words(&mut self, reading: &UpsReading, began: Duration) {
        let is_first = self.last.is_none();
        let discharging = self.discharge.as_ref().filter(|one| one.is_believed).map(|one| one.from.began);
        self.words_since.retain(|word, _| *word == UpsWord::Fsd || reading.status.has(*word));
        for word in reading.status.words.iter() {
            // What the first answer on line has beside it may have stood all along.
            let may_be_old = is_first && reading.status.has(UpsWord::Ol);
            let since = if word == UpsWord::Ob {
                discharging.unwrap_or(began)
            } else if may_be_old && matches!(word, UpsWord::Cal | UpsWord::Test) {
                Self::ALL_ALONG
            } else {
                began
            };
            self.words_since.entry(word).or_insert(since);
        }
    }

    /// Since when FSD stands, latched or not.
    fn take_forced(&mut self, status: &UpsStatus, began: Duration, policy: &UpsPolicy) {
        // What came back with the first word after a silence may have stood all along.
        let goes_on = |last| Some(last) == self.last && began.saturating_sub(last) <= Self::gap_max(policy);
        let may_rise = self.last_word().is_some_and(goes_on);
        if status.has(UpsWord::Fsd) {
            if let Entry::Vacant(new) = self.words_since.entry(UpsWord::Fsd) {
                new.insert(began);
                self.saw_fsd_rise = may_rise;
            }
        } else if sense(status) != Sense::Silent {
            self.words_since.remove(&UpsWord::Fsd);
            self.saw_fsd_rise = false;
        }
    }

    /// Whether a status says FSD that is a latch: upsd keeps it after mains are back, and beside whatever the driver says
    /// (server/netlist.c; only a restart of upsd clears it). One that came in the stretch on battery that goes on is none; nor is
    /// one that was seen to rise, for as long as every path takes to its end: whoever set it goes, and may have the load cut
    /// though mains are back by then (upsmon.conf(5) POWERDOWNFLAG).
    fn is_latched(&self, status: &UpsStatus, began: Duration) -> bool {
        let Some(flagged) = self.words_since.get(&UpsWord::Fsd).filter(|_| status.has(UpsWord::Fsd)) else {
            return false;
        };
        let is_drawn = status.has(UpsWord::Ob) && !status.has(UpsWord::Ol);
        let drawn_since = self.words_since.get(&UpsWord::Ob).copied().unwrap_or(began);
        let came_in_it = is_drawn && *flagged >= drawn_since;
        !(came_in_it || self.saw_fsd_rise && began.saturating_sub(*flagged) < FSD_OBEYED)
    }

    fn take_power(&mut self, sense: Sense, reading: &UpsReading, began: Duration, policy: &UpsPolicy) {
        match sense {
            Sense::OnBattery | Sense::LowOnBattery | Sense::Calibrating | Sense::Forced => {
                if let Some(line) = self.line.take().filter(|line| line.last.saturating_sub(line.since) >= SETTLES) {
                    self.charge_on_line = line.charge;
                }
                let charge = reading.charge_percent.filter(|_| !self.is_charge_void());
                let believed = self.discharge.as_ref().filter(|one| one.is_believed);
                let since = believed.map_or(began, |one| one.from.began);
                let first_charge = believed.and_then(|one| one.from.charge).or(charge);
                let is_test = sense == Sense::Calibrating && self.is_test_new(began);
                let new = Outage { is_test, ..Outage::begin(since, began, charge, first_charge) };
                let is_first = self.outage.is_none();
                let goes_on = self.last.is_some_and(|last| began.saturating_sub(last) <= Self::gap_max(policy));
                let before = self.figures.as_ref().and_then(|figures| figures.charge);
                let garbled = Garbled::of(reading, before).filter(|_| is_first && goes_on);
                if is_first {
                    push_at_most(&mut self.outages, Seconds(new.since), Self::OUTAGES_MAX);
                }
                let outage = self.outage.get_or_insert(new);
                // Once it tells anything else it is an outage.
                let is_zeros = Garbled::of(reading, None).is_some();
                outage.garbled = garbled.or(outage.garbled.take().filter(|_| is_zeros));
                outage.follow(charge, reading.load_percent, began);
                outage.follow_runtime(reading.runtime.filter(|runtime| !runtime.is_zero()), is_first);
            }
            Sense::OnLine | Sense::ForcedOnLine | Sense::DischargingOnLine => {
                let charge = reading.charge_percent;
                let after_garbled = self.forgets_garbled(reading, began, policy);
                let goes_on = |line: &Line| line.goes_on(began, charge, policy);
                let last_drawn = self.outage.as_ref().and_then(|outage| outage.charge_left(policy));
                let before = self.line.as_ref().and_then(|line| line.drawn_until);
                let drawn_until = self.outage.as_ref().map(|outage| Seconds(outage.last)).or(before);
                let was_pit = match &self.outage {
                    Some(outage) => outage.last.saturating_sub(outage.since) < PIT,
                    None => self.line.as_ref().is_some_and(|line| line.was_pit),
                };
                let begin = || Line { drawn_until, was_pit, after_garbled, ..Line::begin(began, charge, last_drawn) };
                let mut line = self.line.take().filter(|line| goes_on(line) && !after_garbled).unwrap_or_else(begin);
                (line.last, line.charge) = (began, charge);
                if sense == Sense::DischargingOnLine {
                    line.discharged = Some(began);
                }
                line.follow_charge(reading, began);
                if began.saturating_sub(line.since) >= policy.mains_stable {
                    self.outage = None;
                } else if let Some(outage) = self.outage.as_mut().filter(|_| sense != Sense::DischargingOnLine) {
                    outage.mains_seen = Some(Seconds(began));
                }
                self.line = Some(line);
            }
            Sense::Silent | Sense::Bypassed => {}
        }
    }

    /// Forgets an outage whose answers were garbled, once the charge shows it; not a second one a moment later: a battery at its
    /// end says so too, where mains come and go. Says whether it did.
    fn forgets_garbled(&mut self, reading: &UpsReading, began: Duration, policy: &UpsPolicy) -> bool {
        let was_forgotten = self.forgot_garbled.is_some_and(|at| began.saturating_sub(at.0) < GARBLED_AGAIN);
        let never_was = self.outage.as_ref().and_then(|outage| outage.never_was(reading, began, policy));
        let forgets = never_was == Some(true) && !was_forgotten;
        if forgets {
            self.outage = None;
            self.forgot_garbled = Some(Seconds(began));
        } else if let Some(outage) = self.outage.as_mut().filter(|_| never_was.is_some() || was_forgotten) {
            outage.garbled = None;
        }
        forgets
    }

    /// Since when it repeats itself word by word and figure by figure, on battery: no battery that is drawn from does for long. None
    /// where it tells no figures, or they are at their end: then there is nothing that could change.
    pub fn repeats_since(&self) -> Option<Duration> {
        let said = self.said.as_ref().filter(|said| said.status.has(UpsWord::Ob))?;
        let has_runtime = said.runtime.is_some_and(|runtime| !runtime.is_zero());
        let moves = said.charge.map_or(has_runtime, |charge| charge > REPEATS_CHARGE);
        self.same_since.filter(|_| moves)
    }

    /// Whether the most of the load that it had as the outage began is known to be off.
    pub fn is_load_shed(&self) -> bool {
        let load = self.figures.as_ref().and_then(|figures| figures.load);
        self.outage.as_ref().is_some_and(|outage| outage.is_shed(load))
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

    /// When mains were last seen to come back, or in an outage to be there.
    pub fn mains_came(&self) -> Option<Duration> {
        match &self.outage {
            Some(outage) => outage.mains_seen.map(|at| at.0),
            None => self.line.as_ref().filter(|line| line.drawn_until.is_some()).map(|line| line.since),
        }
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

/// Adds one at the end; the oldest go where there are more than so many.
fn push_at_most<T>(all: &mut VecDeque<T>, one: T, most: usize) {
    let surplus = (all.len() + 1).saturating_sub(most);
    all.drain(..surplus);
    all.push_back(one);
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

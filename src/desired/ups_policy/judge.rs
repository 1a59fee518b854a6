//! One UPS, judged from its latest polls.
//!
//! Pure. One noisy poll shuts nothing down: what is not urgent must stand over several polls and some time.

use std::time::Duration;

use super::time_left::{self, TimeLeft, is_drawn};
use super::words::{REMARKS, Sense, is_telling, sense};
use crate::config::UpsPolicy;
use crate::ledger::Ledger;
use crate::model::{Now, Stamp, UpsName};
use crate::plan::blocker::Warning;
use crate::snapshot::{UpsReading, UpsStatus, UpsWord};
use crate::status::UpsVerdict;
use crate::tracker::{UpsMemory, UpsSample};

/// A forced-shutdown flag raised while on line is obeyed for so long: long enough for every path to end, short enough
/// that a flag which upsd latches (upsd(8): only a restart clears it) does not keep the cluster dark for ever.
const FSD_ON_LINE_OBEYED: Duration = Duration::from_secs(600);

/// A calibration takes the UPS off the mains at once. A CAL that had stood for longer when OB came is a flag that some
/// UPSes leave behind after a self-test, and no reason to ignore a real outage.
const CAL_BEFORE_OB: Duration = Duration::from_secs(60);

/// LB with at least this charge, and with time left above the trigger, contradicts itself: some UPSes flash it whenever
/// mains are lost. It must then stand for the debounce.
const LB_DOUBTED_CHARGE: f64 = 50.0;

/// OL DISCHRG is on battery once the charge has fallen by so many percentage points meanwhile (some drivers leave OL
/// standing; see `onlinedischarge_onbattery` in usbhid-ups(8)).
const DISCHARGE_BELIEVED: f64 = 5.0;

/// Mains count as there without a break while no two polls are further apart than so many times the age at which one is
/// stale: a quiet loop takes one in every 15 s.
const HEARD: u32 = 2;

/// A charge that has not moved by a point in so long on battery says nothing: no battery meant here lasts 16 hours.
const CHARGE_FROZEN: Duration = Duration::from_secs(600);

/// What is made of one UPS.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    /// The verdict.
    pub verdict: UpsVerdict,
    /// Why, with the figures.
    pub evidence: String,
    /// For how long it has been on battery.
    pub on_battery_for: Option<Duration>,
    /// For how long it has been on line without a break, as far as this memory goes.
    pub on_line_for: Option<Duration>,
    /// What its battery still gives: the last estimate less the time since.
    pub time_left: Option<Duration>,
    /// Whether there is no time for the graceful path whatever the estimate says (LB, FSD, communication lost).
    pub is_urgent: bool,
}

impl Assessment {
    /// Whether it says that it is on battery.
    pub fn is_on_battery(&self) -> bool {
        match self.verdict {
            UpsVerdict::OnBattery | UpsVerdict::Critical => true,
            UpsVerdict::OnLine | UpsVerdict::Unknown | UpsVerdict::Ignored => false,
        }
    }

    /// A UPS that an operator took out of the policy.
    pub(super) fn ignored(evidence: String) -> Self {
        Self {
            verdict: UpsVerdict::Ignored,
            evidence,
            on_battery_for: None,
            on_line_for: None,
            time_left: None,
            is_urgent: false,
        }
    }
}

/// Since when a UPS has been on battery: the ledger's word while it goes on, else the first poll of the present stretch.
pub(super) fn on_battery_since(polls: &UpsMemory, ledger: &Ledger, name: &UpsName, now: &Now) -> Option<Stamp> {
    let kept = ledger.on_battery_since.get(name);
    let Some(last) = polls.samples.back() else { return kept.cloned() };
    if is_on_line(&last.reading.status) {
        return None;
    }
    if let Some(kept) = kept.filter(|kept| kept.boot_id == now.boot_id) {
        return Some(kept.clone());
    }
    polls.drawn_from.as_ref().map(|from| Stamp { boottime: from.began, ..now.stamp() })
}

/// OL without OB. A calibration is not on line although mains are there.
fn is_on_line(status: &UpsStatus) -> bool {
    status.has(UpsWord::Ol) && !status.has(UpsWord::Ob)
}

/// One UPS' polls, looked at in one pass.
pub(super) struct Look<'a> {
    pub(super) policy: &'a UpsPolicy,
    /// The time left at which the policy triggers.
    pub(super) trigger_at: Duration,
    pub(super) polls: &'a UpsMemory,
    /// Why there is no fresh reading.
    pub(super) failure: Option<String>,
    pub(super) on_battery_for: Option<Duration>,
    pub(super) seen_on_battery_this_boot: bool,
    pub(super) memory_age: Duration,
    pub(super) now: &'a Now,
}

impl Look<'_> {
    pub(super) fn assess(&self) -> Assessment {
        if let Some(why) = &self.failure {
            return self.lost(why);
        }
        let Some(last) = self.polls.samples.back() else {
            return self.verdict(UpsVerdict::Unknown, "no poll yet".to_owned());
        };
        let status = &last.reading.status;
        let status = if self.is_latched(status) { &status.without(UpsWord::Fsd) } else { status };
        let status = if self.is_stuck_in_calibration(status) { &status.without(UpsWord::Cal) } else { status };
        match sense(status) {
            Sense::Forced | Sense::ForcedOnLine => {
                let evidence = format!("forced shutdown ({status})");
                Assessment { is_urgent: true, ..self.verdict(UpsVerdict::Critical, evidence) }
            }
            Sense::Calibrating => self.calibrating(status),
            Sense::LowOnBattery => self.low_on_battery(status),
            Sense::OnBattery => self.on_battery(status),
            Sense::DischargingOnLine => match self.fell_on_line() {
                Some(fell) if fell >= DISCHARGE_BELIEVED => self.on_battery(status),
                Some(_) | None => self.verdict(UpsVerdict::OnLine, status.to_string()),
            },
            Sense::OnLine => self.verdict(UpsVerdict::OnLine, status.to_string()),
            Sense::Bypassed => {
                self.verdict(UpsVerdict::Unknown, format!("mains feed the load past the battery ({status})"))
            }
            // What was last known goes on for as long as it would without an answer.
            Sense::Silent => self.lost(&format!("says only \"{status}\"")),
        }
    }

    /// No usable word: critical when it was on battery and the limit has passed, else unknown.
    fn lost(&self, why: &str) -> Assessment {
        let last = self.polls.samples.iter().rev().find(|sample| is_telling(&sample.reading.status));
        let was_on_battery = match last {
            Some(last) => is_drawn(last),
            None => self.seen_on_battery_this_boot,
        };
        if !was_on_battery {
            return self.verdict(UpsVerdict::Unknown, why.to_owned());
        }
        let last_word = last.map_or(self.now.boottime.saturating_sub(self.memory_age), |last| last.began);
        let lost_for = self.now.since(last_word);
        let limit = self.policy.lost_on_battery;
        if lost_for >= limit {
            let evidence =
                format!("on battery and no word for {} s (limit {} s): {why}", lost_for.as_secs(), limit.as_secs());
            Assessment { is_urgent: true, ..self.verdict(UpsVerdict::Critical, evidence) }
        } else {
            self.verdict(UpsVerdict::OnBattery, format!("was on battery; no word for {} s: {why}", lost_for.as_secs()))
        }
    }

    /// FSD on line that is a latch: it stays after mains are back, it stood already when hecate came, or it was obeyed for
    /// long enough.
    fn is_latched(&self, status: &UpsStatus) -> bool {
        if !status.has(UpsWord::Fsd) || !is_on_line(status) {
            return false;
        }
        let Some(flagged) = self.polls.words_since.get(&UpsWord::Fsd) else { return false };
        let was_seen_rising = self.polls.first.is_some_and(|first| first < *flagged);
        let rose_on_line = self.polls.words_since.get(&UpsWord::Ol).is_some_and(|line| line <= flagged);
        !(was_seen_rising && rose_on_line && self.now.since(*flagged) < FSD_ON_LINE_OBEYED)
    }

    /// CAL that stood long before OB came.
    fn is_stuck_in_calibration(&self, status: &UpsStatus) -> bool {
        let since = |word| self.polls.words_since.get(&word).copied();
        match (since(UpsWord::Cal), since(UpsWord::Ob)) {
            (Some(cal), Some(ob)) => status.has(UpsWord::Cal) && ob.saturating_sub(cal) > CAL_BEFORE_OB,
            (_, _) => false,
        }
    }

    /// Whether the CAL that the latest poll says is none, or has stood for too long to be one.
    fn is_calibration_over(&self) -> bool {
        let is_stuck = self.polls.samples.back().is_some_and(|last| self.is_stuck_in_calibration(&last.reading.status));
        is_stuck || self.stood(&[UpsWord::Cal]).is_some_and(|stood| stood >= self.policy.calibration_max)
    }

    fn calibrating(&self, status: &UpsStatus) -> Assessment {
        let stood = self.stood(&[UpsWord::Cal]).unwrap_or_default();
        if stood < self.policy.calibration_max {
            return self.verdict(UpsVerdict::OnBattery, format!("calibrating for {} s ({status})", stood.as_secs()));
        }
        let status = status.without(UpsWord::Cal);
        if sense(&status) == Sense::LowOnBattery { self.low_on_battery(&status) } else { self.on_battery(&status) }
    }

    fn low_on_battery(&self, status: &UpsStatus) -> Assessment {
        let stood = self.stood(&[UpsWord::Ob, UpsWord::Lb]).unwrap_or_default();
        let index = self.polls.samples.len().saturating_sub(1);
        let is_high = |sample: &UpsSample| sample.reading.charge_percent.is_some_and(|it| it >= LB_DOUBTED_CHARGE);
        let has_time = self.time_left(index).is_none_or(|it| it.left > self.trigger_at);
        let is_doubted = self.polls.samples.back().is_some_and(is_high) && has_time;
        let must_stand = if is_doubted { self.policy.ob_lb.max(self.policy.debounce) } else { self.policy.ob_lb };
        if stood >= must_stand {
            let evidence = format!("low battery while on battery for {} s ({status})", stood.as_secs());
            return Assessment { is_urgent: true, ..self.verdict(UpsVerdict::Critical, evidence) };
        }
        self.on_battery(status)
    }

    fn on_battery(&self, status: &UpsStatus) -> Assessment {
        let Some(index) = self.polls.samples.len().checked_sub(1) else {
            return self.verdict(UpsVerdict::Unknown, "no poll yet".to_owned());
        };
        let (is_low, figures) = self.low(index);
        match is_low.then(|| self.debounced()).flatten() {
            Some((polls, stood)) => self.verdict(
                UpsVerdict::Critical,
                format!("{figures} for {polls} readings, {} s ({status})", stood.as_secs()),
            ),
            None => self.verdict(UpsVerdict::OnBattery, format!("{figures} ({status})")),
        }
    }

    /// Whether one poll alone says that the time has come, and the figures.
    fn low(&self, index: usize) -> (bool, String) {
        let Some(sample) = self.polls.samples.get(index) else { return (false, "no poll".to_owned()) };
        let sign = |is_low: bool| if is_low { "<=" } else { ">" };
        let least = self.policy.charge_percent_min;
        let charge = sample.reading.charge_percent.filter(|_| !self.is_charge_frozen(sample));
        if let Some(TimeLeft { left, figures, is_doubted }) = self.time_left(index) {
            if let Some(charge) = charge.filter(|charge| is_doubted && *charge <= least && left > self.trigger_at) {
                return (true, format!("{figures}; charge {charge} % <= {least} %"));
            }
            let is_low = left <= self.trigger_at;
            return (is_low, format!("{figures} {} {} s", sign(is_low), self.trigger_at.as_secs()));
        }
        let runtime = runtime_said(&sample.reading);
        if let Some(charge) = charge {
            let is_low = charge <= least;
            return (is_low, format!("{runtime}; charge {charge} % {} {least} %", sign(is_low)));
        }
        let limit = self.policy.on_battery_max;
        let so_far = self.on_battery_for.unwrap_or_default();
        let charge = sample
            .reading
            .charge_percent
            .map_or("no charge".to_owned(), |it| format!("charge {it} % unchanged for {} s", so_far.as_secs()));
        (so_far >= limit, format!("{runtime}, {charge}; on battery {} s of {} s", so_far.as_secs(), limit.as_secs()))
    }

    /// Whether the charge has not moved by a point since the battery is drawn from, for too long to be true.
    fn is_charge_frozen(&self, sample: &UpsSample) -> bool {
        self.polls.drawn_from.as_ref().is_some_and(|from| {
            let fell = from.charge.zip(sample.reading.charge_percent).map(|(from, to)| from - to);
            fell.is_some_and(|fell| fell.abs() < 1.0) && sample.began.saturating_sub(from.began) >= CHARGE_FROZEN
        })
    }

    /// Whether enough polls in a row, far enough apart, over enough time say so. Polls nearer to each other than the
    /// driver's interval show the same value twice and count once.
    fn debounced(&self) -> Option<(u32, Duration)> {
        let mut polls = 0;
        let mut first = self.now.boottime;
        let mut counted: Option<Duration> = None;
        let is_calibration_over = self.is_calibration_over();
        for (index, sample) in self.polls.samples.iter().enumerate().rev() {
            let status = &sample.reading.status;
            let is_on_battery = is_drawn(sample) || sense(status) == Sense::DischargingOnLine;
            // What a calibration drew says nothing of an outage that follows it.
            let is_on_purpose = sense(status) == Sense::Calibrating && !is_calibration_over;
            if is_on_purpose || !is_on_battery || !self.low(index).0 {
                break;
            }
            let interval = sample.reading.driver_interval.unwrap_or_default().min(self.policy.max_age);
            if counted.is_none_or(|later| later.saturating_sub(sample.began) >= interval) {
                polls += 1;
                counted = Some(sample.began);
            }
            first = sample.began;
        }
        let stood = self.now.since(first);
        let is_enough = polls >= self.policy.debounce_polls && stood >= self.policy.debounce;
        // A crash loop must not stretch the debounce for ever: a memory younger than it counts the ledger's word.
        let window = self.policy.debounce + self.policy.poll * self.policy.debounce_polls;
        let is_young = self.memory_age <= window;
        let was_long = self.on_battery_for.is_some_and(|so_far| so_far >= window + self.memory_age);
        (is_enough || (polls >= 1 && is_young && was_long)).then_some((polls, stood))
    }

    /// For how long all of these words have stood together without a break.
    fn stood(&self, words: &[UpsWord]) -> Option<Duration> {
        let since: Option<Vec<Duration>> = words.iter().map(|word| self.polls.words_since.get(word).copied()).collect();
        since?.into_iter().max().map(|since| self.now.since(since))
    }

    /// By how much the charge has fallen since OL and DISCHRG stand together, as far as polls are kept.
    fn fell_on_line(&self) -> Option<f64> {
        let is_discharging = |one: &&UpsSample| sense(&one.reading.status) == Sense::DischargingOnLine;
        let run = self.polls.samples.iter().rev().take_while(is_discharging);
        let first = run.filter_map(|one| one.reading.charge_percent).last()?;
        Some(first - self.polls.samples.back()?.reading.charge_percent?)
    }

    /// For how long mains have been there: since OL came, or since a discharge that was said beside it ended.
    fn on_line_for(&self) -> Option<Duration> {
        let stood = self.stood(&[UpsWord::Ol])?;
        let is_discharging = |one: &UpsSample| sense(&one.reading.status) == Sense::DischargingOnLine;
        let last = self.polls.samples.back()?;
        let discharged = self.polls.samples.iter().rev().find(|one| is_discharging(one));
        let stood = match discharged.filter(|_| !is_discharging(last)) {
            Some(ended) => stood.min(self.now.since(ended.began)),
            None => stood,
        };
        // What nobody heard for a while may have gone and come back meanwhile.
        let pairs = self.polls.samples.iter().zip(self.polls.samples.iter().skip(1));
        let is_gap = |(before, after): &(&UpsSample, &UpsSample)| {
            after.began.saturating_sub(before.began) > self.policy.max_age * HEARD
        };
        let resumed = pairs.rev().find(is_gap).map(|(_, after)| self.now.since(after.began));
        Some(resumed.map_or(stood, |resumed| stood.min(resumed)))
    }

    fn time_left(&self, index: usize) -> Option<TimeLeft> {
        time_left::at(self.polls, index)
    }

    fn verdict(&self, verdict: UpsVerdict, evidence: String) -> Assessment {
        let last = self.polls.samples.len().checked_sub(1);
        let time_left = last.and_then(|index| {
            let began = self.polls.samples.get(index)?.began;
            Some(self.time_left(index)?.left.saturating_sub(self.now.since(began)))
        });
        let is_on_line = verdict == UpsVerdict::OnLine;
        Assessment {
            verdict,
            evidence,
            on_battery_for: self.on_battery_for.filter(|_| !is_on_line),
            on_line_for: if is_on_line { self.on_line_for() } else { None },
            time_left,
            is_urgent: false,
        }
    }

    /// Words that hold nothing up but that a person should know of.
    pub(super) fn warnings(&self, name: &UpsName) -> Vec<Warning> {
        let Some(last) = self.polls.samples.back().filter(|_| self.failure.is_none()) else {
            return Vec::new();
        };
        let status = &last.reading.status;
        let mut said: Vec<String> =
            REMARKS.iter().filter(|(word, _)| status.has(*word)).map(|(_, text)| (*text).to_owned()).collect();
        if status.has(UpsWord::Fsd) && is_on_line(status) {
            said.push("still says FSD although mains are there: restart upsd to clear it".to_owned());
        }
        if status.has(UpsWord::Lb) && is_on_line(status) {
            said.push("low battery while on line (OL LB)".to_owned());
        }
        if self.is_stuck_in_calibration(status) {
            said.push(
                "says CAL since before the mains were lost: taken for an outage, not for a calibration".to_owned(),
            );
        }
        if sense(status) == Sense::DischargingOnLine {
            said.push("discharges although it is on line (OL DISCHRG)".to_owned());
        }
        if is_drawn(last) && (last.reading.runtime.is_none() || is_doubted(self)) {
            said.push("its own runtime is not relied on".to_owned());
        }
        if !status.unknown.is_empty() {
            let words: Vec<&str> = status.unknown.iter().map(String::as_str).collect();
            said.push(format!("says words that NUT does not document: {}", words.join(" ")));
        }
        said.into_iter().map(|evidence| Warning::Ups { ups: name.clone(), evidence }).collect()
    }
}

fn is_doubted(look: &Look<'_>) -> bool {
    let last = look.polls.samples.len().saturating_sub(1);
    look.time_left(last).is_none_or(|it| it.is_doubted)
}

/// What a UPS says of its runtime where that cannot be used.
fn runtime_said(reading: &UpsReading) -> String {
    reading.runtime.map_or("no runtime".to_owned(), |it| format!("runtime {} s not credible", it.as_secs()))
}

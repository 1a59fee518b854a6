//! One UPS, judged from its latest polls.
//!
//! Pure. One noisy poll shuts nothing down: what is not urgent must stand over several polls and some time.

mod heeded;
mod silence;
mod warnings;

use std::time::Duration;

use super::battery::Battery;
use super::others::Gone;
use super::time_left::{self, Knows, TimeLeft};
use super::words::{Sense, sense};
use crate::config::{Ups, UpsPolicy};
use crate::ledger::Ledger;
use crate::model::{Now, Stamp, UpsName};
use crate::snapshot::{UpsReading, UpsStatus, UpsWord};
use crate::status::UpsVerdict;
use crate::tracker::{LowRun, Memory, Outage, Seconds, UpsMemory, UpsSample};

/// LB with at least this charge, and with time left above the trigger, contradicts itself: some UPSes flash it whenever
/// mains are lost. It must then stand for the debounce.
const LB_DOUBTED_CHARGE: f64 = 50.0;
/// So many points within one answer are none that a battery lost: then LB must stand for the debounce, too.
const LB_JUMP: f64 = 40.0;
/// With less charge its own runtime must be so many times the trigger to contradict it.
const LB_DOUBTED_TIMES: u32 = 2;

/// Where nothing tells a time, a charge this low is the last moment: the last points go in no time.
const LAST_CHARGE: f64 = 10.0;

/// A charge that was no more than this as the mains went is low by two readings ...
const LAST_ON_LINE: f64 = 50.0;
/// ... and there is no time for a debounce where this part is left of what it triggers at.
const LAST_PART: u32 = 2;

/// A restarted driver has read the slow variables after so long; longer where it says how often it reads them.
const BARE_PATIENCE: Duration = Duration::from_secs(60);

/// LB that stands for so long beside CAL is the end of the battery, and so is a charge near it: NUT's upsmon lets both pass.
const CAL_LB: Duration = Duration::from_secs(60);
/// LB that stands for so long beside a test is: a deep one goes down to LB, and ends with it (nutdrv_qx(8) `test.battery.start.deep`).
const TEST_LB: Duration = Duration::from_secs(10);

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
    /// Whether it is no supply: it says that its output is off, or that it is in bypass without mains; a UPS that a person took out
    /// also where it says OB or nothing.
    pub feeds_nothing: bool,
    /// What its battery still gives: the last estimate less the time since.
    pub time_left: Option<Duration>,
    /// Whether there is no time for the graceful path whatever the estimate says (LB, FSD, communication lost).
    pub is_urgent: bool,
    /// For how long nothing was heard of mains and battery; None while it speaks.
    pub silent_for: Option<Duration>,
    /// Whether it fell silent a moment ago, after mains that nobody doubts: it still counts as a supply.
    pub is_brief: bool,
    /// The same for a few minutes: to whoever watches, and is not switched on again, it still does.
    pub is_lately_silent: bool,
    /// What a host may count on that stays to the last: half of what was never proven. None where nobody can say.
    pub sure_left: Option<Duration>,
    /// What its last figures leave, not halved, where it has been silent for longer than a moment: for whoever is left alone on it.
    pub told_left: Option<Duration>,
    /// Whether it says that mains feed its load past the battery.
    pub is_bypassed: bool,
    /// For how long something else has said that its mains are gone, while it is silent.
    pub gone_for: Option<Duration>,
    /// For how long it has said FSD, where mains are there beside it.
    pub forced_for: Option<Duration>,
    /// The polls in a row that say, each alone, that the time has come.
    pub low: Option<LowRun>,
    /// For how long it has said OB without a word of OL in between.
    pub drawn_for: Option<Duration>,
    /// Whether its last answer tells no figures.
    pub is_bare: bool,
    /// For how long it has repeated its words and figures on battery.
    pub repeats_for: Option<Duration>,
}

impl Assessment {
    /// Whether it says that it is on battery.
    pub fn is_on_battery(&self) -> bool {
        match self.verdict {
            UpsVerdict::OnBattery | UpsVerdict::Critical => true,
            UpsVerdict::OnLine | UpsVerdict::Unknown | UpsVerdict::Ignored => false,
        }
    }

    /// Whether it says itself that it ends now (LB, FSD); what is made of silence is not its word.
    pub(super) fn says_that_it_ends(&self) -> bool {
        self.is_urgent && self.silent_for.is_none()
    }

    /// A UPS that an operator took out of the policy; what it says itself is all that is known of what it feeds.
    pub(super) fn ignored(evidence: String, feeds_nothing: bool) -> Self {
        Self {
            verdict: UpsVerdict::Ignored,
            evidence,
            on_battery_for: None,
            on_line_for: None,
            feeds_nothing,
            time_left: None,
            is_urgent: false,
            silent_for: None,
            is_brief: false,
            is_lately_silent: false,
            sure_left: None,
            told_left: None,
            is_bypassed: false,
            gone_for: None,
            forced_for: None,
            low: None,
            drawn_for: None,
            is_bare: false,
            repeats_for: None,
        }
    }
}

/// Whether a UPS that a person took out may feed nothing: it has said OB or OFF for long enough, or nothing at all.
pub(super) fn feeds_nothing_unheeded(policy: &UpsPolicy, memory: &Memory, name: &UpsName, now: &Now) -> bool {
    let polls = memory.upses.get(name);
    let last = polls.and_then(|polls| polls.last).unwrap_or(memory.began);
    let stood = |word| polls.and_then(|polls| polls.words_since.get(&word)).map(|since| now.since(*since));
    let says_so = [UpsWord::Ob, UpsWord::Off].into_iter().filter_map(stood).any(|stood| stood >= policy.debounce);
    says_so || now.since(last) >= policy.lost_on_battery.max(UpsMemory::gap_max(policy))
}

/// Since when a UPS has been on battery: the outage as this boot has seen it, or the ledger's word where this boot has seen
/// nothing yet. Only mains that stood end it.
pub(super) fn on_battery_since(polls: &UpsMemory, ledger: &Ledger, name: &UpsName, now: &Now) -> Option<Stamp> {
    let kept = ledger.on_battery_since.get(name);
    match (&polls.outage, kept.filter(|kept| kept.boot_id == now.boot_id)) {
        (Some(_), Some(kept)) => Some(kept.clone()),
        (Some(outage), None) => {
            let ago = jiff::SignedDuration::try_from(now.since(outage.since)).unwrap_or_default();
            Some(Stamp { boottime: outage.since, wall: now.wall.checked_sub(ago).unwrap_or(now.wall), ..now.stamp() })
        }
        (None, _) => kept.filter(|_| polls.last_word().is_none()).cloned(),
    }
}

/// OL without OB. A calibration is not on line although mains are there.
fn is_on_line(status: &UpsStatus) -> bool {
    status.has(UpsWord::Ol) && !status.has(UpsWord::Ob)
}

/// One UPS' polls, looked at in one pass.
pub(super) struct Look<'a> {
    pub(super) policy: &'a UpsPolicy,
    pub(super) ups: &'a Ups,
    pub(super) battery: Battery<'a>,
    /// The time left at which the policy triggers.
    pub(super) trigger_at: Duration,
    pub(super) polls: &'a UpsMemory,
    /// Why there is no fresh reading.
    pub(super) failure: Option<String>,
    /// Since when it repeats itself, where it has done so for longer than its battery can last.
    pub(super) repeats_since: Option<Duration>,
    pub(super) on_battery_for: Option<Duration>,
    /// Whether the ledger's word of an outage is of this boot.
    pub(super) seen_on_battery_this_boot: bool,
    /// For how long it has said nothing, as the ledger has it.
    pub(super) kept_silence: Option<Duration>,
    /// Whether its witness, or another UPS, says that the mains are gone: then words without figures are no doubt.
    pub(super) is_confirmed: bool,
    /// What else says that its mains are gone, while it is silent.
    pub(super) gone: Option<Gone>,
    /// How long ago hecate had it cut its load, where it did so in this boot.
    pub(super) cut_ago: Option<Duration>,
    /// Whether it was asked since hecate was started: what is not looked at yet says nothing.
    pub(super) was_asked: bool,
    pub(super) memory_age: Duration,
    pub(super) now: &'a Now,
}

impl Look<'_> {
    pub(super) fn assess(&self) -> Assessment {
        if let Some(why) = &self.failure {
            return self.lost(why);
        }
        let Some(last) = self.polls.samples.back() else {
            return self.unasked();
        };
        let status = &self.heeded(&last.reading);
        match sense(status) {
            Sense::Forced | Sense::ForcedOnLine => {
                let evidence = format!("forced shutdown ({status})");
                let forced_for = self.stood(&[UpsWord::Fsd]).filter(|_| is_on_line(status));
                let forced = self.verdict(UpsVerdict::Critical, evidence);
                Assessment { is_urgent: true, sure_left: None, forced_for, ..forced }
            }
            Sense::Calibrating => self.calibrating(status),
            Sense::LowOnBattery => self.low_on_battery(status),
            Sense::OnBattery => self.on_battery(status),
            Sense::DischargingOnLine | Sense::OnLine => {
                // Mains that have not stood end no run: a generator that hunts sends the UPS to battery every few seconds.
                let is_known = self.polls.samples.len() > 1 && self.polls.outage.is_some();
                let run = self.polls.low.clone().filter(|_| is_known);
                let low = run.filter(|run| last.began.saturating_sub(run.last) <= UpsMemory::gap_max(self.policy));
                let low = low.map(|run| LowRun { last: run.last.max(last.began), ..run });
                Assessment { low, ..self.verdict(UpsVerdict::OnLine, status.to_string()) }
            }
            // What was last known goes on for as long as it would without an answer.
            Sense::Bypassed => {
                let lost = self.lost(&format!("mains feed the load past the battery ({status})"));
                Assessment { is_bypassed: true, ..lost }
            }
            Sense::Silent => self.lost(&format!("says only \"{status}\"")),
        }
    }

    fn calibrating(&self, status: &UpsStatus) -> Assessment {
        let word = if status.has(UpsWord::Cal) { UpsWord::Cal } else { UpsWord::Test };
        let stood = self.stood(&[word]).unwrap_or_default();
        let is_low = self.has_stood_low(word, status) || self.is_at_the_end();
        if stood < self.policy.calibration_max && !is_low && !self.is_confirmed {
            let doing = if word == UpsWord::Cal { "calibrating" } else { "testing its battery" };
            return self.verdict(UpsVerdict::OnBattery, format!("{doing} for {} s ({status})", stood.as_secs()));
        }
        let outage = status.without(UpsWord::Cal).without(UpsWord::Test);
        if sense(&outage) == Sense::LowOnBattery { self.low_on_battery(status) } else { self.on_battery(status) }
    }

    /// Whether an LB that is heeded has stood beside a test or calibration. One that the mains were lost in looks the same: its last
    /// warning counts.
    fn has_stood_low(&self, word: UpsWord, status: &UpsStatus) -> bool {
        let Some(stood) = self.stood(&[word, UpsWord::Lb]).filter(|_| status.has(UpsWord::Lb)) else { return false };
        let is_test = word == UpsWord::Test || self.says_cal_of_a_test();
        if is_test { stood >= TEST_LB } else { stood >= CAL_LB && !self.polls.stood_on_line(UpsWord::Lb) }
    }

    /// Whether its charge has fallen to next to nothing.
    fn is_at_the_end(&self) -> bool {
        let Some(last) = self.polls.samples.back() else { return false };
        self.has_fallen() && time_left::charge(self.polls, last).is_some_and(|charge| charge <= LAST_CHARGE)
    }

    fn has_fallen(&self) -> bool {
        self.polls.outage.as_ref().is_some_and(Outage::has_fallen)
    }

    /// Whether its driver says CAL of the short test that its UPS makes by itself, as of a calibration (blazer.c, nutdrv_qx.c:
    /// "test in progress"; netxml-ups).
    fn says_cal_of_a_test(&self) -> bool {
        let driver = self.polls.samples.back().and_then(|last| last.reading.device.driver.as_deref());
        driver.is_some_and(|driver| ["blazer", "nutdrv_qx", "netxml"].iter().any(|one| driver.starts_with(one)))
    }

    fn low_on_battery(&self, status: &UpsStatus) -> Assessment {
        let words = if status.has(UpsWord::Lb) { [UpsWord::Ob, UpsWord::Lb] } else { [UpsWord::Ob, UpsWord::Depleted] };
        let stood = self.stood(&words).unwrap_or_default();
        let index = self.polls.samples.len().saturating_sub(1);
        let charge = self.polls.samples.back().and_then(|last| time_left::charge(self.polls, last));
        let is_high = charge.is_some_and(|it| it >= LB_DOUBTED_CHARGE);
        let is_doubted = match self.time_left(index) {
            // One odd answer tells such a charge, and no battery.
            _ if self.has_jumped(index) => true,
            Some(time) if is_high => time.left > self.trigger_at,
            Some(time) => !time.is_doubted && time.left > self.trigger_at * LB_DOUBTED_TIMES,
            None => {
                let is_first = charge.is_none() || self.charge_before(index).is_none();
                is_high || is_first && self.came_with_ob(words[1])
            }
        };
        // A word that always stood says that the battery is worn, not that it ends now: it waits for the debounce.
        let must_wait = is_doubted || self.polls.stood_on_line(words[1]);
        let must_stand = if must_wait { self.policy.ob_lb.max(self.doubt()) } else { self.policy.ob_lb };
        if stood >= must_stand {
            let evidence = format!("low battery while on battery for {} s ({status})", stood.as_secs());
            return Assessment { is_urgent: true, sure_left: None, ..self.verdict(UpsVerdict::Critical, evidence) };
        }
        self.on_battery(status)
    }

    /// For how long a word must stand that may be one odd answer: for more than one read of its driver.
    fn doubt(&self) -> Duration {
        let debounce = self.policy.debounce;
        self.polls.samples.back().map_or(debounce, |last| last.reading.doubt(debounce))
    }

    /// The charge of the read a moment before: the same figures again are the same read.
    fn charge_before(&self, index: usize) -> Option<f64> {
        let sample = self.polls.samples.get(index)?;
        let within = UpsMemory::gap_max(self.policy).max(sample.reading.figures_after());
        let is_near = |one: &&UpsSample| sample.began.saturating_sub(one.began) <= within;
        let is_same = |one: &&UpsSample| {
            let after = sample.reading.figures_after();
            let is_young = sample.began.saturating_sub(one.began) < after;
            one.reading.charge_percent == sample.reading.charge_percent && is_young
        };
        let mut earlier = self.polls.samples.range(..index).rev().take_while(is_near);
        earlier.find(|one| !is_same(one))?.reading.charge_percent
    }

    /// Whether the charge is far below the one of the answer a moment before.
    fn has_jumped(&self, index: usize) -> bool {
        let charge = self.polls.samples.get(index).and_then(|sample| sample.reading.charge_percent);
        self.charge_before(index).zip(charge).is_some_and(|(before, now)| before - now >= LB_JUMP)
    }

    /// Whether a word came with OB, or a moment after it: some UPSes flash it at the transfer.
    fn came_with_ob(&self, word: UpsWord) -> bool {
        let since = |word| self.polls.words_since.get(&word).copied();
        since(word).zip(since(UpsWord::Ob)).is_some_and(|(word, ob)| word.saturating_sub(ob) < self.policy.debounce)
    }

    /// Nothing was said in this life of hecate: what was said before goes on, or not, with the first answer.
    fn unasked(&self) -> Assessment {
        let low = self.polls.low.clone();
        Assessment { low, ..self.verdict(UpsVerdict::Unknown, "no poll yet".to_owned()) }
    }

    fn on_battery(&self, status: &UpsStatus) -> Assessment {
        let Some(index) = self.polls.samples.len().checked_sub(1) else {
            return self.unasked();
        };
        let (is_low, figures) = self.low(index);
        let low = if is_low { self.low_run(index) } else { None };
        let verdict = match low.as_ref().filter(|run| self.is_debounced(run)) {
            Some(run) => self.verdict(
                UpsVerdict::Critical,
                format!("{figures} for {} readings, {} s ({status})", run.polls, self.lasted(run).as_secs()),
            ),
            None if is_low && self.is_last_moment(index) => {
                let evidence = format!("{figures}, and the mains left it no more ({status})");
                Assessment { is_urgent: true, ..self.verdict(UpsVerdict::Critical, evidence) }
            }
            None => self.verdict(UpsVerdict::OnBattery, format!("{figures} ({status})")),
        };
        Assessment { low, ..verdict }
    }

    /// Whether so little is left that no debounce may use it up, by a charge that it told while mains were there, too: that is no
    /// odd answer. Pits that are over before any empty a battery as an outage does.
    fn is_last_moment(&self, index: usize) -> bool {
        let Some(sample) = self.polls.samples.get(index) else { return false };
        let charges = self.polls.charge_on_line.zip(time_left::charge(self.polls, sample));
        let is_told_twice = charges.is_some_and(|(before, now)| before <= LAST_ON_LINE && before - now < LB_JUMP);
        let is_over = match self.time_left(index) {
            Some(it) => it.left <= self.trigger_at / LAST_PART,
            None => charges.is_some_and(|(_, now)| now <= LAST_CHARGE),
        };
        is_told_twice && is_over
    }

    /// Whether one poll alone says that the time has come, and the figures.
    fn low(&self, index: usize) -> (bool, String) {
        let Some(sample) = self.polls.samples.get(index) else { return (false, "no poll".to_owned()) };
        let sign = |is_low: bool| if is_low { "<=" } else { ">" };
        let least = self.policy.charge_percent_min;
        let charge = time_left::charge(self.polls, sample)
            .filter(|_| !time_left::is_charge_frozen(self.polls, sample, self.policy));
        // At its end no runtime is right that promises far more than the pace at which the charge came there.
        if let Some(charge) = charge.filter(|charge| *charge <= LAST_CHARGE.min(least) && self.has_fallen())
            && let Some(pace) =
                self.pace_left(sample).filter(|pace| self.time_left(index).is_none_or(|it| it.left > *pace * 2))
        {
            let runtime =
                sample.reading.runtime.map_or("no runtime".to_owned(), |it| format!("runtime {} s", it.as_secs()));
            let (pace, last) = (pace.as_secs(), LAST_CHARGE.min(least));
            return (true, format!("{runtime}; charge {charge} % <= {last} %, which gives {pace} s at its pace"));
        }
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
        if time_left::is_bare(sample)
            && let Some(bare) = self.bare(sample)
        {
            return bare;
        }
        let limit = self.policy.on_battery_max;
        let mains_for = self.polls.outage.as_ref().map(|outage| outage.mains_for.0).unwrap_or_default();
        let so_far = self.on_battery_for.unwrap_or_default().saturating_sub(mains_for);
        let charge =
            sample.reading.charge_percent.map_or("no charge".to_owned(), |it| format!("charge {it} % says nothing"));
        (so_far >= limit, format!("{runtime}, {charge}; on battery {} s of {} s", so_far.as_secs(), limit.as_secs()))
    }

    /// How long its charge lasts if it goes on falling as it fell in the whole outage; None where the most of the load was shed.
    fn pace_left(&self, sample: &UpsSample) -> Option<Duration> {
        let outage = self.polls.outage.as_ref().filter(|outage| !outage.is_shed(sample.reading.load_percent))?;
        outage.pace_left(sample.began)
    }

    /// A poll without the figures that were told before: a driver that has just been restarted says nothing else for a while,
    /// whatever the mains do. Then half of the last figures is counted down.
    fn bare(&self, sample: &UpsSample) -> Option<(bool, String)> {
        let left = self.figures_left()?;
        let since = self.polls.drawn_from.as_ref().map_or(sample.began, |from| from.began);
        let bare_for = self.bare_for(sample).min(self.now.since(since));
        let patience = BARE_PATIENCE.max(sample.reading.driver_interval.unwrap_or_default() * 2);
        // One that told none for long while mains were there is a UPS without figures.
        let told = self.polls.figures.as_ref()?.began;
        if since.saturating_sub(told) > patience {
            return None;
        }
        let is_doubt = bare_for < patience && !self.is_confirmed;
        let is_low = !is_doubt && left <= self.trigger_at;
        let wait = if is_doubt { format!(" (waits {} s for figures)", patience.as_secs()) } else { String::new() };
        let trigger_at = self.trigger_at.as_secs();
        Some((is_low, format!("no figures any more; the last ones leave {} s of {trigger_at} s{wait}", left.as_secs())))
    }

    /// For how long no figures have been told.
    fn bare_for(&self, sample: &UpsSample) -> Duration {
        let told = self.polls.figures.as_ref().map_or(Duration::ZERO, |figures| figures.began);
        sample.began.saturating_sub(told)
    }

    /// The low polls in a row, the latest one included. Polls nearer to each other than the driver's interval show the same
    /// value twice and count once; what was said before a restart counts on where it was said a moment ago.
    fn low_run(&self, index: usize) -> Option<LowRun> {
        let sample = self.polls.samples.get(index)?;
        let began = sample.began;
        let interval = sample.reading.driver_interval.unwrap_or_default().min(self.policy.max_age);
        Some(match &self.polls.low {
            Some(run) if run.last >= began => run.clone(),
            Some(run) if began.saturating_sub(run.last) <= UpsMemory::gap_max(self.policy) => {
                let counts = began.saturating_sub(run.counted) >= interval;
                let counted = if counts { began } else { run.counted };
                // What mains interrupted goes on with the first answer after them.
                let ob = self.polls.words_since.get(&UpsWord::Ob).copied().unwrap_or_default();
                let drawn = Seconds(run.drawn.0 + began.saturating_sub(run.told.0.max(ob)));
                let polls = run.polls + u32::from(counts);
                LowRun { polls, counted, last: began, first: run.first, told: Seconds(began), drawn }
            }
            Some(_) | None => LowRun {
                first: began,
                polls: 1,
                counted: began,
                last: began,
                told: Seconds(began),
                drawn: Seconds(Duration::ZERO),
            },
        })
    }

    /// Whether enough polls in a row over enough time say so.
    fn is_debounced(&self, run: &LowRun) -> bool {
        run.polls >= self.policy.debounce_polls && self.lasted(run) >= self.policy.debounce
    }

    /// For how long the battery was drawn from in such a run.
    fn lasted(&self, run: &LowRun) -> Duration {
        run.drawn.0 + self.now.since(run.told.0)
    }

    /// For how long all of these words have stood together without a break.
    fn stood(&self, words: &[UpsWord]) -> Option<Duration> {
        let since: Option<Vec<Duration>> = words.iter().map(|word| self.polls.words_since.get(word).copied()).collect();
        since?.into_iter().max().map(|since| self.now.since(since))
    }

    /// Whether it has said for long enough to be no test that its output is off, or that it is on battery and in bypass.
    fn feeds_nothing(&self) -> bool {
        let has = |words: &[UpsWord]| self.stood(words).is_some_and(|stood| stood >= self.policy.debounce);
        let speaks = has(&[UpsWord::Off, UpsWord::Ol]) || has(&[UpsWord::Off, UpsWord::Ob]);
        speaks || has(&[UpsWord::Ob, UpsWord::Bypass]) || has(&[UpsWord::Ob, UpsWord::By])
    }

    /// For how long mains have been there: since OL came, or since a discharge that was said beside it ended.
    fn on_line_for(&self) -> Option<Duration> {
        let line = self.polls.line.as_ref()?;
        let is_discharging = line.discharged == Some(line.last);
        let since = line.discharged.filter(|_| !is_discharging).map_or(line.since, |ended| ended.max(line.since));
        Some(self.now.since(since))
    }

    fn knows(&self) -> Knows<'_> {
        let has_stood = self.stood(&[UpsWord::Rb]).is_some_and(|stood| stood >= self.policy.debounce);
        let is_worn = (has_stood || self.polls.stood_on_line(UpsWord::Rb))
            && self.battery.proven_recently(self.now).is_none_or(|proven| !proven.in_spite_of_rb);
        let discharge = self.battery.device.and_then(|device| device.discharge.as_ref());
        let earlier = discharge.map(|it| &it.began).filter(|began| began.boot_id != self.now.boot_id);
        let drawn_before = earlier
            .zip(self.polls.outage.as_ref())
            .map_or(Duration::ZERO, |(began, outage)| began.age(self.now).saturating_sub(self.now.since(outage.since)));
        Knows { policy: self.policy, battery: self.battery, is_worn, own_share: self.own_share(), drawn_before }
    }

    /// How much of its battery was there when this outage began, 0 to 1, by hecate's own count.
    fn own_share(&self) -> f64 {
        self.battery.own_count(self.ups.recharge, self.now) / 100.0
    }

    fn time_left(&self, index: usize) -> Option<TimeLeft> {
        time_left::at(self.polls, index, self.knows())
    }

    /// What a host may count on that stays to the last: the most that any of the latest polls gives, halved where it was never
    /// proven. Where nothing tells a time, a charge near the end leaves none.
    fn sure_left(&self) -> Option<Duration> {
        let samples = &self.polls.samples;
        let count = samples.len().min(self.policy.debounce_polls.max(1) as usize);
        let left = |index: usize| {
            let sample = samples.get(index)?;
            match self.time_left(index) {
                Some(it) => Some(it.left.saturating_sub(self.now.since(sample.began))),
                None => {
                    let charge = time_left::charge(self.polls, sample)?;
                    (charge <= LAST_CHARGE).then_some(Duration::ZERO)
                }
            }
        };
        let each: Option<Vec<Duration>> = (samples.len() - count..samples.len()).map(left).collect();
        let most = each?.into_iter().max()?;
        Some(if self.battery.proven_recently(self.now).is_some() { most } else { most / 2 })
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
            feeds_nothing: self.feeds_nothing(),
            time_left,
            is_urgent: false,
            silent_for: None,
            is_brief: false,
            is_lately_silent: false,
            sure_left: self.sure_left(),
            told_left: None,
            is_bypassed: false,
            gone_for: None,
            forced_for: None,
            low: None,
            drawn_for: self.polls.drawn_from.as_ref().map(|from| self.now.since(from.began)),
            is_bare: self.polls.samples.back().is_some_and(time_left::is_bare),
            repeats_for: self.polls.repeats_since().map(|since| self.now.since(since)),
        }
    }
}

/// What a UPS says of its runtime where that cannot be used.
fn runtime_said(reading: &UpsReading) -> String {
    reading.runtime.map_or("no runtime".to_owned(), |it| format!("runtime {} s not credible", it.as_secs()))
}

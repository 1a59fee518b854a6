//! What a battery still gives: the UPS' own estimate where it can be believed, else the slope of its charge.
//!
//! Pure. NUT hands `battery.runtime` and `battery.charge` on as the UPS says them, and many say nonsense: nothing, 0 or
//! 65535 s, a value that never changes, one that jumps, one four times too long.

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::UpsPolicy;
use crate::tracker::{DrawnFrom, Outage, UpsMemory, UpsSample};

use super::battery::Battery;
use super::words::{Sense, sense};

/// What UPSes with a 16-bit register say when they do not know.
const RUNTIME_UNKNOWN: Duration = Duration::from_secs(65_535);

/// A runtime below this beside a charge that is no measurement is none.
const VOID_RUNTIME: Duration = Duration::from_secs(60);

/// At a load up to this, percent, UPSes with a 16-bit register count to its end.
const SATURATED_LOAD: f64 = 10.0;

/// An estimate that has not changed for so long on battery is counted down by hecate's own clock, and said to be. Drivers
/// poll slow variables every 30 s or so.
const FROZEN: Duration = Duration::from_secs(60);

/// An estimate is compared with the median of so many of the driver's latest readings ...
const JUMP_POLLS: usize = 8;
/// ... and is a jump when it is more than so many times that: no load changes so in seconds.
const JUMP_FACTOR: f64 = 2.0;

/// The charge must have fallen by so many percentage points, over so much time, before its slope says anything: most
/// UPSes round to whole points.
const SLOPE_POINTS: f64 = 5.0;
/// See [`SLOPE_POINTS`].
const SLOPE_TIME: Duration = Duration::from_secs(60);
/// A battery is counted as empty here: the last points go in no time.
const SLOPE_EMPTY: f64 = 10.0;
/// Against an estimate that looks sound, the slope must be so much clearer ...
const CONTRADICTION_POINTS: f64 = 10.0;
/// ... over so much time, without the sag of the first minute ...
const CONTRADICTION_TIME: Duration = Duration::from_secs(120);
/// ... and so many refreshes of the driver ...
const CONTRADICTION_REFRESHES: u32 = 3;
/// ... under a load that has not risen by so many points (a rise makes the charge sag) ...
const CONTRADICTION_LOAD: f64 = 5.0;
/// ... and promise so much less (an estimate of 24 minutes that lasts six is a known case).
const CONTRADICTION_FACTOR: f64 = 1.5;
/// A fall by so many points since the battery is drawn from counts before any other, as small batteries cannot wait ...
const DEEP_FALL: f64 = 30.0;
/// ... where it goes on: by so many points ...
const DEEP_GOES_ON: f64 = 5.0;
/// ... within this time, or a refresh of the driver. A charge that is made of the voltage drops at the transfer and stands then.
const DEEP_TIME: Duration = Duration::from_secs(20);

/// A fall that is steeper than the one since the first minute counts where the charge moved so often ...
const CLIFF_STEPS: usize = 3;
/// ... within this time.
const CLIFF_TIME: Duration = Duration::from_secs(60);

/// A runtime of up to this that stands is counted down.
const CONSTANT_LEAST: Duration = Duration::from_secs(3600);
/// A charge moves by a point within so much of the runtime.
const CONSTANT_SHARE: f64 = 0.02;

/// A small load moves a charge so much more slowly.
const SATURATED_PATIENCE: u32 = 20;

/// What is left, and where that comes from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TimeLeft {
    /// From the poll on.
    pub(super) left: Duration,
    /// The figures, for people.
    pub(super) figures: String,
    /// Whether the UPS' own estimate could not be believed.
    pub(super) is_doubted: bool,
}

/// What a time left is judged by beside the polls themselves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Knows<'a> {
    /// The policy.
    pub(super) policy: &'a UpsPolicy,
    /// What is known of the battery.
    pub(super) battery: Battery<'a>,
    /// Whether what it says of its battery counts half: it says that it must be replaced, and nothing was proven lately.
    pub(super) is_worn: bool,
    /// How much of the battery was there when the outage began, 0 to 1, by hecate's own count.
    pub(super) own_share: f64,
    /// For how long an earlier boot of this host saw the battery being drawn from in this outage.
    pub(super) drawn_before: Duration,
}

/// What the battery gives from the poll at this index on; None where neither runtime nor charge say anything, nor was
/// anything proven.
pub(super) fn at(polls: &UpsMemory, index: usize, knows: Knows<'_>) -> Option<TimeLeft> {
    let sample = polls.samples.get(index)?;
    let own = own_word(polls, index, knows);
    let load = sample.reading.load_percent;
    // Without a charge the time on battery tells how much of it is gone.
    let told = charge(polls, sample).filter(|_| !is_charge_frozen(polls, sample, knows.policy));
    let proven = knows.battery.proven_left(told, load).map(|full| {
        let drawn = polls.outage.as_ref().map_or(Duration::ZERO, |outage| outage.drawn_until(sample.began));
        if told.is_some() { full } else { full.mul_f64(knows.own_share).saturating_sub(drawn + knows.drawn_before) }
    });
    let left = match (own, proven) {
        (Some(own), Some(proven)) if proven < own.left => Some(TimeLeft {
            left: proven,
            figures: format!("{}, but no more than {} s was proven", own.figures, proven.as_secs()),
            is_doubted: own.is_doubted,
        }),
        (None, Some(proven)) if !is_bare(sample) => Some(TimeLeft {
            left: proven,
            figures: format!("no runtime; {} s by what was proven", proven.as_secs()),
            is_doubted: true,
        }),
        (own, _) => own,
    }?;
    if !knows.is_worn {
        return Some(left);
    }
    let half = left.left / 2;
    Some(TimeLeft {
        left: half,
        figures: format!("{}, halved to {} s as the battery must be replaced (RB)", left.figures, half.as_secs()),
        is_doubted: left.is_doubted,
    })
}

/// What the UPS itself says, where that can be believed.
fn own_word(polls: &UpsMemory, index: usize, knows: Knows<'_>) -> Option<TimeLeft> {
    let sample = polls.samples.get(index)?;
    // A driver that knows no charge knows no runtime of seconds either.
    let is_void = |runtime: &Duration| polls.is_charge_void() && *runtime < VOID_RUNTIME;
    // Where the charge stands, or there is none, a runtime of hours that stands as well is no measurement.
    let is_dead = |runtime: &Duration| is_constant(polls, sample, *runtime, knows.policy);
    let is_none = |runtime: &Duration| polls.counts_up(knows.policy.debounce) || is_void(runtime) || is_dead(runtime);
    let runtime = credible(polls, sample).filter(|runtime| !is_none(runtime));
    let Some(runtime) = runtime else {
        let slope = Slope::until(polls, index).filter(|_| !is_charge_frozen(polls, sample, knows.policy))?;
        let said = sample
            .reading
            .runtime
            .map_or("no runtime".to_owned(), |it| format!("runtime {} s not credible", it.as_secs()));
        return Some(slope.time_left(&said));
    };
    let own = counted(polls, index, runtime, knows);
    // Where the charge stands, only time shows that a runtime that goes up and down does not fall.
    let is_last = index + 1 == polls.samples.len();
    let floor = polls.floor.as_ref().filter(|_| is_last && is_charge_frozen(polls, sample, knows.policy));
    if let Some(left) = floor.and_then(|floor| floor.left_at(sample.began)).filter(|left| *left + FROZEN < own.left) {
        let figures = format!("runtime {} s does not fall, counted down to {} s", runtime.as_secs(), left.as_secs());
        return Some(TimeLeft { left, figures, is_doubted: true });
    }
    match Slope::until(polls, index).filter(|slope| slope.contradicts(sample)) {
        Some(slope) if slope.empties_in(0.0).mul_f64(CONTRADICTION_FACTOR) < own.left => {
            Some(slope.time_left(&format!("runtime {} s not credible", runtime.as_secs())))
        }
        Some(_) | None => Some(own),
    }
}

/// Whether a runtime of hours has been one value for as long as the charge has stood, or has been missing, and that is for longer than any
/// battery of such a runtime keeps a point of its charge.
fn is_constant(polls: &UpsMemory, sample: &UpsSample, runtime: Duration, policy: &UpsPolicy) -> bool {
    let Some(outage) = polls.outage.as_ref().filter(|outage| outage.one_runtime == Some(runtime)) else { return false };
    let is_idle = sample.reading.load_percent.is_some_and(|load| load <= SATURATED_LOAD);
    let patience = policy.charge_frozen.max(runtime.mul_f64(CONSTANT_SHARE));
    let stands = match charge(polls, sample) {
        Some(_) => polls.is_charge_stuck(sample.began, patience),
        None => true,
    };
    runtime > CONSTANT_LEAST && !is_idle && stands && outage.drawn_until(sample.began) >= patience
}

/// Whether a poll tells no figures at all.
pub(super) fn is_bare(sample: &UpsSample) -> bool {
    sample.reading.runtime.is_none() && sample.reading.charge_percent.is_none()
}

/// Whether a runtime is at the end of its register under a load that is small enough for that.
pub(super) fn is_saturated(sample: &UpsSample) -> bool {
    sample.reading.runtime.is_some_and(|runtime| runtime >= RUNTIME_UNKNOWN)
        && sample.reading.load_percent.is_some_and(|load| load > 0.0 && load <= SATURATED_LOAD)
}

/// Whether the charge has stood since the battery is drawn from, or since it moved last, for too long to be true.
pub(super) fn is_charge_frozen(polls: &UpsMemory, sample: &UpsSample, policy: &UpsPolicy) -> bool {
    let times = if is_saturated(sample) { SATURATED_PATIENCE } else { 1 };
    sample.reading.charge_percent.is_some() && polls.is_charge_stuck(sample.began, policy.charge_frozen * times)
}

/// The charge of a poll, where it is a measurement.
pub(super) fn charge(polls: &UpsMemory, sample: &UpsSample) -> Option<f64> {
    sample.reading.charge_percent.filter(|charge| *charge > 0.0 || !polls.is_charge_void())
}

/// A runtime that can be one.
pub(crate) fn credible_runtime(runtime: Option<Duration>) -> Option<Duration> {
    runtime.filter(|runtime| !runtime.is_zero() && *runtime < RUNTIME_UNKNOWN)
}

/// The UPS' own estimate, where it is one. A longer one than a register of 16 bits holds is one where it falls.
fn credible(polls: &UpsMemory, sample: &UpsSample) -> Option<Duration> {
    let has_moved = polls.outage.as_ref().is_some_and(Outage::has_steps);
    let long = sample.reading.runtime.filter(|runtime| has_moved && *runtime > RUNTIME_UNKNOWN);
    long.or(credible_runtime(sample.reading.runtime))
}

/// The UPS' own estimate: the median of the latest ones where it jumps up, counted down since it last changed.
fn counted(polls: &UpsMemory, index: usize, runtime: Duration, knows: Knows<'_>) -> TimeLeft {
    let is_on_purpose = polls.samples.get(index).is_some_and(is_calibrating);
    let is_alike = |one: &&UpsSample| is_drawn(one) && is_calibrating(one) == is_on_purpose;
    // What a driver has not read anew is the same reading, however often it is polled.
    let mut reads: Vec<&UpsSample> = Vec::with_capacity(JUMP_POLLS);
    for one in polls.samples.range(..=index).rev().filter(is_alike).filter(|one| credible(polls, one).is_some()) {
        let interval = one.reading.driver_interval.unwrap_or_default();
        let is_new = reads.last().is_none_or(|later| {
            later.reading.runtime != one.reading.runtime || later.began.saturating_sub(one.began) >= interval
        });
        if is_new && reads.len() < JUMP_POLLS {
            reads.push(one);
        }
    }
    let mut latest: Vec<Duration> = reads.into_iter().filter_map(|one| credible(polls, one)).collect();
    latest.sort_unstable();
    let median = latest.get(latest.len().saturating_sub(1) / 2).copied().unwrap_or(runtime);
    if latest.len() > JUMP_POLLS / 2 && runtime > median.mul_f64(JUMP_FACTOR) {
        let figures = format!("runtime jumps to {} s, taken as {} s", runtime.as_secs(), median.as_secs());
        return TimeLeft { left: median, figures, is_doubted: true };
    }
    let one = polls.outage.as_ref().filter(|outage| outage.one_runtime == Some(runtime));
    let all_along = one.zip(polls.samples.get(index)).map(|(outage, sample)| outage.drawn_until(sample.began));
    let stood = stood_unchanged(polls, index).max(all_along.unwrap_or_default());
    if stood < FROZEN {
        return TimeLeft { left: runtime, figures: format!("runtime {} s", runtime.as_secs()), is_doubted: false };
    }
    // One that has fallen by steps is coarse; one that says the same all along knows of no earlier outage either.
    let is_coarse = polls.outage.as_ref().is_some_and(Outage::has_steps);
    let is_constant = !is_coarse && stood >= knows.policy.charge_frozen;
    let (share, before) = if is_constant { (knows.own_share, knows.drawn_before) } else { (1.0, Duration::ZERO) };
    let left = runtime.mul_f64(share).saturating_sub(stood + before);
    let figures = format!(
        "runtime {} s unchanged for {} s, counted down to {} s",
        runtime.as_secs(),
        (stood + before).as_secs(),
        left.as_secs()
    );
    TimeLeft { left, figures, is_doubted: !is_coarse }
}

/// Whether it is drawn from on purpose; what was estimated then is no measure for an outage.
fn is_calibrating(sample: &UpsSample) -> bool {
    sense(&sample.reading.status) == Sense::Calibrating
}

/// Whether the battery is drawn from.
pub(super) fn is_drawn(sample: &UpsSample) -> bool {
    match sense(&sample.reading.status) {
        Sense::OnBattery | Sense::LowOnBattery | Sense::Calibrating | Sense::Forced => true,
        Sense::DischargingOnLine | Sense::ForcedOnLine | Sense::Silent | Sense::OnLine | Sense::Bypassed => false,
    }
}

/// For how long, on battery, the runtime of this poll has stood unchanged.
fn stood_unchanged(polls: &UpsMemory, index: usize) -> Duration {
    let samples: &VecDeque<UpsSample> = &polls.samples;
    let sample = &samples[index];
    let is_same = |one: &&UpsSample| one.reading.runtime == sample.reading.runtime && is_drawn(one);
    let run = samples.range(..=index).rev().take_while(is_same);
    let (count, oldest) = run.fold((0, sample.began), |(count, _), one| (count + 1, one.began));
    // Beyond the polls that are kept, the memory knows since when the present value stands.
    let is_whole_window = count == index + 1;
    let is_latest = samples.back().is_some_and(|last| last.reading.runtime == sample.reading.runtime);
    let drawn_since = polls.drawn_from.as_ref().map_or(oldest, |from| from.began);
    let since = match polls.runtime_since {
        Some(since) if is_whole_window && is_latest => since.max(drawn_since).min(oldest),
        Some(_) | None => oldest,
    };
    sample.began.saturating_sub(since)
}

/// How the charge has fallen.
#[derive(Clone)]
struct Slope {
    charge: f64,
    fell: f64,
    over: Duration,
    /// By how many points the load has risen meanwhile.
    load_rose: f64,
    /// Whether the fall since the battery is drawn from is deeper than any sag.
    is_deep: bool,
}

impl Slope {
    /// From the end of the first minute's sag on, or from the beginning where the fall is deeper than a sag.
    fn until(polls: &UpsMemory, index: usize) -> Option<Self> {
        let sample = polls.samples.get(index)?;
        let charge = charge(polls, sample)?;
        let slope = |from: &DrawnFrom, is_deep: bool| {
            let load_rose = from.load.zip(sample.reading.load_percent).map_or(0.0, |(from, to)| to - from);
            let over = sample.began.saturating_sub(from.began);
            Some(Slope { charge, fell: from.charge? - charge, over, load_rose, is_deep })
        };
        let deep = polls.drawn_from.as_ref().and_then(|from| {
            let fell = from.charge? - charge;
            let earlier = Self::fall_that_goes_on(polls, index, from)?;
            slope(&earlier, true).filter(|one| fell >= DEEP_FALL && one.fell >= DEEP_GOES_ON)
        });
        let settled = polls.settled_from.as_ref().and_then(|from| slope(from, false));
        let is_clear = |one: &Slope| one.fell >= SLOPE_POINTS && one.over >= SLOPE_TIME;
        let settled = settled.filter(is_clear);
        // A plateau says nothing of the cliff behind it.
        let cliff = deep.as_ref().filter(|one| one.load_rose < CONTRADICTION_LOAD && Self::falls_on(polls)).cloned();
        match (settled, cliff) {
            (Some(settled), Some(cliff)) if cliff.empties_in(0.0) < settled.empties_in(0.0) => Some(cliff),
            (settled, _) => settled.or(deep),
        }
    }

    /// Whether the charge fell from answer to answer lately: a gauge of a few steps stands between them.
    fn falls_on(polls: &UpsMemory) -> bool {
        let mut latest = polls.charges.iter().rev();
        let Some(last) = latest.next() else { return false };
        let Some(earlier) = latest.nth(CLIFF_STEPS - 1) else { return false };
        last.began.saturating_sub(earlier.began) <= CLIFF_TIME && earlier.charge > last.charge
    }

    /// Where the latest fall counts from, in the present stretch on battery: the charge that was said long enough before.
    fn fall_that_goes_on(polls: &UpsMemory, index: usize, from: &DrawnFrom) -> Option<DrawnFrom> {
        let sample = polls.samples.get(index)?;
        let before = DEEP_TIME.max(sample.reading.figures_after());
        let began = sample.began.checked_sub(before).filter(|at| *at >= from.began)?;
        let earlier = polls.charges.iter().rev().find(|one| one.began <= began)?;
        Some(DrawnFrom { began, ..earlier.clone() })
    }

    /// Whether it says enough against an estimate that looks sound.
    fn contradicts(&self, sample: &UpsSample) -> bool {
        let refreshes = sample.reading.driver_interval.unwrap_or_default() * CONTRADICTION_REFRESHES;
        let is_long = self.over >= CONTRADICTION_TIME.max(refreshes);
        self.is_deep || self.fell >= CONTRADICTION_POINTS && is_long && self.load_rose < CONTRADICTION_LOAD
    }

    /// Until the charge is this low, if it goes on falling as it fell.
    fn empties_in(&self, charge: f64) -> Duration {
        let rate = self.fell / self.over.as_secs_f64().max(1.0);
        let seconds = ((self.charge - charge).max(0.0) / rate).min(RUNTIME_UNKNOWN.as_secs_f64());
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }

    fn time_left(&self, said: &str) -> TimeLeft {
        let left = self.empties_in(SLOPE_EMPTY);
        let figures = format!(
            "{said}; charge fell by {:.0} % in {} s, {} s left until {SLOPE_EMPTY:.0} %",
            self.fell,
            self.over.as_secs(),
            left.as_secs()
        );
        TimeLeft { left, figures, is_doubted: true }
    }
}

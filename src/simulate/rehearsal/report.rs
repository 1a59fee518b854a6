//! What many outages say together.
//!
//! Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::again::RETURN_MAX;
use super::{AgainEnding, Ending, Played};
use crate::foresee::battery::{Demands, Shortfall};
use crate::model::seconds;
use crate::status::SlowStep;

/// So many of the slowest steps are told: what a person can do something about.
const SLOWEST_MAX: usize = 5;

/// The answers to "would my cluster be dark in time?" and "would it run again?"
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// How many outages were played.
    pub outages: usize,
    /// Those in which mains came back before all had to be dark.
    pub ended_early: usize,
    /// Those in which all had to be dark.
    pub had_to_be_dark: usize,
    /// Those of them in which it was, before any battery ended.
    pub dark_in_time: usize,
    /// Their share, 0 to 1; None where none had to.
    pub share: Option<f64>,
    /// What full batteries were said to give at full load.
    #[serde(with = "seconds")]
    pub runtime: Duration,
    /// What the batteries held when mains were lost, in seconds at full load.
    pub battery: Option<Quantiles>,
    /// From the loss of mains until all was dark.
    pub dark_after: Option<Quantiles>,
    /// From the UPS policy's trigger until every node was dark: what a shutdown takes.
    pub dark_after_trigger: Option<Quantiles>,
    /// What the batteries still held when every node was dark, in seconds at full load. `p5` is what counts.
    pub battery_left: Option<Quantiles>,
    /// Outages after which it had to run again: all that were played to their end.
    pub had_to_run: usize,
    /// Those after which it did, within a day.
    pub running_again: usize,
    /// Their share, 0 to 1; None where none had to.
    pub running_share: Option<f64>,
    /// Those of them in which somebody had to switch hosts on that nothing else could.
    pub by_hand: usize,
    /// Those of them in which it was started although a battery did not hold what the recharge gate asks for.
    pub unprotected: usize,
    /// From the return of mains until everything ran again, where nobody had to come.
    pub running_after: Option<Quantiles>,
    /// Why somebody had to come, the first time.
    pub by_hand_why: Option<String>,
    /// What is asked of a full battery.
    pub demands: Demands,
    /// What batteries of this runtime are too small for.
    pub shortfalls: Vec<Shortfall>,
    /// The slowest steps, slowest first, each by its slow case: 95 of 100 were quicker.
    pub slowest: Vec<SlowStep>,
    /// Everything that went wrong, by question and seed.
    pub failures: Vec<Failure>,
    /// What past runs taught.
    pub learned: Learned,
    /// Each outage.
    pub played: Vec<Played>,
}

/// An outage that went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Its seed: `--outages 1 --seed SEED` plays it again.
    pub seed: u64,
    /// Which answer is no.
    pub question: Question,
    /// When, from the loss of mains; for the second question from their return.
    #[serde(with = "seconds")]
    pub after: Duration,
    /// Who lost power, or what is in the way, and what was waited for.
    pub why: String,
}

/// What a rehearsal answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// Would it be dark before any battery ended, without anything that must never be done?
    DarkInTime,
    /// Would it run again?
    RunningAgain,
}

/// What the pace of steps was taken from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Learned {
    /// Past runs that were read.
    pub runs: usize,
    /// Times of steps in their descents; 0: all of them were drawn as small nodes have them.
    pub steps: usize,
}

/// A distribution in four numbers, each a value that came (nearest rank).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Quantiles {
    /// One in twenty is below.
    #[serde(with = "seconds")]
    pub p5: Duration,
    /// The median.
    #[serde(with = "seconds")]
    pub p50: Duration,
    /// One in twenty is above.
    #[serde(with = "seconds")]
    pub p95: Duration,
    /// The highest.
    #[serde(with = "seconds")]
    pub max: Duration,
}

impl Quantiles {
    /// Of these values; None where there is none.
    pub fn of(values: impl IntoIterator<Item = Duration>) -> Option<Self> {
        let mut values: Vec<Duration> = values.into_iter().collect();
        values.sort_unstable();
        let at = |share: f64| values.get(((values.len() as f64 * share).ceil() as usize).saturating_sub(1)).copied();
        Some(Self { p5: at(0.05)?, p50: at(0.5)?, p95: at(0.95)?, max: at(1.0)? })
    }
}

impl Report {
    pub(super) fn of(mut played: Vec<Played>, runtime: Duration, demands: Demands, learned: Learned) -> Self {
        played.sort_by_key(|one| one.seed);
        let count = |ending| played.iter().filter(|one| one.ending == ending).count();
        let (ended_early, dark_in_time) = (count(Ending::MainsBack), count(Ending::DarkInTime));
        let had_to_be_dark = played.len() - ended_early;
        let dark = || played.iter().filter(|one| one.ending == Ending::DarkInTime);
        let from_trigger = |one: &Played| Some(one.nodes_dark_after?.saturating_sub(one.triggered_after?));
        let again = |ending| played.iter().filter(move |one| one.again.ending == ending);
        let by_hand = again(AgainEnding::ByHand).count();
        let running_again = again(AgainEnding::ByItself).count() + by_hand;
        let had_to_run = running_again + again(AgainEnding::StaysDark).count();
        let runs = |one: &&Played| matches!(one.again.ending, AgainEnding::ByItself | AgainEnding::ByHand);
        Self {
            outages: played.len(),
            ended_early,
            had_to_be_dark,
            dark_in_time,
            share: (had_to_be_dark > 0).then(|| dark_in_time as f64 / had_to_be_dark as f64),
            runtime,
            battery: Quantiles::of(played.iter().map(|one| one.battery)),
            dark_after: Quantiles::of(dark().map(|one| one.ended_after)),
            dark_after_trigger: Quantiles::of(dark().filter_map(from_trigger)),
            battery_left: Quantiles::of(dark().filter_map(|one| one.battery_left)),
            had_to_run,
            running_again,
            running_share: (had_to_run > 0).then(|| running_again as f64 / had_to_run as f64),
            by_hand,
            unprotected: played.iter().filter(runs).filter(|one| one.again.is_unprotected).count(),
            running_after: Quantiles::of(again(AgainEnding::ByItself).filter_map(|one| one.again.running_after)),
            by_hand_why: again(AgainEnding::ByHand).find_map(|one| one.again.why.clone()),
            demands,
            shortfalls: demands.shortfalls(runtime),
            slowest: slowest(&played),
            failures: all_failures(&played),
            learned,
            played,
        }
    }

    /// Whether every outage that had to end dark was dark in time, all ran again, and no rule was broken.
    pub fn is_good(&self) -> bool {
        self.failures.is_empty()
    }
}

/// Everything that went wrong: first who was not dark in time, then who does not run again.
fn all_failures(played: &[Played]) -> Vec<Failure> {
    let mut all: Vec<Failure> = played.iter().flat_map(failures).collect();
    all.sort_by_key(|failure| (failure.question, failure.seed));
    all
}

/// What went wrong in an outage: at most one thing a question.
fn failures(one: &Played) -> impl Iterator<Item = Failure> + use<> {
    let dark = one.why.clone().map(|why| (Question::DarkInTime, one.ended_after, why));
    let stays_dark = one.again.why.clone().filter(|_| one.again.ending == AgainEnding::StaysDark);
    let again = stays_dark.map(|why| (Question::RunningAgain, RETURN_MAX, why));
    let seed = one.seed;
    dark.into_iter().chain(again).map(move |(question, after, why)| Failure { seed, question, after, why })
}

fn slowest(played: &[Played]) -> Vec<SlowStep> {
    let mut times: BTreeMap<(&str, &str), Vec<Duration>> = BTreeMap::new();
    for step in played.iter().flat_map(|one| &one.steps) {
        times.entry((&step.step, &step.target)).or_default().push(step.took);
    }
    let told = |((step, target), times): ((&str, &str), Vec<Duration>)| {
        let samples = times.len();
        let time = Quantiles::of(times)?.p95;
        Some(SlowStep { step: step.to_owned(), target: target.to_owned(), time, samples })
    };
    let mut all: Vec<SlowStep> = times.into_iter().filter_map(told).collect();
    all.sort_by(|a, b| b.time.cmp(&a.time).then_with(|| (&a.step, &a.target).cmp(&(&b.step, &b.target))));
    all.truncate(SLOWEST_MAX);
    all
}

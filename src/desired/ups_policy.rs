//! The UPS policy: turns what the UPSes say into overrides, and is the only maker of [`Effective`].
//!
//! Pure. It looks at the polls that the tracker kept ([`UpsMemory`]), never at one reading alone: one noisy poll shuts
//! nothing down. What is latched is latched in `desired.yaml`: an override stands until mains are stable again.

#![deny(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Cause, Declared, DeclaredHealth, Effective, Override};
use crate::budget::Budget;
use crate::config::{Config, UpsPath, UpsPolicy};
use crate::ledger::Ledger;
use crate::model::{ClusterState, Now, Path, Stamp, UpsName};
use crate::plan::blocker::Warning;
use crate::snapshot::{Snapshot, UpsStatus, UpsWord};
use crate::status::UpsVerdict;
use crate::tracker::{Memory, UpsMemory, UpsSample};

/// A forced-shutdown flag raised while on line is obeyed for so long: long enough for every path to end, short enough
/// that a flag which upsd latches (upsd(8): only a restart clears it) does not keep the cluster dark for ever.
const FSD_ON_LINE_OBEYED: Duration = Duration::from_secs(600);

/// Everything the policy makes of a pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Rewritten {
    /// What is obeyed.
    pub effective: Effective,
    /// The change of `desired.yaml`, override by override.
    pub changes: Vec<OverrideChange>,
    /// What is made of each UPS.
    pub power: Power,
}

/// One change of the overrides; nothing else of the file is touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OverrideChange {
    /// Sets or replaces the override of its source.
    Set(Override),
    /// Takes the override of this source away.
    Clear {
        /// Which.
        source: String,
        /// Why, for the log.
        because: String,
    },
}

/// What the UPSes say, judged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Power {
    /// Each UPS.
    pub upses: BTreeMap<UpsName, Assessment>,
    /// Since when each UPS has been on battery; the ledger keeps it.
    pub on_battery_since: BTreeMap<UpsName, Stamp>,
    /// What a person should know.
    pub warnings: Vec<Warning>,
}

impl Power {
    /// Whether any UPS says that it is on battery.
    pub fn is_on_battery(&self) -> bool {
        self.upses.values().any(Assessment::is_on_battery)
    }

    /// The least of the batteries' remaining times.
    pub fn time_left(&self) -> Option<Duration> {
        self.upses.values().filter(|one| one.is_on_battery()).filter_map(|one| one.time_left).min()
    }
}

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
    fn is_on_battery(&self) -> bool {
        match self.verdict {
            UpsVerdict::OnBattery | UpsVerdict::Critical => true,
            UpsVerdict::OnLine | UpsVerdict::Unknown => false,
        }
    }
}

/// The policy: what was declared, and what the UPSes say, make what is obeyed.
pub fn rewrite(
    config: &Config,
    declared: (&Declared, &DeclaredHealth),
    snapshot: &Snapshot,
    ledger: &Ledger,
    memory: &Memory,
    budget: &Budget,
    now: &Now,
) -> Rewritten {
    let (declared, health) = declared;
    let power = assess_all(config, snapshot, ledger, memory, budget, now);
    let changes = override_changes(config, declared, &power, memory, budget, now);
    let mut obeyed = declared.clone();
    for change in &changes {
        apply(&mut obeyed, change);
    }
    let effective = effective(&obeyed, health, &power);
    Rewritten { effective, changes, power }
}

/// Applies one change to a declared state; the store does the same to the file.
pub fn apply(declared: &mut Declared, change: &OverrideChange) {
    match change {
        OverrideChange::Set(one) => {
            declared.overrides.retain(|other| other.source != one.source);
            declared.overrides.push(one.clone());
        }
        OverrideChange::Clear { source, .. } => declared.overrides.retain(|other| other.source != *source),
    }
}

/// The name under which a UPS' override stands.
pub fn source(ups: &UpsName) -> String {
    format!("ups-policy/{ups}")
}

fn effective(declared: &Declared, health: &DeclaredHealth, power: &Power) -> Effective {
    let spec = &declared.spec;
    let ruling = declared.strictest().filter(|one| one.state >= spec.state);
    let (state, path, because) = match ruling {
        Some(one) => (
            one.state,
            one.path,
            Cause::Override { source: one.source.clone(), reason: one.reason.clone(), set_at: one.set_at },
        ),
        None => (
            spec.state,
            Path::Graceful,
            Cause::Spec { set_by: spec.set_by.clone(), reason: spec.reason.clone(), set_at: spec.set_at },
        ),
    };
    let hold_descent = match ruling {
        Some(one) => hold_override(one, power),
        None => match health {
            DeclaredHealth::Good => None,
            DeclaredHealth::LastGood { why } => Some(format!("desired.yaml cannot be read: {why}")),
            DeclaredHealth::Lost => Some("desired.yaml was lost".to_owned()),
        },
    };
    Effective {
        state,
        path,
        because,
        on_battery: power.is_on_battery(),
        time_left: power.time_left(),
        hold_descent: if state == ClusterState::Running { None } else { hold_descent },
    }
}

/// Why an override that stands begins no further step now: its UPS is on line (not yet for long enough), or has not been
/// judged since this boot. A UPS on battery never holds its own override.
fn hold_override(one: &Override, power: &Power) -> Option<String> {
    let ups = one.source.strip_prefix("ups-policy/")?;
    let assessment = power.upses.get(&UpsName::from(ups))?;
    match assessment.verdict {
        UpsVerdict::Critical | UpsVerdict::OnBattery => None,
        UpsVerdict::OnLine | UpsVerdict::Unknown => Some(format!("{ups}: {}", assessment.evidence)),
    }
}

fn override_changes(
    config: &Config,
    declared: &Declared,
    power: &Power,
    memory: &Memory,
    budget: &Budget,
    now: &Now,
) -> Vec<OverrideChange> {
    let mut changes = Vec::new();
    for (name, assessment) in &power.upses {
        let standing = declared.overrides.iter().find(|one| one.source == source(name));
        if assessment.verdict == UpsVerdict::Critical && is_alone_in_feeding(config, power, name) {
            match standing {
                None => changes.push(OverrideChange::Set(trigger(config, name, assessment, budget, now))),
                // A standing override only ever becomes more urgent.
                Some(one) if one.path == Path::Graceful && is_out_of_time(config, assessment, budget) => {
                    let wanted = trigger(config, name, assessment, budget, now);
                    changes.push(OverrideChange::Set(Override { path: Path::Emergency, ..wanted }));
                }
                Some(_) => {}
            }
        } else if standing.is_some()
            && let Some(because) = release(config, assessment, memory, now)
        {
            changes.push(OverrideChange::Clear { source: source(name), because });
        }
    }
    for one in &declared.overrides {
        if let Some(ups) = one.source.strip_prefix("ups-policy/")
            && !config.upses.contains_key(&UpsName::from(ups))
        {
            let because = format!("UPS {ups} is not configured any more");
            changes.push(OverrideChange::Clear { source: one.source.clone(), because });
        }
    }
    changes
}

/// Whether this UPS' end darkens something: a host whose every feed is critical, or (where nothing names it) everything.
fn is_alone_in_feeding(config: &Config, power: &Power, ups: &UpsName) -> bool {
    let is_critical = |name: &UpsName| power.upses.get(name).is_some_and(|one| one.verdict == UpsVerdict::Critical);
    let mut feeds = config.nodes.values().map(|node| &node.feeds).chain([&config.own_host.feeds]);
    let is_named = feeds.clone().any(|feeds| feeds.contains(ups));
    !is_named || feeds.any(|feeds| feeds.contains(ups) && feeds.iter().all(is_critical))
}

/// Whether what is left is only enough for the emergency path. The full budget is not asked for again: a descent that has
/// used up a part of its time has also done a part of its work.
fn is_out_of_time(config: &Config, assessment: &Assessment, budget: &Budget) -> bool {
    let least = budget.emergency.time.mul_f64(config.ups_policy.runtime_safety_factor);
    assessment.is_urgent || assessment.time_left.is_some_and(|left| left <= least)
}

/// The override of a UPS whose time has come.
///
/// The graceful path is taken where it is allowed and the time left is at least the full budget. The safety factor is
/// not asked for a second time here: the trigger itself waited until `runtime <= factor x budget`, and what lies between
/// factor x budget and the budget is what the debounce used up.
fn trigger(config: &Config, ups: &UpsName, assessment: &Assessment, budget: &Budget, now: &Now) -> Override {
    let has_time = !assessment.is_urgent && assessment.time_left.is_some_and(|left| left >= budget.full.time);
    let path = match config.shutdown.ups_path {
        UpsPath::Auto if has_time => Path::Graceful,
        UpsPath::Auto | UpsPath::Emergency => Path::Emergency,
    };
    Override {
        source: source(ups),
        state: ClusterState::Poweroff,
        path,
        reason: assessment.evidence.clone(),
        set_at: now.wall,
    }
}

/// Why an override may be taken away: stable mains, or no word from the UPS since this boot for longer than the grace (a
/// dead UPS daemon must not keep a cluster dark).
fn release(config: &Config, assessment: &Assessment, memory: &Memory, now: &Now) -> Option<String> {
    match assessment.verdict {
        UpsVerdict::OnLine => {
            let stable = assessment.on_line_for?;
            (stable >= config.ups_policy.mains_stable).then(|| format!("mains stable for {} s", stable.as_secs()))
        }
        UpsVerdict::Unknown => {
            let grace = config.startup.ups_unknown_grace?;
            (now.since(memory.began) >= grace)
                .then(|| format!("no word for {} s: {}", grace.as_secs(), assessment.evidence))
        }
        UpsVerdict::OnBattery | UpsVerdict::Critical => None,
    }
}

fn assess_all(
    config: &Config,
    snapshot: &Snapshot,
    ledger: &Ledger,
    memory: &Memory,
    budget: &Budget,
    now: &Now,
) -> Power {
    let mut power = Power::default();
    for name in config.upses.keys() {
        let empty = UpsMemory::default();
        let polls = memory.upses.get(name).unwrap_or(&empty);
        let failure = match snapshot.upses.get(name) {
            Some(reading) if reading.fresh(now, config.ups_policy.max_age).is_some() => None,
            Some(reading) => Some(reading.failure().map_or_else(|| "no fresh answer".to_owned(), ToString::to_string)),
            None => Some("not observed yet".to_owned()),
        };
        let since = on_battery_since(polls, ledger.on_battery_since.get(name), now);
        let look = Look {
            policy: &config.ups_policy,
            trigger_at: trigger_at(config, budget),
            polls,
            failure,
            on_battery_for: since.as_ref().map(|since| since.age(now)),
            seen_on_battery_this_boot: since.as_ref().is_some_and(|since| since.boot_id == now.boot_id),
            memory_age: now.since(memory.began),
            now,
        };
        let assessment = look.assess();
        if let Some(since) = since
            && assessment.verdict != UpsVerdict::OnLine
        {
            power.on_battery_since.insert(name.clone(), since);
        }
        power.warnings.extend(look.warnings(name));
        power.upses.insert(name.clone(), assessment);
    }
    power
}

/// The runtime at which the policy triggers: the safety factor times the budget of the path a trigger takes.
pub fn trigger_at(config: &Config, budget: &Budget) -> Duration {
    let path_budget = match config.shutdown.ups_path {
        UpsPath::Auto => budget.full.time,
        UpsPath::Emergency => budget.emergency.time,
    };
    path_budget.mul_f64(config.ups_policy.runtime_safety_factor)
}

/// Since when a UPS has been on battery: the ledger's word while it goes on, else the first poll of the present stretch.
fn on_battery_since(polls: &UpsMemory, kept: Option<&Stamp>, now: &Now) -> Option<Stamp> {
    let stretch = polls.samples.iter().rev().take_while(|sample| !is_on_line(&sample.reading.status));
    match (polls.samples.back(), kept) {
        (Some(last), kept) => {
            if is_on_line(&last.reading.status) {
                return None;
            }
            let first = stretch.filter(|sample| sample.reading.status.has(UpsWord::Ob)).last();
            match (kept, first) {
                (Some(kept), _) if kept.boot_id == now.boot_id => Some(kept.clone()),
                (_, Some(first)) => Some(Stamp { boottime: first.began, ..now.stamp() }),
                (_, None) => None,
            }
        }
        (None, kept) => kept.cloned(),
    }
}

/// OL without OB. A calibration is not on line although mains are there.
fn is_on_line(status: &UpsStatus) -> bool {
    status.has(UpsWord::Ol) && !status.has(UpsWord::Ob)
}

/// One UPS' polls, looked at in one pass.
struct Look<'a> {
    policy: &'a UpsPolicy,
    trigger_at: Duration,
    polls: &'a UpsMemory,
    failure: Option<String>,
    on_battery_for: Option<Duration>,
    seen_on_battery_this_boot: bool,
    memory_age: Duration,
    now: &'a Now,
}

impl Look<'_> {
    fn assess(&self) -> Assessment {
        let last = self.polls.samples.back();
        if let Some(why) = &self.failure {
            return self.lost(why);
        }
        let Some(last) = last else {
            return self.verdict(UpsVerdict::Unknown, "no poll yet".to_owned());
        };
        let status = &last.reading.status;
        if status.has(UpsWord::Fsd)
            && let Some(assessment) = self.forced(last)
        {
            return assessment;
        }
        if status.has(UpsWord::Ob) {
            return self.on_battery(last);
        }
        if status.has(UpsWord::Ol) {
            return self.verdict(UpsVerdict::OnLine, format!("{status}"));
        }
        // WAIT, OFF, BYPASS or words that nobody knows, without OL or OB: nothing is inferred from them. What was last
        // known goes on for as long as it would without an answer.
        self.lost(&format!("says only \"{status}\""))
    }

    /// No usable word: critical when it was on battery and the limit has passed, else unknown.
    fn lost(&self, why: &str) -> Assessment {
        let last = last_telling(self.polls);
        let was_on_battery = match last {
            Some(last) => last.reading.status.has(UpsWord::Ob) || last.reading.status.has(UpsWord::Cal),
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

    /// FSD: at once, unless it is a latch: it stays after mains are back, or it stood already when hecate came.
    fn forced(&self, last: &UpsSample) -> Option<Assessment> {
        let flagged = self.polls.words_since.get(&UpsWord::Fsd).copied()?;
        let was_seen_rising = self.polls.first.is_some_and(|first| first < flagged);
        let rose_on_line = self.polls.words_since.get(&UpsWord::Ol).is_some_and(|line| *line <= flagged);
        let is_obeyed = !is_on_line(&last.reading.status)
            || (was_seen_rising && rose_on_line && self.now.since(flagged) < FSD_ON_LINE_OBEYED);
        is_obeyed.then(|| {
            let evidence = format!("forced shutdown ({})", last.reading.status);
            Assessment { is_urgent: true, ..self.verdict(UpsVerdict::Critical, evidence) }
        })
    }

    fn on_battery(&self, last: &UpsSample) -> Assessment {
        let status = &last.reading.status;
        if let Some(stood) = self.stood(&[UpsWord::Cal])
            && stood < self.policy.calibration_max
        {
            return self.verdict(UpsVerdict::OnBattery, format!("calibrating for {} s ({status})", stood.as_secs()));
        }
        if let Some(stood) = self.stood(&[UpsWord::Ob, UpsWord::Lb])
            && stood >= self.policy.ob_lb
        {
            let evidence = format!("low battery while on battery for {} s ({status})", stood.as_secs());
            return Assessment { is_urgent: true, ..self.verdict(UpsVerdict::Critical, evidence) };
        }
        let (is_low, figures) = self.low(last);
        match is_low.then(|| self.debounced()).flatten() {
            Some((polls, stood)) => self.verdict(
                UpsVerdict::Critical,
                format!("{figures} for {polls} readings, {} s ({status})", stood.as_secs()),
            ),
            None => self.verdict(UpsVerdict::OnBattery, format!("{figures} ({status})")),
        }
    }

    /// Whether one poll alone says that the time has come, and the figures.
    fn low(&self, sample: &UpsSample) -> (bool, String) {
        let reading = &sample.reading;
        if let Some(runtime) = reading.runtime {
            let is_low = runtime <= self.trigger_at;
            let sign = if is_low { "<=" } else { ">" };
            let text = format!("runtime {} s {sign} {} s", runtime.as_secs(), self.trigger_at.as_secs());
            return (is_low, text);
        }
        if let Some(charge) = reading.charge_percent {
            let least = self.policy.charge_percent_min;
            let is_low = charge <= least;
            let sign = if is_low { "<=" } else { ">" };
            return (is_low, format!("no runtime; charge {charge} % {sign} {least} %"));
        }
        let limit = self.policy.on_battery_max;
        let so_far = self.on_battery_for.unwrap_or_default();
        let is_low = so_far >= limit;
        (is_low, format!("no runtime, no charge; on battery {} s of {} s", so_far.as_secs(), limit.as_secs()))
    }

    /// Whether enough polls in a row, far enough apart, over enough time say so. Polls nearer to each other than the
    /// driver's interval show the same value twice and count once.
    fn debounced(&self) -> Option<(u32, Duration)> {
        let mut polls = 0;
        let mut first = self.now.boottime;
        let mut counted: Option<Duration> = None;
        for sample in self.polls.samples.iter().rev() {
            if !sample.reading.status.has(UpsWord::Ob) || !self.low(sample).0 {
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

    fn verdict(&self, verdict: UpsVerdict, evidence: String) -> Assessment {
        let last = self.polls.samples.back();
        let on_line_for = match verdict {
            UpsVerdict::OnLine => self.stood(&[UpsWord::Ol]),
            UpsVerdict::Unknown | UpsVerdict::OnBattery | UpsVerdict::Critical => None,
        };
        let time_left = last.and_then(|last| Some(last.reading.runtime?.saturating_sub(self.now.since(last.began))));
        Assessment {
            verdict,
            evidence,
            on_battery_for: self.on_battery_for.filter(|_| verdict != UpsVerdict::OnLine),
            on_line_for,
            time_left,
            is_urgent: false,
        }
    }

    /// Words that hold nothing up but that a person should know of.
    fn warnings(&self, name: &UpsName) -> Vec<Warning> {
        let Some(last) = self.polls.samples.back().filter(|_| self.failure.is_none()) else {
            return Vec::new();
        };
        let status = &last.reading.status;
        let mut said: Vec<String> = [
            (UpsWord::Rb, "the battery needs to be replaced (RB)"),
            (UpsWord::Alarm, "an alarm stands (ALARM)"),
            (UpsWord::Over, "overloaded (OVER)"),
            (UpsWord::Bypass, "in bypass: the battery protects nothing (BYPASS)"),
            (UpsWord::Off, "says that its output is off (OFF)"),
        ]
        .into_iter()
        .filter(|(word, _)| status.has(*word))
        .map(|(_, text)| text.to_owned())
        .collect();
        if status.has(UpsWord::Fsd) && is_on_line(status) {
            said.push("still says FSD although mains are there: restart upsd to clear it".to_owned());
        }
        if status.has(UpsWord::Lb) && is_on_line(status) {
            said.push("low battery while on line (OL LB)".to_owned());
        }
        if !status.unknown.is_empty() {
            let words: Vec<&str> = status.unknown.iter().map(String::as_str).collect();
            said.push(format!("says words that NUT does not document: {}", words.join(" ")));
        }
        said.into_iter().map(|evidence| Warning::Ups { ups: name.clone(), evidence }).collect()
    }
}

/// The last poll that said OL, OB or CAL.
fn last_telling(polls: &UpsMemory) -> Option<&UpsSample> {
    polls.samples.iter().rev().find(|sample| {
        let status = &sample.reading.status;
        status.has(UpsWord::Ol) || status.has(UpsWord::Ob) || status.has(UpsWord::Cal)
    })
}

#[cfg(test)]
mod tests;

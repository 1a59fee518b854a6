//! The UPS policy: turns what the UPSes say into overrides, and is the only maker of [`Effective`].
//!
//! Pure. It looks at the polls that the tracker kept ([`UpsMemory`]), never at one reading alone: one noisy poll shuts
//! nothing down. What is latched is latched in `desired.yaml`: an override stands until mains are stable again.

#![deny(clippy::disallowed_methods)]

pub mod battery;
mod changes;
mod judge;
mod loads;
mod obeyed;
mod others;
mod time_left;
pub mod words;

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::battery::Battery;
use self::changes::Pass;
use self::loads::Load;
pub(crate) use self::loads::{is_fed_by_others, loads};
use self::obeyed::{Sources, effective};
use self::others::Others;
use super::{Declared, DeclaredHealth, Effective, Forget, Held, Hold, Override};
use crate::budget::Budget;
use crate::config::{Config, UpsPath, Witness};
use crate::ledger::Ledger;
use crate::model::{Now, Reading, Stamp, UpsName};
use crate::plan::blocker::Warning;
use crate::snapshot::Snapshot;
use crate::status::UpsVerdict;
use crate::tracker::{LowRun, Memory, UpsMemory};

pub use judge::Assessment;
pub(crate) use time_left::credible_runtime;

/// For so long a witness is looked for before it is told that nobody is there.
const WITNESS_PATIENCE: Duration = Duration::from_secs(60);

/// Everything the policy makes of a pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Rewritten {
    /// What is obeyed.
    pub effective: Effective,
    /// What was declared, with the changes: what that was made of.
    pub declared: Declared,
    /// The change of `desired.yaml`, override by override.
    pub changes: Vec<DeclaredChange>,
    /// What is made of each UPS.
    pub power: Power,
}

/// One change of `desired.yaml`; nothing else of the file is touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DeclaredChange {
    /// Sets or replaces the override of its source.
    Set(Override),
    /// Takes the override of this source away.
    Clear {
        /// Which.
        source: String,
        /// Why, for the log.
        because: String,
    },
    /// Takes a hold away that was seen to be over: a clock that begins anew must not bring it back.
    DropHold(Hold),
    /// Takes a person's word away that was obeyed: what was learned of that battery is forgotten.
    DropForget(Forget),
}

/// What the UPSes say, judged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Power {
    /// Each UPS.
    pub upses: BTreeMap<UpsName, Assessment>,
    /// Since when each UPS has been on battery; the ledger keeps it.
    pub on_battery_since: BTreeMap<UpsName, Stamp>,
    /// After how long a silence the override of each UPS ends.
    pub silence_max: BTreeMap<UpsName, Duration>,
    /// What a person should know.
    pub warnings: Vec<Warning>,
}

impl Power {
    /// Whether any UPS says that it is on battery.
    pub fn is_on_battery(&self) -> bool {
        self.upses.values().any(Assessment::is_on_battery)
    }

    /// The low polls in a row of each UPS, for the memory.
    pub fn low_runs(&self) -> BTreeMap<UpsName, Option<LowRun>> {
        self.upses.iter().map(|(name, one)| (name.clone(), one.low.clone())).collect()
    }

    /// Until the first of these loses its supply, by what the batteries say; None where nothing says so. Something with
    /// several feeds lives until fewer than `min_supplies` of them are left.
    fn time_left<'a>(&self, loads: impl Iterator<Item = Load<'a>>) -> Option<Duration> {
        loads.filter_map(|load| load.time_left(self)).min()
    }

    fn verdict(&self, ups: &UpsName) -> UpsVerdict {
        self.upses.get(ups).map_or(UpsVerdict::Unknown, |one| one.verdict)
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
    let power = assess_all(config, declared, snapshot, ledger, memory, budget, now);
    let pass = Pass { config, declared, snapshot, ledger, budget, power: &power, now };
    let changes = pass.changes();
    let mut obeyed = declared.clone();
    for change in &changes {
        apply(&mut obeyed, change);
    }
    let effective = effective(&Sources {
        config,
        declared: &obeyed,
        health,
        power: &power,
        snapshot,
        ledger,
        looked_for: now.since(memory.began),
        now,
    });
    Rewritten { effective, declared: obeyed, changes, power }
}

/// Applies one change to a declared state; the store does the same to the file.
pub fn apply(declared: &mut Declared, change: &DeclaredChange) {
    match change {
        DeclaredChange::Set(one) => {
            declared.overrides.retain(|other| other.source != one.source);
            declared.overrides.push(one.clone());
        }
        DeclaredChange::Clear { source, .. } => declared.overrides.retain(|other| other.source != *source),
        DeclaredChange::DropHold(hold) => declared.holds.retain(|other| other != hold),
        DeclaredChange::DropForget(forget) => declared.forget.retain(|other| other != forget),
    }
}

/// The name under which a UPS' override stands.
pub fn source(ups: &UpsName) -> String {
    format!("{}{ups}", Override::BY_UPS)
}

/// The time left at which the policy triggers: the safety factor times the budget of the path a trigger takes.
pub fn trigger_at(config: &Config, budget: &Budget) -> Duration {
    let path_budget = match config.shutdown.ups_path {
        UpsPath::Auto => budget.full.time,
        UpsPath::Emergency => budget.emergency.time,
    };
    path_budget.mul_f64(config.ups_policy.runtime_safety_factor)
}

fn assess_all(
    config: &Config,
    declared: &Declared,
    snapshot: &Snapshot,
    ledger: &Ledger,
    memory: &Memory,
    budget: &Budget,
    now: &Now,
) -> Power {
    let mut power = Power::default();
    for (name, ups) in &config.upses {
        if let Some(hold) = declared.hold(&Held::Ups(name.clone()), now) {
            let evidence = format!("ignored {hold}");
            power.warnings.push(Warning::Ups { ups: name.clone(), evidence: evidence.clone() });
            let feeds_nothing = judge::feeds_nothing_unheeded(&config.ups_policy, memory, name, now);
            power.upses.insert(name.clone(), Assessment::ignored(evidence, feeds_nothing));
            continue;
        }
        let empty = UpsMemory::default();
        let polls = memory.upses.get(name).unwrap_or(&empty);
        let battery = battery(ledger, name);
        // A driver that hangs goes on saying what it read last, without a word of being stale.
        let repeats_max = if polls.is_load_shed() { Battery::SILENCE_MOST } else { battery.silence_max() };
        let repeats_since = polls.repeats_since().filter(|since| now.since(*since) >= repeats_max);
        let failure = match snapshot.upses.get(name) {
            Some(reading) if reading.fresh(now, config.ups_policy.max_age).is_some() => repeats_since
                .map(|since| format!("it repeats the same words and figures for {} s", now.since(since).as_secs())),
            Some(reading) => Some(reading.failure().map_or_else(|| "no fresh answer".to_owned(), ToString::to_string)),
            None => Some("not observed yet".to_owned()),
        };
        let since = judge::on_battery_since(polls, ledger, name, now);
        let is_earlier = since.as_ref().is_some_and(|since| since.boot_id != now.boot_id);
        let was_on_battery = is_earlier && polls.last_word().is_none();
        let others = Others { config, declared, snapshot, memory, name, was_on_battery, now };
        let gone = if failure.is_some() { others.gone() } else { others.witness_gone() };
        let look = judge::Look {
            policy: &config.ups_policy,
            ups,
            battery,
            trigger_at: trigger_at(config, budget),
            polls,
            failure,
            repeats_since,
            on_battery_for: since.as_ref().map(|since| since.age(now)),
            seen_on_battery_this_boot: since.as_ref().is_some_and(|since| since.boot_id == now.boot_id),
            kept_silence: ledger.silent_since.get(name).map(|since| since.age(now)),
            is_confirmed: gone.is_some() || others.on_battery().next().is_some(),
            gone,
            cut_ago: ledger
                .load_cuts
                .get(name)
                .filter(|cut| cut.told.boot_id == now.boot_id)
                .map(|cut| cut.told.age(now)),
            was_asked: snapshot.upses.get(name).is_some_and(Reading::was_looked_at),
            memory_age: now.since(memory.began),
            now,
        };
        let assessment = look.assess();
        let has_outlasted = assessment.silent_for.is_some_and(|silent| silent >= battery.silence_max());
        if let Some(since) = since.filter(|_| !has_outlasted) {
            power.on_battery_since.insert(name.clone(), since);
        }
        power.silence_max.insert(name.clone(), battery.silence_max());
        power.warnings.extend(look.warnings(name));
        if let Some(Witness::Address { host, port }) = &ups.witness
            && polls.witness_seen.is_none()
            && now.since(memory.began) >= WITNESS_PATIENCE
            && assessment.verdict == UpsVerdict::OnLine
        {
            let evidence =
                format!("its witness {host}:{port} was never seen, though mains are there: it protects nothing");
            power.warnings.push(Warning::Ups { ups: name.clone(), evidence });
        }
        power.upses.insert(name.clone(), assessment);
    }
    power
}

/// What the ledger knows of a UPS' battery.
pub(crate) fn battery<'a>(ledger: &'a Ledger, name: &UpsName) -> Battery<'a> {
    Battery { device: ledger.devices.get(name), full_load: ledger.full_load_percent.get(name).copied() }
}

#[cfg(test)]
mod tests;

//! A register of checks: what was looked at, what that proves, how long ago, and what came of it.
//!
//! Pure. A check is a row that somebody fills in; the register only orders, counts and shows them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::battery::{Demand, Demands};
use crate::desired::ups_policy::credible_runtime;
use crate::desired::ups_policy::words::{Sense, sense};
use crate::model::{Reading, UpsName, seconds_option};
use crate::snapshot::{UpsReading, UpsWord};
use crate::status::diff::spoken;

/// Below this a battery is not full, and its runtime says nothing of a full one.
const FULL_PERCENT: f64 = 95.0;

/// One check.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// Its name; the same for ever, so that a person can look for it.
    pub name: String,
    /// What it proves where it is good.
    pub proves: String,
    /// How old the look is that it goes by.
    #[serde(with = "seconds_option")]
    pub age: Option<Duration>,
    /// What came of it.
    pub result: CheckResult,
    /// What to do, where there is something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// What came of a check, each with its evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "is", content = "evidence", rename_all = "kebab-case")]
pub enum CheckResult {
    /// It holds.
    Good(String),
    /// It cannot be told now.
    Unknown(String),
    /// It does not hold.
    Failed(String),
}

impl CheckResult {
    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            CheckResult::Good(_) => "good",
            CheckResult::Unknown(_) => "unknown",
            CheckResult::Failed(_) => "failed",
        }
    }

    /// What was seen.
    pub fn evidence(&self) -> &str {
        match self {
            CheckResult::Good(said) | CheckResult::Unknown(said) | CheckResult::Failed(said) => said,
        }
    }

    /// Whether it does not hold.
    pub fn is_failed(&self) -> bool {
        matches!(self, CheckResult::Failed(_))
    }
}

/// What was seen of the UPSes, by whom it was seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// What each UPS says.
    pub upses: &'a BTreeMap<UpsName, Reading<UpsReading>>,
    /// How old that is.
    pub age: Duration,
    /// Whether the whole cluster is known to run, so that the load is the one that an outage meets.
    pub runs: Option<bool>,
    /// What each full battery gives at full load, where hecate knows that from its record or from a discharge.
    pub known: &'a BTreeMap<UpsName, Duration>,
}

/// Two checks of each battery: against the recharge gate and against the trigger.
pub fn batteries(demands: &Demands, seen: Seen<'_>) -> Vec<Check> {
    let each =
        |(name, reading)| [Demand::Trigger, Demand::Gate].map(|demand| battery(demands, seen, name, reading, demand));
    seen.upses.iter().flat_map(each).collect()
}

fn battery(demands: &Demands, seen: Seen<'_>, ups: &UpsName, reading: &Reading<UpsReading>, demand: Demand) -> Check {
    let (name, proves) = match demand {
        Demand::Trigger => ("battery-above-trigger", "a full battery outlasts a short outage"),
        Demand::Gate => ("battery-above-gate", "a full battery lasts for a bring-up and one more shutdown"),
    };
    let check = |result, hint| {
        let (name, proves) = (format!("{name}/{ups}"), proves.to_owned());
        Check { name, proves, age: Some(seen.age), result, hint }
    };
    let known = seen.known.get(ups).copied();
    let full = match known.map_or_else(|| full_runtime(reading), Ok) {
        Ok(full) => full,
        Err((why, hint)) => return check(CheckResult::Unknown(why), hint),
    };
    let load = reading.value().and_then(|value| value.load_percent);
    let load = match known {
        Some(_) => " at full load, as hecate knows it".to_owned(),
        None => load.map(|load| format!(" at {load} % load")).unwrap_or_default(),
    };
    if let Some(short) = demands.shortfalls(full).into_iter().find(|one| one.demand == demand) {
        return check(CheckResult::Failed(format!("{}{load}: {}", short.said, short.means)), Some(short.hint));
    }
    let needs = match demand {
        Demand::Trigger => demands.trigger,
        Demand::Gate => demands.gate,
    };
    if seen.runs == Some(false) && known.is_none() {
        // A part of the load is missing, so the figure is too good; where it is too small all the same, that is told.
        let why = format!("{}{load}, but not everything runs now", spoken(full));
        return check(CheckResult::Unknown(why), Some("ask again while the whole cluster runs".to_owned()));
    }
    check(CheckResult::Good(format!("{}{load}, {} needed", spoken(full), spoken(needs))), None)
}

/// What a UPS says that its full battery gives; or why it says nothing of that now.
fn full_runtime(reading: &Reading<UpsReading>) -> Result<Duration, (String, Option<String>)> {
    let value = match reading {
        Reading::Known { value, .. } => value,
        Reading::Unknown { why, .. } => {
            return Err((why.to_string(), Some("look at upsd and its driver (upsc)".to_owned())));
        }
    };
    if !matches!(sense(&value.status), Sense::OnLine | Sense::DischargingOnLine) {
        return Err((format!("it is not on line ({})", value.status), Some("ask again in calm times".to_owned())));
    }
    if value.status.has(UpsWord::Rb) {
        return Err((
            format!("it says that its battery must be replaced ({})", value.status),
            Some("replace it: until then what it promises counts half".to_owned()),
        ));
    }
    match (value.charge_percent, credible_runtime(value.runtime)) {
        (_, None) => Err((
            value.runtime.map_or("it tells no runtime".to_owned(), |runtime| {
                format!("its runtime of {} s is none", runtime.as_secs())
            }),
            Some("a test of the battery shows what it gives: `hecate simulate --runtime-minutes`".to_owned()),
        )),
        (Some(charge), _) if charge < FULL_PERCENT => {
            Err((format!("its battery holds {charge} %"), Some("ask again when it is full".to_owned())))
        }
        (_, Some(runtime)) => Ok(runtime),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::history::History;
    use crate::model::FailureKind;
    use crate::simulate::blueprint;
    use crate::snapshot::UpsStatus;

    fn config() -> Config {
        blueprint::config(3, 2).expect("the blueprint is a cluster")
    }

    fn results(status: &str, charge: Option<f64>, runtime: Option<u64>, runs: Option<bool>) -> Vec<&'static str> {
        let reading = UpsReading {
            status: UpsStatus::parse(status),
            charge_percent: charge,
            runtime: runtime.map(Duration::from_secs),
            load_percent: Some(38.0),
            ..UpsReading::default()
        };
        words(Reading::known(reading, Duration::ZERO), runs)
    }

    fn words(reading: Reading<UpsReading>, runs: Option<bool>) -> Vec<&'static str> {
        let upses = BTreeMap::from([(UpsName::from("pyrphoros"), reading)]);
        let seen = Seen { upses: &upses, age: Duration::from_secs(2), runs, known: &BTreeMap::new() };
        batteries(&Demands::of(&config(), &History::default()), seen).iter().map(|one| one.result.word()).collect()
    }

    #[test]
    fn a_full_battery_is_held_against_trigger_and_gate() {
        assert_eq!(results("OL", Some(100.0), Some(1830), Some(true)), ["good", "good"]);
        assert_eq!(results("OL CHRG", Some(96.0), Some(900), Some(true)), ["good", "failed"]);
        assert_eq!(results("OL", Some(100.0), Some(400), None), ["failed", "failed"]);
    }

    #[test]
    fn what_is_no_measurement_of_a_full_battery_is_unknown() {
        assert_eq!(results("OL CHRG", Some(40.0), Some(400), Some(true)), ["unknown", "unknown"], "not full");
        assert_eq!(results("OB DISCHRG", Some(99.0), Some(400), Some(true)), ["unknown", "unknown"], "on battery");
        assert_eq!(results("OL", Some(100.0), Some(0), Some(true)), ["unknown", "unknown"], "0 on mains is no figure");
        assert_eq!(results("OL", Some(100.0), None, Some(true)), ["unknown", "unknown"]);
        assert_eq!(
            results("OL", Some(100.0), Some(65_535), Some(true)),
            ["unknown", "unknown"],
            "the end of a register"
        );
        assert_eq!(results("OL RB", Some(100.0), Some(1830), Some(true)), ["unknown", "unknown"], "it counts half");
        assert_eq!(results("OL NOCOMM", Some(100.0), Some(1830), Some(true)), ["unknown", "unknown"]);
        let silent = Reading::unknown(FailureKind::Unreachable, "connection refused", Duration::ZERO);
        assert_eq!(words(silent, Some(true)), ["unknown", "unknown"]);
    }

    #[test]
    fn what_is_known_of_a_battery_counts_before_what_its_ups_says_now() {
        let reading = UpsReading { status: UpsStatus::parse("OB DISCHRG"), ..UpsReading::default() };
        let upses = BTreeMap::from([(UpsName::from("pyrphoros"), Reading::known(reading, Duration::ZERO))]);
        let known = BTreeMap::from([(UpsName::from("pyrphoros"), Duration::from_secs(900))]);
        let seen = Seen { upses: &upses, age: Duration::from_secs(2), runs: Some(false), known: &known };
        let all = batteries(&Demands::of(&config(), &History::default()), seen);
        assert_eq!(all.iter().map(|one| one.result.word()).collect::<Vec<_>>(), ["good", "failed"]);
        assert!(all[1].result.evidence().contains("gives 15 min"), "{}", all[1].result.evidence());
        assert!(all[1].result.evidence().contains("at full load, as hecate knows it"), "{}", all[1].result.evidence());
    }

    #[test]
    fn a_figure_at_less_than_the_full_load_fails_but_proves_nothing() {
        assert_eq!(results("OL", Some(100.0), Some(1830), Some(false)), ["unknown", "unknown"]);
        assert_eq!(results("OL", Some(100.0), Some(900), Some(false)), ["unknown", "failed"]);
    }
}

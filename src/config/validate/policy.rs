//! `ups_policy`: when the UPSes' words become an override.
//!
//! Pure. Must never let a threshold through that can not be reached or that triggers itself.

use std::time::Duration;

use super::super::forms::Percent;
use super::super::mistake::Findings;
use super::super::raw::{RawConfig, RawUpsPolicy, RawUpsScope};
use super::super::{Config, UpsPolicy, UpsScope, defaults};
use super::{above_zero, interval, seconds, show, within, written};

/// The factor of hecate's first versions; their installer turned it into 1.25 as well.
const LEGACY_SAFETY_FACTOR: f64 = 1.10;

/// Reads the section.
pub(super) fn read(raw: &RawUpsPolicy, found: &mut Findings) -> UpsPolicy {
    let policy = UpsPolicy {
        scope: raw.scope.value().map_or(defaults::UPS_SCOPE, |scope| match scope {
            RawUpsScope::Cluster => UpsScope::Cluster,
            RawUpsScope::Affected => UpsScope::Affected,
        }),
        poll: interval(&raw.poll_seconds, defaults::POLL, found),
        timeout: above_zero(&raw.timeout_seconds, defaults::UPS_TIMEOUT, found),
        max_age: above_zero(&raw.max_age_seconds, defaults::UPS_MAX_AGE, found),
        runtime_safety_factor: raw.runtime_safety_factor.or(defaults::RUNTIME_SAFETY_FACTOR),
        debounce_polls: within(&raw.debounce_polls, defaults::DEBOUNCE_POLLS, 1, 100, found),
        debounce: seconds(&raw.debounce_seconds, defaults::DEBOUNCE),
        ob_lb: seconds(&raw.ob_lb_seconds, defaults::OB_LB),
        lost_on_battery: seconds(&raw.lost_on_battery_seconds, defaults::LOST_ON_BATTERY),
        lost_on_battery_max: lost_on_battery_max(raw, found),
        charge_frozen: above_zero(&raw.charge_frozen_seconds, defaults::CHARGE_FROZEN, found),
        calibration_max: seconds(&raw.calibration_max_seconds, defaults::CALIBRATION_MAX),
        mains_stable: seconds(&raw.mains_stable_seconds, defaults::MAINS_STABLE),
        charge_percent_min: raw.charge_percent_min.or(Percent(defaults::CHARGE_PERCENT_MIN)).0,
        on_battery_max: seconds(&raw.on_battery_max_seconds, defaults::ON_BATTERY_MAX),
    };
    let factor = &raw.runtime_safety_factor.at;
    if !(1.0..=10.0).contains(&policy.runtime_safety_factor) {
        let problem = format!("must be 1 to 10, found {}", policy.runtime_safety_factor);
        found.mistake_with(factor, problem, "below 1 the battery ends before the shutdown does; the default is 1.25");
    } else if policy.runtime_safety_factor == LEGACY_SAFETY_FACTOR {
        found.warning(factor, "1.1 is the default of old versions", "write 1.25, or remove the key");
    }
    if policy.max_age < policy.poll + policy.timeout {
        let problem = format!(
            "max_age_seconds ({}) is less than poll_seconds + timeout_seconds ({} + {})",
            show(policy.max_age),
            show(policy.poll),
            show(policy.timeout)
        );
        let at = written(&raw.max_age_seconds, &raw.poll_seconds);
        found.mistake_with(at, problem, "one slow answer would make every reading stale");
    }
    policy
}

/// The longest silence is never below the least.
fn lost_on_battery_max(raw: &RawUpsPolicy, found: &mut Findings) -> Duration {
    let least = seconds(&raw.lost_on_battery_seconds, defaults::LOST_ON_BATTERY);
    let field = &raw.lost_on_battery_max_seconds;
    let longest = seconds(field, defaults::LOST_ON_BATTERY_MAX.max(least));
    if longest < least {
        let (longest, least) = (show(longest), show(least));
        let problem = format!("{longest} is less than lost_on_battery_seconds ({least})");
        found.mistake_with(&field.at, problem, "it is the longest time, the other one is the shortest");
    }
    longest
}

/// Compares the policy with the rest.
pub(super) fn across(raw: &RawConfig, config: &Config, found: &mut Findings) {
    let policy = &config.ups_policy;
    let gate = &raw.startup.recharge_charge_percent_min;
    if config.startup.recharge_charge_percent_min <= policy.charge_percent_min {
        let problem = format!(
            "startup.recharge_charge_percent_min ({}) is not above ups_policy.charge_percent_min ({})",
            config.startup.recharge_charge_percent_min, policy.charge_percent_min
        );
        let at = written(gate, &raw.ups_policy.charge_percent_min);
        found.mistake_with(at, problem, "a start at that charge would be the next trigger");
    }
    too_long(raw, config, found);
    too_short(raw, config, found);
    let debounce = policy.debounce.max(policy.poll * policy.debounce_polls);
    let budget = config.shutdown.emergency_budget + config.own_host.power_off_time;
    let margin = budget.mul_f64((policy.runtime_safety_factor - 1.0).clamp(0.0, 10.0));
    if debounce > margin && debounce > Duration::from_secs(1) {
        let problem = format!(
            "the debounce ({} s) eats more than the margin that the safety factor leaves ({} s)",
            show(debounce),
            show(margin)
        );
        let at = written(&raw.ups_policy.debounce_seconds, &raw.ups_policy.runtime_safety_factor);
        found.warning(at, problem, "raise runtime_safety_factor or shorten the debounce");
    }
}

/// Names limits that let one moment decide.
fn too_short(raw: &RawConfig, config: &Config, found: &mut Findings) {
    let (policy, raw) = (&config.ups_policy, &raw.ups_policy);
    if policy.lost_on_battery < policy.max_age {
        let problem =
            format!("{} s is less than max_age_seconds ({})", show(policy.lost_on_battery), show(policy.max_age));
        found.warning(&raw.lost_on_battery_seconds.at, problem, "one answer that is late on battery shuts down");
    }
    if policy.mains_stable < policy.poll * 2 {
        let problem = format!("{} s is less than two polls", show(policy.mains_stable));
        found.warning(&raw.mains_stable_seconds.at, problem, "a moment of OL in an outage would end it");
    }
    if policy.charge_percent_min <= 0.0 {
        let problem = "0 % is never reached in time".to_owned();
        found.warning(&raw.charge_percent_min.at, problem, "a UPS without a runtime would not be acted on");
    }
}

/// Names limits that outlast a battery: what waits for them never comes.
fn too_long(raw: &RawConfig, config: &Config, found: &mut Findings) {
    const HOUR: Duration = Duration::from_secs(3600);
    let (policy, raw_policy) = (&config.ups_policy, &raw.ups_policy);
    let limits = [
        (&raw_policy.debounce_seconds.at, policy.debounce),
        (&raw_policy.ob_lb_seconds.at, policy.ob_lb),
        (&raw_policy.lost_on_battery_seconds.at, policy.lost_on_battery),
        (&raw_policy.lost_on_battery_max_seconds.at, policy.lost_on_battery_max),
        (&raw_policy.charge_frozen_seconds.at, policy.charge_frozen),
        (&raw_policy.on_battery_max_seconds.at, policy.on_battery_max),
    ];
    for (at, limit) in limits.into_iter().filter(|(_, limit)| *limit > HOUR) {
        found.warning(at, format!("{} s is more than an hour", show(limit)), "few batteries last so long");
    }
    let stable = config.startup.mains_stable;
    if stable > HOUR {
        let problem = format!("{} s is more than an hour", show(stable));
        found.warning(
            &raw.startup.mains_stable_seconds.at,
            problem,
            "what is off stays off for so long after an outage",
        );
    }
    let (tail, budget) = (config.shutdown.off_tail, config.shutdown.emergency_budget);
    if tail > budget {
        let problem =
            format!("{} s is more than emergency_budget_seconds ({}), inside which it lies", show(tail), show(budget));
        let at = written(&raw.shutdown.off_tail_seconds, &raw.shutdown.emergency_budget_seconds);
        found.warning(at, problem, "raise the budget: hosts would be cut while they still write");
    }
    let (own, budget) = (config.own_host.power_off_time, config.shutdown.estimated_budget);
    if config.own_host.power_off && own > budget {
        let problem = format!("{} s is more than the whole shutdown may take ({})", show(own), show(budget));
        found.warning(
            &raw.own_host.power_off_seconds.at,
            problem,
            "measure it: every outage triggers that much earlier",
        );
    }
}

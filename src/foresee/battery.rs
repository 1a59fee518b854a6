//! Whether a battery is enough: what the recharge gate and the trigger ask for, against what a full one gives.
//!
//! Pure. Said in calm times, when something can still be done about it.

use std::time::Duration;

use serde::Serialize;

use crate::budget::estimate;
use crate::config::{Config, RechargeTimeout, UpsPath};
use crate::desired::ups_policy::trigger_at;
use crate::history::History;
use crate::ledger::Ledger;
use crate::model::seconds;
use crate::snapshot::Snapshot;
use crate::status::BudgetView;
use crate::status::diff::spoken;

/// What is asked of a full battery with everything running.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Demands {
    /// One bring-up.
    #[serde(with = "seconds")]
    pub bring_up: Duration,
    /// One full shutdown.
    #[serde(with = "seconds")]
    pub full_shutdown: Duration,
    /// What the recharge gate asks for: both together.
    #[serde(with = "seconds")]
    pub gate: Duration,
    /// The time left at which the UPS policy shuts down.
    #[serde(with = "seconds")]
    pub trigger: Duration,
    #[serde(skip)]
    factor: f64,
    #[serde(skip)]
    path: UpsPath,
    #[serde(skip)]
    max_wait: Duration,
    #[serde(skip)]
    timeout: RechargeTimeout,
}

/// What a battery is too small for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Demand {
    /// To open the recharge gate.
    Gate,
    /// To be above the trigger when it is full.
    Trigger,
}

/// A battery that is too small for something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shortfall {
    /// For what.
    pub demand: Demand,
    /// What a full battery gives.
    #[serde(with = "seconds")]
    pub has: Duration,
    /// What is asked for.
    #[serde(with = "seconds")]
    pub needs: Duration,
    /// Both, in words.
    pub said: String,
    /// What follows from it.
    pub means: String,
    /// What to do.
    pub hint: String,
}

impl Demands {
    /// By the configuration and what past runs taught.
    pub fn of(config: &Config, history: &History) -> Self {
        let budget = estimate(config, history, &Snapshot::default(), &Ledger::default());
        Self::new(config, budget.full.time, trigger_at(config, &budget))
    }

    /// By the budgets that a daemon has published.
    pub fn published(config: &Config, budget: &BudgetView) -> Self {
        Self::new(config, budget.full, budget.trigger_at)
    }

    fn new(config: &Config, full_shutdown: Duration, trigger: Duration) -> Self {
        let bring_up = config.startup.bring_up_time;
        Self {
            bring_up,
            full_shutdown,
            gate: bring_up + full_shutdown,
            trigger,
            factor: config.ups_policy.runtime_safety_factor,
            path: config.shutdown.ups_path,
            max_wait: config.startup.recharge_max_wait,
            timeout: config.startup.recharge_timeout,
        }
    }

    /// What a battery that gives so much when it is full is too small for.
    pub fn shortfalls(&self, has: Duration) -> Vec<Shortfall> {
        let gate = (has < self.gate).then(|| self.gate_shortfall(has));
        let trigger = (has <= self.trigger).then(|| self.trigger_shortfall(has));
        trigger.into_iter().chain(gate).collect()
    }

    fn gate_shortfall(&self, has: Duration) -> Shortfall {
        let [has_said, needs, bring_up, full, wait] =
            [has, self.gate, self.bring_up, self.full_shutdown, self.max_wait].map(spoken);
        let means = match self.timeout {
            RechargeTimeout::Start => format!(
                "after an outage a start waits for the battery, at most {wait}; then it goes on unprotected: another \
                 outage in the middle of it may end it hard"
            ),
            RechargeTimeout::Hold => {
                format!("after an outage a start may wait {wait} and is then held until somebody allows it")
            }
        };
        let hint = match self.timeout {
            RechargeTimeout::Start => "",
            RechargeTimeout::Hold => ", or startup.recharge_timeout: start",
        };
        Shortfall {
            demand: Demand::Gate,
            has,
            needs: self.gate,
            said: format!(
                "a full battery gives {has_said}, the recharge gate asks for {needs} ({bring_up} to bring up, {full} for one \
                 more shutdown)"
            ),
            means,
            hint: format!(
                "lower startup.bring_up_seconds, measure a shutdown and lower shutdown.estimated_shutdown_budget_seconds, \
                 take a larger battery{hint}"
            ),
        }
    }

    fn trigger_shortfall(&self, has: Duration) -> Shortfall {
        let budget = self.trigger.div_f64(self.factor.max(1.0));
        let [has_said, needs, budget] = [has, self.trigger, budget].map(spoken);
        let key = match self.path {
            UpsPath::Auto => "estimated_shutdown_budget_seconds",
            UpsPath::Emergency => "emergency_budget_seconds",
        };
        Shortfall {
            demand: Demand::Trigger,
            has,
            needs: self.trigger,
            said: format!(
                "a full battery gives {has_said}, the trigger is at {needs} ({} x {budget} for a shutdown)",
                self.factor
            ),
            means: "every outage shuts down at once, however short, and the battery may end before all is dark"
                .to_owned(),
            hint: format!("measure a shutdown and lower shutdown.{key}, or take a larger battery"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::blueprint;

    fn demands(more: &str) -> Demands {
        let text = format!("{}{more}", blueprint::text(3, 2));
        Demands::of(&Config::parse(&text).expect("it is a cluster").config, &History::default())
    }

    fn minutes(count: u64) -> Duration {
        Duration::from_secs(60 * count)
    }

    #[test]
    fn a_battery_of_twenty_minutes_is_enough_for_the_defaults() {
        let demands = demands("");
        assert_eq!((demands.gate.as_secs(), demands.trigger.as_secs()), (960, 450));
        assert_eq!(demands.shortfalls(minutes(20)), []);
    }

    #[test]
    fn a_battery_below_the_gate_is_told_with_both_figures_and_what_follows() {
        let all = demands("").shortfalls(minutes(14));
        assert_eq!(all.iter().map(|one| one.demand).collect::<Vec<_>>(), [Demand::Gate]);
        assert!(all[0].said.contains("gives 14 min") && all[0].said.contains("asks for 16 min"), "{}", all[0].said);
        assert!(all[0].means.contains("at most 4 h") && all[0].means.contains("unprotected"), "{}", all[0].means);
        let held = demands("startup: {recharge_timeout: hold}\n").shortfalls(minutes(14));
        assert!(held[0].means.contains("is then held") && held[0].hint.contains("recharge_timeout: start"), "{held:?}");
    }

    #[test]
    fn a_battery_at_the_trigger_is_told_first() {
        let all = demands("").shortfalls(Duration::from_secs(450));
        assert_eq!(all.iter().map(|one| one.demand).collect::<Vec<_>>(), [Demand::Trigger, Demand::Gate]);
        assert!(all[0].said.contains("at 7 min 30 s (1.25 x 6 min"), "{}", all[0].said);
        assert!(all[0].hint.contains("shutdown.emergency_budget_seconds"), "{}", all[0].hint);
        let auto = demands("shutdown: {ups_path: auto}\n").shortfalls(minutes(13));
        assert!(auto[0].hint.contains("estimated_shutdown_budget_seconds"), "{}", auto[0].hint);
    }
}

//! What must hold on every tick.
//!
//! Pure. Checks know the world, not hecate's rules: they see what a step would destroy. [`check`] is for a world in which
//! nothing goes wrong but the power; [`Watch`] knows what else may, and excuses only what nobody could have helped.

#![deny(clippy::disallowed_methods)]

mod evidence;
mod oracle;
pub(super) mod person;
mod watch;

use serde::Serialize;

pub(super) use self::watch::{CONVERGES, RESTART, RUNS_AGAIN};
pub use self::watch::{RULES, Watch};
use super::Simulation;
use super::world::Host;
use crate::model::{ClusterState, Path};
use crate::plan::step::Step;

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Which rule.
    pub rule: &'static str,
    /// What broke it.
    pub evidence: String,
}

/// Checks the last pass and the world after it.
pub fn check(simulation: &Simulation) -> Vec<Finding> {
    let mut findings = Vec::new();
    let world = &simulation.world;
    let mut broken = |rule, evidence: String| findings.push(Finding { rule, evidence });
    for (name, host) in &world.hosts {
        if host.hard_cuts > 0 {
            broken("dark before the battery ends", format!("{name} lost power while it ran"));
        }
    }
    let Some(decision) = simulation.last.as_ref().filter(|_| world.own_is_on) else { return findings };
    let is_mains = world.upses.values().all(|battery| battery.mains);
    let is_wished = simulation.desk.declared.spec.state != ClusterState::Running;
    for planned in &decision.plan.start {
        let step = &planned.step;
        // What cuts a load is checked by whom it hurts, below; the hecate host goes off before its own is cut.
        let is_of_a_cut = match step {
            Step::CutLoad { .. } => true,
            Step::PowerOffOwnHost { .. } => world.is_own_load_ending(),
            Step::StartUnit { .. }
            | Step::StopUnit { .. }
            | Step::KillContainers { .. }
            | Step::Cordon { .. }
            | Step::Uncordon { .. }
            | Step::Drain { .. }
            | Step::SaveEtcdSnapshot { .. }
            | Step::PowerOff { .. }
            | Step::Wake { .. } => false,
        };
        let is_unwished = !is_wished && !decision.effective.is_override() && !is_of_a_cut;
        if step.is_disruptive() && is_mains && is_unwished {
            broken("nothing is shut down on healthy mains without a wish", step.to_string());
        }
        match step {
            Step::PowerOff { node, path: Path::Graceful, .. } if world.has_workload(node) => {
                broken("no power-off of an undrained node on the graceful path", step.to_string());
            }
            Step::StartUnit { .. }
                if !world.upses.is_empty() && world.upses.values().all(|it| !it.mains && it.answers) =>
            {
                broken("nothing starts on battery", step.to_string());
            }
            Step::StopUnit { node, .. }
                if decision.effective.state() == ClusterState::Running
                    && !decision.effective.nodes().contains(node) =>
            {
                broken("quorum is kept while running is obeyed", step.to_string());
            }
            Step::StartUnit { .. }
            | Step::StopUnit { .. }
            | Step::KillContainers { .. }
            | Step::Cordon { .. }
            | Step::Uncordon { .. }
            | Step::Drain { .. }
            | Step::SaveEtcdSnapshot { .. }
            | Step::PowerOff { .. }
            | Step::PowerOffOwnHost { .. }
            | Step::Wake { .. } => {}
            Step::CutLoad { ups, .. } => {
                let is_fed = |host: &&Host| host.feeds.contains(ups) && host.is_on;
                if world.hosts.values().any(|host| is_fed(&host)) {
                    broken("no load is cut while a host that it feeds is on", step.to_string());
                }
            }
        }
    }
    findings
}

//! `hecate simulate power-cut`: a whole outage, from mains lost to converged again.
//!
//! Pure. It plays; whoever calls it prints.

#![deny(clippy::disallowed_methods)]

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::Simulation;
use super::checks::{Finding, check};
use super::story::{StoryKind, StoryLine};
use super::world::World;
use crate::config::Config;
use crate::model::{UpsName, seconds, seconds_option};

/// What is played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outage {
    /// How long mains are gone.
    pub lasts: Duration,
    /// What full batteries give at full load.
    pub runtime: Duration,
    /// Pods a node.
    pub pods: usize,
}

impl Default for Outage {
    fn default() -> Self {
        Self { lasts: Duration::from_secs(40 * 60), runtime: Duration::from_secs(20 * 60), pods: 6 }
    }
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The timeline.
    pub timeline: Vec<StoryLine>,
    /// From mains lost to the last node off; None when the batteries outlasted the outage.
    #[serde(with = "seconds_option")]
    pub dark_after: Option<Duration>,
    /// From mains back to converged; None when it did not converge within the limit.
    #[serde(with = "seconds_option")]
    pub running_after: Option<Duration>,
    /// What the batteries still held when the last node was off, at full load.
    #[serde(with = "seconds_option")]
    pub battery_left: Option<Duration>,
    /// How long the outage lasted.
    #[serde(with = "seconds")]
    pub outage: Duration,
    /// Rules that were broken; empty when all went well.
    pub findings: Vec<Finding>,
}

/// The longest bring-up that is waited for: recharging an empty battery and then some.
const BRING_UP_LIMIT: Duration = Duration::from_secs(8 * 3600);

/// Plays one outage of every UPS.
pub fn power_cut(config: &Config, outage: &Outage, started_at: Timestamp) -> Report {
    let world = World::running(config, outage.runtime, outage.pods);
    let mut simulation = Simulation::new(config.clone(), world, started_at);
    let mut findings = Vec::new();
    let mut play = |simulation: &mut Simulation, limit: Duration, is_reached: &dyn Fn(&Simulation) -> bool| {
        let end = simulation.world.time + limit;
        while simulation.world.time < end {
            simulation.tick();
            for finding in check(simulation) {
                if !findings.contains(&finding) {
                    findings.push(finding);
                }
            }
            if is_reached(simulation) {
                return true;
            }
        }
        false
    };
    play(&mut simulation, Duration::from_secs(600), &Simulation::is_converged);
    let upses: Vec<UpsName> = config.upses.keys().cloned().collect();
    let lost_at = simulation.world.time;
    for ups in &upses {
        if let Some(battery) = simulation.world.upses.get_mut(ups) {
            battery.mains = false;
        }
    }
    simulation.story.tell(lost_at, StoryKind::World, "mains are lost".to_owned());
    let is_dark = play(&mut simulation, outage.lasts, &|it| it.world.is_dark());
    let dark_after = is_dark.then(|| simulation.world.time - lost_at);
    let held = simulation.world.upses.values().map(|battery| battery.holds).fold(f64::INFINITY, f64::min);
    let battery_left = (is_dark && held.is_finite()).then(|| Duration::from_secs_f64(held.round()));
    let rest = (lost_at + outage.lasts).saturating_sub(simulation.world.time);
    play(&mut simulation, rest, &|_| false);
    let back_at = simulation.world.time;
    simulation.story.tell(back_at, StoryKind::World, "mains are back".to_owned());
    for ups in &upses {
        simulation.world.mains_back(ups);
    }
    let is_up = play(&mut simulation, BRING_UP_LIMIT, &|it| {
        it.world.time > back_at + Duration::from_secs(60) && it.is_converged() && it.world.has_quorum()
    });
    Report {
        timeline: simulation.story.lines,
        dark_after,
        running_after: is_up.then(|| simulation.world.time - back_at),
        battery_left,
        outage: outage.lasts,
        findings,
    }
}

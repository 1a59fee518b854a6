//! `hecate simulate power-cut`: a whole outage, from mains lost to converged again.
//!
//! Pure. It plays; whoever calls it prints.

#![deny(clippy::disallowed_methods)]

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::checks::{Finding, check};
use super::rehearsal::again::{RETURN_MAX, is_unprotected_now, restore_mains};
use super::story::{StoryKind, StoryLine};
use super::world::World;
use super::{Simulation, TICK, blueprint};
use crate::config::{Config, ConfigMistakes, CutLoad};
use crate::foresee::battery::{Demands, Shortfall};
use crate::history::History;
use crate::model::{seconds, seconds_option};

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
    /// What is in the way, where it does not run again.
    pub in_the_way: Option<String>,
    /// Whether it was started although a battery did not hold what the recharge gate asks for.
    pub is_unprotected: bool,
    /// What the batteries still held when the last node was off, at full load.
    #[serde(with = "seconds_option")]
    pub battery_left: Option<Duration>,
    /// How long the outage lasted.
    #[serde(with = "seconds")]
    pub outage: Duration,
    /// What batteries of this runtime are too small for.
    pub shortfalls: Vec<Shortfall>,
    /// Rules that were broken; empty when all went well.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether it was dark in time, ran again, and no rule was broken.
    pub fn is_good(&self) -> bool {
        self.findings.is_empty() && self.running_after.is_some()
    }
}

/// From the command to the end of its output, for the UPS of the built-in cluster: what small ones are set to.
const CUT_DELAY: Duration = Duration::from_secs(180);

/// The built-in cluster. Its UPS is told to cut its load, or no host would come back where mains return early.
///
/// # Errors
/// None that could be met: the blueprint is a cluster.
pub fn cluster() -> Result<Config, ConfigMistakes> {
    let mut config = blueprint::config(3, 2)?;
    for ups in config.upses.values_mut() {
        ups.cut_load = Some(CutLoad { command: "shutdown.return".to_owned(), delay: CUT_DELAY });
    }
    Ok(config)
}

/// The longest bring-up that is waited for.
pub const BRING_UP_MAX: Duration = RETURN_MAX;

/// Plays one outage of every UPS.
pub fn power_cut(config: &Config, outage: &Outage, started_at: Timestamp) -> Report {
    let world = World::running(config, outage.runtime, outage.pods);
    let mut play = Play { simulation: Simulation::new(config.clone(), world, started_at), findings: Vec::new() };
    play.until(Duration::from_secs(600), Simulation::is_converged);
    let lost_at = play.simulation.world.time;
    play.simulation.world.on_ups(None, |battery| battery.mains = false);
    play.simulation.story.tell(lost_at, StoryKind::World, "mains are lost".to_owned());
    let is_dark = play.until(outage.lasts, is_dark);
    let dark_after = is_dark.then(|| play.simulation.world.time - lost_at);
    let held = play.simulation.world.upses.values().map(|battery| battery.holds).fold(f64::INFINITY, f64::min);
    let battery_left = (is_dark && held.is_finite()).then(|| Duration::from_secs_f64(held.round()));
    let rest = (lost_at + outage.lasts).saturating_sub(play.simulation.world.time);
    play.until(rest, |_| false);
    let back_at = play.simulation.world.time;
    play.simulation.story.tell(back_at, StoryKind::World, "mains are back".to_owned());
    restore_mains(&mut play.simulation.world, &config.own_host);
    let mut is_unprotected = false;
    let is_up = play.until_by(BRING_UP_MAX, Simulation::next_tick, |it| {
        is_unprotected |= is_unprotected_now(it);
        it.world.time > back_at + Duration::from_secs(60) && runs(it)
    });
    let in_the_way = (!is_up).then(|| in_the_way(&play.simulation));
    Report {
        dark_after,
        running_after: is_up.then(|| play.simulation.world.time - back_at),
        in_the_way,
        is_unprotected,
        battery_left,
        outage: outage.lasts,
        shortfalls: Demands::of(config, &History::default()).shortfalls(outage.runtime),
        timeline: play.simulation.story.lines,
        findings: play.findings,
    }
}

/// A play, with every rule that it breaks.
struct Play {
    simulation: Simulation,
    findings: Vec<Finding>,
}

impl Play {
    fn until(&mut self, limit: Duration, is_reached: impl FnMut(&Simulation) -> bool) -> bool {
        self.until_by(limit, |_| TICK, is_reached)
    }

    /// A hecate host that is a node too has gone off by itself: what the world still shows of the node says nothing.
    fn is_of_own_host(&self, finding: &Finding) -> bool {
        let own = self.simulation.config.own_host.node.as_ref();
        let is_own = own.is_some_and(|own| finding.evidence.starts_with(&format!("{own} lost power")));
        is_own && !self.simulation.world.own_is_on && !self.simulation.world.own_was_cut()
    }

    fn until_by(
        &mut self,
        limit: Duration,
        next: impl Fn(&Simulation) -> Duration,
        mut is_reached: impl FnMut(&Simulation) -> bool,
    ) -> bool {
        let end = self.simulation.world.time + limit;
        while self.simulation.world.time < end {
            self.simulation.tick_for(next(&self.simulation));
            for finding in check(&self.simulation) {
                if !self.findings.contains(&finding) && !self.is_of_own_host(&finding) {
                    self.findings.push(finding);
                }
            }
            if is_reached(&self.simulation) {
                return true;
            }
        }
        false
    }
}

/// Whether every host but hecate's own is dark.
fn is_dark(simulation: &Simulation) -> bool {
    let own = simulation.config.own_host.node.as_ref();
    simulation.world.hosts.iter().all(|(name, host)| !host.is_on || Some(name) == own)
}

/// Whether everything that hecate may command is up.
fn runs(simulation: &Simulation) -> bool {
    let world = &simulation.world;
    let is_on = |name| simulation.config.is_ignored(name) || world.hosts.get(name).is_some_and(|host| host.is_on);
    world.own_is_on
        && simulation.is_converged()
        && world.has_quorum()
        && simulation.config.managed().all(|(name, _)| is_on(name))
}

fn in_the_way(simulation: &Simulation) -> String {
    if !simulation.world.own_is_on {
        return "the hecate host is off: mains came back before the output of its UPS was cut".to_owned();
    }
    let off: Vec<&str> =
        simulation.world.hosts.iter().filter(|(_, host)| !host.is_on).map(|(name, _)| name.as_str()).collect();
    let plan = simulation.last.as_ref().map(|last| &last.plan);
    let blocker = plan.and_then(|plan| plan.blockers.first()).map(ToString::to_string);
    let wait = plan.and_then(|plan| plan.waits.first()).map(|wait| format!("waiting for {}", wait.reason));
    blocker.or(wait).unwrap_or_else(|| format!("off: {}", off.join(", ")))
}

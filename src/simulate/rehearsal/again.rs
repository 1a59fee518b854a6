//! What becomes of the cluster once mains are back: does it run again, by itself or by somebody's hand?
//!
//! Pure. Hosts boot on AC only where their power really ended: behind a UPS that never dropped its output mains that
//! return are none.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use super::{NAMES_MAX, Outage, own_host};
use crate::config::OwnHost;
use crate::model::{NodeName, UpsName, seconds_option};
use crate::simulate::story::StoryKind;
use crate::simulate::world::World;
use crate::simulate::{QUIET_TICK, Simulation, TICK};
use crate::snapshot::UnitState;

/// So long is played after mains are back: what does not run by then does not run for the night.
pub(in crate::simulate) const RETURN_MAX: Duration = Duration::from_secs(24 * 3600);
/// Nothing moves, nothing is waited for, and every battery is full for so long: more time brings nothing.
const STEADY: Duration = Duration::from_secs(3600);
/// The longest that dark batteries are waited for; what holds longer has no load.
const AWAY_MAX: Duration = Duration::from_secs(48 * 3600);

/// What became of the cluster after the mains were back.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Again {
    /// How it ended.
    pub ending: AgainEnding,
    /// When mains were back for good, from their loss.
    #[serde(with = "seconds_option")]
    pub back_after: Option<Duration>,
    /// When everything ran again, from then on.
    #[serde(with = "seconds_option")]
    pub running_after: Option<Duration>,
    /// Whether it was started although a battery did not hold what the recharge gate asks for.
    pub is_unprotected: bool,
    /// Why not by itself, or not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Whether a cluster ran again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgainEnding {
    /// That was not played: something was done before that must never be.
    #[default]
    NotPlayed,
    /// It runs, and nobody had to come.
    ByItself,
    /// It runs once somebody has switched hosts on that nothing else could.
    ByHand,
    /// It does not run a day later.
    StaysDark,
}

impl Outage {
    /// Plays on until mains are back for good, if they are not yet, then until everything runs.
    pub(super) fn play_again(&mut self) -> Again {
        self.wait_for_mains();
        let back_at = self.simulation.world.time;
        let back_after = Some(self.elapsed());
        self.simulation.story.tell(back_at, StoryKind::World, "mains are back for good".to_owned());
        restore_mains(&mut self.simulation.world, &self.simulation.config.own_host);
        let mut again = Again { back_after, ..Again::default() };
        if self.wait_until_running(&mut again.is_unprotected) {
            let running_after = Some(self.simulation.world.time - back_at);
            return Again { ending: AgainEnding::ByItself, running_after, ..again };
        }
        let (off, why) = (self.who_is_off(), self.in_the_way());
        if off.is_empty() || self.is_rule_broken() {
            return Again { ending: AgainEnding::StaysDark, why: Some(why), ..again };
        }
        self.press_all_buttons();
        if self.wait_until_running(&mut again.is_unprotected) {
            let why = Some(format!("{} off, and nothing could switch {} on", listed(&off), them(&off)));
            return Again { ending: AgainEnding::ByHand, why, ..again };
        }
        let why = Some(format!("switched on by hand; {}", self.in_the_way()));
        Again { ending: AgainEnding::StaysDark, why, ..again }
    }

    /// Until the drawn moment, or, where none was drawn, until the output of every UPS has ended and a while longer.
    fn wait_for_mains(&mut self) {
        let limit = self.elapsed() + AWAY_MAX;
        let mut ended_at = None;
        while self.elapsed() < limit {
            let is_due = match (self.chance.back_after, ended_at) {
                (Some(back_after), _) => self.elapsed() >= back_after,
                (None, Some(ended_at)) => self.elapsed() >= ended_at + self.chance.away,
                (None, None) => false,
            };
            if is_due || self.is_rule_broken() {
                return;
            }
            self.tick();
            if ended_at.is_none() && self.simulation.world.upses.values().all(|battery| battery.holds <= 0.0) {
                ended_at = Some(self.elapsed());
            }
        }
    }

    /// Says whether everything ran within the limit. Gives up before where nothing will change any more.
    fn wait_until_running(&mut self, is_unprotected: &mut bool) -> bool {
        let began = self.simulation.world.time;
        let mut moved = began;
        while self.simulation.world.time < began + RETURN_MAX && !self.is_rule_broken() {
            self.tick();
            let now = self.simulation.world.time;
            if is_unprotected_now(&self.simulation) {
                *is_unprotected = true;
            }
            if now >= began + Duration::from_secs(60) && self.runs() {
                return true;
            }
            if !is_steady(&self.simulation) {
                moved = now;
            } else if now >= moved + STEADY {
                return false;
            }
        }
        false
    }

    /// Everything that can run does: what died in this outage cannot, and may block by name for ever.
    fn runs(&self) -> bool {
        let world = &self.simulation.world;
        let runs = |(name, _): (&NodeName, &crate::config::Node)| {
            let is_dead = self.chance.dead.contains(name) || self.simulation.config.is_ignored(name);
            is_dead || world.hosts.get(name).is_some_and(|host| host.is_on && host.unit == UnitState::Running)
        };
        let is_settled = self.simulation.is_converged() || !self.chance.dead.is_empty();
        world.own_is_on && is_settled && world.has_quorum() && self.simulation.config.managed().all(runs)
    }

    fn who_is_off(&self) -> Vec<String> {
        let world = &self.simulation.world;
        let is_off = |name: &NodeName| world.hosts.get(name).is_some_and(|host| !host.is_on);
        let nodes = self.simulation.config.managed().map(|(name, _)| name);
        let nodes = nodes.filter(|name| is_off(name) && !self.chance.dead.contains(*name)).map(ToString::to_string);
        let own = (!world.own_is_on).then(own_host);
        // The hecate host first: without it nobody wakes the others.
        own.into_iter().chain(nodes).collect()
    }

    fn press_all_buttons(&mut self) {
        let now = self.simulation.world.time;
        self.simulation.story.tell(now, StoryKind::World, "somebody switches everything on that is off".to_owned());
        self.simulation.world.press_own_button();
        let names: BTreeSet<NodeName> = self.simulation.world.hosts.keys().cloned().collect();
        names.difference(&self.chance.dead).for_each(|name| self.simulation.world.press_button(name));
    }

    /// What hecate itself says is in the way.
    fn in_the_way(&self) -> String {
        let off = self.who_is_off();
        let last = self.simulation.last.as_ref().filter(|_| self.simulation.world.own_is_on);
        let blocker = last.and_then(|last| last.plan.blockers.first()).map(ToString::to_string);
        let wait = last.and_then(|last| last.plan.waits.first()).map(|wait| format!("waiting for {}", wait.reason));
        blocker.or(wait).unwrap_or_else(|| format!("{} off", listed(&off)))
    }

    /// The length of the next tick, apart from what the outage itself brings.
    pub(super) fn next_tick(&self) -> Duration {
        let world = &self.simulation.world;
        if world.own_is_on {
            return self.simulation.next_tick();
        }
        // Nobody looks: only what changes by itself must not be missed.
        let left = world.next_change().map(|at| at.saturating_sub(world.time));
        left.map_or(QUIET_TICK, |left| left.clamp(TICK, QUIET_TICK))
    }
}

/// Gives mains back everywhere. Who lost its power boots; who was powered off behind a UPS that held on to its output does
/// not. Behind one that cut its load the world itself sees to it.
pub(in crate::simulate) fn restore_mains(world: &mut World, own: &OwnHost) {
    let held: BTreeSet<UpsName> =
        world.upses.iter().filter(|(_, it)| it.mains || it.holds > 0.0).map(|(name, _)| name.clone()).collect();
    world.on_ups(None, |battery| battery.mains = true);
    let ended = |feeds: &BTreeSet<UpsName>, min_supplies: usize| {
        !feeds.is_empty() && feeds.intersection(&held).count() < min_supplies
    };
    let boots = |(name, host): (&NodeName, &crate::simulate::world::Host)| {
        (!host.is_on && ended(&host.feeds, host.min_supplies)).then(|| name.clone())
    };
    let boots: Vec<NodeName> = world.hosts.iter().filter_map(boots).collect();
    boots.iter().for_each(|name| world.press_button(name));
    if ended(&own.feeds, own.min_supplies) {
        world.press_own_button();
    }
}

/// Whether hecate says that it started below the recharge gate.
pub(in crate::simulate) fn is_unprotected_now(simulation: &Simulation) -> bool {
    let last = simulation.last.as_ref().filter(|_| simulation.world.own_is_on);
    last.is_some_and(|last| last.plan.warnings.iter().any(|warning| warning.name() == "unprotected"))
}

/// Nothing moves in the world, and hecate waits for nothing: it blocks, is content, or is off.
fn is_steady(simulation: &Simulation) -> bool {
    let world = &simulation.world;
    let is_full = world.upses.values().all(|battery| battery.mains && battery.holds >= battery.capacity);
    let plan = simulation.last.as_ref().map(|last| &last.plan);
    let is_idle = plan.is_none_or(|plan| plan.start.is_empty() && plan.running.is_empty() && plan.waits.is_empty());
    world.next_change().is_none() && if world.own_is_on { is_full && is_idle } else { true }
}

/// `cp-1 and worker-2 are`, with the rest counted.
fn listed(names: &[String]) -> String {
    match names {
        [] => "nothing is".to_owned(),
        [one] => format!("{one} is"),
        [first, second] => format!("{first} and {second} are"),
        _ if names.len() <= NAMES_MAX => format!("{} are", names.join(", ")),
        _ => format!("{} and {} more are", names[..NAMES_MAX].join(", "), names.len() - NAMES_MAX),
    }
}

fn them(names: &[String]) -> &'static str {
    if names.len() == 1 { "it" } else { "them" }
}

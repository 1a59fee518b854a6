//! Many outages of one's own cluster: would it be dark in time, and would it run again?
//!
//! Pure. An outage is a function of configuration, past runs, options and a seed; it is played through the same
//! decisions as the daemon's, under watch. Mains are lost everywhere at once. What nobody could help, a host that is on
//! and answers nobody, is not drawn.

#![deny(clippy::disallowed_methods)]

pub(in crate::simulate) mod again;
mod chance;
mod pace;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

pub use self::again::{Again, AgainEnding};
use self::chance::Chance;
use self::pace::Paces;
pub use self::report::{Failure, Learned, Quantiles, Question, Report};
use super::Simulation;
use super::checks::Watch;
use super::story::{StoryKind, StoryLine};
use super::world::{Host, World};
use crate::budget::HOST_OFF;
use crate::config::Config;
use crate::foresee::battery::Demands;
use crate::history::{History, RunStep};
use crate::model::{NodeName, seconds, seconds_option};
use crate::plan::step::{Outcome, Step};
use crate::snapshot::UnitState;

/// The virtual clock of every outage starts here, so that each prints the same.
const STARTED_AT: Timestamp = Timestamp::constant(1_767_225_600 + 86_400, 0);
/// The longest that the cluster may take to be looked at and found converged, before anything happens.
const SETTLING_MAX: Duration = Duration::from_secs(600);
/// The longest outage that is played: what is not dark by then has no battery that could end.
const OUTAGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// So many names say enough.
const NAMES_MAX: usize = 3;

/// A cluster that outages can be played on.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    settled: Simulation,
    paces: Paces,
    runtime: Duration,
}

/// How one outage went.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Played {
    /// Its seed.
    pub seed: u64,
    /// How it ended.
    pub ending: Ending,
    /// When, from the loss of mains.
    #[serde(with = "seconds")]
    pub ended_after: Duration,
    /// When the UPS policy began to take the cluster down, from the loss of mains; the last time where it did so twice.
    #[serde(with = "seconds_option")]
    pub triggered_after: Option<Duration>,
    /// What the emptiest battery held when mains were lost, in seconds at full load.
    #[serde(with = "seconds")]
    pub battery: Duration,
    /// When every node was dark, from the loss of mains. The hecate host stays as long as its own battery allows.
    #[serde(with = "seconds_option")]
    pub nodes_dark_after: Option<Duration>,
    /// What the emptiest one still held then.
    #[serde(with = "seconds_option")]
    pub battery_left: Option<Duration>,
    /// Why it went wrong, where it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What became of the cluster once mains were back.
    pub again: Again,
    /// The steps that were carried out.
    #[serde(skip)]
    pub(super) steps: Vec<RunStep>,
}

/// How an outage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Everything that a UPS feeds was dark before any battery ended.
    DarkInTime,
    /// Mains came back before all was dark.
    MainsBack,
    /// A host lost its power while it ran.
    LostPower,
    /// Something was done that must never be.
    RuleBroken,
}

impl Rehearsal {
    /// A cluster with this configuration, its past runs, and full batteries that give so much at full load.
    pub fn new(config: &Config, history: &History, runtime: Duration) -> Self {
        let mut settled = Simulation::new(config.clone(), World::running(config, runtime, 0), STARTED_AT);
        settled.desk.history = history.clone();
        settled.run_until(SETTLING_MAX, Simulation::is_converged);
        Self { settled, paces: Paces::learned(history), runtime }
    }

    /// Plays the outage of a seed.
    pub fn play(&self, seed: u64) -> Played {
        self.told(seed).0
    }

    /// Plays the outage of a seed; gives its timeline too.
    pub fn told(&self, seed: u64) -> (Played, Vec<StoryLine>) {
        let mut simulation = self.settled.clone();
        let chance = Chance::draw(seed, &simulation.config, &self.paces, self.runtime);
        let quiet = chance.apply(&mut simulation);
        let mut outage = Outage::new(seed, chance, simulation);
        outage.wait(quiet);
        let played = outage.play();
        (played, outage.simulation.story.lines)
    }

    /// What these outages say together.
    pub fn report(&self, played: Vec<Played>) -> Report {
        let learned = Learned { runs: self.settled.desk.history.runs().len(), steps: self.paces.count() };
        Report::of(played, self.runtime, Demands::of(&self.settled.config, &self.settled.desk.history), learned)
    }

    /// Plays so many outages from this seed on.
    pub fn rehearse(&self, first: u64, outages: u64) -> Report {
        self.report((first..first.saturating_add(outages)).map(|seed| self.play(seed)).collect())
    }
}

/// An outage that goes on.
struct Outage {
    seed: u64,
    chance: Chance,
    simulation: Simulation,
    watch: Watch,
    /// Whether a broken rule ends the play.
    is_judged: bool,
    next: usize,
    lost_at: Duration,
    triggered_at: Option<Duration>,
    was_override: bool,
    /// Since when every node is dark, and what the emptiest battery held then.
    nodes_dark: Option<(Duration, Duration)>,
    /// Hosts that stay on, once their k3s is stopped: what they lose then was dark.
    stopped: BTreeSet<NodeName>,
    told_off: BTreeMap<NodeName, Duration>,
    steps: Vec<RunStep>,
}

impl Outage {
    fn new(seed: u64, chance: Chance, simulation: Simulation) -> Self {
        let watch = Watch::new(&simulation);
        Self {
            seed,
            chance,
            lost_at: simulation.world.time,
            simulation,
            watch,
            is_judged: true,
            next: 0,
            triggered_at: None,
            was_override: false,
            nodes_dark: None,
            stopped: BTreeSet::new(),
            told_off: BTreeMap::new(),
            steps: Vec::new(),
        }
    }

    /// Lets the cluster be quiet for a while, so that no outage begins in step with polls and leases.
    fn wait(&mut self, quiet: Duration) {
        let until = self.simulation.world.time + quiet;
        self.simulation.run_until(quiet, |it| it.world.time >= until);
        self.lost_at = self.simulation.world.time;
        self.watch = Watch::new(&self.simulation);
        let text = self.chance.to_string();
        self.simulation.story.tell(self.lost_at, StoryKind::World, text);
    }

    fn play(&mut self) -> Played {
        let battery = self.held();
        let mut played = self.play_to_dark(battery);
        if played.ending == Ending::RuleBroken {
            return played;
        }
        // What a loss of power leaves behind is no rule's fault any more.
        self.is_judged = played.ending != Ending::LostPower;
        played.again = self.play_again();
        if let Some(finding) = self.watch.findings().first().filter(|_| self.is_judged) {
            played.ending = Ending::RuleBroken;
            played.again = Again::default();
            played.why = Some(format!("{}: {}", finding.rule, finding.evidence));
        }
        played
    }

    fn play_to_dark(&mut self, battery: Duration) -> Played {
        loop {
            self.tick();
            let elapsed = self.elapsed();
            let lost = self.lost();
            let (ending, why) = if !lost.is_empty() {
                (Ending::LostPower, Some(self.why(&lost)))
            } else if let Some(finding) = self.watch.findings().first() {
                (Ending::RuleBroken, Some(format!("{}: {}", finding.rule, finding.evidence)))
            } else if self.is_dark() {
                (Ending::DarkInTime, None)
            } else if self.chance.back_after.is_some_and(|back_after| elapsed >= back_after) {
                (Ending::MainsBack, None)
            } else if elapsed >= OUTAGE_MAX {
                (Ending::LostPower, Some(self.why(&self.still_up())))
            } else {
                continue;
            };
            self.steps.append(&mut self.simulation.desk.memory.run_steps.clone());
            self.steps.retain(|step| step.outcome == Outcome::Tried);
            return Played {
                seed: self.seed,
                ending,
                ended_after: elapsed,
                triggered_after: self.triggered_at.map(|at| at.saturating_sub(self.lost_at)),
                battery,
                nodes_dark_after: self.nodes_dark.map(|(at, _)| at.saturating_sub(self.lost_at)),
                battery_left: self.nodes_dark.map(|(_, held)| held).filter(|_| ending == Ending::DarkInTime),
                why,
                again: Again::default(),
                steps: std::mem::take(&mut self.steps),
            };
        }
    }

    fn is_rule_broken(&self) -> bool {
        self.is_judged && !self.watch.findings().is_empty()
    }

    fn elapsed(&self) -> Duration {
        self.simulation.world.time.saturating_sub(self.lost_at)
    }

    /// Lets happen what is due, then plays one tick, no longer than until the next event.
    fn tick(&mut self) {
        while let Some(due) =
            self.chance.events.get(self.next).filter(|it| Duration::from_secs(it.at) <= self.elapsed())
        {
            due.event.happen(&mut self.simulation);
            self.watch.note(&due.event, &self.simulation);
            self.next += 1;
        }
        self.stopped = self.stopped_for_good();
        let left = self.chance.events.get(self.next).map(|it| Duration::from_secs(it.at) - self.elapsed());
        let back = self.chance.back_after.map(|at| at.saturating_sub(self.elapsed()));
        let by = [left, back].into_iter().flatten().filter(|it| !it.is_zero()).min().unwrap_or(Duration::MAX);
        self.simulation.tick_for(self.next_tick().min(by));
        self.watch.look(&self.simulation);
        let is_override = self.simulation.last.as_ref().is_some_and(|last| last.effective.is_override());
        if is_override && !self.was_override {
            self.triggered_at = Some(self.simulation.world.time);
        }
        self.was_override = is_override;
        self.nodes_dark = if self.nodes_still_up().next().is_some() {
            None
        } else {
            self.nodes_dark.or_else(|| Some((self.simulation.world.time, self.held())))
        };
        self.follow_power_offs();
    }

    /// Notes how long each host takes from its power-off to being off.
    fn follow_power_offs(&mut self) {
        let now = self.simulation.world.time;
        for planned in &self.simulation.started {
            if let Step::PowerOff { node, .. } = &planned.step {
                self.told_off.entry(node.clone()).or_insert(now);
            }
        }
        let is_off = |node: &NodeName| self.simulation.world.hosts.get(node).is_none_or(|host| !host.is_on);
        let off: Vec<NodeName> = self.told_off.keys().filter(|node| is_off(node)).cloned().collect();
        for node in off {
            let started = self.told_off.remove(&node).unwrap_or(now);
            let (step, target, took) = (HOST_OFF.to_owned(), node.to_string(), now.saturating_sub(started));
            self.steps.push(RunStep { step, target, started, took, outcome: Outcome::Tried });
        }
    }

    /// What the emptiest battery holds, in seconds at full load.
    fn held(&self) -> Duration {
        let held = self.simulation.world.upses.values().map(|battery| battery.holds).fold(f64::INFINITY, f64::min);
        Duration::try_from_secs_f64(held.round()).unwrap_or_default()
    }

    /// Hosts that must be dark: hecate may command them, and a UPS feeds them; and whether that means off. The hecate
    /// host's own k3s must be stopped, its power is asked for apart.
    fn at_risk(&self) -> impl Iterator<Item = (&NodeName, &Host, bool)> {
        let config = &self.simulation.config;
        self.simulation.world.hosts.iter().filter_map(|(name, host)| {
            let node = config.nodes.get(name).filter(|node| node.is_managed && !node.feeds.is_empty())?;
            let is_own = config.own_host.node.as_ref() == Some(name);
            Some((name, host, node.power_off && !is_own))
        })
    }

    fn own_is_at_risk(&self) -> bool {
        let own = &self.simulation.config.own_host;
        own.power_off && !own.feeds.is_empty()
    }

    fn stopped_for_good(&self) -> BTreeSet<NodeName> {
        let is_stopped = |host: &Host| host.unit == UnitState::Stopped;
        let hosts = self.at_risk().filter(|(_, host, goes_off)| !goes_off && is_stopped(host));
        hosts.map(|(name, _, _)| name.clone()).collect()
    }

    fn is_dark(&self) -> bool {
        self.still_up().is_empty()
    }

    /// Who is not dark yet.
    fn still_up(&self) -> Vec<String> {
        let own = (self.own_is_at_risk() && self.simulation.world.own_is_on).then(own_host);
        self.nodes_still_up().map(ToString::to_string).chain(own).collect()
    }

    fn nodes_still_up(&self) -> impl Iterator<Item = &NodeName> {
        let is_up = |host: &Host, goes_off: bool| host.is_on && (goes_off || host.unit != UnitState::Stopped);
        self.at_risk().filter(move |(_, host, goes_off)| is_up(host, *goes_off)).map(|(name, _, _)| name)
    }

    /// Who lost power while it ran.
    fn lost(&self) -> Vec<String> {
        let hosts = self.at_risk().filter(|(name, host, _)| host.hard_cuts > 0 && !self.stopped.contains(*name));
        let own = (self.own_is_at_risk() && self.simulation.world.own_was_cut()).then(own_host);
        hosts.map(|(name, _, _)| name.to_string()).chain(own).collect()
    }

    /// Who lost power, and what hecate was about.
    fn why(&self, lost: &[String]) -> String {
        let more = lost.len().saturating_sub(NAMES_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let who = format!("{}{more} lost power", lost[..lost.len().min(NAMES_MAX)].join(", "));
        let last = self.simulation.last.as_ref();
        let steps: Vec<String> =
            self.simulation.desk.memory.in_flight.values().take(NAMES_MAX).map(|it| it.step.to_string()).collect();
        let wait = last.and_then(|last| last.plan.waits.first()).map(|wait| wait.reason.to_string());
        let blocker = last.and_then(|last| last.plan.blockers.first()).map(ToString::to_string);
        let about = match (self.triggered_at, steps.is_empty(), wait, blocker) {
            (None, ..) => "the UPS policy had not begun yet".to_owned(),
            (Some(_), false, ..) => format!("busy with: {}", steps.join(", ")),
            (Some(_), true, Some(wait), _) => format!("waiting for {wait}"),
            (Some(_), true, None, Some(blocker)) => format!("blocked: {blocker}"),
            (Some(_), true, None, None) => "between two steps".to_owned(),
        };
        format!("{who}; {about}")
    }
}

fn own_host() -> String {
    "the hecate host".to_owned()
}

//! A script played to its end under watch, and then on until everything must be well again.
//!
//! Pure. Phase one: nothing bad ever happens. Phase two: faults stop, people do what `status` tells them to, and the cluster
//! must converge within a bound.

#![deny(clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::checks::{CONVERGES, Finding, RESTART, RUNS_AGAIN, Watch, person};
use super::event::Event;
use super::script::{Play, Script, ScriptError};
use super::story::StoryLine;
use super::world::ups::{Battery, Lie};
use super::{Simulation, TICK, Twice};
use crate::config::CoordinationRole;
use crate::desired::Options;
use crate::model::{ClusterState, Intent, UpsName, seconds};
use crate::plan::blocker::Blocker;
use crate::snapshot::UnitState;

/// A cluster whose batteries are charged again within the hour runs again within this time, whatever happened before.
pub const CONVERGES_WITHIN: Duration = Duration::from_secs(4 * 3600);
/// Somebody looks and does what `status` says, so long after everything else is well: hosts that are off are switched on.
const LOOKS: [Duration; 3] = [Duration::from_secs(60), Duration::from_secs(600), Duration::from_secs(1800)];
/// And at last says that the battery, which is too small ever to pass the gate, must do.
const LAST_LOOK: Duration = Duration::from_secs(2 * 3600);

/// With mains for so long it runs, or somebody is told by name what to do.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// A person's act is waited for once nothing has happened for so long.
const STILL: Duration = Duration::from_secs(1200);

/// Deciding is most of a trial's time, and what is decided by chance differs somewhere in millions of passes.
const TWICE_EVERY: u32 = 8;

/// How a trial went.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trial {
    /// What was broken; empty when all went well.
    pub findings: Vec<Finding>,
    /// Passes that were decided.
    pub passes: u64,
    /// Virtual time that was played.
    #[serde(with = "seconds")]
    pub played: Duration,
    /// What was done, waited for, blocked and warned of, by name.
    pub seen: BTreeSet<&'static str>,
    /// What excused whoever lost its power, and how often.
    pub excuses: BTreeMap<&'static str, u32>,
    /// What it came to.
    #[serde(skip)]
    pub outcome: Outcome,
    /// The timeline.
    #[serde(skip)]
    pub timeline: Vec<StoryLine>,
}

/// What a play came to, as far as people care.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The state that was converged to in the end.
    pub state: Option<ClusterState>,
    /// Each node: whether it is on, its unit, whether it is cordoned.
    pub nodes: BTreeMap<String, (bool, String, bool)>,
}

/// What a play is made of.
#[derive(Debug, Default)]
struct Tally {
    passes: u64,
    seen: BTreeSet<&'static str>,
}

impl Tally {
    fn count(&mut self, simulation: &Simulation) {
        let Some(last) = simulation.last.as_ref().filter(|_| simulation.has_passed) else { return };
        self.passes += 1;
        self.seen.extend(simulation.started.iter().map(|planned| planned.step.name()));
        self.seen.extend(last.plan.waits.iter().map(|wait| wait.reason.name()));
        self.seen.extend(last.plan.blockers.iter().map(|blocker| blocker.name()));
        self.seen.extend(last.plan.warnings.iter().map(|warning| warning.name()));
    }
}

/// Plays a script and what comes after it.
///
/// # Errors
/// Fails where the cluster's configuration has mistakes.
pub fn trial(script: &Script) -> Result<Trial, ScriptError> {
    let mut play = Play::new(script)?;
    play.simulation.decides_twice = Some(Twice::every(TWICE_EVERY));
    let mut watch = Watch::new(&play.simulation);
    let mut tally = Tally::default();
    while !play.is_over() && watch.findings().is_empty() {
        let (happened, simulation) = play.tick();
        happened.iter().for_each(|it| watch.note(&it.event, simulation));
        watch.look(simulation);
        tally.count(simulation);
    }
    let mut simulation = play.simulation;
    let mut findings = watch.findings().to_vec();
    if findings.is_empty() {
        findings = afterwards(&mut simulation, &mut watch, &mut tally);
    }
    Ok(Trial {
        findings,
        passes: tally.passes,
        seen: tally.seen,
        played: simulation.world.time,
        excuses: watch.excuses().clone(),
        outcome: outcome(&simulation),
        timeline: simulation.story.lines,
    })
}

/// Plays a script once more without the moments at which hecate was killed and started again at once: all must be as well
/// in the end. What hosts went through on the way is not compared, that is what the other rules are for: what happens outside
/// comes at its own time, and finds a hecate that was killed a few seconds less far.
///
/// # Errors
/// Fails where the cluster's configuration has mistakes.
pub fn compare_without_kills(script: &Script, with: &Trial) -> Result<Option<Finding>, ScriptError> {
    let is_kill = |event: &Event| matches!(event, Event::HecateKilled { away_seconds: 0 });
    if !with.findings.is_empty() || !script.events.iter().any(|it| is_kill(&it.event)) {
        return Ok(None);
    }
    let mut calm = script.clone();
    calm.events.retain(|it| !is_kill(&it.event));
    let without = trial(&calm)?;
    let is_same = without.outcome == with.outcome;
    let evidence = format!("with kills {:?}, without {:?}", with.outcome, without.outcome);
    Ok((!is_same).then_some(Finding { rule: RESTART, evidence }))
}

/// Phase two. Gives what was broken.
fn afterwards(simulation: &mut Simulation, watch: &mut Watch, tally: &mut Tally) -> Vec<Finding> {
    for event in everything_well(simulation) {
        event.happen(simulation);
        watch.note(&event, simulation);
    }
    simulation.world.acts.faults.clear();
    let findings = alone(simulation, watch, tally);
    if !findings.is_empty() {
        return findings;
    }
    let began = simulation.world.time;
    simulation.desk.declared.holds.clear();
    let mut looks = LOOKS.iter().chain([&LAST_LOOK]).peekable();
    while simulation.world.time < began + CONVERGES_WITHIN {
        let mut by = simulation.next_tick();
        if let Some(at) = looks.next_if(|at| simulation.world.time >= began + **at) {
            people(simulation, watch, *at == LAST_LOOK);
            by = TICK;
        }
        simulation.tick_for(by);
        watch.look(simulation);
        tally.count(simulation);
        let is_well =
            simulation.world.time > began + LOOKS[0] + TICK && simulation.has_passed && simulation.is_converged();
        if !watch.findings().is_empty() || is_well && is_whole(simulation) {
            return watch.findings().to_vec();
        }
    }
    vec![Finding { rule: CONVERGES, evidence: why_not(simulation, CONVERGES_WITHIN) }]
}

/// Mains are there, everything works, and nobody does anything: within a day it runs, or waits for a person by name.
fn alone(simulation: &mut Simulation, watch: &mut Watch, tally: &mut Tally) -> Vec<Finding> {
    let began = simulation.world.time;
    let mut moved = began;
    while simulation.world.time < began + DAY {
        simulation.tick_for(simulation.next_tick());
        watch.look(simulation);
        tally.count(simulation);
        let world = &simulation.world;
        if !watch.findings().is_empty() {
            return watch.findings().to_vec();
        }
        if !world.own_is_on {
            // Nobody but a person switches a hecate host on that has no firmware to do it.
            if world.is_own_coming() || world.next_change().is_some() {
                continue;
            }
            return Vec::new();
        }
        let Some(last) = simulation.last.as_ref().filter(|_| simulation.has_passed) else { continue };
        let is_wished_away = simulation.desk.declared.spec.state != ClusterState::Running;
        let is_settled = world.time > began + LOOKS[0];
        if is_settled && last.plan.is_converged() {
            return Vec::new();
        }
        if !last.plan.start.is_empty() || !last.plan.running.is_empty() {
            moved = world.time;
        }
        // What a person must do is done by nobody else, however long that takes.
        let waits = is_wished_away || person::act(last, &simulation.config).is_some() || simulation.ledger_is_spoiled();
        if waits && world.time.saturating_sub(moved) >= STILL {
            return Vec::new();
        }
    }
    let waits = simulation.last.as_ref().is_some_and(|last| person::act(last, &simulation.config).is_some());
    let is_meant = simulation.desk.declared.spec.state == ClusterState::Running && !waits;
    let evidence = why_not(simulation, DAY);
    if is_meant { vec![Finding { rule: RUNS_AGAIN, evidence }] } else { Vec::new() }
}

/// Everything that went wrong is mended; who moves a bad file away starts hecate anew, as the README says.
fn everything_well(simulation: &Simulation) -> Vec<Event> {
    // Hosts boot with the mains only where their power has ended.
    let back = |(name, battery): (&UpsName, &Battery)| {
        let boots = battery.holds <= 0.0 || battery.cut.as_ref().is_some_and(|cut| cut.told > 0);
        (!battery.mains).then(|| Event::MainsBack { ups: Some(name.clone()), boots })
    };
    let mut events: Vec<Event> = simulation.world.upses.iter().filter_map(back).collect();
    events.extend([
        Event::UpsSays { ups: None, says: Lie::default() },
        Event::ApiBack,
        Event::ReadingsLate { seconds: 0, reordered: false },
        Event::DiskWorks,
        Event::Clock { node: None, ahead_seconds: 0, synced: true },
    ]);
    events.extend(simulation.world.upses.keys().map(|ups| Event::WitnessWell { ups: ups.clone() }));
    for node in simulation.world.hosts.keys() {
        events.extend([Event::HostWell { node: node.clone() }, Event::ImpostorGone { node: node.clone() }]);
        events.push(Event::Clock { node: Some(node.clone()), ahead_seconds: 0, synced: true });
    }
    let peers = simulation.config.coordination.peer_hosts.iter();
    events.extend(peers.map(|peer| Event::PeerSays { peer: peer.name.clone(), intent: Intent::Normal }));
    events
}

/// Somebody looks at `hecate status` and does what it says.
fn people(simulation: &mut Simulation, watch: &mut Watch, allow_on_battery: bool) {
    let mut acts = vec![Event::OwnButtonPressed, Event::ButtonPressed { node: None }];
    if simulation.ledger_is_spoiled() {
        acts.extend([Event::LedgerLost, Event::HecateKilled { away_seconds: 0 }]);
    }
    let allow_peer_startup = simulation.config.coordination.role == CoordinationRole::Peer;
    let mut blockers = simulation.last.iter().flat_map(|last| &last.plan.blockers);
    let skip_time_sync = simulation.desk.declared.spec.options.skip_time_sync
        || blockers.any(|blocker| matches!(blocker, Blocker::TimeNotSynced { .. }));
    let options = Options { allow_on_battery, allow_peer_startup, skip_time_sync, ..Options::default() };
    acts.push(Event::Wish { state: ClusterState::Running, options });
    for event in acts {
        event.happen(simulation);
        watch.note(&event, simulation);
    }
}

/// Whether the cluster runs, and nobody is missing.
fn is_whole(simulation: &Simulation) -> bool {
    let is_up = |name, host: &super::world::Host| {
        let is_managed = simulation.config.nodes.get(name).is_some_and(|node| node.is_managed);
        !is_managed || host.is_on && host.unit == UnitState::Running
    };
    simulation.world.hosts.iter().all(|(name, host)| is_up(name, host))
        && simulation.world.objects.values().all(|object| object.cordoned_by.is_none())
}

fn why_not(simulation: &Simulation, within: Duration) -> String {
    let Some(last) = simulation.last.as_ref().filter(|_| simulation.world.own_is_on) else {
        return "the hecate host is off".to_owned();
    };
    let blockers = last.plan.blockers.iter().map(ToString::to_string);
    let waits = last.plan.waits.iter().map(|wait| format!("waits for {}", wait.reason));
    let warnings = last.plan.warnings.iter().map(|warning| format!("warns: {warning}"));
    let steps = last.plan.start.iter().map(|planned| planned.step.to_string());
    let all: Vec<String> = blockers.chain(waits).chain(steps).chain(warnings).collect();
    format!("not within {} s: {}", within.as_secs(), all.join("; "))
}

fn outcome(simulation: &Simulation) -> Outcome {
    let world = &simulation.world;
    let node = |name: &crate::model::NodeName, host: &super::world::Host| {
        let is_cordoned = world.objects.get(name).is_some_and(|object| object.is_cordoned);
        (name.to_string(), (host.is_on, format!("{:?}", host.unit), is_cordoned))
    };
    Outcome {
        state: simulation.last.as_ref().filter(|last| last.plan.is_converged()).map(|last| last.effective.state()),
        nodes: world.hosts.iter().map(|(name, host)| node(name, host)).collect(),
    }
}

//! The planner: what may be done now, what is waited for, and what stands in the way.
//!
//! Pure. It knows no client, asks no clock and logs nothing: its reasons are its return value.

#![deny(clippy::disallowed_methods)]

pub mod blocker;
pub mod bring_up;
pub mod identity;
pub mod load_cut;
pub mod safety;
pub mod scene;
pub mod shut_down;
pub mod step;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::blocker::{Blocker, Wait, WaitReason, Warning};
use self::scene::{Draft, Scene, Want};
use self::step::{Step, Target};
use crate::desired::{Held, Override, OwnSupply};
use crate::ledger::Phase;
use crate::model::{ClusterState, NodeName, Uid, UpsName, seconds};
use crate::tracker::{Attempt, LEDGER_PATIENCE_ON_BATTERY};

/// A step that was tried so often without effect is shown as a blocker; it is still tried, ever more rarely.
const ATTEMPTS_BEFORE_BLOCKER: u32 = 4;

/// The longest pause between two attempts.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// The longest pause between two attempts while on battery.
const BACKOFF_MAX_ON_BATTERY: Duration = Duration::from_secs(8);

/// The least pause between two power-offs of one host: systemd needs a moment until it no longer answers.
const BACKOFF_POWER_OFF: Duration = Duration::from_secs(20);

/// What a pass decided. Converged only when nothing is to start, runs, is waited for or blocks.
#[must_use]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Steps whose preconditions hold now; the order is the order of importance.
    pub start: Vec<Planned>,
    /// Steps that run and are still wanted.
    pub running: Vec<Step>,
    /// Targets whose running step is no longer wanted.
    pub cancel: Vec<Target>,
    /// What is expected to come by itself.
    pub waits: Vec<Wait>,
    /// What only a change from outside can clear.
    pub blockers: Vec<Blocker>,
    /// What a person should know.
    pub warnings: Vec<Warning>,
    /// Everything that is still to come until converged, in its order.
    pub forecast: Vec<Step>,
}

impl Plan {
    /// Whether reality is as desired.
    pub fn is_converged(&self) -> bool {
        self.start.is_empty()
            && self.running.is_empty()
            && self.cancel.is_empty()
            && self.waits.is_empty()
            && self.blockers.is_empty()
    }
}

/// A step that may start now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Planned {
    /// What to do.
    pub step: Step,
    /// How long it is waited for.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub limit: Duration,
    /// Which rule wants it.
    pub because: String,
}

/// What a plan leaves behind besides itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Marks {
    /// Phases that have begun.
    pub phases: BTreeSet<Phase>,
    /// Whether volumes were seen detached.
    pub volumes_detached: bool,
    /// Nodes that are seen drained.
    pub drained: BTreeSet<NodeName>,
    /// Whether an etcd snapshot of this run is seen.
    pub has_etcd_snapshot: bool,
    /// What a drain owes.
    pub drain_owed: BTreeMap<NodeName, BTreeSet<Uid>>,
    /// Since when named conditions stand.
    pub waiting_since: BTreeMap<String, Duration>,
    /// Keys of the steps whose attempts are remembered.
    pub wanted: BTreeSet<String>,
}

/// Plans one pass: the rules say what they want, and only this function chooses.
pub fn plan(scene: &Scene<'_>) -> (Plan, Marks) {
    let mut draft = Draft { volumes_detached: scene.episode.volumes_detached, ..Draft::default() };
    draft.warnings.extend(scene.power.warnings.iter().cloned());
    identity::strangers(scene, &mut draft);
    if load_cut::must_finish(scene, &mut draft) {
        return choose(scene, draft);
    }
    match scene.hold(&Held::Cluster) {
        _ if scene.effective.is_partial() => in_part(scene, &mut draft),
        Some(evidence) => draft.blockers.push(Blocker::Paused { evidence }),
        None if scene.effective.state() == ClusterState::Running => bring_up::bring_up(scene, &mut draft),
        None if scene.effective.is_override() && !scene.effective.spared().is_empty() => {
            let rest = scene.config.without(scene.effective.spared());
            let before = draft.phases.clone();
            shut_down::shut_down(&Scene { config: &rest, ..*scene }, &mut draft);
            if rest.managed().next().is_none() {
                // Nothing was done with anybody: no phase is behind who is left alone for now.
                draft.phases = before;
            }
            left_alone(scene, &mut draft, scene.effective.spared().clone());
        }
        None => shut_down::shut_down(scene, &mut draft),
    }
    choose(scene, draft)
}

/// Some nodes go dark while the rest is kept running: the rules of both directions, each on its own part of the inventory.
fn in_part(scene: &Scene<'_>, draft: &mut Draft) {
    let effective = scene.effective;
    let (spared, going) = effective.nodes().iter().cloned().partition(|node| effective.spared().contains(node));
    left_alone(scene, draft, spared);
    let mut part = scene.config.only(&going);
    part.own_host.power_off &= effective.own_supply() != OwnSupply::Holds;
    if !going.is_empty() {
        shut_down::shut_down(&Scene { config: &part, ..*scene }, draft);
    }
    if let Some(why) = effective.hold_descent() {
        shut_down::held(scene, draft, why);
    }
    let away: BTreeSet<NodeName> = effective.nodes().union(effective.held_nodes()).cloned().collect();
    match scene.hold(&Held::Cluster) {
        Some(evidence) => draft.blockers.push(Blocker::Paused { evidence }),
        None => bring_up::bring_up(&Scene { config: &scene.config.without(&away), ..*scene }, draft),
    }
}

/// Who has booted since its UPS fell silent is neither taken down nor up before that UPS speaks, or was silent for too long.
fn left_alone(scene: &Scene<'_>, draft: &mut Draft, nodes: BTreeSet<NodeName>) {
    if nodes.is_empty() {
        return;
    }
    let upses: BTreeSet<UpsName> = scene.declared.overrides.iter().filter_map(Override::ups).collect();
    let silent_for = upses.iter().filter_map(|ups| scene.power.upses.get(ups)?.silent_for).min();
    draft.wait(WaitReason::UpsWord { upses, nodes }, silent_for.unwrap_or_default(), None);
}

fn choose(scene: &Scene<'_>, mut draft: Draft) -> (Plan, Marks) {
    let mut plan = Plan::default();
    let mut wanted: BTreeSet<String> = draft.remembered.iter().cloned().collect();
    // What was not looked at since an attempt ended may want the next one: its attempts are not forgotten before.
    let is_unseen = |node: &NodeName| !scene.host_settled(node) || !scene.api_settled(node);
    let is_young =
        |attempt: &Attempt| attempt.is_at_most_once() && scene.now.since(attempt.ended) < attempt_pause(scene, attempt);
    let is_kept = |attempt: &Attempt| attempt.target.node().is_some_and(is_unseen) || is_young(attempt);
    let kept = scene.memory.attempts.iter().filter(|(_, attempt)| is_kept(attempt));
    wanted.extend(kept.map(|(key, _)| key.clone()));
    let mut wants: BTreeMap<Target, Want> = BTreeMap::new();
    let mut order = Vec::new();
    for want in std::mem::take(&mut draft.wants) {
        wanted.insert(want.step.key());
        let target = want.step.target();
        // The first rule that wants something of a target has it: rules come in their order.
        if let std::collections::btree_map::Entry::Vacant(entry) = wants.entry(target.clone()) {
            entry.insert(want);
            order.push(target);
        }
    }
    keep_or_cancel(scene, &wants, &mut plan);
    let mut free = scene.config.reconcile.max_steps_in_flight.saturating_sub(scene.memory.in_flight.len());
    for target in order {
        let Some(want) = wants.remove(&target) else { continue };
        if want.is_coming || scene.memory.in_flight.contains_key(&target) {
            continue;
        }
        if let Some(evidence) = want.step.node().and_then(|node| scene.hold(&Held::Node(node))) {
            let node = want.step.node().unwrap_or_else(|| NodeName::from(""));
            draft.blockers.push(Blocker::NodePaused { node, evidence });
        } else if !is_settled(scene, &want.step) && is_quiet(&want.step) {
            // The next look is coming, and nobody waits for it.
        } else if !is_settled(scene, &want.step) {
            let of = format!("{target} after the last step");
            draft.wait(WaitReason::FirstObservation { of }, Duration::ZERO, None);
        } else if may_try(scene, &mut draft, &want.step) && free > 0 {
            free -= 1;
            wait_for_ledger(scene, &mut draft, &want.step);
            plan.start.push(Planned { step: want.step, limit: want.limit, because: want.because.to_owned() });
        }
    }
    let is_told = draft.blockers.iter().any(|blocker| matches!(blocker, Blocker::LedgerUnreadable { .. }));
    if let Some(why) = scene.ledger_problem.filter(|_| !is_told) {
        draft.warnings.push(Warning::LedgerNotTrusted { why: why.to_owned() });
    }
    plan.waits = draft.waits;
    plan.blockers = draft.blockers;
    plan.warnings = draft.warnings;
    plan.forecast = draft.forecast;
    let marks = Marks {
        phases: draft.phases,
        volumes_detached: draft.volumes_detached,
        drained: draft.drained,
        has_etcd_snapshot: draft.has_etcd_snapshot,
        drain_owed: draft.drain_owed,
        waiting_since: draft.waiting_since,
        wanted,
    };
    (plan, marks)
}

/// A step that relies on the ledger starts when it is on disk; the tracker sees to that, this only says it.
fn wait_for_ledger(scene: &Scene<'_>, draft: &mut Draft, step: &Step) {
    let is_said = draft.waits.iter().any(|wait| wait.reason == WaitReason::LedgerOnDisk);
    if let (Some(since), true, false) = (scene.memory.ledger_pending, step.relies_on_ledger(), is_said) {
        let may_go = scene.effective.is_on_battery() && step.may_go_without_ledger(scene.effective.is_override());
        let limit = may_go.then_some(LEDGER_PATIENCE_ON_BATTERY);
        draft.wait(WaitReason::LedgerOnDisk, scene.now.since(since), limit);
    }
}

/// What runs goes on while it is wanted. A drain or a snapshot that is not wanted any more is no longer waited for;
/// a power-off is the commit point and a unit's start or stop belongs to the node's systemd: those run to their end.
fn keep_or_cancel(scene: &Scene<'_>, wants: &BTreeMap<Target, Want>, plan: &mut Plan) {
    for (target, running) in &scene.memory.in_flight {
        let is_wanted = wants.get(target).is_some_and(|want| want.step.key() == running.step.key());
        let is_replaced = wants.get(target).is_some_and(|want| want.step.key() != running.step.key());
        let gives_way = match running.step {
            Step::Drain { .. } | Step::SaveEtcdSnapshot { .. } | Step::Wake { .. } => !is_wanted,
            Step::StopUnit { .. } | Step::StartUnit { .. } | Step::KillContainers { .. } => is_replaced,
            Step::Cordon { .. } | Step::Uncordon { .. } => is_replaced,
            Step::PowerOff { .. } | Step::PowerOffOwnHost { .. } | Step::CutLoad { .. } => false,
        };
        if gives_way {
            plan.cancel.push(target.clone());
        } else {
            plan.running.push(running.step.clone());
        }
    }
}

/// Whether what the step is about was looked at since the last step on its target ended.
fn is_settled(scene: &Scene<'_>, step: &Step) -> bool {
    match step {
        Step::Cordon { node, .. } | Step::Uncordon { node } | Step::Drain { node, .. } => scene.api_settled(node),
        Step::StartUnit { node, .. }
        | Step::StopUnit { node, .. }
        | Step::KillContainers { node, .. }
        | Step::SaveEtcdSnapshot { node, .. }
        | Step::PowerOff { node, .. }
        | Step::Wake { node } => scene.host_settled(node),
        Step::PowerOffOwnHost { .. } | Step::CutLoad { .. } => true,
    }
}

/// Waking is retried beside the rule that waits for its host: how long anybody waits, and whether a host that stays away
/// blocks, is that rule's matter alone.
fn is_quiet(step: &Step) -> bool {
    step.woken().is_some()
}

/// For how long the last attempt at a step is over, and how long the next one waits, while that is more.
fn pause(scene: &Scene<'_>, step: &Step) -> Option<(Duration, Duration)> {
    let attempt = scene.memory.attempts.get(&step.key())?;
    let (elapsed, pause) = (scene.now.since(attempt.ended), attempt_pause(scene, attempt));
    (elapsed < pause).then_some((elapsed, pause))
}

/// Whether a step may be tried now, after the attempts that had no effect.
fn may_try(scene: &Scene<'_>, draft: &mut Draft, step: &Step) -> bool {
    let Some(attempt) = scene.memory.attempts.get(&step.key()) else {
        return true;
    };
    let pause = pause(scene, step);
    if is_quiet(step) {
        return pause.is_none();
    }
    let last = attempt.outcome.to_string();
    if attempt.count >= ATTEMPTS_BEFORE_BLOCKER {
        let blocker = Blocker::StepFailing { step: step.to_string(), attempts: attempt.count, last: last.clone() };
        draft.blockers.push(blocker);
    }
    if let Some((elapsed, pause)) = pause {
        draft.wait(WaitReason::Backoff { step: step.to_string(), last }, elapsed, Some(pause));
    }
    pause.is_none()
}

/// How long the next attempt waits after the last one.
fn attempt_pause(scene: &Scene<'_>, attempt: &Attempt) -> Duration {
    // What comes up while another UPS is on battery has time.
    let is_pressed = scene.effective.is_on_battery() && scene.is_descent();
    let longest = if is_pressed { BACKOFF_MAX_ON_BATTERY } else { BACKOFF_MAX };
    let doubled = Duration::from_secs(1 << attempt.count.min(6)).min(longest);
    if attempt.is_at_most_once() { doubled.max(BACKOFF_POWER_OFF) } else { doubled }
}

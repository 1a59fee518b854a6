//! Cordon, drain, detach: what must leave before anything stops.
//!
//! Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{CORDON_LIMIT, skipped};
use crate::ledger::Phase;
use crate::model::NodeName;
use crate::plan::blocker::{Blocker, WaitReason};
use crate::plan::scene::{Draft, Scene};
use crate::plan::step::{PodRef, Step, Target};
use crate::snapshot::UnitState;
use crate::status::HostState;

/// Which nodes are drained.
pub(super) struct Drained {
    pub(super) nodes: BTreeSet<NodeName>,
    pub(super) is_all: bool,
    pub(super) is_skipped: bool,
}

impl Drained {
    fn all(scene: &Scene<'_>, is_skipped: bool) -> Self {
        Self { nodes: scene.nodes().map(|(name, _)| name.clone()).collect(), is_all: true, is_skipped }
    }

    fn none() -> Self {
        Self { nodes: BTreeSet::new(), is_all: false, is_skipped: false }
    }
}

/// Cordons all nodes first, so that nothing is moved from one dying node to the next; then evicts on all at once.
pub(super) fn drain(scene: &Scene<'_>, draft: &mut Draft) -> Drained {
    if scene.episode.phases.contains_key(&Phase::StopServers) {
        return Drained::all(scene, false);
    }
    if let Some(because) = skips_drain(scene) {
        skipped(draft, "cordon and drain", because);
        return Drained::all(scene, true);
    }
    if was_shed_unseen(scene) {
        skipped(draft, "cordon and drain", "the API did not answer in time");
        return Drained::all(scene, true);
    }
    if scene.objects().is_none() && scene.episode.phases.contains_key(&Phase::EtcdSnapshot) {
        // Everybody was seen drained and nothing is moved to a node that is cordoned: what comes next goes on.
        return Drained::all(scene, false);
    }
    if scene.objects().is_none() {
        return drain_unseen(scene, draft);
    }
    let mut is_cordoned = true;
    for (name, _) in scene.nodes() {
        let Some(object) = scene.object(name) else { continue };
        if !scene.memory.drain_owed.contains_key(name) && !is_looked_at(scene, name) {
            // What is seen is how it was before its own cordon was taken back: it says nothing of what runs by now.
            is_cordoned = false;
            let of = format!("{name} after the last step");
            draft.wait(WaitReason::FirstObservation { of }, Duration::ZERO, None);
            continue;
        }
        if !object.is_cordoned && scene.host_state(name) != HostState::Off {
            is_cordoned = false;
            let step = Step::Cordon { node: name.clone(), run: scene.episode.run.clone() };
            draft.want(step, scene.limit(CORDON_LIMIT), "no workload moves to a node that will stop");
        }
    }
    let mut drained = Drained { nodes: BTreeSet::new(), is_all: is_cordoned, is_skipped: false };
    let elapsed = scene.phase_age(Phase::Drain).unwrap_or_default();
    if is_cordoned {
        draft.phases.insert(Phase::Drain);
    }
    for (name, _) in scene.nodes() {
        if drain_node(scene, draft, name, is_cordoned, elapsed) {
            drained.nodes.insert(name.clone());
        } else {
            drained.is_all = false;
        }
    }
    if drained.is_all {
        let is_empty = |name: &&NodeName| {
            scene.host_state(name) != HostState::Off && scene.owed_pods(name).is_some_and(|owed| owed.is_empty())
        };
        draft.drained = scene.nodes().map(|(name, _)| name).filter(is_empty).cloned().collect();
    }
    drained
}

/// Whether an override's descent went on because nobody could see the pods: that is not taken back, or what came next would
/// be broken off. A load that falls makes the battery promise more, and an API may come back.
fn was_shed_unseen(scene: &Scene<'_>) -> bool {
    let has = |phase| scene.episode.phases.contains_key(&phase);
    let was_shed = scene.effective.is_override() && has(Phase::DrainShed) && has(Phase::Detach);
    was_shed && (scene.objects().is_none() || !has(Phase::Drain))
}

/// Whether the API was looked at since the last step on a node ended, and no cordon is being taken back.
fn is_looked_at(scene: &Scene<'_>, name: &NodeName) -> bool {
    let running = scene.memory.in_flight.get(&Target::Node(name.clone())).map(|one| &one.step);
    scene.api_settled(name) && !matches!(running, Some(Step::Uncordon { .. }))
}

/// Why a node is drained.
const EMPTIED: &str = "pods leave before their node stops";

/// Drains one node; says whether it is drained, or given up by name.
pub(super) fn drain_node(
    scene: &Scene<'_>,
    draft: &mut Draft,
    name: &NodeName,
    is_cordoned: bool,
    elapsed: Duration,
) -> bool {
    if scene.host_state(name) == HostState::Off {
        return true;
    }
    let Some(owed) = scene.owed_pods(name) else {
        let elapsed = draft.elapsed(scene, "pods");
        let limit = Some(scene.config.shutdown.api_wait);
        draft.wait(WaitReason::FirstObservation { of: format!("the pods on {name}") }, elapsed, limit);
        return false;
    };
    if is_cordoned && !scene.memory.drain_owed.contains_key(name) {
        draft.drain_owed.insert(name.clone(), owed.iter().map(|pod| pod.uid.clone()).collect());
    }
    if owed.is_empty() {
        return is_cordoned;
    }
    let mut pods: Vec<PodRef> = owed
        .iter()
        .map(|pod| PodRef { namespace: pod.namespace.clone(), name: pod.name.clone(), uid: pod.uid.clone() })
        .collect();
    pods.sort();
    let names: Vec<String> = pods.iter().map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect();
    let pdb_grace = scene.limit(scene.config.shutdown.pdb_grace);
    let step = Step::Drain { node: name.clone(), pods, pdb_grace };
    let is_dead = scene.host_state(name) != HostState::Up && scene.readiness(name).is_err();
    let configured =
        if is_dead { scene.config.shutdown.unreachable_limit } else { scene.config.shutdown.drain_timeout };
    let limit = scene.limit_within(configured, elapsed, scene.budget.needs.snapshot);
    if !is_cordoned {
        // One that runs already goes on: broken off, it would grant a disruption budget its whole grace once more.
        draft.keep(step.clone(), limit.saturating_sub(elapsed), EMPTIED);
        draft.later(step);
        return false;
    }
    // What was given up once stays given up: the next stage has begun, and with it less is needed.
    let is_given_up = scene.effective.is_override() && scene.episode.phases.contains_key(&Phase::Detach);
    if elapsed < limit && !is_given_up {
        draft.wait(WaitReason::Drained { node: name.clone(), pods: names.len() }, elapsed, Some(limit));
        draft.want(step, limit.saturating_sub(elapsed), EMPTIED);
        return false;
    }
    if scene.effective.is_override() || is_dead {
        let what = format!("{} pods on {name}", names.len());
        let shed = scene.shed(configured, limit);
        if scene.effective.is_override() {
            draft.phases.insert(Phase::DrainShed);
        }
        skipped(draft, &what, format!("not gone after {} s{shed}", elapsed.as_secs()));
        return true;
    }
    draft.blockers.push(Blocker::DrainStuck { node: name.clone(), pods: names });
    // Whoever waits for a person goes on trying: hecate may have been away while the limit passed.
    draft.want(step, configured, EMPTIED);
    false
}

/// The API does not answer, so pods cannot be seen. Where nothing runs any more there is nothing to drain; containers that
/// outlived k3s may be anybody's, unless their node was drained before.
pub(super) fn drain_unseen(scene: &Scene<'_>, draft: &mut Draft) -> Drained {
    let has_containers = |name: &NodeName| scene.host(name).is_some_and(|host| host.containers > 0);
    let is_stopped = |name: &NodeName| match scene.host_state(name) {
        HostState::Up => matches!(scene.unit(name), Some(UnitState::Stopped | UnitState::NotFound)),
        HostState::Off | HostState::NotManaged => true,
        HostState::Unreachable | HostState::Wrong | HostState::Unknown => scene.config.is_ignored(name),
    };
    let stopped: BTreeSet<NodeName> =
        scene.nodes().map(|(name, _)| name).filter(|name| is_stopped(name)).cloned().collect();
    let is_quiet = |name: &&NodeName| scene.ledger.drained.contains(*name) || !has_containers(name);
    let quiet: BTreeSet<NodeName> = stopped.iter().filter(is_quiet).cloned().collect();
    let count = scene.nodes().count();
    if quiet.len() == count {
        return Drained::all(scene, false);
    }
    let elapsed = draft.elapsed(scene, "api-for-drain");
    let limit = scene.limit(scene.config.shutdown.api_wait);
    let evidence = scene.api_evidence();
    // Where every unit is stopped no API comes back to drain anything.
    let is_hopeless = scene.effective.is_override() && stopped.len() == count;
    if elapsed < limit && !is_hopeless {
        draft.wait(WaitReason::ApiReady { evidence }, elapsed, Some(limit));
        keep_drains(scene, draft);
        return Drained::none();
    }
    if scene.effective.is_override() {
        draft.phases.insert(Phase::DrainShed);
        let because = if is_hopeless { "k3s is stopped everywhere".to_owned() } else { unanswered(limit) };
        skipped(draft, "cordon and drain", because);
        return Drained::all(scene, true);
    }
    draft.blockers.push(Blocker::DrainUnknown { evidence });
    Drained { nodes: quiet, is_all: false, is_skipped: false }
}

/// Drains that run wait for the API by themselves, and know what they asked for so far.
fn keep_drains(scene: &Scene<'_>, draft: &mut Draft) {
    let is_mine = |node: &NodeName| scene.config.nodes.get(node).is_some_and(|node| node.is_managed);
    for running in scene.memory.in_flight.values() {
        if let Step::Drain { node, .. } = &running.step
            && is_mine(node)
        {
            draft.keep(running.step.clone(), running.deadline.saturating_sub(scene.now.boottime), EMPTIED);
        }
    }
}

fn unanswered(limit: Duration) -> String {
    format!("the API did not answer for {} s", limit.as_secs())
}

pub(super) fn skips_drain(scene: &Scene<'_>) -> Option<&'static str> {
    if !scene.effective.is_override() && scene.options().skip_drain {
        Some("--skip-drain")
    } else if scene.is_emergency() && scene.config.shutdown.emergency_skip_drain {
        Some("shutdown.emergency_skip_drain")
    } else {
        None
    }
}

/// No node stops before the volumes of the whole cluster are detached or the limit has passed.
pub(super) fn detach(scene: &Scene<'_>, draft: &mut Draft, drained: &Drained) -> bool {
    let limit = scene.config.reconcile.api_max_age;
    let attached = scene.snapshot.api.attachments.fresh(scene.now, limit).map(|all| {
        all.iter()
            .filter(|one| one.is_attached && scene.config.nodes.get(&one.node).is_some_and(|node| node.is_managed))
            .filter(|one| scene.host_state(&one.node) != HostState::Off)
            .filter(|one| {
                !one.namespace.as_ref().is_some_and(|it| scene.config.shutdown.drain_exclude_namespaces.contains(it))
            })
            .count()
    });
    if scene.episode.phases.contains_key(&Phase::StopServers) {
        return true;
    }
    if drained.is_all {
        draft.phases.insert(Phase::Detach);
        draft.volumes_detached |= attached == Some(0);
    }
    if scene.effective.is_override() && scene.episode.phases.contains_key(&Phase::EtcdSnapshot) {
        return true;
    }
    let elapsed = scene.phase_age(Phase::Detach).unwrap_or_default();
    let configured = scene.config.shutdown.detach_timeout;
    let limit = scene.limit_within(configured, elapsed, scene.budget.needs.snapshot);
    let volumes = match attached {
        Some(0) => return true,
        Some(_) | None if drained.is_skipped => return true,
        Some(_) | None if !drained.is_all => return false,
        Some(volumes) => volumes,
        None if scene.api_ready() && elapsed < limit => {
            // After a restart of hecate they are looked at later than nodes and pods are.
            draft.wait(WaitReason::FirstObservation { of: "the volumes".to_owned() }, elapsed, Some(limit));
            return false;
        }
        None => return true,
    };
    if elapsed < limit {
        draft.wait(WaitReason::Detached { volumes }, elapsed, Some(limit));
        return false;
    }
    let shed = scene.shed(configured, limit);
    let because = format!("not detached after {} s{shed}", elapsed.as_secs());
    skipped(draft, &format!("waiting for {volumes} volumes"), because);
    true
}

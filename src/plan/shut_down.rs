//! The rules from served to dark, in order: cordon, drain, detach, etcd snapshot, stop workers, stop servers, end
//! containers, power off.
//!
//! Pure. Each rule is gated on those before it; a node moves through its own pipeline where the order allows. On the
//! graceful path of an operator's wish a gate that cannot be seen is a blocker; under a UPS' override it costs at most
//! its limit, is named, and the descent goes on.

#![deny(clippy::disallowed_methods)]

mod drain;
mod etcd_snapshot;
mod power_off;

use std::collections::BTreeSet;
use std::time::Duration;

use self::drain::{Drained, detach, drain, skips_drain};
use self::etcd_snapshot::{etcd_snapshot, let_run};
use self::power_off::{kill_containers, power_off, until_off};
use super::blocker::{Blocker, WaitReason, Warning};
use super::identity::{role_mismatch, same_host_twice};
use super::scene::{Draft, Scene};
use super::step::Step;
use crate::config::{CoordinationRole, Node};
use crate::ledger::{Phase, Wish};
use crate::model::{ClusterState, FailureKind, NodeName, Path};
use crate::snapshot::UnitState;
use crate::status::HostState;

/// How long a patch of a Node may take.
const CORDON_LIMIT: Duration = Duration::from_secs(15);

/// Plans a descent.
pub fn shut_down(scene: &Scene<'_>, draft: &mut Draft) {
    let wish = Wish { state: scene.declared.spec.state, set_at: scene.declared.spec.set_at };
    if is_spent(scene, &wish) {
        draft.blockers.push(Blocker::AlreadyFulfilled { state: wish.state });
        return;
    }
    if let Some(why) = scene.ledger_problem.filter(|_| !scene.effective.is_override()) {
        draft.blockers.push(Blocker::LedgerUnreadable { why: why.to_owned() });
        return;
    }
    if is_peer_without_leave(scene) {
        draft.blockers.push(Blocker::PeerMayNotStop);
        return;
    }
    if let Some(why) = scene.effective.hold_descent() {
        held(scene, draft, why);
        return;
    }
    if scene.episode.converged.is_some() && !scene.effective.is_override() {
        report_drift(scene, draft);
        return;
    }
    if scene.episode.converged.is_some() && scene.nodes().any(|(name, _)| scene.host_state(name) == HostState::Up) {
        // The battery goes on falling: who comes up in the middle of an outage goes down again, with no second drain.
        draft.phases.insert(Phase::DrainShed);
    }
    let is_graceful = scene.effective.is_override() && !scene.is_emergency();
    if is_graceful && scene.episode.phases.contains_key(&Phase::StopServers) {
        // Who comes up once servers stop is drained by nobody.
        let is_late = |name: &NodeName| is_unit_alive(scene, name) && !scene.ledger.drained.contains(name);
        if scene.nodes().any(|(name, _)| is_late(name)) {
            draft.phases.insert(Phase::DrainShed);
        }
    }
    draft.phases.insert(Phase::Cordon);
    let drained = drain(scene, draft);
    let is_detached = detach(scene, draft, &drained);
    let has_snapshot = etcd_snapshot(scene, draft, drained.is_all && is_detached);
    let workers = stop_workers(scene, draft, &drained, is_detached);
    let servers = stop_servers(scene, draft, drained.is_all && is_detached && has_snapshot && workers.is_done);
    if !draft.phases.contains(&Phase::StopServers) && !scene.effective.is_partial() {
        let_run(scene, draft);
    }
    let given_up: BTreeSet<NodeName> = workers.given_up.union(&servers.given_up).cloned().collect();
    kill_containers(scene, draft, drained.is_all);
    if scene.effective.state() == ClusterState::Poweroff || scene.effective.is_partial() {
        let has_begun = draft.phases.contains(&Phase::StopServers);
        power_off(scene, draft, &given_up, has_begun);
    }
}

/// A peer's UPS shuts down locally only where `coordination.local_shutdown_fallback` allows it; an operator's own wish on
/// a peer is obeyed.
fn is_peer_without_leave(scene: &Scene<'_>) -> bool {
    let coordination = &scene.config.coordination;
    scene.effective.is_override()
        && coordination.role == CoordinationRole::Peer
        && !coordination.local_shutdown_fallback
}

/// A declared power-off is carried out once: after the boot that follows it, it is history.
fn is_spent(scene: &Scene<'_>, wish: &Wish) -> bool {
    !scene.effective.is_override()
        && wish.state == ClusterState::Poweroff
        && scene.ledger.fulfilled.as_ref() == Some(wish)
        && scene.ledger.fulfilled_in.as_ref() != Some(&scene.now.boot_id)
}

/// A descent that begins no further step: an override whose mains are back but not yet stable, or a wish not trusted.
pub(super) fn held(scene: &Scene<'_>, draft: &mut Draft, why: &str) {
    if scene.effective.is_override() {
        let ups = why.split(':').next().unwrap_or(why).into();
        let elapsed = draft.elapsed(scene, "mains-stable");
        draft.wait(WaitReason::MainsStable { ups }, elapsed, Some(scene.config.ups_policy.mains_stable));
    } else {
        draft.blockers.push(Blocker::WishNotTrusted { why: why.to_owned() });
    }
}

/// After convergence nothing is stopped again; what came up by itself is shown.
fn report_drift(scene: &Scene<'_>, draft: &mut Draft) {
    for (name, _) in scene.nodes() {
        if let Some(host) = scene.host(name).filter(|host| host.containers > 0)
            && scene.unit(name) == Some(UnitState::Stopped)
        {
            draft.warnings.push(Warning::ContainersLeft { node: name.clone(), count: host.containers });
        }
        if let Some(unit @ (UnitState::Running | UnitState::Starting)) = scene.unit(name) {
            let evidence = format!("k3s is {unit:?} although {} is desired", scene.effective.state()).to_lowercase();
            draft.warnings.push(Warning::Drift { node: name.clone(), evidence });
        }
    }
}

fn is_unit_alive(scene: &Scene<'_>, name: &NodeName) -> bool {
    matches!(scene.unit(name), Some(UnitState::Running | UnitState::Starting))
}

/// How far a group of nodes is.
struct Stopped {
    is_done: bool,
    given_up: BTreeSet<NodeName>,
}

impl Stopped {
    fn of<'a>(progress: impl Iterator<Item = (&'a NodeName, Progress)>) -> Self {
        let mut stopped = Self { is_done: true, given_up: BTreeSet::new() };
        for (name, progress) in progress {
            match progress {
                Progress::Done => {}
                Progress::Pending => stopped.is_done = false,
                Progress::GivenUp => {
                    stopped.given_up.insert(name.clone());
                }
            }
        }
        stopped
    }
}

/// Stops k3s-agent on each worker that is drained.
fn stop_workers(scene: &Scene<'_>, draft: &mut Draft, drained: &Drained, is_detached: bool) -> Stopped {
    Stopped::of(scene.config.workers().map(|(name, node)| {
        let may_stop = drained.nodes.contains(name) && is_detached;
        (name, stop_unit(scene, draft, name, node, may_stop))
    }))
}

/// Stops k3s on the servers side by side, the etcd leader last.
fn stop_servers(scene: &Scene<'_>, draft: &mut Draft, is_gated: bool) -> Stopped {
    let begun = is_gated || scene.episode.phases.contains_key(&Phase::StopServers);
    if begun {
        draft.phases.insert(Phase::StopServers);
    }
    let alive: Vec<&NodeName> =
        scene.config.control_planes().map(|(name, _)| name).filter(|name| is_unit_alive(scene, name)).collect();
    let last = last_server(scene, &alive);
    let others_are_down = scene.config.control_planes().all(|(name, _)| {
        Some(name) == last.as_ref()
            || !matches!(scene.unit(name), Some(UnitState::Running | UnitState::Starting | UnitState::Stopping))
    });
    Stopped::of(scene.config.control_planes().map(|(name, node)| {
        let is_last = Some(name) == last.as_ref();
        let may_stop = begun && (!is_last || others_are_down || scene.is_emergency());
        (name, stop_unit(scene, draft, name, node, may_stop))
    }))
}

/// The server that stops last: the etcd leader, else the one a restore would use, else the last by name.
fn last_server(scene: &Scene<'_>, alive: &[&NodeName]) -> Option<NodeName> {
    let leader =
        alive.iter().find(|name| scene.host(name).and_then(|host| host.etcd).is_some_and(|member| member.is_leader));
    let preferred = scene.config.startup.etcd_restore_control_plane.as_ref();
    leader.or_else(|| alive.iter().find(|name| Some(**name) == preferred)).or(alive.last()).map(|name| (*name).clone())
}

/// How far one node is.
enum Progress {
    Done,
    Pending,
    GivenUp,
}

fn stop_unit(scene: &Scene<'_>, draft: &mut Draft, name: &NodeName, node: &Node, may_stop: bool) -> Progress {
    let unit = node.role.unit();
    let passed = scene.episode.phases.contains_key(&Phase::StopServers);
    let must_be_drained = scene.effective.path() == Path::Graceful
        && skips_drain(scene).is_none()
        && !passed
        && scene.objects().is_some()
        && !scene.effective.is_override();
    let step = Step::StopUnit {
        node: name.clone(),
        unit,
        machine_id: scene.ledger.machine_ids.get(name).cloned(),
        path: scene.step_path(draft),
        must_be_drained,
    };
    let limit = scene.limit(scene.config.shutdown.unit_stop_timeout);
    match scene.host_state(name) {
        HostState::Off | HostState::NotManaged => return Progress::Done,
        HostState::Up => {}
        HostState::Unreachable if scene.is_blind(name) => {
            draft.remember(&step);
            if scene.was_tried(&step) {
                return Progress::GivenUp;
            }
            if may_stop {
                draft.want(step, limit, "it answers, though nobody can see what it runs");
            } else {
                draft.later(step);
            }
            return Progress::Pending;
        }
        HostState::Unreachable | HostState::Wrong | HostState::Unknown => return away(scene, draft, name),
    }
    if let Some(mismatch) = role_mismatch(scene, name).filter(|_| !scene.effective.is_override()) {
        // It runs what nobody here would stop.
        draft.blockers.push(mismatch);
        return Progress::Pending;
    }
    match scene.unit(name) {
        Some(UnitState::Stopped | UnitState::NotFound) => Progress::Done,
        Some(UnitState::Running | UnitState::Starting) => {
            let was_tried = scene.was_tried(&step);
            if may_stop {
                draft.want(step, limit, "k3s stops before its host does");
            } else {
                draft.later(step);
            }
            if was_tried && scene.is_emergency() { Progress::GivenUp } else { Progress::Pending }
        }
        Some(UnitState::Stopping) => {
            let elapsed = draft.elapsed(scene, &format!("stopping {name}"));
            draft.wait(WaitReason::UnitSettled { node: name.clone(), unit }, elapsed, Some(limit));
            draft.keep(step, limit, "k3s stops before its host does");
            if elapsed >= limit && scene.is_emergency() { Progress::GivenUp } else { Progress::Pending }
        }
        None => Progress::Pending,
    }
}

/// The first look at a host after a start of hecate takes no longer.
const FIRST_LOOK: Duration = Duration::from_secs(30);

/// A host that does not answer delays the others only up to its limit, and never under an override's emergency path
/// once it was silent for a moment.
fn away(scene: &Scene<'_>, draft: &mut Draft, name: &NodeName) -> Progress {
    let evidence = scene.host_evidence(name);
    if scene.config.is_ignored(name) {
        draft.warnings.push(Warning::NodeAbsent { node: name.clone(), evidence });
        return Progress::GivenUp;
    }
    if let Some(told) = scene.ledger.powered_off.get(name) {
        let (elapsed, limit) = until_off(scene, name, told);
        draft.wait(WaitReason::HostOff { node: name.clone() }, elapsed, Some(limit));
        return Progress::Done;
    }
    let silent = draft.elapsed(scene, &format!("away {name}")).max(scene.silent_for(name));
    let limit = scene.limit(scene.config.shutdown.unreachable_limit);
    if !scene.effective.is_override() {
        let is_wrong = scene.host_state(name) == HostState::Wrong;
        if is_wrong && same_host_twice(scene, draft, name) {
            // It has been named.
        } else if is_wrong {
            let expected = scene.ledger.machine_ids.get(name).cloned();
            draft.blockers.push(Blocker::WrongHost { node: name.clone(), evidence: evidence.clone(), expected });
        } else if scene.host_failure(name) == Some(FailureKind::AccessDenied) {
            draft.blockers.push(Blocker::AccessDenied { node: name.clone(), evidence: evidence.clone() });
        }
    }
    let is_to_be_seen = scene.is_unseen(name) && scene.now.since(scene.memory.began) < FIRST_LOOK;
    if silent < limit || is_to_be_seen {
        draft.wait(WaitReason::NodeReachable { node: name.clone(), evidence }, silent, Some(limit));
        return Progress::Pending;
    }
    draft.warnings.push(Warning::NodeAbsent { node: name.clone(), evidence });
    Progress::GivenUp
}

fn skipped(draft: &mut Draft, what: &str, because: impl Into<String>) {
    draft.warnings.push(Warning::Skipped { what: what.to_owned(), because: because.into() });
}

//! The rules from served to dark, in order: cordon, drain, detach, etcd snapshot, stop workers, stop servers, end
//! containers, power off.
//!
//! Pure. Each rule is gated on those before it; a node moves through its own pipeline where the order allows. On the
//! graceful path of an operator's wish a gate that cannot be seen is a blocker; under a UPS' override it costs at most
//! its limit, is named, and the descent goes on.

#![deny(clippy::disallowed_methods)]

use std::collections::BTreeSet;
use std::time::Duration;

use super::blocker::{Blocker, WaitReason, Warning};
use super::scene::{Draft, Scene};
use super::step::{PodRef, Step};
use crate::config::Node;
use crate::ledger::{Phase, Wish};
use crate::model::{ClusterState, FailureKind, NodeName, Path, Role};
use crate::snapshot::{Datastore, UnitState};
use crate::status::HostState;

/// How long ending containers may take: `k3s-killall.sh` ends and unmounts, it waits for nothing.
const KILL_LIMIT: Duration = Duration::from_secs(60);
/// How long telling a host to power off may take; systemctl answers at once.
const POWER_OFF_LIMIT: Duration = Duration::from_secs(20);
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
    if let Some(why) = scene.effective.hold_descent() {
        held(scene, draft, why);
        return;
    }
    if scene.episode.converged.is_some() {
        report_drift(scene, draft);
        return;
    }
    draft.phases.insert(Phase::Cordon);
    let drained = drain(scene, draft);
    let is_detached = detach(scene, draft, &drained);
    let has_snapshot = etcd_snapshot(scene, draft, drained.is_all && is_detached);
    let workers = stop_workers(scene, draft, &drained, is_detached);
    let servers = stop_servers(scene, draft, drained.is_all && is_detached && has_snapshot && workers.is_done);
    let given_up: BTreeSet<NodeName> = workers.given_up.union(&servers.given_up).cloned().collect();
    kill_containers(scene, draft, drained.is_all);
    if scene.effective.state() == ClusterState::Poweroff {
        power_off(scene, draft, &given_up, servers.has_begun);
    }
}

/// A declared power-off is carried out once: after the boot that follows it, it is history.
fn is_spent(scene: &Scene<'_>, wish: &Wish) -> bool {
    let told_in_another_boot =
        scene.ledger.own_power_off.as_ref().is_some_and(|own| own.told.boot_id != scene.now.boot_id);
    !scene.effective.is_override()
        && wish.state == ClusterState::Poweroff
        && scene.ledger.fulfilled.as_ref() == Some(wish)
        && told_in_another_boot
}

/// A descent that begins no further step: an override whose mains are back but not yet stable, or a wish not trusted.
fn held(scene: &Scene<'_>, draft: &mut Draft, why: &str) {
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
        if let Some(unit @ (UnitState::Running | UnitState::Starting)) = scene.unit(name) {
            let evidence = format!("k3s is {unit:?} although {} is desired", scene.effective.state()).to_lowercase();
            draft.warnings.push(Warning::Drift { node: name.clone(), evidence });
        }
    }
}

/// Which nodes are drained.
struct Drained {
    nodes: BTreeSet<NodeName>,
    is_all: bool,
    is_skipped: bool,
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
fn drain(scene: &Scene<'_>, draft: &mut Draft) -> Drained {
    if scene.episode.phases.contains_key(&Phase::StopServers) {
        return Drained::all(scene, false);
    }
    if let Some(because) = skips_drain(scene) {
        skipped(draft, "cordon and drain", because);
        return Drained::all(scene, true);
    }
    if scene.objects().is_none() {
        return drain_unseen(scene, draft);
    }
    let mut is_cordoned = true;
    for (name, _) in scene.nodes() {
        let Some(object) = scene.object(name) else { continue };
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
    drained
}

/// Drains one node; says whether it is drained, or given up by name.
fn drain_node(scene: &Scene<'_>, draft: &mut Draft, name: &NodeName, is_cordoned: bool, elapsed: Duration) -> bool {
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
    let limit = scene.limit(configured);
    if !is_cordoned {
        draft.later(step);
        return false;
    }
    if elapsed < limit {
        draft.wait(WaitReason::Drained { node: name.clone(), pods: names.len() }, elapsed, Some(limit));
        draft.want(step, limit.saturating_sub(elapsed), "pods leave before their node stops");
        return false;
    }
    if scene.effective.is_override() || is_dead {
        let what = format!("{} pods on {name}", names.len());
        skipped(draft, &what, format!("not gone after {} s", limit.as_secs()));
        return true;
    }
    draft.blockers.push(Blocker::DrainStuck { node: name.clone(), pods: names });
    false
}

/// The API does not answer, so pods cannot be seen. Where nothing runs any more there is nothing to drain.
fn drain_unseen(scene: &Scene<'_>, draft: &mut Draft) -> Drained {
    let is_quiet = |name: &NodeName| match scene.host_state(name) {
        HostState::Up => matches!(scene.unit(name), Some(UnitState::Stopped | UnitState::NotFound)),
        HostState::Off | HostState::NotManaged => true,
        HostState::Unreachable | HostState::Wrong | HostState::Unknown => scene.config.is_ignored(name),
    };
    let quiet: BTreeSet<NodeName> =
        scene.nodes().map(|(name, _)| name).filter(|name| is_quiet(name)).cloned().collect();
    if quiet.len() == scene.nodes().count() {
        return Drained::all(scene, false);
    }
    let elapsed = draft.elapsed(scene, "api-for-drain");
    let limit = scene.limit(scene.config.shutdown.api_wait);
    let evidence = scene.api_evidence();
    if elapsed < limit {
        draft.wait(WaitReason::ApiReady { evidence }, elapsed, Some(limit));
        return Drained::none();
    }
    if scene.effective.is_override() {
        skipped(draft, "cordon and drain", format!("the API did not answer for {} s", limit.as_secs()));
        return Drained::all(scene, true);
    }
    draft.blockers.push(Blocker::DrainUnknown { evidence });
    Drained { nodes: quiet, is_all: false, is_skipped: false }
}

fn skips_drain(scene: &Scene<'_>) -> Option<&'static str> {
    if !scene.effective.is_override() && scene.options().skip_drain {
        Some("--skip-drain")
    } else if scene.is_emergency() && scene.config.shutdown.emergency_skip_drain {
        Some("shutdown.emergency_skip_drain")
    } else {
        None
    }
}

/// No node stops before the volumes of the whole cluster are detached or the limit has passed.
fn detach(scene: &Scene<'_>, draft: &mut Draft, drained: &Drained) -> bool {
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
    if drained.is_all && attached == Some(0) {
        draft.volumes_detached = true;
    }
    match attached {
        Some(0) => return true,
        None => return drained.is_all,
        Some(_) if drained.is_skipped => return true,
        Some(_) if !drained.is_all => return false,
        Some(_) => {}
    }
    draft.phases.insert(Phase::Detach);
    let volumes = attached.unwrap_or_default();
    let elapsed = scene.phase_age(Phase::Detach).unwrap_or_default();
    let limit = scene.limit(scene.config.shutdown.detach_timeout);
    if elapsed < limit {
        draft.wait(WaitReason::Detached { volumes }, elapsed, Some(limit));
        return false;
    }
    skipped(draft, &format!("waiting for {volumes} volumes"), format!("not detached after {} s", limit.as_secs()));
    true
}

/// Takes an etcd snapshot while quorum exists, once everything that writes has stopped.
fn etcd_snapshot(scene: &Scene<'_>, draft: &mut Draft, is_gated: bool) -> bool {
    if scene.episode.phases.contains_key(&Phase::StopServers) || !needs_snapshot(scene, draft) {
        return true;
    }
    let prefix = format!("hecate-{}", scene.episode.run);
    let servers: Vec<&NodeName> = scene.config.control_planes().map(|(name, _)| name).collect();
    let exists = servers.iter().filter_map(|name| scene.host(name)?.etcd_snapshots.as_ref());
    if exists.flatten().any(|name| name.starts_with(&prefix)) {
        return true;
    }
    let is_unlisted = |name: &&&NodeName| {
        is_unit_alive(scene, name) && scene.host(name).is_some_and(|host| host.etcd_snapshots.is_none())
    };
    let unlisted = servers.iter().find(is_unlisted).map(|name| (*name).clone());
    let Some(node) = snapshot_node(scene, &servers) else {
        let what = "the etcd snapshot";
        if scene.effective.is_override() || servers.iter().all(|name| !is_unit_alive(scene, name)) {
            skipped(draft, what, "no server runs".to_owned());
            return true;
        }
        draft.blockers.push(Blocker::EtcdSnapshotMissing { node: None, evidence: "no healthy server".to_owned() });
        return false;
    };
    let step = Step::SaveEtcdSnapshot { node: node.clone(), run: scene.episode.run.clone() };
    let limit = scene.limit(scene.config.shutdown.etcd_snapshot_timeout);
    if !is_gated {
        draft.later(step);
        return false;
    }
    draft.phases.insert(Phase::EtcdSnapshot);
    let elapsed = scene.phase_age(Phase::EtcdSnapshot).unwrap_or_default();
    if elapsed < limit {
        if let Some(name) = unlisted {
            // One may exist already, made before a restart of hecate: none is taken before the lists are known.
            let of = format!("the etcd snapshots on {name}");
            draft.wait(WaitReason::FirstObservation { of }, elapsed, Some(limit));
            draft.later(step);
            return false;
        }
        draft.wait(WaitReason::EtcdSnapshot { node: node.clone() }, elapsed, Some(limit));
        if scene.host(&node).is_some_and(|host| host.is_saving_etcd_snapshot) {
            draft.keep(step, limit, "the datastore is saved while it has quorum");
        } else {
            draft.want(step, limit.saturating_sub(elapsed), "the datastore is saved while it has quorum");
        }
        return false;
    }
    let evidence = format!("none after {} s", limit.as_secs());
    if scene.effective.is_override() {
        skipped(draft, "the etcd snapshot", evidence);
        return true;
    }
    draft.blockers.push(Blocker::EtcdSnapshotMissing { node: Some(node), evidence });
    false
}

fn needs_snapshot(scene: &Scene<'_>, draft: &mut Draft) -> bool {
    if !scene.effective.is_override() && scene.options().skip_etcd_snapshot {
        skipped(draft, "the etcd snapshot", "--skip-etcd-snapshot".to_owned());
        return false;
    }
    if scene.is_emergency() && scene.config.shutdown.emergency_skip_etcd_snapshot {
        skipped(draft, "the etcd snapshot", "shutdown.emergency_skip_etcd_snapshot".to_owned());
        return false;
    }
    let mut other = None;
    for (name, _) in scene.config.control_planes() {
        match scene.host(name).and_then(|host| host.datastore) {
            Some(Datastore::Sqlite) => other = Some("SQLite has no etcd snapshot"),
            Some(Datastore::External) => other = Some("the datastore is outside of k3s"),
            Some(Datastore::Etcd) | None => {}
        }
    }
    if let Some(because) = other {
        skipped(draft, "the etcd snapshot", because.to_owned());
    }
    other.is_none()
}

/// Where the snapshot is taken: `etcd_restore_control_plane` when it is healthy, else the leader, else any that runs.
fn snapshot_node(scene: &Scene<'_>, servers: &[&NodeName]) -> Option<NodeName> {
    let is_healthy = |name: &&&NodeName| {
        is_unit_alive(scene, name)
            && scene.host(name).is_some_and(|host| host.etcd.is_none_or(|member| member.is_healthy))
    };
    let preferred = scene.config.startup.etcd_restore_control_plane.as_ref();
    let is_leader =
        |name: &&&NodeName| scene.host(name).and_then(|host| host.etcd).is_some_and(|member| member.is_leader);
    let healthy: Vec<&&NodeName> = servers.iter().filter(is_healthy).collect();
    healthy
        .iter()
        .find(|name| Some(***name) == preferred)
        .or_else(|| healthy.iter().find(|name| is_leader(name)))
        .or_else(|| healthy.first())
        .map(|name| (**name).clone())
}

fn is_unit_alive(scene: &Scene<'_>, name: &NodeName) -> bool {
    matches!(scene.unit(name), Some(UnitState::Running | UnitState::Starting))
}

/// How far a group of nodes is.
struct Stopped {
    is_done: bool,
    has_begun: bool,
    given_up: BTreeSet<NodeName>,
}

/// Stops k3s-agent on each worker that is drained.
fn stop_workers(scene: &Scene<'_>, draft: &mut Draft, drained: &Drained, is_detached: bool) -> Stopped {
    let mut stopped = Stopped { is_done: true, has_begun: true, given_up: BTreeSet::new() };
    for (name, node) in scene.config.workers() {
        let may_stop = drained.nodes.contains(name) && is_detached;
        match stop_unit(scene, draft, name, node, may_stop) {
            Progress::Done => {}
            Progress::Pending => stopped.is_done = false,
            Progress::GivenUp => {
                stopped.given_up.insert(name.clone());
            }
        }
    }
    stopped
}

/// Stops k3s on the servers side by side, the etcd leader last.
fn stop_servers(scene: &Scene<'_>, draft: &mut Draft, is_gated: bool) -> Stopped {
    let mut stopped = Stopped { is_done: true, has_begun: false, given_up: BTreeSet::new() };
    let begun = is_gated || scene.episode.phases.contains_key(&Phase::StopServers);
    if begun {
        draft.phases.insert(Phase::StopServers);
        stopped.has_begun = true;
    }
    let alive: Vec<&NodeName> =
        scene.config.control_planes().map(|(name, _)| name).filter(|name| is_unit_alive(scene, name)).collect();
    let last = last_server(scene, &alive);
    let others_are_down = scene.config.control_planes().all(|(name, _)| {
        Some(name) == last.as_ref()
            || !matches!(scene.unit(name), Some(UnitState::Running | UnitState::Starting | UnitState::Stopping))
    });
    for (name, node) in scene.config.control_planes() {
        let is_last = Some(name) == last.as_ref();
        let may_stop = begun && (!is_last || others_are_down || scene.is_emergency());
        match stop_unit(scene, draft, name, node, may_stop) {
            Progress::Done => {}
            Progress::Pending => stopped.is_done = false,
            Progress::GivenUp => {
                stopped.given_up.insert(name.clone());
            }
        }
    }
    stopped
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
        path: scene.effective.path(),
        must_be_drained,
    };
    let limit = scene.limit(scene.config.shutdown.unit_stop_timeout);
    match scene.host_state(name) {
        HostState::Off | HostState::NotManaged => return Progress::Done,
        HostState::Up => {}
        HostState::Unreachable | HostState::Wrong | HostState::Unknown => return away(scene, draft, name),
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

/// A host that does not answer delays the others only up to its limit, and never under an override's emergency path
/// once it was silent for a moment.
fn away(scene: &Scene<'_>, draft: &mut Draft, name: &NodeName) -> Progress {
    let evidence = scene.host_evidence(name);
    if scene.config.is_ignored(name) {
        draft.warnings.push(Warning::NodeAbsent { node: name.clone(), evidence });
        return Progress::GivenUp;
    }
    if scene.is_told_off(name) {
        let elapsed = scene.silent_for(name);
        let limit = scene.config.shutdown.off_confirm;
        draft.wait(WaitReason::HostOff { node: name.clone() }, elapsed, Some(limit));
        return Progress::Done;
    }
    let silent = draft.elapsed(scene, &format!("away {name}")).max(scene.silent_for(name));
    let limit = scene.limit(scene.config.shutdown.unreachable_limit);
    if !scene.effective.is_override() {
        if scene.host_state(name) == HostState::Wrong {
            let expected = scene.ledger.machine_ids.get(name).cloned();
            draft.blockers.push(Blocker::WrongHost { node: name.clone(), evidence: evidence.clone(), expected });
        } else if scene.host_failure(name) == Some(FailureKind::AccessDenied) {
            draft.blockers.push(Blocker::AccessDenied { node: name.clone(), evidence: evidence.clone() });
        }
    }
    if silent < limit {
        draft.wait(WaitReason::NodeReachable { node: name.clone(), evidence }, silent, Some(limit));
        return Progress::Pending;
    }
    draft.warnings.push(Warning::NodeAbsent { node: name.clone(), evidence });
    Progress::GivenUp
}

/// Ends the containers that outlive a stopped unit: only once volumes are detached and where sudo allows it.
fn kill_containers(scene: &Scene<'_>, draft: &mut Draft, is_drained: bool) {
    for (name, _) in scene.nodes() {
        let Some(host) = scene.host(name) else { continue };
        if host.containers == 0 || scene.unit(name) != Some(UnitState::Stopped) {
            continue;
        }
        let step = Step::KillContainers { node: name.clone(), machine_id: scene.ledger.machine_ids.get(name).cloned() };
        let is_detached = scene.episode.volumes_detached || draft.volumes_detached;
        if scene.was_killed_in_vain(name) {
            draft.remember(&step);
        }
        if may_kill(scene, name) && is_detached && is_drained {
            draft.want(step, KILL_LIMIT, "containers outlive a stopped k3s");
        } else if may_kill(scene, name) && !is_drained {
            draft.later(step);
        } else {
            draft.warnings.push(Warning::ContainersLeft { node: name.clone(), count: host.containers });
        }
    }
}

fn may_kill(scene: &Scene<'_>, name: &NodeName) -> bool {
    scene.config.shutdown.killall
        && !scene.is_emergency()
        && scene.host(name).is_some_and(|host| host.killall_allowed)
        && !scene.was_killed_in_vain(name)
}

/// Powers hosts off: workers, control planes, last the host hecate runs on. Nothing is powered off before everything
/// that needs the API is done: until then returning mains cost nothing.
fn power_off(scene: &Scene<'_>, draft: &mut Draft, given_up: &BTreeSet<NodeName>, has_begun: bool) {
    let own = scene.config.own_host.node.as_ref();
    let mut workers_told = true;
    let mut all_off = true;
    for role in [Role::Worker, Role::ControlPlane] {
        let gate = has_begun && (role == Role::Worker || workers_told);
        for (name, node) in scene.nodes().filter(|(name, node)| node.role == role && Some(*name) != own) {
            if !node.power_off {
                continue;
            }
            let (is_told, is_off) = power_off_node(scene, draft, name, given_up.contains(name), gate);
            workers_told &= is_told || role == Role::ControlPlane;
            all_off &= is_off;
        }
    }
    if !scene.config.own_host.power_off {
        return;
    }
    let own_is_stopped = own.is_none_or(|own| {
        given_up.contains(own) || matches!(scene.unit(own), Some(UnitState::Stopped | UnitState::NotFound))
    });
    let step = Step::PowerOffOwnHost { path: scene.effective.path() };
    if all_off && own_is_stopped && has_begun {
        draft.phases.insert(Phase::PowerOff);
        draft.want(step, POWER_OFF_LIMIT, "the host that watches goes last");
    } else {
        draft.later(step);
    }
}

/// Powers one host off; says whether it was told, and whether it counts as off.
fn power_off_node(
    scene: &Scene<'_>,
    draft: &mut Draft,
    name: &NodeName,
    is_given_up: bool,
    is_gated: bool,
) -> (bool, bool) {
    let state = scene.host_state(name);
    if state == HostState::Off {
        return (true, true);
    }
    let host = scene.host(name);
    let step = Step::PowerOff {
        node: name.clone(),
        machine_id: scene.ledger.machine_ids.get(name).cloned(),
        boot_id: host.map(|host| host.boot_id.clone()),
        path: scene.effective.path(),
    };
    if let Some(told) = scene.ledger.powered_off.get(name) {
        let elapsed = told.told.age(scene.now);
        let limit = scene.config.shutdown.off_confirm;
        draft.wait(WaitReason::HostOff { node: name.clone() }, elapsed, Some(limit));
        if state == HostState::Up && scene.host_settled(name) {
            // The same boot still answers: hecate ended between its mark and the act, or the command failed.
            draft.want(step, POWER_OFF_LIMIT, "the cluster is to be dark");
            let is_late = elapsed >= scene.limit(limit) && scene.is_emergency();
            return (is_late, is_late);
        }
        return (true, state != HostState::Up && scene.is_emergency());
    }
    if state != HostState::Up {
        let is_passed = is_given_up || scene.config.is_ignored(name);
        return (is_passed, is_passed);
    }
    let is_stopped = matches!(scene.unit(name), Some(UnitState::Stopped | UnitState::NotFound));
    let has_containers = host.is_some_and(|host| host.containers > 0) && may_kill(scene, name);
    let waits_for_containers = has_containers && (scene.episode.volumes_detached || draft.volumes_detached);
    if is_gated && (is_stopped || is_given_up) && !waits_for_containers {
        draft.want(step, POWER_OFF_LIMIT, "the cluster is to be dark");
    } else {
        draft.later(step);
    }
    (false, false)
}

fn skipped(draft: &mut Draft, what: &str, because: impl Into<String>) {
    draft.warnings.push(Warning::Skipped { what: what.to_owned(), because: because.into() });
}

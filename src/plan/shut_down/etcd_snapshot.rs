//! The etcd snapshot: taken while there is quorum, once everything that writes has stopped.
//!
//! Pure.

use std::time::Duration;

use super::{is_unit_alive, skipped};
use crate::ledger::Phase;
use crate::model::NodeName;
use crate::plan::blocker::{Blocker, WaitReason};
use crate::plan::scene::{Draft, Scene};
use crate::plan::step::Step;
use crate::snapshot::Datastore;
use crate::status::HostState;
use crate::tracker::InFlight;

/// Why a snapshot is taken.
const SAVED: &str = "the datastore is saved while it has quorum";

/// Takes an etcd snapshot while quorum exists, once everything that writes has stopped.
pub(super) fn etcd_snapshot(scene: &Scene<'_>, draft: &mut Draft, is_gated: bool) -> bool {
    // While the rest keeps its quorum the datastore lives on.
    let is_kept = scene.effective.is_partial();
    if is_gated {
        draft.phases.insert(Phase::EtcdSnapshot);
    }
    if is_kept || scene.episode.phases.contains_key(&Phase::StopServers) || !needs_snapshot(scene, draft) {
        return true;
    }
    let prefix = format!("hecate-{}", scene.episode.run);
    let servers: Vec<&NodeName> = scene.config.control_planes().map(|(name, _)| name).collect();
    let exists = servers.iter().filter_map(|name| scene.host(name)?.etcd_snapshots.as_ref());
    draft.has_etcd_snapshot = exists.flatten().any(|name| name.starts_with(&prefix));
    if draft.has_etcd_snapshot || scene.episode.has_etcd_snapshot {
        // Its file is there a moment before the command ends: that is let come to its end.
        let_run(scene, draft);
        return true;
    }
    let is_unlisted = |name: &&&NodeName| {
        let has_no_list = || scene.host(name).is_some_and(|host| host.etcd_snapshots.is_none());
        match scene.host_state(name) {
            HostState::Unknown => true,
            HostState::Up => !scene.host_settled(name) || is_unit_alive(scene, name) && has_no_list(),
            // One missed look of a busy server, as after a restart of hecate: it is asked again.
            HostState::Unreachable => {
                scene.is_silent(name) && scene.silent_for(name) < scene.limit(scene.config.shutdown.unreachable_limit)
            }
            HostState::NotManaged | HostState::Off | HostState::Wrong => false,
        }
    };
    let unlisted = servers.iter().find(is_unlisted).map(|name| (*name).clone());
    let elapsed = scene.phase_age(Phase::EtcdSnapshot).unwrap_or_default();
    // One that is being taken goes on where it is, whoever would be chosen now.
    let running = scene.memory.in_flight.values().find_map(|one| {
        let Step::SaveEtcdSnapshot { node, run, .. } = &one.step else { return None };
        (*run == scene.episode.run).then(|| node.clone())
    });
    // After a restart only its host knows of it, and the leader may be another one by now.
    let is_saving = |name: &&&NodeName| scene.host(name).is_some_and(|host| host.is_saving_etcd_snapshot);
    let seen = || servers.iter().find(is_saving).map(|name| (*name).clone());
    let Some(node) = running.or_else(seen).or_else(|| snapshot_node(scene, &servers)) else {
        // Who was not looked at yet, after a restart of hecate, may run.
        if let Some(name) = servers.iter().find(|name| scene.host_state(name) == HostState::Unknown) {
            let limit = Some(scene.limit(scene.config.shutdown.unreachable_limit));
            draft.wait(WaitReason::FirstObservation { of: name.to_string() }, elapsed, limit);
            return false;
        }
        let is_stopped = |name: &&NodeName| match scene.host_state(name) {
            HostState::Off => true,
            HostState::Up => !is_unit_alive(scene, name),
            HostState::NotManaged | HostState::Unreachable | HostState::Wrong | HostState::Unknown => false,
        };
        if scene.effective.is_override() || servers.iter().all(is_stopped) {
            skipped(draft, "the etcd snapshot", "no server runs".to_owned());
            return true;
        }
        draft.blockers.push(Blocker::EtcdSnapshotMissing { node: None, evidence: "no healthy server".to_owned() });
        return false;
    };
    let machine_id = scene.ledger.machine_ids.get(&node).cloned();
    let step = Step::SaveEtcdSnapshot { node: node.clone(), run: scene.episode.run.clone(), machine_id };
    let configured = scene.config.shutdown.etcd_snapshot_timeout;
    if !is_gated {
        draft.later(step);
        return false;
    }
    let limit = scene.limit_within(configured, elapsed, Duration::ZERO);
    let is_saving = scene.host(&node).is_some_and(|host| host.is_saving_etcd_snapshot);
    if elapsed < limit {
        if let Some(name) = unlisted {
            // One may exist already, made before a restart of hecate: none is taken before the lists are known.
            let of = format!("the etcd snapshots on {name}");
            draft.wait(WaitReason::FirstObservation { of }, elapsed, Some(limit));
            draft.later(step);
            return false;
        }
        draft.wait(WaitReason::EtcdSnapshot { node: node.clone() }, elapsed, Some(limit));
        if is_saving {
            draft.keep(step, limit, SAVED);
        } else {
            draft.want(step, limit.saturating_sub(elapsed), SAVED);
        }
        return false;
    }
    let evidence = format!("none after {} s{}", elapsed.as_secs(), scene.shed(configured, limit));
    if scene.effective.is_override() {
        skipped(draft, "the etcd snapshot", evidence);
        return true;
    }
    draft.blockers.push(Blocker::EtcdSnapshotMissing { node: Some(node), evidence });
    // Whoever waits for a person goes on trying: hecate may have been away while the limit passed.
    if unlisted.is_none() && !is_saving {
        draft.want(step, configured, SAVED);
    } else {
        draft.keep(step, configured, SAVED);
    }
    false
}

/// While no server stops yet a snapshot that runs costs nobody anything, although the battery no longer waits for it.
pub(super) fn let_run(scene: &Scene<'_>, draft: &mut Draft) {
    let saving = |one: &&InFlight| matches!(one.step, Step::SaveEtcdSnapshot { .. });
    if let Some(one) = scene.memory.in_flight.values().find(saving) {
        let left = one.deadline.saturating_sub(scene.now.boottime);
        draft.keep(one.step.clone(), left, SAVED);
    }
}

pub(super) fn needs_snapshot(scene: &Scene<'_>, draft: &mut Draft) -> bool {
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
pub(super) fn snapshot_node(scene: &Scene<'_>, servers: &[&NodeName]) -> Option<NodeName> {
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

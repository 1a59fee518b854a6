//! Ending what outlives a stopped unit, and powering hosts off.
//!
//! Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::Node;
use crate::desired::OwnSupply;
use crate::desired::ups_policy::loads;
use crate::ledger::{Phase, PoweredOff};
use crate::model::{NodeName, Role};
use crate::plan::blocker::{WaitReason, Warning};
use crate::plan::load_cut;
use crate::plan::scene::{Draft, Scene};
use crate::plan::step::Step;
use crate::snapshot::UnitState;
use crate::status::HostState;

/// How long ending containers may take: `k3s-killall.sh` ends and unmounts, it waits for nothing.
pub(super) const KILL_LIMIT: Duration = Duration::from_secs(60);
/// How long telling a host to power off may take; systemctl answers at once.
pub(super) const POWER_OFF_LIMIT: Duration = Duration::from_secs(20);
/// Ends the containers that outlive a stopped unit: only once volumes are detached and where sudo allows it.
pub(super) fn kill_containers(scene: &Scene<'_>, draft: &mut Draft, is_drained: bool) {
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

pub(super) fn may_kill(scene: &Scene<'_>, name: &NodeName) -> bool {
    scene.config.shutdown.killall
        && !scene.is_emergency()
        && scene.host(name).is_some_and(|host| host.killall_allowed)
        && !scene.was_killed_in_vain(name)
}

/// Powers hosts off: workers, control planes, last the host hecate runs on. Nothing is powered off before everything
/// that needs the API is done: until then returning mains cost nothing.
pub(super) fn power_off(scene: &Scene<'_>, draft: &mut Draft, given_up: &BTreeSet<NodeName>, has_begun: bool) {
    let own = scene.config.own_host.node.as_ref();
    let mut workers_told = true;
    let mut all = All { are_off: true, who_answers_is_told: true, nobody_answers: true };
    for role in [Role::Worker, Role::ControlPlane] {
        let gate = has_begun && (role == Role::Worker || workers_told);
        for (name, node) in scene.nodes().filter(|(name, node)| node.role == role && Some(*name) != own) {
            if !node.power_off || !goes_off(scene, name, node) {
                // Who stays on is done once its k3s has stopped.
                let runs =
                    matches!(scene.unit(name), Some(UnitState::Running | UnitState::Starting | UnitState::Stopping));
                all.are_off &= !runs || given_up.contains(name) || !scene.effective.is_override();
                continue;
            }
            let (is_told, is_off) = power_off_node(scene, draft, name, given_up.contains(name), gate);
            workers_told &= is_told || role == Role::ControlPlane;
            all.are_off &= is_off;
            let is_marked = scene.is_told_off(name);
            all.who_answers_is_told &= is_marked || scene.host_state(name) != HostState::Up;
            all.nobody_answers &= matches!(scene.host_state(name), HostState::Off) || scene.is_silent(name);
        }
    }
    let own_is_stopped = own.is_none_or(|own| {
        given_up.contains(own) || matches!(scene.unit(own), Some(UnitState::Stopped | UnitState::NotFound))
    });
    let is_dark = all.are_off && own_is_stopped && has_begun;
    let own_goes = is_dark && !scene.effective.is_override() || has_begun && own_goes(scene, &all, is_dark);
    let may_go = load_cut::at_the_end(scene, draft, is_dark, own_goes);
    if !scene.config.own_host.power_off {
        return;
    }
    let step = Step::PowerOffOwnHost { path: scene.step_path(draft) };
    if own_goes && may_go {
        draft.phases.insert(Phase::PowerOff);
        draft.want(step, POWER_OFF_LIMIT, "the host that watches goes last");
    } else if !scene.effective.is_override() || scene.effective.own_supply() != OwnSupply::Holds {
        draft.later(step);
    }
}

/// How far all other hosts are.
struct All {
    /// Each counts as off, or was given up.
    are_off: bool,
    /// Nobody who answers is still to be told.
    who_answers_is_told: bool,
    /// Each is silent.
    nobody_answers: bool,
}

/// Whether a descent powers a node off. An override does so only where the node's own supply ends: who merely goes along is
/// stopped and stays on, as nothing would switch it on again, unless it can be woken. Once the hecate host must go itself, nobody
/// watches any more over those that run on their batteries.
fn goes_off(scene: &Scene<'_>, name: &NodeName, node: &Node) -> bool {
    let is_of_this_run =
        scene.ledger.powered_off.get(name).is_some_and(|told| told.run.as_ref() == Some(&scene.episode.run));
    let is_left_alone = || match scene.effective.own_supply() {
        OwnSupply::Holds | OwnSupply::Ends => false,
        OwnSupply::Unsure | OwnSupply::Low | OwnSupply::IsOver => {
            loads(scene.config).iter().any(|load| load.node == Some(name) && load.runs_on_battery(scene.power))
        }
    };
    !scene.effective.is_override()
        || node.wake.is_some()
        || scene.effective.ending().contains(name)
        || is_of_this_run
        || is_left_alone()
}

/// Whether an override lets the hecate host go now: only when its own supply ends, judged now. While that gives time it stays
/// and watches: mains may come back, other UPSes may fail, and hosts that were never told may answer.
fn own_goes(scene: &Scene<'_>, all: &All, is_dark: bool) -> bool {
    match (scene.effective.is_override(), scene.effective.own_supply()) {
        (false, _) | (true, OwnSupply::Holds | OwnSupply::Ends) => false,
        // Who is left alone may run on: somebody must watch.
        (true, OwnSupply::Unsure) => is_dark && scene.effective.spared().is_empty(),
        (true, OwnSupply::Low) => is_dark || all.nobody_answers && all.who_answers_is_told,
        (true, OwnSupply::IsOver) => all.who_answers_is_told,
    }
}

/// For how long a host that was told to power off has been waited for, and how long it takes to be sure that it is off: one
/// that was woken since, that had mains for a moment, or since when this host was booted, may be on its way up.
pub(super) fn until_off(scene: &Scene<'_>, name: &NodeName, told: &PoweredOff) -> (Duration, Duration) {
    let since_start = scene.now.since(scene.memory.began);
    match &told.woken {
        Some(woken) => (woken.age(scene.now), scene.config.startup.node_wait),
        None if told.told.boot_id != scene.now.boot_id => (since_start, scene.config.startup.node_wait),
        None => match scene.mains_seen(name) {
            Some(ago) => (ago, scene.config.startup.node_wait),
            None => (told.told.age(scene.now), scene.config.shutdown.off_confirm),
        },
    }
}

/// Powers one host off; says whether it was told, and whether it counts as off.
pub(super) fn power_off_node(
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
        boot_id: host.map(|host| host.boot_id.clone()).or_else(|| scene.ledger.boots.get(name).cloned()),
        path: scene.step_path(draft),
    };
    // Told by an earlier descent, and up all the same: it goes by the order of this one.
    let is_of_this_run = |told: &&PoweredOff| state != HostState::Up || told.run.as_ref() == Some(&scene.episode.run);
    if let Some(told) = scene.ledger.powered_off.get(name).filter(is_of_this_run) {
        let (elapsed, limit) = until_off(scene, name, told);
        draft.wait(WaitReason::HostOff { node: name.clone() }, elapsed, Some(limit));
        if (state == HostState::Up || scene.is_blind(name)) && scene.host_settled(name) {
            // The same boot still answers: hecate ended between its mark and the act, or the command failed.
            draft.want(step, POWER_OFF_LIMIT, "the cluster is to be dark");
            let is_late = elapsed >= scene.limit(limit) && scene.is_emergency();
            return (is_late, is_late);
        }
        let has_booted_by_now = !scene.may_boot(name) || elapsed >= scene.limit(limit);
        return (true, scene.is_silent(name) && scene.is_emergency() && has_booted_by_now);
    }
    if scene.is_blind(name) {
        draft.remember(&step);
        let was_tried = scene.was_tried(&step);
        if is_gated && is_given_up {
            draft.want(step, POWER_OFF_LIMIT, "it answers, though nobody can see what it runs");
        } else {
            draft.later(step);
        }
        return (was_tried, was_tried);
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

//! Effective against observed, row by row: what the diff view shows of nodes and UPSes.
//!
//! Pure. It describes; it never judges anew what the planner has judged.

#![deny(clippy::disallowed_methods)]

use std::collections::BTreeMap;

use super::{BudgetView, HostState, Intent, NodeRow, UpsRow, UpsVerdict, battery};
use crate::desired::ups_policy::trigger_at;
use crate::model::{ClusterState, NodeName, Unit, UpsName};
use crate::plan::Plan;
use crate::plan::safety::owes_drain;
use crate::plan::scene::Scene;
use crate::plan::step::Step;
use crate::snapshot::{NodeObject, UnitState};

/// One row a node of the inventory.
pub fn nodes(scene: &Scene<'_>) -> BTreeMap<NodeName, NodeRow> {
    scene.config.nodes.keys().map(|name| (name.clone(), node(scene, name))).collect()
}

fn node(scene: &Scene<'_>, name: &NodeName) -> NodeRow {
    let role = scene.config.nodes[name].role;
    let unit = role.unit();
    let host = scene.host_state(name);
    let unit_state = scene.unit(name);
    let (nodes, held) = (scene.effective.nodes(), scene.effective.held_nodes());
    // Where an override is about some nodes, the others have the state that was asked for.
    let state =
        if nodes.contains(name) || held.contains(name) { ClusterState::Poweroff } else { scene.effective.state() };
    let is_off_wanted = state == ClusterState::Poweroff && scene.config.nodes[name].power_off;
    let desired = match state {
        ClusterState::Running => "running",
        ClusterState::Poweroff if is_off_wanted => "off",
        ClusterState::DrainedOff | ClusterState::Poweroff => "stopped",
    };
    let missing = match state {
        ClusterState::Running => missing_up(scene, name, unit, host, unit_state),
        ClusterState::DrainedOff | ClusterState::Poweroff => {
            missing_down(scene, name, unit, (host, unit_state), is_off_wanted)
        }
    };
    NodeRow {
        role,
        unit,
        desired: desired.to_owned(),
        host,
        unit_state,
        node: node_text(scene, name),
        pods: pod_count(scene, name),
        is_as_desired: missing.is_empty(),
        missing,
    }
}

/// Pods that a drain would owe now; not only those that were there when the nodes were cordoned.
fn pod_count(scene: &Scene<'_>, name: &NodeName) -> Option<usize> {
    let pods = scene.snapshot.api.pods.fresh(scene.now, scene.config.reconcile.api_max_age)?;
    let on_node = pods.get(name).into_iter().flatten();
    Some(on_node.filter(|pod| owes_drain(pod, &scene.config.shutdown)).count())
}

fn node_text(scene: &Scene<'_>, name: &NodeName) -> String {
    let Some(object) = scene.object(name) else {
        return "Unknown".to_owned();
    };
    let ready = match (scene.readiness(name), object.is_ready) {
        (Ok(()), _) => "Ready",
        (Err(_), false) => "NotReady",
        (Err(_), true) => "Unknown",
    };
    if object.is_cordoned { format!("{ready},SchedulingDisabled") } else { ready.to_owned() }
}

fn missing_up(
    scene: &Scene<'_>,
    name: &NodeName,
    unit: Unit,
    host: HostState,
    unit_state: Option<UnitState>,
) -> String {
    match host {
        HostState::Up => {}
        HostState::NotManaged => return readiness(scene, name),
        HostState::Off => return "powered off".to_owned(),
        HostState::Unreachable | HostState::Wrong | HostState::Unknown => return scene.host_evidence(name),
    }
    match unit_state {
        Some(UnitState::Running) => {}
        Some(state) => return format!("{unit} is {}", unit_text(state)),
        None => return format!("{unit} is unknown"),
    }
    match scene.object(name) {
        Some(NodeObject { is_cordoned: true, cordoned_by: Some(run), .. }) => format!("cordoned by hecate ({run})"),
        Some(_) | None => readiness(scene, name),
    }
}

fn readiness(scene: &Scene<'_>, name: &NodeName) -> String {
    scene.readiness(name).err().unwrap_or_default()
}

fn missing_down(
    scene: &Scene<'_>,
    name: &NodeName,
    unit: Unit,
    (host, unit_state): (HostState, Option<UnitState>),
    is_off_wanted: bool,
) -> String {
    match host {
        HostState::Off | HostState::NotManaged => return String::new(),
        HostState::Up => {}
        HostState::Unreachable | HostState::Wrong | HostState::Unknown => return scene.host_evidence(name),
    }
    match unit_state {
        Some(UnitState::Stopped | UnitState::NotFound) if is_off_wanted => "still powered on".to_owned(),
        Some(UnitState::Stopped | UnitState::NotFound) => String::new(),
        Some(state) => format!("{unit} is {}", unit_text(state)),
        None => format!("{unit} is unknown"),
    }
}

/// A unit's state in systemd's words.
pub fn unit_text(state: UnitState) -> &'static str {
    match state {
        UnitState::NotFound => "not-found",
        UnitState::Stopped => "inactive",
        UnitState::Starting => "activating",
        UnitState::Running => "active",
        UnitState::Stopping => "deactivating",
    }
}

/// One row a UPS.
pub fn upses(scene: &Scene<'_>) -> BTreeMap<UpsName, UpsRow> {
    let row = |name: &UpsName| {
        let reading = scene.snapshot.upses.get(name);
        let value = reading.and_then(|reading| reading.value());
        let assessment = scene.power.upses.get(name);
        let status = match (value, reading.and_then(|reading| reading.failure())) {
            (Some(value), _) => value.status.to_string(),
            (None, Some(why)) => why.to_string(),
            (None, None) => "not observed yet".to_owned(),
        };
        UpsRow {
            status,
            charge_percent: value.and_then(|value| value.charge_percent),
            runtime: value.and_then(|value| value.runtime),
            load_percent: value.and_then(|value| value.load_percent),
            verdict: assessment.map_or(UpsVerdict::Unknown, |one| one.verdict),
            evidence: assessment.map_or_else(String::new, |one| one.evidence.clone()),
            on_battery_for: assessment.and_then(|one| one.on_battery_for),
            battery: battery::row(scene, name),
        }
    };
    scene.config.upses.keys().map(|name| (name.clone(), row(name))).collect()
}

/// What a shutdown needs and what the batteries give.
pub fn budget(scene: &Scene<'_>) -> BudgetView {
    // A UPS that tells none may be the one that ends first.
    let runtimes = scene.snapshot.upses.values().map(|reading| reading.value()?.runtime);
    let shortest = || runtimes.collect::<Option<Vec<_>>>()?.into_iter().min();
    let is_calm = !scene.power.is_on_battery();
    let needs = scene.budget.needs;
    BudgetView {
        needs_full: needs.full,
        needs_emergency: needs.emergency,
        slowest: scene.history.lessons().slowest().to_vec(),
        full: scene.budget.full.time,
        full_samples: scene.budget.full.samples,
        emergency: scene.budget.emergency.time,
        emergency_samples: scene.budget.emergency.samples,
        trigger_at: trigger_at(scene.config, scene.budget),
        has: scene.effective.time_left().or_else(|| shortest().filter(|_| is_calm)),
    }
}

/// What other hosts and guards read.
pub fn intent(scene: &Scene<'_>, plan: &Plan) -> Intent {
    let is_over = scene.episode.converged.is_some() || plan.is_converged();
    let goes_off = plan.start.iter().any(|planned| matches!(planned.step, Step::PowerOffOwnHost { .. }));
    match (scene.effective.state(), is_over) {
        (ClusterState::Running, true) => Intent::Normal,
        (ClusterState::Running, false) => Intent::StartupInProgress,
        (ClusterState::DrainedOff | ClusterState::Poweroff, true) => Intent::ShutdownComplete,
        (ClusterState::DrainedOff | ClusterState::Poweroff, false) if goes_off => Intent::ShutdownComplete,
        (ClusterState::DrainedOff | ClusterState::Poweroff, false) => Intent::ShuttingDown,
    }
}

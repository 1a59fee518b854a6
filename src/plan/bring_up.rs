//! The rules from dark to served, in order: guards, hosts, control planes, workers, uncordon.
//!
//! Pure. The guards hold only the *start* of what is stopped; what runs is never stopped by them. Unknown or stale
//! never opens a gate here; the one exception is the named grace for a silent UPS.

#![deny(clippy::disallowed_methods)]

mod clocks;
mod peers;
pub(super) mod recharge;
mod wake;

use std::collections::BTreeSet;
use std::time::Duration;

use self::wake::{is_wanted as is_wake_wanted, wake};
use super::blocker::{Blocker, WaitReason, Warning};
use super::identity::{role_mismatch, same_host_twice};
use super::load_cut;
use super::scene::{Draft, Scene};
use super::step::Step;
use crate::config::{CoordinationRole, Drift, Node, UpsScope};
use crate::desired::DeclaredHealth;
use crate::desired::ups_policy::{self, Assessment};
use crate::model::{FailureKind, NodeName, Role, UpsName};
use crate::snapshot::{Datastore, UnitState};
use crate::status::{HostState, UpsVerdict};

/// How long `systemctl start --no-block` may take; it only queues the job.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long a patch of a Node may take.
const UNCORDON_LIMIT: Duration = Duration::from_secs(15);

/// Plans a bring-up, or keeps what is up.
pub fn bring_up(scene: &Scene<'_>, draft: &mut Draft) {
    if *scene.health == DeclaredHealth::Lost {
        draft.blockers.push(Blocker::WishNotTrusted { why: "desired.yaml was lost".to_owned() });
        return;
    }
    for (name, _) in scene.config.nodes.iter().filter(|(_, node)| !node.is_managed) {
        draft.warnings.push(Warning::NotManaged { node: name.clone() });
    }
    power_warnings(scene, draft);
    peers::warnings(scene, draft);
    load_cut::warn_early(scene, draft);
    recharge::warn_early(scene, draft);
    let starts = |name: &NodeName| needs_start(scene, name);
    let gates = if scene.nodes().any(|(name, _)| starts(name)) { guards(scene, draft, starts) } else { Gates::open() };
    let is_wanted_alone = |name: &NodeName| is_wake_wanted(scene, name) && !starts(name);
    let is_any_alone = scene.nodes().any(|(name, _)| is_wanted_alone(name));
    let may_wake = if is_any_alone { quiet_guards(scene, draft) } else { gates.clone() };
    for (name, node) in scene.nodes() {
        if scene.host_state(name) != HostState::Up {
            let may_wake =
                may_wake.open_for(name) && (!is_wake_wanted(scene, name) || recharge::has_stood(scene, draft, node));
            absent(scene, draft, name, node, may_wake);
        }
    }
    wake(scene, draft, &may_wake);
    load_cut::return_power(scene, draft, gates.is_open && gates.held.is_empty());
    // After the hosts: a clock cannot be in sync before its host is up.
    let gates = Gates { is_open: clocks::clocks(scene, draft) && gates.is_open, ..gates };
    if !gates.is_open {
        started_by_itself(scene, draft);
    }
    start(scene, draft, Role::ControlPlane, &gates);
    let is_served = api(scene, draft);
    let gates = Gates { is_open: gates.is_open && is_served, ..gates };
    start(scene, draft, Role::Worker, &gates);
    let missing = if is_served { ready(scene, draft, &gates) } else { BTreeSet::new() };
    uncordon(scene, draft, is_served, &missing);
}

/// Which starts may go ahead.
#[derive(Clone, Debug)]
struct Gates {
    /// Nothing holds all of them.
    is_open: bool,
    /// Nodes whose own UPSes hold theirs.
    held: BTreeSet<NodeName>,
}

impl Gates {
    fn open() -> Self {
        Self { is_open: true, held: BTreeSet::new() }
    }

    /// Whether this node may be started.
    fn open_for(&self, node: &NodeName) -> bool {
        self.is_open && !self.held.contains(node)
    }
}

/// Whether something on this node would have to be started.
fn needs_start(scene: &Scene<'_>, name: &NodeName) -> bool {
    match scene.host_state(name) {
        HostState::Up => scene.unit(name) == Some(UnitState::Stopped),
        HostState::Off => true,
        HostState::Unreachable => is_wake_wanted(scene, name) && !scene.config.is_ignored(name),
        HostState::Wrong | HostState::Unknown | HostState::NotManaged => false,
    }
}

/// The guards for what only an ignored node wants: they hold it back as they do everybody, but nobody is told, because it
/// never holds anything up.
fn quiet_guards(scene: &Scene<'_>, draft: &mut Draft) -> Gates {
    let mut quiet = Draft::default();
    let gates = guards(scene, &mut quiet, |name| needs_start(scene, name) || is_wake_wanted(scene, name));
    for (name, since) in quiet.waiting_since {
        draft.waiting_since.entry(name).or_insert(since);
    }
    gates
}

/// k3s' installer enables its units, so a node that boots starts k3s past every gate here: that is shown.
fn started_by_itself(scene: &Scene<'_>, draft: &mut Draft) {
    for (name, node) in scene.nodes() {
        if matches!(scene.unit(name), Some(UnitState::Running | UnitState::Starting)) {
            draft.warnings.push(Warning::StartedByItself { node: name.clone(), unit: node.role.unit() });
        }
    }
}

/// Rule 1: everything that must hold before anything is started.
fn guards(scene: &Scene<'_>, draft: &mut Draft, starts: impl Fn(&NodeName) -> bool) -> Gates {
    let options = scene.options();
    let before = (draft.blockers.len(), draft.waits.len());
    if let Some(why) = scene.ledger_problem {
        draft.blockers.push(Blocker::LedgerUnreadable { why: why.to_owned() });
    }
    if scene.config.coordination.role == CoordinationRole::Peer && !options.allow_peer_startup {
        draft.blockers.push(Blocker::PeerMayNotStart);
    }
    let is_battery_allowed = options.allow_on_battery || scene.config.coordination.allow_startup_on_battery;
    peers::guard(scene, draft);
    let is_open = before == (draft.blockers.len(), draft.waits.len());
    let mut gates = Gates { is_open, held: load_cut::held(scene, draft, &starts) };
    if !is_battery_allowed {
        battery_guard(scene, draft, &starts, &mut gates);
        if scene.episode.converged.is_none() {
            let held = recharge::gate(scene, draft, starts);
            gates.is_open &= !held.all;
            gates.held.extend(held.nodes);
        } else {
            gates.held.extend(cut_in_calm(scene, draft, starts));
        }
    }
    gates
}

/// Who is held in a cluster that was as desired: a unit that drifted knows no gate, a host that went with its power does.
fn cut_in_calm(scene: &Scene<'_>, draft: &mut Draft, starts: impl Fn(&NodeName) -> bool) -> BTreeSet<NodeName> {
    let is_asked = |name: &NodeName| starts(name) && has_booted(scene, name);
    let asked: BTreeSet<NodeName> =
        scene.nodes().map(|(name, _)| name).filter(|name| is_asked(name)).cloned().collect();
    if asked.is_empty() {
        return asked;
    }
    let held = recharge::gate(scene, draft, is_asked);
    if held.all { asked } else { held.nodes }
}

/// Whether a host has booted since the cluster last was as desired.
fn has_booted(scene: &Scene<'_>, name: &NodeName) -> bool {
    let up_for = scene.host(name).and_then(|host| host.up_for);
    let settled_for = scene.episode.converged.as_ref().map(|converged| converged.age(scene.now));
    up_for.zip(settled_for).is_some_and(|(up, settled)| up < settled)
}

/// Nothing starts on battery. Where an outage takes only the nodes that hang on its UPS, it holds only those, and everybody
/// where it feeds this host, or nobody knows what it feeds.
fn battery_guard(scene: &Scene<'_>, draft: &mut Draft, starts: impl Fn(&NodeName) -> bool, gates: &mut Gates) {
    let is_for_all = |ups: &UpsName| {
        let is_own = scene.config.own_host.feeds.contains(ups) || scene.config.unnamed_upses.contains(ups);
        is_own || scene.config.ups_policy.scope == UpsScope::Cluster
    };
    let loads = ups_policy::loads(scene.config);
    for (name, assessment) in &scene.power.upses {
        match assessment.verdict {
            UpsVerdict::OnBattery | UpsVerdict::Critical => {}
            UpsVerdict::OnLine | UpsVerdict::Unknown | UpsVerdict::Ignored => continue,
        }
        let fed = loads.iter().filter(|load| load.feeds.contains(name) && load.runs_on_battery(scene.power));
        let held: BTreeSet<NodeName> = fed.filter_map(|load| load.node).filter(|node| starts(node)).cloned().collect();
        if ups_policy::is_fed_by_others(scene.config, scene.power, name) {
            continue;
        } else if is_for_all(name) {
            gates.is_open = false;
        } else if held.is_empty() {
            continue;
        } else {
            gates.held.extend(held);
        }
        draft.blockers.push(Blocker::OnBattery { ups: name.clone(), status: assessment.evidence.clone() });
    }
}

fn power_warnings(scene: &Scene<'_>, draft: &mut Draft) {
    if scene.power.upses.is_empty() {
        draft.warnings.push(Warning::PowerUnguarded { evidence: "no UPS is configured".to_owned() });
    } else if scene.power.upses.values().any(is_unheard) {
        draft.warnings.push(Warning::PowerUnguarded { evidence: silent_upses(scene) });
    }
}

/// Whether nothing is known of a UPS, or nothing is to be known.
fn is_unheard(assessment: &Assessment) -> bool {
    matches!(assessment.verdict, UpsVerdict::Unknown | UpsVerdict::Ignored)
}

fn silent_upses(scene: &Scene<'_>) -> String {
    let silent = scene.power.upses.iter().filter(|(_, one)| is_unheard(one));
    silent.map(|(name, one)| format!("{name}: {}", one.evidence)).collect::<Vec<_>>().join("; ")
}

/// Rule 2: a host that does not answer. A control plane is needed; a worker that nothing requires is a warning after its
/// limit, not a wall.
fn absent(scene: &Scene<'_>, draft: &mut Draft, name: &NodeName, node: &Node, may_wake: bool) {
    let evidence = scene.host_evidence(name);
    let state = scene.host_state(name);
    if scene.config.is_ignored(name) {
        draft.warnings.push(Warning::NodeAbsent { node: name.clone(), evidence });
        return;
    }
    if state == HostState::Wrong && same_host_twice(scene, draft, name) {
        return;
    }
    if state == HostState::Wrong {
        let expected = scene.ledger.machine_ids.get(name).cloned();
        draft.blockers.push(Blocker::WrongHost { node: name.clone(), evidence, expected });
        return;
    }
    if scene.host_failure(name) == Some(FailureKind::AccessDenied) {
        draft.blockers.push(Blocker::AccessDenied { node: name.clone(), evidence });
        return;
    }
    if is_wake_wanted(scene, name) && !may_wake {
        // Its time begins when it may be woken.
        draft.wait(WaitReason::NodeReachable { node: name.clone(), evidence }, Duration::ZERO, None);
        return;
    }
    // A host that was off for hours gets the whole limit from the beginning of the episode.
    let elapsed = draft.elapsed(scene, &format!("away {name}"));
    let limit = scene.config.startup.node_wait;
    if let Some((reason, since, limit)) = load_cut::returning(scene, name) {
        draft.wait(reason, since, Some(limit));
    } else if state == HostState::Unknown {
        draft.wait(WaitReason::FirstObservation { of: name.to_string() }, elapsed, Some(limit));
    } else if elapsed < limit {
        draft.wait(WaitReason::NodeReachable { node: name.clone(), evidence }, elapsed, Some(limit));
    } else if node.role == Role::Worker {
        draft.warnings.push(Warning::NodeAbsent { node: name.clone(), evidence });
    } else if state == HostState::Off || scene.may_boot(name) {
        draft.blockers.push(Blocker::HostOff { node: name.clone() });
    } else {
        let since = scene.silent_for(name);
        draft.blockers.push(Blocker::NodeUnreachable { node: name.clone(), evidence, since });
    }
}

/// Rules 3 and 4: starts the units of one role that are stopped; outside of an episode only after the drift grace.
fn start(scene: &Scene<'_>, draft: &mut Draft, role: Role, gates: &Gates) {
    for (name, node) in scene.nodes().filter(|(_, node)| node.role == role) {
        let unit = node.role.unit();
        let step =
            || Step::StartUnit { node: name.clone(), unit, machine_id: scene.ledger.machine_ids.get(name).cloned() };
        if let Some(mismatch) = role_mismatch(scene, name) {
            draft.blockers.push(mismatch);
            continue;
        }
        match scene.unit(name) {
            Some(UnitState::Stopped) => {}
            Some(UnitState::NotFound) => {
                draft.blockers.push(Blocker::UnitNotFound { node: name.clone(), unit });
                continue;
            }
            Some(UnitState::Starting | UnitState::Stopping) => {
                let elapsed = draft.elapsed(scene, &format!("starting {name}"));
                let limit = Some(scene.config.startup.api_wait);
                draft.wait(WaitReason::UnitSettled { node: name.clone(), unit }, elapsed, limit);
                continue;
            }
            Some(UnitState::Running) | None => continue,
        }
        if scene.episode.converged.is_some() && !drifted(scene, draft, name, node) {
            continue;
        }
        if gates.open_for(name) {
            draft.want(step(), START_LIMIT, "running is desired");
        } else {
            draft.later(step());
        }
    }
}

/// Whether a unit found stopped outside of an episode is to be started now.
fn drifted(scene: &Scene<'_>, draft: &mut Draft, name: &NodeName, node: &Node) -> bool {
    let unit = node.role.unit();
    let stopped_for = scene.memory.stopped_since.get(name).map_or(Duration::ZERO, |since| scene.now.since(*since));
    let grace = scene.config.reconcile.drift_grace;
    match scene.config.reconcile.drift {
        Drift::Report => {
            let evidence = format!("{unit} is stopped for {} s", stopped_for.as_secs());
            draft.warnings.push(Warning::Drift { node: name.clone(), evidence });
            false
        }
        Drift::Correct if stopped_for < grace => {
            draft.wait(WaitReason::DriftGrace { node: name.clone(), unit }, stopped_for, Some(grace));
            false
        }
        Drift::Correct => true,
    }
}

/// Rule 3: the API is ready and the etcd members are healthy.
fn api(scene: &Scene<'_>, draft: &mut Draft) -> bool {
    let limit = scene.config.startup.api_wait;
    let has_server = scene
        .config
        .control_planes()
        .any(|(name, _)| matches!(scene.unit(name), Some(UnitState::Running | UnitState::Starting)));
    if !scene.api_ready() {
        let evidence = scene.api_evidence();
        if !has_server {
            let any_up = scene.nodes().any(|(name, _)| scene.host_state(name) == HostState::Up);
            if !any_up || draft.blockers.is_empty() && draft.waits.is_empty() && draft.wants.is_empty() {
                let elapsed = draft.elapsed(scene, "api-ready");
                draft.wait(WaitReason::ApiReady { evidence }, elapsed, Some(limit));
            }
            return false;
        }
        let elapsed = draft.elapsed(scene, "api-ready");
        if elapsed < limit {
            draft.wait(WaitReason::ApiReady { evidence }, elapsed, Some(limit));
        } else {
            draft.blockers.push(Blocker::ApiNotReady { evidence });
        }
        return false;
    }
    let sick: BTreeSet<NodeName> = scene
        .config
        .control_planes()
        .filter(|(name, _)| {
            scene.unit(name) == Some(UnitState::Running)
                && scene.host(name).is_some_and(|host| {
                    host.datastore == Some(Datastore::Etcd) && host.etcd.is_some_and(|member| !member.is_healthy)
                })
        })
        .map(|(name, _)| name.clone())
        .collect();
    if !sick.is_empty() {
        let elapsed = draft.elapsed(scene, "etcd-healthy");
        if elapsed < limit {
            draft.wait(WaitReason::EtcdHealthy { nodes: sick }, elapsed, Some(limit));
        } else {
            let names: Vec<&str> = sick.iter().map(NodeName::as_str).collect();
            let evidence = format!("etcd is not healthy on {}", names.join(", "));
            draft.blockers.push(Blocker::ApiNotReady { evidence });
        }
    }
    true
}

/// Rule 4: nodes are Ready by fresh status. Gives the expected workers that are not.
fn ready(scene: &Scene<'_>, draft: &mut Draft, gates: &Gates) -> BTreeSet<NodeName> {
    let limit = scene.config.startup.node_wait;
    let mut missing = BTreeSet::new();
    for (name, node) in scene.nodes() {
        // Who waits for its own battery is waited for there.
        if scene.host_state(name) != HostState::Up || gates.held.contains(name) {
            continue;
        }
        let Err(evidence) = scene.readiness(name) else { continue };
        let elapsed = draft.elapsed(scene, &format!("ready {name}"));
        if elapsed < limit {
            missing.insert(name.clone());
            draft.wait(WaitReason::NodeReady { node: name.clone(), evidence }, elapsed, Some(limit));
        } else if scene.objects().is_some() && scene.object(name).is_none() {
            // A server with --disable-agent has no Node either.
            draft.warnings.push(Warning::NodeNotRegistered { node: name.clone() });
        } else if node.role == Role::Worker {
            draft.warnings.push(Warning::NodeAbsent { node: name.clone(), evidence });
        } else {
            draft.blockers.push(Blocker::NodeNotReady { node: name.clone(), evidence });
        }
    }
    if missing.is_empty() && scene.objects().is_some() {
        let watched = scene.config.nodes.iter().filter(|(_, node)| !node.is_managed);
        for (name, _) in watched.filter(|(name, _)| scene.object(name).is_none()) {
            draft.warnings.push(Warning::NodeNotRegistered { node: name.clone() });
        }
    }
    let waited_for: BTreeSet<&str> = draft.waits.iter().filter_map(|wait| waited_for(&wait.reason)).collect();
    for (name, _) in scene.config.workers() {
        let is_expected = scene.host_state(name) != HostState::Up && !scene.config.is_ignored(name);
        if is_expected && waited_for.contains(name.as_str()) {
            missing.insert(name.clone());
        }
    }
    missing
}

/// The host whose answer is waited for.
fn waited_for(reason: &WaitReason) -> Option<&str> {
    if let WaitReason::NodeReachable { node, .. } = reason {
        return Some(node.as_str());
    }
    if let WaitReason::FirstObservation { of } = reason { Some(of) } else { None }
}

/// Rule 4: takes back hecate's own cordons, all together: one by one, every pending pod would pile onto the first node.
fn uncordon(scene: &Scene<'_>, draft: &mut Draft, is_served: bool, missing: &BTreeSet<NodeName>) {
    let Some(objects) = scene.objects() else { return };
    let elapsed = if is_served && !missing.is_empty() { draft.elapsed(scene, "uncordon") } else { Duration::ZERO };
    let limit = scene.config.startup.uncordon_wait;
    let mut held = false;
    let is_own = |(name, _): &(&NodeName, &Node)| objects.get(*name).is_some_and(|it| it.cordoned_by.is_some());
    let is_held_by_peer = scene.nodes().any(|node| is_own(&node)) && peers::holds_cordons(scene, draft);
    for (name, _) in scene.nodes() {
        let Some(object) = objects.get(name).filter(|object| object.is_cordoned) else { continue };
        if object.cordoned_by.is_none() {
            draft.warnings.push(Warning::CordonedByOther { node: name.clone() });
            continue;
        }
        let step = Step::Uncordon { node: name.clone() };
        if is_held_by_peer {
            draft.later(step);
        } else if is_served && scene.readiness(name).is_ok() && (missing.is_empty() || elapsed >= limit) {
            draft.want(step, UNCORDON_LIMIT, "hecate cordoned it and it is Ready again");
        } else {
            held |= is_served && scene.readiness(name).is_ok();
            draft.later(step);
        }
    }
    if held {
        draft.wait(WaitReason::Uncordon { missing: missing.clone() }, elapsed, Some(limit));
    }
}

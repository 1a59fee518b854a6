//! What must hold after every tick, judged on the world and on what was begun.
//!
//! No rule asks what a plan would have to be: each knows what a step does to the world, and what hecate was told.

use hecate::ledger::Phase;
use hecate::model::{ClusterState, Path};
use hecate::plan::step::Step;

use super::cluster::{FULL, NODES, WORKER, index};
use super::hecate::{Hecate, Passed};
use super::view::says_on_battery;
use super::world::{Cordon, K3s, Mood, Power, World};

/// The name of a rule.
pub(crate) type Rule = &'static str;

/// A unit start or a wake-up while the UPS says that mains are gone.
pub(crate) const ON_BATTERY: Rule = "nothing starts on battery";
/// The same on mains with a battery that has not even half of its charge.
pub(crate) const BELOW_GATE: Rule = "nothing starts below the recharge gate";
/// A disruptive step while the UPS says that mains are there and the operator wishes the cluster to run.
pub(crate) const HEALTHY_MAINS: Rule = "nothing is shut down on healthy mains without a wish";
/// A power-off by the graceful path of a host on which pods run that a drain owes.
pub(crate) const UNDRAINED: Rule = "no power-off of an undrained node on the graceful path";
/// An end of the containers of such a host.
pub(crate) const ENDED: Rule = "no containers of an undrained node are ended on the graceful path";
/// A server is stopped or powered off while running is obeyed.
pub(crate) const QUORUM: Rule = "quorum is kept while running is obeyed";
/// The operator's wish after a pass is another than before.
pub(crate) const WISH: Rule = "an operator's wish is never rewritten";
/// An uncordon of what somebody else cordoned.
pub(crate) const FOREIGN: Rule = "what others cordoned stays so";
/// A step begins on a target on which one is under way.
pub(crate) const ONE_A_TARGET: Rule = "never two steps in flight on one target";
/// A power-off of a host that k3s still runs on and that was not asked to stop it since it was booted, or because of an
/// outage that was over before it was booted.
pub(crate) const OLD_OUTAGE: Rule = "a host that came back is never powered off for the old outage";
/// A step down by a wish to power off which has powered the hecate host off already.
pub(crate) const ONCE: Rule = "a wish to power off is carried out once";
/// A step that relies on the ledger begins on mains without it.
pub(crate) const LEDGER_FIRST: Rule = "what relies on the ledger waits for the disk";
/// The hecate host goes while others are up that it has not given up.
pub(crate) const OWN_LAST: Rule = "the hecate host goes last";
/// A pass ends with nothing to say although it is not converged.
pub(crate) const NAMED: Rule = "every pass names what it does, waits for or is blocked by";
/// A pass says converged of a world that is not as desired.
pub(crate) const CONVERGED: Rule = "converged is true of the world";

/// What the rules know besides the world and hecate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Truth {
    /// Whether hosts and API were looked at in this tick.
    pub(crate) is_looked: bool,
    /// Whether the present wish has powered the hecate host off.
    pub(crate) is_carried_out: bool,
    /// Whether nobody else starts and stops the cluster: then what runs on a node is what its drain left there.
    pub(crate) is_alone: bool,
}

/// The first rule that a tick's passes break.
pub(crate) fn judge(world: &World, hecate: &Hecate, passes: &[Passed], truth: Truth) -> Option<Rule> {
    passes.iter().find_map(|passed| {
        let steps = passed.started.iter().find_map(|step| judge_step(world, hecate, passed, step, truth));
        steps.or_else(|| judge_pass(world, passed, truth))
    })
}

fn judge_step(world: &World, hecate: &Hecate, passed: &Passed, step: &Step, truth: Truth) -> Option<Rule> {
    let effective = &passed.decision.effective;
    let is_start = matches!(step, Step::StartUnit { .. } | Step::Wake { .. });
    let is_off = matches!(step, Step::PowerOff { .. } | Step::PowerOffOwnHost { .. });
    let on_battery = says_on_battery(world);
    let broken = |is_broken: bool, rule: Rule| is_broken.then_some(rule);
    if passed.doubled.contains(&step.target()) {
        return Some(ONE_A_TARGET);
    }
    if is_start && on_battery == Some(true) {
        return Some(ON_BATTERY);
    }
    if is_start && world.ups == Mood::Honest && world.level * 2 < FULL {
        return Some(BELOW_GATE);
    }
    let is_wished = hecate.desk.declared.spec.state != ClusterState::Running;
    if step.is_disruptive() && on_battery == Some(false) && !is_wished {
        return Some(HEALTHY_MAINS);
    }
    if step.is_disruptive() && truth.is_carried_out && !effective.is_override() {
        return Some(ONCE);
    }
    if step.relies_on_ledger() && on_battery == Some(false) && !passed.was_durable {
        return Some(LEDGER_FIRST);
    }
    if is_off && effective.is_override() && on_battery.is_some() && !had_outage(world, step) {
        return Some(OLD_OUTAGE);
    }
    let node = step.node().map(|name| index(&name))?;
    let host = &world.hosts[node];
    let takes_down = matches!(step, Step::StopUnit { .. } | Step::PowerOff { .. });
    broken(takes_down && node < WORKER && effective.state() == ClusterState::Running, QUORUM)
        .or_else(|| judge_end(world, hecate, passed, step, truth))
        .or_else(|| broken(matches!(step, Step::Uncordon { .. }) && host.cordon == Cordon::Foreign, FOREIGN))
}

/// Whether mains were lost since the host that a step is about was booted.
fn had_outage(world: &World, step: &Step) -> bool {
    step.node().map_or(world.own_outage, |name| world.hosts[index(&name)].outage)
}

/// What ends for good what runs on a node.
fn judge_end(world: &World, hecate: &Hecate, passed: &Passed, step: &Step, truth: Truth) -> Option<Rule> {
    let effective = &passed.decision.effective;
    let phases = hecate.desk.ledger.episode.as_ref().map(|episode| &episode.phases);
    let has_begun = |phase| phases.is_some_and(|phases| phases.contains_key(&phase));
    let (node, path, rule) = match step {
        Step::PowerOff { node, path, .. } => (node, *path, UNDRAINED),
        Step::KillContainers { node, .. } if has_begun(Phase::DrainShed) => (node, Path::Emergency, ENDED),
        Step::KillContainers { node, .. } => (node, effective.path(), ENDED),
        Step::StartUnit { .. }
        | Step::StopUnit { .. }
        | Step::Cordon { .. }
        | Step::Uncordon { .. }
        | Step::Drain { .. }
        | Step::SaveEtcdSnapshot { .. }
        | Step::PowerOffOwnHost { .. }
        | Step::Wake { .. }
        | Step::CutLoad { .. } => return None,
    };
    let host = &world.hosts[index(node)];
    if host.power != Power::On {
        return None;
    }
    if truth.is_alone && path == Path::Graceful && host.workload {
        return Some(rule);
    }
    (rule == UNDRAINED && host.k3s != K3s::Stopped && !host.asked_to_stop).then_some(OLD_OUTAGE)
}

fn judge_pass(world: &World, passed: &Passed, truth: Truth) -> Option<Rule> {
    let plan = &passed.decision.plan;
    let is_silent = plan.start.is_empty()
        && plan.running.is_empty()
        && plan.cancel.is_empty()
        && plan.waits.is_empty()
        && plan.blockers.is_empty();
    if is_silent != passed.decision.status.is_converged {
        return Some(NAMED);
    }
    let is_own_off = |step: &Step| matches!(step, Step::PowerOffOwnHost { .. });
    if passed.started.iter().any(is_own_off) && truth.is_looked && !goes_last(world, passed) {
        return Some(OWN_LAST);
    }
    let is_as_desired = match passed.decision.effective.state() {
        ClusterState::Running => is_running(world),
        ClusterState::DrainedOff => is_stopped(world),
        ClusterState::Poweroff => is_dark(world),
    };
    // What came up by itself after a descent is shown, and left to the operator.
    let is_claimed = match passed.decision.effective.state() {
        ClusterState::Running => plan.is_converged(),
        ClusterState::DrainedOff | ClusterState::Poweroff => passed.has_just_converged,
    };
    (is_claimed && truth.is_looked && !is_as_desired).then_some(CONVERGED)
}

/// Nobody is up but who cannot be asked, or was told in vain on the emergency path.
fn goes_last(world: &World, passed: &Passed) -> bool {
    passed.decision.effective.path() == Path::Emergency || (0..NODES).all(|node| !world.is_up(node))
}

/// Every server that answers runs, there is quorum, and no node that may have pods is kept from them by hecate.
fn is_running(world: &World) -> bool {
    let runs = |node: usize| !world.is_up(node) || world.hosts[node].k3s == K3s::Running;
    let is_kept_back = |node: usize| world.is_up(node) && world.hosts[node].cordon == Cordon::Hecate;
    world.is_served() && (0..NODES).all(runs) && !(0..NODES).any(is_kept_back)
}

fn is_stopped(world: &World) -> bool {
    (0..NODES).all(|node| !world.is_up(node) || world.hosts[node].k3s == K3s::Stopped)
}

fn is_dark(world: &World) -> bool {
    (0..NODES).all(|node| !world.is_up(node))
}

//! What a claim is compared with: hecate and the world after a tick.
//!
//! Pure.

use super::claim::What;
use crate::decide::Decision;
use crate::model::NodeName;
use crate::plan::step::Step;
use crate::simulate::Simulation;
use crate::simulate::world::Host;
use crate::snapshot::UnitState;

/// A simulation after a tick.
pub(super) struct Seen<'a>(pub(super) &'a Simulation);

impl Seen<'_> {
    /// What shows that this is so; None where it is not.
    pub(super) fn evidence(&self, what: &What) -> Option<String> {
        let world = &self.0.world;
        match what {
            What::Step { name, target } => self
                .started(|step| step.name() == name && target.as_ref().is_none_or(|target| *target == step.target())),
            What::AnyStep => self.started(|_| true),
            What::Evicts(namespace) => self.started(|step| match step {
                Step::Drain { pods, .. } => pods.iter().any(|pod| pod.namespace == *namespace),
                Step::StartUnit { .. }
                | Step::StopUnit { .. }
                | Step::KillContainers { .. }
                | Step::Cordon { .. }
                | Step::Uncordon { .. }
                | Step::SaveEtcdSnapshot { .. }
                | Step::PowerOff { .. }
                | Step::PowerOffOwnHost { .. }
                | Step::Wake { .. }
                | Step::CutLoad { .. } => false,
            }),
            What::Disruption => self.started(Step::is_disruptive),
            What::Override { state, path } => {
                let is_meant = |one: &&crate::desired::Override| {
                    state.is_none_or(|state| state == one.state) && path.is_none_or(|path| path == one.path)
                };
                let found = self.0.desk.declared.overrides.iter().find(is_meant)?;
                Some(format!("{} demands {} ({}): {}", found.source, found.state, found.path, found.reason))
            }
            What::Effective { state, path } => {
                let effective = &self.decided()?.effective;
                let is_so = effective.state() == *state && path.is_none_or(|path| path == effective.path());
                is_so.then(|| format!("{state} is obeyed"))
            }
            What::Converged(state) => {
                let decision = self.decided().filter(|decision| decision.plan.is_converged())?;
                let is_so = state.is_none_or(|state| state == decision.effective.state());
                is_so.then(|| format!("converged: {}", decision.effective.state()))
            }
            What::Blocker(name) => {
                self.decided()?.plan.blockers.iter().find(|it| it.name() == name).map(ToString::to_string)
            }
            What::Wait(name) => {
                let waits = &self.decided()?.plan.waits;
                waits.iter().find(|it| it.reason.name() == name).map(|it| format!("waits for {}", it.reason))
            }
            What::Warning(name) => {
                self.decided()?.plan.warnings.iter().find(|it| it.name() == name).map(ToString::to_string)
            }
            What::On(Some(node)) => self.host(node, |host| host.is_on, "has power"),
            What::On(None) => world.own_is_on.then(|| "the hecate host has power".to_owned()),
            What::Off(Some(node)) => self.host(node, |host| !host.is_on, "is off"),
            What::Off(None) => (!world.own_is_on).then(|| "the hecate host is off".to_owned()),
            What::Dark => world.is_dark().then(|| "every node is off".to_owned()),
            What::Running(node) => self.host(node, is_running, "runs k3s"),
            What::Stopped(node) => self.host(node, |host| !is_running(host), "does not run k3s"),
            What::Cordoned(node) => {
                let is_so = world.objects.get(node).is_some_and(|object| object.is_cordoned);
                is_so.then(|| format!("{node} is cordoned"))
            }
            What::HardCut(node) => {
                let is_meant = |name: &NodeName| node.as_ref().is_none_or(|node| node == name);
                let cut = world.hosts.iter().find(|(name, host)| is_meant(name) && host.hard_cuts > 0);
                let own = node.is_none() && world.own_was_cut();
                let name = cut.map(|(name, _)| name.to_string()).or(own.then(|| "the hecate host".to_owned()))?;
                Some(format!("{name} lost its power while it ran"))
            }
        }
    }

    /// What hecate was at, for a claim that did not come true.
    pub(super) fn standing(&self) -> String {
        let Some(decision) = self.0.last.as_ref().filter(|_| self.0.world.own_is_on) else {
            return "the hecate host is off".to_owned();
        };
        let plan = &decision.plan;
        let running = plan.running.iter().map(|step| format!("{step} runs"));
        let blockers = plan.blockers.iter().map(|it| format!("blocked by {}", it.name()));
        let waits = plan.waits.iter().map(|it| format!("waits for {}", it.reason));
        let all: Vec<String> = blockers.chain(running).chain(waits).collect();
        let doing = if all.is_empty() { "nothing to do".to_owned() } else { all.join("; ") };
        format!("going for {}: {doing}", decision.effective.state())
    }

    /// The decision of this tick's pass.
    fn decided(&self) -> Option<&Decision> {
        self.0.last.as_ref().filter(|_| self.0.has_passed)
    }

    fn started(&self, is_meant: impl Fn(&Step) -> bool) -> Option<String> {
        self.0.started.iter().find(|planned| is_meant(&planned.step)).map(|planned| planned.step.to_string())
    }

    fn host(&self, node: &NodeName, is_so: impl Fn(&Host) -> bool, says: &str) -> Option<String> {
        self.0.world.hosts.get(node).is_some_and(is_so).then(|| format!("{node} {says}"))
    }
}

fn is_running(host: &Host) -> bool {
    host.is_on && host.unit == UnitState::Running
}

//! Steps that come again: on what was looked at since, where it is not seen already, and not more often than they may.
//!
//! Pure.

use std::time::Duration;

use super::{OFTEN, REPEATED, Watch};
use crate::decide::Decision;
use crate::model::NodeName;
use crate::plan::step::{Outcome, Step};
use crate::simulate::Simulation;
use crate::snapshot::UnitState;

/// In so long ...
const SPAN: Duration = Duration::from_secs(60);
/// ... one host is told the same at most so often: after 2, 4 and then each 8 s on battery.
const COMMANDS_MAX: usize = 10;
/// ... and to power off: not before 20 s.
const POWER_OFFS_MAX: usize = 4;

impl Watch {
    /// No command goes to one host more often than its pause between two attempts allows; a start of hecate forgets one.
    pub(super) fn often(&mut self, simulation: &Simulation, step: &Step) {
        let (node, most): (&NodeName, usize) = match step {
            Step::PowerOff { node, .. } => (node, POWER_OFFS_MAX),
            Step::StartUnit { node, .. } | Step::StopUnit { node, .. } | Step::Wake { node } => (node, COMMANDS_MAX),
            Step::KillContainers { .. }
            | Step::Cordon { .. }
            | Step::Uncordon { .. }
            | Step::Drain { .. }
            | Step::SaveEtcdSnapshot { .. }
            | Step::PowerOffOwnHost { .. }
            | Step::CutLoad { .. } => return,
        };
        let now = simulation.world.time;
        let is_recent = |at: &Duration| now.saturating_sub(*at) < SPAN;
        self.starts.retain(is_recent);
        let times = self.commands.entry((node.clone(), step.name())).or_default();
        times.retain(is_recent);
        // What failed or was refused is tried again soon.
        let last = simulation.desk.memory.attempts.get(&step.key());
        if last.is_some_and(|last| last.outcome != Outcome::Tried) {
            return;
        }
        times.push(now);
        let (count, most) = (times.len(), most + 2 * self.starts.len());
        if count > most {
            self.broken(OFTEN, format!("{step}: {count} times within {} s", SPAN.as_secs()));
        }
    }

    /// A step is begun on what was looked at since the last one on the same target ended.
    pub(super) fn unlooked(&mut self, simulation: &Simulation, decision: &Decision, step: &Step) {
        let snapshot = &decision.status.snapshot;
        let host = |node: &NodeName| snapshot.hosts.get(node).map(|reading| reading.began());
        let looked = match step {
            Step::StartUnit { node, .. }
            | Step::StopUnit { node, .. }
            | Step::KillContainers { node, .. }
            | Step::SaveEtcdSnapshot { node, .. }
            | Step::PowerOff { node, .. }
            | Step::Wake { node } => host(node),
            Step::Cordon { .. } | Step::Uncordon { .. } | Step::Drain { .. } => Some(snapshot.api.nodes.began()),
            Step::PowerOffOwnHost { .. } | Step::CutLoad { .. } => None,
        };
        let ended = simulation.desk.memory.ended.get(&step.target());
        if looked.zip(ended).is_some_and(|(looked, ended)| looked < *ended) {
            self.broken(REPEATED, format!("{step} before anybody looked at what the last step there did"));
        }
    }

    /// A step whose effect is seen already is not wanted a second time.
    pub(super) fn shown_already(&mut self, decision: &Decision, step: &Step) {
        let snapshot = &decision.status.snapshot;
        let unit = |node: &NodeName, unit| snapshot.hosts.get(node).and_then(|it| it.value()).map(|it| it.unit(unit));
        let is_cordoned = |node: &NodeName| {
            snapshot.api.nodes.value().and_then(|nodes| nodes.get(node)).map(|object| object.is_cordoned)
        };
        let is_shown = match step {
            Step::StartUnit { node, unit: it, .. } => unit(node, *it) == Some(UnitState::Running),
            Step::StopUnit { node, unit: it, .. } => unit(node, *it) == Some(UnitState::Stopped),
            Step::Cordon { node, .. } => is_cordoned(node) == Some(true),
            Step::Uncordon { node } => is_cordoned(node) == Some(false),
            Step::KillContainers { .. }
            | Step::Drain { .. }
            | Step::SaveEtcdSnapshot { .. }
            | Step::PowerOff { .. }
            | Step::PowerOffOwnHost { .. }
            | Step::Wake { .. }
            | Step::CutLoad { .. } => false,
        };
        if is_shown {
            self.broken(REPEATED, format!("{step} although that is seen already"));
        }
    }
}

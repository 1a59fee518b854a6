//! How long things take on each node: as past runs saw it, else as small k3s nodes have it, give or take.
//!
//! Pure. Where a budget takes a high quantile of past runs, an outage draws one of them: the slow one as often as it came.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;

use crate::budget::{HOST_OFF, SAMPLES_MAX};
use crate::history::{History, Run};
use crate::model::{ClusterState, NodeName};
use crate::plan::step::Outcome;
use crate::simulate::world::Pace;

/// What past descents took, by step and target.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Paces {
    steps: BTreeMap<String, BTreeMap<String, Vec<Duration>>>,
}

impl Paces {
    /// Learns from the same descents as budgets do.
    pub(super) fn learned(history: &History) -> Self {
        let mut paces = Self::default();
        let is_descent = |run: &&Run| run.state != ClusterState::Running;
        let descents = history.runs().iter().rev().filter(is_descent).take(SAMPLES_MAX);
        for step in descents.flat_map(|run| &run.steps).filter(|step| step.outcome == Outcome::Tried) {
            let targets = paces.steps.entry(step.step.clone()).or_default();
            targets.entry(step.target.clone()).or_default().push(step.took);
        }
        paces
    }

    /// How many times of steps are known.
    pub(super) fn count(&self) -> usize {
        self.steps.values().flat_map(BTreeMap::values).map(Vec::len).sum()
    }

    /// One of the times that a step took on a node, or where it was never seen there, on any other one.
    pub(super) fn draw(&self, rng: &mut Rng, step: &str, node: &NodeName) -> Option<Duration> {
        let targets = self.steps.get(step)?;
        match targets.get(node.as_str()) {
            Some(times) => rng.choice(times).copied(),
            None => rng.choice(&targets.values().flatten().copied().collect::<Vec<_>>()).copied(),
        }
    }

    /// The pace of a node's host.
    pub(super) fn host(&self, rng: &mut Rng, node: &NodeName) -> Pace {
        let usual = Pace::default();
        let seen = |rng: &mut Rng, step: &str, usual: Duration| {
            let varied = vary(rng, usual);
            self.draw(rng, step, node).unwrap_or(varied)
        };
        Pace {
            host_boot: vary(rng, usual.host_boot),
            host_stop: seen(rng, HOST_OFF, usual.host_stop),
            server_start: vary(rng, usual.server_start),
            agent_start: vary(rng, usual.agent_start),
            unit_stop: seen(rng, "stop-unit", usual.unit_stop),
            etcd_snapshot: seen(rng, "save-etcd-snapshot", usual.etcd_snapshot),
            recharge: usual.recharge,
        }
    }
}

/// From three quarters of the usual time to two and a half times it, the long ones seldom.
fn vary(rng: &mut Rng, usual: Duration) -> Duration {
    let chance = rng.f64();
    let times = 0.75 + 0.75 * chance + chance.powi(6);
    Duration::from_secs((usual.as_secs_f64() * times).round() as u64)
}

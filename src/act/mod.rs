//! What hecate does to the world: one exhaustive match from a step to the hand that carries it out.
//!
//! Actors decide nothing. They take the last look that their step calls for, act, and say "tried", "refused" or why not;
//! never "done". The deadline is the loop's.

pub mod etcd;
pub mod kubernetes;
pub mod load_cut;
pub mod nodes;
pub mod power;
pub mod wake;

use std::sync::Arc;
use std::time::Duration;

use self::power::OwnHost;
use crate::clients::ssh::Ssh;
use crate::config::Config;
use crate::model::{NodeName, UpsName};
use crate::observe::kubernetes::Api;
use crate::plan::Planned;
use crate::plan::step::{Outcome, Step};

/// How long the last look before a stop may take.
const LAST_LOOK_LIMIT: Duration = Duration::from_secs(10);

/// Everything an actor needs.
#[derive(Debug)]
pub struct Hands {
    /// The configuration.
    pub config: Arc<Config>,
    /// The way to the nodes.
    pub ssh: Ssh,
    /// The way to the API.
    pub api: Arc<Api>,
    /// The host hecate runs on.
    pub own_host: Arc<dyn OwnHost>,
}

impl Hands {
    /// Carries one step out.
    pub async fn perform(&self, planned: &Planned) -> Outcome {
        let limit = planned.limit;
        match &planned.step {
            Step::StartUnit { node, unit, machine_id } => {
                nodes::start_unit(&self.ssh, node, *unit, machine_id.as_ref(), limit).await
            }
            Step::StopUnit { node, unit, machine_id, path: _, must_be_drained } => {
                if *must_be_drained && let Some(evidence) = self.undrained(node).await {
                    return Outcome::Refused { evidence };
                }
                nodes::stop_unit(&self.ssh, node, *unit, machine_id.as_ref(), limit).await
            }
            Step::KillContainers { node, machine_id } => {
                nodes::kill_containers(&self.ssh, node, machine_id.as_ref(), limit).await
            }
            Step::Cordon { node, run } => kubernetes::cordon(&self.api, node, run, limit).await,
            Step::Uncordon { node } => kubernetes::uncordon(&self.api, node, limit).await,
            Step::Drain { node, pods, pdb_grace } => kubernetes::drain(&self.api, node, pods, *pdb_grace, limit).await,
            Step::SaveEtcdSnapshot { node, run, machine_id } => {
                etcd::save_snapshot(&self.ssh, node, run, machine_id.as_ref(), limit).await
            }
            Step::PowerOff { node, machine_id, boot_id, path: _ } => {
                power::power_off(&self.ssh, node, machine_id.as_ref(), boot_id.as_ref(), limit).await
            }
            Step::PowerOffOwnHost { path: _ } => self.own_host.power_off().await,
            Step::Wake { node } => match self.config.nodes.get(node).and_then(|node| node.wake.as_ref()) {
                Some(method) => wake::wake(method, limit).await,
                None => Outcome::Refused { evidence: format!("{node} has no wake method") },
            },
            Step::CutLoad { ups, feeds_own_host } => self.cut_load(ups, *feeds_own_host, limit).await,
        }
    }

    /// Never takes the power from a host that will not power itself off before.
    async fn cut_load(&self, ups: &UpsName, feeds_own_host: bool, limit: Duration) -> Outcome {
        if let Some(refusal) = self.own_host.refusal().filter(|_| feeds_own_host) {
            return Outcome::Refused { evidence: format!("this host would lose its power while it runs: {refusal}") };
        }
        match self.config.upses.get(ups) {
            Some(ups) => load_cut::cut_load(ups, limit).await,
            None => Outcome::Refused { evidence: format!("no UPS {ups} is configured") },
        }
    }

    /// The last look before a unit that must be drained is stopped: what is left, or why it cannot be seen.
    async fn undrained(&self, node: &NodeName) -> Option<String> {
        match kubernetes::undrained(&self.api, node, &self.config.shutdown, LAST_LOOK_LIMIT).await {
            Ok(pods) if pods.is_empty() => None,
            Ok(pods) => Some(format!("{} still runs {}", node, pods.join(", "))),
            Err(error) => Some(crate::telemetry::chain(&error).to_string()),
        }
    }
}

//! What hecate sees: every source with its own cadence, deadline and age.
//!
//! Each source has tasks of its own that write readings; taking a snapshot only copies them. So nothing that hangs ever
//! delays a pass, and a source that fails is a reading that says why.

pub mod kubernetes;
pub mod nodes;
pub mod peer;
pub mod ups;
pub mod witness;

use std::sync::Arc;

use tokio::sync::Notify;

use self::kubernetes::Api;
use self::nodes::{Hosts, Interest};
use self::peer::Peers;
use self::ups::Upses;
use self::witness::Witnesses;
use crate::clients::ssh::Ssh;
use crate::config::Config;
use crate::decide::Decision;
use crate::model::{ClusterState, Failure, FailureKind};
use crate::plan::step::Target;
use crate::snapshot::Snapshot;

/// All sources.
#[derive(Debug)]
pub struct Eyes {
    upses: Upses,
    witnesses: Witnesses,
    hosts: Hosts,
    api: Arc<Api>,
    peers: Peers,
}

impl Eyes {
    /// Starts watching everything; `wake` is notified when something that rules read has changed.
    pub fn open(config: &Arc<Config>, ssh: &Ssh, wake: &Arc<Notify>) -> Self {
        Self {
            upses: Upses::start(config, wake),
            witnesses: Witnesses::start(config, wake),
            hosts: Hosts::start(config, ssh, wake),
            api: Arc::new(Api::start(config, Arc::clone(wake))),
            peers: Peers::start(config, ssh, wake),
        }
    }

    /// The Kubernetes source, which actors share: one connection, one cache.
    pub fn api(&self) -> Arc<Api> {
        Arc::clone(&self.api)
    }

    /// All that was seen so far. Never waits.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            upses: self.upses.readings(),
            witnesses: self.witnesses.readings(),
            hosts: self.hosts.readings(),
            api: self.api.snapshot(),
            peers: self.peers.readings(),
            load_cuts: self.upses.load_cuts(),
        }
    }

    /// Looks as often as it may.
    pub fn look_closely(&self) {
        self.hosts.set_interest(Interest { is_busy: true, wants_etcd_snapshots: false });
        self.api.set_busy(true);
        self.peers.set_busy(true);
    }

    /// Whether every source was looked at once, with or without success.
    pub fn is_complete(&self) -> bool {
        let snapshot = self.snapshot();
        let is_seen = |why: Option<&Failure>| why.is_none_or(|why| why.kind != FailureKind::NotYet);
        snapshot.upses.values().all(|reading| is_seen(reading.failure()))
            && snapshot.hosts.values().all(|reading| is_seen(reading.failure()))
            && snapshot.peers.values().all(|reading| is_seen(reading.failure()))
            && is_seen(snapshot.api.nodes.failure())
            && is_seen(snapshot.api.pods.failure())
    }

    /// Looks more closely while something is going on.
    pub fn focus(&self, decision: &Decision, has_steps: bool) {
        let is_busy = has_steps || !decision.plan.is_converged() || decision.effective.is_on_battery();
        let wants_etcd_snapshots = decision.effective.state() != ClusterState::Running && !decision.plan.is_converged();
        self.hosts.set_interest(Interest { is_busy, wants_etcd_snapshots });
        self.api.set_busy(is_busy);
        self.peers.set_busy(is_busy);
    }

    /// Looks at what a step has just acted on.
    pub fn refresh(&self, target: &Target) {
        match target {
            Target::Node(node) => {
                self.hosts.refresh(node);
                self.api.refresh();
            }
            Target::OwnHost | Target::Ups(_) => {}
        }
    }
}

//! What waits for a person's act, as opposed to what time or hecate itself must bring.
//!
//! Pure.

use crate::config::{Config, Drift, RechargeTimeout};
use crate::decide::Decision;
use crate::plan::blocker::{Blocker, Warning};

/// Blockers that name an act of a person. Everything else must end by itself once the mains are there.
const ACTS: [&str; 16] = [
    "peer-may-not-start",
    "peer-may-not-stop",
    "wish-not-trusted",
    "paused",
    "node-paused",
    "wrong-host",
    "access-denied",
    "same-host-twice",
    "role-mismatch",
    "host-off",
    "node-unreachable",
    "unit-not-found",
    "drain-unknown",
    "etcd-snapshot-missing",
    "already-fulfilled",
    "ledger-unreadable",
];

/// The act of a person that is waited for, by the name of its blocker.
pub(in crate::simulate) fn act(decision: &Decision, config: &Config) -> Option<&'static str> {
    let holds = config.startup.recharge_timeout == RechargeTimeout::Hold;
    let is_act = |blocker: &&Blocker| {
        ACTS.contains(&blocker.name())
            || holds && blocker.name() == "recharge-too-slow"
            || matches!(blocker, Blocker::TimeNotSynced { is_past: true, .. })
    };
    let blocker = decision.plan.blockers.iter().find(is_act).map(Blocker::name);
    // What stands still is started by whoever stopped it, where the configuration asks for a report only.
    let is_reported = |warning: &&Warning| config.reconcile.drift == Drift::Report && warning.name() == "drift";
    blocker.or_else(|| decision.plan.warnings.iter().find(is_reported).map(|warning| warning.name()))
}

//! What a person should know, by name.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{NodeName, PeerName, Unit, UpsName};

/// Something a person should know that holds nothing up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "name", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Warning {
    /// A worker stayed away past its limit; the cluster runs without it.
    NodeAbsent {
        /// Which.
        node: NodeName,
        /// Why.
        evidence: String,
    },
    /// Nobody guards the power.
    PowerUnguarded {
        /// Which UPSes cannot be seen, and why.
        evidence: String,
    },
    /// Something was started although a battery does not hold one bring-up and one more shutdown.
    Unprotected {
        /// Which.
        ups: UpsName,
        /// What is missing.
        evidence: String,
    },
    /// A UPS says something a person should look at (RB, ALARM, OVER, BYPASS, unknown words).
    Ups {
        /// Which.
        ups: UpsName,
        /// What.
        evidence: String,
    },
    /// The world differs from what is desired outside of an episode.
    Drift {
        /// Where.
        node: NodeName,
        /// How.
        evidence: String,
    },
    /// A node is cordoned by somebody else and stays so.
    CordonedByOther {
        /// Which.
        node: NodeName,
    },
    /// Containers outlive their unit and hecate may not end them.
    ContainersLeft {
        /// Where.
        node: NodeName,
        /// How many.
        count: u32,
    },
    /// Something was left out to be dark in time, or because a flag said so.
    Skipped {
        /// What.
        what: String,
        /// Why.
        because: String,
    },
    /// A k3s unit runs although its start is gated: it was started by somebody else, most likely by its own enablement.
    StartedByItself {
        /// Where.
        node: NodeName,
        /// Which.
        unit: Unit,
    },
    /// A node is only watched, never commanded.
    NotManaged {
        /// Which.
        node: NodeName,
    },
    /// The API knows a node that the inventory does not: nobody would stop it.
    NodeNotInInventory {
        /// Which.
        node: NodeName,
    },
    /// The inventory knows a node that has never registered with the API.
    NodeNotRegistered {
        /// Which.
        node: NodeName,
    },
    /// Another hecate host does not answer; what it said last counts.
    PeerUnreachable {
        /// Which.
        peer: PeerName,
        /// Why not.
        evidence: String,
    },
    /// Another hecate host has said for too long that it shuts down: it died on the way, and holds nothing up any more.
    PeerIntentStale {
        /// Which.
        peer: PeerName,
        /// What it said last, with who and why.
        evidence: String,
    },
    /// A host was woken again and again and does not answer.
    WakeWithoutEffect {
        /// Which.
        node: NodeName,
        /// How often.
        attempts: u32,
        /// How the last attempt ended.
        last: String,
    },
    /// A full battery is too small for the recharge gate, or for the trigger.
    BatteryTooSmall {
        /// Whose.
        ups: UpsName,
        /// What it gives, and what is asked for.
        evidence: String,
    },
    /// The ledger cannot be trusted: nothing will be started, which nobody would notice before the next outage.
    LedgerNotTrusted {
        /// Why not.
        why: String,
    },
    /// A UPS with `cut_load` is not told to cut its load.
    LoadNotCut {
        /// Which.
        ups: UpsName,
        /// Why.
        evidence: String,
    },
}

impl Warning {
    /// The variant's name, for metric labels; never a value.
    pub fn name(&self) -> &'static str {
        match self {
            Warning::NodeAbsent { .. } => "node-absent",
            Warning::PowerUnguarded { .. } => "power-unguarded",
            Warning::Unprotected { .. } => "unprotected",
            Warning::Ups { .. } => "ups",
            Warning::Drift { .. } => "drift",
            Warning::CordonedByOther { .. } => "cordoned-by-other",
            Warning::ContainersLeft { .. } => "containers-left",
            Warning::Skipped { .. } => "skipped",
            Warning::StartedByItself { .. } => "started-by-itself",
            Warning::NotManaged { .. } => "not-managed",
            Warning::NodeNotInInventory { .. } => "node-not-in-inventory",
            Warning::NodeNotRegistered { .. } => "node-not-registered",
            Warning::PeerUnreachable { .. } => "peer-unreachable",
            Warning::PeerIntentStale { .. } => "peer-intent-stale",
            Warning::WakeWithoutEffect { .. } => "wake-without-effect",
            Warning::BatteryTooSmall { .. } => "battery-too-small",
            Warning::LedgerNotTrusted { .. } => "ledger-not-trusted",
            Warning::LoadNotCut { .. } => "load-not-cut",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::NodeAbsent { node, evidence } => write!(f, "{node} is away: {evidence}"),
            Warning::PowerUnguarded { evidence } => write!(f, "nobody guards the power: {evidence}"),
            Warning::Unprotected { ups, evidence } => {
                write!(f, "unprotected: UPS {ups} does not hold a bring-up and one more shutdown ({evidence})")
            }
            Warning::Ups { ups, evidence } => write!(f, "UPS {ups}: {evidence}"),
            Warning::Drift { node, evidence } => write!(f, "drift on {node}: {evidence}"),
            Warning::CordonedByOther { node } => write!(f, "{node} was cordoned by somebody else and stays so"),
            Warning::ContainersLeft { node, count } => write!(f, "{count} containers outlive k3s on {node}"),
            Warning::Skipped { what, because } => write!(f, "{what}: {because}"),
            Warning::StartedByItself { node, unit } => write!(f, "{unit} on {node} was started by somebody else"),
            Warning::NotManaged { node } => write!(f, "{node} is watched only, not commanded"),
            Warning::NodeNotInInventory { node } => {
                write!(f, "{node} is a node of the cluster but not of the inventory: nobody would stop it")
            }
            Warning::NodeNotRegistered { node } => {
                write!(f, "{node} is in the inventory, but the Kubernetes API has never heard of it")
            }
            Warning::PeerUnreachable { peer, evidence } => write!(f, "hecate on {peer} cannot be asked: {evidence}"),
            Warning::PeerIntentStale { peer, evidence } => {
                write!(f, "{peer} {evidence}; that is too long ago to hold a start up")
            }
            Warning::WakeWithoutEffect { node, attempts, last } => write!(
                f,
                "{node} was woken {attempts} times and does not answer (last: {last}); look at the MAC address, at \
                 wake-on-lan in its firmware (ErP or deep sleep off) and in `ethtool` (Wake-on: g), or at the command"
            ),
            Warning::BatteryTooSmall { ups, evidence } => {
                write!(f, "the battery of UPS {ups} is too small: {evidence}; `hecate check --host` says what to do")
            }
            Warning::LedgerNotTrusted { why } => write!(
                f,
                "the ledger cannot be trusted, and nothing will be started because of it: {why}; move it away and restart \
                 hecate"
            ),
            Warning::LoadNotCut { ups, evidence } => write!(f, "UPS {ups} does not cut its load: {evidence}"),
        }
    }
}

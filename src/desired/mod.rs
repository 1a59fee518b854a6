//! What was asked ([`Declared`]) and what is obeyed ([`Effective`]).
//!
//! Pure. Only `ups_policy` makes an [`Effective`]; the planner takes nothing else.

#![deny(clippy::disallowed_methods)]

pub mod ups_policy;

use std::collections::BTreeSet;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{ClusterState, NodeName, Now, Path, UpsName};

/// The content of `desired.yaml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Declared {
    /// Always `hecate/v1`.
    pub api_version: String,
    /// Always `DesiredState`.
    pub kind: String,
    /// What the operator asked for; only a person's command changes it.
    pub spec: Spec,
    /// Put on top by the UPS policy or a peer, one a source; the strictest rules.
    #[serde(default)]
    pub overrides: Vec<Override>,
    /// Pauses and ignored UPSes, each with an expiry; only a person's command changes them.
    #[serde(default)]
    pub holds: Vec<Hold>,
    /// UPSes whose learned figures are to be forgotten; hecate takes each away once it has done so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forget: Vec<Forget>,
}

impl Declared {
    /// The value of `apiVersion`.
    pub const API_VERSION: &str = "hecate/v1";
    /// The value of `kind`.
    pub const KIND: &str = "DesiredState";

    /// Declares a state with nothing on top.
    pub fn new(spec: Spec) -> Self {
        Self {
            api_version: Self::API_VERSION.to_owned(),
            kind: Self::KIND.to_owned(),
            spec,
            overrides: Vec::new(),
            holds: Vec::new(),
            forget: Vec::new(),
        }
    }

    /// The override that rules: the strictest, and of equals the more urgent.
    pub fn strictest(&self) -> Option<&Override> {
        self.overrides.iter().max_by_key(|one| (one.state, one.nodes.is_empty(), one.path))
    }

    /// Whether overrides stand, and each is about some nodes only.
    pub fn is_for_some_nodes(&self) -> bool {
        !self.overrides.is_empty() && self.overrides.iter().all(|one| !one.nodes.is_empty())
    }

    /// A hold that stands, in words. By a clock that says less than when it was set nobody knows whether it is over: a pause
    /// then stands, but an ignored UPS is heeded, as a host whose clock begins anew at each boot must not be unguarded.
    pub fn hold(&self, what: &Held, now: &Now) -> Option<String> {
        let is_doubtful = |hold: &Hold| hold.set_at > now.wall && matches!(hold.what, Held::Ups(_));
        let stands = |hold: &&Hold| hold.what == *what && hold.expires_at > now.wall && !is_doubtful(hold);
        let hold = self.holds.iter().find(stands)?;
        let reason = if hold.reason.is_empty() { String::new() } else { format!(": {}", hold.reason) };
        Some(format!("by {} until {}{reason}", hold.set_by, hold.expires_at))
    }
}

/// What the operator asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// The state of the whole cluster.
    pub state: ClusterState,
    /// Why, in the operator's words.
    #[serde(default)]
    pub reason: String,
    /// Who, as `user@host`.
    pub set_by: String,
    /// When; together with the state it is the wish's identity.
    pub set_at: Timestamp,
    /// Flags of the command, valid for this episode only.
    #[serde(default, skip_serializing_if = "Options::is_empty")]
    pub options: Options,
}

/// Flags of a command that travel with the wish and are spent with its episode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Options {
    /// `--allow-on-battery`: lifts the battery guard and the recharge gate.
    #[serde(skip_serializing_if = "is_false")]
    pub allow_on_battery: bool,
    /// `--allow-peer-startup`: a peer may start the cluster.
    #[serde(skip_serializing_if = "is_false")]
    pub allow_peer_startup: bool,
    /// `--skip-time-sync`: starts although clocks are not in sync.
    #[serde(skip_serializing_if = "is_false")]
    pub skip_time_sync: bool,
    /// `--auto-peer-failover`: hand over to the coordinator, start locally only when it is unreachable.
    #[serde(skip_serializing_if = "is_false")]
    pub auto_peer_failover: bool,
    /// `--force-flux-branch BRANCH`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force_flux_branch: Option<String>,
    /// `--skip-drain`.
    #[serde(skip_serializing_if = "is_false")]
    pub skip_drain: bool,
    /// `--skip-etcd-snapshot`.
    #[serde(skip_serializing_if = "is_false")]
    pub skip_etcd_snapshot: bool,
}

impl Options {
    /// Whether no flag was given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn is_false(value: &bool) -> bool {
    !*value
}

/// What a source other than the operator demands for as long as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Override {
    /// `ups-policy/NAME`; one override a source.
    pub source: String,
    /// The state it demands.
    pub state: ClusterState,
    /// How.
    #[serde(default)]
    pub path: Path,
    /// The nodes it is about; empty: the whole cluster.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub nodes: BTreeSet<NodeName>,
    /// Why, with the figures.
    pub reason: String,
    /// Since when.
    pub set_at: Timestamp,
}

impl Override {
    /// What the source of a UPS' override begins with.
    pub const BY_UPS: &str = "ups-policy/";

    /// The UPS that demands it; None where something else does.
    pub fn ups(&self) -> Option<UpsName> {
        self.source.strip_prefix(Self::BY_UPS).map(UpsName::from)
    }
}

/// Something an operator suspended for a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hold {
    /// What is held; `what: {node: NAME}` in YAML too, where serde_yaml would write a tag.
    #[serde(with = "serde_yaml::with::singleton_map")]
    #[schemars(with = "Held")]
    pub what: Held,
    /// Why, in the operator's words.
    #[serde(default)]
    pub reason: String,
    /// Who, as `user@host`.
    pub set_by: String,
    /// When it was set.
    pub set_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// A person's word that a UPS has another battery: what was learned of the old one is void.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Forget {
    /// Which UPS.
    pub ups: UpsName,
    /// Who, as `user@host`.
    pub set_by: String,
    /// When.
    pub set_at: Timestamp,
}

/// What a hold is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Held {
    /// `hecate pause`: everything but the UPS policy.
    Cluster,
    /// `hecate pause NODE`: every step on one node but the UPS policy's.
    Node(NodeName),
    /// `hecate ups ignore NAME`: the policy does as if this UPS were not there.
    Ups(UpsName),
}

/// How far the declared state can be trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeclaredHealth {
    /// Read from the file as it is.
    Good,
    /// The file cannot be read; this is the last good one. Nothing disruptive begins because of it.
    LastGood {
        /// Why it cannot be read.
        why: String,
    },
    /// The file is gone while other state is there; there is no wish to obey.
    Lost,
}

/// What is obeyed now, and because of what. Only `ups_policy` makes one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Effective {
    state: ClusterState,
    path: Path,
    because: Cause,
    on_battery: bool,
    #[serde(with = "crate::model::seconds_option")]
    #[schemars(with = "Option<f64>")]
    time_left: Option<std::time::Duration>,
    #[serde(default)]
    nodes: BTreeSet<NodeName>,
    #[serde(default)]
    held_nodes: BTreeSet<NodeName>,
    #[serde(default)]
    own_supply: OwnSupply,
    #[serde(default)]
    ending: BTreeSet<NodeName>,
    #[serde(default)]
    spared: BTreeSet<NodeName>,
    hold_descent: Option<String>,
}

/// What becomes of the supply of the host hecate runs on, judged now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OwnSupply {
    /// Enough of its feeds hold: no override powers it off.
    #[default]
    Holds,
    /// It ends, and gives more time than its own power-off takes: it stays and watches.
    Ends,
    /// It ends, and nobody can say when.
    Unsure,
    /// It ends, and its UPS says itself that it does (LB, FSD): it goes as soon as nobody else answers.
    Low,
    /// It gives no more than its own power-off takes: it goes now.
    IsOver,
}

impl Effective {
    /// The state to reach.
    pub fn state(&self) -> ClusterState {
        self.state
    }

    /// How a descent goes.
    pub fn path(&self) -> Path {
        self.path
    }

    /// Because of what.
    pub fn because(&self) -> &Cause {
        &self.because
    }

    /// Whether a UPS that matters is known to be on battery: then a descent waits for nothing that it can do without.
    pub fn is_on_battery(&self) -> bool {
        self.on_battery
    }

    /// What the batteries still give, where an override rules and a UPS says so.
    pub fn time_left(&self) -> Option<std::time::Duration> {
        self.time_left
    }

    /// The nodes that go dark while the rest runs; empty where an override is about the whole cluster, or where none
    /// rules.
    pub fn nodes(&self) -> &BTreeSet<NodeName> {
        &self.nodes
    }

    /// The nodes of overrides that begin no further step now: they are neither brought down further nor brought up.
    pub fn held_nodes(&self) -> &BTreeSet<NodeName> {
        &self.held_nodes
    }

    /// Whether an override is about some nodes while the rest of the cluster is to run.
    pub fn is_partial(&self) -> bool {
        !self.nodes.is_empty() || !self.held_nodes.is_empty()
    }

    /// What becomes of the supply of the host hecate runs on.
    pub fn own_supply(&self) -> OwnSupply {
        self.own_supply
    }

    /// The nodes whose own supply ends: an override powers off these and no others, but for those that can be woken.
    pub fn ending(&self) -> &BTreeSet<NodeName> {
        &self.ending
    }

    /// Hosts that have booted since the UPSes of every override fell silent: they are left alone.
    pub fn spared(&self) -> &BTreeSet<NodeName> {
        &self.spared
    }

    /// Why no further step down may begin although a descent is declared (mains just came back, or the wish is not
    /// trusted).
    pub fn hold_descent(&self) -> Option<&str> {
        self.hold_descent.as_deref()
    }

    /// Whether a UPS or a peer, not the operator, rules.
    pub fn is_override(&self) -> bool {
        matches!(self.because, Cause::Override { .. })
    }
}

/// Why a state is obeyed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// The operator's wish.
    Spec {
        /// Who.
        set_by: String,
        /// Why.
        reason: String,
        /// When.
        set_at: Timestamp,
    },
    /// An override.
    Override {
        /// Who.
        source: String,
        /// Why.
        reason: String,
        /// Since when.
        set_at: Timestamp,
    },
}

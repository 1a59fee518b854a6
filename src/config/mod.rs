//! The configuration: validated, so that no rule meets an impossible value.
//!
//! Pure. The text becomes a tree (`tree.rs`), the tree the raw shape of the file (`raw.rs`), and that, checked, a
//! [`Config`] (`validate/`); all mistakes on the way are collected. Reading the file is `store.rs`' work.

#![deny(clippy::disallowed_methods)]

mod defaults;
mod forms;
mod mistake;
mod raw;
mod read;
mod tree;
mod validate;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::{NodeName, PeerName, Role, UpsName};
use crate::snapshot::UpsWord;
use mistake::{At, Findings};
use raw::RawConfig;
use read::Slot;

pub(crate) use mistake::did_you_mean;
pub use mistake::{ConfigMistakes, Mistake};

/// Everything an operator decides. Only [`Config::parse`] and the built-in world make one.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Kubeconfig with cluster-admin rights; its server may be any control plane.
    pub kubeconfig: PathBuf,
    /// Where durable state lives; `/var/lib/hecate`.
    pub state_dir: PathBuf,
    /// Where the published status and SSH sockets live; `/run/hecate`.
    pub runtime_dir: PathBuf,
    /// Where `/metrics` and `/healthz` listen; None turns them off.
    pub metrics_listen: Option<SocketAddr>,
    /// How nodes are reached.
    pub ssh: Ssh,
    /// The inventory, by name.
    pub nodes: BTreeMap<NodeName, Node>,
    /// Nodes that never hold anything up while they are away.
    pub ignore_unavailable_nodes: BTreeSet<NodeName>,
    /// The host hecate itself runs on.
    pub own_host: OwnHost,
    /// The UPSes.
    pub upses: BTreeMap<UpsName, Ups>,
    /// The UPSes that no node and no `own_host.feeds` names: they speak for every node without feeds.
    pub unnamed_upses: BTreeSet<UpsName>,
    /// When the UPSes' words become an override.
    pub ups_policy: UpsPolicy,
    /// Bring-up.
    pub startup: Startup,
    /// Shut-down.
    pub shutdown: Shutdown,
    /// The loop.
    pub reconcile: Reconcile,
    /// Other hecate hosts.
    pub coordination: Coordination,
}

/// A configuration without mistakes.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The configuration.
    pub config: Config,
    /// What is odd in it, but can be lived with; in the order of the lines.
    pub warnings: Vec<Mistake>,
}

impl Config {
    /// Reads the text of `hecate.yaml`. Every mistake comes at once, but for text that is no YAML at all.
    pub fn parse(text: &str) -> Result<Checked, ConfigMistakes> {
        let root = tree::parse(text).map_err(|mistake| ConfigMistakes(vec![mistake]))?;
        let mut found = Findings::default();
        let raw = <RawConfig as Slot>::read(Some(&root), At::default(), &mut found);
        let config = validate::config(&raw, &mut found);
        found.into_result().map(|warnings| Checked { config, warnings })
    }

    /// The path of every key there is, elements of lists as `nodes[].name`.
    pub fn keys() -> Vec<String> {
        let mut keys = Vec::new();
        <RawConfig as Slot>::keys("", &mut keys);
        keys
    }

    /// The JSON Schema of `hecate.yaml`, for editors. It knows forms, not the checks across keys.
    pub fn schema() -> schemars::Schema {
        schemars::SchemaGenerator::default().into_root_schema_for::<RawConfig>()
    }

    /// The nodes hecate may command over SSH: those in `ssh_managed_nodes`, or all where that is empty.
    pub fn managed(&self) -> impl Iterator<Item = (&NodeName, &Node)> {
        self.nodes.iter().filter(|(_, node)| node.is_managed)
    }

    /// The managed control planes.
    pub fn control_planes(&self) -> impl Iterator<Item = (&NodeName, &Node)> {
        self.managed().filter(|(_, node)| node.role == Role::ControlPlane)
    }

    /// The managed workers.
    pub fn workers(&self) -> impl Iterator<Item = (&NodeName, &Node)> {
        self.managed().filter(|(_, node)| node.role == Role::Worker)
    }

    /// The same with these nodes only, for a descent that is about them while the rest runs.
    pub fn only(&self, nodes: &BTreeSet<NodeName>) -> Self {
        let mut part = self.clone();
        part.nodes.retain(|name, _| nodes.contains(name));
        part
    }

    /// The same without these nodes.
    pub fn without(&self, nodes: &BTreeSet<NodeName>) -> Self {
        let mut rest = self.clone();
        rest.nodes.retain(|name, _| !nodes.contains(name));
        rest
    }

    /// The node on whose host the upsd of a UPS runs, where that is one of the cluster's: it is silent while that host is off.
    pub fn upsd_node(&self, ups: &UpsName) -> Option<&NodeName> {
        let host = &self.upses.get(ups)?.host;
        if is_local(host) { self.own_host.node.as_ref() } else { self.node_at(host) }
    }

    /// The node that stands at this address, or bears this name.
    fn node_at(&self, host: &str) -> Option<&NodeName> {
        let is_meant = |(name, node): &(&NodeName, &Node)| {
            node.host.eq_ignore_ascii_case(host) || name.as_str().eq_ignore_ascii_case(host)
        };
        self.nodes.iter().find(is_meant).map(|(name, _)| name)
    }

    /// Whether a node's absence never holds anything up.
    pub fn is_ignored(&self, node: &NodeName) -> bool {
        self.ignore_unavailable_nodes.contains(node)
    }
}

/// Whether an address is the host that hecate runs on.
fn is_local(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "::1")
}

/// One node of the inventory.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Control plane or worker.
    pub role: Role,
    /// Address or name SSH connects to.
    pub host: String,
    /// SSH login.
    pub user: String,
    /// SSH port.
    pub port: u16,
    /// The UPSes that feed it; empty: mains only, no UPS speaks for it.
    pub feeds: BTreeSet<UpsName>,
    /// How many of its feeds it needs to stay on; at least 1, at most as many as there are.
    pub min_supplies: usize,
    /// How it can be switched on.
    pub wake: Option<Wake>,
    /// Whether `poweroff` includes it.
    pub power_off: bool,
    /// Whether hecate may command it over SSH.
    pub is_managed: bool,
}

/// A way to switch a host on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Wake-on-LAN magic packet to this MAC, sent to the broadcast address.
    WakeOnLan {
        /// Six octets.
        mac: [u8; 6],
        /// Where to send it.
        broadcast: SocketAddr,
    },
    /// A command on the hecate host (IPMI, Redfish, a smart plug).
    Command {
        /// Program and arguments; no shell.
        argv: Vec<String>,
    },
}

/// The host hecate itself runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnHost {
    /// Its name in the inventory where it is also a node of the cluster.
    pub node: Option<NodeName>,
    /// The UPSes that feed it; empty: mains without a UPS. Where nothing is said: its node's, else every UPS.
    pub feeds: BTreeSet<UpsName>,
    /// How many of its feeds it needs to stay on.
    pub min_supplies: usize,
    /// Whether `poweroff` includes it, last of all.
    pub power_off: bool,
    /// How long its own power-off takes; added to every budget.
    pub power_off_time: Duration,
}

/// How nodes are reached over SSH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssh {
    /// Jump host; direct where it cannot be reached.
    pub jump_host: Option<String>,
    /// Login on the jump host; the nodes' default user where not given.
    pub jump_user: Option<String>,
    /// Port of the jump host.
    pub jump_port: u16,
    /// An ssh_config(5) file of the operator, included by the generated one.
    pub config_file: Option<PathBuf>,
    /// Private key.
    pub identity_file: Option<PathBuf>,
    /// Known host keys, by node name (`HostKeyAlias`).
    pub known_hosts_file: PathBuf,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long a probe may take.
    pub command_timeout: Duration,
}

/// One UPS, as upsd knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ups {
    /// Its name at upsd: `pyrphoros` of `pyrphoros@localhost:3493`.
    pub nut_name: String,
    /// upsd's host.
    pub host: String,
    /// upsd's port; 3493.
    pub port: u16,
    /// NUT user, where upsd wants one.
    pub username: Option<String>,
    /// File with the NUT password; never in the configuration itself.
    pub password_file: Option<PathBuf>,
    /// How it is told to cut its load and to return with the mains; None: never.
    pub cut_load: Option<CutLoad>,
    /// What is gone when the mains are: it decides what a silent UPS means.
    pub witness: Option<Witness>,
    /// Words of its status that count for nothing (LB, RB, ...).
    pub ignored_words: BTreeSet<UpsWord>,
    /// From an empty battery to a full one, as its maker promises it; learned values take its place.
    pub recharge: Duration,
}

/// What is gone when the mains are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Witness {
    /// Something on the network that no UPS feeds; it is there while a TCP connection is taken or refused.
    Address {
        /// Address or name.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// Another UPS on the same mains.
    Ups(UpsName),
}

/// How a UPS is told to cut its load and to return with the mains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutLoad {
    /// The NUT instant command: `shutdown.return` or `shutdown.reboot.graceful`.
    pub command: String,
    /// From the command to the end of its output, as the UPS does it (`ups.delay.shutdown`).
    pub delay: Duration,
}

/// When the UPSes' words become an override.
#[derive(Clone, Debug, PartialEq)]
pub struct UpsPolicy {
    /// What goes dark with a UPS that does not feed everything.
    pub scope: UpsScope,
    /// How often each UPS is asked.
    pub poll: Duration,
    /// How long one answer may take.
    pub timeout: Duration,
    /// A reading older than this is stale (upsd's own MAXAGE default is 15 s).
    pub max_age: Duration,
    /// Trigger when runtime <= factor x budget.
    pub runtime_safety_factor: f64,
    /// So many polls in a row.
    pub debounce_polls: u32,
    /// And at least so long.
    pub debounce: Duration,
    /// How long `OB LB` must stand.
    pub ob_lb: Duration,
    /// How long communication may be lost while on battery, where the UPS never told any figures; with figures it is the
    /// least time.
    pub lost_on_battery: Duration,
    /// However much its last figures promise, a UPS that has been silent on battery for so long triggers.
    pub lost_on_battery_max: Duration,
    /// A charge that has not moved for so long on battery, without a runtime, says nothing.
    pub charge_frozen: Duration,
    /// How long `CAL` may suppress.
    pub calibration_max: Duration,
    /// How long mains must be back before the override is lifted.
    pub mains_stable: Duration,
    /// Without a runtime: trigger at this charge.
    pub charge_percent_min: f64,
    /// Without a runtime and without a charge: trigger after this time on battery.
    pub on_battery_max: Duration,
}

/// What goes dark with a UPS that does not feed everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpsScope {
    /// The whole cluster.
    Cluster,
    /// The nodes whose supply ends; the whole cluster where the rest would have no etcd quorum.
    Affected,
}

/// Bring-up.
#[derive(Clone, Debug, PartialEq)]
pub struct Startup {
    /// `strict` or `quorum`; None does not wait for time sync.
    pub time_sync_mode: Option<TimeSyncMode>,
    /// How many hosts must be in sync in quorum mode.
    pub time_sync_quorum: u32,
    /// By how much a host's clock may differ from the hecate host's and still count as in sync.
    pub time_sync_max_offset: Duration,
    /// How long clocks are waited for before they are a blocker.
    pub time_sync_wait: Duration,
    /// Wait for healthy storage.
    pub require_storage_ready: bool,
    /// Wait for the post-start probes.
    pub require_post_start_probes: bool,
    /// Restore etcd when the API never comes.
    pub auto_etcd_restore_on_api_failure: bool,
    /// Where etcd snapshots are taken and restored.
    pub etcd_restore_control_plane: Option<NodeName>,
    /// How long no word from any UPS blocks a start; None: for ever.
    pub ups_unknown_grace: Option<Duration>,
    /// Recharge gate: least charge.
    pub recharge_charge_percent_min: f64,
    /// Recharge gate: how long a bring-up takes, part of the runtime that must be there.
    pub bring_up_time: Duration,
    /// Recharge gate: how long it holds a start.
    pub recharge_max_wait: Duration,
    /// What follows then.
    pub recharge_timeout: RechargeTimeout,
    /// How long mains must have been back before a host that is off is switched on.
    pub mains_stable: Duration,
    /// How many hosts are woken within [`Startup::WAKE_BURST_TIME`]; None: all.
    pub wake_burst: Option<usize>,
    /// How long the API may take once a server's unit runs.
    pub api_wait: Duration,
    /// How long a node may take to become reachable or Ready.
    pub node_wait: Duration,
    /// How long uncordoning waits for all expected workers.
    pub uncordon_wait: Duration,
}

impl Startup {
    /// So long one burst of wake-ups lasts: the inrush of power supplies and disks is over by then.
    pub const WAKE_BURST_TIME: Duration = Duration::from_secs(20);
}

/// What follows when a battery does not get to the recharge gate in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RechargeTimeout {
    /// The start goes on, with the warning `unprotected`.
    Start,
    /// The start is held, as a blocker.
    Hold,
}

/// Which clocks must be in sync before k3s is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSyncMode {
    /// Every managed node's and the hecate host's.
    Strict,
    /// `time_sync_quorum` of them.
    Quorum,
}

/// Shut-down.
#[derive(Clone, Debug, PartialEq)]
pub struct Shutdown {
    /// The budget of the full path before there are enough runs to learn from.
    pub estimated_budget: Duration,
    /// The budget of the emergency path before there are enough runs to learn from.
    pub emergency_budget: Duration,
    /// No learned budget is below this.
    pub budget_floor: Duration,
    /// The emergency path skips cordon and drain.
    pub emergency_skip_drain: bool,
    /// The emergency path skips the etcd snapshot.
    pub emergency_skip_etcd_snapshot: bool,
    /// Which path a UPS trigger takes.
    pub ups_path: UpsPath,
    /// How long a drain may take before what is left is named and left.
    pub drain_timeout: Duration,
    /// How long a disruption budget may refuse before the pod is deleted, its grace kept.
    pub pdb_grace: Duration,
    /// Namespaces that stop with their node.
    pub drain_exclude_namespaces: BTreeSet<String>,
    /// How long volumes may take to detach after the drain.
    pub detach_timeout: Duration,
    /// How long an etcd snapshot may take.
    pub etcd_snapshot_timeout: Duration,
    /// How long a unit may take to stop.
    pub unit_stop_timeout: Duration,
    /// End the containers that outlive the units.
    pub killall: bool,
    /// How long a host must be silent after its power-off before it counts as off.
    pub off_confirm: Duration,
    /// How long a host that has fallen silent may still be writing: units that stop, left-over containers, unmounting.
    /// Part of the configured budgets.
    pub off_tail: Duration,
    /// How long an unreachable host delays the others on a declared shutdown.
    pub unreachable_limit: Duration,
    /// How long the API may be away before a declared shutdown asks for `--skip-drain`.
    pub api_wait: Duration,
}

/// Which path a UPS trigger takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpsPath {
    /// Graceful when the time left at the trigger allows it.
    Auto,
    /// Always the emergency path.
    Emergency,
}

/// The loop.
#[derive(Clone, Debug, PartialEq)]
pub struct Reconcile {
    /// How often nodes are probed while something is going on.
    pub busy_interval: Duration,
    /// How often nodes are probed while nothing is.
    pub idle_interval: Duration,
    /// A host reading older than this is Unknown.
    pub host_max_age: Duration,
    /// An API reading older than this is Unknown.
    pub api_max_age: Duration,
    /// What happens to a unit found stopped outside an episode.
    pub drift: Drift,
    /// After how long.
    pub drift_grace: Duration,
    /// How many steps may be in flight at once.
    pub max_steps_in_flight: usize,
    /// Runs kept in `runs.json`.
    pub runs_kept: usize,
}

/// What happens to drift outside an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drift {
    /// A stopped unit is started.
    Correct,
    /// It is only shown.
    Report,
}

/// Other hecate hosts.
#[derive(Clone, Debug, PartialEq)]
pub struct Coordination {
    /// Coordinator or peer.
    pub role: CoordinationRole,
    /// Start although a UPS is on battery.
    pub allow_startup_on_battery: bool,
    /// The other hecate hosts.
    pub peer_hosts: Vec<Peer>,
    /// A peer may shut down locally.
    pub local_shutdown_fallback: bool,
    /// After how long another host's shutdown intent no longer blocks a start.
    pub startup_guard_max_age: Duration,
}

/// Another hecate host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// As it was written: `user@host` or `host`.
    pub name: PeerName,
    /// Address or name SSH connects to.
    pub host: String,
    /// SSH login; `ssh_user` where none was written.
    pub user: String,
    /// SSH port; `ssh_port`.
    pub port: u16,
}

/// What this host is among several hecate hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoordinationRole {
    /// Starts and stops the cluster.
    Coordinator,
    /// Starts nothing unless asked to; may shut down locally.
    Peer,
}

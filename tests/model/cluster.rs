//! The cluster that is checked: three control planes, one worker, one UPS, and limits of a few ticks.
//!
//! Every limit is one to five ticks, so that ages saturate soon (see `normal.rs`); what is not named here has the
//! configuration's own default and is far above anything that the model reaches, or is not part of its world.

use std::sync::LazyLock;
use std::time::Duration;

use hecate::config::{Config, CoordinationRole, Peer, UpsPath, Wake};
use hecate::model::{BootId, MachineId, NodeName, Now, PeerName, UpsName};
use hecate::simulate::blueprint;
use jiff::Timestamp;

/// One poll of everything: all that happens between two of them is one choice of the model.
pub(crate) const TICK: Duration = Duration::from_secs(20);
/// How many nodes there are.
pub(crate) const NODES: usize = 4;
/// The one that is no server; it is the last.
pub(crate) const WORKER: usize = 3;
/// A full battery, in ticks at full load: two until the trigger, six for a graceful descent. The recharge gate opens at
/// seven.
pub(crate) const FULL: u8 = 8;
/// After so many ticks no rule tells one age from another: the recharge gate's five are the longest limit.
pub(crate) const OLD: u32 = 6;
/// For so many ticks a shutdown of the other hecate host holds a start: longer than one takes.
pub(crate) const GUARD: u32 = 10;
/// The boot id of everything that has been booted last.
pub(crate) const THIS_BOOT: &str = "this";
/// The boot id of every boot before it.
pub(crate) const EARLIER_BOOT: &str = "earlier";

/// The nodes' names, servers first.
pub(crate) static NAMES: LazyLock<[NodeName; NODES]> = LazyLock::new(|| {
    [NodeName::from("cp-1"), NodeName::from("cp-2"), NodeName::from("cp-3"), NodeName::from("worker-1")]
});

/// The time of every pass: it is the world that grows older, see `normal.rs`.
pub(crate) static NOW: LazyLock<Now> = LazyLock::new(|| Now {
    boottime: Duration::from_secs(100_000),
    boot_id: BootId::from(THIS_BOOT),
    wall: Timestamp::constant(1_800_000_000, 0),
    wall_synced: true,
});

/// The place of a node in [`NAMES`].
pub(crate) fn index(name: &NodeName) -> usize {
    NAMES.iter().position(|one| one == name).expect("only these nodes are known to anybody")
}

/// The UPS.
pub(crate) fn ups() -> UpsName {
    UpsName::from(blueprint::UPS)
}

/// A node's machine id.
pub(crate) fn machine_id(node: usize) -> MachineId {
    MachineId::new(format!("machine-{node}"))
}

/// The configuration of a hecate host that is alone.
pub(crate) fn config() -> Config {
    let seconds = Duration::from_secs;
    let mut config = blueprint::config(3, 1).expect("the blueprint is a cluster");
    for node in config.nodes.values_mut() {
        node.wake = Some(Wake::Command { argv: vec!["/wake".to_owned()] });
    }
    config.own_host.power_off_time = seconds(10);
    let policy = &mut config.ups_policy;
    (policy.poll, policy.max_age) = (TICK, seconds(30));
    (policy.debounce_polls, policy.debounce) = (2, TICK);
    (policy.lost_on_battery, policy.mains_stable) = (2 * TICK, 2 * TICK);
    policy.on_battery_max = 3 * TICK;
    let startup = &mut config.startup;
    startup.ups_unknown_grace = Some(3 * TICK);
    (startup.bring_up_time, startup.recharge_max_wait) = (TICK, 5 * TICK);
    (startup.api_wait, startup.node_wait, startup.uncordon_wait) = (3 * TICK, 3 * TICK, 2 * TICK);
    let shutdown = &mut config.shutdown;
    shutdown.ups_path = UpsPath::Auto;
    (shutdown.estimated_budget, shutdown.emergency_budget, shutdown.budget_floor) = (seconds(110), seconds(20), TICK);
    (shutdown.drain_timeout, shutdown.pdb_grace, shutdown.detach_timeout) = (2 * TICK, TICK, TICK);
    (shutdown.etcd_snapshot_timeout, shutdown.unit_stop_timeout) = (2 * TICK, seconds(30));
    (shutdown.off_confirm, shutdown.unreachable_limit, shutdown.api_wait) = (TICK, 2 * TICK, 2 * TICK);
    let reconcile = &mut config.reconcile;
    (reconcile.host_max_age, reconcile.api_max_age) = (seconds(30), seconds(30));
    reconcile.drift_grace = 2 * TICK;
    config
}

/// The name under which a hecate host knows the other one.
pub(crate) fn other() -> PeerName {
    PeerName::from("hecate@other")
}

/// The configuration of one of two hecate hosts, which hang on a supply of their own and are never powered off.
pub(crate) fn one_of_two(role: CoordinationRole) -> Config {
    let mut config = config();
    config.own_host.power_off = false;
    config.own_host.feeds.clear();
    config.coordination.role = role;
    config.coordination.startup_guard_max_age = GUARD * TICK;
    config.coordination.peer_hosts =
        vec![Peer { name: other(), host: "other".to_owned(), user: "hecate".to_owned(), port: 22 }];
    config
}

//! `startup` and `shutdown`: the limits of both directions.
//!
//! Pure. Whether a guard can be kept at all is `unbuilt.rs`' question. Must never let a budget be zero.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::forms::{Percent, Seconds};
use super::super::mistake::{Findings, did_you_mean};
use super::super::raw::{RawConfig, RawKillall, RawRechargeTimeout, RawRole, RawShutdown, RawTimeSyncMode, RawUpsPath};
use super::super::read::Field;
use super::super::{RechargeTimeout, Shutdown, Startup, TimeSyncMode, UpsPath, defaults};
use super::{above_zero, inventory, names, seconds, show, written};
use crate::model::NodeName;

/// Reads `startup`.
pub(super) fn startup(raw: &RawConfig, found: &mut Findings) -> Startup {
    let startup = &raw.startup;
    let grace = seconds(&startup.ups_unknown_grace_seconds, defaults::UPS_UNKNOWN_GRACE);
    Startup {
        time_sync_mode: startup.time_sync_mode.value().map(|mode| match mode {
            RawTimeSyncMode::Strict => TimeSyncMode::Strict,
            RawTimeSyncMode::Quorum => TimeSyncMode::Quorum,
        }),
        time_sync_quorum: time_sync_quorum(raw, found),
        time_sync_max_offset: above_zero(&startup.time_sync_max_offset_seconds, defaults::TIME_SYNC_MAX_OFFSET, found),
        time_sync_wait: seconds(&startup.time_sync_wait_seconds, defaults::TIME_SYNC_WAIT),
        require_storage_ready: startup.require_storage_ready.or(defaults::GUARD),
        require_post_start_probes: startup.require_post_start_probes.or(defaults::GUARD),
        auto_etcd_restore_on_api_failure: startup.auto_etcd_restore_on_api_failure.or(defaults::GUARD),
        etcd_restore_control_plane: etcd_restore_control_plane(raw, found),
        ups_unknown_grace: (!grace.is_zero()).then_some(grace),
        recharge_charge_percent_min: startup
            .recharge_charge_percent_min
            .or(Percent(defaults::RECHARGE_CHARGE_PERCENT_MIN))
            .0,
        bring_up_time: seconds(&startup.bring_up_seconds, defaults::BRING_UP),
        recharge_max_wait: seconds(&startup.recharge_max_wait_seconds, defaults::RECHARGE_MAX_WAIT),
        recharge_timeout: startup.recharge_timeout.value().map_or(defaults::RECHARGE_TIMEOUT, |what| match what {
            RawRechargeTimeout::Start => RechargeTimeout::Start,
            RawRechargeTimeout::Hold => RechargeTimeout::Hold,
        }),
        mains_stable: seconds(&startup.mains_stable_seconds, defaults::STARTUP_MAINS_STABLE),
        wake_burst: match startup.wake_burst.or(defaults::WAKE_BURST) {
            0 => None,
            count => usize::try_from(count).ok(),
        },
        api_wait: above_zero(&startup.api_wait_seconds, defaults::STARTUP_API_WAIT, found),
        node_wait: above_zero(&startup.node_wait_seconds, defaults::NODE_WAIT, found),
        uncordon_wait: seconds(&startup.uncordon_wait_seconds, defaults::UNCORDON_WAIT),
    }
}

/// More than half of the hosts, the hecate host among them, unless told otherwise. Nodes that are not managed show no
/// clock; a hecate host that is a node too has only one.
fn time_sync_quorum(raw: &RawConfig, found: &mut Findings) -> u32 {
    let nodes = raw.nodes.value().map(Vec::as_slice).unwrap_or_default();
    let managed = |name: &&String| inventory::is_managed(raw, name);
    let count = nodes.iter().filter_map(|node| node.name.value()).filter(managed).count();
    let own_is_node = raw.own_host.node.value().is_some_and(|own| inventory::is_managed(raw, own));
    let hosts = u32::try_from(count).unwrap_or(u32::MAX - 1) + u32::from(!own_is_node);
    let field = &raw.startup.time_sync_quorum;
    let Some(quorum) = field.value().copied() else { return hosts / 2 + 1 };
    if !(1..=hosts).contains(&quorum) {
        let problem = format!("must be 1 to {hosts} (the managed nodes and the hecate host), found {quorum}");
        found.mistake(&field.at, problem);
    }
    if raw.startup.time_sync_mode.value() != Some(&RawTimeSyncMode::Quorum) {
        found.warning(&field.at, "has no effect", "it only counts together with time_sync_mode: quorum");
    }
    quorum
}

fn etcd_restore_control_plane(raw: &RawConfig, found: &mut Findings) -> Option<NodeName> {
    let field = &raw.startup.etcd_restore_control_plane;
    let name = field.value()?;
    let nodes = raw.nodes.value().map(Vec::as_slice).unwrap_or_default();
    let Some(node) = nodes.iter().find(|node| node.name.value() == Some(name)) else {
        let hint = did_you_mean(name, nodes.iter().filter_map(|node| node.name.value()).map(String::as_str));
        found.add_mistake(&field.at, format!("unknown node {name:?}"), hint);
        return None;
    };
    if node.role.value() == Some(&RawRole::Worker) {
        found.mistake_with(&field.at, format!("{name:?} is a worker"), "name a control plane: workers have no etcd");
    } else if !inventory::is_managed(raw, name) {
        let hint = "add it to ssh_managed_nodes: etcd snapshots are taken over SSH";
        found.mistake_with(&field.at, format!("{name:?} is not managed"), hint);
    }
    Some(NodeName::new(name))
}

/// Reads `shutdown`.
pub(super) fn shutdown(raw: &RawShutdown, found: &mut Findings) -> Shutdown {
    let (estimated_budget, emergency_budget, budget_floor) = budgets(raw, found);
    let shutdown = Shutdown {
        estimated_budget,
        emergency_budget,
        budget_floor,
        emergency_skip_drain: raw.emergency_skip_drain.or(defaults::EMERGENCY_SKIP_DRAIN),
        emergency_skip_etcd_snapshot: raw.emergency_skip_etcd_snapshot.or(defaults::EMERGENCY_SKIP_ETCD_SNAPSHOT),
        ups_path: raw.ups_path.value().map_or(defaults::UPS_PATH, |path| match path {
            RawUpsPath::Auto => UpsPath::Auto,
            RawUpsPath::Emergency => UpsPath::Emergency,
        }),
        drain_timeout: above_zero(&raw.drain_timeout_seconds, defaults::DRAIN_TIMEOUT, found),
        pdb_grace: seconds(&raw.pdb_grace_seconds, defaults::PDB_GRACE),
        drain_exclude_namespaces: drain_exclude_namespaces(raw, found),
        detach_timeout: seconds(&raw.detach_timeout_seconds, defaults::DETACH_TIMEOUT),
        etcd_snapshot_timeout: above_zero(&raw.etcd_snapshot_timeout_seconds, defaults::ETCD_SNAPSHOT_TIMEOUT, found),
        unit_stop_timeout: above_zero(&raw.unit_stop_timeout_seconds, defaults::UNIT_STOP_TIMEOUT, found),
        killall: raw.killall.value().map_or(defaults::KILLALL, |killall| match killall {
            RawKillall::Auto => true,
            RawKillall::Never => false,
        }),
        off_confirm: off_confirm(raw, found),
        off_tail: seconds(&raw.off_tail_seconds, defaults::OFF_TAIL),
        unreachable_limit: seconds(&raw.unreachable_limit_seconds, defaults::UNREACHABLE_LIMIT),
        api_wait: seconds(&raw.api_wait_seconds, defaults::SHUTDOWN_API_WAIT),
    };
    if shutdown.pdb_grace > shutdown.drain_timeout {
        let (grace, timeout) = (show(shutdown.pdb_grace), show(shutdown.drain_timeout));
        let at = written(&raw.pdb_grace_seconds, &raw.drain_timeout_seconds);
        let problem = format!("pdb_grace_seconds ({grace}) is more than drain_timeout_seconds ({timeout})");
        found.mistake_with(at, problem, "the drain would end before a disruption budget's grace does");
    }
    shutdown
}

/// The time after which a silent host counts as off is never below the time for which it may still be writing.
fn off_confirm(raw: &RawShutdown, found: &mut Findings) -> Duration {
    let tail = seconds(&raw.off_tail_seconds, defaults::OFF_TAIL);
    let field = &raw.off_confirm_seconds;
    let default = if tail.is_zero() { defaults::OFF_CONFIRM } else { tail };
    let confirm = above_zero(field, default, found);
    if confirm < tail {
        let problem = format!("{} is less than off_tail_seconds ({}), which counts", show(confirm), show(tail));
        let hint = "lower off_tail_seconds only where the nodes' units and containers are known to stop sooner";
        found.warning(written(field, &raw.off_tail_seconds), problem, hint);
    }
    confirm.max(tail)
}

/// The full budget, the emergency budget, and the floor under both.
fn budgets(raw: &RawShutdown, found: &mut Findings) -> (Duration, Duration, Duration) {
    let (full_key, legacy_key) = (&raw.estimated_shutdown_budget_seconds, &raw.default_budget_seconds);
    if legacy_key.value().is_some() {
        let problem = "is the old name of estimated_shutdown_budget_seconds";
        let hint = "write estimated_shutdown_budget_seconds instead (old versions wrote 300 here by themselves)";
        found.warning(&legacy_key.at, problem, hint);
    }
    same(full_key, legacy_key, found);
    let (short_key, long_key) = (&raw.emergency_budget_seconds, &raw.estimated_emergency_shutdown_budget_seconds);
    same(short_key, long_key, found);
    let full_key = if full_key.value().is_some() { full_key } else { legacy_key };
    let emergency_key = if short_key.value().is_some() { short_key } else { long_key };

    let full = above_zero(full_key, defaults::ESTIMATED_BUDGET, found);
    let emergency = above_zero(emergency_key, defaults::EMERGENCY_BUDGET, found);
    if emergency > full {
        let problem =
            format!("the emergency budget ({}) is more than the full budget ({})", show(emergency), show(full));
        found.warning(written(emergency_key, full_key), problem, "the emergency path is the shorter one");
    }
    let floor_key = &raw.budget_floor_seconds;
    let floor = seconds(floor_key, emergency.min(full) / defaults::BUDGET_FLOOR_SHARE);
    if floor > full.min(emergency) {
        let problem = format!("{} is more than the smaller budget ({})", show(floor), show(full.min(emergency)));
        found.mistake_with(&floor_key.at, problem, "the floor is the least that a learned budget may be");
    }
    (full, emergency, floor)
}

/// Two names of one key may both be written only when they agree.
fn same(first: &Field<Seconds>, second: &Field<Seconds>, found: &mut Findings) {
    if let (Some(one), Some(other)) = (first.value(), second.value())
        && one.0 != other.0
    {
        let problem = format!("{} contradicts {} ({})", show(other.0), first.at.path, show(one.0));
        found.mistake_with(&second.at, problem, "they mean the same: remove this one");
    }
}

fn drain_exclude_namespaces(raw: &RawShutdown, found: &mut Findings) -> BTreeSet<String> {
    let Some(list) = raw.drain_exclude_namespaces.value() else {
        return defaults::DRAIN_EXCLUDE_NAMESPACES.iter().map(|name| (*name).to_owned()).collect();
    };
    let mut namespaces = BTreeSet::new();
    for field in list {
        match field.value().map(|text| names::label(text)) {
            Some(Ok(name)) => drop(namespaces.insert(name)),
            Some(Err(wrong)) => found.add_mistake(&field.at, wrong.problem, wrong.hint),
            None => {}
        }
    }
    if !namespaces.contains("kube-system") {
        let hint = "add it: cluster DNS and storage drivers are needed until their node stops";
        found.warning(&raw.drain_exclude_namespaces.at, "\"kube-system\" is not excluded", hint);
    }
    namespaces
}

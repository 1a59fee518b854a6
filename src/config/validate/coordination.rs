//! `coordination`, `reconcile` and `metrics`: the loop and its neighbours.
//!
//! Pure. Must never let a look be too old before the next one can come.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::super::mistake::Findings;
use super::super::raw::{RawConfig, RawCoordinationRole, RawDrift, RawMetrics, RawReconcile};
use super::super::{Config, Coordination, CoordinationRole, Drift, Peer, Reconcile, defaults};
use super::{above_zero, interval, names, seconds, show, within, written};
use crate::model::PeerName;

/// Reads `coordination`.
pub(super) fn read(config: &RawConfig, found: &mut Findings) -> Coordination {
    let raw = &config.coordination;
    let role = raw.role.value().map_or(defaults::ROLE, |role| match role {
        RawCoordinationRole::Coordinator => CoordinationRole::Coordinator,
        RawCoordinationRole::Peer => CoordinationRole::Peer,
    });
    Coordination {
        role,
        allow_startup_on_battery: raw.allow_startup_on_battery.or(defaults::ALLOW_STARTUP_ON_BATTERY),
        peer_hosts: peer_hosts(config, found),
        local_shutdown_fallback: raw.local_shutdown_fallback.or(defaults::LOCAL_SHUTDOWN_FALLBACK),
        startup_guard_max_age: above_zero(&raw.startup_guard_max_age_seconds, defaults::STARTUP_GUARD_MAX_AGE, found),
    }
}

fn peer_hosts(config: &RawConfig, found: &mut Findings) -> Vec<Peer> {
    let mut peers = Vec::new();
    let mut seen = BTreeSet::new();
    for field in config.coordination.peer_hosts.value().into_iter().flatten() {
        let Some(text) = field.value() else { continue };
        match names::login_at_host(text) {
            Ok(text) if seen.insert(text.clone()) => {
                let (user, host) = match text.split_once('@') {
                    Some((user, host)) => (user.to_owned(), host.to_owned()),
                    None => (config.ssh_user.or(defaults::SSH_USER.to_owned()), text.clone()),
                };
                let port = config.ssh_port.or(defaults::SSH_PORT);
                peers.push(Peer { name: PeerName::new(text), host, user, port });
            }
            Ok(_) => found.mistake_with(&field.at, format!("{text:?} is listed twice"), "keep one of the two"),
            Err(wrong) => found.add_mistake(&field.at, wrong.problem, wrong.hint),
        }
    }
    peers
}

/// Reads `reconcile`.
pub(super) fn reconcile(raw: &RawReconcile, found: &mut Findings) -> Reconcile {
    let reconcile = Reconcile {
        busy_interval: interval(&raw.busy_interval_seconds, defaults::BUSY_INTERVAL, found),
        idle_interval: interval(&raw.idle_interval_seconds, defaults::IDLE_INTERVAL, found),
        host_max_age: above_zero(&raw.host_max_age_seconds, defaults::HOST_MAX_AGE, found),
        api_max_age: above_zero(&raw.api_max_age_seconds, defaults::API_MAX_AGE, found),
        drift: raw.drift.value().map_or(defaults::DRIFT, |drift| match drift {
            RawDrift::Correct => Drift::Correct,
            RawDrift::Report => Drift::Report,
        }),
        drift_grace: seconds(&raw.drift_grace_seconds, defaults::DRIFT_GRACE),
        max_steps_in_flight: within(&raw.max_steps_in_flight, defaults::MAX_STEPS_IN_FLIGHT, 1, 256, found) as usize,
        // Budgets are learned from runs: ten of each kind are the least that says anything.
        runs_kept: within(&raw.runs_kept, defaults::RUNS_KEPT, 20, 10_000, found) as usize,
    };
    if reconcile.busy_interval > reconcile.idle_interval {
        let at = written(&raw.busy_interval_seconds, &raw.idle_interval_seconds);
        let (busy, idle) = (show(reconcile.busy_interval), show(reconcile.idle_interval));
        let problem = format!("busy_interval_seconds ({busy}) is more than idle_interval_seconds ({idle})");
        found.mistake_with(at, problem, "while something is going on hosts are looked at more often, not less");
    }
    reconcile
}

/// Reads `metrics`.
pub(super) fn metrics(raw: &RawMetrics, found: &mut Findings) -> Option<SocketAddr> {
    let text = raw.listen.or(defaults::METRICS_LISTEN.to_owned());
    match names::listen(&text) {
        Ok(address) => address,
        Err(wrong) => {
            found.add_mistake(&raw.listen.at, wrong.problem, wrong.hint);
            None
        }
    }
}

/// An API server's answer to `/readyz` is waited for so long.
const API_PROBE_TIME: Duration = Duration::from_secs(4);

/// Compares both with the rest.
pub(super) fn across(raw: &RawConfig, config: &Config, found: &mut Findings) {
    let reconcile = &config.reconcile;
    if reconcile.api_max_age < reconcile.idle_interval + API_PROBE_TIME {
        let problem = format!(
            "api_max_age_seconds ({}) is less than idle_interval_seconds ({}) and the {} s a probe may take",
            show(reconcile.api_max_age),
            show(reconcile.idle_interval),
            show(API_PROBE_TIME)
        );
        let at = written(&raw.reconcile.api_max_age_seconds, &raw.reconcile.idle_interval_seconds);
        found.mistake_with(at, problem, "the API would be unknown before the next look at it");
    }
    if reconcile.host_max_age < reconcile.idle_interval + config.ssh.command_timeout {
        let problem = format!(
            "host_max_age_seconds ({}) is less than idle_interval_seconds + ssh_command_timeout_seconds ({} + {})",
            show(reconcile.host_max_age),
            show(reconcile.idle_interval),
            show(config.ssh.command_timeout)
        );
        let at = written(&raw.reconcile.host_max_age_seconds, &raw.reconcile.idle_interval_seconds);
        found.mistake_with(at, problem, "a host would be unknown before the next look at it");
    }
    let coordination = &config.coordination;
    if coordination.startup_guard_max_age < config.shutdown.estimated_budget {
        let problem = format!(
            "startup_guard_max_age_seconds ({}) is less than shutdown.estimated_shutdown_budget_seconds ({})",
            show(coordination.startup_guard_max_age),
            show(config.shutdown.estimated_budget)
        );
        let at =
            written(&raw.coordination.startup_guard_max_age_seconds, &raw.shutdown.estimated_shutdown_budget_seconds);
        found.warning(at, problem, "a start could begin while another host's shutdown still runs");
    }
    if coordination.role == CoordinationRole::Peer {
        if raw.coordination.peer_hosts.value().is_none_or(Vec::is_empty) {
            let hint = "name the coordinator, for example [titan-db]";
            found.mistake_with(&raw.coordination.peer_hosts.at, "is empty, but role is peer", hint);
        }
        let hint = if coordination.local_shutdown_fallback {
            "until then this peer only observes, and shuts down locally when its own UPS triggers"
        } else {
            "until then this peer only observes: with local_shutdown_fallback false nobody acts on its UPS"
        };
        let problem = "forwarding to the coordinator is not built yet in this version";
        found.warning(&raw.coordination.role.at, problem, hint);
    }
}

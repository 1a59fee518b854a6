//! Clusters to simulate, drawn as configurations.
#![deny(clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::config::*;
use crate::model::*;

/// A cluster of so many servers and workers on one UPS.
pub fn config(servers: usize, workers: usize) -> Config {
    let s = Duration::from_secs;
    let mut nodes = BTreeMap::new();
    for (count, prefix, role) in [(servers, "cp", Role::ControlPlane), (workers, "worker", Role::Worker)] {
        for n in 1..=count {
            nodes.insert(
                NodeName::new(format!("{prefix}-{n}")),
                Node {
                    role,
                    host: "x".into(),
                    user: "hecate".into(),
                    port: 22,
                    feeds: BTreeSet::from(["pyrphoros".into()]),
                    wake: None,
                    power_off: true,
                    is_managed: true,
                },
            );
        }
    }
    Config {
        kubeconfig: "/etc/hecate/kubeconfig".into(),
        state_dir: "/var/lib/hecate".into(),
        runtime_dir: "/run/hecate".into(),
        metrics_listen: None,
        ssh: Ssh {
            jump_host: None,
            jump_user: None,
            jump_port: 22,
            config_file: None,
            identity_file: None,
            known_hosts_file: "/x".into(),
            connect_timeout: s(10),
            command_timeout: s(15),
        },
        nodes,
        ignore_unavailable_nodes: BTreeSet::new(),
        own_host: OwnHost {
            node: None,
            feeds: BTreeSet::from(["pyrphoros".into()]),
            power_off: true,
            power_off_time: s(60),
        },
        upses: BTreeMap::from([(
            "pyrphoros".into(),
            Ups {
                nut_name: "pyrphoros".into(),
                host: "localhost".into(),
                port: 3493,
                username: None,
                password_file: None,
            },
        )]),
        ups_policy: UpsPolicy {
            poll: s(2),
            timeout: s(2),
            max_age: s(15),
            runtime_safety_factor: 1.25,
            debounce_polls: 3,
            debounce: s(10),
            ob_lb: s(0),
            lost_on_battery: s(30),
            calibration_max: s(900),
            mains_stable: s(30),
            charge_percent_min: 40.0,
            on_battery_max: s(300),
        },
        startup: Startup {
            time_sync_mode: None,
            time_sync_quorum: 0,
            require_storage_ready: false,
            require_post_start_probes: false,
            auto_etcd_restore_on_api_failure: false,
            etcd_restore_control_plane: None,
            ups_unknown_grace: Some(s(600)),
            recharge_charge_percent_min: 50.0,
            bring_up_time: s(300),
            recharge_max_wait: s(4 * 3600),
            api_wait: s(300),
            node_wait: s(300),
            uncordon_wait: s(120),
        },
        shutdown: Shutdown {
            estimated_budget: s(420),
            emergency_budget: s(180),
            budget_floor: s(90),
            emergency_skip_drain: true,
            emergency_skip_etcd_snapshot: true,
            ups_path: UpsPath::Emergency,
            drain_timeout: s(300),
            pdb_grace: s(20),
            drain_exclude_namespaces: BTreeSet::from(["kube-system".into()]),
            detach_timeout: s(60),
            etcd_snapshot_timeout: s(60),
            unit_stop_timeout: s(90),
            killall: true,
            off_confirm: s(60),
            unreachable_limit: s(60),
            api_wait: s(60),
        },
        reconcile: Reconcile {
            busy_interval: s(1),
            idle_interval: s(15),
            host_max_age: s(45),
            api_max_age: s(30),
            drift: Drift::Correct,
            drift_grace: s(60),
            max_steps_in_flight: 64,
            runs_kept: 100,
        },
        coordination: Coordination {
            role: CoordinationRole::Coordinator,
            allow_startup_on_battery: false,
            peer_hosts: vec![],
            local_shutdown_fallback: true,
            startup_guard_max_age: s(900),
        },
    }
}

//! The shape of `hecate.yaml`: every key, in the order of the reference file; nothing here is judged.
//!
//! Pure. The keys of the source document keep their names and places. The doc comments are also the descriptions in
//! `state/schemas/hecate.yaml.schema.json`, so they are written for operators. Defaults are in `defaults.rs`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::forms::{Percent, Seconds};
use super::read::{Field, section, words};

/// A list of texts whose elements know their lines.
type Texts = Field<Vec<Field<String>>>;

/// A mapping from names to texts whose values know their lines.
type TextsByName = Field<BTreeMap<String, Field<String>>>;

section! {
    /// The whole file.
    RawConfig requires [
        kubeconfig = "write the path of a kubeconfig with cluster-admin rights",
        nodes = "list every node of the cluster"
    ] {
        /// Kubeconfig with cluster-admin rights; its server may be any control plane.
        kubeconfig: Field<PathBuf>,
        /// Where durable state lives.
        state_dir: Field<PathBuf>,
        /// Where the published status and SSH sockets live; emptied at boot.
        runtime_dir: Field<PathBuf>,
        /// SSH login on the nodes, where a node names no other.
        ssh_user: Field<String>,
        /// SSH port of the nodes, where a node names no other.
        ssh_port: Field<u16>,
        /// An ssh_config(5) file that the generated one includes.
        ssh_config_file: Field<PathBuf>,
        /// Private key; without it the keys that ssh finds by itself.
        ssh_identity_file: Field<PathBuf>,
        /// Known host keys, by node name.
        ssh_known_hosts_file: Field<PathBuf>,
        /// Host through which nodes are reached; where it does not answer they are reached directly.
        ssh_jump_host: Field<String>,
        /// Login on the jump host; `ssh_user` where not given.
        ssh_jump_user: Field<String>,
        /// SSH port of the jump host.
        ssh_jump_port: Field<u16>,
        /// Addresses by node name: another place for a node's `host`.
        ssh_node_hosts: TextsByName,
        /// Logins by node name: another place for a node's `user`.
        ssh_node_users: TextsByName,
        /// The nodes hecate may command over SSH; all where not given. The rest is only watched through the API.
        ssh_managed_nodes: Texts,
        /// How long an SSH connection may take to stand.
        ssh_connect_timeout_seconds: Field<Seconds>,
        /// How long one look at a host may take.
        ssh_command_timeout_seconds: Field<Seconds>,
        /// Nodes that never hold anything up while they are away.
        ignore_unavailable_nodes: Texts,
        /// The inventory.
        nodes: Field<Vec<RawNode>>,
        /// The host hecate itself runs on.
        own_host: RawOwnHost,
        /// The UPSes, as upsd knows them.
        upses: Field<Vec<RawUps>>,
        /// When the UPSes' words become an override.
        ups_policy: RawUpsPolicy,
        /// Bring-up.
        startup: RawStartup,
        /// Shut-down.
        shutdown: RawShutdown,
        /// The loop.
        reconcile: RawReconcile,
        /// Other hecate hosts.
        coordination: RawCoordination,
        /// Prometheus metrics.
        metrics: RawMetrics,
    }
}

section! {
    /// One node.
    RawNode requires [name = "write its name in Kubernetes", role = "write control-plane or worker"] {
        /// Its name in Kubernetes.
        name: Field<String>,
        /// control-plane runs `k3s server`, worker runs `k3s agent`.
        role: Field<RawRole>,
        /// Address or name for SSH; `ssh_node_hosts` or else the node's name where not given.
        host: Field<String>,
        /// SSH login; `ssh_node_users` or else `ssh_user` where not given.
        user: Field<String>,
        /// SSH port; `ssh_port` where not given.
        port: Field<u16>,
        /// Names of the UPSes that feed it; with two of them it is at risk only when both are.
        feeds: Texts,
        /// How many of its feeds it needs to stay on (NUT's MINSUPPLIES).
        min_supplies: Field<u32>,
        /// How it can be switched on.
        wake: Field<RawWake>,
        /// Whether `poweroff` includes it.
        power_off: Field<bool>,
    }
}

words! {
    /// Control plane or worker.
    RawRole {
        /// Runs `k3s server`.
        ControlPlane = "control-plane",
        /// Runs `k3s agent`.
        Worker = "worker",
    }
}

section! {
    /// A way to switch a host on.
    RawWake requires [method = "write wake-on-lan or command"] {
        /// wake-on-lan sends a magic packet, command runs a program on the hecate host.
        method: Field<RawWakeMethod>,
        /// wake-on-lan: the MAC address of its network card.
        mac: Field<String>,
        /// wake-on-lan: address, and port where it is not 9, to which the packet goes.
        broadcast: Field<String>,
        /// command: program and arguments; no shell.
        command: Texts,
    }
}

words! {
    /// How a host is switched on.
    RawWakeMethod {
        /// Magic packet.
        WakeOnLan = "wake-on-lan",
        /// A program on the hecate host.
        Command = "command",
    }
}

section! {
    /// The host hecate itself runs on.
    RawOwnHost requires [] {
        /// Its name in the inventory, where it is also a node of the cluster.
        node: Field<String>,
        /// Names of the UPSes that feed it; those of its node where not given.
        feeds: Texts,
        /// How many of its feeds it needs to stay on; that of its node where not given.
        min_supplies: Field<u32>,
        /// Whether `poweroff` includes it, last of all.
        power_off: Field<bool>,
        /// How long its own power-off takes; added to every budget.
        power_off_seconds: Field<Seconds>,
    }
}

section! {
    /// One UPS.
    RawUps requires [name = "write how it shall be called here", target = "write UPS@HOST, as for upsc"] {
        /// Its name in this file, in `status` and in metrics.
        name: Field<String>,
        /// Its address as NUT writes it: UPS@HOST or UPS@HOST:PORT.
        target: Field<String>,
        /// NUT user, where upsd wants one.
        username: Field<String>,
        /// File that holds the NUT user's password and nothing else.
        password_file: Field<PathBuf>,
        /// Tell it to cut its load and to return with the mains, so that hosts which boot on AC come back.
        cut_load: Field<RawCutLoad>,
        /// What is gone when the mains are: another UPS, or HOST or HOST:PORT of something that no UPS feeds. While it is
        /// gone, a UPS that fell silent counts as on battery.
        witness: Field<String>,
        /// Words of its status that count for nothing, such as LB on a UPS that always says it.
        ignore_words: Texts,
        /// From an empty battery to a full one, in hours, until hecate has learned it.
        recharge_hours: Field<f64>,
    }
}

section! {
    /// How a UPS is told to cut its load.
    RawCutLoad requires [delay_seconds = "write what upsc says of ups.delay.shutdown"] {
        /// The NUT instant command: shutdown.return or shutdown.reboot.graceful.
        command: Field<RawCutCommand>,
        /// From the command to the end of its output: what ups.delay.shutdown is set to.
        delay_seconds: Field<Seconds>,
    }
}

words! {
    /// The NUT instant commands that cut the load and give it back by themselves.
    RawCutCommand {
        /// Off after the delay, on with the mains.
        ShutdownReturn = "shutdown.return",
        /// Off after the delay, on again a moment later.
        ShutdownRebootGraceful = "shutdown.reboot.graceful",
    }
}

section! {
    /// When the UPSes' words become an override.
    RawUpsPolicy requires [] {
        /// What goes dark with a UPS that does not feed everything.
        scope: Field<RawUpsScope>,
        /// How often each UPS is asked.
        poll_seconds: Field<Seconds>,
        /// How long one answer may take.
        timeout_seconds: Field<Seconds>,
        /// A reading older than this is stale.
        max_age_seconds: Field<Seconds>,
        /// Trigger when the runtime is at most this many times the budget.
        runtime_safety_factor: Field<f64>,
        /// Trigger only after so many polls in a row.
        debounce_polls: Field<u32>,
        /// Trigger only after at least so long.
        debounce_seconds: Field<Seconds>,
        /// How long OB LB must stand before it triggers.
        ob_lb_seconds: Field<Seconds>,
        /// How long communication may be lost while on battery before it triggers; with last figures this is the least.
        lost_on_battery_seconds: Field<Seconds>,
        /// The longest, whatever its last figures promise.
        lost_on_battery_max_seconds: Field<Seconds>,
        /// A charge that has not moved for so long on battery, without a runtime, says nothing.
        charge_frozen_seconds: Field<Seconds>,
        /// How long CAL may keep a UPS on battery from triggering.
        calibration_max_seconds: Field<Seconds>,
        /// How long mains must be back before the override is lifted.
        mains_stable_seconds: Field<Seconds>,
        /// A UPS that tells no runtime triggers at this charge.
        charge_percent_min: Field<Percent>,
        /// A UPS that tells neither runtime nor charge triggers after so long on battery.
        on_battery_max_seconds: Field<Seconds>,
    }
}

section! {
    /// Bring-up.
    RawStartup requires [] {
        /// Wait for synchronised clocks: strict (every host) or quorum (time_sync_quorum of them).
        time_sync_mode: Field<RawTimeSyncMode>,
        /// How many hosts must be in sync in quorum mode.
        time_sync_quorum: Field<u32>,
        /// By how much a host's clock may differ from the hecate host's and still count as in sync.
        time_sync_max_offset_seconds: Field<Seconds>,
        /// How long a start waits for clocks before they are a blocker.
        time_sync_wait_seconds: Field<Seconds>,
        /// Wait for healthy storage.
        require_storage_ready: Field<bool>,
        /// Wait for the post-start probes.
        require_post_start_probes: Field<bool>,
        /// URLs that must answer before the cluster counts as up.
        post_start_probes: Texts,
        /// File with the Vault unseal key, used where `vault-init` cannot be read.
        vault_unseal_key_file: Field<PathBuf>,
        /// Shell command that prints the Vault unseal key.
        vault_unseal_breakglass_command: Field<String>,
        /// How long that command may take.
        vault_unseal_breakglass_timeout_seconds: Field<Seconds>,
        /// Restore etcd when the API never comes.
        auto_etcd_restore_on_api_failure: Field<bool>,
        /// The control plane on which etcd snapshots are taken and restored.
        etcd_restore_control_plane: Field<String>,
        /// How long no word from any UPS blocks a start; 0 for ever.
        ups_unknown_grace_seconds: Field<Seconds>,
        /// Recharge gate: the least charge with which what is stopped is started.
        recharge_charge_percent_min: Field<Percent>,
        /// Recharge gate: how long a bring-up takes, part of the runtime that must be there.
        bring_up_seconds: Field<Seconds>,
        /// Recharge gate: how long it holds a start.
        recharge_max_wait_seconds: Field<Seconds>,
        /// Recharge gate: what follows then: start (with a warning) or hold (a blocker).
        recharge_timeout: Field<RawRechargeTimeout>,
        /// How long mains must have been back before hosts that are off are switched on; doubled by each shutdown within a
        /// day, up to an hour.
        mains_stable_seconds: Field<Seconds>,
        /// How many hosts are woken within 20 s, control planes first; 0: all at once.
        wake_burst: Field<u32>,
        /// How long the API may take once a server's unit runs.
        api_wait_seconds: Field<Seconds>,
        /// How long a node may take to be reachable, and then Ready.
        node_wait_seconds: Field<Seconds>,
        /// How long uncordoning waits for all expected workers.
        uncordon_wait_seconds: Field<Seconds>,
    }
}

words! {
    /// What follows when a battery does not get to the recharge gate in time.
    RawRechargeTimeout {
        /// Start all the same, and warn.
        Start = "start",
        /// Hold the start.
        Hold = "hold",
    }
}

words! {
    /// Which clocks must be in sync.
    RawTimeSyncMode {
        /// Every one.
        Strict = "strict",
        /// Enough of them.
        Quorum = "quorum",
    }
}

section! {
    /// Shut-down.
    RawShutdown requires [] {
        /// Budget of the full path until enough runs were recorded.
        estimated_shutdown_budget_seconds: Field<Seconds>,
        /// Deprecated name of estimated_shutdown_budget_seconds.
        default_budget_seconds: Field<Seconds>,
        /// Budget of the emergency path until enough runs were recorded.
        emergency_budget_seconds: Field<Seconds>,
        /// Another name of emergency_budget_seconds.
        estimated_emergency_shutdown_budget_seconds: Field<Seconds>,
        /// No learned budget is below this; half of the smaller budget where not given.
        budget_floor_seconds: Field<Seconds>,
        /// The emergency path skips cordon and drain.
        emergency_skip_drain: Field<bool>,
        /// The emergency path skips the etcd snapshot.
        emergency_skip_etcd_snapshot: Field<bool>,
        /// Which path a UPS trigger takes: always emergency, or auto (graceful when the time left allows it).
        ups_path: Field<RawUpsPath>,
        /// How long a drain may take before what is left is named and left.
        drain_timeout_seconds: Field<Seconds>,
        /// How long a disruption budget may refuse before the pod is deleted, its grace kept.
        pdb_grace_seconds: Field<Seconds>,
        /// Namespaces whose pods are not evicted: they stop with their node.
        drain_exclude_namespaces: Texts,
        /// How long volumes may take to detach after the drain.
        detach_timeout_seconds: Field<Seconds>,
        /// How long an etcd snapshot may take.
        etcd_snapshot_timeout_seconds: Field<Seconds>,
        /// How long k3s or k3s-agent may take to stop.
        unit_stop_timeout_seconds: Field<Seconds>,
        /// End the containers that outlive the units: auto (where sudo allows k3s-killall.sh) or never.
        killall: Field<RawKillall>,
        /// How long a host must be silent after its power-off before it counts as off; not less than off_tail_seconds.
        off_confirm_seconds: Field<Seconds>,
        /// How long a host that no longer answers may still be writing. It lies inside the budgets above.
        off_tail_seconds: Field<Seconds>,
        /// How long an unreachable host delays the others on a declared shutdown.
        unreachable_limit_seconds: Field<Seconds>,
        /// How long the API may be away before a declared shutdown asks for `--skip-drain`.
        api_wait_seconds: Field<Seconds>,
    }
}

words! {
    /// What goes dark with a UPS that does not feed everything.
    RawUpsScope {
        /// The whole cluster.
        Cluster = "cluster",
        /// The nodes whose supply ends, as long as the rest keeps etcd's quorum.
        Affected = "affected",
    }
}

words! {
    /// Which path a UPS trigger takes.
    RawUpsPath {
        /// Graceful when the time left allows it.
        Auto = "auto",
        /// Always the emergency path.
        Emergency = "emergency",
    }
}

words! {
    /// Whether containers that outlive the units are ended.
    RawKillall {
        /// Where sudo allows it.
        Auto = "auto",
        /// Never.
        Never = "never",
    }
}

section! {
    /// The loop.
    RawReconcile requires [] {
        /// How often nodes are looked at while something is going on.
        busy_interval_seconds: Field<Seconds>,
        /// How often nodes are looked at while nothing is.
        idle_interval_seconds: Field<Seconds>,
        /// A look at a host older than this counts as unknown.
        host_max_age_seconds: Field<Seconds>,
        /// A look at the API older than this counts as unknown.
        api_max_age_seconds: Field<Seconds>,
        /// What happens to a k3s unit found stopped for no reason: correct starts it, report only shows it.
        drift: Field<RawDrift>,
        /// How long it must be found stopped first.
        drift_grace_seconds: Field<Seconds>,
        /// How many steps may be in flight at once.
        max_steps_in_flight: Field<u32>,
        /// How many runs `runs.json` keeps.
        runs_kept: Field<u32>,
    }
}

words! {
    /// What happens to drift.
    RawDrift {
        /// It is corrected.
        Correct = "correct",
        /// It is only shown.
        Report = "report",
    }
}

section! {
    /// Other hecate hosts.
    RawCoordination requires [] {
        /// coordinator starts and stops the cluster; peer starts nothing unless asked to.
        role: Field<RawCoordinationRole>,
        /// Start although a UPS is on battery.
        allow_startup_on_battery: Field<bool>,
        /// The other hecate hosts, as HOST or USER@HOST.
        peer_hosts: Texts,
        /// A peer whose word does not reach the coordinator may shut down locally.
        local_shutdown_fallback: Field<bool>,
        /// After how long another host's shutdown intent no longer blocks a start.
        startup_guard_max_age_seconds: Field<Seconds>,
    }
}

words! {
    /// What this host is among several hecate hosts.
    RawCoordinationRole {
        /// Starts and stops the cluster.
        Coordinator = "coordinator",
        /// Starts nothing unless asked to.
        Peer = "peer",
    }
}

section! {
    /// Prometheus metrics.
    RawMetrics requires [] {
        /// Address and port of /metrics and /healthz; ":9560" is every IPv4 address; off turns them off.
        listen: Field<String>,
    }
}

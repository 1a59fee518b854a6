//! What stands in the rack: hosts, UPSes, how they are wired, and what each of them is like.
//!
//! Drawn once a play and never changed; the moving parts are in `world.rs` and beside it.

use hecate::model::{MachineId, NodeName, Role, UpsName};

use super::script::Due;

/// What a host's firmware does when its power comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Firmware {
    /// It boots, whatever was before.
    AlwaysOn,
    /// It boots only if it was on when the power went.
    LastState,
    /// It stays off.
    StaysOff,
}

/// One host.
#[derive(Clone, Debug)]
pub(crate) struct HostSpec {
    /// Its name; that of its node, where it is one.
    pub(crate) name: String,
    /// Its role in the cluster; None for a host that only runs hecate.
    pub(crate) role: Option<Role>,
    /// The UPSes that feed it. Empty: the mains, without a UPS.
    pub(crate) feeds: Vec<usize>,
    /// How many of them it needs.
    pub(crate) min_supplies: usize,
    /// Whether hecate may power it off.
    pub(crate) power_off: bool,
    /// How it is woken: None where it is not, else whether that works.
    pub(crate) wake: Option<bool>,
    /// What it does when power comes back.
    pub(crate) firmware: Firmware,
    /// From power to sshd.
    pub(crate) boot_seconds: f64,
    /// How long its k3s takes to stop.
    pub(crate) stop_seconds: f64,
    /// From `systemctl poweroff` until sshd no longer answers.
    pub(crate) silent_seconds: f64,
    /// From its units' end until the last write.
    pub(crate) write_seconds: f64,
    /// How long its k3s takes from start to ready.
    pub(crate) ready_seconds: f64,
    /// What it draws while it is on.
    pub(crate) watts: f64,
    /// Whether its k3s unit is enabled and so starts at boot.
    pub(crate) is_enabled: bool,
    /// Pods that it runs in calm times.
    pub(crate) pods: usize,
}

impl HostSpec {
    /// Its name as a node.
    pub(crate) fn node(&self) -> NodeName {
        NodeName::new(self.name.clone())
    }

    /// Its machine id.
    pub(crate) fn machine_id(&self) -> MachineId {
        MachineId::new(format!("machine-{}", self.name))
    }

    /// Whether it is a control plane.
    pub(crate) fn is_server(&self) -> bool {
        self.role == Some(Role::ControlPlane)
    }
}

/// How hecate reaches a UPS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// A cable to the hecate host, which runs upsd itself.
    Cable,
    /// upsd runs on this host.
    OnHost(usize),
    /// The UPS' own network card, behind a switch that has no UPS.
    Card,
}

/// Where `battery.charge` comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ChargeKind {
    /// Not told.
    Missing,
    /// What went out and came in is counted.
    Counted,
    /// Made of the voltage: sags by so many points in the first minute on battery, and is near 100 so soon after the
    /// charger runs.
    Voltage {
        /// Points.
        sag: f64,
        /// Seconds.
        recovers: f64,
    },
    /// Never moves.
    Frozen(f64),
    /// An aged battery that never reads more.
    TopsOut(f64),
    /// Counted, in steps of so many points.
    Coarse(f64),
}

/// Where `battery.runtime` comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum RuntimeKind {
    /// Not told.
    Missing,
    /// Always 0.
    Zero,
    /// 0 on line, an estimate on battery.
    ZeroOnLine {
        /// What it promises of what it should.
        bias: f64,
    },
    /// Always 65535 or more.
    Endless(f64),
    /// Always the same.
    Static(f64),
    /// Charge times capacity by load.
    Estimate {
        /// What it promises of what it should.
        bias: f64,
    },
    /// The seconds on battery so far.
    CountsUp,
}

/// Where `ups.load` comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum LoadKind {
    /// Not told.
    Missing,
    /// Always 0.
    Zero,
    /// As it is, of a nominal load that is so many times the full one.
    Real(f64),
}

/// When the device says LB.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum LowKind {
    /// At this charge, as it estimates that.
    Charge(f64),
    /// At so many seconds left, as it estimates them.
    Runtime(f64),
    /// Never.
    Never,
}

/// One UPS.
#[derive(Clone, Debug)]
pub(crate) struct UpsSpec {
    /// Its name.
    pub(crate) name: String,
    /// The circuit of the mains that it hangs on.
    pub(crate) circuit: usize,
    /// How it is reached.
    pub(crate) way: Way,
    /// What a new battery gives at full load, seconds.
    pub(crate) new_seconds: f64,
    /// What this one gives of that.
    pub(crate) health: f64,
    /// Whether its estimate knows its age.
    pub(crate) knows_age: bool,
    /// From empty to full.
    pub(crate) recharge_hours: f64,
    /// Its charge.
    pub(crate) charge: ChargeKind,
    /// Its runtime.
    pub(crate) runtime: RuntimeKind,
    /// Its load.
    pub(crate) load: LoadKind,
    /// Its LB.
    pub(crate) low: LowKind,
    /// `battery.charge.low`, where it is told.
    pub(crate) charge_low: Option<f64>,
    /// How often its driver refreshes the slow variables.
    pub(crate) pollfreq: f64,
    /// Whether upsd tells that.
    pub(crate) tells_pollfreq: bool,
    /// Words that stand on line.
    pub(crate) standing: Vec<&'static str>,
    /// Words that stand on battery too.
    pub(crate) lasting: Vec<&'static str>,
    /// Says `OL DISCHRG` on battery, never OB.
    pub(crate) never_says_ob: bool,
    /// Says OB beside OL on battery.
    pub(crate) says_both: bool,
    /// Says CHRG or DISCHRG where it does so.
    pub(crate) says_charging: bool,
    /// Its figures are gone for so long after a transfer to battery.
    pub(crate) bare_seconds: f64,
    /// Says LB for so long at each transfer.
    pub(crate) flash_seconds: f64,
    /// `ups.delay.shutdown` and `ups.delay.start`, where hecate may cut its load.
    pub(crate) cut_delay: Option<(f64, f64)>,
    /// A witness that has no UPS is configured.
    pub(crate) has_witness: bool,
    /// Tells a serial number.
    pub(crate) has_serial: bool,
}

impl UpsSpec {
    /// Its name in hecate's configuration.
    pub(crate) fn ups(&self) -> UpsName {
        UpsName::new(self.name.clone())
    }
}

/// The figures of hecate's configuration that the judge needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The runtime at which the policy acts as documented, at the latest.
    pub(crate) trigger: f64,
    /// The runtime at which it may act: with `ups_path: auto` it does so earlier, for the graceful path.
    pub(crate) earliest: f64,
    /// The runtime at which a hecate host goes that is the last one left.
    pub(crate) last: f64,
    /// `ups_policy.charge_percent_min`.
    pub(crate) charge_min: f64,
    /// `ups_policy.debounce_seconds`.
    pub(crate) debounce: f64,
}

/// All of it.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// The hosts, nodes first.
    pub(crate) hosts: Vec<HostSpec>,
    /// The host that hecate runs on.
    pub(crate) own: usize,
    /// The UPSes.
    pub(crate) upses: Vec<UpsSpec>,
    /// How many circuits the mains have.
    pub(crate) circuits: usize,
    /// The UPS behind which the switch of all hosts is; None: the mains.
    pub(crate) switch_on: Option<usize>,
    /// How long a switch takes to boot.
    pub(crate) switch_seconds: f64,
    /// Whether k3s-agent is up only once an API server answers (Type=notify).
    pub(crate) agents_notify: bool,
    /// hecate's configuration.
    pub(crate) yaml: String,
    /// Figures of it.
    pub(crate) limits: Limits,
    /// `reconcile.drift: report`.
    pub(crate) reports_drift: bool,
    /// How often hecate passes while something goes on.
    pub(crate) pass_seconds: f64,
    /// What happens, in order.
    pub(crate) script: Vec<Due>,
    /// From when on the mains are there for good.
    pub(crate) calm_from: f64,
}

impl Site {
    /// The nodes.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.hosts.len()).filter(|host| self.hosts[*host].role.is_some())
    }

    /// The host of this node.
    pub(crate) fn host(&self, node: &NodeName) -> Option<usize> {
        self.nodes().find(|host| self.hosts[*host].name == node.as_str())
    }

    /// The UPS of this name.
    pub(crate) fn ups(&self, name: &str) -> Option<usize> {
        self.upses.iter().position(|ups| ups.name == name)
    }

    /// What a UPS carries with everything on.
    pub(crate) fn full_watts(&self, ups: usize) -> f64 {
        let share = |host: &HostSpec| {
            if host.feeds.contains(&ups) { host.watts / host.feeds.len() as f64 } else { 0.0 }
        };
        self.hosts.iter().map(share).sum::<f64>() + 10.0
    }
}

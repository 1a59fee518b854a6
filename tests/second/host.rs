//! A host: power, systemd, sshd, and the k3s unit on it.
//!
//! From systemd's manual pages: `poweroff` is accepted at once, units are stopped side by side, sshd goes with them while
//! others still write; what does not end is killed after its `TimeoutStopSec`. From k3s' installer: `KillMode=process`
//! (containers outlive the unit), `Restart=always`, `TimeoutStartSec=0`, enabled.

use super::site::{Firmware, HostSpec};

/// The power of a host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Power {
    /// Off.
    Off,
    /// It boots; sshd is there then.
    Booting(f64),
    /// On since then.
    Up(f64),
    /// It shuts down.
    Closing {
        /// When sshd no longer answers.
        silent_at: f64,
        /// When its last write is done.
        off_at: f64,
    },
}

/// A k3s unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum UnitIs {
    /// Inactive.
    Stopped,
    /// Activating since then.
    Starting(f64),
    /// Active.
    Running,
    /// Deactivating until then.
    Stopping(f64),
}

/// The moving parts of one host.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// Its power.
    pub(crate) power: Power,
    /// Whether it hangs: it accepts connections and says nothing.
    pub(crate) is_hung: bool,
    /// When its current boot came up.
    pub(crate) up_since: f64,
    /// Which boot it is in.
    pub(crate) boot: u32,
    /// Whether there is power at its supplies.
    pub(crate) has_power: bool,
    /// When its firmware switches it on.
    pub(crate) starts_at: Option<f64>,
    /// Whether it was on when its power went.
    pub(crate) was_on: bool,
    /// Its k3s unit.
    pub(crate) unit: UnitIs,
    /// Since when it is so.
    pub(crate) unit_since: f64,
    /// Containers.
    pub(crate) containers: u32,
    /// Etcd snapshots on it.
    pub(crate) snapshots: Vec<String>,
    /// Until when one is being saved.
    pub(crate) saving_until: Option<(f64, String)>,
    /// When it was told to power off in this boot.
    pub(crate) told_at: Option<f64>,
    /// Whether its power went since it was last told to power off.
    pub(crate) lost_power: bool,
}

/// What became of a host in a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Became {
    /// Nothing new.
    Same,
    /// It lost its power while it was on.
    Cut,
    /// It is off as it should.
    Off,
    /// It answers.
    Up,
}

impl Host {
    /// One that runs.
    pub(crate) fn running(spec: &HostSpec) -> Self {
        Self {
            power: Power::Up(-1e5),
            is_hung: false,
            up_since: -1e5,
            boot: 1,
            has_power: true,
            starts_at: None,
            was_on: true,
            unit: if spec.role.is_some() { UnitIs::Running } else { UnitIs::Stopped },
            unit_since: -1e5,
            containers: u32::try_from(spec.pods).unwrap_or(0) + 1,
            snapshots: Vec::new(),
            saving_until: None,
            told_at: None,
            lost_power: false,
        }
    }

    /// Whether it draws its load.
    pub(crate) fn is_on(&self) -> bool {
        self.power != Power::Off
    }

    /// Whether it answers over SSH.
    pub(crate) fn answers(&self, now: f64) -> bool {
        !self.is_hung
            && match self.power {
                Power::Up(_) => true,
                Power::Closing { silent_at, .. } => now < silent_at,
                Power::Off | Power::Booting(_) => false,
            }
    }

    /// Whether its k3s process runs.
    pub(crate) fn has_k3s(&self) -> bool {
        self.is_on() && !matches!(self.power, Power::Booting(_)) && self.unit != UnitIs::Stopped
    }

    /// Whether anything on it is on its way from one state to another.
    pub(crate) fn is_moving(&self) -> bool {
        self.starts_at.is_some()
            || matches!(self.power, Power::Booting(_) | Power::Closing { .. })
            || matches!(self.unit, UnitIs::Starting(_) | UnitIs::Stopping(_))
            || self.saving_until.is_some()
    }

    /// Puts its unit into another state.
    pub(crate) fn set_unit(&mut self, unit: UnitIs, now: f64) {
        if self.unit != unit {
            self.unit = unit;
            self.unit_since = now;
        }
    }

    /// `systemctl stop`.
    pub(crate) fn stop_unit(&mut self, spec: &HostSpec, now: f64) {
        match self.unit {
            UnitIs::Starting(_) | UnitIs::Running => self.set_unit(UnitIs::Stopping(now + spec.stop_seconds), now),
            UnitIs::Stopped | UnitIs::Stopping(_) => {}
        }
    }

    /// `systemctl start --no-block`.
    pub(crate) fn start_unit(&mut self, now: f64) {
        match self.unit {
            UnitIs::Stopped | UnitIs::Stopping(_) => self.set_unit(UnitIs::Starting(now), now),
            UnitIs::Starting(_) | UnitIs::Running => {}
        }
    }

    /// `systemctl poweroff`.
    pub(crate) fn power_off(&mut self, spec: &HostSpec, now: f64) {
        if let Power::Up(_) = self.power {
            self.stop_unit(spec, now);
            let units = match self.unit {
                UnitIs::Stopping(until) => (until - now).max(0.0),
                UnitIs::Stopped | UnitIs::Starting(_) | UnitIs::Running => 0.0,
            };
            let silent_at = now + spec.silent_seconds;
            let off_at = (now + units + spec.write_seconds).max(silent_at + 1.0);
            self.power = Power::Closing { silent_at, off_at };
            self.told_at = Some(now);
            self.lost_power = false;
        }
    }

    /// Wakes it, where it has power and is off.
    pub(crate) fn wake(&mut self, now: f64) {
        if self.power == Power::Off && self.has_power && self.starts_at.is_none() {
            self.starts_at = Some(now + 3.0);
        }
    }

    /// Somebody presses its button: one that hangs is reset, one that is off boots.
    pub(crate) fn press_button(&mut self, now: f64) {
        if self.is_hung {
            self.is_hung = false;
            self.power = Power::Off;
        }
        self.wake(now);
    }

    /// Time passes, with or without power.
    pub(crate) fn pass(&mut self, spec: &HostSpec, has_power: bool, now: f64) -> Became {
        if self.has_power && !has_power {
            return self.lose_power();
        }
        if !self.has_power && has_power {
            self.has_power = true;
            let boots = match spec.firmware {
                Firmware::AlwaysOn => true,
                Firmware::LastState => self.was_on,
                Firmware::StaysOff => false,
            };
            if boots {
                self.starts_at = Some(now + 4.0);
            }
        }
        if self.starts_at.is_some_and(|at| now >= at) && self.power == Power::Off {
            self.starts_at = None;
            self.power = Power::Booting(now + spec.boot_seconds);
        }
        match self.power {
            Power::Booting(until) if now >= until => {
                self.come_up(spec, now);
                Became::Up
            }
            Power::Closing { off_at, .. } if now >= off_at => {
                self.power = Power::Off;
                self.set_unit(UnitIs::Stopped, now);
                self.containers = 0;
                Became::Off
            }
            Power::Off | Power::Booting(_) | Power::Up(_) | Power::Closing { .. } => Became::Same,
        }
    }

    /// Its power goes.
    fn lose_power(&mut self) -> Became {
        let was_on = self.is_on();
        self.has_power = false;
        self.was_on = was_on;
        self.lost_power = true;
        self.power = Power::Off;
        self.starts_at = None;
        self.is_hung = false;
        self.saving_until = None;
        if was_on { Became::Cut } else { Became::Same }
    }

    /// Its sshd is there; systemd starts what is enabled.
    fn come_up(&mut self, spec: &HostSpec, now: f64) {
        self.power = Power::Up(now);
        self.up_since = now;
        self.boot += 1;
        self.told_at = None;
        self.containers = 0;
        self.unit = UnitIs::Stopped;
        self.unit_since = now;
        if spec.role.is_some() && spec.is_enabled {
            self.set_unit(UnitIs::Starting(now), now);
        }
    }
}

#[test]
fn a_host_is_silent_before_it_is_off() {
    let mut rng = fastrand::Rng::with_seed(1);
    let site = super::draw::site(&mut rng);
    let spec = HostSpec { silent_seconds: 2.0, write_seconds: 9.0, stop_seconds: 4.0, ..site.hosts[0].clone() };
    let mut host = Host::running(&spec);
    host.power_off(&spec, 0.0);
    assert!(host.answers(1.0) && !host.answers(3.0));
    assert_eq!(host.pass(&spec, true, 12.0), Became::Same, "it still writes");
    assert_eq!(host.pass(&spec, true, 13.5), Became::Off);
}

//! upsd and a UPS' driver: what a client that asks gets to see of the device, and when.
//!
//! From `upsd.conf(5)` (MAXAGE 15 s), the network protocol (`DATA-STALE`, `DRIVER-NOT-CONNECTED`), `ups.conf(5)`
//! (`pollinterval` 2 s), `usbhid-ups(8)` (`pollfreq` 30 s for the slow variables) and upsd's own source: after it has
//! connected to a driver the status is WAIT, and the variables come one by one.

use std::time::Duration;

use hecate::model::FailureKind;
use hecate::snapshot::{DeviceId, UpsReading, UpsStatus};

use super::site::UpsSpec;
use super::ups::{Figures, Ups};

/// How often a driver asks its device for the status.
const POLL_INTERVAL: f64 = 2.0;
/// How old a driver's last word may be before upsd calls it stale.
const MAX_AGE: f64 = 15.0;
/// How long the status is WAIT after a driver came.
const WAIT: f64 = 2.0;

/// The moving parts between a device and its clients.
#[derive(Clone, Debug)]
pub(crate) struct Driver {
    words: String,
    words_at: f64,
    slow: Figures,
    slow_at: f64,
    born: f64,
    dead_until: f64,
    hung: (f64, f64),
    away_until: f64,
    is_forced: bool,
}

impl Driver {
    /// One that has run for long; `phase` is when its next slow refresh comes.
    pub(crate) fn new(phase: f64) -> Self {
        Self {
            words: String::new(),
            words_at: -1e6,
            slow: Figures::default(),
            slow_at: -phase,
            born: -1e6,
            dead_until: -1e6,
            hung: (-1e6, -1e6),
            away_until: -1e6,
            is_forced: false,
        }
    }

    /// The driver ends, and is there again after so long.
    pub(crate) fn die(&mut self, now: f64, away: f64) {
        self.dead_until = now + away;
        self.born = now + away;
    }

    /// The driver hangs for so long.
    pub(crate) fn hang(&mut self, now: f64, away: f64) {
        self.hung = (now, now + away);
    }

    /// upsd is away for so long; it has forgotten its FSD then, and connects to the driver anew.
    pub(crate) fn restart_upsd(&mut self, now: f64, away: f64) {
        self.away_until = now + away;
        self.born = self.born.max(now + away);
        self.is_forced = false;
    }

    /// The primary says FSD; upsd keeps it.
    pub(crate) fn force(&mut self) {
        self.is_forced = true;
    }

    /// The driver's own polls.
    pub(crate) fn poll(&mut self, ups: &Ups, spec: &UpsSpec, full_watts: f64, now: f64) {
        if now < self.dead_until || (self.hung.0..self.hung.1).contains(&now) {
            return;
        }
        if now - self.words_at >= POLL_INTERVAL || self.words_at < self.born {
            self.words = ups.words(spec, full_watts, now);
            self.words_at = now;
            let is_bare = ups.on_battery_since.is_some_and(|since| now - since < spec.bare_seconds);
            if now - self.slow_at >= spec.pollfreq || self.slow_at < self.born || is_bare {
                self.slow = ups.figures(spec, full_watts, now);
                self.slow_at = now;
            }
        }
    }

    /// What a client that reaches upsd gets.
    pub(crate) fn answer(&self, spec: &UpsSpec, now: f64) -> Result<UpsReading, FailureKind> {
        if now < self.away_until {
            return Err(FailureKind::Unreachable);
        }
        if now < self.dead_until {
            return Err(FailureKind::DriverNotConnected);
        }
        // A driver that hangs, or one whose device has lost all its power.
        if now - self.words_at > MAX_AGE && now - self.born > MAX_AGE {
            return Err(FailureKind::DataStale);
        }
        let age = now - self.born;
        let words = match (age < WAIT, self.is_forced) {
            (true, false) => "WAIT".to_owned(),
            (true, true) => "FSD WAIT".to_owned(),
            (false, true) => format!("FSD {}", self.words),
            (false, false) => self.words.clone(),
        };
        let after = |seconds: f64, value: Option<f64>| value.filter(|_| age >= WAIT + seconds);
        let is_told = age >= WAIT;
        Ok(UpsReading {
            status: UpsStatus::parse(&words),
            charge_percent: after(1.0, self.slow.charge),
            runtime: after(2.0, self.slow.runtime).map(Duration::from_secs_f64),
            load_percent: after(3.0, self.slow.load),
            driver_interval: is_told
                .then(|| Duration::from_secs_f64(if spec.tells_pollfreq { spec.pollfreq } else { POLL_INTERVAL })),
            model: is_told.then(|| "model".to_owned()),
            charge_low_percent: after(1.0, spec.charge_low),
            device: DeviceId {
                serial: (is_told && spec.has_serial).then(|| format!("serial-{}", spec.name)),
                ..DeviceId::default()
            },
        })
    }
}

#[test]
fn a_driver_that_comes_back_tells_one_variable_after_another() {
    let mut rng = fastrand::Rng::with_seed(3);
    let site = super::draw::site(&mut rng);
    let spec = UpsSpec {
        charge: super::site::ChargeKind::Counted,
        runtime: super::site::RuntimeKind::Estimate { bias: 1.0 },
        bare_seconds: 0.0,
        ..site.upses[0].clone()
    };
    let (mut driver, ups) = (Driver::new(0.0), Ups::new());
    driver.die(100.0, 10.0);
    let seen: Vec<String> = (0..18)
        .map(|second| {
            let now = 99.0 + f64::from(second);
            driver.poll(&ups, &spec, 100.0, now);
            match driver.answer(&spec, now) {
                Ok(reading) => format!("{} {}", reading.status.to_string().len() > 4, reading.runtime.is_some()),
                Err(kind) => format!("{kind:?}"),
            }
        })
        .collect();
    assert_eq!(seen[2], "DriverNotConnected");
    assert_eq!(seen[11], "false false", "WAIT");
    assert!(seen[16].ends_with("true"), "{seen:?}");
}

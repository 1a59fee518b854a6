//! A UPS: battery, output, and what its electronics make of both.
//!
//! From NUT's developer guide ("Status data") and the manual pages of its drivers: `OL` and `OB` tell the input only; `LB`
//! comes from `battery.charge.low` or `battery.runtime.low`; CHRG and DISCHRG are optional; a device may add any word.

use super::site::{ChargeKind, LoadKind, LowKind, RuntimeKind, UpsSpec};

/// How long mains must be there until a UPS that was empty or was told to cut gives power again, at least.
const RETURN_SECONDS: f64 = 4.0;

/// The output of a UPS.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Output {
    /// It gives power.
    On,
    /// Its battery was empty.
    Empty,
    /// It was told to cut its load, then.
    Cut(f64),
}

/// The slow figures of a device at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    /// `battery.charge`.
    pub(crate) charge: Option<f64>,
    /// `battery.runtime`.
    pub(crate) runtime: Option<f64>,
    /// `ups.load`.
    pub(crate) load: Option<f64>,
}

/// The moving parts of one UPS.
#[derive(Clone, Debug)]
pub(crate) struct Ups {
    /// How full the battery is, 0 to 1 of what it holds at its age.
    pub(crate) level: f64,
    /// The output.
    pub(crate) output: Output,
    /// Whether there are mains at its input.
    pub(crate) has_input: bool,
    /// Since when that is so.
    pub(crate) input_since: f64,
    /// It runs on battery on purpose until then: a test, or a calibration.
    pub(crate) testing_until: f64,
    /// Whether that is a calibration.
    pub(crate) is_calibrating: bool,
    /// Since when it runs on battery.
    pub(crate) on_battery_since: Option<f64>,
    /// Since when it does not.
    pub(crate) on_line_since: f64,
    /// When it cuts its load.
    pub(crate) cuts_at: Option<f64>,
    /// When it was told to, last.
    pub(crate) cut_told: f64,
    /// What it carries now.
    pub(crate) watts: f64,
}

impl Ups {
    /// A full one on mains, for long.
    pub(crate) fn new() -> Self {
        Self {
            level: 1.0,
            output: Output::On,
            has_input: true,
            input_since: -1e6,
            testing_until: -1.0,
            is_calibrating: false,
            on_battery_since: None,
            on_line_since: -1e6,
            cuts_at: None,
            cut_told: -1e6,
            watts: 0.0,
        }
    }

    /// Whether it gives power.
    pub(crate) fn is_on(&self) -> bool {
        self.output == Output::On
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, spec: &UpsSpec, full_watts: f64, now: f64, step: f64) {
        let on_battery = self.is_on() && (!self.has_input || now < self.testing_until);
        if on_battery && self.on_battery_since.is_none() {
            self.on_battery_since = Some(now);
        } else if !on_battery && self.on_battery_since.is_some() {
            self.on_battery_since = None;
            self.on_line_since = now;
        }
        if on_battery {
            // The electronics themselves draw a little, whatever the load.
            let share = 0.03 + 0.97 * self.watts / full_watts;
            self.level -= step * share / (spec.new_seconds * spec.health);
        } else if self.has_input {
            self.level = (self.level + step / (spec.recharge_hours * 3600.0)).min(1.0);
        }
        if self.level <= 0.0 {
            self.level = 0.0;
            if !self.has_input && self.is_on() {
                self.output = Output::Empty;
            }
            self.testing_until = -1.0;
        }
        self.cut(spec, now);
        let there = self.has_input && now - self.input_since >= RETURN_SECONDS;
        match self.output {
            Output::Empty if there => self.output = Output::On,
            Output::Cut(since) if there && now - since >= spec.cut_delay.map_or(0.0, |(_, start)| start) => {
                self.output = Output::On;
            }
            Output::On | Output::Empty | Output::Cut(_) => {}
        }
    }

    /// `shutdown.return`: off after `ups.delay.shutdown`, on again with the mains after `ups.delay.start`.
    fn cut(&mut self, spec: &UpsSpec, now: f64) {
        if self.cuts_at.is_some_and(|at| now >= at) && spec.cut_delay.is_some() {
            self.cuts_at = None;
            if self.is_on() {
                self.output = Output::Cut(now);
            }
        }
    }

    /// What the device itself takes for its level: it counts with what a new battery holds, unless it knows better.
    fn believed(&self, spec: &UpsSpec) -> f64 {
        if spec.knows_age { self.level } else { 1.0 - (1.0 - self.level) * spec.health }
    }

    /// `battery.runtime` of an estimate with no bias.
    fn estimate(&self, spec: &UpsSpec, full_watts: f64) -> f64 {
        let capacity = if spec.knows_age { spec.new_seconds * spec.health } else { spec.new_seconds };
        let share = 0.03 + 0.97 * self.watts / full_watts;
        (self.believed(spec) * capacity / share.max(0.01)).min(65_000.0)
    }

    /// What its figures are now.
    pub(crate) fn figures(&self, spec: &UpsSpec, full_watts: f64, now: f64) -> Figures {
        let on_battery = self.on_battery_since.map(|since| now - since);
        if on_battery.is_some_and(|seconds| seconds < spec.bare_seconds) {
            return Figures::default();
        }
        let honest = self.estimate(spec, full_watts);
        let runtime = match spec.runtime {
            RuntimeKind::Missing => None,
            RuntimeKind::Zero => Some(0.0),
            RuntimeKind::ZeroOnLine { bias } => Some(if on_battery.is_some() { honest * bias } else { 0.0 }),
            RuntimeKind::Endless(told) | RuntimeKind::Static(told) => Some(told),
            RuntimeKind::Estimate { bias } => Some(honest * bias),
            RuntimeKind::CountsUp => Some(on_battery.unwrap_or(honest)),
        };
        let load = match spec.load {
            LoadKind::Missing => None,
            LoadKind::Zero => Some(0.0),
            LoadKind::Real(nominal) => Some((100.0 * self.watts / (full_watts * nominal)).round()),
        };
        Figures { charge: self.charge(spec, on_battery, now), runtime: runtime.map(f64::round), load }
    }

    /// `battery.charge`.
    fn charge(&self, spec: &UpsSpec, on_battery: Option<f64>, now: f64) -> Option<f64> {
        let counted = 100.0 * self.believed(spec);
        let charge = match spec.charge {
            ChargeKind::Missing => return None,
            ChargeKind::Counted => counted,
            ChargeKind::Frozen(told) => told,
            ChargeKind::TopsOut(top) => counted * top / 100.0,
            ChargeKind::Coarse(step) => (counted / step).ceil() * step,
            ChargeKind::Voltage { sag, recovers } => match on_battery {
                Some(seconds) => 100.0 * self.level - sag * (seconds / 60.0).min(1.0),
                None => 100.0 - (100.0 - 100.0 * self.level) * (-(now - self.on_line_since) / recovers).exp(),
            },
        };
        Some(charge.clamp(0.0, 100.0).round())
    }

    /// `ups.status`.
    pub(crate) fn words(&self, spec: &UpsSpec, full_watts: f64, now: f64) -> String {
        let mut words: Vec<&str> = Vec::new();
        let on_battery = self.on_battery_since.map(|since| now - since);
        match on_battery {
            Some(seconds) => {
                words.extend(if spec.never_says_ob { ["OL"].iter() } else { ["OB"].iter() });
                if spec.says_both {
                    words.push("OL");
                }
                if now < self.testing_until && self.is_calibrating {
                    words.push("CAL");
                }
                if spec.says_charging || spec.never_says_ob {
                    words.push("DISCHRG");
                }
                if seconds < spec.flash_seconds || self.is_low(spec, full_watts) {
                    words.push("LB");
                }
                words.extend(spec.lasting.iter());
            }
            None => {
                words.push("OL");
                if !self.is_on() {
                    words.push("OFF");
                }
                if spec.says_charging && self.level < 0.995 {
                    words.push("CHRG");
                }
                if self.is_low(spec, full_watts) {
                    words.push("LB");
                }
                words.extend(spec.standing.iter());
            }
        }
        words.join(" ")
    }

    /// Whether it says LB by its own estimate.
    fn is_low(&self, spec: &UpsSpec, full_watts: f64) -> bool {
        match spec.low {
            LowKind::Charge(at) => 100.0 * self.believed(spec) <= at,
            LowKind::Runtime(at) => self.estimate(spec, full_watts) <= at,
            LowKind::Never => false,
        }
    }
}

//! UPSes: what their batteries hold, and what they say of it, which may be a lie.
//!
//! Pure.

use std::time::Duration;

use super::device::{ChargeManner, CutManner, Device};
pub use super::lie::{Lie, RuntimeLie};
use super::profile::Profile;
use super::switch::Cut;
use super::{Pace, World};
use crate::config::Config;
use crate::model::{FailureKind, Reading, UpsName};
use crate::snapshot::{DeviceId, LoadCutReading, UpsReading, UpsStatus, UpsWord, driver_interval};

/// How often a driver reads its UPS; what Debian's drivers do by default.
const DRIVER_INTERVAL: Duration = Duration::from_secs(2);
/// A UPS that has another delay than the configuration says has so many times less.
pub(super) const OTHER_DELAY: u32 = 2;
/// A charge made of the voltage falls by so many points in the first minute on battery.
const SAG: f64 = 12.0;
const SAG_TAKES: f64 = 60.0;
/// And reads 100 when the charger has been running for so long.
const SURFACE_CHARGE: f64 = 300.0;
/// The share at which a UPS says LB that has no limit of its own.
const LOW_SHARE: f64 = 0.1;

/// A UPS and its battery.
#[derive(Clone, Debug, PartialEq)]
pub struct Battery {
    /// Whether mains are there.
    pub mains: bool,
    /// What the battery holds, in seconds at full load.
    pub holds: f64,
    /// What it holds when full.
    pub capacity: f64,
    /// Whether upsd answers.
    pub answers: bool,
    /// What upsd says instead, where it does not answer with readings.
    pub silence: FailureKind,
    /// Words added to its status.
    pub extra_words: Vec<String>,
    /// What it says instead of the truth.
    pub lie: Lie,
    /// How it cuts its load when it is told to; None: it knows no such command.
    pub cut: Option<Cut>,
    /// How it speaks, and what stands behind its name.
    pub device: Device,
    /// How often the battery was replaced, or the device.
    pub replaced: u32,
    /// The true runtime when its present lie began.
    frozen: Duration,
    /// Since when mains are there, or not.
    since: Duration,
    was_on_mains: bool,
    /// What its driver read last.
    figures: Figures,
}

/// What a driver reads less often than the status.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Figures {
    at: Duration,
    holds: f64,
    load: f64,
    /// Since mains came or went.
    since: Duration,
}

impl Battery {
    /// Zeros are garbled beside a charge of so many points.
    pub const GARBLED_CHARGE: f64 = 60.0;

    /// A full one that gives so much at full load, and tells the truth.
    pub(super) fn full(runtime: Duration) -> Self {
        Self {
            mains: true,
            holds: runtime.as_secs_f64(),
            capacity: runtime.as_secs_f64(),
            answers: true,
            silence: FailureKind::Unreachable,
            extra_words: Vec::new(),
            lie: Lie::default(),
            cut: None,
            device: Device::default(),
            replaced: 0,
            frozen: Duration::ZERO,
            since: Duration::ZERO,
            was_on_mains: true,
            figures: Figures { holds: runtime.as_secs_f64(), load: 1.0, ..Figures::default() },
        }
    }

    /// Another device stands there, with a full battery.
    pub fn become_device(&mut self, device: Device) {
        if let Some(minutes) = device.battery_minutes {
            self.capacity = (minutes * 60.0).max(1.0);
        }
        self.capacity *= device.gives_percent.unwrap_or(100.0) / 100.0;
        self.holds = self.capacity;
        self.figures.holds = self.capacity;
        self.device = device;
    }

    /// Somebody puts a new battery in, which is full and as good as it should be.
    pub fn replace(&mut self) {
        self.capacity /= self.device.gives_percent.take().unwrap_or(100.0).max(1.0) / 100.0;
        self.holds = self.capacity;
        self.replaced += 1;
    }

    /// Whether what it says of mains, charge and runtime is the truth.
    pub fn is_honest(&self) -> bool {
        self.answers && self.extra_words.is_empty() && self.is_plain()
    }

    /// Whether its answer is garbled, beside charges that nobody can take for its end.
    pub fn is_garbled(&self) -> bool {
        if !self.mains || self.lie != Lie::zeros() {
            return false;
        }
        let honest = Self { lie: Lie::default(), ..self.clone() };
        honest.said_charge(&honest.figures).is_some_and(|charge| charge >= Self::GARBLED_CHARGE)
    }

    /// Whether mains have been there for so long.
    pub(super) fn has_mains_for(&self, time: Duration, span: Duration) -> bool {
        self.mains && self.was_on_mains && time.saturating_sub(self.since) >= span
    }

    /// Whether its device says everything as it is.
    pub fn is_plain(&self) -> bool {
        let device = &self.device;
        self.lie == Lie::default()
            && device.profile.is_none()
            && device.gives_percent.is_none()
            && device.runtime.is_none()
            && device.charge == ChargeManner::True
    }

    /// How it speaks, where that is as a real one does.
    pub fn profile(&self) -> Option<&'static Profile> {
        self.device.profile.and_then(Profile::row)
    }

    /// What it holds of what it holds when it is full, 0 to 1.
    pub fn share(&self) -> f64 {
        (self.holds / self.capacity).clamp(0.0, 1.0)
    }

    /// What it promises to give when full, in seconds at full load.
    pub fn promises(&self) -> f64 {
        self.capacity * self.device.gives_percent.map_or(1.0, |percent| 100.0 / percent.max(1.0))
    }

    /// From an empty battery to a full one.
    pub fn recharge(&self, pace: &Pace) -> Duration {
        self.device.recharge_minutes.map_or(pace.recharge, |minutes| Duration::from_secs(60 * minutes.max(1)))
    }

    /// How often its driver reads figures.
    pub fn interval(&self) -> Duration {
        let told = self.profile().and_then(|it| {
            driver_interval(Some(&it.driver), it.pollfreq.map(Duration::from_secs), Some(DRIVER_INTERVAL))
        });
        told.unwrap_or(DRIVER_INTERVAL)
    }

    /// Lets its driver look, where it is time to.
    pub(super) fn look(&mut self, time: Duration, load: f64) {
        if self.was_on_mains != self.mains {
            (self.was_on_mains, self.since) = (self.mains, time);
        }
        let interval = self.interval().as_secs().max(1);
        let is_due = time.as_secs() / interval != self.figures.at.as_secs() / interval || self.profile().is_none();
        if is_due {
            let since = time.saturating_sub(self.since);
            self.figures = Figures { at: time, holds: self.holds, load, since };
        }
    }

    fn said_charge(&self, figures: &Figures) -> Option<f64> {
        if let Some(lie) = self.lie.charge_percent {
            return Some(lie).filter(|charge| *charge >= 0.0);
        }
        let share = (figures.holds / self.capacity).clamp(0.0, 1.0);
        let elapsed = figures.since.as_secs_f64();
        let said = match (self.device.charge, self.mains) {
            (ChargeManner::True, _) => share,
            (ChargeManner::Stuck, _) => 1.0,
            (ChargeManner::Sagging, false) => {
                let (sag, takes) =
                    (self.device.sag_percent.unwrap_or(SAG), self.device.sag_seconds.unwrap_or(SAG_TAKES));
                share - sag / 100.0 * (elapsed / takes.max(1.0)).min(1.0)
            }
            (ChargeManner::Sagging, true) => share + (1.0 - share) * (elapsed / SURFACE_CHARGE).min(1.0),
        };
        match self.profile() {
            Some(profile) => profile.charge(said.max(0.0)),
            None => Some((said.max(0.0) * 100.0).round()),
        }
    }

    /// What it says of its runtime, where that would be this by what it knows; `is_third`: whether this poll is a third one.
    fn said_runtime(&self, time: Duration, runtime: Option<Duration>, is_third: bool) -> Option<Duration> {
        let profile = self.profile();
        let runtime = runtime.map(|it| it.mul_f64(self.promises() / self.capacity));
        let full = Duration::try_from_secs_f64(self.promises().round()).ok();
        let (manner, frozen) = match (self.lie.runtime, self.device.runtime, profile) {
            (Some(lie), ..) => (Some(lie), Some(self.frozen)),
            (None, _, Some(profile)) if profile.runtime.is_none() => (Some(RuntimeLie::Missing), None),
            (None, _, Some(profile)) if profile.fixed_runtime().is_some() => {
                (profile.fixed_runtime().map(RuntimeLie::Fixed), None)
            }
            (None, manner, _) => (manner, full),
        };
        let since = if self.mains { Duration::ZERO } else { time.saturating_sub(self.since) };
        match manner {
            None => runtime,
            Some(RuntimeLie::Missing) => None,
            Some(RuntimeLie::Frozen) => frozen,
            Some(RuntimeLie::Jumping) => runtime.map(|it| if is_third { it * 10 } else { it }),
            Some(RuntimeLie::Counting) => Some(since),
            Some(RuntimeLie::Fixed(seconds)) => Some(Duration::from_secs(seconds)),
            Some(RuntimeLie::Times(factor)) => runtime.map(|it| it.mul_f64(factor)),
        }
    }

    fn said_load(&self, figures: &Figures) -> Option<f64> {
        if let Some(lie) = self.lie.load_percent {
            return Some(lie).filter(|load| *load >= 0.0);
        }
        let of_profile = self.profile().map(|it| it.load);
        let full = match (self.device.load_percent, of_profile) {
            (_, Some(None)) => return None,
            (Some(percent), _) | (None, Some(Some(percent))) => percent,
            (None, None) => 100.0,
        };
        Some((figures.load * full).round())
    }

    fn said_charge_low(&self) -> Option<f64> {
        match self.lie.charge_low_percent {
            Some(lie) => Some(lie).filter(|low| *low >= 0.0),
            None => self.profile().and_then(|it| it.charge_low),
        }
    }

    fn said_device(&self, name: &UpsName) -> DeviceId {
        let serial = match &self.lie.device {
            Some(device) => Some(device.clone()).filter(|device| !device.is_empty()),
            None => Some(format!("{name}-{}", self.replaced + 1)),
        };
        let driver = self.profile().map(|profile| profile.driver.clone());
        DeviceId { serial, model: Some("simulated".to_owned()), driver, ..DeviceId::default() }
    }

    /// What it says in `ups.status`.
    pub fn words(&self) -> String {
        let mut words = match &self.lie.status {
            Some(status) => status.clone(),
            None => self.true_words(),
        };
        for word in &self.extra_words {
            words.push(' ');
            words.push_str(word);
        }
        words
    }

    /// The words as its driver and upsd spell them.
    fn spelled(&self, status: UpsStatus) -> UpsStatus {
        let status = if self.device.terse { self.tersely(status) } else { status };
        if self.device.latched { status.with(UpsWord::Fsd) } else { status }
    }

    /// The words of a terse driver.
    fn tersely(&self, status: UpsStatus) -> UpsStatus {
        if self.lie != Lie::default() {
            return status;
        }
        let has = |word| status.has(word);
        if has(UpsWord::Ob) && (has(UpsWord::Dischrg) || has(UpsWord::Lb)) {
            status.without(UpsWord::Ob)
        } else if has(UpsWord::Chrg) && !has(UpsWord::Dischrg) && !has(UpsWord::Lb) {
            status.without(UpsWord::Ol)
        } else {
            status
        }
    }

    /// OL or OB as it is, with what it always says.
    fn true_words(&self) -> String {
        let words = match (self.mains, self.holds < self.capacity) {
            (true, true) => "OL CHRG",
            (true, false) => "OL",
            (false, _) => "OB DISCHRG",
        };
        let Some(profile) = self.profile() else { return words.to_owned() };
        let standing = profile.standing(!self.mains);
        let is_low = !self.mains && !self.device.never_low && self.share() <= self.low_share();
        words.split(' ').chain(standing).chain(is_low.then_some("LB")).collect::<Vec<_>>().join(" ")
    }

    fn low_share(&self) -> f64 {
        let low = self.profile().and_then(|it| it.charge_low).filter(|low| (1.0..=60.0).contains(low));
        low.map_or(LOW_SHARE, |low| low / 100.0)
    }

    /// What it says of the command that cuts its load, where anybody asks.
    pub(super) fn said_cut(&self) -> Option<LoadCutReading> {
        let cut = self.cut.as_ref()?;
        match self.device.cut {
            CutManner::Silent => None,
            CutManner::Known => Some(LoadCutReading { is_known: Some(true), delay: Some(cut.delay), login: None }),
            CutManner::OtherDelay => {
                Some(LoadCutReading { is_known: Some(true), delay: Some(cut.delay / OTHER_DELAY), login: None })
            }
            CutManner::Unknown => Some(LoadCutReading { is_known: Some(false), delay: None, login: None }),
        }
    }
}

impl World {
    /// Changes a UPS, or all of them.
    pub fn on_ups(&mut self, name: Option<&UpsName>, change: impl Fn(&mut Battery)) {
        let is_meant = |(other, _): &(&UpsName, &mut Battery)| name.is_none_or(|name| name == *other);
        self.upses.iter_mut().filter(is_meant).for_each(|(_, battery)| change(battery));
    }

    /// How long the battery of a UPS lasts from now on, by the truth.
    pub fn true_runtime(&self, name: &UpsName) -> Option<Duration> {
        let battery = self.upses.get(name)?;
        runtime(battery.holds, self.load(name))
    }

    /// Makes a UPS say something else than the truth from now on; an empty lie makes it honest.
    pub fn lie(&mut self, name: &UpsName, lie: Lie) {
        let runtime = self.true_runtime(name).unwrap_or_default();
        if let Some(battery) = self.upses.get_mut(name) {
            (battery.frozen, battery.lie) = (runtime, lie);
        }
    }

    /// What upsd says of a UPS now.
    pub fn says(&self, config: &Config, name: &UpsName) -> Reading<UpsReading> {
        match (self.means(config, name), self.upses.get(name)) {
            (Reading::Known { value, began }, Some(battery)) => {
                Reading::known(UpsReading { status: battery.spelled(value.status), ..value }, began)
            }
            (reading, _) => reading,
        }
    }

    /// What upsd says of a UPS now, with OL and OB where its driver leaves them out.
    pub fn means(&self, config: &Config, name: &UpsName) -> Reading<UpsReading> {
        let poll = config.ups_policy.poll.as_secs().max(1);
        let began = Duration::from_secs(self.time.as_secs() / poll * poll);
        let is_third = (self.time.as_secs() / poll).is_multiple_of(3);
        let Some(battery) = self.upses.get(name) else { return Reading::not_yet() };
        if let Some(silence) = self.silence_of(battery) {
            return Reading::unknown(silence, format!("upsd: {silence:?}"), began);
        }
        let figures = &battery.figures;
        let reading = UpsReading {
            status: UpsStatus::parse(&battery.words()),
            charge_percent: battery.said_charge(figures),
            runtime: battery.said_runtime(self.time, runtime(figures.holds, figures.load), is_third),
            load_percent: battery.said_load(figures),
            driver_interval: Some(battery.interval()),
            model: None,
            charge_low_percent: battery.said_charge_low(),
            device: battery.said_device(name),
        };
        Reading::known(reading, began)
    }
}

/// How long so much lasts under this load.
fn runtime(holds: f64, load: f64) -> Option<Duration> {
    Duration::try_from_secs_f64((holds / load.max(0.01)).round()).ok()
}

//! UPSes: what their batteries hold, and what they say of it, which may be a lie.
//!
//! Pure.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::World;
use super::switch::Cut;
use crate::config::Config;
use crate::model::{FailureKind, Reading, UpsName};
use crate::snapshot::{UpsReading, UpsStatus};

/// How often a driver reads its UPS; what Debian's drivers do by default.
const DRIVER_INTERVAL: Duration = Duration::from_secs(2);

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
    /// The true runtime when its present lie began.
    frozen: Duration,
}

impl Battery {
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
            frozen: Duration::ZERO,
        }
    }

    /// Whether what it says of mains, charge and runtime is the truth.
    pub fn is_honest(&self) -> bool {
        self.answers && self.lie == Lie::default() && self.extra_words.is_empty()
    }
}

/// What a UPS says instead of the truth; None is the truth.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Lie {
    /// `ups.status`; empty: no word at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// `battery.runtime`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeLie>,
    /// `battery.charge`, percent; negative: it says none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charge_percent: Option<f64>,
}

/// What a UPS says of its runtime instead of the truth: `missing`, `frozen`, `jumping`, `65535 s` or `x4`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RuntimeLie {
    /// It says none.
    Missing,
    /// What it said first, for ever.
    Frozen,
    /// The truth, and ten times as much at every third poll.
    Jumping,
    /// So many seconds, whatever happens.
    Fixed(u64),
    /// So many times the truth.
    Times(f64),
}

impl fmt::Display for RuntimeLie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuntimeLie::Missing => f.write_str("missing"),
            RuntimeLie::Frozen => f.write_str("frozen"),
            RuntimeLie::Jumping => f.write_str("jumping"),
            RuntimeLie::Fixed(seconds) => write!(f, "{seconds} s"),
            RuntimeLie::Times(factor) => write!(f, "x{factor}"),
        }
    }
}

impl FromStr for RuntimeLie {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is not one of missing, frozen, jumping, N s or xN");
        match text {
            "missing" => Ok(RuntimeLie::Missing),
            "frozen" => Ok(RuntimeLie::Frozen),
            "jumping" => Ok(RuntimeLie::Jumping),
            _ => match (text.strip_suffix(" s"), text.strip_prefix('x')) {
                (Some(seconds), _) => seconds.parse().map(RuntimeLie::Fixed).map_err(|_| wrong()),
                (None, Some(factor)) => match factor.parse() {
                    Ok(factor) if (0.0..=1000.0).contains(&factor) => Ok(RuntimeLie::Times(factor)),
                    Ok(_) | Err(_) => Err(wrong()),
                },
                (None, None) => Err(wrong()),
            },
        }
    }
}

impl TryFrom<String> for RuntimeLie {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RuntimeLie> for String {
    fn from(lie: RuntimeLie) -> Self {
        lie.to_string()
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
        Duration::try_from_secs_f64((battery.holds / self.load(name).max(0.01)).round()).ok()
    }

    /// Makes a UPS say something else than the truth from now on; an empty lie makes it honest.
    pub fn lie(&mut self, name: &UpsName, lie: Lie) {
        let runtime = self.true_runtime(name).unwrap_or_default();
        if let Some(battery) = self.upses.get_mut(name) {
            (battery.frozen, battery.lie) = (runtime, lie);
        }
    }

    pub(super) fn observe_ups(&self, config: &Config, name: &UpsName) -> Reading<UpsReading> {
        let poll = config.ups_policy.poll.as_secs().max(1);
        let began = Duration::from_secs(self.time.as_secs() / poll * poll);
        let (load, runtime) = (self.load(name), self.true_runtime(name));
        let is_third = (self.time.as_secs() / poll).is_multiple_of(3);
        let Some(battery) = self.upses.get(name) else { return Reading::not_yet() };
        if !battery.answers {
            return Reading::unknown(battery.silence, format!("upsd: {:?}", battery.silence), began);
        }
        let runtime = match battery.lie.runtime {
            None => runtime,
            Some(RuntimeLie::Missing) => None,
            Some(RuntimeLie::Frozen) => Some(battery.frozen),
            Some(RuntimeLie::Jumping) => runtime.map(|it| if is_third { it * 10 } else { it }),
            Some(RuntimeLie::Fixed(seconds)) => Some(Duration::from_secs(seconds)),
            Some(RuntimeLie::Times(factor)) => runtime.map(|it| it.mul_f64(factor)),
        };
        let charge = (battery.holds / battery.capacity * 100.0).round();
        let reading = UpsReading {
            status: UpsStatus::parse(&battery.words()),
            charge_percent: Some(battery.lie.charge_percent.unwrap_or(charge)).filter(|charge| *charge >= 0.0),
            runtime,
            load_percent: Some((load * 100.0).round()),
            driver_interval: Some(DRIVER_INTERVAL),
            model: None,
        };
        Reading::known(reading, began)
    }
}

impl Battery {
    /// What it says in `ups.status`.
    pub fn words(&self) -> String {
        let true_words = match (self.mains, self.holds < self.capacity) {
            (true, true) => "OL CHRG",
            (true, false) => "OL",
            (false, _) => "OB DISCHRG",
        };
        let mut words = self.lie.status.clone().unwrap_or_else(|| true_words.to_owned());
        for word in &self.extra_words {
            words.push(' ');
            words.push_str(word);
        }
        words
    }
}

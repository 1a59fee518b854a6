//! What a UPS says instead of the truth.
//!
//! Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

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
    /// `ups.load`, percent; negative: it says none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_percent: Option<f64>,
    /// `battery.charge.low`, percent; negative: it says none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub charge_low_percent: Option<f64>,
    /// `device.serial`; empty: it says none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

impl Lie {
    /// One garbled answer: the end of a battery, in zeros.
    pub fn zeros() -> Self {
        Self {
            status: Some("OB LB".to_owned()),
            runtime: Some(RuntimeLie::Fixed(0)),
            charge_percent: Some(0.0),
            ..Self::default()
        }
    }

    /// No figure at all, as a driver says it that was just started; its words are true.
    pub fn bare() -> Self {
        Self {
            runtime: Some(RuntimeLie::Missing),
            charge_percent: Some(-1.0),
            load_percent: Some(-1.0),
            ..Self::default()
        }
    }
}

/// What a UPS says of its runtime instead of the truth: `missing`, `frozen`, `jumping`, `counting`, `65535 s` or `x4`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RuntimeLie {
    /// It says none.
    Missing,
    /// What it said first, for ever.
    Frozen,
    /// The truth, and ten times as much at every third poll.
    Jumping,
    /// The seconds since it is on battery; 0 on mains.
    Counting,
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
            RuntimeLie::Counting => f.write_str("counting"),
            RuntimeLie::Fixed(seconds) => write!(f, "{seconds} s"),
            RuntimeLie::Times(factor) => write!(f, "x{factor}"),
        }
    }
}

impl FromStr for RuntimeLie {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is not one of missing, frozen, jumping, counting, N s or xN");
        match text {
            "missing" => Ok(RuntimeLie::Missing),
            "frozen" => Ok(RuntimeLie::Frozen),
            "jumping" => Ok(RuntimeLie::Jumping),
            "counting" => Ok(RuntimeLie::Counting),
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

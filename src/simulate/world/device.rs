//! What stands behind a UPS' name, where it is not the plain UPS of the built-in cluster.
//!
//! Pure data; a script's cluster names it.

use serde::{Deserialize, Serialize};

use super::lie::RuntimeLie;
use crate::model::NodeName;

/// A UPS, its battery, and where its upsd runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Device {
    /// How it speaks: a row of the real ones, see `profiles.tsv`. None: it says everything, as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<usize>,
    /// What its battery should give with everything running; None: as the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub battery_minutes: Option<f64>,
    /// What it really gives of that; it does not know, and promises all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gives_percent: Option<f64>,
    /// From an empty battery to a full one; None: as the cluster's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recharge_minutes: Option<u64>,
    /// Its load with everything running; None: as its profile has it, else 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_percent: Option<f64>,
    /// How it says its runtime, where it says one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeLie>,
    /// How it says its charge, where it says one.
    #[serde(skip_serializing_if = "ChargeManner::is_true")]
    pub charge: ChargeManner,
    /// By how many points a charge that sags does so; None: by twelve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sag_percent: Option<f64>,
    /// Within how many seconds; None: within a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sag_seconds: Option<f64>,
    /// Whether it never says LB by itself. One without a profile never does.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub never_low: bool,
    /// Whether its driver says DISCHRG or LB instead of OB, and CHRG instead of OL.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub terse: bool,
    /// Whether upsd says FSD beside all that its driver says, since a shutdown that was forced long ago.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub latched: bool,
    /// The node on which its upsd runs; None: somewhere that is always there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upsd_on: Option<NodeName>,
    /// Whether its network card stands behind the cluster's switch.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub behind_switch: bool,
    /// What it says of the command that cuts its load.
    #[serde(skip_serializing_if = "CutManner::is_silent")]
    pub cut: CutManner,
}

/// How a UPS says its charge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChargeManner {
    /// What the battery holds.
    #[default]
    True,
    /// Made of the voltage: it sags when the load comes, and reads 100 soon after charging has begun.
    Sagging,
    /// That of a full battery, for ever.
    Stuck,
}

impl ChargeManner {
    fn is_true(&self) -> bool {
        *self == ChargeManner::True
    }
}

/// What a UPS says of the command that cuts its load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CutManner {
    /// Nobody asked.
    #[default]
    Silent,
    /// That it knows it, and its delay.
    Known,
    /// That it knows it, with half of the delay that the configuration has; and so it does.
    OtherDelay,
    /// That it does not know it; and it does not.
    Unknown,
}

impl CutManner {
    fn is_silent(&self) -> bool {
        *self == CutManner::Silent
    }
}

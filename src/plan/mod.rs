//! The planner: what may be done now, what is waited for, and what stands in the way.
//!
//! Pure. It knows no client, asks no clock and logs nothing: its reasons are its return value.

#![deny(clippy::disallowed_methods)]

pub mod blocker;
pub mod safety;
pub mod step;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::blocker::{Blocker, Wait, Warning};
use self::step::{Step, Target};
use crate::model::seconds;

/// What a pass decided. Converged only when nothing is to start, runs, is waited for or blocks.
#[must_use]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Steps whose preconditions hold now; the order is the order of importance.
    pub start: Vec<Planned>,
    /// Steps that run and are still wanted.
    pub running: Vec<Step>,
    /// Targets whose running step is no longer wanted.
    pub cancel: Vec<Target>,
    /// What is expected to come by itself.
    pub waits: Vec<Wait>,
    /// What only a change from outside can clear.
    pub blockers: Vec<Blocker>,
    /// What a person should know.
    pub warnings: Vec<Warning>,
    /// Everything that is still to come until converged, in its order.
    pub forecast: Vec<Step>,
}

impl Plan {
    /// Whether reality is as desired.
    pub fn is_converged(&self) -> bool {
        self.start.is_empty()
            && self.running.is_empty()
            && self.cancel.is_empty()
            && self.waits.is_empty()
            && self.blockers.is_empty()
    }
}

/// A step that may start now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Planned {
    /// What to do.
    pub step: Step,
    /// How long it is waited for.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub limit: Duration,
    /// Which rule wants it.
    pub because: String,
}

//! How long a shutdown takes, estimated from past runs.
//!
//! Pure. The slow case is what matters while a battery drains, so the estimate is the longest of the last runs, never
//! their mean; it never falls below the configured floor, because an empty cluster shuts down fast and teaches nothing.

#![deny(clippy::disallowed_methods)]

use std::time::Duration;

use crate::config::Config;
use crate::history::{History, Run, RunResult};
use crate::model::{ClusterState, Path};

/// So many runs must have been seen before the estimate is learned and not configured: with fewer, one lucky run rules.
pub const SAMPLES_MIN: usize = 3;

/// So many of the latest runs count: a cluster that shrank or grew a year ago must not rule for ever.
pub const SAMPLES_MAX: usize = 10;

/// The estimates of both paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Cordon, drain, detach, snapshot, stop, power off.
    pub full: Estimate,
    /// Stop and power off.
    pub emergency: Estimate,
}

/// One estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// How long, the own host's power-off included.
    pub time: Duration,
    /// From how many runs it was learned; 0: configured.
    pub samples: usize,
}

/// Estimates both paths.
pub fn estimate(config: &Config, history: &History) -> Budget {
    Budget {
        full: path_estimate(config, history, Path::Graceful, config.shutdown.estimated_budget),
        emergency: path_estimate(config, history, Path::Emergency, config.shutdown.emergency_budget),
    }
}

fn path_estimate(config: &Config, history: &History, path: Path, configured: Duration) -> Estimate {
    let own = if config.own_host.power_off { config.own_host.power_off_time } else { Duration::ZERO };
    let samples: Vec<Duration> = history
        .runs
        .iter()
        .rev()
        .filter(|run| teaches(run, path))
        .take(SAMPLES_MAX)
        .map(|run| match run.result {
            RunResult::Converged => run.duration,
            // It would have taken longer than was seen; by how much nobody knows, so a half is added.
            RunResult::Superseded | RunResult::CutOff => run.duration + run.duration / 2,
        })
        .collect();
    if samples.len() < SAMPLES_MIN {
        return Estimate { time: configured + own, samples: 0 };
    }
    let slowest = samples.iter().max().copied().unwrap_or(configured);
    Estimate { time: slowest.max(config.shutdown.budget_floor) + own, samples: samples.len() }
}

/// A descent to power-off or to drained-off that began with the cluster running. A run that another wish superseded was
/// stopped early and teaches nothing; one that was cut off teaches that it takes longer.
fn teaches(run: &Run, path: Path) -> bool {
    run.from_running
        && run.path == path
        && run.state != ClusterState::Running
        && match run.result {
            RunResult::Converged | RunResult::CutOff => true,
            RunResult::Superseded => false,
        }
}

//! Values that several tests begin with.

use std::time::Duration;

use hecate::desired::{Held, Hold, Options, Override, Spec};
use hecate::history::{History, Run, RunResult, RunStep};
use hecate::model::{ClusterState, Path, RunId};
use hecate::plan::step::Outcome;
use jiff::Timestamp;

/// A moment of the sample day.
pub(crate) fn at(text: &str) -> Timestamp {
    format!("2026-11-22T{text}Z").parse().expect("the test gives a time of day")
}

/// An operator's wish.
pub(crate) fn spec(state: ClusterState, reason: &str) -> Spec {
    Spec {
        state,
        reason: reason.to_owned(),
        set_by: "root@titan-db".to_owned(),
        set_at: at("18:00:00"),
        options: Options::default(),
    }
}

/// A UPS' override.
pub(crate) fn ups_override(ups: &str) -> Override {
    Override {
        source: format!("ups-policy/{ups}"),
        state: ClusterState::Poweroff,
        path: Path::Emergency,
        reason: "runtime 410 s <= 1.25 x 330 s for 3 readings, 12 s".to_owned(),
        set_at: at("19:12:07"),
    }
}

/// A pause of a node.
pub(crate) fn hold(node: &str) -> Hold {
    Hold {
        what: Held::Node(node.into()),
        reason: "new fan".to_owned(),
        set_by: "root@titan-db".to_owned(),
        set_at: at("18:30:00"),
        expires_at: at("19:30:00"),
    }
}

/// The record of one run.
pub(crate) fn history() -> History {
    let step = RunStep {
        step: "stop-unit".to_owned(),
        target: "titan-22".to_owned(),
        started: Duration::from_secs(3),
        took: Duration::from_secs(12),
        outcome: Outcome::Tried,
    };
    let run = Run {
        id: RunId::new("20261122-180000-1"),
        state: ClusterState::DrainedOff,
        path: Path::Graceful,
        trigger: "the operator".to_owned(),
        is_override: false,
        from_running: true,
        began_at: at("18:00:00"),
        ended_at: at("18:05:00"),
        duration: Duration::from_secs(300),
        result: RunResult::Converged,
        steps: vec![step],
    };
    History { runs: vec![run] }
}

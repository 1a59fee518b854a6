//! What is desired against what is: the verdict over the whole cluster, and each node's row in words.
//!
//! Pure. Draws nothing; `render.rs` does.

#![deny(clippy::disallowed_methods)]

use std::time::Duration;

use super::{HostState, NodeRow, Status};
use crate::desired::{Cause, Effective};
use crate::ledger::Phase;
use crate::model::{ClusterState, Path};
use crate::plan::blocker::WaitReason;
use crate::snapshot::UnitState;

/// What the whole comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Reality is as desired.
    Converged,
    /// Something runs, is about to, or is waited for.
    UnderWay(Direction),
    /// A blocker stands; other steps may still go on.
    Blocked,
}

/// Which way it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To `running`.
    Up,
    /// To `drained-off` or `poweroff`.
    Down,
}

impl Verdict {
    /// Judges a status. Converged only when the pass said so and nothing stands in the way.
    pub fn of(status: &Status) -> Self {
        if !status.plan.blockers.is_empty() {
            return Verdict::Blocked;
        }
        if status.is_converged {
            return Verdict::Converged;
        }
        match status.effective.state() {
            ClusterState::Running => Verdict::UnderWay(Direction::Up),
            ClusterState::DrainedOff | ClusterState::Poweroff => Verdict::UnderWay(Direction::Down),
        }
    }
}

/// Whether nothing more happens before something changes from outside: a blocker stands, nothing runs, and nothing is
/// waited for but the next attempt of what keeps failing.
pub fn is_stuck(status: &Status) -> bool {
    let plan = &status.plan;
    let only_backoff = plan.waits.iter().all(|wait| matches!(wait.reason, WaitReason::Backoff { .. }));
    let is_idle = plan.start.is_empty() && plan.running.is_empty() && plan.cancel.is_empty();
    !plan.blockers.is_empty() && is_idle && only_backoff
}

/// The first line of the status.
pub fn headline(status: &Status) -> String {
    let state = obeyed(&status.effective);
    match Verdict::of(status) {
        Verdict::Converged => format!("converged: {state}"),
        Verdict::Blocked => {
            let count = match status.plan.blockers.len() {
                1 => "1 blocker".to_owned(),
                more => format!("{more} blockers"),
            };
            format!("blocked: {state} because {}; {count}", because(status.effective.because()))
        }
        Verdict::UnderWay(Direction::Up) => {
            format!("coming up: {state} because {}", because(status.effective.because()))
        }
        Verdict::UnderWay(Direction::Down) => {
            format!("going down: {state} because {}", because(status.effective.because()))
        }
    }
}

/// The state that is obeyed, with its path where that is not the usual one.
pub fn obeyed(effective: &Effective) -> String {
    match (effective.state(), effective.path()) {
        (ClusterState::Running, _) | (_, Path::Graceful) => effective.state().to_string(),
        (state, Path::Emergency) => format!("{state} (emergency)"),
    }
}

/// Who wants it, and why.
pub fn because(cause: &Cause) -> String {
    let (who, why) = match cause {
        Cause::Spec { set_by, reason, .. } => (set_by, reason),
        Cause::Override { source, reason, .. } => (source, reason),
    };
    if why.is_empty() { format!("{who} asked for it") } else { format!("{who}: {why}") }
}

/// What a node is, in words.
pub fn is(row: &NodeRow) -> String {
    let host = host(row.host);
    let unit = row.unit_state.map(|state| format!("{} {}", row.unit, unit_state(state)));
    let pods = row.pods.filter(|count| *count > 0).map(|count| match count {
        1 => "1 pod".to_owned(),
        more => format!("{more} pods"),
    });
    let node = (!row.node.is_empty() && row.node != "Unknown").then(|| row.node.replace(',', ", "));
    let parts = [Some(host.to_owned()), unit, node, pods];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// How far up a node is: host, unit, Node, open to pods. None where a stage cannot be seen.
pub fn stages(row: &NodeRow) -> [Option<bool>; 4] {
    let host = match row.host {
        HostState::Up => Some(true),
        HostState::Off => Some(false),
        HostState::Unreachable | HostState::Wrong | HostState::Unknown | HostState::NotManaged => None,
    };
    let unit = row.unit_state.map(|state| match state {
        UnitState::Running => true,
        UnitState::NotFound | UnitState::Stopped | UnitState::Starting | UnitState::Stopping => false,
    });
    let words: Vec<&str> = row.node.split(',').collect();
    let ready = match words.first().copied() {
        Some("Ready") => Some(true),
        Some("NotReady") => Some(false),
        Some(_) | None => None,
    };
    let open = ready.map(|is_ready| is_ready && !words.contains(&"SchedulingDisabled"));
    // Nothing is above a host that is off, whether or not it can be seen.
    if host == Some(false) { [Some(false); 4] } else { [host, unit, ready, open] }
}

/// How many nodes are as desired, and of how many.
pub fn as_desired(status: &Status) -> (usize, usize) {
    (status.nodes.values().filter(|row| row.is_as_desired).count(), status.nodes.len())
}

/// A duration as a person says it: `12 s`, `2 min 3 s`, `1 h 2 min`.
pub fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, 0, _) => format!("{hours} h"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// A phase's name, as the ledger has it.
pub fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Cordon => "cordon",
        Phase::Drain => "drain",
        Phase::DrainShed => "drain-shed",
        Phase::Detach => "detach",
        Phase::EtcdSnapshot => "etcd-snapshot",
        Phase::StopServers => "stop-servers",
        Phase::PowerOff => "power-off",
    }
}

fn host(state: HostState) -> &'static str {
    match state {
        HostState::Up => "up",
        HostState::Off => "off",
        HostState::Unreachable => "unreachable",
        HostState::Wrong => "another host",
        HostState::Unknown => "not seen yet",
        HostState::NotManaged => "only watched",
    }
}

fn unit_state(state: UnitState) -> &'static str {
    match state {
        UnitState::NotFound => "not installed",
        UnitState::Stopped => "stopped",
        UnitState::Starting => "starting",
        UnitState::Running => "running",
        UnitState::Stopping => "stopping",
    }
}

//! A person's wish: who asks, when, why, and with which flags.

use clap::{Args, ValueEnum};
use jiff::{RoundMode, Timestamp, TimestampRound, Unit};

use super::Stop;
use super::exit::USAGE;
use crate::clock;
use crate::desired::{Options, Spec};
use crate::model::ClusterState;

/// No reason is longer; it is shown in tables and logs.
const REASON_LENGTH_MAX: usize = 500;

/// A state on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Wanted {
    /// Every managed host up, k3s serving, nodes Ready
    Running,
    /// Workloads drained, etcd snapshot taken, k3s stopped; hosts stay up
    #[value(alias = "off")]
    DrainedOff,
    /// Drained off, then hosts powered off
    Poweroff,
}

impl From<Wanted> for ClusterState {
    fn from(wanted: Wanted) -> Self {
        match wanted {
            Wanted::Running => ClusterState::Running,
            Wanted::DrainedOff => ClusterState::DrainedOff,
            Wanted::Poweroff => ClusterState::Poweroff,
        }
    }
}

/// Flags of a bring-up.
#[derive(Debug, Default, Args)]
pub(super) struct UpFlags {
    /// Start although a UPS is on battery or not yet recharged; for this time only
    #[arg(long)]
    pub(super) allow_on_battery: bool,
    /// Start although this host is a peer
    #[arg(long)]
    pub(super) allow_peer_startup: bool,
    /// Start although clocks are not in sync (startup.time_sync_mode)
    #[arg(long)]
    pub(super) skip_time_sync: bool,
    /// Hand over to the coordinator, start here only where it is unreachable (not built yet)
    #[arg(long)]
    pub(super) auto_peer_failover: bool,
    /// Set Flux' source to this branch before resuming it (not built yet)
    #[arg(long, value_name = "BRANCH")]
    pub(super) force_flux_branch: Option<String>,
}

/// Flags of a shut-down.
#[derive(Debug, Default, Args)]
pub(super) struct DownFlags {
    /// Stop without draining
    #[arg(long)]
    pub(super) skip_drain: bool,
    /// Stop without an etcd snapshot
    #[arg(long)]
    pub(super) skip_etcd_snapshot: bool,
}

impl UpFlags {
    /// Refuses by name what this version cannot carry out: a guard that is asked for is kept or refused, never ignored.
    fn refuse_unbuilt(&self) -> Result<(), Stop> {
        let asked = [
            (self.force_flux_branch.is_some(), "--force-flux-branch", "Flux' source cannot be changed"),
            (self.auto_peer_failover, "--auto-peer-failover", "a start cannot be handed to the coordinator"),
        ];
        match asked.into_iter().find(|(is_asked, ..)| *is_asked) {
            Some((_, flag, why)) => Err(Stop::saying(USAGE, format!("{flag} is not built yet: {why} by this version"))
                .with_hint(format!("do it by hand, and leave {flag} away"))),
            None => Ok(()),
        }
    }
}

/// Puts a wish together, set by the caller now.
pub(super) fn spec(state: ClusterState, reason: Option<String>, up: &UpFlags, down: &DownFlags) -> Result<Spec, Stop> {
    up.refuse_unbuilt()?;
    let options = Options {
        allow_on_battery: up.allow_on_battery,
        allow_peer_startup: up.allow_peer_startup,
        skip_time_sync: up.skip_time_sync,
        auto_peer_failover: up.auto_peer_failover,
        force_flux_branch: up.force_flux_branch.clone(),
        skip_drain: down.skip_drain,
        skip_etcd_snapshot: down.skip_etcd_snapshot,
    };
    let is_up = up.allow_on_battery || up.allow_peer_startup || up.skip_time_sync;
    let is_down = down.skip_drain || down.skip_etcd_snapshot;
    match state {
        ClusterState::Running if is_down => {
            return Err(Stop::saying(
                USAGE,
                "--skip-drain and --skip-etcd-snapshot belong to a shut-down, not to running",
            ));
        }
        ClusterState::DrainedOff | ClusterState::Poweroff if is_up => {
            let said = "--allow-on-battery, --allow-peer-startup and --skip-time-sync belong to running";
            return Err(Stop::saying(USAGE, format!("{said}, not to {state}")));
        }
        ClusterState::Running | ClusterState::DrainedOff | ClusterState::Poweroff => {}
    }
    Ok(Spec { state, reason: checked_reason(reason)?, set_by: who(), set_at: moment(), options })
}

/// A reason that can be shown in one line.
pub(super) fn checked_reason(reason: Option<String>) -> Result<String, Stop> {
    let reason = reason.unwrap_or_default();
    if reason.chars().count() > REASON_LENGTH_MAX {
        return Err(Stop::saying(USAGE, format!("the reason is longer than {REASON_LENGTH_MAX} characters")));
    }
    if reason.chars().any(char::is_control) {
        return Err(Stop::saying(USAGE, "the reason has line ends or other control characters in it"));
    }
    Ok(reason)
}

/// `user@host`; the user who called sudo, not root.
pub(super) fn who() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let user = named.filter(|name| !name.is_empty());
    let user = user.unwrap_or_else(|| match rustix::process::getuid() {
        uid if uid.is_root() => "root".to_owned(),
        uid => format!("uid-{}", uid.as_raw()),
    });
    format!("{user}@{}", rustix::system::uname().nodename().to_string_lossy())
}

/// Now, to the millisecond: fine enough to tell two wishes apart, short enough to read.
pub(super) fn moment() -> Timestamp {
    let now = clock::now().wall;
    now.round(TimestampRound::new().smallest(Unit::Millisecond).mode(RoundMode::Trunc)).unwrap_or(now)
}

//! `hecate shutdown`: the same as `startup`, the other way.

use clap::{Args, ValueEnum};

use super::startup::{dry_run, execute};
use super::wish::{DownFlags, UpFlags, spec};
use super::{Context, Format, Stop};
use crate::model::ClusterState;

/// Shut the cluster down gracefully, and follow it until it is down
///
/// Without --execute it prints the plan and changes nothing. With it, it sets the desired state and follows the daemon;
/// where no daemon runs, it acts itself.
#[derive(Debug, Args)]
pub(super) struct ShutdownArgs {
    /// Do it, instead of printing the plan
    #[arg(long)]
    execute: bool,
    /// How far to go
    #[arg(long, value_name = "MODE", default_value = "cluster-only")]
    mode: Mode,
    /// Why; shown wherever the state is
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    flags: DownFlags,
    /// How a plan is printed
    #[arg(short, long, value_name = "FORMAT", default_value = "table", conflicts_with = "execute")]
    output: Format,
}

/// How far a shut-down goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Drain, save etcd, stop k3s; hosts stay up (desired state drained-off)
    ClusterOnly,
    /// Then power off the hosts, this one last (desired state poweroff)
    Poweroff,
}

/// Runs it.
pub(super) fn run(args: ShutdownArgs, context: &Context<'_>) -> Result<u8, Stop> {
    let state = match args.mode {
        Mode::ClusterOnly => ClusterState::DrainedOff,
        Mode::Poweroff => ClusterState::Poweroff,
    };
    let spec = spec(state, args.reason, &UpFlags::default(), &args.flags)?;
    let config = context.config()?;
    let store = context.store_of(&config);
    if args.execute {
        execute(spec, config, &store, context)
    } else {
        dry_run(spec, &config, &store, args.output, context)
    }
}

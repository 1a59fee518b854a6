//! `hecate simulate`: plays a power cut on the built-in cluster, through the same decisions as the daemon's.

use clap::{Args, Subcommand};

use super::exit::UNEXPECTED;
use super::{Context, Format, Stop};

/// Play an outage on a built-in cluster
///
/// Needs no cluster and no configuration; with --config it rehearses your own inventory.
#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    #[command(subcommand)]
    story: Story,
}

#[derive(Debug, Subcommand)]
enum Story {
    /// Mains lost, battery falling, shut-down, mains back, recharge, bring-up
    PowerCut {
        /// How the timeline is printed
        #[arg(short, long, value_name = "FORMAT", default_value = "table")]
        output: Format,
    },
}

/// Runs it.
pub(super) fn run(args: SimulateArgs, context: &Context<'_>) -> Result<u8, Stop> {
    let _own_inventory = context.is_config_named().then(|| context.config()).transpose()?;
    match args.story {
        Story::PowerCut { output: _ } => Err(Stop::saying(UNEXPECTED, "the built-in world is not in this build")),
    }
}

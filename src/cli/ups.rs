//! `hecate ups ignore` and `hecate ups heed`: take a UPS that lies out of the policy for a time.

use clap::{Args, Subcommand};
use jiff::SignedDuration;

use super::exit::USAGE;
use super::pause::{hold, parse_duration, release};
use super::{Context, Stop};
use crate::config::Config;
use crate::desired::Held;
use crate::model::UpsName;

/// Take a UPS out of the policy for a time, or back in
#[derive(Debug, Args)]
pub(super) struct UpsArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Do as if this UPS were not there: it shuts nothing down and holds nothing up
    ///
    /// For a UPS that lies (a battery being changed, a broken sensor). While it is ignored nobody guards what it feeds,
    /// and `hecate status` says so. An override of its own is taken away.
    Ignore {
        /// The UPS, by its name in hecate.yaml
        #[arg(value_name = "NAME")]
        name: String,
        /// For how long: 30m, 2h, 1h30m; at most 720h
        #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
        duration: SignedDuration,
        /// Why; shown wherever it is ignored
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Listen to an ignored UPS again before its time
    Heed {
        /// The UPS, by its name in hecate.yaml
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// Runs it.
pub(super) fn run(args: UpsArgs, context: &Context<'_>) -> Result<u8, Stop> {
    let (store, config) = context.store()?;
    match args.what {
        What::Ignore { name, duration, reason } => {
            hold(context, &store, known(name, config.as_ref())?, duration, reason)
        }
        What::Heed { name } => release(context, &store, &known(name, config.as_ref())?),
    }
}

fn known(name: String, config: Option<&Config>) -> Result<Held, Stop> {
    let name = UpsName::new(name);
    match config {
        Some(config) if !config.upses.contains_key(&name) => {
            let known: Vec<&str> = config.upses.keys().map(UpsName::as_str).collect();
            let hint =
                if known.is_empty() { "there is none".to_owned() } else { format!("there is {}", known.join(", ")) };
            Err(Stop::saying(USAGE, format!("no UPS {name} is configured")).with_hint(hint))
        }
        Some(_) | None => Ok(Held::Ups(name)),
    }
}

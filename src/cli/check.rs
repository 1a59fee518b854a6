//! `hecate check`: reads the configuration exactly as the daemon does, and lists every mistake.

use clap::Args;

use super::exit::CONVERGED;
use super::{Context, Stop};

/// Check the configuration, listing all mistakes at once
#[derive(Debug, Args)]
pub(super) struct CheckArgs {}

/// Runs it.
pub(super) fn run(_args: CheckArgs, context: &Context<'_>) -> Result<u8, Stop> {
    let loaded = context.load()?;
    let file = context.config_path().display().to_string();
    for warning in &loaded.warnings {
        context.output.warn(&warning.in_file(&file).to_string());
    }
    let config = &loaded.config;
    let counted = |count: usize, what: &str| if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") };
    let servers = counted(config.control_planes().count(), "control plane");
    let workers = counted(config.workers().count(), "worker");
    let upses = match config.upses.len() {
        1 => "1 UPS".to_owned(),
        count => format!("{count} UPSes"),
    };
    context.output.data(&format!("{file} is good: {servers}, {workers}, {upses}\n"))?;
    Ok(CONVERGED)
}

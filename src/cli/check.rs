//! `hecate check`: reads the configuration exactly as the daemon does, lists every mistake, and says what an outage would
//! do to each host.

mod host;

use clap::Args;
use serde::Serialize;

use super::exit::{BLOCKED, CONVERGED};
use super::{Context, Format, Stop};
use crate::config::Config;
use crate::foresee::checks::Check;
use crate::foresee::outages::{Foreseen, UpsdOnNode, foresee, upsd_on_nodes};
use crate::foresee::text;

/// Check the configuration, listing all mistakes at once, and say what an outage does to each host
///
/// For an outage of each single UPS and of all of them: which hosts go, which stay on, and how each comes back, before the
/// UPS has cut its output and after. It reads the configuration alone; --host also looks at what there is. Exits with 3
/// where the configuration has mistakes, and with 11 where a check of --host failed.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Look at the real UPSes too: is each battery enough? By the daemon's published status, else for at most 5 seconds
    #[arg(long)]
    host: bool,
    /// How it is printed
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,
}

/// Everything that it says.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked {
    file: String,
    warnings: Vec<String>,
    outages: Vec<Foreseen>,
    upsd_on_nodes: Vec<UpsdOnNode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<Vec<Check>>,
}

/// Runs it.
pub(super) fn run(args: CheckArgs, context: &Context<'_>) -> Result<u8, Stop> {
    let loaded = context.load()?;
    let file = context.config_path().display().to_string();
    let config = &loaded.config;
    let mut warnings: Vec<String> = loaded.warnings.iter().map(|one| one.in_file(&file).to_string()).collect();
    let upsd_on_nodes = upsd_on_nodes(config);
    warnings.extend(upsd_on_nodes.iter().map(said));
    warnings.iter().for_each(|warning| context.output.warn(warning));
    let checks = if args.host { Some(host::checks(config, context)?) } else { None };
    let has_failed = checks.iter().flatten().any(|check| check.result.is_failed());
    let checked = Checked { file, warnings, outages: foresee(config), upsd_on_nodes, checks };
    context.output.value(args.output, &checked, || {
        let palette = context.output.palette();
        let mut text = format!("{} is good: {}\n", checked.file, counted(config));
        if !checked.outages.is_empty() {
            text += &format!("\n{}", text::outages(&checked.outages, palette));
        }
        if let Some(checks) = &checked.checks {
            text += &format!("\n{}", text::checks(checks, palette));
        }
        text
    })?;
    Ok(if has_failed { BLOCKED } else { CONVERGED })
}

fn counted(config: &Config) -> String {
    let counted = |count: usize, what: &str| if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") };
    let servers = counted(config.control_planes().count(), "control plane");
    let workers = counted(config.workers().count(), "worker");
    let upses = match config.upses.len() {
        1 => "1 UPS".to_owned(),
        count => format!("{count} UPSes"),
    };
    format!("{servers}, {workers}, {upses}")
}

fn said(one: &UpsdOnNode) -> String {
    let UpsdOnNode { ups, node } = one;
    format!(
        "UPS {ups}: its upsd runs on {node}, which hecate powers off: it falls silent in every outage that takes {node} down; \
         hecate starts that host first"
    )
}

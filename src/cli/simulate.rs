//! `hecate simulate`: plays power cuts, scenarios and random worlds in the built-in world, through the same decisions as the
//! daemon's.

mod chart;
mod cores;
mod rehearsal;
mod scenario;
mod seeds;
mod svg;

use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use jiff::Timestamp;

use self::rehearsal::RehearsalArgs;
use self::seeds::SeedsArgs;
use super::exit::{CONVERGED, PLAYED_BADLY, USAGE};
use super::{Context, Format, Stop};
use crate::config::{Config, UpsPath};
use crate::foresee::text::wrapped;
use crate::simulate::outage::{BRING_UP_MAX, Outage, Report, cluster, power_cut};
use crate::status::diff::spoken;

/// Columns for a sentence beside its label.
const PROSE_WIDTH: usize = 64;
/// The virtual clock starts here, so that every run prints the same.
const STARTED_AT: &str = "2026-01-01T00:00:00Z";
/// A longer battery or outage is a typing mistake.
const MINUTES_MAX: u64 = 7 * 24 * 60;
/// More pods a node than any kubelet runs.
const PODS_MAX: usize = 500;

/// Play outages in a built-in world, as the daemon would meet them
///
/// Needs no cluster and no configuration. `power-cut` tells one outage as a timeline. `--outages N` answers whether the
/// cluster would be dark in time, and whether it would run again; with --config it is your own, with its inventory, limits and past runs. `--seeds N` plays
/// random clusters, with `--faults` amid everything that can go wrong. A scenario's name (see `list`) or file plays what
/// somebody else met. Exits with 13 when anything was not as it should be.
#[derive(Debug, Args)]
#[command(subcommand_negates_reqs = true, arg_required_else_help = true)]
pub(super) struct SimulateArgs {
    /// A built-in scenario's name (see `hecate simulate list`), or a scenario's file
    ///
    /// Prints the timeline from the moment at which the cluster is converged, then each claim of the scenario. Exits with
    /// 0 when all of them hold and no rule was broken, with 13 otherwise, and with 3 where the file has mistakes.
    #[arg(value_name = "SCENARIO")]
    scenario: Option<String>,
    #[command(subcommand)]
    story: Option<Story>,
    /// The first seed of `--outages` or `--seeds`; alone or with a count of 1 its timeline is printed
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// How it is printed
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "table")]
    output: Format,
    #[command(flatten)]
    rehearsal: RehearsalArgs,
    #[command(flatten)]
    seeds: SeedsArgs,
}

#[derive(Debug, Subcommand)]
enum Story {
    /// Mains lost, battery falling, shut-down, mains back, recharge, bring-up
    ///
    /// Prints the timeline; `*` is the world, `!` the UPS policy, `>` what is obeyed, `+` and `-` a step's start and end,
    /// `.` a wait, `#` a blocker, `=` convergence. Exits with 0 when the cluster was dark in time and
    /// runs again, else with 13.
    PowerCut(PowerCut),
    /// List the built-in scenarios: incidents that users of other tools have reported
    ///
    /// `hecate simulate NAME` plays one.
    List,
}

#[derive(Debug, Args)]
struct PowerCut {
    /// How long mains are gone
    #[arg(long, value_name = "MINUTES", default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..=MINUTES_MAX))]
    outage_minutes: u64,
    /// What full batteries give with everything running
    #[arg(long, value_name = "MINUTES", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=MINUTES_MAX))]
    runtime_minutes: u64,
    /// Pods on each node
    #[arg(long, value_name = "COUNT", default_value_t = 6)]
    pods: usize,
    /// Take the graceful path where the battery allows it, whatever the configuration says
    #[arg(long)]
    graceful: bool,
}

/// Runs it.
pub(super) fn run(args: SimulateArgs, context: &Context<'_>) -> Result<u8, Stop> {
    let is_rehearsal = args.rehearsal.outages.is_some();
    let is_random = args.seeds.is_asked() || args.seed.is_some();
    if let Some(name) = &args.scenario {
        if is_rehearsal || is_random || args.story.is_some() {
            return Err(Stop::saying(
                USAGE,
                "a scenario is played alone, without --outages, --seeds, --seed or a subcommand",
            ));
        }
        return scenario::run(name, args.output, context);
    }
    match args.story {
        None if is_rehearsal => rehearsal::run(args.rehearsal, args.seed, args.output, context),
        None => seeds::run(&args.seeds, args.seed, args.output, context),
        Some(_) if is_rehearsal || is_random => {
            Err(Stop::saying(USAGE, "--outages, --seeds and --seed play without a subcommand"))
        }
        Some(Story::List) => scenario::list(args.output, context),
        Some(Story::PowerCut(cut)) => play(&cut, args.output, context),
    }
}

fn play(cut: &PowerCut, output: Format, context: &Context<'_>) -> Result<u8, Stop> {
    let PowerCut { outage_minutes, runtime_minutes, pods, graceful } = *cut;
    if pods > PODS_MAX {
        return Err(Stop::saying(USAGE, format!("--pods is at most {PODS_MAX}")));
    }
    let mut config = inventory(context)?;
    if graceful {
        config.shutdown.ups_path = UpsPath::Auto;
    }
    let minutes = |count: u64| Duration::from_secs(60 * count);
    let outage = Outage { lasts: minutes(outage_minutes), runtime: minutes(runtime_minutes), pods };
    let started_at: Timestamp = STARTED_AT.parse().context("read the virtual clock's start")?;
    let report = power_cut(&config, &outage, started_at);
    context.output.value(output, &report, || text(&report, &outage))?;
    Ok(if report.is_good() { CONVERGED } else { PLAYED_BADLY })
}

fn inventory(context: &Context<'_>) -> Result<Config, Stop> {
    if !context.is_config_named() {
        return Ok(cluster().context("draw the built-in cluster")?);
    }
    let config = context.config()?;
    if config.upses.is_empty() {
        return Err(Stop::saying(USAGE, "the configuration names no UPS, so nothing would happen in an outage"));
    }
    Ok(config)
}

fn text(report: &Report, outage: &Outage) -> String {
    let mut text: String = report.timeline.iter().map(|line| format!("{line}\n")).collect();
    text.push('\n');
    let runtime = outage.runtime.as_secs();
    let row = |name: &str, value: String| format!("{name:<16}{value}\n");
    text.push_str(&match (report.dark_after, report.battery_left) {
        (Some(after), Some(left)) => row(
            "dark",
            format!(
                "{} after mains were lost, {} of {} of battery left",
                spoken(after),
                spoken(left),
                spoken(outage.runtime)
            ),
        ),
        (Some(after), None) => row("dark", format!("{} after mains were lost", spoken(after))),
        (None, _) => row("dark", format!("never: {runtime} s of battery outlasted {}", spoken(report.outage))),
    });
    text.push_str(&match report.running_after {
        Some(after) => {
            let how = if report.is_unprotected { ", unprotected" } else { "" };
            row("running again", format!("{} after mains were back{how}", spoken(after)))
        }
        None => row("running again", format!("not within {}", spoken(BRING_UP_MAX))),
    });
    if let Some(why) = &report.in_the_way {
        text.push_str(&row("in the way", why.clone()));
    }
    for short in &report.shortfalls {
        for (name, said) in [("battery", &short.said), ("so", &short.means), ("what to do", &short.hint)] {
            let lines = wrapped(said, PROSE_WIDTH).into_iter().enumerate();
            lines.for_each(|(number, line)| text.push_str(&row(if number == 0 { name } else { "" }, line)));
        }
    }
    for finding in &report.findings {
        text.push_str(&row("broken", format!("{}: {}", finding.rule, finding.evidence)));
    }
    text
}

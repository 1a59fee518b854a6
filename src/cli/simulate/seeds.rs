//! `hecate simulate --seeds N --faults`: random clusters and random trouble under every invariant.

use std::time::Instant;

use anyhow::{Context as _, anyhow};
use clap::Args;
use serde::Serialize;

use super::cores;
use crate::cli::exit::{CONVERGED, PLAYED_BADLY, USAGE};
use crate::cli::{Context, Format, Stop};
use crate::simulate::hunt::{Told, play, tell};
use crate::simulate::seeds::{Trouble, script};
use crate::simulate::trial::{Trial, trial};

/// More seeds than a machine plays in a month.
const SEEDS_MAX: u64 = 1_000_000_000;

/// Random clusters.
#[derive(Debug, Args)]
#[command(next_help_heading = "Random clusters")]
pub(super) struct SeedsArgs {
    /// Play random clusters, one a seed, under every invariant; a seed that breaks one is shrunk and told
    #[arg(long, value_name = "COUNT", conflicts_with = "outages", value_parser = clap::value_parser!(u64).range(1..=SEEDS_MAX))]
    seeds: Option<u64>,
    /// Let everything go wrong that can; without it only mains, wishes, and hecate killed now and then
    #[arg(long, conflicts_with = "outages")]
    faults: bool,
}

/// What many seeds came to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    first: u64,
    seeds: u64,
    faults: bool,
    passes: u64,
    simulated_hours: f64,
    seconds: f64,
    simulated_hours_per_second: f64,
    failures: Vec<Failure>,
    /// The first of them, made as small as it can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    told: Option<Told>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    seed: u64,
    rule: &'static str,
    evidence: String,
}

impl SeedsArgs {
    /// Whether any of it was given.
    pub(super) fn is_asked(&self) -> bool {
        self.seeds.is_some() || self.faults
    }
}

/// Runs it.
pub(super) fn run(args: &SeedsArgs, seed: Option<u64>, output: Format, context: &Context<'_>) -> Result<u8, Stop> {
    let trouble = if args.faults { Trouble::Faults } else { Trouble::Outages };
    let (first, count) = match (seed, args.seeds) {
        (None, None) => {
            return Err(Stop::saying(USAGE, "nothing to play").with_hint(
                "`hecate simulate power-cut`, `--outages 200` for your own cluster, or `--seeds 1000 --faults`",
            ));
        }
        (Some(seed), None) => (seed, 1),
        (first, Some(count)) => (first.unwrap_or(0), count),
    };
    let begin = Instant::now();
    let trials = cores::each(first, count, "seeds", |seed| play(seed, trouble));
    let mut summary = summary((first, count), trouble, trials)?;
    summary.seconds = begin.elapsed().as_secs_f64();
    summary.simulated_hours_per_second = summary.simulated_hours / summary.seconds.max(0.001);
    if let Some(failure) = summary.failures.first() {
        context.output.note(&format!("seed {} is being shrunk", failure.seed));
        summary.told = Some(tell(failure.seed, trouble, failure.rule).context("tell the failing seed")?);
    }
    let timeline = if count == 1 && summary.told.is_none() { timeline(first, trouble)? } else { String::new() };
    let story = summary.told.as_ref().map(story).transpose()?.unwrap_or_default();
    context.output.value(output, &summary, || format!("{timeline}{}{story}", text(&summary)))?;
    Ok(if summary.failures.is_empty() { CONVERGED } else { PLAYED_BADLY })
}

fn summary(
    (first, count): (u64, u64),
    trouble: Trouble,
    trials: Vec<Result<Trial, crate::simulate::script::ScriptError>>,
) -> Result<Summary, Stop> {
    let mut summary = Summary {
        first,
        seeds: count,
        faults: trouble == Trouble::Faults,
        passes: 0,
        simulated_hours: 0.0,
        seconds: 0.0,
        simulated_hours_per_second: 0.0,
        failures: Vec::new(),
        told: None,
    };
    for (seed, trial) in (first..).zip(trials) {
        let trial = trial.map_err(|failure| anyhow!(failure).context(format!("draw the cluster of seed {seed}")))?;
        summary.passes += trial.passes;
        summary.simulated_hours += trial.played.as_secs_f64() / 3600.0;
        let finding = trial.findings.into_iter().next();
        summary.failures.extend(finding.map(|it| Failure { seed, rule: it.rule, evidence: it.evidence }));
    }
    Ok(summary)
}

/// One seed alone is told whether or not anything is wrong with it.
fn timeline(seed: u64, trouble: Trouble) -> Result<String, Stop> {
    let trial = trial(&script(seed, trouble)).context("play the seed")?;
    Ok(trial.timeline.iter().map(|line| format!("{line}\n")).chain(["\n".to_owned()]).collect())
}

fn story(told: &Told) -> Result<String, Stop> {
    let yaml = told.yaml().context("write the scenario")?;
    Ok(format!("\nthe first of them, as small as it can be:\n\n{told}\nas a scenario:\n\n{yaml}"))
}

fn text(summary: &Summary) -> String {
    let row = |name: &str, value: String| format!("{name:<18}{value}\n");
    let last = summary.first + summary.seeds - 1;
    let which = if last == summary.first { format!("seed {last}") } else { format!("{} to {last}", summary.first) };
    let trouble = if summary.faults { "everything goes wrong that can" } else { "outages, wishes and kills" };
    let mut text = row("seeds", format!("{} ({which}; {trouble})", summary.seeds));
    text += &row("passes", summary.passes.to_string());
    text += &row("simulated", format!("{:.0} h in {:.1} s", summary.simulated_hours, summary.seconds));
    text += &row("", format!("{:.0} h a second", summary.simulated_hours_per_second));
    text += &row("broken", format!("{} of {}", summary.failures.len(), summary.seeds));
    for failure in &summary.failures {
        text += &row("", format!("seed {}: {}: {}", failure.seed, failure.rule, failure.evidence));
    }
    text
}

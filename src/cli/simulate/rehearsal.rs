//! `hecate simulate --outages N`: would the cluster be dark in time, and would it run again?

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::chart::{Histogram, Look};
use super::{MINUTES_MAX, cores, inventory, svg};
use crate::cli::exit::{CONVERGED, PLAYED_BADLY, UNEXPECTED, USAGE};
use crate::cli::{Context, Format, Stop};
use crate::config::Config;
use crate::foresee::text::wrapped;
use crate::history::History;
use crate::simulate::rehearsal::{Quantiles, Question, Rehearsal, Report};
use crate::status::diff::spoken;
use crate::status::render::{Palette, Tone};
use crate::status::table::{Cell, draw};
use crate::store::{HistoryFile, publish};

/// More outages say nothing new.
const OUTAGES_MAX: u64 = 1_000_000;
/// What is assumed of batteries nobody says anything of.
const RUNTIME_MINUTES: u64 = 20;
/// Columns for a sentence beside its label.
const PROSE_WIDTH: usize = 50;
/// So many failures are told one by one; `-o json` has them all.
const FAILURES_MAX: usize = 10;

/// A rehearsal.
#[derive(Debug, Args)]
#[command(next_help_heading = "Rehearsal")]
pub(super) struct RehearsalArgs {
    /// Play so many outages of the cluster, each with other batteries, pods, paces and mishaps, and a day after each
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=OUTAGES_MAX))]
    pub(super) outages: Option<u64>,
    /// What full batteries give with everything running; each outage draws 80 to 110 % of it [default: 20]
    #[arg(long, value_name = "MINUTES", requires = "outages", conflicts_with_all = ["seeds", "faults"], value_parser = clap::value_parser!(u64).range(1..=MINUTES_MAX))]
    runtime_minutes: Option<u64>,
    /// Draw the chart into this file, .svg or .html
    #[arg(long, value_name = "FILE", requires = "outages", conflicts_with_all = ["seeds", "faults"])]
    chart: Option<PathBuf>,
}

/// Runs it.
pub(super) fn run(args: RehearsalArgs, seed: Option<u64>, output: Format, context: &Context<'_>) -> Result<u8, Stop> {
    let (first, count) = (seed.unwrap_or(0), args.outages.unwrap_or(1));
    let chart = args.chart.map(Chart::new).transpose()?;
    let config = inventory(context)?;
    let history = history(&config, context);
    let minutes = args.runtime_minutes.unwrap_or(RUNTIME_MINUTES);
    let rehearsal = Rehearsal::new(&config, &history, Duration::from_secs(60 * minutes));
    let (played, timeline) = if seed.is_some() && count == 1 {
        let (played, lines) = rehearsal.told(first);
        (vec![played], lines.iter().map(|line| format!("{line}\n")).chain(["\n".to_owned()]).collect())
    } else {
        (cores::each(first, count, "outages", |seed| rehearsal.play(seed)), String::new())
    };
    let report = rehearsal.report(played);
    let subject = Subject::of(&config, args.runtime_minutes.is_some(), context);
    let palette = context.output.palette();
    context.output.value(output, &report, || {
        let drawn = [Histogram::dark(&report), Histogram::again(&report)].into_iter().flatten();
        let drawn: String = drawn.filter(|_| count > 1).map(|it| it.text(context.output.look())).collect();
        format!("{timeline}{}{drawn}{}", text(&report, &subject, palette), failures(&report, &subject, palette))
    })?;
    if let Some(chart) = chart {
        chart.write(&report, &subject)?;
        context.output.note(&format!("the chart is in {}", chart.path.display()));
    }
    Ok(if report.is_good() { CONVERGED } else { PLAYED_BADLY })
}

/// What past runs took, where they can be read; the built-in cluster has none.
fn history(config: &Config, context: &Context<'_>) -> History {
    if !context.is_config_named() {
        return History::default();
    }
    let store = context.store_of(config);
    match store.read_history() {
        HistoryFile::Good(history) => history,
        HistoryFile::Missing => History::default(),
        HistoryFile::Unreadable { why } => {
            let path = store.state_dir().join("runs.json");
            context
                .output
                .warn(&format!("{} cannot be read ({why}): nothing is learned from past runs", path.display()));
            History::default()
        }
    }
}

/// What was rehearsed, in words.
pub(super) struct Subject {
    pub(super) cluster: String,
    is_runtime_given: bool,
    /// How this was called, up to the number of outages.
    call: String,
}

impl Subject {
    fn of(config: &Config, is_runtime_given: bool, context: &Context<'_>) -> Self {
        let (cluster, named) = if context.is_config_named() {
            let path = context.config_path().display().to_string();
            (path.clone(), format!(" --config {path}"))
        } else {
            ("the built-in cluster".to_owned(), String::new())
        };
        let (nodes, upses) = (config.nodes.len(), config.upses.len());
        let many = if upses == 1 { "UPS" } else { "UPSes" };
        Self {
            cluster: format!("{cluster}: {nodes} nodes, {upses} {many}"),
            is_runtime_given,
            call: format!("hecate simulate{named}"),
        }
    }

    /// What to type to see one outage again.
    fn replay(&self, seed: u64, runtime: Duration) -> String {
        let runtime = if self.is_runtime_given {
            format!(" --runtime-minutes {}", runtime.as_secs() / 60)
        } else {
            String::new()
        };
        format!("{} --outages 1 --seed {seed}{runtime}", self.call)
    }
}

/// Where the chart goes.
struct Chart {
    path: PathBuf,
    is_html: bool,
}

impl Chart {
    /// Refuses what could not be written before anything is played.
    fn new(path: PathBuf) -> Result<Self, Stop> {
        let extension = path.extension().and_then(|it| it.to_str()).map(str::to_ascii_lowercase);
        let is_html = match extension.as_deref() {
            Some("svg") => false,
            Some("html" | "htm") => true,
            Some(_) | None => {
                return Err(Stop::saying(
                    USAGE,
                    format!("--chart {}: the name must end in .svg or .html", path.display()),
                ));
            }
        };
        let folder = std::path::absolute(&path).ok().and_then(|path| path.parent().map(PathBuf::from));
        if folder.as_ref().is_none_or(|folder| !folder.is_dir()) {
            let folder = folder.unwrap_or_default();
            let said = format!("the chart cannot be written: there is no folder {}", folder.display());
            return Err(Stop::saying(UNEXPECTED, said).with_hint("make it, or name another file"));
        }
        Ok(Self { path, is_html })
    }

    fn write(&self, report: &Report, subject: &Subject) -> Result<(), Stop> {
        let drawn = svg::chart(report, &subject.cluster);
        let text = if self.is_html { svg::page(report, &subject.cluster, &drawn) } else { drawn };
        publish(&self.path, text.as_bytes())
            .with_context(|| format!("write the chart {}", self.path.display()))
            .map_err(|failure| Stop::failed(UNEXPECTED, failure))
    }
}

/// `99.3 %`, rounded down: 100 % is said only where it is all of them.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", (share * 1000.0).floor() / 10.0)
}

/// Each distribution under its name.
pub(super) fn distributions(report: &Report) -> Vec<(&'static str, Quantiles)> {
    let all = [
        ("battery when mains were lost", report.battery),
        ("dark after the loss of mains", report.dark_after),
        ("nodes dark after the trigger", report.dark_after_trigger),
        ("battery left, nodes dark", report.battery_left),
        ("running after mains are back", report.running_after),
    ];
    all.into_iter().filter_map(|(name, quantiles)| Some((name, quantiles?))).collect()
}

/// Where the pace of steps is from.
pub(super) fn learned(report: &Report) -> String {
    match report.learned.steps {
        0 => "usual ones of small nodes; no past run taught any".to_owned(),
        steps => format!("{steps} times of steps in {} past runs", report.learned.runs),
    }
}

fn row(name: &str, value: &str) -> String {
    format!("{name:<30}{value}\n")
}

/// A row whose sentence goes on below.
fn prose(name: &str, value: &str) -> String {
    let lines = wrapped(value, PROSE_WIDTH).into_iter().enumerate();
    lines.map(|(number, line)| row(if number == 0 { name } else { "" }, &line)).collect()
}

/// `99 of 100, 99.0 %`: one of the two answers.
fn answer(yes: usize, asked: usize, share: Option<f64>, palette: Palette) -> String {
    let (tone, share) = match share {
        Some(share) if yes == asked => (Tone::Good, percent(share)),
        Some(share) => (Tone::Bad, percent(share)),
        None => (Tone::Plain, "none had to".to_owned()),
    };
    format!("{yes} of {asked}, {}", palette.paint(tone, &share))
}

/// Whether it runs again, what that takes, and what the batteries are too small for.
fn again(report: &Report, palette: Palette) -> String {
    let mut text =
        row("running again", &answer(report.running_again, report.had_to_run, report.running_share, palette));
    if report.by_hand > 0 {
        let why = report.by_hand_why.as_deref().unwrap_or_default();
        text += &prose("  by somebody's hand", &format!("{}, such as: {why}", report.by_hand));
        text += &prose(
            "  what to do",
            "`wake` of nodes and `cut_load` of their UPSes spare most of that; `hecate check` shows who needs them",
        );
    }
    if report.unprotected > 0 {
        text += &row("  unprotected", &format!("{}, started below the recharge gate", report.unprotected));
    }
    for short in &report.shortfalls {
        text += &prose("battery too small", &short.said);
        text += &prose("  so", &short.means);
        text += &prose("  what to do", &short.hint);
    }
    text
}

fn text(report: &Report, subject: &Subject, palette: Palette) -> String {
    let row = |name: &str, value: String| row(name, &value);
    let assumed = if subject.is_runtime_given { "" } else { ", assumed: say --runtime-minutes" };
    let mut text = row("cluster", subject.cluster.clone());
    text += &row("full batteries", format!("{} with everything running{assumed}", spoken(report.runtime)));
    text += &row("pace of steps", learned(report));
    text += &row("outages", format!("{}, {} over before all was dark", report.outages, report.ended_early));
    text += &row("dark in time", answer(report.dark_in_time, report.had_to_be_dark, report.share, palette));
    text += &again(report, palette);
    text.push('\n');
    let name = |name: &str| format!("{name:<28}");
    let cells = |(label, all): (&str, Quantiles)| {
        let each = [all.p5, all.p50, all.p95, all.max].map(|it| Cell::from(spoken(it)));
        std::iter::once(Cell::from(name(label))).chain(each).collect::<Vec<Cell>>()
    };
    let rows: Vec<Vec<Cell>> = distributions(report).into_iter().map(cells).collect();
    text += &draw(&["", "P5", "P50", "P95", "MAX"], &rows, palette);
    text.push('\n');
    for (number, slow) in report.slowest.iter().enumerate() {
        let label = if number == 0 { "slowest steps (p95)" } else { "" };
        text += &row(label, format!("{} {}, {}", slow.step, slow.target, spoken(slow.time)));
    }
    text
}

fn failures(report: &Report, subject: &Subject, palette: Palette) -> String {
    let Some(first) = report.failures.first() else { return String::new() };
    let mut text = format!("\n{}\n", palette.paint(Tone::Bad, "went wrong"));
    for failure in report.failures.iter().take(FAILURES_MAX) {
        let what = match failure.question {
            Question::DarkInTime => format!("after {}", spoken(failure.after)),
            Question::RunningAgain => "does not run again".to_owned(),
        };
        text += &format!("  seed {} {what}: {}\n", failure.seed, failure.why);
    }
    let more = report.failures.len().saturating_sub(FAILURES_MAX);
    if more > 0 {
        text += &format!("  and {more} more; -o json has them all\n");
    }
    text + &format!("see it happen: {}\n", subject.replay(first.seed, report.runtime))
}

impl crate::cli::Output {
    /// How a chart is drawn on stdout.
    pub(super) fn look(&self) -> Look {
        Look { palette: self.palette(), is_unicode: self.takes_unicode() }
    }
}

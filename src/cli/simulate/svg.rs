//! The charts as a file: one SVG that needs nothing beside it, and a page around it.
//!
//! Readable in light and dark, and without colours: what went wrong is hatched, the battery is dashed.

use std::fmt::Write as _;
use std::time::Duration;

use super::chart::{About, Column, Histogram};
use super::rehearsal::{distributions, learned, percent};
use crate::simulate::rehearsal::{Quantiles, Report};
use crate::status::diff::spoken;

/// The whole picture.
const SIZE: (f64, f64) = (880.0, 820.0);
/// Where the second plot begins, below the first.
const SECOND: f64 = 380.0;
/// The plot in it: left, top, right, bottom.
const PLOT: (f64, f64, f64, f64) = (72.0, 104.0, 856.0, 372.0);
/// More labels on the axis of time run into each other.
const TIMES_MAX: usize = 10;
/// Lines across, at most.
const LINES_MAX: u32 = 5;

const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-size:19px;font-weight:600}.faint{fill:#57606a}\
.paper{fill:#fff}.line{stroke:#d8dee4}.axis{stroke:#57606a}.dark{fill:#2f6fb3}.bad{fill:url(#hatch);stroke:#c62f3d}\
.stripe{stroke:#c62f3d}.band{fill:#d29922;fill-opacity:.22}.halo{stroke:#fff;stroke-width:4;stroke-opacity:.8}.battery{stroke:#9a6700;stroke-width:2;stroke-dasharray:6 4}\
.said{fill:#7d4e00;font-weight:600}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.faint{fill:#9aa4af}.paper{fill:#0d1117}.line{stroke:#2b323b}\
.axis{stroke:#9aa4af}.dark{fill:#58a6ff}.bad{stroke:#ff7b72}.stripe{stroke:#ff7b72}.band{fill:#e3b341;fill-opacity:.2}.halo{stroke:#0d1117}\
.battery{stroke:#e3b341}.said{fill:#e3b341}}";

const PAGE_STYLE: &str = "\
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem;\
color:#24292f;background:#fff}svg{width:100%;height:auto}table{border-collapse:collapse;margin:1rem 0}\
th,td{text-align:left;padding:.25rem 1.25rem .25rem 0;border-bottom:1px solid #d8dee4}td+td{font-variant-numeric:tabular-nums}\
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}th,td{border-color:#2b323b}}";

/// Draws the chart.
pub(super) fn chart(report: &Report, cluster: &str) -> String {
    let (width, height) = SIZE;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\">\n<title>{}</title>\n\
         <style>{STYLE}</style>\n<defs><pattern id=\"hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" \
         patternTransform=\"rotate(45)\"><line class=\"stripe\" y2=\"6\" stroke-width=\"5\"/></pattern></defs>\n\
         <rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>\n",
        escaped(&verdict(report)),
    );
    svg += &text(24.0, 34.0, "title", "start", &verdict(report));
    let subtitle = format!(
        "{cluster}; {} outages, {} over before all was dark; full batteries give {}",
        report.outages,
        report.ended_early,
        spoken(report.runtime),
    );
    svg += &text(24.0, 56.0, "faint", "start", &subtitle);
    let charts = [
        (Histogram::dark(report), "no outage lasted until all had to be dark"),
        (Histogram::again(report), "no outage was played until all had to run again"),
    ];
    for (number, (histogram, nothing)) in charts.into_iter().enumerate() {
        let drawn = match histogram {
            Some(histogram) => plot(&histogram),
            None => text(width / 2.0, f64::midpoint(PLOT.1, PLOT.3), "faint", "middle", nothing),
        };
        let _ = writeln!(svg, "<g transform=\"translate(0 {})\">\n{drawn}</g>", SECOND * number as f64);
    }
    svg + "</svg>\n"
}

fn verdict(report: &Report) -> String {
    let dark = match report.share {
        Some(share) => {
            format!("Dark in time: {} of {}, {}", report.dark_in_time, report.had_to_be_dark, percent(share))
        }
        None => "Dark in time: none had to be".to_owned(),
    };
    let again = match report.running_share {
        Some(share) => format!("Running again: {} of {}, {}", report.running_again, report.had_to_run, percent(share)),
        None => "Running again: none had to".to_owned(),
    };
    format!("{dark}. {again}")
}

/// Where things are in the plot.
struct Frame<'a> {
    histogram: &'a Histogram,
    top: u32,
}

impl Frame<'_> {
    fn x(&self, at: Duration) -> f64 {
        let columns = (at.as_secs_f64() - self.histogram.from.as_secs_f64()) / self.histogram.width.as_secs_f64();
        self.at(columns)
    }

    /// So many columns from the left; those without a time stand right of the others.
    fn at(&self, columns: f64) -> f64 {
        PLOT.0 + columns / self.histogram.all().count().max(1) as f64 * (PLOT.2 - PLOT.0)
    }

    fn y(&self, count: u32) -> f64 {
        PLOT.3 - f64::from(count) / f64::from(self.top) * (PLOT.3 - PLOT.1)
    }
}

fn plot(histogram: &Histogram) -> String {
    let step = line_step(histogram.highest());
    let frame = Frame { histogram, top: histogram.highest().div_ceil(step) * step };
    let mut svg = legend(histogram);
    for count in (0..=frame.top).step_by(step as usize) {
        let y = frame.y(count);
        svg += &line("line", (PLOT.0, y), (PLOT.2, y));
        svg += &text(PLOT.0 - 8.0, y + 4.0, "faint", "end", &count.to_string());
    }
    svg += &histogram.battery.map(|it| band(&frame, it)).unwrap_or_default();
    for (number, column) in histogram.all().enumerate() {
        svg += &bars(&frame, number, *column);
    }
    svg += &histogram.battery.map(|it| battery(&frame, it)).unwrap_or_default();
    svg += &line("axis", (PLOT.0, PLOT.3), (PLOT.2, PLOT.3));
    let count = histogram.columns.len();
    let every = (count + 1).div_ceil(TIMES_MAX).max(1);
    // What came later is in the last column, so that the end of the axis is always named.
    for number in (0..=count).rev().step_by(every).filter(|_| count > 0) {
        let at = histogram.begins(number);
        let x = frame.x(at);
        svg += &line("axis", (x, PLOT.3), (x, PLOT.3 + 5.0));
        let is_end = number == count;
        let said = if is_end && histogram.has_later { "later".to_owned() } else { histogram.about.clock(at) };
        svg += &text(x, PLOT.3 + 20.0, "faint", "middle", &said);
    }
    for (number, (label, _)) in histogram.beside.iter().enumerate() {
        svg += &text(frame.at((count + number) as f64 + 0.5), PLOT.3 + 20.0, "faint", "middle", label);
    }
    let middle = f64::midpoint(PLOT.0, PLOT.2);
    svg += &text(middle, PLOT.3 + 46.0, "", "middle", histogram.about.axis());
    let (x, y) = (22.0, f64::midpoint(PLOT.1, PLOT.3));
    let _ = writeln!(svg, "<text transform=\"translate({x} {y}) rotate(-90)\" text-anchor=\"middle\">outages</text>");
    svg
}

/// One bar on the other: dark in time below.
fn bars(frame: &Frame<'_>, number: usize, column: Column) -> String {
    let (left, right) = (frame.at(number as f64) + 1.0, frame.at((number + 1) as f64) - 1.0);
    let mut svg = String::new();
    let parts = [("dark", 0, column.good), ("bad", column.good, column.bad)];
    for (class, from, count) in parts.into_iter().filter(|(_, _, count)| *count > 0) {
        let (bottom, top) = (frame.y(from), frame.y(from + count));
        let (width, height) = (right - left, (bottom - top).max(1.5));
        let _ = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>",
            bottom - height,
        );
    }
    svg
}

/// What the batteries held, from one in twenty to nineteen in twenty, behind the bars.
fn band(frame: &Frame<'_>, battery: Quantiles) -> String {
    let (low, high) = (frame.x(battery.p5), frame.x(battery.p95));
    let (top, width, height) = (PLOT.1, (high - low).max(1.0), PLOT.3 - PLOT.1);
    format!("<rect class=\"band\" x=\"{low:.1}\" y=\"{top}\" width=\"{width:.1}\" height=\"{height}\"/>\n")
}

/// The median of it, before them.
fn battery(frame: &Frame<'_>, battery: Quantiles) -> String {
    let x = frame.x(battery.p50);
    let (anchor, beside) = if x > PLOT.2 - 220.0 { ("end", -6.0) } else { ("start", 6.0) };
    let said = format!("battery, median: {}", About::Dark.clock(battery.p50));
    let ends = ((x, PLOT.1 - 10.0), (x, PLOT.3));
    line("halo", ends.0, ends.1)
        + &line("battery", ends.0, ends.1)
        + &text(x + beside, PLOT.1 - 2.0, "said", anchor, &said)
}

fn legend(histogram: &Histogram) -> String {
    let has_bad = histogram.all().any(|it| it.bad > 0);
    let (good, bad) = match histogram.about {
        About::Dark => ("all dark in time", "not in time: when power was lost"),
        About::Again => ("all runs again", "does not run a day later"),
    };
    let mut svg = String::new();
    let mut x = 24.0;
    let entries = [
        ("dark", good, true),
        ("bad", bad, has_bad),
        ("band", "batteries at full load, p5 to p95", histogram.battery.is_some()),
    ];
    for (class, said, _) in entries.into_iter().filter(|(_, _, is_there)| *is_there) {
        let _ = writeln!(svg, "<rect class=\"{class}\" x=\"{x}\" y=\"67\" width=\"14\" height=\"11\"/>");
        svg += &text(x + 20.0, 77.0, "faint", "start", said);
        x += 44.0 + 6.6 * said.len() as f64;
    }
    svg
}

/// Steps of 1, 2 or 5 times a power of ten.
fn line_step(highest: u32) -> u32 {
    let steps = (0..9).flat_map(|power| [1, 2, 5].map(|it| it * 10_u32.pow(power)));
    steps.into_iter().find(|step| highest.div_ceil(*step) <= LINES_MAX).unwrap_or(highest)
}

fn line(class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> String {
    format!("<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>\n")
}

fn text(x: f64, y: f64, class: &str, anchor: &str, said: &str) -> String {
    let said = escaped(said);
    format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{said}</text>\n")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A page of the chart, its figures, and what went wrong.
pub(super) fn page(report: &Report, cluster: &str, chart: &str) -> String {
    let title = escaped(&format!("hecate: {}", verdict(report)));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>{PAGE_STYLE}</style>\n\
         </head>\n<body>\n<h1>Would it be dark in time, and run again?</h1>\n<p>{}. Pace of steps: {}.</p>\n{chart}",
        escaped(cluster),
        escaped(&learned(report)),
    );
    let rows = distributions(report)
        .into_iter()
        .map(|(name, all)| vec![name.to_owned(), spoken(all.p5), spoken(all.p50), spoken(all.p95), spoken(all.max)]);
    page += &table(&["", "p5", "p50", "p95", "max"], rows);
    for short in &report.shortfalls {
        page += &format!(
            "<p>The battery: {}. So {}. What to do: {}.</p>\n",
            escaped(&short.said),
            escaped(&short.means),
            escaped(&short.hint)
        );
    }
    let rows = report.slowest.iter().map(|it| vec![it.step.clone(), it.target.clone(), spoken(it.time)]);
    page += "<h2>Slowest steps</h2>\n";
    page += &table(&["step", "target", "p95"], rows);
    if !report.failures.is_empty() {
        let rows = report.failures.iter().map(|it| vec![it.seed.to_string(), spoken(it.after), it.why.clone()]);
        page += "<h2>What went wrong</h2>\n";
        page += &table(&["seed", "after", "what"], rows);
    }
    page + "</body>\n</html>\n"
}

fn table(headings: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let row = |cell: &str, values: Vec<String>| {
        let cells: String = values.iter().map(|it| format!("<{cell}>{}</{cell}>", escaped(it))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let head = row("th", headings.iter().map(|it| (*it).to_owned()).collect());
    let body: String = rows.map(|values| row("td", values)).collect();
    format!("<table>\n{head}{body}</table>\n")
}

//! How long it took until all was dark, as a histogram: in the terminal here, as SVG beside.

use std::time::Duration;

use crate::simulate::rehearsal::{Ending, Quantiles, Report};
use crate::status::render::{Palette, Tone};

/// Widths of a column that a person reads with ease, seconds.
const WIDTHS: [u64; 14] = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800];
/// More columns say no more.
const COLUMNS_MAX: u64 = 18;
/// The longest bar in the terminal, cells.
const BAR: usize = 44;
/// Eighths of a cell.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// Outages by when they ended, those that had to end dark.
#[derive(Debug, PartialEq)]
pub(super) struct Histogram {
    /// Width of a column.
    pub(super) width: Duration,
    /// Where the first one begins.
    pub(super) from: Duration,
    /// Each column.
    pub(super) columns: Vec<Column>,
    /// Whether the last column holds what came later, too.
    pub(super) has_later: bool,
    /// What the batteries held when mains were lost.
    pub(super) battery: Quantiles,
}

/// One column.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Column {
    /// Outages in which all was dark then.
    pub(super) dark: u32,
    /// Outages that went wrong then.
    pub(super) bad: u32,
}

/// How a chart is drawn in the terminal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Its colours.
    pub(super) palette: Palette,
    /// Whether it may be more than ASCII.
    pub(super) is_unicode: bool,
}

impl Histogram {
    /// Of a report; None where no outage had to end dark.
    pub(super) fn of(report: &Report) -> Option<Self> {
        let ended = || report.played.iter().filter(|one| one.ending != Ending::MainsBack);
        let battery = Quantiles::of(ended().map(|one| one.battery))?;
        let dark = Quantiles::of(ended().map(|one| one.ended_after))?;
        // The last twentieth may be far away: an outage in two parts, with hours between them.
        // Far beyond the battery only "later" matters: mains that returned after the nodes were off keep the hecate host up.
        let most = dark.p95.min(battery.p95 * 2).max(battery.p95).as_secs();
        let least = ended().map(|one| one.ended_after).chain([battery.p5]).min()?.as_secs();
        let fits = |width: &&u64| most / **width - least / **width < COLUMNS_MAX;
        let width = WIDTHS.iter().find(fits).copied().unwrap_or(86_400);
        let from = least / width * width;
        let last = (most - from) / width;
        let column = |at: Duration| (at.as_secs() - from) / width;
        let has_later = column(dark.max) > last;
        let count = usize::try_from(last + 1 + u64::from(has_later)).unwrap_or(1);
        let mut columns = vec![Column::default(); count];
        for one in ended() {
            let at = usize::try_from(column(one.ended_after)).unwrap_or(usize::MAX).min(count - 1);
            match one.ending {
                Ending::DarkInTime => columns[at].dark += 1,
                Ending::LostPower | Ending::RuleBroken => columns[at].bad += 1,
                Ending::MainsBack => {}
            }
        }
        let (width, from) = (Duration::from_secs(width), Duration::from_secs(from));
        Some(Self { width, from, columns, has_later, battery })
    }

    /// The highest column.
    pub(super) fn highest(&self) -> u32 {
        self.columns.iter().map(|it| it.dark + it.bad).max().unwrap_or(0).max(1)
    }

    /// Where a column begins.
    pub(super) fn begins(&self, column: usize) -> Duration {
        self.from + self.width * u32::try_from(column).unwrap_or(u32::MAX)
    }

    /// A line a column, with the batteries' runtime beside them.
    pub(super) fn text(&self, look: Look) -> String {
        let mut text = String::from("\ntime from the loss of mains until all was dark, min:s, and number of outages\n");
        let marks = [("p5", self.battery.p5), ("p50", self.battery.p50), ("p95", self.battery.p95)];
        for (number, column) in self.columns.iter().enumerate() {
            let (begins, ends) = (self.begins(number), self.begins(number + 1));
            let here = marks.iter().filter(|(_, at)| (begins..ends).contains(at)).map(|(name, _)| *name);
            let here: Vec<&str> = here.collect();
            let cells = |count: u32| f64::from(count) / f64::from(self.highest()) * BAR as f64;
            let (dark, dark_width) = bar(cells(column.dark), look.is_unicode, "#");
            let (bad, bad_width) = bar(cells(column.bad), look.is_unicode, "x");
            let bars = look.palette.paint(Tone::Good, &dark) + &look.palette.paint(Tone::Bad, &bad);
            let count = match (column.dark, column.bad) {
                (0, 0) => String::new(),
                (dark, 0) => format!(" {dark}"),
                (dark, bad) => format!(" {dark} + {bad} not in time"),
            };
            let is_later = self.has_later && number + 1 == self.columns.len();
            let begins = clock(begins) + if is_later { " on" } else { "   " };
            let line = format!("{begins:>10} {}{bars}{count}", if look.is_unicode { "│" } else { "|" });
            let mark = if here.is_empty() {
                String::new()
            } else {
                let used = dark_width + bad_width + count.chars().count();
                let gap = " ".repeat((BAR + 6).saturating_sub(used).max(1));
                let arrow = if look.is_unicode { "◂" } else { "<" };
                let said = format!("{arrow} battery at full load {}", here.join(", "));
                gap + &look.palette.paint(Tone::Busy, &said)
            };
            text += &format!("{line}{mark}\n");
        }
        text
    }
}

/// A bar so many cells long, and how many cells it takes; what is there is seen.
fn bar(cells: f64, is_unicode: bool, plain: &str) -> (String, usize) {
    if cells <= 0.0 {
        return (String::new(), 0);
    }
    if !is_unicode {
        let cells = (cells.round() as usize).max(1);
        return (plain.repeat(cells), cells);
    }
    let eighths = ((cells * 8.0).round() as usize).max(1);
    let text = "█".repeat(eighths / 8) + EIGHTHS[eighths % 8];
    let width = text.chars().count();
    (text, width)
}

/// `17:30`, minutes and seconds.
pub(super) fn clock(at: Duration) -> String {
    format!("{}:{:02}", at.as_secs() / 60, at.as_secs() % 60)
}

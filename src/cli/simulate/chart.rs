//! How long it took until all was dark, and until all ran again, as histograms: in the terminal here, as SVG beside.

use std::time::Duration;

use crate::simulate::rehearsal::{AgainEnding, Ending, Quantiles, Report};
use crate::status::render::{Palette, Tone};

/// Widths of a column that a person reads with ease, seconds.
const WIDTHS: [u64; 14] = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800];
/// More columns say no more.
const COLUMNS_MAX: u64 = 18;
/// The longest bar in the terminal, cells.
const BAR: usize = 44;
/// Eighths of a cell.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// The question that a histogram answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// Time from the loss of mains until all was dark.
    Dark,
    /// Time from the return of mains until all ran again.
    Again,
}

/// Outages by when something was reached.
#[derive(Debug, PartialEq)]
pub(super) struct Histogram {
    /// Which question it answers.
    pub(super) about: About,
    /// Width of a column.
    pub(super) width: Duration,
    /// Where the first one begins.
    pub(super) from: Duration,
    /// Each column of a time.
    pub(super) columns: Vec<Column>,
    /// Whether the last of them holds what came later, too.
    pub(super) has_later: bool,
    /// Outages that have no time of their own.
    pub(super) beside: Vec<(&'static str, Column)>,
    /// What the batteries held when mains were lost, where that is on the same axis.
    pub(super) battery: Option<Quantiles>,
}

/// One column.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Column {
    /// Outages that went well.
    pub(super) good: u32,
    /// Outages that went wrong.
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

impl About {
    /// What the axis of time is.
    pub(super) fn axis(self) -> &'static str {
        match self {
            About::Dark => "time from the loss of mains until all was dark, min:s",
            About::Again => "time from the return of mains until all ran again, h:min",
        }
    }

    /// What is said of the outages of a column that went wrong.
    pub(super) fn bad(self) -> &'static str {
        match self {
            About::Dark => "not in time",
            About::Again => "not running",
        }
    }

    /// A time on the axis.
    pub(super) fn clock(self, at: Duration) -> String {
        let at = match self {
            About::Dark => at.as_secs(),
            About::Again => at.as_secs() / 60,
        };
        format!("{}:{:02}", at / 60, at % 60)
    }
}

impl Histogram {
    /// When all was dark; None where no outage had to end dark.
    pub(super) fn dark(report: &Report) -> Option<Self> {
        let ended = || report.played.iter().filter(|one| one.ending != Ending::MainsBack);
        let battery = Quantiles::of(ended().map(|one| one.battery))?;
        let dark = Quantiles::of(ended().map(|one| one.ended_after))?;
        // The last twentieth may be far away: an outage in two parts, with hours between them.
        // Far beyond the battery only "later" matters: mains that returned after the nodes were off keep the hecate host up.
        let most = dark.p95.min(battery.p95 * 2).max(battery.p95);
        let least = ended().map(|one| one.ended_after).chain([battery.p5]).min()?;
        let mut histogram = Self::empty(About::Dark, least, most, dark.max);
        histogram.battery = Some(battery);
        for one in ended() {
            let column = histogram.column(one.ended_after);
            match one.ending {
                Ending::DarkInTime => column.good += 1,
                Ending::LostPower | Ending::RuleBroken => column.bad += 1,
                Ending::MainsBack => {}
            }
        }
        Some(histogram)
    }

    /// When all ran again; None where none of them had to.
    pub(super) fn again(report: &Report) -> Option<Self> {
        let count = |ending| report.played.iter().filter(|one| one.again.ending == ending).count();
        let [by_hand, never] =
            [AgainEnding::ByHand, AgainEnding::StaysDark].map(|it| u32::try_from(count(it)).unwrap_or(u32::MAX));
        let times = || report.played.iter().filter_map(|one| one.again.running_after);
        if times().next().is_none() && by_hand + never == 0 {
            return None;
        }
        let mut histogram = match (times().min(), Quantiles::of(times())) {
            (Some(least), Some(all)) => Self::empty(About::Again, least, all.p95, all.max),
            (_, _) => Self {
                columns: Vec::new(),
                ..Self::empty(About::Again, Duration::ZERO, Duration::ZERO, Duration::ZERO)
            },
        };
        times().for_each(|time| histogram.column(time).good += 1);
        let rows = [("by hand", Column { good: by_hand, bad: 0 }), ("never", Column { good: 0, bad: never })];
        histogram.beside = rows.into_iter().filter(|(_, it)| it.good + it.bad > 0).collect();
        Some(histogram)
    }

    fn empty(about: About, least: Duration, most: Duration, latest: Duration) -> Self {
        let (least, most) = (least.as_secs(), most.as_secs());
        let fits = |width: &&u64| most / **width - least / **width < COLUMNS_MAX;
        let width = WIDTHS.iter().find(fits).copied().unwrap_or(86_400);
        let from = least / width * width;
        let last = (most - from) / width;
        let has_later = (latest.as_secs().max(from) - from) / width > last;
        let count = usize::try_from(last + 1 + u64::from(has_later)).unwrap_or(1);
        Self {
            about,
            width: Duration::from_secs(width),
            from: Duration::from_secs(from),
            columns: vec![Column::default(); count],
            has_later,
            beside: Vec::new(),
            battery: None,
        }
    }

    fn column(&mut self, at: Duration) -> &mut Column {
        let number = (at.as_secs().saturating_sub(self.from.as_secs())) / self.width.as_secs().max(1);
        let last = self.columns.len() - 1;
        &mut self.columns[usize::try_from(number).unwrap_or(usize::MAX).min(last)]
    }

    /// Every column, those without a time last.
    pub(super) fn all(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().chain(self.beside.iter().map(|(_, column)| column))
    }

    /// The highest column.
    pub(super) fn highest(&self) -> u32 {
        self.all().map(|it| it.good + it.bad).max().unwrap_or(0).max(1)
    }

    /// Where a column begins.
    pub(super) fn begins(&self, column: usize) -> Duration {
        self.from + self.width * u32::try_from(column).unwrap_or(u32::MAX)
    }

    /// A line a column, with the batteries' runtime beside them.
    pub(super) fn text(&self, look: Look) -> String {
        let mut text = format!("\n{}, and number of outages\n", self.about.axis());
        for (number, column) in self.columns.iter().enumerate() {
            let begins = self.about.clock(self.begins(number));
            let is_later = self.has_later && number + 1 == self.columns.len();
            let label = begins + if is_later { " on" } else { "   " };
            text += &self.line(&label, column, &self.mark(number), look);
        }
        for (label, column) in &self.beside {
            text += &self.line(label, column, "", look);
        }
        text
    }

    /// What is said beside a column: which of the batteries' quantiles lies in it.
    fn mark(&self, number: usize) -> String {
        let Some(battery) = self.battery else { return String::new() };
        let span = self.begins(number)..self.begins(number + 1);
        let marks = [("p5", battery.p5), ("p50", battery.p50), ("p95", battery.p95)];
        let here: Vec<&str> = marks.iter().filter(|(_, at)| span.contains(at)).map(|(name, _)| *name).collect();
        if here.is_empty() { String::new() } else { format!("battery at full load {}", here.join(", ")) }
    }

    fn line(&self, label: &str, column: &Column, mark: &str, look: Look) -> String {
        let cells = |count: u32| f64::from(count) / f64::from(self.highest()) * BAR as f64;
        let (good, good_width) = bar(cells(column.good), look.is_unicode, "#");
        let (bad, bad_width) = bar(cells(column.bad), look.is_unicode, "x");
        let bars = look.palette.paint(Tone::Good, &good) + &look.palette.paint(Tone::Bad, &bad);
        let count = match (column.good, column.bad) {
            (0, 0) => String::new(),
            (good, 0) => format!(" {good}"),
            (good, bad) => format!(" {good} + {bad} {}", self.about.bad()),
        };
        let line = format!("{label:>10} {}{bars}{count}", if look.is_unicode { "│" } else { "|" });
        if mark.is_empty() {
            return line + "\n";
        }
        let used = good_width + bad_width + count.chars().count();
        let gap = " ".repeat((BAR + 6).saturating_sub(used).max(1));
        let arrow = if look.is_unicode { "◂" } else { "<" };
        format!("{line}{gap}{}\n", look.palette.paint(Tone::Busy, &format!("{arrow} {mark}")))
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

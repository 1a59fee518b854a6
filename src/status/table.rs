//! Aligned text: columns, bars and colour, as far as the status needs them.
//!
//! Pure. Colour is put on after alignment, so that a table looks the same with and without it.

#![deny(clippy::disallowed_methods)]

use anstyle::{AnsiColor, Style};

/// What a piece of text means; the palette decides how that looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Neither good nor bad.
    #[default]
    Plain,
    /// A heading.
    Strong,
    /// Of little weight.
    Faint,
    /// As it should be.
    Good,
    /// Under way, or odd.
    Busy,
    /// Broken, or in the way.
    Bad,
}

/// Whether tones are shown as colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Palette {
    is_colored: bool,
}

impl Palette {
    /// Text only.
    pub const PLAIN: Self = Self { is_colored: false };
    /// With terminal colours.
    pub const COLORED: Self = Self { is_colored: true };

    /// Puts a tone on a text.
    pub fn paint(self, tone: Tone, text: &str) -> String {
        let style = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Strong => Style::new().bold(),
            Tone::Faint => Style::new().dimmed(),
            Tone::Good => AnsiColor::Green.on_default(),
            Tone::Busy => AnsiColor::Yellow.on_default(),
            Tone::Bad => AnsiColor::Red.on_default().bold(),
        };
        if self.is_colored { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

/// One cell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(crate) fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self { text: text.into(), tone }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::new(Tone::Plain, text)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::new(Tone::Plain, text)
    }
}

/// Draws rows under headings, two blanks between columns, no blanks at the end of a line.
pub(crate) fn draw(headings: &[&str], rows: &[Vec<Cell>], palette: Palette) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.chars().count());
        cells.chain(headings.get(column).map(|heading| heading.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let head: Vec<Cell> = headings.iter().map(|heading| Cell::new(Tone::Faint, *heading)).collect();
    std::iter::once(&head).chain(rows).map(|row| line(row, &widths, palette)).collect()
}

/// `[######----]`: how full something is.
pub(crate) fn bar(part: f64, cells: usize) -> String {
    let share = part.clamp(0.0, 1.0);
    // Rounded down: a bar is only full when the thing is. The epsilon undoes 0.3 x 10 = 2.999...
    let filled = (0..cells).filter(|cell| (*cell as f64 + 1.0) <= share * cells as f64 + 1e-9).count();
    format!("[{}{}]", "#".repeat(filled), "-".repeat(cells - filled))
}

fn line(row: &[Cell], widths: &[usize], palette: Palette) -> String {
    let last = row.iter().rposition(|cell| !cell.text.is_empty()).unwrap_or(0);
    let mut line = String::new();
    for (column, (cell, width)) in row.iter().zip(widths).enumerate().take(last + 1) {
        line.push_str(&palette.paint(cell.tone, &cell.text));
        if column < last {
            line.push_str(&" ".repeat(width - cell.text.chars().count() + 2));
        }
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_full_only_when_the_thing_is() {
        assert_eq!(bar(0.0, 10), "[----------]");
        assert_eq!(bar(0.3, 10), "[###-------]");
        assert_eq!(bar(0.999, 10), "[#########-]");
        assert_eq!(bar(1.0, 10), "[##########]");
        assert_eq!(bar(f64::NAN, 2), "[--]");
    }

    #[test]
    fn colour_does_not_move_columns() {
        let rows = [vec![Cell::new(Tone::Bad, "a"), Cell::from("b")]];
        let plain = draw(&["LONG", "X"], &rows, Palette::PLAIN);
        assert_eq!(plain, "LONG  X\na     b\n");
        let colored = draw(&["LONG", "X"], &rows, Palette::COLORED);
        assert_ne!(colored, plain);
        assert_eq!(anstream::adapter::strip_str(&colored).to_string(), plain);
    }
}

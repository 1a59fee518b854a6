//! The one place that writes to stdout and stderr.
//!
//! A closed pipe ends the command quietly; a stderr that cannot be written to is no reason to fail.

use std::io::{self, ErrorKind, IsTerminal, Write};

use serde::Serialize;

use super::exit::UNEXPECTED;
use super::{ColorChoice, Format, Stop};
use crate::status::render::{Palette, Tone};

/// Where a command's words go.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    data: Palette,
    notes: Palette,
}

impl Output {
    /// Decides on colours for both streams.
    pub fn new(color: ColorChoice) -> Self {
        let palette = |is_terminal: bool| match color {
            ColorChoice::Always => Palette::COLORED,
            ColorChoice::Never => Palette::PLAIN,
            ColorChoice::Auto if is_terminal && terminal_wants_color() => Palette::COLORED,
            ColorChoice::Auto => Palette::PLAIN,
        };
        Self { data: palette(io::stdout().is_terminal()), notes: palette(io::stderr().is_terminal()) }
    }

    /// Colours of stdout.
    pub(super) fn palette(&self) -> Palette {
        self.data
    }

    /// Whether stdout may get more than ASCII: a terminal whose locale is UTF-8.
    pub(super) fn takes_unicode(&self) -> bool {
        let locale =
            ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| std::env::var(name).ok().filter(|it| !it.is_empty()));
        let is_utf8 = locale.is_some_and(|it| it.to_ascii_lowercase().replace('-', "").contains("utf8"));
        io::stdout().is_terminal() && is_utf8
    }

    /// Prints data to stdout.
    pub(super) fn data(&self, text: &str) -> Result<(), Stop> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(()),
            Err(failure) if failure.kind() == ErrorKind::BrokenPipe => Err(Stop::ClosedPipe),
            Err(failure) => Err(Stop::failed(UNEXPECTED, anyhow::Error::new(failure).context("write to stdout"))),
        }
    }

    /// Prints a value for machines to stdout; `table` draws it for people.
    pub(super) fn value<T: Serialize>(
        &self,
        format: Format,
        value: &T,
        table: impl FnOnce() -> String,
    ) -> Result<(), Stop> {
        let encode = |failure: anyhow::Error| Stop::failed(UNEXPECTED, failure.context("encode the output"));
        let text = match format {
            Format::Table => table(),
            Format::Json => {
                let text = serde_json::to_string_pretty(value).map_err(|failure| encode(failure.into()))?;
                format!("{text}\n")
            }
            Format::Yaml => {
                // By way of JSON, so that both have one shape: serde_yaml writes enums with values as `!tags`.
                let value = serde_json::to_value(value).map_err(|failure| encode(failure.into()))?;
                serde_yaml::to_string(&value).map_err(|failure| encode(failure.into()))?
            }
        };
        self.data(&text)
    }

    /// Says something on stderr.
    pub fn note(&self, text: &str) {
        // Nobody is left to be told when stderr is closed.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Says something on stderr under a label.
    pub fn label(&self, tone: Tone, label: &str, text: &str) {
        self.note(&format!("{} {text}", self.notes.paint(tone, &format!("{label}:"))));
    }

    /// Warns on stderr.
    pub(super) fn warn(&self, text: &str) {
        self.label(Tone::Busy, "warning", text);
    }

    /// Draws a line over the last one on stderr, where that is a terminal; says whether it is one.
    pub(super) fn redraw(&self, line: &str) -> bool {
        let stderr = io::stderr();
        if !stderr.is_terminal() {
            return false;
        }
        let width = terminal_width();
        let shown: String = line.chars().take(width.saturating_sub(1)).collect();
        let mut stderr = stderr.lock();
        let _ = write!(stderr, "\r\x1b[2K{shown}").and_then(|()| stderr.flush());
        true
    }
}

/// <https://no-color.org>: set and not empty means no colour.
fn terminal_wants_color() -> bool {
    let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    !is_refused && !is_dumb
}

fn terminal_width() -> usize {
    rustix::termios::tcgetwinsize(io::stderr())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|w| *w > 0)
        .unwrap_or(80)
}

//! What is foreseen, for people: tables that can be read in 60 columns.
//!
//! Pure.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::checks::{Check, CheckResult};
use super::outages::{Back, Foreseen, Goes, HostFate};
use crate::status::diff::spoken;
use crate::status::table::{Cell, Palette, Tone, draw};

/// Columns for the names of hosts; with the others the table has 60.
const NAMES_WIDTH: usize = 28;
/// Columns for a check's text.
const TEXT_WIDTH: usize = 76;

/// What each word of the tables means.
const LEGEND: [(&str, &str); 9] = [
    ("BEFORE", "mains are back before the UPS cut its output"),
    ("AFTER", "they are back later, or the battery was empty"),
    ("off", "hecate powers it off"),
    ("stopped", "hecate stops k3s there, and leaves it on"),
    ("left", "hecate may not command it; its power ends"),
    ("wake", "hecate switches it on"),
    ("cut", "hecate has the UPS cut its load; it boots on AC"),
    ("on AC", "its power ended; it boots on AC (its firmware)"),
    ("by hand", "somebody switches it on"),
];

/// The outages, each as a table.
pub fn outages(all: &[Foreseen], palette: Palette) -> String {
    let mut text = String::new();
    for one in all {
        text += &format!("{}\n{}\n", palette.paint(Tone::Strong, &heading(one, all.len())), table(one, palette));
    }
    if all.is_empty() {
        return text;
    }
    let words: BTreeSet<&str> = all.iter().flat_map(|one| &one.hosts).flat_map(words).collect();
    for (word, means) in LEGEND.iter().filter(|(word, _)| words.contains(word)) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{word:<8} {means}");
    }
    if all.iter().any(Foreseen::is_own_host_by_hand) {
        text += "While the hecate host is off, nothing is woken or started.\n";
    }
    text
}

fn heading(one: &Foreseen, outages: usize) -> String {
    let names: Vec<&str> = one.upses.iter().map(|ups| ups.as_str()).collect();
    match names.as_slice() {
        [name] => format!("an outage of UPS {name}"),
        _ if outages > 1 => "an outage of all UPSes".to_owned(),
        _ => format!("an outage of {}", names.join(", ")),
    }
}

/// One row for all hosts that fare alike, in the order of the inventory.
fn table(one: &Foreseen, palette: Palette) -> String {
    let mut groups: Vec<(&HostFate, Vec<String>)> = Vec::new();
    for host in &one.hosts {
        let fares = |other: &HostFate| {
            (other.goes, other.before_cut, other.after_cut) == (host.goes, host.before_cut, host.after_cut)
        };
        match groups.iter_mut().find(|(other, _)| fares(other)) {
            Some((_, names)) => names.push(name(host)),
            None => groups.push((host, vec![name(host)])),
        }
    }
    let mut rows = Vec::new();
    for (host, names) in groups {
        let lines = listed(&names, NAMES_WIDTH);
        for (number, line) in lines.into_iter().enumerate() {
            let mut row = vec![Cell::from(line)];
            if number == 0 {
                row.extend([goes(host.goes), back(host.before_cut), back(host.after_cut)].map(cell));
            }
            rows.push(row);
        }
    }
    draw(&["HOSTS", "GOES", "BEFORE", "AFTER"], &rows, palette)
}

fn name(host: &HostFate) -> String {
    match (&host.node, host.is_own) {
        (Some(node), false) => node.to_string(),
        (Some(node), true) => format!("{node} (hecate)"),
        (None, _) => "hecate's host".to_owned(),
    }
}

/// The words of a row, and those of the headings.
fn words(host: &HostFate) -> [&'static str; 5] {
    ["BEFORE", "AFTER", goes(host.goes), back(host.before_cut), back(host.after_cut)]
}

fn goes(goes: Goes) -> &'static str {
    match goes {
        Goes::RunsOn => "runs on",
        Goes::Stopped => "stopped",
        Goes::Off => "off",
        Goes::Left => "left",
    }
}

fn back(back: Option<Back>) -> &'static str {
    match back {
        None => "-",
        Some(Back::StaysOn) => "stays on",
        Some(Back::Wake) => "wake",
        Some(Back::CutLoad) => "cut",
        Some(Back::OnAc) => "on AC",
        Some(Back::ByHand) => "by hand",
    }
}

/// What somebody should know before an outage stands out.
fn cell(word: &str) -> Cell {
    Cell::new(if matches!(word, "by hand" | "left") { Tone::Busy } else { Tone::Plain }, word)
}

/// The register: a line a check, then what it proves, what was seen and what to do.
pub fn checks(all: &[Check], palette: Palette) -> String {
    let mut text = String::new();
    for check in all {
        let tone = match &check.result {
            CheckResult::Good(_) => Tone::Good,
            CheckResult::Unknown(_) => Tone::Busy,
            CheckResult::Failed(_) => Tone::Bad,
        };
        let age = check.age.map(|age| format!(", {} ago", spoken(age))).unwrap_or_default();
        let word = palette.paint(tone, &format!("{:<7}", check.result.word()));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{word}  {}{age}", check.name);
        for line in wrapped(check.result.evidence(), TEXT_WIDTH - 9) {
            let _ = writeln!(text, "         {line}");
        }
        let _ = writeln!(text, "{}", palette.paint(Tone::Faint, &format!("         proves: {}", check.proves)));
        for (number, line) in wrapped(check.hint.as_deref().unwrap_or_default(), TEXT_WIDTH - 15).iter().enumerate() {
            let label = if number == 0 { "hint:" } else { "" };
            let _ = writeln!(text, "         {label:<5} {line}");
        }
    }
    text
}

/// Names with commas, in lines of at most so many columns.
fn listed(names: &[String], width: usize) -> Vec<String> {
    let last = names.len().saturating_sub(1);
    let each = names.iter().enumerate();
    filled(each.map(|(number, name)| if number < last { format!("{name},") } else { name.clone() }), width)
}

/// Lines of at most so many columns, broken between words.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    filled(text.split_whitespace().map(str::to_owned), width)
}

fn filled(words: impl Iterator<Item = String>, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut().filter(|line| line.chars().count() + 1 + word.chars().count() <= width) {
            Some(line) => {
                line.push(' ');
                line.push_str(&word);
            }
            None => lines.push(word),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::foresee::outages::foresee;
    use crate::simulate::blueprint;

    #[test]
    fn the_tables_are_read_in_sixty_columns() {
        let text = blueprint::text(3, 27);
        let config = Config::parse(&text).expect("it is a cluster").config;
        let text = outages(&foresee(&config), Palette::PLAIN);
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(60), "{widest:?}: {text}");
        assert!(text.contains("worker-27") && text.contains("hecate's host"), "{text}");
    }

    #[test]
    fn hosts_that_fare_alike_share_a_row() {
        let config = blueprint::config(3, 2).expect("the blueprint is a cluster");
        let text = outages(&foresee(&config), Palette::PLAIN);
        let rows: Vec<&str> =
            text.lines().filter(|line| line.contains("by hand  ") && line.contains("on AC")).collect();
        assert_eq!(rows.len(), 1, "{text}");
        assert!(rows[0].starts_with("cp-1, cp-2, cp-3, worker-1, "), "{text}");
    }

    #[test]
    fn a_check_says_what_it_proves_what_was_seen_and_what_to_do() {
        let check = Check {
            name: "battery-above-gate/pyrphoros".to_owned(),
            proves: "it is enough".to_owned(),
            age: Some(std::time::Duration::from_secs(3)),
            result: CheckResult::Failed("it is not ".repeat(20)),
            hint: Some("take a larger one ".repeat(8)),
        };
        let text = checks(&[check], Palette::PLAIN);
        assert!(text.starts_with("failed   battery-above-gate/pyrphoros, 3 s ago\n         it is not"), "{text}");
        assert!(text.contains("proves: it is enough") && text.contains("hint: take a larger one"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 76), "{text}");
    }
}

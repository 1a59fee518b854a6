//! `hecate simulate SCENARIO` and `hecate simulate list`: incidents that somebody reported, played to their end.

use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use crate::cli::exit::{CONFIGURATION, CONVERGED, PLAYED_BADLY, USAGE};
use crate::cli::{Context, Format, Stop};
use crate::config::did_you_mean;
use crate::simulate::scenario::built_in::{BUILT_IN, BuiltIn, find};
use crate::simulate::scenario::{Manner, Played, Scenario};
use crate::status::table::{Cell, draw};

/// A line of the list.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    about: String,
    incidents: Vec<String>,
}

/// Lists the built-in scenarios.
pub(super) fn list(output: Format, context: &Context<'_>) -> Result<u8, Stop> {
    let row = |one: &BuiltIn| -> anyhow::Result<Row> {
        let scenario = Scenario::parse(one.text).with_context(|| format!("read the built-in scenario {}", one.name))?;
        Ok(Row { name: one.name, about: scenario.about, incidents: scenario.incidents })
    };
    let rows: Vec<Row> = BUILT_IN.iter().map(row).collect::<anyhow::Result<_>>()?;
    context.output.value(output, &rows, || {
        let cells = rows.iter().map(|row| {
            vec![Cell::from(row.name), Cell::from(row.about.as_str()), Cell::from(row.incidents.join(", "))]
        });
        draw(&["NAME", "ABOUT", "INCIDENTS"], &cells.collect::<Vec<_>>(), context.output.palette())
    })?;
    Ok(CONVERGED)
}

/// Plays one.
pub(super) fn run(name: &str, output: Format, context: &Context<'_>) -> Result<u8, Stop> {
    let text = text(name)?;
    let scenario = Scenario::parse(&text).map_err(|error| {
        for line in error.lines() {
            context.output.note(&format!("{name}: {line}"));
        }
        Stop::saying(CONFIGURATION, format!("understand the scenario {name}"))
    })?;
    let played = scenario.play().context("build the scenario's cluster")?;
    context.output.value(output, &played, || told(&played))?;
    if played.is_good() { Ok(CONVERGED) } else { Err(Stop::saying(PLAYED_BADLY, broken(name, &played))) }
}

/// The text of a built-in scenario, or of a file.
fn text(name: &str) -> Result<String, Stop> {
    if let Some(one) = find(name) {
        return Ok(one.text.to_owned());
    }
    let is_path = name.contains('/') || name.contains('.');
    if !is_path && !Path::new(name).exists() {
        let names = BUILT_IN.iter().map(|one| one.name).chain(["power-cut", "list"]);
        let hint = did_you_mean(name, names);
        let hint = hint.unwrap_or_else(|| "`hecate simulate list` names the built-in ones".to_owned());
        return Err(Stop::saying(USAGE, format!("there is no scenario or file \"{name}\"")).with_hint(hint));
    }
    std::fs::read_to_string(name)
        .with_context(|| format!("read the scenario {name}"))
        .map_err(|failure| Stop::failed(USAGE, failure))
}

fn told(played: &Played) -> String {
    format!("{} ({})\n\n{played}", played.about, played.incidents.join(", "))
}

fn broken(name: &str, played: &Played) -> String {
    let claims = played.assertions.iter().filter(|it| !it.holds);
    let count = claims.clone().count();
    let wrong = claims.clone().any(|it| it.manner == Manner::Never);
    let rules = played.findings.len();
    let act = if wrong {
        format!("; what must never happen did: {}", played.wrong.replace('\n', " "))
    } else {
        String::new()
    };
    format!("{name}: {count} of {} claims and {rules} rules are broken{act}", played.assertions.len())
}

//! The status as text for people: the whole of it, one line of progress, and the plan of a dry-run.
//!
//! Pure. Readable without colour; the same value is printed as JSON for machines.

#![deny(clippy::disallowed_methods)]

use std::fmt::Write;
use std::time::Duration;

use super::diff::{Direction, Verdict, as_desired, because, headline, is, obeyed, phase, spoken, stages};
use super::table::{Cell, bar, draw};
pub use super::table::{Palette, Tone};
use super::{Actor, BatteryRow, NodeRow, Status, UpsRow, UpsVerdict};
use crate::desired::{DeclaredHealth, Held, Hold};
use crate::model::{NodeName, UpsName};
use crate::plan::blocker::{Blocker, Wait};
use crate::plan::step::{Outcome, Step};

/// Steps to come that the status shows; a dry-run shows them all.
const FORECAST_SHOWN: usize = 8;
/// Steps that ended which the status shows.
const LAST_STEPS_SHOWN: usize = 8;

/// How the status is drawn.
#[derive(Clone, Copy, Debug, Default)]
pub struct View {
    /// Colours.
    pub palette: Palette,
    /// How old the status is, where it was published by somebody else.
    pub age: Option<Duration>,
}

/// The whole status.
pub fn status(status: &Status, view: View) -> String {
    let palette = view.palette;
    let mut text = format!("{}\n\n", palette.paint(tone(Verdict::of(status)), &headline(status)));
    for (label, value) in facts(status, view) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}{value}", palette.paint(Tone::Faint, &format!("{label:<11}")));
    }
    if !status.upses.is_empty() {
        text.push('\n');
        text.push_str(&upses(status, palette));
        text.push_str(&batteries(status, palette));
    }
    if !status.nodes.is_empty() {
        text.push('\n');
        text.push_str(&nodes(status, palette));
    }
    text.push_str(&reasons(status, palette));
    let ahead: Vec<String> = status.plan.forecast.iter().take(FORECAST_SHOWN).map(Step::to_string).collect();
    let more = status.plan.forecast.len().saturating_sub(FORECAST_SHOWN);
    let more = (more > 0).then(|| format!("... and {more} more"));
    section(&mut text, palette, "ahead", Tone::Strong, ahead.into_iter().chain(more));
    let last = status.last_steps.iter().take(LAST_STEPS_SHOWN).map(|last| {
        let at = last.at.strftime("%H:%M:%SZ");
        format!("{at}  {}: {}, took {}", last.step, outcome(&last.outcome), spoken(last.took))
    });
    section(&mut text, palette, "done last", Tone::Strong, last);
    text
}

/// One line for somebody who follows a convergence.
pub fn progress(status: &Status) -> String {
    let (done, all) = as_desired(status);
    let share = if all == 0 { 0.0 } else { done as f64 / all as f64 };
    let mut line = match Verdict::of(status) {
        Verdict::Converged => "converged".to_owned(),
        Verdict::Blocked => "blocked".to_owned(),
        Verdict::UnderWay(Direction::Up) => "coming up".to_owned(),
        Verdict::UnderWay(Direction::Down) => "going down".to_owned(),
    };
    let _ = write!(line, ": {} {} {done}/{all} nodes", obeyed(&status.effective), bar(share, 10));
    if let Some(left) = status.effective.time_left() {
        let _ = write!(line, " | {} left", spoken(left));
    }
    let busy: Vec<String> = status.plan.running.iter().map(Step::to_string).collect();
    let waits = status.plan.waits.first().map(|wait| format!("waiting for {}", wait.reason));
    let blocked = status.plan.blockers.first().map(Blocker::to_string);
    for part in [(!busy.is_empty()).then(|| busy.join(", ")), blocked, waits].into_iter().flatten() {
        let _ = write!(line, " | {part}");
    }
    line
}

/// What a dry-run shows: what would begin now, what holds it up, and everything that would follow.
pub fn plan(status: &Status, palette: Palette) -> String {
    let what = format!("{} because {}", obeyed(&status.effective), because(status.effective.because()));
    let mut text = format!("{}\n", palette.paint(Tone::Strong, &format!("plan for {what}")));
    if status.is_converged {
        text.push_str("nothing to do: reality is as desired\n");
    }
    text.push_str(&reasons(status, palette));
    let numbered = status.plan.forecast.iter().enumerate();
    let ahead = numbered.map(|(number, step)| format!("{:>3}. {step}", number + 1));
    section(&mut text, palette, "everything that is to come, in order", Tone::Strong, ahead);
    let budget = &status.budget;
    let needs = format!(
        "a full shutdown takes {} ({}), an emergency one {} ({})",
        spoken(budget.full),
        samples(budget.full_samples),
        spoken(budget.emergency),
        samples(budget.emergency_samples)
    );
    let slow = budget
        .slowest
        .iter()
        .map(|it| format!("slow: {} {} {} s ({})", it.step, it.target, it.time.as_secs(), samples(it.samples)));
    section(&mut text, palette, "budget", Tone::Strong, [needs].into_iter().chain(slow));
    text
}

/// Blockers, waits, what runs and what starts: everything that says why it is as it is.
pub fn reasons(status: &Status, palette: Palette) -> String {
    let plan = &status.plan;
    let mut text = String::new();
    let blockers = plan.blockers.iter().flat_map(|blocker| {
        let said = format!("{}: {blocker}", blocker.name());
        [Some(said), blocker.hint().map(|hint| format!("  hint: {hint}"))].into_iter().flatten()
    });
    section(&mut text, palette, "blockers", Tone::Bad, blockers);
    section(&mut text, palette, "waiting for", Tone::Busy, plan.waits.iter().map(wait));
    section(&mut text, palette, "running", Tone::Busy, plan.running.iter().map(Step::to_string));
    let cancelled = plan.cancel.iter().map(|target| format!("the step on {target}; what it began goes on there"));
    section(&mut text, palette, "no longer waited for", Tone::Busy, cancelled);
    let next = plan
        .start
        .iter()
        .map(|planned| format!("{} (limit {}), because {}", planned.step, spoken(planned.limit), planned.because));
    section(&mut text, palette, "next", Tone::Strong, next);
    let warnings = plan.warnings.iter().map(|warning| format!("{}: {warning}", warning.name()));
    section(&mut text, palette, "warnings", Tone::Busy, warnings);
    text
}

/// The tone of a verdict.
pub fn tone(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Converged => Tone::Good,
        Verdict::UnderWay(_) => Tone::Busy,
        Verdict::Blocked => Tone::Bad,
    }
}

/// A hold, in words.
pub fn hold(hold: &Hold) -> String {
    let what = match &hold.what {
        Held::Cluster => "everything but the UPS policy is paused".to_owned(),
        Held::Node(node) => format!("{node} is paused"),
        Held::Ups(ups) => format!("UPS {ups} is ignored"),
    };
    let why = if hold.reason.is_empty() { String::new() } else { format!(": {}", hold.reason) };
    format!("{what} by {} until {}{why}", hold.set_by, moment(hold.expires_at))
}

fn facts(status: &Status, view: View) -> Vec<(&'static str, String)> {
    let spec = &status.declared.spec;
    let why = if spec.reason.is_empty() { String::new() } else { format!(": {}", spec.reason) };
    let desired = format!("{}, set by {} at {}{why}", spec.state, spec.set_by, moment(spec.set_at));
    let mut facts = vec![("desired", desired)];
    match &status.declared_health {
        DeclaredHealth::Good => {}
        DeclaredHealth::LastGood { why } => {
            facts.push(("", format!("desired.yaml cannot be read, this is the last good one: {why}")));
        }
        DeclaredHealth::Lost => facts.push(("", "desired.yaml is lost; nothing is obeyed until it is set".to_owned())),
    }
    for one in &status.declared.overrides {
        let path = format!("{} ({})", one.state, one.path);
        facts.push(("override", format!("{path} by {} since {}: {}", one.source, moment(one.set_at), one.reason)));
    }
    facts.push(("effective", effective(status)));
    if let Some(episode) = &status.episode {
        let phase =
            episode.phases.keys().next_back().map(|last| format!(", phase {}", phase(*last))).unwrap_or_default();
        let began = moment(episode.began.wall);
        let ended = episode.converged.as_ref().map(|at| format!(", converged {}", moment(at.wall)));
        let ended = ended.unwrap_or(phase);
        facts.push(("episode", format!("{}, since {began}{ended}: {}", episode.run, episode.trigger)));
    }
    facts.extend(power(status));
    facts.extend(status.declared.holds.iter().map(|one| ("hold", hold(one))));
    facts.push(("acts", actor(status, view.age)));
    facts.push(("budget", budget(status)));
    let problems = [("config", &status.config_problem), ("disk", &status.write_problem)];
    facts.extend(problems.into_iter().filter_map(|(label, problem)| Some((label, problem.clone()?))));
    facts
}

/// What was done to the power of hosts, and what that means for mains that return.
fn power(status: &Status) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if !status.past_commit_point.is_empty() {
        let told = status.past_commit_point.iter().map(|(node, at)| format!("{node} at {}", at.strftime("%H:%M:%SZ")));
        let told = told.collect::<Vec<_>>().join(", ");
        facts.push(("committed", format!("told to power off, past the commit point, not undone: {told}")));
    }
    for (ups, at) in &status.load_cuts {
        facts.push((
            "cut",
            format!("UPS {ups} was told at {} to cut its load and to return with the mains", moment(*at)),
        ));
    }
    if !status.was_up.is_empty() {
        let names = status.was_up.iter().map(NodeName::as_str).collect::<Vec<_>>().join(", ");
        facts.push(("was up", format!("{names}, when the descent began")));
    }
    facts
}

fn effective(status: &Status) -> String {
    let effective = &status.effective;
    let mut text = obeyed(effective);
    if effective.is_on_battery() {
        text.push_str(", on battery");
    }
    if let Some(left) = effective.time_left() {
        let _ = write!(text, ", {} left", spoken(left));
    }
    if let Some(why) = effective.hold_descent() {
        let _ = write!(text, ", no further step down: {why}");
    }
    text
}

fn actor(status: &Status, age: Option<Duration>) -> String {
    let age = age.map(|age| format!(", {} ago", spoken(age))).unwrap_or_default();
    match status.actor {
        Actor::Daemon { pid } => format!("the daemon (pid {pid}), pass {}{age}", status.pass),
        Actor::Foreground { pid } => format!("a foreground command (pid {pid}), pass {}{age}", status.pass),
        Actor::Nobody => "nobody: no daemon runs, this is one look that changes nothing".to_owned(),
    }
}

fn budget(status: &Status) -> String {
    let budget = &status.budget;
    let path = |name: &str, needs: Duration, count| {
        format!("the {name} path needs {} s ({})", needs.as_secs(), samples(count))
    };
    let full = path("full", budget.needs_full, budget.full_samples);
    let emergency = path("emergency", budget.needs_emergency, budget.emergency_samples);
    let has = budget
        .has
        .map_or_else(|| "runtime unknown".to_owned(), |has| format!("the batteries have {} s", has.as_secs()));
    let trigger = budget.trigger_at.as_secs();
    let needs = match (status.effective.is_override(), status.effective.path()) {
        (true, crate::model::Path::Emergency) => emergency,
        (true | false, _) => format!("{full}, {emergency}"),
    };
    format!("{needs}; {has}; acts at {trigger} s")
}

fn samples(count: usize) -> String {
    match count {
        0 => "configured".to_owned(),
        1 => "learned from 1 run".to_owned(),
        more => format!("learned from {more} runs"),
    }
}

fn upses(status: &Status, palette: Palette) -> String {
    let row = |(name, row): (&UpsName, &UpsRow)| {
        let charge = row
            .charge_percent
            .map_or_else(|| "?".to_owned(), |percent| format!("{} {percent:>3.0} %", bar(percent / 100.0, 10)));
        let known = |value: Option<String>| value.unwrap_or_else(|| "?".to_owned());
        let (tone, verdict) = match row.verdict {
            UpsVerdict::OnLine => (Tone::Good, "on line"),
            UpsVerdict::Unknown => (Tone::Busy, "unknown"),
            UpsVerdict::OnBattery => (Tone::Busy, "on battery"),
            UpsVerdict::Critical => (Tone::Bad, "critical"),
            UpsVerdict::Ignored => (Tone::Busy, "ignored"),
        };
        let since = row.on_battery_for.map(|time| format!(" for {}", spoken(time))).unwrap_or_default();
        vec![
            Cell::from(name.as_str()),
            Cell::from(row.status.as_str()),
            Cell::from(charge),
            Cell::from(known(row.runtime.map(|runtime| format!("{} s", runtime.as_secs())))),
            Cell::from(known(row.load_percent.map(|percent| format!("{percent:.0} %")))),
            Cell::new(tone, format!("{verdict}{since}")),
            Cell::new(Tone::Faint, row.evidence.as_str()),
        ]
    };
    let rows: Vec<Vec<Cell>> = status.upses.iter().map(row).collect();
    draw(&["UPS", "STATUS", "CHARGE", "RUNTIME", "LOAD", "VERDICT", "WHY"], &rows, palette)
}

/// What is known of the batteries; nothing, where nothing is.
fn batteries(status: &Status, palette: Palette) -> String {
    let row = |(name, battery): (&UpsName, &BatteryRow)| {
        let seconds = |time: Duration| format!("{} s", time.as_secs());
        let at_load = |load: Option<f64>| load.map(|load| format!(" at {load:.0} %")).unwrap_or_default();
        let record = match (&battery.record, battery.watched_for) {
            (Some(record), _) => {
                let runtime = record.runtime.map_or_else(|| "no runtime".to_owned(), seconds);
                Cell::from(format!("{runtime}{}, {}", at_load(record.load_percent), dated(record.at, record.age)))
            }
            (None, Some(watched)) => Cell::new(Tone::Faint, format!("not yet, {} of calm so far", spoken(watched))),
            (None, None) => Cell::new(Tone::Faint, "not yet"),
        };
        let proof = match &battery.proof {
            Some(proof) => {
                let fell = proof.fall_percent.map_or_else(|| "to its end".to_owned(), |fell| format!("by {fell:.0} %"));
                let (tone, old) =
                    if proof.is_recent { (Tone::Plain, "") } else { (Tone::Busy, ", too old to rely on") };
                let when = dated(proof.at, proof.age);
                let gave = seconds(proof.lasted);
                Cell::new(tone, format!("{gave}{} {fell}, {when}{old}", at_load(proof.load_percent)))
            }
            None => Cell::new(Tone::Faint, "nothing yet"),
        };
        let learned = if battery.is_recharge_learned { "" } else { " (configured)" };
        vec![
            Cell::from(name.as_str()),
            Cell::from(battery.full_runtime.map_or_else(|| "?".to_owned(), seconds)),
            record,
            proof,
            Cell::from(format!("{:.0} %", battery.own_count_percent)),
            Cell::from(format!("{}{learned}", spoken(battery.recharge))),
        ]
    };
    let known = status.upses.iter().filter_map(|(name, row)| Some((name, row.battery.as_ref()?)));
    let rows: Vec<Vec<Cell>> = known.map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    let drawn = draw(&["BATTERY", "FULL GIVES", "SAYS IN CALM", "PROVED", "OWN COUNT", "FILLS IN"], &rows, palette);
    format!("\n{drawn}")
}

/// A day, and how long ago that is.
fn dated(at: jiff::Timestamp, age: Duration) -> String {
    let ago = match age.as_secs() / (24 * 3600) {
        0 => spoken(age),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    format!("{} ({ago} ago)", at.strftime("%Y-%m-%d"))
}

fn nodes(status: &Status, palette: Palette) -> String {
    let row = |(name, row): (&NodeName, &NodeRow)| {
        let drawn = stages(row).map(|stage| match stage {
            Some(true) => '#',
            Some(false) => '-',
            None => '?',
        });
        let missing = match (row.is_as_desired, row.missing.is_empty()) {
            (true, _) => Cell::new(Tone::Good, "nothing"),
            (false, true) => Cell::new(Tone::Busy, "?"),
            (false, false) => Cell::new(Tone::Busy, row.missing.as_str()),
        };
        vec![
            Cell::from(name.as_str()),
            Cell::from(row.role.to_string()),
            Cell::from(format!("[{}]", drawn.iter().collect::<String>())),
            Cell::from(row.desired.as_str()),
            Cell::from(is(row)),
            missing,
        ]
    };
    let rows: Vec<Vec<Cell>> = status.nodes.iter().map(row).collect();
    let mut text = draw(&["NODE", "ROLE", "UP", "DESIRED", "IS", "MISSING"], &rows, palette);
    text.push_str(&palette.paint(Tone::Faint, "UP: host, k3s unit, Ready, schedulable; # yes, - no, ? not seen"));
    text.push('\n');
    text
}

fn wait(wait: &Wait) -> String {
    let limit = wait.limit.map(|limit| format!(" of at most {}", spoken(limit))).unwrap_or_default();
    format!("{}: {} ({}{limit})", wait.reason.name(), wait.reason, spoken(wait.since))
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Tried => "tried".to_owned(),
        Outcome::Refused { evidence } => format!("refused by the last look: {evidence}"),
        Outcome::OtherBoot { .. } => format!("refused by the last look: {}", Outcome::OTHER_BOOT),
        Outcome::Failed { why } => format!("failed: {why}"),
        Outcome::DeadlinePassed => "deadline passed, goes on there".to_owned(),
        Outcome::Cancelled => "no longer waited for".to_owned(),
    }
}

fn section(text: &mut String, palette: Palette, title: &str, tone: Tone, lines: impl IntoIterator<Item = String>) {
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_some() {
        let _ = writeln!(text, "\n{}", palette.paint(tone, title));
    }
    for line in lines {
        let _ = writeln!(text, "  {line}");
    }
}

fn moment(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

//! `hecate pause` and `hecate resume`: hold everything, or one node, for a time. The UPS policy is never held.

use clap::Args;
use jiff::SignedDuration;

use super::exit::{CONVERGED, UNEXPECTED, USAGE};
use super::wish::{checked_reason, moment, who};
use super::{Context, Stop};
use crate::config::Config;
use crate::desired::{Held, Hold};
use crate::model::NodeName;
use crate::status::render::hold as said;
use crate::store::Store;

/// A hold that is forgotten must end before it becomes the rule.
const PAUSE_MAX: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Leave the cluster, or one node, alone for a time
///
/// Nothing is started, stopped, cordoned or drained there until the time is over, except by the UPS policy.
#[derive(Debug, Args)]
pub(super) struct PauseArgs {
    /// The node; the whole cluster without one
    #[arg(value_name = "NODE")]
    node: Option<String>,
    /// For how long: 30m, 2h, 1h30m; at most 720h
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    duration: SignedDuration,
    /// Why; shown wherever the pause is
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// End a pause before its time
#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    /// The node; the pause of the whole cluster without one
    #[arg(value_name = "NODE")]
    node: Option<String>,
}

/// Runs `pause`.
pub(super) fn run(args: PauseArgs, context: &Context<'_>) -> Result<u8, Stop> {
    let (store, config) = context.store()?;
    let what = held(args.node, config.as_ref())?;
    hold(context, &store, what, args.duration, args.reason)
}

/// Holds something for a time, and says so.
pub(super) fn hold(
    context: &Context<'_>,
    store: &Store,
    what: Held,
    duration: SignedDuration,
    reason: Option<String>,
) -> Result<u8, Stop> {
    let reason = checked_reason(reason)?;
    let set_at = moment();
    let expires_at = set_at
        .checked_add(duration)
        .map_err(|failure| Stop::failed(UNEXPECTED, anyhow::Error::new(failure).context("add the duration")))?;
    let hold = Hold { what, reason, set_by: who(), set_at, expires_at };
    let text = said(&hold);
    store.set_hold(hold).map_err(|failure| Stop::of_store(failure, "cannot hold that"))?;
    context.output.data(&format!("{text}\n"))?;
    Ok(CONVERGED)
}

/// Runs `resume`.
pub(super) fn run_resume(args: ResumeArgs, context: &Context<'_>) -> Result<u8, Stop> {
    let (store, config) = context.store()?;
    let what = held(args.node, config.as_ref())?;
    release(context, &store, &what)
}

/// Ends a hold before its time, and says so.
pub(super) fn release(context: &Context<'_>, store: &Store, what: &Held) -> Result<u8, Stop> {
    let (name, held) = match what {
        Held::Cluster => ("the cluster".to_owned(), "paused"),
        Held::Node(node) => (node.to_string(), "paused"),
        Held::Ups(ups) => (format!("UPS {ups}"), "ignored"),
    };
    match store.clear_hold(what).map_err(|failure| Stop::of_store(failure, "cannot end that"))? {
        true => context.output.data(&format!("{name} is no longer {held}\n"))?,
        false => context.output.note(&format!("{name} was not {held}")),
    }
    Ok(CONVERGED)
}

fn held(node: Option<String>, config: Option<&Config>) -> Result<Held, Stop> {
    let Some(node) = node.map(NodeName::new) else { return Ok(Held::Cluster) };
    match config {
        Some(config) if !config.nodes.contains_key(&node) => {
            let known: Vec<&str> = config.nodes.keys().map(NodeName::as_str).collect();
            let hint = format!("the inventory has {}", known.join(", "));
            Err(Stop::saying(USAGE, format!("there is no node {node} in the inventory")).with_hint(hint))
        }
        Some(_) | None => Ok(Held::Node(node)),
    }
}

pub(super) fn parse_duration(text: &str) -> Result<SignedDuration, String> {
    let duration: SignedDuration =
        text.parse().map_err(|_: jiff::Error| "is no duration; write it as 30m, 8h or 1h30m".to_owned())?;
    if duration <= SignedDuration::ZERO {
        return Err("must be more than nothing".to_owned());
    }
    if duration > PAUSE_MAX {
        return Err(format!("must be at most {} hours", PAUSE_MAX.as_hours()));
    }
    Ok(duration)
}

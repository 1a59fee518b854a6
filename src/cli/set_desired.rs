//! `hecate set-desired`: writes the wish and returns.

use anyhow::Context as _;
use clap::Args;

use super::exit::CONVERGED;
use super::wish::{DownFlags, UpFlags, Wanted, spec};
use super::{Context, Stop};
use crate::model::ClusterState;
use crate::store::{DeclaredFile, SpecSet, Store};

/// Set the desired state of the cluster
///
/// Writes the wish into desired.yaml; a running daemon carries it out. Overrides of the UPS policy stay, and win while
/// they stand. This is also the way to repair a desired.yaml that is lost or cannot be read.
#[derive(Debug, Args)]
pub(super) struct SetDesiredArgs {
    /// The state; `off` means drained-off
    #[arg(value_name = "STATE")]
    state: Wanted,
    /// Why; shown wherever the state is
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    up: UpFlags,
    #[command(flatten)]
    down: DownFlags,
}

/// Runs it.
pub(super) fn run(args: SetDesiredArgs, context: &Context<'_>) -> Result<u8, Stop> {
    let state = ClusterState::from(args.state);
    let spec = spec(state, args.reason, &args.up, &args.down)?;
    let (store, _) = context.store()?;
    store.prepare_state_dir().context("cannot use the state directory")?;
    let set = store.set_spec(spec).map_err(|failure| Stop::of_store(failure, "cannot set the desired state"))?;
    report(&set, &store, context);
    context.output.data(&format!("{state}\n"))?;
    match store.actor() {
        Ok(Some(actor)) => context.output.note(&format!("{actor} carries it out; `hecate status --watch` shows how")),
        Ok(None) => context.output.warn(&format!(
            "no daemon runs, so nothing happens yet; `hecate {} --execute` acts without one",
            if state == ClusterState::Running { "startup" } else { "shutdown" }
        )),
        Err(_) => context.output.note("`hecate status` shows what comes of it"),
    }
    Ok(CONVERGED)
}

/// Says what else became of the file.
pub(super) fn report(set: &SpecSet, store: &Store, context: &Context<'_>) {
    if let Some(bad) = &set.bad_kept_as {
        context.output.warn(&format!("the file could not be read and is kept as {}", bad.display()));
    }
    if set.recovered_from_previous {
        context.output.warn("overrides and holds come from the previous version of the file");
    }
    if let DeclaredFile::Good(declared) = store.read_declared() {
        for one in &declared.overrides {
            let what = format!("{} ({}) by {}: {}", one.state, one.path, one.source, one.reason);
            context.output.warn(&format!("an override stands and the stricter state rules: {what}"));
        }
    }
}

//! `hecate startup`, and what it shares with `hecate shutdown`: a wish, shown as a plan or written and followed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::sync::watch;

use super::context::block_on;
use super::exit::{BLOCKED, UNEXPECTED, code_of};
use super::wish::{DownFlags, UpFlags, spec};
use super::{Context, Format, Stop, follow, set_desired};
use crate::config::Config;
use crate::desired::Spec;
use crate::model::ClusterState;
use crate::reconcile::{self, Loop};
use crate::serve::Metrics;
use crate::status::render;
use crate::store::{ActorKind, ActorLock, DeclaredFile, HeldBy, Store, StoreError};

/// How long a dry-run looks before it plans.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// Bring the cluster up, and follow it until it serves
///
/// Without --execute it prints the plan and changes nothing. With it, it sets the desired state to running and follows
/// the daemon; where no daemon runs, it acts itself.
#[derive(Debug, Args)]
pub(super) struct StartupArgs {
    /// Do it, instead of printing the plan
    #[arg(long)]
    execute: bool,
    /// Why; shown wherever the state is
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    flags: UpFlags,
    /// How a plan is printed
    #[arg(short, long, value_name = "FORMAT", default_value = "table", conflicts_with = "execute")]
    output: Format,
}

/// Runs it.
pub(super) fn run(args: StartupArgs, context: &Context<'_>) -> Result<u8, Stop> {
    let spec = spec(ClusterState::Running, args.reason, &args.flags, &DownFlags::default())?;
    let config = context.config()?;
    let store = context.store_of(&config);
    if !args.execute {
        return dry_run(spec, &config, &store, args.output, context);
    }
    refuse_under_override(&store)?;
    execute(spec, config, &store, context)
}

/// Prints what would happen; writes nothing.
pub(super) fn dry_run(
    spec: Spec,
    config: &Config,
    store: &Store,
    format: Format,
    context: &Context<'_>,
) -> Result<u8, Stop> {
    let status = block_on(async {
        let look = reconcile::observe_once(config, store, Some(spec), LOOK_LIMIT).await;
        look.context("cannot look at the cluster").map_err(Stop::from)
    })?;
    context.output.value(format, &status, || render::plan(&status, context.output.palette()))?;
    context.output.note("dry run: nothing was changed; --execute does it");
    Ok(code_of(&status))
}

/// Writes the wish and follows it to its end.
pub(super) fn execute(spec: Spec, config: Config, store: &Store, context: &Context<'_>) -> Result<u8, Stop> {
    follow::prepare(store)?;
    match lock_or_daemon(store)? {
        Actor::Daemon(held_by) => {
            context.output.note(&format!("{held_by} acts; following it (Ctrl-C only ends the following)"));
            declare(&spec, store, context)?;
            block_on(follow::daemon(store, spec.set_at, spec.state, context.output))
        }
        Actor::Own(lock) => {
            context.output.note("no daemon runs; acting in the foreground (Ctrl-C ends it)");
            declare(&spec, store, context)?;
            block_on(act(spec, config, lock, store, context))
        }
    }
}

/// A bring-up against the UPS policy's or a peer's word is refused by name.
fn refuse_under_override(store: &Store) -> Result<(), Stop> {
    let DeclaredFile::Good(declared) = store.read_declared() else { return Ok(()) };
    match declared.strictest() {
        Some(one) => {
            let what = format!("{} demands {} ({}): {}", one.source, one.state, one.path, one.reason);
            Err(Stop::saying(BLOCKED, format!("a start is refused while an override stands: {what}"))
                .with_hint("`hecate set-desired running` sets the wish for afterwards"))
        }
        None => Ok(()),
    }
}

enum Actor {
    Daemon(HeldBy),
    Own(ActorLock),
}

fn lock_or_daemon(store: &Store) -> Result<Actor, Stop> {
    match store.lock_actor(ActorKind::Foreground) {
        Ok(lock) => Ok(Actor::Own(lock)),
        Err(StoreError::ActorHeld { held_by, .. }) if held_by.kind == Some(ActorKind::Foreground) => {
            Err(Stop::saying(BLOCKED, format!("{held_by} is at work"))
                .with_hint("wait for it, or end it with Ctrl-C where it runs"))
        }
        Err(StoreError::ActorHeld { held_by, .. }) => Ok(Actor::Daemon(held_by)),
        Err(failure) => Err(Stop::failed(
            UNEXPECTED,
            anyhow::Error::new(failure).context("cannot use the state and runtime directories"),
        )),
    }
}

fn declare(spec: &Spec, store: &Store, context: &Context<'_>) -> Result<(), Stop> {
    let set =
        store.set_spec(spec.clone()).map_err(|failure| Stop::of_store(failure, "cannot set the desired state"))?;
    set_desired::report(&set, store, context);
    Ok(())
}

async fn act(spec: Spec, config: Config, lock: ActorLock, store: &Store, context: &Context<'_>) -> Result<u8, Stop> {
    let (published, seen) = watch::channel(None);
    let (stop, stopped) = watch::channel(false);
    let given = Loop {
        config,
        config_path: context.config_path().to_owned(),
        store: store.clone(),
        lock,
        published,
        metrics: Arc::new(Metrics::new()),
    };
    let work = reconcile::run_foreground(given, stopped);
    follow::own_loop(work, seen, stop, spec.set_at, spec.state, context.output).await
}

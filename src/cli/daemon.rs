//! `hecate daemon`: takes the lock, serves metrics, runs the loop until it is told to stop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::context::block_on;
use super::exit::CONVERGED;
use super::{Context, Stop, follow};
use crate::reconcile::{self, Loop};
use crate::serve::{self, Metrics};
use crate::store::{ActorKind, ActorLock, Store, StoreError};
use crate::telemetry::{chain, tell_systemd};

/// How often a daemon that waits for a foreground command tries again.
const FOREGROUND_INTERVAL: Duration = Duration::from_secs(2);

/// Run the reconciling loop (systemd does this)
///
/// One daemon a state directory: it waits for a foreground command to end, and refuses to start beside another daemon.
#[derive(Debug, Args)]
pub(super) struct DaemonArgs {}

/// Runs it.
pub(super) fn run(_args: DaemonArgs, context: &Context<'_>) -> Result<u8, Stop> {
    let loaded = context.load()?;
    let file = context.config_path().display().to_string();
    for warning in &loaded.warnings {
        tracing::warn!(problem = %warning.in_file(&file), "odd configuration");
    }
    let config = loaded.config;
    let store = context.store_of(&config);
    follow::prepare(&store)?;
    block_on(async {
        let stop = stop_on_signal()?;
        let Some(lock) = lock(&store, stop.clone()).await? else { return Ok(CONVERGED) };
        let metrics = Arc::new(Metrics::new());
        let (published, seen) = watch::channel(None);
        if let Some(listen) = config.metrics_listen {
            let stale_after = serve::stale_after(&config.reconcile);
            tokio::spawn(serve::run(listen, seen, Arc::clone(&metrics), stale_after, stop.clone()));
        }
        tell_systemd("READY=1");
        let config_path = context.config_path().to_owned();
        let given = Loop { config, config_path, store: store.clone(), lock, published, metrics };
        let ended = reconcile::run_daemon(given, stop).await;
        tell_systemd("STOPPING=1");
        ended.context("cannot go on").map(|()| CONVERGED).map_err(Stop::from)
    })
}

/// Waits for a foreground command, refuses a second daemon; None when told to stop meanwhile.
async fn lock(store: &Store, mut stop: watch::Receiver<bool>) -> Result<Option<ActorLock>, Stop> {
    let mut is_told = false;
    loop {
        match store.lock_actor(ActorKind::Daemon) {
            Ok(lock) => return Ok(Some(lock)),
            Err(StoreError::ActorHeld { held_by, .. }) if held_by.kind == Some(ActorKind::Foreground) => {
                if !is_told {
                    tracing::info!(%held_by, "waiting for a foreground command to end");
                    tell_systemd("READY=1\nSTATUS=waiting for a foreground command to end");
                    is_told = true;
                }
                tokio::select! {
                    () = tokio::time::sleep(FOREGROUND_INTERVAL) => {}
                    // Its sender lives as long as the process; either way it is time to stop.
                    _ = stop.wait_for(|is_stopping| *is_stopping) => return Ok(None),
                }
            }
            Err(failure) => {
                tracing::error!(error = %chain(&failure), "cannot become the one actor");
                return Err(Stop::of_store(failure, "cannot become the one actor"));
            }
        }
    }
}

/// A mark that becomes true at SIGTERM or SIGINT.
fn stop_on_signal() -> Result<watch::Receiver<bool>, Stop> {
    let (sender, receiver) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("told to stop by SIGTERM"),
            _ = tokio::signal::ctrl_c() => tracing::info!("told to stop by SIGINT"),
        }
        // Keeps the sender for as long as somebody listens: a dropped one would look like nothing.
        let _ = sender.send(true);
        sender.closed().await;
    });
    Ok(receiver)
}

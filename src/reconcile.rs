//! Temporary: the signatures the commands call; the loop takes this file's place.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::config::Config;
use crate::desired::Spec;
use crate::serve::Metrics;
use crate::status::Status;
use crate::store::{ActorLock, Store};

/// What the loop is given.
#[derive(Debug)]
pub struct Loop {
    /// The configuration, with the command line's directories in it.
    pub config: Config,
    /// Where it came from, for a reload.
    pub config_path: PathBuf,
    /// The directories.
    pub store: Store,
    /// Proof of being the only actor; dropped when the loop ends.
    pub lock: ActorLock,
    /// Where each pass' status goes.
    pub published: watch::Sender<Option<Arc<Status>>>,
    /// What a status does not tell: how long passes take.
    pub metrics: Arc<Metrics>,
}

/// Why the loop could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// There is no loop yet.
    #[error("run the loop, which is not in this build")]
    NotBuilt,
}

/// One read-only pass: collects for at most `limit`, decides, writes nothing. `wish` stands in for the spec on disk.
pub async fn observe_once(
    _config: &Config,
    _store: &Store,
    _wish: Option<Spec>,
    _limit: Duration,
) -> Result<Status, ReconcileError> {
    Err(ReconcileError::NotBuilt)
}

/// Runs passes until `stop` says true. Publishes each status to `published` and to `status.json`.
pub async fn run_daemon(_given: Loop, _stop: watch::Receiver<bool>) -> Result<(), ReconcileError> {
    Err(ReconcileError::NotBuilt)
}

/// The same for a command in the foreground.
pub async fn run_foreground(_given: Loop, _stop: watch::Receiver<bool>) -> Result<(), ReconcileError> {
    Err(ReconcileError::NotBuilt)
}

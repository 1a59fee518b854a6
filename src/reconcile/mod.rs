//! The loop: wait for a wake-up, look, decide, persist, start and cancel steps, publish.
//!
//! The daemon and the foreground commands run the same one. A wake-up carries no meaning: every pass is the same full
//! pass. The loop never waits for a disk, a host or an API: those have tasks and threads of their own.

mod keeper;
mod once;
mod passes;
mod steps;
mod voice;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use self::once::pass_once;
use self::passes::{Parts, Reconciler};
use crate::act::Hands;
use crate::act::power::{OwnHost, SystemdHost, UntouchableHost};
use crate::clients::ssh::{Ssh, SshError};
use crate::config::Config;
use crate::desired::Spec;
use crate::observe::Eyes;
use crate::serve::Metrics;
use crate::status::{Actor, Status};
use crate::store::{ActorLock, Store};

/// How long SSH masters may take to end when the loop does.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

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
    /// There is no way to the nodes.
    #[error("prepare the SSH connections")]
    PrepareSsh(#[source] SshError),
    /// There is no way to hear of a reload.
    #[error("listen for SIGHUP")]
    Listen(#[source] std::io::Error),
}

/// One read-only pass: looks for at most `limit`, decides, writes nothing. `wish` stands in for the spec on disk.
///
/// # Errors
/// Only where SSH cannot be prepared at all; what cannot be seen is part of the status.
pub async fn observe_once(
    config: &Config,
    store: &Store,
    wish: Option<Spec>,
    limit: Duration,
) -> Result<Status, ReconcileError> {
    let config = Arc::new(config.clone());
    let ssh = Ssh::start(&config).await.map_err(ReconcileError::PrepareSsh)?;
    let wake = Arc::new(Notify::new());
    let eyes = Eyes::open(&config, &ssh, &wake);
    let status = pass_once(&config, store, wish, &eyes, limit, &wake).await;
    drop(eyes);
    ssh.close(CLOSE_LIMIT).await;
    Ok(status)
}

/// Runs passes until `stop` says true. Publishes each status to `published` and to `status.json`.
///
/// # Errors
/// Only before the first pass; once it runs, nothing but `stop` ends it.
pub async fn run_daemon(given: Loop, stop: watch::Receiver<bool>) -> Result<(), ReconcileError> {
    let actor = Actor::Daemon { pid: std::process::id() };
    run(given, stop, actor, Arc::new(SystemdHost::of_this_process())).await
}

/// The same for a command in the foreground, which never powers off the host it runs on.
///
/// # Errors
/// As [`run_daemon`].
pub async fn run_foreground(mut given: Loop, stop: watch::Receiver<bool>) -> Result<(), ReconcileError> {
    // A person sits at this host; what is left to be powered off is theirs.
    given.config.own_host.power_off = false;
    let actor = Actor::Foreground { pid: std::process::id() };
    run(given, stop, actor, Arc::new(UntouchableHost)).await
}

async fn run(
    given: Loop,
    stop: watch::Receiver<bool>,
    actor: Actor,
    own_host: Arc<dyn OwnHost>,
) -> Result<(), ReconcileError> {
    let wake = Arc::new(Notify::new());
    let (parts, ssh) = parts(given.config, &wake, &own_host).await?;
    let reconciler =
        Reconciler::prepare(parts, Arc::new(given.store), actor, Arc::clone(&wake), given.published, given.metrics);
    let ssh = reconciler.run(stop, given.config_path, own_host, ssh).await?;
    ssh.close(CLOSE_LIMIT).await;
    drop(given.lock);
    Ok(())
}

/// Everything that belongs to one configuration.
async fn parts(
    config: Config,
    wake: &Arc<Notify>,
    own_host: &Arc<dyn OwnHost>,
) -> Result<(Parts, Ssh), ReconcileError> {
    let config = Arc::new(config);
    let ssh = Ssh::start(&config).await.map_err(ReconcileError::PrepareSsh)?;
    let eyes = Eyes::open(&config, &ssh, wake);
    let hands = Arc::new(Hands {
        config: Arc::clone(&config),
        ssh: ssh.clone(),
        api: eyes.api(),
        own_host: Arc::clone(own_host),
    });
    Ok((Parts { config, eyes, hands }, ssh))
}

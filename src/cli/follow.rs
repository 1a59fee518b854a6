//! Follows a convergence to its end: through `status.json` where a daemon acts, through the loop where this process does.
//!
//! Only passes that have seen the wish count. Must never wait without a limit for somebody who is gone or hangs.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::Timestamp;
use notify::{RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch};

use super::exit::{BLOCKED, CONVERGED, DAEMON_GONE, PENDING, UNEXPECTED};
use super::{Output, Stop};
use crate::model::ClusterState;
use crate::plan::step::Step;
use crate::status::Status;
use crate::status::diff::{headline, is_stuck};
use crate::status::render::{progress, reasons};
use crate::store::Store;

/// A daemon may be restarted while it is followed; systemd needs a moment for that.
const GONE_LIMIT: Duration = Duration::from_secs(20);
/// A daemon that holds the lock and publishes nothing for so long hangs: UPS polls alone make a pass every few seconds.
const SILENT_LIMIT: Duration = Duration::from_secs(120);
/// How often the lock is looked at, and the status where notify misses a change.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long the loop may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// How following ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Reality is as the wish has it.
    Converged,
    /// Nothing more happens before something changes from outside.
    Blocked,
    /// Another wish took its place.
    Superseded,
    /// Nobody acts any more.
    DaemonGone,
    /// The person at the keyboard has seen enough.
    Interrupted,
}

/// Watches the passes of one wish.
struct Follower<'a> {
    set_at: Timestamp,
    state: ClusterState,
    output: &'a Output,
    said: String,
    last: Option<Arc<Status>>,
}

impl<'a> Follower<'a> {
    fn new(set_at: Timestamp, state: ClusterState, output: &'a Output) -> Self {
        Self { set_at, state, output, said: String::new(), last: None }
    }

    /// Takes a pass in; says whether it was the last one.
    fn see(&mut self, status: Arc<Status>) -> Option<End> {
        let seen = status.declared.spec.set_at;
        if seen < self.set_at {
            return None;
        }
        if seen > self.set_at {
            self.last = Some(status);
            return Some(End::Superseded);
        }
        self.show(&status);
        let is_obeyed = status.effective.state() == self.state;
        let end = match (status.is_converged && is_obeyed, is_stuck(&status)) {
            (true, _) => Some(End::Converged),
            (false, true) => Some(End::Blocked),
            (false, false) => None,
        };
        self.last = Some(status);
        end
    }

    /// Redraws on a terminal; elsewhere a line is only worth it when more than a figure has changed.
    fn show(&mut self, status: &Status) {
        let line = progress(status);
        if self.output.redraw(&line) {
            return;
        }
        let plan = &status.plan;
        let busy: Vec<String> = plan.running.iter().map(Step::to_string).collect();
        let blocked: Vec<&str> = plan.blockers.iter().map(|blocker| blocker.name()).collect();
        let waits: Vec<&str> = plan.waits.iter().map(|wait| wait.reason.name()).collect();
        let said = format!("{} {busy:?} {blocked:?} {waits:?}", headline(status));
        if said != self.said {
            self.output.note(&line);
            self.said = said;
        }
    }

    /// Says how it ended, on both streams, and with which code the command does.
    fn finish(self, end: End, is_daemon: bool) -> Result<u8, Stop> {
        if self.output.redraw("") {
            self.output.note("");
        }
        if let Some(status) = &self.last {
            let palette = self.output.palette();
            self.output.data(&format!("{}\n{}", headline(status), reasons(status, palette)))?;
        }
        Ok(match end {
            End::Converged => CONVERGED,
            End::Blocked => {
                let goes_on = if is_daemon { "; the daemon goes on as soon as that changes" } else { "" };
                self.output.note(&format!("blocked{goes_on}"));
                BLOCKED
            }
            End::Superseded => {
                self.output.note("another wish took the place of this one; `hecate status` shows it");
                PENDING
            }
            End::DaemonGone => {
                let hint = "the wish stands; `systemctl status hecate` says why, `systemctl start hecate` goes on";
                return Err(
                    Stop::saying(DAEMON_GONE, "the daemon is gone or hangs while it was followed").with_hint(hint)
                );
            }
            End::Interrupted => {
                self.output.note(&self.left_behind(is_daemon));
                PENDING
            }
        })
    }

    /// What goes on after Ctrl-C.
    fn left_behind(&self, is_daemon: bool) -> String {
        if is_daemon {
            return "no longer followed; the daemon goes on, `hecate status --watch` shows how".to_owned();
        }
        let running = self.last.iter().flat_map(|status| &status.plan.running).map(Step::to_string);
        let running: Vec<String> = running.collect();
        let left = match running.is_empty() {
            true => "nothing was running".to_owned(),
            false => format!("left half done: {}", running.join(", ")),
        };
        format!("nobody goes on now; {left}. The wish stands: start the daemon, or run this command again")
    }
}

/// Follows the daemon.
pub(super) async fn daemon(store: &Store, set_at: Timestamp, state: ClusterState, output: &Output) -> Result<u8, Stop> {
    let mut follower = Follower::new(set_at, state, output);
    let mut watched = Published::watch(store)?;
    let end = loop {
        tokio::select! {
            seen = watched.next(store) => match seen {
                Seen::Status(status) => if let Some(end) = follower.see(status) { break end; },
                Seen::Gone => break End::DaemonGone,
            },
            _ = tokio::signal::ctrl_c() => break End::Interrupted,
        }
    };
    follower.finish(end, true)
}

/// Follows the loop that this process runs as `work`; `stop` ends it.
pub(super) async fn own_loop<E: std::error::Error + Send + Sync + 'static>(
    work: impl Future<Output = Result<(), E>>,
    mut published: watch::Receiver<Option<Arc<Status>>>,
    stop: watch::Sender<bool>,
    set_at: Timestamp,
    state: ClusterState,
    output: &Output,
) -> Result<u8, Stop> {
    let mut follower = Follower::new(set_at, state, output);
    let failed = |failure: E| Stop::failed(UNEXPECTED, anyhow::Error::new(failure).context("cannot go on"));
    let mut work = std::pin::pin!(work);
    let end = loop {
        tokio::select! {
            ended = &mut work => {
                ended.map_err(failed)?;
                // What it published last may not have been seen yet.
                let last = published.borrow_and_update().clone();
                let end = last.and_then(|status| follower.see(status)).unwrap_or(End::Interrupted);
                return follower.finish(end, false);
            }
            changed = published.changed() => {
                let status = published.borrow_and_update().clone();
                match (changed, status) {
                    (Ok(()), Some(status)) => if let Some(end) = follower.see(status) { break end; },
                    (Ok(()), None) => {}
                    // The loop let go of its end, so it is about to return.
                    (Err(_), _) => {
                        (&mut work).await.map_err(failed)?;
                        return follower.finish(End::Interrupted, false);
                    }
                }
            }
            _ = tokio::signal::ctrl_c() => break End::Interrupted,
        }
    };
    // Nobody listens any more when the loop has ended by itself.
    let _ = stop.send(true);
    if tokio::time::timeout(STOP_LIMIT, work).await.is_err() {
        output.warn("the loop did not stop in time");
    }
    follower.finish(end, false)
}

/// What the runtime directory shows.
pub(super) enum Seen {
    /// A pass that was not seen before.
    Status(Arc<Status>),
    /// Nobody holds the lock, or its holder hangs.
    Gone,
}

/// The statuses that a daemon publishes, one after the other.
pub(super) struct Published {
    _watcher: Option<notify::RecommendedWatcher>,
    changes: mpsc::Receiver<()>,
    last: Option<(u64, Duration)>,
    lock_free_since: Option<Instant>,
    last_change: Instant,
}

impl Published {
    /// Begins to watch; where the kernel has no more watches, looking once a second has to do.
    pub(super) fn watch(store: &Store) -> Result<Self, Stop> {
        let (sender, changes) = mpsc::channel(1);
        let watcher = watcher(store.runtime_dir(), sender);
        if let Err(failure) = &watcher {
            tracing::debug!(error = %crate::telemetry::chain(failure), "looking once a second instead of watching");
        }
        let now = Instant::now();
        Ok(Self { _watcher: watcher.ok(), changes, last: None, lock_free_since: None, last_change: now })
    }

    /// The next pass, or that there will be none.
    pub(super) async fn next(&mut self, store: &Store) -> Seen {
        loop {
            if let Ok(Some(status)) = store.read_status() {
                let mark = (status.pass, status.now.boottime);
                if self.last != Some(mark) {
                    self.last = Some(mark);
                    self.last_change = Instant::now();
                    return Seen::Status(Arc::new(status));
                }
            }
            if self.is_gone(store) {
                return Seen::Gone;
            }
            tokio::select! {
                // None: there is no watcher; looking goes on at the interval.
                Some(()) = self.changes.recv() => {}
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
        }
    }

    fn is_gone(&mut self, store: &Store) -> bool {
        match store.actor() {
            Ok(None) => {
                let since = *self.lock_free_since.get_or_insert_with(Instant::now);
                since.elapsed() >= GONE_LIMIT
            }
            // A lock that cannot be looked at says nothing; silence then does.
            Ok(Some(_)) | Err(_) => {
                self.lock_free_since = None;
                self.last_change.elapsed() >= SILENT_LIMIT
            }
        }
    }
}

fn watcher(folder: &Path, sender: mpsc::Sender<()>) -> Result<notify::RecommendedWatcher, notify::Error> {
    let mut watcher = notify::recommended_watcher(move |_| {
        // Full: a wake-up is on its way already.
        let _ = sender.try_send(());
    })?;
    // The folder, not the file: the file is replaced each time.
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// Makes the folders and says what failed.
pub(super) fn prepare(store: &Store) -> Result<(), Stop> {
    store.prepare().context("cannot use the state and runtime directories").map_err(Stop::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ColorChoice;

    #[tokio::test]
    async fn a_loop_that_ends_by_itself_ends_the_command() {
        let (published, seen) = watch::channel(None);
        let (stop, _stopped) = watch::channel(false);
        let work = async move {
            drop(published);
            Ok::<(), std::io::Error>(())
        };
        let output = Output::new(ColorChoice::Never);
        let ended = own_loop(work, seen, stop, Timestamp::UNIX_EPOCH, ClusterState::Running, &output).await;
        assert_eq!(ended.ok(), Some(PENDING));
    }

    #[tokio::test]
    async fn a_loop_that_fails_fails_the_command() {
        let (_published, seen) = watch::channel(None);
        let (stop, _stopped) = watch::channel(false);
        let work = async { Err(std::io::Error::other("broken")) };
        let output = Output::new(ColorChoice::Never);
        let ended = own_loop(work, seen, stop, Timestamp::UNIX_EPOCH, ClusterState::Running, &output).await;
        assert!(matches!(ended, Err(Stop::Failed { code: UNEXPECTED, .. })), "{ended:?}");
    }
}

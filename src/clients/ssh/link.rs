//! One kept, multiplexed session a host: made once, shared by all who need it, replaced when it no longer answers.
//!
//! A connect is never dropped half-way (that would leave an ssh behind): it runs as a task of its own, and whoever
//! gives up waiting for it leaves its result to the next one.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openssh::{ControlPersist, KnownHosts, Session, SessionBuilder};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::classify::{classify, host_key_summary, is_refusal_by_the_node, summary};
use super::config_text::{Route, jump_connect_timeout};
use super::folder::Folder;
use super::{Share, SshError};
use crate::model::{FailureKind, NodeName};

/// How long an unused session is kept: longer than any idle probing cadence, so that calm times need no new logins.
const KEPT_FOR_SECONDS: usize = 600;

/// How long the way that worked last is tried first.
const ROUTE_REMEMBERED: Duration = Duration::from_secs(300);

/// sshd drops connections at random once 10 are being authenticated at a time (`MaxStartups 10:30:100`).
pub(super) const JUMP_LOGINS_MAX: usize = 6;

/// sshd allows 10 channels a connection (`MaxSessions`): both shares together stay below.
const READ_CHANNELS: usize = 2;
const ACT_CHANNELS: usize = 4;

/// A session that is up.
#[derive(Debug)]
pub(super) struct Link {
    /// Taken out when dropped.
    session: Option<Arc<Session>>,
    pub(super) route: Route,
    /// The socket stands in it.
    folder: Arc<Folder>,
}

impl Link {
    pub(super) fn session(&self) -> Option<Arc<Session>> {
        self.session.clone()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        let folder = Arc::clone(&self.folder);
        // Ending a session talks to its master without a limit of its own: not on a thread that others wait for.
        let ending = std::thread::Builder::new().name("ssh-end".to_owned()).spawn(move || {
            drop(session);
            drop(folder);
        });
        if let Err(error) = ending {
            tracing::warn!(%error, "ssh session cannot be ended properly");
        }
    }
}

type Connected = Result<Arc<Link>, SshError>;

#[derive(Debug)]
enum State {
    Idle,
    Connecting(watch::Receiver<Option<Connected>>),
    Up(Arc<Link>),
    /// The run ends: nobody gets a session any more.
    Closed,
}

/// One host: its ways, its session, its shares of channels.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: NodeName,
    /// For people.
    pub(super) address: String,
    /// Ways to it, in the order of the configuration.
    pub(super) routes: Vec<Route>,
    pub(super) connect_timeout: Duration,
    pub(super) folder: Arc<Folder>,
    pub(super) jump_logins: Arc<Semaphore>,
    state: Mutex<State>,
    worked: Mutex<Option<(Route, Instant)>>,
    reading: Semaphore,
    acting: Semaphore,
}

impl Host {
    pub(super) fn new(
        name: NodeName,
        address: String,
        routes: Vec<Route>,
        connect_timeout: Duration,
        folder: Arc<Folder>,
        jump_logins: Arc<Semaphore>,
    ) -> Self {
        Self {
            name,
            address,
            routes,
            connect_timeout,
            folder,
            jump_logins,
            state: Mutex::new(State::Idle),
            worked: Mutex::new(None),
            reading: Semaphore::new(READ_CHANNELS),
            acting: Semaphore::new(ACT_CHANNELS),
        }
    }

    pub(super) fn channels(&self, share: Share) -> &Semaphore {
        match share {
            Share::Read => &self.reading,
            Share::Act => &self.acting,
        }
    }

    /// The longest a connect takes: each way once, and the queue before the jump host.
    pub(super) fn connect_limit(&self) -> Duration {
        let one = self.connect_timeout + Duration::from_secs(1);
        match self.routes.contains(&Route::Jump) {
            true => one * 2 + jump_connect_timeout(one),
            false => one,
        }
    }

    /// Gives the kept session, or makes one. Dropping this future only stops the waiting.
    pub(super) async fn link(self: &Arc<Self>) -> Connected {
        let mut receiver = {
            let mut state = self.state();
            match &*state {
                State::Up(link) => return Ok(Arc::clone(link)),
                State::Connecting(receiver) => receiver.clone(),
                State::Closed => return Err(self.error(FailureKind::Other, "hecate is ending".to_owned())),
                State::Idle => {
                    let (sender, receiver) = watch::channel(None);
                    *state = State::Connecting(receiver.clone());
                    let host = Arc::clone(self);
                    tokio::spawn(async move {
                        let connected = host.connect().await;
                        *host.state() = match &connected {
                            Ok(link) => State::Up(Arc::clone(link)),
                            Err(_) => State::Idle,
                        };
                        sender.send_replace(Some(connected));
                    });
                    receiver
                }
            }
        };
        let connected = receiver.wait_for(Option::is_some).await.map(|value| value.clone());
        match connected {
            Ok(Some(connected)) => connected,
            Ok(None) | Err(_) => {
                // The task has ended without a word: the runtime is going down.
                *self.state() = State::Idle;
                Err(self.error(FailureKind::Other, "the connecting task has ended".to_owned()))
            }
        }
    }

    /// The way of the session that is up.
    pub(super) fn route(&self) -> Option<Route> {
        match &*self.state() {
            State::Up(link) => Some(link.route),
            State::Idle | State::Connecting(_) | State::Closed => None,
        }
    }

    /// No longer gives this session to anybody; those who still use it may finish.
    pub(super) fn replace(&self, link: &Arc<Link>) {
        let mut state = self.state();
        if let State::Up(current) = &*state
            && Arc::ptr_eq(current, link)
        {
            tracing::debug!(node = %self.name, "ssh session is replaced");
            *state = State::Idle;
        }
    }

    /// Ends the kept session and waits for that, after a connect under way. There is none after it.
    pub(super) async fn close(&self) {
        let receiver = match &*self.state() {
            State::Connecting(receiver) => Some(receiver.clone()),
            State::Idle | State::Up(_) | State::Closed => None,
        };
        if let Some(mut receiver) = receiver {
            // Its result does not matter, only that it has ended.
            drop(receiver.wait_for(Option::is_some).await);
        }
        let state = std::mem::replace(&mut *self.state(), State::Closed);
        // Whoever still uses the session ends it when he is done.
        if let State::Up(link) = state
            && let Some(mut link) = Arc::into_inner(link)
            && let Some(session) = link.session.take().and_then(Arc::into_inner)
            && let Err(error) = session.close().await
        {
            tracing::debug!(node = %self.name, %error, "ssh session does not end properly");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries one way after the other, until one leads there or the node itself says no.
    async fn connect(&self) -> Connected {
        let mut problems: Vec<(Route, FailureKind, String)> = Vec::new();
        for route in self.ordered_routes() {
            match self.connect_by(route).await {
                Ok(session) => {
                    tracing::debug!(node = %self.name, %route, "ssh session is up");
                    *self.worked.lock().unwrap_or_else(PoisonError::into_inner) = Some((route, Instant::now()));
                    return Ok(Arc::new(Link {
                        session: Some(Arc::new(session)),
                        route,
                        folder: Arc::clone(&self.folder),
                    }));
                }
                Err((kind, detail)) => {
                    tracing::debug!(node = %self.name, %route, ?kind, detail, "ssh cannot connect");
                    problems.push((route, kind, detail));
                    if is_refusal_by_the_node(kind) {
                        break;
                    }
                }
            }
        }
        let kind = problems.last().map_or(FailureKind::Other, |(_, kind, _)| *kind);
        let detail = match &problems[..] {
            [(_, _, detail)] => detail.clone(),
            several => {
                several.iter().map(|(route, _, detail)| format!("{route}: {detail}")).collect::<Vec<_>>().join("; ")
            }
        };
        Err(self.error(kind, detail))
    }

    fn error(&self, kind: FailureKind, detail: String) -> SshError {
        SshError::Connect { node: self.name.clone(), address: self.address.clone(), kind, detail }
    }

    /// The way that worked last comes first, for a while.
    fn ordered_routes(&self) -> Vec<Route> {
        let worked = *self.worked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut routes = self.routes.clone();
        if let Some((route, when)) = worked
            && when.elapsed() < ROUTE_REMEMBERED
        {
            routes.sort_by_key(|candidate| *candidate != route);
        }
        routes
    }

    async fn connect_by(&self, route: Route) -> Result<Session, (FailureKind, String)> {
        let jump_log = self.folder.path().join(format!("jump-{}.log", self.name));
        let _place = match route {
            Route::Direct => None,
            Route::Jump => {
                remove_if_there(&jump_log);
                let place = tokio::time::timeout(self.connect_timeout, self.jump_logins.acquire()).await;
                Some(place.map_err(|_| (FailureKind::TimedOut, "others still wait for the jump host".to_owned()))?)
            }
        };
        let mut builder = SessionBuilder::default();
        builder
            .config_file(self.folder.path().join(route.file_name()))
            .control_directory(self.folder.path())
            .control_persist(kept_for())
            .known_hosts_check(KnownHosts::Strict);
        let error = match builder.connect_mux(self.name.as_str()).await {
            Ok(session) => return Ok(session),
            Err(error) => error,
        };
        let (kind, detail) = explain(self.name.as_str(), &error);
        let jump_words = match route {
            Route::Direct => String::new(),
            Route::Jump => summary(&std::fs::read_to_string(&jump_log).unwrap_or_default()),
        };
        if jump_words.is_empty() || is_refusal_by_the_node(kind) {
            return Err((kind, detail));
        }
        // Whatever the jump host complains of, for the node it only means that this way does not lead there.
        let is_silence = classify(&jump_words) == FailureKind::TimedOut;
        let kind = if is_silence { FailureKind::TimedOut } else { FailureKind::Unreachable };
        Err((kind, format!("jump host: {jump_words}")))
    }
}

fn kept_for() -> ControlPersist {
    std::num::NonZeroUsize::new(KEPT_FOR_SECONDS)
        .map_or(ControlPersist::ClosedAfterInitialConnection, ControlPersist::IdleFor)
}

fn remove_if_there(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::debug!(path = %path.display(), %error, "old note cannot be removed");
    }
}

/// ssh's words about a connect that failed, read.
fn explain(node: &str, error: &openssh::Error) -> (FailureKind, String) {
    let words = match std::error::Error::source(error) {
        Some(source) => source.to_string(),
        None => error.to_string(),
    };
    let kind = classify(&words);
    if kind == FailureKind::WrongHostKey {
        return (kind, host_key_summary(node, &words));
    }
    let summary = summary(&words);
    (kind, if summary.is_empty() { error.to_string() } else { summary })
}

//! Commands on nodes and other hecate hosts over SSH: one kept, multiplexed session a host, made by the system's `ssh`.
//!
//! All rules for connections stand in one generated ssh_config (see `ssh/config_text.rs`). Nothing here judges what an
//! answer means. A connect is never dropped, an answer never unbounded, a wait never without a deadline; reading and
//! acting have separate shares of a session's channels, so that hung probes cannot keep a power-off waiting.

mod classify;
mod config_text;
mod enroll;
mod folder;
mod known_hosts;
mod link;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openssh::Stdio;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

pub use self::classify::{classify, summary};
use self::config_text::{HostKeys, Inventory, has_jump, render};
pub use self::config_text::{Route, peer_session};
pub use self::enroll::{Enrolled, enroll};
use self::folder::Folder;
use self::link::{Host, JUMP_LOGINS_MAX, Link};
use crate::config::Config;
use crate::model::{FailureKind, NodeName};

/// The most that is kept of each of a command's output streams; the rest is read and thrown away.
pub const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// Whose channels a command uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// A look. One that passes its deadline costs the host its session: the next look begins afresh.
    Read,
    /// A step. It may take long; its deadline says nothing about the session.
    Act,
}

/// What a command left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its exit code; None where a signal ended it.
    pub code: Option<i32>,
    /// What it printed, at most [`OUTPUT_BYTES_MAX`].
    pub stdout: String,
    /// What it complained of, at most [`OUTPUT_BYTES_MAX`].
    pub stderr: String,
    /// Whether anything was thrown away.
    pub is_truncated: bool,
}

impl Output {
    /// Exit code 0.
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }
}

/// How many commands were sent, by share.
#[derive(Debug, Default)]
struct RoundTrips {
    read: AtomicU64,
    act: AtomicU64,
}

/// The way to all managed nodes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ssh {
    hosts: Arc<BTreeMap<NodeName, Arc<Host>>>,
    round_trips: Arc<RoundTrips>,
}

impl Ssh {
    /// Writes the ssh_config and ends what an earlier, killed run left behind. Connects to nothing yet.
    pub async fn start(config: &Config) -> Result<Self, SshError> {
        let hosts = config_text::hosts(config);
        Self::open(&Inventory::of(config, &hosts)).await
    }

    async fn open(inventory: &Inventory<'_>) -> Result<Self, SshError> {
        let (folder, leftovers) = Folder::create(inventory.runtime_dir)?;
        futures::future::join_all(leftovers.into_iter().map(folder::Leftover::end)).await;
        for route in [Route::Direct, Route::Jump] {
            folder.write(route.file_name(), &render(inventory, folder.path(), route, HostKeys::Enrolled)?)?;
        }
        if inventory.ssh.jump_host.is_some() {
            warn_of_useless_shell();
        }
        let folder = Arc::new(folder);
        let jump_logins = Arc::new(Semaphore::new(JUMP_LOGINS_MAX));
        let hosts = inventory.nodes.iter().filter(|(_, node)| node.is_managed).map(|(name, node)| {
            let routes = match has_jump(inventory, name, node) {
                true => vec![Route::Jump, Route::Direct],
                false => vec![Route::Direct],
            };
            let host = Host::new(
                name.clone(),
                format!("{}:{}", node.host, node.port),
                routes,
                inventory.ssh.connect_timeout,
                Arc::clone(&folder),
                Arc::clone(&jump_logins),
            );
            (name.clone(), Arc::new(host))
        });
        Ok(Self { hosts: Arc::new(hosts.collect()), round_trips: Arc::default() })
    }

    /// Makes sure that there is a session, waiting at most as long as a connect by every way may take.
    pub async fn connect(&self, node: &NodeName) -> Result<(), SshError> {
        let host = self.host(node)?;
        match timeout(host.connect_limit(), host.link()).await {
            Ok(connected) => connected.map(|_| ()),
            Err(_) => Err(SshError::Deadline { node: node.clone(), doing: "connect", is_sent: false }),
        }
    }

    /// Runs one command; each argument arrives as it is, whatever its characters.
    ///
    /// `limit` holds for everything together: a channel of one's share, the session, the command. A command that was
    /// sent goes on when its limit passes or this future is dropped: nothing remote is ever stopped by that.
    pub async fn run(&self, node: &NodeName, share: Share, argv: &[&str], limit: Duration) -> Result<Output, SshError> {
        let host = self.host(node)?;
        let deadline = Instant::now() + limit;
        let late = |doing, is_sent| SshError::Deadline { node: node.clone(), doing, is_sent };
        let Ok(_channel) = timeout_at(deadline, host.channels(share).acquire()).await else {
            return Err(late("wait for a free channel", false));
        };
        let (link, child) = match timeout_at(deadline, open_somehow(&host, argv)).await {
            Ok(opened) => opened?,
            Err(_) => return Err(late("open a channel", false)),
        };
        match share {
            Share::Read => &self.round_trips.read,
            Share::Act => &self.round_trips.act,
        }
        .fetch_add(1, Ordering::Relaxed);
        match timeout_at(deadline, collect(&host, &link, child)).await {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(error)) => {
                host.replace(&link);
                Err(error)
            }
            Err(_) => {
                if share == Share::Read {
                    host.replace(&link);
                }
                Err(late("run a command", true))
            }
        }
    }

    /// How many commands were sent to nodes so far, by share.
    pub fn round_trips(&self) -> BTreeMap<&'static str, u64> {
        let read = self.round_trips.read.load(Ordering::Relaxed);
        let act = self.round_trips.act.load(Ordering::Relaxed);
        BTreeMap::from([("read", read), ("act", act)])
    }

    /// The way the kept session takes; None where there is none, or a connect is under way.
    pub fn route(&self, node: &NodeName) -> Option<Route> {
        self.hosts.get(node)?.route()
    }

    /// Ends all sessions, after the connects under way, within `limit`. For the end of a run.
    pub async fn close(&self, limit: Duration) {
        let all = futures::future::join_all(self.hosts.values().map(|host| host.close()));
        if timeout(limit, all).await.is_err() {
            tracing::debug!("an ssh that still connects is left behind; the next start ends it");
        }
    }

    fn host(&self, node: &NodeName) -> Result<Arc<Host>, SshError> {
        self.hosts.get(node).cloned().ok_or_else(|| SshError::UnknownNode { node: node.clone() })
    }
}

type Child = openssh::Child<Arc<openssh::Session>>;

/// Opens a channel on the kept session; where that one has died or is full, once more on a fresh one.
///
/// A session whose host has gone does not know it for some seconds. Until a channel is open nothing was sent, so the
/// second attempt repeats nothing.
async fn open_somehow(host: &Arc<Host>, argv: &[&str]) -> Result<(Arc<Link>, Child), SshError> {
    let mut problem = String::new();
    for _ in 0..2 {
        let link = host.link().await?;
        match timeout(host.connect_timeout, open(&link, argv)).await {
            Ok(Ok(child)) => return Ok((link, child)),
            Ok(Err(error)) => problem = describe(&error),
            Err(_) => problem = "no answer in time".to_owned(),
        }
        host.replace(&link);
    }
    Err(SshError::Open { node: host.name.clone(), detail: problem })
}

async fn open(link: &Link, argv: &[&str]) -> Result<Child, openssh::Error> {
    let (Some(session), Some((program, arguments))) = (link.session(), argv.split_first()) else {
        return Err(openssh::Error::Disconnected);
    };
    let mut command = session.arc_command(*program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().await
}

/// Reads everything, then waits for the end: the other way round would lose the last words.
async fn collect(host: &Host, link: &Link, mut child: Child) -> Result<Output, SshError> {
    let (stdout, stderr) = (child.stdout().take(), child.stderr().take());
    let (stdout, stderr) = tokio::join!(read_bounded(stdout), read_bounded(stderr));
    let code = match child.wait().await {
        Ok(status) => status.code(),
        // openssh's name for exit code 127.
        Err(openssh::Error::Remote(_)) => Some(127),
        Err(openssh::Error::RemoteProcessTerminated) if is_alive(link).await => None,
        Err(error) => {
            return Err(SshError::Lost { node: host.name.clone(), detail: describe(&error) });
        }
    };
    let is_truncated = stdout.1 || stderr.1;
    Ok(Output { code, stdout: stdout.0, stderr: stderr.0, is_truncated })
}

/// Whether the master still answers: the protocol cannot tell a killed command from a lost connection.
async fn is_alive(link: &Link) -> bool {
    match link.session() {
        Some(session) => matches!(timeout(Duration::from_secs(1), session.check()).await, Ok(Ok(()))),
        None => false,
    }
}

async fn read_bounded(stream: Option<impl AsyncRead + Unpin>) -> (String, bool) {
    let Some(mut stream) = stream else { return (String::new(), false) };
    let (mut kept, mut is_truncated) = (Vec::new(), false);
    let mut buffer = vec![0; 8 * 1024];
    loop {
        match stream.read(&mut buffer).await {
            // An error is an end: the command's exit says what happened.
            Ok(0) | Err(_) => break,
            Ok(count) => {
                let room = OUTPUT_BYTES_MAX - kept.len();
                is_truncated |= count > room;
                kept.extend_from_slice(&buffer[..count.min(room)]);
            }
        }
    }
    (String::from_utf8_lossy(&kept).into_owned(), is_truncated)
}

/// The error and its causes on one line.
fn describe(error: &openssh::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    summary(&text)
}

/// ssh runs the way through the jump host in `$SHELL`, which systemd sets to a service user's nologin.
fn warn_of_useless_shell() {
    if let Some(shell) = std::env::var_os("SHELL").map(PathBuf::from)
        && shell.file_name().is_some_and(|name| name == "nologin" || name == "false")
    {
        tracing::warn!(shell = %shell.display(), "ssh cannot use the jump host with this SHELL; set SHELL=/bin/sh");
    }
}

/// Why a command could not be run on a node.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SshError {
    /// The configuration cannot be said in ssh's terms.
    #[error("write the ssh_config: {problem}")]
    Settings {
        /// What is wrong.
        problem: String,
    },
    /// hecate's own folder for SSH.
    #[error("prepare {path}: {why}", path = path.display())]
    Prepare {
        /// Which path.
        path: PathBuf,
        /// The system's answer.
        why: String,
    },
    /// Not a managed node.
    #[error("find {node} among the managed nodes")]
    UnknownNode {
        /// Which.
        node: NodeName,
    },
    /// No session.
    #[error("connect to {node} at {address}: {detail}")]
    Connect {
        /// Which node.
        node: NodeName,
        /// Its address and port.
        address: String,
        /// The kind of failure.
        kind: FailureKind,
        /// ssh's words, on one line.
        detail: String,
    },
    /// A session, but no channel; nothing was sent.
    #[error("open a channel to {node}: {detail}")]
    Open {
        /// Which node.
        node: NodeName,
        /// What ssh says.
        detail: String,
    },
    /// The limit has passed.
    #[error("{doing} on {node}: no answer in time")]
    Deadline {
        /// Which node.
        node: NodeName,
        /// What was being done.
        doing: &'static str,
        /// Whether the command was sent: it may go on, or be over.
        is_sent: bool,
    },
    /// The connection was lost after the command was sent: it may have run.
    #[error("hear from {node} after the command was sent: {detail}")]
    Lost {
        /// Which node.
        node: NodeName,
        /// What ssh says.
        detail: String,
    },
    /// An enrolment that got through but cannot be used.
    #[error("enroll {node}: {problem}")]
    Enroll {
        /// Which node.
        node: NodeName,
        /// What is wrong.
        problem: String,
    },
}

impl SshError {
    /// The kind of failure that rules tell apart.
    pub fn kind(&self) -> FailureKind {
        match self {
            SshError::Connect { kind, .. } => *kind,
            SshError::Open { .. } | SshError::Lost { .. } => FailureKind::Unreachable,
            SshError::Deadline { .. } => FailureKind::TimedOut,
            SshError::Settings { .. }
            | SshError::Prepare { .. }
            | SshError::UnknownNode { .. }
            | SshError::Enroll { .. } => FailureKind::Other,
        }
    }
}

//! The two locks of the state directory: who may act, and who may change `desired.yaml` right now.
//!
//! Both are flock(2) on files that are never removed: the kernel lets go when their holder dies, so no lock is ever
//! stale and none is ever broken. Must never wait without a limit.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Store, StoreError};

/// How long a change of `desired.yaml` waits for another one; each takes milliseconds.
pub const DESIRED_LOCK_WAIT: Duration = Duration::from_secs(5);

/// How long taking the actor's lock goes on trying: `status` holds it shared for an instant to see whether it is held.
const ACTOR_LOCK_WAIT: Duration = Duration::from_millis(300);

/// Pause between two attempts.
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(5);

/// The longest text that is read from a lock file.
const LOCK_TEXT_MAX: u64 = 200;

/// Who acts on the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActorKind {
    /// The daemon.
    Daemon,
    /// A command that runs the loop itself.
    Foreground,
}

impl fmt::Display for ActorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ActorKind::Daemon => "daemon",
            ActorKind::Foreground => "foreground",
        })
    }
}

/// Who holds the actor's lock, as far as its text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldBy {
    /// What it is; None where the text is missing (disk full when it was taken).
    pub kind: Option<ActorKind>,
    /// Its process id.
    pub pid: Option<u32>,
}

impl HeldBy {
    fn parse(text: &str) -> Self {
        let mut words = text.split_whitespace();
        let kind = match words.next() {
            Some("daemon") => Some(ActorKind::Daemon),
            Some("foreground") => Some(ActorKind::Foreground),
            Some(_) | None => None,
        };
        Self { kind, pid: words.next().and_then(|word| word.parse().ok()) }
    }
}

impl fmt::Display for HeldBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Some(ActorKind::Daemon) => f.write_str("a hecate daemon")?,
            Some(ActorKind::Foreground) => f.write_str("a hecate command in the foreground")?,
            None => f.write_str("another hecate")?,
        }
        match self.pid {
            Some(pid) => write!(f, " (pid {pid})"),
            None => Ok(()),
        }
    }
}

/// Proof that this process is the only actor; letting go of it releases the lock.
#[derive(Debug)]
pub struct ActorLock {
    _file: File,
}

impl Store {
    /// Becomes the one actor on this state directory, or says who is.
    pub fn lock_actor(&self, kind: ActorKind) -> Result<ActorLock, StoreError> {
        let path = self.actor_lock_path();
        let mut file = open(&path)?;
        if !lock_until(&file, &path, ACTOR_LOCK_WAIT)? {
            return Err(StoreError::ActorHeld { path, held_by: read_holder(&mut file) });
        }
        // A full disk must not keep the power unguarded: the text is a courtesy, the lock is what counts.
        let _ = write_holder(&mut file, kind);
        Ok(ActorLock { _file: file })
    }

    /// Who acts on this state directory now; None where nobody does. Writes nothing.
    pub fn actor(&self) -> Result<Option<HeldBy>, StoreError> {
        let path = self.actor_lock_path();
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(failure) if failure.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::Lock { path, source }),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(read_holder(&mut file))),
            Err(TryLockError::Error(source)) => Err(StoreError::Lock { path, source }),
        }
    }

    /// Takes the lock under which `desired.yaml` is changed.
    pub(super) fn lock_desired(&self) -> Result<File, StoreError> {
        let path = self.state_dir().join("desired.lock");
        let file = open(&path)?;
        match lock_until(&file, &path, self.desired_lock_wait)? {
            true => Ok(file),
            false => Err(StoreError::LockBusy { path, waited: self.desired_lock_wait }),
        }
    }
}

fn open(path: &Path) -> Result<File, StoreError> {
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o640).open(path);
    opened.map_err(|source| StoreError::Lock { path: path.to_owned(), source })
}

/// Tries until `limit` has passed; says whether the lock was taken.
fn lock_until(file: &File, path: &Path, limit: Duration) -> Result<bool, StoreError> {
    let deadline = Instant::now() + limit;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return Ok(false),
            Err(TryLockError::WouldBlock) => std::thread::sleep(ATTEMPT_INTERVAL),
            Err(TryLockError::Error(source)) => return Err(StoreError::Lock { path: path.to_owned(), source }),
        }
    }
}

fn write_holder(file: &mut File, kind: ActorKind) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(format!("{kind} {}\n", std::process::id()).as_bytes())
}

fn read_holder(file: &mut File) -> HeldBy {
    let mut text = String::new();
    // A text that cannot be read is the same as none.
    let _ = file.take(LOCK_TEXT_MAX).read_to_string(&mut text);
    HeldBy::parse(&text)
}

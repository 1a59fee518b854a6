//! The state directory and the runtime directory: nobody else reads or writes them.
//!
//! Durable files are replaced entirely or not at all, whatever instant the power goes or the disk is full. Must never
//! replace by a guess what it cannot read. Plain blocking calls: the loop makes them on a thread of their own, so that
//! a hanging disk delays no pass.

mod declared;
mod disk;
mod lock;
mod records;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use self::declared::{DeclaredFile, SpecSet};
pub use self::disk::{Disk, DiskFile, RealDisk, publish};
pub use self::lock::{ActorKind, ActorLock, DESIRED_LOCK_WAIT, HeldBy};
pub use self::records::{HistoryFile, LedgerFile};
pub use crate::model::IntentRecord;

/// Mode of every file in the state directory but `intent.json`.
const STATE_MODE: u32 = 0o640;

/// Mode of `intent.json`: other hecate hosts read it over SSH with a login that has no rights here.
const INTENT_MODE: u32 = 0o644;

/// Mode of the published status: everybody on the host may ask how the cluster is.
const STATUS_MODE: u32 = 0o644;

/// The two directories.
#[derive(Clone, Debug)]
pub struct Store {
    state_dir: PathBuf,
    runtime_dir: PathBuf,
    disk: Arc<dyn Disk>,
    desired_lock_wait: Duration,
}

impl Store {
    /// Names the directories; touches nothing.
    pub fn new(state_dir: impl Into<PathBuf>, runtime_dir: impl Into<PathBuf>) -> Self {
        Self::with_disk(state_dir, runtime_dir, Arc::new(RealDisk))
    }

    /// The same on another disk, for tests that break it.
    pub fn with_disk(state_dir: impl Into<PathBuf>, runtime_dir: impl Into<PathBuf>, disk: Arc<dyn Disk>) -> Self {
        Self {
            state_dir: state_dir.into(),
            runtime_dir: runtime_dir.into(),
            disk,
            desired_lock_wait: DESIRED_LOCK_WAIT,
        }
    }

    /// Sets how long a change of `desired.yaml` waits for another one.
    #[must_use]
    pub fn waiting_for_changes(self, limit: Duration) -> Self {
        Self { desired_lock_wait: limit, ..self }
    }

    /// Makes the directories where they are missing (systemd makes them for the daemon).
    pub fn prepare(&self) -> Result<(), StoreError> {
        self.prepare_state_dir()?;
        make_folder(&self.runtime_dir)
    }

    /// Makes the state directory alone: all that a command needs that only writes a wish.
    pub fn prepare_state_dir(&self) -> Result<(), StoreError> {
        make_folder(&self.state_dir)
    }

    /// Where durable state lives.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Where the published status lives.
    pub fn runtime_dir(&self) -> &Path {
        &self.runtime_dir
    }

    /// `desired.yaml`. To be told of changes, watch its folder: the file itself is replaced each time.
    pub fn desired_path(&self) -> PathBuf {
        self.state_dir.join(DECLARED_FILE)
    }

    /// `status.json`; watch its folder, as above.
    pub fn status_path(&self) -> PathBuf {
        self.runtime_dir.join("status.json")
    }

    fn actor_lock_path(&self) -> PathBuf {
        self.state_dir.join("hecate.lock")
    }
}

fn make_folder(path: &Path) -> Result<(), StoreError> {
    std::fs::create_dir_all(path).map_err(|source| StoreError::MakeFolder { path: path.to_owned(), source })
}

/// Why the store could not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A folder could not be made.
    #[error("make {}", path.display())]
    MakeFolder {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file could not be read.
    #[error("read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file was read and cannot be understood.
    #[error("understand {}: {why}", path.display())]
    Understand {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A file could not be replaced; the old one is still there.
    #[error("write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A value could not be put into words; a mistake of the program.
    #[error("encode {}: {why}", path.display())]
    Encode {
        /// For which file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The copy of a file that must be kept could not be made; nothing was replaced.
    #[error("keep a copy of {}", path.display())]
    Keep {
        /// Of which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no wish yet that something could be added to.
    #[error("change {}: there is no such file", path.display())]
    NoDeclared {
        /// Which.
        path: PathBuf,
    },
    /// The ledger on disk cannot be read, and is not replaced by a guess.
    #[error("replace {}, which cannot be understood ({why})", path.display())]
    LedgerKept {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A lock file could not be opened or locked.
    #[error("lock {}", path.display())]
    Lock {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process kept the lock for longer than a change takes.
    #[error("lock {}: another hecate has held it for more than {} s", path.display(), waited.as_secs())]
    LockBusy {
        /// Which.
        path: PathBuf,
        /// How long it was waited for.
        waited: Duration,
    },
    /// Somebody else acts on this state directory.
    #[error("lock {}: {held_by} holds it", path.display())]
    ActorHeld {
        /// Which.
        path: PathBuf,
        /// Who.
        held_by: HeldBy,
    },
}

impl StoreError {
    /// What a person can do about it, where that is known.
    pub fn remedy(&self) -> Option<&'static str> {
        let source = match self {
            Self::NoDeclared { .. } => return Some(GOOD_WISH),
            Self::Understand { path, .. } => {
                return path.ends_with(DECLARED_FILE).then_some(GOOD_WISH);
            }
            Self::ActorHeld { .. } => return Some("one daemon a state directory"),
            Self::MakeFolder { source, .. }
            | Self::Read { source, .. }
            | Self::Write { source, .. }
            | Self::Keep { source, .. }
            | Self::Lock { source, .. } => source,
            Self::Encode { .. } | Self::LedgerKept { .. } | Self::LockBusy { .. } => return None,
        };
        let is_one = |kinds: &[io::ErrorKind]| kinds.contains(&source.kind());
        if is_one(&[io::ErrorKind::PermissionDenied]) {
            Some("do it as root, or as the user that owns the state directory")
        } else if is_one(&[io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded]) {
            Some("make room on its disk; what was there before is untouched")
        } else if is_one(&[io::ErrorKind::ReadOnlyFilesystem]) {
            Some("its file system is mounted read-only")
        } else {
            None
        }
    }
}

/// The operator's wish, and what stands beside it.
const DECLARED_FILE: &str = "desired.yaml";

/// What to type where there is no readable wish.
const GOOD_WISH: &str = "`hecate set-desired running`, `drained-off` or `poweroff` writes a good desired.yaml";

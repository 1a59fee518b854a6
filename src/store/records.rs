//! What the loop writes: the ledger, past runs, the intent, and the published status.
//!
//! Only the holder of `hecate.lock` writes these, so they need no lock of their own. A ledger that cannot be read is
//! reported, copied, and never replaced.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::disk::{Durability, keep_as, replace};
use super::{INTENT_MODE, STATE_MODE, STATUS_MODE, Store, StoreError};
use crate::history::{History, Run, Runs};
use crate::ledger::Ledger;
use crate::model::{IntentRecord, MachineId, NodeName};
use crate::status::Status;
use crate::tracker::Low;

/// The ledger holds a few facts a node.
const LEDGER_LENGTH_MAX: u64 = 4 << 20;
/// `runs_kept` runs of [`Run::STEPS_MAX`] steps.
const HISTORY_LENGTH_MAX: u64 = 64 << 20;
/// Four short fields.
const INTENT_LENGTH_MAX: u64 = 64 << 10;
/// The status holds the whole snapshot, so every pod of the cluster.
const STATUS_LENGTH_MAX: u64 = 256 << 20;
/// Different bad ledgers that are kept; the first ones tell most, so later ones are not.
const BAD_LEDGERS_MAX: u32 = 5;

/// What stands in `ledger.json`.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "made once at start, never kept in bulk")]
pub enum LedgerFile {
    /// The facts.
    Good(Ledger),
    /// There is no such file: the first start, or a lost one.
    Missing,
    /// It is corrupt or of another version. Nothing is started; every at-most-once step counts as done.
    Unreadable {
        /// Why.
        why: String,
    },
}

/// What stands in `runs.json`.
#[derive(Clone, Debug, PartialEq)]
pub enum HistoryFile {
    /// The runs.
    Good(History),
    /// There is no such file.
    Missing,
    /// It cannot be read; budgets come from the configuration then.
    Unreadable {
        /// Why.
        why: String,
    },
}

impl Store {
    /// Reads `ledger.json`. Never fails and writes nothing: what is wrong is part of the answer.
    pub fn read_ledger(&self) -> LedgerFile {
        match self.disk.read(&self.ledger_path(), LEDGER_LENGTH_MAX) {
            Ok(bytes) => match parse_ledger(&bytes) {
                Ok(ledger) => LedgerFile::Good(ledger),
                Err(why) => LedgerFile::Unreadable { why },
            },
            Err(failure) if failure.kind() == io::ErrorKind::NotFound => LedgerFile::Missing,
            Err(failure) => LedgerFile::Unreadable { why: failure.to_string() },
        }
    }

    /// Replaces `ledger.json`; it is on disk when this returns. Refuses to replace one that cannot be read.
    pub fn write_ledger(&self, ledger: &Ledger) -> Result<(), StoreError> {
        let path = self.ledger_path();
        if let LedgerFile::Unreadable { why } = self.read_ledger() {
            return Err(StoreError::LedgerKept { path, why });
        }
        self.write_json(&path, ledger, STATE_MODE, Durability::Durable)
    }

    /// Copies an unreadable ledger to `ledger.json.bad-N`; None where this one, or enough others, are kept already.
    pub fn keep_bad_ledger(&self) -> Result<Option<PathBuf>, StoreError> {
        let path = self.ledger_path();
        let keep = |source| StoreError::Keep { path: path.clone(), source };
        let content = self.disk.read(&path, LEDGER_LENGTH_MAX).map_err(keep)?;
        for number in 1..=BAD_LEDGERS_MAX {
            let copy = self.state_dir().join(format!("ledger.json.bad-{number}"));
            match self.disk.read(&copy, LEDGER_LENGTH_MAX) {
                Ok(kept) if kept == content => return Ok(None),
                Err(failure) if failure.kind() == io::ErrorKind::NotFound => {
                    replace(&*self.disk, &copy, &content, STATE_MODE, Durability::Durable).map_err(keep)?;
                    return Ok(Some(copy));
                }
                Ok(_) | Err(_) => {}
            }
        }
        Ok(None)
    }

    /// Reads `runs.json`.
    pub fn read_history(&self) -> HistoryFile {
        match self.disk.read(&self.history_path(), HISTORY_LENGTH_MAX) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(history) => HistoryFile::Good(history),
                Err(failure) => HistoryFile::Unreadable { why: failure.to_string() },
            },
            Err(failure) if failure.kind() == io::ErrorKind::NotFound => HistoryFile::Missing,
            Err(failure) => HistoryFile::Unreadable { why: failure.to_string() },
        }
    }

    /// Replaces `runs.json` by the last `kept` runs, each with its first [`Run::STEPS_MAX`] steps.
    ///
    /// An unreadable one is kept as `runs.json.bad`: it only teaches, so nothing waits for a person.
    pub fn write_history(&self, history: &History, kept: usize) -> Result<(), StoreError> {
        let path = self.history_path();
        if let HistoryFile::Unreadable { .. } = self.read_history() {
            keep_as(&*self.disk, &path, &self.state_dir().join("runs.json.bad"))
                .map_err(|source| StoreError::Keep { path: path.clone(), source })?;
        }
        let skipped = history.runs().len().saturating_sub(kept);
        let bounded =
            |run: &Run| Run { steps: run.steps.iter().take(Run::STEPS_MAX).cloned().collect(), ..run.clone() };
        let bounded = Runs { runs: history.runs().iter().skip(skipped).map(bounded).collect() };
        self.write_json(&path, &bounded, STATE_MODE, Durability::Durable)
    }

    /// The machine ids that `hecate enroll` learned; empty where none was.
    pub fn read_enrolled(&self) -> Result<BTreeMap<NodeName, MachineId>, StoreError> {
        self.read_json(&self.enrolled_path(), LEDGER_LENGTH_MAX).map(Option::unwrap_or_default)
    }

    /// Keeps a node's machine id as enrolled.
    pub fn set_enrolled(&self, node: &NodeName, machine_id: &MachineId) -> Result<(), StoreError> {
        self.prepare_state_dir()?;
        let mut enrolled = self.read_enrolled()?;
        enrolled.insert(node.clone(), machine_id.clone());
        self.write_json(&self.enrolled_path(), &enrolled, STATE_MODE, Durability::Durable)
    }

    /// Reads `intent.json`; None where there is none.
    pub fn read_intent(&self) -> Result<Option<IntentRecord>, StoreError> {
        self.read_json(&self.state_dir().join("intent.json"), INTENT_LENGTH_MAX)
    }

    /// Replaces `intent.json`.
    pub fn write_intent(&self, intent: &IntentRecord) -> Result<(), StoreError> {
        self.write_json(&self.state_dir().join("intent.json"), intent, INTENT_MODE, Durability::Durable)
    }

    /// Reads the published status; None where nothing was published since the host was booted.
    pub fn read_status(&self) -> Result<Option<Status>, StoreError> {
        self.read_json(&self.status_path(), STATUS_LENGTH_MAX)
    }

    /// Publishes the status: atomic for readers, not durable.
    pub fn write_status(&self, status: &Status) -> Result<(), StoreError> {
        self.write_json(&self.status_path(), status, STATUS_MODE, Durability::Volatile)
    }

    /// Reads `low.json`; None where there is none.
    pub fn read_low(&self) -> Result<Option<Low>, StoreError> {
        self.read_json(&self.low_path(), LEDGER_LENGTH_MAX)
    }

    /// Replaces `low.json`: atomic for readers, not durable.
    pub fn write_low(&self, low: &Low) -> Result<(), StoreError> {
        self.write_json(&self.low_path(), low, STATE_MODE, Durability::Volatile)
    }

    fn read_json<T: DeserializeOwned>(&self, path: &Path, limit: u64) -> Result<Option<T>, StoreError> {
        let bytes = match self.disk.read(path, limit) {
            Ok(bytes) => bytes,
            Err(failure) if failure.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::Read { path: path.to_owned(), source }),
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|failure| StoreError::Understand { path: path.to_owned(), why: failure.to_string() })
    }

    fn write_json<T: Serialize>(
        &self,
        path: &Path,
        value: &T,
        mode: u32,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let encoded = match durability {
            Durability::Durable => serde_json::to_vec_pretty(value),
            Durability::Volatile => serde_json::to_vec(value),
        };
        let mut content =
            encoded.map_err(|failure| StoreError::Encode { path: path.to_owned(), why: failure.to_string() })?;
        content.push(b'\n');
        replace(&*self.disk, path, &content, mode, durability)
            .map_err(|source| StoreError::Write { path: path.to_owned(), source })
    }

    fn enrolled_path(&self) -> PathBuf {
        self.state_dir().join("enrolled.json")
    }

    fn low_path(&self) -> PathBuf {
        self.runtime_dir().join("low.json")
    }

    fn ledger_path(&self) -> PathBuf {
        self.state_dir().join("ledger.json")
    }

    fn history_path(&self) -> PathBuf {
        self.state_dir().join("runs.json")
    }
}

/// What is asked of a ledger before anything else is.
#[derive(Deserialize)]
struct Head {
    version: u32,
}

fn parse_ledger(bytes: &[u8]) -> Result<Ledger, String> {
    let head: Head = serde_json::from_slice(bytes).map_err(|failure| failure.to_string())?;
    if head.version != Ledger::VERSION {
        return Err(format!("its version is {}, this hecate knows {}", head.version, Ledger::VERSION));
    }
    serde_json::from_slice(bytes).map_err(|failure| failure.to_string())
}

//! `desired.yaml`: read as it is, changed part by part under a lock, never replaced by a guess.
//!
//! A command changes `spec`, `holds` or `forget`, the UPS policy its own override; whoever writes re-reads first, so that
//! neither loses the other's part.

use std::io;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Deserialize;

use super::disk::{Durability, keep_as, replace};
use super::{STATE_MODE, Store, StoreError};
use crate::desired::{Declared, Forget, Held, Hold, Override, Spec};
use crate::model::UpsName;

/// No wish is longer: thousands of holds fit, and a wrong file does not fill the memory.
const LENGTH_MAX: u64 = 1 << 20;

/// Files whose presence says that this is not the very first start.
const OTHER_STATE: [&str; 5] = ["desired.yaml.", "intent.json", "ledger.json", "runs.json", "bootstrap-cache"];

/// What stands in `desired.yaml`.
#[derive(Clone, Debug, PartialEq)]
pub enum DeclaredFile {
    /// A wish.
    Good(Declared),
    /// There is no such file.
    Missing {
        /// Whether other state is there: then the file was lost, else this is the very first start.
        other_state_exists: bool,
    },
    /// It is there and cannot be read, cannot be understood, or is of another version.
    Unreadable {
        /// Why.
        why: String,
    },
}

/// What became of the rest when the spec was set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecSet {
    /// Where the unreadable file is kept that was replaced.
    pub bad_kept_as: Option<PathBuf>,
    /// Whether overrides and holds come from the previous version, because the file itself had none to give.
    pub recovered_from_previous: bool,
}

impl Store {
    /// Reads `desired.yaml`. Never fails: what is wrong is part of the answer.
    pub fn read_declared(&self) -> DeclaredFile {
        let path = self.desired_path();
        match self.disk.read(&path, LENGTH_MAX) {
            Ok(bytes) => match parse(&bytes) {
                Ok(declared) => DeclaredFile::Good(declared),
                Err(why) => DeclaredFile::Unreadable { why },
            },
            Err(failure) if failure.kind() == io::ErrorKind::NotFound => {
                DeclaredFile::Missing { other_state_exists: self.other_state_exists() }
            }
            Err(failure) => DeclaredFile::Unreadable { why: failure.to_string() },
        }
    }

    /// Sets what the operator asks for; overrides and holds stay.
    ///
    /// This is a person's word, so it may replace a file that is missing or unreadable: the bad one is kept as
    /// `desired.yaml.bad`, and overrides and holds come from the previous version where that can be read.
    pub fn set_spec(&self, spec: Spec) -> Result<SpecSet, StoreError> {
        let _lock = self.lock_desired()?;
        let mut outcome = SpecSet::default();
        let declared = match self.read_declared() {
            DeclaredFile::Good(declared) => Declared { spec, ..declared },
            DeclaredFile::Missing { .. } => self.recover(spec, &mut outcome),
            DeclaredFile::Unreadable { .. } => {
                let bad = self.state_dir().join("desired.yaml.bad");
                keep_as(&*self.disk, &self.desired_path(), &bad)
                    .map_err(|source| StoreError::Keep { path: self.desired_path(), source })?;
                outcome.bad_kept_as = Some(bad);
                let declared = self.recover(spec, &mut outcome);
                // The previous version stays what it is: the bad file must not take its place.
                self.write_declared(&declared)?;
                return Ok(outcome);
            }
        };
        self.replace_declared(&declared)?;
        Ok(outcome)
    }

    /// Writes the very first wish; says false and changes nothing where any file is there by now.
    pub fn create_declared(&self, spec: Spec) -> Result<bool, StoreError> {
        let _lock = self.lock_desired()?;
        match self.read_declared() {
            DeclaredFile::Missing { other_state_exists: false } => {
                self.write_declared(&Declared::new(spec)).map(|()| true)
            }
            DeclaredFile::Missing { other_state_exists: true }
            | DeclaredFile::Good(_)
            | DeclaredFile::Unreadable { .. } => Ok(false),
        }
    }

    /// Writes the wish of a first start that the disk did not take at once; changes nothing where any file is there by now.
    pub fn write_first_wish(&self, spec: Spec) -> Result<(), StoreError> {
        let _lock = self.lock_desired()?;
        match self.read_declared() {
            DeclaredFile::Missing { .. } => self.write_declared(&Declared::new(spec)),
            DeclaredFile::Good(_) | DeclaredFile::Unreadable { .. } => Ok(()),
        }
    }

    /// Puts an override on top, in place of the same source's earlier one.
    ///
    /// Refuses where the file is missing or unreadable; the caller then obeys from memory.
    pub fn set_override(&self, wanted: Override) -> Result<(), StoreError> {
        self.change_declared(|declared| match declared.overrides.iter_mut().find(|one| one.source == wanted.source) {
            Some(one) => *one = wanted,
            None => declared.overrides.push(wanted),
        })
    }

    /// Takes a source's override away; says whether there was one.
    pub fn clear_override(&self, source: &str) -> Result<bool, StoreError> {
        self.change_declared(|declared| {
            let before = declared.overrides.len();
            declared.overrides.retain(|one| one.source != source);
            declared.overrides.len() != before
        })
    }

    /// Sets a hold, in place of an earlier one on the same; holds that have expired by then go.
    pub fn set_hold(&self, hold: Hold) -> Result<(), StoreError> {
        self.change_declared(|declared| {
            declared.holds.retain(|one| one.what != hold.what && one.expires_at > hold.set_at);
            declared.holds.push(hold);
        })
    }

    /// Takes a hold away; says whether there was one.
    pub fn clear_hold(&self, what: &Held) -> Result<bool, StoreError> {
        self.change_declared(|declared| {
            let before = declared.holds.len();
            declared.holds.retain(|one| one.what != *what);
            declared.holds.len() != before
        })
    }

    /// Asks that what was learned of a UPS be forgotten, in place of an earlier word on the same.
    pub fn ask_to_forget(&self, forget: Forget) -> Result<(), StoreError> {
        self.change_declared(|declared| {
            declared.forget.retain(|one| one.ups != forget.ups);
            declared.forget.push(forget);
        })
    }

    /// Takes such a word away once it was obeyed; says whether there was one. A later word on the same UPS stays.
    pub fn clear_forget(&self, ups: &UpsName, set_at: Timestamp) -> Result<bool, StoreError> {
        self.change_declared(|declared| {
            let before = declared.forget.len();
            declared.forget.retain(|one| one.ups != *ups || one.set_at > set_at);
            declared.forget.len() != before
        })
    }

    /// Takes this very hold away; a newer one on the same stays.
    pub fn drop_hold(&self, hold: &Hold) -> Result<(), StoreError> {
        self.change_declared(|declared| declared.holds.retain(|one| one != hold))
    }

    /// Changes a part of a readable `desired.yaml` under its lock; a change that changes nothing writes nothing.
    pub fn change_declared<T>(&self, change: impl FnOnce(&mut Declared) -> T) -> Result<T, StoreError> {
        let _lock = self.lock_desired()?;
        let before = match self.read_declared() {
            DeclaredFile::Good(declared) => declared,
            DeclaredFile::Missing { .. } => return Err(StoreError::NoDeclared { path: self.desired_path() }),
            DeclaredFile::Unreadable { why } => {
                return Err(StoreError::Understand { path: self.desired_path(), why });
            }
        };
        let mut after = before.clone();
        let answer = change(&mut after);
        if after != before {
            self.replace_declared(&after)?;
        }
        Ok(answer)
    }

    /// Keeps the version on disk as the previous one, then replaces it.
    fn replace_declared(&self, declared: &Declared) -> Result<(), StoreError> {
        match keep_as(&*self.disk, &self.desired_path(), &self.previous_path()) {
            Ok(()) => {}
            Err(failure) if failure.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(StoreError::Keep { path: self.desired_path(), source }),
        }
        self.write_declared(declared)
    }

    fn write_declared(&self, declared: &Declared) -> Result<(), StoreError> {
        let path = self.desired_path();
        let text = serde_yaml::to_string(declared)
            .map_err(|failure| StoreError::Encode { path: path.clone(), why: failure.to_string() })?;
        replace(&*self.disk, &path, text.as_bytes(), STATE_MODE, Durability::Durable)
            .map_err(|source| StoreError::Write { path, source })
    }

    /// A wish around `spec` with what the previous version still knows.
    fn recover(&self, spec: Spec, outcome: &mut SpecSet) -> Declared {
        let previous = self.disk.read(&self.previous_path(), LENGTH_MAX).ok().and_then(|bytes| parse(&bytes).ok());
        match previous {
            Some(previous) => {
                outcome.recovered_from_previous = true;
                Declared { spec, ..previous }
            }
            None => Declared::new(spec),
        }
    }

    fn previous_path(&self) -> PathBuf {
        self.state_dir().join("desired.yaml.previous")
    }

    /// A folder that cannot be listed counts as holding state: only a known first start may begin by itself.
    fn other_state_exists(&self) -> bool {
        let names = match self.disk.list(self.state_dir()) {
            Ok(names) => names,
            Err(failure) => return failure.kind() != io::ErrorKind::NotFound,
        };
        names.iter().any(|name| OTHER_STATE.iter().any(|known| name.to_string_lossy().starts_with(known)))
    }
}

/// What is asked of a file before anything else is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    api_version: String,
    kind: String,
}

fn parse(bytes: &[u8]) -> Result<Declared, String> {
    let text = std::str::from_utf8(bytes).map_err(|failure| failure.to_string())?;
    let head: Head = serde_yaml::from_str(text).map_err(|failure| failure.to_string())?;
    if head.api_version != Declared::API_VERSION {
        return Err(format!("apiVersion is {:?}, this hecate knows {:?}", head.api_version, Declared::API_VERSION));
    }
    if head.kind != Declared::KIND {
        return Err(format!("kind is {:?} instead of {:?}", head.kind, Declared::KIND));
    }
    serde_yaml::from_str(text).map_err(|failure| failure.to_string())
}

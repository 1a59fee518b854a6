//! A disk in memory that breaks at a chosen unit of work, and that forgets what was not synced when the power goes.
//!
//! Each operation and each byte written costs one unit, so that counting up the units cuts every write at every byte.
//! Names are forgotten in the order in which a journalling file system would commit them; contents at will.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use hecate::store::{Disk, DiskFile};

/// What happens when the units are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing works any more: killed, or the power went.
    Crash,
    /// This one operation fails.
    Once,
    /// Whatever needs room fails from now on.
    Full,
}

/// What is left of contents that were never synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsynced {
    /// As it was written: the process was killed, the kernel lives.
    Kept,
    /// Nothing: the power went.
    Lost,
}

type Names = BTreeMap<PathBuf, usize>;

#[derive(Clone, Debug, Default)]
struct Platter {
    contents: Vec<Vec<u8>>,
    synced: Vec<Vec<u8>>,
    names: Names,
    durable_names: Names,
    /// Names as they were after each operation that no folder sync has made durable.
    pending_names: Vec<Names>,
    units: Option<usize>,
    fault: Option<Fault>,
    is_tripped: bool,
}

/// The disk; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct BrokenDisk(Arc<Mutex<Platter>>);

impl BrokenDisk {
    /// A copy of what is there now, all of it durable, that breaks after `units`.
    pub(crate) fn breaking_after(&self, units: usize, fault: Fault) -> Self {
        let mut platter = self.0.lock().unwrap().clone();
        platter.synced = platter.contents.clone();
        platter.durable_names = platter.names.clone();
        platter.pending_names.clear();
        platter.units = Some(units);
        platter.fault = Some(fault);
        platter.is_tripped = false;
        Self(Arc::new(Mutex::new(platter)))
    }

    /// Whether the fault happened.
    pub(crate) fn is_tripped(&self) -> bool {
        self.0.lock().unwrap().is_tripped
    }

    /// What a reader may see: every file but the hidden temporary ones.
    pub(crate) fn visible(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let platter = self.0.lock().unwrap();
        let is_hidden = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let named = platter.names.iter().filter(|(path, _)| !is_hidden(path));
        named.map(|(path, number)| (path.clone(), platter.contents[*number].clone())).collect()
    }

    /// Every disk that a reboot may find.
    pub(crate) fn reboots(&self) -> Vec<Self> {
        let platter = self.0.lock().unwrap().clone();
        let mut found = Vec::new();
        for unsynced in [Unsynced::Kept, Unsynced::Lost] {
            for names in std::iter::once(&platter.durable_names).chain(&platter.pending_names) {
                found.push(platter.after(names, unsynced));
            }
        }
        found
    }

    /// The disk as the next process finds it when only this one was killed.
    pub(crate) fn healed(&self) -> Self {
        let platter = self.0.lock().unwrap().clone();
        platter.after(&platter.names, Unsynced::Kept)
    }
}

impl Platter {
    fn after(&self, names: &Names, unsynced: Unsynced) -> BrokenDisk {
        let contents = match unsynced {
            Unsynced::Kept => self.contents.clone(),
            Unsynced::Lost => self.synced.clone(),
        };
        let (synced, names, durable_names) = (contents.clone(), names.clone(), names.clone());
        BrokenDisk(Arc::new(Mutex::new(Platter { contents, synced, names, durable_names, ..Platter::default() })))
    }

    /// Spends up to `wanted` units; says how many were there, or fails as the fault has it.
    fn spend(&mut self, wanted: usize, needs_room: bool) -> io::Result<usize> {
        let Some(left) = self.units else { return Ok(wanted) };
        if left > 0 {
            let spent = left.min(wanted);
            self.units = Some(left - spent);
            return Ok(spent);
        }
        self.is_tripped = true;
        match self.fault {
            Some(Fault::Crash) => Err(io::Error::other("dead")),
            Some(Fault::Once) => {
                self.units = None;
                Err(io::Error::other("input/output error"))
            }
            Some(Fault::Full) if needs_room => Err(ErrorKind::StorageFull.into()),
            Some(Fault::Full) | None => Ok(wanted),
        }
    }

    fn named(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn renamed(&mut self) {
        self.pending_names.push(self.names.clone());
    }
}

impl Disk for BrokenDisk {
    fn read(&self, path: &Path, _limit: u64) -> io::Result<Vec<u8>> {
        let platter = self.0.lock().unwrap();
        if platter.is_tripped && platter.fault == Some(Fault::Crash) {
            return Err(io::Error::other("dead"));
        }
        Ok(platter.contents[platter.named(path)?].clone())
    }

    fn create(&self, path: &Path, _mode: u32) -> io::Result<Box<dyn DiskFile>> {
        let mut platter = self.0.lock().unwrap();
        platter.spend(1, true)?;
        if platter.names.contains_key(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        platter.contents.push(Vec::new());
        platter.synced.push(Vec::new());
        let number = platter.contents.len() - 1;
        platter.names.insert(path.to_owned(), number);
        platter.renamed();
        Ok(Box::new(OpenFile { disk: self.clone(), number }))
    }

    fn link(&self, original: &Path, link: &Path) -> io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        platter.spend(1, true)?;
        let number = platter.named(original)?;
        if platter.names.contains_key(link) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        platter.names.insert(link.to_owned(), number);
        platter.renamed();
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        platter.spend(1, false)?;
        let number = platter.named(from)?;
        // rename(2): both names of one file stay as they are.
        if platter.names.get(to) != Some(&number) {
            platter.names.remove(from);
            platter.names.insert(to.to_owned(), number);
            platter.renamed();
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        platter.spend(1, false)?;
        platter.named(path)?;
        platter.names.remove(path);
        platter.renamed();
        Ok(())
    }

    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        platter.spend(1, false)?;
        platter.durable_names = platter.names.clone();
        platter.pending_names.clear();
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        let platter = self.0.lock().unwrap();
        let inside = platter.names.keys().filter(|path| path.parent() == Some(folder));
        Ok(inside.filter_map(|path| path.file_name().map(OsString::from)).collect())
    }
}

struct OpenFile {
    disk: BrokenDisk,
    number: usize,
}

impl Write for OpenFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut platter = self.disk.0.lock().unwrap();
        let written = platter.spend(bytes.len(), true)?;
        platter.contents[self.number].extend_from_slice(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for OpenFile {
    fn sync(&mut self) -> io::Result<()> {
        let mut platter = self.disk.0.lock().unwrap();
        platter.spend(1, false)?;
        platter.synced[self.number] = platter.contents[self.number].clone();
        Ok(())
    }
}

//! The few operations on files that durability rests on, and the dance that replaces a file entirely or not at all.
//!
//! Must never leave a name missing that was there before, nor show half of a content under it. `Disk` is a trait so
//! that `tests/it/store.rs` can cut every write at every byte; nothing but that needs a second implementation.

use std::ffi::OsString;
use std::fmt;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What a file system can do for the store.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Reads a whole file; one longer than `limit` is an error, never a truncated content.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;
    /// Makes a new, empty file with exactly this mode; fails where the name exists.
    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn DiskFile>>;
    /// Gives a file a second name; fails where that exists.
    fn link(&self, original: &Path, link: &Path) -> io::Result<()>;
    /// Moves a name onto another, atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Takes a name away.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Names in a folder.
    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>>;
}

/// A file that is being written.
pub trait DiskFile: Write {
    /// Makes its content durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// The real file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        let mut content = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut content)?;
        if u64::try_from(content.len()).is_ok_and(|length| length > limit) {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {limit} bytes")));
        }
        Ok(content)
    }

    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        // The umask may have taken bits away; the mode is part of what is promised.
        file.set_permissions(Permissions::from_mode(mode))?;
        Ok(Box::new(RealFile(file)))
    }

    fn link(&self, original: &Path, link: &Path) -> io::Result<()> {
        std::fs::hard_link(original, link)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
    }
}

/// A file of the real file system.
struct RealFile(File);

impl Write for RealFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl DiskFile for RealFile {
    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_all()
    }
}

/// How a file is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// On disk before the call returns.
    Durable,
    /// Atomic for readers, but lost with the power: for what is published anew every second.
    Volatile,
}

/// Replaces `path` by `content`: readers, and whoever comes after a crash, see the old or the new, entire.
///
/// The temporary file has a fixed name, so that a crash leaves one at most; callers hold the lock that makes them the
/// only writer of `path`.
pub(super) fn replace(
    disk: &dyn Disk,
    path: &Path,
    content: &[u8],
    mode: u32,
    durability: Durability,
) -> io::Result<()> {
    let temporary = hidden(path, "new");
    let written = write_new(disk, &temporary, content, mode, durability).and_then(|()| disk.rename(&temporary, path));
    if let Err(failure) = written {
        // What is left over is removed by the next write as well; a second failure here says nothing new.
        let _ = disk.remove(&temporary);
        return Err(failure);
    }
    match durability {
        Durability::Durable => disk.sync_folder(folder(path)),
        Durability::Volatile => Ok(()),
    }
}

/// Replaces a file outside of the state directory, for everybody to read: entirely or not at all.
///
/// # Errors
/// Fails where the folder is not there or takes no file.
pub fn publish(path: &Path, content: &[u8]) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    replace(&RealDisk, &path, content, 0o644, Durability::Durable)
}

/// Gives the file at `path` the second name `kept`, replacing what had it, without `path` ever being missing.
pub(super) fn keep_as(disk: &dyn Disk, path: &Path, kept: &Path) -> io::Result<()> {
    let temporary = hidden(kept, "link");
    remove_if_there(disk, &temporary)?;
    disk.link(path, &temporary)?;
    disk.rename(&temporary, kept)?;
    // rename(2) does nothing when both names are already one file: then the temporary one is still there.
    remove_if_there(disk, &temporary)
}

/// Removes a file that may not be there.
pub(super) fn remove_if_there(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(failure) if failure.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The folder a file is in.
pub(super) fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn write_new(disk: &dyn Disk, path: &Path, content: &[u8], mode: u32, durability: Durability) -> io::Result<()> {
    remove_if_there(disk, path)?;
    let mut file = disk.create(path, mode)?;
    file.write_all(content)?;
    file.flush()?;
    match durability {
        Durability::Durable => file.sync(),
        Durability::Volatile => Ok(()),
    }
}

/// `.NAME.SUFFIX` beside `path`.
fn hidden(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}

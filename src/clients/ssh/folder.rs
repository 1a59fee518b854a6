//! hecate's folder below `<runtime_dir>/ssh`: the generated ssh_config and the sockets of the kept sessions.
//!
//! Each process has a folder of its own and holds a lock on it, so that `hecate enroll` beside a running daemon takes
//! nothing away from it. A folder that nobody holds is left over from a process that was killed: its ssh masters are
//! ended through their sockets, never by searching for processes.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::SshError;

/// ssh adds 17 characters to a socket's path while it makes it; sun_path holds 108 bytes (unix(7)).
const FOLDER_BYTES_MAX: usize = 108 - 1 - "/.ssh-connectionXXXXXX/master".len() - 17;

/// How long one leftover master may take to end.
const END_MASTER_LIMIT: Duration = Duration::from_secs(2);

/// This process' folder; removed when dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// The lock says that the folder is in use.
    _lock: File,
}

/// A folder that was left over, locked so that nobody else cleans it up too.
#[derive(Debug)]
pub(super) struct Leftover {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes this process' folder and finds those that were left over. Blocks for a moment.
    pub(super) fn create(runtime_dir: &Path) -> Result<(Self, Vec<Leftover>), SshError> {
        let parent = runtime_dir.join("ssh");
        create_private(runtime_dir, &parent).map_err(|source| prepare(&parent, &source))?;
        // Between making a folder and locking it nobody may look for leftovers.
        let doorkeeper = open_lock(&parent.join("lock")).map_err(|source| prepare(&parent, &source))?;
        doorkeeper.lock().map_err(|source| prepare(&parent, &source))?;
        let leftovers = find_leftovers(&parent).map_err(|source| prepare(&parent, &source))?;
        let path = unused_name(&parent);
        if path.as_os_str().len() > FOLDER_BYTES_MAX {
            let problem =
                format!("{} is too long a path for sockets (at most {FOLDER_BYTES_MAX} bytes)", path.display());
            return Err(SshError::Settings { problem });
        }
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(|source| prepare(&path, &source))?;
        let lock = open_lock(&path.join("lock")).map_err(|source| prepare(&path, &source))?;
        lock.lock().map_err(|source| prepare(&path, &source))?;
        Ok((Self { path, _lock: lock }, leftovers))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes a lock that all processes of this runtime folder share; None where somebody else holds it.
    pub(super) fn lock_beside(&self, name: &str) -> Result<Option<File>, SshError> {
        let path = self.path.with_file_name(name);
        let lock = open_lock(&path).map_err(|source| prepare(&path, &source))?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(lock)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(prepare(&path, &source)),
        }
    }

    /// Writes one file of the folder, readable by its owner only.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), SshError> {
        let path = self.path.join(name);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options
            .open(&path)
            .and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()))
            .map_err(|source| prepare(&path, &source))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Sessions hold an Arc on the folder, so nothing uses it any more; a rest is found as a leftover.
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "ssh folder cannot be removed");
        }
    }
}

impl Leftover {
    /// Ends the masters whose sockets stand in the folder, then removes it.
    pub(super) async fn end(self) {
        let mut sockets = Vec::new();
        for entry in std::fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let socket = entry.path().join("master");
            if socket.exists() {
                sockets.push(socket);
            }
        }
        let count = sockets.len();
        futures::future::join_all(sockets.into_iter().map(end_master)).await;
        tracing::debug!(path = %self.path.display(), masters = count, "ended what an earlier run left behind");
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "left-over ssh folder cannot be removed");
        }
    }
}

/// `ssh -O exit`: the master ends with everything that runs over it.
pub(super) async fn end_master(socket: PathBuf) {
    let mut command = tokio::process::Command::new("ssh");
    command.args(["-F", "none", "-O", "exit", "-S"]).arg(&socket).arg("left-over");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    if tokio::time::timeout(END_MASTER_LIMIT, command.status()).await.is_err() {
        tracing::warn!(socket = %socket.display(), "left-over ssh master does not end");
    }
}

fn prepare(path: &Path, source: &io::Error) -> SshError {
    SshError::Prepare { path: path.to_path_buf(), why: source.to_string() }
}

fn create_private(runtime_dir: &Path, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(runtime_dir)?;
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
        }
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn unused_name(parent: &Path) -> PathBuf {
    let pid = std::process::id();
    // Each number is tried once; the loop ends at the first one that is free.
    (0u32..)
        .map(|number| parent.join(format!("{pid}-{number}")))
        .find(|path| !path.exists())
        .unwrap_or_else(|| parent.join(format!("{pid}")))
}

fn find_leftovers(parent: &Path) -> io::Result<Vec<Leftover>> {
    let mut leftovers = Vec::new();
    for entry in std::fs::read_dir(parent)? {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        let Ok(lock) = open_lock(&path.join("lock")) else { continue };
        match lock.try_lock() {
            Ok(()) => leftovers.push(Leftover { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => {
                tracing::debug!(path = %path.display(), %error, "ssh folder cannot be locked")
            }
        }
    }
    Ok(leftovers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_use_is_nobodys_leftover() {
        let runtime = tempfile::tempdir().unwrap();
        let (first, none) = Folder::create(runtime.path()).unwrap();
        assert!(none.is_empty());
        let (second, none) = Folder::create(runtime.path()).unwrap();
        assert!(none.is_empty());
        assert_ne!(first.path(), second.path());
    }

    #[test]
    fn the_folder_of_a_killed_process_is_found_and_removed() {
        let runtime = tempfile::tempdir().unwrap();
        let dead = runtime.path().join("ssh/1-0");
        std::fs::create_dir_all(dead.join(".ssh-connectionabc")).unwrap();
        let (_mine, mut leftovers) = Folder::create(runtime.path()).unwrap();
        assert_eq!(leftovers.len(), 1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(leftovers.pop().unwrap().end());
        assert!(!dead.exists());
    }

    #[test]
    fn files_and_folders_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let runtime = tempfile::tempdir().unwrap();
        let (folder, _) = Folder::create(runtime.path()).unwrap();
        folder.write("config", "Host *\n").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&runtime.path().join("ssh")), 0o700);
        assert_eq!(mode(folder.path()), 0o700);
        assert_eq!(mode(&folder.path().join("config")), 0o600);
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_refused_by_name() {
        let runtime = tempfile::tempdir().unwrap();
        let deep = runtime.path().join("x".repeat(80));
        assert!(Folder::create(&deep).unwrap_err().to_string().contains("too long"));
    }
}

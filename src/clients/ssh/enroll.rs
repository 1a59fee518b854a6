//! Enrolment: the one moment at which a host key is taken on trust, because a person asked for it by name.
//!
//! The key counts only after a full login with it; until then nothing is stored. The known_hosts file is replaced
//! atomically and keeps every line about others.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::AsyncReadExt;

use super::classify::{classify, host_key_summary, is_refusal_by_the_node, summary};
use super::config_text::{self, HostKeys, Inventory, Route, has_jump, key_alias, render};
use super::folder::Folder;
use super::{SshError, known_hosts};
use crate::config::{Config, Node};
use crate::model::{FailureKind, MachineId, NodeName};

/// What an enrolment has found and stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// The node.
    pub node: NodeName,
    /// Its `/etc/machine-id`, read over the enrolled connection.
    pub machine_id: MachineId,
    /// The stored key's fingerprint (`SHA256:...`), with its type, as `ssh-keygen -l` prints them.
    pub fingerprint: String,
    /// The fingerprint of the key that was replaced; None where there was none, or the same one.
    pub replaced: Option<String>,
    /// The jump host and its fingerprint, where its key was not known before and is stored now.
    pub jump_host: Option<(String, String)>,
}

/// Connects to a node whatever its host key is, and stores that key under the node's name.
pub async fn enroll(config: &Config, node: &NodeName) -> Result<Enrolled, SshError> {
    let hosts = config_text::hosts(config);
    let Some((session, entry)) = hosts.get_key_value(node).filter(|(_, entry)| entry.is_managed) else {
        return Err(SshError::UnknownNode { node: node.clone() });
    };
    let (folder, leftovers) = Folder::create(&config.runtime_dir)?;
    // What another run has left is the daemon's to end; only its folder's lock is given back.
    drop(leftovers);
    let Some(_only_one) = folder.lock_beside("enroll")? else {
        return Err(SshError::Enroll { node: node.clone(), problem: "another enrolment is running".to_owned() });
    };
    let inventory = Inventory::of(config, &hosts);
    let work = Work {
        alias: key_alias(&inventory, session, entry),
        inventory,
        node,
        node_file: folder.path().join("node-keys"),
        jump_file: folder.path().join("jump-keys"),
        folder: &folder,
    };
    let machine_id = work.log_in_by_any_way(entry).await?;
    work.store(machine_id).await
}

struct Work<'a> {
    inventory: Inventory<'a>,
    node: &'a NodeName,
    /// The name under which its key is stored.
    alias: &'a str,
    node_file: PathBuf,
    jump_file: PathBuf,
    folder: &'a Folder,
}

impl Work<'_> {
    async fn log_in_by_any_way(&self, entry: &Node) -> Result<MachineId, SshError> {
        let routes: &[Route] = match has_jump(&self.inventory, self.node, entry) {
            true => &[Route::Jump, Route::Direct],
            false => &[Route::Direct],
        };
        let keys = HostKeys::Accept { node: self.node, node_file: &self.node_file, jump_file: &self.jump_file };
        // The way through the jump host uses the direct file for the jump host itself.
        for route in [Route::Direct, Route::Jump] {
            self.folder.write(route.file_name(), &render(&self.inventory, self.folder.path(), route, keys)?)?;
        }
        let mut problems = Vec::new();
        for route in routes {
            match self.log_in(*route).await {
                Ok(machine_id) => return Ok(machine_id),
                Err((kind, detail)) => {
                    problems.push((kind, format!("{route}: {detail}")));
                    if is_refusal_by_the_node(kind) {
                        break;
                    }
                }
            }
        }
        Err(SshError::Connect {
            node: self.node.clone(),
            address: format!("{}:{}", entry.host, entry.port),
            kind: problems.last().map_or(FailureKind::Other, |(kind, _)| *kind),
            detail: problems.into_iter().map(|(_, detail)| detail).collect::<Vec<_>>().join("; "),
        })
    }

    /// Logs in once, without a kept session, and reads the machine id.
    async fn log_in(&self, route: Route) -> Result<MachineId, (FailureKind, String)> {
        let mut command = tokio::process::Command::new("ssh");
        command.arg("-F").arg(self.folder.path().join(route.file_name()));
        command.arg(self.node.as_str()).arg("cat /etc/machine-id");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let limit = self.inventory.ssh.connect_timeout * 2 + self.inventory.ssh.command_timeout;
        let (status, stdout, stderr) = match tokio::time::timeout(limit, bounded_output(command)).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => return Err((FailureKind::Other, format!("ssh cannot be run: {error}"))),
            Err(_) => return Err((FailureKind::TimedOut, "no answer in time".to_owned())),
        };
        if status.success() {
            let text = stdout.trim();
            return match text.len() == 32 && text.chars().all(|c| c.is_ascii_hexdigit()) {
                true => Ok(MachineId::new(text)),
                false => Err((FailureKind::Malformed, format!("its /etc/machine-id reads {:?}", summary(text)))),
            };
        }
        let kind = classify(&stderr);
        let detail = match kind == FailureKind::WrongHostKey {
            // The node's own key is taken as it comes; only the jump host's can be the wrong one.
            true => host_key_summary("the jump host", &stderr),
            false => summary(&stderr),
        };
        Err((kind, detail))
    }

    async fn store(&self, machine_id: MachineId) -> Result<Enrolled, SshError> {
        let problem = |problem: String| SshError::Enroll { node: self.node.clone(), problem };
        let path = &self.inventory.ssh.known_hosts_file;
        let new = read_if_there(&self.node_file).map_err(|error| problem(format!("ssh left no host key: {error}")))?;
        let new_keys = known_hosts::keys_of(&new, self.alias);
        if new_keys.is_empty() {
            // A host certificate vouches for itself through @cert-authority and leaves no key.
            return Err(problem("ssh left no host key".to_owned()));
        }
        let old = read_if_there(path).map_err(|error| problem(format!("{} is unreadable: {error}", path.display())))?;
        let fingerprint = self.fingerprint(&new_keys.join("\n")).await?;
        let old_keys = known_hosts::keys_of(&old, self.alias).join("\n");
        let replaced = match old_keys.is_empty() {
            true => None,
            false => Some(self.fingerprint(&old_keys).await?).filter(|old| *old != fingerprint),
        };
        let jump_text = read_if_there(&self.jump_file).unwrap_or_default();
        let jump_keys: Vec<&str> = jump_text.lines().filter(|line| !line.trim().is_empty()).collect();
        let jump_host = match jump_keys.first().and_then(|line| line.split_whitespace().next()) {
            Some(name) => Some((name.to_owned(), self.fingerprint(&jump_keys.join("\n")).await?)),
            None => None,
        };
        let kept = self.forget_hashed(&known_hosts::forget(&old, self.alias)).await?;
        let whole = known_hosts::append(&kept, &[new_keys, jump_keys].concat());
        replace_file(path, &whole)
            .map_err(|error| problem(format!("{} cannot be replaced: {error}", path.display())))?;
        Ok(Enrolled { node: self.node.clone(), machine_id, fingerprint, replaced, jump_host })
    }

    /// Only ssh-keygen can tell whose a hashed line is.
    async fn forget_hashed(&self, text: &str) -> Result<String, SshError> {
        if !text.lines().any(|line| line.starts_with('|')) {
            return Ok(text.to_owned());
        }
        self.folder.write("known-hosts", text)?;
        let path = self.folder.path().join("known-hosts");
        self.keygen(&["-R", self.alias, "-f"], &path).await?;
        read_if_there(&path)
            .map_err(|error| SshError::Enroll { node: self.node.clone(), problem: format!("{path:?}: {error}") })
    }

    async fn fingerprint(&self, keys: &str) -> Result<String, SshError> {
        self.folder.write("keys", &format!("{keys}\n"))?;
        let printed = self.keygen(&["-l", "-f"], &self.folder.path().join("keys")).await?;
        // `256 SHA256:... cp-1 (ED25519)`: length and name say nothing new.
        let prints = printed.lines().filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            Some(format!("{} {}", words.get(1)?, words.last()?))
        });
        Ok(prints.collect::<Vec<_>>().join(", "))
    }

    async fn keygen(&self, arguments: &[&str], path: &Path) -> Result<String, SshError> {
        let mut command = tokio::process::Command::new("ssh-keygen");
        command.args(arguments).arg(path).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        let problem = match tokio::time::timeout(self.inventory.ssh.command_timeout, bounded_output(command)).await {
            Ok(Ok((status, stdout, _))) if status.success() => return Ok(stdout),
            Ok(Ok((_, _, stderr))) => summary(&stderr),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        Err(SshError::Enroll { node: self.node.clone(), problem: format!("ssh-keygen: {problem}") })
    }
}

/// More than any of these commands has to say.
const OUTPUT_BYTES_MAX: u64 = 64 * 1024;

async fn bounded_output(
    mut command: tokio::process::Command,
) -> io::Result<(std::process::ExitStatus, String, String)> {
    let mut child = command.spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let read = async |stream: Option<_>| match stream {
        Some(stream) => read_all(stream).await,
        None => String::new(),
    };
    let read_errors = async {
        match stderr {
            Some(stream) => read_all(stream).await,
            None => String::new(),
        }
    };
    let (stdout, stderr) = tokio::join!(read(stdout), read_errors);
    Ok((child.wait().await?, stdout, stderr))
}

async fn read_all(stream: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut bytes = Vec::new();
    // A stream that breaks has said what it had to say.
    drop(stream.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes).await);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn read_if_there(path: &Path) -> io::Result<String> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other,
    }
}

/// Replaces a file so that a reader sees the old text or the new one, whatever happens in between.
fn replace_file(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::other("it has no parent folder"))?;
    std::fs::create_dir_all(folder)?;
    let temporary = folder.join(format!(".known_hosts.{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o644);
    let written = options.open(&temporary).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| std::fs::rename(&temporary, path));
    if renamed.is_err() {
        drop(std::fs::remove_file(&temporary));
    }
    renamed?;
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_hosts_file_is_replaced_whole_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/known_hosts");
        replace_file(&path, "cp-1 ssh-ed25519 AAAA\n").unwrap();
        replace_file(&path, "cp-1 ssh-ed25519 BBBB\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "cp-1 ssh-ed25519 BBBB\n");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_known_hosts_file_that_cannot_be_written_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_hosts");
        std::fs::create_dir(&path).unwrap();
        assert!(replace_file(&path, "x\n").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

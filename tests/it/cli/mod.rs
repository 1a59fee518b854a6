//! The real binary: help, what it prints, and its exit codes.

mod check;
mod follow;
mod scenarios;
mod simulate;
mod text;
mod wishes;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use hecate::status::Status;
use hecate::store::{ActorKind, ActorLock, Store};
use tempfile::TempDir;

/// A host of its own: state directory, runtime directory, no configuration.
struct Host {
    folder: TempDir,
    store: Store,
}

impl Host {
    fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let store = Store::new(folder.path().join("state"), folder.path().join("run"));
        store.prepare().expect("both folders can be made");
        Self { folder, store }
    }

    /// A host on which this test is the daemon and has published a status.
    fn with_daemon(status: Status) -> (Self, ActorLock) {
        let host = Self::new();
        let lock = host.store.lock_actor(ActorKind::Daemon).expect("nobody else acts");
        host.store.write_status(&crate::samples::published_now(status, 1)).expect("the status can be written");
        (host, lock)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = hecate(arguments);
        command.arg("--state-dir").arg(self.store.state_dir()).arg("--runtime-dir").arg(self.store.runtime_dir());
        command.arg("--config").arg(self.folder.path().join("hecate.yaml"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments))
    }

    fn configure(&self) {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/hecate.example.yaml");
        std::fs::copy(example, self.folder.path().join("hecate.yaml")).expect("the example can be copied");
    }
}

/// What a command did.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn of(mut command: Command) -> Self {
        Self::from(command.stdin(Stdio::null()).output().expect("the binary runs"))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the output is text");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

fn hecate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hecate"));
    command.args(arguments).env_clear().env("USER", "root").env("COLUMNS", "100");
    command
}

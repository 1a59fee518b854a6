//! What every command needs: the configuration, the store, and a voice.
//!
//! Commands that only read or write the state directory must work while the configuration is broken, as the daemon
//! then goes on with its last good one.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::exit::{CONFIGURATION, UNEXPECTED};
use super::{Output, Stop};
use crate::config::{Config, ConfigMistakes, Mistake};
use crate::store::{Disk, RealDisk, Store};

/// The configuration where none is named.
const CONFIG: &str = "/etc/hecate/hecate.yaml";
/// The state directory where no configuration can be asked.
const STATE_DIR: &str = "/var/lib/hecate";
/// The runtime directory where no configuration can be asked.
const RUNTIME_DIR: &str = "/run/hecate";
/// No configuration is longer.
const CONFIG_LENGTH_MAX: u64 = 4 << 20;

/// What every command needs.
#[derive(Debug)]
pub(super) struct Context<'a> {
    config_path: PathBuf,
    is_config_named: bool,
    state_dir: Option<PathBuf>,
    runtime_dir: Option<PathBuf>,
    pub(super) output: &'a Output,
}

/// A configuration that was read.
#[derive(Debug)]
pub(super) struct Loaded {
    /// The configuration, with the command line's directories in it.
    pub(super) config: Config,
    /// What is odd in it.
    pub(super) warnings: Vec<Mistake>,
}

impl<'a> Context<'a> {
    pub(super) fn new(
        config: Option<PathBuf>,
        state_dir: Option<PathBuf>,
        runtime_dir: Option<PathBuf>,
        output: &'a Output,
    ) -> Self {
        let is_config_named = config.is_some();
        let config_path = config.unwrap_or_else(|| PathBuf::from(CONFIG));
        Self { config_path, is_config_named, state_dir, runtime_dir, output }
    }

    /// Whether the command line or the environment names a configuration.
    pub(super) fn is_config_named(&self) -> bool {
        self.is_config_named
    }

    /// The configuration's path.
    pub(super) fn config_path(&self) -> &Path {
        &self.config_path
    }

    /// Reads the configuration; prints every mistake and stops where there is one.
    pub(super) fn load(&self) -> Result<Loaded, Stop> {
        match self.read()? {
            Ok(loaded) => Ok(loaded),
            Err(mistakes) => {
                let file = self.config_path.display().to_string();
                self.output.note(mistakes.in_file(&file).to_string().trim_end());
                Err(Stop::failed(CONFIGURATION, anyhow::Error::new(mistakes)))
            }
        }
    }

    /// The configuration alone.
    pub(super) fn config(&self) -> Result<Config, Stop> {
        self.load().map(|loaded| loaded.config)
    }

    /// The store of a configuration.
    pub(super) fn store_of(&self, config: &Config) -> Store {
        Store::new(&config.state_dir, &config.runtime_dir)
    }

    /// The store, and the configuration where it is good.
    ///
    /// Without a good one the flags say where the store is, or the default directories do where somebody acts on them.
    pub(super) fn store(&self) -> Result<(Store, Option<Config>), Stop> {
        let why = match self.read() {
            Ok(Ok(loaded)) => return Ok((self.store_of(&loaded.config), Some(loaded.config))),
            Ok(Err(mistakes)) => Stop::failed(CONFIGURATION, anyhow::Error::new(mistakes)),
            Err(stop) => stop,
        };
        let state_dir = self.state_dir.as_deref().unwrap_or(Path::new(STATE_DIR));
        let runtime_dir = self.runtime_dir.as_deref().unwrap_or(Path::new(RUNTIME_DIR));
        let store = Store::new(state_dir, runtime_dir);
        let is_acted_on = store.actor().is_ok_and(|actor| actor.is_some());
        if self.state_dir.is_none() && !is_acted_on {
            return Err(why.with_hint("`hecate check` lists what is wrong; --state-dir does without a configuration"));
        }
        let path = self.config_path.display();
        self.output.warn(&format!("{path} cannot be used, going by {}", state_dir.display()));
        Ok((store, None))
    }

    fn read(&self) -> Result<Result<Loaded, ConfigMistakes>, Stop> {
        let path = &self.config_path;
        let text = read_text(path)
            .with_context(|| format!("read the configuration {}", path.display()))
            .map_err(|failure| Stop::failed(CONFIGURATION, failure))?;
        let checked = match Config::parse(&text) {
            Ok(checked) => checked,
            Err(mistakes) => return Ok(Err(mistakes)),
        };
        let mut config = checked.config;
        if let Some(state_dir) = &self.state_dir {
            // The known host keys are in the state directory unless the configuration says otherwise.
            if let Ok(name) = config.ssh.known_hosts_file.strip_prefix(&config.state_dir) {
                config.ssh.known_hosts_file = state_dir.join(name);
            }
            config.state_dir.clone_from(state_dir);
        }
        config.runtime_dir = self.runtime_dir.clone().unwrap_or(config.runtime_dir);
        Ok(Ok(Loaded { config, warnings: checked.warnings }))
    }
}

/// Runs what needs the asynchronous runtime.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, Stop>>) -> Result<T, Stop> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("start the runtime").map_err(|failure| Stop::failed(UNEXPECTED, failure))?;
    let result = runtime.block_on(work);
    // A blocking call that hangs (a disk, a name lookup) must not keep the process.
    runtime.shutdown_background();
    result
}

fn read_text(path: &Path) -> io::Result<String> {
    let bytes = RealDisk.read(path, CONFIG_LENGTH_MAX)?;
    String::from_utf8(bytes).map_err(|failure| io::Error::new(io::ErrorKind::InvalidData, failure.utf8_error()))
}

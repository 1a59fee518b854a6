//! The exit codes, which are promises, and how a command ends early.

use crate::status::Status;
use crate::store::StoreError;

/// Reality is as desired, or the command did what it was asked to.
pub const CONVERGED: u8 = 0;
/// Something unexpected failed; stderr says what.
pub const UNEXPECTED: u8 = 1;
/// The command line is wrong (clap's own code).
pub const USAGE: u8 = 2;
/// The configuration is missing or wrong.
pub const CONFIGURATION: u8 = 3;
/// Steps run, are to come, or something is waited for.
pub const PENDING: u8 = 10;
/// A blocker stands, or a check failed, that only a change from outside clears.
pub const BLOCKED: u8 = 11;
/// The daemon is gone while somebody followed it.
pub const DAEMON_GONE: u8 = 12;
/// A rehearsal shows that the cluster would not be dark in time or would not run again, or a rule was broken.
pub const PLAYED_BADLY: u8 = 13;

/// What `--help` says of them.
pub(super) const TABLE: &str = "\
Exit codes:
   0  converged, or done as asked
   1  something unexpected failed
   2  wrong command line
   3  missing or wrong configuration
  10  work is pending, or something is waited for
  11  blocked, or a check failed: only a change from outside helps
  12  the daemon is gone while it was followed
  13  a rehearsal shows that the cluster would not be dark in time or would
      not run again, or a rule was broken";

/// The code of a status: by its plan.
pub(super) fn code_of(status: &Status) -> u8 {
    match (status.plan.blockers.is_empty(), status.is_converged) {
        (false, _) => BLOCKED,
        (true, true) => CONVERGED,
        (true, false) => PENDING,
    }
}

/// Why a command ends early.
#[derive(Debug)]
pub enum Stop {
    /// Whoever read stdout has gone; nobody needs to be told.
    ClosedPipe,
    /// It failed.
    Failed {
        /// The exit code.
        code: u8,
        /// What failed, with its causes.
        error: anyhow::Error,
        /// What a person can type.
        hint: Option<String>,
    },
}

impl Stop {
    /// A failure with its exit code.
    pub(super) fn failed(code: u8, error: impl Into<anyhow::Error>) -> Self {
        Stop::Failed { code, error: error.into(), hint: None }
    }

    /// A failure told in one sentence.
    pub(super) fn saying(code: u8, said: impl Into<String>) -> Self {
        Self::failed(code, anyhow::Error::msg(said.into()))
    }

    /// A file of the state directory that could not be read or changed, with what helps.
    pub(super) fn of_store(failure: StoreError, doing: &'static str) -> Self {
        let remedy = failure.remedy();
        let stop = Self::failed(UNEXPECTED, anyhow::Error::new(failure).context(doing));
        match remedy {
            Some(remedy) => stop.with_hint(remedy),
            None => stop,
        }
    }

    /// Adds what a person can type.
    pub(super) fn with_hint(self, said: impl Into<String>) -> Self {
        match self {
            Stop::ClosedPipe => Stop::ClosedPipe,
            Stop::Failed { code, error, .. } => Stop::Failed { code, error, hint: Some(said.into()) },
        }
    }
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Stop::failed(UNEXPECTED, error)
    }
}

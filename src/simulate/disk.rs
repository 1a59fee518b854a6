//! What stands on the state disk: all that hecate knows after a restart.
//!
//! Pure. It does to the files what `store/` and `reconcile/` do: a ledger or a wish that cannot be read is never replaced by
//! a guess.

use crate::desired::{Declared, DeclaredHealth, Override, Spec};
use crate::history::History;
use crate::ledger::{Ledger, Wish};
use crate::model::ClusterState;

/// The state directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    ledger: File<Ledger>,
    wish: File<()>,
    overrides: Vec<Override>,
    history: History,
}

/// A file, as far as a reader cares.
#[derive(Clone, Debug)]
enum File<T> {
    Good(T),
    Missing,
    Unreadable,
}

impl<T: Default> Default for File<T> {
    fn default() -> Self {
        File::Good(T::default())
    }
}

/// What a start finds.
pub(super) struct Found {
    pub(super) ledger: Ledger,
    pub(super) ledger_problem: Option<String>,
    pub(super) health: DeclaredHealth,
    pub(super) overrides: Vec<Override>,
    /// What stands in place of a wish that cannot be read.
    pub(super) spec: Option<Spec>,
    pub(super) history: History,
}

impl Disk {
    /// Reads everything, as a daemon does that starts.
    pub(super) fn read(&self, declared: &Declared) -> Found {
        let is_good = matches!(self.wish, File::Good(()));
        let placeholder = Spec {
            state: ClusterState::Running,
            reason: String::new(),
            set_by: "hecate (first start)".to_owned(),
            ..declared.spec.clone()
        };
        let spec = if is_good { &declared.spec } else { &placeholder };
        let (ledger, ledger_problem) = match &self.ledger {
            File::Good(ledger) => (ledger.clone(), None),
            File::Missing if self.history.runs().is_empty() => (Ledger::default(), None),
            File::Missing => {
                let wish = Wish { state: spec.state, set_at: spec.set_at };
                (Ledger { fulfilled: Some(wish), ..Ledger::default() }, None)
            }
            File::Unreadable => (Ledger::default(), Some("its 3rd line is no JSON".to_owned())),
        };
        Found {
            ledger,
            ledger_problem,
            health: if is_good { DeclaredHealth::Good } else { DeclaredHealth::Lost },
            overrides: if is_good { self.overrides.clone() } else { Vec::new() },
            spec: (!is_good).then(|| spec.clone()),
            history: self.history.clone(),
        }
    }

    /// How far the wish can be trusted by a daemon that runs, and trusted it so far before.
    pub(super) fn health(&self, before: &DeclaredHealth) -> DeclaredHealth {
        match (&self.wish, before) {
            (File::Good(()), _) => DeclaredHealth::Good,
            (File::Missing, _) | (File::Unreadable, DeclaredHealth::Lost) => DeclaredHealth::Lost,
            (File::Unreadable, DeclaredHealth::Good | DeclaredHealth::LastGood { .. }) => {
                DeclaredHealth::LastGood { why: "its 3rd line is no YAML".to_owned() }
            }
        }
    }

    /// Writes the ledger; says whether it is on disk.
    pub(super) fn write_ledger(&mut self, ledger: &Ledger) -> bool {
        match &self.ledger {
            File::Unreadable => return false,
            File::Good(known) if known == ledger => {}
            File::Good(_) | File::Missing => self.ledger = File::Good(ledger.clone()),
        }
        true
    }

    /// Writes the overrides, into a file that can be read; says whether they are on disk.
    pub(super) fn write_overrides(&mut self, overrides: &[Override]) -> bool {
        if !matches!(self.wish, File::Good(())) {
            return false;
        }
        if self.overrides != overrides {
            overrides.clone_into(&mut self.overrides);
        }
        true
    }

    pub(super) fn write_history(&mut self, history: &History) {
        if self.history.runs().len() != history.runs().len() {
            self.history = history.clone();
        }
    }

    /// Whether the ledger is one that cannot be read.
    pub(super) fn has_bad_ledger(&self) -> bool {
        matches!(self.ledger, File::Unreadable)
    }

    /// A person writes a wish, which replaces whatever stood there.
    pub(super) fn write_wish(&mut self) {
        self.wish = File::Good(());
    }

    /// Something writes nonsense over the wish, or (lost) deletes it.
    pub(super) fn spoil_wish(&mut self, is_lost: bool) {
        self.wish = if is_lost { File::Missing } else { File::Unreadable };
    }

    /// Something writes nonsense over the ledger, or (lost) deletes it; a person who moves a bad one away does the latter.
    pub(super) fn spoil_ledger(&mut self, is_lost: bool) {
        self.ledger = if is_lost { File::Missing } else { File::Unreadable };
    }
}

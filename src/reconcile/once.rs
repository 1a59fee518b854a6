//! What is read at a start, and the one pass that a command without a loop makes.
//!
//! Reading fails on nothing, and a pass in here changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock;
use crate::config::Config;
use crate::desired::{Declared, DeclaredHealth, Spec};
use crate::desk::Desk;
use crate::history::History;
use crate::ledger::{Ledger, Wish};
use crate::model::{ClusterState, Now, Reading};
use crate::observe::Eyes;
use crate::plan::safety::LEASE_MAX_AGE;
use crate::snapshot::Snapshot;
use crate::status::Status;
use crate::store::{DeclaredFile, HistoryFile, LedgerFile, Store};
use crate::telemetry::chain;

/// A desired state of this host's very first start is set by this name.
const FIRST_START: &str = "hecate (first start)";

/// Reads what is on disk. Fails on nothing: what cannot be read is shown and held.
pub(super) fn read(store: &Store, now: &Now) -> Desk {
    let history = match store.read_history() {
        HistoryFile::Good(history) => history,
        HistoryFile::Missing => History::default(),
        HistoryFile::Unreadable { why } => {
            tracing::warn!(why, "past runs cannot be read; budgets come from the configuration");
            History::default()
        }
    };
    let placeholder = Declared::new(Spec {
        state: ClusterState::Running,
        reason: String::new(),
        set_by: FIRST_START.to_owned(),
        set_at: now.wall,
        options: Default::default(),
    });
    let (declared, health) = match store.read_declared() {
        DeclaredFile::Good(declared) => (declared, DeclaredHealth::Good),
        DeclaredFile::Missing { other_state_exists: false } => (placeholder, DeclaredHealth::Good),
        DeclaredFile::Missing { other_state_exists: true } => (placeholder, DeclaredHealth::Lost),
        DeclaredFile::Unreadable { why } => {
            tracing::error!(why, "desired.yaml cannot be read, and no last good one is known");
            (placeholder, DeclaredHealth::Lost)
        }
    };
    let (mut ledger, ledger_problem) = match store.read_ledger() {
        LedgerFile::Good(ledger) => (ledger, None),
        LedgerFile::Missing if history.runs().is_empty() => (Ledger::default(), None),
        LedgerFile::Missing => (spent(&declared), None),
        LedgerFile::Unreadable { why } => (Ledger::default(), Some(why)),
    };
    match store.read_enrolled() {
        Ok(enrolled) => ledger.machine_ids.extend(enrolled),
        Err(error) => tracing::warn!(error = %chain(&error), "enrolled machine ids cannot be read"),
    }
    let mut desk = Desk { ledger, ledger_problem, history, ..Desk::new(declared, health, now) };
    match store.read_low() {
        Ok(Some(low)) => _ = desk.recall(low, now),
        Ok(None) => {}
        Err(error) => tracing::warn!(error = %chain(&error), "low.json cannot be read; what it held is seen anew"),
    }
    desk
}

/// The ledger in place of one that was lost: the wish counts as carried out, so that nothing is done a second time and
/// no flag outlives its episode.
fn spent(declared: &Declared) -> Ledger {
    tracing::warn!("ledger.json was lost; what may be done once counts as done");
    let wish = Wish { state: declared.spec.state, set_at: declared.spec.set_at };
    Ledger { fulfilled: Some(wish), ..Ledger::default() }
}

/// One pass without a loop: looks for at most `limit` and changes nothing.
pub(super) async fn pass_once(
    config: &Arc<Config>,
    store: &Store,
    wish: Option<Spec>,
    eyes: &Eyes,
    limit: Duration,
    wake: &Notify,
) -> Status {
    let began = clock::now();
    let mut desk = read(store, &began);
    if let Some(spec) = wish {
        (desk.declared.spec, desk.health) = (spec, DeclaredHealth::Good);
    }
    let deadline = tokio::time::Instant::now() + limit;
    eyes.look_closely();
    loop {
        let now = clock::now();
        let snapshot = believing_clocks(eyes.snapshot(), &now);
        desk.observe(config, &snapshot, &now);
        let decision = desk.decide(config, &snapshot, &now);
        let is_settled = decision.plan.waits.is_empty() && eyes.is_complete();
        let woken = tokio::time::timeout_at(deadline, wake.notified()).await;
        if woken.is_err() || is_settled {
            return decision.status;
        }
    }
}

/// A single look is over before most Leases are renewed, so it goes by the nodes' clocks: it changes nothing, and what
/// it shows may be as wrong as they are. The loop waits until it has seen the renewal itself.
fn believing_clocks(mut snapshot: Snapshot, now: &Now) -> Snapshot {
    if let Reading::Known { value, .. } = &mut snapshot.api.nodes {
        let mut nodes = BTreeMap::clone(value);
        for node in nodes.values_mut().filter(|node| node.lease_changed.is_none()) {
            let age = node.lease_renewed.map(|renewed| now.wall.duration_since(renewed));
            node.lease_changed = age
                .and_then(|age| Duration::try_from(age).ok())
                .filter(|age| *age <= LEASE_MAX_AGE)
                .map(|age| now.boottime.saturating_sub(age));
        }
        *value = Arc::new(nodes);
    }
    snapshot
}

//! `hecate check --host`: what the real UPSes say, by the living daemon's published status, else by asking upsd once.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cli::context::block_on;
use crate::cli::status::published;
use crate::cli::{Context, Stop};
use crate::config::Config;
use crate::foresee::battery::Demands;
use crate::foresee::checks::{Check, CheckResult, Seen, batteries};
use crate::history::History;
use crate::model::ClusterState;
use crate::observe::ups::ask_once;
use crate::status::{Status, UpsRow};
use crate::store::HistoryFile;

/// How long upsd may take to answer.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// Looks, and fills in the register.
pub(super) fn checks(config: &Config, context: &Context<'_>) -> Result<Vec<Check>, Stop> {
    let store = context.store_of(config);
    if let Some((status, age)) = published(&store, context)? {
        let runs = status.is_converged && status.effective.state() == ClusterState::Running;
        let of = |row: &UpsRow| row.battery.as_ref().and_then(|battery| battery.full_runtime);
        let known = status.upses.iter().filter_map(|(ups, row)| Some((ups.clone(), of(row)?))).collect();
        let seen = Seen { upses: &status.snapshot.upses, age, runs: Some(runs), known: &known };
        let mut checks = vec![guard(Some((&status, age)))];
        checks.extend(batteries(&Demands::published(config, &status.budget), seen));
        return Ok(checks);
    }
    let history = match store.read_history() {
        HistoryFile::Good(history) => history,
        HistoryFile::Missing | HistoryFile::Unreadable { .. } => History::default(),
    };
    let upses = block_on(async { Ok(ask_once(config, LOOK_LIMIT).await) })?;
    let seen = Seen { upses: &upses, age: Duration::ZERO, runs: None, known: &BTreeMap::new() };
    let mut checks = vec![guard(None)];
    checks.extend(batteries(&Demands::of(config, &history), seen));
    Ok(checks)
}

/// Whether somebody watches the UPSes at all.
fn guard(published: Option<(&Status, Duration)>) -> Check {
    let (age, result, hint) = match published {
        Some((status, age)) => (Some(age), CheckResult::Good(format!("pass {}", status.pass)), None),
        None => {
            let hint = "`systemctl enable --now hecate` starts it and keeps it";
            (None, CheckResult::Unknown("no daemon publishes a status".to_owned()), Some(hint.to_owned()))
        }
    };
    Check { name: "daemon".to_owned(), proves: "somebody watches the UPSes".to_owned(), age, result, hint }
}

//! `low.json` in the runtime directory: what a restart of hecate within this boot goes on from, so that neither a crash
//! loop nor a full disk stretches a debounce or forgets an override.
//!
//! Pure. It is neither fsynced nor kept over a boot. What it lacks costs what a lost [`Memory`] costs.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Memory, UpsMemory};
use crate::desired::ups_policy::DeclaredChange;
use crate::ledger::Ledger;
use crate::model::{BootId, NodeName, Now, UpsName, seconds};

/// The file's content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Low {
    /// Format version; [`Low::VERSION`].
    pub version: u32,
    /// The boot of the hecate host to which every time in here belongs.
    pub boot_id: BootId,
    /// What was seen of each UPS.
    #[serde(default)]
    pub upses: BTreeMap<UpsName, UpsMemory>,
    /// Changes of `desired.yaml` that the disk has not taken.
    #[serde(default)]
    pub unsaved: Vec<DeclaredChange>,
    /// The ledger, where the one on disk is older.
    #[serde(default)]
    pub ledger: Option<Box<Ledger>>,
    /// When this was put together.
    pub kept_at: Seconds,
    /// The number of that ledger.
    #[serde(default)]
    pub ledger_number: u64,
    /// Since when each host has been silent.
    #[serde(default)]
    pub silent_since: BTreeMap<NodeName, Seconds>,
}

/// A restart takes no longer; after more nobody knows what happened meanwhile.
const AWAY_MAX: Duration = Duration::from_secs(30);

/// A boottime, or a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Seconds(
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub Duration,
);

impl Low {
    /// The version this program writes and reads.
    pub const VERSION: u32 = 1;

    /// What a restart would need of this memory. The ledger is part of it only while the disk does not have it.
    pub(crate) fn of(memory: &Memory, ledger: &Ledger, now: &Now) -> Self {
        Self {
            version: Self::VERSION,
            boot_id: now.boot_id.clone(),
            kept_at: Seconds(now.boottime),
            upses: memory.upses.iter().map(|(name, polls)| (name.clone(), polls.without_samples())).collect(),
            unsaved: memory.unsaved.clone(),
            ledger_number: memory.ledger_number,
            ledger: memory.ledger_pending.is_some().then(|| Box::new(ledger.clone())),
            silent_since: memory.silent_since.iter().map(|(name, since)| (name.clone(), Seconds(*since))).collect(),
        }
    }

    /// Whether a restart could use this: it is of this boot and of this version.
    pub fn is_of(&self, now: &Now) -> bool {
        self.version == Self::VERSION && self.boot_id == now.boot_id
    }

    /// Whether a restart would go on otherwise from this memory than from what is kept. That time went on while all is calm is no
    /// difference.
    pub(crate) fn lacks(&self, memory: &Memory) -> bool {
        let is_kept =
            |(name, polls): (&UpsName, &UpsMemory)| self.upses.get(name).is_some_and(|kept| kept.is_as_good_as(polls));
        self.ledger.is_some() != memory.ledger_pending.is_some()
            || memory.ledger_pending.is_some() && self.ledger_number != memory.ledger_number
            || self.unsaved != memory.unsaved
            || self.upses.len() != memory.upses.len()
            || !memory.upses.iter().all(is_kept)
            || !self.silent_since.keys().eq(memory.silent_since.keys())
    }

    /// The memory that goes on from this. Who was silent counts on only after a short time away: it may have answered.
    pub(crate) fn recall(self, memory: &mut Memory, now: &Now) {
        let Self { upses, unsaved, silent_since, kept_at, version: _, boot_id: _, ledger: _, ledger_number: _ } = self;
        memory.unsaved = unsaved;
        memory.upses = upses.into_iter().filter(|(_, polls)| polls.is_before(now.boottime)).collect();
        if now.since(kept_at.0) <= AWAY_MAX {
            let since = silent_since.into_iter().map(|(name, since)| (name, since.0));
            memory.silent_since = since.filter(|(_, since)| *since <= now.boottime).collect();
        }
    }
}

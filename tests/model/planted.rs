//! Bugs put in on purpose, each a distortion of what hecate knows: a model that does not find them finds nothing.

use std::sync::Arc;

use hecate::ledger::Ledger;
use hecate::model::{BootId, ClusterState, Reading};
use hecate::snapshot::{Snapshot, UpsWord};

use super::cluster::THIS_BOOT;
use super::hecate::Hecate;

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    /// None: hecate as it is.
    Nothing,
    /// Mains are there whatever the UPS says: the guard against a start on battery is gone.
    SeesMains,
    /// What is written counts as on disk at once.
    LedgerNotAwaited,
    /// A host that was told to power off is told so still when it is in another boot.
    KeepsMarks,
    /// A restart forgets that a wish was carried out, and how.
    ForgetsFulfilled,
    /// What is under way is forgotten.
    ForgetsInFlight,
    /// No node has pods.
    SeesNoPods,
    /// Every cordon is taken for hecate's own.
    OwnsEveryCordon,
    /// The policy writes over the operator's wish instead of beside it.
    RewritesWish,
    /// Mains that are back count for nothing while an override stands.
    SeesNoReturn,
}

impl Planted {
    /// Distorts what is seen.
    pub(crate) fn see(self, snapshot: &mut Snapshot, hecate: &Hecate) {
        match self {
            Planted::SeesMains => replace_word(snapshot, UpsWord::Ob, UpsWord::Ol),
            Planted::SeesNoReturn if !hecate.desk.declared.overrides.is_empty() => {
                replace_word(snapshot, UpsWord::Ol, UpsWord::Ob);
            }
            Planted::SeesNoPods => {
                if let Reading::Known { value, .. } = &mut snapshot.api.pods {
                    *value = Arc::default();
                }
                if let Reading::Known { value, .. } = &mut snapshot.api.attachments {
                    *value = Arc::default();
                }
            }
            Planted::OwnsEveryCordon => {
                if let Reading::Known { value, .. } = &mut snapshot.api.nodes {
                    let cordoned = Arc::make_mut(value).values_mut().filter(|object| object.is_cordoned);
                    cordoned.for_each(|object| object.cordoned_by = Some("run-0".to_owned()));
                }
            }
            Planted::Nothing
            | Planted::LedgerNotAwaited
            | Planted::KeepsMarks
            | Planted::ForgetsFulfilled
            | Planted::ForgetsInFlight
            | Planted::RewritesWish
            | Planted::SeesNoReturn => {}
        }
    }

    /// Distorts what is known.
    pub(crate) fn before_a_pass(self, hecate: &mut Hecate) {
        if self == Planted::KeepsMarks {
            let run = hecate.desk.ledger.episode.as_ref().map(|episode| episode.run.clone());
            for told in hecate.desk.ledger.powered_off.values_mut() {
                told.boot_id = Some(BootId::from(THIS_BOOT));
                told.run.clone_from(&run);
            }
        }
        if self == Planted::ForgetsInFlight {
            hecate.desk.memory.in_flight.clear();
        }
    }

    /// Distorts what is kept.
    pub(crate) fn after_a_pass(self, hecate: &mut Hecate) {
        if self == Planted::RewritesWish
            && let Some(one) = hecate.desk.declared.strictest()
        {
            hecate.desk.declared.spec.state = one.state.max(ClusterState::DrainedOff);
        }
    }

    /// Distorts what the disk gives back.
    pub(crate) fn at_restart(self, ledger: &mut Ledger) {
        if self == Planted::ForgetsFulfilled {
            (ledger.fulfilled, ledger.fulfilled_in, ledger.own_power_off) = (None, None, None);
        }
    }
}

fn replace_word(snapshot: &mut Snapshot, word: UpsWord, by: UpsWord) {
    for reading in snapshot.upses.values_mut() {
        if let Reading::Known { value, .. } = reading
            && value.status.has(word)
        {
            value.status.words.remove(word);
            value.status.words.insert(by);
        }
    }
}

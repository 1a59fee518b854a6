//! Every write cut at every operation and every byte: what a reopened store reads is old or new, entire.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hecate::history::History;
use hecate::ledger::{Ledger, Wish};
use hecate::model::ClusterState;
use hecate::status::Intent;
use hecate::store::{IntentRecord, Store, StoreError};
use tempfile::TempDir;

use super::broken_disk::{BrokenDisk, Fault};
use crate::samples::{at, hold, spec, ups_override};

/// One change of one file.
struct Cut {
    /// What is there before.
    prepare: fn(&Store),
    /// The change.
    change: fn(&Store) -> Result<(), StoreError>,
    /// What a reader sees.
    read: fn(&Store) -> String,
}

impl Cut {
    fn at_every_unit(&self) {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let store = |disk: &BrokenDisk| Store::with_disk(folder.path(), folder.path(), Arc::new(disk.clone()));
        let start = BrokenDisk::default();
        (self.prepare)(&store(&start));
        let before = (self.read)(&store(&start.healed()));
        let changed = start.healed();
        (self.change)(&store(&changed)).expect("an unbroken disk takes the change");
        let after = (self.read)(&store(&changed.healed()));
        assert_ne!(before, after, "the change must show");

        for fault in [Fault::Crash, Fault::Once, Fault::Full] {
            let mut seen = BTreeMap::new();
            for units in 0.. {
                let disk = start.breaking_after(units, fault);
                let result = (self.change)(&store(&disk));
                if !disk.is_tripped() {
                    result.expect("nothing went wrong");
                    assert!(units > 50, "{fault:?}: only {units} cuts");
                    break;
                }
                for found in std::iter::once(disk.healed()).chain(disk.reboots()) {
                    let is_new = !seen.contains_key(&found.visible());
                    let read = seen.entry(found.visible()).or_insert_with(|| (self.read)(&store(&found.healed())));
                    assert!(*read == before || *read == after, "{fault:?} after {units} units leaves {read}");
                    assert!(result.is_err() || *read == after, "{fault:?} after {units} units: Ok, but {read}");
                    // What is left over of a temporary file does not matter by its length: a sample is enough.
                    if is_new || units % 64 == 0 {
                        (self.change)(&store(&found)).expect("a healed disk takes the change");
                        assert_eq!((self.read)(&store(&found)), after, "{fault:?} after {units} units, then again");
                    }
                }
            }
            let sides: BTreeSet<&String> = seen.values().collect();
            // A full disk fails before the instant at which the change becomes visible, the others on both sides of it.
            assert!(sides.len() == 2 || fault == Fault::Full, "{fault:?} was seen on {} sides only", sides.len());
        }
    }
}

fn desired(store: &Store) -> String {
    format!("{:?}", store.read_declared())
}

fn all_parts(store: &Store) {
    store.set_spec(spec(ClusterState::Running, "old")).unwrap();
    store.set_override(ups_override("statera")).unwrap();
    store.set_hold(hold("titan-22")).unwrap();
}

#[test]
fn a_cut_first_wish_is_there_or_not() {
    let change = |store: &Store| store.create_declared(spec(ClusterState::Running, "first")).map(drop);
    Cut { prepare: |_| (), change, read: desired }.at_every_unit();
}

#[test]
fn a_cut_set_desired_leaves_the_old_or_the_new_wish() {
    let change = |store: &Store| store.set_spec(spec(ClusterState::DrainedOff, "new")).map(drop);
    Cut { prepare: all_parts, change, read: desired }.at_every_unit();
}

#[test]
fn a_cut_override_leaves_the_old_or_the_new_wish() {
    let change = |store: &Store| store.set_override(ups_override("pyrphoros"));
    Cut { prepare: all_parts, change, read: desired }.at_every_unit();
}

#[test]
fn a_cut_pause_leaves_the_old_or_the_new_wish() {
    let change = |store: &Store| store.set_hold(hold("titan-23"));
    Cut { prepare: all_parts, change, read: desired }.at_every_unit();
}

#[test]
fn a_cut_repair_leaves_the_unreadable_or_the_new_wish_with_the_recovered_parts() {
    // The loop writes through the store only, so a bad file comes from an editor: a file of another version here.
    let prepare = |store: &Store| {
        all_parts(store);
        store.change_declared(|declared| declared.api_version = "hecate/v9".to_owned()).unwrap();
    };
    let change = |store: &Store| store.set_spec(spec(ClusterState::DrainedOff, "repair")).map(drop);
    Cut { prepare, change, read: desired }.at_every_unit();
}

#[test]
fn a_cut_ledger_is_the_old_or_the_new_one() {
    let change = |store: &Store| {
        let wish = Wish { state: ClusterState::Running, set_at: at("18:00:00") };
        store.write_ledger(&Ledger { fulfilled: Some(wish), ..Ledger::default() })
    };
    let read = |store: &Store| format!("{:?}", store.read_ledger());
    Cut { prepare: |_| (), change, read }.at_every_unit();
    let prepare = |store: &Store| store.write_ledger(&Ledger::default()).unwrap();
    Cut { prepare, change, read }.at_every_unit();
}

#[test]
fn a_cut_copy_of_a_bad_ledger_leaves_the_ledger_alone() {
    let change = |store: &Store| store.keep_bad_ledger().map(drop);
    let prepare = |store: &Store| store.write_ledger(&Ledger { version: 9, ..Ledger::default() }).unwrap();
    let read = |store: &Store| {
        // A second copy finds the first one: what shows is whether it was kept already, and the ledger itself.
        format!("{:?} {:?}", store.read_ledger(), store.keep_bad_ledger().is_ok_and(|copy| copy.is_none()))
    };
    Cut { prepare, change, read }.at_every_unit();
}

#[test]
fn a_cut_intent_is_the_old_or_the_new_one() {
    fn intent(state: Intent) -> IntentRecord {
        let (since, by, reason) = (at("18:00:00"), "hecate@titan-db".to_owned(), "maintenance".to_owned());
        IntentRecord { state, since, by, reason, is_clock_synced: true }
    }
    let prepare = |store: &Store| store.write_intent(&intent(Intent::Normal)).unwrap();
    let change = |store: &Store| store.write_intent(&intent(Intent::ShuttingDown));
    let read = |store: &Store| format!("{:?}", store.read_intent().unwrap());
    Cut { prepare, change, read }.at_every_unit();
}

#[test]
fn a_cut_record_of_runs_is_the_old_or_the_new_one() {
    let change = |store: &Store| store.write_history(&crate::samples::history(), 10);
    let read = |store: &Store| format!("{:?}", store.read_history());
    let prepare = |store: &Store| store.write_history(&History::default(), 10).unwrap();
    Cut { prepare, change, read }.at_every_unit();
}

//! How each kind of object is kept in the store: its key, what is carried over from the row before, and what is news.
//!
//! Pure. No I/O and no clock in here.

use std::time::Duration;

use super::objects::{Facts, LeaseFacts, PodFacts};
use super::store::{Store, Table};
use crate::model::{NodeName, Uid};
use crate::snapshot::{AttachmentObject, NodeObject};

/// A Lease is renewed every 10 s and lapses after 40 s: one that moves on after such a gap is news.
const LEASE_GAP: Duration = Duration::from_secs(25);

/// Facts that are kept in a table of the store.
pub(super) trait Row: Facts + PartialEq {
    type Key: Ord + Clone + Send + 'static;
    /// What a person calls the rows.
    const PLURAL: &'static str;

    fn key(name: &str, uid: Uid) -> Self::Key;
    fn table(store: &mut Store) -> &mut Table<Self>;
    /// Drops the copy that snapshots share, as it is no longer true.
    fn forget_copy(store: &mut Store);
    /// The new row, with what only the old one knew.
    fn merge(self, old: Option<&Self>, now: Duration) -> Self {
        let _ = (old, now);
        self
    }
    /// Whether a rule would see the difference.
    fn is_news(&self, old: Option<&Self>) -> bool {
        old != Some(self)
    }
}

impl Row for NodeObject {
    type Key = NodeName;
    const PLURAL: &'static str = "nodes";

    fn key(name: &str, _uid: Uid) -> NodeName {
        NodeName::new(name)
    }

    fn table(store: &mut Store) -> &mut Table<Self> {
        &mut store.nodes
    }

    fn forget_copy(store: &mut Store) {
        store.node_map = None;
    }
}

impl Row for LeaseFacts {
    type Key = NodeName;
    const PLURAL: &'static str = "leases";

    fn key(name: &str, _uid: Uid) -> NodeName {
        NodeName::new(name)
    }

    fn table(store: &mut Store) -> &mut Table<Self> {
        &mut store.leases
    }

    fn forget_copy(store: &mut Store) {
        store.node_map = None;
    }

    /// Only a renewal that moves forward counts: after an etcd restore an older one comes back without anybody living.
    fn merge(self, old: Option<&Self>, now: Duration) -> Self {
        let Some(old) = old else { return self };
        let moved = matches!((old.renewed, self.renewed), (Some(before), Some(after)) if after > before);
        Self { changed: if moved { Some(now) } else { old.changed }, ..self }
    }

    fn is_news(&self, old: Option<&Self>) -> bool {
        match (old.and_then(|old| old.changed), self.changed) {
            (None, Some(_)) => true,
            (Some(before), Some(after)) => after.saturating_sub(before) > LEASE_GAP,
            (_, None) => false,
        }
    }
}

impl Row for PodFacts {
    type Key = Uid;
    const PLURAL: &'static str = "pods";

    fn key(_name: &str, uid: Uid) -> Uid {
        uid
    }

    fn table(store: &mut Store) -> &mut Table<Self> {
        &mut store.pods
    }

    fn forget_copy(store: &mut Store) {
        store.pod_map = None;
    }
}

impl Row for AttachmentObject {
    type Key = String;
    const PLURAL: &'static str = "volume attachments";

    fn key(name: &str, _uid: Uid) -> String {
        name.to_owned()
    }

    fn table(store: &mut Store) -> &mut Table<Self> {
        &mut store.attachments
    }

    fn forget_copy(store: &mut Store) {
        store.attachment_list = None;
    }
}

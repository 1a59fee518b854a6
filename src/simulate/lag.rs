//! What comes between the world and what hecate sees of it: readings that are late, or out of order.
//!
//! Pure.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::Reading;
use crate::snapshot::Snapshot;

/// Nobody's readings are later than this; what is older than that counts as unknown anyway.
pub(super) const LATE_MAX: Duration = Duration::from_secs(120);

/// The way from the world to hecate's eyes; by default there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lag {
    /// How old every reading is.
    pub late: Duration,
    /// Whether every other pass sees what is new, and those between see what is late.
    pub is_reordered: bool,
    seen: VecDeque<(Duration, Snapshot)>,
    count: u64,
    /// When hecate opened its eyes.
    opened: Duration,
}

/// After a start each source is first seen within so many seconds, one after another.
const FIRST_LOOKS: u64 = 4;

impl Lag {
    /// Whether readings are not what the world is now.
    pub fn is_on(&self) -> bool {
        !self.late.is_zero()
    }

    /// hecate opens its eyes: it has seen nothing yet, and no look of its own began before.
    pub(super) fn open(&mut self, time: Duration) {
        self.opened = time;
        self.seen.clear();
    }

    /// What hecate sees, when the world shows this.
    pub(super) fn shown(&mut self, time: Duration, snapshot: Snapshot) -> Snapshot {
        let since = time.saturating_sub(self.opened).as_secs();
        let snapshot = if since < FIRST_LOOKS { self.first_looks(snapshot, since) } else { snapshot };
        if !self.is_on() {
            self.seen.clear();
            return snapshot;
        }
        self.count += 1;
        self.seen.push_back((time, snapshot));
        let wanted = time.saturating_sub(self.late.min(LATE_MAX));
        while self.seen.get(1).is_some_and(|(at, _)| *at <= wanted) {
            self.seen.pop_front();
        }
        let is_new = self.is_reordered && self.count.is_multiple_of(2);
        let shown = if is_new { self.seen.back() } else { self.seen.front() };
        shown.map(|(_, snapshot)| snapshot.clone()).unwrap_or_default()
    }

    /// Some sources are looked at later than others; which, differs from start to start.
    fn first_looks(&self, mut snapshot: Snapshot, since: u64) -> Snapshot {
        let turn = self.opened.as_secs();
        let is_seen = |number: usize| (number as u64 * 7 + turn * 5) % FIRST_LOOKS <= since;
        let hosts = snapshot.hosts.values_mut().enumerate();
        hosts.filter(|(number, _)| !is_seen(*number)).for_each(|(_, reading)| *reading = Reading::not_yet());
        if !is_seen(1) {
            snapshot.api.attachments = Reading::not_yet();
        }
        if !is_seen(2) {
            snapshot.api.pods = Reading::not_yet();
        }
        if !is_seen(3) {
            snapshot.api.nodes = Reading::not_yet();
        }
        snapshot
    }
}

//! What comes between the world and what hecate sees of it: looks that come now and then, readings that are late, or out of
//! order.
//!
//! Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::model::{NodeName, Reading};
use crate::plan::step::Target;
use crate::snapshot::{HostReading, Snapshot};

/// Nobody's readings are later than this; what is older than that counts as unknown anyway.
pub(super) const LATE_MAX: Duration = Duration::from_secs(120);

/// After a start each source is first seen within so many seconds: a UPS, a host, the API.
const FIRST_OF_UPS: u64 = 2;
const FIRST_OF_HOST: (u64, u64) = (1, 4);
const FIRST_OF_API: (u64, u64) = (2, 6);

/// The way from the world to hecate's eyes; by default there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lag {
    /// How old every reading is.
    pub late: Duration,
    /// Whether every other pass sees what is new, and those between see what is late.
    pub is_reordered: bool,
    /// A host is looked at so often, and once more after a step on it; zero: at every pass.
    pub every: Duration,
    seen: VecDeque<(Duration, Snapshot)>,
    count: u64,
    /// When hecate opened its eyes.
    opened: Duration,
    /// The last look at each host.
    hosts: BTreeMap<NodeName, Reading<HostReading>>,
    /// When a host is to be looked at because a step ended there.
    asked: BTreeMap<NodeName, Duration>,
}

/// A look that somebody asks for begins so long after.
const ASKED: Duration = Duration::from_secs(1);

impl Lag {
    /// Whether readings are not what the world is now.
    pub fn is_on(&self) -> bool {
        !self.late.is_zero()
    }

    /// hecate opens its eyes: it has seen nothing yet, and no look of its own began before.
    pub(super) fn open(&mut self, time: Duration) {
        self.opened = time;
        self.seen.clear();
        self.hosts.clear();
        self.asked.clear();
    }

    /// Somebody asks for a new look.
    pub(super) fn ask(&mut self, time: Duration, target: &Target) {
        if let Target::Node(node) = target {
            self.asked.insert(node.clone(), time + ASKED);
        }
    }

    /// What hecate sees, when the world shows this.
    pub(super) fn shown(&mut self, time: Duration, mut snapshot: Snapshot) -> Snapshot {
        let since = time.saturating_sub(self.opened).as_secs();
        if since < FIRST_OF_API.1 {
            self.first_looks(&mut snapshot, since);
        }
        if !self.every.is_zero() {
            self.look_at_hosts(time, &mut snapshot);
        }
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

    /// Shows of each host what the last look at it showed, where it is not time for the next one.
    fn look_at_hosts(&mut self, time: Duration, snapshot: &mut Snapshot) {
        for (number, (name, reading)) in snapshot.hosts.iter_mut().enumerate() {
            // Nobody looks at all of them in the same second.
            let turn = Duration::from_secs(number as u64 % self.every.as_secs().max(1));
            let is_asked = self.asked.get(name).is_some_and(|at| time >= *at);
            let is_due = |last: &Reading<HostReading>| {
                let slot = |at: Duration| (at + turn).as_secs() / self.every.as_secs().max(1);
                last.value().is_none() && last.began() == Duration::ZERO || slot(last.began()) != slot(time)
            };
            match self.hosts.get(name).filter(|last| !is_asked && !is_due(last)) {
                Some(last) => reading.clone_from(last),
                None => {
                    self.asked.remove(name);
                    self.hosts.insert(name.clone(), reading.clone());
                }
            }
        }
    }

    /// Some sources are looked at later than others; which, differs from start to start.
    fn first_looks(&self, snapshot: &mut Snapshot, since: u64) {
        let turn = self.opened.as_secs();
        let is_seen = |number: usize, (first, last): (u64, u64)| {
            first + (number as u64 * 7 + turn * 5) % (last - first + 1) <= since
        };
        let upses = snapshot.upses.values_mut().enumerate();
        upses.filter(|(number, _)| !is_seen(*number, (0, FIRST_OF_UPS))).for_each(|(_, it)| *it = Reading::not_yet());
        let hosts = snapshot.hosts.values_mut().enumerate();
        hosts.filter(|(number, _)| !is_seen(*number, FIRST_OF_HOST)).for_each(|(_, it)| *it = Reading::not_yet());
        let servers = snapshot.api.servers.values_mut().enumerate();
        servers.filter(|(number, _)| !is_seen(*number, FIRST_OF_API)).for_each(|(_, it)| *it = Reading::not_yet());
        let api = &mut snapshot.api;
        if !is_seen(1, FIRST_OF_API) {
            api.attachments = Reading::not_yet();
        }
        if !is_seen(2, FIRST_OF_API) {
            api.pods = Reading::not_yet();
        }
        if !is_seen(3, FIRST_OF_API) {
            api.nodes = Reading::not_yet();
        }
    }
}

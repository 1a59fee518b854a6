//! What was last heard from the API, and how old it is.
//!
//! Plain data under one lock: no I/O and no waiting in here. Each change says whether it is one that rules read: only
//! such a change wakes the loop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::objects::{LeaseFacts, PodFacts};
use super::rows::Row;
use crate::clients::kubernetes::{Server, Wires};
use crate::model::{Failure, FailureKind, NodeName, Reading};
use crate::plan::step::PodRef;
use crate::snapshot::{ApiServer, ApiSnapshot, AttachmentObject, NodeObject, PodObject};

/// A watch that failed within this time is taken as still failing: kube's watcher shows its errors, not its recovery.
/// Longer than the longest backoff and the wait for an answer.
const WATCH_FAILURE_AGE: Duration = Duration::from_secs(15);

/// What was last heard from one server's `/readyz`.
#[derive(Clone, Debug)]
pub(super) struct Health {
    pub(super) reading: Reading<ApiServer>,
    /// Probes in a row that did not find it ready.
    pub(super) failures: u32,
    /// When the last probe that found it ready began.
    pub(super) last_ready: Option<Duration>,
}

impl Health {
    pub(super) fn is_ready(&self) -> bool {
        self.reading.value().is_some_and(|server| server.is_ready)
    }
}

/// One event of a watch.
#[derive(Debug)]
pub(super) enum Change<R: Row> {
    Restarted,
    Paged(R::Key, Option<R>),
    Listed,
    Applied(R::Key, Option<R>),
    Deleted(R::Key),
}

/// The objects of one kind.
#[derive(Debug)]
pub(super) struct Table<R: Row> {
    pub(super) rows: BTreeMap<R::Key, R>,
    /// A list that is under way, and when it began.
    staged: Option<(BTreeMap<R::Key, R>, Duration)>,
    /// The generation of the watch that the rows come from, and the latest moment they are known to have been true.
    listed: Option<(u64, Duration)>,
    /// Watch failures: since when in a row, the last one, and its words.
    failing: Option<(Duration, Duration, Failure)>,
}

impl<R: Row> Default for Table<R> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), staged: None, listed: None, failing: None }
    }
}

impl<R: Row> Table<R> {
    pub(super) fn is_listed(&self) -> bool {
        self.listed.is_some()
    }

    /// Takes one event; says whether rows differ, and whether a rule would see it.
    fn take(&mut self, change: Change<R>, generation: u64, now: Duration) -> (bool, bool) {
        match change {
            Change::Restarted => {
                self.staged = Some((BTreeMap::new(), now));
                (false, false)
            }
            Change::Paged(key, row) => {
                if let (Some((staged, _)), Some(row)) = (&mut self.staged, row) {
                    let row = row.merge(self.rows.get(&key), now);
                    staged.insert(key, row);
                }
                (false, false)
            }
            Change::Listed => {
                let (rows, began) = self.staged.take().unwrap_or((BTreeMap::new(), now));
                let is_different = rows != self.rows;
                // A first list is news even where it is empty, and so is that a lost watch is whole again.
                let is_news = self.listed.is_none_or(|(before, _)| before != generation)
                    || rows.iter().any(|(key, row)| row.is_news(self.rows.get(key)))
                    || self.rows.keys().any(|key| !rows.contains_key(key));
                self.rows = rows;
                self.listed = Some((generation, began));
                self.failing = None;
                (is_different, is_news)
            }
            Change::Applied(key, Some(row)) => {
                let old = self.rows.get(&key);
                let row = row.merge(old, now);
                let (is_different, is_news) = (old != Some(&row), row.is_news(old));
                self.failing = None;
                if is_different {
                    self.rows.insert(key, row);
                }
                (is_different, is_news)
            }
            Change::Applied(key, None) | Change::Deleted(key) => {
                self.failing = None;
                let is_known = self.rows.remove(&key).is_some();
                (is_known, is_known)
            }
        }
    }

    fn fail(&mut self, why: Failure, now: Duration) {
        let since = match &self.failing {
            Some((since, last, _)) if now.saturating_sub(*last) <= WATCH_FAILURE_AGE => *since,
            Some(_) | None => now,
        };
        self.failing = Some((since, now, why));
    }

    /// The latest moment at which the rows are known to have been true; None before the first list.
    fn began(&self, generation: u64, last_ready: Option<Duration>, now: Duration) -> Option<Duration> {
        let (listed, at) = self.listed?;
        let live = if listed == generation { last_ready.map_or(at, |ready| ready.max(at)) } else { at };
        Some(match &self.failing {
            Some((since, last, _)) if now.saturating_sub(*last) <= WATCH_FAILURE_AGE => live.min(*since).max(at),
            Some(_) | None => live,
        })
    }

    /// Fixes the age of the rows, as their watch ends.
    fn freeze(&mut self, generation: u64, last_ready: Option<Duration>, now: Duration) {
        if let Some(began) = self.began(generation, last_ready, now)
            && let Some((_, at)) = &mut self.listed
        {
            *at = began;
        }
        self.staged = None;
    }

    /// Why there is nothing yet.
    fn missing<T>(&self, otherwise: &(Failure, Duration)) -> Reading<T> {
        let failing = self.failing.as_ref().map(|(since, _, why)| (why.clone(), *since));
        let (why, began) = failing.unwrap_or_else(|| otherwise.clone());
        Reading::Unknown { why, began }
    }
}

type NodeMap = Arc<BTreeMap<NodeName, NodeObject>>;
type PodMap = Arc<BTreeMap<NodeName, Vec<PodObject>>>;

/// All that was last heard.
#[derive(Default)]
pub(super) struct Store {
    /// The control planes of the inventory: whose readings a snapshot shows.
    pub(super) control_planes: BTreeSet<NodeName>,
    pub(super) wires: Option<Wires>,
    /// Why there are no wires, and since when.
    pub(super) no_wires: Option<(Failure, Duration)>,
    pub(super) health: BTreeMap<Server, Health>,
    /// The server that is watched now.
    pub(super) watched: Option<Server>,
    /// Counts the watches: events of an older one are not taken.
    pub(super) generation: u64,
    pub(super) nodes: Table<NodeObject>,
    pub(super) leases: Table<LeaseFacts>,
    pub(super) pods: Table<PodFacts>,
    pub(super) attachments: Table<AttachmentObject>,
    /// Namespace of the claim, by volume; None: the API knows of no claim.
    pub(super) claims: BTreeMap<String, Option<String>>,
    pub(super) node_map: Option<NodeMap>,
    pub(super) pod_map: Option<PodMap>,
    pub(super) attachment_list: Option<Arc<Vec<AttachmentObject>>>,
}

impl Store {
    pub(super) fn new(control_planes: BTreeSet<NodeName>) -> Self {
        Self { control_planes, ..Self::default() }
    }

    /// Takes one event of a watch; says whether a rule would see it.
    pub(super) fn take<R: Row>(&mut self, generation: u64, change: Change<R>, now: Duration) -> bool {
        if generation != self.generation {
            return false;
        }
        let (is_different, is_news) = R::table(self).take(change, generation, now);
        if is_different {
            R::forget_copy(self);
        }
        is_news
    }

    /// Notes that a watch failed.
    pub(super) fn fail<R: Row>(&mut self, generation: u64, why: Failure, now: Duration) {
        if generation == self.generation {
            R::table(self).fail(why, now);
        }
    }

    /// Ends the present watch: its rows stay, and age from now on. Returns the generation of the next.
    pub(super) fn end_watch(&mut self, next: Option<Server>, now: Duration) -> u64 {
        let ready = self.last_ready();
        self.nodes.freeze(self.generation, ready, now);
        self.leases.freeze(self.generation, ready, now);
        self.pods.freeze(self.generation, ready, now);
        self.attachments.freeze(self.generation, ready, now);
        self.watched = next;
        self.generation += 1;
        self.generation
    }

    /// Forgets every object: after an etcd restore what was seen may never have been.
    pub(super) fn clear(&mut self) {
        self.nodes = Table::default();
        self.leases = Table::default();
        self.pods = Table::default();
        self.attachments = Table::default();
        self.claims.clear();
        self.node_map = None;
        self.pod_map = None;
        self.attachment_list = None;
    }

    /// Takes what the API says of volumes' claims, and forgets those of volumes that are attached no more.
    pub(super) fn take_claims(&mut self, found: BTreeMap<String, Option<String>>) {
        self.claims.extend(found);
        let attached: BTreeSet<&String> =
            self.attachments.rows.values().filter_map(|attachment| attachment.volume.as_ref()).collect();
        self.claims.retain(|volume, _| attached.contains(volume));
        self.attachment_list = None;
    }

    /// Those of the given pods that are not known to be gone.
    pub(super) fn pods_left<'a>(&self, pods: &'a [PodRef]) -> Vec<&'a PodRef> {
        let is_listed = self.pods.is_listed();
        pods.iter().filter(|pod| !is_listed || self.pods.rows.contains_key(&pod.uid)).collect()
    }

    /// Attached volumes whose claim was not asked for yet.
    pub(super) fn unclaimed(&self) -> Vec<String> {
        let volumes = self.attachments.rows.values().filter_map(|attachment| attachment.volume.as_ref());
        volumes.filter(|volume| !self.claims.contains_key(*volume)).cloned().collect()
    }

    fn last_ready(&self) -> Option<Duration> {
        self.watched.as_ref().and_then(|server| self.health.get(server)).and_then(|health| health.last_ready)
    }

    /// Everything, as of now. Copies are made only of what has changed since the last call.
    pub(super) fn snapshot(&mut self, now: Duration) -> ApiSnapshot {
        let ready = self.last_ready();
        let otherwise = self.why_nothing();
        let nodes = Arc::clone(self.node_map.get_or_insert_with(|| node_map(&self.nodes, &self.leases)));
        let pods = Arc::clone(self.pod_map.get_or_insert_with(|| pod_map(&self.pods)));
        let attachments = self.attachment_list.get_or_insert_with(|| attachment_list(&self.attachments, &self.claims));
        let attachments = Arc::clone(attachments);
        ApiSnapshot {
            servers: self.servers(),
            nodes: reading(&self.nodes, self.generation, ready, now, nodes, &otherwise),
            pods: reading(&self.pods, self.generation, ready, now, pods, &otherwise),
            attachments: reading(&self.attachments, self.generation, ready, now, attachments, &otherwise),
        }
    }

    fn servers(&self) -> BTreeMap<NodeName, Reading<ApiServer>> {
        let read = |node: &NodeName| match (self.health.get(&Server::Node(node.clone())), &self.no_wires) {
            (Some(health), _) => health.reading.clone(),
            (None, Some((why, began))) => Reading::Unknown { why: why.clone(), began: *began },
            (None, None) => Reading::not_yet(),
        };
        self.control_planes.iter().map(|node| (node.clone(), read(node))).collect()
    }

    /// Why no object was ever seen, where a watch itself does not say it.
    fn why_nothing(&self) -> (Failure, Duration) {
        if let Some(no_wires) = &self.no_wires {
            return no_wires.clone();
        }
        let is_probed = !self.health.is_empty() && self.health.values().all(|health| health.failures > 0);
        if self.watched.is_some() || !is_probed {
            return (Failure::new(FailureKind::NotYet, "not listed yet"), Duration::ZERO);
        }
        let words = |(server, health): (&Server, &Health)| match &health.reading {
            Reading::Unknown { why, .. } => why.to_string(),
            Reading::Known { value, .. } => {
                let failed: Vec<&str> = value.failed_checks.iter().map(String::as_str).collect();
                format!("{server} answers {}", failed.join(", "))
            }
        };
        let all: Vec<String> = self.health.iter().map(words).collect();
        let began = self.health.values().map(|health| health.reading.began()).max().unwrap_or_default();
        (Failure::new(FailureKind::Unreachable, format!("no API server is ready ({})", all.join("; "))), began)
    }
}

fn reading<R: Row, T>(
    table: &Table<R>,
    generation: u64,
    ready: Option<Duration>,
    now: Duration,
    value: T,
    otherwise: &(Failure, Duration),
) -> Reading<T> {
    match table.began(generation, ready, now) {
        Some(began) => Reading::Known { value, began },
        None => table.missing(otherwise),
    }
}

fn node_map(nodes: &Table<NodeObject>, leases: &Table<LeaseFacts>) -> NodeMap {
    let with_lease = |(name, node): (&NodeName, &NodeObject)| {
        let lease = leases.rows.get(name);
        let lease_changed = lease.and_then(|lease| lease.changed);
        let lease_renewed = lease.and_then(|lease| lease.renewed);
        (name.clone(), NodeObject { lease_changed, lease_renewed, ..node.clone() })
    };
    Arc::new(nodes.rows.iter().map(with_lease).collect())
}

fn pod_map(pods: &Table<PodFacts>) -> PodMap {
    let mut map: BTreeMap<NodeName, Vec<PodObject>> = BTreeMap::new();
    for row in pods.rows.values() {
        map.entry(row.node.clone()).or_default().push(row.pod.clone());
    }
    for pods in map.values_mut() {
        pods.sort_by(|a, b| (&a.namespace, &a.name, &a.uid).cmp(&(&b.namespace, &b.name, &b.uid)));
    }
    Arc::new(map)
}

fn attachment_list(
    attachments: &Table<AttachmentObject>,
    claims: &BTreeMap<String, Option<String>>,
) -> Arc<Vec<AttachmentObject>> {
    let with_claim = |attachment: &AttachmentObject| {
        let namespace = attachment.volume.as_ref().and_then(|volume| claims.get(volume)).cloned().flatten();
        AttachmentObject { namespace, ..attachment.clone() }
    };
    Arc::new(attachments.rows.values().map(with_claim).collect())
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;

//! The tasks behind [`Api`](super::Api): one prober a server, one watch a kind, and a steward that chooses the server.
//!
//! The steward owns the others; whatever it drops ends. No task here writes to the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use http::Request;
use kube::client::Body;
use kube_runtime::WatchStreamExt;
use kube_runtime::utils::Backoff;
use kube_runtime::watcher::{self, watcher};
use tokio::task::JoinSet;
use tracing::{debug, info, trace, warn};

use super::Shared;
use super::objects::{ClaimFacts, LeaseFacts, PodFacts, Seen};
use super::rows::Row;
use super::store::{Change, Health};
use crate::clients::kubernetes::{CallError, Server, WATCH_LIMIT, Wire, call};
use crate::clock;
use crate::model::{Failure, FailureKind, Reading};
use crate::snapshot::{ApiServer, AttachmentObject, NodeObject};

/// How long a `/readyz` may take: its etcd check alone has 2 s, and a Raspberry Pi is slow just after boot.
const PROBE_LIMIT: Duration = Duration::from_secs(4);
/// A server that has just stopped being ready is probed again so soon, until it is sure.
const DOUBT_INTERVAL: Duration = Duration::from_secs(1);
/// How many such probes: after them the usual interval rules again, so that a dark cluster is left alone.
const DOUBT_PROBES: u32 = 3;
/// One lost packet is no reason to list everything on another server; two probes in a row are.
const FAIL_OVER_AFTER: u32 = 2;
/// How often the kubeconfig is looked at: it may appear late, and k3s writes it anew when certificates change.
const KUBECONFIG_INTERVAL: Duration = Duration::from_secs(5);
/// How long reading one PersistentVolume may take.
const CLAIM_LIMIT: Duration = Duration::from_secs(5);
/// PersistentVolumes that are read side by side.
const CLAIMS_AT_ONCE: usize = 4;
/// Pause after a claim could not be read.
const CLAIM_PAUSE: Duration = Duration::from_secs(2);
/// Objects in one answer of a list: bounds what is parsed at once.
const PAGE_SIZE: u32 = 100;
/// The namespace of kubelets' heartbeats.
const LEASE_NAMESPACE: &str = "kube-node-lease";

/// The tasks that run for the present wires and the present server.
#[derive(Default)]
struct Running {
    version: Option<String>,
    probes: JoinSet<()>,
    watches: JoinSet<()>,
}

/// Loads the wires, keeps a prober on each, and keeps the watches on a server that is ready.
pub(super) async fn steward(shared: Arc<Shared>) {
    let mut running = Running::default();
    loop {
        reload(&shared, &mut running).await;
        steer(&shared, &mut running);
        // A timeout is as good as a notice: both lead to the same look.
        let _ = tokio::time::timeout(KUBECONFIG_INTERVAL, shared.steering.notified()).await;
    }
}

/// Makes the wires where there are none yet or the kubeconfig has changed. Old ones stay while new ones cannot be made.
async fn reload(shared: &Arc<Shared>, running: &mut Running) {
    let version = shared.source.version();
    if running.version.as_ref() == Some(&version) {
        return;
    }
    let began = clock::boottime();
    match shared.source.load().await {
        Ok(wires) => {
            debug!(servers = wires.all.len(), "kubeconfig loaded");
            running.version = Some(version);
            running.watches = JoinSet::new();
            running.probes = JoinSet::new();
            for wire in wires.all.values() {
                running.probes.spawn(probe(Arc::clone(shared), wire.clone()));
            }
            let mut store = shared.store();
            store.end_watch(None, began);
            store.health.clear();
            store.no_wires = None;
            store.wires = Some(wires);
        }
        Err(error) => {
            let why = error.failure();
            let mut store = shared.store();
            let is_change = store.no_wires.as_ref().is_none_or(|(before, _)| *before != why);
            let has_wires = store.wires.is_some();
            store.no_wires = Some((why.clone(), began)).filter(|_| !has_wires);
            drop(store);
            if is_change && !has_wires {
                warn!(error = %why, "kubeconfig cannot be used; trying again");
                shared.tell();
            }
        }
    }
}

/// Puts the watches on the server that they should be on.
fn steer(shared: &Arc<Shared>, running: &mut Running) {
    let must_rebuild = shared.must_rebuild.swap(false, Ordering::Relaxed);
    let now = clock::boottime();
    let mut store = shared.store();
    let Some(wires) = &store.wires else { return };
    let target = choose(store.watched.as_ref(), &wires.preferred, &store.health);
    let wire = target.as_ref().and_then(|server| wires.all.get(server)).cloned();
    if target == store.watched && !must_rebuild {
        return;
    }
    let before = store.watched.clone();
    running.watches = JoinSet::new();
    let generation = store.end_watch(target.clone(), now);
    if must_rebuild {
        store.clear();
    }
    drop(store);
    match (&before, &target) {
        (Some(before), Some(target)) if before != target => {
            info!(from = %before, to = %target, "watching another API server")
        }
        (_, Some(target)) => debug!(server = %target, "watching"),
        (_, None) => info!("no API server to watch"),
    }
    if let Some(wire) = wire {
        watch_all(shared, &wire, generation, &mut running.watches);
    }
    shared.tell();
}

/// The server to watch: the present one unless it failed repeatedly and another is ready. A server that still answers
/// may still be watched; one that does not is let go, so that a dark cluster costs probes and nothing else.
fn choose(watched: Option<&Server>, preferred: &Server, health: &BTreeMap<Server, Health>) -> Option<Server> {
    let is_ready = |server: &&Server| health.get(*server).is_some_and(Health::is_ready);
    let any_ready = || Some(preferred).filter(is_ready).or_else(|| health.keys().find(is_ready)).cloned();
    let Some(present) = watched else { return any_ready() };
    let Some(present_health) = health.get(present) else { return any_ready() };
    if present_health.failures < FAIL_OVER_AFTER {
        return Some(present.clone());
    }
    let answers = present_health.reading.value().is_some();
    any_ready().or_else(|| Some(present.clone()).filter(|_| answers))
}

/// Asks one server's `/readyz` for ever.
async fn probe(shared: Arc<Shared>, wire: Wire) {
    let mut nudges = shared.nudges.subscribe();
    let mut is_asked_for = true;
    loop {
        nudges.borrow_and_update();
        let began = clock::boottime();
        let reading = match readyz(&wire).await {
            Ok(server) => Reading::known(server, began),
            Err(error) => Reading::Unknown { why: error.failure(), began },
        };
        let failures = note(&shared, &wire.server, reading, is_asked_for);
        let is_busy = shared.is_busy.load(Ordering::Relaxed);
        let usual = if is_busy { shared.settings.busy_interval } else { shared.settings.idle_interval };
        let interval = if (1..=DOUBT_PROBES).contains(&failures) { usual.min(DOUBT_INTERVAL) } else { usual };
        is_asked_for = tokio::time::timeout(interval, nudges.changed()).await.is_ok();
    }
}

/// Takes the answer of one probe; returns how many have failed in a row.
fn note(shared: &Shared, server: &Server, reading: Reading<ApiServer>, is_asked_for: bool) -> u32 {
    trace!(%server, ?reading, "readyz");
    let mut store = shared.store();
    let before = store.health.get(server);
    let is_ready = reading.value().is_some_and(|value| value.is_ready);
    let failures = if is_ready { 0 } else { before.map_or(0, |health| health.failures).saturating_add(1) };
    let last_ready = if is_ready { Some(reading.began()) } else { before.and_then(|health| health.last_ready) };
    // Another wording of the same failure is no news.
    let kind = |reading: &Reading<ApiServer>| reading.failure().map(|why| why.kind);
    let is_news = before
        .is_none_or(|health| health.reading.value() != reading.value() || kind(&health.reading) != kind(&reading));
    if is_news && before.is_some_and(|health| health.is_ready() != is_ready) {
        debug!(%server, is_ready, ?reading, "readiness changed");
    }
    store.health.insert(server.clone(), Health { reading, failures, last_ready });
    drop(store);
    if is_news || !is_ready {
        shared.steering.notify_one();
    }
    if is_news {
        shared.tell();
    } else if is_asked_for {
        shared.wake.notify_one();
    }
    failures
}

/// One `/readyz?verbose`.
async fn readyz(wire: &Wire) -> Result<ApiServer, CallError> {
    let ask = async {
        let request = Request::get("/readyz?verbose").body(Body::empty()).map_err(kube::Error::HttpError)?;
        let answer = wire.client.send(request).await?;
        let code = answer.status();
        let text = answer.into_body().collect_bytes().await?;
        Ok((code, String::from_utf8_lossy(&text).into_owned()))
    };
    let (code, text) = call(wire, PROBE_LIMIT, ask).await?;
    if matches!(code.as_u16(), 401 | 403) {
        let status = kube::core::Status::failure("hecate may not read /readyz", "").with_code(code.as_u16());
        return Err(CallError::Answered { server: wire.server.clone(), status: status.boxed() });
    }
    Ok(api_server(code.as_u16(), &text))
}

/// Reads the answer: a line `[-]etcd failed: reason withheld` for each check that failed.
fn api_server(code: u16, text: &str) -> ApiServer {
    if code == 200 {
        return ApiServer { is_ready: true, failed_checks: BTreeSet::new() };
    }
    let failed = text.lines().filter_map(|line| line.strip_prefix("[-]")).filter_map(|rest| rest.split(' ').next());
    let mut failed_checks: BTreeSet<String> = failed.map(str::to_owned).collect();
    if failed_checks.is_empty() {
        // Something before the API server speaks for it: k3s' supervisor answers 503 until it is up.
        failed_checks.insert(format!("http-{code}"));
    }
    ApiServer { is_ready: false, failed_checks }
}

/// Starts one watch a kind.
fn watch_all(shared: &Arc<Shared>, wire: &Wire, generation: u64, tasks: &mut JoinSet<()>) {
    let seconds = u32::try_from(WATCH_LIMIT.as_secs()).unwrap_or(u32::MAX);
    let config = watcher::Config::default().timeout(seconds).page_size(PAGE_SIZE);
    let client = || wire.client.clone();
    let at = |shared: &Arc<Shared>| (Arc::clone(shared), wire.server.clone(), generation);
    tasks.spawn(follow::<NodeObject>(at(shared), kube::Api::all(client()), config.clone()));
    tasks.spawn(follow::<LeaseFacts>(at(shared), kube::Api::namespaced(client(), LEASE_NAMESPACE), config.clone()));
    tasks.spawn(follow::<PodFacts>(at(shared), kube::Api::all(client()), config.clone().fields("spec.nodeName!=")));
    tasks.spawn(follow::<AttachmentObject>(at(shared), kube::Api::all(client()), config));
    tasks.spawn(resolve_claims(Arc::clone(shared), wire.clone(), generation));
}

/// Feeds one kind's watch into the store, for ever.
async fn follow<R: Row>(
    (shared, server, generation): (Arc<Shared>, Server, u64),
    api: kube::Api<Seen<R>>,
    config: watcher::Config,
) {
    let mut events = pin!(watcher(api, config).backoff(CappedBackoff::default()));
    while let Some(event) = events.next().await {
        let now = clock::boottime();
        let change = match event {
            Ok(watcher::Event::Init) => Change::Restarted,
            Ok(watcher::Event::InitApply(seen)) => Change::Paged(R::key(seen.name(), seen.uid()), seen.facts),
            Ok(watcher::Event::InitDone) => Change::Listed,
            Ok(watcher::Event::Apply(seen)) => Change::Applied(R::key(seen.name(), seen.uid()), seen.facts),
            Ok(watcher::Event::Delete(seen)) => Change::Deleted(R::key(seen.name(), seen.uid())),
            Err(error) => {
                let why = watch_failure(&server, R::PLURAL, &error);
                debug!(%server, kind = R::PLURAL, error = %why, "watch restarts");
                shared.store().fail::<R>(generation, why, now);
                shared.suspect(&server);
                continue;
            }
        };
        let is_news = shared.store().take(generation, change, now);
        if is_news {
            shared.tell();
        }
    }
}

/// The failure that a reading shows while nothing was ever listed.
fn watch_failure(server: &Server, plural: &str, error: &watcher::Error) -> Failure {
    let cause = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => CallError::new(server, error).failure(),
        watcher::Error::WatchError(status) => {
            CallError::Answered { server: server.clone(), status: status.clone() }.failure()
        }
        watcher::Error::NoResourceVersion => {
            Failure::new(FailureKind::Malformed, format!("{server} gave no resource version"))
        }
    };
    Failure::new(cause.kind, format!("{plural} cannot be watched: {cause}"))
}

/// Pauses of 1 s, then 2 s: kube's own default grows to 30 s, which is longer than some shutdowns have.
#[derive(Debug, Default)]
struct CappedBackoff {
    failures: u32,
}

impl Iterator for CappedBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.failures = self.failures.saturating_add(1);
        Some(Duration::from_secs(self.failures.min(2).into()))
    }
}

impl Backoff for CappedBackoff {
    fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Reads the claim of each attached volume, once: a bound volume keeps its claim. One that cannot be read now is tried
/// again and holds back no other.
async fn resolve_claims(shared: Arc<Shared>, wire: Wire, generation: u64) {
    let mut news = shared.news.subscribe();
    loop {
        news.borrow_and_update();
        let unclaimed = shared.store().unclaimed();
        let asked = unclaimed.len();
        let answers = futures::stream::iter(unclaimed).map(|volume| read_claim(&wire, volume));
        let answers: Vec<_> = answers.buffer_unordered(CLAIMS_AT_ONCE).collect().await;
        let found: BTreeMap<String, Option<String>> = answers.into_iter().flatten().collect();
        let is_whole = found.len() == asked;
        if !found.is_empty() {
            let mut store = shared.store();
            if generation != store.generation {
                return;
            }
            store.take_claims(found);
            drop(store);
            shared.tell();
        }
        if !is_whole {
            tokio::time::sleep(CLAIM_PAUSE).await;
        } else if news.changed().await.is_err() {
            return;
        }
    }
}

/// The namespace of one volume's claim.
async fn read_claim(wire: &Wire, volume: String) -> Result<(String, Option<String>), CallError> {
    let api: kube::Api<Seen<ClaimFacts>> = kube::Api::all(wire.client.clone());
    let seen = call(wire, CLAIM_LIMIT, api.get_opt(&volume)).await;
    let seen = seen.inspect_err(|error| debug!(volume, %error, "claim cannot be read"))?;
    Ok((volume, seen.and_then(|seen| seen.facts).map(|claim| claim.namespace)))
}

#[cfg(test)]
#[path = "tasks_tests.rs"]
mod tests;

//! What the Kubernetes API says: `/readyz` of every server, and what is watched on one of them.
//!
//! [`Api::snapshot`] is instant: tasks behind it probe and watch, each with its own cadence and deadline, so that a
//! frozen or dead server delays nobody. A quiet cluster is never listed again. Nothing here changes the cluster, and
//! nothing that cannot be seen is an error: it is an Unknown reading, or one that grows old.

mod objects;
mod rows;
mod store;
mod tasks;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

pub use self::objects::{CORDONED_BY, Facts, PodFacts, Seen};
use self::store::Store;
use crate::clients::kubernetes::{KubeconfigSource, Requests, Server, Source, Wire};
use crate::clock;
use crate::config::Config;
use crate::model::{NodeName, Role};
use crate::plan::step::PodRef;
use crate::snapshot::{ApiSnapshot, NodeObject};

/// How often servers are probed, and which.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The control planes whose servers a snapshot shows.
    pub control_planes: BTreeSet<NodeName>,
    /// Between probes while something is going on.
    pub busy_interval: Duration,
    /// Between probes while nothing is.
    pub idle_interval: Duration,
}

/// The Kubernetes API as it is seen by tasks in the background. Dropping it ends them.
pub struct Api {
    shared: Arc<Shared>,
    steward: JoinHandle<()>,
}

impl Api {
    /// Starts to look; must be called inside a tokio runtime. `wake` is notified when something that rules read has
    /// changed, and when an observation that [`Api::refresh`] asked for has ended.
    pub fn start(config: &Config, wake: Arc<Notify>) -> Self {
        let control_planes = config.nodes.iter().filter(|(_, node)| node.role == Role::ControlPlane);
        let hosts: BTreeMap<NodeName, String> =
            control_planes.map(|(name, node)| (name.clone(), node.host.clone())).collect();
        let settings = Settings {
            control_planes: hosts.keys().cloned().collect(),
            busy_interval: config.reconcile.busy_interval,
            idle_interval: config.reconcile.idle_interval,
        };
        let requests = Requests::default();
        let source = KubeconfigSource { path: config.kubeconfig.clone(), hosts, requests: requests.clone() };
        Self::start_with(Arc::new(source), settings, requests, wake)
    }

    /// Starts to look, over wires from any source.
    pub fn start_with(source: Arc<dyn Source>, settings: Settings, requests: Requests, wake: Arc<Notify>) -> Self {
        let store = Store::new(settings.control_planes.clone());
        let shared = Arc::new(Shared {
            store: Mutex::new(store),
            source,
            settings,
            requests,
            wake,
            is_busy: AtomicBool::new(true),
            must_rebuild: AtomicBool::new(false),
            nudges: watch::Sender::new(0),
            news: watch::Sender::new(0),
            steering: Notify::new(),
        });
        let steward = tokio::spawn(tasks::steward(Arc::clone(&shared)));
        Self { shared, steward }
    }

    /// Everything that was last seen; never waits.
    pub fn snapshot(&self) -> ApiSnapshot {
        self.shared.store().snapshot(clock::boottime())
    }

    /// Whether something is going on; sets how often servers are probed.
    pub fn set_busy(&self, is_busy: bool) {
        let was_busy = self.shared.is_busy.swap(is_busy, Ordering::Relaxed);
        if is_busy && !was_busy {
            self.shared.nudge();
        }
    }

    /// Probes every server now; each probe that ends wakes the loop, whatever it found.
    pub fn refresh(&self) {
        self.shared.nudge();
    }

    /// Forgets every object and lists anew: after an etcd restore a resumed watch would miss what happened.
    pub fn rebuild(&self) {
        self.shared.must_rebuild.store(true, Ordering::Relaxed);
        self.shared.steering.notify_one();
        self.shared.nudge();
    }

    /// A way to a server for an actor: the watched one while it is ready, else any ready one, else any at all; where it
    /// can, another one than `avoid`. None while there is no kubeconfig.
    pub fn wire(&self, avoid: Option<&Server>) -> Option<Wire> {
        let store = self.shared.store();
        let wires = store.wires.as_ref()?;
        let is_ready = |server: &Server| store.health.get(server).is_some_and(store::Health::is_ready);
        let rank = |server: &Server| {
            let is_first =
                store.watched.as_ref() == Some(server) || (store.watched.is_none() && *server == wires.preferred);
            (avoid == Some(server), !is_first)
        };
        let best = |ready: bool| wires.all.keys().filter(|server| is_ready(server) == ready).min_by_key(|s| rank(s));
        let server = best(true).or_else(|| best(false))?;
        wires.all.get(server).cloned()
    }

    /// The server that is watched now.
    pub fn watched(&self) -> Option<Server> {
        self.shared.store().watched.clone()
    }

    /// Says that a call to a server failed: it is probed at once.
    pub fn suspect(&self, server: &Server) {
        self.shared.suspect(server);
    }

    /// Returns once a server has stopped being ready while another is: whoever waits for the first may ask the second.
    pub async fn superseded(&self, server: &Server) {
        let mut news = self.news();
        loop {
            {
                let store = self.shared.store();
                let is_ready = |server: &Server| store.health.get(server).is_some_and(store::Health::is_ready);
                if !is_ready(server) && store.health.keys().any(is_ready) {
                    return;
                }
            }
            if news.changed().await.is_err() {
                return;
            }
        }
    }

    /// A receiver that changes whenever something that rules read has changed.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.shared.news.subscribe()
    }

    /// Those of the given pods that are not known to be gone.
    pub fn pods_left<'a>(&self, pods: &'a [PodRef]) -> Vec<&'a PodRef> {
        self.shared.store().pods_left(pods)
    }

    /// Waits until these pods are gone, by watching, or until the limit; returns those that are left.
    pub async fn wait_gone<'a>(&self, pods: &'a [PodRef], limit: Duration) -> Vec<&'a PodRef> {
        let mut news = self.news();
        let all_gone = async {
            // The sender lives as long as `self`.
            while !self.pods_left(pods).is_empty() && news.changed().await.is_ok() {}
        };
        // Either way the answer is what is left.
        let _ = tokio::time::timeout(limit, all_gone).await;
        self.pods_left(pods)
    }

    /// Waits until a Node is seen as wanted, or until the limit: so that a snapshot taken after a write shows it.
    pub async fn wait_node(&self, node: &NodeName, limit: Duration, is_as_wanted: impl Fn(&NodeObject) -> bool) {
        let mut news = self.news();
        let seen = async {
            loop {
                let is_seen = self.shared.store().nodes.rows.get(node).is_some_and(&is_as_wanted);
                if is_seen || news.changed().await.is_err() {
                    return;
                }
            }
        };
        // Where the watch is late the next pass simply sees the old state and plans from it.
        let _ = tokio::time::timeout(limit, seen).await;
    }

    /// Requests sent so far, by kind of call.
    pub fn requests(&self) -> BTreeMap<&'static str, u64> {
        self.shared.requests.counts()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        // The steward owns all other tasks, so that they end with it.
        self.steward.abort();
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the wires: they hold credentials.
        f.debug_struct("Api").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

/// What the tasks and the [`Api`] share.
struct Shared {
    store: Mutex<Store>,
    source: Arc<dyn Source>,
    settings: Settings,
    requests: Requests,
    wake: Arc<Notify>,
    is_busy: AtomicBool,
    must_rebuild: AtomicBool,
    /// Changes when every server shall be probed now.
    nudges: watch::Sender<u64>,
    /// Changes when something that rules read has changed.
    news: watch::Sender<u64>,
    /// Wakes the steward.
    steering: Notify,
}

impl Shared {
    /// Locked only for as long as a lookup takes; never across an await.
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        self.news.send_modify(|count| *count += 1);
        self.wake.notify_one();
    }

    fn nudge(&self) {
        self.nudges.send_modify(|count| *count += 1);
    }

    fn suspect(&self, server: &Server) {
        // One that is already known to be away is probed at its own pace.
        let is_ready = self.store().health.get(server).is_some_and(store::Health::is_ready);
        if is_ready {
            self.nudge();
        }
    }
}

//! The thread that writes: the loop hands it jobs and never waits for a disk.
//!
//! Jobs are carried out in their order. The status, which is not durable and may be skipped, has a thread of its own so
//! that a hanging state disk does not stop people from seeing what goes on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};

use crate::desired::ups_policy::DeclaredChange;
use crate::history::History;
use crate::ledger::Ledger;
use crate::model::{MachineId, NodeName};
use crate::status::Status;
use crate::store::{DeclaredFile, IntentRecord, Store, StoreError};
use crate::telemetry::chain;

/// Jobs that wait for a hanging disk; later ones are dropped and asked for again by a later pass.
const QUEUE_MAX: usize = 64;
/// The status is written at most this often.
const PUBLISH_GAP: Duration = Duration::from_secs(1);
/// What other hecate hosts read, by its name in the state directory.
pub(super) const INTENT_FILE: &str = "intent.json";
/// How long an ending loop waits for its last writes.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// Something to write or read.
#[derive(Debug)]
pub(super) enum Job {
    ReadDeclared,
    Ledger(u64, Box<Ledger>),
    Overrides(Vec<DeclaredChange>),
    History(History, usize),
    Intent(IntentRecord),
    Drain(oneshot::Sender<()>),
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Kept {
    Declared(DeclaredFile),
    Enrolled(BTreeMap<NodeName, MachineId>),
    Ledger(u64, Result<(), String>),
    Overrides(Result<(), String>),
    Other(&'static str, Result<(), String>),
}

/// The loop's end of the threads.
#[derive(Debug)]
pub(super) struct Keeper {
    jobs: blocking::SyncSender<Job>,
    answers: mpsc::UnboundedReceiver<Kept>,
    latest: Arc<Mutex<Option<Arc<Status>>>>,
    publish: blocking::SyncSender<()>,
    is_reading: Arc<AtomicBool>,
}

impl Keeper {
    /// Starts both threads; they end when the keeper is dropped.
    pub(super) fn start(store: Arc<Store>, wake: &Arc<Notify>) -> Self {
        let (jobs, queue) = blocking::sync_channel(QUEUE_MAX);
        let (sender, answers) = mpsc::unbounded_channel();
        let wake = Arc::clone(wake);
        let state = Arc::clone(&store);
        let is_reading = Arc::new(AtomicBool::new(false));
        let reading = Arc::clone(&is_reading);
        thread::spawn(move || keep(&state, &queue, &sender, &wake, &reading));
        let latest = Arc::new(Mutex::new(None));
        let (publish, wanted) = blocking::sync_channel(1);
        let shown = Arc::clone(&latest);
        thread::spawn(move || show(&store, &wanted, &shown));
        Self { jobs, answers, latest, publish, is_reading }
    }

    /// Hands a job over; says false where the queue is full because the disk hangs.
    pub(super) fn ask(&self, job: Job) -> bool {
        self.jobs.try_send(job).is_ok()
    }

    /// Asks for `desired.yaml`, unless that was asked for and is not answered yet.
    pub(super) fn ask_declared(&self) {
        if !self.is_reading.swap(true, Ordering::Relaxed) && !self.ask(Job::ReadDeclared) {
            self.is_reading.store(false, Ordering::Relaxed);
        }
    }

    /// What was done since it was asked last.
    pub(super) fn answers(&mut self) -> Vec<Kept> {
        std::iter::from_fn(|| self.answers.try_recv().ok()).collect()
    }

    /// Publishes the latest status; one that was not written yet is skipped.
    pub(super) fn publish(&self, status: Arc<Status>) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
        // A token that is there already will take this status along.
        let _ = self.publish.try_send(());
    }

    /// Waits until the jobs so far are done, for a moment at most.
    pub(super) async fn drain(&self) {
        let (done, is_done) = oneshot::channel();
        let is_asked = self.ask(Job::Drain(done));
        if !is_asked {
            return;
        }
        let _ = tokio::time::timeout(DRAIN_LIMIT, is_done).await;
    }
}

fn keep(
    store: &Store,
    queue: &blocking::Receiver<Job>,
    answers: &mpsc::UnboundedSender<Kept>,
    wake: &Notify,
    is_reading: &AtomicBool,
) {
    let mut seen: Option<DeclaredFile> = None;
    let mut enrolled_seen = None;
    while let Ok(job) = queue.recv() {
        let kept = match job {
            Job::ReadDeclared => {
                let file = store.read_declared();
                is_reading.store(false, Ordering::Relaxed);
                let enrolled = store.read_enrolled().ok().filter(|enrolled| enrolled_seen.as_ref() != Some(enrolled));
                if let Some(enrolled) = enrolled {
                    enrolled_seen = Some(enrolled.clone());
                    if answers.send(Kept::Enrolled(enrolled)).is_err() {
                        return;
                    }
                    wake.notify_one();
                }
                if seen.as_ref() == Some(&file) {
                    continue;
                }
                seen = Some(file.clone());
                Kept::Declared(file)
            }
            Job::Ledger(number, ledger) => Kept::Ledger(number, text(store.write_ledger(&ledger))),
            Job::Overrides(changes) => {
                seen = None;
                Kept::Overrides(
                    changes
                        .iter()
                        .try_for_each(|change| write_override(store, change))
                        .map_err(|error| chain(&error).to_string()),
                )
            }
            Job::History(history, kept) => Kept::Other("runs.json", text(store.write_history(&history, kept))),
            Job::Intent(intent) => Kept::Other(INTENT_FILE, text(store.write_intent(&intent))),
            Job::Drain(done) => {
                let _ = done.send(());
                continue;
            }
        };
        if answers.send(kept).is_err() {
            return;
        }
        wake.notify_one();
    }
}

fn write_override(store: &Store, change: &DeclaredChange) -> Result<(), StoreError> {
    match change {
        DeclaredChange::Set(one) => store.set_override(one.clone()),
        DeclaredChange::Clear { source, .. } => store.clear_override(source).map(|_| ()),
    }
}

fn text(result: Result<(), StoreError>) -> Result<(), String> {
    result.map_err(|error| chain(&error).to_string())
}

fn show(store: &Store, wanted: &blocking::Receiver<()>, latest: &Mutex<Option<Arc<Status>>>) {
    let mut was_failing = false;
    while wanted.recv().is_ok() {
        let status = latest.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(status) = status else { continue };
        match store.write_status(&status) {
            Ok(()) => was_failing = false,
            Err(error) if !was_failing => {
                tracing::warn!(error = %chain(&error), "cannot publish the status");
                was_failing = true;
            }
            Err(_) => {}
        }
        thread::sleep(PUBLISH_GAP);
    }
}

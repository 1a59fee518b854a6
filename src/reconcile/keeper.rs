//! The thread that writes: the loop hands it jobs and never waits for a disk.
//!
//! Jobs are carried out in their order. The status, which is not durable and may be skipped, has a thread of its own so
//! that a hanging state disk does not stop people from seeing what goes on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, oneshot};

use crate::desired::Spec;
use crate::desired::ups_policy::DeclaredChange;
use crate::history::History;
use crate::ledger::Ledger;
use crate::model::{MachineId, NodeName};
use crate::status::Status;
use crate::store::{DeclaredFile, IntentRecord, Store, StoreError};
use crate::telemetry::chain;
use crate::tracker::Low;

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
    Declared(Vec<DeclaredChange>),
    History(History, usize),
    Intent(IntentRecord),
    /// The wish of a first start, which the disk did not take then.
    FirstWish(Box<Spec>),
    Drain(oneshot::Sender<()>),
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Kept {
    Declared(DeclaredFile),
    Enrolled(BTreeMap<NodeName, MachineId>),
    Ledger(u64, Result<(), String>),
    Changed(Result<(), String>),
    FirstWish(Result<(), String>),
    Other(&'static str, Result<(), String>),
}

/// The loop's end of the threads.
#[derive(Debug)]
pub(super) struct Keeper {
    jobs: blocking::SyncSender<Job>,
    answers: mpsc::UnboundedReceiver<Kept>,
    latest: Arc<Mutex<Option<Arc<Status>>>>,
    low: Arc<Mutex<Option<Arc<Low>>>>,
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
        let low = Arc::new(Mutex::new(None));
        let kept = Arc::clone(&low);
        thread::spawn(move || show(&store, &wanted, &shown, &kept));
        Self { jobs, answers, latest, low, publish, is_reading }
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

    /// Keeps what a restart goes on from; one that was not written yet is skipped.
    pub(super) fn keep_low(&self, low: Arc<Low>) {
        *self.low.lock().unwrap_or_else(PoisonError::into_inner) = Some(low);
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
            Job::Declared(changes) => {
                seen = None;
                let written = changes.iter().try_for_each(|change| write_change(store, change));
                Kept::Changed(written.map_err(|error| chain(&error).to_string()))
            }
            Job::History(history, kept) => Kept::Other("runs.json", text(store.write_history(&history, kept))),
            Job::FirstWish(spec) => Kept::FirstWish(text(store.write_first_wish(*spec))),
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

fn write_change(store: &Store, change: &DeclaredChange) -> Result<(), StoreError> {
    match change {
        DeclaredChange::Set(one) => store.set_override(one.clone()),
        DeclaredChange::Clear { source, .. } => store.clear_override(source).map(|_| ()),
        DeclaredChange::DropHold(hold) => store.drop_hold(hold),
        DeclaredChange::DropForget(forget) => store.clear_forget(&forget.ups, forget.set_at).map(|_| ()),
    }
}

fn text(result: Result<(), StoreError>) -> Result<(), String> {
    result.map_err(|error| chain(&error).to_string())
}

/// Writes what is not durable: `low.json` at once, as the next restart may be a moment away, the status at most once a
/// second.
fn show(
    store: &Store,
    wanted: &blocking::Receiver<()>,
    latest: &Mutex<Option<Arc<Status>>>,
    low: &Mutex<Option<Arc<Low>>>,
) {
    let mut failing = [false; 2];
    let mut note = |of: usize, what: &str, result: Result<(), StoreError>| match result {
        Ok(()) => failing[of] = false,
        Err(error) if !failing[of] => {
            tracing::warn!(error = %chain(&error), "cannot write {what}");
            failing[of] = true;
        }
        Err(_) => {}
    };
    let mut shown = None;
    loop {
        let is_pending = latest.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        let token = if is_pending {
            let gap = shown.map_or(Duration::ZERO, |at: Instant| PUBLISH_GAP.saturating_sub(at.elapsed()));
            wanted.recv_timeout(gap)
        } else {
            wanted.recv().map_err(|_| blocking::RecvTimeoutError::Disconnected)
        };
        if token == Err(blocking::RecvTimeoutError::Disconnected) {
            return;
        }
        let kept = low.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(low) = kept {
            note(0, "low.json", store.write_low(&low));
        }
        let is_due = shown.is_none_or(|at: Instant| at.elapsed() >= PUBLISH_GAP);
        let status = latest.lock().unwrap_or_else(PoisonError::into_inner).take_if(|_| is_due);
        if let Some(status) = status {
            note(1, "the status", store.write_status(&status));
            shown = Some(Instant::now());
        }
    }
}

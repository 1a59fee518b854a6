//! The passes themselves, and what the loop keeps between two of them.
//!
//! Nothing in here waits for anything but a wake-up.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::{RecursiveMode, Watcher};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};

use super::keeper::{INTENT_FILE, Job, Keeper, Kept};
use super::once::read;
use super::steps::{Done, Steps};
use super::voice::{Told, tell_end};
use super::{ReconcileError, parts};
use crate::act::Hands;
use crate::act::power::OwnHost;
use crate::clients::ssh::Ssh;
use crate::clock;
use crate::config::Config;
use crate::decide::Decision;
use crate::desired::ups_policy::DeclaredChange;
use crate::desired::{Cause, DeclaredHealth, Spec};
use crate::desk::{Desk, Passed};
use crate::model::Now;
use crate::observe::Eyes;
use crate::serve::Metrics;
use crate::status::{Actor, LastStep, Status};
use crate::store::{DeclaredFile, IntentRecord, Store};
use crate::telemetry::chain;
use crate::tracker::Command;

/// Passes are at least so far apart, so that a burst of watch events makes one pass and not fifty.
const PASS_GAP: Duration = Duration::from_millis(50);
/// Without any wake-up a pass is made this often while something is going on.
const BUSY_PASS: Duration = Duration::from_secs(1);
/// And this often while nothing is.
const IDLE_PASS: Duration = Duration::from_secs(15);
/// A write that failed is tried again after this.
const WRITE_RETRY: Duration = Duration::from_secs(5);
/// Steps shown in the status.
const LAST_STEPS_MAX: usize = 20;

/// What belongs to one configuration; a reload replaces it whole.
#[derive(Debug)]
pub(super) struct Parts {
    /// The configuration.
    pub(super) config: Arc<Config>,
    /// What looks.
    pub(super) eyes: Eyes,
    /// What acts.
    pub(super) hands: Arc<Hands>,
}

/// The loop's state between two passes.
#[derive(Debug)]
pub(super) struct Reconciler {
    parts: Parts,
    store: Arc<Store>,
    actor: Actor,
    wake: Arc<Notify>,
    metrics: Arc<Metrics>,
    keeper: Keeper,
    steps: Steps,
    desk: Desk,
    unsaved_in_flight: usize,
    /// What was written last, by an earlier process at first.
    intent: Option<IntentRecord>,
    /// Whether this process has handed it to the keeper, and its write has not failed since.
    is_intent_written: bool,
    is_intent_failing: bool,
    last_steps: VecDeque<LastStep>,
    told: Told,
    pass: u64,
    is_write_failing: bool,
    config_problem: Option<String>,
    write_problem: Option<String>,
    retry_at: Option<Duration>,
    /// The wish of a first start, while the disk has not taken it.
    first_wish: Option<Spec>,
    publish: watch::Sender<Option<Arc<Status>>>,
}

impl Reconciler {
    /// Starts the loop's threads and reads what is on disk.
    pub(super) fn prepare(
        parts: Parts,
        store: Arc<Store>,
        actor: Actor,
        wake: Arc<Notify>,
        publish: watch::Sender<Option<Arc<Status>>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let now = clock::now();
        let desk = read(&store, &now);
        let mut this = Self {
            keeper: Keeper::start(Arc::clone(&store), &wake),
            steps: Steps::new(Arc::clone(&wake)),
            desk,
            unsaved_in_flight: 0,
            intent: store.read_intent().ok().flatten(),
            is_intent_written: false,
            is_intent_failing: false,
            last_steps: VecDeque::new(),
            told: Told::default(),
            pass: 0,
            is_write_failing: false,
            config_problem: None,
            write_problem: None,
            retry_at: None,
            first_wish: None,
            publish,
            parts,
            store,
            actor,
            wake,
            metrics,
        };
        if let Some(why) = &this.desk.ledger_problem {
            tracing::error!(why, "the ledger cannot be trusted; nothing is started because of it");
            if let Err(error) = this.store.keep_bad_ledger() {
                tracing::warn!(error = %chain(&error), "cannot keep a copy of the bad ledger");
            }
        }
        // Says false and changes nothing where there is a wish, or was one.
        if let Err(error) = this.store.create_declared(this.desk.declared.spec.clone()) {
            this.first_wish = Some(this.desk.declared.spec.clone());
            this.note_write("desired.yaml", Some(chain(&error).to_string()));
            this.retry_at = Some(clock::boottime() + WRITE_RETRY);
        }
        this
    }

    /// Runs passes until `stop` says true. What was begun on the nodes goes on by itself; it is only no longer waited for.
    pub(super) async fn run(
        mut self,
        mut stop: watch::Receiver<bool>,
        config_path: PathBuf,
        own_host: Arc<dyn OwnHost>,
        mut ssh: Ssh,
    ) -> Result<Ssh, ReconcileError> {
        let mut reload = signal(SignalKind::hangup()).map_err(ReconcileError::Listen)?;
        let _watcher = watch_folder(&self.store, &self.wake);
        loop {
            let began = Instant::now();
            let status = self.pass();
            self.metrics.pass_took(began.elapsed());
            let hands = &self.parts.hands;
            self.metrics.calls_made(&hands.api.requests(), &hands.ssh.round_trips());
            let is_idle = status.is_converged && !status.effective.is_on_battery();
            self.publish.send_replace(Some(status));
            let pause = if is_idle { IDLE_PASS } else { BUSY_PASS };
            tokio::select! {
                // Its sender lives as long as the process; either way it is time to stop.
                _ = stop.wait_for(|is_stopping| *is_stopping) => {
                    self.keeper.drain().await;
                    return Ok(ssh);
                }
                Some(()) = reload.recv() => {
                    if let Some(new) = self.reload(&config_path, &own_host).await {
                        ssh = new;
                    }
                }
                () = self.wake.notified() => tokio::time::sleep(PASS_GAP).await,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Takes a new configuration over, whole or not at all.
    async fn reload(&mut self, path: &Path, own_host: &Arc<dyn OwnHost>) -> Option<Ssh> {
        let read = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
        let file = path.display().to_string();
        let checked = read.and_then(|text| Config::parse(&text).map_err(|wrong| wrong.in_file(&file).to_string()));
        let mut config = match checked {
            Ok(checked) => checked.config,
            Err(why) => {
                tracing::error!(why, "the configuration cannot be taken over; the last good one rules");
                self.config_problem = Some(why);
                return None;
            }
        };
        config.state_dir.clone_from(&self.parts.config.state_dir);
        config.runtime_dir.clone_from(&self.parts.config.runtime_dir);
        match parts(config, &self.wake, own_host).await {
            Ok((parts, ssh)) => {
                tracing::info!(file, "configuration taken over");
                self.parts = parts;
                self.config_problem = None;
                Some(ssh)
            }
            Err(error) => {
                let why = chain(&error).to_string();
                tracing::error!(why, "the configuration cannot be taken over; the last good one rules");
                self.config_problem = Some(why);
                None
            }
        }
    }

    /// One pass: take in what happened, look, decide, persist, act, publish.
    fn pass(&mut self) -> Arc<Status> {
        self.pass += 1;
        let now = clock::now();
        self.take_kept(&now);
        for done in self.steps.ended() {
            self.take_done(done, &now);
        }
        self.keeper.ask_declared();
        self.retry_writes(&now);
        let snapshot = self.parts.eyes.snapshot();
        let Passed { decision, commands } = self.desk.pass(&self.parts.config, &snapshot, &now);
        if let Some(run) = &decision.finished_run {
            tracing::info!(run = %run.id, result = ?run.result, seconds = run.duration.as_secs(), "run recorded");
            let _ = self.keeper.ask(Job::History(self.desk.history.clone(), self.parts.config.reconcile.runs_kept));
        }
        self.write_intent(&decision, &now);
        self.carry_out(commands);
        self.parts.eyes.focus(&decision, !self.desk.memory.in_flight.is_empty());
        self.told.tell(&decision, self.pass);
        self.status(decision)
    }

    fn carry_out(&mut self, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::PersistLedger { number, ledger } => {
                    let is_kept = self.desk.ledger_problem.is_some() || self.keeper.ask(Job::Ledger(number, ledger));
                    if !is_kept {
                        self.retry_at.get_or_insert(clock::boottime() + WRITE_RETRY);
                    }
                }
                Command::ChangeDeclared(changes) => self.change_declared(&changes),
                Command::KeepLow(low) => self.keeper.keep_low(low),
                Command::Cancel(target) => self.steps.cancel(&target),
                Command::Start(planned) => {
                    tracing::info!(step = %planned.step, because = planned.because, "start");
                    self.steps.start(&self.parts.hands, planned);
                }
                Command::Observe(target) => self.parts.eyes.refresh(&target),
            }
        }
    }

    /// They are obeyed already; the file follows as soon as the disk takes it.
    fn change_declared(&mut self, changes: &[DeclaredChange]) {
        for change in changes {
            match change {
                DeclaredChange::Set(one) => {
                    tracing::warn!(source = one.source, state = %one.state, path = %one.path, reason = one.reason, "override set");
                }
                DeclaredChange::Clear { source, because } => {
                    tracing::warn!(source, because, "override lifted");
                }
                DeclaredChange::DropHold(hold) => {
                    tracing::info!(what = ?hold.what, expired = %hold.expires_at, "hold is over");
                }
                DeclaredChange::DropForget(forget) => {
                    tracing::info!(ups = %forget.ups, by = forget.set_by, "what was learned of a battery is forgotten");
                }
            }
        }
        self.save_declared();
    }

    fn save_declared(&mut self) {
        let unsaved = &self.desk.memory.unsaved;
        if self.unsaved_in_flight == 0 && !unsaved.is_empty() {
            if self.keeper.ask(Job::Declared(unsaved.clone())) {
                self.unsaved_in_flight = unsaved.len();
            } else {
                self.retry_at.get_or_insert(clock::boottime() + WRITE_RETRY);
            }
        }
    }

    fn take_kept(&mut self, now: &Now) {
        for kept in self.keeper.answers() {
            match kept {
                Kept::Declared(file) => self.adopt(file),
                // A person vouches for these: they take the place of what was learned.
                Kept::Enrolled(enrolled) => self.desk.ledger.machine_ids.extend(enrolled),
                Kept::Ledger(number, Ok(())) => {
                    self.note_write("ledger.json", None);
                    self.desk.persisted(number, now);
                }
                Kept::Ledger(_, Err(why)) => self.failed_write("ledger.json", why, now),
                Kept::Changed(Ok(())) => {
                    self.desk.saved(std::mem::take(&mut self.unsaved_in_flight), now);
                    self.note_write("desired.yaml", None);
                    self.save_declared();
                }
                Kept::Changed(Err(why)) => {
                    self.unsaved_in_flight = 0;
                    self.failed_write("desired.yaml", why, now);
                }
                Kept::FirstWish(Ok(())) => {
                    self.first_wish = None;
                    self.note_write("desired.yaml", None);
                }
                Kept::FirstWish(Err(why)) => self.failed_write("desired.yaml", why, now),
                Kept::Other(_, Ok(())) => {}
                Kept::Other(what, Err(why)) => {
                    self.is_intent_failing |= what == INTENT_FILE;
                    self.failed_write(what, why, now);
                }
            }
        }
    }

    fn failed_write(&mut self, what: &'static str, why: String, now: &Now) {
        self.note_write(what, Some(why));
        self.retry_at.get_or_insert(now.boottime + WRITE_RETRY);
    }

    fn note_write(&mut self, what: &'static str, why: Option<String>) {
        match why {
            Some(why) => {
                if !self.is_write_failing {
                    tracing::error!(file = what, why, "cannot write; a shutdown on battery goes on without");
                }
                self.is_write_failing = true;
                self.write_problem = Some(format!("{what}: {why}"));
            }
            None => {
                if self.is_write_failing {
                    tracing::info!(file = what, "written again");
                }
                self.is_write_failing = false;
                self.write_problem = None;
            }
        }
    }

    fn retry_writes(&mut self, now: &Now) {
        if self.retry_at.is_none_or(|at| now.boottime < at) {
            return;
        }
        self.retry_at = None;
        if let Some(spec) = &self.first_wish {
            let is_asked = self.keeper.ask(Job::FirstWish(Box::new(spec.clone())));
            tracing::debug!(is_asked, "first wish written again");
        }
        self.save_declared();
        // Other hecate hosts go by it.
        if std::mem::take(&mut self.is_intent_failing) {
            self.is_intent_written = false;
        }
        if self.desk.memory.ledger_pending.is_some() && self.desk.ledger_problem.is_none() {
            let is_asked =
                self.keeper.ask(Job::Ledger(self.desk.memory.ledger_number, Box::new(self.desk.ledger.clone())));
            tracing::debug!(is_asked, "ledger written again");
        }
    }

    /// Takes over what stands in `desired.yaml`; an override that is not on disk yet stays on top.
    fn adopt(&mut self, file: DeclaredFile) {
        // Nothing is lost that was never written.
        if self.first_wish.is_some() && matches!(file, DeclaredFile::Missing { .. }) {
            return;
        }
        let before = self.desk.health.clone();
        let (declared, health) = match (file, &before) {
            (DeclaredFile::Good(declared), _) => (Some(declared), DeclaredHealth::Good),
            // At a start nothing was ever read, so there is no last good wish to keep to.
            (DeclaredFile::Missing { .. }, _) | (DeclaredFile::Unreadable { .. }, DeclaredHealth::Lost) => {
                (None, DeclaredHealth::Lost)
            }
            (DeclaredFile::Unreadable { why }, DeclaredHealth::Good | DeclaredHealth::LastGood { .. }) => {
                (None, DeclaredHealth::LastGood { why })
            }
        };
        self.desk.adopt(declared, health);
        if self.desk.health != before {
            match &self.desk.health {
                DeclaredHealth::Good => tracing::info!("desired.yaml read"),
                DeclaredHealth::LastGood { why } => {
                    tracing::error!(
                        why,
                        "desired.yaml cannot be read; the last good wish rules, nothing disruptive begins"
                    );
                }
                DeclaredHealth::Lost => {
                    tracing::error!("desired.yaml was lost; `hecate set-desired STATE` writes a new one");
                }
            }
        }
    }

    fn take_done(&mut self, done: Done, now: &Now) {
        let Done { target, outcome } = done;
        if let Some(ended) = self.desk.memory.in_flight.get(&target) {
            let took = now.since(ended.started);
            tell_end(&ended.step.to_string(), &outcome, took);
            let step = ended.step.clone();
            self.last_steps.push_front(LastStep { at: now.wall, step, outcome: outcome.clone(), took });
            self.last_steps.truncate(LAST_STEPS_MAX);
        }
        let commands = self.desk.ended(target, outcome, now);
        self.carry_out(commands);
    }

    fn write_intent(&mut self, decision: &Decision, now: &Now) {
        let state = decision.status.intent;
        if self.is_intent_written && self.intent.as_ref().is_some_and(|intent| intent.state == state) {
            return;
        }
        let mut record = IntentRecord {
            state,
            since: now.wall,
            by: match decision.effective.because() {
                Cause::Spec { set_by, .. } => set_by.clone(),
                Cause::Override { source, .. } => source.clone(),
            },
            reason: decision.status.episode.as_ref().map_or_else(String::new, |episode| episode.trigger.clone()),
            is_clock_synced: now.wall_synced,
        };
        // Neither a restart nor a second try dates anything anew: what is old must grow old for others too.
        if let Some(old) = self.intent.as_ref().filter(|_| !self.is_intent_written)
            && (old.state, &old.by, &old.reason) == (record.state, &record.by, &record.reason)
        {
            record.clone_from(old);
        }
        if self.keeper.ask(Job::Intent(record.clone())) {
            self.intent = Some(record);
            self.is_intent_written = true;
        }
    }

    fn status(&mut self, decision: Decision) -> Arc<Status> {
        let status = Arc::new(Status {
            pass: self.pass,
            actor: self.actor.clone(),
            last_steps: self.last_steps.iter().cloned().collect(),
            config_problem: self.config_problem.clone(),
            write_problem: self.write_problem.clone(),
            ..decision.status
        });
        self.keeper.publish(Arc::clone(&status));
        status
    }
}

/// Wakes the loop when `desired.yaml` is replaced. The folder is watched, as the file is another one each time.
fn watch_folder(store: &Store, wake: &Arc<Notify>) -> Option<notify::RecommendedWatcher> {
    let name = store.desired_path().file_name().map(std::ffi::OsStr::to_owned);
    let wake = Arc::clone(wake);
    let watcher = notify::recommended_watcher(move |event: Result<notify::Event, notify::Error>| {
        let is_ours = event.is_ok_and(|event| {
            let mut names = event.paths.iter().filter_map(|path| path.file_name());
            !event.kind.is_access() && names.any(|file| Some(file) == name.as_deref() || file == "enrolled.json")
        });
        if is_ours {
            wake.notify_one();
        }
    });
    let watched = watcher.and_then(|mut watcher| {
        watcher.watch(store.state_dir(), RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    match watched {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!(error = %chain(&error), "the state directory cannot be watched; it is read at every pass");
            None
        }
    }
}

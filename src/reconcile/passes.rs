//! The passes themselves, and what the loop keeps between two of them.
//!
//! Nothing in here waits for anything but a wake-up.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::{RecursiveMode, Watcher};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};

use super::keeper::{Job, Keeper, Kept};
use super::steps::{Done, Steps};
use super::{ReconcileError, parts};
use crate::act::Hands;
use crate::act::power::OwnHost;
use crate::clients::ssh::Ssh;
use crate::clock;
use crate::config::Config;
use crate::decide::{Decision, Known, decide};
use crate::desired::ups_policy::{OverrideChange, apply};
use crate::desired::{Declared, DeclaredHealth, Spec};
use crate::history::History;
use crate::ledger::{Ledger, OwnPowerOff, Wish};
use crate::model::{ClusterState, Now, Reading, Stamp};
use crate::observe::Eyes;
use crate::plan::blocker::{Blocker, WaitReason};
use crate::plan::safety::LEASE_MAX_AGE;
use crate::plan::step::Outcome;
use crate::serve::Metrics;
use crate::snapshot::Snapshot;
use crate::status::{Actor, Intent, LastStep, Status};
use crate::store::{DeclaredFile, HistoryFile, IntentRecord, LedgerFile, Store};
use crate::telemetry::chain;
use crate::tracker::{Command, Event, Memory, track};

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
/// A desired state of this host's very first start is set by this name.
const FIRST_START: &str = "hecate (first start)";

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
    declared: Declared,
    health: DeclaredHealth,
    unsaved: Vec<OverrideChange>,
    unsaved_in_flight: usize,
    ledger: Ledger,
    ledger_problem: Option<String>,
    history: History,
    memory: Memory,
    intent: Option<Intent>,
    last_steps: VecDeque<LastStep>,
    told: Told,
    pass: u64,
    config_problem: Option<String>,
    write_problem: Option<String>,
    retry_at: Option<Duration>,
    publish: watch::Sender<Option<Arc<Status>>>,
}

/// What was logged last, so that only changes are logged.
#[derive(Debug, Default)]
struct Told {
    effective: String,
    blockers: Vec<String>,
    waits: Vec<&'static str>,
    warnings: Vec<String>,
    was_converged: bool,
    write_problem: bool,
}

/// What was read from the state directory at a start.
struct Found {
    declared: Declared,
    health: DeclaredHealth,
    ledger: Ledger,
    ledger_problem: Option<String>,
    history: History,
}

/// Reads what is on disk. Fails on nothing: what cannot be read is shown and held.
fn read(store: &Store, now: &Now) -> Found {
    let history = match store.read_history() {
        HistoryFile::Good(history) => history,
        HistoryFile::Missing => History::default(),
        HistoryFile::Unreadable { why } => {
            tracing::warn!(why, "past runs cannot be read; budgets come from the configuration");
            History::default()
        }
    };
    let placeholder = Declared::new(Spec {
        state: ClusterState::Running,
        reason: String::new(),
        set_by: FIRST_START.to_owned(),
        set_at: now.wall,
        options: Default::default(),
    });
    let (declared, health) = match store.read_declared() {
        DeclaredFile::Good(declared) => (declared, DeclaredHealth::Good),
        DeclaredFile::Missing { other_state_exists: false } => (placeholder, DeclaredHealth::Good),
        DeclaredFile::Missing { other_state_exists: true } => (placeholder, DeclaredHealth::Lost),
        DeclaredFile::Unreadable { why } => {
            tracing::error!(why, "desired.yaml cannot be read, and no last good one is known");
            (placeholder, DeclaredHealth::Lost)
        }
    };
    let (mut ledger, ledger_problem) = match store.read_ledger() {
        LedgerFile::Good(ledger) => (ledger, None),
        LedgerFile::Missing if history.runs.is_empty() => (Ledger::default(), None),
        LedgerFile::Missing => (spent(&declared, now), None),
        LedgerFile::Unreadable { why } => (Ledger::default(), Some(why)),
    };
    match store.read_enrolled() {
        Ok(enrolled) => ledger.machine_ids.extend(enrolled),
        Err(error) => tracing::warn!(error = %chain(&error), "enrolled machine ids cannot be read"),
    }
    Found { declared, health, ledger, ledger_problem, history }
}

/// The ledger in place of one that was lost: the wish counts as carried out, so that nothing is done a second time and
/// no flag outlives its episode.
fn spent(declared: &Declared, now: &Now) -> Ledger {
    tracing::warn!("ledger.json was lost; what may be done once counts as done");
    let wish = Wish { state: declared.spec.state, set_at: declared.spec.set_at };
    let told = Stamp { boot_id: "lost".into(), ..now.stamp() };
    Ledger { fulfilled: Some(wish), own_power_off: Some(OwnPowerOff { told, run: "lost".into() }), ..Ledger::default() }
}

/// One pass without a loop: looks for at most `limit` and changes nothing.
pub(super) async fn pass_once(
    config: &Arc<Config>,
    store: &Store,
    wish: Option<Spec>,
    eyes: &Eyes,
    limit: Duration,
    wake: &Notify,
) -> Status {
    let began = clock::now();
    let Found { mut declared, health, ledger, ledger_problem, history } = read(store, &began);
    let health = if wish.is_some() { DeclaredHealth::Good } else { health };
    if let Some(spec) = wish {
        declared.spec = spec;
    }
    let deadline = tokio::time::Instant::now() + limit;
    let mut memory = Memory { began: began.boottime, ..Memory::default() };
    eyes.look_closely();
    loop {
        let now = clock::now();
        let snapshot = believing_clocks(eyes.snapshot(), &now);
        memory = track(memory, Event::Observed(&snapshot), &now).0;
        let known = Known {
            config,
            declared: &declared,
            health: &health,
            snapshot: &snapshot,
            history: &history,
            ledger: &ledger,
            ledger_problem: ledger_problem.as_deref(),
            memory: &memory,
        };
        let decision = decide(known, &now);
        let is_settled = decision.plan.waits.is_empty() && eyes.is_complete();
        let woken = tokio::time::timeout_at(deadline, wake.notified()).await;
        if woken.is_err() || is_settled {
            return decision.status;
        }
    }
}

/// A single look is over before most Leases are renewed, so it goes by the nodes' clocks: it changes nothing, and what
/// it shows may be as wrong as they are. The loop waits until it has seen the renewal itself.
fn believing_clocks(mut snapshot: Snapshot, now: &Now) -> Snapshot {
    if let Reading::Known { value, .. } = &mut snapshot.api.nodes {
        let mut nodes = BTreeMap::clone(value);
        for node in nodes.values_mut().filter(|node| node.lease_changed.is_none()) {
            let age = node.lease_renewed.map(|renewed| now.wall.duration_since(renewed));
            node.lease_changed = age
                .and_then(|age| Duration::try_from(age).ok())
                .filter(|age| *age <= LEASE_MAX_AGE)
                .map(|age| now.boottime.saturating_sub(age));
        }
        *value = Arc::new(nodes);
    }
    snapshot
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
        let found = read(&store, &now);
        let mut this = Self {
            keeper: Keeper::start(Arc::clone(&store), &wake),
            steps: Steps::new(Arc::clone(&wake)),
            declared: found.declared,
            health: found.health,
            unsaved: Vec::new(),
            unsaved_in_flight: 0,
            ledger: found.ledger,
            ledger_problem: found.ledger_problem,
            history: found.history,
            memory: Memory { began: now.boottime, ..Memory::default() },
            intent: None,
            last_steps: VecDeque::new(),
            told: Told::default(),
            pass: 0,
            config_problem: None,
            write_problem: None,
            retry_at: None,
            publish,
            parts,
            store,
            actor,
            wake,
            metrics,
        };
        if let Some(why) = &this.ledger_problem {
            tracing::error!(why, "the ledger cannot be trusted; nothing is started because of it");
            if let Err(error) = this.store.keep_bad_ledger() {
                tracing::warn!(error = %chain(&error), "cannot keep a copy of the bad ledger");
            }
        }
        // Says false and changes nothing where there is a wish, or was one.
        if let Err(error) = this.store.create_declared(this.declared.spec.clone()) {
            this.note_write("desired.yaml", Some(chain(&error).to_string()));
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
        let commands = self.feed(Event::Observed(&snapshot), &now);
        self.carry_out(commands);
        let known = Known {
            config: &self.parts.config,
            declared: &self.declared,
            health: &self.health,
            snapshot: &snapshot,
            history: &self.history,
            ledger: &self.ledger,
            ledger_problem: self.ledger_problem.as_deref(),
            memory: &self.memory,
        };
        let mut decision = decide(known, &now);
        if decision.episode_began {
            let commands = self.feed(Event::EpisodeBegan, &now);
            self.carry_out(commands);
        }
        if let Some(ledger) = &decision.ledger_write {
            self.ledger.clone_from(ledger);
        }
        if let Some(run) = decision.finished_run.take() {
            tracing::info!(run = %run.id, result = ?run.result, seconds = run.duration.as_secs(), "run recorded");
            self.history.runs.push(run);
            let surplus = self.history.runs.len().saturating_sub(self.parts.config.reconcile.runs_kept);
            self.history.runs.drain(..surplus);
            let _ = self.keeper.ask(Job::History(self.history.clone(), self.parts.config.reconcile.runs_kept));
        }
        self.write_intent(&decision, &now);
        let commands = self.feed(Event::Decided(&decision), &now);
        self.carry_out(commands);
        self.parts.eyes.focus(&decision, !self.memory.in_flight.is_empty());
        self.tell(&decision);
        self.status(decision)
    }

    fn feed(&mut self, event: Event<'_>, now: &Now) -> Vec<Command> {
        let (memory, commands) = track(std::mem::take(&mut self.memory), event, now);
        self.memory = memory;
        commands
    }

    fn carry_out(&mut self, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::PersistLedger { number, ledger } => {
                    let is_kept = self.ledger_problem.is_some() || self.keeper.ask(Job::Ledger(number, ledger));
                    if !is_kept {
                        self.retry_at.get_or_insert(clock::boottime() + WRITE_RETRY);
                    }
                }
                Command::ChangeOverrides(changes) => self.change_overrides(changes),
                Command::Cancel(target) => self.steps.cancel(&target),
                Command::Start(planned) => {
                    tracing::info!(step = %planned.step, because = planned.because, "start");
                    self.steps.start(&self.parts.hands, planned);
                }
                Command::Observe(target) => self.parts.eyes.refresh(&target),
            }
        }
    }

    /// Obeyed at once from memory; the file follows as soon as the disk takes it.
    fn change_overrides(&mut self, changes: Vec<OverrideChange>) {
        for change in changes {
            match &change {
                OverrideChange::Set(one) => {
                    tracing::warn!(source = one.source, state = %one.state, path = %one.path, reason = one.reason, "override set");
                }
                OverrideChange::Clear { source, because } => {
                    tracing::warn!(source, because, "override lifted");
                }
            }
            apply(&mut self.declared, &change);
            self.unsaved.push(change);
        }
        self.save_overrides();
    }

    fn save_overrides(&mut self) {
        if self.unsaved_in_flight == 0 && !self.unsaved.is_empty() {
            if self.keeper.ask(Job::Overrides(self.unsaved.clone())) {
                self.unsaved_in_flight = self.unsaved.len();
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
                Kept::Enrolled(enrolled) => self.ledger.machine_ids.extend(enrolled),
                Kept::Ledger(number, Ok(())) => {
                    self.note_write("ledger.json", None);
                    let commands = self.feed(Event::LedgerPersisted(number), now);
                    self.carry_out(commands);
                }
                Kept::Ledger(_, Err(why)) => self.failed_write("ledger.json", why, now),
                Kept::Overrides(Ok(())) => {
                    self.unsaved.drain(..self.unsaved_in_flight.min(self.unsaved.len()));
                    self.unsaved_in_flight = 0;
                    self.note_write("desired.yaml", None);
                    self.save_overrides();
                }
                Kept::Overrides(Err(why)) => {
                    self.unsaved_in_flight = 0;
                    self.failed_write("desired.yaml", why, now);
                }
                Kept::Other(_, Ok(())) => {}
                Kept::Other(what, Err(why)) => self.failed_write(what, why, now),
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
                if !self.told.write_problem {
                    tracing::error!(file = what, why, "cannot write; a shutdown on battery goes on without");
                }
                self.told.write_problem = true;
                self.write_problem = Some(format!("{what}: {why}"));
            }
            None => {
                if self.told.write_problem {
                    tracing::info!(file = what, "written again");
                }
                self.told.write_problem = false;
                self.write_problem = None;
            }
        }
    }

    fn retry_writes(&mut self, now: &Now) {
        if self.retry_at.is_none_or(|at| now.boottime < at) {
            return;
        }
        self.retry_at = None;
        self.save_overrides();
        if self.memory.ledger_pending.is_some() && self.ledger_problem.is_none() {
            let is_asked = self.keeper.ask(Job::Ledger(self.memory.ledger_number, Box::new(self.ledger.clone())));
            tracing::debug!(is_asked, "ledger written again");
        }
    }

    /// Takes over what stands in `desired.yaml`; an override that is not on disk yet stays on top.
    fn adopt(&mut self, file: DeclaredFile) {
        let before = self.health.clone();
        match file {
            DeclaredFile::Good(declared) => {
                self.declared = declared;
                self.health = DeclaredHealth::Good;
            }
            DeclaredFile::Missing { .. } => self.health = DeclaredHealth::Lost,
            DeclaredFile::Unreadable { why } => {
                // At a start nothing was ever read, so there is no last good wish to keep to.
                self.health = match before {
                    DeclaredHealth::Lost => DeclaredHealth::Lost,
                    DeclaredHealth::Good | DeclaredHealth::LastGood { .. } => DeclaredHealth::LastGood { why },
                };
            }
        }
        for change in &self.unsaved {
            apply(&mut self.declared, change);
        }
        if self.health != before {
            match &self.health {
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
        if let Some(ended) = self.memory.in_flight.get(&target) {
            let took = now.since(ended.started);
            tell_end(&ended.step.to_string(), &outcome, took);
            let step = ended.step.clone();
            self.last_steps.push_front(LastStep { at: now.wall, step, outcome: outcome.clone(), took });
            self.last_steps.truncate(LAST_STEPS_MAX);
        }
        let commands = self.feed(Event::Ended { target, outcome }, now);
        self.carry_out(commands);
    }

    fn write_intent(&mut self, decision: &Decision, now: &Now) {
        let state = decision.status.intent;
        if self.intent == Some(state) {
            return;
        }
        self.intent = Some(state);
        let record = IntentRecord {
            state,
            since: now.wall,
            by: self.declared.spec.set_by.clone(),
            reason: decision.status.episode.as_ref().map_or_else(String::new, |episode| episode.trigger.clone()),
        };
        let _ = self.keeper.ask(Job::Intent(record));
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

    /// Logs what changed, and nothing else: a quiet cluster is a quiet log.
    fn tell(&mut self, decision: &Decision) {
        let plan = &decision.plan;
        let effective = format!("{} ({})", decision.effective.state(), decision.effective.path());
        if effective != self.told.effective {
            tracing::info!(effective, because = ?decision.effective.because(), "obeying");
            self.told.effective = effective;
        }
        let names: Vec<String> = plan.blockers.iter().map(|blocker| blocker.name().to_owned()).collect();
        for blocker in plan.blockers.iter().filter(|one| !self.told.blockers.contains(&one.name().to_owned())) {
            let hint = Blocker::hint(blocker).unwrap_or_default();
            tracing::warn!(blocker = blocker.name(), evidence = %blocker, hint, "blocked");
        }
        self.told.blockers = names;
        let waits: Vec<&'static str> = plan.waits.iter().map(|wait| wait.reason.name()).collect();
        for wait in plan.waits.iter().filter(|one| !self.told.waits.contains(&one.reason.name())) {
            // A look that is under way ends within its deadline and says nothing about the cluster.
            if let WaitReason::FirstObservation { of } = &wait.reason {
                tracing::debug!(of, "looking");
                continue;
            }
            tracing::info!(wait = wait.reason.name(), evidence = %wait.reason, limit = ?wait.limit, "waiting");
        }
        self.told.waits = waits;
        let warnings: Vec<String> = plan.warnings.iter().map(ToString::to_string).collect();
        for warning in plan.warnings.iter() {
            // The evidence of a warning may count seconds; its name and place do not.
            if !self.told.warnings.iter().any(|told| same_but_figures(told, &warning.to_string())) {
                tracing::warn!(warning = warning.name(), evidence = %warning, "look at this");
            }
        }
        self.told.warnings = warnings;
        let is_converged = plan.is_converged();
        if is_converged && !self.told.was_converged {
            tracing::info!(state = %decision.effective.state(), "converged");
        }
        self.told.was_converged = is_converged;
        tracing::debug!(pass = self.pass, converged = is_converged, "pass");
    }
}

fn tell_end(step: &str, outcome: &Outcome, took: Duration) {
    let millis = took.as_millis();
    match outcome {
        Outcome::Tried => tracing::info!(step, millis, "tried"),
        Outcome::Cancelled => tracing::info!(step, millis, "no longer waited for"),
        Outcome::Refused { evidence } => tracing::warn!(step, millis, evidence, "refused"),
        Outcome::Failed { why } => tracing::warn!(step, millis, why, "failed"),
        Outcome::DeadlinePassed => tracing::warn!(step, millis, "its time was up"),
    }
}

/// Whether two texts differ in nothing but figures.
fn same_but_figures(one: &str, other: &str) -> bool {
    let words = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
    words(one) == words(other)
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

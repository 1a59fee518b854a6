//! `decide()`: policy → episode → plan → ledger → status. Everybody who wants to know what hecate would do calls it.
//!
//! Pure: the daemon, the foreground commands, the simulator and the model checker call this same function.

#![deny(clippy::disallowed_methods)]

mod devices;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::budget;
use crate::config::Config;
use crate::desired::ups_policy::{self, DeclaredChange, Rewritten};
use crate::desired::{Cause, Declared, DeclaredHealth, Effective};
use crate::history::{History, Run, RunResult, RunStep};
use crate::ledger::{Episode, EpisodeKey, Ledger, LoadCut, OwnPowerOff, PeerWord, Phase, PoweredOff, Wish};
use crate::model::{ClusterState, NodeName, Now, Reading, RunId, Stamp, Uid, UpsName};
use crate::plan::scene::Scene;
use crate::plan::step::{Outcome, Step, Target};
use crate::plan::{self, Marks, Plan, identity, load_cut};
use crate::snapshot::{HostReading, Snapshot, UnitState};
use crate::status::{Actor, HostState, Status, UpsVerdict, rows};
use crate::tracker::{LowRun, Memory};

/// A full load recorded anew must differ by so many percentage points from the one that is known: the ledger is not
/// written for noise.
const LOAD_STEP_PERCENT: f64 = 5.0;

/// What a pass decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What is obeyed.
    pub effective: Effective,
    /// What may be done, what is waited for, what stands in the way.
    pub plan: Plan,
    /// Everything a person may want to see. Who acts, the pass' number and the last steps are the loop's to fill in.
    pub status: Status,
    /// Changes of `desired.yaml`.
    pub declared_changes: Vec<DeclaredChange>,
    /// The new ledger, where a fact changed.
    pub ledger_write: Option<Ledger>,
    /// The record of an episode that ended with this pass.
    pub finished_run: Option<Run>,
    /// Whether a new episode began with this pass.
    pub episode_began: bool,
    /// Since when named conditions stand.
    pub waiting_since: BTreeMap<String, Duration>,
    /// What a drain owes.
    pub drain_owed: BTreeMap<NodeName, BTreeSet<Uid>>,
    /// Keys of the steps whose attempts are remembered.
    pub wanted: BTreeSet<String>,
    /// The low polls in a row of each UPS.
    pub low_runs: BTreeMap<UpsName, Option<LowRun>>,
}

/// What a pass knows. Nothing else enters a decision.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// What was asked for.
    pub declared: &'a Declared,
    /// How far that can be trusted.
    pub health: &'a DeclaredHealth,
    /// What was seen.
    pub snapshot: &'a Snapshot,
    /// Past runs.
    pub history: &'a History,
    /// What must survive.
    pub ledger: &'a Ledger,
    /// Why the ledger on disk cannot be trusted, where it cannot.
    pub ledger_problem: Option<&'a str>,
    /// What was learned since hecate started.
    pub memory: &'a Memory,
}

/// Decides one pass.
pub fn decide(known: Known<'_>, now: &Now) -> Decision {
    let Known { config, declared, health, snapshot, history, memory, .. } = known;
    let budget = budget::estimate(config, history, snapshot, known.ledger);
    let Rewritten { effective, declared: obeyed, changes, power } =
        ups_policy::rewrite(config, (declared, health), snapshot, known.ledger, memory, &budget, now);
    let mut ledger = known.ledger.clone();
    forget_returned(&mut ledger, config, snapshot, memory, now);
    hear_peers(&mut ledger, config, snapshot, now);
    let twins = identity::twins(config, snapshot, &ledger, now);
    let is_descent = effective.state() != ClusterState::Running;
    let right_hosts = identity::right_hosts(config, snapshot, &ledger, &twins, is_descent, now);
    let (episode, ended) = episode(declared, &effective, &ledger, now);
    let episode_began = known.ledger.episode.as_ref().is_none_or(|old| old.run != episode.run);
    let scene = Scene {
        config,
        now,
        declared,
        health,
        effective: &effective,
        power: &power,
        budget: &budget,
        snapshot,
        ledger: &ledger,
        ledger_problem: known.ledger_problem,
        history,
        twins: &twins,
        right_hosts: &right_hosts,
        episode: &episode,
        memory: if episode_began { &memory.clone().without_episode() } else { memory },
    };
    let (plan, marks) = plan::plan(&scene);
    let (episode_after, finished) = advance(&scene, &plan, &marks);
    let status = status(&scene, obeyed, &plan, &episode_after);
    let mut ledger_after = ledger.clone();
    remember_drained(&mut ledger_after, &scene, &marks);
    remember(&mut ledger_after, &scene, &plan, episode_after);
    Decision {
        declared_changes: changes,
        ledger_write: (ledger_after != *known.ledger).then_some(ledger_after),
        finished_run: finished.or_else(|| ended.map(|old| superseded(&old, memory, now))),
        episode_began,
        waiting_since: marks.waiting_since,
        drain_owed: marks.drain_owed,
        wanted: marks.wanted,
        low_runs: power.low_runs(),
        status,
        plan,
        effective,
    }
}

/// A host that answers in another boot than the one that was told to power off has come back, and with it the load of its
/// UPSes; so has one that answers after a silence, though nobody can see its boot. One that goes on and on in the same boot was
/// never told: its descent ended between the mark and the act.
fn forget_returned(ledger: &mut Ledger, config: &Config, snapshot: &Snapshot, memory: &Memory, now: &Now) {
    let mut fed = BTreeSet::new();
    let ids = &ledger.machine_ids;
    let run = ledger.episode.as_ref().map(|episode| &episode.run);
    ledger.powered_off.retain(|node, told| {
        let seen = snapshot.hosts.get(node).and_then(|reading| reading.value());
        // Another host at its address says nothing of it.
        let is_other = |host: &HostReading| ids.get(node).is_some_and(|id| *id != host.machine_id);
        let is_seen_back = seen.is_some_and(|host| told.boot_id.as_ref() != Some(&host.boot_id) && !is_other(host));
        let failure = snapshot.hosts.get(node).and_then(|reading| reading.failure());
        let was_silent = memory.answers_since.get(node).is_some_and(|since| *since > told.told.boottime);
        let is_told_now = told.told.boot_id == now.boot_id;
        let is_back = is_seen_back || is_told_now && was_silent && failure.is_some_and(|why| why.kind.is_answer());
        let goes_on = told.run.as_ref() != run && has_seen_long_after(config, snapshot.hosts.get(node), told, now);
        if let Some(node) = config.nodes.get(node).filter(|_| is_back) {
            fed.extend(node.feeds.iter());
        }
        !is_back && !goes_on
    });
    ledger.load_cuts.retain(|ups, mark| {
        let cut = config.upses.get(ups).and_then(|ups| ups.cut_load.as_ref());
        let cut = cut.map(|cut| (cut, snapshot.load_cuts.get(ups)));
        !(fed.contains(ups) && load_cut::is_over(mark, cut, now))
    });
}

/// Whether a host answered at a time at which it would be off had it been told to power off.
fn has_seen_long_after(config: &Config, seen: Option<&Reading<HostReading>>, told: &PoweredOff, now: &Now) -> bool {
    let Some(seen) = seen.filter(|seen| seen.fresh(now, config.reconcile.host_max_age).is_some()) else { return false };
    let before = told.told.age(now).saturating_sub(now.since(seen.began()));
    before > config.shutdown.off_confirm
}

/// Keeps what each other hecate host said last, and since when it has been seen to say so.
fn hear_peers(ledger: &mut Ledger, config: &Config, snapshot: &Snapshot, now: &Now) {
    ledger.peers.retain(|name, _| config.coordination.peer_hosts.iter().any(|peer| peer.name == *name));
    for (name, reading) in &snapshot.peers {
        let Some(seen) = reading.value() else { continue };
        let is_known = ledger
            .peers
            .get(name)
            .is_some_and(|word| word.intent == seen.intent && word.first_seen.boot_id == now.boot_id);
        if !is_known {
            let ahead_seconds = seen.clock.filter(|_| now.wall_synced).map(|clock| clock.ahead_seconds);
            let word = PeerWord { intent: seen.intent.clone(), ahead_seconds, first_seen: now.stamp() };
            ledger.peers.insert(name.clone(), word);
        }
    }
}

/// The episode of this pass, and the one that it superseded before it was over.
fn episode(declared: &Declared, effective: &Effective, ledger: &Ledger, now: &Now) -> (Episode, Option<Episode>) {
    let key = EpisodeKey {
        boot_id: now.boot_id.clone(),
        wish: Wish { state: declared.spec.state, set_at: declared.spec.set_at },
        state: effective.state(),
        is_override: effective.is_override(),
        nodes: effective.nodes().union(effective.held_nodes()).cloned().collect(),
    };
    let old = ledger.episode.as_ref();
    if let Some(old) = old {
        let is_same_but_boot = EpisodeKey { boot_id: old.key.boot_id.clone(), ..key.clone() } == old.key;
        if old.key == key {
            return (old.clone(), None);
        }
        if is_same_but_boot && old.converged.is_none() {
            // What was begun is resumed after a reboot of the hecate host; only a new trigger begins anew.
            return (Episode { key, ..old.clone() }, None);
        }
    }
    let trigger = match (effective.because(), old) {
        (Cause::Override { source, reason, .. }, _) => format!("{source}: {reason}"),
        (Cause::Spec { .. }, Some(old)) if old.key.is_override => "the override was cleared".to_owned(),
        (Cause::Spec { .. }, Some(old)) if old.key.wish == key.wish => "this host was booted".to_owned(),
        (Cause::Spec { set_by, reason, .. }, _) if reason.is_empty() => format!("asked for by {set_by}"),
        (Cause::Spec { set_by, reason, .. }, _) => format!("asked for by {set_by}: {reason}"),
    };
    let new = Episode {
        run: run_id(now),
        key,
        began: now.stamp(),
        trigger,
        phases: BTreeMap::new(),
        converged: None,
        acted: false,
        volumes_detached: false,
        has_etcd_snapshot: false,
        was_up: BTreeSet::new(),
    };
    // A descent that told this host to power off was recorded before it did.
    let was_recorded = |old: &&Episode| ledger.own_power_off.as_ref().is_some_and(|own| own.run == old.run);
    let ended = old.filter(|old| old.converged.is_none() && old.acted && !was_recorded(old)).cloned();
    (new, ended)
}

/// The run's id is its beginning by the wall clock: `20261122t191207-123`, fit for names of files and Kubernetes objects.
fn run_id(now: &Now) -> RunId {
    let millis = now.wall.as_millisecond().rem_euclid(1000);
    RunId::new(format!("{}-{millis:03}", now.wall.strftime("%Y%m%dt%H%M%S")))
}

/// The episode after this pass, and its record where it ended with it.
fn advance(scene: &Scene<'_>, plan: &Plan, marks: &Marks) -> (Episode, Option<Run>) {
    let mut episode = scene.episode.clone();
    for phase in &marks.phases {
        episode.phases.entry(*phase).or_insert_with(|| scene.now.stamp());
    }
    episode.volumes_detached |= marks.volumes_detached;
    episode.has_etcd_snapshot |= marks.has_etcd_snapshot;
    episode.acted |= !plan.start.is_empty();
    if scene.is_descent() && !scene.episode.acted {
        let runs = |name: &&NodeName| scene.unit(name) == Some(UnitState::Running);
        episode.was_up.extend(scene.nodes().map(|(name, _)| name).filter(runs).cloned());
    }
    let goes_off = plan.start.iter().any(|planned| matches!(planned.step, Step::PowerOffOwnHost { .. }));
    let was_told = scene.ledger.own_power_off.as_ref().is_some_and(|own| own.run == episode.run);
    let is_first_time_off = goes_off && !was_told;
    if episode.converged.is_none() && (plan.is_converged() || is_first_time_off) {
        let run = episode.acted.then(|| record(&episode, scene, RunResult::Converged));
        if plan.is_converged() {
            episode.converged = Some(scene.now.stamp());
        }
        return (episode, run);
    }
    (episode, None)
}

fn record(episode: &Episode, scene: &Scene<'_>, result: RunResult) -> Run {
    let from_running = scene
        .nodes()
        .map(|(name, _)| name)
        .filter(|name| !scene.config.is_ignored(name))
        .all(|name| episode.was_up.contains(name));
    let mut run =
        Run { path: scene.effective.path(), from_running, ..bare_record(episode, scene.memory, result, scene.now) };
    run.steps.extend(hosts_off(episode, scene));
    run.steps.truncate(Run::STEPS_MAX);
    run
}

/// How long each host took from its power-off until it was silent.
fn hosts_off(episode: &Episode, scene: &Scene<'_>) -> Vec<RunStep> {
    let seen = |(node, off): (&NodeName, &PoweredOff)| {
        let silent = scene.memory.silent_since.get(node).filter(|_| off.told.boot_id == scene.now.boot_id)?;
        let is_of_episode = episode.began.boot_id == scene.now.boot_id && off.told.boottime >= episode.began.boottime;
        is_of_episode.then(|| RunStep {
            step: budget::HOST_OFF.to_owned(),
            target: node.to_string(),
            started: off.told.boottime.saturating_sub(episode.began.boottime),
            took: silent.saturating_sub(off.told.boottime),
            outcome: Outcome::Tried,
        })
    };
    scene.ledger.powered_off.iter().filter_map(seen).collect()
}

fn superseded(old: &Episode, memory: &Memory, now: &Now) -> Run {
    let result = if old.began.boot_id == now.boot_id { RunResult::Superseded } else { RunResult::CutOff };
    bare_record(old, memory, result, now)
}

fn bare_record(episode: &Episode, memory: &Memory, result: RunResult, now: &Now) -> Run {
    let is_one_boot = episode.began.boot_id == now.boot_id;
    let last_mark = |stamp: &Stamp| {
        (stamp.boot_id == episode.began.boot_id).then(|| stamp.boottime.saturating_sub(episode.began.boottime))
    };
    let duration = if is_one_boot {
        episode.began.age(now)
    } else {
        episode.phases.values().filter_map(last_mark).max().unwrap_or_default()
    };
    let relative =
        |step: &RunStep| RunStep { started: step.started.saturating_sub(episode.began.boottime), ..step.clone() };
    Run {
        id: episode.run.clone(),
        state: episode.key.state,
        path: crate::model::Path::Graceful,
        trigger: episode.trigger.clone(),
        is_override: episode.key.is_override,
        from_running: false,
        began_at: episode.began.wall,
        ended_at: now.wall,
        wall_synced: now.wall_synced,
        boot_id: Some(now.boot_id.clone()),
        duration,
        result,
        steps: if is_one_boot { memory.run_steps.iter().map(relative).collect() } else { Vec::new() },
    }
}

/// Puts into the ledger what the world cannot tell and what must survive.
fn remember(ledger: &mut Ledger, scene: &Scene<'_>, plan: &Plan, episode: Episode) {
    remember_power(ledger, scene);
    for planned in &plan.start {
        match &planned.step {
            Step::PowerOff { node, boot_id, path, .. } => {
                let told = PoweredOff {
                    told: scene.now.stamp(),
                    boot_id: boot_id.clone(),
                    path: *path,
                    run: Some(episode.run.clone()),
                    woken: None,
                    accepted: false,
                    is_blind: scene.is_blind(node),
                    by_override: scene.effective.is_override(),
                };
                boot_id.iter().for_each(|boot| _ = ledger.boots.entry(node.clone()).or_insert_with(|| boot.clone()));
                // A second try of the same descent dates nothing anew.
                if ledger.powered_off.get(node).is_none_or(|old| old.run != told.run) {
                    ledger.powered_off.insert(node.clone(), told);
                }
            }
            Step::PowerOffOwnHost { .. } => {
                let is_told = ledger.own_power_off.as_ref().is_some_and(|own| own.run == episode.run);
                if !is_told {
                    devices::hear_all(ledger, scene.now);
                    ledger.own_power_off = Some(OwnPowerOff { told: scene.now.stamp(), run: episode.run.clone() });
                }
                if !scene.effective.is_override() {
                    ledger.fulfil(&episode.key.wish, &scene.now.boot_id);
                }
            }
            Step::CutLoad { ups, .. } => {
                let is_marked = scene.ledger.load_cuts.get(ups).is_some_and(|it| load_cut::is_marked(scene, it, ups));
                if !is_marked {
                    let mark = LoadCut { told: scene.now.stamp(), run: episode.run.clone() };
                    ledger.load_cuts.insert(ups.clone(), mark);
                }
            }
            Step::Wake { node } => {
                let told = ledger.powered_off.get_mut(node);
                told.into_iter().for_each(|told| told.woken = Some(scene.now.stamp()));
            }
            Step::StartUnit { .. }
            | Step::StopUnit { .. }
            | Step::KillContainers { .. }
            | Step::Cordon { .. }
            | Step::Uncordon { .. }
            | Step::Drain { .. }
            | Step::SaveEtcdSnapshot { .. } => {}
        }
    }
    // What was refused for certain was not told: a restart may tell it.
    ledger.load_cuts.retain(|ups, mark| {
        let is_begun = plan.start.iter().any(|planned| planned.step.target() == Target::Ups(ups.clone()));
        is_begun || !load_cut::was_refused(scene, ups, mark)
    });
    if episode.converged.is_some() && !episode.key.is_override {
        ledger.fulfil(&episode.key.wish, &scene.now.boot_id);
    }
    if scene.is_descent() && episode.converged.is_none() {
        let is_up = |name: &&NodeName| scene.host_state(name) == HostState::Up;
        ledger.was_up.extend(scene.nodes().map(|(name, _)| name).filter(is_up).cloned());
    }
    learn_machine_ids(ledger, scene);
    if scene.effective.state() == ClusterState::Running && plan.is_converged() {
        learn_full_load(ledger, scene);
        ledger.was_up.clear();
        ledger.load_cuts.retain(|ups, mark| {
            let cut = scene.config.upses.get(ups).and_then(|ups| ups.cut_load.as_ref());
            let cut = cut.map(|cut| (cut, scene.snapshot.load_cuts.get(ups)));
            !load_cut::is_over(mark, cut, scene.now)
        });
    }
    ledger.episode = Some(episode);
}

/// For so long an override is a new one.
const JUST_SET: Duration = Duration::from_secs(60);

/// Which boot each host is in while a UPS says that it is on battery: what it says itself, or what the last look before its
/// power-off found where it says nothing of itself. Who is left alone has booted since, and is to be known as that.
fn learn_boots(ledger: &mut Ledger, scene: &Scene<'_>) {
    for (name, _) in scene.nodes().filter(|(name, _)| !scene.effective.spared().contains(*name)) {
        let step = || Step::PowerOff {
            node: name.clone(),
            machine_id: None,
            boot_id: None,
            path: crate::model::Path::Emergency,
        };
        let found = || {
            let attempt = scene.memory.attempts.get(&step().key()).filter(|_| scene.is_blind(name))?;
            if let Outcome::OtherBoot { boot_id } = &attempt.outcome { Some(boot_id) } else { None }
        };
        let boot_id = scene.host(name).map(|host| &host.boot_id).or_else(found);
        if let Some(boot_id) = boot_id.filter(|boot_id| ledger.boots.get(name) != Some(boot_id)) {
            ledger.boots.insert(name.clone(), boot_id.clone());
        }
    }
}

/// What an outage leaves behind: who said what since when, which flags it ended, and who took its power-off.
fn remember_power(ledger: &mut Ledger, scene: &Scene<'_>) {
    ledger.on_battery_since.clone_from(&scene.power.on_battery_since);
    devices::remember(ledger, scene);
    let has_override = scene.effective.is_override() || scene.effective.is_partial();
    let is_silent = |ups: &UpsName| scene.power.upses.get(ups).is_some_and(|one| one.silent_for.is_some());
    ledger.silent_since.retain(|ups, _| has_override && is_silent(ups));
    for (ups, one) in scene.power.upses.iter().filter(|_| has_override) {
        if let Some(silent) = one.silent_for {
            ledger.silent_since.entry(ups.clone()).or_insert_with(|| scene.now.stamp_before(silent));
        }
    }
    if has_override {
        ledger.spent_options = Some(scene.episode.key.wish.clone());
        let speaks = scene.power.upses.values().any(|one| one.is_on_battery() && one.silent_for.is_none());
        // A UPS that fell silent with its witness never says it: then it is who is up as the override is set.
        let is_just_set = match scene.effective.because() {
            Cause::Override { set_at, .. } => scene.now.wall.duration_since(*set_at).unsigned_abs() < JUST_SET,
            Cause::Spec { .. } => false,
        };
        if speaks || ledger.boots.is_empty() && is_just_set {
            learn_boots(ledger, scene);
        }
    } else {
        ledger.boots.clear();
    }
    let is_new = scene.ledger.descents.last().is_none_or(|last| *last != scene.episode.began);
    if has_override && is_new && scene.episode.key.is_override {
        ledger.descents.push(scene.episode.began.clone());
        let surplus = ledger.descents.len().saturating_sub(Ledger::DESCENTS_MAX);
        ledger.descents.drain(..surplus);
    }
    for (name, told) in &mut ledger.powered_off {
        let step = Step::PowerOff { node: name.clone(), machine_id: None, boot_id: None, path: told.path };
        told.accepted |=
            !told.is_blind && scene.memory.attempts.get(&step.key()).is_some_and(|last| last.outcome == Outcome::Tried);
    }
}

/// What was drained stays so until its k3s runs again, which brings its workload back.
fn remember_drained(ledger: &mut Ledger, scene: &Scene<'_>, marks: &Marks) {
    let is_going_down = scene.episode.converged.is_none() && scene.episode.phases.contains_key(&Phase::Drain);
    let runs = |name: &NodeName| matches!(scene.unit(name), Some(UnitState::Running | UnitState::Starting));
    ledger.drained.retain(|name| is_going_down || !runs(name));
    ledger.drained.extend(marks.drained.iter().cloned());
}

/// A machine-id is learned while what SSH reads agrees with what the node itself told the API in the same boot.
fn learn_machine_ids(ledger: &mut Ledger, scene: &Scene<'_>) {
    for (name, _) in scene.nodes() {
        if let (Some(host), Some(object)) = (scene.host(name), scene.object(name))
            && object.machine_id.as_ref() == Some(&host.machine_id)
            && object.boot_id.as_ref() == Some(&host.boot_id)
        {
            ledger.machine_ids.entry(name.clone()).or_insert_with(|| host.machine_id.clone());
        }
    }
}

fn learn_full_load(ledger: &mut Ledger, scene: &Scene<'_>) {
    if scene.nodes().any(|(name, _)| scene.host_state(name) != HostState::Up) {
        return;
    }
    for (name, reading) in &scene.snapshot.upses {
        let is_on_line = scene.power.upses.get(name).is_some_and(|one| one.verdict == UpsVerdict::OnLine);
        let Some(load) = reading.value().and_then(|value| value.load_percent).filter(|_| is_on_line) else { continue };
        let known = ledger.full_load_percent.get(name);
        if known.is_none_or(|known| (known - load).abs() >= LOAD_STEP_PERCENT) {
            ledger.full_load_percent.insert(name.clone(), load);
        }
    }
}

/// What this pass changes is obeyed by it already, so `declared` shows it.
fn status(scene: &Scene<'_>, declared: Declared, plan: &Plan, episode: &Episode) -> Status {
    Status {
        now: scene.now.clone(),
        pass: 0,
        actor: Actor::Nobody,
        declared,
        declared_health: scene.health.clone(),
        effective: scene.effective.clone(),
        intent: rows::intent(scene, plan),
        episode: Some(episode.clone()),
        is_converged: plan.is_converged(),
        nodes: rows::nodes(scene),
        upses: rows::upses(scene),
        plan: plan.clone(),
        budget: rows::budget(scene),
        past_commit_point: scene.ledger.powered_off.iter().map(|(node, off)| (node.clone(), off.told.wall)).collect(),
        was_up: scene.ledger.was_up.clone(),
        load_cuts: scene.ledger.load_cuts.iter().map(|(ups, cut)| (ups.clone(), cut.told.wall)).collect(),
        last_steps: Vec::new(),
        config_problem: None,
        write_problem: None,
        snapshot: scene.snapshot.clone(),
    }
}

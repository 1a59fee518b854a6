//! One hecate host: the real `decide()` and `track()`, and a driver that carries out what its [`Desk`] says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};

use hecate::config::Config;
use hecate::decide::Decision;
use hecate::desired::{Declared, DeclaredHealth, Options, Override, Spec};
use hecate::desk::Desk;
use hecate::ledger::Ledger;
use hecate::model::ClusterState;
use hecate::plan::step::{Outcome, Step, Target};
use hecate::snapshot::Snapshot;
use hecate::tracker::Command;

use super::cluster::{NAMES, NOW, TICK, machine_id};
use super::normal;
use super::planted::Planted;
use super::world::World;

/// What one hecate host knows and has begun.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hecate {
    /// What the process knows.
    pub(crate) desk: Desk,
    /// The ledger and the overrides that a restart finds.
    pub(crate) disk: (Ledger, Vec<Override>),
    /// Whether the disk takes writes.
    pub(crate) disk_works: bool,
    /// Steps that are under way and that nobody waits for any more.
    pub(crate) late: Vec<Step>,
    /// Its runs are numbered from here on.
    runs_from: u8,
    /// Everything above in one figure, see [`Hecate::seal`].
    digest: u64,
}

/// What a pass decided and began, for the rules.
#[derive(Debug)]
pub(crate) struct Passed {
    /// The decision.
    pub(crate) decision: Decision,
    /// What was begun.
    pub(crate) started: Vec<Step>,
    /// Targets on which something was begun while something was under way.
    pub(crate) doubled: BTreeSet<Target>,
    /// Whether the ledger on disk was the one in memory when it was begun.
    pub(crate) was_durable: bool,
    /// Whether the episode converged with this pass.
    pub(crate) has_just_converged: bool,
}

/// What becomes of a step that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fate {
    /// It never reaches its host.
    Lost,
    /// It neither ends nor does anything.
    Hangs,
    /// It is carried out, and once more a tick later.
    Twice,
    /// Its answer is lost, and it is carried out a tick later.
    Late,
}

/// A wish of an operator, by its number.
pub(crate) fn wish(state: ClusterState, number: u8) -> Spec {
    Spec {
        state,
        reason: String::new(),
        set_by: "operator".to_owned(),
        set_at: NOW.wall - TICK * (1000 - u32::from(number)),
        options: Options::default(),
    }
}

impl Hecate {
    /// A new installation that was told to keep the cluster running.
    pub(crate) fn new(runs_from: u8) -> Self {
        // As learned long ago: when and how they are learned is not in this model.
        let machine_ids = NAMES.iter().enumerate().map(|(node, name)| (name.clone(), machine_id(node))).collect();
        let ledger = Ledger { machine_ids, ..Ledger::default() };
        let disk = (ledger.clone(), Vec::new());
        let declared = Declared::new(wish(ClusterState::Running, 0));
        let desk = Desk { ledger, ..Desk::new(declared, DeclaredHealth::Good, &NOW) };
        Self { desk, disk, disk_works: true, late: Vec::new(), runs_from, digest: 0 }
    }

    /// The process is killed and started again, by an unplanned end of its host too: it knows what the disk holds.
    /// What was under way is carried out, or was lost.
    pub(crate) fn restart(&mut self, fates: &BTreeMap<Target, Fate>, planted: Planted) {
        let memory = std::mem::take(&mut self.desk.memory);
        let is_coming = |target: &Target| !matches!(fates.get(target), Some(Fate::Lost | Fate::Hangs));
        let under_way = memory.in_flight.into_iter().filter(|(target, _)| is_coming(target));
        self.late.extend(under_way.map(|(_, one)| one.step));
        self.desk.memory.began = NOW.boottime;
        self.desk.ledger.clone_from(&self.disk.0);
        self.desk.declared.overrides.clone_from(&self.disk.1);
        planted.at_restart(&mut self.desk.ledger);
    }

    /// A tick ends: steps that are under way have their effect.
    pub(crate) fn advance_steps(
        &mut self,
        world: &mut World,
        fates: &BTreeMap<Target, Fate>,
    ) -> Vec<(Target, Outcome)> {
        for step in std::mem::take(&mut self.late) {
            // Nobody hears how it ended.
            let _ = world.obey(&step);
        }
        let mut ended = Vec::new();
        for (target, one) in &self.desk.memory.in_flight {
            let outcome = match fates.get(target) {
                None => world.obey(&one.step),
                Some(Fate::Lost) => Outcome::Failed { why: String::new() },
                Some(Fate::Hangs) if one.deadline > NOW.boottime => continue,
                Some(Fate::Hangs) => Outcome::DeadlinePassed,
                Some(Fate::Twice) => {
                    self.late.push(one.step.clone());
                    world.obey(&one.step)
                }
                Some(Fate::Late) => {
                    self.late.push(one.step.clone());
                    Outcome::DeadlinePassed
                }
            };
            ended.push((target.clone(), outcome));
        }
        ended
    }

    /// Everything is a tick older.
    pub(crate) fn age(&mut self) {
        normal::age_ledger(&mut self.desk.ledger);
        normal::age_ledger(&mut self.disk.0);
        normal::age_memory(&mut self.desk.memory);
    }

    /// The passes of one tick: one with the news, and one more as soon as the disk has taken what the first one wrote.
    pub(crate) fn passes(
        &mut self,
        config: &Config,
        snapshot: &Snapshot,
        ended: Vec<(Target, Outcome)>,
        planted: Planted,
    ) -> Vec<Passed> {
        self.write(planted);
        for (target, outcome) in ended {
            let _ = self.desk.ended(target, outcome, &NOW);
        }
        let mut passes = vec![self.pass(config, snapshot, planted)];
        if self.desk.memory.ledger_pending.is_some() {
            self.write(planted);
            if self.desk.memory.ledger_pending.is_none() {
                passes.push(self.pass(config, snapshot, planted));
                self.write(planted);
            }
        }
        passes
    }

    fn pass(&mut self, config: &Config, snapshot: &Snapshot, planted: Planted) -> Passed {
        let under_way: BTreeSet<Target> = self.desk.memory.in_flight.keys().cloned().collect();
        planted.before_a_pass(self);
        let had_converged = self.desk.ledger.episode.as_ref().is_some_and(|episode| episode.converged.is_some());
        let hecate::desk::Passed { decision, commands } = self.desk.pass(config, snapshot, &NOW);
        normal::strip_ledger(&mut self.desk.ledger);
        let has_converged = self.desk.ledger.episode.as_ref().is_some_and(|episode| episode.converged.is_some());
        self.desk.declared.overrides.iter_mut().for_each(normal::strip_override);
        let mut passed = Passed {
            started: Vec::new(),
            doubled: BTreeSet::new(),
            was_durable: self.desk.ledger == self.disk.0,
            has_just_converged: has_converged && (!had_converged || decision.episode_began),
            decision,
        };
        for command in commands {
            self.carry_out(command, &under_way, &mut passed);
        }
        planted.after_a_pass(self);
        passed
    }

    fn carry_out(&mut self, command: Command, under_way: &BTreeSet<Target>, passed: &mut Passed) {
        match command {
            // `write` does it, where the disk takes it.
            Command::PersistLedger { .. } | Command::ChangeDeclared(_) | Command::Observe(_) | Command::KeepLow(_) => {}
            Command::Cancel(target) => {
                let _ = self.desk.ended(target, Outcome::Cancelled, &NOW);
            }
            Command::Start(planned) => {
                let target = planned.step.target();
                if under_way.contains(&target) {
                    passed.doubled.insert(target);
                }
                passed.started.push(planned.step);
            }
        }
    }

    /// Brings to disk what it takes.
    fn write(&mut self, planted: Planted) {
        if self.disk_works {
            self.disk.0.clone_from(&self.desk.ledger);
            self.disk.1.clone_from(&self.desk.declared.overrides);
        }
        if self.desk.memory.ledger_pending.is_some() && (self.disk_works || planted == Planted::LedgerNotAwaited) {
            self.desk.persisted(self.desk.memory.ledger_number, &NOW);
        }
    }

    /// A node's host was booted.
    pub(crate) fn boot_node(&mut self, node: usize) {
        normal::boot_node(&mut self.desk.ledger, node);
        normal::boot_node(&mut self.disk.0, node);
        let steps = self.desk.memory.in_flight.values_mut().map(|one| &mut one.step);
        steps.chain(&mut self.late).for_each(|step| normal::boot_node_of(step, node));
    }

    /// Names runs by their numbers.
    pub(crate) fn number_runs(&mut self, world: &mut World) {
        let Self { desk, disk, late, runs_from, .. } = self;
        normal::number_runs(*runs_from, &mut world.saved, (&mut desk.ledger, &mut disk.0), &mut desk.memory, late);
    }

    /// Computes the figure by which a state is told from others, once a tick instead of once an action.
    pub(crate) fn seal(&mut self) {
        let mut text = Digest::default();
        let Self { desk: Desk { declared, ledger, memory, .. }, disk, disk_works, late, .. } = self;
        // Every field is named, so that a new one is a question: what is left out never changes here.
        let ledgers = [&*ledger, &disk.0].map(|ledger| {
            let Ledger {
                version: _,
                episode,
                fulfilled,
                fulfilled_in,
                on_battery_since,
                powered_off,
                own_power_off,
                was_up,
                drained,
                load_cuts: _,
                machine_ids: _,
                peers,
                full_load_percent: _,
                // Batteries are the UPS' own word here, and boots are two.
                devices: _,
                silent_since,
                boots,
                descents,
                spent_options,
            } = ledger;
            let first =
                (episode, fulfilled, fulfilled_in, on_battery_since, powered_off, own_power_off, was_up, drained);
            (first, peers, silent_since, boots, descents, spent_options)
        });
        let wishes = (&declared.spec, &declared.overrides, &disk.1);
        write!(text, "{:?}", (wishes, ledgers, disk_works, memory, late)).expect("a digest takes every text");
        self.digest = text.0.finish();
    }
}

impl Hash for Hecate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

/// A hash of a text that is never put together.
#[derive(Default)]
struct Digest(std::hash::DefaultHasher);

impl std::fmt::Write for Digest {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

impl std::fmt::Display for Hecate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let episode = self.desk.ledger.episode.as_ref();
        let phases: Vec<_> = episode.into_iter().flat_map(|episode| episode.phases.keys()).collect();
        let is_over = episode.is_some_and(|episode| episode.converged.is_some());
        let under_way: Vec<String> = self.desk.memory.in_flight.values().map(|one| one.step.to_string()).collect();
        let waits: Vec<&String> = self.desk.memory.waits.keys().collect();
        write!(
            f,
            "wish {}, {} overrides, converged {is_over}, {phases:?}",
            self.desk.declared.spec.state,
            self.desk.declared.overrides.len()
        )?;
        write!(
            f,
            ", under way {under_way:?}, waits {waits:?}, told off {:?}",
            self.desk.ledger.powered_off.keys().map(|name| name.as_str()).collect::<Vec<_>>()
        )
    }
}

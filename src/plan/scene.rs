//! What the rules look at: everything a pass knows, with the questions that rules ask of it.
//!
//! Pure. A question answers from fresh readings only; it never decides.

#![deny(clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::blocker::{Blocker, Wait, WaitReason, Warning};
use super::identity::{RightHosts, Twins};
use super::safety::{LEASE_MAX_AGE, owes_drain};
use super::step::{Step, Target};
use crate::budget::Budget;
use crate::config::{Config, Node};
use crate::desired::ups_policy::Power;
use crate::desired::{Declared, DeclaredHealth, Effective, Held, Options};
use crate::history::History;
use crate::ledger::{Episode, Ledger, Phase};
use crate::model::{ClusterState, FailureKind, NodeName, Now, Path, Uid};
use crate::snapshot::{HostReading, NodeObject, PodObject, Snapshot, UnitState};
use crate::status::HostState;
use crate::tracker::Memory;

/// Everything a pass knows.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The time.
    pub now: &'a Now,
    /// What was asked for.
    pub declared: &'a Declared,
    /// How far that can be trusted.
    pub health: &'a DeclaredHealth,
    /// What is obeyed.
    pub effective: &'a Effective,
    /// What the UPSes say, judged.
    pub power: &'a Power,
    /// How long a shutdown takes.
    pub budget: &'a Budget,
    /// What was seen.
    pub snapshot: &'a Snapshot,
    /// What must survive.
    pub ledger: &'a Ledger,
    /// Past runs.
    pub history: &'a History,
    /// Nodes that answer with one machine id.
    pub twins: &'a Twins,
    /// The fresh readings of hosts that are the right ones.
    pub right_hosts: &'a RightHosts<'a>,
    /// Why the ledger on disk cannot be trusted, where it cannot.
    pub ledger_problem: Option<&'a str>,
    /// The episode this pass belongs to.
    pub episode: &'a Episode,
    /// What was learned since hecate started.
    pub memory: &'a Memory,
}

/// What the rules want, before the planner chooses.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// Steps whose gates are open.
    pub wants: Vec<Want>,
    /// What is expected to come.
    pub waits: Vec<Wait>,
    /// What stands in the way.
    pub blockers: Vec<Blocker>,
    /// What a person should know.
    pub warnings: Vec<Warning>,
    /// Everything still to come, in order.
    pub forecast: Vec<Step>,
    /// Phases that have begun.
    pub phases: BTreeSet<Phase>,
    /// Whether volumes are seen detached.
    pub volumes_detached: bool,
    /// Nodes that are seen drained, once all are.
    pub drained: BTreeSet<NodeName>,
    /// Whether an etcd snapshot of this run is seen.
    pub has_etcd_snapshot: bool,
    /// What a drain owes, seen when every node was cordoned.
    pub drain_owed: BTreeMap<NodeName, BTreeSet<Uid>>,
    /// Steps whose attempts are remembered although they are not wanted now.
    pub remembered: BTreeSet<String>,
    /// Since when named conditions stand.
    pub waiting_since: BTreeMap<String, Duration>,
}

/// A step that a rule wants.
#[derive(Clone, Debug)]
pub struct Want {
    /// What.
    pub step: Step,
    /// How long it is waited for.
    pub limit: Duration,
    /// Which rule.
    pub because: &'static str,
    /// Its effect is already coming: it is kept if it runs, and not started otherwise.
    pub is_coming: bool,
}

impl Draft {
    /// Wants a step now, and puts it into the forecast.
    pub fn want(&mut self, step: Step, limit: Duration, because: &'static str) {
        self.forecast.push(step.clone());
        self.wants.push(Want { step, limit, because, is_coming: false });
    }

    /// Keeps a step whose effect is coming.
    pub fn keep(&mut self, step: Step, limit: Duration, because: &'static str) {
        self.wants.push(Want { step, limit, because, is_coming: true });
    }

    /// Says that a step will come later.
    pub fn later(&mut self, step: Step) {
        self.forecast.push(step);
    }

    /// Keeps the record of a step's attempts.
    pub fn remember(&mut self, step: &Step) {
        self.remembered.insert(step.key());
    }

    /// For how long the condition of this name has stood, this pass included.
    pub fn elapsed(&mut self, scene: &Scene<'_>, name: &str) -> Duration {
        let since = scene.memory.waits.get(name).copied().unwrap_or(scene.now.boottime);
        self.waiting_since.insert(name.to_owned(), since);
        scene.now.since(since)
    }

    /// Adds a wait.
    pub fn wait(&mut self, reason: WaitReason, since: Duration, limit: Option<Duration>) {
        self.waits.push(Wait { reason, since, limit });
    }
}

impl<'a> Scene<'a> {
    /// The managed nodes but those that are ignored while away and are away.
    pub fn nodes(&self) -> impl Iterator<Item = (&'a NodeName, &'a Node)> + use<'a> {
        self.config.managed()
    }

    /// A fresh reading of the right host, see [`right_hosts`](super::identity::right_hosts).
    pub fn host(&self, node: &NodeName) -> Option<&'a HostReading> {
        self.right_hosts.get(node).copied()
    }

    /// What is known of a host's power.
    pub fn host_state(&self, node: &NodeName) -> HostState {
        if self.config.nodes.get(node).is_none_or(|node| !node.is_managed) {
            return HostState::NotManaged;
        }
        if self.host(node).is_some() {
            return HostState::Up;
        }
        let Some(reading) = self.snapshot.hosts.get(node) else {
            return HostState::Unknown;
        };
        if reading.fresh(self.now, self.config.reconcile.host_max_age).is_some() {
            return HostState::Wrong;
        }
        match reading.failure().map(|why| why.kind) {
            Some(FailureKind::WrongHostKey) => HostState::Wrong,
            Some(FailureKind::NotYet) => HostState::Unknown,
            _ if self.is_told_off(node) && self.silent_for(node) >= self.config.shutdown.off_confirm => {
                if self.has_come_back(node) || self.may_boot(node) { HostState::Unreachable } else { HostState::Off }
            }
            _ => HostState::Unreachable,
        }
    }

    /// Whether a host answers in an emergency or under a UPS' override, though what it says is no word of it: it is told to stop
    /// and to go off all the same, if it is the right one. Never a wrong host, nor one that is silent.
    pub fn is_blind(&self, node: &NodeName) -> bool {
        let answers_nonsense = self.host_failure(node).is_some_and(FailureKind::is_answer);
        (self.is_emergency() || self.effective.is_override())
            && answers_nonsense
            && !self.is_silent(node)
            && self.host_state(node) == HostState::Unreachable
            && !self.config.is_ignored(node)
    }

    /// Why a host is not up, in words.
    pub fn host_evidence(&self, node: &NodeName) -> String {
        let Some(reading) = self.snapshot.hosts.get(node) else {
            return "not observed yet".to_owned();
        };
        match (reading.failure(), reading.value()) {
            (Some(why), _) => why.to_string(),
            (None, Some(value)) if self.host_state(node) == HostState::Wrong => match self.twins.get(node) {
                Some(nodes) => {
                    let others: Vec<&str> = nodes.iter().filter(|one| *one != node).map(NodeName::as_str).collect();
                    format!("the same machine-id as {}: {}", others.join(", "), value.machine_id)
                }
                None => format!("machine-id {}", value.machine_id),
            },
            (None, _) => format!("no answer for {} s", self.now.since(reading.began()).as_secs()),
        }
    }

    /// The failure of a host's reading.
    pub fn host_failure(&self, node: &NodeName) -> Option<FailureKind> {
        self.snapshot.hosts.get(node)?.failure().map(|why| why.kind)
    }

    /// Whether hecate told this host to power off and it has not been seen in another boot since.
    pub fn is_told_off(&self, node: &NodeName) -> bool {
        self.ledger.powered_off.contains_key(node)
    }

    /// Whether the API shows a host that was told to power off alive in another boot, though it answers nobody over SSH.
    fn has_come_back(&self, node: &NodeName) -> bool {
        let (Some(told), Some(object)) = (self.ledger.powered_off.get(node), self.object(node)) else { return false };
        let is_alive = object.lease_changed.is_some_and(|changed| self.now.since(changed) <= LEASE_MAX_AGE);
        let is_other = told.boot_id.as_ref().zip(object.boot_id.as_ref()).is_some_and(|(told, seen)| told != seen);
        is_alive && is_other
    }

    /// Whether a host that was told to power off may be on its way up, and has not had its time to come yet: it was woken, or
    /// this host was booted since, most likely by mains that came back for both.
    pub fn may_boot(&self, node: &NodeName) -> bool {
        let Some(told) = self.ledger.powered_off.get(node) else { return false };
        let limit = self.config.startup.node_wait;
        let was_woken = told.woken.as_ref().is_some_and(|woken| woken.age(self.now) < limit);
        let had_mains = self.mains_seen(node).is_some();
        was_woken || had_mains || told.told.boot_id != self.now.boot_id && self.now.since(self.memory.began) < limit
    }

    /// How long ago mains were last seen to come back to a UPS that feeds a host, since the host was told to power off and within
    /// the time that it may take to come: a moment of them switches on what boots with its power.
    pub fn mains_seen(&self, node: &NodeName) -> Option<Duration> {
        let told = self.ledger.powered_off.get(node).filter(|told| told.told.boot_id == self.now.boot_id)?;
        let feeds = &self.config.nodes.get(node)?.feeds;
        let seen = feeds.iter().filter_map(|ups| self.memory.upses.get(ups)?.mains_came()).max()?;
        (seen > told.told.boottime).then(|| self.now.since(seen)).filter(|ago| *ago < self.config.startup.node_wait)
    }

    /// Whether a host is silent now.
    ///
    /// After a restart one look is needed: a host that was silent before may answer by now.
    pub fn is_silent(&self, node: &NodeName) -> bool {
        self.memory.silent_since.contains_key(node) && !self.is_unseen(node)
    }

    /// Whether a host has not been looked at yet in this life of hecate.
    pub fn is_unseen(&self, node: &NodeName) -> bool {
        self.snapshot.hosts.get(node).is_none_or(|reading| !reading.was_looked_at())
    }

    /// For how long a host has been silent.
    pub fn silent_for(&self, node: &NodeName) -> Duration {
        self.memory.silent_since.get(node).map_or(Duration::ZERO, |since| self.now.since(*since))
    }

    /// Whether the reading of a host is newer than the last step on it.
    pub fn host_settled(&self, node: &NodeName) -> bool {
        let began = self.snapshot.hosts.get(node).map_or(Duration::ZERO, |reading| reading.began());
        self.memory.ended.get(&Target::Node(node.clone())).is_none_or(|ended| began >= *ended)
    }

    /// Whether what the API says is newer than the last step on a node.
    pub fn api_settled(&self, node: &NodeName) -> bool {
        let began = self.snapshot.api.nodes.began();
        self.memory.ended.get(&Target::Node(node.clone())).is_none_or(|ended| began >= *ended)
    }

    /// The state of the unit of a node's role, on a host that is up.
    pub fn unit(&self, node: &NodeName) -> Option<UnitState> {
        let role = self.config.nodes.get(node)?.role;
        Some(self.host(node)?.unit(role.unit()))
    }

    /// The Node objects, while the API answers.
    pub fn objects(&self) -> Option<&'a BTreeMap<NodeName, NodeObject>> {
        self.snapshot.api.nodes.fresh(self.now, self.config.reconcile.api_max_age).map(|objects| &**objects)
    }

    /// One Node object, while the API answers.
    pub fn object(&self, node: &NodeName) -> Option<&'a NodeObject> {
        self.objects()?.get(node)
    }

    /// The pods on a node that a drain owes, while the API answers: those that were there when all nodes were cordoned.
    pub fn owed_pods(&self, node: &NodeName) -> Option<Vec<&'a PodObject>> {
        let pods = self.snapshot.api.pods.fresh(self.now, self.config.reconcile.api_max_age)?;
        let recorded = self.memory.drain_owed.get(node);
        let owed = pods.get(node).into_iter().flatten();
        Some(
            owed.filter(|pod| owes_drain(pod, &self.config.shutdown))
                .filter(|pod| recorded.is_none_or(|uids| uids.contains(&pod.uid)))
                .collect(),
        )
    }

    /// Whether a node is Ready by fresh status only, or what is missing. Conditions survive a cold boot and lie: a node
    /// counts by its boot id and by a Lease that was seen to change.
    pub fn readiness(&self, node: &NodeName) -> Result<(), String> {
        let Some(objects) = self.objects() else {
            return Err(self.api_evidence());
        };
        let Some(object) = objects.get(node) else {
            return Err("no Node object".to_owned());
        };
        if let (Some(host), Some(boot_id)) = (self.host(node), &object.boot_id)
            && host.boot_id != *boot_id
        {
            return Err("its status is from an earlier boot".to_owned());
        }
        match object.lease_changed {
            None => return Err("its Lease was not seen to be renewed yet".to_owned()),
            Some(changed) if self.now.since(changed) > LEASE_MAX_AGE => {
                return Err(format!("its Lease was renewed {} s ago", self.now.since(changed).as_secs()));
            }
            Some(_) => {}
        }
        if object.is_ready { Ok(()) } else { Err("condition Ready is not True".to_owned()) }
    }

    /// Whether any API server is ready.
    pub fn api_ready(&self) -> bool {
        self.snapshot.api.servers.values().any(|server| {
            server.fresh(self.now, self.config.reconcile.api_max_age).is_some_and(|server| server.is_ready)
        }) && self.objects().is_some()
    }

    /// What each API server says.
    pub fn api_evidence(&self) -> String {
        let each = self.snapshot.api.servers.iter().map(|(name, reading)| match (reading.value(), reading.failure()) {
            (Some(server), _) if server.is_ready => format!("{name} ready"),
            (Some(server), _) => {
                let failed: Vec<&str> = server.failed_checks.iter().map(String::as_str).collect();
                format!("{name} not ready ({})", failed.join(", "))
            }
            (None, Some(why)) => format!("{name}: {why}"),
            (None, None) => format!("{name} unknown"),
        });
        let mut evidence: Vec<String> = each.collect();
        if let Some(why) = self.snapshot.api.nodes.failure() {
            evidence.push(format!("nodes: {why}"));
        }
        if evidence.is_empty() { "no server observed yet".to_owned() } else { evidence.join("; ") }
    }

    /// The flags of the operator's wish, while its episode goes on: an override ends them, also when they were typed under it.
    pub fn options(&self) -> Options {
        let wish = Some(&self.episode.key.wish);
        let is_spent = self.ledger.fulfilled.as_ref() == wish
            || self.ledger.spent_options.as_ref() == wish
            || self.effective.is_override();
        if is_spent { Options::default() } else { self.declared.spec.options.clone() }
    }

    /// A hold that stands on the cluster or on a node, in words. Overrides know no holds: those on the whole cluster none
    /// at all, others none on the nodes that they are about.
    pub fn hold(&self, what: &Held) -> Option<String> {
        let is_overridden = match what {
            Held::Node(node) if self.effective.is_partial() => self.effective.nodes().contains(node),
            Held::Cluster if self.effective.is_partial() => false,
            Held::Node(_) | Held::Cluster | Held::Ups(_) => self.effective.is_override(),
        };
        if is_overridden { None } else { self.declared.hold(what, self.now) }
    }

    /// Whether the battery rules: nothing then waits for what it can do without.
    pub fn is_emergency(&self) -> bool {
        self.effective.is_override() && self.effective.path() == Path::Emergency
    }

    /// The path of the steps that take a node down: once a drain was shed, what a node still runs refuses nothing.
    pub fn step_path(&self, draft: &Draft) -> Path {
        let is_shed = self.episode.phases.contains_key(&Phase::DrainShed) || draft.phases.contains(&Phase::DrainShed);
        if self.effective.is_override() && is_shed { Path::Emergency } else { self.effective.path() }
    }

    /// A limit of a descent, shortened to what the battery still gives: on the emergency path to a quarter of it, so
    /// that four such limits in a row still fit; on an override's graceful path to what lies above the emergency path's
    /// needs.
    pub fn limit(&self, configured: Duration) -> Duration {
        match (self.effective.is_override(), self.effective.time_left()) {
            (true, Some(left)) if self.is_emergency() => configured.min(left / 4).max(Duration::from_secs(3)),
            (true, Some(left)) => configured.min(left.saturating_sub(self.reserve())),
            (true, None) if self.is_emergency() => configured.min(self.budget.emergency.time / 4),
            (true | false, _) => configured,
        }
    }

    /// The limit of something that has been waited for so long already. On an override's graceful path it ends as soon as
    /// the battery holds no more than what comes after it needs: so the wait for volumes is shed first, then the drain,
    /// then the etcd snapshot, and then the policy turns to the emergency path.
    pub fn limit_within(&self, configured: Duration, elapsed: Duration, after: Duration) -> Duration {
        match self.effective.time_left() {
            Some(left) if self.effective.is_override() && !self.is_emergency() => {
                configured.min(elapsed + left.saturating_sub(self.reserve() + after))
            }
            Some(_) | None => self.limit(configured),
        }
    }

    /// What the battery must hold for the emergency path from here on, with the safety factor.
    fn reserve(&self) -> Duration {
        self.budget.needs.emergency.mul_f64(self.config.ups_policy.runtime_safety_factor)
    }

    /// Why a limit was shorter than configured, in figures; nothing where it was not.
    pub fn shed(&self, configured: Duration, limit: Duration) -> String {
        match self.effective.time_left().filter(|_| limit < configured && self.effective.is_override()) {
            Some(left) => {
                let needs = self.budget.needs.emergency.as_secs();
                format!(": what comes after it needs {needs} s, the battery has {} s", left.as_secs())
            }
            None => String::new(),
        }
    }

    /// How long ago a phase of this episode began.
    pub fn phase_age(&self, phase: Phase) -> Option<Duration> {
        self.episode.phases.get(&phase).map(|began| began.age(self.now))
    }

    /// Whether a step was tried at least once and the attempt has ended.
    pub fn was_tried(&self, step: &Step) -> bool {
        self.memory.attempts.contains_key(&step.key())
    }

    /// Whether ending a node's containers was carried out twice and they are still there: then power-off must do.
    pub fn was_killed_in_vain(&self, node: &NodeName) -> bool {
        let step = Step::KillContainers { node: node.clone(), machine_id: None };
        self.memory.attempts.get(&step.key()).is_some_and(|attempt| attempt.count >= 2)
    }

    /// Whether the episode goes to another state than running.
    pub fn is_descent(&self) -> bool {
        self.effective.state() != ClusterState::Running
    }
}

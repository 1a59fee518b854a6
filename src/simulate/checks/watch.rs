//! A watch over a whole play: every invariant, on every tick, whatever goes wrong in the world.
//!
//! Pure. It judges what was done by the truth of the world, with a named grace for what nobody could have known yet.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Finding;
use super::oracle::Oracle;
use crate::config::{Drift, TimeSyncMode};
use crate::decide::Decision;
use crate::desired::{DeclaredHealth, Spec};
use crate::model::{ClusterState, Intent, NodeName, PeerName, Role, UpsName};
use crate::plan::step::Step;
use crate::simulate::event::Event;
use crate::simulate::world::acts::Harm;
use crate::simulate::world::{Host, Object};
use crate::simulate::{QUIET_TICK, Simulation};
use crate::snapshot::{UnitState, UpsStatus, UpsWord};

/// What a UPS says is known to hecate so long after it became true: an answer may be 15 s old, and a poll takes two.
const NOTICED: Duration = Duration::from_secs(20);
/// A battery is said to hold whole percents.
const ROUNDING: f64 = 2.0;
/// Something that goes wrong explains what is seen for so long after it is over.
const ECHO: Duration = Duration::from_secs(60);
/// So many findings say enough of one play.
const FINDINGS_MAX: usize = 5;

/// The invariants, by the name under which a finding is told.
pub const RULES: [&str; 16] = [
    ON_BATTERY,
    HEALTHY_MAINS,
    TWO_ACTORS,
    UNDRAINED,
    UNKNOWN,
    QUORUM,
    DARK_IN_TIME,
    WISH,
    FOREIGN,
    SAME_PLAN,
    REPEATED,
    BROKEN_OFF,
    RESTART,
    NAMED,
    CONVERGES,
    SNAPSHOT,
];

const SNAPSHOT: &str = "no server stops for a wish before the etcd snapshot that it wants";
const ON_BATTERY: &str = "nothing starts on battery or below the gate";
const HEALTHY_MAINS: &str = "nothing is shut down on healthy mains without a wish";
const TWO_ACTORS: &str = "no two actors do what is harmful when doubled";
const UNDRAINED: &str = "no power-off of an undrained node on the graceful path";
const UNKNOWN: &str = "nothing starts whose prerequisite is unknown";
const QUORUM: &str = "quorum is kept while running is obeyed";
const DARK_IN_TIME: &str = "dark before the battery ends where that was possible";
const WISH: &str = "a wish is covered, never rewritten";
const FOREIGN: &str = "what others cordoned stays cordoned";
const SAME_PLAN: &str = "the same input gives the same plan";
const REPEATED: &str = "a repeated step changes nothing";
const BROKEN_OFF: &str = "what is wanted is not broken off and begun anew";
/// Checked by comparing whole plays, see `seeds.rs`.
pub(in crate::simulate) const RESTART: &str = "losing memory changes no outcome";
const NAMED: &str = "every pass ends with a plan, a wait or a blocker, or the world is as desired";
/// Checked when faults have stopped, see `seeds.rs`.
pub(in crate::simulate) const CONVERGES: &str = "once faults stop it converges";

/// What was seen so far.
#[derive(Clone, Debug)]
pub struct Watch {
    findings: Vec<Finding>,
    oracle: Oracle,
    spec: Spec,
    foreign: BTreeSet<NodeName>,
    /// Since when each UPS has been without mains, and has said so.
    lost: BTreeMap<UpsName, Duration>,
    /// Since when each UPS has said nothing that could mean an outage.
    calm: BTreeMap<UpsName, Duration>,
    /// Since when each other hecate host has been shutting the cluster down.
    peers: BTreeMap<PeerName, Duration>,
    harm_told: usize,
    disturbed: Duration,
    converged_run: Option<String>,
    /// Since when something is not as desired although that is said.
    odd: Option<Duration>,
    /// How late hecate sees things, and since when.
    lag: (Duration, Duration),
    /// Steps that were broken off although the descent went on, with their run and when.
    broken_off: BTreeMap<String, (String, Duration)>,
}

impl Watch {
    /// Begins to watch.
    pub fn new(simulation: &Simulation) -> Self {
        Self {
            findings: Vec::new(),
            oracle: Oracle::default(),
            spec: simulation.desk.declared.spec.clone(),
            foreign: foreign(simulation).collect(),
            lost: BTreeMap::new(),
            calm: simulation.world.upses.keys().map(|name| (name.clone(), simulation.world.time)).collect(),
            peers: BTreeMap::new(),
            harm_told: 0,
            disturbed: Duration::ZERO,
            converged_run: None,
            odd: None,
            lag: (Duration::ZERO, Duration::ZERO),
            broken_off: BTreeMap::new(),
        }
    }

    /// What was found.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Takes note of what people and other hosts did, after it happened.
    pub fn note(&mut self, event: &Event, simulation: &Simulation) {
        if let Event::Wish { .. } = event {
            self.spec = simulation.desk.declared.spec.clone();
        }
        if let Event::PeerSays { peer, intent } = event {
            match intent {
                Intent::ShuttingDown | Intent::ShutdownComplete => {
                    _ = self.peers.insert(peer.clone(), simulation.world.time)
                }
                Intent::Normal | Intent::StartupInProgress => _ = self.peers.remove(peer),
            }
        }
        if let Event::PeerSilent { peer } = event {
            self.peers.remove(peer);
        }
    }

    /// Looks after a tick.
    pub fn look(&mut self, simulation: &Simulation) {
        let world = &simulation.world;
        for (name, battery) in &world.upses {
            // A UPS that says nothing of the mains leaves everybody with what it said last, if anybody heard that.
            let said = UpsStatus::parse(&battery.words());
            if battery.mains || battery.lie.status.is_some() {
                self.lost.remove(name);
            } else if battery.answers {
                self.lost.entry(name.clone()).or_insert(world.time);
            }
            let is_unheard = !simulation.has_passed
                || !battery.answers
                    && self.calm.get(name).is_some_and(|since| world.time.saturating_sub(*since) < NOTICED);
            if is_unheard || battery.answers && is_alarming(&said) {
                self.calm.remove(name);
            } else if battery.answers && said.has(UpsWord::Ol) {
                self.calm.entry(name.clone()).or_insert(world.time);
            }
        }
        let late = if simulation.lag.is_reordered { Duration::MAX } else { simulation.lag.late };
        if self.lag.0 != late {
            self.lag = (late, world.time);
        }
        if is_disturbed(simulation) {
            self.disturbed = world.time;
        }
        for text in self.oracle.look(simulation) {
            self.broken(DARK_IN_TIME, text);
        }
        self.harm(simulation);
        self.cordons(simulation);
        let Some(decision) = simulation.last.as_ref().filter(|_| simulation.has_passed) else { return };
        if simulation.desk.declared.spec != self.spec && simulation.desk.health != DeclaredHealth::Lost {
            self.broken(WISH, format!("{:?} became {:?}", self.spec.state, simulation.desk.declared.spec.state));
        }
        if simulation.decides_twice.is_some_and(|differing| differing > 0) {
            self.broken(SAME_PLAN, "two decisions from one input differ".to_owned());
        }
        self.convergence(simulation, decision);
        self.breaking_off(simulation, decision);
        for planned in &simulation.started {
            self.step(simulation, decision, &planned.step);
        }
    }

    fn broken(&mut self, rule: &'static str, evidence: String) {
        let is_new = !self.findings.iter().any(|finding| finding.rule == rule);
        if is_new && self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { rule, evidence });
        }
    }

    fn harm(&mut self, simulation: &Simulation) {
        let harm = &simulation.world.acts.harm;
        for one in harm.iter().skip(self.harm_told).filter(|one| could_be_known(simulation, one)) {
            let (rule, text) = match one {
                Harm::Undrained(node) => (UNDRAINED, format!("{node} was powered off with its workload")),
                Harm::LaterBoot(node) => (TWO_ACTORS, format!("{node} was powered off after it had come back")),
                Harm::SecondSnapshot(node) => (REPEATED, format!("a second etcd snapshot of one run on {node}")),
                Harm::Impostor(node) => (UNKNOWN, format!("a step on the host that stands at the address of {node}")),
                Harm::CutWhileOn(node) => (TWO_ACTORS, format!("a load was cut while it fed {node}")),
            };
            self.broken(rule, text);
        }
        self.harm_told = harm.len();
    }

    fn cordons(&mut self, simulation: &Simulation) {
        let is_kept = |node: &&NodeName| {
            simulation.world.objects.get(*node).is_some_and(|it| it.is_cordoned && it.cordoned_by.is_none())
        };
        if let Some(node) = self.foreign.iter().find(|node| !is_kept(node)).cloned() {
            self.broken(FOREIGN, format!("{node} was cordoned by somebody else"));
        }
        self.foreign.extend(foreign(simulation));
    }

    /// A drain or snapshot that is no longer waited for is not wanted again a moment later by the same run: it would wait
    /// for a disruption budget from its beginning, or save twice. Mains that come and go may turn it round, and people too.
    fn breaking_off(&mut self, simulation: &Simulation, decision: &Decision) {
        let now = simulation.world.time;
        let run = decision.status.episode.as_ref().map(|it| it.run.to_string()).unwrap_or_default();
        let is_turned = decision.episode_began || decision.effective.hold_descent().is_some();
        let is_steady = !simulation.lag.is_reordered && now.saturating_sub(self.lag.1) >= NOTICED;
        let goes_on = !is_turned && is_steady && simulation.desk.declared.holds.is_empty();
        for step in decision.plan.cancel.iter().filter_map(|target| simulation.desk.memory.in_flight.get(target)) {
            let takes_long = matches!(step.step, Step::Drain { .. } | Step::SaveEtcdSnapshot { .. });
            if goes_on && takes_long {
                self.broken_off.insert(step.step.key(), (run.clone(), now));
            }
        }
        for planned in &simulation.started {
            let Some((of, at)) = self.broken_off.remove(&planned.step.key()) else { continue };
            if of == run && now.saturating_sub(at) <= NOTICED {
                self.broken(BROKEN_OFF, format!("{}, broken off {} s before", planned.step, (now - at).as_secs()));
            }
        }
    }

    /// What is said to be as desired must be so, where hecate sees the world as it is.
    fn convergence(&mut self, simulation: &Simulation, decision: &Decision) {
        let world = &simulation.world;
        let is_converged = decision.plan.is_converged();
        let run = decision.status.episode.as_ref().filter(|it| it.converged.is_some()).map(|it| it.run.to_string());
        let is_new = run.is_some() && run != self.converged_run;
        self.converged_run = run;
        let wanted = match decision.effective.state() {
            ClusterState::Running => UnitState::Running,
            ClusterState::DrainedOff | ClusterState::Poweroff => UnitState::Stopped,
        };
        let is_up = wanted == UnitState::Running;
        let is_odd = |(name, host): &(&NodeName, &Host)| {
            let Some(node) = simulation.config.nodes.get(*name).filter(|node| node.is_managed) else { return false };
            // Only a worker may be away, or be left alone where drift is only reported; nobody may be who should be dark.
            let may_be_away = !is_up || node.role == Role::Worker || simulation.config.is_ignored(name);
            let may_drift = is_up && simulation.config.reconcile.drift == Drift::Report;
            if host.is_on { host.unit != wanted && !may_drift } else { !may_be_away }
        };
        let odd = world.hosts.iter().find(is_odd);
        let is_meant = is_converged && !decision.effective.is_partial() && (is_up || is_new);
        let Some((name, host)) = odd.filter(|_| is_meant) else {
            self.odd = None;
            return;
        };
        let since = *self.odd.get_or_insert(world.time);
        let is_seen = is_new || world.time.saturating_sub(since) >= NOTICED + QUIET_TICK;
        if is_seen && world.time.saturating_sub(self.disturbed) >= ECHO {
            let state = decision.effective.state();
            self.broken(NAMED, format!("converged for {state}, but {name} is on: {}, k3s {:?}", host.is_on, host.unit));
        }
    }

    fn step(&mut self, simulation: &Simulation, decision: &Decision, step: &Step) {
        self.shown_already(decision, step);
        self.unlooked(simulation, decision, step);
        match step {
            Step::StartUnit { node, .. } | Step::Wake { node } => {
                self.start(simulation, node);
                self.against_peer(simulation, step);
                self.prerequisites(simulation, decision, step, node);
            }
            Step::Uncordon { node } => {
                self.against_peer(simulation, step);
                if self.foreign.contains(node) {
                    self.broken(FOREIGN, format!("{step}, which somebody else cordoned"));
                }
            }
            Step::StopUnit { node, .. } | Step::KillContainers { node, .. } | Step::PowerOff { node, .. } => {
                self.snapshot(simulation, decision, step, node);
                self.stop(simulation, step);
                self.quorum(simulation, decision, step, node);
            }
            Step::Cordon { .. } | Step::Drain { .. } => self.stop(simulation, step),
            Step::PowerOffOwnHost { .. } => {
                if !simulation.world.is_own_load_ending() {
                    self.stop(simulation, step);
                }
            }
            Step::SaveEtcdSnapshot { .. } | Step::CutLoad { .. } => {}
        }
    }

    /// A start: with mains that are there, a battery above the gate, and nobody else who shuts down.
    fn start(&mut self, simulation: &Simulation, node: &NodeName) {
        let (world, config) = (&simulation.world, &simulation.config);
        let noticed = NOTICED + simulation.lag.late;
        let is_allowed = self.spec.options.allow_on_battery || config.coordination.allow_startup_on_battery;
        let long_lost = |(ups, since): &(&UpsName, &Duration)| {
            let is_told = world.upses.get(*ups).is_some_and(|battery| battery.answers && battery.lie.status.is_none());
            is_told && !self.is_ignored(simulation, ups) && world.time.saturating_sub(**since) >= noticed
        };
        let lost = self.lost.iter().find(long_lost).map(|(ups, _)| ups.clone()).filter(|_| !is_allowed);
        let feeds = config.nodes.get(node).map(|node| node.feeds.clone()).unwrap_or_default();
        let least = config.startup.recharge_charge_percent_min - ROUNDING;
        let is_low = |ups: &&UpsName| {
            world.upses.get(*ups).is_some_and(|it| it.is_honest() && it.mains && it.holds / it.capacity * 100.0 < least)
        };
        let is_seen = simulation.lag.late < config.ups_policy.max_age;
        let low = feeds.iter().filter(|_| is_seen && !is_allowed).find(is_low);
        let low = low.filter(|ups| !self.is_ignored(simulation, ups)).cloned();
        if let Some(ups) = lost {
            self.broken(ON_BATTERY, format!("a start of {node} while {ups} is on battery"));
        }
        if let Some(ups) = low {
            self.broken(ON_BATTERY, format!("a start of {node} while the battery of {ups} is below the gate"));
        }
    }

    /// Nothing that would undo what another hecate host is seen to do.
    fn against_peer(&mut self, simulation: &Simulation, step: &Step) {
        let world = &simulation.world;
        let stops = self.peers.iter().find(|(_, since)| {
            let age = world.time.saturating_sub(**since);
            let limit = simulation.config.coordination.startup_guard_max_age;
            age >= NOTICED + simulation.lag.late && age + ECHO < limit
        });
        let stops = stops.map(|(peer, _)| peer.clone()).filter(|_| world.around.own_clock.ahead_seconds == 0);
        if let Some(peer) = stops {
            self.broken(TWO_ACTORS, format!("{step} while {peer} shuts the cluster down"));
        }
    }

    fn is_ignored(&self, simulation: &Simulation, ups: &UpsName) -> bool {
        let held = crate::desired::Held::Ups(ups.clone());
        simulation.desk.declared.hold(&held, &simulation.now()).is_some()
    }

    /// What a start relies on was seen, and is not merely not denied.
    fn prerequisites(&mut self, simulation: &Simulation, decision: &Decision, step: &Step, node: &NodeName) {
        let (config, snapshot) = (&simulation.config, &decision.status.snapshot);
        let now = simulation.now();
        let mut unknown: Vec<&str> = Vec::new();
        let host = snapshot.hosts.get(node).and_then(|it| it.fresh(&now, config.reconcile.host_max_age));
        let is_start = matches!(step, Step::StartUnit { .. });
        if is_start && host.is_none() {
            unknown.push("the host");
        }
        let has_api = snapshot
            .api
            .servers
            .values()
            .any(|server| server.fresh(&now, config.reconcile.api_max_age).is_some_and(|server| server.is_ready));
        let is_worker = config.nodes.get(node).is_some_and(|node| node.role == Role::Worker);
        if is_start && is_worker && !has_api {
            unknown.push("the API");
        }
        let is_allowed = self.spec.options.allow_on_battery || config.coordination.allow_startup_on_battery;
        let mut heeded = snapshot.upses.iter().filter(|(ups, _)| !self.is_ignored(simulation, ups)).peekable();
        let is_silent = heeded.peek().is_some()
            && heeded.all(|(_, reading)| reading.fresh(&now, config.ups_policy.max_age).is_none());
        let grace = config.startup.ups_unknown_grace.unwrap_or(Duration::MAX);
        if is_silent && !is_allowed && now.since(simulation.desk.memory.began) < grace {
            unknown.push("every UPS");
        }
        let is_strict = config.startup.time_sync_mode == Some(TimeSyncMode::Strict);
        let is_synced = now.wall_synced && host.is_none_or(|host| host.is_time_synced == Some(true));
        if is_start && is_strict && !is_synced && !self.spec.options.skip_time_sync {
            unknown.push("its clock");
        }
        if simulation.desk.ledger_problem.is_some() {
            unknown.push("the ledger");
        }
        if simulation.desk.health == DeclaredHealth::Lost {
            unknown.push("the wish");
        }
        if !unknown.is_empty() {
            self.broken(UNKNOWN, format!("{step} without {}", unknown.join(", ")));
        }
    }

    /// A step down: wished, or because of a UPS that gave reason to.
    fn stop(&mut self, simulation: &Simulation, step: &Step) {
        let (world, policy) = (&simulation.world, &simulation.config.ups_policy);
        let calm = policy.mains_stable + policy.lost_on_battery + NOTICED + simulation.lag.late;
        let is_calm = world
            .upses
            .keys()
            .all(|ups| self.calm.get(ups).is_some_and(|since| world.time.saturating_sub(*since) >= calm));
        if self.spec.state == ClusterState::Running && is_calm && simulation.desk.health != DeclaredHealth::Lost {
            self.broken(HEALTHY_MAINS, step.to_string());
        }
    }

    /// A server that has been running is stopped for a wish only once there is a snapshot, or the wish does without.
    fn snapshot(&mut self, simulation: &Simulation, decision: &Decision, step: &Step, node: &NodeName) {
        let world = &simulation.world;
        let Some(episode) = decision.status.episode.as_ref() else { return };
        let is_stop = matches!(step, Step::StopUnit { .. });
        let runs =
            world.hosts.get(node).is_some_and(|it| it.role == Role::ControlPlane && it.has_run(world.time, ECHO));
        let wants = !decision.effective.is_override() && !self.spec.options.skip_etcd_snapshot;
        let prefix = format!("hecate-{}", episode.run);
        let has_one = world.etcd_snapshots.values().flatten().any(|name| name.starts_with(&prefix));
        if is_stop && runs && wants && !has_one {
            self.broken(SNAPSHOT, step.to_string());
        }
    }

    fn quorum(&mut self, simulation: &Simulation, decision: &Decision, step: &Step, node: &NodeName) {
        let world = &simulation.world;
        let effective = &decision.effective;
        if effective.state() != ClusterState::Running {
            return;
        }
        let is_server = |name: &NodeName| world.hosts.get(name).is_some_and(|host| host.role == Role::ControlPlane);
        let servers = world.hosts.values().filter(|host| host.role == Role::ControlPlane).count();
        let left = world.hosts.iter().filter(|(name, host)| {
            is_server(name) && host.is_on && host.unit == UnitState::Running && !effective.nodes().contains(*name)
        });
        let left = left.count();
        let is_named = effective.nodes().contains(node);
        // What does not run takes no vote away; and quorum that is lost already is lost for whoever's battery ends.
        let votes = |host: &Host| host.is_on && matches!(host.unit, UnitState::Running | UnitState::Stopping);
        let voters = world.hosts.iter().filter(|(name, host)| is_server(name) && votes(host));
        let had_quorum = voters.count() * 2 > servers;
        let takes_vote = had_quorum && is_server(node) && world.hosts.get(node).is_some_and(votes);
        if !is_named || takes_vote && left * 2 <= servers {
            self.broken(QUORUM, format!("{step} with {left} of {servers} servers left"));
        }
    }

    /// A step is begun on what was looked at since the last one on the same target ended.
    fn unlooked(&mut self, simulation: &Simulation, decision: &Decision, step: &Step) {
        let snapshot = &decision.status.snapshot;
        let host = |node: &NodeName| snapshot.hosts.get(node).map(|reading| reading.began());
        let looked = match step {
            Step::StartUnit { node, .. }
            | Step::StopUnit { node, .. }
            | Step::KillContainers { node, .. }
            | Step::SaveEtcdSnapshot { node, .. }
            | Step::PowerOff { node, .. }
            | Step::Wake { node } => host(node),
            Step::Cordon { .. } | Step::Uncordon { .. } | Step::Drain { .. } => Some(snapshot.api.nodes.began()),
            Step::PowerOffOwnHost { .. } | Step::CutLoad { .. } => None,
        };
        let ended = simulation.desk.memory.ended.get(&step.target());
        if looked.zip(ended).is_some_and(|(looked, ended)| looked < *ended) {
            self.broken(REPEATED, format!("{step} before anybody looked at what the last step there did"));
        }
    }

    /// A step whose effect is seen already is not wanted a second time.
    fn shown_already(&mut self, decision: &Decision, step: &Step) {
        let snapshot = &decision.status.snapshot;
        let unit = |node: &NodeName, unit| snapshot.hosts.get(node).and_then(|it| it.value()).map(|it| it.unit(unit));
        let is_cordoned = |node: &NodeName| {
            snapshot.api.nodes.value().and_then(|nodes| nodes.get(node)).map(|object| object.is_cordoned)
        };
        let is_shown = match step {
            Step::StartUnit { node, unit: it, .. } => unit(node, *it) == Some(UnitState::Running),
            Step::StopUnit { node, unit: it, .. } => unit(node, *it) == Some(UnitState::Stopped),
            Step::Cordon { node, .. } => is_cordoned(node) == Some(true),
            Step::Uncordon { node } => is_cordoned(node) == Some(false),
            Step::KillContainers { .. }
            | Step::Drain { .. }
            | Step::SaveEtcdSnapshot { .. }
            | Step::PowerOff { .. }
            | Step::PowerOffOwnHost { .. }
            | Step::Wake { .. }
            | Step::CutLoad { .. } => false,
        };
        if is_shown {
            self.broken(REPEATED, format!("{step} although that is seen already"));
        }
    }
}

/// Whether anybody could have known that a step would do harm.
fn could_be_known(simulation: &Simulation, harm: &Harm) -> bool {
    let world = &simulation.world;
    let answers = |node: &NodeName| world.hosts.get(node).is_some_and(Host::answers);
    match harm {
        // Who a node is was learned before, or enrolled; without that, another host's SSH key is all that tells it apart.
        Harm::Impostor(node) => simulation.desk.ledger.machine_ids.contains_key(node),
        // A host that was told to power off, and is silent, is off for all that anybody can see.
        Harm::CutWhileOn(node) => answers(node) || !simulation.desk.ledger.powered_off.contains_key(node),
        Harm::Undrained(_) | Harm::LaterBoot(_) | Harm::SecondSnapshot(_) => true,
    }
}

/// The nodes that are cordoned, and not by hecate. Who cordons a node that hecate has cordoned already changes nothing.
fn foreign(simulation: &Simulation) -> impl Iterator<Item = NodeName> {
    let is_foreign = |(name, object): (&NodeName, &Object)| {
        (object.is_cordoned && object.cordoned_by.is_none()).then(|| name.clone())
    };
    simulation.world.objects.iter().filter_map(is_foreign)
}

/// Whether a status may mean an outage, a discharge or a forced shutdown.
fn is_alarming(status: &UpsStatus) -> bool {
    let alarming = [UpsWord::Ob, UpsWord::Fsd, UpsWord::Cal, UpsWord::Dischrg];
    alarming.iter().any(|word| status.has(*word))
}

/// Whether hecate sees the world otherwise than it is, or cannot act on it as usual.
fn is_disturbed(simulation: &Simulation) -> bool {
    let world = &simulation.world;
    simulation.lag.is_on()
        || !simulation.has_passed
        || !simulation.disk_works
        || simulation.desk.ledger_problem.is_some()
        || simulation.desk.health != DeclaredHealth::Good
        || world.is_api_gone
        || !world.around.impostors.is_empty()
        || !world.acts.faults.is_empty()
        || world.hosts.values().any(|host| !host.answers() || host.slowness > 1)
        || world.upses.values().any(|battery| !battery.is_honest())
}

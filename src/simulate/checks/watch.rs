//! A watch over a whole play: every invariant, on every tick, whatever goes wrong in the world.
//!
//! Pure. It judges what was done by the truth of the world, with a named grace for what nobody could have known yet.

mod heard;
mod repeats;
mod starts;
mod stops;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::heard::{Outage, Returned, foreign};
use super::Finding;
use super::oracle::Oracle;
use crate::config::Drift;
use crate::decide::Decision;
use crate::desired::{DeclaredHealth, Spec};
use crate::model::{ClusterState, Intent, NodeName, PeerName, Role, UpsName};
use crate::plan::step::Step;
use crate::simulate::event::Event;
use crate::simulate::world::Host;
use crate::simulate::world::acts::Harm;
use crate::simulate::{QUIET_TICK, Simulation};
use crate::snapshot::{UnitState, UpsWord};

/// What a UPS says is known to hecate so long after it became true: an answer may be 15 s old, and a poll takes two.
const NOTICED: Duration = Duration::from_secs(20);
/// A battery is said to hold whole percents.
const ROUNDING: f64 = 2.0;
/// Something that goes wrong explains what is seen for so long after it is over.
const ECHO: Duration = Duration::from_secs(60);
/// So many findings say enough of one play.
const FINDINGS_MAX: usize = 5;

/// The invariants, by the name under which a finding is told.
pub const RULES: [&str; 25] = [
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
    RUNS_AGAIN,
    OFTEN,
    OWN_FEEDS,
    NO_WAY_BACK,
    AGAIN,
    WAKE_BURST,
    STABLE,
    WRITING,
    COMING_CUT,
];

/// Checked when mains are back for good and nobody does anything, see `trial.rs`.
pub(in crate::simulate) const RUNS_AGAIN: &str = "with mains for a day it runs, or waits for a person by name";
const OFTEN: &str = "no command goes to one host more often than it may";
const OWN_FEEDS: &str = "the hecate host is not powered off by an override while its own feeds hold";
const NO_WAY_BACK: &str = "a host whose supply holds is not powered off by an override unless something wakes it";
const AGAIN: &str = "a host that came back is not powered off again on the word of a UPS that is silent since";
const WAKE_BURST: &str = "no more hosts are woken at once than may be";
const STABLE: &str = "nothing is woken before mains have stood";
const WRITING: &str = "no load is cut under a host that still writes";
const COMING_CUT: &str = "nothing starts on a load that is about to be cut";
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
    /// When the mains of each UPS came back, and what was known of its battery then.
    returned: BTreeMap<UpsName, Returned>,
    /// Since when each UPS is on battery, by the truth; whether it was heard to be, and which boot of the hecate host it was.
    outages: BTreeMap<UpsName, Outage>,
    /// The last charge that was heard of each UPS, percent.
    charges: BTreeMap<UpsName, f64>,
    /// When each UPS last said something that may mean an outage.
    alarmed: BTreeMap<UpsName, Duration>,
    /// Since when a UPS' answers are garbled.
    garbled: BTreeMap<UpsName, Duration>,
    /// When each UPS answered last.
    answered: BTreeMap<UpsName, Duration>,
    /// When each host booted last.
    booted: BTreeMap<NodeName, Duration>,
    boots: BTreeMap<NodeName, u32>,
    /// Words of each UPS that were not said once while it was on line.
    vanished: BTreeMap<UpsName, BTreeSet<UpsWord>>,
    /// UPSes that told a wrong load or charge in an outage.
    misled: BTreeSet<UpsName>,
    /// When k3s ran last on each host.
    ran: BTreeMap<NodeName, Duration>,
    /// Since when an override stands.
    overridden: Option<Duration>,
    /// Since when a start is held for each reason, and when that was seen last.
    held: BTreeMap<&'static str, (Duration, Duration)>,
    /// The run that goes on.
    run: Option<String>,
    /// When hecate was started lately, and when the present one was.
    starts: Vec<Duration>,
    life: (u32, Duration),
    looked: Duration,
    /// When each command went to each host lately.
    commands: BTreeMap<(NodeName, &'static str), Vec<Duration>>,
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
            returned: BTreeMap::new(),
            outages: BTreeMap::new(),
            charges: BTreeMap::new(),
            alarmed: BTreeMap::new(),
            garbled: BTreeMap::new(),
            answered: BTreeMap::new(),
            booted: BTreeMap::new(),
            boots: simulation.world.hosts.iter().map(|(name, host)| (name.clone(), host.boot)).collect(),
            vanished: BTreeMap::new(),
            misled: BTreeSet::new(),
            ran: BTreeMap::new(),
            overridden: None,
            held: BTreeMap::new(),
            run: None,
            starts: Vec::new(),
            life: (simulation.world.own_boot, simulation.desk.memory.began),
            commands: BTreeMap::new(),
            looked: simulation.world.time,
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
        if let Event::BatteryReplaced { ups } = event {
            _ = (self.returned.remove(ups), self.outages.remove(ups));
        }
        if let Event::PeerSilent { peer } = event {
            self.peers.remove(peer);
        }
    }

    /// Looks after a tick.
    pub fn look(&mut self, simulation: &Simulation) {
        let world = &simulation.world;
        self.listen(simulation);
        self.follow(simulation);
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
        if simulation.decides_twice.as_ref().is_some_and(|twice| twice.differing > 0) {
            self.broken(SAME_PLAN, "two decisions from one input differ".to_owned());
        }
        self.convergence(simulation, decision);
        self.held_by_name(simulation, decision);
        self.breaking_off(simulation, decision);
        for planned in &simulation.started {
            self.step(simulation, decision, &planned.step);
        }
    }

    /// What excused whoever lost its power, and how often.
    pub fn excuses(&self) -> &BTreeMap<&'static str, u32> {
        self.oracle.excuses()
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
                Harm::CutWhileWriting(node) => (WRITING, format!("a load was cut while {node} still wrote")),
            };
            self.broken(rule, text);
        }
        self.harm_told = harm.len();
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

    /// A server that is seen stopped while nothing is done says what it waits for, and that is more than that nobody serves.
    fn held_by_name(&mut self, simulation: &Simulation, decision: &Decision) {
        let (config, plan) = (&simulation.config, &decision.plan);
        let is_still = plan.start.is_empty() && plan.running.is_empty() && plan.cancel.is_empty();
        let is_up = decision.effective.state() == ClusterState::Running && !decision.effective.is_partial();
        if !is_up || !is_still || !plan.blockers.is_empty() || config.reconcile.drift == Drift::Report {
            return;
        }
        // These come once a server runs: they hold none back.
        let follows = ["api-ready", "etcd-healthy", "node-ready", "node-reachable", "uncordon", "unit-settled"];
        let mut reasons = plan.waits.iter().map(|wait| wait.reason.name());
        let now = simulation.now();
        let stopped = config.control_planes().find(|(name, node)| {
            let seen = decision.status.snapshot.hosts.get(*name);
            let seen = seen.and_then(|it| it.fresh(&now, config.reconcile.host_max_age));
            seen.is_some_and(|host| host.unit(node.role.unit()) == UnitState::Stopped)
        });
        if let Some((name, _)) = stopped.filter(|_| reasons.all(|reason| follows.contains(&reason))) {
            self.broken(NAMED, format!("k3s on {name} is stopped, and nothing says why it is not started"));
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
        let looked = simulation.lag.every.is_zero();
        let is_seen = is_new && looked || world.time.saturating_sub(since) >= NOTICED + QUIET_TICK;
        if is_seen && world.time.saturating_sub(self.disturbed) >= ECHO {
            let state = decision.effective.state();
            self.broken(NAMED, format!("converged for {state}, but {name} is on: {}, k3s {:?}", host.is_on, host.unit));
        }
    }

    fn step(&mut self, simulation: &Simulation, decision: &Decision, step: &Step) {
        self.shown_already(decision, step);
        self.unlooked(simulation, decision, step);
        self.often(simulation, step);
        match step {
            Step::StartUnit { node, .. } | Step::Wake { node } => {
                self.start(simulation, decision, step, node);
                self.against_peer(simulation, step);
                self.prerequisites(simulation, decision, step, node);
                self.coming_cut(simulation, step, node);
                if matches!(step, Step::Wake { .. }) {
                    self.wake(simulation, node);
                }
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
                if matches!(step, Step::PowerOff { .. }) {
                    self.power_off(simulation, decision, node);
                }
            }
            Step::Cordon { .. } | Step::Drain { .. } => self.stop(simulation, step),
            Step::PowerOffOwnHost { .. } => {
                if !simulation.world.is_own_load_ending() {
                    self.stop(simulation, step);
                }
                self.own_power_off(simulation, decision);
            }
            Step::SaveEtcdSnapshot { .. } | Step::CutLoad { .. } => {}
        }
    }
}

/// Whether anybody could have known that a step would do harm.
fn could_be_known(simulation: &Simulation, harm: &Harm) -> bool {
    let world = &simulation.world;
    let answers = |node: &NodeName| world.answers(node);
    match harm {
        // Who a node is was learned before, or enrolled; without that, another host's SSH key is all that tells it apart.
        Harm::Impostor(node) => simulation.desk.ledger.machine_ids.contains_key(node),
        // A host that was told to power off, and is silent, is off for all that anybody can see.
        Harm::CutWhileOn(node) => {
            let is_seen = |host: &Host| world.time.saturating_sub(host.booted) > NOTICED + simulation.lag.every;
            answers(node) && world.hosts.get(node).is_some_and(is_seen)
                || !simulation.desk.ledger.powered_off.contains_key(node)
        }
        Harm::CutWhileWriting(node) => {
            world.hosts.get(node).is_some_and(|host| host.tail <= simulation.config.shutdown.off_tail)
        }
        Harm::Undrained(_) | Harm::LaterBoot(_) | Harm::SecondSnapshot(_) => true,
    }
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
        || world.hosts.iter().any(|(name, host)| host.is_on && !world.answers(name) || host.slowness > 1)
        || world.upses.values().any(|battery| !battery.is_honest())
}

//! Two hecate hosts and one cluster: a coordinator and a peer, each with its own wish, disk and memory.
//!
//! Both watch the same UPS, hang on a supply of their own, and make their passes in the same instant: each sees of the
//! other what that said in the tick before. Nothing but `coordination` stands between them.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use hecate::config::{Config, CoordinationRole};
use hecate::model::{ClusterState, FailureKind, Intent, IntentRecord, Reading};
use hecate::plan::step::{Step, Target};
use hecate::snapshot::{HostClock, PeerReading, Snapshot};
use stateright::{Model, Property};

use super::cluster::{NOW, one_of_two, other};
use super::hecate::{Fate, Hecate, Passed, wish};
use super::normal;
use super::planted::Planted;
use super::rules::{self, Rule, Truth, judge};
use super::single::Budget;
use super::view::observe;
use super::world::World;

/// The coordinator's place.
const COORDINATOR: usize = 0;
/// The peer's.
const PEER: usize = 1;

static CONFIGS: LazyLock<[Config; 2]> =
    LazyLock::new(|| [CoordinationRole::Coordinator, CoordinationRole::Peer].map(one_of_two));

/// A start or a wake-up while the other host is seen to shut down, or to have done so a moment ago.
pub(crate) const INTO_SHUTDOWN: Rule = "nothing starts into a shutdown of the other host";
/// An uncordon while the other host is seen to shut down: pods return to a node that is being drained.
pub(crate) const UNCORDONED: Rule = "no node is uncordoned that the other host drains";
/// A start or a wake-up by the peer, which was not asked to.
pub(crate) const PEER_STARTS: Rule = "a peer starts nothing";
/// A step down in an episode that has converged.
pub(crate) const OVER: Rule = "a descent that is over stops nothing again";

/// Two hecate hosts, with so much that may happen to them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    /// How much; a wish is one of either's operator.
    pub(crate) budget: Budget,
    /// The bug that is put into both.
    pub(crate) planted: Planted,
}

/// Everything that what comes next depends on.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(crate) struct State {
    world: World,
    hosts: [Arc<Host>; 2],
    fates: [BTreeMap<Target, Fate>; 2],
    /// Whether they do not see each other.
    is_parted: bool,
    left: Budget,
    broken: Option<Rule>,
}

/// One hecate host and the intent it has published.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Host {
    hecate: Hecate,
    intent: Option<IntentRecord>,
}

impl std::hash::Hash for Host {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.hecate.hash(state);
        self.intent.as_ref().map(|intent| (intent.state as u8, intent.since)).hash(state);
    }
}

/// Something happens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Happens {
    /// A tick goes by, and both make their passes.
    Tick,
    /// Mains are lost.
    MainsLost,
    /// Mains are back.
    MainsBack,
    /// The operator of one host changes its wish.
    Wish(usize, ClusterState),
    /// They no longer see each other.
    Parted,
    /// They see each other again.
    Joined,
    /// One hecate is killed and started again.
    Killed(usize),
    /// Something becomes of a step of one host that is under way.
    Step(usize, Target, Fate),
}

impl Model for Pair {
    type State = State;
    type Action = Happens;

    fn init_states(&self) -> Vec<State> {
        let host = |runs_from| Arc::new(Host { hecate: Hecate::new(runs_from), intent: None });
        let mut state = State {
            world: World::running(),
            hosts: [host(0), host(2)],
            fates: Default::default(),
            is_parted: false,
            left: self.budget,
            broken: None,
        };
        // Until nothing changes any more: both have been there for a while.
        loop {
            let next = self.tick(&state);
            if next == state {
                return vec![state];
            }
            state = next;
        }
    }

    fn actions(&self, state: &State, actions: &mut Vec<Happens>) {
        if state.broken.is_some() {
            return;
        }
        actions.push(Happens::Tick);
        if !state.world.mains {
            actions.push(Happens::MainsBack);
        } else if state.left.outages > 0 {
            actions.push(Happens::MainsLost);
        }
        if state.is_parted {
            actions.push(Happens::Joined);
        }
        for (host, Host { hecate, .. }) in state.hosts.iter().map(|host| &**host).enumerate() {
            if state.left.wishes > 0 {
                let states = [ClusterState::Running, ClusterState::DrainedOff, ClusterState::Poweroff];
                let others = states.into_iter().filter(|one| *one != hecate.desk.declared.spec.state);
                actions.extend(others.map(|wished| Happens::Wish(host, wished)));
            }
            if state.left.faults == 0 {
                continue;
            }
            actions.push(Happens::Killed(host));
            for target in hecate.desk.memory.in_flight.keys().filter(|target| !state.fates[host].contains_key(target)) {
                actions.extend([Fate::Lost, Fate::Late].map(|fate| Happens::Step(host, target.clone(), fate)));
            }
        }
        if state.left.faults > 0 && !state.is_parted {
            actions.push(Happens::Parted);
        }
    }

    fn next_state(&self, last: &State, action: Happens) -> Option<State> {
        let mut state = last.clone();
        match action {
            Happens::Tick => return Some(self.tick(last)),
            Happens::MainsLost => {
                state.left.outages -= 1;
                state.world.lose_mains();
            }
            Happens::MainsBack => state.world.regain_mains(),
            Happens::Parted => {
                state.left.faults -= 1;
                state.is_parted = true;
            }
            Happens::Joined => state.is_parted = false,
            Happens::Wish(host, wished) => {
                state.left.wishes -= 1;
                let spec = wish(wished, self.budget.wishes - state.left.wishes);
                change(&mut state, host, |hecate, _| hecate.desk.declared.spec = spec);
            }
            Happens::Killed(host) => {
                state.left.faults -= 1;
                change(&mut state, host, |hecate, fates| hecate.restart(fates, self.planted));
            }
            Happens::Step(host, target, fate) => {
                state.left.faults -= 1;
                state.fates[host].insert(target, fate);
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties()
    }
}

fn change(state: &mut State, host: usize, change: impl FnOnce(&mut Hecate, &BTreeMap<Target, Fate>)) {
    let hecate = &mut Arc::make_mut(&mut state.hosts[host]).hecate;
    change(hecate, &state.fates[host]);
    state.fates[host].retain(|target, _| hecate.desk.memory.in_flight.contains_key(target));
    hecate.number_runs(&mut state.world);
    hecate.seal();
}

impl Pair {
    fn tick(&self, last: &State) -> State {
        let mut state = last.clone();
        let world = &mut state.world;
        let mut hosts = last.hosts.clone().map(|host| Host::clone(&host));
        let mut ended = [Vec::new(), Vec::new()];
        let booted = world.move_power();
        for (host, one) in hosts.iter_mut().enumerate() {
            one.hecate.age();
            one.intent.iter_mut().for_each(normal::age_intent);
            booted.iter().for_each(|node| one.hecate.boot_node(*node));
            ended[host] = one.hecate.advance_steps(world, &last.fates[host]);
        }
        world.advance();
        let said = [PEER, COORDINATOR].map(|host| hosts[host].intent.clone());
        let mut asked = Vec::new();
        for (host, ended) in ended.into_iter().enumerate() {
            let one = &mut hosts[host];
            let mut snapshot = observe(world, None);
            let answer = (!last.is_parted).then(|| said[host].clone());
            // Its last word counts on when it no longer answers.
            let known = one.hecate.desk.ledger.peers.get(&other()).and_then(|word| word.intent.clone());
            let seen = answer.clone().unwrap_or(known);
            snapshot.peers = BTreeMap::from([(other(), observe_other(answer))]);
            self.planted.see(&mut snapshot, &one.hecate);
            let broken = self.passes(world, host, one, (&snapshot, seen.as_ref()), ended, &mut asked);
            state.broken = state.broken.or(broken);
        }
        world.note_asked(&asked);
        for host in &mut hosts {
            host.hecate.number_runs(world);
            host.hecate.seal();
        }
        state.hosts = hosts.map(Arc::new);
        state.fates = Default::default();
        state
    }

    fn passes(
        &self,
        world: &World,
        host: usize,
        one: &mut Host,
        (snapshot, seen): (&Snapshot, Option<&IntentRecord>),
        ended: Vec<(Target, hecate::plan::step::Outcome)>,
        asked: &mut Vec<Step>,
    ) -> Option<Rule> {
        let spec = one.hecate.desk.declared.spec.clone();
        let was_over = one.hecate.desk.ledger.episode.as_ref().is_some_and(|episode| episode.converged.is_some());
        let passes = one.hecate.passes(&CONFIGS[host], snapshot, ended, self.planted);
        let truth = Truth { is_looked: true, is_carried_out: false, is_alone: false };
        let is_rewritten = one.hecate.desk.declared.spec != spec;
        let broken = judge(world, &one.hecate, &passes, truth)
            .or(is_rewritten.then_some(rules::WISH))
            .or_else(|| Self::judge_together(host, &passes, seen, was_over));
        for passed in passes {
            publish(one, passed.decision.status.intent);
            asked.extend(passed.started);
        }
        broken
    }

    /// What only matters because there are two of them.
    fn judge_together(host: usize, passes: &[Passed], seen: Option<&IntentRecord>, was_over: bool) -> Option<Rule> {
        let limit = CONFIGS[host].coordination.startup_guard_max_age;
        let is_told = seen.is_some_and(|intent| is_shutdown(intent) && intent.since > NOW.wall - limit);
        let begun = |passed: &Passed| !passed.decision.episode_began;
        let was_over = was_over && passes.iter().all(begun);
        passes.iter().flat_map(|passed| &passed.started).find_map(|step| {
            let is_start = matches!(step, Step::StartUnit { .. } | Step::Wake { .. });
            let is_uncordon = matches!(step, Step::Uncordon { .. });
            match () {
                () if is_start && host == PEER => Some(PEER_STARTS),
                () if is_start && is_told => Some(INTO_SHUTDOWN),
                () if is_uncordon && is_told => Some(UNCORDONED),
                () if step.is_disruptive() && was_over => Some(OVER),
                () => None,
            }
        })
    }
}

fn is_shutdown(intent: &IntentRecord) -> bool {
    match intent.state {
        Intent::ShuttingDown | Intent::ShutdownComplete => true,
        Intent::Normal | Intent::StartupInProgress => false,
    }
}

fn observe_other(answer: Option<Option<IntentRecord>>) -> Reading<PeerReading> {
    let Some(intent) = answer else {
        return Reading::unknown(FailureKind::TimedOut, "", NOW.boottime);
    };
    let clock = Some(HostClock { wall: NOW.wall, ahead_seconds: 0 });
    Reading::known(PeerReading { intent, clock }, NOW.boottime)
}

/// Writes `intent.json` where it changes, as `reconcile/passes.rs` does.
fn publish(host: &mut Host, state: Intent) {
    if host.intent.as_ref().is_none_or(|intent| intent.state != state) {
        let (by, reason) = (String::new(), String::new());
        host.intent = Some(IntentRecord { state, since: NOW.wall, by, reason, is_clock_synced: true });
    }
}

/// Nothing of this ever happens.
fn properties() -> Vec<Property<Pair>> {
    macro_rules! never {
        ($($rule:expr),* $(,)?) => {
            vec![$(Property::always($rule, |_, state: &State| state.broken != Some($rule))),*]
        };
    }
    never![
        rules::ON_BATTERY,
        rules::BELOW_GATE,
        rules::HEALTHY_MAINS,
        rules::QUORUM,
        rules::WISH,
        rules::ONE_A_TARGET,
        rules::OLD_OUTAGE,
        rules::LEDGER_FIRST,
        rules::NAMED,
        rules::CONVERGED,
        INTO_SHUTDOWN,
        UNCORDONED,
        PEER_STARTS,
        OVER,
    ]
}
impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.world)?;
        for host in &self.hosts {
            write!(f, "\n      {:?} {}", host.intent.as_ref().map(|it| it.state), host.hecate)?;
        }
        Ok(())
    }
}

//! One hecate host and its cluster, as a model: what may happen between two ticks, and what a tick does.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use hecate::config::Config;
use hecate::model::ClusterState;
use hecate::plan::step::{Step, Target};
use stateright::{Model, Property};

use super::cluster::{NODES, config};
use super::hecate::{Fate, Hecate, wish};
use super::normal;
use super::planted;
use super::rules::{self, Rule, Truth, judge};
use super::view::observe;
use super::world::{Cordon, Mood, Power, World};

static CONFIG: LazyLock<Config> = LazyLock::new(config);

/// One hecate host, with so much that may happen to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Single {
    /// How much.
    pub(crate) budget: Budget,
    /// The bug that is put in.
    pub(crate) planted: planted::Planted,
}

/// How often things may happen in one behaviour; without an end there would be no last state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    /// Mains are lost.
    pub(crate) outages: u8,
    /// The operator changes the wish.
    pub(crate) wishes: u8,
    /// Something breaks, lies, or is done by somebody else. What breaks may be well again at any time, at no cost.
    pub(crate) faults: u8,
}

/// Everything that what comes next depends on.
#[derive(Clone, Debug, PartialEq, Hash)]
pub(crate) struct State {
    world: World,
    hecate: Arc<Hecate>,
    fates: BTreeMap<Target, Fate>,
    /// What hosts and API were like when the eyes got stuck.
    stuck: Option<World>,
    left: Budget,
    wish_number: u8,
    is_carried_out: bool,
    /// The rule that the last tick broke; nothing comes after it.
    pub(crate) broken: Option<Rule>,
}

/// Something happens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Happens {
    /// A tick goes by, and hecate makes its passes.
    Tick,
    /// Mains are lost.
    MainsLost,
    /// Mains are back.
    MainsBack,
    /// The UPS begins to tell something else.
    Ups(Mood),
    /// A host falls silent.
    HostSilent(usize),
    /// A host answers again.
    HostHeard(usize),
    /// Somebody switches a host on.
    HostSwitchedOn(usize),
    /// Somebody switches the hecate host on.
    OwnSwitchedOn,
    /// No API server can be asked.
    ApiGone,
    /// The API can be asked again.
    ApiBack,
    /// The next look at hosts and API shows what they are like now, and nothing that comes until then.
    EyesStuck,
    /// hecate is killed and started again.
    Killed,
    /// The disk takes no more writes.
    DiskFull,
    /// The disk takes writes again.
    DiskWorks,
    /// Something becomes of a step that is under way.
    Step(Target, Fate),
    /// An operator changes the wish.
    Wish(ClusterState),
    /// Somebody else cordons a node.
    ForeignCordon(usize),
}

impl Model for Single {
    type State = State;
    type Action = Happens;

    fn init_states(&self) -> Vec<State> {
        let mut state = State {
            world: World::running(),
            hecate: Arc::new(Hecate::new(0)),
            fates: BTreeMap::new(),
            stuck: None,
            left: self.budget,
            wish_number: 0,
            is_carried_out: false,
            broken: None,
        };
        // Until nothing changes any more: a cluster that has been running for a while.
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
        let world = &state.world;
        if !world.mains {
            actions.push(Happens::MainsBack);
        } else if state.left.outages > 0 {
            actions.push(Happens::MainsLost);
        }
        if !world.own_on && world.mains {
            actions.push(Happens::OwnSwitchedOn);
        }
        if state.left.wishes > 0 && world.own_on {
            let states = [ClusterState::Running, ClusterState::DrainedOff, ClusterState::Poweroff];
            let others = states.into_iter().filter(|one| *one != state.hecate.desk.declared.spec.state);
            actions.extend(others.map(Happens::Wish));
        }
        recoveries(state, actions);
        if state.left.faults > 0 {
            faults(state, actions);
        }
    }

    fn next_state(&self, last: &State, action: Happens) -> Option<State> {
        if action == Happens::Tick {
            return Some(self.tick(last));
        }
        let mut state = last.clone();
        self.happen(&mut state, action);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties()
    }
}

/// What was broken is well again.
fn recoveries(state: &State, actions: &mut Vec<Happens>) {
    let world = &state.world;
    actions.extend((0..NODES).filter(|node| !world.hosts[*node].heard).map(Happens::HostHeard));
    if world.ups != Mood::Honest {
        actions.push(Happens::Ups(Mood::Honest));
    }
    if world.api_gone {
        actions.push(Happens::ApiBack);
    }
    if !state.hecate.disk_works {
        actions.push(Happens::DiskWorks);
    }
}

fn faults(state: &State, actions: &mut Vec<Happens>) {
    let world = &state.world;
    for node in 0..NODES {
        let host = &world.hosts[node];
        if host.heard {
            actions.push(Happens::HostSilent(node));
        }
        if host.power == Power::Off && world.level > 0 {
            actions.push(Happens::HostSwitchedOn(node));
        }
        if host.cordon == Cordon::No && world.is_served() {
            actions.push(Happens::ForeignCordon(node));
        }
    }
    if world.ups == Mood::Honest {
        actions.extend([Mood::Silent, Mood::Stuck, Mood::Low].map(Happens::Ups));
    }
    if !world.api_gone {
        actions.push(Happens::ApiGone);
    }
    if !world.own_on {
        return;
    }
    actions.push(Happens::Killed);
    if state.stuck.is_none() {
        actions.push(Happens::EyesStuck);
    }
    if state.hecate.disk_works {
        actions.push(Happens::DiskFull);
    }
    for target in state.hecate.desk.memory.in_flight.keys().filter(|target| !state.fates.contains_key(target)) {
        let fates = [Fate::Lost, Fate::Hangs, Fate::Twice, Fate::Late];
        actions.extend(fates.map(|fate| Happens::Step(target.clone(), fate)));
    }
}

impl Single {
    /// A tick: steps have their effect, the world moves on, and hecate makes its passes where its host is on.
    fn tick(&self, last: &State) -> State {
        let mut state = last.clone();
        let mut hecate = Hecate::clone(&last.hecate);
        let world = &mut state.world;
        hecate.age();
        for node in world.move_power() {
            hecate.boot_node(node);
        }
        let ended = hecate.advance_steps(world, &last.fates);
        world.advance();
        let asked: Vec<Step>;
        if world.own_on {
            let mut snapshot = observe(world, last.stuck.as_ref());
            self.planted.see(&mut snapshot, &hecate);
            let spec = hecate.desk.declared.spec.clone();
            let passes = hecate.passes(&CONFIG, &snapshot, ended, self.planted);
            let truth = Truth { is_looked: last.stuck.is_none(), is_carried_out: last.is_carried_out, is_alone: true };
            let is_rewritten = hecate.desk.declared.spec != spec;
            state.broken = judge(world, &hecate, &passes, truth).or(is_rewritten.then_some(rules::WISH));
            asked = passes.into_iter().flat_map(|passed| passed.started).collect();
        } else {
            // By its own hand, and not because of an outage: then the wish was carried out.
            let goes_by_itself = |one: &hecate::tracker::InFlight| matches!(one.step, Step::PowerOffOwnHost { .. });
            let is_wish = hecate.desk.declared.overrides.is_empty() && world.level > 0;
            state.is_carried_out |= is_wish && hecate.desk.memory.in_flight.values().any(goes_by_itself);
            hecate.restart(&BTreeMap::new(), self.planted);
            asked = Vec::new();
        }
        world.note_asked(&asked);
        hecate.number_runs(world);
        hecate.seal();
        state.hecate = Arc::new(hecate);
        (state.fates, state.stuck) = (BTreeMap::new(), None);
        state
    }

    fn happen(&self, state: &mut State, action: Happens) {
        let world = &mut state.world;
        let costs_a_fault = match &action {
            Happens::Tick
            | Happens::MainsLost
            | Happens::MainsBack
            | Happens::HostHeard(_)
            | Happens::OwnSwitchedOn
            | Happens::ApiBack
            | Happens::DiskWorks
            | Happens::Wish(_) => false,
            Happens::Ups(mood) => *mood != Mood::Honest,
            Happens::HostSilent(_)
            | Happens::HostSwitchedOn(_)
            | Happens::ApiGone
            | Happens::EyesStuck
            | Happens::Killed
            | Happens::DiskFull
            | Happens::Step(..)
            | Happens::ForeignCordon(_) => true,
        };
        state.left.faults -= u8::from(costs_a_fault);
        match action {
            Happens::Tick => {}
            Happens::MainsLost => {
                state.left.outages -= 1;
                world.lose_mains();
            }
            Happens::MainsBack => {
                let was_empty = world.level == 0;
                world.regain_mains();
                if was_empty {
                    self.switch_own_on(state);
                }
            }
            Happens::Ups(mood) => world.ups = mood,
            Happens::HostSilent(node) => world.hosts[node].heard = false,
            Happens::HostHeard(node) => world.hosts[node].heard = true,
            Happens::HostSwitchedOn(node) => world.hosts[node].power = Power::Booting,
            Happens::OwnSwitchedOn => self.switch_own_on(state),
            Happens::ApiGone => world.api_gone = true,
            Happens::ApiBack => world.api_gone = false,
            Happens::EyesStuck => state.stuck = Some(*world),
            Happens::Killed => self.change(state, |hecate, fates| hecate.restart(fates, self.planted)),
            Happens::DiskFull => self.change(state, |hecate, _| hecate.disk_works = false),
            Happens::DiskWorks => self.change(state, |hecate, _| hecate.disk_works = true),
            Happens::Step(target, fate) => {
                state.fates.insert(target, fate);
            }
            Happens::Wish(wished) => {
                state.left.wishes -= 1;
                state.wish_number += 1;
                state.is_carried_out = false;
                let spec = wish(wished, state.wish_number);
                self.change(state, |hecate, _| hecate.desk.declared.spec = spec);
            }
            Happens::ForeignCordon(node) => world.hosts[node].cordon = Cordon::Foreign,
        }
    }

    fn switch_own_on(&self, state: &mut State) {
        (state.world.own_on, state.world.own_outage) = (true, !state.world.mains);
        self.change(state, |hecate, fates| {
            normal::boot_own(&mut hecate.desk.ledger);
            normal::boot_own(&mut hecate.disk.0);
            hecate.restart(fates, self.planted);
        });
    }

    fn change(&self, state: &mut State, change: impl FnOnce(&mut Hecate, &BTreeMap<Target, Fate>)) {
        let hecate = Arc::make_mut(&mut state.hecate);
        change(hecate, &state.fates);
        state.fates.retain(|target, _| hecate.desk.memory.in_flight.contains_key(target));
        hecate.number_runs(&mut state.world);
        hecate.seal();
    }
}

/// Nothing of this ever happens.
fn properties() -> Vec<Property<Single>> {
    macro_rules! never {
        ($($rule:ident),* $(,)?) => {
            vec![$(Property::always(rules::$rule, |_, state: &State| state.broken != Some(rules::$rule))),*]
        };
    }
    never![
        ON_BATTERY,
        BELOW_GATE,
        HEALTHY_MAINS,
        UNDRAINED,
        ENDED,
        QUORUM,
        WISH,
        FOREIGN,
        ONE_A_TARGET,
        OLD_OUTAGE,
        ONCE,
        LEDGER_FIRST,
        OWN_LAST,
        NAMED,
        CONVERGED,
    ]
}
impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n      {}", self.world, self.hecate)
    }
}

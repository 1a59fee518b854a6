//! What a seed draws for one outage: batteries, mains, hosts, pods, and steps that go wrong.
//!
//! Pure. The seed is the only source of chance; each subject has its own, so that a node more changes no battery.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use fastrand::Rng;

use super::pace::Paces;
use crate::config::Config;
use crate::model::{NodeName, UpsName};
use crate::simulate::Simulation;
use crate::simulate::event::Event;
use crate::simulate::script::Happening;
use crate::simulate::world::Pace;
use crate::simulate::world::acts::StepFault;
use crate::simulate::world::device::Device;
use crate::status::diff::spoken;

/// No outage begins in step with polls and leases: the cluster is quiet for up to so many seconds before.
const QUIET_MAX: u64 = 30;
/// A battery gives from 80 % of what it should, as an aged one does, to 110 %, as a lighter load makes it.
const CAPACITY: (f64, f64) = (0.8, 0.3);
/// So often one has aged further, down to half of what it should give, and its UPS does not know.
const AGED_PERCENT: u32 = 10;
/// So often a UPS is so big that it says next to nothing of its load.
const OVERSIZED_PERCENT: u32 = 15;
/// From an empty battery to a full one.
const RECHARGE_MINUTES: (u64, u64) = (60, 720);
/// Mains that outlast the batteries are away for up to so long more, in seconds.
const AWAY_MAX: u64 = 4 * 3600;
/// So often a battery is not full yet: an outage seldom comes alone.
const PARTLY_CHARGED_PERCENT: u32 = 25;
/// So often the mains are back before a full battery would end.
const SHORT_PERCENT: u32 = 30;
/// So often they return in between, and go again.
const RETURN_PERCENT: u32 = 15;
/// So often a host dies at about that time: a power supply, or a disk.
const DEAD_PERCENT: u32 = 10;
/// So many of a hundred hosts are slow: a scrub, a full disk, a stuck mount.
const SLOW_PERCENT: u32 = 5;
/// So often some step hangs or is lost: a connection that breaks, a daemon that does not answer.
const FAULTS_PERCENT: u32 = 15;
/// No node runs more of what must be drained.
const PODS_MAX: usize = 8;

/// What one outage is like.
#[derive(Clone, Debug)]
pub(super) struct Chance {
    quiet: Duration,
    batteries: BTreeMap<UpsName, Battery>,
    hosts: BTreeMap<NodeName, Pace>,
    pods: BTreeMap<NodeName, Vec<Duration>>,
    /// What happens, by seconds from the loss of mains, in the order of time.
    pub(super) events: Vec<Happening>,
    /// When mains are back for good; None: not before the batteries' end.
    pub(super) back_after: Option<Duration>,
    /// How long after that they are away then.
    pub(super) away: Duration,
    /// Hosts that die in this outage.
    pub(super) dead: BTreeSet<NodeName>,
}

#[derive(Clone, Copy, Debug)]
struct Battery {
    capacity: f64,
    share: f64,
    /// What it gives of what its UPS promises, percent.
    gives_percent: f64,
    /// What its UPS says of its load with everything running.
    load_percent: f64,
    recharge_minutes: u64,
}

impl Chance {
    /// Draws the outage of a seed.
    pub(super) fn draw(seed: u64, config: &Config, paces: &Paces, runtime: Duration) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut fork = || rng.fork();
        let (mut of_mains, mut of_batteries, mut of_hosts) = (fork(), fork(), fork());
        let (mut of_pods, mut of_faults) = (fork(), fork());
        let mut of_ages = fork();
        let mut battery = || {
            let drawn = runtime.as_secs_f64() * (CAPACITY.0 + CAPACITY.1 * of_batteries.f64());
            let aged = if chance(&mut of_ages, AGED_PERCENT) { 0.5 + of_ages.f64() * 0.3 } else { 1.0 };
            let is_partly = chance(&mut of_batteries, PARTLY_CHARGED_PERCENT);
            Battery {
                capacity: (drawn * aged).round(),
                share: if is_partly { 0.5 + of_batteries.f64() / 2.0 } else { 1.0 },
                gives_percent: (aged * 100.0).round(),
                load_percent: load(&mut of_ages),
                recharge_minutes: of_ages.u64(RECHARGE_MINUTES.0..RECHARGE_MINUTES.1),
            }
        };
        let batteries: BTreeMap<UpsName, Battery> = config.upses.keys().map(|name| (name.clone(), battery())).collect();
        let host = |name: &NodeName| (name.clone(), paces.host(&mut of_hosts, name));
        let hosts = config.nodes.keys().map(host).collect();
        let pods = config.nodes.keys().map(|name| (name.clone(), pods(&mut of_pods, paces, name))).collect();
        let quiet = Duration::from_secs(of_mains.u64(..QUIET_MAX));
        let (mut events, back_after) = mains(&mut of_mains, runtime.as_secs().max(1));
        let dead = trouble(&mut of_faults, config, runtime.as_secs().max(1), &mut events);
        events.sort_by_key(|it| it.at);
        let away = Duration::from_secs(of_mains.u64(60..AWAY_MAX));
        Self { quiet, batteries, hosts, pods, events, back_after, away, dead }
    }

    /// Makes the world such; gives for how long it is quiet before the outage.
    pub(super) fn apply(&self, simulation: &mut Simulation) -> Duration {
        let world = &mut simulation.world;
        for (name, drawn) in &self.batteries {
            world.on_ups(Some(name), |battery| {
                (battery.capacity, battery.holds) = (drawn.capacity, drawn.capacity * drawn.share);
                battery.device = Device {
                    gives_percent: (drawn.gives_percent < 100.0).then_some(drawn.gives_percent),
                    load_percent: Some(drawn.load_percent),
                    recharge_minutes: Some(drawn.recharge_minutes),
                    ..battery.device.clone()
                };
            });
        }
        for (name, pace) in &self.hosts {
            world.on_host(name, |host| host.pace = Some(*pace));
        }
        for (name, pods) in &self.pods {
            for (number, stops_in) in pods.iter().enumerate() {
                world.add_pod(Some(name.clone()), &format!("app-{name}-{number}"), *stops_in);
                // A pod that takes longer than the usual grace has been given one that is as long.
                if let Some(pod) = world.pods.last_mut() {
                    pod.object.grace = pod.object.grace.max(*stops_in);
                    pod.stops_in = *stops_in;
                }
            }
        }
        self.quiet
    }
}

impl fmt::Display for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, battery) in &self.batteries {
            let held = spoken(Duration::from_secs_f64((battery.capacity * battery.share).round()));
            write!(f, "the battery of {name} holds {:.0} %, {held} at full load", battery.share * 100.0)?;
            if battery.gives_percent < 100.0 {
                write!(f, ", {:.0} % of what its UPS promises", battery.gives_percent)?;
            }
            write!(f, ", its UPS is loaded to {:.0} %; ", battery.load_percent)?;
        }
        let pods: usize = self.pods.values().map(Vec::len).sum();
        let slowest = self.pods.values().flatten().max().copied().unwrap_or_default();
        write!(f, "{pods} pods, the slowest ends in {}", spoken(slowest))
    }
}

fn chance(rng: &mut Rng, percent: u32) -> bool {
    rng.u32(..100) < percent
}

/// A UPS says 0 % where it is far too big for what it feeds.
fn load(rng: &mut Rng) -> f64 {
    f64::from(if chance(rng, OVERSIZED_PERCENT) { rng.u32(0..=5) } else { rng.u32(15..=90) })
}

/// The loss of mains, their returns, and when they are back for good.
fn mains(rng: &mut Rng, runtime: u64) -> (Vec<Happening>, Option<Duration>) {
    let lost = |at| Happening { at, event: Event::MainsLost { ups: None } };
    // The output of no UPS has ended, so nothing that was powered off boots with the mains.
    let back = |at| Happening { at, event: Event::MainsBack { ups: None, boots: false } };
    let mut events = vec![lost(0)];
    let mut began = 0;
    if chance(rng, RETURN_PERCENT) {
        let at = rng.u64(5..runtime.max(6));
        began = at + rng.u64(5..180);
        events.extend([back(at), lost(began)]);
    }
    let is_short = chance(rng, SHORT_PERCENT);
    let back_after = is_short.then(|| began + rng.u64(5..runtime.max(6)));
    (events, back_after.map(Duration::from_secs))
}

/// How long each pod of a node takes to end: most are quick, some use up their grace, few have a long one.
fn pods(rng: &mut Rng, paces: &Paces, node: &NodeName) -> Vec<Duration> {
    let count = rng.usize(1..=PODS_MAX);
    let time = |rng: &mut Rng| match rng.u32(..100) {
        0..70 => rng.u64(1..10),
        70..97 => rng.u64(10..=30),
        _ => rng.u64(30..120),
    };
    let mut pods: Vec<Duration> = (0..count).map(|_| Duration::from_secs(time(rng))).collect();
    if let Some(drain) = paces.draw(rng, "drain", node) {
        pods.iter_mut().for_each(|it| *it = (*it).min(drain));
        pods[0] = drain;
    }
    pods
}

/// Hosts that are slow or die, and steps that go wrong. Gives those that die.
fn trouble(rng: &mut Rng, config: &Config, runtime: u64, events: &mut Vec<Happening>) -> BTreeSet<NodeName> {
    let names: Vec<&NodeName> = config.nodes.keys().collect();
    for node in &names {
        let times = rng.u32(2..5);
        if chance(rng, SLOW_PERCENT) {
            events.push(Happening { at: 0, event: Event::HostSlow { node: (*node).clone(), times } });
        }
    }
    let (at, dead) = (rng.u64(..runtime), rng.choice(&names).map(|node| (*node).clone()));
    let dead: BTreeSet<NodeName> = dead.filter(|_| chance(rng, DEAD_PERCENT)).into_iter().collect();
    events.extend(dead.iter().map(|node| Happening { at, event: Event::HostDies { node: node.clone() } }));
    if chance(rng, FAULTS_PERCENT) {
        let all = [StepFault::Lost, StepFault::Hung, StepFault::Unanswered, StepFault::Failed];
        let faults = (0..rng.usize(1..4)).filter_map(|_| rng.choice(all)).collect();
        events.push(Happening { at: 0, event: Event::Steps { faults } });
    }
    dead
}

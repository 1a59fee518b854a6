//! Everything that can happen to the built-in world from outside: power, hosts, wires, disks, clocks and people.
//!
//! Pure. An event is data: a scenario's file lists events, a seed draws them, a shrunk story prints them.

#![deny(clippy::disallowed_methods)]

mod told;

use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::Simulation;
use super::lag::LATE_MAX;
use super::story::StoryKind;
use super::world::World;
use super::world::acts::StepFault;
use super::world::around::{Clock, PeerHost};
use super::world::ups::{Battery, Lie};
use crate::desired::{Held, Hold, Options};
use crate::model::{ClusterState, FailureKind, Intent, IntentRecord, NodeName, PeerName, UpsName};

/// A host that takes longer than this for everything is down.
const SLOWNESS_MAX: u32 = 60;

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// The mains of a UPS (or of all) are lost.
    MainsLost {
        /// Which; None: all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ups: Option<UpsName>,
    },
    /// The mains of a UPS (or of all) are back.
    MainsBack {
        /// Which; None: all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ups: Option<UpsName>,
        /// Whether hosts that are off boot with them; they do not where the UPS' output never ended.
        #[serde(default = "yes")]
        boots: bool,
    },
    /// A battery holds so much.
    Battery {
        /// Which; None: all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ups: Option<UpsName>,
        /// Of its capacity.
        percent: f64,
    },
    /// A UPS says something else than the truth from now on; without `says` it is honest again, and answers.
    UpsSays {
        /// Which; None: all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ups: Option<UpsName>,
        /// What.
        #[serde(default, skip_serializing_if = "is_default")]
        says: Lie,
    },
    /// Somebody puts a new battery into a UPS, or a new UPS in its place.
    BatteryReplaced {
        /// Which.
        ups: UpsName,
    },
    /// A UPS' witness does not answer, though its mains are there.
    WitnessSilent {
        /// Whose.
        ups: UpsName,
    },
    /// It answers while its mains are there.
    WitnessWell {
        /// Whose.
        ups: UpsName,
    },
    /// A UPS does not answer.
    UpsSilent {
        /// Which; None: all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ups: Option<UpsName>,
        /// What upsd says instead, if it says anything.
        #[serde(default = "unreachable", skip_serializing_if = "is_unreachable")]
        how: FailureKind,
    },
    /// A host does not answer, though it is on.
    HostSilent {
        /// Which.
        node: NodeName,
    },
    /// A host answers nonsense.
    HostHangs {
        /// Which.
        node: NodeName,
    },
    /// A host's power-off never ends: it falls silent and stays on.
    PowerOffHangs {
        /// Which.
        node: NodeName,
    },
    /// A host answers, goes off when it is told to, and is as quick as usual.
    HostWell {
        /// Which.
        node: NodeName,
    },
    /// A host dies where it stands.
    HostDies {
        /// Which.
        node: NodeName,
    },
    /// A host does not hear the next wake-ups, though it is asked by its configured method.
    WakesLost {
        /// Which.
        node: NodeName,
        /// How many; None: all of them, as in a firmware that sleeps too deep.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<u32>,
    },
    /// Everything takes so many times as long on a host.
    HostSlow {
        /// Which.
        node: NodeName,
        /// How many times; 1 to 60.
        times: u32,
    },
    /// Somebody presses the power button of a node, or of every one that is off.
    ButtonPressed {
        /// Which; None: all that are off.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<NodeName>,
    },
    /// The etcd members elect another leader.
    LeaderMoves {
        /// Which; nothing comes of it where that member does not run.
        node: NodeName,
    },
    /// The hecate host boots anew by itself: a panic, a watchdog, an upgrade.
    OwnReboots,
    /// Somebody presses the power button of the hecate host.
    OwnButtonPressed,
    /// Somebody stops k3s on a node.
    UnitStopped {
        /// Which.
        node: NodeName,
    },
    /// Somebody starts k3s on a node.
    UnitStarted {
        /// Which.
        node: NodeName,
    },
    /// Somebody cordons a node.
    Cordoned {
        /// Which.
        node: NodeName,
    },
    /// Every pod takes so long to end.
    PodsStopIn {
        /// How long.
        seconds: u64,
    },
    /// Every pod is protected by a disruption budget that never allows anything.
    PodsProtected,
    /// Every pod has a volume that takes so long to be detached once the pod is gone.
    VolumesDetachIn {
        /// How long.
        seconds: u64,
    },
    /// Another host stands at a node's address.
    Impostor {
        /// Which node's.
        node: NodeName,
    },
    /// The right host stands at a node's address again.
    ImpostorGone {
        /// Which node's.
        node: NodeName,
    },
    /// What goes wrong with the next steps that hecate begins, in this order.
    Steps {
        /// One a step.
        faults: Vec<StepFault>,
    },
    /// No API server can be reached.
    ApiGone,
    /// They can be again.
    ApiBack,
    /// hecate sees everything so late; 0: as it is.
    ReadingsLate {
        /// How late.
        seconds: u64,
        /// Whether every other reading is not late.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        reordered: bool,
    },
    /// hecate is ended with SIGKILL, and started again after this time.
    HecateKilled {
        /// How long.
        #[serde(default)]
        away_seconds: u64,
    },
    /// The state disk takes no writes.
    DiskFull,
    /// It does again.
    DiskWorks,
    /// The ledger is overwritten with nonsense.
    LedgerSpoiled,
    /// The ledger is gone: lost, or a bad one was moved away.
    LedgerLost,
    /// `desired.yaml` is overwritten with nonsense.
    WishSpoiled,
    /// `desired.yaml` is gone.
    WishLost,
    /// A clock is wrong, or not synchronised.
    Clock {
        /// Whose; None: the hecate host's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<NodeName>,
        /// How far ahead of the truth.
        #[serde(default)]
        ahead_seconds: i64,
        /// What its host says of it.
        #[serde(default = "yes")]
        synced: bool,
    },
    /// Another hecate host says what it is about.
    PeerSays {
        /// Which.
        peer: PeerName,
        /// What.
        intent: Intent,
    },
    /// Another hecate host does not answer.
    PeerSilent {
        /// Which.
        peer: PeerName,
    },
    /// Somebody types `hecate set-desired`.
    Wish {
        /// What.
        state: ClusterState,
        /// With which flags.
        #[serde(default, skip_serializing_if = "Options::is_empty")]
        options: Options,
    },
    /// Somebody types `hecate pause`.
    Paused {
        /// A node; None: the cluster.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<NodeName>,
        /// For how long.
        minutes: u32,
    },
    /// Somebody types `hecate ups ignore`.
    UpsIgnored {
        /// Which.
        ups: UpsName,
        /// For how long.
        minutes: u32,
    },
}

fn yes() -> bool {
    true
}

fn unreachable() -> FailureKind {
    FailureKind::Unreachable
}

fn is_unreachable(kind: &FailureKind) -> bool {
    *kind == FailureKind::Unreachable
}

fn is_default(lie: &Lie) -> bool {
    *lie == Lie::default()
}

impl Event {
    /// Makes it happen. What names somebody who is not there happens to nobody.
    pub fn happen(&self, simulation: &mut Simulation) {
        let is_told_elsewhere = matches!(self, Event::HecateKilled { .. } | Event::Wish { .. });
        if !is_told_elsewhere {
            simulation.story.tell(simulation.world.time, StoryKind::World, self.to_string());
        }
        let world = &mut simulation.world;
        match self {
            Event::MainsLost { ups } => world.on_ups(ups.as_ref(), |battery| battery.mains = false),
            Event::MainsBack { ups, boots: false } => world.on_ups(ups.as_ref(), |battery| battery.mains = true),
            Event::MainsBack { ups, boots: true } => {
                let all: Vec<UpsName> = world.upses.keys().cloned().collect();
                ups.as_ref().map_or(all, |ups| vec![ups.clone()]).iter().for_each(|ups| world.mains_back(ups));
            }
            Event::Battery { ups, percent } => {
                let share = percent.clamp(0.0, 100.0) / 100.0;
                world.on_ups(ups.as_ref(), |battery| battery.holds = battery.capacity * share);
            }
            Event::UpsSays { ups, says } => {
                world.on_ups(ups.as_ref(), |battery| battery.answers = true);
                let all: Vec<UpsName> = world.upses.keys().cloned().collect();
                ups.as_ref().map_or(all, |ups| vec![ups.clone()]).iter().for_each(|ups| world.lie(ups, says.clone()));
            }
            Event::UpsSilent { ups, how } => {
                world.on_ups(ups.as_ref(), |battery| (battery.answers, battery.silence) = (false, *how));
            }
            Event::HostSilent { node } => world.on_host(node, |host| host.is_reachable = false),
            Event::HostHangs { node } => world.on_host(node, |host| host.is_confused = true),
            Event::PowerOffHangs { node } => world.on_host(node, |host| host.hangs = true),
            Event::BatteryReplaced { ups } => world.on_ups(Some(ups), Battery::replace),
            Event::WitnessSilent { ups } => _ = world.network.silent_witnesses.insert(ups.clone()),
            Event::WitnessWell { ups } => _ = world.network.silent_witnesses.remove(ups),
            Event::HostWell { node } => world.on_host(node, |host| {
                (host.is_reachable, host.is_confused, host.hangs, host.slowness) = (true, false, false, 1);
            }),
            Event::HostDies { node } => world.kill_host(node),
            Event::WakesLost { node, count } => world.on_host(node, |host| host.deaf_to = *count),
            Event::HostSlow { node, times } => {
                world.on_host(node, |host| host.slowness = (*times).clamp(1, SLOWNESS_MAX));
            }
            Event::ButtonPressed { node: Some(node) } => world.press_button(node),
            Event::ButtonPressed { node: None } => {
                let names: Vec<NodeName> = world.hosts.keys().cloned().collect();
                names.iter().for_each(|name| world.press_button(name));
            }
            Event::OwnButtonPressed => world.press_own_button(),
            Event::OwnReboots => world.reboot_own_host(),
            Event::LeaderMoves { node } => world.leader = Some(node.clone()),
            Event::UnitStopped { node } => world.set_unit(node, false),
            Event::UnitStarted { node } => world.set_unit(node, true),
            Event::Cordoned { node } => _ = world.objects.get_mut(node).map(|object| object.is_cordoned = true),
            Event::PodsStopIn { seconds } => {
                world.pods.iter_mut().for_each(|pod| pod.stops_in = Duration::from_secs(*seconds));
            }
            Event::PodsProtected => world.pods.iter_mut().for_each(|pod| pod.is_protected = true),
            Event::VolumesDetachIn { seconds } => {
                let takes = Some(Duration::from_secs(*seconds));
                world.pods.iter_mut().for_each(|pod| pod.detaches_in = takes);
            }
            Event::Impostor { node } => _ = world.around.impostors.insert(node.clone()),
            Event::ImpostorGone { node } => _ = world.around.impostors.remove(node),
            Event::Steps { faults } => world.acts.faults.extend(faults),
            Event::ApiGone => world.is_api_gone = true,
            Event::ApiBack => world.is_api_gone = false,
            Event::ReadingsLate { seconds, reordered } => {
                simulation.lag.late = Duration::from_secs(*seconds).min(LATE_MAX);
                simulation.lag.is_reordered = *reordered;
            }
            Event::HecateKilled { away_seconds } => simulation.kill_hecate(Duration::from_secs(*away_seconds)),
            Event::DiskFull => simulation.disk_works = false,
            Event::DiskWorks => simulation.disk_works = true,
            Event::LedgerSpoiled => simulation.disk.spoil_ledger(false),
            Event::LedgerLost => simulation.disk.spoil_ledger(true),
            Event::WishSpoiled => simulation.disk.spoil_wish(false),
            Event::WishLost => simulation.disk.spoil_wish(true),
            Event::Clock { node, ahead_seconds, synced } => {
                set_clock(world, node.as_ref(), Clock { is_synced: Some(*synced), ahead_seconds: *ahead_seconds });
            }
            Event::PeerSays { peer, intent } => hear(world, peer, *intent),
            Event::PeerSilent { peer } => _ = world.around.peers.get_mut(peer).map(|peer| peer.answers = false),
            Event::Wish { state, options } => simulation.set_wish(*state, options.clone()),
            Event::Paused { node, minutes } => {
                hold(simulation, node.clone().map_or(Held::Cluster, Held::Node), *minutes);
            }
            Event::UpsIgnored { ups, minutes } => hold(simulation, Held::Ups(ups.clone()), *minutes),
        }
    }
}

fn set_clock(world: &mut World, node: Option<&NodeName>, clock: Clock) {
    match node {
        Some(node) => _ = world.around.clocks.insert(node.clone(), clock),
        None => world.around.own_clock = clock,
    }
}

fn hear(world: &mut World, peer: &PeerName, state: Intent) {
    let clock = world.around.peers.get(peer).map(|peer| peer.clock).unwrap_or_default();
    let (by, reason) = (format!("hecate@{peer}"), String::new());
    let is_clock_synced = clock.is_synced == Some(true);
    let intent = IntentRecord { state, since: world.wall(clock), by, reason, is_clock_synced };
    world.around.peers.insert(peer.clone(), PeerHost { answers: true, intent: Some(intent), clock });
}

/// A person's hold is dated by the hecate host's own clock, as `hecate pause` does it.
fn hold(simulation: &mut Simulation, what: Held, minutes: u32) {
    let set_at = simulation.now().wall;
    let expires_at = set_at.checked_add(SignedDuration::from_mins(i64::from(minutes))).unwrap_or(set_at);
    let (set_by, reason) = ("root@simulated".to_owned(), String::new());
    simulation.desk.declared.holds.retain(|hold| hold.what != what);
    simulation.desk.declared.holds.push(Hold { what, reason, set_by, set_at, expires_at });
}

//! The few facts that the world cannot tell and that must survive a crash.
//!
//! Pure. Everything else is observed anew. A ledger from a newer version, or a corrupt one, is never replaced by a
//! guess; see `store.rs`.

#![deny(clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{
    BootId, ClusterState, IntentRecord, MachineId, NodeName, Path, PeerName, RunId, Stamp, UpsName, seconds,
    seconds_option,
};
use crate::snapshot::DeviceId;

/// The content of `ledger.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ledger {
    /// Format version; [`Ledger::VERSION`].
    pub version: u32,
    /// The episode that is going on or that ended last.
    pub episode: Option<Episode>,
    /// The last wish that was carried out to its end.
    pub fulfilled: Option<Wish>,
    /// The boot of the hecate host in which it was: a declared power-off is history after the next one.
    #[serde(default)]
    pub fulfilled_in: Option<BootId>,
    /// Since when each UPS has been on battery, as far as hecate saw.
    #[serde(default)]
    pub on_battery_since: BTreeMap<UpsName, Stamp>,
    /// Hosts that hecate told to power off and that have not come back since.
    #[serde(default)]
    pub powered_off: BTreeMap<NodeName, PoweredOff>,
    /// The hecate host's own power-off.
    pub own_power_off: Option<OwnPowerOff>,
    /// Nodes whose host was up when a descent began, until the next bring-up has converged.
    #[serde(default)]
    pub was_up: BTreeSet<NodeName>,
    /// Nodes that were seen empty when a descent had drained them, until their k3s runs again: what containers are left there
    /// are nobody's workload.
    #[serde(default)]
    pub drained: BTreeSet<NodeName>,
    /// UPSes that were told to cut their load, until a host that they feed has come back or a bring-up has converged.
    #[serde(default)]
    pub load_cuts: BTreeMap<UpsName, LoadCut>,
    /// Machine ids learned while SSH and the API agreed.
    #[serde(default)]
    pub machine_ids: BTreeMap<NodeName, MachineId>,
    /// The last word of each other hecate host: it counts on when that host no longer answers.
    #[serde(default)]
    pub peers: BTreeMap<PeerName, PeerWord>,
    /// `ups.load` (percent) while the cluster was running, for scaling a dark cluster's runtime.
    #[serde(default)]
    pub full_load_percent: BTreeMap<UpsName, f64>,
    /// What is known of each UPS' battery.
    #[serde(default)]
    pub devices: BTreeMap<UpsName, Device>,
    /// Since when each UPS whose override stands has said nothing.
    #[serde(default)]
    pub silent_since: BTreeMap<UpsName, Stamp>,
    /// The boot in which each host was last seen while the UPS of a standing override spoke: who is in another one by now
    /// has come back since.
    #[serde(default)]
    pub boots: BTreeMap<NodeName, BootId>,
    /// The latest descents that an override began, oldest first; at most [`Ledger::DESCENTS_MAX`].
    #[serde(default)]
    pub descents: Vec<Stamp>,
    /// The wish whose flags an override has ended.
    #[serde(default)]
    pub spent_options: Option<Wish>,
}

impl Ledger {
    /// The version this program writes.
    pub const VERSION: u32 = 1;

    /// More descents than these double no time any more.
    pub const DESCENTS_MAX: usize = 8;

    /// Records that a wish was carried out, with the boot in which it was first.
    pub fn fulfil(&mut self, wish: &Wish, boot_id: &BootId) {
        if self.fulfilled.as_ref() != Some(wish) {
            self.fulfilled = Some(wish.clone());
            self.fulfilled_in = Some(boot_id.clone());
        }
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            version: Self::VERSION,
            episode: None,
            fulfilled: None,
            fulfilled_in: None,
            on_battery_since: BTreeMap::new(),
            powered_off: BTreeMap::new(),
            own_power_off: None,
            was_up: BTreeSet::new(),
            drained: BTreeSet::new(),
            load_cuts: BTreeMap::new(),
            machine_ids: BTreeMap::new(),
            peers: BTreeMap::new(),
            full_load_percent: BTreeMap::new(),
            devices: BTreeMap::new(),
            silent_since: BTreeMap::new(),
            boots: BTreeMap::new(),
            descents: Vec::new(),
            spent_options: None,
        }
    }
}

/// What is known of one UPS' battery.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Device {
    /// Which device it is: with another one everything else here is void.
    pub id: DeviceId,
    /// What it says when it is calm, full, and the whole cluster runs.
    pub calm: Option<Calm>,
    /// The calm that is being watched, until there is a day of it.
    pub watch: Option<CalmWatch>,
    /// What it was seen to give.
    pub proven: Option<Proven>,
    /// What it holds by hecate's own count; None: no outage of it is known, or it is full again.
    pub count: Option<OwnCount>,
    /// From empty to full, as it was seen.
    #[serde(with = "seconds_option")]
    #[schemars(with = "Option<f64>")]
    pub recharge: Option<Duration>,
    /// The discharge that goes on, in the boot of the hecate host that sees it.
    pub discharge: Option<Discharge>,
}

/// What a UPS says when it is calm, full, and the whole cluster runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Calm {
    /// `battery.runtime`; None where it says none that can be one.
    #[serde(with = "seconds_option")]
    #[schemars(with = "Option<f64>")]
    pub runtime: Option<Duration>,
    /// `battery.charge`, percent: how full this battery gets.
    pub charge: Option<f64>,
    /// `ups.load`, percent.
    pub load: Option<f64>,
    /// When it was learned.
    pub at: Stamp,
    /// Since when a longer runtime is said; it counts after a week.
    #[serde(default)]
    pub longer_since: Option<Stamp>,
}

/// A calm that is being watched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CalmWatch {
    /// Since when it is calm.
    pub since: Stamp,
    /// When that was last written down; what is not heard of for longer than between two of these is no calm.
    pub heard: Stamp,
    /// What was said once an hour, the latest last; at most a day of it.
    pub said: Vec<Said>,
}

/// What a UPS said at one time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Said {
    /// `battery.runtime`.
    #[serde(with = "seconds_option")]
    #[schemars(with = "Option<f64>")]
    pub runtime: Option<Duration>,
    /// `battery.charge`, percent.
    pub charge: Option<f64>,
    /// `ups.load`, percent.
    pub load: Option<f64>,
}

/// What a battery was seen to give.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Proven {
    /// From the loss of the mains to the UPS' own last warning, or to the end; where the fall of the charge is the proof, without
    /// the sag of the first minute.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub lasted: Duration,
    /// The mean `ups.load` meanwhile, percent.
    pub load: Option<f64>,
    /// By how many points the charge fell; None where it was empty in the end.
    pub fall_percent: Option<f64>,
    /// `battery.charge` when its output ended, where that was not 0: less than that is never given.
    #[serde(default)]
    pub ended_at: Option<f64>,
    /// Whether LB stood on line already when that began: such an LB is contradicted by it.
    #[serde(default)]
    pub in_spite_of_lb: bool,
    /// The same of RB.
    #[serde(default)]
    pub in_spite_of_rb: bool,
    /// When.
    pub at: Stamp,
}

/// A discharge that goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Discharge {
    /// Since when.
    pub began: Stamp,
    /// `battery.charge` then.
    pub charge: Option<f64>,
    /// The mean `ups.load` since then.
    pub load: Option<f64>,
    /// When it was last seen, written down every minute.
    pub seen: Stamp,
    /// `battery.charge` then.
    pub seen_charge: Option<f64>,
    /// Whether a descent shed an unknown part of the load since it was last seen: then the time since proves nothing.
    #[serde(default)]
    pub is_shed: bool,
    /// When the sag of its first minute was over, counted from the loss of the mains, and `battery.charge` then.
    #[serde(default)]
    pub settled: Option<Settled>,
    /// Whether LB stood on line already when it began.
    #[serde(default)]
    pub in_spite_of_lb: bool,
    /// The same of RB.
    #[serde(default)]
    pub in_spite_of_rb: bool,
    /// When the UPS gave its own last warning, counted from the loss of the mains.
    #[serde(default, with = "seconds_option")]
    #[schemars(with = "Option<f64>")]
    pub warned: Option<Duration>,
}

/// Where a discharge goes on from once the sag of its first minute is over.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settled {
    /// From the loss of the mains.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub after: Duration,
    /// `battery.charge` then.
    pub charge: f64,
}

/// What a battery holds by hecate's own count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OwnCount {
    /// What it held when the outage ended, percent; 0 where hecate did not see the end.
    pub percent: f64,
    /// Since when it is charged; None: the outage goes on.
    pub since: Option<Stamp>,
    /// Whether hecate saw the outage end, and measured what it left.
    pub is_seen: bool,
    /// Until when mains were heard to be there, now and then; in another boot nothing after that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<Stamp>,
}

/// From a trigger until converged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Episode {
    /// Its run's id.
    pub run: RunId,
    /// What makes it this episode and no other.
    pub key: EpisodeKey,
    /// When it began.
    pub began: Stamp,
    /// Why it began, for people.
    pub trigger: String,
    /// Phases that began, with when; a phase that was passed is not asked for again within the episode.
    #[serde(default)]
    pub phases: BTreeMap<Phase, Stamp>,
    /// When it converged; the episode is over then.
    pub converged: Option<Stamp>,
    /// Whether any step of it was ever started: an episode that found everything as desired teaches nothing.
    #[serde(default)]
    pub acted: bool,
    /// Whether volumes were seen detached while the API could still be asked.
    #[serde(default)]
    pub volumes_detached: bool,
    /// Whether an etcd snapshot of its run was seen on a server, which may be out of reach by now.
    #[serde(default)]
    pub has_etcd_snapshot: bool,
    /// Nodes whose k3s was running when a descent began.
    #[serde(default)]
    pub was_up: BTreeSet<NodeName>,
}

/// What makes an episode: a boot of the hecate host, a changed wish, an override that came or went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EpisodeKey {
    /// The boot of the hecate host.
    pub boot_id: BootId,
    /// The operator's wish.
    pub wish: Wish,
    /// The state that is obeyed.
    pub state: ClusterState,
    /// Whether an override makes it so.
    pub is_override: bool,
    /// The nodes an override is about while the rest runs; empty: the whole cluster.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub nodes: BTreeSet<NodeName>,
}

/// The identity of an operator's wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Wish {
    /// The state asked for.
    pub state: ClusterState,
    /// When it was asked for.
    pub set_at: Timestamp,
}

/// The phases of a descent whose beginning must be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The descent began: API looked for, nodes cordoned.
    Cordon,
    /// Every node was cordoned; evictions began.
    Drain,
    /// The battery did not last for all of the drain: what still ran was given up by name.
    DrainShed,
    /// Every node was drained (or the limit passed); waiting for volumes.
    Detach,
    /// Volumes were detached (or the limit passed); the etcd snapshot is taken.
    EtcdSnapshot,
    /// Everything that needs the API is done; servers stop.
    StopServers,
    /// Every unit is stopped; hosts power off.
    PowerOff,
}

/// A host that was told to power off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoweredOff {
    /// When it was told.
    pub told: Stamp,
    /// The boot of that host that was told; another boot means it came back.
    pub boot_id: Option<BootId>,
    /// On which path.
    pub path: Path,
    /// For which episode; in another one it is told only when the order of that one says so.
    #[serde(default)]
    pub run: Option<RunId>,
    /// When it was last woken since: for a while nobody knows whether it is off.
    #[serde(default)]
    pub woken: Option<Stamp>,
    /// Whether it was heard to take the command: only then its UPS may be cut.
    #[serde(default)]
    pub accepted: bool,
    /// Whether it was told although nobody could see what it is: then it is never off enough for its UPS to be cut.
    #[serde(default)]
    pub is_blind: bool,
    /// Whether an override asked for it: only then its UPS may be cut to bring it back.
    #[serde(default)]
    pub by_override: bool,
}

/// What another hecate host said last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeerWord {
    /// Its `intent.json`; None where it had none.
    pub intent: Option<IntentRecord>,
    /// By how many seconds its clock was ahead of this host's then; None where that could not be said.
    #[serde(default)]
    pub ahead_seconds: Option<i64>,
    /// When it was first seen to say so, in the boot of the hecate host in which it was heard last.
    pub first_seen: Stamp,
}

/// The hecate host's own power-off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OwnPowerOff {
    /// When.
    pub told: Stamp,
    /// For which episode.
    pub run: RunId,
}

/// A UPS that was told to cut its load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LoadCut {
    /// When; another boot of a host that it feeds means that it did.
    pub told: Stamp,
    /// For which episode.
    pub run: RunId,
}

//! What stands around the built-in cluster: clocks, other hecate hosts, and machines that are not what they should be.
//!
//! Pure. Nothing here moves by itself; a story sets it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::World;
use crate::config::Config;
use crate::model::{BootId, FailureKind, IntentRecord, MachineId, NodeName, PeerName, Reading};
use crate::snapshot::{HostClock, PeerReading};

/// What stands around the cluster; by default nothing is odd.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Around {
    /// True time at the beginning of the world.
    pub began: Timestamp,
    /// The hecate host's own clock.
    pub own_clock: Clock,
    /// The clocks of nodes; those not in here are right.
    pub clocks: BTreeMap<NodeName, Clock>,
    /// Other hecate hosts; those not in here do not answer.
    pub peers: BTreeMap<PeerName, PeerHost>,
    /// Nodes at whose address another host stands. The API knows nothing of it.
    pub impostors: BTreeSet<NodeName>,
    /// Nodes whose host has another machine id than its own, as a cloned disk has.
    pub machine_ids: BTreeMap<NodeName, MachineId>,
    /// Nodes whose host has the unit of the other role.
    pub other_units: BTreeSet<NodeName>,
    /// Nodes of the API that no inventory knows.
    pub strangers: BTreeSet<NodeName>,
}

impl Around {
    /// Other hecate hosts as they are when nothing is odd: they answer, and want nothing.
    pub fn of(config: &Config) -> Self {
        let calm = PeerHost { answers: true, ..PeerHost::default() };
        let peers = config.coordination.peer_hosts.iter().map(|peer| (peer.name.clone(), calm.clone()));
        Self { peers: peers.collect(), ..Self::default() }
    }
}

/// A wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// What its host says of it; None: it cannot say.
    pub is_synced: Option<bool>,
    /// How far ahead of true time it is, in seconds.
    pub ahead_seconds: i64,
}

impl Default for Clock {
    fn default() -> Self {
        Self { is_synced: Some(true), ahead_seconds: 0 }
    }
}

/// Another hecate host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PeerHost {
    /// Whether it answers.
    pub answers: bool,
    /// Its `intent.json`.
    pub intent: Option<IntentRecord>,
    /// Its clock.
    pub clock: Clock,
}

impl World {
    /// What a clock shows.
    pub fn wall(&self, clock: Clock) -> Timestamp {
        let elapsed = SignedDuration::try_from(self.time).unwrap_or(SignedDuration::ZERO);
        self.around.began + elapsed + SignedDuration::from_secs(clock.ahead_seconds)
    }

    pub(super) fn host_clock(&self, name: &NodeName) -> Clock {
        self.around.clocks.get(name).copied().unwrap_or_default()
    }

    pub(super) fn observe_clock(&self, name: &NodeName) -> HostClock {
        let clock = self.host_clock(name);
        HostClock { wall: self.wall(clock), ahead_seconds: clock.ahead_seconds - self.around.own_clock.ahead_seconds }
    }

    fn compare(&self, clock: Clock) -> HostClock {
        let ahead_seconds = clock.ahead_seconds - self.around.own_clock.ahead_seconds;
        HostClock { wall: self.wall(clock), ahead_seconds }
    }

    /// The machine id of who answers at a node's address.
    pub(super) fn answering_machine_id(&self, name: &NodeName) -> MachineId {
        if self.around.impostors.contains(name) { MachineId::new(format!("not-{name}")) } else { self.machine_id(name) }
    }

    /// The boot id of who answers at a node's address.
    pub(super) fn answering_boot_id(&self, name: &NodeName) -> Option<BootId> {
        let boot_id = self.hosts.get(name)?.boot_id(name);
        Some(if self.around.impostors.contains(name) { BootId::new(format!("not-{boot_id}")) } else { boot_id })
    }

    pub(super) fn machine_id(&self, name: &NodeName) -> MachineId {
        self.around.machine_ids.get(name).cloned().unwrap_or_else(|| MachineId::new(format!("machine-{name}")))
    }

    pub(super) fn observe_peer(&self, name: &PeerName) -> Reading<PeerReading> {
        match self.around.peers.get(name).filter(|peer| peer.answers) {
            Some(peer) => {
                let clock = Some(self.compare(peer.clock));
                Reading::known(PeerReading { intent: peer.intent.clone(), clock }, self.time)
            }
            None => Reading::unknown(FailureKind::TimedOut, "connection timed out", self.time),
        }
    }
}

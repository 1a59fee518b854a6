//! Whether inventory, hosts and the API speak of the same machines.
//!
//! Pure. It names what does not fit and touches none of it.

#![deny(clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};

use super::blocker::{Blocker, Warning};
use super::scene::{Draft, Scene};
use crate::config::Config;
use crate::ledger::Ledger;
use crate::model::{MachineId, NodeName, Now, Reading, Unit};
use crate::snapshot::{HostReading, Snapshot, UnitState};

/// Nodes that show one machine id, by each of their names.
pub type Twins = BTreeMap<NodeName, BTreeSet<NodeName>>;

/// What is fresh of each host that is the right one.
pub type RightHosts<'a> = BTreeMap<&'a NodeName, &'a HostReading>;

/// Finds the managed nodes that answer with the same machine id. One whose enrolled or learned id is another one is
/// simply the wrong host, and nobody's twin.
pub fn twins(config: &Config, snapshot: &Snapshot, ledger: &Ledger, now: &Now) -> Twins {
    let mut by_id: BTreeMap<&MachineId, BTreeSet<NodeName>> = BTreeMap::new();
    for (name, _) in config.managed() {
        let reading = snapshot.hosts.get(name).and_then(|reading| reading.fresh(now, config.reconcile.host_max_age));
        let Some(host) = reading else { continue };
        if ledger.machine_ids.get(name).is_none_or(|id| *id == host.machine_id) {
            by_id.entry(&host.machine_id).or_default().insert(name.clone());
        }
    }
    let several = by_id.into_values().filter(|nodes| nodes.len() > 1);
    several.flat_map(|nodes| nodes.clone().into_iter().map(move |name| (name, nodes.clone()))).collect()
}

/// The fresh readings of the right hosts. Of several nodes that answer with one machine id none is the right one; but a
/// descent goes by what was enrolled or learned, as cloned disks are no reason to leave a host to an empty battery.
pub fn right_hosts<'a>(
    config: &Config,
    snapshot: &'a Snapshot,
    ledger: &Ledger,
    twins: &Twins,
    is_descent: bool,
    now: &Now,
) -> RightHosts<'a> {
    let right = |(name, reading): (&'a NodeName, &'a Reading<HostReading>)| {
        let host = reading.fresh(now, config.reconcile.host_max_age)?;
        let vouched = ledger.machine_ids.get(name);
        let is_right = vouched.is_none_or(|id| *id == host.machine_id);
        let is_doubtful = twins.contains_key(name) && !(is_descent && vouched.is_some());
        (is_right && !is_doubtful).then_some((name, host))
    };
    snapshot.hosts.iter().filter_map(right).collect()
}

/// Names the nodes that answer with one machine id, once for all of them; says whether `name` is one of them.
pub(super) fn same_host_twice(scene: &Scene<'_>, draft: &mut Draft, name: &NodeName) -> bool {
    let Some(nodes) = scene.twins.get(name) else { return false };
    let machine_id = scene.snapshot.hosts.get(name).and_then(|reading| reading.value()).map(|host| &host.machine_id);
    if let Some(machine_id) = machine_id {
        let blocker = Blocker::SameHostTwice { nodes: nodes.clone(), machine_id: machine_id.clone() };
        if !draft.blockers.contains(&blocker) {
            draft.blockers.push(blocker);
        }
    }
    true
}

/// The unit of the other role, where a host has that one instead of its own, or runs it.
pub(super) fn role_mismatch(scene: &Scene<'_>, name: &NodeName) -> Option<Blocker> {
    let role = scene.config.nodes.get(name)?.role;
    let host = scene.host(name)?;
    let found = match role.unit() {
        Unit::K3s => Unit::K3sAgent,
        Unit::K3sAgent => Unit::K3s,
    };
    let (own, other) = (host.unit(role.unit()), host.unit(found));
    let own_is_alive = matches!(own, UnitState::Running | UnitState::Starting | UnitState::Stopping);
    let is_mismatch = match other {
        UnitState::NotFound => false,
        UnitState::Stopped => own == UnitState::NotFound,
        UnitState::Running | UnitState::Starting | UnitState::Stopping => !own_is_alive,
    };
    is_mismatch.then(|| Blocker::RoleMismatch { node: name.clone(), role, found })
}

/// Names the nodes of the API that the inventory does not know.
pub(super) fn strangers(scene: &Scene<'_>, draft: &mut Draft) {
    for name in scene.objects().into_iter().flat_map(BTreeMap::keys) {
        if !scene.config.nodes.contains_key(name) {
            draft.warnings.push(Warning::NodeNotInInventory { node: name.clone() });
        }
    }
}

//! What observers would see of the world, and how a lying UPS shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hecate::model::{BootId, FailureKind, Reading, Uid};
use hecate::snapshot::{
    ApiServer, ApiSnapshot, AttachmentObject, Datastore, EtcdMember, HostReading, NodeObject, PodKind, PodObject,
    Snapshot, UnitState, UpsReading, UpsStatus,
};

use super::cluster::{EARLIER_BOOT, FULL, NAMES, NODES, NOW, THIS_BOOT, TICK, WORKER, machine_id, ups};
use super::normal::run_name;
use super::world::{Cordon, K3s, Mood, Saved, World};

/// What observers see. Hosts and API are looked at now, or were one tick ago where the world of then is given: the eyes
/// were stuck meanwhile.
pub(crate) fn observe(world: &World, stuck: Option<&World>) -> Snapshot {
    let (seen, began) = stuck.map_or((world, NOW.boottime), |old| (old, NOW.boottime - TICK));
    Snapshot {
        witnesses: BTreeMap::new(),
        upses: BTreeMap::from([(ups(), observe_ups(world))]),
        hosts: (0..NODES).map(|node| (NAMES[node].clone(), observe_host(seen, node, began))).collect(),
        api: observe_api(seen, began),
        peers: BTreeMap::new(),
        load_cuts: BTreeMap::new(),
    }
}

/// Whether the UPS says in this tick that it is on battery; None where it says nothing.
pub(crate) fn says_on_battery(world: &World) -> Option<bool> {
    (world.ups != Mood::Silent).then_some(!world.mains)
}

fn observe_ups(world: &World) -> Reading<UpsReading> {
    let level = match world.ups {
        Mood::Silent => return Reading::unknown(FailureKind::TimedOut, "", NOW.boottime),
        Mood::Stuck => FULL,
        Mood::Honest | Mood::Low => world.level,
    };
    let mut text = if world.mains { "OL" } else { "OB" }.to_owned();
    if level <= 1 || world.ups == Mood::Low {
        text.push_str(" LB");
    }
    let reading = UpsReading {
        status: UpsStatus::parse(&text),
        charge_percent: Some((f64::from(level) / f64::from(FULL) * 100.0).round()),
        runtime: Some(TICK * u32::from(level)),
        load_percent: Some(100.0),
        driver_interval: Some(Duration::from_secs(2)),
        ..UpsReading::default()
    };
    Reading::known(reading, NOW.boottime)
}

fn boot_id(is_this: bool) -> BootId {
    BootId::from(if is_this { THIS_BOOT } else { EARLIER_BOOT })
}

fn observe_host(world: &World, node: usize, began: Duration) -> Reading<HostReading> {
    if !world.is_up(node) {
        return Reading::unknown(FailureKind::TimedOut, "", began);
    }
    let host = &world.hosts[node];
    let unit = match host.k3s {
        K3s::Stopped => UnitState::Stopped,
        K3s::Starting => UnitState::Starting,
        K3s::Running => UnitState::Running,
    };
    let is_server = node != WORKER;
    let leader = (0..WORKER).find(|node| world.hosts[*node].k3s == K3s::Running);
    let runs_etcd = is_server && host.k3s == K3s::Running;
    let saved = match world.saved {
        Saved::Of(run) => BTreeSet::from([format!("hecate-{}", run_name(run))]),
        Saved::No => BTreeSet::new(),
    };
    let reading = HostReading {
        machine_id: machine_id(node),
        boot_id: boot_id(true),
        k3s: if is_server { unit } else { UnitState::NotFound },
        k3s_agent: if is_server { UnitState::NotFound } else { unit },
        containers: u32::from(host.containers),
        killall_allowed: true,
        datastore: is_server.then_some(Datastore::Etcd),
        etcd: runs_etcd.then(|| EtcdMember {
            is_healthy: world.has_quorum(),
            is_leader: world.has_quorum() && leader == Some(node),
        }),
        etcd_snapshots: is_server.then_some(saved),
        is_saving_etcd_snapshot: false,
        is_time_synced: Some(true),
        ntp_ahead_seconds: None,
        clock: None,
        up_for: None,
        stop_timeout: None,
    };
    Reading::known(reading, began)
}

fn observe_api(world: &World, began: Duration) -> ApiSnapshot {
    let server = |node: usize| {
        let is_asked = world.is_up(node) && world.hosts[node].k3s == K3s::Running && !world.api_gone;
        if is_asked {
            let is_ready = world.has_quorum();
            Reading::known(ApiServer { is_ready, failed_checks: BTreeSet::new() }, began)
        } else {
            Reading::unknown(FailureKind::Unreachable, "", began)
        }
    };
    let servers = (0..WORKER).map(|node| (NAMES[node].clone(), server(node))).collect();
    if !world.is_served() {
        return ApiSnapshot {
            servers,
            nodes: Reading::unknown(FailureKind::Unreachable, "", began),
            pods: Reading::unknown(FailureKind::Unreachable, "", began),
            attachments: Reading::unknown(FailureKind::Unreachable, "", began),
        };
    }
    let loaded = (0..NODES).filter(|node| world.hosts[*node].workload);
    let attachments = (world.hosts[WORKER].workload).then(|| AttachmentObject {
        name: "volume".to_owned(),
        node: NAMES[WORKER].clone(),
        volume: None,
        is_attached: true,
        namespace: None,
    });
    ApiSnapshot {
        servers,
        nodes: Reading::known(
            Arc::new((0..NODES).map(|node| (NAMES[node].clone(), object(world, node))).collect()),
            began,
        ),
        pods: Reading::known(Arc::new(loaded.map(|node| (NAMES[node].clone(), vec![pod(node)])).collect()), began),
        attachments: Reading::known(Arc::new(attachments.into_iter().collect()), began),
    }
}

fn object(world: &World, node: usize) -> NodeObject {
    let host = &world.hosts[node];
    NodeObject {
        is_ready: true,
        lease_changed: Some(NOW.boottime - TICK * u32::from(host.lease_age)),
        lease_renewed: None,
        boot_id: Some(boot_id(host.is_registered)),
        machine_id: Some(machine_id(node)),
        is_cordoned: host.cordon != Cordon::No,
        cordoned_by: (host.cordon == Cordon::Hecate).then(|| run_name(0)),
    }
}

fn pod(node: usize) -> PodObject {
    PodObject {
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
        uid: Uid::new(format!("pod-{node}")),
        kind: PodKind::Controlled,
        is_finished: false,
        is_terminating: false,
        tolerates_unschedulable: false,
        grace: Duration::from_secs(1),
    }
}

//! A failing script made as small as it can be while it fails by the same rule: a story that a person can read.
//!
//! Pure.

#![deny(clippy::disallowed_methods)]

use std::collections::BTreeSet;

use serde_yaml::Value;

use super::script::{Cluster, Script};
use super::world::device::{ChargeManner, CutManner, Device};
use crate::snapshot::Datastore;

/// So many plays are spent on one story.
const PLAYS_MAX: usize = 400;

/// Shrinks a script as long as `fails` says that a smaller one still fails.
pub fn shrink(script: &Script, fails: impl Fn(&Script) -> bool) -> Script {
    let mut smallest = script.clone();
    let mut plays = 0;
    let mut is_smaller = true;
    while is_smaller && plays < PLAYS_MAX {
        is_smaller = false;
        for candidate in smaller(&smallest) {
            plays += 1;
            if plays > PLAYS_MAX {
                break;
            }
            if fails(&candidate) {
                (smallest, is_smaller) = (candidate, true);
                break;
            }
        }
    }
    smallest
}

/// Everything one step smaller, the boldest first.
fn smaller(script: &Script) -> Vec<Script> {
    let mut all = Vec::new();
    let count = script.events.len();
    let mut size = count / 2;
    while size > 0 {
        all.extend((0..count).step_by(size).map(|first| without_events(script, first, size)));
        size /= 2;
    }
    all.extend(fewer_nodes(script));
    let last = script.events.last().map_or(0, |it| it.at / 60 + 1);
    all.extend([script.minutes / 2, last].iter().filter(|it| (1..script.minutes).contains(*it)).map(|minutes| {
        let minutes = *minutes;
        Script { minutes, ..script.clone() }
    }));
    if script.cluster.pods > 0 {
        let mut bare = script.clone();
        bare.cluster.pods = 0;
        all.push(bare);
    }
    all.extend(plainer(script));
    let keys = script.cluster.config.keys().filter_map(Value::as_str);
    let policies = keys.filter(|key| !["nodes", "own_host", "upses"].contains(key));
    all.extend(policies.map(|key| {
        let mut plain = script.clone();
        plain.cluster.config.remove(key);
        plain
    }));
    all
}

/// Scripts with one thing less that is odd about the cluster.
fn plainer(script: &Script) -> Vec<Script> {
    let mut all = Vec::new();
    let mut push = |change: &dyn Fn(&mut Cluster)| {
        let mut plain = script.clone();
        change(&mut plain.cluster);
        if plain != *script {
            all.push(plain);
        }
    };
    push(&|cluster| cluster.devices.clear());
    push(&|cluster| cluster.switch = None);
    push(&|cluster| cluster.host_tail_seconds = 0);
    push(&|cluster| cluster.look_seconds = 0);
    push(&|cluster| cluster.calm_hours = 0);
    push(&|cluster| cluster.stop_timeout_seconds = 90);
    push(&|cluster| cluster.killall_denied.clear());
    push(&|cluster| cluster.chronyd = false);
    push(&|cluster| cluster.units_enabled = false);
    push(&|cluster| cluster.datastore = Datastore::Etcd);
    for name in script.cluster.devices.keys() {
        push(&|cluster| _ = cluster.devices.remove(name));
        let mut push = |change: &dyn Fn(&mut Device)| push(&|cluster| _ = cluster.devices.get_mut(name).map(change));
        push(&|device| device.profile = None);
        push(&|device| device.gives_percent = None);
        push(&|device| device.battery_minutes = None);
        push(&|device| device.recharge_minutes = None);
        push(&|device| device.load_percent = None);
        push(&|device| device.runtime = None);
        push(&|device| device.charge = ChargeManner::True);
        push(&|device| device.never_low = false);
        push(&|device| device.upsd_on = None);
        push(&|device| device.behind_switch = false);
        push(&|device| device.cut = CutManner::Silent);
    }
    all
}

fn without_events(script: &Script, first: usize, count: usize) -> Script {
    let mut less = script.clone();
    let end = (first + count).min(less.events.len());
    less.events.drain(first..end);
    less
}

/// Scripts with half of the nodes, and with each single one away.
fn fewer_nodes(script: &Script) -> Vec<Script> {
    let Some(Value::Sequence(nodes)) = script.cluster.config.get("nodes") else { return Vec::new() };
    let without = |gone: BTreeSet<usize>| {
        let left = nodes.iter().enumerate().filter(|(number, _)| !gone.contains(number));
        let mut less = script.clone();
        let left = Value::Sequence(left.map(|(_, node)| node.clone()).collect());
        less.cluster.config.insert(Value::from("nodes"), left);
        less
    };
    let halves = [(0..nodes.len() / 2).collect(), (nodes.len() / 2..nodes.len()).collect()];
    let single = (0..nodes.len().min(12)).rev().map(|number| BTreeSet::from([number]));
    if nodes.len() < 2 { Vec::new() } else { halves.into_iter().chain(single).map(without).collect() }
}

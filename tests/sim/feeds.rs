//! Clusters on more than one UPS: who is at risk, who goes dark, and who stays up.

use std::collections::BTreeSet;
use std::time::Duration;

use hecate::config::{Config, UpsPath};
use hecate::model::{ClusterState, NodeName, UpsName};
use hecate::simulate::Simulation;
use hecate::simulate::checks::check;
use hecate::simulate::world::World;
use hecate::snapshot::UnitState;

const MINUTE: Duration = Duration::from_secs(60);
/// The hecate host alone draws on a battery for much longer than the whole cluster does.
const TO_THE_LAST: Duration = Duration::from_secs(2 * 3600);

/// Three servers and two workers on two UPSes; `rest` is what the policy says besides.
fn text(feeds: [&str; 5], own: &str, rest: &str) -> String {
    let nodes = ["cp-1", "cp-2", "cp-3", "worker-1", "worker-2"];
    let mut text = format!("kubeconfig: /etc/hecate/kubeconfig\n{rest}\nown_host: {{feeds: {own}}}\n");
    text.push_str("upses:\n- {name: left, target: left@localhost}\n- {name: right, target: right@localhost}\nnodes:\n");
    for (name, feeds) in nodes.iter().zip(feeds) {
        let role = if name.starts_with("cp") { "control-plane" } else { "worker" };
        text.push_str(&format!("- {{name: {name}, role: {role}, {feeds}}}\n"));
    }
    text
}

fn running(text: &str) -> Simulation {
    let config = Config::parse(text).unwrap_or_else(|mistakes| panic!("{mistakes}\n{text}")).config;
    let world = World::running(&config, 20 * MINUTE, 4);
    let mut simulation = Simulation::new(config, world, "2026-01-01T00:00:00Z".parse().unwrap());
    assert!(simulation.run_until(10 * MINUTE, Simulation::is_converged));
    simulation
}

fn cut(simulation: &mut Simulation, ups: &str) {
    simulation.world.upses.get_mut(&UpsName::from(ups)).unwrap().mains = false;
}

/// A battery that is full again soon, as its UPS' configuration says, and mains that are back.
fn mains_back(simulation: &mut Simulation, ups: &str) {
    simulation.world.pace.recharge = 10 * MINUTE;
    simulation.config.upses.get_mut(&UpsName::from(ups)).unwrap().recharge = 10 * MINUTE;
    simulation.world.mains_back(&UpsName::from(ups));
}

fn told(simulation: &Simulation) -> String {
    simulation.story.lines.iter().map(|line| format!("{line}\n")).collect()
}

fn off(simulation: &Simulation) -> BTreeSet<&str> {
    simulation.world.hosts.iter().filter(|(_, host)| !host.is_on).map(|(name, _)| name.as_str()).collect()
}

/// Nodes on which k3s runs.
fn at_work(simulation: &Simulation) -> BTreeSet<&str> {
    let runs = simulation.world.hosts.iter().filter(|(_, host)| host.is_on && host.unit == UnitState::Running);
    runs.map(|(name, _)| name.as_str()).collect()
}

/// Plays on, every tick checked.
fn play(simulation: &mut Simulation, limit: Duration, is_reached: impl Fn(&Simulation) -> bool) -> bool {
    let end = simulation.world.time + limit;
    while simulation.world.time < end {
        simulation.tick();
        assert_eq!(check(simulation), vec![], "{}", told(simulation));
        if is_reached(simulation) {
            return true;
        }
    }
    false
}

const LEFT: &str = "feeds: [left]";
const RIGHT: &str = "feeds: [right]";
const BOTH: &str = "feeds: [left, right]";
const AFFECTED: &str = "ups_policy: {scope: affected}";

#[test]
fn a_node_with_two_feeds_lives_while_one_of_them_holds() {
    let mut simulation = running(&text([BOTH; 5], "[left, right]", ""));
    cut(&mut simulation, "left");
    play(&mut simulation, 40 * MINUTE, |_| false);
    assert_eq!(off(&simulation), BTreeSet::new(), "{}", told(&simulation));
    assert!(simulation.desk.declared.overrides.is_empty(), "{}", told(&simulation));
    cut(&mut simulation, "right");
    assert!(play(&mut simulation, 20 * MINUTE, |it| it.world.is_dark()), "{}", told(&simulation));
}

#[test]
fn a_node_that_needs_both_feeds_is_at_risk_with_the_first() {
    let needs_both = "feeds: [left, right], min_supplies: 2";
    let mut simulation = running(&text([needs_both, BOTH, BOTH, BOTH, BOTH], "[left, right]", AFFECTED));
    cut(&mut simulation, "left");
    assert!(play(&mut simulation, 20 * MINUTE, |it| off(it) == BTreeSet::from(["cp-1"])), "{}", told(&simulation));
}

#[test]
fn by_default_one_ups_takes_the_whole_cluster_down_and_only_what_it_feeds_goes_off() {
    let mut simulation = running(&text([LEFT, LEFT, LEFT, LEFT, RIGHT], "[left]", ""));
    cut(&mut simulation, "right");
    assert!(play(&mut simulation, 20 * MINUTE, |it| at_work(it).is_empty()), "{}", told(&simulation));
    play(&mut simulation, TO_THE_LAST, |_| false);
    assert_eq!(
        off(&simulation),
        BTreeSet::from(["worker-2"]),
        "who merely goes along stays on:\n{}",
        told(&simulation)
    );
    assert!(simulation.world.own_is_on, "its own UPS holds:\n{}", told(&simulation));
    assert_eq!(simulation.last.as_ref().unwrap().effective.state(), ClusterState::Poweroff);
    mains_back(&mut simulation, "right");
    let is_whole = |it: &Simulation| at_work(it).len() == 5 && it.is_converged();
    assert!(play(&mut simulation, 60 * MINUTE, is_whole), "{}", told(&simulation));
}

#[test]
fn who_merely_goes_along_is_powered_off_where_it_can_be_woken() {
    let can_be_woken = "feeds: [left], wake: {method: command, command: [/usr/local/bin/plug]}";
    let mut simulation = running(&text([LEFT, LEFT, LEFT, can_be_woken, RIGHT], "[left]", ""));
    cut(&mut simulation, "right");
    let gone = BTreeSet::from(["worker-1", "worker-2"]);
    assert!(play(&mut simulation, 20 * MINUTE, |it| off(it) == gone), "{}", told(&simulation));
    assert!(play(&mut simulation, 5 * MINUTE, |it| at_work(it).is_empty()), "{}", told(&simulation));
    play(&mut simulation, 20 * MINUTE, |_| false);
    assert_eq!(off(&simulation), gone, "{}", told(&simulation));
}

#[test]
fn only_the_affected_nodes_go_dark_and_come_back() {
    let mut simulation = running(&text([LEFT, LEFT, RIGHT, LEFT, RIGHT], "[left]", AFFECTED));
    simulation.config.shutdown.ups_path = UpsPath::Auto;
    cut(&mut simulation, "right");
    let gone = BTreeSet::from(["cp-3", "worker-2"]);
    assert!(play(&mut simulation, 20 * MINUTE, |it| off(it) == gone), "{}", told(&simulation));
    assert!(simulation.world.own_is_on && simulation.world.has_quorum());
    let effective = &simulation.last.as_ref().unwrap().effective;
    assert_eq!(effective.state(), ClusterState::Running);
    assert_eq!(effective.nodes().iter().map(NodeName::as_str).collect::<BTreeSet<_>>(), gone);
    assert!(play(&mut simulation, 5 * MINUTE, Simulation::is_converged), "{}", told(&simulation));
    let left = ["cp-1", "cp-2", "worker-1"].map(NodeName::from);
    assert!(left.iter().all(|node| !simulation.world.objects[node].is_cordoned), "the rest is left alone");
    assert!(simulation.world.pods.iter().all(|pod| pod.node.as_ref().is_some_and(|node| left.contains(node))));
    // While they are away the rest is looked after: its own UPS has its mains.
    simulation.world.hosts.get_mut(&left[2]).unwrap().unit = UnitState::Stopped;
    let is_back = |it: &Simulation| it.world.hosts[&left[2]].unit == UnitState::Running;
    assert!(play(&mut simulation, 5 * MINUTE, is_back), "{}", told(&simulation));
    mains_back(&mut simulation, "right");
    let is_whole = |it: &Simulation| off(it).is_empty() && it.is_converged() && it.desk.declared.overrides.is_empty();
    assert!(play(&mut simulation, 60 * MINUTE, is_whole), "{}", told(&simulation));
    assert!(simulation.world.objects.values().all(|object| !object.is_cordoned), "{}", told(&simulation));
}

#[test]
fn without_quorum_for_the_rest_the_whole_cluster_goes() {
    let mut simulation = running(&text([LEFT, RIGHT, RIGHT, LEFT, LEFT], "[left]", AFFECTED));
    cut(&mut simulation, "right");
    assert!(play(&mut simulation, 20 * MINUTE, |it| at_work(it).is_empty()), "{}", told(&simulation));
    play(&mut simulation, TO_THE_LAST, |_| false);
    let ended = BTreeSet::from(["cp-2", "cp-3"]);
    assert_eq!(off(&simulation), ended, "the others stay on, with k3s stopped:\n{}", told(&simulation));
    assert!(simulation.world.own_is_on && at_work(&simulation).is_empty(), "{}", told(&simulation));
}

#[test]
fn a_server_that_is_down_already_counts_against_the_quorum_of_the_rest() {
    let mut simulation = running(&text([LEFT, LEFT, RIGHT, LEFT, RIGHT], "[left]", AFFECTED));
    simulation.world.hosts.get_mut(&NodeName::from("cp-1")).unwrap().is_reachable = false;
    cut(&mut simulation, "right");
    play(&mut simulation, 18 * MINUTE, |it| it.desk.declared.overrides.iter().any(|one| one.nodes.is_empty()));
    assert!(simulation.desk.declared.overrides.iter().any(|one| one.nodes.is_empty()), "{}", told(&simulation));
}

#[test]
fn the_second_ups_widens_what_the_first_began() {
    let mut simulation = running(&text([LEFT, LEFT, RIGHT, LEFT, RIGHT], "[left]", AFFECTED));
    cut(&mut simulation, "right");
    assert!(play(&mut simulation, 20 * MINUTE, |it| !it.desk.declared.overrides.is_empty()));
    cut(&mut simulation, "left");
    assert!(play(&mut simulation, 20 * MINUTE, |it| it.world.is_dark()), "{}", told(&simulation));
    assert!(play(&mut simulation, TO_THE_LAST, |it| !it.world.own_is_on), "{}", told(&simulation));
    assert!(!simulation.world.own_was_cut(), "{}", told(&simulation));
}

#[test]
fn mains_back_in_the_middle_of_a_partial_drain_take_nothing_down() {
    let mut simulation = running(&text([LEFT, LEFT, RIGHT, LEFT, RIGHT], "[left]", AFFECTED));
    simulation.config.shutdown.ups_path = UpsPath::Auto;
    simulation.world.pods.iter_mut().for_each(|pod| pod.stops_in = 2 * MINUTE);
    cut(&mut simulation, "right");
    assert!(play(&mut simulation, 20 * MINUTE, |it| !it.desk.declared.overrides.is_empty()));
    play(&mut simulation, Duration::from_secs(5), |_| false);
    simulation.world.mains_back(&UpsName::from("right"));
    let is_whole = |it: &Simulation| it.is_converged() && it.desk.declared.overrides.is_empty();
    assert!(play(&mut simulation, 20 * MINUTE, is_whole), "{}", told(&simulation));
    assert_eq!(off(&simulation), BTreeSet::new());
    assert!(simulation.world.objects.values().all(|object| !object.is_cordoned), "{}", told(&simulation));
}

//! Rules that random trouble seldom meets: one each, as a cluster would feel its absence.

use std::time::Duration;

use hecate::config::Config;
use hecate::desired::Spec;
use hecate::model::{ClusterState, NodeName};
use hecate::plan::blocker::Blocker;
use hecate::simulate::Simulation;
use hecate::simulate::blueprint;
use hecate::simulate::story::StoryKind;
use hecate::simulate::world::World;
use hecate::simulate::world::acts::StepFault;
use hecate::snapshot::UnitState;

const MINUTE: Duration = Duration::from_secs(60);

/// A converged cluster of three servers and two workers.
fn converged(change: impl FnOnce(&mut Config)) -> Simulation {
    let mut config = blueprint::config(3, 2).expect("the blueprint is a cluster");
    change(&mut config);
    let world = World::running(&config, 20 * MINUTE, 4);
    let start = "2026-11-22T02:00:00Z".parse().expect("a timestamp");
    let mut simulation = Simulation::new(config, world, start);
    assert!(simulation.run_until(5 * MINUTE, Simulation::is_converged), "a running cluster converges");
    simulation
}

fn wish(simulation: &mut Simulation, state: ClusterState) {
    simulation.desk.declared.spec =
        Spec { state, set_at: simulation.now().wall, ..simulation.desk.declared.spec.clone() };
}

fn plays(simulation: &mut Simulation, time: Duration) {
    simulation.run_until(time, |_| false);
}

fn told(simulation: &Simulation) -> String {
    simulation.story.lines.iter().map(|line| format!("{line}\n")).collect()
}

fn count(simulation: &Simulation, text: &str) -> usize {
    simulation.story.lines.iter().filter(|line| line.kind == StoryKind::Start && line.text.starts_with(text)).count()
}

fn is_blocked(simulation: &Simulation, is_it: impl Fn(&Blocker) -> bool) -> bool {
    simulation.last.as_ref().is_some_and(|decision| decision.plan.blockers.iter().any(is_it))
}

fn is_drained_off(simulation: &mut Simulation) {
    wish(simulation, ClusterState::DrainedOff);
    plays(simulation, Duration::from_secs(2));
    assert!(simulation.run_until(15 * MINUTE, Simulation::is_converged), "{}", told(simulation));
}

#[test]
fn a_drain_that_does_not_end_holds_a_wish_by_name() {
    let mut simulation = converged(|config| config.shutdown.drain_timeout = 2 * MINUTE);
    simulation.world.pods.iter_mut().for_each(|pod| pod.stops_in = 120 * MINUTE);
    wish(&mut simulation, ClusterState::Poweroff);
    plays(&mut simulation, 30 * MINUTE);
    assert_eq!(count(&simulation, "power off"), 0, "{}", told(&simulation));
    assert!(is_blocked(&simulation, |it| matches!(it, Blocker::DrainStuck { .. })), "{}", told(&simulation));
}

#[test]
fn nothing_is_started_by_a_ledger_that_cannot_be_read() {
    let mut simulation = converged(|_| {});
    is_drained_off(&mut simulation);
    simulation.desk.ledger_problem = Some("its 3rd line is no JSON".to_owned());
    wish(&mut simulation, ClusterState::Running);
    plays(&mut simulation, 5 * MINUTE);
    assert_eq!(count(&simulation, "start"), 0, "{}", told(&simulation));
    assert!(is_blocked(&simulation, |it| matches!(it, Blocker::LedgerUnreadable { .. })));
}

#[test]
fn what_a_host_said_too_long_ago_stops_nothing_and_starts_nothing() {
    // A UPS that is as late as the hosts holds nobody for long.
    let mut simulation = converged(|config| {
        config.startup.ups_unknown_grace = Some(Duration::from_secs(10));
        config.reconcile.host_max_age = MINUTE;
    });
    is_drained_off(&mut simulation);
    // Answers are late by more than `reconcile.host_max_age_seconds`.
    simulation.lag.late = Duration::from_secs(115);
    plays(&mut simulation, 3 * MINUTE);
    wish(&mut simulation, ClusterState::Running);
    plays(&mut simulation, MINUTE);
    assert_eq!(count(&simulation, "start"), 0, "{}", told(&simulation));
}

#[test]
fn a_low_battery_on_line_stops_nothing() {
    let mut simulation = converged(|_| {});
    simulation.world.upses.values_mut().for_each(|battery| battery.lie.status = Some("OL LB".to_owned()));
    plays(&mut simulation, 10 * MINUTE);
    assert_eq!(count(&simulation, ""), 0, "{}", told(&simulation));
}

#[test]
fn a_step_that_failed_often_is_tried_until_it_works() {
    let mut simulation = converged(|_| {});
    let worker = NodeName::from("worker-1");
    simulation.world.hosts.get_mut(&worker).expect("it is there").unit = UnitState::Stopped;
    simulation.world.acts.faults.extend([StepFault::Failed; 8]);
    let is_up = |it: &Simulation| it.is_converged() && it.world.hosts[&worker].unit == UnitState::Running;
    assert!(simulation.run_until(30 * MINUTE, is_up), "{}", told(&simulation));
    assert_eq!(count(&simulation, "start k3s-agent on worker-1"), 9, "{}", told(&simulation));
}

#[test]
fn a_host_that_dies_as_the_battery_ends_costs_the_others_no_time() {
    let mut simulation = converged(|config| config.shutdown.unreachable_limit = 20 * MINUTE);
    simulation.world.upses.values_mut().for_each(|battery| battery.mains = false);
    assert!(simulation.run_until(20 * MINUTE, |it| !it.desk.declared.overrides.is_empty()), "{}", told(&simulation));
    let worker = NodeName::from("worker-1");
    simulation.world.hosts.get_mut(&worker).expect("it is there").is_reachable = false;
    assert!(simulation.run_until(20 * MINUTE, |it| !it.world.own_is_on), "{}", told(&simulation));
    assert!(!simulation.world.own_was_cut(), "{}", told(&simulation));
    let cut = simulation.world.hosts.iter().filter(|(name, host)| **name != worker && host.hard_cuts > 0).count();
    assert_eq!(cut, 0, "{}", told(&simulation));
}

#[test]
fn a_snapshot_that_a_restart_forgot_goes_on_where_it_is_whoever_leads_by_then() {
    let mut simulation = converged(|_| {});
    simulation.world.pace.etcd_snapshot = MINUTE;
    wish(&mut simulation, ClusterState::DrainedOff);
    let begun = |it: &Simulation| it.world.hosts.values().any(|host| host.is_saving());
    assert!(simulation.run_until(5 * MINUTE, begun), "{}", told(&simulation));
    simulation.restart_hecate();
    simulation.world.leader = Some(NodeName::new("cp-3"));
    assert!(simulation.run_until(10 * MINUTE, Simulation::is_converged), "{}", told(&simulation));
    let taken: usize = simulation.world.etcd_snapshots.values().map(std::collections::BTreeSet::len).sum();
    assert_eq!((taken, count(&simulation, "save etcd snapshot on cp-3")), (1, 0), "{}", told(&simulation));
}

//! Whole outages and wishes in the built-in world: the rules of both directions as a cluster would feel them.

use std::time::Duration;

use hecate::config::{Config, CoordinationRole, Drift, UpsPath};
use hecate::desired::{Held, Hold, Options, Spec};
use hecate::history::RunResult;
use hecate::ledger::PoweredOff;
use hecate::model::{ClusterState, NodeName, Path, RunId};
use hecate::plan::blocker::{Blocker, WaitReason, Warning};
use hecate::plan::step::Step;
use hecate::simulate::Simulation;
use hecate::simulate::blueprint;
use hecate::simulate::checks::{Watch, check};
use hecate::simulate::outage::{Outage, cluster, power_cut};
use hecate::simulate::story::StoryKind;
use hecate::simulate::world::World;
use hecate::snapshot::UnitState;

const MINUTE: Duration = Duration::from_secs(60);
/// The hecate host stays on for as long as its battery feeds it alone.
const TO_THE_LAST: Duration = Duration::from_secs(2 * 3600);

fn start_of_time() -> jiff::Timestamp {
    "2026-11-22T02:00:00Z".parse().expect("a timestamp")
}

/// A converged cluster of three servers and two workers.
fn converged(change: impl FnOnce(&mut Config)) -> Simulation {
    let mut config = blueprint::config(3, 2).expect("the blueprint is a cluster");
    config.reconcile.drift_grace = MINUTE;
    config.startup.ups_unknown_grace = Some(10 * MINUTE);
    change(&mut config);
    let world = World::running(&config, 20 * MINUTE, 6);
    let mut simulation = Simulation::new(config, world, start_of_time());
    assert!(simulation.run_until(5 * MINUTE, Simulation::is_converged), "a running cluster converges");
    simulation
}

fn wish(simulation: &mut Simulation, state: ClusterState) {
    wish_with(simulation, state, Options::default());
}

fn wish_with(simulation: &mut Simulation, state: ClusterState, options: Options) {
    simulation.desk.declared.spec = Spec {
        state,
        reason: "maintenance".to_owned(),
        set_by: "root@test".to_owned(),
        set_at: simulation.now().wall,
        options,
    };
}

/// Plays until the last pass found everything as desired for the wish, checking every tick.
fn converges(simulation: &mut Simulation, limit: Duration) {
    simulation.tick();
    let end = simulation.world.time + limit;
    while simulation.world.time < end {
        simulation.tick();
        assert_eq!(check(simulation), vec![], "{}", told(simulation));
        if simulation.is_converged() {
            return;
        }
    }
    panic!("did not converge:\n{}", told(simulation));
}

fn told(simulation: &Simulation) -> String {
    simulation.story.lines.iter().map(|line| format!("{line}\n")).collect()
}

fn cut_mains(simulation: &mut Simulation) {
    for battery in simulation.world.upses.values_mut() {
        battery.mains = false;
    }
}

fn mains_back(simulation: &mut Simulation) {
    let names: Vec<_> = simulation.world.upses.keys().cloned().collect();
    names.iter().for_each(|name| simulation.world.mains_back(name));
}

/// Batteries that are full again soon, as their UPSes' configuration says.
fn recharge_quickly(simulation: &mut Simulation) {
    simulation.world.pace.recharge = 10 * MINUTE;
    simulation.config.upses.values_mut().for_each(|ups| ups.recharge = 10 * MINUTE);
}

/// Everything runs as it is to run, whatever a pass calls converged.
fn runs(simulation: &Simulation) -> bool {
    let serves = |host: &hecate::simulate::world::Host| host.is_on && host.unit == UnitState::Running;
    simulation.world.own_is_on && simulation.is_converged() && simulation.world.hosts.values().all(serves)
}

fn count(simulation: &Simulation, text: &str) -> usize {
    simulation.story.lines.iter().filter(|line| line.kind == StoryKind::Start && line.text.starts_with(text)).count()
}

fn blockers(simulation: &Simulation) -> Vec<Blocker> {
    simulation.last.as_ref().map(|decision| decision.plan.blockers.clone()).unwrap_or_default()
}

/// A cluster that was drained off, lost its mains, and is to run again.
fn wished_up_on_battery() -> Simulation {
    let mut simulation = converged(|_| {});
    wish(&mut simulation, ClusterState::DrainedOff);
    converges(&mut simulation, 15 * MINUTE);
    cut_mains(&mut simulation);
    simulation.run_until(Duration::from_secs(10), |_| false);
    wish(&mut simulation, ClusterState::Running);
    simulation
}

fn node(name: &str) -> NodeName {
    NodeName::from(name)
}

#[test]
fn an_outage_ends_dark_in_time_and_running_again_without_a_hand() {
    for ups_path in [UpsPath::Emergency, UpsPath::Auto] {
        let mut config = cluster().expect("the built-in cluster is one");
        config.shutdown.ups_path = ups_path;
        let report = power_cut(&config, &Outage::default(), start_of_time());
        assert_eq!(report.findings, vec![], "{ups_path:?}");
        assert!(report.dark_after.is_some(), "{ups_path:?}: dark before the batteries end");
        assert!(report.running_after.is_some(), "{ups_path:?}: running again");
    }
}

/// Nothing goes on while mains stand: a tick may then be longer than an answer of a UPS counts.
#[test]
fn mains_stand_in_a_play_whose_answers_grow_old_soon() {
    let mut config = cluster().expect("the built-in cluster is one");
    (config.ups_policy.max_age, config.ups_policy.lost_on_battery) = (Duration::from_secs(5), Duration::from_secs(10));
    let report = power_cut(&config, &Outage::default(), start_of_time());
    assert!(report.running_after.is_some(), "{:?}", report.in_the_way);
}

#[test]
fn the_same_input_gives_the_same_story() {
    let play = || power_cut(&cluster().expect("the built-in cluster is one"), &Outage::default(), start_of_time());
    assert_eq!(play(), play());
}

#[test]
fn an_outage_shorter_than_the_battery_stops_nothing() {
    let mut simulation = converged(|_| {});
    cut_mains(&mut simulation);
    simulation.run_until(5 * MINUTE, |_| false);
    mains_back(&mut simulation);
    simulation.run_until(5 * MINUTE, |_| false);
    assert_eq!(count(&simulation, ""), 0, "{}", told(&simulation));
    assert!(simulation.is_converged());
}

#[test]
fn drained_off_snapshots_once_and_comes_back_with_a_foreign_cordon_kept() {
    let mut simulation = converged(|_| {});
    let foreign = node("worker-2");
    simulation.world.objects.get_mut(&foreign).expect("it is there").is_cordoned = true;
    wish(&mut simulation, ClusterState::DrainedOff);
    converges(&mut simulation, 15 * MINUTE);
    assert_eq!(count(&simulation, "save etcd snapshot"), 1, "{}", told(&simulation));
    assert_eq!(count(&simulation, "power off"), 0);
    assert!(simulation.world.hosts.values().all(|host| host.is_on && host.unit == UnitState::Stopped));
    wish(&mut simulation, ClusterState::Running);
    converges(&mut simulation, 15 * MINUTE);
    for (name, object) in &simulation.world.objects {
        assert_eq!(object.is_cordoned, *name == foreign, "{name}");
    }
    let warnings = &simulation.last.as_ref().expect("a pass was made").plan.warnings;
    assert!(warnings.contains(&Warning::CordonedByOther { node: foreign }));
}

#[test]
fn a_drain_goes_on_while_other_nodes_come_to_their_end_and_while_the_api_is_away() {
    let mut simulation = converged(|_| {});
    for (number, pod) in simulation.world.pods.iter_mut().enumerate() {
        pod.stops_in = Duration::from_secs(4 + number as u64);
    }
    // Nobody's next look is there the moment a step ends.
    simulation.lag.late = Duration::from_secs(3);
    wish(&mut simulation, ClusterState::DrainedOff);
    assert!(simulation.run_until(MINUTE, |it| count(it, "drain") > 0), "{}", told(&simulation));
    simulation.world.is_api_gone = true;
    simulation.run_until(Duration::from_secs(7), |_| false);
    simulation.world.is_api_gone = false;
    converges(&mut simulation, 15 * MINUTE);
    let cancelled = simulation.story.lines.iter().filter(|line| line.text.contains("no longer waited for")).count();
    assert_eq!(cancelled, 0, "{}", told(&simulation));
    for name in simulation.world.hosts.keys() {
        assert_eq!(count(&simulation, &format!("drain {name} ")), 1, "{}", told(&simulation));
    }
}

#[test]
fn mains_back_in_the_middle_of_a_drain_power_nothing_off() {
    let mut simulation = converged(|config| config.shutdown.ups_path = UpsPath::Auto);
    for pod in &mut simulation.world.pods {
        pod.stops_in = Duration::from_secs(120);
    }
    cut_mains(&mut simulation);
    assert!(simulation.run_until(20 * MINUTE, |it| count(it, "drain") > 0), "{}", told(&simulation));
    mains_back(&mut simulation);
    simulation.run_until(2 * MINUTE, |_| false);
    converges(&mut simulation, 15 * MINUTE);
    assert_eq!(count(&simulation, "power off"), 0, "{}", told(&simulation));
    assert_eq!(count(&simulation, "stop"), 0, "{}", told(&simulation));
    assert!(simulation.world.objects.values().all(|object| !object.is_cordoned));
}

#[test]
fn a_declared_power_off_is_carried_out_once() {
    let mut simulation = converged(|_| {});
    wish(&mut simulation, ClusterState::Poweroff);
    assert!(simulation.run_until(30 * MINUTE, |it| !it.world.own_is_on), "{}", told(&simulation));
    assert!(simulation.world.is_dark());
    simulation.run_until(MINUTE, |_| false);
    simulation.world.press_own_button();
    simulation.run_until(20 * MINUTE, |_| false);
    assert!(simulation.world.own_is_on, "it stays up:\n{}", told(&simulation));
    assert!(simulation.world.is_dark(), "nothing is started");
    assert_eq!(blockers(&simulation), vec![Blocker::AlreadyFulfilled { state: ClusterState::Poweroff }]);
    assert!(blockers(&simulation)[0].hint().expect("it says what to type").contains("set-desired running"));
}

#[test]
fn a_later_power_off_is_not_taken_for_the_one_that_was_carried_out_before_a_boot() {
    let mut simulation = converged(|_| {});
    wish(&mut simulation, ClusterState::Poweroff);
    assert!(simulation.run_until(30 * MINUTE, |it| !it.world.own_is_on), "{}", told(&simulation));
    simulation.world.press_own_button();
    simulation.run_until(2 * MINUTE, |_| false);
    wish(&mut simulation, ClusterState::Running);
    let names: Vec<NodeName> = simulation.world.hosts.keys().cloned().collect();
    names.iter().for_each(|name| simulation.world.press_button(name));
    converges(&mut simulation, 15 * MINUTE);
    simulation.config.own_host.power_off = false;
    wish(&mut simulation, ClusterState::Poweroff);
    converges(&mut simulation, 15 * MINUTE);
    simulation.run_until(MINUTE, |_| false);
    assert_eq!(blockers(&simulation), vec![], "{}", told(&simulation));
}

#[test]
fn a_wish_is_carried_out_although_its_limits_passed_while_hecate_was_away() {
    for step in ["drain", "save etcd snapshot"] {
        let mut simulation = converged(|_| {});
        wish(&mut simulation, ClusterState::DrainedOff);
        assert!(simulation.run_until(10 * MINUTE, |it| count(it, step) > 0), "{}", told(&simulation));
        // Nothing of it was done, and hecate stays away for longer than anything may take.
        simulation.restart_hecate();
        simulation.world.advance(60 * MINUTE);
        converges(&mut simulation, 15 * MINUTE);
    }
}

#[test]
fn a_stopped_unit_is_started_after_the_drift_grace_only() {
    let mut simulation = converged(|_| {});
    simulation.world.hosts.get_mut(&node("worker-1")).expect("it is there").unit = UnitState::Stopped;
    simulation.run_until(Duration::from_secs(30), |_| false);
    assert_eq!(count(&simulation, "start"), 0, "within the grace it is left alone");
    assert!(simulation.run_until(2 * MINUTE, |it| count(it, "start k3s-agent on worker-1") == 1));
    converges(&mut simulation, 5 * MINUTE);
}

#[test]
fn drift_is_only_shown_where_that_is_configured() {
    let mut simulation = converged(|config| config.reconcile.drift = Drift::Report);
    simulation.world.hosts.get_mut(&node("worker-1")).expect("it is there").unit = UnitState::Stopped;
    simulation.run_until(10 * MINUTE, |_| false);
    assert_eq!(count(&simulation, "start"), 0);
    let plan = &simulation.last.as_ref().expect("a pass was made").plan;
    assert!(
        plan.warnings
            .iter()
            .any(|warning| matches!(warning, Warning::Drift { node, .. } if node.as_str() == "worker-1"))
    );
}

#[test]
fn a_paused_node_is_left_alone_and_shown() {
    let mut simulation = converged(|_| {});
    simulation.desk.declared.holds.push(Hold {
        what: Held::Node(node("worker-1")),
        reason: "new disk".to_owned(),
        set_by: "root@test".to_owned(),
        set_at: simulation.now().wall,
        expires_at: simulation.now().wall + jiff::SignedDuration::from_mins(30),
    });
    simulation.world.hosts.get_mut(&node("worker-1")).expect("it is there").unit = UnitState::Stopped;
    simulation.run_until(20 * MINUTE, |_| false);
    assert_eq!(count(&simulation, "start"), 0, "{}", told(&simulation));
    assert!(matches!(&blockers(&simulation)[..], [Blocker::NodePaused { .. }]), "{:?}", blockers(&simulation));
    assert!(simulation.run_until(15 * MINUTE, |it| count(it, "start k3s-agent on worker-1") == 1), "the pause ends");
}

#[test]
fn nothing_is_started_on_battery_unless_it_is_allowed() {
    let mut simulation = wished_up_on_battery();
    simulation.run_until(MINUTE, |_| false);
    assert_eq!(count(&simulation, "start"), 0, "{}", told(&simulation));
    assert!(blockers(&simulation).iter().any(|blocker| matches!(blocker, Blocker::OnBattery { .. })));
    wish_with(&mut simulation, ClusterState::Running, Options { allow_on_battery: true, ..Options::default() });
    assert!(simulation.run_until(MINUTE, |it| count(it, "start k3s on") == 3), "{}", told(&simulation));
}

#[test]
fn a_pod_that_nobody_may_disrupt_does_not_keep_the_cluster_up() {
    let mut simulation = converged(|_| {});
    simulation.world.pods[0].is_protected = true;
    wish(&mut simulation, ClusterState::DrainedOff);
    converges(&mut simulation, 15 * MINUTE);
}

#[test]
fn a_dead_host_delays_a_declared_shutdown_only_up_to_its_limit() {
    let mut simulation = converged(|_| {});
    simulation.world.hosts.get_mut(&node("worker-1")).expect("it is there").is_reachable = false;
    wish(&mut simulation, ClusterState::DrainedOff);
    converges(&mut simulation, 15 * MINUTE);
    assert!(
        simulation
            .world
            .hosts
            .iter()
            .all(|(name, host)| { host.unit == UnitState::Stopped || name.as_str() == "worker-1" })
    );
}

#[test]
fn a_silent_ups_holds_a_start_by_name_but_not_for_ever() {
    let mut simulation = converged(|_| {});
    wish(&mut simulation, ClusterState::DrainedOff);
    converges(&mut simulation, 15 * MINUTE);
    simulation.world.upses.values_mut().for_each(|battery| battery.answers = false);
    simulation.restart_hecate();
    wish(&mut simulation, ClusterState::Running);
    simulation.run_until(5 * MINUTE, |_| false);
    assert_eq!(count(&simulation, "start"), 0);
    assert!(matches!(&blockers(&simulation)[..], [Blocker::UpsUnknown { starts_in: Some(_), .. }]));
    converges(&mut simulation, 15 * MINUTE);
    let plan = &simulation.last.as_ref().expect("a pass was made").plan;
    assert!(plan.warnings.iter().any(|warning| matches!(warning, Warning::PowerUnguarded { .. })));
}

#[test]
fn a_ups_that_falls_silent_while_on_battery_is_critical() {
    let mut simulation = converged(|_| {});
    cut_mains(&mut simulation);
    simulation.run_until(MINUTE, |_| false);
    simulation.world.upses.values_mut().for_each(|battery| battery.answers = false);
    assert!(simulation.run_until(5 * MINUTE, |it| it.world.is_dark()), "{}", told(&simulation));
}

#[test]
fn killing_hecate_at_any_tick_of_an_outage_changes_nothing_that_matters() {
    for tick in 0..70 {
        let mut simulation = converged(|config| config.shutdown.ups_path = UpsPath::Auto);
        cut_mains(&mut simulation);
        assert!(simulation.run_until(20 * MINUTE, |it| !it.desk.declared.overrides.is_empty()));
        let is_over = simulation.run_until(Duration::from_secs(tick), |it| !it.world.own_is_on);
        if !is_over {
            simulation.restart_hecate();
        }
        while simulation.world.own_is_on {
            simulation.tick();
            assert_eq!(check(&simulation), vec![], "killed {tick} s after the trigger:\n{}", told(&simulation));
            assert!(
                simulation.world.upses.values().all(|it| it.holds > 0.0),
                "killed after {tick} s:\n{}",
                told(&simulation)
            );
        }
        assert!(simulation.world.is_dark(), "killed {tick} s after the trigger:\n{}", told(&simulation));
        assert!(count(&simulation, "save etcd snapshot") <= 2);
        let snapshots: usize = simulation.world.etcd_snapshots.values().map(std::collections::BTreeSet::len).sum();
        assert_eq!(snapshots, 1, "killed {tick} s after the trigger:\n{}", told(&simulation));
        recharge_quickly(&mut simulation);
        mains_back(&mut simulation);
        let is_up = simulation.run_until(Duration::from_secs(6 * 3600), |it| {
            it.world.own_is_on && it.is_converged() && it.world.has_quorum()
        });
        assert!(is_up, "killed {tick} s after the trigger:\n{}", told(&simulation));
    }
}

#[test]
fn killing_hecate_at_any_tick_of_a_wish_stops_no_server_before_its_snapshot() {
    // After a start sources are seen in an order that goes by the names: now the servers first, now the workers.
    for (is_worker_first, tick) in [false, true].into_iter().flat_map(|first| (0..60).map(move |tick| (first, tick))) {
        let mut simulation = converged(|config| {
            if is_worker_first {
                config.nodes.retain(|name, _| !["cp-2", "cp-3"].contains(&name.as_str()));
                for (old, new) in [("worker-1", "agent-1"), ("worker-2", "agent-2")] {
                    let worker = config.nodes.remove(&node(old)).expect("it is there");
                    config.nodes.insert(node(new), worker);
                }
            }
        });
        simulation.world.pods.iter_mut().for_each(|pod| pod.detaches_in = Some(Duration::from_secs(6)));
        if is_worker_first {
            // They are stopped long before the snapshot is saved.
            simulation.world.pace.unit_stop = Duration::from_secs(1);
            simulation.world.pace.etcd_snapshot = Duration::from_secs(12);
        }
        wish(&mut simulation, ClusterState::DrainedOff);
        simulation.run_until(Duration::from_secs(tick), |_| false);
        simulation.restart_hecate();
        let mut watch = Watch::new(&simulation);
        simulation.run_until(15 * MINUTE, |it| {
            watch.look(it);
            it.is_converged()
        });
        assert_eq!(watch.findings(), &[], "killed {tick} s after the wish:\n{}", told(&simulation));
        let snapshots: usize = simulation.world.etcd_snapshots.values().map(std::collections::BTreeSet::len).sum();
        assert_eq!(snapshots, 1, "killed {tick} s after the wish:\n{}", told(&simulation));
    }
}

#[test]
fn a_full_disk_delays_no_shutdown_on_battery() {
    let mut simulation = converged(|_| {});
    simulation.disk_works = false;
    cut_mains(&mut simulation);
    while simulation.world.own_is_on {
        simulation.tick();
        assert_eq!(check(&simulation), vec![], "{}", told(&simulation));
    }
    assert!(simulation.world.is_dark(), "{}", told(&simulation));
}

#[test]
fn a_snapshot_that_is_seen_before_its_command_ends_is_let_come_to_its_end() {
    let mut simulation = converged(|_| {});
    wish(&mut simulation, ClusterState::DrainedOff);
    assert!(simulation.run_until(10 * MINUTE, |it| count(it, "save etcd snapshot") == 1), "{}", told(&simulation));
    let run = simulation.last.as_ref().and_then(|it| it.status.episode.clone()).expect("an episode goes on").run;
    let servers: Vec<NodeName> =
        simulation.world.hosts.keys().filter(|name| name.as_str() == "cp-1").cloned().collect();
    simulation.world.etcd_snapshots.entry(servers[0].clone()).or_default().insert(format!("hecate-{run}-cp-1"));
    converges(&mut simulation, 15 * MINUTE);
    let ended = |text: &str| simulation.story.lines.iter().any(|line| line.text == text);
    assert!(ended("save etcd snapshot on cp-1: tried, 4 s"), "{}", told(&simulation));
}

#[test]
fn what_the_disk_did_not_take_is_kept_over_a_kill_and_not_needed_after_a_boot() {
    let ticks = (0..60).step_by(4);
    for (is_boot, tick) in [false, true].into_iter().flat_map(|is_boot| ticks.clone().map(move |tick| (is_boot, tick)))
    {
        let mut simulation = converged(|_| {});
        simulation.disk_works = false;
        cut_mains(&mut simulation);
        assert!(simulation.run_until(20 * MINUTE, |it| !it.desk.declared.overrides.is_empty()));
        simulation.run_until(Duration::from_secs(tick), |it| !it.world.own_is_on);
        let before = simulation.desk.clone();
        if is_boot {
            simulation.world.begin_own_boot();
        }
        simulation.restart_hecate();
        let desk = &simulation.desk;
        if is_boot {
            assert!(desk.declared.overrides.is_empty(), "neither a full disk nor memory keeps an override over a boot");
            assert!(desk.ledger.powered_off.is_empty(), "nor a ledger");
        } else {
            assert_eq!(desk.declared.overrides, before.declared.overrides, "low.json keeps what the disk refused");
            assert_eq!(desk.ledger, before.ledger);
        }
        let why = if is_boot { "booted" } else { "killed" };
        while simulation.world.own_is_on {
            simulation.tick();
            assert_eq!(check(&simulation), vec![], "{why} {tick} s after the trigger:\n{}", told(&simulation));
        }
        assert!(simulation.world.is_dark(), "{why} {tick} s after the trigger:\n{}", told(&simulation));
        assert!(!simulation.world.own_was_cut(), "{why} {tick} s after the trigger:\n{}", told(&simulation));
    }
}

#[test]
fn without_a_disk_a_wish_is_not_begun_to_be_carried_out() {
    let mut simulation = converged(|_| {});
    simulation.disk_works = false;
    wish(&mut simulation, ClusterState::Poweroff);
    simulation.run_until(10 * MINUTE, |_| false);
    assert_eq!(count(&simulation, ""), 0, "{}", told(&simulation));
}

#[test]
fn on_battery_too_a_wish_ends_in_this_hosts_power_off_only_once_that_is_on_disk() {
    let mut simulation = converged(|_| {});
    wish(&mut simulation, ClusterState::Poweroff);
    assert!(simulation.run_until(10 * MINUTE, |it| count(it, "power off") == 5), "{}", told(&simulation));
    simulation.disk_works = false;
    cut_mains(&mut simulation);
    simulation.run_until(5 * MINUTE, |_| false);
    assert!(simulation.world.is_dark() && simulation.world.own_is_on, "{}", told(&simulation));
    simulation.disk_works = true;
    assert!(simulation.run_until(MINUTE, |it| !it.world.own_is_on), "{}", told(&simulation));
    simulation.world.press_own_button();
    simulation.run_until(2 * MINUTE, |_| false);
    assert_eq!(blockers(&simulation), vec![Blocker::AlreadyFulfilled { state: ClusterState::Poweroff }]);
}

#[test]
fn a_plan_says_first_what_it_waits_for() {
    let mut simulation = converged(|_| {});
    simulation.world.pods.iter_mut().for_each(|pod| pod.stops_in = Duration::from_secs(25));
    wish(&mut simulation, ClusterState::DrainedOff);
    simulation.run_until(Duration::from_secs(10), |_| false);
    let plan = &simulation.last.as_ref().expect("a pass was made").plan;
    assert!(plan.waits.iter().any(|wait| matches!(wait.reason, WaitReason::Drained { .. })));
    assert!(plan.running.iter().all(|step| matches!(step, Step::Drain { .. })));
    assert!(plan.forecast.iter().any(|step| matches!(step, Step::SaveEtcdSnapshot { .. })));
}

#[test]
fn a_run_that_powers_this_host_off_is_recorded_once() {
    let mut simulation = converged(|_| {});
    cut_mains(&mut simulation);
    assert!(simulation.run_until(TO_THE_LAST, |it| !it.world.own_is_on), "{}", told(&simulation));
    recharge_quickly(&mut simulation);
    mains_back(&mut simulation);
    assert!(simulation.run_until(60 * MINUTE, runs));
    let descents = simulation.desk.history.runs().iter().filter(|run| run.state == ClusterState::Poweroff);
    let results: Vec<_> = descents.map(|run| (run.result, run.from_running)).collect();
    assert_eq!(results, vec![(RunResult::Converged, true)]);
}

#[test]
fn a_unit_that_passed_a_closed_gate_by_itself_is_shown() {
    let mut simulation = wished_up_on_battery();
    simulation.world.hosts.get_mut(&node("cp-1")).expect("it is there").unit = UnitState::Running;
    simulation.run_until(Duration::from_secs(10), |_| false);
    let plan = &simulation.last.as_ref().expect("a pass was made").plan;
    let shown = Warning::StartedByItself { node: node("cp-1"), unit: hecate::model::Unit::K3s };
    assert!(plan.warnings.contains(&shown), "{:?}", plan.warnings);
    assert_eq!(count(&simulation, "stop k3s on cp-1"), 1, "only the descent before stopped it");
}

#[test]
fn a_peer_starts_nothing_and_stops_only_with_leave() {
    for is_allowed in [false, true] {
        let mut simulation = converged(|config| {
            config.coordination.role = CoordinationRole::Peer;
            config.coordination.local_shutdown_fallback = is_allowed;
        });
        simulation.world.hosts.get_mut(&node("worker-1")).expect("it is there").unit = UnitState::Stopped;
        simulation.run_until(5 * MINUTE, |_| false);
        assert_eq!(count(&simulation, "start"), 0, "{}", told(&simulation));
        assert_eq!(blockers(&simulation), vec![Blocker::PeerMayNotStart]);
        cut_mains(&mut simulation);
        simulation.run_until(19 * MINUTE, |it| it.world.is_dark());
        assert_eq!(count(&simulation, "stop") > 0, is_allowed, "{}", told(&simulation));
        assert_eq!(blockers(&simulation).contains(&Blocker::PeerMayNotStop), !is_allowed);
    }
}

#[test]
fn a_host_that_answers_nonsense_is_not_taken_for_off() {
    let mut simulation = converged(|_| {});
    wish(&mut simulation, ClusterState::Poweroff);
    assert!(simulation.run_until(10 * MINUTE, |it| count(it, "power off worker-1") == 1), "{}", told(&simulation));
    let host = simulation.world.hosts.get_mut(&node("worker-1")).expect("it is there");
    (host.is_confused, host.hangs) = (true, true);
    simulation.run_until(20 * MINUTE, |it| !it.world.own_is_on);
    assert!(simulation.world.own_is_on, "it waits for worker-1:\n{}", told(&simulation));
}

#[test]
fn containers_that_are_left_stay_shown_after_the_descent() {
    let mut simulation = converged(|config| config.shutdown.killall = false);
    wish(&mut simulation, ClusterState::DrainedOff);
    converges(&mut simulation, 15 * MINUTE);
    simulation.tick();
    let plan = &simulation.last.as_ref().expect("a pass was made").plan;
    assert!(
        plan.warnings.contains(&Warning::ContainersLeft { node: node("worker-1"), count: 3 }),
        "{:?}",
        plan.warnings
    );
}

#[test]
fn a_drain_that_never_ends_is_shed_in_time_for_the_snapshot_and_the_rest() {
    let mut simulation = converged(|config| {
        config.shutdown.ups_path = UpsPath::Auto;
        config.shutdown.drain_timeout = 60 * MINUTE;
    });
    simulation.world.pods.iter_mut().for_each(|pod| pod.stops_in = 60 * MINUTE);
    cut_mains(&mut simulation);
    let mut shed = String::new();
    while simulation.world.own_is_on {
        simulation.tick();
        assert_eq!(check(&simulation), vec![], "{}", told(&simulation));
        let warnings = simulation.last.iter().flat_map(|decision| &decision.plan.warnings);
        shed.extend(warnings.map(ToString::to_string).filter(|text| text.contains("the battery has")));
    }
    assert!(simulation.world.is_dark(), "{}", told(&simulation));
    assert!(shed.contains("what comes after it needs"), "it is named: {shed}");
    assert_eq!(count(&simulation, "save etcd snapshot"), 1, "the snapshot is kept longest:\n{}", told(&simulation));
}

#[test]
fn a_drain_that_cannot_be_begun_leaves_the_graceful_path_by_name() {
    let lose_api = |simulation: &mut Simulation| simulation.world.is_api_gone = true;
    let stop_k3s = |simulation: &mut Simulation| {
        simulation.world.hosts.values_mut().for_each(|host| host.unit = UnitState::Stopped);
    };
    let lost: [&dyn Fn(&mut Simulation); 2] = [&lose_api, &stop_k3s];
    for lose in lost {
        let mut simulation = converged(|config| {
            config.shutdown.ups_path = UpsPath::Auto;
            config.reconcile.drift = Drift::Report;
        });
        lose(&mut simulation);
        cut_mains(&mut simulation);
        let mut paths = Vec::new();
        while simulation.world.own_is_on {
            simulation.tick();
            for planned in &simulation.started {
                if let Step::PowerOff { path, .. } = planned.step {
                    paths.push(path);
                }
            }
        }
        assert!(simulation.world.is_dark(), "{}", told(&simulation));
        assert_eq!(simulation.world.acts.harm, vec![], "{}", told(&simulation));
        assert!(paths.len() >= 5 && paths.iter().all(|path| *path == Path::Emergency), "{paths:?}");
    }
}

#[test]
fn who_comes_up_in_the_middle_of_an_outage_goes_down_again() {
    let mut simulation = converged(|config| config.own_host.power_off = false);
    simulation.world.hosts.values_mut().for_each(|host| host.starts_by_itself = true);
    cut_mains(&mut simulation);
    assert!(simulation.run_until(30 * MINUTE, |it| it.world.is_dark() && it.is_converged()), "{}", told(&simulation));
    // Back for too short a time to count, but hosts boot with them.
    mains_back(&mut simulation);
    simulation.run_until(Duration::from_secs(20), |_| false);
    cut_mains(&mut simulation);
    let is_any_on = |it: &Simulation| it.world.hosts.values().any(|host| host.is_on);
    assert!(simulation.run_until(3 * MINUTE, is_any_on), "hosts boot:\n{}", told(&simulation));
    assert!(simulation.run_until(10 * MINUTE, |it| it.world.is_dark()), "{}", told(&simulation));
    assert_eq!(check(&simulation), vec![], "{}", told(&simulation));
}

#[test]
fn containers_that_nobody_drained_hold_a_declared_power_off_by_name() {
    let mut simulation = converged(|config| config.reconcile.drift = Drift::Report);
    simulation.world.hosts.values_mut().for_each(|host| host.unit = UnitState::Stopped);
    wish(&mut simulation, ClusterState::Poweroff);
    simulation.run_until(10 * MINUTE, |_| false);
    assert_eq!(count(&simulation, "power off"), 0, "{}", told(&simulation));
    assert!(matches!(blockers(&simulation)[..], [Blocker::DrainUnknown { .. }]), "{:?}", blockers(&simulation));
}

#[test]
fn what_was_stopped_without_a_drain_is_not_taken_for_drained_by_a_later_power_off() {
    let mut simulation = converged(|config| config.shutdown.killall = false);
    let options = Options { skip_drain: true, ..Options::default() };
    wish_with(&mut simulation, ClusterState::DrainedOff, options);
    converges(&mut simulation, 15 * MINUTE);
    wish(&mut simulation, ClusterState::Poweroff);
    simulation.run_until(10 * MINUTE, |_| false);
    assert_eq!(count(&simulation, "power off"), 0, "{}", told(&simulation));
    assert!(matches!(blockers(&simulation)[..], [Blocker::DrainUnknown { .. }]), "{:?}", blockers(&simulation));
}

#[test]
fn what_a_drained_node_still_runs_does_not_hold_a_later_power_off() {
    let mut simulation = converged(|config| config.shutdown.killall = false);
    simulation.world.hosts.values_mut().for_each(|host| host.system_containers = 3);
    wish(&mut simulation, ClusterState::DrainedOff);
    converges(&mut simulation, 15 * MINUTE);
    simulation.restart_hecate();
    wish(&mut simulation, ClusterState::Poweroff);
    assert!(simulation.run_until(15 * MINUTE, |it| !it.world.own_is_on), "{}", told(&simulation));
}

#[test]
fn a_cluster_that_ran_again_since_its_drain_is_not_taken_for_drained() {
    let mut simulation = converged(|config| {
        config.shutdown.killall = false;
        config.reconcile.drift = Drift::Report;
    });
    wish(&mut simulation, ClusterState::DrainedOff);
    converges(&mut simulation, 15 * MINUTE);
    wish(&mut simulation, ClusterState::Running);
    let runs = |it: &Simulation| it.world.hosts.values().all(|host| host.unit == UnitState::Running);
    assert!(simulation.run_until(15 * MINUTE, runs), "{}", told(&simulation));
    simulation.run_until(Duration::from_secs(5), |_| false);
    assert!(simulation.desk.ledger.drained.is_empty(), "{:?}", simulation.desk.ledger.drained);
    simulation.world.hosts.values_mut().for_each(|host| (host.unit, host.system_containers) = (UnitState::Stopped, 1));
    wish(&mut simulation, ClusterState::Poweroff);
    simulation.run_until(10 * MINUTE, |_| false);
    assert_eq!(count(&simulation, "power off"), 0, "{}", told(&simulation));
}

#[test]
fn a_snapshot_on_a_host_that_is_out_of_reach_by_now_is_not_taken_again() {
    let mut simulation = converged(|_| {});
    simulation.world.pace.unit_stop = Duration::from_secs(30);
    wish(&mut simulation, ClusterState::DrainedOff);
    let has_one = |it: &Simulation| it.world.etcd_snapshots.values().any(|names| !names.is_empty());
    assert!(simulation.run_until(10 * MINUTE, has_one), "{}", told(&simulation));
    simulation.run_until(Duration::from_secs(3), |_| false);
    let (holder, _) = simulation.world.etcd_snapshots.iter().find(|(_, names)| !names.is_empty()).expect("one has it");
    let holder = holder.clone();
    simulation.world.hosts.get_mut(&holder).expect("it is there").is_reachable = false;
    simulation.restart_hecate();
    simulation.run_until(5 * MINUTE, |_| false);
    assert_eq!(count(&simulation, "save etcd snapshot"), 1, "{}", told(&simulation));
}

#[test]
fn the_node_on_which_hecate_runs_is_stopped_like_any_other_and_goes_off_with_it() {
    for state in [None, Some(ClusterState::Poweroff)] {
        let mut simulation = converged(|config| config.own_host.node = Some(node("worker-1")));
        match state {
            Some(state) => wish(&mut simulation, state),
            None => cut_mains(&mut simulation),
        }
        let others_are_off =
            |it: &Simulation| it.world.hosts.iter().all(|(name, host)| host.is_on == (name.as_str() == "worker-1"));
        while simulation.world.own_is_on {
            simulation.tick();
            assert_eq!(check(&simulation), vec![], "{}", told(&simulation));
            if count(&simulation, "power off this host") == 1 {
                assert!(others_are_off(&simulation), "{}", told(&simulation));
            }
        }
        assert_eq!(count(&simulation, "power off worker-1"), 0, "{}", told(&simulation));
        assert_eq!(simulation.world.hosts[&node("worker-1")].unit, UnitState::Stopped, "{}", told(&simulation));
    }
}

#[test]
fn an_api_that_goes_away_once_all_is_drained_breaks_nothing_off() {
    let mut simulation = converged(|_| {});
    simulation.world.pace.unit_stop = Duration::from_secs(20);
    wish(&mut simulation, ClusterState::DrainedOff);
    let saves = |it: &Simulation| count(it, "save etcd snapshot") > 0;
    assert!(simulation.run_until(10 * MINUTE, saves), "{}", told(&simulation));
    simulation.world.is_api_gone = true;
    converges(&mut simulation, 15 * MINUTE);
    assert_eq!(count(&simulation, "save etcd snapshot"), 1, "{}", told(&simulation));
}

#[test]
fn a_descent_that_began_without_a_drain_is_not_turned_back_by_an_api_that_returns() {
    let mut simulation = converged(|config| {
        config.shutdown.emergency_skip_drain = false;
        config.shutdown.emergency_skip_etcd_snapshot = false;
    });
    simulation.world.is_api_gone = true;
    simulation.world.pace.unit_stop = Duration::from_secs(20);
    cut_mains(&mut simulation);
    let saves = |it: &Simulation| count(it, "save etcd snapshot") > 0;
    assert!(simulation.run_until(30 * MINUTE, saves), "{}", told(&simulation));
    simulation.world.is_api_gone = false;
    while simulation.world.own_is_on {
        simulation.tick();
        assert_eq!(check(&simulation), vec![], "{}", told(&simulation));
    }
    assert!(simulation.world.is_dark(), "{}", told(&simulation));
    assert_eq!(count(&simulation, "save etcd snapshot"), 1, "{}", told(&simulation));
    assert_eq!(count(&simulation, "cordon") + count(&simulation, "drain"), 0, "{}", told(&simulation));
}

#[test]
fn a_ledger_that_cannot_be_trusted_is_told_before_it_is_needed() {
    let mut simulation = converged(|_| {});
    simulation.desk.ledger_problem = Some("ledger.json is of version 7".to_owned());
    simulation.tick();
    let plan = &simulation.last.as_ref().expect("a pass was made").plan;
    let names: Vec<_> = plan.warnings.iter().map(|warning| warning.name()).collect();
    assert!(names.contains(&"ledger-not-trusted"), "{names:?}");
    assert!(plan.is_converged());
}

/// A descent ended between the mark of a power-off and the act.
fn marked_but_never_told(simulation: &mut Simulation) -> NodeName {
    let marked = node("cp-1");
    let told = PoweredOff {
        told: simulation.now().stamp(),
        boot_id: None,
        path: Path::Emergency,
        run: Some(RunId::new("earlier")),
        accepted: false,
        is_blind: false,
        woken: None,
        by_override: true,
    };
    simulation.tick();
    let seen = simulation.last.as_ref().and_then(|last| last.status.snapshot.hosts.get(&marked)?.value());
    let told = PoweredOff { boot_id: seen.map(|host| host.boot_id.clone()), ..told };
    simulation.desk.ledger.powered_off.insert(marked.clone(), told);
    marked
}

#[test]
fn a_host_that_an_earlier_descent_marked_and_never_told_is_drained_before_it_is_powered_off() {
    for state in [Some(ClusterState::Poweroff), Some(ClusterState::DrainedOff), None] {
        let mut simulation = converged(|config| config.shutdown.ups_path = UpsPath::Auto);
        match state {
            Some(state) => wish(&mut simulation, state),
            None => {
                cut_mains(&mut simulation);
                let is_begun = |it: &Simulation| it.last.as_ref().is_some_and(|last| last.effective.is_override());
                assert!(simulation.run_until(20 * MINUTE, is_begun), "{}", told(&simulation));
            }
        }
        let marked = marked_but_never_told(&mut simulation);
        while simulation.world.own_is_on && !simulation.is_converged() {
            simulation.tick();
            assert_eq!(check(&simulation), vec![], "{}", told(&simulation));
            let is_off = |step: &Step| matches!(step, Step::PowerOff { node, .. } if *node == marked);
            if simulation.started.iter().any(|planned| is_off(&planned.step)) {
                assert_eq!(simulation.world.hosts[&marked].unit, UnitState::Stopped, "{}", told(&simulation));
            }
        }
        assert_eq!(count(&simulation, "drain cp-1 "), 1, "{}", told(&simulation));
        assert_eq!(count(&simulation, "power off cp-1") > 0, state != Some(ClusterState::DrainedOff));
    }
}

#[test]
fn a_host_that_goes_on_long_after_it_was_marked_was_never_told() {
    let mut simulation = converged(|_| {});
    let marked = marked_but_never_told(&mut simulation);
    simulation.run_until(simulation.config.shutdown.off_confirm - Duration::from_secs(10), |_| false);
    assert!(simulation.desk.ledger.powered_off.contains_key(&marked), "it may be on its way");
    simulation.run_until(Duration::from_secs(20), |_| false);
    assert!(!simulation.desk.ledger.powered_off.contains_key(&marked), "it goes on and on");
}

#[test]
fn a_ups_is_not_ignored_by_a_clock_that_begins_anew() {
    let mut simulation = converged(|_| {});
    let now = simulation.now().wall;
    let ups = simulation.world.upses.keys().next().expect("there is one").clone();
    simulation.desk.declared.holds.push(Hold {
        what: Held::Ups(ups),
        reason: String::new(),
        set_by: "root@test".to_owned(),
        set_at: now,
        expires_at: now + jiff::SignedDuration::from_mins(10),
    });
    simulation.world.around.own_clock.ahead_seconds = -56 * 365 * 24 * 3600;
    cut_mains(&mut simulation);
    assert!(simulation.run_until(30 * MINUTE, |it| it.world.is_dark()), "{}", told(&simulation));
}

/// The emergency budget, in seconds, and the slowest step after three outages with hosts that take so long to go off.
fn learned(host_stop: Duration) -> (u64, String) {
    let mut simulation = converged(|config| config.shutdown.budget_floor = Duration::from_secs(10));
    simulation.world.pace.host_stop = host_stop;
    recharge_quickly(&mut simulation);
    for outage in 0..3 {
        let budget = &simulation.last.as_ref().expect("a pass was made").status.budget;
        assert_eq!((budget.emergency.as_secs(), budget.emergency_samples), (360, 0), "configured, outage {outage}");
        cut_mains(&mut simulation);
        assert!(simulation.run_until(TO_THE_LAST, |it| !it.world.own_is_on), "{}", told(&simulation));
        mains_back(&mut simulation);
        assert!(simulation.run_until(60 * MINUTE, runs));
    }
    let budget = &simulation.last.as_ref().expect("a pass was made").status.budget;
    assert_eq!(budget.emergency_samples, 3);
    assert_eq!(budget.needs_emergency, budget.emergency, "all of it is still to come");
    (budget.emergency.as_secs(), budget.slowest[0].step.clone())
}

#[test]
fn what_past_shutdowns_took_is_what_the_next_one_needs() {
    let (quick, _) = learned(Duration::from_secs(5));
    let (slow, slowest) = learned(Duration::from_secs(45));
    // 60 s for this host, and once the time in which a host that is silent may still write: in that the last wave ends.
    assert!((260..300).contains(&quick), "{quick}");
    assert!(slow > quick + 35, "the first wave of hosts is 40 s slower: {slow} and {quick}");
    assert_eq!(slowest, "host-off");
}

//! The guards of the bring-up in the built-in world: clocks, other hecate hosts, and machines that are not what they
//! should be.

use std::time::Duration;

use hecate::config::{Config, Peer, TimeSyncMode};
use hecate::desired::{Options, Spec};
use hecate::history::History;
use hecate::model::{ClusterState, Intent, IntentRecord, MachineId, NodeName, PeerName};
use hecate::plan::Plan;
use hecate::plan::blocker::{Blocker, WaitReason, Warning};
use hecate::simulate::Simulation;
use hecate::simulate::blueprint;
use hecate::simulate::checks::check;
use hecate::simulate::story::StoryKind;
use hecate::simulate::world::World;
use hecate::simulate::world::around::{Clock, PeerHost};
use hecate::snapshot::UnitState;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// A cluster of three servers and two workers, before hecate has looked at it.
fn cluster(change: impl FnOnce(&mut Config)) -> Simulation {
    let mut config = blueprint::config(3, 2).expect("the blueprint is a cluster");
    config.reconcile.drift_grace = MINUTE;
    change(&mut config);
    let world = World::running(&config, 20 * MINUTE, 6);
    Simulation::new(config, world, "2026-11-22T02:00:00Z".parse().expect("a timestamp"))
}

/// The same, drained off by an operator.
fn stopped(change: impl FnOnce(&mut Config)) -> Simulation {
    let mut simulation = cluster(change);
    assert!(simulation.run_until(5 * MINUTE, Simulation::is_converged), "a running cluster converges");
    wish(&mut simulation, ClusterState::DrainedOff, Options::default());
    converges(&mut simulation, 15 * MINUTE);
    simulation
}

fn strict(config: &mut Config) {
    config.startup.time_sync_mode = Some(TimeSyncMode::Strict);
}

fn quorum(config: &mut Config) {
    config.startup.time_sync_mode = Some(TimeSyncMode::Quorum);
    config.startup.time_sync_quorum = 4;
}

const PEER: &str = "hecate@titan-db";

fn with_peer(config: &mut Config) {
    let (name, host, user) = (PeerName::from(PEER), "titan-db".to_owned(), "hecate".to_owned());
    config.coordination.peer_hosts = vec![Peer { name, host, user, port: 22 }];
}

fn wish(simulation: &mut Simulation, state: ClusterState, options: Options) {
    let (reason, set_by) = ("maintenance".to_owned(), "root@test".to_owned());
    simulation.desk.declared.spec = Spec { state, reason, set_by, set_at: simulation.now().wall, options };
}

fn wish_up(simulation: &mut Simulation) {
    wish(simulation, ClusterState::Running, Options::default());
}

fn converges(simulation: &mut Simulation, limit: Duration) {
    simulation.tick();
    let is_over = simulation.run_until(limit, |it| {
        assert_eq!(check(it), vec![], "{}", told(it));
        it.is_converged()
    });
    assert!(is_over, "did not converge:\n{}", told(simulation));
}

fn play(simulation: &mut Simulation, time: Duration) {
    simulation.run_until(time, |_| false);
}

fn told(simulation: &Simulation) -> String {
    simulation.story.lines.iter().map(|line| format!("{line}\n")).collect()
}

fn starts(simulation: &Simulation) -> usize {
    let is_start = |kind, text: &str| kind == StoryKind::Start && text.starts_with("start");
    simulation.story.lines.iter().filter(|line| is_start(line.kind, &line.text)).count()
}

fn plan(simulation: &Simulation) -> &Plan {
    &simulation.last.as_ref().expect("a pass was made").plan
}

/// What is said of clocks, with whether it is a blocker by now.
fn clocks(simulation: &Simulation) -> Option<(bool, String)> {
    let Plan { waits, blockers, .. } = plan(simulation);
    let waited = waits.iter().find_map(|wait| {
        let WaitReason::TimeSync { missing } = &wait.reason else { return None };
        Some((false, missing.join("; ")))
    });
    waited.or_else(|| {
        blockers.iter().find_map(|blocker| {
            let Blocker::TimeNotSynced { missing, .. } = blocker else { return None };
            Some((true, missing.join("; ")))
        })
    })
}

fn set_clock(simulation: &mut Simulation, name: &str, is_synced: Option<bool>, ahead_seconds: i64) {
    simulation.world.around.clocks.insert(node(name), Clock { is_synced, ahead_seconds });
}

fn says(simulation: &mut Simulation, state: Intent) {
    says_by(simulation, state, Clock::default());
}

/// The same by a clock of its own.
fn says_by(simulation: &mut Simulation, state: Intent, clock: Clock) {
    let intent = IntentRecord {
        state,
        since: simulation.world.wall(clock),
        by: "root@titan-db".to_owned(),
        reason: "new switch".to_owned(),
        is_clock_synced: clock.is_synced == Some(true),
    };
    let peer = PeerHost { answers: true, intent: Some(intent), clock };
    simulation.world.around.peers.insert(PEER.into(), peer);
}

fn is_held_by_peer(simulation: &Simulation) -> bool {
    plan(simulation).blockers.iter().any(|blocker| matches!(blocker, Blocker::PeerShuttingDown { .. }))
}

fn warns(simulation: &Simulation, name: &str) -> bool {
    plan(simulation).warnings.iter().any(|warning| warning.name() == name)
}

fn node(name: &str) -> NodeName {
    NodeName::from(name)
}

#[test]
fn with_strict_clocks_one_that_is_not_in_sync_holds_the_start_and_then_blocks_by_name() {
    let mut simulation = stopped(strict);
    set_clock(&mut simulation, "worker-2", Some(false), 60);
    wish_up(&mut simulation);
    play(&mut simulation, MINUTE);
    assert_eq!(clocks(&simulation), Some((false, "worker-2 is not in sync".to_owned())));
    play(&mut simulation, 10 * MINUTE);
    assert_eq!(clocks(&simulation), Some((true, "worker-2 is not in sync".to_owned())));
    let hint = plan(&simulation).blockers[0].hint().expect("it says what to do");
    assert!(hint.contains("--skip-time-sync"), "{hint}");
    assert_eq!(starts(&simulation), 0, "{}", told(&simulation));
    set_clock(&mut simulation, "worker-2", Some(true), 0);
    converges(&mut simulation, 10 * MINUTE);
}

#[test]
fn a_clock_that_says_it_is_in_sync_and_is_off_is_not_believed() {
    for (ahead, way) in [(3600, "ahead"), (-3600, "behind")] {
        let mut simulation = stopped(strict);
        set_clock(&mut simulation, "cp-2", Some(true), ahead);
        wish_up(&mut simulation);
        play(&mut simulation, MINUTE);
        let said = format!("cp-2 says it is in sync, but its clock is 3600 s {way}");
        assert_eq!(clocks(&simulation), Some((false, said)));
        assert_eq!(starts(&simulation), 0, "{}", told(&simulation));
        set_clock(&mut simulation, "cp-2", Some(true), 2);
        converges(&mut simulation, 10 * MINUTE);
    }
}

#[test]
fn a_host_that_cannot_say_opens_no_gate() {
    let mut simulation = stopped(strict);
    set_clock(&mut simulation, "cp-3", None, 0);
    wish_up(&mut simulation);
    play(&mut simulation, MINUTE);
    assert_eq!(clocks(&simulation), Some((false, "cp-3 cannot say whether its clock is in sync".to_owned())));
    assert_eq!(starts(&simulation), 0);
}

#[test]
fn the_hecate_hosts_own_clock_counts_too() {
    let mut simulation = stopped(strict);
    simulation.world.around.own_clock.is_synced = Some(false);
    wish_up(&mut simulation);
    play(&mut simulation, MINUTE);
    assert_eq!(clocks(&simulation), Some((false, "the hecate host is not in sync".to_owned())));
    assert_eq!(starts(&simulation), 0);
    simulation.world.around.own_clock.is_synced = Some(true);
    converges(&mut simulation, 10 * MINUTE);
}

#[test]
fn a_clock_before_what_hecate_knows_is_not_in_sync() {
    let mut simulation = stopped(strict);
    assert!(!simulation.desk.history.runs().is_empty(), "the shutdown was recorded");
    // All clocks are wrong alike: only the past contradicts them.
    simulation.world.around.own_clock.ahead_seconds = -24 * 3600;
    for name in simulation.config.nodes.keys() {
        let clock = Clock { is_synced: Some(true), ahead_seconds: -24 * 3600 };
        simulation.world.around.clocks.insert(name.clone(), clock);
    }
    simulation.world.begin_own_boot();
    simulation.restart_hecate();
    wish_up(&mut simulation);
    play(&mut simulation, MINUTE);
    let (_, said) = clocks(&simulation).expect("clocks hold the start");
    assert!(said.starts_with("the hecate host says it is in sync, but its clock says 2026-11-21T"), "{said}");
    assert!(said.contains("cp-1 says it is in sync, but its clock says 2026-11-21T"), "{said}");
    assert_eq!(starts(&simulation), 0);
}

#[test]
fn a_run_in_which_the_clock_was_set_far_ahead_holds_no_start_once_it_is_right_again() {
    let mut simulation = cluster(strict);
    assert!(simulation.run_until(5 * MINUTE, Simulation::is_converged), "a running cluster converges");
    wish(&mut simulation, ClusterState::DrainedOff, Options::default());
    play(&mut simulation, MINUTE / 6);
    simulation.world.around.own_clock.ahead_seconds = 365 * 24 * 3600;
    converges(&mut simulation, 15 * MINUTE);
    let recorded = simulation.desk.history.runs().last().expect("the shutdown was recorded");
    assert_eq!(recorded.ended_at.strftime("%Y").to_string(), "2027");
    simulation.world.around.own_clock.ahead_seconds = 0;
    simulation.restart_hecate();
    wish_up(&mut simulation);
    converges(&mut simulation, 15 * MINUTE);
}

#[test]
fn a_run_whose_clock_was_ahead_from_its_beginning_holds_no_start_of_the_same_boot() {
    let mut simulation = cluster(strict);
    assert!(simulation.run_until(5 * MINUTE, Simulation::is_converged), "a running cluster converges");
    simulation.world.around.own_clock.ahead_seconds = 365 * 24 * 3600;
    wish(&mut simulation, ClusterState::DrainedOff, Options::default());
    converges(&mut simulation, 15 * MINUTE);
    let recorded = simulation.desk.history.runs().last().expect("the shutdown was recorded");
    assert_eq!(recorded.began_at.strftime("%Y").to_string(), "2027");
    simulation.world.around.own_clock.ahead_seconds = 0;
    simulation.restart_hecate();
    wish_up(&mut simulation);
    converges(&mut simulation, 15 * MINUTE);
}

#[test]
fn what_was_written_down_while_this_hosts_clock_was_not_in_sync_is_not_known() {
    let mut simulation = cluster(strict);
    assert!(simulation.run_until(5 * MINUTE, Simulation::is_converged), "a running cluster converges");
    simulation.world.around.own_clock = Clock { is_synced: Some(false), ahead_seconds: 365 * 24 * 3600 };
    wish(&mut simulation, ClusterState::DrainedOff, Options::default());
    converges(&mut simulation, 15 * MINUTE);
    simulation.world.around.own_clock = Clock::default();
    simulation.world.begin_own_boot();
    simulation.restart_hecate();
    wish_up(&mut simulation);
    converges(&mut simulation, 15 * MINUTE);
}

#[test]
fn a_clock_of_1970_is_not_in_sync_even_where_nothing_is_known() {
    let mut simulation = stopped(strict);
    simulation.desk.history = History::default();
    simulation.world.around.own_clock = Clock { is_synced: Some(false), ahead_seconds: 0 };
    set_clock(&mut simulation, "cp-1", Some(true), -1_795_000_000);
    wish_up(&mut simulation);
    play(&mut simulation, MINUTE);
    let (_, said) = clocks(&simulation).expect("clocks hold the start");
    assert!(said.contains("cp-1 says it is in sync, but its clock says 197"), "{said}");
}

#[test]
fn with_a_quorum_of_clocks_a_lost_minority_holds_nothing() {
    let mut simulation = stopped(quorum);
    set_clock(&mut simulation, "cp-2", Some(true), 3600);
    set_clock(&mut simulation, "worker-2", Some(false), 0);
    wish_up(&mut simulation);
    converges(&mut simulation, 10 * MINUTE);

    let mut simulation = stopped(quorum);
    for name in ["cp-2", "worker-1", "worker-2"] {
        set_clock(&mut simulation, name, Some(false), 60);
    }
    wish_up(&mut simulation);
    play(&mut simulation, MINUTE);
    let said = "cp-2 is not in sync; worker-1 is not in sync; worker-2 is not in sync";
    assert_eq!(clocks(&simulation), Some((false, said.to_owned())));
    play(&mut simulation, 10 * MINUTE);
    assert_eq!(clocks(&simulation), Some((true, said.to_owned())));
    assert_eq!(starts(&simulation), 0);
    set_clock(&mut simulation, "worker-1", Some(true), 0);
    converges(&mut simulation, 10 * MINUTE);
}

#[test]
fn a_wish_may_skip_time_sync_for_its_own_episode_only() {
    let mut simulation = stopped(strict);
    set_clock(&mut simulation, "worker-2", Some(false), 0);
    wish(&mut simulation, ClusterState::Running, Options { skip_time_sync: true, ..Options::default() });
    play(&mut simulation, SECOND);
    assert!(warns(&simulation, "skipped"));
    converges(&mut simulation, 10 * MINUTE);
    let before = starts(&simulation);
    simulation.world.hosts.get_mut(&node("worker-1")).expect("it is there").unit = UnitState::Stopped;
    play(&mut simulation, 3 * MINUTE);
    assert_eq!(starts(&simulation), before, "drift is corrected past no gate:\n{}", told(&simulation));
    assert!(clocks(&simulation).is_some());
}

#[test]
fn clocks_stop_nothing_that_runs() {
    let mut simulation = cluster(strict);
    assert!(simulation.run_until(5 * MINUTE, Simulation::is_converged));
    for name in ["cp-1", "cp-2", "cp-3", "worker-1", "worker-2"] {
        set_clock(&mut simulation, name, Some(false), 7200);
    }
    simulation.world.around.own_clock.is_synced = Some(false);
    for _ in 0..1200 {
        simulation.tick();
        assert_eq!(check(&simulation), vec![]);
        assert!(simulation.is_converged(), "{}", told(&simulation));
    }
}

#[test]
fn a_host_that_is_off_cannot_be_in_sync_and_keeps_nobody_dark() {
    for mode in [strict, quorum] {
        let mut simulation = cluster(mode);
        assert!(simulation.run_until(5 * MINUTE, Simulation::is_converged));
        simulation.world.upses.values_mut().for_each(|battery| battery.mains = false);
        // This host stays on until the battery ends.
        assert!(simulation.run_until(2 * HOUR, |it| !it.world.own_is_on), "{}", told(&simulation));
        simulation.world.pace.recharge = 10 * MINUTE;
        let names: Vec<_> = simulation.world.upses.keys().cloned().collect();
        names.iter().for_each(|name| simulation.world.mains_back(name));
        // One worker needs a hand that never comes: a lost minority, and nobody's wall.
        let away = node("worker-2");
        let is_up = simulation.run_until(6 * HOUR, |it| {
            it.world.own_is_on
                && it.world.has_quorum()
                && it.world.hosts.iter().all(|(name, host)| *name == away || host.unit == UnitState::Running)
        });
        assert!(is_up, "{}", told(&simulation));
    }
}

#[test]
fn with_strict_clocks_a_worker_that_stays_away_holds_the_start_only_as_long_as_a_node_may_take() {
    let mut simulation = stopped(strict);
    simulation.world.hosts.get_mut(&node("worker-2")).expect("it is there").is_reachable = false;
    wish_up(&mut simulation);
    play(&mut simulation, MINUTE);
    let (is_blocked, said) = clocks(&simulation).expect("it may still come");
    assert!(!is_blocked && said.starts_with("worker-2 cannot be asked"), "{said}");
    assert!(simulation.run_until(10 * MINUTE, |it| it.world.has_quorum()), "{}", told(&simulation));
}

#[test]
fn a_peers_shutdown_holds_a_start_until_it_is_over_there() {
    for state in [Intent::ShuttingDown, Intent::ShutdownComplete] {
        let mut simulation = stopped(with_peer);
        says(&mut simulation, state);
        wish_up(&mut simulation);
        play(&mut simulation, 5 * MINUTE);
        assert!(is_held_by_peer(&simulation), "{}", told(&simulation));
        let text = plan(&simulation).blockers[0].to_string();
        assert!(text.contains("root@titan-db: new switch"), "{text}");
        assert_eq!(starts(&simulation), 0);
        says(&mut simulation, Intent::Normal);
        converges(&mut simulation, 10 * MINUTE);
    }
}

#[test]
fn a_peers_shutdown_stops_nothing_that_runs() {
    let mut simulation = cluster(with_peer);
    says(&mut simulation, Intent::Normal);
    assert!(simulation.run_until(5 * MINUTE, Simulation::is_converged));
    says(&mut simulation, Intent::ShuttingDown);
    play(&mut simulation, 5 * MINUTE);
    assert!(simulation.is_converged(), "{}", told(&simulation));
    // What it stops is not started again behind its back.
    simulation.world.hosts.get_mut(&node("worker-1")).expect("it is there").unit = UnitState::Stopped;
    play(&mut simulation, 5 * MINUTE);
    assert_eq!(starts(&simulation), 0);
    assert!(is_held_by_peer(&simulation));
}

#[test]
fn a_peers_cordons_are_not_taken_back_while_it_shuts_down() {
    let mut simulation = cluster(with_peer);
    says(&mut simulation, Intent::Normal);
    assert!(simulation.run_until(5 * MINUTE, Simulation::is_converged));
    says(&mut simulation, Intent::ShuttingDown);
    play(&mut simulation, 10 * SECOND);
    let cordoned = simulation.world.objects.get_mut(&node("worker-1")).expect("it is there");
    (cordoned.is_cordoned, cordoned.cordoned_by) = (true, Some("run-of-the-peer".to_owned()));
    play(&mut simulation, 5 * MINUTE);
    assert!(simulation.world.objects[&node("worker-1")].is_cordoned, "{}", told(&simulation));
    assert!(is_held_by_peer(&simulation));
    says(&mut simulation, Intent::Normal);
    converges(&mut simulation, 5 * MINUTE);
    assert!(!simulation.world.objects[&node("worker-1")].is_cordoned, "what is left over is taken back");
}

#[test]
fn a_peer_that_died_on_the_way_holds_a_start_only_up_to_the_limit() {
    let mut simulation = stopped(with_peer);
    says(&mut simulation, Intent::ShuttingDown);
    wish_up(&mut simulation);
    let limit = simulation.config.coordination.startup_guard_max_age;
    play(&mut simulation, limit - MINUTE);
    assert!(is_held_by_peer(&simulation));
    play(&mut simulation, 2 * MINUTE);
    assert!(warns(&simulation, "peer-intent-stale"));
    converges(&mut simulation, 10 * MINUTE);
    // Nothing but a warning is left of it.
    assert!(warns(&simulation, "peer-intent-stale"));
}

#[test]
fn a_peers_last_word_counts_when_it_falls_silent_and_after_a_restart() {
    let mut simulation = stopped(with_peer);
    says(&mut simulation, Intent::ShuttingDown);
    play(&mut simulation, 5 * SECOND);
    simulation.world.around.peers.clear();
    simulation.restart_hecate();
    wish_up(&mut simulation);
    play(&mut simulation, 5 * MINUTE);
    assert!(is_held_by_peer(&simulation), "{}", told(&simulation));
    assert!(warns(&simulation, "peer-unreachable"));
    assert_eq!(starts(&simulation), 0);
    assert!(simulation.run_until(HOUR, |it| it.world.has_quorum()), "not for ever:\n{}", told(&simulation));
}

#[test]
fn a_peer_that_said_it_is_well_and_fell_silent_holds_nothing() {
    let mut simulation = stopped(with_peer);
    says(&mut simulation, Intent::Normal);
    play(&mut simulation, 5 * SECOND);
    simulation.world.around.peers.clear();
    wish_up(&mut simulation);
    converges(&mut simulation, 10 * MINUTE);
    assert!(warns(&simulation, "peer-unreachable"));
}

#[test]
fn a_peer_never_heard_since_this_boot_is_waited_for_as_long_as_an_intent_lasts() {
    let mut simulation = stopped(|config| {
        with_peer(config);
        config.coordination.startup_guard_max_age = 3 * HOUR;
    });
    simulation.world.around.peers.clear();
    simulation.desk.ledger.peers.clear();
    wish_up(&mut simulation);
    play(&mut simulation, 10 * MINUTE);
    let is_waited_for =
        |it: &Simulation| plan(it).waits.iter().any(|wait| matches!(wait.reason, WaitReason::PeerIntent { .. }));
    assert!(is_waited_for(&simulation), "{}", told(&simulation));
    assert_eq!(starts(&simulation), 0);
    assert!(simulation.run_until(3 * HOUR, |it| it.world.has_quorum()), "{}", told(&simulation));
    assert!(simulation.world.time >= 3 * HOUR);
    assert!(warns(&simulation, "peer-unreachable"));
}

#[test]
fn a_wrong_clock_makes_no_peers_intent_old_and_none_last_for_ever() {
    let wrong = [(true, -5 * 3600), (true, 5 * 3600), (false, -5 * 3600), (false, 5 * 3600)];
    let clocks = wrong.map(|(is_synced, ahead_seconds)| Clock { is_synced: Some(is_synced), ahead_seconds });
    let right = Clock::default();
    for (own, others) in clocks.map(|own| (own, right)).into_iter().chain(clocks.map(|others| (right, others))) {
        let mut simulation = stopped(with_peer);
        simulation.world.around.own_clock = own;
        says_by(&mut simulation, Intent::ShuttingDown, others);
        wish_up(&mut simulation);
        play(&mut simulation, 20 * MINUTE);
        assert!(is_held_by_peer(&simulation), "{}", told(&simulation));
        assert!(simulation.run_until(HOUR, |it| it.world.has_quorum()), "{}", told(&simulation));
    }
}

#[test]
fn two_nodes_with_one_machine_id_are_named_once_and_neither_is_started() {
    let mut simulation = cluster(|_| {});
    simulation.world.around.machine_ids.insert(node("worker-2"), MachineId::new("machine-worker-1"));
    for name in ["worker-1", "worker-2"] {
        simulation.world.hosts.get_mut(&node(name)).expect("it is there").unit = UnitState::Stopped;
    }
    play(&mut simulation, 10 * MINUTE);
    let twice = Blocker::SameHostTwice {
        nodes: [node("worker-1"), node("worker-2")].into(),
        machine_id: MachineId::new("machine-worker-1"),
    };
    assert_eq!(plan(&simulation).blockers, vec![twice]);
    assert_eq!(starts(&simulation), 0);
    wish(&mut simulation, ClusterState::Poweroff, Options::default());
    play(&mut simulation, 20 * MINUTE);
    for name in ["worker-1", "worker-2"] {
        assert!(simulation.world.hosts[&node(name)].is_on, "nothing is done to {name}:\n{}", told(&simulation));
    }
}

#[test]
fn a_twin_that_may_be_away_hides_nobody() {
    let mut simulation = cluster(|config| {
        config.ignore_unavailable_nodes.insert(node("worker-1"));
    });
    simulation.world.around.machine_ids.insert(node("worker-2"), MachineId::new("machine-worker-1"));
    play(&mut simulation, MINUTE);
    assert!(matches!(&plan(&simulation).blockers[..], [Blocker::SameHostTwice { .. }]));
}

#[test]
fn cloned_machine_ids_that_were_learned_leave_no_host_to_an_empty_battery() {
    let mut simulation = cluster(|_| {});
    simulation.world.around.machine_ids.insert(node("worker-2"), MachineId::new("machine-worker-1"));
    for name in ["worker-1", "worker-2"] {
        simulation.desk.ledger.machine_ids.insert(node(name), MachineId::new("machine-worker-1"));
    }
    play(&mut simulation, MINUTE);
    assert!(matches!(&plan(&simulation).blockers[..], [Blocker::SameHostTwice { .. }]));
    simulation.world.upses.values_mut().for_each(|battery| battery.mains = false);
    assert!(simulation.run_until(30 * MINUTE, |it| it.world.is_dark()), "{}", told(&simulation));
    assert_eq!(check(&simulation), vec![]);
}

#[test]
fn a_node_at_the_address_of_a_known_one_is_the_wrong_one_alone() {
    let mut simulation = cluster(|_| {});
    assert!(simulation.run_until(5 * MINUTE, Simulation::is_converged));
    simulation.world.around.machine_ids.insert(node("worker-2"), MachineId::new("machine-worker-1"));
    play(&mut simulation, MINUTE);
    assert!(
        matches!(&plan(&simulation).blockers[..], [Blocker::WrongHost { node, .. }] if node.as_str() == "worker-2"),
        "{:?}",
        plan(&simulation).blockers
    );
}

#[test]
fn another_host_at_the_address_of_one_that_was_powered_off_does_not_bring_it_back() {
    let mut simulation = cluster(|config| config.own_host.power_off = false);
    let away = node("worker-2");
    assert!(simulation.run_until(5 * MINUTE, Simulation::is_converged));
    wish(&mut simulation, ClusterState::Poweroff, Options::default());
    converges(&mut simulation, 15 * MINUTE);
    simulation.world.around.impostors.insert(away.clone());
    simulation.world.hosts.get_mut(&away).expect("it is there").is_on = true;
    play(&mut simulation, MINUTE);
    simulation.world.around.impostors.remove(&away);
    simulation.world.hosts.get_mut(&away).expect("it is there").is_on = false;
    play(&mut simulation, 2 * MINUTE);
    assert!(simulation.desk.ledger.powered_off.contains_key(&away), "it was told, and has not come back");
}

#[test]
fn a_host_with_the_other_roles_unit_is_named_as_that_and_holds_a_declared_shutdown() {
    let mut simulation = cluster(|_| {});
    simulation.world.around.other_units.insert(node("worker-2"));
    play(&mut simulation, MINUTE);
    let text = "worker-2 is a worker in the inventory, but its host has k3s.service";
    assert_eq!(plan(&simulation).blockers.iter().map(ToString::to_string).collect::<Vec<_>>(), [text]);
    wish(&mut simulation, ClusterState::Poweroff, Options::default());
    play(&mut simulation, 20 * MINUTE);
    assert!(simulation.world.hosts[&node("worker-2")].is_on, "{}", told(&simulation));
    assert!(plan(&simulation).blockers.iter().any(|blocker| blocker.name() == "role-mismatch"));
}

#[test]
fn nodes_that_only_the_api_or_only_the_inventory_knows_are_warned_of() {
    let mut simulation = cluster(|_| {});
    simulation.world.around.strangers.insert(node("laptop"));
    simulation.world.objects.remove(&node("worker-2"));
    converges(&mut simulation, 10 * MINUTE);
    let warnings = &plan(&simulation).warnings;
    assert!(warnings.contains(&Warning::NodeNotInInventory { node: node("laptop") }), "{warnings:?}");
    assert!(warnings.contains(&Warning::NodeNotRegistered { node: node("worker-2") }), "{warnings:?}");
    wish(&mut simulation, ClusterState::DrainedOff, Options::default());
    play(&mut simulation, 2 * SECOND);
    assert!(warns(&simulation, "node-not-in-inventory"), "nobody stops it on the way down either");
}

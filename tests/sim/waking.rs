//! Hosts that are woken, and UPSes that cut their load and return: what brings a cluster back after its power-off.

use std::time::Duration;

use hecate::config::{Config, CutLoad, UpsPath, Wake};
use hecate::desired::{Held, Hold, Spec};
use hecate::model::{ClusterState, NodeName, UpsName};
use hecate::plan::blocker::{Blocker, WaitReason, Warning};
use hecate::plan::step::Step;
use hecate::simulate::Simulation;
use hecate::simulate::blueprint;
use hecate::simulate::checks::check;
use hecate::simulate::story::StoryKind;
use hecate::simulate::world::{Pace, World};
use hecate::snapshot::UnitState;

const MINUTE: Duration = Duration::from_secs(60);
/// The hecate host stays on for as long as its battery feeds it alone.
const TO_THE_LAST: Duration = Duration::from_secs(2 * 3600);

fn node(name: &str) -> NodeName {
    NodeName::from(name)
}

fn pyrphoros() -> UpsName {
    UpsName::from(blueprint::UPS)
}

/// A battery that hecate did not see at the end of an outage counts as empty, and is full again after this time.
fn with_quick_recharge(config: &mut Config) {
    config.upses.values_mut().for_each(|ups| ups.recharge = 30 * MINUTE);
}

/// Every node can be woken.
fn with_wake(config: &mut Config) {
    for one in config.nodes.values_mut() {
        one.wake = Some(Wake::Command { argv: vec!["/usr/local/bin/plug".to_owned()] });
    }
}

/// The hecate host stays up, on a supply of its own.
fn with_own_host_up(config: &mut Config) {
    config.own_host.feeds.clear();
    config.own_host.power_off = false;
}

fn with_cut(config: &mut Config) {
    let cut = CutLoad { command: "shutdown.return".to_owned(), delay: 2 * MINUTE };
    for ups in config.upses.values_mut() {
        ups.cut_load = Some(cut.clone());
    }
}

/// A converged cluster of three servers and two workers.
fn converged(change: impl FnOnce(&mut Config)) -> Simulation {
    let mut config = blueprint::config(3, 2).expect("the blueprint is a cluster");
    with_quick_recharge(&mut config);
    change(&mut config);
    let world = World::running(&config, 20 * MINUTE, 4);
    let start = "2026-11-22T02:00:00Z".parse().expect("a timestamp");
    let mut simulation = Simulation::new(config, world, start);
    assert!(simulation.run_until(5 * MINUTE, Simulation::is_converged), "a running cluster converges");
    simulation
}

/// A host loses its power without hecate's doing.
fn lose(simulation: &mut Simulation, name: &str) {
    let host = simulation.world.hosts.get_mut(&node(name)).expect("it is there");
    (host.is_on, host.unit) = (false, UnitState::Stopped);
}

fn told(simulation: &Simulation) -> String {
    simulation.story.lines.iter().map(|line| format!("{line}\n")).collect()
}

fn count(simulation: &Simulation, text: &str) -> usize {
    simulation.story.lines.iter().filter(|line| line.kind == StoryKind::Start && line.text.starts_with(text)).count()
}

fn warnings(simulation: &Simulation) -> Vec<Warning> {
    simulation.last.as_ref().map(|decision| decision.plan.warnings.clone()).unwrap_or_default()
}

fn blockers(simulation: &Simulation) -> Vec<Blocker> {
    simulation.last.as_ref().map(|decision| decision.plan.blockers.clone()).unwrap_or_default()
}

fn cut_mains(simulation: &mut Simulation) {
    simulation.world.upses.values_mut().for_each(|battery| battery.mains = false);
}

/// Mains come back before the UPS has dropped its output: nothing boots because of it.
fn mains_back_too_early(simulation: &mut Simulation) {
    simulation.world.upses.values_mut().for_each(|battery| battery.mains = true);
}

fn fill_batteries(simulation: &mut Simulation) {
    simulation.world.upses.values_mut().for_each(|battery| battery.holds = battery.capacity);
}

fn times_cut(simulation: &Simulation) -> u32 {
    simulation.world.upses.values().filter_map(|battery| battery.cut.as_ref()).map(|cut| cut.told).sum()
}

fn wish(simulation: &mut Simulation, state: ClusterState) {
    simulation.desk.declared.spec =
        Spec { state, set_at: simulation.now().wall, ..simulation.desk.declared.spec.clone() };
}

/// Plays until a condition holds, checking every tick that no host is woken that still has power.
fn plays(simulation: &mut Simulation, limit: Duration, is_reached: impl Fn(&Simulation) -> bool) {
    let end = simulation.world.time + limit;
    while simulation.world.time < end {
        simulation.tick();
        assert_eq!(check(simulation), vec![], "{}", told(simulation));
        if simulation.world.own_is_on {
            for planned in simulation.last.iter().flat_map(|decision| &decision.plan.start) {
                if let Step::Wake { node } = &planned.step {
                    let is_gone = simulation.world.hosts.get(node).is_none_or(|host| !host.is_on || !host.is_reachable);
                    assert!(is_gone, "{node} is woken while it is on:\n{}", told(simulation));
                }
            }
        }
        if is_reached(simulation) {
            return;
        }
    }
    panic!("did not come to it:\n{}\n{:#?}", told(simulation), blockers(simulation));
}

fn is_running(simulation: &Simulation) -> bool {
    simulation.world.own_is_on
        && simulation.is_converged()
        && simulation.world.hosts.values().all(|host| host.is_on)
        && simulation.world.has_quorum()
}

/// A whole outage whose mains return when every node is off, too early for anything to boot because of it.
fn dark_with_mains(change: impl FnOnce(&mut Config)) -> Simulation {
    let mut simulation = converged(|config| {
        with_own_host_up(config);
        change(config);
    });
    cut_mains(&mut simulation);
    plays(&mut simulation, 30 * MINUTE, |it| it.world.is_dark());
    mains_back_too_early(&mut simulation);
    simulation
}

#[test]
fn hosts_that_are_off_after_an_outage_are_woken_until_they_are_seen() {
    let mut simulation = dark_with_mains(with_wake);
    fill_batteries(&mut simulation);
    simulation.world.hosts.get_mut(&node("cp-2")).expect("it is there").deaf_to = Some(3);
    plays(&mut simulation, 30 * MINUTE, is_running);
    assert!(count(&simulation, "wake cp-2") >= 4, "three wake-ups were lost:\n{}", told(&simulation));
    assert!(simulation.desk.ledger.was_up.is_empty(), "a converged bring-up forgets who was up");
}

#[test]
fn nobody_is_woken_below_the_recharge_gate_or_on_battery() {
    let mut simulation = dark_with_mains(with_wake);
    simulation.run_until(10 * MINUTE, |_| false);
    assert_eq!(count(&simulation, "wake"), 0, "{}", told(&simulation));
    let last = simulation.last.as_ref().expect("a pass was made");
    assert!(last.plan.waits.iter().any(|wait| matches!(wait.reason, WaitReason::Recharge { .. })));
    assert!(last.plan.forecast.contains(&Step::Wake { node: node("cp-1") }), "the forecast shows what is to come");
    cut_mains(&mut simulation);
    simulation.run_until(Duration::from_secs(5), |_| false);
    fill_batteries(&mut simulation);
    simulation.run_until(3 * MINUTE, |_| false);
    assert_eq!(count(&simulation, "wake"), 0, "{}", told(&simulation));
}

#[test]
fn a_host_that_may_still_be_shutting_down_is_not_woken() {
    let mut simulation = converged(|config| {
        with_own_host_up(config);
        with_wake(config);
    });
    simulation.world.pace.host_stop = 80 * Duration::from_secs(1);
    cut_mains(&mut simulation);
    plays(&mut simulation, 30 * MINUTE, |it| count(it, "power off cp") == 3);
    mains_back_too_early(&mut simulation);
    fill_batteries(&mut simulation);
    plays(&mut simulation, 30 * MINUTE, is_running);
}

#[test]
fn a_host_that_was_woken_is_off_no_longer_and_a_poweroff_waits_for_it() {
    let mut simulation = dark_with_mains(with_wake);
    simulation.config.own_host.power_off = true;
    simulation.world.pace.host_boot = MINUTE;
    fill_batteries(&mut simulation);
    plays(&mut simulation, 30 * MINUTE, |it| count(it, "wake cp-1") > 0);
    wish(&mut simulation, ClusterState::Poweroff);
    plays(&mut simulation, 30 * MINUTE, |it| !it.world.own_is_on);
    assert!(simulation.world.is_dark(), "{}", told(&simulation));
    simulation.world.advance(2 * MINUTE);
    assert!(simulation.world.is_dark(), "nobody boots behind its back:\n{}", told(&simulation));
}

#[test]
fn hosts_that_boot_later_than_this_one_are_waited_for_in_a_second_outage() {
    let mut simulation = converged(|_| {});
    let slow = Pace { host_boot: 2 * MINUTE, ..simulation.world.pace };
    simulation.world.hosts.values_mut().for_each(|host| host.pace = Some(slow));
    cut_mains(&mut simulation);
    plays(&mut simulation, TO_THE_LAST, |it| !it.world.own_is_on);
    simulation.world.mains_back(&pyrphoros());
    plays(&mut simulation, 2 * MINUTE, |it| it.world.own_is_on);
    cut_mains(&mut simulation);
    plays(&mut simulation, TO_THE_LAST, |it| !it.world.own_is_on);
    assert!(simulation.world.is_dark(), "{}", told(&simulation));
    simulation.world.advance(3 * MINUTE);
    assert!(simulation.world.is_dark(), "nobody boots behind its back:\n{}", told(&simulation));
}

#[test]
fn a_converged_cluster_wakes_nobody_and_a_paused_node_is_left_off() {
    let mut simulation = converged(with_wake);
    lose(&mut simulation, "worker-1");
    simulation.run_until(20 * MINUTE, |_| false);
    assert_eq!(count(&simulation, "wake"), 0, "outside of an episode:\n{}", told(&simulation));
    simulation.desk.declared.holds.push(Hold {
        what: Held::Node(node("worker-1")),
        reason: "new disk".to_owned(),
        set_by: "root@test".to_owned(),
        set_at: simulation.now().wall,
        expires_at: simulation.now().wall + jiff::SignedDuration::from_hours(2),
    });
    wish(&mut simulation, ClusterState::Running);
    simulation.run_until(20 * MINUTE, |_| false);
    assert_eq!(count(&simulation, "wake"), 0, "paused:\n{}", told(&simulation));
    simulation.desk.declared.holds.clear();
    wish(&mut simulation, ClusterState::Running);
    assert!(simulation.run_until(MINUTE, |it| count(it, "wake worker-1") > 0), "{}", told(&simulation));
}

#[test]
fn a_host_that_answers_nonsense_or_whose_node_lives_is_not_woken() {
    let mut simulation = converged(with_wake);
    simulation.world.hosts.get_mut(&node("worker-1")).expect("it is there").is_confused = true;
    simulation.world.hosts.get_mut(&node("worker-2")).expect("it is there").is_reachable = false;
    wish(&mut simulation, ClusterState::Running);
    simulation.run_until(20 * MINUTE, |_| false);
    assert_eq!(count(&simulation, "wake"), 0, "{}", told(&simulation));
}

#[test]
fn an_ignored_node_is_woken_only_if_it_was_up_before_whatever_was_restarted() {
    for was_up in [true, false] {
        let mut simulation = converged(|config| {
            with_own_host_up(config);
            with_wake(config);
            config.ignore_unavailable_nodes.insert(node("worker-2"));
        });
        if !was_up {
            lose(&mut simulation, "worker-2");
            simulation.run_until(3 * MINUTE, |_| false);
        }
        cut_mains(&mut simulation);
        plays(&mut simulation, 30 * MINUTE, |it| count(it, "power off") > 0);
        assert_eq!(simulation.desk.ledger.was_up.contains(&node("worker-2")), was_up);
        simulation.restart_hecate();
        plays(&mut simulation, 30 * MINUTE, |it| it.world.is_dark());
        mains_back_too_early(&mut simulation);
        fill_batteries(&mut simulation);
        simulation.restart_hecate();
        plays(&mut simulation, 30 * MINUTE, |it| it.is_converged() && it.world.has_quorum());
        assert_eq!(count(&simulation, "wake worker-2") > 0, was_up, "{}", told(&simulation));
    }
}

#[test]
fn an_absent_ignored_node_that_was_up_holds_nothing_up_and_obeys_the_guards() {
    let mut simulation = converged(|config| {
        with_wake(config);
        config.ignore_unavailable_nodes.insert(node("worker-2"));
    });
    lose(&mut simulation, "worker-2");
    simulation.desk.ledger.was_up.insert(node("worker-2"));
    cut_mains(&mut simulation);
    simulation.run_until(MINUTE, |_| false);
    wish(&mut simulation, ClusterState::Running);
    assert!(simulation.run_until(MINUTE, Simulation::is_converged), "{:?}", blockers(&simulation));
    assert_eq!(count(&simulation, "wake"), 0, "on battery:\n{}", told(&simulation));
}

#[test]
fn waking_that_never_works_says_what_to_look_at_and_blocks_as_any_absent_host() {
    let mut simulation = dark_with_mains(with_wake);
    fill_batteries(&mut simulation);
    for name in ["cp-1", "worker-1"] {
        simulation.world.hosts.get_mut(&node(name)).expect("it is there").deaf_to = None;
    }
    simulation.run_until(20 * MINUTE, |_| false);
    let warned = warnings(&simulation);
    let hint =
        warned.iter().find(|one| matches!(one, Warning::WakeWithoutEffect { node, .. } if node.as_str() == "cp-1"));
    assert!(hint.expect("it is said").to_string().contains("firmware"), "{warned:?}");
    assert_eq!(blockers(&simulation), vec![Blocker::HostOff { node: node("cp-1") }]);
    assert!(warned.iter().any(|one| matches!(one, Warning::NodeAbsent { node, .. } if node.as_str() == "worker-1")));
    // It is tried a minute apart, for as long as the episode goes on.
    let before = count(&simulation, "wake cp-1");
    simulation.run_until(10 * MINUTE, |_| false);
    assert!((8..=11).contains(&(count(&simulation, "wake cp-1") - before)), "{}", told(&simulation));
}

#[test]
fn a_host_that_waits_for_stable_mains_loses_none_of_the_time_in_which_it_is_woken() {
    let mut simulation = dark_with_mains(|config| {
        with_wake(config);
        config.startup.mains_stable = 40 * MINUTE;
    });
    fill_batteries(&mut simulation);
    simulation.world.hosts.get_mut(&node("worker-1")).expect("it is there").deaf_to = Some(5);
    plays(&mut simulation, 90 * MINUTE, is_running);
    assert!(count(&simulation, "wake worker-1") >= 6, "{}", told(&simulation));
}

#[test]
fn status_names_who_is_past_the_commit_point_and_who_was_up() {
    let mut simulation = dark_with_mains(with_wake);
    simulation.run_until(2 * MINUTE, |_| false);
    let status = &simulation.last.as_ref().expect("a pass was made").status;
    assert_eq!(status.past_commit_point.len(), 5);
    assert_eq!(status.was_up.len(), 5);
    let text = hecate::status::render::status(status, Default::default());
    assert!(text.contains("past the commit point, not undone: cp-1 at "), "{text}");
    assert!(text.contains("was up     cp-1, cp-2, cp-3, worker-1, worker-2"), "{text}");
}

#[test]
fn the_end_of_a_descent_cuts_the_load_once_and_this_host_is_off_before() {
    for ups_path in [UpsPath::Emergency, UpsPath::Auto] {
        let mut simulation = converged(|config| {
            with_cut(config);
            config.shutdown.ups_path = ups_path;
        });
        cut_mains(&mut simulation);
        plays(&mut simulation, TO_THE_LAST, |it| !it.world.own_is_on);
        assert!(simulation.world.is_dark());
        assert_eq!(times_cut(&simulation), 1, "{}", told(&simulation));
        // Mains come back before the battery is empty: only the cut makes the hosts see it.
        mains_back_too_early(&mut simulation);
        fill_batteries(&mut simulation);
        plays(&mut simulation, 60 * MINUTE, is_running);
        assert_eq!(times_cut(&simulation), 1, "{}", told(&simulation));
        assert!(!simulation.world.own_was_cut(), "{}", told(&simulation));
    }
}

#[test]
fn mains_back_right_after_the_cut_was_told_do_not_keep_this_host_up() {
    let mut simulation = converged(with_cut);
    cut_mains(&mut simulation);
    plays(&mut simulation, TO_THE_LAST, |it| times_cut(it) == 1);
    mains_back_too_early(&mut simulation);
    fill_batteries(&mut simulation);
    plays(&mut simulation, 60 * MINUTE, is_running);
    assert_eq!(times_cut(&simulation), 1, "{}", told(&simulation));
    assert!(!simulation.world.own_was_cut(), "{}", told(&simulation));
}

#[test]
fn mains_back_although_hosts_are_off_are_answered_by_one_cut() {
    let mut simulation = converged(with_cut);
    cut_mains(&mut simulation);
    plays(&mut simulation, 30 * MINUTE, |it| it.world.is_dark());
    assert!(simulation.world.own_is_on, "this host waits until they are known to be off");
    mains_back_too_early(&mut simulation);
    fill_batteries(&mut simulation);
    plays(&mut simulation, 60 * MINUTE, is_running);
    assert_eq!(times_cut(&simulation), 1, "{}", told(&simulation));
    assert!(!simulation.world.own_was_cut(), "{}", told(&simulation));
}

#[test]
fn a_host_that_does_not_come_back_with_the_load_is_no_reason_for_another_cut() {
    let mut simulation = dark_with_mains(with_cut);
    fill_batteries(&mut simulation);
    for host in simulation.world.hosts.values_mut() {
        host.is_reachable = false;
    }
    simulation.run_until(2 * 60 * MINUTE, |_| false);
    assert_eq!(times_cut(&simulation), 1, "{}", told(&simulation));
    assert!(blockers(&simulation).contains(&Blocker::HostOff { node: node("cp-1") }));
}

#[test]
fn no_load_is_cut_while_it_feeds_a_host_that_is_on() {
    let mut simulation = dark_with_mains(with_cut);
    simulation.world.press_button(&node("worker-2"));
    fill_batteries(&mut simulation);
    simulation.run_until(60 * MINUTE, |_| false);
    assert_eq!(times_cut(&simulation), 0, "{}", told(&simulation));
    let warned = warnings(&simulation);
    let said = warned.iter().find(|one| matches!(one, Warning::LoadNotCut { .. })).expect("it is said").to_string();
    assert!(said.contains("worker-2, which is not off; switch cp-1 on"), "{said}");
    assert!(blockers(&simulation).contains(&Blocker::HostOff { node: node("cp-1") }));
}

#[test]
fn a_host_that_was_never_told_off_keeps_the_load_on_and_this_host_goes_all_the_same() {
    let mut simulation = converged(with_cut);
    simulation.world.hosts.get_mut(&node("worker-1")).expect("it is there").is_reachable = false;
    cut_mains(&mut simulation);
    assert!(simulation.run_until(30 * MINUTE, |it| !it.world.own_is_on), "{}", told(&simulation));
    assert_eq!(times_cut(&simulation), 0, "{}", told(&simulation));
    let warned = warnings(&simulation);
    assert!(warned.iter().any(|one| matches!(one, Warning::LoadNotCut { .. })), "{warned:?}");
}

#[test]
fn a_ups_that_has_fallen_silent_on_battery_is_not_told_to_cut() {
    let mut simulation = dark_with_mains(with_cut);
    cut_mains(&mut simulation);
    simulation.run_until(Duration::from_secs(6), |_| false);
    simulation.world.upses.values_mut().for_each(|battery| battery.answers = false);
    let is_said = |it: &Simulation| {
        warnings(it)
            .iter()
            .any(|one| matches!(one, Warning::LoadNotCut { evidence, .. } if evidence.contains("any more")))
    };
    plays(&mut simulation, 10 * MINUTE, is_said);
    simulation.run_until(5 * MINUTE, |_| false);
    assert_eq!(times_cut(&simulation), 0, "{}", told(&simulation));
}

#[test]
fn a_full_disk_costs_the_cut_and_never_the_power_off() {
    let mut simulation = converged(with_cut);
    simulation.disk_works = false;
    cut_mains(&mut simulation);
    assert!(simulation.run_until(TO_THE_LAST, |it| !it.world.own_is_on), "{}", told(&simulation));
    assert_eq!(times_cut(&simulation), 0, "{}", told(&simulation));
    assert!(simulation.world.upses[&pyrphoros()].holds > 0.0);
}

#[test]
fn a_restart_at_any_moment_of_a_cut_changes_nothing_that_a_host_would_feel() {
    for after in (0..8).chain([15, 25]) {
        let mut simulation = converged(with_cut);
        cut_mains(&mut simulation);
        plays(&mut simulation, TO_THE_LAST, |it| !it.desk.ledger.load_cuts.is_empty());
        for _ in 0..after {
            simulation.tick();
        }
        simulation.restart_hecate();
        plays(&mut simulation, TO_THE_LAST, |it| !it.world.own_is_on);
        assert!(times_cut(&simulation) >= 1, "killed {after} s after the mark:\n{}", told(&simulation));
        mains_back_too_early(&mut simulation);
        fill_batteries(&mut simulation);
        plays(&mut simulation, 60 * MINUTE, is_running);
        assert!(!simulation.world.own_was_cut(), "killed {after} s after the mark:\n{}", told(&simulation));
    }
}

#[test]
fn a_restart_at_any_moment_of_a_cut_tells_no_ups_twice_that_does_not_feed_this_host() {
    for after in (0..8).chain([15, 25]) {
        let mut simulation = converged(|config| {
            with_own_host_up(config);
            with_cut(config);
        });
        cut_mains(&mut simulation);
        plays(&mut simulation, 30 * MINUTE, |it| !it.desk.ledger.load_cuts.is_empty());
        for _ in 0..after {
            simulation.tick();
        }
        simulation.restart_hecate();
        simulation.run_until(10 * MINUTE, |_| false);
        assert!(times_cut(&simulation) <= 1, "killed {after} s after the mark:\n{}", told(&simulation));
    }
}

#[test]
fn a_declared_poweroff_is_never_undone_by_a_cut() {
    let mut simulation = converged(|config| {
        with_own_host_up(config);
        with_cut(config);
    });
    wish(&mut simulation, ClusterState::Poweroff);
    plays(&mut simulation, 30 * MINUTE, |it| it.is_converged() && it.world.is_dark());
    wish(&mut simulation, ClusterState::Running);
    simulation.run_until(60 * MINUTE, |_| false);
    assert_eq!(times_cut(&simulation), 0, "{}", told(&simulation));
    assert!(blockers(&simulation).contains(&Blocker::HostOff { node: node("cp-1") }));
}

fn mistakes(cut: &str, own_host: &str, worker: &str) -> String {
    let text = format!(
        "kubeconfig: /k\nnodes:\n- {{name: cp-1, role: control-plane, feeds: [u]}}\n- {{name: w-1, role: worker, feeds: [u]{worker}}}\nown_host: {own_host}\nupses:\n- {{name: u, target: u@localhost, {cut}}}\n"
    );
    match Config::parse(&text) {
        Ok(_) => String::new(),
        Err(mistakes) => mistakes.0.iter().map(|one| format!("{one}\n")).collect(),
    }
}

#[test]
fn what_would_take_the_power_from_somebody_is_refused_by_check() {
    let user = "username: m, password_file: /p";
    let cut = |delay: u32| format!("{user}, cut_load: {{delay_seconds: {delay}}}");
    assert_eq!(mistakes(&cut(61), "{feeds: [u]}", ""), "");
    assert_eq!(mistakes(&cut(1), "{feeds: []}", ""), "");
    let bad = [
        (mistakes("cut_load: {delay_seconds: 90}", "{feeds: [u]}", ""), "needs a NUT user"),
        (mistakes(&cut(60), "{feeds: [u]}", ""), "60 is not more than own_host.power_off_seconds (60)"),
        (mistakes(&cut(90), "{feeds: [u], power_off: false}", ""), "feeds the hecate host, which is never powered off"),
        (mistakes(&cut(90), "{feeds: [u]}", ", power_off: false"), "feeds \"w-1\", which hecate never powers off"),
        (mistakes(&format!("{user}, cut_load: {{}}"), "{feeds: [u]}", ""), "delay_seconds"),
        (
            mistakes(&format!("{user}, cut_load: {{command: load.off, delay_seconds: 90}}"), "{feeds: [u]}", ""),
            "shutdown.return",
        ),
    ];
    for (said, expected) in bad {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

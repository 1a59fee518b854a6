//! Many outages of one cluster: whether it is dark in time and runs again, and who was not or does not.

use std::time::Duration;

use hecate::config::Config;
use hecate::history::{History, Run, RunResult, RunStep};
use hecate::model::{ClusterState, Path, RunId};
use hecate::plan::step::Outcome;
use hecate::simulate::blueprint;
use hecate::simulate::rehearsal::{AgainEnding, Ending, Question, Rehearsal, Report};
use jiff::Timestamp;

fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

fn config() -> Config {
    blueprint::config(3, 2).unwrap()
}

/// Past descents in which each of these steps took so long on each node.
fn history(config: &Config, steps: &[(&str, u64)]) -> History {
    let step = |step: &str, target: String, took: u64| RunStep {
        step: step.to_owned(),
        target,
        started: Duration::ZERO,
        took: Duration::from_secs(took),
        outcome: Outcome::Tried,
    };
    let each = config.nodes.keys().flat_map(|node| steps.iter().map(move |(name, took)| (node, *name, *took)));
    let steps: Vec<RunStep> = each.map(|(node, name, took)| step(name, node.to_string(), took)).collect();
    let run = Run {
        id: RunId::new("run"),
        state: ClusterState::Poweroff,
        path: Path::Emergency,
        trigger: String::new(),
        is_override: true,
        from_running: true,
        began_at: Timestamp::UNIX_EPOCH,
        ended_at: Timestamp::UNIX_EPOCH,
        wall_synced: false,
        boot_id: None,
        duration: Duration::from_secs(200),
        result: RunResult::Superseded,
        steps,
    };
    History::new(vec![run; 4])
}

fn rehearse(history: &History, runtime: Duration, outages: u64) -> Report {
    Rehearsal::new(&config(), history, runtime).rehearse(0, outages)
}

#[test]
fn a_cluster_with_plenty_of_battery_is_always_dark_in_time() {
    let report = rehearse(&History::default(), minutes(30), 60);
    assert!(report.is_good(), "{:#?}", report.failures);
    assert_eq!((report.outages, report.share), (60, Some(1.0)));
    assert_eq!(report.ended_early + report.had_to_be_dark, 60);
    assert!(
        report.ended_early > 5 && report.had_to_be_dark > 20,
        "{} and {}",
        report.ended_early,
        report.had_to_be_dark
    );
    let (dark, left) = (report.dark_after.unwrap(), report.battery_left.unwrap());
    assert!(dark.p5 <= dark.p50 && dark.p50 <= dark.p95 && dark.p95 <= dark.max, "{dark:?}");
    assert!(left.p5 > Duration::ZERO, "{left:?}");
    assert!(report.dark_after_trigger.unwrap().max < minutes(15));
}

#[test]
fn a_battery_that_cannot_suffice_is_told_with_who_lost_power() {
    let report = rehearse(&History::default(), minutes(1), 30);
    assert!(!report.is_good());
    let failure = report.failures.first().unwrap();
    assert!(failure.why.contains(" lost power; "), "{}", failure.why);
    let (played, timeline) = Rehearsal::new(&config(), &History::default(), minutes(1)).told(failure.seed);
    assert_eq!((played.ending, played.why.as_ref()), (Ending::LostPower, Some(&failure.why)));
    assert!(timeline.iter().any(|line| line.text.contains("loses power")), "the replay tells it");
}

#[test]
fn the_same_seed_is_the_same_outage() {
    let rehearsal = Rehearsal::new(&config(), &History::default(), minutes(12));
    let report = rehearsal.rehearse(7, 12);
    assert_eq!(report, rehearsal.rehearse(7, 12));
    assert_eq!(report.played[5], rehearsal.play(12), "however many others are played");
}

#[test]
fn what_past_runs_took_is_what_is_played() {
    let config = config();
    let quick = history(&config, &[("stop-unit", 4), ("host-off", 8)]);
    let slow = history(&config, &[("stop-unit", 55), ("host-off", 70)]);
    let (quick, slow) = (rehearse(&quick, minutes(20), 40), rehearse(&slow, minutes(20), 40));
    assert_eq!((quick.learned.runs, quick.learned.steps), (4, 40));
    let after = |report: &Report| report.dark_after_trigger.unwrap();
    // How long a host goes on writing is drawn as well, so each is compared with its like.
    let (slower, quicker) = (after(&slow), after(&quick));
    let is_later = slower.p5 > quicker.p5 && slower.p50 > quicker.p50 && slower.p95 > quicker.p95;
    assert!(is_later, "{slower:?} and {quicker:?}");
    assert!(slow.battery_left.unwrap().p50 < quick.battery_left.unwrap().p50);
    assert_eq!(slow.slowest[0].step, "host-off");
}

/// The same cluster, with more in its configuration; `UPS_MORE` stands in the entry of its UPS.
fn rehearse_as(ups: &str, more: &str, runtime: Duration, outages: u64) -> Report {
    let text = blueprint::text(3, 2).replace("@localhost}", &format!("@localhost{ups}}}")) + more;
    let config = Config::parse(&text).unwrap().config;
    Rehearsal::new(&config, &History::default(), runtime).rehearse(0, outages)
}

const CUT: &str = ", username: hecate, password_file: /etc/hecate/nut, cut_load: {delay_seconds: 180}";

#[test]
fn hosts_behind_an_output_that_never_ended_need_a_hand_and_that_is_told() {
    let report = rehearse(&History::default(), minutes(30), 60);
    assert_eq!((report.had_to_run, report.running_share), (60, Some(1.0)));
    assert!(report.by_hand > 0, "mains return early in some, and nothing wakes anybody");
    let why = report.by_hand_why.unwrap();
    assert!(why.contains("off, and nothing could switch"), "{why}");
    let by_itself: Vec<_> = report.played.iter().filter(|one| one.again.ending == AgainEnding::ByItself).collect();
    assert!(by_itself.len() > 20, "who lost its power boots with the mains");
    assert!(by_itself.iter().all(|one| one.again.running_after.is_some()));
}

#[test]
fn a_ups_that_cuts_its_load_spares_the_hand() {
    let (without, with) = (rehearse_as("", "", minutes(30), 60), rehearse_as(CUT, "", minutes(30), 60));
    assert!(with.is_good(), "{:#?}", with.failures);
    assert!(with.by_hand < without.by_hand, "{} and {}", with.by_hand, without.by_hand);
}

#[test]
fn a_cluster_that_stays_dark_fails_the_second_question_alone() {
    let more = "coordination: {role: peer, peer_hosts: [titan-db]}\n";
    let report = rehearse_as(CUT, more, minutes(20), 6);
    assert_eq!((report.running_again, report.running_share), (0, Some(0.0)));
    assert!(report.share.is_none_or(|share| share == 1.0), "it is dark in time all the same");
    let failure = report.failures.first().unwrap();
    assert_eq!((failure.question, failure.why.contains("is a peer")), (Question::RunningAgain, true), "{failure:?}");
    assert!(!report.is_good());
}

#[test]
fn a_battery_below_gate_or_trigger_is_told_whatever_comes_of_it() {
    let demands = |runtime| -> Vec<String> {
        let report = rehearse(&History::default(), runtime, 1);
        report.shortfalls.iter().map(|one| format!("{:?}", one.demand)).collect()
    };
    assert_eq!(demands(minutes(20)), [""; 0]);
    assert_eq!(demands(minutes(14)), ["Gate"]);
    assert_eq!(demands(minutes(3)), ["Trigger", "Gate"]);
}

#[test]
fn some_batteries_give_less_than_their_ups_promises_and_the_cluster_is_dark_in_time_all_the_same() {
    let report = rehearse(&History::default(), minutes(20), 60);
    assert!(report.is_good(), "{:#?}", report.failures);
    let weakest = report.played.iter().map(|one| one.battery).min().unwrap();
    assert!(weakest < minutes(10), "one of them has aged: {weakest:?}");
}

//! Many outages of one cluster: whether it is dark in time, and who was not.

use std::time::Duration;

use hecate::config::Config;
use hecate::history::{History, Run, RunResult, RunStep};
use hecate::model::{ClusterState, Path, RunId};
use hecate::plan::step::Outcome;
use hecate::simulate::blueprint;
use hecate::simulate::rehearsal::{Ending, Rehearsal, Report};
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
    assert!(after(&slow).p5 > after(&quick).p95, "{:?} and {:?}", after(&slow), after(&quick));
    assert!(slow.battery_left.unwrap().p50 < quick.battery_left.unwrap().p50);
    assert_eq!(slow.slowest[0].step, "host-off");
}

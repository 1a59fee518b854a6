//! Rehearsals and random worlds through the real binary: what they print, what they write, how they end.

use std::path::Path;

use hecate::simulate::blueprint;

use super::{Host, Ran, hecate};

fn run(arguments: &[&str]) -> Ran {
    Ran::of(hecate(arguments))
}

fn json(ran: &Ran) -> serde_json::Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|failure| panic!("{failure}: {ran:?}"))
}

#[test]
fn a_rehearsal_says_how_many_were_dark_in_time_and_what_was_left() {
    let ran = run(&["simulate", "--outages", "8", "--runtime-minutes", "20", "-o", "json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let report = json(&ran);
    assert_eq!(report["outages"], 8);
    assert_eq!(report["played"].as_array().unwrap().len(), 8);
    assert_eq!(report["share"], 1.0);
    assert_eq!(report["failures"], serde_json::json!([]));
    assert_eq!((&report["hadToRun"], &report["runningAgain"]), (&8.into(), &8.into()));
    for key in ["battery", "darkAfter", "darkAfterTrigger", "batteryLeft", "runningAfter"] {
        assert!(report[key]["p50"].as_f64().unwrap() > 0.0, "{key}: {}", report[key]);
    }
    assert!(report["slowest"][0]["step"].is_string());
}

#[test]
fn a_battery_too_small_ends_with_13_and_says_how_to_see_it() {
    let ran = run(&["simulate", "--outages", "8", "--runtime-minutes", "1"]);
    assert_eq!(ran.code, Some(13), "{ran:?}");
    assert!(ran.out.is_ascii(), "no terminal: {}", ran.out);
    assert!(ran.out.contains(" lost power; "), "{}", ran.out);
    let again =
        ran.out.lines().find_map(|line| line.strip_prefix("see it happen: hecate ")).expect("it says what to type");
    let replayed = run(&again.split(' ').collect::<Vec<_>>());
    assert_eq!(replayed.code, Some(13), "{replayed:?}");
    assert!(replayed.out.contains("* mains are lost") && replayed.out.contains(" loses power"), "{}", replayed.out);
}

#[test]
fn a_cluster_that_would_not_run_again_ends_with_13_and_says_what_is_in_the_way() {
    // A peer starts nothing unasked, so its cluster stays dark.
    let host = Host::new();
    let text = blueprint::text(3, 2) + "coordination: {role: peer, peer_hosts: [titan-db]}\n";
    std::fs::write(host.folder.path().join("hecate.yaml"), text).unwrap();
    let ran = host.run(&["simulate", "power-cut", "--outage-minutes", "600"]);
    assert_eq!(ran.code, Some(13), "{ran:?}");
    assert!(ran.out.contains("running again   not within 24 h\n"), "{}", ran.out);
    assert!(ran.out.contains("in the way      this host is a peer"), "{}", ran.out);
    let ran = host.run(&["simulate", "--outages", "2"]);
    assert_eq!(ran.code, Some(13), "{ran:?}");
    assert!(ran.out.contains("dark in time                  2 of 2, 100.0 %\n"), "the first answer: {}", ran.out);
    assert!(ran.out.contains("running again                 0 of 2, 0.0 %\n"), "the second one: {}", ran.out);
    assert!(ran.out.contains("     never |") && ran.out.contains("2 not running"), "its chart: {}", ran.out);
    assert!(ran.out.contains("does not run again: this host is a peer"), "{}", ran.out);
}

#[test]
fn a_battery_below_the_gate_is_told_with_its_figures_and_what_to_do() {
    for play in [&["--outages", "1"][..], &["power-cut"]] {
        let ran = run(&[&["simulate"], play, &["--runtime-minutes", "14"]].concat());
        assert!(ran.out.contains("a full battery gives 14 min, the recharge gate"), "{}", ran.out);
        assert!(ran.out.contains("what to do") && ran.out.contains("lower startup.bring_up_seconds"), "{}", ran.out);
    }
}

#[test]
fn a_rehearsal_of_ones_own_inventory_learns_from_its_runs_where_they_can_be_read() {
    let host = Host::new();
    host.configure();
    let ran = host.run(&["simulate", "--outages", "1", "-o", "json"]);
    assert_eq!((json(&ran)["learned"]["steps"].as_u64(), ran.err.as_str()), (Some(0), ""), "none are there: {ran:?}");
    std::fs::write(host.store.state_dir().join("runs.json"), "nonsense").unwrap();
    let ran = host.run(&["simulate", "--outages", "1"]);
    assert!(ran.err.contains("runs.json cannot be read"), "{}", ran.err);
}

#[test]
fn a_chart_is_one_file_that_needs_no_other() {
    let folder = tempfile::tempdir().unwrap();
    for (name, begins) in [("chart.svg", "<svg "), ("chart.html", "<!doctype html>")] {
        let path = folder.path().join(name);
        let ran = run(&["simulate", "--outages", "6", "--runtime-minutes", "2", "--chart", path.to_str().unwrap()]);
        assert!(ran.err.contains("the chart is in "), "{ran:?}");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with(begins)
                && text.contains("until all ran again")
                && text.contains("battery, median")
                && text.contains("prefers-color-scheme")
        );
        assert!(!text.replace("http://www.w3.org/2000/svg", "").contains("http"), "nothing is fetched");
    }
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "nothing is left over: {names:?}");
}

#[test]
fn a_chart_that_cannot_be_written_is_refused_before_anything_is_played() {
    let ran = run(&["simulate", "--outages", "1000000", "--chart", "/no/such/folder/chart.svg"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("there is no folder /no/such/folder"), "{}", ran.err);
    let ran = run(&["simulate", "--outages", "1000000", "--chart", "chart.png"]);
    assert_eq!((ran.code, ran.err.contains("must end in .svg or .html")), (Some(2), true), "{ran:?}");
    assert!(!Path::new("chart.png").exists());
}

#[test]
fn random_worlds_say_how_much_was_played() {
    let ran = run(&["simulate", "--seeds", "3", "--faults", "-o", "json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let summary = json(&ran);
    assert_eq!(
        (&summary["seeds"], &summary["faults"], &summary["failures"]),
        (&3.into(), &true.into(), &serde_json::json!([]))
    );
    assert!(summary["passes"].as_u64().unwrap() > 100 && summary["simulatedHours"].as_f64().unwrap() > 0.5);
    let one = run(&["simulate", "--seed", "2"]);
    assert_eq!(one.code, Some(0), "{one:?}");
    assert!(one.out.contains("= converged: running") && one.out.contains("(seed 2; "), "{}", one.out);
}

#[test]
fn what_makes_no_play_is_a_wrong_command_line() {
    let wrong: [&[&str]; 7] = [
        &["simulate"],
        &["simulate", "--outages", "0"],
        &["simulate", "--seeds", "0"],
        &["simulate", "--outages", "3", "--faults"],
        &["simulate", "--runtime-minutes", "3"],
        &["simulate", "--seeds", "3", "--chart", "a.svg"],
        &["simulate", "--seeds", "3", "power-cut"],
    ];
    for arguments in wrong {
        let ran = run(arguments);
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{arguments:?}: {ran:?}");
    }
}

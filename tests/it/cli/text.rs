//! What people read: the help, and the status of three clusters.

use std::fmt::Write;
use std::time::Duration;

use hecate::status::render::{Palette, View, plan, progress, status};
use hecate::status::{Actor, BatteryRow, Status};

use super::{Host, Ran, hecate};
use crate::samples::{battery, blocked, healthy, on_battery};

fn plain(value: &Status) -> String {
    status(value, View { palette: Palette::PLAIN, age: Some(Duration::from_secs(3)) })
}

#[test]
fn help_of_every_command() {
    let mut text = String::new();
    let commands =
        ["", "daemon", "startup", "shutdown", "status", "set-desired", "pause", "resume", "ups", "check", "enroll"];
    let simulations =
        [vec!["ups", "forget"], vec!["simulate"], vec!["simulate", "power-cut"], vec!["simulate", "list"]];
    let every = commands.iter().map(|name| if name.is_empty() { vec![] } else { vec![*name] }).chain(simulations);
    for mut arguments in every {
        writeln!(text, "$ hecate {} --help", arguments.join(" ")).unwrap();
        arguments.push("--help");
        let ran = Ran::of(hecate(&arguments));
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
        writeln!(text, "{}", ran.out).unwrap();
    }
    insta::assert_snapshot!(text);
}

#[test]
fn status_of_a_healthy_cluster() {
    insta::assert_snapshot!(plain(&healthy()));
}

#[test]
fn status_of_a_cluster_going_down_on_battery() {
    insta::assert_snapshot!(plain(&on_battery()));
}

#[test]
fn status_of_a_blocked_bring_up() {
    insta::assert_snapshot!(plain(&blocked()));
}

#[test]
fn status_says_what_is_known_of_a_battery_and_how_old_that_is() {
    let mut known = healthy();
    known.upses.values_mut().for_each(|row| row.battery = Some(battery(34)));
    assert!(!plain(&healthy()).contains("BATTERY"), "nothing is known");
    insta::assert_snapshot!(plain(&known));
    known.upses.values_mut().for_each(|row| row.battery = Some(battery(200)));
    assert!(plain(&known).contains("(200 days ago), too old to rely on"), "{}", plain(&known));
    let unknown = BatteryRow {
        full_runtime: None,
        record: None,
        proof: None,
        watched_for: Some(Duration::from_secs(5 * 3600)),
        is_recharge_learned: false,
        ..battery(34)
    };
    known.upses.values_mut().for_each(|row| row.battery = Some(unknown.clone()));
    let text = plain(&known);
    assert!(text.contains("not yet, 5 h of calm so far  nothing yet"), "{text}");
    assert!(text.contains("6 h (configured)"), "{text}");
}

#[test]
fn progress_and_plan_of_each() {
    let each = [healthy(), on_battery(), blocked()];
    let lines: Vec<String> = each.iter().map(progress).collect();
    let plans: Vec<String> = each.iter().map(|one| plan(one, Palette::PLAIN)).collect();
    insta::assert_snapshot!(format!("{}\n\n{}", lines.join("\n"), plans.join("\n")));
}

#[test]
fn colours_only_where_asked_for() {
    let (host, _lock) = Host::with_daemon(blocked());
    assert!(!host.run(&["status"]).out.contains('\x1b'));
    assert!(host.run(&["status", "--color", "always"]).out.contains("\x1b["));
    let mut refused = host.command(&["status"]);
    refused.env("NO_COLOR", "1");
    assert!(!Ran::of(refused).out.contains('\x1b'));
}

#[test]
fn json_and_yaml_say_the_same() {
    let (host, _lock) = Host::with_daemon(on_battery());
    let json: serde_json::Value = serde_json::from_str(&host.run(&["status", "-o", "json"]).out).unwrap();
    let yaml: serde_json::Value = serde_yaml::from_str(&host.run(&["status", "-o", "yaml"]).out).unwrap();
    assert_eq!(json, yaml);
    assert_eq!(json["effective"]["state"], "poweroff");
    assert_eq!(json["declared"]["holds"][0]["what"]["node"], "titan-22");
}

#[test]
fn the_exit_code_of_status_is_its_verdict() {
    for (status, code) in [(healthy(), 0), (on_battery(), 10), (blocked(), 11)] {
        let (host, _lock) = Host::with_daemon(status);
        assert_eq!(host.run(&["status"]).code, Some(code));
    }
}

#[test]
fn what_a_predecessor_published_is_not_shown() {
    let (host, _lock) = Host::with_daemon(healthy());
    let mut status = host.store.read_status().unwrap().unwrap();
    status.actor = Actor::Daemon { pid: 1 };
    host.store.write_status(&status).unwrap();
    let ran = host.run(&["status"]);
    assert_ne!(ran.code, Some(0), "{ran:?}");
    assert!(ran.err.contains("the daemon has published nothing yet"), "{}", ran.err);
}

#[test]
fn what_was_published_in_another_boot_is_not_shown() {
    let (host, _lock) = Host::with_daemon(healthy());
    let mut status = host.store.read_status().unwrap().unwrap();
    status.now.boot_id = "another".into();
    host.store.write_status(&status).unwrap();
    let ran = host.run(&["status"]);
    assert_ne!(ran.code, Some(0), "{ran:?}");
    assert!(ran.err.contains("the daemon has published nothing yet"), "{}", ran.err);
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let (host, _lock) = Host::with_daemon(healthy());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = host.command(&["status"]);
    let ran = Ran::from(command.stdout(writer).output().unwrap());
    assert_eq!((ran.code, ran.err.contains("error")), (Some(0), false), "{ran:?}");
}

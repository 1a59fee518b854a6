//! Plays every file of `tests/scenarios`, and compares what happened with the trace beside it.
//!
//! `HECATE_SCENARIO=NAME` plays those whose names begin so; `INSTA_UPDATE=always` writes the traces anew.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use hecate::simulate::scenario::Scenario;
use hecate::simulate::scenario::built_in::BUILT_IN;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

fn text(file: &str) -> String {
    let path = folder().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|failure| panic!("{}: {failure}", path.display()))
}

/// The names of the folder's files that end so.
fn names(extension: &str) -> BTreeSet<String> {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let named = files.filter(|path| path.extension().is_some_and(|it| it == extension));
    named.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// Plays a file; gives what is wrong with it.
fn play(name: &str) -> Vec<String> {
    let scenario = match Scenario::parse(&text(&format!("{name}.yaml"))) {
        Ok(scenario) => scenario,
        Err(error) => return vec![format!("{name}.yaml:\n  {}", error.lines().join("\n  "))],
    };
    let played = scenario.play().unwrap();
    let mut bad = Vec::new();
    if !played.is_good() {
        bad.push(format!("{name}.yaml:\n{played}"));
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder());
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_description(scenario.about);
    let compare = || settings.bind(|| insta::assert_snapshot!(name, played.to_string()));
    if std::panic::catch_unwind(AssertUnwindSafe(compare)).is_err() {
        bad.push(format!("{name}.snap: not what happened"));
    }
    bad
}

#[test]
fn every_scenario_does_what_it_claims_and_what_its_trace_shows() {
    let prefix = std::env::var("HECATE_SCENARIO").unwrap_or_default();
    let names = names("yaml");
    let bad: Vec<String> = names.iter().filter(|name| name.starts_with(&prefix)).flat_map(|name| play(name)).collect();
    assert!(bad.is_empty(), "\n{}", bad.join("\n"));
}

#[test]
fn the_built_in_list_the_table_and_the_folder_name_the_same_scenarios() {
    let files = names("yaml");
    let listed: Vec<&str> = BUILT_IN.iter().map(|one| one.name).collect();
    assert_eq!(listed, files.iter().map(String::as_str).collect::<Vec<_>>(), "src/simulate/scenario/built_in.rs");
    assert_eq!(names("snap"), files, "a trace beside each file");
    let table = text("README.md");
    for name in &files {
        let link = format!("[{name}]({name}.yaml)");
        let row = table.lines().find(|line| line.contains(&link)).unwrap_or_else(|| panic!("README.md lacks {name}"));
        for incident in Scenario::parse(&text(&format!("{name}.yaml"))).unwrap().incidents {
            let is_in_row = row.split(['|', ',']).any(|cell| cell.trim() == incident);
            assert!(is_in_row, "README.md does not name {incident} beside {name}");
        }
    }
    let linked = table.matches(".yaml)").count();
    assert_eq!(linked, files.len(), "README.md links each file once, and nothing else");
}

/// A scenario with these claims, in which an outage takes the cluster down.
fn outage(never: &str, must: &str) -> String {
    format!(
        "about: an outage\nincidents: [test#1]\nwrong: none\nevents:\n- {{at: 60, event: mains-lost}}\nminutes: 30\n\
         never: [{never}]\nmust: [{must}]\n"
    )
}

#[test]
fn a_claim_that_is_broken_is_told_with_its_time_and_what_broke_it() {
    let text = outage(
        "power-off worker-1, start-unit, power-off-own-host before dark, stop-unit cp-1 before stopped worker-1",
        "dark until 60, dark in the end, uncordon, stop-unit cp-1 after stopped worker-1",
    );
    // Until the hecate host is off as well.
    let played = Scenario::parse(&text.replace("minutes: 30", "minutes: 90")).unwrap().play().unwrap();
    assert!(!played.is_good());
    let broken: Vec<String> = played.assertions.iter().filter(|it| !it.holds).map(ToString::to_string).collect();
    assert_eq!(broken.len(), 3, "{played}");
    assert!(broken[0].starts_with("BROKEN  never power-off worker-1  (00:13:4"), "{broken:?}");
    assert!(broken[0].ends_with(": power off worker-1)"), "{broken:?}");
    assert!(broken[1].starts_with("BROKEN  must  dark until 60  (not seen; at last going for running"), "{broken:?}");
    assert!(broken[2].starts_with("BROKEN  must  uncordon  (not seen; at last the hecate host is off"), "{broken:?}");
}

/// The lines of what is wrong with a file.
fn mistakes(text: &str) -> String {
    Scenario::parse(text).expect_err("it has mistakes").lines().join("\n")
}

#[test]
fn what_could_never_come_true_is_a_mistake_and_never_silently_true() {
    let claims = [
        ("pwoer-off", "unknown claim \"pwoer-off\"; did you mean \"power-off\"?"),
        ("power-off worker-9", "unknown node \"worker-9\"; did you mean \"worker-1\"?"),
        ("wake worker-1", "by the cluster's configuration that step is never taken there"),
        ("save-etcd-snapshot worker-1", "by the cluster's configuration that step is never taken there"),
        ("cut-load", "no such UPS has `cut_load`: that step is never taken"),
        ("blocker host-of", "unknown blocker \"host-of\"; did you mean \"host-off\"?"),
        ("wait recharg", "unknown wait \"recharg\"; did you mean \"recharge\"?"),
        ("override running", "no override ever demands running"),
        ("override poweroff gracefull", "unknown path \"gracefull\"; did you mean \"graceful\"?"),
        ("converged of", "unknown state \"of\"; there are running, drained-off, poweroff"),
        ("dark now", "\"now\" is too much"),
        ("dark until 1801", "`until 1801` is after the end, which is at 1800 s"),
        ("dark from soon", "`from` is followed by seconds, not by \"soon\""),
        ("dark from 60 until 59", "it ends before it begins"),
        ("drain before", "it says nothing"),
    ];
    let never: Vec<&str> = claims.iter().map(|(claim, _)| *claim).collect();
    let told = mistakes(&outage(&never.join(", "), "dark"));
    let expected: Vec<String> =
        claims.iter().enumerate().map(|(at, (claim, why))| format!("never[{at}]: \"{claim}\": {why}")).collect();
    assert_eq!(told, expected.join("\n"));
}

#[test]
fn all_mistakes_of_a_file_come_at_once() {
    let text = outage("", "drak")
        .replace("incidents: [test#1]", "incidents: []")
        .replace("at: 60, event: mains-lost", "at: 4000, event: mains-lost, ups: helios");
    assert_eq!(
        mistakes(&text),
        "incidents: names a report at least\n\
         never: names what must not happen\n\
         events[0]: at 4000 is after the end, which is at 1800 s\n\
         events[0]: there is no UPS helios\n\
         must[0]: \"drak\": unknown claim \"drak\"; did you mean \"dark\"?"
    );
}

#[test]
fn a_key_or_an_event_that_is_none_is_named() {
    let told = mistakes(&outage("drain", "dark").replace("minutes", "minuets"));
    assert!(told.starts_with("unknown field `minuets`"), "{told}");
    let told = mistakes(&outage("drain", "dark").replace("mains-lost", "mains-gone"));
    assert!(told.starts_with("events: event mains-gone at 60 s: unknown variant `mains-gone`"), "{told}");
    let told =
        mistakes(&outage("drain", "dark").replace("minutes", "cluster: {config: {ups_policy: {pole: 1}}}\nminutes"));
    assert!(told.starts_with("cluster:") && told.contains("ups_policy.pole: unknown key"), "{told}");
}

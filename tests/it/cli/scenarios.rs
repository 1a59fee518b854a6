//! `hecate simulate SCENARIO` and `simulate list`, as a person types them.

use std::path::PathBuf;

use super::{Ran, hecate};
use tempfile::TempDir;

fn simulate(arguments: &[&str]) -> Ran {
    Ran::of(hecate(&[&["simulate"], arguments].concat()))
}

/// A scenario of one short outage, with this as what must not happen.
fn file(folder: &TempDir, never: &str) -> PathBuf {
    let text = format!(
        "about: a blink of the mains\nincidents: [test#1]\nwrong: Doing anything.\nminutes: 5\nevents:\n\
         - {{at: 60, event: mains-lost}}\n- {{at: 90, event: mains-back}}\nnever: [{never}]\nmust: [converged running in the end]\n"
    );
    let path = folder.path().join("blink.yaml");
    std::fs::write(&path, text).expect("the file can be written");
    path
}

#[test]
fn the_list_names_every_scenario_with_its_claim_and_its_incidents() {
    let ran = simulate(&["list"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    assert!(ran.out.starts_with("NAME "), "{}", ran.out);
    let row = ran.out.lines().find(|line| line.starts_with("one-second-outage ")).expect("it is listed");
    assert!(row.ends_with("  techno-tim#185"), "{row}");
    let listed: serde_json::Value = serde_json::from_str(&simulate(&["list", "-o", "json"]).out).expect("it is JSON");
    assert_eq!(listed.as_array().expect("a list").len(), ran.out.lines().count() - 1);
    assert_eq!(listed[0]["name"], "aged-battery-that-tops-out-at-45");
}

#[test]
fn a_built_in_scenario_and_a_file_are_played_and_judged() {
    let ran = simulate(&["one-second-outage"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    assert!(ran.out.contains("\n00:01:00 * mains are lost\n"), "{}", ran.out);
    assert!(ran.out.contains("\nholds   never override\n"), "{}", ran.out);
    let folder = TempDir::new().expect("a temporary folder can be made");
    let path = file(&folder, "override, blocker on-battery");
    let ran = simulate(&[path.to_str().expect("a path of letters"), "-o", "json"]);
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let played: serde_json::Value = serde_json::from_str(&ran.out).expect("it is JSON");
    assert_eq!(played["assertions"][0]["holds"], true);
}

#[test]
fn a_broken_claim_ends_with_13_and_says_what_was_wrong() {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let path = file(&folder, "converged running");
    let ran = simulate(&[path.to_str().expect("a path of letters")]);
    assert_eq!(ran.code, Some(13), "{}", ran.err);
    assert!(ran.out.contains("BROKEN  never converged running  (00:00:"), "{}", ran.out);
    assert!(
        ran.err.contains("1 of 2 claims and 0 rules are broken; what must never happen did: Doing anything."),
        "{}",
        ran.err
    );
}

#[test]
fn what_is_no_scenario_is_told_with_what_to_type() {
    let ran = simulate(&["one-second-outrage"]);
    assert_eq!(ran.code, Some(2));
    assert_eq!(
        ran.err,
        "error: there is no scenario or file \"one-second-outrage\"\nhint: did you mean \"one-second-outage\"?\n"
    );
    let ran = simulate(&["./missing.yaml"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.starts_with("error: read the scenario ./missing.yaml: No such file"), "{}", ran.err);
    let folder = TempDir::new().expect("a temporary folder can be made");
    let path = file(&folder, "pwoer-off, dark until 900");
    let ran = simulate(&[path.to_str().expect("a path of letters")]);
    assert_eq!(ran.code, Some(3));
    assert!(ran.err.contains("blink.yaml: never[0]: \"pwoer-off\": unknown claim"), "{}", ran.err);
    assert!(ran.err.contains("blink.yaml: never[1]: \"dark until 900\": `until 900` is after the end"), "{}", ran.err);
}

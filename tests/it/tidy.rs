//! The code base's own rules, as far as a compiler does not know them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Rooms that do no I/O, ask no clock, run nothing and log nothing. See ARCHITECTURE.md.
const PURE: [&str; 14] = [
    "model", "snapshot", "config", "desired", "budget", "ledger", "history", "plan", "tracker", "status", "decide",
    "desk", "foresee", "simulate",
];

/// What no pure room may name.
const IMPURE_WORDS: [&str; 14] = [
    "tokio",
    "kube::",
    "kube_runtime",
    "openssh",
    "axum",
    "notify::",
    "async fn",
    "async move",
    ".await",
    "tracing::",
    "std::fs",
    "std::net::Tcp",
    "std::process",
    "HashMap",
];

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder can be listed") {
            let path = entry.expect("the entry can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("the file can be read");
                found.push((path.strip_prefix(&root).expect("it is below src").to_owned(), text));
            }
        }
    }
    found.sort();
    assert!(found.len() > 20, "the sources are where they should be");
    found
}

/// The first part of a path below src: the room.
fn room(path: &Path) -> String {
    let first = path.iter().next().expect("a path has a part").to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The code of a file without its tests and comments.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]").unwrap_or(text.len());
    let lines = text[..end].lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn pure_rooms_name_nothing_impure() {
    let mut broken = Vec::new();
    for (path, text) in sources().iter().filter(|(path, _)| PURE.contains(&room(path).as_str())) {
        if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with("_tests.rs")) {
            continue;
        }
        let code = code(text);
        for word in IMPURE_WORDS.iter().filter(|word| code.contains(**word)) {
            broken.push(format!("{} names {word}", path.display()));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn pure_rooms_use_pure_rooms_only() {
    let mut broken = Vec::new();
    for (path, text) in sources().iter().filter(|(path, _)| PURE.contains(&room(path).as_str())) {
        for used in code(text).split("crate::").skip(1) {
            let name: String = used.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            if !name.is_empty() && !PURE.contains(&name.as_str()) {
                broken.push(format!("{} uses crate::{name}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn pure_rooms_deny_the_methods_that_clippy_knows_to_be_impure() {
    let roots: BTreeSet<PathBuf> = sources()
        .iter()
        .map(|(path, _)| path.clone())
        .filter(|path| PURE.contains(&room(path).as_str()))
        .filter(|path| path.components().count() == 1 || path.ends_with("mod.rs"))
        .collect();
    for (path, text) in sources().iter().filter(|(path, _)| roots.contains(path)) {
        assert!(text.contains("#![deny(clippy::disallowed_methods)]"), "{} lacks the fence", path.display());
    }
}

#[test]
fn only_the_ups_policy_makes_an_effective_state() {
    for (path, text) in sources() {
        let makes = code(&text).lines().any(|line| {
            let line = line.trim();
            line == "Effective {" || line.ends_with("= Effective {") || line.ends_with("(Effective {")
        });
        assert!(!makes || path == Path::new("desired/ups_policy/obeyed.rs"), "{} makes an Effective", path.display());
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for (path, text) in sources() {
        assert!(text.starts_with("//! "), "{} does not begin with //!", path.display());
    }
}

#[test]
fn no_room_is_a_lumber_room() {
    for (path, text) in sources() {
        let lines = code(&text).lines().count();
        let limit = 600;
        assert!(lines <= limit, "{} has {lines} lines without tests and comments, more than {limit}", path.display());
        let name = room(&path);
        assert!(!["utils", "util", "helpers", "common", "misc", "kube"].contains(&name.as_str()), "{name}");
    }
}

#[test]
fn every_reason_stands_in_the_readmes_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = ["src/plan/blocker.rs", "src/plan/blocker/wait.rs", "src/plan/blocker/warning.rs"];
    let reasons = files.map(|file| std::fs::read_to_string(root.join(file)).expect("the file can be read")).concat();
    let readme = std::fs::read_to_string(root.join("README.md")).expect("the file can be read");
    let names: Vec<&str> = reasons
        .lines()
        .filter_map(|line| line.trim().strip_suffix("\",")?.rsplit_once("=> \""))
        .map(|(_, name)| name)
        .filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
        .collect();
    assert!(names.len() > 40, "the names are found: {names:?}");
    for name in names {
        assert!(readme.contains(&format!("| `{name}`")), "README.md has no row for {name}");
    }
}

#[test]
fn every_row_of_the_ups_policy_stands_in_the_readme() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).expect("the file can be read");
    let rows: Vec<String> = readme.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let mut last = 0;
    for row in &hecate::desired::ups_policy::words::POLICY {
        let condition = row.condition();
        let condition = if row.all.is_empty() { condition } else { format!("`{condition}`") };
        let wanted = format!("| {condition} | {} |", row.does);
        let line = rows.iter().position(|line| *line == wanted);
        let line = line.unwrap_or_else(|| panic!("README.md has no line {wanted}"));
        assert!(line > last, "the rows stand in their order: {wanted}");
        last = line;
    }
}

//! The JSON Schemas in `state/schemas/` are what the types say.
//!
//! Regenerate them with `HECATE_UPDATE_SCHEMAS=1 cargo test --test it schemas`.

use std::path::{Path, PathBuf};

use hecate::config::Config;
use hecate::desired::Declared;
use hecate::history::Runs;
use hecate::ledger::Ledger;
use hecate::model::IntentRecord;
use hecate::status::Status;
use schemars::{Schema, schema_for};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("state/schemas")
}

/// Every file that has a schema.
fn schemas() -> [(&'static str, Schema); 6] {
    [
        ("desired.yaml", schema_for!(Declared)),
        ("hecate.yaml", Config::schema()),
        ("intent.json", schema_for!(IntentRecord)),
        ("ledger.json", schema_for!(Ledger)),
        ("runs.json", schema_for!(Runs)),
        ("status.json", schema_for!(Status)),
    ]
}

#[test]
fn schemas_in_the_repository_are_those_of_the_types() {
    let is_update = std::env::var_os("HECATE_UPDATE_SCHEMAS").is_some();
    for (file, mut schema) in schemas() {
        schema.insert("title".to_owned(), format!("hecate: {file}").into());
        let text = serde_json::to_string_pretty(&schema).expect("a schema is JSON") + "\n";
        let path = folder().join(format!("{file}.schema.json"));
        if is_update {
            std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            continue;
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == text,
            "{} is not what the types say; run: HECATE_UPDATE_SCHEMAS=1 cargo test --test it schemas",
            path.display()
        );
    }
}

#[test]
fn no_schema_is_left_over() {
    let known: Vec<String> = schemas().iter().map(|(file, _)| format!("{file}.schema.json")).collect();
    for entry in std::fs::read_dir(folder()).expect("the folder is in the repository") {
        let name = entry.expect("it can be listed").file_name().to_string_lossy().into_owned();
        assert!(known.contains(&name), "state/schemas/{name} belongs to no type");
    }
}

#[test]
fn the_seed_is_a_desired_state_with_nothing_on_top() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("state/desired.yaml");
    let text = std::fs::read_to_string(path).expect("the seed is in the repository");
    let declared: Declared = serde_yaml::from_str(&text).expect("the seed is a desired state");
    assert_eq!((declared.api_version.as_str(), declared.kind.as_str()), (Declared::API_VERSION, Declared::KIND));
    assert!(declared.overrides.is_empty() && declared.holds.is_empty() && declared.spec.options.is_empty());
}

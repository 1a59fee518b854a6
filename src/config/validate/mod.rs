//! From the raw shape to a [`Config`] without impossible values; every mistake is noted, none ends the reading.
//!
//! Pure. Where something is wrong a stand-in goes into the `Config`, which is then thrown away: `Config::parse` gives
//! one only when nothing was wrong. Must never guess what an operator meant.

#![deny(clippy::disallowed_methods)]

mod coordination;
mod directions;
mod inventory;
mod names;
mod policy;
mod unbuilt;

use std::path::PathBuf;
use std::time::Duration;

use super::forms::Seconds;
use super::mistake::{At, Findings};
use super::raw::RawConfig;
use super::read::Field;
use super::{Config, defaults};

/// Judges everything.
pub(super) fn config(raw: &RawConfig, found: &mut Findings) -> Config {
    let state_dir = raw.state_dir.or(PathBuf::from(defaults::STATE_DIR));
    let runtime_dir = raw.runtime_dir.or(PathBuf::from(defaults::RUNTIME_DIR));
    if state_dir == runtime_dir {
        let problem = format!("runtime_dir and state_dir are both {}", state_dir.display());
        let hint = "choose two: runtime_dir is emptied at boot";
        found.mistake_with(written(&raw.runtime_dir, &raw.state_dir), problem, hint);
    }
    let inventory = inventory::read(raw, found);
    let unnamed_upses = inventory::unnamed(raw, &inventory);
    let ssh = inventory::ssh(raw, &state_dir, found);
    let config = Config {
        kubeconfig: raw.kubeconfig.value().cloned().unwrap_or_default(),
        state_dir,
        runtime_dir,
        metrics_listen: coordination::metrics(&raw.metrics, found),
        ssh,
        ignore_unavailable_nodes: inventory.ignored,
        own_host: inventory.own_host,
        unnamed_upses,
        upses: inventory.upses,
        nodes: inventory.nodes,
        ups_policy: policy::read(&raw.ups_policy, found),
        startup: directions::startup(raw, found),
        shutdown: directions::shutdown(&raw.shutdown, found),
        reconcile: coordination::reconcile(&raw.reconcile, found),
        coordination: coordination::read(raw, found),
    };
    inventory::witnesses(raw, &config, found);
    policy::across(raw, &config, found);
    coordination::across(raw, &config, found);
    unbuilt::refuse(raw, found);
    config
}

/// A duration that may be anything from zero up.
fn seconds(field: &Field<Seconds>, default: Duration) -> Duration {
    field.or(Seconds(default)).0
}

/// A duration that zero would turn into nonsense.
fn above_zero(field: &Field<Seconds>, default: Duration, found: &mut Findings) -> Duration {
    let value = seconds(field, default);
    if value.is_zero() {
        found.mistake_with(&field.at, "must be above 0", format!("the default is {}", show(default)));
    }
    value
}

/// A duration between two rounds of something: short ones would only make heat.
fn interval(field: &Field<Seconds>, default: Duration, found: &mut Findings) -> Duration {
    const LEAST: Duration = Duration::from_millis(500);
    let value = seconds(field, default);
    if value < LEAST {
        found.mistake_with(&field.at, "must be at least 0.5", format!("the default is {}", show(default)));
    }
    value
}

/// A whole number between two limits.
fn within(field: &Field<u32>, default: u32, least: u32, most: u32, found: &mut Findings) -> u32 {
    let value = field.or(default);
    if !(least..=most).contains(&value) {
        let hint = format!("the default is {default}");
        found.mistake_with(&field.at, format!("must be {least} to {most}, found {value}"), hint);
    }
    value
}

/// Seconds as they are written in the file.
fn show(duration: Duration) -> String {
    format!("{}", duration.as_secs_f64())
}

/// Of two keys that contradict each other the one that was written, else the first.
fn written<'a, T, U>(first: &'a Field<T>, second: &'a Field<U>) -> &'a At {
    if first.value().is_none() && second.value().is_some() { &second.at } else { &first.at }
}

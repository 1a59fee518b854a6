//! Clusters to simulate, written as the configuration an operator would write for them.
//!
//! Pure. What is not said here has the configuration's own default, so that a rehearsal shows what a real cluster does.

#![deny(clippy::disallowed_methods)]

use std::fmt::Write as _;

use crate::config::{Config, ConfigMistakes};

/// The name of the UPS of every cluster drawn here.
pub const UPS: &str = "pyrphoros";

/// The text of a configuration with so many servers and workers on one UPS, and a hecate host on it too.
pub fn text(servers: usize, workers: usize) -> String {
    let mut text = String::from("kubeconfig: /etc/hecate/kubeconfig\nnodes:\n");
    let servers = (1..=servers).map(|number| ("cp", "control-plane", number));
    let workers = (1..=workers).map(|number| ("worker", "worker", number));
    for (prefix, role, number) in servers.chain(workers) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "- {{name: {prefix}-{number}, role: {role}, feeds: [{UPS}]}}");
    }
    let _ = writeln!(text, "own_host: {{feeds: [{UPS}]}}");
    let _ = writeln!(text, "upses:\n- {{name: {UPS}, target: {UPS}@localhost}}");
    text
}

/// The configuration itself.
///
/// # Errors
/// Fails where the numbers make no cluster, such as one without a server.
pub fn config(servers: usize, workers: usize) -> Result<Config, ConfigMistakes> {
    Ok(Config::parse(&text(servers, workers))?.config)
}

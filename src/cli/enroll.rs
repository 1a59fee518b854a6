//! `hecate enroll`: the only command that accepts a host key nobody has vouched for yet.

use anyhow::Context as _;
use clap::Args;

use super::context::block_on;
use super::exit::{CONVERGED, USAGE};
use super::{Context, Stop};
use crate::clients::ssh::{self, Enrolled};
use crate::model::NodeName;

/// Learn a node's host key and machine id
///
/// Run it once a node, and again after a node was reinstalled. Compare what it prints with the node's own console.
#[derive(Debug, Args)]
pub(super) struct EnrollArgs {
    /// The node, as the inventory names it
    #[arg(value_name = "NODE")]
    node: String,
}

/// Runs it.
pub(super) fn run(args: EnrollArgs, context: &Context<'_>) -> Result<u8, Stop> {
    let config = context.config()?;
    let node = NodeName::new(args.node);
    if !config.nodes.contains_key(&node) {
        return Err(Stop::saying(USAGE, format!("there is no node {node} in the inventory")));
    }
    let enrolled = block_on(async {
        ssh::enroll(&config, &node).await.with_context(|| format!("cannot enroll {node}")).map_err(Stop::from)
    })?;
    // The loop takes it over from there: a machine id that a person vouched for replaces the one that was learned.
    let store = context.store_of(&config);
    store.set_enrolled(&node, &enrolled.machine_id).context("cannot keep the machine id")?;
    context.output.data(&said(&enrolled))?;
    Ok(CONVERGED)
}

fn said(enrolled: &Enrolled) -> String {
    let mut text = format!("{}\n  host key   {}\n", enrolled.node, enrolled.fingerprint);
    if let Some(replaced) = &enrolled.replaced {
        text.push_str(&format!("  instead of {replaced}\n"));
    }
    text.push_str(&format!("  machine id {}\n", enrolled.machine_id));
    if let Some((host, fingerprint)) = &enrolled.jump_host {
        text.push_str(&format!("jump host {host}\n  host key   {fingerprint}\n"));
    }
    text
}

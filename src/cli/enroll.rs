//! `hecate enroll`: the only command that accepts a host key nobody has vouched for yet.

use anyhow::Context as _;
use clap::Args;

use super::context::block_on;
use super::exit::{CONVERGED, USAGE};
use super::{Context, Stop};
use crate::clients::ssh::{self, Enrolled};
use crate::config::{Config, Peer};
use crate::model::NodeName;

/// Learn a node's host key and machine id
///
/// Run it once a node, and again after a node was reinstalled. Compare what it prints with the node's own console.
#[derive(Debug, Args)]
pub(super) struct EnrollArgs {
    /// The node, as the inventory names it; or another hecate host, as coordination.peer_hosts does
    #[arg(value_name = "NODE")]
    node: String,
}

/// Runs it.
pub(super) fn run(args: EnrollArgs, context: &Context<'_>) -> Result<u8, Stop> {
    let config = context.config()?;
    let node = NodeName::new(args.node);
    if !config.nodes.contains_key(&node) {
        return peer(&config, &node, context);
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

/// Another hecate host, by what stands in `coordination.peer_hosts` or by its address alone.
fn peer(config: &Config, name: &NodeName, context: &Context<'_>) -> Result<u8, Stop> {
    let is_meant = |peer: &&Peer| peer.name.as_str() == name.as_str() || peer.host == name.as_str();
    let Some(peer) = config.coordination.peer_hosts.iter().find(is_meant) else {
        let problem = format!("there is no node {name} in the inventory, and no such host in coordination.peer_hosts");
        return Err(Stop::saying(USAGE, problem));
    };
    if let Some(node) = config.nodes.iter().find(|(node, entry)| node.as_str() == peer.host || entry.host == peer.host)
    {
        let problem = format!("{} is the host of the node {}: their key is one", peer.name, node.0);
        return Err(Stop::saying(USAGE, problem).with_hint(format!("`hecate enroll {}` learns it", node.0)));
    }
    let session = ssh::peer_session(peer);
    let enrolled = block_on(async {
        ssh::enroll(config, &session).await.with_context(|| format!("cannot enroll {}", peer.name)).map_err(Stop::from)
    })?;
    context.output.data(&said(&Enrolled { node: NodeName::new(peer.name.as_str()), ..enrolled }))?;
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

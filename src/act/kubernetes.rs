//! What hecate does through the Kubernetes API: cordon, uncordon, drain, and the last look before a node stops.
//!
//! Never takes back or re-marks what somebody else cordoned, never evicts a pod by its name alone, and never says
//! "done": a later snapshot does. Every call has a deadline and may go to another server than the last.

mod drain;
mod judge;

use std::time::Duration;

use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::Instant;

pub use self::drain::drain;
pub use self::judge::{Verdict, judge_delete, judge_eviction};
use crate::clients::kubernetes::{CallError, Wire, call};
use crate::config::Shutdown;
use crate::model::{NodeName, RunId};
use crate::observe::kubernetes::{Api, CORDONED_BY, PodFacts, Seen};
use crate::plan::safety::owes_drain;
use crate::plan::step::Outcome;
use crate::snapshot::NodeObject;

/// How long one call may take: a little more than the default limit of an admission webhook.
const CALL_LIMIT: Duration = Duration::from_secs(11);
/// After this time without an answer the server is probed: an eviction takes 0.1 s (etcd 3.6), a webhook a little more.
const DOUBT_AFTER: Duration = Duration::from_secs(1);
/// How long a write waits for the watch to show it.
const SEEN_LIMIT: Duration = Duration::from_secs(2);
/// Pods in one answer of the last look.
const PAGE_SIZE: u32 = 250;
/// Who changed a field, in the object's own record.
const FIELD_MANAGER: &str = "hecate";

/// Why the last look had no result.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// There is no kubeconfig yet.
    #[error("find a way to the Kubernetes API")]
    NoWire,
    /// The API did not answer, or said no.
    #[error("list the pods on {node}")]
    List {
        /// Which node.
        node: NodeName,
        /// The last server's answer.
        source: CallError,
    },
}

/// Marks a node unschedulable and says in the same patch which run did.
///
/// Refused where somebody else has cordoned it already: their cordon must not become hecate's to take back.
pub async fn cordon(api: &Api, node: &NodeName, run: &RunId, limit: Duration) -> Outcome {
    let change = |seen: &NodeObject| match (seen.is_cordoned, &seen.cordoned_by) {
        (true, Some(_)) => Wish::Nothing,
        (true, None) => Wish::Refuse(format!("{node} was cordoned by somebody else")),
        (false, _) => Wish::Patch(json!({
            "metadata": {"annotations": {CORDONED_BY: run.as_str()}},
            "spec": {"unschedulable": true},
        })),
    };
    let outcome = patch_node(api, node, limit, change).await;
    if outcome == Outcome::Tried {
        api.wait_node(node, SEEN_LIMIT, |seen| seen.is_cordoned).await;
    }
    outcome
}

/// Takes back hecate's own cordon, mark and all, in one patch.
///
/// Refused where the mark is missing on a cordoned node: somebody else wants it cordoned.
pub async fn uncordon(api: &Api, node: &NodeName, limit: Duration) -> Outcome {
    let change = |seen: &NodeObject| match (seen.is_cordoned, &seen.cordoned_by) {
        (_, Some(_)) => Wish::Patch(json!({
            "metadata": {"annotations": {CORDONED_BY: null}},
            "spec": {"unschedulable": null},
        })),
        (true, None) => Wish::Refuse(format!("{node} was cordoned by somebody else")),
        // Also what an earlier try finds that has worked, but whose answer was lost.
        (false, None) => Wish::Nothing,
    };
    let outcome = patch_node(api, node, limit, change).await;
    if outcome == Outcome::Tried {
        api.wait_node(node, SEEN_LIMIT, |seen| !seen.is_cordoned && seen.cordoned_by.is_none()).await;
    }
    outcome
}

/// Namespace and name of each pod on a node that a drain still owes, read from the API itself and not from any cache:
/// the last look before the node is stopped.
pub async fn undrained(
    api: &Api,
    node: &NodeName,
    config: &Shutdown,
    limit: Duration,
) -> Result<Vec<String>, LookError> {
    let deadline = Instant::now() + limit;
    let mut tries = Tries::new(api, deadline);
    let mut last = None;
    while let Some(wire) = tries.next().await {
        match list_pods(api, &wire, node, tries.call_limit()).await {
            Ok(pods) => {
                let owed =
                    pods.iter().filter_map(|seen| seen.facts.as_ref()).filter(|facts| owes_drain(&facts.pod, config));
                return Ok(owed.map(|facts| format!("{}/{}", facts.pod.namespace, facts.pod.name)).collect());
            }
            Err(error) => {
                tries.failed(&error);
                last = Some(error);
            }
        }
    }
    Err(last.map_or(LookError::NoWire, |source| LookError::List { node: node.clone(), source }))
}

/// Every pod on a node, from the datastore: no resource version is named, so that no cache may answer.
async fn list_pods(api: &Api, wire: &Wire, node: &NodeName, limit: Duration) -> Result<Vec<Seen<PodFacts>>, CallError> {
    let all: kube::Api<Seen<PodFacts>> = kube::Api::all(wire.client.clone());
    let mut pods = Vec::new();
    let mut page = ListParams::default().fields(&format!("spec.nodeName={node}")).limit(PAGE_SIZE);
    loop {
        let list = ask(api, wire, limit, all.list(&page)).await?;
        pods.extend(list.items);
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(pods),
        }
    }
}

/// What is to be done with a Node as it was just read.
enum Wish {
    Patch(Value),
    Nothing,
    Refuse(String),
}

/// Reads a Node, and patches it only as it was read: a change in between is read anew and judged anew.
async fn patch_node(api: &Api, node: &NodeName, limit: Duration, wish: impl Fn(&NodeObject) -> Wish) -> Outcome {
    let mut tries = Tries::new(api, Instant::now() + limit);
    let mut last = format!("no way to the Kubernetes API was found for {node}");
    while let Some(wire) = tries.next().await {
        match patch_once(api, &wire, node, tries.call_limit(), &wish).await {
            Ok(outcome) => return outcome,
            Err(error) => {
                tries.failed(&error);
                last = format!("{node}: {error}");
                // Nothing that is tried again changes these.
                if error.status().is_some_and(|status| matches!(status.code, 400..=404 | 422)) {
                    break;
                }
            }
        }
    }
    Outcome::Failed { why: last }
}

async fn patch_once(
    api: &Api,
    wire: &Wire,
    node: &NodeName,
    limit: Duration,
    wish: &impl Fn(&NodeObject) -> Wish,
) -> Result<Outcome, CallError> {
    let nodes: kube::Api<Seen<NodeObject>> = kube::Api::all(wire.client.clone());
    let seen = ask(api, wire, limit, nodes.get(node.as_str())).await?;
    let malformed = || CallError::Malformed { server: wire.server.clone(), why: "a Node without a version".to_owned() };
    let facts = seen.facts.as_ref().ok_or_else(malformed)?;
    let mut patch = match wish(facts) {
        Wish::Patch(patch) => patch,
        Wish::Nothing => return Ok(Outcome::Tried),
        Wish::Refuse(evidence) => return Ok(Outcome::Refused { evidence }),
    };
    // The API server answers 409 where the Node is no longer the one that was read.
    patch["metadata"]["resourceVersion"] = json!(seen.resource_version().ok_or_else(malformed)?);
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    ask(api, wire, limit, nodes.patch(node.as_str(), &params, &Patch::Merge(patch))).await?;
    Ok(Outcome::Tried)
}

/// Makes one call, and gives it up before its deadline once its server has stopped being ready while another is. What
/// is called this way may be called twice: it names the version or the UID that it means, or only reads.
async fn ask<T>(
    api: &Api,
    wire: &Wire,
    limit: Duration,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, CallError> {
    let doubt = async {
        tokio::time::sleep(DOUBT_AFTER).await;
        api.suspect(&wire.server);
        api.superseded(&wire.server).await;
    };
    tokio::select! {
        answer = call(wire, limit, request) => answer,
        () = doubt => {
            let why = "it stopped being ready".to_owned();
            Err(CallError::Unreachable { server: wire.server.clone(), why })
        }
    }
}

/// Tries one after another until a deadline, with a pause that grows to a cap; each on a server that is ready, and not
/// on the one that has just failed where there is another.
struct Tries<'a> {
    api: &'a Api,
    deadline: Instant,
    avoid: Option<crate::clients::kubernetes::Server>,
    count: u32,
}

impl<'a> Tries<'a> {
    fn new(api: &'a Api, deadline: Instant) -> Self {
        Self { api, deadline, avoid: None, count: 0 }
    }

    /// The wire for the next try, after the pause; None once the deadline has passed.
    async fn next(&mut self) -> Option<Wire> {
        loop {
            if self.count > 0 {
                tokio::time::sleep_until(self.deadline.min(Instant::now() + judge::pause(self.count))).await;
            }
            if Instant::now() >= self.deadline {
                return None;
            }
            self.count += 1;
            if let Some(wire) = self.api.wire(self.avoid.as_ref()) {
                return Some(wire);
            }
        }
    }

    /// No call outlives the deadline.
    fn call_limit(&self) -> Duration {
        CALL_LIMIT.min(self.deadline.saturating_duration_since(Instant::now()))
    }

    /// Notes a failure: a server that did not speak is not asked again at once.
    fn failed(&mut self, error: &CallError) {
        let is_silent = error.status().is_none_or(|status| status.code >= 500);
        self.avoid = is_silent.then(|| error.server().clone());
        if is_silent {
            self.api.suspect(error.server());
        }
    }
}

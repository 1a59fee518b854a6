//! Evicts pods, all at once, and waits by watching until they are gone.
//!
//! A pod is meant by its UID: one made anew under the same name is never touched. Nothing is polled: a pod costs one
//! request unless it is refused. Dropping the future stops the requests and takes nothing back.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::Eviction;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use kube::Resource;
use kube::api::{DeleteParams, PostParams, Preconditions};
use serde::de::IgnoredAny;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::{debug, trace};

use super::judge::{self, Verdict, judge_delete, judge_eviction};
use super::{CALL_LIMIT, ask};
use crate::clients::kubernetes::{CallError, Server, Wire};
use crate::model::{NodeName, Uid};
use crate::observe::kubernetes::Api;
use crate::plan::step::{Outcome, PodRef};

/// Evictions in flight a node. An API server serves 200 writes at once by default, and each connection costs it memory.
const AT_ONCE: usize = 64;
/// Pods that a failure names; the rest are counted.
const NAMED_MAX: usize = 8;
/// Until a denied eviction is tried again: rights may be given, and a policy may be lifted.
const DENIED_PAUSE: Duration = Duration::from_secs(5);

/// Evicts these pods and waits until they are gone.
///
/// `pdb_grace` is how long a disruption budget (or an API server that answers 500) may refuse before the pod is deleted,
/// its own grace period kept. Past `limit` it fails and names the pods that are left; what was begun goes on by itself.
pub async fn drain(api: &Api, node: &NodeName, pods: &[PodRef], pdb_grace: Duration, limit: Duration) -> Outcome {
    let deadline = Instant::now() + limit;
    let notes = Notes { slots: Semaphore::new(AT_ONCE), words: Mutex::default() };
    let mut news = api.news();
    let mut urging: FuturesUnordered<_> = pods.iter().map(|pod| urge(api, pod, pdb_grace, &notes)).collect();
    let mut left: Vec<&PodRef> = pods.iter().collect();
    loop {
        news.borrow_and_update();
        let unseen = api.pods_left(pods);
        left.retain(|pod| unseen.contains(pod));
        if left.is_empty() {
            return Outcome::Tried;
        }
        tokio::select! {
            Some((pod, is_gone)) = urging.next() => left.retain(|other| !is_gone || other.uid != pod.uid),
            // The sender lives as long as `api`.
            _ = news.changed() => {}
            () = tokio::time::sleep_until(deadline) => return Outcome::Failed { why: notes.left(node, &left) },
        }
    }
}

/// What the pods of one drain share.
struct Notes {
    slots: Semaphore,
    /// What was last said of a pod, for the case that it stays.
    words: Mutex<BTreeMap<Uid, String>>,
}

impl Notes {
    fn note(&self, pod: &PodRef, words: impl Into<String>) {
        let words = words.into();
        debug!(namespace = %pod.namespace, pod = %pod.name, %words, "drain");
        self.words.lock().unwrap_or_else(PoisonError::into_inner).insert(pod.uid.clone(), words);
    }

    /// Names the pods that are left, with what was last said of each.
    fn left(&self, node: &NodeName, left: &[&PodRef]) -> String {
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let name = |pod: &&PodRef| {
            let why = words.get(&pod.uid).map_or("no answer yet", String::as_str);
            format!("{}/{} ({why})", pod.namespace, pod.name)
        };
        let mut named: Vec<String> = left.iter().take(NAMED_MAX).map(name).collect();
        if left.len() > NAMED_MAX {
            named.push(format!("and {} more", left.len() - NAMED_MAX));
        }
        let plural = if left.len() == 1 { "pod is" } else { "pods are" };
        format!("{} {plural} left on {node}: {}", left.len(), named.join(", "))
    }
}

/// Asks for one pod's departure until it is under way; says whether the pod is known to be gone.
async fn urge<'a>(api: &Api, pod: &'a PodRef, pdb_grace: Duration, notes: &Notes) -> (&'a PodRef, bool) {
    let mut refused_since: Option<Instant> = None;
    let mut must_delete = false;
    let mut avoid: Option<Server> = None;
    let mut failures = 0;
    loop {
        if api.pods_left(std::slice::from_ref(pod)).is_empty() {
            return (pod, true);
        }
        let verdict = push(api, pod, must_delete, &mut avoid, &notes.slots).await;
        trace!(namespace = %pod.namespace, pod = %pod.name, must_delete, ?verdict, "eviction");
        let pause = match verdict {
            Verdict::Leaving => {
                notes.note(pod, "still terminating");
                return (pod, false);
            }
            Verdict::Gone => return (pod, true),
            Verdict::Refused { why, pause } => {
                notes.note(pod, why);
                let patience = pdb_grace.saturating_sub(refused_since.get_or_insert_with(Instant::now).elapsed());
                must_delete = patience.is_zero();
                pause.min(patience)
            }
            Verdict::Later { why, pause } => {
                notes.note(pod, why);
                failures += 1;
                pause.unwrap_or_else(|| judge::pause(failures))
            }
            Verdict::Denied { why } => {
                notes.note(pod, why);
                DENIED_PAUSE
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// One request: an eviction, or the deletion that follows a refused one.
async fn push(api: &Api, pod: &PodRef, must_delete: bool, avoid: &mut Option<Server>, slots: &Semaphore) -> Verdict {
    // The semaphore is never closed; without a permit the request would only be one too many.
    let _slot = slots.acquire().await;
    let Some(wire) = api.wire(avoid.as_ref()) else {
        return Verdict::Later { why: "no way to the Kubernetes API".to_owned(), pause: None };
    };
    let answer = if must_delete { delete(api, &wire, pod).await } else { evict(api, &wire, pod).await };
    *avoid = None;
    if let Err(error) = &answer
        && error.status().is_none_or(|status| status.code > 500)
    {
        *avoid = Some(wire.server.clone());
        api.suspect(&wire.server);
    }
    if must_delete { judge_delete(&answer) } else { judge_eviction(&answer) }
}

/// Posts the Eviction itself: kube's own `evict` sends its options under a name that the API server does not know, so
/// that the precondition would be lost.
async fn evict(api: &Api, wire: &Wire, pod: &PodRef) -> Result<(), CallError> {
    let eviction = Eviction {
        metadata: meta::ObjectMeta {
            name: Some(pod.name.clone()),
            namespace: Some(pod.namespace.clone()),
            ..meta::ObjectMeta::default()
        },
        delete_options: Some(meta::DeleteOptions {
            preconditions: Some(meta::Preconditions {
                uid: Some(pod.uid.as_str().to_owned()),
                ..meta::Preconditions::default()
            }),
            ..meta::DeleteOptions::default()
        }),
    };
    let pods = kube::Api::<Pod>::namespaced(wire.client.clone(), &pod.namespace);
    let params = PostParams::default();
    let post = pods.create_subresource::<_, IgnoredAny>("eviction", &pod.name, &params, &eviction);
    ask(api, wire, CALL_LIMIT, post).await.map(|_| ())
}

/// Deletes the pod past its budget; no grace is named, so that its own holds.
async fn delete(api: &Api, wire: &Wire, pod: &PodRef) -> Result<(), CallError> {
    let params = DeleteParams {
        preconditions: Some(Preconditions { uid: Some(pod.uid.as_str().to_owned()), resource_version: None }),
        ..DeleteParams::default()
    };
    let path = <Pod as Resource>::url_path(&(), Some(&pod.namespace));
    let delete = async {
        let mut request =
            kube::core::Request::new(path).delete(&pod.name, &params).map_err(kube::Error::BuildRequest)?;
        request.extensions_mut().insert("delete");
        // The answer is the whole pod, or a Status: neither is needed.
        wire.client.request::<IgnoredAny>(request).await
    };
    ask(api, wire, CALL_LIMIT, delete).await.map(|_| ())
}

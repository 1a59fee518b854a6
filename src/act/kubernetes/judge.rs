//! What an answer to an eviction or a deletion means.
//!
//! Pure judgement over the Status that the API server gives (kube's retries are off, so that every answer comes here).

use std::time::Duration;

use kube::core::Status;

use crate::clients::kubernetes::CallError;

/// The cause the API server names when a disruption budget refuses (k8s.io/api/policy/v1, DisruptionBudgetCause).
const BUDGET_CAUSE: &str = "DisruptionBudget";
/// The cause it names when the pod's namespace is going away (k8s.io/api/core/v1, NamespaceTerminatingCause).
const NAMESPACE_CAUSE: &str = "NamespaceTerminating";
/// The words of a failed precondition on the UID, of an eviction and of a deletion (seen at kube-apiserver 1.36); the
/// API gives no machine-readable cause for it. Other words only cost a retry: the watch shows that the pod is gone.
const UID_WORDS: [&str; 2] = ["UID in the precondition", "UID in precondition"];
/// How soon a refused eviction is tried again where the server does not say: kubectl waits 5 s, which is a good part of
/// a battery. Each try is one small request.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause that a server may ask for: it answers 10 s for a budget that its controller has just not seen yet.
const ASKED_PAUSE_MAX: Duration = Duration::from_secs(3);
/// The longest pause between tries while no server answers.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What an answer means for one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The pod is going; its deletion is waited for.
    Leaving,
    /// The pod with this UID is no longer there.
    Gone,
    /// The eviction is refused for a reason that may never end: after the grace the pod is deleted instead.
    Refused {
        /// In a few words.
        why: String,
        /// Until the next try.
        pause: Duration,
    },
    /// It may work later, or on another server.
    Later {
        /// In a few words.
        why: String,
        /// Until the next try, where the server has asked for it.
        pause: Option<Duration>,
    },
    /// hecate is not allowed to, or asks for something that the server does not understand.
    Denied {
        /// In a few words.
        why: String,
    },
}

/// What the answer to an eviction means.
pub fn judge_eviction(answer: &Result<(), CallError>) -> Verdict {
    let error = match answer {
        Ok(()) => return Verdict::Leaving,
        Err(error) => error,
    };
    let Some(status) = error.status() else { return Verdict::Later { why: error.to_string(), pause: None } };
    match status.code {
        429 if has_cause(status, BUDGET_CAUSE) => Verdict::Refused {
            why: "a disruption budget does not allow it".to_owned(),
            pause: asked_pause(status).unwrap_or(REFUSED_PAUSE),
        },
        // The API server's own mishap, or a pod that two budgets speak for, which never ends by itself.
        500 => Verdict::Refused { why: status.message.clone(), pause: asked_pause(status).unwrap_or(REFUSED_PAUSE) },
        _ => judge_other(error, status),
    }
}

/// What the answer to a deletion means. No budget speaks here.
pub fn judge_delete(answer: &Result<(), CallError>) -> Verdict {
    let error = match answer {
        Ok(()) => return Verdict::Leaving,
        Err(error) => error,
    };
    match error.status() {
        Some(status) => judge_other(error, status),
        None => Verdict::Later { why: error.to_string(), pause: None },
    }
}

/// What both verbs have in common.
fn judge_other(error: &CallError, status: &Status) -> Verdict {
    let why = error.to_string();
    match status.code {
        404 if is_about_pods(status) => Verdict::Gone,
        409 if UID_WORDS.iter().any(|words| status.message.contains(words)) => Verdict::Gone,
        403 if has_cause(status, NAMESPACE_CAUSE) => Verdict::Leaving,
        429 => Verdict::Later { why, pause: Some(asked_pause(status).unwrap_or(REFUSED_PAUSE)) },
        // 401: the kubeconfig may be replaced. 404 about anything else: a server that is not up yet. 409: a race. 408: slow.
        401 | 404 | 408 | 409 | 500..=599 => Verdict::Later { why, pause: asked_pause(status) },
        _ => Verdict::Denied { why },
    }
}

/// Pause before try number `count + 1` while no server says how long: 0.25 s, doubled up to a cap.
pub(super) fn pause(count: u32) -> Duration {
    let factor = 1_u32.checked_shl(count.saturating_sub(1)).unwrap_or(u32::MAX);
    Duration::from_millis(250).saturating_mul(factor).min(PAUSE_MAX)
}

fn has_cause(status: &Status, reason: &str) -> bool {
    status.details.as_ref().is_some_and(|details| details.causes.iter().any(|cause| cause.reason == reason))
}

/// Whether a 404 says that the pod is missing, and not the path: what stands before an API server answers 404 to all.
fn is_about_pods(status: &Status) -> bool {
    status.details.as_ref().is_some_and(|details| details.kind == "pods" && !details.name.is_empty())
}

fn asked_pause(status: &Status) -> Option<Duration> {
    let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    (seconds > 0).then(|| Duration::from_secs(seconds.into()).min(ASKED_PAUSE_MAX))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::clients::kubernetes::Server;

    fn answered(status: Value) -> Result<(), CallError> {
        let status: Status = serde_json::from_value(status).unwrap();
        Err(CallError::Answered { server: Server::Kubeconfig, status: status.boxed() })
    }

    /// The answers of a real kube-apiserver 1.36, as far as it could be made to give them.
    fn cases() -> Vec<(&'static str, Result<(), CallError>, &'static str, &'static str)> {
        let budget = |seconds: Option<u32>| {
            json!({"code": 429, "reason": "TooManyRequests",
                "message": "Cannot evict pod as it would violate the pod's disruption budget.",
                "details": {"causes": [{"reason": "DisruptionBudget", "message": "The disruption budget web needs 2 healthy pods and has 2 currently"}], "retryAfterSeconds": seconds.unwrap_or(0)}})
        };
        vec![
            ("accepted", Ok(()), "leaving", "leaving"),
            ("a budget that allows nothing", answered(budget(None)), "refused 1s", "later 1s"),
            ("a budget its controller has not seen", answered(budget(Some(10))), "refused 3s", "later 3s"),
            (
                "throttled",
                answered(json!({"code": 429, "message": "too many requests", "details": {"retryAfterSeconds": 1}})),
                "later 1s",
                "later 1s",
            ),
            (
                "throttled in plain text",
                answered(json!({"code": 429, "message": "Too many requests, please try again later."})),
                "later 1s",
                "later 1s",
            ),
            (
                "two budgets on a pod",
                answered(
                    json!({"code": 500, "reason": "InternalError", "message": "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."}),
                ),
                "refused 1s",
                "later",
            ),
            (
                "no such pod",
                answered(
                    json!({"code": 404, "reason": "NotFound", "message": "pods \"web-1\" not found", "details": {"name": "web-1", "kind": "pods"}}),
                ),
                "gone",
                "gone",
            ),
            ("no such path", answered(json!({"code": 404, "message": "404 page not found"})), "later", "later"),
            (
                "another pod of that name",
                answered(
                    json!({"code": 409, "reason": "Conflict", "message": "Operation cannot be fulfilled on pods \"web-1\": Precondition failed: UID in precondition: u-1, UID in object meta: u-2", "details": {"name": "web-1", "kind": "pods"}}),
                ),
                "gone",
                "gone",
            ),
            (
                "another pod of that name, to a deletion",
                answered(
                    json!({"code": 409, "reason": "Conflict", "message": "Operation cannot be fulfilled on Pod \"web-1\": the UID in the precondition (u-1) does not match the UID in record (u-2). The object might have been deleted and then recreated", "details": {"name": "web-1", "kind": "Pod"}}),
                ),
                "gone",
                "gone",
            ),
            (
                "a lost race",
                answered(
                    json!({"code": 409, "reason": "Conflict", "message": "the object has been modified; please apply your changes to the latest version and try again"}),
                ),
                "later",
                "later",
            ),
            (
                "a namespace that is going",
                answered(
                    json!({"code": 403, "reason": "Forbidden", "message": "unable to create new content in namespace shop because it is being terminated", "details": {"causes": [{"reason": "NamespaceTerminating"}]}}),
                ),
                "leaving",
                "leaving",
            ),
            (
                "no right to",
                answered(
                    json!({"code": 403, "reason": "Forbidden", "message": "User \"x\" cannot create resource \"pods/eviction\""}),
                ),
                "denied",
                "denied",
            ),
            ("credentials that lapsed", answered(json!({"code": 401, "reason": "Unauthorized"})), "later", "later"),
            ("not understood", answered(json!({"code": 422, "reason": "Invalid"})), "denied", "denied"),
            (
                "no etcd leader",
                answered(json!({"code": 504, "reason": "Timeout", "details": {"retryAfterSeconds": 2}})),
                "later 2s",
                "later 2s",
            ),
            (
                "an API server going down",
                answered(json!({"code": 503, "message": "apiserver is shutting down"})),
                "later",
                "later",
            ),
            (
                "no answer",
                Err(CallError::TimedOut { server: Server::Kubeconfig, limit: Duration::from_secs(1) }),
                "later",
                "later",
            ),
            (
                "no connection",
                Err(CallError::Unreachable { server: Server::Kubeconfig, why: "refused".to_owned() }),
                "later",
                "later",
            ),
        ]
    }

    fn short(verdict: &Verdict) -> String {
        match verdict {
            Verdict::Leaving => "leaving".to_owned(),
            Verdict::Gone => "gone".to_owned(),
            Verdict::Refused { pause, .. } => format!("refused {}s", pause.as_secs()),
            Verdict::Later { pause: Some(pause), .. } => format!("later {}s", pause.as_secs()),
            Verdict::Later { pause: None, .. } => "later".to_owned(),
            Verdict::Denied { .. } => "denied".to_owned(),
        }
    }

    #[test]
    fn every_answer_has_one_meaning_a_verb() {
        for (name, answer, eviction, deletion) in cases() {
            assert_eq!(short(&judge_eviction(&answer)), eviction, "eviction: {name}");
            assert_eq!(short(&judge_delete(&answer)), deletion, "deletion: {name}");
        }
    }

    #[test]
    fn pauses_grow_to_a_cap() {
        let pauses: Vec<u128> = [1, 2, 3, 4, 5, 40].map(|count| pause(count).as_millis()).into();
        assert_eq!(pauses, [250, 500, 1000, 2000, 2000, 2000]);
    }
}

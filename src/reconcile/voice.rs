//! What the loop says in the log: changes only, so that a quiet cluster is a quiet log.
//!
//! It speaks of what was decided; it decides nothing.

use std::time::Duration;

use crate::decide::Decision;
use crate::desired::{Cause, Effective};
use crate::plan::blocker::{Blocker, WaitReason};
use crate::plan::step::Outcome;

/// What was logged last, so that only changes are logged.
#[derive(Debug, Default)]
pub(super) struct Told {
    effective: String,
    blockers: Vec<String>,
    waits: Vec<&'static str>,
    warnings: Vec<String>,
    was_converged: bool,
}

impl Told {
    /// Logs what changed, and nothing else: a quiet cluster is a quiet log.
    pub(super) fn tell(&mut self, decision: &Decision, pass: u64) {
        let plan = &decision.plan;
        let effective = obeyed(&decision.effective);
        if effective != self.effective {
            tracing::info!("obeying {effective}");
            self.effective = effective;
        }
        let names: Vec<String> = plan.blockers.iter().map(|blocker| blocker.name().to_owned()).collect();
        for blocker in plan.blockers.iter().filter(|one| !self.blockers.contains(&one.name().to_owned())) {
            let hint = Blocker::hint(blocker).unwrap_or_default();
            tracing::warn!(blocker = blocker.name(), evidence = %blocker, hint, "blocked");
        }
        self.blockers = names;
        let waits: Vec<&'static str> = plan.waits.iter().map(|wait| wait.reason.name()).collect();
        for wait in plan.waits.iter().filter(|one| !self.waits.contains(&one.reason.name())) {
            // A look that is under way ends within its deadline and says nothing about the cluster.
            if let WaitReason::FirstObservation { of } = &wait.reason {
                tracing::debug!(of, "looking");
                continue;
            }
            tracing::info!(wait = wait.reason.name(), evidence = %wait.reason, limit = ?wait.limit, "waiting");
        }
        self.waits = waits;
        let warnings: Vec<String> = plan.warnings.iter().map(ToString::to_string).collect();
        for warning in plan.warnings.iter() {
            // The evidence of a warning may count seconds; its name and place do not.
            if !self.warnings.iter().any(|told| same_but_figures(told, &warning.to_string())) {
                tracing::warn!(warning = warning.name(), evidence = %warning, "look at this");
            }
        }
        self.warnings = warnings;
        let is_converged = plan.is_converged();
        if is_converged && !self.was_converged {
            tracing::info!(state = %decision.effective.state(), "converged");
        }
        self.was_converged = is_converged;
        tracing::debug!(pass, converged = is_converged, "pass");
    }
}

/// What is obeyed, and because of what, in words.
fn obeyed(effective: &Effective) -> String {
    let (who, why, when) = match effective.because() {
        Cause::Spec { set_by, reason, set_at } => (set_by, reason, set_at),
        Cause::Override { source, reason, set_at } => (source, reason, set_at),
    };
    let colon = if why.is_empty() { "" } else { ": " };
    format!("{} ({}), set by {who} at {when}{colon}{why}", effective.state(), effective.path())
}

pub(super) fn tell_end(step: &str, outcome: &Outcome, took: Duration) {
    let millis = took.as_millis();
    match outcome {
        Outcome::Tried => tracing::info!(step, millis, "tried"),
        Outcome::Cancelled => tracing::info!(step, millis, "no longer waited for"),
        Outcome::Refused { evidence } => tracing::warn!(step, millis, evidence, "refused"),
        Outcome::OtherBoot { .. } => {
            tracing::warn!(step, millis, evidence = Outcome::OTHER_BOOT, "refused")
        }
        Outcome::Failed { why } => tracing::warn!(step, millis, why, "failed"),
        Outcome::DeadlinePassed => tracing::warn!(step, millis, "its time was up"),
    }
}

/// Whether two texts differ in nothing but figures.
fn same_but_figures(one: &str, other: &str) -> bool {
    let words = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
    words(one) == words(other)
}

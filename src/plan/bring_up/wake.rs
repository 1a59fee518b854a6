//! Switching hosts on that are off, or silent, at the beginning of an episode.
//!
//! Pure. A host that gets power starts k3s by itself, so a wake-up is a start and obeys the same guards. Never while a
//! host may still be shutting down: it would miss the packet, or lose the race with its own power-off.

use std::time::Duration;

use crate::desired::Held;
use crate::model::NodeName;
use crate::plan::blocker::Warning;
use crate::plan::scene::{Draft, Scene};
use crate::plan::step::{Outcome, Step};
use crate::status::HostState;

/// How long waking may take; a management controller answers within seconds, and the packet is sent at once.
const WAKE_LIMIT: Duration = Duration::from_secs(30);
/// A host that was not told to power off is woken when it was silent for so long: one lost answer is no reason.
const SILENCE: Duration = Duration::from_secs(10);
/// After so many wake-ups without an answer it is said what to look at. They take two minutes, most hosts boot in one.
const ATTEMPTS_BEFORE_WARNING: u32 = 6;

/// Whether a host is to be woken. It belongs to episodes only; later somebody may have switched it off on purpose.
pub(super) fn is_wanted(scene: &Scene<'_>, name: &NodeName) -> bool {
    let has_method = scene.config.nodes.get(name).is_some_and(|node| node.wake.is_some());
    let is_own = scene.config.own_host.node.as_ref() == Some(name);
    // An ignored node is away most of the time; only what was there before is brought back.
    let is_missed = !scene.config.is_ignored(name) || scene.ledger.was_up.contains(name);
    let is_dark = match scene.host_state(name) {
        HostState::Off => true,
        HostState::Unreachable => {
            (!scene.is_told_off(name) || scene.may_boot(name)) && scene.silent_for(name) >= SILENCE
        }
        HostState::Up | HostState::Wrong | HostState::Unknown | HostState::NotManaged => false,
    };
    scene.episode.converged.is_none()
        && has_method
        && !is_own
        && is_missed
        && is_dark
        && scene.readiness(name).is_err()
        && scene.hold(&Held::Node(name.clone())).is_none()
}

/// Wakes what is to be woken, again and again until it is seen.
pub(super) fn wake(scene: &Scene<'_>, draft: &mut Draft, is_open: bool) {
    for (name, _) in scene.nodes().filter(|(name, _)| is_wanted(scene, name)) {
        let step = Step::Wake { node: name.clone() };
        if let Some(attempt) = scene.memory.attempts.get(&step.key()).filter(|it| it.count >= ATTEMPTS_BEFORE_WARNING) {
            let last = match &attempt.outcome {
                Outcome::Tried => "sent".to_owned(),
                Outcome::Refused { evidence } => format!("refused: {evidence}"),
                Outcome::Failed { why } => why.clone(),
                Outcome::DeadlinePassed => "its time was up".to_owned(),
                Outcome::Cancelled => "no longer waited for".to_owned(),
            };
            draft.warnings.push(Warning::WakeWithoutEffect { node: name.clone(), attempts: attempt.count, last });
        }
        draft.remember(&step);
        if is_open {
            draft.want(step, WAKE_LIMIT, "running is desired, and it is off");
        } else {
            draft.later(step);
        }
    }
}

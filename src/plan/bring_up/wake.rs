//! Switching hosts on that are off, or silent, at the beginning of an episode.
//!
//! Pure. A host that gets power starts k3s by itself, so a wake-up is a start and obeys the same guards. Never while a
//! host may still be shutting down: it would miss the packet, or lose the race with its own power-off.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Gates, recharge};
use crate::config::{Node, Startup};
use crate::desired::Held;
use crate::model::{NodeName, Role};
use crate::plan::blocker::Warning;
use crate::plan::pause;
use crate::plan::scene::{Draft, Scene};
use crate::plan::step::Step;
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
pub(super) fn wake(scene: &Scene<'_>, draft: &mut Draft, gates: &Gates) {
    let mut wanted: Vec<(&NodeName, &Node)> = scene.nodes().filter(|(name, _)| is_wanted(scene, name)).collect();
    // Who does not wake up gives way: it must not keep those behind it dark.
    let attempts = |name: &NodeName| scene.memory.attempts.get(&Step::Wake { node: name.clone() }.key());
    wanted.sort_by_key(|(name, node)| {
        let count = attempts(name).map_or(0, |attempt| attempt.count);
        (count >= ATTEMPTS_BEFORE_WARNING, !is_upsd_host(scene, name), node.role != Role::ControlPlane, count)
    });
    let mut free =
        scene.config.startup.wake_burst.map_or(usize::MAX, |burst| burst.saturating_sub(woken_lately(scene)));
    // A restart forgets who was woken a moment before it.
    if scene.config.startup.wake_burst.is_some() && scene.now.since(scene.memory.began) <= Startup::WAKE_BURST_TIME {
        free = 0;
    }
    for (name, node) in wanted {
        let step = Step::Wake { node: name.clone() };
        if let Some(attempt) = scene.memory.attempts.get(&step.key()).filter(|it| it.count >= ATTEMPTS_BEFORE_WARNING) {
            let (node, attempts, last) = (name.clone(), attempt.count, attempt.outcome.to_string());
            draft.warnings.push(Warning::WakeWithoutEffect { node, attempts, last });
        }
        draft.remember(&step);
        if gates.open_for(name) && recharge::has_stood(scene, draft, node) && free > 0 {
            free -= usize::from(pause(scene, &step).is_none());
            draft.want(step, WAKE_LIMIT, "running is desired, and it is off");
        } else {
            draft.later(step);
        }
    }
}

/// Whether the upsd of a UPS runs there: nobody knows of that UPS before this host is up.
fn is_upsd_host(scene: &Scene<'_>, name: &NodeName) -> bool {
    scene.config.upses.keys().any(|ups| scene.config.upsd_node(ups) == Some(name))
}

/// How many hosts were woken within the time of one burst.
fn woken_lately(scene: &Scene<'_>) -> usize {
    let is_recent = |(_, at): &(&NodeName, &Duration)| scene.now.since(**at) <= Startup::WAKE_BURST_TIME;
    let mut woken: BTreeSet<&NodeName> = scene.memory.woken.iter().filter(is_recent).map(|(name, _)| name).collect();
    woken.extend(scene.memory.in_flight.values().filter_map(|one| one.step.woken()));
    woken.len()
}

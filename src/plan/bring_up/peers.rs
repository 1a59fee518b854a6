//! Other hecate hosts: nothing is started into a shutdown of theirs.
//!
//! Pure. Only others' intents hold a start up, never one's own, and never for longer than
//! `coordination.startup_guard_max_age_seconds`: a host that died on the way must not keep a cluster dark.

use std::time::Duration;

use jiff::SignedDuration;

use crate::config::Peer;
use crate::ledger::PeerWord;
use crate::model::{FailureKind, Intent, IntentRecord};
use crate::plan::blocker::{Blocker, WaitReason, Warning};
use crate::plan::scene::{Draft, Scene};

/// What a person should know of the other hosts, whether or not something is to be started.
pub(super) fn warnings(scene: &Scene<'_>, draft: &mut Draft) {
    for peer in &scene.config.coordination.peer_hosts {
        if let Some((intent, None)) = shutdown(scene, peer) {
            let evidence = evidence(intent);
            draft.warnings.push(Warning::PeerIntentStale { peer: peer.name.clone(), evidence });
        }
        if let Some(evidence) = silence(scene, peer).filter(|_| !is_not_yet(scene, peer)) {
            draft.warnings.push(Warning::PeerUnreachable { peer: peer.name.clone(), evidence });
        }
    }
}

/// Holds a start up while a peer's shutdown intent is fresh, and while one that has said nothing since this boot could
/// have had one from before that is.
pub(super) fn guard(scene: &Scene<'_>, draft: &mut Draft) {
    let limit = scene.config.coordination.startup_guard_max_age;
    for peer in &scene.config.coordination.peer_hosts {
        if let Some(blocker) = shutting_down(scene, peer) {
            draft.blockers.push(blocker);
            continue;
        }
        let Some(evidence) = silence(scene, peer) else { continue };
        let was_heard = word(scene, peer).is_some_and(|word| word.first_seen.boot_id == scene.now.boot_id);
        let since = scene.now.boottime;
        if is_not_yet(scene, peer) || (!was_heard && since < limit) {
            draft.wait(WaitReason::PeerIntent { peer: peer.name.clone(), evidence }, since, Some(limit));
        }
    }
}

/// Holds the end of cordons up while a peer's shutdown intent is fresh: they may be its own, and pods would come back onto
/// nodes that it drains. Says whether it does.
pub(super) fn holds_cordons(scene: &Scene<'_>, draft: &mut Draft) -> bool {
    let peers = scene.config.coordination.peer_hosts.iter();
    let blockers: Vec<Blocker> = peers.filter_map(|peer| shutting_down(scene, peer)).collect();
    let is_held = !blockers.is_empty();
    let new: Vec<Blocker> = blockers.into_iter().filter(|it| !draft.blockers.contains(it)).collect();
    draft.blockers.extend(new);
    is_held
}

/// A peer whose shutdown intent is fresh.
fn shutting_down(scene: &Scene<'_>, peer: &Peer) -> Option<Blocker> {
    let (intent, expires_in) = shutdown(scene, peer)?;
    let evidence = evidence(intent);
    Some(Blocker::PeerShuttingDown { peer: peer.name.clone(), evidence, expires_in: expires_in? })
}

/// The last word of a peer, from whichever boot.
fn word<'a>(scene: &Scene<'a>, peer: &Peer) -> Option<&'a PeerWord> {
    scene.ledger.peers.get(&peer.name)
}

/// A shutdown that a peer spoke of last, with how long it still counts: None where it is too long ago.
///
/// One that is complete counts as one that runs: it was meant, and the start of what somebody has just stopped on
/// purpose would undo it.
fn shutdown<'a>(scene: &Scene<'a>, peer: &Peer) -> Option<(&'a IntentRecord, Option<Duration>)> {
    let word = word(scene, peer)?;
    let intent = word.intent.as_ref()?;
    match intent.state {
        Intent::ShuttingDown | Intent::ShutdownComplete => {}
        Intent::Normal | Intent::StartupInProgress => return None,
    }
    let limit = scene.config.coordination.startup_guard_max_age;
    Some((intent, limit.checked_sub(age(scene, word, intent)).filter(|left| !left.is_zero())))
}

/// How old an intent is. By the wall clock only where both clocks were in sync, with what they differ taken off, and
/// never negative; but at least as old as hecate has seen it stand, so that a wrong clock holds nothing up for ever.
fn age(scene: &Scene<'_>, word: &PeerWord, intent: &IntentRecord) -> Duration {
    let seen = word.first_seen.age(scene.now);
    let Some(ahead) = word.ahead_seconds.filter(|_| scene.now.wall_synced && intent.is_clock_synced) else {
        return seen;
    };
    let by_wall = scene.now.wall.duration_since(intent.since).saturating_add(SignedDuration::from_secs(ahead));
    Duration::try_from(by_wall).unwrap_or_default().max(seen)
}

/// Why a peer cannot be asked now, where it cannot.
fn silence(scene: &Scene<'_>, peer: &Peer) -> Option<String> {
    let Some(reading) = scene.snapshot.peers.get(&peer.name) else {
        return Some("not observed yet".to_owned());
    };
    if let Some(why) = reading.failure() {
        return Some(why.to_string());
    }
    let is_fresh = reading.fresh(scene.now, scene.config.reconcile.host_max_age).is_some();
    (!is_fresh).then(|| format!("no answer for {} s", scene.now.since(reading.began()).as_secs()))
}

fn is_not_yet(scene: &Scene<'_>, peer: &Peer) -> bool {
    let reading = scene.snapshot.peers.get(&peer.name);
    reading.is_none_or(|reading| reading.failure().is_some_and(|why| why.kind == FailureKind::NotYet))
}

fn evidence(intent: &IntentRecord) -> String {
    let what = match intent.state {
        Intent::ShuttingDown => "shuts the cluster down",
        Intent::ShutdownComplete => "has shut the cluster down",
        Intent::Normal => "runs",
        Intent::StartupInProgress => "starts the cluster",
    };
    let reason = if intent.reason.is_empty() { String::new() } else { format!(": {}", intent.reason) };
    format!("{what} since {:.0}, by {}{reason}", intent.since, intent.by)
}

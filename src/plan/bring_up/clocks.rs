//! The time-sync gate: clocks that are in sync before what is stopped is started.
//!
//! Pure. It holds starts only: waking, booting and what runs know nothing of it, so a host that is off gets its chance.
//! Clocks lie: a host that says it is in sync counts only where its clock agrees with the hecate host's, and with the
//! past.

use std::time::Duration;

use jiff::Timestamp;

use crate::config::TimeSyncMode;
use crate::history::Run;
use crate::model::{NodeName, Stamp};
use crate::plan::blocker::{Blocker, WaitReason, Warning};
use crate::plan::scene::{Draft, Scene};
use crate::snapshot::{HostReading, UnitState};
use crate::status::HostState;

/// No clock that is right says less: hecate did not exist. A host without a battery for its clock begins in 1970, or at
/// the date of its systemd.
const PLAUSIBLE_SINCE: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// One clock that is not in sync.
struct Missing {
    /// Which host, and why.
    evidence: String,
    /// For how long it has been waited for.
    elapsed: Duration,
    /// How long it may take.
    limit: Duration,
}

/// Whether enough clocks are in sync for a start; says what is missing where something could be started.
pub(super) fn clocks(scene: &Scene<'_>, draft: &mut Draft) -> bool {
    let Some(mode) = scene.config.startup.time_sync_mode else { return true };
    let is_startable = |name| scene.host_state(name) == HostState::Up && scene.unit(name) == Some(UnitState::Stopped);
    if !scene.nodes().any(|(name, _)| is_startable(name)) {
        return true;
    }
    if scene.options().skip_time_sync {
        let because = "--skip-time-sync".to_owned();
        draft.warnings.push(Warning::Skipped { what: "time sync".to_owned(), because });
        return true;
    }
    let (in_sync, missing) = look(scene, draft, mode);
    let needed = match mode {
        TimeSyncMode::Strict => in_sync + missing.len(),
        TimeSyncMode::Quorum => scene.config.startup.time_sync_quorum as usize,
    };
    if in_sync >= needed {
        return true;
    }
    let in_time: Vec<&Missing> = missing.iter().filter(|one| one.elapsed < one.limit).collect();
    let may_come = in_sync + in_time.len() >= needed;
    let since = in_time.iter().map(|one| one.elapsed).max().unwrap_or_default();
    let limit = in_time.iter().map(|one| one.limit).max();
    let missing = missing.into_iter().map(|one| one.evidence).collect();
    if !may_come && agree(scene) {
        let because =
            "not all clocks are in sync after the wait, but all that can be read agree and are not in the past";
        draft.warnings.push(Warning::Skipped { what: "time sync".to_owned(), because: because.to_owned() });
        return true;
    }
    if may_come {
        draft.wait(WaitReason::TimeSync { missing }, since, limit);
    } else {
        let is_past = plausible(scene, scene.now.wall).is_err();
        draft.blockers.push(Blocker::TimeNotSynced { missing, in_sync, needed, is_past });
    }
    false
}

/// Whether the clocks of all hosts that are up agree with the hecate host's, and that is no earlier than what hecate knows: as
/// much as there is to know while no time server can be reached. What was in sync before the uplink died says so for hours.
fn agree(scene: &Scene<'_>) -> bool {
    let up = || scene.nodes().filter_map(|(name, _)| scene.host(name));
    let own = scene.config.own_host.node.as_ref();
    let is_alike = |host: &HostReading| host.clock.is_some_and(|clock| off(scene, clock.ahead_seconds).is_none());
    let others = scene.nodes().filter(|(name, _)| Some(*name) != own && scene.host(name).is_some()).count();
    others > 0 && up().all(is_alike) && plausible(scene, scene.now.wall).is_ok()
}

/// How many clocks are in sync, and those that are not.
///
/// A host that is away cannot be in sync yet. The strict mode waits for it as long as a node may take to come, then goes
/// on without it, as the bring-up does: when it comes, its own start meets this gate.
fn look(scene: &Scene<'_>, draft: &mut Draft, mode: TimeSyncMode) -> (usize, Vec<Missing>) {
    let mut in_sync = 0;
    let mut missing = Vec::new();
    let own_node =
        scene.config.own_host.node.as_ref().filter(|own| scene.config.managed().any(|(name, _)| name == *own));
    if own_node.is_none() {
        judge(scene, draft, "the hecate host", own_clock(scene), &mut in_sync, &mut missing);
    }
    for (name, _) in scene.nodes() {
        let host = scene.host(name).filter(|_| scene.host_state(name) == HostState::Up);
        if own_node == Some(name) {
            judge(scene, draft, name.as_str(), own_clock(scene), &mut in_sync, &mut missing);
        } else if let Some(host) = host {
            judge(scene, draft, name.as_str(), node_clock(scene, host), &mut in_sync, &mut missing);
        } else if let Some(one) = absent(scene, draft, name, mode) {
            missing.push(one);
        }
    }
    (in_sync, missing)
}

fn judge(
    scene: &Scene<'_>,
    draft: &mut Draft,
    name: &str,
    clock: Result<(), String>,
    in_sync: &mut usize,
    missing: &mut Vec<Missing>,
) {
    match clock {
        Ok(()) => *in_sync += 1,
        Err(why) => missing.push(Missing {
            evidence: format!("{name} {why}"),
            elapsed: draft.elapsed(scene, &format!("clock {name}")),
            limit: scene.config.startup.time_sync_wait,
        }),
    }
}

fn absent(scene: &Scene<'_>, draft: &mut Draft, name: &NodeName, mode: TimeSyncMode) -> Option<Missing> {
    let limit = scene.config.startup.node_wait;
    let elapsed = draft.elapsed(scene, &format!("clock of absent {name}"));
    let is_waited_for = elapsed < limit && !scene.config.is_ignored(name);
    let evidence = match scene.host_state(name) {
        HostState::Off => format!("{name} is off"),
        HostState::Up | HostState::Unreachable | HostState::Wrong | HostState::Unknown | HostState::NotManaged => {
            format!("{name} cannot be asked ({})", scene.host_evidence(name))
        }
    };
    match mode {
        TimeSyncMode::Strict if !is_waited_for => None,
        TimeSyncMode::Strict | TimeSyncMode::Quorum => Some(Missing { evidence, elapsed, limit }),
    }
}

/// The hecate host's own clock.
fn own_clock(scene: &Scene<'_>) -> Result<(), String> {
    match scene.now.wall_synced {
        true => plausible(scene, scene.now.wall),
        false => Err("is not in sync".to_owned()),
    }
}

/// A node's clock. What it says of itself counts only where nothing contradicts it.
fn node_clock(scene: &Scene<'_>, host: &HostReading) -> Result<(), String> {
    match host.is_time_synced {
        Some(true) => {}
        Some(false) => return Err("is not in sync".to_owned()),
        None => return Err("cannot say whether its clock is in sync".to_owned()),
    }
    let Some(clock) = host.clock else {
        return Err("says it is in sync, but its clock cannot be read".to_owned());
    };
    if let Some(off) = off(scene, host.ntp_ahead_seconds.unwrap_or(0)) {
        return Err(format!("says it is in sync, but its NTP servers find its clock {off}"));
    }
    if let Some(off) = off(scene, clock.ahead_seconds).filter(|_| own_clock(scene).is_ok()) {
        return Err(format!("says it is in sync, but its clock is {off}"));
    }
    plausible(scene, clock.wall)
}

/// How far a clock is off, in words, where that is more than it may be.
fn off(scene: &Scene<'_>, ahead_seconds: i64) -> Option<String> {
    let seconds = ahead_seconds.unsigned_abs();
    let is_off = Duration::from_secs(seconds) > scene.config.startup.time_sync_max_offset;
    is_off.then(|| format!("{seconds} s {}", if ahead_seconds > 0 { "ahead" } else { "behind" }))
}

/// When a run ended, at the least: a clock that was set while it went on counts from where it began, or to where it ended.
fn believable_end(run: &Run) -> Timestamp {
    run.began_at.checked_add(run.duration).map_or(run.ended_at, |end| end.min(run.ended_at))
}

/// Whether a clock is at least as late as the newest thing that hecate knows: what it wrote down while its own clock was in
/// sync.
///
/// Of earlier boots only: within one a clock goes back where it was set right, and never as one without a battery does.
/// The newest by order, not by value: a record that was made while this host's clock was ahead would otherwise hold
/// every later start up, and so it holds one at most.
fn plausible(scene: &Scene<'_>, wall: Timestamp) -> Result<(), String> {
    let own = scene.episode;
    let stamps = [Some(&own.began), own.converged.as_ref()];
    let is_known = |stamp: &&Stamp| stamp.wall_synced && stamp.boot_id != scene.now.boot_id;
    let in_earlier_boots = stamps.into_iter().flatten().filter(is_known);
    let is_record = |run: &&Run| run.wall_synced && run.boot_id.as_ref() != Some(&scene.now.boot_id);
    let known = in_earlier_boots
        .map(|stamp| stamp.wall)
        .chain(scene.history.runs().last().filter(is_record).map(believable_end))
        .chain([PLAUSIBLE_SINCE])
        .max()
        .unwrap_or(PLAUSIBLE_SINCE);
    let tolerance = scene.config.startup.time_sync_max_offset;
    if wall.checked_add(tolerance).is_ok_and(|latest| latest < known) {
        return Err(format!("says it is in sync, but its clock says {wall:.0}, before {known:.0}, which hecate knows"));
    }
    Ok(())
}

//! Telling a UPS to cut its load and to return with the mains, so that hosts which boot on AC come back although the
//! mains did too early.
//!
//! Pure. A load is cut only when every other host that the UPS feeds is confirmed off, and at most once: what was done is
//! told by the ledger's mark, by this memory, and by whether the hecate host itself has been booted since.

#![deny(clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::blocker::{WaitReason, Warning};
use super::scene::{Draft, Scene};
use super::step::{Outcome, Step, Target};
use crate::config::{CutLoad, Node};
use crate::desired::Held;
use crate::ledger::LoadCut;
use crate::model::{NodeName, Now, UpsName};
use crate::snapshot::{LoadCutReading, UpsWord};
use crate::status::{HostState, UpsVerdict};
use crate::tracker::UpsMemory;

/// How long telling a UPS may take; upsd answers when its driver has taken the command, drivers within a second or two.
pub(super) const CUT_LIMIT: Duration = Duration::from_secs(10);
/// How long handing the own host's power-off to systemd may take.
const POWER_OFF_LIMIT: Duration = Duration::from_secs(20);
/// On battery the cut is left out when its mark is not on disk by then: it never goes without, and the battery ends.
const LEDGER_PATIENCE: Duration = Duration::from_secs(5);
/// So often a cut is tried at the end of a descent before this host goes without it.
const ATTEMPTS: u32 = 2;

/// So much later than its delay a UPS may cut: drivers send the command within seconds, and UPSes count in their own steps.
const CUT_MARGIN: Duration = Duration::from_secs(30);

/// How far the cut of one UPS is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// It was not told, as far as anybody knows.
    Untold,
    /// It is being told.
    Running,
    /// It was told by this process, so long ago, and this host still runs.
    Sent { ago: Duration },
    /// The ledger says told, and this process was started since, within the same boot: nobody knows whether it was.
    InDoubt { marked_ago: Duration },
    /// It was told before this host was booted.
    Done,
}

fn progress(scene: &Scene<'_>, ups: &UpsName) -> Progress {
    if scene.memory.in_flight.contains_key(&Target::Ups(ups.clone())) {
        return Progress::Running;
    }
    let Some(mark) = scene.ledger.load_cuts.get(ups) else { return Progress::Untold };
    if mark.told.boot_id != scene.now.boot_id {
        return Progress::Done;
    }
    match scene.memory.cuts_sent.get(ups) {
        Some(sent) if *sent >= mark.told.boottime => Progress::Sent { ago: scene.now.since(*sent) },
        Some(_) | None if mark.told.boottime >= scene.memory.began => Progress::Untold,
        Some(_) | None => Progress::InDoubt { marked_ago: mark.told.age(scene.now) },
    }
}

/// Whether the mark of a UPS is this process' own and the act has not begun: it is not renewed then, or the ledger would
/// never be on disk.
pub fn is_marked(scene: &Scene<'_>, mark: &LoadCut, ups: &UpsName) -> bool {
    let is_own = mark.told.boot_id == scene.now.boot_id && mark.told.boottime >= scene.memory.began;
    let is_sent = scene.memory.cuts_sent.get(ups).is_some_and(|sent| *sent >= mark.told.boottime);
    is_own && !is_sent && mark.run == scene.episode.run
}

/// Whether the last attempt on a UPS was refused, by hecate, upsd or the driver: then it was not told.
pub fn was_refused(scene: &Scene<'_>, ups: &UpsName, mark: &LoadCut) -> bool {
    let target = Target::Ups(ups.clone());
    let is_sent = scene.memory.cuts_sent.get(ups).is_some_and(|sent| *sent >= mark.told.boottime);
    let last = scene.memory.attempts.values().find(|attempt| attempt.target == target);
    let is_refused = last.is_some_and(|last| match last.outcome {
        Outcome::Refused { .. } | Outcome::Failed { .. } => last.ended >= mark.told.boottime,
        Outcome::Tried | Outcome::OtherBoot { .. } | Outcome::DeadlinePassed | Outcome::Cancelled => false,
    });
    is_refused && !is_sent && mark.told.boot_id == scene.now.boot_id && !scene.memory.in_flight.contains_key(&target)
}

/// Whether a mark may be dropped because a host that the UPS feeds has come back: not while the cut may still be coming.
pub fn is_over(mark: &LoadCut, cut: Option<(&CutLoad, Option<&LoadCutReading>)>, now: &Now) -> bool {
    cut.is_none_or(|(cut, said)| told_ago(mark, now) > longest(cut, said) + CUT_MARGIN)
}

/// How long a cut may be coming: the UPS' own delay counts where it is longer, as the command may not have set it.
fn longest(cut: &CutLoad, said: Option<&LoadCutReading>) -> Duration {
    cut.delay.max(said.and_then(|said| said.delay).unwrap_or_default())
}

/// How long ago a UPS was told, at least: over a boot of this host, whose clock may not tell yet, no less than it has been up.
fn told_ago(mark: &LoadCut, now: &Now) -> Duration {
    let age = mark.told.sure_age(now);
    if mark.told.boot_id == now.boot_id { age } else { age.max(now.boottime) }
}

fn cuts<'a>(scene: &Scene<'a>) -> impl Iterator<Item = (&'a UpsName, &'a CutLoad)> + use<'a> {
    scene.config.upses.iter().filter_map(|(name, ups)| Some((name, ups.cut_load.as_ref()?)))
}

/// The hosts that a UPS feeds, but the hecate host.
fn fed<'a>(scene: &Scene<'a>, ups: &'a UpsName) -> impl Iterator<Item = (&'a NodeName, &'a Node)> + use<'a> {
    let own = scene.config.own_host.node.as_ref();
    scene.config.nodes.iter().filter(move |(name, node)| Some(*name) != own && node.feeds.contains(ups))
}

fn feeds_own_host(scene: &Scene<'_>, ups: &UpsName) -> bool {
    scene.config.own_host.feeds.contains(ups)
}

fn step(scene: &Scene<'_>, ups: &UpsName) -> Step {
    Step::CutLoad { ups: ups.clone(), feeds_own_host: feeds_own_host(scene, ups) }
}

fn refused(draft: &mut Draft, ups: &UpsName, evidence: String) {
    draft.warnings.push(Warning::LoadNotCut { ups: ups.clone(), evidence });
}

/// What was begun must be finished, whatever is obeyed by now: the power of this host is about to be cut.
///
/// Says whether it is; nothing else is planned then.
pub(super) fn must_finish(scene: &Scene<'_>, draft: &mut Draft) -> bool {
    for (ups, cut) in cuts(scene).filter(|(ups, _)| feeds_own_host(scene, ups)) {
        if !scene.config.own_host.power_off {
            continue;
        }
        let is_anybody_up = fed(scene, ups).any(|(name, _)| scene.host_state(name) == HostState::Up);
        match progress(scene, ups) {
            Progress::Sent { ago } if ago <= cut.delay => {
                let step = Step::PowerOffOwnHost { path: scene.effective.path() };
                draft.want(step, POWER_OFF_LIMIT, "its UPS is about to cut the load");
                return true;
            }
            // The same boot goes on, so the load is not cut yet. Telling it once more only begins its delay anew.
            Progress::InDoubt { marked_ago } if marked_ago <= cut.delay && !is_anybody_up => {
                draft.want(step(scene, ups), CUT_LIMIT, "hecate ended while it told the UPS");
                return true;
            }
            Progress::Untold
            | Progress::Running
            | Progress::Sent { .. }
            | Progress::InDoubt { .. }
            | Progress::Done => {}
        }
    }
    false
}

/// Whether a UPS may be told at the end of a descent: not twice for the same episode.
fn may_be_told(scene: &Scene<'_>, ups: &UpsName) -> bool {
    let is_of_this_run = scene.ledger.load_cuts.get(ups).is_some_and(|mark| mark.run == scene.episode.run);
    match progress(scene, ups) {
        Progress::Untold => true,
        Progress::Running => false,
        // This host still runs although its UPS was told, and its delay is over: that never happened.
        Progress::Sent { .. } | Progress::InDoubt { .. } if feeds_own_host(scene, ups) => true,
        Progress::Sent { .. } | Progress::InDoubt { .. } | Progress::Done => !is_of_this_run && !is_coming(scene, ups),
    }
}

/// Whether a cut was told in this outage, or may still come: another run neither repeats it nor begins its delay anew.
fn is_coming(scene: &Scene<'_>, ups: &UpsName) -> bool {
    let Some(mark) = scene.ledger.load_cuts.get(ups) else { return false };
    let cut = scene.config.upses.get(ups).and_then(|one| one.cut_load.as_ref());
    let outage = scene.memory.upses.get(ups).and_then(|polls| polls.outage.as_ref());
    let is_of_this_boot = mark.told.boot_id == scene.now.boot_id;
    let is_of_this_outage = outage.is_some_and(|it| is_of_this_boot && it.since <= mark.told.boottime);
    let is_over = is_over(mark, cut.map(|cut| (cut, scene.snapshot.load_cuts.get(ups))), scene.now);
    is_of_this_outage || !is_over
}

/// The end of an override's descent: tells every UPS on battery whose hosts are off, before this host goes. Says
/// whether this host may go.
pub(super) fn at_the_end(scene: &Scene<'_>, draft: &mut Draft, is_dark: bool, own_goes: bool) -> bool {
    // While the rest of the cluster runs, hosts with a second feed may still hang on a UPS that fails, and who is left alone
    // may hang on any of them.
    let is_whole = !scene.effective.is_partial() && scene.effective.spared().is_empty();
    if !scene.effective.is_override() || !is_whole {
        return true;
    }
    let mut is_done = true;
    // Those that do not feed this host first: once its own is told it must go.
    let mut all: Vec<(&UpsName, &CutLoad)> = cuts(scene).collect();
    all.sort_by_key(|(ups, _)| feeds_own_host(scene, ups));
    for (ups, _) in all {
        let is_last = if feeds_own_host(scene, ups) { own_goes } else { is_dark };
        is_done &= one_at_the_end(scene, draft, ups, is_last && is_done);
    }
    is_done
}

fn one_at_the_end(scene: &Scene<'_>, draft: &mut Draft, ups: &UpsName, is_last: bool) -> bool {
    let step = step(scene, ups);
    draft.remember(&step);
    let is_on_battery = scene.power.upses.get(ups).is_some_and(|one| match one.verdict {
        UpsVerdict::OnBattery | UpsVerdict::Critical => true,
        UpsVerdict::OnLine | UpsVerdict::Unknown | UpsVerdict::Ignored => false,
    });
    if !is_on_battery || fed(scene, ups).next().is_none() {
        return true;
    }
    if !may_be_told(scene, ups) {
        return progress(scene, ups) != Progress::Running;
    }
    if !says_on_battery(scene, ups) && is_silent_for_a_moment(scene, ups) && has_time(scene, ups) {
        draft.later(step);
        return false;
    }
    if !says_on_battery(scene, ups) {
        refused(draft, ups, "it does not say any more that it is on battery".to_owned());
        return true;
    }
    if let Some(why) = never(scene, ups).or_else(|| gave_up(scene, &step)) {
        refused(draft, ups, why);
        return true;
    }
    let (on_their_way, others): (Vec<&NodeName>, Vec<&NodeName>) = fed(scene, ups)
        .map(|(name, _)| name)
        .filter(|name| scene.host_state(name) != HostState::Off)
        .partition(|name| scene.is_told_off(name));
    let is_safe =
        on_their_way.is_empty() || has_long_delay(scene, ups) && on_their_way.iter().all(|name| scene.is_silent(name));
    let all_accepted = fed(scene, ups).all(|(name, _)| was_accepted(scene, name));
    if is_safe && others.is_empty() && !all_accepted {
        refused(draft, ups, "a host was told to power off, and nobody knows whether it heard".to_owned());
        return true;
    }
    if is_safe && others.is_empty() {
        if is_last || !feeds_own_host(scene, ups) {
            draft.want(step, CUT_LIMIT, "every other host that it feeds is off");
        } else {
            draft.later(step);
        }
        return false;
    }
    if !is_last {
        draft.later(step);
        return false;
    }
    if let Some(name) = others.first() {
        refused(draft, ups, format!("{name} was not told to power off and is not known to be off"));
        return true;
    }
    if !has_time(scene, ups) {
        let who = on_their_way.first().map_or("a host", |name| name.as_str());
        refused(draft, ups, format!("there is no time left to wait until {who} is known to be off"));
        return true;
    }
    draft.later(step);
    false
}

/// Whether a UPS leaves every host that is silent the time to write what it still has to, and this host the time to go: by the
/// configuration, and by what the UPS itself says, which forgets what was set when its driver is restarted.
fn has_long_delay(scene: &Scene<'_>, ups: &UpsName) -> bool {
    let cut = scene.config.upses.get(ups).and_then(|ups| ups.cut_load.as_ref());
    let own = if feeds_own_host(scene, ups) { scene.config.own_host.power_off_time } else { Duration::ZERO };
    let needed = scene.config.shutdown.off_tail + own;
    let said = scene.snapshot.load_cuts.get(ups).and_then(|said| said.delay);
    cut.is_some_and(|cut| cut.delay >= needed) && said.is_none_or(|said| said >= needed)
}

/// Whether a host took its power-off, as far as anybody heard: a command that failed makes nobody off for a cut.
fn was_accepted(scene: &Scene<'_>, name: &NodeName) -> bool {
    scene.ledger.powered_off.get(name).is_none_or(|told| told.accepted)
}

/// Whether a UPS says now that it is on battery. One that has fallen silent may have its mains back, and hosts with them.
fn says_on_battery(scene: &Scene<'_>, ups: &UpsName) -> bool {
    let said = scene.snapshot.upses.get(ups).and_then(|it| it.fresh(scene.now, scene.config.ups_policy.max_age));
    let meant = scene.memory.upses.get(ups).and_then(UpsMemory::says);
    said.is_some_and(|said| meant.as_ref().unwrap_or(&said.status).has(UpsWord::Ob))
}

/// Whether its last word is so young that the next one may still come.
fn is_silent_for_a_moment(scene: &Scene<'_>, ups: &UpsName) -> bool {
    let silent_for = scene.power.upses.get(ups).and_then(|one| one.silent_for);
    silent_for.is_some_and(|silent| silent < scene.config.ups_policy.lost_on_battery)
}

/// Why the command cannot be sent at all, in calm times too.
fn never(scene: &Scene<'_>, ups: &UpsName) -> Option<String> {
    if scene.ledger_problem.is_some() {
        return Some("the ledger cannot be trusted, so it could be cut twice".to_owned());
    }
    if feeds_own_host(scene, ups) && !scene.config.own_host.power_off {
        return Some("it feeds this host, which is not powered off".to_owned());
    }
    unable(scene, ups)
}

/// What the UPS itself says against it.
fn unable(scene: &Scene<'_>, ups: &UpsName) -> Option<String> {
    let cut = scene.config.upses.get(ups)?.cut_load.as_ref()?;
    let said = scene.snapshot.load_cuts.get(ups)?;
    if said.is_known == Some(false) {
        return Some(format!("upsd does not list {} for it", cut.command));
    }
    let needed = scene.config.own_host.power_off_time;
    let delay = said.delay.filter(|delay| feeds_own_host(scene, ups) && *delay <= needed)?;
    Some(format!(
        "its ups.delay.shutdown is {} s, and this host needs {} s to power off",
        delay.as_secs(),
        needed.as_secs()
    ))
}

/// In calm times: says what would keep a load from being cut.
pub(super) fn warn_early(scene: &Scene<'_>, draft: &mut Draft) {
    for (ups, _) in cuts(scene) {
        let login = || scene.snapshot.load_cuts.get(ups).and_then(|said| said.login.clone());
        if let Some(why) = unable(scene, ups).or_else(login) {
            refused(draft, ups, why);
        }
    }
}

/// Why a descent goes on without the cut.
fn gave_up(scene: &Scene<'_>, step: &Step) -> Option<String> {
    if let Some(attempt) = scene.memory.attempts.get(&step.key()).filter(|attempt| attempt.count >= ATTEMPTS) {
        return Some(attempt.outcome.to_string());
    }
    let pending = scene.memory.ledger_pending.map(|since| scene.now.since(since)).unwrap_or_default();
    (pending >= LEDGER_PATIENCE).then(|| "the ledger is not on disk, so it could be cut twice".to_owned())
}

/// Whether the battery leaves time to see that the last hosts are off, this host's own power-off kept back.
fn has_time(scene: &Scene<'_>, ups: &UpsName) -> bool {
    let Some(assessment) = scene.power.upses.get(ups) else { return false };
    let reserve = scene.config.own_host.power_off_time.mul_f64(scene.config.ups_policy.runtime_safety_factor);
    !assessment.is_urgent && assessment.time_left.is_some_and(|left| left > reserve)
}

/// Mains are back although hosts are off: where one cannot be woken, its UPS is told to cut and to return, if nobody else
/// that it feeds is up and hosts that boot on AC by themselves have had their time.
pub(super) fn return_power(scene: &Scene<'_>, draft: &mut Draft, is_open: bool) {
    if scene.episode.converged.is_some() || scene.effective.is_partial() {
        return;
    }
    for (ups, _) in cuts(scene) {
        let step = step(scene, ups);
        draft.remember(&step);
        let Some(stranded) = fed(scene, ups).map(|(name, _)| name).find(|name| is_stranded(scene, name)) else {
            continue;
        };
        // One cut an outage: where a host did not come back with the load, another one brings nothing.
        if progress(scene, ups) != Progress::Untold {
            continue;
        }
        if let Some(why) = never(scene, ups) {
            refused(draft, ups, format!("{stranded} stays off: {why}"));
            continue;
        }
        let other = fed(scene, ups).map(|(name, _)| name).find(|name| {
            scene.host_state(name) != HostState::Off && !(scene.is_told_off(name) && scene.is_silent(name))
        });
        if let Some(other) = other {
            let why = format!("{stranded} stays off: it also feeds {other}, which is not off; switch {stranded} on");
            refused(draft, ups, why);
            continue;
        }
        if is_open && has_waited(scene, ups) {
            draft.want(step, CUT_LIMIT, "mains came back before its output was off, and hosts it feeds stay off");
        } else {
            draft.later(step);
        }
    }
}

/// Whether a host is off because of an outage and nothing but its UPS can switch it on.
fn is_stranded(scene: &Scene<'_>, name: &NodeName) -> bool {
    let is_wakeable = scene.config.nodes.get(name).is_some_and(|node| node.wake.is_some());
    let is_missed = !scene.config.is_ignored(name) || scene.ledger.was_up.contains(name);
    let was_outage = scene.ledger.powered_off.get(name).is_some_and(|told| told.by_override);
    scene.host_state(name) == HostState::Off
        && was_outage
        && is_missed
        && !is_wakeable
        && scene.hold(&Held::Node(name.clone())).is_none()
}

/// Whether mains have been there, and every host silent, for as long as a host that boots on AC by itself may take.
fn has_waited(scene: &Scene<'_>, ups: &UpsName) -> bool {
    let limit = scene.config.startup.node_wait;
    let on_line_for = scene.power.upses.get(ups).and_then(|one| one.on_line_for);
    // A driver that is away again and again never lets them stand.
    let is_patience_over = scene.episode.began.age(scene.now) >= scene.config.startup.recharge_max_wait;
    let is_on_line = on_line_for.is_some_and(|time| time >= limit || is_patience_over);
    let all_accepted = fed(scene, ups).all(|(name, _)| was_accepted(scene, name));
    is_on_line
        && all_accepted
        && fed(scene, ups).all(|(name, _)| scene.host_state(name) == HostState::Off && scene.silent_for(name) >= limit)
}

/// Whether a host is expected back because its UPS cuts its load and returns: the wait for it.
pub(super) fn returning(scene: &Scene<'_>, name: &NodeName) -> Option<(WaitReason, Duration, Duration)> {
    let node = scene.config.nodes.get(name)?;
    let (ups, cut) = cuts(scene).find(|(ups, _)| node.feeds.contains(*ups))?;
    let since = scene.ledger.load_cuts.get(ups)?.told.age(scene.now);
    let limit = cut.delay + scene.config.startup.node_wait;
    let evidence = format!("UPS {ups} was told to cut its load and to return");
    (since < limit).then(|| (WaitReason::NodeReachable { node: name.clone(), evidence }, since, limit))
}

/// The nodes that nothing is started on, and that are not woken, because their UPSes were told to cut their loads and have not yet:
/// only the UPS itself could take that back. Says what is waited for.
pub(super) fn held(scene: &Scene<'_>, draft: &mut Draft, starts: impl Fn(&NodeName) -> bool) -> BTreeSet<NodeName> {
    let coming: BTreeMap<&UpsName, (Duration, Duration)> = cuts(scene)
        .filter_map(|(ups, cut)| {
            let is_told = !matches!(progress(scene, ups), Progress::Untold);
            let since = told_ago(scene.ledger.load_cuts.get(ups).filter(|_| is_told)?, scene.now);
            let limit = longest(cut, scene.snapshot.load_cuts.get(ups)) + CUT_MARGIN;
            (since <= limit).then_some((ups, (since, limit)))
        })
        .collect();
    let mut held = BTreeSet::new();
    for (name, node) in scene.config.nodes.iter().filter(|(name, _)| starts(name)) {
        let is_cut = |ups: &&UpsName| coming.contains_key(*ups);
        if node.feeds.iter().filter(|ups| !is_cut(ups)).count() >= node.min_supplies {
            continue;
        }
        let Some((ups, (since, limit))) = node.feeds.iter().find_map(|ups| coming.get_key_value(ups)) else { continue };
        held.insert(name.clone());
        if scene.host_state(name) == HostState::Up {
            draft.wait(WaitReason::LoadCut { ups: (*ups).clone(), node: name.clone() }, *since, Some(*limit));
        }
    }
    held
}

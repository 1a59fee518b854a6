//! Equal situations made equal states: everything grows older by a tick, and what no rule can tell apart becomes the same.
//!
//! Why each of these changes no decision:
//!
//! - **The time stands still, ages grow.** No rule asks for a time, only for how long ago something was (`Now::since`,
//!   `Stamp::age`, `Reading::fresh`). So `now` is a constant, and every stamp is moved back by a tick instead.
//! - **Ages end at a bound.** All limits of `cluster.rs` are at most five ticks, the planner's own constants at most three
//!   (backoff and lease: 60 s and 50 s). An age of six ticks is past all of them; where a kind of stamp is only compared
//!   with shorter limits, its bound is one tick above the longest of those. The exception is a UPS' estimate that never
//!   changes, which hecate counts down: it is at its trigger long before the bound.
//! - **Boots are "this" or "earlier".** A boot id is only asked whether it is the present one (`Stamp::age`, `progress`,
//!   `forget_returned`, `is_spent`), never which of the earlier ones it is.
//! - **Runs are numbered.** A run's id is only compared: with the episode in memory (0), with the one on disk that a kill
//!   brings back (1); all others are alike. Those of a second hecate host are 2 and 3.
//! - **Words go.** Reasons, triggers and evidence are for people; `run_steps`, histories and the number of a ledger rule
//!   nothing here (budgets are the configured ones, as of a new installation).
//! - **Few polls are kept.** A daemon that was restarted has as few, so every decision from them is one that hecate can come
//!   to; but a run of more than [`POLLS`] polls is never seen, so the filter for an estimate that jumps is not in this model.

use std::time::Duration;

use hecate::desired::Override;
use hecate::ledger::{Episode, Ledger};
use hecate::model::{BootId, IntentRecord, RunId, Stamp};
use hecate::plan::step::{Outcome, Step};
use hecate::tracker::{Memory, UpsMemory};

use super::cluster::{EARLIER_BOOT, GUARD, NAMES, NOW, OLD, THIS_BOOT, TICK};
use super::world::Saved;

/// How many polls of a UPS are kept.
const POLLS: usize = 3;
/// A step's attempts count no further: the backoff has its ceiling, every blocker and warning its number.
const ATTEMPTS: u32 = 6;

/// The name of a numbered run.
pub(crate) fn run_name(number: u8) -> String {
    format!("run-{number}")
}

/// The number of a run that has one.
pub(crate) fn number_of(run: &RunId) -> Option<u8> {
    run.as_str().strip_prefix("run-")?.parse().ok()
}

fn older(boottime: Duration, ticks: u32) -> Duration {
    boottime.saturating_sub(TICK).max(NOW.boottime.saturating_sub(TICK * ticks))
}

fn older_stamp(stamp: &mut Stamp, ticks: u32) {
    stamp.wall = (stamp.wall - TICK).max(NOW.wall - TICK * ticks);
    // Of an earlier boot only the wall clock tells an age.
    let is_this = stamp.boot_id == NOW.boot_id;
    stamp.boottime = if is_this { older(stamp.boottime, ticks) } else { Duration::ZERO };
}

/// A ledger one tick later.
pub(crate) fn age_ledger(ledger: &mut Ledger) {
    if let Some(episode) = &mut ledger.episode {
        older_stamp(&mut episode.began, OLD);
        episode.phases.values_mut().for_each(|began| older_stamp(began, 3));
        // That it has converged counts, not when.
        episode.converged.iter_mut().for_each(|stamp| older_stamp(stamp, 1));
        episode.trigger.clear();
    }
    ledger.on_battery_since.values_mut().for_each(|since| older_stamp(since, OLD));
    ledger.silent_since.values_mut().for_each(|since| older_stamp(since, OLD));
    // That there were descents counts, not when.
    ledger.descents.iter_mut().for_each(|began| older_stamp(began, 1));
    ledger.descents.truncate(1);
    ledger.devices.clear();
    for off in ledger.powered_off.values_mut() {
        older_stamp(&mut off.told, 3);
        off.woken.iter_mut().for_each(|woken| older_stamp(woken, 4));
    }
    ledger.own_power_off.iter_mut().for_each(|own| older_stamp(&mut own.told, 1));
    for word in ledger.peers.values_mut() {
        older_stamp(&mut word.first_seen, GUARD + 1);
        word.intent.iter_mut().for_each(age_intent);
    }
}

/// An intent one tick later.
pub(crate) fn age_intent(intent: &mut IntentRecord) {
    intent.since = (intent.since - TICK).max(NOW.wall - TICK * (GUARD + 1));
}

/// A memory one tick later.
pub(crate) fn age_memory(memory: &mut Memory) {
    // Every field is named, so that a new one is a question. Pods have names for good, and no load is cut here.
    let Memory {
        in_flight,
        attempts,
        ended,
        upses,
        silent_since,
        answers_since,
        stopped_since,
        drain_owed: _,
        waits,
        ledger_number,
        ledger_pending,
        run_steps,
        cuts_sent: _,
        woken,
        unsaved,
        kept_low,
        began,
    } = memory;
    *began = older(*began, 4);
    for step in in_flight.values_mut() {
        (step.started, step.deadline) = (older(step.started, OLD), older(step.deadline, OLD));
    }
    for attempt in attempts.values_mut() {
        attempt.ended = older(attempt.ended, 3);
        attempt.count = attempt.count.min(ATTEMPTS);
        attempt.outcome = match attempt.outcome {
            Outcome::Refused { .. } => Outcome::Refused { evidence: String::new() },
            Outcome::Failed { .. } => Outcome::Failed { why: String::new() },
            Outcome::Tried | Outcome::OtherBoot { .. } | Outcome::DeadlinePassed | Outcome::Cancelled => {
                attempt.outcome.clone()
            }
        };
    }
    ended.values_mut().for_each(|ended| *ended = older(*ended, 2));
    // No reading is older than one tick.
    ended.retain(|_, ended| NOW.boottime - *ended < 2 * TICK);
    upses.values_mut().for_each(age_polls);
    silent_since.values_mut().for_each(|since| *since = older(*since, 4));
    stopped_since.values_mut().for_each(|since| *since = older(*since, 3));
    waits.values_mut().for_each(|since| *since = older(*since, OLD));
    *ledger_pending = ledger_pending.map(|since| older(since, 1));
    *ledger_number = u64::from(ledger_pending.is_some());
    run_steps.clear();
    // What the disk refuses and what a restart would recall is left out: losing both is the harder case.
    woken.clear();
    answers_since.clear();
    unsaved.clear();
    *kept_low = None;
}

fn age_polls(polls: &mut UpsMemory) {
    while polls.samples.len() > POLLS {
        polls.samples.pop_front();
    }
    polls.samples.iter_mut().for_each(|sample| sample.began = older(sample.began, OLD));
    polls.words_since.values_mut().for_each(|since| *since = older(*since, 3));
    polls.last = polls.last.map(|last| older(last, OLD));
    polls.witness_seen = None;
    polls.zero_charge_since = polls.zero_charge_since.map(|since| older(since, 3));
    polls.climb = None;
    polls.charges.clear();
    if let Some(line) = &mut polls.line {
        (line.since, line.last) = (older(line.since, OLD), older(line.last, OLD));
        line.discharged = line.discharged.map(|at| older(at, OLD));
        line.drawn_until.iter_mut().for_each(|at| at.0 = older(at.0, OLD));
        // No recharge is judged by the pace of the charge here.
        (line.flat_since, line.flat_charge, line.mark, line.first_charge) = (None, None, None, None);
    }
    if let Some(outage) = &mut polls.outage {
        (outage.since, outage.last) = (older(outage.since, OLD), older(outage.last, OLD));
        outage.mains_for.0 = outage.mains_for.0.min(3 * TICK);
    }
    if let Some(figures) = &mut polls.figures {
        figures.began = older(figures.began, OLD);
    }
    if let Some(low) = &mut polls.low {
        (low.first, low.last) = (older(low.first, 3), older(low.last, 3));
        (low.counted, low.polls) = (older(low.counted, 3), low.polls.min(3));
        (low.told.0, low.drawn.0) = (older(low.told.0, 3), low.drawn.0.min(3 * TICK));
    }
    polls.runtime_since = polls.runtime_since.map(|since| older(since, OLD));
    for from in [&mut polls.drawn_from, &mut polls.settled_from].into_iter().flatten() {
        from.began = older(from.began, OLD);
    }
}

/// An override without its words and its date, which rule nothing.
pub(crate) fn strip_override(one: &mut Override) {
    one.reason.clear();
    one.set_at = NOW.wall;
}

/// A ledger without the words.
pub(crate) fn strip_ledger(ledger: &mut Ledger) {
    ledger.episode.iter_mut().for_each(|episode| episode.trigger.clear());
}

/// The host hecate runs on was booted.
pub(crate) fn boot_own(ledger: &mut Ledger) {
    let mut forget = |stamp: &mut Stamp| {
        stamp.boot_id = BootId::from(EARLIER_BOOT);
        stamp.boottime = Duration::ZERO;
    };
    if let Some(episode) = &mut ledger.episode {
        episode.key.boot_id = BootId::from(EARLIER_BOOT);
        forget(&mut episode.began);
        episode.phases.values_mut().for_each(&mut forget);
        episode.converged.iter_mut().for_each(&mut forget);
    }
    ledger.on_battery_since.values_mut().for_each(&mut forget);
    ledger.silent_since.values_mut().for_each(&mut forget);
    ledger.descents.iter_mut().for_each(&mut forget);
    ledger
        .powered_off
        .values_mut()
        .flat_map(|off| [Some(&mut off.told), off.woken.as_mut()])
        .flatten()
        .for_each(&mut forget);
    ledger.own_power_off.iter_mut().for_each(|own| forget(&mut own.told));
    ledger.fulfilled_in.iter_mut().for_each(|boot_id| *boot_id = BootId::from(EARLIER_BOOT));
    ledger.peers.values_mut().for_each(|word| forget(&mut word.first_seen));
}

/// A node's host was booted: what was told to it was told to an earlier boot.
pub(crate) fn boot_node(ledger: &mut Ledger, node: usize) {
    let told = ledger.powered_off.get_mut(&NAMES[node]).and_then(|off| off.boot_id.as_mut());
    told.into_iter().for_each(|boot| *boot = BootId::from(EARLIER_BOOT));
}

/// The same for a step that is on its way.
pub(crate) fn boot_node_of(step: &mut Step, node: usize) {
    if let Step::PowerOff { node: name, boot_id: Some(boot), .. } = step
        && *name == NAMES[node]
        && boot.as_str() == THIS_BOOT
    {
        *boot = BootId::from(EARLIER_BOOT);
    }
}

/// Numbers the runs of one hecate host from `base` on: first the episode in memory, then the one on disk where that is
/// another.
pub(crate) fn number_runs(
    base: u8,
    saved: &mut Saved,
    ledgers: (&mut Ledger, &mut Ledger),
    memory: &mut Memory,
    late: &mut [Step],
) {
    let (ledger, disk) = ledgers;
    let run = |ledger: &Ledger| ledger.episode.as_ref().map(|episode| episode.run.clone());
    let (first, second) = (run(ledger), run(disk));
    let renamed = |old: &RunId| match (first.as_ref() == Some(old), second.as_ref() == Some(old)) {
        (true, _) => RunId::new(run_name(base)),
        (false, true) => RunId::new(run_name(base + 1)),
        (false, false) => RunId::new("another"),
    };
    let rename = |ledger: &mut Ledger| {
        ledger.own_power_off.iter_mut().for_each(|own| own.run = renamed(&own.run));
        ledger.powered_off.values_mut().filter_map(|off| off.run.as_mut()).for_each(|run| *run = renamed(run));
        ledger.episode.iter_mut().for_each(|Episode { run, .. }| *run = renamed(run));
    };
    rename(ledger);
    rename(disk);
    let steps = memory.in_flight.values_mut().map(|one| &mut one.step);
    for step in steps.chain(late) {
        if let Step::Cordon { run, .. } | Step::SaveEtcdSnapshot { run, .. } = step {
            *run = renamed(run);
        }
    }
    if let Saved::Of(number) = *saved
        && number & !1 == base
    {
        *saved = number_of(&renamed(&RunId::new(run_name(number)))).map_or(Saved::No, Saved::Of);
    }
}

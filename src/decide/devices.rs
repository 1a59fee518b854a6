//! What is learned of each battery: how calm it is, what it gave, and what it holds since an outage.
//!
//! Pure. The ledger is written for a change that a rule would notice, for an hour of calm and for a minute of discharge, not
//! for noise.

use std::time::Duration;

use crate::desired::ups_policy::{self, Assessment, credible_runtime};
use crate::ledger::{Calm, CalmWatch, Device, Discharge, Ledger, OwnCount, Proven, Said};
use crate::model::{ClusterState, Now, UpsName};
use crate::plan::scene::Scene;
use crate::snapshot::{UpsReading, UpsWord};
use crate::status::UpsVerdict;
use crate::tracker::UpsMemory;

/// What is written of a calm, once in so long.
const HOUR: Duration = Duration::from_secs(3600);
/// Calm is not heard of for longer than this between two of those: then it begins anew.
const HOUR_AT_MOST: Duration = Duration::from_secs(2 * 3600);
/// So long calm must last ...
const DAY: Duration = Duration::from_secs(24 * 3600);
/// ... with so many words of it ...
const SAID_LEAST: usize = 20;
const SAID_MOST: usize = 25;
/// ... and the charge within a point in so many of the latest.
const SAID_FLAT: usize = 12;
/// A longer runtime than the one that is known counts after so long.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
/// Runtimes that differ by less are the same.
const RUNTIME_NOISE: f64 = 0.05;
/// A discharge by so many points proves what a battery gives.
const PROVEN_FALL: f64 = 50.0;
/// ... over so much time ...
const PROVEN_TIME: Duration = Duration::from_secs(120);
/// ... and so many refreshes of the driver.
const PROVEN_REFRESHES: u32 = 3;
/// Power that ends with more than this in the battery, percent, was not ended by it.
const CUT_CHARGE: f64 = 50.0;
/// So much of it must have been under the load of the whole cluster, where the UPS tells no load.
const PROVEN_FALL_OF_ALL: f64 = 20.0;
/// A smaller load of the whole cluster, in whole percents, is too coarse to tell how much of it was shed.
const LOAD_COARSE: f64 = 5.0;
/// The last look at a discharge is written once in so long.
const MINUTE: Duration = Duration::from_secs(60);
/// What a battery gives of which nothing is known, where it tells no charge: so much of the own count goes.
const USUAL: Duration = Duration::from_secs(600);
/// A recharge is learned from at most this charge on ...
const RECHARGE_FROM: f64 = 60.0;
/// ... to this.
const RECHARGE_TO: f64 = 95.0;
/// Words beside which nothing is calm.
const UNEASY: [UpsWord; 8] = [
    UpsWord::Ob,
    UpsWord::Boost,
    UpsWord::Trim,
    UpsWord::Bypass,
    UpsWord::By,
    UpsWord::Cal,
    UpsWord::Over,
    UpsWord::Alarm,
];

/// Brings what is known of each battery up to now.
pub(super) fn remember(ledger: &mut Ledger, scene: &Scene<'_>) {
    let is_forgotten = |ups: &UpsName| scene.declared.forget.iter().any(|forget| forget.ups == *ups);
    ledger.devices.retain(|ups, _| scene.config.upses.contains_key(ups) && !is_forgotten(ups));
    for (ups, assessment) in &scene.power.upses {
        let Some(polls) = scene.memory.upses.get(ups) else { continue };
        let reading = scene.snapshot.upses.get(ups);
        let fresh = reading.and_then(|reading| reading.fresh(scene.now, scene.config.ups_policy.max_age));
        let mut device = ledger.devices.remove(ups).unwrap_or_default();
        match fresh {
            Some(reading) => {
                let look = Look { scene, ups, assessment, polls, reading };
                look.identify(&mut device);
                look.count(&mut device);
                look.discharge(&mut device);
                look.calm(&mut device);
            }
            None if assessment.silent_for.is_some_and(|silent| silent >= scene.config.ups_policy.lost_on_battery) => {
                device.watch = None;
            }
            None => {}
        }
        if device != Device::default() {
            ledger.devices.insert(ups.clone(), device);
        }
    }
}

struct Look<'a> {
    scene: &'a Scene<'a>,
    ups: &'a UpsName,
    assessment: &'a Assessment,
    polls: &'a UpsMemory,
    reading: &'a UpsReading,
}

impl Look<'_> {
    fn now(&self) -> &Now {
        self.scene.now
    }

    fn is_drawn(&self) -> bool {
        self.assessment.is_on_battery() && self.assessment.silent_for.is_none()
    }

    fn is_on_line(&self) -> bool {
        self.assessment.verdict == UpsVerdict::OnLine
    }

    /// Another device at this name: what was known of the one before says nothing of it.
    fn identify(&self, device: &mut Device) {
        let said = &self.reading.device;
        if device.id.contradicts(said) {
            // In an outage a name that changes is a driver that has lost its UPS for a while: what was drawn stays drawn.
            let count = device.count.take().filter(|_| self.polls.outage.is_some());
            *device = Device { count, ..Device::default() };
        }
        device.id.complete(said);
    }

    fn charge(&self) -> Option<f64> {
        self.reading.charge_percent.filter(|_| !self.polls.is_charge_void())
    }

    fn count(&self, device: &mut Device) {
        let recharge = device.recharge.unwrap_or(self.scene.config.upses[self.ups].recharge);
        let held = device.count.as_ref().map_or(100.0, |count| count.percent(recharge, self.now()));
        if self.is_drawn() {
            if device.count.as_ref().is_none_or(|count| count.since.is_some()) {
                device.count = Some(OwnCount { percent: held, since: None, is_seen: false });
            }
            return;
        }
        let Some(line) = self.polls.line.as_ref().filter(|_| self.is_on_line()) else { return };
        let Some(count) = device.count.clone() else {
            if self.scene.ledger_problem.is_some() {
                // An outage may have been in the ledger that was lost.
                let since = Some(self.now().stamp_before(self.now().since(line.since)));
                device.count = Some(OwnCount { percent: 0.0, since, is_seen: false });
            }
            return;
        };
        let ago = self.now().since(line.since);
        if count.since.is_none() {
            let outage = self.polls.outage.as_ref();
            let percent = match outage {
                // Its end was not seen.
                None => 0.0,
                Some(outage) => outage.charge_left(&self.scene.config.ups_policy).unwrap_or_else(|| {
                    let full = ups_policy::battery(self.scene.ledger, self.ups).full_runtime().unwrap_or(USUAL);
                    let drawn = outage.last.saturating_sub(outage.since).as_secs_f64();
                    (count.percent - drawn / full.as_secs_f64().max(1.0) * 100.0).max(0.0)
                }),
            };
            let since = Some(self.now().stamp_before(ago));
            device.count = Some(OwnCount { percent, since, is_seen: outage.is_some() });
        } else if held >= 100.0 {
            device.count = None;
        } else {
            self.learn_recharge(device, &count);
        }
    }

    /// How long a recharge takes, where hecate saw it from a low charge to a full one.
    fn learn_recharge(&self, device: &mut Device, count: &OwnCount) {
        let is_full = self.charge().is_some_and(|charge| charge >= RECHARGE_TO);
        let is_honest = self.polls.line.as_ref().is_some_and(|line| line.is_rise_honest());
        let (Some(since), true, true) = (&count.since, is_full && count.percent <= RECHARGE_FROM, is_honest) else {
            return;
        };
        if count.is_seen {
            let whole = since.age(self.now()).mul_f64(100.0 / (RECHARGE_TO - count.percent));
            device.recharge = Some(whole.clamp(HOUR / 4, DAY * 4));
            device.count = None;
        }
    }

    fn discharge(&self, device: &mut Device) {
        if self.is_drawn() {
            let charge = self.charge();
            let Some(going) = &mut device.discharge else {
                let began = self.polls.drawn_from.as_ref().map_or(Duration::ZERO, |from| self.now().since(from.began));
                device.discharge = Some(Discharge {
                    began: self.now().stamp_before(began),
                    charge: self.polls.drawn_from.as_ref().and_then(|from| from.charge).or(charge),
                    load: self.reading.load_percent.filter(|load| *load >= LOAD_COARSE),
                    seen: self.now().stamp(),
                    seen_charge: charge,
                    is_shed: false,
                    warned: None,
                });
                return;
            };
            going.is_shed |= going.load.is_none() && self.is_shedding();
            if going.is_shed {
                return;
            }
            if going.seen.age(self.now()) >= MINUTE && going.began.boot_id == self.now().boot_id {
                going.load = going.load.zip(self.reading.load_percent).map(|(mean, load)| {
                    let (before, since) =
                        (going.seen.boottime.saturating_sub(going.began.boottime), going.seen.age(self.now()));
                    (mean * before.as_secs_f64() + load * since.as_secs_f64()) / (before + since).as_secs_f64().max(1.0)
                });
                (going.seen, going.seen_charge) = (self.now().stamp(), charge);
            }
            // A warning that is taken back was none: the battery went on.
            let age = going.began.age(self.now());
            going.warned = self.has_ended_in_warning().then(|| going.warned.unwrap_or(age));
        } else if self.is_on_line()
            && let Some(going) = device.discharge.take()
        {
            self.prove(device, &going);
        }
    }

    /// LB that came while on battery, stood, and is believed by the charge: from here on the UPS itself promises nothing.
    fn has_ended_in_warning(&self) -> bool {
        let since = |word| self.polls.words_since.get(&word).copied();
        let Some((lb, ob)) = since(UpsWord::Lb).zip(since(UpsWord::Ob)) else { return false };
        let is_below_half = |percent: Option<f64>| percent.is_none_or(|percent| percent < 50.0);
        let is_ignored = self.scene.config.upses[self.ups].ignored_words.contains(&UpsWord::Lb);
        lb > ob
            && !is_ignored
            && self.now().since(lb) >= self.scene.config.ups_policy.ob_lb
            && is_below_half(self.reading.charge_low_percent)
            && is_below_half(self.charge())
    }

    /// Whether hosts are told to go: from then on less is drawn than by the whole cluster.
    fn is_shedding(&self) -> bool {
        self.scene.is_descent() || self.scene.effective.is_partial()
    }

    fn prove(&self, device: &mut Device, going: &Discharge) {
        if going.is_shed {
            Self::prove_by_what_all_drew(device, going);
            return;
        }
        let is_this_boot = going.began.boot_id == self.now().boot_id;
        let last = if is_this_boot { self.polls.outage.as_ref() } else { None };
        let lasted = match last {
            Some(outage) => outage.last.saturating_sub(going.began.boottime),
            None => going.seen.boottime.saturating_sub(going.began.boottime),
        };
        let low = last.and_then(|outage| outage.charge).or(going.seen_charge);
        let fell = going.charge.zip(low).map(|(from, to)| from - to);
        let own_went = self.scene.ledger.own_power_off.as_ref();
        // A reboot of this host ends no battery: the UPS then says OB to the next boot, or has much of its charge left.
        let is_near_the_end = going.seen_charge.is_none_or(|charge| charge < CUT_CHARGE);
        let was_cut = !is_this_boot
            && self.polls.outage.is_none()
            && is_near_the_end
            && own_went.is_none_or(|own| own.told.boot_id != going.began.boot_id);
        let feeds_own = self.scene.config.own_host.feeds.contains(self.ups);
        let at = going.began.clone();
        // What is over so soon is the sag, a self-test or a reading that was none.
        let refreshes = self.reading.driver_interval.unwrap_or_default() * PROVEN_REFRESHES;
        let fell = fell.filter(|_| lasted >= PROVEN_TIME.max(refreshes));
        // Its own last warning is its end: what it held at the beginning is gone.
        if let Some(lasted) = going.warned.filter(|lasted| *lasted >= MINUTE)
            && going.charge.is_none_or(|charge| charge >= PROVEN_FALL)
        {
            device.proven = Some(Proven { lasted, load: going.load, fall_percent: going.charge, at });
        } else if was_cut && feeds_own && lasted >= MINUTE {
            device.proven = Some(Proven { lasted, load: going.load, fall_percent: None, at });
        } else if fell.is_some_and(|fell| fell >= PROVEN_FALL) {
            device.proven = Some(Proven { lasted, load: going.load, fall_percent: fell, at });
        }
    }

    /// A UPS that tells no load: what is known is how the charge fell until a descent began.
    fn prove_by_what_all_drew(device: &mut Device, going: &Discharge) {
        let lasted = going.seen.boottime.saturating_sub(going.began.boottime);
        let fell = going.charge.zip(going.seen_charge).map(|(from, to)| from - to);
        if fell.is_some_and(|fell| fell >= PROVEN_FALL_OF_ALL) {
            device.proven = Some(Proven { lasted, load: None, fall_percent: fell, at: going.began.clone() });
        }
    }

    fn calm(&self, device: &mut Device) {
        let status = &self.reading.status;
        if !self.is_on_line() || UNEASY.iter().any(|word| status.has(*word)) || device.count.is_some() {
            device.watch = None;
            return;
        }
        let runs = self.scene.effective.state() == ClusterState::Running && !self.scene.effective.is_override();
        if !runs || self.scene.episode.converged.is_none() {
            return;
        }
        let now = self.now();
        let said = Said {
            runtime: credible_runtime(self.reading.runtime),
            charge: self.charge(),
            load: self.reading.load_percent,
        };
        let is_broken = device.watch.as_ref().is_none_or(|watch| watch.heard.age(now) > HOUR_AT_MOST);
        if is_broken {
            device.watch = Some(CalmWatch { since: now.stamp(), heard: now.stamp(), said: vec![said] });
            return;
        }
        let Some(watch) = device.watch.as_mut().filter(|watch| watch.heard.age(now) >= HOUR) else { return };
        watch.heard = now.stamp();
        watch.said.push(said);
        let surplus = watch.said.len().saturating_sub(SAID_MOST);
        watch.said.drain(..surplus);
        if watch.since.age(now) >= DAY && watch.said.len() >= SAID_LEAST && is_flat(&watch.said) {
            let learned = Calm {
                runtime: median(watch.said.iter().filter_map(|said| said.runtime.map(|it| it.as_secs_f64())))
                    .map(Duration::from_secs_f64),
                charge: median(watch.said.iter().filter_map(|said| said.charge)),
                load: median(watch.said.iter().filter_map(|said| said.load)),
                at: now.stamp(),
                longer_since: None,
            };
            device.calm = Some(replaced(device.calm.take(), learned, now));
        }
    }
}

fn is_flat(said: &[Said]) -> bool {
    let latest = said.iter().rev().take(SAID_FLAT).filter_map(|said| said.charge);
    let (least, most) = latest.fold((f64::MAX, f64::MIN), |(least, most), it| (least.min(it), most.max(it)));
    most - least <= 1.0
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// A shorter runtime replaces what is known at once, a longer one when it has been said for a week: batteries grow worse, not
/// better.
fn replaced(known: Option<Calm>, learned: Calm, now: &Now) -> Calm {
    let Some(known) = known else { return learned };
    let (Some(old), Some(new)) = (known.runtime, learned.runtime) else { return learned };
    if new > old.mul_f64(1.0 + RUNTIME_NOISE) {
        let since = known.longer_since.clone().unwrap_or_else(|| now.stamp());
        if since.age(now) < WEEK {
            return Calm { longer_since: Some(since), ..known };
        }
        learned
    } else if new < old.mul_f64(1.0 - RUNTIME_NOISE) {
        learned
    } else {
        Calm { longer_since: None, ..known }
    }
}

//! What is learned of each battery: how calm it is, what it gave, and what it holds since an outage.
//!
//! Pure. The ledger is written for a change that a rule would notice, for an hour of calm and for a minute of discharge, not
//! for noise.

use std::time::Duration;

use crate::desired::ups_policy::{self, Assessment, battery::Battery, credible_runtime};
use crate::ledger::{Calm, CalmWatch, Device, Discharge, Ledger, OwnCount, Proven, Said, Settled};
use crate::model::{ClusterState, NodeName, Now, Stamp, UpsName};
use crate::plan::scene::Scene;
use crate::snapshot::{UpsReading, UpsWord};
use crate::status::{HostState, UpsVerdict};
use crate::tracker::{Outage, UpsMemory};

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
/// ... of them so many after the sag of the first minute, from where its pace is taken ...
const PROVEN_FALL_SETTLED: f64 = 25.0;
/// ... over so much time ...
const PROVEN_TIME: Duration = Duration::from_secs(120);
/// ... and so many refreshes of the driver.
const PROVEN_REFRESHES: u32 = 3;
/// Power that ends with more than this in the battery, percent, was not ended by it.
const CUT_CHARGE: f64 = 50.0;
/// ... and what mains begin with is less than this: a battery that was drawn from to its end has next to nothing.
const CUT_LEFT: f64 = 25.0;
/// So much of it must have been under the load of the whole cluster, where the UPS tells no load.
const PROVEN_FALL_OF_ALL: f64 = 20.0;
/// A smaller load of the whole cluster, in whole percents, is too coarse to tell how much of it was shed.
const LOAD_COARSE: f64 = 5.0;
/// The last look at a discharge is written once in so long.
const MINUTE: Duration = Duration::from_secs(60);
/// What a battery gives of which nothing is known, where it tells no charge: so much of the own count goes.
const USUAL: Duration = Duration::from_secs(600);
/// That mains are there is written once in such a share of a recharge.
const HEARD_SHARE: f64 = 0.05;
/// A charge that falls by so many points beside OL was drawn from.
const FALL_ON_LINE: f64 = 10.0;
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
    ledger.devices.retain(|ups, _| !is_forgotten(ups));
    drop_surplus(ledger, scene);
    for (ups, assessment) in &scene.power.upses {
        let Some(polls) = scene.memory.upses.get(ups) else { continue };
        let reading = scene.snapshot.upses.get(ups);
        let fresh = reading.and_then(|reading| reading.fresh(scene.now, scene.config.ups_policy.max_age));
        let known = ledger.devices.remove(ups);
        let mut device = known.or_else(|| renamed(ledger, scene, fresh?)).unwrap_or_default();
        match fresh {
            Some(reading) => {
                let look = Look { scene, ups, assessment, polls, reading };
                look.identify(&mut device);
                look.count(&mut device);
                look.discharge(&mut device);
                look.calm(&mut device);
            }
            None if assessment.is_on_battery() => {
                let recharge = device.recharge.unwrap_or(scene.config.upses[ups].recharge);
                open_count(&mut device, recharge, scene.now);
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

/// What was learned of a battery is kept while the configuration does not name its UPS, as a reload may be a mistake; of so many.
const UNNAMED_MOST: usize = 16;

fn drop_surplus(ledger: &mut Ledger, scene: &Scene<'_>) {
    let is_named = |ups: &UpsName| scene.config.upses.contains_key(ups);
    let surplus = ledger.devices.keys().filter(|ups| !is_named(ups)).skip(UNNAMED_MOST).cloned().collect::<Vec<_>>();
    ledger.devices.retain(|ups, _| !surplus.contains(ups));
}

/// What is known of this very device under a name that the configuration has no more.
fn renamed(ledger: &mut Ledger, scene: &Scene<'_>, said: &UpsReading) -> Option<Device> {
    let serial = said.device.serial.as_ref()?;
    let is_it = |(ups, device): &(&UpsName, &Device)| {
        !scene.config.upses.contains_key(*ups) && device.id.serial.as_ref() == Some(serial)
    };
    let name = ledger.devices.iter().find(is_it)?.0.clone();
    ledger.devices.remove(&name)
}

/// This host goes: until now mains were there wherever a battery is charged.
pub(super) fn hear_all(ledger: &mut Ledger, now: &Now) {
    let counts = ledger.devices.values_mut().filter_map(|device| device.count.as_mut());
    for count in counts.filter(|count| count.since.as_ref().is_some_and(|since| since.boot_id == now.boot_id)) {
        count.heard = Some(now.stamp());
    }
}

/// An outage has begun: what the battery held is known, what it loses is not yet.
fn open_count(device: &mut Device, recharge: Duration, now: &Now) {
    let held = device.count.as_ref().map_or(100.0, |count| count.percent(recharge, now));
    if device.count.as_ref().is_none_or(|count| count.since.is_some()) {
        device.count = Some(OwnCount { percent: held, since: None, is_seen: false, heard: None });
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

    /// Whether its last answer says that its battery is drawn from; a forced shutdown on healthy mains draws nothing.
    fn is_drawn(&self) -> bool {
        let last = self.polls.outage.as_ref().map(|outage| outage.last);
        self.assessment.is_on_battery() && self.assessment.silent_for.is_none() && last == self.polls.last
    }

    /// Whether mains are there, as far as it says; a shutdown may be forced meanwhile.
    fn is_on_line(&self) -> bool {
        self.assessment.verdict == UpsVerdict::OnLine || self.assessment.forced_for.is_some()
    }

    /// Another device at this name: what was known of the one before says nothing of it.
    fn identify(&self, device: &mut Device) {
        let said = &self.reading.device;
        if device.id.contradicts(said) {
            // In an outage a name that changes is a driver that has lost its UPS for a while: what was drawn stays drawn.
            // So it does where this host has not seen the end of the outage.
            let is_open = |count: &OwnCount| self.polls.outage.is_some() || count.since.is_none();
            let count = device.count.take().filter(is_open);
            // What the new one has drawn began at an unknown charge: it proves nothing.
            let discharge = device.discharge.take().filter(|_| self.polls.outage.is_some());
            let discharge = discharge.map(|going| Discharge { is_shed: true, charge: None, load: None, ..going });
            *device = Device { count, discharge, ..Device::default() };
        }
        device.id.complete(said);
    }

    fn charge(&self) -> Option<f64> {
        self.reading.charge_percent.filter(|_| !self.polls.is_charge_void())
    }

    fn count(&self, device: &mut Device) {
        let recharge = device.recharge.unwrap_or(self.scene.config.upses[self.ups].recharge);
        let held = device.count.as_ref().map_or(100.0, |count| count.percent(recharge, self.now()));
        // A UPS that is ignored is drawn from all the same.
        let is_ignored = self.assessment.verdict == UpsVerdict::Ignored;
        let is_drawn_unheeded = is_ignored && self.polls.says().is_some_and(|said| said.has(UpsWord::Ob));
        if self.is_drawn() || is_drawn_unheeded {
            open_count(device, recharge, self.now());
            return;
        }
        let Some(line) = self.polls.line.as_ref().filter(|_| self.is_on_line()) else { return };
        if self.polls.outage.as_ref().is_some_and(|outage| outage.garbled.is_some()) {
            return;
        }
        let ago = self.now().since(line.since);
        let Some(count) = device.count.clone() else {
            let since = Some(self.now().stamp_before(ago));
            if self.scene.ledger_problem.is_some() {
                // An outage may have been in the ledger that was lost.
                device.count = Some(OwnCount { percent: 0.0, since, is_seen: false, heard: None });
            } else if let Some(percent) = self.fall_on_line(device) {
                device.count = Some(OwnCount { percent, since: Some(self.now().stamp()), is_seen: false, heard: None });
            } else if let Some(percent) = self.unheard_outage(device) {
                let count = OwnCount { percent, since, is_seen: false, heard: None };
                device.count = Some(count).filter(|count| count.percent(recharge, self.now()) < 100.0);
            }
            return;
        };
        if count.since.is_none() && line.after_garbled {
            let since = Some(self.now().stamp_before(ago));
            let kept = OwnCount { since, is_seen: false, heard: None, ..count };
            device.count = Some(kept).filter(|count| count.percent < 100.0);
        } else if count.since.is_none() {
            // Where nothing was heard for long before mains were back, its end was not seen.
            let gap =
                self.scene.config.ups_policy.lost_on_battery.max(UpsMemory::gap_max(&self.scene.config.ups_policy));
            let is_end_heard = |outage: &&Outage| line.since.saturating_sub(outage.last) <= gap;
            let outage = self.polls.outage.as_ref();
            let heard = outage.filter(is_end_heard);
            let known = outage.and_then(|outage| self.charge_after(outage, device));
            let charge = known.filter(|_| heard.is_some());
            // What nobody heard may have been drawn as the whole cluster draws.
            let end = heard.map_or(line.since, |outage| outage.last);
            let by_time = |outage| self.left_by_time(outage, end, device, &count);
            // No outage leaves more than there was before it.
            let charge = charge.map(|charge| charge.min(count.percent));
            // Nor more than was seen in it.
            let least = || outage.map_or(0.0, by_time).min(known.unwrap_or(100.0));
            let percent = charge.unwrap_or_else(least);
            let since = Some(self.now().stamp_before(ago));
            device.count = Some(OwnCount { percent, since, is_seen: charge.is_some(), heard: None });
        } else if count.since.as_ref().is_some_and(|since| since.boot_id != self.now().boot_id) {
            let since = Some(self.now().stamp_before(ago));
            device.count = Some(OwnCount { percent: held, since, is_seen: false, heard: None });
        } else if let Some(percent) = self.fall_on_line(device).filter(|percent| *percent < held - FALL_ON_LINE) {
            device.count = Some(OwnCount { percent, since: Some(self.now().stamp()), is_seen: false, heard: None });
        } else if held >= 100.0 {
            device.count = None;
        } else {
            self.learn_recharge(device, &count);
            self.hear(device, recharge);
        }
    }

    /// Whether an outage began before this host was booted: of what was drawn until then nobody knows.
    fn began_before(&self, device: &Device) -> bool {
        device.discharge.as_ref().is_some_and(|it| it.began.boot_id != self.now().boot_id)
    }

    /// The charge that an outage left, where that was measured: in one that is older than this boot it was seen to fall.
    fn charge_after(&self, outage: &Outage, device: &Device) -> Option<f64> {
        let charge = outage.charge_left(&self.scene.config.ups_policy);
        charge.filter(|_| !self.began_before(device) || outage.has_fallen())
    }

    /// What an outage left by the time that it took at the most, percent; nothing where its beginning was not seen.
    fn left_by_time(&self, outage: &Outage, end: Duration, device: &Device, count: &OwnCount) -> f64 {
        if self.began_before(device) {
            return 0.0;
        }
        let full = ups_policy::battery(self.scene.ledger, self.ups).full_runtime().unwrap_or(USUAL);
        let drawn = end.saturating_sub(outage.since).as_secs_f64();
        (count.percent - drawn / full.as_secs_f64().max(1.0) * 100.0).max(0.0)
    }

    /// The charge that mains began with, percent, where it is less than a full battery has and no outage is known: its driver, or
    /// this host, was away while it was drawn from.
    fn unheard_outage(&self, device: &Device) -> Option<f64> {
        // An outage that was heard has its count, or a person made it forgotten.
        let line = self.polls.line.as_ref().filter(|line| line.drawn_until.is_none())?;
        let first = line.first_charge.filter(|charge| *charge > 0.0)?;
        let percent = Battery { device: Some(device), full_load: None }.percent_of_full(first);
        // What it says in a calm that lasts is what it always says.
        let is_usual = device.watch.as_ref().is_some_and(|watch| {
            let mut charges = watch.said.iter().filter_map(|said| said.charge);
            charges.next_back().is_some_and(|charge| charge <= first + 1.0)
        });
        (percent < RECHARGE_TO && !is_usual).then_some(percent)
    }

    /// The charge, percent, where it has fallen far although mains are said to be there: the battery is drawn from.
    fn fall_on_line(&self, device: &Device) -> Option<f64> {
        let first = self.polls.line.as_ref()?.first_charge?;
        let charge = self.charge().filter(|charge| first - charge >= FALL_ON_LINE)?;
        Some(Battery { device: Some(device), full_load: None }.percent_of_full(charge))
    }

    /// Writes down now and then, and before this host goes, that mains are there.
    fn hear(&self, device: &mut Device, recharge: Duration) {
        let now = self.now();
        let Some(count) = &mut device.count else { return };
        let known = count.heard.as_ref().or(count.since.as_ref()).map_or(Duration::ZERO, |stamp| stamp.age(now));
        if known >= recharge.mul_f64(HEARD_SHARE) {
            count.heard = Some(now.stamp());
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
                let is_shed = self.reading.load_percent.is_none_or(|load| load < LOAD_COARSE) && self.is_shedding();
                let from = self.polls.drawn_from.as_ref().and_then(|from| from.charge);
                // What is first seen while hosts are off already was drawn by nobody knows whom.
                let charge_before = from.or(charge).filter(|_| !is_shed);
                let began = self.now().stamp_before(began);
                device.discharge = Some(Discharge {
                    charge: charge_before,
                    load: self.reading.load_percent.filter(|load| *load >= LOAD_COARSE),
                    seen: self.now().stamp(),
                    seen_charge: charge,
                    is_shed,
                    settled: self.settled(&began).filter(|_| charge_before.is_some()),
                    in_spite_of_lb: self.polls.stood_on_line(UpsWord::Lb),
                    in_spite_of_rb: self.polls.stood_on_line(UpsWord::Rb),
                    warned: None,
                    began,
                });
                return;
            };
            if going.settled.is_none() && going.charge.is_some() {
                going.settled = self.settled(&going.began);
            }
            going.is_shed |= going.load.is_none() && self.is_shedding();
            if going.is_shed {
                return;
            }
            // A charge that stands at its end no longer tells for how long it lasts.
            let has_ended = charge.zip(going.seen_charge).is_some_and(|(now, seen)| now < 1.0 && now >= seen);
            // An answer without the load that others told says nothing of what was drawn: the next one that has it does.
            let is_told = going.load.is_none() || self.reading.load_percent.is_some();
            let is_due = going.seen.age(self.now()) >= MINUTE && going.began.boot_id == self.now().boot_id;
            if is_due && is_told && !has_ended {
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

    /// Where a discharge goes on from once the sag of its first minute is over.
    fn settled(&self, began: &Stamp) -> Option<Settled> {
        let from = self.polls.settled_from.as_ref().filter(|_| began.boot_id == self.now().boot_id)?;
        Some(Settled { after: from.began.checked_sub(began.boottime)?, charge: from.charge? })
    }

    /// LB that came while on battery, stood, and is believed by the charge: from here on the UPS itself promises nothing.
    fn has_ended_in_warning(&self) -> bool {
        let since = |word| self.polls.words_since.get(&word).copied();
        let Some((lb, ob)) = since(UpsWord::Lb).zip(since(UpsWord::Ob)) else { return false };
        let is_below_half = |percent: Option<f64>| percent.is_none_or(|percent| percent < 50.0);
        let policy = &self.scene.config.ups_policy;
        // Where no charge speaks for it, it is doubted as it is for the trigger.
        let stands = if self.charge().is_some() { policy.ob_lb } else { policy.ob_lb.max(policy.debounce) };
        lb > ob
            && self.now().since(lb) >= stands
            && is_below_half(self.reading.charge_low_percent)
            && is_below_half(self.charge())
    }

    /// Whether hosts are told to go, or are off: less is drawn than by the whole cluster.
    fn is_shedding(&self) -> bool {
        let is_away = |name: &NodeName| self.scene.host_state(name) != HostState::Up;
        self.scene.is_descent()
            || self.scene.effective.is_partial()
            || self.scene.nodes().any(|(name, node)| node.feeds.contains(self.ups) && is_away(name))
    }

    fn prove(&self, device: &mut Device, going: &Discharge) {
        if going.is_shed {
            Self::prove_by_what_all_drew(device, going);
            return;
        }
        let is_this_boot = going.began.boot_id == self.now().boot_id;
        let has_ended = going.seen_charge.is_some_and(|charge| charge < 1.0);
        let last = if is_this_boot && !has_ended { self.polls.outage.as_ref() } else { None };
        let lasted = match last {
            // What came after the last charge that was told took nobody knows how much.
            Some(outage) => outage.told.map_or(outage.last, |told| told.0).saturating_sub(going.began.boottime),
            None => going.seen.boottime.saturating_sub(going.began.boottime),
        };
        let low = last.and_then(Outage::steady_charge).or(going.seen_charge);
        let fell = going.charge.zip(low).map(|(from, to)| from - to);
        let settled =
            going.settled.zip(low).and_then(|(from, to)| Some((lasted.checked_sub(from.after)?, from.charge - to)));
        let own_went = self.scene.ledger.own_power_off.as_ref();
        // A reboot of this host ends no battery: the UPS then says OB to the next boot, or has much of its charge left.
        let came_back = self.polls.line.as_ref().and_then(|line| line.first_charge);
        let is_near_the_end = going.seen_charge.is_some_and(|charge| charge < CUT_CHARGE)
            && came_back.is_none_or(|charge| charge < CUT_LEFT);
        let was_cut = !is_this_boot
            && self.polls.outage.is_none()
            && is_near_the_end
            && own_went.is_none_or(|own| own.told.boot_id != going.began.boot_id);
        let feeds_own = self.scene.config.own_host.feeds.contains(self.ups);
        // What is over so soon is the sag, a self-test or a reading that was none.
        let refreshes = self.reading.driver_interval.unwrap_or_default() * PROVEN_REFRESHES;
        let fell = fell.filter(|_| lasted >= PROVEN_TIME.max(refreshes));
        // Its own last warning is its end: what it held at the beginning is gone.
        if let Some(lasted) = going.warned.filter(|lasted| *lasted >= MINUTE)
            && going.charge.is_none_or(|charge| charge >= PROVEN_FALL)
        {
            device.proven = Some(going.proof(lasted, going.load, going.charge));
        } else if was_cut && feeds_own && lasted >= MINUTE {
            let proof = going.proof(lasted, going.load, None);
            device.proven = Some(Proven { ended_at: going.seen_charge, ..proof });
        } else if fell.is_some_and(|fell| fell >= PROVEN_FALL)
            && let Some((lasted, fell)) = settled.filter(|(_, fell)| *fell >= PROVEN_FALL_SETTLED)
        {
            device.proven = Some(going.proof(lasted, going.load, Some(fell)));
        }
    }

    /// A UPS that tells no load: what is known is how the charge fell until a descent began.
    fn prove_by_what_all_drew(device: &mut Device, going: &Discharge) {
        let lasted = going.seen.boottime.saturating_sub(going.began.boottime);
        let settled = going.settled.zip(going.seen_charge);
        let settled = settled.and_then(|(from, to)| Some((lasted.checked_sub(from.after)?, from.charge - to)));
        if let Some((lasted, fell)) = settled.filter(|(_, fell)| *fell >= PROVEN_FALL_OF_ALL) {
            device.proven = Some(going.proof(lasted, None, Some(fell)));
        }
    }

    fn calm(&self, device: &mut Device) {
        let status = self.polls.says().unwrap_or_else(|| self.reading.status.clone());
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

impl Discharge {
    fn proof(&self, lasted: Duration, load: Option<f64>, fall_percent: Option<f64>) -> Proven {
        let (in_spite_of_lb, in_spite_of_rb) = (self.in_spite_of_lb, self.in_spite_of_rb);
        Proven { lasted, load, fall_percent, ended_at: None, in_spite_of_lb, in_spite_of_rb, at: self.began.clone() }
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

//! What anybody could have known of each UPS, from what it was heard to say: when its end had to be seen coming.
//!
//! Pure. It knows the words and figures and the limits of the configuration, and gives a time to each doubt: no doubt lasts
//! for ever but that about a UPS which says until the end that all is well.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{UpsPolicy, Witness};
use crate::desired::Held;
use crate::model::UpsName;
use crate::simulate::Simulation;
use crate::simulate::world::device::ChargeManner;
use crate::simulate::world::ups::{Battery, RuntimeLie};
use crate::snapshot::{UpsReading, UpsWord};

/// A charge that has fallen by so many points since the mains went corrects any runtime at once ...
const DEEP_FALL: f64 = 30.0;
/// ... and where it is made of the voltage, which drops when the load comes, after so long.
const DEEP_FALL_TAKES: Duration = Duration::from_secs(120);
/// A fall is a pace after so long, once the sag of the first minute is over.
const PACE: Duration = Duration::from_secs(180);
/// And once the driver has read it so often.
const REFRESHES: u32 = 3;
/// A runtime that stands for so long is counted down.
const COUNTED_DOWN: Duration = Duration::from_secs(180);
/// With so much charge left nobody believes a runtime.
const LAST_POINTS: f64 = 9.0;
/// A UPS whose charge was read so low on mains all along does not measure it.
const NO_CHARGE: f64 = 0.0;
/// What says LB at such a charge says nothing by it.
const LOW_MEANS_NOTHING: f64 = 90.0;

/// What was heard of each UPS.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Evidence {
    heard: BTreeMap<UpsName, Heard>,
}

/// What was heard of one.
#[derive(Clone, Debug, Default, PartialEq)]
struct Heard {
    /// Since when it says nothing of the mains: no answer, stale data, words that are none.
    silent: Option<Duration>,
    /// Since when its witness is gone.
    unwitnessed: Option<Duration>,
    /// Since when it is on battery, as far as its words go; a moment of OL does not end that.
    on_battery: Option<Duration>,
    /// How long OB was heard in all; what was said for less than a poll may have been missed.
    told_for: Duration,
    heard: Duration,
    /// Since when it says OL.
    on_line: Option<Duration>,
    /// The last charge that was heard on line.
    charge_before: Option<f64>,
    /// The charge, and when it moved last.
    charge: Option<(f64, Duration)>,
    /// Since when it says OB and no figures.
    bare: Option<Duration>,
    /// The runtime, and how much of the time on battery had been heard when it was first said.
    runtime: Option<(Duration, Duration)>,
    /// Since when the charge is next to nothing.
    last_points: Option<Duration>,
    /// Whether its witness was seen in this boot of the hecate host.
    saw_witness: bool,
    boot: u32,
}

impl Heard {
    fn hear(&mut self, reading: Option<&UpsReading>, policy: &UpsPolicy, now: Duration) {
        let word = |word| reading.is_some_and(|reading| reading.status.has(word));
        let charge = reading.and_then(|reading| reading.charge_percent).filter(|charge| *charge > NO_CHARGE);
        let by = now.saturating_sub(self.heard);
        self.heard = now;
        let is_bare = reading.is_some_and(|it| it.runtime.is_none() && charge.is_none()) && word(UpsWord::Ob);
        self.bare = is_bare.then(|| self.bare.unwrap_or(now));
        if word(UpsWord::Ob) {
            (self.silent, self.on_line) = (None, None);
            self.told_for += by;
            if self.on_battery.is_none() {
                self.on_battery = Some(now);
                (self.told_for, self.runtime) = (Duration::ZERO, None);
                self.charge = charge.map(|charge| (charge, now));
            }
            let told = reading.and_then(|reading| reading.runtime);
            self.runtime = told.map(|told| match self.runtime {
                Some((before, heard)) if before == told => (told, heard),
                Some(_) | None => (told, self.told_for),
            });
        } else if word(UpsWord::Ol) {
            self.silent = None;
            let since = *self.on_line.get_or_insert(now);
            if now.saturating_sub(since) >= policy.mains_stable {
                (self.on_battery, self.charge_before) = (None, charge);
            }
        } else {
            let since = *self.silent.get_or_insert(now);
            if now.saturating_sub(since) > policy.lost_on_battery {
                self.on_line = None;
            }
        }
        let is_last = charge.is_some_and(|charge| charge <= LAST_POINTS);
        self.last_points = is_last.then(|| self.last_points.unwrap_or(now));
        match (self.charge, charge) {
            (Some((old, _)), Some(new)) if old == new => {}
            (_, Some(new)) => self.charge = Some((new, now)),
            (_, None) if self.silent.is_none() => self.charge = None,
            (_, None) => {}
        }
    }

    /// By how many points the charge has fallen since the mains went.
    fn fallen(&self) -> f64 {
        let (before, now) = (self.charge_before, self.charge.map(|(charge, _)| charge));
        before.zip(now).map_or(0.0, |(before, now)| before.min(100.0) - now.min(100.0))
    }
}

impl Evidence {
    /// Listens after a tick.
    pub(super) fn hear(&mut self, simulation: &Simulation) {
        let (world, config) = (&simulation.world, &simulation.config);
        for name in world.upses.keys() {
            let heard = self.heard.entry(name.clone()).or_default();
            let reading = world.means(config, name);
            heard.hear(reading.value(), &config.ups_policy, world.time);
            let is_gone = match config.upses.get(name).and_then(|ups| ups.witness.as_ref()) {
                Some(Witness::Address { .. }) => !world.has_witness(name),
                // Another UPS on the same mains counts while it says OB itself.
                Some(Witness::Ups(other)) => {
                    world.means(config, other).value().is_some_and(|it| it.status.has(UpsWord::Ob))
                }
                None => false,
            };
            if heard.boot != world.own_boot {
                (heard.boot, heard.saw_witness) = (world.own_boot, false);
            }
            heard.saw_witness |= simulation.has_passed && !is_gone;
            // Whoever has not seen it in this boot does not know that it is gone. Another UPS says so itself.
            let says_so = matches!(config.upses.get(name).and_then(|ups| ups.witness.as_ref()), Some(Witness::Ups(_)));
            let is_gone = is_gone && (heard.saw_witness || says_so);
            heard.unwitnessed = is_gone.then(|| heard.unwitnessed.unwrap_or(world.time));
        }
    }

    /// Why nobody could have known by now that the battery of a UPS, which is on battery, ends within this time, for a host
    /// that booted then.
    pub(super) fn doubt(
        &self,
        simulation: &Simulation,
        name: &UpsName,
        booted: Option<Duration>,
        trigger: Duration,
    ) -> Option<&'static str> {
        let (world, config) = (&simulation.world, &simulation.config);
        let (policy, now) = (&config.ups_policy, world.time);
        let heard = self.heard.get(name)?;
        if simulation.desk.declared.hold(&Held::Ups(name.clone()), &simulation.now()).is_some() {
            return Some("a person had its UPS ignored");
        }
        let reading = world.means(config, name);
        let silent_for = heard.silent.map(|since| now.saturating_sub(since));
        let (Some(reading), None) = (reading.value(), silent_for) else {
            let unwitnessed = heard.unwitnessed.map(|since| now.saturating_sub(since));
            let (silent_for, gone_for) = (silent_for.unwrap_or_default(), unwitnessed.unwrap_or_default());
            // Who came back after its last word has mains of which it knows nothing, unless its witness is gone.
            let is_unknown = heard.silent.zip(booted).is_some_and(|(silent, booted)| silent < booted);
            if is_unknown && heard.unwitnessed.is_none() {
                return Some("its UPS has said nothing since it booted");
            }
            let on_battery = heard.on_battery.filter(|_| heard.told_for >= 2 * policy.poll);
            let known_for = match (on_battery, heard.unwitnessed) {
                (Some(_), _) => silent_for,
                (None, Some(_)) => silent_for.min(gone_for),
                (None, None) => return Some("its UPS said nothing since before the mains went"),
            };
            return (known_for < policy.lost_on_battery_max).then_some("its UPS fell silent on battery, not long ago");
        };
        let Some(since) = heard.on_battery.filter(|_| reading.status.has(UpsWord::Ob)) else {
            return Some("its UPS said that it is on line");
        };
        self.doubt_of_figures(simulation, name, reading, now.saturating_sub(since), trigger)
    }

    /// Why what it says on battery, for so long already, does not show that its battery ends.
    fn doubt_of_figures(
        &self,
        simulation: &Simulation,
        name: &UpsName,
        reading: &UpsReading,
        elapsed: Duration,
        trigger: Duration,
    ) -> Option<&'static str> {
        let (world, config) = (&simulation.world, &simulation.config);
        let (policy, heard) = (&config.ups_policy, self.heard.get(name)?);
        let is_ignored = config.upses.get(name).is_some_and(|ups| ups.ignored_words.contains(&UpsWord::Lb));
        let means_nothing = reading.charge_low_percent.is_some_and(|low| low >= LOW_MEANS_NOTHING);
        if reading.status.has(UpsWord::Lb) && !is_ignored && !means_nothing {
            return (elapsed < policy.ob_lb + policy.debounce).then_some("it said LB only just now");
        }
        let charge = heard.charge.map(|(charge, _)| charge).filter(|_| heard.charge_before.is_some());
        let truth = world.true_runtime(name).unwrap_or_default();
        let fallen = heard.fallen();
        let refreshes = reading.driver_interval.unwrap_or(policy.poll) * REFRESHES;
        let sags = world.upses.get(name).is_some_and(|battery| battery.device.charge == ChargeManner::Sagging);
        let is_deep = fallen >= DEEP_FALL && (!sags || elapsed >= DEEP_FALL_TAKES.max(refreshes));
        let is_pace = is_deep || fallen > 0.0 && elapsed >= PACE.max(refreshes);
        let by_pace = charge.filter(|_| is_pace).map(|charge| elapsed.mul_f64((charge / fallen).max(0.0)));
        if by_pace.is_some_and(|left| left <= trigger) {
            return None;
        }
        // No battery gives the same for minutes, whatever mains there were for a moment.
        let constant = heard.runtime.map(|(told, since)| (told, heard.told_for.saturating_sub(since)));
        let counted = constant.filter(|(_, stood)| *stood >= COUNTED_DOWN.max(refreshes));
        if counted.is_some_and(|(told, stood)| told.saturating_sub(stood) + policy.debounce <= trigger) {
            return None;
        }
        let is_at_its_end =
            heard.last_points.is_some_and(|since| world.time.saturating_sub(since) >= policy.debounce * 2);
        if is_at_its_end && fallen >= 1.0 {
            return None;
        }
        // A counter of the seconds on battery is seen through, and says nothing.
        let counts =
            |battery: &Battery| matches!(battery.lie.runtime.or(battery.device.runtime), Some(RuntimeLie::Counting));
        let runtime = reading.runtime.filter(|_| !world.upses.get(name).is_some_and(counts));
        match (runtime, charge) {
            // What is shed on the way down makes a true runtime rise again.
            (Some(runtime), _) if runtime <= trigger || runtime <= truth.mul_f64(1.2) + policy.debounce => None,
            (Some(_), _) => Some("its UPS promised more than it gave, and said no LB"),
            (None, Some(charge)) if charge <= policy.charge_percent_min => None,
            (None, Some(_)) => {
                let still = heard.charge.map(|(_, moved)| world.time.saturating_sub(moved)).unwrap_or_default();
                (still < policy.charge_frozen + policy.debounce).then_some("its UPS said no runtime, and enough charge")
            }
            // A driver that was started anew is waited for.
            (None, None) => {
                let limit = policy.on_battery_max.max(2 * reading.driver_interval.unwrap_or(Duration::from_secs(30)));
                let bare_for = heard.bare.map_or(elapsed, |since| world.time.saturating_sub(since));
                (bare_for < limit + policy.debounce).then_some("its UPS gave no figures, not long since")
            }
        }
    }
}

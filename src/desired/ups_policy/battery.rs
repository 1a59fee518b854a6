//! What one battery is known to give: what it always says when it is calm, what it was seen to give, and what it holds since
//! an outage.
//!
//! Pure. The figures live in the ledger, by device: another device at the same name voids them.

use std::time::Duration;

use crate::ledger::{Calm, Device, OwnCount, Proven};
use crate::model::Now;

/// What was proven longer ago than this contradicts no LB: batteries age.
const PROVEN_RECENTLY: Duration = Duration::from_secs(183 * 24 * 3600);

/// A promise of so many times what was proven is told: a new battery, or one that lies.
const OVERPROMISED: u32 = 2;

/// What was proven at one load promises at most so many times as much at a smaller one; at a greater one it promises less
/// without end.
const LOAD_SCALE_MAX: f64 = 4.0;

/// No less of a discharge is ever taken for a proof; see `decide/devices.rs`.
const PROVEN_SHARE: f64 = 0.2;

/// An override of a UPS that is silent ends after this many times what its battery gives at full load ...
const SILENCE_FACTOR: u32 = 2;
/// ... but not before this, nor after [`Battery::SILENCE_MOST`] ...
const SILENCE_LEAST: Duration = Duration::from_secs(3600);
/// ... and after this where nobody knows what it gives.
const SILENCE_UNKNOWN: Duration = Duration::from_secs(4 * 3600);

/// What is known of one battery beside what its UPS says now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Battery<'a> {
    /// What the ledger holds of its device.
    pub device: Option<&'a Device>,
    /// `ups.load` while the whole cluster ran, percent.
    pub full_load: Option<f64>,
}

impl Battery<'_> {
    /// What feeds next to nothing may last for so long, and its figures stand.
    pub const SILENCE_MOST: Duration = Duration::from_secs(12 * 3600);

    fn calm(&self) -> Option<&Calm> {
        self.device?.calm.as_ref()
    }

    /// What was proven by a real discharge.
    pub fn proven(&self) -> Option<&Proven> {
        self.device?.proven.as_ref()
    }

    /// What was proven so lately that it contradicts what the UPS says.
    pub fn proven_recently(&self, now: &Now) -> Option<&Proven> {
        self.proven().filter(|proven| proven.at.age(now) <= PROVEN_RECENTLY)
    }

    /// The load of the whole cluster, as far as it is known.
    fn load_of_all(&self) -> Option<f64> {
        self.calm().and_then(|calm| calm.load).or(self.full_load)
    }

    /// How long a full battery lasts at full load: what it says of that in calm times, and no longer than proven. None where
    /// neither is known.
    pub fn full_runtime(&self) -> Option<Duration> {
        let said = self.calm().and_then(|calm| calm.runtime);
        let proven = self.proven().map(|proven| proven.full(self.load_of_all()));
        match (said, proven) {
            (Some(said), Some(proven)) => Some(said.min(proven)),
            (one, other) => one.or(other),
        }
    }

    /// What it promises in calm and what was proven, where the first is far above the second.
    pub fn overpromised(&self) -> Option<(Duration, Duration)> {
        let promised = self.calm()?.runtime?;
        let proven = self.proven()?.full(self.load_of_all());
        (promised > proven * OVERPROMISED).then_some((promised, proven))
    }

    /// How full this battery gets, in its own percents.
    pub fn full_charge(&self) -> f64 {
        self.calm().and_then(|calm| calm.charge).filter(|charge| *charge > 0.0).unwrap_or(100.0)
    }

    /// A charge as a share of how full this battery gets, percent.
    pub fn percent_of_full(&self, charge: f64) -> f64 {
        (charge / self.full_charge() * 100.0).clamp(0.0, 100.0)
    }

    /// How long what was proven lasts with this charge, at this load.
    pub fn proven_left(&self, charge: Option<f64>, load: Option<f64>) -> Option<Duration> {
        let (proven, full) = (self.proven()?, self.full_charge());
        // Many a battery ends its output well above 0.
        let end = proven.ended_at.unwrap_or_default().clamp(0.0, full / 2.0);
        let share = charge.map_or(1.0, |charge| ((charge - end) / (full - end)).clamp(0.0, 1.0));
        Some(proven.full(load).mul_f64(share))
    }

    /// A runtime at some load, at full load.
    pub fn at_full_load(&self, runtime: Duration, load: Option<f64>) -> Duration {
        match (load, self.load_of_all()) {
            (Some(load), Some(full)) if full > 0.0 => runtime.mul_f64((load / full).clamp(0.0, 1.0)),
            _ => runtime,
        }
    }

    /// After so much silence no battery of this kind can be feeding anything any more.
    pub fn silence_max(&self) -> Duration {
        self.full_runtime()
            .map_or(SILENCE_UNKNOWN, |full| (full * SILENCE_FACTOR).clamp(SILENCE_LEAST, Self::SILENCE_MOST))
    }

    /// Whether an outage is known that the own count has not taken in: its end was seen a moment ago, or not yet.
    pub fn is_outage_open(&self) -> bool {
        self.device.and_then(|device| device.count.as_ref()).is_some_and(|count| count.since.is_none())
    }

    /// What it holds by hecate's own count, percent: all of it where no outage of this device is known.
    pub fn own_count(&self, recharge: Duration, now: &Now) -> f64 {
        let recharge = self.device.and_then(|device| device.recharge).unwrap_or(recharge);
        self.device.and_then(|device| device.count.as_ref()).map_or(100.0, |count| count.percent(recharge, now))
    }
}

impl Proven {
    /// What a full battery gives at this load, by what was proven at another one.
    pub fn full(&self, load: Option<f64>) -> Duration {
        let scale = match (self.load, load) {
            (Some(then), Some(now)) if then > 0.0 && now > 0.0 => (then / now).min(LOAD_SCALE_MAX),
            // Nobody knows the load of the whole cluster: it may be all that the UPS can feed.
            (Some(then), None) if then > 0.0 => (then / 100.0).min(1.0),
            _ => 1.0,
        };
        let share = self.fall_percent.map_or(1.0, |fell| (fell / 100.0).clamp(PROVEN_SHARE, 1.0));
        self.lasted.mul_f64(scale / share)
    }
}

impl OwnCount {
    /// What the battery holds, percent, when a whole recharge takes so long.
    pub fn percent(&self, recharge: Duration, now: &Now) -> f64 {
        let on_line = self.since.as_ref().map_or(Duration::ZERO, |since| match &self.heard {
            _ if since.boot_id == now.boot_id => since.age(now),
            // Nobody knows whether mains were there while this host was not.
            Some(heard) => heard.boottime.saturating_sub(since.boottime),
            None => Duration::ZERO,
        });
        (self.percent + on_line.as_secs_f64() / recharge.as_secs_f64().max(1.0) * 100.0).clamp(0.0, 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_discharge_at_a_small_load_promises_no_more_at_a_full_one_than_its_energy() {
        let now =
            Now { boottime: Duration::ZERO, boot_id: "b".into(), wall: jiff::Timestamp::UNIX_EPOCH, wall_synced: true };
        let lasted = Duration::from_secs(7200);
        let proven = Proven {
            lasted,
            load: Some(10.0),
            fall_percent: None,
            ended_at: None,
            in_spite_of_lb: true,
            in_spite_of_rb: true,
            at: now.stamp(),
        };
        assert_eq!(proven.full(Some(100.0)), lasted / 10);
        assert_eq!(proven.full(Some(1.0)), lasted * 4, "and not without end at a smaller one");
        assert_eq!(proven.full(None), lasted / 10, "a load that nobody knows may be a full one");
    }
}

//! What witnesses and other UPSes say of the mains of one UPS.
//!
//! Pure.

use std::time::Duration;

use super::words::{Sense, sense};
use crate::config::{Config, Witness};
use crate::desired::{Declared, Held};
use crate::model::{Now, UpsName};
use crate::snapshot::{Snapshot, UpsWord};
use crate::tracker::{Memory, UpsMemory};

/// A witness counts as gone only if it was there before the UPS said its last word.
const WITNESS_BEFORE: Duration = Duration::from_secs(600);

/// What witnesses and other UPSes say of the mains of one UPS.
pub(super) struct Others<'a> {
    pub(super) config: &'a Config,
    pub(super) declared: &'a Declared,
    pub(super) snapshot: &'a Snapshot,
    pub(super) memory: &'a Memory,
    pub(super) name: &'a UpsName,
    pub(super) now: &'a Now,
}

impl Others<'_> {
    fn last_word(&self) -> Option<Duration> {
        self.memory.upses.get(self.name).and_then(UpsMemory::last_word)
    }

    pub(super) fn is_witness_gone(&self) -> bool {
        match self.config.upses.get(self.name).and_then(|ups| ups.witness.as_ref()) {
            None => false,
            Some(Witness::Address { .. }) => {
                let max_age = self.config.ups_policy.max_age;
                let witness = self.snapshot.witnesses.get(self.name);
                let is_gone = witness.and_then(|it| it.fresh(self.now, max_age)) == Some(&false);
                let last_word = self.last_word().unwrap_or(self.now.boottime);
                let seen = self.memory.upses.get(self.name).and_then(|polls| polls.witness_seen);
                is_gone && seen.is_some_and(|seen| seen + WITNESS_BEFORE >= last_word)
            }
            Some(Witness::Ups(other)) => self.says_that_mains_are_gone(other),
        }
    }

    /// Whether a UPS says now that it is on battery, not on purpose, and no person took it out because it lies.
    fn says_that_mains_are_gone(&self, ups: &UpsName) -> bool {
        let reading = self.snapshot.upses.get(ups).and_then(|it| it.fresh(self.now, self.config.ups_policy.max_age));
        let is_meant = reading.is_some_and(|said| match sense(&said.status) {
            Sense::OnBattery | Sense::LowOnBattery => !said.status.has(UpsWord::Ol),
            Sense::Forced
            | Sense::ForcedOnLine
            | Sense::Silent
            | Sense::Calibrating
            | Sense::DischargingOnLine
            | Sense::OnLine
            | Sense::Bypassed => false,
        });
        is_meant && self.declared.hold(&Held::Ups(ups.clone()), self.now).is_none()
    }

    /// Other UPSes that say that the mains are gone.
    pub(super) fn on_battery(&self) -> impl Iterator<Item = &UpsName> {
        self.config.upses.keys().filter(|ups| *ups != self.name && self.says_that_mains_are_gone(ups))
    }

    /// Whether it said its last word when another UPS lost its mains: many a UPS loses its USB link or its network at the
    /// transfer to its battery.
    pub(super) fn fell_silent_with_another(&self) -> bool {
        let Some(last_word) = self.last_word() else { return false };
        let near = UpsMemory::gap_max(&self.config.ups_policy);
        let lost = |ups: &UpsName| Some(self.memory.upses.get(ups)?.outage.as_ref()?.since);
        self.on_battery().filter_map(lost).any(|since| since.abs_diff(last_word) <= near)
    }
}

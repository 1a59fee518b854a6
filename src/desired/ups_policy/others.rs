//! What witnesses and other UPSes say of the mains of one UPS.
//!
//! Pure.

use std::time::Duration;

use super::obeyed::first_word_patience;
use super::words::{Sense, sense};
use crate::config::{Config, Witness};
use crate::desired::{Declared, Held};
use crate::model::{Now, Reading, UpsName};
use crate::snapshot::{Snapshot, UpsStatus, UpsWord};
use crate::tracker::{Memory, UpsMemory};

/// A witness counts as gone only if it was there before the UPS said its last word.
const WITNESS_BEFORE: Duration = Duration::from_secs(600);

/// A UPS whose last word came within this time of another's loss of mains went with it. Its link dies at the transfer, and upsd
/// hands the last word on until the driver has missed a read and its MAXAGE is over: 15 to 90 s, as people set it.
const WITH_ANOTHER: Duration = Duration::from_secs(120);

/// Outages within this time are of one storm.
const STORM: Duration = Duration::from_secs(12 * 3600);

/// What says that the mains of a silent UPS are gone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gone {
    /// In words.
    pub(super) why: &'static str,
    /// Since when, as far as is known.
    pub(super) since: Duration,
}

/// What witnesses and other UPSes say of the mains of one UPS.
pub(super) struct Others<'a> {
    pub(super) config: &'a Config,
    pub(super) declared: &'a Declared,
    pub(super) snapshot: &'a Snapshot,
    pub(super) memory: &'a Memory,
    pub(super) name: &'a UpsName,
    /// Whether an earlier boot of this host left it on battery, and it has said nothing in this one.
    pub(super) was_on_battery: bool,
    pub(super) now: &'a Now,
}

impl Others<'_> {
    fn last_word(&self) -> Option<Duration> {
        self.memory.upses.get(self.name).and_then(UpsMemory::last_word)
    }

    /// What says that its mains are gone, while it says nothing itself.
    pub(super) fn gone(&self) -> Option<Gone> {
        // After a restart the first answer is still to come: what was said a moment ago stands.
        let was_asked = self.snapshot.upses.get(self.name).is_some_and(Reading::was_looked_at);
        let is_young = |last| self.now.since(last) < UpsMemory::gap_max(&self.config.ups_policy);
        if !was_asked && self.last_word().is_some_and(is_young) {
            return None;
        }
        self.witness_gone().or_else(|| self.fell_silent_with_another()).or_else(|| {
            self.on_battery().next()?;
            let since = self.silent_since_boot()?;
            Some(Gone { why: "it was on battery before this boot, and another UPS is", since })
        })
    }

    /// Its witness, while that is gone.
    pub(super) fn witness_gone(&self) -> Option<Gone> {
        let why = "its witness is gone";
        match self.config.upses.get(self.name)?.witness.as_ref()? {
            Witness::Address { .. } => {
                let last_word = self.last_word().unwrap_or(self.now.boottime);
                let seen = self.memory.upses.get(self.name).and_then(|polls| polls.witness_seen);
                // Where the outage is older than this boot nobody could see it.
                let since = match seen {
                    Some(seen) => (seen + WITNESS_BEFORE >= last_word).then_some(seen),
                    None => self.silent_since_boot(),
                }?;
                (self.witness() == Some(false)).then_some(Gone { why, since })
            }
            Witness::Ups(other) => self
                .says_that_mains_are_gone(other)
                .then(|| Gone { why, since: self.outage_of(other).unwrap_or(self.now.boottime) }),
        }
    }

    /// From when on a silence counts that began before this boot, in an outage: a driver, a witness and the host of a upsd come
    /// up with this one, and are given time.
    fn silent_since_boot(&self) -> Option<Duration> {
        let since = self.memory.began + first_word_patience(&self.config.ups_policy);
        (self.was_on_battery && self.now.boottime >= since).then_some(since)
    }

    fn witness(&self) -> Option<bool> {
        let witness = self.snapshot.witnesses.get(self.name)?;
        witness.fresh(self.now, self.config.ups_policy.max_age).copied()
    }

    /// What a UPS says now, as it is meant.
    fn says(&self, ups: &UpsName) -> Option<UpsStatus> {
        let said = self.snapshot.upses.get(ups)?.fresh(self.now, self.config.ups_policy.max_age)?;
        Some(self.memory.upses.get(ups).and_then(UpsMemory::says).unwrap_or_else(|| said.status.clone()))
    }

    fn outage_of(&self, ups: &UpsName) -> Option<Duration> {
        Some(self.memory.upses.get(ups)?.outage.as_ref()?.since)
    }

    fn is_believed(&self, ups: &UpsName) -> bool {
        self.declared.hold(&Held::Ups(ups.clone()), self.now).is_none()
    }

    /// Whether a UPS says now that it is on battery, not on purpose, and no person took it out because it lies.
    fn says_that_mains_are_gone(&self, ups: &UpsName) -> bool {
        // A shutdown that is forced says nothing of the mains, nor does it take anything back that is said beside it.
        let said = self.says(ups).map(|status| status.without(UpsWord::Fsd));
        let is_meant = said.is_some_and(|status| match sense(&status) {
            Sense::OnBattery | Sense::LowOnBattery => !status.has(UpsWord::Ol),
            Sense::Forced
            | Sense::ForcedOnLine
            | Sense::Silent
            | Sense::Calibrating
            | Sense::DischargingOnLine
            | Sense::OnLine
            | Sense::Bypassed => false,
        });
        is_meant && self.is_believed(ups)
    }

    /// Whether a UPS fell silent on battery, and has not been heard since: it is taken to be there still. Of two behind one upsd
    /// the silence has one cause, and is no evidence.
    fn fell_silent_on_battery(&self, ups: &UpsName) -> bool {
        let upsd = |ups: &UpsName| self.config.upses.get(ups).map(|ups| (&ups.host, ups.port));
        let is_silent = self.says(ups).is_none() && self.is_believed(ups) && upsd(ups) != upsd(self.name);
        let polls = self.memory.upses.get(ups).filter(|_| is_silent);
        polls.is_some_and(|polls| polls.outage.as_ref().is_some_and(|it| !it.is_test) && polls.line.is_none())
    }

    /// Other UPSes that say that the mains are gone.
    pub(super) fn on_battery(&self) -> impl Iterator<Item = &UpsName> {
        self.config.upses.keys().filter(|ups| *ups != self.name && self.says_that_mains_are_gone(ups))
    }

    /// Whether it said its last word when another UPS lost its mains: many a UPS loses its USB link or its network at the
    /// transfer to its battery. What was seen then holds when the other falls silent too.
    fn fell_silent_with_another(&self) -> Option<Gone> {
        let last_word = self.last_word()?;
        let before = UpsMemory::gap_max(&self.config.ups_policy);
        let after = before.max(WITH_ANOTHER);
        let is_near =
            |since: &Duration| last_word.saturating_sub(*since) <= after && since.saturating_sub(last_word) <= before;
        let is_lost = |ups: &&UpsName| {
            *ups != self.name && (self.says_that_mains_are_gone(ups) || self.fell_silent_on_battery(ups))
        };
        // Who fell silent in an earlier outage of the same storm, and has said nothing since, is on the same mains.
        let fell_with = |ups: &&UpsName| {
            let polls = self.memory.upses.get(*ups);
            polls.is_some_and(|polls| {
                let is_recent = |since: &Duration| self.now.since(*since) <= STORM;
                let earlier = polls.outages.iter().map(|since| since.0).filter(is_recent);
                earlier.chain(self.outage_of(ups)).any(|since| is_near(&since))
            })
        };
        let since = |ups: &UpsName| self.outage_of(ups).filter(|since| is_near(since) || *since > last_word);
        let lost = self.config.upses.keys().filter(is_lost);
        let since = lost.filter(|ups| fell_with(ups)).filter_map(since).min()?;
        Some(Gone { why: "since another UPS lost its mains", since })
    }
}

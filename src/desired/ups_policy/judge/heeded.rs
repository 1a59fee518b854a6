//! Which words of a UPS are heeded: what is latched, stuck, an echo, or disproved says nothing.
//!
//! Pure.

use std::time::Duration;

use super::{Look, is_on_line};
use crate::snapshot::{UpsReading, UpsStatus, UpsWord};

/// A forced-shutdown flag raised while on line is obeyed for so long: long enough for every path to end, short enough
/// that a flag which upsd latches (upsd(8): only a restart clears it) does not keep the cluster dark for ever.
const FSD_ON_LINE_OBEYED: Duration = Duration::from_secs(600);

/// LB that is set at so high a charge says nothing but that the battery is used at all.
const LB_EMPTY_WORD_CHARGE: f64 = 90.0;

/// For so long after a cut was due its UPS may still say FSD of it.
const ECHO: Duration = Duration::from_secs(60);

impl Look<'_> {
    /// The status without the words that say nothing here.
    pub(super) fn heeded(&self, reading: &UpsReading) -> UpsStatus {
        let mut status = reading.status.clone();
        for word in &self.ups.ignored_words {
            status = status.without(*word);
        }
        // What a UPS says of the cut that hecate asked for is no news: several drivers call it FSD (blazer.c, nutdrv_qx).
        let is_echo = self
            .cut_ago
            .is_some_and(|ago| ago <= self.ups.cut_load.as_ref().map_or(Duration::ZERO, |cut| cut.delay) + ECHO);
        if self.is_latched(&status) || is_echo {
            status = status.without(UpsWord::Fsd);
        }
        status = self.polls.without_stuck(status);
        let is_empty_word = reading.charge_low_percent.is_some_and(|low| low >= LB_EMPTY_WORD_CHARGE);
        // A proof speaks of the battery that stood it: what the UPS says since then is news of it.
        let is_disproved = self.polls.stood_on_line(UpsWord::Lb)
            && self.battery.proven_recently(self.now).is_some_and(|proven| {
                proven.in_spite_of_lb
                    && proven.full(reading.load_percent).mul_f64(self.share_left(reading)) > self.trigger_at
            });
        if is_empty_word || is_disproved {
            status = status.without(UpsWord::Lb);
        }
        status
    }

    /// How much of its battery is left, 0 to 1, by the lesser of what it says and hecate's own count.
    fn share_left(&self, reading: &UpsReading) -> f64 {
        let count = self.own_share();
        let charge = reading.charge_percent.filter(|_| !self.polls.is_charge_void());
        charge.map_or(count, |charge| (charge / self.battery.full_charge()).min(count)).clamp(0.0, 1.0)
    }

    /// FSD that is a latch: upsd keeps it after mains are back (upsd(8): only a restart clears it). On line: it came while on
    /// battery, stood already when hecate came, or was obeyed for long enough. On battery: it was such a latch on line.
    fn is_latched(&self, status: &UpsStatus) -> bool {
        let Some(flagged) = self.polls.words_since.get(&UpsWord::Fsd).filter(|_| status.has(UpsWord::Fsd)) else {
            return false;
        };
        let was_seen_rising = self.polls.saw_fsd_rise;
        if !is_on_line(status) {
            let ob = self.polls.words_since.get(&UpsWord::Ob).copied().unwrap_or(self.now.boottime);
            let stood = ob.saturating_sub(*flagged);
            return *flagged < ob && (!was_seen_rising || stood >= FSD_ON_LINE_OBEYED);
        }
        let rose_on_line = self.polls.words_since.get(&UpsWord::Ol).is_some_and(|line| line <= flagged);
        !(was_seen_rising && rose_on_line && self.now.since(*flagged) < FSD_ON_LINE_OBEYED)
    }
}

//! Which words of a UPS are heeded: what is stuck, an echo, or disproved says nothing. What a person took out,
//! and a flag that is latched, the tracker does not hear.
//!
//! Pure.

use std::time::Duration;

use super::Look;
use crate::snapshot::{UpsReading, UpsStatus, UpsWord};

/// LB that is set at so high a charge says nothing but that the battery is used at all.
const LB_EMPTY_WORD_CHARGE: f64 = 90.0;

/// For so long after a cut was due its UPS may still say FSD of it.
const ECHO: Duration = Duration::from_secs(60);

impl Look<'_> {
    /// The status without the words that say nothing here.
    pub(super) fn heeded(&self, reading: &UpsReading) -> UpsStatus {
        let mut status = self.polls.without_stuck(reading.status.clone());
        // What a UPS says of the cut that hecate asked for is no news: several drivers call it FSD (blazer.c, nutdrv_qx).
        let is_echo = self
            .cut_ago
            .is_some_and(|ago| ago <= self.ups.cut_load.as_ref().map_or(Duration::ZERO, |cut| cut.delay) + ECHO);
        if is_echo {
            status = status.without(UpsWord::Fsd);
        }
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
}

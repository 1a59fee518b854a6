//! What an answer means by its words: a discharge beside OL that is an outage, a test of the battery that is none.
//!
//! Pure.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::line::SETTLES;
use super::{DrawnFrom, Line, UpsMemory};
use crate::config::UpsPolicy;
use crate::desired::ups_policy::credible_runtime;
use crate::desired::ups_policy::words::{Sense, sense};
use crate::snapshot::{UpsReading, UpsStatus, UpsWord};
use crate::tracker::low::Seconds;

/// `OL DISCHRG` is on battery once the charge has fallen by so many percentage points meanwhile: some drivers leave OL
/// standing in an outage (see `onlinedischarge_onbattery` in usbhid-ups(8)), others say DISCHRG on mains for weeks.
const DISCHARGE_BELIEVED: f64 = 5.0;
/// ... within this time: what falls more slowly is no load's doing.
const DISCHARGE_WITHIN: Duration = Duration::from_secs(2 * 3600);
/// No battery loses more than this between two answers: a figure that jumps is no discharge.
const DISCHARGE_STEP: f64 = 2.0;
/// ... nor, where the driver reads seldom, than so much a second: the smallest batteries give three minutes.
const DISCHARGE_STEP_A_SECOND: f64 = 0.6;
/// So often it falls before it is believed.
const DISCHARGE_STEPS: u32 = 2;
/// A charge that stood for so long before it falls was not drawn from until then.
const DISCHARGE_STANDS: Duration = Duration::from_secs(600);
/// CAL or TEST that comes this long after the battery began to be drawn from is not why: no UPS tests its battery in an outage.
/// Drivers read what a test is told by less often than the status, most every 30 s.
const TEST_WITHIN: Duration = Duration::from_secs(60);
/// LB that came with DISCHRG and stands for so long is believed as well.
const DISCHARGE_LB: Duration = Duration::from_secs(60);
/// ... where the charge does not speak against it.
const DISCHARGE_LB_CHARGE: f64 = 50.0;
/// A fall that takes more than so many times what the UPS promises is none of a load: a full battery seeps away.
const DISCHARGE_PACE: f64 = 0.25;
/// A battery that says it is so full after this time, and should have lost so many points by then, only hovers.
const DISCHARGE_FULL: f64 = 95.0;
const DISCHARGE_HOVERS: Duration = Duration::from_secs(150);
const DISCHARGE_DUE: f64 = 4.0;
/// A charge that rises by more than this, or stands for so long, is that of no discharge ...
const DISCHARGE_RISE: f64 = 2.0;
const DISCHARGE_FLAT: Duration = Duration::from_secs(1800);
/// ... and where no charge is told a discharge is not believed for longer than this.
const DISCHARGE_MOST: Duration = Duration::from_secs(4 * 3600);

/// A charge that falls by so many points is none of a battery that charges: its word is left over.
const LEFT_OVER: f64 = 2.0;

/// A discharge beside OL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OnLineDischarge {
    /// Its first answer.
    pub from: DrawnFrom,
    /// `battery.charge` in the last one that told it.
    pub charge: Option<f64>,
    /// By how many points the charge has fallen, no step counted as more than a battery loses.
    pub fell: f64,
    /// When the charge last fell.
    pub moved: Seconds,
    /// When its last answer began.
    #[serde(default)]
    pub last: Seconds,
    /// How often the charge has fallen.
    #[serde(default)]
    pub steps: u32,
    /// When OB was last said instead: a charge that the driver reads after that may have fallen before.
    #[serde(default)]
    pub drawn: Option<Seconds>,
    /// Whether it is taken for one: for an outage, or for a calibration.
    pub is_believed: bool,
    /// Whether CAL is said of it, and neither OL nor OB.
    #[serde(default)]
    pub is_calibration: bool,
}

impl UpsMemory {
    /// The answer as it is meant: a discharge beside OL that is believed is OB, as the driver itself would say it where somebody
    /// had set `onlinedischarge_onbattery`; so is a test of the battery that begins in an outage.
    pub(super) fn heard(&mut self, mut reading: UpsReading, began: Duration, policy: &UpsPolicy) -> UpsReading {
        reading.status = self.with_power(&reading, began, policy);
        reading.status = self.without_late_test(&reading, began);
        let status = &reading.status;
        // usbhid-ups says CAL instead of OL, and no OB, of what discharges beside OL (`onlinedischarge_calibration`).
        let is_instead_of_ol = sense(status) == Sense::Calibrating && !status.has(UpsWord::Ob);
        match sense(status) {
            Sense::DischargingOnLine => {}
            Sense::Calibrating if is_instead_of_ol => {}
            Sense::OnLine | Sense::ForcedOnLine => {
                self.discharge = None;
                return reading;
            }
            Sense::Forced | Sense::Calibrating | Sense::LowOnBattery | Sense::OnBattery => {
                // What is drawn on battery is no fall beside OL.
                let charge = reading.charge_percent;
                if let Some(discharge) = &mut self.discharge {
                    (discharge.charge, discharge.drawn) = (charge.or(discharge.charge), Some(Seconds(began)));
                }
                return reading;
            }
            Sense::Silent | Sense::Bypassed => return reading,
        }
        let charge = reading.charge_percent.filter(|_| !self.is_charge_void());
        let from = DrawnFrom { began, charge, load: reading.load_percent };
        // What charges is not drawn from: many say DISCHRG on mains whenever they are full.
        let has_charged = status.has(UpsWord::Chrg) || self.line.as_ref().is_some_and(|line| line.has_charged);
        let is_news = self.outage.is_some() && !has_charged && !self.stood_before_the_outage(UpsWord::Dischrg);
        let is_believed = is_news || is_instead_of_ol;
        let discharge = self.discharge.take().filter(|one| one.is_calibration == is_instead_of_ol);
        let mut discharge = discharge.unwrap_or_else(|| OnLineDischarge {
            is_calibration: is_instead_of_ol,
            ..OnLineDischarge::begin(from.clone(), is_believed)
        });
        discharge.follow(from, credible_runtime(reading.runtime), reading.driver_interval.unwrap_or_default());
        let low_since = self.words_since.get(&UpsWord::Lb).copied().filter(|_| status.has(UpsWord::Lb));
        let is_low = low_since.is_some_and(|since| {
            since > discharge.from.began
                && began.saturating_sub(since) >= DISCHARGE_LB
                && charge.is_none_or(|charge| charge < DISCHARGE_LB_CHARGE)
        });
        discharge.is_believed |= is_low;
        let is_believed = discharge.is_believed;
        self.discharge = Some(discharge);
        if is_instead_of_ol {
            if !is_believed {
                reading.status = status.without(UpsWord::Cal).with(UpsWord::Ol);
            }
        } else if is_believed {
            reading.status = status.without(UpsWord::Ol).with(UpsWord::Ob);
        }
        reading
    }

    /// The status with OL or OB where a driver says neither: some say DISCHRG, LB or ACFAIL instead of OB (nhs_ser.c, socomec_jbus.c,
    /// huawei-mib.c), and CHRG, BOOST or TRIM instead of OL (nhs_ser.c, delta_ups-mib.c, gamatronic.c). No battery charges without
    /// mains, nor while it is calibrated; a word that stands while the charge falls from answer to answer is left over.
    fn with_power(&self, reading: &UpsReading, began: Duration, policy: &UpsPolicy) -> UpsStatus {
        let status = reading.status.clone();
        let has_any = |words: &[UpsWord]| words.iter().any(|word| status.has(*word));
        let is_away = has_any(&[UpsWord::Nocomm, UpsWord::Wait]) && !has_any(&[UpsWord::Acfail]);
        let is_drawn = has_any(&[UpsWord::Dischrg, UpsWord::Acfail]);
        let says_neither = match sense(&status) {
            Sense::Silent => !is_away,
            Sense::Calibrating => status.has(UpsWord::Chrg) && !is_drawn && !has_any(&[UpsWord::Ob]),
            Sense::Forced
            | Sense::ForcedOnLine
            | Sense::LowOnBattery
            | Sense::OnBattery
            | Sense::DischargingOnLine
            | Sense::OnLine
            | Sense::Bypassed => false,
        };
        if !says_neither {
            return status;
        }
        let last = || self.outage.as_ref().and_then(|outage| outage.charge);
        let is_settled = |line: &&Line| !line.is_settling(reading, began);
        let before = match &self.line {
            Some(line) => Some(line).filter(is_settled).and_then(|line| Some(line.settled?.1)),
            None => last(),
        };
        let fell = before.zip(reading.charge_percent).is_some_and(|(before, now)| before - now >= LEFT_OVER);
        // What comes anew, or after a silence, says how it is now, whatever the charge was before.
        let goes_on = self.last.is_some_and(|last| began.saturating_sub(last) <= Self::gap_max(policy));
        let is_left_over = |word: UpsWord| fell && goes_on && self.words_since.contains_key(&word);
        let says_mains = |word: &UpsWord| status.has(*word) && !is_left_over(*word);
        // A low battery is one that is drawn from, unless mains are said to be there, it was low on them already, or the output
        // is off: a UPS in its maintenance bypass says OFF, and LB of the battery that was taken out (apc-mib.c).
        let is_news =
            |word: &UpsWord| status.has(*word) && (self.line.is_none() || !self.words_since.contains_key(word));
        if is_drawn {
            status.with(UpsWord::Ob)
        } else if [UpsWord::Chrg, UpsWord::Boost, UpsWord::Trim].iter().any(says_mains) {
            status.with(UpsWord::Ol)
        } else if !status.has(UpsWord::Off) && [UpsWord::Lb, UpsWord::Depleted].iter().any(is_news) {
            status.with(UpsWord::Ob)
        } else {
            status
        }
    }

    /// The status without a CAL or TEST that came when the UPS had been on battery for a while: then the mains are what it lacks.
    fn without_late_test(&self, reading: &UpsReading, began: Duration) -> UpsStatus {
        let within = TEST_WITHIN.max(reading.driver_interval.unwrap_or_default() * 2);
        let outage = self.outage.as_ref().filter(|_| self.line.is_none());
        let is_late = outage.is_some_and(|it| !it.is_test && began.saturating_sub(it.since) > within);
        let mut status = reading.status.clone();
        for word in [UpsWord::Cal, UpsWord::Test] {
            if is_late && sense(&status) == Sense::Calibrating && !self.words_since.contains_key(&word) {
                status = status.without(word).with(UpsWord::Ob);
            }
        }
        status
    }

    /// Whether CAL or TEST came with the discharge that begins now, and not long before it.
    pub(super) fn is_test_new(&self, began: Duration) -> bool {
        let since = [UpsWord::Cal, UpsWord::Test].iter().filter_map(|word| self.words_since.get(word)).min();
        since.is_some_and(|since| *since != Self::ALL_ALONG && began.saturating_sub(*since) <= TEST_WITHIN)
    }

    fn stood_before_the_outage(&self, word: UpsWord) -> bool {
        let since = self.words_since.get(&word);
        since.zip(self.outage.as_ref()).is_some_and(|(since, outage)| *since < outage.since)
    }
}

impl OnLineDischarge {
    fn begin(from: DrawnFrom, is_believed: bool) -> Self {
        let moved = Seconds(from.began);
        Self {
            charge: from.charge,
            fell: 0.0,
            moved,
            last: moved,
            steps: 0,
            drawn: None,
            from,
            is_believed,
            is_calibration: false,
        }
    }

    /// Takes one more answer in, with the runtime it promises, of a driver that reads so often.
    fn follow(&mut self, now: DrawnFrom, runtime: Option<Duration>, interval: Duration) {
        let step = self.charge.zip(now.charge).map_or(0.0, |(before, charge)| before - charge);
        let stood = now.began.saturating_sub(self.moved.0);
        let most = if now.charge.is_some() { DISCHARGE_FLAT } else { DISCHARGE_MOST };
        let due = runtime.map(|runtime| self.due(now.began, runtime));
        let is_over = -step > DISCHARGE_RISE || self.is_believed && (stood >= most || self.hovers(&now, due));
        let is_slow = !self.is_believed && now.began.saturating_sub(self.from.began) > DISCHARGE_WITHIN;
        if is_over || is_slow {
            *self = Self { is_calibration: self.is_calibration, ..Self::begin(now, false) };
            return;
        }
        // What fell on battery, or while nothing was heard, fell beside no OL.
        let was_drawn = self.drawn.is_some_and(|drawn| now.began.saturating_sub(drawn.0) < SETTLES);
        let is_stale = was_drawn || now.began.saturating_sub(self.last.0) >= SETTLES.max(interval * 2);
        if step > 0.0 {
            // What is said for hours is drawn from since its charge began to fall.
            let stood_until = self.last.0.max(now.began.saturating_sub(interval));
            let stood_for = stood_until.saturating_sub(self.moved.0);
            if !self.is_believed && stood_for >= DISCHARGE_STANDS {
                self.from = DrawnFrom { began: stood_until, charge: self.charge, load: now.load };
                (self.fell, self.steps) = (0.0, 0);
            }
            (self.moved, self.steps) = (Seconds(now.began), self.steps + u32::from(!is_stale));
        }
        self.last = Seconds(now.began);
        let most = DISCHARGE_STEP.max(interval.as_secs_f64() * DISCHARGE_STEP_A_SECOND);
        self.fell += if is_stale { 0.0 } else { step.min(most) };
        self.charge = now.charge.or(self.charge);
        let due = runtime.map(|runtime| self.due(now.began, runtime));
        let is_slower = due.is_some_and(|due| self.fell < due * DISCHARGE_PACE);
        self.is_believed |= self.fell >= DISCHARGE_BELIEVED && self.steps >= DISCHARGE_STEPS && !is_slower;
    }

    /// By how many points the charge would have fallen by now if its load emptied it as the UPS promises.
    fn due(&self, now: Duration, runtime: Duration) -> f64 {
        let elapsed = now.saturating_sub(self.from.began).as_secs_f64();
        self.from.charge.unwrap_or(100.0) * elapsed / (elapsed + runtime.as_secs_f64()).max(1.0)
    }

    /// Whether a full battery has not fallen as it must have if it were drawn from; what was seen to fall is drawn from.
    fn hovers(&self, now: &DrawnFrom, due: Option<f64>) -> bool {
        let is_full = now.charge.is_some_and(|charge| charge >= DISCHARGE_FULL);
        let elapsed = now.began.saturating_sub(self.from.began);
        let stands = due.is_none_or(|due| due >= DISCHARGE_DUE && self.fell < due / 2.0);
        is_full && self.fell < DISCHARGE_BELIEVED && elapsed >= DISCHARGE_HOVERS && stands
    }
}

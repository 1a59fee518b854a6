//! What the words of `ups.status` mean to the policy: one row a word or combination, the first that matches rules.
//!
//! Pure. README.md prints the same table; a test compares the two. The words and what clients must not infer from them
//! are NUT's (docs/new-drivers.txt "Status data", upsmon.conf(5)).

use crate::snapshot::UpsWord::{
    Acfail, Alarm, Boost, By, Bypass, Cal, Chrg, Comm, Commfault, Depleted, Dischrg, Eco, Fsd, Hb, He, Lb, Nocomm, Ob,
    Off, Ol, Over, Overheat, Rb, Sd, Test, Tip, Trim, Wait,
};
use crate::snapshot::{UpsStatus, UpsWord, UpsWords};

/// What a status says about the mains and the battery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sense {
    /// A forced shutdown that is meant now.
    Forced,
    /// A forced shutdown although mains are there: a person's, or a flag that upsd latched.
    ForcedOnLine,
    /// The driver has lost the UPS: as no answer at all.
    Silent,
    /// On battery on purpose.
    Calibrating,
    /// On battery, and the UPS gives its own last warning.
    LowOnBattery,
    /// On battery.
    OnBattery,
    /// On line, says the driver, while the battery is said to discharge.
    DischargingOnLine,
    /// On line.
    OnLine,
    /// Mains feed the load past the battery.
    Bypassed,
}

/// One row of the policy.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// All of these words stand ...
    pub all: &'static [UpsWord],
    /// ... and none of these.
    pub none: &'static [UpsWord],
    /// What that says.
    pub sense: Sense,
    /// What is done, in README's words.
    pub does: &'static str,
}

/// The policy, strictest first. Every status matches a row: the last has no condition.
pub const POLICY: [Row; 17] = [
    row(&[Fsd], &[Ol], Sense::Forced, "emergency at once, unless it is a latch: then as without it"),
    row(
        &[Fsd, Ol],
        &[],
        Sense::ForcedOnLine,
        "emergency at once for 600 s from when it was seen to rise; else a latch: a warning",
    ),
    row(&[Nocomm], &[], Sense::Silent, "as no answer"),
    row(
        &[Cal],
        &[Ol],
        Sense::Calibrating,
        "no trigger for `calibration_max_seconds`, unless CAL stood long before OB (stuck) or came long after it, another UPS or the witness says that the mains are gone, LB stands beside it for 60 s, or its charge has fallen to 10 %; without OB as OL once the charge of a full battery does not fall as it must",
    ),
    row(
        &[Test, Ob],
        &[Ol],
        Sense::Calibrating,
        "a battery test: as CAL, but OB LB beside it counts after 10 s; so it does with CAL of drivers that say CAL of a test",
    ),
    row(
        &[Ob, Lb],
        &[],
        Sense::LowOnBattery,
        "emergency after `ob_lb_seconds`; where its figures promise more, or there are none yet, after the debounce",
    ),
    row(&[Ob, Depleted], &[], Sense::LowOnBattery, "as OB LB"),
    row(&[Ob, Off], &[], Sense::OnBattery, "as OB: OFF says nothing of the mains"),
    row(
        &[Ob],
        &[],
        Sense::OnBattery,
        "trigger by time left, debounced; at once where the charge was low on mains already and half of that time is left",
    ),
    row(&[Ol, Cal], &[], Sense::OnLine, "as OL"),
    row(
        &[Ol, Dischrg],
        &[],
        Sense::DischargingOnLine,
        "as OL, until the charge falls by 5 % in 2 h and as fast as its load empties it, LB comes beside it below 50 %, or it began in an outage: then as OB",
    ),
    row(&[Ol, Lb], &[], Sense::OnLine, "as OL, with a warning: never a trigger"),
    row(&[Ol], &[], Sense::OnLine, "mains are there"),
    row(&[Bypass], &[], Sense::Bypassed, "unknown: mains feed the load, no battery does"),
    row(&[By], &[], Sense::Bypassed, "as BYPASS"),
    row(
        &[Off],
        &[],
        Sense::Silent,
        "as no answer: self-tests say it for seconds; beside words of the last row as those",
    ),
    row(
        &[],
        &[],
        Sense::Silent,
        "as no answer; but DISCHRG or ACFAIL without OL and OB as with OB, CHRG, BOOST or TRIM as OL while the charge does not fall, and LB or DEPLETED as with OB where they are new and OFF is not said",
    ),
];

const fn row(all: &'static [UpsWord], none: &'static [UpsWord], sense: Sense, does: &'static str) -> Row {
    Row { all, none, sense, does }
}

/// The conditions of [`POLICY`], as sets.
const CONDITIONS: [(UpsWords, UpsWords); POLICY.len()] = {
    let (mut conditions, mut at) = ([(UpsWords::of(&[]), UpsWords::of(&[])); POLICY.len()], 0);
    while at < POLICY.len() {
        conditions[at] = (UpsWords::of(POLICY[at].all), UpsWords::of(POLICY[at].none));
        at += 1;
    }
    conditions
};

impl Row {
    /// The row's condition as `ups.status` would spell it: `FSD` without `OL`.
    pub fn condition(&self) -> String {
        let spelled = |words: &[UpsWord]| words.iter().map(|word| word.spelling()).collect::<Vec<_>>().join(" ");
        match (self.all, self.none) {
            ([], _) => "anything else".to_owned(),
            (all, []) => spelled(all),
            (all, none) => format!("{} without {}", spelled(all), spelled(none)),
        }
    }
}

/// What a status says.
pub fn sense(status: &UpsStatus) -> Sense {
    let is_met =
        |(all, none): &(UpsWords, UpsWords)| status.words.contains_all(*all) && status.words.is_disjoint(*none);
    CONDITIONS.iter().position(is_met).map_or(Sense::Silent, |row| POLICY[row].sense)
}

/// Words that change no decision but that a person should know of. The words that are not here are named in [`POLICY`] or
/// say nothing that matters: HB, CHRG, TRIM, BOOST, ECO, HE, TIP, COMM, WAIT.
pub const REMARKS: [(UpsWord, &str); 10] = [
    (Rb, "the battery needs to be replaced (RB)"),
    (Alarm, "an alarm stands (ALARM)"),
    (Over, "overloaded (OVER): the battery may end sooner than it says"),
    (Bypass, "in bypass: the battery protects nothing (BYPASS)"),
    (Off, "says that its output is off (OFF)"),
    (Overheat, "too hot (OVERHEAT)"),
    (Depleted, "the battery is said to be empty (DEPLETED)"),
    (Commfault, "reports a fault of its own (COMMFAULT)"),
    (Acfail, "says that there is no utility power (ACFAIL)"),
    (Sd, "says that it is about to shut down (SD)"),
];

/// Words that are neither in [`POLICY`] nor in [`REMARKS`]: no decision depends on them.
pub const WITHOUT_EFFECT: [UpsWord; 9] = [Hb, Chrg, Trim, Boost, Eco, Comm, Wait, Tip, He];

#[cfg(test)]
mod tests {
    use super::*;

    fn says(text: &str) -> Sense {
        sense(&UpsStatus::parse(text))
    }

    #[test]
    fn every_word_has_its_place() {
        for (word, spelling) in UpsWord::ALL {
            let is_ruled = POLICY.iter().any(|row| row.all.contains(&word));
            let is_remarked = REMARKS.iter().any(|(one, _)| *one == word);
            let is_without = WITHOUT_EFFECT.contains(&word);
            assert!(is_ruled || is_remarked || is_without, "{spelling} has no row");
            assert!(!(is_without && (is_ruled || is_remarked)), "{spelling} has an effect");
        }
    }

    #[test]
    fn the_combinations_that_hurt_mean_what_they_must() {
        for (text, sense) in [
            ("OL", Sense::OnLine),
            ("OL CHRG", Sense::OnLine),
            ("OL LB", Sense::OnLine),
            ("ALARM OL", Sense::OnLine),
            ("OL OVER", Sense::OnLine),
            ("OL BYPASS", Sense::OnLine),
            ("OL TRIM", Sense::OnLine),
            ("OL ECO FROBNICATING", Sense::OnLine),
            ("OL OFF", Sense::OnLine),
            ("OL CAL DISCHRG", Sense::OnLine),
            ("OL DISCHRG", Sense::DischargingOnLine),
            ("OB", Sense::OnBattery),
            ("OB OB DISCHRG DISCHRG", Sense::OnBattery),
            ("OB OFF", Sense::OnBattery),
            ("OB OL", Sense::OnBattery),
            ("OB BYPASS", Sense::OnBattery),
            ("OB OVER", Sense::OnBattery),
            ("OB LB", Sense::LowOnBattery),
            ("OB LB OFF", Sense::LowOnBattery),
            ("OB ACFAIL DEPLETED", Sense::LowOnBattery),
            ("OL DEPLETED", Sense::OnLine),
            ("BY", Sense::Bypassed),
            ("OL HE TIP", Sense::OnLine),
            ("OB CAL LB", Sense::Calibrating),
            ("OB DISCHRG TEST", Sense::Calibrating),
            ("OL TEST", Sense::OnLine),
            ("CAL DISCHRG", Sense::Calibrating),
            ("FSD OB LB", Sense::Forced),
            ("FSD", Sense::Forced),
            ("FSD OL", Sense::ForcedOnLine),
            ("OB NOCOMM", Sense::Silent),
            ("BYPASS", Sense::Bypassed),
            ("BYPASS OFF", Sense::Bypassed),
            ("OFF", Sense::Silent),
            ("WAIT", Sense::Silent),
            ("TEST", Sense::Silent),
            ("FROBNICATING", Sense::Silent),
            ("", Sense::Silent),
        ] {
            assert_eq!(says(text), sense, "{text:?}");
        }
    }
}

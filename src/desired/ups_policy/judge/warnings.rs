//! What a person should know of a UPS, although it holds nothing up.
//!
//! Pure.

use super::{Look, is_on_line};
use crate::desired::ups_policy::time_left::is_drawn;
use crate::desired::ups_policy::words::{REMARKS, Sense, sense};
use crate::model::UpsName;
use crate::plan::blocker::Warning;
use crate::snapshot::UpsWord;

impl Look<'_> {
    /// Words that hold nothing up but that a person should know of.
    pub(in crate::desired::ups_policy) fn warnings(&self, name: &UpsName) -> Vec<Warning> {
        let Some(last) = self.polls.samples.back().filter(|_| self.failure.is_none()) else {
            return Vec::new();
        };
        let status = &last.reading.status;
        let mut said: Vec<String> =
            REMARKS.iter().filter(|(word, _)| status.has(*word)).map(|(_, text)| (*text).to_owned()).collect();
        let is_latched = self.polls.words_since.contains_key(&UpsWord::Fsd) && !status.has(UpsWord::Fsd);
        if is_latched || status.has(UpsWord::Fsd) && is_on_line(status) {
            said.push("still says FSD although mains are there: restart upsd to clear it".to_owned());
        }
        if let Some(gone) = self.gone.filter(|_| is_on_line(status)) {
            said.push(format!("says that it is on line, but {}: look whether its driver hangs", gone.why));
        }
        if status.has(UpsWord::Lb) && is_on_line(status) {
            said.push("low battery while on line (OL LB)".to_owned());
        }
        if self.polls.is_stuck(UpsWord::Cal, status) {
            said.push(
                "says CAL since before the mains were lost: taken for an outage, not for a calibration".to_owned(),
            );
        }
        if self.polls.discharge.as_ref().is_some_and(|one| one.is_believed && !one.is_calibration) {
            said.push("says OL DISCHRG while its charge falls: taken for OB".to_owned());
        } else if sense(status) == Sense::DischargingOnLine {
            said.push("discharges although it is on line (OL DISCHRG)".to_owned());
        }
        if is_drawn(last) && (last.reading.runtime.is_none() || is_doubted(self)) {
            said.push("its own runtime is not relied on".to_owned());
        }
        if let Some(proven) = self.battery.proven().filter(|_| self.battery.proven_recently(self.now).is_none()) {
            let days = proven.at.age(self.now).as_secs() / (24 * 3600);
            said.push(format!("what its battery proved to give is {days} days old: it contradicts no LB any more"));
        }
        if let Some((promised, proven)) = self.battery.overpromised() {
            said.push(format!(
                "in calm it promises {} s at full load, and {} s were proven, which is what counts; after a new battery: \
                 hecate ups forget {name}",
                promised.as_secs(),
                proven.as_secs()
            ));
        }
        if !status.unknown.is_empty() {
            let words: Vec<&str> = status.unknown.iter().map(String::as_str).collect();
            said.push(format!("says words that NUT does not document: {}", words.join(" ")));
        }
        said.into_iter().map(|evidence| Warning::Ups { ups: name.clone(), evidence }).collect()
    }
}

fn is_doubted(look: &Look<'_>) -> bool {
    let last = look.polls.samples.len().saturating_sub(1);
    look.time_left(last).is_none_or(|it| it.is_doubted)
}

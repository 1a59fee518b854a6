//! A UPS that says nothing of use.
//!
//! Pure.

use std::time::Duration;

use super::{Assessment, Look};
use crate::desired::ups_policy::time_left::{self, is_drawn};
use crate::status::UpsVerdict;
use crate::tracker::UpsMemory;

impl Look<'_> {
    /// No usable word. Whoever was on battery, or on mains that had not stood since, goes on as if on battery: half of what its
    /// last figures promised is counted down. Silence after mains that stood is unknown, unless its witness went with it.
    pub(super) fn lost(&self, why: &str) -> Assessment {
        let last_word = self.polls.last_word();
        let was_uneasy = match last_word {
            // Zeros that were over with the next answer are most likely no outage.
            Some(_) => self.polls.outage.as_ref().is_some_and(|it| it.garbled.is_none() || self.polls.line.is_none()),
            None => self.seen_on_battery_this_boot,
        };
        // While hecate itself was away for long the UPS may have said anything.
        let began = self.now.boottime.saturating_sub(self.memory_age);
        let was_away = last_word.is_some_and(|last| began.saturating_sub(last) > UpsMemory::gap_max(self.policy));
        let last_word = self.repeats_since.or(last_word).unwrap_or(began);
        let heard_until = if was_away { began } else { last_word };
        // Silence on healthy mains is none on battery: that begins when they go.
        let heard_until = self.mains_until(was_uneasy).map_or(heard_until, |until| until.max(heard_until));
        let most = self.mains_until(was_uneasy).map_or(Duration::MAX, |until| self.now.since(until));
        let kept_silence = self.kept_silence.map(|kept| kept.min(most));
        let silent_for = self.now.since(heard_until).max(kept_silence.unwrap_or_default());
        let verdict = |verdict, evidence| {
            // A moment of silence takes nothing back that was said just before it.
            let is_moment = silent_for < self.policy.lost_on_battery;
            let told = || self.sure_left().or_else(|| self.runtime_told());
            let sure_left = told().filter(|_| is_moment).or_else(|| self.figures_left());
            // Nothing was said: what was said before goes on, or not, with the next answer.
            let low = self.polls.low.clone();
            let judged = self.verdict(verdict, evidence);
            // What is told, and planned with, is what the silence is judged by.
            let time_left = if is_moment { judged.time_left } else { self.figures_left().or(judged.time_left) };
            let told_left = self.promised_left().filter(|_| !is_moment);
            let gone_for = self.gone.map(|gone| self.now.since(gone.since));
            Assessment { silent_for: Some(silent_for), gone_for, sure_left, told_left, low, time_left, ..judged }
        };
        if silent_for >= self.battery.silence_max() {
            let evidence = format!("no word for {} s, longer than this battery can last: {why}", silent_for.as_secs());
            return verdict(UpsVerdict::Unknown, evidence);
        }
        let is_brief = silent_for < self.policy.lost_on_battery.max(UpsMemory::gap_max(self.policy));
        if !was_uneasy && self.gone.is_none() {
            let is_lately_silent = is_brief || silent_for < self.policy.lost_on_battery_max;
            return Assessment { is_brief, is_lately_silent, ..verdict(UpsVerdict::Unknown, why.to_owned()) };
        }
        if self.had_mains_a_moment_ago(last_word) {
            let evidence = format!("mains had just come back; {why}");
            return Assessment { is_brief, is_lately_silent: is_brief, ..verdict(UpsVerdict::Unknown, evidence) };
        }
        let (is_over, left) = self.silence(silent_for);
        let is_over = is_over && self.was_asked;
        let since = silent_for.as_secs();
        let witness = self.gone.map(|gone| format!(", {}", gone.why)).unwrap_or_default();
        if is_over {
            let evidence = format!("on battery and no word for {since} s{witness}{left}: {why}");
            Assessment { is_urgent: true, ..verdict(UpsVerdict::Critical, evidence) }
        } else {
            verdict(UpsVerdict::OnBattery, format!("was on battery; no word for {since} s{witness}{left}: {why}"))
        }
    }

    /// Whether its last word was OL, so lately that one poll or a restart of hecate explains the silence: what OL held back stays
    /// held back.
    fn had_mains_a_moment_ago(&self, last_word: Duration) -> bool {
        let was_on_line = self.polls.line.as_ref().is_some_and(|line| line.last == last_word);
        let gap_max = UpsMemory::gap_max(self.policy).min(self.policy.lost_on_battery);
        was_on_line && self.gone.is_none() && self.now.since(last_word) < gap_max
    }

    /// Whether silence on battery has lasted long enough, and what its last figures leave.
    fn silence(&self, silent_for: Duration) -> (bool, String) {
        let policy = self.policy;
        let Some(left) = self.figures_left() else {
            return (
                silent_for >= policy.lost_on_battery,
                format!(", no figures (limit {} s)", policy.lost_on_battery.as_secs()),
            );
        };
        let is_down = left <= self.trigger_at && silent_for >= policy.lost_on_battery;
        let figures = format!(", its last figures leave {} s", left.as_secs());
        (is_down || silent_for >= policy.lost_on_battery_max, figures)
    }

    /// Until when mains fed a UPS that has said nothing since they stood, where something else says that they are gone.
    fn mains_until(&self, was_uneasy: bool) -> Option<Duration> {
        self.gone.filter(|_| !was_uneasy).map(|gone| gone.since)
    }

    /// Half of what the last figures promised at full load, less the time since.
    pub(super) fn figures_left(&self) -> Option<Duration> {
        let (promised, ago) = self.promised()?;
        Some((promised / 2).saturating_sub(ago))
    }

    /// What the last figures promised at full load, less the time since.
    fn promised_left(&self) -> Option<Duration> {
        let (promised, ago) = self.promised()?;
        Some(promised.saturating_sub(ago))
    }

    /// What the last figures promised at full load, and how long ago the battery began to be drawn from since.
    fn promised(&self) -> Option<(Duration, Duration)> {
        let figures = self.polls.figures.as_ref()?;
        let of_sample = || {
            let index = self.polls.samples.iter().rposition(|one| !time_left::is_bare(one) && is_drawn(one))?;
            let sample = self.polls.samples.get(index)?;
            Some(self.battery.at_full_load(self.time_left(index)?.left, sample.reading.load_percent))
        };
        let of_figures = || {
            let runtime = time_left::credible_runtime(figures.runtime)?;
            Some(self.battery.at_full_load(runtime, figures.load))
        };
        let of_record = || {
            let share = figures.charge.map_or(1.0, |charge| charge / self.battery.full_charge());
            Some(self.battery.full_runtime()?.mul_f64(share.clamp(0.0, 1.0)))
        };
        let promised = of_sample().or_else(of_figures).or_else(of_record)?;
        let drawn_since =
            self.mains_until(self.polls.outage.is_some()).map_or(figures.began, |it| it.max(figures.began));
        Some((promised, self.now.since(drawn_since)))
    }

    /// The same by the last runtime that was told, which a restart of hecate does not lose.
    fn runtime_told(&self) -> Option<Duration> {
        let figures = self.polls.figures.as_ref()?;
        let runtime = time_left::credible_runtime(figures.runtime)?;
        let left = runtime.saturating_sub(self.now.since(figures.began));
        Some(if self.battery.proven_recently(self.now).is_some() { left } else { left / 2 })
    }
}

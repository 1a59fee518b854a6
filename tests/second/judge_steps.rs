//! The judge of steps: blinks, starts on battery, too many commands, old words, and the hecate host.

use std::time::Duration;

use hecate::desired::Override;
use hecate::plan::Planned;
use hecate::plan::step::Step;
use hecate::snapshot::UpsWord;

use super::daemon::Life;
use super::host::Power;
use super::judge::{Rule, Suspect};
use super::site::{ChargeKind, Way};
use super::world::World;

/// A shorter absence of the mains is a blink.
const BLINK: f64 = 20.0;
/// How far back the mains are looked at for that.
const WINDOW: f64 = 600.0;
/// How old a word may be to count as known.
const FRESH: Duration = Duration::from_secs(15);
/// A charge beside which a flash of LB leaves a doubt.
const HIGH: f64 = 50.0;
/// `ups_policy.lost_on_battery_seconds`, less a poll.
const SILENT: f64 = 25.0;
/// A UPS that falls silent so shortly before or after another one's loss of mains may have lost its own: 30 s and two polls.
const SILENT_TOGETHER: f64 = 40.0;
/// How long mains may have been back without hecate having to know.
const POLLED: f64 = 10.0;

impl World {
    /// A step is about to be carried out.
    pub(crate) fn judge_start(&mut self, life: &Life, planned: &Planned) {
        let now = self.now;
        self.judge.say(now, format!("+ {}: {}", planned.step, planned.because));
        self.judge_backoff(&planned.step);
        let ruling = self.ruling(life);
        match &planned.step {
            Step::StartUnit { .. } | Step::Wake { .. } => self.judge_start_on_battery(life, &planned.step),
            Step::StopUnit { .. } | Step::PowerOff { .. } => {
                self.judge_blink(&ruling, &planned.step);
                self.judge_old_word(&ruling, &planned.step);
            }
            Step::PowerOffOwnHost { .. } => {
                self.judge_blink(&ruling, &planned.step);
                self.judge_own_host(&ruling);
            }
            Step::Drain { .. } | Step::KillContainers { .. } => self.judge_blink(&ruling, &planned.step),
            Step::Cordon { .. } | Step::Uncordon { .. } | Step::SaveEtcdSnapshot { .. } | Step::CutLoad { .. } => {}
        }
    }

    /// The UPSes whose overrides stand, with since when.
    fn ruling(&mut self, life: &Life) -> Vec<(usize, f64)> {
        // One that was lifted and set again is another one.
        let key = |one: &Override| format!("{} {}", one.source, one.set_at);
        let standing = &life.desk.declared.overrides;
        self.judge.overrides.retain(|known, _| standing.iter().any(|one| key(one) == *known));
        let name = |source: &str| source.rsplit('/').next().unwrap_or_default().to_owned();
        let now = self.now;
        let since = |one: &Override| {
            let since = *self.judge.overrides.entry(key(one)).or_insert(now);
            self.site.ups(&name(&one.source)).map(|ups| (ups, since))
        };
        standing.iter().filter_map(since).collect()
    }

    /// 5: no command goes to one host more often than the backoff allows.
    fn judge_backoff(&mut self, step: &Step) {
        let now = self.now;
        let (most, why) = match step {
            Step::PowerOff { .. } | Step::PowerOffOwnHost { .. } => (12, "power-offs"),
            Step::Wake { .. } => (30, "wake-ups"),
            Step::StartUnit { .. } => (30, "starts"),
            Step::CutLoad { .. } => (3, "load cuts"),
            Step::StopUnit { .. }
            | Step::KillContainers { .. }
            | Step::Cordon { .. }
            | Step::Uncordon { .. }
            | Step::Drain { .. }
            | Step::SaveEtcdSnapshot { .. } => (90, "commands of a kind"),
        };
        self.judge.ask(Rule::Backoff);
        let sent = self.judge.sent.entry(step.key()).or_default();
        sent.retain(|at| now - at < 600.0);
        sent.push(now);
        if sent.len() > most {
            sent.clear();
            self.judge.break_rule(now, Rule::Backoff, format!("more than {most} {why} in 10 minutes: {step}"));
        }
    }

    /// 3: nothing is started while its own UPS is known to be on battery.
    fn judge_start_on_battery(&mut self, life: &Life, step: &Step) {
        let Some(host) = step.node().and_then(|node| self.site.host(&node)) else { return };
        let time = self.time();
        let spec = &self.site.hosts[host];
        let is_on_battery = |ups: &&usize| {
            let reading = life.eyes.snapshot.upses.get(&self.site.upses[**ups].ups());
            let fresh = reading.and_then(|reading| reading.fresh(&time, FRESH));
            fresh.is_some_and(|reading| {
                reading.status.has(UpsWord::Ob) && !reading.status.has(UpsWord::Ol) && !reading.status.has(UpsWord::Cal)
            })
        };
        let on_battery = spec.feeds.iter().filter(is_on_battery).count();
        self.judge.ask(Rule::StartOnBattery);
        if !spec.feeds.is_empty() && spec.feeds.len() - on_battery < spec.min_supplies {
            self.judge.break_rule(self.now, Rule::StartOnBattery, format!("{step} while its supply is on battery"));
        }
    }

    /// 2: nothing is stopped because of a blink.
    fn judge_blink(&mut self, ruling: &[(usize, f64)], step: &Step) {
        let Some(set_at) = ruling.iter().map(|(_, since)| *since).min_by(f64::total_cmp) else { return };
        let upses: Vec<usize> = ruling.iter().map(|(ups, _)| *ups).collect();
        let is_known = |one: &Suspect| one.set_at >= set_at - 0.5;
        if self.judge.suspects.iter().any(is_known) || self.was_long(&upses, set_at) {
            return;
        }
        self.judge.ask(Rule::Blink);
        self.judge.suspects.push(Suspect { upses, set_at, step: step.to_string() });
    }

    /// Whether the mains of any of these UPSes were away for long enough to act.
    fn was_long(&self, upses: &[usize], set_at: f64) -> bool {
        upses.iter().any(|ups| self.judge.seen[*ups].away(set_at - WINDOW, self.now) >= BLINK)
    }

    /// The ends of outages say what was a blink.
    pub(crate) fn judge_suspects(&mut self) {
        let suspects = std::mem::take(&mut self.judge.suspects);
        for suspect in suspects {
            if self.was_long(&suspect.upses, suspect.set_at) {
                continue;
            }
            if suspect.upses.iter().any(|ups| !self.upses[*ups].has_input) {
                self.judge.suspects.push(suspect);
                continue;
            }
            self.judge_suspect(&suspect);
        }
    }

    fn judge_suspect(&mut self, suspect: &Suspect) {
        let now = self.now;
        let recent = |at: Option<f64>| at.is_some_and(|at| at >= suspect.set_at - WINDOW);
        let seen = |ups: &usize| &self.judge.seen[*ups];
        let upses = &suspect.upses;
        if upses.iter().any(|ups| recent(seen(ups).forced_rose)) {
            return self.judge.excuse(now, Rule::Blink, "FSD rose");
        }
        // A flash of LB beside a charge that is high leaves a doubt; without a charge it leaves none.
        let has_doubt = |ups: &usize| {
            let spec = &self.site.upses[*ups];
            let is_high = seen(ups).first_charge.is_some_and(|charge| charge >= HIGH);
            spec.flash_seconds > 0.0 && spec.charge != ChargeKind::Missing && is_high
        };
        if upses.iter().any(|ups| recent(seen(ups).low_rose) && !has_doubt(ups)) {
            return self.judge.excuse(now, Rule::Blink, "LB rose");
        }
        if upses.iter().any(|ups| recent(seen(ups).low_stood)) {
            return self.judge.excuse(now, Rule::Blink, "LB stood, as it does with a worn battery");
        }
        if upses.iter().all(|ups| self.is_silent_since_ob(*ups)) {
            return self.judge.excuse(now, Rule::Blink, "it was silent since it said OB");
        }
        if upses.iter().all(|ups| self.is_silent_like_its_witness(*ups, suspect.set_at)) {
            return self.judge.excuse(now, Rule::Blink, "it was silent, and its witness was gone");
        }
        if upses.iter().all(|ups| self.is_silent_since_anothers_loss(*ups, suspect.set_at)) {
            return self.judge.excuse(now, Rule::Blink, "it fell silent as another UPS lost its mains");
        }
        if upses.iter().any(|ups| recent(seen(ups).low_figures)) {
            return self.judge.excuse(now, Rule::Blink, "its own runtime or charge stood at the documented limit");
        }
        let away: f64 = upses.iter().map(|ups| seen(ups).away(suspect.set_at - WINDOW, now)).fold(0.0, f64::max);
        let names: Vec<&str> = upses.iter().map(|ups| self.site.upses[*ups].name.as_str()).collect();
        let is_card = upses.iter().all(|ups| self.site.upses[*ups].way == Way::Card);
        let why = if is_card { ", silent like its witness until their switch had booted" } else { "" };
        let how =
            format!("{} because of {}, whose mains were away for {away:.0} s{why}", suspect.step, names.join(", "));
        self.judge.break_rule(now, Rule::Blink, how);
    }

    /// Whether a UPS' last word was OB, or an OL that had not stood, and it has been silent since.
    fn is_silent_since_ob(&self, ups: usize) -> bool {
        let seen = &self.judge.seen[ups];
        !seen.is_calm && seen.word.is_some_and(|(at, _)| self.now - at > 15.0)
    }

    /// Whether a UPS was silent for as long as the documentation asks when its override was set, and its witness with it.
    fn is_silent_like_its_witness(&self, ups: usize, set_at: f64) -> bool {
        let seen = &self.judge.seen[ups];
        let still = seen.word.filter(|(at, _)| *at < set_at).map(|(at, _)| (at, self.now));
        let is_it = |(from, to): (f64, f64)| set_at - from >= SILENT && set_at <= to + POLLED;
        self.site.upses[ups].has_witness && (seen.quiet.is_some_and(is_it) || still.is_some_and(is_it))
    }

    /// Whether a UPS was silent when its override was set, since another one lost its mains: the README takes that for the same loss.
    fn is_silent_since_anothers_loss(&self, ups: usize, set_at: f64) -> bool {
        let seen = &self.judge.seen;
        let silent_from = match (seen[ups].quiet, seen[ups].word) {
            (Some((from, to)), _) if set_at <= to + POLLED => Some(from),
            (_, Some((at, _))) if at < set_at => Some(at),
            (_, _) => None,
        };
        silent_from.is_some_and(|from| {
            let lost = |other: usize| seen[other].outages.iter().any(|(at, _)| (at - from).abs() <= SILENT_TOGETHER);
            (0..seen.len()).any(|other| other != ups && lost(other))
        })
    }

    /// 6: who booted is not powered off again on an old word.
    fn judge_old_word(&mut self, ruling: &[(usize, f64)], step: &Step) {
        let Some(host) = step.node().and_then(|node| self.site.host(&node)) else { return };
        let (Power::Up(since), true) = (self.hosts[host].power, !ruling.is_empty()) else { return };
        if self.hosts[host].boot < 2 {
            return;
        }
        self.judge.ask(Rule::OldWord);
        let is_silent = |ups: usize| self.judge.seen[ups].word.is_none_or(|(at, _)| at < since);
        if ruling.iter().all(|(ups, _)| is_silent(*ups)) && self.has_mains(host) {
            let how =
                format!("{step}, up for {:.0} s, on the word of a UPS that is silent since before", self.now - since);
            self.judge.break_rule(self.now, Rule::OldWord, how);
        }
    }

    /// 7: the hecate host stays while its own feeds have mains.
    fn judge_own_host(&mut self, ruling: &[(usize, f64)]) {
        if ruling.is_empty() {
            return;
        }
        let (own, now) = (self.site.own, self.now);
        self.judge.ask(Rule::OwnHost);
        let feeds = self.site.hosts[own].feeds.clone();
        let is_new = |ups: &usize| now - self.upses[*ups].input_since < POLLED;
        if !self.has_mains(own) || feeds.iter().any(is_new) {
            return;
        }
        if feeds.iter().any(|ups| self.judge.seen[*ups].forced_rose.is_some_and(|at| now - at < 900.0)) {
            return self.judge.excuse(now, Rule::OwnHost, "FSD rose");
        }
        if feeds.iter().any(|ups| self.upses[*ups].cuts_at.is_some()) {
            return self.judge.excuse(now, Rule::OwnHost, "its load was told to be cut");
        }
        let said = |ups: &usize| self.judge.seen[*ups].word.filter(|(at, _)| now - at < POLLED);
        let is_short = |bad: &dyn Fn(&&usize) -> bool| {
            feeds.len() - feeds.iter().filter(bad).count() < self.site.hosts[own].min_supplies
        };
        if is_short(&|ups| said(ups).is_some_and(|(_, ob)| ob)) {
            return self.judge.excuse(now, Rule::OwnHost, "its own UPSes say OB: a driver hangs");
        }
        // One that is silent is no supply beside one that said OB.
        if is_short(&|ups| said(ups).is_none()) && feeds.iter().any(|ups| self.is_silent_since_ob(*ups)) {
            return self.judge.excuse(now, Rule::OwnHost, "its own UPSes are silent since one said OB");
        }
        if is_short(&|ups| said(ups).is_none() && self.is_silent_like_its_witness(**ups, now)) {
            return self.judge.excuse(now, Rule::OwnHost, "its own UPSes are silent, and their witnesses are gone");
        }
        let seconds = feeds.iter().map(|ups| now - self.upses[*ups].input_since).fold(f64::MAX, f64::min);
        let how = match feeds.is_empty() {
            true => "powered off by an override; no UPS feeds it, its mains are there".to_owned(),
            false => {
                let is_away = feeds.iter().all(|ups| self.site.upses[*ups].way == Way::Card && !self.has_edge(*ups));
                let why = if is_away { ", their cards and witness are still away" } else { "" };
                format!("powered off by an override; its own feeds have had mains for {seconds:.0} s{why}")
            }
        };
        self.judge.break_rule(now, Rule::OwnHost, how);
    }
}

#[cfg(test)]
mod tests {
    use hecate::model::Reading;
    use hecate::snapshot::{UpsReading, UpsStatus};

    use super::*;
    use crate::report;

    #[test]
    fn thirteen_power_offs_in_ten_minutes_are_too_many() {
        let mut world = report::world(0);
        let node = world.site.hosts[0].node();
        let step = Step::PowerOff { node, machine_id: None, boot_id: None, path: Default::default() };
        for _ in 0..12 {
            world.judge_backoff(&step);
            world.now += 20.0;
        }
        assert!(world.judge.broken.is_empty());
        world.judge_backoff(&step);
        assert_eq!(world.judge.broken.len(), 1);
    }

    #[test]
    fn a_start_beside_a_fresh_ob_is_broken() {
        let mut world = report::world(0);
        world.now = 1.0;
        world.hecate();
        let mut life = world.life.take().expect("hecate starts at once");
        let began = world.time().boottime;
        let host = world.site.nodes().find(|host| !world.site.hosts[*host].feeds.is_empty()).expect("a node has a UPS");
        let step = Step::Wake { node: world.site.hosts[host].node() };
        world.judge_start_on_battery(&life, &step);
        assert!(world.judge.broken.is_empty(), "nothing is known yet");
        for ups in &world.site.upses {
            let reading = UpsReading { status: UpsStatus::parse("OB DISCHRG"), ..UpsReading::default() };
            life.eyes.snapshot.upses.insert(ups.ups(), Reading::known(reading, began));
        }
        world.judge_start_on_battery(&life, &step);
        assert_eq!(world.judge.broken.len(), 1);
    }
}

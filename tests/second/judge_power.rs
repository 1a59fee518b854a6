//! The judge of words and cuts: what a UPS let hecate see, whether that was a warning, and whether it came in time.
//!
//! What counts as a warning is what README.md documents: LB, FSD, a runtime at the trigger, a charge at its minimum where
//! no runtime is told, no figures at all for a time, and silence on battery for a time.

use hecate::snapshot::{Snapshot, UpsReading, UpsWord};

use super::host::{Host, Power};
use super::judge::{Rule, STABLE, Seen};
use super::site::{HostSpec, Limits, RuntimeKind, Way};
use super::ups::Output;
use super::world::World;

/// `ups_policy.lost_on_battery_max_seconds`.
const SILENT: f64 = 300.0;
/// `ups_policy.lost_on_battery_seconds`.
const SILENT_WITHOUT_FIGURES: f64 = 30.0;
/// A silence that is longer is none of a poll that was missed.
const QUIET: f64 = 15.0;
/// `ups_policy.on_battery_max_seconds`.
const BARE: f64 = 60.0;
/// `ups_policy.charge_frozen_seconds`.
const FROZEN: f64 = 180.0;
/// How long after its boot nobody expects hecate to know of its UPSes.
const BOOTED: f64 = 60.0;
/// Lives no longer than this, one after another, see nothing.
const SHORT_LIFE: f64 = 20.0;
/// What steps, polls and passes take besides what hosts take.
const OVERHEAD: f64 = 45.0;

/// A cause that is none: what the UPS gives was seen before.
const PROVEN: &str = "it promised more than it gave, as was proven before";
/// A cause that is none.
const NO_EXCUSE: &str = "no word of it reached hecate in this outage, for no reason";

/// A host right before its power went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before {
    /// Its power.
    pub(crate) power: Power,
    /// Whether its k3s ran.
    pub(crate) has_k3s: bool,
    /// Whether it hung.
    pub(crate) is_hung: bool,
}

impl Before {
    /// Of a host.
    pub(crate) fn of(host: &Host) -> Self {
        Self { power: host.power, has_k3s: host.has_k3s(), is_hung: host.is_hung }
    }
}

/// A runtime that says something.
fn credible(reading: &UpsReading) -> Option<f64> {
    reading.runtime.map(|runtime| runtime.as_secs_f64()).filter(|seconds| *seconds > 0.0 && *seconds < 65_535.0)
}

impl Seen {
    /// A usable word.
    fn word(&mut self, reading: &UpsReading, limits: &Limits, counts_up: bool, now: f64) {
        let has = |word: UpsWord| reading.status.has(word);
        let (on_line, on_battery) = (has(UpsWord::Ol), has(UpsWord::Ob));
        if has(UpsWord::Fsd) && !self.was_forced && self.word.is_some() {
            self.forced_rose = Some(now);
        }
        self.was_forced = has(UpsWord::Fsd);
        if !on_line && !on_battery {
            return self.silence(now);
        }
        if let Some((before, _)) = self.word.filter(|(before, _)| now - before >= QUIET) {
            self.quiet = Some((before, now));
        }
        self.word = Some((now, on_battery));
        self.is_calm &= !on_battery;
        self.has_figures = reading.charge_percent.is_some() || credible(reading).is_some();
        self.silent_since = None;
        if !on_battery {
            return self.on_line(reading, now);
        }
        self.line_since = None;
        let since = *self.battery_since.get_or_insert(now);
        self.first_charge = self.first_charge.or(reading.charge_percent);
        if has(UpsWord::Lb) && !self.had_low_on_line {
            self.low_rose.get_or_insert(now);
        } else if has(UpsWord::Lb) {
            self.low_stood = Some(now);
        }
        let runtime = credible(reading).filter(|_| !counts_up);
        self.promised = runtime.or(self.promised);
        let moved = self.first_charge.zip(reading.charge_percent).is_some_and(|(one, other)| one - other >= 1.0);
        let is_low_word = has(UpsWord::Lb) && reading.charge_low_percent.is_none_or(|low| low < 90.0);
        let by_runtime = runtime.is_some_and(|seconds| seconds <= limits.trigger);
        let by_charge = runtime.is_none() && reading.charge_percent.is_some_and(|charge| charge <= limits.charge_min);
        let bare = runtime.is_none() && reading.charge_percent.is_none() && now - since >= BARE;
        let frozen = runtime.is_none() && reading.charge_percent.is_some() && !moved && now - since >= FROZEN;
        if runtime.is_some_and(|seconds| seconds <= limits.earliest) || by_charge {
            self.low_figures = Some(now);
        }
        let by = match () {
            () if is_low_word => Some("LB"),
            () if self.was_forced => Some("FSD"),
            () if by_runtime => Some("its runtime"),
            () if by_charge => Some("its charge"),
            () if bare => Some("its time without figures"),
            () if frozen => Some("a charge that does not move"),
            () => None,
        };
        self.low_since = by.and(self.low_since.or(Some(now)));
        let is_last = match runtime {
            Some(seconds) => is_low_word || self.was_forced || seconds <= limits.last,
            None => by.is_some(),
        };
        self.last_since = if is_last { self.last_since.or(Some(now)) } else { None };
        if let (Some(by), true) = (by, self.low_since.is_some_and(|low| now - low >= limits.debounce)) {
            self.warn(by, now);
        }
        let fell = self.first_charge.zip(reading.charge_percent).is_some_and(|(one, other)| one - other >= 50.0);
        self.is_proving |= fell;
    }

    /// A word on line.
    fn on_line(&mut self, reading: &UpsReading, now: f64) {
        self.promised_on_line = credible(reading).or(self.promised_on_line);
        self.had_low_on_line = reading.status.has(UpsWord::Lb);
        let since = *self.line_since.get_or_insert(now);
        if now - since >= STABLE {
            self.is_calm = true;
            self.forget();
        }
    }

    /// No usable word.
    fn silence(&mut self, now: f64) {
        if self.battery_since.is_none() {
            return;
        }
        let silent = now - *self.silent_since.get_or_insert(now);
        if silent >= if self.has_figures { SILENT } else { SILENT_WITHOUT_FIGURES } {
            self.warn("its silence", now);
        }
    }

    /// It has given warning.
    fn warn(&mut self, by: &'static str, now: f64) {
        if self.warned_at.is_none() {
            self.warned_at = Some(now);
            self.warned_by = by;
        }
    }
}

impl World {
    /// hecate has asked a UPS.
    pub(crate) fn judge_reading(&mut self, snapshot: &Snapshot, ups: usize) {
        let (now, limits) = (self.now, self.site.limits);
        // The seconds on battery so far are no seconds left, whatever they are called.
        let counts_up = self.site.upses[ups].runtime == RuntimeKind::CountsUp;
        let reading = snapshot.upses.get(&self.site.upses[ups].ups()).and_then(|reading| reading.value());
        match reading {
            Some(reading) => self.judge.seen[ups].word(reading, &limits, counts_up, now),
            None => self.judge.seen[ups].silence(now),
        }
        let witness = snapshot.witnesses.get(&self.site.upses[ups].ups()).and_then(|witness| witness.value());
        if reading.is_none() && witness == Some(&false) {
            let seen = &mut self.judge.seen[ups];
            seen.line_since = None;
            seen.battery_since.get_or_insert(now);
        }
    }

    /// A host has lost its power while it was on.
    pub(crate) fn judge_cut(&mut self, number: usize, before: Before) {
        let spec = &self.site.hosts[number];
        let is_own = number == self.site.own && spec.power_off && matches!(before.power, Power::Up(_));
        if spec.feeds.is_empty() || !(before.has_k3s || is_own) {
            return;
        }
        let name = spec.name.clone();
        self.judge.ask(Rule::HardCut);
        if before.is_hung {
            return self.judge.excuse(self.now, Rule::HardCut, "the host hung");
        }
        let cut = spec.feeds.iter().find(|ups| matches!(self.upses[**ups].output, Output::Cut(_)));
        if cut.is_some_and(|ups| self.hosts[number].up_since > self.upses[*ups].cut_told) {
            return self.judge.excuse(self.now, Rule::HardCut, "it was switched on while its load was about to be cut");
        }
        if let Some(ups) = cut {
            let how = format!("{name} ran when the load of {} was cut", self.site.upses[*ups].name);
            return self.judge.break_rule(self.now, Rule::HardCut, how);
        }
        if self.is_short(number) {
            return self.judge.excuse(self.now, Rule::HardCut, "the battery gave less than a shutdown takes");
        }
        let needs = self.needs(number) + if number == self.site.own { OVERHEAD / 2.0 } else { OVERHEAD };
        let warned = self.warned(number);
        let told = self.hosts[number].told_at;
        match warned {
            Some(at) if self.now - at >= needs => self.judge_late(number, at, needs),
            Some(_) | None => {
                let cause = self.cause(number);
                match cause {
                    PROVEN | NO_EXCUSE => {
                        let how = format!("{name} cut: {cause} (told {told:?})");
                        self.judge.break_rule(self.now, Rule::HardCut, how);
                    }
                    _ => self.judge.excuse(self.now, Rule::HardCut, cause),
                }
            }
        }
    }

    /// The warning came in time.
    fn judge_late(&mut self, number: usize, at: f64, needs: f64) {
        let gone = |since: Option<f64>| since.is_some_and(|since| since < at + needs);
        if number != self.site.own && gone(self.judge.network_gone) {
            return self.judge.excuse(self.now, Rule::HardCut, "the hosts' switch was off");
        }
        if number != self.site.own && gone(self.judge.own_gone) {
            let why = self.why_own_gone();
            return self.judge.excuse(self.now, Rule::HardCut, why);
        }
        let starts = self.judge.starts.iter().filter(|start| **start > at).count();
        if starts >= 3 && (self.now - at) / starts as f64 <= SHORT_LIFE {
            return self.judge.excuse(
                self.now,
                Rule::HardCut,
                "hecate never lived for as long as its first looks take",
            );
        }
        // The hecate host stays as long as half of what its UPS said last lasts: nobody would switch it on again if mains came back
        // before the battery's end.
        let is_half_left = |ups: &usize| {
            let seen = &self.judge.seen[*ups];
            let said = seen.promised.or(seen.promised_on_line).zip(seen.word);
            seen.silent_since.is_some() && said.is_some_and(|(said, (at, _))| at + said / 2.0 > self.now)
        };
        if number == self.site.own && self.killers(number).iter().any(is_half_left) {
            return self.judge.excuse(
                self.now,
                Rule::HardCut,
                "it was silent, and gave less than half of what it had promised",
            );
        }
        let spec = &self.site.hosts[number];
        let by: Vec<&str> = spec.feeds.iter().map(|ups| self.judge.seen[*ups].warned_by).collect();
        let how = format!(
            "{} cut by an empty battery with k3s running, {:.0} s after the warning by {} (needs {needs:.0} s; told to power off: {})",
            spec.name,
            self.now - at,
            by.join(", "),
            self.hosts[number].told_at.map_or("never".to_owned(), |told| format!("{:.0} s ago", self.now - told)),
        );
        self.judge.break_rule(self.now, Rule::HardCut, how);
    }

    /// Why no word OB of a UPS reached hecate since its mains went.
    fn why_unheard(&self, ups: usize) -> &'static str {
        let (spec, own) = (&self.site.upses[ups], &self.hosts[self.site.own]);
        let lost = self.judge.seen[ups].outages.last().map_or(self.now, |(lost, _)| *lost);
        let seen = &self.judge.seen[ups];
        if spec.never_says_ob {
            "it never says OB"
        } else if spec.way == Way::Card && !spec.has_witness {
            "its network card is gone with the mains, and there is no witness"
        } else if self.life.is_none() || own.up_since > lost - BOOTED {
            "hecate had just been booted, or was not there"
        } else if seen.word.is_none_or(|(at, _)| at < lost - 2.0 * OVERHEAD / 3.0) {
            "it was silent when its mains went"
        } else if matches!(spec.way, Way::OnHost(_)) {
            "the host of its upsd was gone when its mains went"
        } else {
            NO_EXCUSE
        }
    }

    /// Why the hecate host is not there.
    fn why_own_gone(&self) -> &'static str {
        match (self.has_power(self.site.own), self.hosts[self.site.own].told_at.is_some()) {
            (false, _) => "the hecate host's own supply had ended",
            (true, true) => "the hecate host was off since an earlier shutdown, and its power never went",
            (true, false) => "the hecate host was booting, or its firmware kept it off",
        }
    }

    /// When the supplies of a host had given warning.
    fn warned(&self, number: usize) -> Option<f64> {
        let spec = &self.site.hosts[number];
        // The hecate host goes when its own supply ends, judged anew once the others are off and draw no more.
        let is_last = number == self.site.own;
        let debounce = self.site.limits.debounce;
        let warned = |ups: &usize| {
            let seen = &self.judge.seen[*ups];
            let last = seen.last_since.filter(|_| seen.silent_since.is_none()).map(|since| since + debounce);
            let silent = seen.warned_at.filter(|_| seen.silent_since.is_some());
            if is_last { last.or(silent) } else { seen.warned_at }.unwrap_or(f64::MAX)
        };
        let mut times: Vec<f64> = spec.feeds.iter().map(warned).collect();
        times.sort_by(f64::total_cmp);
        let warned = times.get(spec.feeds.len() - spec.min_supplies).copied().filter(|at| *at < f64::MAX)?;
        // Nobody can tell a host that does not answer yet, and nobody tells while the hecate host boots.
        let own = self.hosts[self.site.own].up_since + BOOTED / 2.0;
        Some(warned.max(self.hosts[number].up_since).max(own))
    }

    /// How long a shutdown takes here, in truth, until the k3s of a host is stopped.
    fn needs(&self, number: usize) -> f64 {
        let longest = |is_server: bool| {
            let of = self.site.nodes().filter(|host| self.site.hosts[*host].is_server() == is_server);
            of.map(|host| self.site.hosts[host].stop_seconds).fold(0.0, f64::max)
        };
        let hung = if self.hosts.iter().any(|host| host.is_hung) { 100.0 } else { 0.0 };
        let spec = &self.site.hosts[number];
        if number == self.site.own && spec.role.is_none() {
            return spec.write_seconds;
        }
        let own = if number == self.site.own { spec.write_seconds } else { 0.0 };
        longest(false) + longest(true) + hung + own
    }

    /// Whether the UPS whose end cut a host gave less time than everything that had to be done takes.
    fn is_short(&self, number: usize) -> bool {
        let spec = &self.site.hosts[number];
        let longest = |of: fn(&HostSpec) -> f64| {
            let nodes = self.site.nodes().map(|host| of(&self.site.hosts[host]));
            nodes.fold(0.0, f64::max)
        };
        let last = if number == self.site.own { longest(|host| host.write_seconds) + spec.write_seconds } else { 0.0 };
        let all = 2.0 * longest(|host| host.stop_seconds) + last + OVERHEAD + self.site.limits.debounce;
        self.killers(number).iter().any(|ups| {
            let lost = self.judge.seen[*ups].outages.last().map_or(self.now, |(lost, _)| *lost);
            self.now - lost < all
        })
    }

    /// The UPSes whose end cut a host just now.
    fn killers(&self, number: usize) -> Vec<usize> {
        let is_new = |ups: &usize| self.judge.seen[*ups].died_at.is_none_or(|at| self.now - at < 5.0);
        self.site.hosts[number].feeds.iter().copied().filter(is_new).collect()
    }

    /// Why nobody could have been warned in time.
    fn cause(&self, number: usize) -> &'static str {
        if number != self.site.own && self.judge.own_gone.is_some() {
            return self.why_own_gone();
        }
        let killers = self.killers(number);
        let seen = |ups: &usize| &self.judge.seen[*ups];
        if let Some(ups) = killers.iter().find(|ups| seen(ups).battery_since.is_none()) {
            return self.why_unheard(*ups);
        }
        if killers.iter().any(|ups| seen(ups).silent_since.is_some()) {
            return "it fell silent with figures that promised enough";
        }
        if killers.iter().any(|ups| seen(ups).level < 0.9) {
            return "it promised more than it gave, and was not full again";
        }
        let promised = killers.iter().any(|ups| seen(ups).promised.is_some());
        match (promised, killers.iter().all(|ups| seen(ups).is_proven)) {
            (true, true) => PROVEN,
            (true, false) => "it promised more than it gave, and nothing was proven",
            (false, _) => "its charge promised more than it gave",
        }
    }
}

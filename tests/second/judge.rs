//! The judge's memory: the story, what each UPS let hecate see, what was broken, and what was excused.
//!
//! It judges from the world's truth. An excuse names a cause and holds for one event; it is counted and printed.

use std::collections::BTreeMap;

use super::site::Site;
use super::world::World;

/// The invariants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// 1: no host is cut by an empty battery while it runs k3s, where its UPS gave warning in time.
    HardCut,
    /// 2: nothing is stopped because of mains that were away for less than 20 s.
    Blink,
    /// 3: nothing is started while its own UPS is known to be on battery.
    StartOnBattery,
    /// 4: a day of mains later everything runs, or a person is asked.
    DarkForEver,
    /// 5: no command goes to one host more often than the backoff allows.
    Backoff,
    /// 6: who booted is not powered off again on the word of a UPS that is silent since before.
    OldWord,
    /// 7: the hecate host is not powered off by an override while its own feeds have mains.
    OwnHost,
}

impl Rule {
    /// All of them.
    pub(crate) const ALL: [Rule; 7] = [
        Rule::HardCut,
        Rule::Blink,
        Rule::StartOnBattery,
        Rule::DarkForEver,
        Rule::Backoff,
        Rule::OldWord,
        Rule::OwnHost,
    ];
}

/// What one UPS let hecate see.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// When its mains were lost and came back, in truth.
    pub(crate) outages: Vec<(f64, Option<f64>)>,
    /// Its last usable word: when, and whether it was OB.
    pub(crate) word: Option<(f64, bool)>,
    /// The last time without any usable word that was longer than a few polls, from word to word.
    pub(crate) quiet: Option<(f64, f64)>,
    /// The last runtime that it promised on line.
    pub(crate) promised_on_line: Option<f64>,
    /// Whether that was an OL that had stood, or one that followed no OB.
    pub(crate) is_calm: bool,
    /// Whether it told any figures then.
    pub(crate) has_figures: bool,
    /// Since when its words have been OB.
    pub(crate) battery_since: Option<f64>,
    /// Since when they have been OL.
    pub(crate) line_since: Option<f64>,
    /// Since when it has been silent, where its last word was OB.
    pub(crate) silent_since: Option<f64>,
    /// Whether LB stood in its last word on line.
    pub(crate) had_low_on_line: bool,
    /// When LB rose on battery.
    pub(crate) low_rose: Option<f64>,
    /// Whether FSD stood in its last word.
    pub(crate) was_forced: bool,
    /// When FSD rose.
    pub(crate) forced_rose: Option<f64>,
    /// Since when it gives warning, by the documented rules.
    pub(crate) low_since: Option<f64>,
    /// When its own figures did last, and not only its words or time.
    pub(crate) low_figures: Option<f64>,
    /// When it said LB on battery last, which it had said on line.
    pub(crate) low_stood: Option<f64>,
    /// Since when it says so for a host that is the last to go: `own_host.power_off_seconds` times the factor are left.
    pub(crate) last_since: Option<f64>,
    /// When the warning had stood for the debounce.
    pub(crate) warned_at: Option<f64>,
    /// By what.
    pub(crate) warned_by: &'static str,
    /// The charge with which it went on battery.
    pub(crate) first_charge: Option<f64>,
    /// The last runtime that it promised on battery.
    pub(crate) promised: Option<f64>,
    /// When its output ended in this outage.
    pub(crate) died_at: Option<f64>,
    /// How full it was when its mains went.
    pub(crate) level: f64,
    /// Whether this discharge took half the battery and more, or ends it.
    pub(crate) is_proving: bool,
    /// Whether an earlier one did.
    pub(crate) is_proven: bool,
}

/// How long mains must stand until a warning is over (`ups_policy.mains_stable_seconds`).
pub(crate) const STABLE: f64 = 60.0;

impl Seen {
    /// An outage is over; what it proved stays.
    pub(crate) fn forget(&mut self) {
        self.is_proven |= self.is_proving;
        self.is_proving = false;
        self.battery_since = None;
        self.silent_since = None;
        self.warned_at = None;
        self.low_since = None;
        self.last_since = None;
        self.low_rose = None;
        self.first_charge = None;
        self.promised = None;
    }

    /// For how long its mains were away between two moments.
    pub(crate) fn away(&self, from: f64, to: f64) -> f64 {
        let part = |(lost, back): &(f64, Option<f64>)| (back.unwrap_or(to).min(to) - lost.max(from)).max(0.0);
        self.outages.iter().map(part).sum()
    }
}

/// A shutdown whose outage is not over yet: only its end says whether it was a blink.
#[derive(Clone, Debug)]
pub(crate) struct Suspect {
    /// The UPSes whose overrides rule.
    pub(crate) upses: Vec<usize>,
    /// When their overrides were set, at the earliest.
    pub(crate) set_at: f64,
    /// The step.
    pub(crate) step: String,
}

/// Everything that is remembered.
pub(crate) struct Judge {
    /// What happened.
    pub(crate) story: Vec<(f64, String)>,
    /// Each UPS.
    pub(crate) seen: Vec<Seen>,
    /// What was broken: the rule and how.
    pub(crate) broken: Vec<(Rule, String)>,
    /// What was excused, by rule and cause.
    pub(crate) excused: BTreeMap<(Rule, String), u32>,
    /// How often each rule was asked.
    pub(crate) asked: BTreeMap<Rule, u32>,
    /// When each command went to each target.
    pub(crate) sent: BTreeMap<String, Vec<f64>>,
    /// Shutdowns that may have been made for a blink.
    pub(crate) suspects: Vec<Suspect>,
    /// Since when the hosts' switch has been off.
    pub(crate) network_gone: Option<f64>,
    /// Since when the hecate host has been off.
    pub(crate) own_gone: Option<f64>,
    /// When hecate was started.
    pub(crate) starts: Vec<f64>,
    /// When an override was seen set, by source.
    pub(crate) overrides: BTreeMap<String, f64>,
}

impl Judge {
    /// One that has seen nothing.
    pub(crate) fn new(site: &Site) -> Self {
        Self {
            story: Vec::new(),
            seen: site.upses.iter().map(|_| Seen { is_calm: true, ..Seen::default() }).collect(),
            broken: Vec::new(),
            excused: BTreeMap::new(),
            asked: BTreeMap::new(),
            sent: BTreeMap::new(),
            suspects: Vec::new(),
            network_gone: None,
            own_gone: None,
            starts: Vec::new(),
            overrides: BTreeMap::new(),
        }
    }

    /// Adds a line to the story.
    pub(crate) fn say(&mut self, now: f64, line: String) {
        self.story.push((now, line));
    }

    /// A rule is broken.
    pub(crate) fn break_rule(&mut self, now: f64, rule: Rule, how: String) {
        self.say(now, format!("X {rule:?}: {how}"));
        self.broken.push((rule, how));
    }

    /// A rule is not kept, for a cause outside of hecate.
    pub(crate) fn excuse(&mut self, now: f64, rule: Rule, cause: &str) {
        self.say(now, format!("  excused {rule:?}: {cause}"));
        *self.excused.entry((rule, cause.to_owned())).or_default() += 1;
    }

    /// A rule is asked.
    pub(crate) fn ask(&mut self, rule: Rule) {
        *self.asked.entry(rule).or_default() += 1;
    }
}

impl World {
    /// Keeps when mains went and came; before anything that follows from that.
    pub(crate) fn watch_mains(&mut self) {
        let now = self.now;
        for (ups, seen) in self.upses.iter().zip(&mut self.judge.seen) {
            match (ups.has_input, seen.outages.last_mut()) {
                (false, Some((_, None))) => {}
                (false, last) => {
                    // What it said in an outage before is no warning of this one.
                    if last.is_none_or(|(_, back)| back.is_some_and(|back| now - back > STABLE)) {
                        seen.forget();
                    }
                    seen.outages.push((now, None));
                    seen.level = ups.level;
                    seen.died_at = None;
                }
                (true, Some((_, back @ None))) => *back = Some(now),
                (true, _) => {}
            }
            if !ups.is_on() && seen.died_at.is_none() {
                seen.died_at = Some(now);
            }
            if !ups.is_on() && seen.battery_since.is_some() && seen.warned_at.is_some() {
                seen.is_proving = true;
            }
        }
    }

    /// Keeps the truth of each tick.
    pub(crate) fn watch(&mut self) {
        let now = self.now;
        let gone = |is_gone: bool, since: Option<f64>| if is_gone { since.or(Some(now)) } else { None };
        self.judge.network_gone = gone(!self.has_network(), self.judge.network_gone);
        self.judge.own_gone = gone(!self.hosts[self.site.own].answers(now), self.judge.own_gone);
        self.judge_suspects();
    }
}

//! What was heard and seen of UPSes, hosts and people: the ground on which the rules judge.
//!
//! Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{FOREIGN, NOTICED, Watch};
use crate::model::{NodeName, UpsName};
use crate::simulate::Simulation;
use crate::simulate::world::Object;
use crate::simulate::world::ups::{Battery, Lie};
use crate::snapshot::{UnitState, UpsStatus, UpsWord};

/// A discharge that is said beside OL may be one for so long, where nobody knows whether the UPS always says it.
const STRANGE: Duration = Duration::from_secs(1860);

/// What is said for so long is no odd answer.
const GARBLED: Duration = Duration::from_secs(4);

/// What was known of a battery when its mains came back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Returned {
    pub(super) at: Duration,
    /// As far as anybody could know, 0 to 1.
    pub(super) share: f64,
    /// Whether the outage before was heard of.
    pub(super) was_heard: bool,
    /// Since when its UPS says that they are there: before they are, where it lies.
    pub(super) claimed: Duration,
    /// Whether the hecate host was booted in it, so that nobody knows what the UPS always says.
    is_strange: bool,
}

/// An outage that goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outage {
    heard: Duration,
    /// Whether its UPS said meanwhile that it is on line.
    is_denied: bool,
    /// Since when it says so.
    denied: Option<Duration>,
    is_strange: bool,
    boot: u32,
    /// When its mains came back, while nobody has heard of that.
    back: Option<Duration>,
}

impl Watch {
    /// Listens to each UPS.
    pub(super) fn listen(&mut self, simulation: &Simulation) {
        let world = &simulation.world;
        let by = if self.looked.is_zero() { Duration::ZERO } else { world.time.saturating_sub(self.looked) };
        self.looked = world.time;
        for (name, battery) in &world.upses {
            // A UPS that says nothing of the mains leaves everybody with what it said last, if anybody heard that.
            let (said, answers) = (UpsStatus::parse(&battery.words()), world.is_told(name));
            if battery.mains || battery.lie.status.is_some() {
                self.lost.remove(name);
            } else if answers {
                self.lost.entry(name.clone()).or_insert(world.time);
            }
            let returned = self.returned.get(name);
            let returned_lately = returned.is_some_and(|it| world.time.saturating_sub(it.at) < STRANGE);
            let is_strange = returned_lately && returned.is_some_and(|it| it.is_strange);
            // A word that always stood and was not said for a while is news when it comes.
            let vanished = self.vanished.entry(name.clone()).or_default();
            if answers && said.has(UpsWord::Ol) && !said.has(UpsWord::Dischrg) {
                vanished.insert(UpsWord::Dischrg);
            }
            if answers && (said.has(UpsWord::Ol) || said.has(UpsWord::Ob)) && !said.has(UpsWord::Fsd) {
                vanished.insert(UpsWord::Fsd);
            }
            let is_strange = is_strange || returned_lately && vanished.contains(&UpsWord::Dischrg);
            // After a silence nobody knows what was before it: a battery may have come to its end.
            let answered = self.answered.get(name).copied();
            let goes_on = answered.is_some_and(|at| world.time.saturating_sub(at) <= NOTICED);
            let was_high = self.charges.get(name).is_none_or(|charge| *charge >= Battery::GARBLED_CHARGE);
            let is_odd = battery.is_garbled() && self.calm.contains_key(name) && goes_on && was_high;
            let garbled = is_odd.then(|| self.garbled.get(name).copied().unwrap_or(world.time));
            match garbled {
                Some(since) => drop(self.garbled.insert(name.clone(), since)),
                None => drop(self.garbled.remove(name)),
            }
            if answers && simulation.has_passed {
                self.answered.insert(name.clone(), world.time);
            }
            let is_garbled = garbled.is_some_and(|since| world.time.saturating_sub(since) < GARBLED);
            let is_alarming = answers
                && !is_garbled
                && (is_alarming(&said, battery)
                    || is_strange && said.has(UpsWord::Dischrg)
                    || vanished.contains(&UpsWord::Fsd) && said.has(UpsWord::Fsd)
                    // Who hears it for the first time in an outage takes the flag for news.
                    || battery.device.latched && said.has(UpsWord::Ob));
            let calm = self.calm.get(name).map(|since| world.time.saturating_sub(*since));
            // What has said OL for a moment only, or whose witness is gone, may be on battery when it falls silent.
            let stood = NOTICED + simulation.config.ups_policy.mains_stable;
            let has_witness =
                simulation.config.upses.get(name).is_none_or(|ups| ups.witness.is_none()) || world.has_witness(name);
            let is_word = answers && said.has(UpsWord::Ol);
            let is_doubtful = !is_word && (calm.is_some_and(|calm| calm < stood) || !has_witness);
            if !simulation.has_passed || is_doubtful || is_alarming {
                self.calm.remove(name);
            } else if answers && said.has(UpsWord::Ol) {
                self.calm.entry(name.clone()).or_insert(world.time);
            }
            if is_alarming || is_doubtful {
                self.alarmed.insert(name.clone(), world.time);
            }
            self.outage(simulation, name, battery, answers && simulation.has_passed, by);
        }
    }

    /// Follows an outage of a UPS to its end, and what is known of its battery from then on; `is_heard`: whether hecate hears
    /// what it says.
    fn outage(&mut self, simulation: &Simulation, name: &UpsName, battery: &Battery, is_heard: bool, by: Duration) {
        let world = &simulation.world;
        let charge = world.says(&simulation.config, name).value().and_then(|it| it.charge_percent);
        let charge = charge.filter(|charge| *charge >= 0.0);
        // What was heard last, before the mains went or after that.
        if let Some(charge) = charge.filter(|_| is_heard) {
            self.charges.insert(name.clone(), charge);
        }
        if !battery.mains {
            // What may be a discharge still lets no mains stand in between.
            let before = self.returned.get(name).filter(|it| world.time.saturating_sub(it.at) < STRANGE);
            let is_strange = before.is_some_and(|it| it.is_strange) || !simulation.has_passed;
            let (boot, heard) = (world.own_boot, Duration::ZERO);
            let new = Outage { heard, is_denied: false, denied: None, is_strange, boot, back: None };
            let outage = self.outages.entry(name.clone()).or_insert(new);
            outage.back = None;
            // Before anybody hears of it no boot is known to lie in it.
            if outage.heard.is_zero() {
                outage.boot = boot;
            }
            let words = UpsStatus::parse(&battery.words());
            if is_heard && words.has(UpsWord::Ob) {
                outage.heard += by;
            }
            outage.is_denied |= words.has(UpsWord::Ol);
            if is_heard {
                outage.denied = words.has(UpsWord::Ol).then(|| outage.denied.unwrap_or(world.time));
            }
            if battery.lie.load_percent.is_some() || battery.lie.charge_percent.is_some() {
                self.misled.insert(name.clone());
            }
            return;
        }
        let Some(outage) = self.outages.get_mut(name) else { return };
        let at = *outage.back.get_or_insert(world.time);
        let charge = charge.or(self.charges.get(name).copied());
        let share = match (outage.heard >= NOTICED, outage.boot == world.own_boot) {
            // Nobody knows of an outage that nobody heard of, or that was denied; what it says itself counts alone.
            (false, _) => 1.0,
            _ if outage.is_denied => 1.0,
            // Nobody saw how far it went.
            (true, false) => 0.0,
            (true, true) => charge.map_or(0.0, |charge| (charge / 100.0).clamp(0.0, 1.0)),
        };
        let is_strange = outage.is_strange || outage.boot != world.own_boot;
        let (was_heard, claimed) = (outage.heard >= NOTICED, outage.denied.unwrap_or(at));
        self.returned.insert(name.clone(), Returned { at, share, was_heard, claimed, is_strange });
        if is_heard {
            self.outages.remove(name);
        }
    }

    /// Follows hosts that boot, hecate that starts, and overrides.
    pub(super) fn follow(&mut self, simulation: &Simulation) {
        let world = &simulation.world;
        for (name, host) in &world.hosts {
            if self.boots.insert(name.clone(), host.boot).is_some_and(|before| before != host.boot) {
                self.booted.insert(name.clone(), world.time);
            }
        }
        let life = (world.own_boot, simulation.desk.memory.began);
        if life != self.life {
            self.life = life;
            self.starts.push(world.time);
        }
        let Some(last) = simulation.last.as_ref().filter(|_| simulation.has_passed) else { return };
        let runs = world.hosts.iter().filter(|(_, host)| host.is_on && host.unit == UnitState::Running);
        self.ran.extend(runs.map(|(name, _)| (name.clone(), world.time)));
        self.overridden = last.effective.is_override().then(|| self.overridden.unwrap_or(world.time));
        let run = last.status.episode.as_ref().map(|episode| episode.run.to_string());
        if self.run != run {
            (self.run, self.held) = (run, BTreeMap::new());
        }
        let waits = last.plan.waits.iter().map(|wait| wait.reason.name());
        for name in waits.chain(last.plan.blockers.iter().map(|blocker| blocker.name())) {
            let reason = match name {
                "recharge" | "recharge-too-slow" => "recharge",
                "time-sync" | "time-not-synced" => "time-sync",
                "ups-unknown" => name,
                _ => continue,
            };
            self.held.entry(reason).or_insert((world.time, world.time)).1 = world.time;
        }
    }

    /// Whether a start of this run was held for this reason for so long; what has opened then stays open.
    pub(super) fn was_held(&self, reason: &str, span: Duration) -> bool {
        self.held.get(reason).is_some_and(|(since, seen)| seen.saturating_sub(*since) + NOTICED >= span)
    }

    pub(super) fn cordons(&mut self, simulation: &Simulation) {
        let is_kept = |node: &&NodeName| {
            simulation.world.objects.get(*node).is_some_and(|it| it.is_cordoned && it.cordoned_by.is_none())
        };
        if let Some(node) = self.foreign.iter().find(|node| !is_kept(node)).cloned() {
            self.broken(FOREIGN, format!("{node} was cordoned by somebody else"));
        }
        self.foreign.extend(foreign(simulation));
    }
}

/// Whether a status may mean an outage, a discharge or a forced shutdown: by what it does not say all the time.
fn is_alarming(status: &UpsStatus, battery: &Battery) -> bool {
    // One that lies about its figures as well says nothing that could be told from an outage.
    let standing = battery.profile().filter(|_| battery.lie == Lie::default());
    let stands = |word: UpsWord| standing.is_some_and(|it| it.standing(false).any(|one| one == word.spelling()));
    let alarming = [UpsWord::Ob, UpsWord::Fsd, UpsWord::Cal, UpsWord::Dischrg];
    alarming.iter().any(|word| status.has(*word) && !stands(*word))
}

/// The nodes that are cordoned, and not by hecate. Who cordons a node that hecate has cordoned already changes nothing.
pub(super) fn foreign(simulation: &Simulation) -> impl Iterator<Item = NodeName> {
    let is_foreign = |(name, object): (&NodeName, &Object)| {
        (object.is_cordoned && object.cordoned_by.is_none()).then(|| name.clone())
    };
    simulation.world.objects.iter().filter_map(is_foreign)
}

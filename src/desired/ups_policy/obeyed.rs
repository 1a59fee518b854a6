//! What is obeyed: the strictest override that stands, or the wish; who goes by it, who is spared, and what holds it back.
//!
//! Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use super::loads::{Load, loads};
use super::{Assessment, Power, source};
use crate::config::{Config, UpsPolicy};
use crate::desired::{Cause, Declared, DeclaredHealth, Effective, Override, OwnSupply};
use crate::ledger::Ledger;
use crate::model::{ClusterState, NodeName, Now, Path, UpsName};
use crate::snapshot::{Snapshot, UnitState};
use crate::status::UpsVerdict;

/// For so long a UPS must say that it is on battery before a host that has just booted, and runs nothing, is powered off again.
const BOOTED_PATIENCE: Duration = Duration::from_secs(60);

/// What an [`Effective`] is made of.
pub(super) struct Sources<'a> {
    pub(super) config: &'a Config,
    pub(super) declared: &'a Declared,
    pub(super) health: &'a DeclaredHealth,
    pub(super) power: &'a Power,
    pub(super) snapshot: &'a Snapshot,
    pub(super) ledger: &'a Ledger,
    /// For how long this process has been looking.
    pub(super) looked_for: Duration,
    pub(super) now: &'a Now,
}

pub(super) fn effective(sources: &Sources<'_>) -> Effective {
    let Sources { config, declared, health, power, .. } = *sources;
    let spec = &declared.spec;
    let ruling = declared.strictest().filter(|one| one.state >= spec.state);
    let is_partial = spec.state == ClusterState::Running && declared.is_for_some_nodes();
    let (state, path, because) = match ruling {
        Some(one) => (
            if is_partial { spec.state } else { one.state },
            one.path,
            Cause::Override { source: one.source.clone(), reason: one.reason.clone(), set_at: one.set_at },
        ),
        None => (
            spec.state,
            Path::Graceful,
            Cause::Spec { set_by: spec.set_by.clone(), reason: spec.reason.clone(), set_at: spec.set_at },
        ),
    };
    let (mut nodes, mut held_nodes) = (BTreeSet::new(), BTreeSet::new());
    if is_partial {
        for one in &declared.overrides {
            let goes = if sources.hold_override(one).is_some() { &mut held_nodes } else { &mut nodes };
            goes.extend(one.nodes.iter().cloned());
        }
        held_nodes.retain(|node| !nodes.contains(node));
    }
    let hold_descent = match ruling {
        Some(_) if !nodes.is_empty() => None,
        // Of several overrides one that goes on is enough.
        Some(one) => {
            let as_strict = declared.overrides.iter().filter(|other| other.state >= one.state && !is_partial);
            let holds: Option<Vec<String>> = as_strict.map(|other| sources.hold_override(other)).collect();
            if is_partial { sources.hold_override(one) } else { holds.and_then(|holds| holds.into_iter().next()) }
        }
        None => match health {
            DeclaredHealth::Good => None,
            DeclaredHealth::LastGood { why } => Some(format!("desired.yaml cannot be read: {why}")),
            DeclaredHealth::Lost => Some("desired.yaml was lost".to_owned()),
        },
    };
    let is_concerned = |load: &Load<'_>| !is_partial || load.node.is_none_or(|node| nodes.contains(node));
    let all = loads(config);
    // Where the time of one is not known the emergency waits for nobody because another has long.
    let is_unknown = |load: &&Load<'_>| load.runs_on_battery(power) && load.time_left(power).is_none();
    let has_unknown_end =
        path == Path::Emergency && all.iter().filter(|load| is_concerned(load)).any(|load| is_unknown(&load));
    let ending_upses = sources.ending_upses(false);
    let of_nodes = sources.ending_upses(true);
    let ending = all.iter().filter(|load| load.ends(power, &of_nodes)).filter_map(|load| load.node.cloned());
    let own = all.iter().find(|load| load.node.is_none());
    let own_supply = own.map_or(OwnSupply::Holds, |own| {
        let last = config.own_host.power_off_time.mul_f64(config.ups_policy.runtime_safety_factor);
        let supply = own.own_supply(power, &ending_upses, last, sources.is_alone());
        if supply != OwnSupply::Holds && sources.has_just_booted_for(own) { OwnSupply::Unsure } else { supply }
    });
    Effective {
        state,
        path,
        because,
        on_battery: power.is_on_battery(),
        time_left: if has_unknown_end {
            None
        } else {
            let known = power.time_left(all.iter().copied().filter(is_concerned));
            known.or_else(|| unnamed_time_left(config, power))
        },
        own_supply,
        ending: ending.collect(),
        spared: sources.spared(),
        nodes,
        held_nodes,
        hold_descent: if state == ClusterState::Running && !is_partial { None } else { hold_descent },
    }
}

/// What is left on UPSes that no inventory entry names: they speak for the whole cluster.
fn unnamed_time_left(config: &Config, power: &Power) -> Option<Duration> {
    let is_unnamed = |ups: &UpsName| !loads(config).iter().any(|load| load.feeds.contains(ups));
    let on_battery = power.upses.iter().filter(|(ups, one)| one.is_on_battery() && is_unnamed(ups));
    on_battery.filter_map(|(_, one)| one.time_left).min()
}

impl Sources<'_> {
    /// Why an override that stands begins no further step now: its UPS is on line (not yet for long enough), or it says
    /// nothing although it was not on battery. A UPS on battery never holds its own override.
    fn hold_override(&self, one: &Override) -> Option<String> {
        let ups = &one.ups()?;
        let assessment = self.power.upses.get(ups)?;
        match assessment.verdict {
            UpsVerdict::Critical | UpsVerdict::OnBattery => None,
            // An outage of which only an earlier boot knew goes on, against hosts that have not booted since.
            UpsVerdict::Unknown if self.is_of_earlier_boot(ups) => None,
            UpsVerdict::OnLine | UpsVerdict::Unknown | UpsVerdict::Ignored => {
                Some(format!("{ups}: {}", assessment.evidence))
            }
        }
    }

    /// The UPSes whose batteries are at their end, or on their way there under an override of their own although the load that was
    /// shed lets them promise more. For hosts that have not booted since, one of which only an earlier boot heard is too.
    fn ending_upses(&self, with_earlier_boots: bool) -> BTreeSet<UpsName> {
        let is_overridden = |ups: &UpsName| self.declared.overrides.iter().any(|one| one.source == source(ups));
        let is_ending = |(ups, one): &(&UpsName, &Assessment)| match one.verdict {
            UpsVerdict::Critical => true,
            UpsVerdict::OnBattery => is_overridden(ups),
            UpsVerdict::Unknown => with_earlier_boots && is_overridden(ups) && self.is_of_earlier_boot(ups),
            UpsVerdict::OnLine | UpsVerdict::Ignored => false,
        };
        self.power.upses.iter().filter(is_ending).map(|(ups, _)| ups.clone()).collect()
    }

    /// Whether a UPS of which an earlier boot knew an outage was asked in this one, and has said nothing yet.
    fn is_of_earlier_boot(&self, name: &UpsName) -> bool {
        let is_silent = self.power.upses.get(name).is_some_and(|one| one.silent_for.is_some());
        let was_asked = self.snapshot.upses.contains_key(name);
        let since = self.ledger.on_battery_since.get(name);
        // One that fell silent with its witness never said OB: then its override is of the earlier boot.
        let began =
            self.ledger.episode.as_ref().filter(|episode| episode.key.is_override).map(|episode| &episode.began);
        let is_earlier = since.or(began).is_some_and(|since| since.boot_id != self.now.boot_id);
        // Its driver, or the host of its upsd, may come up with this one.
        let had_time = self.looked_for >= first_word_patience(&self.config.ups_policy);
        is_silent && was_asked && had_time && is_earlier && !self.ledger.boots.is_empty()
    }

    /// Hosts that have booted since the UPSes of all overrides that go on fell silent: their word is older than that boot. Where
    /// only an earlier boot of this host heard that word, nobody is known not to have booted before that is seen.
    fn spared(&self) -> BTreeSet<NodeName> {
        let speaks = |one: &Override| {
            one.ups().and_then(|ups| self.power.upses.get(&ups)).is_none_or(|one| one.silent_for.is_none())
        };
        let going_on = || self.declared.overrides.iter().filter(|one| self.hold_override(one).is_none());
        if going_on().next().is_none() {
            return BTreeSet::new();
        }
        if going_on().any(speaks) {
            let upses: Vec<&Assessment> =
                going_on().filter_map(Override::ups).filter_map(|ups| self.power.upses.get(&ups)).collect();
            return self.config.nodes.keys().filter(|node| self.is_left_to_boot(node, &upses)).cloned().collect();
        }
        let upses = || going_on().filter_map(Override::ups);
        let is_earlier = upses().all(|ups| self.is_of_earlier_boot(&ups));
        let silent_for = upses().filter_map(|ups| self.power.upses.get(&ups)?.silent_for).min();
        let spoken_for = upses().filter_map(|ups| spoken_for(self.power.upses.get(&ups)?)).max();
        let has_booted = |node: &&NodeName| {
            let reading = self.snapshot.hosts.get(*node);
            let answers = reading.and_then(|it| it.failure()).is_some_and(|why| why.kind.is_answer());
            let known = self.ledger.boots.get(*node);
            match reading.and_then(|it| it.value()) {
                // Who was up when another one said that the mains are gone is on battery.
                Some(seen) if seen.up_for.zip(spoken_for).is_some_and(|(up, spoken)| up >= spoken) => false,
                Some(seen) => {
                    let is_younger = seen.up_for.zip(silent_for).is_some_and(|(up, silent)| up < silent);
                    is_younger || known.map_or(is_earlier, |known| seen.boot_id != *known)
                }
                // Who was told to power off and answers has come back, most likely.
                None => is_earlier && spoken_for.is_none() || answers && self.ledger.powered_off.contains_key(*node),
            }
        };
        self.config.nodes.keys().filter(has_booted).cloned().collect()
    }

    /// Whether every other host that goes off was told to, and answers no more.
    fn is_alone(&self) -> bool {
        let own = self.config.own_host.node.as_ref();
        let mut others = self.config.managed().filter(|(name, node)| node.power_off && Some(*name) != own);
        others.all(|(name, _)| {
            let reading = self.snapshot.hosts.get(name);
            let answers = reading.is_some_and(|it| match it.fresh(self.now, self.config.reconcile.host_max_age) {
                Some(_) => true,
                None => it.failure().is_some_and(|why| why.kind.is_answer()),
            });
            self.ledger.powered_off.contains_key(name) && !answers
        })
    }

    /// Whether this host was powered off and has booted since, and no UPS of its own has said for long enough now that it is on
    /// battery.
    fn has_just_booted_for(&self, own: &Load<'_>) -> bool {
        let is_unproven = |ups: &UpsName| {
            let drawn = self.power.upses.get(ups).and_then(|one| one.drawn_for);
            drawn.is_none_or(|drawn| drawn < BOOTED_PATIENCE)
        };
        let was_told = self.ledger.own_power_off.as_ref().is_some_and(|own| {
            let is_of_override = self.declared.overrides.iter().any(|one| one.set_at <= own.told.wall);
            own.told.boot_id != self.now.boot_id && is_of_override
        });
        was_told && own.feeds.iter().all(is_unproven)
    }

    /// Whether a host has booted since it was told off, runs nothing, and no UPS has said for long enough since that boot that it
    /// is on battery: hosts boot because mains came back, and the first words of a driver, or a blink, prove nothing else.
    /// Nothing would switch it on again.
    fn is_left_to_boot(&self, node: &NodeName, upses: &[&Assessment]) -> bool {
        let seen = self.snapshot.hosts.get(node).and_then(|it| it.fresh(self.now, self.config.reconcile.host_max_age));
        let Some((seen, up_for)) = seen.and_then(|seen| Some((seen, seen.up_for?))) else { return false };
        let has_booted = self.ledger.boots.get(node).is_some_and(|known| *known != seen.boot_id);
        let is_unproven = |one: &&Assessment| {
            // It has said nothing new since that boot.
            if one.repeats_for.or(one.forced_for).is_some_and(|same| up_for < same) {
                return true;
            }
            let patience = if one.is_bare { BOOTED_PATIENCE * 2 } else { BOOTED_PATIENCE };
            match (one.silent_for, one.drawn_for) {
                (Some(silent), _) => up_for < silent,
                (None, Some(drawn)) => drawn.min(up_for) < patience,
                (None, None) => false,
            }
        };
        let runs_nothing = [seen.k3s, seen.k3s_agent].iter().all(|unit| match unit {
            UnitState::Stopped | UnitState::NotFound => true,
            UnitState::Running | UnitState::Starting | UnitState::Stopping => false,
        });
        has_booted && runs_nothing && upses.iter().all(is_unproven)
    }
}

/// For how long a neighbour or a witness has said that the mains of a silent UPS are gone, where that is long enough to be no blink.
fn spoken_for(one: &Assessment) -> Option<Duration> {
    one.gone_for.filter(|gone| *gone >= BOOTED_PATIENCE)
}

/// For so long after a start of hecate a UPS of which an earlier boot knew an outage is given time for its first word.
pub(super) fn first_word_patience(policy: &UpsPolicy) -> Duration {
    policy.lost_on_battery.max(BOOTED_PATIENCE)
}

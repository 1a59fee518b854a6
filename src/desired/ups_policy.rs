//! The UPS policy: turns what the UPSes say into overrides, and is the only maker of [`Effective`].
//!
//! Pure. It looks at the polls that the tracker kept ([`UpsMemory`]), never at one reading alone: one noisy poll shuts
//! nothing down. What is latched is latched in `desired.yaml`: an override stands until mains are stable again.

#![deny(clippy::disallowed_methods)]

pub mod battery;
mod judge;
mod loads;
mod others;
mod time_left;
pub mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::battery::Battery;
use self::loads::Load;
pub(crate) use self::loads::{is_fed_by_others, loads};
use self::others::Others;
use super::{Cause, Declared, DeclaredHealth, Effective, Forget, Held, Hold, Override, OwnSupply};
use crate::budget::Budget;
use crate::config::{Config, UpsPath, UpsPolicy, UpsScope};
use crate::ledger::Ledger;
use crate::model::{ClusterState, NodeName, Now, Path, Reading, Stamp, UpsName};
use crate::plan::blocker::Warning;
use crate::snapshot::{Snapshot, UnitState};
use crate::status::UpsVerdict;
use crate::tracker::{LowRun, Memory, UpsMemory};

pub use judge::Assessment;
pub(crate) use time_left::credible_runtime;

/// Everything the policy makes of a pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Rewritten {
    /// What is obeyed.
    pub effective: Effective,
    /// What was declared, with the changes: what that was made of.
    pub declared: Declared,
    /// The change of `desired.yaml`, override by override.
    pub changes: Vec<DeclaredChange>,
    /// What is made of each UPS.
    pub power: Power,
}

/// One change of `desired.yaml`; nothing else of the file is touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DeclaredChange {
    /// Sets or replaces the override of its source.
    Set(Override),
    /// Takes the override of this source away.
    Clear {
        /// Which.
        source: String,
        /// Why, for the log.
        because: String,
    },
    /// Takes a hold away that was seen to be over: a clock that begins anew must not bring it back.
    DropHold(Hold),
    /// Takes a person's word away that was obeyed: what was learned of that battery is forgotten.
    DropForget(Forget),
}

/// What the UPSes say, judged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Power {
    /// Each UPS.
    pub upses: BTreeMap<UpsName, Assessment>,
    /// Since when each UPS has been on battery; the ledger keeps it.
    pub on_battery_since: BTreeMap<UpsName, Stamp>,
    /// After how long a silence the override of each UPS ends.
    pub silence_max: BTreeMap<UpsName, Duration>,
    /// What a person should know.
    pub warnings: Vec<Warning>,
}

impl Power {
    /// Whether any UPS says that it is on battery.
    pub fn is_on_battery(&self) -> bool {
        self.upses.values().any(Assessment::is_on_battery)
    }

    /// The low polls in a row of each UPS, for the memory.
    pub fn low_runs(&self) -> BTreeMap<UpsName, Option<LowRun>> {
        self.upses.iter().map(|(name, one)| (name.clone(), one.low.clone())).collect()
    }

    /// Until the first of these loses its supply, by what the batteries say; None where nothing says so. Something with
    /// several feeds lives until fewer than `min_supplies` of them are left.
    fn time_left<'a>(&self, loads: impl Iterator<Item = Load<'a>>) -> Option<Duration> {
        loads.filter_map(|load| load.time_left(self)).min()
    }

    fn verdict(&self, ups: &UpsName) -> UpsVerdict {
        self.upses.get(ups).map_or(UpsVerdict::Unknown, |one| one.verdict)
    }
}

/// The policy: what was declared, and what the UPSes say, make what is obeyed.
pub fn rewrite(
    config: &Config,
    declared: (&Declared, &DeclaredHealth),
    snapshot: &Snapshot,
    ledger: &Ledger,
    memory: &Memory,
    budget: &Budget,
    now: &Now,
) -> Rewritten {
    let (declared, health) = declared;
    let power = assess_all(config, declared, snapshot, ledger, memory, budget, now);
    let pass = Pass { config, declared, snapshot, ledger, budget, power: &power, now };
    let changes = pass.changes();
    let mut obeyed = declared.clone();
    for change in &changes {
        apply(&mut obeyed, change);
    }
    let effective = effective(&Sources {
        config,
        declared: &obeyed,
        health,
        power: &power,
        snapshot,
        ledger,
        looked_for: now.since(memory.began),
        now,
    });
    Rewritten { effective, declared: obeyed, changes, power }
}

/// Applies one change to a declared state; the store does the same to the file.
pub fn apply(declared: &mut Declared, change: &DeclaredChange) {
    match change {
        DeclaredChange::Set(one) => {
            declared.overrides.retain(|other| other.source != one.source);
            declared.overrides.push(one.clone());
        }
        DeclaredChange::Clear { source, .. } => declared.overrides.retain(|other| other.source != *source),
        DeclaredChange::DropHold(hold) => declared.holds.retain(|other| other != hold),
        DeclaredChange::DropForget(forget) => declared.forget.retain(|other| other != forget),
    }
}

/// The name under which a UPS' override stands.
pub fn source(ups: &UpsName) -> String {
    format!("{}{ups}", Override::BY_UPS)
}

/// The time left at which the policy triggers: the safety factor times the budget of the path a trigger takes.
pub fn trigger_at(config: &Config, budget: &Budget) -> Duration {
    let path_budget = match config.shutdown.ups_path {
        UpsPath::Auto => budget.full.time,
        UpsPath::Emergency => budget.emergency.time,
    };
    path_budget.mul_f64(config.ups_policy.runtime_safety_factor)
}

/// What an [`Effective`] is made of.
struct Sources<'a> {
    config: &'a Config,
    declared: &'a Declared,
    health: &'a DeclaredHealth,
    power: &'a Power,
    snapshot: &'a Snapshot,
    ledger: &'a Ledger,
    /// For how long this process has been looking.
    looked_for: Duration,
    now: &'a Now,
}

fn effective(sources: &Sources<'_>) -> Effective {
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
        let supply = own.own_supply(power, &ending_upses, last);
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
        let has_booted = |node: &&NodeName| {
            let reading = self.snapshot.hosts.get(*node);
            let answers = reading.and_then(|it| it.failure()).is_some_and(|why| why.kind.is_answer());
            let known = self.ledger.boots.get(*node);
            match reading.and_then(|it| it.value()) {
                Some(seen) => {
                    let is_younger = seen.up_for.zip(silent_for).is_some_and(|(up, silent)| up < silent);
                    is_younger || known.map_or(is_earlier, |known| seen.boot_id != *known)
                }
                // Who was told to power off and answers has come back, most likely.
                None => is_earlier || answers && self.ledger.powered_off.contains_key(*node),
            }
        };
        self.config.nodes.keys().filter(has_booted).cloned().collect()
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
            if one.repeats_for.is_some_and(|same| up_for < same) {
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

/// For so long a UPS must say that it is on battery before a host that has just booted, and runs nothing, is powered off again.
const BOOTED_PATIENCE: Duration = Duration::from_secs(60);

/// For so long after a start of hecate a UPS of which an earlier boot knew an outage is given time for its first word.
fn first_word_patience(policy: &UpsPolicy) -> Duration {
    policy.lost_on_battery.max(BOOTED_PATIENCE)
}

/// What a pass of the policy looks at.
struct Pass<'a> {
    config: &'a Config,
    declared: &'a Declared,
    snapshot: &'a Snapshot,
    ledger: &'a Ledger,
    budget: &'a Budget,
    power: &'a Power,
    now: &'a Now,
}

impl Pass<'_> {
    fn changes(&self) -> Vec<DeclaredChange> {
        let mut changes = Vec::new();
        for (name, assessment) in &self.power.upses {
            let standing = self.declared.overrides.iter().find(|one| one.source == source(name));
            if assessment.verdict == UpsVerdict::Critical && self.darkens(name) {
                let wanted = self.trigger(name, assessment);
                match standing {
                    None => changes.push(DeclaredChange::Set(wanted)),
                    Some(one) => changes.extend(self.stricter(one, wanted, assessment).map(DeclaredChange::Set)),
                }
            } else if standing.is_some()
                && let Some(because) = self.release(name, assessment)
            {
                changes.push(DeclaredChange::Clear { source: source(name), because });
            }
        }
        if changes.is_empty() {
            changes.extend(self.narrowed().map(DeclaredChange::Set));
        }
        for one in &self.declared.overrides {
            if let Some(ups) = one.ups()
                && !self.config.upses.contains_key(&ups)
            {
                let because = format!("UPS {ups} is not configured any more");
                changes.push(DeclaredChange::Clear { source: one.source.clone(), because });
            }
        }
        // Only a clock that is right may end a hold for good.
        let is_over = |hold: &&Hold| self.now.wall_synced && hold.expires_at <= self.now.wall;
        changes.extend(self.declared.forget.iter().cloned().map(DeclaredChange::DropForget));
        changes.extend(self.declared.holds.iter().filter(is_over).cloned().map(DeclaredChange::DropHold));
        changes
    }

    /// Whether this UPS' end darkens something: a host whose feeds no longer suffice, or (where nothing names it)
    /// everything.
    fn darkens(&self, ups: &UpsName) -> bool {
        let all = loads(self.config);
        let mut fed = all.iter().filter(|load| load.feeds.contains(ups)).peekable();
        fed.peek().is_none() || fed.any(|load| load.is_at_risk(self.power))
    }

    /// The override of a UPS whose time has come.
    ///
    /// The graceful path is taken where it is allowed and the time left is at least the full budget. The safety factor is
    /// not asked for a second time here: the trigger itself waited until the time left was at most factor x budget, and
    /// what lies between factor x budget and the budget is what the debounce used up.
    fn trigger(&self, ups: &UpsName, assessment: &Assessment) -> Override {
        let has_time = !assessment.is_urgent && assessment.time_left.is_some_and(|left| left >= self.budget.full.time);
        let path = match self.config.shutdown.ups_path {
            UpsPath::Auto if has_time => Path::Graceful,
            UpsPath::Auto | UpsPath::Emergency => Path::Emergency,
        };
        Override {
            source: source(ups),
            state: ClusterState::Poweroff,
            path,
            nodes: self.affected(ups),
            reason: assessment.evidence.clone(),
            set_at: self.now.wall,
        }
    }

    /// The nodes that go dark with this UPS while the rest stays up; empty: the whole cluster, because it is configured
    /// so, because nothing names this UPS, or because the rest would have no quorum.
    fn affected(&self, ups: &UpsName) -> BTreeSet<NodeName> {
        let all = loads(self.config);
        // Where the hecate host goes, nobody watches any more over those that run on their batteries.
        let own_goes = all.iter().any(|load| load.node.is_none() && load.is_at_risk(self.power));
        let is_left_alone = |load: &Load<'_>| own_goes && load.runs_on_battery(self.power);
        let at_risk: BTreeSet<&NodeName> = all
            .iter()
            .filter(|load| load.is_at_risk(self.power) || is_left_alone(load))
            .filter_map(|load| load.node)
            .collect();
        let is_whole = match self.config.ups_policy.scope {
            UpsScope::Cluster => true,
            UpsScope::Affected => {
                let others = self.declared.overrides.iter().filter(|one| one.source != source(ups));
                let gone: BTreeSet<&NodeName> =
                    at_risk.iter().copied().chain(others.flat_map(|one| &one.nodes)).collect();
                !self.keeps_quorum(&gone)
            }
        };
        let feeds_own = all.iter().any(|load| load.node.is_none() && load.feeds.contains(ups));
        let is_fed = |node: &&NodeName| {
            all.iter().any(|load| {
                let is_meant = load.feeds.contains(ups) || feeds_own && is_left_alone(load);
                load.node == Some(*node) && is_meant
            })
        };
        if is_whole { BTreeSet::new() } else { at_risk.into_iter().filter(is_fed).cloned().collect() }
    }

    /// Whether more than half of all servers are running elsewhere, seen and not in memory only. Where no quorum runs that could
    /// be lost, because hecate has taken the servers down, those count that have their mains: they are to be brought up again. One
    /// that is away for another reason never does.
    fn keeps_quorum(&self, gone: &BTreeSet<&NodeName>) -> bool {
        let is_running = |name: &NodeName| {
            let reading = self.snapshot.hosts.get(name);
            let host = reading.and_then(|one| one.fresh(self.now, self.config.reconcile.host_max_age));
            host.is_some_and(|host| host.k3s == UnitState::Running)
        };
        let all = self.config.control_planes().count();
        let is_enough = |is_left: &dyn Fn(&NodeName) -> bool| {
            self.config.control_planes().filter(|(name, _)| is_left(name)).count() * 2 > all
        };
        let is_on_its_way = self.ledger.episode.as_ref().is_some_and(|episode| episode.converged.is_none());
        let is_down = (is_on_its_way || !self.ledger.powered_off.is_empty()) && !is_enough(&is_running);
        let is_known = |name: &NodeName| {
            let answers = self.snapshot.hosts.get(name).is_some_and(|one| one.value().is_some());
            answers || self.ledger.powered_off.contains_key(name)
        };
        let is_kept = |name: &NodeName| is_running(name) || is_down && is_known(name) && self.has_mains(name);
        is_enough(&|name| !gone.contains(name) && is_kept(name))
    }

    /// Whether all that feeds a node has its mains, as far as is said now.
    fn has_mains(&self, name: &NodeName) -> bool {
        let of_node = loads(self.config).into_iter().find(|load| load.node == Some(name));
        of_node.is_none_or(|load| load.feeds.iter().all(|ups| self.power.verdict(ups) == UpsVerdict::OnLine))
    }

    /// An override that took everybody along, made one of those nodes alone that end with its UPS: once all else has its mains
    /// back, a UPS that feeds a part keeps no more than that part dark.
    fn narrowed(&self) -> Option<Override> {
        let [standing] = self.declared.overrides.as_slice() else { return None };
        let ups = standing.ups()?;
        let one = self.power.upses.get(&ups)?;
        let all = loads(self.config);
        let (ending, rest): (Vec<&Load<'_>>, Vec<&Load<'_>>) =
            all.iter().partition(|load| load.ends(self.power, &BTreeSet::from([ups.clone()])));
        let has_stood = |load: &&Load<'_>| {
            load.feeds.iter().filter(|feed| **feed != ups).all(|feed| {
                let stood = self.power.upses.get(feed).and_then(|one| one.on_line_for);
                stood.is_some_and(|stood| stood >= self.config.ups_policy.mains_stable)
            })
        };
        let own_goes = ending.iter().any(|load| load.node.is_none());
        let gone: BTreeSet<&NodeName> = ending.iter().filter_map(|load| load.node).collect();
        let is_part = self.config.ups_policy.scope == UpsScope::Affected
            && standing.nodes.is_empty()
            && (one.is_on_battery() || one.silent_for.is_some())
            && !own_goes
            && !gone.is_empty()
            && rest.iter().all(has_stood)
            && self.keeps_quorum(&gone);
        let reason = format!("{}; all else has its mains back", standing.reason);
        is_part.then(|| Override { nodes: gone.into_iter().cloned().collect(), reason, ..standing.clone() })
    }

    /// A standing override made more urgent or wider; it never becomes less.
    fn stricter(&self, standing: &Override, wanted: Override, assessment: &Assessment) -> Option<Override> {
        let escalation = if standing.path == Path::Graceful { self.escalation(assessment) } else { None };
        let is_whole = standing.nodes.is_empty() || wanted.nodes.is_empty();
        let nodes = if is_whole { BTreeSet::new() } else { standing.nodes.union(&wanted.nodes).cloned().collect() };
        if escalation.is_none() && nodes == standing.nodes {
            return None;
        }
        let path = if escalation.is_some() { Path::Emergency } else { standing.path };
        let reason = escalation.unwrap_or_else(|| format!("{}; more nodes are at risk", wanted.reason));
        Some(Override { path, nodes, reason, ..standing.clone() })
    }

    /// Why only the emergency path still fits: the time left is what is still to come of it, with the safety factor.
    /// Until then the graceful path sheds what it must, see `Scene::limit_within`.
    fn escalation(&self, assessment: &Assessment) -> Option<String> {
        if assessment.is_urgent {
            return Some(assessment.evidence.clone());
        }
        let needs = self.budget.needs.emergency;
        let least = needs.mul_f64(self.config.ups_policy.runtime_safety_factor);
        let left = assessment.time_left.filter(|left| *left <= least)?;
        let (factor, needs) = (self.config.ups_policy.runtime_safety_factor, needs.as_secs());
        Some(format!(
            "the graceful path no longer fits: the battery has {} s <= {factor} x {needs} s that the emergency path needs",
            left.as_secs()
        ))
    }

    /// Why an override may be taken away: stable mains, an operator's word, or silence that has lasted longer than this battery
    /// can.
    fn release(&self, ups: &UpsName, assessment: &Assessment) -> Option<String> {
        match assessment.verdict {
            UpsVerdict::OnLine => {
                let stable = assessment.on_line_for?;
                (stable >= self.config.ups_policy.mains_stable)
                    .then(|| format!("mains stable for {} s", stable.as_secs()))
            }
            UpsVerdict::Unknown => {
                let limit = self.power.silence_max.get(ups)?;
                (assessment.silent_for? >= *limit).then(|| assessment.evidence.clone())
            }
            UpsVerdict::Ignored => Some(assessment.evidence.clone()),
            UpsVerdict::OnBattery | UpsVerdict::Critical => None,
        }
        .or_else(|| {
            is_fed_by_others(self.config, self.power, ups)
                .then(|| "all that it feeds has other mains, which are stable".to_owned())
        })
    }
}

fn assess_all(
    config: &Config,
    declared: &Declared,
    snapshot: &Snapshot,
    ledger: &Ledger,
    memory: &Memory,
    budget: &Budget,
    now: &Now,
) -> Power {
    let mut power = Power::default();
    for (name, ups) in &config.upses {
        if let Some(hold) = declared.hold(&Held::Ups(name.clone()), now) {
            let evidence = format!("ignored {hold}");
            power.warnings.push(Warning::Ups { ups: name.clone(), evidence: evidence.clone() });
            let feeds_nothing = judge::feeds_nothing_unheeded(&config.ups_policy, memory, name, now);
            power.upses.insert(name.clone(), Assessment::ignored(evidence, feeds_nothing));
            continue;
        }
        let empty = UpsMemory::default();
        let polls = memory.upses.get(name).unwrap_or(&empty);
        let battery = battery(ledger, name);
        // A driver that hangs goes on saying what it read last, without a word of being stale.
        let repeats_since = polls.repeats_since().filter(|since| now.since(*since) >= battery.silence_max());
        let failure = match snapshot.upses.get(name) {
            Some(reading) if reading.fresh(now, config.ups_policy.max_age).is_some() => repeats_since
                .map(|since| format!("it repeats the same words and figures for {} s", now.since(since).as_secs())),
            Some(reading) => Some(reading.failure().map_or_else(|| "no fresh answer".to_owned(), ToString::to_string)),
            None => Some("not observed yet".to_owned()),
        };
        let since = judge::on_battery_since(polls, ledger, name, now);
        let is_earlier = since.as_ref().is_some_and(|since| since.boot_id != now.boot_id);
        let was_on_battery = is_earlier && polls.last_word().is_none();
        let others = Others { config, declared, snapshot, memory, name, was_on_battery, now };
        let gone = if failure.is_some() { others.gone() } else { others.witness_gone() };
        let look = judge::Look {
            policy: &config.ups_policy,
            ups,
            battery,
            trigger_at: trigger_at(config, budget),
            polls,
            failure,
            repeats_since,
            on_battery_for: since.as_ref().map(|since| since.age(now)),
            seen_on_battery_this_boot: since.as_ref().is_some_and(|since| since.boot_id == now.boot_id),
            kept_silence: ledger.silent_since.get(name).map(|since| since.age(now)),
            is_confirmed: gone.is_some() || others.on_battery().next().is_some(),
            gone,
            cut_ago: ledger
                .load_cuts
                .get(name)
                .filter(|cut| cut.told.boot_id == now.boot_id)
                .map(|cut| cut.told.age(now)),
            was_asked: snapshot.upses.get(name).is_some_and(Reading::was_looked_at),
            memory_age: now.since(memory.began),
            now,
        };
        let assessment = look.assess();
        let has_outlasted = assessment.silent_for.is_some_and(|silent| silent >= battery.silence_max());
        if let Some(since) = since.filter(|_| !has_outlasted) {
            power.on_battery_since.insert(name.clone(), since);
        }
        power.silence_max.insert(name.clone(), battery.silence_max());
        power.warnings.extend(look.warnings(name));
        power.upses.insert(name.clone(), assessment);
    }
    power
}

/// What the ledger knows of a UPS' battery.
pub(crate) fn battery<'a>(ledger: &'a Ledger, name: &UpsName) -> Battery<'a> {
    Battery { device: ledger.devices.get(name), full_load: ledger.full_load_percent.get(name).copied() }
}

#[cfg(test)]
mod tests;

//! The UPS policy: turns what the UPSes say into overrides, and is the only maker of [`Effective`].
//!
//! Pure. It looks at the polls that the tracker kept ([`UpsMemory`]), never at one reading alone: one noisy poll shuts
//! nothing down. What is latched is latched in `desired.yaml`: an override stands until mains are stable again.

#![deny(clippy::disallowed_methods)]

mod judge;
mod time_left;
pub mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Cause, Declared, DeclaredHealth, Effective, Held, Override};
use crate::budget::Budget;
use crate::config::{Config, UpsPath, UpsScope};
use crate::ledger::Ledger;
use crate::model::{ClusterState, NodeName, Now, Path, Stamp, UpsName};
use crate::plan::blocker::Warning;
use crate::snapshot::{Snapshot, UnitState};
use crate::status::UpsVerdict;
use crate::tracker::{Memory, UpsMemory};

pub use judge::Assessment;

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

/// One change of the overrides; nothing else of the file is touched.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

/// What the UPSes say, judged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Power {
    /// Each UPS.
    pub upses: BTreeMap<UpsName, Assessment>,
    /// Since when each UPS has been on battery; the ledger keeps it.
    pub on_battery_since: BTreeMap<UpsName, Stamp>,
    /// What a person should know.
    pub warnings: Vec<Warning>,
}

impl Power {
    /// Whether any UPS says that it is on battery.
    pub fn is_on_battery(&self) -> bool {
        self.upses.values().any(Assessment::is_on_battery)
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

/// Something that UPSes feed: a node, or the host hecate runs on.
#[derive(Clone, Copy, Debug)]
struct Load<'a> {
    node: Option<&'a NodeName>,
    feeds: &'a BTreeSet<UpsName>,
    min_supplies: usize,
}

impl Load<'_> {
    /// Whether fewer feeds than it needs are known to hold. Unknown is no supply: but something must be critical.
    fn is_at_risk(&self, power: &Power) -> bool {
        let holds = |ups: &&UpsName| match power.verdict(ups) {
            UpsVerdict::OnLine | UpsVerdict::OnBattery | UpsVerdict::Ignored => true,
            UpsVerdict::Critical | UpsVerdict::Unknown => false,
        };
        self.feeds.iter().any(|ups| power.verdict(ups) == UpsVerdict::Critical)
            && self.feeds.iter().filter(holds).count() < self.min_supplies
    }

    fn time_left(&self, power: &Power) -> Option<Duration> {
        let each = self.feeds.iter().map(|ups| match power.upses.get(ups) {
            Some(one) if one.is_on_battery() => one.time_left,
            Some(_) | None => Some(Duration::MAX),
        });
        let mut each: Vec<Duration> = each.collect::<Option<_>>()?;
        each.sort_unstable();
        // It lives as long as `min_supplies` of its feeds do: until the longest-lived but those end.
        let first_missing = each.len().checked_sub(self.min_supplies)?;
        each.get(first_missing).copied().filter(|left| *left < Duration::MAX)
    }
}

/// Everything that the inventory says is fed by UPSes.
fn loads(config: &Config) -> impl Iterator<Item = Load<'_>> {
    let own = Load { node: None, feeds: &config.own_host.feeds, min_supplies: config.own_host.min_supplies };
    let nodes = config.nodes.iter().map(|(name, node)| Load {
        node: Some(name),
        feeds: &node.feeds,
        min_supplies: node.min_supplies,
    });
    nodes.chain([own]).filter(|load| !load.feeds.is_empty())
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
    let pass = Pass { config, declared, snapshot, memory, budget, power: &power, now };
    let changes = pass.declared_changes();
    let mut obeyed = declared.clone();
    for change in &changes {
        apply(&mut obeyed, change);
    }
    let effective = effective(config, &obeyed, health, &power);
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
    }
}

/// The name under which a UPS' override stands.
pub fn source(ups: &UpsName) -> String {
    format!("ups-policy/{ups}")
}

/// The time left at which the policy triggers: the safety factor times the budget of the path a trigger takes.
pub fn trigger_at(config: &Config, budget: &Budget) -> Duration {
    let path_budget = match config.shutdown.ups_path {
        UpsPath::Auto => budget.full.time,
        UpsPath::Emergency => budget.emergency.time,
    };
    path_budget.mul_f64(config.ups_policy.runtime_safety_factor)
}

fn effective(config: &Config, declared: &Declared, health: &DeclaredHealth, power: &Power) -> Effective {
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
            let goes = if hold_override(one, power).is_some() { &mut held_nodes } else { &mut nodes };
            goes.extend(one.nodes.iter().cloned());
        }
        held_nodes.retain(|node| !nodes.contains(node));
    }
    let hold_descent = match ruling {
        Some(_) if !nodes.is_empty() => None,
        Some(one) => hold_override(one, power),
        None => match health {
            DeclaredHealth::Good => None,
            DeclaredHealth::LastGood { why } => Some(format!("desired.yaml cannot be read: {why}")),
            DeclaredHealth::Lost => Some("desired.yaml was lost".to_owned()),
        },
    };
    let is_concerned = |load: &Load<'_>| !is_partial || load.node.is_none_or(|node| nodes.contains(node));
    let own = loads(config).find(|load| load.node.is_none());
    Effective {
        state,
        path,
        because,
        on_battery: power.is_on_battery(),
        time_left: power.time_left(loads(config).filter(is_concerned)).or_else(|| unnamed_time_left(config, power)),
        is_own_host_concerned: !is_partial || own.is_some_and(|own| own.is_at_risk(power)),
        nodes,
        held_nodes,
        hold_descent: if state == ClusterState::Running && !is_partial { None } else { hold_descent },
    }
}

/// What is left on UPSes that no inventory entry names: they speak for the whole cluster.
fn unnamed_time_left(config: &Config, power: &Power) -> Option<Duration> {
    let is_unnamed = |ups: &UpsName| !loads(config).any(|load| load.feeds.contains(ups));
    let on_battery = power.upses.iter().filter(|(ups, one)| one.is_on_battery() && is_unnamed(ups));
    on_battery.filter_map(|(_, one)| one.time_left).min()
}

/// Why an override that stands begins no further step now: its UPS is on line (not yet for long enough), or has not been
/// judged since this boot. A UPS on battery never holds its own override.
fn hold_override(one: &Override, power: &Power) -> Option<String> {
    let ups = one.source.strip_prefix("ups-policy/")?;
    let assessment = power.upses.get(&UpsName::from(ups))?;
    match assessment.verdict {
        UpsVerdict::Critical | UpsVerdict::OnBattery => None,
        UpsVerdict::OnLine | UpsVerdict::Unknown | UpsVerdict::Ignored => {
            Some(format!("{ups}: {}", assessment.evidence))
        }
    }
}

/// What a pass of the policy looks at.
struct Pass<'a> {
    config: &'a Config,
    declared: &'a Declared,
    snapshot: &'a Snapshot,
    memory: &'a Memory,
    budget: &'a Budget,
    power: &'a Power,
    now: &'a Now,
}

impl Pass<'_> {
    fn declared_changes(&self) -> Vec<DeclaredChange> {
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
        for one in &self.declared.overrides {
            if let Some(ups) = one.source.strip_prefix("ups-policy/")
                && !self.config.upses.contains_key(&UpsName::from(ups))
            {
                let because = format!("UPS {ups} is not configured any more");
                changes.push(DeclaredChange::Clear { source: one.source.clone(), because });
            }
        }
        changes
    }

    /// Whether this UPS' end darkens something: a host whose feeds no longer suffice, or (where nothing names it)
    /// everything.
    fn darkens(&self, ups: &UpsName) -> bool {
        let mut fed = loads(self.config).filter(|load| load.feeds.contains(ups)).peekable();
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
        let at_risk: BTreeSet<&NodeName> =
            loads(self.config).filter(|load| load.is_at_risk(self.power)).filter_map(|load| load.node).collect();
        let is_whole = match self.config.ups_policy.scope {
            UpsScope::Cluster => true,
            UpsScope::Affected => {
                let others = self.declared.overrides.iter().filter(|one| one.source != source(ups));
                let gone: BTreeSet<&NodeName> =
                    at_risk.iter().copied().chain(others.flat_map(|one| &one.nodes)).collect();
                !self.keeps_quorum(&gone)
            }
        };
        let is_fed = |node: &&NodeName| self.config.nodes.get(*node).is_some_and(|node| node.feeds.contains(ups));
        if is_whole { BTreeSet::new() } else { at_risk.into_iter().filter(is_fed).cloned().collect() }
    }

    /// Whether more than half of all servers are running elsewhere, seen and not in memory only.
    fn keeps_quorum(&self, gone: &BTreeSet<&NodeName>) -> bool {
        let is_running = |name: &NodeName| {
            let reading = self.snapshot.hosts.get(name);
            let host = reading.and_then(|one| one.fresh(self.now, self.config.reconcile.host_max_age));
            host.is_some_and(|host| host.k3s == UnitState::Running)
        };
        let all = self.config.control_planes().count();
        let left = self.config.control_planes().filter(|(name, _)| !gone.contains(name) && is_running(name)).count();
        left * 2 > all
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

    /// Why an override may be taken away: stable mains, an operator's word, or no word from the UPS for longer than the grace
    /// (a dead UPS daemon must not keep a cluster dark).
    fn release(&self, ups: &UpsName, assessment: &Assessment) -> Option<String> {
        match assessment.verdict {
            UpsVerdict::OnLine => {
                let stable = assessment.on_line_for?;
                (stable >= self.config.ups_policy.mains_stable)
                    .then(|| format!("mains stable for {} s", stable.as_secs()))
            }
            UpsVerdict::Unknown => {
                let grace = self.config.startup.ups_unknown_grace?;
                let silent = self.now.since(self.last_word(ups));
                (silent >= grace).then(|| format!("no word for {} s: {}", silent.as_secs(), assessment.evidence))
            }
            UpsVerdict::Ignored => Some(assessment.evidence.clone()),
            UpsVerdict::OnBattery | UpsVerdict::Critical => None,
        }
    }

    /// When a UPS last said anything of mains and battery, or hecate began to listen: words that say nothing are silence.
    fn last_word(&self, ups: &UpsName) -> Duration {
        let told = self.memory.upses.get(ups).and_then(|polls| polls.told);
        told.map_or(self.memory.began, |told| told.max(self.memory.began))
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
    for name in config.upses.keys() {
        if let Some(hold) = declared.hold(&Held::Ups(name.clone()), now) {
            let evidence = format!("ignored {hold}");
            power.warnings.push(Warning::Ups { ups: name.clone(), evidence: evidence.clone() });
            power.upses.insert(name.clone(), Assessment::ignored(evidence));
            continue;
        }
        let empty = UpsMemory::default();
        let polls = memory.upses.get(name).unwrap_or(&empty);
        let failure = match snapshot.upses.get(name) {
            Some(reading) if reading.fresh(now, config.ups_policy.max_age).is_some() => None,
            Some(reading) => Some(reading.failure().map_or_else(|| "no fresh answer".to_owned(), ToString::to_string)),
            None => Some("not observed yet".to_owned()),
        };
        let since = judge::on_battery_since(polls, ledger, name, now);
        let look = judge::Look {
            policy: &config.ups_policy,
            trigger_at: trigger_at(config, budget),
            polls,
            failure,
            on_battery_for: since.as_ref().map(|since| since.age(now)),
            seen_on_battery_this_boot: since.as_ref().is_some_and(|since| since.boot_id == now.boot_id),
            memory_age: now.since(memory.began),
            now,
        };
        let assessment = look.assess();
        if let Some(since) = since
            && assessment.verdict != UpsVerdict::OnLine
        {
            power.on_battery_since.insert(name.clone(), since);
        }
        power.warnings.extend(look.warnings(name));
        power.upses.insert(name.clone(), assessment);
    }
    power
}

#[cfg(test)]
mod tests;

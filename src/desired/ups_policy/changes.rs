//! The changes of `desired.yaml`: overrides that are set, made stricter, narrowed and lifted.
//!
//! Pure.

use std::collections::BTreeSet;

use super::loads::{Load, is_fed_by_others, loads};
use super::{Assessment, DeclaredChange, Power, source};
use crate::budget::Budget;
use crate::config::{Config, UpsPath, UpsScope};
use crate::desired::{Declared, Hold, Override};
use crate::ledger::Ledger;
use crate::model::{ClusterState, NodeName, Now, Path, UpsName};
use crate::snapshot::{Snapshot, UnitState};
use crate::status::UpsVerdict;

/// What a pass of the policy looks at.
pub(super) struct Pass<'a> {
    pub(super) config: &'a Config,
    pub(super) declared: &'a Declared,
    pub(super) snapshot: &'a Snapshot,
    pub(super) ledger: &'a Ledger,
    pub(super) budget: &'a Budget,
    pub(super) power: &'a Power,
    pub(super) now: &'a Now,
}

impl Pass<'_> {
    pub(super) fn changes(&self) -> Vec<DeclaredChange> {
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

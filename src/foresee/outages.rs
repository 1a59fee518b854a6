//! What an outage does to each host, and how each comes back.
//!
//! Pure. The rules are those of the descent and of the bring-up: an override powers off the hosts whose own supply ends,
//! and those that merely go along only where `wake` can switch them on again.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::config::{Config, Node, UpsScope};
use crate::model::{NodeName, UpsName};

/// An outage, and what it does to each host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Foreseen {
    /// The UPSes that lose their mains.
    pub upses: BTreeSet<UpsName>,
    /// The nodes by name, then the hecate host where it is none of them.
    pub hosts: Vec<HostFate>,
}

/// What becomes of one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostFate {
    /// Its name in the inventory; None: the hecate host, which is no node.
    pub node: Option<NodeName>,
    /// Whether hecate runs on it.
    pub is_own: bool,
    /// What the outage does to it.
    pub goes: Goes,
    /// How it comes back where mains return before the output of its UPSes was cut; None where it runs on.
    pub before_cut: Option<Back>,
    /// The same where they return after that.
    pub after_cut: Option<Back>,
}

/// What an outage does to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Goes {
    /// Nothing.
    RunsOn,
    /// hecate stops k3s on it, and leaves it on.
    Stopped,
    /// hecate powers it off.
    Off,
    /// hecate may not command it, and its power ends with the batteries.
    Left,
}

/// How a host comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Back {
    /// It was on all the time.
    StaysOn,
    /// hecate switches it on.
    Wake,
    /// hecate has its UPS cut the load and return, and it boots on AC.
    CutLoad,
    /// Its power ended, and it boots on AC.
    OnAc,
    /// Somebody switches it on.
    ByHand,
}

impl Foreseen {
    /// Whether mains that return early leave the hecate host off: then nothing is woken or started before a hand.
    pub fn is_own_host_by_hand(&self) -> bool {
        self.hosts.iter().any(|host| host.is_own && host.before_cut == Some(Back::ByHand))
    }
}

/// What is to be expected of an outage of each single UPS, and of all of them.
pub fn foresee(config: &Config) -> Vec<Foreseen> {
    let single = config.upses.keys().map(|ups| BTreeSet::from([ups.clone()]));
    let all = (config.upses.len() > 1).then(|| config.upses.keys().cloned().collect());
    single.chain(all).map(|upses| outage(config, upses)).collect()
}

/// What is to be expected of an outage of these UPSes.
pub fn outage(config: &Config, upses: BTreeSet<UpsName>) -> Foreseen {
    let judge = Judge::new(config, &upses);
    let nodes = config.nodes.iter().map(|(name, node)| judge.node(name, node));
    let own = config.own_host.node.is_none().then(|| judge.own(None));
    let hosts = nodes.chain(own).collect();
    Foreseen { upses, hosts }
}

/// A UPS whose upsd runs on a host that hecate powers off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UpsdOnNode {
    /// The UPS.
    pub ups: UpsName,
    /// Where its upsd runs.
    pub node: NodeName,
}

/// The UPSes that fall silent because hecate powers off the host of their upsd. The hecate host itself is none of those:
/// it goes last, and nobody listens then.
pub fn upsd_on_nodes(config: &Config) -> Vec<UpsdOnNode> {
    let own = config.own_host.node.as_ref();
    let goes = |(name, node): &(&NodeName, &Node)| node.power_off && node.is_managed && Some(*name) != own;
    let is_at = |host: &str, name: &NodeName, node: &Node| {
        host.eq_ignore_ascii_case(&node.host) || host.eq_ignore_ascii_case(name.as_str())
    };
    let on_node = |(ups, at): (&UpsName, &crate::config::Ups)| {
        let (node, _) = config.nodes.iter().filter(goes).find(|(name, node)| is_at(&at.host, name, node))?;
        Some(UpsdOnNode { ups: ups.clone(), node: node.clone() })
    };
    config.upses.iter().filter_map(on_node).collect()
}

struct Judge<'a> {
    config: &'a Config,
    /// The UPSes without mains.
    upses: &'a BTreeSet<UpsName>,
    /// The nodes that are brought down; None: the whole cluster.
    only: Option<BTreeSet<&'a NodeName>>,
    /// Whether anything is brought down at all.
    darkens: bool,
    /// The nodes that hecate powers off.
    off: BTreeSet<&'a NodeName>,
    own_ends: bool,
}

impl<'a> Judge<'a> {
    fn new(config: &'a Config, upses: &'a BTreeSet<UpsName>) -> Self {
        let own = &config.own_host;
        let mut judge = Self {
            config,
            upses,
            only: None,
            darkens: false,
            off: BTreeSet::new(),
            own_ends: !own.feeds.is_empty() && holding(&own.feeds, upses) < own.min_supplies,
        };
        let ending: BTreeSet<&NodeName> =
            config.nodes.iter().filter(|(_, node)| judge.ends(node)).map(|(name, _)| name).collect();
        let speaks_for_all = judge.is_fed_to_nobody();
        judge.darkens = judge.own_ends || !ending.is_empty() || speaks_for_all;
        judge.only = if speaks_for_all { None } else { judge.part(&ending) };
        let goes_off = |(name, node): &(&'a NodeName, &Node)| {
            let is_own = own.node.as_ref() == Some(*name);
            let can_come_back = judge.ends(node) || node.wake.is_some();
            judge.is_brought_down(name) && node.is_managed && node.power_off && can_come_back && !is_own
        };
        let off = config.nodes.iter().filter(goes_off).map(|(name, _)| name).collect();
        Self { off, ..judge }
    }

    /// Whether one of the UPSes feeds nothing that is written down: it speaks for the whole cluster.
    fn is_fed_to_nobody(&self) -> bool {
        let feeds_nodes = self.config.nodes.values().any(|node| node.feeds.is_empty());
        !feeds_nodes && self.upses.iter().any(|ups| self.config.unnamed_upses.contains(ups))
    }

    /// The nodes that go while the rest runs on; None where the rest would have no quorum, or nothing would be left out.
    fn part(&self, ending: &BTreeSet<&'a NodeName>) -> Option<BTreeSet<&'a NodeName>> {
        let servers = self.config.control_planes().count();
        let left = self.config.control_planes().filter(|(name, _)| !ending.contains(name)).count();
        let is_part = match self.config.ups_policy.scope {
            UpsScope::Cluster => false,
            UpsScope::Affected => left * 2 > servers && !ending.is_empty(),
        };
        is_part.then(|| ending.clone())
    }

    fn is_brought_down(&self, name: &NodeName) -> bool {
        self.darkens && self.only.as_ref().is_none_or(|only| only.contains(name))
    }

    /// What feeds a node: where nobody wrote that down, the UPSes that nothing names.
    fn feeds(&self, node: &'a Node) -> &'a BTreeSet<UpsName> {
        if node.feeds.is_empty() { &self.config.unnamed_upses } else { &node.feeds }
    }

    fn ends(&self, node: &'a Node) -> bool {
        let feeds = self.feeds(node);
        !feeds.is_empty() && holding(feeds, self.upses) < node.min_supplies
    }

    fn node(&self, name: &NodeName, node: &'a Node) -> HostFate {
        if self.config.own_host.node.as_ref() == Some(name) {
            return self.own(Some((name, node)));
        }
        let ends = self.ends(node);
        let goes = match (node.is_managed, self.off.contains(name), self.is_brought_down(name)) {
            (false, ..) if ends => Goes::Left,
            (false, ..) | (true, false, false) => Goes::RunsOn,
            (true, true, _) => Goes::Off,
            (true, false, true) => Goes::Stopped,
        };
        let is_cut = self.is_ended_by_cuts(self.feeds(node), node.min_supplies);
        let (before_cut, after_cut) = back(goes, ends, node.wake.is_some(), is_cut);
        HostFate { node: Some(name.clone()), is_own: false, goes, before_cut, after_cut }
    }

    /// The hecate host goes only when its own supply ends.
    fn own(&self, node: Option<(&NodeName, &Node)>) -> HostFate {
        let own = &self.config.own_host;
        let is_stopped = node.is_some_and(|(name, node)| node.is_managed && self.is_brought_down(name));
        let goes = match (self.own_ends, own.power_off, is_stopped) {
            (true, true, _) => Goes::Off,
            (_, _, true) => Goes::Stopped,
            (true, false, false) => Goes::Left,
            (false, _, false) => Goes::RunsOn,
        };
        let is_cut = self.is_ended_by_cuts(&own.feeds, own.min_supplies);
        let (before_cut, after_cut) = back(goes, self.own_ends, false, is_cut);
        HostFate { node: node.map(|(name, _)| name.clone()), is_own: true, goes, before_cut, after_cut }
    }

    /// Whether the UPSes that hecate may cut are so many of these that too few are left.
    fn is_ended_by_cuts(&self, feeds: &BTreeSet<UpsName>, min_supplies: usize) -> bool {
        feeds.iter().filter(|ups| !self.may_be_cut(ups)).count() < min_supplies
    }

    /// A load is cut only while every other host that it feeds is off, and never while a part of the cluster runs.
    fn may_be_cut(&self, ups: &UpsName) -> bool {
        let own = &self.config.own_host;
        let is_asked = self.config.upses.get(ups).is_some_and(|ups| ups.cut_load.is_some());
        let is_free = self.config.nodes.iter().all(|(name, node)| {
            !node.feeds.contains(ups) || own.node.as_ref() == Some(name) || self.off.contains(name)
        });
        is_asked && is_free && self.only.is_none() && (own.power_off || !own.feeds.contains(ups))
    }
}

/// How many of these have their mains.
fn holding(feeds: &BTreeSet<UpsName>, without: &BTreeSet<UpsName>) -> usize {
    feeds.iter().filter(|ups| !without.contains(*ups)).count()
}

/// How a host comes back, before its supply was cut and after.
fn back(goes: Goes, ends: bool, can_be_woken: bool, is_cut: bool) -> (Option<Back>, Option<Back>) {
    let after = if ends { Back::OnAc } else { Back::StaysOn };
    match goes {
        Goes::RunsOn => (None, None),
        Goes::Stopped | Goes::Left => (Some(Back::StaysOn), Some(after)),
        Goes::Off if can_be_woken => (Some(Back::Wake), Some(Back::Wake)),
        Goes::Off if is_cut => (Some(Back::CutLoad), Some(Back::OnAc)),
        Goes::Off => (Some(Back::ByHand), Some(Back::OnAc)),
    }
}

#[cfg(test)]
mod tests;

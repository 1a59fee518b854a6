//! What the UPSes feed, each load with its feeds and how many of them it needs.
//!
//! Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Assessment, Power};
use crate::config::Config;
use crate::desired::OwnSupply;
use crate::model::{NodeName, UpsName};
use crate::status::UpsVerdict;

/// Something that UPSes feed: a node, or the host hecate runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load<'a> {
    /// None: the host hecate runs on.
    pub(crate) node: Option<&'a NodeName>,
    /// The UPSes that feed it.
    pub(crate) feeds: &'a BTreeSet<UpsName>,
    /// How many of them it needs.
    pub(crate) min_supplies: usize,
}

impl Load<'_> {
    /// Whether fewer feeds than it needs are known to hold. Unknown is no supply: but something must be critical.
    pub(super) fn is_at_risk(&self, power: &Power) -> bool {
        self.is_short(power, |ups| power.verdict(ups) == UpsVerdict::Critical)
    }

    /// Whether its supply ends: as [`Load::is_at_risk`], but a UPS on battery whose override stands goes on ending although the
    /// load that was shed lets it promise more.
    pub(super) fn ends(&self, power: &Power, overridden: &BTreeSet<UpsName>) -> bool {
        self.is_short(power, |ups| is_ending(power, overridden, ups))
    }

    fn is_short(&self, power: &Power, is_ending: impl Fn(&UpsName) -> bool) -> bool {
        let holds = |ups: &&UpsName| match power.verdict(ups) {
            UpsVerdict::OnLine | UpsVerdict::OnBattery | UpsVerdict::Ignored => !is_ending(ups),
            UpsVerdict::Critical | UpsVerdict::Unknown => false,
        };
        self.feeds.iter().any(&is_ending) && self.feeds.iter().filter(holds).count() < self.min_supplies
    }

    /// Until it loses its supply; None where nothing says so.
    pub(super) fn time_left(&self, power: &Power) -> Option<Duration> {
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

    /// What becomes of the hecate host's own supply, where its last moment is so long before the end.
    pub(super) fn own_supply(&self, power: &Power, overridden: &BTreeSet<UpsName>, last: Duration) -> OwnSupply {
        if !self.ends(power, overridden) {
            return OwnSupply::Holds;
        }
        let ending: Vec<_> = self.feeds.iter().filter(|ups| is_ending(power, overridden, ups)).collect();
        let sure = |ups: &&&UpsName| power.upses.get(**ups).and_then(|one| one.sure_left);
        let is_over = |ups: &&&UpsName| sure(ups).is_some_and(|left| left <= last);
        let says_so = |ups: &&&UpsName| power.upses.get(**ups).is_some_and(Assessment::says_that_it_ends);
        let is_short = |lost: usize| self.feeds.len().saturating_sub(lost) < self.min_supplies;
        if is_short(ending.iter().filter(is_over).count()) {
            OwnSupply::IsOver
        } else if is_short(ending.iter().filter(|ups| is_over(ups) || says_so(ups)).count()) {
            OwnSupply::Low
        } else if ending.iter().any(|ups| sure(&ups).is_none()) {
            OwnSupply::Unsure
        } else {
            OwnSupply::Ends
        }
    }
}

/// Whether a UPS' battery is at its end, or on its way there under an override of its own.
fn is_ending(power: &Power, overridden: &BTreeSet<UpsName>, ups: &UpsName) -> bool {
    match power.verdict(ups) {
        UpsVerdict::Critical => true,
        UpsVerdict::OnBattery => overridden.contains(ups),
        UpsVerdict::OnLine | UpsVerdict::Unknown | UpsVerdict::Ignored => false,
    }
}

/// Everything that UPSes feed. A node whose feeds nobody wrote down is fed by the UPSes that nothing names.
pub(crate) fn loads(config: &Config) -> Vec<Load<'_>> {
    let own = Load { node: None, feeds: &config.own_host.feeds, min_supplies: config.own_host.min_supplies };
    let nodes = config.nodes.iter().map(|(name, node)| Load {
        node: Some(name),
        feeds: if node.feeds.is_empty() { &config.unnamed_upses } else { &node.feeds },
        min_supplies: node.min_supplies,
    });
    nodes.chain([own]).filter(|load| !load.feeds.is_empty()).collect()
}

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
        // One that a person took out, for a new battery or because it lies, is no supply to rely on.
        let is_ignored = |ups: &UpsName| power.verdict(ups) == UpsVerdict::Ignored;
        self.is_short(power, |ups| power.verdict(ups) == UpsVerdict::Critical, is_ignored)
    }

    /// Whether its supply ends and comes back with theirs, where these UPSes are at their end or on their way there.
    pub(super) fn ends(&self, power: &Power, ending: &BTreeSet<UpsName>) -> bool {
        self.is_short(power, |ups| ending.contains(ups), |_| false)
    }

    fn is_short(
        &self,
        power: &Power,
        is_ending: impl Fn(&UpsName) -> bool,
        is_doubtful: impl Fn(&UpsName) -> bool,
    ) -> bool {
        let holds = |ups: &&UpsName| !is_ending(ups) && !is_doubtful(ups) && holds(power, ups);
        self.feeds.iter().any(&is_ending) && self.feeds.iter().filter(holds).count() < self.min_supplies
    }

    /// Whether fewer of its feeds have their mains than it needs.
    pub(crate) fn runs_on_battery(&self, power: &Power) -> bool {
        let is_on_battery = |ups: &&UpsName| power.upses.get(*ups).is_some_and(Assessment::is_on_battery);
        let feeds_nothing = |ups: &&UpsName| power.upses.get(*ups).is_some_and(|one| one.feeds_nothing);
        let without = self.feeds.iter().filter(|ups| is_on_battery(ups) || feeds_nothing(ups)).count();
        self.feeds.iter().any(|ups| is_on_battery(&ups)) && self.feeds.len() - without < self.min_supplies
    }

    /// Until it loses its supply; None where nothing says so. A feed of which nothing is known is none.
    pub(super) fn time_left(&self, power: &Power) -> Option<Duration> {
        let known = self.feeds.iter().filter(|ups| holds(power, ups) || power.verdict(ups) == UpsVerdict::Critical);
        let each = known.map(|ups| match power.upses.get(ups) {
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
    /// Where everybody else is off a silent UPS is drawn from by next to nothing, and nobody but this host is at stake.
    pub(super) fn own_supply(
        &self,
        power: &Power,
        ending: &BTreeSet<UpsName>,
        last: Duration,
        is_alone: bool,
    ) -> OwnSupply {
        // Nothing would switch this host on again where a feed that says nothing has its mains.
        let holds = |ups: &UpsName| holds(power, ups) || power.upses.get(ups).is_some_and(|one| one.is_lately_silent);
        let is_ending = |ups: &UpsName| ending.contains(ups);
        let left = self.feeds.iter().filter(|ups| !is_ending(ups) && holds(ups)).count();
        if left >= self.min_supplies || !self.feeds.iter().any(is_ending) {
            return OwnSupply::Holds;
        }
        let sure = |ups: &UpsName| {
            let one = power.upses.get(ups)?;
            match one.told_left.filter(|_| is_alone) {
                // Mains that feed the load past the battery are mains.
                _ if one.is_bypassed => Some(Duration::MAX),
                Some(left) => Some(left),
                None => one.sure_left,
            }
        };
        let is_over = |ups: &UpsName| sure(ups).is_some_and(|left| left <= last);
        let says_so = |ups: &UpsName| power.upses.get(ups).is_some_and(Assessment::says_that_it_ends);
        let is_short = |is_lost: &dyn Fn(&UpsName) -> bool| {
            let left = |ups: &&UpsName| if is_ending(ups) { !is_lost(ups) } else { holds(ups) };
            self.feeds.iter().filter(left).count() < self.min_supplies
        };
        if is_short(&is_over) {
            OwnSupply::IsOver
        } else if is_short(&|ups| is_over(ups) || says_so(ups)) {
            OwnSupply::Low
        } else if self.feeds.iter().any(|ups| is_ending(ups) && sure(ups).is_none()) {
            OwnSupply::Unsure
        } else {
            OwnSupply::Ends
        }
    }
}

/// Whether a UPS feeds what hangs on it, as far as is known. One that fell silent a moment ago still does.
fn holds(power: &Power, ups: &UpsName) -> bool {
    match power.verdict(ups) {
        UpsVerdict::OnLine | UpsVerdict::OnBattery | UpsVerdict::Ignored => {
            power.upses.get(ups).is_some_and(|one| !one.feeds_nothing)
        }
        UpsVerdict::Critical => false,
        UpsVerdict::Unknown => power.upses.get(ups).is_some_and(|one| one.is_brief),
    }
}

/// Whether all that a UPS feeds has enough other feeds whose mains have stood: its own end darkens nothing.
pub(crate) fn is_fed_by_others(config: &Config, power: &Power, ups: &UpsName) -> bool {
    let has_stood = |feed: &&UpsName| {
        let one = power.upses.get(*feed).filter(|one| *feed != ups && !one.feeds_nothing);
        one.and_then(|one| one.on_line_for).is_some_and(|stood| stood >= config.ups_policy.mains_stable)
    };
    let all = loads(config);
    let mut fed = all.iter().filter(|load| load.feeds.contains(ups)).peekable();
    // Of those that nobody names it is not known what they feed.
    fed.peek().is_some()
        && !config.unnamed_upses.contains(ups)
        && fed.all(|load| load.feeds.iter().filter(has_stood).count() >= load.min_supplies)
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

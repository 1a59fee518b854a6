//! Hosts that are woken, and UPSes that cut their load and return with the mains.
//!
//! Pure.

use std::time::Duration;

use super::acts::Harm;
use super::device::CutManner;
use super::ups::OTHER_DELAY;
use super::{Host, HostEvent, World};
use crate::model::{NodeName, UpsName};

/// How a UPS cuts its load.
#[derive(Clone, Debug, PartialEq)]
pub struct Cut {
    /// From the command to the end of its output.
    pub delay: Duration,
    /// How often it was told.
    pub told: u32,
    due: Option<Duration>,
    /// When it was told last.
    told_at: Duration,
    is_off: bool,
}

impl Cut {
    /// A UPS that was not told yet.
    pub fn after(delay: Duration) -> Self {
        Self { delay, told: 0, due: None, told_at: Duration::ZERO, is_off: false }
    }

    /// When its output ends, once it was told.
    pub(super) fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Whether its output is off.
    pub(super) fn is_off(&self) -> bool {
        self.is_off
    }
}

impl World {
    /// A magic packet, or a management controller's order. A host that is on, or boots already, does not mind.
    pub(super) fn wake(&mut self, node: &NodeName) {
        let (time, boot_at) = (self.time, self.time + self.pace.host_boot);
        let Some(host) = self.hosts.get_mut(node).filter(|host| !host.is_on && host.event.is_none()) else { return };
        match &mut host.deaf_to {
            None => {}
            Some(0) => (host.event, host.woken) = (Some(HostEvent::OnAt(boot_at)), Some(time)),
            Some(more) => *more -= 1,
        }
    }

    /// How many hosts began to boot because they were woken, within the last so long: their inrush comes together.
    pub fn woken_within(&self, span: Duration) -> usize {
        let is_recent = |at: Duration| self.time.saturating_sub(at) < span;
        self.hosts.values().filter(|host| host.woken.is_some_and(is_recent)).count()
    }

    /// The instant command: its delay begins, or begins anew.
    pub fn tell_to_cut(&mut self, ups: &UpsName) {
        let time = self.time;
        let battery = self.upses.get_mut(ups).filter(|battery| battery.device.cut != CutManner::Unknown);
        let Some(battery) = battery else { return };
        let shorter = if battery.device.cut == CutManner::OtherDelay { OTHER_DELAY } else { 1 };
        if let Some(cut) = battery.cut.as_mut() {
            cut.told += 1;
            cut.told_at = time;
            cut.due = Some(time + cut.delay / shorter);
        }
    }

    /// Output ends when the delay does, and returns with the mains: hosts then boot, as their firmware is set to.
    pub(super) fn move_cuts(&mut self, told: &mut Vec<String>) {
        let names: Vec<UpsName> = self.upses.keys().cloned().collect();
        for name in names {
            let time = self.time;
            let Some(battery) = self.upses.get_mut(&name) else { continue };
            let mains = battery.mains;
            let Some(cut) = battery.cut.as_mut() else { continue };
            if cut.due.is_some_and(|due| time >= due) {
                (cut.due, cut.is_off) = (None, true);
                told.push(format!("{name} cuts its load"));
                // Who booted after it was told is harmed by nothing that a step did.
                let told_at = cut.told_at;
                let is_cut = |host: &Host| {
                    host.is_writing() && host.booted <= told_at && !self.is_powered(&host.feeds, host.min_supplies)
                };
                let writing: Vec<_> = self.hosts.iter().filter(|(_, host)| is_cut(host)).collect();
                let harm: Vec<_> = writing.into_iter().map(|(name, _)| Harm::CutWhileWriting(name.clone())).collect();
                self.acts.harm.extend(harm);
                self.drop_unpowered(told);
            } else if cut.is_off && mains {
                cut.is_off = false;
                told.push(format!("{name} gives its load back"));
                self.mains_back(&name);
            }
        }
    }

    /// Whether a UPS counts down to the end of its output.
    pub fn is_load_ending(&self, ups: &UpsName) -> bool {
        self.upses.get(ups).and_then(|battery| battery.cut.as_ref()).is_some_and(|cut| cut.due.is_some())
    }

    /// Whether a UPS that feeds the hecate host counts down to the end of its output.
    pub fn is_own_load_ending(&self) -> bool {
        self.own_feeds.iter().any(|ups| self.is_load_ending(ups))
    }

    /// Whether the hecate host ever lost its power while it ran.
    pub fn own_was_cut(&self) -> bool {
        self.own_was_cut
    }
}

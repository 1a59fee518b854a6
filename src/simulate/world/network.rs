//! Who can be heard: hosts that have gone silent, a switch without a UPS, upsd on a node, and what is gone with the mains.
//!
//! Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::World;
use super::ups::Battery;
use crate::config::{Config, Witness};
use crate::model::{FailureKind, NodeName, Reading, UpsName};

/// A witness is looked at so often.
const WITNESS_INTERVAL: u64 = 5;

/// A network switch that no UPS feeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Switch {
    /// The UPS whose mains it has; without them it is off.
    pub mains_of: UpsName,
    /// The nodes that are behind it.
    pub nodes: BTreeSet<NodeName>,
    /// How long it takes to be there again.
    pub late_seconds: u64,
}

/// The network between hecate and everybody else.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Network {
    /// The switch, where there is one.
    pub switch: Option<Switch>,
    /// UPSes whose witness does not answer although it has its mains.
    pub silent_witnesses: BTreeSet<UpsName>,
    /// When the switch is there again; None: now.
    back_at: Option<Duration>,
}

impl World {
    /// Whether a node's host can be heard: it is on, its network works, and it has not left that behind on its way down.
    pub fn is_heard(&self, node: &NodeName) -> bool {
        let is_cut_off =
            self.is_switch_off() && self.network.switch.as_ref().is_some_and(|switch| switch.nodes.contains(node));
        !is_cut_off
            && self.hosts.get(node).is_some_and(|host| host.is_on && host.is_reachable && !host.is_silent(self.time))
    }

    /// Whether it answers with sense.
    pub fn answers(&self, node: &NodeName) -> bool {
        self.is_heard(node) && self.hosts.get(node).is_some_and(|host| !host.is_confused)
    }

    /// Whether the switch is off, or still on its way.
    pub fn is_switch_off(&self) -> bool {
        self.network.back_at.is_some()
    }

    pub(super) fn move_network(&mut self, told: &mut Vec<String>) {
        let Some(switch) = &self.network.switch else { return };
        let has_mains = self.upses.get(&switch.mains_of).is_none_or(|battery| battery.mains);
        if !has_mains {
            if self.network.back_at.is_none() {
                told.push("the switch is off".to_owned());
            }
            self.network.back_at = Some(self.time + Duration::from_secs(switch.late_seconds));
        } else if self.network.back_at.is_some_and(|at| self.time >= at) {
            self.network.back_at = None;
            told.push("the switch is back".to_owned());
        }
    }

    pub(super) fn next_network_change(&self) -> Option<Duration> {
        self.network.back_at
    }

    /// What upsd says instead of readings; None: it answers.
    pub(super) fn silence_of(&self, battery: &Battery) -> Option<FailureKind> {
        let is_away = battery.device.upsd_on.as_ref().is_some_and(|node| !self.is_heard(node))
            || battery.device.behind_switch && self.is_switch_off();
        if is_away {
            return Some(FailureKind::Unreachable);
        }
        (!battery.answers).then_some(battery.silence)
    }

    /// Whether a UPS' upsd answers.
    pub fn is_told(&self, name: &UpsName) -> bool {
        self.upses.get(name).is_some_and(|battery| self.silence_of(battery).is_none())
    }

    /// Whether what has no UPS on the mains of this one is there.
    pub fn has_witness(&self, name: &UpsName) -> bool {
        let has_mains = self.upses.get(name).is_some_and(|battery| battery.mains);
        has_mains && !self.network.silent_witnesses.contains(name) && !self.is_switch_off()
    }

    pub(super) fn observe_witness(&self, config: &Config, name: &UpsName) -> Option<Reading<bool>> {
        match config.upses.get(name)?.witness.as_ref()? {
            Witness::Address { .. } => {
                let began = Duration::from_secs(self.time.as_secs() / WITNESS_INTERVAL * WITNESS_INTERVAL);
                Some(Reading::known(self.has_witness(name), began))
            }
            Witness::Ups(_) => None,
        }
    }
}

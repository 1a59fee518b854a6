//! Every event in a line's words.
//!
//! Pure.

use std::collections::BTreeSet;
use std::fmt;

use super::Event;
use crate::model::{NodeName, UpsName};
use crate::simulate::world::ups::Lie;

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |ups: &Option<UpsName>| ups.as_ref().map_or_else(String::new, |ups| format!(" of {ups}"));
        let whose = |node: &Option<NodeName>| node.as_ref().map_or("the hecate host", NodeName::as_str).to_owned();
        match self {
            Event::MainsLost { ups } => write!(f, "mains{} are lost", of(ups)),
            Event::MainsBack { ups, boots: true } => write!(f, "mains{} are back", of(ups)),
            Event::MainsBack { ups, boots: false } => write!(f, "mains{} are back; what is off stays off", of(ups)),
            Event::Battery { ups, percent } => write!(f, "the battery{} holds {percent} %", of(ups)),
            Event::UpsSays { ups, says } if *says == Lie::default() => write!(f, "the UPS{} says the truth", of(ups)),
            Event::UpsSays { ups, says } => {
                write!(f, "the UPS{} says", of(ups))?;
                let status = says.status.iter().map(|it| format!(" \"{it}\""));
                let runtime = says.runtime.iter().map(|it| format!(" runtime {it}"));
                let charge = says.charge_percent.iter().map(|it| format!(" charge {it} %"));
                let load = says.load_percent.iter().map(|it| format!(" load {it} %"));
                let low = says.charge_low_percent.iter().map(|it| format!(" charge.low {it} %"));
                let device = says.device.iter().map(|it| format!(" device \"{it}\""));
                let figures = status.chain(runtime).chain(charge).chain(load);
                figures.chain(low).chain(device).try_for_each(|text| f.write_str(&text))
            }
            Event::UpsSilent { ups, .. } => write!(f, "the UPS{} does not answer", of(ups)),
            Event::HostSilent { node } => write!(f, "{node} does not answer"),
            Event::HostHangs { node } => write!(f, "{node} answers nonsense"),
            Event::PowerOffHangs { node } => write!(f, "{node} would hang in its power-off"),
            Event::BatteryReplaced { ups } => write!(f, "{ups} gets a new battery"),
            Event::WitnessSilent { ups } => write!(f, "the witness of {ups} does not answer"),
            Event::WitnessWell { ups } => write!(f, "the witness of {ups} is well"),
            Event::HostWell { node } => write!(f, "{node} is well"),
            Event::HostDies { node } => write!(f, "{node} dies"),
            Event::WakesLost { node, count: Some(count) } => {
                write!(f, "{node} does not hear the next {count} wake-ups")
            }
            Event::WakesLost { node, count: None } => write!(f, "{node} hears no wake-up"),
            Event::HostSlow { node, times } => write!(f, "{node} is {times} times as slow"),
            Event::ButtonPressed { node: Some(node) } => write!(f, "somebody switches {node} on"),
            Event::ButtonPressed { node: None } => f.write_str("somebody switches on what is off"),
            Event::OwnReboots => f.write_str("the hecate host boots anew"),
            Event::LeaderMoves { node } => write!(f, "{node} leads etcd"),
            Event::OwnButtonPressed => f.write_str("somebody switches the hecate host on"),
            Event::UnitStopped { node } => write!(f, "somebody stops k3s on {node}"),
            Event::UnitStarted { node } => write!(f, "somebody starts k3s on {node}"),
            Event::Cordoned { node } => write!(f, "somebody cordons {node}"),
            Event::PodsStopIn { seconds } => write!(f, "pods take {seconds} s to end"),
            Event::PodsProtected => f.write_str("a disruption budget protects every pod"),
            Event::VolumesDetachIn { seconds } => write!(f, "every pod has a volume that is detached in {seconds} s"),
            Event::Impostor { node } => write!(f, "another host stands at the address of {node}"),
            Event::ImpostorGone { node } => write!(f, "{node} is itself again"),
            Event::Steps { faults } => {
                let named: BTreeSet<String> = faults.iter().map(|it| format!("{it:?}").to_lowercase()).collect();
                let named: Vec<String> = named.into_iter().collect();
                write!(f, "the next {} steps go wrong ({})", faults.len(), named.join(", "))
            }
            Event::ApiGone => f.write_str("the API is gone"),
            Event::ApiBack => f.write_str("the API is back"),
            Event::ReadingsLate { seconds: 0, .. } => f.write_str("readings are in time"),
            Event::ReadingsLate { seconds, reordered: false } => write!(f, "readings are {seconds} s late"),
            Event::ReadingsLate { seconds, reordered: true } => write!(f, "every other reading is {seconds} s late"),
            Event::HecateKilled { .. } => f.write_str("somebody kills hecate"),
            Event::DiskFull => f.write_str("the state disk is full"),
            Event::DiskWorks => f.write_str("the state disk takes writes"),
            Event::LedgerSpoiled => f.write_str("ledger.json is nonsense"),
            Event::LedgerLost => f.write_str("ledger.json is gone"),
            Event::WishSpoiled => f.write_str("desired.yaml is nonsense"),
            Event::WishLost => f.write_str("desired.yaml is gone"),
            Event::Clock { node, ahead_seconds, synced } => {
                let sync = if *synced { "in sync" } else { "not in sync" };
                write!(f, "the clock of {} is {ahead_seconds} s ahead, {sync}", whose(node))
            }
            Event::PeerSays { peer, intent } => write!(f, "{peer} says {intent:?}"),
            Event::PeerSilent { peer } => write!(f, "{peer} does not answer"),
            Event::Wish { state, .. } => write!(f, "somebody wishes {state}"),
            Event::Paused { node, minutes } => {
                let what = node.as_ref().map_or("the cluster", NodeName::as_str);
                write!(f, "somebody pauses {what} for {minutes} min")
            }
            Event::UpsIgnored { ups, minutes } => write!(f, "somebody has {ups} ignored for {minutes} min"),
        }
    }
}

//! Everything hecate can ever do, one variant each.
//!
//! Pure. Steps are idempotent, and believed done only when a later snapshot shows their effect.

#![deny(clippy::disallowed_methods)]

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{BootId, MachineId, NodeName, Path, RunId, Uid, Unit, UpsName, seconds};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Step {
    /// `sudo systemctl start --no-block UNIT`.
    StartUnit {
        /// Where.
        node: NodeName,
        /// What.
        unit: Unit,
        /// The host it must be; None where it was never learned.
        machine_id: Option<MachineId>,
    },
    /// `sudo systemctl stop UNIT`.
    StopUnit {
        /// Where.
        node: NodeName,
        /// What.
        unit: Unit,
        /// The host it must be; None where it was never learned.
        machine_id: Option<MachineId>,
        /// On which path; the last look before it depends on it.
        path: Path,
        /// Whether the node must be empty of pods that a drain owes: the actor looks once more.
        must_be_drained: bool,
    },
    /// `sudo k3s-killall.sh`: ends the containers that outlived the unit.
    KillContainers {
        /// Where.
        node: NodeName,
        /// The host it must be; None where it was never learned.
        machine_id: Option<MachineId>,
    },
    /// Marks a node unschedulable and says who did, in one patch.
    Cordon {
        /// Which.
        node: NodeName,
        /// The run that does it, for the annotation.
        run: RunId,
    },
    /// Takes back hecate's own cordon.
    Uncordon {
        /// Which.
        node: NodeName,
    },
    /// Evicts these pods and waits until they are gone.
    Drain {
        /// From which node.
        node: NodeName,
        /// Which pods.
        pods: Vec<PodRef>,
        /// How long a disruption budget may refuse before the pod is deleted, its grace kept.
        #[serde(with = "seconds")]
        #[schemars(with = "f64")]
        pdb_grace: Duration,
    },
    /// `sudo systemd-run --unit=hecate-etcd-snapshot ... k3s etcd-snapshot save --name hecate-RUN`.
    SaveEtcdSnapshot {
        /// On which control plane.
        node: NodeName,
        /// Whose run; the snapshot's name tells it.
        run: RunId,
        /// The host it must be; None where it was never learned.
        machine_id: Option<MachineId>,
    },
    /// `sudo systemctl poweroff`.
    PowerOff {
        /// Which.
        node: NodeName,
        /// The host it must be; None where it was never learned.
        machine_id: Option<MachineId>,
        /// The boot that is told; a host that has come back since is another.
        boot_id: Option<BootId>,
        /// On which path.
        path: Path,
    },
    /// Powers off the host hecate runs on.
    PowerOffOwnHost {
        /// On which path.
        path: Path,
    },
    /// Switches a host on, by its configured method. A host that is on already does not mind.
    Wake {
        /// Which.
        node: NodeName,
    },
    /// Tells a UPS to cut its load after its delay and to return with the mains.
    CutLoad {
        /// Which.
        ups: UpsName,
        /// Whether it also feeds the host hecate runs on, which must then be able to power itself off.
        feeds_own_host: bool,
    },
}

/// A pod to evict.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID, a precondition: a pod made anew is never evicted in its place.
    pub uid: Uid,
}

/// What a step acts on. At most one step is in flight a target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// A node: its host or its Node object.
    Node(NodeName),
    /// The host hecate runs on.
    OwnHost,
    /// A UPS.
    Ups(UpsName),
}

impl Target {
    /// The node, where it is one.
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Target::Node(node) => Some(node),
            Target::OwnHost | Target::Ups(_) => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Node(node) => f.pad(node.as_str()),
            Target::OwnHost => f.pad("this host"),
            Target::Ups(ups) => f.pad(ups.as_str()),
        }
    }
}

/// How hecate learns that a step has had its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A later snapshot shows it.
    Observed,
    /// Nothing shows it: it is in the ledger before it is done, with the boot id, and not repeated.
    AtMostOnce,
}

impl Step {
    /// The variant's name, for metric labels, failpoints and records.
    pub fn name(&self) -> &'static str {
        match self {
            Step::StartUnit { .. } => "start-unit",
            Step::StopUnit { .. } => "stop-unit",
            Step::KillContainers { .. } => "kill-containers",
            Step::Cordon { .. } => "cordon",
            Step::Uncordon { .. } => "uncordon",
            Step::Drain { .. } => "drain",
            Step::SaveEtcdSnapshot { .. } => "save-etcd-snapshot",
            Step::PowerOff { .. } => "power-off",
            Step::PowerOffOwnHost { .. } => "power-off-own-host",
            Step::Wake { .. } => "wake",
            Step::CutLoad { .. } => "cut-load",
        }
    }

    /// Tells steps apart for the record of attempts: the name and what it acts on.
    pub fn key(&self) -> String {
        format!("{} {}", self.name(), self.target())
    }

    /// What it acts on.
    pub fn target(&self) -> Target {
        match self {
            Step::StartUnit { node, .. }
            | Step::StopUnit { node, .. }
            | Step::KillContainers { node, .. }
            | Step::Cordon { node, .. }
            | Step::Uncordon { node }
            | Step::Drain { node, .. }
            | Step::SaveEtcdSnapshot { node, .. }
            | Step::PowerOff { node, .. }
            | Step::Wake { node } => Target::Node(node.clone()),
            Step::PowerOffOwnHost { .. } => Target::OwnHost,
            Step::CutLoad { ups, .. } => Target::Ups(ups.clone()),
        }
    }

    /// The node it acts on.
    pub fn node(&self) -> Option<NodeName> {
        self.target().node().cloned()
    }

    /// The host that it switches on.
    pub fn woken(&self) -> Option<&NodeName> {
        if let Step::Wake { node } = self { Some(node) } else { None }
    }

    /// How its effect is seen.
    pub fn evidence(&self) -> Evidence {
        match self {
            Step::StartUnit { .. }
            | Step::StopUnit { .. }
            | Step::KillContainers { .. }
            | Step::Cordon { .. }
            | Step::Uncordon { .. }
            | Step::Drain { .. }
            | Step::SaveEtcdSnapshot { .. }
            | Step::Wake { .. } => Evidence::Observed,
            Step::PowerOff { .. } | Step::PowerOffOwnHost { .. } | Step::CutLoad { .. } => Evidence::AtMostOnce,
        }
    }

    /// Whether the ledger must be on disk before it starts: it relies on the episode's phase, run id, or mark.
    pub fn relies_on_ledger(&self) -> bool {
        match self {
            Step::StopUnit { .. }
            | Step::Cordon { .. }
            | Step::SaveEtcdSnapshot { .. }
            | Step::PowerOff { .. }
            | Step::PowerOffOwnHost { .. }
            | Step::CutLoad { .. } => true,
            Step::StartUnit { .. }
            | Step::KillContainers { .. }
            | Step::Uncordon { .. }
            | Step::Drain { .. }
            | Step::Wake { .. } => false,
        }
    }

    /// Whether it may start on battery before its ledger is on disk. A load that is cut twice takes the power from a host that
    /// has just come back; and a wish that is carried out by this host's own power-off would be carried out once more at its
    /// next boot.
    pub fn may_go_without_ledger(&self, is_override: bool) -> bool {
        match self {
            Step::CutLoad { .. } => false,
            Step::PowerOffOwnHost { .. } => is_override,
            Step::StartUnit { .. }
            | Step::StopUnit { .. }
            | Step::KillContainers { .. }
            | Step::Cordon { .. }
            | Step::Uncordon { .. }
            | Step::Drain { .. }
            | Step::SaveEtcdSnapshot { .. }
            | Step::PowerOff { .. }
            | Step::Wake { .. } => true,
        }
    }

    /// Whether it takes something away that is running.
    pub fn is_disruptive(&self) -> bool {
        match self {
            Step::StartUnit { .. } | Step::Uncordon { .. } | Step::SaveEtcdSnapshot { .. } | Step::Wake { .. } => false,
            Step::StopUnit { .. }
            | Step::KillContainers { .. }
            | Step::Cordon { .. }
            | Step::Drain { .. }
            | Step::PowerOff { .. }
            | Step::PowerOffOwnHost { .. }
            | Step::CutLoad { .. } => true,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::StartUnit { node, unit, .. } => write!(f, "start {unit} on {node}"),
            Step::StopUnit { node, unit, .. } => write!(f, "stop {unit} on {node}"),
            Step::KillContainers { node, .. } => write!(f, "end containers on {node}"),
            Step::Cordon { node, .. } => write!(f, "cordon {node}"),
            Step::Uncordon { node } => write!(f, "uncordon {node}"),
            Step::Drain { node, pods, .. } => match pods.len() {
                1 => write!(f, "drain {node} (1 pod)"),
                count => write!(f, "drain {node} ({count} pods)"),
            },
            Step::SaveEtcdSnapshot { node, .. } => write!(f, "save etcd snapshot on {node}"),
            Step::PowerOff { node, .. } => write!(f, "power off {node}"),
            Step::PowerOffOwnHost { .. } => write!(f, "power off this host"),
            Step::Wake { node } => write!(f, "wake {node}"),
            Step::CutLoad { ups, .. } => write!(f, "cut the load of UPS {ups} until its mains are there"),
        }
    }
}

/// How an attempt at a step ended. Never "done": only a later snapshot says that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Everything it consists of was carried out.
    Tried,
    /// The last look found its guard broken; nothing was done.
    Refused {
        /// What the last look saw.
        evidence: String,
    },
    /// The last look found the right host in another boot than was meant; nothing was done.
    OtherBoot {
        /// The boot that it is in.
        boot_id: BootId,
    },
    /// It could not be carried out, or only in part.
    Failed {
        /// Why; names the host.
        why: String,
    },
    /// Its deadline passed; what it began goes on by itself.
    DeadlinePassed,
    /// It is no longer waited for.
    Cancelled,
}

impl Outcome {
    /// Why a step that was meant for another boot of the host is refused.
    pub const OTHER_BOOT: &str = "the host has been booted since";
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Tried => f.write_str("tried, no effect seen yet"),
            Outcome::Refused { evidence } => write!(f, "refused: {evidence}"),
            Outcome::OtherBoot { .. } => write!(f, "refused: {}", Outcome::OTHER_BOOT),
            Outcome::Failed { why } => f.write_str(why),
            Outcome::DeadlinePassed => f.write_str("its time was up"),
            Outcome::Cancelled => f.write_str("no longer waited for"),
        }
    }
}

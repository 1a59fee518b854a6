//! What the built-in world does when a step asks for it, and what goes wrong on the way there.
//!
//! Pure. As the real hands do, a step looks once more at its one guard before it acts; see `act/`.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ups::Battery;
use super::{Host, HostEvent, OwnEvent, World};
use crate::model::{BootId, MachineId, NodeName, Path, Role};
use crate::plan::Planned;
use crate::plan::step::{Outcome, PodRef, Step, Target};
use crate::snapshot::{UnitState, UpsStatus, UpsWord};

/// How long a host that does not answer is waited for; what `ssh_connect_timeout_seconds` is on small clusters.
const CONNECT: Duration = Duration::from_secs(5);
/// A command that only hands something over.
const MOMENT: Duration = Duration::from_secs(1);

/// It takes a moment until everybody has heard of mains that are back.
const HEARD: Duration = Duration::from_secs(4);
/// A host that comes back so soon after it was told comes back from that.
const LATER: Duration = Duration::from_secs(3600);

/// What goes wrong with a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepFault {
    /// It says that it was carried out, and nothing happened.
    Lost,
    /// It is carried out twice.
    Doubled,
    /// Nothing happens and nobody answers, up to its deadline.
    Hung,
    /// It is carried out, and nobody answers, up to its deadline.
    Unanswered,
    /// It fails at once, with nothing done.
    Failed,
}

/// Something that a step did and that no step may do, whatever went wrong on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Harm {
    /// A host was powered off on the graceful path while it ran a workload.
    Undrained(NodeName),
    /// A host was powered off in another boot than the one that the step was meant for.
    LaterBoot(NodeName),
    /// A second etcd snapshot was taken in one run.
    SecondSnapshot(NodeName),
    /// Something was done to a host that stands at another one's address.
    Impostor(NodeName),
    /// A load was cut while a host that it feeds was on.
    CutWhileOn(NodeName),
    /// The output ended while a host that was told to power off, and has fallen silent, still wrote.
    CutWhileWriting(NodeName),
}

/// A step that runs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Doing {
    step: Step,
    began: Duration,
    deadline: Duration,
    ends: Option<Duration>,
    fault: Option<StepFault>,
    refused: Option<Outcome>,
}

/// Everything that runs, ended, or is about to go wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Acts {
    /// What goes wrong with the next steps that are begun, in this order.
    pub faults: VecDeque<StepFault>,
    /// Whether graceful power-offs of nodes with a workload are meant: the wish says `--skip-drain`.
    pub skips_drain: bool,
    /// What no step may do, and one did.
    pub harm: Vec<Harm>,
    pub(super) doing: Vec<Doing>,
    pub(super) ended: Vec<(Target, Outcome)>,
}

impl World {
    /// Begins what a step asks for.
    pub fn begin(&mut self, planned: &Planned) {
        let step = planned.step.clone();
        let fault = self.acts.faults.pop_front();
        let refused = self.refusal(&step);
        let is_void = refused.is_some() || matches!(fault, Some(StepFault::Lost | StepFault::Hung | StepFault::Failed));
        let mut takes = Some(MOMENT);
        let impostor = self.impostor(&step);
        if is_void || !self.can_be_reached(&step) {
            // Nobody hears of it.
        } else if impostor.is_some() {
            self.acts.harm.extend(impostor);
        } else {
            takes = self.carry_out(&step);
            if fault == Some(StepFault::Doubled) {
                takes = self.carry_out(&step);
            }
        }
        self.acts.doing.push(Doing {
            step,
            began: self.time,
            deadline: self.time + planned.limit,
            ends: takes.map(|takes| self.time + takes),
            fault,
            refused,
        });
    }

    /// hecate no longer waits for a step; what it began goes on.
    pub fn cancel(&mut self, target: &Target) {
        self.acts.doing.retain(|doing| doing.step.target() != *target);
        self.acts.ended.push((target.clone(), Outcome::Cancelled));
    }

    /// hecate was killed: nobody waits any more.
    pub fn forget_waiters(&mut self) {
        self.acts.doing.clear();
        self.acts.ended.clear();
    }

    /// What ended since it was asked last.
    pub fn take_ended(&mut self) -> Vec<(Target, Outcome)> {
        std::mem::take(&mut self.acts.ended)
    }

    /// When the next step ends by itself.
    pub(super) fn next_end(&self) -> Option<Duration> {
        self.acts.doing.iter().map(|one| one.ends.map_or(one.deadline, |ends| ends.min(one.deadline))).min()
    }

    /// The last look: the right host, in the boot that was meant, drained where that matters.
    fn refusal(&self, step: &Step) -> Option<Outcome> {
        if let Some(evidence) = self.guard_broken(step) {
            return Some(Outcome::Refused { evidence });
        }
        let Step::PowerOff { node, boot_id: Some(meant), .. } = step else { return None };
        let answering = self.answering_boot_id(node).filter(|answering| answering != meant)?;
        Some(Outcome::OtherBoot { boot_id: answering })
    }

    fn guard_broken(&self, step: &Step) -> Option<String> {
        let is_other = |node: &NodeName, machine_id: Option<&MachineId>| {
            self.answering_boot_id(node)?;
            let is_another = machine_id.is_some_and(|id| *id != self.answering_machine_id(node));
            is_another.then(|| format!("the host behind {node} is another one"))
        };
        match step {
            Step::StartUnit { node, machine_id, .. }
            | Step::KillContainers { node, machine_id }
            | Step::SaveEtcdSnapshot { node, machine_id, .. }
            | Step::PowerOff { node, machine_id, .. } => is_other(node, machine_id.as_ref()),
            Step::StopUnit { node, machine_id, must_be_drained, .. } => {
                is_other(node, machine_id.as_ref()).or_else(|| {
                    (*must_be_drained && self.has_workload(node)).then(|| format!("{node} still runs a workload"))
                })
            }
            Step::Cordon { .. }
            | Step::Uncordon { .. }
            | Step::Drain { .. }
            | Step::PowerOffOwnHost { .. }
            | Step::Wake { .. }
            | Step::CutLoad { .. } => None,
        }
    }

    /// A host that is not the node's, where a step acts on it over SSH.
    fn impostor(&self, step: &Step) -> Option<Harm> {
        let node = match step {
            Step::StartUnit { node, .. }
            | Step::StopUnit { node, .. }
            | Step::KillContainers { node, .. }
            | Step::SaveEtcdSnapshot { node, .. }
            | Step::PowerOff { node, .. } => node,
            Step::Cordon { .. }
            | Step::Uncordon { .. }
            | Step::Drain { .. }
            | Step::PowerOffOwnHost { .. }
            | Step::Wake { .. }
            | Step::CutLoad { .. } => return None,
        };
        self.around.impostors.contains(node).then(|| Harm::Impostor(node.clone()))
    }

    /// Does it, as far as it is done at once; says how long it takes, None where its end is seen by other means.
    fn carry_out(&mut self, step: &Step) -> Option<Duration> {
        match step {
            Step::StartUnit { node, .. } => self.start_unit(node),
            Step::StopUnit { node, .. } => self.stop_unit(node),
            Step::KillContainers { .. } | Step::Cordon { .. } | Step::Uncordon { .. } => Some(MOMENT),
            Step::Drain { pods, pdb_grace, .. } => {
                self.evict(pods, *pdb_grace);
                None
            }
            Step::SaveEtcdSnapshot { node, run, .. } => {
                let prefix = format!("hecate-{run}");
                // What is on a host that nobody can look at may as well not be there.
                let shows = |node: &NodeName| self.answers(node) && !self.around.impostors.contains(node);
                let seen = self.etcd_snapshots.iter().filter(|(node, _)| shows(node));
                let saving = self.hosts.iter().filter_map(|(node, host)| Some((node, &host.saving.as_ref()?.1)));
                // On the same host the unit that saves is there already, and is not started twice.
                let saving = saving.filter(|(other, _)| *other != node && shows(other)).map(|(_, name)| name);
                let made = seen.flat_map(|(_, names)| names).chain(saving).any(|name| name.starts_with(&prefix));
                if made {
                    self.acts.harm.push(Harm::SecondSnapshot(node.clone()));
                }
                let takes = self.hosts.get(node).and_then(|host| host.pace).unwrap_or(self.pace).etcd_snapshot;
                let until = self.time + takes;
                self.on_host(node, |host| _ = host.saving.get_or_insert_with(|| (until, format!("{prefix}-{node}"))));
                Some(takes)
            }
            Step::PowerOff { node, boot_id, path, .. } => {
                self.power_off(node, boot_id.as_ref(), *path);
                Some(MOMENT)
            }
            Step::Wake { node } => {
                self.wake(node);
                Some(MOMENT)
            }
            Step::CutLoad { ups, .. } => {
                let fed = self.hosts.iter().find(|(_, host)| host.feeds.contains(ups) && host.is_on);
                if let Some((name, _)) = fed {
                    self.acts.harm.push(Harm::CutWhileOn(name.clone()));
                }
                self.tell_to_cut(ups);
                Some(MOMENT)
            }
            Step::PowerOffOwnHost { .. } => {
                if !matches!(self.own_event, Some(OwnEvent::OffAt(_))) {
                    self.own_event = Some(OwnEvent::OffAt(self.time + self.pace.host_stop));
                }
                Some(MOMENT)
            }
        }
    }

    fn power_off(&mut self, node: &NodeName, boot_id: Option<&BootId>, path: Path) {
        let runs_workload = self.has_workload(node) && !self.acts.skips_drain;
        let is_heard = self.is_heard(node);
        let Some(host) = self.hosts.get_mut(node).filter(|_| is_heard) else { return };
        // Who was told in an emergency goes off already.
        if path == Path::Graceful && runs_workload && !host.is_going_off() {
            self.acts.harm.push(Harm::Undrained(node.clone()));
        }
        // Only the boot that was meant may be ended. Where none could be named, it is not one that came after a host was told,
        // once all mains are back, and said to be.
        let says_ob = |ups: &Battery| UpsStatus::parse(&ups.words()).has(UpsWord::Ob);
        let is_new = self.upses.values().any(|ups| !ups.has_mains_for(self.time, HEARD) || says_ob(ups));
        let is_again = |(boot, at)| boot != host.boot && self.time.saturating_sub(at) < LATER;
        let is_later = !is_new && host.told.is_some_and(is_again);
        if boot_id.map_or(is_later, |id| *id != host.boot_id(node)) {
            self.acts.harm.push(Harm::LaterBoot(node.clone()));
        }
        host.told = Some((host.boot, self.time));
        // A host that shuts down already is not made to begin anew.
        if !matches!(host.event, Some(HostEvent::OffAt(_))) {
            let silent_at = self.time + host.pace.unwrap_or(self.pace).host_stop * host.slowness;
            host.event = Some(HostEvent::OffAt(silent_at + host.tail));
            host.silent_at = (!host.tail.is_zero() || host.hangs).then_some(silent_at);
            host.power_offs += 1;
        }
    }

    fn start_unit(&mut self, node: &NodeName) -> Option<Duration> {
        let is_heard = self.is_heard(node);
        let host = self.hosts.get_mut(node)?;
        let pace = host.pace.unwrap_or(self.pace);
        let takes = match host.role {
            Role::ControlPlane => pace.server_start,
            Role::Worker => pace.agent_start,
        };
        if is_heard && host.unit == UnitState::Stopped {
            host.unit = UnitState::Starting;
            host.unit_until = Some(self.time + takes * host.slowness);
        }
        Some(MOMENT)
    }

    fn stop_unit(&mut self, node: &NodeName) -> Option<Duration> {
        let is_heard = self.is_heard(node);
        let host = self.hosts.get_mut(node)?;
        let takes = (host.pace.unwrap_or(self.pace).unit_stop * host.slowness).min(host.stop_timeout);
        if is_heard && matches!(host.unit, UnitState::Running | UnitState::Starting) {
            host.unit = UnitState::Stopping;
            host.unit_until = Some(self.time + takes);
        }
        Some(takes)
    }

    pub(super) fn move_steps(&mut self) {
        let time = self.time;
        let doing = std::mem::take(&mut self.acts.doing);
        for one in doing {
            match self.outcome(&one, time) {
                Some(outcome) => {
                    let is_void = matches!(one.fault, Some(StepFault::Lost | StepFault::Failed | StepFault::Hung));
                    let was_done = matches!(outcome, Outcome::Tried | Outcome::DeadlinePassed);
                    if was_done && !is_void && one.ends.is_some_and(|ends| time >= ends) {
                        self.take_effect(&one.step);
                    }
                    self.acts.ended.push((one.step.target(), outcome));
                }
                None => self.acts.doing.push(one),
            }
        }
    }

    fn outcome(&self, doing: &Doing, time: Duration) -> Option<Outcome> {
        let elapsed = time.saturating_sub(doing.began);
        let is_late = time >= doing.deadline;
        if let Some(refused) = &doing.refused {
            return Some(refused.clone());
        }
        match doing.fault {
            Some(StepFault::Failed) => return Some(Outcome::Failed { why: "it failed".to_owned() }),
            Some(StepFault::Hung | StepFault::Unanswered) => return is_late.then_some(Outcome::DeadlinePassed),
            Some(StepFault::Lost) => return (elapsed >= MOMENT).then_some(Outcome::Tried),
            Some(StepFault::Doubled) | None => {}
        }
        if !self.can_be_reached(&doing.step) {
            // A drain waits for the API by itself.
            if matches!(doing.step, Step::Drain { .. }) && !is_late {
                return None;
            }
            let why = format!("{} does not answer", doing.step.target());
            return (elapsed >= CONNECT).then_some(Outcome::Failed { why });
        }
        if let Step::Drain { pods, .. } = &doing.step {
            let is_gone = |one: &PodRef| !self.pods.iter().any(|pod| pod.object.uid == one.uid);
            if pods.iter().all(is_gone) {
                return Some(Outcome::Tried);
            }
        }
        if doing.ends.is_some_and(|ends| time >= ends) {
            return Some(Outcome::Tried);
        }
        is_late.then_some(Outcome::DeadlinePassed)
    }

    /// Whether whoever must take the step's command answers.
    fn can_be_reached(&self, step: &Step) -> bool {
        match step {
            Step::StartUnit { node, .. }
            | Step::StopUnit { node, .. }
            | Step::KillContainers { node, .. }
            | Step::SaveEtcdSnapshot { node, .. }
            | Step::PowerOff { node, .. } => self.is_heard(node),
            Step::Cordon { .. } | Step::Uncordon { .. } | Step::Drain { .. } => self.has_api(),
            Step::PowerOffOwnHost { .. } | Step::Wake { .. } | Step::CutLoad { .. } => true,
        }
    }

    /// What a step changes at its end; what it changes at its beginning was done when it was begun.
    fn take_effect(&mut self, step: &Step) {
        match step {
            Step::Cordon { node, run } => {
                if let Some(object) = self.objects.get_mut(node).filter(|object| !object.is_cordoned) {
                    object.is_cordoned = true;
                    object.cordoned_by = Some(run.to_string());
                }
            }
            Step::Uncordon { node } => {
                if let Some(object) = self.objects.get_mut(node).filter(|object| object.cordoned_by.is_some()) {
                    object.is_cordoned = false;
                    object.cordoned_by = None;
                }
            }
            Step::KillContainers { node, .. } => {
                if let Some(host) = self.hosts.get_mut(node) {
                    (host.system_containers, host.is_killed) = (0, true);
                }
            }
            Step::StartUnit { .. }
            | Step::StopUnit { .. }
            | Step::Drain { .. }
            | Step::SaveEtcdSnapshot { .. }
            | Step::PowerOff { .. }
            | Step::PowerOffOwnHost { .. }
            | Step::Wake { .. }
            | Step::CutLoad { .. } => {}
        }
    }
}

impl Host {
    /// The id of its present boot.
    pub(super) fn boot_id(&self, name: &NodeName) -> BootId {
        BootId::new(format!("{name}-{}", self.boot))
    }
}

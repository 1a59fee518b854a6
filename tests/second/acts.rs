//! Carries steps out: over SSH, through the API, on the hecate host, to a UPS.

use hecate::model::{MachineId, NodeName};
use hecate::plan::Planned;
use hecate::plan::step::{Outcome, PodRef, Step};

use super::daemon::Life;
use super::host::UnitIs;
use super::world::{World, boot_id};

/// How long ssh tries to connect.
const CONNECT: f64 = 10.0;

/// A step that is being carried out.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    /// What.
    pub(crate) planned: Planned,
    /// When its command arrives.
    arrives: f64,
    /// Whether it has.
    is_there: bool,
    /// When it is no longer waited for.
    deadline: f64,
}

/// What a look at an act shows.
enum Course {
    /// It goes on.
    On,
    /// It ended.
    Ended(Outcome),
}

impl World {
    /// Begins a step.
    pub(crate) fn act(&mut self, planned: Planned) -> Act {
        let deadline = self.now + planned.limit.as_secs_f64();
        Act { arrives: self.now + 0.2 + self.rng.f64() * 1.2, is_there: false, deadline, planned }
    }

    /// Takes all acts further.
    pub(crate) fn advance(&mut self, life: &mut Life) {
        let mut number = 0;
        while number < life.acts.len() {
            let mut act = life.acts[number].clone();
            let course = self.further(&mut act);
            match course {
                Course::On => {
                    life.acts[number] = act;
                    number += 1;
                }
                Course::Ended(outcome) => {
                    let _ = life.acts.remove(number);
                    self.judge.say(self.now, format!("    {}: {outcome:?}", act.planned.step));
                    self.end(life, act.planned.step.target(), outcome);
                }
            }
        }
    }

    fn further(&mut self, act: &mut Act) -> Course {
        if self.now >= act.deadline {
            return Course::Ended(Outcome::DeadlinePassed);
        }
        if self.now < act.arrives {
            return Course::On;
        }
        if !act.is_there {
            if let Some(course) = self.arrive(act) {
                return course;
            }
            act.is_there = true;
        }
        self.wait(&act.planned.step)
    }

    /// Whether the command arrives at its host, and is the one that is meant; None goes on.
    fn arrive(&mut self, act: &Act) -> Option<Course> {
        let step = act.planned.step.clone();
        match &step {
            Step::StartUnit { node, machine_id, .. }
            | Step::StopUnit { node, machine_id, .. }
            | Step::KillContainers { node, machine_id }
            | Step::SaveEtcdSnapshot { node, machine_id, .. }
            | Step::PowerOff { node, machine_id, .. } => self.over_ssh(act, &step, node, machine_id.as_ref()),
            Step::Cordon { .. } | Step::Uncordon { .. } | Step::Drain { .. } => self.through_api(&step),
            Step::PowerOffOwnHost { .. } => {
                let own = self.site.own;
                self.hosts[own].power_off(&self.site.hosts[own], self.now);
                Some(Course::Ended(Outcome::Tried))
            }
            Step::Wake { node } => Some(Course::Ended(self.wake(node))),
            Step::CutLoad { ups, .. } => Some(Course::Ended(self.cut_load(ups.as_str()))),
        }
    }

    fn over_ssh(&mut self, act: &Act, step: &Step, node: &NodeName, machine: Option<&MachineId>) -> Option<Course> {
        let Some(host) = self.site.host(node) else {
            return Some(Course::Ended(Outcome::Failed { why: format!("no host {node}") }));
        };
        if !self.reaches(host) || !self.hosts[host].answers(self.now) {
            let late = self.now - act.arrives >= CONNECT;
            let failed = Outcome::Failed { why: format!("connect to {node}: no answer") };
            return Some(if late { Course::Ended(failed) } else { Course::On });
        }
        if machine.is_some_and(|id| *id != self.site.hosts[host].machine_id()) {
            return Some(Course::Ended(Outcome::Refused { evidence: "another machine id".to_owned() }));
        }
        self.on_host(step, host)
    }

    /// The command runs on its host; None where its end must be waited for.
    fn on_host(&mut self, step: &Step, host: usize) -> Option<Course> {
        let (spec, now) = (self.site.hosts[host].clone(), self.now);
        match step {
            Step::StartUnit { .. } => self.hosts[host].start_unit(now),
            Step::StopUnit { must_be_drained, .. } => {
                let serves = self.cluster.any_serves(&self.site, &self.hosts, now);
                if *must_be_drained && serves && self.cluster.owes_drain(host) {
                    return Some(Course::Ended(Outcome::Refused { evidence: "pods are there".to_owned() }));
                }
                self.hosts[host].stop_unit(&spec, now);
                return None;
            }
            Step::KillContainers { .. } => self.hosts[host].containers = 0,
            Step::SaveEtcdSnapshot { run, node, .. } => {
                let name = format!("hecate-{run}-{node}-{:.0}", now);
                let took = 2.0 + self.rng.f64() * 12.0;
                self.hosts[host].saving_until.get_or_insert((now + took, name));
                return None;
            }
            Step::PowerOff { boot_id: told, .. } => {
                let present = boot_id(&spec.name, self.hosts[host].boot);
                if told.as_ref().is_some_and(|told| *told != present) {
                    return Some(Course::Ended(Outcome::OtherBoot { boot_id: present }));
                }
                self.hosts[host].power_off(&spec, now);
            }
            Step::Cordon { .. }
            | Step::Uncordon { .. }
            | Step::Drain { .. }
            | Step::PowerOffOwnHost { .. }
            | Step::Wake { .. }
            | Step::CutLoad { .. } => {}
        }
        Some(Course::Ended(Outcome::Tried))
    }

    /// A change through the API.
    fn through_api(&mut self, step: &Step) -> Option<Course> {
        let now = self.now;
        let reached = self.site.nodes().any(|host| self.cluster.serves(&self.hosts, host, now) && self.reaches(host));
        let host = step.node().and_then(|node| self.site.host(&node));
        let (true, Some(host)) = (reached, host) else {
            return Some(Course::Ended(Outcome::Failed { why: "no API server answers".to_owned() }));
        };
        match step {
            Step::Cordon { run, .. } => {
                self.cluster.nodes[host].cordoned_by.get_or_insert(run.to_string());
            }
            Step::Uncordon { .. } => self.cluster.nodes[host].cordoned_by = None,
            Step::Drain { pods, pdb_grace, .. } => {
                self.cluster.evict(host, pods, pdb_grace.as_secs_f64(), now);
                return None;
            }
            Step::StartUnit { .. }
            | Step::StopUnit { .. }
            | Step::KillContainers { .. }
            | Step::SaveEtcdSnapshot { .. }
            | Step::PowerOff { .. }
            | Step::PowerOffOwnHost { .. }
            | Step::Wake { .. }
            | Step::CutLoad { .. } => {}
        }
        Some(Course::Ended(Outcome::Tried))
    }

    /// Steps whose end is waited for.
    fn wait(&self, step: &Step) -> Course {
        let host = step.node().and_then(|node| self.site.host(&node));
        let Some(host) = host else { return Course::Ended(Outcome::Tried) };
        let is_over = match step {
            Step::StopUnit { .. } => self.hosts[host].unit == UnitIs::Stopped || !self.hosts[host].answers(self.now),
            Step::SaveEtcdSnapshot { .. } => self.hosts[host].saving_until.is_none(),
            Step::Drain { pods, .. } => !self.has_any(host, pods),
            Step::StartUnit { .. }
            | Step::KillContainers { .. }
            | Step::Cordon { .. }
            | Step::Uncordon { .. }
            | Step::PowerOff { .. }
            | Step::PowerOffOwnHost { .. }
            | Step::Wake { .. }
            | Step::CutLoad { .. } => true,
        };
        if is_over { Course::Ended(Outcome::Tried) } else { Course::On }
    }

    fn has_any(&self, host: usize, pods: &[PodRef]) -> bool {
        self.cluster.has_any(host, pods)
    }

    /// A magic packet, or a plug.
    fn wake(&mut self, node: &NodeName) -> Outcome {
        let host = self.site.host(node);
        if let Some(host) = host.filter(|host| self.site.hosts[*host].wake == Some(true) && self.reaches(*host)) {
            self.hosts[host].wake(self.now);
        }
        Outcome::Tried
    }

    /// `shutdown.return`.
    fn cut_load(&mut self, name: &str) -> Outcome {
        let Some(ups) = self.site.ups(name) else { return Outcome::Failed { why: format!("no UPS {name}") } };
        let is_there = self.reaches_upsd(ups) && self.drivers[ups].answer(&self.site.upses[ups], self.now).is_ok();
        let Some((delay, _)) = self.site.upses[ups].cut_delay.filter(|_| is_there) else {
            return Outcome::Failed { why: format!("{name} does not answer") };
        };
        self.upses[ups].cuts_at = Some(self.now + delay);
        self.upses[ups].cut_told = self.now;
        Outcome::Tried
    }
}

//! How long a shutdown takes: learned from past runs, and how much of it is still to come.
//!
//! Pure. The slow case is what matters while a battery drains, so everything learned is a high quantile with the number of
//! its samples, never a mean; a path's budget never falls below the configured floor, because an empty cluster shuts down
//! fast and teaches nothing.

#![deny(clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{Config, Node};
use crate::history::{History, Run, RunResult};
use crate::ledger::{Ledger, Phase};
use crate::model::{ClusterState, NodeName, Path, Role};
use crate::plan::step::Outcome;
use crate::snapshot::{HostReading, Snapshot, UnitState};
use crate::status::SlowStep;

/// So many runs must have been seen before the estimate is learned and not configured: with fewer, one lucky run rules.
pub const SAMPLES_MIN: usize = 3;

/// So many of the latest runs count: a cluster that shrank or grew a year ago must not rule for ever.
pub const SAMPLES_MAX: usize = 20;

/// The quantile that is taken (nearest rank): with up to 19 samples the slowest, with 20 the slowest but one.
pub const QUANTILE: f64 = 0.95;

/// The record's name for the time from a power-off until its host was silent.
pub const HOST_OFF: &str = "host-off";

/// Shares of a descent before anything was learned, in seconds: only their proportions count. A drain is the usual grace
/// of pods with some patience, a unit stops in a few seconds unless something hangs, a small host is off in half a minute.
const UNLEARNED: [(&str, u64); 4] = [("drain", 120), ("save-etcd-snapshot", 20), ("stop-unit", 20), (HOST_OFF, 30)];

/// What a shutdown that powered nothing off would have taken longer: workers and servers, a wave each.
const OFF_WAVES: Duration = Duration::from_secs(60);

/// systemd's own `DefaultTimeoutStopSec`, for a unit that nobody has seen (systemd-system.conf(5)).
const STOP_TIMEOUT: Duration = Duration::from_secs(90);

/// The budgets of both paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Cordon, drain, detach, snapshot, stop, power off.
    pub full: Estimate,
    /// Stop and power off.
    pub emergency: Estimate,
    /// What is still to come of both.
    pub needs: Needs,
}

/// One budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// How long, the own host's power-off included.
    pub time: Duration,
    /// From how many runs it was learned; 0: configured.
    pub samples: usize,
}

/// How much of each path is still to come, the own host's power-off included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Of the full path.
    pub full: Duration,
    /// Of the emergency path.
    pub emergency: Duration,
    /// Of the etcd snapshot alone, which the full path keeps the longest.
    pub snapshot: Duration,
}

/// A slow case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slow {
    /// How long: the [`QUANTILE`] of the samples.
    pub time: Duration,
    /// How many samples.
    pub samples: usize,
}

/// What past runs teach, whatever the configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lessons {
    full: Slow,
    emergency: Slow,
    steps: BTreeMap<String, BTreeMap<String, Slow>>,
    /// Each step on its slowest node.
    worst: BTreeMap<String, Duration>,
    slowest: Vec<SlowStep>,
}

/// So many of the slowest steps are told: what a person can do something about.
const SLOWEST_MAX: usize = 5;

impl Lessons {
    /// Learns from runs, oldest first.
    pub fn of(runs: &[Run]) -> Self {
        let whole = |path| {
            let taught = runs.iter().rev().filter(|run| teaches(run, path)).take(SAMPLES_MAX);
            slow(taught.map(|run| match run.result {
                RunResult::Converged if run.state == ClusterState::DrainedOff => run.duration + OFF_WAVES,
                RunResult::Converged => run.duration,
                // It would have taken longer than was seen; by how much nobody knows, so a half is added.
                RunResult::Superseded | RunResult::CutOff => run.duration + run.duration / 2,
            }))
        };
        let mut times: BTreeMap<&str, BTreeMap<&str, Vec<Duration>>> = BTreeMap::new();
        let descents = runs.iter().rev().filter(|run| run.state != ClusterState::Running).take(SAMPLES_MAX);
        for step in descents.flat_map(|run| &run.steps).filter(|step| step.outcome == Outcome::Tried) {
            times.entry(&step.step).or_default().entry(&step.target).or_default().push(step.took);
        }
        let learned = |(step, targets): (&str, BTreeMap<&str, Vec<Duration>>)| {
            let each = targets.into_iter().map(|(target, times)| (target.to_owned(), slow(times.into_iter())));
            (step.to_owned(), each.collect::<BTreeMap<String, Slow>>())
        };
        let steps: BTreeMap<String, BTreeMap<String, Slow>> = times.into_iter().map(learned).collect();
        let worst = |(step, targets): (&String, &BTreeMap<String, Slow>)| {
            Some((step.clone(), targets.values().map(|slow| slow.time).max()?))
        };
        Self {
            full: whole(Path::Graceful),
            emergency: whole(Path::Emergency),
            worst: steps.iter().filter_map(worst).collect(),
            slowest: slowest(&steps),
            steps,
        }
    }

    /// The slowest steps, slowest first.
    pub fn slowest(&self) -> &[SlowStep] {
        &self.slowest
    }

    /// How long a step takes on a node: as learned there, else as on the slowest other node, else its usual share.
    fn step(&self, step: &str, node: &NodeName) -> Duration {
        let learned = self.steps.get(step).and_then(|targets| targets.get(node.as_str())).map(|slow| slow.time);
        let usual = || UNLEARNED.iter().find(|(name, _)| *name == step).map_or(0, |(_, seconds)| *seconds);
        learned.or_else(|| self.worst.get(step).copied()).unwrap_or_else(|| Duration::from_secs(usual()))
    }
}

fn slowest(steps: &BTreeMap<String, BTreeMap<String, Slow>>) -> Vec<SlowStep> {
    let each = steps.iter().flat_map(|(step, targets)| targets.iter().map(move |(target, slow)| (step, target, slow)));
    let mut all: Vec<(&String, &String, &Slow)> = each.collect();
    all.sort_by(|a, b| b.2.time.cmp(&a.2.time).then((a.0, a.1).cmp(&(b.0, b.1))));
    let told = all.into_iter().take(SLOWEST_MAX).map(|(step, target, slow)| SlowStep {
        step: step.clone(),
        target: target.clone(),
        time: slow.time,
        samples: slow.samples,
    });
    told.collect()
}

/// A descent to power-off or to drained-off that began with the cluster running. A run that another wish superseded was
/// stopped early and teaches nothing; one that was cut off teaches that it takes longer.
fn teaches(run: &Run, path: Path) -> bool {
    run.from_running
        && run.path == path
        && run.state != ClusterState::Running
        && match run.result {
            RunResult::Converged | RunResult::CutOff => true,
            RunResult::Superseded => false,
        }
}

fn slow(times: impl Iterator<Item = Duration>) -> Slow {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    let rank = (times.len() as f64 * QUANTILE).ceil() as usize;
    Slow { time: times.get(rank.saturating_sub(1)).copied().unwrap_or_default(), samples: times.len() }
}

/// Estimates both paths, and what of them is still to come.
pub fn estimate(config: &Config, history: &History, snapshot: &Snapshot, ledger: &Ledger) -> Budget {
    let lessons = history.lessons();
    let own = if config.own_host.power_off { config.own_host.power_off_time } else { Duration::ZERO };
    let floor = config.shutdown.budget_floor.max(stops_at_worst(config, snapshot));
    let estimate = |slow: Slow, configured: Duration| {
        if slow.samples < SAMPLES_MIN {
            Estimate { time: configured + own, samples: 0 }
        } else {
            Estimate { time: slow.time.max(floor) + own, samples: slow.samples }
        }
    };
    let full = estimate(lessons.full, config.shutdown.estimated_budget);
    // The emergency path is part of the full one, so it never takes longer.
    let emergency = estimate(lessons.emergency, config.shutdown.emergency_budget);
    let emergency = Estimate { time: emergency.time.min(full.time), ..emergency };
    let whole = Work::of(config, lessons, |_, _| true, |_| true, true);
    let reading = |name: &NodeName| snapshot.hosts.get(name).and_then(|reading| reading.value());
    let is_on = |name: &NodeName| reading(name).is_some() || !ledger.powered_off.contains_key(name);
    let is_alive =
        |name: &NodeName, node: &Node| is_on(name) && reading(name).is_none_or(|host| !is_down(host, node.role));
    let begun =
        |phase| ledger.episode.as_ref().is_some_and(|it| it.converged.is_none() && it.phases.contains_key(&phase));
    let left = Work::of(config, lessons, is_alive, is_on, !begun(Phase::StopServers));
    let is_drained = begun(Phase::Detach) || begun(Phase::EtcdSnapshot);
    let left = if is_drained { Work { drain: Duration::ZERO, ..left } } else { left };
    // The budget's size is the runs'; which part of it is left, the steps tell.
    let share = |time: Duration, left: Duration, whole: Duration| {
        let share = left.as_secs_f64() / whole.as_secs_f64().max(1.0);
        own + time.saturating_sub(own).mul_f64(share.clamp(0.0, 1.0))
    };
    let needs = Needs {
        full: share(full.time, left.full(), whole.full()),
        emergency: share(emergency.time, left.emergency(), whole.emergency()),
        snapshot: share(full.time, left.snapshot, whole.full()).saturating_sub(own),
    };
    Budget { full, emergency, needs }
}

/// How long stopping k3s takes where it hangs until systemd kills it: on a worker, then on a server. A run in which nothing
/// hung teaches nothing of that.
fn stops_at_worst(config: &Config, snapshot: &Snapshot) -> Duration {
    let longest = |role: Role| {
        let nodes = config.managed().filter(|(_, node)| node.role == role);
        let timeout = |name: &NodeName| snapshot.hosts.get(name).and_then(|it| it.value()?.stop_timeout);
        let each = nodes.map(|(name, _)| timeout(name).unwrap_or(STOP_TIMEOUT).min(config.shutdown.unit_stop_timeout));
        each.max().unwrap_or_default()
    };
    longest(Role::Worker) + longest(Role::ControlPlane)
}

fn is_down(host: &HostReading, role: Role) -> bool {
    matches!(host.unit(role.unit()), UnitState::Stopped | UnitState::NotFound)
}

/// The stages of a descent, each as long as its slowest node.
#[derive(Clone, Copy, Debug)]
struct Work {
    drain: Duration,
    snapshot: Duration,
    stop_agents: Duration,
    stop_servers: Duration,
    /// A server that stops after the others: the etcd leader, on the full path only.
    stop_leader: Duration,
    off_workers: Duration,
    off_servers: Duration,
}

impl Work {
    fn of(
        config: &Config,
        lessons: &Lessons,
        is_alive: impl Fn(&NodeName, &Node) -> bool,
        is_on: impl Fn(&NodeName) -> bool,
        has_services: bool,
    ) -> Self {
        let mut work = Self {
            drain: Duration::ZERO,
            snapshot: Duration::ZERO,
            stop_agents: Duration::ZERO,
            stop_servers: Duration::ZERO,
            stop_leader: Duration::ZERO,
            off_workers: Duration::ZERO,
            off_servers: Duration::ZERO,
        };
        let mut servers = 0;
        for (name, node) in config.managed() {
            let (stop, off) = match node.role {
                Role::Worker => (&mut work.stop_agents, &mut work.off_workers),
                Role::ControlPlane => (&mut work.stop_servers, &mut work.off_servers),
            };
            if is_alive(name, node) {
                *stop = lessons.step("stop-unit", name).max(*stop);
                servers += usize::from(node.role == Role::ControlPlane);
                if has_services {
                    work.drain = lessons.step("drain", name).max(work.drain);
                }
            }
            if node.power_off && is_on(name) {
                *off = lessons.step(HOST_OFF, name).max(*off);
            }
            if has_services && node.role == Role::ControlPlane && is_alive(name, node) {
                work.snapshot = lessons.step("save-etcd-snapshot", name).max(work.snapshot);
            }
        }
        if servers > 1 {
            work.stop_leader = work.stop_servers;
        }
        work
    }

    fn emergency(&self) -> Duration {
        self.stop_agents + self.stop_servers + self.off_workers + self.off_servers
    }

    fn full(&self) -> Duration {
        self.drain + self.snapshot + self.stop_leader + self.emergency()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::history::RunStep;
    use crate::model::RunId;
    use crate::simulate::blueprint;
    use crate::simulate::world::World;

    fn run(seconds: u64, path: Path, result: RunResult) -> Run {
        let step = |step: &str, target: &str, took: u64| RunStep {
            step: step.to_owned(),
            target: target.to_owned(),
            started: Duration::ZERO,
            took: Duration::from_secs(took),
            outcome: Outcome::Tried,
        };
        Run {
            id: RunId::new("run"),
            state: ClusterState::Poweroff,
            path,
            trigger: String::new(),
            is_override: true,
            from_running: true,
            began_at: Timestamp::UNIX_EPOCH,
            ended_at: Timestamp::UNIX_EPOCH,
            wall_synced: false,
            boot_id: None,
            duration: Duration::from_secs(seconds),
            result,
            steps: vec![step("stop-unit", "cp-1", seconds / 10), step("stop-unit", "worker-1", 5)],
        }
    }

    fn budget(runs: Vec<Run>) -> Budget {
        let config = blueprint::config(3, 2).expect("the blueprint is a cluster");
        estimate(&config, &History::new(runs), &Snapshot::default(), &Ledger::default())
    }

    #[test]
    fn before_there_are_enough_runs_the_configuration_rules() {
        let two = vec![run(400, Path::Emergency, RunResult::Converged); 2];
        let budget = budget(two);
        assert_eq!((budget.emergency.time.as_secs(), budget.emergency.samples), (300 + 60, 0));
        assert_eq!((budget.full.time.as_secs(), budget.full.samples), (600 + 60, 0));
    }

    #[test]
    fn the_paths_are_learned_apart_from_the_slow_case() {
        let mut runs: Vec<Run> = (0..19).map(|_| run(200, Path::Emergency, RunResult::Converged)).collect();
        runs.push(run(280, Path::Emergency, RunResult::Converged));
        let learned = budget(runs.clone());
        assert_eq!((learned.emergency.time.as_secs(), learned.emergency.samples), (200 + 60, 20), "one outlier of 20");
        assert_eq!(learned.full.samples, 0, "the full path learns nothing from it");
        runs.push(run(280, Path::Emergency, RunResult::Converged));
        assert_eq!(budget(runs).emergency.time.as_secs(), 280 + 60, "two of the last 20 are no outlier");
    }

    #[test]
    fn what_was_learned_leaves_a_hanging_unit_the_time_until_systemd_kills_it() {
        let config = blueprint::config(3, 2).expect("the blueprint is a cluster");
        let budget = |seconds: u64| {
            let mut world = World::running(&config, Duration::from_secs(1200), 0);
            world.hosts.values_mut().for_each(|host| host.stop_timeout = Duration::from_secs(seconds));
            let snapshot = world.observe(&config);
            let runs = vec![run(5, Path::Emergency, RunResult::Converged); 5];
            estimate(&config, &History::new(runs), &snapshot, &Ledger::default()).emergency.time.as_secs()
        };
        assert_eq!(budget(90), 180 + 60);
        assert_eq!(budget(20), 150 + 60, "the floor");
        assert_eq!(budget(86_400), 200 + 60, "hecate itself waits no longer than unit_stop_timeout_seconds");
    }

    #[test]
    fn an_empty_cluster_teaches_no_budget_below_what_a_hanging_unit_takes_and_a_cut_off_run_teaches_more() {
        let fast = vec![run(5, Path::Emergency, RunResult::Converged); 5];
        assert_eq!(budget(fast).emergency.time.as_secs(), 90 + 90 + 60, "a worker and a server that hang");
        let cut = vec![run(200, Path::Emergency, RunResult::CutOff); 3];
        assert_eq!(budget(cut).emergency.time.as_secs(), 300 + 60);
        let mut stopped = vec![run(500, Path::Emergency, RunResult::Superseded); 3];
        stopped.iter_mut().for_each(|run| run.from_running = false);
        assert_eq!(budget(stopped).emergency.samples, 0);
    }

    #[test]
    fn a_run_that_powered_nothing_off_counts_as_longer() {
        let mut drained = vec![run(400, Path::Graceful, RunResult::Converged); 3];
        drained.iter_mut().for_each(|run| run.state = ClusterState::DrainedOff);
        assert_eq!(budget(drained).full.time, Duration::from_secs(400 + 60) + OFF_WAVES);
    }

    #[test]
    fn the_emergency_path_never_takes_longer_than_the_full_one() {
        let quick = budget(vec![run(200, Path::Graceful, RunResult::Converged); 3]);
        assert_eq!((quick.full.time.as_secs(), quick.emergency.time.as_secs()), (200 + 60, 200 + 60));
    }

    #[test]
    fn steps_are_learned_for_each_node() {
        let lessons = Lessons::of(&[
            run(200, Path::Emergency, RunResult::Converged),
            run(300, Path::Graceful, RunResult::Converged),
        ]);
        let told = lessons.slowest().iter().map(|it| (it.target.as_str(), it.time.as_secs(), it.samples));
        assert_eq!(told.collect::<Vec<_>>(), vec![("cp-1", 30, 2), ("worker-1", 5, 2)]);
        assert_eq!(lessons.step("stop-unit", &"cp-2".into()), Duration::from_secs(30), "unknown: as the slowest");
        assert_eq!(lessons.step(HOST_OFF, &"cp-2".into()), Duration::from_secs(30), "never seen: the usual share");
    }

    #[test]
    fn what_is_done_is_needed_no_more() {
        let config = blueprint::config(3, 2).expect("the blueprint is a cluster");
        let whole = budget(Vec::new());
        assert_eq!(whole.needs.full, whole.full.time);
        assert_eq!(whole.needs.emergency, whole.emergency.time);
        let mut ledger = Ledger::default();
        for node in config.nodes.keys() {
            let told = crate::ledger::PoweredOff {
                told: crate::model::Stamp {
                    boot_id: "boot".into(),
                    boottime: Duration::ZERO,
                    wall: Timestamp::UNIX_EPOCH,
                    wall_synced: false,
                },
                boot_id: None,
                path: Path::Emergency,
                run: None,
                accepted: true,
                is_blind: false,
                woken: None,
                by_override: true,
            };
            ledger.powered_off.insert(node.clone(), told);
        }
        let dark = estimate(&config, &History::default(), &Snapshot::default(), &ledger);
        assert_eq!(dark.needs.emergency, config.own_host.power_off_time, "only the own host is left");
    }
}

//! How long a decision takes, and whether it grows faster than the cluster.
//!
//! `cargo bench --no-default-features --features sim` prints criterion's figures, compared with those of the last run, and
//! then a table: milliseconds a decision, how many times as long per node as with 100 nodes in the same run (1.0 is linear),
//! and how many times as long as a plain copy of a map with so many texts: that figure stays whatever the machine does.
//! `-- '(pass|copy)/10$'` runs what matches.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on says so best by ending there")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use hecate::decide::{Known, decide};
use hecate::desired::Options;
use hecate::model::{ClusterState, NodeName};
use hecate::simulate::world::World;
use hecate::simulate::{Simulation, TICK, blueprint};
use hecate::tracker::UpsMemory;
use jiff::Timestamp;

const NODES: [usize; 4] = [10, 100, 1_000, 10_000];
/// What the others are compared with.
const BASE: usize = 100;
/// What they are measured in.
const COPY: &str = "copy";
const SERVERS: usize = 5;
const PODS: usize = 2;
/// Every node's cordon is told, carried out and seen within this time.
const DRAINING_WITHIN: Duration = Duration::from_secs(30);

/// A cluster in one situation.
type Situation = fn(usize) -> Simulation;

/// Means in seconds, by situation and number of nodes.
type Times = RefCell<BTreeMap<&'static str, BTreeMap<usize, f64>>>;

fn cluster(nodes: usize) -> Simulation {
    // A file of 10,000 nodes is more than a configuration can have; the types take it.
    let mut config = blueprint::config(SERVERS, 1).unwrap();
    let worker = config.nodes[&"worker-1".into()].clone();
    for number in 2..=nodes - SERVERS {
        config.nodes.insert(NodeName::new(format!("worker-{number}")), worker.clone());
    }
    config.reconcile.max_steps_in_flight = nodes;
    let world = World::running(&config, Duration::from_secs(1200), PODS);
    Simulation::new(config, world, Timestamp::UNIX_EPOCH)
}

fn quiet(nodes: usize) -> Simulation {
    let mut simulation = cluster(nodes);
    assert!(simulation.run_until(Duration::from_secs(60), Simulation::is_converged), "it settles");
    simulation
}

fn draining(nodes: usize) -> Simulation {
    let mut simulation = quiet(nodes);
    simulation.set_wish(ClusterState::DrainedOff, Options::default());
    simulation.world.pods.iter_mut().for_each(|pod| pod.stops_in = Duration::from_secs(600));
    let drains = |it: &Simulation| it.desk.memory.in_flight.values().filter(|it| it.step.name() == "drain").count();
    assert!(simulation.run_until(DRAINING_WITHIN, |it| drains(it) == nodes), "every node drains");
    simulation
}

fn missing(nodes: usize) -> Simulation {
    let mut simulation = quiet(nodes);
    let names: Vec<_> = simulation.world.hosts.keys().cloned().collect();
    names.iter().for_each(|name| simulation.world.kill_host(name));
    simulation.set_wish(ClusterState::Running, Options::default());
    (0..3).for_each(|_| simulation.tick());
    assert!(!simulation.is_converged(), "somebody is missed");
    simulation
}

fn decisions(criterion: &mut Criterion, times: &Times) {
    let situations: [(&'static str, Situation); 3] = [("quiet", quiet), ("draining", draining), ("missing", missing)];
    for (name, situation) in situations {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_millis(500));
        for nodes in NODES {
            // Built for those alone that are asked for.
            let mut built = None;
            group.bench_function(BenchmarkId::from_parameter(nodes), |bencher| {
                let (simulation, snapshot) = built.get_or_insert_with(|| {
                    let simulation = situation(nodes);
                    let snapshot = simulation.world.observe(&simulation.config);
                    (simulation, snapshot)
                });
                let now = simulation.now();
                let known = Known {
                    config: &simulation.config,
                    declared: &simulation.desk.declared,
                    health: &simulation.desk.health,
                    snapshot,
                    history: &simulation.desk.history,
                    ledger: &simulation.desk.ledger,
                    ledger_problem: None,
                    memory: &simulation.desk.memory,
                };
                bencher.iter_custom(|count| timed(times, name, nodes, count, || _ = black_box(decide(known, &now))));
            });
        }
        group.finish();
    }
}

/// A tick of a quiet cluster: the world moves, is looked at, and is decided on.
fn ticks(criterion: &mut Criterion, times: &Times) {
    let mut group = criterion.benchmark_group("tick");
    group.sample_size(10).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_millis(500));
    for nodes in NODES {
        let mut built = None;
        group.bench_function(BenchmarkId::from_parameter(nodes), |bencher| {
            let simulation = built.get_or_insert_with(|| quiet(nodes));
            bencher.iter_custom(|count| timed(times, "tick", nodes, count, || simulation.tick_for(TICK)));
        });
    }
    group.finish();
}

/// A pass of a quiet cluster whose UPS memory is full.
fn passes(criterion: &mut Criterion, times: &Times) {
    let mut group = criterion.benchmark_group("pass");
    group.sample_size(10).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_millis(500));
    for nodes in NODES {
        let mut built = None;
        group.bench_function(BenchmarkId::from_parameter(nodes), |bencher| {
            let (simulation, snapshot) = built.get_or_insert_with(|| {
                let mut simulation = quiet(nodes);
                (0..UpsMemory::SAMPLES_MAX).for_each(|_| simulation.tick_for(TICK));
                let snapshot = simulation.world.observe(&simulation.config);
                (simulation, snapshot)
            });
            let now = simulation.now();
            let (desk, config) = (&mut simulation.desk, &simulation.config);
            bencher.iter_custom(|count| {
                timed(times, "pass", nodes, count, || _ = black_box(desk.pass(config, snapshot, &now)))
            });
        });
    }
    group.finish();
}

/// What the others are measured in: a copy of a map with a text for each node.
fn copies(criterion: &mut Criterion, times: &Times) {
    let mut group = criterion.benchmark_group(COPY);
    group.sample_size(10).measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(500));
    for nodes in NODES {
        let map: BTreeMap<String, String> =
            (0..nodes).map(|number| (format!("worker-{number}"), format!("boot of worker-{number}"))).collect();
        group.bench_function(BenchmarkId::from_parameter(nodes), |bencher| {
            bencher.iter_custom(|count| timed(times, COPY, nodes, count, || _ = black_box(map.clone())));
        });
    }
    group.finish();
}

/// Runs it so many times; keeps the quickest mean, which other processes disturbed the least.
fn timed(times: &Times, name: &'static str, nodes: usize, count: u64, mut work: impl FnMut()) -> Duration {
    let begin = Instant::now();
    (0..count).for_each(|_| work());
    let spent = begin.elapsed();
    let mut times = times.borrow_mut();
    let best = times.entry(name).or_default().entry(nodes).or_insert(f64::INFINITY);
    *best = best.min(spent.as_secs_f64() / count as f64);
    spent
}

#[expect(clippy::print_stdout, reason = "the figures are what a person looks for")]
fn table(times: &BTreeMap<&'static str, BTreeMap<usize, f64>>) {
    println!("{:<10}{:>8}{:>14}{:>24}{:>10}", "", "nodes", "milliseconds", "per node, against 100", "copies");
    for (name, by_nodes) in times {
        let per_node = |nodes: usize| by_nodes.get(&nodes).map(|time| time / nodes as f64);
        for (nodes, time) in by_nodes {
            let ratio = per_node(BASE).zip(per_node(*nodes)).map(|(base, own)| format!("{:.2}", own / base));
            let copy = times.get(COPY).and_then(|copies| copies.get(nodes));
            let copies = copy.map(|copy| format!("{:.0}", time / copy));
            let (ratio, copies) = (ratio.unwrap_or_default(), copies.unwrap_or_default());
            println!("{name:<10}{nodes:>8}{:>14.4}{ratio:>24}{copies:>10}", time * 1000.0);
        }
    }
}

fn main() {
    let times = Times::default();
    let mut criterion = Criterion::default().configure_from_args();
    decisions(&mut criterion, &times);
    passes(&mut criterion, &times);
    ticks(&mut criterion, &times);
    copies(&mut criterion, &times);
    criterion.final_summary();
    table(&times.borrow());
}

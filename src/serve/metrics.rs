//! The Prometheus registry, fed from published statuses.
//!
//! Label values come from variant names and configured names only, so that no text from outside can blow up the number
//! of series. What is not known has no sample.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prometheus::{Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry, TextEncoder};

use crate::model::{ClusterState, Path};
use crate::plan::step::Outcome;
use crate::status::diff::stages;
use crate::status::{BatteryRow, HostState, LastStep, Status, UpsVerdict};

const STATES: [ClusterState; 3] = [ClusterState::Running, ClusterState::DrainedOff, ClusterState::Poweroff];
const HOST_STATES: [HostState; 6] = [
    HostState::Up,
    HostState::Off,
    HostState::Unreachable,
    HostState::Wrong,
    HostState::Unknown,
    HostState::NotManaged,
];
const VERDICTS: [UpsVerdict; 5] =
    [UpsVerdict::OnLine, UpsVerdict::Unknown, UpsVerdict::OnBattery, UpsVerdict::Critical, UpsVerdict::Ignored];

/// A pass is meant to take milliseconds; one that takes seconds waits for something it should not.
const PASS_BUCKETS_SECONDS: [f64; 8] = [0.001, 0.005, 0.025, 0.1, 0.25, 1.0, 5.0, 30.0];

/// Every series hecate exports.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    desired: GaugeVec,
    effective: GaugeVec,
    emergency: Gauge,
    converged: Gauge,
    on_battery: Gauge,
    host_state: GaugeVec,
    unit_running: GaugeVec,
    node_ready: GaugeVec,
    node_as_desired: GaugeVec,
    ups_charge: GaugeVec,
    ups_runtime: GaugeVec,
    ups_load: GaugeVec,
    ups_on_battery: GaugeVec,
    ups_verdict: GaugeVec,
    battery: Battery,
    waits: GaugeVec,
    blockers: GaugeVec,
    warnings: GaugeVec,
    running: GaugeVec,
    steps: IntCounterVec,
    passes: IntCounter,
    api_requests: IntCounterVec,
    ssh_round_trips: IntCounterVec,
    pass_duration: Histogram,
    last_pass: Gauge,
    budget: GaugeVec,
    trigger: Gauge,
    time_left: GaugeVec,
    problems: GaugeVec,
    progress: Mutex<Progress>,
}

/// What is known of each battery beside what its UPS says now.
#[derive(Debug)]
struct Battery {
    full_runtime: GaugeVec,
    record_runtime: GaugeVec,
    record_at: GaugeVec,
    proven: GaugeVec,
    proven_load: GaugeVec,
    proven_at: GaugeVec,
    own_count: GaugeVec,
    recharge: GaugeVec,
}

impl Battery {
    fn all(&self) -> [&GaugeVec; 8] {
        [
            &self.full_runtime,
            &self.record_runtime,
            &self.record_at,
            &self.proven,
            &self.proven_load,
            &self.proven_at,
            &self.own_count,
            &self.recharge,
        ]
    }
}

/// What tells a new pass and a new step from those that were counted.
#[derive(Debug, Default)]
struct Progress {
    updated: Option<Instant>,
    pass: u64,
    counted: BTreeSet<String>,
    called: BTreeMap<String, u64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers every series.
    pub fn new() -> Self {
        let registry = Registry::new();
        let one = |name: &str, help: &str| registered(&registry, Gauge::new(name, help));
        let many = |name: &str, help: &str, labels: &[&str]| {
            registered(&registry, GaugeVec::new(Opts::new(name, help), labels))
        };
        let durations = HistogramOpts::new("hecate_pass_duration_seconds", "How long a pass took.")
            .buckets(PASS_BUCKETS_SECONDS.to_vec());
        let api_requests = Opts::new("hecate_api_requests_total", "Requests to the Kubernetes API, by kind.");
        let ssh_round_trips = Opts::new("hecate_ssh_round_trips_total", "Commands sent to nodes over SSH, by share.");
        let steps = Opts::new("hecate_steps_total", "Attempts at steps that ended, by outcome.");
        many("hecate_build_info", "The version that runs.", &["version"])
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1.0);
        Self {
            desired: many("hecate_desired_state", "1 for the state the operator asked for.", &["state"]),
            effective: many("hecate_effective_state", "1 for the state that is obeyed.", &["state"]),
            emergency: one("hecate_effective_emergency", "1 while a descent takes the emergency path."),
            converged: one("hecate_converged", "1 while reality is as desired."),
            on_battery: one("hecate_on_battery", "1 while a UPS that matters is known to be on battery."),
            host_state: many("hecate_node_host_state", "1 for what a host is.", &["node", "state"]),
            unit_running: many("hecate_node_unit_running", "1 while the node's k3s unit runs.", &["node", "unit"]),
            node_ready: many("hecate_node_ready", "1 while the Node is Ready by fresh status.", &["node"]),
            node_as_desired: many("hecate_node_as_desired", "1 while the node is as desired.", &["node"]),
            ups_charge: many("hecate_ups_battery_charge_ratio", "Battery charge, 0 to 1.", &["ups"]),
            ups_runtime: many("hecate_ups_battery_runtime_seconds", "The UPS' own estimate.", &["ups"]),
            ups_load: many("hecate_ups_load_ratio", "Load, 1 is nominal.", &["ups"]),
            ups_on_battery: many("hecate_ups_on_battery", "1 while on battery.", &["ups"]),
            ups_verdict: many("hecate_ups_verdict", "1 for what the policy makes of it.", &["ups", "verdict"]),
            battery: Battery {
                full_runtime: many(
                    "hecate_ups_battery_full_runtime_seconds",
                    "What a full battery gives at full load, by its record and what it proved.",
                    &["ups"],
                ),
                record_runtime: many(
                    "hecate_ups_battery_record_runtime_seconds",
                    "What the UPS says of that in calm times.",
                    &["ups"],
                ),
                record_at: many(
                    "hecate_ups_battery_record_timestamp_seconds",
                    "When that was learned, by wall clock.",
                    &["ups"],
                ),
                proven: many(
                    "hecate_ups_battery_proven_seconds",
                    "How long the battery lasted in the last discharge that proved it.",
                    &["ups"],
                ),
                proven_load: many("hecate_ups_battery_proven_load_ratio", "The mean load of that discharge.", &["ups"]),
                proven_at: many(
                    "hecate_ups_battery_proven_timestamp_seconds",
                    "When that was, by wall clock.",
                    &["ups"],
                ),
                own_count: many(
                    "hecate_ups_battery_own_count_ratio",
                    "What the battery holds by hecate's own count, 0 to 1.",
                    &["ups"],
                ),
                recharge: many("hecate_ups_battery_recharge_seconds", "From an empty battery to a full one.", &["ups"]),
            },
            waits: many("hecate_waits", "What is waited for, by reason.", &["reason"]),
            blockers: many("hecate_blockers", "What stands in the way, by reason.", &["reason"]),
            warnings: many("hecate_warnings", "What a person should look at, by reason.", &["reason"]),
            running: many("hecate_steps_running", "Steps that run now.", &["step"]),
            steps: registered(&registry, IntCounterVec::new(steps, &["step", "outcome"])),
            passes: registered(&registry, IntCounter::new("hecate_passes_total", "Passes that ended.")),
            api_requests: registered(&registry, IntCounterVec::new(api_requests, &["request"])),
            ssh_round_trips: registered(&registry, IntCounterVec::new(ssh_round_trips, &["share"])),
            pass_duration: registered(&registry, Histogram::with_opts(durations)),
            last_pass: one("hecate_last_pass_timestamp_seconds", "When the last pass began, by wall clock."),
            budget: many("hecate_shutdown_budget_seconds", "How long a shutdown takes, by path.", &["path"]),
            trigger: one("hecate_ups_trigger_runtime_seconds", "The runtime at which the UPS policy acts."),
            time_left: many("hecate_time_left_seconds", "What the batteries still give, by source.", &["source"]),
            problems: many("hecate_problem", "1 while something of hecate's own is wrong.", &["what"]),
            progress: Mutex::default(),
            registry,
        }
    }

    /// Takes a published status in.
    pub fn update(&self, status: &Status) {
        // Held throughout, so that a scrape never sees half of an update.
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        self.update_state(status);
        self.update_nodes(status);
        self.update_upses(status);
        self.update_plan(status);
        self.passes.inc_by(status.pass.saturating_sub(progress.pass));
        let newly: Vec<&LastStep> =
            status.last_steps.iter().filter(|last| !progress.counted.contains(&mark(last))).collect();
        for last in newly {
            self.steps.with_label_values(&[last.step.name(), outcome(&last.outcome)]).inc();
        }
        progress.counted = status.last_steps.iter().map(mark).collect();
        progress.pass = status.pass;
        progress.updated = Some(Instant::now());
    }

    /// Records how long a pass took.
    pub fn pass_took(&self, duration: Duration) {
        self.pass_duration.observe(duration.as_secs_f64());
    }

    /// Takes in how many calls were made so far. A reload begins to count anew; what was counted before stays.
    pub fn calls_made(&self, api: &BTreeMap<&'static str, u64>, ssh: &BTreeMap<&'static str, u64>) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        for (counter, made) in [(&self.api_requests, api), (&self.ssh_round_trips, ssh)] {
            for (label, count) in made {
                let before = progress.called.insert((*label).to_owned(), *count).unwrap_or_default();
                let new = count.checked_sub(before).unwrap_or(*count);
                counter.with_label_values(&[*label]).inc_by(new);
            }
        }
    }

    /// How long ago the last status came; None before the first.
    pub fn age(&self) -> Option<Duration> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).updated.map(|updated| updated.elapsed())
    }

    /// The text that Prometheus reads.
    pub fn encode(&self) -> Result<String, prometheus::Error> {
        let _held = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    fn update_state(&self, status: &Status) {
        for state in STATES {
            let label = state.to_string();
            self.desired.with_label_values(&[&label]).set(flag(status.declared.spec.state == state));
            self.effective.with_label_values(&[&label]).set(flag(status.effective.state() == state));
        }
        self.emergency.set(flag(status.effective.path() == Path::Emergency));
        self.converged.set(flag(status.is_converged));
        self.on_battery.set(flag(status.effective.is_on_battery()));
        self.last_pass.set(status.now.wall.as_millisecond() as f64 / 1000.0);
        self.budget.with_label_values(&["full"]).set(status.budget.full.as_secs_f64());
        self.budget.with_label_values(&["emergency"]).set(status.budget.emergency.as_secs_f64());
        self.trigger.set(status.budget.trigger_at.as_secs_f64());
        self.time_left.reset();
        let left = [("runtime", status.budget.has), ("override", status.effective.time_left())];
        for (source, left) in left.into_iter().filter_map(|(source, left)| Some((source, left?))) {
            self.time_left.with_label_values(&[source]).set(left.as_secs_f64());
        }
        self.problems.with_label_values(&["write"]).set(flag(status.write_problem.is_some()));
        self.problems.with_label_values(&["configuration"]).set(flag(status.config_problem.is_some()));
    }

    fn update_nodes(&self, status: &Status) {
        for vec in [&self.host_state, &self.unit_running, &self.node_ready, &self.node_as_desired] {
            vec.reset();
        }
        for (node, row) in &status.nodes {
            let node = node.as_str();
            for state in HOST_STATES {
                self.host_state.with_label_values(&[node, host_state(state)]).set(flag(row.host == state));
            }
            let [_, unit, ready, _] = stages(row);
            if let Some(is_running) = unit {
                self.unit_running.with_label_values(&[node, &row.unit.to_string()]).set(flag(is_running));
            }
            if let Some(is_ready) = ready {
                self.node_ready.with_label_values(&[node]).set(flag(is_ready));
            }
            self.node_as_desired.with_label_values(&[node]).set(flag(row.is_as_desired));
        }
    }

    fn update_upses(&self, status: &Status) {
        for vec in [&self.ups_charge, &self.ups_runtime, &self.ups_load, &self.ups_on_battery, &self.ups_verdict] {
            vec.reset();
        }
        self.battery.all().iter().for_each(|vec| vec.reset());
        for (ups, row) in &status.upses {
            let ups = ups.as_str();
            if let Some(battery) = &row.battery {
                self.update_battery(ups, battery);
            }
            let known = [
                (&self.ups_charge, row.charge_percent.map(|percent| percent / 100.0)),
                (&self.ups_runtime, row.runtime.map(|runtime| runtime.as_secs_f64())),
                (&self.ups_load, row.load_percent.map(|percent| percent / 100.0)),
                (&self.ups_on_battery, on_battery(row.verdict, row.on_battery_for)),
            ];
            for (vec, value) in known.into_iter().filter_map(|(vec, value)| Some((vec, value?))) {
                vec.with_label_values(&[ups]).set(value);
            }
            for verdict in VERDICTS {
                self.ups_verdict.with_label_values(&[ups, verdict_label(verdict)]).set(flag(row.verdict == verdict));
            }
        }
    }

    fn update_battery(&self, ups: &str, known: &BatteryRow) {
        let seconds = |time: Duration| time.as_secs_f64();
        let moment = |at: Timestamp| at.as_millisecond() as f64 / 1000.0;
        let (record, proof, vecs) = (known.record.as_ref(), known.proof.as_ref(), &self.battery);
        let samples = [
            (&vecs.full_runtime, known.full_runtime.map(seconds)),
            (&vecs.record_runtime, record.and_then(|record| record.runtime).map(seconds)),
            (&vecs.record_at, record.map(|record| moment(record.at))),
            (&vecs.proven, proof.map(|proof| seconds(proof.lasted))),
            (&vecs.proven_load, proof.and_then(|proof| proof.load_percent).map(|percent| percent / 100.0)),
            (&vecs.proven_at, proof.map(|proof| moment(proof.at))),
            (&vecs.own_count, Some(known.own_count_percent / 100.0)),
            (&vecs.recharge, Some(seconds(known.recharge))),
        ];
        for (vec, value) in samples.into_iter().filter_map(|(vec, value)| Some((vec, value?))) {
            vec.with_label_values(&[ups]).set(value);
        }
    }

    fn update_plan(&self, status: &Status) {
        for vec in [&self.waits, &self.blockers, &self.warnings, &self.running] {
            vec.reset();
        }
        let plan = &status.plan;
        plan.waits.iter().for_each(|wait| self.waits.with_label_values(&[wait.reason.name()]).inc());
        plan.blockers.iter().for_each(|blocker| self.blockers.with_label_values(&[blocker.name()]).inc());
        plan.warnings.iter().for_each(|warning| self.warnings.with_label_values(&[warning.name()]).inc());
        plan.running.iter().for_each(|step| self.running.with_label_values(&[step.name()]).inc());
    }
}

fn registered<C: prometheus::core::Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    let collector = made.expect("names and labels are constants that Prometheus takes");
    registry.register(Box::new(collector.clone())).expect("every series is registered once");
    collector
}

/// On battery as far as it is known: a UPS of which nothing is known has no sample.
fn on_battery(verdict: UpsVerdict, on_battery_for: Option<Duration>) -> Option<f64> {
    match verdict {
        UpsVerdict::OnLine => Some(0.0),
        UpsVerdict::OnBattery => Some(1.0),
        UpsVerdict::Critical | UpsVerdict::Unknown | UpsVerdict::Ignored => on_battery_for.map(|_| 1.0),
    }
}

fn flag(is_so: bool) -> f64 {
    if is_so { 1.0 } else { 0.0 }
}

fn mark(last: &LastStep) -> String {
    format!("{} {} {}", last.at, last.step.name(), last.step.target())
}

fn outcome(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Tried => "tried",
        Outcome::Refused { .. } | Outcome::OtherBoot { .. } => "refused",
        Outcome::Failed { .. } => "failed",
        Outcome::DeadlinePassed => "deadline-passed",
        Outcome::Cancelled => "cancelled",
    }
}

fn host_state(state: HostState) -> &'static str {
    match state {
        HostState::Up => "up",
        HostState::Off => "off",
        HostState::Unreachable => "unreachable",
        HostState::Wrong => "wrong",
        HostState::Unknown => "unknown",
        HostState::NotManaged => "not-managed",
    }
}

fn verdict_label(verdict: UpsVerdict) -> &'static str {
    match verdict {
        UpsVerdict::OnLine => "on-line",
        UpsVerdict::Unknown => "unknown",
        UpsVerdict::OnBattery => "on-battery",
        UpsVerdict::Critical => "critical",
        UpsVerdict::Ignored => "ignored",
    }
}

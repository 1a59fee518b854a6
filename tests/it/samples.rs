//! Values that several tests begin with.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hecate::desired::{Cause, Declared, DeclaredHealth, Effective, Held, Hold, Options, Override, Spec};
use hecate::history::{History, Run, RunResult, RunStep};
use hecate::ledger::{Episode, EpisodeKey, Phase, Wish};
use hecate::model::{ClusterState, MachineId, Now, Path, Role, RunId, Unit, UpsName};
use hecate::plan::blocker::{Blocker, Wait, WaitReason, Warning};
use hecate::plan::step::{Outcome, Step, Target};
use hecate::plan::{Plan, Planned};
use hecate::snapshot::{Snapshot, UnitState};
use hecate::status::battery::{ProofRow, RecordRow};
use hecate::status::{Actor, BatteryRow, BudgetView, HostState, Intent, LastStep, NodeRow, Status, UpsRow, UpsVerdict};
use jiff::Timestamp;

/// A moment of the sample day.
pub(crate) fn at(text: &str) -> Timestamp {
    format!("2026-11-22T{text}Z").parse().expect("the test gives a time of day")
}

/// An operator's wish.
pub(crate) fn spec(state: ClusterState, reason: &str) -> Spec {
    Spec {
        state,
        reason: reason.to_owned(),
        set_by: "root@titan-db".to_owned(),
        set_at: at("18:00:00"),
        options: Options::default(),
    }
}

/// A UPS' override.
pub(crate) fn ups_override(ups: &str) -> Override {
    Override {
        source: format!("ups-policy/{ups}"),
        state: ClusterState::Poweroff,
        path: Path::Emergency,
        nodes: Default::default(),
        reason: "runtime 410 s <= 1.25 x 330 s for 3 readings, 12 s".to_owned(),
        set_at: at("19:12:07"),
    }
}

/// A pause of a node.
pub(crate) fn hold(node: &str) -> Hold {
    Hold {
        what: Held::Node(node.into()),
        reason: "new fan".to_owned(),
        set_by: "root@titan-db".to_owned(),
        set_at: at("18:30:00"),
        expires_at: at("19:30:00"),
    }
}

/// The record of one run.
pub(crate) fn history() -> History {
    let step = RunStep {
        step: "stop-unit".to_owned(),
        target: "titan-22".to_owned(),
        started: Duration::from_secs(3),
        took: Duration::from_secs(12),
        outcome: Outcome::Tried,
    };
    let run = Run {
        id: RunId::new("20261122-180000-1"),
        state: ClusterState::DrainedOff,
        path: Path::Graceful,
        trigger: "the operator".to_owned(),
        is_override: false,
        from_running: true,
        began_at: at("18:00:00"),
        ended_at: at("18:05:00"),
        wall_synced: true,
        boot_id: None,
        duration: Duration::from_secs(300),
        result: RunResult::Converged,
        steps: vec![step],
    };
    History::new(vec![run])
}

/// A moment of boottime.
fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What is obeyed; only the policy makes one, so the test writes it as the status file has it.
pub(crate) fn effective(state: ClusterState, path: Path, because: &Cause, time_left: Option<u64>) -> Effective {
    let value = serde_json::json!({
        "state": state,
        "path": path,
        "because": because,
        "onBattery": time_left.is_some(),
        "timeLeft": time_left,
        "holdDescent": null,
    });
    serde_json::from_value(value).expect("the sample has the form of the status file")
}

/// A node's row that is as desired.
pub(crate) fn serving(role: Role) -> NodeRow {
    NodeRow {
        role,
        unit: role.unit(),
        desired: "running".to_owned(),
        host: HostState::Up,
        unit_state: Some(UnitState::Running),
        node: "Ready".to_owned(),
        pods: Some(14),
        is_as_desired: true,
        missing: String::new(),
    }
}

/// A node's row on the way down.
pub(crate) fn stopping(role: Role, host: HostState, unit: UnitState, missing: &str) -> NodeRow {
    NodeRow {
        desired: "off".to_owned(),
        host,
        unit_state: (host == HostState::Up).then_some(unit),
        node: "Unknown".to_owned(),
        pods: None,
        is_as_desired: missing.is_empty(),
        missing: missing.to_owned(),
        ..serving(role)
    }
}

/// A cluster that serves.
pub(crate) fn healthy() -> Status {
    let spec = spec(ClusterState::Running, "maintenance over");
    let because = Cause::Spec { set_by: spec.set_by.clone(), reason: spec.reason.clone(), set_at: spec.set_at };
    let ups = UpsRow {
        status: "OL CHRG".to_owned(),
        charge_percent: Some(97.0),
        runtime: Some(seconds(1830)),
        load_percent: Some(38.0),
        verdict: UpsVerdict::OnLine,
        evidence: String::new(),
        on_battery_for: None,
        battery: None,
    };
    Status {
        now: Now { boottime: seconds(5000), boot_id: "b".into(), wall: at("19:12:30"), wall_synced: true },
        pass: 4711,
        actor: Actor::Daemon { pid: 812 },
        declared: Declared::new(spec),
        declared_health: DeclaredHealth::Good,
        effective: effective(ClusterState::Running, Path::Graceful, &because, None),
        intent: Intent::Normal,
        episode: None,
        is_converged: true,
        nodes: BTreeMap::from([
            ("titan-0a".into(), serving(Role::ControlPlane)),
            ("titan-22".into(), serving(Role::Worker)),
        ]),
        upses: BTreeMap::from([("pyrphoros".into(), ups)]),
        plan: Plan::default(),
        budget: BudgetView {
            full: seconds(610),
            full_samples: 0,
            emergency: seconds(330),
            emergency_samples: 4,
            needs_full: Duration::from_secs(660),
            needs_emergency: Duration::from_secs(360),
            slowest: Vec::new(),
            trigger_at: seconds(413),
            has: Some(seconds(1830)),
        },
        past_commit_point: Default::default(),
        was_up: Default::default(),
        load_cuts: Default::default(),
        last_steps: Vec::new(),
        config_problem: None,
        write_problem: None,
        snapshot: Snapshot::default(),
    }
}

/// What is known of a battery that proved less than its UPS says, so many days ago.
pub(crate) fn battery(proven_days_ago: u64) -> BatteryRow {
    let day = seconds(24 * 3600);
    let proven_at = at("03:00:00") - jiff::SignedDuration::try_from(day * proven_days_ago as u32).expect("days");
    BatteryRow {
        full_runtime: Some(seconds(1290)),
        record: Some(RecordRow {
            runtime: Some(seconds(1830)),
            charge_percent: Some(100.0),
            load_percent: Some(38.0),
            at: at("06:00:00"),
            age: seconds(13 * 3600),
        }),
        watched_for: Some(day),
        proof: Some(ProofRow {
            lasted: seconds(700),
            load_percent: Some(41.0),
            fall_percent: Some(54.0),
            at: proven_at,
            age: day * proven_days_ago as u32,
            is_recent: proven_days_ago < 183,
        }),
        own_count_percent: 62.0,
        recharge: seconds(6 * 3600),
        is_recharge_learned: true,
    }
}

/// A UPS took over; the workers are down or nearly so.
pub(crate) fn on_battery() -> Status {
    let mut status = healthy();
    let one = ups_override("pyrphoros");
    let because = Cause::Override { source: one.source.clone(), reason: one.reason.clone(), set_at: one.set_at };
    status.effective = effective(ClusterState::Poweroff, Path::Emergency, &because, Some(392));
    status.declared.overrides.push(one);
    status.declared.holds.push(hold("titan-22"));
    status.intent = Intent::ShuttingDown;
    status.is_converged = false;
    status.budget.has = Some(seconds(392));
    let began = Now { boottime: seconds(4980), ..status.now.clone() }.stamp();
    status.episode = Some(Episode {
        run: RunId::new("20261122-191207-1"),
        key: EpisodeKey {
            boot_id: "b".into(),
            wish: Wish { state: ClusterState::Running, set_at: at("18:00:00") },
            state: ClusterState::Poweroff,
            nodes: Default::default(),
            is_override: true,
        },
        began: began.clone(),
        trigger: "ups-policy/pyrphoros".to_owned(),
        phases: BTreeMap::from([(Phase::Cordon, began.clone()), (Phase::StopServers, began)]),
        converged: None,
        acted: true,
        volumes_detached: false,
        has_etcd_snapshot: false,
        was_up: BTreeSet::new(),
    });
    let ups = status.upses.get_mut(&UpsName::from("pyrphoros")).expect("the sample has it");
    ups.status = "OB DISCHRG".to_owned();
    ups.charge_percent = Some(41.0);
    ups.runtime = Some(seconds(392));
    ups.verdict = UpsVerdict::Critical;
    ups.evidence = "392 s <= 413 s, 5 readings".to_owned();
    ups.on_battery_for = Some(seconds(123));
    status.nodes = BTreeMap::from([
        ("titan-0a".into(), stopping(Role::ControlPlane, HostState::Up, UnitState::Running, "k3s runs")),
        ("titan-22".into(), stopping(Role::Worker, HostState::Up, UnitState::Stopping, "k3s-agent is stopping")),
        ("titan-23".into(), stopping(Role::Worker, HostState::Off, UnitState::Stopped, "")),
        ("titan-24".into(), stopping(Role::Worker, HostState::Unreachable, UnitState::Stopped, "does not answer")),
    ]);
    let stop = |node: &str, unit: Unit| Step::StopUnit {
        node: node.into(),
        unit,
        machine_id: None,
        path: Path::Emergency,
        must_be_drained: false,
    };
    let off = |node: &str| Step::PowerOff { node: node.into(), machine_id: None, boot_id: None, path: Path::Emergency };
    status.plan = Plan {
        start: vec![Planned {
            step: stop("titan-0a", Unit::K3s),
            limit: seconds(30),
            because: "every agent is stopping".to_owned(),
        }],
        running: vec![stop("titan-22", Unit::K3sAgent)],
        cancel: vec![Target::Node("titan-24".into())],
        waits: vec![Wait {
            reason: WaitReason::UnitSettled { node: "titan-22".into(), unit: Unit::K3sAgent },
            since: seconds(12),
            limit: Some(seconds(90)),
        }],
        blockers: Vec::new(),
        warnings: vec![Warning::Skipped { what: "drain".to_owned(), because: "emergency path".to_owned() }],
        forecast: vec![
            stop("titan-0a", Unit::K3s),
            off("titan-22"),
            off("titan-0a"),
            Step::PowerOffOwnHost { path: Path::Emergency },
        ],
    };
    status.last_steps = vec![
        LastStep { at: at("19:12:20"), step: off("titan-23"), outcome: Outcome::Tried, took: seconds(1) },
        LastStep {
            at: at("19:12:19"),
            step: stop("titan-24", Unit::K3sAgent),
            outcome: Outcome::Failed { why: "titan-24: no route to host".to_owned() },
            took: seconds(10),
        },
    ];
    status.write_problem = Some("write /var/lib/hecate/ledger.json: no space left on device".to_owned());
    status
}

/// A bring-up that cannot go on.
pub(crate) fn blocked() -> Status {
    let mut status = healthy();
    status.is_converged = false;
    status.intent = Intent::StartupInProgress;
    let worker = NodeRow {
        host: HostState::Wrong,
        unit_state: None,
        node: "NotReady,SchedulingDisabled".to_owned(),
        pods: None,
        is_as_desired: false,
        missing: "the right host".to_owned(),
        ..serving(Role::Worker)
    };
    status.nodes.insert("titan-22".into(), worker);
    status.plan.blockers = vec![
        Blocker::WrongHost {
            node: "titan-22".into(),
            evidence: "machine id 7d1".to_owned(),
            expected: Some(MachineId::new("0a4")),
        },
        Blocker::StepFailing {
            step: "uncordon titan-22".to_owned(),
            attempts: 7,
            last: "failed: 409 conflict".to_owned(),
        },
    ];
    status.plan.waits = vec![Wait {
        reason: WaitReason::Backoff { step: "uncordon titan-22".to_owned(), last: "409 conflict".to_owned() },
        since: seconds(4),
        limit: None,
    }];
    status
}

/// The status as a pass of this instant would publish it.
pub(crate) fn published_now(mut status: Status, pass: u64) -> Status {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("Linux has it");
    status.now.boottime = Duration::new(u64::try_from(now.tv_sec).expect("positive"), 0);
    status.now.boot_id = boot_id.trim().into();
    status.pass = pass;
    status.actor = Actor::Daemon { pid: std::process::id() };
    status
}

//! Each claim of the policy on a handful of polls.

use super::*;
use crate::history::History;
use crate::model::{BootId, Reading};
use crate::simulate::blueprint;
use crate::snapshot::UpsReading;

const UPS: &str = blueprint::UPS;

/// Polls of one UPS, a second apart, the last of them now.
struct Polls {
    config: Config,
    declared: Declared,
    ledger: Ledger,
    memory: Memory,
    snapshot: Snapshot,
    time: Duration,
}

fn polls() -> Polls {
    let mut config = blueprint::config(3, 2).expect("the blueprint is a cluster");
    config.ups_policy.poll = Duration::from_secs(1);
    config.ups_policy.debounce = Duration::from_secs(5);
    config.ups_policy.mains_stable = Duration::from_secs(10);
    config.ups_policy.lost_on_battery = Duration::from_secs(20);
    let spec = crate::desired::Spec {
        state: ClusterState::Running,
        reason: String::new(),
        set_by: "root@test".to_owned(),
        set_at: jiff::Timestamp::UNIX_EPOCH,
        options: Default::default(),
    };
    Polls {
        config,
        declared: Declared::new(spec),
        ledger: Ledger::default(),
        memory: Memory { began: Duration::from_secs(1000), ..Memory::default() },
        snapshot: Snapshot::default(),
        time: Duration::from_secs(1000),
    }
}

impl Polls {
    fn now(&self) -> Now {
        let wall = jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::try_from(self.time).expect("a short time");
        Now { boottime: self.time, boot_id: BootId::new("this-boot"), wall, wall_synced: true }
    }

    /// So many polls that say this, a second apart.
    fn says(mut self, count: u64, status: &str, runtime: Option<u64>) -> Self {
        for _ in 0..count {
            self.time += Duration::from_secs(1);
            let reading = UpsReading {
                status: UpsStatus::parse(status),
                charge_percent: Some(90.0),
                runtime: runtime.map(Duration::from_secs),
                driver_interval: Some(Duration::from_secs(1)),
                ..UpsReading::default()
            };
            self.observe(Reading::known(reading, self.time));
        }
        self
    }

    /// So many seconds without an answer.
    fn falls_silent(mut self, count: u64) -> Self {
        for _ in 0..count {
            self.time += Duration::from_secs(1);
            let failure = Reading::unknown(crate::model::FailureKind::Unreachable, "connection refused", self.time);
            self.observe(failure);
        }
        self
    }

    fn observe(&mut self, reading: Reading<UpsReading>) {
        self.snapshot.upses.insert(UPS.into(), reading);
        let now = self.now();
        let memory = std::mem::take(&mut self.memory);
        self.memory = crate::tracker::track(memory, crate::tracker::Event::Observed(&self.snapshot), &now).0;
        let rewritten = self.rewritten();
        for change in &rewritten.changes {
            apply(&mut self.declared, change);
        }
        self.ledger.on_battery_since = rewritten.power.on_battery_since;
    }

    fn rewritten(&self) -> Rewritten {
        let budget = crate::budget::estimate(&self.config, &History::default());
        let declared = (&self.declared, &DeclaredHealth::Good);
        rewrite(&self.config, declared, &self.snapshot, &self.ledger, &self.memory, &budget, &self.now())
    }

    fn obeys(&self) -> ClusterState {
        self.rewritten().effective.state()
    }

    fn verdict(&self) -> UpsVerdict {
        self.rewritten().power.upses[&UpsName::from(UPS)].verdict
    }
}

#[test]
fn a_battery_with_time_left_stops_nothing() {
    let polls = polls().says(60, "OB DISCHRG", Some(3600));
    assert_eq!((polls.obeys(), polls.verdict()), (ClusterState::Running, UpsVerdict::OnBattery));
}

#[test]
fn a_short_runtime_must_stand_for_the_debounce() {
    assert_eq!(polls().says(9, "OB", Some(3600)).says(3, "OB", Some(100)).obeys(), ClusterState::Running);
    assert_eq!(polls().says(9, "OB", Some(3600)).says(7, "OB", Some(100)).obeys(), ClusterState::Poweroff);
}

#[test]
fn one_good_poll_begins_the_debounce_anew() {
    let polls = polls().says(5, "OB", Some(100)).says(1, "OB", Some(3600)).says(5, "OB", Some(100));
    assert_eq!(polls.obeys(), ClusterState::Running);
}

#[test]
fn a_short_runtime_on_line_means_nothing() {
    assert_eq!(polls().says(60, "OL CHRG", Some(0)).obeys(), ClusterState::Running);
}

#[test]
fn low_battery_acts_at_once_on_battery_and_never_on_line() {
    assert_eq!(polls().says(1, "OB LB", Some(3600)).obeys(), ClusterState::Poweroff);
    assert_eq!(polls().says(60, "OL LB", Some(3600)).obeys(), ClusterState::Running);
}

#[test]
fn a_ups_that_flashes_low_battery_is_given_its_time() {
    let mut flashing = polls();
    flashing.config.ups_policy.ob_lb = Duration::from_secs(10);
    let flashing = flashing.says(5, "OB LB", Some(3600)).says(20, "OB", Some(3600));
    assert_eq!(flashing.obeys(), ClusterState::Running);
    assert_eq!(flashing.says(12, "OB LB", Some(3600)).obeys(), ClusterState::Poweroff);
}

#[test]
fn a_forced_shutdown_acts_at_once() {
    assert_eq!(polls().says(1, "FSD OB", Some(3600)).obeys(), ClusterState::Poweroff);
    assert_eq!(polls().says(5, "OL", Some(3600)).says(1, "FSD OL", Some(3600)).obeys(), ClusterState::Poweroff);
}

#[test]
fn a_latched_forced_shutdown_is_no_eternal_outage() {
    assert_eq!(polls().says(60, "FSD OL", Some(3600)).obeys(), ClusterState::Running, "it stood when hecate came");
    let returned = polls().says(5, "FSD OB", Some(3600)).says(12, "FSD OL", Some(3600));
    assert_eq!(returned.obeys(), ClusterState::Running, "mains are back and stable");
    let raised = polls().says(5, "OL", Some(3600)).says(620, "FSD OL", Some(3600));
    assert_eq!(raised.obeys(), ClusterState::Running, "it was obeyed for long enough");
}

#[test]
fn silence_is_critical_only_after_a_battery_and_a_limit() {
    assert_eq!(polls().says(5, "OL", Some(3600)).falls_silent(60).obeys(), ClusterState::Running);
    assert_eq!(polls().says(5, "OB", Some(3600)).falls_silent(10).obeys(), ClusterState::Running);
    assert_eq!(polls().says(5, "OB", Some(3600)).falls_silent(25).obeys(), ClusterState::Poweroff);
}

#[test]
fn a_driver_that_waits_says_nothing_and_takes_nothing_back() {
    assert_eq!(polls().says(5, "OL", Some(3600)).says(60, "WAIT", None).obeys(), ClusterState::Running);
    assert_eq!(polls().says(5, "OB", Some(3600)).says(25, "WAIT", None).obeys(), ClusterState::Poweroff);
}

#[test]
fn a_calibration_suppresses_for_a_limited_time_and_not_in_silence() {
    assert_eq!(polls().says(60, "OB CAL DISCHRG LB", Some(10)).obeys(), ClusterState::Running);
    let mut endless = polls();
    endless.config.ups_policy.calibration_max = Duration::from_secs(30);
    assert_eq!(endless.says(60, "OB CAL DISCHRG", Some(10)).obeys(), ClusterState::Poweroff);
    assert_eq!(polls().says(5, "OL CAL", Some(10)).falls_silent(25).obeys(), ClusterState::Poweroff);
}

#[test]
fn without_a_runtime_charge_and_then_time_count() {
    let mut charged = polls();
    charged.config.ups_policy.charge_percent_min = 95.0;
    assert_eq!(charged.says(10, "OB", None).obeys(), ClusterState::Poweroff, "90 % is below 95 %");
    assert_eq!(polls().says(10, "OB", None).obeys(), ClusterState::Running, "90 % is enough by default");
}

#[test]
fn an_override_stands_until_mains_are_stable() {
    let cut = polls().says(1, "OB LB", Some(100));
    let back = cut.says(5, "OL CHRG", Some(3600));
    assert_eq!(back.obeys(), ClusterState::Poweroff, "not stable yet");
    assert!(back.rewritten().effective.hold_descent().is_some(), "and no further step down begins");
    assert_eq!(back.says(10, "OL CHRG", Some(3600)).obeys(), ClusterState::Running);
}

#[test]
fn a_graceful_override_becomes_urgent_and_never_calm_again() {
    let mut patient = polls();
    patient.config.shutdown.ups_path = UpsPath::Auto;
    let full = crate::budget::estimate(&patient.config, &History::default()).full.time.as_secs();
    let graceful = patient.says(10, "OB", Some(full + 20));
    assert_eq!(graceful.rewritten().effective.path(), Path::Graceful);
    let urgent = graceful.says(1, "OB LB", Some(full + 20));
    assert_eq!(urgent.rewritten().effective.path(), Path::Emergency);
    assert_eq!(urgent.says(5, "OB", Some(full + 20)).rewritten().effective.path(), Path::Emergency);
}

#[test]
fn an_override_from_an_earlier_boot_begins_no_step_before_it_is_judged_anew() {
    let mut cut = polls().says(1, "OB LB", Some(100));
    cut.memory = Memory { began: cut.time, ..Memory::default() };
    cut.snapshot = Snapshot::default();
    cut.ledger.on_battery_since.values_mut().for_each(|since| since.boot_id = "another-boot".into());
    assert_eq!(cut.obeys(), ClusterState::Poweroff);
    assert!(cut.rewritten().effective.hold_descent().is_some());
    assert!(cut.says(1, "OB LB", Some(90)).rewritten().effective.hold_descent().is_none());
}

#[test]
fn an_operators_wish_is_covered_and_not_rewritten() {
    let mut polls = polls();
    polls.declared.spec.state = ClusterState::DrainedOff;
    let cut = polls.says(1, "OB LB", Some(100));
    assert_eq!(cut.obeys(), ClusterState::Poweroff);
    assert_eq!(cut.declared.spec.state, ClusterState::DrainedOff);
    assert_eq!(cut.says(15, "OL", Some(3600)).obeys(), ClusterState::DrainedOff);
}

#[test]
fn an_override_of_a_ups_that_is_gone_from_the_configuration_is_lifted() {
    let mut cut = polls().says(1, "OB LB", Some(100));
    cut.config.upses.clear();
    assert_eq!(cut.obeys(), ClusterState::Running);
}

#[test]
fn words_that_nobody_knows_are_shown_and_change_nothing() {
    let odd = polls().says(10, "OL OL FROBNICATING RB", Some(3600));
    assert_eq!(odd.obeys(), ClusterState::Running);
    let warnings = odd.rewritten().power.warnings;
    let said: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert!(said.iter().any(|text| text.contains("FROBNICATING")), "{said:?}");
    assert!(said.iter().any(|text| text.contains("RB")), "{said:?}");
}

#[test]
fn a_graceful_descent_goes_on_until_only_the_emergency_path_fits() {
    let mut patient = polls();
    patient.config.shutdown.ups_path = UpsPath::Auto;
    let budget = crate::budget::estimate(&patient.config, &History::default());
    let (full, least) = (budget.full.time.as_secs(), budget.emergency.time.as_secs() * 5 / 4);
    let graceful = patient.says(10, "OB", Some(full + 20)).says(5, "OB", Some(least + 20));
    assert_eq!(graceful.rewritten().effective.path(), Path::Graceful);
    assert_eq!(graceful.says(5, "OB", Some(least - 1)).rewritten().effective.path(), Path::Emergency);
}

//! Each claim of the policy on a handful of polls.

use super::*;
use crate::config::UpsPath;
use crate::history::History;
use crate::model::{BootId, ClusterState, Path, Reading};
use crate::simulate::blueprint;
use crate::snapshot::{UpsReading, UpsStatus};

const UPS: &str = blueprint::UPS;

/// Polls of one UPS, a second apart, the last of them now.
struct Polls {
    config: Config,
    declared: Declared,
    ledger: Ledger,
    memory: Memory,
    snapshot: Snapshot,
    driver: Option<String>,
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
        driver: None,
        time: Duration::from_secs(1000),
    }
}

impl Polls {
    fn now(&self) -> Now {
        let wall = jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::try_from(self.time).expect("a short time");
        Now { boottime: self.time, boot_id: BootId::new("this-boot"), wall, wall_synced: true }
    }

    /// So many polls that say this, a second apart.
    fn says(self, count: u64, status: &str, runtime: Option<u64>) -> Self {
        self.says_each(count, status, |_| (runtime, Some(90.0)))
    }

    /// So many polls, a second apart, with runtime and charge by their number from 1 on.
    fn says_each(mut self, count: u64, status: &str, figures: impl Fn(u64) -> (Option<u64>, Option<f64>)) -> Self {
        for number in 1..=count {
            self.time += Duration::from_secs(1);
            let (runtime, charge_percent) = figures(number);
            let reading = UpsReading {
                status: UpsStatus::parse(status),
                charge_percent,
                runtime: runtime.map(Duration::from_secs),
                driver_interval: Some(Duration::from_secs(1)),
                device: crate::snapshot::DeviceId { driver: self.driver.clone(), ..Default::default() },
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
        let seen = crate::tracker::Event::Observed { snapshot: &self.snapshot, config: &self.config };
        self.memory = crate::tracker::track(memory, seen, &now).0;
        let rewritten = self.rewritten();
        for change in &rewritten.changes {
            apply(&mut self.declared, change);
        }
        for (name, run) in rewritten.power.low_runs() {
            self.memory.upses.entry(name).or_default().low = run;
        }
        self.ledger.on_battery_since = rewritten.power.on_battery_since;
    }

    fn budget(&self) -> Budget {
        crate::budget::estimate(&self.config, &History::default(), &self.snapshot, &self.ledger)
    }

    fn rewritten(&self) -> Rewritten {
        let budget = crate::budget::estimate(&self.config, &History::default(), &self.snapshot, &self.ledger);
        let declared = (&self.declared, &DeclaredHealth::Good);
        rewrite(&self.config, declared, &self.snapshot, &self.ledger, &self.memory, &budget, &self.now())
    }

    fn obeys(&self) -> ClusterState {
        self.rewritten().effective.state()
    }

    fn verdict(&self) -> UpsVerdict {
        self.rewritten().power.upses[&UpsName::from(UPS)].verdict
    }

    fn evidence(&self) -> String {
        self.rewritten().power.upses[&UpsName::from(UPS)].evidence.clone()
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
    let polls = polls().says(5, "OB", Some(400)).says(1, "OB", Some(500)).says(5, "OB", Some(400));
    assert_eq!(polls.obeys(), ClusterState::Running);
}

#[test]
fn an_answer_that_is_missing_ends_no_debounce() {
    let polls = polls().says(3, "OB", Some(100)).falls_silent(1);
    assert_eq!(polls.obeys(), ClusterState::Running);
    assert_eq!(polls.says(2, "OB", Some(100)).obeys(), ClusterState::Poweroff);
}

#[test]
fn a_runtime_that_jumps_is_taken_for_what_it_mostly_says() {
    let alternating = polls().says_each(20, "OB", |poll| (Some(if poll % 2 == 0 { 3600 } else { 100 }), Some(90.0)));
    assert_eq!(alternating.obeys(), ClusterState::Poweroff);
    assert!(alternating.evidence().contains("jumps to 3600 s, taken as 100 s"), "{}", alternating.evidence());
    let noisy = polls().says_each(60, "OB", |poll| (Some(if poll % 7 == 0 { 100 } else { 3600 }), Some(90.0)));
    assert_eq!(noisy.obeys(), ClusterState::Running);
}

#[test]
fn a_runtime_that_never_changes_is_counted_down() {
    let frozen = polls().says(3000, "OB", Some(3600));
    assert_eq!(frozen.obeys(), ClusterState::Running);
    let frozen = frozen.says(200, "OB", Some(3600));
    assert_eq!(frozen.obeys(), ClusterState::Poweroff);
    assert!(frozen.evidence().contains("runtime 3600 s unchanged for 3"), "{}", frozen.evidence());
}

#[test]
fn an_outage_after_hours_on_line_does_not_count_the_hours() {
    let polls = polls().says(600, "OL", Some(700)).says(120, "OB", Some(700));
    assert_eq!(polls.obeys(), ClusterState::Running, "{}", polls.evidence());
}

#[test]
fn an_estimate_that_is_none_gives_way_to_the_charge() {
    for nonsense in [None, Some(0), Some(65_535)] {
        assert_eq!(polls().says(30, "OB", nonsense).obeys(), ClusterState::Running, "{nonsense:?} at 90 %");
        let low = polls().says_each(30, "OB", |_| (nonsense, Some(25.0)));
        assert_eq!(low.obeys(), ClusterState::Poweroff, "{nonsense:?} at 25 %");
        // A percent in four seconds. The first minute may be a sag; after the second what is left above 10 % lasts 240 s.
        let falling = polls().says_each(119, "OB", |poll| (nonsense, Some(100.0 - (poll as f64 / 4.0).floor())));
        assert_eq!(falling.verdict(), UpsVerdict::OnBattery, "{nonsense:?}");
        let falling = falling.says_each(9, "OB", |poll| (nonsense, Some(70.0 - (poll as f64 / 4.0).floor())));
        assert_eq!(falling.obeys(), ClusterState::Poweroff, "{nonsense:?}: {}", falling.evidence());
        assert!(falling.evidence().contains("charge fell by"), "{}", falling.evidence());
    }
}

#[test]
fn an_estimate_that_the_charge_contradicts_is_not_believed() {
    // It says 24 minutes and counts down by the clock; its charge says six.
    let lying = polls().says_each(120, "OB", |poll| (Some(1440 - poll), Some(100.0 - (poll as f64 / 3.6).floor())));
    assert_eq!(lying.obeys(), ClusterState::Poweroff, "{}", lying.evidence());
    assert!(lying.evidence().contains("not credible"), "{}", lying.evidence());
    let honest = polls().says_each(120, "OB", |poll| (Some(1440 - poll), Some(100.0 - (poll as f64 / 14.4).floor())));
    assert_eq!(honest.obeys(), ClusterState::Running, "{}", honest.evidence());
}

#[test]
fn with_nothing_that_moves_the_time_on_battery_counts() {
    assert_eq!(polls().says(175, "OB", None).obeys(), ClusterState::Running);
    let frozen = polls().says(190, "OB", None);
    assert_eq!(frozen.obeys(), ClusterState::Poweroff);
    assert!(frozen.evidence().contains("charge 90 % says nothing"), "{}", frozen.evidence());
    let mute = polls().says_each(70, "OB", |_| (None, None));
    assert_eq!(mute.obeys(), ClusterState::Poweroff);
}

#[test]
fn a_short_runtime_on_line_means_nothing() {
    assert_eq!(polls().says(60, "OL CHRG", Some(0)).obeys(), ClusterState::Running);
}

#[test]
fn low_battery_acts_at_once_on_battery_and_never_on_line() {
    assert_eq!(polls().says_each(1, "OB LB", |_| (Some(500), Some(30.0))).obeys(), ClusterState::Poweroff);
    assert_eq!(polls().says_each(1, "OB LB", |_| (Some(500), None)).obeys(), ClusterState::Poweroff);
    assert_eq!(polls().says(1, "OB LB", Some(400)).obeys(), ClusterState::Poweroff);
    assert_eq!(polls().says(60, "OL LB", Some(3600)).obeys(), ClusterState::Running);
}

#[test]
fn low_battery_with_a_full_battery_must_stand_for_the_debounce() {
    assert_eq!(polls().says(3, "OB LB", Some(3600)).says(20, "OB", Some(3600)).obeys(), ClusterState::Running);
    assert_eq!(polls().says(7, "OB LB", Some(3600)).obeys(), ClusterState::Poweroff);
}

#[test]
fn a_calibration_flag_that_stood_before_the_outage_is_stuck() {
    let calm = polls().says_each(120, "OL CAL", |_| (Some(3600), Some(25.0)));
    let stuck = calm.says_each(2, "OB CAL LB", |_| (Some(100), Some(20.0)));
    assert_eq!(stuck.obeys(), ClusterState::Poweroff);
    let warnings: Vec<String> = stuck.rewritten().power.warnings.iter().map(ToString::to_string).collect();
    assert!(warnings.iter().any(|text| text.contains("CAL since before")), "{warnings:?}");
}

#[test]
fn a_discharge_on_line_is_believed_once_the_charge_falls() {
    let said_only = polls().says(100, "OL DISCHRG", Some(100));
    assert_eq!((said_only.obeys(), said_only.verdict()), (ClusterState::Running, UpsVerdict::OnLine));
    let real = polls().says_each(100, "OL DISCHRG", |poll| (Some(400 - poll), Some(90.0 - (poll as f64 / 5.0))));
    assert_eq!(real.obeys(), ClusterState::Poweroff, "{}", real.evidence());
    let back = real.says(5, "OL CHRG", Some(400));
    assert_eq!(back.obeys(), ClusterState::Poweroff, "the mains are stable only some time after the discharge");
    assert_eq!(back.says(10, "OL CHRG", Some(400)).obeys(), ClusterState::Running);
}

#[test]
fn a_bypass_says_nothing_of_the_mains() {
    assert_eq!(polls().says(15, "OL", Some(3600)).says(400, "BYPASS", None).verdict(), UpsVerdict::Unknown);
    let bypassed = polls().says(5, "OB", Some(3600)).says_each(60, "BYPASS", |_| (None, None));
    assert_eq!((bypassed.obeys(), bypassed.verdict()), (ClusterState::Running, UpsVerdict::OnBattery));
    assert_eq!(bypassed.says_each(250, "BYPASS", |_| (None, None)).obeys(), ClusterState::Poweroff);
}

#[test]
fn a_self_test_stops_nothing() {
    let tested = polls().says(30, "OL", Some(3600)).says(4, "OFF", Some(3600)).says(4, "OB DISCHRG", Some(300));
    assert_eq!(tested.says(30, "OL", Some(3600)).obeys(), ClusterState::Running);
}

#[test]
fn an_ignored_ups_shuts_nothing_down_and_holds_nothing_up() {
    let mut cut = polls().says(5, "OB", Some(100)).says(5, "OB LB", Some(100));
    assert_eq!(cut.obeys(), ClusterState::Poweroff);
    cut.declared.holds.push(crate::desired::Hold {
        what: Held::Ups(UPS.into()),
        reason: "new battery".to_owned(),
        set_by: "root@test".to_owned(),
        set_at: cut.now().wall,
        expires_at: cut.now().wall + jiff::SignedDuration::from_secs(60),
    });
    let ignored = cut.says(5, "OB LB", Some(100));
    assert_eq!((ignored.obeys(), ignored.verdict()), (ClusterState::Running, UpsVerdict::Ignored));
    assert!(!ignored.rewritten().power.is_on_battery());
    assert!(!ignored.rewritten().power.warnings.is_empty(), "and everybody sees it");
    assert_eq!(ignored.says(60, "OB LB", Some(100)).obeys(), ClusterState::Poweroff, "only for its time");
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
    assert_eq!(polls().says(5, "OL", Some(3600)).falls_silent(400).obeys(), ClusterState::Running);
    let mute = || polls().says_each(5, "OB", |_| (None, None));
    assert_eq!(mute().falls_silent(15).obeys(), ClusterState::Running);
    assert_eq!(mute().falls_silent(25).obeys(), ClusterState::Poweroff, "it never told any figures");
    assert_eq!(polls().says(5, "OB", Some(3600)).falls_silent(290).obeys(), ClusterState::Running);
    assert_eq!(
        polls().says(5, "OB", Some(3600)).falls_silent(310).obeys(),
        ClusterState::Poweroff,
        "whatever it promised"
    );
    let half = || polls().says(5, "OB", Some(1000)).falls_silent(45);
    assert_eq!((half().obeys(), half().falls_silent(10).obeys()), (ClusterState::Running, ClusterState::Poweroff));
}

#[test]
fn mains_that_had_not_stood_are_no_calm_when_the_ups_falls_silent() {
    let flicker = || polls().says(5, "OB", Some(600)).says(3, "OL", Some(600));
    assert_eq!(flicker().falls_silent(25).obeys(), ClusterState::Poweroff);
    assert_eq!(flicker().says(12, "OL", Some(600)).falls_silent(400).obeys(), ClusterState::Running, "they stood");
}

#[test]
fn an_override_ends_by_mains_that_stand_or_by_a_silence_that_no_battery_outlasts() {
    let silent = || polls().says(12, "OB LB", Some(100)).falls_silent(4 * 3600 - 20);
    assert_eq!(silent().obeys(), ClusterState::Poweroff);
    let over = silent().falls_silent(60);
    assert_eq!((over.obeys(), over.verdict()), (ClusterState::Running, UpsVerdict::Unknown));
    assert!(over.evidence().contains("longer than this battery can last"), "{}", over.evidence());
}

#[test]
fn a_low_battery_that_always_stood_waits_for_the_debounce_and_is_disproved_by_a_discharge() {
    let worn = || polls().says(60, "OL LB RB", Some(3600));
    assert_eq!(worn().says(4, "OB LB RB", Some(3600)).obeys(), ClusterState::Running);
    assert_eq!(worn().says(8, "OB LB RB", Some(3600)).obeys(), ClusterState::Poweroff);
    let with_proof = |in_spite_of_lb, in_spite_of_rb| {
        let mut proven = worn();
        let (lasted, at) = (Duration::from_secs(3000), proven.now().stamp());
        let of = crate::ledger::Proven {
            lasted,
            load: None,
            fall_percent: Some(80.0),
            ended_at: None,
            in_spite_of_lb,
            in_spite_of_rb,
            at,
        };
        proven.ledger.devices.insert(UPS.into(), crate::ledger::Device { proven: Some(of), ..Default::default() });
        proven
    };
    let proven = with_proof(true, true).says(30, "OB LB RB", Some(3600));
    assert_eq!(proven.obeys(), ClusterState::Running, "{}", proven.evidence());
    let rose_since = with_proof(false, true).says(30, "OB LB RB", Some(3600));
    assert_eq!(rose_since.obeys(), ClusterState::Poweroff, "a proof that is older than LB says nothing against it");
    let worn_since = with_proof(true, false).says(30, "OB RB", Some(800));
    assert_eq!(worn_since.obeys(), ClusterState::Poweroff, "{}", worn_since.evidence());
}

#[test]
fn what_was_proven_caps_what_a_ups_promises_and_stands_in_where_it_promises_nothing() {
    let with_proof = |seconds| {
        let mut polls = polls();
        let (lasted, at) = (Duration::from_secs(seconds), polls.now().stamp());
        let proven = Some(crate::ledger::Proven {
            lasted,
            load: None,
            fall_percent: None,
            ended_at: None,
            in_spite_of_lb: true,
            in_spite_of_rb: true,
            at,
        });
        let device = crate::ledger::Device { proven, ..Default::default() };
        polls.ledger.devices.insert(UPS.into(), device);
        polls
    };
    assert_eq!(with_proof(400).says(10, "OB", Some(3600)).obeys(), ClusterState::Poweroff, "90 % of 400 s");
    assert_eq!(with_proof(3600).says(10, "OB", Some(400)).obeys(), ClusterState::Poweroff, "it never raises one");
    assert_eq!(with_proof(3600).says(200, "OB", None).obeys(), ClusterState::Running);
}

#[test]
fn a_word_that_is_not_heeded_triggers_nothing() {
    let mut ignoring = polls();
    let ups = ignoring.config.upses.get_mut(&UpsName::from(UPS)).expect("it is there");
    ups.ignored_words.insert(crate::snapshot::UpsWord::Lb);
    assert_eq!(ignoring.says(30, "OB LB", Some(3600)).obeys(), ClusterState::Running);
}

#[test]
fn a_driver_that_waits_says_nothing_and_takes_nothing_back() {
    assert_eq!(polls().says(5, "OL", Some(3600)).says(60, "WAIT", None).obeys(), ClusterState::Running);
    assert_eq!(
        polls().says(5, "OB", Some(3600)).says_each(310, "WAIT", |_| (None, None)).obeys(),
        ClusterState::Poweroff
    );
}

#[test]
fn a_calibration_suppresses_for_a_limited_time_and_not_in_silence() {
    assert_eq!(polls().says(55, "OB CAL DISCHRG LB", Some(10)).obeys(), ClusterState::Running);
    assert_eq!(
        polls().says(65, "OB CAL DISCHRG LB", Some(10)).obeys(),
        ClusterState::Poweroff,
        "none goes on through LB"
    );
    let mut endless = polls();
    endless.config.ups_policy.calibration_max = Duration::from_secs(30);
    assert_eq!(endless.says(60, "OB CAL DISCHRG", Some(10)).obeys(), ClusterState::Poweroff);
    assert_eq!(polls().says(5, "CAL DISCHRG", Some(10)).falls_silent(25).obeys(), ClusterState::Poweroff);
}

#[test]
fn a_test_of_the_battery_that_begins_in_an_outage_is_none() {
    for late in ["CAL DISCHRG", "OB CAL", "OB DISCHRG TEST"] {
        let outage = polls().says(5, "OL", Some(3600)).says(90, "OB DISCHRG", Some(1800));
        assert_eq!(outage.says(30, late, Some(60)).obeys(), ClusterState::Poweroff, "{late}");
        // A driver that reads the test less often than the status tells of it a little later.
        let soon = polls().says(5, "OL", Some(3600)).says(40, "OB DISCHRG", Some(1800));
        assert_eq!(soon.says(120, late, Some(60)).obeys(), ClusterState::Running, "{late}");
    }
    let again = polls().says(5, "OL", Some(3600)).says(90, "OB DISCHRG", Some(1800)).says(70, "OL CHRG", Some(1800));
    assert_eq!(again.says(30, "OB CAL", Some(60)).obeys(), ClusterState::Running);
}

#[test]
fn a_driver_that_says_cal_of_a_test_is_heard_when_it_says_low_battery() {
    let of = |driver: &str| {
        let mut polls = polls();
        polls.driver = Some(driver.to_owned());
        polls.says(5, "OL", Some(3600)).says(30, "OB CAL", Some(3600)).says(30, "OB CAL LB", Some(10)).obeys()
    };
    assert_eq!(of("nutdrv_qx"), ClusterState::Poweroff);
    assert_eq!(of("usbhid-ups"), ClusterState::Running, "a calibration goes down to LB");
}

#[test]
fn what_a_calibration_drew_says_nothing_of_the_outage_after_it() {
    let after = polls().says(20, "CAL OB DISCHRG", Some(5)).says(1, "OB DISCHRG", Some(1800));
    assert_eq!(after.verdict(), UpsVerdict::OnBattery);
    assert_eq!(after.says(1, "OL CHRG", Some(1800)).verdict(), UpsVerdict::OnLine);
    let low = polls().says(20, "CAL OB DISCHRG", Some(5)).says(3, "OB DISCHRG", Some(5));
    assert_eq!(low.verdict(), UpsVerdict::OnBattery, "the debounce begins with the outage");
    assert_eq!(low.says(6, "OB DISCHRG", Some(5)).verdict(), UpsVerdict::Critical);
}

#[test]
fn a_calibration_flag_on_line_is_no_battery_that_fell_silent() {
    assert_eq!(polls().says(30, "OL CAL", Some(3600)).falls_silent(60).obeys(), ClusterState::Running);
}

#[test]
fn mains_that_nobody_heard_for_a_while_are_stable_only_from_then_on() {
    let mut polls = polls();
    polls.config.ups_policy.max_age = Duration::from_secs(3);
    let cut = polls.says(1, "OB LB", Some(100)).says(5, "OL", Some(3600)).falls_silent(25).says(6, "OL", Some(3600));
    assert_eq!(cut.obeys(), ClusterState::Poweroff, "six seconds of ten");
    assert_eq!(cut.says(6, "OL", Some(3600)).obeys(), ClusterState::Running);
}

#[test]
fn a_short_gap_without_a_fall_of_the_charge_interrupts_no_mains() {
    let after_gap = |charge| {
        let mut polls = polls();
        polls.config.ups_policy.max_age = Duration::from_secs(3);
        let before = polls.says(1, "OB LB", Some(100)).says(5, "OL", Some(3600)).falls_silent(10);
        before.says_each(1, "OL", move |_| (Some(3600), Some(charge)))
    };
    assert_eq!(after_gap(90.0).obeys(), ClusterState::Running);
    assert_eq!(after_gap(85.0).obeys(), ClusterState::Poweroff, "they were gone meanwhile");
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
    let full = patient.budget().full.time.as_secs();
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
    let budget = patient.budget();
    let (full, least) = (budget.full.time.as_secs(), budget.emergency.time.as_secs() * 5 / 4);
    let graceful = patient.says(10, "OB", Some(full + 20)).says(5, "OB", Some(least + 20));
    assert_eq!(graceful.rewritten().effective.path(), Path::Graceful);
    assert_eq!(graceful.says(5, "OB", Some(least - 1)).rewritten().effective.path(), Path::Emergency);
}

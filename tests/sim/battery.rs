//! What is known of a battery, as `hecate status` shows it: its record of calm, what it proved to give, hecate's own count.

use std::time::Duration;

use hecate::ledger::{Calm, Device, Proven};
use hecate::model::{BootId, Stamp, UpsName};
use hecate::plan::blocker::Warning;
use hecate::simulate::Simulation;
use hecate::simulate::blueprint;
use hecate::simulate::world::World;
use hecate::status::BatteryRow;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn pyrphoros() -> UpsName {
    UpsName::from(blueprint::UPS)
}

fn converged() -> Simulation {
    let config = blueprint::config(3, 2).expect("the blueprint is a cluster");
    let world = World::running(&config, 20 * MINUTE, 4);
    let mut simulation = Simulation::new(config, world, "2026-11-22T02:00:00Z".parse().expect("a timestamp"));
    assert!(simulation.run_until(5 * MINUTE, Simulation::is_converged), "a running cluster converges");
    simulation
}

fn known(simulation: &Simulation) -> Option<BatteryRow> {
    simulation.last.as_ref().and_then(|last| last.status.upses[&pyrphoros()].battery.clone())
}

fn warnings(simulation: &Simulation) -> Vec<Warning> {
    simulation.last.as_ref().map(|last| last.plan.warnings.clone()).unwrap_or_default()
}

/// A moment of an earlier boot.
fn before(simulation: &Simulation, ago: Duration) -> Stamp {
    Stamp { boot_id: BootId::new("earlier"), ..simulation.now().stamp_before(ago) }
}

/// What an earlier boot learned: a runtime in calm times, and a discharge so long ago.
fn learned(simulation: &mut Simulation, runtime: Duration, proven: Duration, ago: Duration) {
    let calm = Calm {
        runtime: Some(runtime),
        charge: Some(98.0),
        load: Some(100.0),
        at: before(simulation, HOUR),
        longer_since: None,
    };
    let at = before(simulation, ago);
    let proven = Proven {
        lasted: proven,
        load: Some(100.0),
        fall_percent: None,
        ended_at: None,
        in_spite_of_lb: true,
        in_spite_of_rb: true,
        at,
    };
    let known = simulation.desk.ledger.devices.remove(&pyrphoros()).unwrap_or_default();
    let device = Device { calm: Some(calm), proven: Some(proven), ..known };
    simulation.desk.ledger.devices.insert(pyrphoros(), device);
    simulation.tick();
}

#[test]
fn status_shows_the_record_the_proof_with_its_age_and_the_own_count() {
    let mut simulation = converged();
    simulation.run_until(2 * MINUTE, |_| false);
    let row = known(&simulation).expect("a calm is watched");
    assert!(row.record.is_none() && row.proof.is_none() && row.full_runtime.is_none(), "{row:?}");
    assert_eq!((row.own_count_percent, row.recharge, row.is_recharge_learned), (100.0, 8 * HOUR, false));
    learned(&mut simulation, 20 * MINUTE, 18 * MINUTE, 40 * DAY);
    let row = known(&simulation).expect("it was learned");
    assert_eq!(row.full_runtime, Some(18 * MINUTE), "what was proven caps what is said");
    let (record, proof) = (row.record.expect("there is one"), row.proof.expect("there is one"));
    assert_eq!((record.runtime, record.charge_percent), (Some(20 * MINUTE), Some(98.0)));
    assert!(record.age >= HOUR && record.age < HOUR + MINUTE, "{record:?}");
    assert!(proof.is_recent && proof.age >= 40 * DAY && proof.age < 41 * DAY, "{proof:?}");
    assert_eq!((proof.lasted, proof.fall_percent), (18 * MINUTE, None));
    assert_eq!(warnings(&simulation), vec![]);
}

#[test]
fn an_outage_is_counted_and_a_person_makes_all_of_it_forgotten() {
    let mut simulation = converged();
    learned(&mut simulation, 20 * MINUTE, 20 * MINUTE, 40 * DAY);
    simulation.world.upses.values_mut().for_each(|battery| battery.mains = false);
    simulation.run_until(6 * MINUTE, |_| false);
    simulation.world.mains_back(&pyrphoros());
    simulation.run_until(2 * MINUTE, |_| false);
    let row = known(&simulation).expect("it was learned");
    assert!((60.0..80.0).contains(&row.own_count_percent), "6 of 20 minutes are gone: {row:?}");
    let now = simulation.now().wall;
    simulation.desk.declared.forget.push(hecate::desired::Forget {
        ups: pyrphoros(),
        set_by: "root@test".to_owned(),
        set_at: now,
    });
    simulation.tick();
    simulation.tick();
    let row = known(&simulation);
    assert!(row.is_none_or(|row| row.record.is_none() && row.proof.is_none() && row.own_count_percent == 100.0));
}

#[test]
fn what_was_proven_too_long_ago_is_a_warning_with_its_age() {
    let mut simulation = converged();
    learned(&mut simulation, 20 * MINUTE, 20 * MINUTE, 200 * DAY);
    assert!(known(&simulation).is_some_and(|row| row.proof.is_some_and(|proof| !proof.is_recent)));
    let warned = warnings(&simulation);
    assert!(matches!(&warned[..], [Warning::Ups { evidence, .. }] if evidence.contains("200 days old")), "{warned:?}");
}

#[test]
fn a_promise_far_above_the_proof_asks_for_a_persons_word_after_a_new_battery() {
    let mut simulation = converged();
    learned(&mut simulation, 60 * MINUTE, 20 * MINUTE, 40 * DAY);
    let is_told = |warning: &Warning| warning.to_string().contains("hecate ups forget pyrphoros");
    assert!(warnings(&simulation).iter().any(is_told), "{:?}", warnings(&simulation));
    learned(&mut simulation, 30 * MINUTE, 20 * MINUTE, 40 * DAY);
    assert!(!warnings(&simulation).iter().any(is_told), "{:?}", warnings(&simulation));
}

#[test]
fn a_battery_below_the_gate_or_the_trigger_is_named_in_calm_times() {
    for (proven, said) in [(15, "the recharge gate asks for 960 s"), (7, "the trigger is at 450 s")] {
        let mut simulation = converged();
        learned(&mut simulation, 20 * MINUTE, proven * MINUTE, 40 * DAY);
        let warned = warnings(&simulation);
        let small = |warning: &Warning| {
            if let Warning::BatteryTooSmall { evidence, .. } = warning { Some(evidence.clone()) } else { None }
        };
        let evidence = warned.iter().find_map(small).unwrap_or_else(|| panic!("{warned:?}"));
        assert!(evidence.contains(&format!("it gives {} s", proven * 60)) && evidence.contains(said), "{evidence}");
    }
}

#[test]
fn what_was_learned_of_a_battery_outlives_a_reload_without_its_ups_and_another_name() {
    let mut simulation = converged();
    simulation.world.upses.values_mut().for_each(|battery| battery.lie.device = Some("3B1234X".to_owned()));
    simulation.run_until(2 * MINUTE, |_| false);
    learned(&mut simulation, 20 * MINUTE, 18 * MINUTE, 40 * DAY);
    let has_proof = |simulation: &Simulation| {
        simulation.desk.ledger.devices.get(&pyrphoros()).is_some_and(|device| device.proven.is_some())
    };
    let settings = simulation.config.upses.remove(&pyrphoros()).expect("it is configured");
    simulation.run_until(MINUTE, |_| false);
    assert!(has_proof(&simulation), "a reload without it may be a mistake");
    // The same device under the name that it had before.
    let device = simulation.desk.ledger.devices.remove(&pyrphoros()).expect("it is kept");
    simulation.desk.ledger.devices.insert(UpsName::from("before"), device);
    simulation.config.upses.insert(pyrphoros(), settings);
    simulation.run_until(MINUTE, |_| false);
    assert!(has_proof(&simulation) && simulation.desk.ledger.devices.len() == 1, "its serial number tells it");
}

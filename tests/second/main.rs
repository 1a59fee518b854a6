//! A second world for hecate, written from the documentation of NUT, systemd, k3s and etcd by somebody who has not read
//! hecate's rules, nor its first world.
//!
//! It drives the real `Desk` with a virtual clock and judges from its own truth. `HECATE_SEEDS` says how many plays
//! (300), `HECATE_SEED` from which seed on; with `HECATE_SEED` and no `HECATE_SEEDS` one seed is played and told.

mod acts;
mod cluster;
mod daemon;
mod draw;
mod eyes;
mod host;
mod judge;
mod judge_end;
mod judge_power;
mod judge_steps;
mod nut;
mod profile;
mod report;
mod script;
mod site;
mod ups;
mod world;
mod yaml;

/// Nothing of what the rules in `judge.rs` forbid happens in any play.
#[test]
fn the_second_world_holds() {
    let report = report::play_all();
    report.print();
    assert_eq!(report.broken(), 0, "plays broke a rule");
}

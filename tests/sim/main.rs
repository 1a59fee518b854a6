//! The tests that play hecate in its built-in world.
//!
//! They need the pure rooms only (`--no-default-features --features sim`), and the profile `sim`: millions of decisions
//! are made here, with every check of a debug build.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so best by ending there")]

mod battery;
mod feeds;
mod guards;
mod profiles;
mod rehearsal;
mod rules;
mod scenarios;
mod seeds;
mod simulation;
mod waking;
mod world;

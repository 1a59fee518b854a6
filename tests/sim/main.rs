//! The tests that play hecate in its built-in world.
//!
//! They need the pure rooms only (`--no-default-features --features sim`), and the profile `sim`: millions of decisions
//! are made here, with every check of a debug build.

mod feeds;
mod guards;
mod simulation;
mod waking;

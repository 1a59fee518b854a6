//! What hecate sees: each source with its own cadence and deadline; none ever fails the others.
//!
//! An observer changes nothing, and what it could not see is a reading with its reason, never an error.

pub mod kubernetes;

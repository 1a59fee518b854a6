//! What is to be expected of an outage before one comes: who goes, how each comes back, whether a battery is enough.
//!
//! Pure. It reads the configuration and figures that somebody else saw; it obeys nothing and plans nothing.

#![deny(clippy::disallowed_methods)]

pub mod battery;
pub mod checks;
pub mod outages;
pub mod text;

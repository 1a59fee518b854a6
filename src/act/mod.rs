//! What hecate does: each step carried out once, with a deadline.
//!
//! An actor decides nothing beyond its one last look, and never says "done": only a later snapshot does.

pub mod kubernetes;

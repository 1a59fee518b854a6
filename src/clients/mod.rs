//! Thin typed wires: observers read and actors write through them.
//!
//! A wire carries and never judges: it knows no rule and no configuration beyond its own address.

pub mod kubernetes;

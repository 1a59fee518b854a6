//! Thin typed wires to the outside: they ask and answer, and judge nothing.
//!
//! `observe/` reads and `act/` writes through them; a wire knows no rule and no configuration beyond its own address.

pub mod kubernetes;
pub mod nut;
pub mod ssh;

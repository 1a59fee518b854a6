//! Thin typed wires to the outside: they ask and answer, and judge nothing.
//!
//! `observe/` reads and `act/` writes through them.

pub mod nut;
pub mod ssh;

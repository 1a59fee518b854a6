//! Carrying out one step: says "tried" or "refused", never "done".
//!
//! An actor decides nothing; it takes the last look that its step asks for, and acts.

pub mod etcd;
pub mod nodes;
pub mod power;

//! The one test binary: everything that needs neither root nor the network.

mod samples;
mod simulation;
mod store;
mod tidy;

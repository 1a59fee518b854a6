//! The one test binary: everything that needs neither root nor the network.

mod config;
mod kubernetes;
mod samples;
mod schemas;
mod simulation;
mod store;
mod tidy;

//! The one test binary: everything that needs neither root nor the network.

mod clients;
mod config;
mod kubernetes;
mod probe;
mod samples;
mod schemas;
mod simulation;
mod store;
mod tidy;

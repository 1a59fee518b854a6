//! The one test binary: everything that needs neither root nor the network.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so best by ending there")]

mod cli;
mod clients;
mod config;
mod kubernetes;
mod probe;
mod samples;
mod schemas;
mod serve;
mod store;
mod tidy;

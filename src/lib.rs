//! hecate brings a whole k3s cluster up and down safely, driven by its UPSes.

pub mod cli;
pub mod config;
pub mod desired;
pub mod history;
pub mod ledger;
pub mod model;
pub mod plan;
pub mod reconcile;
pub mod serve;
pub mod snapshot;
pub mod status;
pub mod store;
pub mod telemetry;
pub mod tracker;

//! hecate brings a whole k3s cluster up and down safely, driven by its UPSes.

pub mod act;
pub mod budget;
pub mod cli;
pub mod clients;
pub mod clock;
pub mod config;
pub mod decide;
pub mod desired;
pub mod history;
pub mod ledger;
pub mod model;
pub mod observe;
pub mod plan;
pub mod reconcile;
pub mod serve;
pub mod simulate;
pub mod snapshot;
pub mod status;
pub mod store;
pub mod telemetry;
pub mod tracker;

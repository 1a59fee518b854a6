//! hecate brings a whole k3s cluster up and down safely, driven by its UPSes.
//!
//! ```text
//!  desired.yaml ──▶ UPS policy rewrites ──▶ effective state ┐
//!                                                           ├─▶ plan ──▶ steps ──▶ act ──▶ the world
//!  UPS · nodes · API · etcd ──▶ snapshot ───────────────────┘        │
//!         ▲                                                        status, metrics, runs
//!         └───────────────────────── observe again ◀──────────────────────────────┘
//! ```
//!
//! [`decide`](decide::decide) is the whole of it without the world; [`reconcile`] drives it with the world, and
//! [`simulate`] with one that is built in. `ARCHITECTURE.md` is the map.

#[cfg(feature = "host")]
pub mod act;
pub mod budget;
#[cfg(feature = "host")]
pub mod cli;
#[cfg(feature = "host")]
pub mod clients;
#[cfg(feature = "host")]
pub mod clock;
pub mod config;
pub mod decide;
pub mod desired;
pub mod desk;
pub mod foresee;
pub mod history;
pub mod ledger;
pub mod model;
#[cfg(feature = "host")]
pub mod observe;
pub mod plan;
#[cfg(feature = "host")]
pub mod reconcile;
#[cfg(feature = "host")]
pub mod serve;
pub mod simulate;
pub mod snapshot;
pub mod status;
#[cfg(feature = "host")]
pub mod store;
#[cfg(feature = "host")]
pub mod telemetry;
pub mod tracker;

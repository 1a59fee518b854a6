//! What is known of each UPS' battery beside what the UPS says now: its record of calm, what it proved to give, hecate's
//! own count.
//!
//! Pure. It shows what the ledger keeps and the policy goes by; it judges nothing anew.

#![deny(clippy::disallowed_methods)]

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::desired::ups_policy;
use crate::ledger::Device;
use crate::model::{UpsName, seconds, seconds_option};
use crate::plan::scene::Scene;

/// What is known of a battery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatteryRow {
    /// What it gives at full load when it is full: what its UPS says of that in calm times, and no more than it proved.
    #[serde(with = "seconds_option")]
    #[schemars(with = "Option<f64>")]
    pub full_runtime: Option<Duration>,
    /// What its UPS says when it is calm.
    pub record: Option<RecordRow>,
    /// For how long a calm has been watched from which a record is made.
    #[serde(with = "seconds_option")]
    #[schemars(with = "Option<f64>")]
    pub watched_for: Option<Duration>,
    /// What it proved to give.
    pub proof: Option<ProofRow>,
    /// What it holds by hecate's own count, percent; 100 where no outage of it is known.
    pub own_count_percent: f64,
    /// From empty to full.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub recharge: Duration,
    /// Whether that was seen, and not only configured.
    pub is_recharge_learned: bool,
}

/// What a UPS says in calm times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordRow {
    /// `battery.runtime`.
    #[serde(with = "seconds_option")]
    #[schemars(with = "Option<f64>")]
    pub runtime: Option<Duration>,
    /// `battery.charge`: how full it gets.
    pub charge_percent: Option<f64>,
    /// `ups.load`.
    pub load_percent: Option<f64>,
    /// When it was learned.
    pub at: Timestamp,
    /// How long ago.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub age: Duration,
}

/// What a battery proved to give.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProofRow {
    /// For how long.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub lasted: Duration,
    /// At this mean load.
    pub load_percent: Option<f64>,
    /// While its charge fell by so many points; None: to its end.
    pub fall_percent: Option<f64>,
    /// When.
    pub at: Timestamp,
    /// How long ago.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub age: Duration,
    /// Whether it is recent enough to contradict the UPS.
    pub is_recent: bool,
}

/// What the ledger knows of a battery; None: nothing yet.
pub(super) fn row(scene: &Scene<'_>, ups: &UpsName) -> Option<BatteryRow> {
    let device = scene.ledger.devices.get(ups)?;
    let Device { id: _, calm, watch, proven, count, recharge, discharge: _ } = device;
    if calm.is_none() && watch.is_none() && proven.is_none() && count.is_none() && recharge.is_none() {
        return None;
    }
    let battery = ups_policy::battery(scene.ledger, ups);
    let configured = scene.config.upses.get(ups)?.recharge;
    let held = battery.own_count(configured, scene.now);
    // In an outage the count goes on where that ends; until then its charge says more.
    let reading = scene.snapshot.upses.get(ups).and_then(|it| it.value()).filter(|_| battery.is_outage_open());
    let charge = reading.and_then(|reading| reading.charge_percent).map(|charge| battery.percent_of_full(charge));
    Some(BatteryRow {
        full_runtime: battery.full_runtime(),
        record: calm.as_ref().map(|calm| RecordRow {
            runtime: calm.runtime,
            charge_percent: calm.charge,
            load_percent: calm.load,
            at: calm.at.wall,
            age: calm.at.age(scene.now),
        }),
        watched_for: watch.as_ref().map(|watch| watch.since.age(scene.now)),
        proof: proven.as_ref().map(|proven| ProofRow {
            lasted: proven.lasted,
            load_percent: proven.load,
            fall_percent: proven.fall_percent,
            at: proven.at.wall,
            age: proven.at.age(scene.now),
            is_recent: battery.proven_recently(scene.now).is_some(),
        }),
        own_count_percent: charge.map_or(held, |charge| charge.min(held)),
        recharge: recharge.unwrap_or(configured),
        is_recharge_learned: recharge.is_some(),
    })
}

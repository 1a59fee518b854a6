//! A play: a cluster, and what happens to it when.
//!
//! Pure. A script is data: scenarios are read from files, seeds draw one, a failing one is shrunk and printed.

#![deny(clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_yaml::{Mapping, Value};

use super::blueprint;
use super::event::Event;
use super::world::device::Device;
use super::world::network::Switch;
use super::world::{STOP_TIMEOUT, World};
use super::{QUIET_TICK, Simulation, TICK};
use crate::config::{Config, ConfigMistakes};
use crate::model::{NodeName, UpsName};
use crate::snapshot::Datastore;

/// The virtual clock of every script starts here, so that each play prints the same.
const STARTED_AT: Timestamp = Timestamp::constant(1_767_225_600 + 86_400, 0);

/// A cluster and what happens to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Script {
    /// The cluster.
    #[serde(default)]
    pub cluster: Cluster,
    /// What happens, in the order of time.
    pub events: Vec<Happening>,
    /// How long is played, from the moment at which the cluster is converged.
    pub minutes: u64,
}

/// A cluster to play with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Cluster {
    /// Control planes, `cp-1` and on.
    pub servers: usize,
    /// Workers, `worker-1` and on.
    pub workers: usize,
    /// Keys of `hecate.yaml` that are not as the built-in cluster has them; mappings are merged, everything else replaced.
    #[serde(skip_serializing_if = "Mapping::is_empty")]
    pub config: Mapping,
    /// What full batteries give with everything running.
    pub battery_minutes: u64,
    /// From an empty battery to a full one.
    pub recharge_minutes: u64,
    /// Pods a node.
    pub pods: usize,
    /// From a unit's stop to it being stopped.
    pub unit_stop_seconds: u64,
    /// From power-off told to no power.
    pub host_stop_seconds: u64,
    /// Whether each node runs a pod of the storage that a disruption budget protects.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub storage_pods: bool,
    /// Whether nodes start k3s by themselves when they boot, as k3s' installer makes them.
    pub units_enabled: bool,
    /// UPSes that are not as the built-in cluster has them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub devices: BTreeMap<UpsName, Device>,
    /// A network switch that no UPS feeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub switch: Option<Switch>,
    /// How long hosts go on writing after they have fallen silent on their way down.
    #[serde(skip_serializing_if = "is_zero")]
    pub host_tail_seconds: u64,
    /// A host is looked at so often; 0: at every pass.
    #[serde(skip_serializing_if = "is_zero")]
    pub look_seconds: u64,
    /// Where k3s keeps its data.
    #[serde(skip_serializing_if = "is_etcd")]
    pub datastore: Datastore,
    /// systemd kills a unit that stops for so long.
    #[serde(skip_serializing_if = "is_usual_stop_timeout")]
    pub stop_timeout_seconds: u64,
    /// Nodes on which sudo does not allow to end containers.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub killall_denied: BTreeSet<NodeName>,
    /// Whether hosts have a chronyd that says how far their clock is off.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub chronyd: bool,
    /// For so long nothing happens before the play begins.
    #[serde(skip_serializing_if = "is_zero")]
    pub calm_hours: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_usual_stop_timeout(seconds: &u64) -> bool {
    *seconds == STOP_TIMEOUT.as_secs()
}

fn is_etcd(datastore: &Datastore) -> bool {
    *datastore == Datastore::Etcd
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            servers: 3,
            workers: 2,
            config: Mapping::new(),
            battery_minutes: 20,
            recharge_minutes: 180,
            pods: 4,
            unit_stop_seconds: 5,
            host_stop_seconds: 12,
            storage_pods: false,
            units_enabled: false,
            devices: BTreeMap::new(),
            switch: None,
            host_tail_seconds: 0,
            look_seconds: 0,
            datastore: Datastore::Etcd,
            stop_timeout_seconds: STOP_TIMEOUT.as_secs(),
            killall_denied: BTreeSet::new(),
            chronyd: false,
            calm_hours: 0,
        }
    }
}

/// Something that happens at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Happening {
    /// Seconds since the play began.
    pub at: u64,
    /// What.
    pub event: Event,
}

/// `{at: 60, event: mains-lost}`: `at` beside the event's own keys.
impl Serialize for Happening {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error;
        let mut mapping = Mapping::from_iter([(Value::from("at"), Value::from(self.at))]);
        let event = serde_yaml::to_value(&self.event).map_err(S::Error::custom)?;
        mapping.extend(event.as_mapping().cloned().unwrap_or_default());
        mapping.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Happening {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut mapping = Mapping::deserialize(deserializer)?;
        let at = mapping.remove("at").ok_or_else(|| D::Error::missing_field("at"))?;
        let at = at.as_u64().ok_or_else(|| D::Error::custom("`at` is a number of seconds, 0 or more"))?;
        let named = mapping.get("event").and_then(Value::as_str).unwrap_or("?").to_owned();
        let event = serde_yaml::from_value(Value::Mapping(mapping));
        let event = event.map_err(|failure| D::Error::custom(format!("event {named} at {at} s: {failure}")))?;
        Ok(Self { at, event })
    }
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>5} s  {}", self.at, self.event)
    }
}

/// Why a script cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// Its cluster's configuration has mistakes.
    #[error("the cluster's configuration has mistakes:\n{}", .0.in_file("cluster"))]
    Config(ConfigMistakes),
    /// It is no YAML that could be written.
    #[error("the cluster's configuration cannot be written as YAML")]
    Write(#[from] serde_yaml::Error),
}

impl Cluster {
    /// The text of its `hecate.yaml`.
    ///
    /// # Errors
    /// Fails where `config` holds what YAML cannot say.
    pub fn config_text(&self) -> Result<String, ScriptError> {
        let text = blueprint::text(self.servers, self.workers);
        if self.config.is_empty() {
            return Ok(text);
        }
        let mut whole: Mapping = serde_yaml::from_str(&text)?;
        merge(&mut whole, &self.config);
        Ok(serde_yaml::to_string(&whole)?)
    }

    /// The cluster, running and not yet looked at.
    ///
    /// # Errors
    /// Fails where its configuration has mistakes.
    pub fn build(&self) -> Result<Simulation, ScriptError> {
        let config = Config::parse(&self.config_text()?).map_err(ScriptError::Config)?.config;
        let mut world = World::running(&config, Duration::from_secs(60 * self.battery_minutes), self.pods);
        world.pace.recharge = Duration::from_secs(60 * self.recharge_minutes.max(1));
        world.pace.unit_stop = Duration::from_secs(self.unit_stop_seconds);
        world.pace.host_stop = Duration::from_secs(self.host_stop_seconds);
        if self.storage_pods {
            world.add_storage_pods();
        }
        for (name, host) in &mut world.hosts {
            (host.starts_by_itself, host.has_ntp) = (self.units_enabled, self.chronyd);
            host.tail = Duration::from_secs(self.host_tail_seconds);
            host.stop_timeout = Duration::from_secs(self.stop_timeout_seconds);
            host.killall_allowed = !self.killall_denied.contains(name);
        }
        for (name, device) in &self.devices {
            world.on_ups(Some(name), |battery| battery.become_device(device.clone()));
        }
        (world.network.switch, world.datastore) = (self.switch.clone(), self.datastore);
        let mut simulation = Simulation::new(config, world, STARTED_AT);
        simulation.lag.every = Duration::from_secs(self.look_seconds);
        Ok(simulation)
    }
}

/// Puts the keys of one mapping into another one, mappings key by key.
fn merge(whole: &mut Mapping, part: &Mapping) {
    for (key, value) in part {
        match (whole.get_mut(key), value) {
            (Some(Value::Mapping(old)), Value::Mapping(new)) => merge(old, new),
            _ => _ = whole.insert(key.clone(), value.clone()),
        }
    }
}

/// The longest that a cluster may take to be looked at and found converged, before anything happens.
const SETTLING_MAX: Duration = Duration::from_secs(600);

/// A play that goes on.
#[derive(Debug)]
pub struct Play<'a> {
    /// hecate and the world.
    pub simulation: Simulation,
    script: &'a Script,
    began: Duration,
    next: usize,
}

impl<'a> Play<'a> {
    /// Builds the cluster and lets hecate look at it until it is converged.
    ///
    /// # Errors
    /// Fails where the cluster's configuration has mistakes.
    pub fn new(script: &'a Script) -> Result<Self, ScriptError> {
        let mut simulation = script.cluster.build()?;
        simulation.run_until(SETTLING_MAX, Simulation::is_converged);
        let calm = simulation.world.time + Duration::from_secs(3600 * script.cluster.calm_hours);
        while simulation.world.time < calm {
            simulation.tick_for(QUIET_TICK);
        }
        let began = simulation.world.time;
        Ok(Self { simulation, script, began, next: 0 })
    }

    /// Virtual time since the play began.
    pub fn elapsed(&self) -> Duration {
        self.simulation.world.time.saturating_sub(self.began)
    }

    /// Whether everything has happened and the time is over.
    pub fn is_over(&self) -> bool {
        self.elapsed() >= Duration::from_secs(60 * self.script.minutes)
    }

    /// Lets happen what is due, then plays one tick, no longer than until the next event. Gives what happened.
    pub fn tick(&mut self) -> (&'a [Happening], &Simulation) {
        let first = self.next;
        while let Some(due) =
            self.script.events.get(self.next).filter(|it| Duration::from_secs(it.at) <= self.elapsed())
        {
            due.event.happen(&mut self.simulation);
            self.next += 1;
        }
        let left = self.script.events.get(self.next).map(|it| Duration::from_secs(it.at) - self.elapsed());
        // What happens wakes a pass, as a changed file or a watch does.
        let by = if self.next > first { TICK } else { self.simulation.next_tick().min(left.unwrap_or(Duration::MAX)) };
        self.simulation.tick_for(by);
        (&self.script.events[first..self.next], &self.simulation)
    }
}

//! The words every room shares: names, roles, states, time and readings.
//!
//! Pure. Nothing here knows where a value came from or what will be done with it.

#![deny(clippy::disallowed_methods)]

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Makes a string newtype with the traits that names need. Its text is shared: every pass hands names on from map to map.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it is; configuration checks the characters.
            pub fn new(text: impl AsRef<str>) -> Self {
                Self(Arc::from(text.as_ref()))
            }

            /// Gives the text back.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }
    };
}

name!(
    /// The Kubernetes name of a node, which is also the key of its host in the inventory.
    NodeName
);
name!(
    /// The name of a UPS in hecate's configuration; its address is the NUT `target`.
    UpsName
);
name!(
    /// Another hecate host as `coordination.peer_hosts` writes it: `HOST` or `USER@HOST`.
    PeerName
);
name!(
    /// `/proc/sys/kernel/random/boot_id`: differs at every boot of a host (random(4)).
    BootId
);
impl BootId {
    /// Takes what a host printed, where that is a boot id: a UUID as the kernel writes it.
    pub fn parse(text: &str) -> Option<Self> {
        let is_one = text.len() == 36 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        is_one.then(|| Self::new(text))
    }
}

name!(
    /// `/etc/machine-id`: stays for the life of an installation (machine-id(5)).
    MachineId
);
name!(
    /// The UID that the API server gave to one object; never used twice.
    Uid
);
name!(
    /// The id of one run (an episode's record), `[A-Za-z0-9._-]+`; also part of the etcd snapshot's name.
    RunId
);

/// What a node is in k3s' architecture; names are Kubernetes' own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs `k3s server`: API server, controllers, datastore, and a kubelet of its own.
    ControlPlane,
    /// Runs `k3s agent`: a kubelet only.
    Worker,
}

impl Role {
    /// The systemd unit that k3s' installer writes for this role (k3s docs, "Advanced options").
    pub fn unit(self) -> Unit {
        match self {
            Role::ControlPlane => Unit::K3s,
            Role::Worker => Unit::K3sAgent,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Role::ControlPlane => "control-plane",
            Role::Worker => "worker",
        })
    }
}

/// A systemd unit that hecate may start and stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// `k3s.service`, on control planes.
    K3s,
    /// `k3s-agent.service`, on workers.
    K3sAgent,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Unit::K3s => "k3s",
            Unit::K3sAgent => "k3s-agent",
        })
    }
}

/// The state of the whole cluster that somebody asks for. The order is the order of strictness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClusterState {
    /// Every managed host up, k3s serving, nodes Ready and schedulable.
    Running,
    /// Workloads drained, etcd snapshot taken, k3s and k3s-agent stopped; hosts stay up.
    DrainedOff,
    /// Drained off, then hosts powered off; the host hecate runs on last.
    Poweroff,
}

impl fmt::Display for ClusterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ClusterState::Running => "running",
            ClusterState::DrainedOff => "drained-off",
            ClusterState::Poweroff => "poweroff",
        })
    }
}

/// What other hosts and guards read in `intent.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Intent {
    /// The cluster runs, or is being kept running.
    Normal,
    /// A bring-up is going on.
    StartupInProgress,
    /// A descent is going on.
    ShuttingDown,
    /// The cluster is down as desired.
    ShutdownComplete,
}

/// The content of `intent.json`: what peers and guards read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IntentRecord {
    /// What this host is about.
    pub state: Intent,
    /// Since when.
    pub since: Timestamp,
    /// Who: `hecate@HOST`, or the operator whose wish it is.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Whether the host's clock was synchronised when it wrote `since`: where it was not, `since` says nothing.
    #[serde(default = "yes")]
    pub is_clock_synced: bool,
}

fn yes() -> bool {
    true
}

/// How carefully a shut-down goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Path {
    /// Cordon, drain, wait for detached volumes, etcd snapshot, stop.
    #[default]
    Graceful,
    /// The UPS' path: skips what the configuration lets it skip, and every limit is short.
    Emergency,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Path::Graceful => "graceful",
            Path::Emergency => "emergency",
        })
    }
}

/// The time of one pass, as an argument: no pure room asks a clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Now {
    /// CLOCK_BOOTTIME of the hecate host: counts through suspend, never jumps (clock_gettime(2)).
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub boottime: Duration,
    /// Which boot of the hecate host `boottime` belongs to.
    pub boot_id: BootId,
    /// CLOCK_REALTIME, for records and for ages across a reboot.
    pub wall: Timestamp,
    /// Whether the kernel says that `wall` is synchronised; an age across boots counts as zero while it is not.
    pub wall_synced: bool,
}

impl Now {
    /// Makes the mark that is kept where something must be dated durably.
    pub fn stamp(&self) -> Stamp {
        Stamp { boot_id: self.boot_id.clone(), boottime: self.boottime, wall: self.wall, wall_synced: self.wall_synced }
    }

    /// The mark of a moment so long ago in this boot.
    pub fn stamp_before(&self, ago: Duration) -> Stamp {
        let wall =
            SignedDuration::try_from(ago).ok().and_then(|ago| self.wall.checked_sub(ago).ok()).unwrap_or(self.wall);
        Stamp { boottime: self.boottime.saturating_sub(ago), wall, ..self.stamp() }
    }

    /// How long ago `then` (a boottime of this boot) was; zero if it lies ahead.
    pub fn since(&self, then: Duration) -> Duration {
        self.boottime.saturating_sub(then)
    }
}

/// A moment that outlives a reboot of the hecate host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stamp {
    /// The boot in which it was taken.
    pub boot_id: BootId,
    /// Boottime then.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub boottime: Duration,
    /// Wall clock then.
    pub wall: Timestamp,
    /// Whether it was synchronised.
    #[serde(default)]
    pub wall_synced: bool,
}

impl Stamp {
    /// Its age: by boottime within one boot; by wall clock across boots, never negative, and zero while the wall
    /// clock is not synchronised, so that nothing is taken for old because a clock is wrong.
    pub fn age(&self, now: &Now) -> Duration {
        if self.boot_id == now.boot_id {
            return now.since(self.boottime);
        }
        if !now.wall_synced {
            return Duration::ZERO;
        }
        Duration::try_from(now.wall.duration_since(self.wall)).unwrap_or(Duration::ZERO)
    }

    /// Its age where that is sure: across boots zero, too, where the wall clock was not synchronised then. For what must not be
    /// taken for over too soon.
    pub fn sure_age(&self, now: &Now) -> Duration {
        if self.boot_id != now.boot_id && !self.wall_synced { Duration::ZERO } else { self.age(now) }
    }
}

/// One thing that was looked at: its value, or why there is none. Either way it says when the look began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Reading<T> {
    /// It was seen.
    Known {
        /// What was seen.
        value: T,
        /// Boottime at which the observation began.
        #[serde(with = "seconds")]
        #[schemars(with = "f64")]
        began: Duration,
    },
    /// It could not be seen.
    Unknown {
        /// Why not.
        why: Failure,
        /// Boottime at which the failed observation began.
        #[serde(with = "seconds")]
        #[schemars(with = "f64")]
        began: Duration,
    },
}

impl<T> Reading<T> {
    /// A reading of something that was not looked at yet.
    pub fn not_yet() -> Self {
        Reading::Unknown { why: Failure::new(FailureKind::NotYet, "not observed yet"), began: Duration::ZERO }
    }

    /// Builds a known reading.
    pub fn known(value: T, began: Duration) -> Self {
        Reading::Known { value, began }
    }

    /// Builds an unknown reading.
    pub fn unknown(kind: FailureKind, detail: impl Into<String>, began: Duration) -> Self {
        Reading::Unknown { why: Failure::new(kind, detail), began }
    }

    /// The value, if it is known, whatever its age.
    pub fn value(&self) -> Option<&T> {
        match self {
            Reading::Known { value, .. } => Some(value),
            Reading::Unknown { .. } => None,
        }
    }

    /// The value, if it is known and was looked at within `limit`. Too old counts as Unknown.
    pub fn fresh(&self, now: &Now, limit: Duration) -> Option<&T> {
        match self {
            Reading::Known { value, began } if now.since(*began) <= limit => Some(value),
            Reading::Known { .. } | Reading::Unknown { .. } => None,
        }
    }

    /// When the observation began.
    pub fn began(&self) -> Duration {
        match self {
            Reading::Known { began, .. } | Reading::Unknown { began, .. } => *began,
        }
    }

    /// Why it is unknown.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Reading::Known { .. } => None,
            Reading::Unknown { why, .. } => Some(why),
        }
    }

    /// Whether this came of a look, and not of none so far.
    pub fn was_looked_at(&self) -> bool {
        self.failure().is_none_or(|why| why.kind != FailureKind::NotYet)
    }
}

/// Why something could not be observed or done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// The kind, which rules may ask for.
    pub kind: FailureKind,
    /// What a person needs to see; names the host or path; never a secret.
    pub detail: String,
}

impl Failure {
    /// Builds one.
    pub fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

/// The kinds of failure that rules tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// It was not looked at yet since hecate started.
    NotYet,
    /// No connection: refused, no route, or a name that does not resolve.
    Unreachable,
    /// No answer within the deadline.
    TimedOut,
    /// The host answered with another host key than the one enrolled, or with none enrolled.
    WrongHostKey,
    /// It answered, but does not let hecate in (SSH authentication, sudo, HTTP 401/403).
    AccessDenied,
    /// It answered with something that cannot be understood.
    Malformed,
    /// The UPS' data are older than upsd's MAXAGE (NUT `ERR DATA-STALE`).
    DataStale,
    /// upsd runs but its driver does not (NUT `ERR DRIVER-NOT-CONNECTED`).
    DriverNotConnected,
    /// upsd does not know this UPS (NUT `ERR UNKNOWN-UPS`).
    UnknownUps,
    /// Anything else; the detail says what.
    Other,
}

impl FailureKind {
    /// Whether something answered, though it gave no reading: it is there.
    pub fn is_answer(self) -> bool {
        match self {
            Self::Malformed | Self::AccessDenied | Self::Other => true,
            Self::NotYet
            | Self::Unreachable
            | Self::TimedOut
            | Self::WrongHostKey
            | Self::DataStale
            | Self::DriverNotConnected
            | Self::UnknownUps => false,
        }
    }
}

/// Durations as a number of seconds, the unit of every file hecate writes.
pub mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes seconds with at most millisecond precision.
    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64((value.as_secs_f64() * 1000.0).round() / 1000.0)
    }

    /// Reads seconds; refuses what is negative or not finite.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Optional durations as a number of seconds.
pub mod seconds_option {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes seconds or null.
    pub fn serialize<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => super::seconds::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads seconds or null.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Option::<f64>::deserialize(deserializer)?
            .map(|value| Duration::try_from_secs_f64(value).map_err(serde::de::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(boot: &str, boottime: u64, wall: i64, wall_synced: bool) -> Now {
        Now {
            boottime: Duration::from_secs(boottime),
            boot_id: boot.into(),
            wall: Timestamp::from_second(wall).expect("a small number of seconds is a timestamp"),
            wall_synced,
        }
    }

    #[test]
    fn an_age_within_one_boot_ignores_the_wall_clock() {
        let stamp = now("a", 100, 5_000, true).stamp();
        assert_eq!(stamp.age(&now("a", 130, 1, true)), Duration::from_secs(30));
    }

    #[test]
    fn an_age_across_boots_is_wall_time_and_never_negative() {
        let stamp = now("a", 100, 5_000, true).stamp();
        assert_eq!(stamp.age(&now("b", 1, 5_060, true)), Duration::from_secs(60));
        assert_eq!(stamp.age(&now("b", 1, 4_000, true)), Duration::ZERO);
    }

    #[test]
    fn an_age_counts_as_fresh_while_the_clock_is_not_synchronised() {
        let stamp = now("a", 100, 5_000, true).stamp();
        assert_eq!(stamp.age(&now("b", 1, 500_000, false)), Duration::ZERO);
    }

    #[test]
    fn a_mark_that_a_wrong_clock_dated_is_not_surely_old_in_a_later_boot() {
        let stamp = now("a", 100, 5_000, false).stamp();
        assert_eq!(stamp.sure_age(&now("a", 130, 500_000, true)), Duration::from_secs(30));
        assert_eq!(stamp.sure_age(&now("b", 1, 500_000, true)), Duration::ZERO);
        let dated = now("a", 100, 5_000, true).stamp();
        assert_eq!(dated.sure_age(&now("b", 1, 5_060, true)), Duration::from_secs(60));
    }

    #[test]
    fn a_reading_too_old_for_its_use_is_unknown() {
        let reading = Reading::known(1, Duration::from_secs(10));
        assert_eq!(reading.fresh(&now("a", 20, 0, true), Duration::from_secs(10)), Some(&1));
        assert_eq!(reading.fresh(&now("a", 21, 0, true), Duration::from_secs(10)), None);
    }
}

//! Every default of `hecate.yaml` in one table, each with its argument above it.
//!
//! Pure. Meant for homelab k3s clusters of 5 to 30 nodes, Raspberry Pis among them, on small line-interactive UPSes.
//! `configs/hecate.example.yaml` states each of these values; a test compares the two.

use std::time::Duration;

use super::{CoordinationRole, Drift, RechargeTimeout, UpsPath, UpsScope};

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// The source document's place.
pub(super) const STATE_DIR: &str = "/var/lib/hecate";
/// systemd's `RuntimeDirectory=hecate`.
pub(super) const RUNTIME_DIR: &str = "/run/hecate";
/// Inside the state directory: keys are enrolled while hecate runs, and outlive an update of /etc.
pub(super) const KNOWN_HOSTS_NAME: &str = "known_hosts";
/// The login that `configs/sudoers.d/hecate` gives its rights to.
pub(super) const SSH_USER: &str = "hecate";
/// sshd's own.
pub(super) const SSH_PORT: u16 = 22;
/// A Pi under load answers the key exchange in one to three seconds, through a jump host in twice that.
pub(super) const SSH_CONNECT_TIMEOUT: Duration = seconds(10);
/// One round of `systemctl show` and `cat`; a Pi whose SD card is busy has been seen to need several seconds.
pub(super) const SSH_COMMAND_TIMEOUT: Duration = seconds(15);

/// An inventory lists what the operator wants managed.
pub(super) const NODE_POWER_OFF: bool = true;
/// The jump host may serve others than this cluster: `poweroff` includes it only when told so.
pub(super) const JUMP_HOST_POWER_OFF: bool = false;
/// Two power supplies, or one behind a transfer switch, are there so that one feed is enough.
pub(super) const MIN_SUPPLIES: u32 = 1;
/// A UPS that is empty takes the hecate host with it anyway; better unmounted.
pub(super) const OWN_POWER_OFF: bool = true;
/// A plain host is off in 10 to 30 s; systemd gives a unit that hangs 90 s. Twice the usual, as it is on top of every
/// budget and the safety factor comes on top of that.
pub(super) const OWN_POWER_OFF_TIME: Duration = seconds(60);
/// Discard; what wakeonlan(1) and ethtool(8) document for the magic packet.
pub(super) const WAKE_PORT: u16 = 9;
/// The limited broadcast reaches every host on the hecate host's own segment.
pub(super) const WAKE_BROADCAST: std::net::Ipv4Addr = std::net::Ipv4Addr::BROADCAST;
/// IANA's port of NUT.
pub(super) const NUT_PORT: u16 = 3493;

/// Three times in upsd's usual 5 to 15 s driver interval would be enough; a poll is a few hundred bytes on a kept
/// connection, so the words OB and FSD need not wait longer.
pub(super) const POLL: Duration = seconds(2);
/// upsd answers from memory in milliseconds; two seconds mean it hangs.
pub(super) const UPS_TIMEOUT: Duration = seconds(2);
/// upsd's own MAXAGE.
pub(super) const UPS_MAX_AGE: Duration = seconds(15);
/// What the source document does; and half a cluster that must carry all of the load helps only those who planned for it.
pub(super) const UPS_SCOPE: UpsScope = UpsScope::Cluster;
/// The source document's.
pub(super) const RUNTIME_SAFETY_FACTOR: f64 = 1.25;
/// One odd reading is common, two happen, three in a row are a fact.
pub(super) const DEBOUNCE_POLLS: u32 = 3;
/// Most outages end within seconds; ten of them cost a ninth of the margin that factor and budget leave by default.
pub(super) const DEBOUNCE: Duration = seconds(10);
/// OB LB is the UPS' own last warning; only a UPS known to flash LB when mains is lost needs more.
pub(super) const OB_LB: Duration = Duration::ZERO;
/// upsd and a USB driver restart in 10 to 20 s; upsmon's DEADTIME is 15 s and calls the UPS dead then.
pub(super) const LOST_ON_BATTERY: Duration = seconds(30);
/// Five minutes without a word are no driver that restarts, and few batteries that promised more than that keep it.
pub(super) const LOST_ON_BATTERY_MAX: Duration = seconds(300);
/// A charge in whole percents that stands so long belongs to a battery of five hours, or says nothing; and a fixed ten
/// minutes outlast a battery of ten minutes.
pub(super) const CHARGE_FROZEN: Duration = seconds(180);
/// What makers of small UPSes promise for 90 % of the charge.
pub(super) const RECHARGE_HOURS: f64 = 8.0;
/// Any web interface; what refuses a connection is there as well.
pub(super) const WITNESS_PORT: u16 = 80;
/// A calibration runs the battery down to about a quarter, which takes small UPSes up to half an hour.
pub(super) const CALIBRATION_MAX: Duration = seconds(1800);
/// Mains that comes back often goes again within the first seconds, when everybody's compressors start.
pub(super) const MAINS_STABLE: Duration = seconds(60);
/// UPSes say LB at 10 to 20 %, and those that tell no runtime mostly guess their charge from the voltage.
pub(super) const CHARGE_PERCENT_MIN: f64 = 30.0;
/// Nothing is known but the time, and a small UPS at half load lasts five to ten minutes: an emergency shutdown with
/// the own power-off (360 s) must still fit.
pub(super) const ON_BATTERY_MAX: Duration = seconds(60);

/// The source document names these guards and leaves them to be asked for; none is built yet.
pub(super) const GUARD: bool = false;
/// etcd and Leases bear seconds, and TLS minutes; what NTP keeps is off by milliseconds. An honest host is far below this
/// however slow the link is (the round trip is taken off), and one that lies is mostly off by its time zone or for years.
pub(super) const TIME_SYNC_MAX_OFFSET: Duration = seconds(5);
/// chrony and timesyncd need ten seconds to a minute once they reach a server; after an outage the router and its line
/// must come up first, which takes the slow ones five minutes. Twice that, and it does not come by itself any more.
pub(super) const TIME_SYNC_WAIT: Duration = seconds(600);
/// After this a dead upsd must not keep a cluster dark (design.md).
pub(super) const UPS_UNKNOWN_GRACE: Duration = seconds(600);
/// Clearly above [`CHARGE_PERCENT_MIN`], or the start would be the next trigger; the runtime rule asks for the rest.
pub(super) const RECHARGE_CHARGE_PERCENT_MIN: f64 = 50.0;
/// Servers two to three minutes, agents one, and one for what comes late. More would be safer and would keep the common
/// UPS of a quarter of an hour from ever passing the gate.
pub(super) const BRING_UP: Duration = seconds(300);
/// Makers promise 90 % after 4 to 8 h; half of it after four hours is a battery that has aged.
pub(super) const RECHARGE_MAX_WAIT: Duration = seconds(4 * 3600);
/// A cluster that stays dark for good because of an old battery protects nothing.
pub(super) const RECHARGE_TIMEOUT: RechargeTimeout = RechargeTimeout::Start;
/// Repairs of the grid come with several attempts within minutes, and a boot into the next cut costs more than it brings.
pub(super) const STARTUP_MAINS_STABLE: Duration = seconds(300);
/// The common cluster's inrush is far below what a breaker minds.
pub(super) const WAKE_BURST: u32 = 0;
/// After a hard power cut etcd replays its log and every server waits for quorum; on a Pi up to five minutes, doubled
/// because what comes next is drastic (a restore).
pub(super) const STARTUP_API_WAIT: Duration = seconds(600);
/// A Pi boots in one to two minutes, a server that counts its memory in four.
pub(super) const NODE_WAIT: Duration = seconds(300);
/// As long as one node may take: later ones are uncordoned when they come.
pub(super) const UNCORDON_WAIT: Duration = seconds(300);

/// A drain of two to three minutes, a minute each for volumes, snapshot, agents, servers and two waves of power-off; the
/// safety factor on top covers most of the 740 s that the limits below are together.
pub(super) const ESTIMATED_BUDGET: Duration = seconds(600);
/// Stop agents (up to a minute), servers (a minute), power off in two waves (a minute each), and one more.
pub(super) const EMERGENCY_BUDGET: Duration = seconds(300);
/// Learned budgets of a cluster that was empty are worth nothing (design.md).
pub(super) const BUDGET_FLOOR_SHARE: u32 = 2;
/// The source document's: an eviction takes as long as the slowest pod's grace, a battery does not wait.
pub(super) const EMERGENCY_SKIP_DRAIN: bool = true;
/// The source document's: k3s takes snapshots on its own schedule too, and etcd survives a clean stop.
pub(super) const EMERGENCY_SKIP_ETCD_SNAPSHOT: bool = true;
/// The source document's.
pub(super) const UPS_PATH: UpsPath = UpsPath::Emergency;
/// Grace is 30 s for most pods and a few minutes for databases.
pub(super) const DRAIN_TIMEOUT: Duration = seconds(300);
/// With every node cordoned a disruption budget mostly cannot be met any more: once the usual grace of a sibling has
/// passed, waiting brings nothing.
pub(super) const PDB_GRACE: Duration = seconds(30);
/// Storage, its network and the cluster's own: evicted early, they take everybody's volumes or names with them.
pub(super) const DRAIN_EXCLUDE_NAMESPACES: &[&str] = &[
    "calico-system",
    "cilium",
    "kube-flannel",
    "kube-system",
    "longhorn-system",
    "metallb-system",
    "openebs",
    "rook-ceph",
    "tigera-operator",
];
/// Longhorn detaches in seconds, one after another a node; two minutes are many volumes.
pub(super) const DETACH_TIMEOUT: Duration = seconds(120);
/// Megabytes in seconds; on an SD card under load a minute.
pub(super) const ETCD_SNAPSHOT_TIMEOUT: Duration = seconds(120);
/// Just above systemd's 90 s (DefaultTimeoutStopSec): by then it has killed what would not stop.
pub(super) const UNIT_STOP_TIMEOUT: Duration = seconds(100);
/// Containers that outlive k3s are why "stopped" would be a lie; sudo decides, and `never` is for clusters without it.
pub(super) const KILLALL: bool = true;
/// As long as the tail: a host is silent before it has written everything.
pub(super) const OFF_CONFIRM: Duration = OFF_TAIL;
/// systemd stops units that hang after 90 s, then left-over containers with their own 90 s, then it unmounts.
pub(super) const OFF_TAIL: Duration = seconds(200);
/// A reboot in progress is over by then; longer, and a dead node would hold up a healthy shutdown.
pub(super) const UNREACHABLE_LIMIT: Duration = seconds(120);
/// A server that restarts is back by then; draining needs it, and giving up the drain is the operator's word.
pub(super) const SHUTDOWN_API_WAIT: Duration = seconds(120);

/// One SSH round trip on a kept connection a node; quick enough that a wave does not wait for its proof.
pub(super) const BUSY_INTERVAL: Duration = seconds(3);
/// Three calls a minute and node, which a Pi does not feel.
pub(super) const IDLE_INTERVAL: Duration = seconds(20);
/// Two idle rounds with one slow answer.
pub(super) const HOST_MAX_AGE: Duration = seconds(90);
/// `/readyz` is asked every few seconds; thirty are many failures, and well under the 40 s Kubernetes gives a node.
pub(super) const API_MAX_AGE: Duration = seconds(30);
/// A node whose agent was stopped by accident should not need a person.
pub(super) const DRIFT: Drift = Drift::Correct;
/// Longer than a k3s upgrade or a restart by hand keeps the unit down.
pub(super) const DRIFT_GRACE: Duration = seconds(120);
/// One a node on the largest cluster meant here, and a few for the cluster itself.
pub(super) const MAX_STEPS_IN_FLIGHT: u32 = 32;
/// A year of weekly maintenance and a bad winter; a few megabytes at most.
pub(super) const RUNS_KEPT: u32 = 200;

/// A single hecate host, the usual case, coordinates itself.
pub(super) const ROLE: CoordinationRole = CoordinationRole::Coordinator;
/// The source document's guard.
pub(super) const ALLOW_STARTUP_ON_BATTERY: bool = false;
/// The source document's: a peer that cannot reach the coordinator still has an empty battery before it.
pub(super) const LOCAL_SHUTDOWN_FALLBACK: bool = true;
/// Twice the full budget: a shutdown that still says so then has died on the way.
pub(super) const STARTUP_GUARD_MAX_AGE: Duration = seconds(1800);

/// The source document's.
pub(super) const METRICS_LISTEN: &str = ":9560";

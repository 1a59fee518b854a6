//! Watches each managed node's host over SSH: one round trip of one script, at the cadence the loop asks for.
//!
//! One task a node, one probe in flight a node: a host that accepts connections and then says nothing costs only its
//! own task. Reads only; the script's two sudo rules list things. What cannot be seen is Unknown, with the reason.

pub mod clock;
pub mod probe;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::clients::ssh::{Share, Ssh, SshError, summary};
use crate::clock::boottime;
use crate::config::Config;
use crate::model::{FailureKind, MachineId, NodeName, Reading, Role};
use crate::snapshot::{Datastore, HostReading};

/// How long the answer to "may hecate run k3s-killall.sh" is believed. Each refusal is a line in the node's sudo log.
const KILLALL_BELIEVED: Duration = Duration::from_secs(600);

/// What the loop wants to know at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Something is going on: probe at `reconcile.busy_interval` instead of `reconcile.idle_interval`.
    pub is_busy: bool,
    /// List the etcd snapshots on control planes as well.
    pub wants_etcd_snapshots: bool,
}

/// Watches all managed nodes; dropping it ends the watching.
#[derive(Debug)]
pub struct Hosts {
    readings: Arc<Mutex<BTreeMap<NodeName, Reading<HostReading>>>>,
    interest: watch::Sender<Interest>,
    refresh: BTreeMap<NodeName, Arc<Notify>>,
    /// Aborted when dropped.
    _tasks: JoinSet<()>,
}

impl Hosts {
    /// Starts one task a managed node. `wake` is notified when a reading has changed in substance.
    pub fn start(config: &Arc<Config>, ssh: &Ssh, wake: &Arc<Notify>) -> Self {
        let not_yet = config.managed().map(|(name, _)| (name.clone(), Reading::not_yet())).collect();
        let readings = Arc::new(Mutex::new(not_yet));
        let (interest, interest_receiver) = watch::channel(Interest::default());
        let mut refresh = BTreeMap::new();
        let mut tasks = JoinSet::new();
        for (name, node) in config.managed() {
            let wanted = Arc::new(Notify::new());
            refresh.insert(name.clone(), Arc::clone(&wanted));
            let watch = Watch {
                name: name.clone(),
                role: node.role,
                config: Arc::clone(config),
                ssh: ssh.clone(),
                interest: interest_receiver.clone(),
                refresh: wanted,
                readings: Arc::clone(&readings),
                wake: Arc::clone(wake),
                learned: Learned::default(),
            };
            tasks.spawn(watch.run());
        }
        Self { readings, interest, refresh, _tasks: tasks }
    }

    /// The last reading of every managed node. Never waits for an answer.
    pub fn readings(&self) -> BTreeMap<NodeName, Reading<HostReading>> {
        lock(&self.readings).clone()
    }

    /// Says what is of interest from now on; a wish for more is followed at once.
    pub fn set_interest(&self, interest: Interest) {
        self.interest.send_if_modified(|current| std::mem::replace(current, interest) != interest);
    }

    /// Asks for a new look at one node at once. A look under way began too early to count, so another one follows it.
    pub fn refresh(&self, node: &NodeName) {
        if let Some(wanted) = self.refresh.get(node) {
            wanted.notify_one();
        }
    }
}

type Readings = Mutex<BTreeMap<NodeName, Reading<HostReading>>>;

fn lock(readings: &Readings) -> MutexGuard<'_, BTreeMap<NodeName, Reading<HostReading>>> {
    readings.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a new reading says something else than the one before, and not only that it still is so.
pub fn is_changed(before: &Reading<HostReading>, after: &Reading<HostReading>) -> bool {
    match (before, after) {
        (Reading::Known { value: earlier, .. }, Reading::Known { value, .. }) => is_other(earlier, value),
        (Reading::Unknown { why: earlier, .. }, Reading::Unknown { why, .. }) => earlier.kind != why.kind,
        (Reading::Known { .. }, Reading::Unknown { .. }) | (Reading::Unknown { .. }, Reading::Known { .. }) => true,
    }
}

/// Whether more has changed than that the clock went on.
fn is_other(earlier: &HostReading, later: &HostReading) -> bool {
    let ahead = |host: &HostReading| host.clock.map(|clock| clock.ahead_seconds);
    ahead(earlier) != ahead(later)
        || *earlier != HostReading { clock: earlier.clock, up_for: earlier.up_for, ..later.clone() }
}

/// What an earlier look has shown and a later one need not, or cannot, ask again.
#[derive(Debug, Default)]
struct Learned {
    killall: Option<(MachineId, bool, Instant)>,
    /// A stopped k3s does not say what it keeps its data in.
    datastore: Option<(MachineId, Datastore)>,
}

struct Watch {
    name: NodeName,
    role: Role,
    config: Arc<Config>,
    ssh: Ssh,
    interest: watch::Receiver<Interest>,
    refresh: Arc<Notify>,
    readings: Arc<Readings>,
    wake: Arc<Notify>,
    learned: Learned,
}

impl Watch {
    async fn run(mut self) {
        loop {
            let interest = *self.interest.borrow_and_update();
            let began = boottime();
            let reading = match self.look(interest).await {
                Ok(host) => Reading::known(host, began),
                Err((kind, detail)) => Reading::unknown(kind, detail, began),
            };
            self.publish(reading);
            if !self.pause(interest).await {
                return;
            }
        }
    }

    /// Waits until the next look is due; false where nobody is left to look for.
    async fn pause(&mut self, interest: Interest) -> bool {
        let interval = match interest.is_busy {
            true => self.config.reconcile.busy_interval,
            false => self.config.reconcile.idle_interval,
        };
        let due = sleep(interval);
        tokio::pin!(due);
        loop {
            tokio::select! {
                () = &mut due => return true,
                () = self.refresh.notified() => return true,
                changed = self.interest.changed() => {
                    if changed.is_err() {
                        return false;
                    }
                    let wanted = *self.interest.borrow();
                    let wants_more = (wanted.is_busy && !interest.is_busy)
                        || (wanted.wants_etcd_snapshots && !interest.wants_etcd_snapshots);
                    if wants_more {
                        return true;
                    }
                    // Less hurry: the look that is due may as well come at its time.
                }
            }
        }
    }

    async fn look(&mut self, interest: Interest) -> Result<HostReading, (FailureKind, String)> {
        self.ssh.connect(&self.name).await.map_err(failure)?;
        let asks_killall = self.learned.killall.as_ref().is_none_or(|(_, _, when)| when.elapsed() > KILLALL_BELIEVED);
        let limit = self.config.ssh.command_timeout;
        // The parts end before the whole does, so that one hung part does not hide the others.
        let part_seconds = (limit.as_secs() / 3).max(1).to_string();
        let role = self.role.to_string();
        let is_control_plane = self.role == Role::ControlPlane;
        let argv = [
            "sh",
            "-c",
            probe::SCRIPT,
            "hecate-probe",
            &role,
            if interest.wants_etcd_snapshots && is_control_plane { "snapshots" } else { "-" },
            if asks_killall { "killall" } else { "-" },
            &part_seconds,
        ];
        let before = crate::clock::moment();
        let output = self.ssh.run(&self.name, Share::Read, &argv, limit).await.map_err(failure)?;
        let after = crate::clock::moment();
        if output.is_truncated {
            return Err((FailureKind::Malformed, format!("{} printed more than a probe may", self.name)));
        }
        let probe = probe::parse(&output.stdout, self.role).map_err(|problem| {
            let said = summary(&output.stderr);
            let detail = format!("{}: {problem}", self.name);
            (FailureKind::Malformed, if said.is_empty() { detail } else { format!("{detail} ({said})") })
        })?;
        let clock = probe.clock.and_then(|read| clock::compare(read, before, after));
        Ok(HostReading { clock, ..self.complete(probe) })
    }

    /// Adds what was learned before, and learns.
    fn complete(&mut self, probe: probe::Probe) -> HostReading {
        let mut host = probe.host;
        let now = Instant::now();
        match (probe.killall_allowed, self.learned.killall.take()) {
            (Some(is_allowed), _) => self.learned.killall = Some((host.machine_id.clone(), is_allowed, now)),
            (None, Some((machine_id, is_allowed, when))) if machine_id == host.machine_id => {
                host.killall_allowed = is_allowed;
                self.learned.killall = Some((machine_id, is_allowed, when));
            }
            // Another host answers: the next look asks it.
            (None, Some(_) | None) => {}
        }
        match (host.datastore, &self.learned.datastore) {
            (Some(datastore), _) => self.learned.datastore = Some((host.machine_id.clone(), datastore)),
            (None, Some((machine_id, datastore)))
                if *machine_id == host.machine_id && self.role == Role::ControlPlane =>
            {
                host.datastore = Some(*datastore);
            }
            (None, Some(_) | None) => {}
        }
        host
    }

    fn publish(&self, reading: Reading<HostReading>) {
        tracing::trace!(node = %self.name, ?reading, "node read");
        let before = lock(&self.readings).insert(self.name.clone(), reading.clone()).unwrap_or_else(Reading::not_yet);
        if !is_changed(&before, &reading) {
            return;
        }
        match (&before, &reading) {
            (_, Reading::Unknown { why, .. }) => tracing::warn!(node = %self.name, why = %why, "node cannot be read"),
            (Reading::Unknown { .. }, Reading::Known { .. }) => tracing::info!(node = %self.name, "node is readable"),
            (Reading::Known { .. }, Reading::Known { .. }) => {}
        }
        self.wake.notify_one();
    }
}

fn failure(error: SshError) -> (FailureKind, String) {
    (error.kind(), error.to_string())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::snapshot::{HostClock, UnitState};

    fn known(containers: u32, began: u64) -> Reading<HostReading> {
        let host = HostReading {
            machine_id: "m".into(),
            boot_id: "b".into(),
            k3s: UnitState::Running,
            k3s_agent: UnitState::NotFound,
            containers,
            killall_allowed: true,
            datastore: None,
            etcd: None,
            etcd_snapshots: None,
            is_saving_etcd_snapshot: false,
            is_time_synced: None,
            ntp_ahead_seconds: None,
            clock: Some(HostClock { wall: Timestamp::from_second(began as i64).unwrap(), ahead_seconds: 0 }),
            up_for: Some(Duration::from_secs(began)),
            stop_timeout: None,
        };
        Reading::known(host, Duration::from_secs(began))
    }

    fn unknown(kind: FailureKind, detail: &str) -> Reading<HostReading> {
        Reading::unknown(kind, detail, Duration::ZERO)
    }

    #[test]
    fn the_same_seen_again_wakes_nobody() {
        assert!(!is_changed(&known(1, 10), &known(1, 20)));
        assert!(!is_changed(&unknown(FailureKind::TimedOut, "a"), &unknown(FailureKind::TimedOut, "b")));
    }

    #[test]
    fn something_else_seen_wakes() {
        assert!(is_changed(&known(1, 10), &known(0, 20)));
        let mut ahead = known(1, 20);
        if let Reading::Known { value, .. } = &mut ahead {
            value.clock = value.clock.map(|clock| HostClock { ahead_seconds: 3600, ..clock });
        }
        assert!(is_changed(&known(1, 10), &ahead));
        assert!(is_changed(&known(1, 10), &unknown(FailureKind::TimedOut, "")));
        assert!(is_changed(&unknown(FailureKind::TimedOut, ""), &known(1, 10)));
        assert!(is_changed(&Reading::not_yet(), &unknown(FailureKind::WrongHostKey, "")));
    }
}

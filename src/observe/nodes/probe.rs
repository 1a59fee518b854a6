//! Reads what `probe.sh` printed into a [`HostReading`].
//!
//! Pure. What is missing, cut off or contradictory is an error that says so, never a guess: a half-read host is unknown.

#![deny(clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::clock;
use crate::model::{BootId, MachineId, Role};
use crate::snapshot::{Datastore, EtcdMember, HostReading, UnitState};

/// The script itself; run as `sh -c SCRIPT hecate-probe ARGUMENTS`.
pub const SCRIPT: &str = include_str!("probe.sh");

/// The longest time for a stop that is told.
const DAY: Duration = Duration::from_secs(24 * 3600);

const BEGIN: &str = "begin=hecate-probe-1";
const END: &str = "end=hecate-probe-1";

/// What one look saw. Parts that were not asked for are None.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// All that was seen; `killall_allowed` is false where it was not asked for, and the clock is not compared yet.
    pub host: HostReading,
    /// Whether sudo allows `k3s-killall.sh`, where it was asked for.
    pub killall_allowed: Option<bool>,
    /// What the host's clock said.
    pub clock: Option<clock::Read>,
}

/// Reads a probe's output. Whatever a login shell printed before it does not count.
pub fn parse(output: &str, role: Role) -> Result<Probe, String> {
    let (_, body) = output.split_once(BEGIN).ok_or("the probe printed nothing that hecate knows")?;
    let (body, _) = body.split_once(END).ok_or("the probe's output is cut off")?;
    let fields = Fields::collect(body)?;
    let killall_allowed = match fields.one("killall") {
        Some("yes") => Some(true),
        Some("no") => Some(false),
        None => None,
        Some(other) => return Err(format!("killall reads {other:?}")),
    };
    let host = HostReading {
        machine_id: machine_id(fields.needed("machine_id")?)?,
        boot_id: BootId::parse(fields.needed("boot_id")?).ok_or("the boot id is no boot id")?,
        k3s: fields.unit("k3s.service")?,
        k3s_agent: fields.unit("k3s-agent.service")?,
        containers: fields.needed("containers")?.parse().map_err(|_| "the number of containers is no number")?,
        killall_allowed: killall_allowed.unwrap_or(false),
        datastore: (role == Role::ControlPlane).then(|| fields.datastore()).flatten(),
        etcd: (role == Role::ControlPlane).then(|| fields.etcd()).flatten(),
        etcd_snapshots: fields.snapshots(),
        is_saving_etcd_snapshot: match fields.unit("hecate-etcd-snapshot.service")? {
            UnitState::Starting | UnitState::Running | UnitState::Stopping => true,
            UnitState::NotFound | UnitState::Stopped => false,
        },
        is_time_synced: match fields.one("time_synced") {
            Some("yes") => Some(true),
            Some("no") => Some(false),
            Some(_) | None => None,
        },
        ntp_ahead_seconds: fields.one("ntp_ahead").and_then(whole_seconds),
        clock: None,
        up_for: fields.one("uptime").and_then(uptime),
        stop_timeout: fields.stop_timeout(role),
    };
    Ok(Probe { host, killall_allowed, clock: fields.one("clock").and_then(clock::parse) })
}

/// The lines, sorted by what they speak of.
struct Fields<'a> {
    values: BTreeMap<&'a str, Vec<&'a str>>,
    /// By `Id`: what `systemctl show` says of each unit.
    units: BTreeMap<&'a str, BTreeMap<&'a str, &'a str>>,
}

impl<'a> Fields<'a> {
    fn collect(body: &'a str) -> Result<Self, String> {
        let mut fields = Fields { values: BTreeMap::new(), units: BTreeMap::new() };
        // systemctl parts its units by empty lines and promises no order within one.
        let mut unit: BTreeMap<&str, &str> = BTreeMap::new();
        for line in body.lines().chain([""]) {
            match line.split_once('=') {
                Some((key @ ("Id" | "LoadState" | "ActiveState" | "SubState" | "TimeoutStopUSec"), value)) => {
                    if unit.contains_key(key) {
                        fields.keep_unit(std::mem::take(&mut unit));
                    }
                    unit.insert(key, value);
                }
                Some((key, value)) => fields.values.entry(key).or_default().push(value),
                None => {}
            }
            if line.is_empty() {
                fields.keep_unit(std::mem::take(&mut unit));
            }
        }
        for key in ["machine_id", "boot_id", "containers"] {
            if fields.values.get(key).is_some_and(|values| values.len() > 1) {
                return Err(format!("{key} is there more than once"));
            }
        }
        Ok(fields)
    }

    fn keep_unit(&mut self, unit: BTreeMap<&'a str, &'a str>) {
        if let Some(id) = unit.get("Id") {
            self.units.insert(id, unit);
        }
    }

    fn one(&self, key: &str) -> Option<&'a str> {
        self.values.get(key).and_then(|values| values.first()).map(|value| value.trim())
    }

    fn needed(&self, key: &str) -> Result<&'a str, String> {
        self.one(key).filter(|value| !value.is_empty()).ok_or_else(|| format!("{key} is missing"))
    }

    fn unit(&self, id: &str) -> Result<UnitState, String> {
        let unit = self.units.get(id).ok_or_else(|| format!("systemctl says nothing of {id}"))?;
        let state = |key: &str| unit.get(key).copied().ok_or_else(|| format!("systemctl says no {key} of {id}"));
        match (state("ActiveState")?, state("LoadState")?) {
            ("active", _) => Ok(UnitState::Running),
            // `activating` is also a unit that waits for its automatic restart.
            ("activating" | "reloading" | "refreshing", _) => Ok(UnitState::Starting),
            ("deactivating", _) => Ok(UnitState::Stopping),
            ("inactive" | "failed" | "maintenance", "not-found") => Ok(UnitState::NotFound),
            ("inactive" | "failed" | "maintenance", _) => Ok(UnitState::Stopped),
            (other, _) => Err(format!("{id} is in the unknown state {other:?}")),
        }
    }

    /// How long systemd lets the unit of this role stop before it kills it; None where it has no such unit.
    fn stop_timeout(&self, role: Role) -> Option<Duration> {
        let unit = self.units.get(format!("{}.service", role.unit()).as_str())?;
        if unit.get("LoadState") == Some(&"not-found") {
            return None;
        }
        unit.get("TimeoutStopUSec").and_then(|text| timespan(text))
    }

    /// The embedded etcd's own listener is proof; the rest are hints, the plainest first.
    fn datastore(&self) -> Option<Datastore> {
        let hints = self.values.get("hint").map_or(&[][..], Vec::as_slice);
        if self.one("etcd_leader").is_some() {
            Some(Datastore::Etcd)
        } else if hints.contains(&"external") {
            Some(Datastore::External)
        } else if hints.contains(&"kine") {
            // An endpoint in a file that only root may read looks the same; neither has etcd snapshots.
            Some(Datastore::Sqlite)
        } else if hints.contains(&"etcd") {
            Some(Datastore::Etcd)
        } else {
            None
        }
    }

    fn etcd(&self) -> Option<EtcdMember> {
        let leader = self.one("etcd_leader")?;
        let health: String = self.one("etcd_health").unwrap_or_default().chars().filter(|c| *c != ' ').collect();
        Some(EtcdMember {
            is_healthy: health.contains(r#""health":"true""#) || health.contains(r#""health":true"#),
            is_leader: leader == "1",
        })
    }

    /// Rows of `k3s etcd-snapshot ls`: name, location, size, created.
    fn snapshots(&self) -> Option<BTreeSet<String>> {
        if self.one("snapshots") != Some("listed") {
            return None;
        }
        let rows = self.values.get("snapshot").map_or(&[][..], Vec::as_slice);
        let names = rows.iter().filter_map(|row| {
            let mut words = row.split_whitespace();
            let name = words.next().filter(|name| name.starts_with("hecate-"))?;
            let size = words.find_map(|word| word.parse::<u64>().ok())?;
            (size > 0).then(|| name.to_owned())
        });
        Some(names.collect())
    }
}

/// The whole seconds of a decimal number, towards zero.
fn whole_seconds(text: &str) -> Option<i64> {
    text.split('.').next()?.parse().ok()
}

fn machine_id(text: &str) -> Result<MachineId, String> {
    // A host that was never booted properly says `uninitialized`.
    match text.len() == 32 && text.chars().all(|c| c.is_ascii_hexdigit()) {
        true => Ok(MachineId::new(text)),
        false => Err("/etc/machine-id is no machine id".to_owned()),
    }
}

/// The first figure of `/proc/uptime`, in seconds (proc_uptime(5)).
fn uptime(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.split_whitespace().next()?.parse().ok()?).ok()
}

/// A time span as systemctl prints it, like `1min 30s`; `infinity` is longer than anybody waits.
fn timespan(text: &str) -> Option<Duration> {
    if text == "infinity" {
        return Some(DAY);
    }
    let part = |word: &str| {
        let (figure, unit) = word.split_at(word.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let figure: f64 = figure.parse().ok()?;
        let seconds = match unit {
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            // Weeks and more are longer than anybody waits as well.
            _ => return Some(DAY),
        };
        Duration::try_from_secs_f64(figure * seconds).ok()
    };
    let parts: Option<Vec<Duration>> = text.split_whitespace().map(part).collect();
    parts
        .filter(|parts| !parts.is_empty())
        .map(|parts| parts.into_iter().fold(Duration::ZERO, Duration::saturating_add).min(DAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTROL_PLANE: &str = "\
Welcome to cp-1, have a lot of fun...
begin=hecate-probe-1
clock=1795312800.250000000
machine_id=0123456789abcdef0123456789abcdef
boot_id=01234567-89ab-cdef-0123-456789abcdef
uptime=3600.25 7100.50
Id=k3s.service
LoadState=loaded
ActiveState=active
SubState=running
TimeoutStopUSec=1min 30s

ActiveState=inactive
Id=k3s-agent.service
SubState=dead
LoadState=not-found

Id=hecate-etcd-snapshot.service
LoadState=loaded
ActiveState=active
SubState=running
containers=7
killall=yes
hint=etcd
etcd_leader=1
etcd_health={\"health\":\"true\",\"reason\":\"\"}
snapshot=hecate-run-1-cp-1-1763848800 file:///var/lib/rancher/k3s/server/db/snapshots/hecate-run-1-cp-1-1763848800 2945056 2026-11-22T18:00:00Z
snapshot=hecate-run-2-cp-1-1763848900 file:///var/lib/rancher/k3s/server/db/snapshots/hecate-run-2-cp-1-1763848900 0 2026-11-22T18:01:40Z
snapshot=on-demand-cp-1-1763848900 file:///x 17 2026-11-22T18:01:40Z
snapshots=listed
ntp_ahead=-0.000012345
time_synced=yes
end=hecate-probe-1
";

    fn host(text: &str) -> HostReading {
        parse(text, Role::ControlPlane).unwrap().host
    }

    #[test]
    fn a_control_planes_answer_is_read_whole() {
        let probe = parse(CONTROL_PLANE, Role::ControlPlane).unwrap();
        let expected = HostReading {
            machine_id: "0123456789abcdef0123456789abcdef".into(),
            boot_id: "01234567-89ab-cdef-0123-456789abcdef".into(),
            k3s: UnitState::Running,
            k3s_agent: UnitState::NotFound,
            containers: 7,
            killall_allowed: true,
            datastore: Some(Datastore::Etcd),
            etcd: Some(EtcdMember { is_healthy: true, is_leader: true }),
            etcd_snapshots: Some(BTreeSet::from(["hecate-run-1-cp-1-1763848800".to_owned()])),
            is_saving_etcd_snapshot: true,
            is_time_synced: Some(true),
            ntp_ahead_seconds: Some(0),
            clock: None,
            up_for: Some(Duration::from_millis(3_600_250)),
            stop_timeout: Some(Duration::from_secs(90)),
        };
        assert_eq!(probe.host, expected);
        assert_eq!(probe.killall_allowed, Some(true));
        assert_eq!(probe.clock, clock::parse("1795312800.250000000"));
    }

    #[test]
    fn a_clock_that_cannot_be_read_is_unknown_and_hides_nothing_else() {
        for line in ["clock=", "clock=yesterday", "clock=99999999999999999999.0"] {
            let text = CONTROL_PLANE.replace("clock=1795312800.250000000", line);
            let probe = parse(&text, Role::ControlPlane).unwrap();
            assert_eq!(probe.clock, None, "{line}");
        }
    }

    #[test]
    fn the_time_that_a_unit_may_take_to_stop_is_read_as_systemctl_prints_it() {
        for (text, seconds) in [
            ("1min 30s", Some(90)),
            ("45s", Some(45)),
            ("1h 2min 3.500s", Some(3723)),
            ("infinity", Some(86_400)),
            ("1month", Some(86_400)),
            ("", None),
            ("soon", None),
        ] {
            let answer = CONTROL_PLANE.replace("TimeoutStopUSec=1min 30s", &format!("TimeoutStopUSec={text}"));
            assert_eq!(host(&answer).stop_timeout.map(|it| it.as_secs()), seconds, "{text}");
        }
    }

    #[test]
    fn an_answer_cut_off_anywhere_is_no_answer() {
        let end = CONTROL_PLANE.find(END).unwrap();
        for length in (0..end + END.len()).filter(|length| CONTROL_PLANE.is_char_boundary(*length)) {
            assert!(parse(&CONTROL_PLANE[..length], Role::ControlPlane).is_err(), "{length}");
        }
    }

    #[test]
    fn garbage_is_an_error_and_never_a_panic() {
        for text in ["", "\0\0\0", "begin=hecate-probe-1end=hecate-probe-1", "=\n=\n", &"x=".repeat(100_000)] {
            assert!(parse(text, Role::Worker).is_err());
        }
        for (from, to) in [
            ("containers=7", "containers=many"),
            ("containers=7", "containers=-1"),
            ("containers=7", "containers=7\ncontainers=0"),
            ("ActiveState=active", "ActiveState=dancing"),
            ("LoadState=loaded\n", ""),
            ("machine_id=0123456789abcdef0123456789abcdef", "machine_id=uninitialized"),
            ("boot_id=01234567-89ab-cdef-0123-456789abcdef", "boot_id="),
            ("killall=yes", "killall=perhaps"),
            ("Id=k3s-agent.service", "Id=other.service"),
        ] {
            assert!(parse(&CONTROL_PLANE.replacen(from, to, 1), Role::ControlPlane).is_err(), "{from} -> {to}");
        }
    }

    #[test]
    fn an_uptime_that_cannot_be_read_is_unknown_and_hides_nothing_else() {
        for line in ["uptime=", "uptime=-1", "uptime=1e400", "uptime=long"] {
            assert_eq!(host(&CONTROL_PLANE.replace("uptime=3600.25 7100.50", line)).up_for, None, "{line}");
        }
    }

    #[test]
    fn unit_states_are_those_of_systemd() {
        for (active, load, expected) in [
            ("activating", "loaded", UnitState::Starting),
            ("reloading", "loaded", UnitState::Starting),
            ("deactivating", "loaded", UnitState::Stopping),
            ("failed", "loaded", UnitState::Stopped),
            ("inactive", "masked", UnitState::Stopped),
            ("inactive", "not-found", UnitState::NotFound),
            // The unit's file was deleted while it runs.
            ("active", "not-found", UnitState::Running),
        ] {
            let text = CONTROL_PLANE.replacen("LoadState=loaded", &format!("LoadState={load}"), 1).replacen(
                "ActiveState=active",
                &format!("ActiveState={active}"),
                1,
            );
            assert_eq!(host(&text).k3s, expected, "{active} {load}");
        }
    }

    #[test]
    fn a_listing_that_failed_is_unknown_and_not_empty() {
        assert_eq!(host(&CONTROL_PLANE.replace("snapshots=listed", "snapshots=failed")).etcd_snapshots, None);
        let empty: String = CONTROL_PLANE
            .lines()
            .filter(|line| !line.starts_with("snapshot="))
            .fold(String::new(), |text, line| text + line + "\n");
        assert_eq!(host(&empty).etcd_snapshots, Some(BTreeSet::new()));
    }

    #[test]
    fn an_etcd_that_answers_without_being_healthy_is_there_and_unhealthy() {
        for health in ["", r#"{"health":"false","reason":"RAFT NO LEADER"}"#] {
            let text =
                CONTROL_PLANE.replace(r#"{"health":"true","reason":""}"#, health).replace("leader=1", "leader=0");
            assert_eq!(host(&text).etcd, Some(EtcdMember { is_healthy: false, is_leader: false }));
        }
    }

    #[test]
    fn the_datastore_is_told_by_the_listener_first_and_hints_after() {
        let stopped = CONTROL_PLANE.replace("etcd_leader=1\n", "");
        assert_eq!(host(&stopped).datastore, Some(Datastore::Etcd));
        assert_eq!(host(&stopped.replace("hint=etcd", "hint=kine")).datastore, Some(Datastore::Sqlite));
        assert_eq!(
            host(&stopped.replace("hint=etcd", "hint=external\nhint=kine")).datastore,
            Some(Datastore::External)
        );
        assert_eq!(host(&stopped.replace("hint=etcd\n", "")).datastore, None);
    }

    #[test]
    fn a_worker_has_no_datastore() {
        let worker = parse(CONTROL_PLANE, Role::Worker).unwrap().host;
        assert_eq!((worker.datastore, worker.etcd), (None, None));
    }
}

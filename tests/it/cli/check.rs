//! `hecate check`: what an outage does to each host, and whether the batteries are enough; `hecate ups forget`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::Duration;

use hecate::desired::Declared;
use hecate::ledger::{Device, Ledger, OwnCount};
use hecate::model::{ClusterState, Reading};
use hecate::snapshot::{UpsReading, UpsStatus};
use hecate::status::{BatteryRow, Status};
use hecate::store::{ActorKind, DeclaredFile, LedgerFile};

use super::{Host, Ran};
use crate::samples::{battery, healthy, spec};

fn json(ran: &Ran) -> serde_json::Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|failure| panic!("{failure}: {ran:?}"))
}

/// The example's inventory with the UPS pyrphoros at another address.
fn configure(host: &Host, target: &str) {
    host.configure();
    let path = host.folder.path().join("hecate.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("target: pyrphoros@localhost", &format!("target: pyrphoros@{target}"))).unwrap();
}

#[test]
fn check_says_what_an_outage_does_to_each_host_in_sixty_columns() {
    let host = Host::new();
    host.configure();
    let ran = host.run(&["check"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("hecate.yaml is good: 3 control planes, 2 workers, 2 UPSes\n"), "{}", ran.out);
    for outage in ["an outage of UPS pyrphoros\n", "an outage of UPS statera\n", "an outage of all UPSes\n"] {
        assert!(ran.out.contains(outage), "{outage}: {}", ran.out);
    }
    let widest = ran.out.lines().skip(1).map(|line| line.chars().count()).max();
    assert!(widest <= Some(60), "{widest:?}: {}", ran.out);
    let report = json(&host.run(&["check", "-o", "json"]));
    let fates = report["outages"][1]["hosts"].as_array().unwrap();
    assert_eq!((&fates[0]["node"], &fates[0]["goes"]), (&"titan-0a".into(), &"stopped".into()));
    assert_eq!((&fates[4]["node"], &fates[4]["beforeCut"]), (&"titan-24".into(), &"by-hand".into()));
    assert!(report.get("checks").is_none(), "nothing was looked at");
}

#[test]
fn check_names_a_ups_whose_upsd_goes_off_with_its_host() {
    let host = Host::new();
    host.configure();
    let path = host.folder.path().join("hecate.yaml");
    let text = std::fs::read_to_string(&path).unwrap().replace("statera@tethys:3493", "statera@titan-24");
    std::fs::write(path, text).unwrap();
    let ran = host.run(&["check"]);
    assert!(ran.err.contains("UPS statera: its upsd runs on titan-24, which hecate powers off"), "{}", ran.err);
    assert_eq!(ran.code, Some(0), "it can be lived with");
}

fn with_runtime(seconds: u64) -> Status {
    let reading = UpsReading {
        status: UpsStatus::parse("OL"),
        charge_percent: Some(100.0),
        runtime: Some(Duration::from_secs(seconds)),
        load_percent: Some(38.0),
        ..UpsReading::default()
    };
    let mut status = healthy();
    status.snapshot.upses.insert("pyrphoros".into(), Reading::known(reading, Duration::ZERO));
    status
}

#[test]
fn check_host_goes_by_the_published_status_and_ends_with_11_where_a_battery_is_too_small() {
    let (host, _lock) = Host::with_daemon(with_runtime(1830));
    host.configure();
    let ran = host.run(&["check", "--host"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("good     battery-above-gate/pyrphoros"), "{}", ran.out);
    let (host, _lock) = Host::with_daemon(with_runtime(840));
    host.configure();
    let ran = host.run(&["check", "--host"]);
    assert_eq!(ran.code, Some(11), "{ran:?}");
    assert!(ran.out.contains("failed   battery-above-gate/pyrphoros") && ran.out.contains("14 min"), "{}", ran.out);
    assert!(ran.out.contains("hint: lower startup.bring_up_seconds"), "{}", ran.out);
    let checks = json(&host.run(&["check", "--host", "-o", "json"]))["checks"].clone();
    let gate = checks.as_array().unwrap().iter().find(|it| it["name"] == "battery-above-gate/pyrphoros").unwrap();
    assert_eq!((&gate["result"]["is"], gate["age"].is_number()), (&"failed".into(), true), "{gate}");
}

#[test]
fn check_host_goes_by_what_a_battery_proved_and_not_by_what_its_ups_promises() {
    let mut status = with_runtime(1830);
    let known = BatteryRow { full_runtime: Some(Duration::from_secs(840)), ..battery(34) };
    status.upses.values_mut().for_each(|row| row.battery = Some(known.clone()));
    let (host, _lock) = Host::with_daemon(status);
    host.configure();
    let ran = host.run(&["check", "--host"]);
    assert_eq!(ran.code, Some(11), "{ran:?}");
    let said: String = ran.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("failed battery-above-gate/pyrphoros") && said.contains("gives 14 min"), "{}", ran.out);
    assert!(said.contains("at full load, as hecate knows it"), "{}", ran.out);
}

/// A upsd that tells one UPS' variables to everybody.
fn upsd(variables: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let Ok(reader) = stream.try_clone() else { return };
                for line in BufReader::new(reader).lines().map_while(Result::ok) {
                    let answer = if line.starts_with("LIST VAR") {
                        format!("BEGIN LIST VAR pyrphoros\n{variables}END LIST VAR pyrphoros\n")
                    } else if line.starts_with("LIST") {
                        format!("BEGIN {line}\nEND {line}\n")
                    } else {
                        "OK\n".to_owned()
                    };
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn without_a_daemon_check_host_asks_upsd_itself() {
    let host = Host::new();
    let address = upsd(
        "VAR pyrphoros ups.status \"OL\"\nVAR pyrphoros battery.charge \"100\"\nVAR pyrphoros battery.runtime \"840\"\n\
         VAR pyrphoros ups.load \"38\"\n",
    );
    configure(&host, &address);
    let ran = host.run(&["check", "--host"]);
    assert_eq!(ran.code, Some(11), "{ran:?}");
    assert!(ran.err.contains("no daemon runs"), "{}", ran.err);
    assert!(ran.out.contains("unknown  daemon"), "{}", ran.out);
    assert!(ran.out.contains("good     battery-above-trigger/pyrphoros"), "{}", ran.out);
    assert!(ran.out.contains("failed   battery-above-gate/pyrphoros"), "{}", ran.out);
    assert!(ran.out.contains("unknown  battery-above-gate/statera"), "nobody answers for it: {}", ran.out);
}

fn declared(host: &Host) -> Declared {
    match host.store.read_declared() {
        DeclaredFile::Good(declared) => declared,
        other @ (DeclaredFile::Missing { .. } | DeclaredFile::Unreadable { .. }) => panic!("desired.yaml is {other:?}"),
    }
}

#[test]
fn where_nobody_acts_what_was_learned_of_a_battery_is_forgotten_at_once() {
    let host = Host::new();
    host.configure();
    let known = BTreeMap::from([("pyrphoros".into(), Device::default()), ("statera".into(), Device::default())]);
    host.store.write_ledger(&Ledger { devices: known, ..Ledger::default() }).unwrap();
    let ran = host.run(&["ups", "forget", "pyrphoros"]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "what was learned of UPS pyrphoros is forgotten\n"), "{ran:?}");
    let LedgerFile::Good(ledger) = host.store.read_ledger() else { panic!("the ledger is good") };
    assert_eq!(ledger.devices.keys().map(|ups| ups.as_str()).collect::<Vec<_>>(), ["statera"]);
    let again = host.run(&["ups", "forget", "pyrphoros"]);
    assert_eq!(
        (again.code, again.err.contains("nothing was learned of UPS pyrphoros yet")),
        (Some(0), true),
        "{again:?}"
    );
}

#[test]
fn forgetting_a_battery_that_is_not_full_says_that_a_start_may_begin() {
    let host = Host::new();
    host.configure();
    let count = OwnCount { percent: 10.0, since: None, is_seen: true, heard: None };
    let device = Device { count: Some(count), ..Device::default() };
    let devices = BTreeMap::from([("pyrphoros".into(), device)]);
    host.store.write_ledger(&Ledger { devices, ..Ledger::default() }).unwrap();
    host.store.set_spec(spec(ClusterState::Running, "")).unwrap();
    let begins = |ran: &Ran| ran.code == Some(0) && ran.err.contains("a start that waits for its recharge begins");
    let lock = host.store.lock_actor(ActorKind::Daemon).unwrap();
    let ran = host.run(&["ups", "forget", "pyrphoros"]);
    assert!(begins(&ran), "asked of the daemon: {ran:?}");
    drop(lock);
    let ran = host.run(&["ups", "forget", "pyrphoros"]);
    assert!(begins(&ran), "done at once: {ran:?}");
}

#[test]
fn nothing_is_forgotten_of_a_ledger_that_cannot_be_read() {
    let host = Host::new();
    host.configure();
    host.store.set_spec(spec(ClusterState::Running, "")).unwrap();
    std::fs::write(host.store.desired_path().with_file_name("ledger.json"), "{").unwrap();
    let _lock = host.store.lock_actor(ActorKind::Daemon).unwrap();
    let ran = host.run(&["ups", "forget", "pyrphoros"]);
    assert!(ran.code != Some(0) && ran.err.contains("ledger.json cannot be read"), "{ran:?}");
    assert!(declared(&host).forget.is_empty());
}

#[test]
fn to_forget_a_battery_is_asked_of_whoever_acts() {
    let host = Host::new();
    host.configure();
    host.store.set_spec(spec(ClusterState::Running, "")).unwrap();
    let _lock = host.store.lock_actor(ActorKind::Daemon).unwrap();
    let ran = host.run(&["ups", "forget", "pyrphoros"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("UPS pyrphoros") && ran.err.contains("a hecate daemon (pid "), "{ran:?}");
    let asked = declared(&host).forget;
    assert_eq!((asked.len(), asked[0].ups.as_str()), (1, "pyrphoros"));
    assert!(asked[0].set_by.starts_with("root@"), "{asked:?}");
    host.run(&["ups", "forget", "pyrphoros"]);
    let again = declared(&host).forget;
    assert_eq!(again.len(), 1, "the later word stands alone");
    assert!(
        host.store.clear_forget(&asked[0].ups, asked[0].set_at).is_ok_and(|was_there| was_there == (again == asked))
    );
    assert!(host.store.clear_forget(&again[0].ups, again[0].set_at).unwrap() || again == asked);
    assert_eq!(declared(&host).forget, []);
    let wrong = host.run(&["ups", "forget", "pyrphorus"]);
    assert_eq!((wrong.code, wrong.err.contains("no UPS pyrphorus is configured")), (Some(2), true), "{wrong:?}");
}

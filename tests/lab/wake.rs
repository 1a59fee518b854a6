//! Hosts that are off are switched on, by a command and by Wake-on-LAN, until they answer.

use std::thread;

use anyhow::{Result, anyhow, ensure};
use serde_json::{Value, json};

use crate::site::{NODES, OWN_HOST, Site};
use crate::wait::{Look, seconds, until};

/// Stands in for a management controller: it takes the word, and the test switches the host on.
const COMMAND: &str = "/usr/local/bin/wake";
/// Where the command leaves its word.
const WOKEN: &str = "/run/hecate/woken";

/// Stands in for worker-1's network card, at the switch: ends with the second burst of three packets, so the first one
/// is lost.
const CARD: &str = "
import socket
card = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
card.bind(('', 9))
card.settimeout(90)
magic, seen = b'\\xff' * 6 + bytes.fromhex('020000000021') * 16, 0
while seen < 4:
    seen += card.recv(2000) == magic
print(seen)
";

/// The lab's inventory with a way to wake each worker.
fn nodes() -> Value {
    let node = |name: &str, role: &str, host: u8| json!({"name": name, "role": role, "host": format!("10.99.0.{host}"), "feeds": ["pyrphoros"]});
    let mut by_packet = node("worker-1", "worker", 21);
    by_packet["wake"] = json!({"method": "wake-on-lan", "mac": "02:00:00:00:00:21", "broadcast": "10.99.0.255"});
    let mut by_command = node("worker-2", "worker", 22);
    by_command["wake"] = json!({"method": "command", "command": [COMMAND, "worker-2"]});
    let servers = ["cp-1", "cp-2", "cp-3"].iter().zip([11, 12, 13]);
    let mut all: Vec<Value> = servers.map(|(name, host)| node(name, "control-plane", host)).collect();
    all.extend([by_packet, by_command]);
    json!(all)
}

/// The cluster is powered off but for the hecate host, and to run again: the servers come by hand, the workers are woken.
pub(crate) fn host_that_is_off_is_woken_until_it_is_seen(site: &Site) -> Result<()> {
    site.put(OWN_HOST, COMMAND, &format!("#!/bin/sh\necho \"$1\" >>{WOKEN}\n"))?;
    site.on(OWN_HOST, &format!("chmod 755 {COMMAND}"))?;
    site.configure(&[("nodes", nodes()), ("own_host.power_off", json!(false))])?;
    site.set_desired_undrained("poweroff", "to be woken")?;
    let dark = site.until_status("the cluster to be dark", seconds(120), |status| {
        status.state() == "poweroff" && status.is_converged()
    })?;
    ensure!(dark.0["wasUp"].as_array().is_some_and(|up| up.len() == NODES.len()), "who was up: {}", dark.0["wasUp"]);
    ensure!(words(site)? == 0, "a host was woken although it is to be off");
    thread::scope(|scope| {
        let card = scope.spawn(|| site.run(&["run", "python3", "-c", CARD], "", seconds(100))?.ok());
        site.set_desired("running", "woken")?;
        site.power_on(&["cp-1", "cp-2", "cp-3"])?;
        until("worker-2 to be woken twice", seconds(60), || {
            let words = words(site)?;
            Ok(if words >= 2 { Look::Seen(()) } else { Look::NotYet(format!("{words} words")) })
        })?;
        site.power_on(&["worker-2"])?;
        card.join().map_err(|_| anyhow!("the card's thread panicked"))??;
        site.power_on(&["worker-1"])
    })?;
    site.until_running(seconds(120))?;
    let before = words(site)?;
    site.set_desired("running", "nothing is off any more")?;
    site.until_running(seconds(30))?;
    ensure!(words(site)? == before, "a host that runs was woken");
    Ok(())
}

/// How often the command was called.
fn words(site: &Site) -> Result<usize> {
    let done = site.try_on(OWN_HOST, &format!("cat {WOKEN}"))?;
    Ok(done.out.lines().filter(|line| *line == "worker-2").count())
}

//! Reads the `intent.json` of the other hecate hosts over SSH.
//!
//! One task a peer, at the cadence of the nodes: a peer that hangs costs only its own task. Reads one file that everybody
//! may read there, without sudo, and understands all of it or nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::clients::ssh::{Share, Ssh, peer_session, summary};
use crate::clock::{boottime, moment};
use crate::config::{Config, Peer};
use crate::model::{FailureKind, IntentRecord, NodeName, PeerName, Reading};
use crate::observe::nodes::clock;
use crate::snapshot::PeerReading;

/// Prints the file, or that there is none in a folder that can be looked into; everything else is an error. What a login
/// shell prints before does not count.
const SCRIPT: &str = r#"echo begin=hecate-intent-1
# A date without nanoseconds prints its format.
date +%s.%N
if [ -r "$1" ]; then head -c 16384 "$1"; echo; echo end=hecate-intent-1
elif [ -x "${1%/*}" ] && [ ! -e "$1" ]; then echo none; echo end=hecate-intent-1
elif [ -x "${1%/*}" ]; then echo "$1 is not readable for $(id -un)" >&2; exit 1
else echo "${1%/*} is not there, or closed for $(id -un)" >&2; exit 1
fi"#;

const BEGIN: &str = "begin=hecate-intent-1\n";
const END: &str = "\nend=hecate-intent-1";

type Readings = Mutex<BTreeMap<PeerName, Reading<PeerReading>>>;

/// Watches all peers; dropping it ends the watching.
#[derive(Debug)]
pub struct Peers {
    readings: Arc<Readings>,
    is_busy: watch::Sender<bool>,
    /// Aborted when dropped.
    _tasks: JoinSet<()>,
}

impl Peers {
    /// Starts one task a peer. `wake` is notified when one says something else.
    pub fn start(config: &Arc<Config>, ssh: &Ssh, wake: &Arc<Notify>) -> Self {
        let peers = &config.coordination.peer_hosts;
        let readings: Arc<Readings> =
            Arc::new(Mutex::new(peers.iter().map(|peer| (peer.name.clone(), Reading::not_yet())).collect()));
        let (is_busy, receiver) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for peer in peers {
            let watch = Watch {
                session: peer_session(peer),
                peer: peer.clone(),
                config: Arc::clone(config),
                ssh: ssh.clone(),
                is_busy: receiver.clone(),
                readings: Arc::clone(&readings),
                wake: Arc::clone(wake),
            };
            tasks.spawn(watch.run());
        }
        Self { readings, is_busy, _tasks: tasks }
    }

    /// The last reading of every peer. Never waits for an answer.
    pub fn readings(&self) -> BTreeMap<PeerName, Reading<PeerReading>> {
        lock(&self.readings).clone()
    }

    /// Says whether something is going on; then peers are looked at as often as nodes are.
    pub fn set_busy(&self, is_busy: bool) {
        self.is_busy.send_if_modified(|current| std::mem::replace(current, is_busy) != is_busy);
    }
}

fn lock(readings: &Readings) -> MutexGuard<'_, BTreeMap<PeerName, Reading<PeerReading>>> {
    readings.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Watch {
    peer: Peer,
    session: NodeName,
    config: Arc<Config>,
    ssh: Ssh,
    is_busy: watch::Receiver<bool>,
    readings: Arc<Readings>,
    wake: Arc<Notify>,
}

impl Watch {
    async fn run(mut self) {
        loop {
            let began = boottime();
            let reading = match self.look().await {
                Ok(intent) => Reading::known(intent, began),
                Err((kind, detail)) => Reading::unknown(kind, detail, began),
            };
            self.publish(reading);
            if !self.pause().await {
                return;
            }
        }
    }

    /// Waits until the next look is due, or something begins; false where nobody is left to look for.
    async fn pause(&mut self) -> bool {
        let is_busy = *self.is_busy.borrow_and_update();
        let interval = match is_busy {
            true => self.config.reconcile.busy_interval,
            false => self.config.reconcile.idle_interval,
        };
        let begins = self.is_busy.wait_for(|is_busy_now| *is_busy_now && !is_busy);
        match tokio::time::timeout(interval, begins).await {
            Ok(begun) => begun.is_ok(),
            Err(_) => true,
        }
    }

    async fn look(&self) -> Result<PeerReading, (FailureKind, String)> {
        let path = self.config.state_dir.join("intent.json");
        let path = path.to_string_lossy();
        let limit: Duration = self.config.ssh.command_timeout;
        self.ssh.connect(&self.session).await.map_err(|error| (error.kind(), error.to_string()))?;
        let argv = ["sh", "-c", SCRIPT, "hecate-intent", &path];
        let before = moment();
        let output = self.ssh.run(&self.session, Share::Read, &argv, limit).await;
        let after = moment();
        let output = output.map_err(|error| (error.kind(), error.to_string()))?;
        if !output.is_success() {
            return Err((FailureKind::Other, format!("{}: {}", self.peer.name, summary(&output.stderr))));
        }
        let malformed = |problem| (FailureKind::Malformed, format!("{}: {problem}", self.peer.name));
        let (intent, read) = parse(&output.stdout).map_err(malformed)?;
        Ok(PeerReading { intent, clock: read.and_then(|read| clock::compare(read, before, after)) })
    }

    fn publish(&self, reading: Reading<PeerReading>) {
        tracing::trace!(peer = %self.peer.name, ?reading, "peer read");
        let before =
            lock(&self.readings).insert(self.peer.name.clone(), reading.clone()).unwrap_or_else(Reading::not_yet);
        match (&before, &reading) {
            // The clock alone wakes nobody.
            (Reading::Known { value: earlier, .. }, Reading::Known { value, .. }) if earlier.intent == value.intent => {
                return;
            }
            (Reading::Unknown { why: earlier, .. }, Reading::Unknown { why, .. }) if earlier.kind == why.kind => return,
            (_, Reading::Unknown { why, .. }) => {
                tracing::warn!(peer = %self.peer.name, why = %why, "peer cannot be read")
            }
            (_, Reading::Known { value, .. }) => {
                let state = value.intent.as_ref().map(|intent| intent.state);
                tracing::info!(peer = %self.peer.name, ?state, "peer says its intent");
            }
        }
        self.wake.notify_one();
    }
}

/// Reads what the script printed.
fn parse(output: &str) -> Result<(Option<IntentRecord>, Option<clock::Read>), String> {
    let (_, body) = output.split_once(BEGIN).ok_or("the look at its intent printed nothing that hecate knows")?;
    let (body, _) = body.split_once(END).ok_or("the look at its intent is cut off")?;
    let (date, body) = body.split_once('\n').ok_or("the look at its intent has no clock")?;
    let read = clock::parse(date);
    if body == "none" {
        return Ok((None, read));
    }
    let intent = serde_json::from_str(body).map_err(|error| format!("its intent cannot be understood: {error}"))?;
    Ok((Some(intent), read))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Intent;

    const FILE: &str = r#"{
  "state": "shutting_down",
  "since": "2026-11-22T02:00:00Z",
  "by": "root@tethys",
  "reason": "new switch"
}
"#;

    fn printed(path: &str) -> std::process::Output {
        std::process::Command::new("sh").args(["-c", SCRIPT, "hecate-intent", path]).output().unwrap()
    }

    #[test]
    fn an_intent_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("intent.json");
        std::fs::write(&path, FILE).unwrap();
        let output = printed(path.to_str().unwrap());
        let text = String::from_utf8(output.stdout).unwrap();
        let (intent, read) = parse(&format!("Welcome!\n{text}")).unwrap();
        assert!(read.is_some());
        let intent = intent.unwrap();
        assert_eq!((intent.state, intent.by.as_str()), (Intent::ShuttingDown, "root@tethys"));
        assert_eq!(intent.reason, "new switch");
    }

    #[test]
    fn a_peer_that_has_written_none_has_none_and_one_without_a_folder_is_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let output = printed(folder.path().join("intent.json").to_str().unwrap());
        let (intent, read) = parse(&String::from_utf8(output.stdout).unwrap()).unwrap();
        assert!(intent.is_none() && read.is_some());
        let output = printed(folder.path().join("elsewhere/intent.json").to_str().unwrap());
        assert!(!output.status.success());
        assert!(String::from_utf8(output.stderr).unwrap().contains("is not there"));
    }

    #[test]
    fn an_intent_cut_off_anywhere_or_of_another_kind_is_no_intent() {
        let whole = format!("{BEGIN}1795312800.0\n{FILE}{END}\n");
        assert!(parse(&whole).is_ok());
        for length in 0..whole.len() - 1 {
            assert!(parse(&whole[..length]).is_err(), "{length}");
        }
        assert!(parse(&whole.replace("shutting_down", "dancing")).is_err());
        assert!(parse(&whole.replace("2026-11-22T02:00:00Z", "yesterday")).is_err());
    }
}

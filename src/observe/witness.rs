//! Looks whether each UPS' witness is there: something that is gone when the mains are.
//!
//! One task a witness. A connection that is refused is an answer: something is there and has power. What a silent UPS
//! then means is `desired/ups_policy`'s work.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, timeout};

use crate::clock::boottime;
use crate::config::{Config, Witness};
use crate::model::{Reading, UpsName};

/// So often a witness is looked at: silence on battery is judged after 30 s at the earliest.
const INTERVAL: Duration = Duration::from_secs(5);
/// Something on the same network answers in milliseconds.
const LIMIT: Duration = Duration::from_secs(2);

/// Watches all configured witnesses; dropping it ends the watching.
#[derive(Debug)]
pub struct Witnesses {
    readings: Arc<Mutex<BTreeMap<UpsName, Reading<bool>>>>,
    /// Aborted when dropped.
    _tasks: JoinSet<()>,
}

impl Witnesses {
    /// Starts one task a witness with an address. `wake` is notified when one comes or goes.
    pub fn start(config: &Config, wake: &Arc<Notify>) -> Self {
        let readings = Arc::new(Mutex::new(BTreeMap::new()));
        let mut tasks = JoinSet::new();
        for (name, ups) in &config.upses {
            let Some(Witness::Address { host, port }) = &ups.witness else { continue };
            readings.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), Reading::not_yet());
            let watch = Watch { name: name.clone(), host: host.clone(), port: *port };
            tasks.spawn(watch.run(Arc::clone(&readings), Arc::clone(wake)));
        }
        Self { readings, _tasks: tasks }
    }

    /// The last look at every witness. Never waits.
    pub fn readings(&self) -> BTreeMap<UpsName, Reading<bool>> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Watch {
    name: UpsName,
    host: String,
    port: u16,
}

impl Watch {
    async fn run(self, readings: Arc<Mutex<BTreeMap<UpsName, Reading<bool>>>>, wake: Arc<Notify>) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let began = boottime();
            let is_there = is_there(&self.host, self.port).await;
            let reading = Reading::known(is_there, began);
            let before = readings.lock().unwrap_or_else(PoisonError::into_inner).insert(self.name.clone(), reading);
            if before.as_ref().and_then(Reading::value) != Some(&is_there) {
                tracing::info!(ups = %self.name, witness = %self.host, is_there, "witness looked at");
                wake.notify_one();
            }
        }
    }
}

/// Whether somebody at this address takes a connection or refuses it. A name that does not resolve says that it is gone:
/// where names are served inside the cluster, write an address.
async fn is_there(host: &str, port: u16) -> bool {
    match timeout(LIMIT, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => error.kind() == ErrorKind::ConnectionRefused,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_takes_or_refuses_a_connection_is_there() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(is_there("127.0.0.1", port).await, "it listens");
        drop(listener);
        assert!(is_there("127.0.0.1", port).await, "it refuses");
    }
}

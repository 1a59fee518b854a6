//! Looks whether each UPS' witness is there: something that is gone when the mains are.
//!
//! One task a witness. A connection that is refused is an answer: something is there and has power. What a silent UPS
//! then means is `desired/ups_policy`'s work.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, timeout};

use crate::clock::boottime;
use crate::config::{Config, Witness};
use crate::model::{FailureKind, Reading, UpsName};

/// So often a witness is looked at: silence on battery is judged after 30 s at the earliest.
const INTERVAL: Duration = Duration::from_secs(5);
/// Something on the same network answers in milliseconds.
const LIMIT: Duration = Duration::from_secs(2);
/// A name has no more addresses of one thing than this.
const ADDRESSES_MAX: usize = 4;

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
            let watch = Watch { name: name.clone(), host: host.clone(), port: *port, addresses: Vec::new() };
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
    /// What its name stood for last: the server of names may go with the mains, or be down alone.
    addresses: Vec<SocketAddr>,
}

impl Watch {
    async fn run(mut self, readings: Arc<Mutex<BTreeMap<UpsName, Reading<bool>>>>, wake: Arc<Notify>) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let began = boottime();
            self.resolve().await;
            // A name that never stood for anything says nothing of the mains.
            let is_there = if self.addresses.is_empty() { None } else { Some(is_there(&self.addresses).await) };
            let reading = match is_there {
                Some(is_there) => Reading::known(is_there, began),
                None => Reading::unknown(FailureKind::Other, format!("{} does not resolve", self.host), began),
            };
            let before = readings.lock().unwrap_or_else(PoisonError::into_inner).insert(self.name.clone(), reading);
            let was_there = before.as_ref().and_then(Reading::value).copied();
            let is_first = before.is_none_or(|before| !before.was_looked_at());
            if was_there != is_there || is_first {
                tracing::info!(ups = %self.name, witness = %self.host, ?is_there, "witness looked at");
                wake.notify_one();
            }
        }
    }

    /// Asks what the name stands for; the last answer is kept.
    async fn resolve(&mut self) {
        if let Ok(Ok(found)) = timeout(LIMIT, lookup_host((self.host.as_str(), self.port))).await {
            let found: Vec<SocketAddr> = found.take(ADDRESSES_MAX).collect();
            if !found.is_empty() {
                self.addresses = found;
            }
        }
    }
}

/// Whether somebody at one of these addresses takes a connection or refuses it.
async fn is_there(addresses: &[SocketAddr]) -> bool {
    match timeout(LIMIT, TcpStream::connect(addresses)).await {
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
        let address = listener.local_addr().unwrap();
        assert!(is_there(&[address]).await, "it listens");
        drop(listener);
        assert!(is_there(&[address]).await, "it refuses");
    }

    #[tokio::test]
    async fn a_name_that_is_not_served_any_more_stands_for_what_it_stood_for() {
        let known: SocketAddr = "127.0.0.1:9".parse().unwrap();
        // No server of names is asked for a label that is too long.
        let mut watch = Watch { name: "pyrphoros".into(), host: "x".repeat(300), port: 9, addresses: vec![known] };
        watch.resolve().await;
        assert_eq!(watch.addresses, [known]);
        let mut watch = Watch { host: "127.0.0.1".to_owned(), addresses: Vec::new(), ..watch };
        watch.resolve().await;
        assert_eq!(watch.addresses, [known]);
    }
}

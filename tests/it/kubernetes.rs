//! The Kubernetes observer and actor against an API in memory, on tokio's paused clock.

mod drain;
mod fake;
mod nodes;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use hecate::model::Reading;
use hecate::observe::kubernetes::{Api, Settings};
use hecate::snapshot::ApiSnapshot;
use tokio::sync::Notify;

use self::fake::Fake;

const LONG: Duration = Duration::from_secs(600);

/// Starts to look at a fake, and waits until everything was listed.
async fn start(fake: &Fake) -> (Api, Arc<Notify>) {
    let (api, wake) = begin(fake);
    until(&api, |seen| {
        [seen.nodes.value().is_some(), seen.pods.value().is_some(), seen.attachments.value().is_some()] == [true; 3]
    })
    .await;
    (api, wake)
}

fn begin(fake: &Fake) -> (Api, Arc<Notify>) {
    let settings = Settings {
        control_planes: ["cp-1".into(), "cp-2".into()].into(),
        busy_interval: Duration::from_secs(2),
        idle_interval: Duration::from_secs(30),
    };
    let wake = Arc::new(Notify::new());
    (Api::start_with(Arc::new(fake.clone()), settings, fake.requests.clone(), Arc::clone(&wake)), wake)
}

/// Waits for a condition on the snapshot, looking again at each change.
async fn until(api: &Api, is_so: impl Fn(&ApiSnapshot) -> bool) {
    let mut news = api.news();
    let found = tokio::time::timeout(LONG, async {
        while !is_so(&api.snapshot()) {
            news.changed().await.expect("the observer runs");
        }
    });
    assert!(found.await.is_ok(), "waited in vain; last seen: {:#?}", api.snapshot());
}

fn why<T>(reading: &Reading<T>) -> String {
    reading.failure().map(ToString::to_string).unwrap_or_default()
}

//! `/metrics` and `/healthz`: reads what is published, changes nothing.
//!
//! Must never stop the daemon: a port that is taken is a warning, as the power is guarded all the same.

mod metrics;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

pub use self::metrics::Metrics;
use crate::config::Reconcile;
use crate::status::Status;
use crate::telemetry::chain;

/// No loop is called dead before this: a busy disk or a slow API may delay a pass.
const STALE_MIN: Duration = Duration::from_secs(60);

/// How old the last pass may be before `/healthz` says 503: three idle passes missed.
pub fn stale_after(reconcile: &Reconcile) -> Duration {
    STALE_MIN.max(reconcile.idle_interval * 3)
}

/// Serves until `stop` says true; returns at once, with a warning, where the port is taken.
pub async fn run(
    listen: SocketAddr,
    published: watch::Receiver<Option<Arc<Status>>>,
    metrics: Arc<Metrics>,
    stale_after: Duration,
    stop: watch::Receiver<bool>,
) {
    match TcpListener::bind(listen).await {
        Ok(listener) => serve(listener, published, metrics, stale_after, stop).await,
        Err(failure) => {
            tracing::warn!(%listen, error = %chain(&failure), "no /metrics and no /healthz: the address cannot be had");
            // The counters go on: nothing else follows the published statuses.
            follow(published, &metrics).await;
        }
    }
}

/// The same on a listener that is there already.
pub async fn serve(
    listener: TcpListener,
    published: watch::Receiver<Option<Arc<Status>>>,
    metrics: Arc<Metrics>,
    stale_after: Duration,
    mut stop: watch::Receiver<bool>,
) {
    let follower = tokio::spawn({
        let metrics = Arc::clone(&metrics);
        async move { follow(published, &metrics).await }
    });
    let router = router(metrics, stale_after);
    let served = axum::serve(listener, router).with_graceful_shutdown(async move {
        // A dropped sender means the same as a stop.
        let _ = stop.wait_for(|is_stopping| *is_stopping).await;
    });
    if let Err(failure) = served.await {
        tracing::warn!(error = %chain(&failure), "metrics are no longer served");
    }
    follower.abort();
}

/// Takes every published status into the metrics until there will be no more.
async fn follow(mut published: watch::Receiver<Option<Arc<Status>>>, metrics: &Metrics) {
    loop {
        let status = published.borrow_and_update().clone();
        if let Some(status) = status {
            metrics.update(&status);
        }
        if published.changed().await.is_err() {
            return;
        }
    }
}

#[derive(Clone)]
struct Served {
    metrics: Arc<Metrics>,
    stale_after: Duration,
}

fn router(metrics: Arc<Metrics>, stale_after: Duration) -> Router {
    Router::new()
        .route("/metrics", get(show_metrics))
        .route("/healthz", get(show_health))
        .with_state(Served { metrics, stale_after })
}

async fn show_metrics(State(served): State<Served>) -> impl IntoResponse {
    match served.metrics.encode() {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text),
        Err(failure) => {
            let text = format!("cannot encode the metrics: {}\n", chain(&failure));
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], text)
        }
    }
}

async fn show_health(State(served): State<Served>) -> impl IntoResponse {
    let limit = served.stale_after.as_secs();
    match served.metrics.age() {
        None => (StatusCode::SERVICE_UNAVAILABLE, "no pass has ended yet\n".to_owned()),
        Some(age) if age > served.stale_after => {
            let said = format!("the last pass ended {} s ago, the limit is {limit} s\n", age.as_secs());
            (StatusCode::SERVICE_UNAVAILABLE, said)
        }
        Some(age) => (StatusCode::OK, format!("ok: the last pass ended {} s ago\n", age.as_secs())),
    }
}

//! `/metrics` and `/healthz` over a real socket.

use std::sync::Arc;
use std::time::Duration;

use hecate::serve::{self, Metrics};
use hecate::status::Status;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::samples::{battery, blocked, healthy, on_battery};

/// Serves one status, if any, and asks for one page.
async fn ask(status: Option<Status>, stale_after: Duration, page: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let metrics = Arc::new(Metrics::new());
    if let Some(status) = &status {
        metrics.update(status);
    }
    let (_published, seen) = watch::channel(None);
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(serve::serve(listener, seen, metrics, stale_after, stopped));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {page} HTTP/1.1\r\nHost: hecate\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn metrics_of_a_descent_on_battery() {
    let answer = ask(Some(on_battery()), Duration::from_secs(60), "/metrics").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    let samples: Vec<&str> = body.lines().filter(|line| !line.starts_with('#')).collect();
    insta::assert_snapshot!(samples.join("\n"));
}

#[tokio::test]
async fn health_is_the_age_of_the_last_pass() {
    let none = ask(None, Duration::from_secs(60), "/healthz").await;
    assert!(none.starts_with("HTTP/1.1 503") && none.ends_with("no pass has ended yet\n"), "{none}");
    let fresh = ask(Some(healthy()), Duration::from_secs(60), "/healthz").await;
    assert!(fresh.starts_with("HTTP/1.1 200"), "{fresh}");
    let stale = ask(Some(healthy()), Duration::ZERO, "/healthz").await;
    assert!(stale.starts_with("HTTP/1.1 503") && stale.contains("the limit is 0 s"), "{stale}");
}

#[tokio::test]
async fn a_port_that_is_taken_stops_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let metrics = Arc::new(Metrics::new());
    let (published, seen) = watch::channel(Some(Arc::new(blocked())));
    let (_stop, stopped) = watch::channel(false);
    drop(published);
    serve::run(taken.local_addr().unwrap(), seen, Arc::clone(&metrics), Duration::from_secs(60), stopped).await;
    assert!(metrics.encode().unwrap().contains("hecate_blockers{reason=\"wrong-host\"} 1"));
}

#[test]
fn what_is_known_of_a_battery_is_exported_with_its_date_and_goes_when_it_is_forgotten() {
    let metrics = Metrics::new();
    let mut status = healthy();
    status.upses.values_mut().for_each(|row| row.battery = Some(battery(34)));
    metrics.update(&status);
    let text = metrics.encode().unwrap();
    let of = |name: &str| {
        let wanted = format!("hecate_ups_battery_{name}{{ups=\"pyrphoros\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&wanted)?.parse::<f64>().ok())
    };
    assert_eq!(of("full_runtime_seconds"), Some(1290.0), "{text}");
    assert_eq!(of("record_runtime_seconds"), Some(1830.0), "{text}");
    assert_eq!((of("proven_seconds"), of("proven_load_ratio")), (Some(700.0), Some(0.41)), "{text}");
    assert_eq!((of("own_count_ratio"), of("recharge_seconds")), (Some(0.62), Some(21600.0)), "{text}");
    let known = status.upses.values().find_map(|row| row.battery.as_ref()).unwrap();
    let proven_at = known.proof.as_ref().unwrap().at.as_second() as f64;
    let record_at = known.record.as_ref().unwrap().at.as_second() as f64;
    assert_eq!((of("record_timestamp_seconds"), of("proven_timestamp_seconds")), (Some(record_at), Some(proven_at)));
    metrics.update(&healthy());
    assert!(!metrics.encode().unwrap().contains("hecate_ups_battery_proven_seconds{"), "forgotten");
}

#[test]
fn a_pass_and_a_step_are_counted_once() {
    let metrics = Metrics::new();
    let first = on_battery();
    metrics.update(&first);
    metrics.update(&first);
    let mut next = first;
    next.pass += 2;
    next.last_steps.pop();
    metrics.update(&next);
    let text = metrics.encode().unwrap();
    assert!(text.contains("hecate_passes_total 4713"), "{text}");
    assert!(text.contains("hecate_steps_total{outcome=\"tried\",step=\"power-off\"} 1"), "{text}");
}

#[test]
fn calls_are_counted_over_a_reload() {
    use std::collections::BTreeMap;
    let metrics = Metrics::new();
    let ssh = BTreeMap::from([("read", 5)]);
    metrics.calls_made(&BTreeMap::from([("readyz", 7)]), &ssh);
    metrics.calls_made(&BTreeMap::from([("readyz", 9)]), &ssh);
    // A reload made a new client, which counts from nothing.
    metrics.calls_made(&BTreeMap::from([("readyz", 2)]), &BTreeMap::new());
    let text = metrics.encode().unwrap();
    assert!(text.contains("hecate_api_requests_total{request=\"readyz\"} 11"), "{text}");
    assert!(text.contains("hecate_ssh_round_trips_total{share=\"read\"} 5"), "{text}");
}

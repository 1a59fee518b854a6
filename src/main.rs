//! x
use hecate::simulate::*;
use std::time::Duration;
fn main() {
    let mut c = blueprint::config(3, 2).expect("the blueprint is a cluster");
    if std::env::args().nth(1).as_deref() == Some("auto") {
        c.shutdown.ups_path = hecate::config::UpsPath::Auto;
    }
    let t = std::time::Instant::now();
    let r = outage::power_cut(&c, &outage::Outage::default(), "2026-11-22T02:00:00Z".parse().unwrap());
    for l in &r.timeline {
        println!("{l}");
    }
    println!(
        "{:?} {:?} {:?} {:?} in {:?}",
        r.dark_after.map(|d: Duration| d.as_secs()),
        r.running_after,
        r.battery_left,
        r.findings,
        t.elapsed()
    );
}

//! Each of the real devices in `profiles.tsv`, as a blink, as an outage to the end, and as a return of the mains.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use hecate::simulate::script::{Play, Script};
use hecate::simulate::trial::trial;
use hecate::simulate::world::profile::Profile;

fn script(row: usize, events: &str, minutes: u64) -> Script {
    let cluster = format!("{{battery-minutes: 30, devices: {{pyrphoros: {{profile: {row}}}}}}}");
    let text = format!("cluster: {cluster}\nevents: [{events}]\nminutes: {minutes}\n");
    serde_yaml::from_str(&text).expect("the script is one")
}

/// Plays every row, on all cores; gives what came of those that something did.
fn every_row<T: Send>(play: impl Fn(usize) -> Option<T> + Sync) -> BTreeMap<usize, T> {
    let next = AtomicUsize::new(0);
    let work = || {
        let row = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|row| *row < Profile::all().len());
        std::iter::from_fn(row).filter_map(|row| Some((row, play(row)?))).collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no play panics")).collect()
    })
}

/// Their own words leave no doubt: on battery they say LB as long as they are on battery, or a charge of 23 % and no runtime.
const SAY_THAT_IT_ENDS: [usize; 9] = [21, 23, 39, 194, 402, 419, 422, 491, 583];

#[test]
fn no_real_device_shuts_anything_down_at_a_blink_of_the_mains() {
    let blink = "{at: 300, event: mains-lost}, {at: 320, event: mains-back}";
    let shut_down = every_row(|row| {
        let script = script(row, blink, 15);
        let mut play = Play::new(&script).expect("the configuration is one");
        while !play.is_over() {
            play.tick();
        }
        let story = &play.simulation.story.lines;
        story.iter().map(ToString::to_string).find(|line| line.contains("demands"))
    });
    assert_eq!(shut_down.keys().copied().collect::<Vec<_>>(), SAY_THAT_IT_ENDS, "{shut_down:#?}");
}

#[test]
fn every_real_device_that_says_anything_is_dark_in_time_and_runs_again() {
    let failed = every_row(|row| {
        let trial = trial(&script(row, "{at: 300, event: mains-lost}", 60)).expect("the configuration is one");
        let is_well = trial.findings.is_empty() && trial.excuses.is_empty();
        (!is_well).then(|| format!("{:?} {:?}", trial.findings, trial.excuses))
    });
    assert_eq!(failed, BTreeMap::new());
}

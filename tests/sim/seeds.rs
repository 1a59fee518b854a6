//! Random clusters and random trouble: nothing bad ever happens, and once it is over everything is well again.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use hecate::simulate::seeds::{Trouble, script};
use hecate::simulate::shrink::shrink;
use hecate::simulate::trial::{Trial, compare_without_kills, trial};

/// So many seeds are played, from this one on; `HECATE_SEEDS=100000 HECATE_SEED=7` plays others.
/// `HECATE_STORY=no` names what failed and does not shrink it.
const SEEDS: u64 = 2_000;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Plays one seed with kills left out too where there are any.
fn play(seed: u64, trouble: Trouble) -> Trial {
    let script = script(seed, trouble);
    let mut trial = trial(&script).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    if trouble == Trouble::Outages {
        let differs = compare_without_kills(&script, &trial).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        trial.findings.extend(differs);
    }
    trial
}

/// A failing seed as a story that a person can read, and as a scenario that can be played again.
fn story(seed: u64, trouble: Trouble, rule: &str) -> String {
    let fails = |smaller: &hecate::simulate::script::Script| {
        trial(smaller).is_ok_and(|trial| trial.findings.iter().any(|finding| finding.rule == rule))
    };
    let small = shrink(&script(seed, trouble), fails);
    let told = trial(&small).unwrap();
    let lines: String = told.timeline.iter().map(|line| format!("{line}\n")).collect();
    format!("{}\n{lines}{:#?}\n", serde_yaml::to_string(&small).unwrap(), told.findings)
}

#[test]
fn whatever_happens_nothing_bad_is_done_and_all_is_well_in_the_end() {
    let (first, count) = (number("HECATE_SEED", 0), number("HECATE_SEEDS", SEEDS));
    let (next, passes, hours) = (AtomicU64::new(first), AtomicU64::new(0), AtomicU64::new(0));
    let seen: Mutex<BTreeMap<&str, u32>> = Mutex::default();
    let begin = Instant::now();
    let worker = || {
        let mut bad = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return bad;
            }
            let trouble = if seed % 5 == 4 { Trouble::Outages } else { Trouble::Faults };
            let trial = play(seed, trouble);
            passes.fetch_add(trial.passes, Ordering::Relaxed);
            let mut seen = seen.lock().unwrap();
            trial.seen.iter().for_each(|name| *seen.entry(*name).or_insert(0) += 1);
            drop(seen);
            hours.fetch_add(trial.played.as_secs(), Ordering::Relaxed);
            bad.extend(trial.findings.first().map(|finding| (seed, trouble, finding.clone())));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    let bad: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let (spent, hours) = (begin.elapsed().as_secs_f64(), hours.into_inner() as f64 / 3600.0);
    let told = format!(
        "{count} seeds, {} passes, {hours:.0} h in {spent:.1} s: {:.0} simulated hours a second",
        passes.into_inner(),
        hours / spent
    );
    let each =
        bad.iter().map(|(seed, _, it)| format!("seed {seed}: {}: {}\n", it.rule, it.evidence)).collect::<String>();
    if let Some((seed, trouble, finding)) = bad.iter().min_by_key(|(seed, _, _)| *seed) {
        let is_quiet = std::env::var("HECATE_STORY").is_ok_and(|text| text == "no");
        let story = if is_quiet { String::new() } else { story(*seed, *trouble, finding.rule) };
        panic!("{told}\n{each}\nseed {seed}, shrunk:\n{story}");
    }
    #[expect(clippy::print_stdout, reason = "the figures are what a person looks for")]
    {
        println!("{told}");
        println!("{:?}", seen.lock().unwrap());
    }
}

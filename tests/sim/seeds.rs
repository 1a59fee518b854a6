//! Random clusters and random trouble: nothing bad ever happens, and once it is over everything is well again.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use hecate::simulate::checks::Finding;
use hecate::simulate::hunt::{play, tell};
use hecate::simulate::seeds::Trouble;

/// So many seeds are played, from this one on; `HECATE_SEEDS=100000 HECATE_SEED=7` plays others.
/// `HECATE_STORY=no` names what failed and does not shrink it.
const SEEDS: u64 = 1_000;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Who lost power and was excused, by cause.
fn table(excuses: &BTreeMap<&str, u32>) -> String {
    let mut rows: Vec<(&&str, &u32)> = excuses.iter().collect();
    rows.sort_by_key(|(name, times)| (std::cmp::Reverse(**times), **name));
    let rows = rows.iter().map(|(name, times)| format!("{times:>6}  {name}\n"));
    let total: u32 = excuses.values().sum();
    format!("{total} times somebody lost power and was excused:\n{}", rows.collect::<String>())
}

/// How many seeds broke each rule, and the first of each.
fn broken(bad: &[(u64, Trouble, Finding)]) -> String {
    let mut rules: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    bad.iter().for_each(|(seed, _, finding)| rules.entry(finding.rule).or_default().push(*seed));
    let rows = rules.iter_mut().map(|(rule, seeds)| {
        seeds.sort_unstable();
        let first: Vec<String> = seeds.iter().take(8).map(u64::to_string).collect();
        format!("{:>6}  {rule}: {}\n", seeds.len(), first.join(", "))
    });
    rows.collect()
}

#[test]
fn whatever_happens_nothing_bad_is_done_and_all_is_well_in_the_end() {
    let (first, count) = (number("HECATE_SEED", 0), number("HECATE_SEEDS", SEEDS));
    let (next, passes, hours) = (AtomicU64::new(first), AtomicU64::new(0), AtomicU64::new(0));
    let seen: Mutex<BTreeMap<&str, u32>> = Mutex::default();
    let excuses: Mutex<BTreeMap<&str, u32>> = Mutex::default();
    let begin = Instant::now();
    let worker = || {
        let mut bad = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return bad;
            }
            let trouble = if seed % 5 == 4 { Trouble::Outages } else { Trouble::Faults };
            let trial = play(seed, trouble).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            passes.fetch_add(trial.passes, Ordering::Relaxed);
            let mut seen = seen.lock().unwrap();
            trial.seen.iter().for_each(|name| *seen.entry(*name).or_insert(0) += 1);
            drop(seen);
            let mut excuses = excuses.lock().unwrap();
            trial.excuses.iter().for_each(|(name, times)| *excuses.entry(*name).or_insert(0) += times);
            drop(excuses);
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
        "{count} seeds, {} passes, {hours:.0} h in {spent:.1} s: {:.1} seeds and {:.0} simulated hours a second\n{}",
        passes.into_inner(),
        count as f64 / spent,
        hours / spent,
        table(&excuses.into_inner().unwrap()),
    );
    let each =
        bad.iter().map(|(seed, _, it)| format!("seed {seed}: {}: {}\n", it.rule, it.evidence)).collect::<String>();
    if let Some((seed, trouble, finding)) = bad.iter().min_by_key(|(seed, _, _)| *seed) {
        if std::env::var("HECATE_STORY").is_ok_and(|text| text == "no") {
            panic!("{told}\n{each}\n{}", broken(&bad));
        }
        let story = tell(*seed, *trouble, finding.rule).unwrap();
        panic!(
            "{told}
{each}
seed {seed}, shrunk:
{story}
{}",
            story.yaml().unwrap()
        );
    }
    #[expect(clippy::print_stdout, reason = "the figures are what a person looks for")]
    {
        println!("{told}");
        println!("{:?}", seen.lock().unwrap());
    }
}

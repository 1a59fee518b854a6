//! Plays seeds on all cores and sums up: what was broken, with its story, and what was excused.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use fastrand::Rng;
use hecate::config::Config;

use super::draw;
use super::judge::{Judge, Rule};
use super::world::World;

/// How many plays there are by default.
const SEEDS: u64 = 150;
/// How many seeds are named for an excuse.
const EXAMPLES: usize = 4;
/// How many stories are told.
const STORIES: usize = 6;

/// A play that broke a rule, or one that is told.
pub(crate) struct Play {
    seed: u64,
    broken: Vec<(Rule, String)>,
    story: Vec<String>,
}

/// What many plays came to.
#[derive(Default)]
pub(crate) struct Report {
    /// How many plays.
    played: u64,
    /// Plays that broke a rule, and the one that is told.
    plays: Vec<Play>,
    excused: BTreeMap<(Rule, String), (u32, Vec<u64>)>,
    asked: BTreeMap<Rule, u32>,
    told: bool,
}

/// Plays as many seeds as the environment says.
pub(crate) fn play_all() -> Report {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (first, count) = match (number("HECATE_SEED"), number("HECATE_SEEDS")) {
        (Some(seed), None) => (seed, 1),
        (first, count) => (first.unwrap_or(0), count.unwrap_or(SEEDS)),
    };
    let next = AtomicU64::new(first);
    let all = Mutex::new(Report { told: count == 1, ..Report::default() });
    let cores = std::thread::available_parallelism().map_or(2, |cores| cores.get());
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        break;
                    }
                    let judge = play(seed);
                    if let Ok(mut report) = all.lock() {
                        report.take(seed, judge);
                    }
                }
            });
        }
    });
    let mut report = all.into_inner().unwrap_or_default();
    report.plays.sort_by_key(|play| play.seed);
    report
}

/// The world of a seed, before anything happens.
pub(crate) fn world(seed: u64) -> World {
    let mut rng = Rng::with_seed(seed);
    let site = draw::site(&mut rng);
    let checked =
        Config::parse(&site.yaml).unwrap_or_else(|mistakes| panic!("seed {seed}: {mistakes:?}\n{}", site.yaml));
    World::new(site, checked.config, rng)
}

/// One play.
fn play(seed: u64) -> Judge {
    let mut world = world(seed);
    world.judge.say(0.0, about(&world));
    world.play();
    world.judge
}

/// What the site is like, for the story.
fn about(world: &World) -> String {
    let site = &world.site;
    let mut lines = vec![format!("own host {}, switch on {:?}", site.hosts[site.own].name, site.switch_on)];
    for host in &site.hosts {
        lines.push(format!(
            "  {}: feeds {:?} min {} off {} wake {:?} {:?} enabled {} boot {:.0} stop {:.0} silent {:.0} write {:.0}",
            host.name,
            host.feeds,
            host.min_supplies,
            host.power_off,
            host.wake,
            host.firmware,
            host.is_enabled,
            host.boot_seconds,
            host.stop_seconds,
            host.silent_seconds,
            host.write_seconds,
        ));
    }
    for ups in &site.upses {
        lines.push(format!("  {ups:?}"));
    }
    lines.push(site.yaml.clone());
    lines.join("\n")
}

impl Report {
    fn take(&mut self, seed: u64, judge: Judge) {
        self.played += 1;
        for (key, count) in judge.excused {
            let (sum, seeds) = self.excused.entry(key).or_default();
            *sum += count;
            if seeds.len() < EXAMPLES {
                seeds.push(seed);
            }
        }
        for (rule, count) in judge.asked {
            *self.asked.entry(rule).or_default() += count;
        }
        if !judge.broken.is_empty() || self.told {
            let keeps = self.told || self.plays.len() < STORIES;
            let line = |(at, text): &(f64, String)| format!("{at:9.1} {text}");
            let story = if keeps { judge.story.iter().map(line).collect() } else { Vec::new() };
            self.plays.push(Play { seed, broken: judge.broken, story });
        }
    }

    /// How many plays broke a rule.
    pub(crate) fn broken(&self) -> usize {
        self.plays.iter().filter(|play| !play.broken.is_empty()).count()
    }

    /// Prints all of it.
    #[expect(clippy::print_stdout, reason = "a test's report is for people")]
    pub(crate) fn print(&self) {
        for Play { seed, broken, story } in &self.plays {
            println!("seed {seed}");
            for (rule, how) in broken {
                println!("  {rule:?}: {how}");
            }
            for line in story {
                println!("    {line}");
            }
        }
        println!("{} plays", self.played);
        for rule in Rule::ALL {
            let plays = self.plays.iter().filter(|play| play.broken.iter().any(|(one, _)| *one == rule)).count();
            let asked = self.asked.get(&rule).copied().unwrap_or_default();
            println!("{rule:?}: asked {asked} times, broken in {plays} plays");
            for ((_, cause), (count, seeds)) in self.excused.iter().filter(|((one, _), _)| *one == rule) {
                println!("    excused {count:6}: {cause} (seeds {seeds:?} ...)");
            }
        }
    }
}

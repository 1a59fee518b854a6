//! The real `decide()` and `track()`, model-checked with stateright: every order of outages, wishes and faults, up to a number
//! of each, against a small world.
//!
//! An action is something that happens at one instant, or a tick: steps have their effect, the world moves on, and hecate
//! makes its passes. So anything may come together between two polls. `normal.rs` makes equal situations equal states.
//!
//! What runs by default is what fits into a minute; `HECATE_MODEL=deep` goes through more of everything, for minutes each.
//!
//! Safety only: stateright's `eventually` overlooks behaviours that end in a cycle. That hecate gets anywhere is shown by the
//! seeds of the built-in world.

mod cluster;
mod hecate;
mod normal;
mod pair;
mod planted;
mod rules;
mod single;
mod stories;
mod view;
mod world;

use std::fmt::{Debug, Display, Write as _};
use std::hash::Hash;
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model, Path};

use pair::Pair;
use planted::Planted;
use rules::Rule;
use single::{Budget, Single};

/// A rule that was broken, and how.
struct Found {
    rule: Rule,
    story: String,
    length: usize,
}

/// What a check went through.
struct Checked {
    states: usize,
    found: Option<Found>,
}

/// Goes through all that may happen, breadth first, until a rule is broken or nothing is left; not deeper than `depth`.
/// Several threads do not keep to the breadth.
fn explore<M>(model: M, depth: Option<usize>, threads: usize) -> (Checked, String)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Display + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    let began = Instant::now();
    let builder = model.checker().threads(threads).finish_when(HasDiscoveries::AnyFailures);
    let builder = if let Some(depth) = depth { builder.target_max_depth(depth) } else { builder };
    let checker = builder.spawn_bfs().join();
    let seconds = began.elapsed().as_secs_f64();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    let found = checker.discoveries().into_iter().min_by_key(|(rule, _)| *rule);
    let found = found.map(|(rule, path)| tell(rule, path));
    (Checked { states, found }, format!("{states} distinct states, depth {depth}, {seconds:.1} s"))
}

fn tell<S: Display, A: Debug>(rule: Rule, path: Path<S, A>) -> Found {
    let steps = path.into_vec();
    let length = steps.len();
    let mut story = format!("broken: {rule}\n");
    for (state, action) in steps {
        // Writing to a String cannot fail.
        let _ = writeln!(story, "    {state}");
        let _ = action.map(|action| writeln!(story, "{action:?}"));
    }
    Found { rule, story, length }
}

/// Says what a model went through, which nothing else would show, and tells the shortest story where a rule is broken.
#[expect(clippy::print_stdout, reason = "the figures of a check are what it is run for")]
fn holds<M>(name: &str, model: M) -> usize
where
    M: Model + Clone + Send + Sync + 'static,
    M::State: Clone + Display + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    let (checked, figures) = explore(model.clone(), None, THREADS);
    println!("{name}: {figures}");
    assert!(checked.found.is_none(), "{}", shorten(model, checked.found).map_or_else(String::new, |it| it.story));
    checked.states
}

/// The shortest way to break a rule.
#[expect(clippy::print_stdout, reason = "the figures of a check are what it is run for")]
fn shortest<M>(name: &str, model: M) -> Found
where
    M: Model + Clone + Send + Sync + 'static,
    M::State: Clone + Display + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    let (checked, figures) = explore(model.clone(), None, 1);
    let found = shorten(model, checked.found).unwrap_or_else(|| panic!("{name} is not found"));
    println!("{name}: {:?} after {} actions, {figures}", found.rule, found.length - 1);
    found
}

/// Within a depth stateright keeps the last way that it finds, so the depth is lowered until nothing is found.
fn shorten<M>(model: M, mut found: Option<Found>) -> Option<Found>
where
    M: Model + Clone + Send + Sync + 'static,
    M::State: Clone + Display + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    while let Some(depth) = found.as_ref().map(|found| found.length)
        && let Some(shorter) = explore(model.clone(), Some(depth), 1).0.found
    {
        found = Some(shorter);
    }
    found
}

/// The checks are few and of unlike size: two threads each keep two cores busy to the end.
const THREADS: usize = 2;

fn single(outages: u8, wishes: u8, faults: u8) -> Single {
    Single { budget: Budget { outages, wishes, faults }, planted: Planted::Nothing }
}

fn pair(outages: u8, wishes: u8, faults: u8) -> Pair {
    Pair { budget: Budget { outages, wishes, faults }, planted: Planted::Nothing }
}

#[test]
fn an_outage_a_wish_and_a_fault_in_any_order_break_no_rule() {
    let states = holds("one outage, wish and fault", single(1, 1, 1));
    assert!(states >= 100_000, "only {states} distinct states");
}

#[test]
fn two_outages_and_a_wish_or_two_wishes_and_an_outage_in_any_order_break_no_rule() {
    holds("two outages, a wish", single(2, 1, 0));
    holds("an outage, two wishes", single(1, 2, 0));
}

#[test]
fn two_hecate_hosts_against_each_other_break_no_rule() {
    let states = holds("two hosts, two wishes, a fault", pair(0, 2, 1));
    assert!(states >= 100_000, "only {states} distinct states");
}

#[test]
fn two_hecate_hosts_in_an_outage_break_no_rule() {
    holds("two hosts, an outage, a fault", pair(1, 0, 1));
    holds("two hosts, an outage, a wish", pair(1, 1, 0));
}

/// Whether minutes may be spent.
fn is_deep() -> bool {
    std::env::var("HECATE_MODEL").as_deref() == Ok("deep")
}

#[test]
fn more_of_everything_breaks_no_rule_where_it_is_asked_for() {
    if !is_deep() {
        return;
    }
    for (outages, wishes, faults) in [(2, 0, 1), (0, 1, 2), (0, 2, 1), (2, 2, 0), (1, 0, 2), (2, 1, 1)] {
        let name = format!("{outages} outages, {wishes} wishes, {faults} faults");
        holds(&name, single(outages, wishes, faults));
    }
}

#[test]
fn more_of_two_hecate_hosts_breaks_no_rule_where_it_is_asked_for() {
    if !is_deep() {
        return;
    }
    for (outages, wishes, faults) in [(1, 1, 1), (1, 0, 2), (0, 1, 2), (1, 2, 0)] {
        let name = format!("two hosts, {outages} outages, {wishes} wishes, {faults} faults");
        holds(&name, pair(outages, wishes, faults));
    }
}

#[test]
fn planted_bugs_are_found_by_the_rule_that_they_break() {
    for (planted, (outages, wishes, faults), rule) in [
        (Planted::SeesMains, (1, 2, 0), rules::ON_BATTERY),
        (Planted::LedgerNotAwaited, (0, 1, 1), rules::LEDGER_FIRST),
        (Planted::KeepsMarks, (2, 0, 0), rules::OLD_OUTAGE),
        (Planted::ForgetsFulfilled, (0, 1, 0), rules::ONCE),
        (Planted::ForgetsInFlight, (0, 1, 0), rules::ONE_A_TARGET),
        (Planted::SeesNoPods, (1, 0, 0), rules::ENDED),
        (Planted::OwnsEveryCordon, (0, 0, 1), rules::FOREIGN),
        (Planted::RewritesWish, (1, 0, 0), rules::WISH),
        (Planted::SeesNoReturn, (1, 0, 0), rules::HEALTHY_MAINS),
    ] {
        let found = shortest(&format!("{planted:?}"), Single { planted, ..single(outages, wishes, faults) });
        assert_eq!(found.rule, rule, "{planted:?}: {}", found.story);
    }
}

/// Plays a story from where a model begins.
fn play<M: Model>(model: &M, story: Vec<M::Action>) -> M::State {
    let first = model.init_states().pop().expect("a model begins somewhere");
    story.into_iter().fold(first, |state, action| model.next_state(&state, action).expect("everything may happen"))
}

#[test]
fn the_narrowest_stories_break_no_rule() {
    for (about, story) in stories::all() {
        let broken = play(&single(2, 2, 2), story).broken;
        assert_eq!(broken, None, "{about}");
    }
}

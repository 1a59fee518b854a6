//! The real `decide()` and `track()`, model-checked with stateright: every order of faults, outages and wishes up to a number
//! of each, against a small world.
//!
//! Safety only: stateright's `eventually` says yes where a behaviour ends in a cycle; that hecate gets anywhere is shown by
//! the seeds of the built-in world.

mod cluster;
mod hecate;
mod holes;
mod normal;
mod planted;
mod rules;
mod single;
mod view;
mod world;

use std::time::Instant;

use stateright::{Checker, Model};

use planted::Planted;
use single::{Budget, Single};

#[test]
fn x() {
    let e = |k: &str, d: u8| std::env::var(k).ok().and_then(|v| v.parse().ok()).unwrap_or(d);
    let budget = Budget { outages: e("O", 1), wishes: e("W", 1), faults: e("F", 1) };
    let began = Instant::now();
    let checker = Single { budget, planted: Planted::Nothing, strict: None }.checker().threads(2).finish_when(stateright::HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!("states {} of {} depth {} seconds {:.1}", checker.unique_state_count(), checker.state_count(), checker.max_depth(), began.elapsed().as_secs_f64());
    for (name, path) in checker.discoveries() {
        println!("BROKEN {name}");
        for action in path.into_actions() { println!("  {action:?}"); }
    }
}

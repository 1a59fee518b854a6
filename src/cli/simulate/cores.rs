//! Seeds spread over all cores, with progress on stderr where that is a terminal.

use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often the bar is drawn anew although nothing was finished: the time goes on.
const REDRAWN: Duration = Duration::from_millis(500);

/// Plays each seed from `first` on; gives what came of them in the order of seeds.
pub(super) fn each<T: Send>(first: u64, count: u64, what: &str, play: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let bar = bar(count, what);
    let next = AtomicU64::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return done;
            }
            done.push((number, play(first.wrapping_add(number))));
            bar.inc(1);
        }
    };
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let mut done: Vec<(u64, T)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    bar.finish_and_clear();
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, one)| one).collect()
}

/// Drawn on stderr, and only where that is a terminal.
fn bar(count: u64, what: &str) -> ProgressBar {
    let bar = ProgressBar::new(count);
    let template = "{msg} {wide_bar} {pos}/{len}, {eta} left";
    let style = ProgressStyle::with_template(template).map(|style| style.progress_chars("##-"));
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(REDRAWN);
    bar
}

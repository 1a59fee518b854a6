//! Waiting: always for a condition, always with a limit.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The pause between two looks. A look itself takes 50 to 300 ms, of which two cores and two sites leave little idle.
const PAUSE: Duration = Duration::from_millis(200);

/// What one look found.
pub(crate) enum Look<T> {
    /// It is there.
    Seen(T),
    /// Not yet; what was seen instead, for the message at the limit.
    NotYet(String),
}

/// Looks again and again until it is there; a look that fails counts as "not yet".
pub(crate) fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Look<T>>) -> Result<T> {
    let begin = Instant::now();
    loop {
        let instead = match look() {
            Ok(Look::Seen(value)) => return Ok(value),
            Ok(Look::NotYet(instead)) => instead,
            Err(error) => format!("{error:#}"),
        };
        if begin.elapsed() >= limit {
            bail!("{what}: not within {} s; last seen: {instead}", limit.as_secs());
        }
        std::thread::sleep(PAUSE);
    }
}

/// Looks until a condition holds.
pub(crate) fn until_true(what: &str, limit: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    until(what, limit, || Ok(if holds()? { Look::Seen(()) } else { Look::NotYet("it does not hold".to_owned()) }))
}

/// Looks for so long and fails as soon as it does not hold: the only way to see that something does not happen.
pub(crate) fn stays(what: &str, so_long: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < so_long {
        if !holds()? {
            bail!("{what}: not any more after {:.1} s", begin.elapsed().as_secs_f64());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Shorthand for limits.
pub(crate) const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

//! What is seen of the world: each source has its own task, cadence and deadline, and never delays another.
//!
//! A source that cannot be read is not an error but a reading that says why. Nothing in here judges or changes anything.

pub mod nodes;
pub mod ups;

use std::time::Duration;

/// CLOCK_BOOTTIME of the hecate host, the clock of every reading (clock_gettime(2)).
pub fn boottime() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    // The kernel's boottime is never negative, and its nanoseconds are below one second.
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

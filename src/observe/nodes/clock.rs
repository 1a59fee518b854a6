//! Compares a host's wall clock with the hecate host's, with the round trip as the bound of the error.
//!
//! Pure. It only ever says less than it could: what may be the network's doing is never the clock's.

#![deny(clippy::disallowed_methods)]

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::snapshot::HostClock;

/// This host's own clock must have run evenly while the other one was read.
const EVEN: Duration = Duration::from_secs(1);

/// The hecate host's clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// CLOCK_BOOTTIME.
    pub boottime: Duration,
    /// CLOCK_REALTIME.
    pub wall: Timestamp,
}

/// What a clock said, with how fine it counts.
pub type Read = (Timestamp, Duration);

/// Reads `seconds[.fraction]` since the epoch, as date(1) prints them; with how fine that is.
pub fn parse(text: &str) -> Option<Read> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    // A date that knows no nanoseconds prints its format as it is.
    let is_fine = fraction.len() == 9 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let nanoseconds = if is_fine { fraction.parse().ok()? } else { 0 };
    let fineness = if is_fine { Duration::ZERO } else { Duration::from_secs(1) };
    Some((Timestamp::new(seconds, nanoseconds).ok()?, fineness))
}

/// What a look between two moments says of the clock that was read in it; None where this host's own clock was set
/// meanwhile, so that nothing can be said.
pub fn compare((read, fineness): Read, before: Moment, after: Moment) -> Option<HostClock> {
    let took = SignedDuration::try_from(after.boottime.saturating_sub(before.boottime)).ok()?;
    let by_wall = after.wall.duration_since(before.wall);
    if (by_wall - took).unsigned_abs() > EVEN {
        return None;
    }
    // It was read at some time in between, and says less than a second too little where it has no fractions.
    let ahead_at_least = read.duration_since(after.wall);
    let behind_at_least = before.wall.duration_since(read) - SignedDuration::try_from(fineness).ok()?;
    let ahead_seconds = match (ahead_at_least.as_secs(), behind_at_least.as_secs()) {
        (ahead, _) if ahead > 0 => ahead,
        (_, behind) if behind > 0 => -behind,
        (_, _) => 0,
    };
    Some(HostClock { wall: read, ahead_seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(boottime: u64, wall: i64) -> Moment {
        Moment { boottime: Duration::from_secs(boottime), wall: Timestamp::from_second(wall).unwrap() }
    }

    fn ahead(text: &str, before: Moment, after: Moment) -> Option<i64> {
        compare(parse(text).unwrap(), before, after).map(|clock| clock.ahead_seconds)
    }

    #[test]
    fn a_slow_link_never_makes_a_right_clock_look_wrong() {
        for text in ["1000.000000000", "1004.500000000", "1009.999999999", "1000", "1009", "999"] {
            assert_eq!(ahead(text, moment(50, 1000), moment(60, 1010)), Some(0), "{text}");
        }
    }

    #[test]
    fn a_wrong_clock_is_wrong_by_what_the_round_trip_cannot_explain() {
        assert_eq!(ahead("4610.000000000", moment(50, 1000), moment(51, 1001)), Some(3609));
        assert_eq!(ahead("400.000000000", moment(50, 1000), moment(51, 1001)), Some(-600));
        assert_eq!(ahead("400", moment(50, 1000), moment(51, 1001)), Some(-599));
        assert_eq!(ahead("0", moment(50, 1_790_000_000), moment(50, 1_790_000_000)), Some(-1_789_999_999));
    }

    #[test]
    fn nothing_is_said_while_the_own_clock_is_set() {
        assert_eq!(ahead("1000", moment(50, 1000), moment(51, 4600)), None);
        assert_eq!(ahead("1000", moment(50, 1000), moment(51, 900)), None);
    }

    #[test]
    fn a_date_without_nanoseconds_counts_in_seconds() {
        assert_eq!(parse("1000.%N"), Some((Timestamp::from_second(1000).unwrap(), Duration::from_secs(1))));
        for text in ["", "x", ".5", "99999999999999999999", "1e9"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

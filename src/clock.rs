//! The one place that asks clocks.
//!
//! Pure rooms get a [`Now`] as an argument; nothing else reads the time of day.

use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

use crate::model::{BootId, Now};
use crate::observe::nodes::clock::Moment;

/// How long an answer about synchronisation is believed.
const SYNC_ANSWER_AGE: Duration = Duration::from_secs(60);
/// How long the very first caller waits for that answer; later callers never wait.
const SYNC_FIRST_WAIT: Duration = Duration::from_millis(200);
/// What systemd-timesyncd leaves behind once it has set the clock (systemd-timesyncd.service(8)).
const TIMESYNCD_MARK: &str = "/run/systemd/timesync/synchronized";

/// CLOCK_BOOTTIME of this host: counts through suspend and never jumps.
pub fn boottime() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Both clocks at one moment, to compare others' with.
pub fn moment() -> Moment {
    Moment { boottime: boottime(), wall: Timestamp::now() }
}

/// The time of one pass.
pub fn now() -> Now {
    Now { boottime: boottime(), boot_id: boot_id(), wall: Timestamp::now(), wall_synced: is_wall_synced() }
}

/// The boot this host is in; read once, as it cannot change while hecate runs.
///
/// Where it cannot be read (a container without /proc) a constant stands in: every stamp is then of one boot.
pub fn boot_id() -> BootId {
    static BOOT_ID: OnceLock<BootId> = OnceLock::new();
    BOOT_ID
        .get_or_init(|| {
            let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
            BootId::new(if text.trim().is_empty() { "unknown" } else { text.trim() })
        })
        .clone()
}

/// chronyd says that it is synchronised while it still slews a wrong clock, an hour for weeks. What is off by more than
/// this is not in sync yet; the default of `startup.time_sync_max_offset_seconds`, for the same reason.
const CHRONY_OFF_MAX_SECONDS: f64 = 5.0;

/// The last answer about synchronisation.
#[derive(Default)]
struct SyncAnswer {
    is_synced: bool,
    asked: Option<Duration>,
}

/// Whether the wall clock is synchronised, as well as can be known without adjtimex(2), for which there is no safe
/// wrapper: chronyd's own word where it runs, systemd-timesyncd's mark, else timedatectl(1), which reads the kernel's
/// flag for every other daemon. The probe of a node goes by the same order.
///
/// False where neither can say, so that nothing counts as old because a clock is wrong.
fn is_wall_synced() -> bool {
    static ANSWER: OnceLock<Mutex<SyncAnswer>> = OnceLock::new();
    let answer = ANSWER.get_or_init(Mutex::default);
    let now = boottime();
    let first = {
        let mut held = answer.lock().unwrap_or_else(PoisonError::into_inner);
        match held.asked {
            Some(asked) if now.saturating_sub(asked) < SYNC_ANSWER_AGE => return held.is_synced,
            before => {
                held.asked = Some(now);
                before.is_none()
            }
        }
    };
    // A thread of its own: timedatectl may hang for as long as D-Bus does, and a pass must not.
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || {
        let is_synced = ask_synced();
        answer.lock().unwrap_or_else(PoisonError::into_inner).is_synced = is_synced;
        // Nobody waits any more after the first answer.
        let _ = done.send(());
    });
    if first {
        // Late is as good as never here: the next pass has the answer.
        let _ = wait.recv_timeout(SYNC_FIRST_WAIT);
    }
    answer.lock().unwrap_or_else(PoisonError::into_inner).is_synced
}

/// Asks the host whether its clock is synchronised.
fn ask_synced() -> bool {
    if let Some(is_synced) = answer("chronyc", &["-n", "tracking"]).as_deref().and_then(chrony_says) {
        return is_synced;
    }
    if std::fs::exists(TIMESYNCD_MARK).unwrap_or(false) {
        return true;
    }
    answer("timedatectl", &["show", "--property=NTPSynchronized", "--value"]).is_some_and(|said| said.trim() == "yes")
}

/// `chronyc tracking`: chronyd knows more than the kernel's flag, which stays as it was when its servers fall silent.
fn chrony_says(tracking: &str) -> Option<bool> {
    let line = |name| tracking.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
    let is_synced = !line("Leap status")?.contains("Not synchronised");
    let off: f64 = line("System time").and_then(|said| said.split_whitespace().next()?.parse().ok()).unwrap_or(0.0);
    Some(is_synced && off <= CHRONY_OFF_MAX_SECONDS)
}

/// What a program prints; None where it is not there or does not succeed.
fn answer(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boottime_never_runs_backwards() {
        let first = boottime();
        assert!(boottime() >= first);
        assert!(first > Duration::ZERO);
    }

    #[test]
    fn chronys_own_word_is_understood() {
        assert_eq!(chrony_says("Reference ID    : 0A630001 ()\nLeap status     : Normal\n"), Some(true));
        assert_eq!(chrony_says("Leap status     : Not synchronised\n"), Some(false));
        for (off, expected) in
            [("0.000012 seconds slow", true), ("3600.1 seconds fast", false), ("40 seconds slow", false)]
        {
            let text = format!("System time     : {off} of NTP time\nLeap status     : Normal\n");
            assert_eq!(chrony_says(&text), Some(expected), "{off}");
        }
        assert_eq!(chrony_says("506 Cannot talk to daemon\n"), None);
    }

    #[test]
    fn every_now_is_of_the_same_boot() {
        assert_eq!(now().boot_id, now().boot_id);
        assert!(!now().boot_id.as_str().is_empty());
    }
}

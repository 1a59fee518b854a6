//! hecate ends in the middle of an outage: what its UPS said before counts on, and nothing else does.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::outage::{all_off, override_in_file};
use crate::site::{OWN_HOST, Site};
use crate::ups::{Calm, say};
use crate::wait::{Look, seconds, until};

/// The debounce here, in seconds: longer than any life of the daemon below.
const DEBOUNCE: u64 = 20;
/// Longer than the low reading stands that a restart meets.
const SHORT_DEBOUNCE: u64 = 12;

/// The polls in a row that say that the time has come.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Run {
    /// Boottime of the first.
    first: f64,
    polls: u64,
}

fn run(site: &Site) -> Result<Option<Run>> {
    let low = site.low()?["upses"]["pyrphoros"]["low"].clone();
    if low.is_null() {
        return Ok(None);
    }
    let (first, polls) = (low["first"].as_f64(), low["polls"].as_u64());
    Ok(Some(Run { first: first.context("low.json: first")?, polls: polls.context("low.json: polls")? }))
}

/// The daemon is killed again and again on a low battery. No life is as long as the debounce: only what one takes over from
/// another can trigger.
pub(crate) fn low_run_counts_on_over_every_kill(site: &Site) -> Result<()> {
    site.configure(&[("ups_policy.debounce_seconds", json!(DEBOUNCE))])?;
    let status = site.until_running(seconds(40))?;
    let trigger_at = status.0["budget"]["triggerAt"].as_f64().context("no trigger")?;
    site.ups(&["ups.status=OB DISCHRG", &format!("battery.runtime={:.0}", trigger_at - 10.0), "battery.charge=40"])?;
    let begun = until("the first low poll", seconds(20), || {
        Ok(run(site)?.map_or_else(|| Look::NotYet(format!("{:?}", site.low())), Look::Seen))
    })?;
    let (mut last, mut longest, mut kills) = (begun, Duration::ZERO, 0);
    until("the override in desired.yaml", seconds(90), || {
        let over = override_in_file(site)?;
        longest = longest.max(age(site)?);
        if let Some(now) = run(site)?.filter(|now| *now != last && matches!(over, Look::NotYet(_))) {
            site.kill_daemon()?;
            (last, kills) = (now, kills + 1);
        }
        Ok(over)
    })?;
    ensure!((last.first - begun.first).abs() < 0.01, "another run after {kills} kills: {begun:?}, {last:?}");
    ensure!(longest.as_secs() < DEBOUNCE, "a life of {longest:?} needs nobody's word: nothing was shown");
    ensure!(kills >= 2, "killed {kills} times only: nothing was shown");
    site.say(&format!("override after {kills} kills, the longest life of the daemon {} s", longest.as_secs()));
    all_off(site)
}

/// For how long the daemon has run; nothing while there is none.
fn age(site: &Site) -> Result<Duration> {
    let line = "pid=$(systemctl show -p MainPID --value hecate); ps -o etimes= -p \"$pid\" || echo 0";
    Ok(seconds(site.on(OWN_HOST, line)?.trim().parse()?))
}

/// On battery for longer than the debounce, with half an hour left: the first answers that a new life of the daemon hears are
/// low, and the next ones are not.
pub(crate) fn noisy_reading_after_a_restart_begins_nothing(site: &Site) -> Result<()> {
    site.configure(&[("ups_policy.debounce_seconds", json!(SHORT_DEBOUNCE))])?;
    site.until_running(seconds(40))?;
    site.arm()?;
    let calm = Calm::begin(site)?;
    say(site, "OB DISCHRG", 1800, 100)?;
    calm.lasts(site, seconds(SHORT_DEBOUNCE + 2))?;
    for end in ["systemctl stop hecate", "systemctl kill -s KILL --kill-whom=main hecate"] {
        site.on(OWN_HOST, end)?;
        site.ups(&["battery.runtime=5", "battery.charge=15"])?;
        until("upsd to say so", seconds(10), || {
            let left = site.ups_number("battery.runtime")?;
            Ok(if left == 5.0 { Look::Seen(()) } else { Look::NotYet(format!("{left} s")) })
        })?;
        site.start_with_failpoint(None)?;
        until("the low reading to count", seconds(15), || {
            Ok(run(site)?.map_or_else(|| Look::NotYet("it does not".to_owned()), Look::Seen))
        })?;
        say(site, "OB DISCHRG", 1790, 99)?;
        until("the low reading to be over", seconds(15), || {
            Ok(run(site)?.map_or_else(|| Look::Seen(()), |run| Look::NotYet(format!("{run:?}"))))
        })?;
        calm.lasts(site, seconds(SHORT_DEBOUNCE + 2))?;
    }
    calm.ends(site)?;
    site.disarm()
}

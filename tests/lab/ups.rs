//! What a UPS says that is no outage, or not for long enough: it is shown, and nothing comes of it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::counts::Mark;
use crate::hecate::{Status, upses_with};
use crate::site::{OWN_HOST, Site};
use crate::wait::{seconds, stays};

/// Longer than the debounce (3 s): figures that trigger would have done it.
const LONG_ENOUGH: Duration = seconds(4);
/// The driver's second, a poll and a pass, on a busy machine.
pub(crate) const HEARD: Duration = seconds(15);

/// What must not change while nothing is to be done.
pub(crate) struct Calm {
    mark: Mark,
    run: String,
    desired: String,
}

impl Calm {
    /// What is there now.
    pub(crate) fn begin(site: &Site) -> Result<Self> {
        let run = site.status()?.run().to_owned();
        Ok(Self { mark: Mark::now(site)?, run, desired: desired_file(site)? })
    }

    /// Looks for so long, and fails with the first look that shows something begun.
    pub(crate) fn lasts(&self, site: &Site, so_long: Duration) -> Result<()> {
        stays("calm", so_long, || {
            let status = site.status()?;
            let (start, running) = (&status.0["plan"]["start"], &status.0["plan"]["running"]);
            let is_idle = *start == json!([]) && *running == json!([]);
            let is_unbroken = status.state() == "running" && status.run() == self.run;
            ensure!(is_idle && is_unbroken && status.overrides().is_empty(), "no calm: {}", status.summary());
            Ok(true)
        })
    }

    /// Back to ordinary words, converged, and in no record is there a trace.
    pub(crate) fn ends(&self, site: &Site) -> Result<()> {
        site.restore_mains()?;
        site.until_status("OL to be heard", HEARD, |status| {
            hears(status, "OL CHRG") && status.has_full_battery() && status.is_running()
        })?;
        let (api, sudo) = (self.mark.api_writes(site)?, self.mark.sudo_writes(site)?);
        ensure!(api.is_empty(), "written to the API: {}", api.join("; "));
        ensure!(sudo.is_empty(), "told to hosts: {}", sudo.join("; "));
        ensure!(desired_file(site)? == self.desired, "desired.yaml was written");
        Ok(())
    }
}

/// Which file `desired.yaml` is: every write puts another one in its place.
fn desired_file(site: &Site) -> Result<String> {
    site.on(OWN_HOST, "stat -c '%i %z' /var/lib/hecate/desired.yaml")
}

/// Whether these are the words that hecate heard last, in any order.
fn hears(status: &Status, words: &str) -> bool {
    let set = |text: &str| text.split(' ').map(str::to_owned).collect::<BTreeSet<_>>();
    status.0["upses"]["pyrphoros"]["status"].as_str().is_some_and(|heard| set(heard) == set(words))
}

/// Has the UPS say something, and waits until hecate has heard it.
pub(crate) fn say(site: &Site, words: &str, runtime: u64, charge: u64) -> Result<Status> {
    site.ups(&[
        &format!("ups.status={words}"),
        &format!("battery.runtime={runtime}"),
        &format!("battery.charge={charge}"),
    ])?;
    site.until_status(&format!("{words} to be heard"), HEARD, |status| hears(status, words))
}

/// Output off, on battery with its output off, a calibration that empties the battery, each for some seconds.
pub(crate) fn self_test_of_a_ups_begins_nothing(site: &Site) -> Result<()> {
    let calm = Calm::begin(site)?;
    for (words, runtime, charge, so_long) in [
        ("OL OFF", 5, 5, LONG_ENOUGH),
        ("OFF", 5, 5, LONG_ENOUGH),
        ("OB OFF", 1800, 100, LONG_ENOUGH),
        // After a discharge it is silence on battery, which is borne for less than `lost_on_battery_seconds`.
        ("OFF", 1800, 100, seconds(2)),
        // At 10 % it would be the end of the battery, whatever it is called.
        ("CAL DISCHRG", 5, 15, LONG_ENOUGH),
    ] {
        say(site, words, runtime, charge)?;
        calm.lasts(site, so_long)?;
    }
    calm.ends(site)
}

/// Mains that come and go, on a battery that holds enough: low readings would add up, as mains that do not stand end no outage.
pub(crate) fn mains_that_flap_begin_nothing(site: &Site) -> Result<()> {
    site.configure(&[("ups_policy.debounce_seconds", json!(12))])?;
    site.until_running(seconds(40))?;
    let calm = Calm::begin(site)?;
    for (on_battery, on_line) in [(1, 1), (3, 1), (1, 1), (4, 2), (2, 1)] {
        say(site, "OB DISCHRG", 600, 60)?;
        calm.lasts(site, seconds(on_battery))?;
        say(site, "OL", 600, 60)?;
        calm.lasts(site, seconds(on_line))?;
    }
    calm.ends(site)
}

/// Words beside OL that sound like an end, with figures that would be one on battery.
pub(crate) fn odd_words_are_shown_and_trigger_nothing(site: &Site) -> Result<()> {
    let calm = Calm::begin(site)?;
    for (words, shown) in [
        ("OL LB", "low battery while on line (OL LB)"),
        ("ALARM OL", "an alarm stands (ALARM)"),
        ("OL BYPASS", "in bypass: the battery protects nothing (BYPASS)"),
        ("OL FROBNICATING", "says words that NUT does not document: FROBNICATING"),
        ("OL OL TRIM TRIM OL", ""),
    ] {
        let heard = say(site, words, 5, 5)?;
        ensure!(heard.0["upses"]["pyrphoros"]["verdict"] == "on-line", "{words}: {}", heard.0["upses"]);
        let text = site.hecate(&["status"])?;
        ensure!(text.code == 0, "{words}: a converged status ends with {}:\n{}", text.code, text.out);
        ensure!(text.out.contains(shown), "{words}: {shown:?} is not shown:\n{}", text.out);
        calm.lasts(site, LONG_ENOUGH)?;
    }
    calm.ends(site)
}

/// The driver is stopped while on line: upsd answers that its data is stale.
pub(crate) fn hung_driver_is_named_and_begins_nothing_on_line(site: &Site) -> Result<()> {
    let calm = Calm::begin(site)?;
    site.lab(&["ups", "stop-driver", "pyrphoros"])?;
    // upsd's MAXAGE of 5 s comes first.
    let named = site.until_status("the stale data to be named", seconds(5) + HEARD, |status| {
        status.warns("power-unguarded", "DATA-STALE")
    })?;
    ensure!(named.0["upses"]["pyrphoros"]["verdict"] == "unknown", "{}", named.0["upses"]);
    // On battery it would be critical after 10 s.
    calm.lasts(site, seconds(12))?;
    site.lab(&["ups", "cont-driver", "pyrphoros"])?;
    calm.ends(site)
}

/// What hecate writes of a login that upsd does not take.
const REFUSED: &str = "LOGIN was answered with ERR ACCESS-DENIED";

/// The user that a load is cut with may only give commands: upsd refuses its LOGIN, and lets it read.
pub(crate) fn refused_login_is_told_once_and_hides_nothing(site: &Site) -> Result<()> {
    site.put(OWN_HOST, PASSWORD_FILE, "cutpass\n")?;
    site.on(OWN_HOST, &format!("chmod 600 {PASSWORD_FILE}"))?;
    let log = || site.lab(&["journal", OWN_HOST, "-u", "hecate", "-o", "cat"]);
    let before = log()?.matches(REFUSED).count();
    let cutter = json!({"username": "cutter", "password_file": PASSWORD_FILE, "cut_load": {"delay_seconds": 60}});
    site.configure(&[upses_with(&cutter)?])?;
    site.until_status("running, with a UPS that is heard", seconds(40), |status| {
        status.is_running() && status.has_full_battery()
    })?;
    let calm = Calm::begin(site)?;
    let heard = say(site, "OB DISCHRG", 1700, 98)?;
    ensure!(heard.0["upses"]["pyrphoros"]["verdict"] == "on-battery", "{}", heard.0["upses"]);
    calm.lasts(site, LONG_ENOUGH)?;
    calm.ends(site)?;
    let log = log()?;
    let told = log.matches(REFUSED).count() - before;
    ensure!(told == 1, "the refused login was told {told} times");
    ensure!(!log.contains("cutpass"), "the password is in the log");
    Ok(())
}

/// Where the password of that user is.
const PASSWORD_FILE: &str = "/etc/hecate/nut-password";

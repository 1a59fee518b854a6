//! A UPS whose own server dies with the mains: what is gone together with it tells an outage from silence.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::hecate::{Status, upses_with};
use crate::outage::override_in_file;
use crate::repair::has_workload;
use crate::site::{NODES, OWN_HOST, Site, each};
use crate::ups::{Calm, HEARD};
use crate::wait::{seconds, until, until_true};

/// Longer than silence on battery is borne here (10 s, and 15 s whatever the last figures say).
const LONG_ENOUGH: std::time::Duration = seconds(20);

/// What was seen of the witness last.
fn is_seen(status: &Status) -> Option<bool> {
    status.0["snapshot"]["witnesses"]["pyrphoros"]["known"]["value"].as_bool()
}

/// The jump host is the witness: it is asked at its sshd, and no UPS feeds it.
pub(crate) fn silence_is_an_outage_only_where_the_witness_is_gone_too(site: &Site) -> Result<()> {
    site.configure(&[
        upses_with(&json!({"witness": "10.99.0.3:22"}))?,
        ("ups_policy.lost_on_battery_max_seconds", json!(15)),
        ("own_host.power_off", json!(false)),
    ])?;
    site.until_status("the witness to be seen", seconds(40), |status| {
        status.is_running() && is_seen(status) == Some(true)
    })?;
    let calm = Calm::begin(site)?;

    // The server alone is gone.
    site.lab(&["ups", "kill-upsd"])?;
    site.until_status("the silence to be named", HEARD, |status| status.warns("power-unguarded", "pyrphoros"))?;
    calm.lasts(site, LONG_ENOUGH)?;
    site.lab(&["ups", "start-upsd"])?;
    site.until_status("the UPS to be heard", HEARD, Status::has_full_battery)?;

    // The witness alone is gone.
    site.lab(&["node", "unplug", "jump"])?;
    site.until_status("the witness to be missed", HEARD, |status| is_seen(status) == Some(false))?;
    calm.lasts(site, LONG_ENOUGH)?;
    site.lab(&["node", "plug", "jump"])?;
    site.until_status("the witness to be seen again", HEARD, |status| is_seen(status) == Some(true))?;
    calm.ends(site)?;

    // Both are gone at once, and the last word was OL.
    for host in [&["node", "unplug", "jump"][..], &["ups", "kill-upsd"]] {
        site.lab(host)?;
    }
    let named = site.until_status("the outage to be told", HEARD, |status| {
        status.0["upses"]["pyrphoros"]["evidence"].to_string().contains("its witness is gone")
    })?;
    ensure!(named.0["effective"]["onBattery"] == true, "{}", named.0["upses"]);
    until("the override in desired.yaml", seconds(40), || override_in_file(site))?;
    let text = site.lab(&["file", OWN_HOST, "/var/lib/hecate/desired.yaml"])?;
    ensure!(text.contains("its witness is gone"), "the override does not say why:\n{text}");
    each(&NODES, |node| site.until_off(node, seconds(60)))?;

    site.lab(&["ups", "start-upsd"])?;
    site.lab(&["node", "plug", "jump"])?;
    site.power_on(&NODES)?;
    site.until_status("all of it to run", seconds(120), |status| status.is_running() && status.overrides().is_empty())?;
    until_true("the workload to run again", seconds(40), || has_workload(site))
}

//! The host hecate itself runs on, which goes last and is booted by a person.

use anyhow::{Result, ensure};

use crate::counts::Mark;
use crate::crash;
use crate::site::{NODES, OWN_HOST, Site, each};
use crate::wait::{Look, seconds, stays, until};

/// `set-desired poweroff`, with the daemon killed around every power-off; then the hecate host is switched on by hand.
pub(crate) fn declared_poweroff_is_carried_out_once(site: &Site) -> Result<()> {
    site.daemon("stop")?;
    site.arm()?;
    site.set_desired_undrained("poweroff", "moving house")?;
    crash::walk(site, &["power-off"], seconds(60), || Ok(site.state(OWN_HOST)? == "off"))?;
    // Before its own power-off it can be killed like anywhere else; after it the host goes.
    site.start_with_failpoint(Some("before-power-off-own-host"))?;
    until("to be killed before its own power-off", seconds(90), || {
        Ok(if site.is_daemon_dead()? { Look::Seen(()) } else { Look::NotYet("the daemon lives".to_owned()) })
    })?;
    site.start_with_failpoint(None)?;
    for node in NODES.iter().chain(&[OWN_HOST]) {
        site.until_off(node, seconds(60))?;
    }

    let mark = Mark::now(site)?;
    site.power_on(&[OWN_HOST])?;
    let status = site.until_status("the wish to be shown as carried out", seconds(30), |status| {
        status.names("already-fulfilled", "poweroff")
    })?;
    ensure!(status.0["plan"]["start"] == serde_json::json!([]), "something is to be started: {}", status.summary());
    stays("the hecate host on", seconds(12), || Ok(site.state(OWN_HOST)? == "on"))?;
    each(&NODES, |node| {
        ensure!(site.state(node)? == "off", "it was switched on");
        Ok(())
    })?;
    let text = site.hecate(&["status"])?;
    ensure!(text.code == 11, "a blocked status ends with {}", text.code);
    ensure!(text.out.contains("hecate set-desired running"), "what to type is missing:\n{}", text.out);

    // The rest is switched on as well: only a wish brings it up, and nobody is powered off any more.
    site.set_desired("running", "moved")?;
    site.power_on(&NODES)?;
    site.until_running(seconds(120))?;
    each(&NODES, |node| {
        ensure!(mark.sudo_count(site, node, "poweroff")? == 0, "it was told to power off after it came back");
        Ok(())
    })
}

//! What the daemon costs, and how fast a site goes dark: printed, never judged by a clock.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::counts::Mark;
use crate::site::{NODES, OWN_HOST, Site};
use crate::wait::{Look, seconds, until};

/// How long the idle daemon is watched.
const IDLE: Duration = seconds(60);

/// Prints all of it.
pub(crate) fn print(site: &Site) -> Result<()> {
    idle(site)?;
    status_time(site)?;
    dark_times(site)
}

/// Resident memory, CPU, API requests and SSH logins of an idle daemon.
fn idle(site: &Site) -> Result<()> {
    let cost = "pid=$(systemctl show -p MainPID --value hecate); awk '{print $14+$15}' /proc/$pid/stat; awk '/VmRSS|VmHWM/{print $2}' /proc/$pid/status; getconf CLK_TCK";
    let numbers =
        || -> Result<Vec<f64>> { site.on(OWN_HOST, cost)?.lines().map(|line| Ok(line.trim().parse()?)).collect() };
    let logins = || -> Result<usize> {
        let count = |node: &&str| {
            Ok(site.lab(&["journal", node, "-t", "sshd", "-o", "cat"])?.matches("Accepted publickey").count())
        };
        Ok(NODES.iter().map(count).collect::<Result<Vec<_>>>()?.iter().sum())
    };
    let (before, logins_before, mark) = (numbers()?, logins()?, Mark::now(site)?);
    let metrics_before = metrics(site)?;
    let begin = Instant::now();
    until("the end of the watch", IDLE * 2, || {
        Ok(if begin.elapsed() >= IDLE { Look::Seen(()) } else { Look::NotYet(String::new()) })
    })?;
    let minutes = begin.elapsed().as_secs_f64() / 60.0;
    let (after, logins_after) = (numbers()?, logins()?);
    let ticks = after.last().copied().context("no clock tick")?;
    println_line(format!("idle for {:.0} s:", minutes * 60.0));
    println_line(format!("  resident {} KiB, at most {} KiB", after[2], after[1]));
    println_line(format!("  CPU {:.2} s a minute", (after[0] - before[0]) / ticks / minutes));
    let audit = mark.audit(site)?;
    let ours: Vec<_> = audit.iter().filter(|line| line["user"]["username"] == "hecate").collect();
    println_line(format!("  API requests {:.1} a minute", ours.len() as f64 / minutes));
    for verb in ["get", "list", "watch"] {
        let count = ours.iter().filter(|line| line["verb"] == verb).count();
        println_line(format!("    {verb} {:.1}", count as f64 / minutes));
    }
    println_line(format!("  SSH logins {:.1} a minute", (logins_after - logins_before) as f64 / minutes));
    for (name, value) in metrics(site)? {
        let old = metrics_before.iter().find(|(other, _)| *other == name).map_or(0.0, |(_, old)| *old);
        if value > old {
            println_line(format!("  {name} +{:.1} a minute", (value - old) / minutes));
        }
    }
    Ok(())
}

/// Counters of hecate's own.
fn metrics(site: &Site) -> Result<Vec<(String, f64)>> {
    let line = "exec 3<>/dev/tcp/127.0.0.1/9560; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3";
    let text = site.lab(&["node", "exec", OWN_HOST, "bash", "-c", line])?;
    let counter = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        (name.contains("_total") && !name.starts_with('#')).then_some((name.to_owned(), value.parse().ok()?))
    };
    Ok(text.lines().filter_map(counter).collect())
}

/// `hecate status` with a daemon running, timed where it runs.
fn status_time(site: &Site) -> Result<()> {
    let line = "for i in 1 2 3 4 5 6 7 8 9 10; do b=$(date +%s%N); hecate status >/dev/null; echo $(( ($(date +%s%N) - b) / 1000 )); done";
    let mut times: Vec<u64> = site.on(OWN_HOST, line)?.lines().map(|line| Ok(line.parse()?)).collect::<Result<_>>()?;
    times.sort_unstable();
    println_line(format!(
        "status: median {} us, longest {} us (this build)",
        times[times.len() / 2],
        times[times.len() - 1]
    ));
    Ok(())
}

/// From the override to all nodes off, on both paths.
fn dark_times(site: &Site) -> Result<()> {
    for path in ["emergency", "auto"] {
        let keys = [("shutdown.ups_path", path.into()), ("own_host.power_off", false.into())];
        site.configure(&keys)?;
        let status = site.until_running(seconds(60))?;
        let trigger_at = status.0["budget"]["triggerAt"].as_f64().context("no trigger")?;
        let cut = Instant::now();
        site.cut_mains(trigger_at as u64)?;
        site.until_status("the override", seconds(30), |status| status.state() == "poweroff")?;
        let trigger = Instant::now();
        for node in NODES {
            site.until_off(node, seconds(90))?;
        }
        let (noticed, dark) = ((trigger - cut).as_secs_f64(), trigger.elapsed().as_secs_f64());
        println_line(format!(
            "{path}: mains cut to override {noticed:.1} s (debounce 3 s), override to dark {dark:.1} s"
        ));
        site.restore_mains()?;
        site.power_on(&NODES)?;
        let on = Instant::now();
        site.until_running(seconds(120))?;
        println_line(format!("{path}: hosts on to converged {:.1} s", on.elapsed().as_secs_f64()));
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the figures are what this prints")]
fn println_line(line: String) {
    println!("{line}");
}

//! The lab tests: hecate's own program against a real upsd, real hosts, a real etcd and API server.
//!
//! One site for the whole run (`tests/lab/lab up`), brought back to a running, converged cluster before each test and
//! ended after the last; the tests run in the order in which they stand here, one at a time. Everything goes through
//! the `hecate` command on the `hecate` host and through the site's own switches; nothing here looks into the program.
//!
//! ```text
//! cargo test --features lab --test lab                 all of them
//! cargo test --features lab --test lab -- outage       those with "outage" in their name
//! cargo test --features lab --test lab -- measure      prints what the daemon costs and how fast a site goes dark
//! ```
//!
//! `LAB_KEEP=1` leaves the site up at the end, and takes over the one that is up at the beginning.

#![expect(clippy::print_stderr, reason = "a test program says how far it is")]

mod clocks;
mod counts;
mod crash;
mod cycle;
mod faults;
mod hecate;
mod measure;
mod outage;
mod own_host;
mod repair;
mod site;
mod ssh;
mod steady;
mod wait;
mod wake;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::site::Site;

/// One test: its name is a claim, its function shows it.
type Test = (&'static str, fn(&Site) -> Result<()>);

/// In this order: what the later ones rely on comes first.
const TESTS: &[Test] = &[
    ("cold_cluster_is_brought_up_to_converged", cycle::cold_cluster_is_brought_up_to_converged),
    ("second_daemon_is_refused_with_a_clear_message", steady::second_daemon_is_refused_with_a_clear_message),
    ("dry_runs_write_nothing", steady::dry_runs_write_nothing),
    ("stopped_agent_is_started_again_unless_paused", steady::stopped_agent_is_started_again_unless_paused),
    ("wrong_host_behind_an_address_is_refused_by_name", faults::wrong_host_behind_an_address_is_refused_by_name),
    ("lost_node_is_named_and_delays_no_pass", faults::lost_node_is_named_and_delays_no_pass),
    ("frozen_node_is_named_and_delays_no_pass", faults::frozen_node_is_named_and_delays_no_pass),
    ("dead_upsd_is_named_and_delays_no_pass", faults::dead_upsd_is_named_and_delays_no_pass),
    (
        "lying_and_unsynced_clocks_hold_a_start_until_they_are_right",
        clocks::lying_and_unsynced_clocks_hold_a_start_until_they_are_right,
    ),
    (
        "peers_shutdown_holds_a_start_until_it_is_over_or_stale",
        clocks::peers_shutdown_holds_a_start_until_it_is_over_or_stale,
    ),
    (
        "drained_off_empties_the_cluster_and_running_fills_it",
        cycle::drained_off_empties_the_cluster_and_running_fills_it,
    ),
    ("api_killed_mid_drain_is_waited_for", faults::api_killed_mid_drain_is_waited_for),
    ("daemon_killed_at_every_step_does_nothing_twice", crash::daemon_killed_at_every_step_does_nothing_twice),
    (
        "outage_ends_dark_in_time_and_running_without_a_hand",
        outage::outage_ends_dark_in_time_and_running_without_a_hand,
    ),
    ("outage_over_mid_drain_powers_nothing_off", outage::outage_over_mid_drain_powers_nothing_off),
    (
        "outage_with_full_disk_and_stubborn_budget_ends_dark_in_time",
        outage::outage_with_full_disk_and_stubborn_budget_ends_dark_in_time,
    ),
    ("host_that_came_back_is_not_powered_off_again", crash::host_that_came_back_is_not_powered_off_again),
    ("declared_poweroff_is_carried_out_once", own_host::declared_poweroff_is_carried_out_once),
    ("host_that_is_off_is_woken_until_it_is_seen", wake::host_that_is_off_is_woken_until_it_is_seen),
    ("each_ssh_key_does_what_it_says", ssh::each_ssh_key_does_what_it_says),
    ("jump_host_is_used_and_gone_around_when_it_is_away", ssh::jump_host_is_used_and_gone_around_when_it_is_away),
    ("unmanaged_node_is_shown_and_never_commanded", ssh::unmanaged_node_is_shown_and_never_commanded),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One site: one test at a time.
    arguments.test_threads = Some(1);
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(&Arc::default())).exit_code();
    }
    let site = match Site::start() {
        Ok(site) => Arc::new(Some(site)),
        Err(error) => {
            eprintln!("the lab does not start: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let code = if arguments.filter.as_deref() == Some("measure") {
        measured(&site)
    } else {
        libtest_mimic::run(&arguments, trials(&site)).exit_code()
    };
    if let Some(site) = site.as_ref() {
        site.end();
    }
    code
}

fn trials(site: &Arc<Option<Site>>) -> Vec<Trial> {
    let trial = |(name, test): &Test| {
        let (site, name, test) = (Arc::clone(site), *name, *test);
        Trial::test(name, move || match site.as_ref() {
            Some(site) => run(site, name, test),
            None => Ok(()),
        })
    };
    TESTS.iter().map(trial).collect()
}

/// Runs one test on a converged cluster; where it fails, everything that a person would ask for is printed.
fn run(site: &Site, name: &str, test: fn(&Site) -> Result<()>) -> Result<(), Failed> {
    let ready = Instant::now();
    repair::converged(site).map_err(|error| failed(site, name, &error.context("the cluster before the test")))?;
    let begin = Instant::now();
    eprintln!("   {name}: begins ({:.1} s to get ready)", ready.elapsed().as_secs_f64());
    test(site).map_err(|error| failed(site, name, &error))?;
    eprintln!("   {name}: {:.1} s", begin.elapsed().as_secs_f64());
    Ok(())
}

fn failed(site: &Site, name: &str, error: &anyhow::Error) -> Failed {
    eprintln!("=== {name} failed: {error:#}\n{}", site.diagnosis());
    Failed::from(format!("{error:#}"))
}

fn measured(site: &Arc<Option<Site>>) -> ExitCode {
    let Some(site) = site.as_ref() else { return ExitCode::FAILURE };
    match repair::converged(site).and_then(|()| measure::print(site)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}\n{}", site.diagnosis());
            ExitCode::FAILURE
        }
    }
}

//! The lab tests: hecate's own program against a real upsd, real hosts, a real etcd and API server.
//!
//! Two sites side by side (`tests/lab/lab up`): each test runs alone on the one that is free, brought back to a running,
//! converged cluster before it; both end after the last. Everything goes through the `hecate` command on the `hecate`
//! host and through the site's own switches; nothing here looks into the program.
//!
//! ```text
//! cargo test --features lab --test lab                 all of them
//! cargo test --features lab --test lab -- outage       those with "outage" in their name
//! cargo test --features lab --test lab -- measure      prints what the daemon costs and how fast a site goes dark
//! ```
//!
//! `LAB_SITES=1` runs them on one site. `LAB_KEEP=1` does so too, leaves it up at the end, and takes over the one that is
//! up at the beginning.

#![expect(clippy::print_stderr, reason = "a test program says how far it is")]

mod clocks;
mod counts;
mod crash;
mod cycle;
mod faults;
mod feeds;
mod hecate;
mod measure;
mod outage;
mod own_host;
mod repair;
mod restarts;
mod site;
mod ssh;
mod steady;
mod ups;
mod wait;
mod wake;
mod witness;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow};
use libtest_mimic::{Arguments, Failed, Trial};

use crate::site::Site;

/// One test: its name is a claim, its function shows it.
type Test = (&'static str, fn(&Site) -> Result<()>);

/// They begin in this order. The short ones stand last, so that no site is idle for long at the end.
const TESTS: &[Test] = &[
    ("cold_cluster_is_brought_up_to_converged", cycle::cold_cluster_is_brought_up_to_converged),
    ("second_daemon_is_refused_with_a_clear_message", steady::second_daemon_is_refused_with_a_clear_message),
    ("dry_runs_write_nothing", steady::dry_runs_write_nothing),
    ("stopped_agent_is_started_again_unless_paused", steady::stopped_agent_is_started_again_unless_paused),
    ("wrong_host_behind_an_address_is_refused_by_name", faults::wrong_host_behind_an_address_is_refused_by_name),
    ("lost_node_is_named_and_delays_no_pass", faults::lost_node_is_named_and_delays_no_pass),
    ("frozen_node_is_named_and_delays_no_pass", faults::frozen_node_is_named_and_delays_no_pass),
    ("self_test_of_a_ups_begins_nothing", ups::self_test_of_a_ups_begins_nothing),
    ("mains_that_flap_begin_nothing", ups::mains_that_flap_begin_nothing),
    ("odd_words_are_shown_and_trigger_nothing", ups::odd_words_are_shown_and_trigger_nothing),
    ("hung_driver_is_named_and_begins_nothing_on_line", ups::hung_driver_is_named_and_begins_nothing_on_line),
    ("refused_login_is_told_once_and_hides_nothing", ups::refused_login_is_told_once_and_hides_nothing),
    ("noisy_reading_after_a_restart_begins_nothing", restarts::noisy_reading_after_a_restart_begins_nothing),
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
    ("low_run_counts_on_over_every_kill", restarts::low_run_counts_on_over_every_kill),
    (
        "silence_is_an_outage_only_where_the_witness_is_gone_too",
        witness::silence_is_an_outage_only_where_the_witness_is_gone_too,
    ),
    ("outage_over_mid_drain_powers_nothing_off", outage::outage_over_mid_drain_powers_nothing_off),
    (
        "outage_with_full_disk_and_stubborn_budget_ends_dark_in_time",
        outage::outage_with_full_disk_and_stubborn_budget_ends_dark_in_time,
    ),
    (
        "silence_on_battery_ends_dark_and_an_outage_mid_bring_up_turns_it_round",
        outage::silence_on_battery_ends_dark_and_an_outage_mid_bring_up_turns_it_round,
    ),
    ("one_ups_of_two_takes_only_what_it_alone_feeds", feeds::one_ups_of_two_takes_only_what_it_alone_feeds),
    ("host_that_came_back_is_not_powered_off_again", crash::host_that_came_back_is_not_powered_off_again),
    ("declared_poweroff_is_carried_out_once", own_host::declared_poweroff_is_carried_out_once),
    ("host_that_is_off_is_woken_until_it_is_seen", wake::host_that_is_off_is_woken_until_it_is_seen),
    ("each_ssh_key_does_what_it_says", ssh::each_ssh_key_does_what_it_says),
    ("jump_host_is_used_and_gone_around_when_it_is_away", ssh::jump_host_is_used_and_gone_around_when_it_is_away),
    ("unmanaged_node_is_shown_and_never_commanded", ssh::unmanaged_node_is_shown_and_never_commanded),
];

/// The sites: never fewer than there are threads.
type Sites = Arc<Vec<Mutex<Site>>>;

/// Free memory of a machine that two sites fit into.
const TWO_SITES_KIB: u64 = 8 << 20;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(&Sites::default())).exit_code();
    }
    let is_measuring = arguments.filter.as_deref() == Some("measure");
    let selected = trials(&Sites::default()).iter().filter(|trial| !arguments.is_filtered_out(trial)).count();
    let sites = match started(if is_measuring || selected < 2 { 1 } else { sites_wanted() }) {
        Ok(sites) => Arc::new(sites.into_iter().map(Mutex::new).collect::<Vec<_>>()),
        Err(error) => {
            eprintln!("the lab does not start: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    arguments.test_threads = Some(sites.len());
    let code =
        if is_measuring { measured(&free(&sites)) } else { libtest_mimic::run(&arguments, trials(&sites)).exit_code() };
    // The first one made what both of them use: it goes last.
    for site in sites.iter().rev() {
        site.lock().unwrap_or_else(PoisonError::into_inner).end();
    }
    code
}

/// Two, unless one is asked for or more would not fit.
fn sites_wanted() -> usize {
    let is_kept = std::env::var_os("LAB_KEEP").is_some();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:")?.split_whitespace().next());
    let has_room = available.and_then(|it| it.parse::<u64>().ok()).is_some_and(|it| it >= TWO_SITES_KIB);
    let is_one_asked_for = std::env::var("LAB_SITES").is_ok_and(|count| count == "1");
    if is_kept || is_one_asked_for || !has_room { 1 } else { 2 }
}

/// Starts so many sites side by side; none is left where one of them fails.
fn started(count: usize) -> Result<Vec<Site>> {
    Site::prepare()?;
    let all: Vec<Result<Site>> = thread::scope(|scope| {
        let each: Vec<_> = (1..=count).map(|number| scope.spawn(move || Site::start(number))).collect();
        each.into_iter().map(|one| one.join().unwrap_or_else(|_| Err(anyhow!("its thread panicked")))).collect()
    });
    if all.iter().all(Result::is_ok) {
        return all.into_iter().collect();
    }
    all.iter().flatten().for_each(Site::end);
    all.into_iter().collect()
}

/// A site that no test is using.
fn free(sites: &Sites) -> MutexGuard<'_, Site> {
    let taken = sites.iter().find_map(|site| match site.try_lock() {
        Ok(site) => Some(site),
        // A test that panicked: the next one mends what it left.
        Err(TryLockError::Poisoned(site)) => Some(site.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    });
    taken.expect("there are as many sites as threads")
}

fn trials(sites: &Sites) -> Vec<Trial> {
    let trial = |(name, test): &Test| {
        let (sites, name, test) = (Arc::clone(sites), *name, *test);
        Trial::test(name, move || run(&free(&sites), name, test))
    };
    TESTS.iter().map(trial).collect()
}

/// Runs one test on a converged cluster; where it fails, everything that a person would ask for is printed.
fn run(site: &Site, name: &str, test: fn(&Site) -> Result<()>) -> Result<(), Failed> {
    let ready = Instant::now();
    site.say(&format!("{name}: next"));
    repair::converged(site).map_err(|error| failed(site, name, &error.context("the cluster before the test")))?;
    let (begin, ready) = (Instant::now(), ready.elapsed().as_secs_f64());
    test(site).map_err(|error| failed(site, name, &error))?;
    site.say(&format!("{name}: {:.1} s, after {ready:.1} s to get ready", begin.elapsed().as_secs_f64()));
    Ok(())
}

fn failed(site: &Site, name: &str, error: &anyhow::Error) -> Failed {
    site.say(&format!("=== {name} failed: {error:#}\n{}", site.diagnosis()));
    Failed::from(format!("{error:#}"))
}

fn measured(site: &Site) -> ExitCode {
    match repair::converged(site).and_then(|()| measure::print(site)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}\n{}", site.diagnosis());
            ExitCode::FAILURE
        }
    }
}

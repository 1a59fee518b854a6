//! The built-in world itself: what it does to whoever relies on it must be what the real one does.

use std::time::Duration;

use hecate::model::NodeName;
use hecate::simulate::Simulation;
use hecate::simulate::checks::Watch;
use hecate::simulate::script::{Play, Script};
use hecate::simulate::world::acts::Harm;
use hecate::simulate::world::profile::Profile;
use hecate::snapshot::UpsWord;

/// A script with this cluster and these events.
fn script(cluster: &str, events: &str, minutes: u64) -> Script {
    let text = format!("cluster: {cluster}\nevents: [{events}]\nminutes: {minutes}\n");
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{error}:\n{text}"))
}

/// Plays it to its end, or until this holds; gives the world, and what was found and excused.
fn play(script: &Script, mut is_over: impl FnMut(&Simulation) -> bool) -> (Simulation, Vec<String>, Vec<&'static str>) {
    let mut play = Play::new(script).unwrap();
    let mut watch = Watch::new(&play.simulation);
    while !play.is_over() && !is_over(&play.simulation) {
        let (happened, simulation) = play.tick();
        happened.iter().for_each(|it| watch.note(&it.event, simulation));
        watch.look(simulation);
    }
    let found = watch.findings().iter().map(|it| format!("{}: {}", it.rule, it.evidence)).collect();
    let excuses = watch.excuses().keys().copied().collect();
    (play.simulation, found, excuses)
}

fn first_ups(simulation: &Simulation) -> &hecate::simulate::world::ups::Battery {
    simulation.world.upses.values().next().unwrap()
}

#[test]
fn every_row_of_the_real_ones_is_a_profile() {
    assert_eq!(Profile::all().len(), 613);
    let speaks = |word: &str| Profile::all().iter().filter(|it| it.words.iter().any(|one| one == word)).count();
    assert!(speaks("LB") > 3 && speaks("FSD") == 2 && speaks("OB") == 0 && speaks("OL") == 0);
    // What a UPS does with its mains ends with them.
    let trims = Profile::all().iter().find(|it| it.words.iter().any(|word| word == "TRIM")).unwrap();
    assert!(trims.standing(false).any(|word| word == "TRIM") && !trims.standing(true).any(|word| word == "TRIM"));
}

#[test]
fn the_hecate_host_draws_from_its_ups_as_a_node_does() {
    let nodes = "{name: cp-1, role: control-plane, feeds: []}";
    let cluster = format!("{{battery-minutes: 10, config: {{nodes: [{nodes}], own_host: {{power_off: false}}}}}}");
    let (simulation, ..) = play(&script(&cluster, "{at: 60, event: mains-lost}", 30), |it| !it.world.own_is_on);
    let since = simulation.world.time - Duration::from_secs(3600 + 60);
    assert!((590..660).contains(&since.as_secs()), "it alone empties a battery of ten minutes, {since:?}");
}

#[test]
fn a_host_that_was_told_falls_silent_first_and_is_off_later() {
    let cluster = "{host-tail-seconds: 60, config: {shutdown: {off_tail_seconds: 80}}}";
    let (silent, ..) = play(&script(cluster, "{at: 60, event: wish, state: poweroff}", 30), |it| {
        let name = NodeName::new("worker-1");
        it.world.hosts[&name].is_writing() && !it.world.is_heard(&name)
    });
    let host = &silent.world.hosts[&NodeName::new("worker-1")];
    assert!(host.is_on && host.is_writing(), "it writes although nobody hears of it");
}

#[test]
fn a_load_that_is_cut_under_a_host_that_writes_is_harm() {
    let upses = "[{name: pyrphoros, target: pyrphoros@localhost, cut_load: {command: shutdown.return, delay_seconds: 80}, \
                 username: hecate, password_file: /etc/hecate/nut}]";
    let cluster =
        format!("{{host-tail-seconds: 190, config: {{upses: {upses}, shutdown: {{off_tail_seconds: 200}}}}}}");
    let events = "{at: 60, event: wish, state: poweroff}";
    let mut play = Play::new(Box::leak(Box::new(script(&cluster, events, 30)))).unwrap();
    while !play.is_over() && !play.simulation.world.hosts[&NodeName::new("worker-1")].is_writing() {
        play.tick();
    }
    let ups = play.simulation.world.upses.keys().next().unwrap().clone();
    play.simulation.world.tell_to_cut(&ups);
    play.simulation.tick_for(Duration::from_secs(80));
    let is_harm = |harm: &Harm| matches!(harm, Harm::CutWhileWriting(_));
    assert!(play.simulation.world.acts.harm.iter().any(is_harm), "{:?}", play.simulation.world.acts.harm);
}

#[test]
fn a_switch_without_a_ups_takes_its_hosts_with_the_mains_and_comes_back_late() {
    let cluster = "{switch: {mains-of: pyrphoros, nodes: [worker-1], late-seconds: 90}}";
    let events = "{at: 60, event: mains-lost}, {at: 120, event: mains-back, boots: false}";
    let script = script(cluster, events, 30);
    let worker = NodeName::new("worker-1");
    let (lost, ..) = play(&script, |it| it.world.is_switch_off());
    assert!(!lost.world.is_heard(&worker) && lost.world.is_heard(&NodeName::new("cp-1")));
    let mut was_off = false;
    let (back, ..) = play(&script, |it| {
        was_off |= it.world.is_switch_off();
        was_off && !it.world.is_switch_off()
    });
    assert!(back.world.is_heard(&worker) && first_ups(&back).mains);
}

#[test]
fn a_upsd_on_a_node_is_silent_while_that_node_is() {
    let cluster = "{devices: {pyrphoros: {upsd-on: worker-1}}}";
    let (simulation, ..) = play(&script(cluster, "{at: 60, event: host-silent, node: worker-1}", 5), |_| false);
    let name = simulation.world.upses.keys().next().unwrap().clone();
    assert!(!simulation.world.is_told(&name) && first_ups(&simulation).answers);
}

#[test]
fn a_power_off_that_never_ends_leaves_a_host_silent_and_on() {
    let events = "{at: 30, event: power-off-hangs, node: worker-1}, {at: 60, event: wish, state: poweroff}";
    let (simulation, ..) = play(&script("{}", events, 20), |_| false);
    let worker = NodeName::new("worker-1");
    assert!(simulation.world.hosts[&worker].is_on && !simulation.world.is_heard(&worker));
}

#[test]
fn figures_are_as_old_as_the_driver_and_words_are_not() {
    let row = Profile::all().iter().position(|it| it.pollfreq == Some(30) && it.charge == Some(100.0)).unwrap();
    let script = script(&format!("{{devices: {{pyrphoros: {{profile: {row}}}}}}}"), "{at: 60, event: mains-lost}", 5);
    let (simulation, ..) = play(&script, |it| !first_ups(it).mains);
    let name = simulation.world.upses.keys().next().unwrap().clone();
    let reading = simulation.world.says(&simulation.config, &name);
    let reading = reading.value().unwrap();
    assert!(reading.status.has(UpsWord::Ob) && reading.charge_percent == Some(100.0), "{reading:?}");
    assert_eq!(reading.driver_interval, Some(Duration::from_secs(30)));
    assert_eq!(reading.device.serial.as_deref(), Some("pyrphoros-1"));
}

#[test]
fn a_cause_excuses_its_own_time_and_no_more() {
    // hecate is away for a minute of twenty in which it could have acted, and hosts that answer nobody keep it from it.
    let silent = ["cp-1", "cp-2", "cp-3", "worker-1", "worker-2"];
    let silent = silent.map(|node| format!("{{at: 61, event: host-silent, node: {node}}}")).join(", ");
    let events = format!("{{at: 60, event: mains-lost}}, {silent}");
    let (simulation, found, excuses) = play(&script("{battery-minutes: 20}", &events, 60), |_| false);
    assert!(simulation.world.hosts.values().any(|host| host.hard_cuts > 0));
    assert!(!found.iter().any(|it| it.contains("cp-1 lost power")), "{found:?}");
    assert!(excuses.contains(&"it was out of reach"), "{excuses:?}");
    // A UPS that is not honest for one poll is no excuse.
    let events = "{at: 60, event: mains-lost}, {at: 700, event: hecate-killed, away-seconds: 3}, \
                  {at: 900, event: ups-says, says: {status: OL}}, {at: 902, event: ups-says}, \
                  {at: 61, event: ups-ignored, ups: pyrphoros, minutes: 1}";
    let (_, found, excuses) = play(&script("{battery-minutes: 20}", events, 60), |_| false);
    assert!(found.is_empty() && excuses.is_empty(), "{found:?}, {excuses:?}");
}

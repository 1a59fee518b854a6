//! What becomes of each host, over several inventories.

use super::*;

/// An inventory of three servers and a worker on `rack`, a worker on `desk`, and what is added to it.
fn config(own_host: &str, upses: &str, more: &str) -> Config {
    let text = format!(
        "kubeconfig: /etc/hecate/kubeconfig\n{more}\nown_host: {own_host}\nupses:\n- {{name: rack, target: rack@localhost{upses}}}\n\
         - {{name: desk, target: desk@worker-2}}\n"
    );
    Config::parse(&text).expect("the inventory is good").config
}

const NODES: &str = "nodes:
- {name: cp-1, role: control-plane, feeds: [rack]}
- {name: cp-2, role: control-plane, feeds: [rack]}
- {name: cp-3, role: control-plane, feeds: [rack]}
- {name: worker-1, role: worker, feeds: [rack], wake: {method: wake-on-lan, mac: 2c:cf:67:00:11:22}}
- {name: worker-2, role: worker, feeds: [desk]}
";
const CUT: &str = ", username: hecate, password_file: /etc/hecate/nut, cut_load: {delay_seconds: 180}";

fn of(config: &Config, upses: &[&str]) -> Foreseen {
    outage(config, upses.iter().map(|ups| UpsName::from(*ups)).collect())
}

fn fate(foreseen: &Foreseen, host: &str) -> (Goes, Option<Back>, Option<Back>) {
    let is_it = |one: &&HostFate| one.node.as_ref().map_or(host == "own", |node| node.as_str() == host);
    let one = foreseen.hosts.iter().find(is_it).expect("the host is there");
    (one.goes, one.before_cut, one.after_cut)
}

#[test]
fn each_single_ups_is_foreseen_and_all_of_them() {
    let config = config("{feeds: [rack]}", "", NODES);
    let upses: Vec<usize> = foresee(&config).iter().map(|one| one.upses.len()).collect();
    assert_eq!(upses, [1, 1, 2]);
    assert_eq!(foresee(&config)[0].hosts.len(), 6, "five nodes and the hecate host");
}

#[test]
fn a_host_without_wake_or_cut_comes_back_by_hand_unless_its_power_really_ended() {
    let foreseen = of(&config("{feeds: [rack]}", "", NODES), &["rack"]);
    assert_eq!(fate(&foreseen, "cp-1"), (Goes::Off, Some(Back::ByHand), Some(Back::OnAc)));
    assert_eq!(fate(&foreseen, "worker-1"), (Goes::Off, Some(Back::Wake), Some(Back::Wake)));
    assert_eq!(fate(&foreseen, "own"), (Goes::Off, Some(Back::ByHand), Some(Back::OnAc)));
    assert!(foreseen.is_own_host_by_hand());
}

#[test]
fn who_merely_goes_along_is_stopped_and_stays_on_unless_it_can_be_woken() {
    let config = config("{feeds: [desk]}", "", NODES);
    let foreseen = of(&config, &["desk"]);
    assert_eq!(fate(&foreseen, "cp-1"), (Goes::Stopped, Some(Back::StaysOn), Some(Back::StaysOn)));
    assert_eq!(fate(&foreseen, "worker-1"), (Goes::Off, Some(Back::Wake), Some(Back::Wake)));
    assert_eq!(fate(&foreseen, "worker-2"), (Goes::Off, Some(Back::ByHand), Some(Back::OnAc)));
    assert_eq!(fate(&of(&config, &["rack"]), "own"), (Goes::RunsOn, None, None), "its own supply holds");
}

#[test]
fn with_cut_load_hosts_boot_on_ac_before_and_after() {
    let foreseen = of(&config("{feeds: [rack]}", CUT, NODES), &["rack"]);
    assert_eq!(fate(&foreseen, "cp-1"), (Goes::Off, Some(Back::CutLoad), Some(Back::OnAc)));
    assert_eq!(fate(&foreseen, "own"), (Goes::Off, Some(Back::CutLoad), Some(Back::OnAc)));
    assert!(!foreseen.is_own_host_by_hand());
}

#[test]
fn a_load_is_not_cut_while_it_feeds_a_host_that_stays_on() {
    let second = NODES.replace("worker-2, role: worker, feeds: [desk]", "worker-2, role: worker, feeds: [rack, desk]");
    let foreseen = of(&config("{feeds: [rack]}", CUT, &second), &["rack"]);
    assert_eq!(fate(&foreseen, "worker-2").0, Goes::Stopped, "its other feed holds");
    assert_eq!(fate(&foreseen, "cp-1").1, Some(Back::ByHand));
    let all = of(&config("{feeds: [rack]}", CUT, &second), &["rack", "desk"]);
    assert_eq!(fate(&all, "cp-1").1, Some(Back::CutLoad));
    assert_eq!(fate(&all, "worker-2").1, Some(Back::ByHand), "its other UPS is not cut");
}

#[test]
fn with_scope_affected_the_rest_runs_on_as_long_as_it_has_quorum() {
    let affected = format!("ups_policy: {{scope: affected}}\n{NODES}");
    let config = config("{feeds: [desk]}", CUT, &affected);
    let desk = of(&config, &["desk"]);
    assert_eq!(fate(&desk, "cp-1").0, Goes::RunsOn);
    assert_eq!(fate(&desk, "worker-2"), (Goes::Off, Some(Back::ByHand), Some(Back::OnAc)));
    let rack = of(&config, &["rack"]);
    assert_eq!(fate(&rack, "worker-2").0, Goes::Stopped, "no quorum is left, so it goes along");
    assert_eq!(fate(&rack, "own").0, Goes::RunsOn);
}

#[test]
fn a_redundant_feed_that_goes_changes_nothing() {
    let both = NODES.replace("[rack]", "[rack, desk]").replace("feeds: [desk]", "feeds: [rack, desk]");
    let config = config("{feeds: [rack, desk]}", "", &both);
    assert!(of(&config, &["rack"]).hosts.iter().all(|host| host.goes == Goes::RunsOn));
    assert!(of(&config, &["rack", "desk"]).hosts.iter().all(|host| host.goes == Goes::Off));
}

#[test]
fn nodes_without_feeds_are_fed_by_the_upses_that_nothing_names() {
    let none = NODES.replace(", feeds: [rack]", "").replace(", feeds: [desk]", "");
    let config = config("{feeds: [desk]}", "", &none);
    let rack = of(&config, &["rack"]);
    assert_eq!((fate(&rack, "cp-1").0, fate(&rack, "own").0), (Goes::Off, Goes::RunsOn));
    let desk = of(&config, &["desk"]);
    assert_eq!((fate(&desk, "cp-1").0, fate(&desk, "own").0), (Goes::Stopped, Goes::Off));
}

#[test]
fn hosts_that_stay_on_to_the_end_come_back_with_the_power() {
    let kept = NODES.replace("worker-2, role: worker", "worker-2, role: worker, power_off: false");
    let config = config(
        "{feeds: [desk], power_off: false}",
        "",
        &format!("ssh_managed_nodes: [cp-1, cp-2, cp-3, worker-2]\n{kept}"),
    );
    let all = of(&config, &["rack", "desk"]);
    assert_eq!(fate(&all, "worker-2"), (Goes::Stopped, Some(Back::StaysOn), Some(Back::OnAc)));
    assert_eq!(fate(&all, "worker-1"), (Goes::Left, Some(Back::StaysOn), Some(Back::OnAc)), "nobody may command it");
    assert_eq!(fate(&all, "own"), (Goes::Left, Some(Back::StaysOn), Some(Back::OnAc)));
}

#[test]
fn a_hecate_host_that_is_a_node_is_one_host() {
    let config = config("{node: cp-1}", "", NODES);
    let desk = of(&config, &["desk"]);
    assert_eq!((desk.hosts.len(), fate(&desk, "cp-1").0), (5, Goes::Stopped));
    assert_eq!(fate(&of(&config, &["rack"]), "cp-1").0, Goes::Off);
}

#[test]
fn a_ups_whose_upsd_runs_on_a_host_that_goes_off_is_named() {
    let named = |config: &Config| upsd_on_nodes(config).into_iter().map(|it| (it.ups, it.node)).collect::<Vec<_>>();
    assert_eq!(named(&config("{feeds: [rack]}", "", NODES)), [("desk".into(), "worker-2".into())]);
    let by_address = NODES.replace("name: worker-2, role: worker", "name: other, host: Worker-2, role: worker");
    assert_eq!(named(&config("{feeds: [rack]}", "", &by_address)), [("desk".into(), "other".into())]);
    let kept = NODES.replace("worker-2, role: worker", "worker-2, role: worker, power_off: false");
    assert!(named(&config("{feeds: [rack]}", "", &kept)).is_empty());
    assert!(
        named(&config("{node: worker-2}", "", NODES)).is_empty(),
        "the hecate host goes last, and nobody listens then"
    );
}

#[test]
fn a_ups_that_feeds_nothing_speaks_for_the_whole_cluster() {
    for scope in ["cluster", "affected"] {
        let text = format!(
            "kubeconfig: /etc/hecate/kubeconfig\nups_policy: {{scope: {scope}}}\nown_host: {{feeds: [rack]}}\nnodes:\n\
             - {{name: cp-1, role: control-plane, feeds: [rack]}}\nupses:\n- {{name: rack, target: rack@localhost}}\n\
             - {{name: closet, target: closet@localhost}}\n"
        );
        let foreseen = of(&Config::parse(&text).expect("the inventory is good").config, &["closet"]);
        assert_eq!(fate(&foreseen, "cp-1"), (Goes::Stopped, Some(Back::StaysOn), Some(Back::StaysOn)), "{scope}");
        assert_eq!(fate(&foreseen, "own").0, Goes::RunsOn, "{scope}");
    }
}

//! The configuration as operators meet it: the files in `configs/`, and what a wrong one is told.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hecate::config::{Checked, Config, ConfigMistakes};

fn repo(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repo(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn parse(path: &str) -> Checked {
    Config::parse(&read(path)).unwrap_or_else(|mistakes| panic!("\n{}", mistakes.in_file(path)))
}

fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(repo(folder)).expect("the folder is in the repository");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(ending));
    files.sort();
    files
}

/// The reference file with every setting that is commented out (`#key: value`, no blank after `#`) in force.
fn uncommented(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let inner = line.trim_start();
        match inner.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase())) {
            Some(setting) => format!("{}{setting}\n", " ".repeat(line.len() - inner.len())),
            None => format!("{line}\n"),
        }
    });
    lines.collect()
}

#[test]
fn every_file_in_configs_is_valid() {
    let all = files("configs", ".yaml");
    assert_eq!(all.len(), 3);
    for path in all {
        let name = path.strip_prefix(repo("")).expect("it is in the repository").to_string_lossy().into_owned();
        let checked = parse(&name);
        let warnings: Vec<String> = checked.warnings.iter().map(|warning| warning.in_file(&name).to_string()).collect();
        let expected = usize::from(name.contains("peer"));
        assert_eq!(warnings.len(), expected, "{warnings:#?}");
    }
}

/// Of the lab tests' configurations this one alone can be looked at without a lab.
#[test]
fn the_configuration_of_the_lab_is_valid() {
    let checked = parse("tests/lab/hecate.yaml");
    assert!(checked.warnings.is_empty(), "{:#?}", checked.warnings);
}

#[test]
fn the_peer_and_the_coordinator_agree_on_the_cluster() {
    let coordinator = parse("configs/hecate.coordinator.yaml").config;
    let peer = parse("configs/hecate.peer.yaml").config;
    assert_eq!(coordinator.nodes, peer.nodes);
    assert!(peer.own_host.feeds.iter().map(|name| name.as_str()).eq(["statera"]), "taken from its node");
}

#[test]
fn the_reference_file_names_every_key() {
    let text = uncommented(&read("configs/hecate.example.yaml"));
    let root: serde_yaml::Value = serde_yaml::from_str(&text).expect("it is YAML with every setting in force");
    let mut named = BTreeSet::new();
    name_keys(&root, "", &mut named);
    let missing: Vec<String> = Config::keys().into_iter().filter(|key| !named.contains(key)).collect();
    assert!(missing.is_empty(), "configs/hecate.example.yaml does not explain {missing:?}");
}

fn name_keys(value: &serde_yaml::Value, path: &str, named: &mut BTreeSet<String>) {
    named.insert(path.to_owned());
    if let Some(map) = value.as_mapping() {
        for (key, value) in map {
            let key = key.as_str().expect("keys are text");
            let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            name_keys(value, &path, named);
        }
    }
    for element in value.as_sequence().into_iter().flatten() {
        name_keys(element, &format!("{path}[]"), named);
    }
}

#[test]
fn the_reference_file_with_every_setting_in_force_is_only_refused_for_what_is_not_built() {
    let text = uncommented(&read("configs/hecate.example.yaml"));
    let ConfigMistakes(mistakes) = Config::parse(&text).expect_err("guards that are not built are asked for");
    for mistake in &mistakes {
        assert!(mistake.problem.contains("not built yet"), "{mistake}");
    }
    assert!(mistakes.len() >= 4);
}

#[test]
fn the_reference_file_states_the_real_defaults() {
    let example = parse("configs/hecate.example.yaml").config;
    let text = "{kubeconfig: /etc/hecate/kubeconfig, nodes: [{name: a, role: control-plane}]}";
    let bare = Config::parse(text).expect("nothing else is required").config;
    assert_eq!(example.ups_policy, bare.ups_policy);
    assert_eq!(
        example.startup,
        hecate::config::Startup {
            // More than half of the nodes and the hecate host: it depends on the inventory.
            time_sync_quorum: example.startup.time_sync_quorum,
            ..bare.startup
        }
    );
    assert_eq!(example.shutdown, bare.shutdown);
    assert_eq!(example.reconcile, bare.reconcile);
    assert_eq!(example.coordination, bare.coordination);
    assert_eq!(example.metrics_listen, bare.metrics_listen);
    assert_eq!(example.ssh, bare.ssh);
    assert_eq!((&example.state_dir, &example.runtime_dir), (&bare.state_dir, &bare.runtime_dir));
    assert_eq!(example.ignore_unavailable_nodes, bare.ignore_unavailable_nodes);
    assert_eq!(example.own_host.power_off_time, bare.own_host.power_off_time);
    assert_eq!(example.own_host.power_off, bare.own_host.power_off);
    let node = |config: &Config| config.nodes.values().next().cloned().expect("there is one");
    let (stated, real) = (node(&example), bare.nodes.values().next().cloned().expect("there is one"));
    assert_eq!((stated.user, stated.port, stated.power_off), (real.user, real.port, real.power_off));
}

#[test]
fn every_key_of_the_source_document_has_its_name_and_place() {
    let keys = Config::keys();
    let named = "kubeconfig ssh_port ssh_config_file ssh_identity_file ssh_jump_host ssh_jump_user ssh_node_hosts \
         ssh_node_users ssh_managed_nodes ignore_unavailable_nodes ups_policy.runtime_safety_factor \
         startup.time_sync_mode startup.time_sync_quorum startup.require_storage_ready \
         startup.require_post_start_probes startup.post_start_probes startup.vault_unseal_key_file \
         startup.vault_unseal_breakglass_command startup.vault_unseal_breakglass_timeout_seconds \
         startup.auto_etcd_restore_on_api_failure startup.etcd_restore_control_plane shutdown.default_budget_seconds \
         shutdown.emergency_budget_seconds shutdown.estimated_shutdown_budget_seconds \
         shutdown.estimated_emergency_shutdown_budget_seconds shutdown.emergency_skip_drain \
         shutdown.emergency_skip_etcd_snapshot coordination.role coordination.allow_startup_on_battery";
    for key in named.split_whitespace() {
        assert!(keys.iter().any(|one| one == key), "{key} is gone");
    }
}

/// Parses `rest` below a control plane `cp` and a worker `w`.
fn small(rest: &str) -> Config {
    let nodes = "nodes:\n- {name: cp, role: control-plane}\n- {name: w, role: worker}\n";
    let text = format!("kubeconfig: /k\n{nodes}{rest}");
    Config::parse(&text).unwrap_or_else(|mistakes| panic!("\n{}", mistakes.in_file("small"))).config
}

#[test]
fn a_node_takes_host_and_user_from_the_ssh_keys() {
    let config = small("ssh_user: root\nssh_port: 2222\nssh_node_hosts: {w: 10.0.0.2}\nssh_node_users: {w: tethys}\n");
    let seen: Vec<_> = config.nodes.values().map(|node| (node.host.as_str(), node.user.as_str(), node.port)).collect();
    assert_eq!(seen, [("cp", "root", 2222), ("10.0.0.2", "tethys", 2222)]);
}

#[test]
fn the_jump_host_is_powered_off_only_when_told_so() {
    let config = small("ssh_jump_host: cp\n");
    assert_eq!(config.nodes.values().map(|node| node.power_off).collect::<Vec<_>>(), [false, true]);
    assert_eq!(config.ssh.jump_user.as_deref(), Some("hecate"), "the nodes' default login");
}

#[test]
fn the_own_host_and_its_node_are_one() {
    let rest = "own_host: {node: w, feeds: [p], power_off: false}\nupses: [{name: p, target: p@localhost}]\n";
    let config = small(rest);
    let node = &config.nodes[config.own_host.node.as_ref().expect("it is a node")];
    assert_eq!((&node.feeds, node.power_off), (&config.own_host.feeds, false));
}

#[test]
fn only_listed_nodes_are_managed() {
    assert_eq!(small("ssh_managed_nodes: [cp]\n").managed().count(), 1);
    assert_eq!(small("").managed().count(), 2);
}

#[test]
fn words_and_zeros_become_what_they_mean() {
    let rest = "metrics: {listen: off}\nstartup: {ups_unknown_grace_seconds: 0}\nshutdown: {killall: never}\n";
    let config = small(rest);
    assert_eq!((config.metrics_listen, config.startup.ups_unknown_grace, config.shutdown.killall), (None, None, false));
    assert_eq!(small("state_dir: /srv/h\n").ssh.known_hosts_file, Path::new("/srv/h/known_hosts"));
}

#[test]
fn the_floor_is_half_the_emergency_budget_and_both_names_of_it_count() {
    let config = small("shutdown: {estimated_emergency_shutdown_budget_seconds: 100.5}\n");
    assert_eq!(config.shutdown.emergency_budget.as_secs_f64(), 100.5);
    assert_eq!(config.shutdown.budget_floor.as_secs_f64(), 50.25);
}

#[test]
fn what_is_printed_never_holds_a_secret_or_a_control_character() {
    let text = "kubeconfig: /k\n\"bad\\e[2Jkey\": hunter2\npassword: hunter2\nssh_user: \"a\\nb\"\nnodes: []\n";
    let said = Config::parse(text).expect_err("it is wrong").in_file("f").to_string();
    assert!(!said.contains("hunter2") && !said.contains('\u{1b}'), "{said}");
    assert!(said.lines().all(|line| line.starts_with("f:")), "{said}");
}

#[test]
fn every_bad_file_is_told_where_what_and_what_to_do() {
    let all = files("tests/fixtures/config/bad", ".yaml");
    assert!(all.len() > 20);
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(repo("tests/fixtures/config/bad"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for path in all {
            let name = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).expect("it can be read");
            let said = match Config::parse(&text) {
                Err(mistakes) => mistakes.in_file("hecate.yaml").to_string(),
                Ok(checked) => {
                    assert!(name.starts_with("odd-") && !checked.warnings.is_empty(), "{name} is not wrong");
                    checked.warnings.iter().map(|warning| format!("{}\n", warning.in_file("hecate.yaml"))).collect()
                }
            };
            insta::assert_snapshot!(name, said);
        }
    });
}

#[test]
fn no_truncation_panics() {
    let text = read("configs/hecate.example.yaml");
    let peer = read("configs/hecate.peer.yaml");
    for (text, stride) in [(text, 149), (peer, 17)] {
        for end in (0..text.len()).step_by(stride).filter(|end| text.is_char_boundary(*end)) {
            look(&text[..end]);
        }
    }
}

#[test]
fn no_mutation_panics() {
    const ODD: [&str; 16] = [
        "~",
        "[]",
        "{}",
        "-1",
        "1e999",
        ".nan",
        "1.5",
        "\"\"",
        "*x",
        "&x [*x]",
        "!!binary x",
        "[[[[{a: b}]]]]",
        "\u{0}",
        "ä\u{feff}",
        "99999999999999999999999999",
        "|\n  text",
    ];
    let example = uncommented(&read("configs/hecate.example.yaml"));
    let lines: Vec<&str> = example.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let mut dice = Dice(0x5eed);
    for _ in 0..400 {
        let mut lines = lines.clone();
        let (here, there) = (dice.below(lines.len()), dice.below(lines.len()));
        let key = lines[here].split_once(": ").map_or(lines[here], |(key, _)| key);
        let changed = format!("{}: {}", key.trim_end_matches(':'), ODD[dice.below(ODD.len())]);
        match dice.below(4) {
            0 => lines[here] = &changed,
            1 => drop(lines.remove(here)),
            2 => lines.insert(there, lines[here]),
            _ => lines.swap(here, there),
        }
        look(&lines.join("\n"));
    }
}

#[test]
fn every_value_of_every_key_may_be_odd_without_a_panic() {
    for key in Config::keys() {
        for odd in ["~", "true", "-1", ".inf", "1e300", "\"x\"", "[~, [x], {y: 1}]", "{a: ~}"] {
            let text = key.replace("[]", "").split('.').rev().fold(odd.to_owned(), |inner, part| {
                let inner = if key.contains(&format!("{part}[]")) { format!("[{inner}]") } else { inner };
                format!("{{{part}: {inner}}}")
            });
            look(&text);
        }
    }
}

/// Parses, and checks that whatever is said can be printed and names its place.
fn look(text: &str) {
    if let Err(mistakes) = Config::parse(text) {
        assert!(!mistakes.0.is_empty(), "refused without a word:\n{text}");
        assert!(mistakes.in_file("f").to_string().lines().all(|line| line.starts_with("f:")), "{mistakes:?}");
    }
}

/// Repeatable dice (the constants are Knuth's MMIX generator).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

#[test]
fn a_witness_that_witnesses_nothing_is_refused() {
    let said = |witness: &str| {
        let upses = format!("upses: [{{name: p, target: p@upsd.lan, witness: \"{witness}\"}}]\n");
        let text =
            format!("kubeconfig: /k\nnodes: [{{name: cp, role: control-plane, host: 10.0.0.9, feeds: [p]}}]\n{upses}");
        Config::parse(&text).map_err(|mistakes| mistakes.in_file("f").to_string())
    };
    assert!(said("192.168.7.1:22").is_ok());
    for (witness, why) in [
        ("localhost:22", "never goes away"),
        ("upsd.lan:3493", "the host of this UPS' upsd"),
        ("10.0.0.9:22", "is node cp"),
        ("cp:22", "is node cp"),
    ] {
        let mistake = said(witness).expect_err(witness);
        assert!(mistake.contains(why), "{mistake}");
    }
}

#[test]
fn a_wrong_target_hides_no_other_mistake_of_its_ups() {
    let upses = "upses: [{name: p, target: \"p@\", recharge_hours: 1000, ignore_words: [XX]}]\n";
    let text = format!("kubeconfig: /k\nnodes: [{{name: cp, role: control-plane}}]\n{upses}");
    let said = Config::parse(&text).expect_err("it is wrong").in_file("f").to_string();
    for key in ["target", "recharge_hours", "ignore_words"] {
        assert!(said.contains(key), "{said}");
    }
}

#[test]
fn a_limit_that_outlasts_a_battery_is_told() {
    let text = "kubeconfig: /k\nnodes: [{name: cp, role: control-plane}]\nups_policy: {on_battery_max_seconds: 604800}\n\
                shutdown: {off_tail_seconds: 900, off_confirm_seconds: 900}\nstartup: {mains_stable_seconds: 7200}\n";
    let warnings: Vec<String> = Config::parse(text).unwrap().warnings.iter().map(ToString::to_string).collect();
    for key in ["on_battery_max_seconds", "off_tail_seconds", "mains_stable_seconds"] {
        assert!(warnings.iter().any(|warning| warning.contains(key)), "{warnings:?}");
    }
}

//! Nodes, UPSes, the own host and SSH: who there is, how each is reached, and what feeds it.
//!
//! Pure. Must never let two entries mean the same host, nor a name stand that nothing carries.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use super::super::mistake::{At, Findings, did_you_mean};
use super::super::raw::{RawConfig, RawCutCommand, RawCutLoad, RawNode, RawRole, RawUps, RawWake, RawWakeMethod};
use super::super::read::Field;
use super::super::tree::quoted;
use super::super::{Config, CutLoad, Node, OwnHost, Ssh, Ups, Wake, Witness, defaults, is_local};
use super::{above_zero, names, within};
use crate::model::{NodeName, Role, UpsName};
use crate::snapshot::UpsWord;

/// A key with a list of texts.
type Texts = Field<Vec<Field<String>>>;

/// What this room makes.
pub(super) struct Inventory {
    pub(super) nodes: BTreeMap<NodeName, Node>,
    pub(super) ignored: BTreeSet<NodeName>,
    pub(super) own_host: OwnHost,
    pub(super) upses: BTreeMap<UpsName, Ups>,
}

/// Reads all of it.
pub(super) fn read(raw: &RawConfig, found: &mut Findings) -> Inventory {
    let upses = upses(raw, found);
    let mut nodes = BTreeMap::new();
    let mut first_at: BTreeMap<&str, &At> = BTreeMap::new();
    let mut addresses: BTreeMap<(String, u16), &str> = BTreeMap::new();
    for raw_node in raw_nodes(raw) {
        let node = node(raw_node, raw, found);
        let Some(name) = raw_node.name.value() else { continue };
        if let Some(first) = first_at.insert(name, &raw_node.name.at) {
            let problem = format!("{name:?} is {} already", first.path);
            found.mistake_with(&raw_node.name.at, problem, "every node needs a name of its own");
            continue;
        }
        let address = (node.host.to_lowercase(), node.port);
        if let Some(first) = addresses.insert(address, name) {
            let problem = format!("{}:{} is the address of \"{first}\" already", node.host, node.port);
            found.mistake_with(&raw_node.host.at, problem, "every node needs a host of its own");
        }
        nodes.insert(NodeName::new(name), node);
    }
    let ignored = known(&raw.ignore_unavailable_nodes, "node", &node_names(raw), found);
    let inventory = Inventory {
        ignored: ignored.into_iter().map(NodeName::new).collect(),
        own_host: own_host(raw, &mut nodes, found),
        nodes,
        upses,
    };
    references(raw, found);
    control_planes(raw, &inventory, found);
    feeds_of_all(raw, &inventory, found);
    cuts(raw, &inventory, found);
    inventory
}

/// The UPSes that feed nothing by name. A hecate host without a word of its feeds names none.
pub(super) fn unnamed(raw: &RawConfig, inventory: &Inventory) -> BTreeSet<UpsName> {
    let is_said = raw.own_host.feeds.value().is_some();
    let names = |ups: &&UpsName| {
        inventory.nodes.values().any(|node| node.feeds.contains(*ups))
            || is_said && inventory.own_host.feeds.contains(*ups)
    };
    inventory.upses.keys().filter(|ups| !names(ups)).cloned().collect()
}

/// Whether hecate may command a node over SSH: it is listed, or nothing is.
pub(super) fn is_managed(raw: &RawConfig, name: &str) -> bool {
    match raw.ssh_managed_nodes.value() {
        Some(list) if !list.is_empty() => list.iter().any(|field| field.value().is_some_and(|one| one == name)),
        Some(_) | None => true,
    }
}

fn raw_nodes(raw: &RawConfig) -> &[RawNode] {
    raw.nodes.value().map(Vec::as_slice).unwrap_or_default()
}

fn node_names(raw: &RawConfig) -> BTreeSet<&str> {
    raw_nodes(raw).iter().filter_map(|node| node.name.value()).map(String::as_str).collect()
}

fn ups_names(raw: &RawConfig) -> BTreeSet<&str> {
    raw.upses.value().into_iter().flatten().filter_map(|ups| ups.name.value()).map(String::as_str).collect()
}

/// A text that a check lets through; the stand-in where it does not or where nothing is written.
fn checked(
    field: &Field<String>,
    check: fn(&str) -> names::Checked<String>,
    stand_in: &str,
    found: &mut Findings,
) -> String {
    match field.value().map(|text| check(text)) {
        Some(Ok(text)) => text,
        Some(Err(wrong)) => {
            found.add_mistake(&field.at, wrong.problem, wrong.hint);
            stand_in.to_owned()
        }
        None => stand_in.to_owned(),
    }
}

/// The names in a list that are known; the others are noted.
fn known(list: &Texts, what: &str, names: &BTreeSet<&str>, found: &mut Findings) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for field in list.value().into_iter().flatten() {
        let Some(name) = field.value() else { continue };
        if !names.contains(name.as_str()) {
            unknown(&field.at, what, name, names, found);
        } else if !all.insert(name.clone()) {
            found.mistake_with(&field.at, format!("{name:?} is listed twice"), "keep one of the two");
        }
    }
    all
}

fn unknown(at: &At, what: &str, name: &str, names: &BTreeSet<&str>, found: &mut Findings) {
    let hint = did_you_mean(name, names.iter().copied()).unwrap_or_else(|| {
        let list = if what == "UPS" { "upses" } else { "nodes" };
        format!("add it to \"{list}\", or remove it here")
    });
    found.mistake_with(at, format!("unknown {what} {}", quoted(name)), hint);
}

fn node(raw: &RawNode, config: &RawConfig, found: &mut Findings) -> Node {
    let written = raw.name.value().map_or("nameless", String::as_str);
    let name = checked(&raw.name, names::subdomain, written, found);
    let host_field = either(&raw.host, by_name(&config.ssh_node_hosts, &name), found);
    let user_field = either(&raw.user, by_name(&config.ssh_node_users, &name), found);
    let default_user = config.ssh_user.or(defaults::SSH_USER.to_owned());
    let host = checked(host_field, names::host, &name, found);
    let is_jump_host = config.ssh_jump_host.value().is_some_and(|jump| jump.eq_ignore_ascii_case(&host));
    let power_off = if is_jump_host { defaults::JUMP_HOST_POWER_OFF } else { defaults::NODE_POWER_OFF };
    let feeds = feeds(&raw.feeds, config, found);
    Node {
        role: match raw.role.value() {
            Some(RawRole::ControlPlane) => Role::ControlPlane,
            Some(RawRole::Worker) | None => Role::Worker,
        },
        user: checked(user_field, names::login, &default_user, found),
        port: raw.port.or(config.ssh_port.or(defaults::SSH_PORT)),
        min_supplies: min_supplies(&raw.min_supplies, feeds.len(), found),
        feeds,
        wake: raw.wake.value().and_then(|raw| wake(raw, found)),
        power_off: raw.power_off.or(power_off),
        is_managed: is_managed(config, &name),
        host,
    }
}

/// How many feeds must hold: no more than there are.
fn min_supplies(raw: &Field<u32>, feeds: usize, found: &mut Findings) -> usize {
    let most = u32::try_from(feeds.max(1)).unwrap_or(u32::MAX);
    within(raw, defaults::MIN_SUPPLIES, 1, most, found) as usize
}

fn by_name<'a>(map: &'a Field<BTreeMap<String, Field<String>>>, name: &str) -> Option<&'a Field<String>> {
    map.value().and_then(|map| map.get(name))
}

/// A value that can be written in two places: in both only when they agree.
fn either<'a>(own: &'a Field<String>, other: Option<&'a Field<String>>, found: &mut Findings) -> &'a Field<String> {
    let Some(other) = other else { return own };
    if let (Some(here), Some(there)) = (own.value(), other.value())
        && here != there
    {
        let problem = format!("{here:?} contradicts {} ({there:?})", other.at.path);
        found.mistake_with(&own.at, problem, "keep one of the two");
    }
    if own.value().is_some() { own } else { other }
}

fn feeds(list: &Texts, raw: &RawConfig, found: &mut Findings) -> BTreeSet<UpsName> {
    known(list, "UPS", &ups_names(raw), found).into_iter().map(UpsName::new).collect()
}

fn wake(raw: &RawWake, found: &mut Findings) -> Option<Wake> {
    let method = *raw.method.value()?;
    let (is_packet, is_command) = match method {
        RawWakeMethod::WakeOnLan => (true, false),
        RawWakeMethod::Command => (false, true),
    };
    for (at, is_written, fits) in [
        (&raw.mac.at, raw.mac.value().is_some(), is_packet),
        (&raw.broadcast.at, raw.broadcast.value().is_some(), is_packet),
        (&raw.command.at, raw.command.value().is_some(), is_command),
    ] {
        if is_written && !fits {
            found.mistake_with(at, "does not go with this method", "remove it, or change the method");
        }
    }
    match method {
        RawWakeMethod::WakeOnLan => wake_on_lan(raw, found),
        RawWakeMethod::Command => wake_command(raw, found),
    }
}

fn wake_on_lan(raw: &RawWake, found: &mut Findings) -> Option<Wake> {
    let mut noted = |at: &At, wrong: names::Wrong| found.add_mistake(at, wrong.problem, wrong.hint);
    let broadcast = match raw.broadcast.value().map(|text| names::broadcast(text)) {
        Some(Ok(address)) => address,
        Some(Err(wrong)) => {
            noted(&raw.broadcast.at, wrong);
            return None;
        }
        None => SocketAddr::new(defaults::WAKE_BROADCAST.into(), defaults::WAKE_PORT),
    };
    match raw.mac.value().map(|text| names::mac(text)) {
        Some(Ok(mac)) => Some(Wake::WakeOnLan { mac, broadcast }),
        Some(Err(wrong)) => {
            noted(&raw.mac.at, wrong);
            None
        }
        None => {
            found.mistake_with(&raw.mac.at, "is missing", "wake-on-lan needs the card's MAC address");
            None
        }
    }
}

fn wake_command(raw: &RawWake, found: &mut Findings) -> Option<Wake> {
    let fields = raw.command.value().map(Vec::as_slice).unwrap_or_default();
    let argv: Vec<String> = fields.iter().filter_map(|field| field.value().cloned()).collect();
    match argv.first() {
        None => found.mistake_with(&raw.command.at, "is empty", "write the program and its arguments as a list"),
        Some(program) if !program.starts_with('/') => {
            let problem = format!("{program:?} is not an absolute path");
            found.mistake_with(&fields[0].at, problem, "begin with \"/\": no shell and no PATH is used");
        }
        Some(_) => {}
    }
    Some(Wake::Command { argv })
}

fn upses(raw: &RawConfig, found: &mut Findings) -> BTreeMap<UpsName, Ups> {
    let mut upses = BTreeMap::new();
    let mut first_at: BTreeMap<String, &At> = BTreeMap::new();
    let mut targets: BTreeMap<(String, String, u16), String> = BTreeMap::new();
    for raw_ups in raw.upses.value().into_iter().flatten() {
        let name = checked(&raw_ups.name, names::label, "nameless", found);
        let ups = ups(raw_ups, raw, found);
        if raw_ups.name.value().is_some()
            && let Some(first) = first_at.insert(name.clone(), &raw_ups.name.at)
        {
            let problem = format!("{name:?} is {} already", first.path);
            found.mistake_with(&raw_ups.name.at, problem, "every UPS needs a name of its own");
        }
        let Some(ups) = ups else { continue };
        let target = (ups.nut_name.clone(), ups.host.clone(), ups.port);
        if let Some(first) = targets.insert(target, name.clone()) {
            let problem = format!("is the target of {first:?} already");
            found.mistake_with(&raw_ups.target.at, problem, "one UPS is listed once, however many nodes it feeds");
        }
        upses.insert(UpsName::new(name), ups);
    }
    upses
}

fn ups(raw: &RawUps, config: &RawConfig, found: &mut Findings) -> Option<Ups> {
    let (username, password_file) = (raw.username.value(), raw.password_file.value());
    let is_read = !found.has(&raw.username.at) && !found.has(&raw.password_file.at);
    if is_read && username.is_some() != password_file.is_some() {
        let (at, other) =
            if username.is_some() { (&raw.password_file.at, "username") } else { (&raw.username.at, "password_file") };
        found.mistake_with(at, format!("is missing, but {other} is given"), "give both or none");
    }
    // Read before the target: a mistake in that one hides no other.
    let cut_load = raw.cut_load.value().and_then(|cut| cut_load(cut, raw, found));
    let witness = witness(raw, config, found);
    let ignored_words = ignored_words(&raw.ignore_words, found);
    let recharge = recharge(&raw.recharge_hours, found);
    match names::target(raw.target.value()?) {
        Ok(target) => Some(Ups {
            nut_name: target.ups,
            host: target.host,
            port: target.port,
            username: username.cloned(),
            password_file: password_file.cloned(),
            cut_load,
            witness,
            ignored_words,
            recharge,
        }),
        Err(wrong) => {
            found.add_mistake(&raw.target.at, wrong.problem, wrong.hint);
            None
        }
    }
}

/// Another UPS by its name here, or an address.
fn witness(raw: &RawUps, config: &RawConfig, found: &mut Findings) -> Option<Witness> {
    let text = raw.witness.value()?;
    if ups_names(config).contains(text.as_str()) {
        if raw.name.value() == Some(text) {
            found.mistake_with(
                &raw.witness.at,
                "is this UPS itself",
                "name another UPS, or something that no UPS feeds",
            );
        }
        return Some(Witness::Ups(UpsName::new(text)));
    }
    match names::address(text, defaults::WITNESS_PORT) {
        Ok((host, port)) => Some(Witness::Address { host, port }),
        Err(wrong) => {
            found.add_mistake(&raw.witness.at, wrong.problem, wrong.hint);
            None
        }
    }
}

/// Names witnesses that can witness nothing: what goes for another reason than the mains, or never.
pub(super) fn witnesses(raw: &RawConfig, config: &Config, found: &mut Findings) {
    for raw_ups in raw.upses.value().into_iter().flatten() {
        let Some(name) = raw_ups.name.value().map(UpsName::new) else { continue };
        let Some(ups) = config.upses.get(&name) else { continue };
        let Some(Witness::Address { host, .. }) = &ups.witness else { continue };
        let at = &raw_ups.witness.at;
        let hint = "name something on the network that no UPS feeds, or another UPS";
        if is_local(host) {
            found.mistake_with(at, "is this host, which never goes away", hint);
        } else if host.eq_ignore_ascii_case(&ups.host) {
            found.mistake_with(
                at,
                "is the host of this UPS' upsd: both fall silent together, whatever the mains do",
                hint,
            );
        } else if let Some(node) = config.node_at(host) {
            found.mistake_with(at, format!("is node {node}, which UPSes feed and hecate powers off"), hint);
        }
    }
}

/// Words that only ever say something about the battery. OL, OB and FSD say where the power comes from.
fn ignored_words(list: &Texts, found: &mut Findings) -> BTreeSet<UpsWord> {
    let mut words = BTreeSet::new();
    for field in list.value().into_iter().flatten() {
        let Some(text) = field.value() else { continue };
        let known = UpsWord::ALL.iter().find(|(_, spelling)| spelling.eq_ignore_ascii_case(text));
        match known.map(|(word, _)| *word) {
            Some(UpsWord::Ol | UpsWord::Ob | UpsWord::Fsd) => {
                let hint = "take the whole UPS out of the policy instead: hecate ups ignore NAME --for DURATION";
                found.mistake_with(&field.at, format!("{} cannot be ignored", quoted(text)), hint);
            }
            Some(word) => drop(words.insert(word)),
            None => {
                let hint = did_you_mean(text, UpsWord::ALL.iter().map(|(_, spelling)| *spelling));
                found.add_mistake(&field.at, format!("unknown word {}", quoted(text)), hint);
            }
        }
    }
    words
}

/// Between half a minute, which UPSes with capacitors take (some of them hold a load for minutes), and four days.
fn recharge(field: &Field<f64>, found: &mut Findings) -> std::time::Duration {
    let hours = field.or(defaults::RECHARGE_HOURS);
    if !(0.01..=96.0).contains(&hours) {
        let hint = format!("the default is {}", defaults::RECHARGE_HOURS);
        found.mistake_with(&field.at, format!("must be 0.01 to 96, found {hours}"), hint);
    }
    std::time::Duration::from_secs_f64((hours * 3600.0).clamp(0.0, 400_000.0))
}

fn cut_load(raw: &RawCutLoad, ups: &RawUps, found: &mut Findings) -> Option<CutLoad> {
    if ups.username.value().is_none() && ups.password_file.value().is_none() {
        let hint = "give username and password_file of a user with instcmds in upsd.users";
        found.mistake_with(&ups.cut_load.at, "needs a NUT user", hint);
    }
    let command = match raw.command.value() {
        Some(RawCutCommand::ShutdownReturn) | None => "shutdown.return",
        Some(RawCutCommand::ShutdownRebootGraceful) => "shutdown.reboot.graceful",
    };
    let delay = raw.delay_seconds.value()?.0;
    if delay.is_zero() {
        found.mistake_with(&raw.delay_seconds.at, "must be above 0", "write what upsc says of ups.delay.shutdown");
    }
    Some(CutLoad { command: command.to_owned(), delay })
}

/// A load is cut only where nobody can be hurt by it: what can be seen here is refused here.
fn cuts(raw: &RawConfig, inventory: &Inventory, found: &mut Findings) {
    let own = &inventory.own_host;
    for raw_ups in raw.upses.value().into_iter().flatten() {
        let Some(name) = raw_ups.name.value().map(UpsName::new) else { continue };
        let Some(cut) = inventory.upses.get(&name).and_then(|ups| ups.cut_load.as_ref()) else { continue };
        let Some(raw_cut) = raw_ups.cut_load.value() else { continue };
        for (node, one) in inventory.nodes.iter().filter(|(node, _)| Some(*node) != own.node.as_ref()) {
            if one.feeds.contains(&name) && !(one.power_off && one.is_managed) {
                let problem = format!("\"{name}\" also feeds \"{node}\", which hecate never powers off");
                found.mistake_with(&raw_ups.cut_load.at, problem, "its load would never be cut; remove cut_load");
            }
        }
        if !own.feeds.contains(&name) {
            continue;
        }
        if !own.power_off {
            let problem = format!("\"{name}\" also feeds the hecate host, which is never powered off");
            found.mistake_with(&raw_ups.cut_load.at, problem, "remove cut_load, or set own_host.power_off: true");
        } else if cut.delay <= own.power_off_time {
            let (delay, needed) = (super::show(cut.delay), super::show(own.power_off_time));
            let problem = format!("{delay} is not more than own_host.power_off_seconds ({needed})");
            let hint = "the hecate host would lose its power while it shuts down; raise ups.delay.shutdown and this";
            found.mistake_with(&raw_cut.delay_seconds.at, problem, hint);
        }
    }
}

/// Reads `own_host`; where it is a node the two entries are one host and may not contradict each other.
fn own_host(raw: &RawConfig, nodes: &mut BTreeMap<NodeName, Node>, found: &mut Findings) -> OwnHost {
    let own = &raw.own_host;
    let mut feeds = feeds(&own.feeds, raw, found);
    let mut power_off = own.power_off.or(defaults::OWN_POWER_OFF);
    let mut supplies = None;
    let is_said = own.feeds.value().is_some();
    let name = own.node.value();
    let entry = name.and_then(|name| raw_nodes(raw).iter().find(|node| node.name.value() == Some(name)));
    if let (Some(name), None) = (name, entry) {
        unknown(&own.node.at, "node", name, &node_names(raw), found);
    }
    if let (Some(entry), Some(node)) = (entry, name.and_then(|name| nodes.get_mut(&NodeName::new(name)))) {
        if own.feeds.value().is_none() {
            feeds.clone_from(&node.feeds);
        } else if entry.feeds.value().is_some() && feeds != node.feeds {
            let problem = format!("contradicts {}, which is the same host", entry.feeds.at.path);
            found.mistake_with(&own.feeds.at, problem, "keep one of the two");
        }
        if own.power_off.value().is_none() {
            power_off = entry.power_off.or(power_off);
        } else if entry.power_off.value().is_some_and(|written| *written != power_off) {
            let problem = format!("contradicts {}, which is the same host", entry.power_off.at.path);
            found.mistake_with(&own.power_off.at, problem, "keep one of the two");
        }
        if feeds.is_empty() && !is_said && entry.feeds.value().is_none() {
            feeds = ups_names(raw).into_iter().map(UpsName::new).collect();
        }
        node.feeds.clone_from(&feeds);
        node.power_off = power_off;
        if own.min_supplies.value().is_none() {
            supplies = Some(node.min_supplies.min(feeds.len().max(1)));
        }
    }
    if entry.is_none() && !is_said {
        feeds = ups_names(raw).into_iter().map(UpsName::new).collect();
    }
    OwnHost {
        node: entry.and(name).map(NodeName::new),
        min_supplies: supplies.unwrap_or_else(|| min_supplies(&own.min_supplies, feeds.len(), found)),
        feeds,
        power_off,
        power_off_time: above_zero(&own.power_off_seconds, defaults::OWN_POWER_OFF_TIME, found),
    }
}

/// Checks the keys that name nodes without making anything.
fn references(raw: &RawConfig, found: &mut Findings) {
    let names = node_names(raw);
    for map in [&raw.ssh_node_hosts, &raw.ssh_node_users] {
        for (name, field) in map.value().into_iter().flatten().filter(|(name, _)| !names.contains(name.as_str())) {
            unknown(&field.at, "node", name, &names, found);
        }
    }
    known(&raw.ssh_managed_nodes, "node", &names, found);
    if raw.ssh_managed_nodes.value().is_some_and(Vec::is_empty) {
        let hint = "an empty list means every node; remove it, or name the nodes";
        found.warning(&raw.ssh_managed_nodes.at, "is empty", hint);
    }
}

fn control_planes(raw: &RawConfig, inventory: &Inventory, found: &mut Findings) {
    // Where a role could not be read its own mistake is enough.
    if raw.nodes.value().is_none() || raw_nodes(raw).iter().any(|node| node.role.value().is_none()) {
        return;
    }
    let all: Vec<_> = inventory.nodes.iter().filter(|(_, node)| node.role == Role::ControlPlane).collect();
    let at = &raw.nodes.at;
    if all.is_empty() {
        found.mistake_with(at, "no node is a control plane", "give at least one of them role: control-plane");
        return;
    }
    if all.len() % 2 == 0 {
        let problem = format!("{} control planes survive no more failures than {}", all.len(), all.len() - 1);
        found.warning(
            at,
            problem,
            "embedded etcd wants an odd number; with an external datastore this does not matter",
        );
    }
    if all.iter().all(|(_, node)| !node.is_managed) {
        let hint = "add one to ssh_managed_nodes, or hecate can neither start nor stop the API";
        found.warning(&raw.ssh_managed_nodes.at, "no control plane is managed", hint);
    }
    if all.iter().all(|(name, _)| inventory.ignored.contains(*name)) {
        let hint = "a cluster without one cannot be brought up: take one out";
        found.mistake_with(&raw.ignore_unavailable_nodes.at, "every control plane is listed", hint);
    }
}

fn feeds_of_all(raw: &RawConfig, inventory: &Inventory, found: &mut Findings) {
    if raw.upses.value().is_none_or(Vec::is_empty) {
        let hint = "without one nothing shuts the cluster down when the mains fail";
        found.warning(&raw.upses.at, "no UPS is listed", hint);
        return;
    }
    for node in raw_nodes(raw) {
        let name = node.name.value().map(NodeName::new);
        let is_fed = name.and_then(|name| inventory.nodes.get(&name)).is_none_or(|node| !node.feeds.is_empty());
        if !is_fed {
            found.warning(&node.feeds.at, "no UPS speaks for this node", "list the UPSes that feed it");
        }
    }
    let own = raw.own_host.node.value().map(NodeName::new);
    let has_node_feeds = raw_nodes(raw)
        .iter()
        .any(|node| node.name.value().map(NodeName::new) == own && own.is_some() && node.feeds.value().is_some());
    if raw.own_host.feeds.value().is_none() && !has_node_feeds {
        let hint = "list the UPSes that feed the host hecate runs on; write [] where it has mains without a UPS";
        found.warning(&raw.own_host.feeds.at, "is not said: every UPS counts as a feed of hecate's own host", hint);
    }
    for ups in raw.upses.value().into_iter().flatten() {
        let Some(name) = ups.name.value().map(UpsName::new) else { continue };
        let feeds_any = inventory.nodes.values().any(|node| node.feeds.contains(&name));
        if !feeds_any && !inventory.own_host.feeds.contains(&name) {
            let problem = format!("\"{name}\" feeds nothing, so it speaks for the whole cluster");
            found.warning(&ups.name.at, problem, "list it under the feeds of what it feeds, or leave it out");
        }
    }
}

/// Reads the `ssh_*` keys that are not about one node.
pub(super) fn ssh(raw: &RawConfig, state_dir: &Path, found: &mut Findings) -> Ssh {
    let user = checked(&raw.ssh_user, names::login, defaults::SSH_USER, found);
    let jump_host = raw.ssh_jump_host.value().map(|_| checked(&raw.ssh_jump_host, names::host, "", found));
    let jump_user = checked(&raw.ssh_jump_user, names::login, &user, found);
    if jump_host.is_none() {
        for (at, is_written) in [
            (&raw.ssh_jump_user.at, raw.ssh_jump_user.value().is_some()),
            (&raw.ssh_jump_port.at, raw.ssh_jump_port.value().is_some()),
        ] {
            if is_written {
                found.warning(at, "has no effect", "it only counts together with ssh_jump_host");
            }
        }
    }
    Ssh {
        jump_user: jump_host.is_some().then_some(jump_user),
        jump_host,
        jump_port: raw.ssh_jump_port.or(defaults::SSH_PORT),
        config_file: raw.ssh_config_file.value().cloned(),
        identity_file: raw.ssh_identity_file.value().cloned(),
        known_hosts_file: raw.ssh_known_hosts_file.or(state_dir.join(defaults::KNOWN_HOSTS_NAME)),
        connect_timeout: above_zero(&raw.ssh_connect_timeout_seconds, defaults::SSH_CONNECT_TIMEOUT, found),
        command_timeout: above_zero(&raw.ssh_command_timeout_seconds, defaults::SSH_COMMAND_TIMEOUT, found),
    }
}

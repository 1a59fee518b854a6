//! The ssh_config(5) that hecate generates, so that its rules hold for nodes and jump host alike.
//!
//! Pure. ssh takes the first value it meets for each option: what safety rests on (host key, address, no forwarding, no
//! prompts) therefore stands before the operator's file, which may add the rest (ciphers, proxies, agents).

#![deny(clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::SshError;
use crate::config::{self, Config, Node, Peer};
use crate::model::{NodeName, Role};

/// How a node is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Through `ssh_jump_host`.
    Jump,
    /// As if no jump host were configured; the operator's own proxy options count.
    Direct,
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Route::Jump => "through the jump host",
            Route::Direct => "directly",
        })
    }
}

impl Route {
    /// The name of this route's file. One file a route and not one alias a route: the alias stays the node's name, so
    /// that a `Host` block of the operator's file fits on either.
    pub(super) fn file_name(self) -> &'static str {
        match self {
            Route::Jump => "config-jump",
            Route::Direct => "config",
        }
    }
}

/// Where host keys are looked up, and what happens to a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostKeys<'a> {
    /// Only enrolled ones.
    Enrolled,
    /// `hecate enroll`: one node's key goes into an empty file of its own, the jump host's beside the known ones.
    Accept {
        /// The node that is enrolled.
        node: &'a NodeName,
        /// Takes the node's key.
        node_file: &'a Path,
        /// Takes the jump host's key if it was not known.
        jump_file: &'a Path,
    },
}

/// Who is reached, and how: the part of the configuration that ssh needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inventory<'a> {
    pub(super) runtime_dir: &'a Path,
    pub(super) ssh: &'a config::Ssh,
    /// By the name of the session: nodes under their own, other hecate hosts under [`peer_session`]'s.
    pub(super) nodes: &'a BTreeMap<NodeName, Node>,
}

impl<'a> Inventory<'a> {
    pub(super) fn of(config: &'a Config, hosts: &'a BTreeMap<NodeName, Node>) -> Self {
        Self { runtime_dir: &config.runtime_dir, ssh: &config.ssh, nodes: hosts }
    }
}

/// Everybody who is reached over SSH: the nodes, and the other hecate hosts beside them.
pub(super) fn hosts(config: &Config) -> BTreeMap<NodeName, Node> {
    let peer = |peer: &Peer| Node {
        // Neither matters for a way to a host.
        role: Role::Worker,
        feeds: BTreeSet::new(),
        min_supplies: 1,
        wake: None,
        power_off: false,
        host: peer.host.clone(),
        user: peer.user.clone(),
        port: peer.port,
        is_managed: true,
    };
    let peers = config.coordination.peer_hosts.iter().map(|one| (peer_session(one), peer(one)));
    config.nodes.clone().into_iter().chain(peers).collect()
}

/// The beginning of every peer's session name. No node's name has it: those are DNS names.
const PEER_PREFIX: &str = "peer_";

/// The name under which a peer's session is kept.
pub fn peer_session(peer: &Peer) -> NodeName {
    NodeName::new(format!("{PEER_PREFIX}{}", peer.name.as_str().replace(['@', '%'], "_")))
}

/// The name under which a host's key is known: a node's is its name; a peer's that of the node which is the same host,
/// else its address.
pub(super) fn key_alias<'a>(inventory: &Inventory<'a>, name: &'a NodeName, node: &'a Node) -> &'a str {
    if !name.as_str().starts_with(PEER_PREFIX) {
        return name.as_str();
    }
    let is_same = |other: &NodeName, one: &Node| {
        !other.as_str().starts_with(PEER_PREFIX) && (other.as_str() == node.host || one.host == node.host)
    };
    let same = inventory.nodes.iter().find(|(other, one)| is_same(other, one));
    same.map_or(node.host.as_str(), |(other, _)| other.as_str())
}

/// The keepalive: a peer that answers nothing for three of them is gone, and so is the session.
const SERVER_ALIVE_INTERVAL_SECONDS: u64 = 5;
const SERVER_ALIVE_COUNT_MAX: u64 = 3;

/// Whether a node can be reached through the jump host: there is one, and it is not the node itself.
pub(super) fn has_jump(inventory: &Inventory<'_>, name: &NodeName, node: &Node) -> bool {
    inventory.ssh.jump_host.as_ref().is_some_and(|jump| jump != name.as_str() && *jump != node.host)
}

/// The name under which the jump host's key is known: the node's where the jump host is a node itself.
fn jump_key_alias<'a>(inventory: &Inventory<'a>, jump: &'a str) -> &'a str {
    inventory
        .nodes
        .iter()
        .find(|(name, node)| name.as_str() == jump || node.host == jump)
        .map_or(jump, |(name, node)| key_alias(inventory, name, node))
}

/// Writes the file for one route. `folder` is where the generated files and ssh's notes on the jump host stand.
pub(super) fn render(
    inventory: &Inventory<'_>,
    folder: &Path,
    route: Route,
    keys: HostKeys<'_>,
) -> Result<String, SshError> {
    let mut text = String::from(
        "# Generated by hecate; changes are lost. The first value of an option wins (ssh_config(5)).\n\
         IgnoreUnknown KnownHostsCommand,EnableEscapeCommandline\n",
    );
    for (name, node) in inventory.nodes.iter() {
        push_node(&mut text, inventory, folder, route, keys, name, node)?;
    }
    push_jump(&mut text, inventory, keys)?;
    push_common(&mut text, inventory)?;
    if let Some(operators) = &inventory.ssh.config_file {
        let include = escape_glob(&plain_path(operators)?);
        text.push_str(&format!("\nMatch all\n  Include \"{include}\"\n"));
    }
    Ok(text)
}

fn push_node(
    text: &mut String,
    inventory: &Inventory<'_>,
    folder: &Path,
    route: Route,
    keys: HostKeys<'_>,
    name: &NodeName,
    node: &Node,
) -> Result<(), SshError> {
    text.push_str(&format!("\nHost {}\n", plain_word(name.as_str(), "node name")?));
    // The % of an IPv6 zone (`fe80::1%eth0`) is not a token.
    plain_word(&node.host.replace('%', ""), "host")?;
    text.push_str(&format!("  HostName {}\n", node.host.replace('%', "%%")));
    text.push_str(&format!("  User {}\n  Port {}\n", plain_word(&node.user, "user")?, node.port));
    // The node's identity: its key is looked up under its name, whatever its address; files of the machine do not count.
    let alias = key_alias(inventory, name, node).replace('%', "%%");
    text.push_str(&format!("  HostKeyAlias {alias}\n  GlobalKnownHostsFile /dev/null\n"));
    match keys {
        HostKeys::Accept { node, node_file, .. } if node == name => {
            text.push_str(&format!("  UserKnownHostsFile \"{}\"\n", plain_path(node_file)?));
            text.push_str("  StrictHostKeyChecking accept-new\n");
        }
        HostKeys::Enrolled | HostKeys::Accept { .. } => push_known_hosts(text, inventory, keys)?,
    }
    if let (Route::Jump, true, Some(jump)) = (route, has_jump(inventory, name, node), &inventory.ssh.jump_host) {
        let folder = plain_path(folder)?;
        // What ProxyJump would do, but with a note of its own: ssh sends a proxy's stderr to /dev/null.
        text.push_str(&format!(
            "  ProxyCommand ssh -F '{folder}/{direct}' -E '{folder}/jump-{name}.log' -W '[%h]:%p' '{jump}'\n",
            direct = Route::Direct.file_name(),
            jump = plain_word(jump, "jump host")?,
        ));
        // The proxy gives up first and leaves its reason; the rest is for the second login.
        text.push_str(&format!(
            "  ConnectTimeout {}\n",
            whole_seconds(jump_connect_timeout(inventory.ssh.connect_timeout))
        ));
    }
    Ok(())
}

fn push_jump(text: &mut String, inventory: &Inventory<'_>, keys: HostKeys<'_>) -> Result<(), SshError> {
    let Some(jump) = &inventory.ssh.jump_host else { return Ok(()) };
    if inventory.nodes.keys().any(|name| name.as_str() == jump) {
        // It has a block of its own, as a node.
        return Ok(());
    }
    text.push_str(&format!("\nHost {}\n", plain_word(jump, "jump host")?));
    if let Some(user) = &inventory.ssh.jump_user {
        text.push_str(&format!("  User {}\n", plain_word(user, "jump user")?));
    }
    text.push_str(&format!("  Port {}\n  HostKeyAlias {}\n", inventory.ssh.jump_port, jump_key_alias(inventory, jump)));
    push_known_hosts(text, inventory, keys)
}

/// The known keys; at an enrolment a jump host (which may be a node) that is met for the first time is taken note of.
fn push_known_hosts(text: &mut String, inventory: &Inventory<'_>, keys: HostKeys<'_>) -> Result<(), SshError> {
    let known_hosts = plain_path(&inventory.ssh.known_hosts_file)?;
    match keys {
        HostKeys::Enrolled => text.push_str(&format!("  UserKnownHostsFile \"{known_hosts}\"\n")),
        HostKeys::Accept { jump_file, .. } => text.push_str(&format!(
            "  UserKnownHostsFile \"{}\" \"{known_hosts}\"\n  StrictHostKeyChecking accept-new\n",
            plain_path(jump_file)?
        )),
    }
    Ok(())
}

/// What holds for every host that ssh meets on the way, the operator's own proxies included.
fn push_common(text: &mut String, inventory: &Inventory<'_>) -> Result<(), SshError> {
    text.push_str("\nHost *\n  StrictHostKeyChecking yes\n");
    text.push_str(
        "  UpdateHostKeys no\n  VerifyHostKeyDNS no\n  KnownHostsCommand none\n  NoHostAuthenticationForLocalhost no\n  \
         CheckHostIP no\n  HashKnownHosts no\n  CanonicalizeHostname no\n",
    );
    // Nothing asks a person, nothing is forwarded, nothing else is run on either side.
    text.push_str(
        "  BatchMode yes\n  NumberOfPasswordPrompts 0\n  RequestTTY no\n  RemoteCommand none\n  PermitLocalCommand no\n  \
         ForwardAgent no\n  ForwardX11 no\n  ClearAllForwardings yes\n  Tunnel no\n  AddKeysToAgent no\n",
    );
    // The kept sessions are made with -M and -S; nothing on the way may share somebody else's.
    text.push_str("  ControlMaster no\n  ControlPath none\n  ControlPersist no\n");
    text.push_str(&format!(
        "  ConnectTimeout {}\n  ConnectionAttempts 1\n  ServerAliveInterval {SERVER_ALIVE_INTERVAL_SECONDS}\n  \
         ServerAliveCountMax {SERVER_ALIVE_COUNT_MAX}\n  TCPKeepAlive yes\n  LogLevel INFO\n",
        whole_seconds(inventory.ssh.connect_timeout),
    ));
    if let Some(identity) = &inventory.ssh.identity_file {
        text.push_str(&format!("  IdentityFile \"{}\"\n  IdentitiesOnly yes\n", plain_path(identity)?));
    }
    Ok(())
}

/// How long a connect through the jump host may take: two logins, of which the first has the usual limit.
pub(super) fn jump_connect_timeout(connect_timeout: Duration) -> Duration {
    connect_timeout * 3 / 2 + Duration::from_secs(1)
}

/// ssh counts whole seconds; zero would mean "no limit of its own".
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs_f64().ceil().clamp(1.0, 3600.0) as u64
}

/// A name, address or login as it may stand in an ssh_config and in a ProxyCommand, which a shell reads.
fn plain_word<'a>(word: &'a str, what: &'static str) -> Result<&'a str, SshError> {
    let is_plain = word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-'));
    if word.is_empty() || word.starts_with('-') || !is_plain {
        return Err(SshError::Settings { problem: format!("{what} {word:?} has characters that ssh cannot take") });
    }
    Ok(word)
}

/// A path as it may stand between double quotes in an ssh_config.
fn plain_path(path: &Path) -> Result<String, SshError> {
    let refuse = || SshError::Settings { problem: format!("path {path:?} must be absolute and free of quotes and $") };
    let text = path.to_str().ok_or_else(refuse)?;
    if !path.is_absolute() || text.chars().any(|c| c.is_control() || matches!(c, '"' | '\'' | '\\' | '$')) {
        return Err(refuse());
    }
    // ssh expands %h and the like in paths.
    Ok(text.replace('%', "%%"))
}

/// `Include` takes glob(7) patterns and no % tokens.
fn escape_glob(path: &str) -> String {
    let mut escaped = String::new();
    for character in path.replace("%%", "%").chars() {
        match character {
            '*' | '?' | '[' => escaped.extend(['[', character, ']']),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests ask ssh itself what it makes of the file")]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn node(host: &str) -> Node {
        Node {
            role: Role::ControlPlane,
            host: host.to_owned(),
            user: "hecate".to_owned(),
            port: 2222,
            feeds: BTreeSet::new(),
            min_supplies: 1,
            wake: None,
            power_off: true,
            is_managed: true,
        }
    }

    fn ssh() -> config::Ssh {
        config::Ssh {
            jump_host: Some("bastion".to_owned()),
            jump_user: Some("jumper".to_owned()),
            jump_port: 2200,
            config_file: None,
            identity_file: Some(PathBuf::from("/etc/hecate/id ed25519")),
            known_hosts_file: PathBuf::from("/var/lib/hecate/known_hosts"),
            connect_timeout: Duration::from_millis(4500),
            command_timeout: Duration::from_secs(10),
        }
    }

    struct Site {
        ssh: config::Ssh,
        nodes: BTreeMap<NodeName, Node>,
        folder: tempfile::TempDir,
    }

    fn site() -> Site {
        let nodes = BTreeMap::from([("cp-1".into(), node("10.0.0.1")), ("cp-2".into(), node("10.0.0.2"))]);
        Site { ssh: ssh(), nodes, folder: tempfile::tempdir().unwrap() }
    }

    impl Site {
        fn render(&self, route: Route, keys: HostKeys<'_>) -> Result<String, SshError> {
            let inventory = Inventory { runtime_dir: self.folder.path(), ssh: &self.ssh, nodes: &self.nodes };
            render(&inventory, self.folder.path(), route, keys)
        }

        /// What ssh itself makes of the file for one host: `ssh -G` prints every option and connects to nothing.
        fn understood(&self, route: Route, keys: HostKeys<'_>, host: &str) -> BTreeMap<String, String> {
            let path = self.folder.path().join(route.file_name());
            std::fs::write(&path, self.render(route, keys).unwrap()).unwrap();
            let output = std::process::Command::new("ssh").arg("-G").arg("-F").arg(&path).arg(host).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && said.is_empty(), "{said}");
            let text = String::from_utf8(output.stdout).unwrap();
            let pairs = text.lines().filter_map(|line| line.split_once(' '));
            pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
        }
    }

    #[test]
    fn ssh_understands_a_node_as_it_was_meant() {
        let site = site();
        let direct = site.understood(Route::Direct, HostKeys::Enrolled, "cp-1");
        for (key, value) in [
            ("hostname", "10.0.0.1"),
            ("user", "hecate"),
            ("port", "2222"),
            ("hostkeyalias", "cp-1"),
            ("stricthostkeychecking", "true"),
            ("userknownhostsfile", "/var/lib/hecate/known_hosts"),
            ("globalknownhostsfile", "/dev/null"),
            ("batchmode", "yes"),
            ("identitiesonly", "yes"),
            ("identityfile", "/etc/hecate/id ed25519"),
            ("connecttimeout", "5"),
            ("updatehostkeys", "false"),
            ("forwardagent", "no"),
        ] {
            assert_eq!(direct.get(key).map(String::as_str), Some(value), "{key}");
        }
        assert_eq!(direct.get("proxycommand"), None);
    }

    #[test]
    fn the_way_through_the_jump_host_obeys_the_same_rules() {
        let site = site();
        let node = site.understood(Route::Jump, HostKeys::Enrolled, "cp-2");
        let proxy = &node["proxycommand"];
        assert!(proxy.ends_with("-W '[%h]:%p' 'bastion'"), "{proxy}");
        let jump = site.understood(Route::Direct, HostKeys::Enrolled, "bastion");
        assert_eq!(jump["user"], "jumper");
        assert_eq!(jump["port"], "2200");
        assert_eq!(jump["hostkeyalias"], "bastion");
        assert_eq!(jump["stricthostkeychecking"], "true");
        assert_eq!(jump["userknownhostsfile"], "/var/lib/hecate/known_hosts");
        assert_eq!(jump["connecttimeout"], "5");
    }

    #[test]
    fn the_operators_file_may_add_but_not_weaken() {
        let mut site = site();
        let operators = site.folder.path().join("operators [1]");
        let text = "Host cp-1\n StrictHostKeyChecking no\n HostKeyAlias other\n UserKnownHostsFile /dev/null\n HostName 10.9.9.9\n \
                    BatchMode no\n ForwardAgent yes\n ProxyJump far\n Compression yes\nHost bastion\n HostName 192.0.2.7\n";
        std::fs::write(&operators, text).unwrap();
        site.ssh.config_file = Some(operators);
        let direct = site.understood(Route::Direct, HostKeys::Enrolled, "cp-1");
        assert_eq!(direct["stricthostkeychecking"], "true");
        assert_eq!(direct["hostkeyalias"], "cp-1");
        assert_eq!(direct["hostname"], "10.0.0.1");
        assert_eq!(direct["userknownhostsfile"], "/var/lib/hecate/known_hosts");
        assert_eq!(direct["batchmode"], "yes");
        assert_eq!(direct["forwardagent"], "no");
        assert_eq!(direct["compression"], "yes");
        assert_eq!(direct["proxyjump"], "far");
        let jumped = site.understood(Route::Jump, HostKeys::Enrolled, "cp-1");
        assert_eq!(jumped.get("proxyjump"), None);
        let jump = site.understood(Route::Direct, HostKeys::Enrolled, "bastion");
        assert_eq!(jump["hostname"], "192.0.2.7");
    }

    #[test]
    fn a_node_that_is_the_jump_host_is_reached_directly() {
        let mut site = site();
        site.ssh.jump_host = Some("10.0.0.1".to_owned());
        assert!(!site.understood(Route::Jump, HostKeys::Enrolled, "cp-1").contains_key("proxycommand"));
        assert!(site.understood(Route::Jump, HostKeys::Enrolled, "cp-2").contains_key("proxycommand"));
        // Its key is the one that was enrolled for it as a node.
        assert_eq!(site.understood(Route::Direct, HostKeys::Enrolled, "10.0.0.1")["hostkeyalias"], "cp-1");
    }

    #[test]
    fn an_enrolment_accepts_the_named_nodes_key_into_its_own_file_only() {
        let site = site();
        let (node_file, jump_file) = (site.folder.path().join("node-keys"), site.folder.path().join("jump-keys"));
        let cp_1 = "cp-1".into();
        let keys = HostKeys::Accept { node: &cp_1, node_file: &node_file, jump_file: &jump_file };
        let node = site.understood(Route::Direct, keys, "cp-1");
        assert_eq!(node["stricthostkeychecking"], "accept-new");
        assert_eq!(node["userknownhostsfile"], node_file.to_str().unwrap());
        let jump = site.understood(Route::Direct, keys, "bastion");
        assert_eq!(jump["userknownhostsfile"], format!("{} /var/lib/hecate/known_hosts", jump_file.display()));
        assert_eq!(site.understood(Route::Direct, keys, "elsewhere")["stricthostkeychecking"], "true");
    }

    #[test]
    fn what_could_break_out_of_the_file_is_refused() {
        for bad in ["", "-oProxyCommand=x", "a b", "a\nProxyCommand x", "a'b", "$(x)", "a;b"] {
            let mut one = site();
            one.nodes.insert("cp-3".into(), node(bad));
            assert!(one.render(Route::Jump, HostKeys::Enrolled).is_err(), "host {bad:?}");
            let mut two = site();
            two.ssh.jump_host = Some(bad.to_owned());
            assert!(two.render(Route::Jump, HostKeys::Enrolled).is_err(), "jump host {bad:?}");
        }
        for bad in ["relative", "/a\"b", "/a\nb", "/${HOME}/x"] {
            let mut site = site();
            site.ssh.identity_file = Some(PathBuf::from(bad));
            assert!(site.render(Route::Direct, HostKeys::Enrolled).is_err(), "path {bad:?}");
        }
    }

    #[test]
    fn another_hecate_host_has_the_key_of_the_node_that_it_is_or_one_under_its_address() {
        let mut site = site();
        for (name, host, alias) in
            [("tethys@10.0.0.2", "10.0.0.2", "cp-2"), ("tethys@db.example.org", "db.example.org", "db.example.org")]
        {
            let peer = Peer { name: name.into(), host: host.to_owned(), user: "tethys".to_owned(), port: 22 };
            let session = peer_session(&peer);
            site.nodes.insert(session.clone(), Node { user: peer.user.clone(), port: peer.port, ..node(host) });
            let direct = site.understood(Route::Direct, HostKeys::Enrolled, session.as_str());
            assert_eq!((direct["hostname"].as_str(), direct["user"].as_str()), (host, "tethys"));
            assert_eq!(direct["hostkeyalias"], alias);
            assert_eq!(direct["stricthostkeychecking"], "true");
        }
    }

    #[test]
    fn an_address_with_a_zone_keeps_it() {
        let mut site = site();
        site.nodes.insert("cp-1".into(), node("fe80::1%eth0"));
        assert_eq!(site.understood(Route::Direct, HostKeys::Enrolled, "cp-1")["hostname"], "fe80::1%eth0");
    }
}

//! The texts that are names and addresses: nodes, UPSes, hosts, logins, MACs.
//!
//! Pure. Many of them end up on ssh's command line or in a generated ssh_config(5), so what is let through here is
//! what is known to be harmless there. Must never resolve a name.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::super::defaults;
use super::super::tree::quoted;

/// Why a text is not the name or address it should be, and what to do.
pub(super) struct Wrong {
    pub(super) problem: String,
    pub(super) hint: Option<String>,
}

/// What a check says.
pub(super) type Checked<T> = Result<T, Wrong>;

fn wrong<T>(problem: impl Into<String>, hint: &str) -> Checked<T> {
    Err(Wrong { problem: problem.into(), hint: Some(hint.to_owned()) })
}

/// A name as Kubernetes wants it for nodes: an RFC 1123 subdomain.
pub(super) fn subdomain(text: &str) -> Checked<String> {
    let is_name = text.len() <= 253 && text.split('.').all(is_label);
    if is_name { Ok(text.to_owned()) } else { not_a_name(text) }
}

/// A name as Kubernetes wants it for namespaces: an RFC 1123 label.
pub(super) fn label(text: &str) -> Checked<String> {
    if is_label(text) { Ok(text.to_owned()) } else { not_a_name(text) }
}

fn is_label(text: &str) -> bool {
    let is_inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len()) && text.chars().all(is_inside) && !text.starts_with('-') && !text.ends_with('-')
}

fn not_a_name<T>(text: &str) -> Checked<T> {
    let lower = text.to_lowercase();
    if lower != text && lower.split('.').all(is_label) {
        return wrong(format!("{} is not a name: it has capital letters", quoted(text)), &format!("write {lower:?}"));
    }
    wrong(
        format!("{} is not a name", quoted(text)),
        "use lower-case letters, digits and \"-\", beginning and ending with a letter or digit",
    )
}

/// A host's name or IP address, without login or port.
pub(super) fn host(text: &str) -> Checked<String> {
    if text.contains('@') {
        return wrong(format!("{} holds a login", quoted(text)), "write the login under its own key");
    }
    if text.parse::<IpAddr>().is_ok() {
        return Ok(text.to_owned());
    }
    if text.contains(':') {
        return wrong(format!("{} holds a port", quoted(text)), "write the port under its own key");
    }
    let is_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    // A dotted number that is no address would be looked up as a name.
    let is_number = text.split('.').all(|part| part.chars().all(|c| c.is_ascii_digit()));
    if text.is_empty() || text.len() > 253 || !text.chars().all(is_host) || text.starts_with('-') || is_number {
        return wrong(format!("{} is not a host name or address", quoted(text)), "write a name or an IP address");
    }
    Ok(text.to_owned())
}

/// A login on a Linux host.
pub(super) fn login(text: &str) -> Checked<String> {
    let is_inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_login = (1..=64).contains(&text.len()) && text.chars().all(is_inside) && !text.starts_with('-');
    if is_login { Ok(text.to_owned()) } else { wrong(format!("{} is not a login", quoted(text)), "write a user name") }
}

/// `host` or `user@host`.
pub(super) fn login_at_host(text: &str) -> Checked<String> {
    if let Some((user, at)) = text.split_once('@') {
        login(user)?;
        host(at)?;
    } else {
        host(text)?;
    }
    Ok(text.to_owned())
}

/// A NUT target.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) ups: String,
    pub(super) host: String,
    pub(super) port: u16,
}

/// `ups@host` or `ups@host:port`, as upsc(8) takes it.
pub(super) fn target(text: &str) -> Checked<Target> {
    let no_target = |why: &str| Wrong {
        problem: format!("{} is not a NUT target: {why}", quoted(text)),
        hint: Some("write UPS@HOST or UPS@HOST:PORT, for example pyrphoros@localhost".to_owned()),
    };
    let Some((ups, address)) = text.split_once('@') else { return Err(no_target("it has no \"@\"")) };
    let is_inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if ups.is_empty() || ups.len() > 63 || !ups.chars().all(is_inside) {
        return Err(no_target("the part before \"@\" is not a UPS name"));
    }
    let (name, port) = split_port(address).map_err(|()| no_target("the port is not 1 to 65535"))?;
    let host = host(name).map_err(|_| no_target("the part after \"@\" is not a host"))?;
    Ok(Target { ups: ups.to_owned(), host, port: port.unwrap_or(defaults::NUT_PORT) })
}

/// HOST or HOST:PORT.
pub(super) fn address(text: &str, port: u16) -> Checked<(String, u16)> {
    let hint = "write HOST or HOST:PORT";
    let Ok((name, written)) = split_port(text) else {
        return wrong(format!("{} has a port that is not 1 to 65535", quoted(text)), hint);
    };
    Ok((host(name)?, written.unwrap_or(port)))
}

/// Splits `host:port`, `[v6]:port`, `host` and a bare IPv6 address.
fn split_port(text: &str) -> Result<(&str, Option<u16>), ()> {
    if text.parse::<IpAddr>().is_ok() {
        return Ok((text, None));
    }
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or(())?)),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map(|port| port.parse().ok().filter(|port| *port > 0).ok_or(())).transpose()?;
    Ok((host, port))
}

/// A network card's address: six octets, `:` or `-` between them.
pub(super) fn mac(text: &str) -> Checked<[u8; 6]> {
    let no_mac = || wrong(format!("{} is not a MAC address", quoted(text)), "write six pairs like 2c:cf:67:00:11:22");
    let parts: Vec<&str> = text.split([':', '-']).collect();
    let octets: Option<Vec<u8>> = parts
        .iter()
        .map(|part| {
            let is_pair = part.len() == 2 && part.chars().all(|c| c.is_ascii_hexdigit());
            is_pair.then(|| u8::from_str_radix(part, 16).ok()).flatten()
        })
        .collect();
    match octets.and_then(|octets| <[u8; 6]>::try_from(octets).ok()) {
        None => no_mac(),
        Some(octets) if octets[0] & 1 == 1 || octets == [0; 6] => {
            wrong(format!("{} is no single card's address", quoted(text)), "look it up with: ip link")
        }
        Some(octets) => Ok(octets),
    }
}

/// Where magic packets go: an IP address, with a port where it is not 9.
pub(super) fn broadcast(text: &str) -> Checked<SocketAddr> {
    let address = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, defaults::WAKE_PORT));
    match address.or_else(|_| text.parse::<SocketAddr>()) {
        Ok(address) if address.port() > 0 => Ok(address),
        Ok(_) | Err(_) => wrong(
            format!("{} is not an address for magic packets", quoted(text)),
            "write the segment's broadcast address, for example 192.168.1.255",
        ),
    }
}

/// Where metrics are served: `:PORT`, `IP:PORT`, or `off`.
pub(super) fn listen(text: &str) -> Checked<Option<SocketAddr>> {
    if text == "off" {
        return Ok(None);
    }
    let address = match text.strip_prefix(':') {
        // IPv4, because `[::]` cannot be bound where the kernel has no IPv6.
        Some(port) => port.parse().ok().map(|port| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)),
        None => text.parse().ok(),
    };
    match address.filter(|address| address.port() > 0) {
        Some(address) => Ok(Some(address)),
        None => wrong(
            format!("{} is not an address to listen on", quoted(text)),
            "write \":9560\", an IP address with a port, or off",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_kubernetes_takes() {
        for good in ["titan-0a", "n1", "pi.lan", "0"] {
            assert!(subdomain(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "Titan", "a_b", "a..b", "a b", "ä", &"x".repeat(64)] {
            assert!(subdomain(bad).is_err(), "{bad}");
        }
        assert!(label("a.b").is_err());
    }

    #[test]
    fn nothing_that_ssh_takes_for_an_option_is_a_host_or_a_login() {
        for bad in ["-oProxyCommand=id", "a b", "a\"b", "a;b", "$(id)", "", "a@b", "h:22", "1.2.3", "%h"] {
            assert!(host(bad).is_err(), "{bad}");
        }
        for bad in ["-l", "a b", "", "root;", "a@b"] {
            assert!(login(bad).is_err(), "{bad}");
        }
        for good in ["192.168.1.2", "fd00::1", "titan-db", "titan_db.lan"] {
            assert!(host(good).is_ok(), "{good}");
        }
        assert!(login_at_host("atlas@titan-db").is_ok() && login_at_host("@h").is_err());
    }

    #[test]
    fn targets_are_what_upsc_takes() {
        let text = |text| target(text).ok().map(|target| (target.ups, target.host, target.port));
        let some = |ups: &str, host: &str, port| Some((ups.to_owned(), host.to_owned(), port));
        assert_eq!(text("pyrphoros@localhost"), some("pyrphoros", "localhost", 3493));
        assert_eq!(text("s@10.0.0.2:3500"), some("s", "10.0.0.2", 3500));
        assert_eq!(text("s@[fd00::1]:3500"), some("s", "fd00::1", 3500));
        assert_eq!(text("s@[fd00::1]"), some("s", "fd00::1", 3493));
        assert_eq!(text("s@fd00::1"), some("s", "fd00::1", 3493));
        for bad in ["s", "@h", "s@", "s@h:0", "s@h:70000", "s@h:x", "s@[::1]x", "a b@h", "s@h@i"] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mac_has_six_pairs_and_names_one_card() {
        assert_eq!(mac("2C-cf:67:00:11:22").ok(), Some([0x2c, 0xcf, 0x67, 0, 0x11, 0x22]));
        for bad in ["", "2c:cf:67:00:11", "2c:cf:67:00:11:2", "2c:cf:67:00:11:+2", "ff:ff:ff:ff:ff:ff", "0:0:0:0:0:0"] {
            assert!(mac(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn metrics_listen_where_they_are_told() {
        assert_eq!(listen(":9560").ok().flatten(), Some(SocketAddr::from(([0, 0, 0, 0], 9560))));
        assert_eq!(listen("[::]:9560").ok().flatten().map(|address| address.is_ipv6()), Some(true));
        assert_eq!(listen("off").ok(), Some(None));
        for bad in ["9560", ":0", "localhost:9560", ":70000", ""] {
            assert!(listen(bad).is_err(), "{bad}");
        }
    }
}

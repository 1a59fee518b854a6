//! Editing the text of a known_hosts file (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").
//!
//! Pure. Only what names the one host changes; comments, marks (`@cert-authority`), patterns and hashed lines stay.

#![deny(clippy::disallowed_methods)]

/// Takes `host` out of every plain line; lines that name others as well keep those.
pub(super) fn forget(text: &str, host: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for line in text.lines() {
        if let Some(line) = forget_in_line(line, host) {
            kept.push_str(&line);
            kept.push('\n');
        }
    }
    kept
}

fn forget_in_line(line: &str, host: &str) -> Option<String> {
    let Some((names, rest)) = line.trim_start().split_once([' ', '\t']) else { return Some(line.to_owned()) };
    if names.starts_with(['#', '@', '|']) || !names.split(',').any(|name| name == host) {
        return Some(line.to_owned());
    }
    let others: Vec<&str> = names.split(',').filter(|name| *name != host).collect();
    (!others.is_empty()).then(|| format!("{} {rest}", others.join(",")))
}

/// The key lines that name `host`, in order.
pub(super) fn keys_of<'a>(text: &'a str, host: &str) -> Vec<&'a str> {
    text.lines()
        .filter(|line| !line.starts_with(['#', '@', '|']))
        .filter(|line| line.split_whitespace().next().is_some_and(|names| names.split(',').any(|name| name == host)))
        .collect()
}

/// Puts lines at the end, on lines of their own.
pub(super) fn append(text: &str, lines: &[&str]) -> String {
    let mut whole = text.to_owned();
    if !whole.is_empty() && !whole.ends_with('\n') {
        whole.push('\n');
    }
    for line in lines {
        whole.push_str(line.trim_end());
        whole.push('\n');
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# kept by the admin
cp-1 ssh-ed25519 AAAAold
cp-1,10.0.0.1 ecdsa-sha2-nistp256 AAAAshared
cp-10 ssh-ed25519 AAAAten
@cert-authority cp-1,* ssh-ed25519 AAAAca
|1|salt=|hash= ssh-ed25519 AAAAhashed
";

    #[test]
    fn only_the_named_host_is_forgotten() {
        let expected = FILE.replace("cp-1 ssh-ed25519 AAAAold\n", "").replace("cp-1,10.0.0.1 ", "10.0.0.1 ");
        assert_eq!(forget(FILE, "cp-1"), expected);
        assert_eq!(forget(FILE, "cp-2"), FILE);
    }

    #[test]
    fn an_appended_key_stands_on_a_line_of_its_own() {
        assert_eq!(append("a k 1", &["b k 2\n"]), "a k 1\nb k 2\n");
        assert_eq!(append("", &["b k 2"]), "b k 2\n");
    }

    #[test]
    fn the_keys_of_a_host_are_found_under_its_exact_name() {
        assert_eq!(keys_of(FILE, "cp-10"), ["cp-10 ssh-ed25519 AAAAten"]);
        assert_eq!(keys_of(FILE, "cp-1").len(), 2);
    }
}

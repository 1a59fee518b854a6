//! What ssh's own words mean: the text it leaves when it cannot connect, as a [`FailureKind`] and one line for people.
//!
//! Pure. ssh has no codes, only English sentences on stderr; the ones below are those of OpenSSH 8.4 to 10.

#![deny(clippy::disallowed_methods)]

use crate::model::FailureKind;

/// Sentences and their meaning, the most telling first: a refused host key is followed by other complaints.
const SENTENCES: &[(FailureKind, &[&str])] = &[
    (
        FailureKind::WrongHostKey,
        &[
            "host key verification failed",
            "remote host identification has changed",
            "host key is known for",
            "host key for ",
            "revoked host key",
            "possible dns spoofing",
        ],
    ),
    (
        FailureKind::AccessDenied,
        &[
            "permission denied (",
            "too many authentication failures",
            "no supported authentication methods",
            "unprotected private key file",
            "sudo: a password is required",
            "sudo: a terminal is required",
            "is not allowed to execute",
            "is not in the sudoers file",
            "account is currently not available",
            "account has expired",
        ],
    ),
    (
        FailureKind::TimedOut,
        &["connection timed out", "operation timed out", "timeout, server", "timed out during banner exchange"],
    ),
    (
        FailureKind::Unreachable,
        &[
            "connection refused",
            "no route to host",
            "network is unreachable",
            "host is down",
            "could not resolve hostname",
            "name or service not known",
            "temporary failure in name resolution",
            "connection reset by",
            "connection closed by",
            "closed by remote host",
            "broken pipe",
            "stdio forwarding failed",
            "unknown port 65535",
        ],
    ),
];

/// The kind of failure that ssh's words speak of.
pub fn classify(text: &str) -> FailureKind {
    let text = text.to_lowercase();
    SENTENCES
        .iter()
        .find(|(_, sentences)| sentences.iter().any(|sentence| text.contains(sentence)))
        .map_or(FailureKind::Other, |(kind, _)| *kind)
}

/// Whether the node itself has answered and refused: another way to it would lead to the same host and the same no.
pub(super) fn is_refusal_by_the_node(kind: FailureKind) -> bool {
    matches!(kind, FailureKind::WrongHostKey | FailureKind::AccessDenied)
}

/// The longest text taken over from a remote side into an error, in characters.
const SUMMARY_CHARS_MAX: usize = 300;

/// ssh's or a command's words on one line, without decoration, cut to a length fit for a status line.
pub fn summary(text: &str) -> String {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| line.chars().any(|character| !matches!(character, '@' | ' ')))
        .filter(|line| !line.starts_with("Warning: Permanently added"));
    let joined = lines.collect::<Vec<_>>().join("; ");
    let clean: String = joined.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    if clean.chars().count() <= SUMMARY_CHARS_MAX {
        return clean;
    }
    // The last words say why, the first ones what was tried.
    let skipped = clean.chars().count() - SUMMARY_CHARS_MAX;
    format!("...{}", clean.chars().skip(skipped).collect::<String>())
}

/// What a person needs to know about a refused host key; ssh itself fills twelve lines of alarm.
pub(super) fn host_key_summary(node: &str, text: &str) -> String {
    let lower = text.to_lowercase();
    if lower.contains("identification has changed") {
        format!("its host key is not the one enrolled for {node}")
    } else if lower.contains("host key is known for") {
        format!("no host key is enrolled for {node}")
    } else {
        summary(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGED: &str = "\
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\r
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!\r
Someone could be eavesdropping on you right now (man-in-the-middle attack)!\r
It is also possible that a host key has just been changed.\r
The fingerprint for the ED25519 key sent by the remote host is\r
SHA256:sK0/7mQuxKVo4jQ.\r
Offending ED25519 key in /var/lib/hecate/known_hosts:3\r
Host key for cp-1 has changed and you have requested strict checking.\r
Host key verification failed.\r
";

    #[test]
    fn the_words_of_ssh_are_told_apart() {
        let cases = [
            (CHANGED, FailureKind::WrongHostKey),
            (
                "No ED25519 host key is known for cp-1 and you have requested strict checking.\r\nHost key verification failed.\r\n",
                FailureKind::WrongHostKey,
            ),
            ("hecate@10.0.0.1: Permission denied (publickey).", FailureKind::AccessDenied),
            ("sudo: a password is required", FailureKind::AccessDenied),
            ("connect to host 10.0.0.1 port 22: Connection refused", FailureKind::Unreachable),
            ("connect to host 10.0.0.1 port 22: No route to host", FailureKind::Unreachable),
            ("Could not resolve hostname cp-1.lan: Name or service not known", FailureKind::Unreachable),
            ("connect to host 10.0.0.1 port 22: Connection timed out", FailureKind::TimedOut),
            (
                "Connection timed out during banner exchange\r\nConnection to 10.0.0.1 port 22 timed out",
                FailureKind::TimedOut,
            ),
            (
                "kex_exchange_identification: Connection closed by remote host\r\nConnection closed by UNKNOWN port 65535",
                FailureKind::Unreachable,
            ),
            ("Unable to negotiate with 10.0.0.1 port 22: no matching cipher found.", FailureKind::Other),
            ("", FailureKind::Other),
        ];
        for (text, kind) in cases {
            assert_eq!(classify(text), kind, "{text}");
        }
    }

    #[test]
    fn another_hosts_key_is_said_in_one_line_that_names_the_node() {
        assert_eq!(host_key_summary("cp-1", CHANGED), "its host key is not the one enrolled for cp-1");
        assert_eq!(
            host_key_summary("cp-1", "No ED25519 host key is known for cp-1 and"),
            "no host key is enrolled for cp-1"
        );
    }

    #[test]
    fn a_summary_is_one_short_line_without_control_characters() {
        let text = format!("{CHANGED}\u{1b}[31m{}", "x".repeat(10_000));
        let line = summary(&text);
        assert!(line.chars().count() <= SUMMARY_CHARS_MAX + 3);
        assert!(!line.chars().any(char::is_control));
        assert_eq!(summary("one\r\n\r\n@@@@ \r\ntwo\n"), "one; two");
    }
}

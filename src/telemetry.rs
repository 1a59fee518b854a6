//! Tracing to stderr, error chains for people, and the few words systemd wants to hear.
//!
//! Must never print a key; callers log names and figures.

use std::error::Error;
use std::fmt;
use std::io::IsTerminal;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use tracing_subscriber::EnvFilter;

/// Libraries that log at ERROR what is a reading here (a refused connection to a server that is stopped), and whole
/// answers where one cannot be parsed, which may hold secrets.
const QUIET: &str = "kube=off,kube_client=off,kube_runtime=off";

/// Starts logging: INFO for the daemon and WARN for commands, more with `-v`; `HECATE_LOG` rules over both.
///
/// Under journald (`JOURNAL_STREAM`, see systemd.exec(5)) lines carry no time and no colour: the journal has both.
pub fn start(verbosity: u8, is_daemon: bool) {
    let level = match (verbosity, is_daemon) {
        (0, false) => "warn",
        (0, true) => "info",
        (1, _) => "info,hecate=debug",
        (_, _) => "debug,hecate=trace",
    };
    let named = std::env::var("HECATE_LOG").ok().filter(|text| !text.trim().is_empty());
    let named = named.and_then(|text| EnvFilter::try_new(text).ok());
    let filter = named.unwrap_or_else(|| EnvFilter::new(format!("{level},{QUIET}")));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(verbosity > 0)
        .with_ansi(std::io::stderr().is_terminal());
    // A second subscriber (in a test) is refused; the first one goes on.
    let _ = if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.without_time().try_init()
    } else {
        builder.try_init()
    };
}

/// An error with its causes, `: ` between them; a cause whose text is there already is skipped.
pub fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl fmt::Display + 'a {
    Chain(error)
}

struct Chain<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let said = error.to_string();
            if !text.contains(&said) {
                text.push_str(": ");
                text.push_str(&said);
            }
            cause = error.source();
        }
        f.write_str(&text)
    }
}

/// Tells systemd something (sd_notify(3)); does nothing where it did not ask to be told.
pub fn tell_systemd(words: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let address = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    let sent = address.and_then(|address| {
        let socket = UnixDatagram::unbound()?;
        // A systemd that does not read must not hold up the loop.
        socket.set_nonblocking(true)?;
        socket.send_to_addr(words.as_bytes(), &address)
    });
    if let Err(failure) = sent {
        tracing::debug!(error = %chain(&failure), "cannot tell systemd");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{said}")]
    struct Layer {
        said: &'static str,
        source: Option<Box<Layer>>,
    }

    #[test]
    fn a_chain_names_each_cause_once() {
        let inner = Layer { said: "no route to host", source: None };
        let middle = Layer { said: "connect: no route to host", source: Some(Box::new(inner)) };
        let outer = Layer { said: "read the API", source: Some(Box::new(middle)) };
        assert_eq!(chain(&outer).to_string(), "read the API: connect: no route to host");
    }
}

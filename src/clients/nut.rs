//! The NUT network protocol (RFC 9271), as far as watching a UPS and cutting its load need it: `USERNAME`, `PASSWORD`,
//! `LOGIN`, `LIST VAR`, `LIST CMD`, `INSTCMD`, and `TRACKING` where upsd knows it.
//!
//! One kept connection. Every call has a deadline, every line and list a limit; a timeout or an answer that breaks the
//! protocol drops the connection, because nobody can say any more which answer belongs to which question. So does an
//! answer that nobody asked for. Small servers are met half-way: see `words.rs`, and `wire.rs` for what is passed over.
//! A password is never logged, printed or put into an error.

mod code;
mod login;
pub mod password;
mod wire;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

pub use self::code::ErrCode;
pub use self::login::{Login, LoginFailure};
use self::wire::Wire;
use self::words::{begins, quote};
use crate::model::FailureKind;

/// The longest line taken from upsd, in bytes. NUT's own buffers are 1024 bytes (`LARGEBUF`).
pub const LINE_BYTES_MAX: usize = 4096;

/// The most variables taken from one UPS. The richest drivers have some 200.
pub const VARIABLES_MAX: usize = 1000;

/// The most instant commands taken from one UPS. The richest drivers have some 40.
pub const COMMANDS_MAX: usize = 500;

/// How often upsd is asked whether a driver has carried a command out.
const TRACKING_INTERVAL: Duration = Duration::from_millis(200);

/// Where upsd listens.
#[derive(Clone, Debug)]
pub struct Endpoint {
    host: String,
    port: u16,
    /// The address that answered last: a resolver that lives inside the cluster is gone when the power is.
    last_good: Option<SocketAddr>,
}

impl Endpoint {
    /// Names a upsd.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port, last_good: None }
    }

    async fn connect(&mut self, deadline: Instant) -> Result<TcpStream, NutError> {
        // Half of the time at most goes into the name, so that the remembered address still gets its chance.
        let now = Instant::now();
        let lookup_end = now + deadline.saturating_duration_since(now) / 2;
        let lookup = timeout_at(lookup_end, tokio::net::lookup_host((self.host.as_str(), self.port))).await;
        let (addresses, lookup_error) = match (lookup, self.last_good) {
            (Ok(Ok(found)), _) => (found.collect(), None),
            (Ok(Err(source)), None) => return Err(NutError::Resolve { upsd: self.to_string(), source }),
            (Err(_), None) => return Err(NutError::Deadline { upsd: self.to_string(), doing: "resolve its name" }),
            (Ok(Err(source)), Some(last)) => (vec![last], Some(source)),
            (Err(_), Some(last)) => (vec![last], None),
        };
        if let Some(source) = lookup_error {
            tracing::debug!(upsd = %self, error = %source, "upsd's name does not resolve; taking the last address");
        }
        self.connect_any(addresses, deadline).await
    }

    async fn connect_any(&mut self, addresses: Vec<SocketAddr>, deadline: Instant) -> Result<TcpStream, NutError> {
        let mut refusal = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let count = addresses.len();
        for (index, address) in addresses.into_iter().enumerate() {
            // A silent first address (IPv6 without a route) must leave time for the next one.
            let now = Instant::now();
            let share = deadline.saturating_duration_since(now) / u32::try_from(count - index).unwrap_or(1);
            match timeout_at(now + share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    self.last_good = Some(address);
                    return Ok(stream);
                }
                Ok(Err(error)) => refusal = error,
                Err(_) => refusal = io::Error::new(io::ErrorKind::TimedOut, "no answer"),
            }
        }
        if refusal.kind() == io::ErrorKind::TimedOut {
            return Err(NutError::Deadline { upsd: self.to_string(), doing: "connect" });
        }
        Err(NutError::Connect { upsd: self.to_string(), source: refusal })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// A NUT user and its password.
#[derive(Clone)]
pub struct Credentials {
    username: String,
    password: String,
}

impl Credentials {
    /// Takes a user and the text of its password file; line ends after the password do not count.
    pub fn new(username: impl Into<String>, password_file_text: &str) -> Self {
        Self { username: username.into(), password: password_file_text.trim_end_matches(['\r', '\n']).to_owned() }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// A kept connection to one upsd.
#[derive(Debug)]
pub struct NutClient {
    upsd: String,
    /// None once a timeout or a breach of the protocol has dropped it.
    wire: Option<Wire>,
    login: Login,
}

impl NutClient {
    /// Resolves, connects and, with credentials, logs in to watch `ups` (upsd then counts hecate among its clients).
    ///
    /// `limit` bounds all of it together. A login that fails is no error: [`NutClient::login`] tells it, and upsd lets
    /// anybody read. Where the server has hung up on it, or said nothing, the connection is dropped.
    pub async fn connect(
        endpoint: &mut Endpoint,
        login: Option<(&Credentials, &str)>,
        limit: Duration,
    ) -> Result<Self, NutError> {
        let deadline = Instant::now() + limit;
        let stream = endpoint.connect(deadline).await?;
        // One short question at a time: waiting to fill a packet would only add delay.
        if let Err(source) = stream.set_nodelay(true) {
            return Err(NutError::Connect { upsd: endpoint.to_string(), source });
        }
        let mut client = Self { upsd: endpoint.to_string(), wire: Some(Wire::new(stream)), login: Login::None };
        if let Some((credentials, ups)) = login {
            // A server that never answers a login may still answer a question: half of what is left is for that.
            let now = Instant::now();
            client.login = client.log_in(credentials, ups, now + deadline.saturating_duration_since(now) / 2).await;
        }
        Ok(client)
    }

    async fn log_in(&mut self, credentials: &Credentials, ups: &str, deadline: Instant) -> Login {
        let words = [("USERNAME", &*credentials.username), ("PASSWORD", &*credentials.password), ("LOGIN", ups)];
        for (verb, argument) in words {
            if let Err(error) = self.expect_ok(verb, argument, deadline).await {
                return Login::Failed(LoginFailure::new(verb, &error));
            }
        }
        Login::Taken
    }

    /// What the server made of the login.
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// Says who asks, which instant commands need; unlike a login it makes hecate no client of a UPS.
    async fn authenticate(&mut self, credentials: &Credentials, deadline: Instant) -> Result<(), NutError> {
        self.expect_ok("USERNAME", &credentials.username, deadline).await?;
        self.expect_ok("PASSWORD", &credentials.password, deadline).await
    }

    /// Whether the connection has been dropped by a failed call.
    pub fn is_dropped(&self) -> bool {
        self.wire.is_none()
    }

    /// Asks for all variables of a UPS.
    pub async fn list_vars(&mut self, ups: &str, limit: Duration) -> Result<BTreeMap<String, String>, NutError> {
        let question = format!("LIST VAR {}\n", quote(ups, "UPS name")?);
        self.call("list the variables", Instant::now() + limit, async |wire, upsd| {
            wire.send(upsd, &question).await?;
            wire.read_variables(upsd, ups).await
        })
        .await
    }

    /// Asks for the instant commands that a UPS' driver knows.
    pub async fn list_commands(&mut self, ups: &str, limit: Duration) -> Result<BTreeSet<String>, NutError> {
        let question = format!("LIST CMD {}\n", quote(ups, "UPS name")?);
        self.call("list the commands", Instant::now() + limit, async |wire, upsd| {
            wire.send(upsd, &question).await?;
            wire.read_commands(upsd, ups).await
        })
        .await
    }

    /// Sends an instant command and, where upsd can say so, waits until the driver has carried it out.
    ///
    /// # Errors
    /// [`NutError::Refused`] and [`NutError::CommandFailed`] mean that it was not carried out; after
    /// [`NutError::is_in_doubt`] nobody knows.
    pub async fn instant_command(
        &mut self,
        credentials: &Credentials,
        (ups, command): (&str, &str),
        limit: Duration,
    ) -> Result<(), NutError> {
        let deadline = Instant::now() + limit;
        self.authenticate(credentials, deadline).await?;
        let question = format!("INSTCMD {} {}\n", quote(ups, "UPS name")?, quote(command, "command")?);
        // upsd before 2.8 knows no tracking, and answers ERR.
        match self.ask_words("ask for tracking", "SET TRACKING ON\n", deadline).await {
            Ok(_) | Err(NutError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
        let upsd = self.upsd.clone();
        let answer = match self.ask_words("send the command", &question, deadline).await {
            Ok(answer) => answer,
            Err(error) if is_surely_not_done(&error) => return Err(error),
            Err(error) => return Err(in_doubt(&upsd, error)),
        };
        match answer.as_slice() {
            [_, _, id] if begins(&answer, &["OK", "TRACKING"]) => self.follow(id, command, deadline).await,
            _ if begins(&answer, &["OK"]) => Ok(()),
            _ => Err(in_doubt(&upsd, protocol(&upsd, "INSTCMD was not answered with OK".to_owned()))),
        }
    }

    /// Asks until the driver has carried a command out, or has not.
    async fn follow(&mut self, id: &str, command: &str, deadline: Instant) -> Result<(), NutError> {
        let upsd = self.upsd.clone();
        let question = format!("GET TRACKING {}\n", quote(id, "tracking id")?);
        loop {
            let answer = match self.ask_words("follow the command", &question, deadline).await {
                Ok(answer) => answer.join(" "),
                // The command itself failed: GET TRACKING answers ERR FAILED and the like.
                Err(NutError::Refused { code, .. }) => {
                    let command = command.to_owned();
                    return Err(NutError::CommandFailed { upsd, command, code });
                }
                Err(error) => return Err(in_doubt(&upsd, error)),
            };
            match answer.to_ascii_uppercase().as_str() {
                "SUCCESS" => return Ok(()),
                "PENDING" => tokio::time::sleep(TRACKING_INTERVAL).await,
                _ => return Err(in_doubt(&upsd, protocol(&upsd, "GET TRACKING was not answered".to_owned()))),
            }
        }
    }

    /// One question of one line, and its answer of one line.
    async fn ask_words(
        &mut self,
        doing: &'static str,
        question: &str,
        deadline: Instant,
    ) -> Result<Vec<String>, NutError> {
        self.call(doing, deadline, async |wire, upsd| {
            wire.send(upsd, question).await?;
            wire.read_words(upsd).await
        })
        .await
    }

    async fn expect_ok(&mut self, verb: &'static str, argument: &str, deadline: Instant) -> Result<(), NutError> {
        let question = format!("{verb} {}\n", quote(argument, verb)?);
        let words = match self.ask_words("log in", &question, deadline).await {
            Ok(words) => words,
            // A server may repeat what it does not understand, and that is the password.
            Err(NutError::Refused { upsd, code: ErrCode::Other(_) }) if verb == "PASSWORD" => {
                return Err(NutError::Refused { upsd, code: ErrCode::Other("(an unknown code)".to_owned()) });
            }
            Err(error) => return Err(error),
        };
        // `OK`, or with some versions `OK Goodbye` and the like.
        if begins(&words, &["OK"]) {
            return Ok(());
        }
        self.wire = None;
        Err(protocol(&self.upsd, format!("{verb} was not answered with OK")))
    }

    /// Runs one question and answer; only an `ERR` answer leaves the connection usable.
    async fn call<T>(
        &mut self,
        doing: &'static str,
        deadline: Instant,
        exchange: impl AsyncFnOnce(&mut Wire, &str) -> Result<T, NutError>,
    ) -> Result<T, NutError> {
        // Taken out first: a call that is dropped half-way leaves no connection with an unread answer behind.
        let Some(mut wire) = self.wire.take() else {
            return Err(NutError::Dropped { upsd: self.upsd.clone() });
        };
        let result = match timeout_at(deadline, exchange(&mut wire, &self.upsd)).await {
            Ok(result) => result,
            Err(_) => Err(NutError::Deadline { upsd: self.upsd.clone(), doing }),
        };
        if matches!(result, Ok(_) | Err(NutError::Refused { .. })) {
            self.wire = Some(wire);
        }
        result
    }
}

/// Whether an instant command surely was not carried out: upsd refused it, or it was never sent.
fn is_surely_not_done(error: &NutError) -> bool {
    matches!(
        error,
        NutError::Refused { .. } | NutError::Closed { .. } | NutError::Unasked { .. } | NutError::Dropped { .. }
    )
}

/// What went wrong after a command was sent: whether the driver has it is not known.
fn in_doubt(upsd: &str, error: NutError) -> NutError {
    NutError::InDoubt { upsd: upsd.to_owned(), source: Box::new(error) }
}

fn protocol(upsd: &str, problem: String) -> NutError {
    NutError::Protocol { upsd: upsd.to_owned(), problem }
}

/// Why a UPS could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum NutError {
    /// The name of upsd's host does not resolve.
    #[error("resolve the name of upsd at {upsd}")]
    Resolve {
        /// Host and port.
        upsd: String,
        /// The resolver's answer.
        source: io::Error,
    },
    /// No connection.
    #[error("connect to upsd at {upsd}")]
    Connect {
        /// Host and port.
        upsd: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The connection broke.
    #[error("talk to upsd at {upsd}")]
    Broken {
        /// Host and port.
        upsd: String,
        /// How.
        source: io::Error,
    },
    /// The connection had been closed before the question was sent.
    #[error("ask upsd at {upsd}: the connection was closed before")]
    Closed {
        /// Host and port.
        upsd: String,
        /// How.
        source: io::Error,
    },
    /// It had said something that no question asked for, so this question was not sent.
    #[error("ask upsd at {upsd}: it has said something that nobody asked for")]
    Unasked {
        /// Host and port.
        upsd: String,
    },
    /// No answer in time.
    #[error("{doing} of upsd at {upsd}: no answer in time")]
    Deadline {
        /// Host and port.
        upsd: String,
        /// What was being done.
        doing: &'static str,
    },
    /// upsd answered `ERR`.
    #[error("ask upsd at {upsd}: it answered ERR {code}")]
    Refused {
        /// Host and port.
        upsd: String,
        /// Its code.
        code: ErrCode,
    },
    /// The answer breaks the protocol.
    #[error("understand upsd at {upsd}: {problem}")]
    Protocol {
        /// Host and port.
        upsd: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An earlier call has dropped the connection.
    #[error("ask upsd at {upsd}: the connection was dropped")]
    Dropped {
        /// Host and port.
        upsd: String,
    },
    /// The driver did not carry an instant command out.
    #[error("have upsd at {upsd} carry out {command}: its driver answered {code}")]
    CommandFailed {
        /// Host and port.
        upsd: String,
        /// Which.
        command: String,
        /// Its code.
        code: ErrCode,
    },
    /// An instant command was sent, and its answer was not seen.
    #[error("learn from upsd at {upsd} whether the command arrived")]
    InDoubt {
        /// Host and port.
        upsd: String,
        /// What went wrong.
        source: Box<NutError>,
    },
    /// A control character in what was to be sent. Its text is left out: it may be a password.
    #[error("send {what} to upsd: it contains a control character")]
    Unsendable {
        /// What it is.
        what: &'static str,
    },
}

impl NutError {
    /// The kind of failure that rules tell apart.
    pub fn kind(&self) -> FailureKind {
        match self {
            NutError::Resolve { .. }
            | NutError::Connect { .. }
            | NutError::Broken { .. }
            | NutError::Closed { .. }
            | NutError::Dropped { .. } => FailureKind::Unreachable,
            NutError::Deadline { .. } => FailureKind::TimedOut,
            NutError::Refused { code, .. } => code.kind(),
            NutError::Protocol { .. } | NutError::Unasked { .. } => FailureKind::Malformed,
            NutError::InDoubt { source, .. } => source.kind(),
            NutError::CommandFailed { .. } | NutError::Unsendable { .. } => FailureKind::Other,
        }
    }

    /// Whether an instant command may have been carried out although this went wrong.
    pub fn is_in_doubt(&self) -> bool {
        matches!(self, NutError::InDoubt { .. })
    }

    /// Whether a fresh connection may help at once: upsd was started anew, closed a connection that was idle, or has said
    /// something on it that belongs to no question.
    pub fn is_stale_connection(&self) -> bool {
        matches!(
            self,
            NutError::Broken { .. } | NutError::Closed { .. } | NutError::Unasked { .. } | NutError::Dropped { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_never_print_their_password() {
        let credentials = Credentials::new("monitor", "s3cret\r\n");
        assert_eq!(credentials.password, "s3cret");
        assert!(!format!("{credentials:?}").contains("s3cret"));
    }

    #[test]
    fn every_code_is_read_as_itself() {
        for (code, spelling) in ErrCode::ALL {
            assert_eq!(ErrCode::parse(spelling), code);
            assert_eq!(ErrCode::parse(&spelling.to_lowercase()), code);
            assert_eq!(code.to_string(), spelling);
        }
        assert_eq!(ErrCode::parse("NEW-CODE"), ErrCode::Other("NEW-CODE".to_owned()));
    }
}

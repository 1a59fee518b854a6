//! What a server made of a login.
//!
//! A login only makes upsd count hecate among a UPS' clients: upsd lets anybody read. So a login that fails is told, and
//! never keeps hecate from reading. What is told here must never hold a password.

use std::fmt;

use super::{ErrCode, NutError};

/// How far the login of a connection has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// There was none: no user was given.
    None,
    /// The server has taken it.
    Taken,
    /// It has failed. Nothing more was said after the verb that did.
    Failed(LoginFailure),
}

/// Why a login has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginFailure {
    verb: &'static str,
    why: Why,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    /// The server answered `ERR`.
    Refused(ErrCode),
    /// A control character in the user's name or password.
    Unsendable,
    /// It hung up, was silent or answered with something else. The connection is gone.
    NoAnswer,
}

impl LoginFailure {
    pub(super) fn new(verb: &'static str, error: &NutError) -> Self {
        let why = match error {
            NutError::Refused { code, .. } => Why::Refused(code.clone()),
            NutError::Unsendable { .. } => Why::Unsendable,
            NutError::Resolve { .. }
            | NutError::Connect { .. }
            | NutError::Broken { .. }
            | NutError::Closed { .. }
            | NutError::Unasked { .. }
            | NutError::Deadline { .. }
            | NutError::Protocol { .. }
            | NutError::Dropped { .. }
            | NutError::CommandFailed { .. }
            | NutError::InDoubt { .. } => Why::NoAnswer,
        };
        Self { verb, why }
    }

    /// Whether upsd took user and password, and refused no more than to count hecate among the UPS' clients.
    pub fn is_of_login_alone(&self) -> bool {
        self.verb == "LOGIN" && matches!(self.why, Why::Refused(_))
    }

    /// What the operator can do about it.
    pub fn hint(&self) -> &'static str {
        match &self.why {
            // upsd takes any user and password at first; it is LOGIN that finds them wrong, or the user without a role.
            Why::Refused(_) if self.verb == "LOGIN" => {
                "compare username and password_file with upsd.users, and give the user \"upsmon secondary\" there"
            }
            Why::Refused(_) | Why::NoAnswer => {
                "compare username and password_file with the server's users; a server without users needs neither"
            }
            Why::Unsendable => "a username and a password are one line without control characters",
        }
    }
}

impl fmt::Display for LoginFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::Refused(code) => write!(f, "{} was answered with ERR {code}", self.verb),
            Why::Unsendable => write!(f, "{} cannot be sent: it holds a control character", self.verb),
            Why::NoAnswer => write!(f, "{} was not answered", self.verb),
        }
    }
}

//! The codes of `ERR` answers (RFC 9271, section 5.1 and NUT `docs/net-protocol.txt`).
//!
//! A table and nothing else; it must never hide a code that it does not know.

use std::fmt;

use crate::model::FailureKind;

/// Why upsd refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrCode {
    /// The client's address or user is not authorised.
    AccessDenied,
    /// This connection is attached already.
    AlreadyAttached,
    /// This connection is logged in already.
    AlreadyLoggedIn,
    /// The password was sent already.
    AlreadySetPassword,
    /// The username was sent already.
    AlreadySetUsername,
    /// TLS is on already.
    AlreadySslMode,
    /// The UPS has no such instant command.
    CmdNotSupported,
    /// The driver runs but has had no data from the UPS for MAXAGE.
    DataStale,
    /// upsd cannot talk to the UPS' driver.
    DriverNotConnected,
    /// upsd was not set up for it.
    FeatureNotConfigured,
    /// upsd was built without it.
    FeatureNotSupported,
    /// The driver could not run the instant command.
    InstcmdFailed,
    /// An argument is not understood.
    InvalidArgument,
    /// The password is wrong.
    InvalidPassword,
    /// The username is wrong.
    InvalidUsername,
    /// The value is out of range.
    InvalidValue,
    /// A password must be sent first.
    PasswordRequired,
    /// The variable cannot be set.
    Readonly,
    /// The driver could not set the variable.
    SetFailed,
    /// TLS is on already (RFC 9271's name).
    TlsAlreadyEnabled,
    /// TLS is required first (RFC 9271's name).
    TlsNotEnabled,
    /// The value is too long.
    TooLong,
    /// upsd does not know the verb.
    UnknownCommand,
    /// The variable's type is not known.
    UnknownType,
    /// No UPS of that name is configured.
    UnknownUps,
    /// A username must be sent first.
    UsernameRequired,
    /// The UPS has no such variable.
    VarNotSupported,
    /// The variable is not known (RFC 9271's name).
    VarUnknown,
    /// A code of a newer upsd, as it came; empty where there was none.
    Other(String),
}

impl ErrCode {
    /// All documented codes with their spelling on the wire.
    pub const ALL: [(ErrCode, &'static str); 28] = [
        (ErrCode::AccessDenied, "ACCESS-DENIED"),
        (ErrCode::AlreadyAttached, "ALREADY-ATTACHED"),
        (ErrCode::AlreadyLoggedIn, "ALREADY-LOGGED-IN"),
        (ErrCode::AlreadySetPassword, "ALREADY-SET-PASSWORD"),
        (ErrCode::AlreadySetUsername, "ALREADY-SET-USERNAME"),
        (ErrCode::AlreadySslMode, "ALREADY-SSL-MODE"),
        (ErrCode::CmdNotSupported, "CMD-NOT-SUPPORTED"),
        (ErrCode::DataStale, "DATA-STALE"),
        (ErrCode::DriverNotConnected, "DRIVER-NOT-CONNECTED"),
        (ErrCode::FeatureNotConfigured, "FEATURE-NOT-CONFIGURED"),
        (ErrCode::FeatureNotSupported, "FEATURE-NOT-SUPPORTED"),
        (ErrCode::InstcmdFailed, "INSTCMD-FAILED"),
        (ErrCode::InvalidArgument, "INVALID-ARGUMENT"),
        (ErrCode::InvalidPassword, "INVALID-PASSWORD"),
        (ErrCode::InvalidUsername, "INVALID-USERNAME"),
        (ErrCode::InvalidValue, "INVALID-VALUE"),
        (ErrCode::PasswordRequired, "PASSWORD-REQUIRED"),
        (ErrCode::Readonly, "READONLY"),
        (ErrCode::SetFailed, "SET-FAILED"),
        (ErrCode::TlsAlreadyEnabled, "TLS-ALREADY-ENABLED"),
        (ErrCode::TlsNotEnabled, "TLS-NOT-ENABLED"),
        (ErrCode::TooLong, "TOO-LONG"),
        (ErrCode::UnknownCommand, "UNKNOWN-COMMAND"),
        (ErrCode::UnknownType, "UNKNOWN-TYPE"),
        (ErrCode::UnknownUps, "UNKNOWN-UPS"),
        (ErrCode::UsernameRequired, "USERNAME-REQUIRED"),
        (ErrCode::VarNotSupported, "VAR-NOT-SUPPORTED"),
        (ErrCode::VarUnknown, "VAR-UNKNOWN"),
    ];

    /// The longest unknown code that is kept.
    const OTHER_CHARS_MAX: usize = 64;

    /// Reads the word after `ERR`, in any case.
    pub fn parse(word: &str) -> Self {
        match Self::ALL.iter().find(|(_, spelling)| spelling.eq_ignore_ascii_case(word)) {
            Some((code, _)) => code.clone(),
            None => ErrCode::Other(word.chars().filter(|c| c.is_ascii_graphic()).take(Self::OTHER_CHARS_MAX).collect()),
        }
    }

    /// The kind of failure that rules tell apart.
    pub fn kind(&self) -> FailureKind {
        match self {
            ErrCode::AccessDenied
            | ErrCode::InvalidPassword
            | ErrCode::InvalidUsername
            | ErrCode::PasswordRequired
            | ErrCode::UsernameRequired
            | ErrCode::TlsNotEnabled => FailureKind::AccessDenied,
            ErrCode::DataStale => FailureKind::DataStale,
            ErrCode::DriverNotConnected => FailureKind::DriverNotConnected,
            ErrCode::UnknownUps => FailureKind::UnknownUps,
            ErrCode::AlreadyAttached
            | ErrCode::AlreadyLoggedIn
            | ErrCode::AlreadySetPassword
            | ErrCode::AlreadySetUsername
            | ErrCode::AlreadySslMode
            | ErrCode::CmdNotSupported
            | ErrCode::FeatureNotConfigured
            | ErrCode::FeatureNotSupported
            | ErrCode::InstcmdFailed
            | ErrCode::InvalidArgument
            | ErrCode::InvalidValue
            | ErrCode::Readonly
            | ErrCode::SetFailed
            | ErrCode::TlsAlreadyEnabled
            | ErrCode::TooLong
            | ErrCode::UnknownCommand
            | ErrCode::UnknownType
            | ErrCode::VarNotSupported
            | ErrCode::VarUnknown
            | ErrCode::Other(_) => FailureKind::Other,
        }
    }
}

impl fmt::Display for ErrCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (Self::ALL.iter().find(|(code, _)| code == self), self) {
            (Some((_, spelling)), _) => f.pad(spelling),
            // UniFi's UPSes say no more than ERR.
            (None, ErrCode::Other(word)) if word.is_empty() => f.pad("without a code"),
            (None, ErrCode::Other(word)) => f.pad(word),
            (None, _) => f.pad("an unnamed code"),
        }
    }
}

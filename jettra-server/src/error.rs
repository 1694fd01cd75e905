//! The public error: a code of the closed table, and a message that says what to do next.

use jettra_client::wire::{ErrorBody, ErrorCode, ErrorDetail};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a caller is told. The same value on every replica, so it may be kept in the state and
/// travel between nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{}: {}", .0.code, .0.message)]
#[serde(transparent)]
pub struct Error(Box<ErrorDetail>);

/// A result whose error is for the caller.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with `code`; `message` says what is wrong, which value, and what to do next.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Error(Box::new(ErrorDetail { code, message: message.into(), details: Map::new() }))
    }

    /// The same error with a further field beside the message.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.details.insert(name.to_owned(), value.into());
        self
    }

    /// The error's code.
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// The error's message.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// A further field, such as `leaderUrl`.
    pub fn detail(&self, name: &str) -> Option<&Value> {
        self.0.details.get(name)
    }

    /// The body that carries the error over HTTP.
    pub fn into_body(self) -> ErrorBody {
        ErrorBody { error: *self.0 }
    }
}

impl From<ErrorBody> for Error {
    fn from(body: ErrorBody) -> Self {
        Error(Box::new(body.error))
    }
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident = $code:ident;)*) => {
        impl Error {
            $($(#[$doc])* pub fn $name(message: impl Into<String>) -> Self {
                Self::new(ErrorCode::$code, message)
            })*
        }
    };
}

constructors! {
    /// Malformed JSON, a missing or a wrong parameter.
    bad_request = BadRequest;
    /// A name that may not be used.
    invalid_name = InvalidName;
    /// No or wrong credentials.
    unauthorized = Unauthorized;
    /// The role is too low, or protected mode.
    forbidden = Forbidden;
    /// No such thing.
    not_found = NotFound;
    /// It exists, or a precondition does not hold.
    conflict = Conflict;
    /// Beyond a limit of size.
    too_large = TooLarge;
    /// Back-pressure.
    busy = Busy;
    /// This node cannot serve now.
    unavailable = Unavailable;
    /// No leader within the time limit.
    no_leader = NoLeader;
    /// The outcome is unknown.
    timeout = Timeout;
    /// Anything else.
    internal = Internal;
}

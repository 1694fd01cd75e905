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

/// Around the reason why nobody was found who leads.
const NO_LEADER: (&str, &str) = ("no leader within the time limit (", "): try again");
/// Around the reason why nobody knows what became of a write.
const IN_DOUBT: (&str, &str) = (
    "the write may or may not have happened (",
    "): read before you repeat it, or repeat it with the same Idempotency-Key",
);

/// The reason in `why`, which may be the message of an error that another node, or an earlier attempt, ended with.
fn reason(why: &str) -> &str {
    let inner = |(begin, end)| why.strip_prefix(begin).and_then(|text: &str| text.strip_suffix(end));
    inner(NO_LEADER).or_else(|| inner(IN_DOUBT)).map_or(why, reason)
}

impl Error {
    /// `no_leader`: within the time limit nobody was found who leads, because of `why`. What `why` says itself already is
    /// not said again.
    pub fn no_leader_in_time(why: &str) -> Self {
        let (begin, end) = NO_LEADER;
        Self::no_leader(format!("{begin}{}{end}", reason(why)))
    }

    /// `timeout`: a write may have been carried out or not, because of `why`. What `why` says itself already is not said
    /// again.
    pub fn in_doubt(why: &str) -> Self {
        let (begin, end) = IN_DOUBT;
        Self::timeout(format!("{begin}{}{end}", reason(why)))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_reason_says_is_not_said_again() {
        let first = Error::no_leader_in_time("no leader is known");
        assert_eq!(first.message(), "no leader within the time limit (no leader is known): try again");
        assert_eq!(Error::no_leader_in_time(first.message()), first);
        let doubt = Error::in_doubt(first.message());
        assert_eq!(doubt, Error::in_doubt("no leader is known"));
        assert_eq!(Error::in_doubt(doubt.message()), doubt);
        assert_eq!(Error::no_leader_in_time(doubt.message()), first);
    }
}

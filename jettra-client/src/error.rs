//! What can go wrong with a call.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::wire::ErrorCode;

/// The result of every call of the client.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> jettra_client::Result<()> {
/// # let node = jettra_client::testing::FakeNode::start().unwrap();
/// # let client = node.client();
/// use jettra_client::{ErrorCode, WriteOptions};
///
/// let create = WriteOptions::new().if_none_match();
/// client.update_with("shop", "users", "ada", r#"{"born":1815}"#, &create).await?;
/// let again = client.update_with("shop", "users", "ada", r#"{"born":1816}"#, &create).await;
///
/// let error = again.unwrap_err();
/// assert_eq!(error.code(), Some(ErrorCode::Conflict));
/// assert!(!error.outcome_unknown(), "a refusal is an answer: nothing was written");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A node answered with an error.
    #[error("{message} ({code})")]
    Server {
        /// The code, from the closed table.
        code: ErrorCode,
        /// The HTTP status.
        status: u16,
        /// What is wrong and what to do next, as the node said it.
        message: String,
        /// Further fields of the error, such as `leaderUrl` or `oldest`.
        details: Map<String, Value>,
        /// Whether a write may have happened nevertheless.
        outcome_unknown: bool,
    },

    /// No node could be reached; nothing was sent.
    #[error("no node can be reached ({message}); check the URL and that the node runs")]
    Connect {
        /// The nodes that were tried and what became of each.
        message: String,
    },

    /// The connection broke after the request may have been sent, and sending it again was not safe.
    #[error(
        "{url} closed the connection before it answered ({message}); look whether the change happened before you repeat it"
    )]
    Disconnected {
        /// The node that was asked.
        url: String,
        /// What the connection reported.
        message: String,
    },

    /// Time ran out.
    #[error("no answer within {} ms ({message}); {}", .waited.as_millis(), next_step(*.outcome_unknown))]
    Timeout {
        /// Whether a write may have happened, or may still happen.
        outcome_unknown: bool,
        /// How long the call took.
        waited: Duration,
        /// What happened last.
        message: String,
    },

    /// An answer was not what the contract says.
    #[error("cannot read the answer to {call}: {message}; is the node a JettraDB node of this version?")]
    Decode {
        /// The call, as method and path.
        call: String,
        /// Where reading failed.
        message: String,
        /// Whether the call was a write: then it was answered as a success.
        written: bool,
    },

    /// An answer was larger than the client accepts.
    #[error("the answer is larger than {limit} bytes; ask for less (`limit`, `fields`) or raise `max_response_bytes`")]
    AnswerTooLarge {
        /// The limit, bytes.
        limit: usize,
    },

    /// The call makes no sense as given; nothing was sent.
    #[error("{message}")]
    InvalidInput {
        /// Which value, and what it should be.
        message: String,
    },
}

impl Error {
    /// The node's code, if a node answered.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Error::Server { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether a write that failed with this error may have been applied, or may still be. False
    /// means that it was not and will not be. For reads this is false.
    pub fn outcome_unknown(&self) -> bool {
        match self {
            Error::Server { outcome_unknown, .. } | Error::Timeout { outcome_unknown, .. } => *outcome_unknown,
            Error::Disconnected { .. } => true,
            Error::Decode { written, .. } => *written,
            Error::Connect { .. } | Error::AnswerTooLarge { .. } | Error::InvalidInput { .. } => false,
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Error {
        Error::InvalidInput { message: message.into() }
    }
}

fn next_step(outcome_unknown: bool) -> &'static str {
    if outcome_unknown {
        "the write may or may not have happened: read before you repeat it"
    } else {
        "try again, or give it more time"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_says_whether_the_write_is_in_doubt() {
        let error = |outcome_unknown| Error::Timeout {
            outcome_unknown,
            waited: Duration::from_millis(1500),
            message: "http://a: silence".into(),
        };
        assert_eq!(
            error(true).to_string(),
            "no answer within 1500 ms (http://a: silence); the write may or may not have happened: read before you repeat it"
        );
        assert!(error(false).to_string().ends_with("try again, or give it more time"));
    }
}

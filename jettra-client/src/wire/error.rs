//! The closed table of public error codes.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $status:literal;)*) => {
        /// Why a request was refused. Each code has one HTTP status.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
            /// A code that this version of the client does not know.
            #[serde(other)]
            Unknown,
        }

        impl ErrorCode {
            /// Every code of the contract.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$variant),*];

            /// The code as it stands on the wire.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $name,)*
                    ErrorCode::Unknown => "unknown",
                }
            }

            /// The HTTP status that goes with the code.
            pub fn status(self) -> u16 {
                match self {
                    $(ErrorCode::$variant => $status,)*
                    ErrorCode::Unknown => 500,
                }
            }
        }
    };
}

error_codes! {
    /// Malformed JSON, a missing or a wrong parameter.
    BadRequest = "bad_request", 400;
    /// A name that is none (see `docs/guarantees.md`), or one that users may not create.
    InvalidName = "invalid_name", 400;
    /// No or wrong credentials.
    Unauthorized = "unauthorized", 401;
    /// The role is too low, or the node is in protected mode.
    Forbidden = "forbidden", 403;
    /// No such document, version, database, collection or node.
    NotFound = "not_found", 404;
    /// It exists already, or a precondition does not hold.
    Conflict = "conflict", 409;
    /// The change would cost the cluster its majority.
    QuorumAtRisk = "quorum_at_risk", 409;
    /// A rule of the database's `_rules` refused the document.
    ValidationFailed = "validation_failed", 422;
    /// A body, document or batch beyond the limit.
    TooLarge = "too_large", 413;
    /// A position older than what is retained.
    Compacted = "compacted", 410;
    /// Back-pressure: try again later.
    Busy = "busy", 429;
    /// This node waits to be registered, was removed, is starting or is stopping.
    Unavailable = "unavailable", 503;
    /// No such route; with status 405, the route exists but not with this method.
    Unsupported = "unsupported", 404;
    /// This node does not lead and the client forbade forwarding.
    NotLeader = "not_leader", 421;
    /// There is no leader within the request's time limit.
    NoLeader = "no_leader", 503;
    /// The outcome is unknown: the write may or may not have happened.
    Timeout = "timeout", 504;
    /// The disk is full.
    StorageFull = "storage_full", 507;
    /// Anything else; the message names the log line.
    Internal = "internal", 500;
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The body of every answer that is not a success.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error itself.
    pub error: ErrorDetail,
}

/// What is wrong and what to do next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// The code, from the closed table.
    pub code: ErrorCode,
    /// What is wrong, which value, and what to do next.
    pub message: String,
    /// Further fields, such as `leaderUrl` beside `not_leader`.
    #[serde(flatten)]
    pub details: Map<String, Value>,
}

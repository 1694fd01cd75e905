//! Replicated settings: whatever changes the result of `apply` beside the commands themselves.

use serde::{Deserialize, Serialize};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const MIB: u64 = 1 << 20;

/// The bounds that `apply` decides by. They are the same on every replica: a command writes them, and the
/// configuration file only seeds them at bootstrap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// Bytes in the largest document.
    pub max_document_bytes: u64,
    /// Superseded states kept of a document.
    pub max_versions: u32,
    /// Bytes of the superseded states kept of a document.
    pub max_version_bytes: u64,
    /// How long a deleted document can be restored, in milliseconds of cluster time.
    pub tombstone_ms: u64,
    /// For how many revisions the changes are kept.
    pub max_change_revisions: u64,
    /// How long the outcome of a request with a key is kept, in milliseconds of cluster time.
    pub request_ms: u64,
    /// Outcomes of requests with a key that are kept.
    pub max_requests: u64,
    /// Bytes of those outcomes.
    pub max_request_bytes: u64,
    /// How long an unused session is kept, in milliseconds of cluster time.
    pub session_ms: u64,
    /// Sessions that are kept.
    pub max_sessions: u64,
    /// Outcomes that one session may leave unacknowledged.
    pub max_session_outcomes: u32,
    /// Databases, beside the system's own.
    pub max_databases: u32,
    /// Collections of all databases.
    pub max_collections: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            max_document_bytes: 16 * MIB,
            max_versions: 100,
            max_version_bytes: 64 * MIB,
            tombstone_ms: 7 * DAY_MS,
            max_change_revisions: 1_000_000,
            request_ms: DAY_MS,
            max_requests: 1_000_000,
            max_request_bytes: 256 * MIB,
            session_ms: DAY_MS,
            max_sessions: 100_000,
            max_session_outcomes: 256,
            max_databases: 1_000,
            max_collections: 10_000,
        }
    }
}

//! The shapes that travel between a JettraDB node and its clients.
//!
//! The server builds its answers from these types and the client reads them, so the two cannot
//! drift apart. Documents are never modelled here: they travel as the raw JSON that was sent.

mod cluster;
mod doctor;
mod error;
mod events;
mod watch;

pub use cluster::{
    ChangePlan, ClusterView, FederatedConfig, FederatedNode, FederatedView, JoinProgress, MachineMetrics, NodeView,
    Quorum, RegisterAnswer, Role, Status, TransferAnswer, UpgradeAnswer,
};
pub use doctor::{Diagnosis, Finding};
pub use error::{ErrorBody, ErrorCode, ErrorDetail};
pub use events::{ClusterEvent, EventKind};
pub use watch::{ChangeData, ChangeOp, CollectionPath, CompactedData, NoPosition, Position, ProgressData};

use serde::{Deserialize, Serialize};

/// The answer to `POST /api/doc`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The `_id` under which the document is stored.
    pub id: String,
    /// The revision (log index) of the write.
    pub rev: u64,
}

/// The answer of calls that report only what became of them, such as `{"status":"deleted"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusAnswer {
    /// What became of the call: `ok`, `created`, `deleted`, `renamed`, `restored`, …
    pub status: String,
    /// The revision (log index) of the write, where the call wrote one document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rev: Option<u64>,
}

/// The answer to `POST /api/docs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkSaved {
    /// How many documents were stored.
    pub count: u64,
    /// Their ids, in the order of the request.
    pub ids: Vec<String>,
}

/// The answer to `GET /api/count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountAnswer {
    /// How many documents the collection holds.
    pub count: u64,
}

/// One entry of `GET /api/dbs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseInfo {
    /// The database's name.
    pub name: String,
    /// The engine it was created with: `JettraBasicStore` or `JettraEngineStore`. Kept and reported only.
    pub engine: String,
}

/// The answer to `POST /api/login`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginAnswer {
    /// The value to send as the `Authorization` header, with its `Bearer ` prefix.
    pub token: String,
    /// The user's role.
    pub role: String,
    /// When the token ends unless it is used before, in milliseconds since 1970.
    pub expires: u64,
}

/// A login that is good: an item of `GET /api/tokens`. The token itself is shown to nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// The token's id, to end it by.
    pub id: String,
    /// Who logged in.
    pub user: String,
    /// The user's role.
    pub role: String,
    /// When, in milliseconds since 1970.
    pub issued: u64,
    /// When the token ends unless it is used before, in milliseconds since 1970.
    pub expires: u64,
    /// When it ends however often it is used, in milliseconds since 1970.
    pub ends: u64,
    /// Whether the list was asked for with this very token.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub current: bool,
}

impl std::fmt::Debug for LoginAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginAnswer").field("role", &self.role).field("expires", &self.expires).finish_non_exhaustive()
    }
}

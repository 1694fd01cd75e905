//! Commands: what a log entry asks the state to do.
//!
//! In the log a command is a JSON object that a person can read:
//!
//! ```json
//! {"v":1,"time":1700000000000,"op":"save","db":"shop","col":"users","id":"u1","doc":{"_id":"u1","name":"Ann"}}
//! ```
//!
//! `v` is the format, `time` the leader's clock when it proposed the entry, in milliseconds since 1970. A follower that
//! passes a command on leaves `time` out and the leader splices it in with [`stamp`]. `by` says who asks, where it is not
//! a node by itself. Documents stand in it as they came
//! and are sliced out of it again, without a copy and without another look.
//!
//! Adding a command is one variant of [`Op`], one arm in `encode` and `decode`, and one function under `apply`.

mod decode;
mod encode;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use bytes::Bytes;
use jettra_client::wire::{Role, Status};
use serde::{Deserialize, Serialize};

use super::document::IdentifiedDocument;
use super::journal::NewEvent;
use super::names::{CollectionName, DatabaseName, DocumentId, NodeName};
use super::patch::MergePatch;
use super::role::UserRole;
use super::settings::Settings;
use crate::feature;

pub use decode::CommandError;
pub use encode::stamp;

/// The format of commands that this version writes, and the only one it reads.
pub const COMMAND_FORMAT: u64 = 1;

/// What stands in a log entry beside the command.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// The leader's clock when it proposed it, in milliseconds since 1970; `None` before.
    pub time_ms: Option<u64>,
    /// Who asks for it; `None` for what nodes do by themselves.
    pub by: Option<By>,
}

/// By which right somebody asks: what the node that was asked knew of the user. It may know less than the others, so
/// whoever carries out what is asked looks again, and refuses what has ended since: see [`super::State::may`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct By {
    /// The user's name.
    pub user: String,
    /// The revision of the user's last change; 0 in protected mode, as there is no user then.
    pub rev: u64,
    /// The token's id, where it was by a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// A command, with the key that makes a repeat of its request harmless.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// Says which request it is, where the client wants a repeat to be recognised.
    pub request: Option<RequestKey>,
    /// What to do.
    pub op: Op,
}

/// Which request a command is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestKey {
    /// From the header `Idempotency-Key`.
    Key {
        /// Who asks; keys of different principals do not meet.
        principal: String,
        /// The client's key.
        key: String,
        /// A hash of the request: another one under the same key is a conflict.
        hash: String,
    },
    /// From the header `Jettra-Session`.
    Session {
        /// Who asks; sessions of different principals do not meet.
        principal: String,
        /// The client's id for the session.
        session: String,
        /// The request's number in it.
        sequence: u64,
        /// The client has the answers of all requests up to this number.
        acked: u64,
    },
}

/// What a command does.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// One write.
    Write(Write),
    /// Writes that are carried out together or not at all, in order; a later one sees the earlier ones.
    Batch(Vec<Write>),
    /// `create_db`: fine where it exists.
    CreateDatabase {
        /// Its name.
        name: DatabaseName,
        /// The engine to report, where one was named.
        engine: Option<String>,
    },
    /// `delete_db`: fine where it is absent.
    DeleteDatabase {
        /// Its name.
        name: DatabaseName,
    },
    /// `rename_db`.
    RenameDatabase {
        /// Its name now.
        from: DatabaseName,
        /// Its name from then on.
        to: DatabaseName,
    },
    /// `create_collection`: fine where it exists; creates the database too.
    CreateCollection {
        /// Its database.
        db: DatabaseName,
        /// Its name.
        name: CollectionName,
    },
    /// `delete_collection`: fine where it is absent.
    DeleteCollection {
        /// Its database.
        db: DatabaseName,
        /// Its name.
        name: CollectionName,
    },
    /// `rename_collection`.
    RenameCollection {
        /// Its database.
        db: DatabaseName,
        /// Its name now.
        from: CollectionName,
        /// Its name from then on.
        to: CollectionName,
    },
    /// `cluster_init`: gives the cluster its identity, once.
    ClusterInit {
        /// The cluster's id.
        cluster_id: String,
        /// The key that signs tokens.
        token_key: Vec<u8>,
        /// The settings to start with.
        settings: Settings,
        /// The feature level to start with.
        feature_level: u64,
    },
    /// `cluster_register`: gives a node its id in Raft.
    ClusterRegister {
        /// Its `NodeID`.
        id: NodeName,
        /// Where the others reach it.
        url: String,
        /// The id of its data directory.
        incarnation: String,
        /// What an administrator says of it.
        description: Option<String>,
        /// Whether a node that is not known yet is to be a read replica; a known one stays what it is.
        replica: bool,
    },
    /// `cluster_deregister`: fine where it is absent.
    ClusterDeregister {
        /// The member's `NodeID`.
        id: NodeName,
    },
    /// `cluster_stop`: marks the member INACTIVE.
    ClusterStop {
        /// The member's `NodeID`.
        id: NodeName,
    },
    /// `cluster_update_node`: what the leader has seen of the members.
    ClusterUpdateNode {
        /// What to change; a member that is not there is passed over.
        nodes: Vec<NodeChange>,
    },
    /// `set_user`: creates or replaces a user.
    SetUser {
        /// The user.
        user: NewUser,
        /// Do it only while there is no administrator; else `conflict`.
        only_if_no_admin: bool,
    },
    /// `token_issue`: somebody has logged in, and got a token; fine where that is known.
    TokenIssue {
        /// The token's id.
        id: String,
        /// Whose it is.
        user: String,
        /// The user's revision at that time.
        user_rev: u64,
        /// When it was issued, in milliseconds since 1970.
        issued_ms: u64,
        /// When it ends unless it is used before, in milliseconds since 1970.
        expires_ms: u64,
    },
    /// `token_renew`: a token lives until `expires_ms`.
    TokenRenew {
        /// The token's id.
        id: String,
        /// Whose it is.
        user: String,
        /// In milliseconds since 1970.
        expires_ms: u64,
    },
    /// `token_end`: a token is good no more.
    TokenEnd {
        /// The token's id.
        id: String,
        /// Whose it is.
        user: String,
        /// It is remembered until then, in milliseconds since 1970: by itself it would have ended by that time.
        until_ms: u64,
    },
    /// `cluster_event`: a line for the journal.
    ClusterEvent(NewEvent),
    /// `digest_check`: each node keeps the digests of its collections as they are at this entry.
    DigestCheck,
    /// `set_settings`: changes some of the replicated settings, by name.
    SetSettings(serde_json::Map<String, serde_json::Value>),
    /// `raise_feature_level`: the nodes may write what this level knows; fine where it is so already.
    RaiseFeatureLevel {
        /// The level.
        level: u64,
    },
}

impl Op {
    /// Whether it brings documents or collections in. What does not takes them away, or is the little that people and the
    /// cluster need so that they can: it goes on while a disk is nearly full.
    pub fn brings_in(&self) -> bool {
        match self {
            Op::Write(write) => write.brings_in(),
            Op::Batch(writes) => writes.iter().any(Write::brings_in),
            Op::CreateDatabase { .. }
            | Op::RenameDatabase { .. }
            | Op::CreateCollection { .. }
            | Op::RenameCollection { .. } => true,
            Op::DeleteDatabase { .. }
            | Op::DeleteCollection { .. }
            | Op::ClusterInit { .. }
            | Op::ClusterRegister { .. }
            | Op::ClusterDeregister { .. }
            | Op::ClusterStop { .. }
            | Op::ClusterUpdateNode { .. }
            | Op::SetUser { .. }
            | Op::TokenIssue { .. }
            | Op::TokenRenew { .. }
            | Op::TokenEnd { .. }
            | Op::ClusterEvent(_)
            | Op::DigestCheck
            | Op::SetSettings(_)
            | Op::RaiseFeatureLevel { .. } => false,
        }
    }
}

impl Write {
    fn brings_in(&self) -> bool {
        !matches!(self.action, Action::Delete { .. })
    }
}

/// One write to one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The database.
    pub db: DatabaseName,
    /// The collection.
    pub col: CollectionName,
    /// What to do.
    pub action: Action,
    /// What must be so before.
    pub condition: Option<Condition>,
}

/// What a write does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Replace or create.
    Save(IdentifiedDocument),
    /// Merge a patch into a document that is there.
    Update {
        /// The document.
        id: DocumentId,
        /// The change.
        patch: MergePatch,
    },
    /// Delete; fine where it is absent.
    Delete {
        /// The document.
        id: DocumentId,
    },
    /// Make a superseded state the newest one again.
    RestoreVersion {
        /// The document.
        id: DocumentId,
        /// Which state.
        version: Version,
    },
}

impl Action {
    /// The document it is about.
    pub fn id(&self) -> &DocumentId {
        match self {
            Action::Save(document) => &document.id,
            Action::Update { id, .. } | Action::Delete { id } | Action::RestoreVersion { id, .. } => id,
        }
    }
}

/// What must be so for a write to be carried out; else it answers `conflict` with the actual `rev`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// The document is there and has this revision (`If-Match`).
    Rev(u64),
    /// The document is not there (`If-None-Match: *`).
    Absent,
}

/// A superseded state of a document. As text it is `<time>_<rev>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Cluster time of the write, in milliseconds since 1970.
    pub time_ms: u64,
    /// The revision of the write.
    pub rev: u64,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}_{}", self.time_ms, self.rev)
    }
}

impl std::str::FromStr for Version {
    type Err = crate::error::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| super::json::parse_u64(text.as_bytes());
        let parts = text.split_once('_').and_then(|(time, rev)| Some((number(time)?, number(rev)?)));
        let (time_ms, rev) = parts.ok_or_else(|| {
            crate::error::Error::not_found(format!(
                "{} is no version; take one of those that GET /api/versions lists",
                super::names::shown(text)
            ))
        })?;
        Ok(Version { time_ms, rev })
    }
}

/// What changes of a member; `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeChange {
    /// The member's `NodeID`.
    pub id: NodeName,
    /// Its part in Raft.
    pub role: Option<Role>,
    /// Whether it is heard. A paused member that is heard has the status PAUSED, whatever is said here.
    pub status: Option<Status>,
    /// Whether it may not be elected.
    pub paused: Option<bool>,
    /// Where the others reach it.
    pub url: Option<String>,
    /// What an administrator says of it; an empty one takes it away.
    pub description: Option<String>,
    /// Whether it is to be a read replica.
    pub replica: Option<bool>,
}

impl NodeChange {
    /// No change of the member `id`.
    pub fn of(id: NodeName) -> Self {
        NodeChange { id, role: None, status: None, paused: None, url: None, description: None, replica: None }
    }
}

/// A user to be stored.
#[derive(Clone, PartialEq, Eq)]
pub struct NewUser {
    /// The name.
    pub name: String,
    /// What the user may do.
    pub role: UserRole,
    /// The password's hash, as a PHC string.
    pub password_hash: String,
    /// The databases the user may use; `*` is all.
    pub databases: Vec<String>,
}

impl std::fmt::Debug for NewUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewUser").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

impl Op {
    /// The feature level from which on it may be in the log: a version of a lower one could not read it.
    pub fn feature_level(&self) -> u64 {
        let plain = |db: &DatabaseName, col: &CollectionName| db.is_plain() && col.is_plain();
        let is_plain = match self {
            Op::TokenEnd { .. } => return feature::RIGHTS,
            Op::TokenIssue { .. } => return feature::LOGINS,
            Op::ClusterRegister { replica: true, .. } => return feature::REPLICAS,
            Op::ClusterUpdateNode { nodes } if nodes.iter().any(|node| node.replica.is_some()) => {
                return feature::REPLICAS;
            }
            Op::Write(write) => plain(&write.db, &write.col),
            Op::Batch(writes) => writes.iter().all(|write| plain(&write.db, &write.col)),
            Op::CreateDatabase { name, .. } | Op::DeleteDatabase { name } => name.is_plain(),
            Op::RenameDatabase { from, to } => from.is_plain() && to.is_plain(),
            Op::CreateCollection { db, name } | Op::DeleteCollection { db, name } => plain(db, name),
            Op::RenameCollection { db, from, to } => plain(db, from) && to.is_plain(),
            _ => true,
        };
        if is_plain { 1 } else { feature::UNICODE_NAMES }
    }
}

impl Command {
    /// A command without a request key.
    pub fn new(op: Op) -> Self {
        Command { request: None, op }
    }

    /// The form in the log, with the leader's time.
    #[cfg(test)]
    pub fn encode(&self, time_ms: u64) -> Bytes {
        encode::command(self, Some(time_ms), None)
    }

    /// The form in which a node passes it on, for whoever asks: the leader [`stamp`]s it.
    pub fn encode_unstamped(&self, by: Option<&By>) -> Bytes {
        encode::command(self, None, by)
    }

    /// Reads a command and what stands beside it. Documents are slices of `bytes` and are taken to be checked.
    pub fn decode(bytes: &Bytes) -> Result<(Command, Head), CommandError> {
        decode::command(bytes)
    }
}

//! What openraft is told about our cluster: ids, entries, members, answers.

use std::fmt;

use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::state::Outcome;

openraft::declare_raft_types!(
    /// The types of this cluster's Raft.
    pub TypeConfig:
        D = Proposal,
        R = Reply,
        NodeId = u64,
        Node = Member,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>,
        AsyncRuntime = openraft_rt_tokio::TokioRuntime,
);

pub(crate) use openraft::alias::{EntryOf, LogIdOf, SnapshotMetaOf, StoredMembershipOf, VoteOf};

/// A position in the log: term and index.
pub(crate) type LogId = LogIdOf<TypeConfig>;
/// A vote as Raft stores it.
pub(crate) type Vote = VoteOf<TypeConfig>;
/// One log entry.
pub(crate) type Entry = EntryOf<TypeConfig>;
/// Membership and the entry it came from.
pub(crate) type StoredMembership = StoredMembershipOf<TypeConfig>;
/// What a snapshot says of itself.
pub(crate) type SnapshotMeta = SnapshotMetaOf<TypeConfig>;

/// A command as a JSON object, carried as bytes from the request to the log, the wire and the state.
#[derive(Clone, PartialEq, Eq)]
pub struct Proposal(pub Bytes);

impl Serialize for Proposal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = std::str::from_utf8(&self.0).map_err(serde::ser::Error::custom)?;
        let raw: &RawValue = serde_json::from_str(text).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Proposal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        if !raw.get().starts_with('{') {
            return Err(D::Error::custom("a command is a JSON object"));
        }
        Ok(Proposal(Bytes::from(Box::<str>::from(raw).into_boxed_bytes().into_vec())))
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proposal({} bytes)", self.0.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What applying an entry came to; `None` for entries that are not commands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reply(pub Option<Outcome>);

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("reply")
    }
}

/// A member as the Raft membership carries it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Member {
    /// The member's `NodeID`.
    pub name: String,
    /// Where it is reached.
    pub url: String,
    /// The incarnation of its data directory.
    pub incarnation: String,
}

/// A snapshot as openraft hands it around.
pub(crate) type SnapshotOf = openraft::alias::SnapshotOf<TypeConfig, super::machine::SnapshotData>;
/// A handle on Raft.
pub(crate) type Raft = openraft::Raft<TypeConfig, super::machine::Machine>;

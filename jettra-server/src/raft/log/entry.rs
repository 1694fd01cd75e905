//! What a log is made of: votes, log ids, and entries with commands or memberships in them.
//!
//! The structures are openraft's, over our numbers; which of them a whole Raft uses is said above, in `raft/types.rs`.

use std::fmt;

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::vote::RaftLeaderId;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Who was voted for, and in which term: there is at most one leader in a term.
pub type LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>;

type Term = <LeaderId as RaftLeaderId>::Committed;

/// A position in the log: term and index.
pub type LogId = openraft::LogId<Term>;
/// A vote as Raft stores it.
pub type Vote = openraft::Vote<LeaderId>;
/// One log entry.
pub type Entry = openraft::Entry<Term, Content>;
/// What an entry says: nothing, a command, or a membership.
pub type Content = EntryPayload<Proposal, u64, Member>;

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

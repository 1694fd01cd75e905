//! What openraft is told about our cluster. The log's own types are `log`'s.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::log::{LeaderId, Member, Proposal};
use crate::state::Outcome;

openraft::declare_raft_types!(
    /// The types of this cluster's Raft.
    pub TypeConfig:
        D = Proposal,
        R = Reply,
        NodeId = u64,
        Node = Member,
        LeaderId = LeaderId,
        AsyncRuntime = openraft_rt_tokio::TokioRuntime,
);

/// Membership and the entry it came from.
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
/// What a snapshot says of itself.
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;

/// What applying an entry came to; `None` for entries that are not commands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Reply(pub Option<Outcome>);

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("reply")
    }
}

//! What decisions about the cluster go by: gathered once, then computed on without a network.

use std::time::Duration;

use jettra_client::wire::Status;

use crate::raft::{Consensus, Picture};
use crate::state::MemberDoc;

/// The members as the leader sees them at one moment, by `NodeID`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The members.
    pub members: Vec<Fact>,
    /// Whether a change of membership is between its two steps.
    pub is_joint: bool,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Its `NodeID`.
    pub id: String,
    /// Its Raft id.
    pub raft_id: u64,
    /// Where it is reached.
    pub url: String,
    /// Whether it votes.
    pub voter: bool,
    /// Whether it leads.
    pub leads: bool,
    /// Whether it is heard and was not asked to stop.
    pub active: bool,
    /// Whether its document says that it is INACTIVE.
    pub gone: bool,
    /// Whether it may not be elected.
    pub paused: bool,
    /// The time since it was last heard, where known.
    pub silence: Option<Duration>,
    /// Entries that it is behind, where known.
    pub lag: Option<u64>,
}

impl Facts {
    /// What the leader knows; a member silent for `inactive_after` is not active.
    pub fn gather(consensus: &Consensus, inactive_after: Duration) -> Self {
        Self::of(&consensus.picture(), &consensus.state().members(), inactive_after)
    }

    /// The same, from Raft's numbers and the members' documents.
    pub fn of(picture: &Picture, docs: &[MemberDoc], inactive_after: Duration) -> Self {
        let voters = picture.voters();
        let fact = |doc: &MemberDoc| {
            let me = doc.raft_id == picture.id;
            let silence = if me { Some(Duration::ZERO) } else { silence(picture, doc.raft_id) };
            Fact {
                id: doc.id.clone(),
                raft_id: doc.raft_id,
                url: doc.url.clone(),
                voter: voters.contains(&doc.raft_id),
                leads: picture.leader == Some(doc.raft_id),
                active: silence.is_some_and(|s| s < inactive_after) && doc.status != Status::Inactive,
                gone: doc.status == Status::Inactive,
                paused: doc.paused,
                silence,
                lag: lag(picture, doc.raft_id),
            }
        };
        Facts { members: docs.iter().map(fact).collect(), is_joint: picture.is_joint() }
    }

    /// The member with this Raft id.
    pub fn member(&self, raft_id: u64) -> Option<&Fact> {
        self.members.iter().find(|m| m.raft_id == raft_id)
    }

    /// Those that vote.
    pub fn voters(&self) -> impl Iterator<Item = &Fact> {
        self.members.iter().filter(|m| m.voter)
    }
}

/// The time since the leader last heard the peer `id`; none before its first answer.
fn silence(picture: &Picture, id: u64) -> Option<Duration> {
    picture.silence.get(&id).copied().flatten()
}

/// How many entries a peer is behind, as the leader knows.
pub(super) fn lag(picture: &Picture, id: u64) -> Option<u64> {
    if id == picture.id {
        return Some(0);
    }
    picture.matched.get(&id).copied().flatten().map(|matched| picture.last.saturating_sub(matched))
}

/// Whether the leader has heard the peer `id` within the last `limit`.
pub(super) fn heard_within(picture: &Picture, id: u64, limit: Duration) -> bool {
    silence(picture, id).is_some_and(|s| s < limit)
}

//! What decisions about the cluster go by, and what is shown of it: gathered once, then computed on without a network.
//!
//! The members' documents say what the last leader wrote; they are silent when there is none. So what this node hears
//! itself is laid over them: on the leader who follows it, elsewhere the leader's word as long as the leader is heard,
//! and without a leader whoever answers.

use std::collections::BTreeMap;
use std::time::Duration;

use jettra_client::wire::{Quorum, Role, Status};

use crate::peers::Hearing;
use crate::raft::{Consensus, Picture, ServerState};
use crate::state::MemberDoc;

/// A member that was INACTIVE is ACTIVE without a leader's word only if it was heard within so long: members are asked
/// more often than that then.
const BACK: Duration = Duration::from_secs(1);

/// The members as one node sees them at one moment, by `NodeID`.
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
    /// Whether it is to be a read replica.
    pub replica: bool,
    /// Whether Raft on this node takes it for the leader.
    pub leads: bool,
    /// Its part, as there is reason to believe.
    pub role: Role,
    /// Whether it is heard.
    pub status: Status,
    /// Whether its document says that it is INACTIVE.
    pub gone: bool,
    /// Whether it may not be elected.
    pub paused: bool,
    /// The time since it was last heard, where known.
    pub silence: Option<Duration>,
    /// Entries that it is behind, where known.
    pub lag: Option<u64>,
}

impl Fact {
    /// Whether it is heard and was not asked to stop; who is paused votes and is.
    pub fn active(&self) -> bool {
        self.status != Status::Inactive
    }
}

/// What a node hears, beside what Raft tells it.
#[derive(Debug, Default)]
pub struct Heard {
    /// The time since each member was heard by whatever call or answer; or since it is known, if it never was.
    pub silence: BTreeMap<u64, Duration>,
}

impl Heard {
    /// What `hearing` has of the members in `docs`.
    pub fn of(hearing: &Hearing, docs: &[MemberDoc]) -> Self {
        Heard { silence: docs.iter().map(|doc| (doc.raft_id, hearing.silence_or_known(doc.raft_id))).collect() }
    }
}

impl Facts {
    /// What a leader decides by: only whom it has heard itself, within `limit`, is active.
    pub fn gather(consensus: &Consensus, limit: Duration) -> Self {
        let picture = consensus.picture();
        // One that has just been elected, or is about to lose it, decides as a leader all the same.
        let leads = picture.state == ServerState::Leader;
        let picture = Picture { believed: if leads { Some(picture.id) } else { picture.believed }, ..picture };
        Self::of(&picture, &consensus.state().members(), &Heard::default(), limit)
    }

    /// From Raft's numbers, the members' documents and what is heard: who is silent for `limit` is INACTIVE.
    pub fn of(picture: &Picture, docs: &[MemberDoc], heard: &Heard, limit: Duration) -> Self {
        let voters = picture.voters();
        let fact = |doc: &MemberDoc| {
            let silence = silence(picture, doc.raft_id);
            let known = silence.or_else(|| heard.silence.get(&doc.raft_id).copied());
            Fact {
                id: doc.id.clone(),
                raft_id: doc.raft_id,
                url: doc.url.clone(),
                voter: voters.contains(&doc.raft_id),
                replica: doc.replica,
                leads: picture.leader == Some(doc.raft_id),
                role: role_of(picture, doc),
                status: status(picture, doc, known, limit),
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

    /// Their votes.
    pub fn quorum(&self) -> Quorum {
        Quorum::new(self.voters().count() as u64, self.voters().filter(|m| m.active()).count() as u64)
    }

    /// The leader that there is reason to believe in.
    pub fn leader(&self) -> Option<&Fact> {
        self.members.iter().find(|m| m.role == Role::Leader)
    }
}

/// Whether a member is heard. On the leader a document stays INACTIVE until the leader has written otherwise; on others
/// the leader's documents count; without a leader only what is heard.
fn status(picture: &Picture, doc: &MemberDoc, silence: Option<Duration>, limit: Duration) -> Status {
    let heard_within = |limit| silence.is_some_and(|silence| silence < limit);
    // It is registered, and not in Raft's membership yet.
    let joins = doc.voter.is_none();
    match picture.believed {
        Some(leader) if leader == picture.id => {
            if heard_within(limit) || joins || doc.raft_id == picture.id {
                doc.status
            } else {
                Status::Inactive
            }
        }
        Some(_) => doc.status,
        None if doc.raft_id != picture.id && doc.status != Status::Inactive && !heard_within(limit) => Status::Inactive,
        None if doc.status == Status::Inactive && doc.raft_id != picture.id && !heard_within(BACK.min(limit)) => {
            Status::Inactive
        }
        None if doc.paused => Status::Paused,
        None => Status::Active,
    }
}

/// A member's part, as there is reason to believe.
fn role_of(picture: &Picture, doc: &MemberDoc) -> Role {
    if picture.believed == Some(doc.raft_id) {
        Role::Leader
    } else if doc.voter == Some(false) && doc.replica {
        Role::Replica
    } else if doc.voter != Some(true) {
        Role::Learner
    } else if doc.raft_id == picture.id {
        role(picture.state, false)
    } else {
        Role::Follower
    }
}

/// The part of a node that believes, or does not, that somebody leads whom Raft calls the leader: a leader that no
/// majority follows leads nobody.
pub(super) fn role(state: ServerState, leads: bool) -> Role {
    match state {
        ServerState::Leader if leads => Role::Leader,
        ServerState::Candidate => Role::Candidate,
        ServerState::Follower | ServerState::Leader => Role::Follower,
        ServerState::Learner | ServerState::Shutdown => Role::Learner,
    }
}

/// The time since this node last heard the member `id` in Raft: on the leader since its last answer, none before the
/// first; elsewhere only of itself.
fn silence(picture: &Picture, id: u64) -> Option<Duration> {
    if id == picture.id {
        return Some(Duration::ZERO);
    }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(3);

    fn picture(state: ServerState, leader: Option<u64>, believed: Option<u64>) -> Picture {
        Picture {
            id: 1,
            state,
            term: 4,
            leader,
            believed,
            quorum_silence: None,
            last: 9,
            committed: 9,
            applied: 9,
            snapshot: 0,
            membership: Arc::default(),
            matched: BTreeMap::new(),
            silence: BTreeMap::new(),
            halted: None,
        }
    }

    fn doc(raft_id: u64, status: Status) -> MemberDoc {
        MemberDoc {
            id: format!("node{raft_id}"),
            url: format!("http://localhost:808{raft_id}"),
            role: if raft_id == 1 { Role::Leader } else { Role::Follower },
            status,
            description: None,
            voter: Some(true),
            replica: false,
            paused: status == Status::Paused,
            raft_id,
            incarnation: "i".into(),
        }
    }

    /// What is shown of a member whose document says `written` and that was heard `ago` milliseconds ago.
    fn shown(picture: &Picture, raft_id: u64, written: Status, ago: u64) -> Status {
        let heard = Heard { silence: BTreeMap::from([(raft_id, Duration::from_millis(ago))]) };
        Facts::of(picture, &[doc(raft_id, written)], &heard, LIMIT).members[0].status
    }

    #[test]
    fn who_is_heard_counts_where_nobody_leads() {
        use Status::{Active, Inactive, Paused};
        let alone = picture(ServerState::Follower, Some(2), None);
        for (written, ago, status) in [
            (Active, 100, Active),
            (Active, 2_900, Active),
            (Active, 3_000, Inactive),
            (Paused, 100, Paused),
            (Paused, 3_000, Inactive),
            (Inactive, 100, Active),
            (Inactive, 2_000, Inactive),
        ] {
            assert_eq!(shown(&alone, 2, written, ago), status, "{written}, heard {ago} ms ago");
        }
        assert_eq!(shown(&alone, 1, Inactive, 0), Active, "it runs itself");
    }

    #[test]
    fn a_leader_is_believed_and_goes_by_its_own_ears() {
        use Status::{Active, Inactive};
        let follows = picture(ServerState::Follower, Some(2), Some(2));
        assert_eq!(shown(&follows, 3, Active, 60_000), Active, "the leader hears it");
        assert_eq!(shown(&follows, 3, Inactive, 0), Inactive);
        let leads = picture(ServerState::Leader, Some(1), Some(1));
        assert_eq!(shown(&leads, 2, Active, 100), Active);
        assert_eq!(shown(&leads, 2, Active, 3_000), Inactive, "before it is written");
        assert_eq!(shown(&leads, 2, Inactive, 100), Inactive, "until it is written otherwise");
    }

    #[test]
    fn one_that_no_majority_follows_leads_nobody() {
        let docs = [doc(1, Status::Active), doc(2, Status::Active)];
        let roles = |picture: &Picture| {
            let facts = Facts::of(picture, &docs, &Heard::default(), LIMIT);
            (facts.leader().map(|leader| leader.raft_id), facts.members[0].role)
        };
        assert_eq!(roles(&picture(ServerState::Leader, Some(1), Some(1))), (Some(1), Role::Leader));
        assert_eq!(roles(&picture(ServerState::Leader, Some(1), None)), (None, Role::Follower));
        assert_eq!(roles(&picture(ServerState::Candidate, None, None)), (None, Role::Candidate));
        assert_eq!(roles(&picture(ServerState::Follower, Some(2), None)), (None, Role::Follower));
    }
}

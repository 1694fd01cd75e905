//! Raft's numbers at one moment, and whom this node believes to lead.

use std::collections::BTreeMap;
use std::sync::{Arc, Once};
use std::time::Duration;

use openraft::Instant as _;
use openraft::ServerState;
use openraft::async_runtime::WatchReceiver as _;

use super::Consensus;
use crate::raft::log::Member;
use crate::raft::types::StoredMembership;
use crate::remedy::Fault;

/// A leader is believed in for so long at least: a busy machine is silent for longer than an election time-out at times.
const BELIEF: Duration = Duration::from_secs(1);

/// Raft's own numbers at one moment.
#[derive(Debug, Clone)]
pub struct Picture {
    /// This node's Raft id.
    pub id: u64,
    /// Its part.
    pub state: ServerState,
    /// The current term.
    pub term: u64,
    /// The leader's Raft id, where known. Raft remembers it for as long as nobody else is elected.
    pub leader: Option<u64>,
    /// The same, as long as there is reason to believe in it: see [`Consensus::belief`].
    pub believed: Option<u64>,
    /// On the leader: the time since a majority last followed it.
    pub quorum_silence: Option<Duration>,
    /// Index of the last log entry.
    pub last: u64,
    /// Index of the last entry known to be committed.
    pub committed: u64,
    /// Index of the last entry applied.
    pub applied: u64,
    /// Index of the entry that the last durable point covers.
    pub snapshot: u64,
    /// Members and voters.
    pub membership: Arc<StoredMembership>,
    /// On the leader: the last index known to be on each peer's disk; none before its first answer.
    pub matched: BTreeMap<u64, Option<u64>>,
    /// On the leader: the time since each peer was last heard.
    pub silence: BTreeMap<u64, Option<Duration>>,
    /// Why Raft has stopped, where it has because of an error.
    pub halted: Option<Fault>,
}

impl Picture {
    /// The voters' Raft ids.
    pub fn voters(&self) -> Vec<u64> {
        self.membership.voter_ids().collect()
    }

    /// The Raft ids of the members that do not vote.
    pub fn learners(&self) -> Vec<u64> {
        let voters = self.voters();
        self.membership.nodes().map(|(id, _)| *id).filter(|id| !voters.contains(id)).collect()
    }

    /// Those whose votes end with the change of membership that is between its two steps.
    pub fn leaving(&self) -> Vec<u64> {
        let last = self.membership.get_joint_config().last();
        self.voters().into_iter().filter(|id| last.is_some_and(|config| !config.contains(id))).collect()
    }

    /// Whether a change of membership is between its two steps.
    pub fn is_joint(&self) -> bool {
        self.membership.get_joint_config().len() > 1
    }

    /// The member with Raft id `id`.
    pub fn member(&self, id: u64) -> Option<&Member> {
        self.membership.get_node(&id)
    }
}

impl Consensus {
    /// For how long a leader that is not heard is believed to lead, and one that no majority follows believes it of
    /// itself: two election time-outs, and a second at least.
    pub fn belief(&self) -> Duration {
        BELIEF.max(self.election_max * 2)
    }

    /// Whether there is reason to believe that `leader` leads. Raft has no end of its own to it: a follower without a
    /// majority for an election remembers whom it heard last, and a leader without one goes on asking.
    fn is_believed(&self, leader: u64, quorum_silence: Option<Duration>) -> bool {
        let silence = if leader == self.id { quorum_silence } else { self.contact.silence_of(leader) };
        silence.is_some_and(|silence| silence < self.belief())
    }

    /// What has failed below Raft, which ends it.
    pub fn failure(&self) -> Option<Fault> {
        self.log.fault().or_else(|| self.store.fault())
    }

    /// Why Raft has stopped: what failed below it where something has, since openraft's own words are for its makers.
    pub(super) fn fault(&self, e: &impl std::fmt::Display) -> Fault {
        self.failure().or_else(|| self.log.unread()).unwrap_or_else(|| {
            // Whoever waits for Raft asks, and there may be thousands.
            static TOLD: Once = Once::new();
            TOLD.call_once(|| tracing::error!(error = %e, "raft has stopped"));
            Fault::other("raft has stopped, the log says why")
        })
    }

    /// Raft's numbers now.
    pub fn picture(&self) -> Picture {
        let m = self.raft.metrics().borrow_watched().clone();
        let quorum_silence =
            quorum_silence(self.id, m.state, &m.membership_config, m.last_quorum_acked.map(|at| at.elapsed()));
        let matched = m.replication.unwrap_or_default();
        let heard = m.heartbeat.unwrap_or_default();
        Picture {
            id: self.id,
            state: m.state,
            term: m.current_term,
            leader: m.current_leader,
            believed: m.current_leader.filter(|leader| self.is_believed(*leader, quorum_silence)),
            quorum_silence,
            last: m.last_log_index.unwrap_or(0),
            committed: m.cluster_committed.map_or(0, |id| id.index),
            applied: m.last_applied.map_or(0, |id| id.index),
            snapshot: m.snapshot.map_or(0, |id| id.index),
            membership: m.membership_config,
            matched: matched.into_iter().map(|(id, at)| (id, at.map(|at| at.index))).collect(),
            silence: heard.into_iter().map(|(id, at)| (id, at.map(|at| at.elapsed()))).collect(),
            halted: m.running_state.err().map(|e| self.fault(&e)),
        }
    }

    /// This node's part, and the leader where there is reason to believe in one: cheap enough for every request.
    /// A leader that no majority follows counts as a follower.
    pub fn standing(&self) -> (ServerState, Option<(String, String)>) {
        let m = self.raft.server_metrics().borrow_watched().clone();
        let acked = match m.state {
            ServerState::Leader => self.raft.data_metrics().borrow_watched().last_quorum_acked.map(|at| at.elapsed()),
            _ => None,
        };
        let quorum_silence = quorum_silence(self.id, m.state, &m.membership_config, acked);
        let leader = m.current_leader.filter(|leader| self.is_believed(*leader, quorum_silence));
        let state = if m.state == ServerState::Leader && leader.is_none() { ServerState::Follower } else { m.state };
        let leader = leader.and_then(|id| m.membership_config.get_node(&id).cloned());
        (state, leader.map(|l| (l.name, l.url)))
    }

    /// Waits for any change of Raft's numbers, at most for `limit`.
    pub async fn changed(&self, limit: Duration) {
        let mut metrics = self.raft.server_metrics();
        // openraft's own receiver has seen nothing yet, so what is there now would count as a change.
        drop(metrics.borrow_and_update());
        // Running out of time is as good a reason to look again as a change.
        drop(tokio::time::timeout(limit, metrics.changed()).await);
    }
}

/// The time since a majority last followed this node, where it leads. Alone it follows itself.
fn quorum_silence(
    id: u64,
    state: ServerState,
    membership: &StoredMembership,
    acked: Option<Duration>,
) -> Option<Duration> {
    if state != ServerState::Leader {
        return None;
    }
    if membership.voter_ids().all(|voter| voter == id) { Some(Duration::ZERO) } else { acked }
}

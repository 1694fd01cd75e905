//! A command into the log, and the index that a read must have applied.

use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use openraft::ReadPolicy;
use openraft::errors::{ChangeMembershipError, ClientWriteError, ForwardToLeader, LinearizableReadError, RaftError};
use serde::{Deserialize, Serialize};

use super::{Consensus, KIB};
use crate::error::{Error, Result};
use crate::limits;
use crate::raft::log::{Member, Proposal};
use crate::raft::types::TypeConfig;
use crate::remedy::Fault;
use crate::state::Outcome;

/// A command that was applied.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Committed {
    /// Its log index.
    pub index: u64,
    /// What it came to.
    pub outcome: Outcome,
}

/// This node does not lead.
#[derive(Debug, Clone)]
pub struct NotLeader {
    /// Who does, where known.
    pub leader: Option<(u64, Member)>,
}

impl From<ForwardToLeader<TypeConfig>> for NotLeader {
    fn from(f: ForwardToLeader<TypeConfig>) -> Self {
        NotLeader { leader: f.leader_id.zip(f.leader_node) }
    }
}

impl Consensus {
    /// Proposes a stamped command here, on the leader.
    ///
    /// # Errors
    /// Outer: `busy`, or `timeout` when the outcome is unknown. Inner: this node does not lead, and
    /// nothing was proposed.
    pub async fn propose(&self, command: Bytes, limit: Duration) -> Result<std::result::Result<Committed, NotLeader>> {
        let size = u32::try_from(command.len().div_ceil(KIB)).unwrap_or(u32::MAX);
        let Ok(_room) = self.in_flight.clone().try_acquire_many_owned(size) else {
            return Err(Error::busy("too many bytes of writes are under way: try again in a moment"));
        };
        let (raft, commits, began) = (self.raft.clone(), self.commits.clone(), Instant::now());
        // A task of its own: giving up waiting must not drop the write between its steps.
        let write = tokio::spawn(async move {
            let _room = _room;
            let written = raft.client_write(Proposal(command)).await;
            if written.is_ok() {
                commits.record(began.elapsed());
            }
            written
        });
        let Ok(written) = tokio::time::timeout(limit, write).await else {
            return Err(Error::in_doubt("no majority confirmed it in time"));
        };
        match written.map_err(|_| Error::in_doubt("the task that waited for it has ended: see the log"))? {
            Ok(done) => {
                let outcome = done.data.0.ok_or_else(|| Error::internal("a command was applied without an outcome"))?;
                Ok(Ok(Committed { index: done.log_id.index, outcome }))
            }
            Err(e) => self.not_leader(e).map(Err),
        }
    }

    /// The index that a read must have applied to be linearizable, confirmed by a majority (or by
    /// the leader's lease), asked here on the leader.
    ///
    /// # Errors
    /// Outer: no majority answered. Inner: this node does not lead.
    pub async fn read_index(&self, lease: bool) -> Result<std::result::Result<u64, NotLeader>> {
        if lease && self.is_quiet() {
            return Err(Error::no_leader("this node has just started and holds no lease yet: try again in a moment"));
        }
        let policy = if lease { ReadPolicy::LeaseRead } else { ReadPolicy::ReadIndex };
        let asked = tokio::time::timeout(limits::LEADER_ROUND, self.raft.get_read_linearizer(policy)).await;
        match asked.map_err(|_| Error::no_leader("no majority confirmed the leader in time"))? {
            Ok(linearizer) => Ok(Ok(linearizer.read_log_id().index())),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(f))) => Ok(Err(f.into())),
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(e))) => Err(Error::no_leader(format!(
                "no majority confirmed the leader: {} of {} voters did: see GET /api/cluster, and try again",
                e.got.len(),
                self.picture().voters().len()
            ))),
            Err(RaftError::Fatal(e)) => Err(halted(&self.fault(&e))),
        }
    }

    /// Tells apart what was surely not proposed from what may have been.
    pub(super) fn not_leader(&self, e: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> Result<NotLeader> {
        match e {
            RaftError::APIError(ClientWriteError::ForwardToLeader(f)) => Ok(f.into()),
            RaftError::APIError(ClientWriteError::ChangeMembershipError(e)) => {
                tracing::info!(error = %e, "raft refused a change of membership");
                let why = match e {
                    ChangeMembershipError::InProgress(_) => "another change of it is under way",
                    ChangeMembershipError::EmptyMembership(_) => "nobody would be left who votes",
                    ChangeMembershipError::LearnerNotFound(_) => "the node is no member",
                    _ => "the leader has only just been elected, or others change it too",
                };
                Err(Error::conflict(format!(
                    "the membership cannot change now: {why}: see GET /api/cluster, and try again"
                )))
            }
            RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => {
                Err(Error::in_doubt("another node was elected before a majority had confirmed it"))
            }
            RaftError::APIError(ClientWriteError::PreconditionFailed(e)) => {
                tracing::error!(error = %e, "raft refused a write for a condition that nobody has set");
                Err(Error::internal("a write was refused for a condition that nobody has set"))
            }
            RaftError::Fatal(e) => Err(Error::in_doubt(&format!("the leader has stopped: {}", self.fault(&e)))),
        }
    }
}

fn halted(why: &Fault) -> Error {
    Error::unavailable(format!("this node has stopped ({why}): see its log, and ask another node"))
}

//! Who belongs, who votes, and who leads.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use openraft::ChangeMembers;
use openraft::errors::{ClientWriteError, RaftError};

use super::Consensus;
use crate::error::{Error, Result};
use crate::raft::log::Member;
use crate::raft::types::TypeConfig;

impl Consensus {
    /// Adds a node that replicates and does not vote. Idempotent.
    ///
    /// # Errors
    /// As [`Consensus::propose`].
    pub async fn add_learner(&self, id: u64, member: Member, limit: Duration) -> Result<()> {
        let raft = self.raft.clone();
        self.change(limit, async move { raft.add_learner(id, member, false).await }).await
    }

    /// Replaces what the membership says of member `id`, such as its URL. It must be the same node, with the same
    /// data directory: whoever calls has asked it. Idempotent.
    ///
    /// # Errors
    /// As [`Consensus::propose`].
    pub async fn set_member(&self, id: u64, member: Member, limit: Duration) -> Result<()> {
        let raft = self.raft.clone();
        let change = ChangeMembers::SetNodes(BTreeMap::from([(id, member)]));
        self.change(limit, async move { raft.change_membership(change, true).await }).await
    }

    /// Whether this node may be elected; openraft forgets it at the end of the process.
    pub fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
        self.raft.runtime_config().elect(!paused && !self.is_quiet());
    }

    /// Stands for election although it is paused, where nobody else can be elected: acknowledged writes may be in its
    /// log alone of those that are left.
    pub async fn stand_if_only_choice(&self) {
        let leaderless = self.contact.silence().unwrap_or_else(|| self.quiet_until.elapsed());
        // Others would have been elected long before, if they could: all that are left may be paused.
        let is_nobody_else = leaderless > 10 * self.election_max
            || (leaderless > self.election_max && self.contact.is_only_choice(2 * self.election_max));
        if !self.paused.load(Ordering::Relaxed) || self.is_quiet() || !is_nobody_else {
            return;
        }
        tracing::warn!("this node is paused, and only it can be elected: it takes over for a moment");
        if let Err(e) = self.raft.trigger().elect(true).await {
            tracing::warn!(error = %e, "no election was begun");
        }
    }

    /// Makes a learner a voter. Idempotent.
    ///
    /// # Errors
    /// As [`Consensus::propose`].
    pub async fn promote(&self, id: u64, limit: Duration) -> Result<()> {
        let raft = self.raft.clone();
        let change = ChangeMembers::AddVoterIds([id].into());
        self.change(limit, async move { raft.change_membership(change, true).await }).await
    }

    /// Makes a voter one that replicates and does not vote. Idempotent.
    ///
    /// # Errors
    /// As [`Consensus::propose`].
    pub async fn demote(&self, id: u64, limit: Duration) -> Result<()> {
        let raft = self.raft.clone();
        let change = ChangeMembers::RemoveVoters([id].into());
        self.change(limit, async move { raft.change_membership(change, true).await }).await
    }

    /// Finishes a change of membership that another leader began and left between its two steps. Who votes no more is
    /// a member no more, unless `retain` says that it stays.
    ///
    /// # Errors
    /// As [`Consensus::propose`].
    pub async fn finish_change(&self, retain: bool, limit: Duration) -> Result<()> {
        let raft = self.raft.clone();
        let change = ChangeMembers::AddVoterIds(std::collections::BTreeSet::new());
        self.change(limit, async move { raft.change_membership(change, retain).await }).await
    }

    /// Removes a member, voter or not. Idempotent.
    ///
    /// # Errors
    /// As [`Consensus::propose`].
    pub async fn remove(&self, id: u64, limit: Duration) -> Result<()> {
        let picture = self.picture();
        let change = if picture.voters().contains(&id) {
            ChangeMembers::RemoveVoters([id].into())
        } else if picture.member(id).is_some() {
            ChangeMembers::RemoveNodes([id].into())
        } else {
            return Ok(());
        };
        let raft = self.raft.clone();
        self.change(limit, async move { raft.change_membership(change, false).await }).await
    }

    async fn change<T: Send + 'static>(
        &self,
        limit: Duration,
        change: impl Future<Output = std::result::Result<T, RaftError<TypeConfig, ClientWriteError<TypeConfig>>>>
        + Send
        + 'static,
    ) -> Result<()> {
        let changed = tokio::time::timeout(limit, tokio::spawn(change)).await;
        let changed = changed.map_err(|_| Error::in_doubt("no majority confirmed the change of membership in time"))?;
        match changed.map_err(|_| Error::in_doubt("the task that waited for it has ended: see the log"))? {
            Ok(_) => Ok(()),
            Err(e) => {
                self.not_leader(e)?;
                Err(Error::no_leader("leadership was lost during the change of membership: try again"))
            }
        }
    }

    /// Hands leadership to `target` and waits until someone else leads, at most for `limit`.
    /// Returns whether it happened.
    pub async fn transfer(&self, target: u64, limit: Duration) -> bool {
        if let Err(e) = self.raft.trigger().transfer_leader(target).await {
            tracing::warn!(error = %e, target, "leadership could not be handed over");
            return false;
        }
        let deadline = Instant::now() + limit;
        loop {
            let picture = self.picture();
            if picture.leader.is_some_and(|leader| leader != self.id) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.changed(left.min(Duration::from_millis(50))).await;
        }
    }
}

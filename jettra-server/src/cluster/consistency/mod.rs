//! How new a read must be, and how a node gets as far.
//!
//! A linearizable read on any node asks the leader up to where it must have applied the log, waits until it has, and is
//! answered from its own state. Readers that arrive at about the same time share one question: see `rounds`.

mod rounds;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jettra_client::wire::ErrorCode;

use self::rounds::ReadRounds;
use super::route::{Forwarded, Reached, Work, wrong_answer};
use super::{Call, Cluster};
use crate::error::{Error, Result};
use crate::limits;
use crate::planted::{self, Bug};
use crate::raft::{Consensus, ServerState};

/// How new an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// It reflects every write that was acknowledged before the read began: a majority confirms who leads.
    Linearizable,
    /// The same, resting on the leader's lease.
    Lease,
    /// Whatever this node has, at most so many entries behind.
    Local {
        /// Entries; `None` is any number.
        max_lag: Option<u64>,
    },
}

/// The questions under way at this node.
#[derive(Default)]
pub(super) struct Reads {
    confirmed: ReadRounds,
    leased: ReadRounds,
}

impl Cluster {
    /// Waits until this node may answer a read that is to be as new as `consistency` says, and has applied the log index
    /// `min_index`; returns the index that the answer reflects at least.
    ///
    /// # Errors
    /// `no_leader` when the leader cannot be reached or this node does not catch up in time; `unavailable` when it is too
    /// far behind; `timeout` when `min_index` is not reached; `unauthorized` when the right of who asks has ended.
    pub async fn ready_to_read(
        self: &Arc<Self>,
        call: &Call,
        consistency: Consistency,
        min_index: Option<u64>,
    ) -> Result<u64> {
        let consensus = self.consensus()?;
        if let Some(min) = min_index.filter(|_| !planted::has(Bug::MinIndexEarly))
            && !consensus.wait_applied(min, call.left()).await
        {
            return Err(Error::timeout(format!(
                "this node has applied index {} and not {min} yet: try again, or ask another node",
                consensus.applied_index()
            ))
            .with("appliedIndex", consensus.applied_index()));
        }
        match consistency {
            Consistency::Linearizable if planted::has(Bug::ReadWithoutIndex) => {}
            Consistency::Linearizable => self.catch_up(call, &consensus, false).await?,
            Consistency::Lease => self.catch_up(call, &consensus, true).await?,
            Consistency::Local { max_lag } => check_lag(&consensus, max_lag)?,
        }
        if !matches!(consistency, Consistency::Local { .. }) {
            // Who asks was looked at before this node had caught up.
            self.check_right(call.by.as_ref())?;
        }
        // The state is ahead of what is said of it, for as long as it tidies up; what it shows is new all the same.
        let state = consensus.state();
        Ok(consensus.applied_index().max(state.index_of(state.applied().rev)))
    }

    /// Makes sure that this node's state has been as new as the leader's once since it joined: before,
    /// it does not know which users there are.
    ///
    /// # Errors
    /// As [`Cluster::ready_to_read`].
    pub async fn catch_up_once(self: &Arc<Self>, call: &Call) -> Result<()> {
        if !self.caught_up.load(Ordering::Relaxed) {
            self.ready_to_read(call, Consistency::Linearizable, None).await?;
            self.caught_up.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The same for what is answered from this node's own state: it does not wait for a leader that is not there, and
    /// then goes by what this node knows. One that has just started gives a leader a moment to be heard.
    pub async fn catch_up_if_led(self: &Arc<Self>) {
        const LED: Duration = Duration::from_secs(1);
        const HEARD: Duration = Duration::from_secs(2);
        let Some(consensus) = self.running().filter(|_| !self.caught_up.load(Ordering::Relaxed)) else { return };
        let silence = consensus.contact().silence();
        let led = consensus.picture().state == ServerState::Leader || silence.is_some_and(|silence| silence < HEARD);
        let since_start = self.opened.get().map_or(HEARD, Instant::elapsed);
        let limit = if led { LED } else { HEARD.saturating_sub(since_start) };
        if limit.is_zero() {
            return;
        }
        if let Err(e) = self.catch_up_once(&Call::internal(limit)).await {
            tracing::debug!(error = %e, "asked without a leader");
        }
    }

    /// Waits until this node has applied what the leader had committed when it was asked.
    async fn catch_up(self: &Arc<Self>, call: &Call, consensus: &Consensus, lease: bool) -> Result<()> {
        let node = self.clone();
        // Shared by all that wait: so neither this reader's time limit nor its wish not to be forwarded
        // counts, which is about requests and not about confirming who leads.
        let round = move || {
            let node = node.clone();
            async move { node.ask_read_index(&Call::internal(limits::CONFIRMING), lease).await }
        };
        let rounds = if lease { &self.reads.leased } else { &self.reads.confirmed };
        let asked = tokio::time::timeout(call.left(), rounds.join(round)).await;
        let index = asked.map_err(|_| unconfirmed())??;
        if consensus.wait_applied(index, call.left()).await {
            return Ok(());
        }
        Err(Error::no_leader(format!(
            "this node has applied index {} of {index} and did not catch up in time: try again, or ask another node",
            consensus.applied_index()
        ))
        .with("appliedIndex", consensus.applied_index()))
    }

    async fn ask_read_index(self: &Arc<Self>, call: &Call, lease: bool) -> Result<u64> {
        let here = move |consensus: Arc<Consensus>, _| async move { consensus.read_index(lease).await };
        let asked = self.at_leader(call, true, here, || Ok(Work::ReadIndex(lease))).await;
        // Nothing was written, so nothing is in doubt.
        let asked = asked.map_err(|e| if e.code() == ErrorCode::Timeout { unconfirmed() } else { e });
        match asked? {
            Reached::Here(index) => Ok(index),
            Reached::There(Forwarded::ReadIndex(index)) => Ok(index),
            Reached::There(_) => Err(wrong_answer()),
        }
    }
}

fn check_lag(consensus: &Consensus, max_lag: Option<u64>) -> Result<()> {
    let Some(max) = max_lag else { return Ok(()) };
    let picture = consensus.picture();
    let lag = picture.last.max(picture.committed).saturating_sub(consensus.applied_index());
    if lag <= max {
        return Ok(());
    }
    let message = format!("this node is {lag} entries behind, the request allows {max}: ask another node");
    Err(Error::unavailable(message).with("lag", lag))
}

fn unconfirmed() -> Error {
    Error::no_leader("the leader could not be confirmed in time: try again")
}

//! What a node does by itself, again and again, as long as it is a member: each a [`Duty`] in a file of its own.
//!
//! - `roles`: what the leader writes into `_clusternodes`, and what each node takes from there
//! - `promotion`: learners that have caught up vote; what another leader left undone is finished
//! - `elections`: who was elected, and why, for the journal
//! - `digests`: whether all members hold the same
//! - `scrub`: whether the disk holds what was written
//! - `samples`: a quarter of an hour of figures
//! - `hearing`: who answers while nobody leads
//! - `addresses`: where the other members are, kept on disk
//! - `examination`: the doctor's look, for the metrics
//!
//! # To add one
//!
//! A file with a type that keeps what the duty knows from one look to the next, `impl Duty` for it, and its line in
//! [`Cluster::take_up_duties`]. What is proposed again and again belongs here (index builds, expiry, backups on a
//! schedule) with [`Duty::ONLY_LEADER`] set: a look finds out from the state what there is to do, does a bounded part of
//! it, and the next leader goes on from the same state.
//!
//! Not here is what watches over the node's own log and store (`upkeep`): it is woken by their failures and ends the node.

mod addresses;
pub(super) mod digests;
mod elections;
mod examination;
mod hearing;
pub(super) mod promotion;
pub(super) mod roles;
pub(super) mod samples;
mod scrub;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::{Cluster, Stop};
use crate::raft::{Consensus, ServerState};

/// Something that a node does again and again, as long as it is a member.
trait Duty: Send + 'static {
    /// What has died where a look panics, in the words of the message that the node then ends with.
    const NAME: &'static str;
    /// Whether only the leader does it. The others [rest](Duty::rest).
    const ONLY_LEADER: bool = false;

    /// When to look next. Asked before each look, the first one too.
    fn due(&self) -> Due;

    /// Looks whether there is something to do, and does it, or a bounded part of it. What fails is tried again by the
    /// next look.
    fn look(&mut self, node: &Arc<Cluster>, consensus: &Arc<Consensus>) -> impl Future<Output = ()> + Send;

    /// Instead of a look where this node does not lead: what only a leader knows is forgotten.
    fn rest(&mut self) {}
}

/// When a duty is due.
#[derive(Debug, Clone, Copy)]
enum Due {
    /// So long after the last look began; the first one at once.
    Every(Duration),
    /// After a pause.
    After(Duration),
    /// As soon as something changes in Raft, and after so long at the latest.
    Change(Duration),
}

impl Cluster {
    /// Begins all duties of a member.
    pub(super) fn take_up_duties(self: &Arc<Self>, consensus: &Arc<Consensus>) {
        self.take_up(consensus, roles::Roles::default());
        self.take_up(consensus, hearing::Hearing);
        self.take_up(consensus, promotion::Promotion::default());
        self.take_up(consensus, addresses::Known::default());
        self.take_up(consensus, samples::Sampler::default());
        self.take_up(consensus, elections::Elections::default());
        self.take_up(consensus, digests::Comparison::default());
        self.take_up(consensus, scrub::Passes::default());
        self.take_up(consensus, examination::Examination);
    }

    /// Where the duty dies of a bug, the node ends.
    fn take_up<D: Duty>(self: &Arc<Self>, consensus: &Arc<Consensus>, duty: D) {
        self.keep(D::NAME, run(duty, self.clone(), consensus.clone()));
    }
}

/// Does a duty until the node stops.
async fn run<D: Duty>(mut duty: D, node: Arc<Cluster>, consensus: Arc<Consensus>) {
    let mut stopped = node.stopped();
    let mut began: Option<Instant> = None;
    loop {
        let due = duty.due();
        let due = async {
            match due {
                Due::Every(period) => sleep_until(began.map_or_else(Instant::now, |began| began + period)).await,
                Due::After(pause) => sleep(pause).await,
                Due::Change(limit) => consensus.changed(limit).await,
            }
        };
        tokio::select! {
            () = due => {}
            _ = stopped.wait_for(|stop| *stop != Stop::Running) => return,
        }
        began = Some(Instant::now());
        if D::ONLY_LEADER && consensus.picture().state != ServerState::Leader {
            duty.rest();
        } else {
            duty.look(&node, &consensus).await;
        }
    }
}

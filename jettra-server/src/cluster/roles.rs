//! What each node takes from the members' documents, and what the leader writes into them: who leads, who is heard.
//! Written on change only.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jettra_client::wire::{Role, Status};

use super::{Cluster, Stop};
use crate::raft::{Consensus, Picture, ServerState};
use crate::state::{MemberDoc, NodeChange, NodeName, Op};

/// Between two looks.
const EVERY: Duration = Duration::from_millis(500);
/// A node that was asked to stop is INACTIVE for so long at least, though it may still be heard.
const STOPPING: Duration = Duration::from_secs(6);

/// A node that was asked to stop and is silent for so long has stopped.
const GONE: Duration = Duration::from_millis(300);

/// The nodes that were asked to stop lately, and when.
pub type Stopping = HashMap<u64, Instant>;

/// Runs on every node; acts where it leads.
pub async fn run(cluster: Arc<Cluster>, consensus: Arc<Consensus>) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut stopped = cluster.stopped();
    let mut leads_since: Option<(u64, Instant)> = None;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = stopped.wait_for(|s| *s != Stop::Running) => return,
        }
        let (picture, state) = (consensus.picture(), consensus.state());
        let docs = state.members();
        cluster.peers.note_registered(docs.iter().map(|doc| (doc.raft_id, doc.url.clone())));
        consensus.set_paused(docs.iter().any(|doc| doc.raft_id == consensus.id() && doc.paused));
        cluster.keep_feature_level(state.feature_level()).await;
        if picture.state != ServerState::Leader {
            leads_since = None;
            continue;
        }
        let since = match leads_since {
            Some((term, since)) if term == picture.term => since,
            _ => {
                tracing::info!(term = picture.term, "this node leads");
                leads_since = Some((picture.term, Instant::now()));
                Instant::now()
            }
        };
        let stopping = cluster.stopping_now(&picture);
        let nodes = updates(&picture, &docs, since.elapsed(), &stopping, cluster.options().inactive_after);
        if !nodes.is_empty()
            && let Err(e) = cluster.command(Op::ClusterUpdateNode { nodes }).await
        {
            tracing::debug!(error = %e, "roles were not written, trying again");
        }
    }
}

/// What differs between the documents and what the leader sees.
fn updates(
    picture: &Picture,
    docs: &[MemberDoc],
    leads_for: Duration,
    stopping: &Stopping,
    silent: Duration,
) -> Vec<NodeChange> {
    let mut changed = Vec::new();
    for doc in docs {
        let role = if doc.raft_id == picture.id { Role::Leader } else { Role::Follower };
        let silence = if doc.raft_id == picture.id {
            Duration::ZERO
        } else {
            picture.silence.get(&doc.raft_id).copied().flatten().unwrap_or(leads_for)
        };
        let status = match doc.status {
            now if doc.voter.is_none() => now,
            Status::Inactive if stopping.contains_key(&doc.raft_id) => Status::Inactive,
            Status::Inactive if silence >= GONE => Status::Inactive,
            _ if silence >= silent => Status::Inactive,
            _ if doc.paused => Status::Paused,
            _ => Status::Active,
        };
        if role != doc.role || status != doc.status {
            let Ok(id) = NodeName::parse(&doc.id) else { continue };
            if status != doc.status {
                tracing::info!(node = doc.id, %status, silence = ?silence, "a member's status changed");
            }
            changed.push(NodeChange {
                role: (role != doc.role).then_some(role),
                status: (status != doc.status).then_some(status),
                ..NodeChange::of(id)
            });
        }
    }
    changed
}

impl Cluster {
    /// Notes that a node was asked to stop.
    pub(super) fn note_stopping(&self, raft_id: u64) {
        self.stopping.lock().insert(raft_id, Instant::now());
    }

    /// Those that have not gone silent since.
    fn stopping_now(&self, picture: &Picture) -> Stopping {
        let silent = |id| picture.silence.get(&id).copied().flatten().is_none_or(|s| s >= GONE);
        let mut stopping = self.stopping.lock();
        stopping.retain(|id, since| since.elapsed() < STOPPING && !silent(*id));
        stopping.clone()
    }
}

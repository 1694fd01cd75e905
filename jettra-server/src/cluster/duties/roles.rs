//! What each node takes from the members' documents, and what the leader writes into them: who leads, who is heard.
//! Written on change only.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jettra_client::wire::{Role, Status};

use super::{Cluster, Due, Duty};
use crate::limits;
use crate::raft::{Consensus, Picture, ServerState};
use crate::state::{MemberDoc, NodeChange, NodeName, Op};

/// Between two looks.
const EVERY: Duration = Duration::from_millis(500);
/// The same for a node that was down already: it is heard only if it has been started again.
const DOWN: Duration = Duration::from_secs(1);

/// A node that was asked to stop and is silent for so long has stopped.
const GONE: Duration = Duration::from_millis(300);

/// The nodes that were asked to stop lately, and until when that explains whatever is heard of them.
pub type Stopping = HashMap<u64, Instant>;

/// Keeps the members' documents as Raft has it.
#[derive(Default)]
pub(super) struct Roles {
    /// The term that this node leads in, once it was noted.
    leads_in: Option<u64>,
    since: Since,
}

impl Duty for Roles {
    const NAME: &'static str = "what keeps the members' roles";

    fn due(&self) -> Due {
        Due::Every(EVERY)
    }

    async fn look(&mut self, node: &Arc<Cluster>, consensus: &Arc<Consensus>) {
        let (picture, state) = (consensus.picture(), consensus.state());
        let docs = state.members();
        node.peers.note_registered(docs.iter().map(|doc| (doc.raft_id, doc.url.clone())));
        let paused = docs.iter().any(|doc| doc.raft_id == consensus.id() && doc.paused);
        consensus.set_paused(paused);
        consensus.stand_if_only_choice().await;
        node.keep_feature_level(state.feature_level()).await;
        if picture.state != ServerState::Leader {
            self.leads_in = None;
            return;
        }
        if self.leads_in != Some(picture.term) {
            tracing::info!(term = picture.term, "this node leads");
            self.leads_in = Some(picture.term);
            self.since.clear();
        }
        if paused && node.hand_over(consensus, EVERY).await {
            return;
        }
        note_phases(&mut self.since, &docs);
        let stopping = node.stopping_now(&picture);
        let nodes = updates(&picture, &docs, &self.since, &stopping, node.options().inactive_after);
        if !nodes.is_empty()
            && let Err(e) = node.propose(Op::ClusterUpdateNode { nodes }).await
        {
            tracing::debug!(error = %e, "roles were not written, trying again");
        }
    }
}

/// Since when this leader knows each node, by Raft id: as one that is joining (false), as a member (true).
type Since = HashMap<u64, (bool, Instant)>;

fn note_phases(since: &mut Since, docs: &[MemberDoc]) {
    since.retain(|id, _| docs.iter().any(|doc| doc.raft_id == *id));
    for doc in docs {
        let phase = doc.voter.is_some();
        let known = since.entry(doc.raft_id).or_insert((phase, Instant::now()));
        if known.0 != phase {
            *known = (phase, Instant::now());
        }
    }
}

/// What differs between the documents and what the leader sees.
fn updates(
    picture: &Picture,
    docs: &[MemberDoc],
    since: &Since,
    stopping: &Stopping,
    silent: Duration,
) -> Vec<NodeChange> {
    let mut changed = Vec::new();
    for doc in docs {
        let role = if doc.raft_id == picture.id { Role::Leader } else { Role::Follower };
        let silence = if doc.raft_id == picture.id {
            Duration::ZERO
        } else {
            let known_for = || since.get(&doc.raft_id).map_or(Duration::ZERO, |(_, since)| since.elapsed());
            picture.silence.get(&doc.raft_id).copied().flatten().unwrap_or_else(known_for)
        };
        let status = match doc.status {
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
    pub(in crate::cluster) fn note_stopping(&self, raft_id: u64) {
        self.stopping.lock().insert(raft_id, Instant::now() + limits::STOP);
    }

    /// Notes that a node that was asked to stop was down already.
    pub(in crate::cluster) fn note_down(&self, raft_id: u64) {
        self.stopping.lock().insert(raft_id, Instant::now() + DOWN);
    }

    /// Those that have not gone silent since.
    fn stopping_now(&self, picture: &Picture) -> Stopping {
        let silent = |id| picture.silence.get(&id).copied().flatten().is_none_or(|s| s >= GONE);
        let mut stopping = self.stopping.lock();
        stopping.retain(|id, until| Instant::now() < *until && !silent(*id));
        stopping.clone()
    }
}

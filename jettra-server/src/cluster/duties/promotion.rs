//! The leader makes learners voters once they have caught up. Those that are to be read replicas stay learners.
//!
//! It also finishes what another leader left undone: changes of membership between their two steps, voters that are to
//! be replicas, registrations, moves to another URL.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Cluster, Due, Duty};
use crate::cluster::facts::{heard_within, lag};
use crate::cluster::plan::{Action, CAUGHT_UP};
use crate::error::Result;
use crate::peers::Target;
use crate::raft::{Consensus, Member, Picture};

/// Between two looks at learners.
const EVERY: Duration = Duration::from_millis(50);
/// Between two looks where there is nothing to do; a change of membership or leader ends it early.
const IDLE: Duration = Duration::from_millis(500);
/// A learner not heard for so long is not promoted: its vote would be needed and not come.
const HEARD: Duration = Duration::from_secs(1);
/// How often in a row a learner must be found ready.
const IN_A_ROW: u32 = 2;
/// Between two looks for what was left undone.
const LOOK: Duration = Duration::from_secs(2);
/// How long one change may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Lets learners vote, and finishes what was left undone.
pub(super) struct Promotion {
    /// How often in a row each learner had caught up.
    ready: HashMap<u64, u32>,
    /// When it was last looked for what another leader left undone.
    looked: Instant,
    /// Whether a learner or a change of membership was on its way at the last look.
    busy: bool,
}

impl Default for Promotion {
    fn default() -> Self {
        Promotion { ready: HashMap::new(), looked: Instant::now(), busy: false }
    }
}

impl Duty for Promotion {
    const NAME: &'static str = "what lets members vote";
    const ONLY_LEADER: bool = true;

    fn due(&self) -> Due {
        if self.busy { Due::After(EVERY) } else { Due::Change(IDLE) }
    }

    fn rest(&mut self) {
        self.ready.clear();
        self.busy = false;
    }

    async fn look(&mut self, node: &Arc<Cluster>, consensus: &Arc<Consensus>) {
        self.go_on(node, consensus).await;
        let picture = consensus.picture();
        self.busy = picture.is_joint() || !joining(&picture, &replicas(consensus)).is_empty();
    }
}

impl Promotion {
    async fn go_on(&mut self, node: &Arc<Cluster>, consensus: &Arc<Consensus>) {
        let picture = consensus.picture();
        let replicas = replicas(consensus);
        let learners = joining(&picture, &replicas);
        self.ready.retain(|id, _| learners.contains(id));
        if self.looked.elapsed() >= LOOK {
            finish_registrations(node, consensus).await;
            for id in picture.voters().into_iter().filter(|id| replicas.contains(id)) {
                finish_demotion(node, consensus, id).await;
            }
            self.looked = Instant::now();
        }
        if learners.is_empty() && !picture.is_joint() {
            return;
        }
        for id in learners {
            let times = self.ready.entry(id).or_insert(0);
            *times = if is_ready(&picture, id) { *times + 1 } else { 0 };
        }
        // A change that is under way goes first.
        let Ok(_queue) = node.changes.try_lock() else { return };
        if consensus.picture().is_joint() {
            // A demotion leaves a replica behind, a removal nothing.
            let (leaving, replicas) = (consensus.picture().leaving(), self::replicas(consensus));
            let retain = leaving.iter().all(|id| replicas.contains(id));
            if let Err(e) = consensus.finish_change(retain, LIMIT).await {
                tracing::info!(error = %e, "a change of membership is still between its steps");
            }
            return;
        }
        let Some(id) = self.ready.iter().find(|(_, times)| **times >= IN_A_ROW).map(|(id, _)| *id) else { return };
        // It may have gone since it was looked at, or be a replica now.
        if is_ready(&consensus.picture(), id) && !self::replicas(consensus).contains(&id) {
            match consensus.promote(id, LIMIT).await {
                Ok(()) => tracing::info!(raft_id = id, "a learner has caught up and votes now"),
                Err(e) => tracing::info!(raft_id = id, error = %e, "a learner was not promoted, trying again"),
            }
        }
        self.ready.remove(&id);
    }
}

/// Goes on with registrations and moves that were begun. A change that is under way goes first.
async fn finish_registrations(cluster: &Arc<Cluster>, consensus: &Arc<Consensus>) {
    let moves = consensus.state().members().into_iter().filter_map(|doc| {
        let me = doc.raft_id == consensus.id();
        let now = if me { Some(cluster.url().to_owned()) } else { cluster.peers.moved_to(doc.raft_id) };
        let now = now.filter(|url| *url != doc.url)?;
        Some((doc, now))
    });
    let moves: Vec<_> = moves.collect();
    if !moves.is_empty() {
        let Ok(_queue) = cluster.changes.try_lock() else { return };
        if let Err(e) = cluster.follow_moves(consensus, moves).await {
            tracing::debug!(error = %e, "members that have moved are not registered there yet, trying again");
        }
    }
    for doc in consensus.state().members() {
        let listed = consensus.picture().member(doc.raft_id).map(|member| member.url.clone());
        // Who does not answer holds up nobody else.
        let me = doc.raft_id == consensus.id();
        let unfinished = !me && listed.as_ref() != Some(&doc.url) && (listed.is_some() || doc.voter.is_none());
        let at = Target { url: doc.url.clone(), raft_id: 0 };
        if unfinished && cluster.peers.get(&at).who().await.is_err() {
            continue;
        }
        let Ok(_queue) = cluster.changes.try_lock() else { return };
        let done: Result<()> = match listed {
            Some(url) if url == doc.url => continue,
            // No node is asked by itself.
            Some(_) if doc.raft_id == consensus.id() => {
                let member = Member { url: doc.url.clone(), ..cluster.member() };
                consensus.set_member(doc.raft_id, member, LIMIT).await
            }
            // It has left, and its document goes next.
            None if doc.voter.is_some() => continue,
            _ => cluster.join_node(consensus, &doc.url, None, doc.replica).await.map(drop),
        };
        if let Err(e) = done {
            tracing::debug!(node = doc.id, error = %e, "a registration is not finished yet, trying again");
        }
    }
}

/// The learners that are to vote.
fn joining(picture: &Picture, replicas: &[u64]) -> Vec<u64> {
    picture.learners().into_iter().filter(|id| !replicas.contains(id)).collect()
}

/// The Raft ids of those that are to be read replicas.
fn replicas(consensus: &Consensus) -> Vec<u64> {
    consensus.state().members().into_iter().filter(|doc| doc.replica).map(|doc| doc.raft_id).collect()
}

/// A voter is to be a replica, and whoever was to see to it is gone. A change that is under way goes first, and a leader
/// hands over first.
async fn finish_demotion(cluster: &Arc<Cluster>, consensus: &Arc<Consensus>, id: u64) {
    let Ok(_queue) = cluster.changes.try_lock() else { return };
    if !cluster.judge(consensus, Action::Demote(id)).await.allowed {
        return;
    }
    if id == consensus.id() {
        cluster.hand_over(consensus, LIMIT).await;
        return;
    }
    if let Err(e) = consensus.demote(id, LIMIT).await {
        tracing::info!(raft_id = id, error = %e, "a voter is no read replica yet, trying again");
    }
}

/// Whether a learner has something of the log, is heard, and has no lag to speak of.
pub(in crate::cluster) fn is_ready(picture: &Picture, id: u64) -> bool {
    heard_within(picture, id, HEARD) && lag(picture, id).is_some_and(|lag| lag <= CAUGHT_UP)
}

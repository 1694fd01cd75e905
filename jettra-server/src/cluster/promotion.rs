//! The leader makes learners voters once they have caught up, but for those that are to be read replicas, and finishes
//! what another leader left undone: changes of membership between their two steps, voters that are to be replicas,
//! registrations, moves to another URL.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::facts::{heard_within, lag};
use super::plan::{Action, CAUGHT_UP};
use super::{Cluster, Stop};
use crate::error::Result;
use crate::peers::Target;
use crate::raft::{Consensus, Member, Picture, ServerState};

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

/// Runs on every node; acts where it leads.
pub async fn run(cluster: Arc<Cluster>, consensus: Arc<Consensus>) {
    let mut stopped = cluster.stopped();
    let mut ready: HashMap<u64, u32> = HashMap::new();
    let mut looked = Instant::now();
    loop {
        let picture = consensus.picture();
        let leads = picture.state == ServerState::Leader;
        let replicas = if leads { replicas(&consensus) } else { Vec::new() };
        let mut learners = if leads { picture.learners() } else { Vec::new() };
        learners.retain(|id| !replicas.contains(id));
        ready.retain(|id, _| learners.contains(id));
        let busy = !learners.is_empty() || picture.is_joint();
        tokio::select! {
            () = async { if busy { tokio::time::sleep(EVERY).await } else { consensus.changed(IDLE).await } } => {}
            _ = stopped.wait_for(|s| *s != Stop::Running) => return,
        }
        if picture.state != ServerState::Leader {
            continue;
        }
        if looked.elapsed() >= LOOK {
            finish_registrations(&cluster, &consensus).await;
            for id in picture.voters().into_iter().filter(|id| replicas.contains(id)) {
                finish_demotion(&cluster, &consensus, id).await;
            }
            looked = Instant::now();
        }
        if !busy {
            continue;
        }
        for id in learners {
            let times = ready.entry(id).or_insert(0);
            *times = if is_ready(&picture, id) { *times + 1 } else { 0 };
        }
        // A change that is under way goes first.
        let Ok(_queue) = cluster.changes.try_lock() else { continue };
        if consensus.picture().is_joint() {
            // A demotion leaves a replica behind, a removal nothing.
            let (leaving, replicas) = (consensus.picture().leaving(), self::replicas(&consensus));
            let retain = leaving.iter().all(|id| replicas.contains(id));
            if let Err(e) = consensus.finish_change(retain, LIMIT).await {
                tracing::info!(error = %e, "a change of membership is still between its steps");
            }
            continue;
        }
        let Some(id) = ready.iter().find(|(_, times)| **times >= IN_A_ROW).map(|(id, _)| *id) else { continue };
        // It may have gone since it was looked at, or be a replica now.
        if is_ready(&consensus.picture(), id) && !self::replicas(&consensus).contains(&id) {
            match consensus.promote(id, LIMIT).await {
                Ok(()) => tracing::info!(raft_id = id, "a learner has caught up and votes now"),
                Err(e) => tracing::info!(raft_id = id, error = %e, "a learner was not promoted, trying again"),
            }
        }
        ready.remove(&id);
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
pub(super) fn is_ready(picture: &Picture, id: u64) -> bool {
    heard_within(picture, id, HEARD) && lag(picture, id).is_some_and(|lag| lag <= CAUGHT_UP)
}

//! Read replicas: members that never vote. What a member is to be is a field of its document; whether it votes follows.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::Cluster;
use super::membership::Attempt;
use super::plan::Action;
use crate::error::Result;
use crate::limits;
use crate::raft::Consensus;
use crate::state::{MemberDoc, NodeChange, NodeName, Op};

impl Cluster {
    /// Makes a member that does not vote a voter: at once in its document, in fact as soon as it has caught up. Does
    /// nothing to one that votes.
    pub(super) async fn promote(
        self: &Arc<Self>,
        consensus: Arc<Consensus>,
        node: &str,
        principal: &str,
        limit: Duration,
    ) -> Result<Value> {
        let doc = {
            let _queue = self.queue(limit).await?;
            let doc = self.known_member(node)?;
            self.judge(&consensus, Action::Promote(doc.raft_id)).await.permit(false)?;
            if doc.replica {
                if consensus.picture().is_joint() {
                    // A demotion that broke off is finished first: whoever does so by the new wish would drop the node.
                    consensus.finish_change(true, limit).await?;
                }
                self.set_replica(&doc, false, "promote", principal).await?;
            }
            doc
        };
        let waiting = self.wait_until_in(&consensus, &doc.id, doc.raft_id);
        match tokio::time::timeout(limits::JOIN.min(limit), waiting).await {
            Ok(done) => done.map(|()| json!({"status": "promoted"})),
            Err(_) => {
                let message = "it will vote when it has caught up: watch lagEntries in GET /api/cluster";
                Ok(json!({"status": "joining", "message": message}))
            }
        }
    }

    /// Makes a voter a read replica; a leader hands over first, and who leads then does it. Does nothing to one that is.
    pub(super) async fn demote(
        self: &Arc<Self>,
        consensus: Arc<Consensus>,
        node: &str,
        principal: &str,
        limit: Duration,
    ) -> Attempt {
        let _queue = self.queue(limit).await?;
        let doc = self.known_member(node)?;
        self.judge(&consensus, Action::Demote(doc.raft_id)).await.permit(false)?;
        if let Some(moved) = self.stand_aside(&consensus, &doc, limit).await? {
            return Ok(Err(moved));
        }
        if !doc.replica {
            self.set_replica(&doc, true, "demote", principal).await?;
        }
        if consensus.picture().voters().contains(&doc.raft_id) {
            consensus.demote(doc.raft_id, limit).await?;
        }
        Ok(Ok(json!({"status": "demoted"})))
    }

    async fn set_replica(self: &Arc<Self>, doc: &MemberDoc, replica: bool, call: &str, principal: &str) -> Result<()> {
        self.note_asked(principal, call, &doc.id).await;
        let change = NodeChange { replica: Some(replica), ..NodeChange::of(NodeName::parse(&doc.id)?) };
        self.propose(Op::ClusterUpdateNode { nodes: vec![change] }).await.map(drop)
    }
}

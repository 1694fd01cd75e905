//! Changes of who belongs, who may lead and who leads: gathered, computed and carried out by the leader.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jettra_client::wire::{ErrorCode, Quorum, Status};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::facts::Facts;
use super::plan::{Action, judge, why_not_lead};
use super::register::Wanted;
use super::route::Who;
use super::{Cluster, Verdict};
use crate::error::{Error, Result};
use crate::peers::{Peer, PeerError, Target};
use crate::raft::{Consensus, Envelope, NotLeader, ServerState};
use crate::state::names::shown;
use crate::state::{Answer, Command, MemberDoc, NodeChange, NodeName, Op};

/// How long a member that was heard of late is looked for before it counts as being down.
const MOVING: Duration = Duration::from_secs(2);

/// A change of membership, as the leader is asked for it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum ClusterCall {
    /// Make the node at `url` a member.
    Register {
        /// Where it is.
        url: String,
        /// What to say of it.
        description: Option<String>,
        /// The URL of the node that a client asked for this: it cannot be made a member of its own cluster.
        #[serde(default)]
        asked: Option<String>,
        /// Whether it is to vote; where nothing is said a new node does, and a member stays what it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        voter: Option<bool>,
    },
    /// Make a read replica a voter.
    Promote {
        /// Its id or URL.
        node: String,
    },
    /// Make a voter a read replica.
    Demote {
        /// Its id or URL.
        node: String,
    },
    /// Make a node a member no more.
    Deregister {
        /// Its id or URL.
        node: String,
        /// Even if writing stops then.
        force: bool,
    },
    /// End a node's process.
    Stop {
        /// Its id or URL.
        node: String,
        /// Even if writing stops then.
        force: bool,
    },
    /// Let a node lead no more.
    Pause {
        /// Its id or URL.
        node: String,
    },
    /// Let a paused node lead again.
    Resume {
        /// Its id or URL.
        node: String,
    },
    /// Hand leadership to a node.
    Transfer {
        /// Its id or URL.
        node: String,
    },
    /// Raise the feature level.
    Upgrade {
        /// To what; to the highest that all members support, where nothing is said.
        level: Option<u64>,
    },
}

impl ClusterCall {
    /// A word for the log: what the caller sent may hold a password.
    fn name(&self) -> &'static str {
        match self {
            ClusterCall::Register { .. } => "register",
            ClusterCall::Promote { .. } => "promote",
            ClusterCall::Demote { .. } => "demote",
            ClusterCall::Deregister { .. } => "deregister",
            ClusterCall::Stop { .. } => "stop",
            ClusterCall::Pause { .. } => "pause",
            ClusterCall::Resume { .. } => "resume",
            ClusterCall::Transfer { .. } => "transfer",
            ClusterCall::Upgrade { .. } => "upgrade",
        }
    }
}

/// A cluster call, or the question what it would do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClusterRequest {
    /// The call.
    pub call: ClusterCall,
    /// Change nothing, tell what would happen.
    #[serde(default)]
    pub dry_run: bool,
}

/// A voter silent for so long does not count for a majority that is to be kept.
const SILENT: Duration = Duration::from_secs(1);
/// How long a leader waits until it has applied what its log holds.
const SETTLES: Duration = Duration::from_secs(2);
/// How long a leader waits for a word of voters that it does not hear, before it refuses anything.
const FIRST_HEARD: Duration = Duration::from_secs(1);

/// An answer, or who leads.
pub(super) type Attempt = Result<std::result::Result<Value, NotLeader>>;

impl Cluster {
    /// Carries out `request` where this node leads.
    pub(super) async fn run_cluster_call(
        self: &Arc<Self>,
        consensus: Arc<Consensus>,
        request: ClusterRequest,
        who: &Who,
        limit: Duration,
    ) -> Attempt {
        if !self.options().distributed {
            return Err(Error::conflict(
                "this node is standalone: set \"distributed\": true in its config.json and restart it",
            ));
        }
        if let Some(not) = not_leading(&consensus) {
            return Ok(Err(not));
        }
        if !request.dry_run {
            // What an earlier leader has committed counts here too. One that commits nothing changes no membership either.
            consensus.wait_applied(consensus.picture().last, limit.min(SETTLES)).await;
        }
        self.check_right_of(&consensus, who.by.as_ref(), limit).await?;
        let principal = who.principal.as_str();
        tracing::info!(call = request.call.name(), dry_run = request.dry_run, principal, "cluster call");
        if let (ClusterCall::Upgrade { level }, true) = (&request.call, request.dry_run) {
            return self.upgrade(&consensus, *level, true).await.map(Ok);
        }
        if request.dry_run {
            let verdict = self.plan(&consensus, request.call).await?;
            return serde_json::to_value(verdict).map(Ok).map_err(|e| Error::internal(e.to_string()));
        }
        match request.call {
            ClusterCall::Register { url, description, asked, voter } => {
                let wanted = Wanted { url, description, asked, voter };
                self.register(consensus, wanted, principal).await.map(Ok)
            }
            ClusterCall::Promote { node } => self.promote(consensus, &node, principal, limit).await.map(Ok),
            ClusterCall::Demote { node } => self.demote(consensus, &node, principal, limit).await,
            ClusterCall::Deregister { node, force } => self.deregister(consensus, &node, force, principal, limit).await,
            ClusterCall::Stop { node, force } => {
                self.stop_node(consensus, &node, force, principal, limit).await.map(Ok)
            }
            ClusterCall::Pause { node } => self.pause_node(consensus, &node, principal, limit).await,
            ClusterCall::Resume { node } => self.resume_node(&consensus, &node, principal, limit).await.map(Ok),
            ClusterCall::Transfer { node } => self.transfer_to(&consensus, &node, principal, limit).await.map(Ok),
            ClusterCall::Upgrade { level } => {
                // No node may join meanwhile that does not support the level.
                let _queue = self.queue(limit).await?;
                self.note_asked(principal, "upgrade", "the cluster").await;
                self.upgrade(&consensus, level, false).await.map(Ok)
            }
        }
    }

    /// What `call` would do, by the same computation that the deed goes by.
    async fn plan(&self, consensus: &Arc<Consensus>, call: ClusterCall) -> Result<Verdict> {
        let (node, action): (String, fn(u64) -> Action) = match call {
            ClusterCall::Deregister { node, .. } => (node, Action::Remove),
            ClusterCall::Stop { node, .. } => (node, Action::Stop),
            ClusterCall::Pause { node } => (node, Action::Pause),
            ClusterCall::Resume { node } => (node, Action::Resume),
            ClusterCall::Transfer { node } => (node, Action::Lead),
            ClusterCall::Register { url, asked, voter, .. } => {
                return self.plan_register(consensus, &url, asked, voter).await;
            }
            ClusterCall::Promote { node } => (node, Action::Promote),
            ClusterCall::Demote { node } => (node, Action::Demote),
            ClusterCall::Upgrade { .. } => return Err(Error::internal("an upgrade has a plan of its own")),
        };
        Ok(self.judge(consensus, action(self.known_member(&node)?.raft_id)).await)
    }

    /// What `action` would do to the members as they are now. A voter that was silent for a second does not count, though
    /// it is ACTIVE yet: a stop right after a crash must not cost the majority. But nothing is refused for a voter that
    /// is heard again in a moment, or that a leader just elected has not heard yet.
    pub(super) async fn judge(&self, consensus: &Consensus, action: Action) -> Verdict {
        let end = Instant::now() + FIRST_HEARD;
        loop {
            let facts = Facts::gather(consensus, self.options().inactive_after.min(SILENT));
            let verdict = judge(&facts, action, self.url());
            let in_doubt = facts.voters().any(|voter| !voter.active() && !voter.gone);
            if verdict.allowed || !in_doubt || Instant::now() >= end {
                return verdict;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A place in the queue of changes.
    pub(super) async fn queue(&self, limit: Duration) -> Result<tokio::sync::MutexGuard<'_, ()>> {
        let place = tokio::time::timeout(limit, self.changes.lock()).await;
        place.map_err(|_| Error::busy("another change of membership is under way: try again in a moment"))
    }

    /// Hands the lead over where a change is about this node, which leads: the next leader makes it then.
    pub(super) async fn stand_aside(
        &self,
        consensus: &Arc<Consensus>,
        doc: &MemberDoc,
        limit: Duration,
    ) -> Result<Option<NotLeader>> {
        if doc.raft_id != consensus.id() {
            return Ok(None);
        }
        if !self.hand_over(consensus, limit.min(Duration::from_secs(5))).await {
            return Err(Error::conflict(
                "this node leads and no other voter could take over: try again when one has caught up",
            ));
        }
        Ok(Some(not_leading(consensus).unwrap_or(NotLeader { leader: None })))
    }

    async fn deregister(
        self: &Arc<Self>,
        consensus: Arc<Consensus>,
        node: &str,
        force: bool,
        principal: &str,
        limit: Duration,
    ) -> Attempt {
        let _queue = self.queue(limit).await?;
        let doc = self.known_member(node)?;
        self.judge(&consensus, Action::Remove(doc.raft_id)).await.permit(force)?;
        if let Some(moved) = self.stand_aside(&consensus, &doc, limit).await? {
            return Ok(Err(moved));
        }
        self.note_asked(principal, "remove", &doc.id).await;
        consensus.remove(doc.raft_id, limit).await?;
        self.propose(Op::ClusterDeregister { id: NodeName::parse(&doc.id)? }).await?;
        // It hears nothing more of the cluster: tell it. If it is away, members tell it when it calls.
        let (peer, call) = self.call_to(&consensus, &doc, json!({"index": consensus.applied_index()}));
        let told = peer.call_json::<Value>("/raft/rpc/removed", &call, Duration::from_secs(1)).await;
        tracing::info!(node = doc.id, told = told.is_ok(), "removed from the cluster");
        Ok(Ok(json!({"status": "deregistered"})))
    }

    async fn stop_node(
        self: &Arc<Self>,
        consensus: Arc<Consensus>,
        node: &str,
        force: bool,
        principal: &str,
        limit: Duration,
    ) -> Result<Value> {
        let queue = self.queue(limit).await?;
        let doc = self.known_member(node)?;
        self.judge(&consensus, Action::Stop(doc.raft_id)).await.permit(force)?;
        self.note_asked(principal, "stop", &doc.id).await;
        self.note_stopping(doc.raft_id);
        self.propose(Op::ClusterStop { id: NodeName::parse(&doc.id)? }).await?;
        if doc.raft_id == consensus.id() {
            self.ask_to_stop();
            return Ok(json!({"status": "stop_sent"}));
        }
        // A member that has moved is heard before it is known where: its new URL waits for its turn.
        drop(queue);
        let until = Instant::now() + MOVING.min(limit);
        loop {
            let now_at = self.find_member(&doc.id)?.filter(|now| now.raft_id == doc.raft_id).unwrap_or(doc.clone());
            let (peer, call) = self.call_to(&consensus, &now_at, json!({}));
            match peer.call_json::<Value>("/raft/rpc/stop", &call, Duration::from_secs(2)).await {
                Ok(_) => return Ok(json!({"status": "stop_sent"})),
                Err(PeerError::Refused(e)) if e.code() != ErrorCode::Unavailable => return Err(e),
                Err(e @ (PeerError::NotLetIn(_) | PeerError::Unproved(_))) => return Err(e.into()),
                Err(_) if doc.status == Status::Active && Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(_) => {
                    self.note_down(doc.raft_id);
                    return Ok(json!({"status": "stopped_already"}));
                }
            }
        }
    }

    /// Ends a standalone node's process. It has no majority to lose, so nothing is to be forced.
    ///
    /// # Errors
    /// `not_found` where `node` is not this node's id, URL or `host:port`.
    pub async fn stop_alone(self: &Arc<Self>, node: &str, principal: &str, dry_run: bool) -> Result<Value> {
        let doc = self.known_member(node)?;
        let (before, after) = (Quorum::new(1, 1), Quorum::new(1, 0));
        if dry_run {
            let reason = format!("{} is standalone: nothing is served until it is started again", doc.id);
            return Ok(json!({"allowed": true, "before": before, "after": after, "reason": reason}));
        }
        self.note_asked(principal, "stop", &doc.id).await;
        self.ask_to_stop();
        Ok(json!({"status": "stop_sent"}))
    }

    fn call_to(&self, consensus: &Consensus, doc: &MemberDoc, body: Value) -> (Arc<Peer>, Envelope<Value>) {
        let (from, to) = (consensus.id(), doc.raft_id);
        let peer = self.peers.get(&Target { url: doc.url.clone(), raft_id: to });
        (peer, Envelope { cluster: consensus.cluster().to_owned(), from, to, body })
    }

    async fn pause_node(
        self: &Arc<Self>,
        consensus: Arc<Consensus>,
        node: &str,
        principal: &str,
        limit: Duration,
    ) -> Attempt {
        let _queue = self.queue(limit).await?;
        let doc = self.known_member(node)?;
        self.judge(&consensus, Action::Pause(doc.raft_id)).await.permit(false)?;
        self.note_asked(principal, "pause", &doc.id).await;
        self.set_paused(&doc, true).await?;
        if doc.raft_id != consensus.id() {
            return Ok(Ok(json!({"status": "paused"})));
        }
        // A paused node does not lead; who leads next finds it paused already.
        if !self.hand_over(&consensus, limit.min(Duration::from_secs(5))).await {
            self.set_paused(&doc, false).await?;
            return Err(Error::conflict(
                "this node leads and no other voter could take over: try again when one has caught up, see GET /api/cluster",
            ));
        }
        Ok(Ok(json!({"status": "paused"})))
    }

    async fn resume_node(
        self: &Arc<Self>,
        consensus: &Consensus,
        node: &str,
        principal: &str,
        limit: Duration,
    ) -> Result<Value> {
        let _queue = self.queue(limit).await?;
        let doc = self.known_member(node)?;
        self.judge(consensus, Action::Resume(doc.raft_id)).await.permit(false)?;
        self.note_asked(principal, "resume", &doc.id).await;
        self.set_paused(&doc, false).await?;
        Ok(json!({"status": "resumed"}))
    }

    async fn set_paused(self: &Arc<Self>, doc: &MemberDoc, paused: bool) -> Result<()> {
        let change = NodeChange { paused: Some(paused), ..NodeChange::of(NodeName::parse(&doc.id)?) };
        self.propose(Op::ClusterUpdateNode { nodes: vec![change] }).await.map(drop)
    }

    async fn transfer_to(
        self: &Arc<Self>,
        consensus: &Arc<Consensus>,
        node: &str,
        principal: &str,
        limit: Duration,
    ) -> Result<Value> {
        let _queue = self.queue(limit).await?;
        let doc = self.known_member(node)?;
        let done = || json!({"status": "transferred", "leaderId": doc.id});
        if doc.raft_id == consensus.id() {
            return Ok(done());
        }
        self.judge(consensus, Action::Lead(doc.raft_id)).await.permit(false)?;
        self.note_asked(principal, "hand leadership to", &doc.id).await;
        if consensus.transfer(doc.raft_id, Duration::from_secs(5)).await {
            let leader = consensus.picture().leader;
            if leader == Some(doc.raft_id) {
                return Ok(done());
            }
        }
        Err(Error::timeout(format!("{:?} did not take over in time: see GET /api/cluster for who leads", doc.id)))
    }

    /// Hands leadership to the voter best able to take it. True when this node does not lead then.
    pub(super) async fn hand_over(&self, consensus: &Arc<Consensus>, limit: Duration) -> bool {
        self.hand_over_among(consensus, limit, |_| true).await
    }

    /// The same to one of those that `may` lead.
    pub(super) async fn hand_over_among(
        &self,
        consensus: &Arc<Consensus>,
        limit: Duration,
        may: impl Fn(u64) -> bool,
    ) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            let picture = consensus.picture();
            if picture.state != ServerState::Leader {
                return true;
            }
            let facts = Facts::gather(consensus, self.options().inactive_after);
            let best = facts
                .members
                .iter()
                .filter(|m| !m.leads && why_not_lead(m).is_none() && may(m.raft_id))
                .min_by_key(|m| (m.lag, m.raft_id));
            let left = deadline.saturating_duration_since(Instant::now());
            match best {
                Some(best) if consensus.transfer(best.raft_id, left.min(Duration::from_secs(2))).await => return true,
                _ if left.is_zero() || picture.voters().len() < 2 => return false,
                _ => tokio::time::sleep(Duration::from_millis(20).min(left)).await,
            }
        }
    }

    /// Proposes `op` here and returns its answer.
    pub(super) async fn propose(self: &Arc<Self>, op: Op) -> Result<Answer> {
        let call = super::Call::internal(Duration::from_secs(10));
        self.write(&call, &Command::new(op)).await?.outcome.into_result()
    }

    /// The member with this id, URL or `host:port`.
    pub(super) fn find_member(&self, node: &str) -> Result<Option<MemberDoc>> {
        let url = if node.contains("://") { normalize_url(node) } else { normalize_url(&format!("http://{node}")) };
        let url = url.ok();
        let members = self.state()?.members();
        let named = members.iter().position(|m| m.id == node);
        let found = named.or_else(|| members.iter().position(|m| url.as_deref() == Some(m.url.as_str())));
        Ok(found.and_then(|at| members.into_iter().nth(at)))
    }

    /// The member with this id, URL or `host:port`.
    pub(super) fn known_member(&self, node: &str) -> Result<MemberDoc> {
        self.find_member(node)?.ok_or_else(|| {
            Error::not_found(format!("no member has the id or URL {}: see GET /api/cluster", shown(node)))
        })
    }
}

/// Who leads instead, where this node does not.
pub(super) fn not_leading(consensus: &Consensus) -> Option<NotLeader> {
    let picture = consensus.picture();
    if picture.state == ServerState::Leader {
        return None;
    }
    let leader = picture.leader.filter(|id| *id != consensus.id());
    Some(NotLeader { leader: leader.and_then(|id| Some((id, picture.member(id)?.clone()))) })
}

/// `http://host:port` of a URL; other schemes, paths and credentials are refused.
pub(super) fn normalize_url(text: &str) -> Result<String> {
    // What stands before an @ may be a password.
    let public = text.rsplit('@').next().unwrap_or_default();
    let wrong =
        |why: &str| Error::bad_request(format!("url: {} {why}; it should look like http://host:8081", shown(public)));
    let url = url::Url::parse(text).map_err(|e| wrong(&format!("is no URL ({e})")))?;
    if url.scheme() != "http" {
        return Err(wrong("has another scheme than http"));
    }
    if !matches!(url.path(), "" | "/")
        || url.query().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
    {
        return Err(wrong("has more than host and port"));
    }
    let host = url.host_str().filter(|h| !h.is_empty()).ok_or_else(|| wrong("has no host"))?;
    Ok(format!("http://{host}:{}", url.port_or_known_default().unwrap_or(80)))
}

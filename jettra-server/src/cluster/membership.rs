//! Changes of who belongs: computed and carried out by the leader, one at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jettra_client::wire::{ErrorCode, Status};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::join::JoinRequest;
use super::quorum::{Action, Voter, judge};
use super::{Cluster, Verdict};
use crate::error::{Error, Result};
use crate::peers::{NodeInfo, Peer, PeerError, RPC_VERSION, Secret, Target};
use crate::raft::{Consensus, Envelope, Member, NotLeader, Picture, ServerState};
use crate::state::names::shown;
use crate::state::{Answer, Command, MemberDoc, NodeName, Op};

/// A follower may lag so many entries behind and still be made a voter or be handed leadership.
pub(super) const CAUGHT_UP: u64 = 100;
/// How long a registration is waited for before it goes on in the background.
const REGISTER_WAIT: Duration = Duration::from_secs(30);

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
    /// Hand leadership to a node.
    Transfer {
        /// Its id or URL.
        node: String,
    },
}

impl ClusterCall {
    /// A word for the log: what the caller sent may hold a password.
    fn name(&self) -> &'static str {
        match self {
            ClusterCall::Register { .. } => "register",
            ClusterCall::Deregister { .. } => "deregister",
            ClusterCall::Stop { .. } => "stop",
            ClusterCall::Transfer { .. } => "transfer",
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

/// An answer, or who leads.
type Attempt = Result<std::result::Result<Value, NotLeader>>;

impl Cluster {
    /// Carries out `request` where this node leads.
    pub(super) async fn run_cluster_call(
        self: &Arc<Self>,
        consensus: Arc<Consensus>,
        request: ClusterRequest,
        principal: &str,
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
        tracing::info!(call = request.call.name(), dry_run = request.dry_run, principal, "cluster call");
        if request.dry_run {
            let verdict = self.plan(&consensus, request.call).await?;
            return serde_json::to_value(verdict).map(Ok).map_err(|e| Error::internal(e.to_string()));
        }
        match request.call {
            ClusterCall::Register { url, description } => self.register(consensus, url, description).await.map(Ok),
            ClusterCall::Deregister { node, force } => self.deregister(consensus, &node, force, limit).await,
            ClusterCall::Stop { node, force } => self.stop_node(consensus, &node, force).await.map(Ok),
            ClusterCall::Transfer { node } => self.transfer_to(&consensus, &node).await.map(Ok),
        }
    }

    /// What `call` would do, by the same computation that the deed goes by.
    async fn plan(&self, consensus: &Arc<Consensus>, call: ClusterCall) -> Result<Verdict> {
        let voters = voters(consensus, self.options().inactive_after);
        let known = |node: &str| self.find_member(node)?.ok_or_else(|| unknown_node(node));
        match call {
            ClusterCall::Deregister { node, .. } => Ok(judge(&voters, Action::Remove(known(&node)?.raft_id))),
            ClusterCall::Stop { node, .. } => Ok(judge(&voters, Action::Stop(known(&node)?.raft_id))),
            ClusterCall::Transfer { node } => {
                let (doc, verdict) = (known(&node)?, judge(&voters, Action::Lead));
                let leads = doc.raft_id == consensus.id();
                match may_lead(&consensus.picture(), &doc) {
                    Err(e) if !leads => Ok(verdict.refused(e.message())),
                    _ => Ok(verdict),
                }
            }
            ClusterCall::Register { url, .. } => {
                let url = normalize_url(&url)?;
                if self.find_member(&url)?.is_some_and(|m| m.voter == Some(true)) {
                    return Ok(judge(&voters, Action::Lead));
                }
                let verdict = judge(&voters, Action::Add);
                match self.ask_joiner(consensus, &url).await {
                    Ok(_) => Ok(verdict),
                    Err(e) => Ok(verdict.refused(e.message())),
                }
            }
        }
    }

    async fn register(
        self: &Arc<Self>,
        consensus: Arc<Consensus>,
        url: String,
        description: Option<String>,
    ) -> Result<Value> {
        let url = normalize_url(&url)?;
        let node = self.clone();
        let joining = tokio::spawn(async move {
            // Only its steps are queued: a node that takes long to catch up holds up nobody.
            let (name, raft_id) = {
                let _queue = node.queue(REGISTER_WAIT).await?;
                node.join_node(&consensus, &url, description).await?
            };
            node.wait_for_vote(&consensus, &name, raft_id).await?;
            node.member_doc(&name)
        });
        match tokio::time::timeout(REGISTER_WAIT, joining).await {
            Ok(done) => {
                let member = done.map_err(|e| Error::internal(e.to_string()))??;
                Ok(json!({"status": "registered", "node": self.node_view(&member)?}))
            }
            Err(_) => Ok(json!({
                "status": "joining",
                "message": "the node is catching up and will vote when it has: watch GET /api/cluster",
            })),
        }
    }

    /// Every step may be repeated: a registration that broke off is finished by the next one.
    async fn join_node(
        self: &Arc<Self>,
        consensus: &Arc<Consensus>,
        url: &str,
        description: Option<String>,
    ) -> Result<(String, u64)> {
        let info = self.ask_joiner(consensus, url).await?;
        let stranger = self.peers.get(&Target { url: url.to_owned(), raft_id: 0 });
        if info.raft_id.is_none() && !stranger.is_proved().await {
            // Before anything is written: a node that cannot be let in leaves no trace.
            self.secret_to_hand(url)?;
        }
        let op = Op::ClusterRegister {
            id: NodeName::parse(&info.name)?,
            url: url.to_owned(),
            incarnation: info.incarnation.clone(),
            description,
        };
        let raft_id = match self.command(op).await? {
            Answer::Member { raft_id, .. } => raft_id,
            other => return Err(Error::internal(format!("registration was answered with {other:?}"))),
        };
        if info.raft_id != Some(raft_id) {
            if info.raft_id.is_some() {
                self.command(Op::ClusterDeregister { id: NodeName::parse(&info.name)? }).await?;
                return Err(Error::conflict(format!(
                    "{url} was a member before and was removed: stop it, remove its data directory, start it and register it again"
                )));
            }
            self.hand_membership(consensus, &stranger, raft_id).await?;
        }
        let member = Member { name: info.name.clone(), url: url.to_owned(), incarnation: info.incarnation };
        let picture = consensus.picture();
        if picture.member(raft_id).is_none() {
            consensus.add_learner(raft_id, member, Duration::from_secs(10)).await?;
        }
        Ok((info.name, raft_id))
    }

    /// A place in the queue of changes.
    async fn queue(&self, limit: Duration) -> Result<tokio::sync::MutexGuard<'_, ()>> {
        let place = tokio::time::timeout(limit, self.changes.lock()).await;
        place.map_err(|_| Error::busy("another change of membership is under way: try again in a moment"))
    }

    /// Who answers at `url`, if it may join.
    async fn ask_joiner(&self, consensus: &Consensus, url: &str) -> Result<NodeInfo> {
        if url == self.url() {
            return Err(Error::conflict(format!("{url} is this node itself, which is a member already")));
        }
        let stranger = self.peers.get(&Target { url: url.to_owned(), raft_id: 0 });
        let info = stranger.who().await.map_err(|e| cannot_register(url, e))?;
        self.may_join(consensus, url, &info)?;
        Ok(info)
    }

    fn may_join(&self, consensus: &Consensus, url: &str, info: &NodeInfo) -> Result<()> {
        if info.rpc_version != RPC_VERSION {
            return Err(Error::conflict(format!(
                "{url} runs version {} whose calls between nodes differ from this node's: run the same version on both",
                info.version
            )));
        }
        if !info.distributed {
            return Err(Error::conflict(format!(
                "{url} is standalone: set \"distributed\": true in its config.json and restart it"
            )));
        }
        let identity = self.identity();
        if info.incarnation == identity.incarnation {
            return Err(Error::conflict(format!("{url} is this node itself, which is a member already")));
        }
        if let Some(cluster) = &info.cluster_id
            && cluster != consensus.cluster()
        {
            return Err(Error::conflict(format!(
                "{url} belongs to another cluster ({cluster}): to move it here, stop it, remove its data directory and start it with \"Bootstrap\": false"
            )));
        }
        for member in consensus.state().members() {
            if member.id == info.name && member.incarnation != info.incarnation {
                return Err(Error::conflict(format!(
                    "{url} calls itself {:?} like the member at {}: give it a NodeID of its own; if it is that member \
                     with a new disk, deregister {:?} first",
                    info.name, member.url, info.name
                )));
            }
            if member.id == info.name && member.url != url && member.voter.is_some() {
                return Err(Error::conflict(format!(
                    "{url} is the member {:?}, which was registered at {}: start it there, or deregister it first",
                    member.id, member.url
                )));
            }
            if member.url == url && member.id != info.name {
                return Err(Error::conflict(format!(
                    "{url} is the URL of the member {:?}: deregister that first",
                    member.id
                )));
            }
        }
        Ok(())
    }

    /// Tells the node which member it is; the secret only to a node that has none and is ours.
    async fn hand_membership(&self, consensus: &Consensus, peer: &Peer, raft_id: u64) -> Result<()> {
        let call = Envelope {
            cluster: consensus.cluster().to_owned(),
            from: consensus.id(),
            to: 0,
            body: JoinRequest { raft_id, leader: self.member(), secret: None },
        };
        let limit = Duration::from_secs(10);
        match peer.call_json::<Value>("/raft/rpc/join", &call, limit).await {
            Ok(_) => return Ok(()),
            // It has no secret to open a session with.
            Err(PeerError::Unproved(_)) => {}
            Err(e) => return Err(cannot_register(&peer.target().url, e)),
        }
        let secret = self.secret_to_hand(&peer.target().url)?;
        let call = Envelope { body: JoinRequest { secret: Some(secret.reveal().to_owned()), ..call.body }, ..call };
        let handed: std::result::Result<(Value, _), _> = peer.ask("/raft/rpc/join", &call).await;
        handed.map(drop).map_err(|e| cannot_register(&peer.target().url, e))
    }

    /// The secret, if it may be handed to a node that has none.
    fn secret_to_hand(&self, url: &str) -> Result<Secret> {
        self.secret().filter(|_| self.hands_out_secret()).ok_or_else(|| {
            Error::forbidden(format!(
                "{url} has no cluster secret and this cluster's was configured: set the same ClusterSecret there"
            ))
        })
    }

    /// Waits until the leader has made the learner a voter; see [`super::promotion`].
    async fn wait_for_vote(&self, consensus: &Consensus, member: &str, raft_id: u64) -> Result<()> {
        loop {
            let picture = consensus.picture();
            if picture.voters().contains(&raft_id) && !picture.is_joint() {
                return Ok(());
            }
            if let Some(not) = not_leading(consensus) {
                return Err(Error::no_leader(format!(
                    "leadership moved to {} while the node was joining: it goes on there, see GET /api/cluster",
                    not.leader.map_or_else(|| "nobody yet".to_owned(), |(_, m)| m.name)
                )));
            }
            if self.find_member(member)?.is_none_or(|m| m.raft_id != raft_id) {
                return Err(Error::conflict(format!("{member:?} was removed while it was joining")));
            }
            consensus.changed(Duration::from_millis(200)).await;
        }
    }

    async fn deregister(
        self: &Arc<Self>,
        consensus: Arc<Consensus>,
        node: &str,
        force: bool,
        limit: Duration,
    ) -> Attempt {
        let _queue = self.queue(limit).await?;
        let Some(doc) = self.find_member(node)? else {
            return Err(unknown_node(node));
        };
        let verdict = judge(&voters(&consensus, self.options().inactive_after), Action::Remove(doc.raft_id));
        // The last voter stays even under force: nobody would be left to say so.
        if !verdict.allowed && (!force || verdict.after.voters == 0) {
            return Err(at_risk(&doc, verdict, "deregister"));
        }
        if doc.raft_id == consensus.id() {
            if !self.hand_over(&consensus, limit.min(Duration::from_secs(5))).await {
                return Err(Error::conflict(
                    "this node leads and no other voter could take over: try again when one has caught up",
                ));
            }
            // The new leader removes this node.
            return Ok(Err(not_leading(&consensus).unwrap_or(NotLeader { leader: None })));
        }
        consensus.remove(doc.raft_id, limit).await?;
        self.command(Op::ClusterDeregister { id: NodeName::parse(&doc.id)? }).await?;
        // It hears nothing more of the cluster: tell it. If it is away, members tell it when it calls.
        let (peer, call) = self.call_to(&consensus, &doc, json!({"index": consensus.applied_index()}));
        let told = peer.call_json::<Value>("/raft/rpc/removed", &call, Duration::from_secs(1)).await;
        tracing::info!(node = doc.id, told = told.is_ok(), "removed from the cluster");
        Ok(Ok(json!({"status": "deregistered"})))
    }

    async fn stop_node(self: &Arc<Self>, consensus: Arc<Consensus>, node: &str, force: bool) -> Result<Value> {
        let Some(doc) = self.find_member(node)? else {
            return Err(unknown_node(node));
        };
        let verdict = judge(&voters(&consensus, self.options().inactive_after), Action::Stop(doc.raft_id));
        if !verdict.allowed && !force {
            return Err(at_risk(&doc, verdict, "stop"));
        }
        self.note_stopping(doc.raft_id);
        self.command(Op::ClusterStop { id: NodeName::parse(&doc.id)? }).await?;
        if doc.raft_id == consensus.id() {
            self.ask_to_stop();
            return Ok(json!({"status": "stop_sent"}));
        }
        let (peer, call) = self.call_to(&consensus, &doc, json!({}));
        match peer.call_json::<Value>("/raft/rpc/stop", &call, Duration::from_secs(2)).await {
            Ok(_) => Ok(json!({"status": "stop_sent"})),
            Err(PeerError::Refused(e)) if e.code() != ErrorCode::Unavailable => Err(e),
            Err(_) => Ok(json!({"status": "stopped_already"})),
        }
    }

    fn call_to(&self, consensus: &Consensus, doc: &MemberDoc, body: Value) -> (Arc<Peer>, Envelope<Value>) {
        let (from, to) = (consensus.id(), doc.raft_id);
        let peer = self.peers.get(&Target { url: doc.url.clone(), raft_id: to });
        (peer, Envelope { cluster: consensus.cluster().to_owned(), from, to, body })
    }

    async fn transfer_to(self: &Arc<Self>, consensus: &Arc<Consensus>, node: &str) -> Result<Value> {
        let Some(doc) = self.find_member(node)? else {
            return Err(unknown_node(node));
        };
        let done = || json!({"status": "transferred", "leaderId": doc.id});
        if doc.raft_id == consensus.id() {
            return Ok(done());
        }
        let picture = consensus.picture();
        may_lead(&picture, &doc)?;
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
        let deadline = Instant::now() + limit;
        loop {
            let picture = consensus.picture();
            if picture.state != ServerState::Leader {
                return true;
            }
            let docs = consensus.state().members();
            let best = docs
                .iter()
                .filter(|d| may_lead(&picture, d).is_ok())
                .max_by_key(|d| (picture.matched.get(&d.raft_id).copied().flatten(), std::cmp::Reverse(d.raft_id)));
            let left = deadline.saturating_duration_since(Instant::now());
            match best {
                Some(best) if consensus.transfer(best.raft_id, left.min(Duration::from_secs(2))).await => return true,
                _ if left.is_zero() || picture.voters().len() < 2 => return false,
                _ => tokio::time::sleep(Duration::from_millis(20).min(left)).await,
            }
        }
    }

    /// Proposes `op` here and returns its answer.
    pub(super) async fn command(self: &Arc<Self>, op: Op) -> Result<Answer> {
        let call = super::Call::internal(Duration::from_secs(10));
        self.write(&call, &Command::new(op)).await?.outcome.into_result()
    }

    /// The member with this id or URL.
    pub(super) fn find_member(&self, node: &str) -> Result<Option<MemberDoc>> {
        let url = normalize_url(node).ok();
        let members = self.state()?.members();
        Ok(members.into_iter().find(|m| m.id == node || url.as_deref() == Some(m.url.as_str())))
    }

    fn member_doc(&self, id: &str) -> Result<MemberDoc> {
        self.find_member(id)?.ok_or_else(|| Error::conflict(format!("{id:?} was removed while it was joining")))
    }
}

/// Who leads instead, where this node does not.
fn not_leading(consensus: &Consensus) -> Option<NotLeader> {
    let picture = consensus.picture();
    if picture.state == ServerState::Leader {
        return None;
    }
    let leader = picture.leader.filter(|id| *id != consensus.id());
    Some(NotLeader { leader: leader.and_then(|id| Some((id, picture.member(id)?.clone()))) })
}

/// How many entries a peer is behind, as the leader knows.
pub(super) fn lag(picture: &Picture, id: u64) -> Option<u64> {
    if id == picture.id {
        return Some(0);
    }
    picture.matched.get(&id).copied().flatten().map(|matched| picture.last.saturating_sub(matched))
}

/// Whether the leader has heard the peer `id` within the last `limit`.
pub(super) fn heard_within(picture: &Picture, id: u64, limit: Duration) -> bool {
    picture.silence.get(&id).is_some_and(|s| s.is_some_and(|s| s < limit))
}

/// The voters; one that was asked to stop does not count as active, though it may still be heard.
fn voters(consensus: &Consensus, silent: Duration) -> Vec<Voter> {
    let (picture, docs) = (consensus.picture(), consensus.state().members());
    let stopped = |id| docs.iter().any(|d| d.raft_id == id && d.status == Status::Inactive);
    let active = |id| (id == picture.id || heard_within(&picture, id, silent)) && !stopped(id);
    picture.voters().into_iter().map(|id| Voter { id, active: active(id) }).collect()
}

/// Leadership goes only to a voter that is reachable, not paused and has no lag to speak of.
fn may_lead(picture: &Picture, doc: &MemberDoc) -> Result<()> {
    let refuse = |why: &str| Err(Error::conflict(format!("{:?} {why}: choose another node", doc.id)));
    if !picture.voters().contains(&doc.raft_id) || doc.raft_id == picture.id {
        return refuse("is no other voter");
    }
    if doc.status == Status::Paused {
        return refuse("is paused");
    }
    if !heard_within(picture, doc.raft_id, Duration::from_secs(1)) {
        return refuse("is not heard");
    }
    if lag(picture, doc.raft_id).is_none_or(|lag| lag > CAUGHT_UP) {
        return refuse("is behind");
    }
    Ok(())
}

fn at_risk(doc: &MemberDoc, verdict: Verdict, call: &str) -> Error {
    let detail = |q| serde_json::to_value(q).unwrap_or_default();
    Error::new(
        ErrorCode::QuorumAtRisk,
        format!(
            "{:?} stays: {}. Bring the silent nodes back or deregister them first, or repeat the {call} with \"force\":true",
            doc.id, verdict.reason
        ),
    )
    .with("before", detail(verdict.before))
    .with("after", detail(verdict.after))
}

fn unknown_node(node: &str) -> Error {
    Error::not_found(format!("no member has the id or URL {}: see GET /api/cluster", shown(node)))
}

fn cannot_register(url: &str, e: PeerError) -> Error {
    match e {
        PeerError::Unreachable { why, .. } => Error::bad_request(format!(
            "nothing answers at {url} ({why}): start the node with \"distributed\": true and register it again"
        )),
        PeerError::NoAnswer { why, .. } => {
            Error::bad_request(format!("{url} does not answer as a JettraDB node ({why}): check the URL"))
        }
        PeerError::Unproved(why) => Error::forbidden(why),
        PeerError::Refused(e) => Error::new(e.code(), format!("{url} refuses: {}", e.message())),
    }
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

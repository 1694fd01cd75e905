//! How a node becomes a member: asked who it is, registered, told, added as a learner; and how a member that
//! answers at another URL than before is found again.
//!
//! Every step may be repeated, by this leader or the next: see [`super::promotion`].

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::Cluster;
use super::Verdict;
use super::join::JoinRequest;
use super::membership::{normalize_url, not_leading};
use super::plan::Action;
use crate::error::{Error, Result};
use crate::peers::{NodeInfo, Peer, PeerError, RPC_VERSION, Secret, Target};
use crate::raft::{Consensus, Envelope, Member};
use crate::state::{Answer, MemberDoc, NodeName, Op};

/// How long a registration is waited for before it goes on in the background.
const REGISTER_WAIT: Duration = Duration::from_secs(30);
/// How long one change of the Raft membership may take.
const CHANGE: Duration = Duration::from_secs(10);

/// How far a registration has come.
pub(super) enum Joined {
    /// The Raft membership has the node, which replicates and will vote.
    Member {
        /// Its `NodeID`.
        name: String,
        /// Its Raft id.
        raft_id: u64,
    },
    /// It is registered, and was gone when it was told; it is told again as soon as it answers.
    Waiting {
        /// Its `NodeID`.
        name: String,
        /// What its call said.
        why: String,
    },
}

impl Cluster {
    /// What registering the node at `url` would do.
    pub(super) async fn plan_register(&self, consensus: &Consensus, url: &str) -> Result<Verdict> {
        let url = normalize_url(url)?;
        let is_voter = |doc: MemberDoc| doc.voter == Some(true);
        let action = if self.find_member(&url)?.is_some_and(is_voter) { Action::Keep } else { Action::Add };
        let verdict = self.judge(consensus, action);
        match self.ask_joiner(consensus, &url).await {
            Err(e) if action == Action::Add => Ok(verdict.refused(&e)),
            Ok(info) if info.raft_id.is_some() => Ok(self.judge(consensus, Action::Keep)),
            _ => Ok(verdict),
        }
    }

    /// Makes the node at `url` a member, and waits until it votes.
    pub(super) async fn register(
        self: &Arc<Self>,
        consensus: Arc<Consensus>,
        url: String,
        description: Option<String>,
    ) -> Result<Value> {
        let url = normalize_url(&url)?;
        let (node, at) = (self.clone(), url.clone());
        let joining = tokio::spawn(async move {
            // Only its steps are queued: a node that takes long to catch up holds up nobody.
            let joined = {
                let _queue = node.queue(REGISTER_WAIT).await?;
                node.join_node(&consensus, &at, description).await?
            };
            if let Joined::Member { name, raft_id } = &joined {
                node.wait_for_vote(&consensus, name, *raft_id).await?;
            }
            Ok::<_, Error>(joined)
        });
        let name = match tokio::time::timeout(REGISTER_WAIT, joining).await {
            Ok(done) => match done.map_err(|e| Error::internal(e.to_string()))?? {
                Joined::Member { name, .. } => {
                    return Ok(json!({"status": "registered", "node": self.member_view(&name)?}));
                }
                Joined::Waiting { name, why } => {
                    let message = format!(
                        "the node was registered and then gone ({why}): it goes on as soon as it answers; to give it up: \
                         curl -X POST {}/api/cluster/deregister -d '{{\"node\":\"{name}\"}}'",
                        self.url()
                    );
                    return Ok(json!({"status": "joining", "node": self.member_view(&name)?, "message": message}));
                }
            },
            Err(_) => self.find_member(&url)?.map(|doc| doc.id),
        };
        let message = "the node is catching up and will vote when it has: watch lagEntries in GET /api/cluster";
        let mut answer = json!({"status": "joining", "message": message});
        if let Some(name) = name {
            answer["node"] = serde_json::to_value(self.member_view(&name)?).unwrap_or_default();
        }
        Ok(answer)
    }

    /// Every step may be repeated: a registration that broke off is finished by the next one.
    pub(super) async fn join_node(
        self: &Arc<Self>,
        consensus: &Arc<Consensus>,
        url: &str,
        description: Option<String>,
    ) -> Result<Joined> {
        let info = self.ask_joiner(consensus, url).await?;
        let stranger = self.peers.get(&Target { url: url.to_owned(), raft_id: 0 });
        if info.raft_id.is_none() && !stranger.is_proved().await {
            // Before anything is written: a node that cannot be let in leaves no trace.
            self.secret_to_hand(url)?;
        }
        let name = NodeName::parse(&info.name)?;
        let (incarnation, id) = (info.incarnation.clone(), name.clone());
        let op = Op::ClusterRegister { id, url: url.to_owned(), incarnation, description };
        let (raft_id, existed) = match self.command(op).await? {
            Answer::Member { raft_id, existed } => (raft_id, existed),
            other => return Err(Error::internal(format!("registration was answered with {other:?}"))),
        };
        if info.raft_id != Some(raft_id) {
            let told = match info.raft_id {
                Some(_) => Err(PeerError::Refused(Error::conflict(
                    "it was a member before and was removed: stop it, remove its data directory, start it and register it again",
                ))),
                None => self.hand_membership(consensus, &stranger, raft_id).await,
            };
            match told {
                Ok(()) => {}
                Err(PeerError::Unreachable { why, .. } | PeerError::NoAnswer { why, .. }) => {
                    return Ok(Joined::Waiting { name: info.name, why });
                }
                Err(e) => {
                    if !existed {
                        self.command(Op::ClusterDeregister { id: name }).await?;
                    }
                    return Err(cannot_register(url, e));
                }
            }
        }
        let member = Member { name: info.name.clone(), url: url.to_owned(), incarnation: info.incarnation };
        match consensus.picture().member(raft_id) {
            None => consensus.add_learner(raft_id, member, CHANGE).await?,
            Some(known) if known.url != url => consensus.set_member(raft_id, member, CHANGE).await?,
            Some(_) => {}
        }
        Ok(Joined::Member { name: info.name, raft_id })
    }

    /// A member that proved that it answers at `url` now is registered there.
    pub(super) async fn follow_move(
        self: &Arc<Self>,
        consensus: &Arc<Consensus>,
        doc: &MemberDoc,
        url: &str,
    ) -> Result<()> {
        tracing::info!(node = doc.id, from = doc.url, to = url, "a member has moved");
        if doc.raft_id != consensus.id() {
            return self.join_node(consensus, url, None).await.map(drop);
        }
        let (id, incarnation) = (NodeName::parse(&doc.id)?, doc.incarnation.clone());
        self.command(Op::ClusterRegister { id, url: url.to_owned(), incarnation, description: None }).await?;
        consensus.set_member(doc.raft_id, self.member(), CHANGE).await
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
        let level = consensus.state().feature_level();
        if info.feature_level < level {
            return Err(Error::conflict(format!(
                "{url} runs version {}, which supports feature level {} and the cluster is at {level}: install a newer version there",
                info.version, info.feature_level
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
                     with a new disk, remove the old one first: curl -X POST {}/api/cluster/deregister -d \
                     '{{\"node\":\"{}\"}}', then register it again",
                    info.name,
                    member.url,
                    self.url(),
                    info.name
                ))
                .with("node", member.id.as_str()));
            }
            if member.url == url && member.id != info.name {
                return Err(Error::conflict(format!(
                    "{url} is the URL of the member {:?}: give this node another one, or remove that member first: \
                     curl -X POST {}/api/cluster/deregister -d '{{\"node\":\"{}\"}}'",
                    member.id,
                    self.url(),
                    member.id
                ))
                .with("node", member.id.as_str()));
            }
        }
        Ok(())
    }

    /// Tells the node which member it is; the secret only to a node that has none and is ours.
    async fn hand_membership(
        &self,
        consensus: &Consensus,
        peer: &Peer,
        raft_id: u64,
    ) -> std::result::Result<(), PeerError> {
        let call = Envelope {
            cluster: consensus.cluster().to_owned(),
            from: consensus.id(),
            to: 0,
            body: JoinRequest {
                raft_id,
                leader: self.member(),
                feature_level: consensus.state().feature_level(),
                secret: None,
            },
        };
        let limit = Duration::from_secs(10);
        match peer.call_json::<Value>("/raft/rpc/join", &call, limit).await {
            Ok(_) => return Ok(()),
            // It has no secret to open a session with.
            Err(PeerError::Unproved(_)) => {}
            Err(e) => return Err(e),
        }
        let secret = self.secret_to_hand(&peer.target().url).map_err(PeerError::Refused)?;
        let call = Envelope { body: JoinRequest { secret: Some(secret.reveal().to_owned()), ..call.body }, ..call };
        let handed: std::result::Result<(Value, _), _> = peer.ask("/raft/rpc/join", &call).await;
        handed.map(drop)
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

    fn member_view(&self, id: &str) -> Result<jettra_client::wire::NodeView> {
        let member = self.find_member(id)?;
        self.node_view(&member.ok_or_else(|| Error::conflict(format!("{id:?} was removed while it was joining")))?)
    }
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

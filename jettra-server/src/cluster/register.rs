//! How a node becomes a member: asked who it is, registered, told, added as a learner; and how a member that
//! answers at another URL than before is found again.
//!
//! Every step may be repeated, by this leader or the next: see [`super::promotion`].

use std::sync::Arc;
use std::time::Duration;

use jettra_client::wire::ErrorCode;
use serde_json::{Value, json};
use tracing::Instrument as _;

use super::join::JoinRequest;
use super::membership::{normalize_url, not_leading};
use super::plan::Action;
use super::promotion::is_ready;
use super::{Call, Cluster, ClusterCall, ClusterRequest, Verdict};
use crate::error::{Error, Result};
use crate::feature;
use crate::lasting::Unless;
use crate::limits;
use crate::peers::{NOT_LET_IN, NodeInfo, OwnProcess, Peer, PeerError, RPC_VERSION, Secret, Target};
use crate::raft::{Consensus, Envelope, Member};
use crate::state::{Answer, MemberDoc, NodeChange, NodeName, Op};

/// Nodes that may be registered at once because they asked for it.
const ASKING: usize = 64;
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

/// A node that is to become a member.
pub(super) struct Wanted {
    /// Where it is.
    pub url: String,
    /// What to say of it.
    pub description: Option<String>,
    /// The URL of the node that a client asked for this.
    pub asked: Option<String>,
    /// Whether it is to vote, where that is said.
    pub voter: Option<bool>,
}

impl Cluster {
    /// Registers the node at `url`, which has asked for it, in the background; once at a time, however often it asks.
    /// `voter` is what its configuration wants it to be.
    ///
    /// # Errors
    /// `busy` where many are registered already.
    pub fn register_soon(self: &Arc<Self>, url: String, voter: bool) -> Result<()> {
        {
            let mut asking = self.asking.lock();
            if asking.len() >= ASKING {
                return Err(Error::busy("many nodes are being registered: ask again in a moment"));
            }
            if !asking.insert(url.clone()) {
                return Ok(());
            }
        }
        let node = self.clone();
        tokio::spawn(async move {
            // What it is told once counts from then on: it may have been promoted since.
            let voter = if voter { None } else { Some(false) };
            let call = ClusterCall::Register { url: url.clone(), description: None, asked: None, voter };
            let request = ClusterRequest { call, dry_run: false };
            let asked = Unless::new(|| {
                node.asking.lock().remove(&url);
            });
            let registered = node.cluster_call(&Call::internal(limits::JOIN), request).await;
            drop(asked);
            if let Err(e) = registered {
                // It asks again each second.
                node.unregistered.tell(move |times| {
                    tracing::warn!(url, times, error = %e, "a node that asked to be registered was not");
                });
            }
        });
        Ok(())
    }

    /// What registering the node at `url` would do.
    pub(super) async fn plan_register(
        &self,
        consensus: &Consensus,
        url: &str,
        asked: Option<String>,
        voter: Option<bool>,
    ) -> Result<Verdict> {
        let url = normalize_url(url)?;
        let known = self.find_member(&url)?;
        let action = match &known {
            Some(doc) if doc.voter == Some(true) || doc.replica => Action::Keep,
            None if voter == Some(false) => Action::AddReplica,
            _ => Action::Add,
        };
        let verdict = self.judge(consensus, action).await;
        if let Some(e) = known.as_ref().and_then(|doc| self.is_otherwise(doc, voter)) {
            return Ok(verdict.refused(&e));
        }
        if asked.as_ref() == Some(&url) {
            return Ok(verdict.refused(&itself(&url)));
        }
        if url == self.url() {
            return Ok(verdict);
        }
        match self.ask_joiner(consensus, &url).await {
            Err(e) => Ok(verdict.refused(&e)),
            Ok(info) if info.raft_id.is_some() => Ok(self.judge(consensus, Action::Keep).await),
            Ok(_) => Ok(verdict),
        }
    }

    /// Makes the node at `url` a member, and waits until it votes.
    pub(super) async fn register(
        self: &Arc<Self>,
        consensus: Arc<Consensus>,
        wanted: Wanted,
        principal: &str,
    ) -> Result<Value> {
        let Wanted { url, description, asked, voter } = wanted;
        let url = normalize_url(&url)?;
        if asked.as_ref() == Some(&url) {
            return Err(itself(&url));
        }
        if url == self.url() {
            // A call that is repeated after the leader's death may find that the node has joined and leads.
            return Ok(json!({"status": "registered", "node": self.member_view(&self.identity().name)?}));
        }
        let (node, at, principal) = (self.clone(), url.clone(), principal.to_owned());
        let joining = async move {
            // Only its steps are queued: a node that takes long to catch up holds up nobody.
            let joined = {
                let _queue = node.queue(limits::JOIN).await?;
                let known = node.find_member(&at)?;
                if let Some(e) = known.as_ref().and_then(|doc| node.is_otherwise(doc, voter)) {
                    return Err(e);
                }
                if known.is_none() {
                    node.ask_joiner(&consensus, &at).await?;
                    if voter != Some(false) || node.state()?.feature_level() >= feature::REPLICAS {
                        node.note_asked(&principal, "register", &at).await;
                    }
                }
                node.join_node(&consensus, &at, description, voter == Some(false)).await?
            };
            if let Joined::Member { name, raft_id } = &joined {
                node.wait_until_in(&consensus, name, *raft_id).await?;
            }
            Ok::<_, Error>(joined)
        };
        let joining = tokio::spawn(joining.in_current_span());
        let name = match tokio::time::timeout(limits::JOIN, joining).await {
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
        let message =
            "the node is catching up, and is what it is to be when it has: watch lagEntries in GET /api/cluster";
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
        replica: bool,
    ) -> Result<Joined> {
        let info = self.ask_joiner(consensus, url).await?;
        let stranger = self.peers.get(&Target { url: url.to_owned(), raft_id: 0 });
        let name = NodeName::parse(&info.name)?;
        let (incarnation, id) = (info.incarnation.clone(), name.clone());
        let op = Op::ClusterRegister { id, url: url.to_owned(), incarnation, description, replica };
        let (raft_id, existed) = match self.command(op).await? {
            Answer::Member { raft_id, existed } => (raft_id, existed),
            _ => {
                let what = "a registration was answered as something else: this is a fault of this version";
                return Err(Error::internal(what));
            }
        };
        if info.raft_id != Some(raft_id) {
            let told = match info.raft_id {
                Some(_) => Err(PeerError::Refused(was_removed())),
                None => self.hand_membership(consensus, &stranger, &info, raft_id).await,
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

    /// Registers members where they answer now: each is dialled there once more, and all go into one command, since one
    /// may be where another was.
    pub(super) async fn follow_moves(
        self: &Arc<Self>,
        consensus: &Arc<Consensus>,
        moves: Vec<(MemberDoc, String)>,
    ) -> Result<()> {
        let mut proved = Vec::new();
        for (doc, url) in moves {
            if doc.raft_id == consensus.id() {
                proved.push((doc, url));
                continue;
            }
            match self.prove_move(&doc, &url).await {
                Ok(()) => proved.push((doc, url)),
                Err(e) => {
                    tracing::warn!(node = doc.id, url, error = %e, "a member is not where it said that it is");
                    self.peers.forget_move(doc.raft_id);
                }
            }
        }
        let moves = without_clashes(&consensus.state().members(), proved);
        let mut nodes = Vec::new();
        for (doc, url) in &moves {
            tracing::info!(node = doc.id, from = doc.url, to = url, "a member has moved");
            nodes.push(NodeChange { url: Some(url.clone()), ..NodeChange::of(NodeName::parse(&doc.id)?) });
        }
        if nodes.is_empty() {
            return Ok(());
        }
        self.command(Op::ClusterUpdateNode { nodes }).await?;
        for (doc, url) in moves {
            if consensus.picture().member(doc.raft_id).is_none() {
                continue; // it is still joining, and goes on at its new place
            }
            let member = Member { name: doc.id, url, incarnation: doc.incarnation };
            consensus.set_member(doc.raft_id, member, CHANGE).await?;
        }
        Ok(())
    }

    /// Who answers at `url`, if it may join. Nothing is written yet: a node that cannot be let in leaves no trace.
    async fn ask_joiner(&self, consensus: &Consensus, url: &str) -> Result<NodeInfo> {
        let stranger = self.peers.get(&Target { url: url.to_owned(), raft_id: 0 });
        let info = stranger.who().await.map_err(|e| cannot_register(url, e))?;
        self.may_join(consensus, url, &info)?;
        if info.raft_id.is_none() && !stranger.is_proved() {
            self.secret_to_hand(url)?;
        }
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
            return Err(itself(url));
        }
        if let Some(cluster) = &info.cluster_id
            && cluster != consensus.cluster()
        {
            return Err(Error::conflict(format!(
                "{url} belongs to another cluster ({cluster}): to move it here, stop it, remove its data directory and start it with \"Bootstrap\": false"
            )));
        }
        let members = consensus.state().members();
        // A Raft id is the revision of a registration: who is not there though that is applied, was removed.
        if let Some(id) = info.raft_id
            && consensus.applied_index() >= id
            && members.iter().all(|member| member.raft_id != id)
        {
            return Err(cannot_register(url, PeerError::Refused(was_removed())));
        }
        for member in members {
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
        info: &NodeInfo,
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
        // It opens its stores before it answers.
        let limit = Duration::from_secs(10);
        match peer.call_json::<Value>("/raft/rpc/join", &call, limit).await {
            Ok(_) => return Ok(()),
            // It has no secret to open a session with.
            Err(PeerError::Unproved(_)) => {}
            Err(e) => return Err(e),
        }
        let url = &peer.target().url;
        let secret = self.secret_to_hand(url).map_err(PeerError::Refused)?;
        let Some(mut process) = OwnProcess::greet(url).await? else {
            return Err(PeerError::Unproved(format!("{url} has got a cluster secret meanwhile: register it again")));
        };
        let there = process.who(consensus.cluster(), consensus.id(), 0).await?;
        if (&there.name, &there.incarnation, &there.instance) != (&info.name, &info.incarnation, &info.instance) {
            return Err(PeerError::Unproved(format!(
                "another node answers at {url} than a moment ago: register it again"
            )));
        }
        let call = Envelope { body: JoinRequest { secret: Some(secret.reveal().to_owned()), ..call.body }, ..call };
        process.tell::<Value>("/raft/rpc/join", &call, limit).await?;
        tracing::info!(url, node = info.name, "the cluster secret was handed to a process of the same user");
        Ok(())
    }

    /// The secret, if it may be handed to a node that has none.
    fn secret_to_hand(&self, url: &str) -> Result<Secret> {
        self.secrets().map(|secrets| secrets.now).filter(|_| self.hands_out_secret()).ok_or_else(|| {
            Error::forbidden(format!(
                "{url} has no cluster secret and this cluster's was configured: set the same ClusterSecret there"
            ))
        })
    }

    /// Waits until the leader has made the learner a voter, see [`super::promotion`]; a read replica until it has caught
    /// up.
    pub(super) async fn wait_until_in(&self, consensus: &Consensus, member: &str, raft_id: u64) -> Result<()> {
        loop {
            let picture = consensus.picture();
            if picture.voters().contains(&raft_id) && !picture.is_joint() {
                return Ok(());
            }
            if self.find_member(member)?.is_some_and(|doc| doc.replica) && is_ready(&picture, raft_id) {
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

    /// The error where `voter` was asked for and a member is the other thing.
    fn is_otherwise(&self, doc: &MemberDoc, voter: Option<bool>) -> Option<Error> {
        let (is, call) = match voter {
            Some(true) if doc.replica => ("a read replica", "promote"),
            Some(false) if !doc.replica => ("a member that votes", "demote"),
            _ => return None,
        };
        Some(Error::conflict(format!(
            "{:?} is {is} already; to change that: curl -X POST {}/api/cluster/{call} -d '{{\"node\":\"{}\"}}'",
            doc.id,
            self.url(),
            doc.id
        )))
    }

    fn member_view(&self, id: &str) -> Result<jettra_client::wire::NodeView> {
        let member = self.find_member(id)?;
        self.node_view(&member.ok_or_else(|| Error::conflict(format!("{id:?} was removed while it was joining")))?)
    }
}

/// Those of `moves` after which each URL is one member's: a place is free where its member moves away too.
fn without_clashes(members: &[MemberDoc], mut moves: Vec<(MemberDoc, String)>) -> Vec<(MemberDoc, String)> {
    loop {
        let stays = |member: &&MemberDoc| moves.iter().all(|(doc, _)| doc.raft_id != member.raft_id);
        let taken: Vec<&str> = members.iter().filter(stays).map(|member| member.url.as_str()).collect();
        let wanted = |url: &str| moves.iter().filter(|(_, to)| to == url).count();
        let clash = moves.iter().position(|(_, url)| taken.contains(&url.as_str()) || wanted(url) > 1);
        match clash {
            Some(clash) => drop(moves.remove(clash)),
            None => return moves,
        }
    }
}

fn is_for(e: &Error, reason: &str) -> bool {
    e.detail(NOT_LET_IN).is_some_and(|why| why == reason)
}

fn itself(url: &str) -> Error {
    Error::conflict(format!("{url} is this node itself, which is a member already"))
}

fn was_removed() -> Error {
    Error::conflict(
        "it was a member before and was removed: stop it, remove its data directory, start it with \"Bootstrap\": false \
         and register it again",
    )
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
        // The node does not believe this one; whoever asked for the registration has shown who he is.
        PeerError::NotLetIn(e) if e.code() == ErrorCode::Unauthorized => Error::forbidden(format!(
            "{url} has another cluster secret: if it is standalone or began a cluster of its own, stop it, remove its data \
             directory and start it with \"distributed\": true, \"Bootstrap\": false; else set the same ClusterSecret \
             (config) or JETTRA_CLUSTER_SECRET on every node"
        )),
        PeerError::NotLetIn(e) if is_for(&e, "cluster") => Error::conflict(format!(
            "{url} belongs to another cluster: to move it here, stop it, remove its data directory and start it with \
             \"Bootstrap\": false"
        )),
        PeerError::Refused(e) | PeerError::NotLetIn(e) => {
            Error::new(e.code(), format!("{url} refuses: {}", e.message()))
        }
    }
}

#[cfg(test)]
mod tests {
    use jettra_client::wire::{Role, Status};

    use super::*;

    fn member(raft_id: u64, url: &str) -> MemberDoc {
        MemberDoc {
            id: format!("node{raft_id}"),
            url: url.into(),
            role: Role::Follower,
            status: Status::Active,
            description: None,
            voter: Some(true),
            replica: false,
            paused: false,
            raft_id,
            incarnation: "i".into(),
        }
    }

    #[test]
    fn members_may_change_places_but_not_share_one() {
        let members = [member(1, "a"), member(2, "b"), member(3, "c")];
        let went = |moves: &[(u64, &str)]| {
            let moves = moves.iter().map(|(id, to)| (members[*id as usize - 1].clone(), (*to).to_owned())).collect();
            let moves = without_clashes(&members, moves);
            moves.into_iter().map(|(doc, to)| (doc.raft_id, to)).collect::<Vec<_>>()
        };
        assert_eq!(went(&[(1, "b"), (2, "a")]), [(1, "b".into()), (2, "a".into())]);
        assert_eq!(went(&[(1, "b"), (2, "c"), (3, "a")]).len(), 3);
        assert_eq!(went(&[(1, "b")]), [], "node2 is there");
        assert_eq!(
            went(&[(1, "b"), (2, "c")]),
            [],
            "node3 is where node2 would go, so node2 stays where node1 would go"
        );
        assert_eq!(went(&[(1, "d"), (2, "d")]), [(2, "d".into())], "two say that they are there: one is believed");
    }
}

//! The leader's side of a join. A node that is to become a member is asked who it is, registered, told which member it
//! is, and added as a learner.
//!
//! Every step may be repeated, by this leader or the next: see [`super::duties::promotion`].
//!
//! - `mod`: the steps
//! - `ask`: who answers there, whether it may join, and what it is told
//! - `moves`: members that answer at another URL than before

mod ask;
mod moves;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tracing::Instrument as _;

use self::ask::{cannot_register, itself, was_removed};
use super::duties::promotion::is_ready;
use super::membership::{normalize_url, not_leading};
use super::plan::Action;
use super::{Call, Cluster, ClusterCall, ClusterRequest, Verdict};
use crate::error::{Error, Result};
use crate::feature;
use crate::lasting::Unless;
use crate::limits;
use crate::peers::{PeerError, Target};
use crate::raft::{Consensus, Member};
use crate::state::{Answer, MemberDoc, NodeName, Op};

/// Nodes that may be registered at once because they asked for it.
const ASKING: usize = 64;
/// How long one change of the Raft membership may take.
const CHANGE: Duration = Duration::from_secs(10);

/// How far a registration has come.
pub(in crate::cluster) enum Joined {
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
pub(in crate::cluster) struct Wanted {
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
    pub(in crate::cluster) async fn plan_register(
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
    pub(in crate::cluster) async fn register(
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
    pub(in crate::cluster) async fn join_node(
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
        let (raft_id, existed) = match self.propose(op).await? {
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
                        self.propose(Op::ClusterDeregister { id: name }).await?;
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

    /// Waits until the leader has made the learner a voter, see [`super::duties::promotion`]; a read replica until it has caught
    /// up.
    pub(in crate::cluster) async fn wait_until_in(
        &self,
        consensus: &Consensus,
        member: &str,
        raft_id: u64,
    ) -> Result<()> {
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

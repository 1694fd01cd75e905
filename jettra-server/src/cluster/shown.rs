//! The cluster as clients are shown it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jettra_client::wire::{
    ClusterView, FederatedConfig, FederatedNode, FederatedView, JoinProgress, MachineMetrics, NodeView, Role,
};
use parking_lot::Mutex;
use serde_json::json;

use super::Cluster;
use super::facts::{Fact, Facts, Heard, role};
use crate::error::{Error, Result};
use crate::peers::Target;
use crate::raft::{Consensus, Envelope, Picture};
use crate::state::{CLUSTERNODES, CollectionName, DatabaseName, MemberDoc};

/// How long another machine's numbers are shown before they are asked for again.
const FRESH: Duration = Duration::from_secs(2);
/// How long another node has to tell them.
const ASK: Duration = Duration::from_millis(500);

/// How long what the leader said of the members is shown before it is asked again.
const LEADER_FRESH: Duration = Duration::from_millis(500);

/// What the leader said of the members, and when.
pub type ToldByLeader = tokio::sync::Mutex<Option<(Instant, Vec<NodeView>)>>;

/// The other machines' numbers, by Raft id, and when they were told.
pub type MachineCache = Mutex<HashMap<u64, (Instant, MachineMetrics)>>;

/// The members as they are shown, and what that was computed from.
struct Seen {
    picture: Picture,
    docs: Vec<MemberDoc>,
    facts: Facts,
    /// In the order of `docs`.
    nodes: Vec<NodeView>,
}

impl Seen {
    fn leader(&self) -> Option<&MemberDoc> {
        self.docs.iter().find(|doc| Some(doc.raft_id) == self.picture.believed)
    }

    /// This node's own part.
    fn role(&self) -> Role {
        role(self.picture.state, self.picture.believed == Some(self.picture.id))
    }
}

impl Cluster {
    /// What `GET /api/cluster` answers.
    ///
    /// # Errors
    /// `internal` when the state cannot be read.
    pub async fn view(self: &Arc<Self>) -> Result<ClusterView> {
        let mut view = ClusterView { enabled: self.options().distributed, ..ClusterView::default() };
        if !view.enabled {
            return Ok(view);
        }
        let identity = self.identity();
        view.node_id = Some(identity.name.clone());
        view.uptime_ms = u64::try_from(self.samples.uptime().as_millis()).ok();
        view.version = Some(env!("CARGO_PKG_VERSION").to_owned());
        view.cluster_id = identity.membership.map(|m| m.cluster_id);
        let Some(consensus) = self.running() else {
            view.state = Some(Role::Learner);
            return Ok(view);
        };
        view.feature_level = Some(consensus.state().feature_level());
        let seen = self.seen(&consensus).await;
        view.state = Some(seen.role());
        if let Some(leader) = seen.leader() {
            (view.leader_id, view.leader_url) = (Some(leader.id.clone()), Some(leader.url.clone()));
        }
        view.term = Some(seen.picture.term);
        view.applied_index = Some(consensus.applied_index());
        view.commit_index = Some(seen.picture.committed.max(consensus.applied_index()));
        let quorum = seen.facts.quorum();
        (view.failure_tolerance, view.quorum) = (Some(quorum.failure_tolerance), Some(quorum));
        view.nodes = seen.nodes;
        Ok(view)
    }

    /// What `GET /api/federated` answers.
    ///
    /// # Errors
    /// `unavailable` while the node is no member.
    pub async fn federated(self: &Arc<Self>) -> Result<FederatedView> {
        let seen = self.seen(&self.consensus()?).await;
        let now = crate::clock::now_ms();
        let leader = seen.leader().map(|leader| (leader.id.clone(), leader.url.clone())).unzip();
        let node = |node: &NodeView| FederatedNode {
            id: node.id.clone(),
            url: node.url.clone(),
            status: node.status,
            // Clients of old know no replicas.
            role: if node.role == Role::Replica { Role::Follower } else { node.role },
            last_seen: node.last_contact_ms.map_or(0, |ms| now.saturating_sub(ms)),
            metrics: node.metrics.clone().unwrap_or_default(),
        };
        let nodes: Vec<FederatedNode> = seen.nodes.iter().map(node).collect();
        let own = self.identity().name;
        let peers = || nodes.iter().filter(|node| node.id != own);
        let quorum = seen.facts.quorum();
        let is_replica = seen.facts.member(seen.picture.id).is_some_and(|fact| fact.role == Role::Replica);
        Ok(FederatedView {
            leader_id: leader.0.clone(),
            raft_state: if is_replica { Role::Follower } else { seen.role() },
            raft_term: seen.picture.term,
            raft_leader_id: leader.0,
            raft_leader_url: leader.1,
            raft_self_url: self.url().to_owned(),
            raft_peers: peers().map(|node| node.url.clone()).collect(),
            raft_peer_ids: peers().map(|node| (node.url.clone(), node.id.clone())).collect(),
            raft_peer_states: peers().map(|node| (node.url.clone(), node.status)).collect(),
            raft_peer_last_seen: peers().map(|node| (node.url.clone(), node.last_seen)).collect(),
            raft_quorum: quorum.majority,
            raft_active_peers: quorum.active,
            is_federated_leader: seen.picture.believed == Some(seen.picture.id),
            raft_self_id: own,
            nodes,
        })
    }

    /// What `GET /api/federated/config` answers.
    ///
    /// # Errors
    /// `unavailable` while the node is no member.
    pub fn federated_config(&self) -> Result<FederatedConfig> {
        Ok(FederatedConfig { federated_servers: self.members()?.into_iter().map(|d| d.url).collect() })
    }

    /// The members as this node knows them by itself.
    pub(super) fn facts(&self, consensus: &Consensus) -> (Picture, Vec<MemberDoc>, Facts) {
        let (picture, docs) = (consensus.picture(), consensus.state().members());
        let facts = Facts::of(&picture, &docs, &Heard::of(&self.peers.hearing, &docs), self.options().inactive_after);
        (picture, docs, facts)
    }

    /// The members as they are shown. What only the leader knows of them it is asked for, where there is one.
    async fn seen(self: &Arc<Self>, consensus: &Arc<Consensus>) -> Seen {
        let (picture, docs, facts) = self.facts(consensus);
        let mut nodes: Vec<NodeView> = self.nodes(&picture, &docs, &facts);
        let leader = docs.iter().find(|doc| Some(doc.raft_id) == picture.believed && doc.raft_id != picture.id);
        let told = async {
            match leader {
                Some(leader) => self.ask_nodes(consensus, leader).await,
                None => Vec::new(),
            }
        };
        let (machines, told) = tokio::join!(self.machines(consensus, &docs, &facts), told);
        for known in told {
            if let Some(node) = nodes.iter_mut().find(|node| node.id == known.id) {
                node.matched_index = known.matched_index;
                node.lag_entries = known.lag_entries;
                node.joining = known.joining;
                // Of itself and of the leader this node knows best.
                if node.role != Role::Leader && docs.iter().any(|doc| doc.id == node.id && doc.raft_id != picture.id) {
                    node.last_contact_ms = known.last_contact_ms;
                }
            }
        }
        for (node, doc) in nodes.iter_mut().zip(&docs) {
            node.metrics = machines.get(&doc.raft_id).cloned();
        }
        Seen { picture, docs, facts, nodes }
    }

    fn nodes(&self, picture: &Picture, docs: &[MemberDoc], facts: &Facts) -> Vec<NodeView> {
        let known = docs.iter().filter_map(|doc| Some((doc, facts.member(doc.raft_id)?)));
        known.map(|(doc, fact)| node(picture, doc, fact, self.peers.hearing.silence(doc.raft_id))).collect()
    }

    /// Why nobody leads, as far as this node knows; nothing where somebody does.
    pub fn why_no_leader(&self, consensus: &Consensus) -> Option<String> {
        let (picture, _, facts) = self.facts(consensus);
        if picture.believed.is_some() {
            return None;
        }
        let quorum = facts.quorum();
        let counted =
            format!("{} of {} voters are heard and {} are needed", quorum.active, quorum.voters, quorum.majority);
        Some(match facts.members.iter().find(|member| member.leads) {
            Some(led) if led.raft_id == picture.id => format!("none: no majority follows this node: {counted}"),
            Some(led) => match consensus.contact().silence_of(led.raft_id) {
                Some(silence) => {
                    let (id, url) = (&led.id, &led.url);
                    format!("none: {id} at {url}, which led, has been silent for {} s: {counted}", silence.as_secs())
                }
                None => format!("none was heard since this node started: {counted}"),
            },
            None => format!("none is known: {counted}"),
        })
    }

    /// The members' documents that are shown otherwise than they are stored, by id; none for another collection.
    ///
    /// # Errors
    /// `unavailable` while the node is no member.
    pub fn laid_over(&self, db: &DatabaseName, col: &CollectionName) -> Result<HashMap<String, Bytes>> {
        if !db.is_system() || col.as_str() != CLUSTERNODES {
            return Ok(HashMap::new());
        }
        let stored = self.members()?;
        let differ = |doc: &MemberDoc| stored.iter().any(|stored| stored.id == doc.id && stored != doc);
        let shown = self.shown_members()?.into_iter().filter(differ);
        let text = |doc: MemberDoc| {
            let text = serde_json::to_vec(&doc).map_err(|e| Error::internal(e.to_string()))?;
            Ok((doc.id, text.into()))
        };
        shown.map(text).collect()
    }

    /// The members' documents as they are shown: role and status as this node hears.
    ///
    /// # Errors
    /// `unavailable` while the node is no member.
    pub fn shown_members(&self) -> Result<Vec<MemberDoc>> {
        let (_, docs, facts) = self.facts(self.consensus()?.as_ref());
        let shown = |doc: MemberDoc| match facts.member(doc.raft_id) {
            // Old clients know three roles.
            Some(fact) => MemberDoc { role: fact.role.of_three(), status: fact.status, ..doc },
            None => doc,
        };
        Ok(docs.into_iter().map(shown).collect())
    }

    /// What the leader said of the members within the last moment.
    async fn ask_nodes(&self, consensus: &Consensus, leader: &MemberDoc) -> Vec<NodeView> {
        // Held while asking, so that those who come meanwhile share the answer.
        let mut told = self.told_by_leader.lock().await;
        if let Some((when, nodes)) = &*told
            && when.elapsed() < LEADER_FRESH
        {
            return nodes.clone();
        }
        let peer = self.peers.get(&Target { url: leader.url.clone(), raft_id: leader.raft_id });
        let (from, to) = (consensus.id(), leader.raft_id);
        let call = Envelope { cluster: consensus.cluster().to_owned(), from, to, body: json!({}) };
        let nodes = peer.call_json::<Vec<NodeView>>("/raft/rpc/nodes", &call, ASK).await.unwrap_or_default();
        *told = Some((Instant::now(), nodes.clone()));
        nodes
    }

    /// The members as this node knows them by itself, for another node that asks.
    ///
    /// # Errors
    /// `unavailable` while the node is no member.
    pub fn own_nodes(&self) -> Result<Vec<NodeView>> {
        let (picture, docs, facts) = self.facts(self.consensus()?.as_ref());
        Ok(self.nodes(&picture, &docs, &facts))
    }

    /// One member as `GET /api/cluster` shows it.
    pub(super) fn node_view(&self, doc: &MemberDoc) -> Result<NodeView> {
        let (picture, _, facts) = self.facts(self.consensus()?.as_ref());
        let fact = facts.member(doc.raft_id);
        let fact = fact.ok_or_else(|| Error::conflict(format!("{:?} was removed meanwhile", doc.id)))?;
        Ok(node(&picture, doc, fact, self.peers.hearing.silence(doc.raft_id)))
    }

    /// This node's live part in Raft, and the leader's name and URL where known.
    pub fn standing(&self) -> (Role, Option<(String, String)>) {
        let Some(consensus) = self.running() else { return (Role::Learner, None) };
        let (state, leader) = consensus.standing();
        (role(state, true), leader)
    }

    /// The documents of `_clusternodes`, by id.
    ///
    /// # Errors
    /// `unavailable` while the node is no member.
    pub fn members(&self) -> Result<Vec<MemberDoc>> {
        Ok(self.state()?.members())
    }

    /// This machine's numbers.
    pub async fn machine(&self) -> MachineMetrics {
        let machine = self.machine.clone();
        tokio::task::spawn_blocking(move || machine.sample()).await.unwrap_or_default()
    }

    /// The numbers of all members' machines that tell them in time.
    async fn machines(
        self: &Arc<Self>,
        consensus: &Consensus,
        docs: &[MemberDoc],
        facts: &Facts,
    ) -> HashMap<u64, MachineMetrics> {
        let mut asked = tokio::task::JoinSet::new();
        let mut known = HashMap::from([(consensus.id(), self.machine().await)]);
        for doc in docs.iter().filter(|doc| doc.raft_id != consensus.id()) {
            if facts.member(doc.raft_id).is_none_or(|fact| !fact.active()) {
                continue;
            }
            if let Some((told, numbers)) = self.machines.lock().get(&doc.raft_id)
                && told.elapsed() < FRESH
            {
                known.insert(doc.raft_id, numbers.clone());
                continue;
            }
            let peer = self.peers.get(&Target { url: doc.url.clone(), raft_id: doc.raft_id });
            let id = doc.raft_id;
            let call =
                Envelope { cluster: consensus.cluster().to_owned(), from: consensus.id(), to: id, body: json!({}) };
            asked.spawn(async move {
                let started = Instant::now();
                let numbers = peer.call_json::<MachineMetrics>("/raft/rpc/machine", &call, ASK).await;
                numbers.ok().map(|n| {
                    let latency = (started.elapsed().as_secs_f64() * 1e6).round() / 1e3;
                    (id, MachineMetrics { latency, ..n })
                })
            });
        }
        while let Some(told) = asked.join_next().await {
            if let Ok(Some((id, numbers))) = told {
                self.machines.lock().insert(id, (Instant::now(), numbers.clone()));
                known.insert(id, numbers);
            }
        }
        known
    }
}

/// A member as it is shown; `heard` is the time since it was heard outside of Raft.
fn node(picture: &Picture, doc: &MemberDoc, fact: &Fact, heard: Option<Duration>) -> NodeView {
    // One that no majority follows knows no more than the others.
    let leads = picture.believed == Some(picture.id);
    let matched = if doc.raft_id == picture.id {
        Some(picture.last)
    } else {
        picture.matched.get(&doc.raft_id).copied().flatten()
    };
    NodeView {
        doc_id: doc.id.clone(),
        id: doc.id.clone(),
        url: doc.url.clone(),
        status: fact.status,
        role: fact.role,
        voter: doc.voter == Some(true),
        description: doc.description.clone(),
        matched_index: matched.filter(|_| leads),
        lag_entries: fact.lag.filter(|_| leads),
        joining: leads.then(|| joining(picture, doc)).flatten(),
        last_contact_ms: fact.silence.or(heard).and_then(|s| u64::try_from(s.as_millis()).ok()),
        metrics: None,
    }
}

/// How far a member has come that does not vote yet.
fn joining(picture: &Picture, doc: &MemberDoc) -> Option<JoinProgress> {
    if doc.voter == Some(true) || (doc.replica && doc.voter.is_some()) {
        return None;
    }
    let entries = picture.matched.get(&doc.raft_id).copied().flatten().unwrap_or(0);
    Some(JoinProgress { entries, of: picture.last })
}

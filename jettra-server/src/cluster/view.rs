//! The cluster as clients are shown it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jettra_client::wire::{
    ClusterView, FederatedConfig, FederatedNode, FederatedView, JoinProgress, MachineMetrics, NodeView, Role, Status,
};
use parking_lot::Mutex;
use serde_json::json;

use super::Cluster;
use super::facts::{heard_within, lag};
use super::plan::Quorum;
use crate::error::Result;
use crate::peers::Target;
use crate::raft::{Consensus, Envelope, Picture, ServerState};
use crate::state::MemberDoc;

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

fn role(state: ServerState) -> Role {
    match state {
        ServerState::Leader => Role::Leader,
        ServerState::Candidate => Role::Candidate,
        ServerState::Follower => Role::Follower,
        ServerState::Learner | ServerState::Shutdown => Role::Learner,
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
        let picture = consensus.picture();
        let docs = self.members()?;
        let (machines, nodes) = tokio::join!(self.machines(&docs), self.nodes(&consensus, &picture, &docs));
        view.state = Some(role(picture.state));
        if let Some(leader) = self.leader_of(&picture, &docs) {
            (view.leader_id, view.leader_url) = (Some(leader.id.clone()), Some(leader.url.clone()));
        }
        view.term = Some(picture.term);
        view.applied_index = Some(consensus.applied_index());
        view.commit_index = Some(picture.committed.max(consensus.applied_index()));
        view.nodes = nodes;
        for (node, doc) in view.nodes.iter_mut().zip(&docs) {
            node.metrics = machines.get(&doc.raft_id).cloned();
        }
        let voters = view.nodes.iter().filter(|n| n.voter);
        let active = voters.clone().filter(|n| n.status != Status::Inactive).count() as u64;
        view.failure_tolerance = Some(Quorum::new(voters.count() as u64, active).failure_tolerance);
        Ok(view)
    }

    /// What `GET /api/federated` answers.
    ///
    /// # Errors
    /// `unavailable` while the node is no member.
    pub async fn federated(self: &Arc<Self>) -> Result<FederatedView> {
        let picture = self.consensus()?.picture();
        let docs = self.members()?;
        let machines = self.machines(&docs).await;
        let leader = self.leader_of(&picture, &docs);
        let now = crate::clock::now_ms();
        let nodes: Vec<FederatedNode> = docs
            .iter()
            .map(|doc| {
                let silence = picture.silence.get(&doc.raft_id).copied().flatten().unwrap_or_default();
                let view = node(&picture, doc, None);
                FederatedNode {
                    id: doc.id.clone(),
                    url: doc.url.clone(),
                    status: doc.status,
                    role: view.role,
                    last_seen: now.saturating_sub(u64::try_from(silence.as_millis()).unwrap_or(0)),
                    metrics: machines.get(&doc.raft_id).cloned().unwrap_or_default(),
                }
            })
            .collect();
        let voters = docs.iter().filter(|d| d.voter == Some(true)).count() as u64;
        Ok(FederatedView {
            leader_id: leader.map(|l| l.id.clone()),
            raft_state: role(picture.state),
            raft_term: picture.term,
            raft_leader_id: leader.map(|l| l.id.clone()),
            raft_leader_url: leader.map(|l| l.url.clone()),
            raft_self_id: self.identity().name,
            raft_self_url: self.url().to_owned(),
            raft_peers: docs.iter().filter(|d| d.raft_id != picture.id).map(|d| d.url.clone()).collect(),
            raft_quorum: voters / 2 + 1,
            raft_active_peers: docs.iter().filter(|d| d.status == Status::Active).count() as u64,
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

    /// The members of `docs`, in that order. What only the leader knows of them it is asked for.
    async fn nodes(self: &Arc<Self>, consensus: &Consensus, picture: &Picture, docs: &[MemberDoc]) -> Vec<NodeView> {
        let mut nodes: Vec<NodeView> = docs.iter().map(|doc| node(picture, doc, None)).collect();
        let Some(leader) = self.leader_of(picture, docs).filter(|doc| doc.raft_id != consensus.id()) else {
            return nodes;
        };
        for known in self.ask_nodes(consensus, leader).await {
            if let Some(node) = nodes.iter_mut().find(|node| node.id == known.id) {
                node.matched_index = known.matched_index;
                node.lag_entries = known.lag_entries;
                node.last_contact_ms = known.last_contact_ms;
                node.joining = known.joining;
            }
        }
        nodes
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
        let picture = self.consensus()?.picture();
        Ok(self.members()?.iter().map(|doc| node(&picture, doc, None)).collect())
    }

    /// One member as `GET /api/cluster` shows it.
    pub(super) fn node_view(&self, doc: &MemberDoc) -> Result<NodeView> {
        Ok(node(&self.consensus()?.picture(), doc, None))
    }

    /// The leader's name and URL, where this node knows it.
    pub fn leader(&self) -> Option<(String, String)> {
        self.standing().1
    }

    /// This node's live part in Raft.
    pub fn role(&self) -> Role {
        self.standing().0
    }

    /// This node's live part in Raft, and the leader's name and URL where known.
    pub fn standing(&self) -> (Role, Option<(String, String)>) {
        let Some(consensus) = self.running() else { return (Role::Learner, None) };
        let (state, leader) = consensus.standing();
        (role(state), leader)
    }

    /// The documents of `_clusternodes`, by id.
    ///
    /// # Errors
    /// `unavailable` while the node is no member.
    pub fn members(&self) -> Result<Vec<MemberDoc>> {
        Ok(self.state()?.members())
    }

    fn leader_of<'a>(&self, picture: &Picture, docs: &'a [MemberDoc]) -> Option<&'a MemberDoc> {
        docs.iter().find(|doc| Some(doc.raft_id) == picture.leader)
    }

    /// This machine's numbers.
    pub async fn machine(&self) -> MachineMetrics {
        let machine = self.machine.clone();
        tokio::task::spawn_blocking(move || machine.sample()).await.unwrap_or_default()
    }

    /// The numbers of all members' machines that tell them in time.
    async fn machines(self: &Arc<Self>, docs: &[MemberDoc]) -> HashMap<u64, MachineMetrics> {
        let Some(consensus) = self.running() else { return HashMap::new() };
        let picture = consensus.picture();
        let mut asked = tokio::task::JoinSet::new();
        let mut known = HashMap::from([(consensus.id(), self.machine().await)]);
        for doc in docs.iter().filter(|doc| doc.raft_id != consensus.id()) {
            if let Some((told, numbers)) = self.machines.lock().get(&doc.raft_id)
                && told.elapsed() < FRESH
            {
                known.insert(doc.raft_id, numbers.clone());
                continue;
            }
            // The leader knows who is silent; the others go by the document.
            let silent = picture.state == ServerState::Leader
                && !heard_within(&picture, doc.raft_id, self.options().inactive_after);
            if silent || doc.status == Status::Inactive {
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

fn node(picture: &Picture, doc: &MemberDoc, metrics: Option<MachineMetrics>) -> NodeView {
    let voter = doc.voter == Some(true);
    let role = if Some(doc.raft_id) == picture.leader {
        Role::Leader
    } else if !voter {
        Role::Learner
    } else if doc.raft_id == picture.id {
        role(picture.state)
    } else {
        Role::Follower
    };
    let leads = picture.state == ServerState::Leader;
    let matched = if doc.raft_id == picture.id {
        Some(picture.last)
    } else {
        picture.matched.get(&doc.raft_id).copied().flatten()
    };
    let silence = if doc.raft_id == picture.id {
        Some(Duration::ZERO)
    } else {
        picture.silence.get(&doc.raft_id).copied().flatten()
    };
    NodeView {
        doc_id: doc.id.clone(),
        id: doc.id.clone(),
        url: doc.url.clone(),
        status: doc.status,
        role,
        voter,
        description: doc.description.clone(),
        matched_index: matched.filter(|_| leads),
        lag_entries: lag(picture, doc.raft_id).filter(|_| leads),
        joining: leads.then(|| joining(picture, doc)).flatten(),
        last_contact_ms: silence.filter(|_| leads).and_then(|s| u64::try_from(s.as_millis()).ok()),
        metrics,
    }
}

/// How far a member has come that does not vote yet.
fn joining(picture: &Picture, doc: &MemberDoc) -> Option<JoinProgress> {
    if doc.voter == Some(true) {
        return None;
    }
    let entries = picture.matched.get(&doc.raft_id).copied().flatten().unwrap_or(0);
    Some(JoinProgress { entries, of: picture.last })
}

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::node::{Node, member_config};
use super::wait::{SECOND, eventually};

/// Clusters take turns: three nodes, their clients and an election leave no room for a second one on
/// a small machine.
static TURN: Semaphore = Semaphore::const_new(WHOLE as usize);

/// What a cluster takes of the machine that wants it for itself.
const WHOLE: u32 = 3;

/// How long anything that a healthy cluster does may take on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Nodes that are members of one cluster. Dropping it kills all and removes their files.
pub struct Cluster {
    pub nodes: Vec<Node>,
    dir: TempDir,
    _turn: SemaphorePermit<'static>,
}

impl Cluster {
    /// `size` nodes `node1`, `node2`, …, of which the first began the cluster and registered the
    /// others. All vote and are ACTIVE.
    pub async fn start(size: usize) -> Self {
        Self::start_with(size, json!({})).await
    }

    /// The same with further settings in every node's `config.json`.
    pub async fn start_with(size: usize, settings: Value) -> Self {
        let mut cluster = Self::unregistered(|number| {
            let mut config = member_config(&format!("node{number}"), number == 1);
            config.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
            (number <= size).then_some(config)
        })
        .await;
        for node in &mut cluster.nodes {
            node.start().await;
        }
        for place in 1..size {
            cluster.register(place).await;
        }
        cluster.settled().await;
        cluster
    }

    /// Nodes that are not started yet. `config` gives the settings for number 1, 2, … until `None`.
    pub async fn unregistered(config: impl Fn(usize) -> Option<Value>) -> Self {
        Self::unregistered_beside(WHOLE - 1, config).await
    }

    /// The same for a cluster that writes little, so that up to two others may run at once.
    pub async fn unregistered_in_company(config: impl Fn(usize) -> Option<Value>) -> Self {
        Self::unregistered_beside(0, config).await
    }

    async fn unregistered_beside(places_more: u32, config: impl Fn(usize) -> Option<Value>) -> Self {
        let turn = TURN.acquire_many(1 + places_more).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let nodes = (1..)
            .map_while(|number| config(number).map(|config| Node::new(dir.path(), &format!("node{number}"), config)))
            .collect();
        Cluster { nodes, dir, _turn: turn }
    }

    /// One node more, not started.
    pub fn add(&mut self, id: &str, config: Value) -> &mut Node {
        self.nodes.push(Node::new(self.dir.path(), id, config));
        self.nodes.last_mut().unwrap()
    }

    /// Registers the node at `place` through the first node.
    pub async fn register(&self, place: usize) {
        let body = json!({ "url": self.nodes[place].url() });
        eventually(LIMIT, "a node can be registered", async || {
            self.nodes[0].try_post("/api/cluster/register", &body).await?.success()
        })
        .await;
    }

    /// The place of the node that leads, once most running nodes agree on it.
    pub async fn leader(&self) -> usize {
        eventually(LIMIT, "a leader is known", async || self.leader_now(None).await).await
    }

    /// The same for a leader other than the node at `place`.
    pub async fn leader_other_than(&self, place: usize) -> usize {
        eventually(LIMIT, "another leader is known", async || self.leader_now(Some(place)).await).await
    }

    /// Places of the running nodes that do not lead.
    pub async fn followers(&self) -> Vec<usize> {
        let leader = self.leader().await;
        (0..self.nodes.len()).filter(|place| *place != leader && self.nodes[*place].is_running()).collect()
    }

    /// Waits until every running node says that all members are ACTIVE voters, of which one leads,
    /// and has applied what the leader had committed.
    pub async fn settled(&self) {
        let running: Vec<&Node> = self.nodes.iter().filter(|node| node.is_running()).collect();
        let members = running.len();
        eventually(LIMIT, "all running nodes are ACTIVE voters under one leader", async || {
            for node in &running {
                let view = node.try_get("/api/cluster").await?.success()?;
                let nodes = view["nodes"].as_array().cloned().unwrap_or_default();
                let voters = nodes.iter().filter(|node| node["voter"] == true && node["status"] == "ACTIVE").count();
                let leaders = nodes.iter().filter(|node| node["role"] == "LEADER").count();
                if voters != members || leaders != 1 || view["leaderId"].is_null() {
                    return Err(format!("{} sees {view}", node.id));
                }
                // A linearizable read on each node proves that it has caught up.
                node.try_get("/api/query?db=_system&col=_clusternodes").await?.success()?;
            }
            Ok(())
        })
        .await;
    }

    /// The node with this id.
    pub fn named(&mut self, id: &str) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.id == id).expect("a node of this name")
    }

    async fn leader_now(&self, other_than: Option<usize>) -> Result<usize, String> {
        let mut votes: BTreeMap<String, usize> = BTreeMap::new();
        let mut asked = 0;
        let mut seen = Vec::new();
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            asked += 1;
            // A frozen node does not answer; it must not hold up the others.
            let view = tokio::time::timeout(SECOND, node.try_get("/api/cluster")).await;
            match view.map_err(|error| error.to_string()).flatten().and_then(|answer| answer.success()) {
                Ok(view) => {
                    if let Some(leader) = view["leaderId"].as_str() {
                        *votes.entry(leader.to_owned()).or_default() += 1;
                    }
                    seen.push(format!("{}: {} term {} of {}", node.id, view["state"], view["term"], view["leaderId"]));
                }
                Err(error) => seen.push(format!("{}: {error}", node.id)),
            }
        }
        let place_of = |id: &str| self.nodes.iter().position(|node| node.id == id);
        let agreed = votes.iter().find(|(_, count)| **count * 2 > asked).and_then(|(id, _)| place_of(id));
        match agreed {
            Some(place) if Some(place) != other_than => Ok(place),
            _ => Err(seen.join("; ")),
        }
    }
}

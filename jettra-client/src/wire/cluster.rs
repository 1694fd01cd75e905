//! What a node tells about the cluster.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The part a node plays in Raft.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Role {
    /// Processes every write.
    Leader,
    /// Replicates the leader's log and votes.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Replicates the leader's log and does not vote yet.
    Learner,
    /// A read replica: replicates the leader's log, serves reads, and never votes.
    Replica,
}

impl Role {
    /// The role as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Leader => "LEADER",
            Role::Follower => "FOLLOWER",
            Role::Candidate => "CANDIDATE",
            Role::Learner => "LEARNER",
            Role::Replica => "REPLICA",
        }
    }

    /// The role as clients of old know it, for which whoever neither leads nor asks for votes follows.
    #[must_use]
    pub fn of_three(self) -> Role {
        match self {
            Role::Learner | Role::Replica => Role::Follower,
            other => other,
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a member is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// It is heard: by the leader, or, where there is none, by the node that answers.
    Active,
    /// Silent for three seconds, or stopped.
    Inactive,
    /// A member that is sent no client requests and is not elected.
    Paused,
}

impl Status {
    /// The status as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Active => "ACTIVE",
            Status::Inactive => "INACTIVE",
            Status::Paused => "PAUSED",
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The answer to `GET /api/cluster`. On a standalone node only `enabled` is there, and false.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterView {
    /// Whether the node is distributed.
    pub enabled: bool,
    /// The cluster's id; absent while the node waits to be registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// This node's `NodeID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// This node's live part in Raft.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Role>,
    /// The leader's `NodeID`, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_id: Option<String>,
    /// The leader's URL, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_url: Option<String>,
    /// The current Raft term.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
    /// The last log index that this node has applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_index: Option<u64>,
    /// The last log index that this node knows to be committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_index: Option<u64>,
    /// How many more voters may fail before writing stops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_tolerance: Option<u64>,
    /// How the votes stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum: Option<Quorum>,
    /// The version of the node that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How long that node has been running, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_ms: Option<u64>,
    /// What the nodes have agreed to write: one number, raised when all run a version that knows more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature_level: Option<u64>,
    /// The members, by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeView>,
}

/// One member, as `GET /api/cluster` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeView {
    /// The member's `NodeID`, under the name that documents use.
    #[serde(rename = "_id")]
    pub doc_id: String,
    /// The member's `NodeID`.
    pub id: String,
    /// Its URL.
    pub url: String,
    /// Whether it is heard.
    pub status: Status,
    /// Its part in Raft.
    pub role: Role,
    /// Whether it votes.
    pub voter: bool,
    /// What was said of it at registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The last log index known to be on its disk (the leader knows).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matched_index: Option<u64>,
    /// How many log entries it is behind (the leader knows).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_entries: Option<u64>,
    /// Milliseconds since it was last heard, by the leader where there is one, else by the node that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_contact_ms: Option<u64>,
    /// How far it has come, while it does not vote yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joining: Option<JoinProgress>,
    /// The machine it runs on, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<MachineMetrics>,
}

/// How far a node has come that joins: it votes once it has all entries but a few.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinProgress {
    /// Log entries that it has.
    pub entries: u64,
    /// Log entries that there are.
    pub of: u64,
}

/// The machine a node runs on: `GET /api/metrics`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineMetrics {
    /// CPU in use, percent, to one decimal.
    pub cpu_usage: f64,
    /// Memory in all, bytes.
    pub ram_total: u64,
    /// Memory in use, bytes.
    pub ram_used: u64,
    /// Memory free, bytes.
    pub ram_free: u64,
    /// Memory in use, percent, to one decimal.
    pub ram_usage: f64,
    /// The data directory's disk in all, bytes.
    pub disk_total: u64,
    /// The data directory's disk in use, bytes.
    pub disk_used: u64,
    /// The data directory's disk free, bytes.
    pub disk_free: u64,
    /// The data directory's disk in use, percent, to one decimal.
    pub disk_usage: f64,
    /// [`MachineMetrics::ram_total`] for people, such as `5.3 GB`.
    pub ram_total_str: String,
    /// The same for the memory in use.
    pub ram_used_str: String,
    /// The same for the memory that is free.
    pub ram_free_str: String,
    /// The same for the disk in all.
    pub disk_total_str: String,
    /// The same for the disk in use.
    pub disk_used_str: String,
    /// The same for the disk's free part.
    pub disk_free_str: String,
    /// Processors that the node may use.
    pub available_processors: u64,
    /// The operating system's name.
    pub os_name: String,
    /// The operating system's version.
    pub os_version: String,
    /// Milliseconds from the leader to this node and back, where known; else 0.
    pub latency: f64,
}

/// The answer to `GET /api/federated`, in the shape that old clients read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FederatedView {
    /// The leader's `NodeID`, or null.
    pub leader_id: Option<String>,
    /// The members.
    pub nodes: Vec<FederatedNode>,
    /// This node's part in Raft.
    pub raft_state: Role,
    /// The current term.
    pub raft_term: u64,
    /// The leader's `NodeID`, or null.
    pub raft_leader_id: Option<String>,
    /// The leader's URL, or null.
    pub raft_leader_url: Option<String>,
    /// This node's `NodeID`.
    pub raft_self_id: String,
    /// This node's URL.
    pub raft_self_url: String,
    /// The other members' URLs.
    pub raft_peers: Vec<String>,
    /// Their `NodeID`s, by URL.
    #[serde(default)]
    pub raft_peer_ids: BTreeMap<String, String>,
    /// Whether each of them is heard, by URL.
    #[serde(default)]
    pub raft_peer_states: BTreeMap<String, Status>,
    /// When each of them was last heard, by URL, in milliseconds since 1970; 0 if that is not known.
    #[serde(default)]
    pub raft_peer_last_seen: BTreeMap<String, u64>,
    /// How many voters make a majority.
    pub raft_quorum: u64,
    /// How many voters are heard, this node included.
    pub raft_active_peers: u64,
    /// Whether the node that answers leads.
    #[serde(default)]
    pub is_federated_leader: bool,
}

/// One member, in the shape that old clients read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FederatedNode {
    /// The member's `NodeID`.
    pub id: String,
    /// Its URL.
    pub url: String,
    /// Whether it is heard.
    pub status: Status,
    /// Its part in Raft.
    pub role: Role,
    /// When it was last heard, in milliseconds since 1970; 0 if that is not known.
    #[serde(default)]
    pub last_seen: u64,
    /// The machine it runs on.
    #[serde(default)]
    pub metrics: MachineMetrics,
}

/// The answer to `GET /api/federated/config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FederatedConfig {
    /// The URLs of the members.
    pub federated_servers: Vec<String>,
}

/// The answer to `POST /api/cluster/register`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegisterAnswer {
    /// `registered`: the node has caught up and votes; `joining`: that goes on in the background.
    pub status: String,
    /// The node, as a member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeView>,
}

/// The answer to `POST /api/cluster/transfer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransferAnswer {
    /// `transferred`.
    pub status: String,
    /// The new leader's `NodeID`.
    pub leader_id: String,
}

/// The answer to `POST /api/cluster/upgrade`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpgradeAnswer {
    /// `upgraded`.
    pub status: String,
    /// The level that the cluster is at now.
    pub feature_level: u64,
}

/// The answer to a membership call with `dry_run=true`, and to `GET /api/cluster/safe-to-stop`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangePlan {
    /// Whether the change would be made.
    #[serde(alias = "safe")]
    pub allowed: bool,
    /// The votes as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Quorum>,
    /// The votes as they would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Quorum>,
    /// Why, or why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where it would be refused: what to do first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// How the votes of a cluster stand. Members that do not vote are not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quorum {
    /// Members that vote.
    pub voters: u64,
    /// Voters that are heard and were not asked to stop; a paused one is.
    pub active: u64,
    /// How many voters make a majority.
    pub majority: u64,
    /// How many more voters may fail before writing stops.
    pub failure_tolerance: u64,
}

impl Quorum {
    /// The votes of `voters`, of which `active` are heard.
    #[must_use]
    pub fn new(voters: u64, active: u64) -> Self {
        let majority = voters / 2 + 1;
        Quorum { voters, active, majority, failure_tolerance: active.saturating_sub(majority) }
    }

    /// Whether a majority is heard.
    #[must_use]
    pub fn holds(self) -> bool {
        self.voters > 0 && self.active >= self.majority
    }
}

impl std::fmt::Display for Quorum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Quorum { voters, active, majority, failure_tolerance } = self;
        write!(f, "{voters} voters, {active} active, {majority} are a majority, {failure_tolerance} can be lost")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standalone_node_says_only_that() {
        let view: ClusterView = serde_json::from_str(r#"{"enabled":false}"#).unwrap();
        assert_eq!(serde_json::to_string(&view).unwrap(), r#"{"enabled":false}"#);
    }

    #[test]
    fn status_stands_right_after_url() {
        let text = r#"{"_id":"node2","id":"node2","url":"http://localhost:8081","status":"ACTIVE","role":"FOLLOWER","voter":true,"lagEntries":0}"#;
        let node: NodeView = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&node).unwrap(), text);
    }

    #[test]
    fn plans_and_safe_to_stop_are_one_shape() {
        let votes = r#"{"voters":3,"active":3,"majority":2,"failureTolerance":1}"#;
        for name in ["allowed", "safe"] {
            let plan: ChangePlan = serde_json::from_str(&format!(r#"{{"{name}":true,"before":{votes}}}"#)).unwrap();
            assert!(plan.allowed);
            assert_eq!(plan.before.map(|votes| votes.failure_tolerance), Some(1));
        }
    }
}

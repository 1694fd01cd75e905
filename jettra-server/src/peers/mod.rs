//! Calls between nodes: who may make them, how each proves it, and the client that makes them.
//!
//! A node that calls another opens a *session*: both show that they know the cluster secret by an
//! HMAC-SHA256 over both nonces, both ids and the cluster id, so the secret itself never travels.
//! From the same inputs both derive a key, and every later call and answer carries a MAC by that
//! key (BLAKE3 in keyed mode) over its path, sequence number and body. A sequence number counts
//! once.
//!
//! ```text
//! A → B  identity {nonce}                        → {version, nonce, session}
//! A → B  prove    {session, cluster, from, to, proof} → {proof, node}
//! A → B  append … with `x-jettra-peer: session;sequence;mac`
//! ```

mod client;
mod proof;
mod secret;
mod sessions;
mod socket_owner;

pub use client::{Peer, PeerError, Peers, Target};
pub use proof::{Handshake, Key, Nonce};
pub use secret::Secret;
pub use sessions::{Refused, Sessions};
pub use socket_owner::{listener_is_ours, peer_is_ours};

use serde::{Deserialize, Serialize};

/// The header that carries session, sequence number and MAC of a call, and the MAC of its answer.
pub const PEER_HEADER: &str = "x-jettra-peer";

/// Version of the calls between nodes. Nodes of different versions refuse each other.
pub const RPC_VERSION: u32 = 2;

/// What a node tells of itself after the proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeInfo {
    /// Version of the calls between nodes.
    pub rpc_version: u32,
    /// Version of the program.
    pub version: String,
    /// Its `NodeID`.
    pub name: String,
    /// The incarnation of its data directory.
    pub incarnation: String,
    /// Made at each start: tells a node from another one that runs on a copy of its data directory.
    #[serde(default)]
    pub instance: String,
    /// The URL at which it says that it is reached.
    pub url: String,
    /// The cluster it belongs to; absent while it waits to be registered.
    pub cluster_id: Option<String>,
    /// Its Raft id in that cluster.
    pub raft_id: Option<u64>,
    /// Whether it is distributed at all.
    pub distributed: bool,
    /// The highest feature level that it supports.
    #[serde(default = "first_level")]
    pub feature_level: u64,
}

fn first_level() -> u64 {
    1
}

/// `identity`: asked before anything is proved.
#[derive(Debug, Serialize, Deserialize)]
pub struct IdentityRequest {
    /// The caller's nonce, hex.
    pub nonce: String,
}

/// What a stranger is told.
#[derive(Debug, Serialize, Deserialize)]
pub struct IdentityAnswer {
    /// Version of the program.
    pub version: String,
    /// The node's nonce, hex.
    pub nonce: String,
    /// The session to prove; absent while the node has no cluster secret.
    pub session: Option<String>,
}

/// `prove`: shows that the caller knows the secret.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProveRequest {
    /// The session that `identity` named; absent towards a node that has no secret yet.
    pub session: Option<String>,
    /// The caller's cluster.
    pub cluster: String,
    /// The caller's Raft id.
    pub from: u64,
    /// The Raft id that the caller takes the node for; 0 when it does not know.
    pub to: u64,
    /// The HMAC, hex; empty towards a node that has no secret yet.
    pub proof: String,
}

/// The node's own proof, and who it is.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProveAnswer {
    /// The HMAC, hex; empty while the node has no secret.
    pub proof: String,
    /// Who it is.
    pub node: NodeInfo,
}

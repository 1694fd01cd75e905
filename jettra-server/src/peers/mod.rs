//! Calls between nodes: who may make them, how each proves it, and the client that makes them.
//!
//! A node that calls another opens a *session*. Both show that they know the cluster secret by an HMAC-SHA256 over both
//! nonces, both ids, the cluster and the URL that was dialled; the called node's covers all that it tells of itself as
//! well. So the secret never travels, and who stands between the two is not taken for either. From the same inputs both
//! derive the session's keys: every later call and answer is sealed with AES-256-GCM, over its path or status and its
//! sequence number, and a sequence number counts once.
//!
//! ```text
//! A → B  identity {nonce}                                          → {rpcVersion, version, nonce, secret}
//! A → B  prove    {caller, called, cluster, from, to, url, proofs} → {proof, removed, node}
//! A → B  append … sealed, with `x-jettra-peer: session;sequence`   → sealed
//! ```
//!
//! The called node keeps nothing before the proof: its nonce tells it what it has to know.
//!
//! - [`Peers`], [`Peer`]: the calling side; `handshake`: how it opens a session
//! - `own_process`: the way to a node that has no secret yet, over which it is given one
//! - [`Sessions`]: the called side; [`Pace`]: how fast strangers may try
//! - [`Handshake`], [`Key`]: the proofs, and what seals the calls
//! - `clocks`: what the members' clocks say
//! - [`Hearing`]: when each member was last heard, in either direction
//! - `socket_owner`: whose process is at the other end

mod client;
mod clocks;
mod directory;
mod failure;
mod handshake;
mod hearing;
mod own_process;
mod pace;
mod proof;
mod seal;
mod secret;
mod sessions;
mod socket_owner;

pub use client::Peer;
pub use directory::{Peers, Target};
pub use failure::PeerError;
pub use hearing::{Hearing, Other};
pub use own_process::OwnProcess;
pub use pace::Pace;
pub use proof::{Handshake, Nonce};
pub use seal::{Key, StreamKey};
pub use secret::{Secret, Secrets};
pub use sessions::{Admitted, Refused, Sessions};
pub use socket_owner::{far_end_is_ours, far_end_is_trusted, listeners_at};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::Error;

/// The header that names session and sequence number of a call; an answer that has it is sealed.
pub const PEER_HEADER: &str = "x-jettra-peer";

/// What an answer's header says.
pub const SEALED: &str = "sealed";

/// Version of the calls between nodes. Nodes of different versions refuse each other.
pub const RPC_VERSION: u32 = 3;

/// The field of an error that says why a call was not let in: nothing of it was begun then.
pub const NOT_LET_IN: &str = "peer";

/// The error of a call that is not let in for `reason`, counted.
pub fn not_let_in(reason: &'static str, error: Error) -> Error {
    metrics::counter!("jettra_rpc_refused_total", "reason" => reason).increment(1);
    error.with(NOT_LET_IN, reason)
}

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
    /// Its clock, in milliseconds since 1970; 0 where it does not tell.
    #[serde(default)]
    pub clock_ms: u64,
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
#[serde(rename_all = "camelCase")]
pub struct IdentityAnswer {
    /// Version of the calls between nodes.
    #[serde(default)]
    pub rpc_version: u32,
    /// Version of the program.
    pub version: String,
    /// The node's nonce, hex.
    pub nonce: String,
    /// Whether the node has a cluster secret to prove.
    #[serde(default)]
    pub secret: bool,
}

/// `prove`: shows that the caller knows the secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProveRequest {
    /// The caller's nonce, hex.
    pub caller: String,
    /// The nonce that the node answered to it.
    pub called: String,
    /// The caller's cluster; empty while it belongs to none.
    pub cluster: String,
    /// The caller's Raft id; 0 while it has none.
    pub from: u64,
    /// The Raft id that the caller takes the node for; 0 when it does not know.
    pub to: u64,
    /// The URL that the caller dialled.
    pub url: String,
    /// An HMAC, hex, under each of the secrets that count at the caller; none towards a node that has no secret.
    pub proofs: Vec<String>,
}

/// The node's own proof, and who it is.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProveAnswer {
    /// The HMAC, hex, under the secret that the caller proved; empty while the node has none.
    pub proof: String,
    /// The log index by which the caller was removed from the cluster: there is no session then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<u64>,
    /// Who it is: a [`NodeInfo`], as the proof covers it.
    pub node: Box<RawValue>,
}

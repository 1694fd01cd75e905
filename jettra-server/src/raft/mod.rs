//! Consensus: openraft's glue. Nothing of openraft is named outside this module.
//!
//! - `log`: the log on disk, over the crate `raft-log`, and what entries are made of
//! - `types`, `log_storage`: what openraft is told about our cluster, and its traits over the log
//! - `store`, `machine`: the state on disk and openraft's state machine over it
//! - `snapshot`, `wire`, `network`: what travels between nodes, and at which `pace`
//! - [`incoming`]: the called side of it
//! - [`fetch`]: a whole state from another member
//! - [`offline`]: log and state of a data directory without a node
//! - `commits`: how many there were, and how long they took
//! - `consensus`: what the rest of the node sees
//! - `contact`: why this node was elected

mod commits;
mod consensus;
mod contact;
pub mod fetch;
pub mod incoming;
mod log;
mod log_storage;
mod machine;
mod network;
pub mod offline;
mod pace;
mod snapshot;
mod store;
#[cfg(test)]
mod suite;
mod types;
mod wire;

pub use consensus::{Committed, Consensus, NotLeader, Picture, Settings};
pub use contact::Cause;
pub use log::{LogStore, Member, Position, Survey, mark_is_whole, mark_path};
pub use openraft::ServerState;
pub use store::{StateStore, in_use as state_in_use, point_to as point_state_to};
pub use wire::Envelope;

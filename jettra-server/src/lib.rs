//! A JettraDB node: a replicated JSON document database.
//!
//! # Layout
//!
//! Bottom up; a module knows only those above it in this list. Public are the program itself and what its tests name,
//! so that the compiler finds whatever else nobody uses:
//!
//! - `limits`: the bounds and times that a user notices, or that another one depends on
//! - `error`: the public error, a code from a closed table with a message that says what to do next
//! - [`feature`]: what the nodes of a cluster have agreed to write
//! - `descriptors`: how many files, and so connections, there may be at once
//! - `clock`, `random`, `files`, [`sealed`]: where time and randomness enter; small files that survive a crash,
//!   and that say when they are damaged
//! - [`planted`]: bugs on purpose, for tests of the tests, in builds that never ship
//! - `lasting`: work that others rely on, and what becomes of them where it dies
//! - `remedy`: why a node cannot go on, and what a person is told to do about it
//! - `private`: what a node keeps is closed to other users of the machine
//! - `storage`: bytes: ordered keys, atomic batches, scans, durable points
//! - `state`: documents: the deterministic state machine; command in, outcome out
//! - `query`: what a query picks of the documents
//! - [`peers`]: calls between nodes, and how each proves who it is
//! - `raft`: consensus: openraft's glue, the log on disk, snapshots
//! - `machine`: figures of the machine the node runs on
//! - `cluster`: who belongs, and how a request reaches the leader
//! - `auth`: who asks, and what they may do
//! - `api`: HTTP, one file an area, thin
//! - `config`: what a node is told at its start, from file, environment and flags
//! - `output`, `telemetry`, `seldom`, `recent`, `signals`: standard output and error; log lines, and those that strangers cause; counts of a minute; what asks the program to stop
//! - `node`: opens storage, joins or begins a cluster, serves, stops
//! - `data_dir`, `repair`, `recover`: data directories that no node runs on: what is damaged, and how a cluster
//!   that has lost its majority goes on
//! - `old_data`: data of the product that this one replaces, recognised
//! - `cli`, `demo`: the command line; a cluster on one machine to try things out
//! - [`program`]: the program from its arguments to its exit code

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod api;
mod auth;
mod cli;
mod clock;
mod cluster;
mod config;
mod data_dir;
mod demo;
mod descriptors;
mod error;
pub mod feature;
mod files;
mod lasting;
mod limits;
mod machine;
mod node;
mod old_data;
mod output;
pub mod peers;
pub mod planted;
mod private;
pub mod program;
mod query;
mod raft;
mod random;
mod recent;
mod recover;
mod remedy;
mod repair;
pub mod sealed;
mod seldom;
mod signals;
mod state;
mod storage;
mod telemetry;

/// What lies in a data directory, opened without a node: for tests that look at what a power cut has left.
pub mod on_disk {
    pub use crate::cluster::identity;
    pub use crate::raft::{LogStore, StateStore, Survey, offline};
    pub use crate::state::{CollectionName, DatabaseName, DocumentId, State};
}

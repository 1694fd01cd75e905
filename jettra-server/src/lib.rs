//! A JettraDB node: a replicated JSON document database.
//!
//! # Layout
//!
//! Bottom up; a module knows only those above it in this list:
//!
//! - [`config`]: what a node is told at its start, from file, environment and flags
//! - [`error`]: the public error, a code from a closed table with a message that says what to do next
//! - [`storage`]: bytes: ordered keys, atomic batches, scans, durable points
//! - [`state`]: documents: the deterministic state machine; command in, outcome out
//! - [`machine`]: figures of the machine the node runs on
//! - [`telemetry`]: log lines
//! - [`signals`]: what asks the program to stop
//! - [`node`]: opens storage, joins or begins a cluster, serves, stops
//! - [`cli`]: the command line
//! - [`demo`]: a cluster on one machine to try things out

pub mod cli;
pub mod config;
pub mod demo;
pub mod error;
pub mod machine;
pub mod node;
pub mod signals;
pub mod storage;
pub mod telemetry;

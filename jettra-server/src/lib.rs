//! A JettraDB node: a replicated JSON document database.
//!
//! # Layout
//!
//! Bottom up; a module knows only those above it in this list:
//!
//! - [`error`]: the public error, a code from a closed table with a message that says what to do next
//! - [`storage`]: bytes: ordered keys, atomic batches, scans, durable points
//! - [`state`]: documents: the deterministic state machine; command in, outcome out

pub mod error;
pub mod state;
pub mod storage;

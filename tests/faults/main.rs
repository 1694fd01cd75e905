//! Does a cluster lose, double or show stale data, whatever happens to it?
//!
//! Real processes on real disks, from a seed and a number of minutes: clients write and read and remember what they
//! were told, faults happen to machines, network, disks and clocks, and in the end checks read what was remembered.
//! `docs/testing.md` is the guide.
//!
//! # Layout
//!
//! - `seed`: everything that is left to chance, from one number
//! - `directory`: what clients know of the nodes
//! - `history`: what was asked and answered, and what watchers were told
//! - `clients`: who asks, one kind a file; `watchers`: who is told changes; `workload`: all of them at work
//! - `ending`: what all nodes hold in the end
//! - `checks`: what must hold of a history, one check a file
#![allow(clippy::unwrap_used, clippy::expect_used)]
// taken away with the first part that uses it
#![allow(dead_code)]

#[path = "../common/mod.rs"]
mod common;

mod checks;
mod clients;
mod directory;
mod ending;
mod history;
mod seed;
mod small;
mod watchers;
mod workload;

//! What does a power cut leave of what nodes have acknowledged?
//!
//! A process that is killed loses nothing that it has written: the system's page cache has it. So here nodes run on a
//! file system that writes down each write and each sync, and the states in which a power cut can leave a disk are made
//! from that, at every write and sync: all must be there that was acknowledged before.
//!
//! Where a state is not as it must be, the failure names the operations before the cut and the folder in which that
//! state is kept: start a node on it, or `jettra-server repair --data-dir` it. `CONTRIBUTING.md` has the commands.
//!
//! # Layout
//!
//! - `tree`: files and directories in memory, and the operations on them
//! - `mount`: a file system that records, for a real process to work on
//! - `model`: what a power cut leaves of a recording
//! - `layer`: tests of these three
//! - `told`: clients that write, and what they were told when
//! - `cuts`: the states of a recording, one after the other
//! - `open`: what is left of a node, opened in this process
//! - `alone`: one node
//! - `trio`: three nodes that lose their power together
//! - `images`: three nodes on block devices that are copied while they work
//! - `planted`: bugs that were put in on purpose are found
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/peer.rs"]
#[allow(dead_code)]
mod peer;
#[path = "../faults/seed.rs"]
#[allow(dead_code)]
mod seed;

mod alone;
mod cuts;
mod images;
mod layer;
mod model;
mod mount;
mod open;
#[cfg(feature = "planted-bugs")]
mod planted;
mod told;
mod tree;
mod trio;

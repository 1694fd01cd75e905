//! What surrounds a node.
//!
//! - `users`: other users of the machine can open nothing that it keeps
//! - `output`: it goes on though nobody takes what it writes
//! - `full_disk`: a disk that is full can be emptied, and is named
//! - `open_files`: no more files can be opened when the log needs a new one
//! - `lost_disk`: a first node without its data begins no second cluster
//! - `clock`: one wrong clock ends nothing
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

#[path = "surroundings/clock.rs"]
mod clock;
#[path = "surroundings/full_disk.rs"]
mod full_disk;
#[path = "surroundings/lost_disk.rs"]
mod lost_disk;
#[path = "surroundings/open_files.rs"]
mod open_files;
#[path = "surroundings/output.rs"]
mod output;
#[path = "surroundings/users.rs"]
mod users;

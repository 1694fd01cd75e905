//! Who belongs to a cluster, row by row: what the answer says, what every node shows of the members afterwards, and
//! that writing went on meanwhile. Every deed is asked for as a dry run first, and the two must agree.
//!
//! - `story`: a cluster under writers that remember, and what a row looks at
//! - `joins`: nodes join, once and twice, one and two at a time; what cannot join; deaths at each step of it
//! - `leaving`: followers, the leader, the dead, the unknown and the last one are removed and stopped; a removed node
//!   and a wiped one come back
//! - `pausing`: the same for pauses; who is paused is not elected
//! - `refusals`: what would cost the majority is refused, and the next command makes it possible
//! - `replicas`: read replicas join, are promoted, and voters demoted; they count for nothing
//! - `moves`: nodes that come back at other ports, and all at once
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

#[path = "membership/joins.rs"]
mod joins;
#[path = "membership/leaving.rs"]
mod leaving;
#[path = "membership/moves.rs"]
mod moves;
#[path = "membership/pausing.rs"]
mod pausing;
#[path = "membership/refusals.rs"]
mod refusals;
#[path = "membership/replicas.rs"]
mod replicas;
#[path = "membership/story.rs"]
mod story;

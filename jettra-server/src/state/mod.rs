//! Documents: the deterministic state machine. Command in, outcome out.
//!
//! Given the same log, every replica comes to the same state and answers the same. So there is no async here, no clock,
//! no random number and no network: times, ids and whatever else is not deterministic are in the command. What the state
//! keeps in memory is ordered; nothing is decided by a hash map's order or by a float.
//!
//! ```text
//!   entry 812 ──► stage ──► one batch of keys, all with rev 812 ──► engine
//!                              CURRENT  7,"ann"         the newest state, rev 812
//!                              HISTORY  7,"ann",!640    what it was before, rev 640
//!                              CHANGES  812,0           that it changed, for those who watch
//!                              STATS    7               count, bytes, digest
//!
//!   a view at revision 700 reads "ann":  CURRENT has rev 812 > 700  ──►  HISTORY has rev 640 ≤ 700: that is it
//!   a pin at 700 holds back reclaiming of everything that such a view may read
//! ```
//!
//! # Layout
//!
//! - [`names`], [`document`], [`patch`], [`json`]: what comes in, parsed into types
//! - [`command`], [`outcome`], [`settings`]: what the log holds, what an entry comes to, and the bounds that decide it
//! - `machine`: [`State`]: opening, applying, durable points, pins
//! - `stage`, `write`, `apply`: how an entry is applied: staged, then committed or discarded
//! - `queue`: records that are let go oldest first
//! - `envelope`, [`catalog`], `role`, `stats`, `system`, `view`: how things are stored, and what of it is in memory
//! - `read`, `pins`, `snapshot`: how it is read, at one revision, beside writes
//! - `changes`: what changed, in log order, for those who watch
//! - `garbage`, `reclaim`: what may be deleted, and its deletion
//! - `journal`: what happened to the cluster
//! - `digests`, `scrub`: whether all replicas hold the same, and whether the disk still holds what was written
//! - `begin`: a state that goes on as another cluster's
//! - `verify`: whether everything can be read and adds up
//!
//! # Revisions
//!
//! The revision of an entry is `base + log index`. Everything is versioned by it: `current` holds a document's newest
//! state, a tombstone too, `history` its superseded ones. A view at revision N needs no lock: a current state with
//! rev ≤ N is it; else the first superseded one with rev ≤ N; else the document was not there.
//!
//! What the system itself keeps (catalog, members, users, settings, tokens, requests, sessions) are documents in
//! collections of the database `_system`, so all of it is versioned, pinned, exported and digested by the same code. Of
//! these, superseded states are written only while a view is pinned that may need them.
//!
//! # Answers and halts
//!
//! An [`Error`](crate::error::Error) is an answer: the same on every replica, and it leaves no partial write. A [`Halt`]
//! stops the node: the disk failed, the store is damaged, or an entry is not understood.

mod apply;
mod begin;
pub mod catalog;
mod changes;
pub mod command;
mod digests;
pub mod document;
mod envelope;
mod garbage;
mod halt;
mod journal;
pub mod json;
mod logins;
mod machine;
pub mod names;
pub mod outcome;
pub mod patch;
mod pins;
mod queue;
mod read;
mod reclaim;
mod role;
mod scrub;
pub mod settings;
mod snapshot;
mod stage;
mod stats;
mod system;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod verify;
mod view;
mod write;

/// The detail of an error that says that whoever asks is not, or no more, what the node took them for.
pub const CHANGED: &str = "userChanged";

pub use changes::{Change, Changed, Changes, ChangesLimit};
pub use command::{Action, By, Command, Condition, NewUser, NodeChange, Op, RequestKey, Version, Write, stamp};
pub use digests::{CheckedCollection, Difference, DigestCheck, compare};
pub use document::{Document, IdentifiedDocument};
pub use halt::Halt;
pub use journal::NewEvent;
pub use machine::{LogEntry, MemberInfo, Payload, State};
pub use names::{CollectionName, DatabaseName, DocumentId, NodeName};
pub use outcome::{Answer, Outcome, WriteResult};
pub use patch::MergePatch;
pub use pins::Pin;
pub use read::Doc;
pub use role::UserRole;
pub use scrub::{SCRUB_STEP, Scrubbed};
pub use settings::Settings;
pub use snapshot::Importer;
pub use system::CLUSTERNODES_NAME as CLUSTERNODES;
pub use view::{MemberDoc, User};

pub use crate::storage::keys::CollectionId;

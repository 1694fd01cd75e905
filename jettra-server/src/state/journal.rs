//! The journal: what happened to the cluster and who asked. A hidden collection of the system, so it is replicated,
//! digested and part of snapshots like everything else; it is written inside `apply` only.
//!
//! The id of an event's document is its revision and its number there, in hexadecimal digits: so they sort by age.

use std::ops::Bound;

use bytes::Bytes;
use jettra_client::wire::{ClusterEvent, EventKind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::envelope::Envelope;
use super::halt::Halt;
use super::machine::State;
use super::system;
use super::view::parse;
use crate::storage::{Order, Scan, keys};

/// An event before `apply` gives it its revision and time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewEvent {
    /// What happened.
    pub kind: EventKind,
    /// To which member, by `NodeID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Which user asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The same as a sentence.
    pub message: String,
    /// Further fields; `rev`, `time`, `kind`, `node`, `by` and `message` are not among them.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
}

impl NewEvent {
    /// An event without anything else.
    pub fn new(kind: EventKind, message: impl Into<String>) -> Self {
        NewEvent { kind, node: None, by: None, message: message.into(), details: Map::new() }
    }

    /// The same, about a member.
    #[must_use]
    pub fn node(mut self, node: impl Into<String>) -> Self {
        self.node = Some(node.into());
        self
    }

    /// The same, asked for by a user.
    #[must_use]
    #[cfg(test)]
    pub fn by(mut self, user: impl Into<String>) -> Self {
        self.by = Some(user.into());
        self
    }

    /// The same with a further field.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.details.insert(field.to_owned(), value.into());
        self
    }
}

/// The id of the `n`-th event of a revision.
pub(super) fn event_id(rev: u64, n: u32) -> String {
    format!("{rev:016x}{n:08x}")
}

impl State {
    /// At most `limit` events in `order` of their age, after the first `offset`, of those with a revision above `after`.
    /// Each is the JSON of a [`ClusterEvent`].
    pub fn events(&self, after: u64, order: Order, offset: usize, limit: usize) -> Result<Vec<Bytes>, Halt> {
        let from = Bound::Included(keys::current(system::EVENTS, &event_id(after.saturating_add(1), 0)));
        let end = keys::after_prefix(&keys::current_prefix(system::EVENTS));
        let to = end.map_or(Bound::Unbounded, Bound::Excluded);
        let scan = Scan::new(self.engine().clone(), from, to, order);
        let bodies = scan.filter_map(|pair| {
            let body = pair.map_err(Halt::from).and_then(|(_, value)| Ok(Envelope::decode(&value)?.body().cloned()));
            body.transpose()
        });
        bodies.skip(offset).take(limit).collect()
    }

    /// The newest `most` events, oldest first.
    pub fn newest_events(&self, most: usize) -> Result<Vec<ClusterEvent>, Halt> {
        let mut events = self.events(0, Order::Descending, 0, most)?;
        events.reverse();
        events.iter().map(|body| parse(body, "an event of the journal")).collect()
    }
}

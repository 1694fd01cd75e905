//! The journal: what only the leader knows goes into it from here; the rest `apply` writes by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jettra_client::wire::{ClusterEvent, EventKind};
use serde_json::Value;

use super::route::OWN;
use super::{Call, Cluster};
use crate::error::{Error, Result};
use crate::raft::Consensus;
use crate::state::{Command, NewEvent, Op, RequestKey};
use crate::storage::Order;

/// How long writing one event may take.
pub(super) const LIMIT: Duration = Duration::from_secs(5);
/// Events among which alarms are looked for.
const RECENT: usize = 2_000;

/// Which events are asked for.
#[derive(Debug, Clone, Copy)]
pub struct EventQuery {
    /// Only those with a higher revision.
    pub after: u64,
    /// By age.
    pub order: Order,
    /// So many are passed over.
    pub offset: usize,
    /// So many are told at most.
    pub limit: usize,
}

/// What tells alarms apart: name, node and collection.
pub(super) type AlarmKey = (String, Option<String>, Option<String>);

impl Cluster {
    /// Writes an event into the journal, wherever the leader is. It is written once, however often it has to be sent;
    /// where it cannot be written, only the log line is left of it.
    pub(super) async fn note_event(self: &Arc<Self>, event: NewEvent) {
        let key = crate::random::hex::<16>();
        if let Err(e) = self.write_event(&Call::internal(LIMIT), key, &event).await {
            tracing::warn!(event = event.message, kind = event.kind.as_str(), error = %e, "an event is not in the journal");
        }
    }

    /// Journals that `principal` asked for `call` on `what`, before it is done.
    pub async fn note_asked(self: &Arc<Self>, principal: &str, call: &str, what: &str) {
        let (who, by) = if principal == OWN { ("the node itself", None) } else { (principal, Some(principal)) };
        let mut event = NewEvent::new(EventKind::Asked, format!("{who} asked to {call} {what}")).with("call", call);
        event.by = by.map(str::to_owned);
        if self.find_member(what).is_ok_and(|member| member.is_some()) {
            event = event.node(what);
        }
        self.note_event(event).await;
    }

    pub(super) async fn write_event(self: &Arc<Self>, call: &Call, key: String, event: &NewEvent) -> Result<()> {
        let request = RequestKey::Key { principal: OWN.to_owned(), key, hash: event.kind.as_str().to_owned() };
        let command = Command { request: Some(request), op: Op::ClusterEvent(event.clone()) };
        self.write(call, &command).await?.outcome.into_result().map(drop)
    }

    /// The events asked for, each as JSON, from this node's own state.
    ///
    /// # Errors
    /// `unavailable` while the node is no member; `internal` when the state cannot be read.
    pub async fn events(&self, query: EventQuery) -> Result<Vec<Bytes>> {
        let state = self.state()?;
        let EventQuery { after, order, offset, limit } = query;
        let read = tokio::task::spawn_blocking(move || state.events(after, order, offset, limit));
        read.await.map_err(|e| Error::internal(e.to_string()))?.map_err(|e| Error::internal(e.to_string()))
    }

    /// The newest events, oldest first, as far back as alarms are looked for.
    pub(super) async fn recent_events(&self, consensus: &Consensus) -> Vec<ClusterEvent> {
        let state = consensus.state();
        match tokio::task::spawn_blocking(move || state.newest_events(RECENT)).await {
            Ok(Ok(events)) => events,
            Ok(Err(e)) => {
                tracing::warn!(error = %e, "the journal cannot be read");
                Vec::new()
            }
            Err(e) => {
                tracing::warn!(error = %e, "the journal cannot be read");
                Vec::new()
            }
        }
    }
}

/// Which alarm an event begins or ends.
pub(super) fn alarm_key(event: &ClusterEvent) -> Option<AlarmKey> {
    let text = |name: &str| event.details.get(name).and_then(Value::as_str).map(str::to_owned);
    Some((text("alarm")?, event.node.clone(), text("collection")))
}

/// The alarms that are not over, each with the event that began it.
pub(super) fn open_alarms(events: &[ClusterEvent]) -> BTreeMap<AlarmKey, ClusterEvent> {
    let mut open = BTreeMap::new();
    for event in events {
        let Some(key) = alarm_key(event) else { continue };
        match event.kind {
            EventKind::Alarm => {
                open.entry(key).or_insert_with(|| event.clone());
            }
            EventKind::AlarmOver => {
                open.remove(&key);
            }
            _ => {}
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm(kind: EventKind, rev: u64, node: &str) -> ClusterEvent {
        let NewEvent { kind, node, by, message, details } =
            NewEvent::new(kind, "x").node(node).with("alarm", "digest_mismatch").with("collection", "db/c");
        ClusterEvent { rev, time: rev, kind, node, by, message, details }
    }

    #[test]
    fn an_alarm_is_open_from_its_first_event_until_its_end() {
        use EventKind::{Alarm, AlarmOver};
        let events = [alarm(Alarm, 1, "a"), alarm(Alarm, 2, "b"), alarm(Alarm, 3, "a"), alarm(AlarmOver, 4, "b")];
        let open: Vec<u64> = open_alarms(&events).values().map(|event| event.rev).collect();
        assert_eq!(open, [1]);
        assert!(open_alarms(&[alarm(AlarmOver, 1, "a")]).is_empty());
    }
}

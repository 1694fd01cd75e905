//! Routes that tell whether the cluster is well: the doctor and the journal.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use super::answer::Answer;
use super::request::Request;
use super::{Access, App, Route, route};
use crate::auth::Role;
use crate::cluster::EventQuery;
use crate::error::{Error, Result};
use crate::limits;
use crate::state::names::shown;
use crate::storage::Order;

/// The journal: a node answers with its own, unless told otherwise.
pub(super) const EVENTS: &str = "/api/cluster/events";

pub(super) const ROUTES: &[Route] = &[
    route!(GET "/api/cluster/doctor", Access::Role(Role::Reader), Plain, [], "what is wrong with the cluster, in sentences, with the next step", doctor),
    route!(GET "/api/cluster/events", Access::Role(Role::Reader), Read, ["limit?", "offset?", "order?", "after?"], "the journal, oldest first; order=desc: newest first; after: only revisions above it", events),
];

/// Events that an answer has unless it says otherwise, and at most.
const LIMIT: i64 = 100;

async fn doctor(app: &Arc<App>, _: Request) -> Result<Answer> {
    Answer::json(&app.cluster.doctor().await)
}

async fn events(app: &Arc<App>, request: Request) -> Result<Answer> {
    let limit = request.query.parsed::<i64>("limit", "a number")?.unwrap_or(LIMIT);
    let limit = usize::try_from(limit).ok().filter(|n| *n > 0).unwrap_or(limits::EVENTS).min(limits::EVENTS);
    let offset = request.query.parsed::<usize>("offset", "a number from 0 on")?.unwrap_or(0);
    let after = request.query.parsed::<u64>("after", "a revision")?.unwrap_or(0);
    let order = match request.query.get("order") {
        None | Some("" | "asc") => Order::Ascending,
        Some("desc") => Order::Descending,
        Some(other) => return Err(Error::bad_request(format!("order: {} is neither asc nor desc", shown(other)))),
    };
    // Whoever asks what happened may have no leader to ask: this node's own journal, unless told otherwise.
    let fresh = request.query.get("consistency").is_some() || request.query.get("min_index").is_some();
    let index = if fresh { request.ready_to_read(app).await? } else { app.cluster.consensus()?.applied_index() };
    let events = app.cluster.events(EventQuery { after, order, offset, limit }).await?;
    let mut body = BytesMut::with_capacity(2 + events.iter().map(|event| event.len() + 1).sum::<usize>());
    body.put_u8(b'[');
    for (n, event) in events.iter().enumerate() {
        if n > 0 {
            body.put_u8(b',');
        }
        body.put_slice(event);
    }
    body.put_u8(b']');
    Ok(Answer::raw_json(body.freeze()).index(index))
}

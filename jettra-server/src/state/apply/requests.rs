//! Requests that are carried out once, however often they arrive.
//!
//! The outcome of the first arrival is kept, an error too, and a repeat gets it again. Which outcomes are kept is decided
//! here, by cluster time and in log order, so every replica answers a repeat alike.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::run_for;
use crate::error::Error;
use crate::state::command::{By, Op, RequestKey};
use crate::state::envelope::Envelope;
use crate::state::halt::Halt;
use crate::state::names::shown;
use crate::state::outcome::Outcome;
use crate::state::queue::Queue;
use crate::state::stage::Stage;
use crate::state::system;
use crate::state::view::parse;

/// Bytes in the longest principal, key or session id that is taken.
const MAX_PART: usize = 256;

/// A document of `_requests`.
#[derive(Serialize, Deserialize)]
struct RequestDoc {
    #[serde(rename = "_id")]
    id: String,
    hash: String,
    outcome: Box<RawValue>,
}

/// A document of `_sessions`.
#[derive(Serialize, Deserialize)]
struct SessionDoc {
    #[serde(rename = "_id")]
    id: String,
    acked: u64,
    /// By sequence, all above `acked`.
    outcomes: Vec<Numbered>,
}

#[derive(Serialize, Deserialize)]
struct Numbered {
    sequence: u64,
    outcome: Box<RawValue>,
}

/// Carries `op` out unless the request was carried out before, and keeps its outcome.
pub(super) fn once(stage: &mut Stage<'_>, request: &RequestKey, by: Option<&By>, op: &Op) -> Result<Outcome, Halt> {
    match request {
        RequestKey::Key { principal, key, hash } => match record_id(principal, key) {
            Ok(id) => by_key(stage, id, hash, by, op),
            Err(error) => Ok(Outcome::of(stage.rev, Err(error))),
        },
        RequestKey::Session { principal, session, sequence, acked } => match record_id(principal, session) {
            Ok(id) => by_session(stage, id, (*sequence, *acked), by, op),
            Err(error) => Ok(Outcome::of(stage.rev, Err(error))),
        },
    }
}

fn by_key(stage: &mut Stage<'_>, id: String, hash: &str, by: Option<&By>, op: &Op) -> Result<Outcome, Halt> {
    let settings = &stage.core.settings;
    let ttl_ms = settings.request_ms;
    let queue = Queue {
        records: system::REQUESTS,
        order: system::REQUEST_ORDER,
        at_least_ms: ttl_ms,
        max_count: settings.max_requests,
        max_bytes: settings.max_request_bytes,
    };
    let known = stage.live(queue.records, &id)?;
    let is_new = known.is_none();
    #[cfg(feature = "planted-bugs")]
    let known = known.filter(|record| {
        !crate::planted::has(crate::planted::Bug::ForgetARequest)
            || !crate::planted::is_of_an_earlier_leader(record.rev)
    });
    if let Some(record) = known.filter(|record| !is_over(record, ttl_ms, stage.now_ms())) {
        let doc: RequestDoc = parse(record.body().map_or(&[], |body| body), "a request's record")?;
        if doc.hash == hash {
            return replay(&doc.outcome);
        }
        let message = "this Idempotency-Key came with another request before; use a fresh key for each request";
        return Ok(Outcome::of(stage.rev, Err(Error::conflict(message))));
    }
    // A repeat of what was done gets its answer, whatever became of the right to ask for it since.
    let (outcome, was_run) = run_for(stage, by, op)?;
    if !was_run {
        return Ok(outcome);
    }
    let doc = RequestDoc { id, hash: hash.to_owned(), outcome: raw(&outcome)? };
    stage.save(queue.records, &doc.id, body(&doc)?)?;
    if is_new {
        stage.enqueue(&queue, &doc.id)?;
    }
    stage.sweep(&queue, |record, now_ms| is_over(record, ttl_ms, now_ms))?;
    Ok(outcome)
}

fn by_session(
    stage: &mut Stage<'_>,
    id: String,
    (sequence, acked): (u64, u64),
    by: Option<&By>,
    op: &Op,
) -> Result<Outcome, Halt> {
    let settings = &stage.core.settings;
    let (ttl_ms, max_outcomes) = (settings.session_ms, settings.max_session_outcomes as usize);
    let queue = Queue {
        records: system::SESSIONS,
        order: system::SESSION_ORDER,
        at_least_ms: ttl_ms,
        max_count: settings.max_sessions,
        max_bytes: u64::MAX,
    };
    let known = stage.live(queue.records, &id)?;
    let is_new = known.is_none();
    let mut doc = match known.filter(|record| !is_over(record, ttl_ms, stage.now_ms())) {
        Some(record) => parse(record.body().map_or(&[], |body| body), "a session's record")?,
        None => SessionDoc { id, acked: 0, outcomes: Vec::new() },
    };
    let at = match doc.outcomes.binary_search_by_key(&sequence, |known| known.sequence) {
        Ok(at) => return replay(&doc.outcomes[at].outcome),
        Err(at) => at,
    };
    let refuse = |message: String| Ok(Outcome::of(stage.rev, Err(Error::bad_request(message))));
    if sequence <= doc.acked || acked >= sequence {
        return refuse(format!(
            "request {sequence} of the session was acknowledged (up to {}); number requests upwards from there",
            doc.acked.max(acked)
        ));
    }
    doc.acked = doc.acked.max(acked);
    let given_up = doc.outcomes.partition_point(|known| known.sequence <= doc.acked);
    if doc.outcomes.len() - given_up >= max_outcomes {
        return refuse(format!(
            "the session has {max_outcomes} answers that were not acknowledged; raise the acknowledged number"
        ));
    }
    // A repeat of what was done gets its answer, whatever became of the right to ask for it since.
    let (outcome, was_run) = run_for(stage, by, op)?;
    if !was_run {
        return Ok(outcome);
    }
    doc.outcomes.insert(at, Numbered { sequence, outcome: raw(&outcome)? });
    doc.outcomes.drain(..given_up);
    stage.save(queue.records, &doc.id, body(&doc)?)?;
    if is_new {
        stage.enqueue(&queue, &doc.id)?;
    }
    stage.sweep(&queue, |record, now_ms| is_over(record, ttl_ms, now_ms))?;
    Ok(outcome)
}

fn is_over(record: &Envelope, ttl_ms: u64, now_ms: u64) -> bool {
    record.time_ms.saturating_add(ttl_ms) <= now_ms
}

fn replay(outcome: &RawValue) -> Result<Outcome, Halt> {
    let outcome: Outcome = parse(outcome.get().as_bytes(), "the outcome of a request")?;
    Ok(Outcome { replayed: true, ..outcome })
}

fn raw(outcome: &Outcome) -> Result<Box<RawValue>, Halt> {
    serde_json::value::to_raw_value(outcome).map_err(|error| Halt::damage(format!("an outcome: {error}")))
}

fn body(doc: &impl Serialize) -> Result<Bytes, Halt> {
    Ok(serde_json::to_vec(doc).map_err(|error| Halt::damage(format!("a request's record: {error}")))?.into())
}

/// One id for a principal and its key that no other pair has.
fn record_id(principal: &str, key: &str) -> Result<String, Error> {
    for part in [principal, key] {
        if part.len() > MAX_PART {
            return Err(Error::bad_request(format!("{} is longer than {MAX_PART} bytes; shorten it", shown(part))));
        }
    }
    Ok(format!("{}:{principal}:{key}", principal.len()))
}

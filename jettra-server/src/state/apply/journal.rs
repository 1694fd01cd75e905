//! Writing the journal. What an entry itself tells is journalled as it is applied, so nothing is missed or told twice,
//! whoever leads; what only the leader knows comes as a command.

use jettra_client::wire::{ClusterEvent, EventKind, Status};
use serde_json::{Map, Value};

use super::json;
use crate::error::Error;
use crate::state::envelope::Envelope;
use crate::state::halt::{AnswerOrHalt, Halt};
use crate::state::journal::{NewEvent, event_id};
use crate::state::outcome::Answer;
use crate::state::settings::Settings;
use crate::state::stage::Stage;
use crate::state::system;
use crate::state::view::MemberDoc;
use crate::storage::{Order, keys};

/// Bytes of the longest event that a command may bring.
const MAX_EVENT: usize = 16 << 10;
/// At most so many old events are let go for one new one: where a bound was lowered, the next ones go on.
const STEPS: u32 = 256;
/// Fields that an event has of itself.
const OWN_FIELDS: [&str; 6] = ["rev", "time", "kind", "node", "by", "message"];

/// `cluster_event`: what the leader has to tell.
pub(super) fn command(stage: &mut Stage<'_>, event: &NewEvent) -> Result<Answer, AnswerOrHalt> {
    if let Some(field) = OWN_FIELDS.iter().find(|field| event.details.contains_key(**field)) {
        return Err(
            Error::bad_request(format!("an event has a field {field} of its own; name the detail otherwise")).into()
        );
    }
    let bytes = event.message.len() + serde_json::to_vec(&event.details).map_or(0, |details| details.len());
    if bytes > MAX_EVENT {
        let message =
            format!("the event has {bytes} bytes of message and details and may have {MAX_EVENT}; shorten it");
        return Err(Error::bad_request(message).into());
    }
    write(stage, event.clone())?;
    Ok(Answer::Done { changed: true })
}

/// Writes an event, and lets go of the oldest beyond the bounds.
pub(super) fn write(stage: &mut Stage<'_>, event: NewEvent) -> Result<(), AnswerOrHalt> {
    let NewEvent { kind, node, by, message, details } = event;
    let id = event_id(stage.rev, stage.next_event());
    let event = ClusterEvent { rev: stage.rev, time: stage.now_ms(), kind, node, by, message, details };
    stage.save(system::EVENTS, &id, json(&event)?)?;
    Ok(trim(stage)?)
}

fn trim(stage: &mut Stage<'_>) -> Result<(), Halt> {
    let (settings, now_ms) = (stage.core.settings.clone(), stage.now_ms());
    for _ in 0..STEPS {
        let stats = stage.stats(system::EVENTS);
        let too_many = stats.count > settings.max_events || stats.bytes > settings.max_event_bytes;
        let Some((id, time_ms)) = oldest(stage)? else { break };
        let is_last = stats.count <= 1;
        if is_last || !(too_many || time_ms.saturating_add(settings.event_ms) <= now_ms) {
            break;
        }
        stage.remove(system::EVENTS, &id)?;
        stage.fronts.insert(system::EVENTS, id);
    }
    Ok(())
}

/// Id and time of the oldest event.
fn oldest(stage: &mut Stage<'_>) -> Result<Option<(String, u64)>, Halt> {
    let end = keys::current_end(system::EVENTS);
    loop {
        let from = keys::current(system::EVENTS, stage.fronts.get(&system::EVENTS).map_or("", String::as_str));
        let Some((key, value)) = stage.first(&from, &end, Order::Ascending)? else { return Ok(None) };
        let id = keys::current_id(&key).ok_or_else(|| Halt::damage("the key of an event"))?.to_owned();
        let envelope = Envelope::decode(&value)?;
        if envelope.body().is_some() {
            return Ok(Some((id, envelope.time_ms)));
        }
        // A tombstone that a pinned view still needs.
        stage.fronts.insert(system::EVENTS, id);
    }
}

/// The cluster has got its identity.
pub(super) fn created(stage: &mut Stage<'_>, cluster_id: &str) -> Result<(), AnswerOrHalt> {
    let message = format!("the cluster {cluster_id} began");
    write(stage, NewEvent::new(EventKind::Created, message).with("clusterId", cluster_id))
}

/// The replicated settings are others.
pub(super) fn settings(stage: &mut Stage<'_>, before: &Settings, after: &Settings) -> Result<(), AnswerOrHalt> {
    let fields = |settings: &Settings| match serde_json::to_value(settings) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let (before, mut changed) = (fields(before), fields(after));
    changed.retain(|name, value| before.get(name) != Some(value));
    let said: Vec<String> = changed.iter().map(|(name, value)| format!("{name} to {value}")).collect();
    let message = format!("settings were changed: {}", said.join(", "));
    write(stage, NewEvent::new(EventKind::Settings, message).with("changed", changed))
}

/// A member's document is written: what of it is worth an event.
pub(super) fn member(stage: &mut Stage<'_>, before: Option<&MemberDoc>, after: &MemberDoc) -> Result<(), AnswerOrHalt> {
    let (id, url) = (&after.id, &after.url);
    let mut events: Vec<NewEvent> = Vec::new();
    let mut tell = |kind, message: String| events.push(NewEvent::new(kind, message).node(id.as_str()));
    match (before.map(|doc| doc.voter), after.voter) {
        (None, None) => {}
        (None | Some(None), Some(true)) => tell(EventKind::Joined, format!("{id} joined the cluster and votes")),
        (None | Some(None), Some(false)) if after.replica => {
            tell(EventKind::Joined, format!("{id} joined the cluster as a read replica"));
        }
        (None | Some(None), Some(false)) => {
            tell(EventKind::Joined, format!("{id} joined the cluster and is catching up; it does not vote yet"));
        }
        (Some(Some(false)), Some(true)) => {
            tell(EventKind::Promoted, format!("{id} has caught up and votes from now on"))
        }
        (Some(Some(true)), Some(false)) if after.replica => {
            tell(EventKind::Demoted, format!("{id} votes no more: it is a read replica from now on"));
        }
        (Some(Some(true)), Some(false)) => tell(EventKind::Demoted, format!("{id} votes no more")),
        _ => {}
    }
    let status = before.map_or(after.status, |doc| doc.status);
    match (status, after.status) {
        (before, after) if before == after => {}
        (_, Status::Inactive) => tell(EventKind::Silent, format!("{id} at {url} is heard no more")),
        (Status::Inactive, _) => tell(EventKind::Returned, format!("{id} at {url} is heard again")),
        _ => {}
    }
    match (before.is_some_and(|doc| doc.paused), after.paused) {
        (false, true) => tell(EventKind::Paused, format!("{id} is paused: it votes and is not elected")),
        (true, false) => tell(EventKind::Resumed, format!("{id} is paused no more and may be elected")),
        _ => {}
    }
    match before {
        None if after.voter.is_none() => {
            let message = format!("{id} at {url} was registered as a node of the cluster");
            let event = NewEvent::new(EventKind::Registered, message).node(id.as_str());
            events.push(event.with("url", url.as_str()).with("raftId", after.raft_id));
        }
        Some(before) if before.url != *url => {
            let event = NewEvent::new(EventKind::Moved, format!("{id} moved from {} to {url}", before.url));
            events.push(event.node(id.as_str()).with("url", url.as_str()).with("before", before.url.as_str()));
        }
        _ => {}
    }
    // The very first membership comes before any clock does; the cluster's beginning is journalled of itself.
    if stage.now_ms() == 0 {
        return Ok(());
    }
    events.into_iter().try_for_each(|event| write(stage, event))
}

/// The feature level was raised.
pub(super) fn upgraded(stage: &mut Stage<'_>, level: u64) -> Result<(), AnswerOrHalt> {
    let message = format!("the feature level is {level} from now on: versions that do not support it cannot take part");
    write(stage, NewEvent::new(EventKind::Upgraded, message).with("featureLevel", level))
}

/// A member was asked to stop.
pub(super) fn stopped(stage: &mut Stage<'_>, doc: &MemberDoc) -> Result<(), AnswerOrHalt> {
    write(stage, NewEvent::new(EventKind::Stopped, format!("{} was asked to stop", doc.id)).node(doc.id.as_str()))
}

/// A member is one no more.
pub(super) fn removed(stage: &mut Stage<'_>, id: &str) -> Result<(), AnswerOrHalt> {
    write(stage, NewEvent::new(EventKind::Removed, format!("{id} is no member any more")).node(id))
}

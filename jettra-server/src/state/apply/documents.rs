//! `save`, `update`, `delete`, `restore_version` and `batch`: one path.

use bytes::Bytes;

use super::catalog::collection_for_writing;
use crate::error::Error;
use crate::state::changes::Change;
use crate::state::command::{Action, Condition, Version, Write};
use crate::state::document::too_large;
use crate::state::envelope::Envelope;
use crate::state::halt::{AnswerOrHalt, Halt};
use crate::state::names::{DocumentId, shown};
use crate::state::outcome::{Answer, WriteResult};
use crate::state::stage::Stage;
use crate::storage::keys::{self, CollectionId};

/// Carries the writes out in order; the first error is the answer to all of them.
pub(super) fn writes(stage: &mut Stage<'_>, writes: &[Write]) -> Result<Answer, AnswerOrHalt> {
    let mut results = Vec::with_capacity(writes.len());
    for (n, write) in writes.iter().enumerate() {
        match one(stage, write) {
            Ok(result) => results.push(result),
            Err(AnswerOrHalt::Answer(error)) if writes.len() > 1 => {
                return Err(error.with("operation", n as u64).into());
            }
            Err(stop) => return Err(stop),
        }
    }
    Ok(Answer::Written(results))
}

fn one(stage: &mut Stage<'_>, write: &Write) -> Result<WriteResult, AnswerOrHalt> {
    let id = write.action.id();
    if write.db.is_system() {
        return Err(Error::forbidden("the documents of _system are changed by cluster commands only").into());
    }
    let collection = match &write.action {
        Action::Save(_) => Some(collection_for_writing(stage, &write.db, &write.col)?),
        _ => stage.core.catalog.collection(write.db.as_str(), write.col.as_str()),
    };
    let old = match collection {
        Some(collection) => stage.envelope(collection, id.as_str())?,
        None => None,
    };
    let live = old.as_ref().and_then(|old| Some((old.rev, old.body()?)));
    check(write.condition, live.map(|(rev, _)| rev), id)?;
    let existed = live.is_some();
    let written = WriteResult { id: id.to_string(), rev: stage.rev, existed };
    let (body, collection) = match (&write.action, collection) {
        (Action::Save(document), Some(collection)) => (document.json.clone(), collection),
        (Action::Update { patch, .. }, Some(collection)) => {
            let (_, body) = live.ok_or_else(|| absent(id))?;
            let merged = patch
                .merged_into(body)
                .map_err(|error| Halt::damage(format!("document {:?} is not JSON: {error}", id.as_str())))?;
            (Bytes::from(merged), collection)
        }
        (Action::RestoreVersion { version, .. }, Some(collection)) => {
            let state = match &old {
                Some(newest) => version_of(|key| stage.get(key), newest, collection, id, *version, stage.now_ms())?,
                None => None,
            };
            let state = state.ok_or_else(|| no_version(id, *version))?;
            (state.body().cloned().unwrap_or_default(), collection)
        }
        (Action::Delete { .. }, Some(collection)) if existed => {
            stage.remove(collection, id.as_str())?;
            let change = Change::Deleted { id: id.to_string() };
            stage.note_change(collection, write.db.as_str(), write.col.as_str(), &change);
            return Ok(written);
        }
        (Action::Delete { .. }, _) => {
            let now_ms = stage.now_ms();
            let rev = old.filter(|old| !old.is_expired(now_ms)).map_or(0, |old| old.rev);
            return Ok(WriteResult { rev, ..written });
        }
        (Action::RestoreVersion { version, .. }, None) => return Err(no_version(id, *version).into()),
        (Action::Save(_) | Action::Update { .. }, None) => return Err(absent(id).into()),
    };
    let limit = stage.core.settings.max_document_bytes;
    if body.len() as u64 > limit {
        return Err(too_large(body.len(), limit as usize).into());
    }
    stage.save(collection, id.as_str(), body)?;
    let change = Change::Saved { id: id.to_string() };
    stage.note_change(collection, write.db.as_str(), write.col.as_str(), &change);
    Ok(written)
}

fn check(condition: Option<Condition>, rev: Option<u64>, id: &DocumentId) -> Result<(), Error> {
    let id = shown(id.as_str());
    match (condition, rev) {
        (None, _) | (Some(Condition::Absent), None) => Ok(()),
        (Some(Condition::Rev(wanted)), Some(rev)) if wanted == rev => Ok(()),
        (Some(Condition::Rev(wanted)), Some(rev)) => Err(Error::conflict(format!(
            "document {id} has revision {rev}, not {wanted}; read it again and repeat the change"
        ))
        .with("rev", rev)),
        (Some(Condition::Rev(wanted)), None) => Err(Error::conflict(format!(
            "document {id} does not exist and revision {wanted} was expected; read it again"
        ))
        .with("rev", 0)),
        (Some(Condition::Absent), Some(rev)) => {
            Err(Error::conflict(format!("document {id} exists already, at revision {rev}")).with("rev", rev))
        }
    }
}

/// A kept superseded state of the document whose newest state is `newest`; `None` where there is none such.
pub(in crate::state) fn version_of(
    get: impl Fn(&[u8]) -> Result<Option<Bytes>, Halt>,
    newest: &Envelope,
    collection: CollectionId,
    id: &DocumentId,
    version: Version,
    now_ms: u64,
) -> Result<Option<Envelope>, Halt> {
    let kept = newest.kept;
    if kept.oldest == 0 || version.rev < kept.oldest || version.rev >= newest.rev || newest.is_expired(now_ms) {
        return Ok(None);
    }
    let Some(bytes) = get(&keys::history(collection, id.as_str(), version.rev))? else { return Ok(None) };
    let state = Envelope::decode(&bytes)?;
    Ok((state.time_ms == version.time_ms && state.body().is_some()).then_some(state))
}

fn absent(id: &DocumentId) -> Error {
    Error::not_found(format!("there is no document {}; save it first", shown(id.as_str())))
}

fn no_version(id: &DocumentId, version: Version) -> Error {
    Error::not_found(format!(
        "document {} has no version {version}; take one of those that GET /api/versions lists",
        shown(id.as_str())
    ))
}

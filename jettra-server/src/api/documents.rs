//! Documents: save, get, replace, patch, delete, bulk, versions.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use jettra_client::wire::{BulkSaved, Saved, StatusAnswer};
use serde::Deserialize;

use super::answer::Answer;
use super::request::Request;
use super::room::{self, Held};
use super::{Access, App, Route, route};
use crate::auth::{Principal, Role};
use crate::error::{Error, Result};
use crate::limits;
use crate::state::{
    Action, Answer as Applied, CollectionName, Command, DatabaseName, Doc, Document, DocumentId, Halt,
    IdentifiedDocument, MergePatch, Op, State, Version, Write, WriteResult, names::shown,
};

pub(super) const ROUTES: &[Route] = &[
    route!(POST "/api/doc", Access::Role(Role::WriteReader), WriteOne, ["db", "col", "tx?"], "saves a document under its own _id or a fresh one", save),
    route!(GET "/api/doc", Access::Role(Role::Reader), Read, ["db", "col", "id", "tx?"], "a document", get),
    route!(PUT "/api/doc", Access::Role(Role::WriteReader), WriteOne, ["db", "col", "id", "tx?"], "replaces or creates a document", put),
    route!(PATCH "/api/doc", Access::Role(Role::WriteReader), WriteOne, ["db", "col", "id", "tx?"], "merges a patch (RFC 7396) into a document", patch),
    route!(DELETE "/api/doc", Access::Role(Role::WriteReader), WriteOne, ["db", "col", "id", "tx?"], "deletes a document", delete),
    route!(POST "/api/docs", Access::Role(Role::WriteReader), Write, ["db", "col", "tx?"], "saves many documents, all or none: NDJSON or an array", bulk),
    route!(GET "/api/versions", Access::Role(Role::Reader), Read, ["db", "col", "id"], "a document's superseded states, newest first", versions),
    route!(GET "/api/version", Access::Role(Role::Reader), Read, ["db", "col", "id", "version"], "one of them", version),
    route!(POST "/api/restore-version", Access::Role(Role::WriteReader), WriteOne, [], "makes a superseded state the newest again", restore),
];

/// Where a write goes: nobody but the cluster itself writes into `_system`.
fn writable(db: &DatabaseName, col: &CollectionName) -> Result<()> {
    if db.is_system() {
        return Err(Error::forbidden(
            "only cluster calls change _system: see POST /api/cluster/register and the others",
        ));
    }
    db.check_creatable()?;
    col.check_creatable()
}

/// `_system` is for administrators.
pub(super) fn readable(principal: &Principal, db: &DatabaseName) -> Result<()> {
    if db.is_system() { principal.require(Role::Admin) } else { Ok(()) }
}

fn internal(e: impl std::fmt::Display) -> Error {
    Error::internal(e.to_string())
}

/// A fresh document id: UUID version 7, which sorts by time.
fn fresh_id() -> Result<DocumentId> {
    DocumentId::parse(&uuid::Uuid::now_v7().to_string())
}

/// What became of a write, and at which log index.
struct Written {
    results: Vec<WriteResult>,
    index: u64,
}

async fn write(app: &Arc<App>, request: &Request, op: Op) -> Result<Written> {
    let command = Command { request: request.key()?, op };
    let done = app.cluster.write(&request.call, &command).await?;
    match done.outcome.into_result()? {
        Applied::Written(results) => Ok(Written { results, index: done.index }),
        _ => Err(internal("a write was answered as something else: this is a fault of this version")),
    }
}

async fn write_one(app: &Arc<App>, request: &Request, action: Action) -> Result<(WriteResult, u64)> {
    let (db, col) = (request.query.database()?, request.query.collection()?);
    writable(&db, &col)?;
    let condition = request.precondition()?;
    let mut written = write(app, request, Op::Write(Write { db, col, action, condition })).await?;
    let result = written.results.pop().ok_or_else(|| internal("a write without a result"))?;
    Ok((result, written.index))
}

fn document(app: &App, request: &Request) -> Result<Document> {
    if request.body.is_empty() {
        return Err(Error::bad_request("the body is missing: send a JSON object"));
    }
    Document::parse(&request.body, app.config.max_body_bytes)
}

async fn save(app: &Arc<App>, request: Request) -> Result<Answer> {
    let fresh = fresh_id()?;
    let document = document(app, &request)?.with_own_id(|| fresh)?;
    let (saved, index) = write_one(app, &request, Action::Save(document)).await?;
    Ok(Answer::json(&Saved { id: saved.id, rev: saved.rev })?.etag(saved.rev).index(index))
}

async fn put(app: &Arc<App>, request: Request) -> Result<Answer> {
    let document = document(app, &request)?.with_id(request.query.id()?)?;
    status(write_one(app, &request, Action::Save(document)).await?, "ok")
}

async fn patch(app: &Arc<App>, request: Request) -> Result<Answer> {
    let id = request.query.id()?;
    let patch = MergePatch::parse(&request.body, &id)?;
    status(write_one(app, &request, Action::Update { id, patch }).await?, "ok")
}

async fn delete(app: &Arc<App>, request: Request) -> Result<Answer> {
    let id = request.query.id()?;
    let (_, index) = write_one(app, &request, Action::Delete { id }).await?;
    Ok(Answer::json(&StatusAnswer { status: "deleted".to_owned(), rev: None })?.index(index))
}

fn status((written, index): (WriteResult, u64), status: &str) -> Result<Answer> {
    let answer = Answer::json(&StatusAnswer { status: status.to_owned(), rev: Some(written.rev) })?;
    Ok(answer.etag(written.rev).index(index))
}

async fn bulk(app: &Arc<App>, request: Request) -> Result<Answer> {
    let (db, col) = (request.query.database()?, request.query.collection()?);
    writable(&db, &col)?;
    let documents = bulk_documents(&request.body, app.config.max_body_bytes)?;
    let mut ids: Vec<String> = documents.iter().map(|d| d.id.to_string()).collect();
    // The same _id twice: the last one counts, and only it is written.
    let last: HashMap<String, usize> = ids.iter().enumerate().map(|(i, id)| (id.clone(), i)).collect();
    let writes = documents
        .into_iter()
        .enumerate()
        .filter(|(i, document)| last.get(document.id.as_str()) == Some(i))
        .map(|(_, document)| Write {
            db: db.clone(),
            col: col.clone(),
            action: Action::Save(document),
            condition: None,
        })
        .collect::<Vec<_>>();
    let count = ids.len() as u64;
    if writes.is_empty() {
        return Answer::json(&BulkSaved { count, ids });
    }
    let done = write(app, &request, Op::Batch(writes)).await?;
    // A repeat of an earlier request gets the ids that were given then. Documents that were left out have theirs.
    let mut results = done.results.into_iter();
    let written: Vec<usize> = (0..ids.len()).filter(|i| last.get(&ids[*i]) == Some(i)).collect();
    for (place, result) in written.into_iter().zip(&mut results) {
        ids[place] = result.id;
    }
    Ok(Answer::json(&BulkSaved { count, ids })?.index(done.index))
}

/// The documents of a JSON array, or of lines with one each.
fn bulk_documents(body: &Bytes, max_bytes: usize) -> Result<Vec<IdentifiedDocument>> {
    let is_array = body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'[');
    let pieces: Vec<Bytes> = if is_array {
        let raws: Vec<&serde_json::value::RawValue> =
            serde_json::from_slice(body).map_err(|e| Error::bad_request(format!("the body: {e}")))?;
        raws.into_iter().map(|raw| body.slice_ref(raw.get().as_bytes())).collect()
    } else {
        let lines = body.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
        lines.map(|line| body.slice_ref(line)).collect()
    };
    if pieces.len() > limits::BULK_DOCUMENTS {
        return Err(Error::too_large(format!(
            "{} documents in one request, {} are the most: send several requests",
            pieces.len(),
            limits::BULK_DOCUMENTS
        )));
    }
    pieces
        .iter()
        .enumerate()
        .map(|(i, piece)| {
            let fresh = fresh_id()?;
            let parsed = Document::parse(piece, max_bytes).and_then(|document| document.with_own_id(|| fresh));
            parsed.map_err(|e| Error::new(e.code(), format!("document {} of the request: {}", i + 1, e.message())))
        })
        .collect()
}

/// Reads on a thread that may block, since the state may lie on disk only.
pub(super) async fn read<T: Send + 'static>(
    app: &App,
    read: impl FnOnce(&State) -> Result<T, Halt> + Send + 'static,
) -> Result<T> {
    let state = app.cluster.state()?;
    tokio::task::spawn_blocking(move || read(&state)).await.map_err(internal)?.map_err(internal)
}

/// Reads a document within the room for answers under way: where there is none, it is let go, and read again once
/// there is.
async fn document_within_room(
    app: &App,
    find: impl Fn(&State) -> Result<Option<Doc>, Halt> + Clone + Send + 'static,
) -> Result<Option<(Doc, Option<Held>)>> {
    let mut waited: Option<(usize, Held)> = None;
    loop {
        let state = app.cluster.state()?;
        let found = if state.is_busy() { read(app, find.clone()).await? } else { find(&state).map_err(internal)? };
        let Some(doc) = found else { return Ok(None) };
        let bytes = doc.body.len();
        if bytes <= room::SHORT {
            return Ok(Some((doc, None)));
        }
        let held = waited.take().filter(|(enough, _)| *enough >= bytes).map(|(_, held)| held);
        if let Some(held) = held.or_else(|| app.room.take(bytes)) {
            return Ok(Some((doc, Some(held))));
        }
        drop(doc);
        waited = Some((bytes, app.room.wait(bytes, room::WAIT).await?));
    }
}

async fn get(app: &Arc<App>, request: Request) -> Result<Answer> {
    let (db, col, id) = (request.query.database()?, request.query.collection()?, request.query.id()?);
    readable(&request.principal, &db)?;
    let index = request.ready_to_read(app).await?;
    let laid_over = app.cluster.laid_over(&db, &col)?.remove(id.as_str());
    let missing = Error::not_found(format!("there is no document {} in {db}/{col}", shown(id.as_str())));
    let found = document_within_room(app, move |state| state.get(&db, &col, &id)).await?;
    let Some((doc, held)) = found else { return Answer::missing(missing, index) };
    // It may have changed since it was asked how far this node is.
    let index = index.max(app.cluster.state()?.index_of(doc.rev));
    Ok(Answer::raw_json(laid_over.unwrap_or(doc.body)).etag(doc.rev).index(index).held(held))
}

async fn versions(app: &Arc<App>, request: Request) -> Result<Answer> {
    let (db, col, id) = (request.query.database()?, request.query.collection()?, request.query.id()?);
    readable(&request.principal, &db)?;
    let index = request.ready_to_read(app).await?;
    let found = read(app, move |state| state.versions(&db, &col, &id)).await?;
    Ok(Answer::json(&found.iter().map(Version::to_string).collect::<Vec<_>>())?.index(index))
}

async fn version(app: &Arc<App>, request: Request) -> Result<Answer> {
    let (db, col, id) = (request.query.database()?, request.query.collection()?, request.query.id()?);
    let version: Version = request.query.required("version")?.parse()?;
    readable(&request.principal, &db)?;
    let index = request.ready_to_read(app).await?;
    let found = document_within_room(app, move |state| state.version(&db, &col, &id, version)).await?;
    let missing = || Error::not_found(format!("there is no version {version}: see GET /api/versions"));
    let Some((doc, held)) = found else { return Answer::missing(missing(), index) };
    Ok(Answer::raw_json(doc.body).etag(version.rev).index(index).held(held))
}

#[derive(Deserialize)]
struct Restore {
    db: Option<String>,
    col: Option<String>,
    id: Option<String>,
    version: Option<String>,
}

async fn restore(app: &Arc<App>, request: Request) -> Result<Answer> {
    let body: Restore = request.json()?;
    let field = |value: Option<String>, name: &str| {
        value.ok_or_else(|| Error::bad_request(format!("{name} is missing from the body")))
    };
    let (db, col) = (DatabaseName::parse(&field(body.db, "db")?)?, CollectionName::parse(&field(body.col, "col")?)?);
    writable(&db, &col)?;
    let action = Action::RestoreVersion {
        id: DocumentId::parse(&field(body.id, "id")?)?,
        version: field(body.version, "version")?.parse()?,
    };
    let condition = request.precondition()?;
    let mut done = write(app, &request, Op::Write(Write { db, col, action, condition })).await?;
    let rev = done.results.pop().map(|w| w.rev);
    Ok(Answer::json(&StatusAnswer { status: "restored".to_owned(), rev })?.index(done.index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_takes_lines_or_an_array() {
        let ids = |text: &'static str| -> Vec<String> {
            let documents = bulk_documents(&Bytes::from_static(text.as_bytes()), 1000).unwrap();
            documents.iter().map(|d| d.id.to_string()).collect()
        };
        assert_eq!(ids("{\"_id\":\"a\"}\n\r\n  {\"_id\":\"b\"}  "), ["a", "b"]);
        assert_eq!(ids(" [ {\"_id\":\"a\"} , {\"_id\":\"b\"} ]"), ["a", "b"]);
        assert!(ids("[]").is_empty() && ids("").is_empty());
        let wrong = bulk_documents(&Bytes::from_static(b"{\"_id\":\"a\"}\n{]"), 1000).unwrap_err();
        assert!(wrong.message().contains("document 2"), "{wrong}");
    }
}

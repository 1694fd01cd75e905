//! Whole collections: query and count.

use std::sync::Arc;

use axum::body::Body;
use bytes::{BufMut, Bytes, BytesMut};
use jettra_client::wire::CountAnswer;
use tokio::sync::mpsc;

use super::answer::Answer;
use super::documents::readable;
use super::request::Request;
use super::{Access, App, Route, route};
use crate::auth::Role;
use crate::error::{Error, Result};
use crate::query::Projection;
use crate::state::DocumentId;

pub(super) const ROUTES: &[Route] = &[
    route!(GET "/api/query", Access::Role(Role::Reader), Read, ["db", "col", "limit?", "offset?", "after?", "fields?", "tx?"], "a collection's documents by _id; limit ≤ 0: all; after: the _id of the last one seen; fields: a,b", query),
    route!(GET "/api/count", Access::Role(Role::Reader), Read, ["db", "col", "tx?"], "how many documents a collection has", count),
];

/// Documents that a query returns unless it says otherwise.
const LIMIT: i64 = 100;
/// Bytes of an answer written before they are sent on.
const CHUNK: usize = 64 << 10;
/// A client that takes nothing for so long is cut off, since its view holds back what may be deleted.
const IDLE: std::time::Duration = std::time::Duration::from_secs(30);
/// How long a query waits for its turn.
const WAIT: std::time::Duration = std::time::Duration::from_secs(2);
/// A query that takes longer is broken off, for the same reason.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(600);

async fn query(app: &Arc<App>, request: Request) -> Result<Answer> {
    let (db, col) = (request.query.database()?, request.query.collection()?);
    let limit = request.query.parsed::<i64>("limit", "a number")?.unwrap_or(LIMIT);
    let limit = usize::try_from(limit).ok().filter(|n| *n > 0).unwrap_or(usize::MAX);
    let offset = request.query.parsed::<usize>("offset", "a number from 0 on")?.unwrap_or(0);
    let after = request.query.get("after").filter(|id| !id.is_empty()).map(DocumentId::parse).transpose()?;
    let projection = Projection::parse(request.query.get("fields"))?;
    readable(&request.principal, &db)?;
    request.ready_to_read(app).await?;

    let state = app.cluster.state()?;
    let scans = tokio::time::timeout(WAIT, app.scans.clone().acquire_owned()).await;
    let scan = scans
        .ok()
        .and_then(Result::ok)
        .ok_or_else(|| Error::busy("too many queries are being answered: try again in a moment"))?;
    let ends = std::time::Instant::now() + LONGEST;
    let (sender, receiver) = mpsc::channel::<std::io::Result<Bytes>>(4);
    let (first_tx, first_rx) = tokio::sync::oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let _scan = scan;
        let pin = state.pin();
        // The caller may be gone; then the scan finds nobody to send to.
        first_tx.send(pin.index()).ok();
        let runtime = tokio::runtime::Handle::current();
        let send = |piece: std::io::Result<Bytes>| {
            let sent = runtime.block_on(async { tokio::time::timeout(IDLE, sender.send(piece)).await });
            matches!(sent, Ok(Ok(())))
        };
        let mut out = BytesMut::with_capacity(CHUNK + 4096);
        out.put_u8(b'[');
        let mut comma = false;
        let mut passed = 0;
        for doc in state.scan(&db, &col, after.as_ref(), &pin).take(offset.saturating_add(limit)) {
            if passed % 1024 == 0 {
                if sender.is_closed() {
                    return;
                }
                if std::time::Instant::now() > ends {
                    send(Err(std::io::Error::other("the query took too long")));
                    return;
                }
            }
            passed += 1;
            match doc {
                Ok(_) if passed <= offset => {}
                Ok(doc) => {
                    if std::mem::replace(&mut comma, true) {
                        out.put_u8(b',');
                    }
                    projection.write(&doc.body, &mut out);
                    if out.len() >= CHUNK && !send(Ok(out.split().freeze())) {
                        return;
                    }
                }
                Err(e) => {
                    // Half an array is no JSON: the client sees the connection break, never a short answer.
                    tracing::error!(error = %e, "a query broke off");
                    send(Err(std::io::Error::other(e.to_string())));
                    return;
                }
            }
        }
        out.put_u8(b']');
        send(Ok(out.freeze()));
    });
    let index = first_rx.await.map_err(|e| Error::internal(e.to_string()))?;
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    let answer = Answer::stream(Body::from_stream(pieces));
    Ok(match index {
        Some(index) => answer.index(index),
        None => answer,
    })
}

async fn count(app: &Arc<App>, request: Request) -> Result<Answer> {
    let (db, col) = (request.query.database()?, request.query.collection()?);
    readable(&request.principal, &db)?;
    let index = request.ready_to_read(app).await?;
    Ok(Answer::json(&CountAnswer { count: app.cluster.state()?.count(&db, &col) })?.index(index))
}

//! Whole collections: query and count.

use std::sync::Arc;

use bytes::BufMut;
use jettra_client::wire::CountAnswer;

use super::answer::Answer;
use super::documents::readable;
use super::request::Request;
use super::stream::{Limits, written};
use super::{Access, App, Route, route};
use crate::auth::Role;
use crate::error::Result;
use crate::limits;
use crate::query::Projection;
use crate::state::DocumentId;

pub(super) const ROUTES: &[Route] = &[
    route!(GET "/api/query", Access::Role(Role::Reader), Read, ["db", "col", "limit?", "offset?", "after?", "fields?", "tx?"], "a collection's documents by _id; limit ≤ 0: all; after: the _id of the last one seen; fields: a,b", query),
    route!(GET "/api/count", Access::Role(Role::Reader), Read, ["db", "col", "tx?"], "how many documents a collection has", count),
];

/// Documents that a query returns unless it says otherwise.
const LIMIT: i64 = 100;

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
    let shown = app.cluster.laid_over(&db, &col)?;
    let limits = Limits { turn: limits::SCAN_TURN, idle: app.config.send_timeout, total: limits::SCAN };
    let (index, body) = written((&app.scans, &app.room), limits, move |out| {
        let pin = state.pin();
        out.begin(pin.index());
        out.write(|text| text.put_u8(b'['))?;
        let mut comma = false;
        for (place, document) in
            state.scan(&db, &col, after.as_ref(), &pin).take(offset.saturating_add(limit)).enumerate()
        {
            out.step()?;
            let document = document?;
            if place < offset {
                continue;
            }
            let comma = std::mem::replace(&mut comma, true);
            out.write(|text| {
                if comma {
                    text.put_u8(b',');
                }
                projection.write(shown.get(document.id.as_str()).unwrap_or(&document.body), text);
            })?;
        }
        out.write(|text| text.put_u8(b']'))
    })
    .await?;
    let answer = Answer::stream(body);
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

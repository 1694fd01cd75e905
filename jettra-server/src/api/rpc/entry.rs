//! The way of a call: who makes it, opened, to its row, and its answer sealed.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, State};
use axum::http::header::ORIGIN;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Response};
use bytes::Bytes;
use jettra_client::wire::ErrorCode;
use parking_lot::Mutex;

use super::{Bound, Call, Caller, Handler, Who, unknown_call};
use crate::api::App;
use crate::api::answer::{self, Answer};
use crate::api::body;
use crate::api::connection::{Connection, Ends, Shown, ends};
use crate::error::{Error, Result};
use crate::limits;
use crate::peers::{Admitted, PEER_HEADER, Pace, Refused, SEALED, far_end_is_ours, not_let_in};
use crate::raft::incoming;

/// How long somebody without a session may take for a call.
const STRANGER: Duration = Duration::from_secs(5);
/// Bytes of a call that brings little.
const LITTLE: usize = 16 << 10;
/// Bytes of a member's call that brings little; `samples` and `digests` answer more than they ask.
const MEMBERS_LITTLE: usize = 1 << 20;

/// Somebody who has not proved anything.
pub(super) struct Stranger {
    pub(super) ends: Ends,
}

impl Stranger {
    /// Only for processes of this user on this machine.
    ///
    /// # Errors
    /// `forbidden` to all others, with what to set.
    pub(super) async fn is_same_user(&self) -> Result<()> {
        let Ends { peer, local } = self.ends;
        if tokio::task::spawn_blocking(move || far_end_is_ours(peer, local)).await.unwrap_or(false) {
            return Ok(());
        }
        let message = "without a cluster secret only nodes of the same user on the same machine may do this: \
                       set the same ClusterSecret (config) or JETTRA_CLUSTER_SECRET on every node";
        Err(not_let_in("other_user", Error::forbidden(message)))
    }
}

/// A call whose body is a stream.
pub(super) struct Incoming {
    pub(super) head: SealedHead,
    pub(super) stream: BodyDataStream,
}

/// The head of a stream, to open.
pub(super) struct SealedHead {
    header: String,
    path: String,
    connection: Option<Arc<Connection>>,
    /// Who called, once it was opened: the answer is sealed then.
    by: Arc<Mutex<Option<Admitted>>>,
}

impl SealedHead {
    /// Opens the head of the stream as a call.
    ///
    /// # Errors
    /// As for every call that is not let in.
    pub(super) fn admit(&self, app: &App, head: Bytes) -> Result<(Admitted, Bytes)> {
        let opened = app.cluster.sessions.admit(&self.header, &self.path, head).map_err(refused)?;
        *self.by.lock() = Some(opened.0.clone());
        if let Some(connection) = &self.connection {
            connection.shows(Shown::Node);
        }
        end_if_removed(app, opened.0.from)?;
        Ok(opened)
    }
}

enum Reply {
    Whole(Vec<u8>),
    Stream(Body),
}

/// Answers a call.
pub(super) async fn enter(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    request: axum::extract::Request,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let (peer, by) = (ends(&parts).map(|ends| ends.peer), Arc::default());
    let answered = answer_call(&app, &name, parts, body, &by).await;
    let by = by.lock().take();
    match answered {
        Ok(Reply::Stream(stream)) => Response::new(stream),
        Ok(Reply::Whole(body)) => match by {
            Some(by) => sealed(Answer::raw_json(Bytes::new()).into_response(), &body, &by),
            None => Answer::raw_json(body.into()).into_response(),
        },
        Err(e) => {
            let (reason, why) = (e.code(), e.message().to_owned());
            let response = answer::error(e);
            let Some(by) = by else {
                // A stranger may repeat it at will.
                app.cluster.sessions.refused.tell(move |times| {
                    let from = peer.map(|peer| peer.to_string()).unwrap_or_default();
                    tracing::info!(times, from, code = reason.as_str(), why, "calls of strangers were refused");
                });
                return response;
            };
            let (parts, body) = response.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
            sealed(Response::from_parts(parts, Body::empty()), &body, &by)
        }
    }
}

/// An answer in the session of who asked.
fn sealed(mut response: Response<Body>, body: &[u8], by: &Admitted) -> Response<Body> {
    let sealed = by.key.seal_answer(response.status().as_u16(), by.sequence, body);
    response.headers_mut().insert(PEER_HEADER, HeaderValue::from_static(SEALED));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/octet-stream"));
    *response.body_mut() = Body::from(sealed);
    response
}

async fn answer_call(
    app: &Arc<App>,
    name: &str,
    parts: Parts,
    body: Body,
    by: &Arc<Mutex<Option<Admitted>>>,
) -> Result<Reply> {
    // Browsers say so with every POST, and nodes never do.
    if parts.headers.contains_key(ORIGIN) || parts.headers.contains_key("sec-fetch-site") {
        return Err(refused(Refused::WebPage));
    }
    let header = parts.headers.get(PEER_HEADER).map(|v| v.to_str().unwrap_or_default().to_owned());
    let Some(header) = header.filter(|header| app.cluster.sessions.knows(header)) else {
        return answer_stranger(app, name, &parts, body).await;
    };
    let call = Call::named(name).ok_or_else(|| unknown_call(name))?;
    let path = parts.uri.path().to_owned();
    let connection = parts.extensions.get::<Arc<Connection>>().cloned();
    if let Handler::Receives(handler) = call.handler {
        let stream = body.into_data_stream();
        let head = SealedHead { header, path, connection, by: by.clone() };
        return handler(app.clone(), Incoming { head, stream }).await.map(Reply::Whole);
    }
    let is_known = connection.as_ref().is_some_and(|connection| connection.shown() == Shown::Node);
    let mut read = read_members(app, call.bound, &parts.headers, body, is_known).await?;
    let sealed = std::mem::take(&mut read.bytes);
    let (admitted, body) = app.cluster.sessions.admit(&header, &path, sealed).map_err(refused)?;
    *by.lock() = Some(admitted.clone());
    if let Some(connection) = &connection {
        connection.shows(Shown::Node);
    }
    end_if_removed(app, admitted.from)?;
    match call.handler {
        Handler::Whole(handler) => handler(app.clone(), Caller::Member(admitted), body).await.map(Reply::Whole),
        Handler::Sends(handler) => handler(app.clone(), admitted, body).await.map(Reply::Stream),
        Handler::Receives(_) => Err(Error::internal("a call that was begun as another one")),
    }
}

/// A session ends with its member.
fn end_if_removed(app: &App, from: u64) -> Result<()> {
    app.cluster.peers.hearing.note(from);
    let Some(consensus) = app.cluster.running() else { return Ok(()) };
    match incoming::removed(&consensus, from) {
        Some(index) => {
            app.cluster.sessions.close(from);
            Err(incoming::was_removed(from, index))
        }
        None => Ok(()),
    }
}

/// Whose name of a session it is shows when it is opened: until this connection has been a member's, its bodies are
/// counted among those of all.
async fn read_members(app: &App, bound: Bound, headers: &HeaderMap, body: Body, is_known: bool) -> Result<body::Body> {
    // A command is its documents with names and ids around them.
    let limit = match bound {
        Bound::Little => MEMBERS_LITTLE,
        Bound::Request | Bound::Replication => app.config.max_body_bytes.saturating_mul(2).max(32 << 20),
    };
    if bound == Bound::Request || !is_known {
        return body::read(&app.bodies, headers, body, limit).await;
    }
    let read = tokio::time::timeout(limits::BODY, axum::body::to_bytes(body, limit)).await;
    let read = read.map_err(|_| not_let_in("unreadable", Error::bad_request("the call did not arrive within 60 s")))?;
    read.map(body::Body::from).map_err(|e| unread(&e))
}

fn unread(e: &axum::Error) -> Error {
    not_let_in("unreadable", Error::bad_request(format!("the call could not be read: {e}")))
}

/// Answers who has no session: little is read, in little time, and at a pace of its own for each connection.
async fn answer_stranger(app: &Arc<App>, name: &str, parts: &Parts, body: Body) -> Result<Reply> {
    if let Some(pace) = parts.extensions.get::<Arc<Pace>>()
        && !pace.take().await
    {
        return Err(busy());
    }
    if parts.headers.contains_key(PEER_HEADER) {
        // Read on, so that the caller reads our answer: a member that had a session opens a new one then.
        body::discard(&mut body.into_data_stream()).await;
        return Err(refused(Refused::UnknownSession));
    }
    let call = Call::named(name).ok_or_else(|| unknown_call(name))?;
    let Handler::Whole(handler) = call.handler else { return Err(refused(Refused::UnknownSession)) };
    let stranger = Stranger { ends: ends(parts)? };
    match call.who {
        Who::Stranger => {}
        Who::SameUser if app.cluster.hands_out_secret() => stranger.is_same_user().await?,
        Who::SameUser | Who::Member => return Err(refused(Refused::UnknownSession)),
    }
    let read = tokio::time::timeout(STRANGER, axum::body::to_bytes(body, LITTLE)).await;
    let read = read.map_err(|_| not_let_in("slow", Error::bad_request("the call did not arrive in time")))?;
    let read = read.map_err(|e| unread(&e))?;
    handler(app.clone(), Caller::Stranger(stranger), read).await.map(Reply::Whole)
}

/// What strangers are told where too many of them crowd in.
pub(super) fn busy() -> Error {
    metrics::counter!("jettra_rpc_refused_total", "reason" => "pace").increment(1);
    Error::busy("too many calls without a session: try again in a moment")
}

/// The error of a call that is not let in.
pub(super) fn refused(why: Refused) -> Error {
    let (code, message) = match why {
        Refused::BadProof => (
            ErrorCode::Unauthorized,
            "the cluster secrets differ: set the same ClusterSecret (config) or JETTRA_CLUSTER_SECRET on every node",
        ),
        Refused::WebPage => (ErrorCode::Forbidden, "calls between nodes are not for web pages"),
        _ => (ErrorCode::Unauthorized, "calls between nodes need a session: prove the cluster secret first"),
    };
    not_let_in(why.as_str(), Error::new(code, message))
}

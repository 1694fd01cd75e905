//! Calls from other nodes: `POST /raft/rpc/<call>`. Each proves its session first (see
//! [`crate::peers`]); strangers get no further than a nonce.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use jettra_client::wire::ErrorCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::App;
use super::answer::{self, Answer};
use super::gate::{self, ends, read_body};
use crate::auth::{Role, check_host_and_origin};
use crate::cluster::{ClusterCall, ClusterRequest, DigestRequest, Forward, JoinRequest};
use crate::error::{Error, Result};
use crate::peers::{
    IdentityAnswer, IdentityRequest, Key, Nonce, PEER_HEADER, ProveAnswer, ProveRequest, Refused, peer_is_ours,
};
use crate::raft::{Envelope, fetch, incoming};
use crate::state::names::shown;

/// The routes between nodes.
pub fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/raft/rpc/status", get(status).fallback(|| async { wrong_method("GET") }))
        .route("/raft/rpc/snapshot", post(snapshot).fallback(|| async { wrong_method("POST") }))
        .route("/raft/rpc/fetch-state", post(fetch_state).fallback(|| async { wrong_method("POST") }))
        .route("/raft/rpc/{call}", post(call).fallback(no_such_call))
}

/// Every call is a POST.
async fn no_such_call(Path(name): Path<String>) -> Response<Body> {
    if CALLS.contains(&name.as_str()) { wrong_method("POST") } else { answer::error(unknown_call(&name)) }
}

fn wrong_method(allowed: &str) -> Response<Body> {
    let message = format!("this call is a {allowed}");
    answer::error(Error::new(ErrorCode::Unsupported, message).with("allowed", allowed))
}

/// The calls that [`call`] answers.
const CALLS: &[&str] = &[
    "identity",
    "prove",
    "join",
    "register-me",
    "forward",
    "read-index",
    "machine",
    "nodes",
    "digests",
    "report",
    "doctor",
    "samples",
    "moved",
    "removed",
    "stop",
    "append",
    "vote",
    "pre-vote",
    "transfer",
];

fn unknown_call(name: &str) -> Error {
    Error::new(ErrorCode::Unsupported, format!("this version knows no call named {}", shown(name)))
}

/// `GET /raft/rpc/status`: the documents of `_clusternodes`, for administrators.
async fn status(State(app): State<Arc<App>>, request: axum::extract::Request) -> Response<Body> {
    let answered = async {
        let (parts, _) = request.into_parts();
        let ends = ends(&parts)?;
        check_host_and_origin(&parts.headers, parts.uri.authority().map(|a| a.as_str()), ends.local, &app.hosts)?;
        let origin = crate::auth::Origin::of(ends.peer, &parts.headers);
        let header = parts.headers.get("authorization").and_then(|v| v.to_str().ok());
        app.auth.principal(header, &origin).await?.require(Role::Admin)?;
        Answer::json(&app.cluster.members()?)
    };
    answered.await.map_or_else(answer::error, Answer::into_response)
}

/// An answer with the MAC of the session that asked.
struct Signed {
    body: Vec<u8>,
    by: Option<(Key, u64)>,
}

async fn call(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    request: axum::extract::Request,
) -> Response<Body> {
    let mut by = None;
    let answered = async {
        let (parts, body) = request.into_parts();
        let ends = ends(&parts)?;
        check_host_and_origin(&parts.headers, parts.uri.authority().map(|a| a.as_str()), ends.local, &app.hosts)?;
        let read = read_call(&app, &name, &parts.headers, body).await?;
        let body = read.bytes.clone();
        let caller = match parts.headers.get(PEER_HEADER) {
            Some(header) => {
                let header = header.to_str().unwrap_or_default();
                let admitted = app.cluster.sessions.admit(header, parts.uri.path(), &body).map_err(refused)?;
                by = Some((admitted.key, admitted.sequence));
                Caller::Member(admitted.from)
            }
            None => Caller::Stranger(ends),
        };
        answer_call(&app, &name, body, caller).await
    };
    match answered.await {
        Ok(body) => signed(Signed { body, by }),
        Err(e) => signed_error(e, by).await,
    }
}

/// An error, signed where the caller has a session: only then it believes that it was removed.
async fn signed_error(e: Error, by: Option<(Key, u64)>) -> Response<Body> {
    let response = answer::error(e);
    let Some((key, sequence)) = by else { return response };
    let (mut parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    if let Ok(mac) = HeaderValue::from_str(&key.answer(parts.status.as_u16(), sequence, &body)) {
        parts.headers.insert(PEER_HEADER, mac);
    }
    Response::from_parts(parts, Body::from(body))
}

/// Reads a call. Whoever has no session may say little and not slowly; a forward counts as a client's
/// request; the rest is bounded by what one append may carry, since replication must go on when
/// clients crowd in.
async fn read_call(app: &App, name: &str, headers: &HeaderMap, body: Body) -> Result<gate::Body> {
    let known = headers.get(PEER_HEADER).and_then(|v| v.to_str().ok()).is_some_and(|h| app.cluster.sessions.knows(h));
    if !known {
        if headers.contains_key(PEER_HEADER) {
            // Read on, so that the caller reads our answer: it opens a new session then.
            gate::discard(&mut body.into_data_stream()).await;
            return Err(refused(Refused::UnknownSession));
        }
        let read = tokio::time::timeout(STRANGER, axum::body::to_bytes(body, 16 << 10)).await;
        let read = read.map_err(|_| Error::bad_request("the call did not arrive in time"))?;
        return read.map(gate::Body::from).map_err(|e| Error::bad_request(format!("the call could not be read: {e}")));
    }
    // A command is its documents with names and ids around them.
    let limit = app.config.max_body_bytes.saturating_mul(2).max(32 << 20);
    if name == "forward" {
        return read_body(app, headers, body, limit).await;
    }
    let read = axum::body::to_bytes(body, limit).await;
    read.map(gate::Body::from).map_err(|e| Error::bad_request(format!("the call could not be read: {e}")))
}

/// How long a node that starts has to know whether it belongs to a cluster.
const WHOSE: std::time::Duration = std::time::Duration::from_secs(1);

/// How long somebody without a session may take for a call.
const STRANGER: std::time::Duration = std::time::Duration::from_secs(5);

enum Caller {
    /// Who proved the secret, by the Raft id it spoke for.
    Member(u64),
    /// Who did not.
    Stranger(super::gate::Ends),
}

impl Caller {
    fn member(&self) -> Result<u64> {
        match self {
            Caller::Member(id) => Ok(*id),
            Caller::Stranger(_) => Err(refused(Refused::UnknownSession)),
        }
    }

    /// Members; and, while this node has no secret, processes of the same user on this machine.
    async fn same_user_or_member(&self) -> Result<()> {
        let Caller::Stranger(ends) = self else { return Ok(()) };
        let (peer, local) = (ends.peer, ends.local);
        let ours = tokio::task::spawn_blocking(move || peer_is_ours(peer, local)).await.unwrap_or(false);
        if ours {
            return Ok(());
        }
        Err(Error::forbidden(
            "without a cluster secret only nodes of the same user on the same machine may do this: \
             set the same ClusterSecret (config) or JETTRA_CLUSTER_SECRET on every node",
        ))
    }
}

async fn answer_call(app: &Arc<App>, name: &str, body: Bytes, caller: Caller) -> Result<Vec<u8>> {
    let cluster = &app.cluster;
    match name {
        "identity" => {
            let request: IdentityRequest = parse(&body)?;
            let nonce = Nonce::parse(&request.nonce).ok_or_else(|| Error::bad_request("nonce: 16 to 64 hex digits"))?;
            let (session, ours) = cluster.sessions.begin(nonce);
            json_bytes(&IdentityAnswer {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                nonce: ours.as_str().to_owned(),
                session: cluster.secret().map(|_| session),
            })
        }
        "prove" => {
            let request: ProveRequest = parse(&body)?;
            // A node that has just started may be about to begin a cluster of its own.
            cluster.wait_whose(WHOSE).await;
            let proof = match cluster.secret() {
                Some(secret) => cluster.sessions.prove(&secret, &request).map_err(refused)?,
                None => {
                    caller.same_user_or_member().await?;
                    String::new()
                }
            };
            json_bytes(&ProveAnswer { proof, node: cluster.info() })
        }
        "join" => {
            let call: Envelope<JoinRequest> = parse(&body)?;
            if cluster.secret().is_some() {
                caller.member()?;
            } else if call.body.secret.is_none() {
                return Err(Error::forbidden("this node has no cluster secret: set ClusterSecret in its config.json"));
            }
            caller.same_user_or_member().await?;
            json_bytes(&cluster.join(call).await?)
        }
        "register-me" => {
            let call: Envelope<Value> = parse(&body)?;
            if cluster.hands_out_secret() {
                caller.same_user_or_member().await?;
            } else {
                caller.member()?;
            }
            let url =
                call.body.get("url").and_then(Value::as_str).ok_or_else(|| Error::bad_request("url is missing"))?;
            let call = ClusterCall::Register { url: url.to_owned(), description: None, asked: None };
            let request = ClusterRequest { call, dry_run: false };
            cluster.consensus()?;
            let cluster = cluster.clone();
            tokio::spawn(async move {
                let call = crate::cluster::Call::internal(std::time::Duration::from_secs(30));
                if let Err(e) = cluster.cluster_call(&call, request).await {
                    tracing::warn!(error = %e, "a node that asked to be registered was not");
                }
            });
            json_bytes(&json!({"status": "asked"}))
        }
        "forward" | "read-index" => {
            let call: Envelope<Forward> = parse(&body)?;
            incoming::check(&*cluster.consensus()?, &call, caller.member()?)?;
            json_bytes(&cluster.do_forwarded(call.body).await?)
        }
        "machine" => {
            let call: Envelope<Value> = parse(&body)?;
            incoming::check(&*cluster.consensus()?, &call, caller.member()?)?;
            json_bytes(&cluster.machine().await)
        }
        "nodes" => {
            let call: Envelope<Value> = parse(&body)?;
            incoming::check(&*cluster.consensus()?, &call, caller.member()?)?;
            json_bytes(&cluster.own_nodes()?)
        }
        "digests" => {
            let call: Envelope<DigestRequest> = parse(&body)?;
            incoming::check(&*cluster.consensus()?, &call, caller.member()?)?;
            json_bytes(&cluster.digests(call.body)?)
        }
        "report" => {
            let call: Envelope<Value> = parse(&body)?;
            incoming::check(&*cluster.consensus()?, &call, caller.member()?)?;
            json_bytes(&cluster.report().await)
        }
        "doctor" => {
            let call: Envelope<Value> = parse(&body)?;
            incoming::check(&*cluster.consensus()?, &call, caller.member()?)?;
            json_bytes(&cluster.doctor_here().await?)
        }
        "samples" => {
            let call: Envelope<Value> = parse(&body)?;
            incoming::check(&*cluster.consensus()?, &call, caller.member()?)?;
            json_bytes(&cluster.samples.after(call.body.get("after").and_then(Value::as_u64).unwrap_or(0)))
        }
        "moved" => {
            let call: Envelope<Value> = parse(&body)?;
            incoming::check(&*cluster.consensus()?, &call, caller.member()?)?;
            let url = call.body.get("url").and_then(Value::as_str);
            let url = url.ok_or_else(|| Error::bad_request("url is missing"))?;
            cluster.check_move(call.from, url).await?;
            json_bytes(&json!({"status": "noted"}))
        }
        "removed" => {
            let call: Envelope<Value> = parse(&body)?;
            incoming::check(&*cluster.consensus()?, &call, caller.member()?)?;
            let index = call.body.get("index").and_then(Value::as_u64).unwrap_or(0);
            tracing::warn!(from = call.from, index, "this node was removed from the cluster");
            cluster.peers.note_removed(index);
            json_bytes(&json!({"status": "noted"}))
        }
        "stop" => {
            let call: Envelope<Value> = parse(&body)?;
            incoming::check(&*cluster.consensus()?, &call, caller.member()?)?;
            tracing::info!(from = call.from, "asked to stop by the leader");
            cluster.ask_to_stop();
            json_bytes(&json!({"status": "stopping"}))
        }
        _ if !CALLS.contains(&name) => Err(unknown_call(name)),
        _ => {
            let proved = caller.member()?;
            // Raft's own calls are answered until the very end, so that leadership can move.
            let consensus = cluster.running().map_or_else(|| cluster.consensus(), Ok)?;
            incoming::call(&consensus, name, &body, proved).await
        }
    }
}

async fn snapshot(State(app): State<Arc<App>>, request: axum::extract::Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let header = parts.headers.get(PEER_HEADER).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let received = async {
        check_host_and_origin(
            &parts.headers,
            parts.uri.authority().map(|a| a.as_str()),
            ends(&parts)?.local,
            &app.hosts,
        )?;
        if !app.cluster.sessions.knows(&header) {
            return Err(refused(Refused::UnknownSession));
        }
        let consensus = app.cluster.consensus()?;
        let admit = |head: &[u8]| {
            let admitted = app.cluster.sessions.admit(&header, parts.uri.path(), head).map_err(refused)?;
            Ok((admitted.key, admitted.sequence, admitted.from))
        };
        incoming::snapshot(&consensus, body.into_data_stream(), admit).await
    };
    match received.await {
        Ok((body, key, sequence)) => signed(Signed { body, by: Some((key, sequence)) }),
        Err(e) => {
            tracing::warn!(error = %e, "a snapshot was not installed");
            answer::error(e)
        }
    }
}

/// The whole state, for a member that has lost its own.
async fn fetch_state(State(app): State<Arc<App>>, request: axum::extract::Request) -> Response<Body> {
    let mut by = None;
    let opened = async {
        let (parts, body) = request.into_parts();
        let ends = ends(&parts)?;
        check_host_and_origin(&parts.headers, parts.uri.authority().map(|a| a.as_str()), ends.local, &app.hosts)?;
        let body = read_call(&app, "fetch-state", &parts.headers, body).await?.bytes;
        let header = parts.headers.get(PEER_HEADER).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let admitted = app.cluster.sessions.admit(header, parts.uri.path(), &body).map_err(refused)?;
        by = Some((admitted.key.clone(), admitted.sequence));
        let consensus = app.cluster.consensus()?;
        let call: Envelope<u64> = parse(&body)?;
        incoming::check(&consensus, &call, admitted.from)?;
        let state = consensus.state();
        let pinned = state.clone();
        let pin = tokio::task::spawn_blocking(move || pinned.pin()).await;
        let pin = pin.map_err(|e| Error::internal(e.to_string()))?;
        if pin.index().is_none_or(|index| index < call.body) {
            return Err(Error::unavailable("this member's state is older than what the caller needs: ask another one"));
        }
        tracing::info!(to = admitted.from, "sending the state to a member that has lost its own");
        Ok(fetch::stream(state, pin, admitted.key, admitted.sequence))
    };
    match opened.await {
        Ok(stream) => Response::new(Body::from_stream(stream)),
        Err(e) => signed_error(e, by).await,
    }
}

fn signed(answer: Signed) -> Response<Body> {
    let mac = answer.by.map(|(key, sequence)| key.answer(200, sequence, &answer.body));
    let mut response = Answer::raw_json(answer.body.into()).into_response();
    if let Some(mac) = mac.and_then(|mac| HeaderValue::from_str(&mac).ok()) {
        response.headers_mut().insert(PEER_HEADER, mac);
    }
    response
}

fn refused(why: Refused) -> Error {
    metrics::counter!("jettra_rpc_refused_total", "reason" => why.as_str()).increment(1);
    let message = match why {
        Refused::BadProof => {
            "the cluster secrets differ: set the same ClusterSecret (config) or JETTRA_CLUSTER_SECRET on every node"
        }
        _ => "calls between nodes need a session: prove the cluster secret first",
    };
    let error = Error::new(ErrorCode::Unauthorized, message);
    // A caller with a session that is gone opens a new one and tries once more.
    if why == Refused::UnknownSession {
        error.with("session", why.as_str())
    } else {
        error.with("reason", why.as_str())
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|e| Error::bad_request(format!("not a call of this version: {e}")))
}

fn json_bytes(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Error::internal(e.to_string()))
}

//! Calls from other nodes: `POST /raft/rpc/<call>`, each a row of a table that says who may make it and how much it may
//! bring. Around them: [`crate::peers`] opens what is sealed, and seals the answer. Strangers get no further than a nonce.
//!
//! - `entry`: the way of a call from the connection to its row and back
//! - `handshake`: `identity`, `prove`
//! - `joining`: how a node becomes a member, moves and leaves
//! - `work`: what a leader is asked to do or to confirm
//! - `views`: how a node is, and what it holds
//! - `raft`: Raft's own calls, and a whole state in either direction

mod entry;
mod handshake;
mod joining;
mod raft;
mod views;
mod work;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use jettra_client::wire::ErrorCode;
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::entry::Stranger;
use super::App;
use super::answer::{self, Answer};
use super::gate::{authority, origin};
use crate::auth::{Basis, Role, check_one_host, check_page};
use crate::error::{Error, Result};
use crate::peers::Admitted;
use crate::raft::{Consensus, Envelope, incoming};
use crate::state::names::shown;

/// Who may make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// Everybody who gets to the port.
    Stranger,
    /// A process of this user on this machine, as long as the cluster's secret was made and not configured; and members.
    SameUser,
    /// Who has proved the cluster's secret.
    Member,
}

/// What a call's body may take. Strangers may send little, whatever they call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    /// Little.
    Little,
    /// As a client's request, and counted as one.
    Request,
    /// What one append may carry: replication must go on when clients crowd in.
    Replication,
}

/// Who makes a call.
enum Caller {
    /// Who has proved the secret.
    Member(Admitted),
    /// Who has not; whether it is a process of this user was looked up where the row asks for it.
    Stranger(Stranger),
}

impl Caller {
    /// The Raft id that the caller proved to speak for.
    fn member(&self) -> Result<u64> {
        match self {
            Caller::Member(admitted) => Ok(admitted.from),
            Caller::Stranger(_) => Err(entry::refused(crate::peers::Refused::UnknownSession)),
        }
    }
}

/// An answer to come.
type Answering<T> = BoxFuture<'static, Result<T>>;

/// What does a call.
enum Handler {
    /// From a whole body to a whole answer.
    Whole(fn(Arc<App>, Caller, Bytes) -> Answering<Vec<u8>>),
    /// From a body that is a stream: its head is opened by the handler.
    Receives(fn(Arc<App>, entry::Incoming) -> Answering<Vec<u8>>),
    /// To an answer that is a stream.
    Sends(fn(Arc<App>, Admitted, Bytes) -> Answering<Body>),
}

/// One row of the table.
struct Call {
    name: &'static str,
    who: Who,
    bound: Bound,
    handler: Handler,
}

macro_rules! call {
    ($name:literal, $who:ident, $bound:ident, $handler:path) => {
        call!($name, $who, $bound, Whole(app, caller, body), $handler(&app, caller, body))
    };
    ($name:literal, $who:ident, $bound:ident, $kind:ident($app:ident $(, $argument:ident)*), $done:expr) => {
        Call {
            name: $name,
            who: Who::$who,
            bound: Bound::$bound,
            handler: Handler::$kind(|$app $(, $argument)*| Box::pin(async move { $done.await })),
        }
    };
}

/// Every call.
const CALLS: &[Call] = &[
    call!("identity", Stranger, Little, handshake::identity),
    call!("prove", Stranger, Little, handshake::prove),
    call!("join", SameUser, Little, joining::join),
    call!("register-me", SameUser, Little, joining::register_me),
    call!("moved", Member, Little, joining::moved),
    call!("removed", Member, Little, joining::removed),
    call!("stop", Member, Little, joining::stop),
    call!("forward", Member, Request, work::forward),
    call!("read-index", Member, Little, work::forward),
    call!("machine", Member, Little, views::machine),
    call!("nodes", Member, Little, views::nodes),
    call!("digests", Member, Little, views::digests),
    call!("report", Member, Little, views::report),
    call!("doctor", Member, Little, views::doctor),
    call!("samples", Member, Little, views::samples),
    call!("append", Member, Replication, raft::append),
    call!("vote", Member, Little, raft::vote),
    call!("pre-vote", Member, Little, raft::pre_vote),
    call!("transfer", Member, Little, raft::transfer),
    call!("snapshot", Member, Replication, Receives(app, incoming), raft::snapshot(&app, incoming)),
    call!("fetch-state", Member, Little, Sends(app, admitted, body), raft::fetch_state(&app, admitted, body)),
];

impl Call {
    fn named(name: &str) -> Option<&'static Call> {
        CALLS.iter().find(|call| call.name == name)
    }
}

/// The routes between nodes.
pub fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/raft/rpc/status", get(status).fallback(|| async { wrong_method("GET") }))
        .route("/raft/rpc/{call}", post(entry::enter).fallback(no_such_call))
}

/// Every call is a POST.
async fn no_such_call(Path(name): Path<String>) -> Response<Body> {
    if Call::named(&name).is_some() { wrong_method("POST") } else { answer::error(unknown_call(&name)) }
}

fn wrong_method(allowed: &str) -> Response<Body> {
    let message = format!("this call is a {allowed}");
    answer::error(Error::new(ErrorCode::Unsupported, message).with("allowed", allowed))
}

fn unknown_call(name: &str) -> Error {
    let message = format!("this version knows no call named {}", shown(name));
    crate::peers::not_let_in("unknown_call", Error::new(ErrorCode::Unsupported, message))
}

/// `GET /raft/rpc/status`: the documents of `_clusternodes`, for administrators.
async fn status(State(app): State<Arc<App>>, request: axum::extract::Request) -> Response<Body> {
    let answered = async {
        let (parts, _) = request.into_parts();
        check_one_host(&parts.headers)?;
        check_page(&parts.headers, authority(&parts))?;
        let origin = origin(&app, &parts, false)?;
        let header = parts.headers.get("authorization").and_then(|v| v.to_str().ok());
        app.auth.principal(header, &origin, Basis::ThisNode).await?.require(Role::Admin)?;
        Answer::json(&app.cluster.shown_members()?)
    };
    answered.await.map_or_else(answer::error, Answer::into_response)
}

/// A call between members, checked: from whom it says, and to this node.
fn between_members<T: DeserializeOwned>(app: &App, from: u64, body: &[u8]) -> Result<(Arc<Consensus>, Envelope<T>)> {
    let call: Envelope<T> = parse(body)?;
    let consensus = app.cluster.consensus()?;
    incoming::check(&consensus, &call, from)?;
    Ok((consensus, call))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|e| incoming::unreadable(&e))
}

fn json_bytes(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Error::internal(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_one_row_and_strangers_two() {
        let mut names: Vec<_> = CALLS.iter().map(|call| call.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CALLS.len());
        let of = |who| CALLS.iter().filter(|call| call.who == who).map(|call| call.name).collect::<Vec<_>>();
        assert_eq!(of(Who::Stranger), ["identity", "prove"]);
        assert_eq!(of(Who::SameUser), ["join", "register-me"]);
    }
}

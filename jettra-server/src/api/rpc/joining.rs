//! How a node becomes a member, moves and leaves.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Caller, between_members, json_bytes, parse};
use crate::api::App;
use crate::cluster::JoinRequest;
use crate::error::{Error, Result};
use crate::raft::Envelope;

/// Where a node is.
#[derive(Deserialize)]
struct At {
    url: String,
}

/// Where a node is, and what it wants to be.
#[derive(Deserialize)]
struct Joiner {
    url: String,
    /// Versions that know no replicas do not say it.
    #[serde(default = "yes")]
    voter: bool,
}

fn yes() -> bool {
    true
}

/// The log index by which a node was removed.
#[derive(Deserialize)]
struct Removed {
    #[serde(default)]
    index: u64,
}

#[derive(Serialize)]
struct Done {
    status: &'static str,
}

/// `join`: a leader tells this node which member it is.
pub(super) async fn join(app: &Arc<App>, caller: Caller, body: Bytes) -> Result<Vec<u8>> {
    let call: Envelope<JoinRequest> = parse(&body)?;
    if app.cluster.secrets().is_some() {
        caller.member()?;
    } else if call.body.secret.is_none() {
        return Err(Error::forbidden("this node has no cluster secret: set ClusterSecret in its config.json"));
    }
    json_bytes(&app.cluster.join(call).await?)
}

/// `register-me`: a node that is no member asks to become one.
pub(super) async fn register_me(app: &Arc<App>, _: Caller, body: Bytes) -> Result<Vec<u8>> {
    let call: Envelope<Joiner> = parse(&body)?;
    app.cluster.consensus()?;
    app.cluster.register_soon(call.body.url, call.body.voter)?;
    json_bytes(&Done { status: "asked" })
}

/// `moved`: a member says where it is now.
pub(super) async fn moved(app: &Arc<App>, caller: Caller, body: Bytes) -> Result<Vec<u8>> {
    let (_, call) = between_members::<At>(app, caller.member()?, &body)?;
    app.cluster.check_move(call.from, &call.body.url).await?;
    json_bytes(&Done { status: "noted" })
}

/// `removed`: this node is no member any more.
pub(super) async fn removed(app: &Arc<App>, caller: Caller, body: Bytes) -> Result<Vec<u8>> {
    let (_, call) = between_members::<Removed>(app, caller.member()?, &body)?;
    let index = call.body.index;
    tracing::warn!(from = call.from, index, "this node was removed from the cluster");
    app.cluster.peers.note_removed(index);
    json_bytes(&Done { status: "noted" })
}

/// `stop`: the leader was asked to stop this node.
pub(super) async fn stop(app: &Arc<App>, caller: Caller, body: Bytes) -> Result<Vec<u8>> {
    let (_, call) = between_members::<Nothing>(app, caller.member()?, &body)?;
    tracing::info!(from = call.from, "asked to stop by the leader");
    app.cluster.ask_to_stop();
    json_bytes(&Done { status: "stopping" })
}

/// The body of a call that brings nothing.
#[derive(Deserialize)]
pub(super) struct Nothing {}

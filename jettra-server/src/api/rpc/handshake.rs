//! How another node opens a session with this one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::entry::{Stranger, busy, refused};
use super::{Caller, json_bytes, parse};
use crate::api::App;
use crate::error::{Error, Result};
use crate::peers::{
    Handshake, IdentityAnswer, IdentityRequest, Nonce, ProveAnswer, ProveRequest, RPC_VERSION, Refused, Secret, Secrets,
};

/// How long a node that starts has to know whether it belongs to a cluster: before it begins one it listens for a second.
const WHOSE: Duration = Duration::from_millis(1_500);

/// `identity`: a nonce, and nothing that is kept here.
pub(super) async fn identity(app: &Arc<App>, _: Caller, body: Bytes) -> Result<Vec<u8>> {
    let request: IdentityRequest = parse(&body)?;
    let caller = Nonce::parse(&request.nonce).ok_or_else(|| Error::bad_request("nonce: 16 to 64 hex digits"))?;
    json_bytes(&IdentityAnswer {
        rpc_version: RPC_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        nonce: app.cluster.sessions.nonce(&caller).as_str().to_owned(),
        secret: app.cluster.secrets().is_some(),
    })
}

/// `prove`: opens a session for who knows the secret; a process of the same user is told who this node is while it has
/// none.
pub(super) async fn prove(app: &Arc<App>, caller: Caller, body: Bytes) -> Result<Vec<u8>> {
    let request: ProveRequest = parse(&body)?;
    let Caller::Stranger(stranger) = caller else {
        return Err(Error::bad_request("there is a session already"));
    };
    let cluster = &app.cluster;
    if request.to == 0 {
        // A node that has just started may be about to begin a cluster of its own.
        cluster.wait_whose(WHOSE).await;
    }
    let Some(secrets) = cluster.secrets() else {
        stranger.is_same_user().await?;
        cluster.note_claim(&request);
        return json_bytes(&ProveAnswer { proof: String::new(), removed: None, node: own_info(app)? });
    };
    let secret = match proved(app, &stranger, &secrets, &request).await {
        Ok(secret) => secret,
        Err(e) => {
            // This cluster has made its secret itself, so another one that was begun on this machine has another secret.
            if request.to != 0 && cluster.hands_out_secret() && stranger.is_same_user().await.is_ok() {
                cluster.note_claim(&request);
            }
            return Err(e);
        }
    };
    let removed = cluster.may_open_session(&request, stranger.ends.local).await?;
    if removed.is_none() {
        cluster.sessions.open(secret, &request, stranger.ends.peer.ip()).map_err(refused)?;
    }
    let node = own_info(app)?;
    let proof = Handshake::of(&request).called_proof(secret, node.get(), removed);
    json_bytes(&ProveAnswer { proof, removed, node })
}

/// The secret that `request` proves. Wrong ones are counted, told, and taken at a pace that keeps members in.
async fn proved<'a>(
    app: &App,
    stranger: &Stranger,
    secrets: &'a Secrets,
    request: &ProveRequest,
) -> Result<&'a Secret> {
    let (sessions, peer) = (&app.cluster.sessions, stranger.ends.peer);
    if !sessions.is_under_way(request) {
        return Err(refused(Refused::UnknownSession));
    }
    let lane = sessions.lane(peer.ip());
    if !lane.take().await {
        return Err(busy());
    }
    let checked = sessions.check(secrets, request);
    match checked {
        Ok(_) => lane.give_back(),
        Err(_) => sessions.guessed.tell(move |times| {
            tracing::warn!(times, from = %peer, "proofs of a cluster secret that is not this one");
        }),
    }
    checked.map_err(refused)
}

fn own_info(app: &App) -> Result<Box<RawValue>> {
    serde_json::value::to_raw_value(&app.cluster.info()).map_err(|e| Error::internal(e.to_string()))
}

//! Raft's own calls, and a whole state in either direction.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;

use super::entry::Incoming;
use super::{Caller, between_members};
use crate::api::App;
use crate::error::{Error, Result};
use crate::peers::Admitted;
use crate::raft::{fetch, incoming};

macro_rules! raft_calls {
    ($($(#[$doc:meta])* $name:ident = $call:literal;)*) => {
        $($(#[$doc])* pub(super) async fn $name(app: &Arc<App>, caller: Caller, body: Bytes) -> Result<Vec<u8>> {
            // They are answered until the very end, so that leadership can move.
            let consensus = app.cluster.running().map_or_else(|| app.cluster.consensus(), Ok)?;
            incoming::call(&consensus, $call, &body, caller.member()?).await
        })*
    };
}

raft_calls! {
    /// `append`: entries of the log, or a heartbeat.
    append = "append";
    /// `vote`: an election.
    vote = "vote";
    /// `pre-vote`: whether an election would be won.
    pre_vote = "pre-vote";
    /// `transfer`: the leader hands over.
    transfer = "transfer";
}

/// `snapshot`: a whole state from the leader, in place of a log that it has purged.
pub(super) async fn snapshot(app: &Arc<App>, call: Incoming) -> Result<Vec<u8>> {
    let consensus = app.cluster.consensus()?;
    let (stream, head) = (call.stream, call.head);
    let mut was_let_in = false;
    let admit = |sealed: Bytes| {
        let opened = head.admit(app, sealed)?;
        was_let_in = true;
        Ok(opened)
    };
    let received = incoming::snapshot(&consensus, stream, admit).await;
    if let Err(e) = &received
        && was_let_in
    {
        tracing::warn!(error = %e, "a snapshot was not installed");
    }
    received
}

/// `fetch-state`: the whole state, for a member that has lost its own and needs what stands at an index or behind it.
pub(super) async fn fetch_state(app: &Arc<App>, admitted: Admitted, body: Bytes) -> Result<Body> {
    let (consensus, call) = between_members::<u64>(app, admitted.from, &body)?;
    let state = consensus.state();
    let pinned = state.clone();
    let pin = tokio::task::spawn_blocking(move || pinned.pin()).await;
    let pin = pin.map_err(|e| Error::internal(e.to_string()))?;
    if pin.index().is_none_or(|index| index < call.body) {
        return Err(Error::unavailable("this member's state is older than what the caller needs: ask another one"));
    }
    tracing::info!(to = admitted.from, "sending the state to a member that has lost its own");
    Ok(Body::from_stream(fetch::stream(state, pin, admitted.key.stream(admitted.sequence))))
}

//! What a leader is asked to do, or to confirm, for a client of another node.

use std::sync::Arc;

use bytes::Bytes;

use super::{Caller, between_members, json_bytes};
use crate::api::App;
use crate::cluster::Forward;
use crate::error::Result;

/// `forward`, `read-index`: the work that the body says. They are two so that a read's round is told from a write by its
/// path, and needs no room of those.
pub(super) async fn forward(app: &Arc<App>, caller: Caller, body: Bytes) -> Result<Vec<u8>> {
    let (_, call) = between_members::<Forward>(app, caller.member()?, &body)?;
    json_bytes(&app.cluster.do_forwarded(call.body).await?)
}

//! How this node is, and what it holds, for other members.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;

use super::joining::Nothing;
use super::{Caller, between_members, json_bytes};
use crate::api::App;
use crate::cluster::DigestRequest;
use crate::error::Result;

/// Since when figures are wanted, in milliseconds of the leader's clock.
#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
    /// The caller's clock.
    #[serde(default)]
    clock: u64,
}

/// `machine`: figures of the machine.
pub(super) async fn machine(app: &Arc<App>, caller: Caller, body: Bytes) -> Result<Vec<u8>> {
    between_members::<Nothing>(app, caller.member()?, &body)?;
    json_bytes(&app.cluster.machine().await)
}

/// `nodes`: the members as this node sees them.
pub(super) async fn nodes(app: &Arc<App>, caller: Caller, body: Bytes) -> Result<Vec<u8>> {
    between_members::<Nothing>(app, caller.member()?, &body)?;
    json_bytes(&app.cluster.own_nodes()?)
}

/// `digests`: the digests of what this node holds.
pub(super) async fn digests(app: &Arc<App>, caller: Caller, body: Bytes) -> Result<Vec<u8>> {
    let (_, call) = between_members::<DigestRequest>(app, caller.member()?, &body)?;
    json_bytes(&app.cluster.digests(call.body)?)
}

/// `report`: how this node is.
pub(super) async fn report(app: &Arc<App>, caller: Caller, body: Bytes) -> Result<Vec<u8>> {
    between_members::<Nothing>(app, caller.member()?, &body)?;
    json_bytes(&app.cluster.report().await)
}

/// `doctor`: what is wrong with the cluster, as this node sees it.
pub(super) async fn doctor(app: &Arc<App>, caller: Caller, body: Bytes) -> Result<Vec<u8>> {
    between_members::<Nothing>(app, caller.member()?, &body)?;
    json_bytes(&app.cluster.doctor_here().await?)
}

/// `samples`: what the cluster did of late.
pub(super) async fn samples(app: &Arc<App>, caller: Caller, body: Bytes) -> Result<Vec<u8>> {
    let (_, call) = between_members::<After>(app, caller.member()?, &body)?;
    if call.body.clock == 0 {
        return json_bytes(&app.cluster.samples.after(call.body.after));
    }
    json_bytes(&app.cluster.tell_samples(call.from, call.body.after, call.body.clock))
}

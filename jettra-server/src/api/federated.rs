//! The cluster in the shape, and at the paths, that clients of the federated mode of old know.

use std::sync::Arc;

use super::answer::Answer;
use super::request::Request;
use super::{Access, App, Route, cluster, route, sessions};
use crate::auth::Role;
use crate::error::{Error, Result};

pub(super) const ROUTES: &[Route] = &[
    route!(GET "/api/federated", Access::Role(Role::Reader), Plain, [], "the cluster, in the shape that old clients read", federated),
    route!(GET "/api/federated/node-leader", Access::Role(Role::Reader), Plain, [], "the leader's entry of it", node_leader),
    route!(GET "/api/federated/config", Access::Role(Role::Reader), Plain, [], "the URLs of the members", federated_config),
    route!(GET "/federated/status", Access::Role(Role::Reader), Plain, [], "the same as GET /api/federated", federated),
    route!(GET "/federated/node-leader", Access::Role(Role::Reader), Plain, [], "the same as GET /api/federated/node-leader", node_leader),
    route!(POST "/federated/login", Access::Public, Plain, [], "the same as POST /api/login", sessions::login),
    route!(POST "/federated/addPeer", Access::Role(Role::Admin), Membership, [], "the same as POST /api/cluster/register", cluster::register),
    route!(POST "/federated/removePeer", Access::Role(Role::Admin), Membership, [], "the same as POST /api/cluster/deregister", cluster::deregister),
    route!(POST "/federated/stop", Access::Role(Role::Admin), Membership, [], "the same as POST /api/cluster/stop", cluster::stop),
];

async fn federated(app: &Arc<App>, _: Request) -> Result<Answer> {
    Answer::json(&app.cluster.federated().await?)
}

async fn node_leader(app: &Arc<App>, _: Request) -> Result<Answer> {
    let view = app.cluster.federated().await?;
    let leader = view.nodes.into_iter().find(|n| Some(&n.id) == view.leader_id.as_ref());
    Answer::json(&leader.ok_or_else(|| Error::not_found("there is no leader now: try again in a moment"))?)
}

async fn federated_config(app: &Arc<App>, _: Request) -> Result<Answer> {
    Answer::json(&app.cluster.federated_config()?)
}

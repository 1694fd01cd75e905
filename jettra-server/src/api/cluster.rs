//! Routes about the cluster: who belongs, and changes of it.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::answer::Answer;
use super::request::Request;
use super::{Access, App, Route, route};
use crate::auth::Role;
use crate::cluster::ClusterCall;
use crate::error::{Error, Result};

pub(super) const ROUTES: &[Route] = &[
    route!(GET "/api/cluster", Access::Role(Role::Reader), [], "the cluster as this node sees it", show),
    route!(POST "/api/cluster/register", Access::Role(Role::Admin), [], "makes the node at a URL a member", register),
    route!(POST "/api/cluster/deregister", Access::Role(Role::Admin), ["dry_run?"], "makes a node a member no more; dry_run=true: says what it would cost", deregister),
    route!(POST "/api/cluster/stop", Access::Role(Role::Admin), ["dry_run?"], "ends a node's process; dry_run=true: says what it would cost", stop),
    route!(POST "/api/cluster/transfer", Access::Role(Role::Admin), [], "hands leadership to a node", transfer),
    route!(GET "/api/federated", Access::Role(Role::Reader), [], "the cluster, in the shape that old clients read", federated),
    route!(GET "/api/federated/node-leader", Access::Role(Role::Reader), [], "the leader's entry of it", node_leader),
    route!(GET "/api/federated/config", Access::Role(Role::Reader), [], "the URLs of the members", federated_config),
];

async fn show(app: &Arc<App>, _: Request) -> Result<Answer> {
    Answer::json(&app.cluster.view().await?)
}

#[derive(Deserialize)]
struct Register {
    url: Option<String>,
    description: Option<String>,
}

#[derive(Deserialize)]
struct Node {
    node: Option<String>,
    url: Option<String>,
    #[serde(default)]
    force: bool,
}

impl Node {
    fn named(self) -> Result<(String, bool)> {
        let node = self.node.or(self.url);
        let node = node.ok_or_else(|| Error::bad_request("node is missing: give a node's id or URL as \"node\""))?;
        Ok((node, self.force))
    }
}

async fn register(app: &Arc<App>, request: Request) -> Result<Answer> {
    let body: Register = request.json()?;
    let url = body.url.ok_or_else(|| Error::bad_request("url is missing: give the new node's URL as \"url\""))?;
    if body.description.as_ref().is_some_and(|d| d.len() > 1000) {
        return Err(Error::bad_request("description: it has 1000 bytes at most"));
    }
    no_dry_run(&request)?;
    run(app, &request, ClusterCall::Register { url, description: body.description }, 60).await
}

async fn deregister(app: &Arc<App>, request: Request) -> Result<Answer> {
    let (node, force) = request.json::<Node>()?.named()?;
    if is_dry_run(&request)? {
        return run(app, &request, ClusterCall::Plan { node, remove: true }, 10).await;
    }
    run(app, &request, ClusterCall::Deregister { node, force }, 30).await
}

async fn stop(app: &Arc<App>, request: Request) -> Result<Answer> {
    let (node, force) = request.json::<Node>()?.named()?;
    if is_dry_run(&request)? {
        return run(app, &request, ClusterCall::Plan { node, remove: false }, 10).await;
    }
    run(app, &request, ClusterCall::Stop { node, force }, 15).await
}

async fn transfer(app: &Arc<App>, request: Request) -> Result<Answer> {
    let (node, _) = request.json::<Node>()?.named()?;
    no_dry_run(&request)?;
    run(app, &request, ClusterCall::Transfer { node }, 15).await
}

/// Whether the caller only asks what would happen.
fn is_dry_run(request: &Request) -> Result<bool> {
    Ok(request.query.parsed("dry_run", "true or false")?.unwrap_or(false))
}

/// Refuses a dry run where this version has none: it would be the real thing.
fn no_dry_run(request: &Request) -> Result<()> {
    if is_dry_run(request)? {
        return Err(Error::bad_request("dry_run is for deregister and stop: leave it out"));
    }
    Ok(())
}

/// Membership calls take longer than documents: they have `seconds` unless the request says less.
async fn run(app: &Arc<App>, request: &Request, call: ClusterCall, seconds: u64) -> Result<Answer> {
    if !app.config.distributed {
        return Err(Error::conflict(
            "this node is standalone: set \"distributed\": true in its config.json and restart it",
        ));
    }
    let mut limit = request.call.clone();
    if request.query.get("timeout").is_none() {
        limit.deadline = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
    }
    let answer: Value = app.cluster.cluster_call(&limit, call).await?;
    Answer::json(&answer)
}

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

//! Routes about the cluster: who belongs, and changes of it.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::answer::Answer;
use super::request::Request;
use super::{Access, App, Route, route};
use crate::auth::Role;
use crate::cluster::{ClusterCall, ClusterRequest};
use crate::error::{Error, Result};
use crate::state::names::shown;
use crate::state::{Command, Op, Settings};
use jettra_client::wire::ErrorCode;

pub(super) const ROUTES: &[Route] = &[
    route!(GET "/api/cluster", Access::Role(Role::Reader), Plain, [], "the cluster as this node sees it", show),
    route!(POST "/api/cluster/register", Access::Role(Role::Admin), Membership, [], "makes the node at a URL a member; voter=false in the body: a read replica", register),
    route!(POST "/api/cluster/promote", Access::Role(Role::Admin), Membership, [], "makes a read replica a voter", promote),
    route!(POST "/api/cluster/demote", Access::Role(Role::Admin), Membership, [], "makes a voter a read replica", demote),
    route!(POST "/api/cluster/deregister", Access::Role(Role::Admin), Membership, [], "makes a node a member no more", deregister),
    route!(POST "/api/cluster/stop", Access::Role(Role::Admin), Membership, [], "ends a node's process", stop),
    route!(POST "/api/cluster/pause", Access::Role(Role::Admin), Membership, [], "lets a node lead no more; it stays a member and votes", pause),
    route!(POST "/api/cluster/resume", Access::Role(Role::Admin), Membership, [], "lets a paused node lead again", resume),
    route!(POST "/api/cluster/upgrade", Access::Role(Role::Admin), Membership, [], "raises the feature level to what all members support", upgrade),
    route!(GET "/api/cluster/settings", Access::Role(Role::Admin), Read, [], "the replicated settings", settings),
    route!(PUT "/api/cluster/settings", Access::Role(Role::Admin), Write, [], "changes those settings that the body names", change_settings),
    route!(POST "/api/cluster/transfer", Access::Role(Role::Admin), Membership, [], "hands leadership to a node", transfer),
    route!(GET "/api/cluster/safe-to-stop", Access::Role(Role::Admin), Plain, ["node"], "200 if a node may stop without cost to the majority, else 409", safe_to_stop),
];

async fn show(app: &Arc<App>, _: Request) -> Result<Answer> {
    Answer::json(&app.cluster.view().await?)
}

#[derive(Deserialize)]
struct Register {
    url: Option<String>,
    description: Option<String>,
    voter: Option<bool>,
}

#[derive(Deserialize)]
struct Node {
    #[serde(alias = "id")]
    node: Option<String>,
    url: Option<String>,
    #[serde(default)]
    force: bool,
}

impl Node {
    fn named(self) -> Result<(String, bool)> {
        let node = self.node.or(self.url);
        let node =
            node.ok_or_else(|| Error::bad_request("node is missing: give a node's id, URL or host:port as \"node\""))?;
        Ok((node, self.force))
    }
}

pub(super) async fn register(app: &Arc<App>, request: Request) -> Result<Answer> {
    let body: Register = request.json()?;
    let url = body.url.ok_or_else(|| Error::bad_request("url is missing: give the new node's URL as \"url\""))?;
    if body.description.as_ref().is_some_and(|d| d.len() > 1000) {
        return Err(Error::bad_request("description: it has 1000 bytes at most"));
    }
    let asked = Some(app.cluster.url().to_owned());
    let (description, voter) = (body.description, body.voter);
    run(app, &request, ClusterCall::Register { url, description, asked, voter }, 60).await
}

async fn promote(app: &Arc<App>, request: Request) -> Result<Answer> {
    let (node, _) = request.json::<Node>()?.named()?;
    run(app, &request, ClusterCall::Promote { node }, 60).await
}

async fn demote(app: &Arc<App>, request: Request) -> Result<Answer> {
    let (node, _) = request.json::<Node>()?.named()?;
    run(app, &request, ClusterCall::Demote { node }, 30).await
}

pub(super) async fn deregister(app: &Arc<App>, request: Request) -> Result<Answer> {
    let (node, force) = request.json::<Node>()?.named()?;
    run(app, &request, ClusterCall::Deregister { node, force }, 30).await
}

pub(super) async fn stop(app: &Arc<App>, request: Request) -> Result<Answer> {
    let (node, force) = request.json::<Node>()?.named()?;
    if !app.config.distributed {
        let done = app.cluster.stop_alone(&node, &request.principal.name, is_dry_run(&request)?).await?;
        return Answer::json(&done);
    }
    run(app, &request, ClusterCall::Stop { node, force }, 15).await
}

async fn pause(app: &Arc<App>, request: Request) -> Result<Answer> {
    let (node, _) = request.json::<Node>()?.named()?;
    run(app, &request, ClusterCall::Pause { node }, 15).await
}

async fn resume(app: &Arc<App>, request: Request) -> Result<Answer> {
    let (node, _) = request.json::<Node>()?.named()?;
    run(app, &request, ClusterCall::Resume { node }, 15).await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Upgrade {
    feature_level: Option<u64>,
}

async fn upgrade(app: &Arc<App>, request: Request) -> Result<Answer> {
    let body: Upgrade = if request.body.is_empty() { Upgrade { feature_level: None } } else { request.json()? };
    run(app, &request, ClusterCall::Upgrade { level: body.feature_level }, 15).await
}

async fn settings(app: &Arc<App>, request: Request) -> Result<Answer> {
    let index = request.ready_to_read(app).await?;
    Ok(Answer::json(&*app.cluster.state()?.settings())?.index(index))
}

async fn change_settings(app: &Arc<App>, request: Request) -> Result<Answer> {
    let changes: Map<String, Value> = request.json()?;
    Settings::check(&changes)?;
    let names: Vec<&str> = changes.keys().map(String::as_str).collect();
    if !names.is_empty() {
        app.cluster.note_asked(&request.principal.name, "change", &names.join(", ")).await;
    }
    let command = Command { request: request.key()?, op: Op::SetSettings(changes) };
    let done = app.cluster.write(&request.call, &command).await?;
    done.outcome.into_result()?;
    app.cluster.consensus()?.wait_applied(done.index, request.call.left()).await;
    Ok(Answer::json(&*app.cluster.state()?.settings())?.index(done.index))
}

async fn safe_to_stop(app: &Arc<App>, request: Request) -> Result<Answer> {
    let node = request.query.required("node")?.to_owned();
    distributed(app)?;
    let call = ClusterCall::Stop { node: node.clone(), force: false };
    let mut verdict = app.cluster.cluster_call(&request.call, ClusterRequest { call, dry_run: true }).await?;
    if verdict["allowed"] == Value::Bool(true) {
        verdict["safe"] = Value::Bool(true);
        return Answer::json(&verdict);
    }
    let reason = verdict["reason"].as_str().unwrap_or("it would cost the majority").to_owned();
    let next = verdict["next"].as_str().unwrap_or_default().to_owned();
    Err(Error::new(ErrorCode::QuorumAtRisk, format!("{} is not safe to stop: {reason}; next: {next}", shown(&node)))
        .with("before", verdict["before"].take())
        .with("after", verdict["after"].take())
        .with("next", next))
}

async fn transfer(app: &Arc<App>, request: Request) -> Result<Answer> {
    let (node, _) = request.json::<Node>()?.named()?;
    run(app, &request, ClusterCall::Transfer { node }, 15).await
}

fn distributed(app: &App) -> Result<()> {
    if app.config.distributed {
        return Ok(());
    }
    Err(Error::conflict("this node is standalone: set \"distributed\": true in its config.json and restart it"))
}

fn is_dry_run(request: &Request) -> Result<bool> {
    Ok(request.query.parsed::<bool>("dry_run", "true or false")?.unwrap_or(false))
}

/// Membership calls take longer than documents: they have `seconds` unless the request says less.
async fn run(app: &Arc<App>, request: &Request, call: ClusterCall, seconds: u64) -> Result<Answer> {
    distributed(app)?;
    let dry_run = is_dry_run(request)?;
    let mut limit = request.call.clone();
    if request.query.get("timeout").is_none() {
        limit.deadline = std::time::Instant::now() + std::time::Duration::from_secs(seconds);
    }
    let answer: Value = app.cluster.cluster_call(&limit, ClusterRequest { call, dry_run }).await?;
    Answer::json(&answer)
}

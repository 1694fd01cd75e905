//! Making one cluster out of the demo's nodes, over HTTP as a person would do it with curl.

use std::future::Future;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::site::NodeSite;
use super::{DemoError, POLL};

/// The longest wait for one answer. Registering waits until the node votes, 30 s at most.
const ANSWER_LIMIT: Duration = Duration::from_secs(35);

/// A member, as `GET /api/cluster` lists it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct MemberInfo {
    pub id: String,
    pub role: String,
    voter: bool,
}

/// Waits until every node answers, registers those that are no members yet, and waits until all
/// vote and one leads.
pub(super) async fn join_all(nodes: &[NodeSite], deadline: Instant) -> Result<Vec<MemberInfo>, DemoError> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .resolve("localhost", std::net::SocketAddr::from(([127, 0, 0, 1], 0)))
        .timeout(ANSWER_LIMIT)
        .build()
        .map_err(|error| DemoError::Failed(format!("cannot make an HTTP client: {error}")))?;
    for node in nodes {
        until(deadline, || answers(&client, node)).await?;
    }
    let first = &nodes[0];
    let members = until(deadline, || led_members(&client, first)).await?;
    for node in nodes.iter().filter(|node| members.iter().all(|member| member.id != node.id)) {
        until(deadline, || register(&client, first, node)).await?;
    }
    until(deadline, || async {
        let members = led_members(&client, first).await?;
        let votes = |node: &NodeSite| members.iter().any(|member| member.id == node.id && member.voter);
        match nodes.iter().find(|node| !votes(node)) {
            None => Ok(members),
            Some(waiting) => Err(Wait::Again(format!("{} does not vote yet", waiting.id))),
        }
    })
    .await
}

/// Why something is not so yet.
enum Wait {
    /// It may be so later; the text says what was seen.
    Again(String),
    /// It will not.
    Never(String),
}

/// Repeats `attempt` until it succeeds, fails for good, or the deadline has passed.
async fn until<T, F>(deadline: Instant, mut attempt: impl FnMut() -> F) -> Result<T, DemoError>
where
    F: Future<Output = Result<T, Wait>>,
{
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(Wait::Never(why)) => return Err(DemoError::Failed(why)),
            Err(Wait::Again(seen)) if Instant::now() >= deadline => {
                return Err(DemoError::Failed(format!(
                    "the cluster did not come up in time: {seen}; see the nodes' logs"
                )));
            }
            Err(Wait::Again(_)) => tokio::time::sleep(POLL).await,
        }
    }
}

async fn answers(client: &reqwest::Client, node: &NodeSite) -> Result<(), Wait> {
    let response = client.get(format!("{}/livez", node.url)).send().await;
    match response.and_then(reqwest::Response::error_for_status) {
        Ok(_) => Ok(()),
        Err(error) => Err(Wait::Again(format!("{} does not answer: {error}", node.id))),
    }
}

/// The members, once there is a leader.
async fn led_members(client: &reqwest::Client, node: &NodeSite) -> Result<Vec<MemberInfo>, Wait> {
    let cluster = answer(authorized(client.get(format!("{}/api/cluster", node.url)))).await?;
    if cluster["leaderId"].is_null() {
        return Err(Wait::Again("no leader is elected yet".to_owned()));
    }
    Vec::deserialize(&cluster["nodes"])
        .map_err(|error| Wait::Never(format!("{} lists members in a form unknown here: {error}", node.url)))
}

async fn register(client: &reqwest::Client, first: &NodeSite, node: &NodeSite) -> Result<(), Wait> {
    let request =
        client.post(format!("{}/api/cluster/register", first.url)).body(json!({ "url": node.url }).to_string());
    answer(authorized(request)).await.map(|_| ())
}

/// In protected mode no credentials are needed. A directory that was kept may have an administrator.
fn authorized(request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
    match std::env::var("JETTRA_ADMIN_PASSWORD") {
        Ok(password) if !password.is_empty() => request.basic_auth("admin", Some(password)),
        _ => request,
    }
}

/// The JSON of an answer of status 200. Server errors may pass; others will not.
async fn answer(request: reqwest::RequestBuilder) -> Result<Value, Wait> {
    let again = |error: reqwest::Error| Wait::Again(error.to_string());
    let response = request.send().await.map_err(again)?;
    let status = response.status();
    let text = response.text().await.map_err(again)?;
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    let message = body["error"]["message"].as_str().unwrap_or(&text);
    match status.as_u16() {
        200 => Ok(body),
        401 => Err(Wait::Never(format!("{message}; give the administrator's password in JETTRA_ADMIN_PASSWORD"))),
        408 | 421 | 429 | 500.. => Err(Wait::Again(format!("{status}: {message}"))),
        _ => Err(Wait::Never(format!("{status}: {message}"))),
    }
}

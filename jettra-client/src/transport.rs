//! One attempt of a call over HTTP.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderMap, IF_MATCH, IF_NONE_MATCH, RETRY_AFTER};

use crate::options::Condition;
use crate::request::Request;
use crate::retry::{Failure, Refusal};
use crate::wire::{ErrorBody, ErrorCode};

/// The longest piece of an answer that is no JSON to be quoted in a message.
const QUOTE: usize = 200;

/// Who asks.
#[derive(Clone)]
pub(crate) enum Authorization {
    /// Nobody in particular.
    None,
    /// User and password, with each request.
    Basic(String, String),
    /// A token from login, sent as it is.
    Token(String),
}

/// A success.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: Bytes,
    /// The revision of the document, from `ETag`.
    pub(crate) rev: Option<u64>,
    pub(crate) signs: Signs,
    /// The body as it comes, instead of `body`, where the request streams.
    pub(crate) opened: Option<Opened>,
}

/// An answer whose body is still to come.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The node's URL.
    pub(crate) url: String,
    pub(crate) response: reqwest::Response,
}

/// What every answer tells beside its body.
#[derive(Debug, Default)]
pub(crate) struct Signs {
    /// The node that answered.
    pub(crate) node: Option<String>,
    /// The leader, as `NodeID` or URL.
    pub(crate) leader: Option<String>,
    /// The log index that the answer reflects.
    pub(crate) index: Option<u64>,
}

/// How an attempt ended when it did not succeed.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// It failed; an answer, if there was one, told this.
    Failed(Failure, Signs),
    /// The answer is larger than the limit.
    TooLarge,
    /// The call cannot be put into a request, such as credentials that no header can hold.
    Unsendable(String),
}

/// Everything about one attempt but the call itself.
pub(crate) struct Way<'a> {
    pub(crate) http: &'a reqwest::Client,
    pub(crate) url: &'a str,
    pub(crate) authorization: &'a Authorization,
    /// The value of `Jettra-Session`, for numbered writes.
    pub(crate) session: Option<String>,
    pub(crate) limit: Duration,
    pub(crate) max_bytes: usize,
}

/// Sends the call once and reads the answer whole, or, where the request streams, its head.
pub(crate) async fn attempt(request: &Request, way: Way<'_>) -> Result<Answer, Attempt> {
    if !request.streams {
        return send(request, way).await;
    }
    let silence = Failure::Lost { message: "silence".to_owned(), timed_out: true };
    let sent = tokio::time::timeout(way.limit, send(request, way)).await;
    sent.unwrap_or(Err(Attempt::Failed(silence, Signs::default())))
}

async fn send(request: &Request, way: Way<'_>) -> Result<Answer, Attempt> {
    let built = build(request, &way).build().map_err(|error| Attempt::Unsendable(innermost(&error)))?;
    let answer = way.http.execute(built).await.map_err(|error| Attempt::Failed(failure(&error), Signs::default()))?;
    let status = answer.status();
    let headers = answer.headers().clone();
    let signs = Signs::of(&headers);
    if request.streams && status.is_success() {
        let opened = Some(Opened { url: way.url.to_owned(), response: answer });
        return Ok(Answer { body: Bytes::new(), rev: None, signs, opened });
    }
    let body = match read(answer, way.max_bytes).await {
        Ok(Some(body)) => body,
        Ok(None) => return Err(Attempt::TooLarge),
        Err(error) => return Err(Attempt::Failed(failure(&error), signs)),
    };
    if status.is_success() {
        return Ok(Answer { body, rev: etag(&headers), signs, opened: None });
    }
    Err(Attempt::Failed(Failure::Refused(refusal(status.as_u16(), &headers, &body)), signs))
}

fn build(request: &Request, way: &Way<'_>) -> reqwest::RequestBuilder {
    // Nodes are told a little less than is waited here, so that they can say what is the matter
    // before this end gives up on them.
    let told = way.limit.mul_f32(0.9).as_millis().max(1);
    let join = if request.query.is_empty() { "" } else { "&" };
    let url = format!("{}{}?{}{join}timeout={told}ms", way.url, request.path, request.query);
    let mut builder = way.http.request(request.method.clone(), url);
    if !request.streams {
        builder = builder.timeout(way.limit);
    }
    builder = match way.authorization {
        Authorization::None => builder,
        Authorization::Basic(user, password) => builder.basic_auth(user, Some(password)),
        Authorization::Token(token) => builder.header(AUTHORIZATION, token),
    };
    builder = match request.condition {
        None => builder,
        Some(Condition::Rev(rev)) => builder.header(IF_MATCH, format!("\"{rev}\"")),
        Some(Condition::Absent) => builder.header(IF_NONE_MATCH, "*"),
    };
    if let Some(session) = &way.session {
        builder = builder.header("Jettra-Session", session);
    }
    match &request.body {
        Some(body) => builder.header(CONTENT_TYPE, "application/json").body(body.clone()),
        None => builder,
    }
}

/// The body, or nothing if it is larger than `limit` bytes.
async fn read(mut answer: reqwest::Response, limit: usize) -> reqwest::Result<Option<Bytes>> {
    let too_large = |length: usize| length > limit;
    if answer.content_length().is_some_and(|length| usize::try_from(length).map_or(true, too_large)) {
        return Ok(None);
    }
    let Some(first) = answer.chunk().await? else { return Ok(Some(Bytes::new())) };
    let Some(second) = answer.chunk().await? else { return Ok((!too_large(first.len())).then_some(first)) };
    let mut body = Vec::with_capacity(first.len() + second.len());
    body.extend_from_slice(&first);
    let mut piece = Some(second);
    while let Some(bytes) = piece {
        if too_large(body.len() + bytes.len()) {
            return Ok(None);
        }
        body.extend_from_slice(&bytes);
        piece = answer.chunk().await?;
    }
    Ok(Some(body.into()))
}

fn failure(error: &reqwest::Error) -> Failure {
    let message = innermost(error);
    if error.is_connect() {
        return Failure::Unreachable(message);
    }
    Failure::Lost { message, timed_out: error.is_timeout() }
}

/// The cause at the bottom: `Connection refused`, rather than `error sending request`.
fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return if error.is_connect() { "no connection in time" } else { "silence" }.to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn refusal(status: u16, headers: &HeaderMap, body: &[u8]) -> Refusal {
    let retry_after =
        text(headers, RETRY_AFTER.as_str()).and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(ErrorBody { error }) => {
            Refusal { code: error.code, status, message: error.message, details: error.details, retry_after }
        }
        Err(_) => {
            let said: String = String::from_utf8_lossy(body).trim().chars().take(QUOTE).collect();
            let message = format!("the answer has status {status} and is not a node's: {said:?}; check the URL");
            Refusal { code: ErrorCode::Unknown, status, message, details: serde_json::Map::new(), retry_after }
        }
    }
}

fn etag(headers: &HeaderMap) -> Option<u64> {
    text(headers, ETAG.as_str())?.trim_matches('"').parse().ok()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

impl Signs {
    fn of(headers: &HeaderMap) -> Signs {
        let owned = |name| text(headers, name).map(str::to_owned);
        Signs {
            node: owned("x-jettra-node"),
            leader: owned("x-jettra-leader"),
            index: text(headers, "x-jettra-index").and_then(|index| index.parse().ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_error_is_read_whole() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "2".parse().unwrap());
        let body = br#"{"error":{"code":"not_leader","message":"ask the leader","leaderUrl":"http://b:2"}}"#;
        let refusal = refusal(421, &headers, body);
        assert_eq!(refusal.code, ErrorCode::NotLeader);
        assert_eq!(refusal.message, "ask the leader");
        assert_eq!(refusal.details["leaderUrl"], "http://b:2");
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(2)));
    }

    #[test]
    fn an_error_of_something_else_is_quoted_and_cut() {
        let page = format!("<html>{}</html>", "x".repeat(10_000));
        let refusal = refusal(502, &HeaderMap::new(), page.as_bytes());
        assert_eq!((refusal.code, refusal.status), (ErrorCode::Unknown, 502));
        assert!(refusal.message.len() < 400);
    }

    #[test]
    fn a_code_from_the_future_is_unknown_and_keeps_its_message() {
        let refusal = refusal(418, &HeaderMap::new(), br#"{"error":{"code":"teapot","message":"short and stout"}}"#);
        assert_eq!((refusal.code, refusal.message.as_str()), (ErrorCode::Unknown, "short and stout"));
    }
}

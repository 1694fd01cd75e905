//! An answer: its body, what it tells in headers, and errors as JSON.

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, ETAG, RETRY_AFTER};
use axum::http::{HeaderValue, Response, StatusCode};
use bytes::Bytes;
use jettra_client::wire::ErrorCode;
use serde::Serialize;

use super::connection::Connection;
use super::room::{self, Held, Room};
use crate::error::{Error, Result};
use crate::peers::NOT_LET_IN;

/// What a handler answers: with status 200, unless it is a page that the client has already.
pub struct Answer {
    status: StatusCode,
    pub(super) content_type: &'static str,
    content: Content,
    /// Its share of what answers may take, where it has one already.
    held: Option<Held>,
    pub(super) etag: Option<u64>,
    /// The log index that the answer reflects; applied now, where absent.
    pub(super) index: Option<u64>,
    pub(super) headers: Vec<(&'static str, String)>,
}

/// What an answer says.
enum Content {
    Whole(Bytes),
    /// Written while it is sent.
    Stream(Body),
}

impl Answer {
    /// A value as compact JSON.
    ///
    /// # Errors
    /// `internal` when it cannot be written.
    pub fn json(value: &impl Serialize) -> Result<Self> {
        let body = serde_json::to_vec(value).map_err(|e| Error::internal(format!("an answer that is no JSON: {e}")))?;
        Ok(Self::raw("application/json", body.into()))
    }

    /// JSON that stands written already.
    pub fn raw_json(body: Bytes) -> Self {
        Self::raw("application/json", body)
    }

    /// Bytes of any type.
    pub fn raw(content_type: &'static str, body: Bytes) -> Self {
        let status = StatusCode::OK;
        let (content, headers) = (Content::Whole(body), Vec::new());
        Answer { status, content_type, content, held: None, etag: None, index: None, headers }
    }

    /// That what was asked for is not there, as of `index`: who watches on from it is told when it comes.
    ///
    /// # Errors
    /// `internal` when it cannot be written.
    pub fn missing(why: Error, index: u64) -> Result<Self> {
        Ok(Self::json(&why.into_body())?.status(StatusCode::NOT_FOUND).index(index))
    }

    /// JSON that is written while it is sent.
    pub fn stream(body: Body) -> Self {
        Answer { content: Content::Stream(body), ..Self::raw("application/json", Bytes::new()) }
    }

    /// Server-Sent Events, as long as they come.
    pub fn events(body: Body) -> Self {
        Answer { content_type: "text/event-stream", ..Self::stream(body) }
    }

    /// The same, whose bytes are counted already.
    #[must_use]
    pub(super) fn held(mut self, held: Option<Held>) -> Self {
        self.held = held;
        self
    }

    /// The same with `ETag: "<rev>"`.
    #[must_use]
    pub fn etag(mut self, rev: u64) -> Self {
        self.etag = Some(rev);
        self
    }

    /// The same with the log index that it reflects.
    #[must_use]
    pub fn index(mut self, index: u64) -> Self {
        self.index = Some(index);
        self
    }

    /// The same with another status.
    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The same with a further header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The response on a connection, counted among the answers under way where there is a `room` for it.
    ///
    /// # Errors
    /// `busy` where there is no room for it, and it may be refused.
    pub(super) fn into_response_on(
        mut self,
        by: &Arc<Connection>,
        room: Option<&Room>,
        may_refuse: bool,
    ) -> Result<Response<Body>> {
        let body = match std::mem::replace(&mut self.content, Content::Whole(Bytes::new())) {
            Content::Whole(bytes) => room::whole(bytes, self.held.take(), room, may_refuse, by)?,
            Content::Stream(body) => room::written(body, by),
        };
        self.content = Content::Stream(body);
        Ok(self.into_response())
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(match self.content {
            Content::Whole(bytes) => Body::from(bytes),
            Content::Stream(body) => body,
        });
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        if let Some(rev) = self.etag {
            insert(headers, ETAG.as_str(), &format!("\"{rev}\""));
        }
        if let Some(index) = self.index {
            insert(headers, "x-jettra-index", &index.to_string());
        }
        for (name, value) in self.headers {
            insert(headers, name, &value);
        }
        response
    }
}

/// Adds a header whose value may come from configuration; one that cannot be a header is left out.
pub fn insert(headers: &mut axum::http::HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (axum::http::HeaderName::try_from(name), HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
}

/// An error as its JSON body, with the status of its code.
pub fn error(e: Error) -> Response<Body> {
    let e = if e.code() == ErrorCode::Internal { with_log_id(e) } else { e };
    let method_exists = e.detail("allowed").is_some();
    let status = if e.code() == ErrorCode::Unsupported && method_exists { 405 } else { e.code().status() };
    let retry = match e.code() {
        ErrorCode::Busy => Some(e.detail("retryAfter").and_then(serde_json::Value::as_u64).unwrap_or(1)),
        ErrorCode::NoLeader | ErrorCode::Unavailable => Some(1),
        _ => None,
    };
    let unauthorized = e.code() == ErrorCode::Unauthorized && e.detail(NOT_LET_IN).is_none();
    let body = serde_json::to_vec(&e.into_body()).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(seconds) = retry {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    if unauthorized {
        headers.insert("www-authenticate", HeaderValue::from_static("Basic realm=\"JettraDB\""));
    }
    response
}

/// What went wrong inside goes to the log; the caller gets the log line's id.
fn with_log_id(e: Error) -> Error {
    let id = crate::random::hex::<6>();
    tracing::error!(id, error = e.message(), "a request failed inside this node");
    Error::internal(format!("this node could not do it: its log has the cause under {id}")).with("id", id)
}

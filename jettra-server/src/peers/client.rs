//! The calls to one other node, in its session.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jettra_client::wire::{ErrorBody, ErrorCode};
use serde::de::DeserializeOwned;

use super::directory::{Peers, Target};
use super::handshake::{HANDSHAKE, Session, Slot};
use super::{NOT_LET_IN, NodeInfo, PEER_HEADER, PeerError, SEALED, StreamKey};
use crate::error::Error;

/// Bytes that a stranger may answer.
const STRANGER_BYTES: usize = 4 << 10;
/// Bytes that a proved node may answer.
const ANSWER_BYTES: usize = 64 << 20;

/// The client of one other node.
#[derive(Clone)]
pub struct Peer {
    pub(super) peers: Arc<Peers>,
    pub(super) target: Target,
    pub(super) slot: Arc<Slot>,
}

impl Peer {
    pub(super) fn new(peers: Arc<Peers>, target: Target) -> Self {
        Peer { peers, target, slot: Arc::default() }
    }

    /// Whom this client calls.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Calls `path` with a JSON body and returns the JSON answer.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn call(&self, path: &str, body: Bytes, limit: Duration) -> Result<Bytes, PeerError> {
        let again = tokio::time::timeout(limit, async {
            match self.call_once(path, &body).await {
                // It was restarted and knows our session no more; nothing was done.
                Err(PeerError::NotLetIn(e)) if is_unknown_session(&e) => self.call_once(path, &body).await,
                other => other,
            }
        });
        again.await.unwrap_or_else(|_| Err(self.no_answer(format!("nothing within {} ms", limit.as_millis()))))
    }

    /// Like [`Peer::call`], for typed bodies.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn call_json<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
        limit: Duration,
    ) -> Result<T, PeerError> {
        let body = serde_json::to_vec(body).map_err(|e| self.no_answer(e.to_string()))?;
        let answer = self.call(path, body.into(), limit).await?;
        serde_json::from_slice(&answer).map_err(|e| self.no_answer(format!("an answer that is no JSON we know: {e}")))
    }

    async fn call_once(&self, path: &str, body: &[u8]) -> Result<Bytes, PeerError> {
        let session = self.session().await?;
        let sequence = session.next();
        let sealed = session.key.seal_call(path, sequence, body);
        self.send(&session, sequence, path, sealed.into()).await
    }

    /// Opens a stream to `path`. `body` is given the head sealed as a call, and the key of the chunks behind it.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn stream(
        &self,
        path: &str,
        head: &[u8],
        body: impl FnOnce(Bytes, StreamKey) -> reqwest::Body,
    ) -> Result<Bytes, PeerError> {
        let session = self.session().await?;
        let sequence = session.next();
        let body = body(session.key.seal_call(path, sequence, head), session.key.stream(sequence));
        self.send(&session, sequence, path, body).await
    }

    /// Calls `path` for an answer that is a stream of chunks, and gives the key that they are sealed with.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn receive(&self, path: &str, body: Bytes) -> Result<(reqwest::Response, StreamKey), PeerError> {
        let session = self.session().await?;
        let sequence = session.next();
        let sealed = session.key.seal_call(path, sequence, &body);
        let sent = tokio::time::timeout(HANDSHAKE, self.post(&session, sequence, path, sealed.into())).await;
        let response = sent.map_err(|_| self.no_answer("nothing within 2 s".into()))??;
        if response.status().as_u16() == 200 {
            return Ok((response, session.key.stream(sequence)));
        }
        // Whatever it was, the next try opens a session of its own.
        self.slot.forget(&session);
        let understood = self.understand(&session, sequence, response, STRANGER_BYTES).await;
        Err(understood.err().unwrap_or_else(|| self.no_answer("no stream".into())))
    }

    async fn send(
        &self,
        session: &Arc<Session>,
        sequence: u64,
        path: &str,
        body: reqwest::Body,
    ) -> Result<Bytes, PeerError> {
        let response = self.post(session, sequence, path, body).await?;
        let understood = self.understand(session, sequence, response, ANSWER_BYTES).await;
        if let Err(PeerError::NotLetIn(e)) = &understood
            && is_unknown_session(e)
        {
            self.slot.forget(session);
        }
        understood
    }

    async fn post(
        &self,
        session: &Session,
        sequence: u64,
        path: &str,
        body: reqwest::Body,
    ) -> Result<reqwest::Response, PeerError> {
        let request = self.peers.http.post(format!("{}{path}", self.target.url));
        let request = request.header("content-type", "application/octet-stream");
        let request = request.header(PEER_HEADER, format!("{};{sequence}", session.name));
        request.body(body).send().await.map_err(|e| self.transport(&e))
    }

    /// What was answered: only what is sealed is believed, but for a refusal to let the call in, which begins nothing.
    async fn understand(
        &self,
        session: &Session,
        sequence: u64,
        response: reqwest::Response,
        limit: usize,
    ) -> Result<Bytes, PeerError> {
        let status = response.status().as_u16();
        let is_sealed = response.headers().get(PEER_HEADER).is_some_and(|value| value == SEALED);
        let mut answer = read_bounded(response, limit).await.map_err(|e| self.no_answer(e))?;
        if is_sealed {
            let opened = session.key.open_answer(status, sequence, answer);
            answer = opened.ok_or_else(|| self.no_answer("an answer whose seal is broken".to_owned()))?;
            self.peers.hearing.note(self.target.raft_id);
        }
        if status == 200 {
            return if is_sealed { Ok(answer) } else { Err(self.no_answer("an answer without seal".to_owned())) };
        }
        let Ok(body) = serde_json::from_slice::<ErrorBody>(&answer) else {
            return Err(self.no_answer(format!("HTTP status {status}")));
        };
        let error = Error::from(body);
        let was_let_in = error.detail(NOT_LET_IN).is_none();
        if !is_sealed && was_let_in && error.code() != ErrorCode::Busy {
            return Err(self.no_answer(format!("an error without seal: {error}")));
        }
        if is_sealed {
            self.hear_removal(&error);
        }
        Err(if was_let_in { PeerError::Refused(error) } else { PeerError::NotLetIn(error) })
    }

    /// Notes that this node was removed where the answer says so. A member may also say that it was removed itself.
    fn hear_removal(&self, error: &Error) {
        let number = |name| error.detail(name).and_then(serde_json::Value::as_u64);
        if let Some(index) = number("removed")
            && number("removedId") == Some(self.peers.caller().raft_id)
        {
            self.peers.note_removed(index);
        }
    }

    /// Asks the node who it is, with proof of the secret where it has one.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn who(&self) -> Result<NodeInfo, PeerError> {
        let fresh = tokio::time::timeout(HANDSHAKE, self.handshake()).await;
        let (session, node) = fresh.unwrap_or_else(|_| Err(self.no_answer("nothing within 2 s".into())))?;
        self.slot.set(session);
        Ok(node)
    }

    /// Whether the node has proved that it knows the secret.
    pub fn is_proved(&self) -> bool {
        self.slot.is_open()
    }

    /// A call without a session: to strangers, and to nodes that have no secret yet. Whatever is answered proves nothing.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn ask<T: DeserializeOwned>(&self, path: &str, body: &impl serde::Serialize) -> Result<T, PeerError> {
        let body = serde_json::to_vec(body).map_err(|e| self.no_answer(e.to_string()))?;
        let request = self.peers.http.post(format!("{}{path}", self.target.url));
        let request = request.header("content-type", "application/json").timeout(HANDSHAKE).body(body);
        let response = request.send().await.map_err(|e| match e.is_timeout() && !e.is_connect() {
            true => self.no_answer(format!("nothing within {} s", HANDSHAKE.as_secs())),
            false => self.transport(&e),
        })?;
        let status = response.status().as_u16();
        let answer = read_bounded(response, STRANGER_BYTES).await.map_err(|e| self.no_answer(e))?;
        strangers_answer(&self.target.url, status, &answer)
    }

    pub(super) fn transport(&self, e: &reqwest::Error) -> PeerError {
        let mut why = e.to_string();
        let mut source = std::error::Error::source(e);
        while let Some(cause) = source {
            why = cause.to_string();
            source = cause.source();
        }
        let url = self.target.url.clone();
        if e.is_connect() { PeerError::Unreachable { url, why } } else { PeerError::NoAnswer { url, why } }
    }

    pub(super) fn no_answer(&self, why: String) -> PeerError {
        PeerError::NoAnswer { url: self.target.url.clone(), why }
    }
}

fn is_unknown_session(error: &Error) -> bool {
    error.detail(NOT_LET_IN).and_then(serde_json::Value::as_str) == Some("unknown_session")
}

/// What a node answered at `url` that has not proved anything.
pub(super) fn strangers_answer<T: DeserializeOwned>(url: &str, status: u16, answer: &[u8]) -> Result<T, PeerError> {
    if status != 200 {
        return Err(match serde_json::from_slice::<ErrorBody>(answer).map(Error::from) {
            Ok(error) if error.detail(NOT_LET_IN).is_some() => PeerError::NotLetIn(error),
            Ok(error) => PeerError::Refused(error),
            Err(_) => PeerError::Unproved(format!("{url} is no JettraDB node: HTTP status {status}")),
        });
    }
    serde_json::from_slice(answer).map_err(|_| PeerError::Unproved(format!("{url} is no JettraDB node")))
}

async fn read_bounded(mut response: reqwest::Response, limit: usize) -> Result<Bytes, String> {
    let mut whole = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| e.to_string())? {
        if whole.len() + chunk.len() > limit {
            return Err(format!("an answer of more than {limit} bytes"));
        }
        if whole.is_empty() && response.content_length() == Some(chunk.len() as u64) {
            return Ok(chunk);
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

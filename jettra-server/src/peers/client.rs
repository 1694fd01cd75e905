//! The calling side: a client of each other node, with its session.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jettra_client::wire::{ErrorBody, ErrorCode};
use parking_lot::{Mutex, RwLock};
use serde::de::DeserializeOwned;

use super::proof::{Handshake, Key, Nonce, same};
use super::{IdentityAnswer, IdentityRequest, NodeInfo, PEER_HEADER, ProveAnswer, ProveRequest, Secret};
use crate::error::Error;

/// How long a node has to say who it is.
const HANDSHAKE: Duration = Duration::from_secs(2);
/// Bytes that a stranger may answer.
const STRANGER_BYTES: usize = 4 << 10;
/// Bytes that a proved node may answer.
const ANSWER_BYTES: usize = 64 << 20;

/// Why a call to another node failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PeerError {
    /// Nothing was sent: nobody listens there, or no route.
    #[error("{url} cannot be reached: {why}")]
    Unreachable {
        /// The node's URL.
        url: String,
        /// What the network said.
        why: String,
    },
    /// The call may or may not have arrived.
    #[error("no answer from {url}: {why}")]
    NoAnswer {
        /// The node's URL.
        url: String,
        /// What the network said.
        why: String,
    },
    /// The node answered with an error.
    #[error("{0}")]
    Refused(Error),
    /// The node could not be told apart from an impostor.
    #[error("{0}")]
    Unproved(String),
}

/// Who is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// Scheme, host and port.
    pub url: String,
    /// Its Raft id; 0 when unknown.
    pub raft_id: u64,
}

/// Who calls.
#[derive(Debug, Clone, Default)]
struct Caller {
    secret: Option<Secret>,
    cluster: String,
    raft_id: u64,
}

/// Clients of the other nodes, made on first use.
pub struct Peers {
    http: reqwest::Client,
    caller: RwLock<Caller>,
    /// The index at which a member said, under its session's key, that this node was removed.
    removed: Mutex<Option<u64>>,
    table: Mutex<HashMap<Target, Arc<Peer>>>,
    /// Where members are, by Raft id.
    addresses: RwLock<HashMap<u64, Address>>,
}

/// Where a member is.
#[derive(Debug)]
struct Address {
    /// Where its document says that it is.
    registered: String,
    /// Where it proved to be since, if it has moved.
    proved: Option<String>,
}

/// Targets remembered; far more than a cluster has members.
const TABLE: usize = 256;

impl Peers {
    /// A set of clients without cluster or secret yet.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new() -> std::result::Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .http1_only()
            .no_proxy()
            .tcp_nodelay(true)
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(128)
            .connect_timeout(Duration::from_secs(1))
            .build()?;
        Ok(Peers {
            http,
            caller: RwLock::default(),
            removed: Mutex::default(),
            table: Mutex::default(),
            addresses: RwLock::default(),
        })
    }

    /// Sets who this node is; sessions open until then are left.
    pub fn set_caller(&self, secret: Option<Secret>, cluster: &str, raft_id: u64) {
        *self.caller.write() = Caller { secret, cluster: cluster.to_owned(), raft_id };
        self.table.lock().clear();
    }

    /// The log index by which this node was removed from its cluster, if a member has said so.
    pub fn removed_at(&self) -> Option<u64> {
        *self.removed.lock()
    }

    /// Notes that a member said that this node was removed.
    pub fn note_removed(&self, index: u64) {
        *self.removed.lock() = Some(index);
    }

    /// Where the member `raft_id` is, as far as is known here, if that is not `url`.
    pub fn moved_from(&self, raft_id: u64, url: &str) -> Option<String> {
        let addresses = self.addresses.read();
        let address = addresses.get(&raft_id)?;
        let now = address.proved.as_ref().unwrap_or(&address.registered);
        (now != url).then(|| now.clone())
    }

    /// Where the member `raft_id` proved to be, if that is not where it is registered.
    pub fn moved_to(&self, raft_id: u64) -> Option<String> {
        self.addresses.read().get(&raft_id)?.proved.clone()
    }

    /// Notes where the members are registered; what a member proved before it was registered elsewhere is forgotten.
    pub fn note_registered(&self, members: impl Iterator<Item = (u64, String)>) {
        let mut addresses = self.addresses.write();
        let mut before = std::mem::take(&mut *addresses);
        *addresses = members
            .map(|(raft_id, registered)| {
                let known = before.remove(&raft_id).filter(|known| known.registered == registered);
                let proved = known.and_then(|known| known.proved).filter(|proved| *proved != registered);
                (raft_id, Address { registered, proved })
            })
            .collect();
    }

    /// Notes that the member `raft_id` was dialled at `url` and proved who it is. Nothing is noted of strangers.
    pub fn note_moved(&self, raft_id: u64, url: &str) {
        if let Some(address) = self.addresses.write().get_mut(&raft_id) {
            address.proved = Some(url.to_owned()).filter(|url| *url != address.registered);
        }
    }

    /// Forgets where the member `raft_id` proved to be: it does not answer there.
    pub fn forget_move(&self, raft_id: u64) {
        if let Some(address) = self.addresses.write().get_mut(&raft_id) {
            address.proved = None;
        }
    }

    /// The client of `target`.
    pub fn get(self: &Arc<Self>, target: &Target) -> Arc<Peer> {
        let mut table = self.table.lock();
        if let Some(peer) = table.get(target) {
            return peer.clone();
        }
        if table.len() >= TABLE {
            table.clear();
        }
        let peer =
            Arc::new(Peer { peers: self.clone(), target: target.clone(), session: tokio::sync::Mutex::new(None) });
        table.insert(target.clone(), peer.clone());
        peer
    }
}

struct Session {
    name: String,
    key: Key,
    sequence: AtomicU64,
    node: NodeInfo,
}

/// The client of one other node.
pub struct Peer {
    peers: Arc<Peers>,
    target: Target,
    session: tokio::sync::Mutex<Option<Arc<Session>>>,
}

impl Peer {
    /// Whom this client calls.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Calls `path` with a JSON body and returns the JSON answer.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn call(&self, path: &str, body: Bytes, limit: Duration) -> std::result::Result<Bytes, PeerError> {
        let again = tokio::time::timeout(limit, async {
            match self.call_once(path, body.clone()).await {
                // It was restarted and knows our session no more; nothing was done.
                Err(PeerError::Refused(e)) if e.detail("session").is_some() => {
                    *self.session.lock().await = None;
                    self.call_once(path, body).await
                }
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
    ) -> std::result::Result<T, PeerError> {
        let body = serde_json::to_vec(body).map_err(|e| self.no_answer(e.to_string()))?;
        let answer = self.call(path, body.into(), limit).await?;
        serde_json::from_slice(&answer).map_err(|e| self.no_answer(format!("an answer that is no JSON we know: {e}")))
    }

    async fn call_once(&self, path: &str, body: Bytes) -> std::result::Result<Bytes, PeerError> {
        let session = self.session().await?;
        let sequence = session.sequence.fetch_add(1, Ordering::Relaxed);
        let mac = session.key.call(path, sequence, &body);
        self.send(&session, sequence, path, &mac, body.into()).await
    }

    /// Opens a stream to `path`: the first part of the body is signed as a call, each chunk by itself.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn stream(
        &self,
        path: &str,
        head: &[u8],
        body: impl FnOnce(Key, u64) -> reqwest::Body,
    ) -> std::result::Result<Bytes, PeerError> {
        let session = self.session().await?;
        let sequence = session.sequence.fetch_add(1, Ordering::Relaxed);
        let mac = session.key.call(path, sequence, head);
        let body = body(session.key.clone(), sequence);
        let sent = self.send(&session, sequence, path, &mac, body).await;
        if let Err(PeerError::Refused(e)) = &sent
            && e.detail("session").is_some()
        {
            *self.session.lock().await = None;
        }
        sent
    }

    /// Calls `path` for an answer that is a stream of chunks, each with a checksum under the session's key and the
    /// call's sequence number: the caller checks those.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn receive(
        &self,
        path: &str,
        body: Bytes,
    ) -> std::result::Result<(reqwest::Response, Key, u64), PeerError> {
        let session = self.session().await?;
        let sequence = session.sequence.fetch_add(1, Ordering::Relaxed);
        let mac = session.key.call(path, sequence, &body);
        let sent = self
            .peers
            .http
            .post(format!("{}{path}", self.target.url))
            .header("content-type", "application/json")
            .header(PEER_HEADER, format!("{};{sequence};{mac}", session.name))
            .body(body)
            .send();
        let response = tokio::time::timeout(HANDSHAKE, sent).await;
        let response = response.map_err(|_| self.no_answer("nothing within 2 s".into()))?;
        let response = response.map_err(|e| self.transport(&e))?;
        let status = response.status().as_u16();
        if status == 200 {
            return Ok((response, session.key.clone(), sequence));
        }
        // Whatever it was, the next try opens a session of its own.
        *self.session.lock().await = None;
        let mac = response.headers().get(PEER_HEADER).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let answer = read_bounded(response, STRANGER_BYTES).await.map_err(|e| self.no_answer(e))?;
        let signed = same(&session.key.answer(status, sequence, &answer), &mac);
        let Ok(body) = serde_json::from_slice::<ErrorBody>(&answer) else {
            return Err(self.no_answer(format!("HTTP status {status}")));
        };
        let error = Error::from(body);
        if !signed && error.detail("session").is_none() && error.code() != ErrorCode::Busy {
            return Err(self.no_answer(format!("an error that is not signed: {error}")));
        }
        self.hear_removal(&error, signed);
        Err(PeerError::Refused(error))
    }

    /// Notes that this node was removed where the answer says so and is signed. A member may also say that it was removed
    /// itself.
    fn hear_removal(&self, error: &Error, signed: bool) {
        let number = |name| error.detail(name).and_then(serde_json::Value::as_u64).filter(|_| signed);
        if let Some(index) = number("removed")
            && number("removedId") == Some(self.peers.caller.read().raft_id)
        {
            self.peers.note_removed(index);
        }
    }

    /// Sends a signed call and checks who signed the answer.
    async fn send(
        &self,
        session: &Session,
        sequence: u64,
        path: &str,
        mac: &str,
        body: reqwest::Body,
    ) -> std::result::Result<Bytes, PeerError> {
        let response = self
            .peers
            .http
            .post(format!("{}{path}", self.target.url))
            .header("content-type", "application/json")
            .header(PEER_HEADER, format!("{};{sequence};{mac}", session.name))
            .body(body)
            .send()
            .await
            .map_err(|e| self.transport(&e))?;
        let status = response.status().as_u16();
        let mac = response.headers().get(PEER_HEADER).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let answer = read_bounded(response, ANSWER_BYTES).await.map_err(|e| self.no_answer(e))?;
        let signed = same(&session.key.answer(status, sequence, &answer), &mac);
        if status == 200 {
            return if signed { Ok(answer) } else { Err(self.no_answer("an answer that is not signed".to_owned())) };
        }
        let Ok(body) = serde_json::from_slice::<ErrorBody>(&answer) else {
            return Err(self.no_answer(format!("HTTP status {status}")));
        };
        let error = Error::from(body);
        // Who cannot sign may tell of a session that is gone or of too much work, which begins nothing.
        if !signed && error.detail("session").is_none() && error.code() != ErrorCode::Busy {
            return Err(self.no_answer(format!("an error that is not signed: {error}")));
        }
        self.hear_removal(&error, signed);
        Err(PeerError::Refused(error))
    }

    /// Asks the node who it is, with proof of the secret where it has one.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn who(&self) -> std::result::Result<NodeInfo, PeerError> {
        let fresh = tokio::time::timeout(HANDSHAKE, self.handshake()).await;
        let (session, node) = fresh.unwrap_or_else(|_| Err(self.no_answer("nothing within 2 s".into())))?;
        *self.session.lock().await = session;
        Ok(node)
    }

    /// Whether the node has proved that it knows the secret.
    pub async fn is_proved(&self) -> bool {
        self.session.lock().await.is_some()
    }

    /// Whether a node answers that has a cluster secret.
    pub async fn has_secret(&self) -> bool {
        let request = IdentityRequest { nonce: Nonce::random().as_str().to_owned() };
        let asked: std::result::Result<(IdentityAnswer, _), _> = self.ask("/raft/rpc/identity", &request).await;
        asked.is_ok_and(|(identity, _)| identity.session.is_some())
    }

    /// Who the node said that it is when the session was opened.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn known(&self) -> std::result::Result<NodeInfo, PeerError> {
        Ok(self.session().await?.node.clone())
    }

    async fn session(&self) -> std::result::Result<Arc<Session>, PeerError> {
        let mut slot = self.session.lock().await;
        if let Some(session) = &*slot {
            return Ok(session.clone());
        }
        let (session, _) = self.handshake().await?;
        *slot = session;
        slot.clone().ok_or_else(|| {
            PeerError::Unproved(format!("{} has no cluster secret: it waits to be registered", self.target.url))
        })
    }

    async fn handshake(&self) -> std::result::Result<(Option<Arc<Session>>, NodeInfo), PeerError> {
        let caller = self.peers.caller.read().clone();
        let nonce = Nonce::random();
        let (identity, remote): (IdentityAnswer, _) =
            self.ask("/raft/rpc/identity", &IdentityRequest { nonce: nonce.as_str().to_owned() }).await?;
        let Some(called) = Nonce::parse(&identity.nonce) else {
            return Err(PeerError::Unproved(format!("{} is no JettraDB node", self.target.url)));
        };
        let Some(secret) = caller.secret else {
            return Err(PeerError::Unproved("this node has no cluster secret yet".into()));
        };
        let Some(name) = identity.session else {
            return Ok((None, self.greet_without_secret(&caller.cluster, caller.raft_id, remote).await?));
        };
        let handshake = Handshake {
            caller: &nonce,
            called: &called,
            from: caller.raft_id,
            to: self.target.raft_id,
            cluster: &caller.cluster,
        };
        let request = ProveRequest {
            session: Some(name.clone()),
            cluster: caller.cluster.clone(),
            from: caller.raft_id,
            to: self.target.raft_id,
            proof: handshake.caller_proof(&secret),
        };
        let (answer, _): (ProveAnswer, _) = self.ask("/raft/rpc/prove", &request).await?;
        if !same(&handshake.called_proof(&secret), &answer.proof) {
            return Err(PeerError::Unproved(format!(
                "{} does not know this cluster's secret: give it the same ClusterSecret (config) or JETTRA_CLUSTER_SECRET",
                self.target.url
            )));
        }
        let session = Session { name, key: handshake.key(&secret), sequence: AtomicU64::new(1), node: answer.node };
        let node = session.node.clone();
        Ok((Some(Arc::new(session)), node))
    }

    /// A node without a secret tells who it is to the user that runs it, and to nobody else.
    async fn greet_without_secret(
        &self,
        cluster: &str,
        from: u64,
        remote: Option<SocketAddr>,
    ) -> std::result::Result<NodeInfo, PeerError> {
        let ours = match remote {
            Some(remote) => tokio::task::spawn_blocking(move || super::listener_is_ours(remote)).await.unwrap_or(false),
            None => false,
        };
        if !ours {
            return Err(PeerError::Unproved(format!(
                "{} has no cluster secret, and secrets are handed over only on one machine to nodes of the same user: \
                 set the same ClusterSecret (config) or JETTRA_CLUSTER_SECRET on every node",
                self.target.url
            )));
        }
        let request = ProveRequest {
            session: None,
            cluster: cluster.to_owned(),
            from,
            to: self.target.raft_id,
            proof: String::new(),
        };
        let (answer, _): (ProveAnswer, _) = self.ask("/raft/rpc/prove", &request).await?;
        Ok(answer.node)
    }

    /// A call without a session: to strangers, and to nodes that have no secret yet.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
    ) -> std::result::Result<(T, Option<SocketAddr>), PeerError> {
        self.ask_within(HANDSHAKE, path, body).await
    }

    /// The same where the node has `limit` for its answer.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn ask_within<T: DeserializeOwned>(
        &self,
        limit: Duration,
        path: &str,
        body: &impl serde::Serialize,
    ) -> std::result::Result<(T, Option<SocketAddr>), PeerError> {
        let body = serde_json::to_vec(body).map_err(|e| self.no_answer(e.to_string()))?;
        let response = self
            .peers
            .http
            .post(format!("{}{path}", self.target.url))
            .header("content-type", "application/json")
            .timeout(limit)
            .body(body)
            .send()
            .await
            .map_err(|e| match e.is_timeout() && !e.is_connect() {
                true => self.no_answer(format!("nothing within {} s", limit.as_secs())),
                false => self.transport(&e),
            })?;
        let (status, remote) = (response.status().as_u16(), response.remote_addr());
        let answer = read_bounded(response, STRANGER_BYTES).await.map_err(|e| self.no_answer(e))?;
        if status != 200 {
            return Err(match serde_json::from_slice::<ErrorBody>(&answer) {
                Ok(body) => PeerError::Refused(body.into()),
                Err(_) => PeerError::Unproved(format!("{} is no JettraDB node: HTTP status {status}", self.target.url)),
            });
        }
        let answer = serde_json::from_slice(&answer)
            .map_err(|_| PeerError::Unproved(format!("{} is no JettraDB node", self.target.url)))?;
        Ok((answer, remote))
    }

    fn transport(&self, e: &reqwest::Error) -> PeerError {
        let mut why = e.to_string();
        let mut source = std::error::Error::source(e);
        while let Some(cause) = source {
            why = cause.to_string();
            source = cause.source();
        }
        let url = self.target.url.clone();
        if e.is_connect() { PeerError::Unreachable { url, why } } else { PeerError::NoAnswer { url, why } }
    }

    fn no_answer(&self, why: String) -> PeerError {
        PeerError::NoAnswer { url: self.target.url.clone(), why }
    }
}

async fn read_bounded(mut response: reqwest::Response, limit: usize) -> std::result::Result<Bytes, String> {
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

/// A call's outcome in the terms of the public errors.
impl From<PeerError> for Error {
    fn from(e: PeerError) -> Self {
        match e {
            PeerError::Refused(error) => error,
            PeerError::Unreachable { .. } => Error::unavailable(e.to_string()),
            PeerError::NoAnswer { .. } => Error::timeout(e.to_string()),
            PeerError::Unproved(why) => Error::forbidden(why),
        }
    }
}

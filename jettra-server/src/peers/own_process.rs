//! The way to a node that has no secret yet, over which it may be given one: a single fresh connection to a process of
//! the same user. Whose process is at its far end is looked up for that connection, right before something is sent that
//! only a process of this user may see.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

use super::client::strangers_answer;
use super::handshake::{HANDSHAKE, checked_nonce};
use super::proof::Nonce;
use super::{IdentityAnswer, IdentityRequest, NodeInfo, PeerError, ProveAnswer, ProveRequest, far_end_is_ours};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(1);
/// Bytes that it may answer.
const ANSWER_BYTES: usize = 4 << 10;

/// A connection to a process of this user that runs a node without a secret.
pub struct OwnProcess {
    url: String,
    host: String,
    near: SocketAddr,
    far: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

impl OwnProcess {
    /// Connects to the node at `url` and hears that it has no secret; `None` where it has one by now.
    ///
    /// # Errors
    /// Nobody is there, or no node, or not a process of this user.
    pub async fn greet(url: &str) -> Result<Option<Self>, PeerError> {
        let unreachable = |why: String| PeerError::Unreachable { url: url.to_owned(), why };
        let parsed = url::Url::parse(url).map_err(|e| unreachable(e.to_string()))?;
        let stream = connect(&parsed).await?;
        let ends = stream.local_addr().and_then(|near| Ok((near, stream.peer_addr()?)));
        let (near, far) = ends.map_err(|e| unreachable(e.to_string()))?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| unreachable(e.to_string()))?;
        // It ends with its sender, or with the other side; whoever calls notices.
        tokio::spawn(connection);
        let host = parsed[url::Position::BeforeHost..url::Position::AfterPort].to_owned();
        let mut process = OwnProcess { url: url.to_owned(), host, near, far, sender };
        let asked = IdentityRequest { nonce: Nonce::random().as_str().to_owned() };
        // Nothing is told by this, and once it is answered the connection has an owner.
        let identity: IdentityAnswer = process.ask("/raft/rpc/identity", &asked, HANDSHAKE).await?;
        checked_nonce(url, &identity)?;
        Ok((!identity.secret).then_some(process))
    }

    /// Who the node is.
    ///
    /// # Errors
    /// It is not a process of this user, or what it says.
    pub async fn who(&mut self, cluster: &str, from: u64, to: u64) -> Result<NodeInfo, PeerError> {
        let request = ProveRequest {
            caller: String::new(),
            called: String::new(),
            cluster: cluster.to_owned(),
            from,
            to,
            url: self.url.clone(),
            proofs: Vec::new(),
        };
        let answer: ProveAnswer = self.tell("/raft/rpc/prove", &request, HANDSHAKE).await?;
        serde_json::from_str(answer.node.get())
            .map_err(|e| PeerError::Unproved(format!("{} tells of itself: {e}", self.url)))
    }

    /// Sends what only a process of this user may see, once it is certain that one is at the far end.
    ///
    /// # Errors
    /// It is not a process of this user, or what it says.
    pub async fn tell<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
        limit: Duration,
    ) -> Result<T, PeerError> {
        let (far, near) = (self.far, self.near);
        let is_ours = tokio::task::spawn_blocking(move || far_end_is_ours(far, near)).await.unwrap_or(false);
        if !is_ours {
            return Err(needs_secret(&self.url));
        }
        self.ask(path, body, limit).await
    }

    async fn ask<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
        limit: Duration,
    ) -> Result<T, PeerError> {
        let no_answer = |why: String| PeerError::NoAnswer { url: self.url.clone(), why };
        let body = serde_json::to_vec(body).map_err(|e| no_answer(e.to_string()))?;
        let request = hyper::Request::post(path).header("host", &self.host).header("content-type", "application/json");
        let request = request.body(Full::from(body)).map_err(|e| no_answer(e.to_string()))?;
        let sender = &mut self.sender;
        let answered = async {
            let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
            let status = response.status().as_u16();
            let whole = Limited::new(response.into_body(), ANSWER_BYTES).collect().await.map_err(|e| e.to_string())?;
            Ok::<(u16, Bytes), String>((status, whole.to_bytes()))
        };
        let answered = tokio::time::timeout(limit, answered).await;
        let answered = answered.unwrap_or_else(|_| Err(format!("nothing within {} s", limit.as_secs())));
        let (status, answer) = answered.map_err(no_answer)?;
        strangers_answer(&self.url, status, &answer)
    }
}

/// Connects to the first loopback address of the URL's host that answers: no other one can be looked up.
async fn connect(url: &url::Url) -> Result<TcpStream, PeerError> {
    let unreachable = |why: &str| PeerError::Unreachable { url: url.to_string(), why: why.to_owned() };
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return Err(unreachable("it is no URL of a node"));
    };
    let host = host.trim_matches(['[', ']']);
    let addresses = tokio::time::timeout(CONNECT, tokio::net::lookup_host((host, port))).await;
    let addresses = addresses.map_err(|_| unreachable("its name is not resolved"))?;
    let addresses = addresses.map_err(|e| unreachable(&e.to_string()))?;
    let mut failed = needs_secret(url.as_str());
    for address in addresses.filter(|address| address.ip().to_canonical().is_loopback()) {
        match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(e)) => failed = unreachable(&e.to_string()),
            Err(_) => failed = unreachable("nothing within 1 s"),
        }
    }
    Err(failed)
}

fn needs_secret(url: &str) -> PeerError {
    PeerError::Unproved(format!(
        "{} has no cluster secret, and secrets are handed over only on one machine, to the same program of the same user: \
         set the same ClusterSecret (config) or JETTRA_CLUSTER_SECRET on every node",
        url.trim_end_matches('/')
    ))
}

//! How the calling side opens a session.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use jettra_client::wire::ErrorCode;
use parking_lot::Mutex;

use super::client::Peer;
use super::own_process::OwnProcess;
use super::proof::{Handshake, Nonce, same};
use super::secret::Secrets;
use super::{
    IdentityAnswer, IdentityRequest, Key, NOT_LET_IN, NodeInfo, Other, PeerError, ProveAnswer, ProveRequest,
    RPC_VERSION,
};
use crate::error::Error;

/// How long a node has to say who it is.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(2);
/// Between two tries at a node that has too many strangers to hear us at once.
const AGAIN: Duration = Duration::from_millis(50);

/// An open session with one other node.
pub(super) struct Session {
    pub(super) name: String,
    pub(super) key: Key,
    sequence: AtomicU64,
}

impl Session {
    /// The number of the next call.
    pub(super) fn next(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed)
    }
}

type Opening = Shared<BoxFuture<'static, Result<Arc<Session>, PeerError>>>;

/// The session with one other node, or that one is being opened.
#[derive(Default)]
pub(super) struct Slot {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    session: Option<Arc<Session>>,
    opening: Option<Opening>,
}

impl Slot {
    pub(super) fn set(&self, session: Option<Arc<Session>>) {
        self.state.lock().session = session;
    }

    pub(super) fn is_open(&self) -> bool {
        self.state.lock().session.is_some()
    }

    /// Lets `session` go, if it is still the one.
    pub(super) fn forget(&self, session: &Arc<Session>) {
        let mut state = self.state.lock();
        if state.session.as_ref().is_some_and(|now| Arc::ptr_eq(now, session)) {
            state.session = None;
        }
    }
}

impl Peer {
    /// The session, opened where there is none. A task of its own opens it: a call that has little time must not break
    /// off what the next one needs as well.
    pub(super) async fn session(&self) -> Result<Arc<Session>, PeerError> {
        let opening = {
            let mut state = self.slot.state.lock();
            if let Some(session) = &state.session {
                return Ok(session.clone());
            }
            match &state.opening {
                Some(opening) => opening.clone(),
                None => {
                    let (node, url) = (self.clone(), self.target.url.clone());
                    let task = tokio::spawn(async move { node.open().await });
                    let slot = self.slot.clone();
                    let ended = move |e: tokio::task::JoinError| {
                        // It has not let the next one try.
                        slot.state.lock().opening = None;
                        PeerError::NoAnswer { url, why: e.to_string() }
                    };
                    let opening = async move { task.await.unwrap_or_else(|e| Err(ended(e))) }.boxed().shared();
                    state.opening = Some(opening.clone());
                    opening
                }
            }
        };
        opening.await
    }

    async fn open(&self) -> Result<Arc<Session>, PeerError> {
        let began = Instant::now();
        let shaken = tokio::time::timeout(HANDSHAKE, self.handshake()).await;
        let shaken = shaken.unwrap_or_else(|_| Err(self.no_answer("nothing within 2 s".into())));
        if let Ok((Some(_), node)) = &shaken {
            // It read its clock in the second half.
            self.peers.clocks.note(self.target.raft_id, node.clock_ms, began + began.elapsed() * 3 / 4);
        }
        self.note_other(&shaken);
        let mut state = self.slot.state.lock();
        state.opening = None;
        let (session, _) = shaken?;
        state.session = session.clone();
        session.ok_or_else(|| {
            PeerError::Unproved(format!("{} has no cluster secret: it waits to be registered", self.target.url))
        })
    }

    /// Notes who answers where a member is called, if it is not the member.
    fn note_other(&self, shaken: &Result<(Option<Arc<Session>>, NodeInfo), PeerError>) {
        let other = match shaken {
            Ok((None, _)) => Other::Empty,
            Err(PeerError::NotLetIn(e)) => match e.detail(NOT_LET_IN).and_then(serde_json::Value::as_str) {
                Some("waiting") => Other::Empty,
                Some("cluster" | "bad_proof") => Other::Foreign,
                Some("target") => Other::Else,
                _ => return,
            },
            Err(PeerError::Unproved(_)) => Other::Foreign,
            _ => return,
        };
        self.peers.hearing.note_other(self.target.raft_id, other);
    }

    /// Whether a node answers that has a cluster secret.
    pub async fn has_secret(&self) -> bool {
        let request = IdentityRequest { nonce: Nonce::random().as_str().to_owned() };
        self.ask::<IdentityAnswer>("/raft/rpc/identity", &request).await.is_ok_and(|identity| identity.secret)
    }

    /// Opens a session with a node that has a secret, and asks one that has none, and is ours, who it is.
    pub(super) async fn handshake(&self) -> Result<(Option<Arc<Session>>, NodeInfo), PeerError> {
        let caller = self.peers.caller();
        let nonce = Nonce::random();
        let asked = IdentityRequest { nonce: nonce.as_str().to_owned() };
        let identity: IdentityAnswer = self.ask("/raft/rpc/identity", &asked).await?;
        let called = checked_nonce(&self.target.url, &identity)?;
        let Some(secrets) = caller.secrets else {
            return Err(PeerError::Unproved("this node has no cluster secret yet".into()));
        };
        // A node that starts may have its secret from one moment to the next; what it said of its nonce stays true.
        if !identity.secret
            && let Some(mut process) = OwnProcess::greet(&self.target.url).await?
        {
            return Ok((None, process.who(&caller.cluster, caller.raft_id, self.target.raft_id).await?));
        }
        let mut request = ProveRequest {
            caller: nonce.as_str().to_owned(),
            called: called.as_str().to_owned(),
            cluster: caller.cluster,
            from: caller.raft_id,
            to: self.target.raft_id,
            url: self.target.url.clone(),
            proofs: Vec::new(),
        };
        request.proofs = secrets.iter().map(|secret| Handshake::of(&request).caller_proof(secret)).collect();
        let answer = self.ask_to_prove(&request).await?;
        self.session_of(&secrets, &request, &answer)
    }

    /// Where strangers crowd in, again: nothing is begun by a call that is turned away.
    async fn ask_to_prove(&self, request: &ProveRequest) -> Result<ProveAnswer, PeerError> {
        loop {
            match self.ask("/raft/rpc/prove", request).await {
                Err(PeerError::Refused(e)) if e.code() == ErrorCode::Busy => tokio::time::sleep(AGAIN).await,
                answered => return answered,
            }
        }
    }

    fn session_of(
        &self,
        secrets: &Secrets,
        request: &ProveRequest,
        answer: &ProveAnswer,
    ) -> Result<(Option<Arc<Session>>, NodeInfo), PeerError> {
        let url = &self.target.url;
        let handshake = Handshake::of(request);
        let node = answer.node.get();
        let proves =
            |secret: &&super::Secret| same(&handshake.called_proof(secret, node, answer.removed), &answer.proof);
        let Some(secret) = secrets.iter().find(proves) else {
            return Err(PeerError::Unproved(format!(
                "{url} does not know this cluster's secret: give it the same ClusterSecret (config) or JETTRA_CLUSTER_SECRET"
            )));
        };
        if let Some(index) = answer.removed {
            self.peers.note_removed(index);
            return Err(PeerError::NotLetIn(Error::unavailable(format!(
                "this node was removed from the cluster, at index {index} at the latest"
            ))));
        }
        let node =
            serde_json::from_str(node).map_err(|e| PeerError::Unproved(format!("{url} tells of itself: {e}")))?;
        let (name, key) = (request.called.clone(), handshake.key(secret));
        Ok((Some(Arc::new(Session { name, key, sequence: AtomicU64::new(1) })), node))
    }
}

/// The nonce of a node whose calls are of this version.
pub(super) fn checked_nonce(url: &str, identity: &IdentityAnswer) -> Result<Nonce, PeerError> {
    if identity.rpc_version != RPC_VERSION {
        return Err(PeerError::NotLetIn(Error::conflict(format!(
            "{url} runs version {} whose calls between nodes differ from this node's: run the same version on both",
            identity.version
        ))));
    }
    Nonce::parse(&identity.nonce).ok_or_else(|| PeerError::Unproved(format!("{url} is no JettraDB node")))
}

//! openraft's outgoing calls, over [`crate::peers`].

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};

use super::log::{Member, Vote};
use super::machine::{SnapshotData, SnapshotOf};
use super::pace::{Pace, Sending};
use super::snapshot;
use super::types::TypeConfig;
use super::wire::{Envelope, encode_append};
use crate::peers::{NOT_LET_IN, Peer, PeerError, Peers, Target};
use jettra_client::wire::ErrorCode;

type RpcError = RPCError<TypeConfig>;

/// A snapshot's receiver that takes nothing for so long is given up.
const SNAPSHOT_IDLE: Duration = Duration::from_secs(30);
/// An append may take this long: its follower writes up to 4 MiB to disk before it answers.
const APPEND: Duration = Duration::from_secs(5);

/// Makes a client for each peer.
pub struct Network {
    peers: Arc<Peers>,
    cluster: String,
    id: u64,
    sending: Arc<Sending>,
    applied: watch::Receiver<u64>,
}

impl Network {
    /// The network as node `id` of `cluster` sees it. Snapshots are counted in `sending` and keep the pace of the
    /// writes that `applied` tells of.
    pub fn new(
        peers: Arc<Peers>,
        cluster: String,
        id: u64,
        sending: Arc<Sending>,
        applied: watch::Receiver<u64>,
    ) -> Self {
        Network { peers, cluster, id, sending, applied }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, node: &Member) -> Connection {
        let peer = self.peers.get(&Target { url: node.url.clone(), raft_id: target });
        Connection {
            peers: self.peers.clone(),
            peer,
            cluster: self.cluster.clone(),
            from: self.id,
            to: target,
            sending: self.sending.clone(),
            applied: self.applied.clone(),
        }
    }
}

/// The client of one peer.
pub struct Connection {
    peers: Arc<Peers>,
    /// The client of the peer where it was when this connection was made.
    peer: Arc<Peer>,
    cluster: String,
    from: u64,
    to: u64,
    sending: Arc<Sending>,
    applied: watch::Receiver<u64>,
}

impl Connection {
    /// The client of the peer where it is now: a member may have moved since this connection was made.
    fn peer(&self) -> Arc<Peer> {
        match self.peers.moved_from(self.to, &self.peer.target().url) {
            Some(url) => self.peers.get(&Target { url, raft_id: self.to }),
            None => self.peer.clone(),
        }
    }

    async fn call<T: DeserializeOwned>(&self, path: &str, body: impl Serialize, ttl: Duration) -> Result<T, RpcError> {
        let call = Envelope { cluster: self.cluster.clone(), from: self.from, to: self.to, body };
        let peer = self.peer();
        peer.call_json(path, &call, ttl).await.map_err(|e| self.failed(&peer, e))
    }

    /// A member that does not answer where it moved to may be back where it was.
    fn failed(&self, peer: &Peer, e: PeerError) -> RpcError {
        if peer.target().url != self.peer.target().url && !matches!(e, PeerError::NoAnswer { .. }) {
            self.peers.forget_move(self.to);
        }
        rpc_error(e)
    }
}

/// Nobody there, or a node that starts, waits or does not trust this one, makes openraft back off; all else it tries
/// again at once, such as a member that is where another one was a moment ago.
fn rpc_error(e: PeerError) -> RpcError {
    let at_once = match &e {
        PeerError::Refused(refused) => refused.code() != ErrorCode::Unavailable,
        PeerError::NotLetIn(refused) => refused.detail(NOT_LET_IN).is_some_and(|reason| reason == "target"),
        PeerError::NoAnswer { .. } => true,
        PeerError::Unreachable { .. } | PeerError::Unproved(_) => false,
    };
    if at_once { RPCError::Network(NetworkError::new(&e)) } else { RPCError::Unreachable(Unreachable::new(&e)) }
}

impl RaftNetworkV2<TypeConfig> for Connection {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        let ttl = if rpc.entries.is_empty() { option.hard_ttl() } else { option.hard_ttl().max(APPEND) };
        let body = encode_append(&self.cluster, self.from, self.to, &rpc)
            .map_err(|e| RPCError::Network(NetworkError::new(&e)))?;
        let peer = self.peer();
        let answer = peer.call("/raft/rpc/append", body, ttl).await.map_err(|e| self.failed(&peer, e))?;
        serde_json::from_slice(&answer).map_err(|e| RPCError::Network(NetworkError::new(&e)))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.call("/raft/rpc/vote", rpc, option.hard_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.call("/raft/rpc/pre-vote", rpc, option.hard_ttl()).await
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        self.call("/raft/rpc/transfer", req, option.hard_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let SnapshotData::View(view) = snapshot.snapshot else {
            let e = std::io::Error::other("only a pinned view can be sent");
            return Err(StreamingError::Unreachable(Unreachable::new(&e)));
        };
        let head = Envelope {
            cluster: self.cluster.clone(),
            from: self.from,
            to: self.to,
            body: snapshot::Head::new(vote, snapshot.meta),
        };
        let head = serde_json::to_vec(&head).map_err(|e| StreamingError::Network(NetworkError::new(&e)))?;
        let (sender, receiver) = mpsc::channel::<Result<Bytes, std::io::Error>>(4);
        tracing::info!(to = self.to, "sending a snapshot");
        let (began, _sending) = (Instant::now(), self.sending.begin());
        let mut pace = Pace::new(self.sending.clone(), self.applied.clone());
        let peer = self.peer();
        let sent = peer.stream("/raft/rpc/snapshot", &head, |sealed_head, key| {
            let framed = snapshot::frame_head(&sealed_head);
            tokio::task::spawn_blocking(move || {
                let (state, pin) = *view;
                let runtime = tokio::runtime::Handle::current();
                let mut working_since = Instant::now();
                let mut send = |bytes: Bytes| {
                    let (worked, size) = (working_since.elapsed(), bytes.len());
                    let idle = async { tokio::time::timeout(SNAPSHOT_IDLE, sender.send(Ok(bytes))).await };
                    let sent = matches!(runtime.block_on(idle), Ok(Ok(())));
                    std::thread::sleep(pace.rest(worked, size, Instant::now()));
                    working_since = Instant::now();
                    sent
                };
                if !send(framed) {
                    return;
                }
                if let Err(e) = snapshot::write(&state, &pin, &key, send) {
                    tracing::error!(error = %e, "reading the snapshot's view failed");
                }
            });
            let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
                receiver.recv().await.map(|chunk| (chunk, receiver))
            });
            reqwest::Body::wrap_stream(stream)
        });
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            answer = sent => {
                // Whatever it was: beginning a whole snapshot again at once would not mend it.
                let answer = answer.map_err(|e| StreamingError::Unreachable(Unreachable::new(&e)))?;
                tracing::info!(to = self.to, seconds = began.elapsed().as_secs_f64(), "the snapshot is installed");
                serde_json::from_slice(&answer).map_err(|e| StreamingError::Network(NetworkError::new(&e)))
            }
        }
    }
}

//! The joining node's side: it is told which member it is, keeps that, and opens Raft.

use std::sync::Arc;
use std::time::Duration;

use jettra_client::wire::ErrorCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::identity::Membership;
use super::{Cluster, Stop};
use crate::error::{Error, Result};
use crate::peers::{NodeInfo, PeerError, Secret, Target};
use crate::raft::{Consensus, Envelope, Member};
use crate::state::MemberDoc;

/// `join`: you are member `raft_id` of the envelope's cluster.
#[derive(Clone, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The Raft id that the node gets, for good.
    pub raft_id: u64,
    /// Who says so.
    pub leader: Member,
    /// The cluster's feature level.
    #[serde(default)]
    pub feature_level: u64,
    /// The cluster's secret, for a node of the same user that has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl std::fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinRequest")
            .field("raft_id", &self.raft_id)
            .field("leader", &self.leader)
            .finish_non_exhaustive()
    }
}

/// Between two rounds of asking the configured peers.
const ASK_AGAIN: Duration = Duration::from_secs(1);

impl Cluster {
    /// Takes the membership that a leader hands over. The caller has checked who calls: a session,
    /// or, while this node has no secret, a process of the same user.
    ///
    /// # Errors
    /// `conflict` when this node is a member already, of this cluster or another.
    pub async fn join(self: &Arc<Self>, call: Envelope<JoinRequest>) -> Result<Value> {
        self.wait_whose(Duration::from_secs(5)).await;
        if self.identity().membership.is_none() && !*self.started.borrow() {
            return Err(Error::unavailable("this node is starting: try again in a moment"));
        }
        // A task of its own: a caller that goes away must not leave the node half open.
        let node = self.clone();
        let joining = tokio::spawn(async move { node.join_once(call).await });
        joining.await.map_err(|e| Error::internal(e.to_string()))?
    }

    async fn join_once(self: &Arc<Self>, call: Envelope<JoinRequest>) -> Result<Value> {
        let _once = self.changes.lock().await;
        let identity = self.identity();
        let wanted = Membership { cluster_id: call.cluster, raft_id: call.body.raft_id };
        if let Some(membership) = &identity.membership {
            if *membership == wanted {
                if self.running().is_none() {
                    self.open_or_fail().await?;
                }
                return Ok(json!({"status": "joined"}));
            }
            return Err(Error::conflict(format!(
                "this node is member {} of cluster {}: remove its data directory before it joins anew",
                membership.raft_id, membership.cluster_id
            )));
        }
        if !self.options().distributed {
            return Err(Error::conflict("this node is standalone: set \"distributed\": true in its config.json"));
        }
        crate::feature::check(call.body.feature_level, "the cluster").map_err(Error::conflict)?;
        let secret = call.body.secret.as_deref().and_then(Secret::new);
        self.adopt(wanted.clone(), call.body.feature_level.max(1), secret).await.map_err(Error::internal)?;
        tracing::info!(
            cluster = wanted.cluster_id,
            raft_id = wanted.raft_id,
            leader = call.body.leader.url,
            "joining a cluster"
        );
        self.open_or_fail().await?;
        Ok(json!({"status": "joined"}))
    }

    async fn open_or_fail(self: &Arc<Self>) -> Result<()> {
        if let Err(e) = self.open().await {
            self.fail(format!("the node joined but raft did not open: {e}"));
            return Err(Error::internal(e));
        }
        Ok(())
    }

    /// Asks the configured peers in turn to register this node, as a read replica unless it is to be a `voter`, until it
    /// is a member.
    pub async fn ask_peers(self: Arc<Self>, peers: Vec<String>, voter: bool) {
        let mut stopped = self.stopped();
        let mut told = None;
        loop {
            for url in peers.iter().filter(|url| url.as_str() != self.url()) {
                if self.identity().membership.is_some() {
                    return;
                }
                if let Err(e) = self.ask_peer(url, voter).await
                    && told.as_deref() != Some(e.message())
                {
                    tracing::info!(peer = url, error = e.message(), "not registered yet, asking on");
                    told = Some(e.message().to_owned());
                }
            }
            tokio::select! {
                _ = tokio::time::sleep(ASK_AGAIN) => {}
                _ = stopped.wait_for(|s| *s != Stop::Running) => return,
            }
        }
    }

    /// A member that is not where it is registered tells the others, until they have registered it where it is. It may
    /// know others by their documents, or by `peers` where they have moved too.
    pub async fn announce_move(self: Arc<Self>, consensus: Arc<Consensus>, peers: Vec<String>) {
        let mut stopped = self.stopped();
        let mut refused = None;
        for round in 0.. {
            let docs = consensus.state().members();
            let registered = |doc: &MemberDoc| doc.raft_id == consensus.id() && doc.url == self.url();
            // Once it is told in any case: it may have been elsewhere for a while and be back.
            if docs.is_empty() || (round > 0 && docs.iter().any(registered)) {
                return;
            }
            let mut urls: Vec<String> = docs.into_iter().map(|doc| doc.url).chain(peers.iter().cloned()).collect();
            urls.sort_unstable();
            urls.dedup();
            for url in urls.iter().filter(|url| url.as_str() != self.url()) {
                match self.tell_move(&consensus, url).await {
                    // One that starts itself has nothing against it.
                    Err(PeerError::Refused(e) | PeerError::NotLetIn(e))
                        if e.code() != ErrorCode::Unavailable && refused.as_deref() != Some(e.message()) =>
                    {
                        tracing::warn!(
                            peer = url,
                            error = e.message(),
                            "a member does not believe that this node is here"
                        );
                        refused = Some(e.message().to_owned());
                    }
                    Err(e) => tracing::debug!(peer = url, error = %e, "not told yet where this node is"),
                    Ok(()) => {}
                }
            }
            tokio::select! {
                _ = tokio::time::sleep(ASK_AGAIN) => {}
                _ = stopped.wait_for(|s| *s != Stop::Running) => return,
            }
        }
    }

    async fn tell_move(&self, consensus: &Consensus, url: &str) -> std::result::Result<(), PeerError> {
        let info = self.peers.get(&Target { url: url.to_owned(), raft_id: 0 }).who().await?;
        let ours = info.cluster_id.as_deref() == Some(consensus.cluster());
        let Some(raft_id) = info.raft_id.filter(|id| ours && *id != consensus.id()) else { return Ok(()) };
        // It has just proved who it is, wherever it is registered.
        self.peers.note_moved(raft_id, url);
        let peer = self.peers.get(&Target { url: url.to_owned(), raft_id });
        let (cluster, from) = (consensus.cluster().to_owned(), consensus.id());
        let call = Envelope { cluster, from, to: raft_id, body: json!({"url": self.url()}) };
        peer.call_json::<Value>("/raft/rpc/moved", &call, Duration::from_secs(5)).await.map(drop)
    }

    /// Member `raft_id` says that it is at `url`: it is dialled there, and believed if it proves who it is.
    ///
    /// # Errors
    /// `bad_request` for no URL, `conflict` where another node answers there.
    pub async fn check_move(&self, raft_id: u64, url: &str) -> Result<()> {
        let url = super::membership::normalize_url(url)?;
        let member = self.members()?.into_iter().find(|doc| doc.raft_id == raft_id);
        let member = member.ok_or_else(|| Error::conflict(format!("there is no member with the raft id {raft_id}")))?;
        self.prove_move(&member, &url).await?;
        self.peers.note_moved(raft_id, &url);
        Ok(())
    }

    /// Makes sure that it is member `doc` that answers at `url`, and no other process as the same member where that is
    /// registered: two nodes on copies of one data directory would vote twice.
    ///
    /// # Errors
    /// `conflict` where another node answers, or two do as one; as every call to a node where none answers at `url`.
    pub(super) async fn prove_move(&self, doc: &MemberDoc, url: &str) -> Result<()> {
        let at = |url: &str| self.peers.get(&Target { url: url.to_owned(), raft_id: doc.raft_id });
        let is_it = |info: &NodeInfo| info.raft_id == Some(doc.raft_id) && info.incarnation == doc.incarnation;
        let here = at(url).who().await.map_err(|e| match e {
            PeerError::NotLetIn(e) => {
                Error::conflict(format!("the node at {url} is not member {:?}: {}", doc.id, e.message()))
            }
            other => Error::from(other),
        })?;
        if !is_it(&here) {
            return Err(Error::conflict(format!("another node than member {:?} answers at {url}", doc.id)));
        }
        if doc.url != url
            && let Ok(there) = at(&doc.url).who().await
            && is_it(&there)
            && there.instance != here.instance
        {
            return Err(Error::conflict(format!(
                "two nodes run on copies of the data directory of {:?}, at {} and at {url}: stop the one at {url}, and \
                 never start a copy beside its original",
                doc.id, doc.url
            )));
        }
        Ok(())
    }

    async fn ask_peer(self: &Arc<Self>, url: &str, voter: bool) -> Result<()> {
        const PATH: &str = "/raft/rpc/register-me";
        let peer = self.peers.get(&Target { url: url.to_owned(), raft_id: 0 });
        let call =
            Envelope { cluster: String::new(), from: 0, to: 0, body: json!({"url": self.url(), "voter": voter}) };
        // A node without the secret is heard only by a node of the same user on this machine.
        let asked = if self.secrets().is_some() {
            peer.call_json::<Value>(PATH, &call, Duration::from_secs(5)).await
        } else {
            peer.ask::<Value>(PATH, &call).await
        };
        asked.map(drop).map_err(Error::from)
    }

    /// Whether one of `peers` belongs to a cluster already; asked before a node makes one of its own.
    pub async fn find_cluster(self: &Arc<Self>, peers: &[String]) -> Option<String> {
        for url in peers.iter().filter(|url| url.as_str() != self.url()) {
            let peer = self.peers.get(&Target { url: url.clone(), raft_id: 0 });
            let exists = if self.secrets().is_some() {
                match peer.who().await {
                    Ok(info) => info.cluster_id.is_some(),
                    // It has another secret: so it belongs to something.
                    Err(PeerError::Refused(_) | PeerError::NotLetIn(_)) => true,
                    Err(_) => false,
                }
            } else {
                // This node has none yet; one that has one was given it by a cluster.
                peer.has_secret().await
            };
            if exists {
                return Some(url.clone());
            }
        }
        None
    }
}

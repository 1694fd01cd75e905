//! A node that is to join is asked who it is; if it may join, it is told which member it is.

use std::time::Duration;

use jettra_client::wire::ErrorCode;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::cluster::join::JoinRequest;
use crate::error::{Error, Result};
use crate::peers::{NOT_LET_IN, NodeInfo, OwnProcess, Peer, PeerError, RPC_VERSION, Secret, Target};
use crate::raft::{Consensus, Envelope};

impl Cluster {
    /// Who answers at `url`, if it may join. Nothing is written yet: a node that cannot be let in leaves no trace.
    pub(super) async fn ask_joiner(&self, consensus: &Consensus, url: &str) -> Result<NodeInfo> {
        let stranger = self.peers.get(&Target { url: url.to_owned(), raft_id: 0 });
        let info = stranger.who().await.map_err(|e| cannot_register(url, e))?;
        self.may_join(consensus, url, &info)?;
        if info.raft_id.is_none() && !stranger.is_proved() {
            self.secret_to_hand(url)?;
        }
        Ok(info)
    }

    fn may_join(&self, consensus: &Consensus, url: &str, info: &NodeInfo) -> Result<()> {
        if info.rpc_version != RPC_VERSION {
            return Err(Error::conflict(format!(
                "{url} runs version {} whose calls between nodes differ from this node's: run the same version on both",
                info.version
            )));
        }
        let level = consensus.state().feature_level();
        if info.feature_level < level {
            return Err(Error::conflict(format!(
                "{url} runs version {}, which supports feature level {} and the cluster is at {level}: install a newer version there",
                info.version, info.feature_level
            )));
        }
        if !info.distributed {
            return Err(Error::conflict(format!(
                "{url} is standalone: set \"distributed\": true in its config.json and restart it"
            )));
        }
        let identity = self.identity();
        if info.incarnation == identity.incarnation {
            return Err(itself(url));
        }
        if let Some(cluster) = &info.cluster_id
            && cluster != consensus.cluster()
        {
            return Err(Error::conflict(format!(
                "{url} belongs to another cluster ({cluster}): to move it here, stop it, remove its data directory and start it with \"Bootstrap\": false"
            )));
        }
        let members = consensus.state().members();
        // A Raft id is the revision of a registration: who is not there though that is applied, was removed.
        if let Some(id) = info.raft_id
            && consensus.applied_index() >= id
            && members.iter().all(|member| member.raft_id != id)
        {
            return Err(cannot_register(url, PeerError::Refused(was_removed())));
        }
        for member in members {
            if member.id == info.name && member.incarnation != info.incarnation {
                return Err(Error::conflict(format!(
                    "{url} calls itself {:?} like the member at {}: give it a NodeID of its own; if it is that member \
                     with a new disk, remove the old one first: curl -X POST {}/api/cluster/deregister -d \
                     '{{\"node\":\"{}\"}}', then register it again",
                    info.name,
                    member.url,
                    self.url(),
                    info.name
                ))
                .with("node", member.id.as_str()));
            }
            if member.url == url && member.id != info.name {
                return Err(Error::conflict(format!(
                    "{url} is the URL of the member {:?}: give this node another one, or remove that member first: \
                     curl -X POST {}/api/cluster/deregister -d '{{\"node\":\"{}\"}}'",
                    member.id,
                    self.url(),
                    member.id
                ))
                .with("node", member.id.as_str()));
            }
        }
        Ok(())
    }

    /// Tells the node which member it is; the secret only to a node that has none and is ours.
    pub(super) async fn hand_membership(
        &self,
        consensus: &Consensus,
        peer: &Peer,
        info: &NodeInfo,
        raft_id: u64,
    ) -> std::result::Result<(), PeerError> {
        let call = Envelope {
            cluster: consensus.cluster().to_owned(),
            from: consensus.id(),
            to: 0,
            body: JoinRequest {
                raft_id,
                leader: self.member(),
                feature_level: consensus.state().feature_level(),
                secret: None,
            },
        };
        // It opens its stores before it answers.
        let limit = Duration::from_secs(10);
        match peer.call_json::<Value>("/raft/rpc/join", &call, limit).await {
            Ok(_) => return Ok(()),
            // It has no secret to open a session with.
            Err(PeerError::Unproved(_)) => {}
            Err(e) => return Err(e),
        }
        let url = &peer.target().url;
        let secret = self.secret_to_hand(url).map_err(PeerError::Refused)?;
        let Some(mut process) = OwnProcess::greet(url).await? else {
            return Err(PeerError::Unproved(format!("{url} has got a cluster secret meanwhile: register it again")));
        };
        let there = process.who(consensus.cluster(), consensus.id(), 0).await?;
        if (&there.name, &there.incarnation, &there.instance) != (&info.name, &info.incarnation, &info.instance) {
            return Err(PeerError::Unproved(format!(
                "another node answers at {url} than a moment ago: register it again"
            )));
        }
        let call = Envelope { body: JoinRequest { secret: Some(secret.reveal().to_owned()), ..call.body }, ..call };
        process.tell::<Value>("/raft/rpc/join", &call, limit).await?;
        tracing::info!(url, node = info.name, "the cluster secret was handed to a process of the same user");
        Ok(())
    }

    /// The secret, if it may be handed to a node that has none.
    fn secret_to_hand(&self, url: &str) -> Result<Secret> {
        self.secrets().map(|secrets| secrets.now).filter(|_| self.hands_out_secret()).ok_or_else(|| {
            Error::forbidden(format!(
                "{url} has no cluster secret and this cluster's was configured: set the same ClusterSecret there"
            ))
        })
    }
}

fn is_for(e: &Error, reason: &str) -> bool {
    e.detail(NOT_LET_IN).is_some_and(|why| why == reason)
}

/// The error where a node is to register itself.
pub(super) fn itself(url: &str) -> Error {
    Error::conflict(format!("{url} is this node itself, which is a member already"))
}

/// The error where a node was a member before.
pub(super) fn was_removed() -> Error {
    Error::conflict(
        "it was a member before and was removed: stop it, remove its data directory, start it with \"Bootstrap\": false \
         and register it again",
    )
}

/// The error for the client that asked for the registration, from what the node itself answered.
pub(super) fn cannot_register(url: &str, e: PeerError) -> Error {
    match e {
        PeerError::Unreachable { why, .. } => Error::bad_request(format!(
            "nothing answers at {url} ({why}): start the node with \"distributed\": true and register it again"
        )),
        PeerError::NoAnswer { why, .. } => {
            Error::bad_request(format!("{url} does not answer as a JettraDB node ({why}): check the URL"))
        }
        PeerError::Unproved(why) => Error::forbidden(why),
        // It is the node that does not let this one in. The client's own credentials are right, so it is no 401.
        PeerError::NotLetIn(e) if e.code() == ErrorCode::Unauthorized => Error::forbidden(format!(
            "{url} has another cluster secret: if it is standalone or began a cluster of its own, stop it, remove its data \
             directory and start it with \"distributed\": true, \"Bootstrap\": false; else set the same ClusterSecret \
             (config) or JETTRA_CLUSTER_SECRET on every node"
        )),
        PeerError::NotLetIn(e) if is_for(&e, "cluster") => Error::conflict(format!(
            "{url} belongs to another cluster: to move it here, stop it, remove its data directory and start it with \
             \"Bootstrap\": false"
        )),
        PeerError::Refused(e) | PeerError::NotLetIn(e) => {
            Error::new(e.code(), format!("{url} refuses: {}", e.message()))
        }
    }
}

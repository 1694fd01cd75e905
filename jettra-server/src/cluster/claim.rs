//! Another cluster that counts this node as its member.
//!
//! A node with an empty data directory and `Bootstrap: true` begins a cluster. But a first node that has lost its disk has
//! one too: a second cluster at its URL would acknowledge writes that the first one never sees. The members of the first
//! one dial that URL, each half second at least as long as one of them leads; and they prove who they are, by the secret
//! that is configured on all nodes, or, where there is none, as processes of the same user on this machine. So:
//!
//! - A node that is about to begin a cluster listens for [`LISTENS`] first. Who is called as a member begins none.
//! - A cluster of one that was begun here, and is called so later (the others were down), takes no more writes until its
//!   node is started again. A cluster with other members, and one that was recovered, has reasons of its own to be there.

use std::time::Duration;

use super::Cluster;
use crate::error::{Error, Result};
use crate::peers::ProveRequest;

/// How long a node listens before it begins a cluster: a leader dials a member that is down each half second.
const LISTENS: Duration = Duration::from_secs(1);
/// Where a recovered cluster's revisions begin, at least: its old members may still be somewhere.
const RECOVERED: u64 = 1 << 40;

/// What a member of another cluster takes this node for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The other cluster's id.
    pub cluster: String,
    /// The Raft id that this node has in it.
    pub raft_id: u64,
    /// The URL that was dialled.
    pub url: String,
}

impl Claim {
    /// The commands by which this node, whose data are in `data_dir`, becomes a member of the other cluster again.
    pub(super) fn way_back(&self, data_dir: &str, is_begun: bool) -> String {
        let empty = if is_begun {
            let dir = crate::remedy::shell_word(data_dir);
            let aside = crate::remedy::shell_word(&format!("{data_dir}.second"));
            format!("stop it, set \"Bootstrap\": false, mv {dir} {aside}, start it, and ")
        } else {
            String::new()
        };
        format!("{empty}run {}", register_anew("http://<a member of it>", &self.url))
    }
}

impl Claim {
    /// What to do where this node has begun a cluster of its own.
    pub(super) fn ways_out(&self, data_dir: &str) -> String {
        format!(
            "if it has lost its data: {}. If that other cluster is given up: stop its nodes, then start this one again",
            self.way_back(data_dir, true)
        )
    }
}

/// The two commands that let the node at `url`, which has lost its data, be a member again.
pub(super) fn register_anew(member: &str, url: &str) -> String {
    let post = |call: &str| format!("curl -X POST {member}/api/cluster/{call} -d '{{\"url\":\"{url}\"}}'");
    format!("{} and then {}", post("deregister"), post("register"))
}

impl Cluster {
    /// Notes that a caller, which has proved that it belongs to it, takes this node for a member of another cluster.
    pub fn note_claim(&self, request: &ProveRequest) {
        let own = self.identity().membership;
        let is_other = own.as_ref().is_none_or(|own| own.cluster_id != request.cluster);
        if !is_other || request.cluster.is_empty() || request.to == 0 || !self.options.distributed || !self.is_young() {
            return;
        }
        let claim = Claim { cluster: request.cluster.clone(), raft_id: request.to, url: request.url.clone() };
        let is_new = self.claim.send_if_modified(|known| {
            let is_new = known.is_none();
            known.get_or_insert(claim);
            is_new
        });
        if is_new {
            tracing::warn!(
                cluster = request.cluster,
                from = request.from,
                raft_id = request.to,
                url = request.url,
                "a member of another cluster counts this node as a member of that"
            );
        }
    }

    /// Whether this node is the only member of a cluster that was begun here, or of none.
    fn is_young(&self) -> bool {
        let Some(consensus) = self.running() else { return self.identity().membership.is_none() };
        let state = consensus.state();
        state.members().len() <= 1 && consensus.applied_index() < RECOVERED
    }

    /// The other cluster that counts this node as its member.
    pub fn claim(&self) -> Option<Claim> {
        // Asked before each write, and nearly always there is none.
        let claim = self.claim.borrow().clone()?;
        let own = self.identity().membership;
        let is_other = own.is_none_or(|own| own.cluster_id != claim.cluster);
        (is_other && self.is_young()).then_some(claim)
    }

    /// Listens whether a member of another cluster calls this node its own, before it begins one.
    pub async fn listen_before_it_begins(&self) -> Option<Claim> {
        let mut claim = self.claim.subscribe();
        let heard = tokio::time::timeout(LISTENS, claim.wait_for(Option::is_some)).await;
        heard.ok()?.ok()?.clone()
    }

    /// Refuses what would change a cluster that began beside another one at the same URL.
    ///
    /// # Errors
    /// `unavailable`, with the ways out.
    pub(super) fn is_not_a_second_one(&self) -> Result<()> {
        let Some(claim) = self.claim() else { return Ok(()) };
        let Some(own) = self.identity().membership else { return Ok(()) };
        let message = format!(
            "this node has begun the cluster {} of its own, and another one ({}) counts it as its member: it takes no writes: {}",
            own.cluster_id,
            claim.cluster,
            claim.ways_out(&self.full_data_dir())
        );
        Err(Error::unavailable(message).with("otherCluster", claim.cluster))
    }
}

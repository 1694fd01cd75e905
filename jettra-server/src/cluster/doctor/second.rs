//! A member that came back without its data: what its own doctor says, and what the others say of it.

use super::diagnose::Sight;
use super::memory::Found;
use crate::cluster::claim::{Claim, register_anew};

/// Of a node that has nothing, and that a cluster counts as its member.
pub(super) fn lost(sight: &Sight, claim: &Claim) -> Found {
    Found {
        key: "lost".to_owned(),
        since: None,
        what: format!(
            "{} has no data, and the cluster {} counts it as its member with raft id {} at {}: what was in {} is lost, or it was \
             started on another directory",
            sight.asked, claim.cluster, claim.raft_id, claim.url, sight.data_dir
        ),
        works: "probes and the views of the cluster; the other members go on without this node".to_owned(),
        at_risk: "the cluster has one member less than it seems to have".to_owned(),
        next: format!("start it on its data directory; if that is lost: {}", claim.way_back(&sight.data_dir, false)),
    }
}

/// Of a node that has begun a second cluster.
pub(super) fn second(sight: &Sight, claim: &Claim) -> Found {
    Found {
        key: "second".to_owned(),
        since: None,
        what: format!(
            "{} has begun a cluster of its own, and another one ({}) counts it as its member with raft id {} at {}",
            sight.asked, claim.cluster, claim.raft_id, claim.url
        ),
        works: "reads of what is here; writes are refused".to_owned(),
        at_risk: "what was written here before it was told is on no other node".to_owned(),
        next: claim.ways_out(&sight.data_dir),
    }
}

/// What to do where another node answers at a member's `url`.
pub(super) fn of_other(sight: &Sight, url: &str) -> String {
    let via = sight.members.iter().find(|member| member.heard).map_or("http://<a member>", |member| &member.url);
    format!(
        "look at the machine of {url}: if the node has lost its data, see that its data directory is empty and \"Bootstrap\" is \
         false, start it, and run {}",
        register_anew(via, url)
    )
}

//! What a node says of itself that serves no cluster yet, or no more.

use super::diagnose::Sight;
use super::memory::Found;

pub(super) fn waits(sight: &Sight, url: &str) -> Found {
    Found {
        key: "waits".to_owned(),
        since: None,
        what: format!("{} at {url} waits to be registered by a member of a cluster", sight.asked),
        works: "probes and the views of the cluster; nothing is stored here yet".to_owned(),
        at_risk: "nothing: no other node counts on this one".to_owned(),
        next: format!(
            "register it at a member, say at http://localhost:8080: curl -X POST http://localhost:8080/api/cluster/register -d '{{\"url\":\"{url}\"}}'"
        ),
    }
}

pub(super) fn removed(sight: &Sight, index: u64, data_dir: &str) -> Found {
    Found {
        key: "removed".to_owned(),
        since: None,
        what: format!("{} was removed from the cluster, at index {index} at the latest", sight.asked),
        works: "nothing that needs the cluster; the other members go on without this node".to_owned(),
        at_risk: "clients that still know only this node".to_owned(),
        next: format!(
            "stop it for good; or to use it anew: stop it, then: mv {data_dir} {data_dir}.removed, start it and register it"
        ),
    }
}

pub(super) fn starts(sight: &Sight) -> Found {
    Found {
        key: "starts".to_owned(),
        since: None,
        what: format!("{} is opening its stores, or could not", sight.asked),
        works: "probes".to_owned(),
        at_risk: "the other members have one node less until it is there".to_owned(),
        next:
            "wait a moment; if it stays so, read the node's log and: curl http://localhost:8080/readyz at its own port"
                .to_owned(),
    }
}

//! Keeps each node able to tell who is there when nobody leads. As long as a node hears a leader, it believes what the
//! leader says of the others. When it hears none, it asks them itself.

use std::sync::Arc;
use std::time::Duration;

use jettra_client::wire::Status;
use serde_json::json;
use tokio::task::JoinSet;

use super::{Cluster, Due, Duty};
use crate::peers::Target;
use crate::raft::{Consensus, Envelope};
use crate::state::MemberDoc;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(250);
/// Who was heard within so long is not asked.
const LATELY: Duration = Duration::from_millis(400);
/// How long a member has to answer.
const ASK: Duration = Duration::from_millis(500);

/// Notes who is there.
pub(super) struct Hearing;

impl Duty for Hearing {
    const NAME: &'static str = "what listens for the members";

    fn due(&self) -> Due {
        Due::Every(EVERY)
    }

    async fn look(&mut self, node: &Arc<Cluster>, consensus: &Arc<Consensus>) {
        let (picture, docs) = (consensus.picture(), consensus.state().members());
        let hearing = &node.peers.hearing;
        hearing.know(&docs.iter().map(|doc| doc.raft_id).collect::<Vec<_>>());
        match picture.believed {
            // This node leads, so the members' answers to its appends tell who is there.
            Some(leader) if leader == picture.id => {}
            Some(leader) => {
                let word = docs.iter().filter(|doc| doc.status != Status::Inactive && doc.raft_id != leader);
                word.for_each(|doc| hearing.note(doc.raft_id));
            }
            None => ask(node, consensus, &docs).await,
        }
    }
}

/// Asks those that were not heard lately; an answer is noted where it comes in.
async fn ask(cluster: &Cluster, consensus: &Consensus, docs: &[MemberDoc]) {
    let mut asked = JoinSet::new();
    for doc in docs.iter().filter(|doc| doc.raft_id != consensus.id()) {
        if cluster.peers.hearing.silence(doc.raft_id).is_some_and(|silence| silence < LATELY) {
            continue;
        }
        let (from, to) = (consensus.id(), doc.raft_id);
        let peer = cluster.peers.get(&Target { url: doc.url.clone(), raft_id: to });
        let call = Envelope { cluster: consensus.cluster().to_owned(), from, to, body: json!({}) };
        asked
            .spawn(async move { peer.call_json::<serde::de::IgnoredAny>("/raft/rpc/nodes", &call, ASK).await.is_ok() });
    }
    let answered = asked.join_all().await.into_iter().filter(|answered| *answered).count();
    tracing::debug!(answered, "nobody leads: the members were asked");
}

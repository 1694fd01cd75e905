//! Opening the stores; and where a member has its log but not its state, fetching that from another member first.
//!
//! The log keeps what this node has promised: the entries that it acknowledged and its vote. Until it has a state that
//! its log can go on from it takes no part in anything, which breaks no promise. Any member may give the state, since
//! what a member has applied is committed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Cluster;
use super::addresses::{Address, Addresses};
use super::identity::Membership;
use crate::peers::Target;
use crate::raft::{Envelope, LogStore, StateStore, fetch};

/// Between two rounds of asking the members.
const ASK_AGAIN: Duration = Duration::from_secs(1);

impl Cluster {
    /// Opens log and state of the member that this node is.
    ///
    /// # Errors
    /// I/O errors and damage; a state that the log does not go on from, where nobody can be asked for another one.
    pub(super) async fn open_stores(
        self: &Arc<Self>,
        membership: &Membership,
    ) -> Result<(LogStore, Arc<StateStore>), String> {
        let options = self.options.clone();
        let opening = tokio::task::spawn_blocking(move || {
            let log = LogStore::open(&options.data_dir.join("log")).map_err(|e| e.to_string())?;
            let dir = options.data_dir.join("state");
            let store = StateStore::open(&dir, options.cache_bytes).map_err(|e| e.to_string())?;
            let known = Addresses::load(&options.data_dir).unwrap_or_else(|e| {
                tracing::warn!(error = %e, "going on without the members' addresses: they are written again");
                None
            });
            Ok::<_, String>((log, Arc::new(store), known.unwrap_or_default()))
        });
        let (log, store, known) = opening.await.map_err(|e| e.to_string())??;
        let (first, applied) = (log.bounds().0, store.state().applied().index);
        let next = applied.map_or(0, |index| index + 1);
        if next < first {
            let others: Vec<Address> = known.others(membership.raft_id).cloned().collect();
            // A state that has something and not enough is not what a repair leaves behind.
            if applied.is_some() || others.is_empty() {
                return Err(format!(
                    "the state in {} ends before index {next} and the log begins at {first}: something in between is lost",
                    store.dir().display()
                ));
            }
            self.fetch_state(membership, &store, &others, first - 1).await;
        }
        fetch::fit_log(&log, &store.state()).await.map_err(|e| e.to_string())?;
        Ok((log, store))
    }

    /// Asks the members in turn until one has given a state that stands at `at_least` or behind it.
    async fn fetch_state(&self, membership: &Membership, store: &Arc<StateStore>, others: &[Address], at_least: u64) {
        tracing::warn!(at_least, "this node has no state: fetching it from another member");
        let mut told = None;
        loop {
            for other in others {
                match self.fetch_from(membership, store, other, at_least).await {
                    Ok(()) => {
                        tracing::info!(from = other.name, at = store.state().applied().index, "the state was fetched");
                        return;
                    }
                    Err(why) if told.as_ref() != Some(&why) => {
                        tracing::warn!(from = other.url, why, "the state was not fetched, asking on");
                        told = Some(why);
                    }
                    Err(_) => {}
                }
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    async fn fetch_from(
        &self,
        membership: &Membership,
        store: &Arc<StateStore>,
        other: &Address,
        at_least: u64,
    ) -> Result<(), String> {
        let peer = self.peers.get(&Target { url: other.url.clone(), raft_id: other.raft_id });
        let call = Envelope {
            cluster: membership.cluster_id.clone(),
            from: membership.raft_id,
            to: other.raft_id,
            body: at_least,
        };
        let call = Bytes::from(serde_json::to_vec(&call).map_err(|e| e.to_string())?);
        let opened = peer.receive("/raft/rpc/fetch-state", call).await;
        let (response, key, sequence) = opened.map_err(|e| e.to_string())?;
        fetch::receive(store.clone(), Box::pin(response.bytes_stream()), key, sequence, at_least).await
    }
}

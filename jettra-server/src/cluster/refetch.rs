//! Opening the stores; and where a member has its log but not its state, fetching that from another member first.
//!
//! The log keeps what this node has promised: the entries that it acknowledged and its vote. Until it has a state that
//! its log can go on from it takes no part in anything, which breaks no promise. Any member may give the state, since
//! what a member has applied is committed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::addresses::{Address, Addresses};
use super::identity::Membership;
use super::{Cluster, Stop};
use crate::peers::Target;
use crate::raft::{Envelope, LogStore, StateStore, fetch, mark_path};
use crate::remedy::{Fault, Kind};

/// Between two rounds of asking the members.
const ASK_AGAIN: Duration = Duration::from_secs(1);

impl Cluster {
    /// Opens log and state of the member that this node is. `has_promised` says that its log cannot be empty.
    ///
    /// # Errors
    /// I/O errors and damage; a log that is gone; a state that the log does not go on from, where nobody can be asked for another one.
    pub(super) async fn open_stores(
        self: &Arc<Self>,
        membership: &Membership,
        has_promised: bool,
    ) -> Result<(LogStore, Arc<StateStore>), Fault> {
        let options = self.options.clone();
        let opening = tokio::task::spawn_blocking(move || {
            if let Some(why) = log_is_gone(&options.data_dir, has_promised) {
                return Err(Fault::new(Kind::Damage, why));
            }
            let log = options.data_dir.join("log");
            let log = LogStore::open(&log).map_err(|e| match Kind::of(&e) {
                Kind::Damage => Fault::new(Kind::Damage, e.to_string()),
                _ => Fault::io(format_args!("the raft log in {} cannot be opened", log.display()), &e),
            })?;
            let dir = options.data_dir.join("state");
            let store = StateStore::open(&dir, options.cache_bytes).map_err(|e| e.fault())?;
            let known = Addresses::load(&options.data_dir).unwrap_or_else(|e| {
                tracing::warn!(error = %e, "going on without the members' addresses: they are written again");
                None
            });
            Ok::<_, Fault>((log, Arc::new(store), known.unwrap_or_default()))
        });
        let (log, store, known) = opening.await.map_err(|e| Fault::other(e.to_string()))??;
        let (first, applied) = (log.bounds().0, store.state().applied().index);
        if log.is_pristine() && (has_promised || applied.is_some()) {
            return Err(Fault::new(Kind::Damage, log_is_lost(&self.options.data_dir)));
        }
        let next = applied.map_or(0, |index| index + 1);
        if next < first {
            let others: Vec<Address> = known.others(membership.raft_id).cloned().collect();
            // A state that has something and not enough is not what a repair leaves behind.
            if applied.is_some() || others.is_empty() {
                let what = format!(
                    "the state in {} ends before index {next} and the log begins at {first}: something in between is lost",
                    store.dir().display()
                );
                return Err(Fault::new(Kind::Damage, what));
            }
            self.fetch_state(membership, &store, &others, first - 1).await.map_err(Fault::other)?;
        }
        fetch::reconcile(&log, &store).await?;
        Ok((log, store))
    }

    /// Asks the members in turn until one has given a state that stands at `at_least` or behind it. Where they are may
    /// have changed: the configured peers are asked who they are.
    ///
    /// # Errors
    /// The node is asked to stop.
    async fn fetch_state(
        &self,
        membership: &Membership,
        store: &Arc<StateStore>,
        others: &[Address],
        at_least: u64,
    ) -> Result<(), String> {
        let mut stopped = self.stopped();
        let fetched = tokio::select! {
            () = self.ask_for_state(membership, store, others, at_least) => Ok(()),
            _ = stopped.wait_for(|s| *s != Stop::Running) => Err("stopped while the state was fetched".to_owned()),
        };
        *self.fetching.lock() = None;
        fetched
    }

    async fn ask_for_state(&self, membership: &Membership, store: &Arc<StateStore>, others: &[Address], at_least: u64) {
        tracing::warn!(at_least, "this node has no state: fetching it from another member");
        *self.fetching.lock() = Some("asking the other members".to_owned());
        let mut told = None;
        loop {
            let mut asked = others.to_vec();
            for url in self.options.peers.iter().filter(|url| url.as_str() != self.options.url) {
                if let Some(member) = self.member_at(membership, url).await
                    && !asked.contains(&member)
                {
                    asked.push(member);
                }
            }
            for other in &asked {
                match self.fetch_from(membership, store, other, at_least).await {
                    Ok(()) => {
                        tracing::info!(from = other.name, at = store.state().applied().index, "the state was fetched");
                        return;
                    }
                    Err(why) => {
                        let why = format!("{} at {}: {why}", other.name, other.url);
                        if told.as_ref() != Some(&why) {
                            tracing::warn!(why, "the state was not fetched, asking on");
                        }
                        *self.fetching.lock() = Some(why.clone());
                        told = Some(why);
                    }
                }
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// The other member of the same cluster that answers at `url`.
    async fn member_at(&self, membership: &Membership, url: &str) -> Option<Address> {
        let info = self.peers.get(&Target { url: url.to_owned(), raft_id: 0 }).who().await.ok()?;
        let raft_id = info.raft_id.filter(|id| *id != membership.raft_id)?;
        let ours = info.cluster_id.as_ref() == Some(&membership.cluster_id);
        ours.then(|| Address { raft_id, name: info.name, url: url.to_owned() })
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
        let (response, key) = opened.map_err(|e| e.to_string())?;
        fetch::receive(store.clone(), Box::pin(response.bytes_stream()), key, at_least).await
    }
}

/// Why the member in `data_dir` must not begin with an empty log; looked at before one is made.
fn log_is_gone(data_dir: &Path, has_promised: bool) -> Option<String> {
    let log = data_dir.join("log");
    let has_held = has_promised || mark_path(&log).exists() || data_dir.join("state").join("CURRENT").exists();
    (!log.is_dir() && has_held).then(|| log_is_lost(data_dir))
}

/// What is said of a log that is not there any more.
fn log_is_lost(data_dir: &Path) -> String {
    format!(
        "the raft log in {} is gone: this node has acknowledged entries and given votes that stood there",
        data_dir.join("log").display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_may_be_missing_only_before_anything_was_promised() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(log_is_gone(dir.path(), false), None);
        assert!(log_is_gone(dir.path(), true).unwrap().contains("is gone"));
        std::fs::write(dir.path().join("log.acked"), "").unwrap();
        assert!(log_is_gone(dir.path(), false).is_some());
        std::fs::create_dir(dir.path().join("log")).unwrap();
        assert_eq!(log_is_gone(dir.path(), true), None);
        std::fs::remove_file(dir.path().join("log.acked")).unwrap();
        std::fs::remove_dir(dir.path().join("log")).unwrap();
        std::fs::create_dir(dir.path().join("state")).unwrap();
        std::fs::write(dir.path().join("state/CURRENT"), "").unwrap();
        assert!(log_is_gone(dir.path(), false).is_some());
    }
}

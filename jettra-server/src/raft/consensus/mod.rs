//! Raft for the rest of the node: propose a command, confirm a read, change the membership.
//!
//! Whatever openraft calls its errors ends here: what comes out is for the caller of the API.
//!
//! - `propose`: a command into the log, and the index that a read must have applied
//! - `membership`: who belongs, who votes, and who leads
//! - `picture`: Raft's numbers at one moment, and whom this node believes to lead
//! - `upkeep`: how much of the log is kept

mod membership;
mod picture;
mod propose;
mod upkeep;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use openraft::SnapshotPolicy;
use openraft::async_runtime::WatchReceiver as _;
use tokio::sync::{Semaphore, watch};

pub use self::picture::Picture;
pub use self::propose::{Committed, NotLeader};
use super::commits::Commits;
use super::contact::Contact;
use super::log::{LogStore, Member};
use super::log_storage::LogStorage;
use super::machine::Machine;
use super::network::Network;
use super::pace::Sending;
use super::store::StateStore;
use super::types::TypeConfig;
use crate::peers::Peers;
use crate::planted::{self, Bug};
use crate::remedy::{Fault, Kind};
use crate::state::State;

/// Raft's timings and bounds.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Between heartbeats.
    pub heartbeat: Duration,
    /// The shortest silence of a leader that starts an election.
    pub election_min: Duration,
    /// The longest.
    pub election_max: Duration,
    /// Entries kept in the log behind a durable point, for followers that are behind.
    pub retain_entries: u64,
    /// Bytes of commands that may be under way at once.
    pub in_flight_bytes: usize,
}

/// A handle on Raft.
type Raft = openraft::Raft<TypeConfig, Machine>;

/// A running Raft.
pub struct Consensus {
    raft: Raft,
    store: Arc<StateStore>,
    log: LogStore,
    id: u64,
    cluster: String,
    applied: watch::Receiver<u64>,
    in_flight: Arc<Semaphore>,
    commits: Arc<Commits>,
    election_max: Duration,
    contact: Contact,
    /// Until then a node with earlier state votes for nobody, not even itself, and serves no lease read.
    quiet_until: Instant,
    /// The snapshots that this node is sending.
    sending: Arc<Sending>,
    /// Entries kept in the log behind a durable point.
    retain_entries: u64,
    /// Whether this node is paused: a member that is not elected.
    paused: Arc<AtomicBool>,
}

const KIB: usize = 1 << 10;

impl Consensus {
    /// Opens Raft as member `id` of `cluster`.
    ///
    /// # Errors
    /// What openraft's start says: I/O errors or damage.
    pub async fn open(
        id: u64,
        cluster: &str,
        settings: &Settings,
        log: LogStore,
        store: Arc<StateStore>,
        peers: Arc<Peers>,
    ) -> std::result::Result<Arc<Self>, Fault> {
        let config = openraft::Config {
            cluster_name: cluster.to_owned(),
            heartbeat_interval: millis(settings.heartbeat),
            election_timeout_min: millis(settings.election_min),
            election_timeout_max: millis(settings.election_max),
            enable_pre_vote: Some(true),
            enable_leader_restore: Some(false),
            install_snapshot_timeout: 60_000,
            max_payload_entries: 4096,
            replication_lag_threshold: settings.retain_entries.saturating_mul(2),
            snapshot_policy: SnapshotPolicy::Never,
            // `bound_log` decides what is purged.
            max_in_snapshot_log_to_keep: u64::MAX,
            backoff: "50ms 100ms 200ms ...500ms".to_owned(),
            ..openraft::Config::default()
        };
        let config = Arc::new(config.validate().map_err(|e| Fault::other(e.to_string()))?);
        let had_state = !log.is_pristine();
        let (applied_tx, applied) = watch::channel(0);
        let machine = Machine::new(store.clone(), Some(log.clone()), applied_tx);
        let at_start = machine.at_start();
        let sending = Arc::new(Sending::default());
        let network = Network::new(peers, cluster.to_owned(), id, sending.clone(), applied.clone());
        let (failed_log, failed_store) = (log.clone(), store.clone());
        let raft = Raft::new(id, config, network, LogStorage(log.clone()), machine).await.map_err(|e| {
            failed_log
                .fault()
                .or_else(|| failed_store.fault())
                .unwrap_or_else(|| Fault::new(Kind::Damage, e.to_string()))
        })?;
        *at_start.lock() = None;
        // A single voter has promised nothing to anyone.
        let alone = raft.metrics().borrow_watched().membership_config.voter_ids().count() <= 1;
        let waits = had_state && !alone && !planted::has(Bug::VoteTooEarly);
        let quiet = if waits { settings.election_max } else { Duration::ZERO };
        let is_paused = store.state().members().iter().any(|m| m.raft_id == id && m.paused);
        if is_paused || !quiet.is_zero() {
            raft.runtime_config().elect(false);
        }
        let paused = Arc::new(AtomicBool::new(is_paused));
        if !quiet.is_zero() {
            let (raft, paused) = (raft.clone(), paused.clone());
            tokio::spawn(async move {
                tokio::time::sleep(quiet).await;
                raft.runtime_config().elect(!paused.load(Ordering::Relaxed));
            });
        }
        Ok(Arc::new(Consensus {
            sending,
            retain_entries: settings.retain_entries,
            paused,
            raft,
            store,
            log,
            id,
            cluster: cluster.to_owned(),
            applied,
            in_flight: Arc::new(Semaphore::new((settings.in_flight_bytes / KIB).min(Semaphore::MAX_PERMITS))),
            commits: Arc::default(),
            election_max: settings.election_max,
            contact: Contact::default(),
            quiet_until: Instant::now() + quiet,
        }))
    }

    /// Makes this node the first and only member of a new cluster. Does nothing on a node that has state.
    ///
    /// # Errors
    /// What openraft says.
    pub async fn initialize(&self, member: Member) -> std::result::Result<(), String> {
        if self.raft.is_initialized().await.map_err(|e| e.to_string())? {
            return Ok(());
        }
        self.raft.initialize(BTreeMap::from([(self.id, member)])).await.map_err(|e| e.to_string())
    }

    /// This node's Raft id.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The cluster's id.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The state in use.
    pub fn state(&self) -> State {
        self.store.state()
    }

    /// The commands that were committed here.
    pub fn commits(&self) -> &Commits {
        &self.commits
    }

    /// The log.
    pub fn log(&self) -> &LogStore {
        &self.log
    }

    /// Where received snapshots grow.
    pub fn store(&self) -> &Arc<StateStore> {
        &self.store
    }

    /// openraft's handle, for the incoming calls of Raft.
    pub(crate) fn raft(&self) -> &Raft {
        &self.raft
    }

    /// Whether this node is still too young to vote or to serve a lease read.
    pub fn is_quiet(&self) -> bool {
        Instant::now() < self.quiet_until
    }

    /// What this node has heard of leaders.
    pub fn contact(&self) -> &Contact {
        &self.contact
    }

    /// Index of the last entry applied.
    pub fn applied_index(&self) -> u64 {
        *self.applied.borrow()
    }

    /// The index of the last entry applied, as it goes on.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.applied.clone()
    }

    /// Waits until the entry at `index` is applied here; false when `limit` runs out before.
    pub async fn wait_applied(&self, index: u64, limit: Duration) -> bool {
        let mut applied = self.applied.clone();
        if *applied.borrow() >= index {
            return true;
        }
        matches!(tokio::time::timeout(limit, applied.wait_for(|at| *at >= index)).await, Ok(Ok(_)))
    }

    /// Stops Raft and waits until its tasks have ended.
    pub async fn shutdown(&self) {
        if let Err(e) = self.raft.shutdown().await {
            tracing::warn!(error = %e, "raft did not stop cleanly");
        }
        let log = self.log.clone();
        match tokio::task::spawn_blocking(move || log.write_mark()).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::warn!(error = %e, "the log's mark could not be written"),
            Err(e) => tracing::warn!(error = %e, "the log's mark could not be written"),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

//! Raft for the rest of the node: propose a command, confirm a read, change the membership.
//!
//! Whatever openraft calls its errors ends here: what comes out is for the caller of the API.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use openraft::Instant as _;
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{ChangeMembershipError, ClientWriteError, ForwardToLeader, LinearizableReadError, RaftError};
use openraft::{ChangeMembers, ReadPolicy, ServerState, SnapshotPolicy};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};

use super::commits::Commits;
use super::contact::Contact;
use super::log::LogStore;
use super::machine::Machine;
use super::network::Network;
use super::pace::Sending;
use super::store::StateStore;
use super::types::{Member, Proposal, Raft, StoredMembership, TypeConfig};
use crate::error::{Error, Result};
use crate::limits;
use crate::peers::Peers;
use crate::remedy::{Fault, Kind};
use crate::state::{Outcome, State};

/// A leader is believed in for so long at least: a busy machine is silent for longer than an election time-out at times.
const BELIEF: Duration = Duration::from_secs(1);

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

/// A command that was applied.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Committed {
    /// Its log index.
    pub index: u64,
    /// What it came to.
    pub outcome: Outcome,
}

/// This node does not lead.
#[derive(Debug, Clone)]
pub struct NotLeader {
    /// Who does, where known.
    pub leader: Option<(u64, Member)>,
}

/// Raft's own numbers at one moment.
#[derive(Debug, Clone)]
pub struct Picture {
    /// This node's Raft id.
    pub id: u64,
    /// Its part.
    pub state: ServerState,
    /// The current term.
    pub term: u64,
    /// The leader's Raft id, where known. Raft remembers it for as long as nobody else is elected.
    pub leader: Option<u64>,
    /// The same, as long as there is reason to believe in it: see [`Consensus::belief`].
    pub believed: Option<u64>,
    /// On the leader: the time since a majority last followed it.
    pub quorum_silence: Option<Duration>,
    /// Index of the last log entry.
    pub last: u64,
    /// Index of the last entry known to be committed.
    pub committed: u64,
    /// Index of the last entry applied.
    pub applied: u64,
    /// Index of the entry that the last durable point covers.
    pub snapshot: u64,
    /// Members and voters.
    pub membership: Arc<StoredMembership>,
    /// On the leader: the last index known to be on each peer's disk; none before its first answer.
    pub matched: BTreeMap<u64, Option<u64>>,
    /// On the leader: the time since each peer was last heard.
    pub silence: BTreeMap<u64, Option<Duration>>,
    /// Why Raft has stopped, where it has because of an error.
    pub halted: Option<Fault>,
}

impl Picture {
    /// The voters' Raft ids.
    pub fn voters(&self) -> Vec<u64> {
        self.membership.voter_ids().collect()
    }

    /// The Raft ids of the members that do not vote.
    pub fn learners(&self) -> Vec<u64> {
        let voters = self.voters();
        self.membership.nodes().map(|(id, _)| *id).filter(|id| !voters.contains(id)).collect()
    }

    /// Those whose votes end with the change of membership that is between its two steps.
    pub fn leaving(&self) -> Vec<u64> {
        let last = self.membership.get_joint_config().last();
        self.voters().into_iter().filter(|id| last.is_some_and(|config| !config.contains(id))).collect()
    }

    /// Whether a change of membership is between its two steps.
    pub fn is_joint(&self) -> bool {
        self.membership.get_joint_config().len() > 1
    }

    /// The member with Raft id `id`.
    pub fn member(&self, id: u64) -> Option<&Member> {
        self.membership.get_node(&id)
    }
}

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
/// Entries that are purged at once, at least.
const PURGE_BATCH: u64 = 1024;
/// While a snapshot is being sent, the log may have so many times the entries and bytes that are retained else.
const HELD: u64 = 4;

fn thousandths(part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(part) * 1000 / u128::from(whole.max(1))).unwrap_or(u64::MAX)
}

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
        let sending = Arc::new(Sending::default());
        let network = Network::new(peers, cluster.to_owned(), id, sending.clone(), applied.clone());
        let (failed_log, failed_store) = (log.clone(), store.clone());
        let raft = Raft::new(id, config, network, log.clone(), machine).await.map_err(|e| {
            failed_log
                .fault()
                .or_else(|| failed_store.fault())
                .unwrap_or_else(|| Fault::new(Kind::Damage, e.to_string()))
        })?;
        // A single voter has promised nothing to anyone.
        let alone = raft.metrics().borrow_watched().membership_config.voter_ids().count() <= 1;
        let quiet = if had_state && !alone { settings.election_max } else { Duration::ZERO };
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

    /// The longest election time-out.
    pub fn election_max(&self) -> Duration {
        self.election_max
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

    /// For how long a leader that is not heard is believed to lead, and one that no majority follows believes it of
    /// itself: two election time-outs, and a second at least.
    pub fn belief(&self) -> Duration {
        BELIEF.max(self.election_max * 2)
    }

    /// Whether there is reason to believe that `leader` leads. Raft has no end of its own to it: a follower without a
    /// majority for an election remembers whom it heard last, and a leader without one goes on asking.
    fn is_believed(&self, leader: u64, quorum_silence: Option<Duration>) -> bool {
        let silence = if leader == self.id { quorum_silence } else { self.contact.silence_of(leader) };
        silence.is_some_and(|silence| silence < self.belief())
    }

    /// What has failed below Raft, which ends it.
    pub fn failure(&self) -> Option<Fault> {
        self.log.fault().or_else(|| self.store.fault())
    }

    /// Why Raft has stopped: what failed below it where something has, since openraft's own words are for its makers.
    fn fault(&self, e: &impl std::fmt::Display) -> Fault {
        self.failure().or_else(|| self.log.unread()).unwrap_or_else(|| {
            tracing::error!(error = %e, "raft has stopped");
            Fault::other("raft has stopped, the log says why")
        })
    }

    /// Raft's numbers now.
    pub fn picture(&self) -> Picture {
        let m = self.raft.metrics().borrow_watched().clone();
        let quorum_silence =
            quorum_silence(self.id, m.state, &m.membership_config, m.last_quorum_acked.map(|at| at.elapsed()));
        let matched = m.replication.unwrap_or_default();
        let heard = m.heartbeat.unwrap_or_default();
        Picture {
            id: self.id,
            state: m.state,
            term: m.current_term,
            leader: m.current_leader,
            believed: m.current_leader.filter(|leader| self.is_believed(*leader, quorum_silence)),
            quorum_silence,
            last: m.last_log_index.unwrap_or(0),
            committed: m.cluster_committed.map_or(0, |id| id.index),
            applied: m.last_applied.map_or(0, |id| id.index),
            snapshot: m.snapshot.map_or(0, |id| id.index),
            membership: m.membership_config,
            matched: matched.into_iter().map(|(id, at)| (id, at.map(|at| at.index))).collect(),
            silence: heard.into_iter().map(|(id, at)| (id, at.map(|at| at.elapsed()))).collect(),
            halted: m.running_state.err().map(|e| self.fault(&e)),
        }
    }

    /// This node's part, and the leader where there is reason to believe in one: cheap enough for every request.
    /// A leader that no majority follows counts as a follower.
    pub fn standing(&self) -> (ServerState, Option<(String, String)>) {
        let m = self.raft.server_metrics().borrow_watched().clone();
        let acked = match m.state {
            ServerState::Leader => self.raft.data_metrics().borrow_watched().last_quorum_acked.map(|at| at.elapsed()),
            _ => None,
        };
        let quorum_silence = quorum_silence(self.id, m.state, &m.membership_config, acked);
        let leader = m.current_leader.filter(|leader| self.is_believed(*leader, quorum_silence));
        let state = if m.state == ServerState::Leader && leader.is_none() { ServerState::Follower } else { m.state };
        let leader = leader.and_then(|id| m.membership_config.get_node(&id).cloned());
        (state, leader.map(|l| (l.name, l.url)))
    }

    /// Waits for any change of Raft's numbers, at most for `limit`.
    pub async fn changed(&self, limit: Duration) {
        let mut metrics = self.raft.server_metrics();
        // openraft's own receiver has seen nothing yet, so what is there now would count as a change.
        drop(metrics.borrow_and_update());
        // Running out of time is as good a reason to look again as a change.
        drop(tokio::time::timeout(limit, metrics.changed()).await);
    }

    /// Proposes a stamped command here, on the leader.
    ///
    /// # Errors
    /// Outer: `busy`, or `timeout` when the outcome is unknown. Inner: this node does not lead, and
    /// nothing was proposed.
    pub async fn propose(&self, command: Bytes, limit: Duration) -> Result<std::result::Result<Committed, NotLeader>> {
        let size = u32::try_from(command.len().div_ceil(KIB)).unwrap_or(u32::MAX);
        let Ok(_room) = self.in_flight.clone().try_acquire_many_owned(size) else {
            return Err(Error::busy("too many bytes of writes are under way: try again in a moment"));
        };
        let (raft, commits, began) = (self.raft.clone(), self.commits.clone(), Instant::now());
        // A task of its own: giving up waiting must not drop the write between its steps.
        let write = tokio::spawn(async move {
            let _room = _room;
            let written = raft.client_write(Proposal(command)).await;
            if written.is_ok() {
                commits.record(began.elapsed());
            }
            written
        });
        let Ok(written) = tokio::time::timeout(limit, write).await else {
            return Err(Error::in_doubt("no majority confirmed it in time"));
        };
        match written.map_err(|e| Error::in_doubt(&e.to_string()))? {
            Ok(done) => {
                let outcome = done.data.0.ok_or_else(|| Error::internal("a command was applied without an outcome"))?;
                Ok(Ok(Committed { index: done.log_id.index, outcome }))
            }
            Err(e) => self.not_leader(e).map(Err),
        }
    }

    /// The index that a read must have applied to be linearizable, confirmed by a majority (or by
    /// the leader's lease), asked here on the leader.
    ///
    /// # Errors
    /// Outer: no majority answered. Inner: this node does not lead.
    pub async fn read_index(&self, lease: bool) -> Result<std::result::Result<u64, NotLeader>> {
        if lease && self.is_quiet() {
            return Err(Error::no_leader("this node has just started and holds no lease yet: try again in a moment"));
        }
        let policy = if lease { ReadPolicy::LeaseRead } else { ReadPolicy::ReadIndex };
        let asked = tokio::time::timeout(limits::LEADER_ROUND, self.raft.get_read_linearizer(policy)).await;
        match asked.map_err(|_| Error::no_leader("no majority confirmed the leader in time"))? {
            Ok(linearizer) => Ok(Ok(linearizer.read_log_id().index())),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(f))) => Ok(Err(f.into())),
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(e))) => Err(Error::no_leader(format!(
                "no majority confirmed the leader: {} of {} voters did: see GET /api/cluster, and try again",
                e.got.len(),
                self.picture().voters().len()
            ))),
            Err(RaftError::Fatal(e)) => Err(halted(&self.fault(&e))),
        }
    }

    /// Adds a node that replicates and does not vote. Idempotent.
    ///
    /// # Errors
    /// As [`Consensus::propose`].
    pub async fn add_learner(&self, id: u64, member: Member, limit: Duration) -> Result<()> {
        let raft = self.raft.clone();
        self.change(limit, async move { raft.add_learner(id, member, false).await }).await
    }

    /// Replaces what the membership says of member `id`, such as its URL. It must be the same node, with the same
    /// data directory: whoever calls has asked it. Idempotent.
    ///
    /// # Errors
    /// As [`Consensus::propose`].
    pub async fn set_member(&self, id: u64, member: Member, limit: Duration) -> Result<()> {
        let raft = self.raft.clone();
        let change = ChangeMembers::SetNodes(BTreeMap::from([(id, member)]));
        self.change(limit, async move { raft.change_membership(change, true).await }).await
    }

    /// Whether this node may be elected; openraft forgets it at the end of the process.
    pub fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
        self.raft.runtime_config().elect(!paused && !self.is_quiet());
    }

    /// Stands for election although it is paused, where nobody else can be elected: acknowledged writes may be in its
    /// log alone of those that are left.
    pub async fn stand_if_only_choice(&self) {
        let is_leaderless = self.contact.silence().is_none_or(|silence| silence > self.election_max);
        if !self.paused.load(Ordering::Relaxed)
            || self.is_quiet()
            || !is_leaderless
            || !self.contact.is_only_choice(2 * self.election_max)
        {
            return;
        }
        tracing::warn!("this node is paused, and only it can be elected: it takes over for a moment");
        if let Err(e) = self.raft.trigger().elect(true).await {
            tracing::warn!(error = %e, "no election was begun");
        }
    }

    /// Makes a learner a voter. Idempotent.
    ///
    /// # Errors
    /// As [`Consensus::propose`].
    pub async fn promote(&self, id: u64, limit: Duration) -> Result<()> {
        let raft = self.raft.clone();
        let change = ChangeMembers::AddVoterIds([id].into());
        self.change(limit, async move { raft.change_membership(change, true).await }).await
    }

    /// Makes a voter one that replicates and does not vote. Idempotent.
    ///
    /// # Errors
    /// As [`Consensus::propose`].
    pub async fn demote(&self, id: u64, limit: Duration) -> Result<()> {
        let raft = self.raft.clone();
        let change = ChangeMembers::RemoveVoters([id].into());
        self.change(limit, async move { raft.change_membership(change, true).await }).await
    }

    /// Finishes a change of membership that another leader began and left between its two steps. Who votes no more is
    /// a member no more, unless `retain` says that it stays.
    ///
    /// # Errors
    /// As [`Consensus::propose`].
    pub async fn finish_change(&self, retain: bool, limit: Duration) -> Result<()> {
        let raft = self.raft.clone();
        let change = ChangeMembers::AddVoterIds(std::collections::BTreeSet::new());
        self.change(limit, async move { raft.change_membership(change, retain).await }).await
    }

    /// Removes a member, voter or not. Idempotent.
    ///
    /// # Errors
    /// As [`Consensus::propose`].
    pub async fn remove(&self, id: u64, limit: Duration) -> Result<()> {
        let picture = self.picture();
        let change = if picture.voters().contains(&id) {
            ChangeMembers::RemoveVoters([id].into())
        } else if picture.member(id).is_some() {
            ChangeMembers::RemoveNodes([id].into())
        } else {
            return Ok(());
        };
        let raft = self.raft.clone();
        self.change(limit, async move { raft.change_membership(change, false).await }).await
    }

    async fn change<T: Send + 'static>(
        &self,
        limit: Duration,
        change: impl Future<Output = std::result::Result<T, RaftError<TypeConfig, ClientWriteError<TypeConfig>>>>
        + Send
        + 'static,
    ) -> Result<()> {
        let changed = tokio::time::timeout(limit, tokio::spawn(change)).await;
        let changed = changed.map_err(|_| Error::in_doubt("no majority confirmed the change of membership in time"))?;
        match changed.map_err(|e| Error::in_doubt(&e.to_string()))? {
            Ok(_) => Ok(()),
            Err(e) => {
                self.not_leader(e)?;
                Err(Error::no_leader("leadership was lost during the change of membership: try again"))
            }
        }
    }

    /// Tells apart what was surely not proposed from what may have been.
    fn not_leader(&self, e: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> Result<NotLeader> {
        match e {
            RaftError::APIError(ClientWriteError::ForwardToLeader(f)) => Ok(f.into()),
            RaftError::APIError(ClientWriteError::ChangeMembershipError(e)) => {
                tracing::info!(error = %e, "raft refused a change of membership");
                let why = match e {
                    ChangeMembershipError::InProgress(_) => "another change of it is under way",
                    ChangeMembershipError::EmptyMembership(_) => "nobody would be left who votes",
                    ChangeMembershipError::LearnerNotFound(_) => "the node is no member",
                    _ => "the leader has only just been elected, or others change it too",
                };
                Err(Error::conflict(format!(
                    "the membership cannot change now: {why}: see GET /api/cluster, and try again"
                )))
            }
            RaftError::APIError(e) => Err(Error::in_doubt(&e.to_string())),
            RaftError::Fatal(e) => Err(Error::in_doubt(&format!("the leader has stopped: {}", self.fault(&e)))),
        }
    }

    /// Hands leadership to `target` and waits until someone else leads, at most for `limit`.
    /// Returns whether it happened.
    pub async fn transfer(&self, target: u64, limit: Duration) -> bool {
        if let Err(e) = self.raft.trigger().transfer_leader(target).await {
            tracing::warn!(error = %e, target, "leadership could not be handed over");
            return false;
        }
        let deadline = Instant::now() + limit;
        loop {
            let picture = self.picture();
            if picture.leader.is_some_and(|leader| leader != self.id) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.changed(left.min(Duration::from_millis(50))).await;
        }
    }

    /// Purges what a durable point covers of the log, which takes `disk` bytes, where it has more entries than are
    /// retained or takes more than `most` bytes. While a snapshot is being sent, what comes behind it is held for its
    /// receiver, up to four times as much.
    pub async fn bound_log(&self, disk: u64, most: u64) {
        let (first, next) = self.log.bounds();
        let entries = next - first;
        let (mut most_bytes, mut most_entries) = (most, self.retain_entries);
        if self.sending.is_under_way() {
            (most_bytes, most_entries) = (most.saturating_mul(HELD), self.retain_entries.saturating_mul(HELD));
            let fuller = thousandths(disk, most_bytes).max(thousandths(entries, most_entries));
            self.sending.set_held(fuller);
        }
        let covered = self.picture().snapshot;
        let by_entries = covered.saturating_sub(most_entries);
        let by_entries = if by_entries >= first + PURGE_BATCH { by_entries } else { first };
        // Entries are taken to be of one size; whole chunks are freed, so it may stay a chunk above.
        let surplus = u128::from(entries) * u128::from(disk.saturating_sub(most_bytes)) / u128::from(disk.max(1));
        let by_bytes = first + u64::try_from(surplus).unwrap_or(0);
        let upto = by_bytes.max(by_entries).min(covered);
        if upto <= first {
            return;
        }
        // Where a follower is reading there, openraft puts it off until that one has answered.
        if let Err(e) = self.raft.trigger().purge_log(upto).await {
            tracing::warn!(error = %e, "the log was not purged: raft has stopped");
        }
    }

    /// Makes a durable point, up to which the log may be purged.
    pub async fn durable_point(&self) {
        if let Err(e) = self.raft.trigger().snapshot().await {
            tracing::warn!(error = %e, "no durable point: raft has stopped");
        }
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

/// The time since a majority last followed this node, where it leads. Alone it follows itself.
fn quorum_silence(
    id: u64,
    state: ServerState,
    membership: &StoredMembership,
    acked: Option<Duration>,
) -> Option<Duration> {
    if state != ServerState::Leader {
        return None;
    }
    if membership.voter_ids().all(|voter| voter == id) { Some(Duration::ZERO) } else { acked }
}

impl From<ForwardToLeader<TypeConfig>> for NotLeader {
    fn from(f: ForwardToLeader<TypeConfig>) -> Self {
        NotLeader { leader: f.leader_id.zip(f.leader_node) }
    }
}

fn halted(why: &Fault) -> Error {
    Error::unavailable(format!("this node has stopped ({why}): see its log, and ask another node"))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

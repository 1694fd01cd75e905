//! The cluster as one node sees it: who it is, how a request reaches the leader, who belongs.
//!
//! - `admission`: whom it lets open a session
//! - `ending`: whether the process is to end, and its end
//! - [`identity`]: who this node is, on disk; [`addresses`]: where the other members were last
//! - `refetch`: a member without its state fetches it from another one
//! - `route`: writes, here or at the leader
//! - `consistency`: how new a read must be, and how a node gets as far
//! - `claim`: another cluster that counts this node as its member
//! - `room`: whether the disk has room for a write
//! - `membership`: deregister, stop, pause, resume, transfer: gather → compute → act
//! - `register`: the leader's side of a join, and of a member's move to another URL
//! - `replicas`: read replicas become voters, and voters read replicas
//! - `facts`, `plan`: what is gathered, and the computing in the middle; `facts` is what all that is shown goes by
//! - `join`: the joining node's side
//! - `duties`: what a node does by itself again and again, most of it where it leads: roles, promotion, digests, scrub, …
//! - `upkeep`: marks, durable points, and what is reclaimed
//! - `time`: cluster time, which most voters' clocks bear out
//! - `upgrade`: how the feature level is raised
//! - `journal`: what only the leader knows, written into the journal; and the journal read
//! - `report`, `doctor`: how each node is, and what is wrong with the cluster
//! - `shown`: what `GET /api/cluster` and `/api/federated` show

pub mod addresses;
mod admission;
mod claim;
mod consistency;
mod doctor;
mod duties;
mod ending;
mod facts;
pub mod identity;
mod join;
mod journal;
mod membership;
mod plan;
mod refetch;
mod register;
mod replicas;
mod report;
mod room;
mod route;
mod shown;
#[cfg(test)]
mod tests;
mod time;
mod upgrade;
mod upkeep;

pub use consistency::Consistency;
pub use duties::digests::DigestRequest;
pub use duties::samples::Samples;
pub use ending::Stop;
pub use join::JoinRequest;
pub use journal::EventQuery;
pub use membership::{ClusterCall, ClusterRequest};
pub use plan::Verdict;
pub use route::{Call, Forward};

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use self::identity::Identity;
use crate::error::{Error, Result};
use crate::lasting;
use crate::machine::Machine;
use crate::peers::{NodeInfo, Peers, RPC_VERSION, Secrets, Sessions};
use crate::raft::{Consensus, Member, Settings};
use crate::recent::Recent;
use crate::remedy::Fault;
use crate::seldom::Seldom;
use crate::state::State;

/// What a cluster's node is configured with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where everything lies.
    pub data_dir: PathBuf,
    /// The URL at which other nodes and clients reach this one.
    pub url: String,
    /// The port that it listens on.
    pub port: u16,
    /// Further names under which it is reached, as name or name:port.
    pub allowed_hosts: Vec<String>,
    /// Whether membership calls are open.
    pub distributed: bool,
    /// The silence after which a member counts as INACTIVE.
    pub inactive_after: Duration,
    /// Raft's timings and bounds.
    pub raft: Settings,
    /// Bytes of the state's cache.
    pub cache_bytes: usize,
    /// Bytes of disk that must stay free for writes to be taken.
    pub disk_reserve_bytes: u64,
    /// Bytes of log kept behind the newest durable point before the next one is made.
    pub retain_bytes: u64,
    /// URLs of nodes that are asked where nobody else is known, or answers.
    pub peers: Vec<String>,
}

/// A node's place in its cluster.
pub struct Cluster {
    options: Options,
    identity: RwLock<Identity>,
    /// Which process this is: see [`NodeInfo::instance`].
    instance: String,
    /// Held while what is kept of the identity changes.
    identity_changes: tokio::sync::Mutex<()>,
    /// Clients of the other nodes.
    pub peers: Arc<Peers>,
    /// Sessions that other nodes opened with this one.
    pub sessions: Sessions,
    /// Hosts under which members have reached this node.
    reached: RwLock<Vec<String>>,
    /// Calls that the leader did not let in.
    distrust: Seldom,
    /// Nodes that have asked to be registered, while that is tried.
    asking: Mutex<HashSet<String>>,
    /// Those of them that were not.
    unregistered: Seldom,
    secrets: RwLock<Option<Secrets>>,
    /// Made by this node and not configured: it may be handed to nodes of the same user.
    secret_is_ours: RwLock<bool>,
    consensus: watch::Sender<Option<Arc<Consensus>>>,
    /// False until the node has opened what it is a member of, or knows that it waits to be registered.
    started: watch::Sender<bool>,
    /// Whether this node has once caught up with the leader since its start.
    caught_up: AtomicBool,
    /// When it opened what it is a member of.
    opened: OnceLock<Instant>,
    /// Bytes that are free on the disk, as last seen.
    disk_free: AtomicU64,
    /// Another cluster that counts this node as its member.
    claim: watch::Sender<Option<claim::Claim>>,
    /// One queue of membership changes.
    changes: tokio::sync::Mutex<()>,
    stop: watch::Sender<Stop>,
    machine: Arc<Machine>,
    machines: shown::MachineCache,
    told_by_leader: shown::ToldByLeader,
    stopping: Mutex<duties::roles::Stopping>,
    reports: report::Reports,
    /// Why this node has no state yet, while it fetches one.
    fetching: Mutex<Option<String>>,
    /// When the doctor saw first what it sees now.
    findings: Mutex<doctor::Memory>,
    /// Wrong passwords that were sent to this node.
    pub wrong_passwords: Arc<Recent>,
    /// What the cluster did in the last quarter of an hour.
    pub samples: Samples,
    time: time::Time,
    reads: consistency::Reads,
}

impl Cluster {
    /// A node that is not a member of anything until [`Cluster::open`].
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new(
        options: Options,
        identity: Identity,
        secrets: Option<Secrets>,
        secret_is_ours: bool,
        machine: Arc<Machine>,
    ) -> std::result::Result<Arc<Self>, String> {
        let peers = Arc::new(Peers::new().map_err(|e| e.to_string())?);
        report::started();
        let (cluster, id) = identity.membership.as_ref().map_or(("", 0), |m| (m.cluster_id.as_str(), m.raft_id));
        peers.set_caller(secrets.clone(), cluster, id);
        Ok(Arc::new(Cluster {
            options,
            identity: RwLock::new(identity),
            instance: crate::random::hex::<8>(),
            identity_changes: tokio::sync::Mutex::default(),
            peers,
            sessions: Sessions::default(),
            reached: RwLock::default(),
            distrust: Seldom::default(),
            asking: Mutex::default(),
            unregistered: Seldom::default(),
            secrets: RwLock::new(secrets),
            secret_is_ours: RwLock::new(secret_is_ours),
            consensus: watch::Sender::new(None),
            started: watch::Sender::new(false),
            caught_up: AtomicBool::new(false),
            opened: OnceLock::new(),
            disk_free: AtomicU64::new(u64::MAX),
            claim: watch::Sender::new(None),
            changes: tokio::sync::Mutex::new(()),
            stop: watch::Sender::new(Stop::Running),
            machine,
            machines: shown::MachineCache::default(),
            told_by_leader: shown::ToldByLeader::default(),
            stopping: Mutex::default(),
            reports: report::Reports::default(),
            fetching: Mutex::default(),
            findings: Mutex::default(),
            wrong_passwords: Arc::default(),
            samples: Samples::default(),
            time: time::Time::default(),
            reads: consistency::Reads::default(),
        }))
    }

    /// Opens the stores and Raft as the member that the identity names.
    ///
    /// # Errors
    /// I/O errors and damage, as one line.
    pub async fn open(self: &Arc<Self>) -> std::result::Result<Arc<Consensus>, String> {
        let identity = self.identity();
        let membership = identity.membership.ok_or("the node is no member yet")?;
        let told = |fault: Fault| fault.told(&self.options.data_dir);
        self.peers.set_caller(self.secrets(), &membership.cluster_id, membership.raft_id);
        let (log, store) = self.open_stores(&membership, identity.has_promised).await.map_err(told)?;
        let consensus = Consensus::open(
            membership.raft_id,
            &membership.cluster_id,
            &self.options.raft,
            log,
            store,
            self.peers.clone(),
        )
        .await
        .map_err(told)?;
        self.opened.get_or_init(Instant::now);
        self.consensus.send_replace(Some(consensus.clone()));
        self.keep("what watches over the log and the store", self.clone().keep_house(consensus.clone()));
        self.take_up_duties(&consensus);
        Ok(consensus)
    }

    /// Runs work that the node cannot be without: where it dies, the node ends.
    pub fn keep(self: &Arc<Self>, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let node = self.clone();
        lasting::spawn(name, work, move |why| node.fail(why));
    }

    /// Says that the node has opened what it is a member of, or waits to be registered.
    pub fn set_started(&self) {
        self.started.send_replace(true);
    }

    /// Waits until the node has started, at most for `limit`.
    pub async fn wait_started(&self, limit: Duration) {
        if !*self.started.borrow() {
            // Not started in time: the request itself says so.
            tokio::time::timeout(limit, self.started.subscribe().wait_for(|s| *s)).await.ok();
        }
    }

    /// Waits until the node knows whether it belongs to a cluster, at most for `limit`.
    pub async fn wait_whose(&self, limit: Duration) {
        if self.identity.read().membership.is_none() {
            self.wait_started(limit).await;
        }
    }

    /// Who this node is.
    pub fn identity(&self) -> Identity {
        self.identity.read().clone()
    }

    /// What the node was configured with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// This node's URL.
    pub fn url(&self) -> &str {
        &self.options.url
    }

    /// The running Raft.
    ///
    /// # Errors
    /// `unavailable` while the node waits to be registered or starts: the message says what to do.
    pub fn consensus(&self) -> Result<Arc<Consensus>> {
        if *self.stop.borrow() == Stop::Asked {
            return Err(Error::unavailable("this node is stopping: ask another node"));
        }
        if let Some(index) = self.peers.removed_at() {
            return Err(Error::unavailable(format!(
                "this node was removed from the cluster, at index {index} at the latest: to use it again, stop it, \
                 remove its data directory, start it and register it; else stop it"
            ))
            .with("removed", index));
        }
        self.running().ok_or_else(|| {
            if self.identity.read().membership.is_some() {
                return match &*self.fetching.lock() {
                    Some(why) => Error::unavailable(format!(
                        "this node has lost its state and fetches it from another member, and has not got it yet: {why}"
                    )),
                    None => Error::unavailable("this node is starting: try again in a moment"),
                };
            }
            Error::unavailable(format!(
                "this node waits to be registered: curl -X POST http://<a member>/api/cluster/register -d '{{\"url\":\"{}\"}}'",
                self.options.url
            ))
        })
    }

    /// The running Raft, if there is one, also while the node stops.
    pub fn running(&self) -> Option<Arc<Consensus>> {
        self.consensus.borrow().clone()
    }

    /// The state in use.
    ///
    /// # Errors
    /// As [`Cluster::consensus`].
    pub fn state(&self) -> Result<State> {
        Ok(self.consensus()?.state())
    }

    /// The cluster secret, where there is one, and the one before while it is changed.
    pub fn secrets(&self) -> Option<Secrets> {
        self.secrets.read().clone()
    }

    /// Whether the secret was made by the cluster, so that it may go to nodes of the same user.
    pub fn hands_out_secret(&self) -> bool {
        *self.secret_is_ours.read()
    }

    /// This node as Raft's membership carries it.
    pub fn member(&self) -> Member {
        let identity = self.identity.read();
        Member { name: identity.name.clone(), url: self.options.url.clone(), incarnation: identity.incarnation.clone() }
    }

    /// What this node tells of itself after the proof.
    pub fn info(&self) -> NodeInfo {
        let identity = self.identity.read();
        NodeInfo {
            rpc_version: RPC_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            name: identity.name.clone(),
            incarnation: identity.incarnation.clone(),
            instance: self.instance.clone(),
            url: self.options.url.clone(),
            cluster_id: identity.membership.as_ref().map(|m| m.cluster_id.clone()),
            raft_id: identity.membership.as_ref().map(|m| m.raft_id),
            distributed: self.options.distributed,
            feature_level: crate::feature::supported(),
            clock_ms: crate::clock::now_ms(),
        }
    }
}

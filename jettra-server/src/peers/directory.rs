//! The other nodes: where each is, and the client of each.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::client::Peer;
use super::clocks::Clocks;
use super::hearing::Hearing;
use super::secret::Secrets;

/// Who is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// Scheme, host and port.
    pub url: String,
    /// Its Raft id; 0 when unknown.
    pub raft_id: u64,
}

/// Who calls.
#[derive(Debug, Clone, Default)]
pub(super) struct Caller {
    pub(super) secrets: Option<Secrets>,
    pub(super) cluster: String,
    pub(super) raft_id: u64,
}

/// Clients of the other nodes, made on first use.
pub struct Peers {
    pub(super) http: reqwest::Client,
    caller: RwLock<Caller>,
    /// The index at which a member said, under its session's key, that this node was removed.
    removed: Mutex<Option<u64>>,
    table: Mutex<HashMap<Target, Arc<Peer>>>,
    /// Where members are, by Raft id.
    addresses: RwLock<HashMap<u64, Address>>,
    /// When each was last heard.
    pub hearing: Hearing,
    /// What the clock of each says.
    pub clocks: Clocks,
}

/// Where a member is.
#[derive(Debug)]
struct Address {
    /// Where its document says that it is.
    registered: String,
    /// Where it proved to be since, if it has moved.
    proved: Option<String>,
}

/// Targets remembered; far more than a cluster has members.
const TABLE: usize = 256;

impl Peers {
    /// A set of clients without cluster or secret yet.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new() -> std::result::Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .http1_only()
            .no_proxy()
            // Its other address, ::1, might be somebody else's.
            .resolve("localhost", SocketAddr::from(([127, 0, 0, 1], 0)))
            .tcp_nodelay(true)
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(128)
            .connect_timeout(Duration::from_secs(1))
            .build()?;
        Ok(Peers {
            http,
            caller: RwLock::default(),
            removed: Mutex::default(),
            table: Mutex::default(),
            addresses: RwLock::default(),
            hearing: Hearing::default(),
            clocks: Clocks::default(),
        })
    }

    /// Sets who this node is; sessions open until then are left.
    pub fn set_caller(&self, secrets: Option<Secrets>, cluster: &str, raft_id: u64) {
        *self.caller.write() = Caller { secrets, cluster: cluster.to_owned(), raft_id };
        self.table.lock().clear();
    }

    /// Who this node is.
    pub(super) fn caller(&self) -> Caller {
        self.caller.read().clone()
    }

    /// The log index by which this node was removed from its cluster, if a member has said so.
    pub fn removed_at(&self) -> Option<u64> {
        *self.removed.lock()
    }

    /// Notes that a member said that this node was removed.
    pub fn note_removed(&self, index: u64) {
        *self.removed.lock() = Some(index);
    }

    /// Where the member `raft_id` is, as far as is known here, if that is not `url`.
    pub fn moved_from(&self, raft_id: u64, url: &str) -> Option<String> {
        let addresses = self.addresses.read();
        let address = addresses.get(&raft_id)?;
        let now = address.proved.as_ref().unwrap_or(&address.registered);
        (now != url).then(|| now.clone())
    }

    /// Where the member `raft_id` proved to be, if that is not where it is registered.
    pub fn moved_to(&self, raft_id: u64) -> Option<String> {
        self.addresses.read().get(&raft_id)?.proved.clone()
    }

    /// Notes where the members are registered; what a member proved before it was registered elsewhere is forgotten.
    pub fn note_registered(&self, members: impl Iterator<Item = (u64, String)>) {
        let mut addresses = self.addresses.write();
        let mut before = std::mem::take(&mut *addresses);
        *addresses = members
            .map(|(raft_id, registered)| {
                let known = before.remove(&raft_id).filter(|known| known.registered == registered);
                let proved = known.and_then(|known| known.proved).filter(|proved| *proved != registered);
                (raft_id, Address { registered, proved })
            })
            .collect();
    }

    /// Notes that the member `raft_id` was dialled at `url` and proved who it is. Nothing is noted of strangers.
    pub fn note_moved(&self, raft_id: u64, url: &str) {
        if let Some(address) = self.addresses.write().get_mut(&raft_id) {
            address.proved = Some(url.to_owned()).filter(|url| *url != address.registered);
        }
    }

    /// Forgets where the member `raft_id` proved to be: it does not answer there.
    pub fn forget_move(&self, raft_id: u64) {
        if let Some(address) = self.addresses.write().get_mut(&raft_id) {
            address.proved = None;
        }
    }

    /// The client of `target`.
    pub fn get(self: &Arc<Self>, target: &Target) -> Arc<Peer> {
        let mut table = self.table.lock();
        if let Some(peer) = table.get(target) {
            return peer.clone();
        }
        if table.len() >= TABLE {
            table.clear();
        }
        let peer = Arc::new(Peer::new(self.clone(), target.clone()));
        table.insert(target.clone(), peer.clone());
        peer
    }
}

//! Nodes in memory that answer as the contract says, for tests of programs that use the client.
//!
//! They keep documents, versions, members and the answers of numbered writes, share all of that
//! within a [`FakeCluster`], and do one thing a real node does not: fail when told to. They do not
//! replicate, do not keep anything, and know of filters only equality of fields.

mod routes;
mod serve;
mod store;

use std::collections::VecDeque;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::client::JettraClient;
use crate::wire::ErrorCode;
use store::Store;

/// What goes wrong with a request.
#[derive(Debug, Clone)]
pub enum Mishap {
    /// It is refused with this code, and nothing happens.
    Refuse(ErrorCode),
    /// It is refused with this code, and a `Retry-After` of this many seconds.
    RefuseFor(ErrorCode, u64),
    /// It is refused with `not_leader`, naming this URL as the leader's.
    LeaderIsAt(String),
    /// The connection is closed before anything happens.
    LoseRequest,
    /// It is done, and the connection is closed before the answer.
    LoseAnswer,
    /// It is done, and no answer comes.
    Silence,
}

/// A request as a node received it.
#[derive(Debug, Clone)]
pub struct Received {
    /// The method, such as `POST`.
    pub method: String,
    /// The path, such as `/api/doc`.
    pub path: String,
    /// The parameters as they were sent, encoded.
    pub query: String,
    /// The header `Jettra-Session`.
    pub session: Option<String>,
    /// The header `Authorization`.
    pub authorization: Option<String>,
    /// The body.
    pub body: String,
}

/// What a node has beside what the cluster shares.
#[derive(Debug, Default)]
struct NodeState {
    mishaps: VecDeque<Mishap>,
    received: Vec<Received>,
}

#[derive(Debug)]
struct Shared {
    /// The node's place among the members, from 0.
    place: usize,
    store: Arc<Mutex<Store>>,
    node: Mutex<NodeState>,
}

/// Locks in a test: a panic elsewhere is told there.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A node in memory, on a free port of this machine, until it is dropped.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use jettra_client::testing::{FakeNode, Mishap};
///
/// let node = FakeNode::start()?;
/// let client = node.client();
/// node.next(Mishap::LoseAnswer);
/// client.save_document("shop", "users", r#"{"_id":"ada"}"#).await?;
///
/// let numbers: Vec<_> = node.received().into_iter().filter_map(|request| request.session).collect();
/// assert_eq!(numbers.len(), 2);
/// assert_eq!(numbers[0], numbers[1], "sent again under the same number, and so done once");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FakeNode {
    port: u16,
    shared: Arc<Shared>,
    running: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

impl FakeNode {
    /// Starts a node that is a cluster of its own. Its administrator is `admin` with the password `password`.
    ///
    /// # Errors
    /// If the machine gives no port or no thread.
    pub fn start() -> std::io::Result<FakeNode> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let store = Arc::new(Mutex::new(Store::new(vec![url_of(listener.local_addr()?.port())])));
        FakeNode::serve(0, listener, store)
    }

    fn serve(place: usize, listener: TcpListener, store: Arc<Mutex<Store>>) -> std::io::Result<FakeNode> {
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared { place, store, node: Mutex::default() });
        let (stop, stopped) = oneshot::channel();
        let thread = serve::spawn(listener, Arc::clone(&shared), stopped)?;
        Ok(FakeNode { port, shared, running: Mutex::new(Some((stop, thread))) })
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL.
    pub fn url(&self) -> String {
        url_of(self.port)
    }

    /// A client of it.
    pub fn client(&self) -> JettraClient {
        JettraClient::new("localhost", self.port, "admin", "password")
    }

    /// Lets the next request fail; called again, the one after. Requests by which clients learn of
    /// members do not count.
    pub fn next(&self, mishap: Mishap) {
        lock(&self.shared.node).mishaps.push_back(mishap);
    }

    /// The requests it received, oldest first, without those by which clients learn of members.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared.node).received.clone()
    }

    /// Refuses requests without credentials from now on, as a node outside protected mode.
    pub fn require_login(&self) {
        lock(&self.shared.store).login_required = true;
    }

    /// Ends every token.
    pub fn expire_tokens(&self) {
        lock(&self.shared.store).tokens.clear();
    }

    /// Closes its port and its connections. Returns when that is done.
    pub fn stop(&self) {
        let running = lock(&self.running).take();
        if let Some((stop, thread)) = running {
            // It may have ended by itself.
            drop(stop);
            let ended = thread.join();
            debug_assert!(ended.is_ok(), "the node panicked");
        }
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Several nodes in memory that share one state: what one is told, all know. The first leads.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use jettra_client::testing::FakeCluster;
///
/// let cluster = FakeCluster::start(3)?;
/// let client = cluster.client();
/// client.save_document("shop", "users", r#"{"_id":"ada"}"#).await?;
///
/// cluster.node(0).stop();
/// assert!(client.get_document("shop", "users", "ada").await?.is_some(), "another node answered");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FakeCluster {
    nodes: Vec<FakeNode>,
}

impl FakeCluster {
    /// Starts `size` nodes, `node1`, `node2`, ….
    ///
    /// # Errors
    /// If the machine gives no ports or no threads.
    pub fn start(size: usize) -> std::io::Result<FakeCluster> {
        let listeners = (0..size).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<std::io::Result<Vec<_>>>()?;
        let mut urls = Vec::new();
        for listener in &listeners {
            urls.push(url_of(listener.local_addr()?.port()));
        }
        let store = Arc::new(Mutex::new(Store::new(urls)));
        let start = |(place, listener)| FakeNode::serve(place, listener, Arc::clone(&store));
        Ok(FakeCluster { nodes: listeners.into_iter().enumerate().map(start).collect::<std::io::Result<_>>()? })
    }

    /// A node, by its place from 0.
    ///
    /// # Panics
    /// If there is none.
    pub fn node(&self, place: usize) -> &FakeNode {
        &self.nodes[place]
    }

    /// The URLs of the nodes.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(FakeNode::url).collect()
    }

    /// A client that knows every node.
    pub fn client(&self) -> JettraClient {
        let client = JettraClient::builder().urls(self.urls()).credentials("admin", "password").build();
        // The URLs are this module's own; a client of none would say so at its first call.
        client.unwrap_or_else(|_| JettraClient::new("", 0, "", ""))
    }
}

fn url_of(port: u16) -> String {
    format!("http://localhost:{port}")
}

//! The client itself: what it keeps between calls.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::request::Request;
use crate::retry::Safety;
use crate::session::Session;
use crate::settings::{Identity, Settings};
use crate::targets::Targets;
use crate::transport::{Answer, Authorization, Signs, Way, attempt};
use crate::wire::FederatedConfig;

/// How often the cluster is asked for its members.
const DISCOVERY_EVERY: Duration = Duration::from_secs(60);
/// How long that may take.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(2);

/// A client of a JettraDB node or cluster.
///
/// It is cheap to clone; clones share connections, the session and what is known of the cluster.
/// Every call asks the nodes it knows in turn until one answers, repeats only what is safe to
/// repeat, and ends by the deadline (10 s unless configured).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> jettra_client::Result<()> {
/// # let node = jettra_client::testing::FakeNode::start().unwrap();
/// # let port = node.port();
/// use jettra_client::JettraClient;
///
/// let client = JettraClient::new("localhost", port, "admin", "password");
/// for node in client.get_federated_nodes().await? {
///     println!("{} {} {}", node.id, node.status, node.role);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct JettraClient {
    /// Why no call can be made, if [`JettraClient::new`] was given what makes no client.
    inner: std::result::Result<Arc<Inner>, Error>,
}

/// What the clones of a client share.
pub(crate) struct Inner {
    pub(crate) http: reqwest::Client,
    pub(crate) settings: Settings,
    pub(crate) session: Session,
    /// Locked for moments only, never across an await.
    targets: Mutex<Targets>,
    /// Locked for moments only, never across an await.
    identity: Mutex<Identity>,
    /// The highest log index that an answer told.
    index: AtomicU64,
}

impl JettraClient {
    /// A client whose every call fails with `error`.
    pub(crate) fn unusable(error: Error) -> JettraClient {
        JettraClient { inner: Err(error) }
    }

    pub(crate) fn from_parts(
        http: reqwest::Client,
        settings: Settings,
        targets: Targets,
        identity: Identity,
    ) -> JettraClient {
        JettraClient {
            inner: Ok(Arc::new(Inner {
                http,
                settings,
                session: Session::new(),
                targets: Mutex::new(targets),
                identity: Mutex::new(identity),
                index: AtomicU64::new(0),
            })),
        }
    }

    /// The URLs that the client asks: those it was given, then those it learned.
    pub fn urls(&self) -> Vec<String> {
        self.inner.as_ref().map(|inner| inner.targets().urls()).unwrap_or_default()
    }

    /// The highest log index that an answer to this client reflected. A local read with
    /// [`min_index`](crate::ReadOptions::min_index) of this sees everything that this client has seen or written.
    pub fn last_index(&self) -> u64 {
        self.inner.as_ref().map(|inner| inner.index.load(Ordering::Relaxed)).unwrap_or_default()
    }

    pub(crate) fn inner(&self) -> Result<&Arc<Inner>> {
        self.inner.as_ref().map_err(Error::clone)
    }

    pub(crate) async fn call(&self, request: Request) -> Result<Answer> {
        let inner = self.inner()?;
        let answer = inner.call(&request).await?;
        inner.discover();
        Ok(answer)
    }

    pub(crate) async fn call_json<T: DeserializeOwned>(&self, request: Request) -> Result<T> {
        let name = request.name();
        let written = request.safety != Safety::Read;
        let answer = self.call(request).await?;
        decode(&name, written, &answer.body)
    }
}

pub(crate) fn decode<T: DeserializeOwned>(call: &str, written: bool, body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| Error::Decode {
        call: call.to_owned(),
        message: error.to_string(),
        written,
    })
}

impl fmt::Debug for JettraClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JettraClient").field("urls", &self.urls()).finish_non_exhaustive()
    }
}

impl Inner {
    pub(crate) fn targets(&self) -> MutexGuard<'_, Targets> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn identity(&self) -> MutexGuard<'_, Identity> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn pick(&self, prefer_leader: bool, tried: &[String]) -> Option<String> {
        self.targets().pick(prefer_leader, tried, Instant::now())
    }

    /// Notes what an answer told beside its body.
    pub(crate) fn note(&self, url: &str, signs: &Signs) {
        let mut targets = self.targets();
        targets.answered(url, signs.node.as_deref(), Instant::now());
        if let Some(leader) = &signs.leader {
            targets.leads(leader);
        }
        drop(targets);
        if let Some(index) = signs.index {
            self.index.fetch_max(index, Ordering::Relaxed);
        }
    }

    pub(crate) fn authorization(&self) -> Authorization {
        match self.identity().clone() {
            Identity { token: Some(token), .. } => Authorization::Token(token),
            Identity { credentials: Some((user, password)), .. } => Authorization::Basic(user, password),
            Identity { .. } => Authorization::None,
        }
    }

    /// Goes back to user and password, when a token has ended. False if there are none.
    pub(crate) fn forget_token(&self) -> bool {
        let mut identity = self.identity();
        identity.token = None;
        identity.credentials.is_some()
    }

    /// Learns the members in the background, now and then: the calls do not wait for it.
    fn discover(self: &Arc<Self>) {
        if !self.settings.discover || !self.targets().discovery_due(Instant::now(), DISCOVERY_EVERY) {
            return;
        }
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            let Some(url) = inner.pick(false, &[]) else { return };
            let authorization = inner.authorization();
            let way = Way {
                http: &inner.http,
                url: &url,
                authorization: &authorization,
                session: None,
                limit: DISCOVERY_TIMEOUT,
                max_bytes: 64 * 1024,
            };
            // Without an answer the client goes on with what it knows.
            if let Ok(answer) = attempt(&Request::read("/api/federated/config"), way).await
                && let Ok(config) = serde_json::from_slice::<FederatedConfig>(&answer.body)
            {
                inner.targets().learn(config.federated_servers.iter().map(String::as_str));
            }
        });
    }
}

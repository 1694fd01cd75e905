//! How a client is made.

use std::net::SocketAddr;
use std::time::Duration;

use crate::client::JettraClient;
use crate::error::{Error, Result};
use crate::settings::{Identity, Settings};
use crate::targets::Targets;

/// Makes a [`JettraClient`].
///
/// ```
/// use std::time::Duration;
/// use jettra_client::JettraClient;
///
/// let client = JettraClient::builder()
///     .url("http://node1:8080")
///     .url("http://node2:8080")
///     .credentials("admin", "password")
///     .deadline(Duration::from_secs(5))
///     .build()?;
/// assert_eq!(client.urls(), ["http://node1:8080", "http://node2:8080"]);
/// # Ok::<(), jettra_client::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct JettraClientBuilder {
    urls: Vec<String>,
    identity: Identity,
    connect_timeout: Duration,
    settings: Settings,
}

impl Default for JettraClientBuilder {
    fn default() -> Self {
        JettraClientBuilder {
            urls: Vec::new(),
            identity: Identity::default(),
            connect_timeout: Duration::from_secs(1),
            settings: Settings {
                deadline: Duration::from_secs(10),
                attempt_timeout: Duration::from_secs(3),
                max_response_bytes: 64 * 1024 * 1024,
                discover: true,
            },
        }
    }
}

impl JettraClientBuilder {
    /// Adds the URL of a node, such as `http://localhost:8080`. The first is asked first.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.urls.push(url.into());
        self
    }

    /// Adds the URLs of several nodes.
    pub fn urls<U: Into<String>>(mut self, urls: impl IntoIterator<Item = U>) -> Self {
        self.urls.extend(urls.into_iter().map(Into::into));
        self
    }

    /// The user and password to send with each request (HTTP Basic), until
    /// [`login`](JettraClient::login) exchanges them for a token.
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.identity.credentials = Some((user.into(), password.into()));
        self
    }

    /// A token from an earlier login, as the node gave it (`Bearer …`).
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.identity.token = Some(token.into());
        self
    }

    /// How long a call may take in all, with every repeat and pause. Default 10 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = deadline;
        self
    }

    /// How long to wait for one node before another is asked. Each further attempt of a call gets
    /// twice as long. Default 3 s.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.settings.attempt_timeout = timeout;
        self
    }

    /// How long making a connection may take. Default 1 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The largest answer to accept, bytes. Default 64 MiB.
    pub fn max_response_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_response_bytes = bytes;
        self
    }

    /// Whether to ask the cluster for its members now and then, to fall back on them. Default true.
    pub fn discover(mut self, discover: bool) -> Self {
        self.settings.discover = discover;
        self
    }

    /// Makes the client. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] if no URL was given or one is no URL of a node, or if TLS cannot be
    /// set up on this machine.
    pub fn build(self) -> Result<JettraClient> {
        let targets = Targets::new(&self.urls)?;
        let http = reqwest::Client::builder()
            .no_proxy()
            // Its other address, ::1, might be somebody else's.
            .resolve("localhost", SocketAddr::from(([127, 0, 0, 1], 0)))
            .http1_only()
            .tcp_nodelay(true)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(self.connect_timeout)
            .user_agent(concat!("jettra-client/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::invalid(format!("the HTTP client cannot be set up: {}", root_cause(&error))))?;
        Ok(JettraClient::from_parts(http, self.settings, targets, self.identity))
    }
}

/// What lies at the bottom of an error: those above it say only that something went wrong.
fn root_cause(error: &dyn std::error::Error) -> &dyn std::error::Error {
    error.source().map_or(error, root_cause)
}

impl JettraClient {
    /// A client of the node at `host` and `port`, over HTTP.
    ///
    /// Nothing is sent yet. If `host` cannot stand in a URL, the calls say so.
    pub fn new(host: &str, port: u16, user: &str, password: &str) -> JettraClient {
        let bare_v6 = host.contains(':') && !host.starts_with('[');
        let host = if bare_v6 { format!("[{host}]") } else { host.to_owned() };
        let builder = JettraClient::builder().url(format!("http://{host}:{port}")).credentials(user, password);
        builder.build().unwrap_or_else(JettraClient::unusable)
    }

    /// A builder, for several URLs, time-outs and limits.
    pub fn builder() -> JettraClientBuilder {
        JettraClientBuilder::default()
    }
}

impl std::fmt::Debug for JettraClientBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JettraClientBuilder")
            .field("urls", &self.urls)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

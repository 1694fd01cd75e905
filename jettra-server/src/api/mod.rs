//! HTTP: one file an area, each a table of routes and thin functions.
//!
//! - `listener`: the port, on every address that `Host` means
//! - [`server`]: connections: accept, bound, shut down
//! - `places`: who has one, and who has to give it up
//! - `connection`: one of them: its bytes, what its client has shown, what it has to take
//! - `room`: what answers under way take of the memory
//! - `request`, `body`, `answer`: what comes in, parsed once; what goes out
//! - `stream`: answers that are written while they are sent
//! - `span`: what a request is called in the log
//! - `gate`: the one layer that every request passes: Host and Origin, principal, role, headers
//! - `cluster`, `federated`, `health`, `databases`, `documents`, `queries`, `sessions`, `system`, `watch`: the areas
//! - `live`: what the management page watches
//! - `ui`: the management page's files
//! - `rpc`: calls from other nodes
//! - `router`: which of all these answers a path
//! - `openapi`: the tables above as the OpenAPI document

mod answer;
mod body;
mod cluster;
mod connection;
mod databases;
mod documents;
mod federated;
mod gate;
mod health;
mod listener;
mod live;
mod openapi;
mod places;
mod queries;
mod request;
mod room;
mod router;
mod rpc;
pub mod server;
mod sessions;
mod span;
mod stream;
mod system;
mod ui;
mod watch;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::http::header::CONTENT_ENCODING;
use axum::http::{HeaderMap, Method};
use jettra_client::nearest;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;

use self::answer::Answer;
pub use self::listener::Listener;
pub use self::live::Live;
use self::request::{Query, Request};
pub use self::room::Room;
pub use self::watch::Watches;
use crate::auth::{Auth, Role};
use crate::cluster::Cluster;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::state::names::shown;

/// What every request may use.
pub struct App {
    /// The node's place in its cluster.
    pub cluster: Arc<Cluster>,
    /// Who asks.
    pub auth: Arc<Auth>,
    /// The effective configuration.
    pub config: Config,
    /// Renders `/metrics`.
    pub prometheus: PrometheusHandle,
    /// KiB of request bodies that may be held at once.
    pub bodies: Arc<Semaphore>,
    /// The same for requests to routes that are open to everybody.
    pub strangers_bodies: Arc<Semaphore>,
    /// Room for answers under way.
    pub room: Room,
    /// Queries that may read a collection at once.
    pub scans: Arc<Semaphore>,
    /// Those who watch the cluster.
    pub live: Arc<Live>,
    /// Those who watch changes.
    pub watches: Watches,
    /// Hosts that this node answers to, beside loopback and its own addresses.
    pub hosts: Vec<String>,
}

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Everybody.
    Public,
    /// The user that the node runs as, on this machine, without credentials, others as administrators, unless configured.
    Machine,
    /// Users with this role or a higher one.
    Role(Role),
}

/// What a route does, and with it the query parameters that it takes beside its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Files and probes: whatever parameters a browser or a load balancer adds are left alone.
    Page,
    /// Answers from this node alone.
    Plain,
    /// Reads the replicated state, as new as is asked for.
    Read,
    /// Changes the replicated state.
    Write,
    /// Changes one document; takes a condition in `If-Match` or `If-None-Match`.
    WriteOne,
    /// Changes who belongs to the cluster; may be asked what it would do.
    Membership,
}

impl Kind {
    /// The parameters that every route of this kind takes.
    fn parameters(self) -> &'static [&'static str] {
        match self {
            Kind::Page => &[],
            Kind::Plain | Kind::Write | Kind::WriteOne => &["timeout?", "forward?"],
            Kind::Read => &["consistency?", "min_index?", "max_lag?", "timeout?", "forward?"],
            Kind::Membership => &["dry_run?", "timeout?", "forward?"],
        }
    }
}

type Handler = fn(Arc<App>, Request) -> Pin<Box<dyn Future<Output = Result<Answer>> + Send>>;

/// One row of an area's table.
struct Route {
    method: Method,
    path: &'static str,
    access: Access,
    kind: Kind,
    /// For the OpenAPI document: what it does.
    summary: &'static str,
    /// The query parameters beside those of its kind; a trailing `?` marks an optional one. Others are refused.
    own_parameters: &'static [&'static str],
    handler: Handler,
}

impl Route {
    /// All query parameters that it takes; a trailing `?` marks an optional one.
    fn parameters(&self) -> impl Iterator<Item = &'static str> {
        self.own_parameters.iter().chain(self.kind.parameters()).copied()
    }

    /// Refuses what the route does not know, so that nothing is ignored that a client asks for.
    fn check(&self, query: &Query, headers: &HeaderMap) -> Result<()> {
        if self.kind == Kind::Page {
            return Ok(());
        }
        self.check_parameters(query)?;
        let is_read = self.method == Method::GET;
        let unheard: &[&str] = match self.kind {
            Kind::WriteOne => &["if-unmodified-since", "if-modified-since"],
            // Without a precondition a read is answered whole, which is right whatever a cache has asked for.
            _ if is_read => &["if-match", "if-unmodified-since"],
            _ => &["if-match", "if-none-match", "if-unmodified-since", "if-modified-since"],
        };
        if let Some(name) = unheard.iter().find(|name| headers.contains_key(**name)) {
            return Err(Error::bad_request(format!(
                "{} {} takes no condition in {name}: leave it out; writes of one document take the revision in If-Match",
                self.method, self.path
            )));
        }
        let encoding = headers
            .get_all(CONTENT_ENCODING)
            .iter()
            .find(|value| !value.is_empty() && !value.as_bytes().eq_ignore_ascii_case(b"identity"));
        if let Some(encoding) = encoding {
            return Err(Error::bad_request(format!(
                "Content-Encoding: {} is not read: send the body as it is",
                shown(&String::from_utf8_lossy(encoding.as_bytes()))
            )));
        }
        Ok(())
    }

    fn check_parameters(&self, query: &Query) -> Result<()> {
        let known = || self.parameters().map(|name| name.trim_end_matches('?'));
        let unknown = query.names().filter(|name| known().all(|known| known != *name)).min();
        let Some(unknown) = unknown else {
            return match query.get("tx").filter(|tx| !tx.is_empty()) {
                None => Ok(()),
                Some(tx) => Err(Error::not_found(format!(
                    "there is no transaction {}: this version has none, and nothing was done",
                    shown(tx)
                ))),
            };
        };
        let takes: Vec<&str> = known().collect();
        Err(Error::bad_request(format!(
            "{} {} takes no parameter {}{}; it takes {}",
            self.method,
            self.path,
            shown(unknown),
            nearest(unknown, known()).map_or_else(String::new, |name| format!(" (did you mean {name}?)")),
            takes.join(", ")
        )))
    }
}

/// A row: `route!(GET "/api/count", Role(Reader), Read, ["db", "col"], "counts", count)`.
macro_rules! route {
    ($method:ident $path:literal, $access:expr, $kind:ident, [$($parameter:literal),*], $summary:literal, $handler:path) => {
        crate::api::Route {
            method: axum::http::Method::$method,
            path: $path,
            access: $access,
            kind: crate::api::Kind::$kind,
            summary: $summary,
            own_parameters: &[$($parameter),*],
            handler: |app, request| Box::pin(async move { $handler(&app, request).await }),
        }
    };
}
pub(crate) use route;

/// Every route but those between nodes.
fn routes() -> impl Iterator<Item = &'static Route> {
    [
        system::ROUTES,
        sessions::ROUTES,
        cluster::ROUTES,
        federated::ROUTES,
        health::ROUTES,
        databases::ROUTES,
        documents::ROUTES,
        queries::ROUTES,
        live::ROUTES,
        ui::ROUTES,
        watch::ROUTES,
    ]
    .into_iter()
    .flatten()
}

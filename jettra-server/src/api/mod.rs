//! HTTP: one file an area, each a table of routes and thin functions.
//!
//! - `listener`: the port, on every address that `Host` means
//! - [`server`]: connections: accept, bound, shut down
//! - `places`: who has one, and who has to give it up
//! - `connection`: one of them: its bytes, what its client has shown, what it has to take
//! - `room`: what answers under way take of the memory
//! - `request`, `answer`: what comes in, parsed once; what goes out
//! - `stream`: answers that are written while they are sent
//! - `gate`: the one layer that every request passes: Host and Origin, principal, role, headers
//! - `cluster`, `health`, `databases`, `documents`, `queries`, `sessions`, `system`, `watch`: the areas
//! - `live`: what the management page watches
//! - `ui`: the management page's files
//! - `rpc`: calls from other nodes
//! - `openapi`: the tables above as the OpenAPI document

mod answer;
mod cluster;
mod connection;
mod databases;
mod documents;
mod gate;
mod health;
mod listener;
mod live;
mod openapi;
mod places;
mod queries;
mod request;
mod room;
mod rpc;
pub mod server;
mod sessions;
mod stream;
mod system;
mod ui;
mod watch;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::http::Method;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;

use self::answer::Answer;
pub use self::listener::Listener;
pub use self::live::Live;
use self::request::Request;
pub use self::room::Room;
pub use self::watch::Watches;
use crate::auth::{Auth, Role};
use crate::cluster::Cluster;
use crate::config::Config;
use crate::error::Result;

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
    /// This machine without credentials, others as administrators, unless configured.
    Machine,
    /// Users with this role or a higher one.
    Role(Role),
}

type Handler = fn(Arc<App>, Request) -> Pin<Box<dyn Future<Output = Result<Answer>> + Send>>;

/// One row of an area's table.
struct Route {
    method: Method,
    path: &'static str,
    access: Access,
    /// For the OpenAPI document: what it does.
    summary: &'static str,
    /// For the OpenAPI document: the query parameters; a trailing `?` marks an optional one.
    parameters: &'static [&'static str],
    handler: Handler,
}

/// A row: `route!(GET "/api/count", Role(Reader), ["db", "col"], "counts", count)`.
macro_rules! route {
    ($method:ident $path:literal, $access:expr, [$($parameter:literal),*], $summary:literal, $handler:path) => {
        crate::api::Route {
            method: axum::http::Method::$method,
            path: $path,
            access: $access,
            summary: $summary,
            parameters: &[$($parameter),*],
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

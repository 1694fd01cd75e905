//! The one layer that every request passes: Host and Origin, principal, role, bounds, headers.

use std::sync::Arc;
use std::time::Instant;

use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Response};
use tracing::Instrument as _;

use super::answer::{self, insert};
use super::body;
use super::connection::{Connection, Shown, ends};
use super::request::{Query, Request, call};
use super::system::LIVEZ;
use super::{Access, App, Kind, Route, health, span};
use crate::auth::{Basis, FarEnd, Origin, Principal, Role, check_host, check_one_host, check_page};
use crate::cluster::{Call, Consistency};
use crate::error::{Error, Result};
use crate::limits;
use crate::state::CHANGED;

/// Answers a request to a route.
pub(super) async fn serve(
    app: Arc<App>,
    route: &'static Route,
    request: axum::extract::Request,
) -> Response<axum::body::Body> {
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let id = span::id(&parts.headers);
    let span = span::of(route, &id, &parts);
    let (mut answered, known) = enter(app.clone(), route, parts, body, &id).instrument(span).await;
    insert(answered.headers_mut(), span::HEADER, &id);
    let status = answered.status().as_u16();
    metrics::histogram!("jettra_request_seconds", "method" => route.method.as_str(), "path" => route.path)
        .record(started.elapsed().as_secs_f64());
    metrics::counter!("jettra_requests_total", "path" => route.path, "status" => status.to_string()).increment(1);
    finish(&app, answered, known)
}

/// Answers a request, and says whether the sender was let in.
async fn enter(
    app: Arc<App>,
    route: &'static Route,
    parts: Parts,
    body: axum::body::Body,
    id: &str,
) -> (Response<axum::body::Body>, bool) {
    let mut known = false;
    let connection = parts.extensions.get::<Arc<Connection>>().cloned();
    let entered = async {
        if route.access != Access::Public {
            app.cluster.wait_started(app.config.request_timeout).await;
        }
        check_one_host(&parts.headers)?;
        if route.kind != Kind::Page || route.access == Access::Machine {
            check_page(&parts.headers, authority(&parts))?;
        }
        let origin = origin(&app, &parts, route.access == Access::Machine)?;
        if route.access == Access::Public && route.path != LIVEZ {
            app.auth.check_public(&origin).await?;
        }
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let basis = query.as_ref().map_or(Basis::Cluster, |query| basis(route, query));
        let authorization = parts.headers.get(AUTHORIZATION).cloned();
        let principal = principal(&app, route.access, authorization.as_ref(), &origin, basis).await?;
        span::note_user(&principal);
        if let Some(connection) = &connection
            && let Access::Role(_) = route.access
        {
            come_in(connection, &principal, authorization.is_some())?;
        }
        known = route.access != Access::Public;
        let query = query?;
        route.check(&query, &parts.headers)?;
        let path = percent_encoding::percent_decode_str(parts.uri.path()).decode_utf8();
        let path = path.map_err(|_| Error::bad_request("the path is not UTF-8"))?.into_owned();
        let call = call(&query, &parts.headers, &principal, id, app.config.request_timeout)?;
        // A stranger may name a user and a password, and no route reads the body of a GET.
        let limit = match (route.access, &route.method) {
            (_, &Method::GET) => 0,
            (Access::Public, _) => limits::PUBLIC_BODY,
            _ => app.config.max_body_bytes,
        };
        // Strangers' bodies have a room of their own, so that they hold up strangers only.
        let bodies = if route.access == Access::Public { &app.strangers_bodies } else { &app.bodies };
        let body = if limit == 0 { None } else { Some(body::read(bodies, &parts.headers, body, limit).await?) };
        let bytes = body.as_ref().map(|b| body::without_mark(&b.bytes)).unwrap_or_default();
        let request =
            Request { method: parts.method, path, query, headers: parts.headers, body: bytes, principal, origin, call };
        let (origin, deadline) = (request.origin.clone(), request.call.deadline);
        let answer = match (route.handler)(app.clone(), request).await {
            Err(e) if e.detail(CHANGED).is_some() => {
                return Err(look_again(&app, route.access, authorization.as_ref(), &origin, deadline, &e).await);
            }
            answered => answered?,
        };
        // What is public and changes something lets somebody in.
        known |= route.method != Method::GET;
        match &connection {
            // What everybody may read is part of the program and takes no memory of its own.
            Some(connection) => {
                let room = (route.access != Access::Public).then_some(&app.room);
                answer.into_response_on(connection, room, route.method == Method::GET)
            }
            None => Ok(answer.into_response()),
        }
    };
    let answered = entered.await.unwrap_or_else(answer::error);
    (answered, known)
}

/// Notes what a connection's client has shown, and sends it away where it is on a place that is kept for others.
fn come_in(connection: &Connection, principal: &Principal, has_shown: bool) -> Result<()> {
    let is_admin = principal.role >= Role::Admin;
    if connection.is_extra() && !is_admin {
        return Err(Error::busy("too many connections: try again in a moment, or raise MaxConnections"));
    }
    connection.shows(if is_admin && has_shown { Shown::Admin } else { Shown::User });
    Ok(())
}

pub(super) fn authority(parts: &Parts) -> Option<&str> {
    parts.uri.authority().map(|authority| authority.as_str())
}

/// Where the request comes from. The name that this node was called by is looked at where somebody may be let in without
/// credentials: until there is a password, and where the route `is_open` to this machine.
pub(super) fn origin(app: &App, parts: &Parts, is_open: bool) -> Result<Origin> {
    let far = parts.extensions.get::<Arc<FarEnd>>();
    let far = far.ok_or_else(|| Error::internal("a request without a connection"))?;
    let origin = Origin::of(far, &parts.headers);
    if !is_open && !app.auth.is_protected_mode() {
        return Ok(origin);
    }
    let is_own = |name: &str| app.hosts.iter().any(|host| host == name) || app.cluster.was_reached_as(name);
    Ok(origin.with_host(check_host(&parts.headers, authority(parts), ends(parts)?.local, is_own)))
}

/// Whether the sender of a request to no route would be let in. Strangers are told nothing of the node.
pub(super) async fn is_known(app: &App, parts: &Parts) -> bool {
    let Ok(origin) = origin(app, parts, false) else { return false };
    let header = parts.headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok());
    app.auth.principal(header, &origin, Basis::ThisNode).await.is_ok()
}

/// What the request is answered from, as its handler will see it.
fn basis(route: &Route, query: &Query) -> Basis {
    let is_own = route.method == Method::GET
        && match query.get("consistency") {
            Some(consistency) => consistency == "local",
            None => route.kind != Kind::Read || route.path == health::EVENTS,
        };
    if is_own { Basis::ThisNode } else { Basis::Cluster }
}

/// What is answered to a request that was let in by a right that had ended, or ended meanwhile: this node has learned
/// so from the leader, or by catching up.
async fn look_again(
    app: &App,
    access: Access,
    authorization: Option<&HeaderValue>,
    origin: &Origin,
    deadline: Instant,
    refused: &Error,
) -> Error {
    let call = Call::internal(deadline.saturating_duration_since(Instant::now()));
    if app.cluster.ready_to_read(&call, Consistency::Linearizable, None).await.is_err() {
        return Error::unauthorized(refused.message());
    }
    match principal(app, access, authorization, origin, Basis::Cluster).await {
        Err(e) => e,
        Ok(_) => Error::unavailable("the user was changed while this was under way, and nothing was done: try again"),
    }
}

async fn principal(
    app: &App,
    access: Access,
    authorization: Option<&HeaderValue>,
    origin: &Origin,
    basis: Basis,
) -> Result<Principal> {
    let role = match access {
        Access::Public => return Ok(Principal::nobody()),
        Access::Machine if app.config.metrics_public || origin.check_owner().await.is_ok() => {
            return Ok(Principal::nobody());
        }
        Access::Machine => Role::Admin,
        Access::Role(role) => role,
    };
    let header = authorization.map(|v| v.to_str());
    let header = header.transpose().map_err(|_| Error::unauthorized("the Authorization header is not readable"))?;
    let principal = app.auth.principal(header, origin, basis).await?;
    principal.require(role)?;
    Ok(principal)
}

/// Adds what every answer carries, and what those are told of the node who were let in.
pub(super) fn finish(app: &App, mut response: Response<axum::body::Body>, known: bool) -> Response<axum::body::Body> {
    let headers = response.headers_mut();
    // An answer is what its type says, and for pages of this node alone.
    insert(headers, "x-content-type-options", "nosniff");
    insert(headers, "cross-origin-resource-policy", "same-origin");
    if !known {
        headers.remove("x-jettra-index");
        return response;
    }
    let identity = app.cluster.identity();
    insert(headers, "x-jettra-node", &identity.name);
    let (role, leader) = app.cluster.standing();
    insert(headers, "x-jettra-role", role.as_str());
    if let Some(consensus) = app.cluster.running()
        && !headers.contains_key("x-jettra-index")
    {
        insert(headers, "x-jettra-index", &consensus.applied_index().to_string());
    }
    if let Some((_, url)) = leader {
        insert(headers, "x-jettra-leader", &url);
    }
    response
}

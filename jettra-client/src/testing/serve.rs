//! HTTP for a node in memory: a thread, a listener, and the mishaps.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderMap, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;

use super::routes::{self, Call, Reply};
use super::{Mishap, Received, Shared, lock};
use crate::wire::ErrorCode;

/// The request that clients make on their own account.
const DISCOVERY: &str = "/api/federated/config";

/// Serves on a thread of its own until `stopped` resolves; then every connection is closed.
pub(super) fn spawn(
    listener: TcpListener,
    shared: Arc<Shared>,
    stopped: oneshot::Receiver<()>,
) -> io::Result<JoinHandle<()>> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("fake-node".into()).spawn(move || {
        runtime.block_on(async {
            tokio::spawn(accept(listener, shared));
            // Told, or dropped: both mean to stop.
            stopped.await.unwrap_or_default();
        });
    })
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(Arc::clone(&shared), request));
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // An error is a client that went, or a mishap that was asked for.
            connection.await.unwrap_or_default();
        });
    }
}

/// An error closes the connection without an answer.
async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let header = |name: &str| text(&parts.headers, name);
    let received = Received {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        session: header("jettra-session"),
        authorization: header(AUTHORIZATION.as_str()),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let call = Call::new(&received, header("if-match"), header("if-none-match"));
    let mishap = if received.path == DISCOVERY {
        None
    } else {
        let mut node = lock(&shared.node);
        node.received.push(received);
        node.mishaps.pop_front()
    };
    let act = || routes::answer(&mut lock(&shared.store), shared.place, &call);
    match mishap {
        None => respond(&shared, act(), None),
        Some(Mishap::Refuse(code)) => respond(&shared, Reply::error(code, "a mishap was asked for"), None),
        Some(Mishap::RefuseFor(code, seconds)) => {
            respond(&shared, Reply::error(code, "a mishap was asked for"), Some(seconds))
        }
        Some(Mishap::LeaderIsAt(url)) => {
            let detail = serde_json::json!({"leaderUrl": url});
            respond(&shared, Reply::error_with(ErrorCode::NotLeader, "ask the leader", detail), None)
        }
        Some(Mishap::LoseRequest) => Err(io::Error::other("the request is lost")),
        Some(Mishap::LoseAnswer) => {
            act();
            Err(io::Error::other("the answer is lost"))
        }
        Some(Mishap::Silence) => {
            act();
            let never: Infallible = std::future::pending().await;
            match never {}
        }
    }
}

fn respond(shared: &Shared, reply: Reply, retry_after: Option<u64>) -> io::Result<Response<Full<Bytes>>> {
    let store = lock(&shared.store);
    let node = format!("node{}", shared.place + 1);
    let role = if store.leader == node { "LEADER" } else { "FOLLOWER" };
    let mut response = Response::builder()
        .status(reply.status)
        .header(CONTENT_TYPE, reply.content_type)
        .header("X-Jettra-Node", &node)
        .header("X-Jettra-Role", role)
        .header("X-Jettra-Leader", &store.leader)
        .header("X-Jettra-Index", store.index);
    if let Some(rev) = reply.rev {
        response = response.header(ETAG, format!("\"{rev}\""));
    }
    if let Some(seconds) = retry_after {
        response = response.header(RETRY_AFTER, seconds);
    }
    response.body(Full::new(reply.body.into())).map_err(io::Error::other)
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

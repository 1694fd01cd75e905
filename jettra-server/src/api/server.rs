//! Connections: accepted up to a bound, HTTP/1.1 and HTTP/2 cleartext, finished before the node stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::Request;
use axum::http::Version;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use socket2::SockRef;
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use super::connection::{Connection, Wire};
use super::gate::{Ends, router};
use super::{App, Listener};
use crate::auth::FarEnd;
use crate::peers::Pace;
use crate::seldom::Seldom;

/// A connection that sends no complete head for so long is closed.
const HEAD: Duration = Duration::from_secs(30);
/// Bytes that the kernel holds of an answer beyond what is on its way to the client. With more, a slow client would
/// seem to take nothing for long, and then much at once.
const UNSENT: u32 = 32 << 10;
/// Requests of one HTTP/2 connection that are answered at once.
const STREAMS: u32 = 64;
/// Bytes that HTTP/2 takes of an answer before the client has room for them.
const STREAM_BYTES: usize = 64 << 10;

/// Serves `app` on `listener` until `stop`, then finishes what was accepted, at most for `grace`.
pub async fn serve(app: Arc<App>, listener: Listener, stop: impl Future<Output = ()>, grace: Duration) {
    let room = Arc::new(Semaphore::new(app.config.max_connections));
    let send_timeout = app.config.send_timeout;
    let router = router(app);
    let graceful = GracefulShutdown::new();
    let unaccepted = Seldom::default();
    let mut http = Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(64 << 10);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_send_buf_size(STREAM_BYTES)
        .keep_alive_interval(Some(HEAD));
    tokio::pin!(stop);
    loop {
        // Beyond the bound new connections wait in the kernel's queue, which is bounded as well.
        let accepted = async {
            let Ok(place) = room.clone().acquire_owned().await else { return None };
            Some((listener.accept().await, place))
        };
        let (stream, peer, place) = tokio::select! {
            accepted = accepted => match accepted {
                Some((Ok((stream, peer)), place)) => (stream, peer, place),
                Some((Err(e), _)) => {
                    // Out of file descriptors, or a connection that is gone already.
                    unaccepted.tell(move |times| tracing::warn!(times, error = %e, "a connection was not accepted"));
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
                None => break,
            },
            () = &mut stop => break,
        };
        let Ok(local) = stream.local_addr() else { continue };
        if let Err(e) = stream.set_nodelay(true) {
            tracing::debug!(error = %e, "TCP_NODELAY was not set");
        }
        let socket = SockRef::from(&stream);
        // A client that is no longer there does not say so.
        let set = socket.set_tcp_notsent_lowat(UNSENT).and_then(|()| socket.set_tcp_user_timeout(Some(send_timeout)));
        if let Err(e) = set {
            tracing::debug!(error = %e, "a connection's limits were not set");
        }
        let router = router.clone();
        // How fast this connection may call without a session, as another node that calls does twice.
        let pace = Arc::new(Pace::new(32, Duration::from_millis(50), Duration::from_secs(1)));
        let far = Arc::new(FarEnd::new(peer, local));
        let spoken = Arc::new(AtomicBool::new(false));
        let said = spoken.clone();
        let own = Arc::new(Connection::new(peer));
        let this = own.clone();
        let service = hyper::service::service_fn(move |mut request: Request<hyper::body::Incoming>| {
            said.store(true, Ordering::Relaxed);
            if request.version() == Version::HTTP_2 {
                own.carries_streams();
            }
            request.extensions_mut().insert(own.clone());
            request.extensions_mut().insert(Ends { peer, local });
            request.extensions_mut().insert(pace.clone());
            request.extensions_mut().insert(far.clone());
            router.clone().oneshot(request)
        });
        let connection = http.serve_connection(TokioIo::new(Wire::new(stream, send_timeout)), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _place = place;
            tokio::pin!(connection);
            // Before it knows the version of HTTP, hyper waits for ever.
            let first = tokio::time::timeout(HEAD, &mut connection).await;
            let ended = match first {
                Ok(ended) => ended,
                Err(_) if spoken.load(Ordering::Relaxed) => tokio::select! {
                    ended = connection => ended,
                    () = this.stands_still(send_timeout) => {
                        tracing::debug!(peer = %this.peer, "a stream of a connection was not taken: cut off");
                        return;
                    }
                },
                Err(_) => return,
            };
            if let Err(e) = ended {
                tracing::debug!(peer = %peer, error = %e, "a connection broke");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
        tracing::warn!(grace = ?grace, "some requests were not finished in time");
    }
}

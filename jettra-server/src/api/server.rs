//! Connections: accepted up to a bound, HTTP/1.1 and HTTP/2 cleartext, finished before the node stops.

use std::io::ErrorKind;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::Version;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use socket2::SockRef;
use tower::ServiceExt as _;

use super::connection::{Ends, Wire};
use super::places::Places;
use super::router::router;
use super::{App, Listener};
use crate::auth::FarEnd;
use crate::descriptors;
use crate::limits;
use crate::peers::Pace;
use crate::seldom::Seldom;

/// Bytes that the kernel holds of an answer beyond what is on its way to the client. With more, a slow client would
/// seem to take nothing for long, and then much at once.
const UNSENT: u32 = 32 << 10;
/// Bytes that HTTP/2 takes of an answer before the client has room for them.
const STREAM_BYTES: usize = 64 << 10;

/// Serves `app` on `listener` until `stop`, then finishes what was accepted, at most for `grace`.
pub async fn serve(app: Arc<App>, listener: Listener, stop: impl Future<Output = ()>, grace: Duration) {
    let places = Places::new(app.config.max_connections, app.config.max_connections_per_address);
    let descriptors = descriptors::limit().saturating_sub(descriptors::SPARE);
    let send_timeout = app.config.send_timeout;
    let router = router(app);
    let graceful = GracefulShutdown::new();
    let (unaccepted, crowded) = (Seldom::default(), Seldom::default());
    let mut http = Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(limits::HEAD).max_buf_size(64 << 10);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::STREAMS)
        .max_send_buf_size(STREAM_BYTES)
        .keep_alive_interval(Some(limits::HEAD));
    let mut stop = std::pin::pin!(stop);
    let mut overdue = std::pin::pin!(places.clone().cut_overdue(limits::HEAD, send_timeout));
    loop {
        // Beyond the bound new connections wait in the kernel's queue, which is bounded as well.
        let accepted = async {
            places.room().await;
            listener.accept().await
        };
        let (stream, peer) = tokio::select! {
            accepted = accepted => match accepted {
                Ok(accepted) => accepted,
                Err(e) => {
                    // A connection that is gone already, or the system has no more open files to give.
                    if !is_gone(&e) {
                        unaccepted.tell(move |times| tracing::warn!(times, error = %e, "a connection was not accepted"));
                        places.cut_one();
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    continue;
                }
            },
            () = &mut stop => break,
            () = &mut overdue => break,
        };
        // The system gives the lowest number that is free, so the files below this one are open.
        let open = usize::try_from(stream.as_raw_fd()).unwrap_or_default();
        if open >= descriptors {
            unaccepted.tell(move |times| {
                tracing::warn!(
                    times,
                    open,
                    "a connection was closed at once: the files that may be opened are for the log and the store"
                );
            });
            places.cut_one();
            continue;
        }
        let Some(place) = places.take(peer) else {
            crowded.tell(move |times| {
                tracing::warn!(times, from = %peer.ip(), "connections were closed at once: MaxConnectionsPerAddress of that address are there");
            });
            continue;
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
        let own = place.connection().clone();
        let wire = Wire::new(stream, own.clone(), send_timeout);
        let service = hyper::service::service_fn(move |mut request: Request<hyper::body::Incoming>| {
            if request.version() == Version::HTTP_2 {
                own.carries_streams();
            }
            request.extensions_mut().insert(own.clone());
            request.extensions_mut().insert(Ends { peer, local });
            request.extensions_mut().insert(pace.clone());
            request.extensions_mut().insert(far.clone());
            let asking = own.asks();
            let answered = router.clone().oneshot(request);
            async move {
                let answered = answered.await;
                drop(asking);
                answered
            }
        });
        let connection = http.serve_connection(TokioIo::new(wire), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            tokio::pin!(connection);
            let ended = tokio::select! {
                biased;
                ended = &mut connection => ended,
                () = place.connection().is_cut() => return,
            };
            if let Err(e) = ended {
                tracing::debug!(peer = %peer, error = %e, "a connection broke");
            }
        });
    }
    drop(listener);
    let finished = async {
        tokio::select! {
            () = graceful.shutdown() => {}
            () = overdue => {}
        }
    };
    if tokio::time::timeout(grace, finished).await.is_err() {
        tracing::warn!(grace = ?grace, "some requests were not finished in time");
    }
}

/// Whether an accept failed because of the connection itself.
fn is_gone(e: &std::io::Error) -> bool {
    matches!(e.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted)
}

//! One connection: its bytes, what its client has shown, and what it has to take.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::http::request::Parts;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Sleep;

use crate::error;

/// The two ends of a request's connection.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    /// The client's.
    pub peer: SocketAddr,
    /// Ours.
    pub local: SocketAddr,
}

/// The ends of the connection that a request came over.
pub(super) fn ends(parts: &Parts) -> error::Result<Ends> {
    parts.extensions.get::<Ends>().copied().ok_or_else(|| error::Error::internal("a request without a connection"))
}

/// What the client of a connection has shown of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shown {
    /// Nothing that anybody else could not.
    Nothing,
    /// A user's credentials, or that it is on this machine while no password is set.
    User,
    /// An administrator's credentials.
    Admin,
    /// Another node's proof.
    Node,
}

/// Times are told since this.
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What is known of a connection while it lasts.
pub(super) struct Connection {
    pub(super) peer: SocketAddr,
    /// A [`Shown`]; it only rises.
    shown: AtomicU8,
    /// Whether it has one of the places that are kept for few.
    is_extra: AtomicBool,
    began: Instant,
    /// Whether there was a request.
    has_asked: AtomicBool,
    /// Requests that are being answered.
    asking: AtomicU32,
    /// When the last byte came or went, in milliseconds.
    last_byte: AtomicU64,
    cut: Notify,
    /// Whether it carries several requests at once, each as a stream (HTTP/2).
    has_streams: AtomicBool,
    /// What waits for the client, by number, and since when. Only where there are streams.
    waiting: Mutex<BTreeMap<u64, Instant>>,
    numbers: AtomicU64,
}

impl Connection {
    pub(super) fn new(peer: SocketAddr, is_extra: bool) -> Self {
        let connection = Connection {
            peer,
            shown: AtomicU8::new(Shown::Nothing as u8),
            is_extra: AtomicBool::new(is_extra),
            began: Instant::now(),
            has_asked: AtomicBool::new(false),
            asking: AtomicU32::new(0),
            last_byte: AtomicU64::new(0),
            cut: Notify::new(),
            has_streams: AtomicBool::new(false),
            waiting: Mutex::default(),
            numbers: AtomicU64::new(0),
        };
        connection.touch();
        connection
    }

    /// Notes what the client has shown.
    pub(super) fn shows(&self, shown: Shown) {
        self.shown.fetch_max(shown as u8, Ordering::Relaxed);
    }

    /// The most that the client has shown.
    pub(super) fn shown(&self) -> Shown {
        match self.shown.load(Ordering::Relaxed) {
            0 => Shown::Nothing,
            1 => Shown::User,
            2 => Shown::Admin,
            _ => Shown::Node,
        }
    }

    /// Whether it has one of the places that are kept for nodes, administrators and probes.
    pub(super) fn is_extra(&self) -> bool {
        self.is_extra.load(Ordering::Relaxed)
    }

    /// Gives it a place like any other.
    pub(super) fn is_no_longer_extra(&self) {
        self.is_extra.store(false, Ordering::Relaxed);
    }

    /// Notes a request, until what this returns is dropped.
    pub(super) fn asks(self: &Arc<Self>) -> Asking {
        self.has_asked.store(true, Ordering::Relaxed);
        self.asking.fetch_add(1, Ordering::Relaxed);
        Asking(self.clone())
    }

    /// Whether a request is being answered; its answer may still be on its way when it no longer is.
    pub(super) fn is_asking(&self) -> bool {
        self.asking.load(Ordering::Relaxed) > 0
    }

    /// Notes that a byte came or went.
    pub(super) fn touch(&self) {
        self.last_byte.store(now_ms(), Ordering::Relaxed);
    }

    /// When the last byte came or went, in milliseconds since some time.
    pub(super) fn last_byte(&self) -> u64 {
        self.last_byte.load(Ordering::Relaxed)
    }

    /// How long no byte has come or gone.
    pub(super) fn idle(&self) -> Duration {
        Duration::from_millis(now_ms().saturating_sub(self.last_byte()))
    }

    /// Ends it.
    pub(super) fn cut(&self) {
        self.cut.notify_one();
    }

    /// Returns when it has to end.
    pub(super) async fn is_cut(&self) {
        self.cut.notified().await;
    }

    /// Says that it is HTTP/2.
    pub(super) fn carries_streams(&self) {
        self.has_streams.store(true, Ordering::Relaxed);
    }

    /// Whether it is HTTP/2.
    pub(super) fn has_streams(&self) -> bool {
        self.has_streams.load(Ordering::Relaxed)
    }

    /// Notes that something waits for the client from now on: what has this number already, or gets one.
    pub(super) fn waits_for_client(&self, number: Option<u64>) -> u64 {
        let number = number.unwrap_or_else(|| self.numbers.fetch_add(1, Ordering::Relaxed));
        self.waiting.lock().insert(number, Instant::now());
        number
    }

    /// Notes that this no longer waits for the client.
    pub(super) fn does_not_wait(&self, number: u64) {
        self.waiting.lock().remove(&number);
    }

    /// Why it should not last any longer: nothing was asked within `head` since it began, or nothing of a stream was
    /// taken for `send`.
    pub(super) fn is_overdue(&self, head: Duration, send: Duration) -> Option<&'static str> {
        if !self.has_asked.load(Ordering::Relaxed) && self.began.elapsed() >= head {
            return Some("nothing was asked");
        }
        let oldest = self.waiting.lock().values().min().copied();
        oldest.is_some_and(|since| since.elapsed() > send).then_some("a stream was not taken")
    }
}

/// A request that is being answered.
pub(super) struct Asking(Arc<Connection>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.asking.fetch_sub(1, Ordering::Relaxed);
    }
}

fn now_ms() -> u64 {
    u64::try_from(BEGAN.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// A connection's bytes. Fails where the other end takes nothing for too long of what is written.
pub(super) struct Wire<S> {
    stream: S,
    connection: Arc<Connection>,
    limit: Duration,
    /// Runs while there is something to write that nobody takes.
    stands_still: Option<Pin<Box<Sleep>>>,
}

impl<S> Wire<S> {
    /// `limit` is how long the other end may take nothing.
    pub(super) fn new(stream: S, connection: Arc<Connection>, limit: Duration) -> Self {
        Wire { stream, connection, limit, stands_still: None }
    }

    /// What a try to write came to, and whether it was the last one.
    fn written<T>(&mut self, context: &mut Context<'_>, written: Poll<Result<T>>) -> Poll<Result<T>> {
        if written.is_ready() {
            self.stands_still = None;
            self.connection.touch();
            return written;
        }
        let limit = self.limit;
        let timer = self.stands_still.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the client takes nothing of its answer")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() {
            self.connection.touch();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(200);

    fn connection() -> Arc<Connection> {
        Arc::new(Connection::new(SocketAddr::from(([127, 0, 0, 1], 1)), false))
    }

    #[tokio::test]
    async fn who_takes_nothing_is_cut_off_and_who_takes_a_little_is_not() {
        let (near, mut far) = tokio::io::duplex(1000);
        let mut wire = Wire::new(near, connection(), LIMIT);
        let slow = tokio::spawn(async move {
            let mut taken = vec![0; 100];
            for _ in 0..20 {
                tokio::time::sleep(LIMIT / 4).await;
                far.read_exact(&mut taken).await.unwrap();
            }
            far
        });
        wire.write_all(&[7; 3000]).await.expect("it takes something now and then");
        let _far = slow.await.unwrap();
        let refused = wire.write_all(&[7; 3000]).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn who_asks_nothing_and_whose_stream_stands_still_is_overdue() {
        let long = Duration::from_secs(60);
        let connection = connection();
        assert_eq!(connection.is_overdue(Duration::ZERO, long), Some("nothing was asked"));
        drop(connection.asks());
        assert_eq!(connection.is_overdue(Duration::ZERO, long), None);
        let number = connection.waits_for_client(None);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(connection.is_overdue(long, Duration::from_millis(10)), Some("a stream was not taken"));
        connection.waits_for_client(Some(number));
        assert_eq!(connection.is_overdue(long, Duration::from_millis(15)), None, "something was taken");
        connection.does_not_wait(number);
        assert_eq!(connection.is_overdue(long, Duration::ZERO), None);
    }
}

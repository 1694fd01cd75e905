//! One connection: its bytes, and what its client has to take.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What is known of a connection while it lasts.
pub(super) struct Connection {
    pub(super) peer: SocketAddr,
    /// Whether it carries several requests at once, each as a stream (HTTP/2).
    has_streams: AtomicBool,
    /// What waits for the client, by number, and since when. Only where there are streams.
    waiting: Mutex<BTreeMap<u64, Instant>>,
    numbers: AtomicU64,
}

impl Connection {
    pub(super) fn new(peer: SocketAddr) -> Self {
        let (waiting, numbers) = (Mutex::default(), AtomicU64::new(0));
        Connection { peer, has_streams: AtomicBool::new(false), waiting, numbers }
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

    /// Returns when the client has not taken something of a stream for so long.
    pub(super) async fn stands_still(&self, limit: Duration) {
        loop {
            tokio::time::sleep(limit / 4).await;
            let oldest = self.waiting.lock().values().min().copied();
            if oldest.is_some_and(|since| since.elapsed() > limit) {
                return;
            }
        }
    }
}

/// A connection's bytes. Fails where the other end takes nothing for too long of what is written.
pub(super) struct Wire<S> {
    stream: S,
    limit: Duration,
    /// Runs while there is something to write that nobody takes.
    stands_still: Option<Pin<Box<Sleep>>>,
}

impl<S> Wire<S> {
    /// `limit` is how long the other end may take nothing.
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        Wire { stream, limit, stands_still: None }
    }

    /// What a try to write came to, and whether it was the last one.
    fn written<T>(&mut self, context: &mut Context<'_>, written: Poll<Result<T>>) -> Poll<Result<T>> {
        if written.is_ready() {
            self.stands_still = None;
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
        Pin::new(&mut self.stream).poll_read(context, buffer)
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

    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn who_takes_nothing_is_cut_off_and_who_takes_a_little_is_not() {
        let (near, mut far) = tokio::io::duplex(1000);
        let mut wire = Wire::new(near, LIMIT);
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

    #[tokio::test]
    async fn a_stream_that_stands_still_is_found_and_one_that_goes_on_is_not() {
        let connection = Arc::new(Connection::new(SocketAddr::from(([127, 0, 0, 1], 1))));
        let goes_on = connection.waits_for_client(None);
        let stands = connection.waits_for_client(None);
        let other = connection.clone();
        let going = tokio::spawn(async move {
            loop {
                tokio::time::sleep(LIMIT / 8).await;
                other.waits_for_client(Some(goes_on));
            }
        });
        tokio::time::timeout(20 * LIMIT, connection.stands_still(LIMIT)).await.expect("one stands still");
        connection.does_not_wait(stands);
        assert!(tokio::time::timeout(4 * LIMIT, connection.stands_still(LIMIT)).await.is_err());
        going.abort();
    }
}

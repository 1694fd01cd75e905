//! What answers under way take of the memory, all together.
//!
//! A client that takes nothing of its answer is cut off after `SendTimeoutMs`; until then the answer stays. So that
//! many of them do not fill the memory, long answers are counted from when they are read until the last byte is with
//! the kernel. Short ones over HTTP/1.1 are bounded by the number of connections and are not counted.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection::Connection;
use crate::error::{Error, Result};

/// Shorter answers over HTTP/1.1 are not counted.
pub(super) const SHORT: usize = 16 << 10;
/// HTTP/2 is given an answer in pieces of this size, as the client takes them.
const PIECE: usize = 16 << 10;
/// How long a read waits for room for its answer.
pub(super) const WAIT: Duration = Duration::from_secs(2);

/// Room for the answers under way.
pub struct Room {
    /// In KiB.
    free: Arc<Semaphore>,
    all: u32,
}

/// A share of it, until dropped.
#[derive(Debug)]
pub(super) struct Held(#[allow(dead_code, reason = "it counts while it lives")] OwnedSemaphorePermit);

impl Room {
    /// Room for so many bytes.
    pub fn new(bytes: usize) -> Self {
        let all = u32::try_from((bytes / 1024).clamp(1, Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Room { free: Arc::new(Semaphore::new(all as usize)), all }
    }

    /// What is longer than all there is takes all.
    fn share(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).min(self.all)
    }

    /// Room for so many bytes, if there is some now.
    pub(super) fn take(&self, bytes: usize) -> Option<Held> {
        self.free.clone().try_acquire_many_owned(self.share(bytes)).ok().map(Held)
    }

    /// The same after waiting for it. Who waits should not hold what the room is for.
    ///
    /// # Errors
    /// `busy` where it does not come in time.
    pub(super) async fn wait(&self, bytes: usize, limit: Duration) -> Result<Held> {
        let free = self.free.clone().acquire_many_owned(self.share(bytes));
        match tokio::time::timeout(limit, free).await {
            Ok(Ok(permit)) => Ok(Held(permit)),
            _ => Err(full()),
        }
    }
}

fn full() -> Error {
    Error::busy("too many bytes of answers are under way: try again in a moment, or raise MaxAnswerBytes")
}

/// The body of an answer that is all there: counted in a `room`, where it is long and nobody has done so. What says that
/// something was done is not refused: it was done.
///
/// # Errors
/// `busy`, where it may.
pub(super) fn whole(
    bytes: Bytes,
    held: Option<Held>,
    room: Option<&Room>,
    may_refuse: bool,
    by: &Arc<Connection>,
) -> Result<Body> {
    if !by.has_streams() && (bytes.len() <= SHORT || room.is_none()) {
        return Ok(Body::from(bytes));
    }
    let held = match (held, room) {
        (None, Some(room)) => match room.take(bytes.len()) {
            None if may_refuse && bytes.len() > SHORT => return Err(full()),
            held => held,
        },
        (held, _) => held,
    };
    Ok(match by.has_streams() {
        true => Body::new(Watched::new(Pieces { bytes, held: Arc::new(held) }, by)),
        false => Body::from(Bytes::from_owner(Counted { bytes, _held: held })),
    })
}

/// The body of an answer that is written while it is sent.
pub(super) fn written(body: Body, by: &Arc<Connection>) -> Body {
    if by.has_streams() { Body::new(Watched::new(body, by)) } else { body }
}

/// Bytes that count until the last of them is gone.
struct Counted<H> {
    bytes: Bytes,
    _held: H,
}

impl<H> AsRef<[u8]> for Counted<H> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Bytes, a piece at a time.
struct Pieces {
    bytes: Bytes,
    held: Arc<Option<Held>>,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.bytes.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.bytes.len().min(PIECE);
        let bytes = self.bytes.split_to(length);
        let counted = Counted { bytes, _held: self.held.clone() };
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(counted)))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

/// A body of HTTP/2, where a connection may go on while one of its streams stands still: tells the connection since
/// when the client has to take something of it.
struct Watched<B> {
    body: B,
    by: Arc<Connection>,
    number: u64,
}

impl<B> Watched<B> {
    fn new(body: B, by: &Arc<Connection>) -> Self {
        let by = by.clone();
        Watched { body, number: by.waits_for_client(None), by }
    }
}

impl<B: HttpBody<Data = Bytes, Error = axum::Error> + Unpin> HttpBody for Watched<B> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.by.waits_for_client(Some(self.number));
                // Its bytes wait in HTTP/2's own buffer, also when this body is gone.
                let piece = |bytes| {
                    let (by, number) = (self.by.clone(), self.by.waits_for_client(None));
                    Bytes::from_owner(Counted { bytes, _held: Waiting { by, number } })
                };
                Poll::Ready(Some(Ok(frame.map_data(piece))))
            }
            other => {
                self.by.does_not_wait(self.number);
                other
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Watched<B> {
    fn drop(&mut self) {
        self.by.does_not_wait(self.number);
    }
}

/// Something that the client has to take, until dropped.
struct Waiting {
    by: Arc<Connection>,
    number: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.by.does_not_wait(self.number);
    }
}

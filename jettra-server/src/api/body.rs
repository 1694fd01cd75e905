//! The bodies of requests: read whole, within what all of them together may take of the memory.

use std::sync::Arc;

use axum::body::HttpBody as _;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Result};
use crate::limits;

/// A body beyond the limit is read on and thrown away up to here, so that the client reads our answer.
const DISCARD: u64 = 256 << 20;

/// A body and its share of what all bodies together may take, held until dropped.
pub(super) struct Body {
    pub(super) bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Body { bytes, _room: None }
    }
}

/// Reads a body of `limit` bytes at most, within what all bodies together may take: room is taken as
/// the bytes arrive, so announcing them costs the others nothing.
pub(super) async fn read(
    bodies: &Arc<Semaphore>,
    headers: &HeaderMap,
    body: axum::body::Body,
    limit: usize,
) -> Result<Body> {
    let declared = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<usize>().ok());
    if declared == Some(0) || body.is_end_stream() {
        return Ok(Body { bytes: Bytes::new(), _room: None });
    }
    let mut stream = body.into_data_stream();
    if declared.is_some_and(|n| n > limit) {
        discard(&mut stream).await;
        return Err(too_large(limit));
    }
    let mut room: Option<OwnedSemaphorePermit> = None;
    let mut counted = 0;
    let (mut first, mut more) = (Bytes::new(), BytesMut::new());
    let read = async {
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|e| Error::bad_request(format!("the body broke off: {e}")))?;
            if first.len() + more.len() + piece.len() > limit {
                discard(&mut stream).await;
                return Err(too_large(limit));
            }
            // By the KiB of all pieces together: many small ones take no more than a large one.
            let needed = u32::try_from((first.len() + more.len() + piece.len()).div_ceil(1024)).unwrap_or(u32::MAX);
            let share = bodies.clone().try_acquire_many_owned(needed - counted);
            let share =
                share.map_err(|_| Error::busy("too many bytes of requests are under way: try again in a moment"))?;
            counted = needed;
            match &mut room {
                Some(room) => room.merge(share),
                None => room = Some(share),
            }
            // Most bodies come in one piece, which is then taken as it is.
            if first.is_empty() && more.is_empty() {
                first = piece;
                continue;
            }
            if more.is_empty() {
                more.reserve(declared.unwrap_or(0).max(first.len() + piece.len()));
                more.extend_from_slice(&std::mem::take(&mut first));
            }
            more.extend_from_slice(&piece);
        }
        Ok(())
    };
    tokio::time::timeout(limits::BODY, read)
        .await
        .map_err(|_| Error::bad_request("the body did not arrive within 60 s"))??;
    Ok(Body { bytes: if more.is_empty() { first } else { more.freeze() }, _room: room })
}

pub(super) async fn discard(stream: &mut axum::body::BodyDataStream) {
    let drain = async {
        let mut seen = 0;
        while let Some(Ok(piece)) = stream.next().await {
            seen += piece.len() as u64;
            if seen > DISCARD {
                break;
            }
        }
    };
    // Whoever sends slower than this gets a closed connection instead of the answer.
    drop(tokio::time::timeout(std::time::Duration::from_secs(10), drain).await);
}

fn too_large(limit: usize) -> Error {
    Error::too_large(format!("the body has more than {limit} bytes: send less at once, or raise MaxBodyBytes"))
        .with("limit", limit as u64)
}

/// A body without the mark of UTF-8 that some editors and programs put before a text.
pub(super) fn without_mark(body: &Bytes) -> Bytes {
    if body.starts_with("\u{feff}".as_bytes()) { body.slice('\u{feff}'.len_utf8()..) } else { body.clone() }
}

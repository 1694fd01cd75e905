//! Answers that are written while they are sent.
//!
//! A body that breaks off must never look like a whole one: half an array, or a stream of events that stops in the
//! middle of one, would be taken for everything. So a body has only one good end, [`Piece::End`], which the writer
//! has to say. Whatever else becomes of the writer (an error, a client that takes nothing, a panic) breaks the
//! connection, which every HTTP client sees.
//!
//! - [`body`]: pieces as a body
//! - [`Writer`]: puts pieces in as they come, for tasks
//! - [`written`]: the same for what reads a collection on a thread that may block: it waits for its turn, and is
//!   bounded in time

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::room::Room;
use crate::error::{Error, Result};
use crate::state::Halt;

/// Pieces that wait for the client.
const QUEUED: usize = 4;
/// Bytes of such an answer that are held at once: here, and by HTTP on its way to the kernel.
const HELD: usize = 2 * QUEUED * PIECE;
/// Bytes that are written before they are sent on. A client shows that it takes something once in so many bytes.
const PIECE: usize = 16 << 10;
/// Steps between two looks at the clock.
const STEPS: u32 = 256;

/// What comes next of a body.
#[derive(Debug)]
pub(super) enum Piece {
    /// These bytes.
    Bytes(Bytes),
    /// Nothing: this was all of it.
    End,
    /// Nothing, though there should be more.
    Broken(&'static str),
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Waiting for one's turn.
    pub(super) turn: Duration,
    /// A client that takes nothing.
    pub(super) idle: Duration,
    /// All of it.
    pub(super) total: Duration,
}

/// These pieces as a body, which is whole only where they end with [`Piece::End`].
pub(super) fn body(pieces: impl Stream<Item = Piece> + Send + 'static) -> Body {
    let pieces = futures_util::stream::unfold(Some(pieces.boxed()), |pieces| async move {
        let mut pieces = pieces?;
        let broken = match pieces.next().await {
            Some(Piece::Bytes(bytes)) => return Some((Ok(bytes), Some(pieces))),
            Some(Piece::End) => return None,
            Some(Piece::Broken(why)) => why,
            None => "the answer broke off",
        };
        Some((Err(std::io::Error::other(broken)), None))
    });
    Body::from_stream(pieces)
}

/// The client is gone, or takes nothing.
#[derive(Debug)]
pub(super) struct Lost;

/// The end where pieces are put in. Dropping it breaks the body off.
pub(super) struct Writer {
    pieces: mpsc::Sender<Piece>,
    idle: Duration,
}

impl Writer {
    /// A writer and its body. A client that takes nothing for `idle` is [`Lost`].
    ///
    /// No more than `queued` pieces wait, and what is `kept` lives as long as the body.
    pub(super) fn new(idle: Duration, queued: usize, kept: impl Send + 'static) -> (Self, Body) {
        let (pieces, receiver) = mpsc::channel(queued);
        let body = body(futures_util::stream::unfold((receiver, kept), |(mut receiver, kept)| async move {
            Some((receiver.recv().await?, (receiver, kept)))
        }));
        (Writer { pieces, idle }, body)
    }

    /// Puts bytes in, once there is room.
    pub(super) async fn put(&self, bytes: Bytes) -> Result<(), Lost> {
        self.send(Piece::Bytes(bytes)).await
    }

    /// Says that this was all of it.
    pub(super) async fn end(self) -> Result<(), Lost> {
        self.send(Piece::End).await
    }

    /// Returns when the client has gone.
    pub(super) async fn lost(&self) {
        self.pieces.closed().await;
    }

    fn is_lost(&self) -> bool {
        self.pieces.is_closed()
    }

    async fn send(&self, piece: Piece) -> Result<(), Lost> {
        match tokio::time::timeout(self.idle, self.pieces.send(piece)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Lost),
        }
    }
}

/// Why an answer breaks off.
#[derive(Debug)]
pub(super) enum Broken {
    /// The client is gone, or takes nothing.
    Lost,
    /// It took longer than its limit.
    Late,
    /// It could not be read.
    Failed(String),
}

impl From<Halt> for Broken {
    fn from(halt: Halt) -> Self {
        Broken::Failed(halt.to_string())
    }
}

/// Where [`written`] writes, on a thread that may block.
pub(super) struct Out<Head> {
    writer: Writer,
    /// Waits for the head until it is told.
    head: Option<oneshot::Sender<Head>>,
    buffer: BytesMut,
    steps: u32,
    until: Instant,
    _turn: OwnedSemaphorePermit,
}

impl<Head> Out<Head> {
    /// Tells what goes before the body. Its status is 200 from now on.
    pub(super) fn begin(&mut self, head: Head) {
        if let Some(waiting) = self.head.take() {
            // The caller may be gone; then the first piece finds nobody.
            waiting.send(head).ok();
        }
    }

    /// One step of the work; breaks it off where it is in vain, or takes too long.
    ///
    /// # Errors
    /// [`Broken::Lost`], [`Broken::Late`].
    pub(super) fn step(&mut self) -> Result<(), Broken> {
        self.steps = self.steps.wrapping_add(1);
        if self.steps % STEPS != 1 {
            return Ok(());
        }
        match () {
            () if self.writer.is_lost() => Err(Broken::Lost),
            () if Instant::now() > self.until => Err(Broken::Late),
            () => Ok(()),
        }
    }

    /// Writes something, which is sent on once there is enough of it. Blocks while the client takes nothing.
    ///
    /// # Errors
    /// [`Broken::Lost`].
    pub(super) fn write(&mut self, write: impl FnOnce(&mut BytesMut)) -> Result<(), Broken> {
        write(&mut self.buffer);
        while self.buffer.len() >= PIECE {
            let piece = if self.buffer.len() < 2 * PIECE { self.buffer.split() } else { self.buffer.split_to(PIECE) };
            self.send(piece)?;
        }
        Ok(())
    }

    fn send(&self, piece: BytesMut) -> Result<(), Broken> {
        let put = self.writer.put(piece.freeze());
        tokio::runtime::Handle::current().block_on(put).map_err(|Lost| Broken::Lost)
    }

    fn finish(mut self, written: Result<(), Broken>) {
        let ended = written.and_then(|()| {
            let rest = self.buffer.split();
            if !rest.is_empty() {
                self.send(rest)?;
            }
            Ok(())
        });
        let runtime = tokio::runtime::Handle::current();
        let ended = ended.and_then(|()| runtime.block_on(self.writer.end()).map_err(|Lost| Broken::Lost));
        // Where it is not ended, the writer has been dropped, and so the client sees the connection break.
        match ended {
            Ok(()) => {}
            Err(Broken::Lost) => tracing::debug!("an answer was broken off: its client takes nothing, or is gone"),
            Err(Broken::Late) => tracing::warn!("an answer was broken off: it took too long"),
            Err(Broken::Failed(e)) => tracing::error!(error = e, "an answer broke off"),
        }
    }
}

/// The answer that `write` writes on a thread that may block: what it told with [`Out::begin`], and the body.
///
/// # Errors
/// `busy` where its turn among the `turns`, or `room` for it, does not come in time; `internal` where nothing was begun.
pub(super) async fn written<Head: Send + 'static>(
    (turns, room): (&Arc<Semaphore>, &Room),
    limits: Limits,
    write: impl FnOnce(&mut Out<Head>) -> Result<(), Broken> + Send + 'static,
) -> Result<(Head, Body)> {
    let turn = tokio::time::timeout(limits.turn, turns.clone().acquire_owned()).await;
    let turn = turn
        .ok()
        .and_then(Result::ok)
        .ok_or_else(|| Error::busy("too many queries are being answered: try again in a moment"))?;
    let held = room.wait(HELD, limits.turn).await?;
    let (writer, body) = Writer::new(limits.idle, QUEUED, held);
    let (head, begun) = oneshot::channel();
    let mut out = Out {
        writer,
        head: Some(head),
        buffer: BytesMut::with_capacity(PIECE + 4096),
        steps: 0,
        until: Instant::now() + limits.total,
        _turn: turn,
    };
    tokio::task::spawn_blocking(move || {
        let written = write(&mut out);
        out.finish(written);
    });
    let head = begun.await.map_err(|_| Error::internal("an answer broke off before it began"))?;
    Ok((head, body))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    const LIMITS: Limits =
        Limits { turn: Duration::from_millis(50), idle: Duration::from_millis(100), total: Duration::from_secs(60) };

    /// A body to its end: its bytes, and whether the end was a good one.
    async fn read(body: Body) -> (Vec<u8>, bool) {
        let mut stream = body.into_data_stream();
        let mut all = Vec::new();
        while let Some(piece) = stream.next().await {
            match piece {
                Ok(piece) => all.extend_from_slice(&piece),
                Err(_) => {
                    assert!(stream.next().await.is_none(), "nothing follows");
                    return (all, false);
                }
            }
        }
        (all, true)
    }

    fn one() -> (Arc<Semaphore>, Room) {
        (Arc::new(Semaphore::new(1)), Room::new(HELD))
    }

    /// Writes as a query does, alone.
    async fn written<Head: Send + 'static>(
        (turns, room): &(Arc<Semaphore>, Room),
        limits: Limits,
        write: impl FnOnce(&mut Out<Head>) -> Result<(), Broken> + Send + 'static,
    ) -> Result<(Head, Body)> {
        super::written((turns, room), limits, write).await
    }

    /// Writes `count` lines of 10 bytes.
    fn lines(out: &mut Out<u64>, count: usize) -> Result<(), Broken> {
        out.begin(7);
        for _ in 0..count {
            out.step()?;
            out.write(|text| text.extend_from_slice(b"123456789\n"))?;
        }
        Ok(())
    }

    #[tokio::test]
    async fn only_what_was_written_to_its_end_looks_whole() {
        for count in [0, 1, 100_000] {
            let (head, body) = written(&one(), LIMITS, move |out| lines(out, count)).await.unwrap();
            assert_eq!((head, read(body).await), (7, (b"123456789\n".repeat(count), true)));
        }
        let failing = |out: &mut Out<u64>| {
            lines(out, 100)?;
            Err(Broken::Failed("the disk".to_owned()))
        };
        let (_, body) = written(&one(), LIMITS, failing).await.unwrap();
        assert!(!read(body).await.1);
        let panicking = |out: &mut Out<u64>| {
            lines(out, 100)?;
            panic!("a bug");
        };
        let (_, body) = written(&one(), LIMITS, panicking).await.unwrap();
        assert!(!read(body).await.1);
    }

    #[tokio::test]
    async fn who_takes_nothing_for_too_long_finds_a_broken_answer_and_frees_its_turn() {
        let turns = one();
        // All but the last piece fit before the client has taken anything: the end has to be told as well.
        for count in [QUEUED * PIECE / 10, 100_000] {
            let (_, body) = written(&turns, LIMITS, move |out| lines(out, count)).await.unwrap();
            let turn =
                tokio::time::timeout(Duration::from_secs(10), turns.0.acquire()).await.expect("the turn is free");
            drop(turn);
            let (bytes, is_whole) = read(body).await;
            assert!(!is_whole, "{} bytes of {count} lines", bytes.len());
        }
    }

    #[tokio::test]
    async fn who_takes_a_little_now_and_then_gets_everything() {
        let (_, body) = written(&one(), LIMITS, |out| lines(out, 30_000)).await.unwrap();
        let mut stream = body.into_data_stream();
        let mut bytes = 0;
        while let Some(piece) = stream.next().await {
            bytes += piece.unwrap().len();
            tokio::time::sleep(LIMITS.idle / 4).await;
        }
        assert_eq!(bytes, 300_000);
    }

    #[tokio::test]
    async fn what_takes_too_long_is_broken_off_and_what_nobody_reads_ends() {
        let late = Limits { total: Duration::ZERO, ..LIMITS };
        let (_, body) = written(&one(), late, |out| lines(out, 1_000)).await.unwrap();
        assert!(!read(body).await.1);

        let turns = one();
        let endless = |out: &mut Out<()>| {
            out.begin(());
            loop {
                out.step()?;
            }
        };
        let (_, body) = written(&turns, LIMITS, endless).await.unwrap();
        assert!(written::<()>(&turns, LIMITS, |_| Ok(())).await.is_err(), "its turn does not come");
        drop(body);
        drop(
            tokio::time::timeout(Duration::from_secs(10), turns.0.acquire()).await.expect("the turn is free").unwrap(),
        );
    }

    #[tokio::test]
    async fn what_panics_before_its_beginning_is_an_error() {
        assert!(written::<()>(&one(), LIMITS, |_| panic!("a bug")).await.is_err());
    }
}

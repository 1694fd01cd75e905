//! What a watcher's client still has to take: bounded, and told apart from one that takes nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::api::stream::Piece;

/// Bytes that wait at most, or a single event.
const BYTES: usize = 128 << 10;
/// A longer event is taken in pieces of this size, so that a slow client shows that it takes something.
const PIECE: usize = 64 << 10;

/// Events on their way to one client.
#[derive(Default)]
pub(super) struct Outbox {
    inner: Mutex<Inner>,
    /// Something to take, or the end.
    filled: Notify,
    /// Something was taken, or the client has gone.
    taken: Notify,
    /// The client has gone.
    gone: Notify,
}

#[derive(Default)]
struct Inner {
    /// Each with the time when it was put in.
    events: VecDeque<(Bytes, Instant)>,
    bytes: usize,
    /// The first event has been taken in part.
    is_begun: bool,
    ended: Option<Ended>,
}

/// How the events end, once all of them have been taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// Behind a whole event.
    Whole,
    /// In the middle of one, or of what there was to tell.
    Broken,
}

impl Outbox {
    /// Puts an event in once there is room; false when the client has taken nothing for `idle`.
    pub async fn put(&self, event: Bytes, idle: Duration) -> bool {
        loop {
            {
                let mut inner = self.inner.lock();
                if inner.bytes == 0 || inner.bytes + event.len() <= BYTES {
                    inner.bytes += event.len();
                    inner.events.push_back((event, Instant::now()));
                    self.filled.notify_one();
                    return true;
                }
            }
            if tokio::time::timeout(idle, self.taken.notified()).await.is_err() {
                return false;
            }
        }
    }

    /// Ends after what waits and a `last` event, if it is not empty.
    pub fn end(&self, last: Bytes) {
        let mut inner = self.inner.lock();
        inner.events.extend(Some((last, Instant::now())).filter(|(last, _)| !last.is_empty()));
        inner.ended = inner.ended.or(Some(Ended::Whole));
        self.filled.notify_one();
    }

    /// Breaks off where the events stand, unless they have ended.
    pub fn break_off(&self) {
        let mut inner = self.inner.lock();
        inner.ended = inner.ended.or(Some(Ended::Broken));
        self.filled.notify_one();
    }

    /// Throws away what waits, so that it takes no memory, and ends with a `last` event. Behind half an event that
    /// would be read as part of it: then the connection breaks.
    pub fn cut(&self, last: Bytes) {
        let mut inner = self.inner.lock();
        inner.events.clear();
        if inner.is_begun {
            inner.ended = Some(Ended::Broken);
        } else {
            inner.events.push_back((last, Instant::now()));
            inner.ended = Some(Ended::Whole);
        }
        self.filled.notify_one();
    }

    /// How long the first event has been here.
    pub fn waits_for(&self) -> Duration {
        self.inner.lock().events.front().map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }

    /// Returns when the client has gone.
    pub async fn abandoned(&self) {
        self.gone.notified().await;
    }

    fn take_now(&self) -> Option<Piece> {
        let mut inner = self.inner.lock();
        let Some((first, _)) = inner.events.front_mut() else {
            return inner.ended.map(|ended| match ended {
                Ended::Whole => Piece::End,
                Ended::Broken => Piece::Broken("the watch broke off"),
            });
        };
        let mut piece = first.split_to(first.len().min(PIECE));
        if !first.is_empty() {
            // A copy, so that a piece that is stuck on its way does not hold the whole event.
            piece = Bytes::copy_from_slice(&piece);
        }
        inner.is_begun = !first.is_empty();
        if !inner.is_begun {
            inner.events.pop_front();
        }
        inner.bytes = inner.bytes.saturating_sub(piece.len());
        self.taken.notify_one();
        Some(Piece::Bytes(piece))
    }
}

/// The client's end. Dropping it says that the client has gone.
pub(super) struct Reader(Arc<Outbox>);

impl Reader {
    pub fn new(outbox: Arc<Outbox>) -> Self {
        Reader(outbox)
    }

    /// What comes next.
    pub async fn take(&self) -> Piece {
        loop {
            if let Some(taken) = self.0.take_now() {
                return taken;
            }
            self.0.filled.notified().await;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.gone.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(60);

    fn outbox() -> (Arc<Outbox>, Reader) {
        let outbox = Arc::new(Outbox::default());
        (outbox.clone(), Reader::new(outbox))
    }

    /// The next bytes; none at a good end.
    async fn next(reader: &Reader) -> Option<Bytes> {
        match reader.take().await {
            Piece::Bytes(bytes) => Some(bytes),
            Piece::End => None,
            Piece::Broken(why) => panic!("{why}"),
        }
    }

    fn event(letter: u8, bytes: usize) -> Bytes {
        vec![letter; bytes].into()
    }

    #[tokio::test]
    async fn who_takes_nothing_is_cut_and_frees_what_waits() {
        let (outbox, reader) = outbox();
        let mut put = 0;
        while outbox.put(event(b'x', 50_000), IDLE).await {
            put += 1;
        }
        assert_eq!(put, 2, "the bound is 128 KiB");
        outbox.cut(Bytes::from_static(b"lagging"));
        assert_eq!(next(&reader).await.unwrap(), "lagging");
        assert_eq!(next(&reader).await, None);
    }

    #[tokio::test]
    async fn who_takes_piece_by_piece_gets_everything() {
        let (outbox, reader) = outbox();
        let filler = outbox.clone();
        let filling = tokio::spawn(async move {
            for letter in *b"abc" {
                assert!(filler.put(event(letter, 1 << 20), LONG).await, "it takes a piece now and then");
            }
            filler.end(Bytes::from_static(b"end"));
        });
        let mut all = Vec::new();
        while let Some(piece) = next(&reader).await {
            assert!(piece.len() <= PIECE);
            all.extend_from_slice(&piece);
        }
        filling.await.unwrap();
        assert_eq!((all.len(), &all[all.len() - 3..]), (3 * (1 << 20) + 3, &b"end"[..]));
    }

    #[tokio::test]
    async fn how_long_an_event_waits_counts_until_all_of_it_is_taken() {
        let (outbox, reader) = outbox();
        assert_eq!(outbox.waits_for(), Duration::ZERO);
        assert!(outbox.put(event(b'x', 2 * PIECE), IDLE).await);
        let before = Instant::now();
        next(&reader).await.unwrap();
        assert!(outbox.waits_for() >= before.elapsed(), "half of it is there since before");
        next(&reader).await.unwrap();
        assert_eq!(outbox.waits_for(), Duration::ZERO);
    }

    #[tokio::test]
    async fn half_an_event_is_followed_by_nothing_and_is_no_good_end() {
        let (outbox, reader) = outbox();
        assert!(outbox.put(event(b'x', 1 << 20), IDLE).await);
        next(&reader).await.unwrap();
        outbox.cut(Bytes::from_static(b"lagging"));
        assert!(matches!(reader.take().await, Piece::Broken(_)));
    }

    #[tokio::test]
    async fn what_breaks_off_has_no_good_end_and_what_ended_keeps_its_own() {
        let (outbox, reader) = outbox();
        assert!(outbox.put(event(b'x', 10), IDLE).await);
        outbox.break_off();
        assert_eq!(next(&reader).await.unwrap().len(), 10);
        assert!(matches!(reader.take().await, Piece::Broken(_)));

        let (outbox, reader) = self::outbox();
        outbox.end(Bytes::from_static(b"end"));
        outbox.break_off();
        assert_eq!(next(&reader).await.unwrap(), "end");
        assert_eq!(next(&reader).await, None);
    }
}

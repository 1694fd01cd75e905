//! Iterators over any engine, in bounded chunks: no lock and no iterator of the engine lives between two steps.

use std::collections::VecDeque;
use std::ops::{Bound, Deref};

use super::{ChunkLimit, Engine, Order, Pair, Result};

/// Pairs in the first chunk; each further one is four times as large, up to [`LAST_CHUNK`].
const FIRST_CHUNK: usize = 16;
const LAST_CHUNK: usize = 256;
const CHUNK_BYTES: usize = 1 << 20;

/// The pairs between two keys. `E` is a reference to an engine or an `Arc` of one.
///
/// It ends after the first error.
pub struct Scan<E> {
    engine: E,
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
    order: Order,
    fetched: VecDeque<Pair>,
    chunk_pairs: usize,
    ended: bool,
}

impl<E: Deref<Target = dyn Engine>> Scan<E> {
    /// The pairs of `engine` between the bounds, in `order`.
    pub fn new(engine: E, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>, order: Order) -> Self {
        Scan { engine, from, to, order, fetched: VecDeque::new(), chunk_pairs: FIRST_CHUNK, ended: false }
    }

    fn fetch(&mut self) -> Result<()> {
        let limit = ChunkLimit { pairs: self.chunk_pairs, bytes: CHUNK_BYTES };
        self.chunk_pairs = (self.chunk_pairs * 4).min(LAST_CHUNK);
        let chunk = self.engine.chunk(as_slice(&self.from), as_slice(&self.to), self.order, limit)?;
        match chunk.last() {
            None => self.ended = true,
            Some((key, _)) => match self.order {
                Order::Ascending => self.from = Bound::Excluded(key.to_vec()),
                Order::Descending => self.to = Bound::Excluded(key.to_vec()),
            },
        }
        self.fetched = chunk.into();
        Ok(())
    }
}

impl<E: Deref<Target = dyn Engine>> Iterator for Scan<E> {
    type Item = Result<Pair>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.fetched.is_empty()
            && !self.ended
            && let Err(error) = self.fetch()
        {
            self.ended = true;
            return Some(Err(error));
        }
        self.fetched.pop_front().map(Ok)
    }
}

/// A bound on owned bytes as one on borrowed bytes.
pub(crate) fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(key) => Bound::Included(key),
        Bound::Excluded(key) => Bound::Excluded(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

//! Bytes: ordered keys, atomic batches, scans, durable points.
//!
//! # Layout
//!
//! - [`Engine`]: the narrow face of a store, so that the engine behind it can be replaced
//! - `memory`: a `BTreeMap`, for tests
//! - [`sled`]: the store on disk; nothing of the crate sled is named outside that folder
//! - [`scan`]: iterators over any engine, in bounded chunks
//! - [`keys`]: how keys are built; the first byte is the key space
//!
//! # What an engine promises
//!
//! - A [`Batch`] is atomic: after a crash, all of it is there or nothing, and a reader that has seen one key of it
//!   sees the others too.
//! - After a crash the store holds every batch up to some point, in the order they were applied, at least up to the
//!   last [`Engine::durable_point`] that returned. Batches after that may be lost: the Raft log gives them again.
//! - Reads and scans run beside a writer and need no lock of the caller's. A scan is *not* a view at one instant:
//!   revisions in the values decide what a consistent view shows.
//! - Any error is a [`StorageError`]: the node stops, it never becomes an answer. From the first one on the engine
//!   refuses everything.

pub mod keys;
#[cfg(test)]
mod memory;
pub mod scan;
pub mod sled;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod suite;

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::remedy::Kind;
#[cfg(test)]
pub use memory::MemoryEngine;
pub use scan::Scan;
pub use sled::{SledConfig, SledEngine};

/// A result whose error stops the node.
pub type Result<T, E = StorageError> = std::result::Result<T, E>;

/// A key and its value.
pub type Pair = (Bytes, Bytes);

/// The store failed or is damaged: a halt, never an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("storage at {}: {what}", .path.display())]
pub struct StorageError {
    /// Where the store is.
    pub path: PathBuf,
    /// What failed, with the operating system's or the library's words.
    pub what: String,
    /// What kind of fault it is: a full disk, a file that may not be opened, and a store of another version are no damage.
    pub kind: Kind,
}

impl StorageError {
    /// `what` failed in the store at `path`.
    pub fn new(path: &Path, what: impl Into<String>) -> Self {
        StorageError { path: path.to_owned(), what: what.into(), kind: Kind::Other }
    }

    /// What lies at `path` is not as it was written: `what`.
    pub fn damage(path: &Path, what: impl Into<String>) -> Self {
        StorageError { kind: Kind::Damage, ..StorageError::new(path, what) }
    }

    /// `what` failed at `path` in a way of this kind.
    pub fn of_kind(path: &Path, kind: Kind, what: impl Into<String>) -> Self {
        StorageError { kind, ..StorageError::new(path, what) }
    }

    /// An I/O error at `path`.
    pub fn io(path: &Path, e: &io::Error) -> Self {
        StorageError::of_kind(path, Kind::of(e), e.to_string())
    }
}

/// Puts and deletes that are applied together or not at all. The last write to a key counts.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    writes: BTreeMap<Vec<u8>, Option<Bytes>>,
    bytes: usize,
}

impl Batch {
    /// Sets `key` to `value`.
    pub fn put(&mut self, key: Vec<u8>, value: Bytes) {
        self.bytes += key.len() + value.len();
        self.writes.insert(key, Some(value));
    }

    /// Removes `key`; nothing happens where it is absent.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.bytes += key.len();
        self.writes.insert(key, None);
    }

    /// Bytes of all keys and values put into it.
    pub fn size(&self) -> usize {
        self.bytes
    }

    /// What it does to `key`: `Some(None)` is a delete.
    pub fn get(&self, key: &[u8]) -> Option<&Option<Bytes>> {
        self.writes.get(key)
    }

    /// Its writes to the keys between the bounds, in key order.
    pub fn range(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = (&Vec<u8>, &Option<Bytes>)> {
        self.writes.range::<[u8], _>((from, to))
    }

    /// Adds the writes of `later`, which count over its own.
    pub fn append(&mut self, mut later: Batch) {
        self.bytes += later.bytes;
        if self.writes.is_empty() {
            self.writes = later.writes;
        } else if later.writes.len() < 64 {
            self.writes.extend(later.writes);
        } else {
            self.writes.append(&mut later.writes);
        }
    }

    fn into_writes(self) -> BTreeMap<Vec<u8>, Option<Bytes>> {
        self.writes
    }
}

/// How much one [`Engine::chunk`] may return. It returns at least one pair where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLimit {
    /// At most this many pairs.
    pub pairs: usize,
    /// No further pair once keys and values have this many bytes.
    pub bytes: usize,
}

impl ChunkLimit {
    /// A single pair.
    pub const ONE: ChunkLimit = ChunkLimit { pairs: 1, bytes: 0 };
}

/// The order of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Smallest key first.
    Ascending,
    /// Largest key first.
    Descending,
}

/// An ordered store of bytes.
pub trait Engine: Send + Sync + 'static {
    /// The value of `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>>;

    /// Applies a batch atomically. No key may start with the byte 255: engines have use for it. It is readable when this returns and durable after the next durable point.
    fn apply(&self, batch: Batch) -> Result<()>;

    /// The first pairs between the bounds, in `order`, up to `limit`; none means that there are no more.
    fn chunk(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, order: Order, limit: ChunkLimit) -> Result<Vec<Pair>>;

    /// Returns after everything applied before the call is on disk.
    fn durable_point(&self) -> Result<()>;

    /// Whether a call now would wait for something long, so that it belongs on a thread that may block.
    fn is_busy(&self) -> bool {
        false
    }
}

impl dyn Engine {
    /// The pairs between the bounds, smallest key first.
    pub fn scan(&self, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Scan<&dyn Engine> {
        Scan::new(self, from, to, Order::Ascending)
    }

    /// The pairs whose keys start with `prefix`, smallest key first.
    pub fn scan_prefix(&self, prefix: &[u8]) -> Scan<&dyn Engine> {
        let to = keys::after_prefix(prefix).map_or(Bound::Unbounded, Bound::Excluded);
        self.scan(Bound::Included(prefix.to_vec()), to)
    }

    /// The pairs between the bounds, largest key first.
    #[cfg(test)]
    pub fn scan_rev(&self, from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Scan<&dyn Engine> {
        Scan::new(self, from, to, Order::Descending)
    }
}

/// Whether no key can lie between the bounds (a `BTreeMap` panics on such a range).
pub(crate) fn is_empty_range(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to))
        | (Bound::Excluded(from), Bound::Included(to)) => from >= to,
        (Bound::Unbounded, Bound::Excluded(to)) => to.is_empty(),
        _ => false,
    }
}

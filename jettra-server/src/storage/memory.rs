//! An engine in memory, for tests: what is applied is gone with the process.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use parking_lot::RwLock;

use super::{Batch, ChunkLimit, Engine, Order, Pair, Result, is_empty_range};

/// A `BTreeMap` behind a read-write lock; each call holds it for its own length only.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    map: RwLock<BTreeMap<Bytes, Bytes>>,
}

impl MemoryEngine {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Engine for MemoryEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.map.read().get(key).cloned())
    }

    fn apply(&self, batch: Batch) -> Result<()> {
        let mut map = self.map.write();
        for (key, value) in batch.into_writes() {
            match value {
                Some(value) => map.insert(Bytes::from(key), value),
                None => map.remove(key.as_slice()),
            };
        }
        Ok(())
    }

    fn chunk(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, order: Order, limit: ChunkLimit) -> Result<Vec<Pair>> {
        if is_empty_range(from, to) {
            return Ok(Vec::new());
        }
        let map = self.map.read();
        let range = map.range::<[u8], _>((from, to));
        let range: &mut dyn Iterator<Item = (&Bytes, &Bytes)> = match order {
            Order::Ascending => &mut { range },
            Order::Descending => &mut range.rev(),
        };
        let mut bytes = 0;
        let mut chunk = Vec::new();
        for (key, value) in range.take(limit.pairs) {
            bytes += key.len() + value.len();
            chunk.push((key.clone(), value.clone()));
            if bytes >= limit.bytes {
                break;
            }
        }
        Ok(chunk)
    }

    fn durable_point(&self) -> Result<()> {
        Ok(())
    }
}

//! Deletes what `apply` has noted as garbage, in small batches, never past the oldest pinned view.
//!
//! What is deleted here is already gone for every command and every read, so replicas may differ in how far they are.

use std::ops::Bound;

use super::envelope::{Content, Envelope};
use super::garbage::{Horizon, Note};
use super::halt::Halt;
use crate::storage::keys::{self, CollectionId};
use crate::storage::{Batch, ChunkLimit, Engine, Order};

/// Deletes at most about `max_keys` keys of what lies before `horizon` and returns how many.
pub(super) fn reclaim(engine: &dyn Engine, horizon: Horizon, max_keys: usize) -> Result<usize, Halt> {
    let mut sweep = Sweep { engine, batch: Batch::default(), left: max_keys };
    sweep.changes(horizon.changes_floor)?;
    sweep.notes(vec![keys::GARBAGE], |key| Some(keys::number(key, 1)? <= horizon.rev))?;
    sweep.notes(vec![keys::EXPIRY], |key| {
        Some(keys::number(key, 1)? <= horizon.time_ms && keys::number(key, 9)? <= horizon.rev)
    })?;
    // Notes may name a key twice: what was looked at counts, not what was found.
    let deleted = max_keys - sweep.left;
    if deleted > 0 {
        engine.apply(sweep.batch)?;
    }
    Ok(deleted)
}

struct Sweep<'a> {
    engine: &'a dyn Engine,
    batch: Batch,
    /// Keys that may still be deleted.
    left: usize,
}

impl Sweep<'_> {
    fn delete(&mut self, key: Vec<u8>) {
        self.batch.delete(key);
        self.left = self.left.saturating_sub(1);
    }

    /// The changes of revisions below the floor.
    fn changes(&mut self, floor: u64) -> Result<(), Halt> {
        self.range(Bound::Included(&[keys::CHANGES]), Bound::Excluded(&keys::change(floor, 0)))?;
        Ok(())
    }

    /// What the notes under `prefix` name, in order, up to the first that is not due.
    fn notes(&mut self, prefix: Vec<u8>, is_due: impl Fn(&[u8]) -> Option<bool>) -> Result<(), Halt> {
        let engine = self.engine;
        for pair in engine.scan_prefix(&prefix) {
            let (key, value) = pair?;
            let broken = || Halt::damage(format!("the note of garbage at {key:?}"));
            if self.left == 0 || !is_due(&key).ok_or_else(broken)? {
                break;
            }
            if self.note(&Note::decode(&value).ok_or_else(broken)?)? {
                self.delete(key.to_vec());
            }
        }
        Ok(())
    }

    /// Deletes what a note names; true when all of it is.
    fn note(&mut self, note: &Note) -> Result<bool, Halt> {
        match note {
            Note::Versions { collection, id, rev } => self.versions(*collection, id, *rev),
            Note::Tombstone { collection, id, rev } => {
                let key = keys::current(*collection, id);
                let Some(newest) = self.engine.get(&key)? else { return Ok(true) };
                let newest = Envelope::decode(&newest)?;
                if newest.rev != *rev || !matches!(newest.content, Content::Tombstone { .. }) {
                    return Ok(true);
                }
                if !self.versions(*collection, id, *rev)? {
                    return Ok(false);
                }
                self.delete(key);
                Ok(true)
            }
            Note::Collection { collection } => {
                let prefixes = [keys::history_prefix(*collection), keys::current_prefix(*collection)];
                for prefix in prefixes {
                    let to = keys::after_prefix(&prefix);
                    let to = to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                    if !self.range(Bound::Included(&prefix), to)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }

    /// The superseded states of a document up to `rev`.
    fn versions(&mut self, collection: CollectionId, id: &str, rev: u64) -> Result<bool, Halt> {
        let (newest, oldest) = (keys::history(collection, id, rev), keys::history(collection, id, 0));
        // Oldest first: engines bound a descending range on both sides at once, and there are few.
        self.ordered(Bound::Included(&newest), Bound::Included(&oldest), Order::Descending)
    }

    /// All keys between the bounds; true when none is left.
    fn range(&mut self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Result<bool, Halt> {
        self.ordered(from, to, Order::Ascending)
    }

    fn ordered(&mut self, from: Bound<&[u8]>, to: Bound<&[u8]>, order: Order) -> Result<bool, Halt> {
        const CHUNK: usize = 256;
        let owned = |bound: Bound<&[u8]>| match bound {
            Bound::Included(key) => Bound::Included(key.to_vec()),
            Bound::Excluded(key) => Bound::Excluded(key.to_vec()),
            Bound::Unbounded => Bound::Unbounded,
        };
        let (mut from, mut to) = (owned(from), owned(to));
        loop {
            if self.left == 0 {
                return Ok(false);
            }
            let limit = ChunkLimit { pairs: self.left.min(CHUNK), bytes: 1 << 20 };
            let bounds = (crate::storage::scan::as_slice(&from), crate::storage::scan::as_slice(&to));
            let chunk = self.engine.chunk(bounds.0, bounds.1, order, limit)?;
            let Some((last, _)) = chunk.last() else { return Ok(true) };
            match order {
                Order::Ascending => from = Bound::Excluded(last.to_vec()),
                Order::Descending => to = Bound::Excluded(last.to_vec()),
            }
            for (key, _) in &chunk {
                self.delete(key.to_vec());
            }
        }
    }
}

//! What changed, in log order: one record a change, kept for a number of revisions, read by watchers.
//!
//! A record names its database and collection as they were called at its revision. So a watcher that is behind sees
//! what one that kept up has seen: a collection that was renamed or dropped since still has the name it had. For the
//! same reason renames and drops are changes themselves.
//!
//! `collection u64 | operation u8 | database | collection's name | rest`; a name is `length u8 | bytes`, or
//! `255 | length u16 | bytes` where it has 255 bytes or more; the rest is the document's id, of a renamed collection its
//! two new names, of a dropped one nothing. The operations 1 and 2 are records without names, of stores made before there
//! were watches: those cannot be told, and count as not kept.

use std::ops::Bound;

use bytes::Bytes;
use jettra_client::wire::Position;

use super::envelope::Envelope;
use super::halt::Halt;
use super::machine::State;
use super::stage::Stage;
use crate::storage::keys::{self, CollectionId};
use crate::storage::{ChunkLimit, Order};

/// What a change did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A document was saved.
    Saved {
        /// Its id.
        id: String,
    },
    /// A document was deleted.
    Deleted {
        /// Its id.
        id: String,
    },
    /// The collection was dropped.
    Dropped,
    /// The collection goes by another name.
    Renamed {
        /// Its database from then on.
        db: String,
        /// Its name from then on.
        col: String,
    },
}

/// A change as a watcher is told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Which change of which revision.
    pub position: Position,
    /// The database's name then.
    pub db: String,
    /// The collection's name then.
    pub col: String,
    /// What it did.
    pub change: Change,
    /// Of a saved document, what that revision wrote, where it is still kept. A revision that writes a document twice
    /// keeps what came last.
    pub doc: Option<Bytes>,
}

/// A run of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// What was wanted of what follows the position.
    Run {
        /// The changes, in log order.
        changes: Vec<Changed>,
        /// There is nothing else up to here.
        through: Position,
    },
    /// Some of what follows the position is no longer kept.
    Compacted {
        /// The oldest revision after which everything is.
        oldest: u64,
    },
}

/// How much one call of [`State::changes`] may read.
#[derive(Debug, Clone, Copy)]
pub struct ChangesLimit {
    /// Records that are looked at.
    pub records: usize,
    /// Bytes of changes and documents after which no further one is taken.
    pub bytes: usize,
}

impl State {
    /// The changes after `after` and up to revision `upto` whose database and collection are `wanted`, or at least the
    /// first of them. Of renames both names count. Nothing is pinned: what is deleted meanwhile is `Compacted`.
    pub fn changes(
        &self,
        after: Position,
        upto: u64,
        wanted: impl Fn(&str, &str) -> bool,
        limit: ChangesLimit,
    ) -> Result<Changes, Halt> {
        // What an apply is writing now may be seen in part; up to the view's revision everything is there.
        let upto = self.view().rev().min(upto);
        let mut through = Position::after(upto);
        if after >= through {
            return Ok(Changes::Run { changes: Vec::new(), through: after });
        }
        let (from, to) = (keys::change(after.rev, after.n), keys::change(upto, u32::MAX));
        let pairs = ChunkLimit { pairs: limit.records, bytes: limit.bytes };
        let chunk = self.engine().chunk(Bound::Excluded(&from), Bound::Included(&to), Order::Ascending, pairs)?;
        let size: usize = chunk.iter().map(|(key, value)| key.len() + value.len()).sum();
        let ends = chunk.len() < limit.records && size < limit.bytes;
        if let Some((key, _)) = chunk.last().filter(|_| !ends) {
            through = position_of(key)?;
        }
        let (mut changes, mut bytes) = (Vec::new(), 0);
        for (key, value) in chunk {
            let position = position_of(&key)?;
            let broken = || Halt::damage(format!("the record of change {position}"));
            if matches!(value.get(8), Some(1 | 2)) {
                return Ok(Changes::Compacted { oldest: upto });
            }
            let (collection, changed) = decode(position, &value).ok_or_else(broken)?;
            let renamed = matches!(&changed.change, Change::Renamed { db, col } if wanted(db, col));
            if !renamed && !wanted(&changed.db, &changed.col) {
                continue;
            }
            let doc = match &changed.change {
                Change::Saved { id } => self.written_at(collection, id, position.rev)?,
                _ => None,
            };
            bytes += value.len() + doc.as_ref().map_or(0, Bytes::len);
            changes.push(Changed { doc, ..changed });
            if bytes >= limit.bytes {
                through = position;
                break;
            }
        }
        // Only now: the reclaimer may have been at work beside the scan.
        match self.oldest_change_position() {
            Some(oldest) if after < Position::after(oldest) => Ok(Changes::Compacted { oldest }),
            _ => Ok(Changes::Run { changes, through }),
        }
    }

    /// The oldest revision after which all changes are kept; `None` where nothing was let go yet.
    pub fn oldest_change_position(&self) -> Option<u64> {
        self.view().meta.changes_floor.checked_sub(1)
    }

    /// What revision `rev` wrote as this document, where it is still kept.
    fn written_at(&self, collection: CollectionId, id: &str, rev: u64) -> Result<Option<Bytes>, Halt> {
        let decode = |bytes: Option<Bytes>| bytes.map(|bytes| Envelope::decode(&bytes)).transpose();
        let state = match decode(self.engine().get(&keys::current(collection, id))?)? {
            Some(newest) if newest.rev == rev => Some(newest),
            _ => decode(self.engine().get(&keys::history(collection, id, rev))?)?,
        };
        Ok(state.and_then(|state| state.body().cloned()))
    }
}

impl Stage<'_> {
    /// Records a change of a collection, by the names that it has before it.
    pub fn note_change(&mut self, collection: CollectionId, db: &str, col: &str, change: &Change) {
        let n = self.next_change();
        let value = encode(collection, db, col, change);
        self.put(keys::change(self.rev, n), value);
    }
}

/// Stands for the length of a name whose length does not fit into a byte.
const LONG: u8 = u8::MAX;

fn encode(collection: CollectionId, db: &str, col: &str, change: &Change) -> Bytes {
    let name = |out: &mut Vec<u8>, name: &str| {
        match u8::try_from(name.len()) {
            Ok(length) if length < LONG => out.push(length),
            _ => {
                out.push(LONG);
                // Names have 360 bytes at most.
                out.extend_from_slice(&(name.len() as u16).to_be_bytes());
            }
        }
        out.extend_from_slice(name.as_bytes());
    };
    let mut out = Vec::with_capacity(48);
    out.extend_from_slice(&collection.0.to_be_bytes());
    out.push(match change {
        Change::Saved { .. } => 3,
        Change::Deleted { .. } => 4,
        Change::Dropped => 5,
        Change::Renamed { .. } => 6,
    });
    name(&mut out, db);
    name(&mut out, col);
    match change {
        Change::Saved { id } | Change::Deleted { id } => out.extend_from_slice(id.as_bytes()),
        Change::Dropped => {}
        Change::Renamed { db, col } => {
            name(&mut out, db);
            name(&mut out, col);
        }
    }
    out.into()
}

/// The collection's number and the change, without its document.
fn decode(position: Position, value: &[u8]) -> Option<(CollectionId, Changed)> {
    let (collection, rest) = value.split_at_checked(8)?;
    let (operation, mut rest) = rest.split_first()?;
    let mut name = || {
        let (length, after) = match rest.split_first()? {
            (&LONG, after) => after.split_first_chunk().map(|(length, after)| (u16::from_be_bytes(*length), after))?,
            (length, after) => (u16::from(*length), after),
        };
        let (name, after) = after.split_at_checked(usize::from(length))?;
        rest = after;
        Some(std::str::from_utf8(name).ok()?.to_owned())
    };
    let (db, col) = (name()?, name()?);
    let renamed = if *operation == 6 { Some((name()?, name()?)) } else { None };
    let id = || Some(std::str::from_utf8(rest).ok()?.to_owned());
    let change = match (operation, renamed) {
        (3, _) => Change::Saved { id: id()? },
        (4, _) => Change::Deleted { id: id()? },
        (5, _) => Change::Dropped,
        (6, Some((db, col))) => Change::Renamed { db, col },
        _ => return None,
    };
    let collection = CollectionId(u64::from_be_bytes(collection.try_into().ok()?));
    Some((collection, Changed { position, db, col, change, doc: None }))
}

fn position_of(key: &[u8]) -> Result<Position, Halt> {
    let n = key.get(9..13).and_then(|n| n.try_into().ok()).map(u32::from_be_bytes);
    let position = keys::number(key, 1).zip(n).map(|(rev, n)| Position { rev, n });
    position.ok_or_else(|| Halt::damage(format!("the key of a change {key:?}")))
}

//! How keys are built.
//!
//! The first byte is the key space; numbers are big-endian, so that keys sort as their numbers do.
//!
//! | space | key | value |
//! |---|---|---|
//! | [`META`] | name | what the store is, and up to where it has applied |
//! | [`CURRENT`] | collection u64, document id | envelope: the newest state, a tombstone too |
//! | [`HISTORY`] | collection u64, length of id u16, document id, !rev u64 | envelope: a superseded state |
//! | [`CHANGES`] | rev u64, n u32 | collection u64, operation u8, names, document id: see `state/changes.rs` |
//! | [`GARBAGE`] | rev u64, n u32 | what may be deleted once no view is older than rev |
//! | [`EXPIRY`] | due ms u64, rev u64, n u32 | what may be deleted once cluster time has reached due |
//! | [`STATS`] | collection u64 | count, bytes and digest of the live documents |
//!
//! `!rev` is the bitwise complement: newest first.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the store is, and up to where it has applied.
pub const META: u8 = 0x01;
/// The newest state of each document.
pub const CURRENT: u8 = 0x02;
/// Superseded states.
pub const HISTORY: u8 = 0x03;
/// What each revision changed.
pub const CHANGES: u8 = 0x04;
/// What may be deleted once no view is older than a revision.
pub const GARBAGE: u8 = 0x05;
/// What may be deleted once cluster time has reached a moment.
pub const EXPIRY: u8 = 0x06;
/// Count, bytes and digest of each collection.
pub const STATS: u8 = 0x07;

/// The number of a collection, under which its keys stand. It is given once and never again; a name can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CollectionId(pub u64);

impl fmt::Display for CollectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `META`, name.
pub fn meta(name: &str) -> Vec<u8> {
    join(META, &[name.as_bytes()])
}

/// `CURRENT`, collection, document id.
pub fn current(collection: CollectionId, id: &str) -> Vec<u8> {
    join(CURRENT, &[&collection.0.to_be_bytes(), id.as_bytes()])
}

/// What all current states of a collection start with.
pub fn current_prefix(collection: CollectionId) -> Vec<u8> {
    join(CURRENT, &[&collection.0.to_be_bytes()])
}

/// The first key after all current states of a collection.
pub fn current_end(collection: CollectionId) -> Vec<u8> {
    current_prefix(CollectionId(collection.0 + 1))
}

/// `HISTORY`, collection, document id, !rev. An id has at most 512 bytes, so its length fits.
pub fn history(collection: CollectionId, id: &str, rev: u64) -> Vec<u8> {
    join(
        HISTORY,
        &[&collection.0.to_be_bytes(), &(id.len() as u16).to_be_bytes(), id.as_bytes(), &(!rev).to_be_bytes()],
    )
}

/// What all superseded states of a collection start with.
pub fn history_prefix(collection: CollectionId) -> Vec<u8> {
    join(HISTORY, &[&collection.0.to_be_bytes()])
}

/// `CHANGES`, rev, n.
pub fn change(rev: u64, n: u32) -> Vec<u8> {
    join(CHANGES, &[&rev.to_be_bytes(), &n.to_be_bytes()])
}

/// `GARBAGE`, rev, n.
pub fn garbage(rev: u64, n: u32) -> Vec<u8> {
    join(GARBAGE, &[&rev.to_be_bytes(), &n.to_be_bytes()])
}

/// `EXPIRY`, due, rev, n.
pub fn expiry(due_ms: u64, rev: u64, n: u32) -> Vec<u8> {
    join(EXPIRY, &[&due_ms.to_be_bytes(), &rev.to_be_bytes(), &n.to_be_bytes()])
}

/// `STATS`, collection.
pub fn stats(collection: CollectionId) -> Vec<u8> {
    join(STATS, &[&collection.0.to_be_bytes()])
}

/// The document id of a `CURRENT` key.
pub fn current_id(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(9..)?).ok()
}

/// Collection, document id and rev of a `HISTORY` key.
pub fn history_parts(key: &[u8]) -> Option<(CollectionId, &str, u64)> {
    let collection = collection(key)?;
    let length = usize::from(u16::from_be_bytes(key.get(9..11)?.try_into().ok()?));
    let id = std::str::from_utf8(key.get(11..11 + length)?).ok()?;
    Some((collection, id, !number(key, 11 + length)?))
}

/// The collection of a `CURRENT`, `HISTORY` or `STATS` key.
pub fn collection(key: &[u8]) -> Option<CollectionId> {
    number(key, 1).map(CollectionId)
}

/// The u64 at `offset` of a key: the revision or the moment that stands there.
pub fn number(key: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(offset..offset + 8)?.try_into().ok()?))
}

/// The first key after all that start with `prefix`; `None` where there is none.
pub fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut next = prefix[..=keep].to_vec();
    next[keep] += 1;
    Some(next)
}

fn join(space: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    key.push(space);
    for part in parts {
        key.extend_from_slice(part);
    }
    key
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn newest_history_sorts_first_and_ids_do_not_mix() {
        let (seven, eight) = (CollectionId(7), CollectionId(8));
        assert!(history(seven, "a", 9) < history(seven, "a", 3));
        let end = after_prefix(&history_prefix(seven)).unwrap();
        assert!(history(seven, "zz", 0) < end && end <= history(eight, "", u64::MAX));
        assert_eq!(history_parts(&history(seven, "a\u{0}b", 9)), Some((seven, "a\u{0}b", 9)));
    }

    #[test]
    fn the_key_after_a_prefix_of_ones_carries_over() {
        assert_eq!(after_prefix(&[1, 255, 255]), Some(vec![2]));
        assert_eq!(after_prefix(&[255]), None);
    }
}

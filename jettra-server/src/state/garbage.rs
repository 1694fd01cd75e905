//! What may be deleted: noted by `apply`, deleted by the reclaimer when no view needs it any more.
//!
//! `kind u8 | collection u64 | rev u64 | document id`

use bytes::Bytes;

use crate::storage::keys::CollectionId;

/// What may be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Note {
    /// The superseded states of a document up to and with `rev`.
    Versions { collection: CollectionId, id: String, rev: u64 },
    /// A tombstone, if it still is the newest state and has this rev, and all superseded states up to it.
    Tombstone { collection: CollectionId, id: String, rev: u64 },
    /// Everything of a dropped collection.
    Collection { collection: CollectionId },
}

/// Up to where the reclaimer may go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Horizon {
    /// Garbage that was noted up to this revision.
    pub rev: u64,
    /// What is due by this moment of cluster time.
    pub time_ms: u64,
    /// Changes below this revision.
    pub changes_floor: u64,
}

impl Note {
    pub fn encode(&self) -> Bytes {
        let (kind, collection, rev, id) = match self {
            Note::Versions { collection, id, rev } => (1u8, collection, *rev, id.as_str()),
            Note::Tombstone { collection, id, rev } => (2, collection, *rev, id.as_str()),
            Note::Collection { collection } => (3, collection, 0, ""),
        };
        let mut out = vec![kind];
        out.extend_from_slice(&collection.0.to_be_bytes());
        out.extend_from_slice(&rev.to_be_bytes());
        out.extend_from_slice(id.as_bytes());
        out.into()
    }

    pub fn decode(bytes: &[u8]) -> Option<Note> {
        let collection = CollectionId(u64::from_be_bytes(bytes.get(1..9)?.try_into().ok()?));
        let rev = u64::from_be_bytes(bytes.get(9..17)?.try_into().ok()?);
        let id = std::str::from_utf8(&bytes[17..]).ok()?.to_owned();
        match bytes[0] {
            1 => Some(Note::Versions { collection, id, rev }),
            2 => Some(Note::Tombstone { collection, id, rev }),
            3 => Some(Note::Collection { collection }),
            _ => None,
        }
    }
}

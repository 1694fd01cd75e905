//! Large values, cut into pieces under keys of their own.
//!
//! An engine that rewrites whole leaves rewrites a leaf's large values with each small change beside them. So a value
//! beyond [`INLINE`] bytes is stored as a head, and its pieces under ascending numbers that are never used again: they
//! are written once, side by side, and nothing small lives among them.
//!
//! - a value: `0, bytes` or, where it is large, `1, number u64, length u64`
//! - its pieces: key `255, number u64, n u32`; each has [`PIECE`] bytes but the last

use bytes::Bytes;

/// Longer values are cut.
pub(super) const INLINE: usize = 1024;
/// Bytes of a piece.
pub(super) const PIECE: usize = 4096;
/// The first byte of the keys of pieces; no other key may start with it.
pub(super) const SPACE: u8 = 0xFF;

/// A stored value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stored {
    /// All of it.
    Inline(Bytes),
    /// Where its pieces are.
    Large(Head),
}

/// Where the pieces of a value are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// The number under which its pieces are.
    pub number: u64,
    /// Bytes of the value.
    pub length: u64,
}

impl Head {
    /// How many pieces there are.
    pub fn pieces(&self) -> u32 {
        self.length.div_ceil(PIECE as u64) as u32
    }

    /// The stored form of the value.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![1];
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&self.length.to_be_bytes());
        out
    }

    /// The keys of its pieces, in order.
    pub fn keys(self) -> impl Iterator<Item = Vec<u8>> {
        (0..self.pieces()).map(move |n| piece_key(self.number, n))
    }
}

/// The key of a piece.
pub(super) fn piece_key(number: u64, n: u32) -> Vec<u8> {
    let mut key = vec![SPACE];
    key.extend_from_slice(&number.to_be_bytes());
    key.extend_from_slice(&n.to_be_bytes());
    key
}

/// The number in the key of a piece.
pub(super) fn piece_number(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.strip_prefix(&[SPACE])?.get(..8)?.try_into().ok()?))
}

/// The stored form of a value that is not cut.
pub(super) fn inline(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() + 1);
    out.push(0);
    out.extend_from_slice(value);
    out
}

/// Reads a stored value; `None` where it is broken.
pub(super) fn decode(stored: &[u8]) -> Option<Stored> {
    match stored.split_first()? {
        (0, value) => Some(Stored::Inline(Bytes::copy_from_slice(value))),
        (1, head) if head.len() == 16 => Some(Stored::Large(Head {
            number: u64::from_be_bytes(head[..8].try_into().ok()?),
            length: u64::from_be_bytes(head[8..].try_into().ok()?),
        })),
        _ => None,
    }
}

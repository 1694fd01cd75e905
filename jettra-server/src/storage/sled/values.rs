//! Stored values, read whole.

use std::io;

use ::sled::InlineArray;
use bytes::Bytes;

use super::Tree;
use super::large::{self, Head, Stored};

/// How often a read starts again because the large value it reads was replaced under it.
const READ_ATTEMPTS: usize = 10_000;
/// So few pieces are read one by one: a range copies the references to a whole leaf first.
const FEW_PIECES: u32 = 16;

/// The value that `stored` stands for, put together where it is large. Where its pieces have gone because it was
/// replaced meanwhile, the newer one; `None` where it was deleted.
pub(super) fn whole(tree: &Tree, key: &[u8], stored: &InlineArray) -> io::Result<Option<Bytes>> {
    let broken = || io::Error::new(io::ErrorKind::InvalidData, format!("the value of {key:?} is broken"));
    let mut stored = stored.clone();
    for _ in 0..READ_ATTEMPTS {
        let head = match large::decode(&stored).ok_or_else(broken)? {
            Stored::Inline(value) => return Ok(Some(value)),
            Stored::Large(head) => head,
        };
        if let Some(value) = pieces(tree, head)? {
            return Ok(Some(value));
        }
        match tree.get(key)? {
            None => return Ok(None),
            Some(newer) if newer == stored => return Err(broken()),
            Some(newer) => stored = newer,
        }
    }
    Err(io::Error::other(format!("the value of {key:?} was replaced {READ_ATTEMPTS} times while it was read")))
}

/// The pieces of a value, put together; `None` where one is missing.
fn pieces(tree: &Tree, head: Head) -> io::Result<Option<Bytes>> {
    let mut value = Vec::with_capacity(head.length as usize);
    if head.pieces() <= FEW_PIECES {
        for key in head.keys() {
            let Some(piece) = tree.get(key)? else { return Ok(None) };
            value.extend_from_slice(&piece);
        }
        return Ok((value.len() as u64 == head.length).then(|| value.into()));
    }
    let mut keys = head.keys();
    for pair in tree.range::<Vec<u8>, _>(large::piece_key(head.number, 0)..) {
        let Some(wanted) = keys.next() else { break };
        let (key, piece) = pair?;
        if *key != *wanted {
            return Ok(None);
        }
        value.extend_from_slice(&piece);
        if value.len() as u64 >= head.length {
            break;
        }
    }
    Ok((value.len() as u64 == head.length).then(|| value.into()))
}

//! How votes, log ids and entries stand in the log's files: big-endian integers, JSON for the rest.

use std::cmp::Ordering;
use std::io::{self, Read, Write};

use bytes::Bytes;
use codeq::{Decode, Encode};
use openraft::EntryPayload;

use super::entry::{Content, LogId, Proposal, Vote};

/// A log id in the log's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredLogId(pub LogId);

impl Encode for StoredLogId {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        Ok(self.0.committed_leader_id().term.encode(&mut w)? + self.0.index.encode(&mut w)?)
    }
}

impl Decode for StoredLogId {
    fn decode<R: Read>(mut r: R) -> io::Result<Self> {
        let term = u64::decode(&mut r)?;
        Ok(StoredLogId(LogId::new_term_index(term, u64::decode(&mut r)?)))
    }
}

/// A vote in the log's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredVote(pub Vote);

impl PartialOrd for StoredVote {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.0.partial_cmp(&other.0)
    }
}

impl Encode for StoredVote {
    fn encode<W: Write>(&self, mut w: W) -> io::Result<usize> {
        let id = self.0.leader_id();
        Ok(id.term.encode(&mut w)? + id.voted_for.encode(&mut w)? + self.0.is_committed().encode(&mut w)?)
    }
}

impl Decode for StoredVote {
    fn decode<R: Read>(mut r: R) -> io::Result<Self> {
        let (term, node) = (u64::decode(&mut r)?, u64::decode(&mut r)?);
        let committed = bool::decode(&mut r)?;
        Ok(StoredVote(if committed { Vote::new_committed(term, node) } else { Vote::new(term, node) }))
    }
}

/// An entry's content in the log's files: a tag byte, then a length and the bytes.
#[derive(Debug, Clone)]
pub struct StoredPayload(pub Content);

const BLANK: u8 = 0;
const COMMAND: u8 = 1;
const MEMBERSHIP: u8 = 2;

impl StoredPayload {
    /// Bytes that the content takes, about.
    pub fn size(&self) -> usize {
        match &self.0 {
            EntryPayload::Blank => 1,
            EntryPayload::Normal(p) => p.0.len(),
            EntryPayload::Membership(m) => 128 * m.nodes().count(),
        }
    }
}

fn encode_bytes<W: Write>(tag: u8, bytes: &[u8], mut w: W) -> io::Result<usize> {
    let len = u32::try_from(bytes.len()).map_err(|_| io::Error::other("a log entry takes 4 GiB at most"))?;
    let n = tag.encode(&mut w)? + len.encode(&mut w)?;
    w.write_all(bytes)?;
    Ok(n + bytes.len())
}

impl Encode for StoredPayload {
    fn encode<W: Write>(&self, w: W) -> io::Result<usize> {
        match &self.0 {
            EntryPayload::Blank => encode_bytes(BLANK, &[], w),
            EntryPayload::Normal(p) => encode_bytes(COMMAND, &p.0, w),
            EntryPayload::Membership(m) => encode_bytes(MEMBERSHIP, &serde_json::to_vec(m)?, w),
        }
    }
}

impl Decode for StoredPayload {
    fn decode<R: Read>(mut r: R) -> io::Result<Self> {
        let tag = u8::decode(&mut r)?;
        let len = u32::decode(&mut r)?;
        // `take` and not a buffer of `len`: a damaged length must not allocate.
        let mut bytes = Vec::with_capacity(len.min(1 << 20) as usize);
        if r.by_ref().take(u64::from(len)).read_to_end(&mut bytes)? != len as usize {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(StoredPayload(match tag {
            BLANK => EntryPayload::Blank,
            COMMAND => EntryPayload::Normal(Proposal(Bytes::from(bytes))),
            MEMBERSHIP => EntryPayload::Membership(serde_json::from_slice(&bytes)?),
            other => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("unknown kind of log entry {other}: written by a newer version?"),
                ));
            }
        }))
    }
}

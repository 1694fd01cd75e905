//! The snapshot stream between nodes.
//!
//! ```text
//! u32 length, head as JSON (sealed as a call)
//! chunk*  u32 length > 0 of the records, records, sealed at their position: 16 bytes more
//! end     u32 0, u64 records in all, sealed
//! record  u32 length, u32 length, key, value
//! ```
//! A stream without its end mark is not a snapshot.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::log::Vote;
use super::types::SnapshotMeta;
use crate::peers::StreamKey;
use crate::state::{Halt, Importer, Pin, State};

/// Bytes of records in a chunk, about.
const CHUNK: usize = 256 << 10;
/// Bytes that a chunk may have: one record of the largest document fits.
const CHUNK_LIMIT: usize = 64 << 20;
/// Version of this format.
const VERSION: u32 = 2;
/// Bytes that the head may have.
const HEAD_LIMIT: usize = 1 << 20;

/// What precedes the records.
#[derive(Debug, Serialize, Deserialize)]
pub struct Head {
    /// Version of the format.
    pub version: u32,
    /// The leader's vote.
    pub vote: Vote,
    /// Where the state stands.
    pub meta: SnapshotMeta,
}

impl Head {
    /// The head of a snapshot sent under `vote`.
    pub fn new(vote: Vote, meta: SnapshotMeta) -> Self {
        Head { version: VERSION, vote, meta }
    }

    /// Refuses other versions of the format.
    ///
    /// # Errors
    /// The message names the version.
    pub fn check(&self) -> Result<(), String> {
        if self.version == VERSION {
            return Ok(());
        }
        Err(format!("the snapshot has format {}, this node reads {VERSION}", self.version))
    }
}

/// The head as it stands in the stream.
pub fn frame_head(head: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(4 + head.len());
    out.put_u32(head.len() as u32);
    out.put_slice(head);
    out.freeze()
}

/// Writes the records of a pinned view in chunks to `send`, which returns whether to go on. Blocks.
///
/// # Errors
/// What reading the state says.
pub fn write(state: &State, pin: &Pin, key: &StreamKey, mut send: impl FnMut(Bytes) -> bool) -> Result<(), Halt> {
    let mut records = BytesMut::with_capacity(CHUNK + 4096);
    let (mut position, mut count) = (0u64, 0u64);
    let mut flush = |records: &mut BytesMut, position: &mut u64| {
        let mut out = BytesMut::with_capacity(records.len() + 20);
        out.put_u32(records.len() as u32);
        out.put_slice(&key.seal(*position, records));
        *position += 1;
        records.clear();
        send(out.freeze())
    };
    for record in state.export(pin) {
        let (k, v) = record?;
        records.put_u32(k.len() as u32);
        records.put_u32(v.len() as u32);
        records.put_slice(&k);
        records.put_slice(&v);
        count += 1;
        if records.len() >= CHUNK && !flush(&mut records, &mut position) {
            return Ok(());
        }
    }
    if !records.is_empty() && !flush(&mut records, &mut position) {
        return Ok(());
    }
    let mut end = BytesMut::with_capacity(28);
    end.put_u32(0);
    end.put_slice(&key.seal(position, &count.to_be_bytes()));
    send(end.freeze());
    Ok(())
}

/// Reads a stream piece by piece, whatever its pieces are.
#[derive(Default)]
pub struct Reader {
    buffer: BytesMut,
    position: u64,
    count: u64,
    ended: bool,
}

impl Reader {
    /// Adds what arrived.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The head, once it is whole.
    ///
    /// # Errors
    /// A length beyond the limit.
    pub fn head(&mut self) -> Result<Option<Bytes>, String> {
        let Some(len) = self.peek_len() else { return Ok(None) };
        if len > HEAD_LIMIT {
            return Err(format!("a head of {len} bytes"));
        }
        if self.buffer.len() < 4 + len {
            return Ok(None);
        }
        self.buffer.advance(4);
        Ok(Some(self.buffer.split_to(len).freeze()))
    }

    /// Hands the records of all whole chunks to `importer`. Blocks.
    ///
    /// # Errors
    /// A broken seal, a wrong length, records behind the end, or what the importer says.
    pub fn import(&mut self, key: &StreamKey, importer: &mut Importer) -> Result<(), String> {
        while let Some(len) = self.peek_len() {
            if self.ended {
                return Err("bytes behind the end mark".into());
            }
            if len > CHUNK_LIMIT {
                return Err(format!("a chunk of {len} bytes"));
            }
            let body = if len == 0 { 8 } else { len };
            if self.buffer.len() < 4 + body + 16 {
                return Ok(());
            }
            self.buffer.advance(4);
            let sealed = self.buffer.split_to(body + 16).freeze();
            let Some(records) = key.open(self.position, sealed) else {
                return Err(format!("the seal of chunk {} is broken", self.position));
            };
            self.position += 1;
            if len == 0 {
                self.ended = true;
                let count = (&records[..]).get_u64();
                if count != self.count {
                    return Err(format!("{} records arrived of {count}", self.count));
                }
            } else {
                self.import_records(records, importer)?;
            }
        }
        Ok(())
    }

    fn import_records(&mut self, mut records: Bytes, importer: &mut Importer) -> Result<(), String> {
        while records.has_remaining() {
            if records.len() < 8 {
                return Err("a record cut short".into());
            }
            let (k, v) = (records.get_u32() as usize, records.get_u32() as usize);
            if records.len() < k.saturating_add(v) {
                return Err("a record cut short".into());
            }
            let (key, value) = (records.split_to(k), records.split_to(v));
            importer.put(key, value).map_err(|e| e.to_string())?;
            self.count += 1;
        }
        Ok(())
    }

    /// Whether the end mark has come and nothing behind it.
    pub fn is_complete(&self) -> bool {
        self.ended && self.buffer.is_empty()
    }

    fn peek_len(&self) -> Option<usize> {
        self.buffer.get(..4).map(|mut b| b.get_u32() as usize)
    }
}

//! Reading the log's files without opening the log: what is in them, and whether they are whole.
//!
//! A record that cannot be read is a *torn tail*, an unfinished write which nobody was told of, only in the last file, and
//! only where a sector of the disk is missing from there on; or where the file ends within the record, nothing readable
//! stands behind it, and no single flipped bit explains it. All else is damage. The crate itself cannot tell these apart: a
//! flipped bit in a length looks to it like a record that is not there yet, and it cuts that off, or removes a file that
//! begins so; and a record whose middle did not reach the disk looks to it like damage.

use std::io;
use std::path::{Path, PathBuf};

use raft_log::chunked_wal::Config as WalConfig;
use raft_log::codeq::Decode;
use raft_log::{ChunkId, RaftWalTypes, WALRecord};

use super::LogTypes;

/// A record of the log's files.
pub(super) type Record = WALRecord<RaftWalTypes<LogTypes>>;

/// In what state the end of the log's files is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// All records can be read.
    Whole,
    /// The last record is an unfinished write, which may be cut off.
    Torn {
        /// The file.
        path: PathBuf,
        /// The byte at which the record begins.
        at: u64,
    },
    /// Something that was whole is not.
    Damaged {
        /// The file.
        path: PathBuf,
        /// The byte at which the unreadable record begins.
        at: u64,
        /// What is wrong there.
        why: String,
    },
}

/// What a disk writes whole or not at all; what it did not write of a file that grew reads as zeros.
const SECTOR: usize = 512;
/// So many zeros begin no record of an entry: the last byte of its kind is not zero.
const NO_KIND: usize = 4;
/// Where a flipped bit may hide a record's length or kind: the bytes before its content.
const HEAD: usize = 64;

/// The log's files in `dir`, oldest first, with the position at which each begins; none where there is no `dir`.
pub(super) fn chunks(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut chunks = Vec::new();
    let files = match std::fs::read_dir(dir) {
        Ok(files) => files,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(chunks),
        Err(e) => return Err(e),
    };
    for file in files {
        let name = file?.file_name();
        if let Ok(offset) = WalConfig::parse_chunk_file_name(&name.to_string_lossy()) {
            chunks.push((offset, dir.join(&name)));
        }
    }
    chunks.sort();
    Ok(chunks)
}

/// Reads all records in order until the end or the first one that cannot be read.
///
/// # Errors
/// I/O errors only.
pub(super) fn walk(dir: &Path, mut visit: impl FnMut(ChunkId, Record)) -> io::Result<End> {
    let chunks = chunks(dir)?;
    let mut expected = None;
    for (n, (offset, path)) in chunks.iter().enumerate() {
        if let Some(expected) = expected
            && expected != *offset
        {
            let why = format!("it begins at position {offset} of the log, and the file before it ends at {expected}");
            return Ok(End::Damaged { path: path.clone(), at: 0, why });
        }
        let bytes = std::fs::read(path)?;
        let mut at = 0;
        while at < bytes.len() {
            let mut rest = &bytes[at..];
            match Record::decode(&mut rest) {
                Ok(record) => {
                    visit(ChunkId(*offset), record);
                    at = bytes.len() - rest.len();
                }
                Err(e) => {
                    // A file is begun before the one before it is finished: an empty successor may follow a torn tail.
                    let is_last = chunks[n + 1..].iter().all(|(_, later)| begins_with_nothing(later).unwrap_or(false));
                    return Ok(unreadable(path, &bytes, at, is_last, &e));
                }
            }
        }
        expected = Some(offset + bytes.len() as u64);
    }
    Ok(End::Whole)
}

/// Whether the last file's first record can be read; the crate removes a file whose first record is cut short.
pub(super) fn last_file_begins_whole(dir: &Path) -> io::Result<bool> {
    let Some((_, path)) = chunks(dir)?.pop() else { return Ok(true) };
    let mut head = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(std::fs::File::open(path)?, 64 << 10), &mut head)?;
    Ok(Record::decode(&mut &head[..]).is_ok())
}

fn begins_with_nothing(path: &Path) -> io::Result<bool> {
    let bytes = std::fs::read(path)?;
    let why = match Record::decode(&mut &bytes[..]) {
        Ok(_) => return Ok(false),
        Err(e) => e,
    };
    Ok(matches!(unreadable(path, &bytes, 0, true, &why), End::Torn { .. }))
}

/// What a record is that cannot be read at `at` of a file's `bytes`.
fn unreadable(path: &Path, bytes: &[u8], at: usize, is_last: bool, error: &io::Error) -> End {
    let (path, rest) = (path.to_owned(), &bytes[at..]);
    let damaged = |why: String| End::Damaged { path: path.clone(), at: at as u64, why };
    if !is_last {
        return damaged(format!("{error}, and the log goes on in the next file"));
    }
    // What stands behind it may be readable: it was written with it, and not synced either.
    if lacks_a_sector(bytes, at) {
        return End::Torn { path, at: at as u64 };
    }
    if error.kind() != io::ErrorKind::UnexpectedEof {
        return damaged(error.to_string());
    }
    // No record is shorter than its kind and its checksum, and a checksum begins with zeros: what does not start like
    // a record is passed over quickly.
    if (1..rest.len()).any(|later| rest[later..].starts_with(&[0, 0, 0]) && Record::decode(&mut &rest[later..]).is_ok())
    {
        return damaged(format!("{error}, and readable records stand behind it"));
    }
    if has_a_flipped_bit(rest) {
        return damaged("a bit has changed in a record that was whole".to_owned());
    }
    End::Torn { path, at: at as u64 }
}

/// Whether a sector of the file's `bytes` was not written from `at` on. Records have no such runs of zeros: entries are
/// JSON, and a checksum ends each of them.
fn lacks_a_sector(bytes: &[u8], at: usize) -> bool {
    let mut from = at;
    while from < bytes.len() {
        let to = bytes.len().min((from / SECTOR + 1) * SECTOR);
        let is_long = to - from >= NO_KIND || to == bytes.len();
        if is_long && bytes[from..to].iter().all(|byte| *byte == 0) {
            return true;
        }
        from = to;
    }
    false
}

/// Whether the record becomes readable with one other bit before its content.
fn has_a_flipped_bit(rest: &[u8]) -> bool {
    let mut tried = rest.to_vec();
    (0..tried.len().min(HEAD) * 8).any(|bit| {
        tried[bit / 8] ^= 1 << (bit % 8);
        let readable = Record::decode(&mut &tried[..]).is_ok();
        tried[bit / 8] ^= 1 << (bit % 8);
        readable
    })
}

impl End {
    /// What is wrong, in words; `None` where nothing is.
    pub fn damage(&self) -> Option<String> {
        match self {
            End::Damaged { path, at, why } => {
                Some(format!("{} cannot be read from byte {at} on: {why}", path.display()))
            }
            _ => None,
        }
    }
}

//! The mark: up to which log id entries were acknowledged, kept beside the log.
//!
//! A record cut off at the log's end is either a write that nobody was told of, which may go, or
//! damage to entries that were acknowledged, which must stop the node. The log alone cannot tell
//! the two apart; the mark can. It is written each second at most and never before the entries it
//! speaks of are on disk, so it may be behind but is never ahead.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::entry::LogId;

const SLOT: usize = 40;
const MAGIC: u64 = 0x6a65_7474_7261_3031;

/// The mark's file: two slots written in turn, so that a torn write leaves the older one.
#[derive(Debug)]
pub struct Mark {
    file: File,
    sequence: u64,
    current: Option<LogId>,
}

impl Mark {
    /// Opens or makes the mark in `path`. One damaged slot costs a second of what the mark knows; with both it is an
    /// error.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let (newest, broken) = newest(&file);
        if broken && newest.is_none() {
            return Err(crate::sealed::damaged(path));
        }
        if broken {
            tracing::warn!(path = %path.display(), "one of the mark's two slots is damaged: going on with the other one");
        }
        let (sequence, current) = newest.unwrap_or((0, None));
        let mut mark = Mark { file, sequence, current };
        if broken {
            // The next slot in turn is the damaged one.
            mark.write(current)?;
        }
        Ok(mark)
    }

    /// The highest log id known to have been acknowledged.
    pub fn get(&self) -> Option<LogId> {
        self.current
    }

    /// Records that all entries up to `id` are on disk, or, before the log is cut, that those
    /// behind `id` count no more. Returns when the mark itself is on disk.
    pub fn set(&mut self, id: Option<LogId>) -> io::Result<()> {
        if id == self.current {
            return Ok(());
        }
        self.write(id)
    }

    fn write(&mut self, id: Option<LogId>) -> io::Result<()> {
        self.sequence += 1;
        self.file.write_all_at(&encode(self.sequence, id), (self.sequence % 2) * SLOT as u64)?;
        self.file.sync_data()?;
        self.current = id;
        Ok(())
    }
}

/// What the mark in `path` says, read without writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// The highest log id known to have been acknowledged; `None` also where there is no mark.
    Says(Option<LogId>),
    /// Neither slot can be read.
    Lost,
}

/// Reads the mark in `path`, which stays as it is.
///
/// # Errors
/// I/O errors.
pub fn read(path: &Path) -> io::Result<Reading> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Reading::Says(None)),
        Err(e) => return Err(e),
    };
    Ok(match newest(&file) {
        (None, true) => Reading::Lost,
        (newest, _) => Reading::Says(newest.and_then(|(_, id)| id)),
    })
}

/// The newer of the slots that can be read, with its sequence number; and whether one cannot that was written.
fn newest(file: &File) -> (Option<(u64, Option<LogId>)>, bool) {
    let (mut newest, mut broken): (Option<(u64, Option<LogId>)>, bool) = (None, false);
    for slot in 0..2u64 {
        let mut bytes = [0u8; SLOT];
        if file.read_exact_at(&mut bytes, slot * SLOT as u64).is_err() {
            continue;
        }
        match decode(&bytes) {
            Some((sequence, id)) if newest.as_ref().is_none_or(|(s, _)| sequence > *s) => {
                newest = Some((sequence, id));
            }
            Some(_) => {}
            None => broken |= bytes != [0; SLOT],
        }
    }
    (newest, broken)
}

/// Whether each slot of a mark's file is whole or was never written.
pub fn is_whole(bytes: &[u8]) -> bool {
    let whole =
        |slot: &[u8]| slot.try_into().is_ok_and(|slot: &[u8; SLOT]| *slot == [0; SLOT] || decode(slot).is_some());
    bytes.len().is_multiple_of(SLOT) && bytes.chunks(SLOT).all(whole)
}

fn encode(sequence: u64, id: Option<LogId>) -> [u8; SLOT] {
    // An absent id is stored as index u64::MAX, which no log reaches.
    let (term, index) = id.map_or((0, u64::MAX), |id| (id.committed_leader_id().term, id.index));
    let mut bytes = [0u8; SLOT];
    for (i, word) in [MAGIC, sequence, term, index].into_iter().enumerate() {
        bytes[i * 8..i * 8 + 8].copy_from_slice(&word.to_be_bytes());
    }
    let sum = blake3::hash(&bytes[..32]);
    bytes[32..].copy_from_slice(&sum.as_bytes()[..8]);
    bytes
}

fn decode(bytes: &[u8; SLOT]) -> Option<(u64, Option<LogId>)> {
    let word = |i: usize| bytes[i * 8..i * 8 + 8].iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
    if word(0) != MAGIC || blake3::hash(&bytes[..32]).as_bytes()[..8] != bytes[32..] {
        return None;
    }
    let id = (word(3) != u64::MAX).then(|| LogId::new_term_index(word(2), word(3)));
    Some((word(1), id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_write_leaves_the_mark_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acked");
        let mut mark = Mark::open(&path).unwrap();
        assert_eq!(mark.get(), None);
        mark.set(Some(LogId::new_term_index(1, 7))).unwrap();
        mark.set(Some(LogId::new_term_index(2, 9))).unwrap();
        assert_eq!(Mark::open(&path).unwrap().get(), Some(LogId::new_term_index(2, 9)));

        let slot = mark.sequence % 2;
        mark.file.write_all_at(&[0xff; 5], slot * SLOT as u64 + 20).unwrap();
        let damaged = std::fs::read(&path).unwrap();
        assert_eq!(read(&path).unwrap(), Reading::Says(Some(LogId::new_term_index(1, 7))));
        assert_eq!(std::fs::read(&path).unwrap(), damaged, "a look changes nothing");
        assert_eq!(Mark::open(&path).unwrap().get(), Some(LogId::new_term_index(1, 7)));

        std::fs::write(&path, [0xff; 2 * SLOT]).unwrap();
        assert_eq!(read(&path).unwrap(), Reading::Lost);
        assert_eq!(read(&dir.path().join("none")).unwrap(), Reading::Says(None));
        assert!(!dir.path().join("none").exists());
    }
}

//! Whether sled's own files are whole, looked at before sled opens them.
//!
//! sled checks each leaf when it is read. Its metadata, which say where the leaves are, it reads like this: a snapshot
//! is one checksummed frame; the logs after it are frames in a row, and **the first frame that cannot be read ends a
//! log without a word**. What such a frame said would be lost, leaves would be looked for where others may have been
//! written since, and the files that could tell would be replaced. So here:
//!
//! - the snapshot is exactly one whole frame, and every log but the last one consists of whole frames;
//! - the last log may end in an unfinished frame only behind the *durable mark*: a file of ours that says which log
//!   was the last one, and how long, when the last durable point returned. No slot that an unfinished frame would have
//!   freed was written to again, since the next flush begins after the mark is on disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::descriptors::patiently;
use crate::sealed;
use crate::storage::StorageError;

/// Which metadata log was the last one, and how many bytes it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    log: u64,
    bytes: u64,
}

/// Where the mark of the store at `store` is.
pub fn mark_path(store: &Path) -> PathBuf {
    store.join("durable")
}

/// What lies in sled's metadata directory.
struct Files {
    snapshot: Option<(u64, PathBuf)>,
    /// Those after the snapshot, oldest first.
    logs: Vec<(u64, PathBuf)>,
}

impl Mark {
    /// The mark of the sled files in `tree` as they are now, after a flush. `None` before the first one.
    pub fn of(tree: &Path) -> io::Result<Option<Mark>> {
        let files = patiently(|| Files::of(tree))?;
        let Some((log, path)) = files.logs.last() else { return Ok(None) };
        Ok(Some(Mark { log: *log, bytes: fs::metadata(path)?.len() }))
    }

    /// The mark kept for the store at `store`.
    pub fn load(store: &Path) -> io::Result<Option<Mark>> {
        let path = mark_path(store);
        let Some(bytes) = sealed::bytes_of(&path)? else { return Ok(None) };
        let numbers = sealed::read_line(&bytes).and_then(|text| text.split_once(' '));
        let mark = numbers.and_then(|(log, bytes)| Some(Mark { log: log.parse().ok()?, bytes: bytes.parse().ok()? }));
        mark.ok_or_else(|| sealed::damaged(&path)).map(Some)
    }

    /// Keeps the mark for the store at `store`, whose sled files are in `tree`. Returns when it is on disk.
    pub fn store(self, store: &Path, tree: &Path) -> io::Result<()> {
        // sled makes a new log's name durable only with the first frame in it.
        patiently(|| fs::File::open(tree.join("metadata")))?.sync_all()?;
        let line = sealed::line(&format!("{} {}", self.log, self.bytes));
        crate::files::write(&mark_path(store), line.as_bytes())
    }
}

impl Files {
    fn of(tree: &Path) -> io::Result<Files> {
        let mut files = Files { snapshot: None, logs: Vec::new() };
        let entries = match fs::read_dir(tree.join("metadata")) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(files),
            Err(e) => return Err(e),
        };
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let number = |prefix: &str| u64::from_str_radix(name.strip_prefix(prefix)?, 16).ok();
            if let Some(number) = number("log_") {
                files.logs.push((number, path));
            } else if let Some(number) = number("snapshot_")
                && files.snapshot.as_ref().is_none_or(|(newest, _)| number > *newest)
            {
                files.snapshot = Some((number, path));
            }
        }
        let covered = files.snapshot.as_ref().map_or(0, |(number, _)| *number);
        files.logs.retain(|(number, _)| *number > covered);
        files.logs.sort();
        Ok(files)
    }
}

/// Fails where the metadata of the store at `store`, whose sled files are in `tree`, are not whole.
pub(super) fn check(store: &Path, tree: &Path) -> Result<(), StorageError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |e: io::Error| StorageError::io(&path, &e)
    };
    let mark = Mark::load(store).map_err(|e| StorageError::io(&mark_path(store), &e))?;
    let files = Files::of(tree).map_err(failed(tree))?;
    let damaged = |path: &Path, at: u64| {
        StorageError::damage(path, format!("it is damaged: the frame at byte {at} cannot be read"))
    };
    if let Some((_, path)) = &files.snapshot {
        let bytes = fs::read(path).map_err(failed(path))?;
        if frame(&bytes) != Some(bytes.len()) {
            return Err(damaged(path, 0));
        }
    }
    for (n, (number, path)) in files.logs.iter().enumerate() {
        let bytes = fs::read(path).map_err(failed(path))?;
        let readable = readable(&bytes);
        let needed = match mark {
            _ if n + 1 < files.logs.len() => bytes.len() as u64,
            Some(mark) if mark.log == *number => mark.bytes,
            _ => 0,
        };
        if readable < needed {
            return Err(damaged(path, readable));
        }
    }
    let newest = files.logs.last().map(|(number, _)| *number).or(files.snapshot.as_ref().map(|(number, _)| *number));
    if let Some(mark) = mark
        && newest < Some(mark.log)
    {
        let metadata = tree.join("metadata");
        return Err(StorageError::damage(
            &metadata,
            format!("log {:016x}, which a durable point wrote, is missing", mark.log),
        ));
    }
    Ok(())
}

/// How many bytes from the start are whole frames.
fn readable(bytes: &[u8]) -> u64 {
    let mut at = 0;
    while let Some(length) = bytes.get(at..).and_then(frame) {
        at += length;
    }
    at as u64
}

/// The length of the frame that `bytes` begin with, if it is whole: 6 bytes of length, 2 of its checksum, the content,
/// 4 bytes of checksum over all before.
fn frame(bytes: &[u8]) -> Option<usize> {
    let head: [u8; 8] = bytes.get(..8)?.try_into().ok()?;
    if (crc32fast::hash(&head[..6]) as u16).to_le_bytes() != head[6..] {
        return None;
    }
    let mut length = head;
    length[6..].fill(0);
    let end = usize::try_from(u64::from_le_bytes(length)).ok()?.checked_add(8)?;
    let sum = u32::from_le_bytes(bytes.get(end..end.checked_add(4)?)?.try_into().ok()?);
    (crc32fast::hash(&bytes[..end]) ^ 0xAF == sum).then_some(end + 4)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;

    use super::super::{Batch, Engine, SledConfig, SledEngine};
    use super::*;

    /// A store with three durable points in its metadata log, not closed: as after a crash.
    fn store(dir: &Path) -> (PathBuf, PathBuf) {
        let engine = SledEngine::open(&SledConfig::new(dir)).unwrap();
        for n in 0..3u8 {
            let mut batch = Batch::default();
            batch.put(vec![n], Bytes::from(vec![n; 3000]));
            engine.apply(batch).unwrap();
            engine.durable_point().unwrap();
        }
        // The copy is what a crash leaves.
        let copy = dir.with_extension("copy");
        copy_all(dir, &copy);
        let log = Files::of(&copy.join("tree")).unwrap().logs.pop().unwrap().1;
        (copy, log)
    }

    fn copy_all(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
            let to = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy_all(&entry.path(), &to);
            } else {
                fs::copy(entry.path(), to).unwrap();
            }
        }
    }

    #[test]
    fn what_a_durable_point_wrote_must_be_there_and_what_came_after_may_be_torn() {
        let dir = tempfile::tempdir().unwrap();
        let (store, log) = store(&dir.path().join("store"));
        let tree = store.join("tree");
        check(&store, &tree).unwrap();
        let whole = fs::read(&log).unwrap();

        let unfinished = [&whole[..], &whole[..20]].concat();
        fs::write(&log, unfinished).unwrap();
        check(&store, &tree).unwrap();

        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(&log, flipped).unwrap();
            assert!(check(&store, &tree).is_err(), "byte {at}");
        }
        fs::write(&log, &whole[..whole.len() - 1]).unwrap();
        assert!(check(&store, &tree).is_err());
        fs::remove_file(&log).unwrap();
        assert!(check(&store, &tree).unwrap_err().what.contains("missing"));
        fs::write(&log, &whole).unwrap();
        SledEngine::open(&SledConfig::new(&store)).unwrap();
    }
}

//! The store on disk: sled 1.0 alpha, one tree. Nothing of sled is named outside this folder.
//!
//! - `mod`: the engine, and its handles on the library
//! - `values`, `large`: values read and put together; how large ones are kept apart
//! - [`files`]: whether sled's own files are whole
//! - `failure`: what the library's errors and panics mean
//! - `format`: the mark that says what wrote the store
//!
//! What its source says (1.0.0-alpha.124), and what follows from it here:
//!
//! - `apply_batch` locks every leaf it touches, joins one flush epoch and leaves all of them dirty in that epoch; a
//!   flush writes whole epochs, to fresh slots, syncs them, and then appends one checksummed frame that makes all of
//!   them current. So a batch is atomic for readers, for flushes and for crashes.
//! - With the periodic flusher off, *every* drop of a handle is a flush, that of an iterator too. So the flusher is on
//!   with an interval that never comes; it flushes once, when the last handle goes.
//! - Handles are `Send` and not `Sync`: a small pool of clones, one taken for each call.
//! - A range that has reached its upper bound walks on to the end of the tree before it says so. So scans are left
//!   open at the top and the bound is checked here.
//! - `apply_batch` leaves emptied leaves in place. A compare-and-swap of nothing for nothing merges the leaf it falls
//!   into if that is empty; deletes are followed by one each. Merging locks leaves from right to left and batches
//!   from left to right, so there is one writer at a time.
//! - A flush that failed leaves its epoch open for ever: the next one would hang. So after any failure no handle is
//!   used again, and none is dropped.
//! - A leaf that was written is never taken out of memory again in the life of the store (its `max_unflushed_epoch` is
//!   never cleared), whatever the size of the cache. So after a durable point that follows many bytes the store is
//!   closed and opened again, which takes about a second, nearly all of it closing.
//! - A flush rewrites whole leaves, so large values are kept apart: see `large`.
//! - A frame of its metadata that cannot be read ends them without a word: see [`files`].

mod failure;
pub mod files;
mod format;
mod large;
mod values;

use std::fs;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ::sled::InlineArray;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use self::failure::{kind_of, panicked, without_places};
use self::files::Mark;
use self::large::{Head, Stored};
use self::values::whole;
use super::{Batch, ChunkLimit, Engine, Order, Pair, Result, StorageError, is_empty_range};
use crate::descriptors;

/// Entries in a leaf. A flush rewrites whole leaves, so small ones suit scattered writes; it is fixed for a store.
const LEAF_FANOUT: usize = 256;
/// Longer than any process lives, and short enough for every clock arithmetic.
const NEVER_MS: usize = 1 << 40;
/// Handles kept for later calls; more are made when more threads call at once.
const POOLED_HANDLES: usize = 16;
/// Before the store is closed to be opened again, it is flushed until a flush takes so little, at most so often.
const CALM: Duration = Duration::from_millis(50);
const CALMING_FLUSHES: usize = 4;
type Db = ::sled::Db<LEAF_FANOUT>;
type Tree = ::sled::Tree<LEAF_FANOUT>;

/// How to open a store.
#[derive(Debug, Clone)]
pub struct SledConfig {
    /// The store's directory; made where it is absent.
    pub path: PathBuf,
    /// Memory for leaves that were read, in bytes.
    pub cache_bytes: usize,
    /// Leaves that were written stay in memory beside the cache, until a durable point after so many bytes.
    pub written_bytes: u64,
}

impl SledConfig {
    /// A store at `path` with a cache of 256 MiB, and 256 MiB for what is written.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        SledConfig { path: path.into(), cache_bytes: 256 << 20, written_bytes: 256 << 20 }
    }
}

/// The store on disk.
pub struct SledEngine {
    config: SledConfig,
    /// Shared while a call is in the library, exclusive while the store is opened again. `None` after that failed.
    handles: RwLock<Option<Handles>>,
    /// Held by `apply`: one writer.
    writer: Mutex<()>,
    /// Held by `durable_point`: one flush.
    flusher: Mutex<()>,
    /// Bytes applied since the store was opened.
    written_bytes: AtomicU64,
    /// The number for the next large value.
    next_number: AtomicU64,
    /// Whether there may be a large value; while there is none, a write need not look at what it replaces.
    has_large: AtomicBool,
    failure: RwLock<Option<StorageError>>,
    /// The durable mark on disk.
    mark: Mutex<Option<Mark>>,
}

struct Handles {
    pool: Mutex<Vec<Tree>>,
    /// Makes further handles; in the mutex as it is not `Sync`.
    db: Mutex<Db>,
}

impl SledEngine {
    /// Opens the store, or makes an empty one.
    pub fn open(config: &SledConfig) -> Result<Self> {
        format::check(&config.path)?;
        make_tree(config)?;
        files::check(&config.path, &config.path.join("tree"))?;
        let handles = open_handles(config)?;
        let engine = SledEngine {
            config: config.clone(),
            handles: RwLock::new(Some(handles)),
            writer: Mutex::new(()),
            flusher: Mutex::new(()),
            written_bytes: AtomicU64::new(0),
            next_number: AtomicU64::new(0),
            has_large: AtomicBool::new(false),
            failure: RwLock::new(None),
            mark: Mutex::new(None),
        };
        // The pieces of large values sort last.
        let last = engine.with("last", |tree| tree.last())?;
        if let Some(number) = last.and_then(|(key, _)| large::piece_number(&key)) {
            engine.next_number.store(number + 1, Ordering::Relaxed);
            engine.has_large.store(true, Ordering::Relaxed);
        }
        Ok(engine)
    }

    /// Runs `call` with a handle of its own. After a failure or a panic the engine refuses everything.
    fn with<T>(&self, doing: &str, call: impl FnOnce(&Tree) -> io::Result<T>) -> Result<T> {
        if let Some(failure) = &*self.failure.read() {
            return Err(failure.clone());
        }
        let handles = self.handles.read();
        let Some(handles) = &*handles else {
            return Err(StorageError::new(&self.config.path, "the store is closed"));
        };
        let taken = handles.pool.lock().pop();
        let tree = match taken {
            Some(tree) => tree,
            None => (**handles.db.lock()).clone(),
        };
        let path = &self.config.path;
        let error = match catch_unwind(AssertUnwindSafe(|| call(&tree))) {
            Ok(Ok(value)) => {
                let mut pool = handles.pool.lock();
                if pool.len() < POOLED_HANDLES {
                    pool.push(tree);
                }
                return Ok(value);
            }
            Ok(Err(error)) => {
                StorageError::of_kind(path, kind_of(&error), format!("{doing} failed: {}", without_places(&error)))
            }
            Err(panic) => panicked(path, &format!("sled panicked in {doing}"), &*panic),
        };
        std::mem::forget(tree);
        Err(self.fail(error))
    }

    fn flush(&self) -> Result<()> {
        // It may begin a new file of its metadata, and does not try again.
        descriptors::wait_for_one();
        self.with("flush", |tree| tree.flush().map(drop))
    }

    /// From now on every call fails with the first error.
    fn fail(&self, error: StorageError) -> StorageError {
        self.failure.write().get_or_insert(error).clone()
    }

    /// Closes the store and opens it again, which lets go of the leaves that were written. Everything waits meanwhile.
    fn reopen(&self) -> Result<()> {
        // Closing flushes what came since the last flush. So there should be little of it.
        for _ in 0..CALMING_FLUSHES {
            let began = Instant::now();
            self.flush()?;
            self.write_mark()?;
            if began.elapsed() < CALM {
                break;
            }
        }
        let mut handles = self.handles.write();
        let began = Instant::now();
        drop(handles.take());
        let closed = Instant::now();
        *handles = Some(open_handles(&self.config).map_err(|error| self.fail(error))?);
        self.written_bytes.store(0, Ordering::Relaxed);
        // Closing flushed once more.
        self.write_mark()?;
        drop(handles);
        metrics::histogram!("jettra_store_reopen_seconds", "step" => "close").record(closed - began);
        metrics::histogram!("jettra_store_reopen_seconds", "step" => "open").record(closed.elapsed());
        Ok(())
    }

    /// Writes down what sled's files hold after a flush, so that what goes missing of it is noticed at the next start.
    fn write_mark(&self) -> Result<()> {
        let mut kept = self.mark.lock();
        let write = || -> io::Result<Option<Mark>> {
            let tree = self.config.path.join("tree");
            let mark = Mark::of(&tree)?;
            if let Some(mark) = mark.filter(|_| mark != *kept) {
                mark.store(&self.config.path, &tree)?;
            }
            Ok(mark)
        };
        let written = write();
        let failed = |e: io::Error| StorageError::io(&files::mark_path(&self.config.path), &e);
        *kept = written.map_err(|e| self.fail(failed(e)))?;
        Ok(())
    }

    /// Puts a value into a batch, cut where it is large.
    fn put(&self, writes: &mut ::sled::Batch, key: InlineArray, value: &[u8]) {
        if value.len() <= large::INLINE {
            writes.insert(key, InlineArray::from(large::inline(value)));
            return;
        }
        self.has_large.store(true, Ordering::Relaxed);
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let head = Head { number, length: value.len() as u64 };
        for (key, piece) in head.keys().zip(value.chunks(large::PIECE)) {
            writes.insert(InlineArray::from(key), InlineArray::from(piece));
        }
        writes.insert(key, InlineArray::from(head.encode()));
    }
}

impl Drop for SledEngine {
    fn drop(&mut self) {
        if self.failure.get_mut().is_some() {
            // The last handle's drop flushes, and after a failure that may hang or abort: leave them to the
            // process's end, which is near.
            std::mem::forget(self.handles.get_mut().take());
        }
    }
}

impl Engine for SledEngine {
    fn is_busy(&self) -> bool {
        // Being opened again.
        self.handles.try_read().is_none()
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.with("get", |tree| match tree.get(key)? {
            Some(stored) => whole(tree, key, &stored),
            None => Ok(None),
        })
    }

    fn apply(&self, batch: Batch) -> Result<()> {
        let _one_writer = self.writer.lock();
        self.written_bytes.fetch_add(batch.size() as u64, Ordering::Relaxed);
        self.with("apply", |tree| {
            let replaces_large = self.has_large.load(Ordering::Relaxed);
            let mut deleted = Vec::new();
            let mut writes = ::sled::Batch::default();
            for (key, value) in batch.into_writes() {
                if key.first() == Some(&large::SPACE) {
                    return Err(io::Error::other("a key starts with the byte 255, which is the engine's own"));
                }
                let key = InlineArray::from(key);
                if replaces_large
                    && let Some(Stored::Large(head)) = tree.get(&key)?.and_then(|stored| large::decode(&stored))
                {
                    for piece in head.keys() {
                        deleted.push(InlineArray::from(&*piece));
                        writes.remove(InlineArray::from(piece));
                    }
                }
                match value {
                    Some(value) => self.put(&mut writes, key, &value),
                    None => {
                        deleted.push(key.clone());
                        writes.remove(key);
                    }
                }
            }
            tree.apply_batch(writes)?;
            for key in deleted {
                // Merges the leaf if it is empty now; changes nothing else.
                if tree.compare_and_swap(key, None::<&[u8]>, None::<&[u8]>)?.is_err() {
                    return Err(io::Error::other("a deleted key is still there"));
                }
            }
            Ok(())
        })
    }

    fn chunk(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, order: Order, limit: ChunkLimit) -> Result<Vec<Pair>> {
        let to = match to {
            Bound::Included(key) | Bound::Excluded(key) if *key < [large::SPACE][..] => to,
            _ => Bound::Excluded(&[large::SPACE][..]),
        };
        if is_empty_range(from, to) {
            return Ok(Vec::new());
        }
        self.with("scan", |tree| {
            let mut chunk: Vec<Pair> = Vec::new();
            let mut bytes = 0;
            // Takes a pair and says whether the chunk has room for another.
            let mut take = |(key, stored): (InlineArray, InlineArray)| -> io::Result<bool> {
                if let Some(value) = whole(tree, &key, &stored)? {
                    bytes += key.len() + value.len();
                    chunk.push((Bytes::copy_from_slice(&key), value));
                }
                Ok(chunk.len() < limit.pairs && (bytes < limit.bytes || chunk.is_empty()))
            };
            match order {
                Order::Ascending => {
                    for pair in tree.range::<&[u8], _>((from, Bound::Unbounded)) {
                        let pair = pair?;
                        let within = match to {
                            Bound::Included(to) => &*pair.0 <= to,
                            Bound::Excluded(to) => &*pair.0 < to,
                            Bound::Unbounded => true,
                        };
                        if !within || !take(pair)? {
                            break;
                        }
                    }
                }
                Order::Descending => {
                    for pair in tree.range::<&[u8], _>((from, to)).rev() {
                        if !take(pair?)? {
                            break;
                        }
                    }
                }
            }
            Ok(chunk)
        })
    }

    fn durable_point(&self) -> Result<()> {
        let _one_flush = self.flusher.lock();
        self.flush()?;
        self.write_mark()?;
        if self.written_bytes.load(Ordering::Relaxed) > self.config.written_bytes {
            self.reopen()?;
        }
        Ok(())
    }
}

fn open_handles(config: &SledConfig) -> Result<Handles> {
    let db = open_db(config, "tree")?;
    Ok(Handles { pool: Mutex::new(Vec::new()), db: Mutex::new(db) })
}

/// Makes an empty store's files, where there are none. sled syncs only some of what it makes at first: after a power cut
/// its settings may be an empty file, and its directory of metadata missing together with what it said later. So they are
/// made under another name, and get theirs when they are on disk.
fn make_tree(config: &SledConfig) -> Result<()> {
    let (fresh, tree) = (config.path.join("tree.new"), config.path.join("tree"));
    // With a mark of a durable point there was a tree, and that is gone.
    if tree.exists() || files::mark_path(&config.path).exists() {
        return Ok(());
    }
    let failed = |e: io::Error| StorageError::io(&fresh, &e);
    if fresh.exists() {
        fs::remove_dir_all(&fresh).map_err(failed)?;
    }
    drop(open_db(config, "tree.new")?);
    crate::files::keep_all(&fresh).and_then(|()| crate::files::replace(&fresh, &tree)).map_err(failed)
}

fn open_db(config: &SledConfig, name: &str) -> Result<Db> {
    let path = &config.path;
    let sled_config = ::sled::Config::new()
        .path(path.join(name))
        .cache_capacity_bytes(config.cache_bytes)
        .flush_every_ms(Some(NEVER_MS));
    catch_unwind(|| sled_config.open::<LEAF_FANOUT>())
        .map_err(|panic| panicked(path, "sled panicked while opening", &*panic))?
        .map_err(|error| {
            StorageError::of_kind(path, kind_of(&error), format!("cannot open: {}", without_places(&error)))
        })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_was_half_made_is_made_anew_and_one_that_is_gone_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let config = SledConfig::new(dir.path());
        fs::create_dir_all(dir.path().join("tree.new/slabs")).unwrap();
        fs::write(dir.path().join("tree.new/durability_cookie"), "").unwrap();
        let engine = SledEngine::open(&config).unwrap();
        put(&engine, b"k", vec![1]);
        engine.durable_point().unwrap();
        drop(engine);
        assert!(!dir.path().join("tree.new").exists());
        assert_eq!(SledEngine::open(&config).unwrap().get(b"k").unwrap().unwrap(), vec![1]);
        fs::rename(dir.path().join("tree"), dir.path().join("elsewhere")).unwrap();
        assert!(SledEngine::open(&config).err().unwrap().what.contains("missing"));
        assert!(!dir.path().join("tree").exists());
    }

    fn put(engine: &SledEngine, key: &[u8], value: Vec<u8>) {
        let mut batch = Batch::default();
        batch.put(key.to_vec(), value.into());
        engine.apply(batch).unwrap();
    }

    fn piece_count(engine: &SledEngine) -> usize {
        engine.with("count", |tree| Ok(tree.range::<&[u8], _>(&[large::SPACE][..]..).count())).unwrap()
    }

    #[test]
    fn the_pieces_of_a_large_value_go_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let config = SledConfig::new(dir.path());
        {
            let engine = SledEngine::open(&config).unwrap();
            put(&engine, b"k", vec![1; 8 << 20]);
            assert_eq!(piece_count(&engine), 2048);
        }
        let engine = SledEngine::open(&config).unwrap();
        put(&engine, b"k", vec![2; 5000]);
        put(&engine, b"l", vec![3; 5000]);
        assert_eq!(piece_count(&engine), 4);
        put(&engine, b"k", vec![4; 5]);
        let mut batch = Batch::default();
        batch.delete(b"l".to_vec());
        engine.apply(batch).unwrap();
        assert_eq!(piece_count(&engine), 0);
        assert_eq!(engine.get(b"k").unwrap().unwrap(), vec![4; 5]);
    }

    #[test]
    fn after_a_failure_everything_is_refused_and_closing_does_not_hang() {
        let dir = tempfile::tempdir().unwrap();
        let engine = SledEngine::open(&SledConfig::new(dir.path())).unwrap();
        put(&engine, b"k", vec![1]);
        let error = engine.with::<()>("test", |_| panic!("broken {}", 7)).unwrap_err();
        assert!(error.what.contains("broken 7"), "{error}");
        assert_eq!(engine.get(b"k").unwrap_err(), error);
        assert_eq!(engine.durable_point().unwrap_err(), error);
    }

    #[test]
    fn a_broken_large_value_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let engine = SledEngine::open(&SledConfig::new(dir.path())).unwrap();
        put(&engine, b"k", vec![1; 5000]);
        engine.with("damage", |tree| tree.remove(large::piece_key(0, 1))).unwrap();
        assert!(engine.get(b"k").is_err());
    }
}

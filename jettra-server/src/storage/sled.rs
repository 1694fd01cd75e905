//! The store on disk: sled 1.0 alpha, one tree.
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

use std::fs;
use std::io::Write;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ::sled::InlineArray;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use super::{Batch, ChunkLimit, Engine, EngineStatus, Order, Pair, Result, StorageError, is_empty_range};

/// Entries in a leaf. A flush rewrites whole leaves, so small ones suit scattered writes; it is fixed for a store.
const LEAF_FANOUT: usize = 256;
/// Longer than any process lives, and short enough for every clock arithmetic.
const NEVER_MS: usize = 1 << 40;
/// Handles kept for later calls; more are made when more threads call at once.
const POOLED_HANDLES: usize = 16;
/// Says what wrote the directory; a store made otherwise is refused before it is touched.
const FORMAT: &str = "jettradb documents, format 1, sled 1.0.0-alpha.124, leaf fanout 256\n";

type Db = ::sled::Db<LEAF_FANOUT>;
type Tree = ::sled::Tree<LEAF_FANOUT>;

/// How to open a store.
#[derive(Debug, Clone)]
pub struct SledConfig {
    /// The store's directory; made where it is absent.
    pub path: PathBuf,
    /// Memory for leaves, in bytes.
    pub cache_bytes: usize,
}

impl SledConfig {
    /// A store at `path` with a cache of 256 MiB.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        SledConfig { path: path.into(), cache_bytes: 256 << 20 }
    }
}

/// The store on disk.
pub struct SledEngine {
    path: PathBuf,
    /// Shared while a call is in the library; exclusive never, but to take the handles away after a failure.
    state: RwLock<Handles>,
    /// Held by `apply`: one writer.
    writer: Mutex<()>,
    /// Held by `durable_point`: one flush.
    flusher: Mutex<()>,
    volatile_bytes: AtomicU64,
    failure: RwLock<Option<StorageError>>,
}

struct Handles {
    pool: Mutex<Vec<Tree>>,
    /// Makes further handles; in the mutex as it is not `Sync`.
    db: Mutex<Db>,
}

impl SledEngine {
    /// Opens the store, or makes an empty one.
    pub fn open(config: &SledConfig) -> Result<Self> {
        let path = config.path.clone();
        check_format(&path)?;
        let sled_config = ::sled::Config::new()
            .path(path.join("tree"))
            .cache_capacity_bytes(config.cache_bytes)
            .flush_every_ms(Some(NEVER_MS));
        let db = catch_unwind(|| sled_config.open::<LEAF_FANOUT>())
            .map_err(|panic| StorageError::new(&path, format!("sled panicked while opening: {}", panic_text(&*panic))))?
            .map_err(|error| StorageError::new(&path, format!("cannot open: {error}")))?;
        Ok(SledEngine {
            path,
            state: RwLock::new(Handles { pool: Mutex::new(Vec::new()), db: Mutex::new(db) }),
            writer: Mutex::new(()),
            flusher: Mutex::new(()),
            volatile_bytes: AtomicU64::new(0),
            failure: RwLock::new(None),
        })
    }

    /// Runs `call` with a handle of its own. After a failure or a panic the engine refuses everything.
    fn with<T>(&self, doing: &str, call: impl FnOnce(&Tree) -> std::io::Result<T>) -> Result<T> {
        if let Some(failure) = &*self.failure.read() {
            return Err(failure.clone());
        }
        let handles = self.state.read();
        let taken = handles.pool.lock().pop();
        let tree = match taken {
            Some(tree) => tree,
            None => (**handles.db.lock()).clone(),
        };
        let what = match catch_unwind(AssertUnwindSafe(|| call(&tree))) {
            Ok(Ok(value)) => {
                let mut pool = handles.pool.lock();
                if pool.len() < POOLED_HANDLES {
                    pool.push(tree);
                }
                return Ok(value);
            }
            Ok(Err(error)) => format!("{doing} failed: {error}"),
            Err(panic) => format!("sled panicked in {doing}: {}", panic_text(&*panic)),
        };
        std::mem::forget(tree);
        let error = StorageError::new(&self.path, what);
        self.failure.write().get_or_insert(error.clone());
        Err(error)
    }
}

impl Drop for SledEngine {
    fn drop(&mut self) {
        if self.failure.get_mut().is_some() {
            // The last handle's drop flushes, and after a failure that may hang or abort: leave them to the
            // process's end, which is near.
            let handles = self.state.get_mut();
            for tree in handles.pool.get_mut().drain(..) {
                std::mem::forget(tree);
            }
            std::mem::forget(handles.db.get_mut().clone());
        }
    }
}

impl Engine for SledEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.with("get", |tree| Ok(tree.get(key)?.map(|value| to_bytes(&value))))
    }

    fn apply(&self, batch: Batch) -> Result<()> {
        let _one_writer = self.writer.lock();
        self.volatile_bytes.fetch_add(batch.size() as u64, Ordering::Relaxed);
        self.with("apply", |tree| {
            let mut deleted = Vec::new();
            let mut writes = ::sled::Batch::default();
            for (key, value) in batch.into_writes() {
                match value {
                    Some(value) => writes.insert(InlineArray::from(key), InlineArray::from(&*value)),
                    None => {
                        let key = InlineArray::from(key);
                        deleted.push(key.clone());
                        writes.remove(key);
                    }
                }
            }
            tree.apply_batch(writes)?;
            for key in deleted {
                // Merges the leaf if it is empty now; changes nothing else.
                if tree.compare_and_swap(key, None::<&[u8]>, None::<&[u8]>)?.is_err() {
                    return Err(std::io::Error::other("a deleted key is still there"));
                }
            }
            Ok(())
        })
    }

    fn chunk(&self, from: Bound<&[u8]>, to: Bound<&[u8]>, order: Order, limit: ChunkLimit) -> Result<Vec<Pair>> {
        if is_empty_range(from, to) {
            return Ok(Vec::new());
        }
        self.with("scan", |tree| {
            let mut chunk = Vec::new();
            let mut bytes = 0;
            let mut take = |(key, value): (InlineArray, InlineArray)| {
                bytes += key.len() + value.len();
                chunk.push((to_bytes(&key), to_bytes(&value)));
                chunk.len() < limit.pairs && bytes < limit.bytes
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
                        if !within || !take(pair) {
                            break;
                        }
                    }
                }
                Order::Descending => {
                    for pair in tree.range::<&[u8], _>((from, to)).rev() {
                        if !take(pair?) {
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
        let before = self.volatile_bytes.load(Ordering::Relaxed);
        self.with("flush", |tree| tree.flush())?;
        self.volatile_bytes.fetch_sub(before, Ordering::Relaxed);
        Ok(())
    }

    fn status(&self) -> Result<EngineStatus> {
        let disk_bytes = directory_bytes(&self.path)
            .map_err(|error| StorageError::new(&self.path, format!("cannot measure the directory: {error}")))?;
        Ok(EngineStatus {
            name: "sled",
            path: self.path.clone(),
            disk_bytes,
            volatile_bytes: self.volatile_bytes.load(Ordering::Relaxed),
        })
    }
}

fn to_bytes(value: &InlineArray) -> Bytes {
    Bytes::copy_from_slice(value)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// Writes the format mark of a new store, or refuses one that was made otherwise.
fn check_format(path: &Path) -> Result<()> {
    let mark = path.join("format");
    let failed = |error: std::io::Error| StorageError::new(&mark, error.to_string());
    match fs::read_to_string(&mark) {
        Ok(found) if found == FORMAT => Ok(()),
        Ok(found) => Err(StorageError::new(
            &mark,
            format!("the store was made as {:?} and this version reads {:?}", found.trim_end(), FORMAT.trim_end()),
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if path.join("tree").exists() {
                return Err(StorageError::new(&mark, "the mark of the format is missing"));
            }
            fs::create_dir_all(path).map_err(failed)?;
            let fresh = path.join("format.new");
            let mut file = fs::File::create(&fresh).map_err(failed)?;
            file.write_all(FORMAT.as_bytes()).map_err(failed)?;
            file.sync_all().map_err(failed)?;
            fs::rename(&fresh, &mark).map_err(failed)?;
            fs::File::open(path).and_then(|directory| directory.sync_all()).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

fn directory_bytes(path: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        // A file may go between the listing and the look at it.
        match entry.metadata() {
            Ok(data) if data.is_dir() => bytes += directory_bytes(&entry.path())?,
            Ok(data) => bytes += data.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

//! Where the state lies on disk: one engine in use, swapped as a whole by an installed snapshot.
//!
//! ```text
//! state/CURRENT    the number of the engine in use, replaced at the end of an installation
//! state/7/         an engine
//! state/ARRIVED    the number of an engine that came from another member, and the index it stands at: the log has to be
//!                  fitted to it
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::remedy::Fault;
use crate::sealed;
use crate::state::{Halt, State};
use crate::storage::{Engine, SledConfig, SledEngine, StorageError};

/// The state in use, and where the next one may grow.
pub struct StateStore {
    dir: PathBuf,
    cache_bytes: usize,
    current: RwLock<(u64, State)>,
    /// The index at which a state from another member stands that the log was not fitted to yet.
    arrived: Mutex<Option<u64>>,
    /// One import at a time.
    importing: Arc<Semaphore>,
    /// The last number given to one, which is never given again.
    last: AtomicU64,
    /// What has ended the state machine, if anything.
    fault: OnceLock<Fault>,
    /// Told of it.
    failed: Notify,
}

/// An engine that fills up beside the one in use. What is not put in use is removed.
pub struct Fresh {
    generation: u64,
    path: PathBuf,
    engine: Option<Arc<dyn Engine>>,
    _turn: OwnedSemaphorePermit,
}

/// The name of the note that a state came from another member.
const ARRIVED: &str = "ARRIVED";

impl StateStore {
    /// Opens the state in `dir`, which is made if absent, and makes what it read durable, so that
    /// Raft may purge its log up to there. Blocks.
    ///
    /// # Errors
    /// I/O errors and damage.
    pub fn open(dir: &Path, cache_bytes: usize) -> Result<Self, Halt> {
        std::fs::create_dir_all(dir).and_then(|()| crate::files::keep_name(dir)).map_err(|e| halt(dir, &e))?;
        let generation = existing(dir)?.unwrap_or(1);
        remove_others(dir, generation).map_err(|e| halt(dir, &e))?;
        let store = Self::open_generation(dir, generation, cache_bytes)?;
        if !dir.join("CURRENT").exists() {
            point_to(dir, generation)?;
        }
        Ok(store)
    }

    /// Opens the state in `dir` for a look: nothing beside it is removed, and none is made where there is none. Blocks.
    ///
    /// # Errors
    /// As [`StateStore::open`].
    pub fn look(dir: &Path, cache_bytes: usize) -> Result<Option<Self>, Halt> {
        let Some(generation) = existing(dir)? else { return Ok(None) };
        Self::open_generation(dir, generation, cache_bytes).map(Some)
    }

    fn open_generation(dir: &Path, generation: u64, cache_bytes: usize) -> Result<Self, Halt> {
        let engine =
            SledEngine::open(&SledConfig { cache_bytes, ..SledConfig::new(dir.join(generation.to_string())) })?;
        let state = State::open(Arc::new(engine))?;
        state.durable_point()?;
        let arrived = arrived(dir, generation)?;
        Ok(StateStore {
            dir: dir.to_owned(),
            cache_bytes,
            current: RwLock::new((generation, state)),
            arrived: Mutex::new(arrived),
            importing: Arc::new(Semaphore::new(1)),
            last: AtomicU64::new(generation),
            fault: OnceLock::new(),
            failed: Notify::new(),
        })
    }

    /// The state in use.
    pub fn state(&self) -> State {
        self.current.read().1.clone()
    }

    /// An empty engine beside the one in use. Blocks, also until another import has
    /// ended; for a thread of `spawn_blocking`.
    ///
    /// # Errors
    /// I/O errors.
    pub fn fresh(&self) -> Result<Fresh, Halt> {
        let turn = tokio::runtime::Handle::current().block_on(self.importing.clone().acquire_owned());
        let turn = turn.map_err(|e| Halt::Misuse { what: e.to_string() })?;
        let generation = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let path = self.dir.join(generation.to_string());
        if path.exists() {
            std::fs::remove_dir_all(&path).map_err(|e| halt(&path, &e))?;
        }
        let engine = SledEngine::open(&SledConfig { cache_bytes: self.cache_bytes, ..SledConfig::new(&path) })?;
        Ok(Fresh { generation, path, engine: Some(Arc::new(engine)), _turn: turn })
    }

    /// Puts `state`, which lies whole and durable in `fresh`, in use for good. Blocks.
    ///
    /// # Errors
    /// I/O errors; the old state stays in use then.
    pub fn swap(&self, mut fresh: Fresh, state: State) -> Result<(), Halt> {
        let generation = fresh.generation;
        // So that the old state has nothing left to write when its last user lets go of it.
        self.state().durable_point()?;
        // The log does not know of it yet: whoever opens the two after a crash must know why they do not fit.
        let index = state.applied().index.unwrap_or(0);
        let note = self.dir.join(ARRIVED);
        crate::files::write(&note, sealed::line(&format!("{generation} {index}")).as_bytes())
            .map_err(|e| halt(&note, &e))?;
        point_to(&self.dir, generation)?;
        *self.arrived.lock() = Some(index);
        let (before, old) = std::mem::replace(&mut *self.current.write(), (generation, state));
        drop(old);
        fresh.engine = None;
        fresh.path = PathBuf::new();
        remove_later(self.dir.join(before.to_string()));
        Ok(())
    }

    /// Whether the state came from another member and the log may not fit it yet.
    pub fn has_arrived(&self) -> bool {
        self.arrived.lock().is_some()
    }

    /// Takes the note away that the state came from another member, once the log's first index is `first`, behind where
    /// it stands. Blocks.
    ///
    /// # Errors
    /// I/O errors.
    pub fn settle(&self, first: u64) -> io::Result<()> {
        let mut arrived = self.arrived.lock();
        if arrived.is_none_or(|index| first <= index) {
            return Ok(());
        }
        match std::fs::remove_file(self.dir.join(ARRIVED)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => *arrived = None,
        }
        Ok(())
    }

    /// Keeps why the state machine ends, for the person who is told, and makes it an error for openraft.
    pub(super) fn ending(&self, halt: Halt) -> io::Error {
        self.fault.get_or_init(|| halt.fault());
        self.failed.notify_one();
        io::Error::other(halt)
    }

    /// What has ended the state machine, if anything.
    pub fn fault(&self) -> Option<Fault> {
        self.fault.get().cloned()
    }

    /// Waits until something has ended the state machine; for one who waits.
    pub async fn failed(&self) {
        self.failed.notified().await;
    }

    /// Where the state lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Fresh {
    /// The engine.
    ///
    /// # Errors
    /// Never, while the import goes on.
    pub fn engine(&self) -> Result<Arc<dyn Engine>, Halt> {
        self.engine.clone().ok_or_else(|| Halt::Misuse { what: "the import has ended".to_owned() })
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        self.engine = None;
        if self.path.as_os_str().is_empty() {
            return;
        }
        if let Err(e) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), error = %e, "a broken-off snapshot could not be removed; it goes at the next start");
        }
    }
}

/// Readers, the reclaimer or a durable point may still be at work in the state that was in use.
/// A query may take ten minutes.
const STILL_USED: Duration = Duration::from_secs(15 * 60);

/// Removes what was in use before, once nobody works in it; else it goes at the next start.
fn remove_later(path: PathBuf) {
    std::thread::spawn(move || {
        std::thread::sleep(STILL_USED);
        if let Err(e) = std::fs::remove_dir_all(&path) {
            tracing::warn!(path = %path.display(), error = %e, "the state before the snapshot could not be removed; it goes at the next start");
        }
    });
}

/// The number of the engine that `CURRENT` in `dir` names; `None` where there is no such file.
///
/// # Errors
/// I/O errors; a damaged file; a number under which nothing lies.
pub fn in_use(dir: &Path) -> Result<Option<u64>, Halt> {
    let pointer = dir.join("CURRENT");
    let Some(bytes) = sealed::bytes_of(&pointer).map_err(|e| halt(&pointer, &e))? else { return Ok(None) };
    let number = sealed::read_line(&bytes).and_then(|text| text.parse().ok());
    let generation: u64 = number.ok_or_else(|| halt(&pointer, &sealed::damaged(&pointer)))?;
    if !dir.join(generation.to_string()).is_dir() {
        return Err(
            StorageError::damage(&pointer, format!("it names {generation}, and there is no such directory")).into()
        );
    }
    Ok(Some(generation))
}

/// The index that the note in `dir` tells of `generation`; a note of another one was overtaken.
fn arrived(dir: &Path, generation: u64) -> Result<Option<u64>, Halt> {
    let note = dir.join(ARRIVED);
    let Some(bytes) = sealed::bytes_of(&note).map_err(|e| halt(&note, &e))? else { return Ok(None) };
    let numbers = sealed::read_line(&bytes).and_then(|text| text.split_once(' '));
    let numbers = numbers.and_then(|(of, index)| Some((of.parse::<u64>().ok()?, index.parse::<u64>().ok()?)));
    let (of, index) = numbers.ok_or_else(|| halt(&note, &sealed::damaged(&note)))?;
    Ok((of == generation).then_some(index))
}

/// Makes `generation` the engine in use in `dir`, for good.
pub fn point_to(dir: &Path, generation: u64) -> Result<(), Halt> {
    let pointer = dir.join("CURRENT");
    let line = sealed::line(&generation.to_string());
    crate::files::write(&pointer, line.as_bytes()).map_err(|e| halt(&pointer, &e))
}

/// The number of the engine that is to be used in `dir`; `None` where none was made yet.
fn existing(dir: &Path) -> Result<Option<u64>, Halt> {
    if !dir.is_dir() {
        return Ok(None);
    }
    if let Some(generation) = in_use(dir)? {
        return Ok(Some(generation));
    }
    match generations(dir).map_err(|e| halt(dir, &e))?[..] {
        [] => Ok(None),
        // The first start was cut off before it wrote down which one it is.
        [1] => Ok(dir.join("1").join("format").exists().then_some(1)),
        _ => Err(StorageError::damage(dir, "CURRENT, which names the state in use, is missing").into()),
    }
}

/// The numbers of the engines in `dir`, ascending.
fn generations(dir: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        found.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

/// At the start, when nothing is in use yet.
fn remove_others(dir: &Path, generation: u64) -> io::Result<()> {
    for number in generations(dir)?.into_iter().filter(|n| *n != generation) {
        std::fs::remove_dir_all(dir.join(number.to_string()))?;
    }
    Ok(())
}

fn halt(path: &Path, e: &io::Error) -> Halt {
    StorageError::io(path, e).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_makes_and_removes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        assert!(StateStore::look(&state, 1 << 20).unwrap().is_none());
        assert!(!state.exists());
        std::fs::create_dir_all(state.join("1")).unwrap();
        assert!(StateStore::look(&state, 1 << 20).unwrap().is_none());
        assert_eq!(std::fs::read_dir(state.join("1")).unwrap().count(), 0);

        drop(StateStore::open(&state, 1 << 20).unwrap());
        std::fs::create_dir(state.join("7")).unwrap();
        assert!(StateStore::look(&state, 1 << 20).unwrap().is_some());
        assert!(state.join("7").exists());
        drop(StateStore::open(&state, 1 << 20).unwrap());
        assert!(!state.join("7").exists(), "a start removes what is not in use");
    }
}

//! The state machine: entries in, outcomes out.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use super::apply;
use super::digests::{self, DigestCheck};
use super::halt::Halt;
use super::names::NodeName;
use super::outcome::Outcome;
use super::pins::{Pin, Pins};
use super::reclaim;
use super::scrub::Scrub;
use super::stage::Stage;
use super::view::{META_FORMAT, STATE_FORMAT, View};
use crate::storage::{Batch, ChunkLimit, Engine, Order, keys};

/// The documents of a node: one writer, any number of readers. A clone is the same state.
#[derive(Clone)]
pub struct State(Arc<Inner>);

struct Inner {
    engine: Arc<dyn Engine>,
    /// What readers start from; swapped after each apply, when the engine has it.
    view: RwLock<Arc<View>>,
    /// Held by `apply`, `reclaim` and `pin`: these never overlap.
    writer: Mutex<()>,
    pins: Arc<Pins>,
    /// The digests that the last `digest_check`s asked for, oldest first.
    checks: Mutex<VecDeque<DigestCheck>>,
    /// How far the scrub is; taken after `writer`.
    scrub: Mutex<Scrub>,
}

/// An entry of the Raft log.
#[derive(Debug, Clone)]
pub struct LogEntry<'a> {
    /// Its log index; each follows the one before it.
    pub index: u64,
    /// The caller's log id of it, kept as it is.
    pub position: &'a [u8],
    /// What it holds.
    pub payload: Payload<'a>,
}

/// What a log entry holds.
#[derive(Debug, Clone)]
pub enum Payload<'a> {
    /// Nothing.
    Blank,
    /// A command, as [`Command::encode`](super::Command::encode) writes it.
    Command(&'a Bytes),
    /// A Raft membership.
    Membership {
        /// Its members, by Raft id.
        members: Vec<MemberInfo>,
        /// The caller's form of it, kept as it is.
        raw: &'a [u8],
    },
}

/// A member of a Raft membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberInfo {
    /// Its id in Raft.
    pub raft_id: u64,
    /// Its `NodeID`.
    pub name: NodeName,
    /// Where the others reach it.
    pub url: String,
    /// The id of its data directory.
    pub incarnation: String,
    /// Whether it votes.
    pub voter: bool,
}

/// Up to where the state has applied the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The last index; `None` where nothing was applied.
    pub index: Option<u64>,
    /// The revision of that entry; 0 where nothing was applied.
    pub rev: u64,
    /// The caller's log id of that entry; empty where nothing was applied.
    pub position: Bytes,
    /// The caller's last membership.
    pub membership: Option<Bytes>,
    /// Cluster time, in milliseconds since 1970: the latest that a command has brought.
    pub time_ms: u64,
}

impl State {
    /// Opens the state that `engine` holds, or starts an empty one in an empty engine.
    pub fn open(engine: Arc<dyn Engine>) -> Result<State, Halt> {
        check_format(&*engine)?;
        let view = View::load(&*engine)?;
        Ok(State(Arc::new(Inner {
            engine,
            view: RwLock::new(Arc::new(view)),
            writer: Mutex::new(()),
            pins: Arc::default(),
            checks: Mutex::default(),
            scrub: Mutex::default(),
        })))
    }

    /// Up to where the log has been applied; it may not be durable yet.
    pub fn applied(&self) -> Applied {
        let view = self.view();
        let meta = view.meta.clone();
        let rev = view.rev();
        Applied { index: meta.index, rev, position: meta.position, membership: meta.membership, time_ms: meta.time_ms }
    }

    /// The index in the log of the entry with this revision.
    pub fn index_of(&self, rev: u64) -> u64 {
        rev.saturating_sub(self.view().meta.base)
    }

    /// Cluster time, in milliseconds since 1970: the latest that a command has brought.
    pub fn time_ms(&self) -> u64 {
        self.view().meta.time_ms
    }

    /// Applies entries in order, as one atomic batch, and returns the outcome of each.
    ///
    /// All entries are held in memory until the end: the caller bounds a call to about 1 MiB. After an error nothing of
    /// the call has been applied and the node stops.
    pub fn apply(&self, entries: &[LogEntry<'_>]) -> Result<Vec<Outcome>, Halt> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        self.staged(|stage| {
            let mut outcomes = Vec::with_capacity(entries.len());
            for entry in entries {
                stage.begin(entry.index, entry.position)?;
                outcomes.push(apply::entry(stage, entry.index, &entry.payload)?);
            }
            Ok(outcomes)
        })
    }

    /// Writes what `write` stages as one atomic batch, and nothing after an error.
    pub(super) fn staged<T>(&self, write: impl FnOnce(&mut Stage<'_>) -> Result<T, Halt>) -> Result<T, Halt> {
        let _one_writer = self.0.writer.lock();
        let view = self.view();
        let mut stage = Stage::new(&*self.0.engine, &view, self.0.pins.oldest().is_some());
        stage.scrub.clone_from(&self.0.scrub.lock().tracker);
        let outcome = write(&mut stage)?;
        let (checks, scrub) = (std::mem::take(&mut stage.checks), stage.scrub.take());
        let (batch, view) = stage.finish();
        self.0.engine.apply(batch)?;
        *self.0.view.write() = Arc::new(view);
        self.0.scrub.lock().tracker = scrub;
        let mut kept = self.0.checks.lock();
        kept.extend(checks);
        let surplus = kept.len().saturating_sub(digests::KEPT);
        kept.drain(..surplus);
        Ok(outcome)
    }

    /// Returns after everything applied before the call is on disk: the last index of that, up to which the log may be
    /// purged. It may run beside applies, off their thread.
    pub fn durable_point(&self) -> Result<Option<u64>, Halt> {
        let index = self.view().meta.index;
        self.0.engine.durable_point()?;
        Ok(index)
    }

    /// Deletes at most about `max_keys` keys that nothing needs any more and returns how many; fewer than `max_keys`
    /// means that nothing is left to delete now. Never past the oldest pin.
    pub fn reclaim(&self, max_keys: usize) -> Result<usize, Halt> {
        let _one_writer = self.0.writer.lock();
        let horizon = self.0.pins.oldest().unwrap_or_else(|| self.view().horizon());
        reclaim::reclaim(&*self.0.engine, horizon, max_keys)
    }

    /// Pins the state as it is after the last apply.
    pub fn pin(&self) -> Pin {
        let _between_applies = self.0.writer.lock();
        Pin::new(Arc::clone(&self.0.pins), self.view())
    }

    /// The engine below.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.0.engine
    }

    /// Held, it keeps applies, the reclaimer and new pins waiting.
    pub(super) fn writer(&self) -> parking_lot::MutexGuard<'_, ()> {
        self.0.writer.lock()
    }

    pub(super) fn kept_checks(&self) -> &Mutex<VecDeque<DigestCheck>> {
        &self.0.checks
    }

    pub(super) fn scrubbing(&self) -> &Mutex<Scrub> {
        &self.0.scrub
    }

    pub(super) fn view(&self) -> Arc<View> {
        Arc::clone(&self.0.view.read())
    }
}

/// Marks an empty store as ours, or refuses one that is not.
fn check_format(engine: &dyn Engine) -> Result<(), Halt> {
    use std::ops::Bound::Unbounded;
    let key = keys::meta(META_FORMAT);
    match engine.get(&key)? {
        Some(format) if format == STATE_FORMAT => Ok(()),
        Some(format) => Err(Halt::Level {
            what: format!(
                "the store has the format {:?} and this version reads {:?}: start the version that wrote it",
                String::from_utf8_lossy(&format),
                String::from_utf8_lossy(STATE_FORMAT)
            ),
        }),
        None if engine.chunk(Unbounded, Unbounded, Order::Ascending, ChunkLimit::ONE)?.is_empty() => {
            let mut batch = Batch::default();
            batch.put(key, Bytes::from_static(STATE_FORMAT));
            engine.apply(batch)?;
            Ok(engine.durable_point()?)
        }
        None => Err(Halt::damage("the store does not say its format")),
    }
}

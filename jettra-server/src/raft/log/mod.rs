//! The Raft log on disk: the crate `raft-log` (append-only chunks, a CRC per record, one writer
//! thread that shares an fsync among all that wait). openraft's traits over it are in `raft/log_storage.rs`.
//!
//! What is kept here besides: the newest entries in memory, so that replication and apply read no
//! file; how far the log is on disk, which `apply` waits for; and the [`mark`] that tells a torn
//! tail from damage.

mod check;
mod chunks;
mod codec;
mod entry;
mod fsyncs;
mod group;
mod mark;
mod recent;
mod survey;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use raft_log::api::raft_log_writer::RaftLogWriter;
use raft_log::{RaftLog, Segment};
use tokio::sync::{Notify, oneshot, watch};

use self::chunks::Chunks;
use self::codec::{StoredLogId, StoredPayload, StoredVote};
pub use self::entry::Member;
pub(super) use self::entry::{Entry, LeaderId, LogId, Proposal, Vote};
pub use self::fsyncs::FsyncTimes;
use self::fsyncs::Fsyncs;
pub(super) use self::group::Done;
use self::group::{Asked, Flushed, Waiting, Writer};
use self::mark::Mark;
pub use self::mark::is_whole as mark_is_whole;
use self::recent::Recent;
pub use self::survey::{Position, Survey};
pub(super) use self::survey::{ends_and, entries_from};
use crate::planted::{self, Bug};
use crate::remedy::Fault;

/// A chunk is closed at this size; purging frees whole chunks.
const CHUNK_BYTES: usize = 32 << 20;
/// Entries read from disk in one go, while appends wait.
const READ_ENTRIES: u64 = 64;

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct LogTypes;

impl raft_log::Types for LogTypes {
    type LogId = StoredLogId;
    type LogPayload = StoredPayload;
    type Vote = StoredVote;
    type Callback = Flushed;
    type UserData = ();

    fn log_index(log_id: &StoredLogId) -> u64 {
        log_id.0.index
    }

    fn payload_size(payload: &StoredPayload) -> u64 {
        payload.size() as u64
    }
}

/// The log of one node. Clones share it.
#[derive(Clone)]
pub struct LogStore {
    shared: Arc<Shared>,
}

/// Where the mark of the log in `dir` lies.
pub fn mark_path(dir: &Path) -> PathBuf {
    dir.with_extension("acked")
}

/// How far the log is on disk.
#[derive(Debug, Clone, Copy)]
struct Durable {
    last: Option<LogId>,
    /// How often the log was cut: a flush counts only in the epoch that it was asked for.
    epoch: u64,
}

struct Shared {
    writer: Mutex<Writer>,
    recent: Mutex<Recent>,
    /// The last entry known to be on disk; lowered when the log is cut.
    durable: watch::Sender<Durable>,
    mark: Mutex<Mark>,
    fsyncs: Fsyncs,
    chunks: Chunks,
    dir: PathBuf,
    /// The first error of a write, which ends raft.
    fault: OnceLock<Fault>,
    /// The first error of a read: openraft knows whether it ends by that.
    unread: OnceLock<Fault>,
    /// Told of it.
    failed: Notify,
    /// The next flush that is done panics.
    #[cfg(test)]
    dies: std::sync::atomic::AtomicBool,
}

impl Shared {
    /// Keeps what failed, for the person who is told why the node has ended.
    fn note<T>(&self, done: io::Result<T>) -> io::Result<T> {
        if let Err(e) = &done {
            self.fault.get_or_init(|| Fault::io(format_args!("the raft log in {}", self.dir.display()), e));
            self.failed.notify_one();
        }
        done
    }
}

#[cfg(test)]
impl Shared {
    fn dies_once(&self) {
        assert!(!self.dies.swap(false, std::sync::atomic::Ordering::SeqCst), "a bug");
    }
}

#[cfg(test)]
impl LogStore {
    /// The writer dies at the end of its next flush.
    pub fn die(&self) {
        self.shared.dies.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

impl LogStore {
    /// Opens the log in `dir`, which is made if absent. Blocks.
    ///
    /// # Errors
    /// I/O errors; and damage to entries that were acknowledged, which is left as it is: the
    /// message names the directory and the index.
    pub fn open(dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mark = Mark::open(&mark_path(dir))?;
        // The directory's own name, and that of the mark beside it.
        crate::files::keep_name(dir)?;
        if !check::last_file_begins_whole(dir)?
            && let Some(found) = check::walk(dir, |_, _| {})?.damage()
        {
            return Err(damaged(&found, mark.get()));
        }
        let log = match open_unlocked(dir) {
            Ok(log) => log,
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::AddrInUse) => return Err(e),
            Err(e) => {
                // Something at the end cannot be read. It may be cut off only if all that was
                // acknowledged stands before it.
                let survey = Survey::of(dir, false)?;
                if let Some(found) = survey.end.damage() {
                    return Err(damaged(&found, mark.get()));
                }
                if survey.last() < mark.get() {
                    let found = format!("{}: {e}, and it can be read up to {}", dir.display(), show(survey.last()));
                    return Err(damaged(&found, mark.get()));
                }
                tracing::warn!(dir = %dir.display(), error = %e, "the log's last record is incomplete: nobody was told of it, cutting it off");
                if let check::End::Torn { path, at } = &survey.end {
                    let file = File::options().write(true).open(path)?;
                    file.set_len(*at)?;
                    file.sync_all()?;
                }
                RaftLog::open(config(dir, true)).map_err(|e| damaged(&format!("{}: {e}", dir.display()), mark.get()))?
            }
        };
        // What this process can read may still be in the page cache only.
        for file in std::fs::read_dir(dir)? {
            let file = file?;
            if file.file_type()?.is_file() {
                File::open(file.path())?.sync_all()?;
            }
        }
        File::open(dir)?.sync_all()?;
        let last = last_of(&log);
        if last < mark.get() {
            return Err(damaged(&format!("{} ends at {}", dir.display(), show(last)), mark.get()));
        }
        Ok(LogStore {
            shared: Arc::new(Shared {
                writer: Mutex::new(Writer::new(log)),
                recent: Mutex::new(Recent::default()),
                durable: watch::Sender::new(Durable { last, epoch: 0 }),
                mark: Mutex::new(mark),
                fsyncs: Fsyncs::default(),
                chunks: Chunks::default(),
                dir: dir.to_owned(),
                fault: OnceLock::new(),
                unread: OnceLock::new(),
                failed: Notify::new(),
                #[cfg(test)]
                dies: Default::default(),
            }),
        })
    }

    /// Waits until the log is on disk through `index`.
    pub async fn durable_through(&self, index: u64) -> io::Result<()> {
        let mut durable = self.shared.durable.subscribe();
        let reached = durable.wait_for(|durable| durable.last.is_some_and(|id| id.index >= index)).await;
        reached.map(drop).map_err(|_| io::Error::other("the log is closed"))
    }

    /// What has ended the log, if anything.
    pub fn fault(&self) -> Option<Fault> {
        self.shared.fault.get().cloned()
    }

    /// What could not be read, if anything.
    pub fn unread(&self) -> Option<Fault> {
        self.shared.unread.get().cloned()
    }

    /// Waits until something has ended the log; for one who waits.
    pub async fn failed(&self) {
        self.shared.failed.notified().await;
    }

    /// Records how far the log is on disk in the mark. Blocks; called each second.
    pub fn write_mark(&self) -> io::Result<()> {
        let mut mark = self.shared.mark.lock();
        // Read under the lock, so that a cut of the log cannot come between.
        let durable = self.shared.durable.borrow().last;
        if durable > mark.get() { mark.set(durable) } else { Ok(()) }
    }

    /// How long the last minute's fsyncs took.
    pub fn fsyncs(&self) -> FsyncTimes {
        self.shared.fsyncs.last_minute()
    }

    /// Bytes the log takes on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.shared.writer.lock().log.on_disk_size()
    }

    /// Index of the first entry kept and of the one behind the last.
    pub fn bounds(&self) -> (u64, u64) {
        let writer = self.shared.writer.lock();
        let state = writer.log.log_state();
        let next = |id: Option<&StoredLogId>| id.map_or(0, |id| id.0.index + 1);
        (next(state.purged()), next(state.last()))
    }

    /// Whether the log holds nothing at all, not even a vote.
    pub fn is_pristine(&self) -> bool {
        let writer = self.shared.writer.lock();
        let state = writer.log.log_state();
        state.last().is_none() && state.vote().is_none() && state.purged().is_none()
    }

    /// The vote last saved.
    pub(super) fn vote(&self) -> Option<Vote> {
        self.shared.writer.lock().log.log_state().vote().map(|v| v.0)
    }

    /// Up to where entries were purged, and the last one: a purged one where no other is left.
    pub(super) fn ends(&self) -> (Option<LogId>, Option<LogId>) {
        let log = &self.shared.writer.lock().log;
        (log.log_state().purged().map(|id| id.0), last_of(log))
    }

    /// Up to where entries are known to be committed.
    pub(super) fn committed(&self) -> Option<LogId> {
        self.shared.writer.lock().log.log_state().committed().map(|id| id.0)
    }

    /// Saves a vote, and returns when it is on disk.
    ///
    /// # Errors
    /// I/O errors, which end the log.
    pub(super) async fn save_vote(&self, vote: Vote) -> io::Result<()> {
        if planted::has(Bug::ForgetAVote) {
            return Ok(());
        }
        self.synced(|log| log.save_vote(StoredVote(vote))).await
    }

    /// Notes that entries are committed. It is on disk with the next append.
    ///
    /// # Errors
    /// I/O errors, which end the log.
    pub(super) fn save_committed(&self, committed: LogId) -> io::Result<()> {
        let log = &mut self.shared.writer.lock().log;
        let known = log.log_state();
        // Behind an installed snapshot the commit can be ahead of what the log holds: not worth keeping.
        let is_ahead = last_of(log) < Some(committed) || known.committed() >= Some(&StoredLogId(committed));
        if is_ahead || self.shared.chunks.are_awaited() {
            return Ok(());
        }
        // No flush of its own: the next append takes it along.
        self.shared.note(self.shared.chunks.write(log, |log| log.commit(StoredLogId(committed))))
    }

    /// Appends entries; `done` is told when they are on disk, or that they will not be.
    ///
    /// # Errors
    /// I/O errors, which end the log. `done` is then not told.
    pub(super) async fn append(&self, entries: Vec<Entry>, done: Done) -> io::Result<()> {
        let Some(last) = entries.last().map(|e| e.log_id) else {
            done(Ok(()));
            return Ok(());
        };
        let asked = Instant::now();
        let mut left = entries.iter();
        loop {
            self.shared.note(self.shared.chunks.ready(&self.shared.dir).await)?;
            let mut writer = self.shared.writer.lock();
            self.shared.note(self.append_some(&mut writer.log, &mut left))?;
            if left.len() == 0 {
                self.shared.recent.lock().push(entries);
                let epoch = self.shared.durable.borrow().epoch;
                let waiting = Waiting { done, last, epoch, asked };
                if planted::has(Bug::AcknowledgeBeforeFlush) {
                    drop(writer);
                    group::tell(vec![waiting], &self.shared, &Ok(()));
                    return Ok(());
                }
                return self.shared.note(writer.commit(waiting, &Arc::downgrade(&self.shared)));
            }
        }
    }

    /// Appends what is `left` to the log, or as much until it has to wait for a new chunk.
    fn append_some(&self, log: &mut RaftLog<LogTypes>, left: &mut std::slice::Iter<'_, Entry>) -> io::Result<()> {
        while !self.shared.chunks.are_awaited()
            && let Some(entry) = left.next()
        {
            let record = (StoredLogId(entry.log_id), StoredPayload(entry.payload.clone()));
            self.shared.chunks.write(log, |log| log.append([record]))?;
        }
        Ok(())
    }

    /// Cuts off what is behind `last`, and returns when that is on disk.
    ///
    /// # Errors
    /// I/O errors, which end the log.
    pub(super) async fn truncate_after(&self, last: Option<LogId>) -> io::Result<()> {
        let shared = self.shared.clone();
        let marked = tokio::task::spawn_blocking(move || {
            let mut mark = shared.mark.lock();
            shared.durable.send_modify(|durable| {
                // Flushes that are still on their way speak of the log before the cut.
                durable.epoch += 1;
                durable.last = durable.last.min(last);
            });
            if mark.get() > last { mark.set(last) } else { Ok(()) }
        });
        self.shared.note(marked.await.map_err(io::Error::other)?)?;
        let (first, end) = self.bounds();
        let next = last.map_or(0, |id| id.index + 1).max(first);
        if next >= end {
            return Ok(());
        }
        self.shared.recent.lock().cut(next);
        tracing::info!(dir = %self.shared.dir.display(), next, "cutting off log entries that conflict with the leader's");
        self.synced(|log| log.truncate(next)).await?;
        // The sync took all before the cut along.
        self.shared.durable.send_modify(|durable| durable.last = durable.last.max(last));
        Ok(())
    }

    /// Lets go of the entries up to `upto`, and returns when that is on disk.
    ///
    /// # Errors
    /// I/O errors, which end the log.
    pub(super) async fn purge(&self, upto: LogId) -> io::Result<()> {
        self.shared.recent.lock().forget(upto.index);
        self.shared.note(self.shared.chunks.ready_for_removal(&self.shared.dir).await)?;
        self.synced(|log| log.purge(StoredLogId(upto))).await?;
        // A snapshot stands for the entries that it covers. Only now, since the mark follows.
        self.shared.durable.send_if_modified(|durable| {
            let raised = durable.last < Some(upto);
            durable.last = durable.last.max(Some(upto));
            raised
        });
        Ok(())
    }

    async fn synced(&self, write: impl FnOnce(&mut RaftLog<LogTypes>) -> io::Result<Segment>) -> io::Result<()> {
        let (tx, rx) = oneshot::channel();
        self.shared.note(self.shared.chunks.ready(&self.shared.dir).await)?;
        let asked = {
            let mut writer = self.shared.writer.lock();
            self.shared.chunks.write(&mut writer.log, write).and_then(|()| writer.flush(Asked::Wake(tx)))
        };
        self.shared.note(asked)?;
        let stopped = |_| Err(io::Error::other("the log's writer has stopped"));
        self.shared.note(rx.await.unwrap_or_else(stopped))
    }

    /// The log id of the entry at `index`; `None` where the log has none.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) async fn id_at(&self, index: u64) -> io::Result<Option<LogId>> {
        let (first, next) = self.bounds();
        if index < first || index >= next {
            return Ok(None);
        }
        Ok(self.read(index, index + 1, usize::MAX).await?.first().map(|entry| entry.log_id))
    }

    /// Entries from `start` on, up to `end` (not included), at most about `max_bytes` and at least one.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) async fn read(&self, start: u64, end: u64, max_bytes: usize) -> io::Result<Vec<Entry>> {
        if let Some(entries) = self.shared.recent.lock().read(start, end, max_bytes) {
            return Ok(entries);
        }
        let shared = self.shared.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut entries = Vec::new();
            let mut bytes = 0;
            // In pieces: appends wait while the log is read.
            let mut from = start;
            while from < end {
                let log = &shared.writer.lock().log;
                let to = end.min(from + READ_ENTRIES);
                for found in log.read(from, to) {
                    let (id, payload) = found?;
                    bytes += payload.size();
                    if bytes > max_bytes && !entries.is_empty() {
                        return Ok(entries);
                    }
                    entries.push(Entry { log_id: id.0, payload: payload.0 });
                }
                from = to;
            }
            Ok(entries)
        })
        .await;
        let read = read.map_err(io::Error::other)?;
        if let Err(e) = &read {
            let what = format_args!("the raft log in {} cannot be read", self.shared.dir.display());
            self.shared.unread.get_or_init(|| Fault::io(what, e));
        }
        read
    }
}

/// The thread that wrote last may still be letting go of the log that was open here before.
fn open_unlocked(dir: &Path) -> io::Result<RaftLog<LogTypes>> {
    for _ in 0..100 {
        match RaftLog::open(config(dir, false)) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(20)),
            opened => return opened,
        }
    }
    RaftLog::open(config(dir, false))
}

fn config(dir: &Path, cut_torn_tail: bool) -> Arc<raft_log::Config> {
    let mut config = raft_log::Config::new(dir.display());
    config.wal.chunk_max_size = Some(CHUNK_BYTES);
    config.wal.read_buffer_size = Some(1 << 20);
    config.wal.truncate_incomplete_record = Some(cut_torn_tail);
    // `group` gathers company instead.
    config.wal.flush_batch_wait = Some(Duration::ZERO);
    // Raft bounds what is under way; a writer thread that waited for its own queue would wait for ever.
    config.wal.flush_queue_max_bytes = Some(usize::MAX / 2);
    // Payloads are shared with `Recent`; what is older is read from the file.
    config.log_cache_capacity = Some(1 << 20);
    Arc::new(config)
}

fn last_of(log: &RaftLog<LogTypes>) -> Option<LogId> {
    let state = log.log_state();
    state.last().max(state.purged()).map(|id| id.0)
}

fn show(id: Option<LogId>) -> String {
    id.map_or_else(|| "nothing".to_owned(), |id| format!("index {}", id.index))
}

fn damaged(found: &str, acked: Option<LogId>) -> io::Error {
    let promised = acked.map_or_else(String::new, |id| format!("; entries up to index {} were acknowledged", id.index));
    let what = format!("the raft log is damaged: {found}{promised}; nothing was changed");
    io::Error::new(io::ErrorKind::InvalidData, what)
}

//! Group commit: appends that arrive while an fsync is under way share the next one.
//!
//! The crate's writer thread syncs once a request. So one request is kept under way at a time: its
//! end takes along all that came meanwhile. Waiting a fixed time for company instead costs a lone
//! client more than it gives many (measured: 1 ms of waiting makes 785 appends/s of 5 300).

use std::io;
use std::sync::{Arc, Weak};
use std::time::Instant;

use raft_log::RaftLog;
use raft_log::api::raft_log_writer::RaftLogWriter;
use tokio::sync::oneshot;

use super::entry::LogId;
use super::{LogTypes, Shared};
use crate::lasting::Unless;

/// Told, once, whether what was appended is on disk.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// An append that waits to be on disk.
pub struct Waiting {
    /// Whom to tell.
    pub done: Done,
    /// Its last entry.
    pub last: LogId,
    /// The log's epoch when it was appended.
    pub epoch: u64,
    /// Since when.
    pub asked: Instant,
}

/// The log, and the appends behind the fsync that is under way.
pub struct Writer {
    /// The log itself.
    pub log: RaftLog<LogTypes>,
    waiting: Vec<Waiting>,
    under_way: bool,
}

impl Writer {
    /// A writer of `log` with nothing under way.
    pub fn new(log: RaftLog<LogTypes>) -> Self {
        Writer { log, waiting: Vec::new(), under_way: false }
    }

    /// Sees to it that what `log` was given is synced and `waiting` told.
    ///
    /// # Errors
    /// When the log's writer thread has ended.
    pub fn commit(&mut self, waiting: Waiting, shared: &Weak<Shared>) -> io::Result<()> {
        self.waiting.push(waiting);
        if self.under_way {
            return Ok(());
        }
        self.start(shared)
    }

    fn start(&mut self, shared: &Weak<Shared>) -> io::Result<()> {
        self.under_way = true;
        let group = std::mem::take(&mut self.waiting);
        metrics::histogram!("jettra_log_group_appends").record(group.len() as f64);
        self.flush(Asked::Group { group, shared: shared.clone(), started: Instant::now() })
    }

    /// Has everything so far synced, and `asked` told.
    ///
    /// # Errors
    /// When the log's writer thread has ended: why.
    pub fn flush(&mut self, asked: Asked) -> io::Result<()> {
        self.log.flush(true, Some(asked.into())).map_err(|e| self.why_stopped().unwrap_or(e))
    }

    /// Why the log's writer thread has ended. Waits for its end, so it is not to be asked while that thread goes on, nor
    /// on it: there no flush is refused.
    fn why_stopped(&self) -> Option<io::Error> {
        let why = self.log.wait_worker_idle().err()?;
        Some(io::Error::other(format!("the log's writer has stopped: {why}")))
    }
}

/// Runs on the log's writer thread once a flush is on disk, or has failed. Where that thread dies before, it is dropped,
/// and those who wait are told so.
pub struct Flushed(Option<Asked>);

/// Who waits for a flush.
pub enum Asked {
    /// A group of appends.
    Group {
        /// Who waits.
        group: Vec<Waiting>,
        /// Where the next group waits. Weak, since the writer thread must not be the one that ends the log.
        shared: Weak<Shared>,
        /// When the flush was asked for.
        started: Instant,
    },
    /// Anything else.
    Wake(oneshot::Sender<io::Result<()>>),
}

impl From<Asked> for Flushed {
    fn from(asked: Asked) -> Self {
        Flushed(Some(asked))
    }
}

impl raft_log::Callback for Flushed {
    fn send(mut self, result: io::Result<()>) {
        if let Some(asked) = self.0.take() {
            asked.answer(result);
        }
    }
}

impl Drop for Flushed {
    fn drop(&mut self) {
        let Some(asked) = self.0.take() else { return };
        // The thread that drops this may hold a lock that the answer needs, so another thread answers.
        let answer = move || {
            let why = asked.why_stopped().unwrap_or_else(|| io::Error::other("the log's writer has stopped"));
            asked.answer(Err(why));
        };
        if let Err(e) = std::thread::Builder::new().spawn(answer) {
            tracing::error!(error = %e, "those who wait for the log could not be told that it has stopped");
        }
    }
}

impl Asked {
    fn why_stopped(&self) -> Option<io::Error> {
        let Asked::Group { shared, .. } = self else { return None };
        shared.upgrade()?.writer.lock().why_stopped()
    }

    fn answer(self, result: io::Result<()>) {
        let (group, shared, started) = match self {
            Asked::Group { group, shared, started } => (group, shared, started),
            Asked::Wake(waiter) => {
                // A waiter that went away has nothing to be told.
                waiter.send(result).ok();
                return;
            }
        };
        // Where this dies, the log ends, and with it all who wait for the next flush.
        let left = shared.clone();
        let ended = Unless::new(move || {
            if let Some(shared) = left.upgrade() {
                give_up(&shared);
            }
        });
        metrics::histogram!("jettra_log_fsync_seconds").record(started.elapsed().as_secs_f64());
        let Some(shared) = shared.upgrade() else { return };
        shared.fsyncs.record(started.elapsed());
        let result = shared.note(result);
        #[cfg(test)]
        shared.dies_once();
        tell(group, &shared, &result);
        let mut writer = shared.writer.lock();
        writer.under_way = false;
        let failed = match result {
            Ok(()) if writer.waiting.is_empty() => None,
            Ok(()) => shared.note(writer.start(&Arc::downgrade(&shared))).err(),
            Err(e) => Some(e),
        };
        if let Some(e) = failed {
            let left = std::mem::take(&mut writer.waiting);
            drop(writer);
            tell(left, &shared, &Err(e));
        } else {
            drop(writer);
        }
        // The last owner ends the log, which waits for this very thread: another one has to do it.
        ended.done();
        if let Some(last) = Arc::into_inner(shared) {
            std::thread::spawn(move || drop(last));
        }
    }
}

/// The writer is gone: tells all who wait for it.
fn give_up(shared: &Shared) {
    let gone = || io::Error::other("the log's writer has stopped");
    drop(shared.note(Err::<(), _>(gone())));
    let left = {
        let mut writer = shared.writer.lock();
        writer.under_way = false;
        std::mem::take(&mut writer.waiting)
    };
    tell(left, shared, &Err(gone()));
}

pub(super) fn tell(group: Vec<Waiting>, shared: &Shared, result: &io::Result<()>) {
    if let (Ok(()), Some(last)) = (result, group.last()) {
        shared.durable.send_if_modified(|durable| {
            let holds = durable.epoch == last.epoch && durable.last < Some(last.last);
            if holds {
                durable.last = Some(last.last);
            }
            holds
        });
    }
    for Waiting { done, asked, .. } in group {
        metrics::histogram!("jettra_log_append_seconds").record(asked.elapsed().as_secs_f64());
        done(result.as_ref().copied().map_err(|e| io::Error::new(e.kind(), e.to_string())));
    }
}

//! openraft's storage traits over our log.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use futures_util::{Stream, stream};
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};

use super::log::{Entry, LogId, LogStore, Vote};
use super::types::TypeConfig;

/// Bytes that one read for replication returns at most, unless a single entry is larger.
const REPLICATION_BYTES: usize = 4 << 20;
/// Bytes that one read for `apply` returns at most, unless a single entry is larger.
const APPLY_BYTES: usize = 1 << 20;

/// The log, for openraft.
#[derive(Clone)]
pub struct LogStorage(pub LogStore);

impl LogStorage {
    fn clamp(&self, range: &impl RangeBounds<u64>) -> (u64, u64) {
        let (first, next) = self.0.bounds();
        let start = match range.start_bound() {
            Bound::Included(i) => *i,
            Bound::Excluded(i) => i + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(i) => i + 1,
            Bound::Excluded(i) => *i,
            Bound::Unbounded => next,
        };
        (start.max(first), end.min(next))
    }
}

impl RaftLogReader<TypeConfig> for LogStorage {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let (start, end) = self.clamp(&range);
        self.0.read(start, end, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.0.read(start, end, REPLICATION_BYTES).await
    }

    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = self.clamp(&range);
        let pieces = stream::unfold((self.clone(), start), move |(log, at)| async move {
            if at >= end {
                return None;
            }
            match log.0.read(at, end, APPLY_BYTES).await {
                Ok(entries) if entries.is_empty() => None,
                Ok(entries) => {
                    let next = at + entries.len() as u64;
                    Some((entries.into_iter().map(Ok).collect::<Vec<_>>(), (log, next)))
                }
                Err(e) => Some((vec![Err(e)], (log, end))),
            }
        });
        Box::pin(futures_util::StreamExt::flat_map(pieces, stream::iter))
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.0.vote())
    }
}

impl RaftLogStorage<TypeConfig> for LogStorage {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let (last_purged_log_id, last_log_id) = self.0.ends();
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.0.save_vote(*vote).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        committed.map_or(Ok(()), |committed| self.0.save_committed(committed))
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.0.committed())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.0.append(entries.into_iter().collect(), Box::new(|written| callback.io_completed(written))).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.0.truncate_after(last).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.0.purge(upto).await
    }
}

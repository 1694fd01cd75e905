//! A whole state from another member, for a node that has its log but not its state.
//!
//! The records travel as in a snapshot. What the state stands at is one of them, so there is no head.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::RaftLogReader;
use openraft::storage::RaftLogStorage;
use tokio::sync::mpsc;

use super::log::LogStore;
use super::machine::log_id;
use super::snapshot::{self, Reader};
use super::store::{Fresh, StateStore};
use crate::peers::Key;
use crate::state::{Importer, Pin, State};

/// A side that does nothing for so long is given up.
const IDLE: Duration = Duration::from_secs(30);

/// The pinned state as a stream of checksummed chunks.
pub fn stream(
    state: State,
    pin: Pin,
    key: Key,
    sequence: u64,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send {
    let (sender, receiver) = mpsc::channel::<Bytes>(4);
    tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Handle::current();
        let send = |bytes: Bytes| {
            let idle = async { tokio::time::timeout(IDLE, sender.send(bytes)).await };
            matches!(runtime.block_on(idle), Ok(Ok(())))
        };
        if let Err(e) = snapshot::write(&state, &pin, &key, sequence, send) {
            // The stream ends without its end mark, so the other side throws it away.
            tracing::error!(error = %e, "reading the state for another member failed");
        }
    });
    futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|chunk| (Ok(chunk), receiver))
    })
}

/// Receives a state whole beside the one in use, and puts it in use if it stands at `at_least` or behind it.
///
/// # Errors
/// A stream that breaks off or is damaged, a state that is too old, I/O errors: the state in use is untouched then.
pub async fn receive<S, E>(
    store: Arc<StateStore>,
    mut body: S,
    key: Key,
    sequence: u64,
    at_least: u64,
) -> Result<(), String>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::fmt::Display,
{
    let (pieces, mut incoming) = mpsc::channel::<Bytes>(8);
    let target = store.clone();
    let import = tokio::task::spawn_blocking(move || -> Result<(Fresh, State), String> {
        let fresh = target.fresh().map_err(|e| e.to_string())?;
        let engine = fresh.engine().map_err(|e| e.to_string())?;
        let mut importer = Importer::new(engine.clone()).map_err(|e| e.to_string())?;
        let mut reader = Reader::default();
        while let Some(piece) = incoming.blocking_recv() {
            reader.push(&piece);
            reader.import(&key, sequence, &mut importer)?;
        }
        if !reader.is_complete() {
            return Err("the state broke off".to_owned());
        }
        importer.finish().map_err(|e| e.to_string())?;
        Ok((fresh, State::open(engine).map_err(|e| e.to_string())?))
    });
    loop {
        let piece =
            tokio::time::timeout(IDLE, body.next()).await.map_err(|_| "the state stopped for 30 s".to_owned())?;
        let Some(piece) = piece else { break };
        if pieces.send(piece.map_err(|e| format!("the state broke off: {e}"))?).await.is_err() {
            break; // the importer ended early and says why
        }
    }
    drop(pieces);
    let (fresh, state) = import.await.map_err(|e| e.to_string())??;
    if state.applied().index.is_none_or(|index| index < at_least) {
        return Err(format!("it stands at {:?}, and this node's log goes on from {at_least}", state.applied().index));
    }
    let swapped = tokio::task::spawn_blocking(move || store.swap(fresh, state)).await;
    swapped.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
}

/// Lets go of what the log holds in the place of entries that the state has applied otherwise, or has gone beyond.
///
/// What the state has applied is committed. So where the log has another entry at the same index, or ends before it,
/// everything behind what it knows to be committed is either in the state or was given up by the cluster.
///
/// # Errors
/// I/O errors.
pub async fn fit_log(log: &LogStore, state: &State) -> std::io::Result<()> {
    let mut log = log.clone();
    let Some(at) = log_id(&state.applied().position)? else { return Ok(()) };
    if at.index < log.bounds().0 {
        return Ok(());
    }
    let there = log.try_get_log_entries(at.index..=at.index).await?;
    if there.first().is_some_and(|entry| entry.log_id == at) {
        return Ok(());
    }
    let known = log.get_log_state().await?.last_purged_log_id.max(log.read_committed().await?);
    tracing::info!(at = at.index, known = known.map(|id| id.index), "the log goes on behind the state");
    log.truncate_after(known).await?;
    log.purge(at).await
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;
    use openraft::storage::RaftLogStorageExt;

    use super::*;
    use crate::raft::types::{Entry, LogId};
    use crate::state::{LogEntry, Payload};
    use crate::storage::MemoryEngine;

    /// A state that has applied blank entries up to `index`, all of `term`.
    fn state(term: u64, index: u64) -> State {
        let state = State::open(Arc::new(MemoryEngine::default())).unwrap();
        for index in 0..=index {
            let position = super::super::machine::position(LogId::new_term_index(term, index));
            state.apply(&[LogEntry { index, position: &position, payload: Payload::Blank }]).unwrap();
        }
        state
    }

    /// A log of blank entries with these terms, of which those before `committed` are known to be committed.
    async fn log(dir: &std::path::Path, terms: &[u64], committed: Option<LogId>) -> LogStore {
        let mut log = LogStore::open(dir).unwrap();
        let entries = terms.iter().enumerate();
        let entry = |(n, term): (usize, &u64)| Entry {
            log_id: LogId::new_term_index(*term, n as u64),
            payload: EntryPayload::Blank,
        };
        log.blocking_append(entries.map(entry).collect::<Vec<_>>()).await.unwrap();
        log.save_committed(committed).await.unwrap();
        log
    }

    #[tokio::test]
    async fn the_log_keeps_what_it_acknowledged_behind_the_state_and_nothing_that_contradicts_it() {
        for (terms, at, bounds) in [
            // The state is one of the log's own: everything behind it stays.
            (&[1, 1, 1, 1, 1, 1][..], state(1, 3), (0, 6)),
            // The state goes on where the log ends.
            (&[1, 1, 1], state(1, 5), (6, 6)),
            // The cluster has gone on otherwise since: with a lower index, and with a higher one.
            (&[1, 1, 2, 2, 2, 2], state(3, 3), (4, 4)),
            (&[1, 1, 2, 2], state(3, 7), (8, 8)),
            // The leader of the higher term was not heard by the others, and the state is one of before.
            (&[1, 1, 2, 2, 2, 2], state(1, 3), (4, 4)),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let log = log(&dir.path().join("log"), terms, Some(LogId::new_term_index(1, 1))).await;
            fit_log(&log, &at).await.unwrap();
            assert_eq!(log.bounds(), bounds, "{terms:?}");
            fit_log(&log, &at).await.unwrap();
            assert_eq!(log.bounds(), bounds, "again");
        }
    }
}

//! A whole state from another member, for a node that has its log but not its state.
//!
//! The records travel as in a snapshot. What the state stands at is one of them, so there is no head.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;

use super::log::{LogId, LogStore, Position};
use super::machine::log_id;
use super::snapshot::{self, Reader};
use super::store::{Fresh, StateStore};
use crate::peers::StreamKey;
use crate::remedy::{Fault, Kind};
use crate::state::{Importer, Pin, State};

/// A side that does nothing for so long is given up.
const IDLE: Duration = Duration::from_secs(30);

/// The pinned state as a stream of sealed chunks.
pub fn stream(
    state: State,
    pin: Pin,
    key: StreamKey,
) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> + Send {
    let (sender, receiver) = mpsc::channel::<Bytes>(4);
    tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Handle::current();
        let send = |bytes: Bytes| {
            let idle = async { tokio::time::timeout(IDLE, sender.send(bytes)).await };
            matches!(runtime.block_on(idle), Ok(Ok(())))
        };
        if let Err(e) = snapshot::write(&state, &pin, &key, send) {
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
pub async fn receive<S, E>(store: Arc<StateStore>, mut body: S, key: StreamKey, at_least: u64) -> Result<(), String>
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
            reader.import(&key, &mut importer)?;
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
        let at = state.applied().index.map_or_else(|| "the beginning".to_owned(), |index| format!("index {index}"));
        return Err(format!("it stands at {at}, and this node's log goes on from {at_least}"));
    }
    let swapped = tokio::task::spawn_blocking(move || store.swap(fresh, state)).await;
    swapped.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
}

/// Fits the log to a state that came from another member, and takes the note of that away; refuses any other state that
/// does not go with the log.
///
/// # Errors
/// I/O errors; a state that stands where the log has nothing, or something else.
pub async fn reconcile(log: &LogStore, store: &Arc<StateStore>) -> Result<(), Fault> {
    let unread = |e: std::io::Error| Fault::io("log and state cannot be fitted to each other", &e);
    let state = store.state();
    if !store.has_arrived() {
        let Some(at) = log_id(&state.applied().position).map_err(unread)? else { return Ok(()) };
        let (purged, last) = log.ends();
        let there = log.id_at(at.index).await.map_err(unread)?;
        return match contradiction(at, purged, last, there) {
            Some(why) => {
                let what = format!("what is in {} and the raft log do not go together: {why}", store.dir().display());
                Err(Fault::new(Kind::Damage, what))
            }
            None => Ok(()),
        };
    }
    fit_log(log, &state).await.map_err(unread)?;
    let store = store.clone();
    let settled = tokio::task::spawn_blocking(move || store.settle(u64::MAX)).await;
    let settled = settled.map_err(|e| Fault::other(e.to_string()))?;
    settled.map_err(|e| Fault::io("the note of the fetched state cannot be removed", &e))
}

/// Why a state that has applied `at` does not go with a log that was purged up to and ends at these, and has `there` at
/// the state's index.
pub(super) fn contradiction(
    at: LogId,
    purged: Option<LogId>,
    last: Option<LogId>,
    there: Option<LogId>,
) -> Option<String> {
    let show = |id: LogId| Position::from(id).to_string();
    if last.is_none_or(|last| last.index < at.index) {
        let last = last.map_or_else(|| "nothing".to_owned(), show);
        return Some(format!("the state has applied {}, and the log ends at {last}", show(at)));
    }
    let there = there.or(purged.filter(|purged| purged.index == at.index));
    let other = there.filter(|there| *there != at)?;
    Some(format!("the state has applied {}, and the log has {} there", show(at), show(other)))
}

/// Lets go of what the log holds in the place of entries that the state has applied otherwise, or has gone beyond.
///
/// What the state has applied is committed. So where the log has another entry at the same index, or ends before it,
/// everything behind what it knows to be committed is either in the state or was given up by the cluster.
///
/// # Errors
/// I/O errors.
async fn fit_log(log: &LogStore, state: &State) -> std::io::Result<()> {
    let Some(at) = log_id(&state.applied().position)? else { return Ok(()) };
    if at.index < log.bounds().0 {
        return Ok(());
    }
    if log.id_at(at.index).await? == Some(at) {
        return Ok(());
    }
    let known = log.ends().0.max(log.committed());
    tracing::info!(at = at.index, known = known.map(|id| id.index), "the log goes on behind the state");
    log.truncate_after(known).await?;
    log.purge(at).await
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;

    use super::*;
    use crate::raft::log::Entry;
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
        let log = LogStore::open(dir).unwrap();
        let entries = terms.iter().enumerate();
        let entry = |(n, term): (usize, &u64)| Entry {
            log_id: LogId::new_term_index(*term, n as u64),
            payload: EntryPayload::Blank,
        };
        let (written, done) = tokio::sync::oneshot::channel();
        log.append(entries.map(entry).collect(), Box::new(|result| written.send(result).unwrap())).await.unwrap();
        done.await.unwrap().unwrap();
        if let Some(committed) = committed {
            log.save_committed(committed).unwrap();
        }
        log
    }

    #[test]
    fn a_state_that_did_not_come_from_elsewhere_must_go_with_the_log() {
        let id = LogId::new_term_index;
        let at = id(2, 5);
        for (purged, last, there, goes) in [
            (None, Some(id(2, 7)), Some(at), true),
            (Some(at), Some(at), None, true),
            (Some(id(2, 4)), Some(at), Some(at), true),
            (None, None, None, false),
            (None, Some(id(2, 4)), None, false),
            (None, Some(id(3, 4)), None, false),
            (None, Some(id(3, 7)), Some(id(3, 5)), false),
            (Some(id(1, 5)), Some(id(2, 7)), None, false),
        ] {
            let why = contradiction(at, purged, last, there);
            assert_eq!(why.is_none(), goes, "{purged:?} {last:?} {there:?}: {why:?}");
        }
    }

    /// A store in `dir` that has applied blank entries of term 1 up to `index`.
    fn store(dir: &std::path::Path, index: u64) -> Arc<StateStore> {
        let store = StateStore::open(dir, 1 << 20).unwrap();
        for index in 0..=index {
            let position = super::super::machine::position(LogId::new_term_index(1, index));
            store.state().apply(&[LogEntry { index, position: &position, payload: Payload::Blank }]).unwrap();
        }
        Arc::new(store)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn only_a_state_that_was_fetched_has_the_log_fitted_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let log = log(&dir.path().join("log"), &[1, 1, 1, 1], Some(LogId::new_term_index(1, 1))).await;
        let own = store(&dir.path().join("state"), 5);
        let refused = reconcile(&log, &own).await.unwrap_err().to_string();
        assert!(refused.contains("index 5 of term 1") && refused.contains("do not go together"), "{refused}");
        assert_eq!(log.bounds(), (0, 4), "nothing was changed");
        drop(own);

        // The same state, come from elsewhere; a crash follows on the exchange.
        let member = StateStore::open(&dir.path().join("member"), 1 << 20).unwrap();
        let member = Arc::new(member);
        let given = store(&dir.path().join("given"), 5).state();
        let taker = member.clone();
        tokio::task::spawn_blocking(move || {
            let fresh = taker.fresh().unwrap();
            let mut importer = Importer::new(fresh.engine().unwrap()).unwrap();
            for record in given.export(&given.pin()) {
                let (key, value) = record.unwrap();
                importer.put(key, value).unwrap();
            }
            importer.finish().unwrap();
            let state = State::open(fresh.engine().unwrap()).unwrap();
            taker.swap(fresh, state).unwrap();
        })
        .await
        .unwrap();
        assert!(member.has_arrived());
        assert!(dir.path().join("member/ARRIVED").exists());
        reconcile(&log, &member).await.unwrap();
        assert_eq!(log.bounds(), (6, 6));
        assert!(!member.has_arrived() && !dir.path().join("member/ARRIVED").exists());
        reconcile(&log, &member).await.unwrap();
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

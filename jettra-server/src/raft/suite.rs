//! openraft's own storage suite on our stores, and what it does not ask.

use std::io;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, IOFlushed, RaftLogStorage, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt as _;
use openraft::{EntryPayload, OptionalSend, RaftLogReader, StorageError};
use tempfile::TempDir;
use tokio::sync::watch;

use super::log::{Entry, LogId, LogStore, Proposal, Vote};
use super::log_storage::LogStorage;
use super::machine::{Machine, SnapshotData, SnapshotOf};
use super::store::StateStore;
use super::types::{SnapshotMeta, StoredMembership, TypeConfig};

/// The suite applies entries with gaps between them, which our state refuses: blanks fill them here.
struct WithoutGaps(Machine);

impl RaftStateMachine<TypeConfig> for WithoutGaps {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = super::machine::Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        self.0.applied_state().await
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut next = self.0.applied_state().await?.0.map_or(0, |id| id.index + 1);
        let filled = entries.flat_map(|entry| {
            let mut run = Vec::new();
            if let Ok((entry, _)) = &entry {
                let term = entry.log_id.committed_leader_id().term;
                let blank = |index| Entry { log_id: LogId::new_term_index(term, index), payload: EntryPayload::Blank };
                run.extend((next..entry.log_id.index).map(|index| Ok((blank(index), None))));
                next = entry.log_id.index + 1;
            }
            run.push(entry);
            futures_util::stream::iter(run)
        });
        self.0.apply(filled).await
    }

    async fn get_snapshot_builder(&mut self) -> super::machine::Builder {
        self.0.get_snapshot_builder().await
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> io::Result<()> {
        self.0.install_snapshot(meta, snapshot).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf>> {
        self.0.get_current_snapshot().await
    }
}

struct Builder;

impl StoreBuilder<TypeConfig, LogStorage, WithoutGaps, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStorage, WithoutGaps), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let log = open(&dir.path().join("log"));
        let store = Arc::new(StateStore::open(&dir.path().join("state"), 8 << 20).unwrap());
        let machine = Machine::new(store, None, watch::Sender::new(0));
        Ok((dir, log, WithoutGaps(machine)))
    }
}

#[test]
fn openrafts_storage_suite_passes() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(Suite::test_all(Builder)).unwrap();
}

fn entry(term: u64, index: u64, size: usize) -> Entry {
    let command = format!(r#"{{"op":"x","pad":"{}"}}"#, "x".repeat(size));
    Entry { log_id: LogId::new_term_index(term, index), payload: EntryPayload::Normal(Proposal(command.into())) }
}

fn open(dir: &std::path::Path) -> LogStorage {
    LogStorage(LogStore::open(dir).unwrap())
}

async fn append(log: &mut LogStorage, entries: Vec<Entry>) {
    let (tx, rx) = TypeConfig::oneshot();
    log.append(entries, IOFlushed::signal(tx)).await.unwrap();
    rx.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_log_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = open(&path);
    log.save_vote(&Vote::new_committed(2, 1)).await.unwrap();
    append(&mut log, (0..50).map(|i| entry(1, i, 100)).collect()).await;
    log.truncate_after(Some(LogId::new_term_index(1, 39))).await.unwrap();
    append(&mut log, (40..45).map(|i| entry(2, i, 100)).collect()).await;
    log.purge(LogId::new_term_index(1, 9)).await.unwrap();
    log.0.write_mark().unwrap();
    drop(log);

    let mut log = open(&path);
    assert_eq!(log.0.bounds(), (10, 45));
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new_committed(2, 1)));
    let read = log.try_get_log_entries(38..42).await.unwrap();
    assert_eq!(read, [entry(1, 38, 100), entry(1, 39, 100), entry(2, 40, 100), entry(2, 41, 100)]);
}

#[tokio::test]
async fn reads_are_bounded_by_bytes_and_never_empty() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir.path().join("log"));
    append(&mut log, (0..20).map(|i| entry(1, i, 1 << 20)).collect()).await;
    for from_disk in [false, true] {
        if from_disk {
            drop(log);
            log = open(&dir.path().join("log"));
        }
        let some = log.limited_get_log_entries(0, 20).await.unwrap();
        assert!((3..=4).contains(&some.len()), "{}", some.len());
    }
    append(&mut log, vec![entry(1, 20, 6 << 20)]).await;
    assert_eq!(log.limited_get_log_entries(20, 21).await.unwrap().len(), 1);
}

/// The newest chunk of the log in `dir`.
fn last_chunk(dir: &std::path::Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(dir).unwrap().map(|f| f.unwrap().path());
    files.filter(|f| f.to_str().unwrap().ends_with(".wal") && f.metadata().unwrap().len() > 0).max().unwrap()
}

#[tokio::test]
async fn a_torn_tail_that_nobody_was_told_of_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = open(&path);
    append(&mut log, (0..10).map(|i| entry(1, i, 100)).collect()).await;
    log.0.write_mark().unwrap();
    append(&mut log, vec![entry(1, 10, 100)]).await;
    drop(log);
    let chunk = std::fs::OpenOptions::new().write(true).open(last_chunk(&path)).unwrap();
    chunk.set_len(chunk.metadata().unwrap().len() - 5).unwrap();
    assert_eq!(LogStore::open(&path).unwrap().bounds(), (0, 10));
}

#[tokio::test]
async fn an_unfinished_write_of_which_any_sectors_are_missing_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = open(&path);
    append(&mut log, (0..3).map(|i| entry(1, i, 100)).collect()).await;
    log.0.write_mark().unwrap();
    let synced = last_chunk(&path).metadata().unwrap().len() as usize;
    append(&mut log, vec![entry(1, 3, 3000), entry(1, 4, 10), entry(1, 5, 3000)]).await;
    drop(log);
    let chunk = last_chunk(&path);
    let whole = std::fs::read(&chunk).unwrap();
    let cuts: Vec<usize> = (0..=whole.len() / 512).map(|n| (n * 512).clamp(synced, whole.len())).collect();
    for missing in 1..1_u32 << (cuts.len() - 1) {
        let mut bytes = whole.clone();
        for n in (0..cuts.len() - 1).filter(|n| missing & (1 << n) != 0) {
            bytes[cuts[n]..cuts[n + 1]].fill(0);
        }
        if missing % 37 == 0 || missing.is_power_of_two() {
            std::fs::write(&chunk, &bytes).unwrap();
            let log = LogStore::open(&path).unwrap_or_else(|e| panic!("{missing:b}: {e}"));
            assert!((3..6).contains(&log.bounds().1), "{missing:b}: {:?}", log.bounds());
        }
    }
    // What was acknowledged must be there.
    let mut bytes = whole.clone();
    bytes[synced - 120..synced].fill(0);
    std::fs::write(&chunk, &bytes).unwrap();
    assert!(LogStore::open(&path).is_err());
    assert_eq!(std::fs::read(&chunk).unwrap(), bytes);
}

#[tokio::test]
async fn damage_to_acknowledged_entries_stops_the_node_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = open(&path);
    append(&mut log, (0..10).map(|i| entry(1, i, 100)).collect()).await;
    log.0.write_mark().unwrap();
    drop(log);
    let chunk = last_chunk(&path);
    let whole = std::fs::read(&chunk).unwrap();
    for damage in [whole.len() - 5, whole.len() / 2] {
        // cut short, or a flipped bit in the middle
        let mut bytes = whole.clone();
        if damage > whole.len() / 2 {
            bytes.truncate(damage);
        } else {
            bytes[damage] ^= 1;
        }
        std::fs::write(&chunk, &bytes).unwrap();
        let refused = LogStore::open(&path).err().expect("damage is refused").to_string();
        assert!(refused.contains("index 9") && refused.contains("damaged"), "{refused}");
        assert_eq!(std::fs::read(&chunk).unwrap(), bytes, "the damaged file is left as it is");
    }
    std::fs::write(&chunk, &whole).unwrap();
    assert_eq!(LogStore::open(&path).unwrap().bounds(), (0, 10));
}

#[tokio::test]
async fn a_writer_that_dies_ends_all_who_wait_for_it_and_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir.path().join("log"));
    append(&mut log, vec![entry(1, 0, 100)]).await;
    log.0.die();
    let mut waiting = Vec::new();
    for index in 1..20 {
        let (tx, rx) = TypeConfig::oneshot();
        if log.append(vec![entry(1, index, 100)], IOFlushed::signal(tx)).await.is_ok() {
            waiting.push(rx);
        }
    }
    assert!(!waiting.is_empty());
    for waiting in waiting {
        let told = tokio::time::timeout(std::time::Duration::from_secs(20), waiting).await;
        assert!(!matches!(told.expect("nobody waits for ever"), Ok(Ok(()))));
    }
    let told =
        tokio::time::timeout(std::time::Duration::from_secs(20), log.save_vote(&Vote::new_committed(2, 1))).await;
    assert!(told.expect("nobody waits for ever").is_err());
    assert!(log.0.fault().is_some(), "which ends the node");
}

#[tokio::test]
async fn an_apply_that_panics_is_an_error_which_ends_raft() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(StateStore::open(&dir.path().join("state"), 1 << 20).unwrap());
    let mut machine = Machine::new(store, None, watch::Sender::new(0));
    machine.die();
    let entries = futures_util::stream::iter([Ok((entry(1, 1, 10), None))]);
    let applied = tokio::time::timeout(std::time::Duration::from_secs(20), machine.apply(entries)).await;
    let error = applied.expect("nobody waits for ever").unwrap_err();
    assert!(error.to_string().contains("panicked"), "{error}");
}

//! openraft's state machine over [`crate::state`].
//!
//! `apply` waits until the local log is on disk through the entries, so that the state never
//! outruns the log; it flushes nothing itself, since what a crash takes back the log gives again.
//! A snapshot costs nothing until a peer needs one: building one is a durable point, reading one
//! pins a view.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine, Snapshot};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::log::{Entry, LogId, LogStore, Member};
use super::store::{Fresh, StateStore};
use super::types::{Reply, SnapshotMeta, StoredMembership, TypeConfig};
use crate::planted::{self, Bug};
use crate::state::{Halt, Importer, LogEntry, MemberInfo, NodeName, Outcome, Payload, Pin, State};

/// Bytes of entries applied in one batch, about.
const BATCH_BYTES: usize = 1 << 20;
/// Entries applied in one batch.
const BATCH_ENTRIES: usize = 1024;
/// Superseded keys deleted behind each batch, beside those that it superseded itself.
const RECLAIM_KEYS: usize = 4096;
/// Keys that a write can supersede: a version, its note, a change, a tombstone's note.
const KEYS_A_WRITE: usize = 4;

/// Entries that [`Bug::ApplyTwice`] applies once more.
const AGAIN: u64 = 16;

/// A snapshot in the hand.
pub enum SnapshotData {
    /// A durable point: nothing to send.
    DurablePoint,
    /// A view that a peer is sent.
    View(Box<(State, Pin)>),
    /// A state that was received whole and waits to be put in use.
    Received {
        /// Where it lies.
        fresh: Fresh,
        /// The state.
        state: State,
    },
}

/// A snapshot as openraft hands it around.
pub(super) type SnapshotOf = openraft::alias::SnapshotOf<TypeConfig, SnapshotData>;

/// The snapshot that openraft is told of while it starts. What it replays meanwhile is made durable behind it, or each
/// start would wait for the disk.
pub type AtStart = Arc<Mutex<Option<SnapshotMeta>>>;

/// The state machine of one node.
pub struct Machine {
    store: Arc<StateStore>,
    /// What `apply` waits for; the storage suite, which applies what it never appended, has none.
    log: Option<LogStore>,
    applied: watch::Sender<u64>,
    /// While Raft starts: where the state stood when it was opened, which is durable.
    at_start: AtStart,
    /// The next `apply` panics.
    #[cfg(test)]
    dies: bool,
}

impl Machine {
    /// A state machine over `store`; `applied` is told the index of the last entry applied.
    pub fn new(store: Arc<StateStore>, log: Option<LogStore>, applied: watch::Sender<u64>) -> Self {
        let opened = store.state().applied();
        // What cannot be read is an error of `applied_state`.
        let at_start = stands_at(&opened.position, opened.membership.as_deref())
            .ok()
            .filter(|_| opened.index.is_some())
            .map(|(last_log_id, last_membership)| SnapshotMeta { last_log_id, last_membership });
        let machine = Machine {
            store,
            log,
            applied,
            at_start: Arc::new(Mutex::new(at_start)),
            #[cfg(test)]
            dies: false,
        };
        machine.tell_applied();
        machine
    }

    /// To be emptied once Raft has started.
    pub fn at_start(&self) -> AtStart {
        self.at_start.clone()
    }

    #[cfg(test)]
    pub(super) fn die(&mut self) {
        self.dies = true;
    }

    fn tell_applied(&self) {
        if let Some(index) = self.store.state().applied().index {
            self.applied.send_replace(index);
        }
    }

    async fn apply_batch(&self, batch: Vec<(Entry, Option<ApplyResponder<TypeConfig>>)>) -> io::Result<()> {
        let Some(last) = batch.last().map(|(entry, _)| entry.log_id) else { return Ok(()) };
        if let Some(log) = &self.log {
            log.durable_through(last.index).await?;
        }
        let state = self.store.state();
        let started = std::time::Instant::now();
        #[cfg(test)]
        let dies = self.dies;
        let applied = tokio::task::spawn_blocking(move || {
            #[cfg(test)]
            assert!(!dies, "a bug");
            let outcomes = apply_entries(&state, &batch)?;
            let writes: usize = outcomes.iter().map(|Reply(outcome)| outcome.as_ref().map_or(0, Outcome::writes)).sum();
            for ((_, responder), outcome) in batch.into_iter().zip(outcomes) {
                if let Some(responder) = responder {
                    responder.send(outcome);
                }
            }
            // As much as came, or what is superseded would grow for as long as writes go on.
            state.reclaim(RECLAIM_KEYS + writes * KEYS_A_WRITE)?;
            Ok::<_, Halt>(())
        });
        applied.await.map_err(io::Error::other)?.map_err(|halt| self.store.ending(halt))?;
        metrics::histogram!("jettra_apply_seconds").record(started.elapsed().as_secs_f64());
        self.applied.send_replace(last.index);
        Ok(())
    }
}

pub(super) fn apply_entries(
    state: &State,
    batch: &[(Entry, Option<ApplyResponder<TypeConfig>>)],
) -> Result<Vec<Reply>, Halt> {
    let positions: Vec<[u8; 16]> = batch.iter().map(|(entry, _)| position(entry.log_id)).collect();
    let raws: Vec<Bytes> = batch
        .iter()
        .map(|(entry, _)| match &entry.payload {
            EntryPayload::Membership(m) => {
                let stored = StoredMembership::new(Some(entry.log_id), m.clone());
                serde_json::to_vec(&stored).map(Bytes::from).map_err(|e| Halt::Misuse { what: e.to_string() })
            }
            _ => Ok(Bytes::new()),
        })
        .collect::<Result<_, _>>()?;
    let entries: Vec<LogEntry<'_>> = batch
        .iter()
        .zip(&positions)
        .zip(&raws)
        .map(|(((entry, _), position), raw)| LogEntry {
            index: entry.log_id.index,
            position,
            payload: match &entry.payload {
                EntryPayload::Blank => Payload::Blank,
                EntryPayload::Normal(p) => Payload::Command(&p.0),
                EntryPayload::Membership(m) => Payload::Membership { members: members(m), raw },
            },
        })
        .collect();
    let outcomes = state.apply(&entries)?;
    Ok(entries
        .iter()
        .zip(outcomes)
        .map(|(entry, outcome)| Reply(matches!(entry.payload, Payload::Command(_)).then_some(outcome)))
        .collect())
}

/// Copies a view into a fresh engine of `store`, as a snapshot that travelled nowhere.
fn copy(state: &State, pin: &Pin, store: &StateStore) -> Result<(Fresh, State), Halt> {
    let fresh = store.fresh()?;
    let mut importer = Importer::new(fresh.engine()?)?;
    for record in state.export(pin) {
        let (key, value) = record?;
        importer.put(key, value)?;
    }
    importer.finish()?;
    let state = State::open(fresh.engine()?)?;
    Ok((fresh, state))
}

pub(super) fn members(membership: &openraft::Membership<u64, Member>) -> Vec<MemberInfo> {
    let voters: std::collections::BTreeSet<u64> = membership.voter_ids().collect();
    membership
        .nodes()
        .map(|(id, member)| MemberInfo {
            raft_id: *id,
            name: node_name(*id, &member.name),
            url: member.url.clone(),
            incarnation: member.incarnation.clone(),
            voter: voters.contains(id),
        })
        .collect()
}

/// The name that a member was registered with; a registration checks it, so the fallback is for tests.
fn node_name(id: u64, name: &str) -> NodeName {
    NodeName::parse(name).unwrap_or_else(|_| NodeName::numbered(id))
}

/// A log id as the state keeps it: term and index, big-endian.
pub(super) fn position(id: LogId) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&id.committed_leader_id().term.to_be_bytes());
    bytes[8..].copy_from_slice(&id.index.to_be_bytes());
    bytes
}

pub(super) fn log_id(position: &[u8]) -> io::Result<Option<LogId>> {
    if position.is_empty() {
        return Ok(None);
    }
    let word = |range: std::ops::Range<usize>| -> io::Result<u64> {
        let bytes = position.get(range).and_then(|b| b.try_into().ok());
        bytes.map(u64::from_be_bytes).ok_or_else(|| io::Error::other("the state's log position is damaged"))
    };
    Ok(Some(LogId::new_term_index(word(0..8)?, word(8..16)?)))
}

/// The log id and the membership that a state stands at.
fn stands_at(position: &[u8], membership: Option<&[u8]>) -> io::Result<(Option<LogId>, StoredMembership)> {
    let membership = match membership {
        Some(raw) if !raw.is_empty() => serde_json::from_slice(raw)?,
        _ => StoredMembership::default(),
    };
    Ok((log_id(position)?, membership))
}

fn meta_of_pin(pin: &Pin) -> io::Result<SnapshotMeta> {
    let (last_log_id, last_membership) = stands_at(pin.position(), pin.membership().map(|m| &m[..]))?;
    Ok(SnapshotMeta { last_log_id, last_membership })
}

/// Makes a durable point when openraft wants a snapshot.
pub struct Builder {
    store: Arc<StateStore>,
    state: State,
    meta: io::Result<SnapshotMeta>,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf> {
        let state = self.state.clone();
        tokio::task::spawn_blocking(move || match planted::has(Bug::PurgePastDurable) {
            true => Ok(None),
            false => state.durable_point(),
        })
        .await
        .map_err(io::Error::other)?
        .map_err(|halt| self.store.ending(halt))?;
        let meta = std::mem::replace(&mut self.meta, Err(io::Error::other("the snapshot was built already")))?;
        Ok(Snapshot { meta, snapshot: SnapshotData::DurablePoint })
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let applied = self.store.state().applied();
        let (stands, membership) = stands_at(&applied.position, applied.membership.as_deref())?;
        if planted::has(Bug::ApplyTwice)
            && let (Some(log), Some(stands)) = (&self.log, stands)
        {
            // What is purged cannot be applied again.
            let index = stands.index.saturating_sub(AGAIN).max(log.bounds().0);
            return Ok((log.id_at(index).await?.or(Some(stands)), membership));
        }
        Ok((stands, membership))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            if let EntryPayload::Normal(p) = &entry.payload {
                bytes += p.0.len();
            }
            batch.push((entry, responder));
            if bytes >= BATCH_BYTES || batch.len() >= BATCH_ENTRIES {
                self.apply_batch(std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
        }
        self.apply_batch(batch).await
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let state = self.store.state();
        let applied = state.applied();
        let meta = stands_at(&applied.position, applied.membership.as_deref())
            .map(|(last_log_id, last_membership)| SnapshotMeta { last_log_id, last_membership });
        Builder { store: self.store.clone(), state, meta }
    }

    async fn install_snapshot(&mut self, _meta: &SnapshotMeta, snapshot: SnapshotData) -> io::Result<()> {
        let store = self.store.clone();
        let install = move || match snapshot {
            // What this node built itself is in use already.
            SnapshotData::DurablePoint => Ok(()),
            SnapshotData::Received { fresh, state } => store.swap(fresh, state),
            SnapshotData::View(view) => {
                let (fresh, state) = copy(&view.0, &view.1, &store)?;
                store.swap(fresh, state)
            }
        };
        let installed = tokio::task::spawn_blocking(install).await.map_err(io::Error::other)?;
        installed.map_err(|halt| self.store.ending(halt))?;
        self.tell_applied();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf>> {
        if let Some(meta) = self.at_start.lock().clone() {
            return Ok(Some(Snapshot { meta, snapshot: SnapshotData::DurablePoint }));
        }
        let state = self.store.state();
        if state.applied().index.is_none() {
            return Ok(None);
        }
        let pinned = tokio::task::spawn_blocking(move || {
            let pin = state.pin();
            // openraft may purge the log up to what a snapshot covers, so it must be on disk.
            state.durable_point()?;
            Ok::<_, Halt>((state, pin))
        });
        let (state, pin) = pinned.await.map_err(io::Error::other)?.map_err(|halt| self.store.ending(halt))?;
        let meta = meta_of_pin(&pin)?;
        Ok(Some(Snapshot { meta, snapshot: SnapshotData::View(Box::new((state, pin))) }))
    }
}

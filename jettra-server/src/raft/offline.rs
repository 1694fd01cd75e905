//! A data directory's log and state without a node: entries applied, and a new log begun behind them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use openraft::{EntryPayload, Membership};

use super::log::{LogId, LogStore, Member, Position, Vote, ends_and, entries_from};
use super::machine::{apply_entries, log_id, members, position};
use super::types::StoredMembership;
use crate::state::State;

/// Entries applied in one batch.
const BATCH_ENTRIES: usize = 256;
/// Bytes of entries applied in one batch, about.
const BATCH_BYTES: usize = 1 << 20;

/// Applies to `state` every entry of the log in `dir` that it has not applied, up to the end of what can be read, and
/// returns how many there were. They are in memory meanwhile: a log has `LogRetainBytes` at most, about.
///
/// # Errors
/// I/O errors; an entry that cannot be applied; entries missing in between.
pub fn replay(state: &State, dir: &Path) -> Result<u64, String> {
    let first = state.applied().index.map_or(0, |index| index + 1);
    let entries = entries_from(dir, first).map_err(|e| format!("{} cannot be read: {e}", dir.display()))?;
    let count = entries.len() as u64;
    let (mut batch, mut bytes) = (Vec::new(), 0);
    for (expected, (index, entry)) in (first..).zip(entries) {
        if index != expected {
            return Err(format!("the log in {} has no entry {expected}, which the state needs next", dir.display()));
        }
        if let EntryPayload::Normal(command) = &entry.payload {
            bytes += command.0.len();
        }
        batch.push((entry, None));
        if batch.len() >= BATCH_ENTRIES || bytes >= BATCH_BYTES {
            apply_entries(state, &std::mem::take(&mut batch)).map_err(|e| e.to_string())?;
            bytes = 0;
        }
    }
    apply_entries(state, &batch).map_err(|e| e.to_string())?;
    Ok(count)
}

/// Why the state does not go with the log in `dir`; `None` where it does. To a state that came from
/// another member the log is fitted at the next start.
///
/// # Errors
/// I/O errors.
pub fn contradiction(state: &State, dir: &Path) -> Result<Option<String>, String> {
    let failed = |e: std::io::Error| format!("{} cannot be read: {e}", dir.display());
    let Some(at) = log_id(&state.applied().position).map_err(failed)? else { return Ok(None) };
    let (purged, last, there) = ends_and(dir, at.index).map_err(failed)?;
    Ok(super::fetch::contradiction(at, purged, last, there))
}

/// What a new cluster begins with.
pub struct Beginning {
    /// The first position, at which there is no entry any more: all that was before it is in the state.
    pub at: Position,
    /// The cluster's id.
    pub cluster_id: String,
    /// The key that signs its tokens.
    pub token_key: Vec<u8>,
    /// Its only member's Raft id.
    pub raft_id: u64,
    /// Its only member.
    pub member: Member,
}

/// Makes `state` that of a new cluster with one member, and begins that cluster's log in `dir`, which must be empty.
///
/// # Errors
/// I/O errors.
pub async fn begin_anew(state: &State, dir: &Path, beginning: &Beginning) -> Result<(), String> {
    let at = LogId::new_term_index(beginning.at.term, beginning.at.index);
    let nodes = BTreeMap::from([(beginning.raft_id, beginning.member.clone())]);
    let voters = vec![BTreeSet::from([beginning.raft_id])];
    let membership = Membership::new(voters, nodes).map_err(|e| e.to_string())?;
    let stored = StoredMembership::new(Some(at), membership.clone());
    let raw = serde_json::to_vec(&stored).map_err(|e| e.to_string())?;
    state
        .begin_anew(
            beginning.at.index,
            &position(at),
            &members(&membership),
            &raw,
            &beginning.cluster_id,
            &beginning.token_key,
        )
        .map_err(|e| e.to_string())?;
    state.durable_point().map_err(|e| e.to_string())?;

    let failed = |e: std::io::Error| format!("{}: {e}", dir.display());
    let log = LogStore::open(dir).map_err(failed)?;
    log.save_vote(Vote::new(beginning.at.term, beginning.raft_id)).await.map_err(failed)?;
    // The state stands for all entries up to there, as after a snapshot that was installed.
    log.purge(at).await.map_err(failed)?;
    log.write_mark().map_err(failed)
}

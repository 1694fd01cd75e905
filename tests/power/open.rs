//! What is left of a node after a power cut, opened with the functions that the node itself uses, in this process.

use std::path::Path;

use jettra_server::on_disk::identity::{self, Identity};
use jettra_server::on_disk::{CollectionName, DatabaseName, DocumentId, LogStore, State, StateStore, Survey, offline};
use jettra_server::sealed;

/// Memory for a state that is looked at.
const CACHE_BYTES: usize = 16 << 20;

/// A node's data as its log and its state give them together.
pub struct Opened {
    /// Its number in Raft; `None` where it was no member of a cluster yet.
    pub raft_id: Option<u64>,
    /// The term of its last vote.
    pub vote_term: u64,
    state: Option<State>,
}

/// Opens the data directory, which changes it as a start would.
///
/// # Errors
/// What the node would say where it refused to start.
pub fn open(data: &Path) -> Result<Opened, String> {
    let identity = match sealed::bytes_of(&identity::path(data)).map_err(|e| e.to_string())? {
        Some(bytes) => Some(sealed::read_json::<Identity>(&bytes).ok_or("node.json is damaged")?),
        None if data.join("log").is_dir() => return Err("there is a log and no node.json".to_owned()),
        None => None,
    };
    let raft_id = identity.as_ref().and_then(|identity| Some(identity.membership.as_ref()?.raft_id));
    if raft_id.is_none() {
        return Ok(Opened { raft_id, vote_term: 0, state: None });
    }
    let (log_dir, state_dir) = (data.join("log"), data.join("state"));
    let log = LogStore::open(&log_dir).map_err(|e| format!("log: {e}"))?;
    let has_promised = identity.as_ref().is_some_and(|identity| identity.has_promised);
    let ((first, _), is_pristine) = (log.bounds(), log.is_pristine());
    drop(log);
    let store = StateStore::open(&state_dir, CACHE_BYTES).map_err(|e| format!("state: {e}"))?;
    let state = store.state();
    if is_pristine && (has_promised || state.applied().index.is_some()) {
        return Err("the log is gone".to_owned());
    }
    if !store.has_arrived()
        && let Some(why) = offline::contradiction(&state, &log_dir)?
    {
        return Err(format!("log and state: {why}"));
    }
    let next = state.applied().index.map_or(0, |index| index + 1);
    if next < first {
        return Err(format!("the state ends before index {next} and the log begins at {first}"));
    }
    offline::replay(&state, &log_dir)?;
    let survey = Survey::of(&log_dir, false).map_err(|e| e.to_string())?;
    Ok(Opened { raft_id, vote_term: survey.vote_term(), state: Some(state) })
}

impl Opened {
    /// A document's revision and text.
    pub fn document(&self, id: &str) -> Result<Option<(u64, String)>, String> {
        let Some(state) = &self.state else { return Ok(None) };
        let (db, col) = (DatabaseName::parse("power").unwrap(), CollectionName::parse("cut").unwrap());
        let found = state.get(&db, &col, &DocumentId::parse(id).unwrap()).map_err(|e| e.to_string())?;
        Ok(found.map(|doc| (doc.rev, String::from_utf8(doc.body.to_vec()).unwrap())))
    }
}

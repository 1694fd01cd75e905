//! Reading everything that the state holds, to see whether it is whole.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::envelope::Envelope;
use super::halt::Halt;
use super::machine::State;
use super::stats::Stats;
use crate::storage::keys::{self, CollectionId};

/// What a whole state holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verified {
    /// Live documents, the system's own included.
    pub documents: u64,
    /// Records of every kind.
    pub records: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

impl State {
    /// Reads every record and counts the documents again. For a state that nobody writes to meanwhile. Blocks for as
    /// long as reading it all takes.
    ///
    /// # Errors
    /// What cannot be read; a collection whose documents are not those that its digest tells of.
    pub fn verify(&self) -> Result<Verified, Halt> {
        let mut found = Verified::default();
        let mut counted: BTreeMap<CollectionId, Stats> = BTreeMap::new();
        for pair in self.engine().scan(Bound::Unbounded, Bound::Unbounded) {
            let (key, value) = pair?;
            found.records += 1;
            found.bytes += (key.len() + value.len()) as u64;
            let broken = || Halt::damage(format!("the record at {key:?}"));
            match key.first().copied() {
                Some(keys::CURRENT) => {
                    let collection = keys::collection(&key).ok_or_else(broken)?;
                    let id = keys::current_id(&key).ok_or_else(broken)?;
                    let envelope = Envelope::decode(&value)?;
                    if let Some(body) = envelope.body() {
                        found.documents += 1;
                        counted.entry(collection).or_default().add(id, envelope.rev, body);
                    }
                }
                Some(keys::HISTORY) => {
                    keys::history_parts(&key).ok_or_else(broken)?;
                    Envelope::decode(&value)?;
                }
                Some(keys::META | keys::CHANGES | keys::GARBAGE | keys::EXPIRY | keys::STATS) => {}
                _ => return Err(broken()),
            }
        }
        let view = self.view();
        let stated = view.stats.all();
        // What is left of a dropped collection has no digest any more.
        let existing = view.core.catalog.collection_ids();
        let differs = |id: &&CollectionId| {
            stated.get(id).copied().unwrap_or_default() != counted.get(id).copied().unwrap_or_default()
        };
        let first = stated.keys().chain(counted.keys().filter(|id| existing.contains(id))).find(differs);
        match first {
            Some(id) => {
                Err(Halt::damage(format!("the documents of collection {id} are not those that its digest tells of")))
            }
            None => Ok(found),
        }
    }
}

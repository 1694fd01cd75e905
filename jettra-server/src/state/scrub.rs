//! The scrub: reads everything that is on disk again, in small steps, and recomputes the digest of each collection.
//!
//! A step reads some documents of one collection between two applies, so no view is pinned. What is written afterwards
//! behind the place that the scrub has reached goes into its sum as well; so when it comes to the end of the collection,
//! the sum is that of the newest state, and must be what the collection's record says.
//!
//! Superseded states and the state's notes have no digest: each must be readable as what it is.

use std::collections::VecDeque;
use std::ops::Bound;

use serde::de::IgnoredAny;

use super::envelope::Envelope;
use super::garbage::Note;
use super::halt::Halt;
use super::machine::State;
use super::stage::Stage;
use super::stats::Stats;
use super::view::View;
use crate::storage::keys::{self, CollectionId};
use crate::storage::{ChunkLimit, Order};

/// What one step reads. Writers wait for it, so it is small.
pub const SCRUB_STEP: ChunkLimit = ChunkLimit { pairs: 64, bytes: 256 << 10 };

/// Where there is no digest.
const OTHERS: [u8; 4] = [keys::HISTORY, keys::CHANGES, keys::GARBAGE, keys::EXPIRY];

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scrubbed {
    /// So many keys were read and are fine.
    Keys(usize),
    /// Everything has been read once; the next step begins anew.
    Pass,
}

/// How far a pass is.
#[derive(Debug, Default)]
pub(super) struct Scrub {
    /// Whether a pass is under way.
    begun: bool,
    /// Collections still to read.
    todo: VecDeque<CollectionId>,
    /// The collection in hand.
    pub tracker: Option<Tracker>,
    /// Key spaces still to read.
    others: VecDeque<u8>,
    /// In the one in hand: after which key to go on, and the last one to read.
    other: Option<(u8, Vec<u8>, Vec<u8>)>,
}

/// How far the scrub is in a collection, and the sum of what it has read, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tracker {
    collection: CollectionId,
    /// The id of the last document that was read.
    cursor: Option<String>,
    /// The last id that there was at the beginning: what comes beyond it counts as read, since it was counted when it
    /// was written. So the scrub need not run after writers who append.
    end: Option<String>,
    sum: Stats,
}

impl Tracker {
    /// Whether a document lies where the scrub does not come any more.
    fn has_passed(&self, collection: CollectionId, id: &str) -> bool {
        let behind = || self.cursor.as_deref().is_some_and(|cursor| id <= cursor);
        let beyond = || self.end.as_deref().is_none_or(|end| id > end);
        self.collection == collection && (behind() || beyond())
    }
}

impl Stage<'_> {
    /// A document's state is one no more.
    pub fn scrub_out(&mut self, collection: CollectionId, id: &str, rev: u64, body: &[u8]) {
        if let Some(tracker) = self.scrub.as_mut().filter(|tracker| tracker.has_passed(collection, id)) {
            tracker.sum.remove(id, rev, body);
        }
    }

    /// A document has a new state, written by this entry.
    pub fn scrub_in(&mut self, collection: CollectionId, id: &str, body: &[u8]) {
        let rev = self.rev;
        if let Some(tracker) = self.scrub.as_mut().filter(|tracker| tracker.has_passed(collection, id)) {
            tracker.sum.add(id, rev, body);
        }
    }
}

impl State {
    /// Reads at most `limit` of what is on disk and checks it. Blocks; applies wait meanwhile.
    ///
    /// # Errors
    /// The store failed, or what it holds is not what was written: the node has to stop.
    pub fn scrub(&self, limit: ChunkLimit) -> Result<Scrubbed, Halt> {
        let _between_applies = self.writer();
        let view = self.view();
        let mut scrub = self.scrubbing().lock();
        if !scrub.begun {
            scrub.begun = true;
            scrub.todo = view.core.catalog.collection_ids().into_iter().collect();
            scrub.others = OTHERS.into();
        }
        loop {
            if let Some(tracker) = &mut scrub.tracker {
                let read = self.scrub_documents(tracker, limit)?;
                if read > 0 {
                    return Ok(Scrubbed::Keys(read));
                }
                self.compare(&view, tracker)?;
                scrub.tracker = None;
            }
            if let Some(collection) = scrub.todo.pop_front() {
                let end = self.last_key(&keys::current_prefix(collection))?;
                let end = end.as_deref().and_then(keys::current_id).map(str::to_owned);
                scrub.tracker = Some(Tracker { collection, cursor: None, end, sum: Stats::default() });
                continue;
            }
            if let Some((space, after, end)) = &mut scrub.other {
                let read = self.scrub_others(*space, after, end, limit)?;
                if read > 0 {
                    return Ok(Scrubbed::Keys(read));
                }
                scrub.other = None;
            }
            let Some(space) = scrub.others.pop_front() else { break };
            scrub.other = self.last_key(&[space])?.map(|end| (space, vec![space], end));
        }
        *scrub = Scrub::default();
        Ok(Scrubbed::Pass)
    }

    /// How many documents there are, the system's own included.
    pub fn document_count(&self) -> u64 {
        self.view().stats.all().values().map(|stats| stats.count).sum()
    }

    /// The last key that starts with `prefix`.
    fn last_key(&self, prefix: &[u8]) -> Result<Option<Vec<u8>>, Halt> {
        let to = keys::after_prefix(prefix);
        let to = to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let last = self.engine().chunk(Bound::Included(prefix), to, Order::Descending, ChunkLimit::ONE)?;
        Ok(last.first().map(|(key, _)| key.to_vec()))
    }

    /// The next documents of a collection; returns how many keys that were.
    fn scrub_documents(&self, tracker: &mut Tracker, limit: ChunkLimit) -> Result<usize, Halt> {
        let from = match &tracker.cursor {
            Some(id) => Bound::Excluded(keys::current(tracker.collection, id)),
            None => Bound::Included(keys::current_prefix(tracker.collection)),
        };
        let Some(end) = &tracker.end else { return Ok(0) };
        let end = keys::current(tracker.collection, end);
        let from = crate::storage::scan::as_slice(&from);
        let chunk = self.engine().chunk(from, Bound::Included(&end), Order::Ascending, limit)?;
        for (key, value) in &chunk {
            let damaged = |what: &str| {
                let name = self.collection_name(tracker.collection);
                Halt::damage(format!(
                    "{what} in {name} at {}",
                    String::from_utf8_lossy(key.get(9..).unwrap_or_default())
                ))
            };
            let id = keys::current_id(key).ok_or_else(|| damaged("an id that is not UTF-8"))?;
            let envelope = Envelope::decode(value).map_err(|_| damaged("a document that cannot be read"))?;
            if let Some(body) = envelope.body() {
                serde_json::from_slice::<IgnoredAny>(body).map_err(|_| damaged("a document that is no JSON"))?;
                tracker.sum.add(id, envelope.rev, body);
            }
            tracker.cursor = Some(id.to_owned());
        }
        Ok(chunk.len())
    }

    /// Compares what was read with what the collection's record says.
    fn compare(&self, view: &View, tracker: &Tracker) -> Result<(), Halt> {
        let recorded = view.stats.get(tracker.collection);
        let stored = self.engine().get(&keys::stats(tracker.collection))?;
        let stored = stored.map_or(Some(Stats::default()), |bytes| Stats::decode(&bytes));
        if tracker.sum == recorded && stored == Some(recorded) {
            return Ok(());
        }
        // A collection that was dropped meanwhile is being deleted.
        if !view.core.catalog.collection_ids().contains(&tracker.collection) {
            return Ok(());
        }
        let said =
            |stats: Stats| format!("{} documents, {} bytes, digest {:032x}", stats.count, stats.bytes, stats.digest);
        Err(Halt::damage(format!(
            "the documents of {} on disk come to {}, but what was written to {}",
            self.collection_name(tracker.collection),
            said(tracker.sum),
            said(recorded)
        )))
    }

    /// The next records of a key space; returns how many that were.
    fn scrub_others(&self, space: u8, after: &mut Vec<u8>, end: &[u8], limit: ChunkLimit) -> Result<usize, Halt> {
        let chunk = self.engine().chunk(Bound::Excluded(after), Bound::Included(end), Order::Ascending, limit)?;
        for (key, value) in &chunk {
            let is_whole = match space {
                keys::HISTORY => keys::history_parts(key).is_some() && Envelope::decode(value).is_ok(),
                keys::CHANGES => key.len() == 13 && value.len() >= 9 && std::str::from_utf8(&value[9..]).is_ok(),
                _ => value.len() >= 17 && Note::decode(value).is_some(),
            };
            if !is_whole {
                return Err(Halt::damage(format!("the record at {key:?} cannot be read")));
            }
        }
        if let Some((last, _)) = chunk.last() {
            *after = last.to_vec();
        }
        Ok(chunk.len())
    }
}

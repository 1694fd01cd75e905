//! Where a run of entries is applied before any of it is written: the engine, over it what earlier entries of the run
//! wrote, over that what the entry in hand has staged and may still discard.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;

use super::digests::DigestCheck;
use super::envelope::Envelope;
use super::halt::Halt;
use super::scrub::Tracker;
use super::stats::{Stats, StatsMap};
use super::view::{Core, META_APPLIED, Meta, View};
use crate::planted::{self, Bug};
use crate::storage::keys::{self, CollectionId};
use crate::storage::{Batch, ChunkLimit, Engine, Order};

/// The changes of a revision may have so many bytes on average; where they have more, fewer revisions' are kept.
const CHANGE_BYTES: u64 = 256;

/// The writes of a run of entries, and what they see.
pub(super) struct Stage<'a> {
    engine: &'a dyn Engine,
    /// Whether a view is pinned. Pins are taken between applies, so it does not become true in one.
    pub pinned: bool,
    /// What the entries before this one wrote.
    run: Batch,
    /// What this entry has staged.
    entry: Batch,
    pub core: Core,
    core_before: Core,
    stats: StatsMap,
    entry_stats: BTreeMap<CollectionId, Stats>,
    /// Collections whose stats the run has changed.
    touched: BTreeSet<CollectionId>,
    /// Up to where is applied, this entry included.
    pub meta: Meta,
    /// This entry's revision.
    pub rev: u64,
    numbers: Numbers,
    /// The digests that `digest_check`s of this run asked for.
    pub checks: Vec<DigestCheck>,
    /// How far the scrub has read, kept up with what is written behind it.
    pub scrub: Option<Tracker>,
    scrub_before: Option<Tracker>,
    /// Of each queue, the last entry that was taken from its front in this run.
    pub(super) fronts: BTreeMap<CollectionId, String>,
}

/// Numbers that make keys and ids of one entry unique.
#[derive(Debug, Default)]
struct Numbers {
    change: u32,
    garbage: u32,
    id: u16,
    queue: u32,
    event: u32,
}

impl<'a> Stage<'a> {
    /// A stage over what `view` shows of `engine`.
    pub fn new(engine: &'a dyn Engine, view: &View, pinned: bool) -> Self {
        Stage {
            engine,
            pinned,
            run: Batch::default(),
            entry: Batch::default(),
            core: view.core.clone(),
            core_before: view.core.clone(),
            stats: view.stats.clone(),
            entry_stats: BTreeMap::new(),
            touched: BTreeSet::new(),
            meta: view.meta.clone(),
            rev: view.rev(),
            numbers: Numbers::default(),
            checks: Vec::new(),
            scrub: None,
            scrub_before: None,
            fronts: BTreeMap::new(),
        }
    }

    /// Starts the next entry.
    pub fn begin(&mut self, index: u64, position: &[u8]) -> Result<(), Halt> {
        if let Some(applied) = self.meta.index
            && index != applied + 1
            && !planted::has(Bug::ApplyTwice)
        {
            return Err(Halt::Misuse { what: format!("log entry {index} follows {applied}") });
        }
        self.meta.index = Some(index);
        self.meta.position = Bytes::copy_from_slice(position);
        self.rev = self.meta.base + index;
        let floor = (self.rev + 1).saturating_sub(self.core.settings.max_change_revisions);
        let by_bytes = self.meta.changes.floor(self.change_bytes());
        self.meta.changes_floor = self.meta.changes_floor.max(floor).max(by_bytes);
        self.numbers = Numbers::default();
        self.core_before = self.core.clone();
        self.scrub_before.clone_from(&self.scrub);
        Ok(())
    }

    /// Bytes of changes that are kept: many small documents in one revision must not pass for one change.
    fn change_bytes(&self) -> u64 {
        self.core.settings.max_change_revisions.saturating_mul(CHANGE_BYTES)
    }

    /// Forgets what the entry has staged so far.
    pub fn discard(&mut self) {
        self.entry = Batch::default();
        self.entry_stats.clear();
        self.core = self.core_before.clone();
        self.scrub.clone_from(&self.scrub_before);
        self.numbers = Numbers::default();
        self.fronts.clear();
    }

    /// Adds what the entry has staged to the run.
    pub fn commit(&mut self) {
        let changes = (Bound::Included(&[keys::CHANGES][..]), Bound::Excluded(&[keys::CHANGES + 1][..]));
        let bytes =
            self.entry.range(changes.0, changes.1).map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len));
        let bytes = bytes.sum::<usize>() as u64;
        let most = self.change_bytes();
        self.meta.changes.add(self.rev, bytes, most);
        self.run.append(std::mem::take(&mut self.entry));
        for (collection, stats) in std::mem::take(&mut self.entry_stats) {
            self.stats.set(collection, stats);
            self.touched.insert(collection);
        }
    }

    /// The run as one batch, and the view after it.
    pub fn finish(mut self) -> (Batch, View) {
        for collection in self.touched {
            let stats = self.stats.get(collection);
            let key = keys::stats(collection);
            if stats == Stats::default() { self.run.delete(key) } else { self.run.put(key, stats.encode()) }
        }
        self.run.put(keys::meta(META_APPLIED), self.meta.encode());
        (self.run, View { meta: self.meta, core: self.core, stats: self.stats })
    }

    /// Cluster time.
    pub fn now_ms(&self) -> u64 {
        self.meta.time_ms
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Halt> {
        match self.entry.get(key).or_else(|| self.run.get(key)) {
            Some(written) => Ok(written.clone()),
            None => Ok(self.engine.get(key)?),
        }
    }

    pub fn put(&mut self, key: Vec<u8>, value: Bytes) {
        self.entry.put(key, value);
    }

    pub fn delete(&mut self, key: Vec<u8>) {
        self.entry.delete(key);
    }

    /// The newest state of a document, a tombstone too.
    pub fn envelope(&self, collection: CollectionId, id: &str) -> Result<Option<Envelope>, Halt> {
        self.get(&keys::current(collection, id))?.map(|bytes| Envelope::decode(&bytes)).transpose()
    }

    /// The first pair between the bounds in `order` as this entry sees it.
    pub fn first(&self, from: &[u8], to: &[u8], order: Order) -> Result<Option<(Vec<u8>, Bytes)>, Halt> {
        let (mut from, mut to) = (Bound::Excluded(from.to_vec()), Bound::Excluded(to.to_vec()));
        loop {
            let bounds = || (crate::storage::scan::as_slice(&from), crate::storage::scan::as_slice(&to));
            if crate::storage::is_empty_range(bounds().0, bounds().1) {
                return Ok(None);
            }
            let stored = self.engine.chunk(bounds().0, bounds().1, order, ChunkLimit::ONE)?;
            let written = |batch: &Batch| {
                let mut range = batch.range(bounds().0, bounds().1);
                let first = if order == Order::Ascending { range.next() } else { range.next_back() };
                first.map(|(key, _)| key.clone())
            };
            let candidates = [stored.first().map(|(key, _)| key.to_vec()), written(&self.run), written(&self.entry)];
            let candidates = candidates.into_iter().flatten();
            let first = if order == Order::Ascending { candidates.min() } else { candidates.max() };
            let Some(key) = first else { return Ok(None) };
            if let Some(value) = self.get(&key)? {
                return Ok(Some((key, value)));
            }
            // Deleted in this run: look beyond it.
            if order == Order::Ascending { from = Bound::Excluded(key) } else { to = Bound::Excluded(key) }
        }
    }

    pub fn stats(&self, collection: CollectionId) -> Stats {
        self.entry_stats.get(&collection).copied().unwrap_or_else(|| self.stats.get(collection))
    }

    pub fn set_stats(&mut self, collection: CollectionId, stats: Stats) {
        self.entry_stats.insert(collection, stats);
    }

    pub fn next_change(&mut self) -> u32 {
        next(&mut self.numbers.change)
    }

    pub fn next_garbage(&mut self) -> u32 {
        next(&mut self.numbers.garbage)
    }

    pub fn next_in_queue(&mut self) -> u32 {
        next(&mut self.numbers.queue)
    }

    pub fn next_event(&mut self) -> u32 {
        next(&mut self.numbers.event)
    }

    /// Keeps the digests of all collections as they are now.
    pub fn keep_digests(&mut self) {
        let mut stats = self.stats.clone();
        for (collection, changed) in &self.entry_stats {
            stats.set(*collection, *changed);
        }
        self.checks.push(DigestCheck::new(self.meta.index.unwrap_or(0), &stats));
    }

    /// An id for a database or a collection; `None` after 65 536 in one entry.
    pub fn next_id(&mut self) -> Option<u64> {
        let id = self.rev << 16 | u64::from(self.numbers.id);
        self.numbers.id = self.numbers.id.checked_add(1)?;
        Some(id)
    }
}

fn next(number: &mut u32) -> u32 {
    *number += 1;
    *number - 1
}

//! Snapshots: the state at a pinned revision as key and value records, and a store filled from such records.
//!
//! The records are those of the store, as they were at the revision: an applied log position, garbage notes, changes,
//! newest and superseded states, stats. They come in the order in which they can be taken beside a writer: the notes go
//! first, so that what the reclaimer deletes in between is at worst noted and absent. Framing and checksums are the
//! caller's.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::envelope::Envelope;
use super::halt::Halt;
use super::machine::State;
use super::pins::Pin;
use super::read::state_at;
use super::stats::Stats;
use super::view::{META_APPLIED, META_FORMAT, STATE_FORMAT};
use crate::planted::{self, Bug};
use crate::storage::keys::{self, CollectionId};
use crate::storage::{Batch, Engine, Order, Pair, Scan};

impl State {
    /// The records of the state as it was when `pin` was taken. It reads in bounded chunks, beside applies.
    pub fn export(&self, pin: &Pin) -> Export {
        Export::new(Arc::clone(self.engine()), pin.clone())
    }
}

/// The records of a pinned state.
pub struct Export {
    engine: Arc<dyn Engine>,
    pin: Pin,
    /// The collections that there were; what is left of dropped ones stays behind.
    collections: BTreeSet<CollectionId>,
    /// Of the document whose superseded states are being read: its key's start, and from which rev on they are not
    /// superseded at the pin.
    document: Option<(Vec<u8>, u64)>,
    ready: std::vec::IntoIter<Pair>,
    scan: Option<Scan<Arc<dyn Engine>>>,
    /// Changes read so far; counted for [`Bug::DropAKeyOfASnapshot`] only.
    changes: u64,
    /// Spaces still to read.
    spaces: std::slice::Iter<'static, u8>,
}

const SPACES: [u8; 5] = [keys::GARBAGE, keys::EXPIRY, keys::CHANGES, keys::CURRENT, keys::HISTORY];

impl Export {
    fn new(engine: Arc<dyn Engine>, pin: Pin) -> Self {
        let view = pin.view();
        let mut first = vec![
            (Bytes::from(keys::meta(META_FORMAT)), Bytes::from_static(STATE_FORMAT)),
            (Bytes::from(keys::meta(META_APPLIED)), view.meta.encode()),
        ];
        first.extend(view.stats.all().iter().map(|(id, stats)| (Bytes::from(keys::stats(*id)), stats.encode())));
        let collections = view.core.catalog.collection_ids();
        let ready = first.into_iter();
        Export { engine, pin, collections, document: None, ready, scan: None, changes: 0, spaces: SPACES.iter() }
    }

    /// What a stored pair is at the pin; `None` where it was not there.
    fn at_pin(&mut self, key: Bytes, value: Bytes) -> Result<Option<Pair>, Halt> {
        let rev = self.pin.rev();
        let broken = || Halt::damage(format!("the key {key:?}"));
        let number = |offset| keys::number(&key, offset).ok_or_else(broken);
        let within = match key.first().copied() {
            Some(keys::GARBAGE) => number(1)? <= rev,
            Some(keys::EXPIRY) => number(9)? <= rev,
            Some(keys::CHANGES) => (self.pin.view().meta.changes_floor..=rev).contains(&number(1)?),
            Some(keys::CURRENT) => {
                let collection = keys::collection(&key).ok_or_else(broken)?;
                if !self.collections.contains(&collection) {
                    return Ok(None);
                }
                let id = keys::current_id(&key).ok_or_else(broken)?;
                let newest = Envelope::decode(&value)?.rev;
                let state = state_at(&*self.engine, collection, id, Some((newest, &value)), rev)?;
                return Ok(state.map(|value| (key, value)));
            }
            Some(keys::HISTORY) => {
                let (collection, id, state_rev) = keys::history_parts(&key).ok_or_else(broken)?;
                self.collections.contains(&collection) && state_rev < self.newest_at_pin(&key, collection, id)?
            }
            _ => return Err(broken()),
        };
        Ok(within.then_some((key, value)))
    }

    /// The rev of the document's state at the pin: what is older was superseded there.
    fn newest_at_pin(&mut self, key: &[u8], collection: CollectionId, id: &str) -> Result<u64, Halt> {
        let start = &key[..key.len() - 8];
        if let Some((known, rev)) = &self.document
            && known == start
        {
            return Ok(*rev);
        }
        let newest = self.engine.get(&keys::current(collection, id))?;
        let newest = match &newest {
            Some(bytes) => Some((Envelope::decode(bytes)?.rev, bytes)),
            None => None,
        };
        let state = state_at(&*self.engine, collection, id, newest, self.pin.rev())?;
        let rev = state.map(|bytes| Envelope::decode(&bytes)).transpose()?.map_or(0, |state| state.rev);
        self.document = Some((start.to_vec(), rev));
        Ok(rev)
    }

    /// Whether [`Bug::DropAKeyOfASnapshot`] leaves this out: now and then a change, of which there is no digest.
    fn drops(&mut self, key: &[u8]) -> bool {
        self.changes += u64::from(key.first() == Some(&keys::CHANGES));
        key.first() == Some(&keys::CHANGES) && self.changes.is_multiple_of(10)
    }

    fn step(&mut self) -> Option<Result<Option<Pair>, Halt>> {
        if let Some(pair) = self.ready.next() {
            return Some(Ok(Some(pair)));
        }
        loop {
            if let Some(scan) = &mut self.scan {
                match scan.next() {
                    Some(Ok((key, value))) => return Some(self.at_pin(key, value)),
                    Some(Err(error)) => return Some(Err(error.into())),
                    None => self.scan = None,
                }
            }
            let space = *self.spaces.next()?;
            let bounds = (Bound::Included(vec![space]), Bound::Excluded(vec![space + 1]));
            self.scan = Some(Scan::new(Arc::clone(&self.engine), bounds.0, bounds.1, Order::Ascending));
        }
    }
}

impl Iterator for Export {
    type Item = Result<Pair, Halt>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.step()? {
                Ok(Some((key, _))) if planted::has(Bug::DropAKeyOfASnapshot) && self.drops(&key) => {}
                Ok(Some(pair)) => return Some(Ok(pair)),
                Ok(None) => {}
                Err(halt) => return Some(Err(halt)),
            }
        }
    }
}

/// Bytes of records that are gathered into one batch.
const BATCH_BYTES: usize = 1 << 20;
/// Bytes written before they are made durable: few, since other processes wait for the disk meanwhile.
const VOLATILE_BYTES: usize = 8 << 20;

/// Fills an empty engine from the records of a snapshot.
///
/// What the store says of itself is written last: a store whose import was cut off does not open.
pub struct Importer {
    engine: Arc<dyn Engine>,
    batch: Batch,
    /// Bytes written since the last durable point.
    volatile: usize,
    meta: Vec<Pair>,
    stated: BTreeMap<CollectionId, Stats>,
    counted: BTreeMap<CollectionId, Stats>,
}

impl Importer {
    /// Starts to fill `engine`, which must be empty.
    pub fn new(engine: Arc<dyn Engine>) -> Result<Importer, Halt> {
        if engine.scan(Bound::Unbounded, Bound::Unbounded).next().transpose()?.is_some() {
            return Err(Halt::Misuse { what: "a snapshot is installed into a store that is not empty".to_owned() });
        }
        let (batch, meta) = (Batch::default(), Vec::new());
        Ok(Importer { engine, batch, volatile: 0, meta, stated: BTreeMap::new(), counted: BTreeMap::new() })
    }

    /// Takes one record.
    pub fn put(&mut self, key: Bytes, value: Bytes) -> Result<(), Halt> {
        let broken = || Halt::damage(format!("the snapshot's record at {key:?}"));
        match key.first().copied() {
            Some(keys::META) => {
                self.meta.push((key, value));
                return Ok(());
            }
            Some(keys::STATS) => {
                let collection = keys::collection(&key).ok_or_else(broken)?;
                self.stated.insert(collection, Stats::decode(&value).ok_or_else(broken)?);
            }
            Some(keys::CURRENT) => {
                let collection = keys::collection(&key).ok_or_else(broken)?;
                let id = keys::current_id(&key).ok_or_else(broken)?;
                let envelope = Envelope::decode(&value)?;
                if let Some(body) = envelope.body() {
                    self.counted.entry(collection).or_default().add(id, envelope.rev, body);
                }
            }
            Some(keys::HISTORY | keys::CHANGES | keys::GARBAGE | keys::EXPIRY) => {}
            _ => return Err(broken()),
        }
        self.batch.put(key.to_vec(), value);
        if self.batch.size() >= BATCH_BYTES {
            self.volatile += self.batch.size();
            self.engine.apply(std::mem::take(&mut self.batch))?;
        }
        // What is not durable stays in memory.
        if self.volatile >= VOLATILE_BYTES {
            self.volatile = 0;
            self.engine.durable_point()?;
        }
        Ok(())
    }

    /// Checks that the documents are those that the snapshot's digests tell of, and returns when all is on disk.
    pub fn finish(mut self) -> Result<(), Halt> {
        if self.stated != self.counted {
            let differ = |id: &&CollectionId| self.stated.get(id) != self.counted.get(id);
            let first = self.stated.keys().chain(self.counted.keys()).find(differ).map(|id| id.0);
            return Err(Halt::damage(format!("the snapshot's digest of collection {first:?} does not hold")));
        }
        if self.meta.len() != 2 {
            return Err(Halt::damage("the snapshot does not say what it is"));
        }
        self.engine.apply(std::mem::take(&mut self.batch))?;
        for (key, value) in self.meta {
            self.batch.put(key.to_vec(), value);
        }
        self.engine.apply(self.batch)?;
        Ok(self.engine.durable_point()?)
    }
}

//! Reads: on any thread, beside applies.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use jettra_client::wire::DatabaseInfo;

use super::apply::{may, version_of};
use super::command::{By, Version};
use super::envelope::Envelope;
use super::halt::Halt;
use super::machine::State;
use super::names::{CollectionName, DatabaseName, DocumentId};
use super::pins::Pin;
use super::role::UserRole;
use super::settings::Settings;
use super::stats::Stats;
use super::system;
use super::view::{ClusterIdentity, MemberDoc, User};
use crate::error::Error;
use crate::storage::keys::{self, CollectionId};
use crate::storage::{ChunkLimit, Engine, Order, Scan};

/// A document as it stands at some revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doc {
    /// Its id.
    pub id: DocumentId,
    /// The revision that wrote it.
    pub rev: u64,
    /// Cluster time of that write, in milliseconds since 1970.
    pub time_ms: u64,
    /// The raw JSON, with its `_id`.
    pub body: Bytes,
}

/// Count, bytes and digest of a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg(test)]
pub struct CollectionStats {
    /// The collection's number; those below 65 536 are the system's own.
    pub collection: CollectionId,
    /// What is known of it.
    pub stats: Stats,
}

impl State {
    /// Whether a read now would wait for something long, so that it belongs on a thread that may block.
    pub fn is_busy(&self) -> bool {
        self.engine().is_busy()
    }

    /// A document, or `None` where it, its collection or its database is not there.
    pub fn get(&self, db: &DatabaseName, col: &CollectionName, id: &DocumentId) -> Result<Option<Doc>, Halt> {
        let Some(collection) = self.view().core.catalog.collection(db.as_str(), col.as_str()) else {
            return Ok(None);
        };
        let Some(bytes) = self.engine().get(&keys::current(collection, id.as_str()))? else { return Ok(None) };
        Ok(doc(id.clone(), Envelope::decode(&bytes)?))
    }

    /// How many documents a collection holds; 0 where it is not there.
    pub fn count(&self, db: &DatabaseName, col: &CollectionName) -> u64 {
        self.stats(db, col).count
    }

    /// Count, bytes and digest of a collection; all zero where it is not there.
    pub fn stats(&self, db: &DatabaseName, col: &CollectionName) -> Stats {
        let view = self.view();
        let collection = view.core.catalog.collection(db.as_str(), col.as_str());
        collection.map(|collection| view.stats.get(collection)).unwrap_or_default()
    }

    /// Count, bytes and digest of every collection that is not empty, the system's own included, by number.
    #[cfg(test)]
    pub fn digests(&self) -> Vec<CollectionStats> {
        let all = self.view().stats.all();
        all.into_iter().map(|(collection, stats)| CollectionStats { collection, stats }).collect()
    }

    /// All databases by name, `_system` included.
    pub fn list_databases(&self) -> Vec<DatabaseInfo> {
        let view = self.view();
        let info = |(name, database): (&DatabaseName, &super::catalog::Database)| DatabaseInfo {
            name: name.to_string(),
            engine: database.engine.clone(),
        };
        view.core.catalog.databases().map(info).collect()
    }

    /// The collections of a database by name, those starting with `_` included; none where it is not there.
    pub fn list_collections(&self, db: &DatabaseName) -> Vec<CollectionName> {
        let view = self.view();
        view.core.catalog.database(db.as_str()).map(|db| db.collections.keys().cloned().collect()).unwrap_or_default()
    }

    /// Whether there is such a database.
    #[cfg(test)]
    pub fn has_database(&self, db: &DatabaseName) -> bool {
        self.view().core.catalog.database(db.as_str()).is_some()
    }

    /// The documents of a collection in id order, after `after`, as they were when `at` was pinned.
    pub fn scan(&self, db: &DatabaseName, col: &CollectionName, after: Option<&DocumentId>, at: &Pin) -> DocScan {
        let collection = at.view().core.catalog.collection(db.as_str(), col.as_str());
        DocScan::new(Arc::clone(self.engine()), collection, after, at.clone())
    }

    /// The superseded states of a document that are kept, newest first.
    pub fn versions(&self, db: &DatabaseName, col: &CollectionName, id: &DocumentId) -> Result<Vec<Version>, Halt> {
        let Some((collection, newest, _)) = self.newest(db, col, id)? else { return Ok(Vec::new()) };
        if newest.kept.oldest == 0 {
            return Ok(Vec::new());
        }
        let from = Bound::Included(keys::history(collection, id.as_str(), newest.rev));
        let to = Bound::Included(keys::history(collection, id.as_str(), newest.kept.oldest));
        let mut versions = Vec::with_capacity(newest.kept.count as usize);
        for pair in self.engine().scan(from, to) {
            let state = Envelope::decode(&pair?.1)?;
            if state.body().is_some() && state.rev < newest.rev {
                versions.push(Version { time_ms: state.time_ms, rev: state.rev });
            }
        }
        Ok(versions)
    }

    /// A superseded state of a document; `None` where it has none such.
    pub fn version(
        &self,
        db: &DatabaseName,
        col: &CollectionName,
        id: &DocumentId,
        version: Version,
    ) -> Result<Option<Doc>, Halt> {
        let Some((collection, newest, now_ms)) = self.newest(db, col, id)? else { return Ok(None) };
        let get = |key: &[u8]| Ok(self.engine().get(key)?);
        let state = version_of(get, &newest, collection, id, version, now_ms)?;
        Ok(state.and_then(|state| doc(id.clone(), state)))
    }

    /// The collection's number, the document's newest state unless that is an expired tombstone, and cluster time.
    fn newest(
        &self,
        db: &DatabaseName,
        col: &CollectionName,
        id: &DocumentId,
    ) -> Result<Option<(CollectionId, Envelope, u64)>, Halt> {
        let view = self.view();
        let Some(collection) = view.core.catalog.collection(db.as_str(), col.as_str()) else { return Ok(None) };
        let Some(bytes) = self.engine().get(&keys::current(collection, id.as_str()))? else { return Ok(None) };
        let now_ms = view.meta.time_ms;
        Ok(Some((collection, Envelope::decode(&bytes)?, now_ms)).filter(|(_, newest, _)| !newest.is_expired(now_ms)))
    }

    /// The members' documents, by `NodeID`.
    pub fn members(&self) -> Vec<MemberDoc> {
        self.view().core.members.values().cloned().collect()
    }

    /// All users, by name. The same `Arc` as before, as long as somebody holds it, means that none has changed.
    pub fn users(&self) -> Arc<BTreeMap<String, User>> {
        Arc::clone(&self.view().core.users)
    }

    /// A user.
    pub fn user(&self, name: &str) -> Option<User> {
        self.view().core.users.get(name).cloned()
    }

    /// Whether there is a user with the role `admin`.
    pub fn has_admin(&self) -> bool {
        self.view().core.users.values().any(|user| user.role == UserRole::Admin)
    }

    /// Whether somebody still has the right by which a request was let in, as this state knows it.
    ///
    /// # Errors
    /// Inner: `unauthorized` with the detail `CHANGED`.
    pub fn may(&self, by: &By) -> Result<Result<(), Error>, Halt> {
        let token = |id: &str| {
            let stored = self.engine().get(&keys::current(system::TOKENS, id))?;
            stored.map(|bytes| Envelope::decode(&bytes)).transpose()
        };
        may(&self.view().core.users, by, token)
    }

    /// The replicated settings.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.view().core.settings)
    }

    /// What the nodes have agreed to write: see [`crate::feature`].
    pub fn feature_level(&self) -> u64 {
        self.view().core.feature_level
    }

    /// What `cluster_init` has set; `None` before it.
    pub fn cluster(&self) -> Option<Arc<ClusterIdentity>> {
        self.view().core.cluster.clone()
    }

    /// The cluster's id; `None` before `cluster_init`.
    pub fn cluster_id(&self) -> Option<String> {
        self.cluster().map(|cluster| cluster.cluster_id.clone())
    }

    /// The key that signs tokens; `None` before `cluster_init`.
    pub fn token_key(&self) -> Option<Vec<u8>> {
        self.cluster().map(|cluster| cluster.token_key.clone())
    }
}

#[cfg(test)]
impl Pin {
    /// How many documents a collection held.
    pub fn count(&self, db: &DatabaseName, col: &CollectionName) -> u64 {
        let catalog = &self.view().core.catalog;
        catalog.collection(db.as_str(), col.as_str()).map_or(0, |collection| self.view().stats.get(collection).count)
    }
}

fn doc(id: DocumentId, envelope: Envelope) -> Option<Doc> {
    let body = envelope.body()?.clone();
    Some(Doc { id, rev: envelope.rev, time_ms: envelope.time_ms, body })
}

/// The state of a document at revision `rev`: its newest one if that is not later, else the first superseded one that
/// is not, else it was not there.
pub(super) fn state_at(
    engine: &dyn Engine,
    collection: CollectionId,
    id: &str,
    newest: Option<(u64, &Bytes)>,
    rev: u64,
) -> Result<Option<Bytes>, Halt> {
    if let Some((_, bytes)) = newest.filter(|(newest, _)| *newest <= rev) {
        return Ok(Some(bytes.clone()));
    }
    let (from, to) = (keys::history(collection, id, rev), keys::history(collection, id, 0));
    let found = engine.chunk(Bound::Included(&from), Bound::Included(&to), Order::Ascending, ChunkLimit::ONE)?;
    Ok(found.into_iter().next().map(|(_, bytes)| bytes))
}

/// Documents in id order, as they were at a pinned revision. It needs no lock: the revisions decide.
pub struct DocScan {
    engine: Arc<dyn Engine>,
    /// The collection and what is left of it; `None` where it is not there.
    scan: Option<(CollectionId, Scan<Arc<dyn Engine>>)>,
    /// Keeps what it still has to show.
    pin: Pin,
}

impl DocScan {
    fn new(engine: Arc<dyn Engine>, collection: Option<CollectionId>, after: Option<&DocumentId>, pin: Pin) -> Self {
        let scan = collection.map(|collection| {
            let from = match after {
                Some(after) => Bound::Excluded(keys::current(collection, after.as_str())),
                None => Bound::Included(keys::current_prefix(collection)),
            };
            let to = keys::after_prefix(&keys::current_prefix(collection)).map_or(Bound::Unbounded, Bound::Excluded);
            (collection, Scan::new(Arc::clone(&engine), from, to, Order::Ascending))
        });
        DocScan { engine, scan, pin }
    }

    fn step(&mut self) -> Option<Result<Option<Doc>, Halt>> {
        let (collection, scan) = self.scan.as_mut()?;
        let (collection, pair) = (*collection, scan.next()?);
        let read = || -> Result<Option<Doc>, Halt> {
            let (key, value) = pair?;
            let id = keys::current_id(&key).ok_or_else(|| Halt::damage("a document's key"))?;
            let newest = Envelope::decode(&value)?;
            let state = if newest.rev <= self.pin.rev() {
                newest
            } else {
                match state_at(&*self.engine, collection, id, None, self.pin.rev())? {
                    Some(bytes) => Envelope::decode(&bytes)?,
                    None => return Ok(None),
                }
            };
            let id = DocumentId::parse(id).map_err(|_| Halt::damage("a document's id"))?;
            Ok(doc(id, state))
        };
        Some(read())
    }
}

impl Iterator for DocScan {
    type Item = Result<Doc, Halt>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.step()? {
                Ok(Some(doc)) => return Some(Ok(doc)),
                Ok(None) => {}
                Err(halt) => return Some(Err(halt)),
            }
        }
    }
}

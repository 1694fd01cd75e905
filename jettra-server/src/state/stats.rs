//! What is known of each collection without reading it: count, bytes and digest of its live documents.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::storage::keys::CollectionId;

/// Keys the hash of a document for its collection's digest; never change it: replicas compare digests.
const DIGEST_KEY: &[u8; 32] = b"jettradb collection digest, v. 1";

/// Count, bytes and digest of the live documents of a collection: logical content only, so it is the same on every
/// replica, whatever has been reclaimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// How many there are.
    pub count: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// The wrapping sum of a keyed hash of each document's id, rev and body.
    pub digest: u128,
}

impl Stats {
    /// Counts a live document in.
    pub(super) fn add(&mut self, id: &str, rev: u64, body: &[u8]) {
        self.count += 1;
        self.bytes += body.len() as u64;
        self.digest = self.digest.wrapping_add(hash(id, rev, body));
    }

    /// Counts a live document out.
    pub(super) fn remove(&mut self, id: &str, rev: u64, body: &[u8]) {
        self.count = self.count.wrapping_sub(1);
        self.bytes = self.bytes.wrapping_sub(body.len() as u64);
        self.digest = self.digest.wrapping_sub(hash(id, rev, body));
    }

    /// The stored form: count u64, bytes u64, digest u128, big-endian.
    pub(super) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(32);
        out.extend_from_slice(&self.count.to_be_bytes());
        out.extend_from_slice(&self.bytes.to_be_bytes());
        out.extend_from_slice(&self.digest.to_be_bytes());
        out.into()
    }

    /// Reads the stored form.
    pub(super) fn decode(bytes: &[u8]) -> Option<Stats> {
        Some(Stats {
            count: u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?),
            bytes: u64::from_be_bytes(bytes.get(8..16)?.try_into().ok()?),
            digest: u128::from_be_bytes(bytes.get(16..)?.try_into().ok()?),
        })
    }
}

fn hash(id: &str, rev: u64, body: &[u8]) -> u128 {
    let mut hasher = blake3::Hasher::new_keyed(DIGEST_KEY);
    let mut head = Vec::with_capacity(10 + id.len());
    // An id has at most 512 bytes.
    head.extend_from_slice(&(id.len() as u16).to_be_bytes());
    head.extend_from_slice(id.as_bytes());
    head.extend_from_slice(&rev.to_be_bytes());
    hasher.update(&head);
    hasher.update(body);
    let mut first = [0; 16];
    hasher.finalize_xof().fill(&mut first);
    u128::from_be_bytes(first)
}

const SHARDS: usize = 64;

/// The stats of all collections. A clone is cheap, and a write after it copies one shard.
#[derive(Debug, Clone)]
pub(super) struct StatsMap(Vec<Arc<BTreeMap<CollectionId, Stats>>>);

impl Default for StatsMap {
    fn default() -> Self {
        StatsMap(vec![Arc::default(); SHARDS])
    }
}

impl StatsMap {
    pub fn get(&self, collection: CollectionId) -> Stats {
        self.0[shard(collection)].get(&collection).copied().unwrap_or_default()
    }

    /// Sets the stats of a collection; those of an empty one are left out.
    pub fn set(&mut self, collection: CollectionId, stats: Stats) {
        let shard = Arc::make_mut(&mut self.0[shard(collection)]);
        if stats == Stats::default() {
            shard.remove(&collection);
        } else {
            shard.insert(collection, stats);
        }
    }

    /// All that are not empty, by collection.
    pub fn all(&self) -> BTreeMap<CollectionId, Stats> {
        self.0.iter().flat_map(|shard| shard.iter()).map(|(id, stats)| (*id, *stats)).collect()
    }
}

fn shard(collection: CollectionId) -> usize {
    // Ids are a revision and a small number in the low 16 bits.
    ((collection.0 >> 16) ^ collection.0) as usize % SHARDS
}

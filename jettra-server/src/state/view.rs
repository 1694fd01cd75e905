//! What the state holds in memory: small, rebuilt when it opens, and swapped whole for readers after each apply.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use jettra_client::wire::{Role, Status};
use serde::{Deserialize, Serialize};

use super::catalog::{Catalog, parse_id};
use super::envelope::Envelope;
use super::garbage::Horizon;
use super::halt::Halt;
use super::role::UserRole;
use super::settings::Settings;
use super::stats::{Stats, StatsMap};
use super::system;
use crate::feature;
use crate::storage::Engine;
use crate::storage::keys::{self, CollectionId};

/// The state as a reader finds it: everything that is not read from the engine.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub meta: Meta,
    pub core: Core,
    pub stats: StatsMap,
}

/// Up to where the state has applied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Meta {
    /// What is added to a log index to give its revision.
    pub base: u64,
    /// The last log index that was applied.
    pub index: Option<u64>,
    /// Cluster time.
    pub time_ms: u64,
    /// Changes below this revision are not kept.
    pub changes_floor: u64,
    /// How many bytes of changes there were.
    pub changes: ChangeBytes,
    /// The caller's log id of that entry.
    pub position: Bytes,
    /// The caller's last membership.
    pub membership: Option<Bytes>,
}

/// The small collections of the system, in the form in which they are used. A clone is a handful of `Arc`s.
#[derive(Debug, Clone)]
pub(super) struct Core {
    pub catalog: Arc<Catalog>,
    pub settings: Arc<Settings>,
    pub members: Arc<BTreeMap<String, MemberDoc>>,
    pub users: Arc<BTreeMap<String, User>>,
    pub cluster: Option<Arc<ClusterIdentity>>,
    /// See [`crate::feature`].
    pub feature_level: u64,
}

/// A document of `_clusternodes`; its fields stand in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberDoc {
    /// The member's `NodeID`.
    #[serde(rename = "_id")]
    pub id: String,
    /// Where the others reach it.
    pub url: String,
    /// Its part in Raft, as the leader last wrote it.
    pub role: Role,
    /// Whether it is heard, as the leader last wrote it.
    pub status: Status,
    /// What an administrator says of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it votes; absent while it is registered and not yet in the Raft membership.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voter: Option<bool>,
    /// Whether it may not be elected; absent where it may.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Whether it is to be a read replica, which never votes; absent where it is not. Whether it votes is `voter`: between
    /// the two lies what the leader has still to do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replica: bool,
    /// Its id in Raft.
    pub raft_id: u64,
    /// The id of its data directory.
    pub incarnation: String,
}

/// A user, without the name.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// What the user may do.
    pub role: UserRole,
    /// The password's hash, as a PHC string.
    pub password_hash: String,
    /// The databases the user may use; `*` is all.
    pub databases: Vec<String>,
    /// The revision of the last change: what was verified before it no longer counts.
    pub rev: u64,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("role", &self.role).field("rev", &self.rev).finish_non_exhaustive()
    }
}

/// A document of `_users`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UserDoc {
    #[serde(rename = "_id")]
    pub name: String,
    pub role: UserRole,
    pub password_hash: String,
    pub databases: Vec<String>,
}

/// What `cluster_init` has set, once.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterIdentity {
    /// The cluster's id.
    pub cluster_id: String,
    /// The key that signs tokens.
    pub token_key: Vec<u8>,
}

impl std::fmt::Debug for ClusterIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterIdentity").field("cluster_id", &self.cluster_id).finish_non_exhaustive()
    }
}

/// The document `cluster` of `_settings`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClusterDoc {
    #[serde(rename = "_id")]
    pub id: String,
    pub cluster_id: String,
    /// In base64.
    pub token_key: String,
}

/// The document `settings` of `_settings`.
#[derive(Serialize, Deserialize)]
pub(super) struct SettingsDoc {
    #[serde(rename = "_id")]
    pub id: String,
    pub settings: Settings,
}

/// The document `feature` of `_settings`.
#[derive(Serialize, Deserialize)]
pub(super) struct FeatureDoc {
    #[serde(rename = "_id")]
    pub id: String,
    pub level: u64,
}

/// Names of the documents of `_settings`.
pub(super) const CLUSTER_DOC: &str = "cluster";
pub(super) const SETTINGS_DOC: &str = "settings";
pub(super) const FEATURE_DOC: &str = "feature";

/// The names of the records under `META`.
pub(super) const META_FORMAT: &str = "format";
pub(super) const META_APPLIED: &str = "applied";
/// What this version writes and reads.
pub(super) const STATE_FORMAT: &[u8] = b"jettradb state 1";

impl View {
    /// The view of a store: empty, or as the last apply left it.
    pub fn load(engine: &dyn Engine) -> Result<View, Halt> {
        let meta = match engine.get(&keys::meta(META_APPLIED))? {
            Some(bytes) => Meta::decode(&bytes).ok_or_else(|| Halt::damage("the record of what is applied"))?,
            None => Meta::default(),
        };
        let mut stats = StatsMap::default();
        let prefix = vec![keys::STATS];
        for pair in engine.scan_prefix(&prefix) {
            let (key, value) = pair?;
            let broken = || Halt::damage(format!("the stats at {key:?}"));
            stats.set(keys::collection(&key).ok_or_else(broken)?, Stats::decode(&value).ok_or_else(broken)?);
        }
        Ok(View { meta, core: Core::load(engine)?, stats })
    }

    /// The revision of what was applied last; 0 where nothing was.
    pub fn rev(&self) -> u64 {
        self.meta.index.map_or(0, |index| self.meta.base + index)
    }

    /// What of the garbage this view does not need.
    pub fn horizon(&self) -> Horizon {
        Horizon { rev: self.rev(), time_ms: self.meta.time_ms, changes_floor: self.meta.changes_floor }
    }
}

impl Core {
    fn load(engine: &dyn Engine) -> Result<Core, Halt> {
        let mut catalog = Vec::new();
        for doc in live_docs(engine, system::CATALOG) {
            let (id, _, body) = doc?;
            let id = parse_id(&id).ok_or_else(|| Halt::damage(format!("the catalog's id {id}")))?;
            catalog.push((id, parse(&body, "a document of the catalog")?));
        }
        let mut members = BTreeMap::new();
        for doc in live_docs(engine, system::CLUSTERNODES) {
            let (id, _, body) = doc?;
            members.insert(id, parse(&body, "a member's document")?);
        }
        let mut users = BTreeMap::new();
        for doc in live_docs(engine, system::USERS) {
            let (id, rev, body) = doc?;
            let UserDoc { role, password_hash, databases, .. } = parse(&body, "a user's document")?;
            users.insert(id, User { role, password_hash, databases, rev });
        }
        let mut core = Core {
            catalog: Arc::new(Catalog::from_docs(catalog)?),
            settings: Arc::default(),
            members: Arc::new(members),
            users: Arc::new(users),
            cluster: None,
            feature_level: 1,
        };
        for doc in live_docs(engine, system::SETTINGS) {
            let (id, _, body) = doc?;
            match id.as_str() {
                SETTINGS_DOC => {
                    let doc: SettingsDoc = parse(&body, "the settings")?;
                    core.settings = Arc::new(doc.settings);
                }
                FEATURE_DOC => {
                    core.feature_level = parse::<FeatureDoc>(&body, "the feature level")?.level;
                    feature::check(core.feature_level, "the data directory").map_err(|what| Halt::Level { what })?;
                }
                CLUSTER_DOC => core.cluster = Some(Arc::new(parse::<ClusterDoc>(&body, "the cluster's id")?.read()?)),
                _ => {}
            }
        }
        Ok(core)
    }
}

impl ClusterDoc {
    fn read(self) -> Result<ClusterIdentity, Halt> {
        use base64::Engine as _;
        let token_key = base64::engine::general_purpose::STANDARD
            .decode(self.token_key)
            .map_err(|_| Halt::damage("the token key is not base64"))?;
        Ok(ClusterIdentity { cluster_id: self.cluster_id, token_key })
    }
}

/// Reads one of the system's own documents.
pub(super) fn parse<T: serde::de::DeserializeOwned>(body: &[u8], what: &str) -> Result<T, Halt> {
    serde_json::from_slice(body).map_err(|error| Halt::damage(format!("{what} cannot be read: {error}")))
}

/// Id, rev and body of each live document of a collection.
fn live_docs(
    engine: &dyn Engine,
    collection: CollectionId,
) -> impl Iterator<Item = Result<(String, u64, Bytes), Halt>> + use<'_> {
    engine.scan_prefix(&keys::current_prefix(collection)).filter_map(|pair| {
        let read = || -> Result<Option<(String, u64, Bytes)>, Halt> {
            let (key, value) = pair?;
            let id = keys::current_id(&key).ok_or_else(|| Halt::damage("a document's key"))?.to_owned();
            let envelope = Envelope::decode(&value)?;
            Ok(envelope.body().map(|body| (id, envelope.rev, body.clone())))
        };
        read().transpose()
    })
}

impl Meta {
    /// `format u8 = 2 | has index u8 | index u64 | base u64 | time u64 | floor u64 | position length u32 | position |
    /// has membership u8 | membership length u32 | membership | bytes of changes`
    pub fn encode(&self) -> Bytes {
        let mut out = vec![2, u8::from(self.index.is_some())];
        for number in [self.index.unwrap_or(0), self.base, self.time_ms, self.changes_floor] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&(self.position.len() as u32).to_be_bytes());
        out.extend_from_slice(&self.position);
        let membership = self.membership.as_deref().unwrap_or_default();
        out.push(u8::from(self.membership.is_some()));
        out.extend_from_slice(&(membership.len() as u32).to_be_bytes());
        out.extend_from_slice(membership);
        self.changes.encode(&mut out);
        out.into()
    }

    /// Reads what [`Meta::encode`] wrote; also format 1, which ends with the membership and has no length of it.
    pub fn decode(bytes: &Bytes) -> Option<Meta> {
        let number = |n: usize| Some(u64::from_be_bytes(bytes.get(2 + 8 * n..10 + 8 * n)?.try_into().ok()?));
        let length = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize);
        let behind = 38 + length(34)?;
        let (membership, changes) = match *bytes.first()? {
            1 => (behind + 1..bytes.len(), ChangeBytes::default()),
            2 => {
                let end = behind + 5 + length(behind + 1)?;
                (behind + 5..end, ChangeBytes::decode(bytes.get(end..)?)?)
            }
            _ => return None,
        };
        let has_membership = *bytes.get(behind)? == 1;
        Some(Meta {
            index: if bytes[1] == 1 { Some(number(0)?) } else { None },
            base: number(1)?,
            time_ms: number(2)?,
            changes_floor: number(3)?,
            changes,
            position: bytes.slice(38..behind),
            membership: if has_membership {
                Some(bytes.get(membership.clone()).map(|_| bytes.slice(membership))?)
            } else {
                None
            },
        })
    }
}

/// How many bytes of changes there were in all, and marks where: so that the oldest go by bytes too, without a look
/// at them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ChangeBytes {
    total: u64,
    /// Revisions, and how many bytes of changes there were before each; oldest first.
    marks: VecDeque<(u64, u64)>,
}

impl ChangeBytes {
    /// Marks in the bytes that are kept.
    const MARKS: u64 = 16;

    /// Counts the changes of the revision `rev`, of which `most` bytes are to be kept.
    pub fn add(&mut self, rev: u64, bytes: u64, most: u64) {
        self.total += bytes;
        let marked = self.marks.back().map_or(0, |(_, before)| *before);
        if self.total - marked >= most / Self::MARKS {
            self.marks.push_back((rev + 1, self.total));
        }
    }

    /// The revision from which on there are about `most` bytes: what is before it can go. 0 where nothing can.
    pub fn floor(&mut self, most: u64) -> u64 {
        let mut floor = 0;
        while let Some((rev, before)) = self.marks.front().copied()
            && self.total - before >= most
        {
            floor = rev;
            self.marks.pop_front();
        }
        floor
    }

    /// `total u64 | marks u16 | (revision u64, bytes u64)*`
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.total.to_be_bytes());
        // There are hardly more than MARKS: the oldest go when that many bytes have come after them.
        out.extend_from_slice(&(self.marks.len() as u16).to_be_bytes());
        for (rev, before) in &self.marks {
            out.extend_from_slice(&rev.to_be_bytes());
            out.extend_from_slice(&before.to_be_bytes());
        }
    }

    fn decode(bytes: &[u8]) -> Option<ChangeBytes> {
        let number = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let count = u16::from_be_bytes(bytes.get(8..10)?.try_into().ok()?);
        let marks = (0..usize::from(count)).map(|n| Some((number(10 + 16 * n)?, number(18 + 16 * n)?)));
        Some(ChangeBytes { total: number(0)?, marks: marks.collect::<Option<_>>()? })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn changes_beyond_the_bytes_go_oldest_first() {
        let mut changes = ChangeBytes::default();
        let mut floor = 0;
        for rev in 1..=1_000 {
            changes.add(rev, 100, 16_000);
            floor = floor.max(changes.floor(16_000));
        }
        // 160 revisions have 16 000 bytes; the marks are 10 revisions apart.
        assert!((831..=841).contains(&floor), "{floor}");
        assert!(changes.marks.len() <= 17);
        // A larger bound brings nothing back, a smaller one lets go of more.
        assert_eq!(changes.floor(32_000), 0);
        assert!((941..=951).contains(&changes.floor(5_000)));
    }

    #[test]
    fn both_formats_are_read() {
        let mut meta = Meta { index: Some(7), base: 3, position: Bytes::from_static(b"position"), ..Meta::default() };
        for membership in [None, Some(Bytes::new()), Some(Bytes::from_static(b"members"))] {
            meta.membership = membership;
            meta.changes = ChangeBytes::default();
            let mut old = vec![1, 1];
            [7u64, 3, 0, 0].iter().for_each(|number| old.extend_from_slice(&number.to_be_bytes()));
            old.extend_from_slice(&8u32.to_be_bytes());
            old.extend_from_slice(b"position");
            old.push(u8::from(meta.membership.is_some()));
            old.extend_from_slice(meta.membership.as_deref().unwrap_or_default());
            assert_eq!(Meta::decode(&old.into()).as_ref(), Some(&meta));
            meta.changes.add(9, 1_000, 16);
            assert_eq!(Meta::decode(&meta.encode()).as_ref(), Some(&meta));
            assert_eq!(Meta::decode(&meta.encode().slice(..meta.encode().len() - 1)), None);
        }
    }
}

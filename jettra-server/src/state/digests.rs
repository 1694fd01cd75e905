//! Whether all replicas hold the same: the digests of every collection at one log index, and their comparison.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::machine::State;
use super::stats::{Stats, StatsMap};
use super::system;
use crate::storage::keys::CollectionId;

/// Checks that a node keeps.
pub(super) const KEPT: usize = 2;

/// The digests of all collections as they were at one log index. A clone is cheap.
#[derive(Debug, Clone)]
pub struct DigestCheck {
    /// The index of the entry `digest_check`.
    pub index: u64,
    stats: StatsMap,
}

/// What one collection held, as it travels between nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedCollection {
    /// The collection's number.
    pub collection: CollectionId,
    /// How many documents it held.
    pub count: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Its digest, in hexadecimal digits.
    pub digest: String,
}

impl DigestCheck {
    pub(super) fn new(index: u64, stats: &StatsMap) -> Self {
        DigestCheck { index, stats: stats.clone() }
    }

    /// What every collection held that was not empty, by number.
    pub fn collections(&self) -> Vec<CheckedCollection> {
        let checked = |(collection, Stats { count, bytes, digest }): (CollectionId, Stats)| CheckedCollection {
            collection,
            count,
            bytes,
            digest: format!("{digest:032x}"),
        };
        self.stats.all().into_iter().map(checked).collect()
    }

    /// One digest over all of it, in hexadecimal digits.
    pub fn total(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for (collection, stats) in self.stats.all() {
            hasher.update(&collection.0.to_be_bytes());
            hasher.update(&stats.encode());
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// A collection that is not the same everywhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The collection's number.
    pub collection: CollectionId,
    /// Who holds something else than most.
    pub nodes: Vec<String>,
    /// Whether more than half hold the same; else nobody can tell who is right.
    pub certain: bool,
}

/// Where replicas differ that all stand at one index. `replicas` are their names and what they hold; where as many hold
/// one thing as another, the first one counts as right.
pub fn compare(replicas: &[(String, Vec<CheckedCollection>)]) -> Vec<Difference> {
    let held: Vec<BTreeMap<CollectionId, &CheckedCollection>> =
        replicas.iter().map(|(_, held)| held.iter().map(|one| (one.collection, one)).collect()).collect();
    let collections: BTreeSet<CollectionId> = held.iter().flat_map(|held| held.keys().copied()).collect();
    let difference = |collection: CollectionId| {
        let all: Vec<Option<&CheckedCollection>> = held.iter().map(|held| held.get(&collection).copied()).collect();
        let votes = |what| all.iter().filter(|other| **other == what).count();
        // Of equals the first.
        let right = all.iter().rev().copied().max_by_key(|what| votes(*what))?;
        let odd: Vec<String> =
            replicas.iter().zip(&all).filter(|(_, what)| **what != right).map(|((name, _), _)| name.clone()).collect();
        let certain = votes(right) * 2 > all.len();
        (!odd.is_empty()).then_some(Difference { collection, nodes: odd, certain })
    };
    collections.into_iter().filter_map(difference).collect()
}

impl State {
    /// The digests that the last `digest_check`s asked for, oldest first; none of before this state was opened.
    pub fn digest_checks(&self) -> Vec<DigestCheck> {
        self.kept_checks().lock().iter().cloned().collect()
    }

    /// The name of a collection, as `database/collection`.
    pub fn collection_name(&self, collection: CollectionId) -> String {
        if system::is_system(collection) {
            return format!("_system/{}", system::name_of(collection));
        }
        let view = self.view();
        let named = view.core.catalog.databases().find_map(|(database, held)| {
            let (name, _) = held.collections.iter().find(|(_, id)| **id == collection)?;
            Some(format!("{database}/{name}"))
        });
        named.unwrap_or_else(|| format!("a dropped collection ({:016x})", collection.0))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn holds(name: &str, digests: &[(u64, &str)]) -> (String, Vec<CheckedCollection>) {
        let one = |(collection, digest): &(u64, &str)| CheckedCollection {
            collection: CollectionId(*collection),
            count: 1,
            bytes: 10,
            digest: (*digest).to_owned(),
        };
        (name.to_owned(), digests.iter().map(one).collect())
    }

    fn odd(replicas: &[(String, Vec<CheckedCollection>)]) -> Vec<(u64, Vec<String>, bool)> {
        compare(replicas).into_iter().map(|found| (found.collection.0, found.nodes, found.certain)).collect()
    }

    #[test]
    fn equal_replicas_do_not_differ() {
        assert_eq!(odd(&[]), []);
        assert_eq!(odd(&[holds("a", &[(1, "x"), (2, "y")]), holds("b", &[(1, "x"), (2, "y")])]), []);
    }

    #[test]
    fn whoever_differs_from_most_is_named_the_first_one_too() {
        let replicas =
            [holds("a", &[(1, "x"), (2, "WRONG")]), holds("b", &[(1, "x"), (2, "y")]), holds("c", &[(2, "y")])];
        assert_eq!(odd(&replicas), [(1, vec!["c".to_owned()], true), (2, vec!["a".to_owned()], true)]);
    }

    #[test]
    fn of_two_nobody_knows_who_is_right() {
        let replicas = [holds("a", &[(1, "x")]), holds("b", &[(1, "y")])];
        assert_eq!(odd(&replicas), [(1, vec!["b".to_owned()], false)]);
    }
}

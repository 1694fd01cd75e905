//! The system's own collections. Their ids are fixed and below any that a revision gives.
//!
//! Only the visible ones have names that a request can reach; the others are in no answer, query, export or watch.

use crate::storage::keys::CollectionId;

/// The database `_system`.
pub(super) const DATABASE: u64 = 0;
/// One document a member of the cluster.
pub(super) const CLUSTERNODES: CollectionId = CollectionId(1);
/// One document a database and a collection.
pub(super) const CATALOG: CollectionId = CollectionId(2);
/// One document a user.
pub(super) const USERS: CollectionId = CollectionId(3);
/// The replicated settings, the cluster's id and its token key.
pub(super) const SETTINGS: CollectionId = CollectionId(4);
/// One document a token.
pub(super) const TOKENS: CollectionId = CollectionId(5);
/// Tokens in the order in which they are looked at for their end.
pub(super) const TOKEN_ORDER: CollectionId = CollectionId(6);
/// The outcome of each request with a key.
pub(super) const REQUESTS: CollectionId = CollectionId(7);
/// Those requests, oldest first.
pub(super) const REQUEST_ORDER: CollectionId = CollectionId(8);
/// One document a client session.
pub(super) const SESSIONS: CollectionId = CollectionId(9);
/// Sessions in the order in which they are looked at for their end.
pub(super) const SESSION_ORDER: CollectionId = CollectionId(10);
/// The journal of the cluster, oldest first.
pub(super) const EVENTS: CollectionId = CollectionId(11);

/// Every collection of the system.
pub(super) const ALL: [CollectionId; 11] = [
    CLUSTERNODES,
    CATALOG,
    USERS,
    SETTINGS,
    TOKENS,
    TOKEN_ORDER,
    REQUESTS,
    REQUEST_ORDER,
    SESSIONS,
    SESSION_ORDER,
    EVENTS,
];

/// The name of the one that holds the members.
pub const CLUSTERNODES_NAME: &str = "_clusternodes";

/// Those that administrators can read, by name.
pub(super) const VISIBLE: [(&str, CollectionId); 1] = [(CLUSTERNODES_NAME, CLUSTERNODES)];

/// Whether it is one of the system's.
pub(super) fn is_system(collection: CollectionId) -> bool {
    collection.0 < 1 << 16
}

/// The name of one of the system's collections, for people.
pub(super) fn name_of(collection: CollectionId) -> &'static str {
    match collection {
        CLUSTERNODES => CLUSTERNODES_NAME,
        CATALOG => "_catalog",
        USERS => "_users",
        SETTINGS => "_settings",
        TOKENS => "_tokens",
        TOKEN_ORDER => "_tokenorder",
        REQUESTS => "_requests",
        REQUEST_ORDER => "_requestorder",
        SESSIONS => "_sessions",
        SESSION_ORDER => "_sessionorder",
        EVENTS => "_events",
        _ => "_unknown",
    }
}

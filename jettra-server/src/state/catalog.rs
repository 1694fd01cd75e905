//! Which databases and collections there are, by name.
//!
//! Each is a document of the hidden collection `_catalog`; this is the form in memory, rebuilt when the state opens.
//! Numeric ids are given once and never again: `rev << 16 | n` for the n-th thing created at revision `rev`. Keys carry
//! ids only, so a rename is one write.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::halt::Halt;
use super::names::{CollectionName, DatabaseName, SYSTEM_DATABASE};
use super::system;
use crate::storage::keys::CollectionId;

/// The engine of a database that was created without naming one. It is kept and reported only.
pub const DEFAULT_ENGINE: &str = "JettraBasicStore";
/// The other engine that a database may name; `_system` reports it.
pub const OTHER_ENGINE: &str = "JettraEngineStore";

/// All databases by name.
#[derive(Debug, Clone)]
pub(super) struct Catalog {
    databases: BTreeMap<DatabaseName, Arc<Database>>,
    /// How many collections users have, in all databases.
    collections: usize,
}

/// A database.
#[derive(Debug, Clone)]
pub(super) struct Database {
    pub id: u64,
    pub engine: String,
    pub collections: BTreeMap<CollectionName, CollectionId>,
}

/// A document of `_catalog`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum CatalogDoc {
    /// A database.
    Database { name: String, engine: String },
    /// A collection of the database with the id `database`, in hexadecimal digits.
    Collection { database: String, name: String },
}

impl Catalog {
    /// The catalog with nothing but the system's own database.
    pub fn new() -> Result<Catalog, Halt> {
        let mut collections = BTreeMap::new();
        for (name, id) in system::VISIBLE {
            collections.insert(CollectionName::parse(name).map_err(broken_name)?, id);
        }
        let system = Database { id: system::DATABASE, engine: OTHER_ENGINE.to_owned(), collections };
        let name = DatabaseName::parse(SYSTEM_DATABASE).map_err(broken_name)?;
        Ok(Catalog { databases: BTreeMap::from([(name, Arc::new(system))]), collections: 0 })
    }

    /// The catalog that the documents of `_catalog` tell of, given with their ids.
    pub fn from_docs(docs: impl IntoIterator<Item = (u64, CatalogDoc)>) -> Result<Catalog, Halt> {
        let mut catalog = Catalog::new()?;
        let mut names = BTreeMap::new();
        let mut collections = Vec::new();
        for (id, doc) in docs {
            match doc {
                CatalogDoc::Database { name, engine } => {
                    let name = DatabaseName::parse(&name).map_err(broken_name)?;
                    catalog.insert_database(name.clone(), Database { id, engine, collections: BTreeMap::new() });
                    names.insert(id, name);
                }
                CatalogDoc::Collection { database, name } => collections.push((CollectionId(id), database, name)),
            }
        }
        for (id, database, name) in collections {
            let database = parse_id(&database).and_then(|id| names.get(&id));
            let name = CollectionName::parse(&name).map_err(broken_name)?;
            let known = database.is_some_and(|database| catalog.insert_collection(database.as_str(), name, id));
            if !known {
                return Err(Halt::damage(format!("the catalog's collection {} has no database", id_text(id.0))));
            }
        }
        Ok(catalog)
    }

    /// Each database by name.
    pub fn databases(&self) -> impl Iterator<Item = (&DatabaseName, &Database)> {
        self.databases.iter().map(|(name, database)| (name, &**database))
    }

    pub fn database(&self, name: &str) -> Option<&Database> {
        self.databases.get(name).map(|database| &**database)
    }

    /// The id of a collection.
    pub fn collection(&self, database: &str, name: &str) -> Option<CollectionId> {
        self.database(database)?.collections.get(name).copied()
    }

    /// Databases of users.
    pub fn database_count(&self) -> usize {
        self.databases.len() - 1
    }

    /// Collections of users, in all databases.
    pub fn collection_count(&self) -> usize {
        self.collections
    }

    pub fn insert_database(&mut self, name: DatabaseName, database: Database) {
        self.databases.insert(name, Arc::new(database));
    }

    /// Takes a database away, with its collections.
    pub fn remove_database(&mut self, name: &str) -> Option<Arc<Database>> {
        let database = self.databases.remove(name)?;
        self.collections -= database.collections.len();
        Some(database)
    }

    /// Gives a database another name.
    pub fn rename_database(&mut self, from: &str, to: DatabaseName) {
        if let Some(database) = self.databases.remove(from) {
            self.databases.insert(to, database);
        }
    }

    /// Puts a collection into a database; false where there is no such database.
    pub fn insert_collection(&mut self, database: &str, name: CollectionName, id: CollectionId) -> bool {
        let Some(database) = self.databases.get_mut(database) else { return false };
        if Arc::make_mut(database).collections.insert(name, id).is_none() {
            self.collections += 1;
        }
        true
    }

    /// Takes a collection away and returns its id.
    pub fn remove_collection(&mut self, database: &str, name: &str) -> Option<CollectionId> {
        let id = Arc::make_mut(self.databases.get_mut(database)?).collections.remove(name)?;
        self.collections -= 1;
        Some(id)
    }

    /// The ids of all collections that there are: the users' and the system's.
    pub fn collection_ids(&self) -> std::collections::BTreeSet<CollectionId> {
        let named = self.databases.values().flat_map(|database| database.collections.values().copied());
        named.chain(system::ALL).collect()
    }
}

/// A numeric id as the document id in `_catalog`: 16 hexadecimal digits.
pub(super) fn id_text(id: u64) -> String {
    format!("{id:016x}")
}

/// The numeric id that a document id in `_catalog` stands for.
pub(super) fn parse_id(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

fn broken_name(error: crate::error::Error) -> Halt {
    Halt::damage(format!("the catalog holds a broken name: {}", error.message()))
}

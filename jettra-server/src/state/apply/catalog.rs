//! Databases and collections: created, dropped, renamed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::json;
use crate::error::Error;
use crate::state::catalog::{CatalogDoc, DEFAULT_ENGINE, Database, id_text};
use crate::state::changes::Change;
use crate::state::garbage::Note;
use crate::state::halt::AnswerOrHalt;
use crate::state::names::{CollectionName, DatabaseName, STANDARD_COLLECTIONS};
use crate::state::outcome::Answer;
use crate::state::stage::Stage;
use crate::state::stats::Stats;
use crate::state::system;
use crate::storage::keys::CollectionId;

type Result<T> = std::result::Result<T, AnswerOrHalt>;

const UNCHANGED: Answer = Answer::Done { changed: false };
const CHANGED: Answer = Answer::Done { changed: true };

pub(super) fn create_database(stage: &mut Stage<'_>, name: &DatabaseName, engine: Option<&str>) -> Result<Answer> {
    name.check_creatable()?;
    if stage.core.catalog.database(name.as_str()).is_some() {
        return Ok(UNCHANGED);
    }
    new_database(stage, name, engine)?;
    Ok(CHANGED)
}

pub(super) fn delete_database(stage: &mut Stage<'_>, name: &DatabaseName) -> Result<Answer> {
    name.check_creatable()?;
    let Some(database) = Arc::make_mut(&mut stage.core.catalog).remove_database(name.as_str()) else {
        return Ok(UNCHANGED);
    };
    for (col, collection) in &database.collections {
        drop_collection(stage, name, col, *collection)?;
    }
    stage.remove(system::CATALOG, &id_text(database.id))?;
    Ok(CHANGED)
}

pub(super) fn rename_database(stage: &mut Stage<'_>, from: &DatabaseName, to: &DatabaseName) -> Result<Answer> {
    from.check_creatable()?;
    to.check_creatable()?;
    let catalog = &stage.core.catalog;
    let database = catalog
        .database(from.as_str())
        .ok_or_else(|| Error::not_found(format!("there is no database {from}; GET /api/dbs lists them")))?;
    if from == to {
        return Ok(UNCHANGED);
    }
    if catalog.database(to.as_str()).is_some() {
        return Err(Error::conflict(format!("a database {to} exists already; choose another name")).into());
    }
    let (id, doc) = (database.id, database_doc(to, &database.engine));
    let collections = database.collections.clone();
    Arc::make_mut(&mut stage.core.catalog).rename_database(from.as_str(), to.clone());
    save_doc(stage, id, &doc)?;
    for (col, collection) in &collections {
        let change = Change::Renamed { db: to.to_string(), col: col.to_string() };
        stage.note_change(*collection, from.as_str(), col.as_str(), &change);
    }
    Ok(CHANGED)
}

pub(super) fn create_collection(stage: &mut Stage<'_>, db: &DatabaseName, name: &CollectionName) -> Result<Answer> {
    db.check_creatable()?;
    name.check_creatable()?;
    if stage.core.catalog.collection(db.as_str(), name.as_str()).is_some() {
        return Ok(UNCHANGED);
    }
    collection_for_writing(stage, db, name)?;
    Ok(CHANGED)
}

pub(super) fn delete_collection(stage: &mut Stage<'_>, db: &DatabaseName, name: &CollectionName) -> Result<Answer> {
    db.check_creatable()?;
    match Arc::make_mut(&mut stage.core.catalog).remove_collection(db.as_str(), name.as_str()) {
        Some(collection) => {
            drop_collection(stage, db, name, collection)?;
            Ok(CHANGED)
        }
        None => Ok(UNCHANGED),
    }
}

pub(super) fn rename_collection(
    stage: &mut Stage<'_>,
    db: &DatabaseName,
    from: &CollectionName,
    to: &CollectionName,
) -> Result<Answer> {
    db.check_creatable()?;
    to.check_creatable()?;
    let database = stage.core.catalog.database(db.as_str());
    let (database, collection) =
        database.and_then(|database| Some((database.id, database.collections.get(from)?))).ok_or_else(|| {
            Error::not_found(format!("database {db} has no collection {from}; GET /api/dbs/{db}/cols lists them"))
        })?;
    let collection = *collection;
    if from == to {
        return Ok(UNCHANGED);
    }
    if stage.core.catalog.collection(db.as_str(), to.as_str()).is_some() {
        let message = format!("database {db} has a collection {to} already; choose another name");
        return Err(Error::conflict(message).into());
    }
    let catalog = Arc::make_mut(&mut stage.core.catalog);
    catalog.remove_collection(db.as_str(), from.as_str());
    catalog.insert_collection(db.as_str(), to.clone(), collection);
    save_doc(stage, collection.0, &collection_doc(database, to))?;
    let change = Change::Renamed { db: db.to_string(), col: to.to_string() };
    stage.note_change(collection, db.as_str(), from.as_str(), &change);
    Ok(CHANGED)
}

/// The id of a collection; it and its database come into being where they are not there.
pub(super) fn collection_for_writing(
    stage: &mut Stage<'_>,
    db: &DatabaseName,
    name: &CollectionName,
) -> Result<CollectionId> {
    if let Some(collection) = stage.core.catalog.collection(db.as_str(), name.as_str()) {
        return Ok(collection);
    }
    db.check_creatable()?;
    name.check_creatable()?;
    let database = match stage.core.catalog.database(db.as_str()) {
        Some(database) => database.id,
        None => new_database(stage, db, None)?,
    };
    match stage.core.catalog.collection(db.as_str(), name.as_str()) {
        // One of those that every new database has.
        Some(collection) => Ok(collection),
        None => new_collection(stage, db, database, name),
    }
}

fn new_database(stage: &mut Stage<'_>, name: &DatabaseName, engine: Option<&str>) -> Result<u64> {
    let limit = stage.core.settings.max_databases;
    if stage.core.catalog.database_count() >= limit as usize {
        let message = format!("there are {limit} databases and that is the limit; delete one first");
        return Err(Error::too_large(message).with("limit", limit).into());
    }
    let id = next_id(stage)?;
    let engine = engine.unwrap_or(DEFAULT_ENGINE).to_owned();
    save_doc(stage, id, &database_doc(name, &engine))?;
    let database = Database { id, engine, collections: BTreeMap::new() };
    Arc::make_mut(&mut stage.core.catalog).insert_database(name.clone(), database);
    for standard in STANDARD_COLLECTIONS {
        new_collection(stage, name, id, &CollectionName::parse(standard)?)?;
    }
    Ok(id)
}

fn new_collection(
    stage: &mut Stage<'_>,
    db: &DatabaseName,
    database: u64,
    name: &CollectionName,
) -> Result<CollectionId> {
    let limit = stage.core.settings.max_collections;
    if stage.core.catalog.collection_count() >= limit as usize {
        let message = format!("there are {limit} collections and that is the limit; delete one first");
        return Err(Error::too_large(message).with("limit", limit).into());
    }
    let id = CollectionId(next_id(stage)?);
    save_doc(stage, id.0, &collection_doc(database, name))?;
    Arc::make_mut(&mut stage.core.catalog).insert_collection(db.as_str(), name.clone(), id);
    Ok(id)
}

/// Forgets a collection: its documents are deleted in the background.
fn drop_collection(
    stage: &mut Stage<'_>,
    db: &DatabaseName,
    name: &CollectionName,
    collection: CollectionId,
) -> Result<()> {
    stage.remove(system::CATALOG, &id_text(collection.0))?;
    stage.note_garbage(&Note::Collection { collection });
    stage.set_stats(collection, Stats::default());
    stage.note_change(collection, db.as_str(), name.as_str(), &Change::Dropped);
    Ok(())
}

fn next_id(stage: &mut Stage<'_>) -> Result<u64> {
    let too_many = || Error::too_large("one request creates too many databases and collections; split it");
    Ok(stage.next_id().ok_or_else(too_many)?)
}

fn database_doc(name: &DatabaseName, engine: &str) -> CatalogDoc {
    CatalogDoc::Database { name: name.to_string(), engine: engine.to_owned() }
}

fn collection_doc(database: u64, name: &CollectionName) -> CatalogDoc {
    CatalogDoc::Collection { database: id_text(database), name: name.to_string() }
}

fn save_doc(stage: &mut Stage<'_>, id: u64, doc: &CatalogDoc) -> Result<()> {
    stage.save(system::CATALOG, &id_text(id), json(doc)?)?;
    Ok(())
}

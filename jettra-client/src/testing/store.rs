//! What the nodes in memory share: documents, members, sessions.

use std::collections::{BTreeMap, HashMap, HashSet};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::routes::Reply;
use crate::options::Condition;
use crate::wire::{CollectionPath, ErrorCode, Position};

/// A member of the cluster.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) url: String,
    pub(super) active: bool,
    pub(super) replica: bool,
}

/// A document and what it was.
#[derive(Debug, Default)]
struct Document {
    current: Option<(u64, String)>,
    /// Superseded states, oldest first.
    history: Vec<(u64, String)>,
}

/// A document that was saved, or deleted.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) rev: u64,
    pub(super) path: CollectionPath,
    pub(super) id: String,
    pub(super) json: Option<String>,
}

type Collection = BTreeMap<String, Document>;

/// The answers of one session's numbered writes.
#[derive(Debug, Default)]
struct Numbered {
    acknowledged: u64,
    answers: BTreeMap<u64, Reply>,
}

/// The state of a cluster in memory.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) index: u64,
    pub(super) leader: String,
    pub(super) members: Vec<Member>,
    pub(super) engines: BTreeMap<String, String>,
    pub(super) login_required: bool,
    pub(super) tokens: HashSet<String>,
    pub(super) password: String,
    /// What was saved (or, without a text, deleted), oldest first.
    changes: Vec<Change>,
    /// By database, then by name.
    collections: BTreeMap<String, BTreeMap<String, Collection>>,
    sessions: HashMap<String, Numbered>,
}

impl Store {
    pub(super) fn new(urls: Vec<String>) -> Store {
        let member = |(place, url)| Member { id: format!("node{}", place + 1), url, active: true, replica: false };
        Store {
            index: 1,
            leader: "node1".into(),
            members: urls.into_iter().enumerate().map(member).collect(),
            engines: BTreeMap::new(),
            login_required: false,
            tokens: HashSet::new(),
            password: "password".into(),
            changes: Vec::new(),
            collections: BTreeMap::new(),
            sessions: HashMap::new(),
        }
    }

    pub(super) fn knows(&self, authorization: Option<&str>) -> bool {
        match authorization {
            None => !self.login_required,
            Some(token) if token.starts_with("Bearer ") => self.tokens.contains(token),
            Some(basic) => basic == format!("Basic {}", BASE64_STANDARD.encode(format!("admin:{}", self.password))),
        }
    }

    /// Does a write once for its number, `<session>;<number>;<acknowledged>`.
    pub(super) fn once(&mut self, number: Option<&str>, write: impl FnOnce(&mut Store) -> Reply) -> Reply {
        let Some(number) = number else { return write(self) };
        let parts: Vec<&str> = number.split(';').collect();
        let [session, number, acknowledged] = parts.as_slice() else {
            return Reply::error(ErrorCode::BadRequest, "Jettra-Session is <id>;<sequence>;<acknowledged-up-to>");
        };
        let (Ok(number), Ok(acknowledged)) = (number.parse::<u64>(), acknowledged.parse::<u64>()) else {
            return Reply::error(ErrorCode::BadRequest, "Jettra-Session: sequence and mark are numbers");
        };
        let numbered = self.sessions.entry((*session).to_owned()).or_default();
        numbered.acknowledged = numbered.acknowledged.max(acknowledged);
        numbered.answers = numbered.answers.split_off(&(numbered.acknowledged + 1));
        if number <= numbered.acknowledged || number > numbered.acknowledged + 256 {
            return Reply::error(ErrorCode::Conflict, "the sequence is outside the session's window");
        }
        if let Some(first) = numbered.answers.get(&number) {
            return first.clone();
        }
        let reply = write(self);
        self.sessions.entry((*session).to_owned()).or_default().answers.insert(number, reply.clone());
        reply
    }

    pub(super) fn create_database(&mut self, name: &str, engine: &str) {
        self.engines.entry(name.to_owned()).or_insert_with(|| engine.to_owned());
        let collections = self.collections.entry(name.to_owned()).or_default();
        for name in ["_engine", "_info", "_rules"] {
            collections.entry(name.to_owned()).or_default();
        }
    }

    pub(super) fn delete_database(&mut self, name: &str) {
        self.engines.remove(name);
        self.collections.remove(name);
    }

    pub(super) fn rename_database(&mut self, old: &str, new: &str) -> bool {
        let Some(engine) = self.engines.remove(old) else { return false };
        self.engines.insert(new.to_owned(), engine);
        let collections = self.collections.remove(old).unwrap_or_default();
        self.collections.insert(new.to_owned(), collections);
        true
    }

    pub(super) fn collections(&self, database: &str) -> Vec<&String> {
        self.collections.get(database).into_iter().flat_map(BTreeMap::keys).collect()
    }

    pub(super) fn create_collection(&mut self, database: &str, name: &str) {
        self.collection(database, name);
    }

    pub(super) fn delete_collection(&mut self, database: &str, name: &str) {
        if let Some(collections) = self.collections.get_mut(database) {
            collections.remove(name);
        }
    }

    pub(super) fn rename_collection(&mut self, database: &str, old: &str, new: &str) -> bool {
        let Some(collections) = self.collections.get_mut(database) else { return false };
        let Some(documents) = collections.remove(old) else { return false };
        collections.insert(new.to_owned(), documents);
        true
    }

    /// The state of a document, with its revision.
    pub(super) fn document(&self, database: &str, collection: &str, id: &str) -> Option<&(u64, String)> {
        self.collections.get(database)?.get(collection)?.get(id)?.current.as_ref()
    }

    /// The states of a collection's documents, by id.
    pub(super) fn documents(&self, database: &str, collection: &str) -> impl Iterator<Item = &str> {
        let documents = self.collections.get(database).and_then(|collections| collections.get(collection));
        documents
            .into_iter()
            .flat_map(Collection::values)
            .filter_map(|document| Some(document.current.as_ref()?.1.as_str()))
    }

    /// The superseded states of a document, newest first.
    pub(super) fn history(&self, database: &str, collection: &str, id: &str) -> Vec<&(u64, String)> {
        let document =
            self.collections.get(database).and_then(|collections| collections.get(collection)).and_then(|c| c.get(id));
        document.into_iter().flat_map(|document| document.history.iter().rev()).collect()
    }

    /// Puts a new state in place of a document's, if the condition holds. Nothing deletes it.
    pub(super) fn put(
        &mut self,
        place: (&str, &str, &str),
        state: Option<String>,
        condition: Option<Condition>,
    ) -> Option<u64> {
        let rev = self.index + 1;
        let document = self.collection(place.0, place.1).entry(place.2.to_owned()).or_default();
        let holds = match (condition, &document.current) {
            (None, _) | (Some(Condition::Absent), None) => true,
            (Some(Condition::Rev(wanted)), Some((rev, _))) => wanted == *rev,
            (Some(Condition::Rev(_)), None) | (Some(Condition::Absent), Some(_)) => false,
        };
        if !holds {
            return None;
        }
        document.history.extend(document.current.take());
        document.current = state.clone().map(|json| (rev, json));
        self.index = rev;
        let path = CollectionPath { db: place.0.to_owned(), col: place.1.to_owned() };
        self.changes.push(Change { rev, path, id: place.2.to_owned(), json: state });
        Some(rev)
    }

    /// What was changed in a database after this position; each revision makes one change.
    pub(super) fn changes(&self, database: &str, after: Position) -> impl Iterator<Item = &Change> {
        let later = move |change: &&Change| Position { rev: change.rev, n: 0 } > after;
        self.changes.iter().filter(move |change| change.path.db == database).filter(later)
    }

    fn collection(&mut self, database: &str, name: &str) -> &mut Collection {
        if !self.engines.contains_key(database) {
            self.create_database(database, "JettraBasicStore");
        }
        self.collections.entry(database.to_owned()).or_default().entry(name.to_owned()).or_default()
    }
}

/// A document's text with its `_id`: its own, else its `id`, else `fallback`. Nothing if it is no JSON object.
pub(super) fn with_id(text: &str, fallback: String) -> Option<(String, String)> {
    let object: serde_json::Map<String, Value> = serde_json::from_str(text).ok()?;
    let named = |field: &str| object.get(field).and_then(Value::as_str).filter(|id| !id.is_empty()).map(str::to_owned);
    if let Some(id) = named("_id") {
        return Some((id, text.to_owned()));
    }
    let id = named("id").unwrap_or(fallback);
    let comma = if object.is_empty() { "" } else { "," };
    let rest = text.trim_start().strip_prefix('{')?.trim_start();
    Some((id.clone(), format!("{{\"_id\":{}{comma}{rest}", Value::String(id))))
}

/// JSON merge patch, RFC 7396.
pub(super) fn merge(target: &mut Value, patch: Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (name, value) in patch {
                if value.is_null() {
                    target.remove(&name);
                } else {
                    merge(target.entry(name).or_insert(Value::Null), value);
                }
            }
        }
        (target, Value::Object(patch)) => {
            *target = Value::Object(serde_json::Map::new());
            merge(target, Value::Object(patch));
        }
        (target, patch) => *target = patch,
    }
}

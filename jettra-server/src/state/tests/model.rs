//! A plain model of the state: what it should answer, said in the simplest way.

use std::collections::BTreeMap;

use jettra_client::wire::ErrorCode;
use serde_json::Value;

use crate::state::Settings;

/// What a test does to the state, in terms of a few names.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A batch; a single write where there is one.
    Write(Option<Request>, Vec<ModelWrite>),
    CreateDatabase(&'static str),
    DeleteDatabase(&'static str),
    RenameDatabase(&'static str, &'static str),
    CreateCollection(&'static str, &'static str),
    DeleteCollection(&'static str, &'static str),
    RenameCollection(&'static str, &'static str, &'static str),
    /// Cluster time goes on by so many milliseconds.
    Wait(u64),
    /// How many versions are kept from then on, and how many bytes of them.
    Versions(u32, u64),
}

#[derive(Debug, Clone)]
pub(super) enum Request {
    Key(&'static str, &'static str),
    Session(&'static str, u64, u64),
}

#[derive(Debug, Clone)]
pub(super) struct ModelWrite {
    pub db: &'static str,
    pub col: &'static str,
    pub id: &'static str,
    pub action: ModelAction,
    pub condition: Option<ModelCondition>,
}

#[derive(Debug, Clone)]
pub(super) enum ModelAction {
    Save(u8),
    /// Sets the field with this name, or removes it.
    Update(u8, Option<u8>),
    Delete,
    /// The n-th newest version, where there is one.
    Restore(usize),
}

#[derive(Debug, Clone)]
pub(super) enum ModelCondition {
    Absent,
    /// The actual revision and this much more.
    Rev(u64),
}

/// What a write answers: rev, and whether the document was there.
pub(super) type Answer = Result<Vec<(u64, bool)>, ErrorCode>;

/// What a step comes to: the revision that decided it, whether an earlier answer was given again, and the answer; `None`
/// where that says nothing but that it is done.
pub(super) type Taken = (u64, bool, Option<Answer>);

#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub dbs: BTreeMap<String, Cols>,
    pub rev: u64,
    pub now_ms: u64,
    pub settings: Settings,
    requests: BTreeMap<&'static str, (u64, &'static str, u64, Answer)>,
    sessions: BTreeMap<&'static str, Session>,
}

type Cols = BTreeMap<String, BTreeMap<String, History>>;

#[derive(Debug, Clone, Default)]
struct Session {
    used_ms: u64,
    acked: u64,
    outcomes: BTreeMap<u64, (u64, Answer)>,
}

/// The kept states of a document, oldest first; the last is the newest.
#[derive(Debug, Clone, Default)]
pub(super) struct History(pub Vec<ModelState>);

#[derive(Debug, Clone)]
pub(super) struct ModelState {
    pub rev: u64,
    pub time_ms: u64,
    pub body: Option<Body>,
    expires_ms: u64,
}

impl History {
    pub fn live(&self) -> Option<(u64, &Body)> {
        let newest = self.0.last()?;
        Some((newest.rev, newest.body.as_ref()?))
    }

    /// The live superseded states, newest first.
    pub fn versions(&self, now_ms: u64) -> Vec<&ModelState> {
        let Some((newest, older)) = self.0.split_last() else { return Vec::new() };
        if newest.body.is_none() && newest.expires_ms <= now_ms {
            return Vec::new();
        }
        older.iter().rev().filter(|state| state.body.is_some()).collect()
    }
}

/// The fields of a document, in order.
pub(super) type Body = Vec<(String, Value)>;

pub(super) fn text(body: &Body) -> String {
    let field = |(key, value): &(String, Value)| format!("{}:{value}", Value::from(key.as_str()));
    format!("{{{}}}", body.iter().map(field).collect::<Vec<_>>().join(","))
}

impl Model {
    pub fn new(now_ms: u64) -> Self {
        Model { now_ms, ..Model::default() }
    }

    /// Takes a step at the next revision.
    pub fn take(&mut self, step: &Step) -> Taken {
        self.rev += 1;
        let rev = self.rev;
        match step {
            Step::Write(None, writes) => (rev, false, Some(self.write(writes))),
            Step::Write(Some(Request::Key(key, hash)), writes) => {
                let day_ms = self.settings.request_ms;
                match self.requests.get(key) {
                    Some((time_ms, known, first, answer)) if time_ms + day_ms > self.now_ms => {
                        if known == hash {
                            return (*first, true, Some(answer.clone()));
                        }
                        return (rev, false, Some(Err(ErrorCode::Conflict)));
                    }
                    _ => {}
                }
                let answer = self.write(writes);
                self.requests.insert(key, (self.now_ms, hash, rev, answer.clone()));
                (rev, false, Some(answer))
            }
            Step::Write(Some(Request::Session(name, sequence, acked)), writes) => {
                let mut session = self.sessions.get(name).cloned().unwrap_or_default();
                if session.used_ms + self.settings.session_ms <= self.now_ms {
                    session = Session::default();
                }
                if let Some((first, answer)) = session.outcomes.get(sequence) {
                    return (*first, true, Some(answer.clone()));
                }
                session.acked = session.acked.max(*acked);
                if *sequence <= session.acked {
                    return (rev, false, Some(Err(ErrorCode::BadRequest)));
                }
                let acked = session.acked;
                session.outcomes.retain(|number, _| *number > acked);
                if session.outcomes.len() >= self.settings.max_session_outcomes as usize {
                    return (rev, false, Some(Err(ErrorCode::BadRequest)));
                }
                let answer = self.write(writes);
                session.outcomes.insert(*sequence, (rev, answer.clone()));
                session.used_ms = self.now_ms;
                self.sessions.insert(name, session);
                (rev, false, Some(answer))
            }
            step => {
                let error = self.change(step).err();
                (rev, false, error.map(Err))
            }
        }
    }

    fn change(&mut self, step: &Step) -> Result<(), ErrorCode> {
        match step {
            Step::CreateDatabase(db) => self.create(db),
            Step::DeleteDatabase(db) => {
                self.dbs.remove(*db);
            }
            Step::RenameDatabase(from, to) => rename(&mut self.dbs, from, to)?,
            Step::CreateCollection(db, col) => {
                self.create(db);
                self.dbs.get_mut(*db).unwrap().entry((*col).to_owned()).or_default();
            }
            Step::DeleteCollection(db, col) => {
                self.dbs.get_mut(*db).and_then(|cols| cols.remove(*col));
            }
            Step::RenameCollection(db, from, to) => {
                rename(self.dbs.get_mut(*db).ok_or(ErrorCode::NotFound)?, from, to)?;
            }
            Step::Wait(ms) => self.now_ms += ms,
            Step::Versions(count, bytes) => {
                self.settings.max_versions = *count;
                self.settings.max_version_bytes = *bytes;
            }
            Step::Write(..) => unreachable!(),
        }
        Ok(())
    }

    fn create(&mut self, db: &str) {
        let standard = || ["_engine", "_info", "_rules"].map(|name| (name.to_owned(), BTreeMap::new())).into();
        self.dbs.entry(db.to_owned()).or_insert_with(standard);
    }

    fn write(&mut self, writes: &[ModelWrite]) -> Answer {
        let before = self.dbs.clone();
        let answer: Answer = writes.iter().map(|write| self.write_one(write)).collect();
        if answer.is_err() {
            self.dbs = before;
        }
        answer
    }

    fn write_one(&mut self, write: &ModelWrite) -> Result<(u64, bool), ErrorCode> {
        if matches!(write.action, ModelAction::Save(_)) {
            self.create(write.db);
            self.dbs.get_mut(write.db).unwrap().entry(write.col.to_owned()).or_default();
        }
        let docs = self.dbs.get_mut(write.db).and_then(|cols| cols.get_mut(write.col));
        let history = docs.as_ref().and_then(|docs| docs.get(write.id)).cloned().unwrap_or_default();
        let live = history.live();
        match (&write.condition, live) {
            (Some(ModelCondition::Absent), Some(_)) => return Err(ErrorCode::Conflict),
            (Some(ModelCondition::Rev(more)), live) if *more > 0 || live.is_none() => return Err(ErrorCode::Conflict),
            _ => {}
        }
        let body = match &write.action {
            ModelAction::Save(n) => Some(saved(write.id, *n)),
            ModelAction::Update(field, value) => {
                let mut body = live.ok_or(ErrorCode::NotFound)?.1.clone();
                let name = format!("f{field}");
                match (value, body.iter_mut().find(|(key, _)| *key == name)) {
                    (Some(value), Some((_, old))) => *old = (*value).into(),
                    (Some(value), None) => body.push((name, (*value).into())),
                    (None, _) => body.retain(|(key, _)| *key != name),
                }
                Some(body)
            }
            ModelAction::Delete if live.is_none() => {
                let newest = history.0.last().filter(|newest| newest.expires_ms > self.now_ms);
                return Ok((newest.map_or(0, |newest| newest.rev), false));
            }
            ModelAction::Delete => None,
            ModelAction::Restore(n) => {
                let versions = history.versions(self.now_ms);
                Some(versions.get(*n).ok_or(ErrorCode::NotFound)?.body.clone().unwrap())
            }
        };
        let existed = live.is_some();
        let expires_ms = self.now_ms + self.settings.tombstone_ms;
        let state = ModelState { rev: self.rev, time_ms: self.now_ms, body, expires_ms };
        let docs = docs.ok_or(ErrorCode::NotFound)?;
        push(docs.entry(write.id.to_owned()).or_default(), state, &self.settings);
        Ok((self.rev, existed))
    }
}

pub(super) fn saved(id: &str, n: u8) -> Body {
    vec![("_id".into(), id.into()), ("f0".into(), n.into()), ("text".into(), "t".repeat(usize::from(n)).into())]
}

fn push(history: &mut History, state: ModelState, settings: &Settings) {
    let now_ms = state.time_ms;
    if history.0.last().is_some_and(|newest| newest.rev == state.rev) {
        history.0.pop();
        history.0.push(state);
        return;
    }
    if history.0.last().is_some_and(|newest| newest.body.is_none() && newest.expires_ms <= now_ms) {
        history.0.clear();
    }
    let bytes = |body: &Option<Body>| body.as_ref().map_or(0, |body| text(body).len() as u64);
    loop {
        let live = history.0.iter().filter(|state| state.body.is_some()).count();
        let total: u64 = history.0.iter().map(|state| bytes(&state.body)).sum();
        if live <= settings.max_versions as usize && total <= settings.max_version_bytes {
            break;
        }
        history.0.remove(0);
    }
    history.0.push(state);
}

fn rename<T>(map: &mut BTreeMap<String, T>, from: &str, to: &str) -> Result<(), ErrorCode> {
    if !map.contains_key(from) {
        return Err(ErrorCode::NotFound);
    }
    if from != to {
        if map.contains_key(to) {
            return Err(ErrorCode::Conflict);
        }
        let value = map.remove(from).unwrap();
        map.insert(to.to_owned(), value);
    }
    Ok(())
}

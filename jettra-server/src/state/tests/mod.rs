//! The state as a whole.

mod changes;
mod concurrency;
mod journal;
mod model;
mod properties;
mod scrub;
mod stories;

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::error::Error;
use crate::storage::{Engine, MemoryEngine};

/// A state on its own, with a log index and a clock that go up by themselves.
struct Replica {
    state: State,
    index: u64,
    now_ms: u64,
}

impl Replica {
    fn new() -> Self {
        Self::on(Arc::new(MemoryEngine::new()))
    }

    fn on(engine: Arc<dyn Engine>) -> Self {
        let state = State::open(engine).unwrap();
        let index = state.applied().index.unwrap_or(0);
        Replica { state, index, now_ms: 1_700_000_000_000 }
    }

    fn apply(&mut self, command: &Command) -> Outcome {
        self.apply_all(std::slice::from_ref(command)).remove(0)
    }

    /// Applies the commands as one run of entries.
    fn apply_all(&mut self, commands: &[Command]) -> Vec<Outcome> {
        let encoded: Vec<Bytes> = commands.iter().map(|command| command.encode(self.now_ms)).collect();
        let entries: Vec<LogEntry<'_>> = encoded
            .iter()
            .map(|bytes| {
                self.index += 1;
                LogEntry { index: self.index, position: b"position", payload: Payload::Command(bytes) }
            })
            .collect();
        self.state.apply(&entries).unwrap()
    }

    fn run(&mut self, op: Op) -> Result<Answer, Error> {
        self.apply(&Command::new(op)).result
    }

    fn save(&mut self, db: &str, col: &str, id: &str, body: &str) -> u64 {
        self.run(Op::Write(write(db, col, save(id, body)))).unwrap();
        self.index
    }

    fn body(&self, db: &str, col: &str, id: &str) -> Option<String> {
        let doc = self.state.get(&database(db), &collection(col), &doc_id(id)).unwrap()?;
        Some(String::from_utf8(doc.body.to_vec()).unwrap())
    }

    fn versions(&self, id: &str) -> Vec<u64> {
        let versions = self.state.versions(&database("db"), &collection("c"), &doc_id(id)).unwrap();
        versions.into_iter().map(|version| version.rev).collect()
    }
}

fn database(name: &str) -> DatabaseName {
    DatabaseName::parse(name).unwrap()
}

fn collection(name: &str) -> CollectionName {
    CollectionName::parse(name).unwrap()
}

fn doc_id(id: &str) -> DocumentId {
    DocumentId::parse(id).unwrap()
}

fn write(db: &str, col: &str, action: Action) -> Write {
    Write { db: database(db), col: collection(col), action, condition: None }
}

fn write_if(condition: Condition, write: Write) -> Write {
    Write { condition: Some(condition), ..write }
}

fn save(id: &str, body: &str) -> Action {
    let document = Document::parse(&Bytes::copy_from_slice(body.as_bytes()), 1 << 20).unwrap();
    Action::Save(document.with_id(doc_id(id)).unwrap())
}

fn update(id: &str, patch: &str) -> Action {
    let patch = MergePatch::parse(&Bytes::copy_from_slice(patch.as_bytes()), &doc_id(id)).unwrap();
    Action::Update { id: doc_id(id), patch }
}

fn delete(id: &str) -> Action {
    Action::Delete { id: doc_id(id) }
}

fn restore(id: &str, version: Version) -> Action {
    Action::RestoreVersion { id: doc_id(id), version }
}

/// Everything an engine holds.
fn dump(engine: &dyn Engine) -> Vec<(Bytes, Bytes)> {
    engine.scan(std::ops::Bound::Unbounded, std::ops::Bound::Unbounded).map(|pair| pair.unwrap()).collect()
}

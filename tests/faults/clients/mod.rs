//! Clients: each kind in a file of its own.
//!
//! A client makes one call after the other, and writes each down with what came of it. A new kind (queries over
//! indexes, transactions, documents that expire) is a new file with a [`Client`], started in [`start`].

mod groups;
mod keyed;
mod local;
mod plain;
mod readers;
mod session;
mod wire;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::task::JoinHandle;

pub use groups::{MEMBERS, member_id};
pub use wire::{Http, Sent, body, document, send};

use crate::directory::Target;
use crate::history::{Call, Fresh, Key, Name, Op, Outcome, Repeat, Way};
use crate::seed::Seed;
use crate::workload::Work;

/// Somebody who makes calls.
pub trait Client: Send + 'static {
    /// Makes a call, or some that belong together, and writes them down. It ends soon, whatever happens to nodes.
    fn step(&mut self, desk: &mut Desk) -> impl Future<Output = ()> + Send;
}

/// What one client has to work with.
pub struct Desk {
    pub work: Arc<Work>,
    pub seed: Seed,
    pub http: Http,
    number: u32,
    book: Book,
}

/// What one client remembers.
#[derive(Default)]
pub struct Book {
    pub calls: Vec<Call>,
    pub repeats: Vec<Repeat>,
}

/// A call that has begun.
pub struct Begun {
    key: Key,
    way: Way,
    op: Op,
    start: u64,
}

impl Desk {
    /// Notes the time before the first byte is sent.
    pub fn begin(&self, key: Key, way: Way, op: Op) -> Begun {
        Begun { key, way, op, start: self.work.now() }
    }

    /// Writes the call down.
    pub fn end(&mut self, begun: Begun, node: &str, outcome: Outcome) {
        self.end_on(begun, node, 0, outcome);
    }

    /// The same for a call over a connection of its own.
    pub fn end_on(&mut self, begun: Begun, node: &str, connection: u32, outcome: Outcome) {
        let call = Call {
            client: self.number,
            key: begun.key,
            node: node.into(),
            way: begun.way,
            connection,
            op: begun.op,
            start: begun.start,
            end: self.work.now(),
            outcome,
        };
        self.work.operations.fetch_add(1, Ordering::Relaxed);
        match &call.outcome {
            Outcome::Unknown(_) => drop(self.work.unknown.fetch_add(1, Ordering::Relaxed)),
            Outcome::Refused(_) => drop(self.work.refused.fetch_add(1, Ordering::Relaxed)),
            Outcome::Written { rev, index } => {
                rev.iter().for_each(|rev| self.work.heard(call.key, *rev));
                index.iter().chain(rev).for_each(|index| self.work.reached(*index));
            }
            Outcome::Seen { rev: Some(rev), .. } if !matches!(call.op, Op::Version { .. }) => {
                self.work.heard(call.key, *rev);
            }
            Outcome::Conflict { rev } => self.work.heard(call.key, *rev),
            Outcome::Seen { .. } | Outcome::Missing | Outcome::Wrong(_) => {}
        }
        self.book.calls.push(call);
    }

    /// The call that was written down last.
    pub fn last(&self) -> Option<Call> {
        self.book.calls.last().cloned()
    }

    /// Writes down what the same request was told again.
    pub fn repeated(&mut self, call: Call, first: &str, again: &str) {
        self.book.repeats.push(Repeat { call, first: first.to_owned(), again: again.to_owned() });
    }

    /// One of the nodes; `None` while there are none.
    pub fn node(&mut self) -> Option<Target> {
        let targets = self.work.directory.targets();
        (!targets.is_empty()).then(|| self.seed.pick(&targets).clone())
    }

    /// The node after this one.
    pub fn node_after(&mut self, name: &str) -> Option<Target> {
        let targets = self.work.directory.targets();
        let at = targets.iter().position(|target| target.name == name).map_or(0, |at| at + 1);
        (!targets.is_empty()).then(|| targets[at % targets.len()].clone())
    }

    /// The hot document of this lane, or any cold one.
    pub fn document(&mut self, lane: Option<usize>) -> Key {
        match lane {
            Some(lane) => self.hot(lane),
            None => self.cold(),
        }
    }

    /// The hot document of a lane.
    pub fn hot(&self, lane: usize) -> Key {
        let id = format!("hot-{lane}-{}", self.work.turn());
        self.work.key(&Name { collection: "documents".to_owned(), id, members: 0 })
    }

    /// Any cold document.
    pub fn cold(&mut self) -> Key {
        let id = format!("cold-{}", self.seed.below(self.work.options.cold.max(1)));
        self.work.key(&Name { collection: "documents".to_owned(), id, members: 0 })
    }

    /// What to do with a document: mostly writes that can meet each other.
    pub fn write(&mut self, key: Key) -> Op {
        let tag = self.work.tag();
        match self.seed.below(10) {
            0..3 => Op::Save { tag },
            3 | 4 => Op::Create { tag },
            5 | 6 => Op::Swap { tag, rev: self.work.rev(key) },
            7 | 8 => Op::Patch { tag },
            _ => Op::Delete,
        }
    }

    /// A read that should see all that was acknowledged.
    pub fn read(&mut self) -> Op {
        let fresh = if self.seed.chance(70) { Fresh::Linearizable } else { Fresh::Lease };
        let min_index = self.seed.chance(15).then(|| self.work.newest());
        Op::Read { fresh, min_index }
    }

    async fn pause(&mut self) {
        let pause = self.seed.between(Duration::ZERO, self.work.options.pace);
        tokio::time::sleep(pause).await;
    }
}

/// Sets one client to work.
fn spawn(work: &Arc<Work>, seed: &Seed, number: u32, mut client: impl Client) -> JoinHandle<Book> {
    let seed = seed.fork(&format!("client {number}"));
    let http = Http::new();
    let mut desk = Desk { work: work.clone(), seed, http, number, book: Book::default() };
    tokio::spawn(async move {
        while !desk.work.is_over() {
            client.step(&mut desk).await;
            desk.pause().await;
        }
        desk.book
    })
}

/// Sets all clients to work: six on each hot document and group, four on the cold ones, and one reader of its own state a
/// node.
pub fn start(work: &Arc<Work>, seed: &Seed) -> Vec<JoinHandle<Book>> {
    let mut number = 0;
    let mut next = || {
        number += 1;
        number
    };
    let mut tasks = Vec::new();
    for lane in 0..work.options.hot {
        tasks.push(spawn(work, seed, next(), plain::Plain::on(lane)));
        tasks.push(spawn(work, seed, next(), plain::Plain::on(lane)));
        tasks.push(spawn(work, seed, next(), keyed::Keyed::on(lane)));
        tasks.push(spawn(work, seed, next(), session::Session::on(lane)));
        tasks.push(spawn(work, seed, next(), readers::Reader::of(lane)));
        tasks.push(spawn(work, seed, next(), readers::Reader::of(lane)));
        tasks.push(spawn(work, seed, next(), groups::Writer::of(lane, Way::Plain)));
        tasks.push(spawn(work, seed, next(), groups::Writer::of(lane, Way::Keyed)));
        tasks.push(spawn(work, seed, next(), groups::Reader::of(lane)));
    }
    tasks.push(spawn(work, seed, next(), plain::Plain::on_cold()));
    tasks.push(spawn(work, seed, next(), keyed::Keyed::on_cold()));
    tasks.push(spawn(work, seed, next(), session::Session::on_cold()));
    tasks.push(spawn(work, seed, next(), readers::Reader::of_cold()));
    tasks.push(local::start(work, seed));
    tasks
}

/// Writes one document more, whatever it takes within a minute, and gives its revision: all others have lower ones.
pub async fn last_write(work: &Arc<Work>) -> Option<u64> {
    let http = Http::new();
    let body = json!({ "_id": "last", "v": 0, "pad": "" }).to_string();
    let end = std::time::Instant::now() + Duration::from_secs(60);
    let key = format!("{}-last", work.run);
    while std::time::Instant::now() < end {
        for target in work.directory.targets() {
            let url = format!("{}/api/doc?db={}&col=last&timeout=5s", target.url, work.options.database);
            let request = http.request(&work.directory, Method::POST, &url).header("Idempotency-Key", &key);
            if let Sent::Answer(answer) = wire::send(request.body(body.clone())).await
                && let Ok(saved) = answer.success()
            {
                return saved["rev"].as_u64();
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    None
}

//! Clients and watchers at work.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::clients::{self, Book};
use crate::directory::Directory;
use crate::history::{Call, History, Key, Name, Repeat};
use crate::seed::Seed;
use crate::watchers::Watchers;

/// How much is to be done at once.
#[derive(Debug, Clone)]
pub struct Options {
    /// The database that the clients have for themselves.
    pub database: String,
    /// Documents, and groups of documents, that many clients work on at the same time. Each has about six clients.
    pub hot: usize,
    /// Documents that each is seldom worked on.
    pub cold: usize,
    /// How long a document is hot; then its clients go on to a fresh one, so that histories stay short.
    pub rotation: Duration,
    /// The longest pause of a client between two calls.
    pub pace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            database: "faults".to_owned(),
            hot: 2,
            cold: 400,
            rotation: Duration::from_secs(4),
            pace: Duration::from_millis(40),
        }
    }
}

/// What was done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub operations: u64,
    /// Of these, whose outcome nobody knows.
    pub unknown: u64,
    /// Of these, surely not done: no leader, busy and others.
    pub refused: u64,
    /// Changes that watchers were told, of all nodes.
    pub told: u64,
}

/// What clients share.
pub struct Work {
    pub directory: Directory,
    pub options: Options,
    pub origin: Instant,
    /// What the idempotency keys of this run begin with.
    pub run: String,
    stop: AtomicBool,
    tags: AtomicU64,
    connections: AtomicU32,
    newest: AtomicU64,
    pub operations: AtomicU64,
    pub unknown: AtomicU64,
    pub refused: AtomicU64,
    pub told: AtomicU64,
    board: Mutex<Board>,
}

/// The documents that there are, and what was last heard of each.
#[derive(Default)]
struct Board {
    keys: HashMap<Name, Key>,
    names: Vec<Name>,
    revs: Vec<u64>,
}

impl Work {
    fn new(directory: &Directory, seed: &Seed, options: Options) -> Self {
        Work {
            directory: directory.clone(),
            options,
            origin: Instant::now(),
            run: format!("{:016x}", seed.fork("keys").next()),
            stop: AtomicBool::new(false),
            tags: AtomicU64::new(0),
            connections: AtomicU32::new(0),
            newest: AtomicU64::new(0),
            operations: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            told: AtomicU64::new(0),
            board: Mutex::default(),
        }
    }

    pub fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Microseconds since the history began.
    pub fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_micros()).unwrap()
    }

    /// A number that no other write has.
    pub fn tag(&self) -> u64 {
        self.tags.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A number that no other connection has.
    pub fn connection(&self) -> u32 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A log index that something acknowledged has reached: the newest one known.
    pub fn newest(&self) -> u64 {
        self.newest.load(Ordering::Relaxed)
    }

    pub fn reached(&self, index: u64) {
        self.newest.fetch_max(index, Ordering::Relaxed);
    }

    pub fn key(&self, name: &Name) -> Key {
        let mut board = self.board.lock().unwrap();
        if let Some(key) = board.keys.get(name) {
            return *key;
        }
        let key = Key::try_from(board.names.len()).unwrap();
        board.keys.insert(name.clone(), key);
        board.names.push(name.clone());
        board.revs.push(0);
        key
    }

    pub fn name(&self, key: Key) -> Name {
        self.board.lock().unwrap().names[key as usize].clone()
    }

    /// The newest revision of a document that anybody was told; 0: none.
    pub fn rev(&self, key: Key) -> u64 {
        self.board.lock().unwrap().revs[key as usize]
    }

    pub fn heard(&self, key: Key, rev: u64) {
        let mut board = self.board.lock().unwrap();
        let known = &mut board.revs[key as usize];
        *known = rev.max(*known);
    }

    /// Which turn of the hot documents it is.
    pub fn turn(&self) -> u128 {
        self.origin.elapsed().as_millis() / self.options.rotation.as_millis().max(1)
    }
}

/// Clients and watchers that know the nodes of a [`Directory`].
pub struct Workload;

/// They are at work.
pub struct Running {
    work: Arc<Work>,
    clients: Vec<JoinHandle<Book>>,
    watchers: Watchers,
}

impl Workload {
    /// Sets all to work. Same seed, same calls, as far as answers let them be the same.
    pub fn start(directory: &Directory, seed: &Seed, options: Options) -> Running {
        let work = Arc::new(Work::new(directory, seed, options));
        let watchers = Watchers::start(&work, seed);
        let clients = clients::start(&work, &seed.fork("clients"));
        Running { work, clients, watchers }
    }
}

impl Running {
    pub fn counts(&self) -> Counts {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            operations: get(&self.work.operations),
            unknown: get(&self.work.unknown),
            refused: get(&self.work.refused),
            told: get(&self.work.told),
        }
    }

    /// Ends the clients, waits until each watcher was told everything (1 minute at most), and gives all that was
    /// remembered. Nodes should be well by then: what is not told in time is held against them.
    pub async fn stop(self) -> History {
        self.work.stop.store(true, Ordering::Relaxed);
        let (mut calls, mut repeats): (Vec<Call>, Vec<Repeat>) = (Vec::new(), Vec::new());
        for client in self.clients {
            let book = client.await.expect("a client");
            calls.extend(book.calls);
            repeats.extend(book.repeats);
        }
        calls.sort_by_key(|call| call.start);
        let last = clients::last_write(&self.work).await;
        let feeds = self.watchers.stop(last).await;
        let names = self.work.board.lock().unwrap().names.clone();
        let database = self.work.options.database.clone();
        History { database, names, calls, repeats, feeds, last, dishonest: Vec::new() }
    }
}

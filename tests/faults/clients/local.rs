//! Reads of what one node itself has, each over a connection of its own to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::wire::{self, Line};
use super::{Book, Client, Desk, groups, spawn};
use crate::history::{Fresh, Op, Outcome, Way};
use crate::seed::Seed;
use crate::workload::Work;

/// The numbers of these clients begin here.
const FIRST: u32 = 1_000;

/// Sets one reader to work for each node that there is, or comes.
pub fn start(work: &Arc<Work>, seed: &Seed) -> JoinHandle<Book> {
    let (work, seed) = (work.clone(), seed.clone());
    tokio::spawn(async move {
        let mut readers: BTreeMap<String, JoinHandle<Book>> = BTreeMap::new();
        while !work.is_over() {
            for target in work.directory.targets() {
                let number = FIRST + u32::try_from(readers.len()).unwrap();
                readers
                    .entry(target.name.clone())
                    .or_insert_with(|| spawn(&work, &seed, number, Local { node: target.name, line: None }));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let mut all = Book::default();
        for reader in readers.into_values() {
            all.calls.extend(reader.await.expect("a local reader").calls);
        }
        all
    })
}

/// Reads one node's own state.
struct Local {
    node: String,
    /// The connection, its number, and where it leads.
    line: Option<(Line, u32, String)>,
}

impl Client for Local {
    async fn step(&mut self, desk: &mut Desk) {
        let Some(target) = desk.work.directory.find(&self.node) else { return };
        if self.line.as_ref().is_none_or(|(_, _, url)| *url != target.url) {
            let Ok(line) = Line::open(&target.url).await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                return;
            };
            self.line = Some((line, desk.work.connection(), target.url.clone()));
        }
        let Some((line, connection, _)) = &mut self.line else { return };
        let lane = desk.seed.below(desk.work.options.hot.max(1));
        let is_group = desk.seed.chance(30);
        let key = if is_group { groups::hot(desk, lane) } else { desk.hot(lane) };
        let (name, db) = (desk.work.name(key), desk.work.options.database.clone());
        let min_index = desk.seed.chance(40).then(|| desk.work.newest());
        let op = Op::Read { fresh: Fresh::Local, min_index };
        let path = if is_group {
            groups::query(&db, &name, &op)
        } else {
            let (col, id, fresh) = (&name.collection, &name.id, wire::freshness(Fresh::Local, min_index));
            format!("/api/doc?db={db}&col={col}&id={id}&{}&{fresh}", wire::LIMIT)
        };
        let begun = desk.begin(key, Way::Plain, op);
        let (outcome, broken) = match line.get(&desk.work.directory, &path).await {
            Ok(answer) if is_group => (groups::seen(&name, &op, &answer), false),
            Ok(answer) => (wire::outcome(&name, &op, &answer), false),
            Err(why) => (Outcome::Refused(why), true),
        };
        let connection = *connection;
        if broken {
            self.line = None;
        }
        desk.end_on(begun, &self.node, connection, outcome);
    }
}

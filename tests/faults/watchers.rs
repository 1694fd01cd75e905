//! Who watches the changes: one on each node, which stays with it across its deaths and moves, and one that goes from
//! node to node. Each goes on behind the last position that it got.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jettra_client::wire::{ChangeData, ChangeOp, Position};
use reqwest::Method;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clients::{Http, document};
use crate::directory::Target;
use crate::history::{Change, Event, Feed, Name, Told};
use crate::seed::Seed;
use crate::workload::Work;

/// A node says something every 5 s.
const SILENCE: Duration = Duration::from_secs(12);
/// How long the one that moves stays with a node.
const STAY: Duration = Duration::from_secs(7);
/// How long it may take until everything is told.
const PATIENCE: Duration = Duration::from_secs(60);

/// Until where everything must be told, and by when; nothing while clients write.
type Until = Option<(u64, Instant)>;

pub struct Watchers {
    until: watch::Sender<Until>,
    all: JoinHandle<Vec<JoinHandle<Feed>>>,
}

impl Watchers {
    pub fn start(work: &Arc<Work>, seed: &Seed) -> Self {
        let (until, ended) = watch::channel(None);
        let work = work.clone();
        let mut seed = seed.fork("watchers");
        let all = tokio::spawn(async move {
            let mut of_nodes: BTreeMap<String, JoinHandle<Feed>> = BTreeMap::new();
            let roaming = Watcher::new(&work, ended.clone(), Place::Any(seed.fork("roaming")));
            let roaming = tokio::spawn(roaming.run());
            while ended.borrow().is_none() {
                for target in work.directory.targets() {
                    of_nodes.entry(target.name.clone()).or_insert_with(|| {
                        let watcher = Watcher::new(&work, ended.clone(), Place::Node(target.name));
                        tokio::spawn(watcher.run())
                    });
                }
                let pause = seed.between(Duration::from_millis(100), Duration::from_millis(200));
                tokio::time::sleep(pause).await;
            }
            of_nodes.into_values().chain([roaming]).collect()
        });
        Watchers { until, all }
    }

    /// Waits until all were told everything up to `last`, a minute at most, and gives what they were told.
    pub async fn stop(self, last: Option<u64>) -> Vec<Feed> {
        self.until.send_replace(Some((last.unwrap_or_default(), Instant::now() + PATIENCE)));
        let mut feeds = Vec::new();
        for watcher in self.all.await.expect("watchers") {
            feeds.push(watcher.await.expect("a watcher"));
        }
        feeds
    }
}

/// Where somebody watches.
enum Place {
    Node(String),
    Any(Seed),
}

struct Watcher {
    work: Arc<Work>,
    until: watch::Receiver<Until>,
    place: Place,
    /// Everything up to here was told.
    position: Position,
    events: Vec<Event>,
}

impl Watcher {
    fn new(work: &Arc<Work>, until: watch::Receiver<Until>, place: Place) -> Self {
        Watcher { work: work.clone(), until, place, position: Position::after(0), events: Vec::new() }
    }

    async fn run(mut self) -> Feed {
        let http = Http::new();
        while !self.is_over() {
            if let Some(target) = self.target() {
                self.watch(&http, &target).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (node, is_gone) = match self.place {
            Place::Node(name) => (name.clone(), self.work.directory.find(&name).is_none()),
            Place::Any(_) => ("roaming".to_owned(), false),
        };
        Feed { node: node.into(), events: self.events, is_gone }
    }

    fn target(&mut self) -> Option<Target> {
        match &mut self.place {
            Place::Node(name) => self.work.directory.find(name),
            Place::Any(seed) => {
                let targets = self.work.directory.targets();
                (!targets.is_empty()).then(|| seed.pick(&targets).clone())
            }
        }
    }

    fn is_over(&self) -> bool {
        let is_gone = matches!(&self.place, Place::Node(name) if self.work.directory.find(name).is_none());
        (*self.until.borrow()).is_some_and(|(last, end)| self.was_told(last) || is_gone || Instant::now() > end)
    }

    /// The last change is told before its revision is known to be over.
    fn was_told(&self, last: u64) -> bool {
        self.position.rev >= last
    }

    /// One connection, until it breaks.
    async fn watch(&mut self, http: &Http, target: &Target) {
        let from = self.position;
        let url = format!("{}/api/watch?db={}&timeout=3s", target.url, self.work.options.database);
        let request = http.request(&self.work.directory, Method::GET, &url).timeout(Duration::from_secs(100_000));
        let request = request.header("Last-Event-ID", from.to_string());
        let Ok(Ok(mut response)) = tokio::time::timeout(SILENCE, request.send()).await else { return };
        if response.status() == 410 {
            self.events.push(Event::Compacted);
            // What comes now is still told in order, but something may be missing.
            if let Ok(answer) = response.bytes().await
                && let Ok(answer) = serde_json::from_slice::<Value>(&answer)
                && let Some(oldest) = answer["error"]["oldest"].as_u64()
            {
                self.position = Position::after(oldest);
            }
            return;
        }
        if response.status() != 200 {
            return;
        }
        self.events.push(Event::Opened { from });
        let opened = Instant::now();
        let mut bytes = Vec::new();
        while !self.is_over() {
            if matches!(self.place, Place::Any(_)) && opened.elapsed() > STAY {
                return;
            }
            if matches!(&self.place, Place::Node(name) if self.work.directory.find(name).as_ref() != Some(target)) {
                return;
            }
            let mut until = self.until.clone();
            let piece = tokio::select! {
                piece = tokio::time::timeout(SILENCE, response.chunk()) => piece,
                _ = until.changed() => continue,
            };
            let Ok(Ok(Some(piece))) = piece else { return };
            bytes.extend_from_slice(&piece);
            while let Some(end) = bytes.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = bytes.drain(..end + 2).collect();
                if !self.event(std::str::from_utf8(&event).expect("events are UTF-8")) {
                    return;
                }
            }
        }
    }

    /// Takes an event in; false where the stream ends.
    fn event(&mut self, text: &str) -> bool {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let position = field("id: ").parse::<Position>();
        match (field("event: "), position) {
            ("", Ok(position)) => self.change(position, field("data: ")),
            ("progress", Ok(position)) => {
                if let Some(Event::Progress(last)) = self.events.last_mut() {
                    if position < *last {
                        self.events.push(Event::Wrong(format!("progress {position} after {}", self.position)));
                    } else {
                        *last = position;
                    }
                } else {
                    self.events.push(Event::Progress(position));
                }
                self.position = self.position.max(position);
            }
            ("lagging", _) => return false,
            ("compacted", _) => {
                self.events.push(Event::Compacted);
                return false;
            }
            _ => {
                self.events.push(Event::Wrong(format!("no event: {}", text.chars().take(200).collect::<String>())));
                return false;
            }
        }
        true
    }

    fn change(&mut self, position: Position, data: &str) {
        self.work.told.fetch_add(1, Ordering::Relaxed);
        let told = self.understood(position, data);
        self.events.push(told.unwrap_or_else(Event::Wrong));
        self.position = self.position.max(position);
    }

    fn understood(&self, position: Position, data: &str) -> Result<Event, String> {
        let wrong = |why: &str| format!("{why}: {}", data.chars().take(200).collect::<String>());
        let data_of: ChangeData = serde_json::from_str(data).map_err(|error| wrong(&error.to_string()))?;
        let id = data_of.id.as_deref().ok_or_else(|| wrong("no document"))?;
        if data_of.rev != position.rev {
            return Err(wrong(&format!("{position} has another revision")));
        }
        if data_of.col == "last" {
            return Ok(Event::Progress(position));
        }
        let (name, member) = named(&data_of.col, id).ok_or_else(|| wrong("nobody wrote it"))?;
        let what = match (data_of.op, &data_of.doc) {
            (ChangeOp::Delete, None) => Told::Deleted,
            (ChangeOp::Save, None) => Told::SavedUnseen,
            (ChangeOp::Save, Some(doc)) => {
                let value: Value = serde_json::from_str(doc.get()).map_err(|error| wrong(&error.to_string()))?;
                Told::Saved(document(id, &value)?)
            }
            _ => return Err(wrong("nobody did that")),
        };
        Ok(Event::Change(Change { position, key: self.work.key(&name), member, what }))
    }
}

/// Which document or group it is.
fn named(collection: &str, id: &str) -> Option<(Name, u8)> {
    let collection = collection.to_owned();
    if !collection.starts_with("groups-") {
        return Some((Name { collection, id: id.to_owned(), members: 0 }, 0));
    }
    let (id, member) = id.rsplit_once('-')?;
    Some((Name { collection, id: id.to_owned(), members: crate::clients::MEMBERS }, member.parse().ok()?))
}

//! Clients that write to nodes on a recorded disk, and what they were told when.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use reqwest::Method;
use serde_json::json;

use crate::common::{Answer, Http, SECOND, send};
use crate::seed::Seed;

/// A write of a client, and what it was told.
#[derive(Debug, Clone)]
pub struct Told {
    /// The moment when it was sent.
    pub sent: usize,
    /// The moment when the answer was there; `None` where none came.
    pub at: Option<usize>,
    pub id: String,
    /// The revision that the answer named.
    pub rev: u64,
    /// The number and the size of what was saved; `None` where the document was to be deleted.
    pub saved: Option<(u64, usize)>,
}

/// Tells the moment: how many operations a disk has seen, or anything else that grows.
pub type Moment = Arc<dyn Fn() -> usize + Send + Sync>;

/// All that clients were told, oldest first.
pub type Story = Arc<Mutex<Vec<Told>>>;

/// The sizes of documents, in bytes: also around what a sector and a page hold.
const SIZES: [usize; 12] = [1, 1, 40, 300, 470, 512, 900, 4_000, 4_096, 20_000, 100_000, 300_000];
/// Documents of each client, which it writes again and again.
const DOCUMENTS: usize = 8;

/// The document as it is saved and comes back.
pub fn body(id: &str, number: u64, size: usize) -> String {
    let pad: String =
        (0..size).map(|n| char::from(b'a' + u8::try_from((n / 7 + size + number as usize) % 26).unwrap())).collect();
    json!({ "_id": id, "number": number, "pad": pad }).to_string()
}

/// Clients at work.
pub struct Clients {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Clients {
    /// Starts `count` of them; each writes its own documents on any of `urls`, and adds to `story` what it is told.
    pub fn start(count: usize, run: &str, urls: Vec<String>, now: Moment, story: &Story, seed: &Seed) -> Clients {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let tasks = (0..count)
            .map(|n| {
                let name = format!("{run}{n}");
                let client = Client {
                    seed: seed.fork(&name),
                    name,
                    urls: urls.clone(),
                    now: now.clone(),
                    story: story.clone(),
                    stop: stop.clone(),
                    done: done.clone(),
                };
                tokio::spawn(client.write())
            })
            .collect();
        Clients { stop, done, tasks }
    }

    /// Waits until so many more writes were acknowledged.
    pub async fn go_on(&self, more: usize) {
        let end = self.done.load(Ordering::Relaxed) + more;
        crate::common::eventually(60 * SECOND, "writing goes on", async || match self.done.load(Ordering::Relaxed) {
            done if done >= end => Ok(()),
            done => Err(format!("{done} of {end} writes")),
        })
        .await;
    }

    pub async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

struct Client {
    name: String,
    seed: Seed,
    urls: Vec<String>,
    now: Moment,
    story: Story,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
}

impl Client {
    async fn write(mut self) {
        let http = Http::new(5 * SECOND);
        let (mut next_url, mut number) = (0, 0_u64);
        while !self.stop.load(Ordering::Relaxed) {
            number += 1;
            let id = format!("{}-{}", self.name, self.seed.below(DOCUMENTS));
            let size = if self.seed.chance(1) { 1 << 20 } else { *self.seed.pick(&SIZES) };
            let is_deleted = self.seed.chance(6);
            let url = format!("{}/api/doc?db=power&col=cut", self.urls[next_url % self.urls.len()]);
            let request = if is_deleted {
                http.request(Method::DELETE, &format!("{url}&id={id}"))
            } else {
                http.request(Method::POST, &url).body(body(&id, number, size))
            };
            let sent = (self.now)();
            let answer = send(request).await;
            let at = answer.is_ok().then(|| (self.now)());
            let saved = (!is_deleted).then_some((number, size));
            let rev = match &answer {
                Ok(answer) if answer.status == 200 && is_deleted => answer.number("x-jettra-index"),
                Ok(answer) if answer.status == 200 => answer.ok()["rev"].as_u64().expect("a revision"),
                // There is none to delete.
                Ok(answer) if answer.status == 404 => continue,
                _ => 0,
            };
            let at = at.filter(|_| rev > 0);
            self.story.lock().unwrap().push(Told { sent, at, id, rev, saved });
            if at.is_some() {
                self.done.fetch_add(1, Ordering::Relaxed);
            } else {
                next_url += 1;
                tokio::time::sleep(SECOND / 100).await;
            }
        }
    }
}

/// What must be there of a document after a power cut.
pub struct Known<'a> {
    pub last: &'a Told,
    /// Whether a later delete was under way, or had no answer.
    pub may_be_gone: bool,
}

/// What must be there after a cut at the moment `at`: the last that was told of each document.
pub fn known(story: &[Told], at: usize) -> BTreeMap<&str, Known<'_>> {
    let mut known: BTreeMap<&str, Known<'_>> = BTreeMap::new();
    for told in story.iter().filter(|told| told.at.is_some_and(|answered| answered <= at)) {
        let known = known.entry(&told.id).or_insert(Known { last: told, may_be_gone: false });
        if known.last.rev < told.rev {
            known.last = told;
        }
    }
    for told in story.iter().filter(|told| told.saved.is_none() && told.sent <= at) {
        if let Some(known) = known.get_mut(&told.id[..]) {
            known.may_be_gone |= told.at.is_none_or(|answered| answered > at);
        }
    }
    known
}

impl Known<'_> {
    /// Compares what is there, a revision and a document; a later write than the last one that was told may be.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn compare(&self, found: Option<(u64, &str)>) -> Result<(), String> {
        let Told { id, rev, saved, .. } = self.last;
        match (saved, found) {
            (Some(_), None) if !self.may_be_gone => Err(format!("{id} of revision {rev} is lost")),
            (_, Some((there, _))) if there < *rev => Err(format!("{id} is lost: revision {there} is there, not {rev}")),
            (None, Some((there, _))) if there == *rev => Err(format!("{id}, deleted at {rev}, is there")),
            (Some((number, size)), Some((there, text))) if there == *rev && text != body(id, *number, *size) => {
                Err(format!("{id} of revision {rev} has another content"))
            }
            _ => Ok(()),
        }
    }

    /// The same with what a node answers when it is asked for the document.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn compare_answer(&self, answer: &Answer) -> Result<(), String> {
        match answer.status {
            200 => {
                let rev = answer.header("etag").unwrap_or_default();
                let rev = rev.trim_matches('"').parse().map_err(|_| format!("no revision: {rev}"))?;
                self.compare(Some((rev, &answer.body)))
            }
            404 => self.compare(None),
            _ => Err(format!("a read was answered {}", answer.shown())),
        }
    }
}

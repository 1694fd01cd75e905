use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use tokio::task::JoinHandle;

use super::cluster::Cluster;
use super::http::{Http, send};
use super::node::Node;
use super::wait::{SECOND, eventually};

/// The pause of a writer between two writes: outages of some milliseconds still show.
const PACE: Duration = Duration::from_millis(15);

/// Clients that write documents, each its own, until told to stop. A write that is not acknowledged
/// is repeated with the same `Idempotency-Key` on the next node, for as long as it takes.
pub struct Writers {
    stop: Arc<AtomicBool>,
    urls: Urls,
    /// How many writes were acknowledged.
    count: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Vec<Acknowledged>>>,
}

/// Where the writers may write; changes when nodes come and move.
type Urls = Arc<RwLock<Vec<String>>>;

fn urls_of(cluster: &Cluster) -> Vec<String> {
    cluster.nodes.iter().map(|node| node.url()).collect()
}

/// A write that a node acknowledged.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    pub id: String,
    pub rev: u64,
    pub at: Instant,
}

impl Writers {
    /// Starts `count` writers that know all nodes of the cluster. `run` tells apart what several
    /// runs write.
    pub fn start(cluster: &Cluster, count: usize, run: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let urls: Urls = Arc::new(RwLock::new(urls_of(cluster)));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let tasks = (0..count)
            .map(|writer| {
                let name = format!("{run}-{writer:02}");
                tokio::spawn(write_on(urls.clone(), writer, name, stop.clone(), acknowledged.clone()))
            })
            .collect();
        Writers { stop, urls, count: acknowledged, tasks }
    }

    /// Tells the writers of the nodes that the cluster has now, and where they are.
    pub fn know(&self, cluster: &Cluster) {
        *self.urls.write().unwrap() = urls_of(cluster);
    }

    /// Waits until `more` further writes are acknowledged.
    pub async fn go_on(&self, more: u64) {
        let before = self.count.load(Ordering::Relaxed);
        eventually(30 * SECOND, "writing goes on", async || match self.count.load(Ordering::Relaxed) - before {
            written if written >= more => Ok(()),
            written => Err(format!("{written} writes")),
        })
        .await;
    }

    /// Ends the writers and gives every acknowledgement, oldest first.
    pub async fn stop(self) -> Vec<Acknowledged> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for task in self.tasks {
            all.extend(task.await.unwrap());
        }
        all.sort_by_key(|acknowledged| acknowledged.at);
        all
    }
}

async fn write_on(
    urls: Urls,
    mut next_url: usize,
    name: String,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
) -> Vec<Acknowledged> {
    let http = Http::new(2 * SECOND);
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let id = format!("{name}-{number:06}");
        let body = json!({ "_id": id, "number": number }).to_string();
        loop {
            if stop.load(Ordering::Relaxed) {
                return acknowledged;
            }
            let url = {
                let urls = urls.read().unwrap();
                format!("{}/api/doc?db=proof&col=writes", urls[next_url % urls.len()])
            };
            let request = http.request(Method::POST, &url).header("Idempotency-Key", &id).body(body.clone());
            match send(request).await.and_then(|answer| answer.success()) {
                Ok(saved) => {
                    assert_eq!(saved["id"], id.as_str());
                    let rev = saved["rev"].as_u64().expect("a revision");
                    acknowledged.push(Acknowledged { id, rev, at: Instant::now() });
                    count.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                Err(_) => next_url += 1,
            }
            tokio::time::sleep(PACE).await;
        }
        tokio::time::sleep(PACE).await;
    }
    acknowledged
}

impl Acknowledged {
    /// Fails unless every node has each of these documents exactly as it was acknowledged: at that
    /// revision, hence written once.
    pub async fn all_on_every_node(all: &[Acknowledged], cluster: &Cluster) {
        for node in &cluster.nodes {
            Self::all_on(all, node).await;
        }
    }

    /// The same for one node.
    pub async fn all_on(all: &[Acknowledged], node: &Node) {
        let newest = all.iter().map(|acknowledged| acknowledged.rev).max().unwrap_or_default();
        let at_least = format!("consistency=local&min_index={newest}");
        eventually(30 * SECOND, "a node has caught up", async || {
            node.try_get(&format!("/api/count?db=proof&col=writes&{at_least}")).await?.success()
        })
        .await;
        for share in all.chunks(32) {
            let reads = share.iter().map(|acknowledged| async move {
                let id = &acknowledged.id;
                let path = format!("/api/doc?db=proof&col=writes&id={id}&consistency=local");
                let answer = node.get(&path).await;
                assert_eq!(answer.status, 200, "{id} of {} is lost on {}", acknowledged.rev, node.id);
                let etag = format!("\"{}\"", acknowledged.rev);
                assert_eq!(answer.header("etag"), Some(etag), "{id} on {} is not as acknowledged", node.id);
            });
            futures_util::future::join_all(reads).await;
        }
    }
}

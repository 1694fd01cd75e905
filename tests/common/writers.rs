use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use tokio::task::JoinHandle;

use super::cluster::Cluster;
use super::http::{Http, send};
use super::wait::{SECOND, eventually};

/// The pause of a writer between two writes: outages of some milliseconds still show.
const PACE: Duration = Duration::from_millis(15);

/// Clients that write documents, each its own, until told to stop. A write that is not acknowledged
/// is repeated with the same `Idempotency-Key` on the next node, for as long as it takes.
pub struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Vec<Acknowledged>>>,
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
        let urls: Arc<[String]> = cluster.nodes.iter().map(|node| node.url()).collect();
        let tasks = (0..count)
            .map(|writer| tokio::spawn(write_on(urls.clone(), writer, format!("{run}-{writer:02}"), stop.clone())))
            .collect();
        Writers { stop, tasks }
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

async fn write_on(urls: Arc<[String]>, mut next_url: usize, name: String, stop: Arc<AtomicBool>) -> Vec<Acknowledged> {
    let http = Http::new(2 * SECOND);
    let mut acknowledged = Vec::new();
    for number in 0.. {
        let id = format!("{name}-{number:06}");
        let body = json!({ "_id": id, "number": number }).to_string();
        loop {
            if stop.load(Ordering::Relaxed) {
                return acknowledged;
            }
            let url = format!("{}/api/doc?db=proof&col=writes", urls[next_url % urls.len()]);
            let request = http.request(Method::POST, &url).header("Idempotency-Key", &id).body(body.clone());
            match send(request).await.and_then(|answer| answer.success()) {
                Ok(saved) => {
                    assert_eq!(saved["id"], id.as_str());
                    let rev = saved["rev"].as_u64().expect("a revision");
                    acknowledged.push(Acknowledged { id, rev, at: Instant::now() });
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
        let newest = all.iter().map(|acknowledged| acknowledged.rev).max().unwrap_or_default();
        for node in &cluster.nodes {
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
}

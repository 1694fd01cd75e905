//! Simple clients, until there are better ones: each writes documents of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::common::{Http, eventually, send};
use crate::directory::Directory;
use crate::seed::Seed;

pub struct Running {
    directory: Directory,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Vec<String>>>,
}

pub fn start(directory: &Directory, seed: &Seed) -> Running {
    let (stop, count) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let tasks = (0..4)
        .map(|writer| {
            let seed = seed.fork(&format!("writer {writer}"));
            tokio::spawn(write(directory.clone(), seed, writer, stop.clone(), count.clone()))
        })
        .collect();
    Running { directory: directory.clone(), stop, count, tasks }
}

async fn write(
    directory: Directory,
    mut seed: Seed,
    writer: usize,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
) -> Vec<String> {
    let http = Http::new(Duration::from_secs(2));
    let mut acknowledged = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let id = format!("{writer}-{}", acknowledged.len());
        let target = seed.pick(&directory.targets()).clone();
        let request = http.request(reqwest::Method::PUT, &format!("{}/api/doc?db=stand&col=in&id={id}", target.url));
        let request = request.header("Authorization", directory.authorization().unwrap()).body("{}");
        if send(request).await.is_ok_and(|answer| answer.status == 200) {
            count.fetch_add(1, Ordering::Relaxed);
            acknowledged.push(id);
        }
        tokio::time::sleep(seed.between(Duration::ZERO, Duration::from_millis(30))).await;
    }
    acknowledged
}

impl Running {
    pub fn operations(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Ends; whatever was acknowledged is on every node.
    pub async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let http = Http::new(Duration::from_secs(5));
        let mut ids = Vec::new();
        for task in self.tasks {
            ids.extend(task.await.unwrap());
        }
        let mut failures = Vec::new();
        for target in self.directory.targets() {
            let body = eventually(Duration::from_secs(30), "all is read", async || {
                let url = format!("{}/api/query?db=stand&col=in&limit=0&fields=_id", target.url);
                let request = http.request(reqwest::Method::GET, &url);
                send(request.header("Authorization", self.directory.authorization().unwrap())).await?.success()
            })
            .await;
            let there: std::collections::HashSet<&str> =
                body.as_array().unwrap().iter().filter_map(|doc| doc["_id"].as_str()).collect();
            failures.extend(
                ids.iter().filter(|id| !there.contains(&***id)).map(|id| format!("{id} is lost on {}", target.name)),
            );
        }
        failures
    }
}

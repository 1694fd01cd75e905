//! A cluster of three under all clients, of which one node dies.

use std::time::{Duration, Instant};

use crate::checks::check;
use crate::common::{Cluster, SECOND};
use crate::directory::{Directory, Target};
use crate::ending::Final;
use crate::history::History;
use crate::seed::Seed;
use crate::workload::{Options, Running, Workload};

/// What clients know of a cluster.
fn directory(cluster: &Cluster) -> Directory {
    let directory = Directory::default();
    directory.set(cluster.nodes.iter().map(|node| Target { name: node.id.clone(), url: node.url() }).collect());
    directory
}

/// Waits until so many operations more were done.
async fn go_on(running: &Running, more: u64) {
    let (before, begun) = (running.counts().operations, Instant::now());
    while running.counts().operations < before + more {
        assert!(begun.elapsed() < 60 * SECOND, "{:?}", running.counts());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Runs a seed's calls while `faults` happen.
async fn run(cluster: &mut Cluster, seed: u64, faults: impl AsyncFnOnce(&mut Cluster, &Running)) -> (History, Final) {
    let directory = directory(cluster);
    let running = Workload::start(&directory, &Seed::new(seed), Options::default());
    faults(cluster, &running).await;
    let history = running.stop().await;
    let end = Final::gather(&directory, &history).await;
    (history, end)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_saw_while_a_leader_was_killed_holds() {
    let mut cluster = Cluster::start(3).await;
    let (history, end) = run(&mut cluster, 1, async |cluster, running| {
        go_on(running, 1_000).await;
        let leader = cluster.leader().await;
        cluster.nodes[leader].kill();
        go_on(running, 500).await;
        cluster.nodes[leader].restart().await;
        cluster.settled().await;
        go_on(running, 500).await;
    })
    .await;
    let report = check(&history, &end);
    println!("{report}");
    assert!(report.holds(), "{report}");
}

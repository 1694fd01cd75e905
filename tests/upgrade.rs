//! Two versions of the program: a rolling upgrade under load, and no way back once the level is raised.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Cluster, LIMIT, SECOND, eventually};
use jettra_client::JettraClient;
use jettra_server::feature::LEVEL;
use serde_json::{Value, json};

/// The program as a version would be that supports one feature level more. Cargo builds it with the tests.
fn next_version() -> PathBuf {
    let program = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/next_level");
    assert!(program.exists(), "{} is missing: cargo build -p jettra-server --examples", program.display());
    program
}

/// Writes documents one after the other until told to stop; every call must succeed, and the revisions grow.
async fn write_without_an_error(client: JettraClient, name: String, stop: Arc<AtomicBool>) -> u64 {
    let (mut number, mut last) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let saved = client.save("proof", "writes", &json!({ "_id": format!("{name}-{number}"), "n": number })).await;
        let rev = saved.unwrap_or_else(|error| panic!("{name} got an error at {number}: {error:?}")).rev;
        assert!(rev > last);
        (number, last) = (number + 1, rev);
    }
    number
}

/// Path and content of every file below `dir` but the log of the test and the lock.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if path.file_name().is_none_or(|name| name != "lock") {
            all.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    all
}

fn data_dir(view: &Value) -> PathBuf {
    PathBuf::from(view["DataDir"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_upgrade_under_load_and_no_way_back() {
    let mut cluster = Cluster::start(3).await;
    let urls: Vec<String> = cluster.nodes.iter().map(|node| node.url()).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let mut builder = JettraClient::builder();
            for url in &urls {
                builder = builder.url(url);
            }
            let client = builder.deadline(30 * SECOND).build().unwrap();
            tokio::spawn(write_without_an_error(client, format!("w{writer}"), stop.clone()))
        })
        .collect();

    // The followers first, the leader last. Before all are done the level cannot be raised.
    for turn in 0..3 {
        let leader = cluster.leader().await;
        let old = |node: &Value| node["featureLevel"] == LEVEL;
        let plan = cluster.nodes[leader].post("/api/cluster/upgrade?dry_run=true", "").await.ok();
        let nodes = plan["nodes"].as_array().unwrap().clone();
        assert_eq!(nodes.iter().filter(|node| old(node)).count(), 3 - turn, "{plan}");
        let refused = cluster.nodes[leader].post("/api/cluster/upgrade", json!({ "featureLevel": LEVEL + 1 })).await;
        refused.error("conflict");
        let names: Vec<String> =
            nodes.iter().filter(|n| old(n)).map(|n| n["id"].as_str().unwrap().to_owned()).collect();
        let upgrade_next = names.iter().find(|name| **name != cluster.nodes[leader].id).unwrap_or(&names[0]).clone();
        let node = cluster.named(&upgrade_next);
        node.stop_gracefully().await;
        node.run_program(Some(next_version()));
        node.start().await;
        cluster.settled().await;
    }
    // Until the level is raised, going back is nothing special.
    cluster.nodes[0].stop_gracefully().await;
    cluster.nodes[0].run_program(None);
    cluster.nodes[0].start().await;
    cluster.settled().await;
    cluster.nodes[0].stop_gracefully().await;
    cluster.nodes[0].run_program(Some(next_version()));
    cluster.nodes[0].start().await;
    cluster.settled().await;

    let raised = cluster.nodes[1].post("/api/cluster/upgrade", "").await;
    assert_eq!(raised.ok()["featureLevel"], LEVEL + 1);
    for node in &cluster.nodes {
        eventually(LIMIT, "every node is at the new level and has kept it beside its data", async || {
            let view = node.try_get("/api/cluster").await?.success()?;
            let dir = data_dir(&node.try_get("/api/config").await?.success()?);
            let identity: Value =
                serde_json::from_slice(&std::fs::read(node.dir().join(dir).join("node.json")).unwrap()).unwrap();
            if view["featureLevel"] == LEVEL + 1 && identity["featureLevel"] == LEVEL + 1 {
                Ok(())
            } else {
                Err(view.to_string())
            }
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut written = 0;
    for writer in writers {
        written += writer.await.unwrap();
    }
    assert!(written > 100, "{written} writes");
    let count = cluster.nodes[2].get("/api/count?db=proof&col=writes").await.ok();
    assert_eq!(count["count"], written);

    // The old version refuses this data directory and leaves every byte of it alone.
    let dir = data_dir(&cluster.nodes[2].get("/api/config").await.ok());
    let node = &mut cluster.nodes[2];
    let dir = node.dir().join(dir);
    node.stop_gracefully().await;
    let before = files(&dir);
    node.run_program(None);
    node.launch();
    assert_eq!(node.ended(10 * SECOND).await.code(), Some(2));
    assert!(node.log_tail(3).contains(&format!("feature level {}", LEVEL + 1)), "{}", node.log_tail(3));
    assert_eq!(files(&dir), before);
    node.run_program(Some(next_version()));
    node.start().await;
    cluster.settled().await;
    let count = cluster.nodes[2].get("/api/count?db=proof&col=writes").await.ok();
    assert_eq!(count["count"], written);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_version_is_not_let_into_a_raised_cluster() {
    let mut cluster = Cluster::start(1).await;
    cluster.nodes[0].stop_gracefully().await;
    cluster.nodes[0].run_program(Some(next_version()));
    cluster.nodes[0].start().await;
    cluster.settled().await;
    cluster.nodes[0].post("/api/cluster/upgrade", "").await.ok();

    let dir = tempfile::tempdir().unwrap();
    let config = json!({ "Host": "127.0.0.1", "distributed": true, "NodeID": "old" });
    let mut old = common::Node::new(dir.path(), "old", config);
    // It is another program, which is not given the secret.
    old.configure("ClusterSecret", cluster.nodes[0].secret());
    old.start().await;
    let refused = cluster.nodes[0].post("/api/cluster/register", json!({ "url": old.url() })).await;
    let error = refused.error("conflict");
    assert!(error["message"].as_str().unwrap().contains("feature level"), "{error}");
    assert_eq!(cluster.nodes[0].get("/api/cluster").await.ok()["nodes"].as_array().unwrap().len(), 1);
}

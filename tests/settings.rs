//! The replicated settings: one call on any node changes what every node goes by, for good.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Cluster, Node};
use serde_json::{Value, json};

const SETTINGS: &str = "/api/cluster/settings";

async fn versions(node: &Node) -> usize {
    node.get("/api/versions?db=shop&col=users&id=u1").await.ok().as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_changed_on_any_node_counts_on_all_and_stays() {
    let mut cluster = Cluster::start(3).await;
    let follower = cluster.followers().await[0];
    let defaults = cluster.nodes[follower].get(SETTINGS).await.ok();
    assert_eq!(defaults["maxVersions"], 100);
    let changed = cluster.nodes[follower].put(SETTINGS, json!({ "maxVersions": 3 })).await.ok();
    let mut wanted = defaults.clone();
    wanted["maxVersions"] = json!(3);
    assert_eq!(changed, wanted, "the others stay as they were");

    for n in 0..10 {
        cluster.nodes[n % 3].post("/api/doc?db=shop&col=users", json!({ "_id": "u1", "n": n })).await.ok();
    }
    for node in &cluster.nodes {
        assert_eq!(node.get(SETTINGS).await.ok(), wanted);
        assert_eq!(versions(node).await, 3);
    }
    for node in &mut cluster.nodes {
        node.restart().await;
    }
    cluster.settled().await;
    for node in &cluster.nodes {
        assert_eq!(node.get(SETTINGS).await.ok(), wanted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named_and_changes_nothing() {
    let node = Node::standalone(json!({ "Host": "127.0.0.1" })).await;
    let before = node.get(SETTINGS).await.ok();
    for (body, told) in [
        (json!({ "maxVersion": 3 }).to_string(), "maxVersion"),
        (json!({ "maxVersions": -1 }).to_string(), "maxVersions"),
        (json!({ "maxVersions": "3" }).to_string(), "maxVersions"),
        (json!({ "maxDocumentBytes": 1_000_000_000 }).to_string(), "maxDocumentBytes"),
        (json!({ "maxVersions": 3, "nothing": 1 }).to_string(), "nothing"),
        ("[]".to_owned(), "body"),
        (String::new(), "body"),
    ] {
        let error = node.put(SETTINGS, &body).await.error("bad_request");
        assert!(error["message"].as_str().unwrap().contains(told), "{body}: {error}");
    }
    assert_eq!(node.get(SETTINGS).await.ok(), before);
    assert_eq!(node.put(SETTINGS, json!({})).await.ok(), before, "nothing named, nothing changed");
    let all: Value = node.put(SETTINGS, &before).await.ok();
    assert_eq!(all, before);
}

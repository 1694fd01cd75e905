//! Data directories of earlier versions: this version opens each as it was left.
//!
//! A fixture is one file: a line of JSON for each file of a data directory (path and content in base64), then a line
//! for each request whose answer was noted. It is made once for each release that changes what is stored, and kept:
//!
//! ```text
//! cargo test -p jettra-server --test formats -- --ignored make_a_fixture
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::Node;
use serde_json::{Value, json};

const PASSWORD: &str = "a password of the fixture";

/// What is asked of the node that made the fixture and of every later one.
const QUESTIONS: [&str; 8] = [
    "/api/dbs",
    "/api/dbs/shop/cols",
    "/api/doc?db=shop&col=users&id=ann",
    "/api/versions?db=shop&col=users&id=ann",
    "/api/query?db=shop&col=users&limit=0",
    "/api/query?db=shop&col=many&limit=0",
    "/api/count?db=shop&col=many",
    "/api/cluster/settings",
];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

fn node(root: &Path) -> Node {
    let config = json!({ "Host": "127.0.0.1", "distributed": true, "Bootstrap": true, "NodeID": "node1" });
    let mut node = Node::new(root, "node1", config);
    node.set_env("JETTRA_ADMIN_PASSWORD", PASSWORD);
    node.authorize(format!("Basic {}", BASE64.encode(format!("admin:{PASSWORD}"))));
    node
}

/// Body and `ETag` of each answer.
async fn answers(node: &Node) -> Vec<Value> {
    let mut all = Vec::new();
    for path in QUESTIONS {
        let answer = node.get(path).await;
        answer.ok();
        all.push(json!({ "ask": path, "body": answer.body, "etag": answer.header("etag") }));
    }
    all
}

/// Makes a fixture the data of a node; gives what was noted.
fn unpack(fixture: &Path, node: &Node) -> Vec<Value> {
    let mut noted = Vec::new();
    for line in std::fs::read_to_string(fixture).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let Some(path) = line["path"].as_str() else {
            noted.push(line);
            continue;
        };
        let path = node.dir().join("data").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, BASE64.decode(line["content"].as_str().unwrap()).unwrap()).unwrap();
    }
    noted
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_the_first_level_has_no_read_replicas_before_it_is_raised() {
    let root = tempfile::tempdir().unwrap();
    let mut first = node(root.path());
    unpack(&fixtures().join("data-0.1.0-level-1.ndjson"), &first);
    first.start().await;
    let mut other = Node::new(root.path(), "node2", common::member_config("node2", false));
    other.start().await;
    let level = async || first.get("/api/cluster").await.ok()["featureLevel"].clone();
    assert_eq!(level().await, 1);
    // Nothing is left of a registration that older versions could not read.
    let body = json!({ "url": other.url(), "voter": false });
    let error = first.post("/api/cluster/register", &body).await.error("conflict");
    assert!(error["message"].as_str().unwrap().contains("/api/cluster/upgrade"), "{error}");
    assert_eq!(first.get("/api/cluster").await.ok()["nodes"].as_array().unwrap().len(), 1);
    first.post("/api/cluster/upgrade", "{}").await.ok();
    assert_eq!(first.post("/api/cluster/register", &body).await.ok()["node"]["role"], "REPLICA");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kept_data_directory_opens_as_it_was_left() {
    let mut tried = 0;
    for fixture in std::fs::read_dir(fixtures()).unwrap() {
        let fixture = fixture.unwrap().path();
        let root = tempfile::tempdir().unwrap();
        let mut node = node(root.path());
        let noted = unpack(&fixture, &node);
        node.start().await;
        for (now, then) in answers(&node).await.iter().zip(&noted) {
            if then["ask"] == "/api/cluster/settings" {
                // Later versions may have more of them.
                let body = |answer: &Value| serde_json::from_str::<Value>(answer["body"].as_str().unwrap()).unwrap();
                let (now, then) = (body(now), body(then));
                assert!(then.as_object().unwrap().iter().all(|(name, value)| now[name] == *value), "{then} {now}");
                continue;
            }
            assert_eq!(now, then, "{}", fixture.display());
        }
        let last = noted.iter().filter_map(|line| line["etag"].as_str()?.trim_matches('"').parse::<u64>().ok()).max();
        let saved = node.post("/api/doc?db=shop&col=users", json!({ "_id": "new" })).await.ok();
        assert!(saved["rev"].as_u64() > last, "revisions go on");
        node.restart().await;
        node.get("/api/doc?db=shop&col=users&id=new").await.ok();
        tried += 1;
    }
    assert!(tried > 0, "no fixture in {}", fixtures().display());
}

/// Writes the fixture of this version.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by hand once for a release that changes what is stored"]
async fn make_a_fixture() {
    let root = tempfile::tempdir().unwrap();
    let mut node = node(root.path());
    node.start().await;
    node.post("/api/dbs", json!({ "name": "empty", "engine": "JettraEngineStore" })).await.ok();
    for n in 0..5 {
        let ann = json!({ "_id": "ann", "n": n, "text": "Ünïcödé \"quoted\"" });
        node.post("/api/doc?db=shop&col=users", ann).await.ok();
    }
    let exact = r#"{"_id":"exact","long":9007199254740993,"decimal":1.10,"nested":{"list":[1,[2,{"a":null}]]}}"#;
    node.post("/api/doc?db=shop&col=users", exact).await.ok();
    node.post("/api/doc?db=shop&col=users", json!({ "_id": "gone" })).await.ok();
    node.delete("/api/doc?db=shop&col=users&id=gone").await.ok();
    let many: Vec<Value> = (0..200).map(|n| json!({ "_id": format!("{n:03}"), "n": n })).collect();
    node.post("/api/docs?db=shop&col=many", json!(many)).await.ok();
    let long = "long ".repeat(2_000);
    node.post("/api/doc?db=shop&col=users", json!({ "_id": "long", "text": long })).await.ok();
    node.post("/api/cols", json!({ "database": "shop", "collection": "before" })).await.ok();
    let rename = json!({ "database": "shop", "oldName": "before", "newName": "after" });
    node.post("/api/cols/rename", rename).await.ok();
    node.put("/api/cluster/settings", json!({ "maxVersions": 3 })).await.ok();
    // What comes after the stop lies in the log only.
    node.stop_gracefully().await;
    node.start().await;
    node.post("/api/doc?db=shop&col=users", json!({ "_id": "ann", "last": true })).await.ok();
    let noted = answers(&node).await;
    node.kill();

    let data = node.dir().join("data");
    let mut lines: Vec<String> = files(&data)
        .into_iter()
        .map(|path| {
            let content = BASE64.encode(std::fs::read(data.join(&path)).unwrap());
            json!({ "path": path.to_str().unwrap(), "content": content }).to_string()
        })
        .collect();
    lines.extend(noted.iter().map(Value::to_string));
    let name = format!("data-{}-level-{}.ndjson", env!("CARGO_PKG_VERSION"), jettra_server::feature::LEVEL);
    std::fs::write(fixtures().join(name), lines.join("\n") + "\n").unwrap();
}

/// Every file below `dir`, relative to it.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path.strip_prefix(dir).unwrap().to_owned()) }
        }
    }
    found.sort();
    found
}

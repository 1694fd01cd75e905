//! No more files can be opened when the log needs a new one.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::json;

use crate::common::{LIMIT, Node, SECOND, eventually};

/// Lowers or raises the limit of open files of a running node.
fn limit(node: &Node, files: u64) {
    let set =
        Command::new("prlimit").args([format!("--pid={}", node.pid().unwrap()), format!("--nofile={files}:")]).output();
    let set = set.expect("prlimit is installed");
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
}

/// The limit that leaves `node` so many further files as it has no more open than now.
fn leaving(node: &Node, further: usize) -> u64 {
    let open = std::fs::read_dir(format!("/proc/{}/fd", node.pid().unwrap())).unwrap();
    let open: BTreeSet<u64> = open.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    (0..).filter(|number| !open.contains(number)).nth(further).unwrap()
}

/// Documents of 14 MB in one request; a piece of the log has 32 MiB.
fn bulk() -> String {
    (json!({ "text": "y".repeat(1980) }).to_string() + "\n").repeat(7000)
}

/// A node whose log has nearly filled a piece and that can open only so many further files.
async fn about_to_need_one(further: usize) -> Node {
    let node = Node::standalone(json!({ "Host": "127.0.0.1" })).await;
    for _ in 0..2 {
        node.post("/api/docs?db=t&col=c", bulk()).await.ok();
    }
    limit(&node, leaving(&node, further));
    node
}

async fn is_waiting(node: &Node) -> Result<(), String> {
    if node.log().contains("the log needs a new file and none can be opened") { Ok(()) } else { Err(node.log_tail(5)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_wait_for_a_file_of_the_log_and_go_on_with_it() {
    // None; and the one that is enough to make the file and not to see to it that it stays.
    for further in [0, 1] {
        let mut node = about_to_need_one(further).await;
        // This one fills the piece, and is written.
        node.post("/api/docs?db=t&col=c", bulk()).await.ok();
        eventually(LIMIT, "the log needs a file", async || is_waiting(&node).await).await;
        let request = node.request("POST", "/api/docs?db=t&col=c&timeout=60").body(bulk());
        let mut write = tokio::spawn(async move { crate::common::send(request).await.unwrap() });
        assert!(tokio::time::timeout(SECOND, &mut write).await.is_err(), "there is no file for it");
        limit(&node, 4096);
        write.await.unwrap().ok();
        assert_eq!(node.get("/api/count?db=t&col=c").await.ok()["count"], 28_000);
        node.kill();
        node.start().await;
        assert_eq!(node.get("/api/count?db=t&col=c").await.ok()["count"], 28_000);
        node.post("/api/docs?db=t&col=c", bulk()).await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_file_comes_the_node_ends_says_what_to_do_and_has_lost_nothing() {
    let mut node = about_to_need_one(1).await;
    node.post("/api/docs?db=t&col=c", bulk()).await.ok();
    let request = node.request("POST", "/api/docs?db=t&col=c&timeout=60").body(bulk());
    let write = tokio::spawn(async move { crate::common::send(request).await.is_ok_and(|a| a.status == 200) });
    assert_eq!(node.ended(LIMIT).await.code(), Some(1));
    let log = node.log();
    assert!(log.contains("LimitNOFILE=") && log.contains("what was acknowledged is kept"), "{}", node.log_tail(20));
    assert!(!log.contains("repair"), "{}", node.log_tail(20));
    let acknowledged = 3 + u64::from(write.await.unwrap());
    node.start().await;
    let count = node.get("/api/count?db=t&col=c").await.ok()["count"].as_u64().unwrap();
    assert!(count >= 7000 * acknowledged && count.is_multiple_of(7000), "{count} of {acknowledged} writes");
    node.post("/api/docs?db=t&col=c", bulk()).await.ok();
}

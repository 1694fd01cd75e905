//! What holds for requests of every kind: repeats, consistency, forwarding, headers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use common::{Answer, Cluster, Node};
use serde_json::json;

const THINGS: &str = "/api/doc?db=db1&col=things";

async fn save(node: &Node, header: (&str, &str), body: &str) -> Answer {
    node.send(node.request("POST", THINGS).header(header.0, header.1).body(body.to_owned())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_with_an_idempotency_key_gets_the_first_answer_on_any_node() {
    let mut cluster = Cluster::start(3).await;
    let key = ("Idempotency-Key", "order-4711");
    let first = save(&cluster.nodes[0], key, r#"{"n":1}"#).await;
    let id = first.ok()["id"].as_str().unwrap().to_owned();
    for node in &cluster.nodes {
        assert_eq!(save(node, key, r#"{"n":1}"#).await.body, first.body, "repeated on {}", node.id);
    }
    save(&cluster.nodes[1], key, r#"{"n":2}"#).await.error("conflict");

    // Across a change of leader too.
    let old = cluster.leader().await;
    cluster.nodes[old].kill();
    let new = cluster.leader_other_than(old).await;
    assert_eq!(save(&cluster.nodes[new], key, r#"{"n":1}"#).await.body, first.body);

    let node = &cluster.nodes[new];
    assert_eq!(node.get("/api/count?db=db1&col=things").await.ok()["count"], 1);
    assert_eq!(node.get(&format!("/api/versions?db=db1&col=things&id={id}")).await.ok(), json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_search_finds_a_request_on_every_node_that_it_reached() {
    let cluster = Cluster::start(3).await;
    let (leader, follower) = (cluster.leader().await, cluster.followers().await[0]);
    let paused = json!({ "node": cluster.nodes[follower].id }).to_string();
    let request = cluster.nodes[follower].request("POST", "/api/cluster/pause").header("X-Request-Id", "maintenance-7");
    let answer = cluster.nodes[follower].send(request.body(paused)).await;
    assert_eq!(
        (answer.status, answer.header("x-request-id").as_deref()),
        (200, Some("maintenance-7")),
        "{}",
        answer.shown()
    );
    let log = cluster.nodes[leader].log_tail(1000);
    let line = log.lines().find(|line| line.contains("maintenance-7")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("cluster call") && line.contains("admin"), "{line}");

    // Where the client names none, or one that would not stand in a line, it gets a fresh one.
    let node = &cluster.nodes[leader];
    let mut seen = std::collections::BTreeSet::new();
    for odd in ["", "a b", &"x".repeat(65)] {
        let answer = node.send(node.request("GET", "/api/dbs").header("X-Request-Id", odd)).await;
        let id = answer.header("x-request-id").unwrap();
        assert!(id != odd && seen.insert(id.clone()), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_numbered_request_of_a_session_is_applied_once() {
    let cluster = Cluster::start(3).await;
    let session = "0198c0de-0000-7000-8000-000000000001";
    for number in 1..=4 {
        let header = format!("{session};{number};{}", number - 1);
        let header = ("Jettra-Session", header.as_str());
        let body = json!({ "n": number }).to_string();
        let first = save(&cluster.nodes[number % 3], header, &body).await;
        first.ok();
        let again = save(&cluster.nodes[(number + 1) % 3], header, &body).await;
        assert_eq!(again.body, first.body, "request {number}");
    }
    assert_eq!(cluster.nodes[0].get("/api/count?db=db1&col=things").await.ok()["count"], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_read_on_every_node_with_every_consistency() {
    let cluster = Cluster::start(3).await;
    for (round, writer) in cluster.nodes.iter().cycle().take(12).enumerate() {
        let body = json!({ "_id": "one", "round": round });
        let written = writer.post(THINGS, &body).await;
        let rev = written.ok()["rev"].as_u64().unwrap();
        assert_eq!(written.number("x-jettra-index"), rev);
        for reader in &cluster.nodes {
            let own = format!("consistency=local&min_index={rev}");
            for consistency in ["", "consistency=linearizable", "consistency=lease", &own] {
                let read = reader.get(&format!("{THINGS}&id=one&{consistency}")).await;
                assert_eq!(read.ok()["round"], round, "{consistency} on {}", reader.id);
                assert!(read.number("x-jettra-index") >= rev, "{consistency} on {}", reader.id);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_names_an_index_that_it_reflects() {
    let cluster = Cluster::start(1).await;
    let node = &cluster.nodes[0];
    let read = "/api/doc?db=db1&col=things&id=blinks&consistency=local";
    let is_over = AtomicBool::new(false);
    // Now it is there, now it is not; with something large beside it, which keeps the node busy.
    let write = async {
        let ballast = format!(r#"{{"text":"{}"}}"#, "x".repeat(100_000));
        let mut changes = Vec::new();
        while !is_over.load(Ordering::Relaxed) {
            let saved = node.post(THINGS, r#"{"_id":"blinks"}"#).await;
            changes.push((saved.ok()["rev"].as_u64().unwrap(), None));
            node.post("/api/doc?db=db1&col=ballast", &ballast).await.ok();
            let begun = Instant::now();
            let deleted = node.delete("/api/doc?db=db1&col=things&id=blinks").await;
            changes.push((deleted.number("x-jettra-index"), Some(begun)));
        }
        changes
    };
    let watch = async || {
        let mut seen = Vec::new();
        for _ in 0..400 {
            let answer = node.get(read).await;
            let rev = answer.header("etag").map(|etag| etag.trim_matches('"').parse::<u64>().unwrap());
            seen.push((rev, answer.number("x-jettra-index"), Instant::now()));
        }
        seen
    };
    let readers = async {
        let seen = futures_util::future::join_all((0..8).map(|_| watch())).await;
        is_over.store(true, Ordering::Relaxed);
        seen.concat()
    };
    let (changes, seen) = tokio::join!(write, readers);
    assert!(seen.iter().any(|(rev, ..)| rev.is_some()) && seen.iter().any(|(rev, ..)| rev.is_none()));
    for (rev, index, ended) in seen {
        let Some(rev) = rev else {
            // Who watches on from the index is told when it comes: so it was not there at that index, or is deleted again.
            let at = changes.partition_point(|(change, _)| *change <= index);
            let was_there = at > 0 && changes[at - 1].1.is_none();
            let is_deleted = changes.get(at).is_some_and(|(_, begun)| begun.is_some_and(|begun| begun < ended));
            assert!(!was_there || is_deleted, "not there, as of {index}, though it came with {}", changes[at - 1].0);
            continue;
        };
        assert!(rev <= index, "a document of revision {rev} in an answer as of {index}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_waits_for_its_index_only_until_its_time_limit() {
    let node = Node::standalone(json!({})).await;
    let rev = node.post(THINGS, r#"{"_id":"one"}"#).await.ok()["rev"].as_u64().unwrap();
    node.get(&format!("{THINGS}&id=one&min_index={rev}")).await.ok();
    let far = rev + 1_000_000;
    let error =
        node.get(&format!("{THINGS}&id=one&consistency=local&min_index={far}&timeout=1")).await.error("timeout");
    assert!(error["message"].as_str().unwrap().contains(&rev.to_string()), "names the node's index: {error}");
    node.get(&format!("{THINGS}&id=one&consistency=sometimes")).await.error("bad_request");
    node.get(&format!("{THINGS}&id=one&min_index=soon")).await.error("bad_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_says_who_gave_it() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    cluster.nodes[0].post(THINGS, r#"{"_id":"one"}"#).await.ok();
    for (place, node) in cluster.nodes.iter().enumerate() {
        for path in [&format!("{THINGS}&id=one"), &format!("{THINGS}&id=none"), "/api/cluster", "/api/nothing"] {
            let answer = node.get(path).await;
            assert_eq!(answer.header("x-jettra-node").as_deref(), Some(&*node.id), "{path}");
            let role = if place == leader { "LEADER" } else { "FOLLOWER" };
            assert_eq!(answer.header("x-jettra-role").as_deref(), Some(role), "{path} on {}", node.id);
            assert!(answer.number("x-jettra-index") > 0, "{path}");
            assert!(answer.header("x-jettra-leader").is_some(), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarding_can_be_forbidden() {
    let cluster = Cluster::start(3).await;
    let leader = &cluster.nodes[cluster.leader().await];
    let follower = &cluster.nodes[cluster.followers().await[0]];
    let by_parameter = follower.post(&format!("{THINGS}&forward=false"), "{}").await;
    for refused in [save(follower, ("X-Jettra-Forward", "never"), "{}").await, by_parameter] {
        let error = refused.error("not_leader");
        assert_eq!((&error["leader"], &error["leaderUrl"]), (&json!(leader.id), &json!(leader.url())), "{error}");
    }
    save(leader, ("X-Jettra-Forward", "never"), "{}").await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_off_node_never_answers_a_linearizable_read_from_its_own_state() {
    let cluster = Cluster::start(3).await;
    cluster.nodes[0].post(THINGS, r#"{"_id":"one"}"#).await.ok();
    let leader = cluster.leader().await;
    let [alone, frozen @ ..] = &[leader, (leader + 1) % 3, (leader + 2) % 3];
    frozen.iter().for_each(|place| cluster.nodes[*place].pause());

    let node = &cluster.nodes[*alone];
    let read = node.get(&format!("{THINGS}&id=one&timeout=3")).await;
    let local = node.get(&format!("{THINGS}&id=one&consistency=local")).await;
    frozen.iter().for_each(|place| cluster.nodes[*place].resume());
    assert!(matches!(read.status, 503 | 504), "{}", read.shown());
    assert_eq!(local.ok()["_id"], "one");
    cluster.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_java_clients_first_request_is_simply_answered() {
    let node = Node::standalone(json!({})).await;
    let request = node
        .request("GET", "/api/dbs")
        .version(reqwest::Version::HTTP_11)
        .header("Connection", "Upgrade, HTTP2-Settings")
        .header("Upgrade", "h2c")
        .header("HTTP2-Settings", "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA");
    node.send(request).await.ok();
}

#[test]
fn a_message_for_people_is_told_from_one_of_the_program() {
    let of = |message: &str| common::Answer {
        status: 503,
        headers: reqwest::header::HeaderMap::new(),
        body: serde_json::json!({"error": {"code": "unavailable", "message": message}}).to_string(),
    };
    let fails = |message: &str| std::panic::catch_unwind(|| of(message).is_for_people()).is_err();
    for good in ["this node's name is \"a{b\": run curl -d '{\"url\":\"x\"}'", "http://[::1]:80 cannot be reached"] {
        assert!(!fails(good), "{good}");
    }
    for bad in ["it stands at Some(3)", "Member { name }", "std::io::Error: x", "it (it (x): try again): try again"] {
        assert!(fails(bad), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_the_reason_is_said_once() {
    let mut cluster = Cluster::start(3).await;
    for lost in [1, 2] {
        cluster.nodes[lost].kill();
    }
    let node = &cluster.nodes[0];
    let read = node.get("/api/count?db=shop&col=things&timeout=2").await;
    let write = node.post("/api/doc?db=shop&col=things&timeout=2", json!({"_id": "a"})).await;
    let settings = node
        .request("PUT", "/api/cluster/settings?timeout=2")
        .body("{\"maxVersions\":5}")
        .header("Idempotency-Key", "k");
    let settings = node.send(settings).await;
    // `send` has looked at each message.
    for answer in [read, write, settings] {
        assert!(matches!(answer.error_code().as_str(), "no_leader" | "timeout"), "{}", answer.shown());
    }
}

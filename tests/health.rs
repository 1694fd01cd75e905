//! Whether the cluster is well: the journal, the doctor and the digests, with real nodes that die.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Instant;

use common::{Cluster, LIMIT, Node, SECOND, eventually};
use serde_json::{Value, json};

/// What a node's own journal says, oldest first.
async fn journal(node: &Node) -> Vec<Value> {
    node.get("/api/cluster/events?limit=0").await.ok().as_array().unwrap().clone()
}

/// The kinds of the events about a member, oldest first.
fn life(journal: &[Value], id: &str) -> Vec<String> {
    let about = journal.iter().filter(|event| event["node"] == id && event["kind"] != "elected");
    about.map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
}

/// Waits until a node's journal has an event of this kind about this member behind revision `after`.
async fn told(node: &Node, kind: &str, id: &str, after: u64) -> Value {
    eventually(LIMIT, &format!("{} has {kind} of {id} in its journal", node.id), async || {
        let events = node.try_get(&format!("/api/cluster/events?limit=0&after={after}")).await?.success()?;
        let found = events.as_array().unwrap().iter().find(|event| event["kind"] == kind && event["node"] == id);
        found.cloned().ok_or_else(|| events.to_string())
    })
    .await
}

/// The findings of the doctor, asked at this node.
async fn findings(node: &Node) -> Result<Vec<Value>, String> {
    let told = node.try_get("/api/cluster/doctor").await?.success()?;
    let findings = told["findings"].as_array().unwrap().clone();
    assert_eq!(told["healthy"], findings.is_empty());
    Ok(findings)
}

async fn healthy(node: &Node) {
    eventually(LIMIT, &format!("the doctor at {} finds nothing", node.id), async || {
        let findings = findings(node).await?;
        if findings.is_empty() { Ok(()) } else { Err(json!(findings).to_string()) }
    })
    .await;
}

/// The value of a metric of this node.
async fn metric(node: &Node, name: &str) -> Result<f64, String> {
    let text = node.try_get("/metrics").await?.body;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    line.ok_or_else(|| format!("{name} is not told"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_tells_what_happened_and_why_the_same_on_every_node() {
    let mut cluster = Cluster::start(3).await;
    let events = journal(&cluster.nodes[0]).await;
    let first = events.iter().find(|event| event["kind"] == "elected").unwrap();
    assert_eq!((&first["node"], &first["reason"]), (&json!("node1"), &json!("first_start")));
    assert!(events.iter().any(|event| event["kind"] == "created"));
    for id in ["node2", "node3"] {
        assert_eq!(life(&events, id), ["registered", "joined", "promoted"], "{events:?}");
    }

    // The leader dies; who takes over says why.
    let before = events.last().unwrap()["rev"].as_u64().unwrap();
    let old = cluster.leader().await;
    let died = cluster.nodes[old].id.clone();
    cluster.nodes[old].kill();
    let new = cluster.leader_other_than(old).await;
    let elected = told(&cluster.nodes[new], "elected", &cluster.nodes[new].id.clone(), before).await;
    assert_eq!((&elected["reason"], &elected["former"]), (&json!("leader_silent"), &json!(died)));
    assert!(elected["silentMs"].as_u64().is_some_and(|ms| (100..20_000).contains(&ms)), "{elected}");
    assert!(elected["term"].as_u64() > first["term"].as_u64());
    told(&cluster.nodes[new], "silent", &died, before).await;
    cluster.nodes[old].start().await;
    told(&cluster.nodes[new], "returned", &died, before).await;

    // Leadership is handed over.
    let before = journal(&cluster.nodes[new]).await.last().unwrap()["rev"].as_u64().unwrap();
    let leader = cluster.leader().await;
    cluster.settled().await;
    let heir = cluster.followers().await[0];
    let (from, to) = (cluster.nodes[leader].id.clone(), cluster.nodes[heir].id.clone());
    cluster.nodes[leader].post("/api/cluster/transfer", json!({ "node": to })).await.ok();
    let elected = told(&cluster.nodes[heir], "elected", &to, before).await;
    assert_eq!((&elected["reason"], &elected["former"]), (&json!("handed_over"), &json!(from)));

    // All have the same, in one order, and each step once.
    cluster.settled().await;
    let last = eventually(LIMIT, "the journal has come to rest", async || {
        let leader = cluster.leader().await;
        let (a, b) = (journal(&cluster.nodes[leader]).await, journal(&cluster.nodes[(leader + 1) % 3]).await);
        if a == b { Ok(a) } else { Err(format!("{} and {} events", a.len(), b.len())) }
    })
    .await;
    for node in &cluster.nodes {
        let rev = last.last().unwrap()["rev"].as_u64().unwrap();
        node.get(&format!("/api/cluster/events?consistency=local&min_index={rev}")).await.ok();
        assert_eq!(journal(node).await, last, "{}", node.id);
    }
    assert!(last.windows(2).all(|pair| pair[0]["rev"].as_u64() <= pair[1]["rev"].as_u64()));
    assert!(last.windows(2).all(|pair| pair[0]["time"].as_u64() <= pair[1]["time"].as_u64()));
    let mut terms: Vec<u64> =
        last.iter().filter(|event| event["kind"] == "elected").map(|event| event["term"].as_u64().unwrap()).collect();
    let told_terms = terms.len();
    terms.dedup();
    assert_eq!(terms.len(), told_terms, "an election was journalled twice");

    // Paging and order.
    let newest = cluster.nodes[0].get("/api/cluster/events?order=desc&limit=2").await.ok();
    assert_eq!(newest.as_array().unwrap()[..], [last[last.len() - 1].clone(), last[last.len() - 2].clone()]);
    let second = cluster.nodes[0].get("/api/cluster/events?offset=1&limit=1").await.ok();
    assert_eq!(second, json!([last[1]]));
    cluster.nodes[0].get("/api/cluster/events?order=up").await.error("bad_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_the_silent_voter_and_then_the_lost_majority() {
    let mut cluster = Cluster::start(3).await;
    for node in &cluster.nodes {
        healthy(node).await;
    }
    let leader = cluster.leader().await;
    let victim = cluster.followers().await[0];
    let other = 3 - leader - victim;
    let name = cluster.nodes[victim].id.clone();

    cluster.nodes[victim].kill();
    let killed = Instant::now();
    for place in [leader, other] {
        let found = eventually(6 * SECOND, "the doctor names the silent voter", async || {
            let found = findings(&cluster.nodes[place]).await?;
            if found.len() == 2 { Ok(found) } else { Err(json!(found).to_string()) }
        })
        .await;
        let what = |n: usize| found[n]["what"].as_str().unwrap();
        assert!(what(0).starts_with(&format!("{name}, a voter")) && what(0).contains("silent"), "{found:?}");
        assert!(what(1).starts_with("no tolerance left: 2 of 3 voters"), "{found:?}");
        let next = found[0]["next"].as_str().unwrap();
        assert!(next.contains(&format!("cluster deregister {name}")), "{next}");
    }
    println!("the silent voter was named after {:?}", killed.elapsed());

    // A second one goes: nobody leads, and the one that is left says so.
    cluster.nodes[leader].kill();
    let found = eventually(15 * SECOND, "the doctor sees that there is no majority", async || {
        let found = findings(&cluster.nodes[other]).await?;
        let first = found.first().and_then(|first| first["what"].as_str()).unwrap_or_default();
        if first.starts_with("there is no majority") { Ok(found.clone()) } else { Err(json!(found).to_string()) }
    })
    .await;
    let what = found[0]["what"].as_str().unwrap();
    assert!(what.contains("hears 1 of 3 voters and 2 are needed") && what.contains(&name), "{what}");
    assert!(found[0]["since"].as_u64().is_some_and(|since| since > 1_600_000_000_000));

    for place in [victim, leader] {
        cluster.nodes[place].start().await;
    }
    for node in &cluster.nodes {
        healthy(node).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn digests_are_compared_after_a_start_and_are_the_same() {
    let mut cluster = Cluster::start(3).await;
    for n in 0..200 {
        cluster.nodes[n % 3].post("/api/doc?db=shop&col=users", json!({ "_id": format!("u{n}"), "n": n })).await.ok();
    }
    let leader = cluster.leader().await;
    let restarted = cluster.followers().await[0];
    // What was compared until now may be from before the writes.
    let written = cluster.nodes[leader].get("/api/cluster").await.ok()["appliedIndex"].as_u64().unwrap();
    cluster.nodes[restarted].restart().await;
    eventually(LIMIT, "all three were compared behind the writes", async || {
        let node = &cluster.nodes[leader];
        let index = metric(node, "jettra_digest_check_index").await?;
        let nodes = metric(node, "jettra_digest_compared_nodes").await?;
        if index > written as f64 && nodes == 3.0 { Ok(()) } else { Err(format!("{nodes} nodes at {index}")) }
    })
    .await;
    let text = cluster.nodes[leader].get("/metrics").await.body;
    assert!(text.contains(r#"jettra_digest_checks_total{result="same"}"#), "{text}");
    assert!(!text.contains(r#"result="different""#), "{text}");
    assert!(!journal(&cluster.nodes[leader]).await.iter().any(|event| event["kind"] == "alarm"));

    // And every so often, as the settings say.
    cluster.nodes[0].put("/api/cluster/settings", json!({ "digestCheckMs": 1000 })).await.ok();
    let then = metric(&cluster.nodes[leader], "jettra_digest_check_index").await.unwrap();
    for beyond in 1..=2 {
        eventually(LIMIT, "the next check comes by itself", async || {
            let index = metric(&cluster.nodes[leader], "jettra_digest_check_index").await?;
            if index >= then + f64::from(beyond) { Ok(()) } else { Err(format!("still {index}")) }
        })
        .await;
    }
    let changed = journal(&cluster.nodes[0]).await;
    let changed = changed.iter().find(|event| event["kind"] == "settings").unwrap();
    assert_eq!(changed["changed"], json!({"digestCheckMs": 1000}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_alone_and_one_that_waits_say_so() {
    let alone = Node::standalone(json!({})).await;
    healthy(&alone).await;
    let events = eventually(LIMIT, "its start is in the journal", async || {
        let events = alone.try_get("/api/cluster/events").await?.success()?;
        if events.to_string().contains("first_start") { Ok(events) } else { Err(events.to_string()) }
    })
    .await;
    assert!(events.as_array().unwrap().iter().all(|event| event["time"].as_u64() > Some(0)), "{events}");

    let waiting = Node::standalone(json!({ "distributed": true, "Bootstrap": false, "NodeID": "late" })).await;
    let found = findings(&waiting).await.unwrap();
    assert!(found[0]["what"].as_str().unwrap().starts_with("late at http"), "{found:?}");
    assert!(found[0]["next"].as_str().unwrap().contains(&waiting.port.to_string()), "{found:?}");
}

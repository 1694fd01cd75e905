//! Nodes die, hang and are stopped under load: what was acknowledged stays, and is there once.
//!
//! The times are printed, and asserted only against generous bounds: a busy machine is slow.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::{Duration, Instant};

use common::{Acknowledged, Cluster, Node, SECOND, Writers, eventually};

/// How many clients write at once.
const CLIENTS: usize = 16;

/// No fail-over may take longer, however busy the machine.
const BOUND: Duration = Duration::from_secs(10);

/// Waits until documents are written at a steady pace, so that a fault hits a cluster at work.
async fn under_load(node: &Node, at_least: u64) -> u64 {
    eventually(30 * SECOND, "the writers are at work", async || {
        let count = node.try_get("/api/count?db=proof&col=writes").await?.success()?["count"].as_u64().unwrap();
        if count >= at_least { Ok(count) } else { Err(format!("{count} documents")) }
    })
    .await
}

/// How long nothing was acknowledged after the fault. Answers that were on their way may still come.
fn outage(all: &[Acknowledged], fault: Instant) -> Duration {
    let last_before = all.partition_point(|acknowledged| acknowledged.at < fault).saturating_sub(1);
    let gaps = all[last_before..].windows(2).take_while(|pair| pair[0].at < fault + SECOND / 2);
    gaps.map(|pair| pair[1].at - pair[0].at).max().expect("writing went on")
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_the_leader_under_writing_clients() {
    let mut cluster = Cluster::start(3).await;
    let mut outages = Vec::new();
    let mut all = Vec::new();
    for round in 0..10 {
        let writers = Writers::start(&cluster, CLIENTS, &format!("kill-{round}"));
        let leader = cluster.leader().await;
        let before = under_load(&cluster.nodes[leader], all.len() as u64 + 200).await;

        let fault = Instant::now();
        cluster.nodes[leader].kill();
        let new = cluster.leader_other_than(leader).await;
        under_load(&cluster.nodes[new], before + 200).await;

        cluster.nodes[leader].restart().await;
        eventually(30 * SECOND, "the old leader is back as a follower", async || {
            let view = cluster.nodes[leader].try_get("/api/cluster").await?.success()?;
            if view["state"] == "FOLLOWER" { Ok(()) } else { Err(view.to_string()) }
        })
        .await;
        let acknowledged = writers.stop().await;
        outages.push(outage(&acknowledged, fault));
        all.extend(acknowledged);
        cluster.settled().await;
    }
    println!("no acknowledgement for {outages:?}; median {:?}; {} writes", median(outages.clone()), all.len());
    Acknowledged::all_on_every_node(&all, &cluster).await;
    assert!(median(outages) < BOUND / 2, "writing took too long to go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_all_nodes_at_once() {
    let mut cluster = Cluster::start(3).await;
    let mut all = Vec::new();
    for round in 0..3 {
        let writers = Writers::start(&cluster, CLIENTS, &format!("all-{round}"));
        under_load(&cluster.nodes[round % 3], all.len() as u64 + 300).await;
        cluster.nodes.iter_mut().for_each(Node::kill);
        all.extend(writers.stop().await);

        // Any order will do; none of them can serve before a second one is there.
        cluster.nodes.iter_mut().for_each(Node::launch);
        cluster.leader().await;
        cluster.settled().await;
        Acknowledged::all_on_every_node(&all, &cluster).await;
    }
    println!("{} writes acknowledged, none lost", all.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_of_the_leader_hands_over() {
    let mut cluster = Cluster::start(3).await;
    let mut outages = Vec::new();
    let mut all = Vec::new();
    for round in 0..3 {
        let writers = Writers::start(&cluster, CLIENTS, &format!("term-{round}"));
        let leader = cluster.leader().await;
        let before = under_load(&cluster.nodes[leader], all.len() as u64 + 200).await;

        let fault = Instant::now();
        let (status, took) = cluster.nodes[leader].stop_gracefully().await;
        assert_eq!(status.code(), Some(0), "ended with {status}");
        assert!(took < 5 * SECOND, "took {took:?}");
        let new = cluster.leader_other_than(leader).await;
        under_load(&cluster.nodes[new], before + 200).await;

        cluster.nodes[leader].restart().await;
        cluster.settled().await;
        let acknowledged = writers.stop().await;
        outages.push(outage(&acknowledged, fault));
        all.extend(acknowledged);
    }
    println!("no acknowledgement for {outages:?}; {} writes", all.len());
    Acknowledged::all_on_every_node(&all, &cluster).await;
    assert!(median(outages) < BOUND / 2, "the hand-over took too long");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_leader_is_replaced_and_comes_back_as_a_follower() {
    let cluster = Cluster::start(3).await;
    let writers = Writers::start(&cluster, CLIENTS, "frozen");
    let leader = cluster.leader().await;
    let before = under_load(&cluster.nodes[leader], 200).await;

    cluster.nodes[leader].pause();
    let new = cluster.leader_other_than(leader).await;
    under_load(&cluster.nodes[new], before + 200).await;
    cluster.nodes[leader].resume();
    cluster.settled().await;
    under_load(&cluster.nodes[leader], before + 400).await;
    let all = writers.stop().await;
    Acknowledged::all_on_every_node(&all, &cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_nothing_is_acknowledged_and_with_one_all_goes_on() {
    let mut cluster = Cluster::start(3).await;
    let survivor = cluster.leader().await;
    let others: Vec<usize> = cluster.followers().await;
    for place in &others {
        cluster.nodes[*place].kill();
    }
    let node = &cluster.nodes[survivor];
    let refused = node.post("/api/doc?db=proof&col=writes&timeout=3", r#"{"_id":"alone"}"#).await;
    assert!(matches!(refused.status, 503 | 504), "{}", refused.shown());

    cluster.nodes[others[0]].restart().await;
    cluster.leader().await;
    cluster.nodes[survivor].post("/api/doc?db=proof&col=writes", r#"{"_id":"together"}"#).await.ok();
    let read = cluster.nodes[others[0]].get("/api/doc?db=proof&col=writes&id=together").await;
    assert_eq!(read.ok()["_id"], "together");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_a_node_at_once() {
    let mut cluster = Cluster::start(3).await;
    // Without a majority there is something to wait for: a write that cannot be finished.
    let leader = cluster.leader().await;
    for place in cluster.followers().await {
        cluster.nodes[place].pause();
    }
    let node = &mut cluster.nodes[leader];
    let write = node.request("POST", "/api/doc?db=proof&col=writes").body("{}");
    let waiting = tokio::spawn(write.send());
    node.signal(nix::sys::signal::Signal::SIGTERM);
    node.signal(nix::sys::signal::Signal::SIGINT);
    let asked = Instant::now();
    let status = node.ended(5 * SECOND).await;
    assert!(matches!(status.code(), Some(0 | 130)), "ended with {status}");
    assert!(asked.elapsed() < 3 * SECOND, "took {:?}", asked.elapsed());
    waiting.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_the_next_leader_discards_is_answered_in_plain_words() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let old = cluster.nodes.remove(leader);
    let metric = async |node: &Node, name: &str| {
        let text = node.try_get("/metrics").await?.body;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        value.ok_or_else(|| format!("no {name}: {text}"))
    };
    // Killed: frozen, they would still find the write when they go on.
    for node in &mut cluster.nodes {
        node.kill();
    }
    let before = metric(&old, "jettra_raft_last_index ").await.unwrap();
    let request = old.request("POST", "/api/doc?db=proof&col=writes&timeout=60s").body(r#"{"_id":"lost"}"#);
    let write = tokio::spawn(common::send(request));
    eventually(10 * SECOND, "the write is in the log", async || {
        match metric(&old, "jettra_raft_last_index ").await? {
            last if last > before => Ok(()),
            last => Err(last.to_string()),
        }
    })
    .await;
    old.pause();
    for node in &mut cluster.nodes {
        node.start().await;
    }
    eventually(30 * SECOND, "the others go on", async || {
        cluster.nodes[0].try_post("/api/doc?db=proof&col=writes", r#"{"_id":"next"}"#).await?.success()
    })
    .await;
    old.resume();
    // Whatever is in it, it is for people: `send` sees to that.
    let answer = write.await.unwrap().unwrap();
    let message = answer.error("timeout")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("another node was elected") && message.contains("may or may not"), "{message}");
}

//! Nodes that the log no longer reaches are brought up by a snapshot, and then are like all others.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{Cluster, Http, LIMIT, Node, SECOND, eventually, send};
use reqwest::Method;
use serde_json::{Value, json};

/// Log entries kept behind a durable point.
const RETAINED: u64 = 50;

/// Nodes that keep little of their logs; all but the last are started and registered.
async fn all_but_one_of(size: usize) -> Cluster {
    let mut cluster = Cluster::unregistered(|number| {
        let config = json!({
            "Host": "127.0.0.1", "distributed": true, "NodeID": format!("node{number}"), "Bootstrap": number == 1,
            "LogRetainEntries": RETAINED, "LogRetainBytes": 1 << 20,
        });
        (number <= size).then_some(config)
    })
    .await;
    for place in 0..size - 1 {
        cluster.nodes[place].start().await;
        if place > 0 {
            cluster.register(place).await;
        }
    }
    cluster.settled().await;
    cluster
}

fn text(kilobytes: usize) -> String {
    "0123456789abcdef".repeat(64 * kilobytes)
}

/// Writes one document an entry, each replaced once: so each has a version. Every tenth is deleted.
async fn write_documents(node: &Node, run: &str, count: usize) {
    let next = AtomicUsize::new(0);
    let write = async || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return;
            }
            let document = format!("/api/doc?db=shop&col=orders&id={run}-{number:05}");
            for state in 0..2 {
                node.put(&document, json!({ "n": number, "state": state, "text": text(1) })).await.ok();
            }
            if number % 10 == 9 {
                node.delete(&document).await.ok();
            }
        }
    };
    futures_util::future::join_all((0..24).map(|_| write())).await;
}

/// Writes megabytes of documents, a megabyte an entry.
async fn write_megabytes(node: &Node, run: &str, count: usize) {
    for number in 0..count {
        let documents: Vec<Value> =
            (0..250).map(|n| json!({ "_id": format!("{run}-{number:03}-{n:03}"), "text": text(4) })).collect();
        node.post("/api/docs?db=shop&col=large", Value::from(documents)).await.ok();
    }
}

/// A figure of `/metrics`.
async fn figure(node: &Node, name: &str) -> Result<u64, String> {
    let answer = node.try_get("/metrics").await?;
    let line = answer.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).ok_or_else(|| format!("no {name}"))
}

/// Waits until the node has made everything up to `index` durable in its state, and so purged the log
/// up to some entries before it.
async fn purged_beyond(node: &Node, index: u64) {
    eventually(180 * SECOND, "the log does not reach back any more", async || {
        let durable = figure(node, "jettra_raft_durable_index").await?;
        // Purging follows the durable point, in batches and once no replication has the entries in hand.
        let first = figure(node, "jettra_log_first_index").await?;
        let gone = durable > index + RETAINED && first > index.saturating_sub(1_100) + 1;
        if gone { Ok(()) } else { Err(format!("durable {durable}, first {first}, wanted {index}")) }
    })
    .await;
}

/// How often the node was sent a snapshot.
fn snapshots(node: &Node) -> usize {
    node.log().matches("receiving a snapshot").count()
}

/// All that a client can see of a node's state, from that node alone.
async fn everything(node: &Node, at_least: u64) -> Vec<(String, String)> {
    let local = format!("consistency=local&min_index={at_least}");
    let mut seen = Vec::new();
    let mut look = async |path: String| {
        let answer = eventually(LIMIT, "a node answers", async || {
            let answer = node.try_get(&path).await?;
            if matches!(answer.status, 503 | 504) { Err(answer.shown()) } else { Ok(answer) }
        })
        .await;
        let tag = answer.header("etag").unwrap_or_default();
        seen.push((path, format!("{} {tag} {}", answer.status, answer.body)));
        answer
    };
    look(format!("/api/dbs?{local}")).await.ok();
    look(format!("/api/dbs/shop/cols?{local}")).await.ok();
    for collection in ["orders", "large", "once", "empty", "nothing"] {
        look(format!("/api/count?db=shop&col={collection}&{local}")).await.ok();
        look(format!("/api/query?db=shop&col={collection}&limit=0&{local}")).await.ok();
    }
    let listed = look(format!("/api/query?db=shop&col=orders&limit=0&fields=n&{local}")).await.ok();
    let mut ids: Vec<String> =
        listed.as_array().unwrap().iter().map(|order| order["_id"].as_str().unwrap().to_owned()).collect();
    let deleted: Vec<String> = ids.iter().map(|id| format!("{}9", &id[..id.len() - 1])).collect();
    ids.extend(deleted);
    for id in ids.iter().step_by(41) {
        look(format!("/api/doc?db=shop&col=orders&id={id}&{local}")).await;
        let versions = look(format!("/api/versions?db=shop&col=orders&id={id}&{local}")).await.ok();
        for version in versions.as_array().unwrap() {
            let version = version.as_str().unwrap();
            let state = look(format!("/api/version?db=shop&col=orders&id={id}&version={version}&{local}")).await;
            assert_eq!(state.status, 200, "{id} {version} on {}: {}", node.id, state.shown());
        }
    }
    seen
}

/// Waits until all nodes have what is written now, and checks that they show the same.
async fn all_alike(cluster: &Cluster) {
    cluster.settled().await;
    let leader = &cluster.nodes[cluster.leader().await];
    let marked = leader.put("/api/doc?db=shop&col=marks&id=now", "{}").await;
    let index = marked.number("x-jettra-index");
    let path = "/api/query?db=_system&col=_clusternodes";
    eventually(LIMIT, "all show the same members", async || {
        let expected = leader.try_get(path).await?.success()?;
        for node in cluster.nodes.iter().filter(|node| node.is_running()) {
            let found = node.try_get(path).await?.success()?;
            if found != expected {
                return Err(format!("{} shows {found} and not {expected}", node.id));
            }
        }
        Ok(())
    })
    .await;
    let expected = everything(leader, index).await;
    assert!(expected.len() > 50, "{}", expected.len());
    for node in cluster.nodes.iter().filter(|node| node.is_running() && node.id != leader.id) {
        let found = everything(node, index).await;
        assert_eq!(found.len(), expected.len(), "{} differs from {}", node.id, leader.id);
        for ((path, expected), (_, found)) in expected.iter().zip(&found) {
            let (shown, wanted) = (found.chars().take(300), expected.chars().take(300));
            let what =
                || format!("{path} on {}: {}\nnot {}", node.id, shown.collect::<String>(), wanted.collect::<String>());
            assert!(expected == found, "{}", what());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_node_and_one_that_was_away_are_brought_up_by_snapshot() {
    let mut cluster = all_but_one_of(3).await;
    let leader = cluster.leader().await;
    assert_eq!(leader, 0);
    cluster.nodes[0].post("/api/change-password", r#"{"newPassword":"x y z and more"}"#).await.ok();
    let login = cluster.nodes[0].post("/api/login", r#"{"username":"admin","password":"x y z and more"}"#).await.ok();
    for node in &mut cluster.nodes {
        node.authorize(login["token"].as_str().unwrap());
    }
    let once = async |node: &Node| {
        let request = node.request("POST", "/api/doc?db=shop&col=once").header("Idempotency-Key", "the only one");
        node.send(request.body(r#"{"said":"once"}"#)).await.ok()
    };
    let first_answer = once(&cluster.nodes[0]).await;
    cluster.nodes[0].post("/api/dbs", r#"{"name":"shop"}"#).await.ok();
    cluster.nodes[0].post("/api/cols", r#"{"database":"shop","collection":"empty"}"#).await.ok();
    write_documents(&cluster.nodes[0], "first", 600).await;
    write_megabytes(&cluster.nodes[0], "first", 4).await;
    purged_beyond(&cluster.nodes[0], 1_100).await;

    // A new node.
    cluster.nodes[2].start().await;
    let began = Instant::now();
    cluster.register(2).await;
    println!("registered after {:?}", began.elapsed());
    assert!(snapshots(&cluster.nodes[2]) >= 1, "it came another way: {}", cluster.nodes[2].log_tail(20));
    all_alike(&cluster).await;

    // A member that is down while much is written.
    cluster.nodes[1].kill();
    let missed = figure(&cluster.nodes[0], "jettra_raft_applied_index").await.unwrap();
    let before = snapshots(&cluster.nodes[1]);
    write_documents(&cluster.nodes[0], "second", 600).await;
    cluster.nodes[0].put("/api/doc?db=shop&col=orders&id=first-00000", r#"{"n":0,"state":"later"}"#).await.ok();
    purged_beyond(&cluster.nodes[0], missed + 1_100).await;
    cluster.nodes[1].start().await;
    all_alike(&cluster).await;
    common::assert_private(&cluster.nodes[1].dir().join("data"));
    assert!(snapshots(&cluster.nodes[1]) > before, "it came another way: {}", cluster.nodes[1].log_tail(20));

    // What was installed outlives the process, on every node at once.
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start().await;
    }
    all_alike(&cluster).await;

    // Each of them can lead, from what it was sent.
    for place in [2, 1] {
        let body = json!({ "node": cluster.nodes[place].id });
        eventually(LIMIT, "it leads", async || {
            cluster.nodes[0].try_post("/api/cluster/transfer", &body).await?.success()
        })
        .await;
        write_documents(&cluster.nodes[place], &format!("led-by-{place}"), 20).await;
        // It knows what had been written under which key, and who may use it.
        assert_eq!(once(&cluster.nodes[place]).await, first_answer);
        let anonymous = cluster.nodes[place].anonymous("GET", "/api/dbs");
        cluster.nodes[place].send(anonymous).await.error("unauthorized");
        let token = cluster.nodes[place].anonymous("GET", "/api/dbs");
        let token = token.header("Authorization", login["token"].as_str().unwrap());
        cluster.nodes[place].send(token).await.ok();
    }
    all_alike(&cluster).await;
}

/// Waits until the node fills a state beside the one in use; returns at once then.
async fn receiving(node: &Node) {
    let state = node.dir().join("data/state");
    let limit = Instant::now() + LIMIT;
    loop {
        let current = std::fs::read_to_string(state.join("CURRENT")).unwrap_or_default();
        let current: u64 = current.split(" ").next().unwrap_or_default().parse().unwrap_or(1);
        let next = state.join((current + 1).to_string());
        if next.exists() && node.log().matches("receiving a snapshot").count() > 0 {
            return;
        }
        assert!(Instant::now() < limit, "no snapshot comes: {}", node.log_tail(20));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Whether the node's state in use has been replaced.
fn generation(node: &Node) -> u64 {
    let current = std::fs::read_to_string(node.dir().join("data/state/CURRENT")).unwrap();
    current.split(" ").next().unwrap_or_default().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_breaks_off_is_begun_again() {
    let mut cluster = all_but_one_of(3).await;
    write_documents(&cluster.nodes[0], "first", 600).await;
    write_megabytes(&cluster.nodes[0], "first", 24).await;
    purged_beyond(&cluster.nodes[0], 1_100).await;

    cluster.nodes[2].start().await;
    let body = json!({ "url": cluster.nodes[2].url() }).to_string();
    let register = cluster.nodes[0].request("POST", "/api/cluster/register").body(body);
    let registering = tokio::spawn(register.send());
    // The receiver dies in the middle.
    for round in 0..2 {
        receiving(&cluster.nodes[2]).await;
        cluster.nodes[2].kill();
        assert_eq!(generation(&cluster.nodes[2]), 1, "round {round}: the snapshot was in before the kill");
        cluster.nodes[2].start().await;
    }
    // So does the sender, and comes back.
    receiving(&cluster.nodes[2]).await;
    cluster.nodes[0].kill();
    let whole = generation(&cluster.nodes[2]) > 1;
    println!("the sender died in the middle: {}", !whole);
    cluster.nodes[0].start().await;
    registering.await.unwrap().ok();
    all_alike(&cluster).await;

    let mut left: Vec<_> = std::fs::read_dir(cluster.nodes[2].dir().join("data/state"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    println!("state directories: {left:?}");
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start().await;
    }
    all_alike(&cluster).await;
    let left = std::fs::read_dir(cluster.nodes[2].dir().join("data/state")).unwrap().count();
    assert_eq!(left, 2, "one state and its pointer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_hangs_is_replaced_by_the_next_leader() {
    let mut cluster = all_but_one_of(4).await;
    write_documents(&cluster.nodes[0], "first", 600).await;
    write_megabytes(&cluster.nodes[0], "first", 24).await;
    for place in 0..3 {
        purged_beyond(&cluster.nodes[place], 1_100).await;
    }
    cluster.nodes[3].start().await;
    let body = json!({ "url": cluster.nodes[3].url() }).to_string();
    let register = cluster.nodes[0].request("POST", "/api/cluster/register").body(body);
    let registering = tokio::spawn(register.send());
    receiving(&cluster.nodes[3]).await;
    cluster.nodes[0].pause();
    assert_eq!(generation(&cluster.nodes[3]), 1, "the snapshot was in before the leader hung");

    // While the first one's stream is still open, the next leader sends its own.
    // Those that vote agree; the new node cannot say anything yet.
    let new = eventually(LIMIT, "another leader is known", async || {
        let mut leaders = Vec::new();
        for node in &cluster.nodes[1..3] {
            leaders.push(node.try_get("/api/cluster").await?.success()?["leaderId"].clone());
        }
        let place = cluster.nodes[1..3].iter().position(|node| leaders.iter().all(|leader| *leader == node.id));
        place.map(|place| place + 1).ok_or_else(|| format!("{leaders:?}"))
    })
    .await;
    write_documents(&cluster.nodes[new], "second", 50).await;
    eventually(2 * LIMIT, "the new node votes", async || {
        let view = cluster.nodes[new].try_get("/api/cluster").await?.success()?;
        let nodes = view["nodes"].as_array().unwrap();
        let votes = nodes.iter().any(|node| node["id"] == "node4" && node["voter"] == true);
        if votes { Ok(()) } else { Err(view.to_string()) }
    })
    .await;
    println!("node4 was sent {} snapshots", snapshots(&cluster.nodes[3]));
    cluster.nodes[0].resume();
    registering.await.unwrap().ok();
    all_alike(&cluster).await;
    write_documents(&cluster.nodes[new], "third", 50).await;
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start().await;
    }
    all_alike(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_waits_for_the_receiver_of_a_snapshot() {
    let mut cluster = Cluster::unregistered(|number| {
        let config = json!({
            "Host": "127.0.0.1", "distributed": true, "NodeID": format!("node{number}"), "Bootstrap": number == 1,
            "LogRetainEntries": 1_000, "LogRetainBytes": 8 << 20,
        });
        (number <= 2).then_some(config)
    })
    .await;
    cluster.nodes[0].start().await;
    write_small(&cluster.nodes[0], 2_400).await;
    write_megabytes(&cluster.nodes[0], "first", 24).await;
    purged_beyond(&cluster.nodes[0], 1_100).await;

    cluster.nodes[1].start().await;
    let body = json!({ "url": cluster.nodes[1].url() }).to_string();
    let register = cluster.nodes[0].request("POST", "/api/cluster/register").body(body);
    let registering = tokio::spawn(register.send());
    receiving(&cluster.nodes[1]).await;
    cluster.nodes[1].pause();
    assert_eq!(generation(&cluster.nodes[1]), 1, "the snapshot was in before the receiver hung");
    // While it hangs more is written than the log keeps else. The log is looked at before each durable point.
    let index = figure(&cluster.nodes[0], "jettra_raft_applied_index").await.unwrap();
    for (writes, durable) in [(2_200, index + 1_100), (1_100, index + 2_300)] {
        write_small(&cluster.nodes[0], writes).await;
        eventually(LIMIT, "a durable point is made", async || {
            let at = figure(&cluster.nodes[0], "jettra_raft_durable_index").await?;
            if at >= durable { Ok(()) } else { Err(format!("{at}, wanted {durable}")) }
        })
        .await;
    }
    cluster.nodes[1].resume();
    registering.await.unwrap().ok();
    all_alike(&cluster).await;
    assert_eq!(snapshots(&cluster.nodes[1]), 1, "one snapshot was enough");
}

/// Clients that write one document after the other, each as soon as the last one is acknowledged.
struct Load {
    stop: Arc<AtomicBool>,
    /// When each write was acknowledged, and after how long.
    clients: Vec<tokio::task::JoinHandle<Vec<(Instant, Duration)>>>,
}

impl Load {
    fn start(node: &Node, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..clients).map(|client| {
            let (stop, http) = (stop.clone(), Http::new(LIMIT));
            let url = format!("{}/api/doc?db=shop&col=large", node.url());
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for number in 0.. {
                    let body = json!({ "_id": format!("{client}-{number}"), "text": &text(1)[..200] }).to_string();
                    let asked = Instant::now();
                    send(http.request(Method::POST, &url).body(body)).await.unwrap().ok();
                    acknowledged.push((Instant::now(), asked.elapsed()));
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
                acknowledged
            })
        });
        Load { clients: clients.collect(), stop }
    }

    async fn stop(self) -> Vec<(Instant, Duration)> {
        self.stop.store(true, Ordering::Relaxed);
        let all = futures_util::future::join_all(self.clients).await;
        all.into_iter().flat_map(|client| client.unwrap()).collect()
    }
}

/// What the writers saw between two moments.
fn window(writes: &[(Instant, Duration)], from: Instant, to: Instant) -> (usize, f64, f64) {
    let mut seen: Vec<Duration> =
        writes.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, took)| *took).collect();
    seen.sort_unstable();
    let quantile = |share: f64| {
        let at = ((seen.len() as f64 * share) as usize).min(seen.len().saturating_sub(1));
        seen.get(at).map_or(0.0, |took| took.as_secs_f64() * 1000.0)
    };
    (seen.len(), quantile(0.5), quantile(0.99))
}

/// A follower misses this many writes and comes back while 16 clients write to the leader; prints what they saw
/// and what it took of the leader's memory, and gives by how much the p99 of the clients and the leader's memory in
/// MiB rose.
async fn comes_back_beside_writers(missed: usize, settled: Duration, settings: Value) -> (f64, f64) {
    let mut cluster = Cluster::start_with(3, settings).await;
    let leader = cluster.leader().await;
    let away = cluster.followers().await[0];
    cluster.nodes[leader].post("/api/dbs", r#"{"name":"shop"}"#).await.ok();
    let before = figure(&cluster.nodes[leader], "jettra_raft_applied_index").await.unwrap();
    cluster.nodes[away].kill();
    // Each is written, and replaced once.
    write_small(&cluster.nodes[leader], missed).await;
    eventually(180 * SECOND, "the log does not reach back any more", async || {
        let first = figure(&cluster.nodes[leader], "jettra_log_first_index").await?;
        if first > before { Ok(()) } else { Err(format!("it begins at {first}, wanted {before}")) }
    })
    .await;

    let memory = async |node: &Node| figure(node, "process_resident_memory_bytes").await.unwrap() as f64 / 1048576.0;
    let load = Load::start(&cluster.nodes[leader], 16);
    tokio::time::sleep(SECOND).await;
    let (calm, calm_memory) = (Instant::now(), memory(&cluster.nodes[leader]).await);
    tokio::time::sleep(settled).await;
    let (began, began_memory) = (Instant::now(), memory(&cluster.nodes[leader]).await);
    cluster.nodes[away].start().await;
    let mut peak = began_memory;
    eventually(600 * SECOND, "the snapshot is installed", async || {
        peak = peak.max(memory(&cluster.nodes[leader]).await);
        let done = cluster.nodes[leader].log().matches("the snapshot is installed").count() > 0;
        tokio::time::sleep(100 * SECOND / 1000).await;
        if done { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    let installed = Instant::now();
    eventually(120 * SECOND, "it has caught up", async || {
        peak = peak.max(memory(&cluster.nodes[leader]).await);
        let applied = figure(&cluster.nodes[leader], "jettra_raft_applied_index").await?;
        let there = figure(&cluster.nodes[away], "jettra_raft_applied_index").await?;
        if there + 1_000 > applied { Ok(()) } else { Err(format!("{there} of {applied}")) }
    })
    .await;
    let caught_up = Instant::now();
    tokio::time::sleep(settled).await;
    let ended = Instant::now();
    let writes = load.stop().await;
    assert_eq!(snapshots(&cluster.nodes[away]), 1, "one snapshot was enough");

    let row = |what: &str, from: Instant, to: Instant| {
        let (count, half, p99) = window(&writes, from, to);
        let seconds = (to - from).as_secs_f64();
        println!(
            "{what:<28} {seconds:>6.1} s {:>8.0} writes/s   p50 {half:>6.1} ms   p99 {p99:>6.1} ms",
            count as f64 / seconds
        );
        p99
    };
    let p99_before = row("two nodes, before", calm, began);
    let p99_during = row("snapshot sent and installed", began, installed);
    row("log sent after it", installed, caught_up);
    row("three nodes, after", caught_up, ended);
    let by_writes = (began_memory - calm_memory).max(0.0) / settled.as_secs_f64() * (caught_up - began).as_secs_f64();
    println!(
        "leader's memory: {began_memory:.0} MiB at its beginning, {peak:.0} MiB at most; the writes alone add about {by_writes:.0} MiB in that time"
    );
    let marked = cluster.nodes[leader].put("/api/doc?db=shop&col=marks&id=now", "{}").await;
    let index = marked.number("x-jettra-index");
    let expected = digest(&cluster.nodes[leader], index).await;
    println!(
        "digests of {:?} documents: {:?}",
        expected.iter().map(|d| d.0).collect::<Vec<_>>(),
        expected.iter().map(|d| d.1).collect::<Vec<_>>()
    );
    assert_eq!(digest(&cluster.nodes[away], index).await, expected);
    assert!(expected[0].0 >= missed / 2 && expected[1].0 >= 16, "{expected:?}");
    (p99_during / p99_before, peak - began_memory)
}

/// Half as many small documents, each written twice.
async fn write_small(node: &Node, writes: usize) {
    let next = AtomicUsize::new(0);
    let write = async || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= writes / 2 {
                return;
            }
            let document = format!("/api/doc?db=shop&col=orders&id={number:07}");
            for state in 0..2 {
                node.put(&document, json!({ "n": number, "state": state, "text": &text(1)[..200] })).await.ok();
            }
        }
    };
    futures_util::future::join_all((0..64).map(|_| write())).await;
}

/// Count and hash of the documents that a node shows, of both collections.
async fn digest(node: &Node, at_least: u64) -> [(usize, u64); 2] {
    let mut digests = [(0, 0); 2];
    for (digest, collection) in digests.iter_mut().zip(["orders", "large"]) {
        let path = format!("/api/query?db=shop&col={collection}&limit=0&consistency=local&min_index={at_least}");
        let answer = eventually(2 * LIMIT, "a node shows all", async || node.try_get(&path).await?.success()).await;
        let documents = answer.as_array().unwrap();
        let mut hasher = DefaultHasher::new();
        documents.iter().for_each(|document| document.to_string().hash(&mut hasher));
        *digest = (documents.len(), hasher.finish());
    }
    digests
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_comes_back_by_snapshot_beside_writers() {
    let settings = json!({ "LogRetainEntries": 500, "LogRetainBytes": 1 << 20 });
    let (_, memory) = comes_back_beside_writers(5_000, 2 * SECOND, settings).await;
    assert!(memory < 64.0, "the leader's memory rose by {memory} MiB");
}

/// The same at full size, with figures: `cargo test --release -p jettra-server --test snapshot -- --ignored --nocapture`
/// on a machine that does nothing else.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures, for minutes, and wants the machine to itself"]
async fn two_hundred_thousand_missed_writes() {
    let (p99, memory) = comes_back_beside_writers(200_000, 15 * SECOND, json!({})).await;
    println!("p99 {p99:.2} times as long, memory {memory:.0} MiB more");
    assert!(p99 < 1.5, "p99 rose to {p99} times what it was");
    assert!(memory < 64.0, "the leader's memory rose by {memory} MiB");
}

//! Watchers are told every committed change, once and in order, whatever happens to nodes and connections.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Acknowledged, Cluster, LIMIT, Node, SECOND, Writers, eventually};
use futures_util::future::join_all;
use jettra_client::wire::{ChangeOp, CollectionPath, Position};
use jettra_client::{Change, ErrorCode, JettraClient, WatchOptions};
use reqwest::header::AUTHORIZATION;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

/// A connection between a client and a node that can be cut.
struct Relay {
    port: u16,
    cut: broadcast::Sender<()>,
    task: JoinHandle<()>,
}

impl Relay {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (cut, _) = broadcast::channel(1);
        let cuts = cut.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut cut = cuts.subscribe();
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = cut.recv() => {}
                    }
                });
            }
        });
        Relay { port: own, cut, task }
    }

    fn url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Ends every connection there is; new ones work.
    fn cut(&self) {
        self.cut.send(()).ok();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn client(urls: &[String], discover: bool) -> JettraClient {
    let attempt = Duration::from_millis(500);
    JettraClient::builder()
        .urls(urls)
        .discover(discover)
        .attempt_timeout(attempt)
        .deadline(60 * SECOND)
        .build()
        .unwrap()
}

/// Watches until it has been told everything up to `last`, which may come later.
fn watch_until(
    client: JettraClient,
    options: WatchOptions,
    mut last: tokio::sync::watch::Receiver<u64>,
) -> JoinHandle<Vec<Change>> {
    tokio::spawn(async move {
        let mut watch = client.watch_with("proof", &options).await.unwrap();
        let mut told = Vec::new();
        loop {
            tokio::select! {
                next = watch.next_or_progress() => match next {
                    Ok(change) => told.extend(change),
                    // The whole cluster may be away for long; the watch goes on where it was.
                    Err(error) if error.code() == Some(ErrorCode::Compacted) => panic!("{error}"),
                    Err(_) => {}
                },
                _ = last.changed() => {}
            }
            let last = *last.borrow();
            if last > 0 && watch.position() >= Position::after(last) {
                return told;
            }
            // The last change is told before the revision is known to be over.
            if last > 0 && told.last().is_some_and(|change| change.rev() == last) {
                return told;
            }
        }
    })
}

/// What one client did, one thing after the other.
#[derive(Debug, PartialEq)]
enum Did {
    Saved { id: String, rev: u64, number: u64 },
    Deleted { id: String },
}

/// Saves, replaces and deletes a few documents over and over.
async fn churn(client: JettraClient, stop: Arc<AtomicBool>) -> Vec<Did> {
    let mut done = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let id = format!("churn-{}", number % 5);
        if number % 7 == 6 {
            client.delete_document("proof", "writes", &id).await.unwrap();
            // Deleting what is absent changes nothing.
            let exists = done.iter().rev().find_map(|did| match did {
                Did::Saved { id: saved, .. } => (*saved == id).then_some(true),
                Did::Deleted { id: deleted } => (*deleted == id).then_some(false),
            });
            if exists == Some(true) {
                done.push(Did::Deleted { id });
            }
        } else {
            let rev = client.update("proof", "writes", &id, &json!({ "number": number })).await.unwrap();
            done.push(Did::Saved { id, rev, number });
        }
    }
    done
}

fn shown(change: &Change) -> String {
    let document = change.document.as_ref().map(|document| document.as_str());
    format!(
        "{} {:?} {}/{} {:?} {document:?}",
        change.position, change.op, change.database, change.collection, change.id
    )
}

/// A stream of events, read by hand.
struct Stream {
    response: reqwest::Response,
    text: String,
}

impl Stream {
    async fn open(node: &Node, path: &str, last_event_id: Option<&str>) -> Self {
        // As long as the test goes on, however busy the machine is.
        let mut request = node.request("GET", path).timeout(300 * SECOND);
        if let Some(id) = last_event_id {
            request = request.header("Last-Event-ID", id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{:?}", response.text().await);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Stream { response, text: String::new() }
    }

    /// The next event as `(id, event, data)`; none at the end.
    async fn next(&mut self) -> Option<(String, String, String)> {
        while !self.text.contains("\n\n") {
            let piece = tokio::time::timeout(LIMIT, self.response.chunk()).await.expect("the stream goes on or ends");
            self.text.push_str(std::str::from_utf8(&piece.ok()??).unwrap());
        }
        let (event, rest) = self.text.split_once("\n\n").unwrap();
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
        let event = (field("id: "), field("event: "), field("data: "));
        self.text = rest.to_owned();
        Some(event)
    }

    /// The next change.
    async fn change(&mut self) -> (String, Value) {
        loop {
            let (id, event, data) = self.next().await.expect("the stream goes on");
            match event.as_str() {
                "" => return (id, serde_json::from_str(&data).unwrap()),
                "progress" => {}
                other => panic!("{other}: {data}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_told_once_and_in_order_while_nodes_die() {
    let mut cluster = Cluster::start(3).await;
    let urls: Vec<String> = cluster.nodes.iter().map(Node::url).collect();
    let begin = cluster.nodes[0].post("/api/doc?db=proof&col=other", "{}").await.ok()["rev"].as_u64().unwrap();
    let from = WatchOptions::new().after(Position::after(begin));
    let only = from.clone().collection("writes");
    let relays = join_all(cluster.nodes.iter().map(|node| Relay::to(node.port))).await;

    let (tell_last, last) = tokio::sync::watch::channel(0);
    let mut watchers = Vec::new();
    for place in 0..3 {
        // One that stays with its node, one that finds its way over connections that break, one that knows all.
        watchers.push(watch_until(client(&urls[place..=place], false), only.clone(), last.clone()));
        let mut others: Vec<String> = relays.iter().map(Relay::url).collect();
        others.rotate_left(place);
        watchers.push(watch_until(client(&others, false), only.clone(), last.clone()));
        let mut all = urls.clone();
        all.rotate_left(place);
        watchers.push(watch_until(client(&all, true), from.clone(), last.clone()));
    }
    let writers = Writers::start(&cluster, 8, "watched");
    let stop = Arc::new(AtomicBool::new(false));
    let churning = tokio::spawn(churn(client(&urls, false), stop.clone()));
    let progress = async |cluster: &Cluster, more: u64| {
        let count = async || {
            for node in cluster.nodes.iter().filter(|node| node.is_running()) {
                if let Ok(answer) = node.try_get("/api/count?db=proof&col=writes&timeout=2").await
                    && let Ok(body) = answer.success()
                {
                    return Ok(body["count"].as_u64().unwrap());
                }
            }
            Err("nobody counts".to_owned())
        };
        let before = eventually(LIMIT, "writes are counted", count).await;
        eventually(LIMIT, "writing goes on", async || {
            let now = count().await?;
            if now >= before + more { Ok(()) } else { Err(format!("{now} of {before} + {more}")) }
        })
        .await;
    };

    progress(&cluster, 100).await;
    for _ in 0..2 {
        let leader = cluster.leader().await;
        cluster.nodes[leader].kill();
        cluster.leader_other_than(leader).await;
        relays.iter().for_each(Relay::cut);
        progress(&cluster, 100).await;
        cluster.nodes[leader].restart().await;
        cluster.settled().await;

        let watched = cluster.followers().await[0];
        cluster.nodes[watched].restart().await;
        relays.iter().for_each(Relay::cut);
        cluster.settled().await;
        let handed = cluster.leader().await;
        cluster.nodes[handed].stop_gracefully().await;
        cluster.leader_other_than(handed).await;
        cluster.nodes[handed].restart().await;
        cluster.settled().await;
        progress(&cluster, 100).await;
    }

    let acknowledged = writers.stop().await;
    stop.store(true, Ordering::Relaxed);
    let churned = churning.await.unwrap();
    let end =
        cluster.nodes[0].post("/api/doc?db=proof&col=writes", r#"{"_id":"end"}"#).await.ok()["rev"].as_u64().unwrap();
    tell_last.send(end).unwrap();
    let told = tokio::time::timeout(60 * SECOND, join_all(watchers)).await.expect("all are told the last change");
    let told: Vec<Vec<Change>> = told.into_iter().map(Result::unwrap).collect();

    let first: Vec<String> = told[0].iter().map(shown).collect();
    assert!(told[0].windows(2).all(|pair| pair[0].position < pair[1].position), "out of order, or twice");
    for (n, others) in told.iter().enumerate() {
        assert_eq!(others.iter().map(shown).collect::<Vec<_>>(), first, "watcher {n} was told something else");
    }
    check_history(&told[0], &acknowledged, &churned);
    check_replay(&told[0], &cluster).await;
    check_resume(&told[0], &cluster, begin).await;
    check_system(&cluster).await;
    println!("{} changes, {} acknowledged creations, {} of one client", first.len(), acknowledged.len(), churned.len());
}

/// What was acknowledged is told once, and nothing that nobody wrote.
fn check_history(told: &[Change], acknowledged: &[Acknowledged], churned: &[Did]) {
    let of_churn: Vec<Did> = told
        .iter()
        .filter(|change| change.id.as_deref().is_some_and(|id| id.starts_with("churn-")))
        .map(|change| match (change.op, &change.document) {
            (ChangeOp::Save, Some(document)) => Did::Saved {
                id: change.id.clone().unwrap(),
                rev: change.rev(),
                number: document.parse::<Value>().unwrap()["number"].as_u64().unwrap(),
            },
            (ChangeOp::Delete, None) => Did::Deleted { id: change.id.clone().unwrap() },
            _ => panic!("{}", shown(change)),
        })
        .collect();
    assert_eq!(of_churn, churned, "one client's writes in the order in which it made them");

    let mut others: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for change in told.iter().filter(|change| change.id.as_deref().is_some_and(|id| id.starts_with("watched-"))) {
        assert_eq!(change.op, ChangeOp::Save);
        others.entry(change.id.as_deref().unwrap()).or_default().push(change.rev());
    }
    for acknowledged in acknowledged {
        assert_eq!(others.remove(&*acknowledged.id), Some(vec![acknowledged.rev]), "{}", acknowledged.id);
    }
    // A writer that was stopped in the middle of a write does not know of it.
    let unfinished: BTreeSet<String> = (0..8)
        .map(|writer| {
            let name = format!("watched-{writer:02}-");
            let count = acknowledged.iter().filter(|acknowledged| acknowledged.id.starts_with(&name)).count();
            format!("{name}{count:06}")
        })
        .collect();
    for (id, revs) in others {
        assert!(unfinished.contains(id) && revs.len() == 1, "nobody wrote {id} at {revs:?}");
    }
}

/// Who replays the changes has what every node has.
async fn check_replay(told: &[Change], cluster: &Cluster) {
    let mut copy: BTreeMap<String, String> = BTreeMap::new();
    for change in told {
        let id = change.id.clone().unwrap();
        match &change.document {
            Some(document) => drop(copy.insert(id, document.as_str().to_owned())),
            None => drop(copy.remove(&id)),
        }
    }
    for node in &cluster.nodes {
        let found = node.get("/api/query?db=proof&col=writes&limit=0").await;
        let want = format!("[{}]", copy.values().cloned().collect::<Vec<_>>().join(","));
        assert_eq!(found.body, want, "{}", node.id);
    }
}

/// Of the system's own database there is what a query shows: the members.
async fn check_system(cluster: &Cluster) {
    for node in &cluster.nodes {
        let mut stream = Stream::open(node, "/api/watch?db=_system&from=0", None).await;
        let mut seen = BTreeSet::new();
        while seen.len() < 3 {
            let (_, member) = stream.change().await;
            assert_eq!((member["db"].as_str(), member["col"].as_str()), (Some("_system"), Some("_clusternodes")));
            seen.insert(member["id"].as_str().unwrap().to_owned());
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["node1", "node2", "node3"]);
    }
}

/// From any position on, on any node, the stream has exactly the rest.
async fn check_resume(told: &[Change], cluster: &Cluster, begin: u64) {
    let path = "/api/watch?db=proof&col=writes";
    for (n, node) in cluster.nodes.iter().enumerate() {
        for at in [0, 1, told.len() / 3 + n, told.len() / 2, told.len() - 2] {
            let position = told[at].position;
            // The header wins over the parameter.
            for (path, id) in
                [(format!("{path}&from=0"), Some(position.to_string())), (format!("{path}&from={position}"), None)]
            {
                let mut stream = Stream::open(node, &path, id.as_deref()).await;
                for change in &told[at + 1..] {
                    let (id, data) = stream.change().await;
                    assert_eq!(id, change.position.to_string(), "after {position} on {}", node.id);
                    assert_eq!((data["id"].as_str(), data["rev"].as_u64()), (change.id.as_deref(), Some(change.rev())));
                }
            }
        }
        let mut stream = Stream::open(node, &format!("{path}&from={begin}"), None).await;
        assert_eq!(stream.next().await.unwrap().1, "progress", "a position at once");
        assert_eq!(stream.change().await.0, told[0].position.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_can_be_installed_under_a_watcher() {
    let settings = json!({ "LogRetainEntries": 50, "LogRetainBytes": 1 << 20 });
    let cluster = Cluster::start_with(3, settings).await;
    let leader = cluster.leader().await;
    let watched = cluster.followers().await[0];
    let node = &cluster.nodes[watched];
    let begin = cluster.nodes[leader].post("/api/doc?db=proof&col=writes", r#"{"_id":"begin"}"#).await.ok();
    let mut stream = Stream::open(node, "/api/watch?db=proof", Some(&begin["rev"].to_string())).await;
    cluster.nodes[leader].post("/api/doc?db=proof&col=writes", r#"{"_id":"before"}"#).await.ok();
    assert_eq!(stream.change().await.1["id"], "before");

    // The watcher's node hangs while the others write more than the log keeps.
    node.pause();
    let text = "0123456789abcdef".repeat(256);
    for number in 0..6 {
        let documents: Vec<Value> =
            (0..250).map(|n| json!({ "_id": format!("{number}-{n:03}"), "text": text })).collect();
        cluster.nodes[leader].post("/api/docs?db=proof&col=writes", Value::from(documents)).await.ok();
    }
    for number in 0..1500 {
        cluster.nodes[leader].put(&format!("/api/doc?db=proof&col=writes&id=w{number}"), "{}").await.ok();
    }
    let figure = async |name: &str| -> Result<u64, String> {
        let answer = cluster.nodes[leader].try_get("/metrics").await?;
        let line = answer.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).ok_or_else(|| format!("no {name}"))
    };
    let gone = begin["rev"].as_u64().unwrap() + 10;
    eventually(180 * SECOND, "the log does not reach back any more", async || {
        let first = figure("jettra_log_first_index").await?;
        if first > gone { Ok(()) } else { Err(format!("it begins at {first}")) }
    })
    .await;
    node.resume();

    let mut told = Vec::new();
    while told.len() < 6 * 250 + 1500 {
        let (_, data) = stream.change().await;
        told.push(data["id"].as_str().unwrap().to_owned());
    }
    let want: Vec<String> = (0..6)
        .flat_map(|number| (0..250).map(move |n| format!("{number}-{n:03}")))
        .chain((0..1500).map(|number| format!("w{number}")))
        .collect();
    assert_eq!(told, want);
    assert!(node.log().contains("receiving a snapshot"), "{}", node.log_tail(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_and_renamed_collections_are_told_by_the_names_they_had() {
    let node = Node::standalone(json!({})).await;
    let client = client(&[node.url()], false);
    let mut all = client.watch_with("shop", &WatchOptions::new()).await.unwrap();
    let mut old = client.watch("shop", "old").await.unwrap();
    let mut new = client.watch("shop", "new").await.unwrap();
    let begin = all.position();

    client.update("shop", "old", "a", "{}").await.unwrap();
    client.rename_collection("shop", "old", "new").await.unwrap();
    client.update("shop", "new", "b", "{}").await.unwrap();
    client.delete_collection("shop", "new").await.unwrap();
    client.update("shop", "new", "c", "{}").await.unwrap();
    client.update("elsewhere", "new", "d", "{}").await.unwrap();

    let path = |col: &str| CollectionPath { db: "shop".to_owned(), col: col.to_owned() };
    let told = |change: &Change| {
        let renamed = change.renamed_to.clone();
        (change.op, change.collection.clone(), change.id.clone(), renamed)
    };
    let save = |col: &str, id: &str| (ChangeOp::Save, col.to_owned(), Some(id.to_owned()), None);
    let renamed = (ChangeOp::RenameCollection, "old".to_owned(), None, Some(path("new")));
    let dropped = (ChangeOp::DeleteCollection, "new".to_owned(), None, None);
    let everything = [save("old", "a"), renamed.clone(), save("new", "b"), dropped.clone(), save("new", "c")];
    for want in &everything {
        assert_eq!(told(&all.next().await.unwrap()), *want);
    }
    for want in &everything[..2] {
        assert_eq!(told(&old.next().await.unwrap()), *want);
    }
    for want in &everything[1..] {
        assert_eq!(told(&new.next().await.unwrap()), *want);
    }
    // Who comes late is told the same, though these names are gone.
    let mut late = client.watch_with("shop", &WatchOptions::new().after(begin)).await.unwrap();
    for want in &everything {
        assert_eq!(told(&late.next().await.unwrap()), *want);
    }
    // The one that sees nothing more is told how far it has come.
    let last = late.position();
    while old.position() < last {
        assert!(old.next_or_progress().await.unwrap().is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_is_cut_and_can_go_on() {
    let node = Node::standalone(json!({})).await;
    let begin = node.post("/api/doc?db=shop&col=large", r#"{"_id":"begin"}"#).await.ok()["rev"].as_u64().unwrap();
    let mut socket = std::net::TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, node.port))).unwrap();
    let host = format!("localhost:{}", node.port);
    let request = format!("GET /api/watch?db=shop&from={begin} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    eventually(LIMIT, "it is a watcher", async || watchers(&node, 1).await).await;

    let text = "0123456789abcdef".repeat(1250);
    for number in 0..4 {
        let documents: Vec<Value> =
            (0..400).map(|n| json!({ "_id": format!("{number}-{n:03}"), "text": text })).collect();
        node.post("/api/docs?db=shop&col=large", Value::from(documents)).await.ok();
    }
    eventually(LIMIT, "it is cut off", async || watchers(&node, 0).await).await;
    // Another one goes on meanwhile, and nothing was held up.
    node.put("/api/doc?db=shop&col=large&id=later", "{}").await.ok();

    let mut got = Vec::new();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket.read_to_end(&mut got).expect("the stream ends");
    let got = String::from_utf8(got).unwrap();
    let ids: Vec<Position> = got
        .lines()
        .filter_map(|line| line.strip_prefix("id: "))
        .filter(|id| id.contains('.'))
        .map(|id| id.parse().unwrap())
        .collect();
    assert!(!ids.is_empty() && ids.len() < 1600, "{} of 1600", ids.len());
    let last_event = got.rsplit("event: ").next().unwrap();
    assert!(last_event.starts_with("lagging\ndata: {}\n\n"), "{last_event:.100}");
    assert!(!got.contains("later"));

    let client = client(&[node.url()], false);
    let options = WatchOptions::new().after(*ids.last().unwrap());
    let mut watch = client.watch_with("shop", &options).await.unwrap();
    let mut rest = Vec::new();
    while rest.last() != Some(&"later".to_owned()) {
        rest.push(watch.next().await.unwrap().id.unwrap());
    }
    assert_eq!(ids.len() + rest.len(), 1601);
    assert_eq!(rest[0], format!("{}-{:03}", ids.len() / 400, ids.len() % 400));
}

/// Bytes of memory that a node takes.
async fn memory(node: &Node) -> f64 {
    let answer = node.get("/metrics").await;
    let line = answer.body.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
    line.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_slow_watchers_of_large_documents_hold_little_together() {
    const WATCHERS: usize = 40;
    let node = Node::standalone(json!({})).await;
    let begin = node.post("/api/doc?db=shop&col=large", r#"{"_id":"begin"}"#).await.ok()["rev"].as_u64().unwrap();
    let text = "0123456789abcdef".repeat(512 << 10);
    for id in ["a", "b"] {
        node.put(&format!("/api/doc?db=shop&col=large&id={id}"), json!({ "text": text })).await.ok();
    }
    let before = memory(&node).await;

    let host = format!("localhost:{}", node.port);
    let request = format!("GET /api/watch?db=shop&from={begin} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let slow: Vec<std::net::TcpStream> = (0..WATCHERS)
        .map(|_| {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, node.port));
            let mut socket = std::net::TcpStream::connect(address).unwrap();
            socket.write_all(request.as_bytes()).unwrap();
            socket
        })
        .collect();
    eventually(LIMIT, "all of them watch", async || watchers(&node, WATCHERS).await).await;
    let client = client(&[node.url()], false);
    let mut watch = client.watch_with("shop", &WatchOptions::new().after(Position::after(begin))).await.unwrap();

    let mut most = 0_f64;
    eventually(LIMIT, "the first of them is cut off", async || {
        most = most.max(memory(&node).await);
        if node.log().contains("cut off") { Ok(()) } else { Err("none is".to_owned()) }
    })
    .await;
    let mib = (most - before) / 1048576.0;
    assert!(mib < 250.0, "{WATCHERS} watchers of 8 MiB took {mib:.0} MiB");

    drop(slow);
    let told = [watch.next().await.unwrap(), watch.next().await.unwrap()];
    assert_eq!(told.map(|change| change.id.unwrap()), ["a", "b"]);
}

async fn watchers(node: &Node, count: usize) -> Result<(), String> {
    let answer = node.try_get("/metrics").await?;
    let line = answer.body.lines().find(|line| line.starts_with("jettra_watchers ")).unwrap_or("none").to_owned();
    if line == format!("jettra_watchers {count}") { Ok(()) } else { Err(line) }
}

const PASSWORD: &str = "correct horse";

fn basic(password: &str) -> String {
    let request = reqwest::Client::new().get("http://localhost").basic_auth("admin", Some(password)).build().unwrap();
    request.headers()[AUTHORIZATION].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_read_watches_and_only_for_as_long() {
    let mut node = Node::standalone(json!({ "AdminPassword": PASSWORD })).await;
    node.get("/api/watch?db=shop").await.error("unauthorized");
    node.authorize(basic("wrong"));
    node.get("/api/watch?db=shop").await.error("unauthorized");
    node.authorize(basic(PASSWORD));
    node.post("/api/doc?db=shop&col=users", r#"{"_id":"a"}"#).await.ok();

    // Users and tokens change below, and that is told to nobody.
    let mut system = Stream::open(&node, "/api/watch?db=_system&from=0&consistency=local", None).await;
    let mut hidden = Stream::open(&node, "/api/watch?db=_system&col=_users&from=0", None).await;
    let mut shop = Stream::open(&node, "/api/watch?db=shop&from=0", None).await;
    assert_eq!(shop.change().await.1["id"], "a");

    // Whoever began with the old password is told nothing that comes after it.
    let change = json!({ "oldPassword": PASSWORD, "newPassword": "battery staple" });
    node.post("/api/change-password", &change).await.ok();
    node.authorize(basic("battery staple"));
    node.post("/api/doc?db=shop&col=users", r#"{"_id":"b"}"#).await.ok();
    for (name, stream) in [("shop", &mut shop), ("hidden", &mut hidden), ("system", &mut system)] {
        while let Some((id, event, data)) = stream.next().await {
            assert_eq!(event, "progress", "{name}: {id} {data}");
        }
    }
    let mut again = Stream::open(&node, "/api/watch?db=shop&from=0", None).await;
    assert_eq!((again.change().await.1["id"].clone(), again.change().await.1["id"].clone()), (json!("a"), json!("b")));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_input_is_named() {
    let node = Node::standalone(json!({})).await;
    node.post("/api/doc?db=shop&col=users", "{}").await.ok();
    let told = async |path: &str, header: Option<&str>, code: &str, words: &[&str]| {
        let mut request = node.request("GET", path);
        if let Some(value) = header {
            request = request.header("Last-Event-ID", value);
        }
        let answer = node.send(request).await;
        let error = answer.error(code);
        for word in words {
            assert!(error["message"].as_str().unwrap().contains(word), "{path} {header:?}: {error}");
        }
    };
    told("/api/watch", None, "bad_request", &["db"]).await;
    told("/api/watch?db=a/b", None, "invalid_name", &["a/b"]).await;
    told("/api/watch?db=shop&col=a/b", None, "invalid_name", &["a/b"]).await;
    told("/api/watch?db=shop&filter={}", None, "bad_request", &["filter"]).await;
    told("/api/watch?db=shop&consistency=maybe", None, "bad_request", &["maybe"]).await;
    for wrong in ["x", "1.", ".1", "-1", "1.2.3", "1e3", "18446744073709551616", "1.4294967296", "%2B1"] {
        told(&format!("/api/watch?db=shop&from={wrong}"), None, "bad_request", &["from", "<rev>"]).await;
        told("/api/watch?db=shop&from=1", Some(wrong), "bad_request", &["Last-Event-ID", wrong]).await;
    }
    told("/api/watch?db=shop&from=", None, "bad_request", &["from"]).await;
    told("/api/watch?db=shop&from=1000000", None, "bad_request", &["from", "1000000", "newest"]).await;
    told("/api/watch?db=shop&from=18446744073709551615", None, "bad_request", &["newest"]).await;
    node.post("/api/watch?db=shop", "{}").await.error("unsupported");
    let described = node.get("/api/openapi.json").await.ok();
    let watch = &described["paths"]["/api/watch"]["get"];
    assert!(watch["responses"]["200"]["content"]["text/event-stream"].is_object(), "{watch}");

    // A database that is not there yet can be watched all the same.
    let mut early = Stream::open(&node, "/api/watch?db=later&col=things", None).await;
    assert_eq!(early.next().await.unwrap().1, "progress");
    node.post("/api/doc?db=later&col=things", r#"{"_id":"x"}"#).await.ok();
    let (id, change) = early.change().await;
    let rev = change["rev"].as_u64().unwrap();
    assert_eq!(id.parse::<Position>().unwrap().rev, rev);
    let document =
        json!({ "op": "save", "db": "later", "col": "things", "id": "x", "rev": rev, "doc": { "_id": "x" } });
    assert_eq!(change.to_string(), document.to_string(), "in this order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_has_room_for_a_thousand_watchers_and_stops_with_them() {
    // Half of the connections are for other requests.
    let mut node = Node::standalone(json!({ "MaxConnections": 2500 })).await;
    node.post("/api/doc?db=shop&col=users", r#"{"_id":"a"}"#).await.ok();
    let mut streams = Vec::new();
    for number in 0..1000 {
        let path = format!("/api/watch?db=shop&col={}", if number < 10 { "users" } else { "idle" });
        streams.push(Stream::open(&node, &path, None).await);
    }
    node.get("/api/watch?db=shop").await.error("busy");
    drop(streams.pop());
    eventually(LIMIT, "its place is free", async || {
        let response = node.request("GET", "/api/watch?db=shop&col=users").send().await;
        let response = response.map_err(|error| error.to_string())?;
        if response.status() != 200 {
            return Err(response.status().to_string());
        }
        streams.push(Stream { response, text: String::new() });
        Ok(())
    })
    .await;
    node.put("/api/doc?db=shop&col=users&id=b", "{}").await.ok();
    for stream in streams.iter_mut().take(10) {
        assert_eq!(stream.change().await.1["id"], "b");
    }
    let (status, took) = node.stop_gracefully().await;
    assert_eq!(status.code(), Some(0));
    assert!(took < 5 * SECOND, "{took:?}");
    for stream in &mut streams {
        while stream.next().await.is_some() {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_overtaken_by_what_is_kept_is_told_compacted() {
    let node = Node::standalone(json!({})).await;
    node.put("/api/cluster/settings", json!({ "maxChangeRevisions": 100 })).await.ok();
    let begin = node.post("/api/doc?db=shop&col=large", r#"{"_id":"begin"}"#).await.ok()["rev"].as_u64().unwrap();
    let mut socket = std::net::TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, node.port))).unwrap();
    let host = format!("localhost:{}", node.port);
    let request = format!("GET /api/watch?db=shop&from={begin} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    eventually(LIMIT, "it is a watcher", async || watchers(&node, 1).await).await;

    // More than the connection holds, and then more revisions than are kept, before it takes anything.
    let text = "0123456789abcdef".repeat(1250);
    for number in 0..3 {
        let documents: Vec<Value> =
            (0..400).map(|n| json!({ "_id": format!("{number}-{n:03}"), "text": text })).collect();
        node.post("/api/docs?db=shop&col=large", Value::from(documents)).await.ok();
    }
    let mut last = 0;
    for _ in 0..150 {
        last = node.put("/api/doc?db=shop&col=small&id=a", "{}").await.ok()["rev"].as_u64().unwrap();
    }
    let mut got = Vec::new();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket.read_to_end(&mut got).expect("the stream ends");
    let got = String::from_utf8(got).unwrap();
    let last_event = got.rsplit("event: ").next().unwrap();
    assert!(last_event.starts_with("compacted\ndata: {\"oldest\":"), "{last_event:.100}");

    let oldest = last - 100;
    let client = client(&[node.url()], false);
    let after = |rev| WatchOptions::new().after(Position::after(rev));
    for gone in [begin, oldest - 1] {
        node.get(&format!("/api/watch?db=shop&from={gone}")).await.error("compacted");
        let refused = client.watch_with("shop", &after(gone)).await.unwrap_err();
        let jettra_client::Error::Server { code, status, details, .. } = refused else { panic!("{refused}") };
        assert_eq!((code, status, details["oldest"].as_u64()), (ErrorCode::Compacted, 410, Some(oldest)));
    }
    let mut watch = client.watch_with("shop", &after(oldest)).await.unwrap();
    assert_eq!(watch.next().await.unwrap().rev(), oldest + 1);
}

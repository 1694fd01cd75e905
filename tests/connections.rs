//! Clients that hold connections: slow ones, silent ones, many of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Cluster, Node, SECOND, curl, eventually};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;
use socket2::{Domain, Socket, Type};

/// A connection whose kernel holds next to nothing of what was not read.
fn narrow(node: &Node) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&std::net::SocketAddr::from(([127, 0, 0, 1], node.port)).into()).unwrap();
    socket.into()
}

/// Asks for `path`, the last time on this connection.
fn ask(connection: &mut TcpStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).unwrap();
}

/// What comes until the connection ends, well or not.
fn rest(connection: &mut TcpStream) -> Vec<u8> {
    connection.set_read_timeout(Some(60 * SECOND)).unwrap();
    let mut all = Vec::new();
    match connection.read_to_end(&mut all) {
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => panic!("the node neither sends nor ends"),
        _ => all,
    }
}

/// Some documents that make `bytes` together.
async fn fill(node: &Node, bytes: usize) {
    let line = json!({ "text": "y".repeat(1980) }).to_string() + "\n";
    node.post("/api/docs?db=t&col=c", line.repeat(bytes / 2000)).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_not_taken_breaks_off_and_never_looks_whole() {
    let node = Node::standalone(json!({ "SendTimeoutMs": 1500 })).await;
    fill(&node, 14_000_000).await;
    let whole = node.get("/api/query?db=t&col=c&limit=0").await.ok();
    assert_eq!(whole.as_array().unwrap().len(), 7000);

    let mut connection = narrow(&node);
    ask(&mut connection, "/api/query?db=t&col=c&limit=0");
    // What is tried is a client that takes nothing for twice as long as the node waits for it.
    tokio::time::sleep(Duration::from_millis(3000)).await;
    let taken = tokio::task::spawn_blocking(move || rest(&mut connection)).await.unwrap();
    assert!(taken.starts_with(b"HTTP/1.1 200 OK"), "{}", String::from_utf8_lossy(&taken[..taken.len().min(300)]));
    assert!(taken.len() < 14_000_000, "{} bytes", taken.len());
    assert!(!taken.ends_with(b"0\r\n\r\n"), "the end looks like a whole answer's");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_takes_are_bounded_and_end_and_slow_readers_get_theirs() {
    let settings = json!({ "SendTimeoutMs": 5000, "MaxAnswerBytes": 32 << 20, "CacheBytes": 1 << 20 });
    let node = Node::standalone(settings).await;
    let large = json!({ "_id": "large", "text": "z".repeat(15_000_000) }).to_string();
    node.post("/api/doc?db=t&col=c", &large).await.ok();
    let small = json!({ "_id": "small", "text": "z".repeat(200_000) }).to_string();
    node.post("/api/doc?db=t&col=c", &small).await.ok();

    // One reads for longer than the limit, a little at a time.
    let mut slow = narrow(&node);
    ask(&mut slow, "/api/doc?db=t&col=c&id=small");
    let slow = tokio::task::spawn_blocking(move || {
        let (mut all, mut piece) = (Vec::new(), [0; 8192]);
        loop {
            match slow.read(&mut piece).unwrap() {
                0 => return all,
                read => all.extend_from_slice(&piece[..read]),
            }
            std::thread::sleep(Duration::from_millis(130));
        }
    });

    let before = resident_bytes(&node).await;
    let mut idle: Vec<TcpStream> = (0..40).map(|_| narrow(&node)).collect();
    idle.iter_mut().for_each(|connection| ask(connection, "/api/doc?db=t&col=c&id=large"));
    eventually(20 * SECOND, "there is no room for another one", async || {
        match node.get("/api/doc?db=t&col=c&id=large").await {
            busy if busy.status == 429 => Ok(busy.error("busy")),
            other => Err(other.shown()),
        }
    })
    .await;
    let most = resident_bytes(&node).await.saturating_sub(before);
    assert!(most < 300 << 20, "{} MiB more while 40 clients take nothing of 15 MB each", most >> 20);
    assert_eq!(node.get("/api/count?db=t&col=c").await.ok()["count"], 2, "short answers go on");

    eventually(20 * SECOND, "there is room again", async || match node.get("/api/doc?db=t&col=c&id=large").await {
        whole if whole.status == 200 && whole.body.len() > 15_000_000 => Ok(()),
        other => Err(other.shown()),
    })
    .await;
    let broken = tokio::task::spawn_blocking(move || {
        let begun = idle.iter_mut().map(rest).filter(|taken| taken.starts_with(b"HTTP/1.1 200"));
        begun.filter(|taken| taken.len() < 15_000_000).count()
    });
    assert!(broken.await.unwrap() > 0, "those that were begun were cut off");
    let slow = slow.await.unwrap();
    assert!(slow.ends_with(b"z\"}"), "the slow reader got {} bytes", slow.len());
}

/// Memory that the node's process has.
async fn resident_bytes(node: &Node) -> u64 {
    let metrics = node.get("/metrics").await;
    let line = metrics.body.lines().find(|line| line.starts_with("process_resident_memory_bytes "));
    line.unwrap().rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64
}

/// How HTTP/2 begins (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// HEADERS of a request for `path` at localhost, which has no body (RFC 7541).
fn get_frame(stream: u32, path: &str) -> Vec<u8> {
    let length = u8::try_from(path.len()).unwrap();
    frame(1, 5, stream, &[b"\x82\x86\x04", &[length][..], path.as_bytes(), b"\x01\x09localhost"].concat())
}

/// The kinds of the frames that are whole in these bytes.
fn kinds(mut bytes: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let [a, b, c, kind, ..] = *bytes {
        let length = 9 + u32::from_be_bytes([0, a, b, c]) as usize;
        let Some(rest) = bytes.get(length..) else { break };
        kinds.push(kind);
        bytes = rest;
    }
    kinds
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_come_in_crumbs_keep_nobody_else_from_writing() {
    let node = Node::standalone(json!({ "MaxInFlightBytes": 16 << 20 })).await;
    // Each announces a login, and sends nearly all of it, a byte at a time.
    let strangers: Vec<TcpStream> = (0..4)
        .map(|_| {
            let mut connection = TcpStream::connect(("127.0.0.1", node.port)).unwrap();
            let head = "POST /api/login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
            connection.write_all((head.to_owned() + &"1\r\nx\r\n".repeat(16_000)).as_bytes()).unwrap();
            connection
        })
        .collect();
    for _ in 0..20 {
        node.post("/api/doc?db=t&col=c", r#"{"_id":"a"}"#).await.ok();
    }
    // Nor do documents of one's own in short pieces take more than they are.
    let mut own = TcpStream::connect(("127.0.0.1", node.port)).unwrap();
    let head = "POST /api/docs?db=t&col=c HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let line = "a\r\n{\"n\":123}\n\r\n".repeat(10_000);
    own.write_all((head.to_owned() + &line + "0\r\n\r\n").as_bytes()).unwrap();
    let mut answer = [0; 15];
    tokio::task::spawn_blocking(move || own.read_exact(&mut answer).map(|()| answer)).await.unwrap().unwrap();
    assert_eq!(node.get("/api/count?db=t&col=c").await.ok()["count"], 10_001);
    drop(strangers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_of_http_2_has_its_bounds() {
    let node = Node::standalone(json!({ "SendTimeoutMs": 1000 })).await;
    // More requests at once than are answered, of which none is taken.
    let mut greedy = silent(&node).unwrap();
    greedy.write_all(PREFACE).unwrap();
    greedy.write_all(&frame(4, 0, 0, &[0, 4, 0, 0, 0, 0])).unwrap();
    for number in 0..200 {
        greedy.write_all(&get_frame(1 + 2 * number, "/api/openapi.json")).unwrap();
    }
    let taken = tokio::task::spawn_blocking(move || rest(&mut greedy)).await.unwrap();
    const RST_STREAM: u8 = 3;
    let refused = kinds(&taken).iter().filter(|kind| **kind == RST_STREAM).count();
    assert!(refused >= 100, "{refused} of 200 were refused");
    assert!(taken.len() < 100_000, "{} bytes", taken.len());

    // Requests that are taken back at once, without end.
    let mut rapid = silent(&node).unwrap();
    rapid.write_all(PREFACE).unwrap();
    rapid.write_all(&frame(4, 0, 0, &[])).unwrap();
    let cancelled = (0..100_000).take_while(|number| {
        let stream = 1 + 2 * number;
        let both = [get_frame(stream, "/api/openapi.json"), frame(3, 0, stream, &[0, 0, 0, 8])].concat();
        rapid.write_all(&both).is_ok()
    });
    assert!(cancelled.count() < 100_000, "the connection goes on");
    assert_eq!(node.get("/livez").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_nothing_for_half_a_minute_loses_the_connection() {
    raise_own_limit();
    let node = Node::standalone(json!({})).await;
    let before = resident_bytes(&node).await;
    let asked = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut held: Vec<TcpStream> = (0..960).map(|_| silent(&node).unwrap()).collect();
    for (place, connection) in held.iter_mut().enumerate() {
        let said: &[u8] = [b"", &asked[..20], &PREFACE[..10], PREFACE, asked][place % 5];
        connection.write_all(said).unwrap();
    }
    assert_eq!(node.get("/livez").await.status, 200);
    let more = resident_bytes(&node).await.saturating_sub(before);
    assert!(more < 64 << 20, "{} MiB for 960 idle connections", more >> 20);
    let ended = move || held.iter_mut().for_each(|connection| drop(rest(connection)));
    tokio::time::timeout(60 * SECOND, tokio::task::spawn_blocking(ended)).await.expect("all are closed").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_nobody_takes_ends_its_connection() {
    let node = Node::standalone(json!({ "SendTimeoutMs": 1000 })).await;
    node.post("/api/doc?db=t&col=c", json!({ "_id": "a", "text": "z".repeat(100_000) })).await.ok();
    let head = get_frame(1, "/api/doc?db=t&col=c&id=a");
    let mut connection = narrow(&node);
    connection.write_all(PREFACE).unwrap();
    // SETTINGS: an initial window of 1 byte.
    connection.write_all(&frame(4, 0, 0, &[0, 4, 0, 0, 0, 1])).unwrap();
    connection.write_all(&head).unwrap();
    let taken = tokio::task::spawn_blocking(move || rest(&mut connection)).await.unwrap();
    assert!(taken.len() < 10_000, "the answer came: {} bytes", taken.len());
}

/// This test process may open as many files as the system allows.
fn raise_own_limit() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

/// A program that is the node's after `ulimit` with these arguments.
fn limited(dir: &Path, arguments: &str) -> PathBuf {
    let script = dir.join("limited");
    let text =
        format!("#!/bin/sh\nulimit {arguments} || exit 99\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_jettra-server"));
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    script
}

fn silent(node: &Node) -> std::io::Result<TcpStream> {
    TcpStream::connect_timeout(&std::net::SocketAddr::from(([127, 0, 0, 1], node.port)), SECOND)
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_clients_neither_end_a_node_nor_keep_others_out() {
    raise_own_limit();
    for limit in ["-S -n 1024", "-n 1024"] {
        let dir = tempfile::tempdir().unwrap();
        let mut node = Node::new(dir.path(), "node", json!({}));
        node.run_program(Some(limited(dir.path(), limit)));
        node.start().await;
        let connections = node.get("/api/config").await.ok()["MaxConnections"].as_u64().unwrap();
        assert_eq!(connections, if limit.contains("-S") { 1000 } else { 768 }, "{limit}");

        let held: Vec<TcpStream> = (0..1100).filter_map(|_| silent(&node).ok()).collect();
        assert!(held.len() > 1000, "{limit}: {} connections", held.len());
        // Enough for new files of the log, and a durable point of the store.
        for _ in 0..3 {
            fill(&node, 14_000_000).await;
        }
        assert_eq!(node.get("/readyz").await.status, 200);
        assert_eq!(node.get("/api/count?db=t&col=c").await.ok()["count"], 21_000);
        drop(held);
        let (status, _) = node.stop_gracefully().await;
        assert_eq!(status.code(), Some(0), "{}", node.log_tail(20));
        assert!(!node.log().contains("repair"), "{}", node.log_tail(20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_low_a_limit_of_open_files_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::new(dir.path(), "node", json!({}));
    node.run_program(Some(limited(dir.path(), "-n 256")));
    node.launch();
    assert_eq!(node.ended(20 * SECOND).await.code(), Some(2));
    assert!(node.log().contains("may open only 256 files") && node.log().contains("ulimit -n"), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_take_every_connection_keep_neither_members_nor_administrators_out() {
    raise_own_limit();
    let mut cluster = Cluster::start_with(3, json!({ "MaxConnections": 24 })).await;
    let ports: Vec<u16> = cluster.nodes.iter().map(|node| node.port).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let strangers = std::thread::spawn(move || {
        let mut held = VecDeque::new();
        while !stopped.load(Ordering::Relaxed) {
            for port in &ports {
                let address = std::net::SocketAddr::from(([127, 0, 0, 1], *port));
                held.extend(TcpStream::connect_timeout(&address, SECOND));
            }
            held.drain(..held.len().saturating_sub(600));
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let follower = cluster.followers().await[0];
    for number in 0..20 {
        // A fresh connection each time, as curl makes one.
        let url = format!("{}/api/doc?db=t&col=c", cluster.nodes[follower].url());
        let saved = curl(&["-d", &json!({ "_id": number.to_string() }).to_string(), &url]).await;
        assert!(saved.contains("\"rev\""), "{saved}");
    }
    cluster.nodes[follower].restart().await;
    cluster.settled().await;
    assert_eq!(cluster.nodes[follower].get("/api/count?db=t&col=c").await.ok()["count"], 20);
    stop.store(true, Ordering::Relaxed);
    strangers.join().unwrap();
}

//! Clients that hold connections: slow ones, silent ones, many of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use common::{Node, SECOND};
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
    tokio::time::sleep(Duration::from_millis(3000)).await;
    let taken = tokio::task::spawn_blocking(move || rest(&mut connection)).await.unwrap();
    assert!(taken.starts_with(b"HTTP/1.1 200 OK"), "{}", String::from_utf8_lossy(&taken[..taken.len().min(300)]));
    assert!(taken.len() < 14_000_000, "{} bytes", taken.len());
    assert!(!taken.ends_with(b"0\r\n\r\n"), "the end looks like a whole answer's");
}

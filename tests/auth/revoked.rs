//! What has ended goes on nowhere: not through a node that has not heard of it yet.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::json;

use crate::common::{Cluster, Node, SECOND};
use crate::{PASSWORD, ask, basic, set_password, token};

const NEXT: &str = "another horse battery";

/// Sends a request on a connection of its own.
fn write(node: &Node, method: &str, path: &str, authorization: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", node.port)).unwrap();
    stream.set_read_timeout(Some(40 * SECOND)).unwrap();
    let (host, length) = (format!("localhost:{}", node.port), body.len());
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {authorization}\r\nConnection: close");
    stream.write_all(format!("{head}\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes()).unwrap();
    stream
}

/// All that is answered.
fn read(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_password_writes_and_reads_nothing_through_a_node_that_lags() {
    let mut cluster = Cluster::start(3).await;
    set_password(&mut cluster.nodes).await;
    let (leader, followers) = (cluster.leader().await, cluster.followers().await);
    let (asked, lagging) = (&cluster.nodes[followers[0]], &cluster.nodes[followers[1]]);
    asked.post("/api/doc?db=shop&col=users", r#"{"_id":"ada"}"#).await.ok();
    let old = basic("admin", PASSWORD);
    let token = token(lagging).await;
    // It has checked both, and remembers.
    for header in [&old, &token] {
        ask(lagging, "GET", "/api/doc?db=shop&col=users&id=ada", Some(header)).await.ok();
    }
    // A token that was ended, first.
    let ended = crate::token(asked).await;
    ask(lagging, "GET", "/api/dbs", Some(&ended)).await.ok();
    lagging.pause();
    ask(asked, "POST", "/api/logout", Some(&ended)).await.ok();
    let sent = [
        write(lagging, "POST", "/api/doc?db=shop&col=users&timeout=20", &ended, r#"{"_id":"by an ended token"}"#),
        write(lagging, "GET", "/api/dbs?timeout=20", &ended, ""),
    ];
    lagging.resume();
    for stream in sent {
        let answer = tokio::task::spawn_blocking(move || read(stream)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    }
    cluster.settled().await;

    lagging.pause();
    let change = json!({ "oldPassword": PASSWORD, "newPassword": NEXT }).to_string();
    let changing = asked.anonymous("POST", "/api/change-password").header("Authorization", &old).body(change);
    asked.send(changing).await.ok();
    ask(asked, "GET", "/api/dbs", Some(&old)).await.error("unauthorized");

    let doc = "/api/doc?db=shop&col=users&timeout=20";
    let requests = [
        ("POST", doc, &old, r#"{"_id":"by password"}"#),
        ("POST", doc, &token, r#"{"_id":"by token"}"#),
        ("GET", "/api/doc?db=shop&col=users&id=ada&timeout=20", &old, ""),
        ("GET", "/api/dbs?consistency=lease&timeout=20", &token, ""),
        ("POST", "/api/dbs?timeout=20", &old, r#"{"name":"theirs"}"#),
        ("PUT", "/api/cluster/settings?timeout=20", &token, r#"{"maxVersions":7}"#),
        ("POST", "/api/cluster/pause?timeout=20", &old, r#"{"node":"node1"}"#),
        (
            "POST",
            "/api/change-password?timeout=20",
            &old,
            r#"{"oldPassword":"correct horse battery","newPassword":"theirs now"}"#,
        ),
    ];
    // What was written to a frozen node's connection waits there.
    let sent = requests.map(|(method, path, header, body)| (method, path, write(lagging, method, path, header, body)));
    // The new ones are good there at once: it asks before it refuses.
    let fresh = crate::login(asked, "admin", NEXT).await.ok()["token"].as_str().unwrap().to_owned();
    let new = basic("admin", NEXT);
    let let_in = [&new, &fresh].map(|header| write(lagging, "GET", "/api/dbs?timeout=20", header, ""));
    lagging.resume();
    for stream in let_in {
        let answer = tokio::task::spawn_blocking(move || read(stream)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    for (method, path, stream) in sent {
        let answer = tokio::task::spawn_blocking(move || read(stream)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 "), "{method} {path}: {answer}");
        assert!(answer.contains("\"unauthorized\"") && !answer.contains("userChanged"), "{method} {path}: {answer}");
    }

    let seen = ask(&cluster.nodes[leader], "GET", "/api/query?db=shop&col=users", Some(&new)).await.ok();
    assert_eq!(seen, json!([{ "_id": "ada" }]));
    let seen = ask(asked, "GET", "/api/dbs", Some(&new)).await.ok().to_string();
    assert!(!seen.contains("theirs"), "{seen}");
    let settings = ask(asked, "GET", "/api/cluster/settings", Some(&new)).await.ok();
    assert_ne!(settings["maxVersions"], 7);
    let view = ask(asked, "GET", "/api/cluster", Some(&new)).await.ok();
    assert!(view["nodes"].as_array().unwrap().iter().all(|node| node["status"] == "ACTIVE"), "{view}");
}

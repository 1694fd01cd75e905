//! Each route: who may use it, and what it never tells.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::common::{Cluster, Node, curl};
use crate::{PASSWORD, ask, basic, set_password, token};

/// Every route of the API: method, path with its places filled, and who may use it.
async fn routes(node: &Node) -> Vec<(String, String, Value)> {
    let document = ask(node, "GET", "/api/openapi.json", None).await.ok();
    let mut routes = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            routes.push((method.to_uppercase(), path.replace("{db}", "shop"), operation.clone()));
        }
    }
    assert!(routes.len() > 30, "{}", routes.len());
    routes
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_wants_credentials_but_the_public_ones() {
    let mut cluster = Cluster::start(3).await;
    set_password(&mut cluster.nodes).await;
    let leader = cluster.leader().await;
    let follower = cluster.followers().await[0];
    for place in [leader, follower] {
        let node = &cluster.nodes[place];
        let token = token(node).await;
        let mut public = Vec::new();
        for (method, path, operation) in routes(node).await {
            let route = format!("{method} {path}");
            let bare = ask(node, &method, &path, None).await;
            if operation["security"] == json!([]) {
                assert_ne!(bare.status, 403, "{route}");
                public.push(route);
                continue;
            }
            if operation["x-jettra-loopback-without-credentials"] == true {
                assert_eq!(bare.status, 200, "{route}");
                let proxied = node.anonymous(&method, &path).header("X-Forwarded-For", "192.0.2.1");
                node.send(proxied).await.error("unauthorized");
                continue;
            }
            bare.error("unauthorized");
            assert!(!bare.body.contains("shop"), "{route}: {}", bare.shown());
            for header in ["Bearer x.y", "Bearer ", "Basic", "Basic !!", "Digest abc", &token[..token.len() - 2], ""] {
                let answer = ask(node, &method, &path, Some(header)).await;
                assert_eq!(answer.status, 401, "{route} with {header:?}: {}", answer.shown());
            }
            // Without a body or parameters they do nothing, but they let the administrator in.
            for header in [&basic("admin", PASSWORD), &token] {
                if path == "/api/logout" && header == &token {
                    // It would do what it says.
                    continue;
                }
                if path == "/api/cluster/stream" {
                    // Needs no parameters and never ends: its head tells enough.
                    let open = node.anonymous(&method, &path).header("Authorization", header).send().await.unwrap();
                    assert_eq!(open.status(), 200, "{route}");
                    continue;
                }
                let answer = ask(node, &method, &path, Some(header)).await;
                assert!(!matches!(answer.status, 401 | 403 | 429 | 500), "{route}: {}", answer.shown());
            }
        }
        public.sort_unstable();
        assert_eq!(
            public,
            [
                "GET /",
                "GET /api/openapi.json",
                "GET /livez",
                "GET /readyz",
                "GET /ui/{file}",
                "POST /api/login",
                "POST /federated/login"
            ]
        );
        assert_eq!(ask(node, "HEAD", "/api/dbs", None).await.status, 401);
        ask(node, "GET", "/raft/rpc/status", None).await.error("unauthorized");
        ask(node, "GET", "/raft/rpc/status", Some(&token)).await.ok();
        let (status, header) = (format!("{}/raft/rpc/status", node.url()), format!("Authorization: {token}"));
        let seen = curl(&["--http2-prior-knowledge", "-H", &header, &status]).await;
        assert!(seen.contains("\"_id\":\"node3\""), "over HTTP/2: {seen}");
    }
    cluster.settled().await;
}

/// Connections that announce bodies to `path`, send the beginning, and then nothing: in all as much
/// as a node takes at once.
fn trickle(node: &Node, path: &str) -> Vec<std::net::TcpStream> {
    let connect = |length: usize| {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", node.port)).unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost:{}\r\nContent-Length: {length}", node.port);
        stream.write_all(format!("{head}\r\n\r\n{{\"a\":\"").as_bytes()).unwrap();
        stream
    };
    let lengths = [(16_000_000, 4), (1_000_000, 3), (60_000, 20), (1_024, 70)];
    lengths.iter().flat_map(|(length, count)| std::iter::repeat_n(*length, *count)).map(connect).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_credentials_takes_no_room_from_those_who_have() {
    let mut cluster = Cluster::start(1).await;
    set_password(&mut cluster.nodes).await;
    let node = &cluster.nodes[0];
    for path in ["/raft/rpc/forward", "/raft/rpc/append", "/api/login", "/api/doc?db=shop&col=users"] {
        let held = trickle(node, path);
        for number in 0..30 {
            let answer = node.post("/api/doc?db=shop&col=users", json!({ "n": number })).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.shown());
        }
        drop(held);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hashes_and_keys_are_in_no_answer() {
    let mut cluster = Cluster::start_with(3, json!({ "ClusterSecret": "a secret of the cluster" })).await;
    set_password(&mut cluster.nodes).await;
    let node = &cluster.nodes[cluster.followers().await[0]];
    let token = token(node).await;
    let mut seen = String::new();
    for collection in ["_users", "_settings", "_tokens", "_catalog", "_keys", "_audit", "_engine", "_info", "_rules"] {
        let place = format!("db=_system&col={collection}");
        let listed = node.get(&format!("/api/query?{place}&limit=0")).await;
        assert_eq!(listed.ok(), json!([]), "{collection}");
        assert_eq!(node.get(&format!("/api/count?{place}")).await.ok()["count"], 0, "{collection}");
        for id in ["admin", "cluster", "settings"] {
            node.get(&format!("/api/doc?{place}&id={id}")).await.error("not_found");
            assert_eq!(node.get(&format!("/api/versions?{place}&id={id}")).await.ok(), json!([]));
            node.put(&format!("/api/doc?{place}&id={id}"), "{}").await.error("forbidden");
            node.patch(&format!("/api/doc?{place}&id={id}"), "{}").await.error("forbidden");
            node.delete(&format!("/api/doc?{place}&id={id}")).await.error("forbidden");
        }
    }
    let columns = node.get("/api/dbs/_system/cols").await;
    assert_eq!(columns.ok(), json!(["_clusternodes"]));
    for (method, path, body) in [
        ("DELETE", "/api/dbs?name=_system", ""),
        ("POST", "/api/dbs/rename", r#"{"oldName":"_system","newName":"mine"}"#),
        ("POST", "/api/cols", r#"{"database":"_system","collection":"_users"}"#),
        ("DELETE", "/api/cols?database=_system&collection=_users", ""),
        ("POST", "/api/cols/rename", r#"{"database":"_system","oldName":"_users","newName":"users"}"#),
        ("POST", "/api/restore-version", r#"{"db":"_system","col":"_users","id":"admin","version":"1_1"}"#),
        ("POST", "/api/docs?db=_system&col=_users", r#"{"_id":"eve","role":"admin"}"#),
        ("POST", "/api/cols", r#"{"database":"shop","collection":"_users"}"#),
    ] {
        let answer = node.send(node.request(method, path).body(body)).await;
        assert!(matches!(answer.status, 400 | 403), "{method} {path}: {}", answer.shown());
        seen += &answer.body;
    }
    for path in [
        "/api/cluster",
        "/api/federated",
        "/api/config",
        "/api/metrics",
        "/metrics",
        "/",
        "/readyz",
        "/raft/rpc/status",
    ] {
        seen += &node.get(path).await.body;
    }
    for node in &cluster.nodes {
        seen += &node.log();
    }
    let signature = token.rsplit('.').next().unwrap();
    for secret in ["$argon2", PASSWORD, "a secret of the cluster", "password_hash", "token_key", signature] {
        assert!(!seen.contains(secret), "{secret} is shown");
    }
}

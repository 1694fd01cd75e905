//! What a page elsewhere, and a stranger, get of a node: by which name it is called, and what it tells of itself.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, ToSocketAddrs as _};

use serde_json::json;

use crate::common::{Answer, Cluster, LIMIT, Node, SECOND, eventually, member_config};
use crate::{PASSWORD, ask, basic, login, set_password};

const OPEN: [&str; 7] =
    ["/", "/ui/app.js", "/readyz", "/metrics", "/api/metrics", "/api/openapi.json", "/api/dbs?consistency=local"];

async fn called(node: &Node, name: &str, path: &str, header: Option<&str>) -> Answer {
    let request = node.anonymous("GET", path).header("Host", name);
    node.send(match header {
        Some(header) => request.header("Authorization", header),
        None => request,
    })
    .await
}

/// A stranger is told nothing of the node.
fn tells_nothing(answer: &Answer, path: &str) {
    for name in ["x-jettra-node", "x-jettra-role", "x-jettra-leader", "x-jettra-index"] {
        assert_eq!(answer.header(name), None, "{path}: {}", answer.shown());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_count_until_there_is_a_password_and_for_what_is_given_without_one() {
    let mut nodes = [Node::standalone(json!({ "AllowedHosts": ["db.example.org"] })).await];
    let node = &nodes[0];
    node.get("/api/dbs").await.ok();
    for path in OPEN {
        for name in ["evil.example", "192.0.2.1:8080"] {
            let answer = called(node, name, path, None).await;
            assert!(answer.error("forbidden")["message"].as_str().unwrap().contains("AllowedHosts"), "{path}");
            tells_nothing(&answer, path);
        }
        for name in ["localhost", "127.0.0.1:8080", "db.example.org", "DB.example.org:80"] {
            assert_eq!(called(node, name, path, None).await.status, 200, "{path} at {name}");
        }
    }
    assert_eq!(called(node, "evil.example", "/livez", None).await.status, 200);

    set_password(&mut nodes).await;
    let node = &nodes[0];
    let header = basic("admin", PASSWORD);
    for path in OPEN {
        // Whoever shows credentials has been led here by nobody.
        assert_eq!(called(node, "evil.example", path, Some(&header)).await.status, 200, "{path}");
        let status = called(node, "evil.example", path, None).await.status;
        let wanted = if path.contains("metrics") || path.contains("dbs") { 401 } else { 200 };
        assert_eq!(status, wanted, "{path}");
    }
    assert_eq!(called(node, "localhost", "/metrics", None).await.status, 200);
    let body = json!({ "username": "admin", "password": PASSWORD }).to_string();
    node.send(node.anonymous("POST", "/api/login").header("Host", "node1:8080").body(body)).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_gets_nothing_even_with_the_browsers_password() {
    let mut nodes = [Node::standalone(json!({})).await];
    set_password(&mut nodes).await;
    let node = &nodes[0];
    for path in ["/api/dbs", "/api/config", "/metrics", "/raft/rpc/status", "/federated/status"] {
        let from = |name: &str, value: &str| node.send(node.request("GET", path).header(name, value));
        from("Sec-Fetch-Site", "cross-site").await.error("forbidden");
        from("Origin", "http://evil.example").await.error("forbidden");
        for site in ["same-origin", "none"] {
            let answer = from("Sec-Fetch-Site", site).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.shown());
            assert_eq!(
                answer.header("x-content-type-options").as_deref(),
                (!path.starts_with("/raft")).then_some("nosniff")
            );
        }
    }
    // A link to the page is followed from anywhere.
    let page = node.send(node.anonymous("GET", "/").header("Sec-Fetch-Site", "cross-site")).await;
    assert_eq!(page.status, 200);
    for path in ["/api/dbs", "/api/nothing", "/"] {
        let answer = ask(node, "GET", path, None).await;
        assert_eq!(answer.header("cross-origin-resource-policy").as_deref(), Some("same-origin"), "{path}");
    }

    // Two names: who stands between may go by the other one.
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", node.port)).unwrap();
    stream.set_read_timeout(Some(20 * SECOND)).unwrap();
    let head = format!(
        "GET /api/dbs HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nAuthorization: {}",
        basic("admin", PASSWORD)
    );
    stream.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("two Host headers"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_told_nothing_of_the_node() {
    let mut nodes = [Node::standalone(json!({ "NodeID": "node-seven" })).await];
    // The user that the node runs as is no stranger before there is a password.
    eventually(LIMIT, "it is ready, and says what it is", async || {
        let own = nodes[0].try_get("/readyz").await?.body;
        let says = own.contains("raft id 1 of cluster") && own.contains("leader: node-seven at http://");
        if says { Ok(()) } else { Err(own) }
    })
    .await;
    set_password(&mut nodes).await;
    let node = &nodes[0];
    let full = node.get("/readyz").await.body;
    assert!(full.contains("raft id 1 of cluster") && full.contains("leader: node-seven at http://"), "{full}");
    for header in [None, Some(""), Some("Bearer x.y")] {
        let ready = ask(node, "GET", "/readyz", header).await;
        assert_eq!((ready.status, &*ready.body), (200, "[+] member\n[+] disk\n[+] raft\n[+] leader\n[+] state\n"));
        for (method, path) in [
            ("GET", "/readyz"),
            ("GET", "/"),
            ("GET", "/api/dbs"),
            ("GET", "/nothing"),
            ("POST", "/api/dbs"),
            ("PUT", "/api/dbs"),
        ] {
            tells_nothing(&ask(node, method, path, header).await, path);
        }
    }
    tells_nothing(&login(node, "admin", "guess").await, "/api/login");
    for (method, path) in [("GET", "/api/dbs"), ("GET", "/nothing"), ("PUT", "/api/dbs"), ("GET", "/api/doc")] {
        let answer = node.send(node.request(method, path)).await;
        assert_eq!(answer.header("x-jettra-node").as_deref(), Some("node-seven"), "{method} {path}");
    }
    // A header without anything in it is none.
    for header in [None, Some(""), Some("  ")] {
        let error = ask(node, "GET", "/api/dbs", header).await.error("unauthorized");
        assert!(error["message"].as_str().unwrap().starts_with("credentials are missing"), "{error}");
    }
}

/// A name of this machine that is not localhost, if it has one.
fn own_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?.trim().to_ascii_lowercase();
    let mut addresses = (name.as_str(), 0).to_socket_addrs().ok()?;
    let is_here = |ip: IpAddr| std::net::UdpSocket::bind((ip, 0)).is_ok();
    (name != "localhost" && addresses.all(|address| is_here(address.ip()))).then_some(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_takes_the_name_under_which_a_member_reached_it() {
    let Some(name) = own_name() else {
        println!("not tried: this machine has no name that leads to it");
        return;
    };
    for secret in [Some("known to the two of them"), None] {
        let mut cluster = Cluster::unregistered(|number| {
            let mut config = member_config(&format!("node{number}"), number == 1);
            config["Host"] = "0.0.0.0".into();
            if let Some(secret) = secret {
                config["ClusterSecret"] = secret.into();
            }
            (number <= 2).then_some(config)
        })
        .await;
        for node in &mut cluster.nodes {
            node.start().await;
        }
        let (first, second) = (&cluster.nodes[0], &cluster.nodes[1]);
        let authority = format!("{name}:{}", second.port);
        called(second, &authority, "/api/cluster", None).await.error("forbidden");
        let register = json!({ "url": format!("http://{authority}") });
        eventually(LIMIT, "it is registered by its name", async || {
            first.try_post("/api/cluster/register", &register).await?.success()
        })
        .await;
        called(second, &authority, "/api/cluster", None).await.ok();
        called(second, "evil.example", "/api/cluster", None).await.error("forbidden");
    }
}

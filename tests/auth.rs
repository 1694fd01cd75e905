//! Who may use a node: users by password and token, other nodes by the cluster's secret.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "common/peer.rs"]
mod peer;

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::{Answer, Cluster, Node, SECOND, curl, eventually};
use peer::{Session, membership, rpc};
use serde_json::{Value, json};

const PASSWORD: &str = "correct horse battery";

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{user}:{password}")))
}

/// Sets the administrator's first password and uses it from now on.
async fn set_password(nodes: &mut [Node]) {
    let answer = nodes[0].post("/api/change-password", json!({ "newPassword": PASSWORD })).await.ok();
    assert_eq!(answer["status"], "Password updated");
    for node in &*nodes {
        eventually(20 * SECOND, "the node knows that there is a password", async || {
            let answer = ask(node, "GET", "/api/dbs", None).await;
            if answer.status == 401 { Ok(()) } else { Err(answer.shown()) }
        })
        .await;
    }
    // A token is checked at once; a password takes a moment that a busy machine makes long.
    let token = token(&nodes[0]).await;
    nodes.iter_mut().for_each(|node| node.authorize(token.clone()));
}

/// A request with exactly this `Authorization` header, or none.
async fn ask(node: &Node, method: &str, path: &str, authorization: Option<&str>) -> Answer {
    let request = node.anonymous(method, path);
    node.send(match authorization {
        Some(header) => request.header("Authorization", header),
        None => request,
    })
    .await
}

async fn login(node: &Node, user: &str, password: &str) -> Answer {
    let body = json!({ "username": user, "password": password }).to_string();
    node.send(node.anonymous("POST", "/api/login").body(body)).await
}

async fn token(node: &Node) -> String {
    let answer = login(node, "admin", PASSWORD).await.ok();
    assert_eq!(answer["role"], "admin");
    let token = answer["token"].as_str().unwrap();
    assert!(token.starts_with("Bearer "), "{token}");
    token.to_owned()
}

/// This machine's address towards others, if it has one.
fn outer_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: this only asks which address would be used.
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

#[tokio::test(flavor = "multi_thread")]
async fn until_a_password_is_set_only_this_machine_may_and_as_administrator() {
    let node = Node::standalone(json!({ "Host": "0.0.0.0" })).await;
    for header in [None, Some(basic("admin", "any")), Some(basic("somebody", "")), Some("Bearer x.y".to_owned())] {
        ask(&node, "GET", "/api/dbs", header.as_deref()).await.ok();
    }
    let early = login(&node, "admin", "any").await.ok()["token"].as_str().unwrap().to_owned();

    // What came through a proxy is not this machine; nor is another address of it.
    let body = json!({ "newPassword": "theirs" }).to_string();
    for (name, value) in
        [("X-Forwarded-For", "127.0.0.1"), ("Forwarded", "for=127.0.0.1"), ("Via", "1.1 p"), ("X-Forwarded-Host", "x")]
    {
        for (method, path) in [("GET", "/api/dbs"), ("POST", "/api/change-password"), ("POST", "/api/login")] {
            let body = if path.ends_with("login") { r#"{"username":"admin","password":""}"# } else { &body };
            let request = node.anonymous(method, path).header(name, value).body(body.to_owned());
            let error = node.send(request).await.error("forbidden");
            assert!(error["message"].as_str().unwrap().contains("change-password"), "{error}");
        }
    }
    if let Some(address) = outer_address() {
        let url = format!("http://{address}:{}/api/dbs", node.port);
        let answer = reqwest::get(&url).await.unwrap();
        assert_eq!(answer.status().as_u16(), 403, "{url}");
    }
    // A page elsewhere, and a name that was pointed here.
    let from_page = node.anonymous("GET", "/api/dbs").header("Origin", "http://evil.example");
    node.send(from_page).await.error("forbidden");
    let rebound = node.anonymous("GET", "/api/dbs").header("Host", "evil.example");
    let error = node.send(rebound).await.error("forbidden");
    assert!(error["message"].as_str().unwrap().contains("AllowedHosts"), "{error}");

    for wrong in [r#"{"newPassword":""}"#, r#"{}"#, ""] {
        node.post("/api/change-password", wrong).await.error("bad_request");
    }
    node.get("/api/dbs").await.ok();
    node.post("/api/change-password", json!({ "newPassword": PASSWORD })).await.ok();
    let refused = ask(&node, "GET", "/api/dbs", None).await;
    refused.error("unauthorized");
    assert!(refused.header("www-authenticate").unwrap().starts_with("Basic"));
    ask(&node, "GET", "/api/dbs", Some(&early)).await.error("unauthorized");
    node.post("/api/change-password", json!({ "newPassword": "again" })).await.error("unauthorized");
    ask(&node, "GET", "/api/dbs", Some(&basic("admin", PASSWORD))).await.ok();
}

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
            ["GET /", "GET /api/openapi.json", "GET /livez", "GET /readyz", "GET /ui/{file}", "POST /api/login"]
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

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_lock_out_for_a_while_and_tokens_go_on() {
    let mut node = Node::standalone(json!({ "AdminPassword": PASSWORD })).await;
    eventually(20 * SECOND, "the configured password counts", async || {
        let answer = ask(&node, "GET", "/api/dbs", None).await;
        if answer.status == 401 { Ok(()) } else { Err(answer.shown()) }
    })
    .await;
    let token = token(&node).await;
    for number in 0..10 {
        let answer = match number % 3 {
            0 => login(&node, "admin", "guess").await,
            1 => login(&node, "nobody", "guess").await,
            _ => ask(&node, "GET", "/api/dbs", Some(&basic("admin", "guess"))).await,
        };
        let error = answer.error("unauthorized");
        assert_eq!(error["message"], "wrong user name or password", "it tells nobody who exists");
    }
    for answer in [
        login(&node, "admin", "guess").await,
        login(&node, "nobody", "guess").await,
        ask(&node, "GET", "/api/dbs", Some(&basic("admin", "another"))).await,
    ] {
        let error = answer.error("busy");
        assert!((1..=60).contains(&answer.number("retry-after")), "{error}");
    }
    // Who is in stays in.
    ask(&node, "GET", "/api/dbs", Some(&token)).await.ok();
    ask(&node, "GET", "/api/dbs", Some(&basic("admin", PASSWORD))).await.ok();
    node.authorize(token);
    node.restart().await;
    node.get("/api/dbs").await.ok();
    login(&node, "admin", PASSWORD).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_made_at_once_are_counted_like_others() {
    let node = Node::standalone(json!({ "AdminPassword": PASSWORD })).await;
    eventually(20 * SECOND, "the configured password counts", async || {
        let answer = ask(&node, "GET", "/api/dbs", None).await;
        if answer.status == 401 { Ok(()) } else { Err(answer.shown()) }
    })
    .await;
    let guesses = (0..100).map(|number| {
        let node = &node;
        async move { login(node, "admin", &format!("guess {number}")).await.status }
    });
    let statuses = futures_util::future::join_all(guesses).await;
    let checked = statuses.iter().filter(|status| **status == 401).count();
    assert!(statuses.iter().all(|status| matches!(status, 401 | 429)), "{statuses:?}");
    assert!((1..=12).contains(&checked), "{checked} guesses were checked");
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
async fn a_token_is_good_on_every_node_until_the_password_changes() {
    let mut cluster = Cluster::start(3).await;
    set_password(&mut cluster.nodes).await;
    let mut tokens = Vec::new();
    for node in &cluster.nodes {
        tokens.push(token(node).await);
    }
    for node in &cluster.nodes {
        for token in &tokens {
            ask(node, "GET", "/api/dbs", Some(token)).await.ok();
        }
        let body = json!({ "_id": node.id }).to_string();
        let write = node.anonymous("POST", "/api/doc?db=shop&col=users").header("Authorization", &tokens[0]).body(body);
        node.send(write).await.ok();
    }
    // A token and a password outlive the nodes' processes.
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start().await;
    }
    cluster.settled().await;
    for node in &cluster.nodes {
        ask(node, "GET", "/api/dbs", Some(&tokens[1])).await.ok();
        ask(node, "GET", "/api/dbs", None).await.error("unauthorized");
    }

    // Changed through a follower, by the user itself.
    let follower = cluster.followers().await[0];
    let node = &cluster.nodes[follower];
    let change = async |authorization: &str, body: Value| {
        let request = node.anonymous("POST", "/api/change-password").header("Authorization", authorization);
        node.send(request.body(body.to_string())).await
    };
    let next = "a better one";
    change(&tokens[0], json!({ "newPassword": next })).await.error("bad_request");
    change(&tokens[0], json!({ "oldPassword": "guess", "newPassword": next })).await.error("unauthorized");
    ask(node, "GET", "/api/dbs", Some(&tokens[0])).await.ok();
    change(&tokens[0], json!({ "oldPassword": PASSWORD, "newPassword": next })).await.ok();
    for node in &cluster.nodes {
        for token in &tokens {
            eventually(10 * SECOND, "older tokens have ended", async || {
                let answer = ask(node, "GET", "/api/dbs", Some(token)).await;
                if answer.status == 401 { Ok(()) } else { Err(answer.shown()) }
            })
            .await;
        }
        ask(node, "GET", "/api/dbs", Some(&basic("admin", PASSWORD))).await.error("unauthorized");
        ask(node, "GET", "/api/dbs", Some(&basic("admin", next))).await.ok();
        assert_eq!(login(node, "admin", PASSWORD).await.status, 401);
        let fresh = login(node, "admin", next).await.ok();
        ask(node, "GET", "/api/dbs", fresh["token"].as_str()).await.ok();
    }
    // An administrator may name the user and leave the old one out.
    change(&basic("admin", next), json!({ "username": "admin", "newPassword": PASSWORD })).await.ok();
    change(&basic("admin", PASSWORD), json!({ "username": "nobody", "newPassword": "x" })).await.error("not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_password_comes_from_configuration_or_environment_and_only_the_first() {
    let config = json!({ "distributed": true, "Bootstrap": true, "NodeID": "one" });
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::new(dir.path(), "one", config);
    node.set_env("JETTRA_ADMIN_PASSWORD", PASSWORD);
    let protected = async |node: &Node| {
        eventually(20 * SECOND, "a password is needed", async || {
            let answer = ask(node, "GET", "/api/dbs", None).await;
            if answer.status == 401 { Ok(()) } else { Err(answer.shown()) }
        })
        .await;
    };
    node.start().await;
    protected(&node).await;
    ask(&node, "GET", "/api/dbs", Some(&basic("admin", PASSWORD))).await.ok();

    // There is an administrator now: another value at another start changes nothing.
    node.set_env("JETTRA_ADMIN_PASSWORD", "another");
    node.configure("AdminPassword", "a third");
    node.restart().await;
    protected(&node).await;
    ask(&node, "GET", "/api/dbs", Some(&basic("admin", PASSWORD))).await.ok();
    for wrong in ["another", "a third"] {
        ask(&node, "GET", "/api/dbs", Some(&basic("admin", wrong))).await.error("unauthorized");
    }
    let log = node.log();
    assert!(![PASSWORD, "another", "a third", "$argon2"].iter().any(|secret| log.contains(secret)), "{log}");
    let config = ask(&node, "GET", "/api/config", Some(&basic("admin", PASSWORD))).await.ok().to_string();
    assert!(![PASSWORD, "another", "a third"].iter().any(|secret| config.contains(secret)), "{config}");
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

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_missed_the_password_lets_nobody_write_before_it_knows() {
    let mut cluster = Cluster::start(3).await;
    let away = cluster.followers().await[0];
    cluster.nodes[away].post("/api/doc?db=shop&col=users", r#"{"_id":"ada"}"#).await.ok();
    cluster.settled().await;
    cluster.nodes[away].kill();
    let there: Vec<usize> = (0..3).filter(|place| *place != away).collect();
    eventually(20 * SECOND, "a password is set", async || {
        cluster.nodes[there[0]].try_post("/api/change-password", json!({ "newPassword": PASSWORD })).await?.success()
    })
    .await;
    // It comes back while the others cannot tell it.
    for place in &there {
        cluster.nodes[*place].pause();
    }
    cluster.nodes[away].start().await;
    let node = &cluster.nodes[away];
    let refused = [
        ask(node, "GET", "/api/doc?db=shop&col=users&id=ada", None).await,
        ask(node, "DELETE", "/api/doc?db=shop&col=users&id=ada&timeout=1", None).await,
        node.send(node.anonymous("POST", "/api/change-password").body(r#"{"newPassword":"another one"}"#)).await,
    ];
    for place in &there {
        cluster.nodes[*place].resume();
    }
    for answer in refused {
        assert!(matches!(answer.status, 401 | 503), "{}", answer.shown());
    }
    eventually(20 * SECOND, "it knows", async || {
        let answer = ask(node, "GET", "/api/dbs", None).await;
        if answer.status == 401 { Ok(()) } else { Err(answer.shown()) }
    })
    .await;
    ask(node, "GET", "/api/dbs", Some(&basic("admin", PASSWORD))).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_that_is_left_answers_from_what_it_knows() {
    let mut cluster = Cluster::start(3).await;
    cluster.nodes[0].post("/api/doc?db=shop&col=users", r#"{"_id":"ada"}"#).await.ok();
    cluster.settled().await;
    // It ends in order, so that all it has is in its state and not only in its log.
    for node in cluster.nodes.iter_mut().rev() {
        node.stop_gracefully().await;
    }
    cluster.nodes[2].start().await;
    let node = &cluster.nodes[2];
    // Nobody is there to be asked whether there is a password, and nobody is waited for.
    let asked = std::time::Instant::now();
    let seen = node.get("/api/doc?db=shop&col=users&id=ada&consistency=local").await.ok();
    assert_eq!(seen["_id"], "ada");
    assert_eq!(node.get("/api/dbs?consistency=local").await.ok()[0]["name"], "_system");
    let view = node.get("/api/cluster").await.ok();
    assert_eq!(view["nodes"].as_array().unwrap().len(), 3, "{view}");
    assert_eq!(node.get("/api/federated/config").await.ok()["federatedServers"].as_array().unwrap().len(), 3);
    assert_eq!(node.get("/api/cluster/doctor").await.ok()["healthy"], false);
    assert!(!node.get("/api/cluster/events").await.ok().as_array().unwrap().is_empty());
    node.get("/api/config").await.ok();
    assert!(asked.elapsed() < 5 * SECOND, "it took {:?}", asked.elapsed());
    // What needs a majority says so.
    node.get("/api/doc?db=shop&col=users&id=ada&timeout=1").await.error("no_leader");
    node.post("/api/doc?db=shop&col=users&timeout=1", r#"{"_id":"bob"}"#).await.error("no_leader");
    node.get("/api/cluster/events?consistency=linearizable&timeout=1").await.error("no_leader");
}

/// A node that begins a cluster and one that waits, each with its own secret or none.
async fn two_with_secrets(first: Option<&str>, second: Option<&str>) -> Cluster {
    let mut cluster = Cluster::unregistered(|number| {
        let id = format!("node{number}");
        let mut config = json!({ "Host": "127.0.0.1", "distributed": true, "NodeID": id, "Bootstrap": number == 1 });
        if let Some(secret) = if number == 1 { first } else { second } {
            config["ClusterSecret"] = secret.into();
        }
        (number <= 2).then_some(config)
    })
    .await;
    for node in &mut cluster.nodes {
        node.start().await;
    }
    cluster.leader_of_one().await;
    cluster
}

impl Cluster {
    /// Waits until the first node leads and says so in `_clusternodes`.
    async fn leader_of_one(&self) {
        eventually(20 * SECOND, "the first node leads", async || {
            let members = self.nodes[0].try_get("/api/query?db=_system&col=_clusternodes").await?.success()?;
            if members[0]["role"] == "LEADER" { Ok(()) } else { Err(members.to_string()) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_one_secret_join_and_with_different_ones_do_not() {
    const OURS: &str = "the secret of ours";
    const THEIRS: &str = "the secret of theirs";
    for (first, second) in [(Some(OURS), Some(THEIRS)), (Some(OURS), None), (None, Some(THEIRS))] {
        let mut cluster = two_with_secrets(first, second).await;
        let members =
            async |cluster: &Cluster| cluster.nodes[0].get("/api/query?db=_system&col=_clusternodes").await.ok();
        let before = members(&cluster).await;
        let register = json!({ "url": cluster.nodes[1].url() });
        for _ in 0..2 {
            let answer = cluster.nodes[0].post("/api/cluster/register", &register).await;
            let message = answer.body.clone();
            assert!(matches!(answer.status, 400 | 401 | 403 | 409), "{first:?}, {second:?}: {}", answer.shown());
            assert!(message.contains("ClusterSecret"), "{first:?}, {second:?}: {message}");
            assert!(!message.contains(OURS) && !message.contains(THEIRS), "{message}");
            assert_eq!(members(&cluster).await, before, "{first:?}, {second:?}: nothing changed");
        }
        assert_eq!(cluster.nodes[0].get("/api/cluster").await.ok()["nodes"].as_array().unwrap().len(), 1);
        let stranger = cluster.nodes[1].get("/api/query?db=_system&col=_clusternodes").await;
        stranger.error("unavailable");

        // The same on both, and it is let in.
        let secret = first.unwrap_or(THEIRS);
        for place in if first.is_some() { 1..2 } else { 0..1 } {
            cluster.nodes[place].configure("ClusterSecret", secret);
            cluster.nodes[place].restart().await;
        }
        cluster.leader_of_one().await;
        cluster.register(1).await;
        cluster.settled().await;
        assert_eq!(members(&cluster).await.as_array().unwrap().len(), 2);
    }
}

/// The calls between nodes, each with a body that would do something if it were let in.
fn tempting_calls(cluster: &str, from: u64, to: u64) -> Vec<(&'static str, Value)> {
    let envelope = |body: Value| json!({ "cluster": cluster, "from": from, "to": to, "body": body });
    let vote = json!({ "leader_id": { "term": 99, "node_id": from }, "committed": true });
    let command = json!({ "op": "delete_db", "name": "shop" });
    let member = json!({ "name": "node9", "url": "http://localhost:1", "incarnation": "0" });
    vec![
        ("append", envelope(json!({ "vote": vote, "prev": null, "commit": null, "entries": [] }))),
        ("vote", envelope(json!({ "vote": vote, "last_log_id": null, "leadership_transfer": true }))),
        ("pre-vote", envelope(json!({ "vote": vote, "last_log_id": null }))),
        ("transfer", envelope(json!({ "from_leader": vote, "to_node_id": to, "last_log_id": null }))),
        ("forward", envelope(json!({ "principal": "admin", "limit_ms": 1000, "work": { "command": command } }))),
        ("read-index", envelope(json!({ "principal": "admin", "limit_ms": 1000, "work": { "read_index": false } }))),
        ("machine", envelope(json!({}))),
        ("removed", envelope(json!({ "index": 9_999_999 }))),
        ("stop", envelope(json!({}))),
        ("join", envelope(json!({ "raft_id": 99, "leader": member, "secret": "made up" }))),
        ("snapshot", envelope(json!({ "version": 1 }))),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_between_nodes_need_a_session_and_count_once() {
    const SECRET: &str = "known to the three of them";
    let mut cluster = Cluster::start_with(3, json!({ "ClusterSecret": SECRET })).await;
    set_password(&mut cluster.nodes).await;
    cluster.nodes[0].post("/api/doc?db=shop&col=users", r#"{"_id":"kept"}"#).await.ok();
    cluster.settled().await;
    let before = cluster.nodes[0].get("/api/cluster").await.ok();
    let leader = cluster.leader().await;
    let follower = cluster.followers().await[0];

    for (place, other) in [(leader, follower), (follower, leader)] {
        let node = &cluster.nodes[place];
        let ((id, to), (_, from)) = (membership(node), membership(&cluster.nodes[other]));
        for (call, body) in tempting_calls(&id, from, to) {
            let body = body.to_string();
            for header in [None, Some(format!("{};1", "00".repeat(32))), Some(";;".into()), Some("x".into())] {
                let answer = rpc(node, call, header.as_deref(), &body).await;
                assert!(matches!(answer.status, 401 | 403), "{call} with {header:?}: {}", answer.shown());
            }
        }
        let refused =
            Session::open(node, "made up by a stranger", from).await.err().expect("a wrong secret is refused");
        assert!(refused.error("unauthorized")["message"].as_str().unwrap().contains("ClusterSecret"));

        // A member's own session: each call counts once, as it was sealed.
        let session = Session::open(node, SECRET, from).await.unwrap_or_else(|answer| panic!("{}", answer.shown()));
        let body = json!({ "cluster": id, "from": from, "to": to, "body": {} }).to_string();
        let sealed = session.seal("machine", 7, &body);
        assert!(session.send(node, "machine", 7, sealed.clone()).await.ok()["ramTotal"].is_number());
        let mut changed = sealed.clone();
        changed[3] ^= 1;
        for (what, call, sequence, sealed) in [
            ("replayed", "machine", 7, sealed.clone()),
            ("for another call", "stop", 7, sealed.clone()),
            ("with another body", "machine", 8, changed),
            ("without a seal", "machine", 10, body.clone().into_bytes()),
            ("under another number", "machine", 9, sealed.clone()),
            ("long ago", "machine", 0, session.seal("machine", 0, &body)),
        ] {
            let answer = session.send(node, call, sequence, sealed).await;
            assert_eq!(answer.status, 401, "{what}: {}", answer.shown());
        }
        session.call(node, "machine", 5, &body).await.ok();

        // It speaks for one member only, of this cluster, to this node.
        for (sequence, (cluster, from, to)) in
            [("another", from, to), (&id, to, to), (&id, from, from), (&id, 0, to)].into_iter().enumerate()
        {
            let body = json!({ "cluster": cluster, "from": from, "to": to, "body": {} }).to_string();
            session.call(node, "stop", 20 + sequence as u64, &body).await.error("conflict");
        }
        // Nobody joins a node twice, not even with the right secret.
        for (call, body) in tempting_calls(&id, from, to).into_iter().filter(|(call, _)| *call == "join") {
            session.call(node, call, 30, &body.to_string()).await.error("conflict");
        }
    }

    cluster.settled().await;
    let after = cluster.nodes[0].get("/api/cluster").await.ok();
    assert_eq!((&after["leaderId"], &after["term"]), (&before["leaderId"], &before["term"]), "nobody was disturbed");
    cluster.nodes[follower].get("/api/doc?db=shop&col=users&id=kept").await.ok();
}

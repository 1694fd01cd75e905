//! Before there is a password, and until a node knows that there is one.

use serde_json::json;

use crate::common::{Cluster, Node, SECOND, eventually};
use crate::{PASSWORD, ask, basic, login};

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
    let body = json!({ "newPassword": "theirs now" }).to_string();
    for (name, value) in [
        ("X-Forwarded-For", "127.0.0.1"),
        ("Forwarded", "for=127.0.0.1"),
        ("Via", "1.1 p"),
        ("X-Real-IP", "127.0.0.1"),
        ("CF-Connecting-IP", "127.0.0.1"),
    ] {
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

    for wrong in [r#"{"newPassword":""}"#, r#"{"newPassword":"seven.."}"#, r#"{}"#, ""] {
        node.post("/api/change-password", wrong).await.error("bad_request");
    }
    node.get("/api/dbs").await.ok();
    node.post("/api/change-password", json!({ "newPassword": PASSWORD })).await.ok();
    let refused = ask(&node, "GET", "/api/dbs", None).await;
    refused.error("unauthorized");
    assert!(refused.header("www-authenticate").unwrap().starts_with("Basic"));
    ask(&node, "GET", "/api/dbs", Some(&early)).await.error("unauthorized");
    node.post("/api/change-password", json!({ "newPassword": "once again" })).await.error("unauthorized");
    ask(&node, "GET", "/api/dbs", Some(&basic("admin", PASSWORD))).await.ok();
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
    node.set_env("JETTRA_ADMIN_PASSWORD", "another one");
    node.configure("AdminPassword", "a third");
    node.restart().await;
    protected(&node).await;
    ask(&node, "GET", "/api/dbs", Some(&basic("admin", PASSWORD))).await.ok();
    for wrong in ["another one", "a third"] {
        ask(&node, "GET", "/api/dbs", Some(&basic("admin", wrong))).await.error("unauthorized");
    }
    let log = node.log();
    assert!(![PASSWORD, "another one", "a third", "$argon2"].iter().any(|secret| log.contains(secret)), "{log}");
    let config = ask(&node, "GET", "/api/config", Some(&basic("admin", PASSWORD))).await.ok().to_string();
    assert!(![PASSWORD, "another one", "a third"].iter().any(|secret| config.contains(secret)), "{config}");
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

/// Runs curl as another user of this machine, quietly; gives status and body.
fn curl_as(user: u32, arguments: &[&str]) -> (u16, String) {
    use std::os::unix::process::CommandExt as _;
    let mut command = std::process::Command::new("curl");
    command.args(["-sS", "--max-time", "30", "-w", "\n%{http_code}"]).args(arguments);
    let output = command.uid(user).gid(user).current_dir("/").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_of_this_machine_is_a_stranger() {
    use std::os::unix::fs::MetadataExt as _;
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("not tried: only root may run a process as another user");
        return;
    }
    let node = Node::standalone(json!({})).await;
    node.get("/api/dbs").await.ok();
    let url = |host: &str, path: &str| format!("http://{host}:{}{path}", node.port);
    for host in ["127.0.0.1", "[::1]", "localhost"] {
        let (change, login) = (url(host, "/api/change-password"), url(host, "/api/login"));
        for arguments in [
            &[&*change, "-d", r#"{"newPassword":"theirs now"}"#][..],
            &[&*login, "-d", r#"{"username":"admin","password":""}"#],
            &[&*url(host, "/api/dbs")],
            &[&*url(host, "/metrics")],
            &[&*url(host, "/api/metrics")],
            &[&*url(host, "/api/cluster")],
            &[&*url(host, "/raft/rpc/status")],
        ] {
            let (status, body) = curl_as(65534, arguments);
            assert_eq!(status, 403, "{arguments:?}: {body}");
            assert!(body.contains("the user that runs this node"), "{arguments:?}: {body}");
        }
        assert_eq!(curl_as(0, &[&*url(host, "/api/dbs")]).0, 200);
        assert_eq!(curl_as(0, &[&*url(host, "/metrics")]).0, 200);
    }
    // Once there is a password, it counts and not the user; figures without one stay the owner's.
    node.post("/api/change-password", json!({ "newPassword": PASSWORD })).await.ok();
    let dbs = url("localhost", "/api/dbs");
    assert_eq!(curl_as(65534, &[&*dbs]).0, 401);
    assert_eq!(curl_as(65534, &[&*dbs, "-u", &format!("admin:{PASSWORD}")]).0, 200);
    assert_eq!(curl_as(65534, &[&*url("localhost", "/metrics")]).0, 401);
    assert_eq!(curl_as(0, &[&*url("localhost", "/metrics")]).0, 200);
}

//! Wrong input gets the contract's error as JSON, and the node serves on.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Node, curl};
use serde_json::{Value, json};

const THINGS: &str = "/api/doc?db=db1&col=things";

async fn node() -> Node {
    Node::standalone(json!({})).await
}

/// The proof that a node is none the worse.
async fn serves_on(node: &Node) {
    let saved = node.post(THINGS, r#"{"_id":"proof","ok":true}"#).await;
    saved.ok();
    assert_eq!(node.get(&format!("{THINGS}&id=proof")).await.ok()["ok"], true);
}

fn message(error: &Value) -> &str {
    error["message"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_are_no_json_objects() {
    let node = node().await;
    for body in [
        "",
        " ",
        "{",
        "{\"a\":1",
        "{\"a\":}",
        "{'a':1}",
        "{\"a\":1,}",
        "{\"a\":01}",
        "{\"a\":NaN}",
        "{\"a\":+1}",
        "nonsense",
        "{} {}",
        "[1]",
        "\"text\"",
        "7",
        "null",
        "true",
        "{\"a\":1,\"a\":2}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\\x\"}",
    ] {
        node.post(THINGS, body).await.error("bad_request");
        node.put(&format!("{THINGS}&id=x"), body).await.error("bad_request");
    }
    for bytes in [&b"{\"a\":\"\xff\"}"[..], b"\xff\xfe{\0}\0", b"{\"a\":\"\xed\xa0\x80\"}", b"{\"a\":\"\0\"}"] {
        node.send(node.request("POST", THINGS).body(bytes)).await.error("bad_request");
    }
    assert_eq!(node.get("/api/count?db=db1&col=things").await.ok()["count"], 0);
    serves_on(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_of_the_wrong_shape() {
    let node = node().await;
    for (path, body) in [
        ("/api/dbs", "{}"),
        ("/api/dbs", r#"{"name":7}"#),
        ("/api/dbs", r#"["name"]"#),
        ("/api/dbs/rename", r#"{"oldName":"a"}"#),
        ("/api/cols", r#"{"database":"db1"}"#),
        ("/api/restore-version", r#"{"db":"db1"}"#),
        ("/api/login", r#"{"username":"admin"}"#),
        ("/api/docs?db=db1&col=things", "7"),
        ("/api/docs?db=db1&col=things", "[1,2]"),
    ] {
        node.post(path, body).await.error("bad_request");
    }
    serves_on(&node).await;
    for patch in ["7", "[]", "null"] {
        node.patch(&format!("{THINGS}&id=proof"), patch).await.error("bad_request");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_are_missing_or_wrong_are_named() {
    let node = node().await;
    serves_on(&node).await;
    for (path, name) in [
        ("/api/doc?col=things&id=x", "db"),
        ("/api/doc?db=db1&id=x", "col"),
        ("/api/doc?db=db1&col=things", "id"),
        ("/api/query?db=db1", "col"),
        ("/api/count?col=things", "db"),
        ("/api/versions?db=db1&col=things", "id"),
        ("/api/version?db=db1&col=things&id=proof", "version"),
        ("/api/query?db=db1&col=things&limit=many", "limit"),
        ("/api/query?db=db1&col=things&limit=99999999999999999999999", "limit"),
        ("/api/query?db=db1&col=things&offset=-1", "offset"),
        ("/api/query?db=db1&col=things&filter=%7B", "filter"),
        ("/api/doc?db=db1&col=things&id=proof&consistency=perhaps", "consistency"),
        ("/api/doc?db=db1&col=things&id=proof&min_index=-1", "min_index"),
        ("/api/doc?db=db1&col=things&id=proof&timeout=later", "timeout"),
    ] {
        let error = node.get(path).await.error("bad_request");
        assert!(message(&error).contains(name), "{path} said: {error}");
    }
    // Huge, and yet a number: it means all.
    let all = node.get("/api/query?db=db1&col=things&limit=9000000000000000000").await.ok();
    assert_eq!(all.as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_a_route_does_not_know_are_refused_with_the_nearest() {
    let node = node().await;
    serves_on(&node).await;
    for (path, nearest) in [
        ("/api/query?db=db1&col=things&limt=5", "did you mean limit?"),
        ("/api/query?db=db1&col=things&sort=a", "it takes db, col, limit"),
        ("/api/doc?db=db1&col=things&id=proof&consistancy=local", "did you mean consistency?"),
        ("/api/count?db=db1&col=things&collection=x", "it takes db, col"),
        ("/api/cluster?node=1", "it takes timeout, forward"),
        ("/api/dbs?%0a=1", "\"\\n\""),
        (&format!("/api/dbs?{}=1", "x".repeat(10_000)), "…"),
    ] {
        let error = node.get(path).await.error("bad_request");
        assert!(message(&error).contains(nearest), "{path} said: {error}");
        assert!(message(&error).len() < 400, "{error}");
    }
    // Nothing is done before they are looked at.
    node.delete("/api/dbs?name=db1&dryrun=true").await.error("bad_request");
    node.post(&format!("{THINGS}&if_rev=7"), r#"{"_id":"proof","ok":false}"#).await.error("bad_request");
    // Files and probes leave alone what browsers and load balancers add.
    for path in ["/livez?verbose", "/readyz?_=17", "/?v=2"] {
        assert_eq!(node.get(path).await.status, 200, "{path}");
    }
    for path in ["/api/doc?db=db1&col=things&id=proof&forward=perhaps", "/api/dbs?forward="] {
        assert!(message(&node.get(path).await.error("bad_request")).contains("forward"), "{path}");
    }
    serves_on(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_not_there_keeps_what_it_was_to_hold_from_being_done() {
    let node = node().await;
    serves_on(&node).await;
    for (method, path) in [
        ("POST", THINGS.to_owned()),
        ("PUT", format!("{THINGS}&id=proof")),
        ("PATCH", format!("{THINGS}&id=proof")),
        ("DELETE", format!("{THINGS}&id=proof")),
        ("GET", format!("{THINGS}&id=proof")),
        ("POST", "/api/docs?db=db1&col=things".to_owned()),
        ("GET", "/api/query?db=db1&col=things".to_owned()),
        ("GET", "/api/count?db=db1&col=things".to_owned()),
    ] {
        let request = node.request(method, &format!("{path}&tx=7d3c")).body(r#"{"_id":"proof","ok":false}"#);
        let error = node.send(request).await.error("not_found");
        assert!(message(&error).contains("transaction \"7d3c\""), "{method} {path} said: {error}");
    }
    serves_on(&node).await;
    assert_eq!(node.get(&format!("{THINGS}&id=proof&tx=")).await.ok()["ok"], true, "no transaction is meant");
}

#[tokio::test(flavor = "multi_thread")]
async fn encodings_and_conditions_are_understood_whole_or_refused() {
    let node = node().await;
    serves_on(&node).await;
    let send = async |method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]| {
        let request = node.request(method, path).body(body.to_vec());
        node.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
    };
    let doc = format!("{THINGS}&id=proof");
    for (method, path, headers, named) in [
        ("POST", THINGS, &[("Content-Encoding", "gzip")][..], "Content-Encoding: \"gzip\""),
        ("PUT", &doc, &[("If-Match", "\"1\""), ("If-None-Match", "*")], "not both"),
        ("PUT", &doc, &[("If-Match", "\"1\""), ("If-Match", "\"2\"")], "twice"),
        ("PUT", &doc, &[("If-Match", "\"1\", \"2\"")], "If-Match"),
        ("PUT", &doc, &[("If-Unmodified-Since", "Sat, 28 Nov 2026 00:00:00 GMT")], "if-unmodified-since"),
        ("GET", &doc, &[("If-Match", "\"1\"")], "if-match"),
        ("POST", "/api/docs?db=db1&col=things", &[("If-Match", "\"1\"")], "if-match"),
        ("DELETE", "/api/dbs?name=db1", &[("If-Match", "\"1\"")], "if-match"),
        ("POST", THINGS, &[("Idempotency-Key", "a"), ("Idempotency-Key", "b")], "twice"),
    ] {
        let error = send(method, path, headers, br#"{"_id":"proof"}"#).await.error("bad_request");
        assert!(message(&error).contains(named), "{method} {path} {headers:?} said: {error}");
    }
    serves_on(&node).await;
    send("POST", THINGS, &[("Content-Encoding", "identity")], br#"{"_id":"plain"}"#).await.ok();
    // A cache may ask whether what it has is the newest; the whole answer is right.
    assert_eq!(send("GET", &doc, &[("If-None-Match", "\"1\"")], b"").await.ok()["ok"], true);

    // The mark of UTF-8 that some programs put before a text.
    for (path, body) in [
        (THINGS, "\u{feff}{\"_id\":\"marked\"}"),
        ("/api/docs?db=db1&col=things", "\u{feff}{\"_id\":\"m1\"}\r\n{\"_id\":\"m2\"}"),
        ("/api/dbs", "\u{feff}{\"name\":\"marked\"}"),
    ] {
        node.post(path, body).await.ok();
    }
    assert_eq!(node.get(&format!("{THINGS}&id=marked")).await.body, r#"{"_id":"marked"}"#);
    // The replacement character is a character like others, in capitals or not.
    node.post(THINGS, "{\"_id\":\"a\u{fffd}b\"}").await.ok();
    for id in ["a%ef%bf%bdb", "a%EF%BF%BDb", "a%Ef%bF%Bdb"] {
        node.get(&format!("{THINGS}&id={id}")).await.ok();
    }
    node.get(&format!("{THINGS}&id=a%FFb")).await.error("bad_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_none() {
    let node = node().await;
    for name in [
        "..%2Fetc",
        "..%2F..%2Fetc%2Fpasswd",
        "%00",
        "a%00b",
        ".hidden",
        "%20a",
        "a%2Fb",
        "%C2%A0",
        "%F0%9F%98%80",
        "e%CC%81",
        "",
        &"x".repeat(121),
    ] {
        node.post(&format!("/api/doc?db={name}&col=things"), "{}").await.error("invalid_name");
        node.post(&format!("/api/doc?db=db1&col={name}"), "{}").await.error("invalid_name");
    }
    for name in ["../up", "a\0b", ".x", "_mine", ""] {
        node.post("/api/dbs", json!({ "name": name })).await.error("invalid_name");
        node.post("/api/cols", json!({ "database": "db1", "collection": name })).await.error("invalid_name");
    }
    node.put(&format!("{THINGS}&id={}", "x".repeat(513)), "{}").await.error("bad_request");
    node.put(&format!("{THINGS}&id="), "{}").await.error("bad_request");
    serves_on(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_members_are_not_written_as_documents() {
    let node = Node::standalone(json!({ "distributed": true, "Bootstrap": true, "NodeID": "node1" })).await;
    common::eventually(10 * common::SECOND, "the node leads", async || {
        let members = node.try_get("/api/query?db=_system&col=_clusternodes").await?.success()?;
        if members.as_array().is_some_and(|members| members.len() == 1) { Ok(()) } else { Err(members.to_string()) }
    })
    .await;
    let answer = node.post("/api/doc?db=_system&col=_clusternodes", r#"{"_id":"node9","url":"http://evil:1"}"#).await;
    assert!((400..500).contains(&answer.status), "{}", answer.shown());
    assert_eq!(node.get("/api/query?db=_system&col=_clusternodes").await.ok().as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nesting_without_end() {
    let node = node().await;
    let nested = |depth: usize| format!(r#"{{"_id":"deep","a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    node.post(THINGS, nested(90)).await.ok();
    for depth in [101, 10_000, 1_000_000] {
        node.post(THINGS, nested(depth)).await.error("bad_request");
    }
    let objects = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
    node.post(THINGS, &objects).await.error("bad_request");
    node.patch(&format!("{THINGS}&id=deep"), &objects).await.error("bad_request");
    let filter = format!("/api/query?db=db1&col=things&filter={}", "%5B".repeat(5_000));
    let answer = node.get(&filter).await;
    assert!((400..500).contains(&answer.status), "{}", answer.shown());
    serves_on(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_beyond_the_limit() {
    let node = node().await;
    let hundred = node.dir().join("hundred");
    std::fs::File::create(&hundred).unwrap().set_len(100 << 20).unwrap();
    let from_file = format!("@{}", hundred.display());
    let url = format!("{}{THINGS}", node.url());
    let answer = curl(&["-X", "POST", &url, "--data-binary", &from_file]).await;
    let body: Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("not JSON: {answer:.300}"));
    assert_eq!(body["error"]["code"], "too_large", "{answer:.300}");

    // Without a length beforehand, and just beyond the limit.
    let chunked = ["-X", "POST", &url, "-H", "Transfer-Encoding: chunked", "-o", "/dev/null", "-w", "%{http_code}"];
    let just_beyond = node.dir().join("beyond");
    std::fs::write(&just_beyond, format!(r#"{{"a":"{}"}}"#, "x".repeat(16 << 20))).unwrap();
    let from_file = format!("@{}", just_beyond.display());
    assert_eq!(curl(&[&chunked[..], &["--data-binary", &from_file]].concat()).await, "413");
    assert_eq!(node.get("/api/count?db=db1&col=things").await.ok()["count"], 0);
    serves_on(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_routes_and_methods() {
    let node = node().await;
    for path in ["/api", "/api/", "/api/nothing", "/api/doc/x", "/api/../etc", "/raft/rpc/nothing"] {
        let answer = node.get(path).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.shown());
        answer.error("unsupported");
    }
    for (method, path) in [("DELETE", "/api/cluster"), ("PUT", "/api/dbs"), ("GET", "/api/login"), ("BREW", THINGS)] {
        let answer = node.send(node.request(method, path)).await;
        assert_eq!(answer.status, 405, "{method} {path}: {}", answer.shown());
        answer.error("unsupported");
    }
    serves_on(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_from_elsewhere_in_protected_mode() {
    let node = node().await;
    let with = |header: &str, value: &str| node.send(node.request("GET", "/api/dbs").header(header, value));
    let own = node.url();
    for (header, value) in [
        ("Host", "evil.example"),
        ("Host", "evil.example:8080"),
        ("Host", "localhost.evil.example"),
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
        ("Origin", "http://localhost:1"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Host", "localhost"),
        ("Forwarded", "for=127.0.0.1"),
        ("Via", "1.1 proxy"),
    ] {
        with(header, value).await.error("forbidden");
    }
    let authority = own.trim_start_matches("http://");
    for (header, value) in [("Origin", &*own), ("Host", authority), ("Host", "127.0.0.1"), ("Host", "[::1]:8080")] {
        with(header, value).await.ok();
    }
    // Who the caller is comes from credentials, never from such headers.
    let answer = node.send(node.request("GET", "/api/dbs").header("X-Jettra-User", "admin").header("Via", "x")).await;
    answer.error("forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_make_no_sense() {
    let node = node().await;
    let with = async |header: &str, value: &str| {
        node.send(node.request("POST", THINGS).header(header, value).body("{}")).await.error("bad_request")
    };
    with("Idempotency-Key", "").await;
    with("Idempotency-Key", &"k".repeat(129)).await;
    for session in ["", "a", "a;b;c", "a;1", "a;-1;0", "a;1;0;9", "a;99999999999999999999999;0"] {
        with("Jettra-Session", session).await;
    }
    let put = node.request("PUT", &format!("{THINGS}&id=x")).header("If-Match", "not a revision").body("{}");
    let answer = node.send(put).await;
    assert!(matches!(answer.status, 400 | 409), "{}", answer.shown());
    assert_eq!(node.get("/api/count?db=db1&col=things").await.ok()["count"], 0);
    serves_on(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_http() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let node = node().await;
    for bytes in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"GET\r\n\r\n", b"\0\0\0\0", &[b'a'; 100_000]] {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", node.port)).await.unwrap();
        // The node may close before it has read all; either way it must not mind.
        stream.write_all(bytes).await.ok();
        stream.shutdown().await.ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        assert!(!answer.starts_with(b"HTTP/1.1 5"), "{}", String::from_utf8_lossy(&answer));
    }
    serves_on(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn registering_what_is_no_node() {
    let node = Node::standalone(json!({ "distributed": true, "Bootstrap": true, "NodeID": "node1" })).await;
    let closed = common::free_ports(1);
    for url in [
        format!("http://localhost:{closed}"),
        node.url(),
        "ftp://localhost:1".to_owned(),
        "not a url".to_owned(),
        "http://user:secret@localhost:1".to_owned(),
        String::new(),
    ] {
        let answer = node.post("/api/cluster/register", json!({ "url": url })).await;
        assert!((400..=504).contains(&answer.status) && answer.status != 500, "{url}: {}", answer.shown());
        assert!(!answer.shown().contains("secret"), "{}", answer.shown());
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert!(body["error"]["code"].is_string(), "{url}: {}", answer.shown());
    }
    node.post("/api/cluster/register", "{}").await.error("bad_request");
    node.post("/api/cluster/deregister", r#"{"node":"nobody"}"#).await.error("not_found");
    node.post("/api/cluster/stop", r#"{"node":"nobody"}"#).await.error("not_found");
    assert_eq!(node.get("/api/query?db=_system&col=_clusternodes").await.ok().as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standalone_node_has_no_cluster() {
    let node = node().await;
    assert_eq!(node.get("/api/cluster").await.ok(), json!({ "enabled": false }));
    let body = json!({ "url": "http://localhost:1", "node": "x" });
    for call in ["register", "deregister", "pause", "promote", "transfer"] {
        node.post(&format!("/api/cluster/{call}"), &body).await.error("conflict");
    }
    // It can be stopped through the API, and is the only one that it knows.
    node.post("/api/cluster/stop", &body).await.error("not_found");
}

//! Documents, databases and collections: what is written comes back, exactly.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Cluster, Node};
use serde_json::{Value, json};

const USERS: &str = "/api/doc?db=db1&col=users";

async fn standalone() -> Node {
    Node::standalone(json!({})).await
}

fn names(array: &Value) -> Vec<&str> {
    array.as_array().unwrap().iter().map(|name| name.as_str().unwrap_or_default()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_come_back_byte_for_byte_from_every_node() {
    let cluster = Cluster::start(3).await;
    let megabyte = "0123456789abcdef".repeat(1 << 16);
    let documents = [
        ("order", r#"{"_id":"order","zeta":1,"alpha":{"y":[1,[2,{"x":null}]],"b":true},"Mid":{},"empty":[]}"#.to_owned()),
        (
            "numbers",
            r#"{"_id":"numbers","min":-9223372036854775808,"max":18446744073709551615,"i":9223372036854775807,
"d17":0.12345678901234567,"e17":12345678901234567.0,"pi":3.1415926535897931,"small":5e-324,"exp":1.0E+2,"zero":-0.0}"#
                .replace('\n', ""),
        ),
        (
            "text",
            r#"{"_id":"text","ключ":"значение","😀":"🏳️‍🌈","e\u0301":"\u00e9","a\"b":"\\ \/ \b\f\n\r\t \u0001","":"empty key"}"#.to_owned(),
        ),
        ("large", format!(r#"{{"_id":"large","text":"{megabyte}"}}"#)),
    ];
    for (place, (id, text)) in documents.iter().enumerate() {
        let saved = cluster.nodes[place % 3].post(USERS, text).await;
        let rev = saved.ok()["rev"].as_u64().expect("a revision");
        for node in &cluster.nodes {
            let read = node.get(&format!("{USERS}&id={id}")).await;
            assert!(read.body == *text, "{id} came back changed from {}: {}", node.id, read.shown());
            assert_eq!(read.header("etag"), Some(format!("\"{rev}\"")), "{id} on {}", node.id);
        }
    }
    let mut expected: Vec<_> = documents.iter().collect();
    expected.sort();
    let expected = expected.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join(",");
    for node in &cluster.nodes {
        let listed = node.get("/api/query?db=db1&col=users").await;
        assert!(listed.body == format!("[{expected}]"), "a query on {} differs", node.id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_integer_beyond_64_bits_is_kept_or_refused_never_changed() {
    let node = standalone().await;
    for number in ["18446744073709551616", "-9223372036854775809", "123456789012345678901234567890"] {
        let text = format!(r#"{{"_id":"big","n":{number}}}"#);
        let saved = node.post(USERS, &text).await;
        if saved.status == 200 {
            assert_eq!(node.get(&format!("{USERS}&id=big")).await.body, text);
        } else {
            saved.error("bad_request");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_are_created_listed_renamed_and_deleted() {
    let node = standalone().await;
    assert_eq!(node.post("/api/dbs", r#"{"name":"b","engine":"JettraEngineStore"}"#).await.ok()["status"], "created");
    assert_eq!(node.post("/api/dbs", r#"{"name":"a"}"#).await.ok()["status"], "created");
    assert_eq!(node.post("/api/dbs", r#"{"name":"a"}"#).await.ok()["status"], "created", "also when it exists");

    let listed = node.get("/api/dbs").await.ok();
    let own: Vec<_> = listed.as_array().unwrap().iter().filter(|db| db["name"] != "_system").collect();
    assert_eq!(own[0], &json!({ "name": "a", "engine": "JettraBasicStore" }));
    assert_eq!(own[1], &json!({ "name": "b", "engine": "JettraEngineStore" }));
    let mut cols = node.get("/api/dbs/a/cols").await.ok();
    cols.as_array_mut().unwrap().sort_by_key(ToString::to_string);
    assert_eq!(names(&cols), ["_engine", "_info", "_rules"]);

    node.post("/api/doc?db=a&col=things", r#"{"_id":"1"}"#).await.ok();
    assert_eq!(node.post("/api/dbs/rename", r#"{"oldName":"a","newName":"c"}"#).await.ok()["status"], "renamed");
    assert_eq!(node.get("/api/doc?db=c&col=things&id=1").await.ok()["_id"], "1");
    node.get("/api/doc?db=a&col=things&id=1").await.error("not_found");
    node.post("/api/dbs/rename", r#"{"oldName":"c","newName":"b"}"#).await.error("conflict");
    node.post("/api/dbs/rename", r#"{"oldName":"nowhere","newName":"d"}"#).await.error("not_found");

    for _ in 0..2 {
        assert_eq!(node.delete("/api/dbs?name=c").await.ok()["status"], "deleted", "also when absent");
    }
    assert_eq!(node.get("/api/dbs/c/cols").await.ok(), json!([]));
    assert_eq!(node.get("/api/query?db=c&col=things").await.ok(), json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_are_created_listed_renamed_and_deleted() {
    let node = standalone().await;
    let collection = |name: &str| json!({ "database": "db1", "collection": name });
    assert_eq!(node.post("/api/cols", collection("users")).await.ok()["status"], "created");
    assert_eq!(node.post("/api/cols", collection("users")).await.ok()["status"], "created");
    node.post(USERS, r#"{"_id":"ana"}"#).await.ok();

    let rename = json!({ "database": "db1", "oldName": "users", "newName": "people" });
    assert_eq!(node.post("/api/cols/rename", &rename).await.ok()["status"], "renamed");
    assert_eq!(node.get("/api/doc?db=db1&col=people&id=ana").await.ok()["_id"], "ana");
    assert_eq!(node.get("/api/query?db=db1&col=users").await.ok(), json!([]), "and it is");
    let cols = node.get("/api/dbs/db1/cols").await.ok();
    assert!(names(&cols).contains(&"people") && !names(&cols).contains(&"users"), "{cols}");

    for _ in 0..2 {
        let deleted = node.delete("/api/cols?database=db1&collection=people").await.ok();
        assert_eq!(deleted["status"], "deleted");
    }
    assert_eq!(node.get("/api/count?db=db1&col=people").await.ok()["count"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_saved_under_its_own_id_or_a_fresh_one() {
    let node = standalone().await;
    for (document, expected) in [
        (json!({ "_id": "a", "id": "b" }), Some("a")),
        (json!({ "id": "b" }), Some("b")),
        (json!({ "_id": "", "id": "c" }), Some("c")),
        (json!({ "_id": null }), None),
        (json!({ "_id": null, "id": 7 }), None),
        (json!({}), None),
    ] {
        let saved = node.post(USERS, &document).await.ok();
        let id = saved["id"].as_str().expect("an id").to_owned();
        match expected {
            Some(expected) => assert_eq!(id, expected),
            None => assert_eq!((id.len(), id.as_bytes()[14]), (36, b'7'), "{id} is no UUIDv7"),
        }
        assert_eq!(node.get(&format!("{USERS}&id={id}")).await.ok()["_id"], id);
    }
    node.get(&format!("{USERS}&id=nobody")).await.error("not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_replaced_patched_and_deleted() {
    let node = standalone().await;
    let ana = format!("{USERS}&id=ana");
    let first = node.put(&ana, r#"{"_id":"ana","age":30,"city":{"name":"Lima","zip":1}}"#).await.ok();
    assert_eq!(first["status"], "ok");

    // RFC 7396: null removes, objects merge, all else replaces.
    let patched = node.patch(&ana, r#"{"age":null,"city":{"zip":2},"tags":["x"]}"#).await.ok();
    assert!(patched["rev"].as_u64() > first["rev"].as_u64());
    let expected = json!({ "_id": "ana", "city": { "name": "Lima", "zip": 2 }, "tags": ["x"] });
    assert_eq!(node.get(&ana).await.ok(), expected);
    node.patch(&format!("{USERS}&id=nobody"), "{}").await.error("not_found");

    node.put(&ana, r#"{"age":31}"#).await.ok();
    assert_eq!(node.get(&ana).await.ok(), json!({ "_id": "ana", "age": 31 }));
    for _ in 0..2 {
        assert_eq!(node.delete(&ana).await.ok()["status"], "deleted", "also when absent");
    }
    node.get(&ana).await.error("not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk_loads_take_lines_or_an_array() {
    let node = standalone().await;
    let bulk = "/api/docs?db=db1&col=bulk";
    let lines = node.post(bulk, "{\"_id\":\"a\",\"n\":1}\n{\"_id\":\"b\"}\n\n{\"_id\":\"a\",\"n\":2}\n").await.ok();
    assert_eq!(names(&lines["ids"]), ["a", "b", "a"]);
    assert_eq!(lines["count"], 3);
    assert_eq!(node.get("/api/doc?db=db1&col=bulk&id=a").await.ok()["n"], 2, "the last one counts");

    let array: Vec<Value> = (0..1_000).map(|n| json!({ "_id": format!("n{n:04}"), "n": n })).collect();
    assert_eq!(node.post(bulk, Value::from(array)).await.ok()["count"], 1_000);
    assert_eq!(node.get("/api/count?db=db1&col=bulk").await.ok()["count"], 1_002);

    // All or nothing.
    node.post(bulk, "{\"_id\":\"new\"}\n{\"_id\":").await.error("bad_request");
    node.get("/api/doc?db=db1&col=bulk&id=new").await.error("not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_of_any_script() {
    let cluster = Cluster::start(3).await;
    let longest = "\u{20000}".repeat(90);
    let encoded = |name: &str| name.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    for (place, name) in ["almacén", "ventas del año", "注文", "a b", &longest].into_iter().enumerate() {
        let (node, other) = (&cluster.nodes[place % 3], &cluster.nodes[(place + 1) % 3]);
        let path = format!("/api/doc?db={0}&col={0}", encoded(name));
        node.post(&path, r#"{"_id":"1"}"#).await.ok();
        other.get(&format!("{path}&id=1")).await.ok();
        let collections = other.get(&format!("/api/dbs/{}/cols", encoded(name))).await.ok();
        assert!(names(&collections).contains(&name), "{collections}");
        let renamed = json!({ "database": name, "oldName": name, "newName": "otro nombre" });
        node.post("/api/cols/rename", renamed).await.ok();
        node.delete(&format!("/api/dbs?name={}", encoded(name))).await.ok();
    }
    assert_eq!(cluster.nodes[0].get("/api/dbs").await.ok().as_array().unwrap().len(), 1, "_system only");
    // What was changed is told by the names, however long they are.
    let client = jettra_client::JettraClient::builder().url(cluster.nodes[2].url()).build().unwrap();
    let from = jettra_client::WatchOptions::new().after(jettra_client::wire::Position::after(0));
    let first = client.watch_with(&longest, &from).await.unwrap().next().await.unwrap();
    assert_eq!((first.database, first.id.as_deref()), (longest.clone(), Some("1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_are_in_order_of_id_and_in_pages() {
    let node = standalone().await;
    let documents: Vec<Value> =
        (0..250).rev().map(|n| json!({ "_id": format!("{n:03}"), "even": n % 2 == 0 })).collect();
    node.post("/api/docs?db=db1&col=pages", Value::from(documents)).await.ok();
    let ids = async |parameters: &str| -> Vec<u64> {
        let found = node.get(&format!("/api/query?db=db1&col=pages{parameters}")).await.ok();
        found.as_array().unwrap().iter().map(|document| document["_id"].as_str().unwrap().parse().unwrap()).collect()
    };
    assert_eq!(ids("").await, (0..100).collect::<Vec<_>>(), "100 by default");
    assert_eq!(ids("&limit=3&offset=248").await, [248, 249]);
    assert_eq!(ids("&limit=0").await, (0..250).collect::<Vec<_>>(), "0 means all");
    assert_eq!(ids("&limit=-1").await.len(), 250);
    assert_eq!(ids("&offset=1000").await, [0; 0]);
    let last =
        node.get("/api/query?db=db1&col=pages&limit=1&offset=9").await.ok()[0]["_id"].as_str().unwrap().to_owned();
    assert_eq!(ids(&format!("&limit=2&after={last}")).await, [10, 11], "goes on behind the last one seen");
    let shown = node.get("/api/query?db=db1&col=pages&limit=1&fields=even").await.ok();
    assert_eq!(shown[0].as_object().unwrap().keys().collect::<Vec<_>>(), ["_id", "even"]);
    node.get("/api/query?db=db1&col=pages&filter=%7B%7D").await.error("bad_request");
    assert_eq!(node.get("/api/query?db=db1&col=unknown").await.ok(), json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn superseded_states_are_versions_and_can_be_restored() {
    let node = standalone().await;
    let ana = format!("{USERS}&id=ana");
    let versions = async || {
        let listed = node.get("/api/versions?db=db1&col=users&id=ana").await.ok();
        names(&listed).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut revs = Vec::new();
    for n in 1..=3 {
        revs.push(node.put(&ana, json!({ "n": n })).await.ok()["rev"].as_u64().unwrap());
    }
    let listed = versions().await;
    assert_eq!(listed.len(), 2, "the current state is no version: {listed:?}");
    for (version, rev) in listed.iter().zip([revs[1], revs[0]]) {
        let (millis, of) = version.split_once('_').expect("<epochMillis>_<rev>");
        assert!(millis.parse::<u64>().unwrap() > 1_700_000_000_000 && of == rev.to_string(), "{version}");
    }
    let state = node.get(&format!("/api/version?db=db1&col=users&id=ana&version={}", listed[1])).await.ok();
    assert_eq!(state["n"], 1);
    node.get("/api/version?db=db1&col=users&id=ana&version=1_1").await.error("not_found");

    let restore = json!({ "db": "db1", "col": "users", "id": "ana", "version": listed[1] });
    assert_eq!(node.post("/api/restore-version", &restore).await.ok()["status"], "restored");
    assert_eq!(node.get(&ana).await.ok()["n"], 1);
    assert_eq!(versions().await.len(), 3, "the state it replaced became a version");

    node.delete(&ana).await.ok();
    node.post("/api/restore-version", &restore).await.ok();
    assert_eq!(node.get(&ana).await.ok()["n"], 1, "works for a deleted document");
}

#[tokio::test(flavor = "multi_thread")]
async fn preconditions_hold_or_the_write_is_refused() {
    let node = standalone().await;
    let ana = format!("{USERS}&id=ana");
    let with = |method: &str, header: &str, value: &str, body: &str| {
        node.send(node.request(method, &ana).header(header, value).body(body.to_owned()))
    };
    let created = with("PUT", "If-None-Match", "*", r#"{"n":1}"#).await.ok();
    with("PUT", "If-None-Match", "*", r#"{"n":2}"#).await.error("conflict");

    let current = format!("\"{}\"", created["rev"]);
    let next = with("PUT", "If-Match", &current, r#"{"n":2}"#).await.ok();
    for (method, body) in [("PUT", r#"{"n":3}"#), ("PATCH", r#"{"n":3}"#), ("DELETE", "")] {
        with(method, "If-Match", &current, body).await.error("conflict");
    }
    assert_eq!(node.get(&ana).await.ok()["n"], 2);
    let next = format!("\"{}\"", next["rev"]);
    assert_eq!(with("DELETE", "If-Match", &next, "").await.ok()["status"], "deleted");
    with("PUT", "If-Match", &next, "{}").await.error("conflict");
}

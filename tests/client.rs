//! The typed client against real nodes: every call of its contract, and a leader that dies under it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Cluster, Node, SECOND, eventually};
use jettra_client::wire::{Role, Status};
use jettra_client::{Consistency, Error, ErrorCode, JettraClient, QueryOptions, ReadOptions, WriteOptions};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct User {
    #[serde(rename = "_id")]
    id: String,
    born: u16,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
}

fn user(id: &str, born: u16) -> User {
    User { id: id.to_owned(), born, tags: Vec::new() }
}

/// A client that asks only this node.
fn only(node: &Node) -> JettraClient {
    JettraClient::builder().url(node.url()).discover(false).build().unwrap()
}

/// A client that asks only this node, and does not go to the leader when it hears of it: so each call
/// is one that the node passes on.
fn clients(cluster: &Cluster) -> [JettraClient; 3] {
    [0, 1, 2].map(|place| only(&cluster.nodes[place]))
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: jettra_client::Result<T>, code: ErrorCode) -> Error {
    let error = result.unwrap_err();
    assert_eq!(error.code(), Some(code), "{error:?}");
    assert!(!error.outcome_unknown(), "a refusal is an answer: {error:?}");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_saved_read_and_queried_through_any_node() {
    let cluster = Cluster::start(3).await;
    let [a, b, c] = clients(&cluster);
    let users = [user("ada", 1815), user("grace", 1906), user("linus", 1969)];
    for (client, user) in [&a, &b, &c].into_iter().zip(&users) {
        let saved = client.save("shop", "users", user).await.unwrap();
        assert_eq!(saved.id, user.id);
        // What one node acknowledged, every other one shows at once.
        for other in [&a, &b, &c] {
            assert_eq!(other.get::<User>("shop", "users", &user.id).await.unwrap().as_ref(), Some(user));
            let document = other.get_document("shop", "users", &user.id).await.unwrap().unwrap();
            assert_eq!(document.rev(), Some(saved.rev));
        }
    }
    assert_eq!(b.get::<User>("shop", "users", "nobody").await.unwrap(), None);
    let nameless = b.save("shop", "users", &json!({ "born": 1912 })).await.unwrap();
    assert_eq!(a.get::<Value>("shop", "users", &nameless.id).await.unwrap().unwrap()["born"], 1912);
    c.delete_document("shop", "users", &nameless.id).await.unwrap();

    for client in [&a, &b, &c] {
        let all: Vec<User> = client.query("shop", "users", &QueryOptions::new()).await.unwrap();
        assert_eq!(all, users, "in order of _id");
        let page = QueryOptions::new().limit(1).offset(1);
        assert_eq!(client.query::<User>("shop", "users", &page).await.unwrap(), users[1..2]);
        let after = QueryOptions::new().after("ada").limit(0);
        assert_eq!(client.query::<User>("shop", "users", &after).await.unwrap(), users[1..]);
        let fields = QueryOptions::new().fields("born").limit(1);
        let documents = client.query_documents("shop", "users", &fields).await.unwrap();
        assert_eq!(documents[0].parse::<Value>().unwrap(), json!({ "_id": "ada", "born": 1815 }));
        assert_eq!(client.count("shop", "users").await.unwrap(), 3);
        assert_eq!(client.count("shop", "nothing").await.unwrap(), 0);
    }

    // Reading one's own write on another node, without a round to the leader.
    let saved = a.save("shop", "users", &user("ada", 1816)).await.unwrap();
    let own = ReadOptions::new().consistency(Consistency::Local).min_index(saved.rev);
    let read = c.get_document_with("shop", "users", "ada", &own).await.unwrap().unwrap();
    assert_eq!((read.rev(), read.parse::<User>().unwrap().born), (Some(saved.rev), 1816));
    assert!(c.last_index() >= saved.rev);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_ids_of_all_kinds_arrive() {
    let cluster = Cluster::start(3).await;
    let [_, follower, _] = clients(&cluster);
    for id in ["a b", "a&b=c", "a/b?c#d", "50%", "+", "ключ", "😀", "\"quoted\"", "..", "{}"] {
        let saved = follower.save("shop", "odd.names-1", &json!({ "_id": id, "n": 1 })).await.unwrap();
        assert_eq!(saved.id, id);
        follower.patch("shop", "odd.names-1", id, r#"{"n":2}"#).await.unwrap();
        let found = follower.get::<Value>("shop", "odd.names-1", id).await.unwrap();
        assert_eq!(found, Some(json!({ "_id": id, "n": 2 })), "{id}");
        let next = QueryOptions::new().after(id).limit(1);
        follower.query_documents("shop", "odd.names-1", &next).await.unwrap();
        assert_eq!(follower.versions("shop", "odd.names-1", id).await.unwrap().len(), 1, "{id}");
    }
    for wrong in [" a", "", "_system2", ".x"] {
        refused(follower.save("shop", wrong, &json!({})).await, ErrorCode::InvalidName);
    }
    refused(follower.save("_system", "_clusternodes", &json!({ "_id": "x" })).await, ErrorCode::Forbidden);
    refused(follower.save_document("shop", "users", "[1]").await, ErrorCode::BadRequest);
}

#[tokio::test(flavor = "multi_thread")]
async fn conditional_writes_let_one_of_many_win() {
    let cluster = Cluster::start(3).await;
    let clients = clients(&cluster);
    let create = WriteOptions::new().if_none_match();
    let first = clients[1].update_with("shop", "stock", "pen", r#"{"left":9}"#, &create).await.unwrap();
    refused(clients[2].update_with("shop", "stock", "pen", "{}", &create).await, ErrorCode::Conflict);

    // Many clients count down by compare and swap, through all nodes: no step is lost or done twice.
    let tasks = (0..9).map(|number| {
        let client = clients[number % 3].clone();
        tokio::spawn(async move {
            loop {
                let pen = client.get_document("shop", "stock", "pen").await.unwrap().unwrap();
                let left = pen.parse::<Value>().unwrap()["left"].as_i64().unwrap();
                let options = WriteOptions::new().if_match(pen.rev().unwrap());
                let body = json!({ "left": left - 1 });
                match client.update_with("shop", "stock", "pen", &body, &options).await {
                    Ok(rev) => return (left, rev),
                    Err(error) => assert_eq!(error.code(), Some(ErrorCode::Conflict), "{error:?}"),
                }
            }
        })
    });
    let mut steps = futures_util::future::join_all(tasks).await.into_iter().map(Result::unwrap).collect::<Vec<_>>();
    steps.sort_by_key(|(_, rev)| *rev);
    assert_eq!(steps.iter().map(|(left, _)| *left).collect::<Vec<_>>(), (1..=9).rev().collect::<Vec<_>>());

    let stale = WriteOptions::new().if_match(first);
    let last = steps.last().unwrap().1;
    refused(clients[0].patch_with("shop", "stock", "pen", "{}", &stale).await, ErrorCode::Conflict);
    refused(clients[1].delete_document_with("shop", "stock", "pen", &stale).await, ErrorCode::Conflict);
    clients[2].delete_document_with("shop", "stock", "pen", &WriteOptions::new().if_match(last)).await.unwrap();
    assert!(clients[0].get_document("shop", "stock", "pen").await.unwrap().is_none());
    refused(clients[0].patch("shop", "stock", "pen", "{}").await, ErrorCode::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_listed_shown_and_restored() {
    let cluster = Cluster::start(3).await;
    let [a, b, c] = clients(&cluster);
    let mut revs = Vec::new();
    for (client, left) in [(&a, 1), (&b, 2), (&c, 3)] {
        revs.push(client.update("shop", "stock", "pen", &json!({ "left": left })).await.unwrap());
    }
    let versions = b.versions("shop", "stock", "pen").await.unwrap();
    let of = |version: &str| version.split_once('_').unwrap().1.parse::<u64>().unwrap();
    assert_eq!(versions.iter().map(|version| of(version)).collect::<Vec<_>>(), [revs[1], revs[0]], "newest first");
    let before = c.version("shop", "stock", "pen", &versions[1]).await.unwrap().unwrap();
    assert_eq!((before.parse::<Value>().unwrap()["left"].as_i64(), before.rev()), (Some(1), Some(revs[0])));
    assert!(c.version("shop", "stock", "pen", "1_1").await.unwrap().is_none());

    a.delete_document("shop", "stock", "pen").await.unwrap();
    b.restore_version("shop", "stock", "pen", &versions[1]).await.unwrap();
    let restored = c.get_document("shop", "stock", "pen").await.unwrap().unwrap();
    assert_eq!(restored.as_str(), before.as_str());
    assert!(restored.rev().unwrap() > revs[2]);
    refused(b.restore_version("shop", "stock", "pen", "1_1").await, ErrorCode::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_documents_at_once_are_all_there_or_none() {
    let cluster = Cluster::start(3).await;
    let [a, b, c] = clients(&cluster);
    let users: Vec<User> = (0..5_000).map(|number| user(&format!("{number:05}"), 1900)).collect();
    let saved = b.save_documents("shop", "many", &users).await.unwrap();
    assert_eq!((saved.count, saved.ids.len(), saved.ids[4_999].as_str()), (5_000, 5_000, "04999"));
    assert_eq!(c.count("shop", "many").await.unwrap(), 5_000);
    let all: Vec<User> = a.query("shop", "many", &QueryOptions::new().limit(0)).await.unwrap();
    assert_eq!(all, users);

    let lines = "{\"_id\":\"x\",\"born\":1}\n{\"_id\":\"y\",\"born\":2}\n{\"_id\":\"x\",\"born\":3}\n";
    assert_eq!(c.save_bulk("shop", "lines", lines).await.unwrap().ids, ["x", "y", "x"]);
    assert_eq!(a.get::<User>("shop", "lines", "x").await.unwrap().unwrap().born, 3);
    refused(b.save_bulk("shop", "lines", "{\"_id\":\"z\"}\n{oops").await, ErrorCode::BadRequest);
    assert!(a.get_document("shop", "lines", "z").await.unwrap().is_none());
    let too_many = b.save_documents("shop", "lines", &vec![json!({}); 10_001]).await.unwrap_err();
    assert!(matches!(too_many, Error::InvalidInput { .. }), "{too_many:?}");
    let lines = "{}\n".repeat(10_001);
    refused(b.save_bulk("shop", "lines", lines).await, ErrorCode::TooLarge);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_built_led_and_taken_apart_through_the_client() {
    let mut cluster = Cluster::unregistered(|number| {
        let id = format!("node{number}");
        let config = json!({ "Host": "127.0.0.1", "distributed": true, "NodeID": id, "Bootstrap": number == 1 });
        (number <= 3).then_some(config)
    })
    .await;
    for node in &mut cluster.nodes {
        node.start().await;
    }
    // As the product's page makes it; until there is a password, any will do on this machine.
    let client = JettraClient::new("localhost", cluster.nodes[0].port, "admin", "password");
    let urls: Vec<String> = cluster.nodes.iter().map(Node::url).collect();
    let waits = only(&cluster.nodes[1]);
    let waiting = ReadOptions::new().timeout(SECOND);
    refused(waits.count_with("shop", "users", None, &waiting).await, ErrorCode::Unavailable);

    let nobody = format!("http://localhost:{}", common::free_ports(1));
    refused(client.register(&nobody).await, ErrorCode::BadRequest);
    refused(client.register("no url").await, ErrorCode::BadRequest);
    refused(client.register(&urls[0]).await, ErrorCode::Conflict);
    assert_eq!(client.get_federated_nodes().await.unwrap().len(), 1);

    for round in 0..2 {
        let answer = client.register_as(&urls[1], Some("the second")).await.unwrap();
        let node = answer.node.expect("the new member");
        assert_eq!((answer.status.as_str(), node.id.as_str(), node.voter), ("registered", "node2", true), "{round}");
        assert_eq!((node.url.as_str(), node.description.as_deref()), (urls[1].as_str(), Some("the second")));
    }
    // Through a follower, which passes it on.
    assert_eq!(only(&cluster.nodes[1]).register(&urls[2]).await.unwrap().status, "registered");
    cluster.settled().await;

    let nodes = client.get_federated_nodes().await.unwrap();
    let shown: Vec<_> =
        nodes.iter().map(|node| (node.id.as_str(), node.url.as_str(), node.role, node.status)).collect();
    let (active, follower) = (Status::Active, Role::Follower);
    assert_eq!(
        shown,
        [
            ("node1", urls[0].as_str(), Role::Leader, active),
            ("node2", urls[1].as_str(), follower, active),
            ("node3", urls[2].as_str(), follower, active),
        ]
    );
    assert_eq!(client.get_federated_servers().await.unwrap(), urls);
    assert_eq!(client.urls(), urls, "it has learned the members");
    let view = client.get_cluster().await.unwrap();
    assert_eq!((view.enabled, view.failure_tolerance, view.nodes.len()), (true, Some(1), 3));

    assert_eq!(client.transfer("node2").await.unwrap().leader_id, "node2");
    cluster.settled().await;
    assert_eq!(client.get_federated_leader().await.unwrap().as_deref(), Some("node2"));
    assert_eq!(client.get_node_leader().await.unwrap().unwrap().url, urls[1]);
    assert_eq!(client.transfer(&urls[1]).await.unwrap().leader_id, "node2", "it leads already");
    refused(client.transfer("node9").await, ErrorCode::NotFound);

    // Stopping changes a member's status and ends its process.
    assert_eq!(client.stop("node3").await.unwrap().status, "stop_sent");
    assert_eq!(cluster.nodes[2].ended(20 * SECOND).await.code(), Some(0));
    eventually(20 * SECOND, "node3 is INACTIVE", async || {
        let nodes = client.get_federated_nodes().await.map_err(|error| error.to_string())?;
        if nodes[2].status == Status::Inactive { Ok(()) } else { Err(format!("{nodes:?}")) }
    })
    .await;
    assert_eq!(client.stop("node3").await.unwrap().status, "stopped_already");
    let at_risk = refused(client.stop("node1").await, ErrorCode::QuorumAtRisk);
    let Error::Server { details, .. } = &at_risk else { panic!("{at_risk:?}") };
    assert_eq!((&details["before"]["active"], &details["after"]["active"]), (&json!(2), &json!(1)), "{details:?}");
    refused(client.deregister("node1").await, ErrorCode::QuorumAtRisk);

    assert_eq!(client.deregister("node3").await.unwrap().status, "deregistered");
    refused(client.deregister("node3").await, ErrorCode::NotFound);
    // The leader may remove itself.
    assert_eq!(client.deregister("node2").await.unwrap().status, "deregistered");
    eventually(20 * SECOND, "node1 is alone and leads", async || {
        let nodes = only(&cluster.nodes[0]).get_federated_nodes().await.map_err(|error| error.to_string())?;
        let alone = nodes.len() == 1 && nodes[0].id == "node1" && nodes[0].role == Role::Leader;
        if alone { Ok(()) } else { Err(format!("{nodes:?}")) }
    })
    .await;
    refused(only(&cluster.nodes[0]).deregister("node1").await, ErrorCode::QuorumAtRisk);
    only(&cluster.nodes[0]).save("shop", "users", &user("ada", 1815)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_what_a_change_would_do_changes_nothing() {
    let mut cluster = Cluster::start(3).await;
    let client = only(&cluster.nodes[1]);
    for plan in [client.plan_stop("node3").await.unwrap(), client.plan_deregister("node3").await.unwrap()] {
        assert!(plan.allowed, "{plan:?}");
        assert_eq!(plan.before.unwrap().failure_tolerance, 1, "{plan:?}");
        assert!(plan.reason.is_some_and(|reason| !reason.is_empty()));
    }
    refused(client.plan_stop("node9").await, ErrorCode::NotFound);
    cluster.settled().await;
    assert!(client.get_federated_nodes().await.unwrap().iter().all(|node| node.status == Status::Active));
    only(&cluster.nodes[2]).count("shop", "users").await.unwrap();

    cluster.nodes[2].kill();
    eventually(20 * SECOND, "a stop would cost the majority", async || {
        let plan = client.plan_stop("node1").await.map_err(|error| error.to_string())?;
        if plan.allowed { Err(format!("{plan:?}")) } else { Ok(()) }
    })
    .await;
    client.save("shop", "users", &user("ada", 1815)).await.unwrap();
}

/// What became of one write of a document that has no `_id` of its own: sent twice, it would be two.
enum Outcome {
    Acknowledged { id: String, rev: u64 },
    Unknown,
    Refused,
}

async fn write_until(stop: Arc<AtomicBool>, client: JettraClient, name: String) -> Vec<(String, Outcome)> {
    let mut outcomes = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let write = format!("{name}-{number:06}");
        let outcome = match client.save("proof", "writes", &json!({ "write": write })).await {
            Ok(saved) => Outcome::Acknowledged { id: saved.id, rev: saved.rev },
            Err(error) if error.outcome_unknown() => Outcome::Unknown,
            Err(_) => Outcome::Refused,
        };
        outcomes.push((write, outcome));
    }
    outcomes
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_the_leader_under_clients_that_know_one_url() {
    let mut cluster = Cluster::start(3).await;
    let mut all = Vec::new();
    for round in 0..3 {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for number in 0..8 {
            // One URL each, the leader's too; the others it learns by itself.
            let client = JettraClient::builder().url(cluster.nodes[number % 3].url()).build().unwrap();
            eventually(10 * SECOND, "the client knows the members", async || {
                client.list_databases().await.map_err(|error| error.to_string())?;
                if client.urls().len() == 3 { Ok(()) } else { Err(format!("{:?}", client.urls())) }
            })
            .await;
            tasks.push(tokio::spawn(write_until(stop.clone(), client, format!("{round}-{number}"))));
        }
        let count_grows = async |node: &Node, by: u64| {
            let client = only(node);
            let begin = client.count("proof", "writes").await.unwrap_or_default();
            eventually(30 * SECOND, "the writers are at work", async || {
                let count = client.count("proof", "writes").await.map_err(|error| error.to_string())?;
                if count >= begin + by { Ok(()) } else { Err(format!("{count} of {begin} + {by}")) }
            })
            .await;
        };
        let leader = cluster.leader().await;
        count_grows(&cluster.nodes[leader], 150).await;
        cluster.nodes[leader].kill();
        let new = cluster.leader_other_than(leader).await;
        count_grows(&cluster.nodes[new], 150).await;
        cluster.nodes[leader].restart().await;
        cluster.settled().await;
        count_grows(&cluster.nodes[leader], 50).await;
        stop.store(true, Ordering::Relaxed);
        for task in tasks {
            all.extend(task.await.unwrap());
        }
    }

    let tally = |wanted: fn(&Outcome) -> bool| all.iter().filter(|(_, outcome)| wanted(outcome)).count();
    let acknowledged = tally(|outcome| matches!(outcome, Outcome::Acknowledged { .. }));
    let unknown = tally(|outcome| matches!(outcome, Outcome::Unknown));
    println!("{acknowledged} acknowledged, {unknown} unknown, {} refused", all.len() - acknowledged - unknown);
    assert!(acknowledged > 1_000, "too few writes to prove anything");
    for node in &cluster.nodes {
        let stored = only(node).query_documents("proof", "writes", &QueryOptions::new().limit(0)).await.unwrap();
        let mut by_write: HashMap<String, Vec<String>> = HashMap::new();
        for document in stored {
            let content: Value = document.parse().unwrap();
            by_write.entry(content["write"].as_str().unwrap().into()).or_default().push(document.id().unwrap().into());
        }
        for (write, outcome) in &all {
            let ids = by_write.remove(write).unwrap_or_default();
            match outcome {
                Outcome::Acknowledged { id, .. } => assert_eq!(ids, [id.as_str()], "{write} on {}", node.id),
                Outcome::Unknown => assert!(ids.len() <= 1, "{write} is there {} times on {}", ids.len(), node.id),
                Outcome::Refused => assert!(ids.is_empty(), "{write} was refused and is on {}", node.id),
            }
        }
        assert!(by_write.is_empty(), "on {} are writes of nobody: {by_write:?}", node.id);
    }
    // As acknowledged: at that revision, and never written over.
    let client = only(&cluster.nodes[0]);
    for (write, outcome) in all.iter().step_by(7) {
        let Outcome::Acknowledged { id, rev } = outcome else { continue };
        let document = client.get_document("proof", "writes", id).await.unwrap().unwrap();
        assert_eq!(document.rev(), Some(*rev), "{write}");
    }
}

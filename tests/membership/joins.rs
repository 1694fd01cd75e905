use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::common::{LIMIT, Node, SECOND, eventually, free_ports, member_config};
use crate::story::{Story, act, command_in, document, paste, waits, within};

#[tokio::test(flavor = "multi_thread")]
async fn nodes_join_once_twice_and_two_at_a_time() {
    let mut story = Story::of(1).await;
    story.newcomer("node2").await;
    waits(story.node("node2")).await;
    let url = story.node("node2").url();
    let answer = act(story.node("node1"), "register", json!({ "url": url, "description": "the second" })).await.ok();
    assert_eq!((&answer["status"], &answer["node"]["id"]), (&json!("registered"), &json!("node2")), "{answer}");
    assert_eq!((&answer["node"]["voter"], &answer["node"]["description"]), (&json!(true), &json!("the second")));
    story.stands(&["node1 ACTIVE", "node2 ACTIVE"]).await;
    let joined = document(story.node("node1"), "node2").await.unwrap();

    // Again: the same answer, and the same member; also for the node that leads.
    for (at, id) in [("node1", "node2"), ("node2", "node1")] {
        let again = act(story.node(at), "register", json!({ "url": story.node(id).url() })).await.ok();
        assert_eq!((&again["status"], &again["node"]["id"]), (&json!("registered"), &json!(id)), "{again}");
    }
    story.stands(&["node1 ACTIVE", "node2 ACTIVE"]).await;
    assert_eq!(document(story.node("node1"), "node2").await.unwrap(), joined);

    // Two at once, each at another node; and one of them twice at once.
    story.newcomer("node3").await;
    story.newcomer("node4").await;
    let (three, four) = (story.node("node3").url(), story.node("node4").url());
    let (one, two) = (story.node("node1"), story.node("node2"));
    let (a, b, c) = tokio::join!(
        one.post("/api/cluster/register", json!({ "url": three })),
        two.post("/api/cluster/register", json!({ "url": four })),
        two.post("/api/cluster/register", json!({ "url": three })),
    );
    for (answer, id) in [(a, "node3"), (b, "node4"), (c, "node3")] {
        let answer = answer.ok();
        assert_eq!((&answer["status"], &answer["node"]["id"]), (&json!("registered"), &json!(id)), "{answer}");
    }
    story.stands(&["node1 ACTIVE", "node2 ACTIVE", "node3 ACTIVE", "node4 ACTIVE"]).await;

    // By its own configuration, though it has `Bootstrap: true`: there is a cluster already.
    let peers = json!([story.node("node2").url()]);
    story.newcomer_with("node5", json!({ "Bootstrap": true, "Peers": peers })).await;
    story.stands(&["node1 ACTIVE", "node2 ACTIVE", "node3 ACTIVE", "node4 ACTIVE", "node5 ACTIVE"]).await;
    story.ends().await;
}

/// A server that answers each request with a page of its own.
async fn web_server() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://localhost:{}", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                if stream.read(&mut request).await.is_ok() {
                    let page = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>";
                    stream.write_all(page.as_bytes()).await.ok();
                }
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_join_is_told_why_and_changes_nothing() {
    let mut story = Story::of(2).await;
    let members = ["node1 ACTIVE", "node2 ACTIVE"];
    let at = |story: &Story| story.node("node2").url();
    let refused = async |story: &Story, url: &str, code: &str, said: &str| {
        for at in ["node1", "node2"] {
            let answer = act(story.node(at), "register", json!({ "url": url })).await;
            let error = answer.error(code);
            assert!(error["message"].as_str().unwrap().contains(said), "{said} is missing: {error}");
        }
    };

    let dead = format!("http://localhost:{}", free_ports(1));
    refused(&story, &dead, "bad_request", "nothing answers at").await;
    refused(&story, "ftp://localhost", "bad_request", "http://host:8081").await;
    let web = web_server().await;
    refused(&story, &web, "forbidden", "is no JettraDB node").await;
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let mute = format!("http://localhost:{}", silent.local_addr().unwrap().port());
    let error = act(story.node("node2"), "register", json!({ "url": mute })).await.error("bad_request");
    assert!(error["message"].as_str().unwrap().contains("does not answer as a JettraDB node"), "{error}");
    story.stands(&members).await;

    // The URL of the node that is asked; of another member it would be a second registration.
    for id in ["node1", "node2"] {
        let own = json!({ "url": story.node(id).url() });
        let error = act(story.node(id), "register", own.clone()).await.error("conflict");
        assert!(error["message"].as_str().unwrap().contains("is this node itself"), "{error}");
        let other = if id == "node1" { "node2" } else { "node1" };
        let again = act(story.node(other), "register", own).await.ok();
        assert_eq!((&again["status"], &again["node"]["id"]), (&json!("registered"), &json!(id)), "{again}");
    }

    let alone = Node::standalone(json!({ "Host": "127.0.0.1" })).await;
    refused(&story, &alone.url(), "forbidden", "\"distributed\": true").await;

    // A taken name, here of a member that is there.
    let mut config = member_config("node2", false);
    config["DataDir"] = json!("data");
    story.cluster.add("other", config).start().await;
    let other = story.node("other").url();
    refused(&story, &other, "conflict", "give it a NodeID of its own").await;
    story.stands(&members).await;
    let node = story.node_mut("other");
    node.kill();
    node.configure("NodeID", "node3");
    node.start().await;
    let answer = act(story.node("node1"), "register", json!({ "url": other })).await.ok();
    assert_eq!((&answer["status"], &answer["node"]["id"]), (&json!("registered"), &json!("node3")), "{answer}");
    let gone = act(story.node("node1"), "deregister", json!({ "node": "node3" })).await.ok();
    assert_eq!(gone["status"], "deregistered");
    story.forget("other");

    // Two newcomers with one name, at once: one of them joins.
    for id in ["left", "right"] {
        story.cluster.add(id, member_config("twin", false)).start().await;
    }
    let (left, right) = (story.node("left").url(), story.node("right").url());
    let (a, b) = tokio::join!(
        story.node("node1").post("/api/cluster/register", json!({ "url": left })),
        story.node("node2").post("/api/cluster/register", json!({ "url": right })),
    );
    let (joined, refused_one) = if a.status == 200 { (a, b) } else { (b, a) };
    assert_eq!(joined.ok()["status"], "registered");
    assert!(refused_one.error("conflict")["message"].as_str().unwrap().contains("give it a NodeID of its own"));
    act(story.node("node1"), "deregister", json!({ "node": "twin" })).await.ok();
    story.forget("left");
    story.forget("right");
    story.stands(&members).await;

    // The URL of a member that is away, where another node answers now.
    let port = story.node("node2").port;
    story.newcomer_joins("node3").await;
    story.node_mut("node2").kill();
    let mut config = member_config("node4", false);
    config["AdvertiseUrl"] = json!(at(&story));
    let node = story.cluster.add("node4", config);
    node.configure("Port", port);
    node.port = port;
    node.start().await;
    let answer = act(story.node("node1"), "register", json!({ "url": at(&story) })).await;
    let error = answer.error("conflict");
    assert!(error["message"].as_str().unwrap().contains("is the URL of the member \"node2\""), "{error}");
    story.forget("node4");
    story.node_mut("node2").start().await;
    story.stands(&["node1 ACTIVE", "node2 ACTIVE", "node3 ACTIVE"]).await;
    story.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_cluster_is_refused_with_the_way_out() {
    let mut story = Story::of(1).await;
    // A second node that was told to begin a cluster; once with the cluster's secret, once with its own.
    for (id, shares_secret) in [("node2", false), ("node3", true)] {
        story.cluster.add(id, member_config(id, true));
        if shares_secret {
            let secret = story.node("node1").secret();
            story.node_mut(id).configure("ClusterSecret", secret);
        }
        story.node_mut(id).start().await;
        let begun = story.node(id);
        eventually(LIMIT, "it has begun its cluster", async || {
            if begun.log().contains("serving url") { Ok(()) } else { Err(begun.log_tail(5)) }
        })
        .await;
        let url = story.node(id).url();
        let answer = act(story.node("node1"), "register", json!({ "url": url })).await;
        let error = answer.error(if shares_secret { "conflict" } else { "forbidden" });
        let message = error["message"].as_str().unwrap();
        for said in ["cluster", "stop it", "remove its data directory", "\"Bootstrap\": false"] {
            assert!(message.contains(said), "{said} is missing: {message}");
        }
        let members: Vec<&str> =
            ["node1 ACTIVE", "node2 ACTIVE"].into_iter().take(if shares_secret { 2 } else { 1 }).collect();
        story.stands(&members).await;

        // As the message says.
        let node = story.node_mut(id);
        node.kill();
        node.wipe();
        node.configure("Bootstrap", false);
        node.start().await;
        let answer = act(story.node("node1"), "register", json!({ "url": url })).await.ok();
        assert_eq!(answer["status"], "registered", "{answer}");
    }
    story.stands(&["node1 ACTIVE", "node2 ACTIVE", "node3 ACTIVE"]).await;
    story.ends().await;
}

/// How far a join has come, as can be seen from outside.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// So long after the call was sent.
    After(Duration),
    /// The registration is committed.
    Registered,
    /// The joiner has been told which member it is.
    Told,
    /// The joiner is in the Raft membership.
    Learner,
    /// It votes.
    Voter,
}

impl Step {
    const ALL: [Step; 7] = [
        Step::After(Duration::ZERO),
        Step::After(Duration::from_millis(15)),
        Step::After(Duration::from_millis(40)),
        Step::Registered,
        Step::Told,
        Step::Learner,
        Step::Voter,
    ];

    /// Looks without pause until the step is reached, or passed.
    async fn reached(self, story: &Story, watch: &str, joiner: &str) {
        if let Step::After(delay) = self {
            tokio::time::sleep(delay).await;
            return;
        }
        let end = Instant::now() + LIMIT;
        let file = story.node(joiner).dir().join("data/node.json");
        while Instant::now() < end {
            if matches!(self, Step::Told) {
                if std::fs::read_to_string(&file).is_ok_and(|identity| identity.contains("membership")) {
                    return;
                }
                tokio::task::yield_now().await;
                continue;
            }
            let voter = document(story.node(watch), joiner).await.map(|doc| doc["voter"].as_bool());
            match (self, voter) {
                (Step::Registered, Ok(_)) | (Step::Learner, Ok(Some(_))) | (Step::Voter, Ok(Some(true))) => return,
                _ => {}
            }
        }
        panic!("{self:?} was not reached");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_that_dies_at_any_step_is_out_or_goes_on_when_it_is_back() {
    let mut story = Story::of(3).await;
    for (number, step) in Step::ALL.into_iter().enumerate() {
        let joiner = format!("nodex{number}");
        story.newcomer(&joiner).await;
        let url = story.node(&joiner).url();
        let ask = story.node("node2").request("POST", "/api/cluster/register").body(json!({ "url": url }).to_string());
        let asked = tokio::spawn(ask.send());
        step.reached(&story, "node1", &joiner).await;
        story.node_mut(&joiner).kill();
        let mut asked = tokio::spawn(async move {
            let answer = asked.await.unwrap().unwrap().text().await.unwrap();
            serde_json::from_str::<Value>(&answer).unwrap()
        });
        // Where it has come far there is no answer until it is back.
        let early = tokio::time::timeout(2 * SECOND, &mut asked).await;
        let early = early.map(Result::unwrap);
        println!("joiner killed at {step:?}: {early:?}");

        // What the answer says is so.
        let known = story.knows("node1", &joiner).await;
        if let Ok(Some(message)) = early.as_ref().map(|answer| answer["error"]["message"].as_str()) {
            assert!(!known, "it is a member, but: {message}");
            // Nothing was changed; so it can be registered as if for the first time.
            story.node_mut(&joiner).start().await;
            let again = act(story.node("node1"), "register", json!({ "url": url })).await.ok();
            assert_eq!(again["status"], "registered", "{again}");
            story.node_mut(&joiner).kill();
        } else {
            assert!(known, "it is no member, but: {early:?}");
        }
        // It goes on by itself.
        story.node_mut(&joiner).start().await;
        let joined = format!("{joiner} ACTIVE");
        story.stands(&["node1 ACTIVE", "node2 ACTIVE", "node3 ACTIVE", &joined]).await;
        if early.is_err() {
            let answer = asked.await.unwrap();
            assert_eq!(answer["status"], "registered", "{answer}");
        }
        let gone = act(story.node("node1"), "deregister", json!({ "node": joiner })).await.ok();
        assert_eq!(gone["status"], "deregistered");
        story.forget(&joiner);
    }
    story.stands(&["node1 ACTIVE", "node2 ACTIVE", "node3 ACTIVE"]).await;
    story.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_that_never_comes_back_is_given_up_by_the_command_in_the_answer() {
    let mut story = Story::of(3).await;
    let mut joiner = 4;
    // Until one has died between its registration and its membership.
    let answer = loop {
        let id = format!("node{joiner}");
        story.newcomer(&id).await;
        let ask = json!({ "url": story.node(&id).url() }).to_string();
        let ask = story.node("node2").request("POST", "/api/cluster/register").body(ask);
        let asked = tokio::spawn(ask.send());
        Step::Registered.reached(&story, "node1", &id).await;
        story.node_mut(&id).kill();
        let answer: Value = serde_json::from_str(&asked.await.unwrap().unwrap().text().await.unwrap()).unwrap();
        if answer["status"] == "joining" {
            break answer;
        }
        act(story.node("node1"), "deregister", json!({ "node": id })).await.ok();
        story.forget(&id);
        joiner += 1;
    };
    println!("{answer}");
    let id = answer["node"]["id"].as_str().unwrap().to_owned();
    // It never answered: so it is not shown as if it did.
    let docs = async || document(story.node("node1"), &id).await;
    eventually(within(), "the dead joiner is INACTIVE", async || match docs().await? {
        doc if doc["status"] == "INACTIVE" => Ok(()),
        doc => Err(doc.to_string()),
    })
    .await;
    let next = answer["message"].as_str().map(|message| command_in(message).to_owned());
    if let Some(next) = next.filter(|next| next.contains("deregister")) {
        assert_eq!(paste(&next).await["status"], "deregistered");
    } else {
        act(story.node("node1"), "deregister", json!({ "node": id })).await.ok();
    }
    story.forget(&id);
    story.stands(&["node1 ACTIVE", "node2 ACTIVE", "node3 ACTIVE"]).await;
    story.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_survives_the_death_of_the_leader_at_any_step() {
    let mut story = Story::of(3).await;
    for (number, step) in Step::ALL.into_iter().enumerate() {
        let joiner = format!("nodex{number}");
        story.newcomer(&joiner).await;
        let leader = story.leader().await.id.clone();
        let follower = ["node1", "node2", "node3"].into_iter().find(|id| **id != leader).unwrap();
        let url = story.node(&joiner).url();
        let ask = story.node(follower).request("POST", "/api/cluster/register").body(json!({ "url": url }).to_string());
        let asked = tokio::spawn(ask.send());
        step.reached(&story, &leader, &joiner).await;
        story.node_mut(&leader).kill();
        let answer = asked.await.unwrap().unwrap().text().await.unwrap();
        println!("leader {leader} killed at {step:?}: {answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(matches!(answer["status"].as_str(), Some("registered" | "joining")), "{answer}");
        story.node_mut(&leader).start().await;
        let joined = format!("{joiner} ACTIVE");
        story.stands(&["node1 ACTIVE", "node2 ACTIVE", "node3 ACTIVE", &joined]).await;
        let gone = act(story.leader().await, "deregister", json!({ "node": joiner })).await.ok();
        assert_eq!(gone["status"], "deregistered");
        story.forget(&joiner);
    }
    story.stands(&["node1 ACTIVE", "node2 ACTIVE", "node3 ACTIVE"]).await;
    story.ends().await;
}

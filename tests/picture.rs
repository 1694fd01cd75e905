//! What a node shows of its cluster is true, whoever is asked and however much of it is gone: every way to ask is asked.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{Cluster, LIMIT, Node, SECOND, eventually};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

/// After `InactiveAfterMs` (3 s) what is silent is shown so; more on a busy machine.
const SHOWN: Duration = Duration::from_secs(15);

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// `_clusternodes` as a node has it.
async fn documents(node: &Node) -> Result<Value, String> {
    node.try_get("/api/query?db=_system&col=_clusternodes&consistency=local").await?.success()
}

/// The members that are `key`: `value` in a list of them, by id.
fn who(members: &Value, key: &str, value: &str) -> Vec<String> {
    let members = members.as_array().unwrap().iter().filter(|member| member[key] == value);
    members.map(|member| member["_id"].as_str().or(member["id"].as_str()).unwrap().to_owned()).collect()
}

/// The first picture that the live stream gives.
async fn streamed(node: &Node) -> Result<Value, String> {
    let answer = node.request("GET", "/api/cluster/stream").send().await.map_err(|error| error.to_string())?;
    let mut pieces = answer.bytes_stream();
    let mut text = String::new();
    while let Some(piece) = pieces.next().await {
        text.push_str(std::str::from_utf8(&piece.map_err(|error| error.to_string())?).unwrap());
        let event = text.split("\n\n").find_map(|event| event.strip_prefix("event: cluster\ndata: "));
        if let Some(data) = event
            && let Ok(picture) = serde_json::from_str(data)
        {
            return Ok(picture);
        }
    }
    Err(text)
}

/// Everything that a node left without a majority is asked: nobody leads, and `dead` are silent, whom it has heard before
/// or has not.
async fn shows_no_leader(node: &Node, dead: &[&Node], has_heard: bool) {
    let ids: Vec<String> = dead.iter().map(|node| node.id.clone()).collect();
    let voters = dead.len() + 1;
    eventually(SHOWN, &format!("{} shows no leader, and {ids:?} silent", node.id), async || {
        let view = node.try_get("/api/cluster").await?.success()?;
        let silent = who(&view["nodes"], "status", "INACTIVE");
        if silent == ids && view["leaderId"].is_null() { Ok(()) } else { Err(view.to_string()) }
    })
    .await;

    // The picture, asked and streamed.
    let asked = node.get("/api/cluster").await;
    assert_eq!(asked.header("x-jettra-leader"), None);
    assert_ne!(asked.header("x-jettra-role").as_deref(), Some("LEADER"));
    let votes = json!({ "voters": voters, "active": 1, "majority": voters / 2 + 1, "failureTolerance": 0 });
    for view in [asked.ok(), streamed(node).await.unwrap()] {
        assert!(view["leaderId"].is_null() && view["leaderUrl"].is_null(), "{view}");
        assert_ne!(view["state"], "LEADER", "{view}");
        assert_eq!((&view["failureTolerance"], &view["quorum"]), (&json!(0), &votes), "{view}");
        assert_eq!(who(&view["nodes"], "status", "INACTIVE"), ids, "{view}");
        assert_eq!(who(&view["nodes"], "status", "ACTIVE"), [node.id.as_str()], "{view}");
        assert_eq!(who(&view["nodes"], "role", "LEADER"), [""; 0], "{view}");
    }

    // What old clients read; a script looks for the text.
    for path in ["/api/federated", "/federated/status"] {
        let answer = node.get(path).await;
        for dead in dead {
            let text = format!(r#""url":"{}","status":"INACTIVE""#, dead.url());
            assert!(answer.body.contains(&text), "{}", answer.shown());
        }
        let told = answer.ok();
        assert!(told["leaderId"].is_null() && told["raftLeaderId"].is_null(), "{told}");
        assert!(told["raftLeaderUrl"].is_null() && told["isFederatedLeader"] == false, "{told}");
        assert_ne!(told["raftState"], "LEADER", "{told}");
        assert_eq!((&told["raftActivePeers"], &told["raftQuorum"]), (&json!(1), &json!(voters / 2 + 1)), "{told}");
        assert_eq!(who(&told["nodes"], "role", "LEADER"), [""; 0], "{told}");
        for dead in dead {
            let entry = told["nodes"].as_array().unwrap().iter().find(|entry| entry["id"] == dead.id.as_str()).unwrap();
            let seen = entry["lastSeen"].as_u64().unwrap();
            let is_past = seen + 2_000 < now_ms() && seen > now_ms() - 120_000;
            assert!(if has_heard { is_past } else { seen == 0 }, "{entry}");
            assert_eq!(told["raftPeerStates"][dead.url()], "INACTIVE", "{told}");
            assert_eq!(told["raftPeerIds"][dead.url()], dead.id.as_str(), "{told}");
            assert_eq!(told["raftPeerLastSeen"][dead.url()], seen, "{told}");
        }
    }
    for path in ["/api/federated/node-leader", "/federated/node-leader"] {
        node.get(path).await.error("not_found");
    }

    // The members' documents, in each way that reads them.
    let stored = documents(node).await.unwrap();
    for docs in [&stored, &node.get("/raft/rpc/status").await.ok()] {
        assert_eq!(who(docs, "status", "INACTIVE"), ids, "{docs}");
        assert_eq!(who(docs, "role", "LEADER"), [""; 0], "{docs}");
    }
    for dead in dead {
        let path = format!("/api/doc?db=_system&col=_clusternodes&consistency=local&id={}", dead.id);
        assert_eq!(node.get(&path).await.ok()["status"], "INACTIVE");
        let text = format!(r#""url":"{}","status":"INACTIVE""#, dead.url());
        assert!(node.get("/api/cluster").await.body.contains(&text));
    }

    // Nobody is sent to a dead leader.
    let refused = node.post("/api/doc?db=shop&col=users&forward=false&timeout=1", "{}").await;
    assert!(["no_leader", "timeout"].contains(&refused.error_code().as_str()), "{}", refused.shown());

    // Probe, doctor and metrics.
    let ready = node.get("/readyz").await;
    let error = ready.error("unavailable");
    let said = error["message"].as_str().unwrap();
    assert!(said.contains("[-] leader: none") && said.contains(&format!("1 of {voters} voters")), "{said}");
    let told = node.get("/api/cluster/doctor").await.ok();
    let first = told["findings"][0]["what"].as_str().unwrap_or_default();
    assert!(first.starts_with("there is no majority"), "{told}");
    let metrics = node.get("/metrics").await.body;
    assert!(metrics.contains("jettra_raft_state{state=\"leader\"} 0\n"), "{metrics}");
}

/// Everything shows one leader, and everybody ACTIVE.
async fn shows_all_well(cluster: &Cluster) {
    cluster.settled().await;
    for node in &cluster.nodes {
        eventually(LIMIT, &format!("{} shows that all is well", node.id), async || {
            let (ready, told) = (node.try_get("/readyz").await?, node.try_get("/api/federated").await?.success()?);
            let docs = documents(node).await?;
            let leader = node.try_get("/federated/node-leader").await?.success()?;
            let all = cluster.nodes.len();
            let well = ready.status == 200
                && who(&told["nodes"], "status", "ACTIVE").len() == all
                && who(&docs, "status", "ACTIVE").len() == all
                && who(&docs, "role", "LEADER") == [leader["id"].as_str().unwrap()]
                && told["isFederatedLeader"] == (told["raftSelfId"] == leader["id"])
                && told["raftActivePeers"] == all;
            if well { Ok(()) } else { Err(format!("{} {told} {docs}", ready.shown())) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_die_and_the_one_that_is_left_says_so() {
    let mut cluster = Cluster::start(3).await;
    // Once a follower is left, once the leader, which nobody deposes.
    for leader_dies in [true, false] {
        let leader = cluster.leader().await;
        let survivor = if leader_dies { cluster.followers().await[0] } else { leader };
        let dead: Vec<usize> = (0..3).filter(|place| *place != survivor).collect();
        dead.iter().for_each(|place| cluster.nodes[*place].kill());
        let gone: Vec<&Node> = dead.iter().map(|place| &cluster.nodes[*place]).collect();
        shows_no_leader(&cluster.nodes[survivor], &gone, true).await;

        // Only one comes back: that makes a majority, and the third stays silent.
        cluster.nodes[dead[0]].start().await;
        let third = cluster.nodes[dead[1]].id.clone();
        for place in [survivor, dead[0]] {
            eventually(LIMIT, "there is a leader again, and one is silent", async || {
                let view = cluster.nodes[place].try_get("/api/cluster").await?.success()?;
                let silent = who(&view["nodes"], "status", "INACTIVE");
                let well = silent == [third.as_str()] && view["leaderId"].is_string() && view["failureTolerance"] == 0;
                if well { Ok(()) } else { Err(view.to_string()) }
            })
            .await;
        }
        cluster.nodes[dead[1]].start().await;
        shows_all_well(&cluster).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_hang_and_answer_again() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    for survivor in [leader, cluster.followers().await[0]] {
        let hang: Vec<&Node> = cluster
            .nodes
            .iter()
            .filter(|node| node.id != cluster.nodes[survivor].id)
            .inspect(|node| node.pause())
            .collect();
        shows_no_leader(&cluster.nodes[survivor], &hang, true).await;
        hang.iter().for_each(|node| node.resume());
        shows_all_well(&cluster).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_comes_back_alone_has_heard_nobody() {
    let mut cluster = Cluster::start(3).await;
    // Once as it led, once as it followed.
    for led in [true, false] {
        let leader = cluster.leader().await;
        let back = if led { leader } else { cluster.followers().await[0] };
        cluster.nodes.iter_mut().for_each(Node::kill);
        cluster.nodes[back].start().await;
        let gone: Vec<&Node> = cluster.nodes.iter().filter(|node| !node.is_running()).collect();
        shows_no_leader(&cluster.nodes[back], &gone, false).await;
        for node in cluster.nodes.iter_mut().filter(|node| !node.is_running()) {
            node.launch();
        }
        shows_all_well(&cluster).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_is_killed_and_an_old_script_finds_it_inactive() {
    let mut cluster = Cluster::start(2).await;
    for kills_leader in [false, true] {
        let leader = cluster.leader().await;
        let victim = if kills_leader { leader } else { 1 - leader };
        let url = cluster.nodes[victim].url();
        cluster.nodes[victim].kill();
        // As the script does it: a look each second.
        let expected = format!(r#""url":"{url}","status":"INACTIVE""#);
        eventually(SHOWN, "the script finds the node INACTIVE", async || {
            let told = cluster.nodes[1 - victim].try_get("/api/federated").await?;
            if told.body.contains(&expected) { Ok(()) } else { Err(told.shown()) }
        })
        .await;
        shows_no_leader(&cluster.nodes[1 - victim], &[&cluster.nodes[victim]], true).await;
        cluster.nodes[victim].start().await;
        shows_all_well(&cluster).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_shows_when_a_dead_one_was_heard_last() {
    let mut cluster = Cluster::start(3).await;
    let victim = cluster.followers().await[0];
    let id = cluster.nodes[victim].id.clone();
    let before = now_ms();
    cluster.nodes[victim].kill();
    let killed = now_ms();
    for place in [cluster.followers().await[0], cluster.leader().await] {
        let node = &cluster.nodes[place];
        let entry = async || {
            let told = node.try_get("/api/federated").await?.success()?;
            let entry = told["nodes"].as_array().unwrap().iter().find(|entry| entry["id"] == id.as_str()).cloned();
            Ok::<_, String>(entry.unwrap())
        };
        let first = eventually(SHOWN, "the dead one is INACTIVE", async || {
            let entry = entry().await?;
            if entry["status"] == "INACTIVE" { Ok(entry) } else { Err(entry.to_string()) }
        })
        .await;
        let seen = first["lastSeen"].as_u64().unwrap();
        // What was sent just before may be counted as heard at most this much later.
        assert!(seen >= before - 2_000 && seen <= killed + 1_000, "{first}, killed at {killed}");
        let told = node.get("/api/cluster").await.ok();
        let member = told["nodes"].as_array().unwrap().iter().find(|member| member["id"] == id.as_str()).unwrap();
        assert!(member["lastContactMs"].as_u64() >= Some(2_000), "{told}");
        assert_eq!((node.get("/readyz").await.status, &told["failureTolerance"]), (200, &json!(0)));
        // The living are heard now.
        let told = node.get("/api/federated").await.ok();
        for living in told["nodes"].as_array().unwrap().iter().filter(|entry| entry["id"] != id.as_str()) {
            assert!(living["lastSeen"].as_u64().unwrap() + 5_000 > now_ms(), "{living}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_voter_counts_everywhere() {
    let cluster = Cluster::start(3).await;
    let paused = cluster.nodes[cluster.followers().await[0]].id.clone();
    cluster.nodes[0].post("/api/cluster/pause", json!({ "node": paused })).await.ok();
    for node in &cluster.nodes {
        eventually(LIMIT, "it is shown as paused", async || {
            let view = node.try_get("/api/cluster").await?.success()?;
            if who(&view["nodes"], "status", "PAUSED") == [paused.as_str()] { Ok(()) } else { Err(view.to_string()) }
        })
        .await;
        let (view, told) = (node.get("/api/cluster").await.ok(), node.get("/api/federated").await.ok());
        assert_eq!((&view["quorum"]["active"], &view["failureTolerance"]), (&json!(3), &json!(1)), "{view}");
        assert_eq!(told["raftActivePeers"], 3, "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_paths_and_figures_of_old_are_there() {
    let mut cluster = Cluster::start(2).await;
    let third = cluster.add("node3", common::member_config("node3", false));
    third.start().await;
    let url = third.url();
    for node in &cluster.nodes[..2] {
        assert_eq!(node.get("/federated/status").await.ok()["raftQuorum"], 2);
        node.get("/federated/node-leader").await.ok();
        let machine = node.get("/api/metrics").await.ok();
        for key in ["ramTotal", "ramUsed", "ramFree", "diskTotal", "diskUsed", "diskFree"] {
            let text = machine[format!("{key}Str")].as_str().unwrap();
            let (number, unit) = text.split_once(' ').unwrap();
            assert!(number.parse::<f64>().is_ok() && ["B", "KB", "MB", "GB", "TB"].contains(&unit), "{text}");
        }
        for key in ["cpuUsage", "ramUsage", "diskUsage"] {
            let percent = machine[key].as_f64().unwrap();
            assert!((percent * 10.0 - (percent * 10.0).round()).abs() < 1e-6, "{key}: {percent}");
        }
    }
    // On any node, with the bodies of register, deregister and stop.
    let answer = cluster.nodes[1].post("/federated/addPeer", json!({ "url": url })).await.ok();
    assert_eq!(answer["status"], "registered", "{answer}");
    let answer = cluster.nodes[1].post("/federated/removePeer", json!({ "url": url })).await.ok();
    assert_eq!(answer, json!({ "status": "deregistered" }));
    cluster.nodes.pop();
    let follower = cluster.followers().await[0];
    let port = format!("localhost:{}", cluster.nodes[follower].port);
    let at = &cluster.nodes[1 - follower];
    for call in ["pause", "resume"] {
        at.post(&format!("/api/cluster/{call}"), json!({ "node": port })).await.ok();
    }
    let answer = at.post("/federated/stop", json!({ "node": port, "force": true })).await.ok();
    assert_eq!(answer, json!({ "status": "stop_sent" }));
    assert_eq!(cluster.nodes[follower].ended(10 * SECOND).await.code(), Some(0));

    // A password and then none.
    let mut alone = Node::standalone(json!({ "AdminPassword": "an-old-secret" })).await;
    let body = json!({ "username": "admin", "password": "an-old-secret" });
    let token = eventually(LIMIT, "the password is in force", async || {
        alone.try_post("/federated/login", &body).await?.success()
    })
    .await;
    alone.get("/federated/status").await.error("unauthorized");
    alone.post("/federated/stop", json!({ "node": "alone" })).await.error("unauthorized");
    // A page of another site reaches none of them.
    let foreign = alone.request("POST", "/federated/login").header("Origin", "http://evil.example");
    alone.send(foreign.body(body.to_string())).await.error("forbidden");

    // A standalone node is stopped by its id, URL or host:port, and by no other.
    alone.authorize(token["token"].as_str().unwrap());
    alone.get("/federated/status").await.ok();
    let named = format!("localhost:{}", alone.port);
    alone.post("/api/cluster/stop", json!({ "node": "localhost:1" })).await.error("not_found");
    let plan = alone.post("/api/cluster/stop?dry_run=true", json!({ "node": named })).await.ok();
    assert_eq!(plan["allowed"], true, "{plan}");
    assert!(!alone.has_ended());
    assert_eq!(alone.post("/api/cluster/stop", json!({ "node": named })).await.ok()["status"], "stop_sent");
    assert_eq!(alone.ended(10 * SECOND).await.code(), Some(0));
}

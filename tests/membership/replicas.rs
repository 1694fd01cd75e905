use std::time::Duration;

use serde_json::{Value, json};

use crate::common::{Cluster, LIMIT, Node, eventually, member_config, run_to_end};
use crate::story::{Story, act, command_in, document, documents, ends_well, paste, says_removed, within};

const FOUR: [&str; 4] = ["node1 ACTIVE", "node2 ACTIVE", "node3 ACTIVE", "node4 ACTIVE replica"];

/// The same members, but for this one, which stands so.
fn but<'a>(all: &[&'a str], id: &str, stands: &'a str) -> Vec<&'a str> {
    all.iter().map(|member| if member.starts_with(id) { stands } else { member }).collect()
}

/// A newcomer becomes a replica, registered at `node1`.
async fn joins_as_replica(story: &mut Story, id: &str) {
    let url = story.newcomer(id).await.url();
    let body = json!({ "url": url, "voter": false });
    let at = story.node("node1");
    let plan = at.post("/api/cluster/register?dry_run=true", &body).await.ok();
    assert_eq!((&plan["allowed"], &plan["before"]), (&json!(true), &plan["after"]), "it counts for nothing: {plan}");
    let answer = act(at, "register", body).await.ok();
    assert_eq!(answer["status"], "registered", "{answer}");
    assert_eq!((&answer["node"]["role"], &answer["node"]["voter"]), (&json!("REPLICA"), &json!(false)), "{answer}");
}

/// Waits until a node counts the votes so.
async fn votes(node: &Node, voters: u64, active: u64) -> Value {
    eventually(within(), &format!("{} counts {active} of {voters}", node.id), async || {
        let view = node.try_get("/api/cluster").await?.success()?;
        let quorum = &view["quorum"];
        if quorum["voters"] == voters && quorum["active"] == active { Ok(view) } else { Err(view.to_string()) }
    })
    .await
}

async fn finds(node: &Node, what: &str) {
    eventually(LIMIT, &format!("the doctor at {} says {what:?}", node.id), async || {
        let told = node.try_get("/api/cluster/doctor").await?.success()?.to_string();
        if told.contains(what) { Ok(()) } else { Err(told) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_gets_everything_and_counts_for_nothing() {
    let mut story = Story::of(3).await;
    joins_as_replica(&mut story, "node4").await;
    story.stands(&FOUR).await;
    let url = story.node("node4").url();

    // It takes writes, and serves reads of both kinds from its own state.
    let replica = story.node("node4");
    let saved = replica.post("/api/doc?db=shop&col=users", json!({ "_id": "ann" })).await;
    let rev = saved.ok()["rev"].as_u64().unwrap();
    for how in ["consistency=linearizable".to_owned(), format!("consistency=local&min_index={rev}")] {
        let read = replica.get(&format!("/api/doc?db=shop&col=users&id=ann&{how}")).await;
        assert_eq!((read.ok()["_id"].as_str(), read.header("x-jettra-node").as_deref()), (Some("ann"), Some("node4")));
    }
    let refused = replica.post("/api/doc?db=shop&col=users&forward=false", json!({ "_id": "bob" })).await;
    refused.error("not_leader");

    // Every node shows it as what it is; clients of old see a follower.
    for node in &story.cluster.nodes {
        let view = votes(node, 3, 3).await;
        assert_eq!(view["failureTolerance"], 1, "{view}");
        let shown = view["nodes"].as_array().unwrap().iter().find(|shown| shown["id"] == "node4").unwrap();
        assert_eq!((&shown["role"], &shown["voter"]), (&json!("REPLICA"), &json!(false)), "{view}");
        assert_eq!(document(node, "node4").await.unwrap()["role"], "FOLLOWER");
        let old = node.get("/api/federated").await.ok();
        let shown = old["nodes"].as_array().unwrap().iter().find(|shown| shown["id"] == "node4").unwrap();
        assert_eq!((&shown["role"], &shown["status"]), (&json!("FOLLOWER"), &json!("ACTIVE")), "{old}");
        assert_eq!((&old["raftQuorum"], &old["raftActivePeers"]), (&json!(2), &json!(3)), "{old}");
        assert_eq!(node.get("/readyz").await.status, 200);
    }
    // Nothing is wrong with it; a busy machine's disk may be slow.
    let told = story.node("node4").get("/api/cluster/doctor").await.ok().to_string();
    for wrong in ["has been joining", "no tolerance left", "silent", "behind"] {
        assert!(!told.contains(wrong), "{told}");
    }

    // Registered again it stays what it is; who wants something else is told the command.
    let again = act(story.node("node2"), "register", json!({ "url": url })).await.ok();
    assert_eq!((&again["status"], &again["node"]["role"]), (&json!("registered"), &json!("REPLICA")), "{again}");
    for (at, voter, call) in [(&url, true, "promote"), (&story.node("node3").url(), false, "demote")] {
        let error = act(story.node("node1"), "register", json!({ "url": at, "voter": voter })).await.error("conflict");
        assert!(error["message"].as_str().unwrap().contains(&format!("/api/cluster/{call}")), "{error}");
    }
    // It is not given leadership.
    let error = act(story.leader().await, "transfer", json!({ "node": "node4" })).await.error("conflict");
    assert!(error["message"].as_str().unwrap().contains("does not vote"), "{error}");

    // Its loss costs no tolerance, and it comes back as what it was.
    story.node_mut("node4").kill();
    story.stands(&but(&FOUR, "node4", "node4 INACTIVE replica")).await;
    let leader = story.leader().await;
    assert_eq!(votes(leader, 3, 3).await["failureTolerance"], 1);
    finds(leader, "node4, a read replica").await;
    let safe = leader.get("/api/cluster/safe-to-stop?node=node3").await.ok();
    assert_eq!(safe["safe"], true, "{safe}");
    story.node_mut("node4").start().await;
    story.stands(&FOUR).await;

    // Paused, resumed and stopped, which costs nothing.
    act(story.node("node4"), "pause", json!({ "node": "node4" })).await.ok();
    story.stands(&but(&FOUR, "node4", "node4 PAUSED replica")).await;
    act(story.node("node4"), "resume", json!({ "node": "node4" })).await.ok();
    let stopped = act(story.node("node4"), "stop", json!({ "node": "node4" })).await.ok();
    assert_eq!(stopped, json!({ "status": "stop_sent" }));
    ends_well(story.node_mut("node4")).await;
    story.node_mut("node4").start().await;
    story.stands(&FOUR).await;

    // It comes back at another port, and is found there.
    story.node_mut("node4").kill();
    story.node_mut("node4").move_port();
    story.node_mut("node4").start().await;
    let url = story.node("node4").url();
    eventually(LIMIT, "the replica is found where it is", async || {
        let doc = document(story.leader().await, "node4").await?;
        if doc["url"] == url.as_str() { Ok(()) } else { Err(doc.to_string()) }
    })
    .await;
    story.stands(&FOUR).await;

    // A voter less is one vote less, though the replica is there.
    let dead = story.follower_but("node4").await;
    story.node_mut(&dead).kill();
    let silent = format!("{dead} INACTIVE");
    story.stands(&but(&FOUR, &dead, &silent)).await;
    assert_eq!(votes(story.node("node4"), 3, 2).await["failureTolerance"], 0);
    let other = story.follower_but("node4").await;
    act(story.leader().await, "stop", json!({ "node": other })).await.error("quorum_at_risk");
    finds(story.node("node4"), "no tolerance left").await;
    story.node_mut(&dead).start().await;
    story.stands(&FOUR).await;

    // Removed, it knows it.
    let answer = act(story.node("node4"), "deregister", json!({ "node": "node4" })).await.ok();
    assert_eq!(answer["status"], "deregistered");
    story.stands(&FOUR[..3]).await;
    says_removed(story.node("node4")).await;
    story.forget("node4");
    story.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_voter_and_two_replicas_have_one_vote() {
    let mut story = Story::of(1).await;
    for id in ["node2", "node3"] {
        joins_as_replica(&mut story, id).await;
    }
    let all = ["node1 ACTIVE", "node2 ACTIVE replica", "node3 ACTIVE replica"];
    story.stands(&all).await;
    act(story.node("node2"), "demote", json!({ "node": "node1" })).await.error("quorum_at_risk");
    story.node("node3").post("/api/doc?db=shop&col=users", json!({ "_id": "ann" })).await.ok();
    story.node("node2").get("/api/doc?db=shop&col=users&id=ann").await.ok();
    story.node_mut("node1").kill();
    // Nobody is elected, and local reads go on.
    for id in ["node2", "node3"] {
        let node = story.node(id);
        eventually(within(), "nobody leads", async || {
            let (view, ready) = (node.try_get("/api/cluster").await?.success()?, node.try_get("/readyz").await?);
            let shown = view["nodes"].to_string();
            let told = view["leaderId"].is_null() && shown.contains("INACTIVE") && !shown.contains("LEADER");
            if told && ready.status == 503 { Ok(()) } else { Err(format!("{view} {}", ready.shown())) }
        })
        .await;
        node.get("/api/doc?db=shop&col=users&id=ann&consistency=local").await.ok();
        node.get("/api/doc?db=shop&col=users&id=ann&timeout=1").await.error("no_leader");
    }
    story.node_mut("node1").start().await;
    story.stands(&all).await;
    story.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_are_promoted_and_voters_demoted() {
    let mut story = Story::of(3).await;
    joins_as_replica(&mut story, "node4").await;
    for call in ["promote", "demote"] {
        act(story.node("node2"), call, json!({ "node": "node9" })).await.error("not_found");
        story.node("node2").post(&format!("/api/cluster/{call}"), "{}").await.error("bad_request");
    }
    // One that is not heard cannot be promoted: its vote would be needed and not come.
    story.node_mut("node4").kill();
    story.stands(&but(&FOUR, "node4", "node4 INACTIVE replica")).await;
    let error = act(story.node("node1"), "promote", json!({ "node": "node4" })).await.error("conflict");
    assert!(error["next"].as_str().unwrap().contains("start node4"), "{error}");
    story.node_mut("node4").start().await;
    story.stands(&FOUR).await;

    // Asked of itself, by its URL; and once more, which changes nothing.
    let url = story.node("node4").url();
    for _ in 0..2 {
        let answer = act(story.node("node4"), "promote", json!({ "node": url })).await.ok();
        assert_eq!(answer, json!({ "status": "promoted" }));
    }
    let all = ["node1 ACTIVE", "node2 ACTIVE", "node3 ACTIVE", "node4 ACTIVE"];
    story.stands(&all).await;
    votes(story.node("node2"), 4, 4).await;

    // The leader hands over first.
    let leader = story.leader().await.id.clone();
    for _ in 0..2 {
        let answer = act(story.node(&leader), "demote", json!({ "node": leader })).await.ok();
        assert_eq!(answer, json!({ "status": "demoted" }));
    }
    let replica = format!("{leader} ACTIVE replica");
    let three = but(&all, &leader, &replica);
    story.stands(&three).await;
    assert_ne!(story.leader().await.id, leader);
    votes(story.node(&leader), 3, 3).await;
    story.node_mut(&leader).restart().await;
    story.stands(&three).await;

    // Down to where the rest would have no majority.
    let second = story.follower_but(&leader).await;
    act(story.node(&second), "demote", json!({ "node": second })).await.ok();
    let replica = format!("{second} ACTIVE replica");
    let two = but(&three, &second, &replica);
    story.stands(&two).await;
    let voter = two.iter().filter(|member| !member.contains("replica")).map(|member| member.split(' ').next().unwrap());
    let voters: Vec<&str> = voter.collect();
    let leads = story.leader().await.id.clone();
    let dead = voters.iter().find(|id| **id != leads).unwrap().to_string();
    story.node_mut(&dead).pause();
    let body = json!({ "node": leads });
    eventually(within(), "the silence is noticed", async || {
        let plan = story.node(&second).try_post("/api/cluster/demote?dry_run=true", &body).await?.success()?;
        if plan["allowed"] == false { Ok(()) } else { Err(plan.to_string()) }
    })
    .await;
    let error = act(story.node(&second), "demote", json!({ "node": leads })).await.error("quorum_at_risk");
    assert!(!error["message"].as_str().unwrap().contains("force"), "nobody could finish it: {error}");
    story.node_mut(&dead).resume();
    story.stands(&two).await;
    act(story.node(&leads), "demote", json!({ "node": dead })).await.ok();
    let error = act(story.node(&leads), "demote", json!({ "node": leads })).await.error("quorum_at_risk");
    assert!(error["message"].as_str().unwrap().contains("it is the last one"), "{error}");

    // A restart of all changes nothing; the way back is a command in a refusal.
    for node in &mut story.cluster.nodes {
        node.kill();
    }
    for node in &mut story.cluster.nodes {
        node.launch();
    }
    let shown: Vec<String> = all
        .map(|member| if member.starts_with(&leads) { member.to_owned() } else { format!("{member} replica") })
        .into();
    let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
    story.stands(&shown).await;
    let refused = act(story.node(&leads), "transfer", json!({ "node": dead })).await.error("conflict");
    assert_eq!(paste(command_in(refused["next"].as_str().unwrap())).await["status"], "promoted");
    let back = format!("{dead} ACTIVE");
    story.stands(&but(&shown, &dead, &back)).await;
    act(story.node(&leads), "transfer", json!({ "node": dead })).await.ok();
    story.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demotion_whose_leader_dies_ends_one_way_or_the_other() {
    let mut story = Story::of(3).await;
    let mut demoted = 0;
    for round in 0..4 {
        let (leader, target) = (story.leader().await.id.clone(), story.follower().await.id.clone());
        let request = story.node(&leader).request("POST", "/api/cluster/demote");
        let asked = tokio::spawn(request.body(json!({ "node": target }).to_string()).send());
        // As soon as the wish is written, or a little later: between any two of the steps that follow, as it comes.
        let written = async { while document(story.node(&leader), &target).await.unwrap()["replica"] != true {} };
        tokio::time::timeout(LIMIT, written).await.expect("the demotion begins");
        tokio::time::sleep(Duration::from_millis(6 * round)).await;
        story.node_mut(&leader).kill();
        asked.await.unwrap().ok();
        story.node_mut(&leader).start().await;
        let replica = eventually(LIMIT, "the member is the one or the other, and a member", async || {
            let doc = document(story.leader().await, &target).await?;
            let replica = doc["replica"] == true;
            if doc["voter"] == json!(!replica) { Ok(replica) } else { Err(doc.to_string()) }
        })
        .await;
        // What the next leader knows of the wish it carries out.
        println!("round {round}: {}", if replica { "demoted" } else { "not demoted" });
        demoted += u32::from(replica);
        if replica {
            act(story.leader().await, "promote", json!({ "node": target })).await.ok();
        }
        story.stands(&FOUR[..3]).await;
    }
    assert!(demoted > 0, "no demotion was begun");
    story.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_configuration_says_so_joins_as_a_replica() {
    let mut cluster = Cluster::unregistered_in_company(|number| {
        (number <= 3).then(|| member_config(&format!("node{number}"), number == 1))
    })
    .await;
    cluster.nodes[0].start().await;
    let peers = json!([cluster.nodes[0].url()]);
    for place in [1, 2] {
        cluster.nodes[place].configure("Peers", peers.clone());
    }
    cluster.nodes[2].configure("Voter", false);
    cluster.nodes[1].start().await;
    cluster.nodes[2].start().await;
    let shown = async |role: &str| {
        eventually(LIMIT, &format!("node3 is {role}"), async || {
            let view = cluster.nodes[0].try_get("/api/cluster").await?.success()?;
            let nodes = view["nodes"].as_array().cloned().unwrap_or_default();
            let is = |id: &str, role: &str| nodes.iter().any(|node| node["id"] == id && node["role"] == role);
            if is("node2", "FOLLOWER") && is("node3", role) { Ok(view) } else { Err(view.to_string()) }
        })
        .await
    };
    assert_eq!(shown("REPLICA").await["quorum"]["voters"], 2);
    // What it was told later counts, whatever its configuration says.
    cluster.nodes[0].post("/api/cluster/promote", json!({ "node": "node3" })).await.ok();
    assert_eq!(shown("FOLLOWER").await["quorum"]["voters"], 3);
    cluster.nodes[2].restart().await;
    eventually(LIMIT, "it is back and votes", async || {
        let docs = documents(&cluster.nodes[2]).await?;
        let votes = docs.iter().filter(|doc| doc["voter"] == true && doc["status"] == "ACTIVE").count();
        if votes == 3 { Ok(()) } else { Err(format!("{docs:?}")) }
    })
    .await;
    // One that begins a cluster votes.
    let dir = tempfile::tempdir().unwrap();
    let refused = run_to_end(dir.path(), &["--distributed", "--bootstrap", "--voter=false"]).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
    assert!(!refused.status.success() && said.contains("a node that begins a cluster votes"), "{said}");
}

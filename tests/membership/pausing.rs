use serde_json::json;

use crate::common::{Cluster, LIMIT, eventually};
use crate::story::{Story, act, command_in, document, paste, within};

#[tokio::test(flavor = "multi_thread")]
async fn members_are_paused_and_resumed() {
    let mut story = Story::of(3).await;
    let all = ["node1 ACTIVE", "node2 ACTIVE", "node3 ACTIVE"];
    let with = |id: &str, status: &str| all.map(|m| m.replace(&format!("{id} ACTIVE"), &format!("{id} {status}")));
    for call in ["pause", "resume"] {
        act(story.node("node2"), call, json!({ "node": "node9" })).await.error("not_found");
    }

    // A follower, twice.
    let follower = story.follower().await.id.clone();
    for _ in 0..2 {
        let answer = act(story.node("node1"), "pause", json!({ "node": follower })).await.ok();
        assert_eq!(answer, json!({ "status": "paused" }));
        story.stands(&with(&follower, "PAUSED").each_ref().map(String::as_str)).await;
    }
    // It is handed no leadership.
    let error = act(story.node("node1"), "transfer", json!({ "node": follower })).await.error("conflict");
    assert!(error["message"].as_str().unwrap().contains("is paused"), "{error}");
    assert_eq!(paste(command_in(error["next"].as_str().unwrap())).await["status"], "resumed");
    story.stands(&all).await;
    let answer = act(story.node("node1"), "transfer", json!({ "node": follower })).await.ok();
    assert_eq!(answer, json!({ "status": "transferred", "leaderId": follower }));
    story.stands(&all).await;

    // The leader: it hands over first, and is not elected again until it is resumed.
    let leader = story.leader().await.id.clone();
    assert_eq!(act(story.node(&leader), "pause", json!({ "node": leader })).await.ok()["status"], "paused");
    story.stands(&with(&leader, "PAUSED").each_ref().map(String::as_str)).await;
    assert_ne!(story.leader().await.id, leader);
    for _ in 0..2 {
        assert_eq!(act(story.node(&leader), "resume", json!({ "node": leader })).await.ok()["status"], "resumed");
        story.stands(&all).await;
    }

    // One that is away: paused when it is back, after all that it missed.
    let away = story.follower().await.id.clone();
    story.node_mut(&away).kill();
    assert_eq!(act(story.leader().await, "pause", json!({ "node": away })).await.ok()["status"], "paused");
    story.stands(&with(&away, "INACTIVE").each_ref().map(String::as_str)).await;
    story.node_mut(&away).start().await;
    story.stands(&with(&away, "PAUSED").each_ref().map(String::as_str)).await;
    assert_eq!(act(story.leader().await, "resume", json!({ "node": away })).await.ok()["status"], "resumed");
    story.stands(&all).await;
    story.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_node_is_never_elected_also_after_its_restart() {
    let mut story = Story::of(3).await;
    let paused = story.follower().await.id.clone();
    act(story.node("node1"), "pause", json!({ "node": paused })).await.ok();
    for restart in [false, true] {
        if restart {
            story.node_mut(&paused).restart().await;
        }
        let leader = story.leader().await.id.clone();
        let third = ["node1", "node2", "node3"].into_iter().find(|id| *id != leader && *id != paused).unwrap();
        let status = |id: &str| match id {
            id if id == paused => format!("{id} PAUSED"),
            id => format!("{id} ACTIVE"),
        };
        let all = ["node1", "node2", "node3"].map(status);
        story.stands(&all.each_ref().map(String::as_str)).await;
        story.node_mut(&leader).kill();
        // What was acknowledged last may be on the paused node alone of the two: then it leads until the third has it.
        eventually(LIMIT, "the third node leads", async || {
            let new = story.cluster.leader_other_than(place(&story.cluster, &leader)).await;
            let id = story.cluster.nodes[new].id.clone();
            if id == third { Ok(()) } else { Err(format!("{id} leads")) }
        })
        .await;
        story.writers.go_on(10).await;
        story.node_mut(&leader).start().await;
        story.stands(&all.each_ref().map(String::as_str)).await;
    }

    // Alone with another one that goes: no leader, rather than this one; and one again as soon as it is resumed.
    let leader = story.leader().await.id.clone();
    let third = ["node1", "node2", "node3"].into_iter().find(|id| *id != leader && *id != paused).unwrap();
    story.node_mut(third).kill();
    story.node_mut(&leader).restart().await;
    story.writers.go_on(10).await;
    // The paused one may have to lead until the other has what was acknowledged.
    eventually(LIMIT, "the one that is not paused leads", async || {
        let id = story.leader().await.id.clone();
        if id == leader { Ok(()) } else { Err(format!("{id} leads")) }
    })
    .await;
    story.node_mut(third).start().await;
    act(story.leader().await, "resume", json!({ "node": paused })).await.ok();
    story.stands(&["node1 ACTIVE", "node2 ACTIVE", "node3 ACTIVE"]).await;
    story.ends().await;
}

fn place(cluster: &Cluster, id: &str) -> usize {
    cluster.nodes.iter().position(|node| node.id == id).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_node_that_alone_has_what_was_acknowledged_hands_it_on() {
    let mut story = Story::of(3).await;
    let leader = story.leader().await.id.clone();
    let others: Vec<&str> = ["node1", "node2", "node3"].into_iter().filter(|id| *id != leader).collect();
    let (paused, third) = (others[0].to_owned(), others[1].to_owned());
    act(story.node(&leader), "pause", json!({ "node": paused })).await.ok();
    story.node(&third).pause();
    let saved = story.node(&leader).post("/api/doc?db=proof&col=last", r#"{"_id":"last"}"#).await;
    saved.ok();
    story.node_mut(&leader).kill();
    story.node(&third).resume();
    eventually(LIMIT, "the third node leads", async || {
        let leader = story.node(&third).try_get("/api/cluster").await?.success()?["leaderId"].clone();
        if leader == third.as_str() { Ok(()) } else { Err(format!("{leader} leads")) }
    })
    .await;
    story.node(&third).get("/api/doc?db=proof&col=last&id=last").await.ok();
    story.node_mut(&leader).start().await;
    let stands =
        ["node1", "node2", "node3"].map(|id| format!("{id} {}", if id == paused { "PAUSED" } else { "ACTIVE" }));
    story.stands(&stands.each_ref().map(String::as_str)).await;
    story.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_majority_that_is_paused_can_be_resumed() {
    let mut story = Story::of(3).await;
    let leader = story.leader().await.id.clone();
    let paused: Vec<String> =
        ["node1", "node2", "node3"].into_iter().filter(|id| *id != leader).map(str::to_owned).collect();
    for id in &paused {
        act(story.node(&leader), "pause", json!({ "node": id })).await.ok();
    }
    story.node_mut(&leader).kill();
    eventually(LIMIT, "one of those that are left leads, though it is paused", async || {
        let view = story.node(&paused[0]).try_get("/api/cluster").await?.success()?;
        if paused.iter().any(|id| view["leaderId"] == id.as_str()) { Ok(()) } else { Err(view["leaderId"].to_string()) }
    })
    .await;
    for id in &paused {
        act(story.node(&paused[0]), "resume", json!({ "node": id })).await.ok();
    }
    story.node_mut(&leader).start().await;
    story.stands(&["node1 ACTIVE", "node2 ACTIVE", "node3 ACTIVE"]).await;
    story.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_voter_that_may_lead_is_not_paused() {
    let story = Story::of(2).await;
    let (leader, other) = (story.leader().await.id.clone(), story.follower().await.id.clone());
    act(story.node(&leader), "pause", json!({ "node": other })).await.ok();
    for body in [json!({ "node": leader }), json!({ "node": leader, "force": true })] {
        let error = act(story.node(&other), "pause", body).await.error("quorum_at_risk");
        let message = error["message"].as_str().unwrap();
        for said in ["no voter that may lead", "2 voters", "2 are a majority", "0 can be lost", "/api/cluster/resume"] {
            assert!(message.contains(said), "{said} is missing: {message}");
        }
        assert!(!message.contains("force"), "it cannot be forced: {message}");
        assert!(document(story.node(&other), &leader).await.unwrap()["paused"].as_bool() != Some(true));
    }
    // The same for stopping and removing who alone may lead.
    for call in ["stop", "deregister"] {
        let error = act(story.node(&other), call, json!({ "node": leader })).await.error("quorum_at_risk");
        assert!(error["next"].as_str().is_some(), "{error}");
    }
    let error = act(story.node(&other), "pause", json!({ "node": leader })).await.error("quorum_at_risk");
    assert_eq!(paste(command_in(error["next"].as_str().unwrap())).await["status"], "resumed");
    eventually(within(), "it can be paused now", async || {
        story.node(&other).try_post("/api/cluster/pause", json!({ "node": leader })).await?.success()
    })
    .await;
    let status = |id: &str| if id == leader { format!("{id} PAUSED") } else { format!("{id} ACTIVE") };
    story.stands(&["node1", "node2"].map(status).each_ref().map(String::as_str)).await;
    assert_eq!(story.leader().await.id, other);
    story.ends().await;
}

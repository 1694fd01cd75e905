use serde_json::json;

use crate::common::{SECOND, eventually};
use crate::story::{Story, act, command_in, ends_well, paste, says_removed, waits};

#[tokio::test(flavor = "multi_thread")]
async fn members_are_removed() {
    let mut story = Story::of(4).await;
    let all = ["node1 ACTIVE", "node2 ACTIVE", "node3 ACTIVE", "node4 ACTIVE"];
    let without = |gone: &str| -> Vec<&str> { all.into_iter().filter(|m| !m.starts_with(gone)).collect() };

    // Nobody has this name, or this URL.
    for nobody in ["node9", "http://localhost:1", ""] {
        let answer = act(story.node("node2"), "deregister", json!({ "node": nobody })).await;
        let error = answer.error("not_found");
        assert!(error["message"].as_str().unwrap().contains("GET /api/cluster"), "{error}");
    }
    story.stands(&all).await;

    // A follower, by its URL, asked of itself. It says what became of it, and what to do.
    let follower = story.follower().await.id.clone();
    let url = story.node(&follower).url();
    let answer = act(story.node(&follower), "deregister", json!({ "url": url })).await.ok();
    assert_eq!(answer, json!({ "status": "deregistered" }));
    story.stands(&without(&follower)).await;
    says_removed(story.node(&follower)).await;
    let again = act(story.leader().await, "deregister", json!({ "node": follower })).await;
    again.error("not_found");

    // Restarted, it knows it still, disturbs nobody, and cannot be registered as it is.
    story.node_mut(&follower).restart().await;
    says_removed(story.node(&follower)).await;
    story.stands(&without(&follower)).await;
    let refused = act(story.leader().await, "register", json!({ "url": url })).await;
    let message = refused.error("conflict")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("was removed") && message.contains("remove its data directory"), "{message}");
    story.stands(&without(&follower)).await;
    // As the message says.
    let node = story.node_mut(&follower);
    node.kill();
    node.wipe();
    node.configure("Bootstrap", false);
    node.start().await;
    let answer = act(story.leader().await, "register", json!({ "url": url })).await.ok();
    assert_eq!(answer["status"], "registered", "{answer}");
    story.stands(&all).await;

    // The leader, asked of itself: it hands over first.
    let leader = story.leader().await.id.clone();
    let answer = act(story.node(&leader), "deregister", json!({ "node": leader })).await.ok();
    assert_eq!(answer["status"], "deregistered");
    story.stands(&without(&leader)).await;
    says_removed(story.node(&leader)).await;
    story.forget(&leader);
    let three = without(&leader);

    // One that is away, which hears of it when it is back.
    let away = story.follower().await.id.clone();
    story.node_mut(&away).kill();
    let answer = act(story.leader().await, "deregister", json!({ "node": away })).await.ok();
    assert_eq!(answer["status"], "deregistered");
    let two: Vec<&str> = three.iter().copied().filter(|m| !m.starts_with(&away)).collect();
    story.stands(&two).await;
    story.node_mut(&away).start().await;
    says_removed(story.node(&away)).await;
    story.stands(&two).await;
    story.forget(&away);

    // Down to one, which stays.
    let second = story.follower().await.id.clone();
    let answer = act(story.node(&second), "deregister", json!({ "node": second })).await.ok();
    assert_eq!(answer["status"], "deregistered");
    story.forget(&second);
    let last: Vec<&str> = two.iter().copied().filter(|m| !m.starts_with(&second)).collect();
    story.stands(&last).await;
    let name = story.leader().await.id.clone();
    for body in [json!({ "node": name }), json!({ "node": name, "force": true })] {
        let error = act(story.node(&name), "deregister", body).await.error("quorum_at_risk");
        assert!(error["message"].as_str().unwrap().contains("it is the last one"), "{error}");
        assert_eq!((&error["before"]["voters"], &error["after"]["voters"]), (&json!(1), &json!(0)), "{error}");
    }
    story.stands(&last).await;
    story.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_two_the_leader_removes_itself() {
    let mut story = Story::of(2).await;
    let leader = story.leader().await.id.clone();
    let other = story.follower().await.id.clone();
    let answer = act(story.node(&leader), "deregister", json!({ "node": leader })).await.ok();
    assert_eq!(answer["status"], "deregistered");
    story.stands(&[&format!("{other} ACTIVE")]).await;
    says_removed(story.node(&leader)).await;
    story.node_mut(&leader).restart().await;
    says_removed(story.node(&leader)).await;
    story.forget(&leader);
    story.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_a_wiped_disk_is_refused_with_the_commands_that_mend_it() {
    let mut story = Story::of(3).await;
    let wiped = story.follower().await.id.clone();
    let url = story.node(&wiped).url();
    let raft_id = crate::story::document(story.leader().await, &wiped).await.unwrap()["raftId"].clone();
    let node = story.node_mut(&wiped);
    node.kill();
    node.wipe();
    node.configure("Bootstrap", false);
    node.start().await;
    waits(story.node(&wiped)).await;

    let refused = act(story.leader().await, "register", json!({ "url": url })).await;
    let error = refused.error("conflict");
    assert_eq!(error["node"], json!(wiped), "{error}");
    let message = error["message"].as_str().unwrap();
    let member = |id: &str| if id == wiped { format!("{id} INACTIVE") } else { format!("{id} ACTIVE") };
    let members: Vec<String> = ["node1", "node2", "node3"].map(member).to_vec();
    story.stands_besides(&members, &[&wiped]).await;
    // First the command, then the same again.
    assert_eq!(paste(command_in(message)).await["status"], "deregistered");
    let answer = act(story.leader().await, "register", json!({ "url": url })).await.ok();
    assert_eq!(answer["status"], "registered", "{answer}");
    story.stands(&["node1 ACTIVE", "node2 ACTIVE", "node3 ACTIVE"]).await;
    let now = crate::story::document(story.leader().await, &wiped).await.unwrap()["raftId"].clone();
    assert_ne!(now, raft_id, "raft ids are never used again");
    story.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_stopped() {
    let mut story = Story::of(3).await;
    let all = ["node1 ACTIVE", "node2 ACTIVE", "node3 ACTIVE"];
    let with_one_inactive =
        |stopped: &str| all.map(|m| m.replace(&format!("{stopped} ACTIVE"), &format!("{stopped} INACTIVE")));
    for nobody in ["node9", "http://localhost:1"] {
        act(story.node("node2"), "stop", json!({ "node": nobody })).await.error("not_found");
        story.node("node1").get(&format!("/api/cluster/safe-to-stop?node={nobody}")).await.error("not_found");
    }

    // A follower, then the leader, each asked of itself, each back by a start.
    for leads in [false, true] {
        let id = if leads { story.leader().await.id.clone() } else { story.follower().await.id.clone() };
        let safe = story.node(&id).get(&format!("/api/cluster/safe-to-stop?node={id}")).await.ok();
        assert_eq!((&safe["safe"], &safe["after"]["active"]), (&json!(true), &json!(2)), "{safe}");
        let answer = act(story.node(&id), "stop", json!({ "node": id })).await.ok();
        assert_eq!(answer, json!({ "status": "stop_sent" }));
        ends_well(story.node_mut(&id)).await;
        story.stands(&with_one_inactive(&id).each_ref().map(String::as_str)).await;
        // It is down already: said so, and no harm.
        let again = act(story.leader().await, "stop", json!({ "node": id })).await.ok();
        assert_eq!(again, json!({ "status": "stopped_already" }));
        story.stands(&with_one_inactive(&id).each_ref().map(String::as_str)).await;
        story.node_mut(&id).start().await;
        story.stands(&all).await;
    }

    // One that was killed.
    let dead = story.follower().await.id.clone();
    story.node_mut(&dead).kill();
    let answer = act(story.leader().await, "stop", json!({ "node": dead })).await.ok();
    assert_eq!(answer, json!({ "status": "stopped_already" }));
    story.stands(&with_one_inactive(&dead).each_ref().map(String::as_str)).await;
    story.node_mut(&dead).start().await;
    story.stands(&all).await;
    story.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_one_stops_only_by_force() {
    let mut story = Story::of(1).await;
    let error = act(story.node("node1"), "stop", json!({ "node": "node1" })).await.error("quorum_at_risk");
    assert!(error["message"].as_str().unwrap().contains("\"force\":true"), "{error}");
    let unsafe_ = story.node("node1").get("/api/cluster/safe-to-stop?node=node1").await.error("quorum_at_risk");
    assert_eq!((&unsafe_["before"]["active"], &unsafe_["after"]["active"]), (&json!(1), &json!(0)), "{unsafe_}");
    story.stands(&["node1 ACTIVE"]).await;
    let forced = story.node("node1").post("/api/cluster/stop", json!({ "node": "node1", "force": true })).await.ok();
    assert_eq!(forced["status"], "stop_sent");
    ends_well(story.node_mut("node1")).await;
    story.node_mut("node1").start().await;
    eventually(10 * SECOND, "it leads again", async || {
        story.node("node1").try_get("/api/query?db=_system&col=_clusternodes").await?.success()
    })
    .await;
    story.stands(&["node1 ACTIVE"]).await;
    story.ends().await;
}

use serde_json::{Value, json};

use crate::story::{Story, act, command_in, paste};

/// The numbers that a refusal must have, in its details and in its words.
#[track_caller]
fn says(error: &Value, before: [u64; 4], after: [u64; 4]) {
    let quorum = |[voters, active, majority, tolerance]: [u64; 4]| json!({ "voters": voters, "active": active, "majority": majority, "failureTolerance": tolerance });
    let words = |[voters, active, majority, tolerance]: [u64; 4]| {
        format!("{voters} voters, {active} active, {majority} are a majority, {tolerance} can be lost")
    };
    assert_eq!((&error["before"], &error["after"]), (&quorum(before), &quorum(after)), "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(&format!("now: {}", words(before))), "{message}");
    assert!(message.contains(&format!("then: {}", words(after))), "{message}");
    assert!(message.contains(error["next"].as_str().unwrap()), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_of_three_down_no_other_goes_until_the_next_command_is_done() {
    tokio::join!(nobody_goes_until("stop"), nobody_goes_until("deregister"));
}

async fn nobody_goes_until(call: &str) {
    let mut story = Story::of(3).await;
    let dead = story.follower().await.id.clone();
    story.node_mut(&dead).kill();
    let status = |id: &str| if id == dead { format!("{id} INACTIVE") } else { format!("{id} ACTIVE") };
    let members = ["node1", "node2", "node3"].map(status);
    story.stands(&members.each_ref().map(String::as_str)).await;
    let others: Vec<String> =
        ["node1", "node2", "node3"].into_iter().filter(|id| *id != dead).map(str::to_owned).collect();
    for target in &others {
        let error = act(story.node(&others[0]), call, json!({ "node": target })).await.error("quorum_at_risk");
        let after = if call == "stop" { [3, 1, 2, 0] } else { [2, 1, 2, 0] };
        says(&error, [3, 2, 2, 0], after);
    }
    let safe = format!("/api/cluster/safe-to-stop?node={}", others[0]);
    let risk = story.node(&others[0]).get(&safe).await.error("quorum_at_risk");
    assert_eq!((&risk["before"]["active"], &risk["after"]["active"]), (&json!(2), &json!(1)), "{risk}");
    story.stands(&members.each_ref().map(String::as_str)).await;

    // One command after the other, as each refusal says, until it is done: the dead one goes, then nodes are added.
    let follower = story.follower().await.id.clone();
    let body = json!({ "node": follower });
    let error = act(story.node(&others[0]), call, body.clone()).await.error("quorum_at_risk");
    assert_eq!(paste(command_in(error["next"].as_str().unwrap())).await["status"], "deregistered");
    story.forget(&dead);
    let mut number = 4;
    let answer = loop {
        let answer = act(story.node(&others[0]), call, body.clone()).await;
        if answer.status == 200 {
            break answer.ok();
        }
        let next = answer.error("quorum_at_risk")["next"].as_str().unwrap().to_owned();
        assert!(next.contains("/api/cluster/register") && number < 6, "{next}");
        let id = format!("node{number}");
        let url = story.newcomer(&id).await.url();
        let joined = paste(&command_in(&next).replace("http://<host>:<port>", &url)).await;
        assert_eq!(joined["status"], "registered", "{joined}");
        number += 1;
    };
    assert!(answer["status"] == "stop_sent" || answer["status"] == "deregistered", "{answer}");
    story.writers.go_on(10).await;
    if call == "stop" {
        crate::story::ends_well(story.node_mut(&follower)).await;
    }
    story.forget(&follower);
    story.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_stops_once_a_third_has_joined() {
    let mut story = Story::of(2).await;
    let follower = story.follower().await.id.clone();
    let error = act(story.node("node1"), "stop", json!({ "node": follower })).await.error("quorum_at_risk");
    says(&error, [2, 2, 2, 0], [2, 1, 2, 0]);
    let url = story.newcomer("node3").await.url();
    let next = command_in(error["next"].as_str().unwrap()).replace("http://<host>:<port>", &url);
    assert_eq!(paste(&next).await["status"], "registered");
    assert_eq!(act(story.node("node1"), "stop", json!({ "node": follower })).await.ok()["status"], "stop_sent");
    crate::story::ends_well(story.node_mut(&follower)).await;
    story.writers.go_on(10).await;
    story.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn force_overrules_and_the_way_back_is_a_start() {
    let mut story = Story::of(3).await;
    let dead = story.follower().await.id.clone();
    story.node_mut(&dead).kill();
    let status = |id: &str| if id == dead { format!("{id} INACTIVE") } else { format!("{id} ACTIVE") };
    let members = ["node1", "node2", "node3"].map(status);
    story.stands(&members.each_ref().map(String::as_str)).await;
    let leader = story.leader().await.id.clone();
    let other = ["node1", "node2", "node3"].into_iter().find(|id| *id != leader && *id != dead).unwrap();
    let forced = story.node(&leader).post("/api/cluster/stop", json!({ "node": other, "force": true })).await.ok();
    assert_eq!(forced["status"], "stop_sent");
    crate::story::ends_well(story.node_mut(other)).await;
    story.node_mut(other).start().await;
    story.node_mut(&dead).start().await;
    story.stands(&["node1 ACTIVE", "node2 ACTIVE", "node3 ACTIVE"]).await;
    story.ends().await;
}

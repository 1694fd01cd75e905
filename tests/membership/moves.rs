use serde_json::json;

use crate::common::{LIMIT, eventually};
use crate::story::{Story, act, document};

impl Story {
    /// Waits until every running member has each of the others where it is now.
    async fn all_are_found(&self) {
        eventually(LIMIT, "every member is registered where it is", async || {
            for node in &self.cluster.nodes {
                for other in &self.cluster.nodes {
                    let doc = document(node, &other.id).await?;
                    if doc["url"] != json!(other.url()) {
                        return Err(format!("{} has {doc}; it is at {}", node.id, other.url()));
                    }
                }
            }
            Ok(())
        })
        .await;
    }

    /// Makes each member lead once, by the URL that the others have of it.
    async fn each_can_lead(&self) {
        for node in &self.cluster.nodes {
            let answer = act(self.leader().await, "transfer", json!({ "node": node.id })).await.ok();
            assert_eq!(answer["leaderId"], json!(node.id));
            let members: Vec<String> = self.cluster.nodes.iter().map(|node| format!("{} ACTIVE", node.id)).collect();
            self.stands(&members.iter().map(String::as_str).collect::<Vec<_>>()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_comes_back_at_another_port_is_found_there() {
    let mut story = Story::of(3).await;
    for leads in [false, true] {
        let id = if leads { story.leader().await.id.clone() } else { story.follower().await.id.clone() };
        let before = document(story.node("node1"), &id).await.unwrap();
        let node = story.node_mut(&id);
        node.kill();
        node.move_port();
        node.start().await;
        story.writers.know(&story.cluster);
        story.all_are_found().await;
        story.stands(&["node1 ACTIVE", "node2 ACTIVE", "node3 ACTIVE"]).await;
        let after = document(story.node("node1"), &id).await.unwrap();
        assert_eq!((&after["raftId"], &after["incarnation"]), (&before["raftId"], &before["incarnation"]));
    }
    story.each_can_lead().await;
    story.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_has_just_moved_is_stopped_where_it_is() {
    let mut story = Story::of(3).await;
    for _ in 0..3 {
        let id = story.follower().await.id.clone();
        let node = story.node_mut(&id);
        node.kill();
        eventually(LIMIT, "it is missed", async || match document(story.leader().await, &id).await? {
            doc if doc["status"] == "INACTIVE" => Ok(()),
            doc => Err(doc.to_string()),
        })
        .await;
        let node = story.node_mut(&id);
        node.move_port();
        node.launch();
        let leader = story.leader().await;
        eventually(LIMIT, "it is heard", async || match document(leader, &id).await? {
            doc if doc["status"] == "ACTIVE" => Ok(()),
            doc => Err(doc.to_string()),
        })
        .await;
        let stopped = leader.post("/api/cluster/stop", json!({ "node": id })).await.ok();
        assert_eq!(stopped["status"], "stop_sent");
        assert_eq!(story.node_mut(&id).ended(LIMIT).await.code(), Some(0));
        story.node_mut(&id).start().await;
        story.writers.know(&story.cluster);
        story.stands(&["node1 ACTIVE", "node2 ACTIVE", "node3 ACTIVE"]).await;
    }
    story.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_either_may_move() {
    let mut story = Story::of(2).await;
    for id in ["node2", "node1"] {
        // The other one cannot do anything alone.
        let node = story.node_mut(id);
        node.kill();
        node.move_port();
        node.start().await;
        story.writers.know(&story.cluster);
        story.all_are_found().await;
        story.stands(&["node1 ACTIVE", "node2 ACTIVE"]).await;
    }
    story.each_can_lead().await;
    story.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_two_and_of_three_move_at_once() {
    tokio::join!(all_move(2), all_move(3));
}

async fn all_move(size: usize) {
    let mut story = Story::of(size).await;
    for node in &mut story.cluster.nodes {
        node.kill();
        node.move_port();
    }
    let peers: Vec<String> = story.cluster.nodes.iter().map(|node| node.url()).collect();
    for node in &mut story.cluster.nodes {
        node.configure("Peers", json!(peers));
        node.start().await;
    }
    story.writers.know(&story.cluster);
    story.all_are_found().await;
    let members: Vec<String> = (1..=size).map(|number| format!("node{number} ACTIVE")).collect();
    story.stands(&members.iter().map(String::as_str).collect::<Vec<_>>()).await;
    story.each_can_lead().await;
    story.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_change_places() {
    let mut story = Story::of(3).await;
    let (two, three) = (story.node("node2").port, story.node("node3").port);
    for (id, port) in [("node2", three), ("node3", two)] {
        let node = story.node_mut(id);
        node.kill();
        node.port = port;
        node.configure("Port", port);
    }
    for id in ["node2", "node3"] {
        story.node_mut(id).start().await;
    }
    story.writers.know(&story.cluster);
    story.all_are_found().await;
    story.stands(&["node1 ACTIVE", "node2 ACTIVE", "node3 ACTIVE"]).await;
    story.each_can_lead().await;
    story.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_are_killed_and_started_again() {
    let mut story = Story::of(3).await;
    for _ in 0..2 {
        for node in &mut story.cluster.nodes {
            node.kill();
        }
        for node in &mut story.cluster.nodes {
            node.start().await;
        }
        eventually(LIMIT, "there is a leader", async || {
            story.node("node1").try_get("/api/count?db=proof&col=writes").await?.success()
        })
        .await;
        story.stands(&["node1 ACTIVE", "node2 ACTIVE", "node3 ACTIVE"]).await;
    }
    story.ends().await;
}

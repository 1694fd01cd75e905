//! Other nodes, by the secret of the cluster.

use serde_json::{Value, json};

use crate::common::{Cluster, SECOND, eventually};
use crate::peer::{Session, membership, rpc};
use crate::set_password;

/// A node that begins a cluster and one that waits, each with its own secret or none.
async fn two_with_secrets(first: Option<&str>, second: Option<&str>) -> Cluster {
    let mut cluster = Cluster::unregistered(|number| {
        let id = format!("node{number}");
        let mut config = json!({ "Host": "127.0.0.1", "distributed": true, "NodeID": id, "Bootstrap": number == 1 });
        if let Some(secret) = if number == 1 { first } else { second } {
            config["ClusterSecret"] = secret.into();
        }
        (number <= 2).then_some(config)
    })
    .await;
    for node in &mut cluster.nodes {
        node.start().await;
    }
    cluster.leader_of_one().await;
    cluster
}

impl Cluster {
    /// Waits until the first node leads and says so in `_clusternodes`.
    async fn leader_of_one(&self) {
        eventually(20 * SECOND, "the first node leads", async || {
            let members = self.nodes[0].try_get("/api/query?db=_system&col=_clusternodes").await?.success()?;
            if members[0]["role"] == "LEADER" { Ok(()) } else { Err(members.to_string()) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_one_secret_join_and_with_different_ones_do_not() {
    const OURS: &str = "the secret of ours";
    const THEIRS: &str = "the secret of theirs";
    for (first, second) in [(Some(OURS), Some(THEIRS)), (Some(OURS), None), (None, Some(THEIRS))] {
        let mut cluster = two_with_secrets(first, second).await;
        let members =
            async |cluster: &Cluster| cluster.nodes[0].get("/api/query?db=_system&col=_clusternodes").await.ok();
        let before = members(&cluster).await;
        let register = json!({ "url": cluster.nodes[1].url() });
        for _ in 0..2 {
            let answer = cluster.nodes[0].post("/api/cluster/register", &register).await;
            let message = answer.body.clone();
            assert!(matches!(answer.status, 400 | 401 | 403 | 409), "{first:?}, {second:?}: {}", answer.shown());
            assert!(message.contains("ClusterSecret"), "{first:?}, {second:?}: {message}");
            assert!(!message.contains(OURS) && !message.contains(THEIRS), "{message}");
            assert_eq!(members(&cluster).await, before, "{first:?}, {second:?}: nothing changed");
        }
        assert_eq!(cluster.nodes[0].get("/api/cluster").await.ok()["nodes"].as_array().unwrap().len(), 1);
        let stranger = cluster.nodes[1].get("/api/query?db=_system&col=_clusternodes").await;
        stranger.error("unavailable");

        // The same on both, and it is let in.
        let secret = first.unwrap_or(THEIRS);
        for place in if first.is_some() { 1..2 } else { 0..1 } {
            cluster.nodes[place].configure("ClusterSecret", secret);
            cluster.nodes[place].restart().await;
        }
        cluster.leader_of_one().await;
        cluster.register(1).await;
        cluster.settled().await;
        assert_eq!(members(&cluster).await.as_array().unwrap().len(), 2);
    }
}

/// The calls between nodes, each with a body that would do something if it were let in.
fn tempting_calls(cluster: &str, from: u64, to: u64) -> Vec<(&'static str, Value)> {
    let envelope = |body: Value| json!({ "cluster": cluster, "from": from, "to": to, "body": body });
    let vote = json!({ "leader_id": { "term": 99, "node_id": from }, "committed": true });
    let command = json!({ "op": "delete_db", "name": "shop" });
    let member = json!({ "name": "node9", "url": "http://localhost:1", "incarnation": "0" });
    vec![
        ("append", envelope(json!({ "vote": vote, "prev": null, "commit": null, "entries": [] }))),
        ("vote", envelope(json!({ "vote": vote, "last_log_id": null, "leadership_transfer": true }))),
        ("pre-vote", envelope(json!({ "vote": vote, "last_log_id": null }))),
        ("transfer", envelope(json!({ "from_leader": vote, "to_node_id": to, "last_log_id": null }))),
        ("forward", envelope(json!({ "principal": "admin", "limit_ms": 1000, "work": { "command": command } }))),
        ("read-index", envelope(json!({ "principal": "admin", "limit_ms": 1000, "work": { "read_index": false } }))),
        ("machine", envelope(json!({}))),
        ("removed", envelope(json!({ "index": 9_999_999 }))),
        ("stop", envelope(json!({}))),
        ("join", envelope(json!({ "raft_id": 99, "leader": member, "secret": "made up" }))),
        ("snapshot", envelope(json!({ "version": 1 }))),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_between_nodes_need_a_session_and_count_once() {
    const SECRET: &str = "known to the three of them";
    let mut cluster = Cluster::start_with(3, json!({ "ClusterSecret": SECRET })).await;
    set_password(&mut cluster.nodes).await;
    cluster.nodes[0].post("/api/doc?db=shop&col=users", r#"{"_id":"kept"}"#).await.ok();
    cluster.settled().await;
    let before = cluster.nodes[0].get("/api/cluster").await.ok();
    let leader = cluster.leader().await;
    let follower = cluster.followers().await[0];

    for (place, other) in [(leader, follower), (follower, leader)] {
        let node = &cluster.nodes[place];
        let ((id, to), (_, from)) = (membership(node), membership(&cluster.nodes[other]));
        for (call, body) in tempting_calls(&id, from, to) {
            let body = body.to_string();
            for header in [None, Some(format!("{};1", "00".repeat(32))), Some(";;".into()), Some("x".into())] {
                let answer = rpc(node, call, header.as_deref(), &body).await;
                assert!(matches!(answer.status, 401 | 403), "{call} with {header:?}: {}", answer.shown());
            }
        }
        let refused =
            Session::open(node, "made up by a stranger", from).await.err().expect("a wrong secret is refused");
        assert!(refused.error("unauthorized")["message"].as_str().unwrap().contains("ClusterSecret"));

        // A member's own session: each call counts once, as it was sealed.
        let session = Session::open(node, SECRET, from).await.unwrap_or_else(|answer| panic!("{}", answer.shown()));
        let body = json!({ "cluster": id, "from": from, "to": to, "body": {} }).to_string();
        let sealed = session.seal("machine", 7, &body);
        assert!(session.send(node, "machine", 7, sealed.clone()).await.ok()["ramTotal"].is_number());
        let mut changed = sealed.clone();
        changed[3] ^= 1;
        for (what, call, sequence, sealed) in [
            ("replayed", "machine", 7, sealed.clone()),
            ("for another call", "stop", 7, sealed.clone()),
            ("with another body", "machine", 8, changed),
            ("without a seal", "machine", 10, body.clone().into_bytes()),
            ("under another number", "machine", 9, sealed.clone()),
            ("long ago", "machine", 0, session.seal("machine", 0, &body)),
        ] {
            let answer = session.send(node, call, sequence, sealed).await;
            assert_eq!(answer.status, 401, "{what}: {}", answer.shown());
        }
        session.call(node, "machine", 5, &body).await.ok();

        // It speaks for one member only, of this cluster, to this node.
        for (sequence, (cluster, from, to)) in
            [("another", from, to), (&id, to, to), (&id, from, from), (&id, 0, to)].into_iter().enumerate()
        {
            let body = json!({ "cluster": cluster, "from": from, "to": to, "body": {} }).to_string();
            session.call(node, "stop", 20 + sequence as u64, &body).await.error("conflict");
        }
        // Nobody joins a node twice, not even with the right secret.
        for (call, body) in tempting_calls(&id, from, to).into_iter().filter(|(call, _)| *call == "join") {
            session.call(node, call, 30, &body.to_string()).await.error("conflict");
        }
    }

    cluster.settled().await;
    let after = cluster.nodes[0].get("/api/cluster").await.ok();
    assert_eq!((&after["leaderId"], &after["term"]), (&before["leaderId"], &before["term"]), "nobody was disturbed");
    cluster.nodes[follower].get("/api/doc?db=shop&col=users&id=kept").await.ok();
}

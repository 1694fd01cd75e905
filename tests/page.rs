//! The product's page on clustering, block by block, with files and commands as it prints them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Cluster, Node, SECOND, curl, eventually};
use serde_json::{Value, json};

/// Three nodes from the page's configuration files; only the ports differ. None is started.
async fn as_on_the_page() -> Cluster {
    Cluster::unregistered(|number| match number {
        1 => Some(json!({
            "Host": "0.0.0.0", "Port": 8080, "DataDir": "data", "distributed": true,
            "NodeID": "node1", "Bootstrap": true, "Peers": []
        })),
        2 => Some(json!({ "Port": 8081, "Bootstrap": false, "distributed": true, "NodeID": "node2", "Peers": [] })),
        3 => Some(json!({ "Port": 8082, "Bootstrap": false, "distributed": true, "NodeID": "node3", "Peers": [] })),
        _ => None,
    })
    .await
}

/// The page's example from start to end: three started nodes, two of them registered by curl.
async fn the_pages_cluster() -> Cluster {
    let mut cluster = as_on_the_page().await;
    for node in &mut cluster.nodes {
        node.start().await;
    }
    for place in [1, 2] {
        let answer = curl_post(&cluster.nodes[0], "register", &cluster.nodes[place]).await;
        assert_eq!(answer["status"], "registered", "{answer}");
    }
    cluster.settled().await;
    cluster
}

/// `curl -X POST http://…/api/cluster/<call> -d '{"url": "…"}'`, without header or password.
async fn curl_post(to: &Node, call: &str, about: &Node) -> Value {
    let body = format!(r#"{{"url": "{}"}}"#, about.url());
    let answer = curl(&["-X", "POST", &format!("{}/api/cluster/{call}", to.url()), "-d", &body]).await;
    // Old clients look for fields where they have always stood.
    assert!(answer.starts_with(r#"{"status":"#), "{answer}");
    assert!(call != "register" || answer.contains(&format!(r#""url":"{}","status":"#, about.url())), "{answer}");
    serde_json::from_str(&answer).unwrap_or_else(|_| panic!("not JSON: {answer}"))
}

/// `_system._clusternodes` as a node shows it, without leave to ask the others.
async fn clusternodes(node: &Node) -> Result<Vec<Value>, String> {
    let answer = node.try_get("/api/query?db=_system&col=_clusternodes&consistency=local").await?.success()?;
    Ok(answer.as_array().expect("an array").clone())
}

/// Waits until each of `nodes` shows exactly these members, by id: `(id, status)`.
async fn members_become(nodes: &[&Node], expected: &[(&str, &str)]) {
    for node in nodes {
        eventually(15 * SECOND, &format!("{} shows {expected:?}", node.id), async || {
            let members = clusternodes(node).await?;
            let shown: Vec<_> = members
                .iter()
                .map(|member| (member["_id"].as_str().unwrap(), member["status"].as_str().unwrap()))
                .collect();
            if shown == expected { Ok(()) } else { Err(format!("{members:?}")) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn setting_up_a_three_node_cluster() {
    let mut cluster = as_on_the_page().await;

    // Node 1 initializes `_clusternodes` with itself as Leader.
    cluster.nodes[0].start().await;
    members_become(&[&cluster.nodes[0]], &[("node1", "ACTIVE")]).await;
    let first = &clusternodes(&cluster.nodes[0]).await.unwrap()[0];
    assert_eq!((&first["role"], &first["url"]), (&json!("LEADER"), &json!(cluster.nodes[0].url())));

    // Node 2 waits until it is registered, and says so.
    cluster.nodes[1].start().await;
    let error = cluster.nodes[1].get("/api/query?db=shop&col=orders").await.error("unavailable");
    assert!(error["message"].as_str().unwrap().contains("regist"), "{error}");

    // `_clusternodes` on Node 1 is updated and replicated to Node 2.
    let answer = curl_post(&cluster.nodes[0], "register", &cluster.nodes[1]).await;
    assert_eq!(answer["status"], "registered", "{answer}");
    assert_eq!(answer["node"]["id"], "node2", "{answer}");
    let [one, two, _] = &cluster.nodes[..] else { unreachable!() };
    members_become(&[one, two], &[("node1", "ACTIVE"), ("node2", "ACTIVE")]).await;

    // `_clusternodes` now contains 3 nodes.
    cluster.nodes[2].start().await;
    let answer = curl_post(&cluster.nodes[0], "register", &cluster.nodes[2]).await;
    assert_eq!(answer["status"], "registered", "{answer}");
    let all: Vec<&Node> = cluster.nodes.iter().collect();
    members_become(&all, &[("node1", "ACTIVE"), ("node2", "ACTIVE"), ("node3", "ACTIVE")]).await;
    for node in all {
        let members = clusternodes(node).await.unwrap();
        let roles: Vec<_> = members.iter().map(|member| member["role"].as_str().unwrap()).collect();
        assert_eq!(roles, ["LEADER", "FOLLOWER", "FOLLOWER"], "{}", node.id);
        let urls: Vec<_> = members.iter().map(|member| member["url"].as_str().unwrap().to_owned()).collect();
        assert_eq!(urls, cluster.nodes.iter().map(Node::url).collect::<Vec<_>>());
        assert_eq!(node.get("/raft/rpc/status").await.ok(), Value::from(members), "{}", node.id);
    }

    // Registering again changes nothing.
    let again = curl_post(&cluster.nodes[0], "register", &cluster.nodes[2]).await;
    assert_eq!(again["status"], "registered", "{again}");
    assert_eq!(clusternodes(&cluster.nodes[0]).await.unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_in_the_data_directory_is_found() {
    let mut cluster = as_on_the_page().await;
    let node = &mut cluster.nodes[0];
    std::fs::create_dir(node.dir().join("data")).unwrap();
    std::fs::rename(node.dir().join("config.json"), node.dir().join("data/config.json")).unwrap();
    node.start().await;
    members_become(&[node], &[("node1", "ACTIVE")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_are_for_initial_discovery() {
    let mut cluster = as_on_the_page().await;
    let urls: Vec<String> = cluster.nodes.iter().map(Node::url).collect();
    // Configuration files alone, the same list in each, started in an order that makes nodes wait.
    for place in [2, 1, 0] {
        cluster.nodes[place].configure("Peers", urls.clone());
        cluster.nodes[place].start().await;
    }
    let all: Vec<&Node> = cluster.nodes.iter().collect();
    members_become(&all, &[("node1", "ACTIVE"), ("node2", "ACTIVE"), ("node3", "ACTIVE")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_takes_writes_and_every_node_reads_them() {
    let cluster = the_pages_cluster().await;
    for (place, node) in cluster.nodes.iter().enumerate() {
        let saved =
            node.post("/api/doc?db=shop&col=orders", json!({ "_id": place.to_string(), "from": node.id })).await.ok();
        assert_eq!(saved["id"], place.to_string());
        for reader in &cluster.nodes {
            let read = reader.get(&format!("/api/doc?db=shop&col=orders&id={place}")).await.ok();
            assert_eq!(read["from"], node.id, "read on {}", reader.id);
        }
    }
    // A follower forwards membership changes as well.
    let answer = curl_post(&cluster.nodes[2], "register", &cluster.nodes[1]).await;
    assert_eq!(answer["status"], "registered", "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_fails_and_nothing_is_lost() {
    let mut cluster = the_pages_cluster().await;
    for number in 0..60 {
        let node = &cluster.nodes[number % 3];
        node.post("/api/doc?db=shop&col=orders", json!({ "_id": format!("{number:02}"), "n": number })).await.ok();
    }

    let old = cluster.leader().await;
    cluster.nodes[old].kill();
    let new = cluster.leader_other_than(old).await;
    let alive: Vec<usize> = cluster.followers().await.into_iter().chain([new]).collect();
    for place in &alive {
        assert_eq!(cluster.nodes[*place].get("/api/count?db=shop&col=orders").await.ok()["count"], 60);
    }
    for place in alive {
        let node = &cluster.nodes[place];
        node.post("/api/doc?db=shop&col=orders", json!({ "_id": format!("after-{place}") })).await.ok();
    }
    let expected = |status: &'static str| -> Vec<_> {
        (0..3).map(|place| (["node1", "node2", "node3"][place], if place == old { status } else { "ACTIVE" })).collect()
    };
    members_become(&[&cluster.nodes[new]], &expected("INACTIVE")).await;

    cluster.nodes[old].restart().await;
    cluster.settled().await;
    let all: Vec<&Node> = cluster.nodes.iter().collect();
    members_become(&all, &expected("ACTIVE")).await;
    assert_eq!(cluster.nodes[old].get("/api/cluster").await.ok()["state"], "FOLLOWER");
    assert_eq!(cluster.nodes[old].get("/api/count?db=shop&col=orders").await.ok()["count"], 62);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_stopped_by_id_and_by_url_and_comes_back() {
    let mut cluster = the_pages_cluster().await;
    for name in ["node3".to_owned(), cluster.nodes[2].url()] {
        let body = json!({ "node": name }).to_string();
        let url = format!("{}/api/cluster/stop", cluster.nodes[0].url());
        assert_eq!(curl(&["-X", "POST", &url, "-d", &body]).await, r#"{"status":"stop_sent"}"#);
        assert_eq!(cluster.nodes[2].ended(10 * SECOND).await.code(), Some(0));
        let left: Vec<&Node> = cluster.nodes[..2].iter().collect();
        members_become(&left, &[("node1", "ACTIVE"), ("node2", "ACTIVE"), ("node3", "INACTIVE")]).await;
        assert_eq!(curl(&["-X", "POST", &url, "-d", &body]).await, r#"{"status":"stopped_already"}"#);

        // Stopping another one would cost the majority.
        let error =
            cluster.nodes[0].post("/api/cluster/stop", json!({ "node": "node2" })).await.error("quorum_at_risk");
        assert!(error["message"].as_str().unwrap().contains("force"), "{error}");

        cluster.nodes[2].restart().await;
        cluster.settled().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_stopped_and_hands_over() {
    let mut cluster = the_pages_cluster().await;
    let old = cluster.leader().await;
    let answer = cluster.nodes[old].post("/api/cluster/stop", json!({ "node": cluster.nodes[old].id })).await.ok();
    assert_eq!(answer["status"], "stop_sent");
    assert_eq!(cluster.nodes[old].ended(10 * SECOND).await.code(), Some(0));
    let new = cluster.leader_other_than(old).await;
    cluster.nodes[new].post("/api/doc?db=shop&col=orders", "{}").await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_removed_by_url_and_by_id() {
    let cluster = the_pages_cluster().await;
    let [one, two, three] = &cluster.nodes[..] else { unreachable!() };
    one.post("/api/doc?db=shop&col=orders", json!({ "_id": "kept" })).await.ok();

    let answer = curl_post(one, "deregister", three).await;
    assert_eq!(answer["status"], "deregistered", "{answer}");
    members_become(&[one, two], &[("node1", "ACTIVE"), ("node2", "ACTIVE")]).await;
    eventually(15 * SECOND, "the removed node knows and says so", async || {
        let answer = three.try_get("/api/doc?db=shop&col=orders&id=kept").await?;
        if answer.status == 503 { Ok(answer.error("unavailable")) } else { Err(answer.shown()) }
    })
    .await;

    let answer = one.post("/api/cluster/deregister", json!({ "node": "node2" })).await.ok();
    assert_eq!(answer["status"], "deregistered");
    members_become(&[one], &[("node1", "ACTIVE")]).await;
    assert_eq!(one.get("/api/doc?db=shop&col=orders&id=kept").await.ok()["_id"], "kept");
    one.post("/api/doc?db=shop&col=orders", "{}").await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn client_tools_see_the_federated_nodes() {
    let cluster = the_pages_cluster().await;
    let leader = &cluster.nodes[cluster.leader().await];
    let urls: Vec<String> = cluster.nodes.iter().map(Node::url).collect();
    for node in &cluster.nodes {
        let view = node.get("/api/federated").await.ok();
        assert_eq!((&view["leaderId"], &view["raftLeaderId"]), (&json!(leader.id), &json!(leader.id)), "{view}");
        assert_eq!((&view["raftSelfId"], &view["raftSelfUrl"]), (&json!(node.id), &json!(node.url())), "{view}");
        assert_eq!((&view["raftQuorum"], &view["raftActivePeers"]), (&json!(2), &json!(3)), "{view}");
        assert_eq!(view["raftPeers"].as_array().unwrap().len(), 2, "{view}");
        let ids: Vec<_> = view["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["node1", "node2", "node3"]);

        assert_eq!(node.get("/api/federated/node-leader").await.ok()["id"], leader.id);
        let mut servers = node.get("/api/federated/config").await.ok()["federatedServers"].as_array().unwrap().clone();
        servers.sort_by_key(ToString::to_string);
        let mut expected: Vec<Value> = urls.iter().cloned().map(Value::from).collect();
        expected.sort_by_key(ToString::to_string);
        assert_eq!(servers, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_is_a_page_with_the_nodes_name() {
    let node = Node::standalone(json!({ "NodeID": "node-one" })).await;
    let page = node.get("/").await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    assert!(page.body.contains("node-one"), "{}", page.shown());
}

//! A first node that comes back without its data.

use serde_json::json;

use crate::common::{Cluster, LIMIT, Node, eventually};

/// What the doctor of `node` says of all that it finds.
pub async fn findings(node: &Node) -> Result<String, String> {
    Ok(node.try_get("/api/cluster/doctor").await?.success()?["findings"].to_string())
}

/// Runs the two commands that a doctor names for a member at `url` that has lost its data.
async fn register_anew(at: &Node, url: &str) {
    for call in ["deregister", "register"] {
        at.post(&format!("/api/cluster/{call}"), json!({ "url": url })).await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_node_that_has_lost_its_disk_begins_no_second_cluster() {
    for settings in [json!({}), json!({"ClusterSecret": "a secret of sixteen bytes"})] {
        let mut cluster = Cluster::start_with(3, settings).await;
        cluster.nodes[0].post("/api/doc?db=t&col=c", json!({"_id": "old"})).await.ok();
        cluster.nodes[0].kill();
        cluster.nodes[0].wipe();
        cluster.nodes[0].start().await;
        let [first, second, _] = &cluster.nodes[..] else { panic!("three") };
        let said = eventually(LIMIT, "the first node's doctor says what it is", async || {
            findings(first)
                .await
                .and_then(|said| if said.contains("counts it as its member") { Ok(said) } else { Err(said) })
        })
        .await;
        assert!(said.contains("deregister") && said.contains(&first.url()), "{said}");
        let write = first.post("/api/doc?db=t&col=c&timeout=2", json!({"_id": "new"})).await;
        assert_eq!(write.error_code(), "unavailable", "{}", write.shown());
        assert_eq!(first.log().matches("beginning a new cluster").count(), 1, "{}", first.log());
        eventually(LIMIT, "the others' doctor says who answers there", async || {
            findings(second)
                .await
                .and_then(|said| if said.contains("no data and belongs to no cluster") { Ok(()) } else { Err(said) })
        })
        .await;
        register_anew(second, &first.url()).await;
        cluster.settled().await;
        cluster.nodes[0].get("/api/doc?db=t&col=c&id=old").await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_cluster_takes_no_writes_once_the_first_one_calls_its_node() {
    let mut cluster = Cluster::start(3).await;
    cluster.nodes[0].post("/api/doc?db=t&col=c", json!({"_id": "old"})).await.ok();
    for node in &mut cluster.nodes {
        node.kill();
    }
    // Nobody is there to tell it, so it begins one: as far as it knows it is the first node.
    cluster.nodes[0].wipe();
    cluster.nodes[0].start().await;
    eventually(LIMIT, "it takes a write", async || {
        cluster.nodes[0].try_post("/api/doc?db=t&col=c", json!({"_id": "new"})).await?.success()
    })
    .await;
    for place in [1, 2] {
        cluster.nodes[place].start().await;
    }
    let refused = eventually(LIMIT, "it is told", async || {
        let answer = cluster.nodes[0].try_post("/api/doc?db=t&col=c", json!({"_id": "newer"})).await?;
        if answer.status == 503 { Ok(answer) } else { Err(answer.shown()) }
    })
    .await;
    let message = refused.error("unavailable")["message"].as_str().unwrap().to_owned();
    let data = cluster.nodes[0].dir().join("data");
    assert!(message.contains("takes no writes") && message.contains(data.to_str().unwrap()), "{message}");
    let registered = cluster.nodes[0].post("/api/cluster/register", json!({"url": "http://localhost:1"})).await;
    assert_eq!(registered.error_code(), "unavailable", "{}", registered.shown());
    cluster.nodes[0].get("/api/doc?db=t&col=c&id=new").await.ok();
    let said = findings(&cluster.nodes[0]).await.unwrap();
    assert!(said.contains("begun a cluster of its own"), "{said}");
    eventually(LIMIT, "the others' doctor says so too, and they go on", async || {
        let said = findings(&cluster.nodes[1]).await?;
        if !said.contains("belongs to another cluster") {
            return Err(said);
        }
        cluster.nodes[1].try_post("/api/doc?db=t&col=c", json!({"_id": "third"})).await?.success()
    })
    .await;

    // As the message says.
    cluster.nodes[0].stop_gracefully().await;
    cluster.nodes[0].configure("Bootstrap", false);
    std::fs::rename(&data, data.with_extension("second")).unwrap();
    cluster.nodes[0].start().await;
    register_anew(&cluster.nodes[1], &cluster.nodes[0].url()).await;
    cluster.settled().await;
    cluster.nodes[0].get("/api/doc?db=t&col=c&id=old").await.ok();
}

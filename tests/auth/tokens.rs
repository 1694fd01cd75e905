//! Tokens and changed passwords, on every node.

use serde_json::{Value, json};

use crate::common::{Cluster, Node, SECOND, eventually};
use crate::{PASSWORD, ask, basic, login, set_password, token};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_good_on_every_node_until_the_password_changes() {
    let mut cluster = Cluster::start(3).await;
    set_password(&mut cluster.nodes).await;
    let mut tokens = Vec::new();
    for node in &cluster.nodes {
        tokens.push(token(node).await);
    }
    for node in &cluster.nodes {
        for token in &tokens {
            ask(node, "GET", "/api/dbs", Some(token)).await.ok();
        }
        let body = json!({ "_id": node.id }).to_string();
        let write = node.anonymous("POST", "/api/doc?db=shop&col=users").header("Authorization", &tokens[0]).body(body);
        node.send(write).await.ok();
    }
    // A token and a password outlive the nodes' processes.
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start().await;
    }
    cluster.settled().await;
    for node in &cluster.nodes {
        ask(node, "GET", "/api/dbs", Some(&tokens[1])).await.ok();
        ask(node, "GET", "/api/dbs", None).await.error("unauthorized");
    }

    // Changed through a follower, by the user itself.
    let follower = cluster.followers().await[0];
    let node = &cluster.nodes[follower];
    let change = async |authorization: &str, body: Value| {
        let request = node.anonymous("POST", "/api/change-password").header("Authorization", authorization);
        node.send(request.body(body.to_string())).await
    };
    let next = "a better one";
    change(&tokens[0], json!({ "newPassword": next })).await.error("bad_request");
    change(&tokens[0], json!({ "oldPassword": "guess", "newPassword": next })).await.error("unauthorized");
    ask(node, "GET", "/api/dbs", Some(&tokens[0])).await.ok();
    change(&tokens[0], json!({ "oldPassword": PASSWORD, "newPassword": next })).await.ok();
    for node in &cluster.nodes {
        for token in &tokens {
            eventually(10 * SECOND, "older tokens have ended", async || {
                let answer = ask(node, "GET", "/api/dbs", Some(token)).await;
                if answer.status == 401 { Ok(()) } else { Err(answer.shown()) }
            })
            .await;
        }
        ask(node, "GET", "/api/dbs", Some(&basic("admin", PASSWORD))).await.error("unauthorized");
        ask(node, "GET", "/api/dbs", Some(&basic("admin", next))).await.ok();
        assert_eq!(login(node, "admin", PASSWORD).await.status, 401);
        let fresh = login(node, "admin", next).await.ok();
        ask(node, "GET", "/api/dbs", fresh["token"].as_str()).await.ok();
    }
    // One's own password needs the old one, however one is named; an administrator may leave out that of another.
    let found = token_of(node, next).await;
    for body in [json!({ "newPassword": PASSWORD }), json!({ "username": "admin", "newPassword": PASSWORD })] {
        let error = change(&found, body).await.error("bad_request");
        assert!(error["message"].as_str().unwrap().contains("oldPassword"), "{error}");
    }
    let named = json!({ "username": "admin", "oldPassword": "guess", "newPassword": PASSWORD });
    change(&found, named).await.error("unauthorized");
    change(&found, json!({ "username": "admin", "oldPassword": next, "newPassword": PASSWORD })).await.ok();
    change(&basic("admin", PASSWORD), json!({ "username": "nobody", "newPassword": "theirs now" }))
        .await
        .error("not_found");
}

async fn token_of(node: &Node, password: &str) -> String {
    login(node, "admin", password).await.ok()["token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_on_every_node_by_logging_out() {
    let mut cluster = Cluster::start(3).await;
    set_password(&mut cluster.nodes).await;
    let (ended, other) = (token_of(&cluster.nodes[0], PASSWORD).await, token_of(&cluster.nodes[1], PASSWORD).await);
    let follower = &cluster.nodes[cluster.followers().await[0]];
    let logout = async |authorization: &str| ask(follower, "POST", "/api/logout", Some(authorization)).await;
    assert_eq!(logout(&ended).await.ok()["status"], "Logged out");
    ask(follower, "GET", "/api/dbs", Some(&ended)).await.error("unauthorized");
    for node in &cluster.nodes {
        eventually(10 * SECOND, "it has ended everywhere", async || {
            let answer = ask(node, "GET", "/api/dbs?consistency=local", Some(&ended)).await;
            if answer.status == 401 { Ok(()) } else { Err(answer.shown()) }
        })
        .await;
        ask(node, "GET", "/api/dbs", Some(&other)).await.ok();
    }
    logout(&ended).await.error("unauthorized");
    logout(&basic("admin", PASSWORD)).await.error("bad_request");
    // Not even a stream goes on with it.
    let third = token_of(&cluster.nodes[2], PASSWORD).await;
    let watch = follower.anonymous("GET", "/api/watch?db=shop").header("Authorization", &third).send().await.unwrap();
    let stream = follower.anonymous("GET", "/api/cluster/stream").header("Authorization", &third);
    let stream = stream.send().await.unwrap();
    assert_eq!((watch.status().as_u16(), stream.status().as_u16()), (200, 200));
    logout(&third).await.ok();
    for open in [watch, stream] {
        tokio::time::timeout(20 * SECOND, open.bytes()).await.expect("it ends").expect("in order");
    }
    // That it has ended outlives the nodes' processes.
    for node in &mut cluster.nodes {
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start().await;
    }
    cluster.settled().await;
    for node in &cluster.nodes {
        ask(node, "GET", "/api/dbs", Some(&ended)).await.error("unauthorized");
        ask(node, "GET", "/api/dbs", Some(&other)).await.ok();
    }

    // All at once, whoever has them; the password stays.
    let follower = &cluster.nodes[cluster.followers().await[0]];
    let (fourth, fifth) = (token_of(follower, PASSWORD).await, token_of(&cluster.nodes[0], PASSWORD).await);
    let everywhere = follower.anonymous("POST", "/api/logout").header("Authorization", &fourth);
    follower.send(everywhere.body(r#"{"everywhere":true}"#)).await.ok();
    for token in [&fourth, &fifth] {
        ask(follower, "GET", "/api/dbs", Some(token)).await.error("unauthorized");
    }
    ask(follower, "GET", "/api/dbs", Some(&basic("admin", PASSWORD))).await.ok();
}

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

async fn logins(node: &Node, authorization: &str) -> Vec<Value> {
    ask(node, "GET", "/api/tokens", Some(authorization)).await.ok().as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_see_who_is_logged_in_and_end_it() {
    let mut cluster = Cluster::start(3).await;
    set_password(&mut cluster.nodes).await;
    let (leader, followers) = (cluster.leader().await, cluster.followers().await);
    let stolen = token_of(&cluster.nodes[followers[0]], PASSWORD).await;
    let own = token_of(&cluster.nodes[leader], PASSWORD).await;
    // On every node, newest first, and never the token.
    let mut ids = Vec::new();
    for node in &cluster.nodes {
        let answer = ask(node, "GET", "/api/tokens", Some(&own)).await;
        for token in [&stolen, &own] {
            assert!(!answer.body.contains(token.trim_start_matches("Bearer ")), "{}", answer.body);
        }
        let listed = answer.ok();
        let (first, second) = (&listed[0], &listed[1]);
        assert_eq!((&first["current"], &second["current"]), (&json!(true), &Value::Null), "{listed}");
        assert_eq!((&second["user"], &second["role"]), (&json!("admin"), &json!("admin")));
        let time = |login: &Value, name: &str| login[name].as_u64().unwrap();
        assert_eq!(time(first, "expires") - time(first, "issued"), 15 * 60 * 1000);
        assert_eq!(time(first, "ends") - time(first, "issued"), 12 * 60 * 60 * 1000);
        ids.push(second["id"].as_str().unwrap().to_owned());
        assert_eq!(logins(node, &basic("admin", PASSWORD)).await.len(), listed.as_array().unwrap().len());
        assert_eq!(ask(node, "GET", "/api/tokens?limit=1", Some(&own)).await.ok().as_array().unwrap().len(), 1);
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");

    // Ended through a node that it was not made at, for every node; a repeat is harmless.
    let (node, path) = (&cluster.nodes[followers[1]], format!("/api/tokens?id={}", ids[0]));
    ask(node, "GET", "/api/dbs", Some(&stolen)).await.ok();
    for _ in 0..2 {
        ask(node, "DELETE", &path, Some(&own)).await.ok();
    }
    ask(node, "GET", "/api/dbs", Some(&stolen)).await.error("unauthorized");
    for node in &cluster.nodes {
        ask(node, "GET", "/api/dbs", Some(&stolen)).await.error("unauthorized");
        ask(node, "GET", "/api/dbs", Some(&own)).await.ok();
        assert!(logins(node, &own).await.iter().all(|login| login["id"] != ids[0].as_str()));
    }
    ask(node, "DELETE", "/api/tokens?id=nobodys", Some(&own)).await.error("not_found");
    ask(node, "DELETE", "/api/tokens", Some(&own)).await.error("bad_request");

    // What a changed password and a logout have ended is listed no more; the rest outlives the processes.
    ask(node, "POST", "/api/logout", Some(&own)).await.ok();
    let next = "a better one";
    let change = json!({ "oldPassword": PASSWORD, "newPassword": next }).to_string();
    let request = node.anonymous("POST", "/api/change-password").header("Authorization", basic("admin", PASSWORD));
    node.send(request.body(change)).await.ok();
    assert_eq!(logins(node, &basic("admin", next)).await, Vec::<Value>::new());
    let last = token_of(node, next).await;
    for node in &mut cluster.nodes {
        node.authorize(last.clone());
        node.kill();
    }
    for node in &mut cluster.nodes {
        node.start().await;
    }
    cluster.settled().await;
    for node in &cluster.nodes {
        let listed = logins(node, &last).await;
        assert!(listed.len() == 1 && listed[0]["current"] == true, "{listed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_without_a_leader_is_good_and_listed_once_there_is_one() {
    let mut cluster = Cluster::start(3).await;
    set_password(&mut cluster.nodes).await;
    let left = cluster.leader().await;
    let others: Vec<usize> = (0..3).filter(|place| *place != left).collect();
    for place in &others {
        cluster.nodes[*place].kill();
    }
    let node = &cluster.nodes[left];
    eventually(20 * SECOND, "it has no majority", async || {
        let answer = node.try_get("/readyz").await?;
        if answer.status == 503 { Ok(()) } else { Err(answer.shown()) }
    })
    .await;
    let token = token_of(node, PASSWORD).await;
    ask(node, "GET", "/api/dbs?consistency=local", Some(&token)).await.ok();
    for place in &others {
        cluster.nodes[*place].start().await;
    }
    cluster.settled().await;
    eventually(30 * SECOND, "its use is enough to be listed", async || {
        let answer = ask(&cluster.nodes[others[0]], "GET", "/api/tokens", Some(&token)).await.success()?;
        let is_listed = answer.as_array().unwrap().iter().any(|login| login["current"] == true);
        if is_listed { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
}

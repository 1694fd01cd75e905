//! Wrong passwords.

use serde_json::json;

use crate::common::{Node, SECOND, eventually};
use crate::{PASSWORD, ask, basic, login, token};

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_lock_out_for_a_while_and_tokens_go_on() {
    let mut node = Node::standalone(json!({ "AdminPassword": PASSWORD })).await;
    eventually(20 * SECOND, "the configured password counts", async || {
        let answer = ask(&node, "GET", "/api/dbs", None).await;
        if answer.status == 401 { Ok(()) } else { Err(answer.shown()) }
    })
    .await;
    let token = token(&node).await;
    for number in 0..10 {
        let answer = match number % 3 {
            0 => login(&node, "admin", "guess").await,
            1 => login(&node, "nobody", "guess").await,
            _ => ask(&node, "GET", "/api/dbs", Some(&basic("admin", "guess"))).await,
        };
        let error = answer.error("unauthorized");
        assert_eq!(error["message"], "wrong user name or password", "it tells nobody who exists");
    }
    for answer in [
        login(&node, "admin", "guess").await,
        login(&node, "nobody", "guess").await,
        ask(&node, "GET", "/api/dbs", Some(&basic("admin", "another"))).await,
    ] {
        let error = answer.error("busy");
        assert!((1..=60).contains(&answer.number("retry-after")), "{error}");
    }
    // Who is in stays in.
    ask(&node, "GET", "/api/dbs", Some(&token)).await.ok();
    ask(&node, "GET", "/api/dbs", Some(&basic("admin", PASSWORD))).await.ok();
    node.authorize(token);
    node.restart().await;
    node.get("/api/dbs").await.ok();
    login(&node, "admin", PASSWORD).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_made_at_once_are_counted_like_others() {
    let node = Node::standalone(json!({ "AdminPassword": PASSWORD })).await;
    eventually(20 * SECOND, "the configured password counts", async || {
        let answer = ask(&node, "GET", "/api/dbs", None).await;
        if answer.status == 401 { Ok(()) } else { Err(answer.shown()) }
    })
    .await;
    let guesses = (0..100).map(|number| {
        let node = &node;
        async move { login(node, "admin", &format!("guess {number}")).await.status }
    });
    let statuses = futures_util::future::join_all(guesses).await;
    let checked = statuses.iter().filter(|status| **status == 401).count();
    assert!(statuses.iter().all(|status| matches!(status, 401 | 429)), "{statuses:?}");
    assert!((1..=12).contains(&checked), "{checked} guesses were checked");
}

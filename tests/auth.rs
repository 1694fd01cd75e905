//! Who may use a node: users by password and token, other nodes by the cluster's secret.
//!
//! - `protected`: before there is a password, and until a node knows that there is one
//! - `routes`: each route: who may use it, and what it never tells
//! - `guessing`: wrong passwords
//! - `tokens`: tokens and changed passwords, on every node
//! - `revoked`: what has ended goes on nowhere
//! - `pages`: what a page elsewhere, and a stranger, get of a node
//! - `secrets`: other nodes, by the secret of the cluster
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "common/peer.rs"]
mod peer;

#[path = "auth/guessing.rs"]
mod guessing;
#[path = "auth/pages.rs"]
mod pages;
#[path = "auth/protected.rs"]
mod protected;
#[path = "auth/revoked.rs"]
mod revoked;
#[path = "auth/routes.rs"]
mod routes;
#[path = "auth/secrets.rs"]
mod secrets;
#[path = "auth/tokens.rs"]
mod tokens;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::{Answer, Node, SECOND, eventually};
use serde_json::json;

const PASSWORD: &str = "correct horse battery";

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{user}:{password}")))
}

/// Sets the administrator's first password and uses it from now on.
async fn set_password(nodes: &mut [Node]) {
    let answer = nodes[0].post("/api/change-password", json!({ "newPassword": PASSWORD })).await.ok();
    assert_eq!(answer["status"], "Password updated");
    for node in &*nodes {
        eventually(20 * SECOND, "the node knows that there is a password", async || {
            let answer = ask(node, "GET", "/api/dbs", None).await;
            if answer.status == 401 { Ok(()) } else { Err(answer.shown()) }
        })
        .await;
    }
    // A token is checked at once; a password takes a moment that a busy machine makes long.
    let token = token(&nodes[0]).await;
    nodes.iter_mut().for_each(|node| node.authorize(token.clone()));
}

/// A request with exactly this `Authorization` header, or none.
async fn ask(node: &Node, method: &str, path: &str, authorization: Option<&str>) -> Answer {
    let request = node.anonymous(method, path);
    node.send(match authorization {
        Some(header) => request.header("Authorization", header),
        None => request,
    })
    .await
}

async fn login(node: &Node, user: &str, password: &str) -> Answer {
    let body = json!({ "username": user, "password": password }).to_string();
    node.send(node.anonymous("POST", "/api/login").body(body)).await
}

async fn token(node: &Node) -> String {
    let answer = login(node, "admin", PASSWORD).await.ok();
    assert_eq!(answer["role"], "admin");
    let token = answer["token"].as_str().unwrap();
    assert!(token.starts_with("Bearer "), "{token}");
    token.to_owned()
}

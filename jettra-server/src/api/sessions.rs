//! Login, who is logged in, and passwords.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use super::answer::Answer;
use super::request::Request;
use super::{Access, App, Route, route};
use crate::auth::Role;
use crate::error::Result;
use crate::limits;

pub(super) const ROUTES: &[Route] = &[
    route!(POST "/api/login", Access::Public, Plain, [], "gives a token for a name and a password", login),
    route!(POST "/api/logout", Access::Role(Role::Reader), Plain, [], "ends the token that it is sent with, on every node; with {\"everywhere\":true} all tokens of the user", logout),
    route!(GET "/api/tokens", Access::Role(Role::Admin), Read, ["limit?"], "who is logged in, newest first", logins),
    route!(DELETE "/api/tokens", Access::Role(Role::Admin), Write, ["id"], "ends the login with this id, on every node", end_login),
    route!(POST "/api/change-password", Access::Role(Role::Reader), Plain, [], "sets a password", change_password),
];

#[derive(Deserialize)]
struct Login {
    username: String,
    password: String,
}

pub(super) async fn login(app: &Arc<App>, request: Request) -> Result<Answer> {
    let body: Login = request.json()?;
    Answer::json(&app.auth.login(&body.username, &body.password, &request.origin).await?)
}

#[derive(Default, Deserialize)]
struct Logout {
    #[serde(default)]
    everywhere: bool,
}

async fn logout(app: &Arc<App>, request: Request) -> Result<Answer> {
    let body: Logout = if request.body.is_empty() { Logout::default() } else { request.json()? };
    if body.everywhere {
        app.auth.logout_everywhere(&request.principal, &request.call).await?;
    } else {
        app.auth.logout(&request.principal, &request.call).await?;
    }
    Answer::json(&json!({"status": "Logged out"}))
}

async fn logins(app: &Arc<App>, request: Request) -> Result<Answer> {
    let index = request.ready_to_read(app).await?;
    let limit = request.query.parsed::<i64>("limit", "a number")?.unwrap_or(0);
    let limit = usize::try_from(limit).ok().filter(|n| *n > 0).unwrap_or(limits::LOGINS).min(limits::LOGINS);
    Ok(Answer::json(&app.auth.logins(&request.principal, limit).await?)?.index(index))
}

async fn end_login(app: &Arc<App>, request: Request) -> Result<Answer> {
    app.auth.end_login(&request.call, request.query.required("id")?).await?;
    Answer::json(&json!({"status": "Logged out"}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChangePassword {
    username: Option<String>,
    old_password: Option<String>,
    new_password: String,
}

async fn change_password(app: &Arc<App>, request: Request) -> Result<Answer> {
    let body: ChangePassword = request.json()?;
    let (user, old) = (body.username.as_deref(), body.old_password.as_deref());
    app.auth.change_password(&request.principal, &request.call, user, old, &body.new_password, &request.origin).await?;
    Answer::json(&json!({"status": "Password updated"}))
}

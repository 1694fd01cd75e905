//! Users and their tokens.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::json;
use crate::error::Error;
use crate::state::command::NewUser;
use crate::state::halt::Stop;
use crate::state::names::{DocumentId, shown};
use crate::state::outcome::Answer;
use crate::state::queue::Queue;
use crate::state::stage::Stage;
use crate::state::system;
use crate::state::view::{User, UserDoc};

/// A document of `_tokens`.
#[derive(Serialize, Deserialize)]
pub(in crate::state) struct TokenDoc {
    #[serde(rename = "_id")]
    pub id: String,
    pub user: String,
    /// In milliseconds since 1970.
    pub expires: u64,
}

pub(super) fn set_user(stage: &mut Stage<'_>, user: &NewUser, only_if_no_admin: bool) -> Result<Answer, Stop> {
    DocumentId::parse(&user.name)?;
    if only_if_no_admin && stage.core.users.values().any(|user| user.role == "admin") {
        return Err(Error::conflict("an administrator exists already; log in as that one").into());
    }
    let doc = UserDoc {
        name: user.name.clone(),
        role: user.role.clone(),
        password_hash: user.password_hash.clone(),
        databases: user.databases.clone(),
    };
    stage.save(system::USERS, &user.name, json(&doc)?)?;
    let UserDoc { name, role, password_hash, databases } = doc;
    Arc::make_mut(&mut stage.core.users).insert(name, User { role, password_hash, databases, rev: stage.rev });
    Ok(Answer::Done { changed: true })
}

pub(super) fn renew_token(stage: &mut Stage<'_>, id: &str, user: &str, expires_ms: u64) -> Result<Answer, Stop> {
    DocumentId::parse(id)?;
    if !stage.core.users.contains_key(user) {
        return Err(Error::not_found(format!("there is no user {}", shown(user))).into());
    }
    let queue = Queue {
        records: system::TOKENS,
        order: system::TOKEN_ORDER,
        // A token says itself when it ends.
        at_least_ms: 0,
        max_count: stage.core.settings.max_sessions,
        max_bytes: u64::MAX,
    };
    let is_new = stage.live(system::TOKENS, id)?.is_none();
    let doc = TokenDoc { id: id.to_owned(), user: user.to_owned(), expires: expires_ms };
    stage.save(system::TOKENS, id, json(&doc)?)?;
    if is_new {
        stage.enqueue(&queue, id)?;
    }
    stage.sweep(&queue, |token, now_ms| {
        let doc = token.body().and_then(|body| serde_json::from_slice::<TokenDoc>(body).ok());
        doc.is_none_or(|doc| doc.expires <= now_ms)
    })?;
    Ok(Answer::Done { changed: true })
}

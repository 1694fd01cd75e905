//! Users and their tokens.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::json;
use crate::error::Error;
use crate::state::CHANGED;
use crate::state::command::{By, NewUser};
use crate::state::envelope::Envelope;
use crate::state::halt::{AnswerOrHalt, Halt};
use crate::state::names::{DocumentId, shown};
use crate::state::outcome::Answer;
use crate::state::queue::Queue;
use crate::state::role::UserRole;
use crate::state::stage::Stage;
use crate::state::system;
use crate::state::view::{User, UserDoc};

/// A document of `_tokens`.
#[derive(Serialize, Deserialize)]
pub(in crate::state) struct TokenDoc {
    #[serde(rename = "_id")]
    pub id: String,
    pub user: String,
    /// When it ends, in milliseconds since 1970; of one that was ended before its time: until when that is kept.
    pub expires: u64,
    /// Whether it was ended before its time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
    /// How it was issued, where that is known: of each login from feature level 2 on.
    #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
    pub issued: Option<Issued>,
}

/// How a token was issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// When, in milliseconds since 1970.
    #[serde(rename = "issued")]
    pub at_ms: u64,
    /// The user's revision at that time.
    #[serde(rename = "userRev")]
    pub user_rev: u64,
}

/// Whether the user, and the token if it was by one, are still what they were when somebody was let in. The error says
/// so in [`CHANGED`](crate::state::CHANGED) and has changed nothing.
pub(in crate::state) fn may(
    users: &BTreeMap<String, User>,
    by: &By,
    token: impl Fn(&str) -> Result<Option<Envelope>, Halt>,
) -> Result<Result<(), Error>, Halt> {
    let is_same = match users.get(&by.user) {
        Some(user) => user.rev == by.rev,
        // Protected mode ends with the first administrator, whoever that is.
        None => by.rev == 0 && users.values().all(|user| user.role != UserRole::Admin),
    };
    let changed = |what: String| Ok(Err(Error::unauthorized(what).with(CHANGED, true)));
    if !is_same {
        return changed(format!("the user {} was changed meanwhile; log in again", shown(&by.user)));
    }
    if let Some(id) = &by.token
        && let Some(envelope) = token(id)?
        && token_doc(&envelope).is_some_and(|doc| doc.ended)
    {
        return changed("the token has ended; log in again".to_owned());
    }
    Ok(Ok(()))
}

fn token_doc(envelope: &Envelope) -> Option<TokenDoc> {
    envelope.body().and_then(|body| serde_json::from_slice(body).ok())
}

pub(super) fn set_user(stage: &mut Stage<'_>, user: &NewUser, only_if_no_admin: bool) -> Result<Answer, AnswerOrHalt> {
    DocumentId::parse(&user.name)?;
    if only_if_no_admin && stage.core.users.values().any(|user| user.role == UserRole::Admin) {
        return Err(Error::conflict("an administrator exists already; log in as that one").into());
    }
    let doc = UserDoc {
        name: user.name.clone(),
        role: user.role,
        password_hash: user.password_hash.clone(),
        databases: user.databases.clone(),
    };
    stage.save(system::USERS, &user.name, json(&doc)?)?;
    let UserDoc { name, role, password_hash, databases } = doc;
    Arc::make_mut(&mut stage.core.users).insert(name, User { role, password_hash, databases, rev: stage.rev });
    Ok(Answer::Done { changed: true })
}

/// A tenth of the records is kept free, so that tokens can be renewed and ended however many log in.
const SPARE: u64 = 10;

/// Keeps a login. Where there are too many it changes nothing, and that is no error: an error would take back the
/// tidying too, and so the next login would find no more room than this one.
pub(super) fn issue_token(
    stage: &mut Stage<'_>,
    id: &str,
    user: &str,
    issued: Issued,
    expires_ms: u64,
) -> Result<Answer, AnswerOrHalt> {
    let known = stage.live(system::TOKENS, id)?.as_ref().and_then(token_doc);
    if known.as_ref().is_some_and(|doc| doc.ended || doc.issued.is_some()) {
        return Ok(Answer::Done { changed: false });
    }
    // A login lives at least so long: younger records need not be looked at.
    let queue = token_queue(stage, expires_ms.saturating_sub(issued.at_ms));
    stage.sweep(&queue, token_is_over)?;
    if known.is_none() && stage.stats(system::TOKENS).count >= queue.max_count - queue.max_count / SPARE {
        return Ok(Answer::Done { changed: false });
    }
    let expires = known.map_or(expires_ms, |doc| doc.expires.max(expires_ms));
    let doc = TokenDoc { id: id.to_owned(), user: user.to_owned(), expires, ended: false, issued: Some(issued) };
    keep_token(stage, doc, &queue)
}

pub(super) fn renew_token(
    stage: &mut Stage<'_>,
    id: &str,
    user: &str,
    expires_ms: u64,
) -> Result<Answer, AnswerOrHalt> {
    let known = stage.live(system::TOKENS, id)?.as_ref().and_then(token_doc);
    if known.as_ref().is_some_and(|doc| doc.ended) {
        return Err(Error::conflict("the token has ended; log in again").into());
    }
    let issued = known.and_then(|doc| doc.issued);
    let doc = TokenDoc { id: id.to_owned(), user: user.to_owned(), expires: expires_ms, ended: false, issued };
    keep_token(stage, doc, &token_queue(stage, 0))
}

pub(super) fn end_token(stage: &mut Stage<'_>, id: &str, user: &str, until_ms: u64) -> Result<Answer, AnswerOrHalt> {
    let doc = TokenDoc { id: id.to_owned(), user: user.to_owned(), expires: until_ms, ended: true, issued: None };
    keep_token(stage, doc, &token_queue(stage, 0))
}

/// The records of tokens; none is looked at again before `at_least_ms`.
fn token_queue(stage: &Stage<'_>, at_least_ms: u64) -> Queue {
    Queue {
        records: system::TOKENS,
        order: system::TOKEN_ORDER,
        at_least_ms,
        max_count: stage.core.settings.max_sessions,
        max_bytes: u64::MAX,
    }
}

/// A token says itself when it ends.
fn token_is_over(token: &Envelope, now_ms: u64) -> bool {
    token_doc(token).is_none_or(|doc| doc.expires <= now_ms)
}

fn keep_token(stage: &mut Stage<'_>, doc: TokenDoc, queue: &Queue) -> Result<Answer, AnswerOrHalt> {
    DocumentId::parse(&doc.id)?;
    if !stage.core.users.contains_key(&doc.user) {
        return Err(Error::not_found(format!("there is no user {}", shown(&doc.user))).into());
    }
    let is_new = stage.live(system::TOKENS, &doc.id)?.is_none();
    stage.save(system::TOKENS, &doc.id, json(&doc)?)?;
    if is_new {
        stage.enqueue(queue, &doc.id)?;
    }
    stage.sweep(queue, token_is_over)?;
    Ok(Answer::Done { changed: true })
}

//! Commands carried out: one file a family.
//!
//! Each function stages its writes and returns an answer, or an error for the caller upon which everything it staged is
//! discarded. Nothing here knows a clock, a random number or the network: all of that is in the command.

mod catalog;
mod cluster;
mod documents;
mod journal;
mod membership;
mod requests;
mod users;

use bytes::Bytes;

use super::command::{By, Command, Op};
use super::halt::{AnswerOrHalt, Halt};
use super::machine::Payload;
use super::outcome::{Answer, Outcome};
use super::stage::Stage;
use super::system;
use crate::error::Error;

pub(super) use documents::version_of;
pub(super) use membership::only_members;
pub use users::Issued;
pub(super) use users::{TokenDoc, may};

/// Applies the entry that the stage has begun, and commits what it stages.
pub(super) fn entry(stage: &mut Stage<'_>, index: u64, payload: &Payload<'_>) -> Result<Outcome, Halt> {
    let outcome = match payload {
        Payload::Blank => {
            #[cfg(feature = "planted-bugs")]
            crate::planted::note_leader(stage.rev);
            Outcome::of(stage.rev, Ok(Answer::None))
        }
        Payload::Command(bytes) => command(stage, index, bytes)?,
        Payload::Membership { members, raw } => {
            membership::follow(stage, members)?;
            stage.meta.membership = Some(Bytes::copy_from_slice(raw));
            Outcome::of(stage.rev, Ok(Answer::None))
        }
    };
    stage.commit();
    Ok(outcome)
}

fn command(stage: &mut Stage<'_>, index: u64, bytes: &Bytes) -> Result<Outcome, Halt> {
    let refuse = |what: String| Halt::Command { index, what };
    let (Command { request, op }, head) = Command::decode(bytes).map_err(|error| refuse(error.to_string()))?;
    let time_ms = head.time_ms.ok_or_else(|| refuse("it has no time".to_owned()))?;
    stage.meta.time_ms = stage.meta.time_ms.max(time_ms);
    match request {
        Some(request) => requests::once(stage, &request, head.by.as_ref(), &op),
        None => run_for(stage, head.by.as_ref(), &op).map(|(outcome, _)| outcome),
    }
}

/// Carries out an operation where the right that it was asked by still holds; and says whether it did.
fn run_for(stage: &mut Stage<'_>, by: Option<&By>, op: &Op) -> Result<(Outcome, bool), Halt> {
    if let Some(by) = by
        && let Err(error) = users::may(&stage.core.users, by, |token| stage.live(system::TOKENS, token))?
    {
        return Ok((Outcome::of(stage.rev, Err(error)), false));
    }
    run(stage, op).map(|outcome| (outcome, true))
}

/// Carries out an operation, or discards what it staged where its answer is an error.
fn run(stage: &mut Stage<'_>, op: &Op) -> Result<Outcome, Halt> {
    let result = match op {
        Op::Write(write) => documents::writes(stage, std::slice::from_ref(write)),
        Op::Batch(writes) => documents::writes(stage, writes),
        Op::CreateDatabase { name, engine } => catalog::create_database(stage, name, engine.as_deref()),
        Op::DeleteDatabase { name } => catalog::delete_database(stage, name),
        Op::RenameDatabase { from, to } => catalog::rename_database(stage, from, to),
        Op::CreateCollection { db, name } => catalog::create_collection(stage, db, name),
        Op::DeleteCollection { db, name } => catalog::delete_collection(stage, db, name),
        Op::RenameCollection { db, from, to } => catalog::rename_collection(stage, db, from, to),
        Op::ClusterInit { cluster_id, token_key, settings, feature_level } => {
            cluster::initialize(stage, cluster_id, token_key, settings, *feature_level)
        }
        Op::SetSettings(changes) => cluster::change_settings(stage, changes),
        Op::RaiseFeatureLevel { level } => cluster::raise_feature_level(stage, *level),
        Op::ClusterRegister { id, url, incarnation, description, replica } => {
            membership::register(stage, id, url, incarnation, description.as_deref(), *replica)
        }
        Op::ClusterDeregister { id } => membership::deregister(stage, id),
        Op::ClusterStop { id } => membership::stop(stage, id),
        Op::ClusterUpdateNode { nodes } => membership::update(stage, nodes),
        Op::ClusterEvent(event) => journal::command(stage, event),
        Op::DigestCheck => {
            stage.keep_digests();
            Ok(Answer::Done { changed: false })
        }
        Op::SetUser { user, only_if_no_admin } => users::set_user(stage, user, *only_if_no_admin),
        Op::TokenIssue { id, user, user_rev, issued_ms, expires_ms } => {
            users::issue_token(stage, id, user, users::Issued { at_ms: *issued_ms, user_rev: *user_rev }, *expires_ms)
        }
        Op::TokenRenew { id, user, expires_ms } => users::renew_token(stage, id, user, *expires_ms),
        Op::TokenEnd { id, user, until_ms } => users::end_token(stage, id, user, *until_ms),
    };
    let result = match result {
        Ok(answer) => Ok(answer),
        Err(AnswerOrHalt::Answer(error)) => {
            stage.discard();
            Err(error)
        }
        Err(AnswerOrHalt::Halt(halt)) => return Err(halt),
    };
    Ok(Outcome::of(stage.rev, result))
}

/// One of the system's own documents as JSON.
fn json(doc: &impl serde::Serialize) -> Result<Bytes, AnswerOrHalt> {
    let bytes = serde_json::to_vec(doc).map_err(|error| Error::internal(format!("cannot write JSON: {error}")))?;
    Ok(bytes.into())
}

//! `_clusternodes`: who is a member follows from the Raft membership; role, status and description from the leader's
//! commands, written where they differ.

use std::sync::Arc;

use jettra_client::wire::{Role, Status};

use super::{journal, json};
use crate::error::Error;
use crate::state::command::NodeChange;
use crate::state::halt::{AnswerOrHalt, Halt};
use crate::state::machine::MemberInfo;
use crate::state::names::NodeName;
use crate::state::outcome::Answer;
use crate::state::stage::Stage;
use crate::state::system;
use crate::state::view::MemberDoc;

/// The log holds a membership: its members have documents, and what has left it has none.
pub(super) fn follow(stage: &mut Stage<'_>, members: &[MemberInfo]) -> Result<(), Halt> {
    follow_members(stage, members).map_err(halted)
}

/// What the log or a recovery says of members cannot be refused.
fn halted(stop: AnswerOrHalt) -> Halt {
    match stop {
        AnswerOrHalt::Halt(halt) => halt,
        AnswerOrHalt::Answer(error) => Halt::damage(error.to_string()),
    }
}

/// These are members, and nobody else, registered or not.
pub(in crate::state) fn only_members(stage: &mut Stage<'_>, members: &[MemberInfo]) -> Result<(), Halt> {
    let is_other = |doc: &&MemberDoc| !members.iter().any(|member| member.raft_id == doc.raft_id);
    let others: Vec<String> = stage.core.members.values().filter(is_other).map(|doc| doc.id.clone()).collect();
    for id in others {
        stage.remove(system::CLUSTERNODES, &id)?;
        Arc::make_mut(&mut stage.core.members).remove(&id);
    }
    follow(stage, members)?;
    // Whoever votes now is no replica any more: a recovery may begin with one.
    let is_voter = |doc: &&MemberDoc| doc.replica && doc.voter == Some(true);
    let voters: Vec<MemberDoc> = stage.core.members.values().filter(is_voter).cloned().collect();
    let freed = voters.into_iter().try_for_each(|doc| put(stage, MemberDoc { replica: false, ..doc }).map(drop));
    freed.map_err(halted)
}

fn follow_members(stage: &mut Stage<'_>, members: &[MemberInfo]) -> Result<(), AnswerOrHalt> {
    for member in members {
        let doc = match stage.core.members.get(member.name.as_str()) {
            Some(doc) if doc.raft_id == member.raft_id => {
                MemberDoc { voter: Some(member.voter), ..MemberDoc::clone(doc) }
            }
            // The name was given to another node since; that one's registration counts.
            Some(_) => continue,
            None => MemberDoc {
                id: member.name.to_string(),
                url: member.url.clone(),
                role: if members.len() == 1 { Role::Leader } else { Role::Follower },
                status: Status::Active,
                description: None,
                voter: Some(member.voter),
                paused: false,
                replica: false,
                raft_id: member.raft_id,
                incarnation: member.incarnation.clone(),
            },
        };
        put(stage, doc)?;
    }
    let has_left =
        |doc: &&MemberDoc| doc.voter.is_some() && !members.iter().any(|member| member.raft_id == doc.raft_id);
    let left: Vec<String> = stage.core.members.values().filter(has_left).map(|doc| doc.id.clone()).collect();
    for id in left {
        remove(stage, &id)?;
    }
    Ok(())
}

pub(super) fn register(
    stage: &mut Stage<'_>,
    id: &NodeName,
    url: &str,
    incarnation: &str,
    description: Option<&str>,
    replica: bool,
) -> Result<Answer, AnswerOrHalt> {
    if let Some(other) = stage.core.members.values().find(|doc| doc.url == url && doc.id != id.as_str()) {
        let message = format!("the URL {url} belongs to the member {}; give this node another one", other.id);
        return Err(Error::conflict(message).with("node", other.id.as_str()).into());
    }
    let known = stage.core.members.get(id.as_str()).cloned();
    let existed = known.is_some();
    let doc = match known {
        Some(doc) if doc.incarnation == incarnation => MemberDoc {
            url: url.to_owned(),
            description: description.map(str::to_owned).or(doc.description.clone()),
            ..doc
        },
        Some(_) => {
            let message = format!(
                "a member named {id} exists with another data directory; deregister it first \
                 (POST /api/cluster/deregister {{\"node\":\"{id}\"}}) and register again, or give the node its \
                 data directory back"
            );
            return Err(Error::conflict(message).with("node", id.as_str()).into());
        }
        None => MemberDoc {
            id: id.to_string(),
            url: url.to_owned(),
            role: Role::Follower,
            status: Status::Active,
            description: description.map(str::to_owned),
            voter: None,
            paused: false,
            replica,
            raft_id: stage.rev,
            incarnation: incarnation.to_owned(),
        },
    };
    let raft_id = doc.raft_id;
    put(stage, doc)?;
    Ok(Answer::Member { raft_id, existed })
}

pub(super) fn deregister(stage: &mut Stage<'_>, id: &NodeName) -> Result<Answer, AnswerOrHalt> {
    let changed = remove(stage, id.as_str())?;
    Ok(Answer::Done { changed })
}

pub(super) fn stop(stage: &mut Stage<'_>, id: &NodeName) -> Result<Answer, AnswerOrHalt> {
    let Some(doc) = stage.core.members.get(id.as_str()).cloned() else {
        return Err(Error::not_found(format!("there is no member {id}; GET /api/cluster lists them")).into());
    };
    let changed = doc.status != Status::Inactive;
    if changed {
        journal::stopped(stage, &doc)?;
        write(stage, MemberDoc { status: Status::Inactive, ..doc })?;
    }
    Ok(Answer::Done { changed })
}

pub(super) fn update(stage: &mut Stage<'_>, nodes: &[NodeChange]) -> Result<Answer, AnswerOrHalt> {
    let mut changed = false;
    for change in nodes {
        let Some(mut doc) = stage.core.members.get(change.id.as_str()).cloned() else { continue };
        doc.role = change.role.unwrap_or(doc.role);
        doc.paused = change.paused.unwrap_or(doc.paused);
        doc.replica = change.replica.unwrap_or(doc.replica);
        doc.status = match (change.status.unwrap_or(doc.status), doc.paused) {
            (Status::Inactive, _) => Status::Inactive,
            (_, true) => Status::Paused,
            (_, false) => Status::Active,
        };
        if let Some(url) = &change.url {
            doc.url.clone_from(url);
        }
        if let Some(description) = &change.description {
            doc.description = Some(description.clone()).filter(|text| !text.is_empty());
        }
        changed |= put(stage, doc)?;
    }
    Ok(Answer::Done { changed })
}

/// Writes a member's document where it differs, and what of that is worth telling into the journal.
fn put(stage: &mut Stage<'_>, doc: MemberDoc) -> Result<bool, AnswerOrHalt> {
    if stage.core.members.get(&doc.id) == Some(&doc) {
        return Ok(false);
    }
    let before = stage.core.members.get(&doc.id).cloned();
    journal::member(stage, before.as_ref(), &doc)?;
    write(stage, doc)?;
    Ok(true)
}

fn write(stage: &mut Stage<'_>, doc: MemberDoc) -> Result<(), AnswerOrHalt> {
    stage.save(system::CLUSTERNODES, &doc.id, json(&doc)?)?;
    Arc::make_mut(&mut stage.core.members).insert(doc.id.clone(), doc);
    Ok(())
}

fn remove(stage: &mut Stage<'_>, id: &str) -> Result<bool, AnswerOrHalt> {
    if Arc::make_mut(&mut stage.core.members).remove(id).is_none() {
        return Ok(false);
    }
    journal::removed(stage, id)?;
    Ok(stage.remove(system::CLUSTERNODES, id)?)
}

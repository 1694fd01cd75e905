//! In the end all nodes hold the same: by whole queries, by versions and by digests. It is what the feed told, so nothing
//! that was acknowledged is missing, and nothing that was refused is there.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Verdict;
use super::timeline::{Timeline, is_content};
use crate::clients::{document, member_id};
use crate::ending::{Final, Held};
use crate::history::{Content, History, Told};

/// By collection and id, as they were sent.
type Documents = BTreeMap<(String, String), String>;

pub fn agreement(history: &History, timeline: &Timeline, end: &Final) -> Verdict {
    let mut unknown = None;
    let mut first: Option<(&Held, &Documents)> = None;
    for held in &end.nodes {
        let documents = match &held.documents {
            Ok(documents) => documents,
            Err(why) => {
                unknown = Some(format!("{} did not tell what it holds: {why}", held.node));
                continue;
            }
        };
        if let Some((other, others)) = first {
            if let Some(why) = difference(other, others, held, documents) {
                return Verdict::False(why);
            }
        } else {
            first = Some((held, documents));
        }
    }
    let Some((held, documents)) = first else {
        return Verdict::Unknown(unknown.unwrap_or_else(|| "no node was asked".to_owned()));
    };
    if let Some(why) = replayed(history, timeline, held, documents) {
        return Verdict::False(why);
    }
    match &end.digests {
        Some(Err(why)) if why.starts_with("DIFFERENT") => return Verdict::False(why.clone()),
        Some(Err(why)) => unknown = Some(why.clone()),
        Some(Ok(())) | None => {}
    }
    unknown.map_or(Verdict::True, Verdict::Unknown)
}

/// What two nodes hold differently.
fn difference(one: &Held, of_one: &Documents, two: &Held, of_two: &Documents) -> Option<String> {
    let shown = |text: Option<&String>| text.map_or("nothing".to_owned(), |text| text.chars().take(200).collect());
    for place in of_one.keys().chain(of_two.keys()) {
        let (a, b) = (of_one.get(place), of_two.get(place));
        if a != b {
            let (col, id) = place;
            return Some(format!(
                "{col}/{id} is not the same on all nodes:\n  {}: {}\n  {}: {}",
                one.node,
                shown(a),
                two.node,
                shown(b)
            ));
        }
    }
    let place = one
        .versions
        .iter()
        .find(|(place, versions)| two.versions.get(*place).is_some_and(|others| others != *versions));
    place.map(|((col, id), versions)| {
        format!(
            "the versions of {col}/{id} are not the same on all nodes:\n  {}: {versions:?}\n  {}: {:?}",
            one.node,
            two.node,
            two.versions[&(col.clone(), id.clone())]
        )
    })
}

/// What a node holds otherwise than the feed says.
fn replayed(history: &History, timeline: &Timeline, held: &Held, documents: &Documents) -> Option<String> {
    let complete_to = timeline.complete_to?;
    if history.last.is_none_or(|last| complete_to < last.saturating_sub(1)) {
        return None;
    }
    for (key, name) in (0..).zip(&history.names) {
        let told = timeline.changes_of(key).last().map_or(Told::Deleted, |(_, told)| *told);
        for member in 0..name.members.max(1) {
            let id = if name.members > 0 { member_id(name, member) } else { name.id.clone() };
            let found = documents.get(&(name.collection.clone(), id.clone()));
            let content: Result<Option<Content>, String> =
                found.map(|text| document(&id, &serde_json::from_str::<Value>(text).unwrap_or_default())).transpose();
            match content {
                Ok(content) if is_content(told, content) => {}
                Ok(content) => {
                    let calls = history.calls.iter().filter(|call| call.key == key && call.op.is_write());
                    let calls: Vec<_> = calls.collect();
                    return Some(format!(
                        "{}/{id} on {} is {content:?}, by the feed it is {told:?}; its last writes:\n{}",
                        name.collection,
                        held.node,
                        history.table(calls[calls.len().saturating_sub(6)..].iter().copied())
                    ));
                }
                Err(why) => return Some(format!("{}/{id} on {}: {why}", name.collection, held.node)),
            }
        }
    }
    None
}

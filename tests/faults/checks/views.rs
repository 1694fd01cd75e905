//! Whatever is read, how old it may be, is a state that the document had, and not older than the answer says: beside the
//! change feed each read has its place.

use super::Verdict;
use super::timeline::{Timeline, is_content};
use crate::history::{Call, History, Op, Outcome, Told};

pub fn views(history: &History, timeline: &Timeline) -> Verdict {
    let Some(complete_to) = timeline.complete_to else {
        return Verdict::Unknown("no watcher was told everything".to_owned());
    };
    for call in &history.calls {
        if let Err(why) = view(history, timeline, complete_to, call) {
            let changes = timeline.changes_of(call.key);
            let near = match call.outcome {
                Outcome::Seen { rev, index, .. } => rev.or(index).unwrap_or(0),
                Outcome::Conflict { rev } => rev,
                _ => 0,
            };
            let at = changes.partition_point(|(rev, _)| *rev < near);
            let around: String = changes[at.saturating_sub(3)..(at + 3).min(changes.len())]
                .iter()
                .map(|(rev, told)| format!("  {rev} {told:?}\n"))
                .collect();
            return Verdict::False(format!("{why}:\n{}the document's changes:\n{around}", history.table([call])));
        }
    }
    Verdict::True
}

fn view(history: &History, timeline: &Timeline, complete_to: u64, call: &Call) -> Result<(), String> {
    let key = call.key;
    let is_group = history.names.get(key as usize).is_some_and(|name| name.members > 0);
    match (&call.outcome, call.op) {
        // A query shows the state at exactly its index.
        (Outcome::Seen { content, index: Some(index), .. }, Op::Read { .. }) if is_group => {
            let at = timeline.at(key, *index).map_or(Told::Deleted, |(_, told)| told);
            if *index <= complete_to && !is_content(at, *content) {
                return Err(format!("at index {index} the group was another: {at:?}"));
            }
        }
        (Outcome::Seen { content: Some(content), rev: Some(rev), index }, _) if *rev <= complete_to => {
            if !timeline.by(key, *rev).is_some_and(|told| is_content(told, Some(*content))) {
                return Err(format!("no change of revision {rev} wrote that"));
            }
            let next = timeline.after(key, *rev).filter(|_| matches!(call.op, Op::Read { .. }));
            if let (Some((next, _)), Some(index)) = (next, index)
                && next <= *index
            {
                return Err(format!("older than the answer's index says: revision {next} changed it"));
            }
        }
        (Outcome::Seen { content: None, index: Some(index), .. }, Op::Read { .. }) => {
            let is_there = timeline.at(key, *index).is_some_and(|(_, told)| told != Told::Deleted);
            let changes = timeline.changes_of(key);
            let later = &changes[changes.partition_point(|(rev, _)| rev <= index)..];
            if *index <= complete_to && is_there && !later.iter().any(|(_, told)| *told == Told::Deleted) {
                return Err(format!("at index {index} it was there, and not deleted later"));
            }
        }
        (Outcome::Conflict { rev }, _)
            if *rev > 0 && *rev <= complete_to && timeline.by(key, *rev).is_none_or(|told| told == Told::Deleted) =>
        {
            return Err(format!("no change of revision {rev} made it"));
        }
        _ => {}
    }
    Ok(())
}

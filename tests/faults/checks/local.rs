//! What one node itself has never goes back on one connection, and has come as far as `min_index` asks.

use std::collections::HashMap;

use super::Verdict;
use super::timeline::Timeline;
use crate::history::{Call, Fresh, History, Key, Op, Outcome, Told};

/// On one connection nothing is shown that had been superseded by what was shown before.
pub fn monotonic(history: &History, timeline: &Timeline) -> Verdict {
    let Some(complete_to) = timeline.complete_to else {
        return Verdict::Unknown("no watcher was told everything".to_owned());
    };
    let mut floors: HashMap<u32, (u64, &Call)> = HashMap::new();
    let local = |call: &&Call| call.connection > 0 && matches!(call.op, Op::Read { fresh: Fresh::Local, .. });
    for call in history.calls.iter().filter(local) {
        let Outcome::Seen { content, rev, index } = call.outcome else { continue };
        let is_group = history.names.get(call.key as usize).is_some_and(|name| name.members > 0);
        if let Some((floor, before)) = floors.get(&call.connection).filter(|(floor, _)| *floor <= complete_to) {
            // The state that was shown, or one in which the document was not there, lasted until then.
            let changes = timeline.changes_of(call.key);
            let is_old = match (rev, index) {
                (Some(rev), _) => timeline.after(call.key, rev).is_some_and(|(next, _)| next <= *floor),
                (None, Some(index)) if is_group => {
                    timeline.after(call.key, index).is_some_and(|(next, _)| next <= *floor)
                }
                _ if content.is_none() => {
                    let later = &changes[changes.partition_point(|(rev, _)| rev <= floor)..];
                    timeline.at(call.key, *floor).is_some_and(|(_, told)| told != Told::Deleted)
                        && !later.iter().any(|(_, told)| *told == Told::Deleted)
                }
                _ => false,
            };
            if is_old {
                let table = history.table([before, call]);
                return Verdict::False(format!("a connection to one node went back to before {floor}:\n{table}"));
            }
        }
        let reached = rev.max(index).unwrap_or(0);
        let floor = floors.entry(call.connection).or_insert((reached, call));
        if reached > floor.0 {
            *floor = (reached, call);
        }
    }
    Verdict::True
}

/// `min_index` is honoured: by the index of the answer, and by what it shows.
pub fn min_index(history: &History) -> Verdict {
    // The acknowledged writes of each document, by revision, deletes too.
    let mut writes: HashMap<Key, Vec<(u64, &Call)>> = HashMap::new();
    for call in &history.calls {
        if let Outcome::Written { rev: Some(rev), .. } = call.outcome {
            writes.entry(call.key).or_default().push((rev, call));
        }
    }
    writes.values_mut().for_each(|writes| writes.sort_by_key(|(rev, _)| *rev));
    for call in &history.calls {
        let Op::Read { min_index: Some(least), .. } = call.op else { continue };
        let Outcome::Seen { rev, index, .. } = call.outcome else { continue };
        if index.is_some_and(|index| index < least) {
            return Verdict::False(format!("an answer from before min_index:\n{}", history.table([call])));
        }
        let writes = writes.get(&call.key).map_or(&[][..], Vec::as_slice);
        let newest = writes[..writes.partition_point(|(rev, _)| *rev <= least)].last();
        if let (Some((newest, write)), Some(rev)) = (newest, rev)
            && rev < *newest
        {
            return Verdict::False(format!(
                "a read with min_index did not see what was written at or below it:\n{}",
                history.table([write, call])
            ));
        }
    }
    Verdict::True
}

//! Every acknowledged request was applied once, however often it was sent, and its repeats got the same answer.

use std::collections::HashMap;

use super::Verdict;
use super::timeline::{Timeline, may_have_happened};
use crate::history::{Content, History, Key, Op, Outcome, Told};

pub fn once(history: &History, timeline: &Timeline) -> Verdict {
    for repeat in &history.repeats {
        if repeat.first != repeat.again {
            return Verdict::False(format!(
                "a repeat of a request got another answer:\n{}  first: {}\n  again: {}",
                history.table([&repeat.call]),
                repeat.first,
                repeat.again
            ));
        }
    }
    let Some(complete_to) = timeline.complete_to else {
        return Verdict::Unknown("no watcher was told everything".to_owned());
    };
    // How often each number came into a document by its own write.
    let mut saves: HashMap<u64, Vec<u64>> = HashMap::new();
    let mut patches: HashMap<u64, Vec<u64>> = HashMap::new();
    let mut deletes: HashMap<Key, usize> = HashMap::new();
    let mut unseen: HashMap<Key, usize> = HashMap::new();
    for change in timeline.changes.values().filter(|change| change.member == 0) {
        let rev = change.position.rev;
        match change.what {
            Told::Saved(Content { saved, patched: 0 }) => saves.entry(saved).or_default().push(rev),
            Told::Saved(Content { patched, .. }) => patches.entry(patched).or_default().push(rev),
            Told::Deleted => *deletes.entry(change.key).or_default() += 1,
            Told::SavedUnseen => *unseen.entry(change.key).or_default() += 1,
        }
    }
    // A restore brings a number back.
    let mut restores: HashMap<u64, usize> = HashMap::new();
    for call in history.calls.iter().filter(|call| may_have_happened(call)) {
        if let Op::Restore { content, .. } = call.op {
            *restores.entry(if content.patched > 0 { content.patched } else { content.saved }).or_default() += 1;
        }
    }
    let mut asked: HashMap<Key, usize> = HashMap::new();
    for call in history.calls.iter().filter(|call| may_have_happened(call)) {
        if call.op == Op::Delete {
            *asked.entry(call.key).or_default() += 1;
        }
        let Some(tag) = call.op.tag() else { continue };
        let revs = if matches!(call.op, Op::Patch { .. }) { patches.get(&tag) } else { saves.get(&tag) };
        let revs = revs.map_or(&[][..], Vec::as_slice);
        if revs.len() > 1 + restores.get(&tag).copied().unwrap_or(0) {
            return Verdict::False(format!("applied at revisions {revs:?}:\n{}", history.table([call])));
        }
        let (is_early, is_hidden) = match call.outcome {
            Outcome::Written { rev, index } => {
                (rev.or(index).is_some_and(|rev| rev <= complete_to), unseen.contains_key(&call.key))
            }
            _ => (false, true),
        };
        if revs.is_empty() && is_early && !is_hidden {
            return Verdict::False(format!("acknowledged, and never applied:\n{}", history.table([call])));
        }
    }
    for (key, deleted) in deletes {
        let asked = asked.get(&key).copied().unwrap_or(0);
        if deleted > asked {
            let calls = history.calls.iter().filter(|call| call.key == key && call.op == Op::Delete);
            return Verdict::False(format!(
                "deleted {deleted} times, which was asked for {asked} times:\n{}",
                history.table(calls)
            ));
        }
    }
    Verdict::True
}

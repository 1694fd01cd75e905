//! Linearizability of each document, and of each group as one: with the reads that ask for it, and those by lease.

use crate::history::{Call, Fresh, History, Op, Outcome};

use super::search::{Act, Answer, BUDGET, Step, search};
use super::{Verdict, minimise};

/// What most of the time goes into, so both are found by one pass: whether it holds of all but reads by lease, and of
/// those.
pub fn linearizable(history: &History) -> (Verdict, Verdict) {
    let mut given_up = (Vec::new(), Vec::new());
    let by_key = history.by_key();
    let mut keys: Vec<_> = by_key.keys().copied().collect();
    keys.sort_unstable();
    let mut refuted = None;
    for key in keys {
        let calls = &by_key[&key];
        let name = || history.names.get(key as usize).map(ToString::to_string).unwrap_or_default();
        match search(&steps(history, calls, true).1, BUDGET) {
            Answer::Linearizable => continue,
            Answer::Unknown => given_up.1.push(name()),
            Answer::Not => {}
        }
        let (of, strict) = steps(history, calls, false);
        match search(&strict, BUDGET) {
            Answer::Linearizable => {
                refuted.get_or_insert((false, key));
            }
            Answer::Unknown => given_up.0.push(name()),
            Answer::Not => return (Verdict::False(story(history, &of, &strict)), Verdict::True),
        }
    }
    let unknown = |names: Vec<String>| match names.as_slice() {
        [] => Verdict::True,
        names => Verdict::Unknown(format!("the search was given up for {}", names.join(", "))),
    };
    let lease = match refuted {
        Some((_, key)) if given_up.1.is_empty() => {
            let (of, all) = steps(history, &by_key[&key], true);
            Verdict::False(story(history, &of, &all))
        }
        _ => unknown(given_up.1),
    };
    (unknown(given_up.0), lease)
}

/// The smallest table of calls that still have no order.
fn story(history: &History, of: &[&Call], steps: &[Step]) -> String {
    let shown = minimise::smallest(steps);
    let calls: Vec<&Call> = (0..of.len()).filter(|i| shown.contains(i)).map(|i| of[i]).collect();
    format!(
        "there is no order of these calls that explains what was seen (of {} on this document):\n{}",
        of.len(),
        history.table(calls)
    )
}

/// The calls that say something, and what they say.
fn steps<'a>(history: &History, calls: &[&'a Call], with_lease: bool) -> (Vec<&'a Call>, Vec<Step>) {
    let steps = calls.iter().filter_map(|call| {
        let is_lease = matches!(call.op, Op::Read { fresh: Fresh::Lease, .. });
        let counts = !is_lease || (with_lease && history.is_honest(call));
        let is_group = history.names.get(call.key as usize).is_some_and(|name| name.members > 0);
        Some((*call, step(call, is_group).filter(|_| counts)?))
    });
    steps.unzip()
}

fn step(call: &Call, is_group: bool) -> Option<Step> {
    let act = match call.op {
        Op::Save { tag } => Act::Save(tag),
        Op::Create { tag } => Act::Create(tag),
        Op::Swap { tag, rev } => Act::Swap { tag, rev },
        Op::Patch { tag } => Act::Patch(tag),
        Op::Delete => Act::Delete,
        Op::Restore { content, .. } => Act::Restore(content),
        Op::Read { fresh: Fresh::Local, .. } | Op::Version { .. } => return None,
        // What it is worth shows in its outcome.
        Op::Read { .. } => Act::Never,
    };
    let step = Step { start: call.start, end: call.end, act, place: None, index: None, exact: false };
    Some(match call.outcome {
        Outcome::Written { rev, index } => Step { place: rev, index, ..step },
        Outcome::Seen { content, rev, index } => {
            Step { act: Act::See { content, rev }, index, exact: is_group && index.is_some(), ..step }
        }
        Outcome::Missing => Step { act: Act::Refused { rev: 0 }, ..step },
        Outcome::Conflict { rev } => {
            let is_wrong = match call.op {
                Op::Create { .. } => rev == 0,
                Op::Swap { rev: wanted, .. } => rev == wanted && rev != 0,
                _ => true,
            };
            Step { act: if is_wrong { Act::Never } else { Act::Refused { rev } }, ..step }
        }
        Outcome::Unknown(_) if call.op.is_write() => Step { end: u64::MAX, ..step },
        Outcome::Unknown(_) | Outcome::Refused(_) | Outcome::Wrong(_) => return None,
    })
}

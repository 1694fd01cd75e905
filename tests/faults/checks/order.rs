//! Revisions and indices go upwards with time, over all documents: a write that begins when another one is acknowledged
//! has a higher one, and a read that must see everything reflects at least it.

use super::Verdict;
use crate::history::{Call, Fresh, History, Op, Outcome};

pub fn order(history: &History) -> Verdict {
    let mut by_end: Vec<&Call> =
        history.calls.iter().filter(|call| matches!(call.outcome, Outcome::Written { rev: Some(_), .. })).collect();
    by_end.sort_by_key(|call| call.end);
    let mut by_end = by_end.into_iter().peekable();
    let mut newest: Option<&Call> = None;
    let rev = |call: &Call| match call.outcome {
        Outcome::Written { rev, .. } => rev.unwrap_or(0),
        _ => 0,
    };
    for call in &history.calls {
        while let Some(ended) = by_end.next_if(|ended| ended.end < call.start) {
            if newest.is_none_or(|newest| rev(newest) < rev(ended)) {
                newest = Some(ended);
            }
        }
        let Some(newest) = newest else { continue };
        let is_late = match (&call.outcome, call.op) {
            (Outcome::Written { rev: Some(own), .. }, _) => *own <= rev(newest),
            (_, Op::Read { fresh: Fresh::Local, .. }) => false,
            (_, Op::Read { fresh: Fresh::Lease, .. }) if !history.is_honest(call) => false,
            (Outcome::Seen { index: Some(index), .. }, Op::Read { .. }) => *index < rev(newest),
            _ => false,
        };
        if is_late {
            return Verdict::False(format!(
                "the second call began after the first was acknowledged, and comes before it:\n{}",
                history.table([newest, call])
            ));
        }
    }
    Verdict::True
}

//! Groups are seen whole or not at all; and no answer is what there must not be.

use super::Verdict;
use crate::history::{Call, History, Outcome};

/// What a reader of a group says of one that it did not see whole.
const TORN: &str = "torn: ";

pub fn groups(history: &History) -> Verdict {
    wrong(history, "a group that was not seen whole", |what| what.starts_with(TORN))
}

pub fn answers(history: &History) -> Verdict {
    wrong(history, "an answer that there must not be", |what| !what.starts_with(TORN))
}

fn wrong(history: &History, title: &str, is: impl Fn(&str) -> bool) -> Verdict {
    let found = history.calls.iter().find(|call| matches!(&call.outcome, Outcome::Wrong(what) if is(what)));
    let Some(found) = found else { return Verdict::True };
    // And who wrote meanwhile.
    let near = |call: &&Call| {
        call.key == found.key && call.op.is_write() && call.start <= found.end && call.end >= found.start
    };
    let calls: Vec<&Call> = history.calls.iter().filter(|call| std::ptr::eq(*call, found) || near(call)).collect();
    Verdict::False(format!("{title}:\n{}", history.table(calls)))
}

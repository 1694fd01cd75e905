//! What must hold of a history: one check a file.

mod agreement;
mod feed;
mod groups;
mod linearizable;
mod local;
mod minimise;
mod once;
mod order;
mod search;
#[cfg(test)]
mod tests;
mod timeline;
mod views;

use std::fmt;

use self::timeline::Timeline;

use crate::ending::Final;
use crate::history::{History, Outcome};

/// Whether something holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    True,
    /// It does not; the smallest story of it.
    False(String),
    /// Nobody can say, and why.
    Unknown(String),
}

/// What all checks say.
#[derive(Debug, Clone)]
pub struct Report {
    pub checks: Vec<(&'static str, Verdict)>,
    pub operations: usize,
    pub unknown: usize,
    pub refused: usize,
    pub changes: usize,
}

impl Report {
    /// Whether everything holds: nothing is refuted, and nothing unknown.
    pub fn holds(&self) -> bool {
        self.checks.iter().all(|(_, verdict)| *verdict == Verdict::True)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |part: usize| 100.0 * part as f64 / self.operations.max(1) as f64;
        let (unknown, refused) = (share(self.unknown), share(self.refused));
        writeln!(
            f,
            "{} operations, of which {} ({unknown:.2} %) unknown and {} ({refused:.2} %) refused; {} changes told",
            self.operations, self.unknown, self.refused, self.changes
        )?;
        for (name, verdict) in &self.checks {
            match verdict {
                Verdict::True => writeln!(f, "  true     {name}")?,
                Verdict::Unknown(why) => writeln!(f, "  unknown  {name}: {why}")?,
                Verdict::False(story) => writeln!(f, "  FALSE    {name}:\n{story}")?,
            }
        }
        Ok(())
    }
}

/// Checks everything.
pub fn check(history: &History, end: &Final) -> Report {
    let timeline = Timeline::of(history);
    let (linearizable, lease) = linearizable::linearizable(history);
    let count = |is: fn(&Outcome) -> bool| history.calls.iter().filter(|call| is(&call.outcome)).count();
    Report {
        checks: vec![
            ("each document is linearizable", linearizable),
            ("reads by lease are linearizable while clocks are honest", lease),
            ("revisions go upwards with time", order::order(history)),
            ("groups are seen whole", groups::groups(history)),
            ("answers are such as there may be", groups::answers(history)),
            ("local reads never go back on one connection", local::monotonic(history, &timeline)),
            ("min_index is honoured", local::min_index(history)),
            ("all watchers are told the same, once and in order", feed::alike(history, &timeline)),
            ("the feed is what was acknowledged", feed::equals(history, &timeline)),
            ("each write is applied once", once::once(history, &timeline)),
            ("each read is a state that there was", views::views(history, &timeline)),
            ("all nodes hold the same in the end", agreement::agreement(history, &timeline, end)),
        ],
        operations: history.calls.len(),
        unknown: count(|outcome| matches!(outcome, Outcome::Unknown(_))),
        refused: count(|outcome| matches!(outcome, Outcome::Refused(_))),
        changes: timeline.changes.len(),
    }
}

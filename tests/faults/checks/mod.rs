//! What must hold of a history: one check a file.

use std::fmt;

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
    /// Whether a check found that something does not hold.
    pub fn is_refuted(&self) -> bool {
        self.checks.iter().any(|(_, verdict)| matches!(verdict, Verdict::False(_)))
    }

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
pub fn check(history: &History, _end: &Final) -> Report {
    let count = |is: fn(&Outcome) -> bool| history.calls.iter().filter(|call| is(&call.outcome)).count();
    Report {
        checks: vec![],
        operations: history.calls.len(),
        unknown: count(|outcome| matches!(outcome, Outcome::Unknown(_))),
        refused: count(|outcome| matches!(outcome, Outcome::Refused(_))),
        changes: history.feeds.iter().map(|feed| feed.events.len()).sum(),
    }
}

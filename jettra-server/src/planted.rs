//! Bugs that are put in on purpose, one at a time, so that the fault harness can show that it finds each.
//!
//! They exist only in a build with the feature `planted-bugs`, which a release build refuses; `JETTRA_PLANTED_BUG` names
//! the one that a process has. In every other build [`has`] is `false` before the program is made.

/// A bug that a harness must find before its verdict counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// An append to the log is acknowledged before it is on disk.
    AcknowledgeBeforeFlush,
    /// A linearizable read is answered from what the node has, without asking the leader.
    ReadWithoutIndex,
    /// A read takes the answer of a round that began before it arrived.
    ShareAnEarlierRound,
    /// A vote is not written to disk.
    ForgetAVote,
    /// What is not durable counts as durable, and the log is purged up to there.
    PurgePastDurable,
    /// The newest entries are applied once more after a restart.
    ApplyTwice,
    /// A snapshot lacks a key.
    DropAKeyOfASnapshot,
    /// The record of a request is not found any more once the leader has changed.
    ForgetARequest,
    /// `min_index` is not waited for.
    MinIndexEarly,
    /// A watcher misses what was written while it took its seat at the feed.
    SkipAChange,
    /// A node votes at once after its start, and may so forget a lease that it has granted.
    VoteTooEarly,
    /// A forward that got no answer is sent again as another request.
    ForwardAnew,
    /// A file that replaces another is not yet in its directory when it counts as being there.
    UnsyncedEntry,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 13] = [
        Bug::AcknowledgeBeforeFlush,
        Bug::ReadWithoutIndex,
        Bug::ShareAnEarlierRound,
        Bug::ForgetAVote,
        Bug::PurgePastDurable,
        Bug::ApplyTwice,
        Bug::DropAKeyOfASnapshot,
        Bug::ForgetARequest,
        Bug::MinIndexEarly,
        Bug::SkipAChange,
        Bug::VoteTooEarly,
        Bug::ForwardAnew,
        Bug::UnsyncedEntry,
    ];

    /// Its name in `JETTRA_PLANTED_BUG`.
    pub const fn name(self) -> &'static str {
        match self {
            Bug::AcknowledgeBeforeFlush => "acknowledge-before-flush",
            Bug::ReadWithoutIndex => "read-without-index",
            Bug::ShareAnEarlierRound => "share-an-earlier-round",
            Bug::ForgetAVote => "forget-a-vote",
            Bug::PurgePastDurable => "purge-past-durable",
            Bug::ApplyTwice => "apply-twice",
            Bug::DropAKeyOfASnapshot => "drop-a-key-of-a-snapshot",
            Bug::ForgetARequest => "forget-a-request",
            Bug::MinIndexEarly => "min-index-early",
            Bug::SkipAChange => "skip-a-change",
            Bug::VoteTooEarly => "vote-too-early",
            Bug::ForwardAnew => "forward-anew",
            Bug::UnsyncedEntry => "unsynced-entry",
        }
    }
}

#[cfg(not(feature = "planted-bugs"))]
mod chosen {
    use super::Bug;

    /// Whether this process has the bug.
    pub const fn has(_: Bug) -> bool {
        false
    }

    /// What a person is to know of it.
    pub const fn warning() -> Option<&'static str> {
        None
    }
}

#[cfg(feature = "planted-bugs")]
mod chosen {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Bug;

    #[cfg(not(debug_assertions))]
    compile_error!("planted bugs are for tests: a release build has none");

    const VARIABLE: &str = "JETTRA_PLANTED_BUG";

    fn named() -> Option<String> {
        std::env::var(VARIABLE).ok().filter(|name| !name.is_empty())
    }

    /// Whether this process has the bug.
    pub fn has(bug: Bug) -> bool {
        static CHOSEN: OnceLock<Option<Bug>> = OnceLock::new();
        let chosen =
            CHOSEN.get_or_init(|| named().and_then(|name| Bug::ALL.into_iter().find(|bug| bug.name() == name)));
        *chosen == Some(bug)
    }

    /// What a person is to know of it.
    pub fn warning() -> Option<String> {
        named().map(|name| match Bug::ALL.iter().find(|bug| bug.name() == name) {
            Some(bug) => format!("this node has the planted bug {name} ({bug:?}): it is for tests only"),
            None => format!("{VARIABLE}: there is no planted bug {name:?}"),
        })
    }

    /// The revision at which the last change of leaders was applied here.
    static LED_SINCE: AtomicU64 = AtomicU64::new(0);

    /// A leader begins with an empty entry, of this revision.
    pub fn note_leader(rev: u64) {
        LED_SINCE.store(rev, Ordering::SeqCst);
    }

    /// Whether what was written at `rev` was written under an earlier leader.
    pub fn is_of_an_earlier_leader(rev: u64) -> bool {
        rev < LED_SINCE.load(Ordering::SeqCst)
    }
}

pub use chosen::*;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_has_a_name_of_its_own_and_none_is_there_unasked() {
        let mut names: Vec<_> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Bug::ALL.len());
        assert!(Bug::ALL.iter().all(|bug| !has(*bug)));
    }
}

//! What to do after an attempt that failed: a pure decision.
//!
//! Two questions decide: may the attempt have had an effect, and would a repeat have a second one?

use std::time::Duration;

use crate::wire::ErrorCode;

/// What a repeat of a call could do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Safety {
    /// Changes nothing.
    Read,
    /// A numbered write: a repeat gets the first answer.
    Numbered,
    /// Not numbered, but doing it twice is doing it once.
    Idempotent,
    /// A repeat would be a second one.
    Once,
}

/// How an attempt failed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Failure {
    /// There was no connection: nothing was sent.
    Unreachable(String),
    /// The connection broke, or time ran out, after something may have been sent.
    Lost {
        /// What happened.
        message: String,
        /// Whether it was time.
        timed_out: bool,
    },
    /// The node answered with an error.
    Refused(Refusal),
}

/// A node's error answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) status: u16,
    pub(crate) message: String,
    pub(crate) details: serde_json::Map<String, serde_json::Value>,
    pub(crate) retry_after: Option<Duration>,
}

/// The next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Report the failure.
    GiveUp,
    /// Ask another node now, or this one again after a pause when no other is left.
    Elsewhere,
    /// Ask again after a pause of at least this length.
    Wait(Duration),
    /// Log in again, then ask again.
    LogIn,
}

/// Decides the next step after a failed attempt of a call.
pub(crate) fn next(safety: Safety, failure: &Failure) -> Next {
    match failure {
        Failure::Unreachable(_) => Next::Elsewhere,
        Failure::Lost { .. } if safety == Safety::Once => Next::GiveUp,
        Failure::Lost { .. } => Next::Elsewhere,
        Failure::Refused(refusal) => after_refusal(safety, refusal),
    }
}

fn after_refusal(safety: Safety, refusal: &Refusal) -> Next {
    match refusal.code {
        // Refused at the door: nothing happened, whatever the call.
        ErrorCode::Busy => Next::Wait(refusal.retry_after.unwrap_or_default()),
        ErrorCode::NotLeader => Next::Elsewhere,
        ErrorCode::Unauthorized => Next::LogIn,
        // The node may have taken part in it before it said so.
        ErrorCode::NoLeader | ErrorCode::Unavailable | ErrorCode::Timeout if safety != Safety::Once => Next::Elsewhere,
        // Something between here and the node, such as a proxy, that lost the node.
        ErrorCode::Unknown if safety != Safety::Once && matches!(refusal.status, 502..=504) => Next::Elsewhere,
        _ => Next::GiveUp,
    }
}

/// Whether the attempt may have had an effect, or may still have one.
pub(crate) fn may_have_happened(safety: Safety, failure: &Failure) -> bool {
    safety != Safety::Read
        && match failure {
            Failure::Unreachable(_) => false,
            Failure::Lost { .. } => true,
            Failure::Refused(refusal) => {
                matches!(refusal.code, ErrorCode::Timeout | ErrorCode::Internal | ErrorCode::Unknown)
            }
        }
}

/// Whether this refusal settles the call though an earlier attempt may have had an effect. For a
/// numbered write, what the log answers does: had the earlier attempt been applied, its answer
/// would have come back. What was refused at the door says nothing about the earlier attempt.
pub(crate) fn settles(safety: Safety, code: ErrorCode) -> bool {
    safety == Safety::Numbered
        && matches!(code, ErrorCode::Conflict | ErrorCode::NotFound | ErrorCode::ValidationFailed)
}

/// The pause before the `round`-th repeat (from 0): 25 ms doubled each time, at most 1 s, of which
/// a random half is left out so that clients do not come back together. `random` is any number.
pub(crate) fn pause(round: u32, random: u64) -> Duration {
    const FIRST: u64 = 25;
    const LONGEST: u64 = 1000;
    let whole = FIRST.saturating_mul(1 << round.min(10)).min(LONGEST);
    Duration::from_millis(whole / 2 + random % (whole / 2 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: [Safety; 4] = [Safety::Read, Safety::Numbered, Safety::Idempotent, Safety::Once];

    fn refused(code: ErrorCode) -> Failure {
        Failure::Refused(Refusal {
            code,
            status: code.status(),
            message: String::new(),
            details: serde_json::Map::new(),
            retry_after: Some(Duration::from_secs(1)),
        })
    }

    fn lost() -> Failure {
        Failure::Lost { message: "connection reset".into(), timed_out: false }
    }

    #[test]
    fn what_was_never_sent_goes_elsewhere() {
        for safety in EVERY {
            let failure = Failure::Unreachable("refused".into());
            assert_eq!(next(safety, &failure), Next::Elsewhere);
            assert!(!may_have_happened(safety, &failure));
        }
    }

    #[test]
    fn a_lost_answer_is_asked_for_again_where_that_is_safe() {
        assert_eq!(
            EVERY.map(|safety| next(safety, &lost())),
            [Next::Elsewhere, Next::Elsewhere, Next::Elsewhere, Next::GiveUp]
        );
        assert_eq!(EVERY.map(|safety| may_have_happened(safety, &lost())), [false, true, true, true]);
    }

    #[test]
    fn passing_trouble_is_tried_again_unless_the_call_must_not_be_repeated() {
        for code in [ErrorCode::NoLeader, ErrorCode::Unavailable, ErrorCode::Timeout] {
            for safety in [Safety::Read, Safety::Numbered, Safety::Idempotent] {
                assert_eq!(next(safety, &refused(code)), Next::Elsewhere, "{code}");
            }
            assert_eq!(next(Safety::Once, &refused(code)), Next::GiveUp, "{code}");
        }
    }

    #[test]
    fn back_pressure_waits_as_long_as_the_node_says() {
        for safety in EVERY {
            assert_eq!(next(safety, &refused(ErrorCode::Busy)), Next::Wait(Duration::from_secs(1)));
        }
    }

    #[test]
    fn answers_are_answers() {
        let passing = [
            ErrorCode::Busy,
            ErrorCode::NoLeader,
            ErrorCode::Unavailable,
            ErrorCode::Timeout,
            ErrorCode::NotLeader,
            ErrorCode::Unauthorized,
        ];
        for &code in ErrorCode::ALL.iter().filter(|code| !passing.contains(code)) {
            for safety in EVERY {
                assert_eq!(next(safety, &refused(code)), Next::GiveUp, "{code}");
            }
        }
    }

    #[test]
    fn only_an_answer_of_the_log_settles_an_earlier_doubt() {
        assert!(settles(Safety::Numbered, ErrorCode::Conflict));
        assert!(!settles(Safety::Numbered, ErrorCode::Forbidden));
        assert!(!settles(Safety::Idempotent, ErrorCode::NotFound));
    }

    #[test]
    fn pauses_grow_and_stay_below_a_second() {
        assert_eq!(pause(0, 0), Duration::from_millis(12));
        assert_eq!(pause(0, 12), Duration::from_millis(24));
        for random in [0, 7, u64::MAX] {
            assert!(pause(40, random) >= Duration::from_millis(500) && pause(40, random) <= Duration::from_secs(1));
        }
    }
}

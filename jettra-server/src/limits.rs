//! The bounds and times that a user notices, or that another one depends on: each with its unit, its reason, and what it
//! must fit. What is a file's own business stays in that file. `docs/operations.md` has those for users as a table; what
//! can be configured is in [`crate::config`], what is replicated in the settings.

use std::time::Duration;

/// How long a node's stopping takes altogether. Operators are promised 5 s, so the exit has to fit in, too.
pub const STOP: Duration = Duration::from_millis(4_500);
/// Of that, how long requests under way have to finish once the node stops; the rest is for handing over and the disk.
pub const REQUESTS_FINISH: Duration = Duration::from_millis(1_500);
/// When the process ends although the node has not stopped.
pub const EXIT: Duration = Duration::from_millis(4_700);
/// What operators are promised for the end of a node.
#[cfg(test)]
pub const STOP_PROMISED: Duration = Duration::from_secs(5);

/// How long one round of a leader with its majority may take that confirms a read.
pub const LEADER_ROUND: Duration = Duration::from_secs(2);
/// How long confirming the leader may take on any node, whoever waits: two such rounds, and the way.
pub const CONFIRMING: Duration = Duration::from_secs(5);

/// How long a request may ask to wait at most (`timeout=`).
pub const TIMEOUT: Duration = Duration::from_secs(300);
/// A connection that sends no complete head for so long is closed.
pub const HEAD: Duration = Duration::from_secs(30);
/// How long a body may take to arrive.
pub const BODY: Duration = Duration::from_secs(60);
/// Bytes in the longest body of a route that is open to everybody.
pub const PUBLIC_BODY: usize = 16 << 10;
/// KiB of such bodies at once.
pub const STRANGERS_KIB: usize = 8 << 10;
/// Requests of one HTTP/2 connection that are answered at once.
pub const STREAMS: u32 = 64;

/// Documents in one bulk request.
pub const BULK_DOCUMENTS: usize = 10_000;
/// Queries that read a collection at once: each holds back what may be deleted.
pub const SCANS: usize = 64;
/// How long a query waits for its turn.
pub const SCAN_TURN: Duration = Duration::from_secs(2);
/// A query that takes longer is broken off, since its view holds back what may be deleted.
pub const SCAN: Duration = Duration::from_secs(600);
/// Fields that a projection names.
pub const FIELDS: usize = 100;
/// Events of the journal in one answer.
pub const EVENTS: usize = 10_000;

/// Watchers of one node at once.
pub const WATCHERS: usize = 1_000;
/// A watcher is told its position after so long without a change.
pub const WATCH_PROGRESS: Duration = Duration::from_secs(5);
/// A watcher that takes nothing for so long is cut off. It is told something more often than that.
pub const WATCH_IDLE: Duration = Duration::from_secs(10);
/// Readers of the page's stream of one node at once.
pub const PAGES: usize = 64;

/// How long a token lives after it was issued or renewed, in milliseconds.
pub const TOKEN_MS: u64 = 15 * 60 * 1000;
/// How long it lives at most after it was issued, however often it is renewed, in milliseconds.
pub const TOKEN_LONGEST_MS: u64 = 12 * 60 * 60 * 1000;

/// Logins in one answer.
pub const LOGINS: usize = 10_000;

/// How long a registration or a promotion is waited for before it goes on in the background.
pub const JOIN: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_depends_on_another_fits_it() {
        assert!(REQUESTS_FINISH < STOP && STOP < EXIT && EXIT < STOP_PROMISED);
        assert!(CONFIRMING >= 2 * LEADER_ROUND);
        assert!(SCAN_TURN < SCAN && TIMEOUT <= SCAN);
        assert!(HEAD < BODY);
        assert!(WATCH_PROGRESS < WATCH_IDLE, "who takes what it is told is not idle");
        const { assert!(TOKEN_MS < TOKEN_LONGEST_MS) };
    }
}

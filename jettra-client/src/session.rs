//! The numbers of writes.
//!
//! Each client has a session: a random id and a counter. A write carries its number and how far
//! everything before is settled (`Jettra-Session: <id>;<sequence>;<acknowledged-up-to>`). The
//! cluster keeps the answers of numbers above that mark, so a repeat of a write gets the first
//! answer, and refuses numbers at or below it, so a copy that was delayed on the way does nothing.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use uuid::Uuid;

/// How far the newest number may be ahead of the acknowledged one. Nodes allow 256.
const WINDOW: usize = 128;

/// The writes of one client.
#[derive(Debug)]
pub(crate) struct Session {
    id: String,
    numbers: Mutex<Numbers>,
    /// One permit for each number that may still be given out.
    room: Semaphore,
}

/// Which numbers are given out and which are settled. Pure arithmetic.
#[derive(Debug, Default)]
struct Numbers {
    last: u64,
    /// Every number up to here is settled.
    acknowledged: u64,
    /// Settled numbers above `acknowledged`; there is a gap before each run of them.
    ahead: BTreeSet<u64>,
}

impl Numbers {
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Notes that `number` will not be sent again. Returns how far the acknowledged mark moved.
    fn settle(&mut self, number: u64) -> usize {
        let before = self.acknowledged;
        self.ahead.insert(number);
        while self.ahead.remove(&(self.acknowledged + 1)) {
            self.acknowledged += 1;
        }
        usize::try_from(self.acknowledged - before).unwrap_or(WINDOW)
    }
}

impl Session {
    pub(crate) fn new() -> Session {
        Session {
            id: Uuid::new_v4().simple().to_string(),
            numbers: Mutex::new(Numbers::default()),
            room: Semaphore::new(WINDOW),
        }
    }

    /// Takes the next number; waits while the window is full.
    pub(crate) async fn begin(&self) -> Ticket<'_> {
        match self.room.acquire().await {
            // It comes back when the acknowledged mark moves past the number, not when the write ends.
            Ok(permit) => permit.forget(),
            // The semaphore is never closed.
            Err(_closed) => {}
        }
        Ticket { session: self, number: self.numbers().next() }
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of one write. Dropping it says that the write will not be sent again: it was
/// answered, or the caller no longer waits for it.
#[derive(Debug)]
pub(crate) struct Ticket<'a> {
    session: &'a Session,
    number: u64,
}

impl Ticket<'_> {
    /// The value of `Jettra-Session`, as of now.
    pub(crate) fn header(&self) -> String {
        let acknowledged = self.session.numbers().acknowledged;
        format!("{};{};{acknowledged}", self.session.id, self.number)
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let moved = self.session.numbers().settle(self.number);
        self.session.room.add_permits(moved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_stops_before_the_first_unsettled_number() {
        let mut numbers = Numbers::default();
        for expected in 1..=5 {
            assert_eq!(numbers.next(), expected);
        }
        assert_eq!(numbers.settle(2), 0);
        assert_eq!(numbers.settle(4), 0);
        assert_eq!(numbers.acknowledged, 0);
        assert_eq!(numbers.settle(1), 2);
        assert_eq!(numbers.acknowledged, 2);
        assert_eq!(numbers.settle(3), 2);
        assert_eq!(numbers.settle(5), 1);
        assert_eq!((numbers.acknowledged, numbers.ahead.len()), (5, 0));
    }

    #[tokio::test]
    async fn a_header_names_session_number_and_mark() {
        let session = Session::new();
        let first = session.begin().await;
        let second = session.begin().await;
        assert_eq!(second.header(), format!("{};2;0", session.id));
        drop(first);
        assert_eq!(second.header(), format!("{};2;1", session.id));
    }

    #[tokio::test]
    async fn one_stuck_write_holds_the_window_though_others_are_answered() {
        let session = Session::new();
        let stuck = session.begin().await;
        for _ in 1..WINDOW {
            drop(session.begin().await);
        }
        assert_eq!(session.room.available_permits(), 0, "number 129 would be more than the window ahead");
        drop(stuck);
        assert_eq!(session.room.available_permits(), WINDOW);
        assert!(session.begin().await.header().ends_with(";129;128"));
    }
}

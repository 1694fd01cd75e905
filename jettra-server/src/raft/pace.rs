//! How fast a snapshot is sent: as fast as it goes while nobody writes, else in a small share of the time.
//!
//! What comes behind the snapshot in the log waits for its receiver meanwhile, up to a bound; the fuller
//! that is, the less the sender rests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// While clients write, a sender works for one part in so many of the time.
const SHARE: u32 = 8;
/// While clients write, at most so many bytes a second are sent to one node.
const BUSY_BYTES: u64 = 12 << 20;
/// So long after the last write the sender still holds back.
const QUIET_AFTER: Duration = Duration::from_millis(250);
/// The longest rest: the receiver gives up a stream that stands still.
const LONGEST: Duration = Duration::from_millis(250);

/// The snapshots that this node is sending.
#[derive(Debug, Default)]
pub struct Sending {
    under_way: AtomicUsize,
    /// How full the log that is held for them is, in thousandths of what it may hold.
    held: AtomicU32,
}

impl Sending {
    /// Counts a snapshot that is being sent, until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> Guard {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Guard(Arc::clone(self))
    }

    /// Whether one is being sent.
    pub fn is_under_way(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) > 0
    }

    /// Tells how full the log is that is held for the receivers, in thousandths of what it may hold.
    pub fn set_held(&self, thousandths: u64) {
        self.held.store(u32::try_from(thousandths).unwrap_or(u32::MAX).min(1000), Ordering::Relaxed);
    }
}

/// A snapshot that is being sent.
pub struct Guard(Arc<Sending>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The pace of one sender.
pub struct Pace {
    sending: Arc<Sending>,
    /// The last index applied here: it moves when clients write.
    applied: watch::Receiver<u64>,
    seen: u64,
    written: Option<Instant>,
}

impl Pace {
    /// The pace of a sender beside the writes that `applied` tells of.
    pub fn new(sending: Arc<Sending>, applied: watch::Receiver<u64>) -> Self {
        let seen = *applied.borrow();
        Pace { sending, applied, seen, written: None }
    }

    /// How long to rest after `bytes` that took `worked` to read.
    pub fn rest(&mut self, worked: Duration, bytes: usize, now: Instant) -> Duration {
        let applied = *self.applied.borrow();
        if applied != self.seen {
            self.seen = applied;
            self.written = Some(now);
        }
        if self.written.is_none_or(|at| now.saturating_duration_since(at) >= QUIET_AFTER) {
            return Duration::ZERO;
        }
        let for_bytes = Duration::from_nanos(bytes as u64 * 1_000_000_000 / BUSY_BYTES);
        let rest = (worked * (SHARE - 1)).max(for_bytes.saturating_sub(worked));
        let left = 1000 - self.sending.held.load(Ordering::Relaxed);
        (rest * left / 1000).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_rests_while_there_are_writes_and_less_the_fuller_the_held_log_is() {
        let (writes, applied) = watch::channel(7);
        let sending = Arc::new(Sending::default());
        let mut pace = Pace::new(Arc::clone(&sending), applied);
        let (work, bytes, now) = (Duration::from_millis(2), 256 << 10, Instant::now());
        assert_eq!(pace.rest(work, bytes, now), Duration::ZERO);
        writes.send_replace(8);
        let rest = pace.rest(work, bytes, now);
        assert!(rest >= work * (SHARE - 1) && rest <= LONGEST, "{rest:?}");
        sending.set_held(900);
        assert!(pace.rest(work, bytes, now) <= rest / 9);
        sending.set_held(2_000);
        assert_eq!(pace.rest(work, bytes, now), Duration::ZERO);
        sending.set_held(0);
        assert_eq!(pace.rest(Duration::from_secs(9), bytes, now), LONGEST);
        assert_eq!(pace.rest(work, bytes, now + QUIET_AFTER), Duration::ZERO);
    }

    #[test]
    fn a_snapshot_counts_until_its_guard_goes() {
        let sending = Arc::new(Sending::default());
        let (one, other) = (sending.begin(), sending.begin());
        drop(one);
        assert!(sending.is_under_way());
        drop(other);
        assert!(!sending.is_under_way());
    }
}

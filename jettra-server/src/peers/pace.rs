//! How fast something may be tried that costs nothing to try.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// So many at once, then one in a while, in the order in which they came (a leaky bucket). Who would have to wait too
/// long is sent away, so that few wait.
#[derive(Debug)]
pub struct Pace {
    began: Instant,
    every: Duration,
    at_once: Duration,
    longest: Duration,
    /// When all that was taken so far has been paid for, since the beginning.
    paid: Mutex<Duration>,
}

impl Pace {
    /// `at_once`, then one in each `every`; nobody waits for more than `longest`.
    pub fn new(at_once: u32, every: Duration, longest: Duration) -> Self {
        Pace { began: Instant::now(), every, at_once: every * at_once, longest, paid: Mutex::default() }
    }

    /// Waits for its turn; false where that would take too long.
    pub async fn take(&self) -> bool {
        let Some(wait) = self.reserve(self.began.elapsed()) else { return false };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        true
    }

    /// What was taken does not count.
    pub fn give_back(&self) {
        let mut paid = self.paid.lock();
        *paid = paid.saturating_sub(self.every);
    }

    fn reserve(&self, now: Duration) -> Option<Duration> {
        let mut paid = self.paid.lock();
        let at = (*paid).max(now);
        let wait = at.saturating_sub(now + self.at_once);
        if wait > self.longest {
            return None;
        }
        *paid = at + self.every;
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_at_once_then_one_after_the_other_and_no_long_queue() {
        let ms = Duration::from_millis;
        let pace = Pace::new(3, ms(10), ms(25));
        let waits: Vec<_> = (0..8).map(|_| pace.reserve(ms(100))).collect();
        let zero = Some(ms(0));
        assert_eq!(waits, [zero, zero, zero, zero, Some(ms(10)), Some(ms(20)), None, None]);
        // What is given back is there for the next one, and time gives back too.
        pace.give_back();
        assert_eq!(pace.reserve(ms(100)), Some(ms(20)));
        assert_eq!(pace.reserve(ms(100)), None);
        assert_eq!(pace.reserve(ms(1000)), zero);
    }
}

//! How often something happened within the last minute.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

const SLOTS: usize = 12;
const SLOT: Duration = Duration::from_secs(5);

/// Counts what happens; what is older than a minute is forgotten, to within five seconds.
#[derive(Debug)]
pub struct Recent {
    began: Instant,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    /// Which slot of time, since the beginning, was counted last.
    last: u64,
    slots: [u64; SLOTS],
}

impl Default for Recent {
    fn default() -> Self {
        Recent { began: Instant::now(), counted: Mutex::default() }
    }
}

impl Recent {
    /// It happened once more.
    pub fn count(&self) {
        self.at(self.began.elapsed(), |slot| *slot += 1);
    }

    /// How often it happened within the last minute.
    pub fn within_a_minute(&self) -> u64 {
        self.at(self.began.elapsed(), |_| {})
    }

    fn at(&self, now: Duration, change: impl FnOnce(&mut u64)) -> u64 {
        let slot = now.as_secs() / SLOT.as_secs();
        let mut counted = self.counted.lock();
        for passed in (counted.last + 1..=slot).take(SLOTS) {
            counted.slots[(passed % SLOTS as u64) as usize] = 0;
        }
        if slot.saturating_sub(counted.last) > SLOTS as u64 {
            counted.slots = [0; SLOTS];
        }
        counted.last = slot;
        change(&mut counted.slots[(slot % SLOTS as u64) as usize]);
        counted.slots.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_a_minute_is_forgotten() {
        let recent = Recent::default();
        let at = |seconds, times: u64| recent.at(Duration::from_secs(seconds), |slot| *slot += times);
        assert_eq!((at(0, 3), at(30, 4), at(59, 1)), (3, 7, 8));
        assert_eq!((at(60, 0), at(91, 0), at(500, 1), at(10_000, 0)), (5, 1, 1, 0));
    }
}

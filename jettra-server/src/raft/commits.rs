//! How many commands were committed, and how long each took: counted since the last look.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Steps within each doubling: a figure is off by 5 % at most.
const STEPS: f64 = 8.0;
/// From a microsecond to two minutes.
const BUCKETS: usize = 27 * 8;

/// Commands committed on this node while it leads, by the time they took.
#[derive(Debug)]
pub struct Commits([AtomicU32; BUCKETS]);

/// What came since the last look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Taken {
    /// Commands.
    pub count: u64,
    /// The times that half of them, and 99 of 100, did not exceed; none where there were no commands.
    pub p50_p99: Option<(Duration, Duration)>,
}

impl Default for Commits {
    fn default() -> Self {
        Commits([const { AtomicU32::new(0) }; BUCKETS])
    }
}

impl Commits {
    /// Counts one command, from its proposal until it was applied here.
    pub fn record(&self, took: Duration) {
        let microseconds = (took.as_secs_f64() * 1e6).max(1.0);
        let bucket = (microseconds.log2() * STEPS) as usize;
        self.0[bucket.min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted since the last call.
    pub fn take(&self) -> Taken {
        let counts: Vec<u64> = self.0.iter().map(|n| n.swap(0, Ordering::Relaxed).into()).collect();
        let count = counts.iter().sum();
        let at = |share: f64| {
            let wanted = (count as f64 * share).ceil() as u64;
            let mut seen = 0;
            let bucket = counts.iter().position(|n| {
                seen += n;
                seen >= wanted
            });
            let middle = (bucket? as f64 + 0.5) / STEPS;
            Some(Duration::from_secs_f64(middle.exp2() / 1e6))
        };
        let p50_p99 = if count == 0 { None } else { at(0.5).zip(at(0.99)) };
        Taken { count, p50_p99 }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn percentiles_are_near_and_a_look_empties_it() {
        let commits = Commits::default();
        assert_eq!(commits.take(), Taken { count: 0, p50_p99: None });
        for ms in 1..=1000 {
            commits.record(Duration::from_millis(ms));
        }
        let taken = commits.take();
        let (p50, p99) = taken.p50_p99.unwrap();
        assert_eq!(taken.count, 1000);
        assert!((0.46..0.54).contains(&p50.as_secs_f64()), "{p50:?}");
        assert!((0.92..1.06).contains(&p99.as_secs_f64()), "{p99:?}");
        assert_eq!(commits.take().count, 0);
        commits.record(Duration::ZERO);
        commits.record(Duration::from_secs(100_000));
        assert_eq!(commits.take().count, 2);
    }
}

//! How long the last minute's fsyncs took: a few counters, read by whoever looks after the node.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Time is cut into slots of this length; the last six count.
const SLOT: Duration = Duration::from_secs(10);
const SLOTS: u64 = 6;
/// Bucket `n` counts what took up to `1.25^n` times [`LEAST`].
const BUCKETS: usize = 64;
const LEAST: f64 = 0.000_05;
const STEP: f64 = 1.25;

/// The fsyncs of the last minute by how long they took.
#[derive(Debug)]
pub struct Fsyncs {
    began: Instant,
    slots: Mutex<[Slot; SLOTS as usize]>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Which slot since the beginning it counts for.
    number: u64,
    counts: [u32; BUCKETS],
}

/// What the last minute's fsyncs were like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FsyncTimes {
    /// How many there were.
    pub count: u64,
    /// Ninety-nine of a hundred took no longer, within a quarter.
    pub p99: Duration,
}

impl Default for Fsyncs {
    fn default() -> Self {
        Fsyncs { began: Instant::now(), slots: Mutex::new([Slot { number: 0, counts: [0; BUCKETS] }; SLOTS as usize]) }
    }
}

impl Fsyncs {
    /// Counts one that took so long.
    pub fn record(&self, took: Duration) {
        self.record_at(self.began.elapsed(), took);
    }

    /// What the last minute's were like.
    pub fn last_minute(&self) -> FsyncTimes {
        self.at(self.began.elapsed())
    }

    fn record_at(&self, now: Duration, took: Duration) {
        let number = slot(now);
        let bucket = ((took.as_secs_f64() / LEAST).max(1.0).ln() / STEP.ln()).ceil() as usize;
        let mut slots = self.slots.lock();
        let slot = &mut slots[(number % SLOTS) as usize];
        if slot.number != number {
            *slot = Slot { number, counts: [0; BUCKETS] };
        }
        slot.counts[bucket.min(BUCKETS - 1)] += 1;
    }

    fn at(&self, now: Duration) -> FsyncTimes {
        let newest = slot(now);
        let mut counts = [0_u64; BUCKETS];
        for slot in self.slots.lock().iter().filter(|slot| slot.number + SLOTS > newest) {
            counts.iter_mut().zip(slot.counts).for_each(|(sum, count)| *sum += u64::from(count));
        }
        let count: u64 = counts.iter().sum();
        let (mut seen, mut p99) = (0, 0.0);
        for (bucket, in_it) in counts.iter().enumerate() {
            seen += in_it;
            if *in_it > 0 {
                p99 = LEAST * STEP.powi(bucket as i32);
            }
            if seen * 100 >= count * 99 {
                break;
            }
        }
        FsyncTimes { count, p99: Duration::from_secs_f64(p99) }
    }
}

fn slot(now: Duration) -> u64 {
    now.as_secs() / SLOT.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_in_a_hundred_counts_and_is_forgotten_after_a_minute() {
        let fsyncs = Fsyncs::default();
        let second = Duration::from_secs;
        assert_eq!(fsyncs.at(second(0)), FsyncTimes { count: 0, p99: Duration::ZERO });
        for n in 0..100 {
            fsyncs.record_at(second(1), Duration::from_millis(if n < 2 { 200 } else { 1 }));
        }
        let times = fsyncs.at(second(5));
        assert_eq!(times.count, 100);
        assert!((200..=250).contains(&times.p99.as_millis()), "{times:?}");
        fsyncs.record_at(second(55), Duration::from_millis(4));
        assert_eq!(fsyncs.at(second(55)).count, 101);
        let later = fsyncs.at(second(65));
        assert!((4..=5).contains(&later.p99.as_millis()) && later.count == 1, "{later:?}");
    }
}
